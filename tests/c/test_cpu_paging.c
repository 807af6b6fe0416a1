// SPDX-License-Identifier: Apache-2.0
/*
 * test_cpu_paging.c - paging outside long mode: 32-bit and PAE paging against a walk that is written
 * here from the manual, over random tables; PDPTEs as registers; switches between the two.
 *
 * The first 4 MB are identity-mapped, for the kernel but for two pages. What is probed lies above.
 */
#include "test_cpu_guest.h"

#define ROOT_AT 0x1000u /* page directory, or the four PDPTEs */
#define PD_OF(n) (0x2000u + (n) * 0x1000u)
#define IDENTITY_AT 0x6000u
#define TABLES_AT 0x200000u
#define TABLES 32u
#define FRAMES_AT 0x400000u /* what pages above 4 MB are: the second half of RAM */
#define CODE32_CS 0x38
#define USER_CODE32_CS 0x4b

#define PAGE_P 1u
#define PAGE_W 2u
#define PAGE_U 4u
#define PAGE_A 0x20u
#define PAGE_D 0x40u
#define PAGE_PS 0x80u
#define NX (1ull << 63)

#define CR0_WP_BIT 0x10000u
#define CR4_PSE_BIT 0x10u
#define CR4_PAE_BIT 0x20u
#define CR4_SMEP_BIT 0x100000u
#define EFER_NXE_BIT 0x800u

static u64 seed = 0x9e3779b97f4a7c15ull;

static u32 random32(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (u32)(seed >> 16);
}

static bool one_in(u32 n)
{
	return random32() % n == 0;
}

/* ---- a 32-bit guest ---- */

CODE(kernel_read, ".code32\n movl (%ebx), %ecx\n movl $1, %edi\n hlt\n .code64");
CODE(kernel_write, ".code32\n movl %eax, (%ebx)\n movl $1, %edi\n hlt\n .code64");
CODE(kernel_jump, ".code32\n jmp *%ebx\n .code64");
CODE(to_user, ".code32\n movw $0x28, %dx\n ltr %dx\n pushl $0x1b\n pushl $0xb0000\n pushl $2\n"
	      "pushl $0x4b\n pushl %ebp\n iretl\n .code64");
CODE(user_read, ".code32\n movl (%ebx), %ecx\n int3\n .code64");
CODE(user_write, ".code32\n movl %eax, (%ebx)\n int3\n .code64");
CODE(on_page_fault, ".code32\n popl %esi\n movl %cr2, %edx\n movl $14, %edi\n hlt\n .code64");
CODE(on_protection, ".code32\n popl %esi\n popl %ebp\n movl $13, %edi\n hlt\n .code64");
CODE(on_breakpoint, ".code32\n movl $1, %edi\n hlt\n .code64");

#define CODE_STEP 0x40u /* from one of the pieces to the next */

static void gate32(struct guest *g, unsigned int vector, u64 handler, unsigned int type)
{
	guest_set(g, IDT_AT + vector * 8,
		  (handler & 0xffff) | (u64)CODE32_CS << 16 | (u64)type << 40 |
			  (handler >> 16) << 48);
}

static void set32(struct guest *g, u64 pa, u32 v)
{
	memcpy(g->ram + pa, &v, sizeof(v));
}

static u32 get32(const struct guest *g, u64 pa)
{
	u32 v;

	memcpy(&v, g->ram + pa, sizeof(v));
	return v;
}

static struct guest *paged_new(void)
{
	struct guest *g = guest_new();

	guest_set(g, GDT_AT + CODE32_CS, 0x00cf9b000000ffffull);
	guest_set(g, GDT_AT + (USER_CODE32_CS & ~3), 0x00cffb000000ffffull);
	guest_set(g, TSS_AT + 4, RSP0_TOP | (u64)KERNEL_SS << 32);
	guest_code(g, CODE_AT, kernel_read);
	guest_code(g, CODE_AT + CODE_STEP, kernel_write);
	guest_code(g, CODE_AT + 2 * CODE_STEP, kernel_jump);
	guest_code(g, CODE_AT + 3 * CODE_STEP, to_user);
	guest_code(g, USER_AT, user_read);
	guest_code(g, USER_AT + CODE_STEP, user_write);
	guest_code(g, HANDLER_AT, on_page_fault);
	guest_code(g, HANDLER_AT + CODE_STEP, on_protection);
	guest_code(g, HANDLER_AT + 2 * CODE_STEP, on_breakpoint);
	gate32(g, 14, HANDLER_AT, 0x8e);
	gate32(g, 13, HANDLER_AT + CODE_STEP, 0x8e);
	gate32(g, 3, HANDLER_AT + 2 * CODE_STEP, 0xee);
	g->start.cr0 = 0x80000011;
	g->start.cr3 = ROOT_AT;
	g->start.cr4 = g->start.efer = 0;
	g->start.cs = (struct cpu_segment){0, ~0u, CODE32_CS, 0xc09b};
	g->start.gdt_limit = 0x4f;
	return g;
}

