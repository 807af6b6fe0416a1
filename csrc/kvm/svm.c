// SPDX-License-Identifier: Apache-2.0
/*
 * svm.c - what the vCPU loop does on SVM.
 *
 * Interface: svm_x86_ops. There is no preemption timer: a timer of the host stands behind the guest's, its
 * interrupt is an exit that leaves the inner run loop, and with it goes the guest's PMU.
 *
 * Not modelled: virtual NMIs (the window of an NMI is one exit, as without them, and the step behind the
 * IRET is left out), the intercept of INT1 (it comes as #DB, as on VMX), nested paging's own exits, SEV.
 */
#include "kvm/vcpu.h"

static unsigned int exception_book(const struct cpu_exit *exit)
{
	switch (exit->vector) {
	case DB_VECTOR: return SVM_EXIT_EXCP_DB;
	case GP_VECTOR: return SVM_EXIT_EXCP_GP;
	case AC_VECTOR: return SVM_EXIT_EXCP_AC;
	default: return SVM_EXIT_EXCP_UD;
	}
}

static unsigned int svm_exit_book(enum exit_reason reason, const struct cpu_exit *exit)
{
	switch (reason) {
	case EXIT_EXCEPTION_NMI: return exit ? exception_book(exit) : SVM_EXIT_NMI;
	case EXIT_TRIPLE_FAULT: return SVM_EXIT_SHUTDOWN;
	case EXIT_INTERRUPT_WINDOW: return SVM_EXIT_VINTR;
	case EXIT_NMI_WINDOW: return SVM_EXIT_IRET;
	case EXIT_CPUID: return SVM_EXIT_CPUID;
	case EXIT_HLT: return SVM_EXIT_HLT;
	case EXIT_RDPMC: return SVM_EXIT_RDPMC;
	case EXIT_VMCALL: return SVM_EXIT_VMMCALL;
	case EXIT_DR_ACCESS:
		if (!exit)
			return SVM_EXIT_READ_DR7;
		return (exit->debug_write ? SVM_EXIT_WRITE_DR0 : SVM_EXIT_READ_DR0) +
		       (exit->debug_register & 7u);
	case EXIT_IO_INSTRUCTION: return SVM_EXIT_IOIO;
	case EXIT_MSR_READ:
	case EXIT_MSR_WRITE: return SVM_EXIT_MSR;
	case EXIT_EPT_VIOLATION:
	case EXIT_EPT_MISCONFIG: return SVM_EXIT_NPF;
	case EXIT_APIC_WRITE: return SVM_EXIT_AVIC_UNACCELERATED_ACCESS;
	default: return SVM_EXIT_INTR;
	}
}

const struct kvm_x86_ops svm_x86_ops = {
	.misc = &misc_amd_kvm,
	.exit_book = svm_exit_book,
	.timer_exit = EXIT_EXTERNAL_INTERRUPT,
	.vmexit_cost = COST_SVM_VMEXIT,
	.vmentry_cost = COST_SVM_VMRUN,
	.vcpu_run_cost = COST_SVM_VCPU_RUN,
	.handle_exit_cost = COST_SVM_HANDLE_EXIT,
	.exception_cost = COST_SVM_EXCEPTION,
	.dr_cost = COST_SVM_DR,
	.sync_debugregs_cost = COST_SVM_SYNC_DEBUGREGS,
	.page_cost = COST_SVM_NPF,
	.mmio_cost = COST_SVM_MMIO,
	.apic_write_cost = COST_SVM_AVIC_NOACCEL,
};
