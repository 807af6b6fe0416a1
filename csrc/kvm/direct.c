// SPDX-License-Identifier: Apache-2.0
/*
 * direct.c - what the guest reaches without an exit, and what exits.
 *
 * Interface
 *  - kvm_setup_intercepts(): the table that Python computed, as MSR bitmaps and controls; an MSR
 *    that is not in it exits. And the exceptions that vmx_update_exception_bitmap() asks for with EPT
 *    and no debugger on the host.
 *  - kvm_recalc_msr_intercepts(): the same table once the MSR filter has changed: what it denies exits.
 *  - kvm_update_msr_bitmap_x2apic(): the x2APIC's part of the table holds in x2APIC mode only.
 *  - kvm_cpu_ops: direct accesses; the guest has the physical PMU under its hands here.
 *
 * Not modelled: APIC access exits of an xAPIC guest without APICv (each write exits once done).
 */
#include "kvm/vcpu.h"

#include "base/fault.h"
#include "pmu/access.h"

/* The table is for the CPUID of the start. The VMM can take full-width writes away before the first run;
 * then the guest must not reach these registers in silicon, which has them. */
static bool is_absent_counter(const struct kvm_vcpu *vcpu, u32 msr)
{
	return msr - MSR_IA32_PMC0 < PP_MAX_GP &&
	       pmu_find(&vcpu->config->hw, msr).kind == PMU_COUNTER &&
	       pmu_find(&vcpu->pmu.guest, msr).kind != PMU_COUNTER;
}

/* The table's row for good; what a load that is put off, or a parked counter, intercepts comes on top. */
static struct pp_msr_intercept row_of_now(const struct kvm_vcpu *vcpu,
					  const struct pp_msr_intercept *row)
{
	const struct kvm_msr_filter *filter = &vcpu->msr_filter;
	struct pp_msr_intercept now = *row;

	if (row->msr == MSR_IA32_SPEC_CTRL && vcpu->guest.misc.spec_ctrl)
		now.read = now.write = false;
	if (is_absent_counter(vcpu, row->msr))
		now.read = now.write = true;
	now.read |= !kvm_msr_allowed(filter, row->msr, PP_MSR_FILTER_READ);
	now.write |= !kvm_msr_allowed(filter, row->msr, PP_MSR_FILTER_WRITE);
	return now;
}

bool kvm_msr_is_direct(const struct kvm_vcpu *vcpu, u32 msr, bool write)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;

	for (u32 i = 0; i < kvm->nr_intercepts; i++) {
		if (kvm->intercepts[i].msr == msr) {
			struct pp_msr_intercept now = row_of_now(vcpu, &kvm->intercepts[i]);

			return !(write ? now.write : now.read);
		}
	}
	return false;
}

unsigned int kvm_recalc_pmu_intercepts(struct kvm_vcpu *vcpu)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;
	struct cpu_intercept *in = &vcpu->intercept;
	bool rdpmc = kvm->rdpmc_intercept ||
		     (vcpu->pmu.put_off && !FAULTY(SWITCH_PUT_OFF_LEAVES_RDPMC));
	unsigned int flips = in->rdpmc != rdpmc;

	in->rdpmc = rdpmc;
	for (u32 i = 0; i < kvm->nr_intercepts; i++) {
		struct pp_msr_intercept now = row_of_now(vcpu, &kvm->intercepts[i]);

		if (!hwpmu_owns_msr(&vcpu->pcpu->pmu, now.msr))
			continue;
		now.read |= vcpu->pmu.put_off && !FAULTY(SWITCH_PUT_OFF_LEAVES_READS);
		now.write |= vcpu->pmu.put_off && !FAULTY(SWITCH_PUT_OFF_LEAVES_WRITES);
		now.write |= kvm_pmu_is_parked(vcpu, now.msr) && !FAULTY(HINT_LEAVES_WRITES);
		if (cpu_msr_intercepted(in, now.msr, false) == !!now.read &&
		    cpu_msr_intercepted(in, now.msr, true) == !!now.write)
			continue;
		cpu_intercept_msr(in, now.msr, now.read, now.write);
		flips++;
	}
	return flips;
}