static bool is_user_page(u32 page)
{
	return page == USER_AT >> 12 || page == (USER_STACK_TOP >> 12) - 1;
}

static void map_identity(struct guest *g, bool pae)
{
	memset(g->ram + ROOT_AT, 0, IDENTITY_AT + 0x2000 - ROOT_AT);
	for (u32 page = 0; page < 1024; page++) {
		u32 entry = page << 12 | PAGE_P | PAGE_W | PAGE_A | PAGE_D |
			    (is_user_page(page) ? PAGE_U : 0);

		if (pae)
			guest_set(g, IDENTITY_AT + 8 * page, entry);
		else
			set32(g, IDENTITY_AT + 4 * page, entry);
	}
	if (!pae) {
		set32(g, ROOT_AT, IDENTITY_AT | 0x27);
		return;
	}
	guest_set(g, ROOT_AT, PD_OF(0) | PAGE_P);
	guest_set(g, PD_OF(0), IDENTITY_AT | 0x27);
	guest_set(g, PD_OF(0) + 8, (IDENTITY_AT + 0x1000) | 0x27);
}

/* ---- random tables ---- */

static u32 random_rights(void)
{
	/* P, W and U more often than not, so that both outcomes of every check come up. */
	return (one_in(8) ? 0 : PAGE_P) | (one_in(4) ? 0 : PAGE_W) | (one_in(4) ? 0 : PAGE_U) |
	       (random32() & 0xe78); /* PWT, PCD, A, D, G and the free bits; not PS */
}

static u32 random_frame(void)
{
	return FRAMES_AT + ((random32() & 0x3ff) << 12);
}

/* Directory entries 1..15, and the tables behind them. */
static void randomize32(struct guest *g)
{
	map_identity(g, false);
	for (u32 k = 1; k < 16; k++) {
		u32 entry = TABLES_AT + k * 0x1000;

		if (one_in(3))
			entry = FRAMES_AT | PAGE_PS | (one_in(8) ? 1u << 21 : 0);
		set32(g, ROOT_AT + 4 * k, entry | random_rights());
		for (u32 n = 0; n < 1024; n++)
			set32(g, TABLES_AT + k * 0x1000 + 4 * n,
			      random_frame() | random_rights() | (random32() & PAGE_PS));
	}
	/* With PSE clear, a large page's entry is a table. */
	for (u32 n = 0; n < 1024; n++) {
		set32(g, FRAMES_AT + 4 * n, random_frame() | random_rights());
		set32(g, FRAMES_AT + 0x200000 + 4 * n, random_frame() | random_rights());
	}
}

static u64 random_high(void)
{
	return (one_in(4) ? NX : 0) | (one_in(32) ? 1ull << (52 + random32() % 11) : 0);
}

/* Entries 2..9 of each of four directories, and the tables behind them. */
static void randomize_pae(struct guest *g)
{
	map_identity(g, true);
	for (u32 d = 0; d < 4; d++) {
		if (d)
			guest_set(g, ROOT_AT + 8 * d,
				  PD_OF(d) | (random32() & 0xe18) | (one_in(8) ? 0 : PAGE_P));
		for (u32 k = 2; k < 10; k++) {
			u64 table = TABLES_AT + (d * 8 + k - 2) * 0x1000;
			u64 entry = table;

			if (one_in(3))
				entry = (FRAMES_AT + (random32() & 0x200000)) | PAGE_PS |
					(one_in(8) ? 1u << (13 + random32() % 8) : 0);
			guest_set(g, PD_OF(d) + 8 * k, entry | random_rights() | random_high());
			for (u32 n = 0; n < 512; n++)
				guest_set(g, table + 8 * n,
					  random_frame() | random_rights() | random_high() |
						  (random32() & PAGE_PS));
		}
	}
}

