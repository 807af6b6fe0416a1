/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test.h - the C test harness: TAP on stdout, one line a test, exit status 1 if any failed.
 *
 *	TEST(lapic_masks_lvtpc_on_delivery)
 *	{
 *		EXPECT_EQ(1, 1);
 *	}
 *	TEST_MAIN()
 *
 * pytest runs each program and makes one case of each TAP line (tests/test_c.py).
 */
#ifndef TESTS_C_TEST_H_
#define TESTS_C_TEST_H_

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct test_case {
	const char *name;
	void (*run)(void);
};

static struct test_case test_cases[512] __attribute__((unused));
static unsigned int test_count __attribute__((unused));
static bool test_failed;

#define TEST(fn)                                                                                   \
	static void fn(void);                                                                      \
	__attribute__((constructor)) static void register_##fn(void)                               \
	{                                                                                          \
		test_cases[test_count++] = (struct test_case){#fn, fn};                            \
	}                                                                                          \
	static void fn(void)

#define EXPECT_EQ(want, got)                                                                       \
	do {                                                                                       \
		uint64_t want_ = (uint64_t)(want), got_ = (uint64_t)(got);                         \
		if (want_ != got_) {                                                               \
			printf("# %s:%d: %s: want %" PRIu64 " (0x%" PRIx64 "), got %" PRIu64       \
			       " (0x%" PRIx64 ")\n",                                               \
			       __FILE__, __LINE__, #got, want_, want_, got_, got_);                \
			test_failed = true;                                                        \
		}                                                                                  \
	} while (0)

#define EXPECT_TRUE(cond)                                                                          \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("# %s:%d: expected %s\n", __FILE__, __LINE__, #cond);               \
			test_failed = true;                                                        \
		}                                                                                  \
	} while (0)

#define EXPECT_STR(want, got)                                                                      \
	do {                                                                                       \
		const char *want_ = (want), *got_ = (got);                                         \
		if (strcmp(want_, got_)) {                                                         \
			printf("# %s:%d: want \"%s\", got \"%s\"\n", __FILE__, __LINE__, want_,    \
			       got_);                                                              \
			test_failed = true;                                                        \
		}                                                                                  \
	} while (0)

#define TEST_MAIN()                                                                                \
	int main(void)                                                                             \
	{                                                                                          \
		bool any = false;                                                                  \
		printf("1..%u\n", test_count);                                                     \
		for (unsigned int i = 0; i < test_count; i++) {                                    \
			test_failed = false;                                                       \
			test_cases[i].run();                                                       \
			printf("%s %u - %s\n", test_failed ? "not ok" : "ok", i + 1,               \
			       test_cases[i].name);                                                \
			fflush(stdout);                                                            \
			any |= test_failed;                                                        \
		}                                                                                  \
		return any;                                                                        \
	}

#endif /* TESTS_C_TEST_H_ */
