/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_native.c - random integer instructions on the interpreter and on the processor that the
 * test runs on: same registers, same memory, same flags where the architecture defines them.
 *
 * Code and data stand at the same virtual address in both. RBP always points into the data, RSP
 * into a stack beside it. After each instruction the flags are logged; after one that leaves flags
 * undefined, a CMP defines them again.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "test_cpu_guest.h"

#define BUFFER_AT 0x10000000ull
#define BUFFER_SIZE 0x200000u
#define BUFFER_PA 0x600000ull
#define IN_AT (BUFFER_AT + 0x1000)  /* initial registers */
#define OUT_AT (BUFFER_AT + 0x1100) /* final registers */
#define HOST_RSP_AT (BUFFER_AT + 0x1200)
#define LOG_AT (BUFFER_AT + 0x2000)
#define DATA_FROM (BUFFER_AT + 0x10000)
#define DATA_MIDDLE (BUFFER_AT + 0x18000)
#define NATIVE_STACK (BUFFER_AT + 0x30000)
#define STREAM_AT (BUFFER_AT + 0x100000)

#define STREAM_INSNS 60
#ifndef ROUNDS
#define ROUNDS 800
#endif

#define F_CF 0x001u
#define F_PF 0x004u
#define F_AF 0x010u
#define F_ZF 0x040u
#define F_SF 0x080u
#define F_OF 0x800u
#define F_ALL (F_CF | F_PF | F_AF | F_ZF | F_SF | F_OF)

struct stream {
	u8 *at;
	u64 seed;
	u32 nr_log;
	u32 mask[STREAM_INSNS * 2];  /* defined flags of each log entry */
	u32 start[STREAM_INSNS * 2]; /* offset of its instruction */
	u8 *first;
};

static u32 rnd(struct stream *s, u32 n)
{
	s->seed = s->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(s->seed >> 33) % n;
}

static void byte(struct stream *s, unsigned int v)
{
	*s->at++ = (u8)v;
}

static void bytes(struct stream *s, u64 v, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++)
		byte(s, v >> (8 * k) & 0xff);
}

/* mov reg, [abs] and back */
static void move_absolute(struct stream *s, unsigned int reg, u64 address, bool store)
{
	byte(s, 0x48 | (reg & 8 ? 4 : 0));
	byte(s, store ? 0x89 : 0x8b);
	byte(s, (reg & 7) << 3 | 4);
	byte(s, 0x25);
	bytes(s, address, 4);
}

static void log_flags(struct stream *s, u32 mask, u8 *start)
{
	s->mask[s->nr_log] = mask;
	s->start[s->nr_log] = (u32)(start - s->first);
	byte(s, 0x9c); /* pushfq */
	byte(s, 0x8f); /* pop [abs] */
	byte(s, 0x04);
	byte(s, 0x25);
	bytes(s, LOG_AT + 8 * s->nr_log++, 4);
}

static unsigned int any_reg(struct stream *s)
{
	unsigned int reg;

	do {
		reg = rnd(s, 16);
	} while (reg == 4 || reg == 5);
	return reg;
}

/*
 * Prefixes, opcode and ModRM. @size: 0..3. @memory: -1 any, 0 register, 1 memory. Byte registers 4..7
 * are SPL.. with REX and AH.. without: SPL and BPL are avoided.
 */
static void operation(struct stream *s, unsigned int size, bool byte_operand, const u8 *op,
		      unsigned int op_bytes, unsigned int reg, bool reg_is_operand, int memory,
		      u8 prefix)
{
	bool mem = memory < 0 ? rnd(s, 3) == 0 : memory;
	unsigned int rm = any_reg(s);
	unsigned int rex = size == 3 ? 0x48 : 0;

	if (prefix)
		byte(s, prefix);
	if (size == 1)
		byte(s, 0x66);
	if (reg & 8)
		rex |= 0x44;
	if (!mem && (rm & 8))
		rex |= 0x41;
	if (!mem && byte_operand && rm >= 4 && rm < 8)
		rm = rex ? 6 + (rm & 1) : rm;
	if (byte_operand && reg_is_operand && reg >= 4 && reg < 8)
		reg = rex ? 6 + (reg & 1) : reg;
	/* AH..BH without REX are fine; CH and DH belong to RCX and RDX. */
	if (rex)
		byte(s, rex);
	for (unsigned int k = 0; k < op_bytes; k++)
		byte(s, op[k]);
	if (!mem) {
		byte(s, 0xc0 | (reg & 7) << 3 | (rm & 7));
	} else if (rnd(s, 2)) {
		byte(s, 0x45 | (reg & 7) << 3); /* [rbp + disp8] */
		byte(s, rnd(s, 256));
	} else {
		byte(s, 0x04 | (reg & 7) << 3); /* [abs] */
		byte(s, 0x25);
		bytes(s, DATA_FROM + rnd(s, 0x7000), 4);
	}
}

