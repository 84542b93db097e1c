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
/* The running thread is left by a long jump: before it and after it. */
void block_leave(void);
void block_left(void);
/* "kernel name, block 3, thread 17" of what runs, and with a line of its text, when it is not 0,
 * "kernel .., line 5 (y[i] = 0;)". */
const char *block_place(int line, char *text, size_t len);
/* Does the running thread use more than its stack at this address? */
bool block_stack_overflows(const void *at);
/* Random numbers in [0, n), and their seed. */
unsigned block_pick(unsigned n);
void block_seed(uint64_t seed);

#endif
