#include "runtime/average.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/dataset.h"
#include "data/npy_write.h"

enum { TEXT_LIMIT = 16 << 20 };

typedef struct Average {
    const AverageOptions *o;
    FILE *out;
    Arena arena;
    RunDir dir;
    const char **path;               /* [runs] absolute */
    const char *data, *model, *text; /* of the first run; text: its model.nm */
    const Session *sessions;
    uint32_t n_sessions;
    RecipeResponses responses;
    uint64_t done, total;
    Progress progress;
} Average;

/* ---- do the runs fit together? ---- */

static Status absolute(Average *a, int i, Err *err)
{
    char path[PATH_MAX];
    if (!realpath(a->o->runs[i], path))
        return err_set(err, NPC_ERR_INPUT, "%s: no such run directory", a->o->runs[i]);
    a->path[i] = arena_strdup(&a->arena, path);
    for (int k = 0; k < i; k++)
        if (!strcmp(a->path[k], a->path[i]))
            return err_set(err, NPC_ERR_USAGE, "%s: stands twice among the runs", a->o->runs[i]);
    return NPC_OK;
}

static void take_first(Average *a, const Model *m)
{
    Session *s = ARENA_ARRAY(&a->arena, Session, m->module->sessions.len + 1);
    a->n_sessions = m->module->sessions.len;
    for (uint32_t i = 0; i < a->n_sessions; i++) {
        const Session *from = &m->module->sessions.at[i];
        s[i] = (Session){.name = arena_strdup(&a->arena, from->name), .neurons = from->neurons};
    }
    a->sessions = s;
    a->model = arena_strdup(&a->arena, m->module->model);
    a->responses = m->info.recipe.responses;
}

static Status compare_sessions(const Average *a, const Model *m, const char *run, Err *err)
{
    const Module *module = m->module;
    if (module->sessions.len != a->n_sessions)
        return err_set(err, NPC_ERR_INPUT, "%s: predicts %u recordings, %s predicts %u", run,
                       module->sessions.len, a->o->runs[0], a->n_sessions);
    for (uint32_t i = 0; i < a->n_sessions; i++) {
        const Session *one = &a->sessions[i], *other = NULL;
        for (uint32_t k = 0; k < a->n_sessions; k++)
            if (!strcmp(module->sessions.at[k].name, one->name))
                other = &module->sessions.at[k];
        if (!other)
            return err_set(err, NPC_ERR_INPUT, "%s: does not predict the recording %s, %s does",
                           run, one->name, a->o->runs[0]);
        if (other->neurons != one->neurons)
            return err_set(err, NPC_ERR_INPUT, "%s: %s has %lld neurons there, in %s %lld", run,
                           one->name, (long long)other->neurons, a->o->runs[0],
                           (long long)one->neurons);
    }
    return NPC_OK;
}

static Status compare_model(Average *a, const Model *m, int i, Err *err)
{
    if (!i) {
        take_first(a, m);
        return NPC_OK;
    }
    NPC_TRY(compare_sessions(a, m, a->o->runs[i], err));
    if (m->info.recipe.responses != a->responses)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: its recipe scales responses otherwise than that of %s: predictions of "
                       "different units have no mean",
                       a->o->runs[i], a->o->runs[0]);
    return NPC_OK;
}

static Status read_run(Average *a, int i, Err *err)
{
    RunDir dir;
    Model *m = NULL;
    char path[4096], *text;
    const char *data;
    size_t len;
    NPC_TRY(absolute(a, i, err));
    NPC_TRY(run_dir_open(&dir, a->o->runs[i], RUN_DIR_READ, err));
    NPC_TRY(run_dir_get(&dir, &a->arena, "model.nm", TEXT_LIMIT, &text, &len, err));
    NPC_TRY(run_dir_path(&dir, "model.nm", path, sizeof path, err));
    if (!a->o->predict.data) {
        NPC_TRY(run_data_folder(&dir, &a->arena, &data, err));
        if (i && strcmp(data, a->data))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: was trained on %s, %s on %s; name the recordings with --data",
                           a->o->runs[i], data, a->o->runs[0], a->data);
        a->data = data;
    }
    a->text = i ? a->text : text;
    ModelOptions o = machine_model_options(&a->o->predict.machine, path);
    o.device = NULL; /* nothing runs */
    o.precision = NULL;
    Status s = model_open(&m, &o, err);
    s = s == NPC_OK ? compare_model(a, m, i, err) : s;
    model_close(m);
    return s;
}

