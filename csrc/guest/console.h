/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - words on the serial port, and the two ways a guest ends.
 *
 * print() knows %s, %u (u64, decimal), %x (u64, hex with 0x) and %%; numbers are always u64. It is
 * for failures: a guest that passes prints nothing, so that its exits are those of its work.
 */
#ifndef GUEST_CONSOLE_H_
#define GUEST_CONSOLE_H_

#include "base/types.h"

void print(const char *format, ...);
/* print() with the program's name before and a newline behind, then exit value 1. The first CPU that dies
 * speaks, others are silent. */
void die(const char *format, ...) __attribute__((noreturn));
void exit_guest(u32 value) __attribute__((noreturn));
void console_init(const char *program);

#endif /* GUEST_CONSOLE_H_ */
