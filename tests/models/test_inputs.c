/* Models whose inputs are found by name and that predict fewer frames than they see: training,
 * validation, whole and sliding prediction, and what is said when names or sizes do not fit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/dataset.h"
#include "runtime/folds.h"
#include "runtime/lengths.h"
#include "data/metrics.h"
#include "data/npy.h"
#include "runtime/predict.h"
#include "runtime/score.h"
#include "data/synth.h"
#include "runtime/train.h"
#include "tests/unit/scratch.h"

#define MODEL "tests/models/named.nm"
enum { NEURONS = 9, LEAD = 4 /* frames seen and not predicted */, LONGEST = 82 };

static char data[4096], cache[4096];

static void must(Status s, const Err *err)
{
    if (s != NPC_OK)
        fail_msg("%s", err->text);
}

#define assert_says(err, part)                                                                     \
    do {                                                                                           \
        if (!strstr((err).text, (part)))                                                           \
            fail_msg("\"%s\" does not say \"%s\"", (err).text, (part));                            \
    } while (0)

static RunMachine machine(void)
{
    return (RunMachine){
        .threads = 1, .workers = 1, .cache_folder = cache, .progress = PROGRESS_QUIET};
}

static TrainResult train(const char *model, const char *run, const char *recipe, Err *err)
{
    TrainResult r = {0};
    TrainOptions o = {.model_path = model,
                      .run_dir = scratch_path(run),
                      .data = data,
                      .recipe = recipe,
                      .machine = machine()};
    train_run(&o, &r, err);
    return r;
}

