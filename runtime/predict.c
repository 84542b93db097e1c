#include "runtime/predict.h"

#include <math.h>
#include <stdlib.h>

#include "data/blend.h"
#include "runtime/dataset.h"
#include "runtime/lengths.h"
#include "data/npy_write.h"
#include "runtime/run_dir.h"
#include "data/signals.h"

/* ---- one trial ---- */

static uint32_t most_neurons(const Module *m)
{
    int64_t most = 0;
    for (uint32_t i = 0; i < m->sessions.len; i++)
        most = m->sessions.at[i].neurons > most ? m->sessions.at[i].neurons : most;
    return (uint32_t)most;
}

Status predictor_open(Predictor *p, Arena *arena, Model *m, int program, const ClipShape *clip,
                      const Recipe *recipe, uint32_t longest, Err *err)
{
    uint32_t most = most_neurons(m->module);
    *p = (Predictor){.engine = m->engine,
                     .program = program,
                     .module = m->module,
                     .clip = *clip,
                     .batch = (uint32_t)m->batch,
                     .longest = longest,
                     .is_stitched = recipe->predict_blend == RECIPE_BLEND_STITCH,
                     .burn_in = (uint32_t)recipe->burn_in,
                     .last = (uint32_t)recipe->predict_last,
                     .ranges = ARENA_ARRAY(arena, SampleRange, m->module->sessions.len + 1)};
    NPC_TRY(inputs_find(&p->inputs, m->engine, program, clip, err));
    p->frames = ARENA_ARRAY(arena, float, clip_frame_elems(clip, longest) + 1);
    p->cut = ARENA_ARRAY(arena, float, clip_input_elems(clip) + 1);
    p->window = ARENA_ARRAY(arena, float, p->batch *clip_target_elems(clip, most) + 1);
    p->end = ARENA_ARRAY(arena, uint32_t, p->batch + 1);
    if (recipe->predict_blend ==
        RECIPE_BLEND_RAMP) { /* later outputs of a window have seen more of the past */
        uint32_t n = clip_outputs(clip);
        p->weight = ARENA_ARRAY(arena, double, n);
        for (uint32_t i = 0; i < n; i++)
            p->weight[i] = (double)(i + 1) / n;
    }
    return NPC_OK;
}

static void weigh(const Predictor *p, float *window, uint32_t neurons)
{
    for (uint32_t k = 0; p->weight && k < neurons; k++)
        for (uint32_t i = 0; i < clip_outputs(&p->clip); i++)
            window[(size_t)k * clip_outputs(&p->clip) + i] *= (float)p->weight[i];
}

/* sum / sum of weights */
static void finish(const Predictor *p, const Blend *b, float *out)
{
    if (!p->weight) {
        blend_finish(b, out);
        return;
    }
    for (uint32_t t = 0; t < b->length; t++) {
        double sum = 0;
        for (uint32_t i = 0; i < b->outputs; i++) {
            uint32_t end = t + (b->outputs - 1 - i) * b->step;
            if (end >= blend_first_end(b) && end < b->length)
                sum += p->weight[i];
        }
        for (uint32_t k = 0; k < b->n_neurons && sum > 0; k++)
            out[(size_t)k * b->length + t] /= (float)sum;
    }
}

/* [n length] to the end of rows of `valid` frames, zeros in front of it */
static void move_back(float *out, uint32_t n, uint32_t length, uint32_t valid)
{
    for (uint32_t k = n; k-- > 0 && length < valid;) {
        memmove(out + (size_t)k * valid + valid - length, out + (size_t)k * length,
                length * sizeof *out);
        memset(out + (size_t)k * valid, 0, (valid - length) * sizeof *out);
    }
}

