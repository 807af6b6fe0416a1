/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_vm.h - a machine under KVM whose vCPU a test drives by hand: registers, VM-entries, exits.
 *
 *	struct vm *vm = vm_new(PP_MODE_EMULATED);
 *	vm_wrmsr(vm, MSR_IA32_PMC0, 5);		an intercepted WRMSR, without its credit
 *	vm_enter(vm);				requests, load, VM-entry
 *	vm_retire(vm, EVENT_INSTRUCTIONS, 10);	in the guest
 *	vm_exit(vm);
 *	vm_free(vm);
 *
 * The PMU and the truth see vm->guest instead of the guest CPU's totals; the CPU itself never runs, and
 * stands at CPL 0. Every cost is one cycle and the host retires an instruction a cycle, so that a counter
 * which counts the host shows it.
 */
#ifndef TESTS_C_TEST_VM_H_
#define TESTS_C_TEST_VM_H_

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "test.h"

#define ALL_ONES ((1ull << 48) - 1)
#define FIXED(i) (1ull << (32 + (i)))
#define INSTRUCTIONS 0xc0ull
#define BRANCHES 0xc4ull
#define CYCLES 0x3cull
#define EN ARCH_PERFMON_EVENTSEL_ENABLE
#define INT ARCH_PERFMON_EVENTSEL_INT
#define OS ARCH_PERFMON_EVENTSEL_OS
#define USR ARCH_PERFMON_EVENTSEL_USR

struct vm {
	struct pp_machine *m;
	struct kvm_vcpu *vcpu;
	struct kvm_pmu *pmu;
	struct hwpmu *hw;
	struct event_totals guest;
};

/* A test may change it before vm_new(), which starts from vm_defaults() again after that. */
static struct pp_config vm_config;
static bool vm_has_config;

static const struct pp_event_map vm_events[] = {
	{INSTRUCTIONS, 0xff | FIXED(0), EVENT_INSTRUCTIONS, 0},
	{CYCLES, 0xff | FIXED(1), EVENT_CYCLES, 0},
	{0x0300, FIXED(2), EVENT_REF_CYCLES, 0},
	{BRANCHES, 0xff, EVENT_BRANCHES, 0},
};

static struct pp_config *vm_defaults(void)
{
	static u32 costs[NR_COSTS];

	for (unsigned int i = 0; i < NR_COSTS; i++)
		costs[i] = 1;
	vm_has_config = true;
	vm_config = (struct pp_config){
		.memory = 4 << 20,
		.tsc_khz = 2000000,
		.tick_period = 2000000,
		.truth = 1,
		.host_ipc_q20 = 1 << 20,
		.hw = {.version = 5,
		       .nr_gp = 8,
		       .nr_fixed = 4,
		       .gp_width = 48,
		       .fixed_width = 48,
		       .fw_write = 1,
		       .perf_capabilities = PERF_CAP_FW_WRITES},
		.timing = {.ref_num = 1, .ref_den = 1, .issue_width = 4, .simple = 64},
		.kvm = {.vpmu = 1,
			.exit_save_global_ctrl = 1,
			.rdpmc_intercept = 1,
			.elide_wrmsr = 1},
		.nr_event_maps = ARRAY_SIZE(vm_events),
		.event_maps = vm_events,
		.nr_costs = NR_COSTS,
		.costs = costs,
	};
	vm_config.guest = vm_config.hw;
	vm_config.guest.version = 2;
	vm_config.guest.nr_fixed = 3;
	return &vm_config;
}

