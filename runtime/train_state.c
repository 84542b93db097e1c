#include "runtime/train_state.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/base/text.h"

static bool is_gradient(const char *name)
{
    return !strncmp(name, "grad/", 5);
}

/* What is known of gradients, as against weights and their averages. */
static bool is_optimizers(const char *name)
{
    return !strncmp(name, "adam_", 5) || !strcmp(name, "norms");
}

static const uint64_t *sizes_of(Arena *arena, const Shape *s)
{
    uint64_t *out = ARENA_ARRAY(arena, uint64_t, s->rank + 1);
    for (int i = 0; i < s->rank; i++)
        out[i] = (uint64_t)s->size[i];
    return out;
}

static void add_tensor(TrainState *s, Arena *arena, const Model *m, const Param *p)
{
    float *data = engine_tensor(m->engine, p->name);
    const uint64_t *shape = sizes_of(arena, &p->shape);
    s->entry[s->n] = (SafetensorsEntry){.name = p->name,
                                        .dtype = SAFETENSORS_F32,
                                        .rank = (uint32_t)p->shape.rank,
                                        .shape = shape,
                                        .data = data};
    s->target[s->n++] =
        (CheckpointTarget){p->name, SAFETENSORS_F32, (uint32_t)p->shape.rank, shape, data};
    if (!strncmp(p->name, "ema/", 4))
        s->average[s->n_average++] = (AveragePair){engine_tensor(m->engine, p->name + 4), data,
                                                   (size_t)shape_elems(&p->shape)};
}

static void add_norms(TrainState *s, Arena *arena, uint64_t steps)
{
    uint64_t *shape = ARENA_ARRAY(arena, uint64_t, 1);
    *shape = steps;
    norms_init(&s->norms, arena, steps);
    s->entry[s->n] = (SafetensorsEntry){
        .name = "norms", .dtype = SAFETENSORS_F32, .rank = 1, .shape = shape, .data = s->norms.at};
    s->target[s->n++] = (CheckpointTarget){"norms", SAFETENSORS_F32, 1, shape, s->norms.at};
}

void train_state_init(TrainState *s, Arena *arena, const Model *m, uint64_t steps)
{
    const Module *module = m->module;
    uint32_t n = module->params.len;
    *s = (TrainState){.validated = UINT64_MAX,
                      .score = NAN,
                      .best = NAN,
                      .loss = NAN,
                      .scale = loss_scale_first(),
                      .engine = m->engine,
                      .sessions = module->sessions.at,
                      .n_sessions = module->sessions.len,
                      .updates = ARENA_ARRAY(arena, uint64_t, module->sessions.len + 1),
                      .entry = ARENA_ARRAY(arena, SafetensorsEntry, n + 2),
                      .target = ARENA_ARRAY(arena, CheckpointTarget, n + 2),
                      .weights = ARENA_ARRAY(arena, CheckpointTarget, n + 2),
                      .average = ARENA_ARRAY(arena, AveragePair, n + 1)};
    for (uint32_t i = 0; i < n; i++)
        if (!is_gradient(module->params.at[i].name)) /* sums start afresh with every step */
            add_tensor(s, arena, m, &module->params.at[i]);
    if (m->info.recipe.clip_percentile > 0)
        add_norms(s, arena, steps);
    for (size_t i = 0; i < s->n; i++) {
        s->weights[i] = s->target[i];
        if (is_optimizers(s->weights[i].name))
            s->weights[i].data = NULL;
    }
}

/* ---- the counters as text ---- */

static void put_number(json_t *o, const char *key, double x)
{
    json_object_set_new(o, key, isfinite(x) ? json_real(x) : json_null());
}

static double get_number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void put_plateau(json_t *state, const Plateau *p)
{
    json_t *o = json_object();
    put_number(o, "rate", p->rate);
    put_number(o, "best", p->best);
    json_object_set_new(o, "waited", json_integer((json_int_t)p->waited));
    json_object_set_new(o, "reduced", json_integer((json_int_t)p->reduced));
    json_object_set_new(o, "ended", json_boolean(p->ended));
    put_number(o, "kept", p->kept);
    json_object_set_new(o, "kept_waited", json_integer((json_int_t)p->kept_waited));
    json_object_set_new(o, "restored", json_integer((json_int_t)p->restored));
    json_object_set_new(state, "plateau", o);
}

