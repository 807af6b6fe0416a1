/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_x87.c - the opcodes d8 to df, and WAIT.
 *
 * Not implemented (stops as unimplemented when executed): transcendental functions, FISTTP (SSE3), second
 * encodings that the manuals do not have, instructions of the 8087 and 287 without effect, the
 * formats of environment and state in 16-bit code and of 16 bits.
 */
#include "cpu/decode.h"
#include "cpu/handlers.h"
#include "cpu/x87.h"

/* ---- memory ---- */

struct x87_memory {
	u8 op;	  /* enum x87_op; X87_NONE: #UD */
	u8 bytes; /* of the operand */
};

#define ARITHMETIC(bytes)                                                                          \
	{                                                                                          \
		{X87_LOAD, bytes}, {X87_LOAD, bytes}, {X87_LOAD, bytes}, {X87_LOAD, bytes},        \
			{X87_LOAD, bytes}, {X87_LOAD, bytes}, {X87_LOAD, bytes},                   \
		{                                                                                  \
			X87_LOAD, bytes                                                            \
		}                                                                                  \
	}

static const struct x87_memory memory_forms[8][8] = {
	ARITHMETIC(4),
	{{X87_LOAD, 4},
	 {X87_NONE, 0},
	 {X87_STORE, 4},
	 {X87_STORE, 4},
	 {X87_FLDENV, 28},
	 {X87_FLDCW, 2},
	 {X87_FNSTENV, 28},
	 {X87_FNSTCW, 2}},
	ARITHMETIC(4),
	{{X87_LOAD, 4},
	 {X87_ABSENT, 0},
	 {X87_STORE, 4},
	 {X87_STORE, 4},
	 {X87_NONE, 0},
	 {X87_LOAD, 10},
	 {X87_NONE, 0},
	 {X87_STORE, 10}},
	ARITHMETIC(8),
	{{X87_LOAD, 8},
	 {X87_ABSENT, 0},
	 {X87_STORE, 8},
	 {X87_STORE, 8},
	 {X87_FRSTOR, 108},
	 {X87_NONE, 0},
	 {X87_FNSAVE, 108},
	 {X87_FNSTSW, 2}},
	ARITHMETIC(2),
	{{X87_LOAD, 2},
	 {X87_ABSENT, 0},
	 {X87_STORE, 2},
	 {X87_STORE, 2},
	 {X87_LOAD, 10},
	 {X87_LOAD, 8},
	 {X87_STORE, 10},
	 {X87_STORE, 8}},
};

static bool is_divide(const struct decoder *d)
{
	return !(d->opcode & 1) && (d->reg & 7) >= 6;
}

static bool is_move(const struct decoder *d)
{
	return d->opcode == 0xd9 || d->opcode == 0xdb || d->opcode == 0xdd;
}

static void set_cost(struct decoder *d)
{
	const struct cpu_timing *t = &d->c->timing;

	d->cost = is_divide(d) ? t->divide : is_move(d) ? t->simple : t->multiply;
}

static void decode_area(struct decoder *d, insn_fn *fn)
{
	if (d->operand_size == 1 || d->code16)
		decode_unimplemented(d);
	else
		decode_alone(d, fn, d->c->timing.serialize);
}

static void decode_x87_memory(struct decoder *d)
{
	const struct x87_memory *form = &memory_forms[d->opcode & 7][d->reg & 7];

	d->out->op = form->op;
	d->out->size = x87_size_of(form->bytes);
	d->out->stores = form->op == X87_STORE || form->op == X87_FNSTENV ||
			 form->op == X87_FNSTCW || form->op == X87_FNSAVE || form->op == X87_FNSTSW;
	d->out->loads = !d->out->stores;
	switch (form->op) {
	case X87_LOAD:
	case X87_STORE:
		d->out->fn = op_x87;
		set_cost(d);
		break;
	case X87_FLDCW:
	case X87_FNSTCW:
	case X87_FNSTSW: d->out->fn = op_x87_control; break;
	case X87_FLDENV:
	case X87_FRSTOR: decode_area(d, op_x87_load_state); break;
	case X87_FNSTENV:
	case X87_FNSAVE: decode_area(d, op_x87_store_state); break;
	case X87_NONE: decode_invalid(d); break;
	default: decode_unimplemented(d); break;
	}
}

/* ---- registers: a bit for each ModRM from c0 on ---- */

