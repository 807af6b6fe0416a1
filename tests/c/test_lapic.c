// SPDX-License-Identifier: Apache-2.0
/*
 * test_lapic.c - csrc/platform/lapic*.c: registers and their #GP rules, mode changes, priorities,
 * LVTPC, IPIs to self, and the three timer modes. Expected values are from the architecture.
 */
#include "platform/lapic.h"
#include "test.h"

#define BASE_EN 0x800u
#define BASE_X2 0xc00u
#define NONE (~0ull)
#define X2(offset) (APIC_X2APIC_MSR_BASE + ((offset) >> 4))

struct clock {
	u64 tsc;
	u32 changes;
};

static u64 clock_now(void *ctx)
{
	return ((struct clock *)ctx)->tsc;
}

static void clock_changed(void *ctx)
{
	((struct clock *)ctx)->changes++;
}

static const struct lapic_ops ops = {.now = clock_now, .changed = clock_changed};

static u64 get(struct lapic *l, u32 msr)
{
	u64 value = 0xdeadull;

	EXPECT_EQ(0, lapic_rdmsr(l, msr, &value));
	return value;
}

static void set(struct lapic *l, u32 msr, u64 value)
{
	int rc = lapic_wrmsr(l, msr, value);

	if (rc)
		printf("# wrmsr %#x = %#llx\n", msr, (unsigned long long)value);
	EXPECT_EQ(0, rc);
}

static void gp_write(struct lapic *l, u32 msr, u64 value)
{
	int rc = lapic_wrmsr(l, msr, value);

	if (!rc)
		printf("# wrmsr %#x = %#llx\n", msr, (unsigned long long)value);
	EXPECT_EQ((u64)-1, (s64)rc);
}

static void gp_read(struct lapic *l, u32 msr)
{
	u64 value;
	int rc = lapic_rdmsr(l, msr, &value);

	if (!rc)
		printf("# rdmsr %#x\n", msr);
	EXPECT_EQ((u64)-1, (s64)rc);
}

/* Software enabled, xAPIC mode. */
static void setup(struct lapic *l, struct clock *c, u32 id)
{
	*c = (struct clock){.tsc = 1000};
	lapic_init(l, id, &ops, c);
	lapic_mmio_write(l, APIC_SPIV, 0x1ff);
}

static void setup_x2(struct lapic *l, struct clock *c, u32 id)
{
	setup(l, c, id);
	set(l, MSR_IA32_APICBASE, APIC_DEFAULT_PHYS_BASE | BASE_X2);
}

TEST(lapic_reset_values)
{
	struct clock c = {0};
	struct lapic l;

	lapic_init(&l, 3, &ops, &c);
	EXPECT_EQ(0xfee00800, get(&l, MSR_IA32_APICBASE));
	EXPECT_EQ(3u << 24, lapic_mmio_read(&l, APIC_ID));
	EXPECT_EQ(0x00060015, lapic_mmio_read(&l, APIC_LVR));
	EXPECT_EQ(0xff, lapic_mmio_read(&l, APIC_SPIV));
	EXPECT_EQ(~0u, lapic_mmio_read(&l, APIC_DFR));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_LDR));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_TASKPRI));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_ICR));
	for (u32 offset = APIC_LVTT; offset <= APIC_LVTERR; offset += 16)
		EXPECT_EQ(APIC_LVT_MASKED, lapic_mmio_read(&l, offset));
	EXPECT_EQ(APIC_LVT_MASKED, lapic_mmio_read(&l, APIC_LVTCMCI));
	EXPECT_EQ(NONE, lapic_deadline(&l));
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	lapic_init(&l, 0, &ops, &c);
	EXPECT_EQ(0xfee00900, get(&l, MSR_IA32_APICBASE));
}

TEST(lapic_apicbase_transitions)
{
	u64 base = APIC_DEFAULT_PHYS_BASE;
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	gp_write(&l, MSR_IA32_APICBASE, base | 0x400); /* x2APIC without enable */
	set(&l, MSR_IA32_APICBASE, base | BASE_EN);
	set(&l, MSR_IA32_APICBASE, base | BASE_X2);
	EXPECT_EQ(base | BASE_X2, get(&l, MSR_IA32_APICBASE));
	gp_write(&l, MSR_IA32_APICBASE, base | BASE_EN);
	gp_write(&l, MSR_IA32_APICBASE, base | 0x400);
	EXPECT_EQ(base | BASE_X2, get(&l, MSR_IA32_APICBASE));
	set(&l, MSR_IA32_APICBASE, base | BASE_X2);
	set(&l, MSR_IA32_APICBASE, base);
	gp_write(&l, MSR_IA32_APICBASE, base | BASE_X2);
	gp_write(&l, MSR_IA32_APICBASE, base | 0x400);
	set(&l, MSR_IA32_APICBASE, base);
	set(&l, MSR_IA32_APICBASE, base | BASE_EN);
	set(&l, MSR_IA32_APICBASE, base);
}

