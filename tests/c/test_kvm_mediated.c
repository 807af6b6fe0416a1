/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvm_mediated.c - the mediated vPMU: load, put, status, GLOBAL_CTRL, PMIs (kvm/pmu_mediated.c). */
#include "test_vm.h"

static u32 physical_lvtpc(const struct vm *vm)
{
	return lapic_reg(&vm->m->cpus[0].pcpu.lapic, APIC_LVTPC);
}

/* What the hardware holds of what KVM loads, as one would plant it there. */
static void plant(struct vm *vm, unsigned int i, u64 counter, u64 eventsel)
{
	hwpmu_wrmsr(vm->hw, MSR_IA32_PMC0 + i, counter);
	hwpmu_wrmsr(vm->hw, MSR_IA32_PERFEVTSEL0 + i, eventsel);
}

/* ---- load and put ---- */

/*
 * The host retires an instruction for each cycle that it is charged, and the selectors that load writes
 * count the kernel's instructions: a counter that ran while the load is under way would show it.
 */
TEST(nothing_counts_between_load_and_entry_or_between_exit_and_put)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);

	for (unsigned int i = 0; i < 8; i++)
		vm_program(vm, i, EN | OS | INSTRUCTIONS, 1000 + i);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0x333);
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0xff | 7ull << 32);
	vm_serve_pmu(vm);
	/* The worst that can be left: everything enabled. */
	hwpmu_wrmsr(vm->hw, MSR_CORE_PERF_GLOBAL_CTRL, vm->hw->counter_mask);
	vm->pmu->backend->load(vm->vcpu);
	account_charge_n(&vm->m->cpus[0].pcpu.account, COST_VCPU_RUN, 100);
	EXPECT_EQ(0, vm->hw->global_ctrl);
	for (unsigned int i = 0; i < 8; i++)
		EXPECT_EQ(1000 + i, hwpmu_counter(vm->hw, i));
	vm->pmu->backend->vm_entry(vm->vcpu);
	vm_retire(vm, EVENT_INSTRUCTIONS, 55);
	vm->pmu->backend->vm_exit(vm->vcpu);
	account_charge_n(&vm->m->cpus[0].pcpu.account, COST_VCPU_RUN, 100);
	vm->pmu->backend->put(vm->vcpu);
	account_charge_n(&vm->m->cpus[0].pcpu.account, COST_VCPU_RUN, 100);
	for (unsigned int i = 0; i < 8; i++)
		EXPECT_EQ(1055 + i, vm_rdmsr(vm, MSR_IA32_PMC0 + i));
	EXPECT_EQ(55, vm_rdmsr(vm, MSR_CORE_PERF_FIXED_CTR0));
	vm_free(vm);
}

TEST(put_leaves_zeros)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);

	vm_program(vm, 0, EN | OS | INSTRUCTIONS, 0x5ec2e7);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 3);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR0 + 1, 0x5ec2e7);
	vm_enter(vm);
	vm_exit(vm);
	EXPECT_EQ(0, hwpmu_counter(vm->hw, 0));
	EXPECT_EQ(0, hwpmu_counter(vm->hw, 33));
	EXPECT_EQ(0, vm->hw->eventsel[0]);
	EXPECT_EQ(0, vm->hw->fixed_ctr_ctrl);
	EXPECT_EQ(0, vm->hw->global_status);
	vm_free(vm);
}

