// SPDX-License-Identifier: Apache-2.0
/*
 * vcpu.c - the vCPU loop: requests, PMU load, entry, guest, exit, PMU put, exit handling.
 *
 * Interface
 *  - The vCPU's thread, struct task: it runs until the budget is used up, the guest sleeps or is done, or
 *    somebody else is to have the pCPU. A budget ends inside the guest and costs nothing: the next call
 *    goes on where the guest stopped.
 *
 * Not modelled: userspace exits other than for port I/O, host interrupts other than the PMI and the
 * host's timers; halt polling: a vCPU that halts sleeps at once.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

#include <stdio.h>
#include <string.h>

#define KVM_MIN_TIMER_PERIOD_US 200

static const struct task_ops vcpu_task_ops;

static u64 vcpu_now(void *ctx)
{
	const struct kvm_vcpu *vcpu = ctx;

	return pcpu_guest_now(&vcpu->guest);
}

/* Something may be pending for the guest: have the loop look. */
static void vcpu_lapic_changed(void *ctx)
{
	struct kvm_vcpu *vcpu = ctx;

	cpu_horizon_changed(vcpu->guest.cpu);
	cpu_request_stop(vcpu->guest.cpu);
	sched_wake(&vcpu->task);
}

/* A posted interrupt needs no exit; for all else the vCPU is kicked. */
static void vcpu_ipi_arrived(void *ctx)
{
	struct kvm_vcpu *vcpu = ctx;

	if (!vcpu->config->kvm.apicv || vcpu->lapic.nmi_pending)
		kvm_vcpu_kick(vcpu);
}

static void vcpu_init_signal(void *ctx)
{
	struct kvm_vcpu *vcpu = ctx;

	vcpu->init_pending = true;
	vcpu->sipi_pending = -1;
	sched_wake(&vcpu->task);
	kvm_vcpu_kick(vcpu);
}

static void vcpu_sipi(void *ctx, u8 vector)
{
	struct kvm_vcpu *vcpu = ctx;

	if (!vcpu->init_pending && !cpu_waits_for_sipi(vcpu->guest.cpu))
		return;
	vcpu->sipi_pending = vector;
	sched_wake(&vcpu->task);
}

/* kvm_apic_accept_events(): outside the guest. */
static void accept_events(struct kvm_vcpu *vcpu)
{
	if (vcpu->init_pending) {
		vcpu->init_pending = false;
		vcpu->halted = false;
		pcpu_guest_reset(&vcpu->guest);
	}
	if (vcpu->sipi_pending < 0)
		return;
	cpu_start_at_vector(vcpu->guest.cpu, (u8)vcpu->sipi_pending);
	vcpu->sipi_pending = -1;
}

static const struct lapic_ops vcpu_lapic_ops = {
	.now = vcpu_now,
	.changed = vcpu_lapic_changed,
	.arrived = vcpu_ipi_arrived,
	.init = vcpu_init_signal,
	.sipi = vcpu_sipi,
};

static bool has_pmu(const struct pp_config *config)
{
	return config->kvm.vpmu && config->guest.version;
}

/* A vCPU is mediated if the VM is and the guest has a PMU at all. */
static const struct kvm_pmu_backend *backend_of(const struct kvm *kvm,
						const struct pp_config *config)
{
	if (has_pmu(config) || (config->kvm.vpmu && FAULTY(MEDIATED_WITHOUT_PMU)))
		return kvm->design;
	return &kvm_pmu_emulated;
}

/* Which module of KVM is loaded follows from the CPU. */
static const struct kvm_x86_ops *const vendors[] = {
	[PP_VENDOR_INTEL] = &vmx_x86_ops,
	[PP_VENDOR_AMD] = &svm_x86_ops,
};

int kvm_vcpu_init(struct kvm_vcpu *vcpu, struct kvm *kvm, struct pcpu *pcpu, struct perf_cpu *perf,
		  struct ports *ports, const struct pp_config *config, struct pp_error *error)
{
	static const struct pp_pmu no_pmu;

