/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu.c - floating-point and SIMD state of a judged case.
 *
 * Pointers and opcode of the last x87 instruction are not compared: AMD's processors keep them only
 * when an exception is pending.
 */
#include "fpu.h"

#include <string.h>

#include "cpu/state.h"
#include "cpu/x87.h"

#define X87_EXCEPTIONS 0x3fu
#define X87_SUMMARY 0x8080u /* B, ES */
#define X87_CONDITION 0x4700u
#define X87_TOP_SHIFT 11
#define X87_CONTROL_BITS 0x0f3fu
#define X87_CONTROL_FIXED 0x40u
#define MXCSR_ALL_MASKED 0x1f80u
#define MXCSR_BITS 0xffffu
#define MXCSR_OVERFLOW 0x08u
#define MXCSR_UNDERFLOW 0x10u
#define MXCSR_PRECISION 0x20u

static u32 below(fpu_random *random, void *ctx, u32 n)
{
	return (u32)((random(ctx) >> 33) % n);
}

static u32 interesting_single(fpu_random *random, void *ctx)
{
	static const u32 edge[] = {
		0x00000000, /* 0 */ 0x3f800000,		    /* 1 */
		0x7f800000, /* infinity */ 0x7fc00000,	    /* quiet NaN */
		0x7fa00001, /* signaling NaN */ 0x7f7fffff, /* largest */
		0x00800000, /* least normal */ 0x00000001,  /* least denormal */
		0x007fffff, 0x4f000000,			    /* 2^31 */
		0x4effffff, 0x5f000000,			    /* 2^63 */
		0x3f000000, 0x3fc00000,
		0x40490fdb, 0x4b800001,
	};
	u32 sign = below(random, ctx, 2) << 31;

	switch (below(random, ctx, 4)) {
	case 0: return (u32)random(ctx);
	case 1: return sign | (u32)(random(ctx) & 0x007fffff); /* denormal */
	case 2: return sign | (0x3e000000 + below(random, ctx, 0x03000000));
	default: return sign | edge[below(random, ctx, ARRAY_SIZE(edge))];
	}
}

static u64 interesting_double(fpu_random *random, void *ctx)
{
	static const u64 edge[] = {
		0,
		0x3ff0000000000000, /* 1 */
		0x7ff0000000000000, /* infinity */
		0x7ff8000000000000, /* quiet NaN */
		0x7ff4000000000001, /* signaling NaN */
		0x7fefffffffffffff, /* largest */
		0x0010000000000000, /* least normal */
		0x0000000000000001, /* least denormal */
		0x000fffffffffffff,
		0x41e0000000000000, /* 2^31 */
		0x41dfffffffe00000, /* just below, an integer and a half */
		0x43e0000000000000, /* 2^63 */
		0x43dfffffffffffff,
		0x3fe0000000000000, /* 1/2 */
		0x3ff8000000000000,
		0x380fffffe0000000, /* around the least normal single */
		0x47efffffe0000000, /* the largest single */
		0x47efffffffffffff,
	};
	u64 sign = (u64)below(random, ctx, 2) << 63;

	switch (below(random, ctx, 4)) {
	case 0: return random(ctx);
	case 1: return sign | (random(ctx) & 0x000fffffffffffff); /* denormal */
	case 2: return sign | (0x3fd0000000000000 + (random(ctx) & 0x007fffffffffffff));
	default: return sign | edge[below(random, ctx, ARRAY_SIZE(edge))];
	}
}

u64 fpu_interesting(fpu_random *random, void *ctx)
{
	switch (below(random, ctx, 5)) {
	case 0: return random(ctx);
	case 1:
	case 2: return interesting_double(random, ctx);
	default:
		return interesting_single(random, ctx) | (u64)interesting_single(random, ctx) << 32;
	}
}

/* Any 80 bits may stand in a register, those that no operation makes among them. */
static void fill_st(u8 *st, fpu_random *random, void *ctx)
{
	static const u16 exponents[] = {0,	1,	0x3ffe, 0x3fff, 0x4000,
					0x403d, 0x403e, 0x7ffe, 0x7fff};
	static const u64 significands[] = {0, BIT_ULL(63), 3ull << 62, ~0ull, BIT_ULL(63) | 1,
					   1, BIT_ULL(62)};
	u64 significand = random(ctx) | (below(random, ctx, 8) ? BIT_ULL(63) : 0);
	u16 exponent = (u16)(0x3ff0 + below(random, ctx, 0x60));

	if (below(random, ctx, 3) == 0)
		significand = significands[below(random, ctx, ARRAY_SIZE(significands))];
	if (below(random, ctx, 3) == 0)
		exponent = exponents[below(random, ctx, ARRAY_SIZE(exponents))];
	if (below(random, ctx, 8) == 0)
		exponent = (u16)random(ctx) & 0x7fff;
	exponent |= (u16)(below(random, ctx, 2) << 15);
	memcpy(st, &significand, 8);
	memcpy(st + 8, &exponent, 2);
	memset(st + 10, 0, 6);
}

