/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h - the guest CPU: an x86-64 interpreter that counts exactly.
 *
 * A struct cpu executes guest code out of a struct guest_ram, adds what retires to
 * cpu->totals, and lands on the exact instruction on which an armed counter overflows or a
 * deadline passes. It knows no PMU, no KVM and no devices: it reaches them through struct cpu_ops,
 * and returns from cpu_run() whenever somebody else has to decide.
 *
 * Rules
 *  - cpu_run() never nests. Callbacks serve direct accesses only and never call cpu_run(),
 *    cpu_inject() or cpu_skip_insn().
 *  - Before any callback and before cpu_run() returns, cpu->totals and cpu->rip are exact: all that
 *    retired before the current instruction is in them, the current instruction is not.
 *  - An instruction's effect (a WRMSR, say) comes before its retirement is counted.
 *  - Nothing depends on how a run is cut into budgets.
 *  - CPUs on one RAM are peers: what one of them writes is gone from the decoded code of all.
 *  - Faults of the guest go through its IDT; they are not errors. What the interpreter does not
 *    implement stops the run (CPU_STOP_UNIMPLEMENTED) and changes nothing.
 *
 * Example
 *	cpu_new(&c, &config);
 *	cpu_start(c, &start);
 *	while ((stop = cpu_run(c, &budget)) == CPU_STOP_BUDGET)
 *		budget = 1000;
 */
#ifndef CPU_CPU_H_
#define CPU_CPU_H_

#include "base/check.h"
#include "base/events.h"
#include "base/room.h"
#include "base/types.h"

struct cpu;

/* Why cpu_run() returned. */
enum cpu_stop {
	CPU_STOP_BUDGET,    /* the block budget is used up; nothing else happened */
	CPU_STOP_EVENT,	    /* ops->land() or a callback asked to stop (cpu_request_stop()) */
	CPU_STOP_WINDOW,    /* a window the caller asked for (want_irq/nmi_window) is open */
	CPU_STOP_INTERCEPT, /* cpu->exit describes the instruction or the exception; not executed */
	CPU_STOP_HALT,	    /* HLT retired (not intercepted): cpu->halted is set */
	CPU_STOP_SHUTDOWN,  /* triple fault */
	CPU_STOP_UNIMPLEMENTED, /* cpu->exit has the bytes; RIP is at the instruction */
	CPU_STOP_SIPI,		/* it waits to be started: cpu_init_reset() */
};

/* What kind of instruction an intercept or an unimplemented stop is about. */
enum cpu_insn {
	CPU_INSN_NONE,
	CPU_INSN_CPUID,
	CPU_INSN_RDMSR,
	CPU_INSN_WRMSR,
	CPU_INSN_RDPMC,
	CPU_INSN_HLT,
	CPU_INSN_IN,
	CPU_INSN_OUT,
	CPU_INSN_VMCALL,
	CPU_INSN_WORK, /* an exit that the work profile asks for; see .reason */
	CPU_INSN_MOV_DR,
	CPU_INSN_EXCEPTION, /* not an instruction: an exception that is intercepted; see .vector */
};

struct cpu_exit {
	enum cpu_insn insn;
	u8 len;		   /* bytes of the instruction */
	u8 size;	   /* IN, OUT: operand bytes */
	u16 port;	   /* IN, OUT */
	u32 msr;	   /* RDMSR, WRMSR: ECX; RDPMC: ECX */
	u64 value;	   /* WRMSR: EDX:EAX; OUT: the value */
	u32 reason;	   /* WORK: exit reason number of the profile */
	u8 vector;	   /* EXCEPTION */
	s32 error;	   /* EXCEPTION: its error code, -1: none */
	u64 dr6;	   /* EXCEPTION, #DB: the conditions that are met, not yet in DR6 */
	bool software;	   /* EXCEPTION: INT1, INT3 or INTO, .len long */
	u8 branches;	   /* what it is worth where the host completes it */
	u8 debug_register; /* MOV_DR: its number in the instruction */
	bool debug_write;  /* MOV_DR: to it */
	u64 rip;
	u8 bytes[15]; /* CPU_STOP_UNIMPLEMENTED: as many as could be fetched */
	u8 nr_bytes;
};

/*
 * What is intercepted, as a VMCS would say it. A NULL cpu->intercept means nothing is (native).
 * The MSR bitmaps cover 0..0x1fff, 0xc0000000..0xc0001fff and 0xc0010000..0xc0011fff (bit set:
 * intercepted); MSRs outside are always intercepted. MSRs that the CPU itself holds (EFER, STAR,
 * LSTAR, CSTAR, SFMASK, SYSENTER_CS/ESP/EIP, FS/GS/KERNEL_GS_BASE, TSC_AUX) are never intercepted.
 * Privilege checks come before the intercept: CPL 3 WRMSR is #GP(0) in the guest, no exit;
 * RDPMC with CPL > 0 and CR4.PCE = 0 likewise. VMCALL is #UD where it is not intercepted.
 * Only MOV DR exits before its checks of privilege and of CR4.DE.
 * An intercepted exception stops with RIP where it would be pushed; faults that come up while an event
 * is delivered are not intercepted.
 */
