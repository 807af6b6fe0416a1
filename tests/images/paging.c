// SPDX-License-Identifier: Apache-2.0
/*
 * paging.c - translation and its rights: page sizes, accessed and dirty bits, WP, user pages, NX,
 * reserved bits, error codes, address spaces, flushing.
 *
 * Translations that are not flushed may or may not be remembered: nothing here depends on that.
 *
 * Not exercised: physical addresses above the width that CPUID announces, which are reserved bits on
 * silicon and not in this machine (docs/model.md).
 */
#include "page_tables.h"
#include "runtime.h"

#define RIGHTS (PTE_PRESENT | PTE_WRITE | PTE_USER)
#define BASE (1ull << 40) /* where this image maps */
#define CR0_WP BIT_ULL(16)
#define EFER 0xc0000080
#define EFER_NXE BIT_ULL(11)

/* Bits of a page fault's error code */
#define PF_PRESENT 1
#define PF_WRITE 2
#define PF_USER 4
#define PF_RESERVED 8
#define PF_FETCH 16

static u64 *space;

static u64 load(u64 at)
{
	return *(volatile u64 *)at;
}

static void store(u64 at, u64 value)
{
	*(volatile u64 *)at = value;
}

static u64 attempt_load(u64 at)
{
	return attempt("movq (%0), %%rax", : : "r"(at) : "rax", "memory");
}

static u64 attempt_store(u64 at)
{
	return attempt("movq $7, (%0)", : : "r"(at) : "memory");
}

/* Jump there; RET stands there, or it faults. RSP is as before either way. */
static u64 attempt_call(u64 at)
{
	return attempt("movq %%rsp, %%rbx\n"
		       "movq $7f, resume_at\n"
		       "call *%0\n"
		       "7: movq %%rbx, %%rsp\n",
		       : : "r"(at) : "rbx", "memory");
}

static void flush(void)
{
	write_cr3(read_cr3());
}

static bool faulted(u64 vector, u64 error, u64 at, const char *name)
{
	return step(vector, VECTOR_PF, "%s faults", name) &&
	       step(caught.error, error, "error code, %s", name) &&
	       step(caught.cr2, at, "CR2, %s", name);
}

static u64 remap(u64 at, enum page_level level, u64 flags)
{
	u64 *entry = entry_of(space, at, level);
	u64 before = *entry;

	*entry = (*entry & PTE_ADDRESS) | (level > PAGE_4K ? PTE_LARGE : 0) | flags;
	flush();
	return before;
}

/* ---- sizes ---- */

static void check_sizes(void)
{
	u64 small = (uintptr_t)new_page(), large = (uintptr_t)new_large_page();
	u64 at = BASE;

	map(space, at, small, PAGE_4K, RIGHTS);
	store(small + 0x123, 0x1111);
	expect(load(at + 0x123), 0x1111, "a page of 4 KB");
	store(at + 0x800, 0x2222);
	expect(load(small + 0x800), 0x2222, "written through it");

	at = BASE + (1ull << 30);
	map(space, at, large, PAGE_2M, RIGHTS);
	store(large + 0x1ff000, 0x3333);
	expect(load(at + 0x1ff000), 0x3333, "a page of 2 MB");

	at = BASE + (5ull << 30);
	map(space, at, 0, PAGE_1G, RIGHTS);
	store(large + 0x10000, 0x4444);
	expect(load(at + large + 0x10000), 0x4444, "a page of 1 GB");
	expect(load(at + small + 0x123), 0x1111, "all of it");
	/* The last 8 bytes of one page and the first of the next lie apart. */
	at = BASE + (2ull << 30);
	map(space, at, small, PAGE_4K, RIGHTS);
	map(space, at + 4096, large, PAGE_4K, RIGHTS);
	store(at + 4092, 0x8877665544332211);
	expect(load(small + 4088) >> 32, 0x44332211, "a store across two pages, low");
	expect((u32)load(large), 0x88776655, "and high");
}

/* ---- accessed and dirty ---- */

