/* SPDX-License-Identifier: Apache-2.0 */
/* test_event_filter.c - KVM_SET_PMU_EVENT_FILTER (kvm/event_filter.c, reference section 4). */
#include "kvm/pmu.h"
#include "test.h"

static bool gp(const struct pp_filter *f, u64 eventsel)
{
	return check_pmu_event_filter(f, eventsel, false, 0);
}

static bool fixed(const struct pp_filter *f, unsigned int i)
{
	return check_pmu_event_filter(f, fixed_counter_event(i), true, i);
}

static struct pp_filter filter_of(u32 action, u32 bitmap, const struct pp_filter_entry *e, u32 nr)
{
	return (struct pp_filter){
		.action = action, .fixed_bitmap = bitmap, .nr_entries = nr, .entries = e};
}

TEST(no_filter_allows_everything)
{
	struct pp_filter f = {.action = PP_FILTER_NONE};

	EXPECT_TRUE(gp(&f, 0xc0) && gp(&f, 0xffff) && fixed(&f, 0) && fixed(&f, 3));
}

TEST(plain_entries_compare_select_and_umask_only)
{
	const struct pp_filter_entry e[] = {
		{.select = 0x3c, .mask = 0xff, .match = 0x00},
		{.select = 0xc0, .mask = 0xff, .match = 0x00},
		{.select = 0xd1, .mask = 0xff, .match = 0x20},
	};
	struct pp_filter allow = filter_of(PP_FILTER_ALLOW, 0, e, 3);
	struct pp_filter deny = filter_of(PP_FILTER_DENY, 0, e, 3);

	EXPECT_TRUE(gp(&allow, 0x00c0) && !gp(&deny, 0x00c0));
	EXPECT_TRUE(!gp(&allow, 0x01c0) && gp(&deny, 0x01c0));
	EXPECT_TRUE(gp(&allow, 0x20d1) && !gp(&allow, 0x00d1));
	/* USR, OS, EDGE, PC, INT, EN, INV, CMASK are not looked at. */
	EXPECT_TRUE(gp(&allow, 0x00c0 | 0xffdf0000ull) && !gp(&deny, 0x00c0 | 0xffdf0000ull));
	EXPECT_TRUE(!gp(&allow, 0x0000) && gp(&deny, 0x0000));
}

TEST(masked_entries_match_under_their_mask)
{
	/* 0x0c = umasks with bits 3:2 set and nothing else below; the upper half is free. */
	const struct pp_filter_entry e[] = {{.select = 0x51, .mask = 0x0f, .match = 0x0c}};
	struct pp_filter f = filter_of(PP_FILTER_ALLOW, 0, e, 1);

	for (unsigned int umask = 0; umask < 256; umask++)
		EXPECT_EQ((umask & 0x0f) == 0x0c, gp(&f, 0x51 | umask << 8));
}

TEST(selects_of_12_bits_are_told_apart)
{
	const struct pp_filter_entry e[] = {
		{.select = 0x0c0, .mask = 0xff, .match = 0x00},
		{.select = 0x18e, .mask = 0xff, .match = 0x18},
		{.select = 0xfff, .mask = 0x00, .match = 0x00},
	};
	struct pp_filter f = filter_of(PP_FILTER_ALLOW, 0, e, 3);

	EXPECT_TRUE(gp(&f, 0x0000000c0ull) && !gp(&f, 0x1000000c0ull) && !gp(&f, 0x8000000c0ull));
	EXPECT_TRUE(gp(&f, 0x10000188eull) && !gp(&f, 0x00000188eull) && !gp(&f, 0x20000188eull));
	EXPECT_TRUE(gp(&f, 0xf000055ffull) && !gp(&f, 0x7000055ffull) && !gp(&f, 0x0000055ffull));
	/* GuestOnly, HostOnly and the bits up to them are no part of it. */
	EXPECT_TRUE(gp(&f, 0x3f0000000c0ull));
}

TEST(an_exclude_entry_wins_whatever_the_order)
{
	const struct pp_filter_entry first[] = {
		{.select = 0x51, .mask = 0xff, .match = 0x04, .exclude = 1},
		{.select = 0x51, .mask = 0x00, .match = 0x00},
	};
	const struct pp_filter_entry last[] = {
		{.select = 0x51, .mask = 0x00, .match = 0x00},
		{.select = 0x51, .mask = 0xff, .match = 0x04, .exclude = 1},
	};
	struct pp_filter a = filter_of(PP_FILTER_ALLOW, 0, first, 2);
	struct pp_filter b = filter_of(PP_FILTER_ALLOW, 0, last, 2);
	struct pp_filter deny = filter_of(PP_FILTER_DENY, 0, last, 2);

	EXPECT_TRUE(gp(&a, 0x0051) && !gp(&a, 0x0451));
	EXPECT_TRUE(gp(&b, 0x0051) && !gp(&b, 0x0451));
	EXPECT_TRUE(!gp(&deny, 0x0051) && gp(&deny, 0x0451));
}

TEST(exclude_alone_matches_nothing)
{
	const struct pp_filter_entry e[] = {{.select = 0xc0, .mask = 0, .match = 0, .exclude = 1}};
	struct pp_filter allow = filter_of(PP_FILTER_ALLOW, ~0u, e, 1);
	struct pp_filter deny = filter_of(PP_FILTER_DENY, 0, e, 1);

	EXPECT_TRUE(!gp(&allow, 0x00c0) && !gp(&allow, 0x003c));
	EXPECT_TRUE(gp(&deny, 0x00c0) && gp(&deny, 0x003c));
}

TEST(match_bits_outside_the_mask_never_match)
{
	const struct pp_filter_entry e[] = {{.select = 0xc0, .mask = 0x0f, .match = 0x10}};
	struct pp_filter f = filter_of(PP_FILTER_ALLOW, 0, e, 1);

	for (unsigned int umask = 0; umask < 256; umask++)
		EXPECT_TRUE(!gp(&f, 0xc0 | umask << 8));
}

TEST(fixed_counters_look_at_the_bitmap_alone)
{
	const struct pp_filter_entry e[] = {{.select = 0xc0, .mask = 0xff, .match = 0}};
	struct pp_filter allow = filter_of(PP_FILTER_ALLOW, 0x2, e, 1);
	struct pp_filter deny = filter_of(PP_FILTER_DENY, 0x2, e, 1);

	/* 0xc0 is listed, and fixed 0 counts it: not looked at. */
	EXPECT_TRUE(!fixed(&allow, 0) && fixed(&allow, 1) && !fixed(&allow, 2));
	EXPECT_TRUE(fixed(&deny, 0) && !fixed(&deny, 1) && fixed(&deny, 2));
}

TEST(three_hundred_entries_are_all_found)
{
	struct pp_filter_entry e[300];
	struct pp_filter f;

	/* Select i with umask 0 for all 256 selects, and 44 more umasks of select 0xff. */
	for (unsigned int i = 0; i < 300; i++)
		e[i] = (struct pp_filter_entry){.select = i < 255 ? (u16)i : 0xff,
						.mask = 0xff,
						.match = i < 255 ? 0 : (u8)(i - 255)};
	f = filter_of(PP_FILTER_ALLOW, 0, e, 300);
	for (unsigned int i = 0; i < 256; i++)
		EXPECT_TRUE(gp(&f, i));
	for (unsigned int umask = 0; umask < 256; umask++)
		EXPECT_EQ(umask < 45, gp(&f, 0xff | umask << 8));
	EXPECT_TRUE(!gp(&f, 0x0100));
}

TEST_MAIN()
