#include "data/synth.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/base/file.h"
#include "data/npy_write.h"
#include "data/philox.h"
#include "data/stimulus.h"
#include "data/synth_behaviour.h"
#include "data/synth_cells.h"
#include "data/synth_floor.h"
#include "data/synth_statistics.h"
#include "data/synth_truth.h"

enum { CALIBRATION_FILMS = 12, SETTLING = 25 /* frames until the filters are filled */ };

/* Tiers in the order of SynthTier. */
static const char *const tier_name[SYNTH_TIERS] = {
    "train",           "none",           "final_test_bonus", "final_test_main",
    "live_test_bonus", "live_test_main", "oracle",
};

const char *synth_tier_name(SynthTier tier)
{
    return tier_name[tier];
}

/* -------------------------------------------------------------------------------------- options */

SynthOptions synth_defaults(void)
{
    return (SynthOptions){.mice = 2,
                          .neurons = 100,
                          .trials = 60,
                          .frames = 150,
                          .height = 36,
                          .width = 64,
                          .clips = 2,
                          .repeats = 10,
                          .types = 16,
                          .signal = 1.0};
}

/* Length on disk: 324 for clips of 300 frames; the rest is NaN. */
static size_t stored_frames(const SynthOptions *o)
{
    return o->frames + (size_t)o->frames * 24 / 300;
}

Status synth_check(const SynthOptions *o, Err *err)
{
    const struct {
        const char *name;
        uint32_t value, least, most;
    } rows[] = {
        {"mice", o->mice, 1, 1000},      {"neurons", o->neurons, 1, 100000},
        {"trials", o->trials, 1, 10000}, {"frames", o->frames, 81, 10000},
        {"height", o->height, 8, 1024},  {"width", o->width, 8, 1024},
        {"clips", o->clips, 1, 1000},    {"repeats", o->repeats, 2, 1000},
        {"types", o->types, 0, 100000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].value < rows[i].least || rows[i].value > rows[i].most)
            return err_set(err, NPC_ERR_USAGE,
                           "%s is %" PRIu32 ", but must be %" PRIu32 " to %" PRIu32, rows[i].name,
                           rows[i].value, rows[i].least, rows[i].most);
    if (!(o->signal > 0 && o->signal <= 1e6))
        return err_set(err, NPC_ERR_USAGE, "signal is %g, but must be above 0 and at most 1e6",
                       o->signal);
    double pixels = (double)o->height * o->width;
    double tests = 6.0 * o->clips * o->repeats, length = (double)stored_frames(o);
    if (pixels * o->neurons > 1e9 || pixels * length > 1e9 || (o->trials + tests) * length > 1e8 ||
        tests * length * o->neurons > 1e10)
        return err_set(err, NPC_ERR_USAGE,
                       "a recording of this size does not fit into memory: lower neurons, frames, "
                       "height and width, or clips and repeats");
    return NPC_OK;
}

/* ----------------------------------------------------------------------------------------- plan */

typedef struct Clip {
    StimulusKind kind;
    size_t frames;
} Clip;

/* One recording while it is made. */
typedef struct Recording {
    const SynthOptions *o;
    uint32_t index;
    bool withheld;
    size_t length; /* stored frames */
    char name[SYNTH_NAME], here[3000], truth[3000];
    size_t n_clips, n_trials;
    Clip *clip;
    SynthTrial *trial; /* by number on disk */
    size_t *slot;      /* [n_trials] when in the session the trial was shown */
    SynthCells cells;
    SynthBehaviour session;
    SynthFloor floor;
    float *film;                /* [length, H, W] */
    float *stored;              /* [H, W, length] */
    float *recorded, *expected; /* [N, length] */
    double *pair;               /* [2, length] */
    SynthProgress progress;
    void *cx;
} Recording;

/* Every part of a recording draws from a stream of its own. */
static Rng stream_of(const Recording *rec, const char *part, size_t number)
{
    char text[96];
    snprintf(text, sizeof text, "synth.%" PRIu32 ".%s.%zu", rec->index, part, number);
    return rng_start(rec->o->seed, philox_stream(text));
}

