/* Whole runs in miniature: training, resuming, predicting, scoring, on recordings of 12 neurons
 * made on the spot and the model tests/models/tiny.nm. */
#include "runtime/dataset.h"
#include "runtime/folds.h"
#include "data/metrics.h"
#include "runtime/predict.h"
#include "runtime/score.h"
#include "data/signals.h"
#include "runtime/step.h"
#include "runtime/validate.h"
#include "tests/models/train_harness.h"

enum { SIZE = 4, EVERY = 8, SPAN = 25 }; /* of tiny.nm's windows */

/* Six steps in one go, once for all tests: "whole". */
static int make_data(void **state)
{
    TrainResult r;
    Err err = {0};
    if (make_recordings(state))
        return -1;
    TrainOptions t = options(path("whole"));
    if (train_run(&t, &r, &err) == NPC_OK && r.step == 6)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

/* ---- training ---- */

static void a_resumed_run_has_the_bits_of_an_uninterrupted_one(void **state)
{
    (void)state;
    TrainOptions o = options(path("halves"));
    o.stop_after = 4;
    TrainResult r = train_with(&o);
    assert_int_equal(r.step, 4);
    TrainOptions on = {.run_dir = path("halves"), .resume = true, .machine = o.machine};
    r = train_with(&on);
    assert_int_equal(r.step, 6);
    assert_same_file(checkpoint("whole", 6), checkpoint("halves", 6));
    assert_same_file(path("whole/checkpoints/best.safetensors"),
                     path("halves/checkpoints/best.safetensors"));
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    TrainOptions o = options(path("threads"));
    o.machine.threads = 2;
    o.machine.workers = 3;
    train_with(&o);
    assert_same_file(checkpoint("whole", 6), checkpoint("threads", 6));
}

static void stop_after_three(void *user, uint64_t step)
{
    (void)user;
    if (step == 2)
        signals_request_stop();
}

static void a_request_to_stop_saves_and_ends_well(void **state)
{
    (void)state;
    TrainOptions o = options(path("asked"));
    o.after_step = stop_after_three;
    TrainResult r = train_with(&o);
    signals_forget_stop();
    assert_int_equal(r.step, 2);
    assert_true(file_exists(checkpoint("asked", 2)));
    o.after_step = NULL;
    o.resume = true; /* from the model file this time */
    train_with(&o);
    assert_same_file(checkpoint("whole", 6), checkpoint("asked", 6));
}

static void chunks_of_a_batch_resume_too(void **state)
{
    (void)state;
    const char *sets[] = {"accumulate=3"};
    TrainOptions o = options(path("chunks"));
    o.sets = sets;
    o.n_sets = 1;
    TrainResult whole = train_with(&o);
    o.run_dir = path("chunks2");
    o.stop_after = 3;
    train_with(&o);
    o.resume = true;
    o.stop_after = 0;
    TrainResult r = train_with(&o);
    assert_true(isfinite(whole.loss) && whole.loss == r.loss);
    assert_same_file(checkpoint("chunks", 6), checkpoint("chunks2", 6));
}

/* Validation borrows the engine and puts the average in the parameters' place for a while. */
static void validation_leaves_training_alone(void **state)
{
    (void)state;
    const char *often[] = {"validation=1steps"}, *plain[] = {"average=none"};
    TrainOptions o = options(path("usual"));
    TrainResult usual = train_with(&o);
    o.run_dir = path("often");
    o.sets = often;
    o.n_sets = 1;
    TrainResult r = train_with(&o);
    assert_true(r.loss == usual.loss && r.score == usual.score);
    o.run_dir = path("plain");
    o.sets = plain;
    r = train_with(&o);
    assert_true(r.loss == usual.loss && r.score != usual.score);
}

static void a_teacher_teaches(void **state)
{
    (void)state;
    char set[4300];
    snprintf(set, sizeof set, "teacher.run=\"%s\"", path("whole"));
    const char *sets[] = {set, "teacher.ratio=0.36"};
    TrainOptions o = options(path("pupil"));
    o.sets = sets;
    o.n_sets = 2;
    o.stop_after = 3;
    TrainResult r = train_with(&o);
    assert_true(isfinite(r.loss));
    o.resume = true;
    o.stop_after = 0;
    train_with(&o);
    o.resume = false;
    o.run_dir = path("pupil2");
    train_with(&o);
    assert_same_file(checkpoint("pupil", 6), checkpoint("pupil2", 6));
}

static void an_infinite_loss_stops_and_keeps_the_checkpoints(void **state)
{
    (void)state;
    TrainOptions o = options(path("diverged"));
    TrainResult r;
    Err err = {0};
    o.model_path = "tests/models/diverges.nm";
    assert_int_equal(train_run(&o, &r, &err), NPC_ERR_FAILED);
    assert_says(err, "step 2: the loss is");
    assert_true(file_exists(checkpoint("diverged", 1)));
    assert_false(file_exists(checkpoint("diverged", 2)));
}

static void folds_hold_out_films(void **state)
{
    (void)state;
    const char *sets[] = {"split.n=3", "split.validate=1"};
    TrainOptions o = options(path("folds"));
    o.sets = sets;
    o.n_sets = 2;
    TrainResult r = train_with(&o);
    assert_int_equal(r.step, 6);
    assert_true(file_exists(path("folds/folds.json")));

    Arena arena = {0};
    Dataset d;
    Folds folds, again;
    Split split;
    Err err = {0};
    Workers *workers;
    Recipe recipe;
    recipe_default(&recipe);
    recipe.folds = 3;
    recipe.validate = 1;
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    must(workers_start(&workers, 2, 64, &err), &err);
    must(folds_make(&folds, &arena, d.recording, d.n, 3, workers, &err), &err);
    workers_stop(workers);
    const char *text;
    must(folds_text(&text, &arena, &folds, &err), &err);
    assert_true(folds_read(&again, &arena, d.recording, d.n, text));
    must(split_trials(&split, &arena, d.recording, d.n, &recipe, &again, &err), &err);
    for (uint32_t m = 0; m < d.n; m++) {
        const Recording *one = d.recording[m];
        for (uint32_t i = 0; i < split.validate[m].n_trials; i++)
            assert_int_equal(folds.of[m][split.validate[m].trials[i]], 1);
        for (uint32_t i = 0; i < split.train[m].n_trials; i++)
            assert_true(folds.of[m][split.train[m].trials[i]] != 1);
        /* test tiers take part where their responses are released: every second recording */
        for (uint32_t i = 0; i < one->n_trials; i++)
            if (one->trials[i].tier == TIER_FINAL_MAIN)
                assert_int_equal(folds.of[m][i] != FOLD_NONE, m % 2);
    }
    assert_false(folds_read(&again, &arena, d.recording, d.n, "{\"x\": [1]}"));
    arena_free(&arena);
}

static void sessions_follow_the_files_list(void **state)
{
    (void)state;
    Arena arena = {0};
    Dataset sorted, listed;
    Err err = {0};
    must(dataset_open(&sorted, &arena, data, NULL, 0, &err), &err);
    assert_int_equal(sorted.n, 2);
    assert_true(strcmp(sorted.sessions[0].name, sorted.sessions[1].name) < 0);
    Session known[3] = {{.name = "another", .neurons = 5}, sorted.sessions[1], sorted.sessions[0]};
    must(dataset_open(&listed, &arena, data, known, 3, &err), &err);
    assert_string_equal(listed.sessions[0].name, sorted.sessions[1].name);
    must(dataset_open(&listed, &arena, data, known, 2, &err), &err); /* it lacks one: sorted */
    assert_string_equal(listed.sessions[0].name, sorted.sessions[0].name);

    known[0] = sorted.sessions[0];
    known[0].neurons++;
    assert_int_equal(dataset_match(&listed, &arena, data, known, 1, true, &err), NPC_ERR_INPUT);
    assert_says(err, "12 neurons; the model was made for 13");
    arena_free(&arena);
}

/* ---- requests for memory ---- */

static _Thread_local bool counting;
static _Thread_local long n_requests;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    n_requests += counting;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_requests += counting;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    n_requests += counting;
    return __real_realloc(p, n);
}