TEST(lapic_apicbase_reserved_bits)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	for (u32 bit = 0; bit < 64; bit++) {
		u64 value = APIC_DEFAULT_PHYS_BASE | BASE_EN;

		if (bit < 8 || bit == 9 || bit >= 46)
			gp_write(&l, MSR_IA32_APICBASE, value | BIT_ULL(bit));
	}
	set(&l, MSR_IA32_APICBASE, 0x42000000 | 0x900);
	EXPECT_EQ(0x42000900, get(&l, MSR_IA32_APICBASE));
}

TEST(lapic_disabling_resets)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	set(&l, X2(APIC_TASKPRI), 0x20);
	set(&l, X2(APIC_LVTPC), 0x450);
	set(&l, X2(APIC_TMICT), 100);
	lapic_post(&l, 0x80);
	EXPECT_EQ(0x80, lapic_pending_vector(&l));
	set(&l, MSR_IA32_APICBASE, APIC_DEFAULT_PHYS_BASE);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	EXPECT_EQ(NONE, lapic_deadline(&l));
	EXPECT_EQ(~0u, lapic_mmio_read(&l, APIC_SPIV));
	EXPECT_EQ(LAPIC_MASKED, lapic_deliver_lvtpc(&l));
	lapic_post(&l, 0x80);
	gp_read(&l, X2(APIC_TASKPRI));
	set(&l, MSR_IA32_APICBASE, APIC_DEFAULT_PHYS_BASE | BASE_EN);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	EXPECT_EQ(0xff, lapic_mmio_read(&l, APIC_SPIV));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_TASKPRI));
	EXPECT_EQ(0x10000, lapic_mmio_read(&l, APIC_LVTPC));
}

TEST(lapic_x2apic_keeps_state)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 0x12);
	lapic_mmio_write(&l, APIC_LVTPC, 0x451);
	lapic_mmio_write(&l, APIC_ICR2, 0x55000000);
	lapic_mmio_write(&l, APIC_ICR, 0x41);
	lapic_post(&l, 0x99);
	set(&l, MSR_IA32_APICBASE, APIC_DEFAULT_PHYS_BASE | BASE_X2);
	EXPECT_EQ(0x12, get(&l, X2(APIC_ID)));
	EXPECT_EQ(0x00010004, get(&l, X2(APIC_LDR)));
	EXPECT_EQ(0x41, get(&l, X2(APIC_ICR)));
	EXPECT_EQ(0x451, get(&l, X2(APIC_LVTPC)));
	EXPECT_EQ(0x99, lapic_pending_vector(&l));
	EXPECT_EQ(~0u, lapic_mmio_read(&l, APIC_LVTPC));
	lapic_mmio_write(&l, APIC_LVTPC, 0x10000);
	EXPECT_EQ(0x451, lapic_reg(&l, APIC_LVTPC));
}

/* One character a register 0x800-0x83f: r, w, b(oth), - (none). */
static const char x2apic_access[] =
	"--rr----b-rw-r-b"  /* 800: ID, version, TPR, PPR, EOI, LDR, SPIV */
	"rrrrrrrrrrrrrrrr"  /* 810: ISR, TMR */
	"rrrrrrrrb------b"  /* 820: IRR, ESR, CMCI */
	"b-bbbbbbbr----bw"; /* 830: ICR, LVTs, timer, SELF_IPI */

TEST(lapic_x2apic_register_map)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	for (u32 i = 0; i < 0x40; i++) {
		char access = x2apic_access[i];
		u64 ok = i == 0x0f ? 0x1ff : i == 0x3f ? 0x40 : 0;

		if (access == 'r' || access == 'b')
			get(&l, 0x800 + i);
		else
			gp_read(&l, 0x800 + i);
		if (access == 'w' || access == 'b')
			set(&l, 0x800 + i, ok);
		else
			gp_write(&l, 0x800 + i, 0);
	}
	gp_read(&l, 0x840);
	gp_read(&l, 0x8ff);
	gp_write(&l, 0x840, 0);
	gp_read(&l, 0x7ff);
}

TEST(lapic_x2apic_msrs_need_x2apic_mode)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	for (u32 msr = 0x800; msr < 0x840; msr++) {
		gp_read(&l, msr);
		gp_write(&l, msr, 0);
	}
}

struct write_rule {
	u32 offset;
	u64 accepted; /* bits that do not fault */
	u64 kept;     /* bits that read back */
};

static const struct write_rule write_rules[] = {
	{APIC_TASKPRI, 0xff, 0xff},
	{APIC_SPIV, 0x1ff, 0x1ff},
	{APIC_EOI, 0, 0},
	{APIC_ESR, 0, 0},
	{APIC_LVTCMCI, 0x117ff, 0x107ff},
	{APIC_LVTT, 0x710ff, 0x700ff},
	{APIC_LVTTHMR, 0x117ff, 0x107ff},
	{APIC_LVTPC, 0x117ff, 0x107ff},
	{APIC_LVT0, 0x1f7ff, 0x1a7ff},
	{APIC_LVT1, 0x1f7ff, 0x1a7ff},
	{APIC_LVTERR, 0x110ff, 0x100ff},
	{APIC_TMICT, 0xffffffff, 0xffffffff},
	{APIC_TDCR, 0xb, 0xb},
	{APIC_SELF_IPI, 0xff, 0},
	{APIC_ICR, 0xffffffff000cdfffull, 0xffffffff000ccfffull},
};