struct cpu_intercept {
	bool cpuid, hlt, rdpmc, io, vmcall, work, mov_dr;
	bool all_msrs;	/* whatever the bitmaps say */
	u32 exceptions; /* by vector */
	u64 msr_read[3 * 128];
	u64 msr_write[3 * 128];
};

void cpu_intercept_msr(struct cpu_intercept *in, u32 msr, bool read, bool write);
bool cpu_msr_intercepted(const struct cpu_intercept *in, u32 msr, bool write);

struct cpu_ops {
	/* Fill @room for privilege @priv. Asked again after land(), after a change of privilege, and
	 * after cpu_horizon_changed(). */
	void (*horizon)(void *ctx, enum privilege priv, struct cpu_room *room);
	/* A distance is used up. Return true to make cpu_run() return CPU_STOP_EVENT. */
	bool (*land)(void *ctx);
	/* Direct accesses. Return 0, or -1 for #GP(0); wrmsr also MSR_NOT_MODELLED (base/msr_access.h),
	 * which stops the run. Not called for MSRs the CPU holds itself. */
	int (*rdmsr)(void *ctx, u32 msr, u64 *value);
	int (*wrmsr)(void *ctx, u32 msr, u64 value);
	int (*rdpmc)(void *ctx, u32 ecx, u64 *value);
	u64 (*rdtsc)(void *ctx);
	/* regs = EAX, EBX, ECX, EDX of a leaf that is not intercepted. */
	void (*cpuid)(void *ctx, u32 leaf, u32 subleaf, u32 regs[4]);
	u32 (*in)(void *ctx, u16 port, unsigned int size);
	void (*out)(void *ctx, u16 port, unsigned int size, u32 value);
	/* Physical addresses outside RAM. */
	u64 (*mmio_read)(void *ctx, u64 pa, unsigned int size);
	void (*mmio_write)(void *ctx, u64 pa, unsigned int size, u64 value);
};

/* Timing model: costs in subcycles unless named otherwise. All from the CPU's TOML. */
struct cpu_timing {
	struct core_clock clock;
	u32 simple;	      /* move, ALU, LEA, taken-as-predicted branch */
	u32 load;	      /* added by a load */
	u32 store;	      /* added by a store */
	u32 multiply;	      /* and SSE and x87 arithmetic, conversions, comparisons */
	u32 divide;	      /* and their divisions, square roots, remainders */
	u32 locked;	      /* added by LOCK, XCHG with memory */
	u32 string_iteration; /* each iteration of a string instruction */
	u32 serialize;	      /* CPUID, fences that drain, IRET, far transfers, WRCR */
	u32 msr;	      /* RDMSR, WRMSR */
	u32 rdpmc;
	u32 rdtsc;
	u32 pause;
	u32 interrupt;	 /* delivery of an event through the IDT, counted at the new CPL */
	u32 branch_miss; /* added by a mispredicted branch */
	u32 llc_miss;	 /* added by a cold line */
};

#define CPU_MAX_PROFILES 16
#define CPU_MAX_PROFILE_EXITS 8

/* A work profile: rates per 2^20 instructions. rate[EVENT_CYCLES] is core cycles; other derived
 * events follow from it; rate[EVENT_INSTRUCTIONS] is not looked at (it is one each). */
struct cpu_profile {
	u64 id; /* the value of RAX that selects it */
	u64 rate[NR_EVENTS];
	u32 nr_exits;
	struct {
		u32 reason; /* KVM exit reason number, handed through */
		u64 rate;
	} exits[CPU_MAX_PROFILE_EXITS];
};

/* How far one profile has come; never reset, so that rates do not depend on cuts. */
struct cpu_profile_state {
	u64 n0;			/* instructions of this profile completed, emulated ones included */
	u64 counted[NR_EVENTS]; /* floor(n * rate / 2^20) already added to the totals */
	u64 exited[CPU_MAX_PROFILE_EXITS];
};

struct guest_ram {
	u8 *base;     /* host memory, zeroed, page aligned */
	u64 size;     /* bytes, a multiple of 4096; guest physical 0..size-1 */
	u64 *written; /* a bit a page: what the CPU may have written; NULL: nobody asks */
};

static inline void guest_ram_written(const struct guest_ram *ram, u64 pa)
{
	if (ram->written)
		ram->written[pa >> 18] |= BIT_ULL(pa >> 12 & 63);
}

