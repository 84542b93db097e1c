#include "runtime/step.h"

#include <math.h>

#include "runtime/dataset.h"
#include "runtime/distill.h"

Status stepper_add(Stepper *s, Model *m, Err *err)
{
    *s = (Stepper){.recipe = &m->info.recipe, .update = -1, .average = -1};
    s->chunks = loss_chunks(s->recipe, m->module->sessions.len);
    s->chunk_factor = loss_chunk_factor(s->recipe, m->module->sessions.len);
    const Recipe *r = s->recipe;
    /* an update that waits for all gradients is a program of its own */
    bool is_cut = s->chunks > 1 || r->absent == RECIPE_ABSENT_ZERO || r->clip_norm > 0 ||
                  r->clip_percentile > 0;
    NPC_TRY(model_add(m, is_cut ? PROGRAM_ACCUMULATE : PROGRAM_STEP, &s->program, err));
    if (is_cut)
        NPC_TRY(model_add(m, PROGRAM_UPDATE, &s->update, err));
    if (r->ema > 0 || r->schedule_free)
        NPC_TRY(model_add(m, PROGRAM_AVERAGE, &s->average, err));
    return NPC_OK;
}

static float *input_of(const Stepper *s, Arena *arena, int program, const char *what, int session)
{
    const char *name =
        session < 0 ? what : arena_printf(arena, "%s/%s", what, s->sessions[session].name);
    return engine_input(s->engine, program, name);
}

static void find_inputs(const Stepper *s, Arena *arena, int program, StepInputs *in)
{
    uint32_t n = s->n_sessions;
    *in = (StepInputs){.target = ARENA_ARRAY(arena, float *, n + 1),
                       .share = ARENA_ARRAY(arena, float *, n + 1),
                       .mean = ARENA_ARRAY(arena, float *, n + 1),
                       .scale = ARENA_ARRAY(arena, float *, n + 1),
                       .penalty_of = ARENA_ARRAY(arena, float *, n + 1),
                       .penalty = input_of(s, arena, program, "penalty", -1),
                       .rate = input_of(s, arena, program, "rate", -1),
                       .bias1 = input_of(s, arena, program, "bias1", -1),
                       .bias2 = input_of(s, arena, program, "bias2", -1),
                       .mix = input_of(s, arena, program, "mix", -1),
                       .limit = input_of(s, arena, program, "limit", -1),
                       .loss_scale = input_of(s, arena, program, "loss_scale", -1),
                       .bias1_of = ARENA_ARRAY(arena, float *, n + 1),
                       .bias2_of = ARENA_ARRAY(arena, float *, n + 1)};
    for (uint32_t i = 0; i < n; i++) {
        in->target[i] = input_of(s, arena, program, "target", (int)i);
        in->share[i] = input_of(s, arena, program, "share", (int)i);
        in->mean[i] = input_of(s, arena, program, "mean", (int)i);
        in->scale[i] = input_of(s, arena, program, "scale", (int)i);
        in->penalty_of[i] = input_of(s, arena, program, "penalty", (int)i);
        in->bias1_of[i] = input_of(s, arena, program, "bias1", (int)i);
        in->bias2_of[i] = input_of(s, arena, program, "bias2", (int)i);
    }
}

static void find_sums(Stepper *s, Arena *arena, const Module *module)
{
    s->sums = ARENA_ARRAY(arena, const char *, module->params.len + 1);
    for (uint32_t i = 0; i < module->params.len; i++)
        if (!strncmp(module->params.at[i].name, "grad/", 5))
            s->sums[s->n_sums++] = module->params.at[i].name;
}

