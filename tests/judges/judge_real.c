/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_real.c - runs programs of real mode for tests/judges/test_real_programs.py.
 *
 * Reads structs program from stdin, runs each until it halts, and writes a struct ending. The code
 * begins at 1000:0, its second half stands at 1000:8000; the data are what is behind 2000:0.
 */
#include "cpu/state.h"
#include "test_cpu_guest.h"

#define CODE_HALF 1024u
#define CODE_BASE 0x10000u
#define DATA_BASE 0x20000u
#define DATA_BYTES 0x20000u

struct program {
	u32 regs[8], flags;
	u16 selectors[NR_SEGS];
	u8 code[2 * CODE_HALF];
	u8 data[DATA_BYTES];
};

struct ending {
	u32 regs[8], flags, ip, stop;
	u16 selectors[NR_SEGS];
	u64 instructions;
	u8 data[DATA_BYTES];
};

static void run(struct guest *g, const struct program *p, struct ending *o)
{
	struct cpu *c = g->cpu;

	memcpy(g->ram + CODE_BASE, p->code, CODE_HALF);
	memcpy(g->ram + CODE_BASE + 0x8000, p->code + CODE_HALF, CODE_HALF);
	memcpy(g->ram + DATA_BASE, p->data, DATA_BYTES);
	g->start.rflags = p->flags;
	cpu_start(c, &g->start);
	for (unsigned int r = 0; r < 8; r++)
		c->regs[r] = p->regs[r];
	for (unsigned int s = 0; s < NR_SEGS; s++)
		c->seg[s] = real_segment(c, s, p->selectors[s]);
	update_code_mode(c);
	o->stop = guest_run(g);
	for (unsigned int r = 0; r < 8; r++)
		o->regs[r] = (u32)c->regs[r];
	o->flags = (u32)cpu_rflags(c);
	o->ip = (u32)c->rip;
	for (unsigned int s = 0; s < NR_SEGS; s++)
		o->selectors[s] = c->seg[s].selector;
	o->instructions = guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS);
	memcpy(o->data, g->ram + DATA_BASE, DATA_BYTES);
}

int main(void)
{
	static struct program p;
	static struct ending o;

	while (fread(&p, sizeof(p), 1, stdin) == 1) {
		/* The test writes code where blocks are: a guest each. */
		struct guest *g = guest_new();

		g->start.cr0 = 0x10;
		g->start.cr3 = g->start.cr4 = g->start.efer = 0;
		g->start.rip = 0;
		g->start.cs = (struct cpu_segment){CODE_BASE, 0xffff, CODE_BASE >> 4, 0x9b};
		g->start.ss = g->start.ds = (struct cpu_segment){DATA_BASE, 0xffff, 0x2000, 0x93};
		run(g, &p, &o);
		fwrite(&o, sizeof(o), 1, stdout);
		guest_free(g);
	}
	return 0;
}