/* ---- the manual's walk ---- */

enum kind { READ, WRITE, FETCH };

struct probe {
	u32 va;
	enum kind kind;
	bool user, pae, wp, pse, smep, nxe;
};

struct outcome {
	bool fault;
	u32 error;
	u64 pa;
	u64 entry_at[2]; /* that were used, 0 for none */
};

/* Error code bits: 0 P, 1 W/R, 2 U/S, 3 RSVD, 4 I/D. */
static struct outcome fault(const struct probe *p, u32 bits)
{
	bool id = p->kind == FETCH && ((p->pae && p->nxe) || p->smep);

	return (struct outcome){.fault = true,
				.error = bits | (p->kind == WRITE) << 1 | (u32)p->user << 2 |
					 (u32)id << 4};
}

static struct outcome check_rights(const struct probe *p, u64 both, u64 either, struct outcome ok)
{
	bool forbidden = false;

	if (p->user && !(both & PAGE_U))
		forbidden = true;
	if (p->kind == WRITE && !(both & PAGE_W) && (p->user || p->wp))
		forbidden = true;
	if (p->kind == FETCH && (either & NX))
		forbidden = true;
	if (p->kind == FETCH && !p->user && p->smep && (both & PAGE_U))
		forbidden = true;
	return forbidden ? fault(p, 1) : ok;
}

static struct outcome walk32(const struct guest *g, const struct probe *p)
{
	u64 pde_at = ROOT_AT + (p->va >> 22) * 4;
	u32 pde = get32(g, pde_at), pte;
	u64 pte_at;

	if (!(pde & PAGE_P))
		return fault(p, 0);
	if ((pde & PAGE_PS) && p->pse) {
		if (pde & 1u << 21)
			return fault(p, 9);
		return check_rights(p, pde, 0,
				    (struct outcome){.pa = (pde & 0xffc00000) + (p->va & 0x3fffff),
						     .entry_at = {pde_at}});
	}
	pte_at = (pde & 0xfffff000) + (p->va >> 12 & 0x3ff) * 4;
	pte = get32(g, pte_at);
	if (!(pte & PAGE_P))
		return fault(p, 0);
	return check_rights(p, pde & pte, 0,
			    (struct outcome){.pa = (pte & 0xfffff000) + (p->va & 0xfff),
					     .entry_at = {pde_at, pte_at}});
}

static bool reserved_pae(const struct probe *p, u64 entry)
{
	return (entry & NX && !p->nxe) || entry << 1 >> 53;
}

static struct outcome walk_pae(const struct guest *g, const struct probe *p)
{
	u64 pdpte = guest_get(g, ROOT_AT + (p->va >> 30) * 8);
	u64 pde_at = (pdpte & 0xffffff000ull) + (p->va >> 21 & 0x1ff) * 8;
	u64 pde, pte, pte_at;

	if (!(pdpte & PAGE_P))
		return fault(p, 0);
	pde = guest_get(g, pde_at);
	if (!(pde & PAGE_P))
		return fault(p, 0);
	if (reserved_pae(p, pde) || ((pde & PAGE_PS) && (pde & 0x1fe000)))
		return fault(p, 9);
	if (pde & PAGE_PS)
		return check_rights(
			p, pde, pde,
			(struct outcome){.pa = (pde & 0xfffe00000ull) + (p->va & 0x1fffff),
					 .entry_at = {pde_at}});
	pte_at = (pde & 0xffffff000ull) + (p->va >> 12 & 0x1ff) * 8;
	pte = guest_get(g, pte_at);
	if (!(pte & PAGE_P))
		return fault(p, 0);
	if (reserved_pae(p, pte))
		return fault(p, 9);
	return check_rights(p, pde & pte, pde | pte,
			    (struct outcome){.pa = (pte & 0xffffff000ull) + (p->va & 0xfff),
					     .entry_at = {pde_at, pte_at}});
}

/* ---- probes ---- */

