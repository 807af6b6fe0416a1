/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvm_pebs.c - PEBS of the emulated vPMU between its registers and host perf (kvm/pebs.c). */
#include "test_vm.h"

#include "perf/perf_private.h"

/* TRAP, ARCH_REG, format 4 */
#define PEBS_CAPS 0x4c0ull
#define BUFFER_OVF GLOBAL_STATUS_BUFFER_OVF
#define LOADS 0x81d0ull

static const struct pp_event_map pebs_events[] = {
	{INSTRUCTIONS, 0xff | FIXED(0), EVENT_INSTRUCTIONS, 0},
	{CYCLES, 0xff | FIXED(1), EVENT_CYCLES, 0},
	{BRANCHES, 0xff, EVENT_BRANCHES, 0},
	{LOADS, 0xff, EVENT_LOADS, 0},
};

static struct vm *pebs_vm(u32 pdist)
{
	struct pp_config *c = vm_defaults();

	c->hw.pebs_ept = 1;
	c->hw.pdist = pdist;
	c->guest.pdist = pdist;
	c->guest.perf_capabilities |= PEBS_CAPS;
	c->event_maps = pebs_events;
	c->nr_event_maps = ARRAY_SIZE(pebs_events);
	return vm_new(PP_MODE_EMULATED);
}

static struct perf_event *event_of(const struct vm *vm, unsigned int idx)
{
	return vm->pmu->pmc[idx].perf_event;
}

/* A counter on, with or without PEBS. */
static void start(struct vm *vm, unsigned int idx, u64 eventsel, u64 value, u64 pebs_enable)
{
	vm_program(vm, idx, EN | OS | eventsel, value);
	EXPECT_EQ(0, vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, pebs_enable));
	vm_serve_pmu(vm);
}

/* In the guest, once. */
static void run(struct vm *vm, unsigned int event, u64 n)
{
	vm_enter(vm);
	vm_retire(vm, event, n);
	vm_exit(vm);
}

TEST(the_event_of_a_pebs_counter_is_precise)
{
	struct vm *vm = pebs_vm(0);

	start(vm, 0, BRANCHES, 0, 1);
	EXPECT_EQ(1, event_of(vm, 0)->attr.precise_ip);
	EXPECT_TRUE(vm->pmu->pmc[0].intr); /* without INT */
	vm_free(vm);
	/* GP 0 of silicon with the precise distribution, and no other, gets all of it. */
	vm = pebs_vm(1);
	start(vm, 1, BRANCHES, 0, 3);
	EXPECT_EQ(1, event_of(vm, 1)->attr.precise_ip);
	start(vm, 0, BRANCHES, 0, 3);
	EXPECT_EQ(3, event_of(vm, 0)->attr.precise_ip);
	vm_free(vm);
}

TEST(a_change_of_pebs_makes_a_new_event)
{
	struct vm *vm = pebs_vm(0);
	u64 created;

	start(vm, 0, BRANCHES, 0, 0);
	created = vm_stat(vm, STAT_PERF_CREATED);
	EXPECT_EQ(0, event_of(vm, 0)->attr.precise_ip);
	/* On, and off: each time another one. In between, toggled without a change, it is resumed. */
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 1);
	vm_serve_pmu(vm);
	EXPECT_EQ(created + 1, vm_stat(vm, STAT_PERF_CREATED));
	EXPECT_EQ(1, event_of(vm, 0)->attr.precise_ip);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 1);
	vm_serve_pmu(vm);
	EXPECT_EQ(created + 1, vm_stat(vm, STAT_PERF_CREATED));
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 0);
	vm_serve_pmu(vm);
	EXPECT_EQ(created + 2, vm_stat(vm, STAT_PERF_CREATED));
	EXPECT_EQ(0, event_of(vm, 0)->attr.precise_ip);
	vm_free(vm);
}

TEST(pebs_enable_reprograms_what_it_changes)
{
	struct vm *vm = pebs_vm(0);

	vm_serve_pmu(vm);
	vm->pmu->reprogram_pmi = 0;
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 0x5);
	EXPECT_EQ(0x5, vm->pmu->reprogram_pmi);
	EXPECT_TRUE(vm->vcpu->requests & KVM_REQ_PMU);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 0x6);
	EXPECT_EQ(0x3, vm->pmu->reprogram_pmi);
	vm_serve_pmu(vm);
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 0x6);
	EXPECT_EQ(0, vm->pmu->reprogram_pmi);
	vm_free(vm);
}

/* Counter 0 with its event on physical counter 0, 10 events before it wraps. */
static struct vm *about_to_overflow(u64 more, u64 status)
{
	struct vm *vm = pebs_vm(0);

	start(vm, 0, BRANCHES | more, ALL_ONES - 9, 1);
	vm->pmu->global_status = status;
	run(vm, EVENT_BRANCHES, 12);
	return vm;
}