static void count_one_step(void *user, uint64_t step)
{
    (void)user;
    counting = step == 4; /* the fifth step: no validation, no checkpoint */
}

static void a_step_requests_no_memory(void **state)
{
    (void)state;
    TrainOptions o = options(path("lean"));
    if (!kernel_have_llvm())
        skip(); /* the interpreter asks for memory as it goes */
    o.after_step = count_one_step;
    o.stop_after = 5;
    n_requests = 0;
    train_with(&o);
    assert_int_equal(n_requests, 0);
}

/* ---- refusals ---- */

static void a_folder_with_a_run_is_not_overwritten(void **state)
{
    (void)state;
    TrainOptions o = options(path("whole"));
    TrainResult r;
    Err err = {0};
    assert_int_equal(train_run(&o, &r, &err), NPC_ERR_INPUT);
    assert_says(err, "already holds a run");
}

static void a_missing_teacher_leaves_nothing_behind(void **state)
{
    (void)state;
    const char *sets[] = {"teacher.run=\"nobody\""};
    TrainOptions o = options(path("orphan"));
    TrainResult r;
    Err err = {0};
    o.sets = sets;
    o.n_sets = 1;
    assert_int_equal(train_run(&o, &r, &err), NPC_ERR_INPUT);
    assert_says(err, "nobody");
    assert_false(file_exists(path("orphan")));
}

