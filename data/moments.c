#include "data/moments.h"

#include <math.h>

Moments moments_of(const float *x, uint32_t n)
{
    Moments m = {.n = n, .min = INFINITY, .max = -INFINITY};
    for (uint32_t i = 0; i < n; i++) {
        m.mean += (double)x[i];
        m.min = fmin(m.min, (double)x[i]);
        m.max = fmax(m.max, (double)x[i]);
    }
    m.mean /= n;
    for (uint32_t i = 0; i < n; i++)
        m.sd += ((double)x[i] - m.mean) * ((double)x[i] - m.mean);
    return m;
}

void moments_join(Moments *into, const Moments *more)
{
    if (!more->n)
        return;
    if (!into->n) {
        *into = *more;
        return;
    }
    double n = (double)(into->n + more->n), delta = more->mean - into->mean;
    into->sd += more->sd + delta * delta * ((double)into->n * (double)more->n / n);
    into->mean += delta * ((double)more->n / n);
    into->min = fmin(into->min, more->min);
    into->max = fmax(into->max, more->max);
    into->n += more->n;
}

void moments_end(Moments *m)
{
    m->sd = m->n ? sqrt(m->sd / (double)m->n) : 0;
}
