// SPDX-License-Identifier: MIT
//  fault - see fault.h.

#include "tests/simulation/fault.h"

const char *
sim_fault_text(sim_fault_t fault)
{
    static const char *const texts[] = {
#define SIM_FAULT_TEXT(name, rate, text) text,
        SIM_FAULT_LIST(SIM_FAULT_TEXT)
#undef SIM_FAULT_TEXT
    };
    return texts[fault];
}

uint32_t
sim_fault_rate_max(sim_fault_t fault)
{
    static const uint32_t rates[] = {
#define SIM_FAULT_RATE(name, rate, text) rate,
        SIM_FAULT_LIST(SIM_FAULT_RATE)
#undef SIM_FAULT_RATE
    };
    return rates[fault];
}
