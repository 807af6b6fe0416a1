// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_native32.c - pieces of 32-bit code in flat segments, on the host CPU and in the
 * interpreter; test_cpu_pieces.h has how.
 */
#define _GNU_SOURCE
#include "test_cpu_pieces.h"

#define CS32 0x23 /* of Linux */
#define DS32 0x2b

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

PIECE(decimal, CF | PF | AF | ZF | SF, "daa\n movb %al, (%ebx)\n movb %cl, %al\n das");
PIECE(decimal_digits, CF | AF, "aaa\n movw %ax, (%ebx)\n movw %cx, %ax\n cmpb %dl, %dh\n aas");
PIECE(decimal_multiply, PF | ZF | SF, "aam\n movw %ax, (%ebx)\n movw %cx, %ax\n aad\n aam $7");
PIECE(decimal_bases, PF | ZF | SF, "aad $0x1d\n");
PIECE(carry_byte, ALL, ".byte 0xd6\n movb %al, %ah\n stc\n .byte 0xd6");
PIECE(privilege_levels, ALL, "arpl %cx, %ax\n setz %dh\n arpl %dx, (%ebx)");
PIECE(bounds, ALL,
      "andl $0x7fffffff, %eax\n movl $0, (%ebx)\n movl $0x7fffffff, 4(%ebx)\n"
      "boundl %eax, (%ebx)\n movw $-5, (%esi)\n movw $-1, 2(%esi)\n movw $-3, %cx\n"
      "boundw %cx, (%esi)");
PIECE(no_overflow, ALL, "xorl %eax, %eax\n into\n incl %eax");
PIECE(far_pointers, ALL,
      "movw $0, 4(%ebx)\n lfsl (%ebx), %eax\n movw $3, 2(%esi)\n lgsw (%esi), %cx");

static const struct piece *const pieces[] = {
	&piece_arithmetic,
	&piece_arithmetic_memory,
	&piece_logic,
	&piece_inc_dec,
	&piece_alias_82,
	&piece_shifts,
	&piece_multiply,
	&piece_divide,
	&piece_stack32,
	&piece_push_esp,
	&piece_pop_relative,
	&piece_all_registers,
	&piece_frames,
	&piece_flags_words,
	&piece_calls,
	&piece_call_memory,
	&piece_loops,
	&piece_conditions,
	&piece_extension,
	&piece_addresses,
	&piece_strings,
	&piece_scan,
	&piece_exchange,
	&piece_cmpxchg8b,
	&piece_bits,
	&piece_bit_scans,
	&piece_double_shift,
	&piece_table_byte,
	&piece_single_flags,
	&piece_offsets,
	&piece_decimal,
	&piece_decimal_digits,
	&piece_decimal_multiply,
	&piece_decimal_bases,
	&piece_carry_byte,
	&piece_privilege_levels,
	&piece_bounds,
	&piece_no_overflow,
	&piece_far_pointers,
};

/* The addresses are those of test_cpu_pieces.h. */
CODE(before, ".code32\n movl $0x304800, %esp\n pushl 0x301020\n popfl\n"
	     "movl 0x301000, %eax\n movl 0x301004, %ecx\n movl 0x301008, %edx\n"
	     "movl 0x30100c, %ebx\n movl 0x301014, %ebp\n movl 0x301018, %esi\n"
	     "movl 0x30101c, %edi\n .code64");
CODE(after, ".code32\n movl %eax, 0x301040\n movl %ecx, 0x301044\n movl %edx, 0x301048\n"
	    "movl %ebx, 0x30104c\n movl %esp, 0x301050\n movl %ebp, 0x301054\n"
	    "movl %esi, 0x301058\n movl %edi, 0x30105c\n movl $0x301c00, %esp\n pushfl\n"
	    "popl 0x301060\n ljmp $0x33, $0x3010e0\n .code64");

static void flat_addresses(u32 regs[8])
{
	regs[CPU_RBX] = DATA + 0x200 + (random32() & 0x3f);
	regs[CPU_RSI] = DATA + 0x400 + (random32() & 0x3f);
	regs[CPU_RDI] = DATA + 0x600 + (random32() & 0x3f);
	regs[CPU_RBP] = DATA + 0x800;
}

TEST(code_of_32_bits_as_on_the_host)
{
	const struct world flat = {
		.before = code_before,
		.before_end = code_before_end,
		.after = code_after,
		.after_end = code_after_end,
		.cs = CS32,
		.data = DS32,
		.cs_attr = 0xc09b,
		.data_attr = 0xc093,
		.registers = flat_addresses,
	};

	compare_pieces(&flat, pieces, sizeof(pieces) / sizeof(pieces[0]));
}

TEST_MAIN()