/* A guest with 2 of 8 GP and 1 of 4 fixed counters: the others stay the host's, untouched. */
TEST(counters_that_the_guest_lacks_are_not_touched)
{
	struct vm *vm;

	vm_defaults()->guest.nr_gp = 2;
	vm_config.guest.nr_fixed = 1;
	vm = vm_new(PP_MODE_MEDIATED);
	hwpmu_wrmsr(vm->hw, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	plant(vm, 1, 111, OS | CYCLES);
	plant(vm, 2, 222, OS | CYCLES);
	plant(vm, 7, 777, OS | CYCLES);
	hwpmu_wrmsr(vm->hw, MSR_CORE_PERF_FIXED_CTR0 + 1, 333);
	vm_enter(vm);
	EXPECT_EQ(0, hwpmu_counter(vm->hw, 1)); /* the guest's own */
	vm_exit(vm);
	EXPECT_EQ(222, hwpmu_counter(vm->hw, 2));
	EXPECT_EQ(777, hwpmu_counter(vm->hw, 7));
	EXPECT_EQ(OS | CYCLES, vm->hw->eventsel[2]);
	EXPECT_EQ(OS | CYCLES, vm->hw->eventsel[7]);
	EXPECT_EQ(333, hwpmu_counter(vm->hw, 33));
	vm_free(vm);
}

/* Half of a switch: 1 for GLOBAL_CTRL, the counters that differ, each selector, FIXED_CTR_CTRL. */
TEST(a_counter_is_written_only_if_hardware_has_another_value)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);
	struct pp_switch_result *sw = &vm->pmu->sw;

	vm_wrmsr(vm, MSR_IA32_PMC0 + 3, 5);
	vm_wrmsr(vm, MSR_IA32_PMC0 + 4, 6);
	hwpmu_wrmsr(vm->hw, MSR_IA32_PMC0 + 3, 5);
	hwpmu_wrmsr(vm->hw, MSR_IA32_PMC0 + 5, 9);
	vm->pmu->backend->load(vm->vcpu);
	EXPECT_EQ(1 + 2 + 8 + 1, sw->wrmsr); /* 4 differs, and 5 */
	EXPECT_EQ(8 + 3, sw->rdpmc);
	EXPECT_EQ(1, sw->rdmsr);
	EXPECT_EQ(8 + 3 - 2, vm_stat(vm, STAT_ELIDED));
	vm_free(vm);
}

/* ---- status ---- */

/* What hardware has, what the guest has; how many writes it takes to make one of the other. */
TEST(status_is_made_the_guests_by_what_differs)
{
	static const struct {
		u64 hw, guest;
		unsigned int writes;
	} cases[] = {
		{0, 0, 0},
		{3 | FIXED(1), 3 | FIXED(1), 0},
		{0, 6 | FIXED(0), 1},		 /* set */
		{5 | FIXED(2), 0, 1},		 /* clear */
		{3 | FIXED(3), 6 | FIXED(0), 2}, /* both; bit 1 stays */
		{GLOBAL_STATUS_COND_CHG, 1, 2},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm *vm = vm_new(PP_MODE_MEDIATED);

		vm->hw->global_status = cases[i].hw;
		vm->pmu->global_status = cases[i].guest;
		vm->pmu->backend->load(vm->vcpu);
		EXPECT_EQ(cases[i].guest, vm->hw->global_status);
		/* GLOBAL_CTRL, 8 selectors, FIXED_CTR_CTRL; all counters are zero. */
		EXPECT_EQ(10 + cases[i].writes, vm->pmu->sw.wrmsr);
		vm->pmu->backend->vm_entry(vm->vcpu);
		vm_exit(vm);
		EXPECT_EQ(cases[i].guest, vm->pmu->global_status);
		EXPECT_EQ(0, vm->hw->global_status);
		vm_free(vm);
	}
}

/* ---- GLOBAL_CTRL ---- */

TEST(an_intercepted_write_of_global_ctrl_is_loaded_at_the_next_entry)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);

	vm_enter(vm);
	EXPECT_EQ(0xff, vm->hw->global_ctrl);
	vm_exit(vm);
	EXPECT_EQ(0, vm->hw->global_ctrl & ~perf_host_global_ctrl(vm->vcpu->perf));
	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 5 | FIXED(2));
	vm_enter(vm);
	EXPECT_EQ(5 | FIXED(2), vm->hw->global_ctrl);
	vm->pmu->backend->vm_exit(vm->vcpu);
	EXPECT_EQ(0, vm->hw->global_ctrl);
	vm->pmu->backend->put(vm->vcpu);
	EXPECT_EQ(5 | FIXED(2), vm_rdmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL));
	vm_free(vm);
}

