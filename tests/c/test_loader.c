// SPDX-License-Identifier: Apache-2.0
/*
 * test_loader.c - csrc/platform/loader*.c: the start state of a good image, every class of bad one
 * with its message, and random mutations that must not write outside RAM.
 */
#include "platform/loader.h"
#include "test.h"

#include <elf.h>
#include <stdlib.h>

#define MB (1ull << 20)
#define RAM_SIZE (4 * MB)
#define USABLE (RAM_SIZE - LOADER_RESERVED)
#define CODE 0x100000ull
#define DATA 0x102000ull
#define IMAGE_SIZE 0x3000
#define SPARE 3 /* program headers after the two that are used */

/* Two segments: code (0x100 bytes at 0x1000) and data (0x80 bytes at 0x2000, 0x1000 in memory). */
struct image {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2 + SPARE];
};

static u8 file[IMAGE_SIZE + 64];
static struct image *const im = (struct image *)(void *)file;
static struct guest_ram ram;
static struct cpu_start start;
static char error[LOADER_ERROR_MAX];

static void good_image(void)
{
	memset(file, 0, sizeof(file));
	memcpy(im->eh.e_ident, ELFMAG, SELFMAG);
	im->eh.e_ident[EI_CLASS] = ELFCLASS64;
	im->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	im->eh.e_ident[EI_VERSION] = EV_CURRENT;
	im->eh.e_type = ET_EXEC;
	im->eh.e_machine = EM_X86_64;
	im->eh.e_version = EV_CURRENT;
	im->eh.e_entry = CODE + 0x10;
	im->eh.e_phoff = sizeof(im->eh);
	im->eh.e_ehsize = sizeof(im->eh);
	im->eh.e_phentsize = sizeof(im->ph[0]);
	im->eh.e_phnum = 2;
	im->ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
				 .p_flags = PF_R | PF_X,
				 .p_offset = 0x1000,
				 .p_vaddr = CODE,
				 .p_paddr = CODE,
				 .p_filesz = 0x100,
				 .p_memsz = 0x100,
				 .p_align = 0x1000};
	im->ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
				 .p_flags = PF_R | PF_W,
				 .p_offset = 0x2000,
				 .p_vaddr = DATA,
				 .p_paddr = DATA,
				 .p_filesz = 0x80,
				 .p_memsz = 0x1000,
				 .p_align = 0x1000};
	memset(file + 0x1000, 0xc3, 0x100);
	memset(file + 0x2000, 0xda, 0x80);
}

static void new_ram(u64 size)
{
	free(ram.base);
	ram = (struct guest_ram){.base = aligned_alloc(4096, size), .size = size};
	memset(ram.base, 0, size);
}

static void setup(void)
{
	good_image();
	new_ram(RAM_SIZE);
}

static int load_with(const char *cmdline, const u8 *image, u64 size)
{
	const struct loader_boot boot = {.cmdline = cmdline};

	return load_image(&ram, image, size, &boot, &start, error);
}

static int load(u64 size)
{
	return load_with("a=1", file, size);
}

static bool ram_untouched(void)
{
	for (u64 i = 0; i < ram.size; i++) {
		if (ram.base[i])
			return false;
	}
	return true;
}

/* The image is refused, RAM is as before, and the message is one line with @words in it. */
static void refused(u64 size, const char *words)
{
	memset(error, 'x', sizeof(error));
	EXPECT_EQ((u64)-1, (s64)load(size));
	if (!memchr(error, 0, sizeof(error))) {
		EXPECT_TRUE(!"error is terminated");
		return;
	}
	if (!strstr(error, words) || strchr(error, '\n'))
		EXPECT_STR(words, error);
	EXPECT_TRUE(strlen(error) < LOADER_ERROR_MAX - 1); /* not cut off */
	EXPECT_TRUE(ram_untouched());
}

static u32 guest_u32(u64 pa)
{
	u32 value;

	memcpy(&value, ram.base + pa, sizeof(value));
	return value;
}

