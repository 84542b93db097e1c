#include "runtime/feed.h"

#include "runtime/dataset.h"
#include "runtime/distill.h"
#include "runtime/train_state.h"

static float *input_of(const Feed *f, Arena *arena, const char *what, uint32_t session)
{
    return engine_input(f->engine, f->program,
                        arena_printf(arena, "%s/%s", what, f->sessions[session].name));
}

static void find_inputs(Feed *f, Arena *arena)
{
    uint32_t n = f->n_sessions;
    FeedInputs *in = &f->in;
    *in = (FeedInputs){.target = ARENA_ARRAY(arena, float *, n + 1),
                       .share = ARENA_ARRAY(arena, float *, n + 1),
                       .mean = ARENA_ARRAY(arena, float *, n + 1),
                       .scale = ARENA_ARRAY(arena, float *, n + 1),
                       .penalty_of = ARENA_ARRAY(arena, float *, n + 1),
                       .penalty = engine_input(f->engine, f->program, "penalty")};
    for (uint32_t i = 0; i < n; i++) {
        in->target[i] = input_of(f, arena, "target", i);
        in->share[i] = input_of(f, arena, "share", i);
        in->mean[i] = input_of(f, arena, "mean", i);
        in->scale[i] = input_of(f, arena, "scale", i);
        in->penalty_of[i] = input_of(f, arena, "penalty", i);
    }
}

static void note_frames(Feed *f, Arena *arena, const SamplerSession *sessions)
{
    f->frames = ARENA_ARRAY(arena, SampleFrame, f->n_sessions + 1);
    for (uint32_t i = 0; i < f->n_sessions; i++)
        f->frames[i] =
            (SampleFrame){sessions[i].recording->height, sessions[i].recording->width, NULL};
}

static void count_trials(Feed *f, Arena *arena, const SamplerSession *sessions)
{
    uint64_t sum = 0;
    f->counts = ARENA_ARRAY(arena, LossCounts, f->n_sessions + 1);
    for (uint32_t i = 0; i < f->n_sessions; i++)
        sum += sessions[i].n_trials;
    for (uint32_t i = 0; i < f->n_sessions; i++)
        f->counts[i] = (LossCounts){.full = (uint64_t)f->recipe->batch,
                                    .trials = sessions[i].n_trials,
                                    .all_trials = sessions[i].recording->n_trials,
                                    .sum_trials = sum,
                                    .recordings = f->n_sessions,
                                    .outputs = clip_outputs(&f->clip)};
}

Status feed_ready(Feed *f, Arena *arena, Model *m, int program, const ClipShape *clip,
                  const SamplerSession *sessions, Err *err)
{
    const Recipe *r = &m->info.recipe;
    *f = (Feed){.engine = m->engine,
                .program = program,
                .recipe = r,
                .clip = *clip,
                .sessions = m->module->sessions.at,
                .n_sessions = m->module->sessions.len,
                .batch = (uint32_t)m->batch,
                .chunks = loss_chunks(r, m->module->sessions.len)};
    find_inputs(f, arena);
    NPC_TRY(inputs_find(&f->in.inputs, f->engine, program, clip, err));
    bool ok = r->batch % f->batch == 0;
    for (uint32_t i = 0; i < f->n_sessions; i++)
        ok &=
            f->in.target[i] && (f->in.share[i] || (r->loss_weight == 0 && r->squares_weight == 0));
    if (!ok)
        return err_set(err, NPC_ERR_INTERNAL, "the training program lacks an input");
    f->weight = ARENA_ARRAY(arena, float, (size_t)f->batch * f->n_sessions + 1);
    f->ranges = ARENA_ARRAY(arena, SampleRange, f->n_sessions + 1);
    f->whole = ARENA_ARRAY(arena, SampleRange, f->n_sessions + 1);
    count_trials(f, arena, sessions);
    note_frames(f, arena, sessions);
    return NPC_OK;
}

void feed_start(Feed *f, Loader *loader, uint64_t step)
{
    f->loader = loader;
    f->step = step;
}

/* ---- filling a chunk ---- */

/* The clips of a chunk: `first`, first + stride, .. below `end`, of any recording or of one. */
typedef struct Chunk {
    uint32_t first, stride, end;
    uint32_t n; /* clips */
} Chunk;

static Chunk chunk_of(const Feed *f, const Batch *batch, uint32_t chunk)
{
    Chunk c = {.first = chunk, .stride = f->chunks, .end = batch->n};
    if (f->recipe->pick == RECIPE_PICK_ROUNDS) {
        c.stride = f->chunks / f->n_sessions;
        uint32_t m = chunk / c.stride;
        c.first = batch->first[m] + chunk % c.stride;
        c.end = batch->first[m] + batch->count[m];
    }
    c.n = c.first < c.end ? (c.end - c.first + c.stride - 1) / c.stride : 0;
    return c;
}

