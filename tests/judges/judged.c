/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judged.c - single instructions on the processor and in the interpreter. Interface: judged.h.
 */
#define _GNU_SOURCE
#include "judged.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/memory.h"

#define CODE_TABLE 0x5000ull
#define DATA_TABLE 0x6000ull

void tell(struct report *r, const char *format, ...)
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

u64 random_word(struct judge *j)
{
	j->seed ^= j->seed << 13;
	j->seed ^= j->seed >> 7;
	j->seed ^= j->seed << 17;
	return j->seed * 2685821657736338717ull;
}

u32 below(struct judge *j, u32 n)
{
	return (u32)((random_word(j) >> 33) % n);
}

u64 random_for_fpu(void *judge)
{
	return random_word(judge);
}

/* ---- code and data ---- */

void fill_data(struct judge *j)
{
	for (u32 n = 0; n < DATA_BYTES - 4096; n += 8)
		put(j->data + n, j->kind->data_word(j), 8);
	memcpy(j->guest->ram + DATA_PA, j->data, DATA_BYTES);
}

bool same_data(const struct judge *j)
{
	return !memcmp(j->data, j->guest->ram + DATA_PA, DATA_BYTES);
}

void restore_data(struct judge *j)
{
	if (!same_data(j))
		memcpy(j->guest->ram + DATA_PA, j->data, DATA_BYTES);
}

void place_code(struct judge *j, u32 offset, u32 n)
{
	struct cpu *c = j->guest->cpu;

	memcpy(j->code + offset, j->report->bytes, n);
	memcpy(j->guest->ram + CODE_PA + offset, j->report->bytes, n);
	for (u32 page = 0; page < j->kind->code_pages; page++)
		block_written(c, CODE_PA + (page << 12), 4096);
	if (c->nr_blocks > BLOCK_POOL - 256)
		blocks_flush(c);
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

static struct guest *judged_guest(const struct judge_kind *kind)
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
	for (u64 n = 0; n < kind->code_pages; n++)
		guest_set(g, CODE_TABLE + n * 8, (CODE_PA + (n << 12)) | kind->code_access);
	for (u64 n = 0; n < DATA_PAGES; n++)
		guest_set(g, DATA_TABLE + n * 8,
			  (DATA_PA + (n << 12)) | (n == DATA_PAGES - 1 ? 5 : 7) | BIT_ULL(63));
	for (unsigned int v = 0; v < 256; v++) {
		guest_gate(g, v, HANDLER_AT + v * 16, 0, 0);
		g->ram[HANDLER_AT + v * 16] = 0xf4; /* hlt */
	}
	g->start.efer |= EFER_NXE;
	g->start.cr0 |= CR0_WP | kind->cr0;
	g->start.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | kind->cr4;
	return g;
}

bool is_access_fault(int vector)
{
	return vector == VECTOR_PF || vector == VECTOR_GP || vector == VECTOR_SS ||
	       vector == VECTOR_AC;
}

bool has_error_code(int vector)
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

bool guest_runs(struct judge *j, u64 budget)
{
	struct cpu *c = j->guest->cpu;
	enum cpu_stop stop;
	u64 count;

	c->tr = (struct descriptor_table){TSS_AT, 0x67, TSS_SELECTOR};
	memcpy(c->regs, j->before.regs, sizeof(j->before.regs));
	fpu_to_guest(c, &j->before.fpu);
	count = c->totals.count[PRIV_USR][EVENT_INSTRUCTIONS];
	stop = cpu_run(c, &budget);
	j->retired = c->totals.count[PRIV_USR][EVENT_INSTRUCTIONS] - count;
	j->guest_state = (struct host_state){.rip = c->rip,
					     .flags = get_rflags(c),
					     .fs_base = c->seg[SEG_FS].base,
					     .gs_base = c->seg[SEG_GS].base,
					     .trap = TRAP_STEP,
					     .linear = c->cr2};
	memcpy(j->guest_state.regs, c->regs, sizeof(j->before.regs));
	fpu_from_guest(c, &j->guest_state.fpu);
	if (stop == CPU_STOP_UNIMPLEMENTED)
		return false;
	if (c->cpl == 0)
		take_fault(j->guest, &j->guest_state);
	return true;
}

/* ---- the processor ---- */

/* Registers that are not compared are those of 64-bit code, of which legacy code has the lower halves: a
 * kernel's return to a 16-bit stack leaves something in RSP's upper one. */
static void step_on_host(const struct judge *j, const struct host_state *before,
			 struct host_state *after)
{
	host_step(before, after);
	for (unsigned int n = 0; j->kind->nr_registers == 8 && n < 8; n++)
		after->regs[n] = (u32)after->regs[n];
}