struct cpu_config {
	struct guest_ram ram;
	struct cpu_timing timing;
	const struct cpu_ops *ops;
	void *ops_ctx;
	struct pp_check *check;
	const struct cpu_profile *profiles; /* kept by the caller */
	u32 nr_profiles;
	struct cpu *peer; /* another CPU on this RAM, NULL: the first one there */
	u32 id;		  /* APIC id, only for diagnostics */
	bool rtm;	  /* XBEGIN and its kin are instructions */
	bool one_by_one;  /* every iteration of loops that wait and of REP; nothing shows it */
};

enum cpu_reg {
	CPU_RAX,
	CPU_RCX,
	CPU_RDX,
	CPU_RBX,
	CPU_RSP,
	CPU_RBP,
	CPU_RSI,
	CPU_RDI,
	CPU_R8,
	CPU_R9,
	CPU_R10,
	CPU_R11,
	CPU_R12,
	CPU_R13,
	CPU_R14,
	CPU_R15,
};

struct cpu_segment {
	u64 base;
	u32 limit;
	u16 selector;
	u16 attr; /* descriptor bits 40..55: type, S, DPL, P, limit(0), AVL, L, D, G */
};

/* Architectural start state; everything else is as after reset. */
struct cpu_start {
	u64 rip, rsp, rdi, rflags;
	u64 rax, rbx;
	u64 cr0, cr3, cr4, efer;
	struct cpu_segment cs, ss, ds; /* ds serves ES, FS and GS too */
	u64 gdt_base, idt_base;
	u16 gdt_limit, idt_limit;
};

/* -1 when memory is short. The caller frees with cpu_free(). */
int cpu_new(struct cpu **out, const struct cpu_config *config);
void cpu_free(struct cpu *c);

/* Where a copy of a CPU lives: what it reaches there, and what its machine keeps for it. */
struct cpu_place {
	struct guest_ram ram; /* with the contents of the original's */
	const struct cpu_ops *ops;
	void *ops_ctx;
	struct pp_check *check;
	const struct cpu_profile *profiles; /* the same ones */
	const struct cpu_intercept *intercept;
	struct cpu *peer; /* as in struct cpu_config: a copy of a peer of the original */
};

/* Between runs: a CPU that goes on as @from would, down to its caches. -1 when memory is short. */
int cpu_clone(struct cpu **out, const struct cpu *from, const struct cpu_place *place);
/* Mark the pages that the CPU or a peer can write without marking them in guest_ram.written. */
void cpu_note_writable_pages(const struct cpu *c);
void cpu_start(struct cpu *c, const struct cpu_start *start);

/*
 * Run until something stops it. *budget is a number of basic blocks (a `work` chunk or a rep
 * string chunk counts as one); it is decremented, never below 0; the CPU stops with CPU_STOP_BUDGET
 * when it is 0. Runs at least one instruction unless *budget is 0, a pause is asked for or a window
 * is already open.
 */
enum cpu_stop cpu_run(struct cpu *c, u64 *budget);

/*
 * From another thread: cpu_run() returns CPU_STOP_BUDGET soon, with budget left, and does so at once
 * until cpu_forget_pause(). It may come at any boundary between two instructions.
 */
void cpu_ask_pause(struct cpu *c);
bool cpu_pause_asked(const struct cpu *c);
void cpu_forget_pause(struct cpu *c);

/* The totals, exact whenever the CPU is not inside cpu_run() or is inside a callback. */
const struct event_totals *cpu_totals(const struct cpu *c);

/* Instructions and branches that the host completed in the guest's place (cpu_skip_insn()). */
struct cpu_skipped {
	u64 instructions[NR_PRIV];
	u64 branches[NR_PRIV];
};
const struct cpu_skipped *cpu_skipped(const struct cpu *c);

const struct cpu_exit *cpu_exit_info(const struct cpu *c);

/* Ask for a stop (CPU_STOP_EVENT) at the next instruction boundary; from callbacks. */
void cpu_request_stop(struct cpu *c);
/* Distances given by ops->horizon() no longer hold; from callbacks or between runs. */
void cpu_horizon_changed(struct cpu *c);

/* ---- the other side of an intercept ---- */
/* Finish the intercepted instruction as done by the host: step RIP over it, count it as skipped.
 * For CPU_INSN_WORK one instruction of the RCX is done. Clears an interrupt shadow. */
void cpu_skip_insn(struct cpu *c);
/* The exception that exited is that of an instruction which the host does after all: from here on the
 * exit is about it, without operands, and cpu_skip_insn() finishes it. */
