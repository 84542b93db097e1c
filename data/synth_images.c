#include "data/synth_images.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/base/file.h"
#include "data/image_writer.h"
#include "data/metrics.h"
#include "data/npy_write.h"
#include "data/philox.h"
#include "data/stimulus.h"
#include "data/synth_behaviour.h"
#include "data/synth_cells.h"
#include "data/synth_floor.h"

enum {
    GREY = SYNTH_HISTORY, /* frames before the picture */
    SHOWN = 15,
    FRAMES = GREY + SHOWN,
    LATENCY = 3,      /* frames that do not count yet */
    CALIBRATION = 40, /* pictures */
    N_TESTS = 2
};

static const Tier TESTS[N_TESTS] = {TIER_TEST, TIER_FINAL_TEST};

typedef struct Showing {
    Tier tier;
    uint32_t image;
} Showing;

/* One recording while it is made. */
typedef struct Maker {
    const SynthOptions *o;
    uint32_t index;
    Arena arena;
    Showing *trial;
    uint32_t n_trials;
    float *picture, *film;      /* [H W], [FRAMES H W] */
    float *recorded, *expected; /* [N FRAMES] */
    float *response;            /* [n_trials 3 N]: recorded, expected, predicted linearly */
    SynthCells cells;
    SynthFloor floor;
    SynthBehaviour session;
    ImageWriter writer;
    char truth[3000];
} Maker;

SynthOptions synth_image_defaults(void)
{
    SynthOptions o = synth_defaults();
    o.trials = 1000;
    o.clips = 20;
    return o;
}

static Rng stream_of(const Maker *m, const char *part, uint32_t number)
{
    char text[96];
    snprintf(text, sizeof text, "synth.images.%" PRIu32 ".%s.%" PRIu32, m->index, part, number);
    return rng_start(m->o->seed, philox_stream(text));
}

/* ---- what is shown ---- */

/* Images in order of their tiers, trials in random order. */
static void plan(Maker *m)
{
    const SynthOptions *o = m->o;
    uint32_t n_validate = o->trials / 10 ? o->trials / 10 : 1, image = 0, at = 0;
    m->n_trials = o->trials + n_validate + N_TESTS * o->clips * o->repeats;
    m->trial = ARENA_ARRAY(&m->arena, Showing, m->n_trials);
    uint32_t *order = ARENA_ARRAY(&m->arena, uint32_t, m->n_trials);
    Rng r = stream_of(m, "order", 0);
    philox_permutation(r.seed, r.stream, m->n_trials, order);
    for (uint32_t i = 0; i < o->trials; i++)
        m->trial[order[at++]] = (Showing){TIER_TRAIN, image++};
    for (uint32_t i = 0; i < n_validate; i++)
        m->trial[order[at++]] = (Showing){TIER_VALIDATION, image++};
    for (int k = 0; k < N_TESTS; k++)
        for (uint32_t i = 0; i < o->clips; i++, image++)
            for (uint32_t repeat = 0; repeat < o->repeats; repeat++)
                m->trial[order[at++]] = (Showing){TESTS[k], image};
}

static Status make_film(Maker *m, uint32_t image, Err *err)
{
    size_t pixels = (size_t)m->o->height * m->o->width;
    Rng r = stream_of(m, "image", image);
    NPC_TRY(stimulus_make(STIMULUS_MOVIE, &r, 1, m->o->height, m->o->width, m->picture, err));
    for (size_t i = 0; i < GREY * pixels; i++)
        m->film[i] = (float)STIMULUS_GREY;
    for (size_t t = GREY; t < FRAMES; t++)
        memcpy(m->film + t * pixels, m->picture, pixels * sizeof *m->film);
    return NPC_OK;
}

/* ---- responses ---- */

static Status calibrate(Maker *m, Err *err)
{
    SynthState resting = {0};
    uint32_t n = m->o->trials < CALIBRATION ? m->o->trials : CALIBRATION;
    double *sum = ARENA_ARRAY(&m->arena, double, m->o->neurons);
    for (uint32_t image = 0; image < n; image++) {
        NPC_TRY(make_film(m, image, err));
        synth_cells_drive(&m->cells, m->film, FRAMES, &resting);
        for (uint32_t k = 0; k < m->o->neurons; k++)
            for (int t = GREY; t < FRAMES; t++)
                sum[k] += m->cells.level[(size_t)k * m->cells.max_frames + (size_t)t];
    }
    for (uint32_t k = 0; k < m->o->neurons; k++)
        m->cells.cell[k].scale = 1.6 * sum[k] / (n * (double)SHOWN) + 1e-6;
    return NPC_OK;
}

static float mean_shown(const float *trace)
{
    double sum = 0;
    for (int t = GREY + LATENCY; t < FRAMES; t++)
        sum += (double)trace[t];
    return (float)(sum / (SHOWN - LATENCY));
}

