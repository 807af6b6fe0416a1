/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the private insides of struct cpu, and what an instruction is once decoded.
 *
 * Interface
 *  - Only files in csrc/cpu include this; everybody else uses cpu.h.
 *  - Fields are grouped by who may change them; see the comments.
 *
 * Threaded code: each handler does one instruction and calls the next one's handler as its last
 * act (NEXT_INSN), which the compiler turns into a jump. A block ends with an instruction that sets
 * RIP and returns: a branch, or the sentinel op_end_of_block().
 */
#ifndef CPU_STATE_H_
#define CPU_STATE_H_

#include <setjmp.h>
#include <stdatomic.h>

#include "cpu/cpu.h"
#include "cpu/fpu.h"

#define PAGE_BYTES 4096ull
#define PAGE_MASK (~(PAGE_BYTES - 1))
#define LINE_SHIFT 6
#define LINE_BYTES 64u

/* ---- RFLAGS, control registers, EFER ---- */
#define FLAG_CF BIT_ULL(0)
#define FLAG_FIXED BIT_ULL(1)
#define FLAG_PF BIT_ULL(2)
#define FLAG_AF BIT_ULL(4)
#define FLAG_ZF BIT_ULL(6)
#define FLAG_SF BIT_ULL(7)
#define FLAG_TF BIT_ULL(8)
#define FLAG_IF BIT_ULL(9)
#define FLAG_DF BIT_ULL(10)
#define FLAG_OF BIT_ULL(11)
#define FLAG_IOPL (3ull << 12)
#define FLAG_NT BIT_ULL(14)
#define FLAG_RF BIT_ULL(16)
#define FLAG_VM BIT_ULL(17)
#define FLAG_AC BIT_ULL(18)
#define FLAG_ID BIT_ULL(21)
#define FLAGS_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE BIT_ULL(0)
#define CR0_MP BIT_ULL(1)
#define CR0_EM BIT_ULL(2)
#define CR0_TS BIT_ULL(3)
#define CR0_ET BIT_ULL(4)
#define CR0_NE BIT_ULL(5)
#define CR0_WP BIT_ULL(16)
#define CR0_AM BIT_ULL(18)
#define CR0_NW BIT_ULL(29)
#define CR0_CD BIT_ULL(30)
#define CR0_PG BIT_ULL(31)

#define CR4_TSD BIT_ULL(2)
#define CR4_DE BIT_ULL(3)
#define CR4_PSE BIT_ULL(4)
#define CR4_PAE BIT_ULL(5)
#define CR4_PGE BIT_ULL(7)
#define CR4_PCE BIT_ULL(8)
#define CR4_OSFXSR BIT_ULL(9)
#define CR4_OSXMMEXCPT BIT_ULL(10)
#define CR4_FSGSBASE BIT_ULL(16)
#define CR4_SMEP BIT_ULL(20)

#define EFER_SCE BIT_ULL(0)
#define EFER_LME BIT_ULL(8)
#define EFER_LMA BIT_ULL(10)
#define EFER_NXE BIT_ULL(11)

/* What else a #DB reports; bits 0 to 3 are the breakpoints. */
#define DR6_BD BIT_ULL(13)
#define DR6_BS BIT_ULL(14)

enum vector {
	VECTOR_DE = 0,
	VECTOR_DB = 1,
	VECTOR_NMI = 2,
	VECTOR_BP = 3,
	VECTOR_OF = 4,
	VECTOR_BR = 5,
	VECTOR_UD = 6,
	VECTOR_NM = 7,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
	VECTOR_MF = 16,
	VECTOR_AC = 17,
	VECTOR_XM = 19,
};
#define NO_ERROR_CODE (-1)

enum segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEGS, SEG_NONE = NR_SEGS };

/* Descriptor attributes as in struct cpu_segment: descriptor bits 40..55. */
#define ATTR_ACCESSED BIT_ULL(0)
#define ATTR_WRITABLE BIT_ULL(1)   /* data */
#define ATTR_READABLE BIT_ULL(1)   /* code */
#define ATTR_CONFORMING BIT_ULL(2) /* code */
#define ATTR_CODE BIT_ULL(3)
#define ATTR_NOT_SYSTEM BIT_ULL(4)
#define ATTR_PRESENT BIT_ULL(7)
#define ATTR_LONG BIT_ULL(13)
#define ATTR_DEFAULT32 BIT_ULL(14)
#define ATTR_GRANULAR BIT_ULL(15)
#define ATTR_DPL(attr) ((attr) >> 5 & 3)

