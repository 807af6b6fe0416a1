/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_native.c - the processor judges the interpreter: single user-mode instructions.
 *
 *	judge_native [INSTRUCTIONS [SEED]]
 *
 * Three of four cases take the next implemented form (forms.h) with random registers, addressing and
 * immediates, so that every form comes up; the fourth is random bytes. Each runs on the host
 * (host.h) and in the interpreter, from the same state over the same memory: two pages of code, eight
 * of data, one that is read-only, nothing around them. Registers, defined flags, RIP, memory, bases,
 * vector, error code, CR2 and the count of retired instructions must be the same.
 *
 * A child does it under strict seccomp: whatever an instruction does to it, the parent reports the
 * bytes. Prints the coverage by opcode and fails if a form was never judged, or never retired
 * although it does not always fault.
 */
#define _GNU_SOURCE
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/decode.h"
#include "cpu/handlers.h"
#include "intel.h"
#include "judged.h"

#define HOST_MAPPINGS 0x7f0000000000ull /* where Linux puts stack and libraries */
#define CODE_PAGES 2u
#define CODE_BYTES (CODE_PAGES * 4096u)
#define STREAM 24u /* bytes of code of a case */
#define KERNEL_HALF 0xffff800000000000ull
#define LARGE_BASE 0x7fffcfff0000ull
#define MANY_PREFIXES 4u

/* ---- chance ---- */

static u64 interesting(struct judge *j)
{
	static const u64 edge[] = {0,	       1,	   2,		~0ull,	     0x7f,
				   0x80,       0xff,	   0x7fff,	0x8000,	     0xffff,
				   0x7fffffff, 0x80000000, 8,		15,	     16,
				   17,	       31,	   32,		33,	     63,
				   64,	       0xffffffff, 0x100000000, BIT_ULL(63), ~0ull >> 1};

	switch (below(j, 4)) {
	case 0: return edge[below(j, ARRAY_SIZE(edge))];
	case 1: return random_word(j) >> below(j, 64);
	case 2: return 0 - (random_word(j) >> (1 + below(j, 63)));
	default: return random_word(j);
	}
}

static u64 aligned_data(struct judge *j)
{
	return JUDGED_DATA + 0x1000 + 16 * below(j, 0x600);
}

static u64 pointer(struct judge *j)
{
	switch (below(j, 14)) {
	case 0: return JUDGED_DATA + DATA_BYTES - below(j, 20);
	case 1: return JUDGED_DATA - below(j, 20);
	case 2: return JUDGED_DATA + DATA_BYTES - 4096 - below(j, 20) + below(j, 8);
	case 3: return JUDGED_DATA + 4096 * below(j, 8) + 4096 - below(j, 20);
	case 4: return BIT_ULL(47) - below(j, 24) + below(j, 16);
	case 5: return interesting(j);
	case 6: return JUDGED_DATA + 64 * below(j, 512) - below(j, 16);
	case 7:
	case 8:
	case 9: return aligned_data(j);
	default: return JUDGED_DATA + 0x1000 + below(j, 0x6000);
	}
}

/* ---- code ---- */

static void tail(struct judge *j, const struct form *f, u8 *at)
{
	u64 hit = JUDGED_DATA + 0x1000 + below(j, 0x6000);

	put(at, random_word(j), 8);
	put(at + 8, random_word(j), 8);
	if (f->map == 0 && f->opcode >= 0xa0 && f->opcode <= 0xa3)
		put(at, hit, 8);
	else if (f->map == 0 && f->opcode == 0xc8)
		at[2] = below(j, 3) ? 0 : (u8)below(j, 40); /* ENTER: nesting level */
}

static unsigned int modrm(struct judge *j, const struct form *f, u8 *at)
{
	unsigned int reg = form_is_group(f) ? f->digit : below(j, 8), rm = below(j, 8), mod;
	u64 hit = JUDGED_DATA + 0x1000 + below(j, 0x6000);

	if (form_is_x87(f) && !f->memory)
		rm = f->rm;
	if (!f->memory) {
		at[0] = (u8)(0xc0 | reg << 3 | rm);
		tail(j, f, at + 1);
		return 1;
	}
	mod = below(j, 3);
	at[0] = (u8)(mod << 6 | reg << 3 | rm);
	at++;
	if (rm == 4) {
		at[0] = (u8)below(j, 256);
		if (below(j, 3))
			at[0] = (at[0] & 0xc7) | 0x20; /* no index */
		rm = at[0] & 7;
		at++;
		if (rm == 5 && mod == 0)
			put(at, hit, 4);
	} else if (rm == 5 && mod == 0) {
		put(at, hit - JUDGED_CODE - 0x800, 4);
	}
	tail(j, f, mod == 0 && rm == 5 ? at + 4 : at);
	if (mod == 1 && below(j, 2))
		at[0] &= 0xf0;
	if (mod == 2 && below(j, 8))
		put(at, below(j, 0x400) & ~(u64)below(j, 16), 4);
	return 1;
}

