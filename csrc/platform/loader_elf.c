// SPDX-License-Identifier: Apache-2.0
/*
 * loader_elf.c - check an ELF executable and copy its segments into guest RAM.
 *
 * Interface
 *  - The program headers decide; section headers are not read. A PT_LOAD segment goes to its virtual
 *    address, since virtual is physical in the start state; p_paddr is not looked at, as linkers
 *    leave it equal or write load addresses of other boot schemes there. In a multiboot image, ELF32
 *    or ELF64, it goes to its physical address, as multiboot says, and the entry is physical too.
 *  - RAM is zeroed by its owner, so the part of a segment that the file does not hold is not touched
 *    and costs no host memory.
 *  - The image is untrusted: every offset is checked against its size before use, and nothing is
 *    written before all checks have passed.
 *  - The entry must lie in bytes that the file holds, in an executable segment.
 *
 * Not modelled
 *  - dynamic linking, relocation, TLS set-up, PN_XNUM, permissions of segments (all of the
 *    guest's memory is readable, writable and executable until it builds page tables of its own).
 */
#include "platform/loader_internal.h"

#include <elf.h>
#include <string.h>

#define MAX_SEGMENTS 64

struct segment {
	u64 start, end; /* guest addresses */
	u64 offset;	/* in the file */
	u64 filesz;
	bool executable;
	u32 index; /* of the program header, for messages */
};

struct elf_image {
	const u8 *bytes;
	u64 size;
	u64 ram_size;
	char *error;
	bool multiboot;
	bool is32;
	Elf64_Ehdr header; /* of an ELF32 image: widened */
	struct segment segments[MAX_SEGMENTS];
	u32 nr_segments;
};

static int check_ident(struct elf_image *elf)
{
	const u8 *ident = elf->bytes;
	size_t needed;

	if (elf->size < SELFMAG || memcmp(ident, ELFMAG, SELFMAG))
		return loader_refuse(elf->error,
				     "not an ELF image (no 7f 'ELF' at offset 0): give an "
				     "ELF64 x86-64 executable");
	elf->is32 = elf->size > EI_CLASS && ident[EI_CLASS] == ELFCLASS32;
	if (elf->is32 && !elf->multiboot)
		return loader_refuse(
			elf->error,
			"the image is 32-bit ELF without a multiboot header: add one in the "
			"first 8 KB, or build it for x86-64");
	needed = elf->is32 ? sizeof(Elf32_Ehdr) : sizeof(Elf64_Ehdr);
	if (elf->size < needed)
		return loader_refuse(
			elf->error,
			"ELF header truncated: the image has %llu of %zu bytes; build or "
			"copy it again",
			(unsigned long long)elf->size, needed);
	if (!elf->is32 && ident[EI_CLASS] != ELFCLASS64)
		return loader_refuse(elf->error,
				     "ELF class %u at offset 4 is unknown: give an ELF64 x86-64 "
				     "executable",
				     ident[EI_CLASS]);
	if (ident[EI_DATA] != ELFDATA2LSB)
		return loader_refuse(elf->error,
				     "ELF byte order %u at offset 5 is not little endian: give an "
				     "x86-64 executable",
				     ident[EI_DATA]);
	if (ident[EI_VERSION] != EV_CURRENT)
		return loader_refuse(
			elf->error,
			"ELF version %u at offset 6 is unknown (1 is known): build the "
			"image again",
			ident[EI_VERSION]);
	return 0;
}

static int check_type(struct elf_image *elf)
{
	u16 machine = elf->header.e_machine;
	u16 type = elf->header.e_type;

	if (elf->is32 ? machine != EM_386 && machine != EM_X86_64 : machine != EM_X86_64)
		return loader_refuse(
			elf->error, "ELF machine %u is not x86-64 (62): build the image for x86-64",
			machine);
	if (type == ET_DYN)
		return loader_refuse(elf->error,
				     "the image is position independent (ET_DYN): link it "
				     "with -static -no-pie");
	if (type == ET_REL)
		return loader_refuse(elf->error,
				     "the image is an object file (ET_REL), not a program: "
				     "link it with -static -no-pie");
	if (type != ET_EXEC)
		return loader_refuse(elf->error,
				     "ELF type %u is not an executable (2): link the image with "
				     "-static -no-pie",
				     type);
	return 0;
}