static void a_changed_model_is_not_resumed(void **state)
{
    (void)state;
    const char *sets[] = {"widths=[4, 12]"};
    TrainOptions o = options(path("whole"));
    TrainResult r;
    Err err = {0};
    o.resume = true;
    o.sets = sets;
    o.n_sets = 1;
    assert_int_equal(train_run(&o, &r, &err), NPC_ERR_INPUT);
    assert_says(err, "differs from what");
}

static void data_that_do_not_fit_are_named(void **state)
{
    (void)state;
    const char *channels[] = {"data.channels=[video]"};
    TrainOptions o = options(path("unfit"));
    TrainResult r;
    Err err = {0};
    o.sets = channels;
    o.n_sets = 1;
    assert_int_equal(train_run(&o, &r, &err), NPC_ERR_INPUT);
    assert_says(err, "E0410");
    assert_says(err, "1 channels");
    o.n_sets = 0;
    o.data = path("nothing");
    err = (Err){0};
    assert_int_not_equal(train_run(&o, &r, &err), NPC_OK);
    assert_says(err, "nothing");
    assert_false(file_exists(path("unfit"))); /* nothing was begun */
}

static void a_run_that_cannot_be_written_never_starts(void **state)
{
    (void)state;
    scratch_write("file", "x", 1);
    TrainOptions o = options(path("file/run"));
    TrainResult r;
    Err err = {0};
    assert_int_equal(status_exit_code(train_run(&o, &r, &err)), 2);
    assert_says(err, "file");
    assert_int_equal(r.step, 0);
}

/* ---- prediction ---- */

typedef struct Lab {
    Arena arena;
    Dataset data;
    Model *model;
    ClipShape clip;
    int program;
    Predictor predictor;
} Lab;

static void lab_open(Lab *l, int64_t batch, RecipeBlend blend)
{
    Err err = {0};
    *l = (Lab){0};
    RunMachine machine = {.threads = 1, .cache_folder = cache};
    ModelOptions o = machine_model_options(&machine, MODEL);
    must(dataset_open(&l->data, &l->arena, data, NULL, 0, &err), &err);
    o.sessions = l->data.sessions;
    o.n_sessions = (int)l->data.n;
    o.batch = batch;
    must(model_open(&l->model, &o, &err), &err);
    must(dataset_clip_shape(&l->data, l->model->module, &l->model->info.recipe, SIZE, EVERY,
                            &l->clip, &err),
         &err);
    must(model_add(l->model, PROGRAM_EVAL, &l->program, &err), &err);
    must(model_ready(l->model, &err), &err);
    must(weights_load(l->model, path("whole"), WEIGHTS_AVERAGE, NULL, NULL, NULL, NULL, &err),
         &err);
    Recipe recipe = l->model->info.recipe;
    recipe.predict_blend = blend;
    must(predictor_open(&l->predictor, &l->arena, l->model, l->program, &l->clip, &recipe, 100,
                        &err),
         &err);
}

static void lab_close(Lab *l)
{
    model_close(l->model);
    arena_free(&l->arena);
}

/* Windows one by one, straight from the files, of the frames from `first` on. */
static void predict_plainly(Lab *l, uint32_t session, const TrialMap *map, uint32_t first,
                            float *out)
{
    Err err = {0};
    uint32_t n = l->data.recording[session]->n_neurons;
    float *window = l->predictor.window;
    double *sum = calloc((size_t)n * map->valid, sizeof *sum);
    int *count = calloc(map->valid, sizeof *count);
    for (uint32_t end = first + SPAN - 1; end < map->valid; end++) {
        must(clip_input(map, &l->clip, end, l->predictor.inputs.at[INPUT_CLIP], &err), &err);
        must(engine_run(l->model->engine, l->program, NULL, &err), &err);
        must(engine_read(l->model->engine, l->program, RESULT_OUTPUT,
                         l->data.recording[session]->name, window, &err),
             &err);
        for (uint32_t i = 0; i < SIZE; i++) {
            uint32_t frame = end - (SPAN - 1) + EVERY * i;
            count[frame]++;
            for (uint32_t k = 0; k < n; k++)
                sum[k * map->valid + frame] += window[k * SIZE + i];
        }
    }
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t t = 0; t < map->valid; t++)
            out[k * map->valid + t] = t < first ? 0 : (float)(sum[k * map->valid + t] / count[t]);
    free(sum);
    free(count);
}

