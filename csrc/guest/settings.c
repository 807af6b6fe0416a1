// SPDX-License-Identifier: Apache-2.0
/*
 * settings.c - command line to struct settings. Interface: settings.h.
 *
 * Not modelled: quoting; words are parted by blanks.
 */
#include "guest/settings.h"

#include "guest/console.h"
#include "guest/insn.h"

#define MULTIBOOT_INFO_CMDLINE 0x4

#define ARCH_PERFMON_EVENTSEL_INT BIT_ULL(20)
#define ARCH_PERFMON_EVENTSEL_ENABLE BIT_ULL(22)

struct settings settings;

struct multiboot_info {
	u32 flags;
	u32 mem_lower;
	u32 mem_upper;
	u32 boot_device;
	u32 cmdline;
};

const char *multiboot_cmdline(const void *info)
{
	const struct multiboot_info *mbi = info;

	if (!mbi || !(mbi->flags & MULTIBOOT_INFO_CMDLINE) || !mbi->cmdline)
		return "";
	return (const char *)(uintptr_t)mbi->cmdline;
}

u64 us_to_tsc(u64 us)
{
	return mul_u64_u64_div_u64(us, settings.tsc_khz, 1000);
}

u64 tsc_to_ns(u64 tsc)
{
	return mul_u64_u64_div_u64(tsc, 1000000, settings.tsc_khz);
}

/* The word at hand and the place in it. */
struct word {
	const char *text;
	const char *at;
	const char *end;
};

static void __attribute__((noreturn)) bad(const struct word *w, const char *why)
{
	char text[64];
	u32 n;

	for (n = 0; n < sizeof(text) - 1 && w->text + n < w->end; n++)
		text[n] = w->text[n];
	text[n] = '\0';
	die("settings: %s: %s", text, why);
}

static u32 digit(char c)
{
	if (c >= '0' && c <= '9')
		return (u32)(c - '0');
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (u32)((c | 0x20) - 'a' + 10);
	return 16;
}

/* A number up to the word's end or a colon. */
static u64 number(struct word *w, u32 base)
{
	u64 value = 0;
	u32 n = 0;

	if (w->end - w->at > 2 && w->at[0] == '0' && (w->at[1] | 0x20) == 'x') {
		w->at += 2;
		base = 16;
	}
	for (; w->at < w->end && digit(*w->at) < base; w->at++, n++) {
		if (value > (~0ull - digit(*w->at)) / base)
			bad(w, "the number does not fit into 64 bits");
		value = value * base + digit(*w->at);
	}
	if (!n || (w->at < w->end && *w->at != ':'))
		bad(w, "a number is expected");
	return value;
}

static u64 whole_number(struct word *w)
{
	u64 value = number(w, 10);

	if (w->at != w->end)
		bad(w, "one number is expected");
	return value;
}

static void colon(struct word *w)
{
	if (w->at == w->end || *w->at != ':')
		bad(w, "expected CONFIG:MASK:KIND[:PHASE]");
	w->at++;
}

static void parse_event(struct word *w)
{
	struct event_setting *ev;

	if (settings.nr_events == PP_GUEST_MAX_EVENTS)
		bad(w, "too many events");
	ev = &settings.events[settings.nr_events++];
	ev->config = number(w, 16);
	if (ev->config & (ARCH_PERFMON_EVENTSEL_ENABLE | ARCH_PERFMON_EVENTSEL_INT))
		bad(w, "EN and INT are the driver's to set");
	colon(w);
	ev->mask = number(w, 16);
	colon(w);
	switch (w->at < w->end ? *w->at++ : '\0') {
	case 's': ev->kind = KIND_COUNT; break;
	case 'F':
		ev->kind = KIND_FREQ;
		ev->rate = number(w, 10);
		break;
	case 'c':
		ev->kind = KIND_PERIOD;
		ev->rate = number(w, 10);
		break;
	default: bad(w, "KIND is s, F<hz> or c<n>");
	}
	if (ev->kind != KIND_COUNT && (!ev->rate || ev->rate > GENMASK_ULL(62, 0)))
		bad(w, "the frequency or period must be 1 to 2^63 - 1");
	if (w->at == w->end)
		return;
	colon(w);
	ev->phase_us = number(w, 10);
	if (w->at != w->end)
		bad(w, "nothing may follow PHASE");
}

/* True when the word is @key=...; leaves the value at w->at. */
static bool is_key(struct word *w, const char *key)
{
	const char *c = w->text;

	for (; *key; key++, c++)
		if (c == w->end || *c != *key)
			return false;
	if (c == w->end || *c != '=')
		return false;
	w->at = c + 1;
	return true;
}

