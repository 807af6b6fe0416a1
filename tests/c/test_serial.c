// SPDX-License-Identifier: Apache-2.0
/* test_serial.c - csrc/platform/serial.c: what a guest's driver programs, and the bounded buffer. */
#include "platform/serial.h"
#include "test.h"

#define COM(reg) (u16)(SERIAL_PORT_BASE + (reg))

TEST(serial_keeps_what_is_sent)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	EXPECT_EQ(0x60, serial_in(&s, COM(5)));
	serial_out(&s, COM(0), 'o');
	serial_out(&s, COM(0), 'k');
	serial_out(&s, COM(0), 0);
	EXPECT_EQ(3, s.length);
	EXPECT_EQ(0, memcmp(s.text, "ok", 3));
	EXPECT_EQ(0x60, serial_in(&s, COM(5)));
	EXPECT_EQ(0x01, serial_in(&s, COM(2)));
	EXPECT_EQ(0, serial_in(&s, COM(0)));
	EXPECT_TRUE(!s.truncated);
	serial_free(&s);
	serial_free(&s);
}

TEST(serial_divisor_latch_is_apart)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	serial_out(&s, COM(1), 0xff);
	serial_out(&s, COM(3), 0x83);
	serial_out(&s, COM(0), 0x0c);
	serial_out(&s, COM(1), 0x34);
	EXPECT_EQ(0x0c, serial_in(&s, COM(0)));
	EXPECT_EQ(0x34, serial_in(&s, COM(1)));
	EXPECT_EQ(0, s.length);
	serial_out(&s, COM(3), 0x03);
	EXPECT_EQ(0x03, serial_in(&s, COM(3)));
	EXPECT_EQ(0x0f, serial_in(&s, COM(1)));
	EXPECT_EQ(0, serial_in(&s, COM(0)));
	serial_out(&s, COM(0), 'x');
	EXPECT_EQ(1, s.length);
	EXPECT_EQ(0x0c, s.divisor[0]);
	serial_free(&s);
}

/* IIR: told once for each time that the transmitter becomes empty or the interrupt is enabled. */
TEST(serial_says_that_the_transmitter_is_empty)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	serial_out(&s, COM(0), 'a');
	EXPECT_EQ(0x01, serial_in(&s, COM(2))); /* not enabled */
	serial_out(&s, COM(1), 0x02);
	EXPECT_EQ(0x02, serial_in(&s, COM(2)));
	EXPECT_EQ(0x01, serial_in(&s, COM(2)));
	serial_out(&s, COM(1), 0x02); /* no edge */
	EXPECT_EQ(0x01, serial_in(&s, COM(2)));
	serial_out(&s, COM(0), 'b');
	EXPECT_EQ(0x02, serial_in(&s, COM(2)));
	serial_out(&s, COM(0), 'c');
	serial_out(&s, COM(1), 0);
	EXPECT_EQ(0x01, serial_in(&s, COM(2)));
	serial_free(&s);
}

TEST(serial_registers_read_back)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	serial_out(&s, COM(7), 0xa5);
	EXPECT_EQ(0xa5, serial_in(&s, COM(7)));
	serial_out(&s, COM(4), 0xff);
	EXPECT_EQ(0x1f, serial_in(&s, COM(4)));
	serial_out(&s, COM(2), 0xc7); /* FIFOs on: IIR bits 7 and 6 say so */
	EXPECT_EQ(0xc1, serial_in(&s, COM(2)));
	serial_out(&s, COM(2), 0);
	EXPECT_EQ(0x01, serial_in(&s, COM(2)));
	serial_out(&s, COM(5), 0);
	EXPECT_EQ(0x60, serial_in(&s, COM(5)));
	serial_free(&s);
}

TEST(serial_modem_status_and_loopback)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	EXPECT_EQ(0xb0, serial_in(&s, COM(6)));
	serial_out(&s, COM(6), 0);
	EXPECT_EQ(0xb0, serial_in(&s, COM(6)));
	serial_out(&s, COM(4), 0x1a); /* loopback, OUT2, RTS: what drivers probe with */
	EXPECT_EQ(0x90, serial_in(&s, COM(6)));
	serial_out(&s, COM(4), 0x15); /* loopback, OUT1, DTR */
	EXPECT_EQ(0x60, serial_in(&s, COM(6)));
	serial_out(&s, COM(0), 'x');
	EXPECT_EQ(0, s.length);
	serial_free(&s);
}

TEST(serial_other_ports_are_not_there)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	serial_out(&s, 0x3f7, 'x');
	serial_out(&s, 0x400, 'x');
	serial_out(&s, 0, 'x');
	EXPECT_EQ(0, s.length);
	EXPECT_EQ(0xff, serial_in(&s, 0x3f7));
	EXPECT_EQ(0xff, serial_in(&s, 0x400));
	serial_free(&s);
}

TEST(serial_buffer_is_bounded)
{
	struct serial s;

	EXPECT_EQ(0, serial_init(&s));
	for (u32 i = 0; i < SERIAL_MAX; i++)
		serial_out(&s, COM(0), (u8)i);
	EXPECT_EQ(SERIAL_MAX, s.length);
	EXPECT_TRUE(!s.truncated);
	serial_out(&s, COM(0), 'x');
	serial_out(&s, COM(0), 'y');
	EXPECT_EQ(SERIAL_MAX, s.length);
	EXPECT_TRUE(s.truncated);
	EXPECT_EQ(0xff, (u8)s.text[SERIAL_MAX - 1]);
	serial_free(&s);
}

TEST_MAIN()
