/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_image.c - the tables and handlers of the random kernels.
 *
 * A handler takes the error code into R14, the frame into R13..R9 and CR2 into R8, so that a wrong one
 * is seen at once. Then it either goes on at the word RESUME by IRETQ, or drops the frame, makes the
 * kernel's stack and segments good again and jumps there.
 */
#include "kernel_image.h"

#include "cpu/state.h"
#include "kernel_layout.h"

static void set64(u8 *ram, u64 at, u64 v)
{
	memcpy(ram + at, &v, sizeof(v));
}

static u64 low_entry(u32 page, bool second)
{
	u64 at = (u64)page << 12, all = PTE_P | PTE_W | PTE_U;

	if (at < TABLES_END || (at >= PML4_B && at < CODE) || at == IDT)
		return at | PTE_P;
	if (at < CODE || (at >= HANDLERS && at < HANDLERS + 0x4000) || at == SUPERVISOR_AT)
		return at | PTE_P | PTE_W;
	if (at == READ_ONLY_AT)
		return at | PTE_P | PTE_U;
	if (at == ABSENT_AT)
		return at;
	if (at == NO_EXECUTE_AT)
		return at | all | PTE_NX;
	if (second && at >= PRIVATE_AT && at < PRIVATE_AT + PRIVATE_SIZE)
		return (at - PRIVATE_AT + PRIVATE_B) | all;
	return at | all;
}

static void make_tables(u8 *ram)
{
	for (int second = 0; second < 2; second++) {
		u32 o = second ? PML4_B - PML4 : 0;

		set64(ram, PML4 + o, (PDPT + o) | 7);
		set64(ram, PML4 + o + 511 * 8, PDPT_HIGH | 3);
		set64(ram, PDPT + o, (PD + o) | 7);
		set64(ram, PDPT + o + 8, PTE_P | PTE_W | PTE_PS);
		set64(ram, PD + o, (PT + o) | 7);
		set64(ram, PD + o + 8, 0x200000 | PTE_P | PTE_W | PTE_PS);
		set64(ram, PD + o + 16, 0x400000 | 7 | PTE_PS);
		set64(ram, PD + o + 24, 0x602000 | 7 | PTE_PS); /* bit 13 is reserved */
		for (u32 page = 0; page < 512; page++)
			set64(ram, PT + o + 8 * page, low_entry(page, second));
	}
	set64(ram, PDPT_HIGH + 510 * 8, PD_HIGH | 3);
	for (u64 n = 0; n < 4; n++)
		set64(ram, PD_HIGH + 8 * n, n << 21 | PTE_P | PTE_W | PTE_PS);
}

static void system_descriptor(u8 *ram, u32 at, u64 base, u32 limit, u64 type)
{
	set64(ram, at, limit | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56);
	set64(ram, at + 8, base >> 32);
}

/* Bits 16..19 of limits are 0: LAR leaves it open whether it shows them. */
static void make_descriptors(u8 *ram)
{
	static const struct {
		u16 selector;
		u64 descriptor;
	} flat[] = {
		{SEL_KERNEL, 0x00a09b000000ffff},     {SEL_DATA, 0x00c093000000ffff},
		{SEL_USER_DATA, 0x00c0f3000000ffff},  {SEL_USER, 0x00a0fb000000ffff},
		{SEL_KERNEL32, 0x00c09b000000ffff},   {SEL_USER32, 0x00c0fb000000ffff},
		{SEL_ABSENT, 0x00c073000000ffff},     {SEL_READ_ONLY, 0x00c0f1000000ffff},
		{SEL_CONFORMING, 0x00a09f000000ffff}, {SEL_EXECUTE_ONLY, 0x00a0f9000000ffff},
		{SEL_BASED, 0x0040f2100000ffff},
	};

	for (u32 n = 0; n < sizeof(flat) / sizeof(flat[0]); n++)
		set64(ram, GDT + (flat[n].selector & ~7u), flat[n].descriptor);
	system_descriptor(ram, GDT + SEL_TSS, TSS, 0x67, 0x8b);
	system_descriptor(ram, GDT + SEL_TSS2, TSS2, 0x67, 0x89);
	system_descriptor(ram, GDT + SEL_LDT, LDT, 0x1f, 0x82);
	set64(ram, LDT + 8, 0x00c0f3000000ffff);
	set64(ram, LDT + 16, 0x0040f3104000ffff);
	for (u32 tss = TSS; tss <= TSS2; tss += TSS2 - TSS) {
		set64(ram, tss + 4, RSP0);
		set64(ram, tss + 36, IST1);
		set64(ram, tss + 44, IST2);
		ram[tss + 102] = 0x68;
	}
}

static void gate(u8 *ram, u32 vector, u32 handler, u64 type_dpl, u64 ist, u64 selector)
{
	set64(ram, IDT + 16 * vector,
	      (handler & 0xffff) | selector << 16 | ist << 32 | type_dpl << 40 |
		      (u64)(handler >> 16) << 48);
}

