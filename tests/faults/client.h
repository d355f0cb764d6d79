// SPDX-License-Identifier: MIT
//  client - a load client: sends what `load` says, records what it is told, and outlives its own death.
//
//  Its sender and its numbers are in its memo; started again it repeats what is open under the same numbers.  Speaks
//  through libtally alone.

#ifndef TALLY_FAULTS_CLIENT_H
#define TALLY_FAULTS_CLIENT_H

//  The whole program: client ROOM NUMBER PROCESS SEED FRONTS RATE SILENCE-MS.  RATE: messages a second, at
//  most; SILENCE-MS: after which a connection is given up.
int tally_faults_client(int argc, char **argv);

#endif
