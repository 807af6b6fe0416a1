/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_legacy.c - the processor judges the interpreter: single instructions of 16- and 32-bit code.
 *
 *	judge_legacy [INSTRUCTIONS [SEED]]
 *
 * As judge_native.c, in compatibility mode: code, data and stack segments with bases come from
 * modify_ldt(2), with limits of 4 GB, since the interpreter has no limits. Code is of 16 or 32 bits,
 * and so is the stack, in all four combinations. A form is an opcode with its group's digit, register
 * or memory operand, 66 and 67 prefix, and LOCK, REPNE or REP; each that the interpreter's decoder
 * executes comes up in turn in both sizes of code, with random registers, addresses and immediates,
 * but for those that excluded() has.
 *
 * The addresses that such code reaches hold nothing else of this process.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/decode.h"
#include "cpu/handlers.h"
#include "intel.h"
#include "judged.h"

#define STREAM 16u
#define NR_SHAPES (1u << 17)
#define FLAG_TESTED (FORM_FLAGS | 0x400)

enum { LDT_CODE16, LDT_CODE32, LDT_DATA16, LDT_DATA32 };
#define SELECTOR(n) ((u16)((n) << 3 | 7))

/* A form (forms.h), its size aside, with the prefixes that make the sizes. */
struct shape {
	struct form form;
	bool operand, address;
};

/* ---- shapes ---- */

/* Bits: 16 map, 15..8 opcode, 7..5 digit, 4 memory, 3 and 2 66 and 67, 1..0 the other prefix. */
static struct shape shape_at(u32 index, bool wide_code)
{
	struct shape s = {.form = {.map = (u8)(index >> 16),
				   .opcode = (u8)(index >> 8),
				   .digit = index >> 5 & 7,
				   .memory = index >> 4 & 1,
				   .prefix = index & 3},
			  .operand = index >> 3 & 1,
			  .address = index >> 2 & 1};

	s.form.size = s.operand != wide_code;
	return s;
}

static bool one_of(u8 op, u8 first, u8 last)
{
	return op >= first && op <= last;
}

/* Prefixes, escapes, what loads segments or goes by the host's tables, TF, other instruction sets. */
static bool excluded_one_byte(const struct form *f)
{
	u8 op = f->opcode;

	switch (op) {
	case 0x0f:
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0xf0:
	case 0xf1:
	case 0xf2:
	case 0xf3:
	case 0x07: /* POP of segments; MOV to them; LES, LDS */
	case 0x17:
	case 0x1f:
	case 0x8e:
	case 0xc4:
	case 0xc5:
	case 0x9a: /* far */
	case 0xea:
	case 0xca:
	case 0xcb:
	case 0x9c: /* PUSHF, POPF */
	case 0x9d: return true;
	case 0x62: return !f->memory; /* EVEX */
	case 0x8f: return f->digit != 0;
	case 0xc6:
	case 0xc7: return f->digit == 7; /* RTM */
	case 0xff: return f->digit == 3 || f->digit == 5;
	case 0xd9: /* FLDENV, FNSTENV, FRSTOR, FNSAVE: pointers differ */
	case 0xdd: return f->memory && (f->digit == 4 || f->digit == 6);
	default: return one_of(op, 0x64, 0x67) || one_of(op, 0xcc, 0xcf);
	}
}

/* What judge_native.c does not judge either, and what differs by vendor. */
static bool excluded_two_byte(const struct form *f)
{
	u8 op = f->opcode;

	if (form_is_simd(f))
		return one_of(op, 0x78, 0x7b); /* SSE4A, of AMD */
	if (one_of(op, 0x40, 0x4f) || one_of(op, 0x80, 0x9f) || one_of(op, 0xa3, 0xa5) ||
	    one_of(op, 0xab, 0xad) || one_of(op, 0xaf, 0xb1) || one_of(op, 0xba, 0xc1))
		return op == 0xb9;
	switch (op) {
	case 0xa0:
	case 0xa8:
	case 0xb3:
	case 0xb6:
	case 0xb7: return false;
	case 0xb8: return f->prefix != PREFIX_REP;
	case 0xc7: return f->digit != 1 || !f->memory;
	default: return !one_of(op, 0xc8, 0xcf) || f->size == 0; /* BSWAP of 16 bits: undefined */
	}
}

