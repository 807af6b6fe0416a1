/* SPDX-License-Identifier: Apache-2.0 */
/* test_kvm_lbr.c - the virtual LBR of the emulated vPMU (kvm/lbr.c). */
#include "test_vm.h"

#include "perf/perf_private.h"

#define LBR_FMT_INFO 5ull
#define DEPTH 32

static struct vm *lbr_vm(u32 version)
{
	struct pp_config *c = vm_defaults();

	c->guest.version = version;
	c->guest.perf_capabilities |= LBR_FMT_INFO;
	c->guest.lbr_depth = DEPTH;
	return vm_new(PP_MODE_EMULATED);
}

static const struct pp_host_event host_lbr = {
	.config = CYCLES | USR | OS, .pinned = 1, .exclude_guest = 1, .branch_stack = 1};

static int wrmsr_any(struct vm *vm, u32 index, u64 value)
{
	struct msr_data msr = {.index = index, .data = value};

	return kvm_set_msr(vm->vcpu, &msr);
}

static bool exits(const struct vm *vm, u32 msr, bool write)
{
	return cpu_msr_intercepted(&vm->vcpu->intercept, msr, write);
}

static void sleep_and_wake(struct vm *vm)
{
	vm->pmu->need_cleanup = true;
	kvm_pmu_handle_event(vm->vcpu);
}

TEST(which_registers_there_are)
{
	static const u32 first[] = {MSR_LBR_NHM_FROM, MSR_LBR_NHM_TO, MSR_LBR_INFO_0};
	struct vm *vm = lbr_vm(2);

	EXPECT_TRUE(kvm_lbr_has_msr(vm->pmu, MSR_LBR_SELECT));
	EXPECT_TRUE(kvm_lbr_has_msr(vm->pmu, MSR_LBR_TOS));
	for (unsigned int i = 0; i < ARRAY_SIZE(first); i++) {
		EXPECT_TRUE(!kvm_lbr_has_msr(vm->pmu, first[i] - 1));
		EXPECT_TRUE(kvm_lbr_has_msr(vm->pmu, first[i]));
		EXPECT_TRUE(kvm_lbr_has_msr(vm->pmu, first[i] + DEPTH - 1));
		EXPECT_TRUE(!kvm_lbr_has_msr(vm->pmu, first[i] + DEPTH));
	}
	vm_free(vm);
}

TEST(the_first_access_makes_the_event)
{
	struct vm *vm = lbr_vm(2);
	const struct perf_event *event;

	EXPECT_TRUE(!vm->pmu->lbr.event);
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_LBR_TOS));
	event = vm->pmu->lbr.event;
	EXPECT_TRUE(event);
	EXPECT_TRUE(event->attr.pinned && event->attr.exclude_host &&
		    event->ctx == &vm->vcpu->perf_ctx);
	EXPECT_EQ(PERF_EVENT_STATE_ACTIVE, event->state);
	EXPECT_EQ(1, vm->pmu->event_count);
	/* Nobody has lost a counter to it. */
	vm_program(vm, 0, EN | OS | BRANCHES, 0);
	vm_serve_pmu(vm);
	EXPECT_EQ(0, vm->pmu->pmc[0].perf_event->hw.idx);
	EXPECT_EQ(1, vm_stat(vm, STAT_LBR_CREATED));
	vm_free(vm);
}

TEST(so_does_debugctl)
{
	struct vm *vm = lbr_vm(2);

	EXPECT_EQ(0, wrmsr_any(vm, MSR_IA32_DEBUGCTLMSR, 1 << 11));
	EXPECT_TRUE(!vm->pmu->lbr.event);
	EXPECT_EQ(0, wrmsr_any(vm, MSR_IA32_DEBUGCTLMSR, 1));
	EXPECT_TRUE(vm->pmu->lbr.event);
	vm_free(vm);
}

TEST(registers_are_direct_while_the_event_is_active)
{
	static const u32 msrs[] = {MSR_LBR_SELECT, MSR_LBR_TOS, MSR_LBR_NHM_FROM,
				   MSR_LBR_NHM_TO + DEPTH - 1, MSR_LBR_INFO_0 + 7};
	struct vm *vm = lbr_vm(2);
	u64 value = 0;

	for (unsigned int used = 0; used < 2; used++) {
		if (used)
			EXPECT_EQ(0, vm_wrmsr(vm, MSR_LBR_NHM_FROM, 0x1234));
		vm_enter(vm);
		for (unsigned int i = 0; i < ARRAY_SIZE(msrs); i++) {
			EXPECT_EQ(!used, exits(vm, msrs[i], false));
			EXPECT_EQ(!used, exits(vm, msrs[i], true));
		}
		EXPECT_TRUE(exits(vm, MSR_LBR_NHM_FROM + DEPTH, false));
		vm_exit(vm);
	}
	EXPECT_EQ(0, kvm_cpu_ops.rdmsr(vm->vcpu, MSR_LBR_NHM_FROM, &value));
	EXPECT_EQ(0x1234, value);
	EXPECT_EQ(0, kvm_cpu_ops.wrmsr(vm->vcpu, MSR_LBR_NHM_FROM, 0x5678));
	EXPECT_EQ(0x5678, vm_rdmsr(vm, MSR_LBR_NHM_FROM));
	/* A new MSR filter puts all back; the next entry passes them through again. */
	kvm_recalc_msr_intercepts(vm->vcpu);
	EXPECT_TRUE(exits(vm, MSR_LBR_NHM_FROM, true));
	vm_enter(vm);
	EXPECT_TRUE(!exits(vm, MSR_LBR_NHM_FROM, true));
	vm_free(vm);
}

