/* What the tests of the simulator share. */
#ifndef NPC_SIM_TEST_H
#define NPC_SIM_TEST_H

#include "codegen/cuda.h"
#include "tests/sim/sim_run.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static SimRun *sim;

static inline int open_simulator(void **state)
{
    (void)state;
    sim = sim_open();
    return 0;
}

/* The prelude and a text of kernels; the text's first line is line 1. */
static inline SimKernels compile(const char *text)
{
    static const char line[] = "\n#line 1 \"test.cu\"\n";
    size_t n = strlen(cuda_prelude) + sizeof line + strlen(text);
    char *all = malloc(n);
    snprintf(all, n, "%s%s%s", cuda_prelude, line, text);
    SimKernels k = sim_compile(sim, all);
    free(all);
    return k;
}

/* A function of the interface. */
#define CALL(symbol) ((__typeof__(&symbol))sim_symbol(sim->cuda, #symbol))

static inline float random_float(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 40) / (1 << 23) - 1);
}

#endif