static bool excluded(const struct form *f)
{
	if (f->map)
		return excluded_two_byte(f);
	/* LOOPcc with F2, F3: AMD takes ZF by the prefix. */
	if (one_of(f->opcode, 0xe0, 0xe1) && (f->prefix == PREFIX_REP || f->prefix == PREFIX_REPNE))
		return true;
	return excluded_one_byte(f);
}

/* Those that forms.c does not know, as it is for 64-bit code. */
static u64 defined_flags(const struct judge *j, const struct form *f, u8 imm, bool *undefined)
{
	const u64 f_cf = 1, f_pf = 4, f_af = 0x10, f_zf = 0x40, f_sf = 0x80;

	*undefined = false;
	if (f->map == 0) {
		switch (f->opcode) {
		case 0x27:
		case 0x2f: return f_cf | f_pf | f_af | f_zf | f_sf;
		case 0x37:
		case 0x3f: return f_cf | f_af;
		case 0xd4:
		case 0xd5: return f_pf | f_zf | f_sf;
		default: break;
		}
	}
	return form_defined_flags(f, imm, (u8)j->before.regs[CPU_RCX], undefined);
}

/* ---- chance ---- */

/* Mostly in the data; at their ends, at page boundaries, around the 64 KB. */
static u32 offset(struct judge *j)
{
	switch (below(j, 12)) {
	case 0: return DATA_BYTES - below(j, 20);
	case 1: return (0u - below(j, 20) + below(j, 8)) & 0xffff;
	case 2: return DATA_BYTES - 4096 - below(j, 20) + below(j, 8);
	case 3: return 4096 * (1 + below(j, 6)) - below(j, 20);
	case 4: return (u32)random_word(j) & 0xffff;
	case 5: return (u32)random_word(j);
	case 6: return below(j, 64);
	default: return 0x1000 + below(j, 0x6000);
	}
}

/* ---- code ---- */

static bool address_is_wide(const struct judge *j, const struct shape *s)
{
	return j->wide_code != s->address;
}

static u8 *put_modrm(struct judge *j, const struct shape *s, u8 *at)
{
	unsigned int reg = form_is_group(&s->form) ? s->form.digit : below(j, 8);
	unsigned int rm = below(j, 8), mod = below(j, 3);
	bool wide = address_is_wide(j, s);

	if (!s->form.memory) {
		*at++ = (u8)(0xc0 | reg << 3 | rm);
		return at;
	}
	*at++ = (u8)(mod << 6 | reg << 3 | rm);
	if (wide && rm == 4) {
		*at = (u8)below(j, 256);
		if (below(j, 3))
			*at = (*at & 0xc7) | 0x20; /* no index */
		rm = *at++ & 7;
	}
	if (mod == 0 && rm == (wide ? 5 : 6))
		put(at, 0x1000 + below(j, 0x6000), wide ? 4 : 2);
	else if (mod == 2)
		put(at, below(j, 8) ? below(j, 0x400) : random_word(j), wide ? 4 : 2);
	else
		return at; /* a byte of displacement is there already */
	return at + (wide ? 4 : 2);
}

static void make_code(struct judge *j, const struct shape *s, bool plain, u8 *bytes)
{
	static const u8 segments[] = {0x26, 0x36, 0x3e, 0x64, 0x65};
	static const u8 prefix[] = {0, 0xf2, 0xf3, 0xf0};
	u8 *at = bytes;

	put(bytes, random_word(j), 8);
	put(bytes + 8, random_word(j), 8);
	if (!plain && below(j, 6) == 0)
		*at++ = segments[below(j, sizeof(segments))];
	if (s->form.prefix)
		*at++ = prefix[s->form.prefix];
	if (s->operand)
		*at++ = 0x66;
	if (s->address)
		*at++ = 0x67;
	if (s->form.map)
		*at++ = 0x0f;
	*at++ = s->form.opcode;
	if (form_has_modrm(&s->form))
		at = put_modrm(j, s, at);
	if (s->form.map == 0 && s->form.opcode >= 0xa0 && s->form.opcode <= 0xa3)
		put(at, 0x1000 + below(j, 0x6000), address_is_wide(j, s) ? 4 : 2);
	if (s->form.map == 0 && s->form.opcode == 0xc8)
		at[2] = below(j, 3) ? 0 : (u8)below(j, 40); /* ENTER: nesting level */
}

