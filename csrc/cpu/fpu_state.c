/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu_state.c - the registers of x87 and SSE as state: MXCSR, FXSAVE and FXRSTOR, and the host's own
 * floating-point state while a guest's is loaded.
 *
 * Interface
 *  - simd.h says how instructions run under the guest's MXCSR.
 *  - x87_execute() runs one x87 instruction of the host on a guest's registers.
 *  - fpu_release() gives the host its own state back; cpu_run() calls it before it returns.
 *
 * An unmasked exception changes nothing but flags in MXCSR, and is #XM (#UD without
 * CR4.OSXMMEXCPT). If it is one that is found before the operation (invalid, denormal, divide by
 * zero), flags of results are not set.
 *
 * Not modelled
 *  - whether PE comes with an unmasked overflow or underflow. It depends on a result with an exponent
 *    without bounds; here PE is that of the masked response. The #XM itself is right.
 *  - the selectors of the last x87 instruction and operand: zero. The operand's address is the
 *    linear one.
 *  - FXSAVE without CR4.OSFXSR stores and loads XMM registers all the same.
 */
#include <string.h>

#include "cpu/handlers.h"
#include "cpu/simd.h"
#include "cpu/x87.h"

#define FXSAVE_BYTES 512u
#define FXSAVE_CONTROL 0
#define FXSAVE_STATUS 2
#define FXSAVE_TAGS 4
#define FXSAVE_OPCODE 6
#define FXSAVE_INSTRUCTION 8
#define FXSAVE_OPERAND 16
#define FXSAVE_MXCSR 24
#define FXSAVE_MXCSR_MASK 28
#define FXSAVE_ST 32
#define FXSAVE_XMM 160
#define X87_TAG_EMPTY 3u

static u32 read_mxcsr(void)
{
	u32 v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static void write_mxcsr(u32 v)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(v));
}

void fpu_reset(struct cpu *c)
{
	c->fpu = (struct fpu){.mxcsr = MXCSR_RESET,
			      .x87 = {.control = X87_CONTROL_START, .tags = X87_TAGS_EMPTY}};
}

void fpu_give_back(struct cpu *c)
{
	struct fpu *f = &c->fpu;

	if (f->mxcsr_loaded)
		f->mxcsr = read_mxcsr();
	f->mxcsr_loaded = false;
	if (f->host_mxcsr_saved)
		write_mxcsr(f->host_mxcsr);
	f->host_mxcsr_saved = false;
	if (f->host_x87_saved)
		__asm__ volatile("frstor %0" : : "m"(f->host_x87));
	f->host_x87_saved = false;
}

/* ---- MXCSR ---- */

_Noreturn void raise_simd_disabled(struct cpu *c, const struct insn *i)
{
	if ((c->cr0 & CR0_EM) || !(c->cr4 & CR4_OSFXSR))
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
	raise_fault(c, i, VECTOR_NM, NO_ERROR_CODE);
}

static u32 unmasked_exceptions(const struct fpu *f)
{
	return ~(f->mxcsr >> MXCSR_MASKS_SHIFT) & MXCSR_FLAGS;
}

