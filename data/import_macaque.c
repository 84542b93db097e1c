/* Macaque V4 spike counts as recordings of images. A number is the count of a window of 100 ms; an
 * image is one trial per repeat. */
#include "data/import.h"

#include <math.h>
#include <stdio.h>

#include "ir/base/file.h"
#include "data/image_writer.h"

enum { REPEATS = 6, HELD_OUT_AVERAGED = 200 };

static const struct {
    const char *name;
    uint32_t held_out; /* images at the end that validate, of single trials */
} SESSIONS[] = {{"210325", 128}, {"190923", HELD_OUT_AVERAGED}, {"210621", HELD_OUT_AVERAGED}};

enum { N_SESSIONS = sizeof SESSIONS / sizeof *SESSIONS };

typedef struct Source {
    Npy pictures, counts;
    uint32_t units, images, repeats, height, width, held_out;
} Source;

static Status wrong(const char *path, const Npy *a, const char *expected, Err *err)
{
    char shape[200], type[24];
    return err_set(err, NPC_ERR_INPUT, "%s: %s %s; expected %s", path,
                   npy_type_text(&a->head, type), npy_shape_text(&a->head, shape), expected);
}

static Status open_source(Source *s, Arena *arena, const char *dir, int session, Err *err)
{
    const char *name = SESSIONS[session].name;
    const char *pictures = arena_printf(arena, "%s/stimuli_36x64/stimuli_%s.npy", dir, name);
    const char *counts = arena_printf(arena, "%s/responses_raw/responses_%s.npy", dir, name);
    bool is_raw = file_exists(counts);
    if (!is_raw)
        counts = arena_printf(arena, "%s/responses_repeat_averaged/responses_%s.npy", dir, name);
    NPC_TRY(npy_open(&s->pictures, pictures, err));
    NPC_TRY(npy_open(&s->counts, counts, err));
    const NpyHeader *p = &s->pictures.head, *c = &s->counts.head;
    if (p->rank != 3 || !npy_is_number(p) || !p->elems || p->elems > UINT32_MAX)
        return wrong(pictures, &s->pictures, "(images, rows, columns)", err);
    if (c->rank != 2u + is_raw || !npy_is_number(c) || !c->elems || c->shape[1] != p->shape[0] ||
        c->shape[0] > UINT32_MAX)
        return wrong(counts, &s->counts, is_raw ? "(units, images, repeats)" : "(units, images)",
                     err);
    s->units = (uint32_t)c->shape[0];
    s->images = (uint32_t)p->shape[0];
    s->repeats = !is_raw ? 1 : c->shape[2] < REPEATS ? (uint32_t)c->shape[2] : REPEATS;
    s->height = (uint32_t)p->shape[1];
    s->width = (uint32_t)p->shape[2];
    s->held_out = SESSIONS[session].held_out;
    return NPC_OK;
}

/* The responses to one showing; false when it was not recorded (NaN). */
static bool read_counts(const Source *s, uint32_t image, uint32_t repeat, float *out)
{
    const uint64_t *stride = s->counts.head.stride;
    for (uint32_t k = 0; k < s->units; k++) {
        uint64_t at = k * stride[0] + image * stride[1];
        out[k] =
            (float)npy_double(&s->counts, at + (s->counts.head.rank > 2 ? repeat * stride[2] : 0));
        if (!isfinite(out[k]))
            return false;
    }
    return true;
}

static void read_picture(const Source *s, uint32_t image, float *out)
{
    const uint64_t *stride = s->pictures.head.stride;
    for (uint32_t row = 0; row < s->height; row++)
        npy_floats(&s->pictures, image * stride[0] + row * stride[1], stride[2], s->width,
                   out + (size_t)row * s->width);
}

static Status write_trials(const Source *s, ImageWriter *w, Err *err)
{
    float *picture = ARENA_ARRAY(&w->arena, float, (size_t)s->height * s->width);
    float *counts = ARENA_ARRAY(&w->arena, float, s->units);
    for (uint32_t image = 0; image < s->images; image++) {
        ImageTrial t = {.tier = image + s->held_out < s->images ? TIER_TRAIN : TIER_VALIDATION,
                        .image = image,
                        .picture = picture,
                        .responses = counts};
        read_picture(s, image, picture);
        for (uint32_t repeat = 0; repeat < s->repeats; repeat++)
            if (read_counts(s, image, repeat, counts))
                NPC_TRY(image_writer_put(w, &t, err));
    }
    return NPC_OK;
}

static Status import_session(Arena *arena, const Source *s, int session, const char *out,
                             Imported *made, Err *err)
{
    ImageWriter *w = ARENA_NEW(arena, ImageWriter);
    ImageNeurons neurons = {
        .animal = session + 1,
        .about = "{\"source\": \"macaque V4, spikes per 100 ms\", "
                 "\"absent\": [\"behavior\", \"pupil_center\", \"cell_motor_coordinates\"]}\n"};
    snprintf(made->name, sizeof made->name, "macaque-v4-%s", SESSIONS[session].name);
    w->arena.exhausted = arena->exhausted;
    Status status = image_writer_open(w, out, made->name, 1, s->height, s->width, s->units, err);
    if (status == NPC_OK)
        status = write_trials(s, w, err);
    made->neurons = s->units;
    made->trials = w->tiers.len;
    if (status == NPC_OK)
        status = image_writer_finish(w, &neurons, err);
    image_writer_close(w);
    return status;
}

Status import_macaque_v4(Arena *arena, const char *dir, const char *out, ImportedList *done,
                         Err *err)
{
    for (int i = 0; i < N_SESSIONS; i++) {
        Source s = {0};
        if (!file_exists(
                arena_printf(arena, "%s/stimuli_36x64/stimuli_%s.npy", dir, SESSIONS[i].name)))
            continue;
        Status status = open_source(&s, arena, dir, i, err);
        if (status == NPC_OK)
            status = import_session(arena, &s, i, out, &done->made[done->n], err);
        npy_close(&s.pictures);
        npy_close(&s.counts);
        NPC_TRY(status);
        done->n++;
    }
    return done->n ? NPC_OK
                   : err_set(err, NPC_ERR_INPUT,
                             "%s: no session here; expected stimuli_36x64/stimuli_210325.npy, "
                             "stimuli_190923.npy or stimuli_210621.npy",
                             dir);
}
