#include "runtime/score.h"

#include <math.h>
#include <stdlib.h>

#include "data/blend.h"
#include "runtime/dataset.h"
#include "data/metrics.h"
#include "data/npy_write.h"
#include "runtime/report.h"
#include "data/standardise.h"
#include "data/transform.h"
#include "data/trial.h"
#include "data/video_hash.h"

enum { CHUNK = 256 /* neurons at a time */ };

const char *score_kind_text(ScoreKind kind)
{
    static const char *const text[] = {"single_trial", "to_average", "ceiling",
                                       "normalised_correlation", "feve"};
    return text[kind];
}

/* ---- normalisation ---- */

typedef struct Norm {
    float *precision; /* [n frames]; NULL: the recording has no statistic of responses */
    uint32_t frames;
    uint32_t end;    /* first frame where a normalised variable is not finite */
    const char *why; /* the statistic that ends there */
} Norm;

/* First frame with a mean that is not finite, or a deviation that is 0 or not finite. */
static void find_end(Norm *norm, Arena *arena, const Recording *r, Variable v, bool uses_mean,
                     size_t rows)
{
    const char *stats[] = {"std", "mean"};
    for (int k = 0; k < 1 + uses_mean; k++) {
        float *x;
        uint32_t frames;
        Err missing = {0}; /* a statistic that is not there ends nothing */
        if (recording_statistic(r, v, stats[k], arena, &x, &frames, &missing) != NPC_OK)
            continue;
        uint32_t end = frames;
        for (size_t row = 0; row < rows; row++)
            for (uint32_t t = 0; t < end; t++)
                if (!isfinite(x[row * frames + t]) || (k == 0 && x[row * frames + t] == 0))
                    end = t;
        if (end < norm->end) {
            norm->end = end;
            norm->why = arena_printf(arena, "%s/%s", variable_folder(v), stats[k]);
        }
    }
}

static void read_norm(Norm *norm, Arena *arena, const Recording *r)
{
    float *std;
    Err missing = {0};
    *norm = (Norm){.end = UINT32_MAX};
    if (recording_statistic(r, VAR_RESPONSE, "std", arena, &std, &norm->frames, &missing) != NPC_OK)
        return;
    norm->end = norm->frames;
    norm->why = "responses/std";
    norm->precision = ARENA_ARRAY(arena, float, (size_t)r->n_neurons * norm->frames + 1);
    response_precision(std, (size_t)r->n_neurons * norm->frames, norm->precision);
    find_end(norm, arena, r, VAR_VIDEO, true, (size_t)r->height * r->width);
    find_end(norm, arena, r, VAR_BEHAVIOR, false, 2);
    find_end(norm, arena, r, VAR_PUPIL, true, 2);
}

/* ---- one tier ---- */

typedef struct Pair {
    uint32_t trial, frames; /* that are compared, from the first one */
    uint32_t skipped;       /* frames that the prediction lacks at its start */
    uint32_t left_out;      /* frames of the response that do not count, as if there were none */
    Npy response, prediction;
} Pair;

typedef struct Job {
    Arena *arena;
    const Recording *recording;
    Tier tier;
    const char *predictions, *truth; /* folder of the recording's truth, or NULL */
    uint32_t burn_in, last;
    bool is_scaled; /* as in ScoreRules */
    Progress *notes;
    uint32_t *trials, n;
    Pair *pairs;
    ScoreTrial *scored; /* [n] */
    Norm norm;
    float *memory; /* of a chunk: responses and predictions of all trials */
    TierScore *out;
} Job;

static void say(const Job *j, const char *text)
{
    if (j->notes)
        progress_note(j->notes, "%s, %s: %s", j->recording->name, tier_name(j->tier), text);
}

static Status check_rows(const Npy *a, const Recording *r, const char *path, Err *err)
{
    char shape[200];
    if (a->head.rank == 2 && a->head.shape[0] == r->n_neurons && a->head.shape[1] <= UINT32_MAX &&
        npy_is_number(&a->head))
        return NPC_OK;
    return err_set(err, NPC_ERR_INPUT,
                   "%s: holds %s; expected (%u, frames): the recording's neurons", path,
                   npy_shape_text(&a->head, shape), r->n_neurons);
}