	perf_event_context_init(&vcpu->perf_ctx);
	vcpu->task = (struct task){.ops = &vcpu_task_ops, .ctx = vcpu, .perf_ctx = &vcpu->perf_ctx};
	vcpu->kvm = kvm;
	vcpu->pcpu = pcpu;
	vcpu->perf = perf;
	vcpu->ports = ports;
	vcpu->config = config;
	vcpu->x86_ops = vendors[config->hw.vendor];
	vcpu->trap_exit = -1;
	vcpu->exception.vector = -1;
	vcpu->sipi_pending = -1;
	vcpu->exit_reason = NR_EXIT_REASONS;
	vcpu->exit_access = ACCESS_NONE;
	lapic_init(&vcpu->lapic, kvm->nr_vcpus, &vcpu_lapic_ops, vcpu);
	pcpu_guest_init(&vcpu->guest, pcpu, &vcpu->lapic, config, vcpu->x86_ops->misc,
			has_pmu(config));
	kvm_pmu_init(vcpu, backend_of(kvm, config), has_pmu(config) ? &config->guest : &no_pmu);
	/* KVM lets no guest have a faster periodic timer (min_timer_period_us). */
	vcpu->lapic.min_period = config->tsc_khz * KVM_MIN_TIMER_PERIOD_US / 1000;
	if (kvm_vm_ioctl_set_msr_filter(vcpu, &config->kvm.msr_filter)) {
		error->code = PP_EINVAL;
		snprintf(error->text, sizeof(error->text),
			 "KVM_X86_SET_MSR_FILTER: -EINVAL: a filter that KVM does not take");
		return -1;
	}
	vcpu->requests = 0;
	kvm_setup_intercepts(vcpu);
	cpu_set_intercept(vcpu->guest.cpu, &vcpu->intercept);
	kvm->vcpus[kvm->nr_vcpus++] = vcpu;
	kvm->nr_threads++;
	return 0;
}

/* ---- entry ---- */

static void close_exit_books(struct kvm_vcpu *vcpu)
{
	u64 cycles = vcpu_books(vcpu)->host_cycles - vcpu->exit_start;

	if (vcpu->exit_reason == NR_EXIT_REASONS)
		return;
	vcpu->exit_cycles[vcpu->exit_book] += cycles;
	if (vcpu->exit_access != ACCESS_NONE)
		vcpu->guest.access.cycles[vcpu->exit_access] += cycles;
	vcpu->exit_reason = NR_EXIT_REASONS;
	vcpu->exit_access = ACCESS_NONE;
}

/*
 * Hand over the highest pending interrupt if the guest can take it; ask for the windows of the rest.
 * The exit of an NMI's window goes before the interrupt.
 */
static void inject_irq(struct kvm_vcpu *vcpu)
{
	int vector = lapic_pending_vector(&vcpu->lapic);
	struct cpu *cpu = vcpu->guest.cpu;
	bool nmi_first = vcpu->lapic.nmi_pending && cpu_can_take_nmi(cpu);

	if (vector >= 0 && !nmi_first && cpu_can_take_irq(cpu)) {
		pcpu_guest_inject_irq(&vcpu->guest, (u8)vector);
		vector = lapic_pending_vector(&vcpu->lapic);
	}
	cpu_want_window(cpu, vector >= 0, vcpu->lapic.nmi_pending);
}

static void inject_exception(struct kvm_vcpu *vcpu)
{
	const struct kvm_queued_exception exception = vcpu->exception;

	vcpu->exception.vector = -1;
	if (exception.vector < 0)
		return;
	if (exception.vector == DB_VECTOR)
		cpu_debug_exception(vcpu->guest.cpu, exception.dr6);
	cpu_inject(vcpu->guest.cpu, CPU_EVENT_EXCEPTION, (unsigned int)exception.vector,
		   exception.error);
}

/* Instructions of the guest so far */
static u64 completed(const struct kvm_vcpu *vcpu)
{
	const struct cpu *cpu = vcpu->guest.cpu;
	const struct cpu_skipped *skipped = cpu_skipped(cpu);

	return events_count(cpu_totals(cpu), EVENT_INSTRUCTIONS, PRIV_MASK_OS | PRIV_MASK_USR) +
	       skipped->instructions[PRIV_OS] + skipped->instructions[PRIV_USR];
}