TEST(lapic_x2apic_reserved_bits)
{
	for (u32 i = 0; i < ARRAY_SIZE(write_rules); i++) {
		const struct write_rule *r = &write_rules[i];

		for (u32 bit = 0; bit < 64; bit++) {
			struct clock c;
			struct lapic l;
			u64 value;

			setup_x2(&l, &c, 1);
			if (!(r->accepted & BIT_ULL(bit))) {
				gp_write(&l, X2(r->offset), BIT_ULL(bit));
				continue;
			}
			set(&l, X2(r->offset), BIT_ULL(bit));
			if (r->offset == APIC_SELF_IPI)
				continue;
			value = r->kept & BIT_ULL(bit);
			if (r->offset == APIC_SPIV && bit != 8)
				value &= 0xff;
			EXPECT_EQ(value, get(&l, X2(r->offset)));
		}
	}
}

TEST(lapic_xapic_write_masks)
{
	struct clock c;
	struct lapic l;

	for (u32 i = 0; i < ARRAY_SIZE(write_rules); i++) {
		const struct write_rule *r = &write_rules[i];

		if (r->offset == APIC_SELF_IPI || r->offset == APIC_ICR)
			continue;
		setup(&l, &c, 1);
		lapic_mmio_write(&l, r->offset, ~0u);
		EXPECT_EQ((u32)r->kept, lapic_mmio_read(&l, r->offset));
	}
	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_LDR, ~0u);
	EXPECT_EQ(0xff000000, lapic_mmio_read(&l, APIC_LDR));
	lapic_mmio_write(&l, APIC_DFR, 0);
	EXPECT_EQ(0x0fffffff, lapic_mmio_read(&l, APIC_DFR));
	lapic_mmio_write(&l, APIC_ICR2, ~0u);
	EXPECT_EQ(0xff000000, lapic_mmio_read(&l, APIC_ICR2));
	lapic_mmio_write(&l, APIC_ID, ~0u);
	EXPECT_EQ(1u << 24, lapic_mmio_read(&l, APIC_ID));
	lapic_mmio_write(&l, APIC_IRR, ~0u);
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_IRR));
}

TEST(lapic_x2apic_timer_mode_3_is_reserved)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	gp_write(&l, X2(APIC_LVTT), 0x60040);
	EXPECT_EQ(0x10000, get(&l, X2(APIC_LVTT)));
	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_LVTT, 0x60040);
	lapic_mmio_write(&l, APIC_TMICT, 100);
	EXPECT_EQ(NONE, lapic_deadline(&l));
}

TEST(lapic_software_disable_masks_lvts)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_LVTPC, 0x450);
	lapic_mmio_write(&l, APIC_LVTCMCI, 0x51);
	lapic_post(&l, 0x80);
	lapic_mmio_write(&l, APIC_SPIV, 0xff);
	EXPECT_EQ(0x10450, lapic_mmio_read(&l, APIC_LVTPC));
	EXPECT_EQ(0x10051, lapic_mmio_read(&l, APIC_LVTCMCI));
	lapic_mmio_write(&l, APIC_LVTPC, 0x452);
	lapic_mmio_write(&l, APIC_LVTT, 0x20040);
	EXPECT_EQ(0x10452, lapic_mmio_read(&l, APIC_LVTPC));
	EXPECT_EQ(0x30040, lapic_mmio_read(&l, APIC_LVTT));
	EXPECT_EQ(LAPIC_MASKED, lapic_deliver_lvtpc(&l));
	EXPECT_EQ(0x80, lapic_pending_vector(&l)); /* held */
	lapic_post(&l, 0x90);			   /* not accepted */
	EXPECT_EQ(0x80, lapic_pending_vector(&l));
	lapic_mmio_write(&l, APIC_SPIV, 0x1ff);
	EXPECT_EQ(0x10452, lapic_mmio_read(&l, APIC_LVTPC)); /* the guest unmasks */
	lapic_mmio_write(&l, APIC_LVTPC, 0x452);
	EXPECT_EQ(LAPIC_NMI, lapic_deliver_lvtpc(&l));
}

TEST(lapic_lvtpc_fixed)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	EXPECT_EQ(LAPIC_MASKED, lapic_deliver_lvtpc(&l));
	lapic_mmio_write(&l, APIC_LVTPC, 0xf2);
	c.changes = 0;
	EXPECT_EQ(LAPIC_FIXED, lapic_deliver_lvtpc(&l));
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(0xf2, lapic_pending_vector(&l));
	EXPECT_EQ(0x100f2, lapic_mmio_read(&l, APIC_LVTPC));
	EXPECT_EQ(LAPIC_MASKED, lapic_deliver_lvtpc(&l));
	lapic_mmio_write(&l, APIC_LVTPC, 0xf2);
	EXPECT_EQ(LAPIC_FIXED, lapic_deliver_lvtpc(&l));
	EXPECT_TRUE(!l.nmi_pending);
}

