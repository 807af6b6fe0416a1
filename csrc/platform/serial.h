/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial.h - a 16550 UART at 0x3f8, transmit side: bytes go to a bounded buffer of the host.
 * Always ready to send; nothing is ever received; interrupts are not modelled.
 */
#ifndef PLATFORM_SERIAL_H_
#define PLATFORM_SERIAL_H_

#include "base/types.h"

#define SERIAL_PORT_BASE 0x3f8
#define SERIAL_MAX (4u << 20) /* bytes kept; more are dropped and .truncated is set */

struct serial {
	u8 regs[8]; /* IER, LCR, MCR, SCR as written; divisor latch apart */
	u8 divisor[2];
	bool fifos;		/* FCR enables them */
	bool transmitter_empty; /* IIR has not told yet */
	char *text;		/* SERIAL_MAX bytes, allocated at init */
	u32 length;
	bool truncated;
};

int serial_init(struct serial *s);				/* -1 when memory is short */
int serial_clone(struct serial *to, const struct serial *from); /* likewise */
void serial_free(struct serial *s);
u8 serial_in(struct serial *s, u16 port);
void serial_out(struct serial *s, u16 port, u8 value);
/* Append to the text, whatever the UART's registers say. */
void serial_text(struct serial *s, u8 byte);

#endif /* PLATFORM_SERIAL_H_ */
