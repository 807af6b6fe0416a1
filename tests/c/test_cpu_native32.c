// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_native32.c - pieces of 32-bit code on the host CPU, in compatibility mode, and in the
 * interpreter, in protected mode: the same registers, defined flags and memory.
 *
 * The bytes are the same on both sides, at the same addresses: AREA of this process and of guest RAM.
 * The host part runs in a child; a host that lets no process run 32-bit code makes the test do
 * nothing.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_cpu_guest.h"

#define AREA 0x300000u
#define AREA_BYTES 0x5000u
#define CONTEXT (AREA + 0x1000)	    /* 8 registers, EFLAGS */
#define AFTER (CONTEXT + 0x40)	    /* likewise, when it is done */
#define SAVED_RSP (CONTEXT + 0x80)  /* host only */
#define ENTRY (CONTEXT + 0x88)	    /* host only: far pointer to the code */
#define ENTER_STUB (CONTEXT + 0xc0) /* host only, 64-bit code */
#define LEAVE_STUB (CONTEXT + 0xe0)
#define DATA (AREA + 0x2000)
#define STACK (AREA + 0x4800)
#define CS32 0x23 /* of Linux */
#define CS64 0x33
#define DS32 0x2b

#define CF 1u
#define PF 4u
#define AF 0x10u
#define ZF 0x40u
#define SF 0x80u
#define OF 0x800u
#define ALL (CF | PF | AF | ZF | SF | OF)

struct piece {
	const char *name;
	const u8 *from, *end;
	u32 flags; /* that are defined after it */
};

#define PIECE(name, defined, text)                                                                 \
	CODE(name, ".code32\n" text "\n.code64");                                                  \
	static const struct piece piece_##name = {#name, code_##name, code_##name##_end, defined}

PIECE(arithmetic, ALL, "addl %ecx, %eax\n adcl $0x12345678, %edx\n sbbb %ah, %dl\n subw %ax, %cx");
PIECE(arithmetic_memory, ALL, "addl %eax, (%ebx)\n adcb $7, 3(%esi)\n subw %dx, 8(%edi)");
PIECE(logic, ALL & ~AF,
      "andl 4(%ebx), %eax\n orb %ch, %dh\n xorl %edx, 16(%edi)\n testl %eax, %edx");
PIECE(inc_dec, ALL, "incl %eax\n decl %ecx\n incw %dx\n decb %ah\n incl (%esi)\n negl %edx");
PIECE(alias_82, ALL, ".byte 0x82, 0xc0, 0x81\n .byte 0x82, 0x2b, 0x05");
PIECE(shifts, ALL & ~(AF | OF), "shll $5, %eax\n sarl %cl, %edx\n rorw $3, %cx\n incl %ecx");
PIECE(multiply, CF | OF, "mull %ecx\n imull $-7, %edx, %ecx\n imull (%ebx), %eax");
PIECE(divide, 0, "xorl %edx, %edx\n orl $1, %ecx\n divl %ecx\n movl %eax, (%edi)");
PIECE(stack32, ALL,
      "pushl %eax\n pushl (%ebx)\n pushl $-3\n pushw %cx\n popw %dx\n popl %eax\n"
      "popl 4(%esi)\n popl 4(%esp)\n cmpl %eax, %edx");
PIECE(push_esp, ALL, "pushl %esp\n popl %eax\n pushl %eax\n popl %esp\n cmpl $0, %eax");
PIECE(pop_relative, ALL, "pushl $0x55\n popl -0x40(%esp)\n pushw $0x77\n popw -0x50(%esp)");
PIECE(all_registers, ALL, "pushal\n movl $9, 4(%esp)\n popal\n pushaw\n popaw");
PIECE(frames, ALL, "enter $24, $0\n movl %eax, -8(%ebp)\n leave\n movl %ebp, %ecx");
PIECE(flags_words, ALL, "pushfl\n andl $0xfffffffe, (%esp)\n popfl\n pushfw\n popfw");
PIECE(calls, ALL,
      "call 1f\n jmp 2f\n 1: addl $3, %eax\n ret $0\n 2: call 3f\n 3: popl %edx\n"
      "addl $4f-3b, %edx\n jmp *%edx\n hlt\n 4: decl %ecx");
PIECE(call_memory, ALL,
      "call 1f\n 1: popl %edx\n addl $2f-1b, %edx\n movl %edx, (%ebx)\n"
      "call *(%ebx)\n jmp 3f\n 2: incl %eax\n ret\n 3: xorl %edx, %edx\n incl %edx");
PIECE(loops, ALL,
      "movl $5, %ecx\n 1: addl %ecx, %eax\n loop 1b\n jecxz 2f\n incl %eax\n 2: incl %edx");
