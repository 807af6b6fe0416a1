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
 * Not modelled: replacing the filter while the guest runs; the 12-bit event select of AMD.
 */
#include "kvm/pmu.h"

#include "base/fault.h"

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

static bool matches(const struct pp_filter *filter, u64 eventsel)
{
	u16 select = eventsel & ARCH_PERFMON_EVENTSEL_EVENT;
	u8 umask = eventsel >> 8 & 0xff;
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

bool check_pmu_event_filter(const struct pp_filter *filter, u64 eventsel, bool fixed,
			    unsigned int fixed_index)
{
	bool listed;

	if (filter->action == PP_FILTER_NONE)
		return true;
	listed = fixed && !FAULTY(FILTER_FIXED_BY_EVENT)
			 ? filter->fixed_bitmap & BIT_ULL(fixed_index)
			 : matches(filter, eventsel);
	return (filter->action == PP_FILTER_ALLOW || FAULTY(FILTER_DENY_IS_ALLOW)) == listed;
}