static u64 guest_u64(u64 pa)
{
	return guest_u32(pa) | (u64)guest_u32(pa + 4) << 32;
}

TEST(loader_places_segments)
{
	setup();
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_STR("", error);
	EXPECT_EQ(0, ram.base[CODE - 1]);
	EXPECT_EQ(0xc3, ram.base[CODE]);
	EXPECT_EQ(0xc3, ram.base[CODE + 0xff]);
	EXPECT_EQ(0, ram.base[CODE + 0x100]);
	EXPECT_EQ(0xda, ram.base[DATA + 0x7f]);
	EXPECT_EQ(0, ram.base[DATA + 0x80]);
	EXPECT_EQ(CODE + 0x10, start.rip);
}

TEST(loader_start_state)
{
	setup();
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(0x80010033, start.cr0);
	EXPECT_EQ(0x620, start.cr4);
	EXPECT_EQ(0xd00, start.efer);
	EXPECT_EQ(2, start.rflags);
	EXPECT_EQ(0, start.rsp % 16);
	EXPECT_TRUE(start.rsp <= RAM_SIZE && start.rsp - 65536 > USABLE + 0x18000);
	EXPECT_EQ(0x08, start.cs.selector);
	EXPECT_EQ(0xa09b, start.cs.attr);
	EXPECT_EQ(0x10, start.ss.selector);
	EXPECT_EQ(0xc093, start.ss.attr);
	EXPECT_EQ(0x10, start.ds.selector);
	EXPECT_EQ(23, start.gdt_limit);
	EXPECT_EQ(0, guest_u64(start.gdt_base));
	EXPECT_EQ(0x00af9b000000ffffull, guest_u64(start.gdt_base + 8));
	EXPECT_EQ(0x00cf93000000ffffull, guest_u64(start.gdt_base + 16));
	EXPECT_EQ(0, start.idt_limit);
}

TEST(loader_descriptors_agree_with_the_gdt)
{
	setup();
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(start.cs.attr, (guest_u64(start.gdt_base + 8) >> 40) & 0xf0ff);
	EXPECT_EQ(start.ss.attr, (guest_u64(start.gdt_base + 16) >> 40) & 0xf0ff);
	EXPECT_EQ(~0u, start.cs.limit);
}

TEST(loader_page_tables_map_4_gb)
{
	setup();
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(0, start.cr3 & 0xfff);
	EXPECT_TRUE(start.cr3 >= USABLE);
	for (u64 va = 0; va < 4096 * MB; va += 2 * MB) {
		u64 pml4e = guest_u64(start.cr3 + (va >> 39) * 8);
		u64 pdpte = guest_u64((pml4e & ~0xfffull) + ((va >> 30) & 511) * 8);
		u64 pde = guest_u64((pdpte & ~0xfffull) + ((va >> 21) & 511) * 8);

		EXPECT_EQ(3, pml4e & 0xfff);
		EXPECT_EQ(3, pdpte & 0xfff);
		EXPECT_EQ(va | 0x83, pde);
	}
	EXPECT_EQ(0, guest_u64(start.cr3 + 8));
	EXPECT_EQ(0, guest_u64((guest_u64(start.cr3) & ~0xfffull) + 32));
}

TEST(loader_multiboot_information)
{
	u64 info, map;

	setup();
	EXPECT_EQ(0, load(IMAGE_SIZE));
	info = start.rdi;
	EXPECT_TRUE(info >= USABLE && info < RAM_SIZE);
	EXPECT_EQ(0x4d, guest_u32(info)); /* bits 0, 2, 3 and 6 */
	EXPECT_EQ(640, guest_u32(info + 4));
	EXPECT_EQ(2 * 1024, guest_u32(info + 8)); /* 4 MB - 1 reserved - 1 low */
	EXPECT_EQ(0, guest_u32(info + 20));
	EXPECT_STR("guest a=1", (char *)ram.base + guest_u32(info + 16));
	EXPECT_EQ(48, guest_u32(info + 44));
	map = guest_u32(info + 48);
	EXPECT_EQ(20, guest_u32(map));
	EXPECT_EQ(0, guest_u64(map + 4));
	EXPECT_EQ(USABLE, guest_u64(map + 12));
	EXPECT_EQ(1, guest_u32(map + 20));
	EXPECT_EQ(USABLE, guest_u64(map + 28));
	EXPECT_EQ(LOADER_RESERVED, guest_u64(map + 36));
	EXPECT_EQ(2, guest_u32(map + 44));
}

