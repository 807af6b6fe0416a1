/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judged.h - what judge_native.c and judge_legacy.c share: single instructions on the processor and in
 * the interpreter.
 *
 * A child process makes random cases and leaves what it found in memory that it shares with the parent, which
 * prints it even if an instruction ends the child. The programs differ in the code that they make, in
 * where it may go, and in what is accepted; struct judge_kind says so.
 */
#ifndef TESTS_JUDGES_JUDGED_H_
#define TESTS_JUDGES_JUDGED_H_

#include "cpu/state.h"
#include "forms.h"
#include "host.h"
#include "test_cpu_guest.h"

#define JUDGED_CODE 0x20000000ull
#define JUDGED_DATA 0x30000000ull
#define DATA_PAGES 9u /* the last one is read-only */
#define DATA_BYTES (DATA_PAGES * 4096u)
#define CODE_PA 0x600000ull
#define DATA_PA 0x610000ull
#define STREAM_MAX 40u
#define REFILL 256u /* cases with the same data */
#define MAX_REPORTS 20u
#define MAX_TRIES 2000u /* of a form that has not retired */

/* Of a form: how often it came up, and retired. */
struct coverage {
	u32 judged, retired;
};

/* What the child leaves to the parent. */
struct report {
	u64 judged, unimplemented, excluded, accepted;
	u64 faults[32];
	u64 seed;
	u8 bytes[STREAM_MAX]; /* of the case under way */
	bool finished;
	u32 differences;
	u32 used;
	char text[1u << 16];
};

struct judge {
	const struct judge_kind *kind;
	struct guest *guest;
	struct report *report;
	struct coverage *coverage; /* kind->nr_forms, shared as the report is */
	u8 *code, *data;	   /* where the host has them; code: a view that can be written */
	u64 seed;
	u32 *required[2]; /* forms; of legacy code for 16 and for 32 bits */
	u32 nr_required[2], next[2];
	/* The case. */
	struct host_state before, host, guest_state;
	u64 retired;		    /* by the guest */
	bool wide_code, wide_stack; /* legacy code */
	bool checks_alignment;	    /* CR0.AM is set on the host */
};

struct judge_kind {
	const char *name;
	u64 instructions; /* by default */
	u32 nr_forms;
	u32 code_pages;
	u64 code_access;	   /* of their page table entries */
	u64 cr0, cr4;		   /* more of them */
	unsigned int nr_registers; /* compared */
	int max_repeats;	   /* of a string instruction */
	u64 flags;		   /* that are loaded again between two of them */
	unsigned int stream;	   /* bytes of a case that are printed */
	/* NULL, or why this host cannot do it. */
	const char *(*prepare)(struct judge *j);
	void (*find_required)(struct judge *j);
	u64 (*data_word)(struct judge *j);
	/* In the child. */
	void (*judge)(struct judge *j, u64 instructions);
	bool (*same_error)(const struct host_state *h, const struct host_state *g);
	/* What is known of the case, for a report. */
	void (*tell_case)(struct judge *j);
	bool (*print_coverage)(const struct judge *j);
};

int judge_main(const struct judge_kind *kind, int argc, char **argv);

__attribute__((format(printf, 2, 3))) void tell(struct report *r, const char *format, ...);

u64 random_word(struct judge *j);
u32 below(struct judge *j, u32 n);
u64 random_for_fpu(void *judge);
static inline void put(u8 *at, u64 v, unsigned int n)
{
	memcpy(at, &v, n);
}

void fill_data(struct judge *j);
/* Behind a case: the same data on both sides again. */
void restore_data(struct judge *j);
bool same_data(const struct judge *j);
/* The bytes under way, at @offset of the code. */
void place_code(struct judge *j, u32 offset, u32 n);

/* Run the started guest by an instruction from j->before. False if it is not implemented. */
bool guest_runs(struct judge *j, u64 budget);
void host_runs(struct judge *j, const struct form *f);

bool has_error_code(int vector);
/* Of an operand in memory: #PF, #GP, #SS or #AC. */
bool is_access_fault(int vector);
/* What differs, or NULL. @flags: those that are defined; @undefined: the result is not. */
const char *difference(const struct judge *j, const struct form *f, u64 flags, bool undefined);
void tell_difference(struct judge *j, const char *what);

#endif /* TESTS_JUDGES_JUDGED_H_ */
