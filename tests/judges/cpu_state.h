/* SPDX-License-Identifier: Apache-2.0 */
/* cpu_state.h - the registers that the interpreter and Unicorn are compared in. */
#ifndef TESTS_JUDGES_CPU_STATE_H_
#define TESTS_JUDGES_CPU_STATE_H_

#include "cpu/cpu.h"

struct cpu_state {
	u64 regs[16]; /* RAX, RCX, .., in the order of the encoding */
	u64 rip, rflags;
	u64 cr0, cr2, cr3, cr4;
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	struct cpu_segment seg[6]; /* ES, CS, SS, DS, FS, GS */
	struct cpu_segment ldt, tr;
	u64 gdt_base, idt_base;
	u32 gdt_limit, idt_limit;
	unsigned int cpl;
};

void cpu_state_of(const struct cpu *c, struct cpu_state *s);
void cpu_state_print(const char *who, const struct cpu_state *s);
/* What differs, or NULL: no attributes of segments, bases where they matter, no RF. */
const char *cpu_state_difference(const struct cpu_state *a, const struct cpu_state *b,
				 u64 flags_left_out, bool cr2);

#endif /* TESTS_JUDGES_CPU_STATE_H_ */