/* One entry: start, end, string, 0; the bytes as given, a zero behind them. */
TEST(loader_hands_over_a_module)
{
	static const u8 text[] = "A=1\nB=two\n"; /* 10 bytes and the zero */
	struct loader_boot boot = {.module = text, .module_size = 10};
	static u8 most[LOADER_MODULE_MAX + 1];
	u64 info, list;
	u32 module;

	setup();
	EXPECT_EQ(0, load_image(&ram, file, IMAGE_SIZE, &boot, &start, error));
	info = start.rdi;
	list = guest_u32(info + 24);
	module = guest_u32(list);
	EXPECT_EQ(1, guest_u32(info + 20));
	EXPECT_TRUE(module >= USABLE && module < RAM_SIZE);
	EXPECT_EQ(module + 10, guest_u32(list + 4));
	EXPECT_STR("env", (char *)ram.base + guest_u32(list + 8));
	EXPECT_EQ(0, guest_u32(list + 12));
	EXPECT_STR("A=1\nB=two\n", (char *)ram.base + module);
	EXPECT_STR("guest", (char *)ram.base + guest_u32(info + 16));

	/* No bytes are a module too. */
	setup();
	boot.module_size = 0;
	EXPECT_EQ(0, load_image(&ram, file, IMAGE_SIZE, &boot, &start, error));
	EXPECT_EQ(1, guest_u32(start.rdi + 20));
	list = guest_u32(start.rdi + 24);
	EXPECT_EQ(guest_u32(list), guest_u32(list + 4));

	/* The longest, and one byte more. */
	setup();
	memset(most, 'z', sizeof(most));
	boot = (struct loader_boot){.module = most, .module_size = LOADER_MODULE_MAX};
	EXPECT_EQ(0, load_image(&ram, file, IMAGE_SIZE, &boot, &start, error));
	module = guest_u32(guest_u32(start.rdi + 24));
	EXPECT_EQ(LOADER_MODULE_MAX, strlen((char *)ram.base + module));
	EXPECT_EQ(0, ram.base[module + LOADER_MODULE_MAX]);
	boot.module_size++;
	EXPECT_EQ((u64)-1, (s64)load_image(&ram, file, IMAGE_SIZE, &boot, &start, error));
	EXPECT_TRUE(strstr(error, "the module (guest.env_file) has 65536 bytes") != NULL);
}

TEST(loader_command_line)
{
	static char longest[65536 + 16];
	u64 fits = 65536 - sizeof("guest ");

	setup();
	EXPECT_EQ(0, load_with(NULL, file, IMAGE_SIZE));
	EXPECT_STR("guest", (char *)ram.base + guest_u32(start.rdi + 16));
	EXPECT_EQ(0, load_with("", file, IMAGE_SIZE));
	EXPECT_STR("guest", (char *)ram.base + guest_u32(start.rdi + 16));
	memset(longest, 'y', fits);
	EXPECT_EQ(0, load_with(longest, file, IMAGE_SIZE));
	EXPECT_EQ(65535, strlen((char *)ram.base + guest_u32(start.rdi + 16)));
	EXPECT_EQ(0, ram.base[USABLE + 0x18000]);
	longest[fits] = 'y';
	EXPECT_EQ((u64)-1, (s64)load_with(longest, file, IMAGE_SIZE));
	EXPECT_TRUE(strstr(error, "65530 characters, at most 65529 fit") != NULL);
}

