/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn.h - whole guests in Unicorn (QEMU's TCG), kernel mode included.
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
 *  - MSRs beyond those of struct cpu_state, devices, RDPMC, RDTSC: whoever has them puts in what became
 *    of the instruction, see unicorn_put().
 */
#ifndef TESTS_JUDGES_UNICORN_H_
#define TESTS_JUDGES_UNICORN_H_

#include "cpu_state.h"

struct unicorn;

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
/* As unicorn_start(), in any state. */
void unicorn_begin(struct unicorn *u, const struct cpu_state *s);
enum unicorn_end unicorn_run(struct unicorn *u);
/* From a callback: do no further instruction. */
void unicorn_stop(struct unicorn *u);
/* Guest-virtual memory, as far as it is mapped. */
void unicorn_read(struct unicorn *u, u64 va, u8 *to, size_t n);
void unicorn_get(struct unicorn *u, struct cpu_state *s);
u32 unicorn_mxcsr(const struct unicorn *u);
struct unicorn_x87 {
	u16 control, status;
	u8 filled;    /* bit n: register n, not ST(n), is not empty */
	u8 st[8][16]; /* ST(0) first, 10 bytes each */
};
void unicorn_x87(const struct unicorn *u, struct unicorn_x87 *x);
/* 16 bytes. */
const void *unicorn_xmm(const struct unicorn *u, unsigned int n);

/*
 * From events.instruction(), instead of the instruction. put: go on in this state. interrupt: deliver it
 * by QEMU's code, as hardware does; @resume: RF is in the flags that it pushes. raise: the instruction faults, QEMU's code delivers it; @error < 0:
 * no error code; does not return, but to the library. @rflags are those of the machine, since the library's own
 * arithmetic flags are not always up to date.
 */
void unicorn_put(struct unicorn *u, const struct cpu_state *s);
void unicorn_interrupt(struct unicorn *u, unsigned int vector, u64 rflags, bool resume);
void unicorn_raise(struct unicorn *u, unsigned int vector, s32 error, u64 cr2, u64 rflags);
/* From any event, in place: registers; flags, which QEMU pushes as it holds them. */
void unicorn_put_regs(struct unicorn *u, const u64 regs[16]);
void unicorn_put_flags(struct unicorn *u, u64 rflags);
void unicorn_put_xmm(struct unicorn *u, unsigned int n, const void *value);

const char *unicorn_corrected(const struct unicorn *u, enum correction what, u64 *times);
/* UNICORN_BROKEN, because there is no memory where it was to go. */
bool unicorn_left_memory(const struct unicorn *u);
const char *unicorn_error(const struct unicorn *u);

#endif /* TESTS_JUDGES_UNICORN_H_ */