/* One VM-entry. Events are delivered in non-root mode, once the guest's GLOBAL_CTRL is in force. */
static void vm_entry(struct kvm_vcpu *vcpu)
{
	/* One event an entry: an exception goes before an NMI. */
	bool nmi = vcpu->lapic.nmi_pending && vcpu->exception.vector < 0 &&
		   cpu_can_take_nmi(vcpu->guest.cpu);

	vcpu->pmu.policy->before_entry(vcpu);
	if (nmi)
		account_charge(vcpu_books(vcpu), COST_INJECT_NMI);
	if (!vcpu->config->kvm.apicv && lapic_pending_vector(&vcpu->lapic) >= 0)
		account_charge(vcpu_books(vcpu), COST_INJECT_IRQ);
	account_charge(vcpu_books(vcpu), vcpu->x86_ops->vcpu_run_cost);
	account_charge(vcpu_books(vcpu), vcpu->x86_ops->vmentry_cost);
	perf_take_pmi(vcpu->perf);
	kvm_pmu_explain(vcpu);
	vcpu->pmu.backend->vm_entry(vcpu);
	kvm_pmu_overcount_entry(vcpu);
	close_exit_books(vcpu);
	if (vcpu->pcpu->account.trace_size)
		pcpu_trace(vcpu->pcpu, TRACE_KVM_ENTRY, vcpu->lapic.id, cpu_rip(vcpu->guest.cpu),
			   completed(vcpu), 0);
	cpu_horizon_changed(vcpu->guest.cpu);
	vcpu->in_guest = true;
	inject_exception(vcpu);
	if (nmi)
		pcpu_guest_inject_nmi(&vcpu->guest);
}

static void serve_requests(struct kvm_vcpu *vcpu, u64 which)
{
	if (vcpu->requests & KVM_REQ_RECALC_INTERCEPTS) {
		vcpu->requests &= ~KVM_REQ_RECALC_INTERCEPTS;
		kvm_recalc_msr_intercepts(vcpu);
	}
	/* Counters first: a PMI must find its status. Serving one may raise the other. */
	if (vcpu->requests & which & KVM_REQ_PMU) {
		vcpu->requests &= ~KVM_REQ_PMU;
		kvm_pmu_handle_event(vcpu);
	}
	if (vcpu->requests & KVM_REQ_PMI) {
		vcpu->requests &= ~KVM_REQ_PMI;
		kvm_pmu_deliver_pmi(vcpu);
	}
}

void kvm_vcpu_serve_requests(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.late = false;
	while (vcpu->requests)
		serve_requests(vcpu, ~0ull);
}

/* Ahead of an entry. By a fault, what is to be reprogrammed may have to wait for another one. */
static void serve_requests_in_time(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 which;

	pmu->late = vcpu->requests & KVM_REQ_PMU && pmu->backend->reprogram_is_late(vcpu);
	which = pmu->late ? ~KVM_REQ_PMU : ~0ull;
	while (vcpu->requests & which)
		serve_requests(vcpu, which);
}

bool kvm_vcpu_has_events(const struct kvm_vcpu *vcpu)
{
	bool irqs_on = cpu_irqs_on(vcpu->guest.cpu);

	/* Counters to look at wake nobody; a PMI does. */
	return vcpu->init_pending || vcpu->sipi_pending >= 0 || vcpu->exception.vector >= 0 ||
	       (vcpu->lapic.nmi_pending && cpu_can_take_nmi(vcpu->guest.cpu)) ||
	       vcpu->requests & KVM_REQ_PMI || (irqs_on && lapic_pending_vector(&vcpu->lapic) >= 0);
}

static bool sleeps(const struct kvm_vcpu *vcpu)
{
	return vcpu->halted || cpu_waits_for_sipi(vcpu->guest.cpu);
}

/* Asleep: see who may wake the guest. False if it sleeps on. */
static bool wake_up(struct kvm_vcpu *vcpu)
{
	if (pcpu_tsc(vcpu->pcpu) >= lapic_deadline(&vcpu->lapic))
		lapic_timer_expired(&vcpu->lapic);
	lapic_inbox_due(&vcpu->lapic);
	if (!kvm_vcpu_has_events(vcpu))
		return false;
	accept_events(vcpu);
	if (cpu_waits_for_sipi(vcpu->guest.cpu))
		return false;
	vcpu->halted = false;
	account_charge(vcpu_books(vcpu), COST_VCPU_BLOCK);
	return true;
}

static void vcpu_enter_guest(struct kvm_vcpu *vcpu)
{
	vcpu->has_run = true;
	account_charge(vcpu_books(vcpu), COST_VCPU_RUN);
	account_enter(vcpu_books(vcpu), COST_VCPU_ENTER_GUEST);
	serve_requests_in_time(vcpu);
	vcpu->pmu.policy->enter_loop(vcpu);
	kvm_load_debug_registers(vcpu);
	vm_entry(vcpu);
}