TEST(loader_unaligned_image)
{
	setup();
	memmove(file + 1, file, IMAGE_SIZE);
	EXPECT_EQ(0, load_with(NULL, file + 1, IMAGE_SIZE));
	EXPECT_EQ(0xc3, ram.base[CODE]);
}

TEST(loader_smallest_file_and_edges)
{
	setup();
	EXPECT_EQ(0, load(0x2080)); /* exactly to the end of the last segment */
	setup();
	im->ph[1].p_vaddr = CODE + 0x100; /* touching is not overlapping */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	im->ph[1].p_vaddr = USABLE - 0x1000; /* up to the reserved area */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	im->ph[1].p_vaddr = 0; /* page 0 is RAM */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	im->ph[1].p_filesz = 0; /* bss only: the offset still has to be in the file */
	im->ph[1].p_offset = IMAGE_SIZE;
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	im->ph[1].p_memsz = im->ph[1].p_filesz = 0; /* empty: no place needed */
	im->ph[1].p_vaddr = ~0ull;
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	im->ph[1].p_paddr = 0x12345678; /* not looked at */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(0xda, ram.base[DATA]);
	setup();
	im->eh.e_phnum = 3;
	im->ph[2].p_type = PT_NOTE; /* other headers are skipped, however odd */
	im->ph[2].p_offset = ~0ull;
	EXPECT_EQ(0, load(IMAGE_SIZE));
}

TEST(loader_refuses_what_is_not_elf)
{
	setup();
	refused(0, "empty");
	refused(3, "not an ELF image");
	file[0] = 0x7e;
	refused(IMAGE_SIZE, "not an ELF image");
	setup();
	for (u64 size = 4; size < 64; size++)
		refused(size, "ELF header truncated");
	refused(63, "the image has 63 of 64 bytes");
}

TEST(loader_refuses_other_classes_and_machines)
{
	setup();
	im->eh.e_ident[EI_CLASS] = ELFCLASS32;
	refused(IMAGE_SIZE, "the image is 32-bit ELF without a multiboot header");
	refused(52, "the image is 32-bit ELF without a multiboot header");
	im->eh.e_ident[EI_CLASS] = 7;
	refused(IMAGE_SIZE, "ELF class 7");
	setup();
	im->eh.e_ident[EI_DATA] = ELFDATA2MSB;
	refused(IMAGE_SIZE, "not little endian");
	setup();
	im->eh.e_ident[EI_VERSION] = 0;
	refused(IMAGE_SIZE, "ELF version 0");
	setup();
	im->eh.e_machine = EM_AARCH64;
	refused(IMAGE_SIZE, "ELF machine 183 is not x86-64");
}

TEST(loader_refuses_other_types)
{
	setup();
	im->eh.e_type = ET_DYN;
	refused(IMAGE_SIZE, "link it with -static -no-pie");
	im->eh.e_type = ET_REL;
	refused(IMAGE_SIZE, "object file (ET_REL)");
	im->eh.e_type = ET_CORE;
	refused(IMAGE_SIZE, "ELF type 4");
	setup();
	im->eh.e_phnum = 3;
	im->ph[2].p_type = PT_INTERP;
	refused(IMAGE_SIZE, "-static -no-pie");
}

TEST(loader_refuses_bad_program_headers)
{
	setup();
	im->eh.e_phentsize = 32;
	refused(IMAGE_SIZE, "program headers of 32 bytes instead of 56");
	setup();
	im->eh.e_phnum = 0;
	refused(IMAGE_SIZE, "no program headers");
	setup();
	im->eh.e_phoff = IMAGE_SIZE - 111;
	refused(IMAGE_SIZE, "past the end of the image");
	im->eh.e_phoff = ~0ull;
	refused(IMAGE_SIZE, "past the end of the image");
	im->eh.e_phoff = 0ull - 64;
	refused(IMAGE_SIZE, "past the end of the image");
	setup();
	im->eh.e_phnum = 0xffff;
	refused(IMAGE_SIZE, "65535 program headers");
	setup();
	refused(64 + 2 * 56 - 1, "past the end of the image");
	im->ph[0].p_type = im->ph[1].p_type = PT_NULL;
	refused(IMAGE_SIZE, "no loadable segment");
}