static void a_prediction_is_the_mean_of_all_windows_that_hold_a_frame(void **state)
{
    (void)state;
    Lab l, one;
    TrialMap map;
    Err err = {0};
    float got[12 * 100], want[12 * 100];
    lab_open(&l, 5, RECIPE_BLEND_UNIFORM);
    lab_open(&one, 1, RECIPE_BLEND_UNIFORM);
    must(trial_map(&map, l.data.recording[1], 2, &err), &err);
    must(predictor_trial(&l.predictor, 1, &map, got, &err), &err);
    predict_plainly(&one, 1, &map, 0, want);
    for (uint32_t i = 0; i < 12 * map.valid; i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i])));
    assert_true(got[0] != got[1]);
    l.predictor.last = map.valid - 3;
    must(predictor_trial(&l.predictor, 1, &map, got, &err), &err);
    predict_plainly(&one, 1, &map, 3, want);
    for (uint32_t i = 0; i < 12 * map.valid; i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i])));
    assert_true(got[0] == 0 && got[3] != 0);
    trial_unmap(&map);
    lab_close(&l);
    lab_close(&one);
}

/* Per neuron over all clips of a recording; means over neurons, then recordings. */
static void validation_scores_equal_plain_correlations(void **state)
{
    (void)state;
    Lab l;
    Err err = {0};
    Split split;
    Recipe recipe;
    Validation v;
    bool stopped;
    double total = 0;
    recipe_default(&recipe);
    recipe.folds = 0;
    lab_open(&l, 5, RECIPE_BLEND_UNIFORM);
    must(split_trials(&split, &l.arena, l.data.recording, l.data.n, &recipe, NULL, &err), &err);
    must(validation_open(&v, &l.arena, l.model, l.program, split.validate, &l.clip, NULL, 2, &err),
         &err);
    must(validation_run(&v, NULL, &stopped, &err), &err);
    for (uint32_t m = 0; m < l.data.n; m++) {
        enum { ROOM = 400 };
        static double a[12][ROOM], b[12][ROOM];
        size_t n = 0;
        double sum = 0;
        float target[12 * SIZE];
        for (uint32_t i = 0; i < split.validate[m].n_trials; i++) {
            TrialMap map;
            must(trial_map(&map, l.data.recording[m], split.validate[m].trials[i], &err), &err);
            for (uint32_t end = SPAN - 1; end < map.valid; end += SPAN, n += SIZE) {
                must(clip_input(&map, &l.clip, end, l.predictor.inputs.at[INPUT_CLIP], &err), &err);
                must(clip_target(&map, &l.clip, end, target, &err), &err);
                must(engine_run(l.model->engine, l.program, NULL, &err), &err);
                must(engine_read(l.model->engine, l.program, RESULT_OUTPUT,
                                 l.data.recording[m]->name, l.predictor.window, &err),
                     &err);
                assert_true(n + SIZE <= ROOM);
                for (int k = 0; k < 12; k++)
                    for (int t = 0; t < SIZE; t++) {
                        a[k][n + t] = l.predictor.window[k * SIZE + t];
                        b[k][n + t] = target[k * SIZE + t];
                    }
            }
            trial_unmap(&map);
        }
        for (int k = 0; k < 12; k++)
            sum += metrics_correlation(a[k], b[k], n, METRICS_EPS) / 12;
        assert_true(n > SIZE && fabs(sum - v.score[m]) < 1e-6);
        total += sum / l.data.n;
    }
    assert_true(fabs(total - v.mean) < 1e-6);
    lab_close(&l);
}

