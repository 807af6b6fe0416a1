/* SPDX-License-Identifier: Apache-2.0 */
/*
 * configs.h - the machines of tests/fuzz/configs.py, in the file that PMUPASS_FUZZ_CONFIGS names.
 */
#ifndef TESTS_FUZZ_CONFIGS_H_
#define TESTS_FUZZ_CONFIGS_H_

#include "base/types.h"
#include "pmupass.h"

/* Reads the file at the first call; ends the program if there is none or it is of another build. */
u32 nr_configs(void);
/* Complete but for image and command line. */
struct pp_config config_of(u32 number);

#endif /* TESTS_FUZZ_CONFIGS_H_ */
