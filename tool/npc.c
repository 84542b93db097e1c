#include "tool/npc.h"
#include "runtime/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/cost.h"
#include "runtime/predict.h"
#include "runtime/score.h"
#include "runtime/train.h"
#include "runtime/train_state.h"
#include "verify/verify.h"

struct NpcModel {
    Model *model;
    int program;
    SampleRange *ranges; /* [recordings] */
};

static _Thread_local Err last;

const char *npc_version(void)
{
    return NPC_VERSION;
}

const char *npc_error(void)
{
    return last.text;
}

static int finish(Status status, const Err *err)
{
    last = (Err){0};
    if (status != NPC_OK)
        last = *err;
    return status_exit_code(status);
}

/* ---- models ---- */

static Status fuse_level(const char *text, FuseLevel *out, Err *err)
{
    *out = FUSE_FULL;
    if (text && !fuse_level_find(text, out))
        return err_set(err, NPC_ERR_USAGE, "fuse: expected full, elementwise or none, found '%s'",
                       text);
    return NPC_OK;
}

static Status open_model(NpcModel *m, const char *path, const NpcModelOptions *o, Err *err)
{
    ModelOptions options = {.path = path,
                            .model = o->model,
                            .recipe = o->recipe,
                            .sets = o->sets,
                            .n_sets = o->n_sets,
                            .batch = o->batch,
                            .cpu = o->cpu,
                            .device = o->device ? o->device : "auto",
                            .precision = o->precision,
                            .threads = o->threads,
                            .interpret = o->interpret,
                            .no_cache = o->no_cache};
    if (o->batch < 0 || o->batch > 4096)
        return err_set(err, NPC_ERR_USAGE, "batch: expected 1 to 4096, found %lld",
                       (long long)o->batch);
    NPC_TRY(fuse_level(o->fuse, &options.fuse, err));
    NPC_TRY(model_open(&m->model, &options, err));
    NPC_TRY(model_add(m->model, PROGRAM_EVAL, &m->program, err));
    NPC_TRY(model_ready(m->model, err));
    m->ranges = calloc(m->model->module->sessions.len + 1, sizeof *m->ranges);
    return m->ranges ? NPC_OK : err_set(err, NPC_ERR_MEMORY, "not enough memory");
}

int npc_compile(NpcModel **out, const char *path, const NpcModelOptions *options)
{
    static const NpcModelOptions none;
    Err err = {0};
    NpcModel *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return finish(err_set(&err, NPC_ERR_MEMORY, "not enough memory"), &err);
    Status s = open_model(m, path, options ? options : &none, &err);
    if (s == NPC_OK)
        *out = m;
    else
        npc_free(m);
    return finish(s, &err);
}

void npc_free(NpcModel *model)
{
    if (!model)
        return;
    model_close(model->model);
    free(model->ranges);
    free(model);
}

const char *npc_model_name(const NpcModel *model)
{
    return model->model->module->model;
}

const char *npc_model_source(const NpcModel *model)
{
    return model->model->info.resolved;
}

int64_t npc_model_parameters(const NpcModel *model)
{
    int64_t elems;
    model_n_parameters(model->model, &elems);
    return elems;
}

int64_t npc_model_multiply_adds(const NpcModel *model)
{
    return cost_multiply_adds(model->model, -1);
}

int64_t npc_model_batch(const NpcModel *model)
{
    return model->model->batch;
}

int npc_model_recordings(const NpcModel *model)
{
    return (int)model->model->module->sessions.len;
}

static bool has_recording(const NpcModel *model, int i)
{
    return i >= 0 && i < npc_model_recordings(model);
}

const char *npc_recording_name(const NpcModel *model, int i)
{
    return has_recording(model, i) ? model->model->module->sessions.at[i].name : NULL;
}

int64_t npc_recording_neurons(const NpcModel *model, int i)
{
    return has_recording(model, i) ? model->model->module->sessions.at[i].neurons : 0;
}

void npc_initialise(NpcModel *model, uint64_t seed)
{
    model_initialise(model->model, seed);
}

int npc_load(NpcModel *model, const char *run_dir, const char *weights)
{
    Err err = {0};
    WeightsKind kind;
    if (!weights_find(weights, &kind))
        return finish(err_set(&err, NPC_ERR_USAGE,
                              "weights: expected average, raw or best, found '%s'", weights),
                      &err);
    Status s = weights_load(model->model, run_dir, kind, NULL, NULL, NULL, NULL, &err);
    engine_tensors_changed(model->model->engine);
    return finish(s, &err);
}

