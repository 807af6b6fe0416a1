/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_layout.h - where things are in the random kernels of kernel_programs.c.
 *
 *	0x001000  page tables of both address spaces, read-only; GDT, LDT, IDT, TSS
 *	0x010000  code, user
 *	0x080000  stacks
 *	0x0d0000  handlers and the words that they go by
 *	0x100000  buffer, and the pages behind it that fault
 *	0x180000  private: other frames in the second address space, code in it too
 *	0x200000  2 MB pages, from 0x400000 user, from 0x600000 with a reserved bit
 *	1 GB      one page of 1 GB, supervisor: 0 and up again, the tables writable
 *	-2 GB     the same as 2 MB pages, supervisor
 */
#ifndef TESTS_JUDGES_KERNEL_LAYOUT_H_
#define TESTS_JUDGES_KERNEL_LAYOUT_H_

#define BUFFER_AT 0x100000u
#define BUFFER_SIZE 0x30000u
#define READ_ONLY_AT 0x140000u
#define SUPERVISOR_AT 0x141000u
#define ABSENT_AT 0x142000u
#define NO_EXECUTE_AT 0x143000u
#define RESERVED_AT 0x600000u
#define PLAYGROUND_AT 0x148000u /* 8 pages whose entries change */
#define PRIVATE_AT 0x180000u
#define PRIVATE_SIZE 0x10000u
#define LARGE_USER_AT 0x400000u
#define GIGANTIC_AT 0x40000000u
#define HIGH_HALF 0xffffffff80000000ull

#define TABLES_END 0x8000u
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define PT 0x4000u
#define PDPT_HIGH 0x6000u
#define PD_HIGH 0x7000u
#define GDT 0x8000u
#define IDT 0x9000u
#define TSS 0xa000u
#define TSS2 0xa800u
#define LDT 0xb000u
#define PML4_B 0xc000u
#define PDPT_B 0xd000u
#define PD_B 0xe000u
#define PT_B 0xf000u
#define PRIVATE_B 0x680000u /* frames of the private pages in the second address space */

#define CODE 0x10000u
#define CODE_END 0x7f000u
#define USER_STACK 0x8f000u
#define KERNEL_STACK 0x9f000u
#define RSP0 0xaf000u
#define IST1 0xbf000u
#define IST2 0xcf000u
#define HANDLERS 0xd0000u
#define HANDLER_BYTES 96u
#define ABANDON 0xd2000u
#define SYSCALL_ENTRY 0xd2100u
#define SOFTWARE 0xd2200u /* handlers of INT n, 32 bytes each */
#define WORDS 0xd8000u
#define RESUME (WORDS + 0)
#define NEXT (WORDS + 8)
#define SYSRET (WORDS + 16)
#define SCRATCH (WORDS + 64)

#define SEL_KERNEL 0x08
#define SEL_DATA 0x10
#define SEL_USER_DATA 0x1b
#define SEL_USER 0x23
#define SEL_TSS 0x28
#define SEL_KERNEL32 0x38
#define SEL_USER32 0x43
#define SEL_LDT 0x48
#define SEL_ABSENT 0x58
#define SEL_READ_ONLY 0x60
#define SEL_CONFORMING 0x68
#define SEL_EXECUTE_ONLY 0x70
#define SEL_BASED 0x7b
#define SEL_TSS2 0x80
#define GDT_LIMIT 0x8f
#define IDT_LIMIT 0x8ff

#define INT_NEXT 0x80
#define INT_END 0x81
#define INT_KERNEL 0x82
#define INT_TRAP 0x83
#define INT_IST 0x84
#define INT_ABSENT 0x85
#define INT_USER_CODE 0x86
#define INT_CONFORMING 0x87

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_PS 0x80u
#define PTE_NX BIT_ULL(63)

#endif /* TESTS_JUDGES_KERNEL_LAYOUT_H_ */
