/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.c - what Unicorn calls: hooks that count and do nothing else, so that a comparison with
 * pmupass is one with Unicorn, not with Python. Compiled by bench/vs_unicorn.py.
 */
#include <stdint.h>

struct counts {
	uint64_t calls;
	uint64_t distinct; /* calls for another address than the one before */
	uint64_t last;
	uint64_t accesses;
};

void on_insn(void *uc, uint64_t address, uint32_t size, void *counts)
{
	struct counts *c = counts;

	(void)uc;
	(void)address;
	(void)size;
	c->calls++;
}

/* Iterations of one REP instruction come one by one, each with its address. */
void on_distinct_insn(void *uc, uint64_t address, uint32_t size, void *counts)
{
	struct counts *c = counts;

	(void)uc;
	(void)size;
	c->calls++;
	c->distinct += address != c->last;
	c->last = address;
}

void on_access(void *uc, int type, uint64_t address, int size, int64_t value, void *counts)
{
	struct counts *c = counts;

	(void)uc;
	(void)type;
	(void)address;
	(void)size;
	(void)value;
	c->accesses++;
}
