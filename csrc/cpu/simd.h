/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simd.h - what the handlers of SSE and SSE2 share: operands, checks, the guest's MXCSR.
 *
 * Interface
 *  - Handlers name XMM registers by number in .reg and .rm, general registers by offset as all do.
 *  - require_simd() comes first in each. Operands are loaded before anything is computed and
 *    results written after the last thing that can fault.
 *  - Instructions are executed by the host's own, in inline assembly: the compiler must neither
 *    exchange operands (which NaN survives depends on their order) nor move one across a change of
 *    MXCSR. SIMD_UNDER_MXCSR() is for those that look at MXCSR.
 *
 * MXCSR. The first such instruction of a cpu_run() puts the host's MXCSR aside and loads the guest's,
 * which stays until cpu_run() ends; flags gather in it. It is so only while the guest has all
 * exceptions masked. Otherwise each instruction runs with all masked and without flags, and
 * simd_repeat() looks at what it left.
 */
#ifndef CPU_SIMD_H_
#define CPU_SIMD_H_

#include "cpu/operand.h"

#define MXCSR_FLAGS 0x3fu
#define MXCSR_INVALID 0x01u
#define MXCSR_DENORMAL 0x02u
#define MXCSR_ZERO_DIVIDE 0x04u
#define MXCSR_UNDERFLOW 0x10u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_MASKS_SHIFT 7
#define MXCSR_UNDERFLOW_MASK (MXCSR_UNDERFLOW << MXCSR_MASKS_SHIFT)
#define MXCSR_FLUSH 0x8000u /* FTZ: denormal results become zero */
#define MXCSR_VALID 0xffffu /* MXCSR_MASK of FXSAVE */
#define MXCSR_RESET 0x1f80u

/* ---- fpu_state.c ---- */
_Noreturn void raise_simd_disabled(struct cpu *c, const struct insn *i);
/* Load the guest's MXCSR for the instruction that comes. */
void simd_enter(struct cpu *c);
/* Behind an instruction that ran without mxcsr_loaded: true if it has to be executed again. */
bool simd_repeat(struct cpu *c, const struct insn *i);

static __always_inline void require_simd(struct cpu *c, const struct insn *i)
{
	if (unlikely((c->cr0 & (CR0_EM | CR0_TS)) || !(c->cr4 & CR4_OSFXSR)))
		raise_simd_disabled(c, i);
}

#define SIMD_UNDER_MXCSR(c, i, ...)                                                                \
	do {                                                                                       \
		if (unlikely(!(c)->fpu.mxcsr_loaded))                                              \
			simd_enter(c);                                                             \
		do {                                                                               \
			__VA_ARGS__;                                                               \
		} while (unlikely(!(c)->fpu.mxcsr_loaded) && simd_repeat((c), (i)));               \
	} while (0)

/* ---- operands ---- */

static __always_inline u64 aligned_address(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);

	if (unlikely(va & 15))
		raise_fault(c, i, VECTOR_GP, 0);
	return va;
}

static __always_inline xmm_t simd_source_16(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		return load_u128(c, i, aligned_address(c, i));
	return c->fpu.xmm[i->rm];
}

/* Of these, what stands above the operand is not looked at. */
static __always_inline xmm_t simd_source_8(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		return (xmm_t){load_u64(c, i, effective_address(c, i)), 0};
	return c->fpu.xmm[i->rm];
}

static __always_inline xmm_t simd_source_4(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		return (xmm_t){load_u32(c, i, effective_address(c, i)), 0};
	return c->fpu.xmm[i->rm];
}

#endif /* CPU_SIMD_H_ */
