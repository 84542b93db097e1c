#include "runtime/dataset.h"

#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/moments.h"
#include "data/standardise.h"
#include "ir/base/text.h"

enum { LISTED = 8 };

static Recording *find_recording(const Recordings *all, const char *name)
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

static void add(Dataset *d, Recording *r)
{
    d->own[d->n] = r;
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
                     .own = ARENA_ARRAY(arena, Recording *, all.len + 1),
                     .sessions = ARENA_ARRAY(arena, Session, all.len + 1)};
    if (!known || !are_known(&all, known, n_known)) {
        for (uint32_t i = 0; i < all.len; i++)
            add(out, all.at[i]);
        return NPC_OK;
    }
    for (uint32_t k = 0; k < n_known; k++) {
        Recording *r = find_recording(&all, known[k].name);
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
                     .own = ARENA_ARRAY(arena, Recording *, n + 1),
                     .sessions = ARENA_ARRAY(arena, Session, n + 1),
                     .n = n};
    for (uint32_t i = 0; i < n; i++) {
        Recording *r = find_recording(&all, sessions[i].name);
        out->sessions[i] = sessions[i];
        out->recording[i] = out->own[i] = r;
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

/* ---- how they are used ---- */

Status dataset_standardise(Dataset *d, Arena *arena, const Recipe *recipe, const char *keep,
                           bool may_write, Err *err)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (d->own[i])
            NPC_TRY(standardise(d->own[i], arena, recipe, keep, may_write, err));
    return NPC_OK;
}

/* Responses of trials as they are gone through: per neuron. */
typedef struct Responses {
    double *sum;
    Moments *moments;
    uint64_t frames;
    float *values; /* of a trial [n frames] */
    size_t room;
} Responses;

static Status add_responses(const Recording *r, uint32_t trial, Responses *to, Err *err)
{
    TrialMap map;
    NPC_TRY(trial_map(&map, r, trial, err));
    ClipShape whole = {.size = map.valid, .step = 1};
    size_t elems = (size_t)r->n_neurons * map.valid;
    Status s = NPC_OK;
    if (elems > to->room) {
        free(to->values);
        to->values = malloc(elems * sizeof *to->values);
        to->room = to->values ? elems : 0;
    }
    if (elems && !to->values)
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory for mean responses", r->path);
    if (elems && s == NPC_OK)
        s = clip_target(&map, &whole, map.valid - 1, to->values, err);
    for (size_t i = 0; s == NPC_OK && i < elems; i++)
        to->sum[i / map.valid] += (double)to->values[i];
    for (size_t i = 0; s == NPC_OK && i < elems; i += map.valid) {
        Moments trial_moments = moments_of(to->values + i, (uint32_t)map.valid);
        moments_join(&to->moments[i / map.valid], &trial_moments);
    }
    to->frames += map.valid;
    trial_unmap(&map);
    return s;
}

static Status session_means(Arena *arena, const SamplerSession *train, Session *out, Err *err)
{
    uint32_t n = train->recording->n_neurons;
    Responses r = {.sum = ARENA_ARRAY(arena, double, n + 1),
                   .moments = ARENA_ARRAY(arena, Moments, n + 1)};
    float *mean = ARENA_ARRAY(arena, float, n + 1), *deviation = ARENA_ARRAY(arena, float, n + 1);
    Status s = NPC_OK;
    for (uint32_t i = 0; i < train->n_trials && s == NPC_OK; i++)
        s = add_responses(train->recording, train->trials[i], &r, err);
    free(r.values);
    for (uint32_t k = 0; k < n; k++) {
        moments_end(&r.moments[k]);
        mean[k] = r.frames ? (float)(r.sum[k] / (double)r.frames) : 0;
        deviation[k] = (float)r.moments[k].sd;
    }
    out->means = mean;
    out->deviations = deviation;
    return s;
}

Status dataset_means(Dataset *d, Arena *arena, const SamplerSession *train, Err *err)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (train[i].recording)
            NPC_TRY(session_means(arena, &train[i], &d->sessions[i], err));
    return NPC_OK;
}

/* ---- data against model ---- */

static const Node *find_input(const Module *m, const char *input)
{
    const Func *f = module_func(m, "eval");
    for (uint32_t i = 1; f && i < f->nodes.len; i++)
        if (f->nodes.at[i].op == OP_INPUT && !strcmp(f->nodes.at[i].attrs.name, input))
            return &f->nodes.at[i];
    return NULL;
}

const Shape *dataset_input_shape(const Module *m, const char *input)
{
    const Node *n = find_input(m, input);
    return n ? &n->shape : NULL;
}

