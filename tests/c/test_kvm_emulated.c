/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvm_emulated.c - the emulated vPMU between its registers and host perf (kvm/pmu_emulated.c). */
#include "test_vm.h"

#include "perf/perf_private.h"

static struct perf_event *event_of(const struct vm *vm, unsigned int idx)
{
	return vm->pmu->pmc[idx].perf_event;
}

/* Emulated instructions without an entry between them, as a VMM or an emulator's loop makes them. */
static void credit(struct vm *vm, unsigned int n)
{
	while (n--)
		kvm_pmu_instruction_retired(vm->vcpu);
}

/* ---- the value and what is written ---- */

TEST(the_value_is_base_and_credits_and_the_events_count)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 1000);
	vm_enter(vm);
	vm_retire(vm, EVENT_INSTRUCTIONS, 30);
	vm_exit(vm);
	EXPECT_EQ(1030, vm_rdmsr(vm, MSR_IA32_PMC0));
	credit(vm, 3);
	EXPECT_EQ(1000, vm->pmu->pmc[0].counter);
	EXPECT_EQ(3, vm->pmu->pmc[0].emulated_counter);
	EXPECT_EQ(1033, vm_rdmsr(vm, MSR_IA32_PMC0));
	/* Folding changes nothing that can be read: base 1033, no credit, a count of 0. */
	EXPECT_TRUE(vm_serve_pmu(vm));
	EXPECT_EQ(1033, vm->pmu->pmc[0].counter);
	EXPECT_EQ(0, vm->pmu->pmc[0].emulated_counter);
	EXPECT_EQ(1033, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_free(vm);
}

TEST(a_counter_write_drops_credits_that_nobody_has_folded)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 1000);
	vm_serve_pmu(vm);
	credit(vm, 3);
	vm_wrmsr(vm, MSR_IA32_PMC0, 50);
	EXPECT_EQ(50, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_serve_pmu(vm);
	EXPECT_EQ(50, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_free(vm);
}

/* The event goes on with what it has counted; the base makes up for it, and the period is that of the
 * base: perf begins it anew. */
TEST(a_counter_write_leaves_the_running_event_alone)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);
	struct perf_event *event;

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 0);
	vm_enter(vm);
	event = event_of(vm, 0);
	vm_retire(vm, EVENT_INSTRUCTIONS, 70);
	vm_exit(vm);
	vm_wrmsr(vm, MSR_IA32_PMC0, 500);
	EXPECT_TRUE(event_of(vm, 0) == event);
	EXPECT_EQ(70, event->count);
	EXPECT_EQ(500 - 70, vm->pmu->pmc[0].counter);
	EXPECT_EQ((1ull << 48) - 430, event->attr.sample_period);
	EXPECT_TRUE(!(vm->vcpu->requests & KVM_REQ_PMU));
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_CREATED));
	vm_free(vm);
}

/* ---- requests ---- */

TEST(only_what_a_write_changes_is_reprogrammed)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0xf);
	EXPECT_EQ(0xf0, vm->pmu->reprogram_pmi); /* 0xff after reset */
	EXPECT_TRUE(vm_serve_pmu(vm));
	EXPECT_EQ(0, vm->pmu->reprogram_pmi);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0xf);
	EXPECT_TRUE(!vm_serve_pmu(vm));
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 5 | FIXED(1));
	EXPECT_EQ(0xa | FIXED(1), vm->pmu->reprogram_pmi);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0x0b3);
	EXPECT_EQ(FIXED(0) | FIXED(1), vm->pmu->reprogram_pmi);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0x1b3);
	EXPECT_EQ(FIXED(2), vm->pmu->reprogram_pmi);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0 + 2, EN | OS | BRANCHES);
	EXPECT_EQ(4, vm->pmu->reprogram_pmi);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0 + 2, EN | OS | BRANCHES);
	vm_wrmsr(vm, MSR_IA32_PMC0 + 2, 7);
	EXPECT_EQ(0, vm->pmu->reprogram_pmi);
	EXPECT_TRUE(!vm_serve_pmu(vm));
	vm_free(vm);
}

/* ---- reprogramming ---- */