/* ---- the guest ---- */

static void start_guest(struct judge *j)
{
	struct guest *g = j->guest;
	u16 code = SELECTOR(j->wide_code ? LDT_CODE32 : LDT_CODE16);
	u16 stack = SELECTOR(j->wide_stack ? LDT_DATA32 : LDT_DATA16);

	g->start.cs = (struct cpu_segment){JUDGED_CODE, ~0u, code, j->wide_code ? 0xc0fb : 0x80fb};
	g->start.ss = (struct cpu_segment){JUDGED_DATA, ~0u, stack,
					   j->wide_stack ? 0xc0f3 : 0x80f3};
	g->start.ds = (struct cpu_segment){JUDGED_DATA, ~0u, SELECTOR(LDT_DATA32), 0xc0f3};
	g->start.rip = j->before.rip;
	g->start.rflags = j->before.flags | 0x202;
	cpu_start(g->cpu, &g->start);
}

/* ---- a case ---- */

static void set_registers(struct judge *j, const struct shape *s)
{
	struct host_state *b = &j->before;
	bool garbage = !address_is_wide(j, s); /* addresses of 16 bits have something above */

	memset(b, 0, sizeof(*b));
	fpu_fill(&b->fpu, random_for_fpu, j);
	for (unsigned int n = 0; n < 8; n++) {
		b->regs[n] = below(j, 4) ? offset(j) : (u32)random_word(j);
		if (garbage && below(j, 2))
			b->regs[n] = (u32)(random_word(j) << 16) | (b->regs[n] & 0xffff);
	}
	b->regs[CPU_RSP] = below(j, 10) ? 0x1000 + 2 * below(j, 0x3000) : offset(j);
	if (!j->wide_stack && below(j, 2))
		b->regs[CPU_RSP] |= (u32)random_word(j) << 16;
	if (form_repeats(&s->form))
		b->regs[CPU_RCX] = (b->regs[CPU_RCX] & (garbage ? 0xffff0000 : 0)) | below(j, 16);
	/* Quotients that fit, bounds that hold. */
	if (s->form.map == 0 && (s->form.opcode | 1) == 0xf7 && s->form.digit >= 6 && below(j, 2)) {
		b->regs[CPU_RAX] = below(j, 100);
		b->regs[CPU_RDX] = 0;
	}
	b->flags = 2 | (random_word(j) & FORM_FLAGS) | (below(j, 3) ? 0 : 0x400);
	b->cs = SELECTOR(j->wide_code ? LDT_CODE32 : LDT_CODE16);
	b->ss = SELECTOR(j->wide_stack ? LDT_DATA32 : LDT_DATA16);
	b->data = SELECTOR(LDT_DATA32);
}

static bool is_fault_but_alignment(int trap)
{
	return trap == VECTOR_PF || trap == VECTOR_GP || trap == VECTOR_SS;
}

/*
 * Reviewed differences.
 *
 * An operand that reaches over the end of its segment at 4 GB: the interpreter has no limits. Nothing
 * is mapped there.
 *
 * POPA that faults on the way: a processor may have written some registers by then. Memory and RIP
 * must be the same.
 *
 * As in judge_native.c, PE with an unmasked overflow or underflow, and which of CMPS's operands is looked at first.
 */
