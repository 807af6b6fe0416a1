/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_steps.h - a whole machine that goes on by instructions and says what they were.
 *
 * The machine is the product's own, of pp_machine_new(), in any mode. It is stopped by its callbacks
 * and its pause: behind a number of instructions, behind one whose outcome lies outside of the CPU, and
 * before an interrupt is delivered, whose state before the delivery is kept. Functions of the core that
 * say so are wrapped by the linker (--wrap, see meson.build). One machine at a time.
 *
 * Example
 *	steps_begin(&s, machine);
 *	do {
 *		steps_next(&s, 1);
 *		s.step.how, s.step.delivered ...
 *	} while (s.step.stop == PP_STOP_BUDGET);
 */
#ifndef TESTS_JUDGES_MACHINE_STEPS_H_
#define TESTS_JUDGES_MACHINE_STEPS_H_

#include "cpu/state.h"
#include "cpu_state.h"
#include "machine.h"

/* What made the last instruction of a step one that nobody else can do. */
enum step_kind {
	STEP_PLAIN,
	STEP_IN,       /* step.in is what the port said */
	STEP_CPUID,    /* step.cpuid */
	STEP_MSR,      /* RDMSR, WRMSR of what is outside of the CPU */
	STEP_COUNTER,  /* RDPMC */
	STEP_TSC,      /* RDTSC, RDTSCP */
	STEP_DEVICE,   /* an access to memory that is none */
	STEP_HALT,     /* HLT */
	STEP_WORK,     /* `work` */
	STEP_EMULATED, /* the host completed it */
	NR_STEP_KINDS
};

struct step {
	int stop;	/* enum pp_stop; PP_STOP_BUDGET: there is more */
	u64 first, end; /* instructions retired before and behind it */
	enum step_kind kind;
	u64 at; /* retired before the instruction of @kind */
	u32 in, cpuid[4];
	/* The last fault that an instruction of the step raised. */
	bool faulted;
	u64 fault_at; /* retired before it */
	u8 vector;
	s32 error;
	/* An interrupt, NMI or trap has been delivered behind all of that. */
	bool delivered;
	u8 event_vector;
	bool event_is_trap;	 /* #DB */
	bool pushes_rf;		 /* between two iterations of a string instruction */
	struct cpu_state before; /* the delivery */
};

struct steps {
	struct pp_machine *machine;
	struct cpu *cpu;
	const struct cpu_ops *ops; /* the machine's own */
	void *ctx;
	u64 goal;
	bool trap_pending; /* intercepted */
	struct step step;
};

void steps_begin(struct steps *s, struct pp_machine *m);
/* At most @n instructions; `work` is one of any number. */
void steps_next(struct steps *s, u64 n);
/* Instructions completed so far, by the host too. */
u64 steps_retired(const struct steps *s);
const char *steps_kind_text(enum step_kind kind);

#endif /* TESTS_JUDGES_MACHINE_STEPS_H_ */