/* ---- the folder of the mean ---- */

static const char *facts(Average *a)
{
    const RunMachine *m = &a->o->predict.machine;
    char data[PATH_MAX];
    RunFacts f = {.argc = m->argc,
                  .argv = m->argv,
                  .model = a->model,
                  .model_hash = text_hash(&a->arena, a->text),
                  .data = realpath(a->data, data) ? data : a->data,
                  .version = NPC_VERSION,
                  .averages = a->path,
                  .n_averages = a->o->n_runs};
    return run_dir_facts_text(&a->arena, &f);
}

static bool is_of_these(const Average *a, const char *run_json)
{
    json_t *o = json_loads(run_json, 0, NULL);
    const json_t *all = json_object_get(o, "averages");
    bool same = (int)json_array_size(all) == a->o->n_runs;
    for (int i = 0; i < a->o->n_runs && same; i++) {
        const char *path = json_string_value(json_array_get(all, (size_t)i));
        same = path && !strcmp(path, a->path[i]);
    }
    json_decref(o);
    return same;
}

static Status open_out(Average *a, Err *err)
{
    char *text;
    size_t len;
    if (!run_dir_is_run(a->o->out)) {
        NPC_TRY(run_dir_create(&a->dir, a->o->out, facts(a), err));
        return run_dir_put(&a->dir, "model.nm", a->text, err);
    }
    NPC_TRY(run_dir_open(&a->dir, a->o->out, RUN_DIR_WRITE, err));
    NPC_TRY(run_dir_get(&a->dir, &a->arena, "run.json", 1 << 20, &text, &len, err));
    return is_of_these(a, text)
               ? NPC_OK
               : err_set(err, NPC_ERR_INPUT,
                         "%s: is another run than the mean of these; name another folder with "
                         "--run",
                         a->o->out);
}

/* ---- means ---- */

static Status open_predictions(const Average *a, const char *name, const Recording *r, Npy *one,
                               uint64_t *frames, Err *err)
{
    char path[4600], shape[200];
    *frames = UINT64_MAX;
    for (int i = 0; i < a->o->n_runs; i++) {
        snprintf(path, sizeof path, "%s/%s", a->path[i], name);
        NPC_TRY(npy_open(&one[i], path, err));
        const NpyHeader *h = &one[i].head;
        if (h->rank != 2 || h->shape[0] != r->n_neurons || !npy_is_number(h))
            return err_set(err, NPC_ERR_INPUT, "%s: holds %s; expected (%u, frames)", path,
                           npy_shape_text(h, shape), r->n_neurons);
        *frames = h->shape[1] < *frames ? h->shape[1] : *frames;
    }
    return NPC_OK;
}

/* out [neurons frames]: of each prediction the last `frames`. */
static void add_up(const Average *a, const Npy *one, uint32_t neurons, uint64_t frames, float *out)
{
    for (uint64_t k = 0; k < neurons; k++)
        for (uint64_t t = 0; t < frames; t++) {
            double sum = 0;
            for (int i = 0; i < a->o->n_runs; i++) {
                const NpyHeader *h = &one[i].head;
                uint64_t at = h->shape[1] - frames + t;
                sum += npy_double(&one[i], k * h->stride[0] + at * h->stride[1]);
            }
            out[k * frames + t] = (float)(sum / a->o->n_runs);
        }
}

