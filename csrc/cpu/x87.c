/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87.c - x87: loads, stores, arithmetic, comparisons; control and state.
 *
 * Interface: x87.h. What an instruction writes to memory is written before its new registers are
 * taken over, so that a fault changes nothing.
 *
 * An unmasked exception is pending until the next instruction that waits, which is #MF then.
 *
 * Not modelled
 *  - transcendental functions: F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS. Processors
 *    differ in their last bits.
 *  - undocumented second encodings, the formats of FLDENV, FNSTENV, FRSTOR, FNSAVE in 16-bit
 *    code and of 16 bits.
 *  - exceptions reported by FERR# and an interrupt (CR0.NE clear): the run stops as unimplemented.
 *  - selectors of the last instruction and operand: zero.
 */
#include <string.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"
#include "cpu/x87.h"

#define STATUS_EXCEPTIONS 0x7fu /* with the stack fault */
#define STATUS_SUMMARY 0x80u	/* ES */
#define STATUS_BUSY 0x8000u
#define STATUS_TOP_SHIFT 11
#define NO_STORE_EXCEPTIONS 0x19u /* invalid, overflow, underflow */
#define CONTROL_MASKS 0x3fu
#define UPPER_HALF 0xffff0000u
#define ENVIRONMENT_BYTES 28u
#define STATE_BYTES 108u

_Static_assert(sizeof(struct x87_image) == STATE_BYTES, "the layout of FNSAVE");

/*
 * Stubs: load the flags, the instruction, return the flags. Those with a memory operand have it at
 * (%rdi). Eight bytes each, by opcode, and then by ModRM.reg or by ModRM - 0xc0.
 */
#define STUB_BYTES 8u

__asm__(".pushsection .text\n"
	".balign 8\n"
	".globl x87_memory_stubs, x87_register_stubs\n"
	".hidden x87_memory_stubs, x87_register_stubs\n"
	".macro x87_stubs first, step, number\n"
	".irp opcode, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf\n"
	".set x87_modrm, \\first\n"
	".rept \\number\n"
	"	push %rsi\n"
	"	popfq\n"
	"	.byte \\opcode, x87_modrm\n"
	"	pushfq\n"
	"	pop %rax\n"
	"	ret\n"
	"	.balign 8\n"
	".set x87_modrm, x87_modrm + \\step\n"
	".endr\n"
	".endr\n"
	".endm\n"
	"x87_memory_stubs:\n"
	"	x87_stubs 7, 8, 8\n"
	"x87_register_stubs:\n"
	"	x87_stubs 0xc0, 1, 64\n"
	".popsection\n");

extern const u8 x87_memory_stubs[], x87_register_stubs[];

u64 x87_find_stub(u8 opcode, u8 modrm)
{
	unsigned int n = opcode & 7;

	if (modrm >= 0xc0)
		return (u64)(uintptr_t)x87_register_stubs + (n * 64 + modrm - 0xc0u) * STUB_BYTES;
	return (u64)(uintptr_t)x87_memory_stubs + (n * 8 + (modrm >> 3 & 7)) * STUB_BYTES;
}

/* ---- checks ---- */

static void require_x87(struct cpu *c, const struct insn *i)
{
	if (c->cr0 & (CR0_EM | CR0_TS))
		raise_fault(c, i, VECTOR_NM, NO_ERROR_CODE);
}

static void raise_pending(struct cpu *c, const struct insn *i)
{
	if (!(c->fpu.x87.status & STATUS_SUMMARY))
		return;
	if (!(c->cr0 & CR0_NE))
		stop_unimplemented(c, i);
	raise_fault(c, i, VECTOR_MF, NO_ERROR_CODE);
}

/* WAIT */
void op_fwait(struct cpu *c, const struct insn *i)
{
	if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		raise_fault(c, i, VECTOR_NM, NO_ERROR_CODE);
	raise_pending(c, i);
	NEXT_INSN(c, i);
}

/* ---- instructions that the host executes ---- */

static bool has_pending(const struct x87_image *image, u32 exceptions)
{
	return image->status & ~image->control & exceptions;
}

static void note_instruction(struct cpu *c, const struct insn *i)
{
	struct fpu *f = &c->fpu;

	f->instruction = c->block->va + i->offset;
	if (i->flags & INSN_MEM)
		f->operand = effective_address(c, i);
	if (f->x87.status & STATUS_SUMMARY)
		f->opcode = x87_opcode(i);
}

void op_x87(struct cpu *c, const struct insn *i)
{
	struct x87_image image = c->fpu.x87;
	u8 operand[16] = {0};
	struct x87_call call = {operand, arithmetic_flags(c)};

	require_x87(c, i);
	raise_pending(c, i);
	if (i->op == X87_LOAD)
		load_bytes(c, i, effective_address(c, i), operand, x87_bytes(i));
	x87_execute(c, &image, (x87_stub *)(uintptr_t)i->imm, &call);
	if (i->op == X87_STORE && has_pending(&image, NO_STORE_EXCEPTIONS))
		probe_write(c, i, effective_address(c, i), x87_bytes(i));
	else if (i->op == X87_STORE)
		store_bytes(c, i, effective_address(c, i), operand, x87_bytes(i));
	c->fpu.x87 = image;
	note_instruction(c, i);
	if (i->op == X87_FLAGS)
		set_arithmetic_flags(c, call.flags);
	NEXT_INSN(c, i);
}