TEST(the_attributes_of_an_event)
{
	static const struct {
		u64 eventsel, value, config, period;
		bool exclude_user, exclude_kernel;
	} cases[] = {
		{EN | OS | INSTRUCTIONS, 0, INSTRUCTIONS, 1ull << 48, true, false},
		{EN | USR | INT | INSTRUCTIONS, 1, INSTRUCTIONS, (1ull << 48) - 1, false, true},
		{EN | OS | USR | BRANCHES, ALL_ONES, BRANCHES, 1, false, false},
		/* Pin control and INT are not perf's; edge, inv and cmask are. */
		{EN | OS | INT | BIT_ULL(19) | BIT_ULL(18) | BIT_ULL(23) | 3ull << 24 | 0x01d0, 5,
		 BIT_ULL(18) | BIT_ULL(23) | 3ull << 24 | 0x01d0, (1ull << 48) - 5, true, false},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm *vm = vm_new(PP_MODE_EMULATED);
		const struct perf_event *event;

		vm_program(vm, 1, cases[i].eventsel, cases[i].value);
		vm_serve_pmu(vm);
		event = event_of(vm, 1);
		EXPECT_TRUE(event);
		EXPECT_EQ(cases[i].config, event->attr.config);
		EXPECT_EQ(cases[i].period, event->attr.sample_period);
		EXPECT_EQ(cases[i].exclude_user, event->attr.exclude_user);
		EXPECT_EQ(cases[i].exclude_kernel, event->attr.exclude_kernel);
		EXPECT_TRUE(event->attr.pinned && event->attr.exclude_host &&
			    event->ctx == &vm->vcpu->perf_ctx);
		EXPECT_TRUE(!event->attr.exclude_guest);
		EXPECT_EQ(!!(cases[i].eventsel & INT), vm->pmu->pmc[1].intr);
		vm_free(vm);
	}
}

TEST(the_event_of_a_fixed_counter)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);
	static const u64 configs[] = {0xc0, 0x3c, 0x0300};

	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0xb21);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 7ull << 32);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR0 + 2, ALL_ONES - 99);
	vm_serve_pmu(vm);
	for (unsigned int i = 0; i < 3; i++) {
		const struct perf_event *event = event_of(vm, 32 + i);

		EXPECT_EQ(configs[i], event->attr.config);
		/* Field 1: kernel, 2: user, 0xb: both and the PMI. */
		EXPECT_EQ(i == 0, event->attr.exclude_user);
		EXPECT_EQ(i == 1, event->attr.exclude_kernel);
		EXPECT_EQ(i == 2, vm->pmu->pmc[32 + i].intr);
	}
	EXPECT_EQ(100, event_of(vm, 34)->attr.sample_period);
	vm_free(vm);
}

TEST(a_checkpointed_counter_has_no_period)
{
	struct vm *vm;

	vm_defaults();
	vm_config.hw.rtm = vm_config.guest.rtm = 1;
	vm = vm_new(PP_MODE_EMULATED);
	vm_program(vm, 2, EN | OS | INT | HSW_IN_TX_CHECKPOINTED | CYCLES, ALL_ONES);
	vm_serve_pmu(vm);
	EXPECT_EQ(0, event_of(vm, 2)->attr.sample_period);
	EXPECT_EQ(HSW_IN_TX_CHECKPOINTED | CYCLES, event_of(vm, 2)->attr.config);
	vm_free(vm);
}

/* As KVM had it before 2017, and what perf makes of a period that is too short. */
TEST(a_checkpointed_counter_with_a_period)
{
	static const struct {
		u64 period;
		bool refused;
	} cases[] = {{0x7ffffffe, true}, {0x7fffffff, false}, {1ull << 47, false}};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm *vm;

		vm_defaults();
		vm_config.hw.rtm = vm_config.guest.rtm = 1;
		vm_config.kvm.in_txcp_period = 1;
		vm = vm_new(PP_MODE_EMULATED);
		vm_program(vm, 2, EN | OS | HSW_IN_TX_CHECKPOINTED | CYCLES,
			   ALL_ONES + 1 - cases[i].period);
		vm_serve_pmu(vm);
		EXPECT_EQ(cases[i].refused, !event_of(vm, 2));
		if (event_of(vm, 2))
			EXPECT_EQ(cases[i].period, event_of(vm, 2)->attr.sample_period);
		EXPECT_EQ(cases[i].refused ? CAUSE_REFUSED : CAUSE_NONE,
			  vm->pmu->backend->why(&vm->pmu->pmc[2]));
		vm_free(vm);
	}
}

