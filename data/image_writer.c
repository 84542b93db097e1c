#include "data/image_writer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/base/file.h"
#include "ir/base/text.h"
#include "data/npy_write.h"

enum { MEAN, STD, MIN, MAX, MEDIAN, N_STATS };
static const char *const STATS[N_STATS] = {"mean", "std", "min", "max", "median"};

static const char *inside(ImageWriter *w, const char *rest)
{
    return arena_printf(&w->arena, "%s/%s", w->partial, rest);
}

Status image_writer_open(ImageWriter *w, const char *out, const char *name, uint32_t colours,
                         uint32_t height, uint32_t width, uint32_t neurons, Err *err)
{
    static const char *const folders[] = {"data/images",       "data/responses", "data/behavior",
                                          "data/pupil_center", "meta/neurons",   "meta/trials"};
    *w = (ImageWriter){.arena.exhausted = w->arena.exhausted};
    w->colours = colours;
    w->height = height;
    w->width = width;
    w->neurons = neurons;
    w->column[0] = (ImageColumn){.folder = "responses", .rows = neurons};
    w->column[1] = (ImageColumn){.folder = "behavior", .rows = IMAGE_BEHAVIORS};
    w->column[2] = (ImageColumn){.folder = "pupil_center", .rows = 2};
    if (strlen(out) + strlen(name) > sizeof w->partial - 100)
        return err_set(err, NPC_ERR_INPUT, "%.100s..: path too long", out);
    snprintf(w->path, sizeof w->path, "%.2800s/%.100s", out, name);
    if (file_exists(w->path))
        return err_set(err, NPC_ERR_INPUT, "%s: exists already", w->path);
    snprintf(w->partial, sizeof w->partial, "%.2900s.partial", w->path);
    file_remove_tree(w->partial); /* of an attempt that was interrupted */
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        NPC_TRY(file_make_folder(inside(w, folders[i]), err));
    return NPC_OK;
}

/* ---- trials ---- */

static void measure(ImageWriter *w, const ImageTrial *t, size_t pixels)
{
    const float *of[] = {t->responses, t->behavior, t->pupil};
    Moments m = moments_of(t->picture, (uint32_t)pixels);
    moments_join(&w->grey, &m);
    for (size_t i = 0; i < pixels; i++) {
        double bin = (double)t->picture[i] * 16;
        w->bins[bin <= 0 ? 0 : bin >= IMAGE_GREY_BINS ? IMAGE_GREY_BINS - 1 : (int)bin]++;
    }
    for (int k = 0; k < 3; k++)
        for (uint32_t i = 0; i < w->column[k].rows; i++)
            vec_push(&w->arena, &w->column[k].values, of[k][i]);
}

static Status save(ImageWriter *w, const char *folder, const float *values, const size_t *shape,
                   size_t rank, Err *err)
{
    char path[3200];
    snprintf(path, sizeof path, "%s/data/%s/%u.npy", w->partial, folder, w->tiers.len);
    return npy_write(path, NPY_WRITE_F4, values, shape, rank, err);
}

Status image_writer_put(ImageWriter *w, const ImageTrial *t, Err *err)
{
    size_t picture[] = {w->colours, w->height, w->width}, neurons[] = {w->neurons};
    size_t behavior[] = {IMAGE_BEHAVIORS}, pupil[] = {2};
    NPC_TRY(save(w, "images", t->picture, picture, 3, err));
    NPC_TRY(save(w, "responses", t->responses, neurons, 1, err));
    NPC_TRY(save(w, "behavior", t->behavior, behavior, 1, err));
    NPC_TRY(save(w, "pupil_center", t->pupil, pupil, 1, err));
    if (t->tier == TIER_TRAIN)
        measure(w, t, picture[0] * picture[1] * picture[2]);
    vec_push(&w->arena, &w->tiers, tier_name(t->tier));
    vec_push(&w->arena, &w->images, t->image);
    return NPC_OK;
}

