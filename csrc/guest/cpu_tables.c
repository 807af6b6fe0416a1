// SPDX-License-Identifier: Apache-2.0
/*
 * cpu_tables.c - GDT, TSS, IDT, page tables and the SYSCALL MSRs of a guest.
 *
 * Interface
 *  - cpu_tables_init() makes the tables that all CPUs have, and maps memory; call it first.
 *  - cpu_tables_load() gives a CPU its own; interrupts off. this_cpu() is good from here on.
 *  - allow_user_rdpmc() sets CR4.PCE.
 *
 * Everything is identity mapped by 2 MB pages, user accessible: the user part of a guest is its own
 * kernel's code. The NMI has a stack of its own, since it may come before SYSCALL changes stacks.
 *
 * Not modelled: protection between user and kernel, SMEP, SMAP.
 */
#include "guest/cpu_tables.h"

#include "guest/insn.h"
#include "guest/percpu.h"

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SYSCALL_MASK 0xc0000084
#define MSR_GS_BASE 0xc0000101
#define EFER_SCE BIT_ULL(0)
#define X86_CR4_PCE BIT_ULL(8)
#define X86_CR4_SMEP BIT_ULL(20)
#define X86_CR4_SMAP BIT_ULL(21)

#define PTE_PRESENT BIT_ULL(0)
#define PTE_WRITE BIT_ULL(1)
#define PTE_USER BIT_ULL(2)
#define PTE_UNCACHED BIT_ULL(4)
#define PTE_LARGE BIT_ULL(7)
#define PTE_TABLE (PTE_PRESENT | PTE_WRITE | PTE_USER)
#define GIGABYTES 4

#define GATE_INTERRUPT 0x8e

struct idt_gate {
	u16 offset0;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset16;
	u32 offset32;
	u32 reserved;
};

struct table_register {
	u16 limit;
	u64 base;
} __attribute__((packed));

extern const u8 vector_stubs[];
void load_segments(void);
void syscall_entry(void);

static const u64 gdt[] = {
	[KERNEL_CS / 8] = 0x00af9b000000ffff,
	[KERNEL_DS / 8] = 0x00cf93000000ffff,
	[SYSRET_BASE / 8] = 0, /* 32-bit user code: none */
	[USER_DS / 8] = 0x00cff3000000ffff,
	[USER_CS / 8] = 0x00affb000000ffff,
};
static struct idt_gate idt[256] __attribute__((aligned(16)));
static u64 pml4[512] __attribute__((aligned(4096)));
static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 page_directory[GIGABYTES * 512] __attribute__((aligned(4096)));

static void load_gdt(struct percpu *cpu)
{
	struct table_register r = {sizeof(cpu->gdt) - 1, (uintptr_t)cpu->gdt};
	struct tss_struct *tss = &cpu->tss;
	u64 base = (uintptr_t)tss;
	u32 i;

	tss->ist[IST_NMI - 1] = (uintptr_t)(cpu->nmi_stack + NMI_STACK_SIZE);
	tss->ist[IST_DOUBLE_FAULT - 1] =
		(uintptr_t)(cpu->double_fault_stack + DOUBLE_FAULT_STACK_SIZE);
	tss->io_bitmap = sizeof(*tss);
	for (i = 0; i < ARRAY_SIZE(gdt); i++)
		cpu->gdt[i] = gdt[i];
	cpu->gdt[TSS_SELECTOR / 8] = (sizeof(*tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
				     (base >> 24 & 0xff) << 56;
	cpu->gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
	__asm__ volatile("lgdt %0" : : "m"(r) : "memory");
	load_segments();
	__asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR) : "memory");
}

static void fill_idt(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(idt); i++) {
		u64 stub = (uintptr_t)vector_stubs + 16 * i;

		idt[i].offset0 = (u16)stub;
		idt[i].offset16 = (u16)(stub >> 16);
		idt[i].offset32 = (u32)(stub >> 32);
		idt[i].selector = KERNEL_CS;
		idt[i].type = GATE_INTERRUPT;
	}
	idt[NMI_VECTOR].ist = IST_NMI;
	idt[DOUBLE_FAULT_VECTOR].ist = IST_DOUBLE_FAULT;
}

static void load_idt(void)
{
	struct table_register r = {sizeof(idt) - 1, (uintptr_t)idt};

	__asm__ volatile("lidt %0" : : "m"(r) : "memory");
}

static void load_page_tables(void)
{
	u32 i;

	pml4[0] = (uintptr_t)pdpt | PTE_TABLE;
	for (i = 0; i < GIGABYTES; i++)
		pdpt[i] = (uintptr_t)(page_directory + 512 * i) | PTE_TABLE;
	for (i = 0; i < ARRAY_SIZE(page_directory); i++)
		page_directory[i] = (u64)i << 21 | PTE_TABLE | PTE_LARGE;
	/* The local APIC's page and its neighbours. */
	page_directory[0xfee00000u >> 21] |= PTE_UNCACHED;
	write_cr4(read_cr4() & ~(X86_CR4_SMEP | X86_CR4_SMAP));
	write_cr3((uintptr_t)pml4);
}

void cpu_tables_init(void)
{
	fill_idt();
	load_page_tables();
}

void cpu_tables_load(struct percpu *cpu)
{
	cpu->self = cpu;
	load_gdt(cpu);
	load_idt();
	wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	wrmsr(MSR_STAR, (u64)SYSRET_BASE << 48 | (u64)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (uintptr_t)syscall_entry);
	wrmsr(MSR_SYSCALL_MASK, RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_AC);
}

void allow_user_rdpmc(void)
{
	write_cr4(read_cr4() | X86_CR4_PCE);
}
