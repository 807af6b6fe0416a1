// SPDX-License-Identifier: Apache-2.0
/*
 * event_filter.c - KVM_SET_PMU_EVENT_FILTER at work.
 *
 * The entries come checked and sorted by event select (policy/event_filter.py); an entry without a
 * mask of its own has mask 0xff.
 *
 * Rules: a selector matches if an include entry has its event select and (umask & mask) == match,
 * and no exclude entry does. ALLOW permits what matches, DENY what does not. Fixed counters look
 * at the bitmap alone.
 *
 * KVM_SET_PMU_EVENT_FILTER takes entries in two forms. Without the flag an entry is a selector's event
 * select and umask; one with any other bit can never match and is left out without a word. With
 * KVM_PMU_EVENT_FLAG_MASKED_EVENTS bits 63:56 are the mask, 55 excludes, 15:8 are the match, and any other
 * bit is EINVAL. The event select has 8 bits, and 12 on AMD (35:32).
 */
#include "kvm/pmu.h"

#include "base/fault.h"

#include <errno.h>

#define KVM_PMU_EVENT_ALLOW 0
#define KVM_PMU_EVENT_DENY 1
#define KVM_PMU_EVENT_FLAG_MASKED_EVENTS BIT_ULL(0)
#define KVM_PMU_MASKED_ENTRY_EXCLUDE BIT_ULL(55)
#define KVM_PMU_MASKED_ENTRY_MASK_SHIFT 56

static u16 select_of(u64 event)
{
	if (FAULTY(FILTER_SELECT_OF_8_BITS))
		return event & ARCH_PERFMON_EVENTSEL_EVENT;
	return (u16)((event & ARCH_PERFMON_EVENTSEL_EVENT) | (event & EVENTSEL_35_32) >> 24);
}

static struct pp_filter_entry entry_of(u64 event, bool masked)
{
	return (struct pp_filter_entry){
		.select = select_of(event),
		.match = event >> 8 & 0xff,
		.mask = masked ? event >> KVM_PMU_MASKED_ENTRY_MASK_SHIFT & 0xff : 0xff,
		.exclude = masked && event & KVM_PMU_MASKED_ENTRY_EXCLUDE,
	};
}

/* Entries of one select stand together; their order among each other does not matter. */
static void insert_sorted(struct pp_filter_entry *entries, u32 n, struct pp_filter_entry e)
{
	while (n && entries[n - 1].select > e.select) {
		entries[n] = entries[n - 1];
		n--;
	}
	entries[n] = e;
}

int kvm_check_pmu_event_filter(const struct pp_pmu_event_filter *filter, u64 event_bits)
{
	u64 allowed = event_bits | ARCH_PERFMON_EVENTSEL_UMASK | KVM_PMU_MASKED_ENTRY_EXCLUDE |
		      0xffull << KVM_PMU_MASKED_ENTRY_MASK_SHIFT;

	if (filter->action > KVM_PMU_EVENT_DENY)
		return -EINVAL;
	if (filter->flags & ~KVM_PMU_EVENT_FLAG_MASKED_EVENTS)
		return -EINVAL;
	if (filter->nevents > PP_PMU_EVENT_FILTER_MAX)
		return -E2BIG;
	for (u32 i = 0; filter->flags && i < filter->nevents; i++) {
		if (filter->events[i] & ~allowed && !FAULTY(FILTER_TAKES_RESERVED_BITS))
			return -EINVAL;
	}
	return 0;
}

void kvm_prepare_pmu_event_filter(const struct pp_pmu_event_filter *filter, u64 event_bits,
				  struct pp_filter *to, struct pp_filter_entry *entries)
{
	to->action = filter->action == KVM_PMU_EVENT_ALLOW ? PP_FILTER_ALLOW : PP_FILTER_DENY;
	to->fixed_bitmap = filter->fixed_counter_bitmap;
	to->nr_entries = 0;
	to->entries = entries;
	for (u32 i = 0; i < filter->nevents; i++) {
		u64 event = filter->events[i];

		if (!filter->flags && event & ~(event_bits | ARCH_PERFMON_EVENTSEL_UMASK))
			continue;
		insert_sorted(entries, to->nr_entries++, entry_of(event, filter->flags));
	}
}

static u32 first_with_select(const struct pp_filter *filter, u16 select)
{
	u32 low = 0, high = filter->nr_entries;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (filter->entries[mid].select < select)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool matches(const struct pp_filter *filter, u64 event)
{
	u16 select = select_of(event);
	u8 umask = event >> 8 & 0xff;
	bool included = false;

	for (u32 i = first_with_select(filter, select);
	     i < filter->nr_entries && filter->entries[i].select == select; i++) {
		const struct pp_filter_entry *e = &filter->entries[i];

		if ((umask & e->mask) != e->match && !FAULTY(FILTER_IGNORES_UMASK))
			continue;
		if (e->exclude && !FAULTY(FILTER_IGNORES_EXCLUDES))
			return false;
		included = true;
	}
	return included;
}

bool check_pmu_event_filter(const struct pp_filter *filter, u64 event, bool fixed,
			    unsigned int fixed_index)
{
	bool listed;

	if (filter->action == PP_FILTER_NONE)
		return true;
	listed = fixed && !FAULTY(FILTER_FIXED_BY_EVENT)
			 ? filter->fixed_bitmap & BIT_ULL(fixed_index)
			 : matches(filter, event);
	return (filter->action == PP_FILTER_ALLOW || FAULTY(FILTER_DENY_IS_ALLOW)) == listed;
}