PIECE(conditions, ALL,
      "cmpl %ecx, %eax\n setg %dl\n cmovbl %ecx, %eax\n seto (%ebx)\n adcl $0, %eax");
PIECE(extension, ALL,
      "movzbl %ah, %edx\n movswl (%esi), %ecx\n cwtl\n cltd\n movsbw %al, %ax\n"
      "cmpl %eax, %edx");
PIECE(addresses, ALL,
      "leal 7(%ebx,%ecx,4), %eax\n leaw 3(%esi), %dx\n addr16 leal 5(%bx,%si), %ecx\n"
      "movl %ds:8(,%edi,1), %ebp\n cmpl %eax, %ecx");
PIECE(strings, ALL, "cld\n movl $6, %ecx\n rep movsl\n stosb\n lodsw\n movl $9, %ecx\n repe cmpsb");
PIECE(scan, ALL, "cld\n movl $0x100, %ecx\n movb $0x41, %al\n repne scasb");
PIECE(exchange, ALL,
      "xchgl %eax, (%ebx)\n xchgl %ecx, %eax\n xaddl %edx, (%esi)\n"
      "lock cmpxchgl %ecx, (%edi)\n bswapl %ecx");
PIECE(cmpxchg8b, ALL, "movl 4(%ebx), %edx\n movl (%ebx), %eax\n lock cmpxchg8b (%ebx)");
PIECE(bits, CF, "btsl %ecx, %eax\n andl $0xff, %ecx\n btcl %ecx, (%ebx)\n btrl $9, (%esi)");
PIECE(bit_scans, ZF, "orl $0x100, %eax\n bsfl %eax, %ecx\n bsrl %eax, %edx");
PIECE(double_shift, CF | SF | ZF | PF, "shldl $7, %edx, %eax\n shrdl $3, %ecx, (%ebx)");
PIECE(table_byte, ALL, "movzbl %al, %eax\n xlat\n cmpb $3, %al");
PIECE(single_flags, ALL, "stc\n cmc\n lahf\n xorb $0x81, %ah\n sahf\n clc");
PIECE(offsets, ALL, "movl 0x302010, %eax\n movb %al, 0x302020\n movw %ax, 0x302030\n cmpb $1, %al");

static const struct piece *const pieces[] = {
	&piece_arithmetic,   &piece_arithmetic_memory,
	&piece_logic,	     &piece_inc_dec,
	&piece_alias_82,     &piece_shifts,
	&piece_multiply,     &piece_divide,
	&piece_stack32,	     &piece_push_esp,
	&piece_pop_relative, &piece_all_registers,
	&piece_frames,	     &piece_flags_words,
	&piece_calls,	     &piece_call_memory,
	&piece_loops,	     &piece_conditions,
	&piece_extension,    &piece_addresses,
	&piece_strings,	     &piece_scan,
	&piece_exchange,     &piece_cmpxchg8b,
	&piece_bits,	     &piece_bit_scans,
	&piece_double_shift, &piece_table_byte,
	&piece_single_flags, &piece_offsets,
};
#define NR_PIECES (sizeof(pieces) / sizeof(pieces[0]))
#define ROUNDS 40

static u64 seed = 88172645463325252ull;

static u32 random32(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)(seed >> 16);
}

static u8 *put(u8 *to, const char *bytes, unsigned int n, u32 value)
{
	memcpy(to, bytes, n);
	memcpy(to + n, &value, sizeof(value));
	return to + n + sizeof(value);
}

/* Load the registers, run the piece, store them, end: an image of AREA in @area. */
static void build(u8 *area, const struct piece *p)
{
	u8 *to = area;
	u32 address;
	u16 selector = CS32;

	to = put(to, "\xbc", 1, STACK);
	to = put(to, "\xff\x35", 2, CONTEXT + 32);
	*to++ = 0x9d; /* POPF */
	for (unsigned int r = 0; r < 8; r++) {
		char load[2] = {(char)0x8b, (char)(0x05 | r << 3)};

		if (r != 4)
			to = put(to, load, 2, CONTEXT + 4 * r);
	}
	memcpy(to, p->from, (size_t)(p->end - p->from));
	to += p->end - p->from;
	for (unsigned int r = 0; r < 8; r++) {
		char store[2] = {(char)0x89, (char)(0x05 | r << 3)};

		to = put(to, store, 2, AFTER + 4 * r);
	}
	to = put(to, "\xbc", 1, STACK);
	*to++ = 0x9c; /* PUSHF */
	to = put(to, "\x8f\x05", 2, AFTER + 32);
	to = put(to, "\xea", 1, LEAVE_STUB);
	memcpy(to, (const u16[]){CS64}, 2);

	/* mov %rsp, SAVED_RSP; ljmp *ENTRY; and back: mov SAVED_RSP, %rsp; ret */
	to = put(area + (ENTER_STUB - AREA), "\x48\x89\x24\x25", 4, SAVED_RSP);
	put(to, "\xff\x2c\x25", 3, ENTRY);
	to = put(area + (LEAVE_STUB - AREA), "\x48\x8b\x24\x25", 4, SAVED_RSP);
	*to = 0xc3;
	address = AREA;
	memcpy(area + (ENTRY - AREA), &address, 4);
	memcpy(area + (ENTRY - AREA) + 4, &selector, 2);
}