typedef struct Planner {
    Recording *rec;
    Rng r;
    const uint32_t *number; /* random order of the trials on disk */
} Planner;

/* `count` clips of a kind, shown `repeats` times each; about 3 % of repeats are lost, two stay. */
static void plan_clips(Planner *p, StimulusKind kind, size_t count, SynthTier tier, size_t repeats)
{
    Recording *rec = p->rec;
    size_t usual = rec->o->frames, shortest = usual - usual / 12;

    for (size_t i = 0; i < count; i++, rec->n_clips++) {
        bool as_usual = rng_double(&p->r) < 0.8;
        size_t other = shortest + rng_below(&p->r, rec->length + 1 - shortest), kept = repeats;
        rec->clip[rec->n_clips] = (Clip){kind, as_usual ? usual : other};
        for (size_t k = 0; k < repeats; k++) {
            bool lost = rng_double(&p->r) < 0.03 && kept > 2;
            kept -= lost;
            rec->trial[p->number[rec->n_trials++]] =
                (SynthTrial){.clip = rec->n_clips, .tier = lost ? SYNTH_NONE : tier, .kind = kind};
        }
    }
}

static Status make_plan(Recording *rec, Err *err)
{
    static const StimulusKind unusual[5] = {STIMULUS_PINK_NOISE, STIMULUS_GABOR,
                                            STIMULUS_GAUSSIAN_DOT, STIMULUS_RANDOM_DOTS,
                                            STIMULUS_IMAGE};
    const SynthOptions *o = rec->o;
    size_t n_clips = o->trials + (size_t)6 * o->clips;
    size_t n_trials = o->trials + (size_t)6 * o->clips * o->repeats;
    uint32_t *order = malloc(2 * n_trials * sizeof *order);
    rec->clip = calloc(n_clips, sizeof *rec->clip);
    rec->trial = calloc(n_trials, sizeof *rec->trial);
    rec->slot = calloc(n_trials, sizeof *rec->slot);
    if (!order || !rec->clip || !rec->trial || !rec->slot) {
        free(order);
        return err_set(err, NPC_ERR_MEMORY, "no memory for %zu trials", n_trials);
    }
    Rng numbers = stream_of(rec, "numbers", 0), slots = stream_of(rec, "slots", 0);
    philox_permutation(numbers.seed, numbers.stream, (uint32_t)n_trials, order);
    philox_permutation(slots.seed, slots.stream, (uint32_t)n_trials, order + n_trials);
    for (size_t i = 0; i < n_trials; i++)
        rec->slot[i] = order[n_trials + i];
    Planner p = {rec, stream_of(rec, "plan", 0), order};
    plan_clips(&p, STIMULUS_MOVIE, o->trials, SYNTH_TRAIN, 1);
    plan_clips(&p, STIMULUS_MOVIE, o->clips, SYNTH_ORACLE, o->repeats);
    plan_clips(&p, STIMULUS_MOVIE, o->clips, SYNTH_LIVE_MAIN, o->repeats);
    plan_clips(&p, STIMULUS_MOVIE, o->clips, SYNTH_FINAL_MAIN, o->repeats);
    for (size_t k = 0; k < 3; k++)
        plan_clips(&p, unusual[(2 * (size_t)rec->index + k) % 5], o->clips,
                   k ? SYNTH_FINAL_BONUS : SYNTH_LIVE_BONUS, o->repeats);
    free(order);
    return NPC_OK;
}