/* Frames before the first value that is not finite. */
static uint32_t finite_frames(const Npy *a)
{
    uint64_t end = a->head.shape[1];
    for (uint64_t k = 0; k < a->head.shape[0]; k++)
        for (uint64_t t = 0; t < end; t++)
            if (!isfinite(npy_double(a, k * a->head.stride[0] + t * a->head.stride[1])))
                end = t;
    return (uint32_t)end;
}

static Status open_response(Job *j, Pair *p, bool *withheld, Err *err)
{
    char path[4300];
    uint32_t valid;
    NPC_TRY(recording_valid_frames(j->recording, p->trial, &valid, err));
    NPC_TRY(recording_is_withheld(j->recording, p->trial, withheld, err));
    trial_path(j->recording, VAR_RESPONSE, p->trial, path, sizeof path);
    if (*withheld) {
        if (!j->truth)
            return NPC_OK;
        snprintf(path, sizeof path, "%s/data/responses/%u.npy", j->truth, p->trial);
        if (!file_exists(path))
            return NPC_OK;
        *withheld = false;
        j->out->is_from_truth = true;
    }
    NPC_TRY(npy_open(&p->response, path, err));
    trial_add_time(j->recording, &p->response.head);
    NPC_TRY(check_rows(&p->response, j->recording, path, err));
    uint32_t finite = finite_frames(&p->response);
    p->frames = finite < valid ? finite : valid;
    return NPC_OK;
}

/* A prediction may lack frames at the start of its trial, never at its end. */
static Status open_prediction(Job *j, Pair *p, Err *err)
{
    char path[4300];
    uint32_t valid;
    snprintf(path, sizeof path, "%s/%u.npy", j->predictions, p->trial);
    if (!file_exists(path))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: missing; predict the tier %s again, the prediction was interrupted",
                       path, tier_name(j->tier));
    NPC_TRY(npy_open(&p->prediction, path, err));
    NPC_TRY(check_rows(&p->prediction, j->recording, path, err));
    NPC_TRY(recording_valid_frames(j->recording, p->trial, &valid, err));
    if (p->prediction.head.shape[1] > valid)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: has %llu frames, the trial has %u; was it made for other recordings?",
                       path, (unsigned long long)p->prediction.head.shape[1], valid);
    p->skipped = valid - (uint32_t)p->prediction.head.shape[1];
    p->left_out = j->last && valid > j->last ? valid - j->last : 0;
    uint32_t begin = j->burn_in + p->left_out; /* of what is scored */
    if (p->skipped > begin && valid > begin)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: the prediction is too short: it lacks the trial's first %u frames, and "
                       "frames from %u on are scored",
                       path, p->skipped, begin);
    return NPC_OK;
}

static Status open_pairs(Job *j, bool *withheld, Err *err)
{
    j->pairs = ARENA_ARRAY(j->arena, Pair, j->n + 1);
    for (uint32_t i = 0; i < j->n; i++) {
        j->pairs[i].trial = j->trials[i];
        NPC_TRY(open_response(j, &j->pairs[i], withheld, err));
        if (*withheld)
            return NPC_OK;
        NPC_TRY(open_prediction(j, &j->pairs[i], err));
    }
    return NPC_OK;
}

static void close_pairs(Job *j)
{
    for (uint32_t i = 0; j->pairs && i < j->n; i++) {
        npy_close(&j->pairs[i].response);
        npy_close(&j->pairs[i].prediction);
    }
}

/* ---- which trials show the same film ---- */

typedef struct Films {
    Npy *video;
    size_t width;
} Films;

static Status read_pixel(void *cx, size_t trial, size_t pixel, float *out, Err *err)
{
    (void)err;
    const Films *f = cx;
    const Npy *a = &f->video[trial];
    const uint64_t *stride = a->head.stride;
    npy_floats(a, pixel / f->width * stride[0] + pixel % f->width * stride[1], stride[2],
               a->head.shape[2], out);
    return NPC_OK;
}

