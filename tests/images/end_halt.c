// SPDX-License-Identifier: Apache-2.0
/*
 * end_halt.c - the ways to report and to end without the serial port and the exit port: text to port
 * 0x8900, then HLT with interrupts off, which is the end.
 */
#include "runtime.h"

#define TEXT_PORT 0x8900

static void say(const char *text)
{
	while (*text)
		outb((u8)*text++, TEXT_PORT);
}

void image_main(void)
{
	say("ok 1 - text by port 0x8900\n");
	/* A double word is its bytes, low one first: "ok 2". */
	outl(0x32206b6f, TEXT_PORT);
	say(" - four bytes at once\n1..2\n");
	__asm__ volatile("cli\n\thlt");
	give_up("HLT went on");
}