TEST(lapic_lvtpc_nmi)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	set(&l, X2(APIC_LVTPC), APIC_DM_NMI);
	c.changes = 0;
	EXPECT_EQ(LAPIC_NMI, lapic_deliver_lvtpc(&l));
	EXPECT_TRUE(l.nmi_pending);
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(0x10400, get(&l, X2(APIC_LVTPC)));
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	l.nmi_pending = false;
	EXPECT_EQ(LAPIC_MASKED, lapic_deliver_lvtpc(&l));
	EXPECT_TRUE(!l.nmi_pending);
}

TEST(lapic_lvtpc_other_modes_are_ignored)
{
	static const u32 modes[] = {0x100, 0x200, 0x300, 0x500, 0x600, 0x700};
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
		lapic_mmio_write(&l, APIC_LVTPC, modes[i] | 0x40);
		EXPECT_EQ(LAPIC_IGNORED, lapic_deliver_lvtpc(&l));
		EXPECT_EQ(modes[i] | 0x40, lapic_mmio_read(&l, APIC_LVTPC));
	}
	EXPECT_TRUE(!l.nmi_pending);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
}

TEST(lapic_illegal_vectors)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_LVTPC, 0x0f);
	EXPECT_EQ(LAPIC_IGNORED, lapic_deliver_lvtpc(&l));
	EXPECT_EQ(0x0f, lapic_mmio_read(&l, APIC_LVTPC));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_ESR));
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0x40, lapic_mmio_read(&l, APIC_ESR));
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_ESR));
	lapic_mmio_write(&l, APIC_ICR, 0x4000f);
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0x20, lapic_mmio_read(&l, APIC_ESR));
	lapic_mmio_write(&l, APIC_ESR, 0);
	lapic_mmio_write(&l, APIC_ICR, 0xc000f); /* to others, too */
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0x20, lapic_mmio_read(&l, APIC_ESR));
	EXPECT_EQ(0, l.ignored_ipis);
	lapic_post(&l, 3);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	lapic_post(&l, 16); /* legal, though below every priority class but 0 */
	EXPECT_EQ(16, lapic_pending_vector(&l));
	setup_x2(&l, &c, 1);
	set(&l, X2(APIC_SELF_IPI), 15);
	set(&l, X2(APIC_ESR), 0);
	EXPECT_EQ(0x20, get(&l, X2(APIC_ESR)));
}

TEST(lapic_errors_raise_lvterr)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_LVTERR, 0xfe);
	lapic_mmio_read(&l, 0x40); /* no such register */
	EXPECT_EQ(0xfe, lapic_pending_vector(&l));
	lapic_accept(&l, 0xfe);
	lapic_mmio_write(&l, APIC_EOI, 0);
	lapic_mmio_write(&l, 0x3f0, 1); /* the same error again: no edge */
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0x80, lapic_mmio_read(&l, APIC_ESR));
	lapic_mmio_read(&l, 0xff0);
	EXPECT_EQ(0xfe, lapic_pending_vector(&l));
	lapic_mmio_write(&l, APIC_LVTERR, 1); /* a bad vector itself: no recursion */
	lapic_post(&l, 1);
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0xc0, lapic_mmio_read(&l, APIC_ESR));
}

TEST(lapic_xapic_odd_accesses)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_SPIV + 4));
	lapic_mmio_write(&l, APIC_SPIV + 4, 0);
	EXPECT_EQ(0x1ff, lapic_mmio_read(&l, APIC_SPIV));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_EOI));
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_ESR));
}

TEST(lapic_priorities)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	lapic_post(&l, 0x41);
	lapic_post(&l, 0x45);
	lapic_post(&l, 0xe0);
	EXPECT_EQ(0xe0, lapic_pending_vector(&l));
	EXPECT_EQ(1, get(&l, X2(APIC_IRR) + 7));
	lapic_accept(&l, 0xe0);
	EXPECT_EQ(0, get(&l, X2(APIC_IRR) + 7));
	EXPECT_EQ(1, get(&l, X2(APIC_ISR) + 7));
	EXPECT_EQ(0xe0, get(&l, X2(APIC_PROCPRI)));
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	lapic_post(&l, 0xef); /* the same class waits */
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	lapic_post(&l, 0xf0); /* a higher class nests */
	EXPECT_EQ(0xf0, lapic_pending_vector(&l));
	lapic_accept(&l, 0xf0);
	EXPECT_EQ(0xf0, get(&l, X2(APIC_PROCPRI)));
	c.changes = 0;
	set(&l, X2(APIC_EOI), 0);
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(0xe0, get(&l, X2(APIC_PROCPRI)));
	set(&l, X2(APIC_EOI), 0);
	EXPECT_EQ(0xef, lapic_pending_vector(&l));
	lapic_accept(&l, 0xef);
	set(&l, X2(APIC_EOI), 0);
	EXPECT_EQ(0x45, lapic_pending_vector(&l));
	set(&l, X2(APIC_TASKPRI), 0x40);
	EXPECT_EQ(0x40, get(&l, X2(APIC_PROCPRI)));
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	c.changes = 0;
	set(&l, X2(APIC_TASKPRI), 0x3f);
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(0x3f, get(&l, X2(APIC_PROCPRI)));
	EXPECT_EQ(0x45, lapic_pending_vector(&l));
	lapic_accept(&l, 0x45);
	EXPECT_EQ(0x40, get(&l, X2(APIC_PROCPRI)));
	set(&l, X2(APIC_TASKPRI), 0x42);
	EXPECT_EQ(0x42, get(&l, X2(APIC_PROCPRI)));
	set(&l, X2(APIC_EOI), 0);
	set(&l, X2(APIC_EOI), 0); /* with nothing in service: no effect */
	EXPECT_EQ(0x42, get(&l, X2(APIC_PROCPRI)));
}

