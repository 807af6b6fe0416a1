// SPDX-License-Identifier: Apache-2.0
/*
 * interrupts.c - exceptions through 64-bit gates: vectors, error codes, what is pushed, and stacks.
 */
#include "runtime.h"

void image_main(void)
{
	expect(attempt("ud2", :: : "memory"), VECTOR_UD, "UD2");
}