void kvm_setup_intercepts(struct kvm_vcpu *vcpu)
{
	/* What the bitmaps of VMX and SVM hold; every other MSR exits anyway. */
	static const u32 ranges[] = {0, 0xc0000000u, 0xc0010000u};
	const struct pp_kvm *kvm = &vcpu->config->kvm;
	struct cpu_intercept *in = &vcpu->intercept;

	*in = (struct cpu_intercept){
		.cpuid = true,
		.hlt = true,
		.io = true,
		.vmcall = true,
		.work = true,
		.mov_dr = true,
		.exceptions = BIT_ULL(UD_VECTOR) | BIT_ULL(MC_VECTOR) | BIT_ULL(DB_VECTOR) |
			      BIT_ULL(AC_VECTOR),
		.rdpmc = kvm->rdpmc_intercept,
	};
	for (unsigned int range = 0; range < ARRAY_SIZE(ranges); range++) {
		for (u32 msr = 0; msr < 0x2000; msr++)
			cpu_intercept_msr(in, ranges[range] + msr, true, true);
	}
	if (kvm->vmware_backdoor)
		in->exceptions |= BIT_ULL(GP_VECTOR);
	kvm_recalc_msr_intercepts(vcpu);
	kvm_update_msr_bitmap_x2apic(vcpu);
}

void kvm_recalc_msr_intercepts(struct kvm_vcpu *vcpu)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;

	for (u32 i = 0; i < kvm->nr_intercepts; i++) {
		struct pp_msr_intercept now = row_of_now(vcpu, &kvm->intercepts[i]);

		if (!kvm_is_x2apic_msr(now.msr))
			cpu_intercept_msr(&vcpu->intercept, now.msr, now.read, now.write);
	}
	kvm_recalc_pmu_intercepts(vcpu);
	/* The next entry passes the LBR through again. */
	kvm_lbr_set_direct(vcpu, false);
}

void kvm_update_msr_bitmap_x2apic(struct kvm_vcpu *vcpu)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;
	bool off = !lapic_x2apic(&vcpu->lapic);

	for (u32 i = 0; i < kvm->nr_intercepts; i++) {
		const struct pp_msr_intercept *row = &kvm->intercepts[i];

		if (kvm_is_x2apic_msr(row->msr))
			cpu_intercept_msr(&vcpu->intercept, row->msr, off || row->read,
					  off || row->write);
	}
}

static void kvm_horizon(void *ctx, enum privilege priv, struct cpu_room *room)
{
	struct kvm_vcpu *vcpu = ctx;
	u64 at = min_u64(lapic_deadline(&vcpu->lapic), lapic_inbox_deadline(&vcpu->lapic));

	pcpu_room(vcpu->pcpu, priv, room);
	pcpu_room_deadline(vcpu->pcpu, min_u64(at, sched_deadline(vcpu->task.rq)), room);
}

static bool kvm_land(void *ctx)
{
	struct kvm_vcpu *vcpu = ctx;

	hwpmu_land(&vcpu->pcpu->pmu);
	truth_land(&vcpu->guest.truth);
	return kvm_event_due(vcpu);
}

static int kvm_direct_rdmsr(void *ctx, u32 msr, u64 *value)
{
	struct kvm_vcpu *vcpu = ctx;

	if (unlikely(vcpu->pmu.lbr.direct) && kvm_lbr_has_msr(&vcpu->pmu, msr)) {
		kvm_lbr_direct_read(vcpu, msr, value);
		return 0;
	}
	return pcpu_guest_rdmsr(&vcpu->guest, msr, value);
}

static void trap_after(struct kvm_vcpu *vcpu, enum exit_reason reason)
{
	vcpu->trap_exit = (int)reason;
	cpu_request_stop(vcpu->guest.cpu);
}

/* Written directly, these need no help; the others of an AVIC do. */
static bool x2apic_write_is_accelerated(u32 msr)
{
	u32 reg = (msr - APIC_X2APIC_MSR_BASE) << 4;

	return reg == APIC_TASKPRI || reg == APIC_EOI || reg == APIC_SELF_IPI;
}