Status predictor_trial(Predictor *p, uint32_t session, const TrialMap *map, float *out, Err *err)
{
    uint32_t n = (uint32_t)p->module->sessions.at[session].neurons;
    uint32_t length = p->last && p->last < map->valid ? p->last : map->valid;
    Blend blend = {.length = length,
                   .size = p->clip.size,
                   .step = p->clip.step,
                   .n_neurons = n,
                   .outputs = clip_outputs(&p->clip),
                   .is_stitched = p->is_stitched,
                   .from = p->burn_in};
    uint32_t end = blend_first_end(&blend);
    size_t n_out = clip_target_elems(&p->clip, n);
    if (map->valid > p->longest)
        return err_set(err, NPC_ERR_INTERNAL, "a trial of %u frames, room for %u", map->valid,
                       p->longest);
    memset(out, 0, (size_t)n * map->valid * sizeof *out);
    if (end >= length)
        return NPC_OK;
    NPC_TRY(clip_frames(map, &p->clip, map->valid - length, length, p->frames, err));
    while (end < length) {
        uint32_t here = 0;
        for (; end < length && here < p->batch; end++) {
            if (!blend_takes(&blend, end))
                continue;
            clip_cut(&p->clip, p->frames, length, end, p->cut);
            inputs_put(&p->inputs, here, p->cut, NULL);
            p->end[here++] = end;
        }
        for (uint32_t m = 0; m < p->module->sessions.len; m++)
            p->ranges[m] = (SampleRange){0, m == session ? here : 0};
        NPC_TRY(engine_run(p->engine, p->program, p->ranges, err));
        NPC_TRY(engine_read(p->engine, p->program, RESULT_OUTPUT,
                            p->module->sessions.at[session].name, p->window, err));
        for (uint32_t i = 0; i < here; i++) {
            weigh(p, p->window + i * n_out, n);
            blend_add(&blend, out, p->window + i * n_out, p->end[i]);
        }
    }
    finish(p, &blend, out);
    move_back(out, n, length, map->valid);
    return NPC_OK;
}

/* ---- a run directory ---- */

typedef struct Predict {
    const PredictOptions *o;
    FILE *out;
    Arena arena;
    RunDir dir;
    Model *model;
    Dataset data;
    ClipShape clip;
    Predictor predictor; /* unless a trial is seen at once: */
    bool is_whole;
    Lengths lengths;
    float *sample;
    SampleRange *ranges;
    Progress progress;
    uint64_t done, total; /* trials */
    uint32_t n_short;
    unsigned tiers;
    float *trial; /* [neurons longest], or of a batch of whole trials */
} Predict;

static void note(void *user, const char *text)
{
    Predict *p = user;
    progress_note(&p->progress, "%s", text);
}

/* The longest window that any input of the model has. */
static int64_t window_frames(const Module *m)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        const Shape *in = dataset_input_shape(m, input_name((ModelInput)i));
        int t = in ? shape_axis(in, "t") : -1;
        if (t >= 0)
            return in->size[t];
    }
    return 0;
}

static Status open_model(Predict *p, int *program, Err *err)
{
    const PredictOptions *o = p->o;
    char path[4096];
    NPC_TRY(run_dir_path(&p->dir, "model.nm", path, sizeof path, err));
    ModelOptions m = machine_model_options(&o->machine, arena_strdup(&p->arena, path));
    m.batch = o->batch;
    NPC_TRY(model_open(&p->model, &m, err));
    const Recipe *r = &p->model->info.recipe;
    int64_t t = window_frames(p->model->module);
    p->is_whole = !r->predict_frames || !t;
    if (!p->is_whole && t != r->predict_frames) { /* longer windows than in training */
        AxisSize *bind = ARENA_NEW(&p->arena, AxisSize);
        *bind = (AxisSize){"t", r->predict_frames};
        m.bind = bind;
        m.n_bind = 1;
        model_close(p->model);
        p->model = NULL;
        NPC_TRY(model_open(&p->model, &m, err));
    }
    return p->is_whole && t ? NPC_OK : model_add(p->model, PROGRAM_EVAL, program, err);
}

static Status load_weights(Predict *p, Err *err)
{
    char *text;
    size_t len;
    uint64_t step;
    NPC_TRY(run_dir_get(&p->dir, &p->arena, "model.nm", 16u << 20, &text, &len, err));
    return weights_load(p->model, p->dir.path, p->o->weights, text_hash(&p->arena, text), &step,
                        note, p, err);
}

/* Trials to predict, and the frames of the longest. */
static uint32_t count_trials(Predict *p)
{
    uint32_t longest = 0;
    for (uint32_t m = 0; m < p->data.n; m++)
        for (uint32_t i = 0; p->data.recording[m] && i < p->data.recording[m]->n_trials; i++) {
            const Trial *t = &p->data.recording[m]->trials[i];
            if (t->tier == TIER_NONE || !(p->tiers & TIER_BIT(t->tier)))
                continue;
            p->total++;
            longest = t->frames > longest ? t->frames : longest;
        }
    return longest;
}

