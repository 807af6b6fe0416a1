/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn.c - Unicorn as a whole machine: the library, its insides, exceptions and SYSCALL.
 *
 * What is wrong in its deliveries is put right here, so that handlers see what they would see on
 * silicon: enum correction.
 */
#include "unicorn.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/state.h"

/* Of unicorn/unicorn.h and unicorn/x86.h. */
#define UC_ARCH_X86 4
#define UC_MODE_64 8
#define UC_PROT_ALL 7
#define UC_ERR_READ_UNMAPPED 6
#define UC_ERR_FETCH_UNMAPPED 8
#define UC_HOOK_INTR 1
#define UC_HOOK_INSN 2
#define UC_HOOK_CODE 4
#define UC_HOOK_INSN_INVALID (1 << 14)
#define UC_CTL_WRITE_CPU_MODEL (7 | 1 << 26 | 1 << 30)
#define UC_CTL_WRITE_TB_FLUSH (10 | 0 << 26 | 1 << 30)
#define UC_CTL_WRITE_TLB_FLUSH (11 | 0 << 26 | 1 << 30)
#define UC_CPU_X86_SKYLAKE_SERVER 22
#define UC_X86_REG_EFLAGS 25
#define UC_X86_REG_RAX 35
#define UC_X86_REG_CR0 50
#define UC_X86_REG_CR3 53
#define UC_X86_REG_CR4 54
#define UC_X86_REG_DR0 66
#define UC_X86_REG_TR 245
#define UC_X86_REG_MSR 248
#define UC_X86_INS_CPUID 113
#define UC_X86_INS_IN 218
#define UC_X86_INS_SYSCALL 699

struct uc_msr {
	u32 index;
	u64 value;
};

struct uc_mmr {
	u16 selector;
	u64 base;
	u32 limit, flags;
};

/* The head of QEMU's CPUX86State, and what is further back. */
struct qemu_segment {
	u32 selector;
	u64 base;
	u32 limit;
	u32 flags; /* high half of the descriptor */
};

struct qemu_env {
	u64 regs[16];
	u64 eip, eflags;
	u64 cc_dst, cc_src, cc_src2;
	u32 cc_op;
	s32 df;
	u32 hflags, hflags2;
	struct qemu_segment segs[6], ldt, tr, gdt, idt;
	u64 cr[5];
	u64 opaque[16];
	u64 efer;
};
#define HFLAG_CPL 3u
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_CS64 (1u << 15)

struct qemu_msrs {
	u64 star, vm_hsave, lstar, cstar, fmask, kernelgsbase;
};

struct qemu_exception {
	s32 error_code, is_int;
	u64 next_eip;
	u64 dr[8], breakpoints[4];
	s32 old_exception; /* that is being delivered, -1 for none */
};

#define ENV_SEARCH 0x40000u /* bytes of the CPU's object that are searched */
#define SYSCALL_BYTES 2u
#define TABLE_MASK 0x000ffffffffff000ull
#define PTE_LARGE BIT_ULL(7)
#define PF_WRITE 2

typedef void uc_void;

struct unicorn {
	void *library;
	uc_void *uc;
	u8 *ram;
	u64 ram_size;
	int (*open)(int arch, int mode, uc_void **uc);
	int (*close)(uc_void *uc);
	int (*ctl)(uc_void *uc, u32 control, ...);
	int (*map)(uc_void *uc, u64 at, u64 size, u32 prot, void *memory);
	int (*reg_read)(uc_void *uc, int reg, void *value);
	int (*reg_write)(uc_void *uc, int reg, const void *value);
	int (*hook)(uc_void *uc, size_t *hook, int type, void *call, void *ctx, u64 from, u64 to,
		    ...);
	int (*start)(uc_void *uc, u64 from, u64 until, u64 timeout, size_t count);
	int (*stop)(uc_void *uc);
	const char *(*strerror)(int error);
	u32 (*compute_flags)(struct qemu_env *env, int op);
	void *(*get_cpu)(uc_void *uc, int index);
	void (*deliver)(void *cpu);
	void *cpu;
	struct qemu_env *env;
	struct qemu_msrs *msrs;
	struct qemu_exception *exception;
	struct unicorn_events events;
	u64 cr2; /* the library looks up an address when it starts and stops: a page fault */
	bool fresh;
	u64 last_rip;
	u32 last_flags; /* the library is not in step with its own in a hook of SYSCALL */
	struct qemu_segment before[2]; /* FS and GS, before the instruction before */
	u32 cpl_before;
	bool stop_requested;
	bool invalid;			      /* #UD was delivered: the library has stopped */
	bool delivering, delivering_software; /* an event whose delivery has not come to its end */
	u64 corrected[NR_CORRECTIONS];
	int error;
};

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
	       SYMBOL(u, deliver, "x86_cpu_do_interrupt_x86_64");
}

