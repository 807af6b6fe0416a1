/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - life of a struct cpu, and what others may see and change of it.
 *
 * Interface: cpu.h.
 *
 * Not modelled
 *  - virtual-8086 mode, and CPL 1 and 2: a CPU that is started there stops as unimplemented.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/memory.h"
#include "cpu/pages.h"
#include "cpu/predict.h"
#include "cpu/x87.h"

#define DR6_RESET 0xffff0ff0ull
#define DR7_RESET 0x400ull

void join_peers(struct cpu *c, struct cpu *peer)
{
	c->next_peer = c;
	if (!peer)
		return;
	c->next_peer = peer->next_peer;
	peer->next_peer = c;
}

static void leave_peers(struct cpu *c)
{
	struct cpu *before = c->next_peer;

	while (before->next_peer != c)
		before = before->next_peer;
	before->next_peer = c->next_peer;
}

int cpu_new(struct cpu **out, const struct cpu_config *config)
{
	struct cpu *c = calloc(1, sizeof(*c));

	*out = NULL;
	if (!c)
		return -1;
	c->ram = config->ram;
	c->timing = config->timing;
	c->ops = config->ops;
	c->ctx = config->ops_ctx;
	c->check = config->check;
	c->id = config->id;
	c->rtm = config->rtm;
	c->one_by_one = config->one_by_one;
	c->profiles = config->profiles;
	c->nr_profiles = config->nr_profiles < CPU_MAX_PROFILES ? config->nr_profiles
								: CPU_MAX_PROFILES;
	c->map = 1;
	join_peers(c, config->peer);
	no_limits(c);
	for (unsigned int p = 0; p < NR_PRIV; p++)
		c->tlbs[p].nr_filled = TLB_FILLED_MAX + 1;
	tlb_flush(c);
	c->warm_lines = pages_new(c->ram.size / PAGE_BYTES, sizeof(*c->warm_lines));
	c->write_tags = pages_new(c->ram.size / PAGE_BYTES, sizeof(*c->write_tags));
	if (!c->warm_lines || !c->write_tags || blocks_new(c)) {
		cpu_free(c);
		return -1;
	}
	cpu_forget_branches(c);
	*out = c;
	return 0;
}

void cpu_free(struct cpu *c)
{
	if (!c)
		return;
	blocks_free(c);
	leave_peers(c);
	pages_free(c->warm_lines, c->ram.size / PAGE_BYTES, sizeof(*c->warm_lines));
	pages_free(c->write_tags, c->ram.size / PAGE_BYTES, sizeof(*c->write_tags));
	free(c);
}

void set_cpl(struct cpu *c, unsigned int cpl)
{
	c->cpl = (u8)cpl;
	c->priv = cpl == 3 ? PRIV_USR : PRIV_OS;
	c->tlb = c->tlbs[c->priv].entry;
	c->resume_block = NULL;
}

/* Real, protected or long mode, CPL 0 or 3; the bits that say which agree. */
static bool is_known_mode(struct cpu *c)
{
	bool paging = c->cr0 & CR0_PG;
	bool active = c->efer & EFER_LMA;

	if (active != (paging && (c->efer & EFER_LME)) || (paging && real_mode(c)))
		return false;
	if (active && !(c->cr4 & CR4_PAE))
		return false;
	if (paging && !active && (c->cr4 & CR4_PAE) && !read_pdptes(c, c->cr3, c->pdpte))
		return false;
	return c->cpl == 0 || c->cpl == 3;
}

void load_start_state(struct cpu *c, const struct cpu_start *start)
{
	memset(c->regs, 0, sizeof(c->regs));
	c->rip = start->rip;
	c->regs[CPU_RSP] = start->rsp;
	c->regs[CPU_RDI] = start->rdi;
	c->regs[CPU_RAX] = start->rax;
	c->regs[CPU_RBX] = start->rbx;
	set_rflags(c, start->rflags);
	c->cr0 = start->cr0 | CR0_ET;
	c->cr2 = 0;
	c->cr3 = start->cr3;
	c->cr4 = start->cr4;
	c->cr8 = 0;
	c->efer = start->efer;
	memset(c->dr, 0, sizeof(c->dr));
	c->dr[6] = DR6_RESET;
	c->dr[7] = DR7_RESET;
	for (unsigned int s = 0; s < NR_SEGS; s++)
		c->seg[s] = start->ds;
	c->seg[SEG_CS] = start->cs;
	c->seg[SEG_SS] = start->ss;
	c->gdt = (struct descriptor_table){.base = start->gdt_base, .limit = start->gdt_limit};
	c->idt = (struct descriptor_table){.base = start->idt_base, .limit = start->idt_limit};
	c->ldt = (struct descriptor_table){0};
	c->tr = (struct descriptor_table){0};
	c->halted = c->shutdown = c->nmi_blocked = false;
	c->waits_for_sipi = false;
	c->shadow = 0;
	c->want_irq = c->want_nmi = false;
	c->stop_requested = false;
	c->limits_valid = false;
	c->force_alone = c->between_iterations = false;
	c->debug_traps = 0;
	update_breakpoints(c);
	set_cpl(c, real_mode(c) ? 0 : start->cs.selector & 3);
	c->pending_priv = c->priv;
	tlb_flush(c);
	c->unimplemented = false;
	update_code_mode(c);
	c->wrong_mode = (start->rflags & FLAG_VM) || !is_known_mode(c);
}

/* All that INIT leaves alone, too. */
void cpu_start(struct cpu *c, const struct cpu_start *start)
{
	c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
	c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = 0;
	c->tsc_aux = 0;
	fpu_reset(c);
	load_start_state(c, start);
}

