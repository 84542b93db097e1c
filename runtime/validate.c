#include "runtime/validate.h"

#include <math.h>

#include "runtime/dataset.h"

/* Sums over frames of one neuron. Values are counted from the first ones, so that the variance of a
 * constant trace is exactly 0. */
struct NeuronSums {
    double a0, b0; /* first prediction and response */
    double a, b, aa, bb, ab;
};

/* ---- which clips ---- */

/* Whole trials of one length, in order of session. */
static Status list_whole(ValidationPart *part, Arena *arena, const Length *l, Err *err)
{
    VEC(Clip) clips = {0};
    for (uint32_t m = 0; m < part->sampler.n_sessions; m++) {
        const SamplerSession *s = &part->sampler.sessions[m];
        for (uint32_t i = 0; i < s->n_trials; i++) {
            uint32_t frames;
            NPC_TRY(recording_valid_frames(s->recording, s->trials[i], &frames, err));
            Clip clip = {.session = m, .trial = s->trials[i], .end = frames - 1};
            if (frames == l->frames)
                vec_push(arena, &clips, clip);
        }
    }
    part->clips = clips.at;
    part->n_clips = clips.len;
    return NPC_OK;
}

static Status open_part(Validation *v, ValidationPart *part, Arena *arena, const Length *l,
                        bool is_whole, uint32_t threads, Err *err)
{
    uint32_t burn_in = (uint32_t)v->recipe->burn_in, lead = l->clip.size - clip_outputs(&l->clip);
    *part = (ValidationPart){.program = l->program,
                             .sampler = {.batch = l->batch,
                                         .clip = l->clip,
                                         .sessions = v->sessions,
                                         .n_sessions = v->n_sessions},
                             .skipped = is_whole && burn_in > lead ? burn_in - lead : 0};
    NPC_TRY(inputs_find(&part->inputs, v->engine, l->program, &l->clip, err));
    if (is_whole)
        NPC_TRY(list_whole(part, arena, l, err));
    else
        NPC_TRY(sampler_validation(v->sessions, v->n_sessions, &l->clip, arena, &part->clips,
                                   &part->n_clips, err));
    part->config = (LoaderConfig){.sampler = &part->sampler,
                                  .clips = part->clips,
                                  .n_clips = part->n_clips,
                                  .threads = threads,
                                  .depth = 2};
    v->n_clips += part->n_clips;
    return NPC_OK;
}

Status validation_open(Validation *v, Arena *arena, Model *m, int program,
                       const SamplerSession *sessions, const ClipShape *clip,
                       const Lengths *lengths, uint32_t threads, Err *err)
{
    uint32_t n = m->module->sessions.len, most = 0;
    size_t elems = 0;
    Lengths single;
    *v = (Validation){.engine = m->engine,
                      .recipe = &m->info.recipe,
                      .sessions = sessions,
                      .n_sessions = n,
                      .ranges = ARENA_ARRAY(arena, SampleRange, n + 1),
                      .sums = ARENA_ARRAY(arena, NeuronSums *, n + 1),
                      .frames = ARENA_ARRAY(arena, uint64_t, n + 1),
                      .score = ARENA_ARRAY(arena, double, n + 1),
                      .mean = NAN,
                      .loss = NAN};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t neurons = sessions[i].recording->n_neurons;
        v->sums[i] = ARENA_ARRAY(arena, NeuronSums, neurons + 1);
        v->score[i] = NAN;
        most = neurons > most ? neurons : most;
    }
    bool is_whole = lengths != NULL;
    if (!is_whole) {
        lengths_single(&single, arena, m, program, clip);
        lengths = &single;
    }
    v->part = ARENA_ARRAY(arena, ValidationPart, (size_t)lengths->n + 1);
    for (uint32_t i = 0; i < lengths->n; i++) {
        const Length *l = &lengths->at[i];
        size_t here = l->batch * clip_target_elems(&l->clip, most);
        elems = here > elems ? here : elems;
        NPC_TRY(open_part(v, &v->part[v->n_parts++], arena, l, is_whole, threads, err));
    }
    v->out = ARENA_ARRAY(arena, float, elems + 1);
    return NPC_OK;
}

/* ---- sums ---- */

/* One neuron's frames of one clip. Returns their loss. */
static double add_frames(NeuronSums *s, bool is_first, const float *a, const float *b, uint32_t n,
                         double eps)
{
    double loss = 0;
    if (is_first)
        *s = (NeuronSums){.a0 = (double)a[0], .b0 = (double)b[0]};
    for (uint32_t i = 0; i < n; i++) {
        double x = (double)a[i] - s->a0, y = (double)b[i] - s->b0;
        s->a += x;
        s->b += y;
        s->aa += x * x;
        s->bb += y * y;
        s->ab += x * y;
        loss += (double)a[i] - (double)b[i] * log((double)a[i] + eps);
    }
    return loss;
}

