// SPDX-License-Identifier: Apache-2.0
/*
 * ports.c - dispatch of I/O ports.
 *
 * Interface: ports_in(), ports_out(); sizes are 1, 2 or 4 bytes.
 *
 * Not modelled: PIC, PIT, RTC, PCI configuration, fw_cfg, the debug port.
 */
#include "platform/ports.h"

#include "guest/pp_guest.h"

static bool is_serial(u16 port)
{
	return (u16)(port - PP_PORT_SERIAL) < 8;
}

u32 ports_in(struct ports *p, u16 port, unsigned int size)
{
	u32 ones = size == 4 ? ~0u : (1u << (8 * size)) - 1;

	if (!is_serial(port))
		return ones;
	return (ones & ~0xffu) | serial_in(&p->serial, port);
}

void ports_out(struct ports *p, u16 port, unsigned int size, u32 value)
{
	if (is_serial(port)) {
		serial_out(&p->serial, port, (u8)value);
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
	}
}
