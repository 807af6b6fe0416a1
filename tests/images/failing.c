// SPDX-License-Identifier: Apache-2.0
/*
 * failing.c - an image that fails: so that the tests know what a failure looks like.
 */
#include "runtime.h"

void image_main(void)
{
	expect(2, 2, "what is right");
	expect(3, 4, "what is %s", "wrong");
	expect_between(0x123456789, 1, 2, "what is outside");
	step(5, 6, "a step");
}