/* ELF64, one segment of one HLT at 1 MB. */
static void vm_image(u8 image[512])
{
	Elf64_Ehdr header = {.e_type = ET_EXEC,
			     .e_machine = EM_X86_64,
			     .e_version = EV_CURRENT,
			     .e_entry = 0x100000,
			     .e_phoff = sizeof(header),
			     .e_ehsize = sizeof(header),
			     .e_phentsize = sizeof(Elf64_Phdr),
			     .e_phnum = 1};
	Elf64_Phdr segment = {.p_type = PT_LOAD,
			      .p_flags = PF_R | PF_X,
			      .p_offset = 256,
			      .p_vaddr = 0x100000,
			      .p_paddr = 0x100000,
			      .p_filesz = 1,
			      .p_memsz = 1,
			      .p_align = 1};

	memset(image, 0, 512);
	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS64;
	header.e_ident[EI_DATA] = ELFDATA2LSB;
	header.e_ident[EI_VERSION] = EV_CURRENT;
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header), &segment, sizeof(segment));
	image[256] = 0xf4;
}

static struct vm *vm_new(enum pp_mode mode)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct pp_error error;
	u8 image[512];

	if (!vm_has_config)
		vm_defaults();
	vm_has_config = false;
	vm_image(image);
	vm_config.mode = mode;
	vm_config.image = image;
	vm_config.image_size = sizeof(image);
	vm_config.cmdline = "";
	vm->m = pp_machine_new(&vm_config, &error);
	if (!vm->m) {
		printf("# %s\n", error.text);
		abort();
	}
	vm->vcpu = &vm->m->vcpus[0].vcpu;
	vm->pmu = &vm->vcpu->pmu;
	vm->hw = &vm->m->cpus[0].pcpu.pmu;
	perf_event_task_sched_in(vm->vcpu->perf, &vm->vcpu->perf_ctx);
	vm->hw->guest = &vm->guest;
	vm->vcpu->guest.truth.totals.retired = &vm->guest;
	return vm;
}

static void vm_free(struct vm *vm)
{
	if (vm->m->check.broken)
		printf("# %s\n", pp_invariant_text(vm->m));
	EXPECT_TRUE(!vm->m->check.broken);
	pp_machine_free(vm->m);
	free(vm);
}

static int vm_wrmsr(struct vm *vm, u32 index, u64 value)
{
	struct msr_data msr = {.index = index, .data = value};

	return kvm_pmu_set_msr(vm->vcpu, &msr);
}

static u64 vm_rdmsr(struct vm *vm, u32 index)
{
	struct msr_data msr = {.index = index};

	EXPECT_EQ(0, kvm_pmu_get_msr(vm->vcpu, &msr));
	return msr.data;
}

static u64 vm_stat(const struct vm *vm, enum stat stat)
{
	return vm->m->cpus[0].pcpu.account.stats[stat];
}

/* KVM_REQ_PMU, if it is pending: true if it was. */
static bool vm_serve_pmu(struct vm *vm)
{
	if (!(vm->vcpu->requests & KVM_REQ_PMU))
		return false;
	vm->vcpu->requests &= ~KVM_REQ_PMU;
	kvm_pmu_handle_event(vm->vcpu);
	return true;
}

static inline void vm_enter(struct vm *vm)
{
	vm_serve_pmu(vm);
	vm->pmu->backend->load(vm->vcpu);
	vm->pmu->backend->vm_entry(vm->vcpu);
}

static inline void vm_exit(struct vm *vm)
{
	vm->pmu->backend->vm_exit(vm->vcpu);
	vm->pmu->backend->put(vm->vcpu);
}

static inline void vm_retire(struct vm *vm, unsigned int event, u64 n)
{
	vm->guest.count[PRIV_OS][event] += n;
	hwpmu_land(vm->hw);
	truth_land(&vm->vcpu->guest.truth);
}

/* One GP counter: its value, then its selector. */
static inline void vm_program(struct vm *vm, unsigned int i, u64 eventsel, u64 value)
{
	EXPECT_EQ(0, vm_wrmsr(vm, MSR_IA32_PMC0 + i, value));
	EXPECT_EQ(0, vm_wrmsr(vm, MSR_IA32_PERFEVTSEL0 + i, eventsel));
}

#endif /* TESTS_C_TEST_VM_H_ */
