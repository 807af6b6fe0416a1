// SPDX-License-Identifier: Apache-2.0
/*
 * loader.c - what kind of image it is, and the start state of a guest: long mode, or 32-bit
 * protected mode for an image with a multiboot header.
 *
 * The last LOADER_RESERVED bytes of RAM:
 *
 *	+0x00000  page tables: PML4, PDPT, four page directories (4 GB by 2 MB pages); long mode only
 *	+0x06000  GDT: null, 0x08 code (of 64 or 32 bits), 0x10 data
 *	+0x07000  multiboot information, memory map and list of modules
 *	+0x08000  command line, up to 64 KB: "guest", a space, the given text
 *	+0x18000  the module, up to 64 KB with a zero byte behind it
 *	+0x28000  boot stack, growing down from the end of RAM
 *
 * Interface
 *  - Pages are present, writable, executable and supervisor only; a guest that runs code at CPL 3
 *    builds page tables of its own.
 *  - There is no IDT (limit 0): an exception before the guest loads one is a triple fault. There is
 *    no TSS either.
 *  - Multiboot information: memory (bit 0), command line (bit 2), modules (bit 3; none or one, whose
 *    string is "env"), memory map (bit 6). mem_upper and the available part of the map end at the reserved area.
 *  - RAM is at most LOADER_MAX_MB and zeroed by its owner. A refused image leaves it untouched.
 *  - @image and @boot->module may be in any alignment.
 *
 * Not modelled
 *  - Multiboot headers that ask for a video mode (flag 2), give a.out load addresses (flag 16) or
 *    have unknown flags below 16 are refused. Multiboot 2 headers, compressed images, bzImage and the
 *    Linux boot protocol are not recognised.
 *  - Holes of a PC below 1 MB: all RAM from address 0 up is RAM.
 */
#include "platform/loader_internal.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define AREA_GDT 0x6000
#define AREA_INFO 0x7000
#define AREA_CMDLINE 0x8000
#define AREA_MODULE 0x18000
#define AREA_STACK 0x28000

#define PTE_PRESENT 1ull
#define PTE_WRITABLE 2ull
#define PDE_2MB 0x80ull

#define CR0_START 0x80010033ull /* PG, WP, NE, ET, MP, PE */
#define CR4_START 0x620ull	/* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_START 0xd00ull	/* NXE, LMA, LME */

#define CR0_PROTECTED 0x11ull /* ET, PE */

#define MULTIBOOT_MAGIC 0x1badb002u
#define MULTIBOOT_SEARCH 8192u
#define MULTIBOOT_BOOTED 0x2badb002u /* EAX at entry */
#define MULTIBOOT_ALIGN 0x01u	     /* modules on pages */
#define MULTIBOOT_MEMORY 0x02u
#define MULTIBOOT_VIDEO 0x04u
#define MULTIBOOT_ADDRESSES 0x10000u
#define MULTIBOOT_REQUIRED 0xffffu /* flags that must not be ignored */
#define MULTIBOOT_INFO_MEMORY 0x01u
#define MULTIBOOT_INFO_CMDLINE 0x04u
#define MULTIBOOT_INFO_MODULES 0x08u
#define MULTIBOOT_INFO_MMAP 0x40u

struct multiboot_info {
	u32 flags;
	u32 mem_lower; /* KB from 0, at most 640 */
	u32 mem_upper; /* KB from 1 MB */
	u32 boot_device;
	u32 cmdline;
	u32 mods_count;
	u32 mods_addr;
	u32 syms[4];
	u32 mmap_length;
	u32 mmap_addr;
	u32 rest[16];
};

struct multiboot_mmap {
	u32 size; /* of what follows */
	u32 base_low, base_high;
	u32 length_low, length_high;
	u32 type; /* 1: available, 2: reserved */
};

struct multiboot_module {
	u32 start, end; /* physical addresses; end is the first byte behind it */
	u32 string;
	u32 reserved;
};

/* What stands at AREA_INFO. */
struct boot_area {
	struct multiboot_info info;
	struct multiboot_mmap map[2];
	struct multiboot_module module;
	char module_string[4];
};