static void form_bytes(struct judge *j, const struct form *f, bool plain, u8 *at)
{
	static const u8 segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67};
	static const u8 prefix[] = {0, 0xf2, 0xf3, 0xf0};

	if (!plain && below(j, 6) == 0)
		*at++ = segments[below(j, sizeof(segments))];
	if (f->prefix)
		*at++ = prefix[f->prefix];
	if (f->size == 0 || f->size == 3)
		*at++ = 0x66;
	if (f->size >= 2)
		*at++ = (u8)(0x48 | (plain ? 0 : below(j, 8)));
	else if (!plain && below(j, 2))
		*at++ = (u8)(0x40 | below(j, 8));
	if (f->map)
		*at++ = 0x0f;
	if (f->map == 2)
		*at++ = 0x38;
	*at++ = f->opcode;
	if (!form_has_modrm(f)) {
		tail(j, f, at);
	} else if (plain) {
		*at++ = (u8)((f->memory ? 0 : 0xc0) | f->digit << 3 | f->rm);
		tail(j, f, at);
	} else {
		modrm(j, f, at);
	}
}

static void random_bytes(struct judge *j, u8 *at)
{
	static const u8 prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x2e, 0x3e, 0x40};

	put(at, random_word(j), 8);
	put(at + 8, random_word(j), 8);
	put(at + 16, random_word(j), 8);
	for (u32 n = below(j, 3); n; n--)
		*at++ = prefixes[below(j, sizeof(prefixes))];
	if (below(j, 2))
		*at++ = (u8)(0x40 | below(j, 16));
	if (below(j, 3) == 0)
		*at = 0x0f;
}

/* ---- the guest ---- */

static bool guest_step(struct judge *j)
{
	struct guest *g = j->guest;

	g->start.cs = (struct cpu_segment){0, ~0u, 0x33, 0xa0fb};
	g->start.ss = (struct cpu_segment){0, ~0u, 0x2b, 0xc0f3};
	g->start.ds = (struct cpu_segment){0, ~0u, 0, 0xc0f3};
	g->start.rip = j->before.rip;
	g->start.rflags = j->before.flags | 0x202;
	cpu_start(g->cpu, &g->start);
	g->cpu->seg[SEG_FS].base = j->before.fs_base;
	g->cpu->seg[SEG_GS].base = j->before.gs_base;
	return guest_runs(j, 100);
}

/* ---- a case ---- */

static u64 data_word(struct judge *j)
{
	switch (below(j, 3)) {
	case 0: return random_word(j);
	case 1: return fpu_interesting(random_for_fpu, j);
	default: return pointer(j);
	}
}

static void set_registers(struct judge *j, const struct form *f)
{
	struct host_state *b = &j->before;
	bool string = f->map == 0 && f->opcode >= 0xa4 && f->opcode <= 0xaf;

	bool tame = below(j, 3) == 0; /* what needs alignment or small offsets retires, too */

	for (unsigned int n = 0; n < 16; n++) {
		if (tame)
			b->regs[n] = below(j, 4) ? aligned_data(j) : below(j, 64);
		else
			b->regs[n] = below(j, 3) ? pointer(j) : interesting(j);
	}
	if (below(j, 4))
		b->regs[CPU_RSP] = below(j, 10) ? aligned_data(j) + 8 * below(j, 2) : pointer(j);
	if (below(j, 3) == 0)
		b->regs[CPU_RCX] = below(j, 70);
	fpu_fill(&b->fpu, random_for_fpu, j);
	b->flags = 2 | (random_word(j) & FORM_FLAGS) | (below(j, 3) ? 0 : FLAG_DF);
	if (j->checks_alignment && below(j, 4) == 0)
		b->flags |= FLAG_AC;
	b->fs_base = below(j, 2) ? 0 : below(j, 0x2000);
	b->gs_base = below(j, 2) ? 0 : below(j, 30) ? below(j, 0x2000) : LARGE_BASE;
	if (string && below(j, 2)) {
		b->regs[CPU_RSI] = JUDGED_DATA + 0x1000 + below(j, 0x6000);
		b->regs[CPU_RDI] = JUDGED_DATA + 0x1000 + below(j, 0x6000);
		b->fs_base = b->gs_base = 0;
	}
	if (form_repeats(f))
		b->regs[CPU_RCX] = below(j, 8) ? b->regs[CPU_RCX] & 0x3f : 0;
	/* Quotients that fit. */
	if (f->map == 0 && (f->opcode | 1) == 0xf7 && f->digit >= 6 && below(j, 2)) {
		b->regs[CPU_RAX] = below(j, 100);
		b->regs[CPU_RDX] = 0;
	}
}