static int kvm_direct_wrmsr(void *ctx, u32 msr, u64 value)
{
	struct kvm_vcpu *vcpu = ctx;
	int fault;

	if (unlikely(vcpu->pmu.lbr.direct) && kvm_lbr_has_msr(&vcpu->pmu, msr))
		return kvm_lbr_direct_write(vcpu, msr, value);
	fault = pcpu_guest_wrmsr(&vcpu->guest, msr, value);

	if (!fault && kvm_is_x2apic_msr(msr) && !x2apic_write_is_accelerated(msr) && vcpu->in_guest)
		trap_after(vcpu, EXIT_APIC_WRITE);
	return fault;
}

static int kvm_direct_rdpmc(void *ctx, u32 ecx, u64 *value)
{
	struct kvm_vcpu *vcpu = ctx;

	return pcpu_guest_rdpmc(&vcpu->guest, ecx, value);
}

static u64 kvm_rdtsc(void *ctx)
{
	struct kvm_vcpu *vcpu = ctx;

	return pcpu_guest_tsc(&vcpu->guest);
}

static void kvm_cpuid(void *ctx, u32 leaf, u32 subleaf, u32 regs[4])
{
	struct kvm_vcpu *vcpu = ctx;

	pcpu_guest_cpuid(&vcpu->guest, leaf, subleaf, regs);
}

/* Port I/O is always intercepted. */
static u32 kvm_in(void *ctx, u16 port, unsigned int size)
{
	struct kvm_vcpu *vcpu = ctx;

	return ports_in(vcpu->ports, port, size);
}

static void kvm_out(void *ctx, u16 port, unsigned int size, u32 value)
{
	struct kvm_vcpu *vcpu = ctx;

	ports_out(vcpu->ports, port, size, value);
}

/* The emulator's accesses come here too, with the guest stopped: they exit no more. */
static u64 kvm_mmio_read(void *ctx, u64 pa, unsigned int size)
{
	struct kvm_vcpu *vcpu = ctx;

	(void)size;
	if (lapic_owns_page(&vcpu->lapic, pa)) {
		if (vcpu->in_guest && !lapic_in_kernel(vcpu))
			trap_after(vcpu, EXIT_EPT_MISCONFIG);
		return lapic_mmio_read(&vcpu->lapic, (u32)(pa & 0xfff));
	}
	if (vcpu->in_guest)
		trap_after(vcpu, EXIT_EPT_MISCONFIG);
	return ~0ull;
}

static void kvm_mmio_write(void *ctx, u64 pa, unsigned int size, u64 value)
{
	struct kvm_vcpu *vcpu = ctx;
	u32 reg = (u32)(pa & 0xff0);

	(void)size;
	if (!lapic_owns_page(&vcpu->lapic, pa)) {
		if (vcpu->in_guest)
			trap_after(vcpu, EXIT_EPT_MISCONFIG);
		return;
	}
	lapic_mmio_write(&vcpu->lapic, (u32)(pa & 0xfff), (u32)value);
	if (!vcpu->in_guest)
		return;
	if (!lapic_in_kernel(vcpu))
		trap_after(vcpu, EXIT_EPT_MISCONFIG);
	/* Virtual-interrupt delivery does these two by itself. */
	else if (!vcpu->config->kvm.apicv || (reg != APIC_EOI && reg != APIC_TASKPRI))
		trap_after(vcpu, EXIT_APIC_WRITE);
}

const struct cpu_ops kvm_cpu_ops = {
	.horizon = kvm_horizon,
	.land = kvm_land,
	.rdmsr = kvm_direct_rdmsr,
	.wrmsr = kvm_direct_wrmsr,
	.rdpmc = kvm_direct_rdpmc,
	.rdtsc = kvm_rdtsc,
	.cpuid = kvm_cpuid,
	.in = kvm_in,
	.out = kvm_out,
	.mmio_read = kvm_mmio_read,
	.mmio_write = kvm_mmio_write,
};