/* ---- decoded instructions ---- */

struct insn;
typedef void insn_fn(struct cpu *c, const struct insn *i);

#define INSN_MEM BIT_ULL(0)	   /* the r/m operand is memory */
#define INSN_STACK_READ BIT_ULL(1) /* reads go to SS: non-canonical is #SS, not #GP */
#define INSN_IMM BIT_ULL(2)	   /* the count or second source is the immediate */
#define INSN_REP BIT_ULL(3)
#define INSN_REPNE BIT_ULL(4)
#define INSN_ADDR32 BIT_ULL(5)	    /* 32-bit addresses; LOOP*, JRCXZ: by ECX */
#define INSN_STORE BIT_ULL(6)	    /* the other direction: register to CR, DR, memory */
#define INSN_STACK_WRITE BIT_ULL(7) /* writes go to SS */
/*
 * No instruction reads, or writes, both its operand and the stack behind its back, so that one flag
 * for each direction tells an operand in DS from a stack access of the same instruction.
 */
#define INSN_STACK (INSN_STACK_READ | INSN_STACK_WRITE)

/* Pseudo registers behind the sixteen real ones. */
#define REG_ZERO 16
#define REG_ADDRESS 17 /* set by op_address() for the instruction behind it */
#define NR_REGS 18

struct insn {
	insn_fn *fn;
	u64 imm;	       /* immediate; branch target; end of the block (sentinel) */
	s64 disp;	       /* displacement, RIP-relative ones made absolute; direct branches:
				 * the next instruction's address */
	u32 sub;	       /* static cost, subcycles */
	u16 offset;	       /* bytes from the start of the block */
	u8 len;		       /* bytes */
	u8 flags;	       /* INSN_* */
	u8 base, index, scale; /* address = regs[base] + (regs[index] << scale) + disp */
	u8 reg, rm;	       /* byte offsets into regs[] of the register operands */
	u8 size;	       /* operand size: 0..3 for 1, 2, 4, 8 bytes */
	u8 op;		       /* which of a handler's operations; op_address(): the segment */
	u8 instructions;       /* 1; 0 for op_address() and the sentinel */
	u8 branches, loads, stores; /* static counts */
};

#define NEXT_INSN(c, i) ((i)[1].fn((c), (i) + 1))

/* Static counts of one instruction or of a block: EVENT_INSTRUCTIONS.._STORES, 16 bits each. */
#define PACKED_BITS 16
#define PACKED_EVENTS 4

static __always_inline u64 insn_counts(const struct insn *i)
{
	return i->instructions | (u64)i->branches << PACKED_BITS |
	       (u64)i->loads << (2 * PACKED_BITS) | (u64)i->stores << (3 * PACKED_BITS);
}

static __always_inline u64 packed_count(u64 counts, unsigned int event)
{
	return counts >> (event * PACKED_BITS) & ((1u << PACKED_BITS) - 1);
}

/* How often @each can be added to @total, which is below @limit, without reaching it. */
static inline u64 times_that_fit(u64 limit, u64 total, u64 each)
{
	return each ? (limit - total - 1) / each : ~0ull;
}

/* ---- memory ---- */

/*
 * A tag is the page's virtual address. Fast paths compare it to the address with the alignment
 * bits of the access kept, so that an unaligned access never matches and goes the slow path.
 */
struct tlb_entry {
	u64 read_tag, write_tag; /* TLB_EMPTY: no fast access; code pages have no write_tag */
	u64 addend;		 /* host address = virtual address + addend */
	u64 *warm;		 /* warm lines of the physical page */
};
#define TLB_EMPTY (~0ull)
#define TLB_ENTRIES 512u
#define TLB_FILLED_MAX 64u

struct tlb {
	struct tlb_entry entry[TLB_ENTRIES];
	u32 nr_filled; /* fills since the last flush; above TLB_FILLED_MAX: clear all */
	u16 filled[TLB_FILLED_MAX];
};

struct fetch_tlb_entry {
	u64 page, pa;
	u64 map; /* cpu->map in which it is valid */
};
#define FETCH_TLB_ENTRIES 128u

/* ---- branch prediction ---- */

