// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_interrupt.c - the interrupt of an overflow: with and without INT, for every counter, as an NMI
 * and as a vector, masked and masked by its own delivery, in both modes of the APIC; and the exact
 * final count of the counter that overflowed.
 *
 * The counted code is a loop of ROUNDS times DECQ and JNZ, long enough for the interrupt to arrive
 * in it. The handler of the NMI is INCQ and IRETQ: 2 instructions, 1 branch for each interrupt.
 */
#include "apic.h"
#include "pmu.h"

#define ROUNDS 2000
#define LOOP "1: decq %%rsi\n jnz 1b\n"
#define PMI_VECTOR 0x50

extern const u8 pmi_entry[];
extern u64 nr_pmis;
static u64 nr_vectors, vector_cs;

__asm__("	.text\n"
	"pmi_entry:\n"
	"	incq	nr_pmis\n"
	"	iretq\n"
	"	.bss\n"
	"	.balign	64\n"
	"nr_pmis:\n"
	"	.skip	64\n"
	"	.text\n");

static u64 bit(u32 index)
{
	return 1ull << index;
}

/* Intel's local APIC masks the LVT when it delivers the interrupt, AMD's leaves it. */
static u32 delivered(u32 lvt)
{
	return pmu.masks_lvt ? lvt | LVT_MASKED : lvt;
}

static enum arch_event event_for(u32 index)
{
	return is_fixed(index) ? fixed_event(index) : EVENT_INSTRUCTIONS;
}

/* From the PMU's side: nothing pending, one counter set up. */
static void prepare(u32 index, u64 before, u64 select)
{
	pmu_clear();
	set_counter(index, arch_events[event_for(index)].encoding | SEL_OS | select);
	write_counter(index, 0 - before);
	apic_write(APIC_LVT_PMC, LVT_NMI);
	nr_pmis = 0;
}

static void run(u64 counters)
{
	wrmsr(MSR_PRED_CMD, 1);
	count_stretch(stretch_of(counters), LOOP, ROUNDS, 0);
}

/*
 * Instructions end at an exact value. Counters of time end above 0, and below what they would have
 * counted from 0, since they started below it.
 */
static bool ends_right(u32 index, u64 before, u64 pmis)
{
	u64 value = read_counter(index);

	if (event_for(index) == EVENT_INSTRUCTIONS)
		return step(value, 2 * ROUNDS + FRAME + 2 * pmis - before, "%s counter %u ends",
			    counter_kind(index), counter_number(index));
	return step(value > 0 && value < 100 * ROUNDS, 1, "%s counter %u ends above 0",
		    counter_kind(index), counter_number(index));
}

static void check_each_counter(void)
{
	for (u32 n = 0; n < nr_counters(); n++) {
		u32 index = counter_index(n);
		bool right = true;

		prepare(index, 100, SEL_INT);
		run(bit(index));
		right &= step(nr_pmis, 1, "interrupts with INT");
		right &= status_is(bit(index), "status with INT", index);
		right &= ends_right(index, 100, 1);
		right &= step(apic_read(APIC_LVT_PMC), delivered(LVT_NMI),
			      "delivery and the mask of the LVT");
		prepare(index, 100, 0);
		run(bit(index));
		right &= step(nr_pmis, 0, "interrupts without INT");
		right &= status_is(bit(index), "status without INT", index);
		right &= ends_right(index, 100, 0);
		right &= step(apic_read(APIC_LVT_PMC), LVT_NMI, "the LVT stays unmasked");
		expect_true(right, "%s counter %u: one interrupt with INT, none without",
			    counter_kind(index), counter_number(index));
	}
}

/* All of them overflow with the same instruction; there is one interrupt. */
static void check_all_at_once(void)
{
	if (!pmu.global) {
		print("# without GLOBAL_CTRL counters do not overflow at once\n");
		return;
	}
	pmu_clear();
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		set_counter(i, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS | SEL_INT);
		write_counter(i, 0 - 100ull);
	}
	if (pmu.nr_fixed) {
		set_counter(FIXED_INDEX, SEL_OS | SEL_INT);
		write_counter(FIXED_INDEX, 0 - 100ull);
	}
	apic_write(APIC_LVT_PMC, LVT_NMI);
	nr_pmis = 0;
	run(pmu.all);
	expect(nr_pmis, 1, "overflows of one instruction are one interrupt");
	expect(rdmsr(pmu.msr_status),
	       GENMASK_ULL(pmu.nr_gp - 1, 0) | (pmu.nr_fixed ? bit(FIXED_INDEX) : 0),
	       "with all their status bits");
}