TEST(an_overflow_sets_the_buffers_bit)
{
	static const u64 ints[] = {0, INT};

	for (unsigned int i = 0; i < ARRAY_SIZE(ints); i++) {
		struct vm *vm = about_to_overflow(ints[i], 0);

		perf_event_nmi_handler(vm->vcpu->perf);
		EXPECT_EQ(BUFFER_OVF, vm->pmu->global_status);
		EXPECT_EQ(KVM_REQ_PMU | KVM_REQ_PMI, vm->vcpu->requests);
		EXPECT_EQ(1, vm_stat(vm, STAT_PEBS_RECORDS));
		vm_free(vm);
	}
}

TEST(there_is_no_second_pmi)
{
	struct vm *vm = about_to_overflow(INT, BUFFER_OVF);

	perf_event_nmi_handler(vm->vcpu->perf);
	EXPECT_EQ(BUFFER_OVF, vm->pmu->global_status);
	EXPECT_EQ(KVM_REQ_PMU, vm->vcpu->requests);
	EXPECT_EQ(1, vm_stat(vm, STAT_PEBS_RECORDS));
	vm_free(vm);
}

TEST(an_emulated_instruction_has_no_record)
{
	struct vm *vm = pebs_vm(0);

	start(vm, 0, INT | INSTRUCTIONS, ALL_ONES, 1);
	vm->vcpu->requests = 0;
	kvm_pmu_instruction_retired(vm->vcpu);
	vm_serve_pmu(vm);
	EXPECT_EQ(0, vm->pmu->global_status);
	EXPECT_EQ(0, vm->vcpu->requests);
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_IA32_PMC0));
	EXPECT_EQ(0, vm_stat(vm, STAT_PEBS_RECORDS));
	EXPECT_EQ(1, vm_stat(vm, STAT_PEBS_EMULATED));
	vm_free(vm);
}

TEST(a_cross_mapped_counter_stands_still)
{
	struct vm *vm = pebs_vm(0);

	/* The guest's counter 1, and nothing else: perf puts it on 0. */
	start(vm, 1, BRANCHES, 0, 0);
	EXPECT_EQ(0, event_of(vm, 1)->hw.idx);
	run(vm, EVENT_BRANCHES, 7);
	EXPECT_EQ(7, vm_rdmsr(vm, MSR_IA32_PMC0 + 1));
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 2);
	vm_enter(vm);
	EXPECT_EQ(0, vm->hw->global_ctrl & 1);
	EXPECT_TRUE(kvm_pebs_stops(vm->vcpu, 0));
	EXPECT_EQ(CAUSE_PEBS_OFF, vm->pmu->backend->why(&vm->pmu->pmc[1]));
	vm_retire(vm, EVENT_BRANCHES, 100);
	vm_exit(vm);
	EXPECT_EQ(7, vm_rdmsr(vm, MSR_IA32_PMC0 + 1));
	/* Without PEBS the mapping harms nobody. */
	vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 0);
	run(vm, EVENT_BRANCHES, 5);
	EXPECT_EQ(12, vm_rdmsr(vm, MSR_IA32_PMC0 + 1));
	vm_free(vm);
}

TEST(a_plain_counter_that_is_cross_mapped_stands_still_beside_pebs)
{
	struct vm *vm = pebs_vm(0);

	/* Counter 0 with PEBS on 0; counter 2 without on 1. */
	start(vm, 0, BRANCHES, 0, 1);
	start(vm, 2, LOADS, 0, 1);
	EXPECT_EQ(0, event_of(vm, 0)->hw.idx);
	EXPECT_EQ(1, event_of(vm, 2)->hw.idx);
	vm_enter(vm);
	EXPECT_EQ(1, vm->hw->global_ctrl & 3);
	vm_retire(vm, EVENT_BRANCHES, 7);
	vm_retire(vm, EVENT_LOADS, 9);
	vm_exit(vm);
	EXPECT_EQ(7, vm_rdmsr(vm, MSR_IA32_PMC0));
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_IA32_PMC0 + 2));
	/* With the PEBS counter stopped nobody looks at the mapping. */
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 4);
	run(vm, EVENT_LOADS, 9);
	EXPECT_EQ(9, vm_rdmsr(vm, MSR_IA32_PMC0 + 2));
	vm_free(vm);
}

TEST(instructions_go_to_the_fixed_counter_and_have_no_pebs)
{
	struct vm *vm = pebs_vm(0);

	start(vm, 0, INSTRUCTIONS, 0, 1);
	EXPECT_EQ(32, event_of(vm, 0)->hw.idx);
	run(vm, EVENT_INSTRUCTIONS, 100);
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_free(vm);
}