/* ---- control ---- */

static unsigned int top_of(const struct x87_image *image)
{
	return image->status >> STATUS_TOP_SHIFT & 7;
}

/* The image has the registers by their place on the stack: they move when its top does. */
static void keep_registers(struct x87_image *image, unsigned int old_top)
{
	unsigned int by = top_of(image) - old_top;
	struct x87_image old = *image;

	for (unsigned int n = 0; n < 8; n++)
		memcpy(image->st[n], old.st[(n + by) & 7], sizeof(old.st[n]));
}

static void initialize(struct fpu *f)
{
	unsigned int top = top_of(&f->x87);

	f->x87.control = X87_CONTROL_START;
	f->x87.status = 0;
	f->x87.tags = X87_TAGS_EMPTY;
	keep_registers(&f->x87, top);
	f->instruction = f->operand = f->opcode = 0;
}

static void load_control(struct cpu *c, const struct insn *i)
{
	u16 control = load_u16(c, i, effective_address(c, i));
	struct x87_call call = {&control, 0};

	x87_execute(c, &c->fpu.x87, (x87_stub *)(uintptr_t)i->imm, &call);
}

static void store_word(struct cpu *c, const struct insn *i, u32 v)
{
	if (i->flags & INSN_MEM)
		store_u16(c, i, effective_address(c, i), (u16)v);
	else
		set_reg_u16(c, RAX_OFFSET, (u16)v); /* FNSTSW AX */
}

void op_x87_control(struct cpu *c, const struct insn *i)
{
	struct fpu *f = &c->fpu;

	require_x87(c, i);
	switch (i->op) {
	case X87_FLDCW:
		raise_pending(c, i);
		load_control(c, i);
		break;
	case X87_FNSTCW: store_word(c, i, f->x87.control); break;
	case X87_FNSTSW: store_word(c, i, f->x87.status); break;
	case X87_FNCLEX:
		f->x87.status &= ~(STATUS_EXCEPTIONS | STATUS_SUMMARY | STATUS_BUSY);
		break;
	default: initialize(f); break;
	}
	NEXT_INSN(c, i);
}

/* ---- environment and state ---- */

/* Pieces of an area that may cross lines; all of it can be written when the first one is. */
static void store_area(struct cpu *c, const struct insn *i, const void *from, unsigned int bytes)
{
	u64 va = effective_address(c, i);
	const u8 *at = from;

	probe_area(c, i, va, bytes, 4);
	for (unsigned int done = 0; done < bytes; done += 4)
		store_bytes(c, i, va + done, at + done, 4);
}

static void load_area(struct cpu *c, const struct insn *i, void *to, unsigned int bytes)
{
	u64 va = effective_address(c, i);
	u8 *at = to;

	for (unsigned int done = 0; done < bytes; done += 4)
		load_bytes(c, i, va + done, at + done, 4);
}

static unsigned int area_bytes(const struct insn *i)
{
	return i->op == X87_FNSTENV || i->op == X87_FLDENV ? ENVIRONMENT_BYTES : STATE_BYTES;
}

/* FNSTENV masks all exceptions, FNSAVE initializes. */
void op_x87_store_state(struct cpu *c, const struct insn *i)
{
	struct fpu *f = &c->fpu;
	struct x87_image image;

	require_x87(c, i);
	image = f->x87;
	image.control |= UPPER_HALF;
	image.status |= UPPER_HALF;
	image.tags |= UPPER_HALF;
	image.pointers[0] = (u32)f->instruction;
	image.pointers[1] = (u32)f->opcode << 16;
	image.pointers[2] = (u32)f->operand;
	image.pointers[3] = UPPER_HALF;
	store_area(c, i, &image, area_bytes(i));
	if (i->op == X87_FNSAVE) {
		initialize(f);
	} else {
		f->x87.control |= CONTROL_MASKS;
		f->x87.status &= ~(STATUS_SUMMARY | STATUS_BUSY);
	}
	NEXT_INSN(c, i);
}

/* The processor sees to fixed bits, the summary and the tags. */
void op_x87_load_state(struct cpu *c, const struct insn *i)
{
	struct fpu *f = &c->fpu;
	struct x87_image image;

	require_x87(c, i);
	raise_pending(c, i);
	image = f->x87;
	load_area(c, i, &image, area_bytes(i));
	f->instruction = image.pointers[0];
	f->opcode = image.pointers[1] >> 16 & X87_OPCODE_BITS;
	f->operand = image.pointers[2];
	memset(image.pointers, 0, sizeof(image.pointers));
	if (i->op == X87_FLDENV)
		keep_registers(&image, top_of(&f->x87));
	x87_execute(c, &image, NULL, NULL);
	f->x87 = image;
	NEXT_INSN(c, i);
}
