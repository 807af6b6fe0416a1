/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - the slow path of data accesses: TLB misses, cold lines, line and page crossings,
 * memory-mapped devices, stores to pages that hold decoded code.
 *
 * Interface
 *  - load_slow(), load_for_update(), store_slow() do everything that the inline fast paths of
 *    memory.h do not; load_bytes() and store_bytes() are their like for wide operands. Both parts of
 *    an access that crosses a page are translated before either is touched, so that an access happens
 *    entirely or not at all.
 *  - An access to a device, and one whose cold line could reach a limit, abandons the block before
 *    this instruction (ESCAPE_ALONE) unless it is already executed alone: then totals are exact
 *    for the device, and the CPU can stop right behind this instruction. So does one that hits a
 *    data breakpoint.
 *
 *  - Alignment checks (CR0.AM with RFLAGS.AC at CPL 3) are here alone: what is not aligned never takes
 *    a fast path. #AC comes behind #GP and #SS for the address, before the page is looked at: the
 *    manual lists #PF first, processors do it so (judged on Zen 4).
 *
 * Not modelled
 *  - descriptors, gates and stacks of deliveries in device memory: read as ones, written nowhere.
 */
#include <string.h>

#include "cpu/block.h"
#include "cpu/memory.h"

struct piece {
	u64 pa;
	unsigned int bytes;
};

static bool is_ram(const struct cpu *c, u64 pa)
{
	return pa < c->ram.size;
}

/* Cut an access at a line boundary; translate all of it first. */
static unsigned int split(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes,
			  enum access access, bool user, struct piece piece[2])
{
	unsigned int first = LINE_BYTES - (va & (LINE_BYTES - 1));

	bool two_pages = (va & ~PAGE_MASK) + bytes > PAGE_BYTES;
	u64 second = c->legacy ? (u32)(va + first) : va + first;

	/* That it leaves the canonical addresses comes before what is mapped there. */
	if (two_pages && !is_canonical(second))
		raise_noncanonical(c, i, access);
	piece[0].pa = translate(c, i, va, access, user);
	if (bytes <= first) {
		piece[0].bytes = bytes;
		return 1;
	}
	piece[0].bytes = first;
	piece[1].bytes = bytes - first;
	piece[1].pa = two_pages ? translate(c, i, second, access, user) : piece[0].pa + first;
	return 2;
}

static void check_alignment(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes)
{
	/* What has no natural size (ten bytes of x87) is made of words of eight. */
	u64 unit = bytes & (bytes - 1) ? 8 : bytes;

	if (likely(!(va & (unit - 1)) || !(c->flags & FLAG_AC)))
		return;
	if (c->cpl == 3 && (c->cr0 & CR0_AM) && is_canonical(va) && is_canonical(va + bytes - 1))
		raise_fault(c, i, VECTOR_AC, 0);
}

/* An instruction's own access. */
static unsigned int split_data(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes,
			       enum access access, struct piece piece[2])
{
	check_alignment(c, i, va, bytes);
	return split(c, i, va, bytes, access, c->priv == PRIV_USR, piece);
}

static void touch_line(struct cpu *c, const struct insn *i, u64 pa)
{
	u64 *count = c->totals.count[c->priv];
	u64 *warm = &c->warm_lines[pa / PAGE_BYTES];
	u64 line = BIT_ULL(pa >> LINE_SHIFT & 63);

	if (likely(*warm & line))
		return;
	if (!c->alone && (c->slack_sub < (s64)c->timing.llc_miss ||
			  count[EVENT_LLC_REFERENCES] + 1 >= c->limit[EVENT_LLC_REFERENCES] ||
			  count[EVENT_LLC_MISSES] + 1 >= c->limit[EVENT_LLC_MISSES]))
		cpu_escape(c, i, ESCAPE_ALONE);
	*warm |= line;
	count[EVENT_LLC_REFERENCES]++;
	count[EVENT_LLC_MISSES]++;
	c->totals.sub[c->priv] += c->timing.llc_miss;
	c->slack_sub -= (s64)c->timing.llc_miss;
}

/* Devices see one access, or single bytes where it has no natural size. */
static bool natural_size(unsigned int bytes)
{
	return (bytes & (bytes - 1)) == 0;
}

static u64 device_read(struct cpu *c, u64 pa, unsigned int bytes)
{
	u64 v = 0;

	if (natural_size(bytes))
		return c->ops->mmio_read(c->ctx, pa, bytes);
	for (unsigned int n = 0; n < bytes; n++)
		v |= (c->ops->mmio_read(c->ctx, pa + n, 1) & 0xff) << (8 * n);
	return v;
}

static void device_write(struct cpu *c, u64 pa, unsigned int bytes, u64 value)
{
	if (natural_size(bytes)) {
		c->ops->mmio_write(c->ctx, pa, bytes, value);
		return;
	}
	for (unsigned int n = 0; n < bytes; n++)
		c->ops->mmio_write(c->ctx, pa + n, 1, value >> (8 * n) & 0xff);
}