const struct event_totals *cpu_totals(const struct cpu *c)
{
	return &c->totals;
}

const struct cpu_skipped *cpu_skipped(const struct cpu *c)
{
	return &c->skipped;
}

const struct cpu_exit *cpu_exit_info(const struct cpu *c)
{
	return &c->exit;
}

void cpu_request_stop(struct cpu *c)
{
	c->stop_requested = true;
}

void cpu_ask_pause(struct cpu *c)
{
	atomic_store_explicit(&c->pause_asked, true, memory_order_relaxed);
}

bool cpu_pause_asked(const struct cpu *c)
{
	return atomic_load_explicit(&c->pause_asked, memory_order_relaxed);
}

void cpu_forget_pause(struct cpu *c)
{
	atomic_store_explicit(&c->pause_asked, false, memory_order_relaxed);
}

void cpu_horizon_changed(struct cpu *c)
{
	c->limits_valid = false;
}

void cpu_skip_insn(struct cpu *c)
{
	if (c->exit.insn == CPU_INSN_WORK) {
		work_skip_one(c);
	} else {
		c->rip += c->exit.len;
		c->skipped.instructions[c->priv]++;
		c->skipped.branches[c->priv] += c->exit.branches;
	}
	c->shadow = 0;
	c->resume_block = NULL;
}

void cpu_exit_is_insn(struct cpu *c, enum cpu_insn insn, u8 len)
{
	c->exit = (struct cpu_exit){.insn = insn, .len = len, .rip = c->rip};
}

u64 cpu_reg(const struct cpu *c, enum cpu_reg reg)
{
	return c->regs[reg];
}

void cpu_set_reg(struct cpu *c, enum cpu_reg reg, u64 value)
{
	c->regs[reg] = value;
}

u64 cpu_rip(const struct cpu *c)
{
	return c->rip;
}

void cpu_set_rip(struct cpu *c, u64 rip)
{
	c->rip = rip;
	c->resume_block = NULL;
}

u64 cpu_linear_rip(const struct cpu *c)
{
	return linear_address(c, c->rip);
}

bool cpu_irqs_on(const struct cpu *c)
{
	return c->flags & FLAG_IF;
}

u64 cpu_rflags(const struct cpu *c)
{
	return get_rflags(c);
}

unsigned int cpu_cpl(const struct cpu *c)
{
	return c->cpl;
}

bool cpu_halted(const struct cpu *c)
{
	return c->halted;
}

bool cpu_can_take_irq(const struct cpu *c)
{
	return (c->flags & FLAG_IF) && !c->shadow;
}

bool cpu_can_take_nmi(const struct cpu *c)
{
	return !c->nmi_blocked && !c->shadow && !c->waits_for_sipi;
}

void cpu_want_window(struct cpu *c, bool irq, bool nmi)
{
	c->want_irq = irq;
	c->want_nmi = nmi;
}

void cpu_inject(struct cpu *c, enum cpu_event_type type, unsigned int vector, int error_code)
{
	struct event event = {.vector = (u8)vector, .error = NO_ERROR_CODE};

	if (type == CPU_EVENT_EXCEPTION) {
		event.error = error_code < 0 ? NO_ERROR_CODE : error_code;
		event.fault = vector != VECTOR_DB && vector != VECTOR_BP;
	}
	if (type == CPU_EVENT_NMI)
		event.vector = VECTOR_NMI;
	c->halted = false;
	deliver_event(c, &event);
	if (type == CPU_EVENT_NMI)
		c->nmi_blocked = true;
}

void cpu_forget_branches(struct cpu *c)
{
	predictor_reset(&c->predictor);
}

int cpu_read_physical(const struct cpu *c, u64 pa, void *to, size_t n)
{
	if (pa > c->ram.size || n > c->ram.size - pa)
		return -1;
	memcpy(to, c->ram.base + pa, n);
	return 0;
}

int cpu_read_virtual(struct cpu *c, u64 va, void *to, size_t n)
{
	u8 *at = to;

	while (n) {
		u64 part = min_u64(n, PAGE_BYTES - (va & ~PAGE_MASK));
		u64 pa;

		if (translate_probe(c, va, &pa) || cpu_read_physical(c, pa, at, part))
			return -1;
		at += part;
		va += part;
		n -= part;
	}
	return 0;
}

/* ---- intercepts ---- */

/* Index into the bitmaps, or -1 for MSRs that are always intercepted. */
static int msr_bit(u32 msr)
{
	static const u32 base[] = {0, 0xc0000000u, 0xc0010000u};

	for (unsigned int k = 0; k < ARRAY_SIZE(base); k++) {
		if (msr - base[k] <= 0x1fff)
			return (int)(k * 0x2000 + (msr - base[k]));
	}
	return -1;
}

static void put_bit(u64 *bitmap, int bit, bool on)
{
	u64 mask = BIT_ULL(bit & 63);

	bitmap[bit / 64] = on ? bitmap[bit / 64] | mask : bitmap[bit / 64] & ~mask;
}

void cpu_intercept_msr(struct cpu_intercept *in, u32 msr, bool read, bool write)
{
	int bit = msr_bit(msr);

	if (bit < 0)
		return;
	put_bit(in->msr_read, bit, read);
	put_bit(in->msr_write, bit, write);
}

bool cpu_msr_intercepted(const struct cpu_intercept *in, u32 msr, bool write)
{
	const u64 *bitmap = write ? in->msr_write : in->msr_read;
	int bit = msr_bit(msr);

	return in->all_msrs || bit < 0 || (bitmap[bit / 64] >> (bit & 63) & 1);
}

void cpu_set_intercept(struct cpu *c, const struct cpu_intercept *in)
{
	c->intercept = in;
}
