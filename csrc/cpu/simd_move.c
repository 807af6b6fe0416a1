/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simd_move.c - SSE and SSE2: moves between XMM registers, general registers and memory.
 *
 * Not modelled
 *  - non-temporal stores (MOVNT*, MASKMOVDQU) are stores as all others: no write combining, and the
 *    line is warm behind them.
 */
#include "cpu/handlers.h"
#include "cpu/simd.h"

void simd_load_unaligned(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	if (i->flags & INSN_MEM)
		c->fpu.xmm[i->reg] = load_u128(c, i, effective_address(c, i));
	else
		c->fpu.xmm[i->reg] = c->fpu.xmm[i->rm];
	NEXT_INSN(c, i);
}

void simd_load_aligned(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	c->fpu.xmm[i->reg] = simd_source_16(c, i);
	NEXT_INSN(c, i);
}

void simd_store_unaligned(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	if (i->flags & INSN_MEM)
		store_u128(c, i, effective_address(c, i), c->fpu.xmm[i->reg]);
	else
		c->fpu.xmm[i->rm] = c->fpu.xmm[i->reg];
	NEXT_INSN(c, i);
}

void simd_store_aligned(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	if (i->flags & INSN_MEM)
		store_u128(c, i, aligned_address(c, i), c->fpu.xmm[i->reg]);
	else
		c->fpu.xmm[i->rm] = c->fpu.xmm[i->reg];
	NEXT_INSN(c, i);
}

/* ---- scalars: a load clears the rest of the register, a move between registers keeps it ---- */

static __always_inline u64 low_u32_of(u64 keep, u64 v)
{
	return (keep & ~0xffffffffull) | (u32)v;
}

void simd_load_ss(struct cpu *c, const struct insn *i)
{
	xmm_t *to = &c->fpu.xmm[i->reg];

	require_simd(c, i);
	if (i->flags & INSN_MEM)
		*to = (xmm_t){load_u32(c, i, effective_address(c, i)), 0};
	else
		(*to)[0] = low_u32_of((*to)[0], c->fpu.xmm[i->rm][0]);
	NEXT_INSN(c, i);
}

void simd_store_ss(struct cpu *c, const struct insn *i)
{
	u64 v = c->fpu.xmm[i->reg][0];

	require_simd(c, i);
	if (i->flags & INSN_MEM)
		store_u32(c, i, effective_address(c, i), (u32)v);
	else
		c->fpu.xmm[i->rm][0] = low_u32_of(c->fpu.xmm[i->rm][0], v);
	NEXT_INSN(c, i);
}

void simd_load_sd(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	if (i->flags & INSN_MEM)
		c->fpu.xmm[i->reg] = (xmm_t){load_u64(c, i, effective_address(c, i)), 0};
	else
		c->fpu.xmm[i->reg][0] = c->fpu.xmm[i->rm][0];
	NEXT_INSN(c, i);
}

void simd_store_sd(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	if (i->flags & INSN_MEM)
		store_u64(c, i, effective_address(c, i), c->fpu.xmm[i->reg][0]);
	else
		c->fpu.xmm[i->rm][0] = c->fpu.xmm[i->reg][0];
	NEXT_INSN(c, i);
}

/* MOVQ: the upper half becomes zero whatever the source is. */
void simd_load_q(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	c->fpu.xmm[i->reg] = (xmm_t){simd_source_8(c, i)[0], 0};
	NEXT_INSN(c, i);
}

void simd_store_q(struct cpu *c, const struct insn *i)
{
	u64 v = c->fpu.xmm[i->reg][0];

	require_simd(c, i);
	if (i->flags & INSN_MEM)
		store_u64(c, i, effective_address(c, i), v);
	else
		c->fpu.xmm[i->rm] = (xmm_t){v, 0};
	NEXT_INSN(c, i);
}

/* ---- halves ---- */

/* MOVLPS, MOVLPD; between registers MOVHLPS. */
void simd_load_low(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	if (i->flags & INSN_MEM)
		c->fpu.xmm[i->reg][0] = load_u64(c, i, effective_address(c, i));
	else
		c->fpu.xmm[i->reg][0] = c->fpu.xmm[i->rm][1];
	NEXT_INSN(c, i);
}

void simd_store_low(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	store_u64(c, i, effective_address(c, i), c->fpu.xmm[i->reg][0]);
	NEXT_INSN(c, i);
}

/* MOVHPS, MOVHPD; between registers MOVLHPS. */
void simd_load_high(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	c->fpu.xmm[i->reg][1] = simd_source_8(c, i)[0];
	NEXT_INSN(c, i);
}

void simd_store_high(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	store_u64(c, i, effective_address(c, i), c->fpu.xmm[i->reg][1]);
	NEXT_INSN(c, i);
}

/* ---- general registers ---- */

/* MOVD, MOVQ */
void simd_from_gpr(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	c->fpu.xmm[i->reg] = (xmm_t){load_rm(c, i), 0};
	NEXT_INSN(c, i);
}

void simd_to_gpr(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	store_rm(c, i, c->fpu.xmm[i->reg][0]);
	NEXT_INSN(c, i);
}

#define DEFINE_MASK(name)                                                                          \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		u32 mask;                                                                          \
                                                                                                   \
		require_simd(c, i);                                                                \
		__asm__(#name " %1, %0" : "=r"(mask) : "x"(c->fpu.xmm[i->rm]));                    \
		set_reg_u32(c, i->reg, mask);                                                      \
		NEXT_INSN(c, i);                                                                   \
	}

DEFINE_MASK(movmskps)
DEFINE_MASK(movmskpd)
DEFINE_MASK(pmovmskb)

#define WORDS_OF_HALF 4u

void simd_pinsrw(struct cpu *c, const struct insn *i)
{
	unsigned int half = i->imm >> 2 & 1, shift = 16 * (i->imm & (WORDS_OF_HALF - 1));
	u64 *to = (u64 *)&c->fpu.xmm[i->reg] + half;
	u64 word;

	require_simd(c, i);
	if (i->flags & INSN_MEM)
		word = load_u16(c, i, effective_address(c, i));
	else
		word = REG(c, u16, i->rm);
	*to = (*to & ~(0xffffull << shift)) | word << shift;
	NEXT_INSN(c, i);
}

void simd_pextrw(struct cpu *c, const struct insn *i)
{
	unsigned int half = i->imm >> 2 & 1, shift = 16 * (i->imm & (WORDS_OF_HALF - 1));

	require_simd(c, i);
	set_reg_u32(c, i->reg, (u16)(c->fpu.xmm[i->rm][half] >> shift));
	NEXT_INSN(c, i);
}

/* ---- MASKMOVDQU ---- */

/*
 * The decoder has put RDI into the address. Faults are those of a store of two times eight bytes, unless
 * none is selected.
 */
void simd_maskmovdqu(struct cpu *c, const struct insn *i)
{
	const u8 *from = (const u8 *)&c->fpu.xmm[i->reg];
	u64 va = effective_address(c, i);
	u32 mask;

	require_simd(c, i);
	__asm__("pmovmskb %1, %0" : "=r"(mask) : "x"(c->fpu.xmm[i->rm]));
	if (mask)
		probe_area(c, i, va, 16, 8);
	for (unsigned int n = 0; n < 16; n++) {
		if (mask >> n & 1)
			store_u8(c, i, va + n, from[n]);
	}
	NEXT_INSN(c, i);
}