static void write_msr(struct unicorn *u, u32 index, u64 value)
{
	u->reg_write(u->uc, UC_X86_REG_MSR, &(struct uc_msr){index, value});
}

/* Where in the CPU's object eight bytes like @pattern are. */
static u8 *search(struct unicorn *u, const void *pattern, size_t n)
{
	u8 *at = u->cpu;

	for (size_t o = 0; o < ENV_SEARCH; o += 8)
		if (!memcmp(at + o, pattern, n))
			return at + o;
	return NULL;
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
		write_msr(u, msrs[n], mark + n);
	found = search(u, &mark, sizeof(mark));
	if (!found)
		return false;
	u->msrs = (struct qemu_msrs *)(void *)found;
	return u->exception->old_exception == -1 && u->env->tr.selector == tr.selector &&
	       u->env->tr.base == tr.base && u->env->tr.limit == tr.limit &&
	       u->env->tr.flags == tr.flags && u->env->cr[3] == cr3 && u->msrs->lstar == mark + 1 &&
	       u->msrs->cstar == mark + 2 && u->msrs->fmask == mark + 3 &&
	       u->msrs->kernelgsbase == mark + 4;
}

/* ---- events ---- */

/* Unicorn's own answer mixes in arithmetic flags of earlier instructions. */
static u32 rflags_of(const struct unicorn *u)
{
	const struct qemu_env *env = u->env;

	return ((u32)env->eflags & ~(u32)(FLAGS_ARITH | FLAG_DF)) |
	       u->compute_flags(u->env, (int)env->cc_op) | (env->df < 0 ? (u32)FLAG_DF : 0) |
	       (u32)FLAG_FIXED;
}

/*
 * Data segments that a return to CPL 3 makes null lose their bases here; processors of one vendor
 * keep them, and so does the interpreter.
 */
static void keep_null_bases(struct unicorn *u)
{
	u32 cpl = u->env->hflags & HFLAG_CPL;

	for (unsigned int n = SEG_FS; n <= SEG_GS; n++) {
		struct qemu_segment *now = &u->env->segs[n], *before = &u->before[n - SEG_FS];

		if (u->cpl_before == 0 && cpl == 3 && !now->selector && before->selector &&
		    before->base != now->base) {
			now->base = before->base;
			u->corrected[CORRECTED_NULL_BASE]++;
		}
		*before = *now;
	}
	u->cpl_before = cpl;
}

static void on_instruction(uc_void *uc, u64 address, u32 size, void *ctx)
{
	struct unicorn *u = ctx;

	(void)uc;
	(void)size;
	if (u->stop_requested)
		return;
	if (u->fresh) {
		u->env->cr[2] = u->cr2;
		u->exception->old_exception = -1;
	}
	u->fresh = u->invalid = false;
	u->env->eflags &= ~FLAG_RF;
	u->cr2 = u->env->cr[2];
	u->last_rip = address - u->env->segs[SEG_CS].base;
	u->last_flags = rflags_of(u);
	keep_null_bases(u);
	u->events.instruction(u->events.ctx, u->last_rip);
}

static bool has_error_code(unsigned int vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == 17;
}

