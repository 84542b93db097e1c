/* An Allen Brain Observatory session as a recording of images (specs/v1t.md 4).
 *
 * A presentation of a natural scene (or of grey) is a trial. Its response is the mean of dF/F over
 * the window [onset + offset, onset + offset + length) by timestamps, NaN left out; running speed
 * and pupil are means over the same window. Without a pupil the behaviour is (speed, 0, 0), as the
 * project that used such a session had it, and the pupil's centre 0; with one it is pupil size, its
 * change per second and speed. Whole scenes are dealt to the tiers, 90 : 10 : 18 of 118; grey,
 * which is constant 128, trains. */
#include "data/import.h"

#include <math.h>
#include <stdio.h>

#include "data/image_resize.h"
#include "data/image_writer.h"
#include "data/nwb.h"
#include "data/philox.h"

enum { GREY_LEVEL = 128, SCENES = 118, VALIDATING = 10, TESTING = 18 };

typedef struct Job {
    const NwbSession *s;
    const AllenOptions *o;
    Arena *arena;
    ImageWriter *w;
    Tier *tier;      /* [n_scenes] */
    float *pictures; /* [n_scenes height width] */
    float *grey;
    Imported *made;
} Job;

AllenOptions allen_defaults(void)
{
    return (AllenOptions){.offset = 0, .length = 0.5, .height = 144, .width = 256};
}

/* ---- windows ---- */

/* First sample at or after `when`. */
static uint64_t sample_at(const double *time, uint64_t n, double when)
{
    uint64_t low = 0, high = n;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (time[mid] < when)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Mean of a column over a window, and the change per second between its ends; NaN when no value is
 * there. */
static float window_mean(const NwbSeries *s, uint32_t column, double from, double to, float *change)
{
    uint64_t n = 0, begin = sample_at(s->time, s->n, from), end = sample_at(s->time, s->n, to);
    double sum = 0, first = 0, first_at = 0, last = 0, last_at = 0;
    for (uint64_t i = begin; i < end; i++) {
        double x = s->value[i * s->columns + column];
        if (!isfinite(x))
            continue;
        sum += x;
        last = x;
        last_at = s->time[i];
        if (!n++) {
            first = x;
            first_at = last_at;
        }
    }
    if (change)
        *change = last_at > first_at ? (float)((last - first) / (last_at - first_at)) : 0;
    return n ? (float)(sum / (double)n) : NAN;
}

static float or_zero(float x)
{
    return isfinite(x) ? x : 0;
}

static void behave(const Job *j, double from, double to, ImageTrial *t)
{
    const NwbSession *s = j->s;
    float change, speed = or_zero(window_mean(&s->running, 0, from, to, NULL));
    t->behavior[0] = speed;
    if (!s->pupil_size.n)
        return;
    t->behavior[0] = or_zero(window_mean(&s->pupil_size, 0, from, to, &change));
    t->behavior[1] = change;
    t->behavior[2] = speed;
    for (uint32_t k = 0; k < 2 && s->pupil.n; k++)
        t->pupil[k] = or_zero(window_mean(&s->pupil, k, from, to, NULL));
}

/* The mean of every cell; false when the recording ends before the window has a sample. */
static bool respond(const Job *j, double from, double to, float *out)
{
    const NwbSession *s = j->s;
    for (uint32_t k = 0; k < s->neurons; k++) {
        NwbSeries trace = {s->samples, 1, s->dff + k * s->samples, s->time};
        out[k] = window_mean(&trace, 0, from, to, NULL);
        if (!isfinite(out[k]))
            return false;
        j->made->negative += out[k] < 0;
    }
    return true;
}

/* ---- scenes ---- */

static void deal_scenes(Job *j)
{
    uint32_t n = j->s->n_scenes, *order = ARENA_ARRAY(j->arena, uint32_t, n);
    uint32_t n_validate = (n * VALIDATING + SCENES / 2) / SCENES;
    uint32_t n_test = (n * TESTING + SCENES / 2) / SCENES;
    j->tier = ARENA_ARRAY(j->arena, Tier, n);
    philox_permutation(j->o->seed, philox_stream("allen.tiers"), n, order);
    for (uint32_t i = 0; i < n; i++)
        j->tier[order[i]] = i < n_validate            ? TIER_VALIDATION
                            : i < n_validate + n_test ? TIER_TEST
                                                      : TIER_TRAIN;
}

static Status make_pictures(Job *j, Err *err)
{
    const NwbSession *s = j->s;
    size_t to = (size_t)j->o->height * j->o->width, from = (size_t)s->rows * s->columns;
    j->pictures = ARENA_ARRAY(j->arena, float, s->n_scenes *to);
    j->grey = ARENA_ARRAY(j->arena, float, to);
    for (size_t i = 0; i < to; i++)
        j->grey[i] = GREY_LEVEL;
    for (uint32_t i = 0; i < s->n_scenes; i++)
        if (!image_resize(s->scenes + i * from, s->rows, s->columns, j->pictures + i * to,
                          j->o->height, j->o->width))
            return err_set(err, NPC_ERR_MEMORY, "not enough memory for pictures");
    return NPC_OK;
}

/* ---- trials ---- */

static Status write_trials(Job *j, const char *file, Err *err)
{
    const NwbSession *s = j->s;
    size_t pixels = (size_t)j->o->height * j->o->width;
    float *responses = ARENA_ARRAY(j->arena, float, s->neurons);
    for (uint32_t i = 0; i < s->n_shown; i++) {
        int64_t scene = s->scene[i];
        double from = s->time[s->start[i]] + j->o->offset, to = from + j->o->length;
        ImageTrial t = {.tier = scene < 0 ? TIER_TRAIN : j->tier[scene],
                        .image = scene < 0 ? (int64_t)s->n_scenes : scene,
                        .picture = scene < 0 ? j->grey : j->pictures + (size_t)scene * pixels,
                        .responses = responses};
        if (!respond(j, from, to, responses))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: presentation %u has no sample of every cell from %g s to %g s",
                           file, i, from, to);
        behave(j, from, to, &t);
        NPC_TRY(image_writer_put(j->w, &t, err));
    }
    return NPC_OK;
}

