// SPDX-License-Identifier: Apache-2.0
/*
 * cpuid.c - the CPUID leaves that a bare-metal guest looks at, and that they agree with what is there.
 */
#include "apic.h"
#include "pmu.h"

static void check_basic(void)
{
	struct cpuid_regs r = cpuid(0);
	u64 capabilities;
	u32 features;

	if (is_amd()) {
		expect_between(r.eax, 0xd, 0xff, "leaf 0: the last basic leaf");
	} else {
		expect_between(r.eax, 0x16, 0xff, "leaf 0: the last basic leaf");
		expect(r.ebx == 0x756e6547 && r.edx == 0x49656e69 && r.ecx == 0x6c65746e, 1,
		       "leaf 0: GenuineIntel or AuthenticAMD");
	}
	r = cpuid(1);
	expect(r.eax >> 8 & 0xf, is_amd() ? 15 : 6, "leaf 1: family");
	expect(r.ebx >> 24, 0, "leaf 1: APIC ID 0");
	expect(r.ebx >> 8 & 0xff, 8, "leaf 1: CLFLUSH flushes 64 bytes");
	features = (u32)(BIT_ULL(0) | BIT_ULL(4) | BIT_ULL(5) | BIT_ULL(6) | BIT_ULL(8) |
			 BIT_ULL(9) | BIT_ULL(15) | BIT_ULL(19) | BIT_ULL(24) | BIT_ULL(25) |
			 BIT_ULL(26));
	expect(r.edx & features, features,
	       "leaf 1 EDX: FPU, TSC, MSR, PAE, CX8, APIC, CMOV, CLFLUSH, FXSR, SSE, SSE2");
	features = (u32)(BIT_ULL(13) | BIT_ULL(21) | BIT_ULL(23));
	expect(r.ecx & features, features, "leaf 1 ECX: CX16, x2APIC, POPCNT");
	/* AMD's APIC has none; KVM's has. */
	expect(r.ecx >> 24 & 1, !is_amd() || under_kvm(), "leaf 1 ECX: TSC deadline");
	expect(attempt_rdmsr(MSR_PERF_CAPABILITIES, &capabilities),
	       r.ecx >> 15 & 1 ? NO_VECTOR : VECTOR_GP, "PERF_CAPABILITIES is there with PDCM");
	expect(rdmsr(MSR_APIC_BASE) & APIC_BASE_ENABLED, APIC_BASE_ENABLED,
	       "the APIC that is announced is on");
	expect(cpuid_count(7, 0).ebx >> 23 & 1, 1, "leaf 7: CLFLUSHOPT");
}

static void check_pmu_of_amd(void)
{
	struct cpuid_regs r = cpuid(0x80000022);

	expect(cpuid(0xa).eax, 0, "leaf 0AH is Intel's");
	expect_between(r.eax, 0, 1, "leaf 80000022H: PerfMonV2 or not");
	if (r.eax)
		expect_between(r.ebx & 0xf, 1, 6, "leaf 80000022H: core counters");
	else
		expect(r.ebx, 0, "leaf 80000022H: nothing without it");
}

static void check_pmu(void)
{
	struct cpuid_regs r = cpuid(0xa);
	u32 version = r.eax & 0xff;

	if (is_amd()) {
		check_pmu_of_amd();
		return;
	}
	expect_between(version, 1, 6, "leaf 0AH: version");
	expect_between(r.eax >> 8 & 0xff, 1, 32, "leaf 0AH: GP counters");
	expect(r.eax >> 16 & 0xff, 48, "leaf 0AH: GP counters of 48 bits");
	expect_between(r.eax >> 24, 7, 8, "leaf 0AH: architectural events");
	expect(r.ebx & 0x7f, 0, "leaf 0AH: none of the seven is missing");
	expect_between(r.edx & 0x1f, 0, 4, "leaf 0AH: fixed counters");
	if (version >= 2)
		expect(r.edx >> 5 & 0xff, 48, "leaf 0AH: fixed counters of 48 bits");
	if (version >= 5)
		expect(r.ecx, (1u << (r.edx & 0x1f)) - 1, "leaf 0AH: bitmap of fixed counters");
	else
		expect(r.ecx, 0, "leaf 0AH: no bitmap before version 5");
	if (under_kvm()) {
		expect_between(version, 1, 2, "KVM announces version 2 at most");
		expect(r.edx >> 15 & 1, 1, "and no AnyThread");
	}
}

