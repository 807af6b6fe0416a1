/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forms.h - instruction forms: what the judge of the execution covers, and what it leaves out.
 *
 * A form is an opcode with the group's /digit, the kind of its r/m operand, the operand size and the
 * prefix that matters; of x87 without memory operand ModRM.rm, too. form_of() reads it from the bytes; form_excluded() says why the processor
 * cannot judge it. Both know nothing of the interpreter's decoder.
 */
#ifndef TESTS_JUDGES_FORMS_H_
#define TESTS_JUDGES_FORMS_H_

#include <stdbool.h>

#include "base/types.h"

enum form_prefix { PREFIX_NONE, PREFIX_REPNE, PREFIX_REP, PREFIX_LOCK, NR_PREFIXES };

struct form {
	u8 map; /* 0: one byte, 1: behind 0f, 2: behind 0f 38 */
	u8 opcode;
	u8 digit;    /* ModRM.reg of a group, else 0 */
	u8 rm;	     /* ModRM.rm of x87 registers, else 0 */
	bool memory; /* the r/m operand is memory */
	u8 size;     /* 0: 16 bits, 1: 32 bits, 2: 64 bits, by prefixes; SIMD: 3 is 66 with REX.W */
	u8 prefix;   /* enum form_prefix */
};

#define NR_FORMS (1u << 21)
#define FORM_RM_SHIFT 18

/* What stands around the form. */
struct encoding {
	struct form form;
	unsigned int prefixes; /* bytes in front of the opcode, REX included */
	bool address32;
	bool has_modrm;
	u8 modrm; /* the byte behind the opcode */
};

static inline u32 form_index(const struct form *f)
{
	return (u32)f->rm << FORM_RM_SHIFT | (u32)f->map << 16 | (u32)f->opcode << 8 |
	       (u32)f->digit << 5 | (u32)f->memory << 4 | (u32)f->size << 2 | f->prefix;
}

static inline struct form form_at(u32 index)
{
	return (struct form){.rm = (u8)(index >> FORM_RM_SHIFT),
			     .map = index >> 16 & 3,
			     .opcode = (u8)(index >> 8),
			     .digit = index >> 5 & 7,
			     .memory = index >> 4 & 1,
			     .size = index >> 2 & 3,
			     .prefix = index & 3};
}

bool form_has_modrm(const struct form *f);
bool form_is_group(const struct form *f);
bool form_is_x87(const struct form *f);
/* Behind 0f, with prefixes that select the instruction. */
bool form_is_simd(const struct form *f);
/* A string instruction that repeats. */
bool form_repeats(const struct form *f);
/* Always faults outside the kernel. */
bool form_privileged(const struct form *f);
/* Why the processor is no judge of it, or NULL. */
const char *form_excluded(const struct form *f);
/* Of the integer instructions: may go somewhere else; reads its memory operand and writes it. */
bool form_branches(const struct form *f);
bool form_reads_and_writes(const struct form *f);
struct encoding form_of(const u8 *bytes, unsigned int n);

#define FORM_FLAGS 0x8d5u /* CF, PF, AF, ZF, SF, OF */
/* The arithmetic flags that are defined behind it, for @imm as last byte and @cl as CL. Sets
 * *undefined if the result itself is not. */
u64 form_defined_flags(const struct form *f, u8 imm, u8 cl, bool *undefined);

#endif /* TESTS_JUDGES_FORMS_H_ */
