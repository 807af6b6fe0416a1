// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_native16.c - pieces of 16-bit code, and of 32-bit code in segments with a base, on the host
 * CPU and in the interpreter; test_cpu_pieces.h has how. The segments come from modify_ldt(2): a
 * kernel without it makes the tests do nothing.
 */
#define _GNU_SOURCE
#include "test_cpu_pieces.h"

#include <asm/ldt.h>

#define LDT_SELECTOR(n) ((n) << 3 | 7)
enum { LDT_CODE16, LDT_DATA16, LDT_CODE32, LDT_DATA32 };

#define PIECE16(name, defined, text)                                                               \
	CODE(name, ".code16\n" text "\n.code64");                                                  \
	static const struct piece piece_##name = {#name, code_##name, code_##name##_end, defined}
#define PIECE32(name, defined, text)                                                               \
	CODE(name, ".code32\n" text "\n.code64");                                                  \
	static const struct piece piece_##name = {#name, code_##name, code_##name##_end, defined}

PIECE16(arithmetic, ALL, "addw %cx, %ax\n adcl $0x12345678, %edx\n sbbb %ah, %dl\n subw %ax, %cx");
PIECE16(addressing, ALL,
	"addw %ax, (%bx,%si)\n subb %cl, 7(%bx,%di)\n xorl %edx, 0x120(%bp,%si)\n"
	"orw $0x55, -3(%bp,%di)\n incw (%si)\n decb 5(%di)\n negl 0x234(%bp)\n notw 8(%bx)\n"
	"addw $0x1234, 0x5678\n");
PIECE16(addressing_wraps, ALL,
	"movw $0xc000, %bx\n movw $0xe123, %si\n addw %ax, (%bx,%si)\n"
	"movw $0xfff0, %di\n subl %ecx, 0x5010(%di)\n movb %al, %es:-1(%bx,%si)");
PIECE16(addressing_of_32_bits, ALL,
	"movzwl %si, %esi\n movzwl %bx, %ebx\n movzwl %bp, %ebp\n andl $0xff, %ecx\n"
	"addl %eax, (%esi,%ecx,4)\n addr32 addw %dx, 3(%ebx)\n movb %al, 0x10(%ebp,%ecx)\n"
	"leal (%ebx,%esi,2), %edi\n leaw (%ebx,%esi,2), %dx\n leal (%bx,%si), %eax");
PIECE16(lea, ALL, "leaw 7(%bx,%di), %ax\n leal -3(%bp,%si), %ecx\n leaw 0x1234, %dx");
PIECE16(offsets, ALL,
	"movw 0x5678, %ax\n movb %al, 0x5680\n movl %eax, 0x5690\n addr32 movw 0x6000, %ax");
PIECE16(shifts, ALL & ~(AF | OF), "shlw $5, %ax\n sarl %cl, %edx\n rorb $3, %ch\n incw %cx");
PIECE16(multiply, CF | OF, "mulw %cx\n imulw $-7, %dx, %cx\n imull (%bx), %eax");
PIECE16(divide, 0, "xorw %dx, %dx\n orw $1, %cx\n divw %cx\n movw %ax, (%di)\n movw %dx, 2(%di)");
PIECE16(stack, ALL,
	"pushw %ax\n pushl (%bx)\n pushw $-3\n pushl $0x12345678\n popl %edx\n popw %cx\n"
	"popl 4(%si)\n popw (%di)\n pushw 6(%bp)\n popw %ax\n cmpw %ax, %dx");
PIECE16(push_sp, ALL, "pushw %sp\n popw %ax\n pushl %esp\n popl %ecx\n cmpw $0, %ax");
PIECE16(stack_wraps, ALL,
	"movw $2, %sp\n pushw %ax\n movw %sp, %dx\n pushw $0x7788\n pushl %ecx\n movw %sp, %bp\n"
	"popl %eax\n popw %cx\n popw %ax\n movw $0x4800, %sp\n cmpw $1, %bp");
PIECE16(upper_stack_pointer, ALL,
	"movl $0xabcd4800, %esp\n pushw %ax\n pushl %ebx\n movl %esp, %ecx\n popl %edx\n popw %dx\n"
	"movl %esp, %ebp\n callw 1f\n 1: popw %bx\n movl $0x4800, %esp\n cmpl $0, %ecx");