static int64_t axis_size(const Shape *s, const char *axis)
{
    int i = s ? shape_axis(s, axis) : -1;
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

/* What is being compared. */
typedef struct Fit {
    const Dataset *d;
    const Module *m;
    const Recipe *r;
    const Recording *first; /* any recording that is there */
    ClipShape *clip;
} Fit;

static Status refuse(const Fit *f, const Node *input, const char *details, Err *err)
{
    Arena arena = {0};
    Text t = {.arena = &arena};
    const char *place = diag_place_text(f->m->diags, input->span);
    shape_text(&t, &input->shape);
    Status status = err_set(err, NPC_ERR_INPUT,
                            "%s%serror[E0410]: the data do not fit the model's input '%s: %s'%s",
                            place, *place ? ": " : "", input->attrs.name, text_str(&t), details);
    arena_free(&arena);
    return status;
}

/* Every recording's frames against h and w; the message names those that do not fit. */
static Status check_frames(const Fit *f, const Node *input, Err *err)
{
    const Dataset *d = f->d;
    const Recipe *r = f->r;
    int64_t h = axis_size(&input->shape, "h"), w = axis_size(&input->shape, "w");
    char text[1200] = "";
    int len = 0, n_bad = 0;
    uint32_t most_h = 0, most_w = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const Recording *one = d->recording[i];
        most_h = one && one->height > most_h ? one->height : most_h;
        most_w = one && one->width > most_w ? one->width : most_w;
        bool fits = !one || (r->pad_h || r->pad_w ? one->height <= h && one->width <= w
                                                  : one->height == h && one->width == w);
        if (fits || ++n_bad > LISTED)
            continue;
        len += snprintf(text + len, sizeof text - (size_t)len,
                        "\n  %.60s: %sh:%u w:%u], the model wants h:%lld w:%lld", one->name,
                        one->is_images ? "images are [" : "video is [t ", one->height, one->width,
                        (long long)h, (long long)w);
    }
    if (n_bad > LISTED)
        len += snprintf(text + len, sizeof text - (size_t)len, "\n  and %d more recordings",
                        n_bad - LISTED);
    if (most_h > h || most_w > w) /* zeros do not make anything smaller */
        snprintf(text + len, sizeof text - (size_t)len,
                 "\n  help: build the model for them: --set h=%lld --set w=%lld",
                 most_h > h ? (long long)most_h : (long long)h,
                 most_w > w ? (long long)most_w : (long long)w);
    else if (n_bad && !r->pad_h)
        snprintf(text + len, sizeof text - (size_t)len,
                 "\n  help: add  |> pad([h: %lld, w: %lld])  to 'data' in the recipe", (long long)h,
                 (long long)w);
    return n_bad ? refuse(f, input, text, err) : NPC_OK;
}

/* The axes that an input of the data has, in order. */
static const char *const *axes_of(ModelInput input, bool has_time)
{
    static const char *const clip[] = {"b", "c", "t", "h", "w", NULL};
    static const char *const image[] = {"b", "c", "h", "w", NULL};
    static const char *const values[] = {"b", "k", "t", NULL}, *const value[] = {"b", "k", NULL};
    if (input == INPUT_BEHAVIOR || input == INPUT_PUPIL)
        return has_time ? values : value;
    return input == INPUT_IMAGE ? image : clip;
}

static Status check_axes(const Fit *f, const Node *input, ModelInput kind, Err *err)
{
    const char *const *axes = axes_of(kind, !f->first || !f->first->is_images);
    char text[200];
    int len = snprintf(text, sizeof text, "\n  its axes are [");
    bool fits = true;
    int n = 0;
    for (; axes[n]; n++) {
        fits &= input->shape.rank > n && !strcmp(input->shape.name[n], axes[n]);
        len += snprintf(text + len, sizeof text - (size_t)len, "%s%s", n ? " " : "", axes[n]);
    }
    snprintf(text + len, sizeof text - (size_t)len, "], in this order");
    return fits && input->shape.rank == n ? NPC_OK : refuse(f, input, text, err);
}

/* Rows of a sample's block and frames against the input's sizes. */
static Status check_sizes(const Fit *f, const Node *input, ModelInput kind, Err *err)
{
    const Shape *s = &input->shape;
    const ClipShape *c = f->clip;
    int64_t rows = clip_block(c, kind).rows, t = shape_axis(s, "t") >= 0 ? axis_size(s, "t") : 1;
    bool is_values = kind == INPUT_BEHAVIOR || kind == INPUT_PUPIL;
    const char *axis = is_values ? "k" : "c";
    char text[300];
    snprintf(text, sizeof text, "\n  %s %lld %s per frame, the model wants %s:%lld",
             kind == INPUT_CLIP ? "the recipe takes" : "the recordings have", (long long)rows,
             is_values ? "values" : "channels", axis, (long long)axis_size(s, axis));
    if (rows != axis_size(s, axis))
        return refuse(f, input, text, err);
    snprintf(text, sizeof text, "\n  the recipe takes clips of %u frames, the model wants t:%lld",
             c->size, (long long)t);
    if (c->size != t)
        return refuse(f, input, text, err);
    if (is_values)
        return NPC_OK;
    const Recipe *r = f->r;
    snprintf(text, sizeof text, "\n  the recipe pads to h:%lld w:%lld", (long long)r->pad_h,
             (long long)r->pad_w);
    if ((r->pad_h || r->pad_w) && (r->pad_h != c->height || r->pad_w != c->width))
        return refuse(f, input, text, err);
    return check_frames(f, input, err);
}

