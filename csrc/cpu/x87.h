/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87.h - x87 instructions: the host executes them, on the guest's registers.
 *
 * An instruction runs between FRSTOR of the guest's image and FNSAVE into it, so that the
 * processor itself sees to stack, tags, rounding, C1, masked and unmasked responses. A stub is the
 * instruction and a return; x87.c has one of each form.
 */
#ifndef CPU_X87_H_
#define CPU_X87_H_

#include "cpu/state.h"

#define X87_OPCODE_BITS 0x7ffu

/* The memory operand's host address, and the arithmetic flags before and after. */
typedef u64 x87_stub(void *operand, u64 flags);

struct x87_call {
	void *operand;
	u64 flags;
};

#define X87_CONTROL_START 0x37fu
#define X87_TAGS_EMPTY 0xffffu

/* .op of struct insn; .imm is the stub, .size the memory operand's: log2 of bytes, 0 for ten of them. */
enum x87_op {
	X87_NONE,   /* #UD */
	X87_ABSENT, /* not implemented */
	X87_PLAIN,  /* no memory operand */
	X87_LOAD,
	X87_STORE,
	X87_FLAGS, /* no memory operand; the result is in RFLAGS */
	X87_FLDCW,
	X87_FNSTCW,
	X87_FNSTSW,
	X87_FNCLEX,
	X87_FNINIT,
	X87_FLDENV,
	X87_FNSTENV,
	X87_FRSTOR,
	X87_FNSAVE
};

static inline u8 x87_size_of(unsigned int bytes)
{
	return bytes == 2 ? 1 : bytes == 4 ? 2 : bytes == 8 ? 3 : 0;
}

static inline unsigned int x87_bytes(const struct insn *i)
{
	return i->size ? 1u << i->size : 10;
}

/* What FOP holds, eleven bits, in .reg and .rm: these name registers elsewhere and stay below. */
static inline void x87_set_opcode(struct insn *i, u8 opcode, u8 modrm)
{
	i->reg = modrm & 0x7f;
	i->rm = (u8)((opcode & 7) << 1 | modrm >> 7);
}

static inline u16 x87_opcode(const struct insn *i)
{
	return (u16)(i->rm << 7 | i->reg);
}

/* ---- x87.c ---- */
/* Address of the stub, for any of d8..df; without effect on the stub, ModRM.rm and mod of a memory operand. */
u64 x87_find_stub(u8 opcode, u8 modrm);

/* ---- fpu_state.c ---- */
/* @stub NULL: only through the processor and back, which sets fixed bits and tags. */
void x87_execute(struct cpu *c, struct x87_image *image, x87_stub *stub, struct x87_call *call);
void fpu_reset(struct cpu *c);
void fpu_give_back(struct cpu *c);

static inline void fpu_release(struct cpu *c)
{
	if (unlikely(c->fpu.host_mxcsr_saved || c->fpu.host_x87_saved))
		fpu_give_back(c);
}

#endif /* CPU_X87_H_ */
