/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn.c - Unicorn as a whole machine: the library and its insides. Interface: unicorn.h.
 */
#include "unicorn.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "unicorn_internal.h"

/* Of unicorn/unicorn.h and unicorn/x86.h. */
#define UC_ARCH_X86 4
#define UC_MODE_64 8
#define UC_PROT_ALL 7
#define UC_ERR_READ_UNMAPPED 6
#define UC_ERR_FETCH_UNMAPPED 8
#define UC_CTL_WRITE_CPU_MODEL (7 | 1 << 26 | 1 << 30)
#define UC_CTL_WRITE_TB_FLUSH (10 | 0 << 26 | 1 << 30)
#define UC_CTL_WRITE_TLB_FLUSH (11 | 0 << 26 | 1 << 30)
#define UC_CPU_X86_SKYLAKE_SERVER 22
#define UC_X86_REG_XMM0 122
#define UC_X86_REG_RAX 35
#define UC_X86_REG_CR0 50
#define UC_X86_REG_CR3 53
#define UC_X86_REG_CR4 54
#define UC_X86_REG_DR0 66
#define UC_X86_REG_TR 245
#define UC_X86_REG_MSR 248

struct uc_msr {
	u32 index;
	u64 value;
};

struct uc_mmr {
	u16 selector;
	u64 base;
	u32 limit, flags;
};

#define ENV_SEARCH 0x40000u /* bytes of the CPU's object that are searched */

/* ---- the library ---- */

#define SYMBOL(u, field, name) symbol((u), (void *)&(u)->field, sizeof((u)->field), (name))
static bool symbol(struct unicorn *u, void *field, size_t size, const char *name)
{
	void *found = dlsym(u->library, name);

	memcpy(field, &found, size);
	return found != NULL;
}

static bool load_symbols(struct unicorn *u)
{
	return SYMBOL(u, open, "uc_open") && SYMBOL(u, close, "uc_close") &&
	       SYMBOL(u, ctl, "uc_ctl") && SYMBOL(u, map, "uc_mem_map_ptr") &&
	       SYMBOL(u, reg_read, "uc_reg_read") && SYMBOL(u, reg_write, "uc_reg_write") &&
	       SYMBOL(u, hook, "uc_hook_add") && SYMBOL(u, start, "uc_emu_start") &&
	       SYMBOL(u, stop, "uc_emu_stop") && SYMBOL(u, strerror, "uc_strerror") &&
	       SYMBOL(u, compute_flags, "cpu_cc_compute_all_x86_64") &&
	       SYMBOL(u, get_cpu, "qemu_get_cpu_x86_64") &&
	       SYMBOL(u, deliver, "x86_cpu_do_interrupt_x86_64") &&
	       SYMBOL(u, interrupt, "do_interrupt_x86_hardirq_x86_64") &&
	       SYMBOL(u, raise, "raise_interrupt_x86_64") &&
	       SYMBOL(u, update_hflags, "x86_update_hflags_x86_64") &&
	       SYMBOL(u, update_cr0, "cpu_x86_update_cr0_x86_64") &&
	       SYMBOL(u, update_cr3, "cpu_x86_update_cr3_x86_64") &&
	       SYMBOL(u, update_cr4, "cpu_x86_update_cr4_x86_64");
}

void unicorn_write_msr(struct unicorn *u, u32 index, u64 value)
{
	u->reg_write(u->uc, UC_X86_REG_MSR, &(struct uc_msr){index, value});
}

/* Where in the CPU's object eight bytes like @pattern are. */
static u8 *search(const struct unicorn *u, const void *pattern, size_t n)
{
	u8 *at = u->cpu;

	for (size_t o = 0; o < ENV_SEARCH; o += 8)
		if (!memcmp(at + o, pattern, n))
			return at + o;
	return NULL;
}

/* All sixteen registers must be where the first one and the stride say. */
static bool find_xmm(struct unicorn *u)
{
	u64 mark[2] = {0x1122334455667788ull, 0x99aabbccddeeff00ull}, none[2] = {0};

	u->reg_write(u->uc, UC_X86_REG_XMM0, mark);
	u->xmm = search(u, mark, sizeof(mark));
	for (int n = 1; u->xmm && n < NR_XMM; n++) {
		mark[0] += (u64)n;
		u->reg_write(u->uc, UC_X86_REG_XMM0 + n, mark);
		if (memcmp(u->xmm + (u64)n * XMM_STRIDE, mark, sizeof(mark)))
			return false;
	}
	for (int n = 0; n < NR_XMM; n++)
		u->reg_write(u->uc, UC_X86_REG_XMM0 + n, none);
	return u->xmm != NULL;
}

