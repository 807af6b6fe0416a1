// SPDX-License-Identifier: Apache-2.0
/*
 * perf_fault.c - faults of host perf by setting (host.fault_*): which call, which overflow is hit.
 *
 * Of the events of vCPUs' threads alone, and counted for each thread: what the host opens for itself is as
 * it is, and where other vCPUs stand shows in none. One in N is every N-th, as the interval of the kernel's
 * fault injection has it; 0 is none.
 *
 *	event_create	perf_event_create_kernel_counter() fails
 *	event_period	perf_event_period() fails, once its own checks have passed
 *	overflow	the PMI is taken, the sample counted, the next period loaded; nobody is told
 *	late_reprogram	KVM's requests to reprogram counters wait for N VM-entries
 *
 * Interface: perf_private.h; perf_reprogram_is_late().
 *
 * Not modelled: probabilities, limits of how often; faults of the host's own events.
 */
#include "perf/perf_event.h"

#include "perf/perf_private.h"

static bool is_hit(struct perf_cpu *perf, u32 *calls, u32 interval)
{
	if (++*calls < interval)
		return false;
	*calls = 0;
	account_stat(&perf->pcpu->account, STAT_PERF_FAULTS);
	return true;
}

static bool is_asked(const struct perf_event_context *ctx, u32 setting)
{
	return unlikely(setting) && ctx && ctx->task;
}

bool perf_fault_event_create(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	u32 interval = perf->system->faults.event_create;

	return is_asked(ctx, interval) && is_hit(perf, &ctx->creations, interval);
}

bool perf_fault_event_period(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	u32 interval = perf->system->faults.event_period;

	return is_asked(ctx, interval) && is_hit(perf, &ctx->periods, interval);
}

bool perf_fault_overflow(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	u32 interval = perf->system->faults.overflow;

	return is_asked(ctx, interval) && is_hit(perf, &ctx->overflows, interval);
}

bool perf_reprogram_is_late(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	u32 entries = perf->system->faults.late_reprogram;

	if (!is_asked(ctx, entries))
		return false;
	if (ctx->waited == entries) {
		ctx->waited = 0;
		return false;
	}
	if (!ctx->waited++)
		account_stat(&perf->pcpu->account, STAT_PERF_FAULTS);
	return true;
}
