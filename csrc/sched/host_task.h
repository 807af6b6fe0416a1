/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_task.h - a thread of the host that computes: a vCPU's rival for its pCPU.
 *
 * It computes in user mode for @burst TSC cycles and sleeps for @pause, over and over; with @pause 0 it
 * never sleeps. Its instructions a cycle are those of all host work. Perf events of it go with it.
 */
#ifndef SCHED_HOST_TASK_H_
#define SCHED_HOST_TASK_H_

#include "sched/sched.h"

struct host_task {
	struct task task;
	struct perf_event_context perf_ctx;

	/* TSC cycles */
	u64 burst, pause;
	u64 done;     /* of this burst */
	u64 wakes_at; /* asleep */
};

void host_task_init(struct host_task *h, u64 burst, u64 pause);
void host_task_moved(struct host_task *h, const struct move *move);

#endif /* SCHED_HOST_TASK_H_ */