TEST(lapic_irr_and_isr_bits)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	for (u32 v = 16; v < 256; v++) {
		lapic_post(&l, (u8)v);
		EXPECT_EQ(v, lapic_pending_vector(&l));
		EXPECT_EQ(1u << (v & 31), lapic_mmio_read(&l, APIC_IRR + (v >> 5) * 16));
		lapic_accept(&l, (u8)v);
		EXPECT_EQ(1u << (v & 31), lapic_mmio_read(&l, APIC_ISR + (v >> 5) * 16));
		EXPECT_EQ(0, lapic_mmio_read(&l, APIC_IRR + (v >> 5) * 16));
		lapic_mmio_write(&l, APIC_EOI, 0x1234);
		EXPECT_EQ(0, lapic_mmio_read(&l, APIC_ISR + (v >> 5) * 16));
	}
}

struct ipi_case {
	bool x2apic;
	u32 dest; /* xAPIC: the destination byte */
	u32 low;
	char got; /* f(ixed), n(mi), i(gnored), -: not even that */
};

/* id 0x21; xAPIC LDR 0x04 flat unless the test says cluster. */
static const struct ipi_case ipi_cases[] = {
	{false, 0x00, 0x00040 | 0x40000, 'f'}, /* self */
	{false, 0x00, 0x04440 | 0x40000, 'n'},
	{false, 0x00, 0x00040 | 0x80000, 'f'}, /* all, self too */
	{false, 0x00, 0x00440 | 0x80000, 'n'},
	{false, 0x00, 0x00040 | 0xc0000, 'i'}, /* all others */
	{false, 0x00, 0x00440 | 0xc0000, 'i'},
	{false, 0x21, 0x00040, 'f'}, /* physical */
	{false, 0x21, 0x00440, 'n'},
	{false, 0x21, 0x00140, 'f'}, /* lowest priority */
	{false, 0x21, 0x00240, 'i'}, /* SMI */
	{false, 0x21, 0x00500, 'i'}, /* INIT */
	{false, 0x21, 0x00608, 'i'}, /* SIPI */
	{false, 0x22, 0x00040, 'i'},
	{false, 0xff, 0x00040, 'f'}, /* broadcast */
	{false, 0xff, 0x00840, 'f'},
	{false, 0x00, 0xc4500, 'i'}, /* INIT and SIPI as an SMP guest broadcasts them */
	{false, 0x00, 0xc4608, 'i'},
	{false, 0x00, 0x44500, 'i'}, /* INIT by shorthands that it cannot have */
	{false, 0x00, 0x84500, 'i'},
	{false, 0xff, 0x08500, '-'}, /* INIT level de-assert: nothing on any CPU of today */
	{false, 0x04, 0x00840, 'f'}, /* logical, flat */
	{false, 0x0c, 0x00c40, 'n'},
	{false, 0x0b, 0x00840, 'i'},
	{true, 0, 0x40040, 'f'},
	{true, 0, 0x40440, 'n'},
	{true, 0, 0x80040, 'f'},
	{true, 0, 0xc0040, 'i'},
	{true, 0x21, 0x00040, 'f'},
	{true, 0x21, 0x00440, 'n'},
	{true, 0x0100, 0x00040, 'i'},
	{true, 0xff, 0x00040, 'i'}, /* no broadcast in x2APIC mode */
	{true, 0xffffffff, 0x00040, 'f'},
	{true, 0xffffffff, 0x00840, 'f'},
	{true, 0x00020002, 0x00840, 'f'}, /* cluster 2, member 1 */
	{true, 0x0002ffff, 0x00c40, 'n'},
	{true, 0x00020001, 0x00840, 'i'},
	{true, 0x00010002, 0x00840, 'i'},
	{true, 0x21, 0x00500, 'i'},
	{true, 0, 0xc4500, 'i'},
	{true, 0, 0xc4608, 'i'},
	{true, 0xffffffff, 0x04608, 'i'},
};

TEST(lapic_ipis_to_self_and_others)
{
	for (u32 i = 0; i < ARRAY_SIZE(ipi_cases); i++) {
		const struct ipi_case *t = &ipi_cases[i];
		struct clock c;
		struct lapic l;
		char got;

		if (t->x2apic) {
			setup_x2(&l, &c, 0x21);
			set(&l, X2(APIC_ICR), (u64)t->dest << 32 | t->low);
			EXPECT_EQ((u64)t->dest << 32 | t->low, get(&l, X2(APIC_ICR)));
		} else {
			setup(&l, &c, 0x21);
			lapic_mmio_write(&l, APIC_LDR, 0x04000000);
			lapic_mmio_write(&l, APIC_ICR2, t->dest << 24);
			EXPECT_EQ(0, l.ignored_ipis);
			lapic_mmio_write(&l, APIC_ICR, t->low);
			EXPECT_EQ(t->low, lapic_mmio_read(&l, APIC_ICR));
			EXPECT_EQ(t->dest << 24, lapic_mmio_read(&l, APIC_ICR2));
		}
		got = l.nmi_pending ? 'n' : lapic_pending_vector(&l) == 0x40 ? 'f' : 'i';
		if (t->got == '-' && !l.ignored_ipis)
			got = '-';
		if (got != t->got)
			printf("# case %u\n", i);
		EXPECT_EQ(t->got, got);
		EXPECT_EQ(t->got == 'i', l.ignored_ipis);
	}
}