/* The folder name tells recordings of other options apart. */
static void name_recording(Recording *rec)
{
    const SynthOptions *o = rec->o;
    char text[256];
    snprintf(text, sizeof text,
             "%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32
             " %" PRIu32 " %" PRIu32 " %a",
             rec->index, o->neurons, o->trials, o->frames, o->height, o->width, o->clips,
             o->repeats, o->types, o->signal);
    Philox code = philox_draw(o->seed, philox_stream(text), 0);
    snprintf(rec->name, sizeof rec->name,
             "dynamic%u-%u-%u-Video-%08" PRIx32 "%08" PRIx32 "%08" PRIx32 "%08" PRIx32,
             90000 + rec->index, 1 + rec->index % 9, 1 + rec->index % 7, code.v[0], code.v[1],
             code.v[2], code.v[3]);
}

/* --------------------------------------------------------------------------------------- trials */

__attribute__((format(printf, 6, 7))) static Status save(const char *root, NpyWriteType type,
                                                         const void *data, const size_t shape[2],
                                                         Err *err, const char *fmt, ...)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/", root);
    va_list args;
    va_start(args, fmt);
    vsnprintf(path + n, sizeof path - (size_t)n, fmt, args);
    va_end(args);
    return npy_write(path, type, data, shape, shape[1] ? 2 : 1, err);
}

static Status make_film(Recording *rec, size_t clip, Err *err)
{
    const Clip *c = &rec->clip[clip];
    Rng r = stream_of(rec, "clip", clip);
    return stimulus_make(c->kind, &r, c->frames, rec->o->height, rec->o->width, rec->film, err);
}

/* (T, H, W) -> (H, W, length) with a tail of NaN. */
static void store_film(Recording *rec, size_t frames)
{
    size_t pixels = (size_t)rec->o->height * rec->o->width, length = rec->length;
    for (size_t i = 0; i < pixels; i++) {
        float *out = rec->stored + i * length;
        for (size_t t = 0; t < frames; t++)
            out[t] = rec->film[t * pixels + i];
        for (size_t t = frames; t < length; t++)
            out[t] = NAN;
    }
}

static void fill(float *x, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value;
}

/* Responses of one trial, and a copy for the truth when it is a test. */
static Status observe_trial(Recording *rec, size_t number, Err *err)
{
    SynthTrial *trial = &rec->trial[number];
    size_t frames = rec->clip[trial->clip].frames, n = rec->o->neurons, length = rec->length;
    size_t at = rec->slot[number] * (length + 12), count = n * length;
    SynthState s = {rec->session.running + at, rec->session.pupil + at, rec->session.gaze_x + at,
                    rec->session.gaze_y + at};
    Rng r = stream_of(rec, "trial", number);

    fill(rec->recorded, count, NAN);
    fill(rec->expected, count, NAN);
    if (trial->tier == SYNTH_NONE)
        return NPC_OK; /* lost: on disk, but empty */
    synth_cells_drive(&rec->cells, rec->film, frames, &s);
    synth_cells_rate(&rec->cells, frames, &s);
    synth_cells_observe(&rec->cells, &r, frames, rec->recorded, rec->expected, length);
    if (trial->tier == SYNTH_TRAIN) {
        synth_floor_learn(&rec->floor, rec->film, frames, &s, rec->recorded, length);
        return NPC_OK;
    }
    trial->frames = frames;
    trial->recorded = malloc(3 * count * sizeof(float));
    if (!trial->recorded)
        return err_set(err, NPC_ERR_MEMORY, "no memory for the responses of trial %zu", number);
    trial->expected = trial->recorded + count;
    trial->linear = trial->expected + count;
    synth_floor_predict(&rec->floor, rec->film, frames, &s, trial->linear, length);
    memcpy(trial->recorded, rec->recorded, count * sizeof(float));
    memcpy(trial->expected, rec->expected, count * sizeof(float));
    size_t shape[2] = {n, length};
    return save(rec->truth, NPY_WRITE_F4, rec->recorded, shape, err, "data/responses/%zu.npy",
                number);
}

