/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap.h - exceptions and interrupts of a test image: handlers, and instructions that may fault.
 *
 * The runtime has interrupt gates for all vectors, without IST. A vector for which on_trap() set a
 * function calls it. Otherwise an exception inside attempt() is recorded and ends the attempt; any
 * other ends the image.
 */
#ifndef IMAGES_TRAP_H_
#define IMAGES_TRAP_H_

#include "base/types.h"

struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error; /* error 0 where the processor pushes none */
	u64 rip, cs, rflags, rsp, ss;
};

struct tss_struct {
	u32 reserved0;
	u64 rsp[3]; /* start.S knows the offset of rsp[0] */
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 io_bitmap;
} __attribute__((packed));

struct idt_gate {
	u16 offset0;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset16;
	u32 offset32;
	u32 reserved;
};

struct table_register {
	u16 limit;
	u64 base;
} __attribute__((packed));

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_XM = 19,
	NO_VECTOR = 256, /* of an attempt: nothing happened */
};

#define GATE_INTERRUPT 0x8e
#define GATE_TRAP 0x8f
#define GATE_USER 0x60 /* or-ed in: CPL 3 may INT there */

extern struct tss_struct tss;
extern u64 gdt[];
extern struct idt_gate idt[256];

/* GDT, TSS, IDT; once, by runtime_main(). */
void tables_init(void);
/* A gate to @entry (a stub of start.S or code of its own that ends in IRET). */
void set_gate(u32 vector, const void *entry, u8 type, u8 ist);
const void *vector_stub(u32 vector);

typedef void (*trap_handler)(struct trap_frame *frame);
/* NULL: none. Returns the one before. */
trap_handler on_trap(u32 vector, trap_handler handler);

/* The last exception of an attempt. */
struct trap_record {
	u64 vector, error, rip, cr2, rflags, cs;
};
extern struct trap_record caught;
extern u64 resume_at; /* 0: no attempt is under way */

static inline void attempt_begins(void)
{
	caught = (struct trap_record){.vector = NO_VECTOR};
}

/*
 * Run @code; an exception ends it. Labels 8 and 9 are taken. The rest are the operands of an asm
 * statement; what the code changes must be among the outputs and clobbers.
 *
 *	if (attempt("rdmsr", : "+a"(low), "=d"(high) : "c"(msr)) == VECTOR_GP) ...
 */
#define attempt(code, ...)                                                                         \
	({                                                                                         \
		attempt_begins();                                                                  \
		__asm__ volatile("" ::: "memory");                                                 \
		__asm__ volatile("movq $9f, resume_at\n\t" code                                    \
				 "\n9:\n\tmovq $0, resume_at" __VA_ARGS__);                        \
		__asm__ volatile("" ::: "memory");                                                 \
		caught.vector;                                                                     \
	})

u64 attempt_rdmsr(u32 msr, u64 *value); /* both return the vector */
u64 attempt_wrmsr(u32 msr, u64 value);
u64 attempt_rdpmc(u32 ecx, u64 *value);

u64 run_user(u64 (*function)(u64), u64 argument);
u64 run_user_with(u64 (*function)(u64), u64 argument, u64 rflags);

#endif /* IMAGES_TRAP_H_ */
