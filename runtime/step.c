#include "runtime/step.h"

#include <math.h>

Status stepper_add(Stepper *s, Model *m, const ClipShape *clip, Err *err)
{
    *s = (Stepper){.recipe = &m->info.recipe, .update = -1, .average = -1};
    s->chunks = loss_chunks(s->recipe, m->module->sessions.len);
    s->chunk_factor = loss_chunk_factor(s->recipe, m->module->sessions.len);
    const Recipe *r = s->recipe;
    /* an update that waits for all gradients is a program of its own */
    bool is_cut = s->chunks > 1 || r->absent == RECIPE_ABSENT_ZERO || r->clip_norm > 0 ||
                  r->clip_percentile > 0;
    NPC_TRY(model_add(m, is_cut ? PROGRAM_ACCUMULATE : PROGRAM_STEP, &s->program, err));
    inputs_plan(m->engine, s->program, clip);
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

static void find_factors(const Stepper *s, Arena *arena, int program, StepFactors *in)
{
    uint32_t n = s->n_sessions;
    *in = (StepFactors){.rate = input_of(s, arena, program, "rate", -1),
                        .bias1 = input_of(s, arena, program, "bias1", -1),
                        .bias2 = input_of(s, arena, program, "bias2", -1),
                        .mix = input_of(s, arena, program, "mix", -1),
                        .limit = input_of(s, arena, program, "limit", -1),
                        .loss_scale = input_of(s, arena, program, "loss_scale", -1),
                        .bias1_of = ARENA_ARRAY(arena, float *, n + 1),
                        .bias2_of = ARENA_ARRAY(arena, float *, n + 1)};
    for (uint32_t i = 0; i < n; i++) {
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

Status stepper_ready(Stepper *s, Arena *arena, Model *m, const ClipShape *clip,
                     const SamplerSession *sessions, Err *err)
{
    s->engine = m->engine;
    s->sessions = m->module->sessions.at;
    s->n_sessions = m->module->sessions.len;
    NPC_TRY(feed_ready(&s->feed, arena, m, s->program, clip, sessions, err));
    find_factors(s, arena, s->program, &s->in);
    if (s->update >= 0)
        find_factors(s, arena, s->update, &s->in_update);
    s->whole = ARENA_ARRAY(arena, SampleRange, s->n_sessions + 1);
    find_sums(s, arena, m->module);
    return NPC_OK;
}

/* ---- running ---- */

static void put(float *to, double x)
{
    if (to)
        *to = (float)x;
}

static float norm_limit(const Recipe *r, const TrainState *state)
{
    return r->clip_norm > 0 ? (float)r->clip_norm
                            : norms_percentile(&state->norms, r->clip_percentile);
}

/* Update k of each readout and of the rest; a readout without a sample is not updated, and nothing
 * in a step that was skipped. `free`: the optimizer's state if this step is none of these. */
static void put_factors(const Stepper *s, const StepFactors *in, const TrainState *state,
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

/* The chunk behind it is on its way when its loss is waited for. */
static Status run_chunk(Stepper *s, float *loss, Err *err)
{
    *loss = 0;
    if (!s->feed.n_clips)
        return NPC_OK;
    NPC_TRY(engine_run(s->engine, s->program, s->feed.ranges, err));
    feed_ahead(&s->feed);
    return engine_read(s->engine, s->program, RESULT_LOSS, "loss", loss, err);
}

/* What the step updates: recordings that are there, or all. */
static void note_samples(Stepper *s)
{
    bool all = s->feed.teacher || s->recipe->absent == RECIPE_ABSENT_ZERO;
    for (uint32_t m = 0; m < s->n_sessions; m++)
        s->whole[m] = all ? (SampleRange){0, s->recipe->batch} : s->feed.whole[m];
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

Status stepper_run(Stepper *s, TrainState *state, double rate, Err *err)
{
    double loss = 0;
    bool updated;
    ScheduleFree free;
    for (size_t i = 0; i < s->n_sums; i++)
        NPC_TRY(engine_zero(s->engine, s->sums[i], err));
    put_factors(s, s->update < 0 ? &s->in : &s->in_update, state, rate, &free);
    put(s->in.loss_scale, (double)state->scale.scale);
    put(s->in_update.loss_scale, (double)state->scale.scale);
    for (uint32_t chunk = 0; chunk < s->chunks; chunk++) {
        float part = NAN;
        NPC_TRY(feed_chunk(&s->feed, err));
        if (chunk == 0)
            note_samples(s);
        NPC_TRY(run_chunk(s, &part, err));
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
