// SPDX-License-Identifier: Apache-2.0
/*
 * exception.c - exits of the guest's exceptions and debug registers, and the instruction emulator.
 *
 * Interface
 *  - kvm_queue_exception(): the exception that the next entry injects; _p: with what #DB puts into
 *    DR6.
 *  - kvm_handle_exception_nmi(): an exception that exited. #DB and #AC go back to the guest; #UD
 *    goes through the emulator, which has nothing for it and queues #UD, unless forced emulation
 *    finds its prefix. #GP exits with enable_vmware_backdoor only (vmware.c).
 *  - kvm_handle_dr(): the first MOV DR since the last exit hands the debug registers to the guest,
 *    which executes it anew; the next exit that leaves the inner run loop takes them back.
 *
 * Forced emulation (kvm.force_emulation_prefix): RIP moves over the prefix first, so that a fault
 * of the emulated instruction is pushed with that instruction's own address. An instruction that is
 * done is credited as every emulated one is: an instruction, and a branch if it is one, by the
 * registers and the CPL after it. What it leaves to KVM (MSRs, CPUID, ports, HLT) is charged as the
 * exit of that instruction would be. The #UD of the prefix has set RFLAGS.RF, which holds off a
 * code breakpoint at the instruction; bit 1 of the parameter clears it.
 *
 * INT1 exits before it is executed. KVM steps over it without a credit: one instruction, a branch,
 * is lost to the counters that count it (`uncredited`). The #DB that KVM injects for it clears
 * DR6.B0-B3, as every one that KVM injects does; in hardware INT1 leaves DR6 as it is.
 *
 * Not modelled: the emulation of single instructions on a plain #UD (MOVBE, RSM and others that the
 * silicon here has or lacks as the guest's CPUID says); the return to the guest in the middle of a
 * long rep string under forced emulation, whose rest silicon then executes; guest debugging by the
 * VMM, #MC; data and I/O breakpoints of instructions that KVM completes (KVM looks at code breakpoints
 * only).
 */
#include "kvm/vcpu.h"

#include <string.h>

#define FEP_CLEAR_RF 2u
#define FEP_BYTES 5u

void kvm_queue_exception(struct kvm_vcpu *vcpu, unsigned int vector, int error)
{
	vcpu->exception = (struct kvm_queued_exception){.vector = (int)vector, .error = error};
}

void kvm_queue_exception_p(struct kvm_vcpu *vcpu, unsigned int vector, u64 payload)
{
	kvm_queue_exception(vcpu, vector, -1);
	vcpu->exception.dr6 = payload;
}

static void requeue(struct kvm_vcpu *vcpu, const struct cpu_exit *exit)
{
	kvm_queue_exception(vcpu, exit->vector, exit->error);
	vcpu->exception.dr6 = exit->dr6;
}

/* ---- the emulator ---- */

static void instruction_retired(struct kvm_vcpu *vcpu, enum privilege priv, bool branch)
{
	u64 credited = kvm_pmu_instruction_retired(vcpu);

	if (branch)
		credited |= kvm_pmu_branch_retired(vcpu);
	truth_insn_skipped(&vcpu->guest.truth, credited, priv, branch);
}

static void emulate_instruction(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;
	enum privilege priv = cpu_cpl(cpu) == 3 ? PRIV_USR : PRIV_OS;
	const struct cpu_exit *exit = cpu_exit_info(cpu);
	bool branch, step;

	switch (cpu_emulate_insn(cpu, &branch, &step)) {
	case CPU_EMULATED_DONE:
		instruction_retired(vcpu, priv, branch);
		if (step)
			kvm_queue_exception_p(vcpu, DB_VECTOR, DR6_BS);
		break;
	case CPU_EMULATED_FAULT: requeue(vcpu, exit); break;
	case CPU_EMULATED_HOST: kvm_emulate_exit(vcpu); break;
	default: break; /* the guest CPU stops there */
	}
}