TEST(loader_refuses_bad_file_ranges)
{
	setup();
	refused(0x207f, "segment 1 (0x80 bytes at offset 0x2000) reaches past the end");
	im->ph[0].p_filesz = 0x101;
	refused(IMAGE_SIZE, "more bytes in the file (0x101) than in memory (0x100)");
	setup();
	im->ph[0].p_offset = ~0ull;
	refused(IMAGE_SIZE, "past the end of the image");
	im->ph[0].p_offset = 0ull - 0x80;
	refused(IMAGE_SIZE, "past the end of the image");
	setup();
	im->ph[1].p_filesz = ~0ull;
	im->ph[1].p_memsz = ~0ull;
	refused(IMAGE_SIZE, "past the end of the image");
}

TEST(loader_refuses_bad_places)
{
	setup();
	im->ph[1].p_vaddr = USABLE - 0xfff; /* one byte into the reserved area */
	refused(IMAGE_SIZE, "does not fit in 4 MB of memory");
	refused(IMAGE_SIZE, "set guest.memory_mb to 5 or more");
	im->ph[1].p_vaddr = 0x8000000;
	refused(IMAGE_SIZE, "set guest.memory_mb to 130 or more");
	setup();
	im->ph[1].p_memsz = 0x40000000; /* a large bss */
	refused(IMAGE_SIZE, "set guest.memory_mb to 1027 or more");
	setup();
	im->ph[0].p_vaddr = 0xffffffff80000000ull;
	refused(IMAGE_SIZE, "virtual is physical here");
	im->ph[0].p_vaddr = 0xfee00000;
	refused(IMAGE_SIZE, "virtual is physical here");
	im->ph[0].p_vaddr = ~0ull - 0xff; /* ends at 2^64 */
	refused(IMAGE_SIZE, "wraps around");
	im->ph[0].p_vaddr = ~0ull;
	refused(IMAGE_SIZE, "wraps around");
	setup();
	im->ph[1].p_memsz = ~0ull;
	refused(IMAGE_SIZE, "wraps around");
}

/* The memory that a message asks for is enough, and one less is not. */
TEST(loader_memory_hint_is_exact)
{
	setup();
	im->ph[1].p_vaddr = 7 * MB;
	refused(IMAGE_SIZE, "set guest.memory_mb to 9 or more");
	new_ram(8 * MB);
	refused(IMAGE_SIZE, "set guest.memory_mb to 9 or more");
	new_ram(9 * MB);
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	im->ph[1].p_vaddr = 7 * MB - 0x1000;
	refused(IMAGE_SIZE, "set guest.memory_mb to 8 or more");
	new_ram(8 * MB);
	EXPECT_EQ(0, load(IMAGE_SIZE));
}

TEST(loader_refuses_overlaps)
{
	setup();
	im->ph[1].p_vaddr = CODE + 0xff;
	refused(IMAGE_SIZE, "segments 0 and 1 overlap at 0x1000ff");
	im->ph[1].p_vaddr = CODE - 0xfff;
	refused(IMAGE_SIZE, "overlap at 0x100000");
	im->ph[1].p_vaddr = CODE - 0x800;
	refused(IMAGE_SIZE, "overlap");
	im->ph[1] = im->ph[0];
	refused(IMAGE_SIZE, "overlap");
}

