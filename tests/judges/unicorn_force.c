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

#define UC_X86_REG_FPSW 31
#define UC_X86_REG_FP0 82
#define UC_X86_REG_FPCW 246
#define UC_X86_REG_FPTAG 247
#define UC_X86_REG_MXCSR 249
#define MSR_EFER 0xc0000080u

static void go_on(struct unicorn *u)
{
	u->again = true;
	u->resume = u->env->eip; /* the library puts the hook's address there when it stops */
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

/* LDTR and TR; the interpreter keeps no attributes of them: present, and of type @attr. */
static void put_table(struct qemu_segment *to, const struct cpu_segment *s, u16 attr)
{
	struct cpu_segment with = *s;

	with.attr = attr;
	if (to->selector != s->selector || to->base != s->base || to->limit != s->limit)
		*to = to_qemu(&with);
}

static void put(struct unicorn *u, const struct cpu_state *s)
{
	u32 flags = (u32)s->rflags & ~(u32)FLAG_RF;
	struct qemu_env *env = u->env;

	put_control(u, s);
	memcpy(env->regs, s->regs, sizeof(env->regs));
	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &flags);
	*u->msrs = (struct qemu_msrs){s->star,	u->msrs->vm_hsave, s->lstar,
				      s->cstar, s->sfmask,	   s->kernel_gs_base};
	for (int n = 0; n < NR_SEGS; n++)
		env->segs[n] = to_qemu(&s->seg[n]);
	put_table(&env->ldt, &s->ldt, 0x82);
	put_table(&env->tr, &s->tr, 0x8b);
	env->gdt = (struct qemu_segment){0, s->gdt_base, s->gdt_limit, 0};
	env->idt = (struct qemu_segment){0, s->idt_base, s->idt_limit, 0};
	env->eip = s->rip;
	u->update_hflags(env);
	u->cpl_before = s->cpl;
	u->before[0] = env->segs[SEG_FS];
	u->before[1] = env->segs[SEG_GS];
}

void unicorn_put_regs(struct unicorn *u, const u64 regs[16])
{
	memcpy(u->env->regs, regs, sizeof(u->env->regs));
}

void unicorn_begin(struct unicorn *u, const struct cpu_state *s)
{
	u32 mxcsr = 0x1f80; /* as behind FNINIT */
	u16 control = 0x37f, tags = 0xffff;

	u->reg_write(u->uc, UC_X86_REG_MXCSR, &mxcsr);
	u->reg_write(u->uc, UC_X86_REG_FPCW, &control);
	u->reg_write(u->uc, UC_X86_REG_FPTAG, &tags);
	put(u, s);
	u->stop_requested = false;
	u->last_rip = s->rip;
	unicorn_forget_code(u);
}

void unicorn_put(struct unicorn *u, const struct cpu_state *s)
{
	put(u, s);
	go_on(u);
}

void unicorn_put_flags(struct unicorn *u, u64 rflags)
{
	u32 flags = (u32)rflags & ~(u32)FLAG_RF;

	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &flags);
	u->last_flags = unicorn_rflags(u);
}

void unicorn_interrupt(struct unicorn *u, unsigned int vector, u64 rflags, bool resume)
{
	struct delivery before = unicorn_before_delivery(u);

	unicorn_put_flags(u, rflags);
	u->env->eip = u->last_rip;
	u->delivering = true;
	u->delivering_software = false;
	u->interrupt(u->env, (int)vector, 1);
	unicorn_delivered(u, vector, &before, false, resume);
	go_on(u);
}

void unicorn_raise(struct unicorn *u, unsigned int vector, s32 error, u64 cr2, u64 rflags)
{
	u->env->cr[2] = cr2;
	unicorn_put_flags(u, rflags);
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

void unicorn_x87(const struct unicorn *u, struct unicorn_x87 *x)
{
	u16 tags = 0;

	u->reg_read(u->uc, UC_X86_REG_FPCW, &x->control);
	u->reg_read(u->uc, UC_X86_REG_FPSW, &x->status);
	u->reg_read(u->uc, UC_X86_REG_FPTAG, &tags);
	x->filled = 0;
	memset(x->st, 0, sizeof(x->st));
	for (int n = 0; n < 8; n++) {
		if ((tags >> (2 * n) & 3) != 3)
			x->filled |= (u8)(1u << n);
		u->reg_read(u->uc, UC_X86_REG_FP0 + ((n + (x->status >> 11)) & 7), x->st[n]);
	}
}