/* A walk that leaves no trace; NULL: not mapped. */
static u8 *virtual_byte(const struct unicorn *u, u64 va)
{
	u64 entry = u->env->cr[3], mask = PAGE_MASK;

	if (!(u->env->cr[0] & CR0_PG))
		return (u32)va < u->ram_size ? u->ram + (u32)va : NULL;
	for (unsigned int level = 4; level; level--) {
		u64 at = (entry & TABLE_MASK) + 8 * (va >> (12 + 9 * (level - 1)) & 511);

		if (at >= u->ram_size)
			return NULL;
		memcpy(&entry, u->ram + at, sizeof(entry));
		if (!(entry & 1))
			return NULL;
		if (level > 1 && level < 4 && (entry & PTE_LARGE)) {
			mask = ~0ull << (12 + 9 * (level - 1));
			break;
		}
	}
	va = (entry & TABLE_MASK & mask) | (va & ~mask);
	return va < u->ram_size ? u->ram + va : NULL;
}

static bool has_selector_error(unsigned int vector)
{
	return vector >= VECTOR_TS && vector <= VECTOR_GP;
}

static void push_rf(struct unicorn *u, unsigned int vector, bool fault)
{
	bool wide = u->env->efer & EFER_LMA;
	u64 at = u->env->regs[CPU_RSP] + (fault && has_error_code(vector) ? 3 : 2) * (wide ? 8 : 4);
	u8 *flags = virtual_byte(u, at + 2);

	u8 rf = fault ? FLAG_RF >> 16 : 0;

	if (!flags || (*flags & FLAG_RF >> 16) == rf)
		return;
	*flags ^= FLAG_RF >> 16;
	u->corrected[CORRECTED_RF]++;
}

/*
 * A fault of a delivery: this QEMU multiplies the vector in the error code by 16 in long mode, and
 * never sets EXT, which says that the event was no INT n.
 */
static void correct_nested_error(struct unicorn *u, unsigned int vector)
{
	s32 *error = &u->exception->error_code;

	if (!has_selector_error(vector))
		return;
	if ((*error & 2) && (u->env->efer & EFER_LMA)) {
		*error = (*error - 2) / 2 + 2;
		u->corrected[CORRECTED_IDT_ERROR]++;
	}
	if (!u->delivering_software)
		*error |= 1;
}

/* With hooks, the flags that a fault in memory finds may be those of an operation before. */
static void correct_flags(struct unicorn *u)
{
	if (u->env->eip != u->last_rip || rflags_of(u) == u->last_flags)
		return;
	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &u->last_flags);
	u->corrected[CORRECTED_FLAGS]++;
}

/* May leave by the library's longjmp(), when the delivery faults: then it comes again. */
static void deliver(struct unicorn *u, unsigned int vector)
{
	struct qemu_segment ss = u->env->segs[SEG_SS];
	u32 cpl = u->env->hflags & HFLAG_CPL;
	bool software = u->exception->is_int;

	if (u->delivering)
		correct_nested_error(u, vector);
	if (!u->delivering)
		u->delivering_software = software;
	u->delivering = true;
	/* Unicorn has stepped over an INT already, QEMU's delivery expects RIP at it. */
	if (software)
		u->env->eip = u->last_rip;
	else
		correct_flags(u);
	u->last_rip = u->env->eip;
	if (u->events.exception(u->events.ctx, vector, u->env->eip, software) &&
	    !(u->exception->error_code & PF_WRITE)) {
		u->exception->error_code |= PF_WRITE;
		u->corrected[CORRECTED_WRITE_INTENT]++;
	}
	u->deliver(u->cpu);
	if (cpl == (u->env->hflags & HFLAG_CPL) && ss.selector != u->env->segs[SEG_SS].selector) {
		u->env->segs[SEG_SS] = ss;
		u->corrected[CORRECTED_IST_SS]++;
	}
	push_rf(u, vector, !software);
	u->delivering = false;
	u->cr2 = u->env->cr[2];
}

static void on_exception(uc_void *uc, u32 vector, void *ctx)
{
	(void)uc;
	deliver(ctx, vector);
}

/* #UD has a hook of its own, behind which Unicorn always stops; unicorn_run() goes on. */
static bool on_invalid(uc_void *uc, void *ctx)
{
	(void)uc;
	struct unicorn *u = ctx;

	u->invalid = true;
	deliver(u, VECTOR_UD);
	return true;
}