static struct probe random_probe(bool pae)
{
	struct probe p = {
		.kind = (enum kind)(random32() % 3),
		.user = one_in(2),
		.pae = pae,
		.wp = one_in(2),
		.pse = one_in(2),
		.smep = one_in(2),
		.nxe = !one_in(3),
	};

	if (pae)
		p.va = random32() << 30 | (2 + (random32() & 7)) << 21 | (random32() & 0x1ffffc);
	else
		p.va = (1 + random32() % 15) << 22 | (random32() & 0x3ffffc);
	return p;
}

static void start_probe(struct guest *g, const struct probe *p, u32 value)
{
	u64 entry = CODE_AT + (p->user ? 3 : (unsigned int)p->kind) * CODE_STEP;

	guest_set(g, GDT_AT + TSS_SELECTOR, 0x0000890000000067ull | TSS_AT << 16);
	g->start.cr0 = 0x80000011 | (p->wp ? CR0_WP_BIT : 0);
	g->start.cr4 = (p->pae ? CR4_PAE_BIT : 0) | (p->pse ? CR4_PSE_BIT : 0) |
		       (p->smep ? CR4_SMEP_BIT : 0);
	g->start.efer = p->nxe ? EFER_NXE_BIT : 0;
	g->start.rip = entry;
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RAX, value);
	cpu_set_reg(g->cpu, CPU_RBX, p->va);
	cpu_set_reg(g->cpu, CPU_RBP, p->kind == FETCH ? p->va : USER_AT + p->kind * CODE_STEP);
}

static void expect_success(struct guest *g, const struct probe *p, u64 pa, u32 before, u32 value)
{
	if (p->kind == FETCH && p->user) {
		EXPECT_EQ(13, cpu_reg(g->cpu, CPU_RDI)); /* HLT in user mode */
		EXPECT_EQ(p->va, cpu_reg(g->cpu, CPU_RBP));
		return;
	}
	if (p->kind == FETCH) {
		EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RDI));
		EXPECT_EQ((u64)p->va + 1, cpu_rip(g->cpu));
		return;
	}
	EXPECT_EQ(1, cpu_reg(g->cpu, CPU_RDI));
	if (p->kind == READ)
		EXPECT_EQ(before, cpu_reg(g->cpu, CPU_RCX));
	else
		EXPECT_EQ(value, get32(g, pa));
}

/* Entries that were used are accessed, the last one of a write is dirty; nothing else changes. */
static void mark_entries(struct guest *g, const struct probe *p, const struct outcome *o)
{
	unsigned int last = o->entry_at[1] ? 1 : 0;

	for (unsigned int k = 0; k <= last; k++) {
		g->ram[o->entry_at[k]] |= PAGE_A;
		if (k == last && p->kind == WRITE)
			g->ram[o->entry_at[k]] |= PAGE_D;
	}
}

static void compare_tables(struct guest *g, const struct probe *p, const struct outcome *want,
			   u8 *saved)
{
	const size_t low = IDENTITY_AT + 0x2000 - ROOT_AT, high = TABLES * 0x1000;
	u8 *got = malloc(low + high);

	memcpy(got, g->ram + ROOT_AT, low);
	memcpy(got + low, g->ram + TABLES_AT, high);
	memcpy(g->ram + ROOT_AT, saved, low);
	memcpy(g->ram + TABLES_AT, saved + low, high);
	if (!want->fault)
		mark_entries(g, p, want);
	EXPECT_EQ(0, memcmp(got, g->ram + ROOT_AT, low));
	EXPECT_EQ(0, memcmp(got + low, g->ram + TABLES_AT, high));
	free(got);
}

static u8 *save_tables(const struct guest *g)
{
	const size_t low = IDENTITY_AT + 0x2000 - ROOT_AT, high = TABLES * 0x1000;
	u8 *saved = malloc(low + high);

	memcpy(saved, g->ram + ROOT_AT, low);
	memcpy(saved + low, g->ram + TABLES_AT, high);
	return saved;
}

