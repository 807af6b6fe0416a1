// SPDX-License-Identifier: Apache-2.0
/*
 * vmware.c - KVM's enable_vmware_backdoor, as far as RDPMC goes: three pseudo counters.
 *
 * ECX 0x10000 is the host's TSC, 0x10001 nanoseconds since the host booted, 0x10002 the same in the
 * VM's own time (kvmclock). They can be read at CPL 3 with CR4.PCE clear, too. Such an RDPMC is #GP in
 * silicon, before any intercept; so KVM intercepts #GP and has its emulator do the instruction.
 *
 * Interface
 *  - kvm_pmu_rdpmc_vmware(): the value of a pseudo counter, false if ECX names none.
 *  - kvm_handle_vmware_gp(): a #GP that exited; false if it is the guest's.
 *
 * The host of this model boots when the VM is made, so that both clocks show the same.
 *
 * Not modelled: the I/O port of the backdoor; an RDPMC with prefixes, which stays #GP.
 */
#include "kvm/vcpu.h"

#define VMWARE_BACKDOOR_PMC_HOST_TSC 0x10000u
#define VMWARE_BACKDOOR_PMC_REAL_TIME 0x10001u
#define VMWARE_BACKDOOR_PMC_APPARENT_TIME 0x10002u
#define RDPMC_BYTES 2u

bool kvm_pmu_rdpmc_vmware(struct kvm_vcpu *vcpu, u32 ecx, u64 *value)
{
	u64 tsc = pcpu_tsc(vcpu->pcpu);

	switch (ecx) {
	case VMWARE_BACKDOOR_PMC_HOST_TSC: *value = tsc; return true;
	case VMWARE_BACKDOOR_PMC_REAL_TIME:
	case VMWARE_BACKDOOR_PMC_APPARENT_TIME:
		*value = (u64)((u128)tsc * 1000000 / vcpu->config->tsc_khz);
		return true;
	default: return false;
	}
}

bool kvm_handle_vmware_gp(struct kvm_vcpu *vcpu)
{
	struct cpu *cpu = vcpu->guest.cpu;
	u32 ecx = (u32)cpu_reg(cpu, CPU_RCX);
	u8 bytes[RDPMC_BYTES];
	u64 value;

	/* The emulator is for #GP(0) only. */
	if (cpu_exit_info(cpu)->error)
		return false;
	account_charge(vcpu_books(vcpu), COST_EMULATE_INSN);
	if (cpu_read_virtual(cpu, cpu_linear_rip(cpu), bytes, sizeof(bytes)) || bytes[0] != 0x0f ||
	    bytes[1] != 0x33)
		return false;
	if (!vcpu->pmu.version || !kvm_pmu_rdpmc_vmware(vcpu, ecx, &value))
		return false;
	cpu_set_reg(cpu, CPU_RAX, (u32)value);
	cpu_set_reg(cpu, CPU_RDX, value >> 32);
	cpu_exit_is_insn(cpu, CPU_INSN_RDPMC, RDPMC_BYTES);
	kvm_skip_emulated_instruction(vcpu);
	return true;
}
