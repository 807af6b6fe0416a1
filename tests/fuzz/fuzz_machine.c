// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_machine.c - whole machines, natively and under both vPMU designs, through the public API.
 *
 * The input:
 *
 *	u8 machine	of configs.py
 *	u8 how		bit 0: the program starts again at its end; bits 2:1: time limit; bit 3: trace;
 *			bit 4: no skid; bit 5: the second run takes no iterations at once;
 *			bit 6: and is asked for a pause before every other slice; bit 7: under KVM, a
 *			second VM with the same guest, without a vPMU if slice is odd
 *	u8 slice	blocks of a slice in the second run
 *	u8 on_interrupt	what the guest does in an interrupt, see guest.S
 *	then the program, see program.h
 *
 * What must hold: no invariant of the model breaks; a machine keeps to its budget and stays ended;
 * what is lost is what the causes say; natively nothing is lost; and a run in small slices says the
 * same of itself as one in one piece.
 */
#include "configs.h"
#include "program.h"

#define RUN_BLOCKS 10000u
#define MAX_RECORDS 4096u
#define TRACE_RECORDS 64u

extern const u8 fuzz_guest[], fuzz_guest_end[], fuzz_guest_filesz[], fuzz_guest_on_interrupt[];

struct image {
	u8 bytes[0x1000 + PROGRAM_MAX + 512];
	size_t size;
};

static void make_image(struct image *image, struct input *in, bool endless, u8 on_interrupt)
{
	size_t head = (size_t)(fuzz_guest_end - fuzz_guest);
	static struct program program;
	u64 size;

	make_program(&program, in, (u32)(GUEST_BASE + head), endless);
	REQUIRE(head + program.length <= sizeof(image->bytes));
	memcpy(image->bytes, fuzz_guest, head);
	memcpy(image->bytes + head, program.code, program.length);
	size = image->size = head + program.length;
	memcpy(image->bytes + (fuzz_guest_filesz - fuzz_guest), &size, sizeof(size));
	image->bytes[fuzz_guest_on_interrupt - fuzz_guest] = on_interrupt;
}

static struct pp_machine *machine_for(const struct pp_config *config)
{
	struct pp_error error;
	struct pp_machine *m = pp_machine_new(config, &error);

	if (!m)
		fprintf(stderr, "%s\n", error.text);
	REQUIRE(m);
	return m;
}

static int run(struct pp_machine *m, u64 blocks, u64 slice, bool pauses)
{
	bool pause = false;
	int stop = PP_STOP_BUDGET;

	while (blocks && stop == PP_STOP_BUDGET) {
		u64 n = slice < blocks ? slice : blocks;

		pause = pauses && !pause;
		if (pause)
			pp_machine_pause(m);
		stop = pp_machine_run(m, n);
		if (!pause)
			blocks -= n;
	}
	if (stop == PP_STOP_INVARIANT)
		fprintf(stderr, "%s\n", pp_invariant_text(m));
	REQUIRE(stop >= 0 && stop != PP_STOP_INVARIANT);
	if (stop != PP_STOP_BUDGET)
		REQUIRE(pp_machine_run(m, 1) == stop);
	return stop;
}

/* ---- what a machine says of itself ---- */

struct readout {
	struct pp_guest_info guest;
	struct pp_counter_result counters[MAX_RECORDS];
	struct pp_silent_error errors[MAX_RECORDS];
	struct pp_pmi_result pmi;
	struct pp_exit_result exits[128];
	struct pp_access_result accesses[64];
	struct pp_switch_result sw;
	struct pp_cost_result costs[256];
	struct pp_host_event_result host_events[64];
	struct pp_trace_record trace[TRACE_RECORDS];
	u64 stats[64];
	char serial[4096];
	u32 nr_counters, nr_errors, nr_exits, nr_accesses, nr_costs, nr_host_events, nr_trace;
	u32 nr_serial;
};

/* Of VM @vm, which has one CPU, and of the host. */
static void read_out(struct pp_machine *m, u32 vm, struct readout *r)
{
	/* The counts decide what of the arrays is compared. */
	memset(r->costs, 0, sizeof(r->costs)); /* texts are ended, not filled */
	memset(r->trace, 0, sizeof(r->trace));
	memset(r->stats, 0, sizeof(r->stats));
	pp_read_guest(m, vm, &r->guest);
	r->nr_counters = pp_read_counters(m, vm, r->counters, ARRAY_SIZE(r->counters));
	r->nr_errors = pp_read_silent_errors(m, vm, r->errors, ARRAY_SIZE(r->errors));
	pp_read_pmi(m, vm, 1, &r->pmi);
	r->nr_exits = pp_read_exits(m, vm, r->exits, ARRAY_SIZE(r->exits));
	r->nr_accesses = pp_read_accesses(m, vm, r->accesses, ARRAY_SIZE(r->accesses));
	pp_read_switch(m, vm, &r->sw);
	r->nr_costs = pp_read_costs(m, 0, r->costs, ARRAY_SIZE(r->costs));
	r->nr_host_events = pp_read_host_events(m, r->host_events, ARRAY_SIZE(r->host_events));
	r->nr_trace = pp_read_trace(m, 0, r->trace, ARRAY_SIZE(r->trace));
	pp_read_stats(m, r->stats, ARRAY_SIZE(r->stats));
	r->nr_serial = pp_read_serial(m, vm, r->serial, sizeof(r->serial));
	REQUIRE(r->nr_counters <= ARRAY_SIZE(r->counters));
	REQUIRE(r->nr_errors <= ARRAY_SIZE(r->errors));
	REQUIRE(r->nr_exits <= ARRAY_SIZE(r->exits) && r->nr_accesses <= ARRAY_SIZE(r->accesses));
	REQUIRE(r->nr_costs <= ARRAY_SIZE(r->costs) &&
		r->nr_host_events <= ARRAY_SIZE(r->host_events));
	REQUIRE(r->nr_trace <= ARRAY_SIZE(r->trace));
	r->nr_serial = (u32)min_u64(r->nr_serial, sizeof(r->serial));
	REQUIRE(pp_machine_run(m, 1) != PP_STOP_BUDGET);
}