PIECE16(all_registers, ALL, "pushaw\n movw $9, 0x4700\n popaw\n pushal\n popal");
PIECE16(frames, ALL,
	"movw %sp, %bp\n enterw $24, $0\n movw %ax, -8(%bp)\n leavew\n movl %ebp, %ecx\n"
	"movl $0x12344700, %ebp\n enterl $8, $0\n movl %ebp, %edx\n movl %esp, %eax\n"
	"leavel\n cmpl $1, %eax");
PIECE16(flags_words, ALL, "pushfw\n andw $0xfffe, 0x47fe\n popfw\n pushfl\n popfl");
PIECE16(calls, ALL,
	"callw 1f\n jmp 2f\n 1: addw $3, %ax\n retw $0\n 2: callw 3f\n 3: popw %dx\n"
	"addw $4f-3b, %dx\n jmpw *%dx\n hlt\n 4: decw %cx");
PIECE16(calls_of_32_bits, ALL,
	"calll 1f\n jmp 2f\n 1: addw $3, %ax\n retl\n 2: callw 3f\n 3: popw %dx\n movzwl %dx, %edx\n"
	"addl $4f-3b, %edx\n jmpl *%edx\n hlt\n 4: decw %cx\n"
	".byte 0x66, 0xe9, 2, 0, 0, 0\n hlt\n hlt\n .byte 0x66, 0x0f, 0x80, 0, 0, 0, 0");
PIECE16(call_memory, ALL,
	"callw 1f\n 1: popw %dx\n addw $2f-1b, %dx\n movw %dx, (%bx)\n callw *(%bx)\n jmp 3f\n"
	"2: incw %ax\n retw\n 3: xorw %dx, %dx\n incw %dx");
PIECE16(return_drops, ALL,
	"pushw $1\n pushw $2\n callw 1f\n jmp 2f\n 1: retw $4\n 2: movw %sp, %dx");
PIECE16(near_conditions, ALL,
	"cmpw %cx, %ax\n jg 1f\n incw %dx\n 1: .byte 0x0f, 0x82, 1, 0\n incw %bx\n .byte 0x0f, 0x8d, 1, 0\n decw %si");
PIECE16(loops, ALL,
	"movl $0x50005, %ecx\n 1: addw %cx, %ax\n loop 1b\n jcxz 2f\n incw %ax\n 2: incw %dx\n"
	"jecxz 3f\n incw %dx\n 3: movl $3, %ecx\n 4: incw %dx\n addr32 loop 4b\n"
	"movw $4, %cx\n 5: testw %cx, %cx\n loopne 5b");
PIECE16(conditions, ALL,
	"cmpw %cx, %ax\n setg %dl\n cmovbl %ecx, %eax\n cmovaw %dx, %cx\n seto (%bx)\n adcw $0, %ax");
PIECE16(extension, ALL,
	"movzbw %ah, %dx\n movzwl %bx, %ecx\n movswl (%si), %eax\n cbtw\n cwtd\n movsbl %al, %ebp\n"
	"cmpw %ax, %dx");
PIECE16(extension32, ALL, "cwtl\n cltd\n cmpl %eax, %edx");
PIECE16(strings, ALL,
	"cld\n movl $0x70006, %ecx\n rep movsw\n stosb\n lodsl\n movw $9, %cx\n repe cmpsb");
PIECE16(strings_wrap, ALL,
	"cld\n movw $0xfffe, %si\n movw $4, %cx\n std\n movw $0x8001, %di\n rep movsb\n cld\n"
	"movzwl %di, %edi\n movl $3, %ecx\n addr32 rep stosb");
PIECE16(scan, ALL, "cld\n movw $0x100, %cx\n movb $0x41, %al\n repne scasb");
PIECE16(exchange, ALL,
	"xchgw %ax, (%bx)\n xchgl %ecx, %eax\n xaddw %dx, (%si)\n lock cmpxchgw %cx, (%di)\n"
	"bswapl %ecx\n movbew (%bx), %cx");
PIECE16(bits, CF,
	"btsw %cx, %ax\n andw $0xff, %cx\n btcw %cx, (%bx)\n btrl $9, (%si)\n btsl %ecx, (%di)");
PIECE16(bits_reach_around, CF, /* both ways over the ends of the segment, into the data */
	"movw $0x2100, %bx\n movl $-0x1000, %ecx\n btsl %ecx, (%bx)\n movw $0xff00, %di\n"
	"movl $0x1a000, %edx\n btcl %edx, (%di)\n movw $-0x3000, %ax\n btrw %ax, 0x1000(%bx)");
