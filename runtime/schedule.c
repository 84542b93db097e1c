#include "runtime/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static double stage_rate(const ScheduleStage *s, uint64_t j)
{
    if (s->hold && j < s->steps)
        j -= j % s->hold;
    double part = s->steps ? (double)j / (double)s->steps : 1;
    switch (s->shape) {
    case SCHEDULE_LINEAR:
        return s->from + (s->to - s->from) * part;
    case SCHEDULE_COSINE:
        return s->to + (s->from - s->to) * (1 + cos(pi * part)) / 2;
    case SCHEDULE_CONSTANT:
        break;
    }
    return s->from;
}

double schedule_rate(const ScheduleStage *stage, size_t n, uint64_t step)
{
    for (size_t i = 0; i < n; i++) {
        if (step < stage[i].steps)
            return stage_rate(&stage[i], step);
        step -= stage[i].steps;
    }
    return n ? stage_rate(&stage[n - 1], stage[n - 1].steps) : 0;
}

uint64_t schedule_steps(const ScheduleStage *stage, size_t n)
{
    uint64_t steps = 0;
    for (size_t i = 0; i < n; i++)
        steps += stage[i].steps;
    return steps;
}

AdamFactors adam_factors(double rate, double b1, double b2, double decay, uint64_t k)
{
    return (AdamFactors){
        .keep = 1 - rate * decay,
        .step_size = rate / (1 - pow(b1, (double)k)),
        .scale = 1 / sqrt(1 - pow(b2, (double)k)),
    };
}

ScheduleFreeStep schedule_free_step(ScheduleFree *s, double rate, uint64_t k, uint64_t warmup)
{
    if (k + 1 < warmup)
        rate *= (double)(k + 1) / (double)warmup;
    s->largest = rate > s->largest ? rate : s->largest;
    double w = s->largest * s->largest;
    s->sum += w;
    return (ScheduleFreeStep){rate, s->sum > 0 ? w / s->sum : 0};
}
