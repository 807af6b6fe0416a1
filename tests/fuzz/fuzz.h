/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the fuzz targets share: reading an input, and saying that something must hold.
 *
 * A target is LLVMFuzzerTestOneInput() as libFuzzer has it. It reads its input from the front with
 * take*(); what is missing reads as zeros, so that every input means something. What it says of the
 * input's meaning stands at its head, and seeds.py writes inputs in these terms.
 */
#ifndef TESTS_FUZZ_FUZZ_H_
#define TESTS_FUZZ_FUZZ_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, which is what a fuzzer looks for. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,          \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct input {
	const u8 *at, *end;
};

static inline struct input input_of(const u8 *data, size_t size)
{
	return (struct input){data, data + size};
}

static inline size_t input_left(const struct input *in)
{
	return (size_t)(in->end - in->at);
}

/* Copies at most @n bytes, zeroes the rest of them; how many there were. */
static inline size_t take_bytes(struct input *in, void *to, size_t n)
{
	size_t given = input_left(in) < n ? input_left(in) : n;

	memset(to, 0, n);
	if (given)
		memcpy(to, in->at, given);
	in->at += given;
	return given;
}

#define DEFINE_TAKE(type)                                                                          \
	static inline type take_##type(struct input *in)                                           \
	{                                                                                          \
		type value;                                                                        \
                                                                                                   \
		take_bytes(in, &value, sizeof(value));                                             \
		return value;                                                                      \
	}

DEFINE_TAKE(u8)
DEFINE_TAKE(u16)
DEFINE_TAKE(u32)
DEFINE_TAKE(u64)

#endif /* TESTS_FUZZ_FUZZ_H_ */
