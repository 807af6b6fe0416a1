/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what a test image says: one line a check on the serial port, in the manner of TAP, and
 * an exit value that sums it up.
 *
 *	ok 3 - branches of a loop
 *	not ok 4 - LLC misses: expected 8, got 9
 *	# words of explanation
 *	1..4
 *
 * Formats know %u and %d (decimal), %x (hexadecimal), %c and %s; the numbers are u64. The name of a
 * check is a format, too.
 */
#ifndef IMAGES_REPORT_H_
#define IMAGES_REPORT_H_

#include "base/types.h"

void console_init(void);
void print(const char *format, ...);

/* A check: the value must be as expected, or between two. Returns whether it is. */
bool expect(u64 got, u64 expected, const char *name, ...);
bool expect_between(u64 got, u64 low, u64 high, const char *name, ...);
bool expect_true(bool got, const char *name, ...);
/* As expect(), but silent when all is well: for the steps of a check that covers many. */
bool step(u64 got, u64 expected, const char *name, ...);

/*
 * The arrangement behaves in another way than silicon, which is known and allowed: one line
 * "# differs: ID", which the test beside the images holds against what the mode may do.
 */
void differs(const char *id);

/* The last line, and the end: 0 if all checks passed, 1 if one failed, 2 if there was none. */
__attribute__((noreturn)) void report_finish(void);
/* The image cannot go on. */
__attribute__((noreturn)) void give_up(const char *format, ...);

#endif /* IMAGES_REPORT_H_ */