static void op1(struct stream *s, unsigned int size, u8 op, unsigned int reg, bool operand,
		int memory)
{
	operation(s, size, size == 0, &op, 1, reg, operand, memory, 0);
}

static void op2(struct stream *s, unsigned int size, bool byte_operand, u8 op, unsigned int reg,
		bool operand, int memory, u8 prefix)
{
	u8 two[2] = {0x0f, op};

	operation(s, size, byte_operand, two, 2, reg, operand, memory, prefix);
}

static void set_register(struct stream *s, unsigned int reg, u64 v)
{
	byte(s, 0x48 | (reg & 8 ? 1 : 0));
	byte(s, 0xb8 | (reg & 7));
	bytes(s, v, 8);
}

static u64 interesting(struct stream *s)
{
	static const u64 edge[] = {0,
				   1,
				   ~0ull,
				   0x7f,
				   0x80,
				   0xff,
				   0x7fff,
				   0x8000,
				   0x7fffffff,
				   0x80000000,
				   0x7fffffffffffffff,
				   0x8000000000000000};

	if (rnd(s, 3) == 0)
		return edge[rnd(s, ARRAY_SIZE(edge))];
	return (u64)rnd(s, 0x7fffffff) << 33 ^ (u64)rnd(s, 0x7fffffff) << 11 ^ rnd(s, 4096);
}

