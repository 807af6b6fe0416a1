// SPDX-License-Identifier: Apache-2.0
/*
 * exits.c - exit handlers.
 *
 * Interface
 *  - kvm_handle_exit_fastpath(): inside the inner run loop, with the guest's PMU loaded.
 *  - kvm_handle_exit(): everything else, after put.
 *
 * Not modelled: hypercalls that do something (kicks, IPIs, yields, clock pairing: they are unknown
 * here), and the narrower registers that a VMCALL of 16- and 32-bit code has; the emulation of
 * instructions with memory-mapped I/O (they complete in hardware and exit afterwards), exits of a
 * guest's page faults.
 */
#include "kvm/vcpu.h"

#define KVM_EPERM 1
#define KVM_ENOSYS 1000
#define KVM_HC_VAPIC_POLL_IRQ 1

static void set_edx_eax(struct kvm_vcpu *vcpu, u64 value)
{
	cpu_set_reg(vcpu->guest.cpu, CPU_RAX, (u32)value);
	cpu_set_reg(vcpu->guest.cpu, CPU_RDX, value >> 32);
}

void kvm_skip_emulated_instruction(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;
	enum privilege priv = cpu_cpl(cpu) == 3 ? PRIV_USR : PRIV_OS;
	bool step = cpu_single_steps(cpu);
	u64 credited;

	account_enter(vcpu_books(vcpu), COST_SKIP_INSN);
	cpu_skip_insn(cpu);
	credited = kvm_pmu_instruction_retired(vcpu);
	account_leave(vcpu_books(vcpu));
	truth_insn_skipped(&vcpu->guest.truth, credited, priv, false);
	if (step)
		kvm_queue_exception_p(vcpu, DB_VECTOR, DR6_BS);
}

static void complete_or_fault(struct kvm_vcpu *vcpu, int fault)
{
	if (fault)
		kvm_queue_exception(vcpu, GP_VECTOR, 0);
	else
		kvm_skip_emulated_instruction(vcpu);
}

enum exit_reason kvm_exit_reason_of(const struct cpu_exit *exit)
{
	switch (exit->insn) {
	case CPU_INSN_CPUID: return EXIT_CPUID;
	case CPU_INSN_RDMSR: return EXIT_MSR_READ;
	case CPU_INSN_WRMSR: return EXIT_MSR_WRITE;
	case CPU_INSN_RDPMC: return EXIT_RDPMC;
	case CPU_INSN_HLT: return EXIT_HLT;
	case CPU_INSN_VMCALL: return EXIT_VMCALL;
	case CPU_INSN_WORK: return (enum exit_reason)exit->reason;
	case CPU_INSN_MOV_DR: return EXIT_DR_ACCESS;
	case CPU_INSN_EXCEPTION: return EXIT_EXCEPTION_NMI;
	default: return EXIT_IO_INSTRUCTION;
	}
}

/* Registers of PEBS and LBR are the PMU's where the guest has them. */
static enum access_kind access_kind(const struct kvm_vcpu *vcpu, u32 msr, bool write)
{
	enum access_kind kind = pmu_access_kind(&vcpu->config->hw, msr, write);

	if (kind == ACCESS_NONE &&
	    (kvm_pebs_has_msr(&vcpu->pmu, msr) || kvm_lbr_has_msr(&vcpu->pmu, msr)))
		return ACCESS_OTHER;
	return kind;
}

static void note_access(struct kvm_vcpu *vcpu, enum access_kind kind)
{
	if (kind == ACCESS_NONE)
		return;
	vcpu->exit_access = kind;
	vcpu->guest.access.intercepted[kind]++;
}

static void emulate_cpuid(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;
	u32 regs[4];

	account_enter(vcpu_books(vcpu), COST_EMULATE_CPUID);
	kvm_cpu_ops.cpuid(vcpu, (u32)cpu_reg(cpu, CPU_RAX), (u32)cpu_reg(cpu, CPU_RCX), regs);
	cpu_set_reg(cpu, CPU_RAX, regs[0]);
	cpu_set_reg(cpu, CPU_RBX, regs[1]);
	cpu_set_reg(cpu, CPU_RCX, regs[2]);
	cpu_set_reg(cpu, CPU_RDX, regs[3]);
	kvm_skip_emulated_instruction(vcpu);
	account_leave(vcpu_books(vcpu));
}