static void randomize(u8 *area)
{
	u32 *context = (u32 *)(void *)(area + (CONTEXT - AREA));
	u32 *data = (u32 *)(void *)(area + (DATA - AREA));

	for (unsigned int k = 0; k < 0x400; k++)
		data[k] = random32();
	for (unsigned int r = 0; r < 8; r++)
		context[r] = random32();
	context[CPU_RBX] = DATA + 0x200 + (random32() & 0x3f);
	context[CPU_RSI] = DATA + 0x400 + (random32() & 0x3f);
	context[CPU_RDI] = DATA + 0x600 + (random32() & 0x3f);
	context[CPU_RBP] = DATA + 0x800;
	context[8] = 2 | (random32() & ALL);
}

/* 64-bit code takes more registers than the ABI lets a callee have. */
static void run_on_host(void)
{
	__asm__ volatile(
		"push %%rbp\n push %%rbx\n mov %%ds, %%r12d\n mov %1, %%ds\n mov %1, %%es\n"
		"call *%0\n mov %%r12d, %%ds\n mov %%r12d, %%es\n cld\n"
		"pop %%rbx\n pop %%rbp"
		:
		: "a"((u64)ENTER_STUB), "d"(DS32)
		: "memory", "cc", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
		  "r14", "r15");
}

/* In a child, on memory that is shared with it. False: the host does not do it. */
static bool host_runs(void)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		alarm(5);
		run_on_host();
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status == 0;
}

static void interpret(struct guest *g)
{
	const u16 hlt = 0xf4;
	u8 *to = g->ram + AREA;

	/* The far jump at the end becomes HLT. */
	for (u8 *at = to; at < to + 0x1000 - 7; at++) {
		u32 target = LEAVE_STUB;

		if (at[0] == 0xea && !memcmp(at + 1, &target, 4))
			memcpy(at, &hlt, 1);
	}
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
}

static struct guest *protected_new(void)
{
	struct guest *g = guest_new();

	g->start.rip = AREA;
	g->start.cr0 = 0x11;
	g->start.cr3 = g->start.cr4 = g->start.efer = 0;
	g->start.cs = (struct cpu_segment){0, ~0u, KERNEL_CS, 0xc09b};
	return g;
}

static void compare(const struct guest *g, const u8 *area, const struct piece *p)
{
	const u32 *host = (const u32 *)(const void *)(area + (AFTER - AREA));
	const u32 *own = (const u32 *)(const void *)(g->ram + AFTER);
	bool before = test_failed;

	test_failed = false;
	for (unsigned int r = 0; r < 8; r++)
		EXPECT_EQ(host[r], own[r]);
	EXPECT_EQ(host[8] & p->flags, own[8] & p->flags);
	EXPECT_EQ(0, memcmp(area + (DATA - AREA), g->ram + DATA, 0x2000));
	if (test_failed)
		printf("# in %s\n", p->name);
	test_failed |= before;
}

/* False: the host ran no such code. Memory written by the test drops no blocks: a guest each. */
static bool compare_piece(u8 *area, const struct piece *p)
{
	struct guest *g = protected_new();
	bool ran = true;

	for (unsigned int n = 0; n < ROUNDS && ran && !test_failed; n++) {
		memset(area, 0, AREA_BYTES);
		build(area, p);
		randomize(area);
		memcpy(g->ram + AREA, area, AREA_BYTES);
		ran = host_runs();
		if (!ran)
			break;
		interpret(g);
		compare(g, area, p);
	}
	guest_free(g);
	return ran;
}

TEST(code_of_32_bits_as_on_the_host)
{
	u8 *area = mmap((void *)(uintptr_t)AREA, AREA_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	unsigned int done = 0;

	if (area != (u8 *)(uintptr_t)AREA) {
		printf("# no memory at %#x: nothing compared\n", AREA);
		return;
	}
	while (done < NR_PIECES && !test_failed && compare_piece(area, pieces[done]))
		done++;
	if (done < NR_PIECES) {
		printf("# the host runs no 32-bit code, or not %s\n", pieces[done]->name);
		test_failed |= done != 0; /* not the first: it is this piece */
	}
	printf("# %u of %u pieces compared\n", done, (unsigned int)NR_PIECES);
	munmap(area, AREA_BYTES);
}

TEST_MAIN()
