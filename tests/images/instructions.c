// SPDX-License-Identifier: Apache-2.0
/*
 * instructions.c - what compilers and test guests use of the general instructions: results and flags,
 * derived beside each.
 *
 * The judges of the guest CPU hold every form against a processor; this is the short list, in kernel
 * mode, from an image.
 */
#include "runtime.h"

#define CF 1u
#define PF 4u
#define AF 0x10u
#define ZF 0x40u
#define SF 0x80u
#define OF 0x800u

/* Run @code with RAX and RCX; RAX, and in @flags those of @mask. */
#define run(code, rax, rcx, mask, flags)                                                           \
	({                                                                                         \
		u64 a_ = (rax), c_ = (rcx), f_;                                                    \
                                                                                                   \
		__asm__ volatile(code "\n\tpushfq\n\tpopq %2"                                      \
				 : "+a"(a_), "+c"(c_), "=r"(f_)                                    \
				 :                                                                 \
				 : "rdx", "rsi", "rdi", "r8", "r9", "memory", "cc");               \
		*(flags) = f_ & (mask);                                                            \
		a_;                                                                                \
	})

static void check_arithmetic(void)
{
	bool right = true;
	u64 flags, a;

	a = run("addq %%rcx, %%rax", ~0ull, 1, CF | ZF | OF | SF, &flags);
	right &= step(a, 0, "-1 + 1") & step(flags, CF | ZF, "flags of -1 + 1");
	a = run("addl %%ecx, %%eax", 0x7fffffff, 1, CF | ZF | OF | SF, &flags);
	right &= step(a, 0x80000000, "the largest + 1") & step(flags, OF | SF, "its flags");
	a = run("subb %%cl, %%al", 0x100, 1, CF | ZF | OF | SF | AF, &flags);
	right &= step(a, 0x1ff, "0 - 1 in AL leaves the rest") & step(flags, CF | SF | AF, "flags");
	a = run("stc\n adcq %%rcx, %%rax", ~0ull, 0, CF | ZF, &flags);
	right &= step(a, 0, "-1 + 0 + carry") & step(flags, CF | ZF, "its flags");
	a = run("stc\n sbbl %%ecx, %%eax", 5, 5, CF | ZF | SF, &flags);
	right &= step(a, 0xffffffff, "5 - 5 - borrow") & step(flags, CF | SF, "its flags");
	a = run("stc\n incb %%al", 0xff, 0, CF | ZF, &flags);
	right &= step(a, 0, "INC") & step(flags, CF | ZF, "INC leaves the carry");
	a = run("negq %%rax", 1ull << 63, 0, CF | OF | SF, &flags);
	right &= step(a, 1ull << 63, "NEG of the lowest") & step(flags, CF | OF | SF, "flags");
	a = run("cmpq %%rcx, %%rax", 3, 7, CF | ZF | SF, &flags);
	right &= step(a, 3, "CMP writes nothing") & step(flags, CF | SF, "3 is below 7");
	expect_true(right, "addition and subtraction");

	right = step(run("mulq %%rcx\n movq %%rdx, %%rax", 1ull << 40, 1ull << 30, CF | OF, &flags),
		     1ull << 6, "MUL, upper half");
	right &= step(flags, CF | OF, "its flags");
	right &= step(run("imulq %%rcx, %%rax", (u64)-5, 7, CF | OF, &flags), (u64)-35, "IMUL");
	right &= step(flags, 0, "its flags");
	right &= step(run("imull $-3, %%ecx, %%eax", 0, 0x40000000, CF | OF, &flags), 0x40000000,
		      "IMUL by a constant");
	right &= step(flags, CF | OF, "which does not fit");
	/* 7 * 2^32 + 5 = 30064771077 = 3006477107 * 10 + 7 */
	right &= step(run("movl $7, %%edx\n divl %%ecx", 5, 10, 0, &flags), 3006477107, "DIV");
	right &= step(run("movl $7, %%edx\n divl %%ecx\n movl %%edx, %%eax", 5, 10, 0, &flags), 7,
		      "its remainder");
	right &= step(run("cqto\n idivq %%rcx", (u64)-100, 7, 0, &flags), (u64)-14, "IDIV");
	right &= step(run("cqto\n idivq %%rcx\n movq %%rdx, %%rax", (u64)-100, 7, 0, &flags),
		      (u64)-2, "its remainder");
	right &= step(run("movb %%cl, %%dl\n divb %%dl", 1000, 7, 0, &flags) & 0xffff, 6 << 8 | 142,
		      "DIV of AX");
	expect_true(right, "multiplication and division");
}