static Status write_behaviour(Recording *rec, size_t number, Err *err)
{
    size_t length = rec->length, frames = rec->clip[rec->trial[number].clip].frames;
    size_t at = rec->slot[number] * (length + 12), shape[2] = {2, length};
    const SynthBehaviour *s = &rec->session;

    for (size_t t = 0; t < length; t++) {
        rec->pair[t] = t < frames ? s->pupil[at + t] : NAN;
        rec->pair[length + t] = t < frames ? s->running[at + t] : NAN;
    }
    NPC_TRY(save(rec->here, NPY_WRITE_F8, rec->pair, shape, err, "data/behavior/%zu.npy", number));
    for (size_t t = 0; t < length; t++) {
        rec->pair[t] = t < frames ? SYNTH_CENTRE_X(s->gaze_x[at + t]) : NAN;
        rec->pair[length + t] = t < frames ? SYNTH_CENTRE_Y(s->gaze_y[at + t]) : NAN;
    }
    return save(rec->here, NPY_WRITE_F8, rec->pair, shape, err, "data/pupil_center/%zu.npy",
                number);
}

static Status write_video(Recording *rec, size_t number, Err *err)
{
    size_t shape[3] = {rec->o->height, rec->o->width, rec->length};
    char path[4096];
    snprintf(path, sizeof path, "%s/data/videos/%zu.npy", rec->here, number);
    return npy_write(path, NPY_WRITE_F4, rec->stored, shape, 3, err);
}

static Status make_trial(Recording *rec, size_t number, Err *err)
{
    const SynthTrial *trial = &rec->trial[number];
    size_t shape[2] = {rec->o->neurons, rec->length};
    size_t pixels = (size_t)rec->o->height * rec->o->width;
    bool test = trial->tier != SYNTH_TRAIN && trial->tier != SYNTH_NONE;

    NPC_TRY(observe_trial(rec, number, err));
    if (trial->tier == SYNTH_NONE)
        fill(rec->stored, pixels * rec->length, NAN);
    else
        store_film(rec, rec->clip[trial->clip].frames);
    NPC_TRY(write_video(rec, number, err));
    NPC_TRY(write_behaviour(rec, number, err));
    if (rec->withheld && test && trial->tier != SYNTH_ORACLE)
        fill(rec->recorded, shape[0] * shape[1], 0);
    return save(rec->here, NPY_WRITE_F4, rec->recorded, shape, err, "data/responses/%zu.npy",
                number);
}

static void report(const Recording *rec, double part, const char *what)
{
    char text[160];
    if (!rec->progress)
        return;
    snprintf(text, sizeof text, "recording %u of %u: %s", rec->index + 1, rec->o->mice, what);
    rec->progress(rec->cx, (rec->index + part) / rec->o->mice, text);
}

static Status make_trials(Recording *rec, Err *err)
{
    size_t done = 0;
    for (size_t clip = 0; clip < rec->n_clips; clip++) {
        NPC_TRY(make_film(rec, clip, err));
        for (size_t i = 0; i < rec->n_trials; i++) {
            if (rec->trial[i].clip != clip)
                continue;
            char what[64];
            snprintf(what, sizeof what, "trial %zu of %zu", ++done, rec->n_trials);
            report(rec, 0.9 * (double)done / (double)rec->n_trials, what);
            NPC_TRY(make_trial(rec, i, err));
        }
    }
    return NPC_OK;
}

/* Gives every cell the same mean drive over a sample of natural films. */
static Status calibrate(Recording *rec, Err *err)
{
    SynthCells *c = &rec->cells;
    SynthState resting = {0};
    double *sum = calloc(c->n, sizeof *sum);
    size_t n_frames = 0,
           films = rec->o->trials < CALIBRATION_FILMS ? rec->o->trials : CALIBRATION_FILMS;
    Status status = sum ? NPC_OK : err_set(err, NPC_ERR_MEMORY, "no memory for %zu cells", c->n);

    for (size_t clip = 0; status == NPC_OK && clip < films; clip++) {
        size_t frames = rec->clip[clip].frames; /* the first clips are the training films */
        status = make_film(rec, clip, err);
        if (status != NPC_OK)
            break;
        synth_cells_drive(c, rec->film, frames, &resting);
        for (size_t i = 0; i < c->n; i++)
            for (size_t t = SETTLING; t < frames; t++)
                sum[i] += c->level[i * c->max_frames + t];
        n_frames += frames - SETTLING;
    }
    for (size_t i = 0; status == NPC_OK && i < c->n; i++)
        c->cell[i].scale = 1.6 * sum[i] / (double)n_frames + 1e-6;
    free(sum);
    return status;
}

