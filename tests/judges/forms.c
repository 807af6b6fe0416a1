/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forms.c - instruction forms: their encoding, what is undefined about them, what is left out.
 */
#include "forms.h"

#include <stddef.h>

#define F_CF 0x001u
#define F_PF 0x004u
#define F_AF 0x010u
#define F_ZF 0x040u
#define F_OF 0x800u

#define BYTES 15u

static bool one_of(u8 value, u8 first, u8 last)
{
	return value >= first && value <= last;
}

static bool one_byte_has_modrm(u8 op)
{
	if (op < 0x40)
		return (op & 7) < 4;
	return op == 0x62 || op == 0x63 || op == 0x69 || op == 0x6b || one_of(op, 0x80, 0x8f) ||
	       op == 0xc0 || op == 0xc1 || one_of(op, 0xc4, 0xc7) || one_of(op, 0xd0, 0xd3) ||
	       one_of(op, 0xd8, 0xdf) || op == 0xf6 || op == 0xf7 || op == 0xfe || op == 0xff;
}

static bool two_byte_has_modrm(u8 op)
{
	return !(one_of(op, 0x04, 0x0c) || op == 0x0e || one_of(op, 0x30, 0x37) || op == 0x77 ||
		 one_of(op, 0x80, 0x8f) || one_of(op, 0xa0, 0xa2) || one_of(op, 0xa8, 0xaa) ||
		 one_of(op, 0xc8, 0xcf));
}

bool form_has_modrm(const struct form *f)
{
	if (f->map == 0)
		return one_byte_has_modrm(f->opcode);
	return f->map == 2 || two_byte_has_modrm(f->opcode);
}

bool form_is_x87(const struct form *f)
{
	return f->map == 0 && one_of(f->opcode, 0xd8, 0xdf);
}

bool form_is_simd(const struct form *f)
{
	u8 op = f->opcode;

	return f->map == 1 &&
	       (one_of(op, 0x10, 0x17) || one_of(op, 0x28, 0x2f) || one_of(op, 0x50, 0x7f) ||
		op == 0xc2 || one_of(op, 0xc4, 0xc6) || one_of(op, 0xd0, 0xfe));
}

bool form_is_group(const struct form *f)
{
	u8 op = f->opcode;

	if (form_is_x87(f) || (f->map == 1 && one_of(op, 0x71, 0x73)))
		return true;
	if (f->map == 0)
		return one_of(op, 0x80, 0x83) || op == 0x8f || op == 0xc0 || op == 0xc1 ||
		       op == 0xc6 || op == 0xc7 || one_of(op, 0xd0, 0xd3) || op == 0xf6 ||
		       op == 0xf7 || op == 0xfe || op == 0xff;
	return f->map == 1 && (op == 0x00 || op == 0x01 || op == 0xae || op == 0xba || op == 0xc7);
}

bool form_repeats(const struct form *f)
{
	return f->map == 0 && (f->prefix == PREFIX_REP || f->prefix == PREFIX_REPNE) &&
	       (one_of(f->opcode, 0xa4, 0xa7) || one_of(f->opcode, 0xaa, 0xaf));
}

bool form_privileged(const struct form *f)
{
	u8 op = f->opcode;

	if (f->map == 0)
		return one_of(op, 0x6c, 0x6f) || one_of(op, 0xe4, 0xe7) || one_of(op, 0xec, 0xef) ||
		       op == 0xf4 || op == 0xfa || op == 0xfb;
	if (f->map == 1 && op == 0x00)
		return f->digit == 2 || f->digit == 3;
	if (f->map == 1 && op == 0x01)
		return f->digit == 2 || f->digit == 3 || f->digit >= 6;
	return f->map == 1 && (op == 0x06 || op == 0x08 || op == 0x09 || one_of(op, 0x20, 0x23) ||
			       op == 0x30 || op == 0x32);
}

/* ---- what is left out ---- */

#define ANY 0xffu
#define DIGIT(n) (1u << (n))
#define SIZE16 1u
#define SIZE_ANY 7u
#define REPS (1u << PREFIX_REPNE | 1u << PREFIX_REP)
#define REGISTER 1u
#define MEMORY 2u

struct exclusion {
	u8 map, first, last;
	u8 digits, sizes, prefixes, operands; /* sets */
	const char *reason;
};