static void check_bits(void)
{
	bool right = true;
	u64 flags;

	right &= step(run("shlq %%cl, %%rax", 1, 65, CF, &flags), 2, "shift counts are modulo 64");
	right &= step(run("shll %%cl, %%eax", 0x80000001, 1, CF | OF, &flags), 2, "SHL");
	right &= step(flags, CF | OF, "its flags");
	right &= step(run("sarq $4, %%rax", (u64)-17, 0, CF, &flags), (u64)-2, "SAR rounds down");
	right &= step(run("shrb $1, %%al", 0x3ff, 0, CF, &flags), 0x37f, "SHR of AL");
	right &= step(run("rolw $4, %%ax", 0x51234, 0, CF, &flags), 0x52341, "ROL of AX");
	right &= step(flags, CF, "its carry");
	right &= step(run("stc\n rcrq $1, %%rax", 2, 0, CF, &flags), 1 | 1ull << 63, "RCR");
	right &= step(flags, 0, "its carry");
	right &= step(run("shldq $8, %%rcx, %%rax", 0x11, 0xabull << 56, 0, &flags), 0x11ab,
		      "SHLD");
	right &= step(run("shrdl $4, %%ecx, %%eax", 0x12345678, 0xa, 0, &flags), 0xa1234567,
		      "SHRD");
	right &= step(run("btsq $40, %%rax", 0, 0, CF, &flags), 1ull << 40, "BTS");
	right &= step(run("btrq %%rcx, %%rax", ~0ull, 3, CF, &flags), ~8ull, "BTR");
	right &= step(flags, CF, "its carry");
	right &= step(run("btcl $1, %%eax", 3, 0, CF, &flags), 1, "BTC");
	right &= step(run("bsfq %%rcx, %%rax", 0, 0x5000, ZF, &flags), 12, "BSF");
	right &= step(run("bsrq %%rcx, %%rax", 0, 0x5000, ZF, &flags), 14, "BSR");
	right &= step(run("bswapq %%rax", 0x0102030405060708, 0, 0, &flags), 0x0807060504030201,
		      "BSWAP");
	right &= step(run("popcntq %%rcx, %%rax", 0, 0xff00ff, 0, &flags), 16, "POPCNT");
	right &= step(run("andb $0x0f, %%al", 0x1f0, 0, ZF | PF, &flags), 0x100, "AND of AL");
	right &= step(flags, ZF | PF, "its flags");
	right &= step(run("xorl %%eax, %%eax", ~0ull, 0, ZF | CF | OF, &flags), 0, "XOR clears");
	right &= step(run("notq %%rax", 5, 0, 0, &flags), ~5ull, "NOT");
	expect_true(right, "shifts, rotations, bits");
}

static void check_moves(void)
{
	bool right = true;
	u64 flags;

	right &= step(run("movl %%ecx, %%eax", ~0ull, 5, 0, &flags), 5,
		      "32 bits clear the upper half");
	right &= step(run("movw %%cx, %%ax", ~0ull, 5, 0, &flags), ~0ull << 16 | 5,
		      "16 bits do not");
	right &= step(run("movb %%ch, %%al", 0, 0x1234, 0, &flags), 0x12, "CH");
	right &= step(run("movzbl %%cl, %%eax", ~0ull, 0xfff, 0, &flags), 0xff, "MOVZX");
	right &= step(run("movslq %%ecx, %%rax", 0, 0x80000000, 0, &flags), ~0ull << 31, "MOVSXD");
	right &= step(run("movsbw %%cl, %%ax", 0, 0x80, 0, &flags), 0xff80, "MOVSX");
	right &= step(run("cltq", 0x80000000, 0, 0, &flags), ~0ull << 31, "CDQE");
	right &= step(run("xchgq %%rcx, %%rax", 1, 2, 0, &flags), 2, "XCHG");
	right &= step(run("leaq 3(%%rax, %%rcx, 8), %%rax", 100, 10, 0, &flags), 183, "LEA");
	right &= step(run("cmpq $5, %%rcx\n cmovbq %%rcx, %%rax", 1, 4, 0, &flags), 4, "CMOV does");
	right &= step(run("cmpq $5, %%rcx\n cmovbq %%rcx, %%rax", 1, 6, 0, &flags), 1,
		      "CMOV does not");
	right &= step(run("cmpq $5, %%rcx\n setg %%al", 0x100, 6, 0, &flags), 0x101, "SETcc");
	right &= step(run("pushq %%rcx\n popq %%rax", 0, 77, 0, &flags), 77, "PUSH, POP");
	right &= step(run("stc\n lahf\n clc\n sahf", 0, 0, CF, &flags) >> 8 & CF, CF, "LAHF");
	right &= step(flags, CF, "SAHF");
	right &= step(run("stc\n cmc\n movl $1, %%eax\n adcl $0, %%eax", 0, 0, 0, &flags), 1,
		      "CMC");
	right &= step(run("enter $16, $0\n movq %%rbp, %%rax\n subq %%rsp, %%rax\n leave", 0, 0, 0,
			  &flags),
		      16, "ENTER, LEAVE");
	expect_true(right, "moves, extensions, conditions, stack");
}