PIECE16(bit_scans, ZF, "orw $0x100, %ax\n bsfw %ax, %cx\n bsrl %eax, %edx");
PIECE16(double_shift, CF | SF | ZF | PF, "shldw $7, %dx, %ax\n shrdl $3, %ecx, (%bx)");
PIECE16(table_byte, ALL,
	"xlat\n cmpb $3, %al\n movw $0xff80, %bx\n movb $0x90, %al\n xlat %es:(%bx)");
PIECE16(single_flags, ALL, "stc\n cmc\n lahf\n xorb $0x81, %ah\n sahf\n clc");
PIECE16(decimal, CF | PF | AF | ZF | SF, "daa\n movb %al, (%bx)\n movb %cl, %al\n das");
PIECE16(bounds, ALL,
	"andw $0x7fff, %ax\n movw $0, (%bx)\n movw $0x7fff, 2(%bx)\n boundw %ax, (%bx)\n"
	"movl $-5, (%si)\n movl $-1, 4(%si)\n movl $-3, %ecx\n boundl %ecx, (%si)");
PIECE16(privilege_levels, ALL, "arpl %cx, %ax\n setz %dh\n arpl %dx, (%bx)");
PIECE16(far_pointers, ALL,
	"movw $0, 2(%bx)\n lfsw (%bx), %ax\n movw $3, 4(%si)\n lgsl (%si), %ecx");

#define PIECE(name) &piece_##name

static const struct piece *const pieces16[] = {
	PIECE(arithmetic),
	PIECE(addressing),
	PIECE(addressing_wraps),
	PIECE(addressing_of_32_bits),
	PIECE(lea),
	PIECE(offsets),
	PIECE(shifts),
	PIECE(multiply),
	PIECE(divide),
	PIECE(stack),
	PIECE(push_sp),
	PIECE(stack_wraps),
	PIECE(upper_stack_pointer),
	PIECE(all_registers),
	PIECE(frames),
	PIECE(flags_words),
	PIECE(calls),
	PIECE(calls_of_32_bits),
	PIECE(call_memory),
	PIECE(return_drops),
	PIECE(near_conditions),
	PIECE(loops),
	PIECE(conditions),
	PIECE(extension),
	PIECE(extension32),
	PIECE(strings),
	PIECE(strings_wrap),
	PIECE(scan),
	PIECE(exchange),
	PIECE(bits),
	PIECE(bits_reach_around),
	PIECE(bit_scans),
	PIECE(double_shift),
	PIECE(table_byte),
	PIECE(single_flags),
	PIECE(decimal),
	PIECE(bounds),
	PIECE(privilege_levels),
	PIECE(far_pointers),
};

/* What 32-bit code does to its low 64 KB, which flat segments have nowhere. */
PIECE32(branches_cut, ALL,
	"movw $0x4800, %sp\n data16 call 1f\n jmp 2f\n 1: incl %eax\n data16 ret\n"
	"2: .byte 0x66, 0xe9, 1, 0\n hlt\n .byte 0x66, 0xeb, 1\n hlt\n"
	"cmpl %ecx, %eax\n .byte 0x66, 0x0f, 0x84, 0, 0\n .byte 0x66, 0x7f, 1\n incl %edx\n"
	"call 3f\n 3: popl %ecx\n addl $4f-3b+0x70000, %ecx\n data16 jmp *%ecx\n hlt\n 4: decl %ecx");
PIECE32(short_addresses, ALL,
	"addr16 addl %eax, (%bx,%si)\n addr16 subb %cl, 7(%bx,%di)\n addr16 xorw %dx, 0x120(%bp,%si)\n"
	"addr16 leal (%bx,%di), %ecx\n addr16 movl 0x5678, %eax");
PIECE32(short_strings, ALL,
	"cld\n movl $0x70006, %ecx\n addr16 rep movsw\n addr16 stosb\n addr16 lodsl\n"
	"movw $9, %cx\n addr16 repe cmpsb\n movl $0x10002, %ecx\n 1: incl %edx\n addr16 loop 1b\n"
	"jcxz 2f\n incl %edx\n 2: addr16 xlat");
PIECE32(short_bits, CF,
	"movw $0x2100, %bx\n movl $-0x1000, %ecx\n addr16 btsl %ecx, (%bx)\n movw $0xff00, %di\n"
	"movl $0x1a000, %edx\n addr16 btcl %edx, (%di)");
PIECE32(based_bits, CF,
	"movzwl %bx, %ebx\n movl $-0x1000, %ecx\n btsl %ecx, (%ebx)\n movl $0x4a000, %edx\n"
	"btcl %edx, (,%esi)\n subl $0x8000, %ebx\n movl $0x60000, %edx\n btrl %edx, (%ebx)");