static int check_program_headers(struct elf_image *elf)
{
	u64 offset = elf->header.e_phoff;
	u64 count = elf->header.e_phnum;
	size_t one = elf->is32 ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr);
	u64 bytes = count * one;

	if (!count)
		return loader_refuse(elf->error,
				     "the image has no program headers, so nothing to load: "
				     "link it as an executable");
	if (elf->header.e_phentsize != one)
		return loader_refuse(
			elf->error,
			"program headers of %u bytes instead of %zu (e_phentsize): the "
			"image is damaged, build it again",
			elf->header.e_phentsize, one);
	if (offset > elf->size || bytes > elf->size - offset)
		return loader_refuse(
			elf->error,
			"%llu program headers at offset %#llx reach past the end of the "
			"image (%llu bytes): it is truncated or damaged",
			(unsigned long long)count, (unsigned long long)offset,
			(unsigned long long)elf->size);
	return 0;
}

/* The sizes of one PT_LOAD against themselves and the file. */
static int check_segment_file(struct elf_image *elf, const Elf64_Phdr *ph, u32 index)
{
	if (ph->p_filesz > ph->p_memsz)
		return loader_refuse(elf->error,
				     "segment %u has more bytes in the file (%#llx) than in memory "
				     "(%#llx): the image is damaged, build it again",
				     index, (unsigned long long)ph->p_filesz,
				     (unsigned long long)ph->p_memsz);
	if (ph->p_offset > elf->size || ph->p_filesz > elf->size - ph->p_offset)
		return loader_refuse(
			elf->error,
			"segment %u (%#llx bytes at offset %#llx) reaches past the end of "
			"the image (%llu bytes): it is truncated",
			index, (unsigned long long)ph->p_filesz, (unsigned long long)ph->p_offset,
			(unsigned long long)elf->size);
	return 0;
}

static u64 place_of(const struct elf_image *elf, const Elf64_Phdr *ph)
{
	return elf->multiboot ? ph->p_paddr : ph->p_vaddr;
}

/* Its place in guest memory. */
static int check_segment_memory(struct elf_image *elf, const Elf64_Phdr *ph, u32 index)
{
	u64 usable = elf->ram_size - LOADER_RESERVED;
	u64 start = place_of(elf, ph);
	u64 end = start + ph->p_memsz;
	u64 needed;

	if (end < start)
		return loader_refuse(
			elf->error,
			"segment %u at %#llx wraps around the end of the address space: "
			"link the image below %#llx",
			index, (unsigned long long)start, (unsigned long long)usable);
	if (end <= usable)
		return 0;
	needed = ((end - 1 + LOADER_RESERVED) >> 20) + 1;
	if (needed > LOADER_MAX_MB)
		return loader_refuse(
			elf->error,
			"segment %u at %#llx-%#llx: virtual is physical here and memory "
			"ends at %#llx; link the image there, e.g. at 0x100000",
			index, (unsigned long long)start, (unsigned long long)end,
			(unsigned long long)usable);
	return loader_refuse(
		elf->error,
		"segment %u at %#llx-%#llx does not fit in %llu MB of memory (last 1 MB is "
		"reserved): set guest.memory_mb to %llu or more",
		index, (unsigned long long)start, (unsigned long long)end,
		(unsigned long long)(elf->ram_size >> 20), (unsigned long long)needed);
}

static int check_overlap(struct elf_image *elf, const struct segment *s)
{
	for (u32 i = 0; i < elf->nr_segments; i++) {
		const struct segment *other = &elf->segments[i];

		if (s->start < other->end && other->start < s->end)
			return loader_refuse(
				elf->error,
				"segments %u and %u overlap at %#llx: correct the linker "
				"script",
				other->index, s->index,
				(unsigned long long)max_u64(s->start, other->start));
	}
	return 0;
}

