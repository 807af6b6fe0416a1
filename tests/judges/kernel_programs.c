/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_programs.c - random kernels: the snippets they consist of.
 *
 * Snippets that may fault set the word RESUME first: the handlers of kernel_image.c go on there.
 */
#include "kernel_programs.h"

#include "cpu/state.h"
#include "kernel_image.h"
#include "kernel_layout.h"
#include "program.h"

/* ---- snippets ---- */

static u32 guard(struct program *p)
{
	store_word(p, RESUME, 0);
	return p->at - 4;
}

static void guarded(struct program *p, u32 where)
{
	memcpy(p->ram + where, &p->at, 4);
}

static void branches(struct program *p)
{
	u32 at, start;

	switch (below(p, 6)) {
	case 0: /* jcc over something */
		byte(p, 0x70 | below(p, 16));
		at = p->at++;
		integer_instruction(p);
		if (p->at - at - 1 < 128)
			p->ram[at] = (u8)(p->at - at - 1);
		else
			p->ram[at] = 0;
		break;
	case 1: /* mov ecx, n; ..; loop */
		byte(p, 0xb9);
		word32(p, 1 + below(p, 6));
		start = p->at;
		EMIT(p, "\x48\x01\xc8\x48\xff\xc2");
		byte(p, 0xe0 + below(p, 3));
		byte(p, start - (p->at + 1));
		break;
	case 2:
		EMIT(p,
		     "\xe8\x02\x00\x00\x00\xeb\x05\x48\xff\xc0\xc3\x90"); /* call, jmp; inc, ret */
		break;
	case 3: EMIT(p, "\x48\x8d\x05\x02\x00\x00\x00\xff\xe0"); break; /* lea; jmp rax */
	case 4: EMIT(p, "\xe3\x02\x66\x90"); break;			/* jrcxz */
	default: /* the same code high up, and back */
		load_register(p, 0, HIGH_HALF + p->at + 7 + 2 + 7 + 2);
		EMIT(p, "\xff\xe0");
		at = p->at;
		load_register(p, 1, 0);
		EMIT(p, "\xff\xe1");
		memcpy(p->ram + at + 3, &p->at, 4);
		break;
	}
}