#define DIGIT_FXSAVE 0u
#define DIGIT_FXRSTOR 1u
#define DIGIT_LDMXCSR 2u

static bool is_state_form(const struct form *f, unsigned int digit)
{
	return f->map == 1 && f->opcode == 0xae && f->memory && f->digit == digit;
}

/* Where the memory operand is, from what the decoder says (Capstone judges that). */
static u64 operand_address(const struct judge *j, const struct insn *out, u32 n)
{
	const struct host_state *b = &j->before;
	u64 va = (u64)out->disp;

	if (out->base < 16)
		va += b->regs[out->base];
	if (out->index < 16)
		va += b->regs[out->index] << out->scale;
	if (n == 1)
		return va;
	if (out->flags & INSN_ADDR32)
		va = (u32)va;
	return va + (out->op == SEG_FS ? b->fs_base : out->op == SEG_GS ? b->gs_base : 0);
}

static bool in_writable_data(u64 va, u64 bytes)
{
	return va >= JUDGED_DATA && va - JUDGED_DATA <= DATA_BYTES - 4096 - bytes;
}

static void put_data(struct judge *j, u64 va, u64 v, unsigned int bytes)
{
	put(j->data + (va - JUDGED_DATA), v, bytes);
	put(j->guest->ram + DATA_PA + (va - JUDGED_DATA), v, bytes);
}

/* Most random words have reserved bits of MXCSR. */
static void valid_mxcsr(struct judge *j, const struct form *f, u64 va)
{
	u64 at = va + (is_state_form(f, DIGIT_FXRSTOR) ? offsetof(struct fpu_area, mxcsr) : 0);

	if (!is_state_form(f, DIGIT_FXRSTOR) && !is_state_form(f, DIGIT_LDMXCSR))
		return;
	if (in_writable_data(at, 4) && below(j, 8))
		put_data(j, at, random_word(j) & 0xffff, 4);
}

/* The last x87 instruction and its operand, and which bits MXCSR has, differ between processors. */
static void ignore_saved(struct judge *j, u64 va, unsigned int from, unsigned int to)
{
	if (in_writable_data(va, FPU_AREA_BYTES))
		memcpy(j->guest->ram + DATA_PA + (va - JUDGED_DATA) + from,
		       j->data + (va - JUDGED_DATA) + from, to - from);
}

static void ignore_saved_pointers(struct judge *j, const struct form *f, u64 va)
{
	if (is_state_form(f, DIGIT_FXSAVE)) {
		ignore_saved(j, va, offsetof(struct fpu_area, opcode),
			     offsetof(struct fpu_area, mxcsr));
		ignore_saved(j, va, offsetof(struct fpu_area, mxcsr_mask),
			     offsetof(struct fpu_area, st));
	}
	/* FNSTENV, FNSAVE */
	if (f->map == 0 && f->memory && f->digit == 6 && (f->opcode == 0xd9 || f->opcode == 0xdd))
		ignore_saved(j, va, offsetof(struct x87_image, pointers),
			     offsetof(struct x87_image, st));
}

static bool in_window(u64 va)
{
	return (va >= JUDGED_CODE - 4096 && va < JUDGED_CODE + CODE_BYTES + 4096) ||
	       (va >= JUDGED_DATA - 4096 && va < JUDGED_DATA + DATA_BYTES + 4096);
}