static void probe(struct guest *g, bool pae, unsigned int faults[32])
{
	struct probe p = random_probe(pae);
	struct outcome want = pae ? walk_pae(g, &p) : walk32(g, &p);
	u32 value = random32(), before = 0;
	u8 *saved;

	if (want.pa >= RAM_SIZE)
		return; /* a probe has written into what serves as a table */
	saved = save_tables(g);
	if (!want.fault && p.kind == FETCH)
		g->ram[want.pa] = 0xf4;
	if (!want.fault)
		before = get32(g, want.pa);
	start_probe(g, &p, value);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	faults[want.fault ? want.error & 31 : 8]++; /* 8 is no error code */
	if (want.fault) {
		EXPECT_EQ(14, cpu_reg(g->cpu, CPU_RDI));
		EXPECT_EQ(want.error, cpu_reg(g->cpu, CPU_RSI));
		EXPECT_EQ(p.va, cpu_reg(g->cpu, CPU_RDX));
	} else {
		expect_success(g, &p, want.pa, before, value);
	}
	compare_tables(g, &p, &want, saved);
	if (test_failed)
		printf("# va %#x kind %d user %d wp %d pse %d smep %d nxe %d: %s error %#x\n", p.va,
		       p.kind, p.user, p.wp, p.pse, p.smep, p.nxe,
		       want.fault ? "fault" : "no fault", want.error);
	free(saved);
}

#define ROUNDS 60
#define PROBES 40

static void probe_random_tables(bool pae, const u8 *errors, unsigned int nr_errors)
{
	struct guest *g = paged_new();
	unsigned int faults[32] = {0};

	for (u64 pa = FRAMES_AT; pa < RAM_SIZE; pa += 4)
		set32(g, pa, random32());
	for (unsigned int round = 0; round < ROUNDS && !test_failed; round++) {
		if (pae)
			randomize_pae(g);
		else
			randomize32(g);
		for (unsigned int n = 0; n < PROBES && !test_failed; n++)
			probe(g, pae, faults);
	}
	/* Every error code that there is, and success, came up. */
	for (unsigned int k = 0; k < nr_errors; k++)
		EXPECT_TRUE(faults[errors[k]] > 0);
	guest_free(g);
}

/* All combinations but 1 (the kernel may read what is there), and 8 stands for success. */
static const u8 errors_of_both[] = {0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 17, 20, 21, 25, 29};

TEST(walks_of_32_bit_paging_are_the_manuals)
{
	probe_random_tables(false, errors_of_both, sizeof(errors_of_both));
}

TEST(walks_of_pae_paging_are_the_manuals)
{
	probe_random_tables(true, errors_of_both, sizeof(errors_of_both));
}

/* ---- the PDPTEs, and switches ---- */

/* CR3 is loaded, then the PDPTE in memory changes: no effect, until CR3 is loaded again. */
CODE(pdptes, ".code32\n movl 0x40000000, %ecx\n movl $0, 0x1008\n movl %cr4, %eax\n"
	     "xorl $0x100, %eax\n movl %eax, %cr4\n" /* PCE does not load them */
	     "invlpg 0x40000000\n movl 0x40000000, %ebp\n"
	     "movl %cr3, %eax\n movl %eax, %cr3\n movl 0x40000000, %ebx\n hlt\n .code64");
TEST(pdptes_are_registers)
{
	struct guest *g = paged_new();

	map_identity(g, true);
	guest_set(g, ROOT_AT + 8, PD_OF(1) | PAGE_P);
	guest_set(g, PD_OF(1), FRAMES_AT | 0x83);
	guest_set(g, FRAMES_AT, 0x12345678);
	guest_code(g, CODE_AT + 0x800, pdptes);
	g->start.rip = CODE_AT + 0x800;
	g->start.cr4 = CR4_PAE_BIT;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x12345678, cpu_reg(g->cpu, CPU_RCX));
	EXPECT_EQ(0x12345678, cpu_reg(g->cpu, CPU_RBP));
	EXPECT_EQ(14, cpu_reg(g->cpu, CPU_RDI));
	EXPECT_EQ(0x40000000, cpu_reg(g->cpu, CPU_RDX));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RSI));
	guest_free(g);
}