_Static_assert(sizeof(struct multiboot_info) == 116, "multiboot information layout");
_Static_assert(sizeof(struct multiboot_mmap) == 24, "multiboot memory map layout");
_Static_assert(sizeof(struct multiboot_module) == 16, "multiboot module layout");
_Static_assert(AREA_STACK - AREA_MODULE == LOADER_MODULE_MAX + 1, "room for the module");

static const u64 gdt[] = {0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};
static const u64 gdt32[] = {0, 0x00cf9b000000ffffull, 0x00cf93000000ffffull};

int loader_refuse(char *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, LOADER_ERROR_MAX, format, args);
	va_end(args);
	return -1;
}

static bool has_multiboot_header(const u8 *image, u64 size, u32 *flags)
{
	u64 end = min_u64(size, MULTIBOOT_SEARCH);

	for (u64 at = 0; at + 12 <= end; at += 4) {
		u32 words[3]; /* magic, flags, checksum */

		memcpy(words, image + at, sizeof(words));
		if (words[0] != MULTIBOOT_MAGIC || words[0] + words[1] + words[2] != 0)
			continue;
		*flags = words[1];
		return true;
	}
	return false;
}

static int check_multiboot(u32 flags, char *error)
{
	if (flags & MULTIBOOT_ADDRESSES)
		return loader_refuse(
			error, "the multiboot header has load addresses of its own (flag 16): make "
			       "it an ELF image and clear the flag");
	if (flags & MULTIBOOT_VIDEO)
		return loader_refuse(error,
				     "the multiboot header asks for a video mode (flag 2): there "
				     "is no video; clear the flag");
	if (flags & MULTIBOOT_REQUIRED & ~(MULTIBOOT_ALIGN | MULTIBOOT_MEMORY))
		return loader_refuse(
			error,
			"the multiboot header requires features that multiboot v1 does not "
			"define (flags %#x): clear them",
			flags);
	return 0;
}

static int check_memory(const struct guest_ram *ram, char *error)
{
	if (ram->size <= LOADER_RESERVED || ram->size % 4096)
		return loader_refuse(
			error,
			"guest memory of %llu bytes is too small or not whole pages: set "
			"guest.memory_mb to 2 or more",
			(unsigned long long)ram->size);
	if (ram->size >> 20 > LOADER_MAX_MB)
		return loader_refuse(error,
				     "guest memory of %llu MB reaches the APIC page: set "
				     "guest.memory_mb to %u or less",
				     (unsigned long long)(ram->size >> 20), LOADER_MAX_MB);
	return 0;
}

static int check_cmdline(const char *cmdline, char *error)
{
	size_t most = AREA_MODULE - AREA_CMDLINE - sizeof("guest ");
	size_t length = cmdline ? strlen(cmdline) : 0;

	if (length > most)
		return loader_refuse(
			error,
			"the guest command line has %zu characters, at most %zu fit: give "
			"fewer settings or events",
			length, most);
	return 0;
}

static int check_module(const struct loader_boot *boot, char *error)
{
	if (boot->module && boot->module_size > LOADER_MODULE_MAX)
		return loader_refuse(error,
				     "the module (guest.env_file) has %llu bytes, at most %u fit",
				     (unsigned long long)boot->module_size, LOADER_MODULE_MAX);
	return 0;
}

/* Guest memory is little endian, as the host is. */
static void build_page_tables(u8 *area, u64 base)
{
	u64 *entries = (u64 *)(void *)area;

	entries[0] = (base + 0x1000) | PTE_WRITABLE | PTE_PRESENT;
	for (u64 i = 0; i < 4; i++)
		entries[512 + i] = (base + 0x2000 + i * 0x1000) | PTE_WRITABLE | PTE_PRESENT;
	for (u64 i = 0; i < 4 * 512; i++)
		entries[1024 + i] = i << 21 | PDE_2MB | PTE_WRITABLE | PTE_PRESENT;
}