/*
 * Reviewed differences.
 *
 * Behind the last byte of code: the processor fetches the ModRM of an undefined opcode and faults on
 * it, the interpreter knows enough before.
 *
 * Longer than 15 bytes with the operands that an undefined opcode would have: the processor says #GP.
 *
 * Outside of the windows something of this process may be mapped (its stack, its libraries), where
 * the interpreter's guest has nothing.
 *
 * A large GS base that takes an offset into the kernel's half: AMD may say #GP already, the manual
 * forms the linear address first, which is then not there (#PF) or, with AC set, not aligned (#AC).
 *
 * CMPS with two bad operands: which one faults is the processor's choice (Zen 4 looks at RDI first,
 * Zen 5 as the interpreter at RSI). Registers and memory must be the same all the same.
 *
 * FXSAVE, FNSAVE, FNSTENV and their like with a page that faults: the processor may name another byte of
 * the area than the interpreter, which names the first one that is not there. It may also look at the
 * last byte's address before it looks at the alignment, and at ten bytes of x87 as eight and two.
 *
 * PE with an unmasked overflow or underflow: fpu.h.
 */
static bool is_other_operand_of_cmps(const struct judge *j)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;
	struct form f = form_of(j->report->bytes, STREAM).form;

	return f.map == 0 && (f.opcode | 1) == 0xa7 && is_access_fault(h->trap) &&
	       is_access_fault(g->trap) && h->rip == g->rip && j->retired == 0 &&
	       !memcmp(h->regs, g->regs, sizeof(h->regs)) && same_data(j);
}

/* FLDENV, FNSTENV; FRSTOR, FNSAVE; operands of ten bytes */
static bool is_x87_area(const struct form *f)
{
	bool even = f->digit == 4 || f->digit == 6, odd = f->digit == 5 || f->digit == 7;

	if (f->map != 0 || !f->memory)
		return false;
	return f->opcode == 0xdb
		       ? odd
		       : even && (f->opcode == 0xd9 || f->opcode == 0xdd || f->opcode == 0xdf);
}

static bool is_precision_flag(const struct judge *j)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;

	return h->trap == VECTOR_XM && g->trap == VECTOR_XM && h->rip == g->rip &&
	       fpu_is_precision_flag(&h->fpu, &g->fpu) &&
	       !memcmp(h->regs, g->regs, sizeof(h->regs)) && !j->retired && same_data(j);
}

static bool is_fault_of_area(const struct judge *j)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;
	struct form f = form_of(j->report->bytes, STREAM).form;

	if (!is_state_form(&f, DIGIT_FXSAVE) && !is_state_form(&f, DIGIT_FXRSTOR) &&
	    !is_x87_area(&f))
		return false;
	if (h->trap == VECTOR_PF && g->trap == VECTOR_PF && h->linear - g->linear >= 512)
		return false;
	return is_access_fault(h->trap) && is_access_fault(g->trap) && h->rip == g->rip &&
	       !memcmp(h->regs, g->regs, sizeof(h->regs)) && !fpu_difference(&h->fpu, &g->fpu) &&
	       !j->retired && same_data(j);
}

static bool accepted(const struct judge *j)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;

	if (is_fault_of_area(j) || is_precision_flag(j))
		return true;
	if (is_other_operand_of_cmps(j))
		return true;
	if (g->trap == VECTOR_UD && h->trap == VECTOR_GP)
		return form_of(j->report->bytes, STREAM).prefixes >= MANY_PREFIXES;
	if (g->trap == VECTOR_UD && h->trap == VECTOR_PF)
		return h->linear == JUDGED_CODE + CODE_BYTES;
	if (g->trap == VECTOR_PF && h->trap != VECTOR_PF && g->linear < BIT_ULL(47) &&
	    g->linear >= HOST_MAPPINGS && !in_window(g->linear))
		return true;
	if (h->trap != VECTOR_GP && h->trap != VECTOR_SS)
		return false;
	if (g->trap == VECTOR_AC)
		return j->before.gs_base == LARGE_BASE;
	return g->trap == VECTOR_PF && g->linear >= KERNEL_HALF && j->before.gs_base == LARGE_BASE;
}

static bool same_error(const struct host_state *h, const struct host_state *g)
{
	/* Whether a page outside of the windows is there is the host's affair. */
	u64 mask = in_window(h->linear) ? 0x17 : 0x16;

	if (h->trap == VECTOR_PF)
		return h->linear == g->linear && !((h->error ^ g->error) & mask);
	return !has_error_code(h->trap) || h->error == g->error;
}

