// SPDX-License-Identifier: Apache-2.0
/*
 * pic.c - initialisation words and masks of the 8259s.
 *
 * Interface
 *  - The odd port holds the mask (OCW1) and reads it back. The even port takes ICW1, which clears the
 *    mask and has ICW2, ICW3 (cascaded) and ICW4 (if ICW1 says so) follow on the odd port.
 *  - EOIs and the choice between IRR and ISR are accepted; both read 0, as does a poll.
 *  - At the start all lines are masked, as firmware leaves them.
 *
 * Not modelled: interrupt lines, hence delivery, priorities and ISR; the edge and level registers.
 */
#include "platform/pic.h"

#define ICW1 0x10 /* on the even port; 0 there: OCW2 or OCW3 */
#define ICW1_NEEDS_ICW4 0x01
#define ICW1_SINGLE 0x02

void pic_init(struct pic pics[2])
{
	pics[0] = pics[1] = (struct pic){.mask = 0xff};
}

static unsigned int chip(u16 port)
{
	return (port & ~1) == PIC_PORT_SLAVE;
}

u8 pic_in(const struct pic pics[2], u16 port)
{
	return port & 1 ? pics[chip(port)].mask : 0;
}

static u8 after(const struct pic *p, u8 word)
{
	if (word == 2 && !(p->icw[0] & ICW1_SINGLE))
		return 3;
	return word < 4 && p->icw[0] & ICW1_NEEDS_ICW4 ? 4 : 0;
}

void pic_out(struct pic pics[2], u16 port, u8 value)
{
	struct pic *p = &pics[chip(port)];
	u8 word = p->expected;

	if (!(port & 1)) {
		if (value & ICW1)
			*p = (struct pic){.icw = {value}, .expected = 2};
		return;
	}
	if (!word) {
		p->mask = value;
		return;
	}
	p->icw[word - 1] = value;
	p->expected = after(p, word);
}
