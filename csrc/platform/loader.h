/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - put a guest image into guest RAM and say how the CPU starts.
 *
 * ELF64 executables without a multiboot header start in long mode: CPL 0, the first 4 GB identity
 * mapped by 2 MB pages, IF = 0, a 16-byte aligned stack, RDI = multiboot information. What the
 * loader needs for itself (page tables, GDT, IDT-less, multiboot information, command line, boot
 * stack, module) lies in the last LOADER_RESERVED bytes of RAM, which an image may not claim.
 *
 * An image with a multiboot v1 header, ELF32 or ELF64, starts as multiboot says: 32-bit protected
 * mode, flat segments, paging off, EAX = 0x2badb002, EBX = multiboot information.
 *
 * A malformed image is refused: load_image() returns -1 and one line of text in @error that says what
 * is wrong, where, and what to do.
 */
#ifndef PLATFORM_LOADER_H_
#define PLATFORM_LOADER_H_

#include "base/types.h"
#include "cpu/cpu.h"

#define LOADER_RESERVED (1u << 20)
#define LOADER_MODULE_MAX 0xffffu /* a zero byte stands behind it */
#define LOADER_ERROR_MAX 200

struct loader_boot {
	const char *cmdline; /* what follows argv[0]; NULL: nothing */
	const u8 *module;    /* the one multiboot module; NULL: none */
	u64 module_size;
};

int load_image(const struct guest_ram *ram, const u8 *image, u64 size,
	       const struct loader_boot *boot, struct cpu_start *start,
	       char error[LOADER_ERROR_MAX]);

#endif /* PLATFORM_LOADER_H_ */
