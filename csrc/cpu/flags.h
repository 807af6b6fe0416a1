/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.h - arithmetic flags, kept as what they are computed from.
 *
 * An instruction leaves its sign-extended result and the vector of carries out of each bit; the
 * flags come out of them when somebody asks:
 *
 *	CF	carries bit 63
 *	OF	carries bit 63 ^ bit 62
 *	AF	carries bit 3
 *	ZF	result == 0
 *	SF	sign of (result ^ delta)
 *	PF	parity of the low byte of (result ^ delta)
 *
 * delta is 0 unless flags were loaded as such (POPF, SAHF, IRET), where SF, PF and ZF need not
 * come from one result. widen_carries() puts the two top carries of narrow operations at bits 63 and
 * 62, and leaves bit 3 where it is.
 */
#ifndef CPU_FLAGS_H_
#define CPU_FLAGS_H_

#include "cpu/state.h"

static __always_inline u64 widen_carries(u64 carries, unsigned int bits)
{
	return bits == 64 ? carries : carries << (64 - bits) | (carries & 8);
}

static __always_inline void set_flags(struct cpu *c, s64 result, u64 carries)
{
	c->result = (u64)result;
	c->carries = carries;
	c->delta = 0;
}

static __always_inline u64 carries_cf_of(bool cf, bool of)
{
	return (u64)cf << 63 | (u64)(cf ^ of) << 62;
}

static __always_inline void set_cf_of(struct cpu *c, bool cf, bool of)
{
	c->carries = (c->carries & ~(3ull << 62)) | carries_cf_of(cf, of);
}

static __always_inline bool flag_cf(const struct cpu *c)
{
	return c->carries >> 63;
}

static __always_inline bool flag_of(const struct cpu *c)
{
	return (c->carries ^ c->carries << 1) >> 63;
}

static __always_inline bool flag_zf(const struct cpu *c)
{
	return c->result == 0;
}

static __always_inline bool flag_sf(const struct cpu *c)
{
	return (c->result ^ c->delta) >> 63;
}

static __always_inline bool flag_pf(const struct cpu *c)
{
	return !__builtin_parity((u32)(c->result ^ c->delta) & 0xff);
}

static __always_inline bool flag_af(const struct cpu *c)
{
	return c->carries >> 3 & 1;
}

static inline u64 arithmetic_flags(const struct cpu *c)
{
	return (flag_cf(c) ? FLAG_CF : 0) | (flag_pf(c) ? FLAG_PF : 0) |
	       (flag_af(c) ? FLAG_AF : 0) | (flag_zf(c) ? FLAG_ZF : 0) |
	       (flag_sf(c) ? FLAG_SF : 0) | (flag_of(c) ? FLAG_OF : 0);
}

static inline void set_arithmetic_flags(struct cpu *c, u64 flags)
{
	c->carries = carries_cf_of(flags & FLAG_CF, flags & FLAG_OF) | (flags & FLAG_AF ? 8 : 0);
	c->result = flags & FLAG_ZF ? 0 : 0x100;
	c->delta = (flags & FLAG_SF ? BIT_ULL(63) : 0) | (flags & FLAG_PF ? 0 : 1);
}

static inline u64 get_rflags(const struct cpu *c)
{
	return c->flags | arithmetic_flags(c) | FLAG_FIXED;
}

static inline void set_rflags(struct cpu *c, u64 flags)
{
	c->flags = flags & (FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_AC |
			    FLAG_ID);
	set_arithmetic_flags(c, flags);
}

/* Condition codes as in Jcc, SETcc, CMOVcc opcodes. */
static __always_inline bool condition(const struct cpu *c, unsigned int code)
{
	bool holds;

	switch (code >> 1) {
	case 0: holds = flag_of(c); break;
	case 1: holds = flag_cf(c); break;
	case 2: holds = flag_zf(c); break;
	case 3: holds = flag_cf(c) | flag_zf(c); break;
	case 4: holds = flag_sf(c); break;
	case 5: holds = flag_pf(c); break;
	case 6: holds = flag_sf(c) ^ flag_of(c); break;
	default: holds = flag_zf(c) | (flag_sf(c) ^ flag_of(c)); break;
	}
	return holds ^ (code & 1);
}

#endif /* CPU_FLAGS_H_ */
