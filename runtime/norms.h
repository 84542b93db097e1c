/* The norms of a run's gradients, step by step, and the limit that follows from them: the given
 * percentile of all norms before (Seetharaman et al. 2020, arXiv:2007.14469; specs/viv1t.md 6),
 * between two of them by their distance. Part of a run's state. */
#ifndef NPC_RUNTIME_NORMS_H
#define NPC_RUNTIME_NORMS_H

#include <stdint.h>

#include "ir/base/arena.h"

typedef struct Norms {
    float *at;     /* in order of steps; saved */
    float *sorted; /* the same by size */
    uint64_t n, room;
} Norms;

/* Room for so many, in the arena. */
void norms_init(Norms *s, Arena *arena, uint64_t room);
/* At most `room` of them; what is no number counts as the largest. */
void norms_add(Norms *s, float norm);
/* After `at` and its length were read back. */
void norms_restore(Norms *s, uint64_t n);
/* Percent in [0, 100]; FLT_MAX while there is none. */
float norms_percentile(const Norms *s, double percent);

#endif
