/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn_events.c - Unicorn's hooks: instructions, exceptions, SYSCALL, ports and CPUID.
 *
 * What is wrong in its deliveries is put right here, so that handlers see what they would see on
 * silicon: enum correction.
 */
#include <string.h>

#include "unicorn_internal.h"

/* Of unicorn/unicorn.h and unicorn/x86.h. */
#define UC_HOOK_INTR 1
#define UC_HOOK_INSN 2
#define UC_HOOK_CODE 4
#define UC_HOOK_INSN_INVALID (1 << 14)
#define UC_X86_INS_CPUID 113
#define UC_X86_INS_IN 218
#define UC_X86_INS_SYSCALL 699

/* Unicorn's own answer mixes in arithmetic flags of earlier instructions. */
u32 unicorn_rflags(const struct unicorn *u)
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
	u->last_flags = unicorn_rflags(u);
	keep_null_bases(u);
	u->events.instruction(u->events.ctx, u->last_rip);
}

static bool has_error_code(unsigned int vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == 17;
}

/* How the page tables are walked: levels, bits of an index, bytes of an entry. */
struct walk {
	unsigned int levels, bits, entry;
};

static struct walk walk_of(const struct qemu_env *env)
{
	if (env->efer & EFER_LMA)
		return (struct walk){4, 9, 8};
	return env->cr[4] & CR4_PAE ? (struct walk){3, 9, 8} : (struct walk){2, 10, 4};
}

/* A walk that leaves no trace; NULL: not mapped. */
u8 *unicorn_virtual_byte(const struct unicorn *u, u64 va)
{
	u64 entry = u->env->cr[3], mask = PAGE_MASK;
	struct walk w = walk_of(u->env);

	if (!(u->env->efer & EFER_LMA))
		va = (u32)va;
	if (!(u->env->cr[0] & CR0_PG))
		return (u32)va < u->ram_size ? u->ram + (u32)va : NULL;
	for (unsigned int level = w.levels; level; level--) {
		unsigned int shift = 12 + w.bits * (level - 1);
		u64 table = w.levels == 3 && level == 3 ? entry & ~31ull : entry & TABLE_MASK;
		u64 at = table + w.entry * (va >> shift & ((1u << w.bits) - 1));

		if (at >= u->ram_size)
			return NULL;
		entry = 0;
		memcpy(&entry, u->ram + at, w.entry);
		if (!(entry & 1))
			return NULL;
		if (level > 1 && level < 4 && !(w.levels == 3 && level == 3) &&
		    (entry & PTE_LARGE)) {
			mask = ~0ull << shift;
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

static void push_rf(struct unicorn *u, unsigned int vector, bool fault, bool resume)
{
	bool wide = u->env->efer & EFER_LMA;
	u64 at = u->env->regs[CPU_RSP] + (fault && has_error_code(vector) ? 3 : 2) * (wide ? 8 : 4);
	u8 *flags = unicorn_virtual_byte(u, at + 2);

	u8 rf = resume ? FLAG_RF >> 16 : 0;

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
	if (u->env->eip != u->last_rip || unicorn_rflags(u) == u->last_flags)
		return;
	u->reg_write(u->uc, UC_X86_REG_EFLAGS, &u->last_flags);
	u->corrected[CORRECTED_FLAGS]++;
}

struct delivery unicorn_before_delivery(const struct unicorn *u)
{
	return (struct delivery){u->env->segs[SEG_SS], u->env->hflags & HFLAG_CPL};
}

void unicorn_delivered(struct unicorn *u, unsigned int vector, const struct delivery *before,
		       bool fault, bool resume)
{
	if (before->cpl == (u->env->hflags & HFLAG_CPL) &&
	    before->ss.selector != u->env->segs[SEG_SS].selector) {
		u->env->segs[SEG_SS] = before->ss;
		u->corrected[CORRECTED_IST_SS]++;
	}
	push_rf(u, vector, fault, resume);
	u->delivering = false;
	u->cr2 = u->env->cr[2];
}

/* May leave by the library's longjmp(), when the delivery faults: then it comes again. */
static void deliver(struct unicorn *u, unsigned int vector)
{
	bool software = u->exception->is_int;
	struct delivery before = unicorn_before_delivery(u);
	/* A single step is behind its instruction. */
	bool trap = vector == VECTOR_DB && u->env->eip != u->last_rip;

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
	unicorn_delivered(u, vector, &before, !software, !software && !trap);
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

bool unicorn_add_hooks(struct unicorn *u)
{
	size_t h;

	return !u->hook(u->uc, &h, UC_HOOK_CODE, CALL(on_instruction), u, 1, 0) &&
	       !u->hook(u->uc, &h, UC_HOOK_INTR, CALL(on_exception), u, 1, 0) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN_INVALID, CALL(on_invalid), u, 1, 0) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN, CALL(on_syscall), u, 1, 0, UC_X86_INS_SYSCALL) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN, CALL(on_in), u, 1, 0, UC_X86_INS_IN) &&
	       !u->hook(u->uc, &h, UC_HOOK_INSN, CALL(on_cpuid), u, 1, 0, UC_X86_INS_CPUID);
}
