// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_rdpmc.c - RDPMC: the two kinds of counters, what ECX may hold, and who may.
 */
#include "pmu.h"

static u64 gp_value(u32 i)
{
	return (0x0123456789abull + i * 0x111111111111ull) & pmu.gp_mask;
}

static u64 fixed_value(u32 i)
{
	return (0xfedcba987654ull - i * 0x111111111111ull) & pmu.fixed_mask;
}

/* Without full-width writes only 31 bits and their sign can be written. */
static u64 writable(u64 value)
{
	return pmu.full_width ? value : value & 0x7fffffff;
}

static void check_values(void)
{
	bool right = true;
	u64 value;

	for (u32 i = 0; i < pmu.nr_gp; i++)
		write_counter(i, writable(gp_value(i)));
	for (u32 i = 0; i < pmu.nr_fixed; i++)
		write_counter(FIXED_INDEX + i, fixed_value(i));
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		right &= step(attempt_rdpmc(i, &value), NO_VECTOR, "RDPMC %x", (u64)i);
		right &= step(value, writable(gp_value(i)), "value of GP counter %u", (u64)i);
	}
	for (u32 i = 0; i < pmu.nr_fixed; i++) {
		right &= step(attempt_rdpmc(RDPMC_FIXED | i, &value), NO_VECTOR, "RDPMC %x",
			      RDPMC_FIXED | i);
		right &= step(value, fixed_value(i), "value of fixed counter %u", (u64)i);
	}
	expect_true(right, "%u GP counters by index, %u fixed ones with bit 30", (u64)pmu.nr_gp,
		    (u64)pmu.nr_fixed);
}

/* RDPMC writes all of RAX and RDX, and takes all 32 bits of ECX but none above. */
static void check_registers(void)
{
	u64 rax = ~0ull, rdx = ~0ull, rcx = 0xabcdef0000000000;

	write_counter(0, 0x12345678);
	__asm__ volatile("rdpmc" : "+a"(rax), "+d"(rdx), "+c"(rcx));
	expect(rax, 0x12345678, "RAX has the low half, and zero above it");
	expect(rdx, 0, "RDX has the high half, and zero above it");
	expect(rcx, 0xabcdef0000000000, "RCX stays");
}

/*
 * Bits 16 to 31 name the kind. Bit 31, a short read of processors before the architectural PMU, is
 * none, nor is any other kind that is not announced.
 */
static void check_refused(void)
{
	const u32 bad[] = {
		pmu.nr_gp,  (u32)RDPMC_FIXED | pmu.nr_fixed,
		0xffff,	    (u32)RDPMC_FIXED | 0xffff,
		0x80000000, 0x80000001,
		0xc0000000, 0x00010000,
		0x10000000, 0x40010000,
		0x20000000, /* performance metrics: not announced here */
		0x20000001, 0xffffffff,
	};
	bool right = true;

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		u64 value;

		right &= step(attempt_rdpmc(bad[i], &value), VECTOR_GP, "RDPMC %x", (u64)bad[i]);
		right &= step(caught.error, 0, "error code of RDPMC %x", (u64)bad[i]);
	}
	expect_true(right, "%u values of ECX that name no counter are #GP(0)", ARRAY_SIZE(bad));
}

#define CR4_PCE BIT_ULL(8)

static u64 user_rdpmc(u64 ecx)
{
	u64 value;

	attempt_rdpmc((u32)ecx, &value);
	return value;
}

static void check_user(void)
{
	bool right = true;

	write_cr4(read_cr4() & ~CR4_PCE);
	run_user(user_rdpmc, 0);
	expect(caught.vector, VECTOR_GP, "user code without CR4.PCE: #GP");
	expect(caught.error, 0, "with error code 0");
	expect(caught.cs, USER_CS, "from user mode");
	run_user(user_rdpmc, 0xffff);
	expect(caught.vector, VECTOR_GP, "whatever it asks for");

	write_cr4(read_cr4() | CR4_PCE);
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		write_counter(i, writable(gp_value(i)));
		right &= step(run_user(user_rdpmc, i), writable(gp_value(i)), "user RDPMC %u",
			      (u64)i);
	}
	for (u32 i = 0; i < pmu.nr_fixed; i++) {
		write_counter(FIXED_INDEX + i, fixed_value(i));
		right &= step(run_user(user_rdpmc, RDPMC_FIXED | i), fixed_value(i),
			      "user RDPMC of fixed %u", (u64)i);
	}
	expect_true(right, "with CR4.PCE it reads all counters");
	run_user(user_rdpmc, pmu.nr_gp);
	expect(caught.vector, VECTOR_GP, "and no more than those");
	write_cr4(read_cr4() & ~CR4_PCE);
	user_rdpmc(0);
	expect(caught.vector, NO_VECTOR, "the kernel does not need CR4.PCE");
}

void image_main(void)
{
	pmu_init();
	check_values();
	check_registers();
	check_refused();
	check_user();
}
