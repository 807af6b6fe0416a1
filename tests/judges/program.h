/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - writing random machine code, for kernel_programs.c.
 *
 * A struct program is a place in guest memory at which the next byte goes, and a source of chance. All
 * that is drawn comes from its seed.
 */
#ifndef TESTS_JUDGES_PROGRAM_H_
#define TESTS_JUDGES_PROGRAM_H_

#include <stdbool.h>
#include <string.h>

#include "base/types.h"

struct program {
	u64 seed;
	u8 *ram;
	u32 at; /* virtual address below 2 MB, which is the physical one */
};

static inline u64 random_word(struct program *p)
{
	p->seed ^= p->seed << 13;
	p->seed ^= p->seed >> 7;
	p->seed ^= p->seed << 17;
	return p->seed * 2685821657736338717ull;
}

static inline u32 below(struct program *p, u32 n)
{
	return (u32)((random_word(p) >> 33) % n);
}

static inline bool one_in(struct program *p, u32 n)
{
	return below(p, n) == 0;
}

static inline void byte(struct program *p, unsigned int v)
{
	p->ram[p->at++] = (u8)v;
}

static inline void word16(struct program *p, u32 v)
{
	memcpy(p->ram + p->at, &v, 2);
	p->at += 2;
}

static inline void word32(struct program *p, u64 v)
{
	memcpy(p->ram + p->at, &v, 4);
	p->at += 4;
}

static inline void word64(struct program *p, u64 v)
{
	memcpy(p->ram + p->at, &v, 8);
	p->at += 8;
}

#define EMIT(p, text) emit((p), (text), sizeof(text) - 1)
static inline void emit(struct program *p, const char *text, size_t n)
{
	memcpy(p->ram + p->at, text, n);
	p->at += (u32)n;
}

/* mov r64, imm32 (sign-extended), or imm64 if it does not fit. */
static inline void load_register(struct program *p, unsigned int reg, u64 value)
{
	bool fits = (u64)(s64)(s32)value == value;

	byte(p, 0x48 | reg >> 3);
	byte(p, fits ? 0xc7 : 0xb8 | (reg & 7));
	if (fits) {
		byte(p, 0xc0 | (reg & 7));
		word32(p, value);
	} else {
		word64(p, value);
	}
}

/* mov qword [address], value; both below 2 GB. */
static inline void store_word(struct program *p, u32 address, u32 value)
{
	EMIT(p, "\x48\xc7\x04\x25");
	word32(p, address);
	word32(p, value);
}

/* An address of data: most are good, some fault. */
u64 any_data_address(struct program *p);
/* One random integer instruction with what it needs in front, and flags defined behind it. */
void integer_instruction(struct program *p);
/* The same in 32-bit code. */
void integer_instruction32(struct program *p);

#endif /* TESTS_JUDGES_PROGRAM_H_ */
