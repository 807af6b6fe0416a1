/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_program.c - random integer instructions, by a table of their opcodes.
 *
 * What the manual leaves undefined is not drawn, where it is the result; where it is flags, a CMP
 * follows that defines them. Left out, because Unicorn does them otherwise than the manual says:
 *  - LOCK NEG; the flags of CMPXCHG8B and 16B
 *  - operands over two pages that both fault: the second page's fault comes first if it is read first
 *  - CMPXCHG of 16 to 64 bits: of the operand and EAX, the one that is not written is zero-extended
 *  - SHLD and SHRD of a RIP-relative operand by an immediate, whose byte is forgotten in the address
 *  - MOVBE, which looks at CR0.TS and CR4.OSFXSR as SSE does
 *  - SAHF and LAHF behind REX, which take SPL for AH
 *  - operands by RSP and RBP that are not canonical: #GP instead of #SS
 */
#include "kernel_layout.h"
#include "program.h"

/* Operands and immediates. */
enum {
	BYTE = 1u << 0,	  /* 8-bit operands */
	RM = 1u << 1,	  /* ModRM */
	MEMORY = 1u << 2, /* only memory */
	REGISTER = 1u << 3,
	IMM8 = 1u << 4,
	IMM = 1u << 5, /* of the operand's size, at most 32 bits */
	LOCK = 1u << 6,
	FLAGS = 1u << 7,  /* leaves flags undefined */
	NO16 = 1u << 8,	  /* not with 16-bit operands */
	PLUS = 1u << 9,	  /* register in the opcode */
	STACK = 1u << 10, /* 64 or 16 bits, no REX.W needed */
	F3 = 1u << 11,
	ALONE = 1u << 12, /* no operand size to choose */
	DIVIDE = 1u << 13,
	LONG = 1u << 14, /* only with 64-bit code */
};
#define ANY_DIGIT 8
#define ALU_RM (RM | LOCK)

struct opcode {
	u8 map, op, digit;
	u16 flags;
};

#define ALU(n)                                                                                     \
	{0, 8 * (n) + 0, ANY_DIGIT, BYTE | ALU_RM}, {0, 8 * (n) + 1, ANY_DIGIT, ALU_RM},           \
		{0, 8 * (n) + 2, ANY_DIGIT, BYTE | RM}, {0, 8 * (n) + 3, ANY_DIGIT, RM},           \
		{0, 8 * (n) + 4, 0, BYTE | IMM8}, {0, 8 * (n) + 5, 0, IMM},                        \
		{0, 0x80, n, BYTE | ALU_RM | IMM8}, {0, 0x81, n, ALU_RM | IMM},                    \
	{                                                                                          \
		0, 0x83, n, ALU_RM | IMM8                                                          \
	}
#define SHIFT(n)                                                                                   \
	{0, 0xc0, n, BYTE | RM | IMM8 | FLAGS}, {0, 0xc1, n, RM | IMM8 | FLAGS},                   \
		{0, 0xd0, n, BYTE | RM | FLAGS}, {0, 0xd1, n, RM | FLAGS},                         \
		{0, 0xd2, n, BYTE | RM | FLAGS},                                                   \
	{                                                                                          \
		0, 0xd3, n, RM | FLAGS                                                             \
	}