TEST(lapic_logical_cluster_model)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_DFR, 0);
	lapic_mmio_write(&l, APIC_LDR, 0x32000000);
	lapic_mmio_write(&l, APIC_ICR2, 0x33000000);
	lapic_mmio_write(&l, APIC_ICR, 0x840);
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	lapic_mmio_write(&l, APIC_ICR2, 0x31000000);
	lapic_mmio_write(&l, APIC_ICR, 0x850);
	lapic_mmio_write(&l, APIC_ICR2, 0x22000000);
	lapic_mmio_write(&l, APIC_ICR, 0x860);
	EXPECT_EQ(2, l.ignored_ipis);
	lapic_mmio_write(&l, APIC_ICR2, 0xf2000000);
	lapic_mmio_write(&l, APIC_ICR, 0x870);
	EXPECT_EQ(0x70, lapic_pending_vector(&l));
}

TEST(lapic_self_ipi_msr)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	set(&l, X2(APIC_ICR), 0xff00000044ull);
	c.changes = 0;
	set(&l, X2(APIC_SELF_IPI), 0xec);
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(0xec, lapic_pending_vector(&l));
	EXPECT_EQ(0xff00000044ull, get(&l, X2(APIC_ICR)));
}

TEST(lapic_one_shot_timer)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_TDCR, 0xb);
	lapic_mmio_write(&l, APIC_LVTT, 0x40);
	c.changes = 0;
	lapic_mmio_write(&l, APIC_TMICT, 500);
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(1500, lapic_deadline(&l));
	EXPECT_EQ(500, lapic_mmio_read(&l, APIC_TMCCT));
	c.tsc = 1499;
	EXPECT_EQ(1, lapic_mmio_read(&l, APIC_TMCCT));
	lapic_timer_expired(&l); /* early: nothing */
	EXPECT_EQ(1500, lapic_deadline(&l));
	c.tsc = 1500;
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_TMCCT));
	lapic_timer_expired(&l);
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	EXPECT_EQ(NONE, lapic_deadline(&l));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_TMCCT));
	EXPECT_EQ(500, lapic_mmio_read(&l, APIC_TMICT));
	lapic_mmio_write(&l, APIC_TMICT, 10);
	EXPECT_EQ(1510, lapic_deadline(&l));
	lapic_mmio_write(&l, APIC_TMICT, 0);
	EXPECT_EQ(NONE, lapic_deadline(&l));
}

TEST(lapic_masked_timer_runs_silently)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_TDCR, 0xb);
	lapic_mmio_write(&l, APIC_TMICT, 500);
	EXPECT_EQ(1500, lapic_deadline(&l));
	c.tsc = 1500;
	lapic_timer_expired(&l);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	EXPECT_EQ(NONE, lapic_deadline(&l));
}

TEST(lapic_divide_values)
{
	static const u32 values[][2] = {{0x0, 2},  {0x1, 4},  {0x2, 8},	  {0x3, 16},
					{0x8, 32}, {0x9, 64}, {0xa, 128}, {0xb, 1}};

	for (u32 i = 0; i < ARRAY_SIZE(values); i++) {
		struct clock c;
		struct lapic l;

		setup(&l, &c, 1);
		lapic_mmio_write(&l, APIC_TDCR, values[i][0]);
		lapic_mmio_write(&l, APIC_TMICT, 7);
		EXPECT_EQ(1000 + 7 * values[i][1], lapic_deadline(&l));
	}
}

TEST(lapic_periodic_timer_does_not_drift)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	l.tsc_per_tick_num = 10; /* 10/3 cycles a tick: 7 ticks are 23 1/3 cycles */
	l.tsc_per_tick_den = 3;
	set(&l, X2(APIC_TDCR), 0xb);
	set(&l, X2(APIC_LVTT), 0x20040);
	set(&l, X2(APIC_TMICT), 7);
	for (u32 k = 1; k <= 1000; k++) {
		u64 want = 1000 + (70 * k + 2) / 3;

		EXPECT_EQ(want, lapic_deadline(&l));
		c.tsc = want - 1;
		EXPECT_TRUE(get(&l, X2(APIC_TMCCT)) == 1);
		c.tsc = want;
		EXPECT_EQ(7, get(&l, X2(APIC_TMCCT)));
		lapic_timer_expired(&l);
		EXPECT_EQ(0x40, lapic_pending_vector(&l));
		lapic_accept(&l, 0x40);
		set(&l, X2(APIC_EOI), 0);
	}
}