static bool accepted(const struct judge *j, const struct form *f)
{
	if ((j->host.trap == VECTOR_GP || j->host.trap == VECTOR_SS) &&
	    j->guest_state.trap == VECTOR_PF && j->guest_state.linear < JUDGED_DATA &&
	    j->guest_state.linear >= JUDGED_DATA - 16)
		return true;
	if (j->host.trap == VECTOR_XM && j->guest_state.trap == VECTOR_XM)
		return j->host.rip == j->guest_state.rip &&
		       fpu_is_precision_flag(&j->host.fpu, &j->guest_state.fpu) &&
		       !memcmp(j->host.regs, j->guest_state.regs, 8 * sizeof(u64));
	if (f->map == 0 && f->opcode == 0x61 && j->host.trap == VECTOR_PF &&
	    j->guest_state.trap == VECTOR_PF)
		return j->host.rip == j->guest_state.rip && same_data(j);
	return f->map == 0 && (f->opcode | 1) == 0xa7 && is_fault_but_alignment(j->host.trap) &&
	       is_fault_but_alignment(j->guest_state.trap) && j->host.rip == j->guest_state.rip &&
	       !memcmp(j->host.regs, j->guest_state.regs, 8 * sizeof(u64));
}

/* In its first 2 MB the guest has its kernel, and this process nothing: present or not. */
static bool same_error(const struct host_state *h, const struct host_state *g)
{
	u64 mask = h->trap == VECTOR_PF && h->linear < 0x200000 ? ~1ull : ~0ull;

	if (h->trap == VECTOR_PF && h->linear != g->linear)
		return false;
	return !has_error_code(h->trap) || !((h->error ^ g->error) & mask);
}

static void tell_case(struct judge *j)
{
	tell(j->report, "%d-bit code, %d-bit stack, ", j->wide_code ? 32 : 16,
	     j->wide_stack ? 32 : 16);
}

static struct coverage *coverage_of(const struct judge *j, u32 index, unsigned int wide)
{
	return &j->coverage[wide * NR_SHAPES + index];
}

static void judge_case(struct judge *j, u32 index, bool wide_code)
{
	struct coverage *covered = coverage_of(j, index, wide_code);
	struct report *r = j->report;
	struct insn out[2];
	struct shape s;
	const char *what;
	bool undefined;
	u64 flags;
	u32 n;

	r->seed = j->seed;
	j->wide_code = wide_code;
	j->wide_stack = below(j, 2);
	s = shape_at(index, wide_code);
	make_code(j, &s, false, r->bytes);
	set_registers(j, &s);
	j->before.rip = 0x100 + below(j, 0xe00);
	place_code(j, (u32)j->before.rip, STREAM);
	start_guest(j);
	if (!guest_runs(j, 1000))
		return; /* what some bytes behind the opcode make of it */
	decode_insn(j->guest->cpu, j->before.rip, r->bytes, STREAM, out, &n);
	host_runs(j, &s.form);
	r->judged++;
	covered->judged++;
	covered->retired += j->host.trap == TRAP_STEP;
	flags = defined_flags(j, &s.form, r->bytes[out[n - 1].len - 1], &undefined);
	what = difference(j, &s.form, flags, undefined);
	if (what && (accepted(j, &s.form) || is_intels(j, &s.form)))
		r->accepted++;
	else if (what)
		tell_difference(j, what);
	restore_data(j);
}

/* ---- the child ---- */

static bool is_executed(struct judge *j, u32 index, bool wide_code)
{
	struct shape s = shape_at(index, wide_code);
	bool has_modrm = form_has_modrm(&s.form);
	struct insn out[2], *i;
	u8 bytes[STREAM];
	u32 n;

	if (excluded(&s.form) || (!has_modrm && s.form.memory) ||
	    (!form_is_group(&s.form) && s.form.digit))
		return false;
	make_code(j, &s, true, bytes);
	decode_insn(j->guest->cpu, 0x100, bytes, STREAM, out, &n);
	i = &out[n - 1];
	return i->fn != op_invalid && i->fn != op_unimplemented;
}

static void find_required(struct judge *j)
{
	for (unsigned int wide = 0; wide < 2; wide++) {
		j->required[wide] = calloc(NR_SHAPES, sizeof(u32));
		j->wide_code = wide;
		j->before.rip = 0x100;
		start_guest(j);
		for (u32 index = 0; index < NR_SHAPES; index++) {
			if (is_executed(j, index, wide))
				j->required[wide][j->nr_required[wide]++] = index;
		}
	}
}

static bool is_covered(const struct judge *j, u32 index, unsigned int wide)
{
	const struct coverage *covered = coverage_of(j, index, wide);
	struct shape s = shape_at(index, wide);

	return covered->judged && (covered->retired || form_privileged(&s.form));
}