static void a_ramp_weighs_constant_outputs_like_the_mean(void **state)
{
    (void)state;
    Lab l;
    TrialMap map;
    Err err = {0};
    float got[12 * 100];
    lab_open(&l, 5, RECIPE_BLEND_RAMP);
    must(trial_map(&map, l.data.recording[0], 0, &err), &err);
    /* a readout of zeros gives softplus(0) = log(2) / 0.07 everywhere */
    for (uint32_t i = 0; i < l.model->module->params.len; i++) {
        const Param *p = &l.model->module->params.at[i];
        if (p->session == 0)
            memset(engine_tensor(l.model->engine, p->name), 0,
                   (size_t)shape_elems(&p->shape) * sizeof(float));
    }
    engine_tensors_changed(l.model->engine);
    must(predictor_trial(&l.predictor, 0, &map, got, &err), &err);
    for (uint32_t i = 0; i < 12 * map.valid; i++)
        assert_true(fabs((double)got[i] - log(2) / 0.07) < 1e-4);
    trial_unmap(&map);
    lab_close(&l);
}

static void a_trial_shorter_than_a_window_is_predicted_as_zero(void **state)
{
    (void)state;
    Lab l;
    TrialMap map;
    Err err = {0};
    float got[12 * 6];
    lab_open(&l, 5, RECIPE_BLEND_UNIFORM);
    must(trial_map(&map, l.data.recording[0], 0, &err), &err);
    map.valid = 6; /* a window spans 25 frames */
    memset(got, 1, sizeof got);
    must(predictor_trial(&l.predictor, 0, &map, got, &err), &err);
    for (int i = 0; i < 12 * 6; i++)
        assert_true(got[i] == 0);
    trial_unmap(&map);
    lab_close(&l);
}

static void predictions_land_where_scores_look_for_them(void **state)
{
    (void)state;
    Err err = {0};
    PredictOptions p = {.run_dir = path("whole"),
                        .tiers = TIER_BIT(TIER_LIVE_MAIN),
                        .batch = 16,
                        .machine = options(NULL).machine};
    must(predict_run(&p, &err), &err);
    Arena arena = {0};
    Dataset d;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path("whole/predictions"));
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    for (uint32_t m = 0; m < 2; m++) {
        ScoreRules rules = {.burn_in = 50};
        TierScore with, without;
        bool found;
        char truth[4300];
        snprintf(truth, sizeof truth, "%s/truth", data);
        must(score_tier(&with, &found, &arena, d.recording[m], TIER_LIVE_MAIN, folder, truth,
                        &rules, NULL, &err),
             &err);
        assert_true(found && with.has_ceiling && with.n_clips == 2);
        assert_int_equal(with.is_from_truth, m == 0);
        must(score_tier(&without, &found, &arena, d.recording[m], TIER_LIVE_MAIN, folder, NULL,
                        &rules, NULL, &err),
             &err);
        assert_int_equal(found, m == 1); /* the first recording withholds its responses */
        if (found) {                     /* repeats found by looking at the films */
            assert_int_equal(without.n_clips, with.n_clips);
            assert_true(without.of_all[SCORE_TO_AVERAGE] == with.of_all[SCORE_TO_AVERAGE]);
        }
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_run_has_the_bits_of_an_uninterrupted_one),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_request_to_stop_saves_and_ends_well),
        cmocka_unit_test(chunks_of_a_batch_resume_too),
        cmocka_unit_test(validation_leaves_training_alone),
        cmocka_unit_test(a_teacher_teaches),
        cmocka_unit_test(an_infinite_loss_stops_and_keeps_the_checkpoints),
        cmocka_unit_test(folds_hold_out_films),
        cmocka_unit_test(sessions_follow_the_files_list),
        cmocka_unit_test(a_step_requests_no_memory),
        cmocka_unit_test(a_missing_teacher_leaves_nothing_behind),
        cmocka_unit_test(a_folder_with_a_run_is_not_overwritten),
        cmocka_unit_test(a_changed_model_is_not_resumed),
        cmocka_unit_test(data_that_do_not_fit_are_named),
        cmocka_unit_test(a_run_that_cannot_be_written_never_starts),
        cmocka_unit_test(a_prediction_is_the_mean_of_all_windows_that_hold_a_frame),
        cmocka_unit_test(validation_scores_equal_plain_correlations),
        cmocka_unit_test(a_ramp_weighs_constant_outputs_like_the_mean),
        cmocka_unit_test(a_trial_shorter_than_a_window_is_predicted_as_zero),
        cmocka_unit_test(predictions_land_where_scores_look_for_them),
    };
    return cmocka_run_group_tests(tests, make_data, scratch_remove);
}
