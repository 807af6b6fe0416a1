// SPDX-License-Identifier: Apache-2.0
/*
 * code.c - code that is written, changed and mapped while the image runs: in data, on heap pages, on
 * the stack, through another address, in another address space, in front of itself.
 *
 * A jump or CPUID stands between a change and its use only where the processor asks for one; on the
 * processors at hand self-modifying code needs none.
 */
#include "page_tables.h"
#include "runtime.h"

#define RIGHTS (PTE_PRESENT | PTE_WRITE | PTE_USER)
#define BASE (1ull << 40)

/* movl $value, %eax; ret */
static void put_function(u8 *at, u32 value)
{
	at[0] = 0xb8;
	for (u32 i = 0; i < 4; i++)
		((volatile u8 *)at)[1 + i] = (u8)(value >> 8 * i);
	at[5] = 0xc3;
	__asm__ volatile("" : : : "memory");
}

static u64 call(const void *at)
{
	u64 result;

	__asm__ volatile("call *%1"
			 : "=a"(result)
			 : "r"(at)
			 : "memory", "cc", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
	return result;
}

static u8 in_data[64] __attribute__((section(".data"), aligned(64)));

static void check_places(void)
{
	u8 on_stack[16], *heap = new_page();

	put_function(in_data, 1);
	expect(call(in_data), 1, "code in initialised data");
	put_function(on_stack, 2);
	expect(call(on_stack), 2, "code on the stack");
	put_function(heap, 3);
	expect(call(heap), 3, "code on a heap page");
	put_function(heap + 4093, 4); /* its last bytes are on the next page */
	if (new_page() != heap + 4096)
		give_up("pages are not in a row");
	expect(call(heap + 4093), 4, "code across two pages");
}

static void check_changes(void)
{
	u8 *heap = new_page(), *next = new_page();
	bool right = true;

	for (u32 i = 0; i < 100; i++) {
		put_function(heap, i);
		right &= step(call(heap), i, "round");
	}
	expect_true(right, "code that is changed 100 times");
	right = true;
	for (u32 i = 0; i < 100; i++) {
		put_function(next - 3, i << 16 | i);
		right &= step(call(next - 3), i << 16 | i, "round");
	}
	expect_true(right, "across two pages too");
	/* The upper half of the operand is on the second page. */
	next[1] = 0x77;
	expect(call(next - 3), 0x77000000 | 99 << 16 | 99, "a change on the second page alone");
}

/* A page with two addresses: written through one, run through the other. */
static void check_aliases(u64 *space)
{
	u8 *page = new_page(), *alias = (u8 *)BASE;
	bool right = true;

	map(space, BASE, (uintptr_t)page, PAGE_4K, RIGHTS);
	map(space, BASE + 4096, (uintptr_t)page, PAGE_4K, RIGHTS);
	write_cr3((uintptr_t)space);
	for (u32 i = 0; i < 50; i++) {
		put_function(page, i);
		right &= step(call(alias), i, "by the first alias");
		put_function(alias, 100 + i);
		right &= step(call(alias + 4096), 100 + i, "by the second alias");
		right &= step(call(page), 100 + i, "by its own address");
	}
	expect_true(right, "code that is changed through another address");
}

/* One address, two address spaces, two pages of code. */
static void check_spaces(u64 *space)
{
	u8 *pages[2] = {new_page(), new_page()}, *at = (u8 *)(BASE + (1ull << 30));
	u64 *other = new_address_space();
	bool right = true;

	put_function(pages[0], 11);
	put_function(pages[1], 22);
	map(space, (uintptr_t)at, (uintptr_t)pages[0], PAGE_4K, RIGHTS);
	map(other, (uintptr_t)at, (uintptr_t)pages[1], PAGE_4K, RIGHTS);
	for (u32 i = 0; i < 50; i++) {
		write_cr3((uintptr_t)space);
		right &= step(call(at), 11, "the first space");
		write_cr3((uintptr_t)other);
		right &= step(call(at), 22, "the second space");
	}
	put_function(pages[1], 33);
	right &= step(call(at), 33, "changed in the second");
	write_cr3((uintptr_t)space);
	right &= step(call(at), 11, "not in the first");
	expect_true(right, "code of two address spaces at one address");
	*entry_of(space, (uintptr_t)at, PAGE_4K) = (uintptr_t)pages[1] | RIGHTS;
	invlpg((uintptr_t)at);
	expect(call(at), 33, "another page by INVLPG is other code");
}

/* In a page of its own that can be written: it changes the instruction behind the one that writes. */
static void check_ahead(void)
{
	/*
	 *	xorl %eax, %eax
	 *	movb $5, 1f + 1(%rip)	the operand of the next instruction
	 * 1:	movb $1, %al
	 *	ret
	 */
	static const u8 code[] = {0x31, 0xc0, 0xc6, 0x05, 0x01, 0, 0, 0, 5, 0xb0, 1, 0xc3};
	u8 *page = new_page(), *from, *to;
	u64 count;

	for (u32 i = 0; i < sizeof(code); i++)
		page[i] = code[i];
	__asm__ volatile("" : : : "memory");
	expect(call(page), 5, "code that changes the instruction in front of it");
	page[10] = 1;
	__asm__ volatile("" : : : "memory");
	expect(call(page), 5, "again, from the start");
	/* By a string instruction, over itself and what follows. */
	put_function(page + 64, 7);
	put_function(page + 128, 9);
	from = page + 128;
	to = page + 64;
	count = 6;
	__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
	expect(call(page + 64), 9, "code that was copied over code");
}

void image_main(void)
{
	u64 *space = new_address_space();

	check_places();
	check_changes();
	check_aliases(space);
	check_spaces(space);
	check_ahead();
}