/* Without GLOBAL_CTRL the selector is what a stretch leaves cleared. */
static void run_again(void)
{
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS | SEL_INT);
	write_counter(0, 0 - 100ull);
	run(1);
}

static void check_masking(void)
{
	/* Masked: the status bit and nothing else, then and when it is unmasked. */
	prepare(0, 100, SEL_INT);
	apic_write(APIC_LVT_PMC, LVT_NMI | LVT_MASKED);
	run(1);
	expect(nr_pmis, 0, "no interrupt while the LVT is masked");
	expect_true(status_is(1, "masked", 0), "the status bit is set all the same");
	apic_write(APIC_LVT_PMC, LVT_NMI);
	__asm__ volatile("1: decl %0\n jnz 1b" : : "a"(ROUNDS) : "cc");
	expect(nr_pmis, 0, "and none is kept for the time after");

	/* Masked by delivery: the second overflow is lost, the third is not. */
	prepare(0, 100, SEL_INT);
	run(1);
	run_again();
	expect(nr_pmis, pmu.masks_lvt ? 1 : 2, "the second one behind a delivery");
	apic_write(APIC_LVT_PMC, LVT_NMI);
	run_again();
	expect(nr_pmis, pmu.masks_lvt ? 2 : 3, "and the one behind unmasking");
	expect_true(status_is(1, "status", 0), "while the status bit stays");
}

static void on_vector(struct trap_frame *f)
{
	nr_vectors++;
	vector_cs = f->cs;
	apic_eoi();
}

/* As a vector it waits for interrupts to be on. */
static void check_vector(void)
{
	trap_handler before = on_trap(PMI_VECTOR, on_vector);

	prepare(0, 100, SEL_INT);
	apic_write(APIC_LVT_PMC, PMI_VECTOR);
	nr_vectors = 0;
	run(1);
	expect(nr_vectors, 0, "a vector waits while interrupts are off");
	expect(apic_read(APIC_IRR + 0x10 * (PMI_VECTOR / 32)), 1u << PMI_VECTOR % 32,
	       "in the APIC's IRR");
	expect(apic_read(APIC_LVT_PMC), delivered(PMI_VECTOR),
	       "its acceptance and the mask of the LVT");
	__asm__ volatile("sti\n\tnop\n\tcli" : : : "memory");
	expect(nr_vectors, 1, "and comes when they are on");
	expect(vector_cs, KERNEL_CS, "from the kernel");
	expect(apic_read(APIC_IRR + 0x10 * (PMI_VECTOR / 32)), 0, "the IRR is empty again");

	prepare(0, 100, SEL_INT);
	apic_write(APIC_LVT_PMC, PMI_VECTOR);
	nr_vectors = 0;
	__asm__ volatile("sti" : : : "memory");
	run(1);
	__asm__ volatile("cli" : : : "memory");
	expect(nr_vectors, 1, "with interrupts on it comes by itself");
	on_trap(PMI_VECTOR, before);
}

static u64 user_loop(u64 rounds)
{
	__asm__ volatile("1: decq %0\n\tjnz 1b" : "+r"(rounds) : : "cc");
	return rounds;
}

/* A counter of user code overflows there; what the kernel does is not in it. */
static void check_user(void)
{
	static u64 first, second;
	struct stretch s;

	for (u32 i = 0; i < 2; i++) {
		pmu_clear();
		set_counter(0, arch_events[EVENT_BRANCHES].encoding | SEL_USR | SEL_INT);
		apic_write(APIC_LVT_PMC, LVT_NMI);
		nr_pmis = 0;
		write_counter(0, i ? 0 - 100ull : 0);
		s = stretch_of(1);
		wrmsr(s.msr, s.value);
		run_user(user_loop, ROUNDS);
		wrmsr(s.msr, 0);
		*(i ? &second : &first) = read_counter(0);
	}
	expect(nr_pmis, 1, "an overflow in user code interrupts it");
	/* The loop, RET of the function, INT back to the kernel. */
	expect(first, ROUNDS + 2, "branches of user code");
	expect(second, first - 100, "the interrupt and its handler add nothing to them");
}

static void check_with(enum apic_mode mode)
{
	apic_enter(mode);
	print("# %s\n", mode == X2APIC ? "x2APIC" : "xAPIC");
	check_each_counter();
	check_all_at_once();
	check_masking();
	check_vector();
	check_user();
}

void image_main(void)
{
	pmu_init();
	set_gate(VECTOR_NMI, pmi_entry, GATE_INTERRUPT, 0);
	check_with(XAPIC);
	if (apic_has_x2apic())
		check_with(X2APIC);
}
