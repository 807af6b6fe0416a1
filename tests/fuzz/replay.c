// SPDX-License-Identifier: Apache-2.0
/*
 * replay.c - main() of a fuzz target without libFuzzer.
 *
 *	fuzz_loader FILE...			one run each
 *	fuzz_loader -random SEED N FILE...	N inputs made of random bytes and changed files
 *
 * Prints what it ran. An input that ends the program, or takes longer than INPUT_SECONDS, is printed
 * in hexadecimal first; `xxd -r -p` makes a file of that. Inputs of -random depend on SEED, their
 * number and the files alone.
 */
#define _DEFAULT_SOURCE
#include "fuzz.h"

#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#define INPUT_MAX 4096u
#define INPUT_SECONDS 60u

struct seed {
	u8 bytes[INPUT_MAX];
	size_t size;
};

static struct seed current; /* for report() */
static u64 random_state;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void report(void)
{
	static const char digits[] = "0123456789abcdef";
	static char text[2 * INPUT_MAX + 1];
	size_t n = 0;

	for (size_t k = 0; k < current.size; k++) {
		text[n++] = digits[current.bytes[k] >> 4];
		text[n++] = digits[current.bytes[k] & 15];
	}
	text[n++] = '\n';
	if (write(STDERR_FILENO, text, n) < 0)
		return;
}

static void on_signal(int number)
{
	report();
	signal(number, SIG_DFL);
	raise(number);
}

static void watch_signals(void)
{
	static const int numbers[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(report);
	/* The sanitizers have handlers of their own for what the hardware raises. */
	for (size_t k = 0; k < (__sanitizer_set_death_callback ? 2 : ARRAY_SIZE(numbers)); k++)
		signal(numbers[k], on_signal);
}

static void run(void)
{
	/* In memory of its own, so that a sanitizer sees each byte too many that is read. */
	u8 *copy = malloc(current.size ? current.size : 1);

	if (!copy)
		abort();
	memcpy(copy, current.bytes, current.size);
	alarm(INPUT_SECONDS);
	LLVMFuzzerTestOneInput(copy, current.size);
	alarm(0);
	free(copy);
}

static int read_seed(const char *name, struct seed *seed)
{
	FILE *file = fopen(name, "rb");

	if (!file) {
		perror(name);
		return -1;
	}
	seed->size = fread(seed->bytes, 1, sizeof(seed->bytes), file);
	if (fgetc(file) != EOF) {
		fprintf(stderr, "%s: more than %u bytes\n", name, INPUT_MAX);
		fclose(file);
		return -1;
	}
	fclose(file);
	return 0;
}

/* ---- inputs of -random ---- */

static u64 random_word(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 2685821657736338717ull;
}

static size_t below(size_t n)
{
	return (size_t)((random_word() >> 32) % n);
}

static void random_bytes(struct seed *to, size_t at, size_t n)
{
	for (size_t k = at; k < at + n; k++)
		to->bytes[k] = (u8)(random_word() >> 40);
}

/* Take some bytes of another seed, at another place perhaps. */
static void splice(struct seed *to, const struct seed *from)
{
	size_t n = from->size ? 1 + below(from->size) : 0;
	size_t source = n ? below(from->size - n + 1) : 0;
	size_t at = to->size ? below(to->size + 1) : 0;

	if (at + n > INPUT_MAX)
		n = INPUT_MAX - at;
	memcpy(to->bytes + at, from->bytes + source, n);
	if (at + n > to->size)
		to->size = at + n;
}

static void change(struct seed *seed, const struct seed *seeds, size_t nr_seeds)
{
	static const u8 special[] = {0, 1, 0x7f, 0x80, 0xff, 0x0f, 0x66, 0xf3, 0xf0, 0x48};
	size_t at;

	if (!seed->size) {
		seed->size = 1 + below(64);
		random_bytes(seed, 0, seed->size);
		return;
	}
	at = below(seed->size);
	switch (below(7)) {
	case 0: seed->bytes[at] ^= (u8)(1u << below(8)); break;
	case 1: random_bytes(seed, at, 1 + below(seed->size - at < 8 ? seed->size - at : 8)); break;
	case 2: seed->bytes[at] = special[below(sizeof(special))]; break;
	case 3: seed->bytes[at] = (u8)(seed->bytes[at] + below(33) - 16); break;
	case 4: /* a byte less */
		memmove(seed->bytes + at, seed->bytes + at + 1, --seed->size - at);
		break;
	case 5: /* a byte more */
		if (seed->size == INPUT_MAX)
			break;
		memmove(seed->bytes + at + 1, seed->bytes + at, seed->size++ - at);
		random_bytes(seed, at, 1);
		break;
	default: splice(seed, &seeds[below(nr_seeds)]); break;
	}
}

static void make_input(u64 seed, u64 number, const struct seed *seeds, size_t nr_seeds)
{
	random_state = (seed * 1000003 + number) * 0x9e3779b97f4a7c15ull | 1;
	random_word();
	if (below(8) == 0) {
		current.size = below(512);
		random_bytes(&current, 0, current.size);
		return;
	}
	current = seeds[below(nr_seeds)];
	for (size_t n = 1 + below(1u << below(6)); n; n--)
		change(&current, seeds, nr_seeds);
}

static int run_random(u64 seed, u64 count, int nr_names, char **names)
{
	size_t nr_seeds = nr_names ? (size_t)nr_names : 1;
	struct seed *seeds = calloc(nr_seeds, sizeof(*seeds));

	if (!seeds)
		abort();
	for (int n = 0; n < nr_names; n++) {
		if (read_seed(names[n], &seeds[n]))
			return 2;
	}
	for (u64 n = 0; n < count; n++) {
		make_input(seed, n, seeds, nr_seeds);
		run();
	}
	free(seeds);
	printf("# %" PRIu64 " random inputs\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	watch_signals();
	if (argc >= 4 && !strcmp(argv[1], "-random"))
		return run_random(strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0), argc - 4,
				  argv + 4);
	for (int n = 1; n < argc; n++) {
		if (read_seed(argv[n], &current))
			return 2;
		printf("# %s\n", argv[n]);
		fflush(stdout);
		run();
	}
	printf("# %d inputs\n", argc - 1);
	return 0;
}
