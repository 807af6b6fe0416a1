// SPDX-License-Identifier: Apache-2.0
/*
 * perf_read.c - counting without the kernel: the page an event shares with user code, and the
 * user's side of it. Interface: perf.h.
 *
 * The kernel's side writes the page when the event gets or loses its counter or a new period is
 * loaded. User code reads index and offset, issues RDPMC and adds; if the lock word has moved
 * meanwhile, it reads again. An event that is off its counter is in the offset alone.
 *
 * Not modelled: time conversion fields, scaling by the reader.
 */
#include "guest/insn.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"

void perf_event_update_userpage(struct perf_event *event)
{
	const struct hw_perf_event *hwc = &event->hw;
	struct perf_user_page *page = &event->user_page;

	page->lock++;
	barrier();
	page->index = hwc->state & PERF_HES_STOPPED ? 0 : hwc->event_base_rdpmc + 1;
	page->offset = event->count;
	if (page->index)
		page->offset -= hwc->prev_count;
	barrier();
	page->lock++;
}

u64 perf_user_read(const struct perf_event *event)
{
	const volatile struct perf_user_page *page = &event->user_page;
	u32 shift = 64 - page->pmc_width;
	u32 lock, index;
	u64 count, pmc;

	do {
		lock = page->lock;
		index = page->index;
		count = page->offset;
		barrier();
		if (index) {
			pmc = rdpmc(index - 1);
			this_cpu()->report->reads++;
			count += (u64)((s64)(pmc << shift) >> shift);
		}
		barrier();
	} while ((lock & 1) || page->lock != lock);
	return count;
}