/* Between an exit and the next entry what is asked for is pending, and nothing is late. */
TEST(a_pending_request_is_no_fault)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 100);
	EXPECT_TRUE(vm->vcpu->requests & KVM_REQ_PMU);
	EXPECT_EQ(CAUSE_NONE, vm->pmu->backend->why(&vm->pmu->pmc[0]));
	vm->pmu->late = true;
	EXPECT_EQ(CAUSE_LATE_REPROGRAM, vm->pmu->backend->why(&vm->pmu->pmc[0]));
	vm_free(vm);
}

TEST(the_same_configuration_resumes_another_one_creates)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);
	struct perf_event *event;

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 100);
	vm_serve_pmu(vm);
	event = event_of(vm, 0);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0xfe);
	vm_serve_pmu(vm);
	EXPECT_TRUE(event_of(vm, 0) == event && vm->pmu->pmc[0].is_paused);
	EXPECT_EQ(PERF_EVENT_STATE_OFF, event->state);
	/* Meanwhile the counter moves: the resumed event gets the new distance. */
	vm_wrmsr(vm, MSR_IA32_PMC0, ALL_ONES - 9);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0xff);
	vm_serve_pmu(vm);
	EXPECT_TRUE(event_of(vm, 0) == event);
	EXPECT_EQ(PERF_EVENT_STATE_ACTIVE, event->state);
	EXPECT_EQ(10, event->attr.sample_period);
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_CREATED));
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_RESUMED));
	/* INT is a part of the configuration, though no part of what perf counts. */
	vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0, EN | OS | INT | INSTRUCTIONS);
	vm_serve_pmu(vm);
	EXPECT_EQ(2, vm_stat(vm, STAT_PERF_CREATED));
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_RELEASED));
	EXPECT_EQ(1, vm->pmu->event_count);
	vm_free(vm);
}

TEST(a_disabled_counter_keeps_its_paused_event)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 100);
	vm_enter(vm);
	vm_retire(vm, EVENT_INSTRUCTIONS, 11);
	vm_exit(vm);
	vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0, OS | INSTRUCTIONS);
	vm_enter(vm);
	EXPECT_TRUE(event_of(vm, 0));
	EXPECT_EQ(111, vm->pmu->pmc[0].counter);
	vm_retire(vm, EVENT_INSTRUCTIONS, 50);
	vm_exit(vm);
	EXPECT_EQ(111, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_free(vm);
}

/* ---- what perf refuses ---- */

/* With a quirk that takes no period below 128: 100 events before the overflow KVM gets no event. */
TEST(what_perf_refuses_is_tried_again_without_a_request)
{
	struct vm *vm;

	vm_defaults()->period_limit = (struct pp_period_limit){.least = 128, .multiple = 64};
	vm = vm_new(PP_MODE_EMULATED);
	vm_program(vm, 0, EN | OS | INSTRUCTIONS, ALL_ONES - 99);
	EXPECT_TRUE(vm_serve_pmu(vm));
	EXPECT_TRUE(!event_of(vm, 0));
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_REFUSED));
	EXPECT_EQ(1, vm->pmu->reprogram_pmi);
	EXPECT_EQ(0, vm->vcpu->requests);
	/* The guest goes on and counts nothing. */
	vm_enter(vm);
	vm_retire(vm, EVENT_INSTRUCTIONS, 30);
	vm_exit(vm);
	EXPECT_EQ(ALL_ONES - 99, vm_rdmsr(vm, MSR_IA32_PMC0));
	/* Whoever asks next has it tried again: another counter, an emulated instruction. */
	vm_program(vm, 1, EN | OS | BRANCHES, 0);
	EXPECT_TRUE(vm_serve_pmu(vm));
	EXPECT_EQ(2, vm_stat(vm, STAT_PERF_REFUSED));
	EXPECT_TRUE(event_of(vm, 1));
	/* Once the distance is long enough it succeeds, and the bit is gone. */
	vm_wrmsr(vm, MSR_IA32_PMC0, ALL_ONES - 199);
	credit(vm, 1);
	EXPECT_TRUE(vm_serve_pmu(vm));
	EXPECT_TRUE(event_of(vm, 0));
	EXPECT_EQ(0, vm->pmu->reprogram_pmi);
	/* 199 events to go; hardware gets the multiple of 64 below, and starts over for the rest. */
	EXPECT_EQ(199, event_of(vm, 0)->attr.sample_period);
	EXPECT_EQ((1ull << 48) - 192, hwpmu_counter(vm->hw, (unsigned int)event_of(vm, 0)->hw.idx));
	vm_free(vm);
}

