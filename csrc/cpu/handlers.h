/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handlers.h - every handler the decoder can pick, by the file that has it.
 */
#ifndef CPU_HANDLERS_H_
#define CPU_HANDLERS_H_

#include "cpu/state.h"

/* ---- alu.c ---- */
/* The order of the first eight is that of the opcodes. */
enum alu_op {
	ALU_ADD,
	ALU_OR,
	ALU_ADC,
	ALU_SBB,
	ALU_AND,
	ALU_SUB,
	ALU_XOR,
	ALU_CMP,
	ALU_TEST,
	ALU_MOV,
	NR_ALU_OPS,
};
/* Destination and source: .reg and .rm of struct insn name the registers, see alu.c. */
enum alu_form {
	ALU_RM_REG, /* r/m register <- reg */
	ALU_REG_MEM,
	ALU_MEM_REG,
	ALU_RM_IMM, /* r/m register <- immediate */
	ALU_MEM_IMM,
	NR_ALU_FORMS,
};
insn_fn *alu_handler(enum alu_op op, enum alu_form form, unsigned int size);
enum unary_op { UNARY_INC, UNARY_DEC, UNARY_NOT, UNARY_NEG, NR_UNARY_OPS };
insn_fn *unary_handler(enum unary_op op, bool memory, unsigned int size);

/* ---- move.c ---- */
insn_fn op_nop, op_address, op_end_of_block;
insn_fn op_mov_imm64, op_lea16, op_lea32, op_lea64;
/* Zero or sign extension from @from to @to (log2 of bytes). */
insn_fn *extend_handler(bool sign, bool memory, unsigned int from, unsigned int to);
insn_fn op_push, op_push_imm, op_push_mem, op_push16, op_pop, op_pop_mem, op_pop16;
insn_fn op_leave, op_enter, op_pushf;
insn_fn op_xchg, op_xadd, op_cmpxchg, op_cmpxchg8b, op_cmpxchg16b, op_bswap, op_movbe, op_xlat;
insn_fn op_sign_extend_rax, op_sign_into_rdx;
insn_fn *setcc_handler(unsigned int code);
insn_fn *cmov_handler(unsigned int code);
enum flag_op {
	FLAG_OP_CMC,
	FLAG_OP_CLC,
	FLAG_OP_STC,
	FLAG_OP_CLD,
	FLAG_OP_STD,
	FLAG_OP_SAHF,
	FLAG_OP_LAHF
};
insn_fn op_flag;

/* ---- bits.c ---- */
/* The order is that of ModRM.reg. */
enum shift_op {
	SHIFT_ROL,
	SHIFT_ROR,
	SHIFT_RCL,
	SHIFT_RCR,
	SHIFT_SHL,
	SHIFT_SHR,
	SHIFT_SAL,
	SHIFT_SAR
};
insn_fn op_shift;
/* Shifts of a 32- or 64-bit register by an immediate that is not 0; NULL if there is none. */
insn_fn *shift_imm_handler(enum shift_op op, unsigned int size);
insn_fn op_double_shift; /* op: 0 SHLD, 1 SHRD */
enum bit_op { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };
insn_fn op_bit;
/* op_address() with the bit number's offset, which INSN_ADDR32 tells op_bit() */
insn_fn op_address_bit, op_address_bit16;
enum scan_op { SCAN_BSF, SCAN_BSR, SCAN_TZCNT, SCAN_LZCNT, SCAN_POPCNT };
insn_fn op_scan;

/* ---- multiply.c ---- */
insn_fn op_imul, op_imul32, op_imul64; /* two and three operands */
insn_fn op_multiply, op_divide;	       /* of RDX:RAX; op: 0 unsigned, 1 signed */

/* ---- decimal.c ---- */
enum decimal_op { DECIMAL_DAA, DECIMAL_DAS, DECIMAL_AAA, DECIMAL_AAS, DECIMAL_AAM, DECIMAL_AAD };
insn_fn op_decimal; /* imm: the base of AAM and AAD */

/* ---- control.c ---- */
insn_fn *jcc_handler(unsigned int code);
insn_fn op_jmp, op_call, op_ret, op_jmp_reg, op_jmp_mem, op_call_reg, op_call_mem;
insn_fn op_branch_out;	      /* any direct branch to a non-canonical target; op: the opcode */
insn_fn op_loop, op_jrcxz;    /* op_loop: 0 LOOPNE, 1 LOOPE, 2 LOOP */
insn_fn op_loop16, op_jcxz16; /* likewise, by CX */