static void put(float *to, double x)
{
    if (to)
        *to = (float)x;
}

static void fill_clips(Feed *f, const Batch *batch, const Chunk *c)
{
    size_t elems = clip_input_elems(&f->clip);
    for (uint32_t k = 0; k < f->batch; k++) {
        size_t i = c->first + (size_t)(k % c->n) * c->stride;
        const Clip *clip = &batch->clips[i];
        SampleFrame frame = f->frames[clip->session];
        frame.box = clip->is_mixed ? &clip->box : NULL;
        inputs_put(&f->in.inputs, k, batch->x + i * elems, &frame);
        if (f->teacher)
            inputs_put(&f->teacher->inputs, k, batch->x + i * elems, &frame);
    }
}

/* Clip k of the chunk is sample k. */
static void fill_session(Feed *f, const Batch *batch, const Chunk *c, uint32_t m)
{
    size_t elems = clip_target_elems(&f->clip, (uint32_t)f->sessions[m].neurons);
    uint32_t begin = batch->first[m], end = begin + batch->count[m];
    SampleRange *range = &f->ranges[m];
    *range = (SampleRange){0, 0};
    for (uint32_t k = 0; k < f->batch; k++) {
        uint32_t i = c->first + k * c->stride;
        bool own = k < c->n && i >= begin && i < end;
        f->weight[(size_t)k * f->n_sessions + m] = own;
        if (!own)
            continue;
        if (!range->count++)
            range->first = k;
        memcpy(f->in.target[m] + k * elems, batch->target[m] + (i - begin) * elems,
               elems * sizeof(float));
    }
}

static Status ask_teacher(Feed *f, Err *err)
{
    Teacher *t = f->teacher;
    Engine *e = t->model->engine;
    NPC_TRY(engine_run(e, t->program, NULL, err));
    for (uint32_t m = 0; m < f->n_sessions; m++) {
        NPC_TRY(engine_read(e, t->program, RESULT_OUTPUT, f->sessions[m].name, t->prediction, err));
        distill_fill(f->in.target[m], t->prediction, f->weight + m, f->n_sessions, f->batch,
                     clip_target_elems(&f->clip, (uint32_t)f->sessions[m].neurons));
    }
    distill_fill_weights(f->weight, (size_t)f->batch * f->n_sessions, t->ratio);
    return NPC_OK;
}

/* Weights become shares. Weights that a teacher gave are shared out as they are. */
static void fill_shares(Feed *f)
{
    if (f->recipe->loss_scale == RECIPE_SCALE_SHARE)
        weights_normalise(f->weight, (size_t)f->batch * f->n_sessions, f->weight);
    for (uint32_t m = 0; m < f->n_sessions; m++)
        for (uint32_t k = 0; k < f->batch && f->in.share[m]; k++)
            f->in.share[m][k] = f->weight[(size_t)k * f->n_sessions + m];
}

/* Inputs of the loss of a recording; the samples of its range are here. */
static double fill_factors(Feed *f, const Batch *batch, uint32_t m)
{
    const SampleRange *range = &f->ranges[m];
    LossCounts *c = &f->counts[m];
    c->here = (uint64_t)range->count;
    c->batch = batch->count[m];
    LossFactors x = loss_factors(f->recipe, c);
    for (uint32_t k = 0; k < f->batch; k++) {
        bool own = k >= range->first && k < range->first + range->count;
        if (f->recipe->loss_scale != RECIPE_SCALE_SHARE)
            f->weight[(size_t)k * f->n_sessions + m] = own ? (float)x.scale : 0;
        if (f->in.mean[m])
            f->in.mean[m][k] = own ? (float)x.mean : 0;
    }
    put(f->in.scale[m], x.scale);
    put(f->in.penalty_of[m], x.penalty);
    return x.penalty;
}

static Status fill(Feed *f, const Batch *batch, const Chunk *c, Err *err)
{
    fill_clips(f, batch, c);
    for (uint32_t m = 0; m < f->n_sessions; m++)
        fill_session(f, batch, c, m);
    uint64_t here = 0;
    double penalty = 0;
    for (uint32_t m = 0; m < f->n_sessions; m++)
        here += (uint64_t)f->ranges[m].count;
    for (uint32_t m = 0; m < f->n_sessions; m++) {
        f->counts[m].chunk = here;
        penalty += fill_factors(f, batch, m);
    }
    put(f->in.penalty, penalty);
    if (f->teacher)
        NPC_TRY(ask_teacher(f, err));
    fill_shares(f);
    return NPC_OK;
}

