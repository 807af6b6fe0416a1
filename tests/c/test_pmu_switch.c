// SPDX-License-Identifier: Apache-2.0
/* The mediated vPMU's load: what hardware holds before it must not be what the guest finds. */
#include "kvm/vcpu.h"
#include "test_pcpu.h"

#define GUEST_STATUS 0x6ull
#define HOST_STATUS 0x3ull

static struct kvm_vcpu *vcpu_new(struct bench *b, const struct kvm_pmu_ops *ops)
{
	struct kvm_vcpu *vcpu = calloc(1, sizeof(*vcpu));

	vcpu->pcpu = &b->pcpu;
	vcpu->pmu.ops = ops;
	vcpu->pmu.policy = kvm_pmu_switch_policy(PP_SWITCH_UPSTREAM);
	vcpu->pmu.global_status = GUEST_STATUS;
	return vcpu;
}

/* Bit 0 is the host's alone, bit 2 the guest's alone, bit 1 is set on both sides. */
static void load_over_the_status_of_the_host(struct bench *b, const struct kvm_pmu_ops *ops)
{
	struct kvm_vcpu *vcpu = vcpu_new(b, ops);
	struct hwpmu *hw = &b->pcpu.pmu;

	EXPECT_EQ(0, hwpmu_wrmsr(hw, hw->vendor->global_status_set, HOST_STATUS));
	EXPECT_EQ(HOST_STATUS, hw->global_status);
	ops->mediated_load(vcpu);
	EXPECT_EQ(GUEST_STATUS, hw->global_status);
	EXPECT_EQ(GUEST_STATUS, vcpu->pmu.global_status);
	free(vcpu);
}

TEST(intel_status_bits_of_the_host_are_cleared_and_the_guests_set)
{
	struct bench *b = bench_new(8, 3);

	load_over_the_status_of_the_host(b, &intel_pmu_ops);
	bench_free(b);
}

TEST(amd_status_bits_of_the_host_are_cleared_and_the_guests_set)
{
	const struct pp_pmu caps = {.vendor = PP_VENDOR_AMD,
				    .version = 2,
				    .nr_gp = 6,
				    .gp_width = 48,
				    .perfctr_core = 1};
	struct bench *b = bench_new(6, 0);
	struct pcpu *p = &b->pcpu;

	hwpmu_init(&p->pmu, &caps, &b->events, &p->clk);
	hwpmu_switch_guest(&p->pmu, &b->guest, &p->account.host, &b->thresholds);
	load_over_the_status_of_the_host(b, &amd_pmu_ops);
	bench_free(b);
}

TEST_MAIN()
