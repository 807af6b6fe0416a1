/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - from the byte code of an input to the code of a guest (guest.S).
 *
 * An operation is a byte, of which bits 4:0 say what it does, and what it needs:
 *
 *	0  WRMSR	u8 msr, value		10 HLT with interrupts on
 *	1  RDMSR	u8 msr			11 STI / CLI		bit 7
 *	2  RDPMC	u8 type and index	12 any code		u8 length, bytes
 *	3  WRMSR	u32 msr, value		13 to CPL 3: IRETQ
 *	4  APIC write	u8 offset / 16, u32	14 back to CPL 0: SYSCALL
 *	5  APIC read	u8 offset / 16		15 INT n		u8 vector
 *	6  OUT		u8 port, u8 value	16 loads and stores	u8 how many
 *	7  IN		u8 port			17 TSC deadline		u16 cycles / 16
 *	8  work		u8 profile, u16 RCX	18 VMCALL
 *	9  CPUID	u8 leaf			19 again from the start	u8 how often at most
 *
 *	20 a loop	u8 times		21 LVTPC		u8 delivery mode, vector
 *	22 fault	u8: which			23 PMU on: one counter, everything enabled
 *						u8 counter, u8 event, u16 minus value
 *
 * What is 24 and above is the operation less 24. A value is u8 kind, see take_value(). Each operation
 * sets R15, where a fault goes on, to the next one.
 */
#ifndef TESTS_FUZZ_PROGRAM_H_
#define TESTS_FUZZ_PROGRAM_H_

#include "fuzz.h"

#define PROGRAM_MAX 0x8000u
#define GUEST_BASE 0x100000u

struct program {
	u8 code[PROGRAM_MAX + 512];
	u32 length;
};

/* @at: guest address of the program. It ends with an exit, or by starting again if @endless. */
void make_program(struct program *p, struct input *in, u32 at, bool endless);

#endif /* TESTS_FUZZ_PROGRAM_H_ */