static const struct opcode opcodes[] = {
	ALU(0),
	ALU(1),
	ALU(2),
	ALU(3),
	ALU(4),
	ALU(5),
	ALU(6),
	ALU(7),
	SHIFT(0),
	SHIFT(1),
	SHIFT(2),
	SHIFT(3),
	SHIFT(4),
	SHIFT(5),
	SHIFT(7),
	{0, 0x50, 0, PLUS | STACK},
	{0, 0x58, 0, PLUS | STACK},
	{0, 0x63, ANY_DIGIT, RM | LONG},
	{0, 0x68, 0, IMM | STACK},
	{0, 0x6a, 0, IMM8 | STACK},
	{0, 0x69, ANY_DIGIT, RM | IMM | FLAGS},
	{0, 0x6b, ANY_DIGIT, RM | IMM8 | FLAGS},
	{0, 0x84, ANY_DIGIT, BYTE | RM},
	{0, 0x85, ANY_DIGIT, RM},
	{0, 0x86, ANY_DIGIT, BYTE | RM | LOCK},
	{0, 0x87, ANY_DIGIT, RM | LOCK},
	{0, 0x88, ANY_DIGIT, BYTE | RM},
	{0, 0x89, ANY_DIGIT, RM},
	{0, 0x8a, ANY_DIGIT, BYTE | RM},
	{0, 0x8b, ANY_DIGIT, RM},
	{0, 0x8d, ANY_DIGIT, RM | MEMORY},
	{0, 0x8f, 0, RM | STACK},
	{0, 0x90, 0, PLUS},
	{0, 0x98, 0, 0},
	{0, 0x99, 0, 0},
	{0, 0x9e, 0, ALONE},
	{0, 0x9f, 0, ALONE},
	{0, 0xa8, 0, BYTE | IMM8},
	{0, 0xa9, 0, IMM},
	{0, 0xb0, 0, BYTE | PLUS | IMM8},
	{0, 0xc6, 0, BYTE | RM | IMM8},
	{0, 0xc7, 0, RM | IMM},
	{0, 0xf5, 0, ALONE},
	{0, 0xf6, 0, BYTE | RM | IMM8},
	{0, 0xf7, 0, RM | IMM},
	{0, 0xf6, 2, BYTE | ALU_RM},
	{0, 0xf7, 2, ALU_RM},
	{0, 0xf6, 3, BYTE | RM},
	{0, 0xf7, 3, RM},
	{0, 0xf6, 4, BYTE | RM | FLAGS},
	{0, 0xf7, 4, RM | FLAGS},
	{0, 0xf6, 5, BYTE | RM | FLAGS},
	{0, 0xf7, 5, RM | FLAGS},
	{0, 0xf6, 6, BYTE | RM | FLAGS | DIVIDE},
	{0, 0xf7, 6, RM | FLAGS | DIVIDE},
	{0, 0xf6, 7, BYTE | RM | FLAGS | DIVIDE},
	{0, 0xf7, 7, RM | FLAGS | DIVIDE},
	{0, 0xf8, 0, ALONE},
	{0, 0xf9, 0, ALONE},
	{0, 0xfc, 0, ALONE},
	{0, 0xfd, 0, ALONE},
	{0, 0xfe, 0, BYTE | ALU_RM},
	{0, 0xff, 0, ALU_RM},
	{0, 0xfe, 1, BYTE | ALU_RM},
	{0, 0xff, 1, ALU_RM},
	{0, 0xff, 6, RM | STACK},
	{1, 0x1f, 0, RM},
	{1, 0x40, ANY_DIGIT, RM},
	{1, 0x41, ANY_DIGIT, RM},
	{1, 0x42, ANY_DIGIT, RM},
	{1, 0x43, ANY_DIGIT, RM},
	{1, 0x44, ANY_DIGIT, RM},
	{1, 0x45, ANY_DIGIT, RM},
	{1, 0x46, ANY_DIGIT, RM},
	{1, 0x47, ANY_DIGIT, RM},
	{1, 0x48, ANY_DIGIT, RM},
	{1, 0x4a, ANY_DIGIT, RM},
	{1, 0x4c, ANY_DIGIT, RM},
	{1, 0x4f, ANY_DIGIT, RM},
	{1, 0x90, 0, BYTE | RM},
	{1, 0x92, 0, BYTE | RM},
	{1, 0x94, 0, BYTE | RM},
	{1, 0x97, 0, BYTE | RM},
	{1, 0x98, 0, BYTE | RM},
	{1, 0x9b, 0, BYTE | RM},
	{1, 0x9d, 0, BYTE | RM},
	{1, 0x9e, 0, BYTE | RM},
	{1, 0xa3, ANY_DIGIT, RM | FLAGS},
	{1, 0xab, ANY_DIGIT, ALU_RM | FLAGS},
	{1, 0xb3, ANY_DIGIT, ALU_RM | FLAGS},
	{1, 0xbb, ANY_DIGIT, ALU_RM | FLAGS},
	{1, 0xba, 4, RM | IMM8 | FLAGS},
	{1, 0xba, 5, ALU_RM | IMM8 | FLAGS},
	{1, 0xba, 6, ALU_RM | IMM8 | FLAGS},
	{1, 0xba, 7, ALU_RM | IMM8 | FLAGS},
	{1, 0xa4, ANY_DIGIT, RM | IMM8 | FLAGS | NO16},
	{1, 0xa5, ANY_DIGIT, RM | FLAGS | NO16},
	{1, 0xac, ANY_DIGIT, RM | IMM8 | FLAGS | NO16},
	{1, 0xad, ANY_DIGIT, RM | FLAGS | NO16},
	{1, 0xaf, ANY_DIGIT, RM | FLAGS},
	{1, 0xb0, ANY_DIGIT, BYTE | ALU_RM},
	{1, 0xb6, ANY_DIGIT, RM},
	{1, 0xb7, ANY_DIGIT, RM},
	{1, 0xbe, ANY_DIGIT, RM},
	{1, 0xbf, ANY_DIGIT, RM},
	{1, 0xb8, ANY_DIGIT, RM | F3},
	{1, 0xbc, ANY_DIGIT, RM | F3 | FLAGS},
	{1, 0xbd, ANY_DIGIT, RM | F3 | FLAGS},
	{1, 0xc0, ANY_DIGIT, BYTE | ALU_RM},
	{1, 0xc1, ANY_DIGIT, ALU_RM},
	{1, 0xc3, ANY_DIGIT, RM | MEMORY | NO16},
	{1, 0xc7, 1, RM | MEMORY | NO16 | FLAGS},
	{1, 0xc8, 0, PLUS | NO16},
};
#define NR_OPCODES (sizeof(opcodes) / sizeof(opcodes[0]))

