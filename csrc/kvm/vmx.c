// SPDX-License-Identifier: Apache-2.0
/*
 * vmx.c - what the vCPU loop does on VMX.
 *
 * Interface: vmx_x86_ops. Exits are booked under their own names. The guest's TSC deadline and APIC timer
 * are the VMX preemption timer, whose exit the fastpath serves.
 */
#include "kvm/vcpu.h"

static unsigned int vmx_exit_book(enum exit_reason reason, const struct cpu_exit *exit)
{
	(void)exit;
	return (unsigned int)reason;
}

const struct kvm_x86_ops vmx_x86_ops = {
	.misc = &misc_intel_kvm,
	.control_is_cached = true,
	.exit_book = vmx_exit_book,
	.timer_exit = EXIT_PREEMPTION_TIMER,
	.vmexit_cost = COST_VMEXIT,
	.vmentry_cost = COST_VMENTRY,
	.vcpu_run_cost = COST_VMX_VCPU_RUN,
	.handle_exit_cost = COST_HANDLE_EXIT,
	.exception_cost = COST_HANDLE_EXCEPTION,
	.dr_cost = COST_HANDLE_DR,
	.sync_debugregs_cost = COST_SYNC_DEBUGREGS,
	.page_cost = COST_EPT_VIOLATION,
	.mmio_cost = COST_EMULATE_MMIO,
	.apic_write_cost = COST_APIC_WRITE_NODECODE,
};