static void emulate_rdmsr(struct kvm_vcpu *vcpu, u32 index)
{
	struct msr_data msr = {.index = index};
	int fault;

	note_access(vcpu, access_kind(vcpu, index, false));
	account_enter(vcpu_books(vcpu), COST_EMULATE_RDMSR);
	if (kvm_msr_allowed(&vcpu->msr_filter, index, PP_MSR_FILTER_READ))
		fault = kvm_get_msr(vcpu, &msr);
	else
		fault = kvm_msr_denied(vcpu);
	if (!fault)
		set_edx_eax(vcpu, msr.data);
	complete_or_fault(vcpu, fault);
	account_leave(vcpu_books(vcpu));
	pcpu_trace(vcpu->pcpu, TRACE_KVM_MSR, fault ? 2 : 0, index, msr.data, 0);
}

static int set_msr(struct kvm_vcpu *vcpu, u32 index, u64 value)
{
	struct msr_data msr = {.index = index, .data = value};

	return kvm_set_msr(vcpu, &msr);
}

static void emulate_wrmsr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	int fault;

	note_access(vcpu, access_kind(vcpu, msr, true));
	account_enter(vcpu_books(vcpu), COST_EMULATE_WRMSR);
	if (kvm_msr_allowed(&vcpu->msr_filter, msr, PP_MSR_FILTER_WRITE))
		fault = set_msr(vcpu, msr, value);
	else
		fault = kvm_msr_denied(vcpu);
	complete_or_fault(vcpu, fault);
	account_leave(vcpu_books(vcpu));
	pcpu_trace(vcpu->pcpu, TRACE_KVM_MSR, fault ? 2 : 1, msr, value, 0);
}

static void emulate_rdpmc(struct kvm_vcpu *vcpu, u32 ecx)
{
	u64 value = 0;
	int fault;

	note_access(vcpu, ACCESS_RDPMC);
	account_enter(vcpu_books(vcpu), COST_EMULATE_RDPMC);
	fault = kvm_pmu_rdpmc(vcpu, ecx, &value);
	if (!fault)
		set_edx_eax(vcpu, value);
	complete_or_fault(vcpu, fault);
	account_leave(vcpu_books(vcpu));
}

static void emulate_io(struct kvm_vcpu *vcpu, const struct cpu_exit *exit)
{
	struct cpu *cpu = vcpu->guest.cpu;
	u64 keep, value;

	account_enter(vcpu_books(vcpu), COST_FAST_PIO);
	kvm_vcpu_exit_to_userspace(vcpu);
	if (exit->insn == CPU_INSN_OUT) {
		ports_out(vcpu->ports, exit->port, exit->size, (u32)exit->value);
	} else {
		keep = exit->size == 4 ? 0 : ~0ull << (8 * exit->size);
		value = ports_in(vcpu->ports, exit->port, exit->size);
		cpu_set_reg(cpu, CPU_RAX, (cpu_reg(cpu, CPU_RAX) & keep) | (value & ~keep));
	}
	kvm_skip_emulated_instruction(vcpu);
	account_leave(vcpu_books(vcpu));
}

/* KVM asks no CPUID bit before it knows VAPIC_POLL_IRQ, which does nothing. */
static u64 hypercall(const struct cpu *cpu)
{
	if (cpu_cpl(cpu))
		return (u64)-KVM_EPERM;
	return cpu_reg(cpu, CPU_RAX) == KVM_HC_VAPIC_POLL_IRQ ? 0 : (u64)-KVM_ENOSYS;
}

static void emulate_hypercall(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;

	account_enter(vcpu_books(vcpu), COST_EMULATE_HYPERCALL);
	cpu_set_reg(cpu, CPU_RAX, hypercall(cpu));
	kvm_skip_emulated_instruction(vcpu);
	account_leave(vcpu_books(vcpu));
}

/* An exit that a work profile asks for: handled and charged as one of its kind, without effect. */
static void emulate_work(struct kvm_vcpu *vcpu, enum exit_reason reason)
{
	static const enum cost handler[NR_EXIT_REASONS] = {
		[EXIT_CPUID] = COST_EMULATE_CPUID,	[EXIT_RDPMC] = COST_EMULATE_RDPMC,
		[EXIT_VMCALL] = COST_EMULATE_HYPERCALL, [EXIT_IO_INSTRUCTION] = COST_FAST_PIO,
		[EXIT_MSR_READ] = COST_EMULATE_RDMSR,	[EXIT_MSR_WRITE] = COST_EMULATE_WRMSR,
	};
	enum cost cost = handler[reason];

	if (reason == EXIT_EPT_VIOLATION)
		cost = vcpu->x86_ops->page_cost;
	if (reason == EXIT_EPT_MISCONFIG)
		cost = vcpu->x86_ops->mmio_cost;
	vcpu->profile_exits[vcpu->exit_book]++;
	if (!cost) {
		kvm_skip_emulated_instruction(vcpu);
		return;
	}
	account_enter(vcpu_books(vcpu), cost);
	kvm_skip_emulated_instruction(vcpu);
	account_leave(vcpu_books(vcpu));
}