#define PREDICT_COUNTERS 4096u
#define PREDICT_TARGETS 512u
#define PREDICT_RETURNS 16u

struct predictor {
	u8 counter[PREDICT_COUNTERS]; /* 0, 1: not taken; 2, 3: taken */
	u64 target[PREDICT_TARGETS];  /* of indirect jumps and calls; 0: unknown */
	u64 returns[PREDICT_RETURNS];
	u32 top;
};

/* ---- blocks ---- */

#define BLOCK_MAX_INSNS 32u
#define BLOCK_HASH 32768u
/* Memory of a pool is the host's only once a guest has needed it. */
#define BLOCK_POOL 65536u
#define INSN_POOL (512u * 1024u)
#define JUMP_CACHE 4096u

struct block; /* block.h */

/* Why an instruction left the normal path; see run.c. */
enum escape {
	ESCAPE_FAULT = 1, /* cpu->fault is to be delivered */
	ESCAPE_ALONE,	  /* abandon the block here, execute this instruction by itself */
	ESCAPE_STOP,	  /* cpu->stop is to be returned; nothing changed */
};

/* What became of the instruction that was executed alone. */
enum outcome {
	OUTCOME_RETIRED,
	OUTCOME_PROGRESS, /* a part of a rep string or of work: not counted, RIP is right */
	OUTCOME_STOPPED,  /* cpu->stop is to be returned; nothing changed */
};

struct fault {
	u8 vector;
	s32 error; /* NO_ERROR_CODE */
	u64 dr6;   /* #DB: the conditions */
};

struct event {
	u8 vector;
	s32 error;     /* NO_ERROR_CODE */
	bool software; /* INT n: the gate's DPL is looked at, error codes have EXT clear */
	bool fault;    /* RF is set in the flags that are pushed */
	u64 dr6;       /* #DB: the conditions */
};

struct descriptor_table {
	u64 base;
	u32 limit;
	u16 selector; /* LDTR, TR */
};

/* Iterations of a rep string that are one block of the budget. */
#define REP_CHUNK 65536u

#define SHADOW_STI 1u
#define SHADOW_MOV_SS 2u

struct cpu {
	/* Guest-visible, hot. */
	u64 regs[NR_REGS];
	u64 rip;		    /* exact between blocks; inside one: where the block started */
	u64 result, carries, delta; /* lazy flags, see flags.h */
	u64 flags;		    /* RFLAGS without the arithmetic flags */

	/* The stretch of blocks that is running; run.c. */
	struct tlb_entry *tlb; /* of the current privilege */
	struct block *block;   /* being executed */
	u64 pending_counts;    /* static counts not yet in totals, packed */
	u64 pending_sub;
	u64 fuel;	     /* blocks left, the current one included */
	s64 slack_sub;	     /* subcycles that branch misses and cold lines may still use */
	u64 map;	     /* generation of virtual-to-physical mappings, of modes and blocks */
	enum privilege priv; /* of cpl */
	enum privilege pending_priv; /* what pending_* belong to */
	bool alone;		     /* one instruction is executed by itself, totals are exact */

	/* Counting. */
	struct event_totals totals;
	struct cpu_skipped skipped;

	/* Limits, from ops->horizon(). */
	u64 limit[NR_EVENTS]; /* of totals.count[limit_priv]; ~0 unless watched */
	u32 watched;	      /* bit e: event e has a limit */
	u64 limit_sub;
	enum privilege limit_priv;
	bool limits_valid;
	bool must_land; /* a delivery has charged another privilege than the limits' */

	/* Leaving cpu_run(). */
	u64 budget;
	enum cpu_stop stop;
	enum outcome outcome;
	bool stop_requested;
	atomic_bool pause_asked; /* the one field that another thread may write */
	struct cpu_exit exit;
	jmp_buf *escape; /* where faults go: the frame of cpu_run() or of a delivery */
	const struct insn *escape_insn; /* NULL: not inside a block */
	struct fault fault;
	struct event delivery; /* the event on its way through the IDT */

	/* Where the next instruction is known to be, or NULL. */
	struct block *resume_block;
	u32 resume_index;
	bool force_alone;
	bool between_iterations; /* of a rep string or work: what is delivered here pushes RF */