/* ----------------------------------------------------------------------------------------- meta */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static Status write_unit_ids(const Recording *rec, int64_t *ids, Err *err)
{
    size_t n = rec->o->neurons, shape[2] = {n, 0};
    Rng r = stream_of(rec, "units", 0);
    uint32_t *order = malloc(10 * n * sizeof *order);
    if (!order)
        return err_set(err, NPC_ERR_MEMORY, "no memory for %zu unit ids", n);
    philox_permutation(r.seed, r.stream, (uint32_t)(10 * n), order);
    for (size_t i = 0; i < n; i++)
        ids[i] = 1 + (int64_t)order[i];
    free(order);
    qsort(ids, n, sizeof *ids, by_number);
    return save(rec->here, NPY_WRITE_I8, ids, shape, err, "meta/neurons/unit_ids.npy");
}

/* `scratch` holds 3 N numbers. */
static Status write_neurons(const Recording *rec, int64_t *scratch, Err *err)
{
    size_t n = rec->o->neurons, places[2] = {n, 3}, column[2] = {n, 0};
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {{"animal_ids", 90000 + (int64_t)rec->index},
                {"sessions", 1 + rec->index % 9},
                {"scan_idx", 1 + rec->index % 7}};

    for (size_t i = 0; i < n; i++)
        memcpy(scratch + 3 * i, rec->cells.cell[i].place, sizeof rec->cells.cell[i].place);
    NPC_TRY(save(rec->here, NPY_WRITE_I8, scratch, places, err,
                 "meta/neurons/cell_motor_coordinates.npy"));
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        for (size_t i = 0; i < n; i++)
            scratch[i] = rows[k].value;
        NPC_TRY(save(rec->here, NPY_WRITE_I8, scratch, column, err, "meta/neurons/%s.npy",
                     rows[k].name));
    }
    return write_unit_ids(rec, scratch, err);
}

/* `scratch` and `text` hold one entry per trial. */
static Status write_trials(const Recording *rec, int64_t *scratch, const char **text, Err *err)
{
    size_t n = rec->n_trials, shape[2] = {n, 0};
    char path[4096];

    for (size_t i = 0; i < n; i++) {
        scratch[i] = (int64_t)i;
        text[i] = synth_tier_name(rec->trial[i].tier);
    }
    NPC_TRY(save(rec->here, NPY_WRITE_I8, scratch, shape, err, "meta/trials/trial_idx.npy"));
    snprintf(path, sizeof path, "%s/meta/trials/tiers.npy", rec->here);
    NPC_TRY(npy_write_text(path, text, n, err));
    for (size_t i = 0; i < n; i++) {
        scratch[i] = (int64_t)rec->trial[i].clip;
        text[i] = stimulus_name(rec->trial[i].kind);
    }
    NPC_TRY(save(rec->truth, NPY_WRITE_I8, scratch, shape, err, "meta/video_ids.npy"));
    snprintf(path, sizeof path, "%s/meta/stimulus_types.npy", rec->truth);
    return npy_write_text(path, text, n, err);
}

static Status write_meta(const Recording *rec, Err *err)
{
    size_t most =
        rec->n_trials > 3 * (size_t)rec->o->neurons ? rec->n_trials : 3 * (size_t)rec->o->neurons;
    int64_t *scratch = malloc(most * sizeof *scratch);
    const char **text = malloc(rec->n_trials * sizeof *text);
    char path[4096];
    Status status = scratch && text
                        ? NPC_OK
                        : err_set(err, NPC_ERR_MEMORY, "no memory for %zu trials", rec->n_trials);
    snprintf(path, sizeof path, "%s/config.json", rec->here);
    if (status == NPC_OK)
        status = write_neurons(rec, scratch, err);
    if (status == NPC_OK)
        status = write_trials(rec, scratch, text, err);
    if (status == NPC_OK)
        status = file_write(path, "{\"links\": {}}", 13, err);
    free(scratch);
    free(text);
    return status;
}

