/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alu.c - ADD OR ADC SBB AND SUB XOR CMP TEST MOV, INC DEC NOT NEG: one handler for each operation,
 * operand form and size, because these are most of what a guest executes.
 *
 * A handler first computes the value and the flags' sources, then stores; a store to memory goes
 * to a page that is known to be writable (update_*(), load_for_update()), so that flags never
 * change under an instruction that faults.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

#define BITS(type) (8 * sizeof(type))
#define SIGNED_u8 s8
#define SIGNED_u16 s16
#define SIGNED_u32 s32
#define SIGNED_u64 s64

/* ---- one function an operation: result and flags ---- */

/* Carries out of each bit of a + b = r, and borrows of a - b = r. */
#define ADD_CARRIES(a, b, r) (((a) & (b)) | (((a) | (b)) & ~(r)))
#define SUB_BORROWS(a, b, r) ((~(a) & (b)) | (~((a) ^ (b)) & (r)))

#define DEFINE_OPERATION(name, type, result, carry_vector)                                         \
	static __always_inline type name##_##type(struct cpu *c, type a, type b)                   \
	{                                                                                          \
		type r = (type)(result);                                                           \
                                                                                                   \
		set_flags(c, (SIGNED_##type)r, widen_carries((type)(carry_vector), BITS(type)));   \
		return r;                                                                          \
	}

#define DEFINE_OPERATIONS(type)                                                                    \
	DEFINE_OPERATION(add, type, a + b, ADD_CARRIES(a, b, r))                                   \
	DEFINE_OPERATION(or, type, a | b, 0)                                                       \
	DEFINE_OPERATION(adc, type, a + b + flag_cf(c), ADD_CARRIES(a, b, r))                      \
	DEFINE_OPERATION(sbb, type, a - b - flag_cf(c), SUB_BORROWS(a, b, r))                      \
	DEFINE_OPERATION(and, type, a &b, 0)                                                       \
	DEFINE_OPERATION(sub, type, a - b, SUB_BORROWS(a, b, r))                                   \
	DEFINE_OPERATION(xor, type, a ^ b, 0)

DEFINE_OPERATIONS(u8)
DEFINE_OPERATIONS(u16)
DEFINE_OPERATIONS(u32)
DEFINE_OPERATIONS(u64)

/* ---- operations with a result, operations with flags only, MOV ---- */

#define RMW_MEMORY(op, type, source)                                                               \
	do {                                                                                       \
		u64 va = effective_address(c, i);                                                  \
		type *host = update_##type(c, va);                                                 \
                                                                                                   \
		if (likely(host)) {                                                                \
			*host = op##_##type(c, *host, (source));                                   \
		} else {                                                                           \
			type old = (type)load_for_update(c, i, va, sizeof(type));                  \
                                                                                                   \
			store_slow(c, i, va, sizeof(type), op##_##type(c, old, (source)));         \
		}                                                                                  \
	} while (0)

#define HANDLER(name, body)                                                                        \
	static void name(struct cpu *c, const struct insn *i)                                      \
	{                                                                                          \
		body;                                                                              \
		NEXT_INSN(c, i);                                                                   \
	}

#define DEFINE_RESULT_FORMS(op, type)                                                              \
	HANDLER(op##_rm_reg_##type,                                                                \
		set_reg_##type(c, i->rm,                                                           \
			       op##_##type(c, REG(c, type, i->rm), REG(c, type, i->reg))))         \
	HANDLER(op##_reg_mem_##type,                                                               \
		set_reg_##type(c, i->reg,                                                          \
			       op##_##type(c, REG(c, type, i->reg),                                \
					   load_##type(c, i, effective_address(c, i)))))           \
	HANDLER(op##_mem_reg_##type, RMW_MEMORY(op, type, REG(c, type, i->reg)))                   \
	HANDLER(op##_rm_imm_##type,                                                                \
		set_reg_##type(c, i->rm, op##_##type(c, REG(c, type, i->rm), (type)i->imm)))       \
	HANDLER(op##_mem_imm_##type, RMW_MEMORY(op, type, (type)i->imm))

#define DEFINE_FLAG_FORMS(name, op, type)                                                          \
	HANDLER(name##_rm_reg_##type, op##_##type(c, REG(c, type, i->rm), REG(c, type, i->reg)))   \
	HANDLER(name##_reg_mem_##type,                                                             \
		op##_##type(c, REG(c, type, i->reg), load_##type(c, i, effective_address(c, i))))  \
	HANDLER(name##_mem_reg_##type,                                                             \
		op##_##type(c, load_##type(c, i, effective_address(c, i)), REG(c, type, i->reg)))  \
	HANDLER(name##_rm_imm_##type, op##_##type(c, REG(c, type, i->rm), (type)i->imm))           \
	HANDLER(name##_mem_imm_##type,                                                             \
		op##_##type(c, load_##type(c, i, effective_address(c, i)), (type)i->imm))

#define DEFINE_MOV_FORMS(type)                                                                     \
	HANDLER(mov_rm_reg_##type, set_reg_##type(c, i->rm, REG(c, type, i->reg)))                 \
	HANDLER(mov_reg_mem_##type,                                                                \
		set_reg_##type(c, i->reg, load_##type(c, i, effective_address(c, i))))             \
	HANDLER(mov_mem_reg_##type,                                                                \
		store_##type(c, i, effective_address(c, i), REG(c, type, i->reg)))                 \
	HANDLER(mov_rm_imm_##type, set_reg_##type(c, i->rm, (type)i->imm))                         \
	HANDLER(mov_mem_imm_##type, store_##type(c, i, effective_address(c, i), (type)i->imm))

#define DEFINE_FORMS(type)                                                                         \
	DEFINE_RESULT_FORMS(add, type)                                                             \
	DEFINE_RESULT_FORMS(or, type)                                                              \
	DEFINE_RESULT_FORMS(adc, type)                                                             \
	DEFINE_RESULT_FORMS(sbb, type)                                                             \
	DEFINE_RESULT_FORMS(and, type)                                                             \
	DEFINE_RESULT_FORMS(sub, type)                                                             \
	DEFINE_RESULT_FORMS(xor, type)                                                             \
	DEFINE_FLAG_FORMS(cmp, sub, type)                                                          \
	DEFINE_FLAG_FORMS(test, and, type)                                                         \
	DEFINE_MOV_FORMS(type)

DEFINE_FORMS(u8)
DEFINE_FORMS(u16)
DEFINE_FORMS(u32)
DEFINE_FORMS(u64)

#define SIZES(prefix) {prefix##_u8, prefix##_u16, prefix##_u32, prefix##_u64}
#define FORMS(op)                                                                                  \
	{                                                                                          \
		[ALU_RM_REG] = SIZES(op##_rm_reg),   [ALU_REG_MEM] = SIZES(op##_reg_mem),          \
		[ALU_MEM_REG] = SIZES(op##_mem_reg), [ALU_RM_IMM] = SIZES(op##_rm_imm),            \
		[ALU_MEM_IMM] = SIZES(op##_mem_imm),                                               \
	}

insn_fn *alu_handler(enum alu_op op, enum alu_form form, unsigned int size)
{
	static insn_fn *const handlers[NR_ALU_OPS][NR_ALU_FORMS][4] = {
		[ALU_ADD] = FORMS(add), [ALU_OR] = FORMS(or),	[ALU_ADC] = FORMS(adc),
		[ALU_SBB] = FORMS(sbb), [ALU_AND] = FORMS(and), [ALU_SUB] = FORMS(sub),
		[ALU_XOR] = FORMS(xor), [ALU_CMP] = FORMS(cmp), [ALU_TEST] = FORMS(test),
		[ALU_MOV] = FORMS(mov),
	};

	return handlers[op][form][size];
}

/* ---- one operand ---- */

/* INC and DEC leave CF alone; NOT leaves all flags alone. */
#define DEFINE_UNARY(type)                                                                         \
	static __always_inline type inc_##type(struct cpu *c, type a, type unused)                 \
	{                                                                                          \
		bool cf = flag_cf(c);                                                              \
                                                                                                   \
		(void)unused;                                                                      \
		a = add_##type(c, a, 1);                                                           \
		set_cf_of(c, cf, flag_of(c));                                                      \
		return a;                                                                          \
	}                                                                                          \
	static __always_inline type dec_##type(struct cpu *c, type a, type unused)                 \
	{                                                                                          \
		bool cf = flag_cf(c);                                                              \
                                                                                                   \
		(void)unused;                                                                      \
		a = sub_##type(c, a, 1);                                                           \
		set_cf_of(c, cf, flag_of(c));                                                      \
		return a;                                                                          \
	}                                                                                          \
	static __always_inline type not_##type(struct cpu *c, type a, type unused)                 \
	{                                                                                          \
		(void)c;                                                                           \
		(void)unused;                                                                      \
		return (type)~a;                                                                   \
	}                                                                                          \
	static __always_inline type neg_##type(struct cpu *c, type a, type unused)                 \
	{                                                                                          \
		(void)unused;                                                                      \
		return sub_##type(c, 0, a);                                                        \
	}                                                                                          \
	DEFINE_UNARY_FORMS(inc, type)                                                              \
	DEFINE_UNARY_FORMS(dec, type)                                                              \
	DEFINE_UNARY_FORMS(not, type)                                                              \
	DEFINE_UNARY_FORMS(neg, type)

#define DEFINE_UNARY_FORMS(op, type)                                                               \
	HANDLER(op##_rm_##type, set_reg_##type(c, i->rm, op##_##type(c, REG(c, type, i->rm), 0)))  \
	HANDLER(op##_mem_##type, RMW_MEMORY(op, type, 0))

DEFINE_UNARY(u8)
DEFINE_UNARY(u16)
DEFINE_UNARY(u32)
DEFINE_UNARY(u64)

insn_fn *unary_handler(enum unary_op op, bool memory, unsigned int size)
{
	static insn_fn *const handlers[NR_UNARY_OPS][2][4] = {
		[UNARY_INC] = {SIZES(inc_rm), SIZES(inc_mem)},
		[UNARY_DEC] = {SIZES(dec_rm), SIZES(dec_mem)},
		[UNARY_NOT] = {SIZES(not_rm), SIZES(not_mem)},
		[UNARY_NEG] = {SIZES(neg_rm), SIZES(neg_mem)},
	};

	return handlers[op][memory][size];
}