static void count_trials(Stepper *s, Arena *arena, const SamplerSession *sessions)
{
    uint64_t sum = 0;
    s->counts = ARENA_ARRAY(arena, LossCounts, s->n_sessions + 1);
    for (uint32_t i = 0; i < s->n_sessions; i++)
        sum += sessions[i].n_trials;
    for (uint32_t i = 0; i < s->n_sessions; i++)
        s->counts[i] = (LossCounts){.full = (uint64_t)s->recipe->batch,
                                    .trials = sessions[i].n_trials,
                                    .all_trials = sessions[i].recording->n_trials,
                                    .sum_trials = sum,
                                    .recordings = s->n_sessions,
                                    .outputs = clip_outputs(&s->clip)};
}

Status stepper_ready(Stepper *s, Arena *arena, Model *m, const ClipShape *clip,
                     const SamplerSession *sessions, Err *err)
{
    s->engine = m->engine;
    s->clip = *clip;
    s->sessions = m->module->sessions.at;
    s->n_sessions = m->module->sessions.len;
    s->batch = (uint32_t)m->batch;
    find_inputs(s, arena, s->program, &s->in);
    if (s->update >= 0)
        find_inputs(s, arena, s->update, &s->in_update);
    NPC_TRY(inputs_find(&s->in.inputs, s->engine, s->program, clip, err));
    bool ok = true;
    for (uint32_t i = 0; i < s->n_sessions; i++)
        ok &= s->in.target[i] &&
              (s->in.share[i] || (s->recipe->loss_weight == 0 && s->recipe->squares_weight == 0));
    if (!ok || s->recipe->batch % s->batch)
        return err_set(err, NPC_ERR_INTERNAL, "the training program lacks an input");
    s->weight = ARENA_ARRAY(arena, float, (size_t)s->batch * s->n_sessions + 1);
    s->ranges = ARENA_ARRAY(arena, SampleRange, s->n_sessions + 1);
    s->whole = ARENA_ARRAY(arena, SampleRange, s->n_sessions + 1);
    s->all = ARENA_ARRAY(arena, SampleRange, s->n_sessions + 1);
    for (uint32_t i = 0; i < s->n_sessions; i++)
        s->all[i] = (SampleRange){0, s->batch};
    count_trials(s, arena, sessions);
    find_sums(s, arena, m->module);
    return NPC_OK;
}

/* ---- filling a chunk ---- */

/* The clips of a chunk: `first`, first + stride, .. below `end`, of any recording or of one. */
typedef struct Chunk {
    uint32_t first, stride, end;
    uint32_t n; /* clips */
} Chunk;

static Chunk chunk_of(const Stepper *s, const Batch *batch, uint32_t chunk)
{
    Chunk c = {.first = chunk, .stride = s->chunks, .end = batch->n};
    if (s->recipe->pick == RECIPE_PICK_ROUNDS) {
        c.stride = s->chunks / s->n_sessions;
        uint32_t m = chunk / c.stride;
        c.first = batch->first[m] + chunk % c.stride;
        c.end = batch->first[m] + batch->count[m];
    }
    c.n = c.first < c.end ? (c.end - c.first + c.stride - 1) / c.stride : 0;
    return c;
}

static void fill_clips(Stepper *s, const Batch *batch, const Chunk *c)
{
    size_t elems = clip_input_elems(&s->clip);
    for (uint32_t k = 0; k < s->batch; k++) {
        const float *x = batch->x + (c->first + (size_t)(k % c->n) * c->stride) * elems;
        inputs_put(&s->in.inputs, k, x);
        if (s->teacher)
            inputs_put(&s->teacher->inputs, k, x);
    }
}

/* Clip k of the chunk is sample k. */
static void fill_session(Stepper *s, const Batch *batch, const Chunk *c, uint32_t m)
{
    size_t elems = clip_target_elems(&s->clip, (uint32_t)s->sessions[m].neurons);
    uint32_t begin = batch->first[m], end = begin + batch->count[m];
    SampleRange *range = &s->ranges[m];
    *range = (SampleRange){0, 0};
    for (uint32_t k = 0; k < s->batch; k++) {
        uint32_t i = c->first + k * c->stride;
        bool own = k < c->n && i >= begin && i < end;
        s->weight[(size_t)k * s->n_sessions + m] = own;
        if (!own)
            continue;
        if (!range->count++)
            range->first = k;
        memcpy(s->in.target[m] + k * elems, batch->target[m] + (i - begin) * elems,
               elems * sizeof(float));
    }
}