/* The offsets that are used must be where the public interface puts its values. */
static bool find_insides(struct unicorn *u)
{
	static const u32 msrs[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102};
	u64 mark = 0x1357246813572468ull, cr3 = 0x5000;
	struct uc_mmr tr = {0x28, 0x123456789, 0x6789, 0x8900};
	u8 *found;

	u->reg_write(u->uc, UC_X86_REG_RAX, &mark);
	for (int index = -1; index < 1 && !u->cpu; index++)
		u->cpu = u->get_cpu(u->uc, index);
	if (!u->cpu)
		return false;
	found = search(u, &mark, sizeof(mark));
	if (!found)
		return false;
	u->env = (struct qemu_env *)(void *)found;
	mark = 0x2468135724681357ull;
	u->reg_write(u->uc, UC_X86_REG_DR0, &mark);
	found = search(u, &mark, sizeof(mark));
	if (!found)
		return false;
	u->exception =
		(struct qemu_exception *)(void *)(found - offsetof(struct qemu_exception, dr));
	mark = 0x0000123400001000ull;
	u->reg_write(u->uc, UC_X86_REG_TR, &tr);
	u->reg_write(u->uc, UC_X86_REG_CR3, &cr3);
	for (u64 n = 0; n < sizeof(msrs) / sizeof(msrs[0]); n++)
		unicorn_write_msr(u, msrs[n], mark + n);
	found = search(u, &mark, sizeof(mark));
	if (!found)
		return false;
	u->msrs = (struct qemu_msrs *)(void *)found;
	return find_xmm(u) && u->exception->old_exception == -1 &&
	       u->env->tr.selector == tr.selector && u->env->tr.base == tr.base &&
	       u->env->tr.limit == tr.limit && u->env->tr.flags == tr.flags &&
	       u->env->cr[3] == cr3 && u->msrs->lstar == mark + 1 && u->msrs->cstar == mark + 2 &&
	       u->msrs->fmask == mark + 3 && u->msrs->kernelgsbase == mark + 4;
}

/* ---- interface ---- */

const char *unicorn_open(struct unicorn **out, const char *library, u8 *ram, u64 size,
			 const struct unicorn_events *events)
{
	struct unicorn *u = calloc(1, sizeof(*u));

	*out = u;
	u->events = *events;
	u->ram = ram;
	u->ram_size = size;
	u->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!u->library)
		return "the library cannot be loaded";
	if (!load_symbols(u))
		return "the library lacks what this judge calls";
	if (u->open(UC_ARCH_X86, UC_MODE_64, &u->uc))
		return "the library has no x86";
	u->ctl(u->uc, UC_CTL_WRITE_CPU_MODEL, UC_CPU_X86_SKYLAKE_SERVER);
	if (u->map(u->uc, 0, size, UC_PROT_ALL, ram))
		return "memory cannot be mapped";
	if (!find_insides(u))
		return "the library's insides are not those that this judge knows";
	if (!unicorn_add_hooks(u))
		return "the library refuses a hook";
	return NULL;
}

void unicorn_close(struct unicorn *u)
{
	if (u->uc)
		u->close(u->uc);
	free(u);
}

static struct qemu_segment to_qemu(const struct cpu_segment *s)
{
	return (struct qemu_segment){s->selector, s->base, s->limit, (u32)s->attr << 8};
}

void unicorn_forget_code(struct unicorn *u)
{
	u->ctl(u->uc, UC_CTL_WRITE_TB_FLUSH);
	u->ctl(u->uc, UC_CTL_WRITE_TLB_FLUSH);
}

void unicorn_start(struct unicorn *u, const struct cpu_start *start, const struct cpu_segment *tr)
{
	static const u32 msrs[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102};
	struct qemu_env *env = u->env;
	u64 off = start->cr0 & ~CR0_PG;
	u32 flags = (u32)start->rflags;

	u->reg_write(u->uc, UC_X86_REG_CR0, &off);
	memset(env->regs, 0, sizeof(env->regs));
	env->regs[CPU_RSP] = start->rsp;
	env->regs[CPU_RDI] = start->rdi;
	env->eip = start->rip;
	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &flags);
	u->reg_write(u->uc, UC_X86_REG_CR4, &start->cr4);
	unicorn_write_msr(u, 0xc0000080, start->efer & ~EFER_LMA);
	u->reg_write(u->uc, UC_X86_REG_CR3, &start->cr3);
	u->reg_write(u->uc, UC_X86_REG_CR0, &start->cr0);
	for (u64 n = 0; n < sizeof(msrs) / sizeof(msrs[0]); n++)
		unicorn_write_msr(u, msrs[n], 0);
	env->cr[2] = u->cr2 = 0;
	for (int s = 0; s < 6; s++)
		env->segs[s] = to_qemu(s == SEG_CS   ? &start->cs
				       : s == SEG_SS ? &start->ss
						     : &start->ds);
	env->hflags = (env->hflags & ~(HFLAG_CPL | HFLAG_ADDSEG)) | HFLAG_CS32 | HFLAG_SS32 |
		      HFLAG_CS64;
	env->ldt = (struct qemu_segment){0};
	env->tr = to_qemu(tr);
	env->gdt = (struct qemu_segment){0, start->gdt_base, start->gdt_limit, 0};
	env->idt = (struct qemu_segment){0, start->idt_base, start->idt_limit, 0};
	u->stop_requested = false;
	unicorn_forget_code(u);
}

