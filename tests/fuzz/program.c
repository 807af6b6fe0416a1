// SPDX-License-Identifier: Apache-2.0
/*
 * program.c - see program.h.
 */
#include "program.h"

#define RAX 0
#define RCX 1
#define RDX 2
#define USER_CS 0x2b
#define USER_DS 0x23
#define USER_STACK (GUEST_BASE + 0x78000)
#define ROUNDS_AT (GUEST_BASE + 0x7f000)

/* Registers of the PMU, the local APIC, and others that the machine has; by ranges. */
static const struct {
	u32 first, count;
} msrs[] = {
	{0x186, 9},	 {0xc1, 9},   {0x4c1, 9},      {0x309, 5}, {0x38d, 6}, {0x345, 1},
	{0x329, 1},	 {0x3f1, 1},  {0x1b, 1},       {0x6e0, 1}, {0x808, 1}, {0x80b, 1},
	{0x80f, 1},	 {0x830, 10}, {0x83e, 2},      {0x10, 1},  {0x1a0, 1}, {0x49, 1},
	{0xc0000080, 5}, {0x3a, 1},   {0xc0000100, 4}, {0x48, 1},  {0x600, 1}, {0x1d9, 1},
	{0x800, 64},	 {0x14c1, 1},
};

static u32 msr_of(u8 which)
{
	u32 n = which;

	for (size_t k = 0; k < ARRAY_SIZE(msrs); k++) {
		if (n < msrs[k].count)
			return msrs[k].first + n;
		n -= msrs[k].count;
	}
	return n;
}

static void byte(struct program *p, unsigned int value)
{
	p->code[p->length++] = (u8)value;
}

static void word32(struct program *p, u32 value)
{
	memcpy(p->code + p->length, &value, 4);
	p->length += 4;
}

#define EMIT(p, text) emit((p), (text), sizeof(text) - 1)
static void emit(struct program *p, const char *text, size_t n)
{
	memcpy(p->code + p->length, text, n);
	p->length += (u32)n;
}

static void load32(struct program *p, unsigned int reg, u32 value)
{
	byte(p, 0xb8 + reg);
	word32(p, value);
}

/* What the registers of a PMU and an APIC are interesting for. */
static u64 take_value(struct input *in)
{
	u8 kind = take_u8(in);

	switch (kind >> 4) {
	case 0: return kind & 15;
	case 1: return 0x430000 | take_u8(in) | (u64)take_u8(in) << 8; /* EN, OS, USR */
	case 2: return 0x530000 | take_u8(in) | (u64)take_u8(in) << 8; /* and INT */
	case 3: return take_u32(in);
	case 4: return take_u64(in);
	case 5: return 1ull << (take_u8(in) & 63);
	case 6: return (1ull << 48) - 1 - take_u8(in); /* about to overflow */
	case 7: return ~(u64)take_u8(in);
	case 8: return 0xfffff000u | (kind & 15);
	case 9: return 0x0000000f000000ffull >> (kind & 15);
	case 10: return 0xbbb | (u64)(kind & 15) << 12;
	case 11: return 0x333 | (u64)(kind & 15) << 12;
	case 12: return 0xfee00000u | (u64)(kind & 15) << 8;
	case 13: return 0x400 | (u64)(kind & 1) << 16 | 2;
	case 14: return 0x40 | (u64)(kind & 7) << 16;
	default: return ~0ull >> (kind & 15) * 4;
	}
}

static void write_msr(struct program *p, u32 msr, u64 value)
{
	load32(p, RCX, msr);
	load32(p, RAX, (u32)value);
	load32(p, RDX, (u32)(value >> 32));
	EMIT(p, "\x0f\x30");
}

static u32 port_of(u8 which)
{
	static const u16 ports[] = {0x3f8, 0x3f9,  0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x505, 0x510,
				    0x511, 0x8900, 0x20,  0x21,	 0xa1,	0x70,  0xf4,  0xffff};

	return ports[which & 15];
}

static void port_access(struct program *p, struct input *in, bool out)
{
	u8 which = take_u8(in);

	load32(p, RDX, port_of(which));
	if (out)
		load32(p, RAX, take_u8(in) * 0x01010101u);
	switch (which >> 4 & 3) {
	case 0: byte(p, out ? 0xee : 0xec); break;
	case 1: byte(p, 0x66); /* fall through */
	default: byte(p, out ? 0xef : 0xed); break;
	}
}