static u16 random_control(fpu_random *random, void *ctx)
{
	u16 v = (u16)random(ctx) & X87_CONTROL_BITS;

	if (below(random, ctx, 2))
		v |= 0x300;
	return (below(random, ctx, 3) ? v | X87_EXCEPTIONS : v) | X87_CONTROL_FIXED;
}

void fpu_fill(struct fpu_area *area, fpu_random *random, void *ctx)
{
	u32 exceptions = below(random, ctx, 2) ? (u32)random(ctx) & X87_EXCEPTIONS : 0;

	memset(area, 0, sizeof(*area));
	area->control = random_control(random, ctx);
	if (below(random, ctx, 8)) /* mostly nothing is pending */
		exceptions &= area->control;
	area->status = (u16)(exceptions | (random(ctx) & X87_CONDITION) |
			     below(random, ctx, 8) << X87_TOP_SHIFT);
	if (exceptions & ~(u32)area->control)
		area->status |= X87_SUMMARY;
	area->tags = below(random, ctx, 2) ? 0xff : (u8)random(ctx);
	if (below(random, ctx, 6) == 0)
		area->tags = 0;
	area->mxcsr = (u32)random(ctx) & MXCSR_BITS;
	if (below(random, ctx, 3))
		area->mxcsr |= MXCSR_ALL_MASKED;
	for (u32 n = 0; n < 8; n++)
		fill_st(area->st[n], random, ctx);
	for (u32 n = 0; n < 16; n++) {
		area->xmm[n][0] = fpu_interesting(random, ctx);
		area->xmm[n][1] = fpu_interesting(random, ctx);
	}
}

void fpu_to_guest(struct cpu *c, const struct fpu_area *area)
{
	struct fpu *f = &c->fpu;

	f->x87 = (struct x87_image){.control = area->control, .status = area->status};
	for (u32 n = 0; n < 8; n++) {
		memcpy(f->x87.st[n], area->st[n], 10);
		if (!(area->tags >> n & 1))
			f->x87.tags |= 3u << (2 * n);
	}
	/* What stands in a register decides on its tag. */
	x87_execute(c, &f->x87, NULL, NULL);
	fpu_release(c);
	memcpy(f->xmm, area->xmm, sizeof(area->xmm));
	f->mxcsr = area->mxcsr;
}

void fpu_from_guest(const struct cpu *c, struct fpu_area *area)
{
	const struct fpu *f = &c->fpu;

	memset(area, 0, sizeof(*area));
	area->control = (u16)f->x87.control;
	area->status = (u16)f->x87.status;
	for (u32 n = 0; n < 8; n++) {
		memcpy(area->st[n], f->x87.st[n], 10);
		if ((f->x87.tags >> (2 * n) & 3) != 3)
			area->tags |= (u8)(1 << n);
	}
	memcpy(area->xmm, f->xmm, sizeof(area->xmm));
	area->mxcsr = f->mxcsr;
}

const char *fpu_difference(const struct fpu_area *a, const struct fpu_area *b)
{
	if (memcmp(a->xmm, b->xmm, sizeof(a->xmm)))
		return "XMM register";
	if (a->mxcsr != b->mxcsr)
		return "MXCSR";
	if (a->control != b->control)
		return "x87 control word";
	if (a->status != b->status)
		return "x87 status word";
	if (a->tags != b->tags)
		return "x87 tags";
	for (u32 n = 0; n < 8; n++) {
		if (memcmp(a->st[n], b->st[n], 10))
			return "x87 register";
	}
	return NULL;
}

bool fpu_is_precision_flag(const struct fpu_area *host, const struct fpu_area *guest)
{
	u32 unmasked = ~(host->mxcsr >> 7) & host->mxcsr & (MXCSR_OVERFLOW | MXCSR_UNDERFLOW);
	struct fpu_area same = *guest;

	same.mxcsr ^= MXCSR_PRECISION;
	return unmasked && !fpu_difference(host, &same);
}
