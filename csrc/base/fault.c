// SPDX-License-Identifier: Apache-2.0
/*
 * fault.c - which fault a fault build has. Interface: fault.h; in no other build.
 *
 * A name that is not in the list ends the program: a run that tests no fault must not look like one.
 */
#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum fault_id base_fault;

static const char *const names[] = {
	"NONE",
#define FAULT(id, rule, text) #id,
#include "base/faults.def"
#undef FAULT
};

__attribute__((constructor)) static void choose_fault(void)
{
	const char *name = getenv("PMUPASS_FAULT");

	if (!name)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]))
			continue;
		base_fault = (enum fault_id)i;
		return;
	}
	fprintf(stderr, "PMUPASS_FAULT: no fault %s in csrc/base/faults.def\n", name);
	_Exit(3);
}
