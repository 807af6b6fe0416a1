// SPDX-License-Identifier: Apache-2.0
/*
 * test_apic_bus.c - csrc/platform/apic_bus.c: three local APICs, who of them gets an IPI and when.
 * Expected values are from the architecture, and from the rule that an IPI takes effect at the
 * sender's time.
 */
#include "platform/apic_bus.h"

#include "test.h"

#define BASE_X2 0xc00u
#define NONE (~0ull)
#define X2(offset) (APIC_X2APIC_MSR_BASE + ((offset) >> 4))
#define NR 3

struct board;

/* What an APIC has for a context. */
struct place {
	struct board *board;
	u32 n;
};

struct board {
	u64 tsc[NR];
	u32 changes[NR], inits[NR], sipis[NR];
	u32 vector[NR]; /* of the last SIPI */
	struct apic_bus bus;
	struct lapic lapic[NR];
	struct place place[NR];
};

static u64 board_now(void *ctx)
{
	const struct place *p = ctx;

	return p->board->tsc[p->n];
}

static void board_changed(void *ctx)
{
	const struct place *p = ctx;

	p->board->changes[p->n]++;
}

static void board_init(void *ctx)
{
	const struct place *p = ctx;

	p->board->inits[p->n]++;
}

static void board_sipi(void *ctx, u8 vector)
{
	const struct place *p = ctx;

	p->board->sipis[p->n]++;
	p->board->vector[p->n] = vector;
}

static const struct lapic_ops ops = {
	.now = board_now,
	.changed = board_changed,
	.init = board_init,
	.sipi = board_sipi,
};

/* Software enabled, xAPIC mode, logical IDs 1, 2 and 4; all at 1000. */
static void setup(struct board *b)
{
	memset(b, 0, sizeof(*b));
	for (u32 n = 0; n < NR; n++) {
		struct lapic *l = &b->lapic[n];

		b->tsc[n] = 1000;
		b->place[n] = (struct place){b, n};
		lapic_init(l, n, &ops, &b->place[n]);
		l->bus = &b->bus;
		b->bus.lapic[b->bus.nr++] = l;
		lapic_mmio_write(l, APIC_SPIV, 0x1ff);
		lapic_mmio_write(l, APIC_LDR, 1u << (24 + n));
	}
}

static void x2apic(struct lapic *l)
{
	EXPECT_EQ(0, lapic_wrmsr(l, MSR_IA32_APICBASE,
				 (l->apic_base & 0x100) | APIC_DEFAULT_PHYS_BASE | BASE_X2));
}

static void send(struct lapic *l, u32 to, u32 low)
{
	if (lapic_x2apic(l)) {
		EXPECT_EQ(0, lapic_wrmsr(l, X2(APIC_ICR), (u64)to << 32 | low));
		return;
	}
	lapic_mmio_write(l, APIC_ICR2, to << 24);
	lapic_mmio_write(l, APIC_ICR, low);
}

/* Who has it: bit n for APIC n. */
static u32 got_vector(const struct board *b, int vector)
{
	u32 got = 0;

	for (u32 n = 0; n < NR; n++)
		got |= (u32)(lapic_pending_vector(&b->lapic[n]) == vector) << n;
	return got;
}

static u32 got_nmi(const struct board *b)
{
	u32 got = 0;

	for (u32 n = 0; n < NR; n++)
		got |= (u32)b->lapic[n].nmi_pending << n;
	return got;
}

struct bus_case {
	bool x2apic;
	u32 dest; /* xAPIC: the destination byte */
	u32 low;
	u32 got; /* bit n: APIC n */
};

/* APIC 1 sends; xAPIC: flat. x2APIC logical IDs of 0, 1 and 2: cluster 0, members 1, 2 and 4. */
static const struct bus_case bus_cases[] = {
	{false, 0, 0x00040, 1},	     /* physical */
	{false, 1, 0x00040, 2},	     /* itself */
	{false, 2, 0x00440, 4},	     /* NMI */
	{false, 3, 0x00040, 0},	     /* nobody */
	{false, 0xff, 0x00040, 7},   /* all, by the destination */
	{false, 0, 0x40040, 2},	     /* shorthands: self, ... */
	{false, 0, 0x80040, 7},	     /* ... all, ... */
	{false, 0, 0xc0040, 5},	     /* ... all others */
	{false, 0, 0xc0440, 5},	     /* the same by NMI */
	{false, 5, 0x00840, 5},	     /* logical: 1 | 4 */
	{false, 6, 0x00c40, 6},	     /* logical NMI: 2 | 4 */
	{false, 8, 0x00840, 0},	     /* logical, nobody */
	{false, 0xff, 0x00840, 7},   /* logical, all */
	{false, 6, 0x00940, 2},	     /* lowest priority of 1 and 2: equals, the first */
	{false, 4, 0x00940, 4},	     /* of one */
	{true, 0, 0x00040, 1},	     /* physical */
	{true, 2, 0x00440, 4},	     /* NMI */
	{true, 0x100, 0x00040, 0},   /* 32 bits of destination */
	{true, 0xff, 0x00040, 0},    /* not all */
	{true, ~0u, 0x00040, 7},     /* all */
	{true, 0, 0xc0040, 5},	     /* all others */
	{true, 0x5, 0x00840, 5},     /* logical: members 1 and 4 */
	{true, 0xffff, 0x00c40, 7},  /* all members of cluster 0, NMI */
	{true, 0x10005, 0x00840, 0}, /* cluster 1 */
	{true, ~0u, 0x00940, 1},     /* lowest priority of all */
};

