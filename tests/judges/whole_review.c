/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_review.c - the reviewed differences of Unicorn. Interface: whole_review.h.
 */
#include "whole_review.h"

#include "cpu/state.h"

/* Reserved bits of MSRs, control and debug registers, MXCSR; RDPMC; ports at CPL 3; SSE operands that are not aligned. */
static bool is_missing_gp(const struct form *f)
{
	if (f->map == 0)
		return (f->opcode & 0xf4) == 0xe4 || (f->opcode & 0xfc) == 0x6c;
	return f->map == 1 &&
	       (f->opcode == 0x30 || f->opcode == 0x33 || f->opcode == 0x22 || f->opcode == 0x23 ||
		(f->opcode == 0xae && f->memory) || (form_is_simd(f) && f->memory));
}

bool reviewed_fault(unsigned int vector, const struct form *f)
{
	switch (vector) {
	case VECTOR_DB:
	case VECTOR_SS: /* an address that is not canonical is always #GP */
	case VECTOR_MF:
	case VECTOR_AC:
	case VECTOR_XM: return true;
	/* XBEGIN, XABORT, XEND, XTEST: this model of Unicorn has RTM. */
	case VECTOR_UD:
		return (f->map == 0 && (f->opcode & 0xfe) == 0xc6) ||
		       (f->map == 1 && f->opcode == 0x01 && !f->memory);
	case VECTOR_PF: return f->map == 1 && f->opcode == 0xae && f->memory; /* CLFLUSH */
	case VECTOR_GP: return is_missing_gp(f);
	default: return false;
	}
}

int reviewed_store(const struct form *f, bool undefined)
{
	if (f->map == 0 && f->opcode == 0x9c)
		return undefined ? REVIEWED_UNDEFINED : -1;
	if (f->map == 1 && f->opcode == 0x21)
		return REVIEWED_DEBUG;
	if (f->map == 1 && f->opcode == 0xae && f->memory && f->digit == 0)
		return REVIEWED_FXSAVE;
	/* STMXCSR, FNSTSW, FNSTENV, FNSAVE. */
	if ((f->map == 1 && f->opcode == 0xae && f->memory && f->digit == 3) ||
	    (f->map == 0 && f->opcode == 0xdd && f->memory && f->digit >= 6) ||
	    (f->map == 0 && f->opcode == 0xd9 && f->memory && f->digit == 6) ||
	    (f->map == 0 && f->opcode == 0xdf && !f->memory && f->digit == 4))
		return REVIEWED_STICKY;
	return -1;
}

const char *reviewed_text(enum reviewed what)
{
	static const char *const texts[NR_REVIEWED] = {
		[REVIEWED_STICKY] = "Unicorn keeps no sticky flags of SSE and x87: stores of them",
		[REVIEWED_EXCEPTION] =
			"exceptions that Unicorn does not raise, or otherwise: of breakpoints, INT1, "
			"reserved bits, alignment, CLFLUSH, XBEGIN, #SS, #MF, #XM",
		[REVIEWED_DEBUG] = "reads of debug registers: Unicorn does not set DR6",
		[REVIEWED_UNDEFINED] = "undefined flags that are pushed",
		[REVIEWED_FXSAVE] = "FXSAVE: sticky flags, and reserved bytes",
		[REVIEWED_TABLE_BITS] = "accessed and dirty bits that the manual leaves open",
		[REVIEWED_FLAGS] = "arithmetic flags that Unicorn had not up to date",
	};

	return texts[what];
}