PIECE32(wide_stack, ALL,
	"pushl %esp\n popl %eax\n pushw %ax\n popw %dx\n movl %esp, %ebp\n enterw $4, $0\n leavew");

static const struct piece *const pieces32[] = {
	PIECE(branches_cut), PIECE(short_addresses), PIECE(short_strings),
	PIECE(short_bits),   PIECE(based_bits),	     PIECE(wide_stack),
};

/* Offsets in AREA of what test_cpu_pieces.h has by address; ESP has its upper half clear. */
#define AROUND(name, code, jump)                                                                   \
	CODE(before_##name, code "movl $0x4800, %esp\n pushl 0x1020\n popfl\n"                     \
				 "movl 0x1000, %eax\n movl 0x1004, %ecx\n movl 0x1008, %edx\n"     \
				 "movl 0x100c, %ebx\n movl 0x1014, %ebp\n movl 0x1018, %esi\n"     \
				 "movl 0x101c, %edi\n .code64");                                   \
	CODE(after_##name,                                                                         \
	     code "movl %eax, 0x1040\n movl %ecx, 0x1044\n movl %edx, 0x1048\n"                    \
		  "movl %ebx, 0x104c\n movl %esp, 0x1050\n movl %ebp, 0x1054\n"                    \
		  "movl %esi, 0x1058\n movl %edi, 0x105c\n movl $0x1c00, %esp\n pushfl\n"          \
		  "popl 0x1060\n" jump "\n .code64")

AROUND(16, ".code16\n", "ljmpl $0x33, $0x3010e0");
AROUND(32, ".code32\n", "ljmp $0x33, $0x3010e0");

/* Sums of two of them are in the data as well. */
static void short_addresses(u32 regs[8])
{
	static const u16 low[8] = {
		[CPU_RBX] = 0x5000, [CPU_RBP] = 0x5800, [CPU_RSI] = 0x6000, [CPU_RDI] = 0x7000};

	for (unsigned int r = 0; r < 8; r++) {
		if (low[r])
			regs[r] = (regs[r] & 0xffff0000) | (low[r] + (random32() & 0x3f));
	}
}

static void based_addresses(u32 regs[8])
{
	short_addresses(regs);
	regs[CPU_RSI] &= 0xffff;
	regs[CPU_RDI] &= 0xffff;
}

static bool set_ldt(unsigned int n, bool code, bool wide)
{
	struct user_desc descriptor = {
		.entry_number = n,
		.base_addr = AREA,
		.limit = wide ? 0xfffff : 0xffff,
		.seg_32bit = wide,
		.contents = code ? 2 : 0,
		.limit_in_pages = wide,
		.useable = 1,
	};

	return syscall(SYS_modify_ldt, 1, &descriptor, sizeof(descriptor)) == 0;
}

static bool have_segments(unsigned int code, unsigned int data, bool wide)
{
	if (set_ldt(code, true, wide) && set_ldt(data, false, wide))
		return true;
	printf("# no modify_ldt(): nothing compared\n");
	return false;
}

TEST(code_of_16_bits_as_on_the_host)
{
	const struct world w = {
		.before = code_before_16,
		.before_end = code_before_16_end,
		.after = code_after_16,
		.after_end = code_after_16_end,
		.cs = LDT_SELECTOR(LDT_CODE16),
		.data = LDT_SELECTOR(LDT_DATA16),
		.base = AREA,
		.cs_attr = 0x009b,
		.data_attr = 0x0093,
		.registers = short_addresses,
	};

	if (have_segments(LDT_CODE16, LDT_DATA16, false))
		compare_pieces(&w, pieces16, sizeof(pieces16) / sizeof(pieces16[0]));
}

TEST(code_of_32_bits_in_segments_with_a_base_as_on_the_host)
{
	const struct world w = {
		.before = code_before_32,
		.before_end = code_before_32_end,
		.after = code_after_32,
		.after_end = code_after_32_end,
		.cs = LDT_SELECTOR(LDT_CODE32),
		.data = LDT_SELECTOR(LDT_DATA32),
		.base = AREA,
		.cs_attr = 0xc09b,
		.data_attr = 0xc093,
		.registers = based_addresses,
	};

	if (have_segments(LDT_CODE32, LDT_DATA32, true))
		compare_pieces(&w, pieces32, sizeof(pieces32) / sizeof(pieces32[0]));
}

TEST_MAIN()