u64 any_data_address(struct program *p)
{
	u64 offset = one_in(p, 3) ? below(p, BUFFER_SIZE) : below(p, BUFFER_SIZE / 16) * 16;

	if (one_in(p, 6)) /* into or over a page's end */
		offset = (offset | 0xfff) + 1 - below(p, 9);
	switch (below(p, 40)) {
	case 0: return READ_ONLY_AT + (offset & 0xfef);
	case 1: return SUPERVISOR_AT + (offset & 0xfef);
	case 2: return ABSENT_AT + (offset & 0xfff);
	case 3: return NO_EXECUTE_AT + (offset & 0xfff);
	case 4: return RESERVED_AT + (offset & 0xfff);
	case 5: return HIGH_HALF + BUFFER_AT + offset;
	case 6: return LARGE_USER_AT + offset;
	case 7: return GIGANTIC_AT + BUFFER_AT + offset;
	case 8: return one_in(p, 4) ? 0x800000000000ull + offset : PRIVATE_AT + (offset & 0x7fff);
	default: return BUFFER_AT + offset;
	}
}

struct operand {
	bool memory;
	unsigned int base, index, scale;
	u64 address;
	bool indexed, direct, relative;
	u32 skew; /* the base is so much below the address */
	u32 index_value;
};

static unsigned int any_register(struct program *p, bool wide)
{
	unsigned int r = below(p, wide ? 16 : 8);

	return r == 4 ? 0 : r;
}

static struct operand any_memory(struct program *p, bool wide)
{
	struct operand o = {.memory = true, .address = any_data_address(p)};

	if (!wide)
		o.address = BUFFER_AT + below(p, BUFFER_SIZE);
	o.base = below(p, wide ? 16 : 8);
	if ((o.base & ~1u) == 4) /* #SS for #GP */
		o.base = 3;
	o.direct = o.address < 0x80000000 && one_in(p, 8);
	o.relative = wide && !o.direct && o.address < 0x80000000 && one_in(p, 6);
	if (!o.direct && !o.relative && one_in(p, 3)) {
		o.indexed = true;
		o.index = below(p, wide ? 16 : 8);
		if (o.index == 4 || o.index == o.base)
			o.index = o.base == 1 ? 2 : 1;
		o.index_value = below(p, 100);
		o.scale = below(p, 4);
	}
	o.skew = below(p, 3) ? 0 : one_in(p, 2) ? below(p, 100) : below(p, 1 << 20);
	return o;
}

static void move_constant(struct program *p, unsigned int reg, u64 value, bool wide)
{
	if (wide) {
		load_register(p, reg, value);
		return;
	}
	byte(p, 0xb8 | reg);
	word32(p, value);
}

static void load_operand(struct program *p, const struct operand *o, bool wide)
{
	u64 base = o->address - o->skew;

	if (!o->memory || o->direct || o->relative)
		return;
	if (o->indexed) {
		move_constant(p, o->index, o->index_value, wide);
		base -= (u64)o->index_value << o->scale;
	}
	move_constant(p, o->base, base, wide);
}