static Status compare_films(Job *j, int64_t *group, Err *err)
{
    const Recording *r = j->recording;
    Films f = {ARENA_ARRAY(j->arena, Npy, j->n + 1), r->width};
    size_t *frames = ARENA_ARRAY(j->arena, size_t, j->n + 1);
    char path[4300];
    Status s = NPC_OK;
    for (uint32_t i = 0; i < j->n && s == NPC_OK; i++) {
        trial_path(r, VAR_VIDEO, j->trials[i], path, sizeof path);
        s = npy_open(&f.video[i], path, err);
        frames[i] = s == NPC_OK ? f.video[i].head.shape[2] : 0;
    }
    VideoSource source = {&f, j->n, (size_t)r->height * r->width, frames, read_pixel};
    if (s == NPC_OK)
        s = video_find_repeats(&source, group, err);
    for (uint32_t i = 0; i < j->n; i++)
        npy_close(&f.video[i]);
    return s;
}

static Status find_groups(Job *j, int64_t *group, Err *err)
{
    char path[4300] = "";
    Npy ids;
    const Recording *r = j->recording;
    if (r->is_images) { /* without ids every trial is an image of its own */
        for (uint32_t i = 0; i < j->n; i++)
            group[i] = r->image_ids ? r->image_ids[j->trials[i]] : (int64_t)i;
        return NPC_OK;
    }
    if (j->truth)
        snprintf(path, sizeof path, "%s/meta/video_ids.npy", j->truth);
    if (!j->truth || !file_exists(path))
        return compare_films(j, group, err);
    NPC_TRY(npy_open(&ids, path, err));
    bool fits = ids.head.rank == 1 && ids.head.shape[0] == j->recording->n_trials &&
                npy_is_number(&ids.head);
    for (uint32_t i = 0; i < j->n && fits; i++)
        group[i] = npy_integer(&ids, j->trials[i] * ids.head.stride[0]);
    npy_close(&ids);
    return fits ? NPC_OK
                : err_set(err, NPC_ERR_INPUT, "%s: expected one number per trial, %u in all", path,
                          j->recording->n_trials);
}

static void count_films(Job *j, const int64_t *group)
{
    for (uint32_t i = 0; i < j->n; i++) {
        bool repeats = false;
        for (uint32_t k = 0; k < i && !repeats; k++)
            repeats = group[k] == group[i];
        j->out->n_clips += !repeats;
        j->out->has_ceiling |= repeats;
    }
}

/* ---- numbers ---- */

/* Lengths: where the normalised trial ends. When too few training trials leave next to nothing,
 * values are compared as they are. */
static void cut_pairs(Job *j)
{
    char text[300];
    TierScore *out = j->out;
    if (j->norm.precision && j->norm.end <= j->burn_in) {
        snprintf(text, sizeof text,
                 "the statistic %s is 0 or not finite from frame %u on (too few training trials): "
                 "scored without normalisation",
                 j->norm.why, j->norm.end);
        say(j, text);
        j->norm.precision = NULL;
    }
    out->is_normalised = j->norm.precision != NULL;
    out->shortest = UINT32_MAX;
    for (uint32_t i = 0; i < j->n; i++) {
        Pair *p = &j->pairs[i];
        if (out->is_normalised && j->norm.end < p->frames)
            p->frames = j->norm.end;
        out->shortest = p->frames < out->shortest ? p->frames : out->shortest;
        out->longest = p->frames > out->longest ? p->frames : out->longest;
    }
}

static void normalise(const Job *j, uint32_t neuron, uint32_t first, uint32_t n, float *x)
{
    if (!j->norm.precision)
        return;
    const float *p = j->norm.precision + (size_t)neuron * j->norm.frames + first;
    for (uint32_t t = 0; t < n; t++)
        x[t] *= p[t];
}

/* Responses in the unit of the predictions, which for films changes no score. */
static void response_as_target(const Job *j, uint32_t neuron, uint32_t n, float *x)
{
    const Transform *t = j->recording->transform;
    if (t && j->recording->is_images)
        affine_apply(&t->of[VAR_RESPONSE], neuron, 0, 1, n, x);
}

