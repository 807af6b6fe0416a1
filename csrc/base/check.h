/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - model invariants, active in every build.
 *
 * A broken invariant is a bug of the model, never of the guest. The first one is kept with its
 * place; the run loop looks at check->broken after each step and stops the machine, which the
 * command line turns into exit status 4. Guest faults are results and do not come here.
 *
 *	if (!PP_CHECK(check, value <= mask))
 *		return;
 */
#ifndef BASE_CHECK_H_
#define BASE_CHECK_H_

#include "base/types.h"

struct pp_check {
	const char *file;      /* of the first broken invariant */
	const char *condition; /* its text */
	int line;
	bool broken;
};

static inline bool pp_check_failed(struct pp_check *check, const char *file, int line,
				   const char *condition)
{
	if (check->broken)
		return false;
	check->file = file;
	check->line = line;
	check->condition = condition;
	check->broken = true;
	return false;
}

#define PP_CHECK(check, condition)                                                                 \
	(likely(condition) ? true : pp_check_failed((check), __FILE__, __LINE__, #condition))

#endif /* BASE_CHECK_H_ */
