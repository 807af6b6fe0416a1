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
#define HOST_MAPPINGS 0x7f0000000000ull /* where Linux puts stack and libraries */
#define _GNU_SOURCE
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/block.h"
#include "cpu/decode.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/memory.h"
#include "cpu/state.h"
#include "forms.h"
#include "host.h"
#include "test_cpu_guest.h"

#define JUDGED_CODE 0x20000000ull
#define JUDGED_DATA 0x30000000ull
#define CODE_PAGES 2u
#define DATA_PAGES 9u /* the last one is read-only */
#define CODE_BYTES (CODE_PAGES * 4096u)
#define DATA_BYTES (DATA_PAGES * 4096u)
#define CODE_PA 0x600000ull
#define DATA_PA 0x610000ull
#define CODE_TABLE 0x5000ull
#define DATA_TABLE 0x6000ull
#define STREAM 24u /* bytes of code of a case */
#define REFILL 256u
#define MAX_REPEATS 600
#define KERNEL_HALF 0xffff800000000000ull
#define LARGE_BASE 0x7fffcfff0000ull
#define MANY_PREFIXES 4u
#define MAX_REPORTS 20u
#define MAX_TRIES 2000u /* of a form that has not retired */
#define DEFAULT_INSTRUCTIONS 150000u

/* What the child leaves to the parent. */
struct report {
	u64 judged, unimplemented, excluded, accepted;
	u64 faults[32];
	u32 form_judged[NR_FORMS], form_retired[NR_FORMS];
	u64 seed;
	u8 bytes[STREAM + 16]; /* of the case under way; more is written than is used */
	bool finished;
	u32 differences;
	u32 used;
	char text[1u << 16];
};

struct judge {
	struct guest *guest;
	struct report *report;
	u8 *code; /* writable view of the host's code */
	u8 *data;
	u64 seed;
	u32 *required; /* form indices */
	u32 nr_required, next;
	struct host_state before, host, guest_state;
	u64 retired;	       /* by the guest */
	bool checks_alignment; /* CR0.AM is set on the host */
};

__attribute__((format(printf, 2, 3))) static void tell(struct report *r, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(r->text + r->used, sizeof(r->text) - r->used, format, arguments);
	va_end(arguments);
	if (n > 0 && r->used + (u32)n < sizeof(r->text))
		r->used += (u32)n;
}

/* ---- chance ---- */

static u64 random_word(struct judge *j)
{
	j->seed ^= j->seed << 13;
	j->seed ^= j->seed >> 7;
	j->seed ^= j->seed << 17;
	return j->seed * 2685821657736338717ull;
}

static u32 below(struct judge *j, u32 n)
{
	return (u32)((random_word(j) >> 33) % n);
}

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

static void put(u8 *at, u64 v, unsigned int n)
{
	memcpy(at, &v, n);
}

/* Displacement and immediate: where an address needs it, one that hits the data. */
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

static void next_instruction(void *ctx, enum privilege priv, struct cpu_room *room)
{
	(void)ctx;
	(void)priv;
	memset(room, 0xff, sizeof(*room));
	cpu_room_limit(room, EVENT_INSTRUCTIONS, 1);
}

static bool always_stop(void *ctx)
{
	(void)ctx;
	return true;
}

static struct cpu_ops judge_ops;

static struct guest *judged_guest(void)
{
	struct guest *g = guest_new();