/* With and without the exit that saves it: what the guest wrote directly survives the exit. */
TEST(a_direct_write_of_global_ctrl_survives)
{
	for (unsigned int saves = 0; saves < 2; saves++) {
		struct vm *vm;

		vm_defaults()->kvm.exit_save_global_ctrl = saves;
		vm = vm_new(PP_MODE_MEDIATED);
		cpu_intercept_msr(&vm->vcpu->intercept, MSR_CORE_PERF_GLOBAL_CTRL, false, false);
		vm_enter(vm);
		hwpmu_wrmsr(vm->hw, MSR_CORE_PERF_GLOBAL_CTRL, 9 | FIXED(0));
		vm_exit(vm);
		EXPECT_EQ(9 | FIXED(0), vm->pmu->global_ctrl);
		vm_enter(vm);
		EXPECT_EQ(9 | FIXED(0), vm->hw->global_ctrl);
		vm_exit(vm);
		vm_free(vm);
	}
}

/* Version 1 has no GLOBAL_CTRL; the hardware's must have every GP counter on. */
TEST(a_version_1_guest_runs_with_every_counter_enabled)
{
	struct vm *vm;

	vm_defaults()->guest.version = 1;
	vm_config.guest.nr_fixed = 0;
	vm = vm_new(PP_MODE_MEDIATED);
	EXPECT_EQ(1, vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 0) != 0);
	vm_program(vm, 6, EN | OS | INSTRUCTIONS, 0);
	vm_enter(vm);
	EXPECT_EQ(0xff, vm->hw->global_ctrl);
	vm_retire(vm, EVENT_INSTRUCTIONS, 21);
	vm_exit(vm);
	EXPECT_EQ(21, vm_rdmsr(vm, MSR_IA32_PMC0 + 6));
	EXPECT_EQ(BIT_ULL(6), kvm_pmu_instruction_retired(vm->vcpu));
	vm_free(vm);
}

/* ---- PMIs ---- */

TEST(the_lvtpc_of_a_loaded_guest)
{
	static const u32 guests[] = {APIC_DM_NMI, APIC_DM_NMI | APIC_LVT_MASKED, 0x50,
				     0x50 | APIC_LVT_MASKED};

	for (unsigned int nmi = 0; nmi < 2; nmi++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(guests); i++) {
			u32 ours = nmi ? APIC_DM_NMI : PERF_GUEST_MEDIATED_PMI_VECTOR;
			struct vm *vm;

			vm_defaults()->kvm.pmi_nmi = nmi;
			vm = vm_new(PP_MODE_MEDIATED);
			lapic_mmio_write(&vm->vcpu->lapic, APIC_SPIV, 0x1ff);
			lapic_mmio_write(&vm->vcpu->lapic, APIC_LVTPC, guests[i]);
			vm_enter(vm);
			EXPECT_EQ(ours | (guests[i] & APIC_LVT_MASKED), physical_lvtpc(vm));
			vm_exit(vm);
			EXPECT_EQ(APIC_DM_NMI, physical_lvtpc(vm));
			EXPECT_EQ(guests[i], lapic_reg(&vm->vcpu->lapic, APIC_LVTPC));
			vm_free(vm);
		}
	}
}

/* Any NMI then is somebody else's, and perf would take the guest's registers for its own. */
TEST(perf_claims_no_nmi_while_a_guest_is_loaded)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);

	vm_program(vm, 0, EN | OS | INT | INSTRUCTIONS, ALL_ONES);
	vm_enter(vm);
	vm_retire(vm, EVENT_INSTRUCTIONS, 1);
	perf_event_nmi_handler(vm->vcpu->perf);
	EXPECT_EQ(0, vm_stat(vm, STAT_HOST_PMIS));
	EXPECT_EQ(1, vm->hw->global_status);
	EXPECT_EQ(0xff, vm->hw->global_ctrl);
	vm_exit(vm);
	perf_event_nmi_handler(vm->vcpu->perf);
	EXPECT_EQ(1, vm_stat(vm, STAT_HOST_PMIS));
	EXPECT_EQ(1, vm_rdmsr(vm, MSR_CORE_PERF_GLOBAL_STATUS)); /* put has saved it */
	vm_free(vm);
}

/* ---- credits and the fastpath ---- */

