/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simd_float.c - SSE and SSE2 under MXCSR: arithmetic, comparisons, conversions.
 *
 * Not modelled
 *  - RCPPS, RCPSS, RSQRTPS, RSQRTSS: approximations that differ between processors.
 *  - conversions from and to MMX registers.
 */
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/simd.h"

#define SIMD_FLOAT(prefix, opcode, name, bytes, cost)                                              \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		xmm_t source, result;                                                              \
                                                                                                   \
		require_simd(c, i);                                                                \
		source = simd_source_##bytes(c, i);                                                \
		SIMD_UNDER_MXCSR(c, i, result = c->fpu.xmm[i->reg];                                \
				 __asm__ volatile(#name " %1, %0" : "+x"(result) : "x"(source)));  \
		c->fpu.xmm[i->reg] = result;                                                       \
		NEXT_INSN(c, i);                                                                   \
	}

#define COMPARE_BY(name, predicate)                                                                \
	case predicate:                                                                            \
		__asm__ volatile(#name " $" #predicate ", %1, %0" : "+x"(v) : "x"(source));        \
		break

/* Only three bits of the predicate are looked at. */
#define SIMD_COMPARE(prefix, opcode, name, bytes)                                                  \
	static xmm_t compare_##name(xmm_t v, xmm_t source, u64 predicate)                          \
	{                                                                                          \
		switch (predicate & 7) {                                                           \
			COMPARE_BY(name, 0);                                                       \
			COMPARE_BY(name, 1);                                                       \
			COMPARE_BY(name, 2);                                                       \
			COMPARE_BY(name, 3);                                                       \
			COMPARE_BY(name, 4);                                                       \
			COMPARE_BY(name, 5);                                                       \
			COMPARE_BY(name, 6);                                                       \
			COMPARE_BY(name, 7);                                                       \
		}                                                                                  \
		return v;                                                                          \
	}                                                                                          \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		xmm_t source, result;                                                              \
                                                                                                   \
		require_simd(c, i);                                                                \
		source = simd_source_##bytes(c, i);                                                \
		SIMD_UNDER_MXCSR(c, i,                                                             \
				 result = compare_##name(c->fpu.xmm[i->reg], source, i->imm));     \
		c->fpu.xmm[i->reg] = result;                                                       \
		NEXT_INSN(c, i);                                                                   \
	}

#define SIMD_PLAIN(prefix, opcode, name, cost)
#define SIMD_OTHER(prefix, opcode, handler, operands, cost)
#include "cpu/simd.def"
#undef SIMD_PLAIN
#undef SIMD_FLOAT
#undef SIMD_COMPARE
#undef SIMD_OTHER

/* ---- integers in general registers ---- */

#define DEFINE_FROM_INTEGER(name)                                                                  \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		xmm_t result;                                                                      \
		u64 source;                                                                        \
                                                                                                   \
		require_simd(c, i);                                                                \
		source = load_rm(c, i);                                                            \
		if (i->size == 3)                                                                  \
			SIMD_UNDER_MXCSR(c, i, result = c->fpu.xmm[i->reg]; __asm__ volatile(      \
						 #name "q %q1, %0" : "+x"(result) : "r"(source))); \
		else                                                                               \
			SIMD_UNDER_MXCSR(c, i, result = c->fpu.xmm[i->reg]; __asm__ volatile(      \
						 #name "l %k1, %0" : "+x"(result) : "r"(source))); \
		c->fpu.xmm[i->reg] = result;                                                       \
		NEXT_INSN(c, i);                                                                   \
	}

DEFINE_FROM_INTEGER(cvtsi2ss)
DEFINE_FROM_INTEGER(cvtsi2sd)

#define DEFINE_TO_INTEGER(name, bytes)                                                             \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		xmm_t source;                                                                      \
		u64 result;                                                                        \
                                                                                                   \
		require_simd(c, i);                                                                \
		source = simd_source_##bytes(c, i);                                                \
		if (i->size == 3)                                                                  \
			SIMD_UNDER_MXCSR(                                                          \
				c, i,                                                              \
				__asm__ volatile(#name " %1, %q0" : "=r"(result) : "x"(source)));  \
		else                                                                               \
			SIMD_UNDER_MXCSR(                                                          \
				c, i,                                                              \
				__asm__ volatile(#name " %1, %k0" : "=r"(result) : "x"(source)));  \
		set_reg_sized(c, i->reg, i->size, i->size == 3 ? result : (u32)result);            \
		NEXT_INSN(c, i);                                                                   \
	}

DEFINE_TO_INTEGER(cvtss2si, 4)
DEFINE_TO_INTEGER(cvttss2si, 4)
DEFINE_TO_INTEGER(cvtsd2si, 8)
DEFINE_TO_INTEGER(cvttsd2si, 8)

/* ---- comparisons into RFLAGS ---- */

#define DEFINE_COMPARE(name, bytes)                                                                \
	void simd_##name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		bool carry, zero, parity;                                                          \
		xmm_t source;                                                                      \
                                                                                                   \
		require_simd(c, i);                                                                \
		source = simd_source_##bytes(c, i);                                                \
		SIMD_UNDER_MXCSR(c, i,                                                             \
				 __asm__ volatile(#name " %4, %3" : "=@ccc"(carry), "=@ccz"(zero), \
						  "=@ccp"(parity) : "x"(c->fpu.xmm[i->reg]),       \
						  "x"(source)));                                   \
		set_arithmetic_flags(c, (carry ? FLAG_CF : 0) | (zero ? FLAG_ZF : 0) |             \
						(parity ? FLAG_PF : 0));                           \
		NEXT_INSN(c, i);                                                                   \
	}

DEFINE_COMPARE(comiss, 4)
DEFINE_COMPARE(ucomiss, 4)
DEFINE_COMPARE(comisd, 8)
DEFINE_COMPARE(ucomisd, 8)
