// SPDX-License-Identifier: Apache-2.0
/*
 * program.c - the common flow of the guest programs. Interface: program.h.
 *
 * Kernel side: guest_main() sets up, starts the other CPUs, which come in by ap_main(), and then each of them
 * is in run(): starts its tick, runs user_main() at CPL 3, and tears down. The first ends the run when all
 * are done. Traps and system calls of that time come to trap() and do_syscall().
 * User side: user_main() does the work piece by piece and asks for each event's start when its
 * phase has come. While a start is due, a piece is cut finer, to meet the phase.
 *
 * With tasks=2 a CPU has two tasks that do the same work and take turns, slice_us each; the second has no
 * events. So one loop does for both, and a switch of tasks is one of the kernel's work and of perf's context.
 *
 * Not modelled: more tasks, which run for other times than a slice; a task that moves; idling but at the
 * begin and at the end.
 */
#include "guest/program.h"

#include "guest/apic.h"
#include "guest/console.h"
#include "guest/cpu_tables.h"
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/percpu.h"
#include "guest/perf.h"
#include "guest/settings.h"
#include "guest/smp.h"
#include "guest/timer.h"

#define PHASE_PIECE 2048 /* instructions between two looks at the clock */
#define NEVER (~0ull)

struct percpu percpus[PP_GUEST_MAX_CPUS] __attribute__((aligned(4096)));

static struct pp_guest_report reports[PP_GUEST_MAX_CPUS];

/* ---- user mode ---- */

static u64 start_due_events(u64 due)
{
	while (due != NEVER && rdtsc() >= due)
		due = syscall(SYS_PERF_START, 0);
	return due;
}

/* @n instructions; returns when the next start is due. */
static u64 piece_of_work(u64 n, u64 due)
{
	u64 kernel = mul_u64_u64_div_u64(n, settings.kernel, 1024);
	u64 user = n - kernel;
	u64 piece;

	while (user) {
		piece = due == NEVER ? user : min_u64(user, PHASE_PIECE);
		work(settings.profile, piece);
		user -= piece;
		if (due != NEVER)
			due = start_due_events(due);
	}
	if (kernel)
		syscall(SYS_WORK, kernel);
	return due;
}

static bool work_is_done(void)
{
	const struct pp_guest_report *report = this_cpu()->report;

	if (settings.work)
		return report->work >= settings.work;
	return rdtsc() - report->tsc_begin >= settings.time;
}

static void user_main(void)
{
	struct pp_guest_report *report = this_cpu()->report;
	u64 n, due = NEVER;

	if (settings.nr_events)
		due = start_due_events(report->tsc_begin + us_to_tsc(settings.events[0].phase_us));
	while (!work_is_done()) {
		n = settings.chunk;
		if (settings.work)
			n = min_u64(n, settings.work - report->work);
		due = piece_of_work(n, due);
		report->work += n;
		if (program.step)
			program.step();
	}
}

/* ---- kernel mode ---- */

/* TSC time at which the event after the ones started is due. */
static u64 start_next_event(void)
{
	struct percpu *cpu = this_cpu();
	u64 flags = local_irq_save();
	u64 now = rdtsc();

	perf_event_enable(cpu->nr_started++);
	local_irq_restore(flags);
	if (cpu->nr_started == settings.nr_events)
		return NEVER;
	return now + us_to_tsc(settings.events[cpu->nr_started].phase_us);
}

u64 do_syscall(u32 nr, u64 argument)
{
	switch (nr) {
	case SYS_WORK: work(settings.profile, argument); return 0;
	case SYS_PERF_START:
		return this_cpu()->nr_started < settings.nr_events ? start_next_event() : NEVER;
	default: die("system call %u", (u64)nr);
	}
}

static bool tick(void)
{
	this_cpu()->report->ticks++;
	kernel_work(KERNEL_WORK_TICK);
	perf_event_task_tick();
	return true;
}

/* The slice is over. */
static bool schedule(void)
{
	struct percpu *cpu = this_cpu();

	cpu->report->task_switches++;
	if (!cpu->perf_context.task_is_out) {
		perf_event_task_sched_out();
		kernel_work(KERNEL_WORK_SCHEDULE);
	} else {
		kernel_work(KERNEL_WORK_SCHEDULE);
		perf_event_task_sched_in();
	}
	return true;
}

void trap(struct trap_frame *frame)
{
	switch (frame->vector) {
	case LOCAL_TIMER_VECTOR: timer_interrupt(); return;
	case RESCHEDULE_VECTOR: apic_write(APIC_EOI, 0); return;
	case SPURIOUS_APIC_VECTOR: return;
	case NMI_VECTOR:
		if (settings.perf) {
			perf_nmi();
			return;
		}
		break;
	}
	die("unexpected %s %u, error %x, rip %x, cr2 %x",
	    frame->vector < 32 ? "exception" : "interrupt", frame->vector, frame->error_code,
	    frame->rip, read_cr2());
}

static void check_kinds(void)
{
	u32 i;

	for (i = 0; program.counts_only && i < settings.nr_events; i++)
		if (settings.events[i].kind != KIND_COUNT)
			die("settings: this program counts; for sampling events run perf-record");
}

/* What a CPU needs before its report can be asked for. */
static void cpu_init(struct percpu *cpu)
{
	cpu->report = &reports[cpu->id];
	cpu->report->magic = PP_REPORT_MAGIC;
	cpu->timers.programmed = NO_TIMER;
	cpu_tables_load(cpu);
}

static void tick_start(struct percpu *cpu)
{
	u64 interval = mul_u64_u64_div_u64(settings.tsc_khz, 1000, settings.hz);

	timer_start(&cpu->tick_timer, tick, interval);
}

static void run(struct percpu *cpu)
{
	struct pp_guest_report *report = cpu->report;

	smp_begin();
	report->tsc_begin = rdtsc();
	if (settings.hz)
		tick_start(cpu);
	if (settings.tasks > 1)
		timer_start(&cpu->slice_timer, schedule, us_to_tsc(settings.slice_us));
	run_user(user_main, cpu->user_stack + USER_STACK_SIZE);
	perf_event_exit_task();
	report->tsc_end = rdtsc();

	timer_stop_all();
	perf_report();
	smp_end();
}

void ap_main(struct percpu *cpu)
{
	cpu_init(cpu);
	apic_init();
	perf_init_cpu(cpu);
	smp_online();
	run(cpu);
	die("CPU %u came out of its end", (u64)cpu->id);
}

void guest_main(const void *multiboot_info)
{
	struct percpu *cpu = &percpus[0];

	console_init(program.name);
	cpu_tables_init();
	cpu_init(cpu);
	outl((u32)(uintptr_t)reports, PP_PORT_REPORT);
	settings_parse(multiboot_cmdline(multiboot_info));
	check_kinds();
	apic_init();
	perf_init();
	perf_init_cpu(cpu);
	if (program.user_rdpmc)
		allow_user_rdpmc();
	smp_start();
	run(cpu);
	exit_guest(0);
}
