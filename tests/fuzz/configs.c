// SPDX-License-Identifier: Apache-2.0
/*
 * configs.c - reading what configs.py wrote. Interface: configs.h.
 */
#include "configs.h"

#include "fuzz.h"

#define MAGIC 0x31464350u
#define MAX_CONFIGS 128u

struct file_head {
	u32 magic, count, config_size, padding;
};

static struct pp_config configs[MAX_CONFIGS];
static u32 count;

static u8 *read_file(size_t *size)
{
	const char *name = getenv("PMUPASS_FUZZ_CONFIGS");
	FILE *file = name ? fopen(name, "rb") : NULL;
	u8 *bytes;

	if (!file) {
		fprintf(stderr, "PMUPASS_FUZZ_CONFIGS must name the file that "
				"tests/fuzz/configs.py wrote\n");
		exit(2);
	}
	fseek(file, 0, SEEK_END);
	*size = (size_t)ftell(file);
	rewind(file);
	bytes = malloc(*size);
	REQUIRE(bytes && fread(bytes, 1, *size, file) == *size);
	fclose(file);
	return bytes;
}

/* The next array of the record; each begins at a multiple of 8 bytes. */
static const void *array(const u8 **at, u64 nr, size_t size)
{
	const u8 *start = *at;

	*at += (nr * size + 7) & ~7ull;
	return nr ? start : NULL;
}

static void read_config(struct pp_config *c, const u8 *at, u64 size)
{
	const u8 *end = at + size;

	memcpy(c, at, sizeof(*c));
	at += (sizeof(*c) + 7) & ~7ull;
	c->cpuid = array(&at, c->nr_cpuid, sizeof(*c->cpuid));
	c->event_maps = array(&at, c->nr_event_maps, sizeof(*c->event_maps));
	c->profiles = array(&at, c->nr_profiles, sizeof(*c->profiles));
	c->host_events = array(&at, c->nr_host_events, sizeof(*c->host_events));
	c->costs = array(&at, c->nr_costs, sizeof(*c->costs));
	c->kvm.intercepts = array(&at, c->kvm.nr_intercepts, sizeof(*c->kvm.intercepts));
	c->kvm.msrs_to_save = array(&at, c->kvm.nr_msrs_to_save, sizeof(*c->kvm.msrs_to_save));
	c->kvm.filter.entries = array(&at, c->kvm.filter.nr_entries,
				      sizeof(*c->kvm.filter.entries));
	c->image = NULL;
	c->cmdline = NULL;
	REQUIRE(at == end);
}

static void read_configs(void)
{
	struct file_head head;
	const u8 *at;
	size_t size;
	u8 *bytes;

	bytes = read_file(&size); /* kept: the configurations point into it */
	REQUIRE(size >= sizeof(head));
	memcpy(&head, bytes, sizeof(head));
	REQUIRE(head.magic == MAGIC && head.config_size == sizeof(struct pp_config));
	REQUIRE(head.count && head.count <= MAX_CONFIGS);
	at = bytes + sizeof(head);
	for (u32 n = 0; n < head.count; n++) {
		u64 length;

		memcpy(&length, at, sizeof(length));
		at += sizeof(length);
		REQUIRE(length <= (u64)(bytes + size - at));
		read_config(&configs[n], at, length);
		at += length;
	}
	count = head.count;
}

u32 nr_configs(void)
{
	if (!count)
		read_configs();
	return count;
}

struct pp_config config_of(u32 number)
{
	return configs[number % nr_configs()];
}