static Status ask_teacher(Stepper *s, Err *err)
{
    Teacher *t = s->teacher;
    Engine *e = t->model->engine;
    NPC_TRY(engine_run(e, t->program, NULL, err));
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        NPC_TRY(engine_read(e, t->program, RESULT_OUTPUT, s->sessions[m].name, t->prediction, err));
        distill_fill(s->in.target[m], t->prediction, s->weight + m, s->n_sessions, s->batch,
                     clip_target_elems(&s->clip, (uint32_t)s->sessions[m].neurons));
    }
    distill_fill_weights(s->weight, (size_t)s->batch * s->n_sessions, t->ratio);
    return NPC_OK;
}

/* Weights become shares. Weights that a teacher gave are shared out as they are. */
static void fill_shares(Stepper *s)
{
    if (s->recipe->loss_scale == RECIPE_SCALE_SHARE)
        weights_normalise(s->weight, (size_t)s->batch * s->n_sessions, s->weight);
    for (uint32_t m = 0; m < s->n_sessions; m++)
        for (uint32_t k = 0; k < s->batch && s->in.share[m]; k++)
            s->in.share[m][k] = s->weight[(size_t)k * s->n_sessions + m];
}

static void put(float *to, double x)
{
    if (to)
        *to = (float)x;
}

/* Inputs of the loss of a recording; the samples of its range are here. */
static double fill_factors(Stepper *s, const Batch *batch, uint32_t m)
{
    const SampleRange *range = &s->ranges[m];
    LossCounts *c = &s->counts[m];
    c->here = (uint64_t)range->count;
    c->batch = batch->count[m];
    LossFactors f = loss_factors(s->recipe, c);
    for (uint32_t k = 0; k < s->batch; k++) {
        bool own = k >= range->first && k < range->first + range->count;
        if (s->recipe->loss_scale != RECIPE_SCALE_SHARE)
            s->weight[(size_t)k * s->n_sessions + m] = own ? (float)f.scale : 0;
        if (s->in.mean[m])
            s->in.mean[m][k] = own ? (float)f.mean : 0;
    }
    put(s->in.scale[m], f.scale);
    put(s->in.penalty_of[m], f.penalty);
    return f.penalty;
}

static Status fill(Stepper *s, const Batch *batch, const Chunk *c, Err *err)
{
    fill_clips(s, batch, c);
    for (uint32_t m = 0; m < s->n_sessions; m++)
        fill_session(s, batch, c, m);
    uint64_t here = 0;
    double penalty = 0;
    for (uint32_t m = 0; m < s->n_sessions; m++)
        here += (uint64_t)s->ranges[m].count;
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        s->counts[m].chunk = here;
        penalty += fill_factors(s, batch, m);
    }
    put(s->in.penalty, penalty);
    if (s->teacher)
        NPC_TRY(ask_teacher(s, err));
    fill_shares(s);
    return NPC_OK;
}

/* ---- running ---- */

static float norm_limit(const Recipe *r, const TrainState *state)
{
    return r->clip_norm > 0 ? (float)r->clip_norm
                            : norms_percentile(&state->norms, r->clip_percentile);
}

/* Update k of each readout and of the rest; a readout without a sample is not updated, and nothing
 * in a step that was skipped. `free`: the optimizer's state if this step is none of these. */
