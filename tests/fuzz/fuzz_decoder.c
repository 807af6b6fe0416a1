// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_decoder.c - any bytes as an instruction.
 *
 * The input: u8 mode (bits 1:0: 64-, 32-, 16-bit code, 16-bit; bits 4:2: where it stands), then the
 * bytes.
 *
 * What must hold: an instruction has 1 to 15 bytes of those there are; its operands are registers
 * that exist, its counts are small, its handler is there; with fewer bytes than its length it is
 * truncated, and bytes behind its end change nothing.
 */
#include "fuzz.h"

#include "cpu/decode.h"
#include "cpu/handlers.h"

#define MAX_BYTES 15u
#define BUFFER 32u
#define MOST_ACCESSES 32 /* ENTER with 31 levels: its (E)BP, 30 frames, the new one */

static const u64 places[] = {
	0x1000,	    0,		0x7ffffffffff8, 0xffff800000000000, 0xfffffffffffffff0,
	0xffffff00, 0x7fffffff, 0x100ff1};

struct decoded {
	enum decode_end end;
	struct insn out[2];
	u32 n;
};

static struct decoded decode(const struct cpu *c, u64 va, const u8 *bytes, u32 available)
{
	struct decoded d = {.n = 0};
	/* Exactly as long as it is said to be, for the sanitizer. */
	u8 *copy = malloc(available ? available : 1);

	memcpy(copy, bytes, available);
	memset(d.out, 0, sizeof(d.out));
	d.end = decode_insn(c, va, copy, available, d.out, &d.n);
	free(copy);
	return d;
}

static bool same_insn(const struct insn *a, const struct insn *b)
{
	return a->fn == b->fn && a->imm == b->imm && a->disp == b->disp && a->sub == b->sub &&
	       a->len == b->len && a->flags == b->flags && a->base == b->base &&
	       a->index == b->index && a->scale == b->scale && a->reg == b->reg && a->rm == b->rm &&
	       a->size == b->size && a->op == b->op && a->instructions == b->instructions &&
	       a->branches == b->branches && a->loads == b->loads && a->stores == b->stores;
}

static bool same(const struct decoded *a, const struct decoded *b)
{
	if (a->end != b->end || a->n != b->n)
		return false;
	for (u32 k = 0; k < a->n; k++) {
		if (!same_insn(&a->out[k], &b->out[k]))
			return false;
	}
	return true;
}

static void check_insn(const struct cpu *c, const struct decoded *d, u32 available)
{
	const struct insn *i = &d->out[d->n - 1];

	REQUIRE(d->n == 1 || d->n == 2);
	REQUIRE(i->len >= 1 && i->len <= MAX_BYTES && i->len <= available);
	REQUIRE(i->instructions == 1);
	REQUIRE(i->branches <= 1 && i->loads <= MOST_ACCESSES && i->stores <= MOST_ACCESSES);
	REQUIRE(i->size <= 4);
	REQUIRE(!(i->flags & INSN_MEM) || i->scale <= 3);
	REQUIRE(i->reg / 8 < NR_REGS && i->rm / 8 < NR_REGS);
	if (d->n == 2) {
		const struct insn *a = &d->out[0];

		REQUIRE(a->fn && !a->instructions && !a->branches && !a->loads && !a->stores &&
			!a->sub);
		REQUIRE(a->base <= REG_ZERO && a->index <= REG_ZERO && a->scale <= 3);
		REQUIRE(i->base == REG_ADDRESS && i->index == REG_ZERO);
	}
	for (u32 k = 0; k < d->n; k++)
		REQUIRE(d->out[k].fn && d->out[k].base < NR_REGS && d->out[k].index < NR_REGS);
	/* A direct branch out of the canonical addresses must not be taken as it stands. */
	if (d->end == DECODE_BRANCH && i->disp && !(i->flags & INSN_MEM) && i->fn != op_branch_out)
		REQUIRE(is_canonical(i->imm) && (!c->legacy || i->imm <= ~0u));
}

static void check_decoding(const struct cpu *c, u64 va, const u8 *bytes, u32 available)
{
	struct decoded d = decode(c, va, bytes, available), other;
	u8 longer[BUFFER];
	u32 length;

	if (d.end == DECODE_TRUNCATED) {
		REQUIRE(available < MAX_BYTES);
		return;
	}
	check_insn(c, &d, available);
	length = d.out[d.n - 1].len;
	for (u32 k = 0; k < length; k++)
		REQUIRE(decode(c, va, bytes, k).end == DECODE_TRUNCATED);
	other = decode(c, va, bytes, length);
	REQUIRE(same(&d, &other));
	memcpy(longer, bytes, length);
	for (unsigned int fill = 0; fill < 256; fill += 51) {
		memset(longer + length, (int)fill, BUFFER - length);
		other = decode(c, va, longer, BUFFER);
		REQUIRE(same(&d, &other));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const u8 sizes[] = {3, 2, 1, 1};
	static struct cpu c; /* decoding looks at the mode and at timing only */
	struct input in = input_of(data, size);
	u8 mode = take_u8(&in), bytes[BUFFER];
	u32 available = (u32)take_bytes(&in, bytes, sizeof(bytes));
	u64 va = places[mode >> 2 & 7];

	c.timing = (struct cpu_timing){.simple = 16, .load = 8, .store = 8, .locked = 640};
	c.code_size = sizes[mode & 3];
	c.legacy = c.code_size < 3;
	if (c.legacy)
		va = (u32)va;
	check_decoding(&c, va, bytes, available);
	return 0;
}
