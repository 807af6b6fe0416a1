/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - segment registers, descriptors, LDTR and TR, far transfers.
 *
 * Interface
 *  - read_descriptor() and check_code_segment() serve deliveries and IRET as well.
 *  - Descriptor reads and accessed bits charge nothing.
 *
 * Not modelled
 *  - call gates, task gates and 16-bit TSSs: they stop as unimplemented. Far transfers change no
 *    privilege.
 *  - segment limits, but for the offsets of far transfers.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"
#include "cpu/stack.h"

#define SELECTOR_RPL 3u
#define SELECTOR_LDT 4u
#define SELECTOR_INDEX 0xfff8u
#define IS_NULL(selector) (((selector) & ~SELECTOR_RPL) == 0)

#define SYSTEM_TSS16 1u
#define SYSTEM_LDT 2u
#define SYSTEM_TSS 9u
#define SYSTEM_TSS_BUSY 11u
#define SYSTEM_CALL_GATE 12u

static bool find_descriptor(const struct cpu *c, u16 selector, unsigned int bytes, u64 *address)
{
	const struct descriptor_table *table = selector & SELECTOR_LDT ? &c->ldt : &c->gdt;

	if ((selector & SELECTOR_INDEX) + bytes - 1 > table->limit)
		return false;
	*address = table->base + (selector & SELECTOR_INDEX);
	return true;
}

u64 read_descriptor(struct cpu *c, const struct insn *i, u16 selector, enum vector vector,
		    u32 error, u64 *high)
{
	u64 address, descriptor;

	if (!find_descriptor(c, selector, high ? 16 : 8, &address))
		raise_fault(c, i, vector, (s32)error);
	descriptor = system_read(c, i, address, 8);
	if (high)
		*high = system_read(c, i, address + 8, 8);
	return descriptor;
}

static u32 descriptor_limit(u64 descriptor)
{
	u32 limit = (u32)((descriptor & 0xffff) | (descriptor >> 32 & 0xf0000));

	if (descriptor >> 40 & ATTR_GRANULAR)
		limit = limit << 12 | 0xfff;
	return limit;
}

struct cpu_segment segment_from_descriptor(u16 selector, u64 descriptor)
{
	return (struct cpu_segment){
		.base = (descriptor >> 16 & 0xffffff) | descriptor >> 56 << 24,
		.limit = descriptor_limit(descriptor),
		.selector = selector,
		.attr = (u16)(descriptor >> 40 & 0xf0ff),
	};
}

/* The processor marks a descriptor that it loads; once. */
static void mark_accessed(struct cpu *c, const struct insn *i, u16 selector,
			  struct cpu_segment *seg)
{
	u64 address;

	if (seg->attr & ATTR_ACCESSED || !find_descriptor(c, selector, 8, &address))
		return;
	seg->attr |= ATTR_ACCESSED;
	system_write_byte(c, i, address + 5, (u8)seg->attr);
}

