// SPDX-License-Identifier: Apache-2.0
/*
 * serial.c - a 16550 UART that only sends: what the guest prints goes to a bounded buffer.
 *
 * Interface
 *  - serial_in(), serial_out(): ports 0x3f8-0x3ff, one byte. Other ports read 0xff.
 *  - text holds length bytes and no terminating 0; once it is full, truncated is set.
 *  - LSR is always 0x60 (ready to send).
 *  - IIR says "transmitter empty" (0x02) while IER bit 1 is set, after that bit was set or a byte was
 *    sent, until it is read; else no interrupt (0x01). Bits 7 and 6 are set while FCR enables FIFOs.
 *  - Modem status: CTS, DSR and DCD are on; in loopback (MCR bit 4) the outputs of MCR show there,
 *    and what is sent goes nowhere.
 *
 * Not modelled
 *  - Receiving (in loopback too), the interrupt line, FIFOs, time per byte, line errors and breaks, delta bits of MSR.
 */
#include "platform/serial.h"

#include <stdlib.h>
#include <string.h>

/* Registers as offsets from the base; 0 and 1 are the divisor latch while LCR.DLAB is set. */
enum {
	UART_DATA,
	UART_IER,
	UART_IIR, /* write: FCR */
	UART_LCR,
	UART_MCR,
	UART_LSR,
	UART_MSR,
	UART_SCR,
};

#define LCR_DLAB 0x80
#define LSR_READY 0x60
#define IER_TRANSMITTER 0x02
#define FCR_ENABLE 0x01
#define IIR_NONE 0x01
#define IIR_TRANSMITTER 0x02
#define IIR_FIFOS 0xc0
#define MCR_LOOP 0x10
#define MSR_ON 0xb0 /* CTS, DSR, DCD */

int serial_init(struct serial *s)
{
	memset(s, 0, sizeof(*s));
	s->divisor[0] = 1;
	s->text = malloc(SERIAL_MAX);
	return s->text ? 0 : -1;
}

int serial_clone(struct serial *to, const struct serial *from)
{
	*to = *from;
	to->text = malloc(SERIAL_MAX);
	if (!to->text)
		return -1;
	memcpy(to->text, from->text, from->length);
	return 0;
}

void serial_free(struct serial *s)
{
	free(s->text);
	s->text = NULL;
	s->length = 0;
}

static bool divisor_latch(const struct serial *s, u16 reg)
{
	return reg <= UART_IER && (s->regs[UART_LCR] & LCR_DLAB);
}

/* In loopback: RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD. */
static u8 modem_status(const struct serial *s)
{
	u8 mcr = s->regs[UART_MCR];

	if (!(mcr & MCR_LOOP))
		return MSR_ON;
	return (u8)((mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 4) << 4 | (mcr & 8) << 4);
}

static u8 interrupt_id(struct serial *s)
{
	bool empty = s->transmitter_empty && (s->regs[UART_IER] & IER_TRANSMITTER);

	if (empty)
		s->transmitter_empty = false;
	return (empty ? IIR_TRANSMITTER : IIR_NONE) | (s->fifos ? IIR_FIFOS : 0);
}

u8 serial_in(struct serial *s, u16 port)
{
	u16 reg = (u16)(port - SERIAL_PORT_BASE);

	if (reg > UART_SCR)
		return 0xff;
	if (divisor_latch(s, reg))
		return s->divisor[reg];
	switch (reg) {
	case UART_DATA: return 0;
	case UART_IIR: return interrupt_id(s);
	case UART_LSR: return LSR_READY;
	case UART_MSR: return modem_status(s);
	default: return s->regs[reg];
	}
}

void serial_text(struct serial *s, u8 byte)
{
	if (s->length == SERIAL_MAX) {
		s->truncated = true;
		return;
	}
	s->text[s->length++] = (char)byte;
}

static void send(struct serial *s, u8 byte)
{
	s->transmitter_empty = true;
	if (!(s->regs[UART_MCR] & MCR_LOOP))
		serial_text(s, byte);
}

void serial_out(struct serial *s, u16 port, u8 value)
{
	u16 reg = (u16)(port - SERIAL_PORT_BASE);

	if (reg > UART_SCR)
		return;
	if (divisor_latch(s, reg)) {
		s->divisor[reg] = value;
		return;
	}
	switch (reg) {
	case UART_DATA: send(s, value); break;
	case UART_IER:
		if (value & ~s->regs[reg] & IER_TRANSMITTER)
			s->transmitter_empty = true;
		s->regs[reg] = value & 0x0f;
		break;
	case UART_IIR: s->fifos = value & FCR_ENABLE; break;
	case UART_MCR: s->regs[reg] = value & 0x1f; break;
	case UART_LCR:
	case UART_SCR: s->regs[reg] = value; break;
	default: /* LSR and MSR are read only */ break;
	}
}