	judge_ops = guest_ops;
	judge_ops.horizon = next_instruction;
	judge_ops.land = always_stop;
	g->cpu->ops = &judge_ops;
	/* Nothing below the code is for user mode; only the judged pages are. */
	for (u64 n = 0; n < 512; n++) {
		guest_set(g, PD_AT + n * 8, 0);
		guest_set(g, PT_AT + n * 8, n << 12 | 3);
	}
	guest_set(g, PD_AT, PT_AT | 3);
	guest_set(g, PD_AT + (JUDGED_CODE >> 21) * 8, CODE_TABLE | 7);
	guest_set(g, PD_AT + (JUDGED_DATA >> 21) * 8, DATA_TABLE | 7);
	for (u64 n = 0; n < CODE_PAGES; n++)
		guest_set(g, CODE_TABLE + n * 8, (CODE_PA + (n << 12)) | 5);
	for (u64 n = 0; n < DATA_PAGES; n++)
		guest_set(g, DATA_TABLE + n * 8,
			  (DATA_PA + (n << 12)) | (n == DATA_PAGES - 1 ? 5 : 7) | BIT_ULL(63));
	for (unsigned int v = 0; v < 256; v++) {
		guest_gate(g, v, HANDLER_AT + v * 16, 0, 0);
		g->ram[HANDLER_AT + v * 16] = 0xf4; /* hlt */
	}
	g->start.cs = (struct cpu_segment){0, ~0u, 0x33, 0xa0fb};
	g->start.ss = (struct cpu_segment){0, ~0u, 0x2b, 0xc0f3};
	g->start.ds = (struct cpu_segment){0, ~0u, 0, 0xc0f3};
	g->start.efer |= EFER_NXE;
	g->start.cr0 |= CR0_WP | CR0_AM;
	g->start.cr4 |= CR4_FSGSBASE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	return g;
}

static bool has_error_code(int vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) ||
	       vector == VECTOR_AC;
}

/* A fault has come to its handler: take what was pushed. */
static void take_fault(const struct guest *g, struct host_state *s)
{
	const struct cpu *c = g->cpu;
	u64 sp = c->regs[CPU_RSP];

	s->trap = (int)((c->rip - HANDLER_AT) / 16);
	if (has_error_code(s->trap)) {
		s->error = guest_get(g, sp);
		sp += 8;
	}
	s->rip = guest_get(g, sp);
	s->flags = guest_get(g, sp + 16);
	s->regs[CPU_RSP] = guest_get(g, sp + 24);
}

/* False if the interpreter does not implement it. */
static bool guest_step(struct judge *j)
{
	const struct host_state *b = &j->before;
	struct guest *g = j->guest;
	struct cpu *c = g->cpu;
	u64 budget = 100, count;
	enum cpu_stop stop;

	g->start.rip = b->rip;
	g->start.rflags = b->flags | 0x202;
	cpu_start(c, &g->start);
	c->tr = (struct descriptor_table){TSS_AT, 0x67, TSS_SELECTOR};
	memcpy(c->regs, b->regs, sizeof(b->regs));
	fpu_to_guest(c, &b->fpu);
	c->seg[SEG_FS].base = b->fs_base;
	c->seg[SEG_GS].base = b->gs_base;
	count = c->totals.count[PRIV_USR][EVENT_INSTRUCTIONS];
	stop = cpu_run(c, &budget);
	j->retired = c->totals.count[PRIV_USR][EVENT_INSTRUCTIONS] - count;
	j->guest_state = (struct host_state){.rip = c->rip,
					     .flags = get_rflags(c),
					     .fs_base = c->seg[SEG_FS].base,
					     .gs_base = c->seg[SEG_GS].base,
					     .trap = TRAP_STEP,
					     .linear = c->cr2};
	memcpy(j->guest_state.regs, c->regs, sizeof(b->regs));
	fpu_from_guest(c, &j->guest_state.fpu);
	if (stop == CPU_STOP_UNIMPLEMENTED)
		return false;
	if (c->cpl == 0)
		take_fault(g, &j->guest_state);
	return true;
}

/* ---- a case ---- */

static u64 random_for_fpu(void *ctx)
{
	return random_word(ctx);
}

static u64 data_word(struct judge *j)
{
	switch (below(j, 3)) {
	case 0: return random_word(j);
	case 1: return fpu_interesting(random_for_fpu, j);
	default: return pointer(j);
	}
}

