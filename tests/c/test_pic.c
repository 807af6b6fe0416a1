// SPDX-License-Identifier: Apache-2.0
/* test_pic.c - csrc/platform/pic.c: masks and initialisation words, as the 8259's data sheet has them. */
#include "platform/pic.h"
#include "test.h"

static struct pic pics[2];

TEST(pic_ports)
{
	EXPECT_TRUE(pic_owns_port(0x20) && pic_owns_port(0x21));
	EXPECT_TRUE(pic_owns_port(0xa0) && pic_owns_port(0xa1));
	EXPECT_TRUE(!pic_owns_port(0x1f) && !pic_owns_port(0x22) && !pic_owns_port(0xa2));
}

/* All masked at first; the mask reads back; the two chips do not touch each other. */
TEST(pic_masks)
{
	pic_init(pics);
	EXPECT_EQ(0xff, pic_in(pics, 0x21));
	EXPECT_EQ(0xff, pic_in(pics, 0xa1));
	pic_out(pics, 0x21, 0xfb);
	EXPECT_EQ(0xfb, pic_in(pics, 0x21));
	EXPECT_EQ(0xff, pic_in(pics, 0xa1));
	pic_out(pics, 0xa1, 0x12);
	EXPECT_EQ(0xfb, pic_in(pics, 0x21));
	EXPECT_EQ(0x12, pic_in(pics, 0xa1));
	pic_out(pics, 0x20, 0x20); /* EOI */
	pic_out(pics, 0x20, 0x0b); /* OCW3: the ISR next */
	EXPECT_EQ(0, pic_in(pics, 0x20));
	EXPECT_EQ(0xfb, pic_in(pics, 0x21));
}

static void initialise(u16 command, const u8 *words, u32 nr)
{
	pic_out(pics, command, words[0]);
	for (u32 i = 1; i < nr; i++)
		pic_out(pics, command + 1, words[i]);
}

/* ICW1 clears the mask; as many words follow on the odd port as it announces, then masks again. */
TEST(pic_initialisation_words)
{
	const u8 cascaded[] = {0x11, 0x20, 0x04, 0x01}; /* ICW1 to ICW4 */
	const u8 no_icw4[] = {0x10, 0x28, 0x02};
	const u8 single[] = {0x13, 0x30, 0x03}; /* no ICW3 */
	const u8 least[] = {0x12, 0x38};	/* no ICW3, no ICW4 */

	pic_init(pics);
	initialise(0x20, cascaded, 4);
	EXPECT_EQ(0, pic_in(pics, 0x21));
	EXPECT_EQ(0, memcmp(pics[0].icw, cascaded, 4));
	pic_out(pics, 0x21, 0xaa);
	EXPECT_EQ(0xaa, pic_in(pics, 0x21));
	EXPECT_EQ(0xff, pic_in(pics, 0xa1));
	initialise(0xa0, no_icw4, 3);
	pic_out(pics, 0xa1, 0xab);
	EXPECT_EQ(0xab, pic_in(pics, 0xa1));
	initialise(0x20, single, 3);
	EXPECT_EQ(0x03, pics[0].icw[3]);
	pic_out(pics, 0x21, 0xac);
	EXPECT_EQ(0xac, pic_in(pics, 0x21));
	initialise(0x20, least, 2);
	pic_out(pics, 0x21, 0xad);
	EXPECT_EQ(0xad, pic_in(pics, 0x21));
	/* Begun anew in the middle. */
	initialise(0x20, cascaded, 2);
	initialise(0x20, cascaded, 4);
	pic_out(pics, 0x21, 0xae);
	EXPECT_EQ(0xae, pic_in(pics, 0x21));
}

TEST_MAIN()