/* Denormal results are flushed only while underflow is masked. */
static u32 mxcsr_without_exceptions(const struct fpu *f)
{
	u32 v = (f->mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS;

	return f->mxcsr & MXCSR_UNDERFLOW_MASK ? v : v & ~MXCSR_FLUSH;
}

void simd_enter(struct cpu *c)
{
	struct fpu *f = &c->fpu;

	if (!f->host_mxcsr_saved)
		f->host_mxcsr = read_mxcsr();
	f->host_mxcsr_saved = true;
	f->mxcsr_loaded = !unmasked_exceptions(f);
	write_mxcsr(f->mxcsr_loaded ? f->mxcsr : mxcsr_without_exceptions(f));
}

/*
 * Unmasked, underflow is a result that is tiny, be it exact or not; masked, the host says it of inexact
 * ones only. But all tiny ones are flushed to zero on demand, with the flag: hence a second execution.
 */
bool simd_repeat(struct cpu *c, const struct insn *i)
{
	const u32 before = MXCSR_INVALID | MXCSR_DENORMAL | MXCSR_ZERO_DIVIDE;
	struct fpu *f = &c->fpu;
	u32 unmasked = unmasked_exceptions(f), flags = read_mxcsr() & MXCSR_FLAGS;

	if (f->flushing) {
		f->flushing = false;
		flags = f->first_flags | (flags & MXCSR_UNDERFLOW);
	} else if (unmasked & MXCSR_UNDERFLOW) {
		f->flushing = true;
		f->first_flags = flags;
		write_mxcsr(mxcsr_without_exceptions(f) | MXCSR_FLUSH);
		return true;
	}
	if (flags & unmasked & before)
		flags &= before;
	f->mxcsr |= flags;
	if (flags & unmasked)
		raise_fault(c, i, c->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD, NO_ERROR_CODE);
	return false;
}

static u32 current_mxcsr(struct cpu *c)
{
	if (c->fpu.mxcsr_loaded)
		c->fpu.mxcsr = read_mxcsr();
	return c->fpu.mxcsr;
}

static void set_mxcsr(struct cpu *c, const struct insn *i, u32 v)
{
	if (v & ~MXCSR_VALID)
		raise_fault(c, i, VECTOR_GP, 0);
	c->fpu.mxcsr = v;
	c->fpu.mxcsr_loaded = false;
}

void op_ldmxcsr(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	set_mxcsr(c, i, load_u32(c, i, effective_address(c, i)));
	NEXT_INSN(c, i);
}

void op_stmxcsr(struct cpu *c, const struct insn *i)
{
	require_simd(c, i);
	store_u32(c, i, effective_address(c, i), current_mxcsr(c));
	NEXT_INSN(c, i);
}

/* ---- x87 ---- */

void x87_execute(struct cpu *c, struct x87_image *image, x87_stub *stub, struct x87_call *call)
{
	struct fpu *f = &c->fpu;

	if (!f->host_x87_saved)
		__asm__ volatile("fnsave %0" : "=m"(f->host_x87));
	f->host_x87_saved = true;
	__asm__ volatile("frstor %0" : : "m"(*image));
	if (stub)
		call->flags = stub(call->operand, call->flags);
	__asm__ volatile("fnsave %0" : "=m"(*image) : : "memory");
	memset(image->pointers, 0, sizeof(image->pointers));
	image->control &= 0xffff;
	image->status &= 0xffff;
	image->tags &= 0xffff;
}

/* ---- FXSAVE, FXRSTOR ---- */

static unsigned int nr_xmm(const struct cpu *c)
{
	return c->code_size == 3 ? NR_XMM : NR_XMM / 2;
}

static u64 fxsave_address(struct cpu *c, const struct insn *i)
{
	if (c->cr0 & (CR0_EM | CR0_TS))
		raise_fault(c, i, VECTOR_NM, NO_ERROR_CODE);
	return aligned_address(c, i);
}

/* One bit a register, set if it is not empty. */
static u8 abridge_tags(u32 tags)
{
	u8 abridged = 0;

	for (unsigned int n = 0; n < 8; n++) {
		if ((tags >> (2 * n) & 3) != X87_TAG_EMPTY)
			abridged |= (u8)(1 << n);
	}
	return abridged;
}

static u32 widen_tags(u8 abridged)
{
	u32 tags = 0;

	for (unsigned int n = 0; n < 8; n++) {
		if (!(abridged >> n & 1))
			tags |= X87_TAG_EMPTY << (2 * n);
	}
	return tags;
}

static void put_bytes(u8 *area, unsigned int at, u64 v, unsigned int n)
{
	memcpy(area + at, &v, n);
}

static u64 get_bytes(const u8 *area, unsigned int at, unsigned int n)
{
	u64 v = 0;

	memcpy(&v, area + at, n);
	return v;
}

/* REX.W: whole addresses; otherwise 32 bits and a selector. */
static unsigned int pointer_bytes(const struct insn *i)
{
	return i->size == 3 ? 8 : 4;
}

static void fill_area(struct cpu *c, const struct insn *i, u8 *area)
{
	const struct fpu *f = &c->fpu;

	put_bytes(area, FXSAVE_CONTROL, f->x87.control, 2);
	put_bytes(area, FXSAVE_STATUS, f->x87.status, 2);
	area[FXSAVE_TAGS] = abridge_tags(f->x87.tags);
	put_bytes(area, FXSAVE_OPCODE, f->opcode, 2);
	put_bytes(area, FXSAVE_INSTRUCTION, f->instruction, pointer_bytes(i));
	put_bytes(area, FXSAVE_OPERAND, f->operand, pointer_bytes(i));
	put_bytes(area, FXSAVE_MXCSR, current_mxcsr(c), 4);
	put_bytes(area, FXSAVE_MXCSR_MASK, MXCSR_VALID, 4);
	for (unsigned int n = 0; n < 8; n++)
		memcpy(area + FXSAVE_ST + 16 * n, f->x87.st[n], sizeof(f->x87.st[n]));
	memcpy(area + FXSAVE_XMM, f->xmm, sizeof(f->xmm));
}

void op_fxsave(struct cpu *c, const struct insn *i)
{
	u8 area[FXSAVE_BYTES] = {0};
	u64 va = fxsave_address(c, i);

	probe_area(c, i, va, FXSAVE_BYTES, 16);
	fill_area(c, i, area);
	for (unsigned int at = 0; at < FXSAVE_XMM + 16 * nr_xmm(c); at += 16)
		store_bytes(c, i, va + at, area + at, 16);
	NEXT_INSN(c, i);
}

static void take_x87(struct cpu *c, const struct insn *i, const u8 *area)
{
	struct fpu *f = &c->fpu;

	f->x87.control = (u32)get_bytes(area, FXSAVE_CONTROL, 2);
	f->x87.status = (u32)get_bytes(area, FXSAVE_STATUS, 2);
	f->x87.tags = widen_tags(area[FXSAVE_TAGS]);
	for (unsigned int n = 0; n < 8; n++)
		memcpy(f->x87.st[n], area + FXSAVE_ST + 16 * n, sizeof(f->x87.st[n]));
	/* The processor puts fixed bits and tags right. */
	x87_execute(c, &f->x87, NULL, NULL);
	f->opcode = (u16)get_bytes(area, FXSAVE_OPCODE, 2) & X87_OPCODE_BITS;
	f->instruction = get_bytes(area, FXSAVE_INSTRUCTION, pointer_bytes(i));
	f->operand = get_bytes(area, FXSAVE_OPERAND, pointer_bytes(i));
}

void op_fxrstor(struct cpu *c, const struct insn *i)
{
	u64 va = fxsave_address(c, i);
	u8 area[FXSAVE_BYTES];

	for (unsigned int at = 0; at < FXSAVE_BYTES; at += 16)
		load_bytes(c, i, va + at, area + at, 16);
	set_mxcsr(c, i, (u32)get_bytes(area, FXSAVE_MXCSR, 4));
	take_x87(c, i, area);
	memcpy(c->fpu.xmm, area + FXSAVE_XMM, nr_xmm(c) * sizeof(xmm_t));
	NEXT_INSN(c, i);
}