static void load_flat(struct unicorn *u, enum segment seg, u16 selector, u32 flags)
{
	u->env->segs[seg] = (struct qemu_segment){selector, 0, ~0u, flags};
}

/* SYSCALL by the manual; RIP moves on by its two bytes behind this hook. */
static void on_syscall(uc_void *uc, void *ctx)
{
	struct unicorn *u = ctx;
	struct qemu_env *env = u->env;
	u16 cs = u->msrs->star >> 32 & 0xfffc;
	u32 flags = u->last_flags & ~(u32)FLAG_RF, masked;
	bool wide = env->hflags & HFLAG_CS64;

	(void)uc;
	u->corrected[CORRECTED_SYSCALL]++;
	env->regs[CPU_RCX] = u->last_rip + SYSCALL_BYTES;
	env->regs[CPU_R11] = flags;
	masked = (flags & ~(u32)u->msrs->fmask) | FLAG_FIXED;
	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &masked);
	load_flat(u, SEG_CS, cs, 0x00a09b00);
	load_flat(u, SEG_SS, cs + 8, 0x00c09300);
	env->hflags = (env->hflags & ~(HFLAG_CPL | HFLAG_ADDSEG)) | HFLAG_CS32 | HFLAG_SS32 |
		      HFLAG_CS64;
	env->eip = (wide ? u->msrs->lstar : u->msrs->cstar) - SYSCALL_BYTES;
}

static u32 on_in(uc_void *uc, u32 port, int size, void *ctx)
{
	struct unicorn *u = ctx;

	(void)uc;
	return u->events.in(u->events.ctx, (u16)port, (unsigned int)size);
}

static int on_cpuid(uc_void *uc, void *ctx)
{
	struct unicorn *u = ctx;
	u64 *r = u->env->regs;
	u32 out[4];

	(void)uc;
	u->events.cpuid(u->events.ctx, (u32)r[CPU_RAX], (u32)r[CPU_RCX], out);
	r[CPU_RAX] = out[0];
	r[CPU_RBX] = out[1];
	r[CPU_RCX] = out[2];
	r[CPU_RDX] = out[3];
	return 1;
}

/* A function pointer as Unicorn's hook_add() takes it. */
#define CALL(f)                                                                                    \
	((union {                                                                                  \
		 void (*call)(void);                                                               \
		 void *pointer;                                                                    \
	 }){.call = (void (*)(void))(f)}                                                           \
		 .pointer)

static bool add_hooks(struct unicorn *u)
{
	size_t h;

	return !u->hook(u->uc, &h, UC_HOOK_CODE, CALL(on_instruction), u, 1, 0) &&
	       !u->hook(u->uc, &h, UC_HOOK_INTR, CALL(on_exception), u, 1, 0) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN_INVALID, CALL(on_invalid), u, 1, 0) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN, CALL(on_syscall), u, 1, 0, UC_X86_INS_SYSCALL) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN, CALL(on_in), u, 1, 0, UC_X86_INS_IN) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN, CALL(on_cpuid), u, 1, 0, UC_X86_INS_CPUID);
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
	if (!add_hooks(u))
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
	write_msr(u, 0xc0000080, start->efer & ~EFER_LMA);
	u->reg_write(u->uc, UC_X86_REG_CR3, &start->cr3);
	u->reg_write(u->uc, UC_X86_REG_CR0, &start->cr0);
	for (u64 n = 0; n < sizeof(msrs) / sizeof(msrs[0]); n++)
		write_msr(u, msrs[n], 0);
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
	u->ctl(u->uc, UC_CTL_WRITE_TB_FLUSH);
	u->ctl(u->uc, UC_CTL_WRITE_TLB_FLUSH);
}

enum unicorn_end unicorn_run(struct unicorn *u)
{
	do {
		u->invalid = u->delivering = false;
		u->fresh = true;
		u->error = u->start(u->uc, u->env->eip, ~0ull, 0, 0);
		u->env->cr[2] = u->cr2;
		if (u->stop_requested)
			return UNICORN_STOPPED;
	} while (u->invalid);
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
		const u8 *from = virtual_byte(u, va + at);

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
	s->rflags = rflags_of(u);
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