TEST(loader_refuses_too_many_segments)
{
	setup();
	im->eh.e_phnum = 65;
	im->eh.e_phoff = 0x1000;
	for (u32 i = 0; i < 65; i++) {
		Elf64_Phdr ph = im->ph[0];

		ph.p_vaddr = CODE + i * 0x1000;
		ph.p_offset = 0x2800;
		memcpy(file + 0x1000 + i * sizeof(ph), &ph, sizeof(ph));
	}
	refused(IMAGE_SIZE, "more than 64 loadable segments");
	im->eh.e_phnum = 64;
	EXPECT_EQ(0, load(IMAGE_SIZE));
}

TEST(loader_refuses_bad_entries)
{
	setup();
	im->eh.e_entry = 0;
	refused(IMAGE_SIZE, "no entry");
	im->eh.e_entry = DATA; /* not executable */
	refused(IMAGE_SIZE, "entry 0x102000 is not inside");
	im->eh.e_entry = CODE + 0x100;
	refused(IMAGE_SIZE, "is not inside");
	im->eh.e_entry = CODE - 1;
	refused(IMAGE_SIZE, "is not inside");
	im->ph[0].p_memsz = 0x200;
	im->eh.e_entry = CODE + 0x180; /* zeros that the file does not hold */
	refused(IMAGE_SIZE, "is not inside");
	im->eh.e_entry = CODE;
	EXPECT_EQ(0, load(IMAGE_SIZE));
}

static void put_multiboot(u64 at, u32 flags, u32 wrong)
{
	u32 words[3] = {0x1badb002, flags, 0u - 0x1badb002u - flags + wrong};

	memcpy(file + at, words, sizeof(words));
}

/* The same image as ELF32, with the physical addresses that are given. */
static void make_elf32(u64 code_pa, u64 data_pa)
{
	Elf32_Ehdr eh = {.e_type = ET_EXEC,
			 .e_machine = EM_386,
			 .e_version = EV_CURRENT,
			 .e_entry = (u32)code_pa + 0x10,
			 .e_phoff = sizeof(eh),
			 .e_ehsize = sizeof(eh),
			 .e_phentsize = sizeof(Elf32_Phdr),
			 .e_phnum = 2};
	Elf32_Phdr ph[2] = {
		{.p_type = PT_LOAD,
		 .p_flags = PF_R | PF_X,
		 .p_offset = 0x1000,
		 .p_vaddr = 0xc0100000,
		 .p_paddr = (u32)code_pa,
		 .p_filesz = 0x100,
		 .p_memsz = 0x100},
		{.p_type = PT_LOAD,
		 .p_flags = PF_R | PF_W,
		 .p_offset = 0x2000,
		 .p_vaddr = 0xc0200000,
		 .p_paddr = (u32)data_pa,
		 .p_filesz = 0x80,
		 .p_memsz = 0x1000},
	};

	memset(file, 0, 0x1000);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS32;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	eh.e_ident[EI_VERSION] = EV_CURRENT;
	memcpy(file, &eh, sizeof(eh));
	memcpy(file + sizeof(eh), ph, sizeof(ph));
}

static void expect_multiboot_start(void)
{
	u64 info = USABLE + 0x7000;

	EXPECT_EQ(CODE + 0x10, start.rip);
	EXPECT_EQ(0x2badb002, start.rax);
	EXPECT_EQ(info, start.rbx);
	EXPECT_EQ(0x11, start.cr0);
	EXPECT_EQ(0, start.cr3 | start.cr4 | start.efer | start.rdi);
	EXPECT_EQ(2, start.rflags);
	EXPECT_EQ(0xc09b, start.cs.attr);
	EXPECT_EQ(0xc093, start.ds.attr);
	EXPECT_EQ(0, start.cs.base | start.ds.base | start.ss.base);
	EXPECT_EQ(0x00cf9b000000ffffull, guest_u64(start.gdt_base + 8));
	EXPECT_EQ(0, guest_u64(USABLE)); /* no page tables */
	EXPECT_EQ(1, guest_u32(info) & 1);
	EXPECT_EQ((USABLE - MB) >> 10, guest_u32(info + 8)); /* mem_upper */
	EXPECT_EQ(0, guest_u32(info + 20));		     /* mods_count */
	EXPECT_STR("guest a=1", (const char *)ram.base + guest_u32(info + 16));
	EXPECT_EQ(0xc3, ram.base[CODE]);
	EXPECT_EQ(0xda, ram.base[DATA]);
}

