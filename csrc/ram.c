// SPDX-License-Identifier: Apache-2.0
/*
 * ram.c - guest RAM and its snapshots.
 *
 * Interface: ram.h.
 *
 * A snapshot is made of the pages that the last one had and of those written since. One that nobody else
 * maps is brought up to date in place. Where the host has no more files to give, a clone gets a copy of
 * every page instead.
 */
#define _GNU_SOURCE /* memfd_create, MAP_ANONYMOUS */
#include "ram.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ull

struct ram_snapshot {
	atomic_uint users;
	int fd;
	u64 *present; /* pages that are in it; the others are zero */
};

static u64 nr_words(u64 size)
{
	return (size / PAGE + 63) / 64;
}

static u8 *map_memory(void *at, u64 size, int fd)
{
	int flags = MAP_PRIVATE | MAP_NORESERVE;
	void *base;

	if (at)
		flags |= MAP_FIXED;
	if (fd < 0)
		flags |= MAP_ANONYMOUS;
	/* Pages come into being when the guest touches them. */
	base = mmap(at, size, PROT_READ | PROT_WRITE, flags, fd, 0);
	return base == MAP_FAILED ? NULL : base;
}

int ram_new(struct ram *ram, u64 size)
{
	*ram = (struct ram){.guest.size = size, .changed = true};
	ram->guest.written = calloc(nr_words(size), sizeof(u64));
	ram->guest.base = map_memory(NULL, size, -1);
	return ram->guest.written && ram->guest.base ? 0 : -1;
}

static void put_snapshot(struct ram_snapshot *s)
{
	if (!s || atomic_fetch_sub(&s->users, 1) > 1)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->present);
	free(s);
}

void ram_free(struct ram *ram)
{
	if (ram->guest.base)
		munmap(ram->guest.base, ram->guest.size);
	free(ram->guest.written);
	put_snapshot(ram->snapshot);
	*ram = (struct ram){0};
}

static struct ram_snapshot *new_snapshot(u64 size)
{
	struct ram_snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	atomic_init(&s->users, 1);
	s->present = calloc(nr_words(size), sizeof(u64));
	s->fd = memfd_create("pmupass-guest", MFD_CLOEXEC);
	if (s->present && s->fd >= 0 && !ftruncate(s->fd, (off_t)size))
		return s;
	put_snapshot(s);
	return NULL;
}

static int write_page(int fd, const u8 *from, u64 page)
{
	u64 done = 0;

	while (done < PAGE) {
		ssize_t n = pwrite(fd, from + page * PAGE + done, PAGE - done,
				   (off_t)(page * PAGE + done));

		if (n <= 0)
			return -1;
		done += (u64)n;
	}
	return 0;
}

/* Write the pages of @pages, a bitmap. */
static int fill(struct ram_snapshot *s, const struct guest_ram *guest, const u64 *pages)
{
	unsigned int bit;

	for (u64 word = 0; word < nr_words(guest->size); word++) {
		for_each_set_bit(bit, pages[word]) {
			if (write_page(s->fd, guest->base, word * 64 + bit))
				return -1;
		}
		s->present[word] |= pages[word];
	}
	return 0;
}

/* What @ram holds as a snapshot of its own, mapped by nobody yet; NULL if the host has none to give. */
static struct ram_snapshot *take_snapshot(const struct ram *ram)
{
	struct ram_snapshot *s = new_snapshot(ram->guest.size);

	if (!s)
		return NULL;
	if (!fill(s, &ram->guest, ram->guest.written) &&
	    (!ram->snapshot || !fill(s, &ram->guest, ram->snapshot->present)))
		return s;
	put_snapshot(s);
	return NULL;
}

/* Have @ram consist of nothing but a snapshot. */
static int settle(struct ram *ram, const struct cpu *cpu)
{
	struct ram_snapshot *s = ram->snapshot;

	if (s && !ram->changed)
		return 0;
	if (s && atomic_load(&s->users) == 1) {
		if (fill(s, &ram->guest, ram->guest.written))
			return -1;
	} else {
		s = take_snapshot(ram);
		if (!s)
			return -1;
	}
	/* What is mapped here now is the same, byte by byte. */
	if (!map_memory(ram->guest.base, ram->guest.size, s->fd)) {
		if (s != ram->snapshot)
			put_snapshot(s);
		return -1;
	}
	if (s != ram->snapshot)
		put_snapshot(ram->snapshot);
	ram->snapshot = s;
	memset(ram->guest.written, 0, nr_words(ram->guest.size) * sizeof(u64));
	cpu_note_writable_pages(cpu);
	ram->changed = false;
	return 0;
}

static void copy_pages(struct guest_ram *to, const struct guest_ram *from, const u64 *pages)
{
	unsigned int bit;

	for (u64 word = 0; word < nr_words(from->size); word++) {
		for_each_set_bit(bit, pages[word]) {
			u64 at = (word * 64 + bit) * PAGE;

			memcpy(to->base + at, from->base + at, PAGE);
		}
		to->written[word] |= pages[word];
	}
}

int ram_clone(struct ram *to, struct ram *from, const struct cpu *cpu)
{
	bool shared = !settle(from, cpu);
	u64 size = from->guest.size;

	if (!shared) {
		if (ram_new(to, size))
			return -1;
		copy_pages(&to->guest, &from->guest, from->guest.written);
		if (from->snapshot)
			copy_pages(&to->guest, &from->guest, from->snapshot->present);
		return 0;
	}
	*to = (struct ram){.guest.size = size, .snapshot = from->snapshot};
	atomic_fetch_add(&to->snapshot->users, 1);
	to->guest.written = malloc(nr_words(size) * sizeof(u64));
	to->guest.base = map_memory(NULL, size, to->snapshot->fd);
	if (!to->guest.written || !to->guest.base)
		return -1;
	memcpy(to->guest.written, from->guest.written, nr_words(size) * sizeof(u64));
	return 0;
}
