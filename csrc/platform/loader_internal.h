/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_internal.h - what loader.c and loader_elf.c share; nobody else includes it.
 */
#ifndef PLATFORM_LOADER_INTERNAL_H_
#define PLATFORM_LOADER_INTERNAL_H_

#include <string.h>

#include "platform/loader.h"

/* RAM ends below the IOAPIC and APIC pages. */
#define LOADER_MAX_MB 4064u

/* Write the one line and return -1. */
int loader_refuse(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Copy into RAM, where it fits. */
static inline void loader_put(const struct guest_ram *ram, u64 pa, const u8 *from, u64 n)
{
	memcpy(ram->base + pa, from, n);
	for (u64 page = pa >> 12; page <= (pa + n - 1) >> 12; page++)
		guest_ram_written(ram, page << 12);
}

/*
 * Check the whole image, then copy its segments. Nothing is written unless everything is in order.
 * @ram is zeroed; the image may use all of it but the last LOADER_RESERVED bytes.
 * @multiboot: ELF32 or ELF64, loaded to physical addresses; else ELF64 to virtual ones.
 */
int loader_elf(const struct guest_ram *ram, const u8 *image, u64 size, bool multiboot, u64 *entry,
	       char *error);

#endif /* PLATFORM_LOADER_INTERNAL_H_ */