/* Neurons first .. first + n - 1 of all trials. */
static void read_chunk(Job *j, uint32_t first, uint32_t n)
{
    float *at = j->memory;
    for (uint32_t i = 0; i < j->n; i++) {
        Pair *p = &j->pairs[i];
        const NpyHeader *r = &p->response.head, *q = &p->prediction.head;
        uint32_t predicted = p->frames > p->skipped ? p->frames - p->skipped : 0;
        float *a = at, *b = at + (size_t)n * p->frames;
        at = b + (size_t)n * predicted;
        for (uint32_t k = 0; k < n; k++) {
            uint64_t neuron = first + k;
            npy_floats(&p->response, neuron * r->stride[0], r->stride[1], p->frames,
                       a + (size_t)k * p->frames);
            normalise(j, first + k, 0, p->frames, a + (size_t)k * p->frames);
            response_as_target(j, first + k, p->frames, a + (size_t)k * p->frames);
            npy_floats(&p->prediction, neuron * q->stride[0], q->stride[1], predicted,
                       b + (size_t)k * predicted);
            if (!j->is_scaled)
                normalise(j, first + k, p->skipped, predicted, b + (size_t)k * predicted);
        }
        uint32_t out = p->left_out < p->frames ? p->left_out : p->frames;
        j->scored[i].response = (Trace){a + out, p->frames - out, p->frames, 1};
        j->scored[i].prediction = (Trace){b, predicted, predicted, 1};
    }
}

static Status score_neurons(Job *j, Err *err)
{
    TierScore *out = j->out;
    for (uint32_t first = 0; first < out->n_neurons; first += CHUNK) {
        uint32_t n = out->n_neurons - first < CHUNK ? out->n_neurons - first : CHUNK;
        read_chunk(j, first, n);
        ScoreSet set = {j->scored, j->n, n, j->burn_in};
        NPC_TRY(metrics_single_trial(&set, out->of_neuron[SCORE_SINGLE_TRIAL] + first, err));
        NPC_TRY(metrics_to_average(&set, 1, out->of_neuron[SCORE_TO_AVERAGE] + first, err));
        if (out->of_neuron[SCORE_CEILING])
            NPC_TRY(
                metrics_leave_one_out_ceiling(&set, out->of_neuron[SCORE_CEILING] + first, err));
        if (out->of_neuron[SCORE_NORMALISED])
            NPC_TRY(metrics_normalised(&set, out->of_neuron[SCORE_NORMALISED] + first, err));
        if (out->of_neuron[SCORE_EXPLAINED])
            NPC_TRY(metrics_explained(&set, out->of_neuron[SCORE_EXPLAINED] + first, err));
    }
    return NPC_OK;
}

/* Of the numbers among them; NaN when there is none. */
static double mean(const double *x, uint32_t n)
{
    double sum = 0, counted = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!isnan(x[i])) {
            sum += x[i];
            counted++;
        }
    return counted > 0 ? sum / counted : (double)NAN;
}

static bool has_kind(const Job *j, ScoreKind kind)
{
    bool needs_repeats = kind != SCORE_SINGLE_TRIAL && kind != SCORE_TO_AVERAGE;
    bool is_images = j->recording->is_images;
    return (j->out->has_ceiling || !needs_repeats) && (kind != SCORE_NORMALISED || !is_images) &&
           (kind != SCORE_EXPLAINED || is_images);
}