/* Programs for the lengths of what is predicted. */
static Status add_lengths(Predict *p, int program, Err *err)
{
    const Recipe *r = &p->model->info.recipe;
    SamplerSession *all = ARENA_ARRAY(&p->arena, SamplerSession, (size_t)p->data.n + 1);
    if (!window_frames(p->model->module)) { /* images */
        NPC_TRY(dataset_clip_shape(&p->data, p->model->module, r, 1, 1, &p->clip, err));
        lengths_single(&p->lengths, &p->arena, p->model, program, &p->clip);
        return NPC_OK;
    }
    for (uint32_t m = 0; m < p->data.n; m++) {
        uint32_t *trials;
        all[m].recording = p->data.recording[m];
        if (!all[m].recording)
            continue;
        all[m].n_trials = recording_trials(all[m].recording, p->tiers, &p->arena, &trials);
        all[m].trials = trials;
    }
    return lengths_add(&p->lengths, &p->arena, p->model, PROGRAM_EVAL, &p->data, all, p->data.n,
                       (uint32_t)r->burn_in, err);
}

static Status ready_lengths(Predict *p, Err *err)
{
    size_t out = 0, in = 0, frames = (size_t)p->model->info.recipe.burn_in;
    uint32_t most = most_neurons(p->model->module);
    for (uint32_t i = 0; i < p->lengths.n; i++) {
        const Length *l = &p->lengths.at[i];
        size_t n = l->batch * (size_t)clip_outputs(&l->clip), x = clip_input_elems(&l->clip);
        out = n > out ? n : out;
        in = x > in ? x : in;
    }
    out = out > frames ? out : frames;
    p->trial = ARENA_ARRAY(&p->arena, float, most *out + 1);
    p->sample = ARENA_ARRAY(&p->arena, float, in + 1);
    p->ranges = ARENA_ARRAY(&p->arena, SampleRange, (size_t)p->data.n + 1);
    return lengths_ready(&p->lengths, p->model, err);
}

static Status prepare(Predict *p, Err *err)
{
    const PredictOptions *o = p->o;
    int program = -1;
    NPC_TRY(run_dir_open(&p->dir, o->run_dir, RUN_DIR_READ, err)); /* also while it is trained */
    NPC_TRY(open_model(p, &program, err));
    const Recipe *r = &p->model->info.recipe;
    const char *data = o->data;
    if (!data)
        NPC_TRY(run_data_folder(&p->dir, &p->arena, &data, err));
    NPC_TRY(dataset_match(&p->data, &p->arena, data, p->model->module->sessions.at,
                          p->model->module->sessions.len, false, err));
    char keep[4096];
    NPC_TRY(run_dir_path(&p->dir, "statistics", keep, sizeof keep, err));
    NPC_TRY(dataset_standardise(&p->data, &p->arena, r, keep, false, err));
    uint32_t longest = count_trials(p);
    if (!p->total)
        return err_set(err, NPC_ERR_INPUT, "%s: no trial of the tiers asked for", data);
    if (p->is_whole)
        NPC_TRY(add_lengths(p, program, err));
    else
        NPC_TRY(dataset_clip_shape(&p->data, p->model->module, r, r->predict_frames,
                                   r->predict_every, &p->clip, err));
    NPC_TRY(model_ready(p->model, err));
    NPC_TRY(load_weights(p, err));
    if (p->is_whole)
        return ready_lengths(p, err);
    p->trial = ARENA_ARRAY(&p->arena, float, (size_t)most_neurons(p->model->module) * longest + 1);
    return predictor_open(&p->predictor, &p->arena, p->model, program, &p->clip, r, longest, err);
}

static Status write_trial(Predict *p, const Recording *r, uint32_t trial, const char *folder,
                          const float *values, uint32_t frames, Err *err)
{
    char path[4300];
    size_t shape[2] = {r->n_neurons, frames};
    snprintf(path, sizeof path, "%s/%u.npy", folder, trial);
    NPC_TRY(npy_write(path, NPY_WRITE_F4, values, shape, 2, err));
    ProgressState state = {.stage = "predict", .step = ++p->done, .loss = NAN, .score = NAN};
    progress_update(&p->progress, &state);
    return NPC_OK;
}

static void note_short(Predict *p, const Recording *r, uint32_t trial, uint32_t frames,
                       uint32_t needed)
{
    p->n_short++;
    progress_note(&p->progress,
                  "%s: trial %u has %u frames, a window needs %u: its prediction is zero", r->name,
                  trial, frames, needed);
}

static Status slide(Predict *p, uint32_t session, const uint32_t *trials, uint32_t n,
                    const char *folder, uint32_t *taken, Err *err)
{
    const Recording *r = p->data.recording[session];
    TrialMap map;
    (void)n;
    *taken = 1;
    NPC_TRY(trial_map(&map, r, trials[0], err));
    Status s = predictor_trial(&p->predictor, session, &map, p->trial, err);
    if (s == NPC_OK)
        s = write_trial(p, r, trials[0], folder, p->trial, map.valid, err);
    if (map.valid < clip_span(&p->clip))
        note_short(p, r, trials[0], map.valid, clip_span(&p->clip));
    trial_unmap(&map);
    return s;
}