void cpu_exit_is_insn(struct cpu *c, enum cpu_insn insn, u8 len);
u64 cpu_reg(const struct cpu *c, enum cpu_reg reg);
void cpu_set_reg(struct cpu *c, enum cpu_reg reg, u64 value);
u64 cpu_rip(const struct cpu *c);
void cpu_set_rip(struct cpu *c, u64 rip);
/* RIP with the base of CS. */
u64 cpu_linear_rip(const struct cpu *c);
u64 cpu_cr4(const struct cpu *c);
u64 cpu_dr(const struct cpu *c, unsigned int n);
u64 cpu_rflags(const struct cpu *c);
bool cpu_single_steps(const struct cpu *c); /* RFLAGS.TF */
bool cpu_irqs_on(const struct cpu *c);	    /* RFLAGS.IF */
unsigned int cpu_cpl(const struct cpu *c);
void cpu_set_intercept(struct cpu *c, const struct cpu_intercept *in);

/* ---- an instruction that the host executes for the guest ---- */
enum cpu_emulated {
	CPU_EMULATED_DONE,  /* registers, memory and RIP are as after it; counted as skipped */
	CPU_EMULATED_FAULT, /* cpu_exit_info() has vector and error code; CR2 is set */
	CPU_EMULATED_HOST,  /* cpu_exit_info() says what the host has to do itself */
	CPU_EMULATED_UNIMPLEMENTED /* the guest CPU does not have it; the next cpu_run() says so */
};
/*
 * Between runs: do the instruction at RIP as an emulator in the host does. Nothing retires, no cycle
 * passes, nothing is counted but in cpu_skipped(), and the branch predictor learns nothing; lines that
 * it touches become warm. Other results than DONE leave RIP at the instruction. @branch: it is one.
 * CPUID, HLT, RDPMC, IN and OUT, VMCALL and MSRs that the CPU does not hold itself are left to the
 * host, to be finished with cpu_skip_insn(). `work` is the NOP that it is on silicon. A code breakpoint
 * at RIP is a fault, unless RFLAGS.RF is set; other breakpoints are not looked at. @step: RFLAGS.TF
 * asks for a single-step trap behind it.
 */
enum cpu_emulated cpu_emulate_insn(struct cpu *c, bool *branch, bool *step);
void cpu_clear_rf(struct cpu *c);

/* ---- events into the guest ---- */
bool cpu_can_take_irq(const struct cpu *c); /* IF set, no shadow */
bool cpu_can_take_nmi(const struct cpu *c); /* not blocked by an earlier NMI, no shadow */
/* Stop with CPU_STOP_WINDOW once cpu_can_take_irq()/nmi() becomes true. Cleared by the stop. */
void cpu_want_window(struct cpu *c, bool irq, bool nmi);
enum cpu_event_type { CPU_EVENT_IRQ, CPU_EVENT_NMI, CPU_EVENT_EXCEPTION };
/* The conditions of a #DB that is injected: update DR6, clear DR7.GD. */
void cpu_debug_exception(struct cpu *c, u64 dr6);
/* Deliver now through the guest's IDT, at the current instruction boundary; wakes from HLT. For
 * exceptions @error_code < 0 means none; the caller has checked cpu_can_take_*(). A fault during
 * delivery is handled as on hardware (#DF, then shutdown at the next cpu_run()). */
void cpu_inject(struct cpu *c, enum cpu_event_type type, unsigned int vector, int error_code);
bool cpu_halted(const struct cpu *c);

/* ---- the start of further CPUs ---- */
/*
 * INIT: the state that the architecture gives after it, with @signature (CPUID.1:EAX) in EDX. From here
 * on the CPU waits for SIPI: cpu_run() returns CPU_STOP_SIPI, and it takes no interrupt and no NMI.
 */
void cpu_init_reset(struct cpu *c, u32 signature);
/* SIPI: a CPU that waits goes on at @vector << 12 in real mode. Any other ignores it. */
void cpu_start_at_vector(struct cpu *c, u8 vector);
bool cpu_waits_for_sipi(const struct cpu *c);

/* The MSRs that live in the CPU: EFER, those of SYSCALL and SYSENTER, segment
 * bases, TSC_AUX. 0, or -1 for #GP(0):
 * reserved bits, an address that is not canonical, no such MSR. Does not look at intercepts. */
bool cpu_owns_msr(u32 msr);
int cpu_rdmsr(const struct cpu *c, u32 msr, u64 *value);
int cpu_wrmsr(struct cpu *c, u32 msr, u64 value);

/* IBPB: forget branch predictions. */
void cpu_forget_branches(struct cpu *c);
/* Copy from guest-virtual or guest-physical memory; -1 if not mapped. Charges nothing. */
int cpu_read_virtual(struct cpu *c, u64 va, void *to, size_t n);
int cpu_read_physical(const struct cpu *c, u64 pa, void *to, size_t n);

#endif /* CPU_CPU_H_ */
