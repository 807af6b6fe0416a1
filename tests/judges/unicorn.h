/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn.h - whole guests in Unicorn (QEMU's TCG), kernel mode included, for judge_lockstep.c.
 *
 * Unicorn leaves exceptions to hooks and does nothing for SYSCALL. QEMU's delivery through the IDT is
 * in the library all the same, and is called where the hook runs; SYSCALL is done here by the manual.
 * For both, and for a state that is read in no time, this looks inside the library: the offsets in
 * unicorn.c are of one version, and are checked against the public interface before they are used.
 *
 * Example
 *	why_not = unicorn_open(&u, path, ram, size, &events);
 *	unicorn_start(u, &start);
 *	unicorn_run(u);		events.instruction() before each instruction, and so on
 *
 * Not modelled
 *  - MSRs and ports beyond those of struct cpu_state, RDPMC, RDTSC, SYSENTER, NMI.
 */
#ifndef TESTS_JUDGES_UNICORN_H_
#define TESTS_JUDGES_UNICORN_H_

#include "cpu/cpu.h"

struct unicorn;

/* What the two CPUs are compared in. */
struct cpu_state {
	u64 regs[16]; /* RAX, RCX, .., in the order of the encoding */
	u64 rip, rflags;
	u64 cr0, cr2, cr3, cr4;
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	struct cpu_segment seg[6]; /* ES, CS, SS, DS, FS, GS */
	struct cpu_segment ldt, tr;
	u64 gdt_base, idt_base;
	u32 gdt_limit, idt_limit;
	unsigned int cpl;
};

/*
 * Where Unicorn is wrong or does nothing, and what is done instead; unicorn_corrected() has the text.
 * The slow form of the test fails if one of them never happens.
 */
enum correction {
	CORRECTED_SYSCALL,
	CORRECTED_RF,
	CORRECTED_IDT_ERROR,
	CORRECTED_IST_SS,
	CORRECTED_FLAGS,
	CORRECTED_WRITE_INTENT,
	CORRECTED_NULL_BASE,
	NR_CORRECTIONS
};

struct unicorn_events {
	void *ctx;
	/* Before an instruction; before each iteration of a REP string. */
	void (*instruction)(void *ctx, u64 rip);
	/* An exception is about to be delivered; @rip: the instruction that raised it. True: it was a
	 * page fault of an instruction that reads and writes its operand. */
	bool (*exception)(void *ctx, unsigned int vector, u64 rip, bool software);
	u32 (*in)(void *ctx, u16 port, unsigned int size);
	void (*cpuid)(void *ctx, u32 leaf, u32 subleaf, u32 regs[4]);
};

enum unicorn_end { UNICORN_HALT, UNICORN_SHUTDOWN, UNICORN_STOPPED, UNICORN_BROKEN };

/* NULL, or why the library cannot be used. @ram becomes guest physical 0..@size-1. */
const char *unicorn_open(struct unicorn **out, const char *library, u8 *ram, u64 size,
			 const struct unicorn_events *events);
void unicorn_close(struct unicorn *u);
/* RAM has changed behind its back too. */
void unicorn_start(struct unicorn *u, const struct cpu_start *start, const struct cpu_segment *tr);
enum unicorn_end unicorn_run(struct unicorn *u);
/* From a callback: do no further instruction. */
void unicorn_stop(struct unicorn *u);
/* Guest-virtual memory, as far as it is mapped. */
void unicorn_read(struct unicorn *u, u64 va, u8 *to, size_t n);
void unicorn_get(struct unicorn *u, struct cpu_state *s);
const char *unicorn_corrected(const struct unicorn *u, enum correction what, u64 *times);
/* UNICORN_BROKEN, because there is no memory where it was to go. */
bool unicorn_left_memory(const struct unicorn *u);
const char *unicorn_error(const struct unicorn *u);

#endif /* TESTS_JUDGES_UNICORN_H_ */
