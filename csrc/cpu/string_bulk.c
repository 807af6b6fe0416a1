/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string_bulk.c - many iterations of a REP string instruction at once.
 *
 * Interface: string_bulk() of string.h.
 *
 * Done at once are iterations of MOVS, STOS, CMPS and SCAS that go upwards through pages of which the
 * TLB knows that they are ordinary memory, over lines that are warm, without reaching a limit: each of
 * them costs the same and can neither fault nor be watched. Everything else, the ends of pages and
 * the first touch of a line among it, is left to the iterations one by one.
 */
#include <string.h>

#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/memory.h"
#include "cpu/operand.h"
#include "cpu/string.h"

/* Fewer are not worth it. */
#define FEWEST 4u

/* Whole elements from @va on that are in its page and in warm lines; their host address. */
static u64 elements_ahead(struct cpu *c, u64 va, unsigned int size, bool write, u8 **host)
{
	const struct tlb_entry *e = tlb_entry(c, va);
	u64 cold, bytes = PAGE_BYTES - (va & ~PAGE_MASK);

	if ((write ? e->write_tag : e->read_tag) != (va & PAGE_MASK))
		return 0;
	*host = (u8 *)(uintptr_t)(va + e->addend);
	cold = ~(*e->warm >> (va >> LINE_SHIFT & 63));
	if (cold)
		bytes = min_u64(bytes, (u64)__builtin_ctzll(cold) * LINE_BYTES -
					       (cold & 1 ? 0 : va & (LINE_BYTES - 1)));
	return bytes >> size;
}

/* Before a 16- or 32-bit address turns over. */
static u64 elements_to_wrap(const struct cpu *c, const struct string_run *run, enum cpu_reg reg)
{
	return (run->mask - (c->regs[reg] & run->mask)) >> run->size;
}

static u64 iterations_that_fit(const struct cpu *c, const struct string_run *run)
{
	const u64 *count = c->totals.count[c->priv];
	u64 n = times_that_fit(c->limit_sub, c->totals.sub[c->priv], run->iteration_cost);

	n = min_u64(n, times_that_fit(c->limit[EVENT_LOADS], count[EVENT_LOADS], run->loads));
	return min_u64(n, times_that_fit(c->limit[EVENT_STORES], count[EVENT_STORES], run->stores));
}

/* An iteration sees what the ones before it stored. */
static u64 until_overlap(const u8 *from, const u8 *to, u64 n, unsigned int size)
{
	u64 distance = (u64)((uintptr_t)to - (uintptr_t)from);

	return to > from ? min_u64(n, distance >> size) : n;
}

static u64 element(const u8 *at, unsigned int size)
{
	u64 v = 0;

	switch (size) {
	case 0: return *at;
	case 1: memcpy(&v, at, 2); break;
	case 2: memcpy(&v, at, 4); break;
	default: memcpy(&v, at, 8); break;
	}
	return v;
}

static void fill(u8 *to, u64 value, u64 n, unsigned int size)
{
	switch (size) {
	case 0: memset(to, (int)(value & 0xff), n); break;
	case 1:
		for (u64 k = 0; k < n; k++)
			memcpy(to + 2 * k, &value, 2);
		break;
	case 2:
		for (u64 k = 0; k < n; k++)
			memcpy(to + 4 * k, &value, 4);
		break;
	default:
		for (u64 k = 0; k < n; k++)
			memcpy(to + 8 * k, &value, 8);
		break;
	}
}

/* Elements that compare as REPE or REPNE goes on with, at most @n. */
static u64 run_of_scas(const u8 *at, u64 value, u64 n, unsigned int size, bool equal)
{
	u64 k = 0;

	while (k < n && (element(at + (k << size), size) == value) == equal)
		k++;
	return k;
}

static u64 run_of_cmps(const u8 *a, const u8 *b, u64 n, unsigned int size, bool equal)
{
	u64 k = 0;

	while (k < n && (element(a + (k << size), size) == element(b + (k << size), size)) == equal)
		k++;
	return k;
}

static bool uses_source(const struct insn *i)
{
	return i->op == STRING_MOVS || i->op == STRING_CMPS;
}

static bool writes(const struct insn *i)
{
	return i->op == STRING_MOVS || i->op == STRING_STOS;
}

static u64 execute(struct cpu *c, const struct insn *i, u8 *from, u8 *to, u64 n)
{
	bool equal = i->flags & INSN_REP;

	switch (i->op) {
	case STRING_MOVS:
		n = until_overlap(from, to, n, i->size);
		memmove(to, from, n << i->size);
		return n;
	case STRING_STOS: fill(to, c->regs[CPU_RAX], n, i->size); return n;
	case STRING_SCAS:
		return run_of_scas(to, get_reg_sized(c, RAX_OFFSET, i->size), n, i->size, equal);
	default: return run_of_cmps(from, to, n, i->size, equal);
	}
}

u64 string_bulk(struct cpu *c, const struct insn *i, const struct string_run *run, u64 most)
{
	u8 *from = NULL, *to = NULL;
	u64 n;

	if (!(writes(i) || i->op == STRING_CMPS || i->op == STRING_SCAS) || run->step < 0 ||
	    !c->limits_valid || c->one_by_one || (c->flags & FLAG_AC))
		return 0;
	n = min_u64(most, (c->regs[CPU_RCX] & run->mask) - 1);
	if (n < FEWEST)
		return 0;
	n = min_u64(n, elements_ahead(c, string_destination(c, run), i->size, writes(i), &to));
	n = min_u64(n, elements_to_wrap(c, run, CPU_RDI));
	if (uses_source(i)) {
		n = min_u64(n, elements_ahead(c, string_source(c, run), i->size, false, &from));
		n = min_u64(n, elements_to_wrap(c, run, CPU_RSI));
	}
	n = min_u64(n, iterations_that_fit(c, run));
	if (n < FEWEST)
		return 0;
	n = execute(c, i, from, to, n);
	if (uses_source(i))
		string_advance(c, run, CPU_RSI, n);
	string_advance(c, run, CPU_RDI, n);
	string_count_down(c, run, n);
	string_count(c, run, n);
	return n;
}
