/* SPDX-License-Identifier: Apache-2.0 */
/*
 * types.h - integer names and bit helpers, spelled as in the kernel.
 */
#ifndef BASE_TYPES_H_
#define BASE_TYPES_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

#define BIT_ULL(n) (1ULL << (n))
#define GENMASK_ULL(hi, lo) ((~0ULL >> (63 - (hi))) & (~0ULL << (lo)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Visit each set bit of a u64 lvalue-free expression, lowest first. */
#define for_each_set_bit(bit, mask)                                                                \
	for (u64 m_##bit = (mask); m_##bit && ((bit) = (u32)__builtin_ctzll(m_##bit), true);       \
	     m_##bit &= m_##bit - 1)

static __always_inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

static __always_inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

#endif /* BASE_TYPES_H_ */
