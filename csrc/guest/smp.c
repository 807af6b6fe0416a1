// SPDX-License-Identifier: Apache-2.0
/*
 * smp.c - several CPUs. Interface: smp.h.
 *
 * A CPU is started as Linux starts one that has an integrated APIC: INIT asserted, INIT deasserted, SIPI,
 * 10 microseconds, SIPI. The vector names the page of the trampoline below 1 MB.
 *
 * Not modelled: finding out how many CPUs there are (the settings say), CPUs that do not come (the guest
 * sleeps for ever then), stopping one.
 */
#include "guest/smp.h"

#include "guest/apic.h"
#include "guest/insn.h"
#include "guest/percpu.h"
#include "guest/settings.h"
#include "guest/trampoline.h"

#define MSR_EFER 0xc0000080
#define EFER_LMA BIT_ULL(10)

#define SIPI_WAIT_US 10
#define BEGIN_WAIT_US 50 /* for all to wake up */

struct ap_boot ap_boot;

static u32 nr_online = 1;
static u32 nr_done;
static u32 may_begin;
static u64 begin_tsc;

/* Until @counter has come to @value; whoever takes it there sends the interrupt. */
static void wait_for(const volatile u32 *counter, u32 value)
{
	__asm__ volatile("cli" : : : "memory");
	while (*counter < value)
		__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/* Returns the value before. */
static u32 atomic_increment(u32 *counter)
{
	u32 value = 1;

	__asm__ volatile("lock xaddl %0, %1" : "+r"(value), "+m"(*counter) : : "memory", "cc");
	return value;
}

static void delay_us(u64 us)
{
	u64 begin = rdtsc();

	while (rdtsc() - begin < us_to_tsc(us))
		__asm__ volatile("pause");
}

static void start_cpu(u32 id)
{
	ap_boot.cpu = &percpus[id];
	ap_boot.rsp = (uintptr_t)(percpus[id].kernel_stack + BOOT_STACK_SIZE);
	percpus[id].id = id;
	apic_send(id, APIC_INT_LEVELTRIG | APIC_INT_ASSERT | APIC_DM_INIT);
	apic_send(id, APIC_INT_LEVELTRIG | APIC_DM_INIT);
	apic_send(id, APIC_DM_STARTUP | TRAMPOLINE >> 12);
	delay_us(SIPI_WAIT_US);
	apic_send(id, APIC_DM_STARTUP | TRAMPOLINE >> 12);
	wait_for(&nr_online, id + 1);
}

void smp_start(void)
{
	u32 i;

	if (settings.cpus == 1)
		return;
	for (i = 0; i < (u32)(trampoline_end - trampoline_start); i++)
		((volatile u8 *)TRAMPOLINE)[i] = trampoline_start[i];
	ap_boot.cr0 = (u32)read_cr0();
	ap_boot.cr3 = (u32)read_cr3();
	ap_boot.cr4 = (u32)read_cr4();
	ap_boot.efer = (u32)(rdmsr(MSR_EFER) & ~EFER_LMA);
	for (i = 1; i < settings.cpus; i++)
		start_cpu(i);
}

void smp_online(void)
{
	atomic_increment(&nr_online);
	apic_send(0, RESCHEDULE_VECTOR);
}

void smp_begin(void)
{
	if (settings.cpus == 1)
		return;
	if (this_cpu()->id) {
		wait_for(&may_begin, 1);
	} else {
		begin_tsc = rdtsc() + us_to_tsc(BEGIN_WAIT_US);
		atomic_increment(&may_begin);
		apic_send(0, APIC_DEST_ALLBUT | RESCHEDULE_VECTOR);
	}
	/* An interrupt that came behind the look at what it tells of is taken now, not in the work. */
	__asm__ volatile("sti" : : : "memory");
	while (rdtsc() < begin_tsc)
		__asm__ volatile("pause");
	__asm__ volatile("cli" : : : "memory");
}

void smp_end(void)
{
	u32 others = (u32)settings.cpus - 1;

	if (!this_cpu()->id) {
		wait_for(&nr_done, others);
		return;
	}
	if (atomic_increment(&nr_done) + 1 == others)
		apic_send(0, RESCHEDULE_VECTOR);
	for (;;)
		__asm__ volatile("cli\n\thlt");
}
