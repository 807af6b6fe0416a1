/* SPDX-License-Identifier: Apache-2.0 */
/* hash.c - CRC-32 by table over 4 KiB, FNV-1a, and an open-addressing hash table of what they give. */

#define BYTES 4096
#define SLOTS 1024

static unsigned char data[BYTES];
static unsigned int table[256];
static unsigned int slots[SLOTS];

static void make_table(void)
{
	for (unsigned int n = 0; n < 256; n++) {
		unsigned int c = n;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
		table[n] = c;
	}
}

static unsigned int crc32(const unsigned char *p, unsigned int n, unsigned int crc)
{
	crc = ~crc;
	while (n--)
		crc = table[(crc ^ *p++) & 0xff] ^ crc >> 8;
	return ~crc;
}

static unsigned long fnv1a(const unsigned char *p, unsigned int n)
{
	unsigned long h = 0xcbf29ce484222325ul;

	while (n--) {
		h ^= *p++;
		h *= 0x100000001b3ul;
	}
	return h;
}

static unsigned int insert(unsigned int key)
{
	unsigned int at = key * 2654435761u >> 22, probes = 1;

	while (slots[at] && slots[at] != key && probes < 8) {
		at = (at + 1) % SLOTS;
		probes++;
	}
	slots[at] = key;
	return probes;
}

unsigned long run(unsigned int rounds)
{
	unsigned int crc = 0;
	unsigned long sum = 0;

	make_table();
	for (unsigned int i = 0; i < BYTES; i++)
		data[i] = (unsigned char)(i * 7 + (i >> 5));
	while (rounds--) {
		crc = crc32(data, BYTES, crc);
		data[crc % BYTES] ^= (unsigned char)crc;
		sum += fnv1a(data, 512);
		for (unsigned int i = 0; i + 4 <= 1024; i += 4)
			sum += insert(data[i] | data[i + 1] << 8 | data[i + 2] << 16 |
				      (unsigned int)data[i + 3] << 24);
	}
	return sum ^ crc;
}