static Status make_trial(Maker *m, uint32_t number, Err *err)
{
    const Showing *shown = &m->trial[number];
    size_t at = (size_t)number * FRAMES, n = m->o->neurons, mid = at + GREY + SHOWN / 2;
    const SynthBehaviour *b = &m->session;
    SynthState s = {b->running + at, b->pupil + at, b->gaze_x + at, b->gaze_y + at};
    Rng r = stream_of(m, "trial", number);
    float *recorded = m->response + number * 3 * n, *expected = recorded + n;
    float *zeros = m->recorded; /* free again once the means are taken */
    NPC_TRY(make_film(m, shown->image, err));
    synth_cells_drive(&m->cells, m->film, FRAMES, &s);
    synth_cells_rate(&m->cells, FRAMES, &s);
    synth_cells_observe(&m->cells, &r, FRAMES, m->recorded, m->expected, FRAMES);
    for (size_t k = 0; k < n; k++) {
        recorded[k] = mean_shown(m->recorded + k * FRAMES);
        expected[k] = mean_shown(m->expected + k * FRAMES);
    }
    bool is_test = TIER_BIT(shown->tier) & TIERS_LABELLED_IF_RELEASED;
    memset(zeros, 0, n * sizeof *zeros);
    ImageTrial trial = {
        .tier = shown->tier,
        .image = shown->image,
        .picture = m->picture,
        .responses = is_test && m->index % 2 == 0 ? zeros : recorded,
        .behavior = {(float)b->pupil[mid], (float)(30 * (b->pupil[mid + 1] - b->pupil[mid])),
                     (float)b->running[mid]},
        .pupil = {(float)SYNTH_CENTRE_X(b->gaze_x[mid]), (float)SYNTH_CENTRE_Y(b->gaze_y[mid])}};
    NPC_TRY(image_writer_put(&m->writer, &trial, err));
    if (!is_test)
        return NPC_OK;
    char path[3100];
    snprintf(path, sizeof path, "%s/data/responses/%" PRIu32 ".npy", m->truth, number);
    return npy_write(path, NPY_WRITE_F4, recorded, &n, 1, err);
}

/* ---- ceilings and floors ---- */

/* Learns from all training images, then predicts those of the tests. */
static Status predict_linearly(Maker *m, Err *err)
{
    for (int tests = 0; tests < 2; tests++)
        for (uint32_t i = 0; i < m->n_trials; i++) {
            size_t n = m->o->neurons, mid = (size_t)i * FRAMES + GREY + SHOWN / 2;
            const SynthBehaviour *b = &m->session;
            SynthState s = {b->running + mid, b->pupil + mid, b->gaze_x + mid, b->gaze_y + mid};
            float *response = m->response + i * 3 * n;
            bool is_test = m->trial[i].tier == TESTS[0] || m->trial[i].tier == TESTS[1];
            if (tests ? !is_test : m->trial[i].tier != TIER_TRAIN)
                continue;
            NPC_TRY(make_film(m, m->trial[i].image, err));
            if (tests)
                synth_floor_predict(&m->floor, m->picture, 1, &s, response + 2 * n, 1);
            else
                synth_floor_learn(&m->floor, m->picture, 1, &s, response, 1);
        }
    return NPC_OK;
}

static Status score(Maker *m, const ScoreSet *set, int which, const char *tier, double *mean,
                    Err *err)
{
    static const char *const name[] = {"leave_one_out", "single_trial", "to_average",
                                       "linear_single_trial", "linear_to_average"};
    size_t n = m->o->neurons;
    double *of = ARENA_ARRAY(&m->arena, double, n);
    char path[3200];
    NPC_TRY(which == 0       ? metrics_leave_one_out_ceiling(set, of, err)
            : which % 2 == 1 ? metrics_single_trial(set, of, err)
                             : metrics_to_average(set, 1, of, err));
    *mean = 0;
    for (size_t k = 0; k < n; k++)
        *mean += of[k] / (double)n;
    snprintf(path, sizeof path, "%s/ceiling/%s_%s.npy", m->truth, tier, name[which]);
    return npy_write(path, NPY_WRITE_F8, of, &n, 1, err);
}

static Status find_ceilings(Maker *m, SynthSummary *out, Err *err)
{
    ScoreTrial *pick = ARENA_ARRAY(&m->arena, ScoreTrial, m->n_trials);
    size_t n = m->o->neurons;
    for (int k = 0; k < N_TESTS; k++) {
        SynthCeiling *c = &out->tier[k];
        ScoreSet set = {pick, 0, n, 0};
        for (uint32_t i = 0; i < m->n_trials; i++)
            if (m->trial[i].tier == TESTS[k]) {
                const float *recorded = m->response + i * 3 * n;
                pick[set.n_trials++] = (ScoreTrial){
                    {recorded, 1, 1, 1}, {recorded + n, 1, 1, 1}, (int64_t)m->trial[i].image};
            }
        c->tier = tier_name(TESTS[k]);
        NPC_TRY(score(m, &set, 0, c->tier, &c->leave_one_out, err));
        NPC_TRY(score(m, &set, 1, c->tier, &c->single_trial, err));
        NPC_TRY(score(m, &set, 2, c->tier, &c->to_average, err));
        for (size_t i = 0; i < set.n_trials; i++)
            pick[i].prediction.at += n; /* the linear prediction stands behind */
        NPC_TRY(score(m, &set, 3, c->tier, &c->linear_single_trial, err));
        NPC_TRY(score(m, &set, 4, c->tier, &c->linear_to_average, err));
    }
    return NPC_OK;
}