static Status score_pairs(Job *j, Err *err)
{
    TierScore *out = j->out;
    int64_t *group = ARENA_ARRAY(j->arena, int64_t, j->n + 1);
    size_t frames = 0;
    NPC_TRY(find_groups(j, group, err));
    count_films(j, group);
    cut_pairs(j);
    j->scored = ARENA_ARRAY(j->arena, ScoreTrial, j->n + 1);
    for (uint32_t i = 0; i < j->n; i++) {
        j->scored[i].group = group[i];
        frames += j->pairs[i].frames;
    }
    j->memory = calloc(2 * frames * CHUNK + 1, sizeof *j->memory);
    if (!j->memory)
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to score %u trials",
                       j->recording->name, j->n);
    for (int i = 0; i < SCORE_KINDS; i++)
        out->of_neuron[i] =
            has_kind(j, (ScoreKind)i) ? ARENA_ARRAY(j->arena, double, out->n_neurons + 1) : NULL;
    NPC_TRY(score_neurons(j, err));
    for (int i = 0; i < SCORE_KINDS; i++)
        out->of_all[i] = out->of_neuron[i] ? mean(out->of_neuron[i], out->n_neurons) : (double)NAN;
    return NPC_OK;
}

Status score_tier(TierScore *out, bool *found, Arena *arena, const Recording *r, Tier tier,
                  const char *predictions, const char *truth, const ScoreRules *rules,
                  Progress *notes, Err *err)
{
    bool withheld = false;
    Job j = {.arena = arena,
             .recording = r,
             .tier = tier,
             .burn_in = r->is_images ? 0 : rules->burn_in,
             .last = r->is_images ? 0 : rules->last,
             .is_scaled = rules->is_scaled,
             .notes = notes,
             .predictions = arena_printf(arena, "%s/%s/%s", predictions, r->name, tier_name(tier)),
             .truth = truth ? arena_printf(arena, "%s/%s", truth, r->name) : NULL,
             .out = out};
    *found = false;
    *out = (TierScore){.recording = r->name, .tier = tier_name(tier), .n_neurons = r->n_neurons};
    j.n = out->n_trials = recording_trials(r, TIER_BIT(tier), arena, &j.trials);
    if (!j.n || !file_is_folder(j.predictions))
        return NPC_OK;
    if (!rules->as_recorded && !r->is_images) /* a factor per neuron changes no score */
        read_norm(&j.norm, arena, r);
    Status s = open_pairs(&j, &withheld, err);
    if (s == NPC_OK && withheld)
        say(&j, "the responses are withheld (zeros): not scored; --truth FOLDER names the "
                "held-back ones");
    if (s == NPC_OK && !withheld)
        s = score_pairs(&j, err);
    *found = s == NPC_OK && !withheld;
    close_pairs(&j);
    free(j.memory);
    return s;
}

/* ---- a run directory ---- */

typedef struct Scores {
    const ScoreOptions *o;
    FILE *out;
    Arena arena;
    RunDir dir;
    ScoreRules rules;
    const char *data, *truth;
    TierScore *score;
    size_t n;
    Progress progress;
} Scores;

/* The recipe of the run; the defaults when its model is not there. */
static void read_recipe(Scores *s, Recipe *out)
{
    char path[4096];
    Model *m = NULL;
    Err ignored = {0}; /* predictions can be scored without the model they came from */
    recipe_default(out);
    bool is_there = run_dir_path(&s->dir, "model.nm", path, sizeof path, &ignored) == NPC_OK &&
                    file_exists(path);
    ModelOptions o = machine_model_options(&s->o->machine, path);
    o.messages = is_there ? fopen("/dev/null", "w") : NULL;
    if (o.messages && model_open(&m, &o, &ignored) == NPC_OK)
        *out = m->info.recipe;
    out->name = out->model = out->teacher = NULL; /* these lived in the model */
    model_close(m);
    if (o.messages)
        fclose(o.messages);
}

/* Recordings as they were used, so that trials end where they ended for the model. */
static Status open_recordings(Scores *s, Recordings *all, Err *err)
{
    Recipe r;
    char keep[4096];
    read_recipe(s, &r);
    s->rules = (ScoreRules){.burn_in = (uint32_t)r.burn_in,
                            .last = (uint32_t)r.predict_last,
                            .is_scaled = r.responses == RECIPE_RESPONSES_FRAMES,
                            .as_recorded = s->o->as_recorded};
    NPC_TRY(run_dir_path(&s->dir, "statistics", keep, sizeof keep, err));
    NPC_TRY(recordings_open(all, &s->arena, s->data, err));
    for (uint32_t i = 0; i < all->len; i++)
        NPC_TRY(standardise(all->at[i], &s->arena, &r, keep, false, err));
    return NPC_OK;
}