static Status add_session(Validation *v, const ValidationPart *part, const Batch *batch, uint32_t m,
                          double *total, Err *err)
{
    uint32_t size = clip_outputs(&part->sampler.clip), n = v->sessions[m].recording->n_neurons;
    double loss = 0;
    NPC_TRY(engine_read(v->engine, part->program, RESULT_OUTPUT,
                        engine_module(v->engine)->sessions.at[m].name, v->out, err));
    for (uint32_t i = 0; i < batch->count[m] && part->skipped < size; i++) {
        const float *a = v->out + (size_t)(batch->first[m] + i) * n * size + part->skipped;
        const float *b = batch->target[m] + (size_t)i * n * size + part->skipped;
        for (uint32_t k = 0; k < n; k++)
            loss += add_frames(&v->sums[m][k], v->frames[m] == 0, a + (size_t)k * size,
                               b + (size_t)k * size, size - part->skipped, v->recipe->loss_eps);
        v->frames[m] += size - part->skipped;
    }
    *total += loss;
    return NPC_OK;
}

static double correlation(const NeuronSums *s, double n)
{
    double mean_a = s->a / n, mean_b = s->b / n;
    double var_a = s->aa / n - mean_a * mean_a, var_b = s->bb / n - mean_b * mean_b;
    double sd_a = sqrt(var_a > 0 ? var_a : 0) + 1e-8, sd_b = sqrt(var_b > 0 ? var_b : 0) + 1e-8;
    double r = (s->ab / n - mean_a * mean_b) / (sd_a * sd_b);
    return isnan(r) ? 0 : r;
}

static void finish(Validation *v, double loss)
{
    double total = 0;
    uint32_t n_scored = 0;
    for (uint32_t m = 0; m < v->n_sessions; m++) {
        uint32_t n = v->sessions[m].recording->n_neurons;
        double sum = 0;
        v->score[m] = NAN;
        if (!v->frames[m])
            continue;
        for (uint32_t k = 0; k < n; k++)
            sum += correlation(&v->sums[m][k], (double)v->frames[m]);
        v->score[m] = sum / n;
        total += v->score[m];
        n_scored++;
    }
    v->mean = n_scored ? total / n_scored : NAN;
    v->loss = v->n_clips && !isnan(loss) ? loss / v->n_clips : NAN; /* never -NaN in texts */
}

static Status evaluate(Validation *v, const ValidationPart *part, const Batch *batch, double *loss,
                       Err *err)
{
    size_t elems = clip_input_elems(&part->sampler.clip);
    for (uint32_t i = 0; i < part->sampler.batch; i++)
        inputs_put(&part->inputs, i, batch->x + i * elems, NULL);
    for (uint32_t m = 0; m < v->n_sessions; m++)
        v->ranges[m] = (SampleRange){batch->first[m], batch->count[m]};
    NPC_TRY(engine_run(v->engine, part->program, v->ranges, err));
    for (uint32_t m = 0; m < v->n_sessions; m++)
        if (batch->count[m])
            NPC_TRY(add_session(v, part, batch, m, loss, err));
    return NPC_OK;
}

static Status run_part(Validation *v, ValidationPart *part, bool (*stop)(void), bool *stopped,
                       double *loss, Err *err)
{
    Loader *loader;
    Batch *batch;
    NPC_TRY(loader_open(&loader, &part->config, err));
    Status s;
    while ((s = loader_next(loader, &batch, err)) == NPC_OK && batch) {
        s = evaluate(v, part, batch, loss, err);
        loader_give_back(loader, batch);
        *stopped = stop && stop();
        if (*stopped || s != NPC_OK)
            break;
    }
    loader_close(loader);
    return s;
}

Status validation_run(Validation *v, bool (*stop)(void), bool *stopped, Err *err)
{
    double loss = 0;
    *stopped = false;
    if (!v->n_clips)
        return NPC_OK;
    for (uint32_t m = 0; m < v->n_sessions; m++)
        v->frames[m] = 0;
    for (uint32_t i = 0; i < v->n_parts && !*stopped; i++)
        if (v->part[i].n_clips)
            NPC_TRY(run_part(v, &v->part[i], stop, stopped, &loss, err));
    if (!*stopped)
        finish(v, loss);
    return NPC_OK;
}
