/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - one instruction on the processor that the program runs on.
 *
 * An INT3 brings the handler, which puts the state of the instruction into the signal frame. The
 * step or fault behind it brings the handler again, which takes the outcome out of the frame and puts
 * back what the INT3 had interrupted. The thread pointer is the instruction's FS base meanwhile:
 * nothing in the handler may use it before it is restored.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "host.h"

#define FLAG_FIXED 0x202u /* IF and the bit that is always set */
#define FLAG_TF 0x100u
#define STACK_SIZE 65536u
#define XSAVE_HEADER 512u /* behind the area of FXSAVE; first: which components are not initial */
#define XSAVE_X87_SSE 3ull
#define HWCAP2_USER_FSGSBASE 2u /* AT_HWCAP2: user mode may use RDFSBASE.. */

enum phase { PHASE_IDLE, PHASE_ENTER, PHASE_STEP };

static volatile enum phase phase;
static struct host_state step;
static greg_t interrupted[NGREG];
static struct fpu_area interrupted_fpu;
static u64 interrupted_features;
static u64 own_fs, own_gs;

static const int frame_register[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				       REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				       REG_R12, REG_R13, REG_R14, REG_R15};

#define BASE(name)                                                                                 \
	static inline __attribute__((always_inline)) u64 read_##name(void)                         \
	{                                                                                          \
		u64 v;                                                                             \
                                                                                                   \
		__asm__ volatile("rd" #name " %0" : "=r"(v));                                      \
		return v;                                                                          \
	}                                                                                          \
	static inline __attribute__((always_inline)) void write_##name(u64 v)                      \
	{                                                                                          \
		__asm__ volatile("wr" #name " %0" : : "r"(v) : "memory");                          \
	}
BASE(fsbase)
BASE(gsbase)

static inline __attribute__((always_inline)) void load_data_segments(u16 selector)
{
	__asm__ volatile("mov %0, %%ds\n mov %0, %%es\n mov %0, %%fs\n mov %0, %%gs"
			 :
			 : "r"((u32)selector)
			 : "memory");
}

/* The kernel keeps SS behind CS, GS and FS. */
static inline __attribute__((always_inline)) greg_t with_code_and_stack(greg_t segments, u16 cs,
									u16 ss)
{
	u64 others = (u64)segments & 0x0000ffffffff0000ull;

	return (greg_t)(others | cs | (u64)ss << 48);
}

__attribute__((no_stack_protector, no_sanitize("address", "undefined"),
	       optimize("no-tree-loop-distribute-patterns"))) static void
handler(int signal_number, siginfo_t *info, void *context)
{
	mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
	struct fpu_area *fpu = (struct fpu_area *)machine->fpregs;
	u64 *features = (u64 *)((char *)fpu + XSAVE_HEADER);
	greg_t *frame = machine->gregs;

	(void)info;
	/* The kernel leaves AC as the instruction had it. */
	__asm__ volatile("sub $128, %%rsp\n\tpushf\n\tandl $~0x40000, (%%rsp)\n\tpopf\n\t"
			 "add $128, %%rsp"
			 :
			 :
			 : "memory", "cc");
	if (phase == PHASE_ENTER) {
		for (int n = 0; n < NGREG; n++)
			interrupted[n] = frame[n];
		interrupted_fpu = *fpu;
		interrupted_features = *features;
		*fpu = step.fpu;
		*features |= XSAVE_X87_SSE;
		for (int n = 0; n < 16; n++)
			frame[frame_register[n]] = (greg_t)step.regs[n];
		frame[REG_RIP] = (greg_t)step.rip;
		frame[REG_EFL] = (greg_t)(step.flags | FLAG_FIXED | FLAG_TF);
		phase = PHASE_STEP;
		if (step.cs) {
			frame[REG_CSGSFS] = with_code_and_stack(frame[REG_CSGSFS], step.cs,
								step.ss);
			load_data_segments(step.data);
			return;
		}
		write_gsbase(step.gs_base);
		write_fsbase(step.fs_base);
		return;
	}
	step.fs_base = read_fsbase();
	step.gs_base = read_gsbase();
	if (phase == PHASE_STEP && step.cs)
		load_data_segments(0);
	write_fsbase(own_fs);
	write_gsbase(own_gs);
	if (phase != PHASE_STEP) {
		/* Not of a step: die of it, the parent tells. */
		signal(signal_number, SIG_DFL);
		return;
	}
	for (int n = 0; n < 16; n++)
		step.regs[n] = (u64)frame[frame_register[n]];
	step.rip = (u64)frame[REG_RIP];
	step.flags = (u64)frame[REG_EFL];
	step.trap = (int)frame[REG_TRAPNO];
	step.error = (u64)frame[REG_ERR];
	step.linear = (u64)frame[REG_CR2];
	step.fpu = *fpu;
	*fpu = interrupted_fpu;
	*features = interrupted_features;
	for (int n = 0; n < NGREG; n++) {
		if (n != REG_CSGSFS || step.cs)
			frame[n] = interrupted[n];
	}
	phase = PHASE_IDLE;
}

void host_step(const struct host_state *before, struct host_state *after)
{
	own_fs = read_fsbase();
	own_gs = read_gsbase();
	step = *before;
	phase = PHASE_ENTER;
	__asm__ volatile("int3" : : : "memory", "cc");
	*after = step;
}

static const char *missing_feature(void)
{
	unsigned int a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE))
		return "signal frames have no XSAVE area";
	if (!(c & bit_MOVBE) || !(c & bit_POPCNT) || !(c & bit_CMPXCHG16B))
		return "the processor has no MOVBE, POPCNT or CMPXCHG16B";
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_BMI))
		return "the processor has no TZCNT";
	__cpuid(0x80000001, a, b, c, d);
	if (!(c & bit_LZCNT))
		return "the processor has no LZCNT";
	return NULL;
}

const char *host_prepare(void)
{
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS};
	struct sigaction action = {.sa_sigaction = handler,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t stack = {.ss_size = STACK_SIZE};
	const char *missing = missing_feature();

	if (missing)
		return missing;
	if (!(getauxval(AT_HWCAP2) & HWCAP2_USER_FSGSBASE))
		return "the kernel does not let programs set FS and GS bases";
	stack.ss_sp = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL))
		return "no signal stack";
	sigfillset(&action.sa_mask);
	for (size_t n = 0; n < sizeof(signals) / sizeof(signals[0]); n++)
		sigaction(signals[n], &action, NULL);
	return NULL;
}
