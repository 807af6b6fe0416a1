/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insn.h - single instructions as inline functions: ports, MSRs, CPUID, RDPMC, TSC, flags, and the
 * lab's `work` instruction. Names as in the kernel where it has one.
 */
#ifndef GUEST_INSN_H_
#define GUEST_INSN_H_

#include "base/types.h"
#include "guest/layout.h"

#define barrier() __asm__ volatile("" ::: "memory")

static inline void outb(u8 value, u16 port)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline u8 inb(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void outl(u32 value, u16 port)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline u64 rdmsr(u32 msr)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdpmc(u32 counter)
{
	u32 low, high;

	__asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(counter) : "memory");
	return (u64)high << 32 | low;
}

static inline u64 rdtsc(void)
{
	u32 low, high;

	__asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (u64)high << 32 | low;
}

struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid_regs cpuid(u32 leaf)
{
	struct cpuid_regs r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(0)
			 : "memory");
	return r;
}

static inline u64 read_cr2(void)
{
	u64 value;

	__asm__ volatile("movq %%cr2, %0" : "=r"(value));
	return value;
}

static inline u64 read_cr0(void)
{
	u64 value;

	__asm__ volatile("movq %%cr0, %0" : "=r"(value));
	return value;
}

static inline u64 read_cr3(void)
{
	u64 value;

	__asm__ volatile("movq %%cr3, %0" : "=r"(value));
	return value;
}

static inline void write_cr3(u64 value)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

static inline u64 read_cr4(void)
{
	u64 value;

	__asm__ volatile("movq %%cr4, %0" : "=r"(value));
	return value;
}

static inline void write_cr4(u64 value)
{
	__asm__ volatile("movq %0, %%cr4" : : "r"(value) : "memory");
}

static inline u64 local_irq_save(void)
{
	u64 flags;

	__asm__ volatile("pushfq\n\tpopq %0\n\tcli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void local_irq_restore(u64 flags)
{
	if (flags & RFLAGS_IF)
		__asm__ volatile("sti" : : : "memory");
}

/* Against an NMI on this CPU, so without LOCK. */
static inline bool local_try_cmpxchg(u64 *p, u64 *expected, u64 value)
{
	bool done;

	__asm__ volatile("cmpxchgq %3, %1"
			 : "=@ccz"(done), "+m"(*p), "+a"(*expected)
			 : "r"(value)
			 : "memory");
	return done;
}

static inline void local_add(u64 *p, u64 value)
{
	__asm__ volatile("addq %1, %0" : "+m"(*p) : "r"(value) : "memory", "cc");
}

/* a * b / d through 128 bits; ~0 when the quotient does not fit or @d is 0. */
static inline u64 mul_u64_u64_div_u64(u64 a, u64 b, u64 d)
{
	u64 low, high;

	__asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "rm"(b) : "cc");
	if (high >= d)
		return ~0ull;
	__asm__("divq %2" : "+a"(low), "+d"(high) : "rm"(d) : "cc");
	return low;
}

/*
 * Retire @count instructions of profile @profile at the current privilege. In the lab that is one
 * restartable NOP with a special displacement, which leaves 0 in RCX; elsewhere it is a NOP indeed,
 * RCX is as it was, and a loop of two instructions does as many.
 */
static inline void work(u64 profile, u64 count)
{
	u64 left = count;
	u64 loops;

	if (!count)
		return;
	__asm__ volatile(".byte 0x0f, 0x1f, 0x80, 0x01, 0x55, 0x4d, 0x50"
			 : "+c"(left)
			 : "a"(profile)
			 : "memory", "cc");
	if (left != count)
		return;
	loops = count / 2;
	if (loops)
		__asm__ volatile("1: decq %0\n\tjnz 1b" : "+r"(loops) : : "cc");
}

/* From CPL 3. */
static inline u64 syscall(u32 nr, u64 argument)
{
	u64 result;

	__asm__ volatile("syscall"
			 : "=a"(result), "+D"(argument)
			 : "a"(nr)
			 : "rcx", "r11", "rdx", "rsi", "r8", "r9", "r10", "memory", "cc");
	return result;
}

#endif /* GUEST_INSN_H_ */