/* The event is there; its new period is refused at the resume, so is the event made anew. */
TEST(a_refused_resume_ends_in_a_refused_creation)
{
	struct vm *vm;

	vm_defaults()->period_limit.least = 128;
	vm = vm_new(PP_MODE_EMULATED);
	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 0);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_IA32_PMC0, ALL_ONES - 9);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 1);
	vm_serve_pmu(vm);
	EXPECT_TRUE(!event_of(vm, 0));
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_RELEASED));
	EXPECT_EQ(1, vm_stat(vm, STAT_PERF_REFUSED));
	EXPECT_EQ(0, vm->pmu->event_count);
	EXPECT_EQ(CAUSE_REFUSED, vm->pmu->backend->why(&vm->pmu->pmc[0]));
	vm_free(vm);
}

/* ---- overflows ---- */

static struct vm *about_to_overflow(u64 eventsel)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	lapic_mmio_write(&vm->vcpu->lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&vm->vcpu->lapic, APIC_LVTPC, APIC_DM_NMI);
	vm_program(vm, 0, EN | OS | eventsel | INSTRUCTIONS, ALL_ONES - 9);
	vm_enter(vm);
	vm->vcpu->requests = 0;
	vm_retire(vm, EVENT_INSTRUCTIONS, 12);
	vm_exit(vm);
	return vm;
}

TEST(an_overflow_sets_the_bit_and_asks_for_pmi_and_reprogramming)
{
	static const u64 ints[] = {0, INT};

	for (unsigned int i = 0; i < ARRAY_SIZE(ints); i++) {
		struct vm *vm = about_to_overflow(ints[i]);

		perf_event_nmi_handler(vm->vcpu->perf);
		EXPECT_EQ(1, vm->pmu->global_status);
		EXPECT_EQ(1, vm->pmu->reprogram_pmi);
		EXPECT_EQ(KVM_REQ_PMU | (ints[i] ? KVM_REQ_PMI : 0), vm->vcpu->requests);
		EXPECT_EQ(2, vm_rdmsr(vm, MSR_IA32_PMC0)); /* 12 - 10 */
		/* Reprogramming gives the event the distance to the next wrap. */
		vm_serve_pmu(vm);
		EXPECT_EQ((1ull << 48) - 2, event_of(vm, 0)->attr.sample_period);
		vm_free(vm);
	}
}

/* Somebody has asked for the counter to be looked at: a filter set by another thread, say. */
TEST(an_overflow_while_a_reprogram_is_pending_is_dropped)
{
	struct vm *vm = about_to_overflow(INT);

	kvm_pmu_request_counter_reprogram(&vm->pmu->pmc[0]);
	perf_event_nmi_handler(vm->vcpu->perf);
	EXPECT_EQ(0, vm->pmu->global_status);
	EXPECT_EQ(KVM_REQ_PMU, vm->vcpu->requests);
	EXPECT_EQ(1, vm->vcpu->guest.truth.pmi.due);
	EXPECT_EQ(1, vm->vcpu->guest.truth.pmi.dropped);
	/* The count is there; the bit never comes. */
	vm_serve_pmu(vm);
	EXPECT_EQ(2, vm_rdmsr(vm, MSR_IA32_PMC0));
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_CORE_PERF_GLOBAL_STATUS));
	/* A pending look at another counter drops nothing. */
	vm_free(vm);
	vm = about_to_overflow(INT);
	kvm_pmu_request_counter_reprogram(&vm->pmu->pmc[1]);
	perf_event_nmi_handler(vm->vcpu->perf);
	EXPECT_EQ(1, vm->pmu->global_status);
	vm_free(vm);
}

