/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c - instructions that ask somebody else: MSRs, RDPMC, TSC, CPUID, ports, HLT, VMCALL; and
 * those that change interrupt flags or bases.
 *
 * Interface
 *  - Each stands in a block of its own, so that totals are exact when its callback runs.
 *  - Order as on hardware: privilege check, intercept, then the direct access.
 *  - What stops (intercepts, unimplemented) changes nothing; RIP stays at the instruction.
 *
 * Not modelled
 *  - MONITOR, MWAIT, RDRAND, RDSEED, XSAVE and XGETBV (#UD: CR4.OSXSAVE cannot be set), INVPCID.
 *  - CR8 is a plain register: it is not the local APIC's task priority.
 */
#include <string.h>

#include "cpu/block.h"
#include "base/fault.h"
#include "cpu/flags.h"
#include "base/msr_access.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

#define EFER_WRITABLE (EFER_SCE | EFER_LME | EFER_NXE)

static void require_cpl0(struct cpu *c, const struct insn *i)
{
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
}

static u64 edx_eax(const struct cpu *c)
{
	return (u32)c->regs[CPU_RAX] | c->regs[CPU_RDX] << 32;
}

static void set_edx_eax(struct cpu *c, u64 v)
{
	c->regs[CPU_RAX] = (u32)v;
	c->regs[CPU_RDX] = v >> 32;
}

static struct cpu_exit *intercepted(struct cpu *c, const struct insn *i, enum cpu_insn insn)
{
	c->exit = (struct cpu_exit){.insn = insn, .len = i->len, .rip = c->rip};
	c->stop = CPU_STOP_INTERCEPT;
	c->outcome = OUTCOME_STOPPED;
	return &c->exit;
}

/* ---- what cannot be executed ---- */

void op_invalid(struct cpu *c, const struct insn *i)
{
	raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
}

void op_too_long(struct cpu *c, const struct insn *i)
{
	raise_fault(c, i, VECTOR_GP, 0);
}

void op_unimplemented(struct cpu *c, const struct insn *i)
{
	stop_unimplemented(c, i);
}

/* ---- MSRs ---- */

bool cpu_owns_msr(u32 msr)
{
	return (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP) ||
	       (msr >= MSR_EFER && msr <= MSR_SFMASK) || (msr >= MSR_FS_BASE && msr <= MSR_TSC_AUX);
}

int cpu_rdmsr(const struct cpu *c, u32 msr, u64 *v)
{
	switch (msr) {
	case MSR_SYSENTER_CS: *v = c->sysenter_cs; return 0;
	case MSR_SYSENTER_ESP: *v = c->sysenter_esp; return 0;
	case MSR_SYSENTER_EIP: *v = c->sysenter_eip; return 0;
	case MSR_EFER: *v = c->efer; return 0;
	case MSR_STAR: *v = c->star; return 0;
	case MSR_LSTAR: *v = c->lstar; return 0;
	case MSR_CSTAR: *v = c->cstar; return 0;
	case MSR_SFMASK: *v = c->sfmask; return 0;
	case MSR_FS_BASE: *v = c->seg[SEG_FS].base; return 0;
	case MSR_GS_BASE: *v = c->seg[SEG_GS].base; return 0;
	case MSR_KERNEL_GS_BASE: *v = c->kernel_gs_base; return 0;
	case MSR_TSC_AUX: *v = c->tsc_aux; return 0;
	default: return -1;
	}
}

static int write_efer(struct cpu *c, u64 v)
{
	u64 changed;

	if (v & ~(EFER_WRITABLE | EFER_LMA))
		return -1;
	v = (v & EFER_WRITABLE) | (c->efer & EFER_LMA);
	changed = v ^ c->efer;
	if ((changed & EFER_LME) && (c->cr0 & CR0_PG))
		return -1;
	c->efer = v;
	if (changed & EFER_NXE)
		tlb_flush(c);
	return 0;
}

static int write_address(u64 *to, u64 v)
{
	if (!is_canonical(v))
		return -1;
	*to = v;
	return 0;
}

int cpu_wrmsr(struct cpu *c, u32 msr, u64 v)
{
	switch (msr) {
	case MSR_SYSENTER_CS: c->sysenter_cs = (u32)v; return 0;
	case MSR_SYSENTER_ESP: return write_address(&c->sysenter_esp, v);
	case MSR_SYSENTER_EIP: return write_address(&c->sysenter_eip, v);
	case MSR_EFER: return write_efer(c, v);
	case MSR_STAR: c->star = v; return 0;
	case MSR_LSTAR: return write_address(&c->lstar, v);
	case MSR_CSTAR: return write_address(&c->cstar, v);
	case MSR_FS_BASE: return write_address(&c->seg[SEG_FS].base, v);
	case MSR_GS_BASE: return write_address(&c->seg[SEG_GS].base, v);
	case MSR_KERNEL_GS_BASE: return write_address(&c->kernel_gs_base, v);
	case MSR_SFMASK:
		if (v >> 32)
			return -1;
		c->sfmask = v;
		return 0;
	case MSR_TSC_AUX:
		if (v >> 32)
			return -1;
		c->tsc_aux = (u32)v;
		return 0;
	default: return -1;
	}
}

void op_rdmsr(struct cpu *c, const struct insn *i)
{
	u32 msr = (u32)c->regs[CPU_RCX];
	u64 v = 0;
	int fault;

	require_cpl0(c, i);
	if (c->intercept && cpu_msr_intercepted(c->intercept, msr, false)) {
		intercepted(c, i, CPU_INSN_RDMSR)->msr = msr;
		return;
	}
	fault = cpu_owns_msr(msr) ? cpu_rdmsr(c, msr, &v) : c->ops->rdmsr(c->ctx, msr, &v);
	if (fault)
		raise_fault(c, i, VECTOR_GP, 0);
	set_edx_eax(c, v);
	NEXT_INSN(c, i);
}

void op_wrmsr(struct cpu *c, const struct insn *i)
{
	u32 msr = (u32)c->regs[CPU_RCX];
	u64 v = edx_eax(c);
	int fault;

	require_cpl0(c, i);
	if (c->intercept && cpu_msr_intercepted(c->intercept, msr, true)) {
		struct cpu_exit *e = intercepted(c, i, CPU_INSN_WRMSR);

		e->msr = msr;
		e->value = v;
		return;
	}
	fault = cpu_owns_msr(msr) ? cpu_wrmsr(c, msr, v) : c->ops->wrmsr(c->ctx, msr, v);
	if (fault == MSR_NOT_MODELLED)
		stop_unimplemented(c, i);
	if (fault)
		raise_fault(c, i, VECTOR_GP, 0);
	NEXT_INSN(c, i);
}

void op_rdpmc(struct cpu *c, const struct insn *i)
{
	u32 ecx = (u32)c->regs[CPU_RCX];
	u64 v = 0;

	if (c->cpl && !(c->cr4 & CR4_PCE) && !FAULTY(RDPMC_IGNORES_PCE))
		raise_fault(c, i, VECTOR_GP, 0);
	if (c->intercept && c->intercept->rdpmc) {
		intercepted(c, i, CPU_INSN_RDPMC)->msr = ecx;
		return;
	}
	if (c->ops->rdpmc(c->ctx, ecx, &v))
		raise_fault(c, i, VECTOR_GP, 0);
	set_edx_eax(c, v);
	NEXT_INSN(c, i);
}

/* RDTSC; RDTSCP if op is set. */
void op_rdtsc(struct cpu *c, const struct insn *i)
{
	if (c->cpl && (c->cr4 & CR4_TSD))
		raise_fault(c, i, VECTOR_GP, 0);
	set_edx_eax(c, c->ops->rdtsc(c->ctx));
	if (i->op)
		c->regs[CPU_RCX] = c->tsc_aux;
	NEXT_INSN(c, i);
}

void op_cpuid(struct cpu *c, const struct insn *i)
{
	u32 regs[4] = {0};

	if (c->intercept && c->intercept->cpuid) {
		intercepted(c, i, CPU_INSN_CPUID);
		return;
	}
	c->ops->cpuid(c->ctx, (u32)c->regs[CPU_RAX], (u32)c->regs[CPU_RCX], regs);
	c->regs[CPU_RAX] = regs[0];
	c->regs[CPU_RBX] = regs[1];
	c->regs[CPU_RCX] = regs[2];
	c->regs[CPU_RDX] = regs[3];
	NEXT_INSN(c, i);
}

/* VMCALL and VMMCALL. */
void op_vmcall(struct cpu *c, const struct insn *i)
{
	if (!c->intercept || !c->intercept->vmcall)
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
	intercepted(c, i, CPU_INSN_VMCALL);
}

void op_hlt(struct cpu *c, const struct insn *i)
{
	require_cpl0(c, i);
	if (c->intercept && c->intercept->hlt) {
		intercepted(c, i, CPU_INSN_HLT);
		return;
	}
	c->halted = true;
	NEXT_INSN(c, i);
}

/* ---- ports ---- */

#define TSS_IO_MAP 102u

void require_port(struct cpu *c, const struct insn *i, u16 port, unsigned int bytes)
{
	u64 map, mask = (1u << bytes) - 1;

	if (c->cpl <= (c->flags & FLAG_IOPL) >> 12)
		return;
	if (c->tr.limit < TSS_IO_MAP + 1)
		raise_fault(c, i, VECTOR_GP, 0);
	map = system_read(c, i, c->tr.base + TSS_IO_MAP, 2) + port / 8;
	if (map + 1 > c->tr.limit)
		raise_fault(c, i, VECTOR_GP, 0);
	if (system_read(c, i, c->tr.base + map, 2) >> (port & 7) & mask)
		raise_fault(c, i, VECTOR_GP, 0);
}

static u16 port_operand(const struct cpu *c, const struct insn *i)
{
	return i->flags & INSN_IMM ? (u16)i->imm : (u16)c->regs[CPU_RDX];
}

void op_in(struct cpu *c, const struct insn *i)
{
	u16 port = port_operand(c, i);
	unsigned int bytes = 1u << i->size;

	require_port(c, i, port, bytes);
	if (c->intercept && c->intercept->io) {
		struct cpu_exit *e = intercepted(c, i, CPU_INSN_IN);

		e->port = port;
		e->size = (u8)bytes;
		return;
	}
	set_reg_sized(c, RAX_OFFSET, i->size, c->ops->in(c->ctx, port, bytes));
	watch_port(c, port, bytes);
	NEXT_INSN(c, i);
}

void op_out(struct cpu *c, const struct insn *i)
{
	u16 port = port_operand(c, i);
	unsigned int bytes = 1u << i->size;
	u32 value = (u32)get_reg_sized(c, RAX_OFFSET, i->size);

	require_port(c, i, port, bytes);
	if (c->intercept && c->intercept->io) {
		struct cpu_exit *e = intercepted(c, i, CPU_INSN_OUT);

		e->port = port;
		e->size = (u8)bytes;
		e->value = value;
		return;
	}
	c->ops->out(c->ctx, port, bytes, value);
	watch_port(c, port, bytes);
	NEXT_INSN(c, i);
}

/* ---- interrupt flag ---- */

static void require_iopl(struct cpu *c, const struct insn *i)
{
	if (c->cpl > (c->flags & FLAG_IOPL) >> 12)
		raise_fault(c, i, VECTOR_GP, 0);
}

void op_cli(struct cpu *c, const struct insn *i)
{
	require_iopl(c, i);
	c->flags &= ~FLAG_IF;
	NEXT_INSN(c, i);
}

void op_sti(struct cpu *c, const struct insn *i)
{
	require_iopl(c, i);
	if (!(c->flags & FLAG_IF))
		c->next_shadow = SHADOW_STI;
	c->flags |= FLAG_IF;
	NEXT_INSN(c, i);
}

/* ---- bases, lines, translations ---- */

enum fsgsbase_op { FSGSBASE_READ_FS, FSGSBASE_READ_GS, FSGSBASE_WRITE_FS, FSGSBASE_WRITE_GS };

void op_fsgsbase(struct cpu *c, const struct insn *i)
{
	u64 *base = &c->seg[i->op & 1 ? SEG_GS : SEG_FS].base;

	if (!(c->cr4 & CR4_FSGSBASE))
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
	if (i->op >= FSGSBASE_WRITE_FS && write_address(base, get_reg_sized(c, i->rm, i->size)))
		raise_fault(c, i, VECTOR_GP, 0);
	if (i->op < FSGSBASE_WRITE_FS)
		set_reg_sized(c, i->rm, i->size, *base);
	NEXT_INSN(c, i);
}

void op_swapgs(struct cpu *c, const struct insn *i)
{
	u64 base = c->seg[SEG_GS].base;

	require_cpl0(c, i);
	c->seg[SEG_GS].base = c->kernel_gs_base;
	c->kernel_gs_base = base;
	NEXT_INSN(c, i);
}

/* CLFLUSH, CLFLUSHOPT; CLWB leaves the line where it is and comes as a NOP. */
void op_clflush(struct cpu *c, const struct insn *i)
{
	flush_line(c, i, effective_address(c, i));
	NEXT_INSN(c, i);
}

void op_invlpg(struct cpu *c, const struct insn *i)
{
	require_cpl0(c, i);
	tlb_flush(c);
	NEXT_INSN(c, i);
}

/* INVD, WBINVD: every line is cold. */
void op_wbinvd(struct cpu *c, const struct insn *i)
{
	require_cpl0(c, i);
	memset(c->warm_lines, 0, c->ram.size / PAGE_BYTES * sizeof(*c->warm_lines));
	NEXT_INSN(c, i);
}