/* ---- exit ---- */

static void serve_host_pmi(struct kvm_vcpu *vcpu, enum lapic_delivery how, enum cost entry)
{
	if (vcpu->host_pmi != how)
		return;
	vcpu->host_pmi = LAPIC_MASKED;
	account_enter(vcpu_books(vcpu), entry);
	vcpu->pmu.backend->host_pmi(vcpu);
	account_leave(vcpu_books(vcpu));
}

/* Without a preemption timer the guest's is one of the host, which interrupts it. */
static void serve_host_timer(struct kvm_vcpu *vcpu)
{
	if (vcpu->x86_ops->timer_exit == EXIT_PREEMPTION_TIMER || !lapic_in_kernel(vcpu) ||
	    pcpu_tsc(vcpu->pcpu) < lapic_deadline(&vcpu->lapic))
		return;
	account_enter(vcpu_books(vcpu), COST_INTERRUPT);
	account_charge(vcpu_books(vcpu), COST_SVM_TIMER);
	lapic_timer_expired(&vcpu->lapic);
	account_leave(vcpu_books(vcpu));
}

static bool exits_for_pmu(const struct kvm_vcpu *vcpu, enum exit_reason reason)
{
	u32 msr;

	switch (reason) {
	case EXIT_RDPMC: return true;
	case EXIT_MSR_READ:
	case EXIT_MSR_WRITE:
		msr = cpu_exit_info(vcpu->guest.cpu)->msr;
		return hwpmu_owns_msr(&vcpu->pcpu->pmu, msr) || kvm_pebs_has_msr(&vcpu->pmu, msr);
	default: return false;
	}
}

/* The exit itself, as far as it happens before anything is decided. */
static void vm_exit(struct kvm_vcpu *vcpu, enum exit_reason reason)
{
	const struct cpu_exit *exit = cpu_exit_info(vcpu->guest.cpu);

	vcpu->in_guest = false;
	vcpu->exit_reason = reason;
	vcpu->exit_start = vcpu_books(vcpu)->host_cycles;
	vcpu->exit_book = vcpu->x86_ops->exit_book(reason, vcpu->intercept_exit ? exit : NULL);
	vcpu->exits[vcpu->exit_book]++;
	if (unlikely(vcpu->guest.thresholds.nr) && exits_for_pmu(vcpu, reason))
		pcpu_cut_thresholds(vcpu->pcpu);
	kvm_pmu_overcount_exit(vcpu);
	vcpu->pmu.backend->vm_exit(vcpu);
	account_charge(vcpu_books(vcpu), vcpu->x86_ops->vmexit_cost);
	pcpu_trace(vcpu->pcpu, TRACE_KVM_EXIT, vcpu->exit_book, exit->rip, exit->msr, exit->value);
	/* An exit takes longer than any skid: a PMI under way arrives now, by the LVTPC of now. */
	if (vcpu->pcpu->pmi_at != NO_DEADLINE && !FAULTY(KVM_LATE_PMI_NOT_LATCHED))
		vcpu->host_pmi = pcpu_take_pmi(vcpu->pcpu);
	/* It is the guest that an NMI has interrupted, if it is what the guest left for. */
	vcpu->perf->guest_state = reason == EXIT_EXCEPTION_NMI && !vcpu->intercept_exit;
	serve_host_pmi(vcpu, LAPIC_NMI, COST_NMI);
	vcpu->perf->guest_state = false;
	vcpu->pmu.policy->after_exit(vcpu);
}

static enum pp_stop leave_guest(struct kvm_vcpu *vcpu, enum exit_reason reason, bool intercept)
{
	vcpu->intercept_exit = intercept;
	vm_exit(vcpu, reason);
	if (kvm_handle_exit_fastpath(vcpu) && !vcpu->requests && vcpu->exception.vector < 0 &&
	    vcpu->host_pmi != LAPIC_FIXED) {
		account_stat(vcpu_books(vcpu), STAT_FASTPATH);
		vm_entry(vcpu);
		return PP_STOP_BUDGET;
	}
	vcpu->pmu.policy->leave_loop(vcpu);
	kvm_sync_debug_registers(vcpu);
	account_leave(vcpu_books(vcpu));
	serve_host_pmi(vcpu, LAPIC_FIXED, COST_INTERRUPT);
	serve_host_timer(vcpu);
	/* The tick is perf's, too, which switches the whole PMU on when it is done. */
	if (vcpu->pmu.loaded && perf_has_events(vcpu->perf) &&
	    pcpu_tsc(vcpu->pcpu) >= sched_deadline(vcpu->task.rq))
		kvm_pmu_take_back(vcpu);
	sched_interrupt(vcpu->task.rq);
	return kvm_handle_exit(vcpu);
}