TEST(loader_starts_multiboot_images_in_32_bit_mode)
{
	setup();
	put_multiboot(0x1200, 0, 0);
	EXPECT_EQ(0, load(IMAGE_SIZE));
	expect_multiboot_start();
	setup();
	make_elf32(CODE, DATA);
	put_multiboot(8192 - 12, 3, 0); /* what flags 0 and 1 ask for is there */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	expect_multiboot_start();
	make_elf32(CODE, DATA);
	((Elf32_Ehdr *)(void *)file)->e_machine = EM_X86_64;
	put_multiboot(0x1200, 0, 0);
	EXPECT_EQ(0, load(IMAGE_SIZE));
	setup();
	put_multiboot(8192 - 8, 0, 0); /* not wholly in the first 8192 bytes */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(0, start.rax);
	setup();
	put_multiboot(0x1202, 0, 0); /* not aligned */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(0, start.rax);
	setup();
	put_multiboot(0x1200, 0, 1); /* checksum */
	EXPECT_EQ(0, load(IMAGE_SIZE));
	EXPECT_EQ(0, start.rax);
}

TEST(loader_refuses_bad_multiboot_images)
{
	setup();
	put_multiboot(0x1200, 4, 0);
	refused(IMAGE_SIZE, "video mode");
	put_multiboot(0x1200, 0x10000, 0);
	refused(IMAGE_SIZE, "flag 16");
	put_multiboot(0x1200, 0x8, 0);
	refused(IMAGE_SIZE, "flags 0x8");
	setup();
	memset(file, 0, sizeof(file));
	put_multiboot(0, 0, 0);
	refused(12, "not an ELF image");
	refused(11, "not an ELF image");
	make_elf32(CODE, DATA);
	put_multiboot(0x80, 0, 0);
	refused(0x8c, "segment 0 (0x100 bytes at offset 0x1000) reaches past the end");
	refused(IMAGE_SIZE - 0xfff, "segment 1");
	((Elf32_Ehdr *)(void *)file)->e_phentsize = 56;
	refused(IMAGE_SIZE, "program headers of 56 bytes instead of 32");
	make_elf32(CODE, DATA);
	put_multiboot(0x80, 0, 0);
	((Elf32_Ehdr *)(void *)file)->e_machine = EM_ARM;
	refused(IMAGE_SIZE, "ELF machine 40");
	make_elf32(CODE, CODE + 0x80);
	put_multiboot(0x80, 0, 0);
	refused(IMAGE_SIZE, "overlap");
	make_elf32(CODE, 0xfffff000u);
	put_multiboot(0x80, 0, 0);
	refused(IMAGE_SIZE, "segment 1");
	make_elf32(CODE, DATA);
	put_multiboot(0x80, 0, 0);
	((Elf32_Ehdr *)(void *)file)->e_entry = 0xc0100010;
	refused(IMAGE_SIZE, "is not inside the code");
	memset(file + sizeof(Elf32_Ehdr), 0, 2 * sizeof(Elf32_Phdr));
	refused(IMAGE_SIZE, "no loadable segment");
}

TEST(loader_refuses_bad_memory)
{
	u8 nothing[4096];

	good_image();
	free(ram.base);
	ram = (struct guest_ram){.base = NULL, .size = 0};
	EXPECT_EQ((u64)-1, (s64)load(IMAGE_SIZE));
	EXPECT_TRUE(strstr(error, "set guest.memory_mb to 2 or more") != NULL);
	ram = (struct guest_ram){.base = nothing, .size = LOADER_RESERVED};
	EXPECT_EQ((u64)-1, (s64)load(IMAGE_SIZE));
	ram.size = 3 * MB + 100;
	EXPECT_EQ((u64)-1, (s64)load(IMAGE_SIZE));
	ram.size = 4096 * MB;
	EXPECT_EQ((u64)-1, (s64)load(IMAGE_SIZE));
	EXPECT_TRUE(strstr(error, "set guest.memory_mb to 4064 or less") != NULL);
	ram.base = NULL;
}

