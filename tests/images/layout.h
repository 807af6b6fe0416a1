/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - what start.S and the C files of the test images must agree on, beside what the built-in
 * guests use too (guest/layout.h: selectors, RFLAGS, sizes of stacks). Constants only.
 */
#ifndef IMAGES_LAYOUT_H_
#define IMAGES_LAYOUT_H_

#define KERNEL_CS32 0x40
#define FREE_SELECTOR 0x48

#define USER_RETURN_VECTOR 0x80 /* INT from CPL 3: leave run_user() */

#define GDT_ENTRIES 11

#endif /* IMAGES_LAYOUT_H_ */