/* What is due stops the guest, in the order hardware looks; PP_STOP_BUDGET: nothing for the caller. */
static enum pp_stop serve_event(struct kvm_vcpu *vcpu)
{
	struct pcpu *pcpu = vcpu->pcpu;
	int trap = vcpu->trap_exit;

	if (trap >= 0) {
		vcpu->trap_exit = -1;
		return leave_guest(vcpu, (enum exit_reason)trap, false);
	}
	if (pcpu_time_is_up(pcpu))
		return PP_STOP_TIME;
	if (pcpu_sub(pcpu) >= pcpu->pmi_at) {
		vcpu->host_pmi = pcpu_take_pmi(pcpu);
		if (vcpu->host_pmi == LAPIC_NMI)
			return leave_guest(vcpu, EXIT_EXCEPTION_NMI, false);
		if (vcpu->host_pmi == LAPIC_FIXED)
			return leave_guest(vcpu, EXIT_EXTERNAL_INTERRUPT, false);
		return PP_STOP_BUDGET;
	}
	if (pcpu_tsc(pcpu) >= lapic_inbox_deadline(&vcpu->lapic)) {
		lapic_inbox_due(&vcpu->lapic);
		return PP_STOP_BUDGET;
	}
	if (pcpu_tsc(pcpu) >= sched_deadline(vcpu->task.rq))
		return leave_guest(vcpu,
				   sched_nmi_is_due(vcpu->task.rq, pcpu_tsc(pcpu))
					   ? EXIT_EXCEPTION_NMI
					   : EXIT_EXTERNAL_INTERRUPT,
				   false);
	/* The preemption timer is that of an APIC in the kernel; user space sends the thread a signal. */
	if (pcpu_tsc(pcpu) >= lapic_deadline(&vcpu->lapic))
		return leave_guest(vcpu,
				   lapic_in_kernel(vcpu) ? vcpu->x86_ops->timer_exit
							 : EXIT_EXTERNAL_INTERRUPT,
				   false);
	return PP_STOP_BUDGET;
}

void kvm_vcpu_kick(struct kvm_vcpu *vcpu)
{
	/* An exit that is due anyway serves as well. */
	if (!vcpu->in_guest || vcpu->trap_exit >= 0)
		return;
	vcpu->trap_exit = EXIT_EXTERNAL_INTERRUPT;
	cpu_request_stop(vcpu->guest.cpu);
}

void kvm_vcpu_leave_guest(struct kvm_vcpu *vcpu)
{
	while (vcpu->in_guest && !vcpu->pcpu->check->broken) {
		int trap = vcpu->trap_exit;

		/* An exit that is due behind the guest's last instruction goes first. */
		vcpu->trap_exit = -1;
		if (trap >= 0) {
			leave_guest(vcpu, (enum exit_reason)trap, false);
			continue;
		}
		leave_guest(vcpu, EXIT_EXTERNAL_INTERRUPT, false);
		account_charge(vcpu_books(vcpu), COST_INTERRUPT);
	}
	kvm_pmu_take_back(vcpu);
}

void kvm_interrupt_guest_on(struct rq *rq)
{
	struct task *t = rq ? rq->current : NULL;

	if (t && t->ops == &vcpu_task_ops)
		kvm_vcpu_leave_guest(t->ctx);
}

void kvm_vcpu_exit_to_userspace(struct kvm_vcpu *vcpu)
{
	kvm_pmu_take_back(vcpu);
	account_charge(vcpu_books(vcpu), COST_USERSPACE);
}

void kvm_vcpu_kick_out(struct kvm_vcpu *vcpu)
{
	kvm_interrupt_guest_on(vcpu->task.rq);
	kvm_vcpu_leave_guest(vcpu);
	/* What the last instruction lost is lost by the rules that held for it. */
	kvm_pmu_explain(vcpu);
	kvm_vcpu_exit_to_userspace(vcpu);
}