TEST(apic_bus_finds_who_is_addressed)
{
	for (u32 i = 0; i < ARRAY_SIZE(bus_cases); i++) {
		const struct bus_case *t = &bus_cases[i];
		bool nmi = (t->low & 0x700) == 0x400;
		struct board b;

		setup(&b);
		for (u32 n = 0; n < NR && t->x2apic; n++)
			x2apic(&b.lapic[n]);
		send(&b.lapic[1], t->dest, t->low);
		if (t->got != (nmi ? got_nmi(&b) : got_vector(&b, 0x40)))
			printf("# case %u\n", i);
		EXPECT_EQ(t->got, nmi ? got_nmi(&b) : got_vector(&b, 0x40));
		EXPECT_EQ(0, nmi ? got_vector(&b, 0x40) : got_nmi(&b));
		EXPECT_EQ(!t->got, b.lapic[1].ignored_ipis);
	}
}

/* Flat in the sender, clusters in the others: each reads the destination in its own way. */
TEST(apic_bus_cluster_model)
{
	struct board b;

	setup(&b);
	for (u32 n = 0; n < NR; n++) {
		lapic_mmio_write(&b.lapic[n], APIC_DFR, 0);
		lapic_mmio_write(&b.lapic[n], APIC_LDR, n == 2 ? 0x21000000 : 0x11000000u << n);
	}
	/* 0: cluster 1, member 1; 1: cluster 2, member 2; 2: cluster 2, member 1 */
	send(&b.lapic[0], 0x23, 0x00840);
	EXPECT_EQ(6, got_vector(&b, 0x40));
	send(&b.lapic[0], 0xf1, 0x00850);
	EXPECT_EQ(5, got_vector(&b, 0x50));
	send(&b.lapic[0], 0x31, 0x00860);
	EXPECT_EQ(0, got_vector(&b, 0x60));
	EXPECT_EQ(1, b.lapic[0].ignored_ipis);
}

TEST(apic_bus_modes_mixed)
{
	struct board b;

	setup(&b);
	x2apic(&b.lapic[0]);
	send(&b.lapic[0], 2, 0x00040); /* physical destinations find everybody */
	EXPECT_EQ(4, got_vector(&b, 0x40));
	send(&b.lapic[2], 0, 0x00041);
	EXPECT_EQ(1, got_vector(&b, 0x41));
	send(&b.lapic[0], ~0u, 0x00050);
	EXPECT_EQ(7, got_vector(&b, 0x50));
	send(&b.lapic[2], 7, 0x00860); /* logical ones their like */
	EXPECT_EQ(6, got_vector(&b, 0x60));
}

/* Priorities 0x20, 0x30 and 0x10: the third; with it off, the first; with all off, nobody. */
TEST(apic_bus_lowest_priority)
{
	struct board b;

	setup(&b);
	lapic_mmio_write(&b.lapic[0], APIC_TASKPRI, 0x20);
	lapic_mmio_write(&b.lapic[1], APIC_TASKPRI, 0x30);
	lapic_mmio_write(&b.lapic[2], APIC_TASKPRI, 0x10);
	send(&b.lapic[1], 7, 0x00940);
	EXPECT_EQ(4, got_vector(&b, 0x40));
	/* It is at work on 0x40 now, and the others are less busy. */
	lapic_accept(&b.lapic[2], 0x40);
	send(&b.lapic[1], 7, 0x00950);
	EXPECT_EQ(1, got_vector(&b, 0x50));
	lapic_mmio_write(&b.lapic[2], APIC_EOI, 0);
	lapic_mmio_write(&b.lapic[2], APIC_SPIV, 0xff);
	send(&b.lapic[1], 7, 0x00960);
	EXPECT_EQ(1, got_vector(&b, 0x60));
	lapic_mmio_write(&b.lapic[0], APIC_SPIV, 0xff);
	lapic_mmio_write(&b.lapic[1], APIC_SPIV, 0xff);
	EXPECT_EQ(0, b.lapic[1].ignored_ipis);
	send(&b.lapic[1], 7, 0x00970);
	EXPECT_EQ(0, got_vector(&b, 0x70));
	EXPECT_EQ(1, b.lapic[1].ignored_ipis);
}

