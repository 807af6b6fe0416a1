// SPDX-License-Identifier: Apache-2.0
/*
 * intel.c - where Intel's processors differ from AMD's (Zen 4 and 5), as seen on Emerald Rapids. Interface:
 * intel.h. Each function is one of the differences that have been reviewed.
 */
#include <cpuid.h>

#include "intel.h"

#define X87_ERROR_SUMMARY 0x80u

static bool host_is_intel(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == 0x756e6547; /* "Genu" */
}

static bool same_registers(const struct judge *j)
{
	return !memcmp(j->host.regs, j->guest_state.regs,
		       j->kind->nr_registers * sizeof(j->host.regs[0]));
}

/* The data are the same but for @n bytes at @va. */
static bool same_data_but(const struct judge *j, u64 va, unsigned int n)
{
	const u8 *guest = j->guest->ram + DATA_PA;

	for (u64 k = 0; k < DATA_BYTES; k++) {
		if (j->data[k] != guest[k] && JUDGED_DATA + k - va >= n)
			return false;
	}
	return true;
}

/* Neither has done anything, and they only give another reason. */
static bool is_another_fault(const struct judge *j)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;

	return is_access_fault(h->trap) && is_access_fault(g->trap) && h->rip == g->rip &&
	       !j->retired && same_registers(j) && same_data(j);
}

/*
 * PUSH of a segment register with 32 bits writes 16 of them, and looks no further: not at a page behind
 * them that cannot be written.
 */
static bool is_push_of_segment(const struct judge *j, const struct form *f)
{
	u32 sp = (u32)j->host.regs[CPU_RSP];
	bool is_push = f->map == 0 ? f->opcode == 0x06 || f->opcode == 0x0e || f->opcode == 0x16 ||
					     f->opcode == 0x1e
				   : f->map == 1 && (f->opcode == 0xa0 || f->opcode == 0xa8);

	if (!j->before.cs || !is_push || f->size != 1 || j->host.trap != TRAP_STEP)
		return false;
	sp = j->wide_stack ? sp : sp & 0xffff;
	if (is_access_fault(j->guest_state.trap))
		return same_data_but(j, JUDGED_DATA + sp, 2);
	return j->guest_state.trap == TRAP_STEP && same_registers(j) &&
	       same_data_but(j, JUDGED_DATA + sp + 2, 2);
}

/* F3 90 is PAUSE with REX.B, too: R8 stays where it is. */
static bool is_pause(const struct judge *j, const struct form *f)
{
	return f->map == 0 && f->opcode == 0x90 && f->prefix == PREFIX_REP &&
	       j->host.trap == TRAP_STEP && j->guest_state.trap == TRAP_STEP &&
	       j->host.regs[CPU_RAX] == j->before.regs[CPU_RAX] &&
	       j->host.regs[CPU_R8] == j->before.regs[CPU_R8] && same_data(j);
}

/* An x87 store of what is invalid, unmasked: nothing is stored, so the operand is not looked at. */
static bool is_store_that_is_none(const struct judge *j, const struct form *f)
{
	return form_is_x87(f) && f->memory && j->host.trap == TRAP_STEP &&
	       (j->host.fpu.status & X87_ERROR_SUMMARY) && is_access_fault(j->guest_state.trap) &&
	       !j->retired && same_registers(j) && same_data(j);
}

/* FSTP of ten bytes, FBSTP, over the end of what can be written: the first ones are written. */
static bool is_store_of_a_part(const struct judge *j, const struct form *f)
{
	bool ten_bytes = f->map == 0 && f->memory &&
			 ((f->opcode == 0xdb && f->digit == 7) ||
			  (f->opcode == 0xdf && f->digit == 6));

	return ten_bytes && j->host.trap == VECTOR_PF && j->guest_state.trap == VECTOR_PF &&
	       j->host.rip == j->guest_state.rip && j->host.linear == j->guest_state.linear &&
	       same_registers(j) && same_data_but(j, j->host.linear - 9, 9);
}

/* BOUND below the lower bound does not read the upper one. */
static bool is_bound(const struct judge *j, const struct form *f)
{
	return j->before.cs && f->map == 0 && f->opcode == 0x62 && j->host.trap == VECTOR_BR &&
	       j->guest_state.trap == VECTOR_PF && j->host.rip == j->guest_state.rip &&
	       same_registers(j) && same_data(j);
}