/* Put the bytes where they run; sometimes across the page boundary or against the end. */
static u32 place(struct judge *j)
{
	u32 offset, n = STREAM;

	switch (below(j, 16)) {
	case 0:
	case 1: offset = 4096 - below(j, 16); break;
	case 2: offset = CODE_BYTES - 1 - below(j, 20); break;
	default: offset = 0x100 + below(j, 0xd00); break;
	}
	if (offset + n > CODE_BYTES)
		n = CODE_BYTES - offset;
	place_code(j, offset, n);
	return offset;
}

/* @wanted: the form, or NULL for the next one or random bytes. */
static void judge_case(struct judge *j, const struct form *wanted)
{
	struct report *r = j->report;
	struct insn out[2];
	struct encoding e;
	const char *what;
	bool undefined;
	u32 offset, n;
	u64 va, flags;
	u8 imm;

	r->seed = j->seed;
	if (wanted || below(j, 4)) {
		struct form f = form_at(j->required[0][j->next[0] % j->nr_required[0]]);

		if (!wanted)
			j->next[0]++;
		memset(r->bytes, 0, sizeof(r->bytes));
		form_bytes(j, wanted ? wanted : &f, false, r->bytes);
	} else {
		random_bytes(j, r->bytes);
	}
	e = form_of(r->bytes, STREAM);
	if (e.prefixes > 10 || form_excluded(&e.form)) {
		r->excluded++;
		return;
	}
	set_registers(j, &e.form);
	offset = place(j);
	j->before.rip = JUDGED_CODE + offset;
	decode_insn(j->guest->cpu, j->before.rip, r->bytes, STREAM, out, &n);
	imm = r->bytes[out[n - 1].len - 1];
	va = operand_address(j, out, n);
	valid_mxcsr(j, &e.form, va);
	if (!guest_step(j)) {
		r->unimplemented++;
		return;
	}
	host_runs(j, &e.form);
	ignore_saved_pointers(j, &e.form, va);
	r->judged++;
	j->coverage[form_index(&e.form)].judged++;
	if (j->host.trap == TRAP_STEP)
		j->coverage[form_index(&e.form)].retired++;
	else
		r->faults[j->host.trap & 31]++;
	flags = form_defined_flags(&e.form, imm, (u8)j->before.regs[CPU_RCX], &undefined);
	what = difference(j, &e.form, flags, undefined);
	if (what && (accepted(j) || is_intels(j, &e.form)))
		r->accepted++;
	else if (what)
		tell_difference(j, what);
	restore_data(j);
}

/* ---- the child ---- */

/* Forms that the interpreter executes and the processor can judge. */
static void find_required(struct judge *j)
{
	j->required[0] = calloc(NR_FORMS, sizeof(u32));
	for (u32 index = 0; index < NR_FORMS; index++) {
		struct form f = form_at(index);
		struct insn out[2], *i;
		u8 bytes[STREAM] = {0};
		struct encoding e;
		u32 n;

		if (f.map > 2 || (f.rm && !form_is_x87(&f)) || form_excluded(&f))
			continue;
		form_bytes(j, &f, true, bytes);
		e = form_of(bytes, STREAM);
		/* Prefixes and escapes are no opcodes; what has no ModRM has no kinds of it. */
		if (form_index(&e.form) != index)
			continue;
		decode_insn(j->guest->cpu, JUDGED_CODE, bytes, STREAM, out, &n);
		i = &out[n - 1];
		if (i->fn != op_invalid && i->fn != op_unimplemented)
			j->required[0][j->nr_required[0]++] = index;
	}
}

static const char *map_memory(struct judge *j)
{
	const int fixed = MAP_FIXED_NOREPLACE;
	void *code = (void *)(uintptr_t)JUDGED_CODE, *data = (void *)(uintptr_t)JUDGED_DATA;
	int file = memfd_create("code", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, CODE_BYTES))
		return "no memory file";
	j->code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (j->code == MAP_FAILED ||
	    mmap(code, CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED | fixed, file, 0) != code)
		return "no executable memory where the code has to be";
	j->data = mmap(data, DATA_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
	if (j->data != data)
		return "no memory where the data have to be";
	close(file);
	return NULL;
}

static bool is_covered(const struct judge *j, u32 index)
{
	struct form f = form_at(index);

	return j->coverage[index].judged && (j->coverage[index].retired || form_privileged(&f));
}