TEST(lapic_periodic_timer_coalesces_missed_periods)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_TDCR, 0xb);
	lapic_mmio_write(&l, APIC_LVTT, 0x20040);
	lapic_mmio_write(&l, APIC_TMICT, 100);
	c.tsc = 1555;
	lapic_timer_expired(&l);
	EXPECT_EQ(1600, lapic_deadline(&l));
	EXPECT_EQ(45, lapic_mmio_read(&l, APIC_TMCCT));
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	lapic_accept(&l, 0x40);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
}

TEST(lapic_timer_longest_count)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	l.tsc_per_tick_num = ~0u;
	lapic_mmio_write(&l, APIC_TDCR, 0xa);
	lapic_mmio_write(&l, APIC_TMICT, ~0u);
	EXPECT_EQ(NONE - 1, lapic_deadline(&l));
	EXPECT_EQ(~0u, lapic_mmio_read(&l, APIC_TMCCT));
	l.tsc_per_tick_num = 100;
	lapic_mmio_write(&l, APIC_TMICT, ~0u);
	EXPECT_EQ(1000 + 12800ull * ~0u, lapic_deadline(&l));
}

TEST(lapic_divide_change_keeps_the_count)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_TDCR, 0xb);
	lapic_mmio_write(&l, APIC_TMICT, 100);
	c.tsc = 1040;
	lapic_mmio_write(&l, APIC_TDCR, 0xa); /* 128 */
	EXPECT_EQ(60, lapic_mmio_read(&l, APIC_TMCCT));
	EXPECT_EQ(1040 + 60 * 128, lapic_deadline(&l));
	c.tsc = 1040 + 128;
	EXPECT_EQ(59, lapic_mmio_read(&l, APIC_TMCCT));
}

TEST(lapic_one_shot_and_periodic_keep_counting)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_TDCR, 0xb);
	lapic_mmio_write(&l, APIC_LVTT, 0x40);
	lapic_mmio_write(&l, APIC_TMICT, 100);
	c.tsc = 1040;
	lapic_mmio_write(&l, APIC_LVTT, 0x20040);
	EXPECT_EQ(60, lapic_mmio_read(&l, APIC_TMCCT));
	EXPECT_EQ(1100, lapic_deadline(&l));
	c.tsc = 1100;
	lapic_timer_expired(&l);
	c.tsc = 1200;
	lapic_timer_expired(&l);
	c.tsc = 1230;
	lapic_mmio_write(&l, APIC_LVTT, 0x40);
	EXPECT_EQ(70, lapic_mmio_read(&l, APIC_TMCCT));
	EXPECT_EQ(1300, lapic_deadline(&l));
	c.tsc = 1300;
	lapic_timer_expired(&l);
	EXPECT_EQ(NONE, lapic_deadline(&l));
	lapic_mmio_write(&l, APIC_LVTT, 0x20040); /* an expired one-shot stays expired */
	EXPECT_EQ(NONE, lapic_deadline(&l));
	EXPECT_EQ(0, lapic_mmio_read(&l, APIC_TMCCT));
}

TEST(lapic_writes_settle_a_due_expiry)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_TDCR, 0xb);
	lapic_mmio_write(&l, APIC_LVTT, 0x40);
	lapic_mmio_write(&l, APIC_TMICT, 100);
	c.tsc = 1100;
	lapic_mmio_write(&l, APIC_LVTT, 0x10040);
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	EXPECT_EQ(NONE, lapic_deadline(&l));
}

TEST(lapic_tsc_deadline)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	set(&l, MSR_IA32_TSC_DEADLINE, 5000); /* not in this mode: lost */
	EXPECT_EQ(0, get(&l, MSR_IA32_TSC_DEADLINE));
	EXPECT_EQ(NONE, lapic_deadline(&l));
	set(&l, X2(APIC_TMICT), 100);
	set(&l, X2(APIC_LVTT), APIC_LVT_TIMER_TSCDEADLINE | 0x40);
	EXPECT_EQ(NONE, lapic_deadline(&l)); /* the change disarms */
	EXPECT_EQ(0, get(&l, X2(APIC_TMICT)));
	set(&l, X2(APIC_TMICT), 100);
	EXPECT_EQ(0, get(&l, X2(APIC_TMICT)));
	EXPECT_EQ(0, get(&l, X2(APIC_TMCCT)));
	c.changes = 0;
	set(&l, MSR_IA32_TSC_DEADLINE, 5000);
	EXPECT_TRUE(c.changes > 0);
	EXPECT_EQ(5000, get(&l, MSR_IA32_TSC_DEADLINE));
	EXPECT_EQ(5000, lapic_deadline(&l));
	set(&l, X2(APIC_TDCR), 0x1);
	EXPECT_EQ(5000, lapic_deadline(&l));
	c.tsc = 5000;
	lapic_timer_expired(&l);
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	EXPECT_EQ(0, get(&l, MSR_IA32_TSC_DEADLINE));
	EXPECT_EQ(NONE, lapic_deadline(&l));
	lapic_accept(&l, 0x40);
	set(&l, X2(APIC_EOI), 0);
	set(&l, MSR_IA32_TSC_DEADLINE, 4000); /* in the past: due now */
	EXPECT_EQ(4000, lapic_deadline(&l));
	lapic_timer_expired(&l);
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	set(&l, MSR_IA32_TSC_DEADLINE, 6000);
	set(&l, MSR_IA32_TSC_DEADLINE, 0);
	EXPECT_EQ(NONE, lapic_deadline(&l));
	set(&l, MSR_IA32_TSC_DEADLINE, 6000);
	set(&l, X2(APIC_LVTT), APIC_LVT_TIMER_TSCDEADLINE | 0x41); /* the same mode keeps it */
	EXPECT_EQ(6000, lapic_deadline(&l));
	set(&l, X2(APIC_LVTT), 0x20040);
	EXPECT_EQ(NONE, lapic_deadline(&l));
	EXPECT_EQ(0, get(&l, MSR_IA32_TSC_DEADLINE));
}

