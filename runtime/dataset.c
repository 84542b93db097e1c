#include "runtime/dataset.h"

#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ir/base/text.h"

enum { LISTED = 8 };

static const Recording *find_recording(const Recordings *all, const char *name)
{
    for (uint32_t i = 0; i < all->len; i++)
        if (!strcmp(all->at[i]->name, name))
            return all->at[i];
    return NULL;
}

/* Do the known sessions name every recording? */
static bool are_known(const Recordings *all, const Session *known, uint32_t n_known)
{
    for (uint32_t i = 0; i < all->len; i++) {
        bool found = false;
        for (uint32_t k = 0; k < n_known && !found; k++)
            found = !strcmp(known[k].name, all->at[i]->name);
        if (!found)
            return false;
    }
    return true;
}

static void add(Dataset *d, const Recording *r)
{
    d->recording[d->n] = r;
    d->sessions[d->n++] = (Session){.name = r->name,
                                    .neurons = r->n_neurons,
                                    .coordinates = r->coordinates,
                                    .n_coordinates = (int)r->n_coordinates};
}

Status dataset_open(Dataset *out, Arena *arena, const char *dir, const Session *known,
                    uint32_t n_known, Err *err)
{
    Recordings all;
    NPC_TRY(recordings_open(&all, arena, dir, err));
    *out = (Dataset){.dir = dir,
                     .recording = ARENA_ARRAY(arena, const Recording *, all.len + 1),
                     .sessions = ARENA_ARRAY(arena, Session, all.len + 1)};
    if (!known || !are_known(&all, known, n_known)) {
        for (uint32_t i = 0; i < all.len; i++)
            add(out, all.at[i]);
        return NPC_OK;
    }
    for (uint32_t k = 0; k < n_known; k++) {
        const Recording *r = find_recording(&all, known[k].name);
        if (r)
            add(out, r);
    }
    return NPC_OK;
}

Status dataset_match(Dataset *out, Arena *arena, const char *dir, const Session *sessions,
                     uint32_t n, bool all_needed, Err *err)
{
    Recordings all;
    uint32_t n_found = 0;
    NPC_TRY(recordings_open(&all, arena, dir, err));
    *out = (Dataset){.dir = dir,
                     .recording = ARENA_ARRAY(arena, const Recording *, n + 1),
                     .sessions = ARENA_ARRAY(arena, Session, n + 1),
                     .n = n};
    for (uint32_t i = 0; i < n; i++) {
        const Recording *r = find_recording(&all, sessions[i].name);
        out->sessions[i] = sessions[i];
        out->recording[i] = r;
        n_found += r != NULL;
        if (r) {
            out->sessions[i].coordinates = r->coordinates;
            out->sessions[i].n_coordinates = (int)r->n_coordinates;
        }
        if (r && r->n_neurons != sessions[i].neurons)
            return err_set(err, NPC_ERR_INPUT,
                           "%s: has %u neurons; the model was made for %lld of this recording",
                           r->path, r->n_neurons, (long long)sessions[i].neurons);
        if (!r && all_needed)
            return err_set(err, NPC_ERR_INPUT,
                           "%s: the recording %s is missing; this run was trained with it", dir,
                           sessions[i].name);
    }
    if (!n_found)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: holds none of the model's recordings (%s%s); it has %s%s", dir,
                       n ? sessions[0].name : "none", n > 1 ? ", .." : "",
                       all.len ? all.at[0]->name : "no recording", all.len > 1 ? ", .." : "");
    return NPC_OK;
}

/* ---- data against model ---- */

const Shape *dataset_input_shape(const Module *m, const char *input)
{
    const Func *f = module_func(m, "eval");
    for (uint32_t i = 1; f && i < f->nodes.len; i++)
        if (f->nodes.at[i].op == OP_INPUT && !strcmp(f->nodes.at[i].attrs.name, input))
            return &f->nodes.at[i].shape;
    return NULL;
}

static int64_t axis_size(const Shape *s, const char *axis)
{
    int i = shape_axis(s, axis);
    return i >= 0 ? s->size[i] : 0;
}

static Status channels_of(const Recipe *r, unsigned *out, Err *err)
{
    static const unsigned bit[] = {CHANNEL_VIDEO, CHANNEL_BEHAVIOR, CHANNEL_PUPIL};
    *out = 0;
    for (int i = 0; i < r->n_channels; i++) {
        unsigned b = bit[r->channels[i]];
        if (b <= *out)
            return err_set(err, NPC_ERR_INPUT,
                           "recipe: channels come in the order video, behavior, pupil, each once");
        *out |= b;
    }
    return NPC_OK;
}