static u64 next_random(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Values that sit on the edges of checks. */
static u64 odd_value(u64 *seed)
{
	static const u64 values[] = {0,		 1,	     0x7f,     0xff,	   0x1000,
				     IMAGE_SIZE, USABLE,     RAM_SIZE, 0x7fffffff, 0xffffffff,
				     1ull << 32, 1ull << 63, ~0ull};
	u64 r = next_random(seed);

	return values[r % ARRAY_SIZE(values)] + (r >> 32) % 5 - 2;
}

static void mutate(u8 *bytes, u64 size, u64 *seed)
{
	u64 changes = next_random(seed) % 4 + 1;
	u64 headers = sizeof(struct image);

	if (size < 16)
		return;
	for (u64 i = 0; i < changes; i++) {
		u64 r = next_random(seed);
		u64 limit = (r & 7 ? min_u64(headers, size) : size) - 8;
		u64 at = (r >> 8) % limit;
		u64 value = odd_value(seed);

		switch ((r >> 4) & 3) {
		case 0: bytes[at] = (u8)(r >> 40); break;
		case 1: bytes[at] ^= (u8)(1u << ((r >> 40) & 7)); break;
		case 2: memcpy(bytes + (at & ~7ull), &value, 8); break;
		default: memcpy(bytes + (at & ~1ull), &value, 2); break;
		}
	}
}

/*
 * Exact-size allocations let ASan see reads past the image; bytes around RAM show writes outside it
 * without ASan too. An accepted image starts inside RAM.
 */
TEST(loader_survives_mutations)
{
	const struct loader_boot boot = {
		.cmdline = "x", .module = (const u8 *)"y", .module_size = 1};
	u64 margin = 4096, size = 2 * MB;
	u8 *arena = aligned_alloc(4096, size + 2 * margin);
	u64 seed = 0x243f6a8885a308d3ull;
	u32 accepted = 0;

	memset(arena, 0, size + 2 * margin);
	memset(arena, 0x5a, margin);
	memset(arena + margin + size, 0x5a, margin);
	for (u32 i = 0; i < 60000 && !test_failed; i++) {
		struct guest_ram small = {.base = arena + margin, .size = size};
		u64 length = IMAGE_SIZE;
		u8 *copy;
		int rc;

		good_image();
		im->ph[0].p_vaddr -= 0x80000;
		im->ph[1].p_vaddr -= 0x80000;
		im->eh.e_entry -= 0x80000;
		if (next_random(&seed) % 4 == 0)
			length = next_random(&seed) % IMAGE_SIZE;
		copy = malloc(length ? length : 1);
		memcpy(copy, file, length);
		mutate(copy, length, &seed);
		memset(error, 'x', sizeof(error));
		rc = load_image(&small, copy, length, &boot, &start, error);
		free(copy);
		EXPECT_TRUE(rc == 0 || rc == -1);
		EXPECT_TRUE(memchr(error, 0, sizeof(error)) != NULL);
		EXPECT_EQ(rc != 0, error[0] != 0);
		if (!rc) {
			accepted++;
			EXPECT_TRUE(start.rip < size - LOADER_RESERVED);
		}
		EXPECT_EQ(0x5a, arena[margin - 1]);
		EXPECT_EQ(0x5a, arena[margin + size]);
	}
	for (u64 i = 0; i < margin; i++) {
		EXPECT_EQ(0x5a, arena[i]);
		EXPECT_EQ(0x5a, arena[margin + size + i]);
	}
	EXPECT_TRUE(accepted > 1000 && accepted < 59000);
	free(arena);
}

TEST_MAIN()