/* Deadlines are in the guest's TSC, lapic_deadline() is in that of ops->now(). Now is 1000. */
TEST(lapic_tsc_deadline_follows_the_guests_tsc)
{
	struct clock c;
	struct lapic l;

	setup_x2(&l, &c, 1);
	set(&l, X2(APIC_LVTT), APIC_LVT_TIMER_TSCDEADLINE | 0x40);
	lapic_tsc_adjusted(&l, 1ull << 40);
	EXPECT_EQ(NONE, lapic_deadline(&l));
	set(&l, MSR_IA32_TSC_DEADLINE, (1ull << 40) + 1500);
	EXPECT_EQ(1500, lapic_deadline(&l));
	/* 200 back: 200 later. 600 on: passed, by 100. */
	c.changes = 0;
	lapic_tsc_adjusted(&l, (1ull << 40) - 200);
	EXPECT_EQ(1700, lapic_deadline(&l));
	EXPECT_TRUE(c.changes > 0);
	lapic_tsc_adjusted(&l, (1ull << 40) + 600);
	EXPECT_EQ(900, lapic_deadline(&l));
	lapic_timer_expired(&l);
	EXPECT_EQ(0x40, lapic_pending_vector(&l));
	EXPECT_EQ(0, get(&l, MSR_IA32_TSC_DEADLINE));
	/* The guest's TSC at 50: adjusted by -950. A deadline so far off that it never comes. */
	lapic_tsc_adjusted(&l, 0ull - 950);
	set(&l, MSR_IA32_TSC_DEADLINE, 60);
	EXPECT_EQ(1010, lapic_deadline(&l));
	set(&l, MSR_IA32_TSC_DEADLINE, ~0ull);
	EXPECT_EQ(NONE - 1, lapic_deadline(&l));
	/* Ticks do not see it. */
	set(&l, X2(APIC_LVTT), 0x40);
	set(&l, X2(APIC_TDCR), 0xb);
	set(&l, X2(APIC_TMICT), 300);
	EXPECT_EQ(1300, lapic_deadline(&l));
	lapic_tsc_adjusted(&l, 5000);
	EXPECT_EQ(1300, lapic_deadline(&l));
}

TEST(lapic_timer_with_a_bad_vector)
{
	struct clock c;
	struct lapic l;

	setup(&l, &c, 1);
	lapic_mmio_write(&l, APIC_LVTT, 0x05);
	lapic_mmio_write(&l, APIC_TMICT, 1);
	c.tsc += 2;
	lapic_timer_expired(&l);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(&l));
	lapic_mmio_write(&l, APIC_ESR, 0);
	EXPECT_EQ(0x40, lapic_mmio_read(&l, APIC_ESR));
}

/* Any sequence of accesses: no undefined behaviour, PPR and deadline stay sane. */
TEST(lapic_random_accesses)
{
	u64 seed = 0x9e3779b97f4a7c15ull;
	struct clock c;
	struct lapic l;

	setup(&l, &c, 5);
	for (u32 i = 0; i < 300000; i++) {
		u64 value;
		int v;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		value = seed >> 32;
		c.tsc += (seed >> 7) & 0x3ff;
		switch ((seed >> 20) & 7) {
		case 0: lapic_mmio_write(&l, (seed >> 24) & 0xff0, (u32)value); break;
		case 1: lapic_mmio_read(&l, (seed >> 24) & 0xfff); break;
		case 2:
		case 3: lapic_wrmsr(&l, 0x800 + ((seed >> 24) & 0x3f), value & 0x700ff); break;
		case 4: lapic_rdmsr(&l, 0x800 + ((seed >> 24) & 0x7f), &value); break;
		case 5: lapic_wrmsr(&l, 0x1b, APIC_DEFAULT_PHYS_BASE | (value & 0xc00)); break;
		case 6: lapic_wrmsr(&l, 0x6e0, value & 1 ? c.tsc + (value & 0xfff) : 0); break;
		default: lapic_deliver_lvtpc(&l); break;
		}
		lapic_wrmsr(&l, X2(APIC_SPIV), 0x1ff);
		v = lapic_pending_vector(&l);
		EXPECT_TRUE(v < 256 && (v < 0 || v >= 16));
		if (v >= 0)
			lapic_accept(&l, (u8)v);
		lapic_timer_expired(&l);
		EXPECT_TRUE(lapic_deadline(&l) > c.tsc);
		if (test_failed)
			return;
	}
}

TEST_MAIN()
