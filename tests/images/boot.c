// SPDX-License-Identifier: Apache-2.0
/*
 * boot.c - what the loader hands over: magic, boot information, memory.
 */
#include "runtime.h"

#define MB 1024ull

struct mmap_entry {
	u32 size;
	u64 base, length;
	u32 type;
} __attribute__((packed));

/* Where the range ends that the map calls available and that has the first megabyte's end in it. */
static u64 end_of_available(void)
{
	u64 at = boot_info->mmap_addr, end = at + boot_info->mmap_length;

	while (at < end) {
		const struct mmap_entry *e = (const struct mmap_entry *)(uintptr_t)at;

		if (e->type == 1 && e->base <= 1024 * 1024 && e->base + e->length > 1024 * 1024)
			return e->base + e->length;
		at += e->size + 4;
	}
	return 0;
}

struct module {
	u32 start, end, string, reserved;
};

/* No module, or one: a text of lines KEY=value, which are repeated here, with a zero byte behind it. */
static void check_module(void)
{
	const struct module *m = (const struct module *)(uintptr_t)boot_info->mods_addr;
	const char *text;
	u64 length;

	if (!expect_between(boot_info->mods_count, 0, 1, "there is one module at most") ||
	    !boot_info->mods_count)
		return;
	expect_true(boot_info->flags & BOOT_INFO_MODULES, "a module is there");
	text = (const char *)(uintptr_t)m->start;
	length = m->end - m->start;
	expect_between(length, 1, 1 << 20, "it has a length");
	expect((u8)text[length], 0, "behind it is a zero byte");
	print("# module: ");
	for (u64 i = 0; i < length && text[i]; i++)
		if (text[i] == '\n')
			print(i + 1 < length ? "; " : "\n");
		else
			print("%c", (u64)(u8)text[i]);
}

static void check_boot_info(void)
{
	const char *cmdline = (const char *)(uintptr_t)boot_info->cmdline;
	u32 length = 0;

	expect(boot_magic, 0x2badb002, "EAX is multiboot's magic number");
	expect_true(boot_info->flags & BOOT_INFO_MEMORY, "sizes of memory are given");
	expect_true(boot_info->flags & BOOT_INFO_CMDLINE, "a command line is given");
	while (cmdline[length] && cmdline[length] != ' ')
		length++;
	expect_between(length, 1, 255, "the command line begins with a name");
	check_module();
}

/* Without being told otherwise the machine has 512 MB, and a test guest needs 96. */
static void check_memory(void)
{
	u64 upper_kb = boot_info->mem_upper;
	volatile u64 *page0 = (volatile u64 *)8;
	u64 bad = 0;

	expect_between(boot_info->mem_lower, 512, 640, "KB of low memory");
	expect_between(upper_kb, 95 * MB, 4064 * MB, "KB of upper memory");
	if (boot_info->flags & BOOT_INFO_MMAP)
		expect(end_of_available(), (upper_kb + 1024) << 10,
		       "the memory map and mem_upper agree");
	__asm__ volatile("" : "+r"(page0));
	*page0 = 0x1122334455667788;
	expect(*page0, 0x1122334455667788, "physical page 0 is RAM");
	/* Every 2 MB: its address, written to all and then read from all. */
	for (u64 at = (uintptr_t)image_end; at + 8 <= (upper_kb + 1024) << 10; at += 1 << 21)
		*(volatile u64 *)at = at;
	for (u64 at = (uintptr_t)image_end; at + 8 <= (upper_kb + 1024) << 10; at += 1 << 21)
		bad += *(volatile u64 *)at != at;
	expect(bad, 0, "all of %u MB holds what is written to it", upper_kb >> 10);
	expect(*(volatile u64 *)(((upper_kb + 1024) << 10) - 8), 0, "untouched memory is zero");
}

void image_main(void)
{
	check_boot_info();
	check_memory();
}
