// SPDX-License-Identifier: MIT
//  worker - the workers of a run, on the runtime that all workers stand on.
//
//  `main` does its work in a transaction: a row that counts the effect, follow-up sends, the settle.  `loose` settles
//  by records, at least once.  `poison` does as its messages say, and they may say that it dies.

#ifndef TALLY_FAULTS_WORKER_H
#define TALLY_FAULTS_WORKER_H

//  The whole program: worker-main, worker-loose or worker-poison, and the runtime's options with --room, --slot,
//  --process.
int tally_faults_worker(const char *kind, int argc, char **argv);

#endif
