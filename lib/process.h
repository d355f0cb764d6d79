// SPDX-License-Identifier: MIT
//  process - what a program must do about itself because it holds other people's bodies and keys.

#ifndef TALLY_PROCESS_H
#define TALLY_PROCESS_H

//  No memory of this process is ever written to a core, whatever the limits say, and no other process of the same
//  user may look into it (root may).  For main(), first of all; children that are executed get the limit alone.
void tally_process_seclude(void);

#endif