	/* Interrupts. */
	bool halted, shutdown, nmi_blocked;
	bool waits_for_sipi;
	bool unimplemented; /* a delivery or fetch could not be done */
	bool wrong_mode;    /* started in a mode that is not implemented */
	u8 shadow, next_shadow;
	bool want_irq, want_nmi;

	/* Debug exceptions; debug.c. */
	u8 code_breakpoints, data_breakpoints, port_breakpoints; /* enabled ones, a bit each */
	u8 hits;	 /* breakpoints that the instruction executed alone has met */
	bool stepping;	 /* a single-step trap is due behind it */
	u64 debug_traps; /* DR6 bits of the #DB that is due at the boundary */

	/* Guest-visible, system. */
	u8 cpl;
	u8 code_size;  /* of CS, log2 of bytes: 1, 2, 3 for 16-, 32-, 64-bit code */
	bool legacy;   /* code_size < 3: real and protected mode, compatibility mode */
	u64 code_base; /* linear address = RIP + code_base; 0 in 64-bit code */
	struct cpu_segment seg[NR_SEGS];
	struct descriptor_table gdt, idt, ldt, tr;
	u64 cr0, cr2, cr3, cr4, cr8;
	u64 pdpte[4]; /* of PAE paging */
	u64 dr[8];
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u32 tsc_aux;
	struct fpu fpu;

	/* The world. */
	struct guest_ram ram;
	struct cpu_timing timing;
	const struct cpu_ops *ops;
	void *ctx;
	struct pp_check *check;
	const struct cpu_intercept *intercept;
	u32 id;
	bool rtm;

	/* Many iterations at once; idle.h, string_bulk.c. */
	bool one_by_one;  /* never */
	u64 idle_skipped; /* iterations of loops that wait that were not executed; for tests */

	/* Work profiles. */
	const struct cpu_profile *profiles;
	u32 nr_profiles;
	u32 exit_profile, exit_index; /* of the intercepted work exit */
	struct cpu_profile_state profile_state[CPU_MAX_PROFILES];

	/* Caches; none of them changes what the guest sees or what is counted. */
	struct tlb tlbs[NR_PRIV];
	struct fetch_tlb_entry fetch_tlb[NR_PRIV][FETCH_TLB_ENTRIES];
	struct block *jump_cache[NR_PRIV][JUMP_CACHE];
	struct block *no_block; /* matches no address; what links and caches start with */
	struct block *blocks;	/* BLOCK_POOL */
	struct insn *insns;	/* INSN_POOL */
	u32 nr_blocks, nr_insns;
	struct block *hash[BLOCK_HASH];
	u16 *write_tags; /* per physical page: 1 + the one TLB entry that may have one; 0; many */
	struct block **page_blocks; /* per physical page: list of its blocks */
	u64 *code_lines;       /* per physical page: lines that may hold decoded code; all peers' */
	struct cpu *next_peer; /* on the same RAM, a ring; alone: itself */
	u32 worst_loads, worst_stores; /* of any block so far */
	u64 worst_sub;
	bool worst_grew;	/* since fuel was computed */
	struct insn scratch[3]; /* an instruction that is executed alone */

	/* Timing model. */
	u64 *warm_lines; /* per physical page: lines that have been touched */
	struct predictor predictor;
};

/* ---- run.c: the one non-local exit ---- */
_Noreturn void cpu_escape(struct cpu *c, const struct insn *i, enum escape why);
_Noreturn void raise_fault(struct cpu *c, const struct insn *i, enum vector vector, s32 error);
_Noreturn void raise_page_fault(struct cpu *c, const struct insn *i, u64 va, u32 error);
_Noreturn void stop_unimplemented(struct cpu *c, const struct insn *i);
/* Leave the stretch after the current block. */
void end_stretch(struct cpu *c);
/* One instruction of @b by itself; c->outcome says what became of it. Counts nothing static. */
const struct insn *execute_alone(struct cpu *c, struct block *b, u32 index);
/* Some limit of the current privilege is used up. */
bool cpu_limit_reached(const struct cpu *c);

/* ---- cpu.c ---- */
void set_cpl(struct cpu *c, unsigned int cpl);
/* As cpu_start(), but for what INIT leaves alone: MSRs other than EFER, x87 and SSE registers. */
void load_start_state(struct cpu *c, const struct cpu_start *start);

