/* Learning rates as a pure function of the step, and the factors of Adam that depend on it.
 *
 * A schedule is a list of stages; step k (0-based, the rate is set before the step) falls into the
 * stage whose range holds it. With j steps done of a stage of n:
 *
 *     constant   from
 *     linear     from + (to - from) j / n
 *     cosine     to + (from - to) (1 + cos(pi j / n)) / 2          (Loshchilov & Hutter 2017, eq.
 * 5)
 *
 * where j is the last multiple of `hold`, if that is set;
 * so a stage starts at `from` and would reach `to` with the step after its last. After the
 * last stage the rate stays at its `to` (constant: `from`). */
#ifndef NPC_RUNTIME_SCHEDULE_H
#define NPC_RUNTIME_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

typedef enum ScheduleShape { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE } ScheduleShape;

typedef struct ScheduleStage {
    ScheduleShape shape;
    double from, to;
    uint64_t steps;
    uint64_t hold; /* the rate changes after so many steps of the stage; 0: after every one */
} ScheduleStage;

double schedule_rate(const ScheduleStage *stage, size_t n, uint64_t step);
/* Steps of all stages. */
uint64_t schedule_steps(const ScheduleStage *stage, size_t n);

/* AdamW, Loshchilov & Hutter 2019, Algorithm 2, with k = number of this update, counted from 1:
 *
 *     w <- w keep;  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
 *     w <- w - step_size m / (sqrt(v) scale + eps)
 *
 * keep = 1 - rate decay, step_size = rate / (1 - b1^k), scale = 1 / sqrt(1 - b2^k). */
typedef struct AdamFactors {
    double keep, step_size, scale;
} AdamFactors;

AdamFactors adam_factors(double rate, double b1, double b2, double decay, uint64_t k);

/* AdamW without a schedule, Defazio et al. 2024, arXiv:2405.15682. Update k, from 0, goes at the
 * rate min(1, (k + 1) / warmup) times the given one, and moves the weights by mix = w / (sum of all
 * w) towards the sequence z, w the square of the largest rate so far. */
typedef struct ScheduleFree {
    double largest, sum; /* of rates; of w */
} ScheduleFree;

typedef struct ScheduleFreeStep {
    double rate, mix;
} ScheduleFreeStep;

/* `s` becomes what it is after update k. */
ScheduleFreeStep schedule_free_step(ScheduleFree *s, double rate, uint64_t k, uint64_t warmup);

#endif