/* ---- the rest ---- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static Status write_stats(ImageWriter *w, const char *folder, const double *of[N_STATS], size_t n,
                          Err *err)
{
    NPC_TRY(file_make_folder(inside(w, arena_printf(&w->arena, "meta/statistics/%s/all", folder)),
                             err));
    for (int s = 0; s < N_STATS; s++)
        NPC_TRY(npy_write(
            inside(w, arena_printf(&w->arena, "meta/statistics/%s/all/%s.npy", folder, STATS[s])),
            NPY_WRITE_F8, of[s], &n, 1, err));
    return NPC_OK;
}

static Status write_column(ImageWriter *w, ImageColumn *c, Err *err)
{
    uint32_t n = c->rows ? c->values.len / c->rows : 0;
    float *column = ARENA_ARRAY(&w->arena, float, (size_t)n + 1);
    double *of[N_STATS];
    for (int s = 0; s < N_STATS; s++)
        of[s] = ARENA_ARRAY(&w->arena, double, (size_t)c->rows + 1);
    for (uint32_t row = 0; row < c->rows; row++) {
        for (uint32_t i = 0; i < n; i++)
            column[i] = c->values.at[(size_t)i * c->rows + row];
        Moments m = n ? moments_of(column, n) : (Moments){0};
        moments_end(&m);
        qsort(column, n, sizeof *column, by_value);
        of[MEAN][row] = m.mean;
        of[STD][row] = m.sd > 0 ? m.sd : 1;
        of[MIN][row] = m.min;
        of[MAX][row] = m.max;
        of[MEDIAN][row] = n ? ((double)column[n / 2] + (double)column[(n - 1) / 2]) / 2 : 0;
    }
    return write_stats(w, c->folder, (const double **)of, c->rows, err);
}

static Status write_grey(ImageWriter *w, Err *err)
{
    Moments m = w->grey;
    uint64_t seen = 0;
    double median = 0;
    moments_end(&m);
    for (int i = 0; i < IMAGE_GREY_BINS && seen * 2 < m.n; i++) {
        seen += w->bins[i];
        median = (i + 0.5) / 16;
    }
    const double *of[N_STATS] = {&m.mean, &m.sd, &m.min, &m.max, &median};
    return write_stats(w, "images", of, 1, err);
}

static Status write_neurons(ImageWriter *w, const ImageNeurons *neurons, Err *err)
{
    size_t n = w->neurons, places[] = {n, 3};
    int64_t *ids = ARENA_ARRAY(&w->arena, int64_t, n + 1);
    for (size_t i = 0; i < n; i++)
        ids[i] = neurons->ids ? neurons->ids[i] : (int64_t)i + 1;
    NPC_TRY(npy_write(inside(w, "meta/neurons/unit_ids.npy"), NPY_WRITE_I8, ids, &n, 1, err));
    for (size_t i = 0; i < n; i++)
        ids[i] = neurons->animal;
    NPC_TRY(npy_write(inside(w, "meta/neurons/animal_ids.npy"), NPY_WRITE_I8, ids, &n, 1, err));
    return neurons->coordinates ? npy_write(inside(w, "meta/neurons/cell_motor_coordinates.npy"),
                                            NPY_WRITE_F4, neurons->coordinates, places, 2, err)
                                : NPC_OK;
}

Status image_writer_finish(ImageWriter *w, const ImageNeurons *neurons, Err *err)
{
    size_t n = w->tiers.len;
    int64_t *numbers = ARENA_ARRAY(&w->arena, int64_t, n + 1);
    for (size_t i = 0; i < n; i++)
        numbers[i] = (int64_t)i;
    NPC_TRY(npy_write(inside(w, "meta/trials/trial_idx.npy"), NPY_WRITE_I8, numbers, &n, 1, err));
    NPC_TRY(npy_write(inside(w, "meta/trials/frame_image_id.npy"), NPY_WRITE_I8, w->images.at, &n,
                      1, err));
    NPC_TRY(npy_write_text(inside(w, "meta/trials/tiers.npy"), w->tiers.at, n, err));
    NPC_TRY(write_neurons(w, neurons, err));
    NPC_TRY(file_write(inside(w, "config.json"), neurons->about, strlen(neurons->about), err));
    NPC_TRY(write_grey(w, err));
    for (int k = 0; k < 3; k++)
        NPC_TRY(write_column(w, &w->column[k], err));
    if (rename(w->partial, w->path) < 0)
        return err_set(err, NPC_ERR_IO, "%s: cannot rename to %s: %s", w->partial, w->path,
                       strerror(errno));
    w->partial[0] = 0;
    return NPC_OK;
}

void image_writer_close(ImageWriter *w)
{
    if (w->partial[0])
        file_remove_tree(w->partial);
    arena_free(&w->arena);
}