void kvm_userspace_event_exit(struct kvm_vcpu *vcpu)
{
	switch (vcpu->exit_reason) {
	case EXIT_EXTERNAL_INTERRUPT:
		if (pcpu_tsc(vcpu->pcpu) < lapic_deadline(&vcpu->lapic))
			return;
		lapic_timer_expired(&vcpu->lapic);
		break;
	case EXIT_INTERRUPT_WINDOW:
	case EXIT_EPT_MISCONFIG: break;
	default: return;
	}
	kvm_vcpu_exit_to_userspace(vcpu);
}

bool kvm_event_due(struct kvm_vcpu *vcpu)
{
	u64 tsc = pcpu_tsc(vcpu->pcpu), sub = pcpu_sub(vcpu->pcpu);

	return vcpu->trap_exit >= 0 || pcpu_must_stop(vcpu->pcpu, tsc, sub) ||
	       sub >= vcpu->pcpu->pmi_at || tsc >= lapic_deadline(&vcpu->lapic) ||
	       tsc >= lapic_inbox_deadline(&vcpu->lapic) || tsc >= sched_deadline(vcpu->task.rq);
}

static enum pp_stop open_window(struct kvm_vcpu *vcpu)
{
	if (vcpu->lapic.nmi_pending && cpu_can_take_nmi(vcpu->guest.cpu))
		return leave_guest(vcpu, EXIT_NMI_WINDOW, false);
	/* With virtual-interrupt delivery hardware takes it from here (see the loop). */
	if (!vcpu->config->kvm.apicv && lapic_pending_vector(&vcpu->lapic) >= 0)
		return leave_guest(vcpu, EXIT_INTERRUPT_WINDOW, false);
	return PP_STOP_BUDGET;
}

static enum pp_stop run_guest(struct kvm_vcpu *vcpu, u64 *budget, bool *out_of_budget)
{
	struct cpu *cpu = vcpu->guest.cpu;

	if (kvm_event_due(vcpu)) {
		/* Exits on end, without a guest instruction between them, use budget too. */
		--*budget;
		return serve_event(vcpu);
	}
	inject_irq(vcpu);
	switch (cpu_run(cpu, budget)) {
	case CPU_STOP_BUDGET: *out_of_budget = true; return PP_STOP_BUDGET;
	case CPU_STOP_INTERCEPT:
		return leave_guest(vcpu, kvm_exit_reason_of(cpu_exit_info(cpu)), true);
	case CPU_STOP_WINDOW: return open_window(vcpu);
	case CPU_STOP_SHUTDOWN:
		leave_guest(vcpu, EXIT_TRIPLE_FAULT, false);
		return PP_STOP_SHUTDOWN;
	case CPU_STOP_UNIMPLEMENTED: return PP_STOP_UNIMPLEMENTED;
	default: return PP_STOP_BUDGET;
	}
}

/* ---- the thread ---- */

/* The guest is done. With the first VM the run is; the thread of another VM goes alone. */
static enum task_stop end_thread(struct kvm_vcpu *vcpu, enum pp_stop why, enum pp_stop *stop)
{
	*stop = why;
	if (vcpu->kvm->ends_run)
		return TASK_ENDS;
	kvm_vm_end(vcpu, why);
	kvm_vcpu_end(vcpu);
	return TASK_EXITS;
}

/* One that has been signalled to end comes out of the guest first. */
static bool must_end(const struct kvm_vcpu *vcpu)
{
	return (vcpu->ports->exited || kvm_vm_has_ended(vcpu->kvm)) &&
	       (vcpu->kvm->ends_run || !vcpu->in_guest);
}

static enum task_stop vcpu_run(struct task *t, u64 *budget, enum pp_stop *stop)
{
	struct kvm_vcpu *vcpu = t->ctx;
	bool out_of_budget = false;

