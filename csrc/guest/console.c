// SPDX-License-Identifier: Apache-2.0
/*
 * console.c - a polled 16550 and the exit port. Interface: console.h.
 *
 * Not modelled: line settings (the machine's port has none that matter).
 */
#include <stdarg.h>

#include "guest/console.h"
#include "guest/insn.h"
#include "guest/pp_guest.h"

#define UART_LSR (PP_PORT_SERIAL + 5)
#define UART_LSR_THRE 0x20
#define POLL_LIMIT 100000 /* no port, no words: go on to the exit value */

static const char *program_name = "guest";

static void put_char(char c)
{
	u32 polls = 0;

	while (!(inb(UART_LSR) & UART_LSR_THRE))
		if (++polls == POLL_LIMIT)
			return;
	outb((u8)c, PP_PORT_SERIAL);
}

static void put_string(const char *s)
{
	for (; *s; s++)
		put_char(*s);
}

static void put_number(u64 value, u32 base)
{
	char digits[20];
	u32 n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put_char(digits[--n]);
}

static void print_list(const char *format, va_list args)
{
	for (; *format; format++) {
		if (*format != '%') {
			put_char(*format);
			continue;
		}
		switch (*++format) {
		case 's': put_string(va_arg(args, const char *)); break;
		case 'u': put_number(va_arg(args, u64), 10); break;
		case 'x':
			put_string("0x");
			put_number(va_arg(args, u64), 16);
			break;
		case '\0': return;
		default: put_char(*format);
		}
	}
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_list(format, args);
	va_end(args);
}

static void __attribute__((noreturn)) halt(void)
{
	for (;;)
		__asm__ volatile("cli\n\thlt");
}

void die(const char *format, ...)
{
	static u32 somebody_did;
	u32 before = 1;
	va_list args;

	/* One CPU has its say. */
	__asm__ volatile("xchgl %0, %1" : "+r"(before), "+m"(somebody_did) : : "memory");
	if (before)
		halt();
	print("%s: ", program_name);
	va_start(args, format);
	print_list(format, args);
	va_end(args);
	put_char('\n');
	exit_guest(1);
}

void exit_guest(u32 value)
{
	outl(value, PP_PORT_EXIT);
	halt();
}

void console_init(const char *program)
{
	program_name = program;
}
