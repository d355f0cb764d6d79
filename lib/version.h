// SPDX-License-Identifier: MIT
//  version - of the whole project; the Makefile reads it from here.  The protocol has its own number.

#ifndef TALLY_VERSION_H
#define TALLY_VERSION_H

#define TALLY_VERSION "0.1.0"

#endif