static void build_multiboot_info(u8 *area, u64 base, const struct loader_boot *boot)
{
	u32 at = (u32)base + AREA_INFO, module = (u32)base + AREA_MODULE;
	struct boot_area out = {
		.info =
			{
				.flags = MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE |
					 MULTIBOOT_INFO_MODULES | MULTIBOOT_INFO_MMAP,
				.mem_lower = (u32)min_u64(base >> 10, 640),
				.mem_upper = base > 1u << 20 ? (u32)((base - (1u << 20)) >> 10) : 0,
				.cmdline = (u32)base + AREA_CMDLINE,
				.mods_count = boot->module != NULL,
				.mods_addr = at + offsetof(struct boot_area, module),
				.mmap_length = sizeof(out.map),
				.mmap_addr = at + offsetof(struct boot_area, map),
			},
		.map =
			{
				{.size = 20, .length_low = (u32)base, .type = 1},
				{.size = 20,
				 .base_low = (u32)base,
				 .length_low = LOADER_RESERVED,
				 .type = 2},
			},
	};

	if (boot->module) {
		out.module.start = module;
		out.module.end = module + (u32)boot->module_size;
		out.module.string = at + offsetof(struct boot_area, module_string);
		memcpy(out.module_string, "env", sizeof("env"));
		memcpy(area + AREA_MODULE, boot->module, boot->module_size);
	}
	memcpy(area + AREA_INFO, &out, sizeof(out));
}

static void build_cmdline(u8 *area, const char *cmdline)
{
	char *to = (char *)area + AREA_CMDLINE;

	if (cmdline && *cmdline)
		snprintf(to, AREA_MODULE - AREA_CMDLINE, "guest %s", cmdline);
	else
		memcpy(to, "guest", sizeof("guest"));
}

static void fill_start(struct cpu_start *start, const struct guest_ram *ram, u64 base, u64 entry)
{
	const struct cpu_segment data = {.limit = ~0u, .selector = 0x10, .attr = 0xc093};

	*start = (struct cpu_start){
		.rip = entry,
		.rsp = ram->size,
		.rdi = base + AREA_INFO,
		.rflags = 2,
		.cr0 = CR0_START,
		.cr3 = base,
		.cr4 = CR4_START,
		.efer = EFER_START,
		.cs = {.limit = ~0u, .selector = 0x08, .attr = 0xa09b},
		.ss = data,
		.ds = data,
		.gdt_base = base + AREA_GDT,
		.gdt_limit = sizeof(gdt) - 1,
	};
}

/* As multiboot says: flat segments, paging and interrupts off; ESP is set though it need not be. */
static void fill_start32(struct cpu_start *start, const struct guest_ram *ram, u64 base, u64 entry)
{
	fill_start(start, ram, base, entry);
	start->rdi = 0;
	start->rax = MULTIBOOT_BOOTED;
	start->rbx = base + AREA_INFO;
	start->cr0 = CR0_PROTECTED;
	start->cr3 = start->cr4 = start->efer = 0;
	start->cs.attr = 0xc09b;
}

int load_image(const struct guest_ram *ram, const u8 *image, u64 size,
	       const struct loader_boot *boot, struct cpu_start *start,
	       char error[LOADER_ERROR_MAX])
{
	u64 base, entry;
	bool multiboot;
	u32 flags = 0;
	u8 *area;

	error[0] = 0;
	if (check_memory(ram, error) || check_cmdline(boot->cmdline, error) ||
	    check_module(boot, error))
		return -1;
	if (!size)
		return loader_refuse(error,
				     "the image is empty: give an ELF64 x86-64 executable, or a "
				     "multiboot image");
	multiboot = has_multiboot_header(image, size, &flags);
	if (multiboot && check_multiboot(flags, error))
		return -1;
	if (loader_elf(ram, image, size, multiboot, &entry, error))
		return -1;
	base = ram->size - LOADER_RESERVED;
	area = ram->base + base;
	for (u64 pa = base; pa < ram->size; pa += 4096)
		guest_ram_written(ram, pa);
	if (!multiboot)
		build_page_tables(area, base);
	memcpy(area + AREA_GDT, multiboot ? gdt32 : gdt, sizeof(gdt));
	build_multiboot_info(area, base, boot);
	build_cmdline(area, boot->cmdline);
	if (multiboot)
		fill_start32(start, ram, base, entry);
	else
		fill_start(start, ram, base, entry);
	return 0;
}
