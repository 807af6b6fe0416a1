/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn_force.c - what the machine around it does to Unicorn: states that are put in, interrupts,
 * exceptions; and SSE registers. Interface: unicorn.h.
 *
 * A code hook cannot move RIP inside of a translation. So the library is stopped before the instruction
 * and started again at the new RIP.
 */
#include <string.h>

#include "unicorn_internal.h"

#define UC_X86_REG_MXCSR 249
#define MSR_EFER 0xc0000080u

static void go_on(struct unicorn *u)
{
	u->again = true;
	u->stop(u->uc);
}

static struct qemu_segment to_qemu(const struct cpu_segment *s)
{
	return (struct qemu_segment){s->selector, s->base, s->limit, (u32)s->attr << 8};
}

static void put_control(struct unicorn *u, const struct cpu_state *s)
{
	struct qemu_env *env = u->env;

	if (env->efer != s->efer)
		unicorn_write_msr(u, MSR_EFER, s->efer & ~EFER_LMA);
	if (env->cr[4] != s->cr4)
		u->update_cr4(env, (u32)s->cr4);
	if (env->cr[3] != s->cr3)
		u->update_cr3(env, s->cr3);
	if (env->cr[0] != s->cr0)
		u->update_cr0(env, (u32)s->cr0);
	env->efer = s->efer;
	env->cr[2] = u->cr2 = s->cr2;
}

static void put(struct unicorn *u, const struct cpu_state *s)
{
	u32 flags = (u32)s->rflags & ~(u32)FLAG_RF;
	struct qemu_env *env = u->env;

	put_control(u, s);
	memcpy(env->regs, s->regs, sizeof(env->regs));
	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &flags);
	*u->msrs = (struct qemu_msrs){s->star, u->msrs->vm_hsave, s->lstar, s->cstar, s->sfmask,
				      s->kernel_gs_base};
	for (int n = 0; n < NR_SEGS; n++)
		env->segs[n] = to_qemu(&s->seg[n]);
	env->ldt = to_qemu(&s->ldt);
	env->tr = to_qemu(&s->tr);
	env->gdt = (struct qemu_segment){0, s->gdt_base, s->gdt_limit, 0};
	env->idt = (struct qemu_segment){0, s->idt_base, s->idt_limit, 0};
	env->eip = s->rip;
	u->update_hflags(env);
	u->cpl_before = s->cpl;
	u->before[0] = env->segs[SEG_FS];
	u->before[1] = env->segs[SEG_GS];
}

void unicorn_put(struct unicorn *u, const struct cpu_state *s)
{
	put(u, s);
	go_on(u);
}

/* QEMU pushes the flags that it holds, which are not always up to date in a hook. */
static void put_flags(struct unicorn *u, u64 rflags)
{
	u32 flags = (u32)rflags & ~(u32)FLAG_RF;

	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &flags);
	u->last_flags = unicorn_rflags(u);
}

void unicorn_interrupt(struct unicorn *u, unsigned int vector, u64 rflags)
{
	put_flags(u, rflags);
	u->env->eip = u->last_rip;
	u->delivering = true;
	u->delivering_software = false;
	u->interrupt(u->env, (int)vector, 1);
	u->delivering = false;
	u->cr2 = u->env->cr[2];
	go_on(u);
}

void unicorn_raise(struct unicorn *u, unsigned int vector, s32 error, u64 rflags)
{
	put_flags(u, rflags);
	u->env->eip = u->last_rip;
	u->raise(u->env, (int)vector, 0, error < 0 ? 0 : error, 0);
}

const void *unicorn_xmm(const struct unicorn *u, unsigned int n)
{
	return u->xmm + n * XMM_STRIDE;
}

void unicorn_put_xmm(struct unicorn *u, unsigned int n, const void *value)
{
	memcpy(u->xmm + n * XMM_STRIDE, value, 16);
}

u32 unicorn_mxcsr(const struct unicorn *u)
{
	u32 value = 0;

	u->reg_read(u->uc, UC_X86_REG_MXCSR, &value);
	return value;
}