void kvm_emulate_exit(struct kvm_vcpu *vcpu)
{
	const struct cpu_exit *exit = cpu_exit_info(vcpu->guest.cpu);

	switch (exit->insn) {
	case CPU_INSN_CPUID: emulate_cpuid(vcpu); break;
	case CPU_INSN_RDMSR: emulate_rdmsr(vcpu, exit->msr); break;
	case CPU_INSN_WRMSR: emulate_wrmsr(vcpu, exit->msr, exit->value); break;
	case CPU_INSN_RDPMC: emulate_rdpmc(vcpu, exit->msr); break;
	case CPU_INSN_VMCALL: emulate_hypercall(vcpu); break;
	case CPU_INSN_WORK: emulate_work(vcpu, vcpu->exit_reason); break;
	case CPU_INSN_MOV_DR: kvm_handle_dr(vcpu); break;
	case CPU_INSN_EXCEPTION: kvm_handle_exception_nmi(vcpu); break;
	case CPU_INSN_HLT:
		account_enter(vcpu_books(vcpu), COST_EMULATE_HALT);
		kvm_skip_emulated_instruction(vcpu);
		if (!lapic_in_kernel(vcpu))
			kvm_vcpu_exit_to_userspace(vcpu);
		account_leave(vcpu_books(vcpu));
		/* The thread goes to sleep only if there is nothing to wake it. */
		vcpu->halted = !kvm_vcpu_has_events(vcpu);
		break;
	default: emulate_io(vcpu, exit); break;
	}
}

/* Exits that are not about an instruction: done by hardware, by the fastpath, or before put. */
static void handle_event_exit(struct kvm_vcpu *vcpu)
{
	if (unlikely(!lapic_in_kernel(vcpu)))
		kvm_userspace_event_exit(vcpu);
	switch (vcpu->exit_reason) {
	case EXIT_APIC_WRITE:
		account_charge(vcpu_books(vcpu), vcpu->x86_ops->apic_write_cost);
		break;
	case EXIT_EPT_MISCONFIG: account_charge(vcpu_books(vcpu), vcpu->x86_ops->mmio_cost); break;
	default: break;
	}
}

enum pp_stop kvm_handle_exit(struct kvm_vcpu *vcpu)
{
	account_enter(vcpu_books(vcpu), vcpu->x86_ops->handle_exit_cost);
	if (!vcpu->intercept_exit)
		handle_event_exit(vcpu);
	else if (!vcpu->fastpath_done)
		kvm_emulate_exit(vcpu);
	account_leave(vcpu_books(vcpu));
	return PP_STOP_BUDGET;
}

bool kvm_handle_exit_fastpath(struct kvm_vcpu *vcpu)
{
	const struct cpu_exit *exit = cpu_exit_info(vcpu->guest.cpu);
	bool done;

	vcpu->fastpath_done = false;
	if (!vcpu->intercept_exit) {
		if (vcpu->exit_reason != EXIT_PREEMPTION_TIMER)
			return false;
		account_charge(vcpu_books(vcpu), COST_FASTPATH_TIMER);
		lapic_timer_expired(&vcpu->lapic);
		return true;
	}
	if (exit->insn != CPU_INSN_WRMSR || (exit->msr != MSR_IA32_TSC_DEADLINE &&
					     exit->msr != APIC_X2APIC_MSR_BASE + (APIC_ICR >> 4)))
		return false;
	if (unlikely(!lapic_in_kernel(vcpu)))
		return false;
	/* The credit of the instruction needs counters in memory; they are in hardware here. */
	if (!kvm_pmu_is_fastpath_emulation_allowed(vcpu)) {
		account_stat(vcpu_books(vcpu), STAT_FASTPATH_REFUSED);
		return false;
	}
	account_enter(vcpu_books(vcpu), COST_FASTPATH_WRMSR);
	done = !set_msr(vcpu, exit->msr, exit->value);
	if (done)
		kvm_skip_emulated_instruction(vcpu);
	account_leave(vcpu_books(vcpu));
	vcpu->fastpath_done = done;
	return done;
}
