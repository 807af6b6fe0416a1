// SPDX-License-Identifier: Apache-2.0
/* test_ports.c - csrc/platform/ports.c: widths, fw_cfg, the exit and text ports. */
#include "platform/ports.h"
#include "test.h"

static struct ports p;

static void select_item(u16 item)
{
	ports_out(&p, 0x510, 2, item);
}

TEST(ports_nobody_answers)
{
	EXPECT_EQ(0, ports_init(&p, 1));
	EXPECT_EQ(0xff, ports_in(&p, 0x80, 1));
	EXPECT_EQ(0xffff, ports_in(&p, 0x80, 2));
	EXPECT_EQ(0xffffffff, ports_in(&p, 0xcf8, 4));
	ports_out(&p, 0x80, 4, 1);
	EXPECT_TRUE(!p.exited && !p.has_report && !p.serial.length);
	ports_free(&p);
}

/* Wider accesses are bytes at consecutive ports: 0x3fd is LSR, 0x3fe MSR (CTS, DSR, DCD). */
TEST(ports_wide_accesses_are_bytes)
{
	EXPECT_EQ(0, ports_init(&p, 1));
	EXPECT_EQ(0xb060, ports_in(&p, 0x3fd, 2));
	EXPECT_EQ(0xffff, ports_in(&p, 0x400, 2));
	ports_out(&p, 0x3f8, 2, 0x0f00 | 'x'); /* DATA and IER */
	EXPECT_EQ(1, p.serial.length);
	EXPECT_EQ(0x0f, ports_in(&p, 0x3f9, 1));
	ports_out(&p, 0x20, 2, 0xa500); /* OCW2 0 and the mask */
	EXPECT_EQ(0xa5, ports_in(&p, 0x21, 1));
	ports_free(&p);
}

TEST(ports_exit_takes_what_is_written)
{
	static const struct {
		unsigned int size;
		u32 value;
	} writes[] = {{1, 0xff}, {2, 0xffff}, {4, 0xdeadbeef}, {4, 0}};

	for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
		EXPECT_EQ(0, ports_init(&p, 1));
		ports_out(&p, 0xf4, writes[i].size, writes[i].value);
		EXPECT_TRUE(p.exited);
		EXPECT_EQ(writes[i].value, p.exit_value);
		ports_free(&p);
	}
}

TEST(ports_text_goes_to_the_serial_text)
{
	EXPECT_EQ(0, ports_init(&p, 1));
	ports_out(&p, 0x8900, 1, 'a');
	ports_out(&p, 0x8900, 2, 'b' | 'c' << 8);
	ports_out(&p, 0x8900, 4, 0x67666564);
	EXPECT_EQ(7, p.serial.length);
	EXPECT_EQ(0, memcmp(p.serial.text, "abcdefg", 7));
	ports_free(&p);
}

/* Item 5: two bytes, the number of CPUs, little endian; then zeros. A selection starts anew. */
TEST(ports_fw_cfg)
{
	EXPECT_EQ(0, ports_init(&p, 6));
	for (u32 twice = 0; twice < 2; twice++) {
		select_item(5);
		EXPECT_EQ(6, ports_in(&p, 0x511, 1));
		for (u32 i = 0; i < 20; i++)
			EXPECT_EQ(0, ports_in(&p, 0x511, 1));
	}
	select_item(0);
	EXPECT_EQ('Q', ports_in(&p, 0x511, 1));
	EXPECT_EQ('E', ports_in(&p, 0x511, 1));
	EXPECT_EQ('M', ports_in(&p, 0x511, 1));
	EXPECT_EQ('U', ports_in(&p, 0x511, 1));
	select_item(0x7777);
	EXPECT_EQ(0, ports_in(&p, 0x511, 1));
	ports_out(&p, 0x510, 1, 5); /* no selection: it takes 16 bits */
	EXPECT_EQ(0, ports_in(&p, 0x511, 1));
	ports_free(&p);
}

TEST_MAIN()