/* ---- legacy.c ---- */
/* CS, EFER.LMA have changed: 16-, 32- or 64-bit code from here on. */
void update_code_mode(struct cpu *c);
void load_code_segment(struct cpu *c, const struct cpu_segment *cs, u64 rip);

/* ---- interrupt.c ---- */
/* Go through the IDT at once; c->rip is what is pushed. Faults escape with nothing changed. */
void enter_gate(struct cpu *c, const struct insn *i, const struct event *event, u64 return_rip);
/* As enter_gate(), with double faults and shutdown. For the boundary between instructions. */
void deliver_event(struct cpu *c, const struct event *event);
/* Deliver an exception. False if it is intercepted: c->stop and c->exit say so. */
bool raise_exception(struct cpu *c, const struct event *event);
bool exception_intercepted(const struct cpu *c, unsigned int vector);
/* The instruction raises an exception that is intercepted: stop at it. */
void stop_for_software_exception(struct cpu *c, const struct insn *i, enum vector vector);
/* Privilege that the gate's code segment runs at. */
unsigned int gate_cpl(struct cpu *c, const struct insn *i, u16 selector, u32 ext);
/* The cost of a delivery falls on the new privilege, whose limits may not be known yet. */
void charge_delivery(struct cpu *c);
/* On return to a lower privilege, data segments that it must not use become null. */
void drop_privileged_segments(struct cpu *c, unsigned int cpl);
u64 writable_flags(const struct cpu *c);

/* ---- interrupt32.c ---- */
void enter_gate32(struct cpu *c, const struct insn *i, const struct event *event, u64 return_rip);

/* ---- real.c ---- */
/* What loading @selector into segment register @s makes of it in real mode. */
struct cpu_segment real_segment(const struct cpu *c, unsigned int s, u16 selector);
void enter_vector_real(struct cpu *c, const struct insn *i, const struct event *event,
		       u64 return_rip);
void iret_real(struct cpu *c, const struct insn *i);

/* ---- debug.c ---- */
/* DR0-DR3, DR7 or CR4.DE have changed. */
void update_breakpoints(struct cpu *c);
/* Whether the page has a data breakpoint. */
bool page_is_watched(const struct cpu *c, u64 va);
/* A data access, before it is made: note what it hits; see c->hits. */
void watch_access(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes, bool write);
void watch_port(struct cpu *c, u16 port, unsigned int bytes);
/* DR6 bits of the code breakpoints at RIP; 0 where they are held off. */
u64 code_breakpoints_hit(const struct cpu *c);
/* The instruction executed alone is over: what it met is due. */
void collect_debug_traps(struct cpu *c);
/* As raise_exception(), for what is due. */
bool raise_debug_traps(struct cpu *c);

/* ---- segment.c ---- */
u64 read_descriptor(struct cpu *c, const struct insn *i, u16 selector, enum vector vector,
		    u32 error, u64 *high);
struct cpu_segment segment_from_descriptor(u16 selector, u64 descriptor);
/* A present code segment that CPL @cpl may run in, or a fault. */
struct cpu_segment check_code_segment(struct cpu *c, const struct insn *i, u16 selector,
				      unsigned int cpl, u32 ext);
/* #GP(@ext) unless @offset is one that code in @cs can have. */
void check_code_offset(struct cpu *c, const struct insn *i, const struct cpu_segment *cs,
		       u64 offset, u32 ext);
struct cpu_segment check_stack_segment(struct cpu *c, const struct insn *i, u16 selector,
				       unsigned int cpl);

/* ---- system.c ---- */
/* #GP unless the I/O privilege level or the TSS allow @port. */
void require_port(struct cpu *c, const struct insn *i, u16 port, unsigned int bytes);

/* ---- work.c ---- */
void work_skip_one(struct cpu *c);

/* Nothing stops the guest: no event is watched, no time is due. */
static inline void no_limits(struct cpu *c)
{
	for (unsigned int e = 0; e < NR_EVENTS; e++)
		c->limit[e] = ~0ull;
	c->watched = 0;
	c->limit_sub = ~0ull;
}

/* ---- cpu.c ---- */
void join_peers(struct cpu *c, struct cpu *peer);

static inline bool real_mode(const struct cpu *c)
{
	return !(c->cr0 & CR0_PE);
}

static __always_inline bool is_canonical(u64 va)
{
	return (u64)((s64)(va << 16) >> 16) == va;
}

#endif /* CPU_STATE_H_ */
