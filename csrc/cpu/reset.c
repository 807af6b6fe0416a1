/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reset.c - INIT and SIPI: how a CPU that another one starts comes to run.
 *
 * Interface
 *  - cpu_init_reset() gives the architectural state after INIT, whatever the CPU was doing, and lets it
 *    wait: cpu_run() stops with CPU_STOP_SIPI, and neither interrupts nor NMIs are taken.
 *  - cpu_start_at_vector() ends the wait at a page below 1 MB, in real mode.
 *  - INIT leaves alone: CR0.CD and CR0.NW, x87 and SSE registers, MSRs but EFER, cold lines, branch
 *    predictions, all totals.
 *
 * Not modelled
 *  - the bootstrap processor's way on from INIT, to the reset vector: nothing stands there. Every CPU
 *    waits.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/memory.h"

#define RESET_SELECTOR 0xf000u
#define RESET_BASE 0xffff0000ull
#define RESET_RIP 0xfff0u
#define REAL_LIMIT 0xffffu
#define ATTR_RESET_DATA (ATTR_ACCESSED | ATTR_WRITABLE | ATTR_NOT_SYSTEM | ATTR_PRESENT)
#define ATTR_RESET_CODE (ATTR_RESET_DATA | ATTR_CODE)
#define SIPI_SHIFT 12

void cpu_init_reset(struct cpu *c, u32 signature)
{
	const struct cpu_segment data = {.limit = REAL_LIMIT, .attr = ATTR_RESET_DATA};
	const struct cpu_start start = {
		.rip = RESET_RIP,
		.rflags = FLAG_FIXED,
		.cr0 = (c->cr0 & (CR0_CD | CR0_NW)) | CR0_ET,
		.cs = {.base = RESET_BASE,
		       .limit = REAL_LIMIT,
		       .selector = RESET_SELECTOR,
		       .attr = ATTR_RESET_CODE},
		.ss = data,
		.ds = data,
		.gdt_limit = REAL_LIMIT,
		.idt_limit = REAL_LIMIT,
	};

	load_start_state(c, &start);
	c->ldt.limit = REAL_LIMIT;
	c->tr.limit = REAL_LIMIT;
	c->regs[CPU_RDX] = signature;
	c->waits_for_sipi = true;
}

void cpu_start_at_vector(struct cpu *c, u8 vector)
{
	if (!c->waits_for_sipi)
		return;
	c->waits_for_sipi = false;
	c->seg[SEG_CS].selector = (u16)(vector << (SIPI_SHIFT - 4));
	c->seg[SEG_CS].base = (u32)vector << SIPI_SHIFT;
	c->rip = 0;
	update_code_mode(c);
}

bool cpu_waits_for_sipi(const struct cpu *c)
{
	return c->waits_for_sipi;
}
