// SPDX-License-Identifier: Apache-2.0
/*
 * ports.c - dispatch of I/O ports.
 *
 * Interface: ports_in(), ports_out(); sizes are 1, 2 or 4 bytes. What is wider than a byte reaches serial
 * port, PIC and fw_cfg's data byte by byte at consecutive ports. The exit port takes what is written to
 * it in one piece; so does the text port, whose bytes are text in order.
 *
 * fw_cfg: items 0 (signature "QEMU"), 1 (version 1: no DMA), 5 and 0x0f (CPUs now and at most);
 * every other item, and what lies behind the end of these, reads 0.
 *
 * Not modelled: PIT, RTC, PCI configuration, fw_cfg's files and DMA.
 */
#include "platform/ports.h"

#include "guest/pp_guest.h"

#include <string.h>

static bool is_serial(u16 port)
{
	return (u16)(port - PP_PORT_SERIAL) < 8;
}

#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA 0x511
#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID 0x01
#define FW_CFG_NR_CPUS 0x05
#define FW_CFG_MAX_CPUS 0x0f
#define PORT_TEXT 0x8900

static u8 fw_cfg_byte(struct ports *p)
{
	struct fw_cfg *f = &p->fw_cfg;
	u32 value = 0; /* little endian */

	switch (f->item) {
	case FW_CFG_SIGNATURE: value = 'Q' | 'E' << 8 | 'M' << 16 | (u32)'U' << 24; break;
	case FW_CFG_ID: value = 1; break;
	case FW_CFG_NR_CPUS:
	case FW_CFG_MAX_CPUS: value = p->nr_cpus; break;
	default: break;
	}
	return f->at < 4 ? (u8)(value >> 8 * f->at++) : 0;
}

int ports_init(struct ports *p, u32 nr_cpus)
{
	memset(p, 0, sizeof(*p));
	p->nr_cpus = nr_cpus;
	pic_init(p->pics);
	return serial_init(&p->serial);
}

int ports_clone(struct ports *to, const struct ports *from)
{
	*to = *from;
	return serial_clone(&to->serial, &from->serial);
}

void ports_free(struct ports *p)
{
	serial_free(&p->serial);
}

static u8 byte_in(struct ports *p, u16 port)
{
	if (is_serial(port))
		return serial_in(&p->serial, port);
	if (pic_owns_port(port))
		return pic_in(p->pics, port);
	if (port == FW_CFG_DATA)
		return fw_cfg_byte(p);
	return 0xff;
}

static void byte_out(struct ports *p, u16 port, u8 value)
{
	if (is_serial(port))
		serial_out(&p->serial, port, value);
	else if (pic_owns_port(port))
		pic_out(p->pics, port, value);
}

u32 ports_in(struct ports *p, u16 port, unsigned int size)
{
	u32 value = 0;

	for (unsigned int n = 0; n < size; n++)
		value |= (u32)byte_in(p, (u16)(port + n)) << 8 * n;
	return value;
}

void ports_out(struct ports *p, u16 port, unsigned int size, u32 value)
{
	if (port == FW_CFG_SELECT && size == 2) {
		p->fw_cfg = (struct fw_cfg){.item = (u16)value};
		return;
	}
	if (port == PORT_TEXT) {
		for (unsigned int n = 0; n < size; n++)
			serial_text(&p->serial, (u8)(value >> 8 * n));
		return;
	}
	if (port == PP_PORT_EXIT) {
		p->exited = true;
		p->exit_value = value;
		return;
	}
	if (port == PP_PORT_REPORT && size == 4) {
		p->has_report = true;
		p->report_pa = value;
		return;
	}
	for (unsigned int n = 0; n < size; n++)
		byte_out(p, (u16)(port + n), (u8)(value >> 8 * n));
}