CODE(reload, ".code32\n movl $0x1100, %eax\n movl %eax, %cr3\n hlt\n .code64");
TEST(reserved_bits_of_pdptes_fault_when_they_are_loaded)
{
	static const u8 reserved[] = {1, 2, 5, 6, 7, 8, 52, 63};

	for (unsigned int k = 0; k < sizeof(reserved); k++) {
		struct guest *g = paged_new();

		map_identity(g, true);
		guest_set(g, ROOT_AT + 0x100, PD_OF(0) | PAGE_P);
		guest_set(g, ROOT_AT + 0x108, 1ull << reserved[k] | PAGE_P);
		guest_set(g, ROOT_AT + 0x110, 1ull << reserved[k]); /* not present: no matter */
		guest_code(g, CODE_AT + 0x800, reload);
		g->start.rip = CODE_AT + 0x800;
		g->start.cr4 = CR4_PAE_BIT;
		cpu_start(g->cpu, &g->start);
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		EXPECT_EQ(13, cpu_reg(g->cpu, CPU_RDI));
		EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RSI));
		EXPECT_EQ(CODE_AT + 0x805, cpu_reg(g->cpu, CPU_RBP));
		guest_free(g);
	}
}

/*
 * CR4.PAE changes while paging is on: the same CR3 is a directory, then four PDPTEs, then a directory
 * again. The code is not in the first 4 MB: accessed bits in the first entries are reserved in PDPTEs.
 */
#define ROOT_OF_BOTH 0x210000u
#define HIGH_CODE 0x2010800u
CODE(kinds, ".code32\n"
	    "movl 0x2100000, %ecx\n"
	    "movl %cr4, %eax\n orl $0x20, %eax\n movl %eax, %cr4\n movl 0x2100000, %edx\n"
	    "movl %cr4, %eax\n andl $~0x20, %eax\n movl %eax, %cr4\n movl 0x2100000, %esi\n"
	    "hlt\n .code64");
TEST(kinds_of_paging_switch)
{
	struct guest *g = paged_new();

	set32(g, ROOT_OF_BOTH + 8 * 4, 0x211000 | 3);
	set32(g, 0x211000 + (CODE_AT >> 12) * 4, CODE_AT | 3);
	set32(g, 0x211000 + 0x100 * 4, 0x600000 | 3);
	guest_set(g, ROOT_OF_BOTH, 0x212000 | PAGE_P);
	guest_set(g, 0x212000 + 16 * 8, 0x213000 | 3);
	guest_set(g, 0x213000 + (CODE_AT >> 12) * 8, CODE_AT | 3);
	guest_set(g, 0x213000 + 0x100 * 8, 0x700000 | 3);
	guest_set(g, 0x600000, 0x61);
	guest_set(g, 0x700000, 0x71);
	guest_code(g, CODE_AT + 0x800, kinds);
	g->start.cr3 = ROOT_OF_BOTH;
	g->start.rip = HIGH_CODE;
	cpu_start(g->cpu, &g->start);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x61, cpu_reg(g->cpu, CPU_RCX));
	EXPECT_EQ(0x71, cpu_reg(g->cpu, CPU_RDX));
	EXPECT_EQ(0x61, cpu_reg(g->cpu, CPU_RSI));
	EXPECT_EQ(10, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* An operand over a page boundary: nothing is stored when the second page faults. */
CODE(crossing, ".code32\n movl %eax, (%ebx)\n hlt\n .code64");
TEST(an_operand_over_two_pages_is_stored_whole_or_not)
{
	struct guest *g = paged_new();

	map_identity(g, false);
	set32(g, ROOT_AT + 4, TABLES_AT | 3);
	set32(g, TABLES_AT, FRAMES_AT | 3);
	set32(g, TABLES_AT + 4, (FRAMES_AT + 0x5000) | 3);
	guest_code(g, CODE_AT + 0x800, crossing);
	g->start.rip = CODE_AT + 0x800;
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RAX, 0x44332211);
	cpu_set_reg(g->cpu, CPU_RBX, 0x400ffe);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(0x2211, get32(g, FRAMES_AT + 0xffe) & 0xffff);
	EXPECT_EQ(0x4433, get32(g, FRAMES_AT + 0x5000));
	cpu_start(g->cpu, &g->start);
	cpu_set_reg(g->cpu, CPU_RAX, 0x88776655);
	cpu_set_reg(g->cpu, CPU_RBX, 0x401ffe);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(14, cpu_reg(g->cpu, CPU_RDI));
	EXPECT_EQ(0x402000, cpu_reg(g->cpu, CPU_RDX));
	EXPECT_EQ(0, get32(g, FRAMES_AT + 0x5ffe) & 0xffff);
	guest_free(g);
}

TEST_MAIN()
