/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.h - the I/O ports of the machine: serial, PIC, exit, report, the firmware's configuration
 * (0x510, 0x511) and the text port 0x8900, whose bytes go where those of the serial port go.
 *
 * Ports nobody answers read all ones; writes to them are lost.
 */
#ifndef PLATFORM_PORTS_H_
#define PLATFORM_PORTS_H_

#include "base/types.h"
#include "platform/pic.h"
#include "platform/serial.h"

struct fw_cfg {
	u16 item; /* selected */
	u32 at;	  /* bytes of it that have been read */
};

struct ports {
	struct serial serial;
	struct pic pics[2]; /* master, slave */
	struct fw_cfg fw_cfg;
	u32 nr_cpus;
	bool exited; /* the guest wrote the exit port */
	u32 exit_value;
	bool has_report;
	u64 report_pa; /* guest-physical address of its struct pp_guest_report */
};

/* -1 when memory is short. @nr_cpus: what fw_cfg says. */
int ports_init(struct ports *p, u32 nr_cpus);
int ports_clone(struct ports *to, const struct ports *from); /* likewise */
void ports_free(struct ports *p);
u32 ports_in(struct ports *p, u16 port, unsigned int size);
void ports_out(struct ports *p, u16 port, unsigned int size, u32 value);

#endif /* PLATFORM_PORTS_H_ */
