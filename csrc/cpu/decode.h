/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.h - from bytes to struct insn.
 *
 * Interface
 *  - decode_insn() decodes one instruction of code of c->code_size. It writes up to two struct insn
 *    (an op_address() in front of instructions with an FS or GS base or a 32-bit address, and in
 *    legacy code in front of every memory operand) and says how the instruction ends a block.
 *  - It never fails: what the architecture does not define raises #UD when executed, what this
 *    interpreter does not do stops as unimplemented when executed.
 *
 * Static loads and stores, counted when the instruction retires:
 *
 *	ALU, shifts, INC.., XADD, XCHG, CMPXCHG* with memory destination	1 load, 1 store
 *	ALU with memory source, CMP, TEST, BT, MOVZX.., CMOVcc, IMUL, DIV	1 load
 *	MOV to memory, SETcc, STOS, SGDT, SIDT, SLDT, STR, SMSW		1 store
 *	MOV from memory, LODS, SCAS, XLAT, LGDT, LIDT, LLDT, LTR, LMSW	1 load
 *	PUSH	1 store; of memory also 1 load
 *	POP	1 load; to memory also 1 store
 *	CALL	1 store; through memory also 1 load
 *	RET, LEAVE, POPF	1 load
 *	far JMP 1 load, far CALL 1 load and 2 stores, far RET 2 loads, IRET 5 loads
 *	LDS.., BOUND	1 load; ARPL 1 load, and 1 store whether it changes anything or not
 *	in legacy code: IRET 3 loads, PUSHA 8 stores, POPA 7 loads
 *	ENTER	1 store, and with a nesting level as many more and one load less than these; the probe
 *		of the new stack is none
 *	MOVS	1 load, 1 store; CMPS 2 loads; INS 1 store; OUTS 1 load; each iteration
 *	SSE or x87 with memory source, LDMXCSR, FLDCW, FLDENV, FRSTOR, FXRSTOR	1 load
 *	SSE to memory (MASKMOVDQU whatever the mask says), STMXCSR, FXSAVE	1 store
 *	x87 to memory, FNSTCW, FNSTSW, FNSTENV, FNSAVE	1 store
 *	LEA, NOP, PREFETCH, CLFLUSH, INT n	none
 *
 * However wide and however aligned, an operand is one load or one store (SGDT's ten
 * bytes and FXSAVE's 512, too).
 */
#ifndef CPU_DECODE_H_
#define CPU_DECODE_H_

#include "cpu/state.h"

enum decode_end {
	DECODE_PLAIN,	  /* the block may go on */
	DECODE_BRANCH,	  /* ends the block, sets RIP itself */
	DECODE_ALONE,	  /* makes a block of its own and sets RIP only if it says so */
	DECODE_TRUNCATED, /* needs more bytes */
};

/* The work of decoding one instruction; private to the decode files. */
struct decoder {
	const struct cpu *c;
	const u8 *bytes;
	u32 available, at;
	u64 va;
	bool truncated;
	struct insn *out; /* the instruction itself */
	enum decode_end end;
	/* Prefixes. */
	bool operand16; /* 66; in 16-bit code operands have 32 bits then */
	bool address32, rep, repne, lock;
	bool code16;
	bool legacy;	/* 16- or 32-bit code; then address32 is set */
	bool address16; /* in legacy code, by its size and 67 */
	u8 rex;
	u8 segment; /* SEG_FS, SEG_GS or SEG_NONE; any in legacy code */
	/* Opcode and ModRM. */
	u8 opcode;
	u8 modrm;
	u8 reg, rm; /* with REX extension; rm only if not memory */
	bool memory, rip_relative;
	u8 operand_size; /* 1..3 by prefixes */
	u8 size;	 /* 0 for opcodes with bit 0 clear, else operand_size */
	bool lockable;
	u32 cost;	/* subcycles without loads, stores and LOCK */
	bool locked;	/* costs as LOCK does */
	bool no_access; /* the memory operand is an address only */
};

/* Writes out[0], and out[1] if the first is op_address(); *n is how many. */
enum decode_end decode_insn(const struct cpu *c, u64 va, const u8 *bytes, u32 available,
			    struct insn *out, u32 *n);

/* ---- between the decode files ---- */
u64 decode_bytes(struct decoder *d, unsigned int n);
s64 decode_immediate(struct decoder *d, unsigned int size); /* at most 4 bytes, sign-extended */
void decode_modrm(struct decoder *d);
void decode_one_byte(struct decoder *d);
void decode_two_byte(struct decoder *d); /* behind 0f */
void decode_enter(struct decoder *d);
void decode_invalid(struct decoder *d);
void decode_unimplemented(struct decoder *d);
u8 decode_register(const struct decoder *d, unsigned int number, unsigned int size);
/* Operand registers of ModRM for operands of @size. */
void decode_operands(struct decoder *d, unsigned int size);
void decode_alone(struct decoder *d, insn_fn *fn, u32 cost);
/*
 * A direct branch: the target is relative to the end, which is here. @size: 0 for one byte, else 2:
 * as many as the operand size says. A target that is not canonical
 * makes op_branch_out() its handler.
 */
void decode_relative(struct decoder *d, insn_fn *fn, unsigned int size);

/* ---- decode_legacy.c ---- */
bool decode_legacy(struct decoder *d); /* false: as in 64-bit code */
void decode_address16(struct decoder *d, unsigned int mod, unsigned int rm);

/* ---- decode_simd.c ---- */
bool decode_is_simd(u8 opcode);	     /* behind 0f */
void decode_simd(struct decoder *d); /* behind 0f, ModRM not yet read */
void decode_fpu_state(struct decoder *d);

/* ---- decode_x87.c ---- */
void decode_x87(struct decoder *d);

/* ---- decode_control.c ---- */
void decode_indirect(struct decoder *d, bool call);
void decode_loop(struct decoder *d); /* LOOP*, JRCXZ */
void decode_return(struct decoder *d);
void decode_far_return(struct decoder *d);
void decode_far_branch(struct decoder *d, insn_fn *fn);
void decode_interrupt(struct decoder *d);
void decode_xbegin(struct decoder *d);
void decode_load_far(struct decoder *d, unsigned int segment); /* LSS and its like */

/* The stack's operands have the code's own size without a prefix; REX.W overrides 66. */
static inline unsigned int decode_stack_size(const struct decoder *d)
{
	if (d->operand_size == 1)
		return 1;
	return d->legacy ? 2 : 3;
}

/* Of the registers that hold addresses without ModRM, and that count. */
static inline u64 decode_address_mask(const struct decoder *d)
{
	if (d->address16)
		return 0xffff;
	return d->address32 ? 0xffffffffull : ~0ull;
}

static inline bool decode_one_of(u8 value, u8 first, u8 last)
{
	return value >= first && value <= last;
}

#endif /* CPU_DECODE_H_ */