static void put_factors(const Stepper *s, const StepInputs *in, const TrainState *state,
                        double rate, ScheduleFree *free)
{
    const Recipe *r = s->recipe;
    uint64_t done = state->step - state->skipped;
    double k = (double)(done + 1);
    *free = state->free;
    if (r->schedule_free) {
        ScheduleFreeStep step = schedule_free_step(free, rate, done, (uint64_t)r->warmup);
        put(in->mix, step.mix);
        rate = step.rate;
    }
    put(in->rate, rate);
    put(in->limit, (double)norm_limit(r, state));
    put(in->bias1, 1 - pow(r->beta1, k));
    put(in->bias2, 1 - pow(r->beta2, k));
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        k = (double)(state->updates[m] + 1);
        put(in->bias1_of[m], 1 - pow(r->beta1, k));
        put(in->bias2_of[m], 1 - pow(r->beta2, k));
    }
}

static Status run_chunk(Stepper *s, const Batch *batch, uint32_t chunk, uint64_t draw, float *loss,
                        Err *err)
{
    Chunk c = chunk_of(s, batch, chunk);
    *loss = 0;
    if (!c.n)
        return NPC_OK;
    NPC_TRY(fill(s, batch, &c, err));
    engine_draw_masks(s->engine, s->program, s->recipe->seed, draw * s->chunks + chunk);
    NPC_TRY(engine_run(s->engine, s->program, s->teacher ? s->all : s->ranges, err));
    return engine_read(s->engine, s->program, RESULT_LOSS, "loss", loss, err);
}

/* The norm that the update found joins those before. */
static Status record_norm(Stepper *s, TrainState *state, Err *err)
{
    float norm;
    if (!state->norms.room)
        return NPC_OK;
    NPC_TRY(engine_read(s->engine, s->update, RESULT_OUTPUT, "norm", &norm, err));
    norms_add(&state->norms, norm);
    return NPC_OK;
}

Status stepper_average(Stepper *s, Err *err)
{
    return s->recipe->schedule_free ? engine_run(s->engine, s->average, NULL, err) : NPC_OK;
}

/* Did the step update anything? Chooses the next scale of the loss. */
static Status finish_update(Stepper *s, TrainState *state, bool *updated, Err *err)
{
    float finite = 1;
    if (s->in.loss_scale) {
        int program = s->update >= 0 ? s->update : s->program;
        NPC_TRY(engine_read(s->engine, program, RESULT_OUTPUT, "finite", &finite, err));
        loss_scale_step(&state->scale, finite > 0);
    }
    *updated = finite > 0;
    return NPC_OK;
}

Status stepper_run(Stepper *s, TrainState *state, const Batch *batch, double rate, Err *err)
{
    double loss = 0;
    bool updated, all = s->teacher || s->recipe->absent == RECIPE_ABSENT_ZERO;
    ScheduleFree free;
    for (uint32_t m = 0; m < s->n_sessions; m++)
        s->whole[m] = all ? (SampleRange){0, s->recipe->batch}
                          : (SampleRange){batch->first[m], batch->count[m]};
    for (size_t i = 0; i < s->n_sums; i++)
        NPC_TRY(engine_zero(s->engine, s->sums[i], err));
    put_factors(s, s->update < 0 ? &s->in : &s->in_update, state, rate, &free);
    put(s->in.loss_scale, (double)state->scale.scale);
    put(s->in_update.loss_scale, (double)state->scale.scale);
    for (uint32_t chunk = 0; chunk < s->chunks; chunk++) {
        float part = NAN;
        NPC_TRY(run_chunk(s, batch, chunk, state->step, &part, err));
        loss += (double)part * s->chunk_factor;
    }
    if (s->update >= 0)
        NPC_TRY(engine_run(s->engine, s->update, s->whole, err));
    if (s->recipe->ema > 0)
        NPC_TRY(engine_run(s->engine, s->average, NULL, err));
    NPC_TRY(finish_update(s, state, &updated, err));
    if (updated) {
        state->free = free;
        NPC_TRY(record_norm(s, state, err));
    }
    for (uint32_t m = 0; m < s->n_sessions; m++)
        state->updates[m] += updated && s->whole[m].count > 0;
    state->skipped += !updated;
    state->step++;
    state->loss = loss;
    return NPC_OK;
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