static void apic(struct program *p, struct input *in, bool write)
{
	u32 at = 0xfee00000u + (u32)take_u8(in) * 16;

	load32(p, RDX, at);
	if (!write) {
		EMIT(p, "\x8b\x02"); /* mov eax, [rdx] */
		return;
	}
	EMIT(p, "\xc7\x02"); /* mov [rdx], imm32 */
	word32(p, take_u32(in));
}

static void any_code(struct program *p, struct input *in)
{
	u8 n = take_u8(in) & 127;

	n = input_left(in) < n ? (u8)input_left(in) : n;
	take_bytes(in, p->code + p->length, n);
	p->length += n;
}

static void to_user(struct program *p, u32 next)
{
	/* push USER_DS, stack, flags, USER_CS, next; iretq: 29 bytes */
	EMIT(p, "\x6a");
	byte(p, USER_DS);
	byte(p, 0x68);
	word32(p, USER_STACK);
	byte(p, 0x68);
	word32(p, 0x202);
	byte(p, 0x6a);
	byte(p, USER_CS);
	byte(p, 0x68);
	word32(p, next + 21);
	EMIT(p, "\x48\xcf");
}

static void loads_and_stores(struct program *p, struct input *in)
{
	u8 how = take_u8(in);

	for (unsigned int n = how & 15; n; n--) {
		EMIT(p, "\x48\x01\x83"); /* add [rbx + disp32], rax */
		word32(p, n * (how >> 4) * 8);
	}
	if (how & 0x10)
		EMIT(p, "\x0f\xae\x3b"); /* clflush [rbx] */
}

static void deadline(struct program *p, struct input *in)
{
	EMIT(p, "\x0f\x31\x05"); /* rdtsc; add eax, imm32; adc edx, 0; wrmsr */
	word32(p, (u32)take_u16(in) * 16);
	EMIT(p, "\x83\xd2\x00\xb9\xe0\x06\x00\x00\x0f\x30");
}

/* dec dword ptr [ROUNDS_AT], which begins with 0; js over; mov dword ptr [..], n; jnz start */
static void again(struct program *p, struct input *in, u32 start)
{
	u32 rounds = take_u8(in) & 31;

	EMIT(p, "\x81\x3c\x25"); /* cmp dword ptr [ROUNDS_AT], rounds */
	word32(p, ROUNDS_AT);
	word32(p, rounds);
	EMIT(p, "\x73\x0d\xff\x04\x25"); /* jae over; inc dword ptr [ROUNDS_AT] */
	word32(p, ROUNDS_AT);
	byte(p, 0xe9);
	word32(p, start - (p->length + 4));
	byte(p, 0x90);
}

static void fault(struct program *p, u8 which)
{
	switch (which & 15) {
	case 0: EMIT(p, "\x0f\x0b"); break;		      /* ud2 */
	case 1: EMIT(p, "\x31\xd2\xf7\xf2"); break;	      /* div edx, 0 */
	case 2: EMIT(p, "\xcc"); break;			      /* int3 */
	case 3: EMIT(p, "\x8e\xd9"); break;		      /* mov ds, ecx */
	case 4: EMIT(p, "\x48\xa1\0\0\0\0\0\x40\0\0"); break; /* page fault */
	case 5: EMIT(p, "\x48\xa1\0\0\0\0\0\0\0\x40"); break; /* not canonical */
	case 6: EMIT(p, "\x0f\x0b\x6b\x76\x6d\x0f\xa2"); break;
	case 7:
		EMIT(p, "\xf3\xa4");
		break; /* rep movs of RCX bytes */
	/* Forced emulation: RDPMC, WRMSR, an ADD to memory, a branch. */
	case 8: EMIT(p, "\x0f\x0b\x6b\x76\x6d\x0f\x33"); break;
	case 9: EMIT(p, "\x0f\x0b\x6b\x76\x6d\x0f\x30"); break;
	case 10: EMIT(p, "\x0f\x0b\x6b\x76\x6d\x48\x01\x03"); break;
	case 11: EMIT(p, "\x0f\x0b\x6b\x76\x6d\xeb\x00"); break;
	/* pushfq; or dword [rsp], TF; popfq */
	case 12: EMIT(p, "\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d"); break;
	case 13:
		byte(p, 0xf1);
		break; /* int1 */
	/* mov rax, rbx; mov dr1, rax; mov eax, accesses of DR1, 4 bytes; mov dr7, rax */
	case 14: EMIT(p, "\x48\x89\xd8\x0f\x23\xc8\xb8\x04\x04\xf0\x00\x0f\x23\xf8"); break;
	default: EMIT(p, "\xc7\xf8\x00\x00\x00\x00"); break; /* xbegin */
	}
}