static void modrm(struct program *p, const struct operand *o, unsigned int reg, bool wide,
		  u32 immediate_bytes)
{
	bool small = o->skew < 128 && (o->base & 7) != 5 && !(o->skew & 1);
	u32 mod = o->skew == 0 && (o->base & 7) != 5 ? 0 : small ? 0x40 : 0x80;

	reg = (reg & 7) << 3;
	if (!o->memory) {
		byte(p, 0xc0 | reg | (o->base & 7));
		return;
	}
	if (o->relative) {
		byte(p, reg | 5);
		word32(p, o->address - (p->at + 4 + immediate_bytes));
		return;
	}
	if (o->direct) {
		byte(p, reg | (wide ? 4 : 5));
		if (wide)
			byte(p, 0x25);
		word32(p, o->address);
		return;
	}
	if (o->indexed) {
		byte(p, mod | reg | 4);
		byte(p, o->scale << 6 | (o->index & 7) << 3 | (o->base & 7));
	} else if ((o->base & 7) == 4) {
		byte(p, mod | reg | 4);
		byte(p, 0x24);
	} else {
		byte(p, mod | reg | (o->base & 7));
	}
	if (mod == 0x40)
		byte(p, o->skew);
	else if (mod == 0x80)
		word32(p, o->skew);
}

/* So that quotients mostly fit: RDX is 0 or the sign, the divisor sometimes 0. */
static void prepare_division(struct program *p)
{
	if (one_in(p, 4))
		EMIT(p, "\x99"); /* cdq */
	else
		EMIT(p, "\x31\xd2"); /* xor edx, edx */
}

static u32 immediate_bytes(const struct opcode *op, bool small)
{
	return op->flags & IMM8 ? 1 : op->flags & IMM ? small ? 2 : 4 : 0;
}

static void define_flags(struct program *p)
{
	byte(p, 0x3d); /* cmp eax, imm32 */
	word32(p, random_word(p));
}

static void encode(struct program *p, const struct opcode *op, bool wide)
{
	unsigned int size = op->flags & (BYTE | ALONE) ? 1 : below(p, wide ? 3 : 2), rex = 0;
	unsigned int reg = op->digit == ANY_DIGIT ? any_register(p, wide) : op->digit;
	struct operand o = {.base = op->flags & (RM | PLUS) ? any_register(p, wide) : 0};
	u32 bytes;

	if ((op->flags & NO16) && size == 0)
		size = 1;
	if ((op->flags & STACK) && size == 1 && one_in(p, 2))
		size = wide ? 2 : 1;
	if ((op->flags & MEMORY) || ((op->flags & RM) && !(op->flags & REGISTER) && below(p, 2)))
		o = any_memory(p, wide);
	if (op->map == 1 && (op->op & 0xf7) == 0xa4)
		o.relative = false;
	if (op->flags & DIVIDE)
		prepare_division(p);
	load_operand(p, &o, wide);
	if (o.memory && one_in(p, 12))
		byte(p, one_in(p, 2) ? 0x64 : 0x65);
	if (size == 0)
		byte(p, 0x66);
	if (op->flags & F3)
		byte(p, 0xf3);
	if (o.memory && (op->flags & LOCK) && op->op != 0x86 && one_in(p, 5) &&
	    !(op->op == 0x80 && op->digit == 7) && !(op->op == 0x81 && op->digit == 7) &&
	    !(op->op == 0x83 && op->digit == 7) && op->op != 0x38 && op->op != 0x39)
		byte(p, 0xf0);
	rex = (size == 2 ? 8 : 0) | (op->digit == ANY_DIGIT ? reg >> 3 << 2 : 0) |
	      (o.indexed ? o.index >> 3 << 1 : 0) | (o.relative || o.direct ? 0 : o.base >> 3);
	if (wide && (rex || (!(op->flags & ALONE) && one_in(p, 4))))
		byte(p, 0x40 | rex);
	if (op->map)
		byte(p, 0x0f);
	if (op->map == 2)
		byte(p, 0x38);
	byte(p, op->op | (op->flags & PLUS ? o.base & 7 : 0));
	bytes = immediate_bytes(op, size == 0);
	if (op->flags & RM)
		modrm(p, &o, reg, wide, bytes);
	if (bytes == 1)
		byte(p, one_in(p, 2) ? below(p, 8) : below(p, 256));
	else if (bytes == 2)
		word16(p, below(p, 1 << 16));
	else if (bytes)
		word32(p, one_in(p, 2) ? below(p, 16) : random_word(p));
	if (op->flags & FLAGS)
		define_flags(p);
}

void integer_instruction(struct program *p)
{
	const struct opcode *op = &opcodes[below(p, NR_OPCODES)];

	if (one_in(p, 12)) { /* another RAX, RCX, RDX or RBX */
		load_register(p, below(p, 4), one_in(p, 2) ? below(p, 70) : random_word(p));
		return;
	}
	encode(p, op, true);
}

void integer_instruction32(struct program *p)
{
	const struct opcode *op;

	do
		op = &opcodes[below(p, NR_OPCODES)];
	while (op->flags & LONG);
	encode(p, op, false);
}