static u64 bits_of(u64 at, enum page_level level)
{
	return *entry_of(space, at, level) & (PTE_ACCESSED | PTE_DIRTY);
}

static void check_accessed_and_dirty(void)
{
	u64 at = BASE + (10ull << 30), page = (uintptr_t)new_page();

	map(space, at, page, PAGE_4K, RIGHTS);
	flush();
	expect(bits_of(at, PAGE_4K), 0, "a new entry is neither accessed nor dirty");
	load(at);
	expect(bits_of(at, PAGE_4K), PTE_ACCESSED, "a load marks it accessed");
	expect(bits_of(at, PAGE_2M), PTE_ACCESSED, "and the entries above");
	store(at, 1);
	expect(bits_of(at, PAGE_4K), PTE_ACCESSED | PTE_DIRTY, "a store marks it dirty");
	expect(bits_of(at, PAGE_2M), PTE_ACCESSED, "but not the entries above");
	remap(at, PAGE_4K, RIGHTS);
	store(at, 1);
	expect(bits_of(at, PAGE_4K), PTE_ACCESSED | PTE_DIRTY,
	       "cleared and flushed, it is marked anew");
	remap(at, PAGE_4K, PTE_PRESENT | PTE_USER);
	attempt_store(at);
	expect(bits_of(at, PAGE_4K) & PTE_DIRTY, 0, "a store that faults leaves no dirty bit");
	at = BASE + (11ull << 30);
	map(space, at, (uintptr_t)new_large_page(), PAGE_2M, RIGHTS);
	store(at + 0x100000, 1);
	expect(bits_of(at, PAGE_2M), PTE_ACCESSED | PTE_DIRTY, "a page of 2 MB likewise");
}

/* ---- rights ---- */

static u64 user_load(u64 at)
{
	return attempt_load(at);
}

static u64 user_store(u64 at)
{
	return attempt_store(at);
}

static u64 user_call(u64 at)
{
	return attempt_call(at);
}

static void check_rights(void)
{
	u64 at = BASE + (12ull << 30), page = (uintptr_t)new_page();
	bool right = true;

	store(page, 0xc3); /* RET */
	map(space, at, page, PAGE_4K, PTE_PRESENT | PTE_USER);
	flush();
	right &= faulted(attempt_store(at), PF_PRESENT | PF_WRITE, at, "a store to a page to read");
	write_cr0(read_cr0() & ~CR0_WP);
	right &= step(attempt_store(at + 8), NO_VECTOR, "without CR0.WP");
	right &= faulted(run_user(user_store, at), PF_PRESENT | PF_WRITE | PF_USER, at,
			 "a user store there, without CR0.WP");
	write_cr0(read_cr0() | CR0_WP);
	right &= faulted(attempt_store(at), PF_PRESENT | PF_WRITE, at, "with it again");
	expect_true(right, "CR0.WP holds the kernel to pages that cannot be written");

	right = step(run_user(user_load, at), NO_VECTOR, "a user load of a user page");
	right &= step(run_user(user_call, at), NO_VECTOR, "user code in a user page");
	remap(at, PAGE_4K, PTE_PRESENT | PTE_WRITE);
	right &= step(attempt_load(at), NO_VECTOR, "a kernel load of a kernel page");
	right &= faulted(run_user(user_load, at), PF_PRESENT | PF_USER, at,
			 "a user load of a kernel page");
	right &= faulted(run_user(user_store, at), PF_PRESENT | PF_USER | PF_WRITE, at,
			 "a user store to a kernel page");
	right &= faulted(run_user(user_call, at), PF_PRESENT | PF_USER | PF_FETCH, at,
			 "user code in a kernel page");
	remap(at, PAGE_4K, RIGHTS);
	*entry_of(space, at, PAGE_2M) &= ~PTE_USER;
	flush();
	right &= faulted(run_user(user_load, at), PF_PRESENT | PF_USER, at,
			 "a user load below a kernel table");
	*entry_of(space, at, PAGE_2M) |= PTE_USER;
	expect_true(right, "user code is held to user pages, at every level");

	remap(at, PAGE_4K, 0);
	right = faulted(attempt_load(at), 0, at, "a page that is not present");
	right &= faulted(run_user(user_load, at), PF_USER, at, "for user code");
	expect_true(right, "pages that are not present");
}

