// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_loader.c - images and command lines that nobody should trust.
 *
 * The input:
 *
 *	u8 kind		bit 0: the rest is the image; else it changes a good one
 *			bit 1: the good image is ELF32; bit 2: it has a multiboot header
 *			bits 4:3: guest RAM; bits 6:5: command line
 *	then, for a changed image, until the input ends:
 *	u16 where	offset in the image
 *	u8 what		bits 1:0: width 1, 2, 4 or 8 bytes; bits 6:2: the value, see interesting(),
 *			or what follows; bit 7: cut the image off there instead
 *
 * What must hold: a refused image leaves RAM as it was and has one line of reason. An accepted one
 * is in RAM as its program headers say, read here once more and without regard to safety, and
 * nothing else is, below the area of the loader.
 */
#define _DEFAULT_SOURCE
#include "fuzz.h"

#include <elf.h>
#include <sys/mman.h>

#include "platform/loader.h"

#define MB (1u << 20)
#define RAM_MAX (4u * MB)
#define IMAGE_MAX 8192u
#define CODE_AT 0x1000u /* in guest memory */
#define DATA_AT 0x3000u
#define CODE_OFFSET 0x200u /* in the image */
#define DATA_OFFSET 0x300u
#define PART 0x100u
#define GOOD_SIZE 0x400u
#define MULTIBOOT_OFFSET 0x1c0u

static struct guest_ram ram;
static u8 *expected; /* RAM_MAX bytes */

static u8 *map(size_t size)
{
	u8 *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		abort();
	return at;
}

static void fresh_ram(unsigned int kind)
{
	static const u32 sizes[] = {RAM_MAX, 2 * MB, 2 * MB + 4096, MB};

	if (!ram.base) {
		ram.base = map(RAM_MAX);
		expected = map(RAM_MAX);
	}
	madvise(ram.base, RAM_MAX, MADV_DONTNEED);
	madvise(expected, RAM_MAX, MADV_DONTNEED);
	ram.size = sizes[kind >> 3 & 3];
}

/* ---- the good image ---- */

#define PART_OF(file_offset, address, rights, size)                                                \
	{.p_type = PT_LOAD,                                                                        \
	 .p_flags = (rights),                                                                      \
	 .p_offset = (file_offset),                                                                \
	 .p_vaddr = (address),                                                                     \
	 .p_paddr = (address),                                                                     \
	 .p_filesz = PART,                                                                         \
	 .p_memsz = (size)}

#define GOOD_IMAGE(name, bits, machine, ident)                                                     \
	static void name(u8 *image)                                                                \
	{                                                                                          \
		Elf##bits##_Ehdr eh = {.e_type = ET_EXEC,                                          \
				       .e_machine = (machine),                                     \
				       .e_version = EV_CURRENT,                                    \
				       .e_entry = CODE_AT,                                         \
				       .e_phoff = sizeof(eh),                                      \
				       .e_ehsize = sizeof(eh),                                     \
				       .e_phentsize = sizeof(Elf##bits##_Phdr),                    \
				       .e_phnum = 2};                                              \
		Elf##bits##_Phdr ph[2] = {                                                         \
			PART_OF(CODE_OFFSET, CODE_AT, PF_R | PF_X, PART),                          \
			PART_OF(DATA_OFFSET, DATA_AT, PF_R | PF_W, 0x10 * PART),                   \
		};                                                                                 \
                                                                                                   \
		memcpy(eh.e_ident, ident, SELFMAG + 3);                                            \
		memcpy(image, &eh, sizeof(eh));                                                    \
		memcpy(image + sizeof(eh), ph, sizeof(ph));                                        \
	}

GOOD_IMAGE(good64, 64, EM_X86_64, ELFMAG "\2\1\1")
GOOD_IMAGE(good32, 32, EM_386, ELFMAG "\1\1\1")

static size_t good_image(u8 *image, unsigned int kind)
{
	static const u32 multiboot[] = {0x1badb002u, 0, 0u - 0x1badb002u};

	memset(image, 0, IMAGE_MAX);
	if (kind & 2)
		good32(image);
	else
		good64(image);
	if (kind & 4)
		memcpy(image + MULTIBOOT_OFFSET, multiboot, sizeof(multiboot));
	for (u32 k = CODE_OFFSET; k < GOOD_SIZE; k++)
		image[k] = (u8)(k * 7 + 1);
	return GOOD_SIZE;
}

/* ---- changes ---- */

static u64 interesting(struct input *in, unsigned int which, size_t size)
{
	u64 usable = ram.size > LOADER_RESERVED ? ram.size - LOADER_RESERVED : 0;
	const u64 values[] = {0,
			      1,
			      2,
			      ~0ull,
			      1ull << 63,
			      1ull << 31,
			      0x7fffffff,
			      0x1000,
			      CODE_AT,
			      DATA_AT,
			      usable,
			      usable - 1,
			      usable - PART,
			      ram.size,
			      ram.size - 1,
			      size,
			      size - 1,
			      size - PART,
			      size - sizeof(Elf64_Phdr),
			      0xfee00000,
			      0x100000000ull,
			      0x8000000000000000ull - 0x1000,
			      PART,
			      PART - 1,
			      PART + 1,
			      0x1badb002,
			      0xe4524ffe};

	return which < ARRAY_SIZE(values) ? values[which] : take_u64(in);
}

