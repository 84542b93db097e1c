#include "runtime/norms.h"

#include <float.h>
#include <math.h>
#include <string.h>

void norms_init(Norms *s, Arena *arena, uint64_t room)
{
    *s = (Norms){.at = ARENA_ARRAY(arena, float, room + 1),
                 .sorted = ARENA_ARRAY(arena, float, room + 1),
                 .room = room};
}

/* `sorted` has n values; puts one more in its place. */
static void insert(float *sorted, uint64_t n, float x)
{
    uint64_t low = 0, high = n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (sorted[middle] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(sorted + low + 1, sorted + low, (size_t)(n - low) * sizeof *sorted);
    sorted[low] = x;
}

void norms_add(Norms *s, float norm)
{
    if (s->n == s->room)
        return;
    s->at[s->n] = isnan(norm) ? FLT_MAX : norm;
    insert(s->sorted, s->n, s->at[s->n]);
    s->n++;
}

void norms_restore(Norms *s, uint64_t n)
{
    s->n = n < s->room ? n : s->room;
    for (uint64_t i = 0; i < s->n; i++)
        insert(s->sorted, i, s->at[i]);
}

float norms_percentile(const Norms *s, double percent)
{
    if (!s->n)
        return FLT_MAX;
    double at = percent / 100 * (double)(s->n - 1), whole = floor(at);
    double low = (double)s->sorted[(uint64_t)whole];
    double high = (double)s->sorted[(uint64_t)whole + (whole < at)];
    return (float)(low + (at - whole) * (high - low));
}