/* Assembly names it, so it is not static. */
extern u64 word[4];
u64 word[4] __attribute__((aligned(64)));

static void check_locked(void)
{
	bool right = true;
	u64 flags, low, high;

	word[0] = 10;
	right &= step(run("lock xaddq %%rax, word", 5, 0, 0, &flags), 10, "LOCK XADD");
	right &= step(word[0], 15, "in memory");
	right &= step(run("lock cmpxchgq %%rcx, word", 15, 99, ZF, &flags), 15, "CMPXCHG does");
	right &= step(flags, ZF, "its flag") & step(word[0], 99, "in memory");
	right &= step(run("lock cmpxchgq %%rcx, word", 15, 1, ZF, &flags), 99, "does not");
	right &= step(flags, 0, "its flag") & step(word[0], 99, "memory");
	right &= step(run("xchgq %%rax, word", 7, 0, 0, &flags), 99, "XCHG with memory");
	run("lock incq word\n lock orq $0x100, word\n lock btsq $20, word", 0, 0, CF, &flags);
	right &= step(word[0], 8 | 0x100 | 1ull << 20, "LOCK INC, OR, BTS");
	word[0] = 1;
	word[1] = 2;
	low = 1;
	high = 2;
	__asm__ volatile("lock cmpxchg16b word"
			 : "=@ccz"(flags), "+a"(low), "+d"(high)
			 : "b"(3ull), "c"(4ull)
			 : "memory");
	right &= step(flags, 1, "CMPXCHG16B") & step(word[0] << 8 | word[1], 0x304, "memory");
	run("lock cmpxchg8b word", 0, 0, ZF, &flags);
	right &= step(flags, 0, "CMPXCHG8B of another value");
	expect_true(right, "exchanges, and what is locked");
	expect(attempt(".byte 0xf0, 0x48, 0x01, 0xc8", :: : "rax", "cc"), VECTOR_UD,
	       "LOCK of a register is #UD");
}

/* A string instruction: RSI, RDI, RCX and RAX before, and behind it. */
struct string {
	u64 rsi, rdi, rcx, rax;
	bool zero;
};

#define string(code, source, target, count, value)                                                 \
	({                                                                                         \
		struct string s_ = {(uintptr_t)(source), (uintptr_t)(target), count, value,        \
				    false};                                                        \
                                                                                                   \
		__asm__ volatile(code                                                              \
				 : "+S"(s_.rsi), "+D"(s_.rdi), "+c"(s_.rcx), "+a"(s_.rax),         \
				   "=@ccz"(s_.zero)                                                \
				 :                                                                 \
				 : "memory");                                                      \
		s_;                                                                                \
	})

static void check_strings(void)
{
	static u8 from[64], to[64];
	struct string s;
	bool right = true;

	for (u32 i = 0; i < 64; i++)
		from[i] = (u8)(i * 3);
	string("rep movsq", from, to, 8, 0);
	s = string("repe cmpsb", from, to, 64, 0);
	right &= step(s.rcx, 0, "REP MOVS and REPE CMPS") & step(s.zero, 1, "all equal");
	to[40]++;
	s = string("repe cmpsb", from, to, 64, 0);
	right &= step(s.rcx, 23, "REPE CMPS stops behind the difference");
	right &= step(s.rsi, (uintptr_t)from + 41, "and so does its source");
	s = string("repne scasb", from, from, 64, 30);
	right &= step(s.rdi, (uintptr_t)from + 11, "REPNE SCAS finds 30 behind ten others");
	string("rep stosl", from, to, 4, 0x01020304);
	right &= step(to[0] | to[7] << 8 | to[15] << 16, 0x010104, "REP STOS");
	/* from[0] to from[9] to to[1] to to[10], the last one first; from[9] is 27 */
	string("std\n rep movsb\n cld", from + 9, to + 10, 10, 0);
	right &= step(to[1] | to[10] << 8, 27 << 8, "backwards");
	s = string("lodsw", from + 1, to, 0, 0);
	right &= step(s.rax, 6 << 8 | 3, "LODS");
	s = string("rep movsb", from, to, 0, 0);
	right &= step(s.rsi, (uintptr_t)from, "no rounds");
	expect_true(right, "string instructions");
}