static void check_nx(void)
{
	u64 at = BASE + (13ull << 30), page = (uintptr_t)new_page();
	u64 efer = rdmsr(EFER);
	bool right = true;

	store(page, 0xc3); /* RET */
	map(space, at, page, PAGE_4K, RIGHTS);
	flush();
	right &= step(attempt_call(at), NO_VECTOR, "code in a heap page");
	remap(at, PAGE_4K, RIGHTS | PTE_NX);
	right &= faulted(attempt_call(at), PF_PRESENT | PF_FETCH, at, "code in a page with NX");
	right &= faulted(run_user(user_call, at), PF_PRESENT | PF_FETCH | PF_USER, at,
			 "user code there");
	right &= step(attempt_load(at), NO_VECTOR, "data there");
	remap(at, PAGE_4K, RIGHTS);
	*entry_of(space, at, PAGE_2M) |= PTE_NX;
	flush();
	right &= faulted(attempt_call(at), PF_PRESENT | PF_FETCH, at, "NX of a table");
	*entry_of(space, at, PAGE_2M) &= ~PTE_NX;
	expect_true(right, "NX keeps code out of a page, data not");

	/* Without EFER.NXE the bit is reserved. */
	remap(at, PAGE_4K, RIGHTS | PTE_NX);
	wrmsr(EFER, efer & ~EFER_NXE);
	flush();
	right = faulted(attempt_load(at), PF_PRESENT | PF_RESERVED, at, "NX without EFER.NXE");
	wrmsr(EFER, efer);
	remap(at, PAGE_4K, RIGHTS);
	at = BASE + (15ull << 30);
	map(space, at, (uintptr_t)new_large_page() | BIT_ULL(13), PAGE_2M, RIGHTS);
	flush();
	right &= faulted(attempt_load(at), PF_PRESENT | PF_RESERVED, at,
			 "a page of 2 MB that is not on a boundary");
	*entry_of(space, at, PAGE_2M) &= ~BIT_ULL(13);
	flush();
	right &= step(attempt_load(at), NO_VECTOR, "on one again");
	expect_true(right, "reserved bits of an entry fault");
}

/* ---- address spaces ---- */

static void check_spaces(void)
{
	u64 at = BASE + (14ull << 30), saved = read_cr3();
	u64 page[2] = {(uintptr_t)new_page(), (uintptr_t)new_page()};
	u64 *other = new_address_space();
	bool right = true;

	map(space, at, page[0], PAGE_4K, RIGHTS);
	map(other, at, page[1], PAGE_4K, RIGHTS);
	flush();
	for (u32 round = 0; round < 20; round++) {
		write_cr3((uintptr_t)space);
		store(at + 8 * round, round);
		write_cr3((uintptr_t)other);
		store(at + 8 * round, 1000 + round);
		write_cr3((uintptr_t)space);
		right &= step(load(at + 8 * round), round, "the first space");
	}
	write_cr3(saved);
	for (u32 round = 0; round < 20; round++) {
		right &= step(load(page[0] + 8 * round), round, "the first page");
		right &= step(load(page[1] + 8 * round), 1000 + round, "the second page");
	}
	expect_true(right, "two address spaces have two pages at one address");

	right = true;
	for (u32 round = 0; round < 20; round++) {
		*entry_of(space, at, PAGE_4K) = page[round & 1] | RIGHTS;
		invlpg(at);
		right &= step(load(at), (round & 1) * 1000, "behind INVLPG");
	}
	expect_true(right, "INVLPG makes a new entry seen");
}

void image_main(void)
{
	space = new_address_space();
	write_cr3((uintptr_t)space);
	check_sizes();
	check_accessed_and_dirty();
	check_rights();
	check_nx();
	check_spaces();
}