static int make_data(void **state)
{
    if (scratch_make(state))
        return -1;
    SynthOptions o = synth_defaults();
    Err err = {0};
    o.neurons = NEURONS;
    o.trials = 6;
    o.frames = 81;
    o.height = 8;
    o.width = 12;
    o.repeats = 2;
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(cache, sizeof cache, "%s", scratch_path("cache"));
    if (file_make_folder(cache, &err) != NPC_OK ||
        synth_write(data, &o, NULL, NULL, NULL, &err) != NPC_OK)
        return -1;
    TrainResult r = train(MODEL, "run", "whole", &err);
    if (r.step == 6)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

/* The model at a trial's length with the weights of the run, and the recordings as it used them. */
typedef struct Lab {
    Arena arena;
    Dataset data;
    Model *model;
    ClipShape clip;
    int program;
} Lab;

static void lab_open(Lab *l, int64_t frames)
{
    Err err = {0};
    RunMachine m = machine();
    AxisSize bind = {"t", frames};
    *l = (Lab){0};
    ModelOptions o = machine_model_options(&m, MODEL);
    o.recipe = "whole";
    o.batch = 1;
    o.bind = &bind;
    o.n_bind = 1;
    must(dataset_open(&l->data, &l->arena, data, NULL, 0, &err), &err);
    o.sessions = l->data.sessions;
    o.n_sessions = (int)l->data.n;
    must(model_open(&l->model, &o, &err), &err);
    must(dataset_standardise(&l->data, &l->arena, &l->model->info.recipe, NULL, false, &err), &err);
    must(dataset_clip_shape(&l->data, l->model->module, &l->model->info.recipe, frames, 1, &l->clip,
                            &err),
         &err);
    must(model_add(l->model, PROGRAM_EVAL, &l->program, &err), &err);
    must(model_ready(l->model, &err), &err);
    must(weights_load(l->model, scratch_path("run"), WEIGHTS_AVERAGE, NULL, NULL, NULL, NULL, &err),
         &err);
}

static void lab_close(Lab *l)
{
    model_close(l->model);
    arena_free(&l->arena);
}

/* out [neurons frames - LEAD], by hand: the tensors of the three names. */
static void predict_by_hand(Lab *l, uint32_t session, const TrialMap *map, float *out)
{
    Err err = {0};
    const Recording *r = map->recording;
    uint32_t t = map->valid, pixels = r->height * r->width;
    float *x = malloc(clip_input_elems(&l->clip) * sizeof *x);
    assert_int_equal(clip_input_elems(&l->clip), (size_t)t * (pixels + 4));
    must(clip_input(map, &l->clip, t - 1, x, &err), &err);
    memcpy(engine_input(l->model->engine, l->program, "video"), x, (size_t)t * pixels * 4);
    memcpy(engine_input(l->model->engine, l->program, "behavior"), x + (size_t)t * pixels, t * 8);
    memcpy(engine_input(l->model->engine, l->program, "pupil"), x + (size_t)t * (pixels + 2),
           t * 8);
    must(engine_run(l->model->engine, l->program, NULL, &err), &err);
    must(engine_read(l->model->engine, l->program, RESULT_OUTPUT, l->data.sessions[session].name,
                     out, &err),
         &err);
    free(x);
}

static void whole_trials_are_predicted_by_their_length(void **state)
{
    (void)state;
    Err err = {0};
    PredictOptions p = {.run_dir = scratch_path("run"),
                        .tiers = TIER_BIT(TIER_ORACLE) | TIER_BIT(TIER_LIVE_MAIN),
                        .machine = machine()};
    must(predict_run(&p, &err), &err);
    Arena arena = {0};
    Dataset d;
    uint32_t n_seen = 0, lengths[2] = {0};
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    for (uint32_t i = 0; i < d.recording[1]->n_trials; i++) {
        Lab l;
        TrialMap map;
        Npy got;
        uint32_t valid;
        float want[NEURONS * LONGEST];
        char file[4300];
        if (!(TIER_BIT(d.recording[1]->trials[i].tier) & p.tiers))
            continue;
        must(recording_valid_frames(d.recording[1], i, &valid, &err), &err);
        lab_open(&l, valid < LONGEST ? valid : LONGEST);
        must(trial_map(&map, l.data.recording[1], i, &err), &err);
        assert_int_equal(map.valid, valid < LONGEST ? valid : LONGEST);
        assert_int_equal(clip_outputs(&l.clip), map.valid - LEAD);
        predict_by_hand(&l, 1, &map, want);
        snprintf(file, sizeof file, "%s/predictions/%s/%s/%u.npy", scratch_path("run"),
                 d.recording[1]->name, tier_name(d.recording[1]->trials[i].tier), i);
        must(npy_open(&got, file, &err), &err);
        assert_int_equal(got.head.shape[1], map.valid - LEAD);
        for (uint32_t k = 0; k < got.head.elems; k++)
            assert_true(fabs(npy_double(&got, k) - (double)want[k]) <=
                        1e-5 * (1 + fabs((double)want[k])));
        npy_close(&got);
        lengths[map.valid < LONGEST] = map.valid;
        n_seen++;
        trial_unmap(&map);
        lab_close(&l);
    }
    assert_true(n_seen > 3 && lengths[0] && lengths[1]); /* two lengths at least */
    arena_free(&arena);
}

/* The score of the last validation is that of whole trials behind their burn-in. */
static void validation_sees_whole_trials(void **state)
{
    (void)state;
    enum { ROOM = 4000, BURN_IN = 50 };
    static double a[NEURONS][ROOM], b[NEURONS][ROOM];
    Arena arena = {0};
    Dataset d;
    Err err = {0};
    TrainResult r = train(MODEL, "again", "whole", &err);
    double total = 0;
    assert_int_equal(r.step, 6);
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    for (uint32_t m = 0; m < d.n; m++) {
        uint32_t n = 0, *trials,
                 n_trials =
                     recording_trials(d.recording[m], TIER_BIT(TIER_ORACLE), &arena, &trials);
        for (uint32_t i = 0; i < n_trials; i++) {
            Lab l;
            TrialMap map;
            uint32_t valid;
            float y[NEURONS * LONGEST], target[NEURONS * 80];
            must(recording_valid_frames(d.recording[m], trials[i], &valid, &err), &err);
            lab_open(&l, valid < LONGEST ? valid : LONGEST);
            must(trial_map(&map, l.data.recording[m], trials[i], &err), &err);
            predict_by_hand(&l, m, &map, y);
            must(clip_target(&map, &l.clip, map.valid - 1, target, &err), &err);
            for (uint32_t t = BURN_IN; t < map.valid; t++, n++)
                for (uint32_t k = 0; k < NEURONS; k++) {
                    a[k][n] = (double)y[k * (map.valid - LEAD) + t - LEAD];
                    b[k][n] = (double)target[k * (map.valid - LEAD) + t - LEAD];
                }
            trial_unmap(&map);
            lab_close(&l);
        }
        for (uint32_t k = 0; k < NEURONS; k++)
            total += metrics_correlation(a[k], b[k], n, METRICS_EPS) / NEURONS / d.n;
        assert_true(n > 0);
    }
    assert_true(fabs(total - r.score) < 1e-5);
    arena_free(&arena);
}

static void sliding_windows_predict_their_last_frames(void **state)
{
    (void)state;
    Err err = {0};
    TrainResult r = train(MODEL, "slides", "slides", &err);
    assert_int_equal(r.step, 6);
    PredictOptions p = {
        .run_dir = scratch_path("slides"), .tiers = TIER_BIT(TIER_LIVE_MAIN), .machine = machine()};
    must(predict_run(&p, &err), &err);
    ScoreOptions s = {.run_dir = scratch_path("slides"), .machine = machine()};
    must(score_run(&s, &err), &err);
    s.run_dir = scratch_path("run");
    must(score_run(&s, &err), &err); /* predictions that begin later */
}

/* Writes the model with one change. */
static const char *changed(const char *name, const char *from, const char *to)
{
    Arena arena = {0};
    Err err = {0};
    char *text;
    size_t n;
    must(file_read(&arena, MODEL, 1 << 16, &text, &n, &err), &err);
    char *at = strstr(text, from);
    assert_non_null(at);
    char *out = arena_printf(&arena, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    scratch_write(name, out, strlen(out));
    arena_free(&arena);
    return scratch_path(name);
}

static void inputs_that_data_do_not_fill_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } row[] = {
        {"behavior: [b k:2 t:12]", "speed: [b k:1 t:12], behavior: [b k:2 t:12]",
         "recordings fill the inputs clip, video, image, behavior and pupil"},
        {"pupil: [b k:2 t:12]", "pupil: [b k:3 t:12]", "the recordings have 2 values per frame"},
        {"video: [b c:1 t:12", "video: [b c:2 t:12", "the recordings have 1 channels per frame"},
        {"h:8 w:12", "h:9 w:12", "the model wants h:9 w:12"},
        {"h:8 w:12", "h:9 w:12", "add  |> pad([h: 9, w: 12])"},
        {"h:8 w:12", "h:7 w:12", "build the model for them: --set h=8 --set w=12"},
        {"behavior: [b k:2 t:12]", "behavior: [b t:12 k:2]", "its axes are [b k t]"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char name[40];
        Err err = {0};
        Arena arena = {0};
        snprintf(name, sizeof name, "changed%zu.nm", i);
        const char *path = arena_printf(&arena, "%s", changed(name, row[i].from, row[i].to));
        train(path, "refused", "whole", &err);
        assert_says(err, "error[E0410]: the data do not fit the model's input");
        assert_says(err, row[i].says);
        assert_says(err, name); /* file and place */
        assert_says(err, ".nm:5:");
        arena_free(&arena);
    }
}

/* The second of the two recordings has public test responses, the first withholds them. */
static void released_tiers_can_train(void **state)
{
    (void)state;
    Arena arena = {0};
    Dataset d;
    Recipe recipe;
    Split own, more;
    Err err = {0};
    uint32_t *list;
    recipe_default(&recipe);
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    must(split_trials(&own, &arena, d.recording, d.n, &recipe, NULL, &err), &err);
    recipe.train_tiers = RECIPE_TIERS_RELEASED;
    must(split_trials(&more, &arena, d.recording, d.n, &recipe, NULL, &err), &err);
    uint32_t n = recording_trials(d.recording[1], TIERS_LABELLED_IF_RELEASED, &arena, &list);
    assert_true(n > 0);
    assert_int_equal(own.train[0].n_trials, more.train[0].n_trials);
    assert_int_equal(own.train[1].n_trials + n, more.train[1].n_trials);
    for (uint32_t m = 0; m < 2; m++)
        assert_int_equal(own.validate[m].n_trials, more.validate[m].n_trials);
    arena_free(&arena);
}

/* Transformed responses, over all frames of the trials to train on. */
static void means_and_deviations_are_of_what_is_trained_on(void **state)
{
    (void)state;
    Arena arena = {0};
    Dataset d;
    Recipe recipe;
    Err err = {0};
    SamplerSession train[2];
    recipe_default(&recipe);
    recipe.responses = RECIPE_RESPONSES_FRAMES;
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    must(dataset_standardise(&d, &arena, &recipe, NULL, false, &err), &err);
    for (uint32_t m = 0; m < 2; m++) {
        uint32_t *trials,
            n = recording_trials(d.recording[m], TIER_BIT(TIER_TRAIN), &arena, &trials);
        train[m] = (SamplerSession){d.recording[m], trials, n};
        assert_int_equal(d.sessions[m].n_coordinates, 3);
        assert_null(d.sessions[m].means);
    }
    must(dataset_means(&d, &arena, train, &err), &err);
    double sum = 0, squares = 0, n = 0;
    for (uint32_t i = 0; i < train[1].n_trials; i++) {
        TrialMap map;
        float y[NEURONS * 100];
        must(trial_map(&map, d.recording[1], train[1].trials[i], &err), &err);
        ClipShape all = {.size = map.valid, .step = 1};
        must(clip_target(&map, &all, map.valid - 1, y, &err), &err);
        for (uint32_t t = 0; t < map.valid; t++, n++) {
            double x = (double)y[(NEURONS - 1) * map.valid + t];
            sum += x;
            squares += x * x;
        }
        trial_unmap(&map);
    }
    assert_true(sum > 0 &&
                fabs((double)d.sessions[1].means[NEURONS - 1] - sum / n) < 1e-6 * sum / n);
    double sd = sqrt(squares / n - sum / n * (sum / n));
    assert_true(sd > 0 && fabs((double)d.sessions[1].deviations[NEURONS - 1] - sd) < 1e-6 * sd);
    arena_free(&arena);
}

/* Training makes the means when a parameter begins at them, and builds the model again. */
static void parameters_begin_at_the_means(void **state)
{
    (void)state;
    static const char *const sets[] = {"stage.train=1steps", "stage.train.lr.from=0"};
    const char *path =
        changed("means.nm", "return x |> dense([n: s.neurons], from: c, bias: yes, name: \"\")",
                "param mean: [n: s.neurons] = s.means\n"
                "    param relative: [n: s.neurons] = s.relative_means\n"
                "    y = x |> dense([n: s.neurons], from: c, name: \"\")\n"
                "    return mean + relative + y");
    Arena arena = {0};
    TrainResult r;
    Dataset d;
    Split split;
    Model *m;
    Err err = {0};
    RunMachine own = machine();
    TrainOptions t = {.model_path = path,
                      .run_dir = scratch_path("means"),
                      .data = data,
                      .recipe = "whole",
                      .sets = sets,
                      .n_sets = 2,
                      .machine = own};
    must(train_run(&t, &r, &err), &err);
    ModelOptions o = machine_model_options(&own, scratch_path("means/model.nm"));
    must(model_open(&m, &o, &err), &err);
    must(model_ready(m, &err), &err);
    must(weights_load(m, scratch_path("means"), WEIGHTS_RAW, NULL, NULL, NULL, NULL, &err), &err);
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    must(dataset_standardise(&d, &arena, &m->info.recipe, NULL, false, &err), &err);
    must(split_trials(&split, &arena, d.recording, d.n, &m->info.recipe, NULL, &err), &err);
    must(dataset_means(&d, &arena, split.train, &err), &err);
    for (uint32_t s = 0; s < d.n; s++) {
        const float *at =
            engine_tensor(m->engine, arena_printf(&arena, "readout.%s.mean", d.sessions[s].name));
        assert_non_null(at);
        assert_true(at[0] > 0);
        assert_memory_equal(at, d.sessions[s].means, NEURONS * sizeof *at);
        at = engine_tensor(m->engine,
                           arena_printf(&arena, "readout.%s.relative", d.sessions[s].name));
        for (int k = 0; k < NEURONS; k++)
            assert_true(at[k] == d.sessions[s].means[k] / d.sessions[s].deviations[k]);
    }
    model_close(m);
    arena_free(&arena);
}

static void cutmix_is_refused_for_values_apart(void **state)
{
    (void)state;
    Err err = {0};
    train(changed("mixed.nm", "batch     = 6 clips", "mix = cutmix(alpha: 1)\n  batch = 6 clips"),
          "refused", "whole", &err);
    assert_says(err, "write  mix = none");
}

static void parameters_that_depend_on_the_length_are_refused(void **state)
{
    (void)state;
    Err err = {0};
    train(changed("long.nm", "kernel: [t: 5], pad: [t: 0]",
                  "kernel: [t: 5 + 2 * floor((video.t - 12) / 2)], "
                  "pad: [t: floor((video.t - 12) / 2)]"),
          "refused", "whole", &err);
    assert_says(err, "whole trials need parameters that do not depend on the length");
    Err other = {0};
    train(changed("short.nm", "[t: 4..video.t]", "[t: 4..12]"), "refused", "whole", &other);
    assert_says(other, "cannot be built for trials of");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_trials_are_predicted_by_their_length),
        cmocka_unit_test(validation_sees_whole_trials),
        cmocka_unit_test(sliding_windows_predict_their_last_frames),
        cmocka_unit_test(inputs_that_data_do_not_fill_are_named),
        cmocka_unit_test(released_tiers_can_train),
        cmocka_unit_test(means_and_deviations_are_of_what_is_trained_on),
        cmocka_unit_test(parameters_begin_at_the_means),
        cmocka_unit_test(cutmix_is_refused_for_values_apart),
        cmocka_unit_test(parameters_that_depend_on_the_length_are_refused),
    };
    return cmocka_run_group_tests(tests, make_data, scratch_remove);
}
