/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_review.h - what Unicorn does otherwise than the manual says, or not at all, in whole guests.
 *
 * Each has been looked at once; docs/testing.md tells them. What no line of this covers is a difference that
 * fails.
 */
#ifndef TESTS_JUDGES_WHOLE_REVIEW_H_
#define TESTS_JUDGES_WHOLE_REVIEW_H_

#include "forms.h"

/* What Unicorn has not, or does otherwise than the manual says; reviewed_text() has the reasons. */
enum reviewed {
	REVIEWED_STICKY,
	REVIEWED_EXCEPTION,
	REVIEWED_FXSAVE,
	REVIEWED_TABLE_BITS,
	REVIEWED_DEBUG,
	REVIEWED_UNDEFINED,
	REVIEWED_FLAGS,
	NR_REVIEWED
};

/* A fault with @vector of this instruction is one that Unicorn does not raise, or otherwise. */
bool reviewed_fault(unsigned int vector, const struct form *f);
/* What it stores is of a state that Unicorn has otherwise: enum reviewed; -1: nothing. @undefined: flags
 * differ that are undefined. */
int reviewed_store(const struct form *f, bool undefined);
const char *reviewed_text(enum reviewed what);

#endif /* TESTS_JUDGES_WHOLE_REVIEW_H_ */