static Status write_statistics(const Recording *rec, Err *err)
{
    size_t n = 0, length = rec->length, *train = malloc(rec->n_trials * sizeof *train);
    const SynthVariable variables[] = {
        {rec->here, "videos", NPY_WRITE_F4, {rec->o->height, rec->o->width, length}, 3},
        {rec->here, "responses", NPY_WRITE_F4, {rec->o->neurons, length}, 2},
        {rec->here, "behavior", NPY_WRITE_F8, {2, length}, 2},
        {rec->here, "pupil_center", NPY_WRITE_F8, {2, length}, 2},
    };
    if (!train)
        return err_set(err, NPC_ERR_MEMORY, "no memory for %zu trials", rec->n_trials);
    for (size_t i = 0; i < rec->n_trials; i++)
        if (rec->trial[i].tier == SYNTH_TRAIN)
            train[n++] = i;
    Status status = NPC_OK;
    for (size_t k = 0; status == NPC_OK && k < sizeof variables / sizeof *variables; k++)
        status = synth_statistics(&variables[k], train, n, err);
    free(train);
    return status;
}

/* ------------------------------------------------------------------------------------ recording */

static Status make_folders(const Recording *rec, Err *err)
{
    static const char *const here[] = {"data/videos",       "data/responses", "data/behavior",
                                       "data/pupil_center", "meta/neurons",   "meta/trials"};
    static const char *const truth[] = {"data/responses", "meta", "ceiling"};
    char path[4096];

    for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
        snprintf(path, sizeof path, "%s/%s", rec->here, here[i]);
        NPC_TRY(file_make_folder(path, err));
    }
    for (size_t i = 0; i < sizeof truth / sizeof *truth; i++) {
        snprintf(path, sizeof path, "%s/%s", rec->truth, truth[i]);
        NPC_TRY(file_make_folder(path, err));
    }
    return NPC_OK;
}

static Status allocate(Recording *rec, Err *err)
{
    size_t pixels = (size_t)rec->o->height * rec->o->width, count = rec->o->neurons * rec->length;
    Rng cells = stream_of(rec, "cells", 0), behaviour = stream_of(rec, "behaviour", 0);

    NPC_TRY(make_plan(rec, err));
    rec->film = malloc(pixels * rec->length * sizeof(float));
    rec->stored = malloc(pixels * rec->length * sizeof(float));
    rec->recorded = malloc(count * sizeof(float));
    rec->expected = malloc(count * sizeof(float));
    rec->pair = malloc(2 * rec->length * sizeof(double));
    if (!rec->film || !rec->stored || !rec->recorded || !rec->expected || !rec->pair)
        return err_set(err, NPC_ERR_MEMORY, "no memory for films of %zu frames", rec->length);
    NPC_TRY(synth_behave(&behaviour, rec->n_trials * (rec->length + 12), &rec->session, err));
    NPC_TRY(synth_floor_open(&rec->floor, rec->o->height, rec->o->width, rec->o->neurons,
                             rec->length, err));
    return synth_cells_make(&rec->cells, &cells, rec->o->neurons, rec->o->height, rec->o->width,
                            rec->length, rec->o->types, rec->o->signal, err);
}

static void recording_free(Recording *rec)
{
    for (size_t i = 0; rec->trial && i < rec->n_trials; i++)
        free(rec->trial[i].recorded);
    free(rec->clip);
    free(rec->trial);
    free(rec->slot);
    free(rec->film);
    free(rec->stored);
    free(rec->recorded);
    free(rec->expected);
    free(rec->pair);
    synth_behaviour_free(&rec->session);
    synth_cells_free(&rec->cells);
    synth_floor_free(&rec->floor);
}