/* ---- string.c ---- */
enum string_op {
	STRING_MOVS,
	STRING_CMPS,
	STRING_STOS,
	STRING_LODS,
	STRING_SCAS,
	STRING_INS,
	STRING_OUTS
};
insn_fn op_string; /* op: which; scale: the segment of RSI; imm: mask of RSI, RDI, RCX */

/* ---- system.c ---- */
insn_fn op_invalid, op_unimplemented, op_too_long;
insn_fn op_cpuid, op_rdmsr, op_wrmsr, op_rdpmc, op_rdtsc, op_hlt, op_in, op_out, op_vmcall;
insn_fn op_fsgsbase; /* op: 0 RDFSBASE 1 RDGSBASE 2 WRFSBASE 3 WRGSBASE */
insn_fn op_swapgs, op_clflush, op_invlpg, op_wbinvd;
insn_fn op_cli, op_sti, op_popf;

/* ---- control_register.c ---- */
insn_fn op_mov_from_cr, op_mov_to_cr;
insn_fn op_clts, op_smsw, op_lmsw, op_store_table, op_load_table;

/* ---- segment.c ---- */
insn_fn op_mov_from_segment, op_mov_to_segment, op_push_segment, op_pop_segment;
insn_fn op_load_far; /* LES, LDS, LSS, LFS, LGS; op: the segment */
insn_fn op_sldt_str, op_lldt, op_ltr, op_verify, op_arpl;
insn_fn op_far_jmp, op_far_call, op_far_ret;

/* ---- debug.c ---- */
insn_fn op_int1, op_mov_from_dr, op_mov_to_dr;

/* ---- interrupt.c ---- */
insn_fn op_int; /* op: INT3 or INTO, which can be intercepted */
insn_fn op_into, op_iret, op_syscall, op_sysret;

/* ---- interrupt32.c ---- */
insn_fn op_iret32;

/* ---- legacy.c ---- */
insn_fn op_address32, op_address16;
insn_fn op_xlat32; /* op: the segment; imm: mask of the offset */
/* Of i->size: register, memory or (op_push32) immediate. */
insn_fn op_push32, op_pop32, op_pushf32, op_pusha, op_popa;
insn_fn op_leave_sized, op_enter_nested; /* of 64-bit code as well, where move.c has none */
insn_fn op_call32, op_ret32, op_jmp_indirect32, op_call_indirect32;
insn_fn op_bound, op_salc;

/* ---- sysenter.c ---- */
insn_fn op_sysenter, op_sysexit;

/* ---- transaction.c ---- */
insn_fn op_xbegin, op_xend, op_xtest;

/* ---- simd_move.c, simd_int.c, simd_float.c ---- */
enum simd_shift {
	SIMD_NO_SHIFT,
	SIMD_PSRLW,
	SIMD_PSRAW,
	SIMD_PSLLW,
	SIMD_PSRLD,
	SIMD_PSRAD,
	SIMD_PSLLD,
	SIMD_PSRLQ,
	SIMD_PSLLQ,
	SIMD_PSRLDQ,
	SIMD_PSLLDQ
};
#define SIMD_PLAIN(prefix, opcode, name, cost) insn_fn simd_##name;
#define SIMD_FLOAT(prefix, opcode, name, bytes, cost) insn_fn simd_##name;
#define SIMD_COMPARE(prefix, opcode, name, bytes) insn_fn simd_##name;
#define SIMD_OTHER(prefix, opcode, handler, operands, cost) insn_fn handler;
#include "cpu/simd.def"
#undef SIMD_PLAIN
#undef SIMD_FLOAT
#undef SIMD_COMPARE
#undef SIMD_OTHER

/* ---- fpu_state.c ---- */
insn_fn op_ldmxcsr, op_stmxcsr, op_fxsave, op_fxrstor;

/* ---- x87.c ---- */
insn_fn op_x87, op_x87_control, op_x87_load_state, op_x87_store_state, op_fwait;

/* ---- work.c ---- */
insn_fn op_work;

#endif /* CPU_HANDLERS_H_ */
