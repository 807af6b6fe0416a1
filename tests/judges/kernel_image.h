/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_image.h - what a random kernel finds in memory: tables, handlers, code of both address spaces.
 */
#ifndef TESTS_JUDGES_KERNEL_IMAGE_H_
#define TESTS_JUDGES_KERNEL_IMAGE_H_

#include "program.h"

/* All but the program itself; RAM is zero before. */
void kernel_image(struct program *p);

#endif /* TESTS_JUDGES_KERNEL_IMAGE_H_ */