static void check_counters(const struct readout *r, bool native)
{
	for (u32 n = 0; n < r->nr_counters; n++) {
		const struct pp_counter_result *c = &r->counters[n];
		s64 lost = 0;

		for (u32 cause = 0; cause < PP_MAX_CAUSES; cause++)
			lost += c->causes[cause];
		REQUIRE((u64)lost == c->true_count - c->counted);
		REQUIRE(c->wrong_reads <= c->reads);
		REQUIRE(c->true_running_cycles <= c->enabled_cycles);
		if (native)
			REQUIRE(!lost && !c->wrong_reads && !c->filtered);
	}
	if (native)
		REQUIRE(!r->nr_errors && !r->nr_exits && !r->guest.emulated);
	REQUIRE(r->pmi.latency_p50 <= r->pmi.latency_p99 &&
		r->pmi.latency_p99 <= r->pmi.latency_max);
	for (u32 n = 0; n < r->nr_exits; n++)
		REQUIRE(r->exits[n].profile <= r->exits[n].count);
}

#define SAME(field) REQUIRE(!memcmp(&a->field, &b->field, sizeof(a->field)))
#define SAME_ARRAY(field)                                                                          \
	REQUIRE(a->nr_##field == b->nr_##field &&                                                  \
		!memcmp(a->field, b->field, a->nr_##field * sizeof(a->field[0])))
static void compare(const struct readout *a, const struct readout *b)
{
	SAME(guest);
	SAME_ARRAY(counters);
	SAME_ARRAY(errors);
	SAME(pmi);
	SAME_ARRAY(exits);
	SAME_ARRAY(accesses);
	SAME(sw);
	SAME_ARRAY(costs);
	SAME_ARRAY(host_events);
	SAME_ARRAY(trace);
	SAME(stats);
	SAME_ARRAY(serial);
}

/* Like the first one's. */
static struct pp_vm second_vm(const struct pp_config *c, bool vpmu)
{
	struct pp_vm vm = {
		.memory = c->memory,
		.guest = c->guest,
		.kvm = c->kvm,
		.nr_cpuid = c->nr_cpuid,
		.cpuid = c->cpuid,
		.image = c->image,
		.image_size = c->image_size,
		.cmdline = c->cmdline,
	};

	vm.kvm.vpmu &= vpmu;
	return vm;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const u64 limits[] = {0, 20000, 200000, 2000000};
	static struct readout whole[2], sliced[2];
	static struct image image;
	struct input in = input_of(data, size);
	struct pp_config config = config_of(take_u8(&in));
	u8 how = take_u8(&in), slice = take_u8(&in), on_interrupt = take_u8(&in);
	bool native = config.mode == PP_MODE_NATIVE;
	struct pp_machine *m;
	struct pp_vm second;
	int stop;

	make_image(&image, &in, how & 1, on_interrupt & 15);
	config.image = image.bytes;
	config.image_size = image.size;
	config.time_limit = limits[how >> 1 & 3];
	config.trace_records = how & 8 ? TRACE_RECORDS : 0;
	if (how & 16)
		config.skid_cycles = 0;
	second = second_vm(&config, !(slice & 1));
	config.vms = &second;
	config.nr_vms = !native && how & 128;
	m = machine_for(&config);
	stop = run(m, RUN_BLOCKS, RUN_BLOCKS, false);
	for (u32 vm = 0; vm <= config.nr_vms; vm++) {
		read_out(m, vm, &whole[vm]);
		check_counters(&whole[vm], native);
	}
	pp_machine_free(m);
	if (stop == PP_STOP_BUDGET)
		return 0;
	config.one_by_one = how >> 5 & 1;
	m = machine_for(&config);
	/* Slices use budget up faster: the last block of each may be a part of one. */
	if (run(m, 4 * RUN_BLOCKS, slice + 1u, how & 64) == stop) {
		for (u32 vm = 0; vm <= config.nr_vms; vm++) {
			read_out(m, vm, &sliced[vm]);
			compare(&whole[vm], &sliced[vm]);
		}
	}
	pp_machine_free(m);
	return 0;
}