static bool get_plateau(const json_t *state, Plateau *p)
{
    const json_t *o = json_object_get(state, "plateau");
    json_int_t waited = json_integer_value(json_object_get(o, "waited"));
    json_int_t reduced = json_integer_value(json_object_get(o, "reduced"));
    json_int_t kept_waited = json_integer_value(json_object_get(o, "kept_waited"));
    json_int_t restored = json_integer_value(json_object_get(o, "restored"));
    bool has_kept = json_object_get(o, "kept"); /* not in states from before there was one */
    *p = (Plateau){.rate = get_number(o, "rate"),
                   .best = get_number(o, "best"),
                   .waited = (uint64_t)waited,
                   .reduced = (uint64_t)reduced,
                   .kept = get_number(o, has_kept ? "kept" : "best"),
                   .kept_waited = (uint64_t)kept_waited,
                   .restored = (uint64_t)restored,
                   .ended = json_is_true(json_object_get(o, "ended"))};
    return waited >= 0 && reduced >= 0 && kept_waited >= 0 && restored >= 0 && isfinite(p->rate) &&
           isfinite(p->best) && isfinite(p->kept);
}

/* Freed by the caller; NULL when memory ends. */
static char *counters_text(const TrainState *s)
{
    json_t *o = json_object(), *updates = json_object();
    if (s->validated != UINT64_MAX)
        json_object_set_new(o, "validated", json_integer((json_int_t)s->validated));
    put_number(o, "score", s->score);
    put_number(o, "best", s->best);
    put_number(o, "loss", s->loss);
    for (uint32_t i = 0; i < s->n_sessions; i++)
        json_object_set_new(updates, s->sessions[i].name, json_integer((json_int_t)s->updates[i]));
    json_object_set_new(o, "updates", updates);
    put_number(o, "loss_scale", (double)s->scale.scale);
    json_object_set_new(o, "good_steps", json_integer((json_int_t)s->scale.good_steps));
    json_object_set_new(o, "skipped", json_integer((json_int_t)s->skipped));
    put_number(o, "largest_rate", s->free.largest);
    put_number(o, "rate_squares", s->free.sum);
    put_plateau(o, &s->plateau);
    json_object_set_new(o, "norms", json_integer((json_int_t)s->norms.n));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

static bool read_counters(TrainState *s, const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    const json_t *updates = json_object_get(o, "updates");
    const json_t *validated = json_object_get(o, "validated");
    bool ok = json_is_object(updates);
    for (uint32_t i = 0; i < s->n_sessions && ok; i++) {
        const json_t *k = json_object_get(updates, s->sessions[i].name);
        ok = json_is_integer(k) && json_integer_value(k) >= 0;
        s->updates[i] = ok ? (uint64_t)json_integer_value(k) : 0;
    }
    s->validated =
        json_is_integer(validated) ? (uint64_t)json_integer_value(validated) : UINT64_MAX;
    s->score = get_number(o, "score");
    s->best = get_number(o, "best");
    s->loss = get_number(o, "loss");
    if (json_object_get(o, "loss_scale")) { /* else from before there was one */
        json_int_t good = json_integer_value(json_object_get(o, "good_steps"));
        json_int_t skipped = json_integer_value(json_object_get(o, "skipped"));
        s->scale = (LossScale){(float)get_number(o, "loss_scale"), good};
        s->skipped = (uint64_t)skipped;
        ok &= s->scale.scale > 0 && good >= 0 && skipped >= 0 && (uint64_t)skipped <= s->step;
    }
    if (json_object_get(o, "norms")) { /* else from before there were any */
        json_int_t n = json_integer_value(json_object_get(o, "norms"));
        s->free = (ScheduleFree){get_number(o, "largest_rate"), get_number(o, "rate_squares")};
        ok &= n >= 0 && (uint64_t)n <= s->norms.room && isfinite(s->free.largest + s->free.sum);
        norms_restore(&s->norms, ok ? (uint64_t)n : 0);
        ok &= get_plateau(o, &s->plateau);
    }
    json_decref(o);
    return ok;
}

/* ---- checkpoints ---- */

Status train_state_save(const TrainState *s, const char *folder, const char *model_hash,
                        bool counts_as_best, uint32_t keep_last, Err *err)
{
    NPC_TRY(engine_fetch(s->engine, err));
    char *text = counters_text(s);
    if (!text)
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to save", folder);
    CheckpointInfo info = {.step = s->step,
                           .score = counts_as_best ? s->score : NAN,
                           .model_hash = model_hash,
                           .state = text};
    Status status = checkpoint_save(folder, &info, s->entry, s->n, keep_last, err);
    free(text);
    return status;
}

Status train_state_restore(TrainState *s, const char *folder, const char *model_hash,
                           CheckpointWarn warn, void *user, Err *err)
{
    Checkpoint c;
    NPC_TRY(checkpoint_open_newest(&c, folder, warn, user, err));
    Status status = checkpoint_restore(&c, model_hash, s->target, s->n, err);
    s->step = c.info.step;
    if (status == NPC_OK && !read_counters(s, c.info.state))
        status = err_set(err, NPC_ERR_INPUT, "%s: its counters do not fit the model's recordings",
                         c.file.path);
    checkpoint_close(&c);
    engine_tensors_changed(s->engine);
    return status;
}

Status train_state_reload_best(TrainState *s, const char *folder, const char *model_hash,
                               uint64_t *step, Err *err)
{
    char path[4200];
    Checkpoint c;
    *step = UINT64_MAX;
    snprintf(path, sizeof path, "%s/best.safetensors", folder);
    if (!file_exists(path))
        return NPC_OK;
    NPC_TRY(checkpoint_open(&c, path, err));
    Status status = engine_fetch(s->engine, err);
    status = status == NPC_OK ? checkpoint_restore(&c, model_hash, s->weights, s->n, err) : status;
    *step = c.info.step;
    checkpoint_close(&c);
    engine_tensors_changed(s->engine);
    return status;
}

static void exchange(float *a, float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

Status train_state_swap_average(TrainState *s, Err *err)
{
    if (!s->n_average)
        return NPC_OK;
    NPC_TRY(engine_fetch(s->engine, err));
    for (size_t i = 0; i < s->n_average; i++)
        exchange(s->average[i].value, s->average[i].average, s->average[i].elems);
    engine_tensors_changed(s->engine);
    return NPC_OK;
}

/* ---- weights for prediction ---- */

bool weights_find(const char *text, WeightsKind *out)
{
    static const char *const names[] = {"average", "raw", "best"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, names[i])) {
            *out = (WeightsKind)i;
            return true;
        }
    return false;
}

static bool has_shape(const SafetensorsEntry *e, const Shape *s)
{
    if (e->dtype != SAFETENSORS_F32 || e->rank != (uint32_t)s->rank)
        return false;
    for (int i = 0; i < s->rank; i++)
        if (e->shape[i] != (uint64_t)s->size[i])
            return false;
    return true;
}

static Status copy_weights(Model *m, const Checkpoint *c, bool average, Err *err)
{
    char name[600];
    for (uint32_t i = 0; i < m->module->params.len; i++) {
        const Param *p = &m->module->params.at[i];
        snprintf(name, sizeof name, "ema/%s", p->name);
        const SafetensorsEntry *e = average ? safetensors_find(&c->file, name) : NULL;
        if (!e)
            e = safetensors_find(&c->file, p->name);
        if (!e || !has_shape(e, &p->shape))
            return err_set(err, NPC_ERR_INPUT, "%s: a checkpoint of another model: %s is %s",
                           c->file.path, p->name, e ? "of another shape" : "missing");
        memcpy(engine_tensor(m->engine, p->name), e->data, e->bytes);
    }
    engine_tensors_changed(m->engine);
    return NPC_OK;
}

Status weights_load(Model *m, const char *run_dir, WeightsKind kind, const char *model_hash,
                    uint64_t *step, CheckpointWarn warn, void *user, Err *err)
{
    char folder[4096], best[4200];
    Checkpoint c;
    if ((size_t)snprintf(folder, sizeof folder, "%s/checkpoints", run_dir) >= sizeof folder)
        return err_set(err, NPC_ERR_INPUT, "%.200s...: the name is too long", run_dir);
    snprintf(best, sizeof best, "%s/best.safetensors", folder);
    if (kind == WEIGHTS_BEST)
        NPC_TRY(checkpoint_open(&c, best, err));
    else
        NPC_TRY(checkpoint_open_newest(&c, folder, warn, user, err));
    Status s = NPC_OK;
    if (model_hash && strcmp(model_hash, c.info.model_hash))
        s = err_set(err, NPC_ERR_INPUT,
                    "%s: belongs to model %.64s; model.nm beside it is %.64s: it was changed",
                    c.file.path, c.info.model_hash, model_hash);
    if (s == NPC_OK)
        s = copy_weights(m, &c, kind != WEIGHTS_RAW, err);
    if (step)
        *step = c.info.step;
    checkpoint_close(&c);
    return s;
}