	do {
		*stop = PP_STOP_INVARIANT;
		if (vcpu->pcpu->check->broken)
			return TASK_ENDS;
		if (unlikely(must_end(vcpu)))
			return end_thread(
				vcpu, vcpu->ports->exited ? PP_STOP_EXIT : vcpu->kvm->stop, stop);
		if (!*budget || cpu_pause_asked(vcpu->guest.cpu))
			return TASK_BUDGET;
		if (!vcpu->in_guest) {
			lapic_inbox_due(&vcpu->lapic);
			if (unlikely(vcpu->init_pending))
				accept_events(vcpu);
			if (sleeps(vcpu))
				kvm_pmu_take_back(vcpu);
			if (sleeps(vcpu) && !wake_up(vcpu)) {
				*stop = PP_STOP_HALTED;
				return kvm_vm_sleeps_for_good(vcpu) ? TASK_ENDS : TASK_SLEEPS;
			}
			if (t->rq->need_resched) {
				kvm_pmu_take_back(vcpu);
				return TASK_YIELDS;
			}
			vcpu_enter_guest(vcpu);
		}
		*stop = run_guest(vcpu, budget, &out_of_budget);
	} while (*stop == PP_STOP_BUDGET && !out_of_budget);
	if (*stop == PP_STOP_TIME)
		return TASK_TURN_OVER;
	if (*stop == PP_STOP_SHUTDOWN)
		return end_thread(vcpu, PP_STOP_SHUTDOWN, stop);
	return *stop == PP_STOP_BUDGET ? TASK_BUDGET : TASK_ENDS;
}

static u64 vcpu_wakes_at(const struct task *t)
{
	const struct kvm_vcpu *vcpu = t->ctx;

	u64 at = lapic_inbox_deadline(&vcpu->lapic);

	if (kvm_vcpu_has_events(vcpu) || kvm_vm_has_ended(vcpu->kvm))
		return 0;
	if (cpu_waits_for_sipi(vcpu->guest.cpu) || !cpu_irqs_on(vcpu->guest.cpu))
		return at;
	return min_u64(at, lapic_deadline(&vcpu->lapic));
}

static void trace_switch(struct kvm_vcpu *vcpu, bool in)
{
	if (vcpu->pcpu->account.trace_size)
		pcpu_trace(vcpu->pcpu, TRACE_SCHED_SWITCH, in, vcpu->lapic.id, completed(vcpu), 0);
}

/* kvm_arch_vcpu_load(): what the pCPU before still has of it is fetched. */
static void load_on(struct kvm_vcpu *vcpu, struct rq *rq)
{
	struct rq *before = vcpu->loaded_on;

	vcpu->loaded_on = rq;
	if (!before || before == rq || !vcpu->x86_ops->control_is_cached)
		return;
	sched_call_function(before, COST_VMCS_CLEAR, pcpu_tsc(vcpu->pcpu));
	account_charge(vcpu_books(vcpu), COST_LOADED_VMCS_CLEAR);
}

void kvm_vcpu_change_pcpu(struct kvm_vcpu *vcpu)
{
	PP_CHECK(vcpu->pcpu->check, !vcpu->in_guest && !pcpu_guest_is_in(&vcpu->guest));
	vcpu->pcpu = vcpu->task.rq->pcpu;
	vcpu->perf = vcpu->task.rq->perf;
	pcpu_guest_change_pcpu(&vcpu->guest, vcpu->pcpu);
}

static void kvm_sched_in(struct task *t)
{
	struct kvm_vcpu *vcpu = t->ctx;

	PP_CHECK(vcpu->pcpu->check, vcpu->pcpu == t->rq->pcpu);
	load_on(vcpu, t->rq);
	pcpu_guest_enter(&vcpu->guest, vcpu->pcpu);
	trace_switch(vcpu, true);
	/* An exit goes on whose time so far kvm_sched_out() has kept. */
	vcpu->exit_start = vcpu_books(vcpu)->host_cycles - vcpu->exit_start;
	truth_on_cpu(&vcpu->guest.truth, true);
	/* The time to release events that nobody touches. */
	if (vcpu->pmu.event_count && vcpu->has_run) {
		vcpu->pmu.need_cleanup = true;
		kvm_make_request(KVM_REQ_PMU, vcpu);
	}
}

static void kvm_sched_out(struct task *t)
{
	struct kvm_vcpu *vcpu = t->ctx;

	PP_CHECK(vcpu->pcpu->check, !vcpu->in_guest);
	kvm_pmu_take_back(vcpu);
	trace_switch(vcpu, false);
	/* What others do meanwhile is no time of an exit. */
	vcpu->exit_start = vcpu_books(vcpu)->host_cycles - vcpu->exit_start;
	truth_on_cpu(&vcpu->guest.truth, false);
	pcpu_guest_leave(&vcpu->guest);
}

static const struct task_ops vcpu_task_ops = {
	.run = vcpu_run,
	.wakes_at = vcpu_wakes_at,
	.sched_in = kvm_sched_in,
	.sched_out = kvm_sched_out,
};