TEST(credits_that_wrap_overflow_when_they_are_folded)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_program(vm, 0, EN | OS | INT | INSTRUCTIONS, ALL_ONES - 1);
	vm_serve_pmu(vm);
	credit(vm, 3);
	EXPECT_EQ(0, vm->pmu->global_status);
	EXPECT_TRUE(!(vm->vcpu->requests & KVM_REQ_PMI));
	vm_serve_pmu(vm);
	EXPECT_EQ(1, vm->pmu->global_status);
	EXPECT_TRUE(vm->vcpu->requests & KVM_REQ_PMI);
	EXPECT_EQ(1, vm_rdmsr(vm, MSR_IA32_PMC0)); /* -2 + 3 */
	vm_free(vm);
}

/* The fold sees the wrap, but the counter is off by then: KVM looks at that first. */
TEST(a_wrap_by_credits_is_lost_if_the_counter_is_off_when_they_are_folded)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	vm_program(vm, 0, EN | OS | INT | INSTRUCTIONS, ALL_ONES);
	vm_serve_pmu(vm);
	credit(vm, 1);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	vm_serve_pmu(vm);
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_IA32_PMC0));
	EXPECT_EQ(0, vm->pmu->global_status);
	vm_free(vm);
}

/* A wrap by what perf has counted is perf's to tell; the fold adds no second one. */
TEST(a_wrap_by_the_events_count_is_not_the_folds)
{
	struct vm *vm = about_to_overflow(0);

	/* The PMI is still on its way. */
	lapic_mmio_write(&vm->vcpu->pcpu->lapic, APIC_LVTPC, APIC_DM_NMI | APIC_LVT_MASKED);
	credit(vm, 1);
	vm_serve_pmu(vm);
	EXPECT_EQ(3, vm_rdmsr(vm, MSR_IA32_PMC0)); /* 12 - 10 + 1 */
	EXPECT_EQ(0, vm->pmu->global_status);
	vm_free(vm);
}

/* ---- credits ---- */

TEST(who_is_credited)
{
	static const struct {
		u64 eventsel;
		bool instruction, branch;
	} cases[] = {
		{EN | OS | INSTRUCTIONS, true, false},
		{EN | OS | BRANCHES, false, true},
		{EN | OS | USR | INSTRUCTIONS, true, false},
		{EN | USR | INSTRUCTIONS, false, false}, /* CPL 0 */
		{EN | INSTRUCTIONS, false, false},
		{OS | INSTRUCTIONS, false, false},
		{EN | OS | 0x01c0, false, false}, /* another umask */
		{EN | OS | CYCLES, false, false},
		/* edge, inv, cmask, pin and INT are not looked at */
		{EN | OS | BIT_ULL(18) | BIT_ULL(19) | BIT_ULL(23) | 1ull << 24 | INSTRUCTIONS,
		 true, false},
		{EN | OS | INT | BRANCHES, false, true},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned int global = 0; global < 2; global++) {
			struct vm *vm = vm_new(PP_MODE_EMULATED);

			vm_program(vm, 3, cases[i].eventsel, 0);
			vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, global ? 8 : 0xf7);
			vm_serve_pmu(vm);
			EXPECT_EQ(global && cases[i].instruction ? 8 : 0,
				  kvm_pmu_instruction_retired(vm->vcpu));
			EXPECT_EQ(global && cases[i].branch ? 8 : 0,
				  kvm_pmu_branch_retired(vm->vcpu));
			vm_free(vm);
		}
	}
}

TEST(the_filter_is_asked_when_the_instruction_is_emulated)
{
	static const struct pp_filter_entry entry = {.select = 0xc0, .mask = 0xff};
	struct vm *vm = vm_new(PP_MODE_EMULATED);
	struct pp_filter *filter = &vm->m->vms[0].config.kvm.filter;

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 0);
	vm_serve_pmu(vm);
	credit(vm, 1);
	*filter = (struct pp_filter){.action = PP_FILTER_DENY, .nr_entries = 1, .entries = &entry};
	credit(vm, 5); /* nobody has reprogrammed the counter */
	EXPECT_EQ(1, vm_rdmsr(vm, MSR_IA32_PMC0));
	filter->action = PP_FILTER_NONE;
	credit(vm, 2);
	EXPECT_EQ(3, vm_rdmsr(vm, MSR_IA32_PMC0));
	filter->entries = NULL;
	filter->nr_entries = 0;
	vm_free(vm);
}