static void prepare(struct cpu *c, const struct insn *i, const struct piece *piece, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++) {
		if (is_ram(c, piece[k].pa))
			touch_line(c, i, piece[k].pa);
		else if (!c->alone)
			cpu_escape(c, i, ESCAPE_ALONE);
	}
}

static u64 load_pieces(struct cpu *c, const struct piece *piece, unsigned int n)
{
	unsigned int shift = 0;
	u64 value = 0;

	for (unsigned int k = 0; k < n; k++) {
		u64 part = 0;

		if (is_ram(c, piece[k].pa))
			memcpy(&part, c->ram.base + piece[k].pa, piece[k].bytes);
		else
			part = device_read(c, piece[k].pa, piece[k].bytes);
		value |= part << shift;
		shift += 8 * piece[k].bytes;
	}
	return value;
}

static void store_pieces(struct cpu *c, const struct piece *piece, unsigned int n, u64 value)
{
	for (unsigned int k = 0; k < n; k++) {
		unsigned int bytes = piece[k].bytes;
		u64 pa = piece[k].pa;

		if (is_ram(c, pa)) {
			memcpy(c->ram.base + pa, &value, bytes);
			if (unlikely(c->code_lines[pa / PAGE_BYTES] >> (pa >> LINE_SHIFT & 63) & 1))
				block_written(c, pa, bytes);
		} else {
			u64 part = bytes == 8 ? value : value & ((1ull << 8 * bytes) - 1);

			device_write(c, pa, bytes, part);
		}
		if (bytes < 8)
			value >>= 8 * bytes;
	}
}

/*
 * The host address of an access that is slow for no other reason than not being aligned: its page is
 * in the TLB, its lines are warm, and nobody checks alignment. NULL for any other.
 */
static u8 *unaligned(struct cpu *c, u64 va, unsigned int bytes, bool write)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if ((write ? e->write_tag : e->read_tag) != (va & PAGE_MASK) || (c->flags & FLAG_AC) ||
	    (va & ~PAGE_MASK) + bytes > PAGE_BYTES || !line_is_warm(e, va) ||
	    !line_is_warm(e, va + bytes - 1))
		return NULL;
	return (u8 *)(uintptr_t)(va + e->addend);
}

/* One access where the size has one, as of aligned data. */
static u64 read_host(const u8 *host, unsigned int bytes)
{
	u64 value = 0;

	switch (bytes) {
	case 2: memcpy(&value, host, 2); break;
	case 4: memcpy(&value, host, 4); break;
	case 8: memcpy(&value, host, 8); break;
	default: memcpy(&value, host, bytes); break;
	}
	return value;
}

static void write_host(u8 *host, unsigned int bytes, u64 value)
{
	switch (bytes) {
	case 2: memcpy(host, &value, 2); break;
	case 4: memcpy(host, &value, 4); break;
	case 8: memcpy(host, &value, 8); break;
	default: memcpy(host, &value, bytes); break;
	}
}

__attribute__((noinline)) u64 load_slow(struct cpu *c, const struct insn *i, u64 va,
					unsigned int bytes)
{
	u8 *host = unaligned(c, va, bytes, false);
	struct piece piece[2];
	unsigned int n;

	if (likely(host))
		return read_host(host, bytes);
	n = split_data(c, i, va, bytes, ACCESS_READ, piece);
	if (unlikely(c->data_breakpoints))
		watch_access(c, i, va, bytes, false);
	prepare(c, i, piece, n);
	return load_pieces(c, piece, n);
}

__attribute__((noinline)) u64 load_for_update(struct cpu *c, const struct insn *i, u64 va,
					      unsigned int bytes)
{
	u8 *host = unaligned(c, va, bytes, true);
	struct piece piece[2];
	unsigned int n;

	if (likely(host))
		return read_host(host, bytes);
	n = split_data(c, i, va, bytes, ACCESS_WRITE, piece);
	if (unlikely(c->data_breakpoints))
		watch_access(c, i, va, bytes, true);
	prepare(c, i, piece, n);
	return load_pieces(c, piece, n);
}

__attribute__((noinline)) void store_slow(struct cpu *c, const struct insn *i, u64 va,
					  unsigned int bytes, u64 value)
{
	u8 *host = unaligned(c, va, bytes, true);
	struct piece piece[2];
	unsigned int n;

	if (likely(host)) {
		write_host(host, bytes, value);
		return;
	}
	n = split_data(c, i, va, bytes, ACCESS_WRITE, piece);
	if (unlikely(c->data_breakpoints))
		watch_access(c, i, va, bytes, true);
	prepare(c, i, piece, n);
	store_pieces(c, piece, n, value);
}

/* Devices see eight bytes at a time, and what is left over by itself. */
static unsigned int device_part(unsigned int left)
{
	return left < 8 ? left : 8;
}