TEST(the_precise_distribution_is_where_the_guest_thinks)
{
	struct vm *vm = pebs_vm(1);

	/* A host's event is on 0 already; the guest's event may be nowhere else, and the host's moves. */
	struct pp_host_event host = {.config = BRANCHES | USR | OS};

	EXPECT_EQ(0, pp_open_host_event(vm->m, &host));
	start(vm, 0, BRANCHES, 0, 1);
	EXPECT_EQ(0, event_of(vm, 0)->hw.idx);
	run(vm, EVENT_BRANCHES, 7);
	EXPECT_EQ(7, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_free(vm);
}

TEST(the_hosts_pebs_goes_first)
{
	struct pp_host_event precise = {
		.config = LOADS | USR | OS, .precise_ip = 1, .exclude_guest = 1};
	struct vm *vm = pebs_vm(0);
	int place;

	start(vm, 0, BRANCHES, 0, 1);
	run(vm, EVENT_BRANCHES, 7);
	place = pp_open_host_event(vm->m, &precise);
	EXPECT_EQ(0, place);
	vm_enter(vm);
	/* Neither the guest's nor the host's: the latter leaves guests out. */
	EXPECT_EQ(0, vm->hw->global_ctrl & 3);
	EXPECT_EQ(CAUSE_PEBS_OFF, vm->pmu->backend->why(&vm->pmu->pmc[0]));
	vm_retire(vm, EVENT_BRANCHES, 100);
	vm_exit(vm);
	EXPECT_EQ(7, vm_rdmsr(vm, MSR_IA32_PMC0));
	EXPECT_EQ(0, pp_close_host_event(vm->m, (u32)place));
	run(vm, EVENT_BRANCHES, 5);
	EXPECT_EQ(12, vm_rdmsr(vm, MSR_IA32_PMC0));
	vm_free(vm);
}

TEST(a_precise_event_of_the_host_counts_no_guest)
{
	/* Although it does not leave them out: PEBS writes to addresses that would be the guest's. */
	struct pp_host_event precise = {.config = BRANCHES | USR | OS, .precise_ip = 1};
	struct vm *vm = pebs_vm(0);

	EXPECT_EQ(0, pp_open_host_event(vm->m, &precise));
	vm_enter(vm);
	EXPECT_EQ(0, vm->hw->global_ctrl & 1);
	vm_exit(vm);
	EXPECT_EQ(1, vm->hw->global_ctrl & 1);
	vm_free(vm);
}

TEST(the_load_lists)
{
	struct vm *vm = pebs_vm(0);
	u64 before;

	/* No event, no debug store of the host: nothing differs. */
	before = vm->m->cpus[0].pcpu.account.host_cycles;
	vm_enter(vm);
	vm_exit(vm);
	EXPECT_EQ(0, vm->pmu->pebs.nr_loaded);
	/* Every cost is one cycle: DS_AREA twice; then PEBS_ENABLE twice, and the WRMSR before. */
	before = vm->m->cpus[0].pcpu.account.host_cycles - before;
	start(vm, 0, BRANCHES, 0, 0);
	for (unsigned int pebs = 0; pebs < 2; pebs++) {
		u64 now;

		start(vm, 0, BRANCHES, 0, pebs);
		now = vm->m->cpus[0].pcpu.account.host_cycles;
		vm_enter(vm);
		vm_exit(vm);
		EXPECT_EQ(before + (pebs ? 5 : 2), vm->m->cpus[0].pcpu.account.host_cycles - now);
	}
	vm_free(vm);
}

TEST(a_format_is_taken_whole_or_not_at_all)
{
	static const struct {
		u64 value;
		int ret;
	} cases[] = {
		{PERF_CAP_FW_WRITES, 0},
		{PERF_CAP_FW_WRITES | PEBS_CAPS, 0},
		{PEBS_CAPS, 0},
		{PERF_CAP_FW_WRITES | 0x400, KVM_MSR_RET_INVALID},
		{PERF_CAP_FW_WRITES | 0x3c0, KVM_MSR_RET_INVALID},
		{PERF_CAP_FW_WRITES | PEBS_CAPS | PERF_CAP_PEBS_BASELINE, KVM_MSR_RET_INVALID},
		{PERF_CAP_FW_WRITES | PEBS_CAPS | 5, KVM_MSR_RET_INVALID},
		/* Two bits that mean nothing without a format. */
		{PERF_CAP_FW_WRITES | 0xc0, 0},
	};
	struct vm *vm = pebs_vm(0);

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct msr_data msr = {.host_initiated = true,
				       .index = MSR_IA32_PERF_CAPABILITIES,
				       .data = cases[i].value};

		EXPECT_EQ(cases[i].ret, kvm_pmu_set_msr(vm->vcpu, &msr));
		if (cases[i].ret)
			continue;
		/* PEBS_ENABLE is there with the format; DS_AREA with CPUID's word. */
		EXPECT_EQ(cases[i].value & PERF_CAP_PEBS_FORMAT ? 0 : KVM_MSR_RET_UNSUPPORTED,
			  vm_wrmsr(vm, MSR_IA32_PEBS_ENABLE, 1));
		EXPECT_EQ(0, vm_wrmsr(vm, MSR_IA32_DS_AREA, 0x1000));
	}
	vm_free(vm);
}

TEST_MAIN()
