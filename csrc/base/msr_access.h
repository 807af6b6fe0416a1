/* SPDX-License-Identifier: Apache-2.0 */
/* msr_access.h - what a RDMSR or WRMSR comes to, beside 0 and -1, which is #GP(0). */
#ifndef BASE_MSR_ACCESS_H_
#define BASE_MSR_ACCESS_H_

/* Silicon would do something that the model has not: the run stops. */
#define MSR_NOT_MODELLED (-2)

#endif /* BASE_MSR_ACCESS_H_ */
