// SPDX-License-Identifier: Apache-2.0
/*
 * caches.c - cold lines: the first access to a line, and the first after CLFLUSH, CLFLUSHOPT or
 * WBINVD, is one reference of the last-level cache and one miss of it; every other is none.
 */
#include "page_tables.h"
#include "pmu.h"

static u8 lines[16 * 64] __attribute__((aligned(64)));

/*
 * References and misses of a stretch; they must be the same number. Without GLOBAL_CTRL two counters do
 * not start at once, and references alone are counted.
 */
#define llc(code, a)                                                                               \
	({                                                                                         \
		pmu_clear();                                                                       \
		set_counter(0, arch_events[EVENT_LLC_REFERENCES].encoding | SEL_OS);               \
		if (pmu.global)                                                                    \
			set_counter(1, arch_events[EVENT_LLC_MISSES].encoding | SEL_OS);           \
		count_stretch(stretch_of(pmu.global ? 3 : 1), code, a, 0);                         \
		if (pmu.global)                                                                    \
			step(read_counter(0), read_counter(1), "references and misses");           \
		read_counter(0);                                                                   \
	})

#define LOAD "movq (%%rsi), %%rax\n"
#define STORE "movq %%rax, (%%rsi)\n"

static void touch(const u8 *at)
{
	(void)*(const volatile u8 *)at;
}

static void check_flush(void)
{
	touch(lines);
	expect(llc(LOAD, lines), 0, "a load of a warm line is none");
	expect(llc("clflush (%%rsi)\n", lines), 0, "CLFLUSH itself is none");
	expect(llc(LOAD LOAD, lines), 1, "the load behind it is one, and no more");
	expect(llc("clflush (%%rsi)\n" STORE STORE, lines), 1, "a store behind it is one");
	expect(llc("clflushopt (%%rsi)\n mfence\n" LOAD, lines), 1, "CLFLUSHOPT likewise");
	expect(llc("clflush 63(%%rsi)\n" LOAD, lines), 1, "any address in the line will do");
	expect(llc("clflush (%%rsi)\n clflush (%%rsi)\n" LOAD, lines), 1,
	       "flushed twice is cold once");
	expect(llc("clflush (%%rsi)\n incq (%%rsi)\n", lines), 1, "a change in place is one");
	expect(llc("clflush (%%rsi)\n lock incq (%%rsi)\n", lines), 1, "a locked one too");
	touch(lines + 64);
	expect(llc("clflush (%%rsi)\n movq 64(%%rsi), %%rax\n", lines), 0,
	       "the next line stays warm");
	expect(llc("1: clflush (%%rsi)\n" LOAD
		   "addq $64, %%rsi\n cmpq $lines + 1024, %%rsi\n jb 1b\n",
		   lines),
	       16, "16 lines flushed and loaded");
}

static void check_crossing(void)
{
	touch(lines + 64);
	touch(lines + 128);
	expect(llc("clflush (%%rsi)\n clflush 64(%%rsi)\n movq 60(%%rsi), %%rax\n", lines), 2,
	       "a load across two cold lines is two");
	expect(llc("clflush 64(%%rsi)\n movq 60(%%rsi), %%rax\n", lines), 1,
	       "across a warm and a cold one, one");
}

/* Pages of the heap have never been touched. */
static void check_first_touch(void)
{
	u8 *page = new_page();

	expect(llc(LOAD LOAD, page), 1, "the first touch of a line is one");
	expect(llc("1: movb $1, (%%rsi)\n addq $64, %%rsi\n testl $4095, %%esi\n jnz 1b\n", page),
	       63, "the 63 lines behind it in its page");
	expect(llc(LOAD, new_large_page()), 1, "a large page likewise");
}

static void check_all_cold(void)
{
	touch(lines);
	touch(lines + 64);
	touch(lines + 128);
	expect(llc("wbinvd\n" LOAD "movq 64(%%rsi), %%rax\n movq 128(%%rsi), %%rax\n", lines), 3,
	       "WBINVD makes every line cold");
}

/* CLFLUSH of what is not mapped faults as a load does; user code may use it. */
static u64 user_flush(u64 at)
{
	return attempt("clflush (%0)", : : "r"(at) : "memory");
}

static void check_faults(void)
{
	expect(user_flush(1ull << 45), VECTOR_PF, "CLFLUSH of nothing is #PF");
	expect(caught.error, 0, "as for a load");
	expect(run_user(user_flush, (uintptr_t)lines), NO_VECTOR, "user code may flush");
}

void image_main(void)
{
	pmu_init();
	if (pmu.nr_gp < 2)
		give_up("two GP counters are needed");
	check_flush();
	check_crossing();
	check_first_touch();
	check_all_cold();
	check_faults();
}
