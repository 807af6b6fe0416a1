/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu.h - floating-point and SIMD state of a judged case, as FXSAVE lays it out.
 */
#ifndef TESTS_JUDGES_FPU_H_
#define TESTS_JUDGES_FPU_H_

#include <stdbool.h>

#include "base/types.h"

#define FPU_AREA_BYTES 416u /* behind it: bytes that FXSAVE does not write */

struct fpu_area {
	u16 control, status;
	u8 tags, reserved;
	u16 opcode;
	u64 instruction, operand;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u64 xmm[16][2];
};

_Static_assert(sizeof(struct fpu_area) == FPU_AREA_BYTES, "the layout of FXSAVE");

struct cpu;
typedef u64 fpu_random(void *ctx);

/* A word with values in it that matter to floating point, in single or double precision. */
u64 fpu_interesting(fpu_random *random, void *ctx);
/* Registers, control and status; what is set is consistent and has no reserved bits. */
void fpu_fill(struct fpu_area *area, fpu_random *random, void *ctx);
void fpu_to_guest(struct cpu *c, const struct fpu_area *area);
void fpu_from_guest(const struct cpu *c, struct fpu_area *area);
/* What differs, or NULL. */
const char *fpu_difference(const struct fpu_area *a, const struct fpu_area *b);
/*
 * A reviewed difference: PE alone, beside an unmasked overflow or underflow of SSE. The processor sets it
 * if the result is inexact with an exponent without bounds, the interpreter by the masked response.
 */
bool fpu_is_precision_flag(const struct fpu_area *host, const struct fpu_area *guest);

#endif /* TESTS_JUDGES_FPU_H_ */