/* ---- a recording ---- */

static Status prepare(Maker *m, Err *err)
{
    const SynthOptions *o = m->o;
    size_t pixels = (size_t)o->height * o->width, n = o->neurons;
    Rng cells = stream_of(m, "cells", 0), behaviour = stream_of(m, "behaviour", 0);
    char path[3100];
    plan(m);
    m->picture = ARENA_ARRAY(&m->arena, float, pixels);
    m->film = ARENA_ARRAY(&m->arena, float, FRAMES *pixels);
    m->recorded = ARENA_ARRAY(&m->arena, float, FRAMES *n);
    m->expected = ARENA_ARRAY(&m->arena, float, FRAMES *n);
    m->response = ARENA_ARRAY(&m->arena, float, 3 * n * m->n_trials);
    snprintf(path, sizeof path, "%s/data/responses", m->truth);
    NPC_TRY(file_make_folder(path, err));
    snprintf(path, sizeof path, "%s/ceiling", m->truth);
    NPC_TRY(file_make_folder(path, err));
    NPC_TRY(synth_behave(&behaviour, (size_t)m->n_trials * FRAMES + 1, &m->session, err));
    NPC_TRY(synth_cells_make(&m->cells, &cells, n, o->height, o->width, FRAMES, o->types, o->signal,
                             err));
    NPC_TRY(synth_floor_open(&m->floor, o->height, o->width, n, 1, err));
    return calibrate(m, err);
}

static Status make_all(Maker *m, const char *out, SynthSummary *summary, SynthProgress progress,
                       void *cx, Err *err)
{
    const SynthOptions *o = m->o;
    NPC_TRY(
        image_writer_open(&m->writer, out, summary->name, 1, o->height, o->width, o->neurons, err));
    NPC_TRY(prepare(m, err));
    float *places = ARENA_ARRAY(&m->arena, float, 3 * (size_t)o->neurons);
    for (uint32_t i = 0; i < m->n_trials; i++) {
        char what[100];
        snprintf(what, sizeof what, "recording %u of %u: image %u of %u", m->index + 1, o->mice,
                 i + 1, m->n_trials);
        if (progress)
            progress(cx, (m->index + (double)i / m->n_trials) / o->mice, what);
        NPC_TRY(make_trial(m, i, err));
    }
    for (uint32_t k = 0; k < o->neurons; k++)
        for (int a = 0; a < 3; a++)
            places[3 * k + (uint32_t)a] = (float)m->cells.cell[k].place[a];
    ImageNeurons neurons = {
        .coordinates = places, .animal = 90000 + m->index, .about = "{\"links\": {}}\n"};
    NPC_TRY(predict_linearly(m, err));
    NPC_TRY(find_ceilings(m, summary, err));
    return image_writer_finish(&m->writer, &neurons, err);
}

static Status make_recording(Maker *m, const char *out, SynthSummary *summary,
                             SynthProgress progress, void *cx, Err *err)
{
    const SynthOptions *o = m->o;
    char text[200];
    jmp_buf exhausted;
    Status s;
    snprintf(text, sizeof text, "images %u %u %u %u %u %u %u %u %a", m->index, o->neurons,
             o->trials, o->height, o->width, o->clips, o->repeats, o->types, o->signal);
    Philox code = philox_draw(o->seed, philox_stream(text), 0);
    snprintf(summary->name, sizeof summary->name, "static%u-%u-%u-Images-%08" PRIx32 "%08" PRIx32,
             90000 + m->index, 1 + m->index % 9, 1 + m->index % 7, code.v[0], code.v[1]);
    snprintf(m->truth, sizeof m->truth, "%.2800s/truth/%s", out, summary->name);
    m->arena.exhausted = m->writer.arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "no memory for %u images", o->trials);
    else
        s = make_all(m, out, summary, progress, cx, err);
    if (s != NPC_OK)
        file_remove_tree(m->truth);
    m->writer.arena.exhausted = NULL;
    image_writer_close(&m->writer);
    synth_cells_free(&m->cells);
    synth_floor_free(&m->floor);
    synth_behaviour_free(&m->session);
    arena_free(&m->arena);
    return s;
}

Status synth_images_write(const char *out, const SynthOptions *o, SynthProgress progress, void *cx,
                          SynthSummary *summaries, Err *err)
{
    NPC_TRY(synth_check(o, err));
    NPC_TRY(synth_check_folder(out, err));
    for (uint32_t i = 0; i < o->mice; i++) {
        Maker *m = calloc(1, sizeof *m);
        SynthSummary summary = {0};
        if (!m)
            return err_set(err, NPC_ERR_MEMORY, "not enough memory");
        m->o = o;
        m->index = i;
        Status s = make_recording(m, out, &summary, progress, cx, err);
        free(m);
        NPC_TRY(s);
        if (summaries)
            summaries[i] = summary;
    }
    if (progress)
        progress(cx, 1, "done");
    return NPC_OK;
}