/* ---- release ---- */

TEST(what_nobody_touched_and_is_disabled_is_released_at_sched_in)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	/* 0 stays on; 1 is off and will be touched by its counter, 2 by its selector, 3 not at all;
	 * fixed 0 is off by its field, and touched by that. */
	for (unsigned int i = 0; i < 4; i++)
		vm_program(vm, i, EN | OS | BRANCHES, 0);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 1);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0xff | FIXED(0));
	vm_serve_pmu(vm);
	for (unsigned int i = 1; i < 4; i++)
		vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0 + i, OS | BRANCHES);
	vm_serve_pmu(vm);
	EXPECT_EQ(5, vm->pmu->event_count);
	/* All were touched in this slice: nothing goes, and the marks are gone. */
	vm->pmu->need_cleanup = true;
	kvm_pmu_handle_event(vm->vcpu);
	EXPECT_EQ(5, vm->pmu->event_count);
	EXPECT_EQ(0, vm->pmu->pmc_in_use);
	vm_wrmsr(vm, MSR_IA32_PERFCTR0 + 1, 3);
	vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0 + 2, OS | BRANCHES);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	vm->pmu->need_cleanup = true;
	vm_serve_pmu(vm);
	EXPECT_TRUE(event_of(vm, 0) && event_of(vm, 1) && event_of(vm, 2) && event_of(vm, 32));
	EXPECT_TRUE(!event_of(vm, 3));
	/* The next slice: only the enabled one stays. Values stay as they were. */
	vm->pmu->need_cleanup = true;
	kvm_pmu_handle_event(vm->vcpu);
	EXPECT_EQ(1, vm->pmu->event_count);
	EXPECT_TRUE(event_of(vm, 0));
	EXPECT_EQ(3, vm_rdmsr(vm, MSR_IA32_PMC0 + 1));
	EXPECT_TRUE(!vm->pmu->need_cleanup);
	vm_free(vm);
}

/* ---- where the event lives ---- */

TEST(a_guests_counter_may_live_on_another_one)
{
	struct vm *vm = vm_new(PP_MODE_EMULATED);

	/* Instructions on GP 3 and GP 5: perf puts the first on fixed 0, the second on GP 0. */
	vm_program(vm, 3, EN | OS | INSTRUCTIONS, 0);
	vm_program(vm, 5, EN | OS | INSTRUCTIONS, 100);
	vm_enter(vm);
	EXPECT_EQ(32, vm->pmu->backend->hw_counter(&vm->pmu->pmc[3]));
	EXPECT_EQ(0, vm->pmu->backend->hw_counter(&vm->pmu->pmc[5]));
	vm_retire(vm, EVENT_INSTRUCTIONS, 7);
	vm_exit(vm);
	EXPECT_EQ(7, vm_rdmsr(vm, MSR_IA32_PMC0 + 3));
	EXPECT_EQ(107, vm_rdmsr(vm, MSR_IA32_PMC0 + 5));
	vm_free(vm);
}

/* GLOBAL_CTRL in the guest is perf's, not the guest's: every counter but those that count the host alone. */
TEST(hardware_in_the_guest_has_perfs_global_ctrl)
{
	struct perf_event_attr host_only = {
		.config = CYCLES, .pinned = true, .exclude_guest = true};
	struct vm *vm = vm_new(PP_MODE_EMULATED);
	u64 all = vm->hw->counter_mask;
	int error;

	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 2);
	vm_program(vm, 1, EN | OS | BRANCHES, 0);
	perf_event_create_kernel_counter(vm->vcpu->perf, &host_only, NULL, NULL, NULL, &error);
	vm_enter(vm);
	EXPECT_EQ(all & ~FIXED(1), vm->hw->global_ctrl); /* the host's cycles are on fixed 1 */
	EXPECT_EQ(2, vm_rdmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL));
	vm_exit(vm);
	EXPECT_EQ(all & ~1ull, vm->hw->global_ctrl); /* the guest's branches are on GP 0 */
	vm_free(vm);
}

TEST_MAIN()
