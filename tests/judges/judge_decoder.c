/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_decoder.c - what the interpreter's decoder makes of bytes, for tests/judges/test_decoder.py.
 *
 * Reads cases of 16 bytes from stdin and writes one struct answer for each to stdout. Every case
 * stands at DECODED_AT. The argument is the size of the code, 64 without one.
 */
#include <stdlib.h>

#include "cpu/decode.h"
#include "cpu/handlers.h"
#include "cpu/state.h"
#include "test_cpu_guest.h"

#define DECODED_AT 0x1000ull
#define CASE_BYTES 16u

enum answer_kind { ANSWER_VALID, ANSWER_INVALID, ANSWER_UNIMPLEMENTED, ANSWER_TOO_LONG };

/* 32 bytes without padding; the Python side unpacks it. */
struct answer {
	u64 displacement; /* absolute if RIP-relative */
	u64 target;	  /* of a direct branch */
	u8 kind, length;
	u8 end; /* enum decode_end */
	u8 branches, loads, stores;
	u8 memory;	       /* there is a memory operand */
	u8 base, index, scale; /* registers, REG_ZERO for none */
	u8 segment;	       /* SEG_FS, SEG_GS, else SEG_NONE; in legacy code any */
	u8 address32, address16;
	u8 padding[3];
};

static enum answer_kind kind_of(const struct insn *i)
{
	if (i->fn == op_invalid)
		return ANSWER_INVALID;
	if (i->fn == op_unimplemented)
		return ANSWER_UNIMPLEMENTED;
	return i->fn == op_too_long ? ANSWER_TOO_LONG : ANSWER_VALID;
}

static struct answer decode(const struct cpu *c, const u8 *bytes)
{
	struct insn out[2];
	enum decode_end end;
	const struct insn *address, *i;
	u32 n;

	end = decode_insn(c, DECODED_AT, bytes, CASE_BYTES, out, &n);
	address = &out[0];
	i = &out[n - 1];
	return (struct answer){
		.displacement = (u64)address->disp,
		.target = i->imm,
		.kind = (u8)kind_of(i),
		.length = i->len,
		.end = (u8)end,
		.branches = i->branches,
		.loads = i->loads,
		.stores = i->stores,
		.memory = (i->flags & INSN_MEM) != 0,
		.base = address->base,
		.index = address->index,
		.scale = address->scale,
		.segment = n == 2 ? address->op : SEG_NONE,
		.address32 = n == 2 && (address->flags & INSN_ADDR32),
		.address16 = address->fn == op_address16 || address->fn == op_address_bit16,
	};
}

/* Code of @bits, in protected mode if it is not 64. */
static void set_code_size(struct guest *g, int bits)
{
	if (bits == 64)
		return;
	g->start.cr0 = 0x11;
	g->start.cr3 = g->start.cr4 = g->start.efer = 0;
	g->start.cs.attr = bits == 32 ? 0xc09b : 0x009b;
	cpu_start(g->cpu, &g->start);
}

int main(int argc, char **argv)
{
	struct guest *g = guest_new();
	u8 bytes[CASE_BYTES];

	set_code_size(g, argc > 1 ? atoi(argv[1]) : 64);
	while (fread(bytes, sizeof(bytes), 1, stdin) == 1) {
		struct answer answer = decode(g->cpu, bytes);

		fwrite(&answer, sizeof(answer), 1, stdout);
	}
	guest_free(g);
	return 0;
}