struct cpu_segment check_code_segment(struct cpu *c, const struct insn *i, u16 selector,
				      unsigned int cpl, u32 ext)
{
	const u16 code = ATTR_NOT_SYSTEM | ATTR_CODE;
	u32 error = (selector & ~SELECTOR_RPL) | ext;
	struct cpu_segment seg;
	bool conforming;
	u64 descriptor;

	if (IS_NULL(selector))
		raise_fault(c, i, VECTOR_GP, (s32)ext);
	descriptor = read_descriptor(c, i, selector, VECTOR_GP, error, NULL);
	seg = segment_from_descriptor(selector, descriptor);
	if ((seg.attr & code) != code)
		raise_fault(c, i, VECTOR_GP, (s32)error);
	conforming = seg.attr & ATTR_CONFORMING;
	if (conforming ? ATTR_DPL(seg.attr) > cpl : ATTR_DPL(seg.attr) != cpl)
		raise_fault(c, i, VECTOR_GP, (s32)error);
	if (!(seg.attr & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_NP, (s32)error);
	if ((c->efer & EFER_LMA) && (seg.attr & ATTR_LONG) && (seg.attr & ATTR_DEFAULT32))
		raise_fault(c, i, VECTOR_GP, (s32)error);
	mark_accessed(c, i, selector, &seg);
	seg.selector = (u16)((selector & ~SELECTOR_RPL) | cpl);
	return seg;
}

void check_code_offset(struct cpu *c, const struct insn *i, const struct cpu_segment *cs,
		       u64 offset, u32 ext)
{
	bool wide = (c->efer & EFER_LMA) && (cs->attr & ATTR_LONG);

	if (wide ? !is_canonical(offset) : offset > cs->limit)
		raise_fault(c, i, VECTOR_GP, (s32)ext);
}

/* ---- data segments ---- */

static struct cpu_segment check_data_segment(struct cpu *c, const struct insn *i, u16 selector)
{
	s32 error = selector & ~(s32)SELECTOR_RPL;
	unsigned int rpl = selector & SELECTOR_RPL;
	struct cpu_segment seg;
	bool data, conforming;

	seg = segment_from_descriptor(selector,
				      read_descriptor(c, i, selector, VECTOR_GP, (u32)error, NULL));
	data = !(seg.attr & ATTR_CODE);
	conforming = !data && (seg.attr & ATTR_CONFORMING);
	if (!(seg.attr & ATTR_NOT_SYSTEM) || (!data && !(seg.attr & ATTR_READABLE)))
		raise_fault(c, i, VECTOR_GP, error);
	if (!conforming && (ATTR_DPL(seg.attr) < rpl || ATTR_DPL(seg.attr) < c->cpl))
		raise_fault(c, i, VECTOR_GP, error);
	if (!(seg.attr & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_NP, error);
	mark_accessed(c, i, selector, &seg);
	return seg;
}

struct cpu_segment check_stack_segment(struct cpu *c, const struct insn *i, u16 selector,
				       unsigned int cpl)
{
	s32 error = selector & ~(s32)SELECTOR_RPL;
	struct cpu_segment seg;

	if (IS_NULL(selector)) {
		if (cpl == 3 || c->legacy || (selector & SELECTOR_RPL) != cpl)
			raise_fault(c, i, VECTOR_GP, 0);
		return (struct cpu_segment){.selector = selector};
	}
	seg = segment_from_descriptor(selector,
				      read_descriptor(c, i, selector, VECTOR_GP, (u32)error, NULL));
	if (!(seg.attr & ATTR_NOT_SYSTEM) || (seg.attr & ATTR_CODE) ||
	    !(seg.attr & ATTR_WRITABLE) || ATTR_DPL(seg.attr) != cpl ||
	    (selector & SELECTOR_RPL) != cpl)
		raise_fault(c, i, VECTOR_GP, error);
	if (!(seg.attr & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_SS, error);
	mark_accessed(c, i, selector, &seg);
	return seg;
}

static void load_segment(struct cpu *c, const struct insn *i, unsigned int s, u16 selector)
{
	if (real_mode(c))
		c->seg[s] = real_segment(c, s, selector);
	else if (s == SEG_SS)
		c->seg[s] = check_stack_segment(c, i, selector, c->cpl);
	else if (IS_NULL(selector))
		c->seg[s] = (struct cpu_segment){.selector = selector};
	else
		c->seg[s] = check_data_segment(c, i, selector);
}

void op_mov_from_segment(struct cpu *c, const struct insn *i)
{
	u16 selector = c->seg[i->op].selector;

	if (i->flags & INSN_MEM)
		store_u16(c, i, effective_address(c, i), selector);
	else
		set_reg_sized(c, i->rm, i->size, selector);
	NEXT_INSN(c, i);
}

void op_mov_to_segment(struct cpu *c, const struct insn *i)
{
	u16 selector = (u16)load_rm(c, i);

	load_segment(c, i, i->op, selector);
	if (i->op == SEG_SS)
		c->next_shadow = SHADOW_MOV_SS;
	NEXT_INSN(c, i);
}

void op_push_segment(struct cpu *c, const struct insn *i)
{
	u64 rsp = c->regs[CPU_RSP] - (1u << i->size);

	store_sized(c, i, stack_address(c, rsp), i->size, c->seg[i->op].selector);
	set_rsp(c, rsp);
	NEXT_INSN(c, i);
}

void op_pop_segment(struct cpu *c, const struct insn *i)
{
	u16 selector = (u16)stack_load(c, i, 0);

	load_segment(c, i, i->op, selector);
	set_rsp(c, c->regs[CPU_RSP] + (1u << i->size));
	if (i->op == SEG_SS)
		c->next_shadow = SHADOW_MOV_SS;
	NEXT_INSN(c, i);
}

/* ---- LDTR, TR ---- */

static void require_protected_mode(struct cpu *c, const struct insn *i)
{
	if (real_mode(c))
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
}

void op_sldt_str(struct cpu *c, const struct insn *i)
{
	u16 selector = i->op ? c->tr.selector : c->ldt.selector;

	require_protected_mode(c, i);
	if (i->flags & INSN_MEM)
		store_u16(c, i, effective_address(c, i), selector);
	else
		set_reg_sized(c, i->rm, i->size, selector);
	NEXT_INSN(c, i);
}

static struct descriptor_table read_system_segment(struct cpu *c, const struct insn *i,
						   u16 selector, unsigned int type)
{
	s32 error = selector & ~(s32)SELECTOR_RPL;
	struct cpu_segment seg;
	u64 low, high;

	if (selector & SELECTOR_LDT)
		raise_fault(c, i, VECTOR_GP, error);
	low = read_descriptor(c, i, selector, VECTOR_GP, (u32)error, c->legacy ? NULL : &high);
	if (c->legacy)
		high = 0;
	seg = segment_from_descriptor(selector, low);
	if (type == SYSTEM_TSS && (seg.attr & 0x1f) == SYSTEM_TSS16 && !(c->efer & EFER_LMA))
		stop_unimplemented(c, i);
	if ((seg.attr & 0x1f) != type)
		raise_fault(c, i, VECTOR_GP, error);
	if (!(seg.attr & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_NP, error);
	return (struct descriptor_table){
		.base = seg.base | high << 32, .limit = seg.limit, .selector = selector};
}

void op_lldt(struct cpu *c, const struct insn *i)
{
	u16 selector;

	require_protected_mode(c, i);
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
	selector = (u16)load_rm(c, i);
	if (IS_NULL(selector))
		c->ldt = (struct descriptor_table){.selector = selector};
	else
		c->ldt = read_system_segment(c, i, selector, SYSTEM_LDT);
	NEXT_INSN(c, i);
}

void op_ltr(struct cpu *c, const struct insn *i)
{
	struct descriptor_table tr;
	u16 selector;
	u64 address;

	require_protected_mode(c, i);
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
	selector = (u16)load_rm(c, i);
	if (IS_NULL(selector))
		raise_fault(c, i, VECTOR_GP, 0);
	tr = read_system_segment(c, i, selector, SYSTEM_TSS);
	if (find_descriptor(c, selector, 16, &address))
		system_write_byte(c, i, address + 5,
				  (u8)(system_read(c, i, address + 5, 1) | 2)); /* busy */
	c->tr = tr;
	NEXT_INSN(c, i);
}

/* LAR, LSL, VERR, VERW: ZF says whether the descriptor may be looked at or used so. */
enum verify_op { VERIFY_LAR, VERIFY_LSL, VERIFY_READ, VERIFY_WRITE };

static bool may_verify(const struct cpu *c, enum verify_op op, u16 selector, u64 descriptor)
{
	u64 attr = descriptor >> 40;
	u64 type = attr & 15;
	bool conforming = (attr & ATTR_CODE) && (attr & ATTR_CONFORMING);
	unsigned int dpl = ATTR_DPL(attr);

	if (!(attr & ATTR_NOT_SYSTEM)) {
		if (op > VERIFY_LSL)
			return false;
		if (type != SYSTEM_LDT && type != SYSTEM_TSS && type != SYSTEM_TSS_BUSY &&
		    !(op == VERIFY_LAR && type == SYSTEM_CALL_GATE))
			return false;
		conforming = false;
	}
	if (!conforming && (dpl < c->cpl || dpl < (selector & SELECTOR_RPL)))
		return false;
	if (op == VERIFY_READ)
		return !(attr & ATTR_CODE) || (attr & ATTR_READABLE);
	if (op == VERIFY_WRITE)
		return !(attr & ATTR_CODE) && (attr & ATTR_WRITABLE);
	return true;
}

void op_verify(struct cpu *c, const struct insn *i)
{
	bool memory = i->flags & INSN_MEM;
	u64 address, descriptor = 0;
	bool ok = false;
	u16 selector;

	require_protected_mode(c, i);
	selector = memory ? load_u16(c, i, effective_address(c, i)) : REG(c, u16, i->rm);
	if (!IS_NULL(selector) && find_descriptor(c, selector, 8, &address)) {
		descriptor = system_read(c, i, address, 8);
		ok = may_verify(c, i->op, selector, descriptor);
	}
	if (ok && i->op == VERIFY_LAR)
		set_reg_sized(c, i->reg, i->size, descriptor >> 32 & 0xffff00);
	if (ok && i->op == VERIFY_LSL)
		set_reg_sized(c, i->reg, i->size, descriptor_limit(descriptor));
	set_arithmetic_flags(c, (arithmetic_flags(c) & ~FLAG_ZF) | (ok ? FLAG_ZF : 0));
	NEXT_INSN(c, i);
}

/* The destination's RPL becomes no less than the source's; ZF says whether it changed. */
void op_arpl(struct cpu *c, const struct insn *i)
{
	u16 from = REG(c, u16, i->reg) & SELECTOR_RPL;
	bool changed;
	u16 to;

	require_protected_mode(c, i);
	to = (u16)load_rm(c, i);
	changed = (to & SELECTOR_RPL) < from;
	if (changed)
		store_rm(c, i, (to & ~SELECTOR_RPL) | from);
	set_arithmetic_flags(c, (arithmetic_flags(c) & ~FLAG_ZF) | (changed ? FLAG_ZF : 0));
	NEXT_INSN(c, i);
}

/* ---- far transfers ---- */

struct far_pointer {
	u64 offset;
	u16 selector;
};

static struct far_pointer load_far_pointer(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);
	struct far_pointer to;

	if (i->flags & INSN_IMM)
		return (struct far_pointer){.offset = i->imm, .selector = (u16)i->disp};
	to.offset = load_sized(c, i, va, i->size);
	to.selector = load_u16(c, i, va + (1u << i->size));
	return to;
}

void op_load_far(struct cpu *c, const struct insn *i)
{
	struct far_pointer pointer = load_far_pointer(c, i);

	load_segment(c, i, i->op, pointer.selector);
	set_reg_sized(c, i->reg, i->size, pointer.offset);
	NEXT_INSN(c, i);
}

/*
 * What only far transfers ask of a descriptor: gates would change much more than CS, and an RPL
 * less privileged than the CPL is good for conforming code alone. RET with such an RPL has been
 * refused before.
 */
static void check_far_selector(struct cpu *c, const struct insn *i, u16 selector)
{
	u64 address, attr;

	if (IS_NULL(selector) || !find_descriptor(c, selector, 8, &address))
		return;
	attr = system_read(c, i, address, 8) >> 40;
	if (!(attr & ATTR_NOT_SYSTEM))
		stop_unimplemented(c, i);
	if ((selector & SELECTOR_RPL) > c->cpl && !(attr & ATTR_CONFORMING))
		raise_fault(c, i, VECTOR_GP, selector & ~(s32)SELECTOR_RPL);
}

static struct cpu_segment check_far_target(struct cpu *c, const struct insn *i,
					   const struct far_pointer *to)
{
	struct cpu_segment cs;

	if (real_mode(c)) {
		cs = real_segment(c, SEG_CS, to->selector);
	} else {
		check_far_selector(c, i, to->selector);
		cs = check_code_segment(c, i, to->selector, c->cpl, 0);
	}
	check_code_offset(c, i, &cs, to->offset, 0);
	return cs;
}

void op_far_jmp(struct cpu *c, const struct insn *i)
{
	struct far_pointer to = load_far_pointer(c, i);

	struct cpu_segment cs = check_far_target(c, i, &to);

	load_code_segment(c, &cs, to.offset);
}

void op_far_call(struct cpu *c, const struct insn *i)
{
	struct far_pointer to = load_far_pointer(c, i);
	struct cpu_segment cs = check_far_target(c, i, &to);
	u64 width = 1u << i->size;
	u64 rsp = c->regs[CPU_RSP];

	store_sized(c, i, stack_address(c, rsp - width), i->size, c->seg[SEG_CS].selector);
	store_sized(c, i, stack_address(c, rsp - 2 * width), i->size, next_rip(c, i));
	set_rsp(c, rsp - 2 * width);
	load_code_segment(c, &cs, to.offset);
}

void op_far_ret(struct cpu *c, const struct insn *i)
{
	u64 width = 1u << i->size;
	u64 rsp = c->regs[CPU_RSP];
	struct far_pointer to;
	struct cpu_segment cs;

	to.offset = stack_load(c, i, 0);
	to.selector = (u16)stack_load(c, i, 1);
	if ((to.selector & SELECTOR_RPL) < c->cpl)
		raise_fault(c, i, VECTOR_GP, to.selector & ~(s32)SELECTOR_RPL);
	if ((to.selector & SELECTOR_RPL) > c->cpl && !real_mode(c))
		stop_unimplemented(c, i);
	cs = check_far_target(c, i, &to);
	set_rsp(c, rsp + 2 * width + i->imm);
	load_code_segment(c, &cs, to.offset);
}
