/* SPDX-License-Identifier: Apache-2.0 */
/* test_histogram.c - percentiles in bounded memory (truth/histogram.h). */
#include "truth/histogram.h"

#include "test.h"

static struct histogram h;

TEST(empty_is_zero)
{
	memset(&h, 0, sizeof(h));
	EXPECT_EQ(0, histogram_percentile(&h, 500));
	EXPECT_EQ(0, histogram_percentile(&h, 1000));
}

TEST(small_values_are_exact)
{
	memset(&h, 0, sizeof(h));
	for (uint64_t v = 1; v <= 1000; v++)
		histogram_add(&h, v);
	/* At or below which 50 %, 99 %, 100 % lie: the 500th, 990th and 1000th smallest. */
	EXPECT_EQ(500, histogram_percentile(&h, 500));
	EXPECT_EQ(990, histogram_percentile(&h, 990));
	EXPECT_EQ(1000, histogram_percentile(&h, 1000));
	EXPECT_EQ(1, histogram_percentile(&h, 1));
}

TEST(one_value_is_every_percentile)
{
	memset(&h, 0, sizeof(h));
	histogram_add(&h, 777);
	EXPECT_EQ(777, histogram_percentile(&h, 1));
	EXPECT_EQ(777, histogram_percentile(&h, 500));
	EXPECT_EQ(777, histogram_percentile(&h, 999));
}

TEST(large_values_to_within_a_sixty_fourth)
{
	for (unsigned int bit = 10; bit < 64; bit++) {
		uint64_t v = (1ull << bit) + (1ull << (bit - 1)) + 12345 % (1ull << (bit - 2)), p;

		memset(&h, 0, sizeof(h));
		histogram_add(&h, v);
		histogram_add(&h, ~0ull);
		p = histogram_percentile(&h, 500);
		EXPECT_TRUE(p <= v && v - p <= v / 64);
	}
}

TEST(the_ends_of_every_octave_stay_in_bounds)
{
	memset(&h, 0, sizeof(h));
	histogram_add(&h, 0);
	for (unsigned int bit = 0; bit < 64; bit++) {
		histogram_add(&h, 1ull << bit);
		histogram_add(&h, (1ull << bit) - 1 + (1ull << bit));
	}
	EXPECT_EQ(129, h.count);
	EXPECT_EQ(~0ull, h.max);
	EXPECT_EQ(0, histogram_percentile(&h, 1));
}

/* 1 to 1000 in two halves is as 1 to 1000 in one. */
TEST(all_of_another)
{
	static struct histogram other;

	memset(&h, 0, sizeof(h));
	memset(&other, 0, sizeof(other));
	for (unsigned int v = 1; v <= 1000; v++)
		histogram_add(v % 2 ? &h : &other, v);
	histogram_add_all(&h, &other);
	EXPECT_EQ(1000, h.count);
	EXPECT_EQ(1000, h.max);
	EXPECT_EQ(500, histogram_percentile(&h, 500));
	EXPECT_EQ(990, histogram_percentile(&h, 990));
}

TEST_MAIN()