static Status write_neurons(Scores *s, const TierScore *t, Err *err)
{
    char name[3072], folder[4096], path[4300];
    size_t shape[1] = {t->n_neurons};
    snprintf(name, sizeof name, "scores/%s", t->recording);
    NPC_TRY(run_dir_path(&s->dir, name, folder, sizeof folder, err));
    NPC_TRY(file_make_folder(folder, err));
    for (int i = 0; i < SCORE_KINDS; i++) {
        if (!t->of_neuron[i])
            continue;
        snprintf(path, sizeof path, "%s/%s_%s.npy", folder, t->tier, score_kind_text((ScoreKind)i));
        NPC_TRY(npy_write(path, NPY_WRITE_F8, t->of_neuron[i], shape, 1, err));
    }
    return NPC_OK;
}

static Status score_all(Scores *s, const Recordings *all, Err *err)
{
    char folder[4096];
    unsigned tiers = s->o->tiers ? s->o->tiers : ~0u;
    NPC_TRY(run_dir_path(&s->dir, "predictions", folder, sizeof folder, err));
    s->score = ARENA_ARRAY(&s->arena, TierScore, (size_t)all->len * TIER_COUNT + 1);
    for (uint32_t i = 0; i < all->len; i++)
        for (Tier t = TIER_TRAIN; t < TIER_COUNT; t++) {
            ProgressState state = {
                .stage = "score", .step = (uint64_t)i * TIER_COUNT + t, .loss = NAN, .score = NAN};
            bool found = false;
            if (tiers & TIER_BIT(t))
                NPC_TRY(score_tier(&s->score[s->n], &found, &s->arena, all->at[i], t, folder,
                                   s->truth, &s->rules, &s->progress, err));
            if (found)
                NPC_TRY(write_neurons(s, &s->score[s->n++], err));
            progress_update(&s->progress, &state);
        }
    return s->n ? NPC_OK
                : err_set(err, NPC_ERR_INPUT,
                          "%s: nothing to score; predict first with  npc run %s --predict", folder,
                          s->dir.path);
}

static Status score(Scores *s, Err *err)
{
    const ScoreOptions *o = s->o;
    Recordings all;
    Text table = {.arena = &s->arena};
    NPC_TRY(run_dir_open(&s->dir, o->run_dir, RUN_DIR_READ, err));
    s->data = o->data;
    if (!s->data)
        NPC_TRY(run_data_folder(&s->dir, &s->arena, &s->data, err));
    s->truth = o->truth ? o->truth : arena_printf(&s->arena, "%s/truth", s->data);
    if (!file_is_folder(s->truth)) {
        if (o->truth)
            return err_set(err, NPC_ERR_INPUT, "%s: no such folder", o->truth);
        s->truth = NULL;
    }
    NPC_TRY(open_recordings(s, &all, err));
    progress_open(&s->progress, s->out, o->machine.progress, (uint64_t)all.len * TIER_COUNT);
    NPC_TRY(score_all(s, &all, err));
    progress_close(&s->progress);
    const char *json = report_scores_json(&s->arena, s->score, s->n);
    NPC_TRY(run_dir_put(&s->dir, "scores.json", json, err));
    NPC_TRY(report_write(&s->dir, s->score, s->n, err));
    report_scores_table(&table, s->score, s->n);
    fputs(o->json ? json : text_str(&table), stdout);
    fflush(stdout);
    return NPC_OK;
}

Status score_run(const ScoreOptions *o, Err *err)
{
    Scores s = {.o = o, .out = o->machine.out ? o->machine.out : stderr, .dir = {.lock_fd = -1}};
    jmp_buf exhausted;
    Status status;
    progress_open(&s.progress, s.out, o->machine.progress, 1);
    s.arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        status = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to score", o->run_dir);
    else
        status = score(&s, err);
    progress_close(&s.progress);
    run_dir_close(&s.dir);
    arena_free(&s.arena);
    return status;
}