static void string_instruction(struct program *p)
{
	static const u8 ops[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
	u32 back = guard(p), repeat = below(p, 3);
	u8 op = ops[below(p, sizeof(ops))];
	bool good = (op & 0xfe) ==
		    0xa6; /* CMPS: which operand comes first is the processor's affair */

	load_register(p, CPU_RSI, good ? BUFFER_AT + below(p, 0x8000) : any_data_address(p));
	load_register(p, CPU_RDI, good ? BUFFER_AT + below(p, 0x8000) : any_data_address(p));
	if (repeat)
		load_register(p, CPU_RCX, below(p, 40));
	if (one_in(p, 4))
		byte(p, 0xfd);
	if (one_in(p, 16))
		byte(p, 0x67);
	if (repeat)
		byte(p, 0xf1 + repeat);
	if (one_in(p, 6))
		byte(p, 0x66);
	else if (one_in(p, 2))
		byte(p, 0x48);
	byte(p, op);
	guarded(p, back);
	byte(p, 0xfc);
}

static void exception(struct program *p, bool user)
{
	/* The last two push at CPL 3, which Unicorn does as if it were at CPL 0. */
	static const u8 ints[] = {INT_KERNEL, INT_TRAP, INT_IST, INT_ABSENT,	0xf0,
				  13,	      14,	8,	 INT_USER_CODE, INT_CONFORMING};
	u32 back = guard(p);

	switch (below(p, 9)) {
	case 0: EMIT(p, "\x0f\x0b"); break;
	case 1: EMIT(p, "\x31\xc9\xf7\xf1"); break; /* div by 0 */
	case 2: EMIT(p, "\xcc"); break;
	case 3: /* jump to where no code can be */
		load_register(p, 0,
			      (const u64[]){ABSENT_AT, NO_EXECUTE_AT, RESERVED_AT,
					    0x123456789000}[below(p, 4)] +
				      below(p, 16));
		EMIT(p, "\xff\xe0");
		break;
	case 4: /* a frame that is not there */
		load_register(p, CPU_RBP, ABSENT_AT + 64);
		EMIT(p, "\x48\x89\x45\x00");
		break;
	case 5: /* push where nothing can be written */
		load_register(p, CPU_RSP, one_in(p, 2) ? ABSENT_AT + 64 : READ_ONLY_AT + 64);
		EMIT(p, "\x50");
		break;
	case 6: EMIT(p, "\x0f\xff"); break;
	default:
		byte(p, 0xcd);
		byte(p, ints[below(p, sizeof(ints) - 2 * user)]);
		break;
	}
	guarded(p, back);
	if (one_in(p, 2))
		load_register(p, CPU_RSP, KERNEL_STACK);
}

/* Of a code segment or of none; system segments are gates and tasks, which are not implemented. */
static u32 any_far_selector(struct program *p)
{
	static const u8 selectors[] = {0,	   SEL_KERNEL,	  SEL_DATA,	  0x20,
				       SEL_ABSENT, SEL_READ_ONLY, SEL_CONFORMING, SEL_EXECUTE_ONLY,
				       0x0c,	   0x78};

	return selectors[below(p, sizeof(selectors))];
}

static u32 any_selector(struct program *p)
{
	static const u16 selectors[] = {0,
					3,
					SEL_KERNEL,
					SEL_DATA,
					SEL_USER_DATA,
					SEL_USER,
					SEL_TSS,
					SEL_LDT,
					SEL_ABSENT,
					SEL_READ_ONLY,
					SEL_CONFORMING,
					SEL_EXECUTE_ONLY,
					SEL_BASED,
					SEL_TSS2,
					0x0c,
					0x0f,
					0x17,
					0x24,
					0x98,
					SEL_DATA | 3,
					SEL_KERNEL32};

	return selectors[below(p, sizeof(selectors) / sizeof(selectors[0]))];
}

static void segments(struct program *p, bool user)
{
	static const u8 loadable[] = {0, 2, 3, 4, 5};
	u32 back = guard(p), selector;

	selector = any_selector(p);
	if (selector == 3) /* Unicorn would load it into SS */
		selector = 0;
	byte(p, 0xb8); /* mov eax, selector */
	word32(p, selector);
	switch (below(p, 14)) {
	case 0:
	case 1:
	case 2: /* mov sreg, eax */
		byte(p, 0x8e);
		byte(p, 0xc0 | loadable[below(p, 5)] << 3);
		break;
	case 3: /* push rax; pop fs or gs; push gs */
		EMIT(p, "\x50\x0f");
		byte(p, 0xa1 | below(p, 2) << 3);
		EMIT(p, "\x0f\xa8\x59");
		break;
	case 4: /* mov rcx, sreg; mov [mem], sreg */
		EMIT(p, "\x48\x8c");
		byte(p, 0xc1 | below(p, 6) << 3);
		break;
	case 5: EMIT(p, "\x0f\x00\xd0\x0f\x00\xc1"); break; /* lldt ax; sldt ecx */
	case 6: /* ltr ax; str rcx; a null selector would do in Unicorn */
		EMIT(p, "\x0d\x08\x00\x00\x00\x0f\x00\xd8\x48\x0f\x00\xc9");
		break;
	case 7: EMIT(p, "\x0f\x02\xc8"); break;	    /* lar ecx, eax */
	case 8: EMIT(p, "\x48\x0f\x03\xd0"); break; /* lsl rdx, rax */
	case 9: EMIT(p, "\x0f\x00\xe0"); break;	    /* verr */
	case 10: EMIT(p, "\x0f\x00\xe8"); break;    /* verw */
	case 11:				    /* lss, lfs, lgs from memory */
		store_word(p, SCRATCH, below(p, 1 << 20));
		EMIT(p, "\x89\x04\x25");
		word32(p, SCRATCH + 4);
		EMIT(p, "\x0f");
		byte(p, (const u8[]){0xb2, 0xb4, 0xb5}[below(p, 3)]);
		EMIT(p, "\x0c\x25");
		word32(p, SCRATCH);
		break;
	case 12: /* sgdt, sidt */
		EMIT(p, "\x0f\x01");
		byte(p, one_in(p, 2) ? 0x04 : 0x0c);
		byte(p, 0x25);
		word32(p, SCRATCH);
		break;
	default: /* an LDT that counts */ EMIT(p, "\xb8\x48\x00\x00\x00\x0f\x00\xd0"); break;
	}
	guarded(p, back);
	if (!user)
		EMIT(p, "\xb8\x10\x00\x00\x00\x8e\xd0"); /* mov ss, 0x10 */
}

static void write_msr(struct program *p, u32 msr, u64 value)
{
	byte(p, 0xb9);
	word32(p, msr);
	byte(p, 0xb8);
	word32(p, value);
	byte(p, 0xba);
	word32(p, value >> 32);
	EMIT(p, "\x0f\x30");
}

static void registers_of_the_system(struct program *p, bool user)
{
	static const u32 bases[] = {0xc0000100, 0xc0000101, 0xc0000102};
	static const u64 values[] = {0, 8, 0x40, 0x10000, 0xffffffff80000000, 0x7fffffff0000};
	u32 back = guard(p), msr = bases[below(p, 3)];

	switch (below(p, user ? 13 : 14)) {
	case 0: write_msr(p, msr, values[below(p, 6)]); break;
	case 1: /* rdmsr */
		byte(p, 0xb9);
		word32(p, one_in(p, 2) ? msr : 0xc0000080 + below(p, 5));
		EMIT(p, "\x0f\x32");
		break;
	case 2: EMIT(p, "\x0f\x01\xf8"); break; /* swapgs */
	case 3:					/* CR0: MP, TS, WP, NE */
		EMIT(p, "\x0f\x20\xc0\x48\x0f\xba");
		byte(p, 0xe8 | below(p, 3) << 3);
		byte(p, (const u8[]){1, 3, 16, 5}[below(p, 4)]);
		EMIT(p, "\x0f\x22\xc0");
		break;
	case 4: /* CR4: TSD, PCE, PGE, OSFXSR, FSGSBASE */
		EMIT(p, "\x0f\x20\xe0\x48\x0f\xba");
		byte(p, 0xe8 | below(p, 3) << 3);
		byte(p, (const u8[]){2, 8, 7, 9, 16}[below(p, 5)]);
		EMIT(p, "\x0f\x22\xe0");
		break;
	case 5: EMIT(p, "\x0f\x06"); break;			    /* clts */
	case 6: EMIT(p, "\x0f\x01\xe1"); break;			    /* smsw ecx */
	case 7: EMIT(p, "\xb8\x0b\x00\x00\x00\x0f\x01\xf0"); break; /* lmsw 0xb */
	case 8: EMIT(p, "\x0f\x22\xd0\x0f\x20\xd1"); break;	    /* mov cr2, rax; mov rcx, cr2 */
	case 9: /* rdfsbase.. wrgsbase, with FSGSBASE or without */
		load_register(p, 0, values[below(p, 6)]);
		byte(p, 0xf3);
		byte(p, 0x48);
		EMIT(p, "\x0f\xae");
		byte(p, 0xc0 | below(p, 4) << 3);
		break;
	case 10: EMIT(p, "\x0f\xa2"); break;				       /* cpuid */
	case 11: write_msr(p, 0xc0000084, below(p, 1 << 12) & ~0x100u); break; /* SFMASK */
	case 12: EMIT(p, "\x0f\x23\xc0\x0f\x21\xc9"); break; /* mov dr0, rax; mov rcx, dr1 */
	default: /* in al; in ax, dx; out: Unicorn lets all code do that */
		EMIT(p, "\xe4\x40\x66\xed\xe6\x80");
		break;
	}
	guarded(p, back);
}

/* Another entry for a page of the playground, and an access to it. */
static void page_tables(struct program *p)
{
	static const u64 bits[] = {0, 1, 3, 5, 7, 7, 7 | PTE_NX, 0x67, 0x21, 0x40007};
	u32 page = below(p, 8), back = guard(p);
	u32 at = PLAYGROUND_AT + (page << 12);
	u64 entry = (PLAYGROUND_AT + ((u64)below(p, 8) << 12)) | bits[below(p, 9)];

	load_register(p, 0, entry);
	load_register(p, 1, GIGANTIC_AT + (one_in(p, 4) ? PT_B : PT) + 8 * (at >> 12));
	EMIT(p, "\x48\x89\x01"); /* mov [rcx], rax */
	if (one_in(p, 4)) {
		EMIT(p, "\x0f\x20\xd8\x0f\x22\xd8"); /* mov rax, cr3; mov cr3, rax */
	} else {
		EMIT(p, "\x0f\x01\x3c\x25"); /* invlpg */
		word32(p, at + below(p, 4096));
	}
	switch (below(p, 4)) {
	case 0: EMIT(p, "\x8b\x14\x25"); break;	 /* mov edx, [] */
	case 1: EMIT(p, "\x01\x14\x25"); break;	 /* add [], edx */
	case 2: EMIT(p, "\xf6\x04\x25"); break;	 /* test byte [], imm8 */
	default: EMIT(p, "\x89\x14\x25"); break; /* mov [], edx */
	}
	word32(p, at + below(p, 4093));
	if (p->ram[p->at - 7] == 0xf6)
		byte(p, 0x55);
	guarded(p, back);
}

static void address_space(struct program *p)
{
	u32 back = guard(p);

	load_register(p, 0, one_in(p, 2) ? PML4 : PML4_B);
	EMIT(p, "\x0f\x22\xd8"); /* mov cr3, rax */
	load_register(p, 0, PRIVATE_AT + 16 * below(p, 32));
	if (one_in(p, 2))
		EMIT(p, "\xff\xd0"); /* call rax */
	else
		EMIT(p, "\x48\x8b\x08\x48\x01\x48\x08"); /* mov rcx, [rax]; add [rax + 8], rcx */
	guarded(p, back);
}

/* Code is written and executed: in this page ahead, in the heap, in both address spaces' pages. */
static void written_code(struct program *p)
{
	u32 back = guard(p), at;

	if (one_in(p, 2)) { /* the immediate of an instruction ahead */
		EMIT(p, "\xc7\x04\x25");
		at = p->at;
		word32(p, 0);
		word32(p, random_word(p));
		for (u32 n = below(p, 4); n; n--)
			integer_instruction(p);
		byte(p, 0xb8 | below(p, 3));
		memcpy(p->ram + at, &p->at, 4);
		word32(p, 0);
	} else { /* inc edx; lea eax, [rax + n]; ret */
		u32 to = one_in(p, 2) ? BUFFER_AT + 0x2f000 + below(p, 4000)
				      : LARGE_USER_AT + below(p, 10000);

		load_register(p, 1, 0xc300408dc2ffull | (u64)below(p, 256) << 32);
		EMIT(p, "\x48\x89\x0c\x25");
		word32(p, to);
		load_register(p, 3, to);
		EMIT(p, "\xff\xd3");
	}
	guarded(p, back);
}

static void flags_of_the_system(struct program *p)
{
	u32 back = guard(p);

	switch (below(p, 5)) {
	case 0: EMIT(p, "\xfa"); break;
	case 1: EMIT(p, "\xfb\x90"); break;
	case 2: EMIT(p, "\x9c\x58"); break;
	case 3: /* popf of anything but TF, VM and RF */
		byte(p, 0x68);
		word32(p, random_word(p) & 0x00247ed5u & (one_in(p, 3) ? ~0u : ~0x4000u));
		if (one_in(p, 4))
			byte(p, 0x66);
		byte(p, 0x9d);
		if (one_in(p, 2))
			EMIT(p, "\x9c\x59");
		break;
	default: EMIT(p, "\x66\x9c\x66\x58"); break;
	}
	guarded(p, back);
	EMIT(p, "\x68\x02\x02\x00\x00\x9d"); /* NT, AC off */
}

static void frame_instructions(struct program *p)
{
	u32 back = guard(p);

	switch (below(p, 4)) {
	case 0: /* enter n, level; leave */
		load_register(p, CPU_RBP, BUFFER_AT + 64 + below(p, 0x20000));
		byte(p, 0xc8);
		word16(p, below(p, 200));
		byte(p, below(p, 4));
		EMIT(p, "\xc9");
		break;
	case 1: EMIT(p, "\x66\x50\x66\x59"); break;
	case 2: /* xlat */
		load_register(p, 3, any_data_address(p));
		EMIT(p, "\xd7");
		break;
	default: EMIT(p, "\x54\x5a\xff\x34\x24\x8f\x04\x24\x59"); break; /* push rsp; pop rdx; .. */
	}
	guarded(p, back);
	load_register(p, CPU_RSP, KERNEL_STACK - 8 * below(p, 100));
}

/* An IRETQ frame; the address is patched. */
static u32 return_frame(struct program *p, u32 cs, u32 ss, u32 rsp, u32 flags)
{
	u32 at;

	EMIT(p, "\x6a");
	byte(p, ss);
	byte(p, 0x68);
	word32(p, rsp);
	byte(p, 0x68);
	word32(p, flags);
	EMIT(p, "\x6a");
	byte(p, cs);
	byte(p, 0x68);
	at = p->at;
	word32(p, 0);
	EMIT(p, "\x48\xcf");
	memcpy(p->ram + at, &p->at, 4);
	return at;
}

static u32 any_flags(struct program *p)
{
	return 2 | (u32)(random_word(p) & 0x00243ed5u);
}

/* To CPL 3 and back. */
static void user_excursion(struct program *p)
{
	u32 next;

	store_word(p, NEXT, 0);
	next = p->at - 4;
	if (one_in(p, 3)) { /* by SYSRET */
		load_register(p, CPU_R11, any_flags(p));
		load_register(p, CPU_RCX, p->at + 7 + 3);
		EMIT(p, "\x48\x0f\x07");
	} else {
		return_frame(p, SEL_USER, SEL_USER_DATA, USER_STACK, any_flags(p));
	}
	for (u32 n = 1 + below(p, 10); n; n--) {
		u32 back = guard(p);

		switch (below(p, 12)) {
		case 0: segments(p, true); break;
		case 1: registers_of_the_system(p, true); break;
		case 2: exception(p, true); break;
		case 3: string_instruction(p); break;
		case 4: branches(p); break;
		case 5: flags_of_the_system(p); break;
		case 6:
			store_word(p, SYSRET, 1);
			EMIT(p, "\x0f\x05");
			break;
		default: integer_instruction(p); break;
		}
		guarded(p, back);
	}
	if (one_in(p, 2))
		EMIT(p, "\x0f\x05");
	else
		EMIT(p, "\xcd\x80");
	memcpy(p->ram + next, &p->at, 4);
}

/* 32-bit code of long mode, at CPL 0 or 3, back by a far jump or by INT. */
static void compatibility_excursion(struct program *p)
{
	bool user = one_in(p, 2);
	u32 next, back;

	store_word(p, NEXT, 0);
	next = p->at - 4;
	back = guard(p);
	if (user) {
		return_frame(p, SEL_USER32, SEL_USER_DATA, USER_STACK, any_flags(p));
	} else {
		EMIT(p, "\xb8\x10\x00\x00\x00\x8e\xd0"); /* mov ss, 0x10: 32-bit stack */
		EMIT(p, "\x6a\x38\x68");		 /* push 0x38; push ..; lretq */
		word32(p, p->at + 4 + 2);
		EMIT(p, "\x48\xcb");
	}
	for (u32 n = 1 + below(p, 8); n; n--)
		integer_instruction32(p);
	if (user) {
		EMIT(p, "\xcd\x80");
	} else {
		byte(p, 0xea);
		word32(p, p->at + 6);
		word16(p, SEL_KERNEL);
	}
	memcpy(p->ram + next, &p->at, 4);
	guarded(p, back);
	load_register(p, CPU_RSP, KERNEL_STACK);
}

static void far_transfer(struct program *p)
{
	u32 back = guard(p), at;

	switch (below(p, 3)) {
	case 0: /* lretq, to one of the selectors that may do or not */
		byte(p, 0x6a);
		byte(p, one_in(p, 3) ? any_far_selector(p) : SEL_KERNEL);
		byte(p, 0x68);
		word32(p, p->at + 4 + 2);
		EMIT(p, "\x48\xcb");
		break;
	case 1: return_frame(p, SEL_KERNEL, SEL_DATA, KERNEL_STACK, any_flags(p)); break;
	default: /* jmp or call far [SCRATCH], 64-bit offset */
		store_word(p, SCRATCH, 0);
		at = p->at - 4;
		store_word(p, SCRATCH + 8, one_in(p, 3) ? any_far_selector(p) : SEL_KERNEL);
		EMIT(p, "\x48\xff");
		byte(p, one_in(p, 2) ? 0x2c : 0x1c);
		byte(p, 0x25);
		word32(p, SCRATCH);
		memcpy(p->ram + at, &p->at, 4);
		break;
	}
	guarded(p, back);
}

static void several_integers(struct program *p)
{
	u32 back = guard(p);

	for (u32 n = 1 + below(p, 5); n; n--)
		integer_instruction(p);
	guarded(p, back);
}

static void snippet(struct program *p)
{
	switch (below(p, 32)) {
	case 0:
	case 1: branches(p); break;
	case 2:
	case 3: string_instruction(p); break;
	case 4: exception(p, false); break;
	case 5:
	case 6: segments(p, false); break;
	case 7:
	case 8: registers_of_the_system(p, false); break;
	case 9: page_tables(p); break;
	case 10: address_space(p); break;
	case 11: written_code(p); break;
	case 12: flags_of_the_system(p); break;
	case 13: frame_instructions(p); break;
	case 14:
	case 15: user_excursion(p); break;
	case 16: compatibility_excursion(p); break;
	case 17: far_transfer(p); break;
	default: several_integers(p); break;
	}
}

void kernel_program(u64 seed, struct image *image, u8 *ram)
{
	struct program p = {.seed = seed * 0x9e3779b97f4a7c15ull | 1, .ram = ram};
	u32 snippets;

	memset(ram, 0, lockstep_ram_size());
	kernel_image(&p);
	p.at = CODE + (one_in(&p, 2) ? 0xff0 : 0);
	image->start = (struct cpu_start){
		.rip = p.at,
		.rsp = KERNEL_STACK,
		.rflags = 2,
		.cr0 = 0x80010033,
		.cr3 = PML4,
		.cr4 = 0x20,
		.efer = 0xd01,
		.cs = {0, ~0u, SEL_KERNEL, 0xa09b},
		.ss = {0, ~0u, SEL_DATA, 0xc093},
		.ds = {0, ~0u, SEL_DATA, 0xc093},
		.gdt_base = GDT,
		.gdt_limit = GDT_LIMIT,
		.idt_base = IDT,
		.idt_limit = IDT_LIMIT,
	};
	image->tr = (struct cpu_segment){TSS, 0x67, SEL_TSS, 0x8b};
	image->tables = PML4;
	image->tables_end = CODE;
	image->seed = random_word(&p);
	write_msr(&p, 0xc0000081, (u64)0x13 << 48 | (u64)SEL_KERNEL << 32);
	write_msr(&p, 0xc0000082, SYSCALL_ENTRY);
	for (snippets = 20 + below(&p, 400); snippets && p.at < CODE_END; snippets--)
		snippet(&p);
	EMIT(&p, "\xcd\x81");
}