/* Forms that have faulted so far whenever they came up. */
static void judge_uncovered(struct judge *j)
{
	for (u32 n = 0; n < j->nr_required[0]; n++) {
		struct form f = form_at(j->required[0][n]);

		for (u32 k = 0; k < MAX_TRIES && !is_covered(j, j->required[0][n]); k++) {
			if (k % REFILL == 0)
				fill_data(j);
			judge_case(j, &f);
		}
	}
}

static void find_alignment_checks(struct judge *j)
{
	static const u8 load[] = {0x8b, 0x03}; /* mov (%rbx), %eax */

	memcpy(j->report->bytes, load, sizeof(load));
	j->before = (struct host_state){.flags = 2 | FLAG_AC};
	j->before.regs[CPU_RBX] = JUDGED_DATA + 0x1001;
	j->before.rip = JUDGED_CODE + place(j);
	host_step(&j->before, &j->host);
	j->checks_alignment = j->host.trap == VECTOR_AC;
}

static _Noreturn void child(struct judge *j, u64 instructions)
{
	/* From here on only read, write, exit and sigreturn. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(2);
	find_alignment_checks(j);
	while (j->report->judged < instructions && j->report->differences < MAX_REPORTS) {
		if (j->report->judged % REFILL == 0)
			fill_data(j);
		judge_case(j, NULL);
	}
	judge_uncovered(j);
	j->report->finished = true;
	syscall(SYS_exit, 0);
	__builtin_unreachable();
}

/* ---- the parent ---- */

static void print_row(const struct judge *j, u32 from, u32 *uncovered)
{
	static const char *const escape[] = {"", "0f ", "0f 38 "};
	u32 forms = 0;
	u64 judged = 0, retired = 0;

	for (u32 n = 0; n < j->nr_required[0]; n++) {
		u32 index = j->required[0][n];
		struct form f = form_at(index);

		if ((index >> 8 & 0x3ff) != from)
			continue;
		forms++;
		judged += j->coverage[index].judged;
		retired += j->coverage[index].retired;
		if (is_covered(j, index))
			continue;
		printf("# not covered: %s%02x /%u %s size %u prefix %u: %u judged\n", escape[f.map],
		       f.opcode, f.digit, f.memory ? "memory" : "register", f.size, f.prefix,
		       j->coverage[index].judged);
		(*uncovered)++;
	}
	if (forms)
		printf("# %s%02x: %u forms, %" PRIu64 " judged, %" PRIu64 " retired\n",
		       escape[from >> 8], from & 0xff, forms, judged, retired);
}

static bool print_coverage(const struct judge *j)
{
	const struct report *r = j->report;
	u32 uncovered = 0;

	for (u32 from = 0; from < 0x300; from++)
		print_row(j, from, &uncovered);
	printf("# %" PRIu64 " instructions judged, %u forms, %u not covered\n", r->judged,
	       j->nr_required[0], uncovered);
	printf("# faults: #DE %" PRIu64 ", #UD %" PRIu64 ", #SS %" PRIu64 ", #GP %" PRIu64
	       ", #PF %" PRIu64 ", #MF %" PRIu64 ", #AC %" PRIu64 ", #XM %" PRIu64 "\n",
	       r->faults[VECTOR_DE], r->faults[VECTOR_UD], r->faults[VECTOR_SS],
	       r->faults[VECTOR_GP], r->faults[VECTOR_PF], r->faults[VECTOR_MF], r->faults[17],
	       r->faults[VECTOR_XM]);
	printf("# %" PRIu64 " excluded, %" PRIu64 " not implemented, %" PRIu64
	       " differences accepted\n",
	       r->excluded, r->unimplemented, r->accepted);
	return !uncovered;
}

static void tell_case(struct judge *j)
{
	(void)j;
}

static const struct judge_kind native = {
	.name = "as_on_the_processor",
	.instructions = 150000,
	.nr_forms = NR_FORMS,
	.code_pages = CODE_PAGES,
	.code_access = 5,
	.cr0 = CR0_AM,
	.cr4 = CR4_FSGSBASE,
	.nr_registers = 16,
	.max_repeats = 600,
	.flags = FORM_FLAGS | FLAG_DF | FLAG_AC,
	.stream = 15,
	.prepare = map_memory,
	.find_required = find_required,
	.data_word = data_word,
	.judge = child,
	.same_error = same_error,
	.tell_case = tell_case,
	.print_coverage = print_coverage,
};

int main(int argc, char **argv)
{
	return judge_main(&native, argc, argv);
}
