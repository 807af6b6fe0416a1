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

#endif /* TESTS_JUDGES_KERNEL_LAYOUT_H_ */