static const struct exclusion exclusions[] = {
	{0, 0x62, 0x62, ANY, ANY, ANY, ANY, "EVEX: another instruction set"},
	{0, 0xc4, 0xc5, ANY, ANY, ANY, ANY, "VEX: another instruction set"},
	{0, 0x8f, 0x8f, (u8)~DIGIT(0), ANY, ANY, ANY, "XOP on AMD"},
	{0, 0x8e, 0x8e, ANY, ANY, ANY, ANY, "loads the host's segment registers"},
	{0, 0x9c, 0x9c, ANY, ANY, ANY, ANY, "stores TF, which the single step has set"},
	{0, 0x9d, 0x9d, ANY, ANY, ANY, ANY, "loads TF and ends the single step"},
	{0, 0xca, 0xcb, ANY, ANY, ANY, ANY, "far: goes by the host's descriptor tables"},
	{0, 0xcf, 0xcf, ANY, ANY, ANY, ANY, "IRET: goes by the host's descriptor tables"},
	{0, 0xff, 0xff, DIGIT(3) | DIGIT(5), ANY, ANY, ANY, "far: by the host's descriptor tables"},
	{0, 0xcc, 0xce, ANY, ANY, ANY, ANY, "INT: the host's kernel answers"},
	{0, 0xf1, 0xf1, ANY, ANY, ANY, ANY, "INT1: the host's kernel answers"},
	{0, 0xe0, 0xe3, ANY, SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP, Intel does not"},
	{0, 0xe0, 0xe1, ANY, ANY, REPS, ANY, "LOOPcc with F2, F3: AMD takes ZF by the prefix"},
	{0, 0xe8, 0xe9, ANY, SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP, Intel does not"},
	{0, 0xeb, 0xeb, ANY, SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP, Intel does not"},
	{0, 0x70, 0x7f, ANY, SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP, Intel does not"},
	{0, 0xc2, 0xc3, ANY, SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP, Intel does not"},
	{0, 0xff, 0xff, DIGIT(2) | DIGIT(4), SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP"},
	{1, 0x80, 0x8f, ANY, SIZE16, ANY, ANY, "branch with 66: AMD cuts RIP, Intel does not"},
	{0, 0xc6, 0xc7, DIGIT(7), ANY, ANY, ANY, "RTM: the host may have it"},
	{1, 0x00, 0x00, DIGIT(0) | DIGIT(1), ANY, ANY, ANY, "SLDT, STR: UMIP or the host's tables"},
	{1, 0x00, 0x00, DIGIT(4) | DIGIT(5), ANY, ANY, ANY, "VERR, VERW: the host's descriptors"},
	{1, 0x01, 0x01, DIGIT(0) | DIGIT(1) | DIGIT(4) | DIGIT(5), ANY, ANY, ANY,
	 "SGDT, SIDT, SMSW: UMIP or the host's tables"},
	{1, 0x01, 0x01, ANY, ANY, ANY, REGISTER, "virtualization and others: the host's"},
	{1, 0x02, 0x03, ANY, ANY, ANY, ANY, "LAR, LSL: the host's descriptors"},
	{1, 0x05, 0x05, ANY, ANY, ANY, ANY, "SYSCALL: the host's kernel answers"},
	{1, 0x07, 0x07, ANY, ANY, ANY, ANY, "SYSRET: kernel only, and vendors differ"},
	{1, 0x0b, 0x0b, ANY, ANY, ANY, ANY, "UD2: kernels may take it for their own"},
	{1, 0x0d, 0x0d, ANY, ANY, ANY, ANY, "3DNow!: vendors differ"},
	{1, 0x0e, 0x0f, ANY, ANY, ANY, ANY, "3DNow!: vendors differ"},
	{1, 0x18, 0x1e, ANY, ANY, ANY, ANY, "hinted NOPs: newer CPUs give them meanings"},
	{1, 0x20, 0x23, ANY, ANY, 1u << PREFIX_LOCK, ANY, "LOCK MOV CR0: CR8 on AMD"},
	{1, 0x24, 0x27, ANY, ANY, ANY, ANY, "newer extensions"},
	{1, 0x31, 0x31, ANY, ANY, ANY, ANY, "RDTSC: the host's clock"},
	{1, 0x33, 0x37, ANY, ANY, ANY, ANY, "RDPMC, SYSENTER, GETSEC: the host's settings"},
	{1, 0x78, 0x7b, ANY, ANY, ANY, ANY, "SSE4A, of AMD"},
	{1, 0xa1, 0xa1, ANY, ANY, ANY, ANY, "loads the host's segment registers"},
	{1, 0xa9, 0xa9, ANY, ANY, ANY, ANY, "loads the host's segment registers"},
	{1, 0xa2, 0xa2, ANY, ANY, ANY, ANY, "CPUID: the host's"},
	{1, 0xa6, 0xa7, ANY, ANY, ANY, ANY, "vendors differ"},
	{1, 0xaa, 0xaa, ANY, ANY, ANY, ANY, "RSM: vendors differ"},
	{1, 0xae, 0xae, DIGIT(4), ANY, ANY, ANY, "newer extensions"},
	{1, 0xae, 0xae, ANY, ANY, 1u << PREFIX_REPNE | 1u << PREFIX_LOCK, ANY, "newer extensions"},
	{1, 0xae, 0xae, DIGIT(4) | DIGIT(5) | DIGIT(6) | DIGIT(7), ANY, REPS, ANY,
	 "newer extensions"},
	{1, 0xae, 0xae, DIGIT(5) | DIGIT(6) | DIGIT(7), ANY, ANY, MEMORY, "XSAVE, cache lines"},
	{1, 0xae, 0xae, ANY, SIZE16, ANY, ANY, "newer extensions"},
	{1, 0xb2, 0xb2, ANY, ANY, ANY, ANY, "loads the host's segment registers"},
	{1, 0xb4, 0xb5, ANY, ANY, ANY, ANY, "loads the host's segment registers"},
	{1, 0xb8, 0xb8, ANY, ANY, 1u << PREFIX_NONE | 1u << PREFIX_REPNE | 1u << PREFIX_LOCK, ANY,
	 "JMPE: undefined"},
	{1, 0xb9, 0xb9, ANY, ANY, ANY, ANY, "UD1: the kernel may take it for its own"},
	{1, 0xc3, 0xc3, ANY, ANY, REPS, ANY, "MOVNTI with F2, F3: vendors differ"},
	{1, 0xc7, 0xc7, ANY, ANY, ANY, REGISTER, "RDRAND, RDSEED, RDPID"},
	{1, 0xc8, 0xcf, ANY, SIZE16, ANY, ANY, "BSWAP of 16 bits: undefined"},
	{1, 0xff, 0xff, ANY, ANY, ANY, ANY, "UD0: whether it has a ModRM differs"},
	{1, 0x3a, 0x3a, ANY, ANY, ANY, ANY, "newer extensions"},
	{2, 0x00, 0xef, ANY, ANY, ANY, ANY, "newer extensions"},
	{2, 0xf0, 0xf1, ANY, ANY, REPS, ANY, "CRC32"},
	{2, 0xf2, 0xff, ANY, ANY, ANY, ANY, "newer extensions"},
};

const char *form_excluded(const struct form *f)
{
	for (size_t n = 0; n < sizeof(exclusions) / sizeof(exclusions[0]); n++) {
		const struct exclusion *e = &exclusions[n];

		if (f->map == e->map && one_of(f->opcode, e->first, e->last) &&
		    (e->digits >> f->digit & 1) && (e->sizes >> f->size & 1) &&
		    (e->prefixes >> f->prefix & 1) &&
		    (e->operands & (f->memory ? MEMORY : REGISTER)))
			return e->reason;
	}
	return NULL;
}

/* ---- reading ---- */

struct prefixes {
	bool operand16, address32, lock;
	u8 rep, rex;
};

static bool read_prefix(struct prefixes *p, u8 byte)
{
	if ((byte & 0xf0) == 0x40) {
		p->rex = byte;
		return true;
	}
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65: break;
	case 0x66: p->operand16 = true; break;
	case 0x67: p->address32 = true; break;
	case 0xf0: p->lock = true; break;
	case 0xf2: p->rep = PREFIX_REPNE; break;
	case 0xf3: p->rep = PREFIX_REP; break;
	default: return false;
	}
	p->rex = 0;
	return true;
}

struct encoding form_of(const u8 *bytes, unsigned int n)
{
	struct prefixes p = {.rep = PREFIX_NONE};
	struct encoding e = {0};
	unsigned int at = 0;

	while (at < BYTES && at + 4 < n && read_prefix(&p, bytes[at]))
		at++;
	e.prefixes = at;
	e.address32 = p.address32;
	e.form.opcode = bytes[at++];
	if (e.form.opcode == 0x0f) {
		e.form.map = 1;
		e.form.opcode = bytes[at++];
	}
	if (e.form.map == 1 && e.form.opcode == 0x38) {
		e.form.map = 2;
		e.form.opcode = bytes[at++];
	}
	e.modrm = bytes[at];
	e.has_modrm = form_has_modrm(&e.form);
	e.form.memory = e.has_modrm && e.modrm < 0xc0;
	if (form_is_group(&e.form))
		e.form.digit = e.modrm >> 3 & 7;
	if (form_is_x87(&e.form) && !e.form.memory)
		e.form.rm = e.modrm & 7;
	e.form.size = p.rex & 8 ? 2 : p.operand16 ? 0 : 1;
	if (e.form.size == 2 && p.operand16 && form_is_simd(&e.form))
		e.form.size = 3;
	e.form.prefix = p.lock ? PREFIX_LOCK : p.rep;
	return e;
}

/* ---- flags ---- */

static u64 shift_flags(unsigned int op, unsigned int count, unsigned int bits)
{
	u64 flags = FORM_FLAGS;

	count &= bits == 64 ? 63 : 31;
	if (!count)
		return flags;
	if (count != 1)
		flags &= ~F_OF;
	if (op < 4) /* rotations */
		return flags;
	flags &= ~F_AF;
	if (count >= bits && op != 7)
		flags &= ~F_CF;
	return flags;
}

static u64 double_shift_flags(unsigned int count, unsigned int bits, bool *undefined)
{
	count &= bits == 64 ? 63 : 31;
	if (!count)
		return FORM_FLAGS;
	*undefined = count > bits;
	if (*undefined)
		return 0;
	return count == 1 ? FORM_FLAGS & ~F_AF : FORM_FLAGS & ~(F_AF | F_OF);
}

static u64 group_f6_flags(unsigned int digit)
{
	if (digit < 2)
		return FORM_FLAGS & ~F_AF;
	if (digit < 4)
		return FORM_FLAGS;
	return digit < 6 ? F_CF | F_OF : 0;
}

static bool is_logic(unsigned int op)
{
	return op == 1 || op == 4 || op == 6;
}

static u64 one_byte_flags(const struct form *f, u8 imm, u8 cl)
{
	unsigned int bits = f->opcode & 1 ? 16u << f->size : 8;

	if (f->opcode < 0x40)
		return is_logic(f->opcode >> 3) ? FORM_FLAGS & ~F_AF : FORM_FLAGS;
	if (one_of(f->opcode, 0x80, 0x83))
		return is_logic(f->digit) ? FORM_FLAGS & ~F_AF : FORM_FLAGS;
	switch (f->opcode) {
	case 0x84:
	case 0x85:
	case 0xa8:
	case 0xa9: return FORM_FLAGS & ~F_AF;
	case 0xf6:
	case 0xf7: return group_f6_flags(f->digit);
	case 0x69:
	case 0x6b: return F_CF | F_OF;
	case 0xc0:
	case 0xc1: return shift_flags(f->digit, imm, bits);
	case 0xd0:
	case 0xd1: return shift_flags(f->digit, 1, bits);
	case 0xd2:
	case 0xd3: return shift_flags(f->digit, cl, bits);
	default: return FORM_FLAGS;
	}
}

u64 form_defined_flags(const struct form *f, u8 imm, u8 cl, bool *undefined)
{
	*undefined = false;
	if (f->map == 0)
		return one_byte_flags(f, imm, cl);
	if (f->map == 2)
		return FORM_FLAGS;
	switch (f->opcode) {
	case 0xaf: return F_CF | F_OF;
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
	case 0xba: return F_CF | F_ZF;
	case 0xa4:
	case 0xac: return double_shift_flags(imm, 16u << f->size, undefined);
	case 0xa5:
	case 0xad: return double_shift_flags(cl, 16u << f->size, undefined);
	case 0xbc:
	case 0xbd: return f->prefix == PREFIX_REP ? F_CF | F_ZF : F_ZF;
	default: return FORM_FLAGS;
	}
}

bool form_branches(const struct form *f)
{
	u8 op = f->opcode;

	if (f->map == 0)
		return (op & 0xf0) == 0x70 || (op & 0xfc) == 0xe0 || (op & 0xfc) == 0xe8 ||
		       (op & 0xf6) == 0xc2 || op == 0xea || (op & 0xfc) == 0xcc ||
		       (op == 0xff && f->digit >= 2 && f->digit <= 5);
	return f->map == 1 && ((op & 0xf0) == 0x80 || op == 0x05 || op == 0x07);
}

bool form_reads_and_writes(const struct form *f)
{
	u8 op = f->opcode;

	if (!f->memory)
		return false;
	if (f->map == 1)
		return op == 0xab || op == 0xb3 || op == 0xbb || (op == 0xba && f->digit > 4) ||
		       (op & 0xf6) == 0xa4 || (op & 0xfe) == 0xb0 || (op & 0xfe) == 0xc0 ||
		       op == 0xc7;
	if (f->map == 0 && op < 0x38)
		return (op & 7) < 2;
	return f->map == 0 && (((op & 0xfc) == 0x80 && f->digit != 7) || (op & 0xfe) == 0x86 ||
			       (op & 0xfe) == 0xc0 || (op & 0xfc) == 0xd0 ||
			       ((op & 0xfe) == 0xf6 && (f->digit & 6) == 2) ||
			       ((op & 0xfe) == 0xfe && f->digit < 2));
}
