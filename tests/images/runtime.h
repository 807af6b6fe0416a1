/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what every test image stands on: how it starts, what the loader left, what it runs on.
 *
 * An image is one C file with image_main(). It runs in long mode at CPL 0, interrupts off, on an
 * identity map of the first 4 GB that user code may use, with serial port, IDT and TSS set up. When
 * image_main() returns, the checks of report.h are summed up and the image ends.
 */
#ifndef IMAGES_RUNTIME_H_
#define IMAGES_RUNTIME_H_

#include "base/types.h"
#include "guest/insn.h"
#include "layout.h"
#include "report.h"
#include "trap.h"

struct boot_info { /* multiboot v1, as far as it is used */
	u32 flags;
	u32 mem_lower, mem_upper; /* KB; mem_upper counts from 1 MB */
	u32 boot_device;
	u32 cmdline;
	u32 mods_count, mods_addr;
	u32 syms[4];
	u32 mmap_length, mmap_addr;
};

#define BOOT_INFO_MEMORY 0x01u
#define BOOT_INFO_CMDLINE 0x04u
#define BOOT_INFO_MODULES 0x08u
#define BOOT_INFO_MMAP 0x40u

extern u32 boot_magic;
extern const struct boot_info *boot_info;
extern u8 image_end[]; /* first byte of RAM behind the image, on a 2 MB boundary */

void image_main(void);

bool text_equal(const char *a, const char *b);
/* Whether KVM's signature stands in CPUID: not so natively. */
bool under_kvm(void);
bool is_amd(void);
/* CPUID with a subleaf; cpuid() of guest/insn.h asks for subleaf 0. */
struct cpuid_regs cpuid_count(u32 leaf, u32 subleaf);

#endif /* IMAGES_RUNTIME_H_ */