static Status average_trial(Average *a, const Recording *r, const char *name, Err *err)
{
    Arena scratch = {.exhausted = a->arena.exhausted};
    Npy *one = ARENA_ARRAY(&scratch, Npy, (size_t)a->o->n_runs);
    char path[4300];
    uint64_t frames;
    Status s = open_predictions(a, name, r, one, &frames, err);
    if (s == NPC_OK) {
        size_t shape[2] = {r->n_neurons, (size_t)frames};
        float *mean = ARENA_ARRAY(&scratch, float, shape[0] * shape[1] + 1);
        add_up(a, one, r->n_neurons, frames, mean);
        s = run_dir_path(&a->dir, name, path, sizeof path, err);
        s = s == NPC_OK ? npy_write(path, NPY_WRITE_F4, mean, shape, 2, err) : s;
    }
    for (int i = 0; i < a->o->n_runs; i++)
        npy_close(&one[i]);
    arena_free(&scratch);
    a->done += s == NPC_OK;
    return s;
}

static Status average_tier(Average *a, const Recording *r, Tier tier, Err *err)
{
    char name[3072], folder[4096];
    uint32_t *trials, n = recording_trials(r, TIER_BIT(tier), &a->arena, &trials);
    if (!n)
        return NPC_OK;
    snprintf(name, sizeof name, "predictions/%s/%s", r->name, tier_name(tier));
    NPC_TRY(run_dir_path(&a->dir, name, folder, sizeof folder, err));
    NPC_TRY(file_make_folder(folder, err));
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "predictions/%s/%s/%u.npy", r->name, tier_name(tier),
                 trials[i]);
        NPC_TRY(average_trial(a, r, name, err));
    }
    return NPC_OK;
}

static bool is_predicted(const Average *a, const Recording *r)
{
    for (uint32_t i = 0; i < a->n_sessions; i++)
        if (!strcmp(a->sessions[i].name, r->name))
            return true;
    return false;
}

static Status average_all(Average *a, Err *err)
{
    Recordings all;
    unsigned tiers = a->o->predict.tiers ? a->o->predict.tiers : TIERS_LABELLED_IF_RELEASED;
    NPC_TRY(recordings_open(&all, &a->arena, a->data, err));
    for (uint32_t i = 0; i < all.len; i++)
        for (Tier t = TIER_TRAIN; is_predicted(a, all.at[i]) && t < TIER_COUNT; t++)
            if (tiers & TIER_BIT(t))
                NPC_TRY(average_tier(a, all.at[i], t, err));
    return NPC_OK;
}

static Status average(Average *a, Err *err)
{
    a->path = ARENA_ARRAY(&a->arena, const char *, (size_t)a->o->n_runs);
    a->data = a->o->predict.data;
    for (int i = 0; i < a->o->n_runs; i++)
        NPC_TRY(read_run(a, i, err));
    NPC_TRY(open_out(a, err));
    for (int i = 0; i < a->o->n_runs; i++) {
        PredictOptions p = a->o->predict;
        p.run_dir = a->o->runs[i];
        NPC_TRY(predict_run(&p, err));
    }
    NPC_TRY(average_all(a, err));
    progress_note(&a->progress, "%s/predictions: means of %d runs for %llu trials", a->dir.path,
                  a->o->n_runs, (unsigned long long)a->done);
    return NPC_OK;
}

Status average_run(const AverageOptions *o, Err *err)
{
    const RunMachine *m = &o->predict.machine;
    Average a = {.o = o, .out = m->out ? m->out : stderr, .dir = {.lock_fd = -1}};
    jmp_buf exhausted;
    Status s;
    progress_open(&a.progress, a.out, m->progress, 1);
    a.arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to average predictions", o->out);
    else
        s = average(&a, err);
    progress_close(&a.progress);
    run_dir_close(&a.dir);
    arena_free(&a.arena);
    return s;
}
