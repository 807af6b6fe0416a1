/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu.h - the registers of x87 and SSE, and what the host's own state needs while they are in use.
 */
#ifndef CPU_FPU_H_
#define CPU_FPU_H_

#include "base/types.h"

typedef u64 xmm_t __attribute__((vector_size(16)));
#define NR_XMM 16

/* As FNSAVE stores it in 32-bit protected mode. Pointers and opcode are not in it; see below. */
struct x87_image {
	u32 control, status, tags; /* 16 bits each */
	u32 pointers[4];
	u8 st[8][10]; /* ST(0) first */
} __attribute__((packed));

struct fpu {
	xmm_t xmm[NR_XMM];
	u32 mxcsr;	       /* flags are behind while mxcsr_loaded */
	bool mxcsr_loaded;     /* the host's MXCSR is the guest's; all exceptions are masked */
	bool host_mxcsr_saved; /* the host's own one has been put aside */
	bool host_x87_saved;
	bool flushing; /* second execution, see simd_repeat() */
	u32 host_mxcsr;
	u32 first_flags; /* of the first execution */
	struct x87_image x87, host_x87;
	u64 instruction, operand; /* addresses, of the last x87 instruction that is not control */
	u16 opcode;		  /* of the last one that left an unmasked exception */
};

#endif /* CPU_FPU_H_ */