TEST(apic_bus_init_and_sipi)
{
	struct board b;

	setup(&b);
	send(&b.lapic[0], 0, 0xc4500); /* INIT, all others */
	EXPECT_EQ(0, b.inits[0]);
	EXPECT_EQ(1, b.inits[1]);
	EXPECT_EQ(1, b.inits[2]);
	send(&b.lapic[0], 2, 0x00608);
	EXPECT_EQ(0, b.sipis[1]);
	EXPECT_EQ(1, b.sipis[2]);
	EXPECT_EQ(8, b.vector[2]);
	send(&b.lapic[1], 1, 0x04500); /* a CPU stops itself */
	EXPECT_EQ(2, b.inits[1]);
	EXPECT_EQ(0, b.lapic[0].ignored_ipis + b.lapic[1].ignored_ipis);
	send(&b.lapic[0], 1, 0x08500); /* de-assert: nothing at all */
	EXPECT_EQ(2, b.inits[1]);
	EXPECT_EQ(0, b.lapic[0].ignored_ipis);
	send(&b.lapic[1], 0, 0x04500); /* to the bootstrap CPU: not modelled */
	EXPECT_EQ(0, b.inits[0]);
	EXPECT_EQ(1, b.lapic[1].ignored_ipis);
	send(&b.lapic[0], 0, 0x84500); /* shorthands that they cannot have */
	send(&b.lapic[0], 0, 0x44608);
	send(&b.lapic[0], 1, 0x00200); /* SMI */
	EXPECT_EQ(2, b.inits[1]);
	EXPECT_EQ(1, b.sipis[2]);
	EXPECT_EQ(3, b.lapic[0].ignored_ipis);
}

/* What INIT leaves: the ID, and the mode. */
TEST(apic_bus_init_resets_the_apic)
{
	for (u32 x2 = 0; x2 < 2; x2++) {
		struct board b;
		struct lapic *l = &b.lapic[2];

		setup(&b);
		if (x2)
			x2apic(l);
		lapic_tsc_adjusted(l, 500);
		if (x2) {
			EXPECT_EQ(0, lapic_wrmsr(l, X2(APIC_LVTPC), 0x400));
			EXPECT_EQ(0, lapic_wrmsr(l, X2(APIC_TMICT), 100));
		} else {
			lapic_mmio_write(l, APIC_LVTPC, 0x400);
			lapic_mmio_write(l, APIC_TMICT, 100);
		}
		lapic_post(l, 0x80);
		send(&b.lapic[0], 2, 0x00400);
		EXPECT_TRUE(l->nmi_pending);
		send(&b.lapic[0], 2, 0x04500);
		EXPECT_EQ(1, b.inits[2]);
		EXPECT_EQ(0xff, lapic_reg(l, APIC_SPIV));
		EXPECT_EQ(APIC_LVT_MASKED, lapic_reg(l, APIC_LVTPC));
		EXPECT_EQ(NONE, lapic_deadline(l));
		EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(l));
		EXPECT_TRUE(!l->nmi_pending);
		EXPECT_EQ(x2 ? 2 : 2u << 24, lapic_reg(l, APIC_ID));
		EXPECT_EQ(x2 ? 4 : 0, lapic_reg(l, APIC_LDR));
		EXPECT_EQ(APIC_DEFAULT_PHYS_BASE | (x2 ? BASE_X2 : 0x800), l->apic_base);
		EXPECT_EQ(500, l->tsc_adjust);
	}
}

TEST(apic_bus_turned_off_hears_nothing)
{
	struct board b;

	setup(&b);
	EXPECT_EQ(0, lapic_wrmsr(&b.lapic[2], MSR_IA32_APICBASE, APIC_DEFAULT_PHYS_BASE));
	send(&b.lapic[0], 2, 0x00400);
	send(&b.lapic[0], 2, 0x04500);
	EXPECT_EQ(0, got_nmi(&b));
	EXPECT_EQ(0, b.inits[2]);
	EXPECT_EQ(2, b.lapic[0].ignored_ipis);
	/* Off by software only: NMI, INIT and SIPI arrive. */
	lapic_mmio_write(&b.lapic[1], APIC_SPIV, 0xff);
	send(&b.lapic[0], 1, 0x00400);
	EXPECT_EQ(2, got_nmi(&b));
	send(&b.lapic[0], 1, 0x04500);
	EXPECT_EQ(1, b.inits[1]);
}

