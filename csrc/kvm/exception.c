// SPDX-License-Identifier: Apache-2.0
/*
 * exception.c - exits of the guest's exceptions, and the instruction emulator.
 *
 * Interface
 *  - kvm_queue_exception(): the exception that the next entry injects.
 *  - kvm_handle_exception_nmi(): an exception that exited. #DB and #AC go back to the guest; #UD goes
 *    through the emulator, which has nothing for it and queues #UD, unless forced emulation finds its
 *    prefix.
 *
 * Forced emulation (kvm.force_emulation_prefix): RIP moves over the prefix first, so that a fault of
 * the emulated instruction is pushed with that instruction's own address. An instruction that is done
 * is credited as every emulated one is: an instruction, and a branch if it is one, by the registers and
 * the CPL after it. What it leaves to KVM (MSRs, CPUID, ports, HLT) is charged as the exit of that
 * instruction would be.
 *
 * Not modelled: the emulation of single instructions on a plain #UD (SYSENTER, MOVBE, RSM and others
 * that the silicon here has or lacks as the guest's CPUID says), guest debugging by the VMM, #MC.
 */
#include "kvm/vcpu.h"

#include <string.h>

#define FEP_BYTES 5u

void kvm_queue_exception(struct kvm_vcpu *vcpu, unsigned int vector, int error)
{
	vcpu->exception = (struct kvm_queued_exception){.vector = (int)vector, .error = error};
}

/* ---- the emulator ---- */

static void instruction_retired(struct kvm_vcpu *vcpu, enum privilege priv, bool branch)
{
	u64 credited = kvm_pmu_instruction_retired(vcpu);

	if (branch)
		credited |= kvm_pmu_branch_retired(vcpu);
	truth_insn_skipped(&vcpu->pcpu->truth, credited, priv, branch);
}

static void emulate_instruction(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->pcpu->cpu;
	enum privilege priv = cpu_cpl(cpu) == 3 ? PRIV_USR : PRIV_OS;
	const struct cpu_exit *exit = cpu_exit_info(cpu);
	bool branch;

	switch (cpu_emulate_insn(cpu, &branch)) {
	case CPU_EMULATED_DONE: instruction_retired(vcpu, priv, branch); break;
	case CPU_EMULATED_FAULT: kvm_queue_exception(vcpu, exit->vector, exit->error); break;
	case CPU_EMULATED_HOST: kvm_emulate_exit(vcpu); break;
	default: break; /* the guest CPU stops there */
	}
}

/* ---- exits ---- */

/* ud2 and "kvm" at RIP. */
static bool is_forced_emulation(struct kvm_vcpu *vcpu)
{
	static const u8 prefix[FEP_BYTES] = {0x0f, 0x0b, 0x6b, 0x76, 0x6d};
	struct cpu *cpu = vcpu->pcpu->cpu;
	u8 bytes[FEP_BYTES];

	return vcpu->config->kvm.force_emulation_prefix &&
	       !cpu_read_virtual(cpu, cpu_linear_rip(cpu), bytes, sizeof(bytes)) &&
	       !memcmp(bytes, prefix, sizeof(bytes));
}

static void handle_ud(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->pcpu->cpu;

	account_enter(vcpu_books(vcpu), COST_EMULATE_INSN);
	if (is_forced_emulation(vcpu)) {
		cpu_set_rip(cpu, cpu_rip(cpu) + FEP_BYTES);
		emulate_instruction(vcpu);
	} else {
		kvm_queue_exception(vcpu, UD_VECTOR, -1);
	}
	account_leave(vcpu_books(vcpu));
}

void kvm_handle_exception_nmi(struct kvm_vcpu *vcpu)
{
	const struct cpu_exit *exit = cpu_exit_info(vcpu->pcpu->cpu);

	account_enter(vcpu_books(vcpu), COST_HANDLE_EXCEPTION);
	if (exit->vector == UD_VECTOR)
		handle_ud(vcpu);
	else
		kvm_queue_exception(vcpu, exit->vector, exit->error);
	account_leave(vcpu_books(vcpu));
}