enum unicorn_end unicorn_run(struct unicorn *u)
{
	do {
		u->invalid = u->delivering = u->again = false;
		u->fresh = true;
		u->error = u->start(u->uc, u->env->eip, ~0ull, 0, 0);
		u->env->cr[2] = u->cr2;
		if (u->stop_requested)
			return UNICORN_STOPPED;
		if (u->again)
			u->env->eip = u->resume;
	} while (u->invalid || u->again);
	u->last_rip = u->env->eip;
	if (u->delivering)
		return UNICORN_SHUTDOWN;
	return u->error ? UNICORN_BROKEN : UNICORN_HALT;
}

void unicorn_stop(struct unicorn *u)
{
	u->stop_requested = true;
	u->stop(u->uc);
}

const char *unicorn_corrected(const struct unicorn *u, enum correction what, u64 *times)
{
	static const char *const reasons[NR_CORRECTIONS] = {
		[CORRECTED_SYSCALL] = "SYSCALL does nothing but call hooks",
		[CORRECTED_RF] = "faults push flags without RF, INT n sometimes with it",
		[CORRECTED_IDT_ERROR] =
			"error codes that name an IDT entry have 16 times the vector, and EXT clear",
		[CORRECTED_IST_SS] = "a delivery by IST at the same CPL makes SS null",
		[CORRECTED_FLAGS] = "with hooks, flags at a fault are sometimes stale",
		[CORRECTED_NULL_BASE] = "a segment that a return to CPL 3 makes null has base 0",
		[CORRECTED_WRITE_INTENT] = "page faults of an operand read and written are reads",
	};

	*times = u->corrected[what];
	return reasons[what];
}

bool unicorn_left_memory(const struct unicorn *u)
{
	return u->error >= UC_ERR_READ_UNMAPPED && u->error <= UC_ERR_FETCH_UNMAPPED;
}

const char *unicorn_error(const struct unicorn *u)
{
	return u->strerror(u->error);
}

static struct cpu_segment from_qemu(const struct qemu_segment *s)
{
	return (struct cpu_segment){s->base, s->limit, (u16)s->selector, (u16)(s->flags >> 8)};
}

void unicorn_read(struct unicorn *u, u64 va, u8 *to, size_t n)
{
	va += u->env->hflags & HFLAG_CS64 ? 0 : u->env->segs[SEG_CS].base;
	for (size_t at = 0; at < n; at++) {
		const u8 *from = unicorn_virtual_byte(u, va + at);

		if (!from)
			return;
		to[at] = *from;
	}
}

void unicorn_get(struct unicorn *u, struct cpu_state *s)
{
	const struct qemu_env *env = u->env;

	memcpy(s->regs, env->regs, sizeof(s->regs));
	s->rip = u->last_rip;
	s->rflags = unicorn_rflags(u);
	s->cr0 = env->cr[0];
	s->cr2 = env->cr[2];
	s->cr3 = env->cr[3];
	s->cr4 = env->cr[4];
	s->efer = env->efer;
	s->star = u->msrs->star;
	s->lstar = u->msrs->lstar;
	s->cstar = u->msrs->cstar;
	s->sfmask = u->msrs->fmask;
	s->kernel_gs_base = u->msrs->kernelgsbase;
	for (int n = 0; n < 6; n++)
		s->seg[n] = from_qemu(&env->segs[n]);
	s->ldt = from_qemu(&env->ldt);
	s->tr = from_qemu(&env->tr);
	s->gdt_base = env->gdt.base;
	s->gdt_limit = env->gdt.limit;
	s->idt_base = env->idt.base;
	s->idt_limit = env->idt.limit;
	s->cpl = env->hflags & HFLAG_CPL;
}
