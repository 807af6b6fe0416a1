// SPDX-License-Identifier: Apache-2.0
/*
 * devices.c - fw_cfg, serial port, interrupt controller of old, and ports nobody answers.
 */
#include "runtime.h"

#define FW_CFG_SELECT 0x510
#define FW_CFG_DATA 0x511
#define FW_CFG_SIGNATURE 0
#define FW_CFG_NR_CPUS 5

#define UART 0x3f8
#define PIC_MASTER_DATA 0x21
#define PIC_SLAVE_DATA 0xa1

static void outw(u16 value, u16 port)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void check_fw_cfg(void)
{
	char signature[5] = {0};
	u32 cpus;

	outw(FW_CFG_SIGNATURE, FW_CFG_SELECT);
	for (u32 i = 0; i < 4; i++)
		signature[i] = (char)inb(FW_CFG_DATA);
	expect_true(text_equal(signature, "QEMU"), "fw_cfg says what it is: %s", signature);
	for (u32 i = 0; i < 2; i++) {
		outw(FW_CFG_NR_CPUS, FW_CFG_SELECT);
		cpus = inb(FW_CFG_DATA);
		cpus |= (u32)inb(FW_CFG_DATA) << 8;
		expect(cpus, 1, i ? "and again, after selecting it again" : "there is one CPU");
	}
	expect(inb(FW_CFG_DATA), 0, "behind the end of an item is 0");
	outw(0x7fff, FW_CFG_SELECT);
	expect(inb(FW_CFG_DATA), 0, "an item that is not there is 0");
}

/*
 * The console has been programmed; here its registers are looked at, and left as they were. Nothing
 * can be reported meanwhile.
 */
static void check_serial(void)
{
	u8 lcr = inb(UART + 3), mcr = inb(UART + 4), latch[2], enable, scratch, modem;
	u16 written;

	expect(inb(UART + 5) & 0x60, 0x60, "the transmitter is ready");
	expect(lcr, 3, "8 bits, no parity");
	outb(lcr | 0x80, UART + 3);
	latch[0] = inb(UART);
	latch[1] = inb(UART + 1);
	outb(0x34, UART);
	outb(0x12, UART + 1);
	written = (u16)(inb(UART) | inb(UART + 1) << 8);
	outb(latch[0], UART);
	outb(latch[1], UART + 1);
	outb(lcr, UART + 3);
	enable = inb(UART + 1);
	outb(0xa5, UART + 7);
	scratch = inb(UART + 7);
	outb(mcr | 0x10, UART + 4);
	outb('x', UART);
	modem = inb(UART + 6) & 0xf0;
	outb(mcr, UART + 4);
	expect(latch[0] | latch[1] << 8, 1, "the divisor latch is as it was programmed");
	expect(written, 0x1234, "it holds what is written");
	expect(enable, 0, "behind it is the interrupt enable register");
	expect(scratch, 0xa5, "the scratch register");
	expect(modem, (mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 0xc) << 4,
	       "in loopback the modem's outputs are its inputs, and nothing is sent");
}

/* An image masks it and goes on; nothing else of it is there. */
static void check_pic(void)
{
	outb(0xff, PIC_MASTER_DATA);
	outb(0xff, PIC_SLAVE_DATA);
	expect(inb(PIC_MASTER_DATA), 0xff, "the PIC's mask, first");
	expect(inb(PIC_SLAVE_DATA), 0xff, "and second");
}

static void check_nobody(void)
{
	u32 value32;
	u16 value16;

	expect(inb(0x80), 0xff, "a port nobody answers, 8 bits");
	__asm__ volatile("inw %1, %0" : "=a"(value16) : "Nd"((u16)0x2f8));
	expect(value16, 0xffff, "16 bits");
	__asm__ volatile("inl %1, %0" : "=a"(value32) : "Nd"((u16)0x2e8));
	expect(value32, 0xffffffff, "32 bits");
	outb(0, 0x80);
	outl(0x80000000, 0xcf8);
}

void image_main(void)
{
	check_fw_cfg();
	check_serial();
	check_pic();
	check_nobody();
}
