// SPDX-License-Identifier: Apache-2.0
/* lists.c - the .def lists by name, for Python and the documents. Interface: pp_list_*(). */
#include "base/types.h"
#include "pmupass.h"

struct list_entry {
	const char *name, *text;
	u64 value;
};

static const struct list_entry base_events[] = {
#define BASE_EVENT(id, name, text) {name, text, 0},
#include "base/base_events.def"
#undef BASE_EVENT
};

static const struct list_entry exit_reasons[] = {
#define EXIT_REASON(id, number, text) {#id, text, number},
#include "base/exit_reasons.def"
#undef EXIT_REASON
};

static const struct list_entry svm_exit_reasons[] = {
#define SVM_EXIT(id, number, name, text) {name, text, number},
#include "base/svm_exit_reasons.def"
#undef SVM_EXIT
};

static const struct list_entry loss_causes[] = {
#define LOSS_CAUSE(id, name, text) {name, text, 0},
#include "base/loss_causes.def"
#undef LOSS_CAUSE
};

/* Named as in the cost tables: by ID. The text is the kernel function, then the unit. */
static const struct list_entry costs[] = {
#define COST(id, function, unit) {#id, function ": " unit, 0},
#include "base/costs.def"
#undef COST
};

static const struct list_entry access_kinds[] = {
#define ACCESS_KIND(id, name, text) {name, text, 0},
#include "base/access_kinds.def"
#undef ACCESS_KIND
};

static const struct list_entry msrs[] = {
#define MSR(id, number, text) {#id, text, number},
#include "base/msrs.def"
#undef MSR
};

static const struct list_entry trace_records[] = {
#define TRACE(id, name, text) {name, text, 0},
#include "base/trace.def"
#undef TRACE
};

static const struct list_entry stats[] = {
#define STAT(id, name, text) {name, text, 0},
#include "base/stats.def"
#undef STAT
};

static const struct list_entry kernel_work[] = {
#define KERNEL_WORK(id, function, instructions, text) {function, text, instructions},
#include "base/kernel_work.def"
#undef KERNEL_WORK
};

static const struct list {
	const struct list_entry *entries;
	u32 nr;
	bool has_value;
} lists[] = {
	[PP_LIST_BASE_EVENTS] = {base_events, ARRAY_SIZE(base_events), false},
	[PP_LIST_EXIT_REASONS] = {exit_reasons, ARRAY_SIZE(exit_reasons), true},
	[PP_LIST_SVM_EXIT_REASONS] = {svm_exit_reasons, ARRAY_SIZE(svm_exit_reasons), true},
	[PP_LIST_LOSS_CAUSES] = {loss_causes, ARRAY_SIZE(loss_causes), false},
	[PP_LIST_COSTS] = {costs, ARRAY_SIZE(costs), false},
	[PP_LIST_ACCESS_KINDS] = {access_kinds, ARRAY_SIZE(access_kinds), false},
	[PP_LIST_MSRS] = {msrs, ARRAY_SIZE(msrs), true},
	[PP_LIST_TRACE_RECORDS] = {trace_records, ARRAY_SIZE(trace_records), false},
	[PP_LIST_STATS] = {stats, ARRAY_SIZE(stats), false},
	[PP_LIST_KERNEL_WORK] = {kernel_work, ARRAY_SIZE(kernel_work), true},
};

static const struct list_entry *find(uint32_t list, uint32_t i)
{
	if (list >= ARRAY_SIZE(lists) || i >= lists[list].nr)
		return NULL;
	return &lists[list].entries[i];
}

const char *pp_list_name(uint32_t list, uint32_t i)
{
	const struct list_entry *e = find(list, i);

	return e ? e->name : NULL;
}

const char *pp_list_text(uint32_t list, uint32_t i)
{
	const struct list_entry *e = find(list, i);

	return e ? e->text : NULL;
}

uint64_t pp_list_value(uint32_t list, uint32_t i)
{
	const struct list_entry *e = find(list, i);

	if (!e)
		return 0;
	return lists[list].has_value ? e->value : i;
}
