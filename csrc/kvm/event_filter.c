// SPDX-License-Identifier: Apache-2.0
/*
 * event_filter.c - KVM_SET_PMU_EVENT_FILTER at work.
 *
 * The entries come checked and sorted by event select (policy/event_filter.py); an entry without a
 * mask of its own has mask 0xff. What of a selector names the event, 8 bits of event select or AMD's 12,
 * is the vendor's (kvm_pmu_ops.eventsel_event); the caller has masked the rest.
 *
 * Rules: a selector matches if an include entry has its event select and (umask & mask) == match,
 * and no exclude entry does. ALLOW permits what matches, DENY what does not. Fixed counters look
 * at the bitmap alone.
 *
 * Not modelled: replacing the filter while the guest runs.
 */
#include "kvm/pmu.h"

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
	u16 select = (u16)((event & ARCH_PERFMON_EVENTSEL_EVENT) | (event & EVENTSEL_35_32) >> 24);
	u8 umask = event >> 8 & 0xff;
	bool included = false;

	for (u32 i = first_with_select(filter, select);
	     i < filter->nr_entries && filter->entries[i].select == select; i++) {
		const struct pp_filter_entry *e = &filter->entries[i];

		if ((umask & e->mask) != e->match)
			continue;
		if (e->exclude)
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
	listed = fixed ? filter->fixed_bitmap & BIT_ULL(fixed_index) : matches(filter, event);
	return (filter->action == PP_FILTER_ALLOW) == listed;
}
