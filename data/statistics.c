#include "data/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "data/map_guard.h"
#include "data/moments.h"
#include "data/npy_write.h"
#include "data/trial.h"

static const char *const STAT_NAMES[STAT_COUNT] = {"mean", "std", "min", "max"};
static const char *const GRAIN_NAMES[] = {"frame", "row", "one"};

static uint64_t rows_of(const Recording *r, Variable v)
{
    switch (v) {
    case VAR_VIDEO:
        return (uint64_t)r->colours * r->height * r->width;
    case VAR_RESPONSE:
        return r->n_neurons;
    case VAR_BEHAVIOR:
        return r->n_behaviors;
    default:
        return 2;
    }
}

/* ---- stored ---- */

/* One number, one per colour, or one per row of an image's variable, as [rows]. */
static bool spread(const Recording *r, uint64_t rows, const Npy *a, float *out)
{
    uint64_t n = a->head.elems, of_colour = rows / (r->colours ? r->colours : 1);
    if (!npy_is_number(&a->head) || (n != 1 && n != rows && n != r->colours))
        return false;
    float *all = malloc(n * sizeof *all);
    if (!all)
        return false;
    npy_all_floats(a, all);
    for (uint64_t i = 0; i < rows; i++)
        out[i] = all[n == 1 ? 0 : n == rows ? i : i / of_colour];
    free(all);
    return true;
}

static Status stored_of_images(Statistics *out, bool *found, Arena *arena, const Recording *r,
                               Variable v, Err *err)
{
    *out = (Statistics){.rows = rows_of(r, v), .frames = 1};
    for (int s = 0; s < STAT_COUNT; s++) {
        Npy a;
        const char *path = arena_printf(arena, "%s/meta/statistics/%s/all/%s.npy", r->path,
                                        recording_folder(r, v), STAT_NAMES[s]);
        if (!file_exists(path))
            return NPC_OK;
        NPC_TRY(npy_open(&a, path, err));
        out->of[s] = ARENA_ARRAY(arena, float, out->rows + 1);
        bool fits = spread(r, out->rows, &a, out->of[s]);
        npy_close(&a);
        if (!fits)
            return err_set(err, NPC_ERR_INPUT, "%s: expected one number, or one per row (%llu)",
                           path, (unsigned long long)out->rows);
    }
    *found = true;
    return NPC_OK;
}

Status statistics_stored(Statistics *out, bool *found, Arena *arena, const Recording *r, Variable v,
                         Grain grain, Err *err)
{
    *found = false;
    if (r->is_images)
        return stored_of_images(out, found, arena, r, v, err);
    if (grain != GRAIN_FRAME)
        return NPC_OK;
    *out = (Statistics){.rows = rows_of(r, v)};
    for (int s = 0; s < STAT_COUNT; s++) {
        uint32_t frames;
        Err missing = {0};
        if (recording_statistic(r, v, STAT_NAMES[s], arena, &out->of[s], &frames, &missing) !=
                NPC_OK ||
            (s && frames != out->frames))
            return NPC_OK;
        out->frames = frames;
    }
    *found = true;
    return NPC_OK;
}

/* ---- computed ---- */

typedef struct Sum {
    Grain grain;
    uint64_t rows, frames; /* of the variable, and of the longest trial */
    Moments *cell;         /* as `grain` says */
    const Npy *a;
    uint32_t valid;
    float *run; /* [frames] */
} Sum;

static void add_trial(void *cx)
{
    const Sum *s = cx;
    const NpyHeader *h = &s->a->head;
    for (uint64_t row = 0; row < s->rows; row++) {
        npy_floats(s->a, trial_row_at(h, row), h->stride[h->rank - 1], s->valid, s->run);
        Moments all = moments_of(s->run, s->valid);
        if (s->grain != GRAIN_FRAME)
            moments_join(&s->cell[s->grain == GRAIN_ROW ? row : 0], &all);
        for (uint32_t t = 0; s->grain == GRAIN_FRAME && t < s->valid; t++) {
            Moments one = {.n = 1, .mean = s->run[t], .min = s->run[t], .max = s->run[t]};
            moments_join(&s->cell[row * s->frames + t], &one);
        }
    }
}