static void check_topology_and_clocks(void)
{
	struct cpuid_regs r = cpuid_count(0xb, 0);

	expect(r.ecx >> 8 & 0xff, 1, "leaf 0BH: the first level is that of threads");
	expect(r.ebx, 1, "of which there is one");
	r = cpuid_count(0xb, 1);
	expect(r.ecx >> 8 & 0xff, 2, "leaf 0BH: the second is that of cores");
	expect(r.ebx, 1, "of which there is one");
	expect(r.edx, 0, "leaf 0BH: x2APIC ID 0");
	r = cpuid_count(0xb, 2);
	expect(r.ecx >> 8 & 0xff, 0, "leaf 0BH: and then no more");
	if (is_amd())
		return;
	r = cpuid(0x15);
	expect_true(r.eax && r.ebx > r.eax, "leaf 15H: the ratio of TSC and crystal");
	if (r.ecx)
		expect((u64)r.ecx * r.ebx / r.eax / 1000000, cpuid(0x16).eax & 0xffff,
		       "leaves 15H and 16H: the same rate");
	r = cpuid(0x16);
	expect_between(r.eax & 0xffff, 1000, 6000, "leaf 16H: base MHz");
	expect_between(r.ebx & 0xffff, r.eax & 0xffff, 6000, "leaf 16H: maximum MHz");
}

static void check_hypervisor(void)
{
	struct cpuid_regs r;

	if (!(cpuid(1).ecx & BIT_ULL(31))) {
		expect_true(!under_kvm(), "no hypervisor, no signature");
		return;
	}
	r = cpuid(0x40000000);
	expect_true(under_kvm(), "leaf 40000000H: KVM's signature");
	expect_between(r.eax, 0x40000001, 0x400000ff, "leaf 40000000H: the last leaf");
}

static void check_extended(void)
{
	struct cpuid_regs r = cpuid(0x80000000);
	char brand[49] = {0};
	u32 *words = (u32 *)(void *)brand;

	expect_between(r.eax, 0x80000008, 0x8000ffff, "leaf 80000000H: the last extended leaf");
	r = cpuid(0x80000001);
	expect(r.edx & (1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29),
	       1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29,
	       "leaf 80000001H: SYSCALL, NX, 1 GB pages, RDTSCP, long mode");
	for (u32 i = 0; i < 3; i++) {
		r = cpuid(0x80000002 + i);
		words[4 * i] = r.eax;
		words[4 * i + 1] = r.ebx;
		words[4 * i + 2] = r.ecx;
		words[4 * i + 3] = r.edx;
	}
	expect((brand[0] << 8 | (brand[1] & ~0x20)) == (is_amd() ? 'A' << 8 | 'M' : 'I' << 8 | 'N'),
	       1, "the brand: %s", brand);
	r = cpuid(0x80000007);
	expect(r.edx >> 8 & 1, 1, "leaf 80000007H: the TSC is invariant");
	r = cpuid(0x80000008);
	expect(r.eax >> 8 & 0xff, 48, "leaf 80000008H: 48 bits of virtual address");
	expect_between(r.eax & 0xff, 36, 52, "leaf 80000008H: bits of physical address");
}

/*
 * Behind the last leaf of a range an Intel processor gives the last basic one, an AMD one zeros, and
 * KVM does as the vendor that it tells its guest.
 */
static void check_behind(void)
{
	u32 last = cpuid(0).eax;
	struct cpuid_regs expected = {0};
	const u32 behind[] = {last + 1, 0x1000, cpuid(0x80000000).eax + 1, 0x80000100};
	bool right = true;

	if (!is_amd())
		expected = cpuid(last);
	for (u32 i = 0; i < ARRAY_SIZE(behind); i++) {
		struct cpuid_regs r = cpuid(behind[i]);

		right &= step(r.eax, expected.eax, "EAX of leaf %x", (u64)behind[i]);
		right &= step(r.ebx, expected.ebx, "EBX of leaf %x", (u64)behind[i]);
		right &= step(r.ecx, expected.ecx, "ECX of leaf %x", (u64)behind[i]);
		right &= step(r.edx, expected.edx, "EDX of leaf %x", (u64)behind[i]);
	}
	expect_true(right, is_amd() ? "leaves behind the last are zero"
				    : "leaves behind the last are the last basic leaf");
}

/* A level behind the last one of leaf 0BH: its number and the x2APIC ID, and nothing else. */
static void check_levels(void)
{
	struct cpuid_regs r = cpuid_count(0xb, 7);

	expect(r.eax | r.ebx, 0, "leaf 0BH: level 7 is not there");
	expect(r.ecx, 7, "leaf 0BH: its number");
	expect(r.edx, 0, "leaf 0BH: the x2APIC ID");
	r = cpuid(3);
	expect(r.eax | r.ebx | r.ecx | r.edx, 0,
	       "leaf 3, within the range but of older CPUs, is 0");
}

static u64 user_cpuid(u64 leaf)
{
	return cpuid((u32)leaf).ebx;
}

static void check_registers(void)
{
	u64 rax = ~0ull << 32, rbx = ~0ull, rcx = ~0ull << 32, rdx = ~0ull;

	__asm__ volatile("cpuid" : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx));
	expect((rax | rbx | rcx | rdx) >> 32, 0, "the upper halves of the registers are 0");
	expect(run_user(user_cpuid, 0), is_amd() ? 0x68747541 : 0x756e6547, "user code may, too");
}

void image_main(void)
{
	check_basic();
	check_pmu();
	check_topology_and_clocks();
	check_hypervisor();
	check_extended();
	check_behind();
	check_levels();
	check_registers();
}