/* ---- one chunk after the other ---- */

static Status take_batch(Feed *f, Err *err)
{
    NPC_TRY(loader_next(f->loader, &f->from, err));
    if (!f->from)
        return err_set(err, NPC_ERR_INTERNAL, "the loader ended before the recipe");
    f->chunk = 0;
    return NPC_OK;
}

static void finish_batch(Feed *f)
{
    loader_give_back(f->loader, f->from);
    f->from = NULL;
    f->step++;
}

static Status fill_next(Feed *f, Err *err)
{
    if (!f->from)
        NPC_TRY(take_batch(f, err));
    const Batch *b = f->from;
    Chunk c = chunk_of(f, b, f->chunk);
    f->n_clips = c.n;
    for (uint32_t m = 0; m < f->n_sessions; m++)
        f->whole[m] = (SampleRange){b->first[m], b->count[m]};
    if (c.n) {
        NPC_TRY(fill(f, b, &c, err));
        engine_draw_masks(f->engine, f->program, f->recipe->seed, f->step * f->chunks + f->chunk);
        for (uint32_t m = 0; f->teacher && m < f->n_sessions; m++) /* it has targets for everyone */
            f->ranges[m] = (SampleRange){0, f->batch};
        NPC_TRY(engine_send(f->engine, f->program, f->ranges, err));
    }
    if (++f->chunk == f->chunks)
        finish_batch(f);
    f->is_filled = true;
    return NPC_OK;
}

Status feed_chunk(Feed *f, Err *err)
{
    if (!f->is_filled)
        NPC_TRY(fill_next(f, err));
    f->is_filled = false;
    return NPC_OK;
}

void feed_ahead(Feed *f)
{
    Err again = {0};
    if (!f->is_filled)
        fill_next(f, &again);
}

/* ---- the teacher ---- */

/* Does the teacher take the same inputs? */
static Status compare_inputs(Arena *arena, const Module *its, const Module *ours,
                             const ClipShape *clip, const char *run_dir, Err *err)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        const char *name = input_name((ModelInput)i);
        const Shape *a = dataset_input_shape(its, name), *b = dataset_input_shape(ours, name);
        Text left = {.arena = arena}, right = {.arena = arena};
        if (!clip_has(clip, (ModelInput)i) ? !a : a && shape_equal(a, b))
            continue;
        text_add(&left, a ? "" : "no");
        text_add(&right, b ? "" : "no");
        if (a)
            shape_text(&left, a);
        if (b)
            shape_text(&right, b);
        return err_set(err, NPC_ERR_INPUT, "%s: the teacher takes %s %s, this model %s", run_dir,
                       text_str(&left), i == INPUT_CLIP ? "clips" : name, text_str(&right));
    }
    return NPC_OK;
}

static size_t largest_output(const Module *m, size_t batch, size_t frames)
{
    int64_t most = 0;
    for (uint32_t i = 0; i < m->sessions.len; i++)
        most = m->sessions.at[i].neurons > most ? m->sessions.at[i].neurons : most;
    return batch * frames * (size_t)most;
}

Status teacher_open(Teacher *t, Arena *arena, const ModelOptions *options, const char *run_dir,
                    const Model *student, const ClipShape *clip, double ratio, Err *err)
{
    *t = (Teacher){.ratio = ratio};
    ModelOptions o = *options;
    o.path = arena_printf(arena, "%s/model.nm", run_dir);
    o.batch = student->batch;
    /* only the student's recordings: the teacher's other readouts are not needed */
    o.sessions = student->module->sessions.at;
    o.n_sessions = (int)student->module->sessions.len;
    NPC_TRY(model_open(&t->model, &o, err));
    NPC_TRY(compare_inputs(arena, t->model->module, student->module, clip, run_dir, err));
    NPC_TRY(model_add(t->model, PROGRAM_EVAL, &t->program, err));
    inputs_plan(t->model->engine, t->program, clip);
    NPC_TRY(model_ready(t->model, err));
    NPC_TRY(weights_load(t->model, run_dir, WEIGHTS_AVERAGE, NULL, NULL, NULL, NULL, err));
    NPC_TRY(inputs_find(&t->inputs, t->model->engine, t->program, clip, err));
    t->prediction = ARENA_ARRAY(
        arena, float, largest_output(t->model->module, (size_t)o.batch, clip_outputs(clip)));
    return NPC_OK;
}

void teacher_close(Teacher *t)
{
    if (t)
        model_close(t->model);
}