TEST(apic_bus_arrives_at_the_senders_time)
{
	struct board b;
	struct lapic *l = &b.lapic[2];

	setup(&b);
	b.tsc[0] = 1300;
	b.tsc[1] = 1200;
	send(&b.lapic[0], 2, 0x00050);
	b.changes[2] = 0;
	send(&b.lapic[1], 2, 0x00040); /* sent later in our order, and earlier in theirs */
	EXPECT_TRUE(b.changes[2] > 0);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(l));
	EXPECT_EQ(1200, lapic_inbox_deadline(l));
	b.tsc[2] = 1199;
	lapic_inbox_due(l);
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(l));
	b.tsc[2] = 1200;
	lapic_inbox_due(l);
	EXPECT_EQ(0x40, lapic_pending_vector(l));
	EXPECT_EQ(1300, lapic_inbox_deadline(l));
	b.tsc[2] = 1400;
	lapic_inbox_due(l);
	EXPECT_EQ(0x50, lapic_pending_vector(l));
	EXPECT_EQ(NONE, lapic_inbox_deadline(l));
	/* A target that is further on takes it at once. */
	send(&b.lapic[0], 2, 0x00060);
	EXPECT_EQ(0x60, lapic_pending_vector(l));
	EXPECT_EQ(NONE, lapic_inbox_deadline(l));
}

/* An NMI before an INIT is lost by it, one after it is not; whoever looks late finds the same. */
TEST(apic_bus_keeps_the_order)
{
	struct board b;
	struct lapic *l = &b.lapic[2];

	setup(&b);
	b.tsc[0] = 1100;
	send(&b.lapic[0], 2, 0x00400);
	b.tsc[0] = 1200;
	send(&b.lapic[0], 2, 0x04500);
	b.tsc[2] = 1500;
	send(&b.lapic[0], 2, 0x00608); /* at once, and so after what waits */
	EXPECT_EQ(1, b.inits[2]);
	EXPECT_EQ(1, b.sipis[2]);
	EXPECT_TRUE(!l->nmi_pending);
	setup(&b);
	b.tsc[0] = 1200;
	send(&b.lapic[0], 2, 0x04500);
	send(&b.lapic[0], 2, 0x00400); /* at the same time: in the order of sending */
	b.tsc[2] = 1200;
	lapic_inbox_due(l);
	EXPECT_EQ(1, b.inits[2]);
	EXPECT_TRUE(l->nmi_pending);
}

/* As many as fit and 8 more, each another vector: those 8 are early, and none is lost. */
TEST(apic_bus_full_inbox)
{
	u32 nr = LAPIC_INBOX_SIZE + 8;
	struct board b;
	struct lapic *l = &b.lapic[2];

	setup(&b);
	for (u32 i = 0; i < nr; i++) {
		b.tsc[0] = 2000 + i;
		send(&b.lapic[0], 2, 0x40 + i);
	}
	EXPECT_EQ(0x47, lapic_pending_vector(l));
	EXPECT_EQ(2008, lapic_inbox_deadline(l));
	b.tsc[2] = 3000;
	lapic_inbox_due(l);
	for (u32 i = nr; i-- > 0;) {
		EXPECT_EQ(0x40 + i, lapic_pending_vector(l));
		lapic_accept(l, (u8)(0x40 + i));
		lapic_mmio_write(l, APIC_EOI, 0);
	}
	EXPECT_EQ((u64)-1, (s64)lapic_pending_vector(l));
}

TEST(apic_bus_restore_takes_what_is_on_its_way)
{
	struct board b, other;

	setup(&b);
	setup(&other);
	b.tsc[0] = 1300;
	send(&b.lapic[0], 2, 0x00040);
	lapic_restore(&other.lapic[2], &b.lapic[2]);
	EXPECT_EQ(1300, lapic_inbox_deadline(&other.lapic[2]));
	EXPECT_TRUE(other.lapic[2].bus == &other.bus);
	other.tsc[2] = 1300;
	lapic_inbox_due(&other.lapic[2]);
	EXPECT_EQ(4, got_vector(&other, 0x40));
	EXPECT_EQ(0, got_vector(&b, 0x40));
}

TEST(apic_bus_copies_are_apart)
{
	static struct board b, copy;
	struct move move = {.from = &b, .to = &copy, .size = sizeof(b)};

	setup(&b);
	copy = b;
	apic_bus_moved(&copy.bus, &move);
	for (u32 n = 0; n < NR; n++) {
		lapic_moved(&copy.lapic[n], &move);
		copy.place[n].board = &copy;
	}
	send(&copy.lapic[0], 2, 0x00040);
	send(&copy.lapic[0], 1, 0x04500);
	EXPECT_EQ(4, got_vector(&copy, 0x40));
	EXPECT_EQ(1, copy.inits[1]);
	EXPECT_EQ(0, got_vector(&b, 0x40));
	EXPECT_EQ(0, b.inits[1]);
}

TEST_MAIN()