static Status fill_folders(Recording *rec, SynthSummary *summary, Err *err)
{
    NPC_TRY(make_folders(rec, err));
    NPC_TRY(allocate(rec, err));
    report(rec, 0, "cells");
    NPC_TRY(calibrate(rec, err));
    NPC_TRY(make_trials(rec, err));
    report(rec, 0.92, "statistics");
    NPC_TRY(write_statistics(rec, err));
    NPC_TRY(write_meta(rec, err));
    report(rec, 0.97, "ceilings");
    SynthTruth truth = {rec->truth, rec->o, rec->trial, rec->n_trials, rec->length};
    return synth_truth_write(&truth, summary, err);
}

static Status finish_folder(const char *partial, const char *out, const char *name, Err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", out, name);
    if (rename(partial, path) < 0)
        return err_set(err, NPC_ERR_IO, "%s: cannot rename to %s: %s", partial, path,
                       strerror(errno));
    return NPC_OK;
}

static Status make_recording(Recording *rec, const char *out, SynthSummary *summary, Err *err)
{
    char truth[3000];
    rec->withheld = rec->index % 2 == 0;
    rec->length = stored_frames(rec->o);
    name_recording(rec);
    snprintf(truth, sizeof truth, "%s/truth", out);
    snprintf(rec->here, sizeof rec->here, "%s/%s.partial", out, rec->name);
    snprintf(rec->truth, sizeof rec->truth, "%.2900s/%s.partial", truth, rec->name);
    snprintf(summary->name, sizeof summary->name, "%s", rec->name);
    Status status = fill_folders(rec, summary, err);
    recording_free(rec);
    if (status == NPC_OK)
        status = finish_folder(rec->truth, truth, rec->name, err);
    if (status == NPC_OK)
        status = finish_folder(rec->here, out, rec->name, err);
    if (status != NPC_OK) { /* what is half made */
        file_remove_tree(rec->here);
        file_remove_tree(rec->truth);
        rmdir(truth); /* unless an earlier recording's is there */
    }
    return status;
}

/* Recordings of two runs shall not mix. */
Status synth_check_folder(const char *out, Err *err)
{
    if (!out[0])
        return err_set(err, NPC_ERR_INPUT, "the name of the folder to write to is empty");
    if (strlen(out) > 2000)
        return err_set(err, NPC_ERR_INPUT, "%.100s...: path too long", out);
    if (!file_exists(out))
        return file_make_folder(out, err);
    if (!file_is_folder(out))
        return err_set(err, NPC_ERR_INPUT, "%s: exists and is not a folder", out);
    DIR *d = opendir(out);
    if (!d)
        return err_set(err, NPC_ERR_IO, "%s: cannot open the folder: %s", out, strerror(errno));
    const struct dirent *e = readdir(d);
    while (e && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0))
        e = readdir(d);
    Status status = NPC_OK;
    if (e)
        status = err_set(err, NPC_ERR_INPUT,
                         "%s: not empty (it holds %s); synthetic recordings go to a new folder",
                         out, e->d_name);
    closedir(d);
    return status;
}

Status synth_write(const char *out, const SynthOptions *o, SynthProgress progress, void *cx,
                   SynthSummary *summaries, Err *err)
{
    NPC_TRY(synth_check(o, err));
    bool was_there = file_exists(out);
    Status status = synth_check_folder(out, err);
    for (uint32_t i = 0; i < o->mice && status == NPC_OK; i++) {
        Recording rec = {.o = o, .index = i, .progress = progress, .cx = cx};
        SynthSummary summary = {0};
        status = make_recording(&rec, out, &summary, err);
        if (summaries)
            summaries[i] = summary;
    }
    if (status != NPC_OK && !was_there)
        rmdir(out); /* unless recordings were finished */
    if (status == NPC_OK && progress)
        progress(cx, 1.0, "done");
    return status;
}