static void judge_uncovered(struct judge *j, unsigned int wide)
{
	for (u32 n = 0; n < j->nr_required[wide]; n++) {
		u32 index = j->required[wide][n];

		for (u32 k = 0; k < MAX_TRIES && !is_covered(j, index, wide); k++)
			judge_case(j, index, wide);
	}
}

static _Noreturn void child(struct judge *j, u64 instructions)
{
	while (j->report->judged < instructions && j->report->differences < MAX_REPORTS) {
		bool wide = below(j, 2);

		if (j->report->judged % REFILL == 0)
			fill_data(j);
		judge_case(j, j->required[wide][j->next[wide]++ % j->nr_required[wide]], wide);
	}
	for (unsigned int wide = 0; wide < 2; wide++)
		judge_uncovered(j, wide);
	j->report->finished = true;
	_exit(0);
}

/* ---- the parent ---- */

static bool set_ldt(unsigned int n, bool code, bool wide)
{
	struct user_desc descriptor = {
		.entry_number = n,
		.base_addr = code ? JUDGED_CODE : JUDGED_DATA,
		.limit = 0xfffff,
		.seg_32bit = wide,
		.contents = code ? 2 : 0,
		.limit_in_pages = 1,
		.useable = 1,
	};

	return syscall(SYS_modify_ldt, 1, &descriptor, sizeof(descriptor)) == 0;
}

static void *map_at(u32 address, size_t bytes, int protection)
{
	void *at = (void *)(uintptr_t)address;

	return mmap(at, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		    0) == at
		       ? at
		       : NULL;
}

static const char *prepare(struct judge *j)
{
	if (!set_ldt(LDT_CODE16, true, false) || !set_ldt(LDT_CODE32, true, true) ||
	    !set_ldt(LDT_DATA16, false, false) || !set_ldt(LDT_DATA32, false, true))
		return "the kernel has no modify_ldt()";
	j->code = map_at(JUDGED_CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	j->data = map_at(JUDGED_DATA, DATA_BYTES, PROT_READ | PROT_WRITE);
	return j->code && j->data ? NULL : "no memory where code and data have to be";
}

static bool print_coverage(const struct judge *j)
{
	const struct report *r = j->report;
	u32 uncovered = 0;

	for (unsigned int wide = 0; wide < 2; wide++) {
		for (u32 n = 0; n < j->nr_required[wide]; n++) {
			u32 index = j->required[wide][n];
			struct shape s = shape_at(index, wide);

			if (is_covered(j, index, wide))
				continue;
			printf("# not covered: %d-bit code, %s%02x /%u %s%s%s prefix %u: %u judged\n",
			       wide ? 32 : 16, s.form.map ? "0f " : "", s.form.opcode, s.form.digit,
			       s.form.memory ? "memory" : "register", s.operand ? " 66" : "",
			       s.address ? " 67" : "", s.form.prefix,
			       coverage_of(j, index, wide)->judged);
			uncovered++;
		}
	}
	printf("# %" PRIu64 " instructions judged, %u forms, %u not covered\n", r->judged,
	       j->nr_required[0] + j->nr_required[1], uncovered);
	printf("# %" PRIu64 " differences accepted\n", r->accepted);
	return !uncovered;
}

/* Words of 64 and of 16 bits. */
static u64 data_word(struct judge *j)
{
	u64 word = random_word(j);

	return word >> (below(j, 2) ? 0 : 48);
}

static const struct judge_kind legacy = {
	.name = "legacy_code_as_on_the_processor",
	.instructions = 100000,
	.nr_forms = 2 * NR_SHAPES,
	.code_pages = 1,
	.code_access = 7,
	.nr_registers = 8,
	.max_repeats = 64,
	.flags = FLAG_TESTED,
	.stream = STREAM,
	.prepare = prepare,
	.find_required = find_required,
	.data_word = data_word,
	.judge = child,
	.same_error = same_error,
	.tell_case = tell_case,
	.print_coverage = print_coverage,
};

int main(int argc, char **argv)
{
	return judge_main(&legacy, argc, argv);
}
