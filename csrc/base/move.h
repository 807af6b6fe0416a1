/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.h - pointers into a struct that has been copied to another place.
 *
 * A machine is one struct whose parts point at each other. A copy of it has the same pointers, into the
 * original; each room moves its own with
 *
 *	p->books = moved(move, p->books);
 *
 * which leaves a pointer to anything else (constant tables, NULL) as it is.
 */
#ifndef BASE_MOVE_H_
#define BASE_MOVE_H_

#include "base/types.h"

struct move {
	const void *from;
	void *to;
	size_t size; /* of what was copied, bytes */
};

static inline bool move_concerns(const struct move *move, u64 address)
{
	return address - (u64)(uintptr_t)move->from < move->size;
}

static inline void *moved(const struct move *move, const void *pointer)
{
	u64 address = (u64)(uintptr_t)pointer;

	if (!move_concerns(move, address))
		return (void *)(uintptr_t)address;
	return (u8 *)move->to + (address - (u64)(uintptr_t)move->from);
}

#endif /* BASE_MOVE_H_ */