static void check_branches(void)
{
	bool right = true;
	u64 flags;

	right &= step(run("1: incq %%rax\n loop 1b", 0, 1000, 0, &flags), 1000, "LOOP");
	right &= step(run("1: incq %%rax\n cmpq $5, %%rax\n loopne 1b", 0, 1000, 0, &flags), 5,
		      "LOOPNE");
	right &= step(run("jrcxz 1f\n movl $1, %%eax\n1:", 0, 0, 0, &flags), 0, "JRCXZ jumps");
	right &= step(run("jrcxz 1f\n movl $1, %%eax\n1:", 0, 3, 0, &flags), 1, "or not");
	right &= step(run("endbr64\n incq %%rax", 0, 0, 0, &flags), 1, "ENDBR64 is nothing");
	right &= step(run("leaq 1f(%%rip), %%rdx\n notrack jmp *%%rdx\n incq %%rax\n1: endbr64", 0,
			  0, 0, &flags),
		      0, "a jump with NOTRACK");
	right &= step(run("call 1f\n jmp 2f\n1: movl $9, %%eax\n ret\n2:", 0, 0, 0, &flags), 9,
		      "CALL, RET");
	right &=
		step(run("pushq $0x10\n movq %%rsp, %%rdx\n addq $8, %%rdx\n pushq %%rdx\n pushfq\n"
			 " pushq $0x08\n leaq 1f(%%rip), %%rdx\n pushq %%rdx\n iretq\n1:"
			 " movl $3, %%eax\n addq $8, %%rsp\n subq $8, %%rsp",
			 0, 0, 0, &flags),
		     3, "IRETQ within the kernel");
	right &=
		step(run("pause\n mfence\n lfence\n sfence\n nop\n nopw 8(%%rax)", 4, 0, 0, &flags),
		     4, "PAUSE, fences, NOPs");
	expect_true(right, "branches, hints, fences");
}

extern u64 taken; /* likewise */
u64 taken;
void system_call_entry(void);

__asm__("	.text\n"
	"system_call_entry:\n"
	"	incq	taken\n"
	"	sysretq\n");

static u64 user_system_call(u64 value)
{
	u64 rcx, r11;

	__asm__ volatile("leaq 1f(%%rip), %%rdx\n\t"
			 "syscall\n"
			 "1:\n\t"
			 "subq %%rdx, %%rcx\n\t" /* RCX was the address behind */
			 : "=c"(rcx)
			 :
			 : "rdx", "r11", "memory", "cc");
	__asm__ volatile("stc\n\tsyscall\n\tmovq %%r11, %0" : "=r"(r11) : : "rcx", "r11", "memory");
	return value + rcx + (r11 & CF);
}

static void check_system(void)
{
	u64 low;
	u16 selector;

	wrmsr(0xc0000081, 0x001b000800000000);
	wrmsr(0xc0000082, (uintptr_t)system_call_entry);
	wrmsr(0xc0000084, 0);
	expect(run_user(user_system_call, 100), 101, "SYSCALL and SYSRET, RCX and R11");
	expect(taken, 2, "twice");
	__asm__ volatile("str %0" : "=r"(selector));
	expect(selector, TSS_SELECTOR, "STR");
	__asm__ volatile("smsw %0" : "=r"(low));
	expect(low & 1, 1, "SMSW: protected mode");
	__asm__ volatile("movq %%cr8, %0" : "=r"(low));
	expect(low, 0, "CR8 is 0");
	expect(attempt("movq %0, %%cr4", : : "r"(1ull << 63)), VECTOR_GP, "a reserved bit of CR4");
	expect(attempt("movq %0, %%cr0", : : "r"(1ull << 31)), VECTOR_GP,
	       "paging without protection");
	expect(attempt("vmcall", :: : "rax", "memory"), under_kvm() ? NO_VECTOR : VECTOR_UD,
	       "VMCALL is for hypervisors");
	expect(attempt(".byte 0x0f, 0x0b"), VECTOR_UD, "UD2");
	expect(attempt(".byte 0x06", :: : "memory"), VECTOR_UD, "PUSH ES is not in long mode");
}

void image_main(void)
{
	check_arithmetic();
	check_bits();
	check_moves();
	check_locked();
	check_strings();
	check_branches();
	check_system();
}