TEST(a_host_event_takes_it_away)
{
	struct vm *vm = lbr_vm(2);

	EXPECT_EQ(0, vm_wrmsr(vm, MSR_LBR_NHM_TO, 0x1234));
	vm_enter(vm);
	vm_exit(vm);
	EXPECT_EQ(0, pp_open_host_event(vm->m, &host_lbr));
	EXPECT_EQ(PERF_EVENT_STATE_ERROR, vm->pmu->lbr.event->state);
	vm_enter(vm);
	EXPECT_TRUE(exits(vm, MSR_LBR_NHM_TO, false));
	vm_exit(vm);
	EXPECT_EQ(1, vm_stat(vm, STAT_LBR_WARNINGS));
	/* Reads are 0, writes are dropped, without a fault. */
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_LBR_NHM_TO));
	EXPECT_EQ(0, vm_wrmsr(vm, MSR_LBR_NHM_TO, 1ull << 63));
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_LBR_NHM_TO));
	/* When the host is done the event stays in error, and KVM warns on. */
	EXPECT_EQ(0, pp_close_host_event(vm->m, 0));
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_LBR_NHM_TO));
	vm_enter(vm);
	vm_exit(vm);
	EXPECT_EQ(2, vm_stat(vm, STAT_LBR_WARNINGS));
	/* Until it has gone, and another one is made. */
	sleep_and_wake(vm);
	EXPECT_EQ(0, vm_wrmsr(vm, MSR_LBR_NHM_TO, 0x77));
	EXPECT_EQ(0x77, vm_rdmsr(vm, MSR_LBR_NHM_TO));
	vm_free(vm);
}

TEST(a_flexible_host_event_waits)
{
	struct pp_host_event flexible = host_lbr;
	struct vm *vm = lbr_vm(2);

	flexible.pinned = 0;
	vm_rdmsr(vm, MSR_LBR_TOS);
	EXPECT_EQ(0, pp_open_host_event(vm->m, &flexible));
	EXPECT_EQ(PERF_EVENT_STATE_ACTIVE, vm->pmu->lbr.event->state);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, vm->m->host_events[0].event[0]->state);
	/* Of two host events one waits for nobody. */
	vm_free(vm);
	vm = lbr_vm(2);
	EXPECT_EQ(0, pp_open_host_event(vm->m, &flexible));
	EXPECT_EQ(1, pp_open_host_event(vm->m, &flexible));
	EXPECT_EQ(PERF_EVENT_STATE_ACTIVE, vm->m->host_events[0].event[0]->state);
	EXPECT_EQ(PERF_EVENT_STATE_ACTIVE, vm->m->host_events[1].event[0]->state);
	vm_free(vm);
}

TEST(it_goes_when_the_thread_has_slept_and_lbr_is_off)
{
	struct vm *vm = lbr_vm(2);

	EXPECT_EQ(0, wrmsr_any(vm, MSR_IA32_DEBUGCTLMSR, 1));
	EXPECT_EQ(0, vm_wrmsr(vm, MSR_LBR_NHM_FROM, 0x1234));
	sleep_and_wake(vm);
	EXPECT_TRUE(vm->pmu->lbr.event);
	EXPECT_EQ(0, wrmsr_any(vm, MSR_IA32_DEBUGCTLMSR, 0));
	sleep_and_wake(vm);
	EXPECT_TRUE(!vm->pmu->lbr.event);
	EXPECT_EQ(0, vm->pmu->event_count);
	vm_enter(vm);
	EXPECT_TRUE(exits(vm, MSR_LBR_NHM_FROM, false));
	vm_exit(vm);
	EXPECT_EQ(0, vm_stat(vm, STAT_LBR_WARNINGS));
	/* The next one starts empty. */
	EXPECT_EQ(0, vm_rdmsr(vm, MSR_LBR_NHM_FROM));
	EXPECT_EQ(2, vm_stat(vm, STAT_LBR_CREATED));
	vm_free(vm);
}

TEST(a_pmi_freezes)
{
	/* FREEZE_LBRS_ON_PMI is KVM's to do for versions 2 and 3. */
	for (u32 version = 2; version <= 5; version++) {
		struct vm *vm = lbr_vm(version);

		EXPECT_EQ(0, wrmsr_any(vm, MSR_IA32_DEBUGCTLMSR, 1));
		kvm_pmu_deliver_pmi(vm->vcpu);
		EXPECT_EQ(1, vm->vcpu->guest.misc.debugctl);
		EXPECT_EQ(0, wrmsr_any(vm, MSR_IA32_DEBUGCTLMSR, 1 << 11 | 1));
		kvm_pmu_deliver_pmi(vm->vcpu);
		EXPECT_EQ(version <= 3 ? 1 << 11 : 1 << 11 | 1, vm->vcpu->guest.misc.debugctl);
		vm_free(vm);
	}
}

TEST_MAIN()