/* ---- predicting a batch ---- */

/* Elements of an input as the model declares it; 0: it has none of that name. */
static int64_t input_elems(const NpcModel *model, ModelInput input)
{
    const Shape *s = dataset_input_shape(model->model->module, input_name(input));
    return s ? shape_elems(s) : 0;
}

int64_t npc_clip_elems(const NpcModel *model)
{
    int64_t n = 0;
    for (int i = 0; i < INPUT_COUNT; i++)
        n += input_elems(model, (ModelInput)i);
    return n;
}

int64_t npc_response_elems(const NpcModel *model, int i)
{
    const Plan *plan = engine_plan(model->model->engine, model->program);
    if (!has_recording(model, i))
        return 0;
    const Result *r = func_find_result(plan->f, RESULT_OUTPUT, npc_recording_name(model, i));
    return r ? shape_elems(func_shape(plan->f, r->val)) : 0;
}

int npc_predict_batch(NpcModel *model, int i, const float *clip, float *responses)
{
    Err err = {0};
    Engine *e = model->model->engine;
    if (!has_recording(model, i))
        return finish(err_set(&err, NPC_ERR_USAGE, "there is no recording %d; the model has %d", i,
                              npc_model_recordings(model)),
                      &err);
    for (int k = 0; k < INPUT_COUNT; k++) {
        size_t n = (size_t)input_elems(model, (ModelInput)k);
        float *input = n ? engine_input(e, model->program, input_name((ModelInput)k)) : NULL;
        if (input)
            memcpy(input, clip, n * sizeof *clip);
        clip += n;
    }
    model->ranges[i] = (SampleRange){0, model->model->batch};
    Status s = engine_run(e, model->program, model->ranges, &err);
    model->ranges[i] = (SampleRange){0};
    if (s == NPC_OK)
        s = engine_read(e, model->program, RESULT_OUTPUT, npc_recording_name(model, i), responses,
                        &err);
    return finish(s, &err);
}

/* ---- whole jobs ---- */

static RunMachine machine_of(const NpcJob *job)
{
    return (RunMachine){.threads = job->threads,
                        .device = job->device ? job->device : "auto",
                        .precision = job->precision,
                        .fuse = FUSE_FULL,
                        .interpret = job->interpret,
                        .progress = job->quiet ? PROGRESS_QUIET : PROGRESS_AUTO};
}

int npc_train(const char *path, const char *run_dir, const NpcJob *job, NpcTraining *out)
{
    Err err = {0};
    TrainResult result;
    TrainOptions o = {.model_path = path,
                      .run_dir = run_dir,
                      .data = job->data,
                      .resume = job->resume,
                      .model = job->model,
                      .recipe = job->recipe,
                      .sets = job->sets,
                      .n_sets = job->n_sets,
                      .machine = machine_of(job)};
    Status s = train_run(&o, &result, &err);
    if (s == NPC_OK && out)
        *out = (NpcTraining){result.step, result.total, result.loss, result.score, result.best};
    return finish(s, &err);
}

int npc_predict(const char *run_dir, const NpcJob *job)
{
    Err err = {0};
    PredictOptions o = {.run_dir = run_dir,
                        .data = job->data,
                        .weights = WEIGHTS_AVERAGE,
                        .machine = machine_of(job)};
    return finish(predict_run(&o, &err), &err);
}

int npc_score(const char *run_dir, const NpcJob *job)
{
    Err err = {0};
    ScoreOptions o = {.run_dir = run_dir, .data = job->data, .machine = machine_of(job)};
    return finish(score_run(&o, &err), &err);
}

int npc_verify(const char *path, const char *case_path, const NpcModelOptions *options)
{
    static const NpcModelOptions none;
    const NpcModelOptions *given = options ? options : &none;
    Err err = {0};
    VerifyReport report = {0};
    VerifyOptions o = {.cpu = given->cpu,
                       .device = given->device ? given->device : "auto",
                       .precision = given->precision,
                       .threads = given->threads,
                       .interpret = given->interpret,
                       .no_cache = given->no_cache};
    Status s = fuse_level(given->fuse, &o.fuse, &err);
    if (s == NPC_OK)
        s = verify_case(&o, path, case_path, &report, &err);
    verify_report_free(&report);
    return finish(s, &err);
}