#define ROW(n) (0xffull << 8 * (n)) /* all ST(i) of one ModRM.reg */
#define ONE(modrm) BIT_ULL((modrm) - 0xc0)

static const u64 register_forms[8] = {
	~0ull,
	/* FLD, FXCH, FNOP, FCHS, FABS, FTST, FXAM, constants; FXTRACT, FPREM1, FDECSTP, FINCSTP, FPREM,
	   FSQRT, FRNDINT, FSCALE */
	ROW(0) | ROW(1) | ONE(0xd0) | ONE(0xe0) | ONE(0xe1) | ONE(0xe4) | ONE(0xe5) |
		(ROW(5) & ~ONE(0xef)) | ONE(0xf4) | ONE(0xf5) | ONE(0xf6) | ONE(0xf7) | ONE(0xf8) |
		ONE(0xfa) | ONE(0xfc) | ONE(0xfd),
	/* FCMOVB, FCMOVE, FCMOVBE, FCMOVU, FUCOMPP */
	ROW(0) | ROW(1) | ROW(2) | ROW(3) | ONE(0xe9),
	/* FCMOVNB, FCMOVNE, FCMOVNBE, FCMOVNU, FNCLEX, FNINIT, FUCOMI, FCOMI */
	ROW(0) | ROW(1) | ROW(2) | ROW(3) | ONE(0xe2) | ONE(0xe3) | ROW(5) | ROW(6),
	/* FADD, FMUL, FSUBR, FSUB, FDIVR, FDIV */
	~(ROW(2) | ROW(3)),
	/* FFREE, FST, FSTP, FUCOM, FUCOMP */
	ROW(0) | ROW(2) | ROW(3) | ROW(4) | ROW(5),
	/* FADDP, FMULP, FCOMPP, FSUBRP, FSUBP, FDIVRP, FDIVP */
	ROW(0) | ROW(1) | ONE(0xd9) | ROW(4) | ROW(5) | ROW(6) | ROW(7),
	/* FNSTSW AX, FUCOMIP, FCOMIP */
	ONE(0xe0) | ROW(5) | ROW(6),
};

/* What processors execute nevertheless: second encodings, functions, no-ops of old. */
static const u64 absent_forms[8] = {
	[1] = ROW(3) | ONE(0xf0) | ONE(0xf1) | ONE(0xf2) | ONE(0xf3) | ONE(0xf9) | ONE(0xfb) |
	      ONE(0xfe) | ONE(0xff),
	[3] = ONE(0xe0) | ONE(0xe1) | ONE(0xe4),
	[4] = ROW(2) | ROW(3),
	[5] = ROW(1),
	[6] = ROW(2),
	[7] = ROW(0) | ROW(1) | ROW(2) | ROW(3),
};

static void decode_x87_control(struct decoder *d, enum x87_op op)
{
	d->out->op = (u8)op;
	d->out->fn = op_x87_control;
}

static void decode_x87_register(struct decoder *d)
{
	const struct cpu_timing *t = &d->c->timing;
	u64 form = ONE(d->modrm);

	if (!(register_forms[d->opcode & 7] & form)) {
		if (absent_forms[d->opcode & 7] & form)
			decode_unimplemented(d);
		else
			decode_invalid(d);
		return;
	}
	if (d->opcode == 0xdb && d->modrm == 0xe2) {
		decode_x87_control(d, X87_FNCLEX);
		return;
	}
	if (d->opcode == 0xdb && d->modrm == 0xe3) {
		decode_x87_control(d, X87_FNINIT);
		return;
	}
	if (d->opcode == 0xdf && d->modrm == 0xe0) {
		decode_x87_control(d, X87_FNSTSW);
		return;
	}
	d->out->op = X87_PLAIN;
	if ((d->opcode == 0xdb || d->opcode == 0xdf) && d->modrm >= 0xe8)
		d->out->op = X87_FLAGS;
	d->out->fn = op_x87;
	set_cost(d);
	if (d->opcode == 0xd9 && d->modrm >= 0xf0)
		d->cost = d->modrm == 0xf6 || d->modrm == 0xf7 ? t->simple : t->divide;
}

void decode_x87(struct decoder *d)
{
	d->out->imm = x87_find_stub(d->opcode, d->modrm);
	x87_set_opcode(d->out, d->opcode, d->modrm);
	if (d->memory)
		decode_x87_memory(d);
	else
		decode_x87_register(d);
}
