/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_pieces.h - pieces of legacy code on the host CPU, in compatibility mode, and in the
 * interpreter, in protected mode: the same registers, defined flags and memory.
 *
 * The bytes are the same on both sides: AREA of this process and of guest RAM. A world says what kind
 * of code the pieces are, where its segments begin, and has the code around a piece: it loads the
 * registers from CONTEXT, and stores them at AFTER. The host part runs in a child; a host that lets
 * no process do it makes the test do nothing.
 */
#ifndef TESTS_C_TEST_CPU_PIECES_H_
#define TESTS_C_TEST_CPU_PIECES_H_

#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_cpu_guest.h"

#define AREA 0x300000u
#define AREA_BYTES 0x10000u
#define PIECE_AT (AREA + 0x100)
#define CONTEXT (AREA + 0x1000)	    /* 8 registers, EFLAGS */
#define AFTER (CONTEXT + 0x40)	    /* likewise, when it is done */
#define SAVED_RSP (CONTEXT + 0x80)  /* host only */
#define ENTRY (CONTEXT + 0x88)	    /* host only: far pointer to the code */
#define ENTER_STUB (CONTEXT + 0xc0) /* host only, 64-bit code */
#define LEAVE_STUB (CONTEXT + 0xe0)
#define DATA (AREA + 0x2000)
#define CS64 0x33 /* of Linux */

#define CF 1u
#define PF 4u
#define AF 0x10u
#define ZF 0x40u
#define SF 0x80u
#define OF 0x800u
#define ALL (CF | PF | AF | ZF | SF | OF)

struct piece {
	const char *name;
	const u8 *from, *end;
	u32 flags; /* that are defined after it */
};

struct world {
	const u8 *before, *before_end;
	const u8 *after, *after_end;	/* ends in a far jump to LEAVE_STUB */
	u16 cs, data;			/* selectors of the host: data for DS, ES and SS */
	u32 base;			/* of all of them */
	u16 cs_attr, data_attr;		/* for the guest */
	void (*registers)(u32 regs[8]); /* make addresses of some of them */
};

static u64 seed = 88172645463325252ull;

static u32 random32(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)(seed >> 16);
}

static u8 *put_bytes(u8 *to, const void *bytes, size_t n)
{
	memcpy(to, bytes, n);
	return to + n;
}

static u8 *put(u8 *to, const char *bytes, unsigned int n, u32 value)
{
	return put_bytes(put_bytes(to, bytes, n), &value, sizeof(value));
}

/* Load the registers, run the piece, store them, end: an image of AREA in @area. */
static void build(u8 *area, const struct world *w, const struct piece *p)
{
	u32 entry = PIECE_AT - w->base;
	u8 *to = area + (PIECE_AT - AREA);

	to = put_bytes(to, w->before, (size_t)(w->before_end - w->before));
	to = put_bytes(to, p->from, (size_t)(p->end - p->from));
	put_bytes(to, w->after, (size_t)(w->after_end - w->after));

	/* mov %rsp, SAVED_RSP; ljmp *ENTRY; and back: mov SAVED_RSP, %rsp; ret */
	to = put(area + (ENTER_STUB - AREA), "\x48\x89\x24\x25", 4, SAVED_RSP);
	put(to, "\xff\x2c\x25", 3, ENTRY);
	to = put(area + (LEAVE_STUB - AREA), "\x48\x8b\x24\x25", 4, SAVED_RSP);
	*to = 0xc3;
	memcpy(area + (ENTRY - AREA), &entry, 4);
	memcpy(area + (ENTRY - AREA) + 4, &w->cs, 2);
}

static void randomize(u8 *area, const struct world *w)
{
	u32 *context = (u32 *)(void *)(area + (CONTEXT - AREA));

	for (u32 *word = (u32 *)(void *)(area + (DATA - AREA));
	     word < (u32 *)(void *)(area + AREA_BYTES); word++)
		*word = random32();
	for (unsigned int r = 0; r < 8; r++)
		context[r] = random32();
	w->registers(context);
	context[8] = 0x202 | (random32() & ALL); /* IF: it is set in the host's */
}

/*
 * 64-bit code takes more registers than the ABI lets a callee have. SS is loaded in 64-bit code, where
 * its base and width do not matter, and restored there; so is the base of FS, which a piece may load.
 */
