// SPDX-License-Identifier: MIT
//  chance - numbers that look random and follow from a seed.
//
//  splitmix64: a state of one word, so that the choices for one send need nothing but its number.

#ifndef TALLY_FAULTS_CHANCE_H
#define TALLY_FAULTS_CHANCE_H

#include <stdint.h>

typedef struct {
    uint64_t state;
} tally_chance_t;

static inline uint64_t
tally_chance_next(tally_chance_t *self)
{
    uint64_t z = self->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

//  Of a seed and up to three numbers that say what it is for.
static inline tally_chance_t
tally_chance_of(uint64_t seed, uint64_t a, uint64_t b, uint64_t c)
{
    tally_chance_t self = {seed};
    self.state = tally_chance_next(&self) ^ a;
    self.state = tally_chance_next(&self) ^ b;
    self.state = tally_chance_next(&self) ^ c;
    (void)tally_chance_next(&self);
    return self;
}

//  0 .. bound - 1; the bias does not matter here.
static inline uint32_t
tally_chance_below(tally_chance_t *self, uint32_t bound)
{
    return (uint32_t)((tally_chance_next(self) >> 32) * bound >> 32);
}

static inline int
tally_chance_between(tally_chance_t *self, int low, int high)
{
    return low + (int)tally_chance_below(self, (uint32_t)(high - low + 1));
}

#endif
