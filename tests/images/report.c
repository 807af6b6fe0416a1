// SPDX-License-Identifier: Apache-2.0
/*
 * report.c - the serial port, formatted text, checks and the exit value. Interface: report.h.
 *
 * Not modelled: flow control, receiving. A transmitter that is never ready loses the text, so that
 * the exit value still comes.
 */
#include "report.h"

#include <stdarg.h>

#include "guest/insn.h"

#define UART 0x3f8
#define UART_DATA (UART + 0)
#define UART_IER (UART + 1)
#define UART_FCR (UART + 2)
#define UART_LCR (UART + 3)
#define UART_MCR (UART + 4)
#define UART_LSR (UART + 5)
#define LCR_DLAB 0x80
#define LCR_8N1 0x03
#define LSR_TRANSMITTER_EMPTY 0x20
#define POLL_LIMIT 100000
#define PORT_EXIT 0xf4

static u64 nr_checks, nr_failed;

void console_init(void)
{
	outb(LCR_DLAB, UART_LCR);
	outb(1, UART_DATA); /* 115200 baud */
	outb(0, UART_IER);
	outb(LCR_8N1, UART_LCR);
	outb(0, UART_IER);
	outb(1, UART_FCR);
	outb(3, UART_MCR);
}

static void put_char(char c)
{
	u32 polls = 0;

	while (!(inb(UART_LSR) & LSR_TRANSMITTER_EMPTY))
		if (++polls == POLL_LIMIT)
			return;
	outb((u8)c, UART_DATA);
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

static void put_signed(u64 value)
{
	if ((s64)value < 0) {
		put_char('-');
		value = 0 - value;
	}
	put_number(value, 10);
}

static void put_list(const char *format, va_list args)
{
	for (; *format; format++) {
		if (*format != '%') {
			put_char(*format);
			continue;
		}
		switch (*++format) {
		case 's': put_string(va_arg(args, const char *)); break;
		case 'u': put_number(va_arg(args, u64), 10); break;
		case 'd': put_signed(va_arg(args, u64)); break;
		case 'c': put_char((char)va_arg(args, u64)); break;
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
	put_list(format, args);
	va_end(args);
}

static void begin_line(bool passed)
{
	if (!passed) {
		put_string("not ");
		nr_failed++;
	}
	print("ok %u - ", ++nr_checks);
}

/* Small numbers are counts, large ones are registers. */
static void put_value(u64 value)
{
	print(value < BIT_ULL(32) ? "%u" : "%x", value);
}

static void end_line(bool passed, u64 got, u64 expected)
{
	if (!passed) {
		put_string(": expected ");
		put_value(expected);
		put_string(", got ");
		put_value(got);
	}
	put_char('\n');
}

bool expect(u64 got, u64 expected, const char *name, ...)
{
	va_list args;

	begin_line(got == expected);
	va_start(args, name);
	put_list(name, args);
	va_end(args);
	end_line(got == expected, got, expected);
	return got == expected;
}

bool expect_true(bool got, const char *name, ...)
{
	va_list args;

	begin_line(got);
	va_start(args, name);
	put_list(name, args);
	va_end(args);
	end_line(got, got, true);
	return got;
}

bool expect_between(u64 got, u64 low, u64 high, const char *name, ...)
{
	bool passed = got >= low && got <= high;
	va_list args;

	begin_line(passed);
	va_start(args, name);
	put_list(name, args);
	va_end(args);
	if (!passed) {
		print(": expected ");
		put_value(low);
		print(" to ");
		put_value(high);
		print(", got ");
		put_value(got);
	}
	put_char('\n');
	return passed;
}

bool step(u64 got, u64 expected, const char *name, ...)
{
	va_list args;

	if (got == expected)
		return true;
	begin_line(false);
	va_start(args, name);
	put_list(name, args);
	va_end(args);
	end_line(false, got, expected);
	return false;
}

void differs(const char *id)
{
	print("# differs: %s\n", id);
}

static __attribute__((noreturn)) void exit_with(u32 value)
{
	outl(value, PORT_EXIT);
	for (;;)
		__asm__ volatile("cli\n\thlt");
}

void report_finish(void)
{
	print("1..%u\n", nr_checks);
	if (nr_failed)
		print("# %u of %u failed\n", nr_failed, nr_checks);
	if (!nr_checks)
		exit_with(2);
	exit_with(nr_failed ? 1 : 0);
}

void give_up(const char *format, ...)
{
	va_list args;

	print("Bail out! ");
	va_start(args, format);
	put_list(format, args);
	va_end(args);
	put_char('\n');
	exit_with(1);
}