static bool pushes_error(u32 vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == 17;
}

static void jump(struct program *p, u32 to)
{
	byte(p, 0xe9);
	word32(p, to - (p->at + 4));
}

static void make_handler(struct program *p, u32 vector)
{
	p->at = HANDLERS + vector * HANDLER_BYTES;
	if (pushes_error(vector))
		EMIT(p, "\x41\x5e"); /* pop r14 */
	EMIT(p, "\x4c\x8b\x2c\x24\x4c\x8b\x64\x24\x08\x4c\x8b\x5c\x24\x10"
		"\x4c\x8b\x54\x24\x18\x4c\x8b\x4c\x24\x20"); /* mov r13, [rsp] .. r9, [rsp + 32] */
	if (vector == VECTOR_PF)
		EMIT(p, "\x41\x0f\x20\xd0"); /* mov r8, cr2 */
	if (vector != VECTOR_DF && one_in(p, 2)) {
		EMIT(p, "\x41\x83\xfc\x08\x74\x06\x41\x83\xfc\x23\x75\x0e"); /* cmp r12d, .. */
		EMIT(p, "\x4c\x8b\x2c\x25");				     /* mov r13, [] */
		word32(p, RESUME);
		EMIT(p, "\x4c\x89\x2c\x24\x48\xcf"); /* mov [rsp], r13; iretq */
	}
	jump(p, ABANDON);
}

static void make_handlers(struct program *p)
{
	for (u32 v = 0; v < 32; v++) {
		u64 ist = v == VECTOR_DF ? 1 : v == VECTOR_GP && one_in(p, 3) ? 2 : 0;

		make_handler(p, v);
		gate(p->ram, v, HANDLERS + v * HANDLER_BYTES,
		     (v == VECTOR_BP ? 0xee : 0x8e) | below(p, 2), ist, SEL_KERNEL);
	}
	p->at = ABANDON;
	load_register(p, CPU_RSP, KERNEL_STACK);
	EMIT(p, "\x0f\x20\xe0\x48\x0f\xba\xf0\x14\x0f\x22\xe0"); /* CR4.SMEP off */
	EMIT(p, "\xb8\x10\x00\x00\x00\x8e\xd0\x8e\xd8\x8e\xc0\xfc\xff\x24\x25");
	word32(p, RESUME);
	p->at = SYSCALL_ENTRY;
	EMIT(p, "\x83\x3c\x25"); /* cmp dword [SYSRET], 0; je */
	word32(p, SYSRET);
	EMIT(p, "\x00\x74\x0f\x48\xc7\x04\x25");
	word32(p, SYSRET);
	word32(p, 0);
	EMIT(p, "\x48\x0f\x07"); /* sysretq */
	load_register(p, CPU_RSP, KERNEL_STACK);
	EMIT(p, "\xff\x24\x25");
	word32(p, NEXT);
	p->at = SOFTWARE;
	load_register(p, CPU_RSP, KERNEL_STACK);
	EMIT(p, "\xff\x24\x25");
	word32(p, NEXT);
	p->ram[SOFTWARE + 32] = 0xf4;
	memcpy(p->ram + SOFTWARE + 64, "\x48\xcf", 2);
	gate(p->ram, INT_NEXT, SOFTWARE, 0xee, 0, SEL_KERNEL);
	gate(p->ram, INT_END, SOFTWARE + 32, 0xee, 0, SEL_KERNEL);
	gate(p->ram, INT_KERNEL, SOFTWARE + 64, 0x8e, 0, SEL_KERNEL);
	gate(p->ram, INT_TRAP, SOFTWARE + 64, 0xef, 0, SEL_KERNEL);
	gate(p->ram, INT_IST, SOFTWARE + 64, 0xee, 2, SEL_KERNEL);
	gate(p->ram, INT_ABSENT, SOFTWARE + 64, 0x6e, 0, SEL_KERNEL);
	gate(p->ram, INT_USER_CODE, SOFTWARE + 64, 0xee, 0, SEL_USER);
	gate(p->ram, INT_CONFORMING, CODE - 16, 0xee, 0, SEL_CONFORMING);
}

/* Functions of 16 bytes, others in each address space: they add a constant and return. */
static void private_code(struct program *p)
{
	for (u32 n = 0; n < 64; n++) {
		p->at = (n & 1 ? PRIVATE_AT : PRIVATE_B) + 16 * (n / 2);
		EMIT(p, "\x48\x81\xc1");
		word32(p, random_word(p));
		EMIT(p, "\xc3");
	}
}

void kernel_image(struct program *p)
{
	for (u64 at = BUFFER_AT; at < BUFFER_AT + BUFFER_SIZE; at += 8)
		set64(p->ram, at, random_word(p));
	make_tables(p->ram);
	make_descriptors(p->ram);
	make_handlers(p);
	private_code(p);
	memcpy(p->ram + CODE - 16, "\x48\xcf", 2); /* iretq */
}