static void string_operation(struct stream *s)
{
	static const u8 ops[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
	u8 op = ops[rnd(s, ARRAY_SIZE(ops))];
	unsigned int size = rnd(s, 4), rep = rnd(s, 3);

	set_register(s, 6, DATA_FROM + 0x800 + rnd(s, 0x6000));
	set_register(s, 7, DATA_FROM + 0x800 + rnd(s, 0x6000));
	set_register(s, 1, rnd(s, 20));
	byte(s, rnd(s, 2) ? 0xfc : 0xfd);
	if (rep)
		byte(s, rep == 1 ? 0xf3 : op == 0xa6 || op == 0xae ? 0xf2 : 0xf3);
	if (size == 1)
		byte(s, 0x66);
	if (size == 3)
		byte(s, 0x48);
	byte(s, op | (size ? 1 : 0));
	byte(s, 0xfc);
}

static void load_effective_address(struct stream *s)
{
	unsigned int reg = any_reg(s), size = 1 + rnd(s, 3), mod = rnd(s, 3);
	unsigned int rex = 0x40 | (size == 3 ? 8 : 0) | (reg & 8 ? 4 : 0) | rnd(s, 4);
	u8 sib = (u8)rnd(s, 256);

	/* RSP as a base differs by what was pushed: it does not, the stack is the same. */
	if (rnd(s, 4) == 0)
		byte(s, 0x67);
	if (size == 1)
		byte(s, 0x66);
	byte(s, rex);
	byte(s, 0x8d);
	byte(s, mod << 6 | (reg & 7) << 3 | 4);
	byte(s, sib);
	if (mod == 1)
		byte(s, rnd(s, 256));
	else if (mod == 2 || (sib & 7) == 5)
		bytes(s, rnd(s, 0x7fffffff) * 2u, 4);
}

/* Emits one instruction (with what prepares it); returns the flags that are defined behind it. */
static u32 instruction(struct stream *s)
{
	static const u8 flag_ops[] = {0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0xfc};
	unsigned int size = rnd(s, 4), reg = any_reg(s), op, count;
	bool b = size == 0;

	switch (rnd(s, 22)) {
	case 0:
	case 1:
		op1(s, size, (u8)(rnd(s, 8) << 3 | rnd(s, 2) << 1 | !b), reg, true, -1);
		return F_ALL;
	case 2:
		op = rnd(s, 8);
		if (rnd(s, 2) && !b) {
			op1(s, size, 0x83, op, false, -1);
			byte(s, rnd(s, 256));
		} else {
			op1(s, size, 0x80 | !b, op, false, -1);
			bytes(s, interesting(s), b ? 1 : size == 1 ? 2 : 4);
		}
		return F_ALL;
	case 3: op1(s, size, 0x84 | !b, reg, true, -1); return F_ALL & ~F_AF;
	case 4: op1(s, size, 0x88 | rnd(s, 2) << 1 | !b, reg, true, -1); return F_ALL;
	case 5: op1(s, size, 0x86 | !b, reg, true, -1); return F_ALL;
	case 6: op2(s, size, b, 0xc0 | !b, reg, true, -1, 0); return F_ALL;
	case 7:
		/* Whether a failed CMPXCHG clears the upper half of a 32-bit register is not said. */
		op2(s, size, b, 0xb0 | !b, reg, true, size == 2 ? 1 : -1, 0);
		return F_ALL;
	case 8: op1(s, size, 0xfe | !b, rnd(s, 2), false, -1); return F_ALL;
	case 9: op1(s, size, 0xf6 | !b, 2 + rnd(s, 2), false, -1); return F_ALL;
	case 10: op1(s, size, 0xf6 | !b, 4 + rnd(s, 2), false, -1); return F_CF | F_OF;
	case 11:
		set_register(s, 2, 0);
		set_register(s, 3, 1 + rnd(s, 100000));
		set_register(s, 0, size == 0 ? rnd(s, 100) : interesting(s));
		if (rnd(s, 2)) {
			if (size == 0)
				byte(s, 0x0f), byte(s, 0xb6), byte(s, 0xc0); /* movzx eax, al */
			if (size == 0)
				set_register(s, 3, 1 + rnd(s, 200));
			if (size == 1)
				set_register(s, 3, 1 + rnd(s, 60000));
			if (size == 1)
				byte(s, 0x66);
			if (size == 3)
				byte(s, 0x48);
			byte(s, 0xf6 | !b);
			byte(s, 0xf3); /* div (e)bx */
			return 0;
		}
		size = 2 + (size & 1);
		if (size == 3)
			byte(s, 0x48);
		byte(s, 0x99); /* cdq */
		set_register(s, 3, 2 + rnd(s, 100000));
		if (rnd(s, 2))
			bytes(s, 0xdbf748, 3); /* neg rbx */
		if (size == 3)
			byte(s, 0x48);
		byte(s, 0xf7);
		byte(s, 0xfb); /* idiv rbx */
		return 0;
	case 12:
		op = rnd(s, 8);
		count = rnd(s, 70);
		op1(s, size, 0xc0 | !b, op, false, -1);
		byte(s, count);
		break;
	case 13:
		op = rnd(s, 8);
		count = rnd(s, 70);
		set_register(s, 1, count);
		op1(s, size, 0xd2 | !b, op, false, -1);
		break;
	case 14:
		op1(s, size, 0xd0 | !b, op = rnd(s, 8), false, -1);
		return op == 6 || op >= 4 ? F_ALL & ~F_AF : F_ALL;
	case 15:
		size = 1 + rnd(s, 3);
		count = rnd(s, size == 1 ? 16 : 64);
		op2(s, size, false, rnd(s, 2) ? 0xa4 : 0xac, reg, true, -1, 0);
		byte(s, count);
		count &= size == 3 ? 63 : 31;
		return count == 0 ? F_ALL : count == 1 ? F_ALL & ~F_AF : F_ALL & ~(F_AF | F_OF);
	case 16:
		size = 1 + rnd(s, 3);
		if (rnd(s, 2)) {
			op2(s, size, false, 0xba, 4 + rnd(s, 4), false, -1, 0);
			byte(s, rnd(s, 256));
		} else {
			op2(s, size, false, (u8)(0xa3 | rnd(s, 4) << 3), reg, true,
			    size == 1 ? -1 : 0, 0);
		}
		return F_CF | F_ZF;
	case 17:
		size = 1 + rnd(s, 3);
		if (rnd(s, 2)) {
			op2(s, size, false, 0xbc | rnd(s, 2), reg, true, -1, 0);
			return F_ZF;
		}
		if (rnd(s, 2) && __builtin_cpu_supports("popcnt")) {
			op2(s, size, false, 0xb8, reg, true, -1, 0xf3);
			return F_ALL;
		}
		if (!__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
			return F_ALL;
		op2(s, size, false, 0xbc | rnd(s, 2), reg, true, -1, 0xf3);
		return F_CF | F_ZF;
	case 18:
		size = 1 + rnd(s, 3);
		op = rnd(s, 6);
		if (op < 4)
			op2(s, size, !(op & 1), (u8)(0xb6 | (op & 1) | (op & 2) << 2), reg, true,
			    op & 1 ? -1 : 1, 0);
		else if (op == 4)
			op1(s, size == 1 ? 2 : size, 0x63, reg, true, -1);
		else
			load_effective_address(s);
		return F_ALL;
	case 19:
		op = rnd(s, 5);
		if (op == 0)
			op2(s, size == 0 ? 2 : size, false, 0x40 | rnd(s, 16), reg, true, -1, 0);
		else if (op == 1)
			op2(s, 0, true, 0x90 | rnd(s, 16), 0, false, -1, 0);
		else if (op == 2)
			byte(s, flag_ops[rnd(s, ARRAY_SIZE(flag_ops))]);
		else if (op == 3)
			byte(s, 0x48 | (reg & 8 ? 1 : 0)), byte(s, 0x0f), byte(s, 0xc8 | (reg & 7));
		else
			bytes(s, rnd(s, 2) ? 0x9848 : 0x9866, 2); /* cdqe, cbw */
		return F_ALL;
	case 20:
		size = 1 + rnd(s, 3);
		op = rnd(s, 3);
		if (op == 0) {
			op2(s, size, false, 0xaf, reg, true, -1, 0);
		} else if (op == 1) {
			op1(s, size, 0x6b, reg, true, -1);
			byte(s, rnd(s, 256));
		} else {
			op1(s, size, 0x69, reg, true, -1);
			bytes(s, interesting(s), size == 1 ? 2 : 4);
		}
		return F_CF | F_OF;
	default:
		if (rnd(s, 2)) {
			string_operation(s);
			return F_ALL;
		}
		/* push a register, pop another */
		byte(s, 0x40 | (reg & 8 ? 1 : 0)), byte(s, 0x50 | (reg & 7));
		reg = any_reg(s);
		byte(s, 0x40 | (reg & 8 ? 1 : 0)), byte(s, 0x58 | (reg & 7));
		return F_ALL;
	}
	/* Shifts: which flags are defined depends on operation and masked count. */
	count &= size == 3 ? 63 : 31;
	if (!count)
		return F_ALL;
	if (op < 4)
		return count == 1 ? F_ALL : F_ALL & ~F_OF;
	if (count >= 8u << size)
		return F_ALL & ~(F_AF | F_OF | F_CF);
	return count == 1 ? F_ALL & ~F_AF : F_ALL & ~(F_AF | F_OF);
}

static void generate(struct stream *s)
{
	for (unsigned int reg = 0; reg < 16; reg++) {
		if (reg != 4)
			move_absolute(s, reg, IN_AT + 8 * reg, false);
	}
	byte(s, 0x9d); /* popfq */
	for (unsigned int n = 0; n < STREAM_INSNS; n++) {
		u8 *start = s->at;
		u32 defined = instruction(s);

		log_flags(s, defined, start);
		if (defined != F_ALL)
			bytes(s, 0xc03948, 3); /* cmp rax, rax */
	}
	for (unsigned int reg = 0; reg < 16; reg++)
		move_absolute(s, reg, OUT_AT + 8 * reg, true);
}

/* Entry: the stack pointer is saved and replaced; the flags to start with are on the new stack. */
static void native_entry(struct stream *s)
{
	move_absolute(s, 4, HOST_RSP_AT, true);
	set_register(s, 4, NATIVE_STACK - 8);
}

static void fill(struct stream *s, u8 *buffer)
{
	for (unsigned int k = 0; k < 0x8000; k++)
		buffer[DATA_FROM - BUFFER_AT + k] = (u8)rnd(s, 256);
	for (unsigned int reg = 0; reg < 16; reg++) {
		u64 v = reg == 5 ? DATA_MIDDLE - 0x4000 : interesting(s);

		memcpy(buffer + (IN_AT - BUFFER_AT) + 8 * reg, &v, 8);
	}
	u64 flags = 2 | (rnd(s, 0x1000) & F_ALL);

	memcpy(buffer + (NATIVE_STACK - 8 - BUFFER_AT), &flags, 8);
}

static void run_native(u8 *code)
{
	/* Everything that the stream may change. */
	__asm__ volatile(
		"push %%rbp\n\tpush %%rbx\n\tpush %%r12\n\tpush %%r13\n\tpush %%r14\n\t"
		"push %%r15\n\tcall *%0\n\tpop %%r15\n\tpop %%r14\n\tpop %%r13\n\tpop %%r12\n\t"
		"pop %%rbx\n\tpop %%rbp\n\tcld"
		: "+a"(code)
		:
		: "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory");
}

static u64 word(const u8 *buffer, u64 va)
{
	u64 v;

	memcpy(&v, buffer + (va - BUFFER_AT), 8);
	return v;
}

static void compare(struct stream *s, const u8 *native, const u8 *guest, u64 seed)
{
	for (u32 n = 0; n < s->nr_log; n++) {
		u64 want = word(native, LOG_AT + 8 * n) & s->mask[n];
		u64 got = word(guest, LOG_AT + 8 * n) & s->mask[n];

		if (want == got)
			continue;
		printf("# seed %" PRIu64 " instruction %u: flags want %" PRIx64 " got %" PRIx64 ":",
		       seed, n, want, got);
		for (u32 k = 0; k < 24; k++)
			printf(" %02x", s->first[s->start[n] + k]);
		printf("\n");
		test_failed = true;
		return;
	}
	for (unsigned int reg = 0; reg < 16; reg++) {
		if (word(native, OUT_AT + 8 * reg) == word(guest, OUT_AT + 8 * reg))
			continue;
		printf("# seed %" PRIu64 " register %u: want %" PRIx64 " got %" PRIx64 "\n", seed,
		       reg, word(native, OUT_AT + 8 * reg), word(guest, OUT_AT + 8 * reg));
		test_failed = true;
	}
	if (memcmp(native + (DATA_FROM - BUFFER_AT), guest + (DATA_FROM - BUFFER_AT), 0x8000)) {
		printf("# seed %" PRIu64 ": memory differs\n", seed);
		test_failed = true;
	}
}

TEST(random_instructions_as_on_the_processor)
{
	u8 *native = mmap((void *)(uintptr_t)BUFFER_AT, BUFFER_SIZE,
			  PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (native != (u8 *)(uintptr_t)BUFFER_AT) {
		printf("# skipped: no executable memory at 0x%llx\n", BUFFER_AT);
		return;
	}
	__builtin_cpu_init();
	for (u64 seed = 1; seed <= ROUNDS && !test_failed; seed++) {
		u8 *stream = native + (STREAM_AT - BUFFER_AT);
		struct stream s = {.at = stream, .first = stream, .seed = seed * 7919};
		struct guest *g = guest_new();
		u8 *buffer = g->ram + BUFFER_PA;

		fill(&s, native);
		native_entry(&s);
		generate(&s);
		/* Registers, data, stack; code. */
		memcpy(buffer, native, NATIVE_STACK - BUFFER_AT);
		memcpy(buffer + (STREAM_AT - BUFFER_AT), stream, (size_t)(s.at - stream));
		buffer[s.at - native] = 0xf4; /* hlt */
		move_absolute(&s, 4, HOST_RSP_AT, false);
		byte(&s, 0xc3);
		guest_set(g, PD_AT + (BUFFER_AT >> 21) * 8, BUFFER_PA | 0x83);
		g->start.rip = STREAM_AT;
		cpu_start(g->cpu, &g->start);
		g->budget_slice = seed % 3;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		run_native(stream);
		compare(&s, native, buffer, seed);
		guest_free(g);
	}
	munmap(native, BUFFER_SIZE);
}

TEST_MAIN()