/* An operand that is not aligned and reaches out of the canonical half: #AC goes first. */
static bool is_alignment_first(const struct judge *j)
{
	return j->host.trap == VECTOR_AC &&
	       (j->guest_state.trap == VECTOR_GP || j->guest_state.trap == VECTOR_SS) &&
	       is_another_fault(j);
}

/* CALL to where no code can be: the return address has been pushed by then, though RSP is as it was. */
static bool is_call_that_has_pushed(const struct judge *j, const struct form *f)
{
	return f->map == 0 && f->opcode == 0xff && f->digit == 2 && j->host.trap == VECTOR_GP &&
	       j->guest_state.trap == VECTOR_GP && j->host.rip == j->guest_state.rip &&
	       same_registers(j) && same_data_but(j, j->before.regs[CPU_RSP] - 8, 8);
}

/* MOVUPS and its like need no alignment, whatever AC says. */
static bool is_unaligned_move(const struct judge *j, const struct form *f)
{
	bool ups = (f->opcode | 1) == 0x11 && f->prefix == PREFIX_NONE;
	bool dqu = (f->opcode == 0x6f || f->opcode == 0x7f || f->opcode == 0xf0) &&
		   (f->prefix == PREFIX_REP || f->prefix == PREFIX_REPNE);

	return f->map == 1 && f->memory && (ups || dqu) && j->guest_state.trap == VECTOR_AC &&
	       j->host.trap != VECTOR_AC;
}

/*
 * MASKMOVDQU, MASKMOVQ: which of the bytes that cannot be written CR2 names; and a mask that selects none
 * of them faults all the same.
 */
static bool is_byte_of_maskmov(const struct judge *j, const struct form *f)
{
	if (f->map != 1 || f->opcode != 0xf7 || j->host.trap != VECTOR_PF)
		return false;
	if (j->guest_state.trap == TRAP_STEP)
		return j->host.rip == j->before.rip && same_registers(j) && same_data(j);
	return j->guest_state.trap == VECTOR_PF &&
	       (u32)(j->host.linear - j->guest_state.linear) < 16 && is_another_fault(j);
}

/* MOVSXD with 16 bits reads 16 of them, AMD's reads 32. */
static bool is_short_movsxd(const struct judge *j, const struct form *f)
{
	return f->map == 0 && f->opcode == 0x63 && f->size == 0 && f->memory && !j->before.cs &&
	       is_access_fault(j->guest_state.trap) &&
	       (j->host.trap == TRAP_STEP || is_another_fault(j));
}

/* REP with addresses of 32 bits that faults, or has nothing to do, has cut RCX, RSI and RDI. */
static bool is_repeated_with_cut_registers(const struct judge *j, const struct form *f)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;

	if (!form_repeats(f) || h->trap != g->trap || h->rip != g->rip ||
	    (h->trap == VECTOR_PF && h->linear != g->linear) || !same_data(j))
		return false;
	for (unsigned int n = 0; n < 16; n++) {
		bool used = n == CPU_RCX || n == CPU_RSI || n == CPU_RDI;

		if (h->regs[n] != g->regs[n] && !(used && h->regs[n] == (u32)g->regs[n]))
			return false;
	}
	return true;
}

/* REP of a comparison that faults later: flags of which of the comparisons before it. */
static bool is_flags_of_repeated_comparison(const struct judge *j, const struct form *f)
{
	u8 op = f->opcode | 1;

	return f->map == 0 && (op == 0xa7 || op == 0xaf) && form_repeats(f) &&
	       j->host.trap == j->guest_state.trap && j->host.linear == j->guest_state.linear &&
	       is_another_fault(j);
}

bool is_intels(const struct judge *j, const struct form *f)
{
	return host_is_intel() &&
	       (is_push_of_segment(j, f) || is_pause(j, f) || is_store_that_is_none(j, f) ||
		is_store_of_a_part(j, f) || is_bound(j, f) || is_alignment_first(j) ||
		is_call_that_has_pushed(j, f) || is_unaligned_move(j, f) ||
		is_byte_of_maskmov(j, f) || is_short_movsxd(j, f) ||
		is_repeated_with_cut_registers(j, f) || is_flags_of_repeated_comparison(j, f));
}
