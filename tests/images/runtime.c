// SPDX-License-Identifier: Apache-2.0
/*
 * runtime.c - from the entry code to the image's main function. Interface: runtime.h.
 */
#include "runtime.h"

void runtime_main(u32 magic, u32 info);
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

u32 boot_magic;
const struct boot_info *boot_info;

void runtime_main(u32 magic, u32 info)
{
	boot_magic = magic;
	boot_info = (const struct boot_info *)(uintptr_t)info;
	/* The interrupt controllers of old stay out of it. */
	outb(0xff, 0x21);
	outb(0xff, 0xa1);
	console_init();
	tables_init();
	image_main();
	report_finish();
}

bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

struct cpuid_regs cpuid_count(u32 leaf, u32 subleaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(subleaf)
			 : "memory");
	return r;
}

bool under_kvm(void)
{
	struct cpuid_regs r;

	if (!(cpuid(1).ecx & BIT_ULL(31)))
		return false;
	r = cpuid(0x40000000);
	return r.ebx == 0x4b4d564b && r.ecx == 0x564b4d56 && r.edx == 0x4d; /* "KVMKVMKVM" */
}

bool is_amd(void)
{
	struct cpuid_regs r = cpuid(0);

	return r.ebx == 0x68747541 && r.edx == 0x69746e65 && r.ecx == 0x444d4163;
}

/* The two functions that a freestanding compiler may call on its own. */

void *memcpy(void *to, const void *from, size_t n)
{
	void *result = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return result;
}

void *memset(void *to, int value, size_t n)
{
	void *result = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return result;
}