/* Which of the model's inputs there are; none but those that data fill. */
static Status list_inputs(const Fit *f, Err *err)
{
    const Func *eval = module_func(f->m, "eval");
    for (uint32_t i = 1; eval && i < eval->nodes.len; i++) {
        const Node *n = &eval->nodes.at[i];
        ModelInput kind;
        if (n->op != OP_INPUT)
            continue;
        if (!input_find(n->attrs.name, &kind))
            return refuse(
                f, n, "\n  recordings fill the inputs clip, video, image, behavior and pupil", err);
        if (f->first && f->first->is_images != (kind == INPUT_IMAGE) && kind <= INPUT_IMAGE)
            return refuse(f, n,
                          f->first->is_images ? "\n  these are recordings of images, which fill "
                                                "image: [b c h w]"
                                              : "\n  these are recordings of films, which fill "
                                                "clip or video: [b c t h w]",
                          err);
        NPC_TRY(check_axes(f, n, kind, err));
        f->clip->inputs |= INPUT_BIT(kind);
        if (shape_axis(&n->shape, "h") >= 0) {
            f->clip->height = (uint32_t)axis_size(&n->shape, "h");
            f->clip->width = (uint32_t)axis_size(&n->shape, "w");
        }
    }
    if (!(f->clip->inputs &
          (INPUT_BIT(INPUT_CLIP) | INPUT_BIT(INPUT_VIDEO) | INPUT_BIT(INPUT_IMAGE))))
        return err_set(err, NPC_ERR_INPUT,
                       "the model '%s' has no input clip: [b c t h w], video: [b c t h w] or "
                       "image: [b c h w], which recordings fill",
                       f->m->model);
    return NPC_OK;
}

/* All recordings must be of one kind; *first is any of them. */
static Status check_kinds(const Dataset *d, const Recording **first, Err *err)
{
    *first = NULL;
    for (uint32_t i = 0; i < d->n; i++) {
        const Recording *r = d->recording[i];
        if (!r)
            continue;
        if (!*first)
            *first = r;
        if (r->is_images != (*first)->is_images || r->colours != (*first)->colours ||
            r->n_behaviors != (*first)->n_behaviors)
            return err_set(err, NPC_ERR_INPUT,
                           "%s: %s of %u colours with %u behaviour values; %s has %s of %u with "
                           "%u: one model takes recordings of one kind",
                           r->path, r->is_images ? "images" : "films", r->colours, r->n_behaviors,
                           (*first)->path, (*first)->is_images ? "images" : "films",
                           (*first)->colours, (*first)->n_behaviors);
    }
    return NPC_OK;
}

static uint32_t outputs_of(const Module *m, uint32_t size)
{
    const Func *f = module_func(m, "eval");
    const Result *r =
        m->sessions.len ? func_find_result(f, RESULT_OUTPUT, m->sessions.at[0].name) : NULL;
    return r ? (uint32_t)axis_size(func_shape(f, r->val), "t") : size;
}

Status dataset_clip_shape(const Dataset *d, const Module *m, const Recipe *r, int64_t frames,
                          int64_t every, ClipShape *out, Err *err)
{
    Fit f = {.d = d, .m = m, .r = r, .clip = out};
    NPC_TRY(check_kinds(d, &f.first, err));
    *out = (ClipShape){.size = (uint32_t)frames, .step = (uint32_t)every};
    if (f.first) {
        out->colours = f.first->colours;
        out->behaviors = f.first->n_behaviors;
        if (f.first->is_images)
            out->size = out->step = 1;
    }
    NPC_TRY(channels_of(r, &out->channels, err));
    if (r->pad_value != 0)
        return err_set(err, NPC_ERR_INPUT, "recipe: recordings are padded with 0, not with %g",
                       r->pad_value);
    NPC_TRY(list_inputs(&f, err));
    for (int i = 0; i < INPUT_COUNT; i++)
        if (clip_has(out, (ModelInput)i))
            NPC_TRY(check_sizes(&f, find_input(m, input_name((ModelInput)i)), (ModelInput)i, err));
    out->outputs = outputs_of(m, out->size);
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