/* ---- exits ---- */

/* ud2 and "kvm" at RIP. */
static bool is_forced_emulation(struct kvm_vcpu *vcpu)
{
	static const u8 prefix[FEP_BYTES] = {0x0f, 0x0b, 0x6b, 0x76, 0x6d};
	struct cpu *cpu = vcpu->guest.cpu;
	u8 bytes[FEP_BYTES];

	return vcpu->config->kvm.force_emulation_prefix &&
	       !cpu_read_virtual(cpu, cpu_linear_rip(cpu), bytes, sizeof(bytes)) &&
	       !memcmp(bytes, prefix, sizeof(bytes));
}

static void handle_ud(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;

	account_enter(vcpu_books(vcpu), COST_EMULATE_INSN);
	if (is_forced_emulation(vcpu)) {
		if (vcpu->config->kvm.force_emulation_prefix & FEP_CLEAR_RF)
			cpu_clear_rf(cpu);
		cpu_set_rip(cpu, cpu_rip(cpu) + FEP_BYTES);
		emulate_instruction(vcpu);
	} else {
		kvm_queue_exception(vcpu, UD_VECTOR, -1);
	}
	account_leave(vcpu_books(vcpu));
}

/* INT1 is stepped over as no other instruction is: by the vendor's code, which credits nobody. */
static void skip_int1(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;
	enum privilege priv = cpu_cpl(cpu) == 3 ? PRIV_USR : PRIV_OS;

	cpu_skip_insn(cpu);
	truth_insn_skipped(&vcpu->guest.truth, 0, priv, true);
}

void kvm_handle_exception_nmi(struct kvm_vcpu *vcpu)
{
	const struct cpu_exit *exit = cpu_exit_info(vcpu->guest.cpu);

	account_enter(vcpu_books(vcpu), vcpu->x86_ops->exception_cost);
	if (exit->vector == UD_VECTOR) {
		handle_ud(vcpu);
	} else if (exit->vector != GP_VECTOR || !kvm_handle_vmware_gp(vcpu)) {
		if (exit->software)
			skip_int1(vcpu);
		requeue(vcpu, exit);
	}
	account_leave(vcpu_books(vcpu));
}

/* ---- debug registers ---- */

#define CR4_DE BIT_ULL(3)
#define DR7_ENABLES 0xffull
#define DR7_GD BIT_ULL(13)
#define NR_BREAKPOINT_REGISTERS 5u /* DR0 to DR3, and DR7 off meanwhile */

void kvm_handle_dr(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;
	u8 dr = cpu_exit_info(cpu)->debug_register;

	account_charge(vcpu_books(vcpu), vcpu->x86_ops->dr_cost);
	if ((dr == 4 || dr == 5) && (cpu_cr4(cpu) & CR4_DE))
		kvm_queue_exception(vcpu, UD_VECTOR, -1);
	else if (cpu_cpl(cpu))
		kvm_queue_exception(vcpu, GP_VECTOR, 0);
	else if (cpu_dr(cpu, 7) & DR7_GD)
		kvm_queue_exception_p(vcpu, DB_VECTOR, DR6_BD);
	else
		vcpu->intercept.mov_dr = false;
}

void kvm_load_debug_registers(struct kvm_vcpu *vcpu)
{
	bool owned = !vcpu->intercept.mov_dr;

	if (owned || (cpu_dr(vcpu->guest.cpu, 7) & DR7_ENABLES))
		account_charge_n(vcpu_books(vcpu), COST_SET_DEBUGREG,
				 NR_BREAKPOINT_REGISTERS + owned);
}

void kvm_sync_debug_registers(struct kvm_vcpu *vcpu)
{
	if (vcpu->intercept.mov_dr)
		return;
	account_charge(vcpu_books(vcpu), vcpu->x86_ops->sync_debugregs_cost);
	vcpu->intercept.mov_dr = true;
}
