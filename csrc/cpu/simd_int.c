/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simd_int.c - SSE and SSE2 that raise no floating-point exception: packed integers, logic, shuffles,
 * shifts.
 */
#include "cpu/handlers.h"
#include "cpu/simd.h"

#define SIMD_PLAIN(prefix, opcode, name, cost)                                                     \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		xmm_t source, result;                                                              \
                                                                                                   \
		require_simd(c, i);                                                                \
		source = simd_source_16(c, i);                                                     \
		result = c->fpu.xmm[i->reg];                                                       \
		__asm__(#name " %1, %0" : "+x"(result) : "x"(source));                             \
		c->fpu.xmm[i->reg] = result;                                                       \
		NEXT_INSN(c, i);                                                                   \
	}
#define SIMD_FLOAT(prefix, opcode, name, bytes, cost)
#define SIMD_COMPARE(prefix, opcode, name, bytes)
#define SIMD_OTHER(prefix, opcode, handler, operands, cost)
#include "cpu/simd.def"
#undef SIMD_PLAIN
#undef SIMD_FLOAT
#undef SIMD_COMPARE
#undef SIMD_OTHER

/* ---- shuffles ---- */

typedef u32 u32x4 __attribute__((vector_size(16)));

/* Which of four the @n-th two bits of @imm select. */
static __always_inline unsigned int choice(u64 imm, unsigned int n)
{
	return imm >> (2 * n) & 3;
}

void simd_pshufd(struct cpu *c, const struct insn *i)
{
	u32x4 from;

	require_simd(c, i);
	from = (u32x4)simd_source_16(c, i);
	c->fpu.xmm[i->reg] = (xmm_t)(u32x4){from[choice(i->imm, 0)], from[choice(i->imm, 1)],
					    from[choice(i->imm, 2)], from[choice(i->imm, 3)]};
	NEXT_INSN(c, i);
}

/* The words of one half. */
static __always_inline u64 shuffle_words(u64 from, u64 imm)
{
	u64 v = 0;

	for (unsigned int n = 0; n < 4; n++)
		v |= (from >> (16 * choice(imm, n)) & 0xffff) << (16 * n);
	return v;
}

void simd_pshufhw(struct cpu *c, const struct insn *i)
{
	xmm_t from;

	require_simd(c, i);
	from = simd_source_16(c, i);
	c->fpu.xmm[i->reg] = (xmm_t){from[0], shuffle_words(from[1], i->imm)};
	NEXT_INSN(c, i);
}

void simd_pshuflw(struct cpu *c, const struct insn *i)
{
	xmm_t from;

	require_simd(c, i);
	from = simd_source_16(c, i);
	c->fpu.xmm[i->reg] = (xmm_t){shuffle_words(from[0], i->imm), from[1]};
	NEXT_INSN(c, i);
}

void simd_shufps(struct cpu *c, const struct insn *i)
{
	u32x4 from, to;

	require_simd(c, i);
	from = (u32x4)simd_source_16(c, i);
	to = (u32x4)c->fpu.xmm[i->reg];
	c->fpu.xmm[i->reg] = (xmm_t)(u32x4){to[choice(i->imm, 0)], to[choice(i->imm, 1)],
					    from[choice(i->imm, 2)], from[choice(i->imm, 3)]};
	NEXT_INSN(c, i);
}

void simd_shufpd(struct cpu *c, const struct insn *i)
{
	xmm_t from, to;

	require_simd(c, i);
	from = simd_source_16(c, i);
	to = c->fpu.xmm[i->reg];
	c->fpu.xmm[i->reg] = (xmm_t){to[i->imm & 1], from[i->imm >> 1 & 1]};
	NEXT_INSN(c, i);
}

/* ---- shifts by an immediate: the decoder's choice is in .op ---- */

#define SHIFT(name) __asm__(#name " %1, %0" : "+x"(v) : "x"(count))

static xmm_t shift_elements(enum simd_shift op, xmm_t v, u64 by)
{
	xmm_t count = {by, 0};

	switch (op) {
	case SIMD_PSRLW: SHIFT(psrlw); break;
	case SIMD_PSRAW: SHIFT(psraw); break;
	case SIMD_PSLLW: SHIFT(psllw); break;
	case SIMD_PSRLD: SHIFT(psrld); break;
	case SIMD_PSRAD: SHIFT(psrad); break;
	case SIMD_PSLLD: SHIFT(pslld); break;
	case SIMD_PSRLQ: SHIFT(psrlq); break;
	default: SHIFT(psllq); break;
	}
	return v;
}

static xmm_t shift_register(enum simd_shift op, xmm_t v, u64 by)
{
	u128 all = (u128)v[1] << 64 | v[0];

	if (by > 15)
		return (xmm_t){0, 0};
	all = op == SIMD_PSLLDQ ? all << (8 * by) : all >> (8 * by);
	return (xmm_t){(u64)all, (u64)(all >> 64)};
}

void simd_shift_immediate(struct cpu *c, const struct insn *i)
{
	enum simd_shift op = (enum simd_shift)i->op;
	xmm_t *v = &c->fpu.xmm[i->rm];

	require_simd(c, i);
	if (op == SIMD_PSLLDQ || op == SIMD_PSRLDQ)
		*v = shift_register(op, *v, i->imm);
	else
		*v = shift_elements(op, *v, i->imm);
	NEXT_INSN(c, i);
}
