#include "runtime/validate.h"

#include <math.h>

#include "runtime/dataset.h"

/* Sums over frames of one neuron. Values are counted from the first ones, so that the variance of a
 * constant trace is exactly 0. */
struct NeuronSums {
    double a0, b0; /* first prediction and response */
    double a, b, aa, bb, ab;
};

static Status list_clips(Validation *v, Arena *arena, const SamplerSession *sessions, uint32_t n,
                         Err *err)
{
    return sampler_validation(sessions, n, &v->sampler.clip, arena, &v->clips, &v->n_clips, err);
}

Status validation_open(Validation *v, Arena *arena, Model *m, int program,
                       const SamplerSession *sessions, const ClipShape *clip, uint32_t threads,
                       Err *err)
{
    const Shape *in = dataset_input_shape(m->module, "clip");
    uint32_t n = m->module->sessions.len, most = 0;
    *v = (Validation){.engine = m->engine,
                      .program = program,
                      .recipe = &m->info.recipe,
                      .sampler = {.batch = (uint32_t)in->size[shape_axis(in, "b")],
                                  .clip = *clip,
                                  .sessions = sessions,
                                  .n_sessions = n},
                      .input = engine_input(m->engine, program, "clip"),
                      .ranges = ARENA_ARRAY(arena, SampleRange, n + 1),
                      .sums = ARENA_ARRAY(arena, NeuronSums *, n + 1),
                      .frames = ARENA_ARRAY(arena, uint64_t, n + 1),
                      .score = ARENA_ARRAY(arena, double, n + 1),
                      .mean = NAN,
                      .loss = NAN};
    if (!v->input)
        return err_set(err, NPC_ERR_INTERNAL, "the evaluation program has no input");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t neurons = sessions[i].recording->n_neurons;
        v->sums[i] = ARENA_ARRAY(arena, NeuronSums, neurons + 1);
        v->score[i] = NAN;
        most = neurons > most ? neurons : most;
    }
    v->out = ARENA_ARRAY(arena, float, (size_t)v->sampler.batch *clip_target_elems(clip, most) + 1);
    NPC_TRY(list_clips(v, arena, sessions, n, err));
    v->config = (LoaderConfig){.sampler = &v->sampler,
                               .clips = v->clips,
                               .n_clips = v->n_clips,
                               .threads = threads,
                               .depth = 2,
                               .cache_bytes = 0};
    return NPC_OK;
}

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

static Status add_session(Validation *v, const Batch *batch, uint32_t m, double *total, Err *err)
{
    uint32_t size = v->sampler.clip.size, n = v->sampler.sessions[m].recording->n_neurons;
    double loss = 0;
    NPC_TRY(engine_read(v->engine, v->program, RESULT_OUTPUT,
                        engine_module(v->engine)->sessions.at[m].name, v->out, err));
    for (uint32_t i = 0; i < batch->count[m]; i++) {
        const float *a = v->out + (size_t)(batch->first[m] + i) * n * size;
        const float *b = batch->target[m] + (size_t)i * n * size;
        for (uint32_t k = 0; k < n; k++)
            loss += add_frames(&v->sums[m][k], v->frames[m] == 0, a + (size_t)k * size,
                               b + (size_t)k * size, size, v->recipe->loss_eps);
        v->frames[m] += size;
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
    for (uint32_t m = 0; m < v->sampler.n_sessions; m++) {
        uint32_t n = v->sampler.sessions[m].recording->n_neurons;
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

static Status evaluate(Validation *v, const Batch *batch, double *loss, Err *err)
{
    memcpy(v->input, batch->x,
           v->sampler.batch * clip_input_elems(&v->sampler.clip) * sizeof *batch->x);
    for (uint32_t m = 0; m < v->sampler.n_sessions; m++)
        v->ranges[m] = (SampleRange){batch->first[m], batch->count[m]};
    NPC_TRY(engine_run(v->engine, v->program, v->ranges, err));
    for (uint32_t m = 0; m < v->sampler.n_sessions; m++)
        if (batch->count[m])
            NPC_TRY(add_session(v, batch, m, loss, err));
    return NPC_OK;
}

Status validation_run(Validation *v, bool (*stop)(void), bool *stopped, Err *err)
{
    Loader *loader;
    Batch *batch;
    double loss = 0;
    *stopped = false;
    if (!v->n_clips)
        return NPC_OK;
    for (uint32_t m = 0; m < v->sampler.n_sessions; m++)
        v->frames[m] = 0;
    NPC_TRY(loader_open(&loader, &v->config, err));
    Status s;
    while ((s = loader_next(loader, &batch, err)) == NPC_OK && batch) {
        s = evaluate(v, batch, &loss, err);
        loader_give_back(loader, batch);
        *stopped = stop && stop();
        if (*stopped || s != NPC_OK)
            break;
    }
    loader_close(loader);
    if (s == NPC_OK && !*stopped)
        finish(v, loss);
    return s;
}
