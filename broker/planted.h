// SPDX-License-Identifier: MIT
//  planted - defects that are compiled in on purpose, one at a time, to show that the tests find them.
//
//  A normal build defines no TALLY_PLANT, so every TALLY_PLANTED() is the constant false.  `make planted` builds each.

#ifndef TALLY_PLANTED_H
#define TALLY_PLANTED_H

#ifndef TALLY_PLANT
#define TALLY_PLANT 0
#endif

#define TALLY_PLANTED(number) (TALLY_PLANT == (number))

#endif
