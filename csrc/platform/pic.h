/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic.h - the two 8259 interrupt controllers of a PC as far as software that masks them looks: ports
 * 0x20, 0x21 and 0xa0, 0xa1. No device raises a line.
 */
#ifndef PLATFORM_PIC_H_
#define PLATFORM_PIC_H_

#include "base/types.h"

#define PIC_PORT_MASTER 0x20
#define PIC_PORT_SLAVE 0xa0

struct pic {
	u8 mask;
	u8 icw[4];   /* initialisation words 1 to 4 as written */
	u8 expected; /* the initialisation word that is due: 2 to 4; 0: none */
};

static inline bool pic_owns_port(u16 port)
{
	return (port & ~1) == PIC_PORT_MASTER || (port & ~1) == PIC_PORT_SLAVE;
}

/* @pics: master, slave; @port is one that pic_owns_port() takes. */
void pic_init(struct pic pics[2]);
u8 pic_in(const struct pic pics[2], u16 port);
void pic_out(struct pic pics[2], u16 port, u8 value);

#endif /* PLATFORM_PIC_H_ */
