/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floating_point.c - ordinary C with floating point, for test_floating_point.py: compiled as a guest,
 * and with -DHOST as a program. Both print the same lines.
 */
#include <stdint.h>

#define N 257

typedef struct {
	double d;
	float f[3];
	int32_t i;
	uint8_t bytes[77];
} record;

static double doubles[N];
static float floats[N];
static int32_t integers[N];
static uint8_t bytes[N];
static record records[4];
static long double long_doubles[8];

static uint64_t chance(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* ---- out ---- */

#ifdef HOST
int putchar(int);
static void put(char c)
{
	putchar(c);
}
#else
static void put(char c)
{
	__asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((uint16_t)0x3f8));
}
#endif

static void say(const char *what, const void *from, unsigned int n)
{
	const uint8_t *at = from;

	while (*what)
		put(*what++);
	put(' ');
	for (unsigned int k = 0; k < n; k++) {
		put("0123456789abcdef"[at[k] >> 4]);
		put("0123456789abcdef"[at[k] & 15]);
	}
	put('\n');
}
#define SAY(v) say(#v, &(v), sizeof(v))

/* ---- work ---- */

static void fill(void)
{
	for (int n = 0; n < N; n++) {
		uint64_t v = chance();

		integers[n] = (int32_t)v;
		doubles[n] = (double)(int64_t)v / (double)(int32_t)(v >> 40 | 1);
		floats[n] = (float)doubles[n] * 0.37f;
		bytes[n] = (uint8_t)(v >> 8);
	}
}

/* Loops that -O3 vectorizes. */
static void vectors(void)
{
	uint32_t sum = 0, most = 0;

	for (int n = 0; n < N; n++)
		floats[n] = floats[n] * 1.25f + (float)integers[n];
	for (int n = 0; n < N; n++)
		doubles[n] = (doubles[n] - (double)floats[n]) / 3.0;
	for (int n = 0; n < N; n++)
		sum += bytes[n];
	for (int n = 0; n < N; n++)
		most = bytes[n] > most ? bytes[n] : most;
	for (int n = 0; n < N; n++)
		integers[n] = (integers[n] >> 3) * 7 + bytes[n];
	for (int n = 0; n < N; n++)
		bytes[n] = (uint8_t)((bytes[n] + 1) ^ 0x55);
	SAY(sum);
	SAY(most);
}

static double square_root(double x)
{
	__asm__("sqrtsd %0, %0" : "+x"(x));
	return x;
}

static void scalars(void)
{
	double sum = 0, product = 1, root = 0;
	int64_t truncated = 0;
	uint64_t large = 0;
	int below = 0;

	for (int n = 0; n < N; n++) {
		double v = doubles[n];

		sum += v;
		if (v < 0)
			below++;
		product *= 1 + v * 1e-9;
		root += square_root(v < 0 ? -v : v);
		truncated += (int64_t)v;
		large += (uint64_t)(v < 0 ? -v : v);
	}
	SAY(sum);
	SAY(product);
	SAY(root);
	SAY(truncated);
	SAY(large);
	SAY(below);
}

static void structs(void)
{
	for (int n = 0; n < 4; n++) {
		record r = {.d = doubles[n], .i = integers[n]};

		for (int k = 0; k < 3; k++)
			r.f[k] = floats[n + k];
		for (unsigned int k = 0; k < sizeof(r.bytes); k++)
			r.bytes[k] = bytes[k * 3];
		records[n] = r;
	}
	records[3] = records[0];
	SAY(records);
}

/* x87: long double is its format. */
static void long_ones(void)
{
	long double sum = 0;

	for (int n = 0; n < 8; n++) {
		long_doubles[n] = (long double)integers[n] / (long double)(n + 3) + doubles[n];
		sum += long_doubles[n] * 1.5L;
	}
	for (int n = 0; n < 8; n++)
		say("long double", &long_doubles[n], 10);
	say("sum", &sum, 10);
	SAY((double){(double)sum});
	SAY((int64_t){(int64_t)sum});
}

static void work(void)
{
	for (int turn = 0; turn < 3; turn++) {
		fill();
		vectors();
		scalars();
		structs();
		long_ones();
		SAY(doubles);
		SAY(floats);
		SAY(integers);
		SAY(bytes);
	}
}

#ifdef HOST
int main(void)
{
	work();
	return 0;
}
#else
void *memcpy(void *to, const void *from, __SIZE_TYPE__ n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int value, __SIZE_TYPE__ n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}

/* The stack is aligned to 16 bytes at the entry; a function expects that a call has been made. */
__asm__(".globl _start\n_start:\n\tcall begin\n");

void begin(void);
void begin(void)
{
	work();
	__asm__ volatile("outl %0, $0xf4" : : "a"(0));
}
#endif
