/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c - bulk work: `nopl 0x504d5501(%rax)` retires RCX instructions with the rates of profile RAX.
 *
 * After n instructions of a profile, each of its events has been counted floor(n * rate / 2^20)
 * times; struct cpu_profile_state keeps n and what is counted, so totals do not depend on where the
 * work was cut. Every limit is turned into the smallest n that reaches it, and the smallest of
 * those is where this chunk ends: one step, however long.
 *
 * The instruction itself does not retire. A profile that is not known makes it an ordinary NOP.
 *
 * Exits of a profile, where the intercept asks for them, stop before the instruction they are due
 * at; cpu_skip_insn() completes it. It then retires nothing on the CPU, and what the rates put on
 * it is added with the profile's next instruction that retires. Of two exits due at one instruction
 * the second is taken at the next. Without an intercept they only keep count.
 */
#include "cpu/block.h"
#include "cpu/handlers.h"

#define RATE_SHIFT 20
/* Keeps n far from overflowing; a chunk this long has other limits anyway. */
#define MAX_CHUNK (1ull << 40)

static const struct cpu_profile *find_profile(const struct cpu *c, u64 id, u32 *index)
{
	for (*index = 0; *index < c->nr_profiles; ++*index) {
		if (c->profiles[*index].id == id)
			return &c->profiles[*index];
	}
	return NULL;
}

static u64 counted_after(u64 n, u64 rate)
{
	return (u64)((u128)n * rate >> RATE_SHIFT);
}

/* The smallest n with floor(n * rate / 2^20) >= count, or ~0. */
static u64 reached_at(u128 count, u64 rate)
{
	u128 n;

	if (!rate || count >> 100)
		return ~0ull;
	n = ((count << RATE_SHIFT) + rate - 1) / rate;
	return n >> 64 ? ~0ull : (u64)n;
}

/* The n at which the first limit is reached, at most @last. */
static u64 first_limit(const struct cpu *c, const struct cpu_profile *p,
		       const struct cpu_profile_state *s, u64 last)
{
	const u64 *count = c->totals.count[c->priv];
	u64 sub = c->limit_sub - c->totals.sub[c->priv];
	u64 room = c->limit[EVENT_INSTRUCTIONS] - count[EVENT_INSTRUCTIONS];
	u64 end = last;
	u128 cycles = ((u128)sub + SUB_PER_CYCLE - 1) >> SUB_SHIFT;

	if (room < last - s->n0)
		end = s->n0 + room;
	for (unsigned int e = EVENT_INSTRUCTIONS + 1; e < NR_EVENTS; e++) {
		if (!p->rate[e] || event_is_derived(e) || c->limit[e] == ~0ull)
			continue;
		end = min_u64(end, reached_at((u128)s->counted[e] + (c->limit[e] - count[e]),
					      p->rate[e]));
	}
	if (c->limit_sub != ~0ull)
		end = min_u64(end,
			      reached_at(s->counted[EVENT_CYCLES] + cycles, p->rate[EVENT_CYCLES]));
	/* A limit that emulated instructions have carried past is reached by the next one. */
	return max_u64(end, s->n0 + 1);
}

/* The first exit due from instruction n0 + 1 on; the instruction it is due at. */
static u64 first_exit(const struct cpu_profile *p, const struct cpu_profile_state *s, u32 *which)
{
	u64 first = ~0ull;

	for (u32 x = 0; x < p->nr_exits && x < CPU_MAX_PROFILE_EXITS; x++) {
		u64 n = reached_at((u128)s->exited[x] + 1, p->exits[x].rate);

		if (n < first) {
			first = n;
			*which = x;
		}
	}
	return first;
}

/* Retire the instructions up to @n. */
static void retire_to(struct cpu *c, const struct cpu_profile *p, struct cpu_profile_state *s,
		      u64 n)
{
	u64 *count = c->totals.count[c->priv];

	for (unsigned int e = EVENT_INSTRUCTIONS + 1; e < NR_EVENTS; e++) {
		u64 now, delta;

		if (!p->rate[e] || (event_is_derived(e) && e != EVENT_CYCLES))
			continue;
		now = counted_after(n, p->rate[e]);
		delta = now - s->counted[e];
		s->counted[e] = now;
		if (e == EVENT_CYCLES)
			c->totals.sub[c->priv] += delta << SUB_SHIFT;
		else
			count[e] += delta;
	}
	count[EVENT_INSTRUCTIONS] += n - s->n0;
	c->regs[CPU_RCX] -= n - s->n0;
	s->n0 = n;
}

static void follow_exits(const struct cpu_profile *p, struct cpu_profile_state *s)
{
	for (u32 x = 0; x < p->nr_exits && x < CPU_MAX_PROFILE_EXITS; x++)
		s->exited[x] = max_u64(s->exited[x], counted_after(s->n0, p->exits[x].rate));
}

static void stop_for_exit(struct cpu *c, const struct insn *i, u32 profile, u32 which)
{
	c->exit = (struct cpu_exit){.insn = CPU_INSN_WORK,
				    .len = i->len,
				    .reason = c->profiles[profile].exits[which].reason,
				    .rip = c->rip};
	c->exit_profile = profile;
	c->exit_index = which;
	c->stop = CPU_STOP_INTERCEPT;
	c->outcome = OUTCOME_STOPPED;
}

void op_work(struct cpu *c, const struct insn *i)
{
	bool intercepted = c->intercept && c->intercept->work;
	u64 last, end, exit_at = ~0ull;
	struct cpu_profile_state *s;
	const struct cpu_profile *p;
	u32 index, which = 0;

	p = find_profile(c, c->regs[CPU_RAX], &index);
	if (!p) {
		NEXT_INSN(c, i);
		return;
	}
	s = &c->profile_state[index];
	c->outcome = OUTCOME_PROGRESS;
	if (!c->regs[CPU_RCX]) {
		NEXT_INSN(c, i);
		return;
	}
	/* An interrupt shadow and a single step last for one instruction of the work. */
	last = s->n0 + (c->shadow || c->stepping ? 1 : min_u64(c->regs[CPU_RCX], MAX_CHUNK));
	if (intercepted)
		exit_at = first_exit(p, s, &which);
	if (exit_at <= s->n0 + 1) {
		stop_for_exit(c, i, index, which);
		return;
	}
	end = min_u64(first_limit(c, p, s, last), exit_at - 1);
	retire_to(c, p, s, end);
	if (!intercepted)
		follow_exits(p, s);
	if (c->regs[CPU_RCX])
		c->between_iterations = true;
	else
		NEXT_INSN(c, i);
}

void work_skip_one(struct cpu *c)
{
	struct cpu_profile_state *s = &c->profile_state[c->exit_profile];

	s->n0++;
	s->exited[c->exit_index]++;
	c->skipped.instructions[c->priv]++;
	if (--c->regs[CPU_RCX] == 0)
		c->rip += c->exit.len;
}
