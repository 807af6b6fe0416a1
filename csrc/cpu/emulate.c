/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emulate.c - an instruction that the host executes in the guest's place, as an emulator does.
 *
 * Interface
 *  - cpu_emulate_insn() runs one instruction through the ordinary handlers, with all limits out of
 *    reach, and gives back what they counted: silicon has executed nothing.
 *  - What asks somebody else stops as if it were intercepted, and is the host's to do.
 *
 * Not modelled
 *  - what a real emulator cannot do: everything that the guest CPU executes works here too.
 *  - a rep string of more than 2^24 iterations, INS and OUTS: unimplemented.
 */
#include "cpu/block.h"
#include "cpu/handlers.h"
#include "cpu/x87.h"

/* Iterations: a string instruction must not keep the host for longer than anybody waits. */
#define REP_MAX (1u << 24)

static const struct cpu_intercept left_to_host = {
	.cpuid = true,
	.hlt = true,
	.rdpmc = true,
	.io = true,
	.vmcall = true,
	.all_msrs = true,
};

/* What the guest's counters and predictor must not see of the emulation. */
struct kept {
	const struct cpu_intercept *intercept;
	struct event_totals totals;
	struct predictor predictor;
	enum privilege priv;
	u32 nr_profiles;
	u64 rip, budget;
	bool must_land;
};

static void suspend_counting(struct cpu *c, struct kept *kept)
{
	*kept = (struct kept){.intercept = c->intercept,
			      .totals = c->totals,
			      .predictor = c->predictor,
			      .priv = c->priv,
			      .nr_profiles = c->nr_profiles,
			      .rip = c->rip,
			      .budget = c->budget,
			      .must_land = c->must_land};
	c->intercept = &left_to_host;
	c->nr_profiles = 0;
	no_limits(c);
	c->limits_valid = true;
	c->slack_sub = INT64_MAX;
	c->shadow = 0;
}

static void resume_counting(struct cpu *c, const struct kept *kept)
{
	c->intercept = kept->intercept;
	c->totals = kept->totals;
	c->predictor = kept->predictor;
	c->nr_profiles = kept->nr_profiles;
	c->budget = kept->budget;
	c->must_land = kept->must_land;
	c->pending_counts = 0;
	c->pending_sub = 0;
	c->pending_priv = c->priv;
	c->limits_valid = false;
	c->alone = false;
	c->fuel = 0;
	c->resume_block = NULL;
	c->force_alone = false;
	c->between_iterations = false;
	c->escape = NULL;
}

static enum cpu_emulated execute(struct cpu *c, u8 *branches)
{
	const struct insn *insn;
	u32 chunks = REP_MAX / REP_CHUNK;

	/* With these every iteration is a chunk. */
	if ((c->flags & FLAG_TF) || c->data_breakpoints)
		chunks = REP_MAX;
	do {
		if (chunks-- == 0)
			return CPU_EMULATED_UNIMPLEMENTED;
		insn = execute_alone(c, block_find(c), 0);
	} while (c->outcome == OUTCOME_PROGRESS);
	*branches = insn->branches;
	return c->outcome == OUTCOME_STOPPED ? CPU_EMULATED_HOST : CPU_EMULATED_DONE;
}

/* The instruction has retired nowhere, but it is done. */
static void complete(struct cpu *c, enum privilege priv, u8 branches)
{
	c->shadow = c->next_shadow;
	c->skipped.instructions[priv]++;
	c->skipped.branches[priv] += branches;
}

void cpu_clear_rf(struct cpu *c)
{
	c->flags &= ~FLAG_RF;
}

enum cpu_emulated cpu_emulate_insn(struct cpu *c, bool *branch, bool *step)
{
	u64 hits = code_breakpoints_hit(c);
	enum cpu_emulated result;
	struct kept kept;
	u8 branches = 0;
	jmp_buf frame;

	*branch = *step = false;
	if (hits) {
		c->exit = (struct cpu_exit){.insn = CPU_INSN_EXCEPTION,
					    .vector = VECTOR_DB,
					    .error = NO_ERROR_CODE,
					    .dr6 = hits,
					    .rip = c->rip};
		return CPU_EMULATED_FAULT;
	}
	suspend_counting(c, &kept);
	c->escape = &frame;
	switch (setjmp(frame)) {
	case 0: result = execute(c, &branches); break;
	case ESCAPE_FAULT:
		c->exit = (struct cpu_exit){.insn = CPU_INSN_EXCEPTION,
					    .vector = c->fault.vector,
					    .error = c->fault.error,
					    .dr6 = c->fault.dr6,
					    .rip = kept.rip};
		result = CPU_EMULATED_FAULT;
		break;
	default: result = CPU_EMULATED_UNIMPLEMENTED; break;
	}
	fpu_release(c);
	resume_counting(c, &kept);
	if (result == CPU_EMULATED_DONE)
		complete(c, kept.priv, branches);
	else
		c->rip = kept.rip;
	if (result == CPU_EMULATED_UNIMPLEMENTED)
		c->unimplemented = true;
	*branch = branches;
	*step = c->stepping && result == CPU_EMULATED_DONE;
	return result;
}