/* What was decided where the source leaves it open. */
static const char *about(const Job *j)
{
    const NwbSession *s = j->s;
    return arena_printf(
        j->arena,
        "{\"source\": \"Allen Brain Observatory, natural scenes, session %s\",\n"
        " \"responses\": \"mean dF/F over [onset + %g s, onset + %g s) by timestamps\",\n"
        " \"images\": \"%u x %u to %u x %u, bilinear with antialiasing; grey is %d\",\n"
        " \"behavior\": \"%s\",\n"
        " \"tiers\": \"whole scenes by a permutation of seed %llu; grey trains\",\n"
        " \"absent\": [%s]}\n",
        s->id, j->o->offset, j->o->offset + j->o->length, s->rows, s->columns, j->o->height,
        j->o->width, GREY_LEVEL,
        s->pupil_size.n ? "pupil size, its change per second, running speed (cm/s)"
                        : "running speed (cm/s), 0, 0",
        (unsigned long long)j->o->seed, s->pupil_size.n ? "" : "\"pupil\"");
}

static Status write_recording(Job *j, const char *file, const char *out, Err *err)
{
    const NwbSession *s = j->s;
    int64_t *units = ARENA_ARRAY(j->arena, int64_t, s->neurons);
    ImageNeurons neurons = {.ids = units, .coordinates = s->coordinates, .animal = 1};
    for (uint32_t i = 0; i < s->neurons; i++)
        units[i] = (int64_t)i + 1;
    j->w = ARENA_NEW(j->arena, ImageWriter);
    j->w->arena.exhausted = j->arena->exhausted;
    Status status =
        image_writer_open(j->w, out, j->made->name, 1, j->o->height, j->o->width, s->neurons, err);
    if (status == NPC_OK)
        status = write_trials(j, file, err);
    neurons.about = about(j);
    j->made->neurons = s->neurons;
    j->made->trials = j->w->tiers.len;
    if (status == NPC_OK)
        status = image_writer_finish(j->w, &neurons, err);
    image_writer_close(j->w);
    return status;
}

Status import_allen(Arena *arena, const char *file, const char *out, const AllenOptions *o,
                    ImportedList *done, Err *err)
{
    NwbSession *s = ARENA_NEW(arena, NwbSession);
    Job j = {.s = s, .o = o, .arena = arena, .made = &done->made[done->n]};
    if (!(o->length > 0) || !isfinite(o->offset) || !isfinite(o->length))
        return err_set(err, NPC_ERR_USAGE, "--length is %g s; expected more than 0", o->length);
    NPC_TRY(nwb_read(s, arena, file, err));
    snprintf(j.made->name, sizeof j.made->name, "%.60s", s->id);
    deal_scenes(&j);
    NPC_TRY(make_pictures(&j, err));
    NPC_TRY(write_recording(&j, file, out, err));
    done->n++;
    return NPC_OK;
}
