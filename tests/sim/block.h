/* One block of a launch: its threads as fibers. See block.c. */
#ifndef NPC_SIM_BLOCK_H
#define NPC_SIM_BLOCK_H

#include "tests/sim/driver.h"

/* For launches of these blocks; false: no memory for the stacks. Says so. */
bool block_prepare(const SimLaunch *l, SimUnit *unit);
/* Runs all threads. Anything but CUDA_SUCCESS: what is wrong has been said. */
CUresult block_run(SimDim block);
/* After a block that ended in the middle. */
void block_abandon(void);
/* The running thread is wrong: ends the block. */
__attribute__((noreturn)) void block_give_up(CUresult r);
/* "kernel name, block 3, thread 17" of what runs. */
const char *block_place(char *text, size_t len);
/* Does the running thread use more than its stack at this address? */
bool block_stack_overflows(const void *at);
/* Random numbers in [0, n), and their seed. */
unsigned block_pick(unsigned n);
void block_seed(uint64_t seed);

#endif
