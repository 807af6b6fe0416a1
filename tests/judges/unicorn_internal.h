/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicorn_internal.h - what the files of unicorn.h share: the library's functions and its insides.
 */
#ifndef TESTS_JUDGES_UNICORN_INTERNAL_H_
#define TESTS_JUDGES_UNICORN_INTERNAL_H_

#include <stddef.h>

#include "cpu/state.h"
#include "unicorn.h"

/* The head of QEMU's CPUX86State, and what is further back. */
struct qemu_segment {
	u32 selector;
	u64 base;
	u32 limit;
	u32 flags; /* high half of the descriptor */
};

struct qemu_env {
	u64 regs[16];
	u64 eip, eflags;
	u64 cc_dst, cc_src, cc_src2;
	u32 cc_op;
	s32 df;
	u32 hflags, hflags2;
	struct qemu_segment segs[6], ldt, tr, gdt, idt;
	u64 cr[5];
	u64 opaque[16];
	u64 efer;
};
#define HFLAG_CPL 3u
#define HFLAG_CS32 (1u << 4)
#define HFLAG_SS32 (1u << 5)
#define HFLAG_ADDSEG (1u << 6)
#define HFLAG_CS64 (1u << 15)

struct qemu_msrs {
	u64 star, vm_hsave, lstar, cstar, fmask, kernelgsbase;
};

struct qemu_exception {
	s32 error_code, is_int;
	u64 next_eip;
	u64 dr[8], breakpoints[4];
	s32 old_exception; /* that is being delivered, -1 for none */
};

#define SYSCALL_BYTES 2u
#define TABLE_MASK 0x000ffffffffff000ull
#define PTE_LARGE BIT_ULL(7)
#define PF_WRITE 2

#define XMM_STRIDE 64u

/* Of unicorn/x86.h, where more than one file needs it. */
#define UC_X86_REG_EFLAGS 25

typedef void uc_void;

struct unicorn {
	void *library;
	uc_void *uc;
	u8 *ram;
	u64 ram_size;
	int (*open)(int arch, int mode, uc_void **uc);
	int (*close)(uc_void *uc);
	int (*ctl)(uc_void *uc, u32 control, ...);
	int (*map)(uc_void *uc, u64 at, u64 size, u32 prot, void *memory);
	int (*reg_read)(uc_void *uc, int reg, void *value);
	int (*reg_write)(uc_void *uc, int reg, const void *value);
	int (*hook)(uc_void *uc, size_t *hook, int type, void *call, void *ctx, u64 from, u64 to,
		    ...);
	int (*start)(uc_void *uc, u64 from, u64 until, u64 timeout, size_t count);
	int (*stop)(uc_void *uc);
	const char *(*strerror)(int error);
	u32 (*compute_flags)(struct qemu_env *env, int op);
	void *(*get_cpu)(uc_void *uc, int index);
	void (*deliver)(void *cpu);
	void (*interrupt)(struct qemu_env *env, int vector, int hardware);
	void (*raise)(struct qemu_env *env, int vector, int software, int error, int length);
	void (*update_hflags)(struct qemu_env *env);
	void (*update_cr0)(struct qemu_env *env, u32 value);
	void (*update_cr3)(struct qemu_env *env, u64 value);
	void (*update_cr4)(struct qemu_env *env, u32 value);
	void *cpu;
	struct qemu_env *env;
	struct qemu_msrs *msrs;
	struct qemu_exception *exception;
	u8 *xmm; /* of XMM0; the next one is XMM_STRIDE bytes behind it */
	struct unicorn_events events;
	u64 cr2; /* the library looks up an address when it starts and stops: a page fault */
	bool fresh;
	u64 last_rip;
	u32 last_flags; /* the library is not in step with its own in a hook of SYSCALL */
	struct qemu_segment before[2]; /* FS and GS, before the instruction before */
	u32 cpl_before;
	bool stop_requested;
	bool again; /* stopped to go on at .resume, see unicorn_force.c */
	u64 resume;
	bool invalid;			      /* #UD was delivered: the library has stopped */
	bool delivering, delivering_software; /* an event whose delivery has not come to its end */
	u64 corrected[NR_CORRECTIONS];
	int error;
};

/* What a delivery must be put right by. */
struct delivery {
	struct qemu_segment ss;
	u32 cpl;
};

struct delivery unicorn_before_delivery(const struct unicorn *u);
/* @fault: it may have an error code; @resume: RF is in the pushed flags. */
void unicorn_delivered(struct unicorn *u, unsigned int vector, const struct delivery *before,
		       bool fault, bool resume);
/* RFLAGS, of what the library keeps of it. */
u32 unicorn_rflags(const struct unicorn *u);
u8 *unicorn_virtual_byte(const struct unicorn *u, u64 va);
bool unicorn_add_hooks(struct unicorn *u);
/* Code and translations, after memory has changed behind its back. */
void unicorn_forget_code(struct unicorn *u);
void unicorn_write_msr(struct unicorn *u, u32 index, u64 value);

#endif /* TESTS_JUDGES_UNICORN_INTERNAL_H_ */
