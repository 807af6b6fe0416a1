/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intel.h - where Intel's processors differ from AMD's, whose behaviour the interpreter has.
 *
 * All of it is what the manuals leave to the processor, or what the two makers' manuals say differently;
 * no workload of the lab depends on it.
 */
#ifndef TESTS_JUDGES_INTEL_H_
#define TESTS_JUDGES_INTEL_H_

#include "judged.h"

/* A difference that has been found is one of these, and the processor is Intel's. */
bool is_intels(const struct judge *j, const struct form *f);

#endif /* TESTS_JUDGES_INTEL_H_ */