static void pmu_on(struct program *p, struct input *in)
{
	u8 counter = take_u8(in), event = take_u8(in);
	u32 minus = take_u16(in);

	if (counter & 8) {
		write_msr(p, 0x309 + (counter & 3), (1ull << 48) - 1 - minus);
		write_msr(p, 0x38d, 0xbbbbu);
	} else {
		write_msr(p, 0xc1 + (counter & 7), ~(u64)minus & 0xffffffff);
		write_msr(p, 0x186 + (counter & 7), 0x530000u | event | (counter & 0x70u) << 8);
	}
	write_msr(p, 0x38f, 0x70000000full);
}

static void operation(struct program *p, struct input *in, u8 op, u32 at, u32 start)
{
	switch ((op & 31) % 24) {
	case 0: write_msr(p, msr_of(take_u8(in)), take_value(in)); break;
	case 1:
		load32(p, RCX, msr_of(take_u8(in)));
		EMIT(p, "\x0f\x32");
		break;
	case 2:
		load32(p, RCX, (u32)(take_u8(in) * 0x4001u));
		EMIT(p, "\x0f\x33");
		break;
	case 3: write_msr(p, take_u32(in), take_value(in)); break;
	case 4: apic(p, in, true); break;
	case 5: apic(p, in, false); break;
	case 6: port_access(p, in, true); break;
	case 7: port_access(p, in, false); break;
	case 8:
		load32(p, RAX, take_u8(in) & 7);
		load32(p, RCX, take_u16(in));
		EMIT(p, "\x0f\x1f\x80\x01\x55\x4d\x50");
		break;
	case 9:
		load32(p, RAX, (take_u8(in) & 63) | (op & 0x80u) << 24);
		EMIT(p, "\x31\xc9\x0f\xa2");
		break;
	case 10: EMIT(p, "\xfb\xf4"); break;
	case 11: byte(p, op & 0x80 ? 0xfa : 0xfb); break;
	case 12: any_code(p, in); break;
	case 13: to_user(p, at + p->length); break;
	case 14: EMIT(p, "\x0f\x05"); break;
	case 15:
		byte(p, 0xcd);
		byte(p, take_u8(in));
		break;
	case 16: loads_and_stores(p, in); break;
	case 17: deadline(p, in); break;
	case 18: EMIT(p, "\x0f\x01\xc1"); break;
	case 19: again(p, in, start); break;
	case 20: /* mov ecx, n; loop . */
		load32(p, RCX, take_u8(in));
		EMIT(p, "\xe2\xfe");
		break;
	case 21:
		write_msr(p, 0x834, (u64)take_u8(in) * 8 | 0x40);
		load32(p, RDX, 0xfee00340u);
		EMIT(p, "\x89\x02"); /* mov [rdx], eax */
		break;
	case 22: fault(p, take_u8(in)); break;
	default: pmu_on(p, in); break;
	}
}

void make_program(struct program *p, struct input *in, u32 at, bool endless)
{
	p->length = 0;
	while (input_left(in) && p->length < PROGRAM_MAX) {
		u8 op = take_u8(in);
		u32 distance_at;

		EMIT(p, "\x4c\x8d\x3d"); /* lea r15, [rip + distance] */
		distance_at = p->length;
		word32(p, 0);
		operation(p, in, op, at, 0);
		p->length -= distance_at + 4;
		memcpy(p->code + distance_at, &p->length, 4);
		p->length += distance_at + 4;
	}
	if (endless) {
		byte(p, 0xe9);
		word32(p, 0 - (p->length + 4));
	}
	EMIT(p, "\x31\xc0\xe7\xf4"); /* xor eax, eax; out 0xf4, eax */
}