static Status refuse(const Shape *s, const char *details, Err *err)
{
    Arena arena = {0};
    Text t = {.arena = &arena};
    shape_text(&t, s);
    Status status = err_set(err, NPC_ERR_INPUT,
                            "error[E0410]: the data do not fit the model's input 'clip: %s'%s",
                            text_str(&t), details);
    arena_free(&arena);
    return status;
}

/* Every recording's frames against h and w; the message names those that do not fit. */
static Status check_frames(const Dataset *d, const Shape *s, const Recipe *r, Err *err)
{
    int64_t h = axis_size(s, "h"), w = axis_size(s, "w");
    char text[1200] = "";
    int len = 0, n_bad = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const Recording *one = d->recording[i];
        bool fits = !one || (r->pad_h || r->pad_w ? one->height <= h && one->width <= w
                                                  : one->height == h && one->width == w);
        if (fits || ++n_bad > LISTED)
            continue;
        len += snprintf(text + len, sizeof text - (size_t)len,
                        "\n  %.60s: video is [t h:%u w:%u], the model wants h:%lld w:%lld",
                        one->name, one->height, one->width, (long long)h, (long long)w);
    }
    if (n_bad > LISTED)
        len += snprintf(text + len, sizeof text - (size_t)len, "\n  and %d more recordings",
                        n_bad - LISTED);
    if (n_bad && !r->pad_h)
        snprintf(text + len, sizeof text - (size_t)len,
                 "\n  help: add  |> pad([h: %lld, w: %lld])  to 'data' in the recipe", (long long)h,
                 (long long)w);
    return n_bad ? refuse(s, text, err) : NPC_OK;
}

Status dataset_clip_shape(const Dataset *d, const Module *m, const Recipe *r, int64_t frames,
                          int64_t every, ClipShape *out, Err *err)
{
    const Shape *s = dataset_input_shape(m, "clip");
    char text[300];
    if (!s || s->rank != 5)
        return err_set(err, NPC_ERR_INPUT,
                       "the model '%s' has no input clip: [b c t h w], which recordings fill",
                       m->model);
    *out = (ClipShape){.height = (uint32_t)axis_size(s, "h"),
                       .width = (uint32_t)axis_size(s, "w"),
                       .size = (uint32_t)frames,
                       .step = (uint32_t)every};
    NPC_TRY(channels_of(r, &out->channels, err));
    if (r->pad_value != 0)
        return err_set(err, NPC_ERR_INPUT, "recipe: recordings are padded with 0, not with %g",
                       r->pad_value);
    snprintf(text, sizeof text,
             "\n  the recipe takes %u channels per frame, the model wants c:%lld",
             clip_channels(out), (long long)axis_size(s, "c"));
    if (clip_channels(out) != axis_size(s, "c"))
        return refuse(s, text, err);
    snprintf(text, sizeof text, "\n  the recipe takes clips of %lld frames, the model wants t:%lld",
             (long long)frames, (long long)axis_size(s, "t"));
    if (frames != axis_size(s, "t"))
        return refuse(s, text, err);
    snprintf(text, sizeof text, "\n  the recipe pads to h:%lld w:%lld", (long long)r->pad_h,
             (long long)r->pad_w);
    if ((r->pad_h || r->pad_w) && (r->pad_h != out->height || r->pad_w != out->width))
        return refuse(s, text, err);
    NPC_TRY(check_frames(d, s, r, err));
    for (uint32_t i = 0; i < d->n; i++)
        if (d->recording[i])
            NPC_TRY(clip_check(out, d->recording[i], err));
    return NPC_OK;
}

/* ---- what was read ---- */

const char *text_hash(Arena *arena, const char *text)
{
    XXH128_hash_t x = XXH3_128bits(text, strlen(text));
    return arena_printf(arena, "%016llx%016llx", (unsigned long long)x.high64,
                        (unsigned long long)x.low64);
}

const char *dataset_hash(Arena *arena, const Dataset *d)
{
    Text t = {.arena = arena};
    for (uint32_t i = 0; i < d->n; i++) {
        const Recording *r = d->recording[i];
        if (!r)
            continue;
        text_printf(&t, "%s %u neurons %u x %u\n", r->name, r->n_neurons, r->height, r->width);
        for (uint32_t k = 0; k < r->n_trials; k++)
            text_printf(&t, "%s %u\n", tier_name(r->trials[k].tier), r->trials[k].frames);
    }
    return text_hash(arena, text_str(&t));
}