static Status put_trial(Predict *p, const Recording *r, uint32_t trial, const Length *l, uint32_t k,
                        Err *err)
{
    TrialMap map;
    NPC_TRY(trial_map(&map, r, trial, err));
    Status s = clip_input(&map, &l->clip, l->frames - 1, p->sample, err);
    trial_unmap(&map);
    if (s == NPC_OK)
        inputs_put(&l->inputs, k, p->sample, NULL);
    return s;
}

/* As many of the next trials at once as have one length and fit into a run. */
static Status see_whole(Predict *p, uint32_t session, const uint32_t *trials, uint32_t n,
                        const char *folder, uint32_t *taken, Err *err)
{
    const Recording *r = p->data.recording[session];
    uint32_t frames, here = 0, next;
    NPC_TRY(recording_valid_frames(r, trials[0], &frames, err));
    const Length *l = lengths_find(&p->lengths, frames);
    *taken = 1;
    if (!l) { /* nothing of it is scored */
        memset(p->trial, 0, (size_t)r->n_neurons * frames * sizeof *p->trial);
        note_short(p, r, trials[0], frames, (uint32_t)p->model->info.recipe.burn_in + 1);
        return write_trial(p, r, trials[0], folder, p->trial, frames, err);
    }
    for (next = frames; next == frames; here++) {
        NPC_TRY(put_trial(p, r, trials[here], l, here, err));
        if (here + 1 == n || here + 1 == l->batch)
            next = 0;
        else
            NPC_TRY(recording_valid_frames(r, trials[here + 1], &next, err));
    }
    for (uint32_t m = 0; m < p->data.n; m++)
        p->ranges[m] = (SampleRange){0, m == session ? here : 0};
    Engine *e = p->model->engine;
    NPC_TRY(engine_run(e, l->program, p->ranges, err));
    NPC_TRY(engine_read(e, l->program, RESULT_OUTPUT, r->name, p->trial, err));
    for (uint32_t i = 0; i < here; i++)
        NPC_TRY(write_trial(p, r, trials[i], folder,
                            p->trial + i * clip_target_elems(&l->clip, r->n_neurons),
                            clip_outputs(&l->clip), err));
    *taken = here;
    return NPC_OK;
}

static Status predict_tier(Predict *p, uint32_t session, Tier tier, Err *err)
{
    const Recording *r = p->data.recording[session];
    uint32_t *trials, n = recording_trials(r, TIER_BIT(tier), &p->arena, &trials);
    char name[3072], folder[4096];
    if (!n)
        return NPC_OK;
    snprintf(name, sizeof name, "predictions/%s/%s", r->name, tier_name(tier));
    NPC_TRY(run_dir_path(&p->dir, name, folder, sizeof folder, err));
    NPC_TRY(file_make_folder(folder, err));
    for (uint32_t i = 0, taken; i < n; i += taken) {
        if (signals_stop_requested())
            return err_set(err, NPC_ERR_FAILED, "stopped after %llu of %llu trials",
                           (unsigned long long)p->done, (unsigned long long)p->total);
        NPC_TRY(
            (p->is_whole ? see_whole : slide)(p, session, trials + i, n - i, folder, &taken, err));
    }
    return NPC_OK;
}

static Status predict(Predict *p, Err *err)
{
    NPC_TRY(prepare(p, err));
    progress_close(&p->progress);
    progress_open(&p->progress, p->out, p->o->machine.progress, p->total);
    for (uint32_t m = 0; m < p->data.n; m++)
        for (Tier t = TIER_TRAIN; p->data.recording[m] && t < TIER_COUNT; t++)
            if (p->tiers & TIER_BIT(t))
                NPC_TRY(predict_tier(p, m, t, err));
    progress_note(&p->progress, "%s/predictions: %llu trials predicted", p->dir.path,
                  (unsigned long long)p->done);
    return NPC_OK;
}

Status predict_run(const PredictOptions *o, Err *err)
{
    Predict p = {.o = o,
                 .out = o->machine.out ? o->machine.out : stderr,
                 .dir = {.lock_fd = -1},
                 .tiers = o->tiers ? o->tiers : TIERS_LABELLED_IF_RELEASED};
    jmp_buf exhausted;
    Status s;
    progress_open(&p.progress, p.out, o->machine.progress, 1);
    p.arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to predict", o->run_dir);
    else
        s = predict(&p, err);
    progress_close(&p.progress);
    model_close(p.model);
    run_dir_close(&p.dir);
    arena_free(&p.arena);
    return s;
}