TEST(a_credit_goes_to_the_saved_counter)
{
	static const u64 ints[] = {0, INT};

	for (unsigned int i = 0; i < ARRAY_SIZE(ints); i++) {
		struct vm *vm = vm_new(PP_MODE_MEDIATED);

		vm_program(vm, 0, EN | OS | ints[i] | INSTRUCTIONS, ALL_ONES - 1);
		vm_serve_pmu(vm);
		EXPECT_EQ(1, kvm_pmu_instruction_retired(vm->vcpu));
		EXPECT_EQ(ALL_ONES, vm_rdmsr(vm, MSR_IA32_PMC0));
		EXPECT_EQ(0, vm->pmu->global_status);
		EXPECT_EQ(0, vm->vcpu->requests);
		kvm_pmu_instruction_retired(vm->vcpu);
		EXPECT_EQ(0, vm_rdmsr(vm, MSR_IA32_PMC0));
		EXPECT_EQ(1, vm->pmu->global_status);
		EXPECT_EQ(ints[i] ? KVM_REQ_PMI : 0, vm->vcpu->requests);
		vm_free(vm);
	}
}

TEST(when_the_fastpath_is_refused)
{
	static const struct {
		u64 eventsel, global;
		bool allowed;
	} cases[] = {
		{0, 0xff, true},
		{EN | OS | INSTRUCTIONS, 0xff, false},
		{EN | USR | INSTRUCTIONS, 0xff, false}, /* the privilege is not looked at */
		{OS | INSTRUCTIONS, 0xff, true},
		{EN | OS | INSTRUCTIONS, 0xfe, true},
		{EN | OS | BRANCHES, 0xff, true}, /* no WRMSR is a branch */
		{EN | OS | CYCLES, 0xff, true},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		for (unsigned int mode = PP_MODE_EMULATED; mode <= PP_MODE_MEDIATED; mode++) {
			struct vm *vm = vm_new((enum pp_mode)mode);

			vm_program(vm, 0, cases[i].eventsel, 0);
			vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, cases[i].global);
			vm_serve_pmu(vm);
			/* The emulated design's credit waits beside the counter, and can. */
			EXPECT_EQ(cases[i].allowed || mode == PP_MODE_EMULATED,
				  kvm_pmu_is_fastpath_emulation_allowed(vm->vcpu));
			vm_free(vm);
		}
	}
}

TEST(an_instruction_counter_on_a_fixed_one_refuses_it_too)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);

	vm_wrmsr(vm, MSR_CORE_PERF_GLOBAL_CTRL, 7ull << 32);
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0x330);
	EXPECT_TRUE(kvm_pmu_is_fastpath_emulation_allowed(vm->vcpu));
	vm_wrmsr(vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0x332);
	EXPECT_TRUE(!kvm_pmu_is_fastpath_emulation_allowed(vm->vcpu));
	vm_free(vm);
}

/* ---- the VM ---- */

TEST(a_vm_counts_once_for_perf_until_it_is_gone)
{
	struct vm *vm = vm_new(PP_MODE_MEDIATED);
	struct perf_event_attr both = {.config = CYCLES}, host_only = both;
	int error;

	host_only.exclude_guest = true;
	EXPECT_EQ(1, vm->vcpu->perf->system->nr_mediated_vms);
	vm_enter(vm);
	vm_exit(vm);
	EXPECT_EQ(1, vm->vcpu->perf->system->nr_mediated_vms);
	EXPECT_TRUE(
		!perf_event_create_kernel_counter(vm->vcpu->perf, &both, NULL, NULL, NULL, &error));
	EXPECT_EQ(-95, error); /* EOPNOTSUPP */
	EXPECT_TRUE(perf_event_create_kernel_counter(vm->vcpu->perf, &host_only, NULL, NULL, NULL,
						     &error));
	kvm_destroy_vm(vm->vcpu->kvm);
	EXPECT_EQ(0, vm->vcpu->perf->system->nr_mediated_vms);
	EXPECT_TRUE(
		perf_event_create_kernel_counter(vm->vcpu->perf, &both, NULL, NULL, NULL, &error));
	vm_free(vm);
}

TEST(a_vcpu_without_a_pmu_is_not_mediated)
{
	struct vm *vm;

	vm_defaults()->guest = (struct pp_pmu){0};
	vm_config.kvm.vpmu = 0;
	vm = vm_new(PP_MODE_MEDIATED);
	EXPECT_TRUE(vm->pmu->backend == &kvm_pmu_emulated);
	EXPECT_EQ(0, vm->vcpu->perf->system->nr_mediated_vms);
	vm_free(vm);
}

TEST_MAIN()