static void run_on_host(const struct world *w)
{
	unsigned long fs_base = 0;
	u64 number = SYS_arch_prctl;

	syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_base);
	__asm__ volatile("push %%rbp\n push %%rbx\n mov %%ds, %%r12d\n mov %%ss, %%r13d\n"
			 "mov %1, %%ds\n mov %1, %%es\n mov %1, %%ss\n"
			 "call *%0\n mov %%r13d, %%ss\n mov %%r12d, %%ds\n mov %%r12d, %%es\n cld\n"
			 "pop %%rbx\n pop %%rbp"
			 :
			 : "a"((u64)ENTER_STUB), "d"((u32)w->data)
			 : "memory", "cc", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
			   "r13", "r14", "r15");
	/* Without the C library, which is not itself without FS. */
	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"((u64)ARCH_SET_FS), "S"(fs_base)
			 : "memory", "rcx", "r11");
}

/* In a child, on memory that is shared with it. False: the host does not do it. */
static bool host_runs(const struct world *w)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		alarm(5);
		run_on_host(w);
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status == 0;
}

static void interpret(struct guest *g, const struct world *w, const struct piece *p)
{
	/* The far jump at the end, with its operand-size prefix if it has one, becomes HLT. */
	u64 end = PIECE_AT - AREA + (u64)(w->before_end - w->before) + (u64)(p->end - p->from) +
		  (u64)(w->after_end - w->after);

	g->ram[AREA + end - (w->cs_attr & 0x4000 ? 7 : 8)] = 0xf4;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
}

static struct guest *protected_new(const struct world *w)
{
	struct guest *g = guest_new();

	g->start.rip = PIECE_AT - w->base;
	g->start.cr0 = 0x11;
	g->start.cr3 = g->start.cr4 = g->start.efer = 0;
	g->start.cs = (struct cpu_segment){w->base, ~0u, KERNEL_CS, w->cs_attr};
	g->start.ss = (struct cpu_segment){w->base, ~0u, KERNEL_SS, w->data_attr};
	g->start.ds = g->start.ss;
	return g;
}

static void compare(const struct guest *g, const u8 *area, const struct piece *p)
{
	const u32 *host = (const u32 *)(const void *)(area + (AFTER - AREA));
	const u32 *own = (const u32 *)(const void *)(g->ram + AFTER);
	bool before = test_failed;

	test_failed = false;
	for (unsigned int r = 0; r < 8; r++)
		EXPECT_EQ(host[r], own[r]);
	EXPECT_EQ(host[8] & p->flags, own[8] & p->flags);
	EXPECT_EQ(0, memcmp(area + (DATA - AREA), g->ram + DATA, AREA + AREA_BYTES - DATA));
	if (test_failed)
		printf("# in %s\n", p->name);
	test_failed |= before;
}

#define ROUNDS 40

/* False: the host ran no such code. Memory written by the test drops no blocks: a guest each. */
static bool compare_piece(u8 *area, const struct world *w, const struct piece *p)
{
	struct guest *g = protected_new(w);
	bool ran = true;

	for (unsigned int n = 0; n < ROUNDS && ran && !test_failed; n++) {
		memset(area, 0, AREA_BYTES);
		build(area, w, p);
		randomize(area, w);
		memcpy(g->ram + AREA, area, AREA_BYTES);
		ran = host_runs(w);
		if (!ran)
			break;
		interpret(g, w, p);
		compare(g, area, p);
	}
	guest_free(g);
	return ran;
}

static void compare_pieces(const struct world *w, const struct piece *const *pieces,
			   unsigned int nr_pieces)
{
	u8 *area = mmap((void *)(uintptr_t)AREA, AREA_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	unsigned int done = 0;

	if (area != (u8 *)(uintptr_t)AREA) {
		printf("# no memory at %#x: nothing compared\n", AREA);
		return;
	}
	while (done < nr_pieces && !test_failed && compare_piece(area, w, pieces[done]))
		done++;
	if (done < nr_pieces) {
		printf("# the host runs no such code, or not %s\n", pieces[done]->name);
		test_failed |= done != 0; /* not the first: it is this piece */
	}
	printf("# %u of %u pieces compared\n", done, nr_pieces);
	munmap(area, AREA_BYTES);
}

#endif /* TESTS_C_TEST_CPU_PIECES_H_ */