static int add_segment(struct elf_image *elf, const Elf64_Phdr *ph, u32 index)
{
	struct segment s = {
		.start = place_of(elf, ph),
		.end = place_of(elf, ph) + ph->p_memsz,
		.offset = ph->p_offset,
		.filesz = ph->p_filesz,
		.executable = ph->p_flags & PF_X,
		.index = index,
	};

	if (check_segment_file(elf, ph, index))
		return -1;
	if (!ph->p_memsz)
		return 0;
	if (check_segment_memory(elf, ph, index) || check_overlap(elf, &s))
		return -1;
	if (elf->nr_segments == MAX_SEGMENTS)
		return loader_refuse(elf->error,
				     "more than %u loadable segments: merge sections in the linker "
				     "script",
				     MAX_SEGMENTS);
	elf->segments[elf->nr_segments++] = s;
	return 0;
}

static Elf64_Phdr program_header(const struct elf_image *elf, u32 index)
{
	const u8 *at = elf->bytes + elf->header.e_phoff;
	Elf32_Phdr narrow;
	Elf64_Phdr ph;

	if (!elf->is32) {
		memcpy(&ph, at + index * sizeof(ph), sizeof(ph));
		return ph;
	}
	memcpy(&narrow, at + index * sizeof(narrow), sizeof(narrow));
	return (Elf64_Phdr){
		.p_type = narrow.p_type,
		.p_flags = narrow.p_flags,
		.p_offset = narrow.p_offset,
		.p_vaddr = narrow.p_vaddr,
		.p_paddr = narrow.p_paddr,
		.p_filesz = narrow.p_filesz,
		.p_memsz = narrow.p_memsz,
	};
}

static int read_segments(struct elf_image *elf)
{
	for (u32 i = 0; i < elf->header.e_phnum; i++) {
		Elf64_Phdr ph = program_header(elf, i);

		if (ph.p_type == PT_INTERP)
			return loader_refuse(
				elf->error,
				"the image wants a dynamic linker (program header %u is "
				"PT_INTERP): link it with -static -no-pie",
				i);
		if (ph.p_type == PT_LOAD && add_segment(elf, &ph, i))
			return -1;
	}
	if (!elf->nr_segments)
		return loader_refuse(elf->error,
				     "the image has no loadable segment (PT_LOAD): link it as "
				     "an executable");
	return 0;
}

static int check_entry(struct elf_image *elf)
{
	u64 entry = elf->header.e_entry;

	if (!entry)
		return loader_refuse(elf->error,
				     "no entry: the ELF header's entry is 0; define _start or "
				     "link with -e SYMBOL");
	for (u32 i = 0; i < elf->nr_segments; i++) {
		const struct segment *s = &elf->segments[i];

		if (s->executable && entry >= s->start && entry - s->start < s->filesz)
			return 0;
	}
	return loader_refuse(
		elf->error,
		"entry %#llx is not inside the code of an executable segment (PF_X): link "
		"with -e SYMBOL and check the section flags",
		(unsigned long long)entry);
}

static void read_header(struct elf_image *elf)
{
	Elf32_Ehdr narrow;

	if (!elf->is32) {
		memcpy(&elf->header, elf->bytes, sizeof(elf->header));
		return;
	}
	memcpy(&narrow, elf->bytes, sizeof(narrow));
	elf->header = (Elf64_Ehdr){
		.e_type = narrow.e_type,
		.e_machine = narrow.e_machine,
		.e_entry = narrow.e_entry,
		.e_phoff = narrow.e_phoff,
		.e_phentsize = narrow.e_phentsize,
		.e_phnum = narrow.e_phnum,
	};
}

int loader_elf(const struct guest_ram *ram, const u8 *image, u64 size, bool multiboot, u64 *entry,
	       char *error)
{
	struct elf_image elf = {.bytes = image,
				.size = size,
				.ram_size = ram->size,
				.multiboot = multiboot,
				.error = error};

	if (check_ident(&elf))
		return -1;
	read_header(&elf);
	if (check_type(&elf) || check_program_headers(&elf) || read_segments(&elf) ||
	    check_entry(&elf))
		return -1;
	for (u32 i = 0; i < elf.nr_segments; i++) {
		const struct segment *s = &elf.segments[i];

		if (s->filesz)
			loader_put(ram, s->start, image + s->offset, s->filesz);
	}
	*entry = elf.header.e_entry;
	return 0;
}