static void fill_data(struct judge *j)
{
	for (u32 n = 0; n < DATA_BYTES - 4096; n += 8)
		put(j->data + n, data_word(j), 8);
	memcpy(j->guest->ram + DATA_PA, j->data, DATA_BYTES);
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

/* Natively each iteration of a rep string is a step of its own. */
static void run_host(struct judge *j, const struct form *f)
{
	struct host_state s = j->before;

	for (int n = 0; n < MAX_REPEATS; n++) {
		host_step(&s, &j->host);
		if (!form_repeats(f) || j->host.trap != TRAP_STEP || j->host.rip != s.rip)
			return;
		s = j->host;
		s.flags &= FORM_FLAGS | FLAG_DF | FLAG_AC;
	}
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
static bool is_access_fault(int trap)
{
	return trap == VECTOR_PF || trap == VECTOR_GP || trap == VECTOR_SS || trap == VECTOR_AC;
}

static bool is_other_operand_of_cmps(const struct judge *j)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;
	struct form f = form_of(j->report->bytes, STREAM).form;

	return f.map == 0 && (f.opcode | 1) == 0xa7 && is_access_fault(h->trap) &&
	       is_access_fault(g->trap) && h->rip == g->rip && j->retired == 0 &&
	       !memcmp(h->regs, g->regs, sizeof(h->regs)) &&
	       !memcmp(j->data, j->guest->ram + DATA_PA, DATA_BYTES);
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
	       !memcmp(h->regs, g->regs, sizeof(h->regs)) && !j->retired &&
	       !memcmp(j->data, j->guest->ram + DATA_PA, DATA_BYTES);
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
	       !j->retired && !memcmp(j->data, j->guest->ram + DATA_PA, DATA_BYTES);
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

static const char *difference(const struct judge *j, const struct form *f, u8 imm)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;
	bool undefined, zero;
	const char *what;
	u64 flags = form_defined_flags(f, imm, (u8)j->before.regs[CPU_RCX], &undefined);

	if (h->trap != g->trap)
		return "vector";
	if (h->trap != TRAP_STEP) {
		flags = FORM_FLAGS;
		undefined = false;
	}
	/* BSF, BSR of 0: the destination is undefined. */
	zero = f->map == 1 && (f->opcode | 1) == 0xbd && f->prefix != PREFIX_REP &&
	       (h->flags & 0x40);
	if (!same_error(h, g))
		return "error code or CR2";
	if (h->rip != g->rip)
		return "RIP";
	if ((h->flags ^ g->flags) & (flags | 0x400))
		return "flags";
	if (h->fs_base != g->fs_base || h->gs_base != g->gs_base)
		return "base";
	if (j->retired != (h->trap == TRAP_STEP))
		return "count";
	if (undefined || zero)
		return NULL;
	/* ENTER whose new stack cannot be written: whether RBP has been pushed by then is not said. */
	if (f->map == 0 && f->opcode == 0xc8 && h->trap != TRAP_STEP)
		return NULL;
	if (memcmp(h->regs, g->regs, sizeof(h->regs)))
		return "register";
	what = fpu_difference(&h->fpu, &g->fpu);
	if (what)
		return what;
	if (memcmp(j->data, j->guest->ram + DATA_PA, DATA_BYTES))
		return "memory";
	return NULL;
}

static void tell_fpu(struct report *r, const struct judge *j)
{
	const struct fpu_area *b = &j->before.fpu, *h = &j->host.fpu, *g = &j->guest_state.fpu;

	tell(r, "#   before: mxcsr %04x x87 control %04x status %04x tags %02x\n", b->mxcsr,
	     b->control, b->status, b->tags);
	tell(r, "#   processor, interpreter: mxcsr %04x %04x control %04x %04x status %04x %04x",
	     h->mxcsr, g->mxcsr, h->control, g->control, h->status, g->status);
	tell(r, " tags %02x %02x\n", h->tags, g->tags);
	for (int n = 0; n < 16; n++) {
		if (memcmp(h->xmm[n], g->xmm[n], 16))
			tell(r,
			     "#   xmm%d: %016" PRIx64 "%016" PRIx64 ", processor %016" PRIx64
			     "%016" PRIx64 ", interpreter %016" PRIx64 "%016" PRIx64 "\n",
			     n, b->xmm[n][1], b->xmm[n][0], h->xmm[n][1], h->xmm[n][0],
			     g->xmm[n][1], g->xmm[n][0]);
	}
	for (int n = 0; n < 8; n++) {
		u64 low[3], high[3] = {0};

		memcpy(&low[0], b->st[n], 8);
		memcpy(&low[1], h->st[n], 8);
		memcpy(&low[2], g->st[n], 8);
		memcpy(&high[0], b->st[n] + 8, 2);
		memcpy(&high[1], h->st[n] + 8, 2);
		memcpy(&high[2], g->st[n] + 8, 2);
		if (low[1] != low[2] || high[1] != high[2])
			tell(r,
			     "#   st%d: %04x %016" PRIx64 ", processor %04x %016" PRIx64
			     ", interpreter %04x %016" PRIx64 "\n",
			     n, (u32)high[0], low[0], (u32)high[1], low[1], (u32)high[2], low[2]);
	}
}

static void tell_difference(struct judge *j, const char *what)
{
	const struct host_state *b = &j->before, *h = &j->host, *g = &j->guest_state;
	struct report *r = j->report;

	if (r->differences++ >= MAX_REPORTS)
		return;
	tell(r, "# %s differs, case of seed 0x%" PRIx64 ":", what, r->seed);
	for (u32 n = 0; n < 15; n++)
		tell(r, " %02x", r->bytes[n]);
	tell(r, " at 0x%" PRIx64 "\n", b->rip);
	for (int k = 0; k < 2; k++) {
		const struct host_state *s = k ? g : h;

		tell(r,
		     "#   %s: vector %d error 0x%" PRIx64 " cr2 0x%" PRIx64 " rip 0x%" PRIx64
		     " flags 0x%" PRIx64 "\n",
		     k ? "interpreter" : "processor", s->trap, s->error, s->linear, s->rip,
		     s->flags);
	}
	for (int n = 0; n < 16; n++) {
		if (h->regs[n] != g->regs[n])
			tell(r,
			     "#   register %d: 0x%" PRIx64 ", processor 0x%" PRIx64
			     ", interpreter 0x%" PRIx64 "\n",
			     n, b->regs[n], h->regs[n], g->regs[n]);
	}
	tell_fpu(r, j);
	for (u32 n = 0, told = 0; n < DATA_BYTES && told < 8; n++) {
		u8 theirs = j->data[n], ours = j->guest->ram[DATA_PA + n];

		if (theirs != ours && told++ < 8)
			tell(r, "#   at 0x%llx: processor %02x, interpreter %02x\n",
			     JUDGED_DATA + n, theirs, ours);
	}
}

/* Put the bytes where they run; sometimes across the page boundary or against the end. */
static u32 place(struct judge *j)
{
	struct cpu *c = j->guest->cpu;
	u32 offset, n = STREAM;

	switch (below(j, 16)) {
	case 0:
	case 1: offset = 4096 - below(j, 16); break;
	case 2: offset = CODE_BYTES - 1 - below(j, 20); break;
	default: offset = 0x100 + below(j, 0xd00); break;
	}
	if (offset + n > CODE_BYTES)
		n = CODE_BYTES - offset;
	memcpy(j->code + offset, j->report->bytes, n);
	memcpy(j->guest->ram + CODE_PA + offset, j->report->bytes, n);
	block_written(c, CODE_PA, 4096);
	block_written(c, CODE_PA + 4096, 4096);
	if (c->nr_blocks > BLOCK_POOL - 256)
		blocks_flush(c);
	return offset;
}

/* @wanted: the form, or NULL for the next one or random bytes. */
static void judge_case(struct judge *j, const struct form *wanted)
{
	struct report *r = j->report;
	struct insn out[2];
	struct encoding e;
	const char *what;
	u32 offset, n;
	u64 va;
	u8 imm;

	r->seed = j->seed;
	if (wanted || below(j, 4)) {
		struct form f = form_at(j->required[j->next % j->nr_required]);

		if (!wanted)
			j->next++;
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
	run_host(j, &e.form);
	ignore_saved_pointers(j, &e.form, va);
	r->judged++;
	r->form_judged[form_index(&e.form)]++;
	if (j->host.trap == TRAP_STEP)
		r->form_retired[form_index(&e.form)]++;
	else
		r->faults[j->host.trap & 31]++;
	what = difference(j, &e.form, imm);
	if (what && accepted(j))
		r->accepted++;
	else if (what)
		tell_difference(j, what);
	if (memcmp(j->data, j->guest->ram + DATA_PA, DATA_BYTES))
		memcpy(j->guest->ram + DATA_PA, j->data, DATA_BYTES);
}

/* ---- the child ---- */

/* Forms that the interpreter executes and the processor can judge. */
static void find_required(struct judge *j)
{
	j->required = calloc(NR_FORMS, sizeof(*j->required));
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
			j->required[j->nr_required++] = index;
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

static bool is_covered(const struct report *r, u32 index)
{
	struct form f = form_at(index);

	return r->form_judged[index] && (r->form_retired[index] || form_privileged(&f));
}

/* Forms that have faulted so far whenever they came up. */
static void judge_uncovered(struct judge *j)
{
	for (u32 n = 0; n < j->nr_required; n++) {
		struct form f = form_at(j->required[n]);

		for (u32 k = 0; k < MAX_TRIES && !is_covered(j->report, j->required[n]); k++) {
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
	const struct report *r = j->report;
	u32 forms = 0;
	u64 judged = 0, retired = 0;

	for (u32 n = 0; n < j->nr_required; n++) {
		u32 index = j->required[n];
		struct form f = form_at(index);

		if ((index >> 8 & 0x3ff) != from)
			continue;
		forms++;
		judged += r->form_judged[index];
		retired += r->form_retired[index];
		if (is_covered(r, index))
			continue;
		printf("# not covered: %s%02x /%u %s size %u prefix %u: %u judged\n", escape[f.map],
		       f.opcode, f.digit, f.memory ? "memory" : "register", f.size, f.prefix,
		       r->form_judged[index]);
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
	       j->nr_required, uncovered);
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

static bool print_end(const struct judge *j, int status)
{
	const struct report *r = j->report;

	fwrite(r->text, 1, r->used, stdout);
	if (!r->finished) {
		printf("# the child ended with status 0x%x in:", status);
		for (u32 n = 0; n < 15; n++)
			printf(" %02x", r->bytes[n]);
		printf("\n");
	}
	return r->finished && !r->differences;
}

static int verdict(bool ok, int number, const char *name)
{
	printf("%s %d - %s\n", ok ? "ok" : "not ok", number, name);
	return !ok;
}

static const char *prepare(struct judge *j)
{
	const char *reason;

#ifdef __SANITIZE_ADDRESS__
	return "AddressSanitizer owns addresses that random instructions reach";
#endif
	reason = host_prepare();
	if (!reason)
		reason = map_memory(j);
	return reason;
}

int main(int argc, char **argv)
{
	u64 instructions = argc > 1 ? strtoull(argv[1], NULL, 0) : DEFAULT_INSTRUCTIONS;
	struct judge j = {.seed = 88172645463325252ull};
	const char *reason = prepare(&j);
	int status = 0, failed;
	pid_t pid;

	if (reason) {
		printf("1..0 # SKIP %s\n", reason);
		return 0;
	}
	if (argc > 2)
		j.seed ^= strtoull(argv[2], NULL, 0) * 0x9e3779b97f4a7c15ull;
	j.report = mmap(NULL, sizeof(*j.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	j.guest = judged_guest();
	find_required(&j);
	fill_data(&j);
	mprotect(j.data + DATA_BYTES - 4096, 4096, PROT_READ);
	printf("1..2\n");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(&j, instructions);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	failed = verdict(print_end(&j, status), 1, "as_on_the_processor");
	failed |= verdict(print_coverage(&j), 2, "every_form_is_covered");
	guest_free(j.guest);
	free(j.required);
	return failed;
}
