/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random_code.h - for judges that make programs up: chance, and bytes one behind the other.
 *
 * Include it behind struct program, which has .seed, .length and .bytes.
 */
#ifndef TESTS_JUDGES_RANDOM_CODE_H_
#define TESTS_JUDGES_RANDOM_CODE_H_

static u64 random_word(struct program *p)
{
	p->seed ^= p->seed << 13;
	p->seed ^= p->seed >> 7;
	p->seed ^= p->seed << 17;
	return p->seed * 2685821657736338717ull;
}

static u32 below(struct program *p, u32 n)
{
	return (u32)((random_word(p) >> 33) % n);
}

#define EMIT(p, text) emit((p), (text), sizeof(text) - 1)
static void emit(struct program *p, const void *bytes, size_t n)
{
	memcpy(p->bytes + p->length, bytes, n);
	p->length += (u32)n;
}

static void byte(struct program *p, unsigned int v)
{
	p->bytes[p->length++] = (u8)v;
}

static void word32(struct program *p, u32 v)
{
	emit(p, &v, sizeof(v));
}

static inline void word64(struct program *p, u64 v)
{
	emit(p, &v, sizeof(v));
}

#endif /* TESTS_JUDGES_RANDOM_CODE_H_ */