/* Natively each iteration of a rep string is a step of its own. */
void host_runs(struct judge *j, const struct form *f)
{
	struct host_state s = j->before;

	for (int n = 0; n < j->kind->max_repeats; n++) {
		step_on_host(j, &s, &j->host);
		if (!form_repeats(f) || j->host.trap != TRAP_STEP || j->host.rip != s.rip)
			return;
		s = j->host;
		s.flags &= j->kind->flags;
	}
}

/* ---- comparing ---- */

const char *difference(const struct judge *j, const struct form *f, u64 flags, bool undefined)
{
	const struct host_state *h = &j->host, *g = &j->guest_state;
	const char *what;
	bool zero;

	if (h->trap != g->trap)
		return "vector";
	if (h->trap != TRAP_STEP) {
		flags = FORM_FLAGS;
		undefined = false;
	}
	/* BSF, BSR of 0: the destination is undefined. */
	zero = f->map == 1 && (f->opcode | 1) == 0xbd && f->prefix != PREFIX_REP &&
	       (h->flags & 0x40);
	if (!j->kind->same_error(h, g))
		return "error code or CR2";
	if (h->rip != g->rip)
		return "RIP";
	if ((h->flags ^ g->flags) & (flags | 0x400))
		return "flags";
	if (!j->before.cs && (h->fs_base != g->fs_base || h->gs_base != g->gs_base))
		return "base";
	if (j->retired != (h->trap == TRAP_STEP))
		return "count";
	if (undefined || zero)
		return NULL;
	/* ENTER whose new stack cannot be written: whether RBP has been pushed by then is not said. */
	if (f->map == 0 && f->opcode == 0xc8 && h->trap != TRAP_STEP)
		return NULL;
	if (memcmp(h->regs, g->regs, j->kind->nr_registers * sizeof(h->regs[0])))
		return "register";
	what = fpu_difference(&h->fpu, &g->fpu);
	if (what)
		return what;
	return same_data(j) ? NULL : "memory";
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

void tell_difference(struct judge *j, const char *what)
{
	const struct host_state *b = &j->before, *h = &j->host, *g = &j->guest_state;
	struct report *r = j->report;

	if (r->differences++ >= MAX_REPORTS)
		return;
	tell(r, "# %s differs, ", what);
	j->kind->tell_case(j);
	tell(r, "case of seed 0x%" PRIx64 ":", r->seed);
	for (u32 n = 0; n < j->kind->stream; n++)
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
	for (unsigned int n = 0; n < j->kind->nr_registers; n++) {
		if (h->regs[n] != g->regs[n])
			tell(r,
			     "#   register %u: 0x%" PRIx64 ", processor 0x%" PRIx64
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

/* ---- the parent ---- */

static bool print_end(const struct judge *j, int status)
{
	const struct report *r = j->report;

	fwrite(r->text, 1, r->used, stdout);
	if (!r->finished) {
		printf("# the child ended with status 0x%x in:", status);
		for (u32 n = 0; n < j->kind->stream; n++)
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

static void *shared(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static const char *prepare(struct judge *j)
{
	const char *reason;

#ifdef __SANITIZE_ADDRESS__
	return "AddressSanitizer owns addresses that random instructions reach";
#endif
	reason = host_prepare();
	return reason ? reason : j->kind->prepare(j);
}

int judge_main(const struct judge_kind *kind, int argc, char **argv)
{
	u64 instructions = argc > 1 ? strtoull(argv[1], NULL, 0) : kind->instructions;
	struct judge j = {.kind = kind, .seed = 88172645463325252ull};
	const char *reason = prepare(&j);
	int status = 0, failed;
	pid_t pid;

	if (reason) {
		printf("1..0 # SKIP %s\n", reason);
		return 0;
	}
	if (argc > 2)
		j.seed ^= strtoull(argv[2], NULL, 0) * 0x9e3779b97f4a7c15ull;
	j.report = shared(sizeof(*j.report));
	j.coverage = shared(kind->nr_forms * sizeof(*j.coverage));
	j.guest = judged_guest(kind);
	kind->find_required(&j);
	fill_data(&j);
	mprotect(j.data + DATA_BYTES - 4096, 4096, PROT_READ);
	printf("1..2\n");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		kind->judge(&j, instructions);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	failed = verdict(print_end(&j, status), 1, kind->name);
	failed |= verdict(kind->print_coverage(&j), 2, "every_form_is_covered");
	guest_free(j.guest);
	free(j.required[0]);
	free(j.required[1]);
	return failed;
}