static size_t changed_image(struct input *in, u8 *image, unsigned int kind)
{
	size_t size = good_image(image, kind);

	while (input_left(in)) {
		u32 where = take_u16(in) % IMAGE_MAX;
		u8 what = take_u8(in);
		u32 width = 1u << (what & 3);
		u64 value;

		if (what & 0x80) {
			size = where < size ? where : size;
			continue;
		}
		value = interesting(in, what >> 2 & 31, size);
		if (where + width > size)
			where = (u32)(size > width ? size - width : 0);
		if (where + width <= size)
			memcpy(image + where, &value, width);
	}
	return size;
}

/* ---- what must hold ---- */

struct load {
	u64 to, offset, filesz, memsz;
};

/* Multiboot goes by physical addresses; so does every ELF32 image, which has to have its header. */
#define LOADS_OF(name, bits)                                                                       \
	static u32 name(const u8 *image, bool physical, struct load *loads, u32 max)               \
	{                                                                                          \
		Elf##bits##_Ehdr eh;                                                               \
		u32 n = 0;                                                                         \
                                                                                                   \
		memcpy(&eh, image, sizeof(eh));                                                    \
		for (u32 k = 0; k < eh.e_phnum; k++) {                                             \
			Elf##bits##_Phdr ph;                                                       \
                                                                                                   \
			memcpy(&ph, image + eh.e_phoff + k * sizeof(ph), sizeof(ph));              \
			if (ph.p_type != PT_LOAD || !ph.p_memsz)                                   \
				continue;                                                          \
			REQUIRE(n < max);                                                          \
			loads[n++] = (struct load){physical ? ph.p_paddr : ph.p_vaddr,             \
						   ph.p_offset, ph.p_filesz, ph.p_memsz};          \
		}                                                                                  \
		return n;                                                                          \
	}

LOADS_OF(loads_of64, 64)
LOADS_OF(loads_of32, 32)

static u32 loads_of(const u8 *image, bool multiboot, struct load *loads, u32 max)
{
	if (image[EI_CLASS] == ELFCLASS32)
		return loads_of32(image, true, loads, max);
	return loads_of64(image, multiboot, loads, max);
}

static void check_loaded(const u8 *image, size_t size, const struct cpu_start *start,
			 const char *cmdline)
{
	u64 usable = ram.size - LOADER_RESERVED, info = start->rdi | start->rbx;
	struct load loads[64];
	u32 n = loads_of(image, start->cr0 == 0x11, loads, ARRAY_SIZE(loads));
	bool entry_in_file = false;
	u32 text_at;

	for (u32 k = 0; k < n; k++) {
		const struct load *l = &loads[k];

		REQUIRE(l->filesz <= l->memsz && l->offset + l->filesz <= size);
		REQUIRE(l->to < usable && l->memsz <= usable - l->to);
		for (u32 other = 0; other < k; other++)
			REQUIRE(l->to + l->memsz <= loads[other].to ||
				loads[other].to + loads[other].memsz <= l->to);
		memcpy(expected + l->to, image + l->offset, l->filesz);
		entry_in_file |= start->rip >= l->to && start->rip < l->to + l->filesz;
	}
	REQUIRE(!memcmp(ram.base, expected, usable));
	REQUIRE(entry_in_file);
	REQUIRE(start->rsp == ram.size && start->rsp % 16 == 0);
	REQUIRE(info >= usable && info < ram.size);
	memcpy(&text_at, ram.base + info + 16, sizeof(text_at)); /* multiboot: cmdline */
	REQUIRE(text_at >= usable && text_at < ram.size);
	REQUIRE(!strncmp((const char *)ram.base + text_at, "guest", 5));
	if (*cmdline)
		REQUIRE(!strcmp((const char *)ram.base + text_at + 6, cmdline));
}

static const char *command_line(unsigned int kind)
{
	static char longest[0x10000], longer[0x10001];

	memset(longest, 'x', 0x10000 - sizeof("guest "));
	memset(longer, 'y', 0x10000 - sizeof("guest ") + 1);
	switch (kind >> 5 & 3) {
	case 0: return "";
	case 1: return "time=1 work=2";
	case 2: return longest;
	default: return longer;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	unsigned int kind = take_u8(&in);
	const char *cmdline = command_line(kind);
	const struct loader_boot boot = {
		.cmdline = cmdline, .module = (const u8 *)"A=1", .module_size = 3};
	char error[LOADER_ERROR_MAX];
	struct cpu_start start;
	size_t image_size;
	u8 *image;

	fresh_ram(kind);
	if (kind & 1) {
		image_size = input_left(&in);
		image = malloc(image_size + 1);
		take_bytes(&in, image, image_size);
	} else {
		u8 scratch[IMAGE_MAX];

		/* Exactly as long as it is, for the sanitizer. */
		image_size = changed_image(&in, scratch, kind);
		image = malloc(image_size + 1);
		memcpy(image, scratch, image_size);
	}
	image = realloc(image, image_size ? image_size : 1);
	memset(error, 'e', sizeof(error));
	if (load_image(&ram, image, image_size, &boot, &start, error)) {
		REQUIRE(memchr(error, 0, sizeof(error)) && error[0] && !strchr(error, '\n'));
		REQUIRE(!memcmp(ram.base, expected, ram.size));
	} else {
		REQUIRE(!error[0]);
		check_loaded(image, image_size, &start, cmdline);
	}
	free(image);
	return 0;
}