static bool value_is(const struct word *w, const char *text)
{
	const char *c;

	for (c = w->at; c < w->end && *text; c++, text++)
		if (*c != *text)
			return false;
	return c == w->end && !*text;
}

static bool parse_number_key(struct word *w)
{
	static const struct {
		const char *key;
		u64 *value;
	} keys[] = {
		{"work", &settings.work},	{"time", &settings.time},
		{"profile", &settings.profile}, {"chunk", &settings.chunk},
		{"kernel", &settings.kernel},	{"tsc_khz", &settings.tsc_khz},
		{"hz", &settings.hz},		{"mux_us", &settings.mux_us},
		{"cpus", &settings.cpus},	{"perf_work", &settings.perf_work},
		{"tasks", &settings.tasks},	{"slice_us", &settings.slice_us},
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		if (is_key(w, keys[i].key)) {
			*keys[i].value = whole_number(w);
			return true;
		}
	}
	return false;
}

static void parse_word(struct word *w, bool *perf_given)
{
	if (is_key(w, "ev")) {
		parse_event(w);
	} else if (is_key(w, "linux")) {
		settings.per_pmu_tick = value_is(w, "6.9");
		if (!settings.per_pmu_tick && !value_is(w, "6.8"))
			bad(w, "linux is 6.8 or 6.9");
	} else if (is_key(w, "perf")) {
		settings.perf = value_is(w, "1");
		if (!settings.perf && !value_is(w, "0"))
			bad(w, "perf is 0 or 1");
		*perf_given = true;
	} else if (is_key(w, "hint")) {
		settings.hint = value_is(w, "1");
		if (!settings.hint && !value_is(w, "0"))
			bad(w, "hint is 0 or 1");
	} else if (!parse_number_key(w)) {
		bad(w, "unknown setting (the list is in pp_guest.h)");
	}
}

/* TSC frequency as CPUID 0x15 gives it: crystal hertz times EBX / EAX. */
static u64 cpuid_tsc_khz(void)
{
	struct cpuid_regs r;

	if (cpuid(0).eax < 0x15)
		return 0;
	r = cpuid(0x15);
	if (!r.eax || !r.ebx || !r.ecx)
		return 0;
	return mul_u64_u64_div_u64(r.ecx, r.ebx, r.eax * 1000ull);
}

static void check(bool perf_given)
{
	if (!perf_given)
		settings.perf = settings.nr_events != 0;
	if (!settings.work == !settings.time)
		die("settings: give one of work= and time=");
	if (!settings.cpus || settings.cpus > PP_GUEST_MAX_CPUS)
		die("settings: cpus is 1 to %u", (u64)PP_GUEST_MAX_CPUS);
	if (!settings.chunk)
		die("settings: chunk must not be 0");
	if (settings.kernel > 1024)
		die("settings: kernel is a share of 1024");
	if (!settings.tsc_khz)
		settings.tsc_khz = cpuid_tsc_khz();
	if (!settings.tsc_khz)
		die("settings: tsc_khz is missing and CPUID 0x15 does not tell");
	if (settings.tsc_khz < 1000 || settings.tsc_khz > GENMASK_ULL(31, 0))
		die("settings: tsc_khz is out of range");
	if (settings.hz > settings.tsc_khz)
		die("settings: hz is out of range");
	if (!settings.tasks || settings.tasks > 2)
		die("settings: tasks is 1 or 2");
	if (!settings.slice_us)
		die("settings: slice_us must not be 0");
	if (!settings.mux_us)
		die("settings: mux_us must not be 0");
	if (settings.perf_work > 1000)
		die("settings: perf_work is 0 to 1000 percent");
}

void settings_parse(const char *cmdline)
{
	bool perf_given = false, first = true;
	struct word w;

	settings.cpus = 1;
	settings.chunk = 1000000;
	settings.hz = 1000;
	settings.mux_us = 1000;
	settings.tasks = 1;
	settings.slice_us = 3000;
	settings.perf_work = 100;
	settings.per_pmu_tick = true;
	for (w.end = cmdline;; first = false) {
		const char *c;
		bool has_key = false;

		for (w.text = w.end; *w.text == ' '; w.text++)
			;
		if (!*w.text)
			break;
		for (w.end = w.text; *w.end && *w.end != ' '; w.end++)
			;
		w.at = w.text;
		for (c = w.text; c < w.end; c++)
			has_key |= *c == '=';
		if (first && !has_key)
			continue; /* argv[0] */
		parse_word(&w, &perf_given);
	}
	check(perf_given);
}
