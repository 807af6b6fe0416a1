// SPDX-License-Identifier: Apache-2.0
/*
 * trap.c - GDT, TSS and IDT of a test image, dispatch of vectors, attempts. Interface: trap.h.
 *
 * Not modelled: nested attempts; SWAPGS.
 */
#include "trap.h"

#include "guest/insn.h"
#include "layout.h"
#include "report.h"

extern const u8 vector_stubs[];
void leave_user(void);
void trap(struct trap_frame *frame);

struct tss_struct tss __attribute__((aligned(16)));
struct idt_gate idt[256] __attribute__((aligned(16)));
struct trap_record caught;
u64 resume_at;

static trap_handler handlers[256];

const void *vector_stub(u32 vector)
{
	return vector_stubs + 16 * vector;
}

void set_gate(u32 vector, const void *entry, u8 type, u8 ist)
{
	u64 offset = (uintptr_t)entry;

	idt[vector] = (struct idt_gate){
		.offset0 = (u16)offset,
		.selector = KERNEL_CS,
		.ist = ist,
		.type = type,
		.offset16 = (u16)(offset >> 16),
		.offset32 = (u32)(offset >> 32),
	};
}

void tables_init(void)
{
	struct table_register gdtr = {8 * GDT_ENTRIES - 1, (uintptr_t)gdt};
	struct table_register idtr = {sizeof(idt) - 1, (uintptr_t)idt};
	u64 base = (uintptr_t)&tss;

	tss.io_bitmap = sizeof(tss); /* none */
	gdt[TSS_SELECTOR / 8] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
				(base >> 24 & 0xff) << 56;
	gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
	for (u32 i = 0; i < ARRAY_SIZE(idt); i++)
		set_gate(i, vector_stub(i), GATE_INTERRUPT, 0);
	set_gate(VECTOR_BP, vector_stub(VECTOR_BP), GATE_INTERRUPT | GATE_USER, 0);
	set_gate(USER_RETURN_VECTOR, leave_user, GATE_INTERRUPT | GATE_USER, 0);
	__asm__ volatile("lgdt %0" : : "m"(gdtr) : "memory");
	__asm__ volatile("lidt %0" : : "m"(idtr) : "memory");
	__asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR) : "memory");
}

trap_handler on_trap(u32 vector, trap_handler handler)
{
	trap_handler before = handlers[vector];

	handlers[vector] = handler;
	return before;
}

void trap(struct trap_frame *f)
{
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	if (!resume_at || f->vector >= 32)
		give_up("vector %u, error %x at %x, CR2 %x", f->vector, f->error, f->rip,
			read_cr2());
	caught = (struct trap_record){
		.vector = f->vector,
		.error = f->error,
		.rip = f->rip,
		.cr2 = read_cr2(),
		.rflags = f->rflags,
		.cs = f->cs,
	};
	f->rip = resume_at;
	resume_at = 0;
}

u64 attempt_rdmsr(u32 msr, u64 *value)
{
	u32 low = 0, high = 0;

	attempt("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "memory");
	*value = (u64)high << 32 | low;
	return caught.vector;
}

u64 attempt_wrmsr(u32 msr, u64 value)
{
	return attempt("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

u64 attempt_rdpmc(u32 ecx, u64 *value)
{
	u32 low = 0, high = 0;

	attempt("rdpmc", : "+a"(low), "+d"(high) : "c"(ecx) : "memory");
	*value = (u64)high << 32 | low;
	return caught.vector;
}