void load_bytes(struct cpu *c, const struct insn *i, u64 va, void *to, unsigned int bytes)
{
	struct piece piece[2];
	unsigned int n = split_data(c, i, va, bytes, ACCESS_READ, piece);
	u8 *at = to;

	if (unlikely(c->data_breakpoints))
		watch_access(c, i, va, bytes, false);
	prepare(c, i, piece, n);
	for (unsigned int k = 0; k < n; k++) {
		u64 pa = piece[k].pa;

		if (is_ram(c, pa)) {
			memcpy(at, c->ram.base + pa, piece[k].bytes);
		} else {
			for (unsigned int done = 0; done < piece[k].bytes; done += 8) {
				unsigned int part = device_part(piece[k].bytes - done);
				u64 v = device_read(c, pa + done, part);

				memcpy(at + done, &v, part);
			}
		}
		at += piece[k].bytes;
	}
}

void store_bytes(struct cpu *c, const struct insn *i, u64 va, const void *from, unsigned int bytes)
{
	struct piece piece[2];
	unsigned int n = split_data(c, i, va, bytes, ACCESS_WRITE, piece);
	const u8 *at = from;

	if (unlikely(c->data_breakpoints))
		watch_access(c, i, va, bytes, true);
	prepare(c, i, piece, n);
	for (unsigned int k = 0; k < n; k++) {
		u64 pa = piece[k].pa;

		if (is_ram(c, pa)) {
			memcpy(c->ram.base + pa, at, piece[k].bytes);
			if (unlikely(c->code_lines[pa / PAGE_BYTES] >> (pa >> LINE_SHIFT & 63) & 1))
				block_written(c, pa, piece[k].bytes);
		} else {
			for (unsigned int done = 0; done < piece[k].bytes; done += 8) {
				unsigned int part = device_part(piece[k].bytes - done);
				u64 v = 0;

				memcpy(&v, at + done, part);
				device_write(c, pa + done, part, v);
			}
		}
		at += piece[k].bytes;
	}
}

void probe_write(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes)
{
	struct piece piece[2];

	split_data(c, i, va, bytes, ACCESS_WRITE, piece);
}

void probe_area(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes, unsigned int unit)
{
	u64 last = va + bytes - 1;

	probe_write(c, i, va, unit);
	if ((va ^ last) & PAGE_MASK)
		probe_write(c, i, last & PAGE_MASK, 1);
}

u64 system_read(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes)
{
	struct piece piece[2];
	unsigned int n = split(c, i, va, bytes, ACCESS_READ, false, piece);
	unsigned int shift = 0;
	u64 value = 0;

	for (unsigned int k = 0; k < n; k++) {
		u64 part = ~0ull;

		if (is_ram(c, piece[k].pa)) {
			part = 0;
			memcpy(&part, c->ram.base + piece[k].pa, piece[k].bytes);
		}
		value |= part << shift;
		shift += 8 * piece[k].bytes;
	}
	return value;
}

static void system_write(struct cpu *c, u64 pa, const u8 *from, unsigned int bytes)
{
	if (!is_ram(c, pa))
		return;
	memcpy(c->ram.base + pa, from, bytes);
	if (unlikely(c->code_lines[pa / PAGE_BYTES]))
		block_written(c, pa, bytes);
}

#define MAX_PUSHED_WORDS 8

static u64 pushed_address(const struct pushed *to, u64 below)
{
	u64 va = to->base + ((to->top - below) & to->mask);

	return to->mask == ~0ull ? va : (u32)va;
}

void system_push(struct cpu *c, const struct insn *i, const struct pushed *to, const u64 *words,
		 unsigned int n, unsigned int bytes, bool user)
{
	struct piece pieces[MAX_PUSHED_WORDS][2];
	unsigned int nr[MAX_PUSHED_WORDS];

	for (unsigned int k = 0; k < n; k++)
		nr[k] = split(c, i, pushed_address(to, (u64)bytes * (k + 1)), bytes, ACCESS_WRITE,
			      user, pieces[k]);
	for (unsigned int k = 0; k < n; k++) {
		const u8 *from = (const u8 *)&words[k];

		for (unsigned int part = 0; part < nr[k]; part++) {
			system_write(c, pieces[k][part].pa, from, pieces[k][part].bytes);
			from += pieces[k][part].bytes;
		}
	}
}

void system_write_byte(struct cpu *c, const struct insn *i, u64 va, u8 value)
{
	system_write(c, translate(c, i, va, ACCESS_WRITE, false), &value, 1);
}

void flush_line(struct cpu *c, const struct insn *i, u64 va)
{
	u64 pa = translate(c, i, va, ACCESS_READ, c->priv == PRIV_USR);

	if (is_ram(c, pa))
		c->warm_lines[pa / PAGE_BYTES] &= ~BIT_ULL(pa >> LINE_SHIFT & 63);
}