static Status add_trials(Sum *s, const Recording *r, Variable v, Err *err)
{
    uint32_t n_used = 0;
    for (uint32_t i = 0; i < r->n_trials; i++) {
        TrialMap map;
        if (r->trials[i].tier != TIER_TRAIN)
            continue;
        NPC_TRY(trial_map(&map, r, i, err));
        s->a = &map.var[v];
        s->valid = map.valid;
        n_used += map.valid > 0;
        bool is_whole = !map.valid || map_guard(add_trial, s);
        trial_unmap(&map);
        if (!is_whole)
            return err_set(err, NPC_ERR_IO, "%s: a file of trial %u shrank while it was being read",
                           r->path, i);
    }
    return n_used
               ? NPC_OK
               : err_set(err, NPC_ERR_INPUT,
                         "%s: no training trial to compute statistics from; trials of tier train "
                         "were expected",
                         r->path);
}

static void put_stats(Statistics *out, Arena *arena, Moments *cell)
{
    uint64_t n = out->rows * out->frames;
    for (int s = 0; s < STAT_COUNT; s++)
        out->of[s] = ARENA_ARRAY(arena, float, n + 1);
    for (uint64_t i = 0; i < n; i++) {
        Moments *m = &cell[i];
        moments_end(m);
        out->of[STAT_MEAN][i] = m->n ? (float)m->mean : NAN;
        out->of[STAT_STD][i] = m->n ? (float)m->sd : NAN;
        out->of[STAT_MIN][i] = m->n ? (float)m->min : NAN;
        out->of[STAT_MAX][i] = m->n ? (float)m->max : NAN;
    }
}

static const char *kept_path(Arena *arena, const char *keep, const Recording *r, Variable v,
                             Grain grain, int stat)
{
    return arena_printf(arena, "%s/%s/%s_%s_%s.npy", keep, r->name, variable_folder(v),
                        GRAIN_NAMES[grain], STAT_NAMES[stat]);
}

static bool read_kept(Statistics *out, Arena *arena, const Recording *r, Variable v, Grain grain,
                      const char *keep)
{
    for (int s = 0; s < STAT_COUNT; s++) {
        const char *path = kept_path(arena, keep, r, v, grain, s);
        Npy a;
        Err damaged = {0}; /* then it is computed again */
        if (!file_exists(path) || npy_open(&a, path, &damaged) != NPC_OK)
            return false;
        bool fits = a.head.rank == 2 && a.head.shape[0] == out->rows &&
                    a.head.shape[1] == out->frames && a.head.type == NPY_F32;
        out->of[s] = ARENA_ARRAY(arena, float, out->rows * out->frames + 1);
        if (fits)
            npy_all_floats(&a, out->of[s]);
        npy_close(&a);
        if (!fits)
            return false;
    }
    return true;
}

static Status write_kept(const Statistics *in, Arena *arena, const Recording *r, Variable v,
                         Grain grain, const char *keep, Err *err)
{
    size_t shape[2] = {in->rows, in->frames};
    NPC_TRY(file_make_folder(arena_printf(arena, "%s/%s", keep, r->name), err));
    for (int s = 0; s < STAT_COUNT; s++)
        NPC_TRY(npy_write(kept_path(arena, keep, r, v, grain, s), NPY_WRITE_F4, in->of[s], shape, 2,
                          err));
    return NPC_OK;
}

Status statistics_computed(Statistics *out, Arena *arena, const Recording *r, Variable v,
                           Grain grain, const char *keep, bool may_write, Err *err)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < r->n_trials; i++)
        if (r->trials[i].tier == TIER_TRAIN && r->trials[i].frames > longest)
            longest = r->trials[i].frames;
    Sum sum = {.grain = grain, .rows = rows_of(r, v), .frames = longest};
    *out = (Statistics){.rows = grain == GRAIN_ONE ? 1 : sum.rows,
                        .frames = grain == GRAIN_FRAME ? longest : 1};
    if (keep && read_kept(out, arena, r, v, grain, keep))
        return NPC_OK;
    sum.cell = calloc(out->rows * out->frames + 1, sizeof *sum.cell);
    sum.run = calloc((size_t)longest + 1, sizeof *sum.run);
    Status s = sum.cell && sum.run
                   ? add_trials(&sum, r, v, err)
                   : err_set(err, NPC_ERR_MEMORY, "%s: not enough memory for statistics", r->path);
    if (s == NPC_OK)
        put_stats(out, arena, sum.cell);
    free(sum.cell);
    free(sum.run);
    if (s == NPC_OK && keep && may_write)
        s = write_kept(out, arena, r, v, grain, keep, err);
    return s;
}
