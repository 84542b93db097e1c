/* Recordings of images, from disk to scores: reading, what is said of damaged ones, statistics,
 * training, prediction. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/data_check.h"
#include "runtime/dataset.h"
#include "data/import.h"
#include "data/metrics.h"
#include "data/npy_write.h"
#include "runtime/predict.h"
#include "runtime/score.h"
#include "data/standardise.h"
#include "data/synth_images.h"
#include "runtime/train.h"
#include "tests/unit/scratch.h"

#define MODEL "tests/models/pictures.nm"
enum { NEURONS = 20, IMAGES = 40, COLOURS = 2, HEIGHT = 3, WIDTH = 5, UNITS = 4 };

static char data[4096], cache[4096];
static SynthSummary made[2];
static Arena arena;

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
        .threads = 1, .workers = 2, .cache_folder = cache, .progress = PROGRESS_QUIET};
}

static int make_data(void **state)
{
    if (scratch_make(state))
        return -1;
    SynthOptions o = synth_image_defaults();
    Err err = {0};
    o.neurons = NEURONS;
    o.trials = IMAGES;
    o.height = 12;
    o.width = 16;
    o.clips = 5;
    o.repeats = 3;
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(cache, sizeof cache, "%s", scratch_path("cache"));
    if (file_make_folder(cache, &err) == NPC_OK &&
        synth_images_write(data, &o, NULL, NULL, made, &err) == NPC_OK)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int end(void **state)
{
    arena_free(&arena);
    return scratch_remove(state);
}

/* ---- a recording of two colours, every value of which says where it stands ---- */

static const char *const TIERS[] = {"train", "test", "train", "validation", "none", "train"};
enum { TRIALS = sizeof TIERS / sizeof *TIERS };

static float pixel(uint32_t trial, uint32_t c, uint32_t row, uint32_t col)
{
    return (float)(1000 * c + 100 * row + 10 * col + trial);
}

static const char *inside(const char *folder, const char *rest)
{
    return arena_printf(&arena, "%s/%s", folder, rest);
}

static void write_trial(const char *folder, uint32_t i)
{
    float picture[COLOURS * HEIGHT * WIDTH], responses[UNITS], pupil[2] = {5.0f + i, 7.0f - i};
    double behavior[3] = {1.0 + i, 0.5 * i, 10.0 * i};
    Err err = {0};
    float *at = picture;
    for (uint32_t c = 0; c < COLOURS; c++)
        for (uint32_t row = 0; row < HEIGHT; row++)
            for (uint32_t col = 0; col < WIDTH; col++)
                *at++ = pixel(i, c, row, col);
    for (uint32_t k = 0; k < UNITS; k++)
        responses[k] = (float)k - 0.5f + (float)i;
    char name[60];
    snprintf(name, sizeof name, "data/images/%u.npy", i);
    must(npy_write(inside(folder, name), NPY_WRITE_F4, picture, (size_t[]){COLOURS, HEIGHT, WIDTH},
                   3, &err),
         &err);
    snprintf(name, sizeof name, "data/responses/%u.npy", i);
    must(npy_write(inside(folder, name), NPY_WRITE_F4, responses, (size_t[]){UNITS}, 1, &err),
         &err);
    snprintf(name, sizeof name, "data/behavior/%u.npy", i);
    must(npy_write(inside(folder, name), NPY_WRITE_F8, behavior, (size_t[]){3}, 1, &err), &err);
    snprintf(name, sizeof name, "data/pupil_center/%u.npy", i);
    must(npy_write(inside(folder, name), NPY_WRITE_F4, pupil, (size_t[]){2}, 1, &err), &err);
}

static const char *two_colours(const char *name)
{
    static const char *const folders[] = {"data/images",       "data/responses", "data/behavior",
                                          "data/pupil_center", "meta/trials",    "meta/neurons"};
    const char *folder = arena_strdup(&arena, scratch_path(name));
    int64_t ids[TRIALS] = {7, 8, 9, 8, 7, 7}, units[UNITS] = {1, 2, 3, 4};
    float places[UNITS * 2] = {0};
    Err err = {0};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        must(file_make_folder(inside(folder, folders[i]), &err), &err);
    for (uint32_t i = 0; i < TRIALS; i++)
        write_trial(folder, i);
    must(npy_write_text(inside(folder, "meta/trials/tiers.npy"), TIERS, TRIALS, &err), &err);
    must(npy_write(inside(folder, "meta/trials/colorframeprojector_image_id.npy"), NPY_WRITE_I8,
                   ids, (size_t[]){TRIALS}, 1, &err),
         &err);
    must(npy_write(inside(folder, "meta/neurons/unit_ids.npy"), NPY_WRITE_I8, units,
                   (size_t[]){UNITS}, 1, &err),
         &err);
    must(npy_write(inside(folder, "meta/neurons/cell_motor_coordinates.npy"), NPY_WRITE_F4, places,
                   (size_t[]){UNITS, 2}, 2, &err),
         &err);
    return folder;
}

static Recording *opened(const char *folder)
{
    Recording *r;
    Err err = {0};
    must(recording_open(&r, &arena, folder, &err), &err);
    return r;
}

static void images_are_read_as_films_of_one_frame(void **state)
{
    (void)state;
    Recording *r = opened(two_colours("colours"));
    TrialMap map;
    Err err = {0};
    uint32_t *list, frames;
    bool withheld;
    assert_true(r->is_images);
    assert_int_equal(r->colours, COLOURS);
    assert_int_equal(r->height, HEIGHT);
    assert_int_equal(r->width, WIDTH);
    assert_int_equal(r->n_behaviors, 3);
    assert_int_equal(r->n_neurons, UNITS);
    assert_int_equal(r->n_coordinates, 2);
    assert_int_equal(r->image_ids[3], 8);
    assert_int_equal(recording_trials(r, TIER_BIT(TIER_TRAIN), &arena, &list), 3);
    assert_int_equal(recording_trials(r, TIERS_VALIDATION, &arena, &list), 1);
    must(recording_valid_frames(r, 2, &frames, &err), &err);
    assert_int_equal(frames, 1);
    must(recording_is_withheld(r, 1, &withheld, &err), &err);
    assert_false(withheld);

    ClipShape s = {.height = HEIGHT + 1,
                   .width = WIDTH + 2,
                   .size = 1,
                   .step = 1,
                   .colours = COLOURS,
                   .behaviors = 3,
                   .inputs =
                       INPUT_BIT(INPUT_IMAGE) | INPUT_BIT(INPUT_BEHAVIOR) | INPUT_BIT(INPUT_PUPIL)};
    enum { PLANE = (HEIGHT + 1) * (WIDTH + 2) };
    float x[COLOURS * PLANE + 3 + 2], y[UNITS];
    assert_int_equal(clip_input_elems(&s), sizeof x / sizeof *x);
    must(clip_check(&s, r, &err), &err);
    must(trial_map(&map, r, 2, &err), &err);
    must(clip_input(&map, &s, 0, x, &err), &err);
    must(clip_target(&map, &s, 0, y, &err), &err);
    for (uint32_t c = 0; c < COLOURS; c++)
        for (uint32_t row = 0; row < HEIGHT; row++)
            for (uint32_t col = 0; col < WIDTH; col++)
                assert_true(x[c * PLANE + row * (WIDTH + 2) + col + 1] == pixel(2, c, row, col));
    assert_true(x[0] == 0 && x[COLOURS * PLANE - 1] == 0); /* the border */
    assert_true(x[COLOURS * PLANE] == 3 && x[COLOURS * PLANE + 1] == 1);
    assert_true(x[COLOURS * PLANE + 2] == 20 && x[COLOURS * PLANE + 4] == 5);
    assert_true(y[0] == 1.5f && y[3] == 4.5f);
    trial_unmap(&map);
}

/* Over trials 0, 2 and 5; stored ones of any shape that fits. */
static void images_are_standardised(void **state)
{
    (void)state;
    const char *folder = two_colours("standard");
    Recording *r = opened(folder);
    Recipe recipe;
    TrialMap map;
    Err err = {0};
    ClipShape s = {.height = HEIGHT,
                   .width = WIDTH,
                   .size = 1,
                   .step = 1,
                   .colours = COLOURS,
                   .behaviors = 3,
                   .inputs = INPUT_BIT(INPUT_IMAGE) | INPUT_BIT(INPUT_BEHAVIOR)};
    float x[COLOURS * HEIGHT * WIDTH + 3], y[UNITS];
    recipe_default(&recipe);
    recipe.inputs = RECIPE_INPUTS_TIME; /* per pixel */
    recipe.responses = RECIPE_RESPONSES_NEURONS;
    must(standardise(r, &arena, &recipe, NULL, false, &err), &err);
    must(trial_map(&map, r, 2, &err), &err);
    must(clip_input(&map, &s, 0, x, &err), &err);
    must(clip_target(&map, &s, 0, y, &err), &err);
    double mean = 7 / 3.0, std = sqrt((0 + 4 + 25) / 3.0 - mean * mean);
    for (uint32_t i = 0; i < COLOURS * HEIGHT * WIDTH; i++) /* rounding of values up to 1245 */
        assert_true(fabs((double)x[i] - (2 - mean) / std) < 2e-4);
    assert_true(fabs((double)x[COLOURS * HEIGHT * WIDTH + 2] - 20 / (10 * std)) < 1e-6);
    assert_true(fabs((double)y[3] - 4.5 / std) < 1e-5);

    static const char *const stats[] = {"mean", "std", "min", "max"};
    double of_colour[COLOURS] = {100, 1100};
    must(file_make_folder(inside(folder, "meta/statistics/images/all"), &err), &err);
    for (int i = 0; i < 4; i++)
        must(npy_write(inside(folder,
                              arena_printf(&arena, "meta/statistics/images/all/%s.npy", stats[i])),
                       NPY_WRITE_F8, of_colour, (size_t[]){COLOURS, 1, 1}, 3, &err),
             &err);
    must(standardise(r, &arena, &recipe, NULL, false, &err), &err);
    must(clip_input(&map, &s, 0, x, &err), &err);
    assert_true(fabs((double)x[0] - (2 - 100) / 100.0) < 1e-5);
    assert_true(fabs((double)x[HEIGHT * WIDTH] - (1002 - 1100) / 1100.0) < 1e-5);
    trial_unmap(&map);
}

static void assert_finds(const DataReport *r, const char *path, const char *what)
{
    for (uint32_t i = 0; i < r->findings.list.len; i++)
        if (strstr(r->findings.list.at[i].path, path) && strstr(r->findings.list.at[i].what, what))
            return;
    data_report_print(r, stderr);
    fail_msg("no finding \"%s: %s\"", path, what);
}

static void everything_wrong_with_images_is_named(void **state)
{
    (void)state;
    const char *folder = two_colours("bad");
    float zeros[100] = {0}, nan[UNITS] = {NAN, NAN, NAN, NAN};
    int64_t ids[3] = {1, 2, 3};
    Err err = {0};
    DataReport r;
    npy_write(inside(folder, "data/images/1.npy"), NPY_WRITE_F4, zeros, (size_t[]){HEIGHT, WIDTH},
              2, &err);
    npy_write(inside(folder, "data/behavior/2.npy"), NPY_WRITE_F4, zeros, (size_t[]){2}, 1, &err);
    npy_write(inside(folder, "data/responses/3.npy"), NPY_WRITE_F4, nan, (size_t[]){UNITS}, 1,
              &err);
    npy_write(inside(folder, "meta/trials/colorframeprojector_image_id.npy"), NPY_WRITE_I8, ids,
              (size_t[]){3}, 1, &err);
    unlink(inside(folder, "data/images/0.npy"));
    must(data_check(&r, &arena, folder, &err), &err);
    assert_finds(&r, "data/images/0.npy", "missing file");
    assert_finds(&r, "data/images/1.npy", "float32 (3, 5)");
    assert_finds(&r, "data/behavior/2.npy", "float32 (2,)");
    assert_finds(&r, "data/responses/3.npy", "nothing but NaN");
    assert_finds(&r, "colorframeprojector_image_id.npy", "int64 (3,)");
    assert_finds(&r, "meta/statistics", "missing images/mean");

    Recording *refused;
    const char *tiers = two_colours("tiers");
    const char *wrong[TRIALS] = {"train", "train", "live", "train", "train", "train"};
    must(npy_write_text(inside(tiers, "meta/trials/tiers.npy"), wrong, TRIALS, &err), &err);
    assert_int_equal(recording_open(&refused, &arena, tiers, &err), NPC_ERR_INPUT);
    assert_says(err, "train, validation, test, final_test or none");
}

/* ---- whole runs ---- */

static void made_recordings_have_nothing_wrong(void **state)
{
    (void)state;
    Err err = {0};
    DataReport r;
    must(data_check(&r, &arena, data, &err), &err);
    if (r.findings.list.len)
        data_report_print(&r, stderr);
    assert_int_equal(r.findings.list.len, 0);
    assert_int_equal(r.n_recordings, 2);
    assert_true(r.recordings[0].is_images);
    assert_int_equal(r.recordings[0].n_images, IMAGES + 4 + 2 * 5);
    assert_int_equal(r.recordings[0].tier_withheld[TIER_TEST], 15);
    assert_int_equal(r.recordings[1].tier_withheld[TIER_TEST], 0);
    for (int m = 0; m < 2; m++) /* the true rate says more of means than of trials */
        for (int k = 0; k < 2; k++)
            assert_true(made[m].tier[k].single_trial > 0.3 &&
                        made[m].tier[k].to_average > made[m].tier[k].single_trial);
}

static void equal_seeds_give_equal_bytes(void **state)
{
    (void)state;
    SynthOptions o = synth_image_defaults();
    Err err = {0};
    SynthSummary summary;
    o.mice = 1;
    o.neurons = 5;
    o.trials = 10;
    o.height = o.width = 8;
    o.clips = 2;
    o.repeats = 2;
    must(synth_images_write(scratch_path("one"), &o, NULL, NULL, &summary, &err), &err);
    must(synth_images_write(scratch_path("two"), &o, NULL, NULL, &summary, &err), &err);
    for (int k = 0; k < 2; k++) {
        char *a, *b;
        size_t n, m;
        const char *file =
            arena_printf(&arena, "%s/data/%s/3.npy", summary.name, k ? "images" : "responses");
        must(file_read(&arena, inside(scratch_path("one"), file), 1 << 20, &a, &n, &err), &err);
        must(file_read(&arena, inside(scratch_path("two"), file), 1 << 20, &b, &m, &err), &err);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n);
    }
    assert_int_equal(synth_images_write(scratch_path("one"), &o, NULL, NULL, NULL, &err),
                     NPC_ERR_INPUT);
    assert_says(err, "not empty");
}

static void a_model_of_images_trains_predicts_and_scores(void **state)
{
    (void)state;
    Err err = {0};
    TrainResult result;
    TrainOptions t = {
        .model_path = MODEL, .run_dir = scratch_path("run"), .data = data, .machine = machine()};
    must(train_run(&t, &result, &err), &err);
    assert_int_equal(result.step, 10);
    assert_true(isfinite(result.loss) && isfinite(result.score));
    PredictOptions p = {.run_dir = scratch_path("run"), .batch = 4, .machine = machine()};
    must(predict_run(&p, &err), &err);

    /* by hand: correlations over the trials of a tier, then over images */
    Dataset d;
    TierScore score;
    bool found;
    ScoreRules rules = {.burn_in = 50};
    const char *folder = arena_strdup(&arena, scratch_path("run/predictions"));
    must(dataset_open(&d, &arena, data, NULL, 0, &err), &err);
    const Recording *r = d.recording[1];
    must(score_tier(&score, &found, &arena, r, TIER_TEST, folder, NULL, &rules, NULL, &err), &err);
    assert_true(found && score.n_clips == 5 && score.n_trials == 15 && score.has_ceiling);
    double a[15], b[15], mean_a[5], mean_b[5], single = 0, average = 0;
    uint32_t *trials, n = recording_trials(r, TIER_BIT(TIER_TEST), &arena, &trials);
    assert_int_equal(n, 15);
    for (uint32_t k = 0; k < NEURONS; k++) {
        memset(mean_a, 0, sizeof mean_a);
        memset(mean_b, 0, sizeof mean_b);
        for (uint32_t i = 0; i < n; i++) {
            Npy x, y;
            must(npy_open(&x, arena_printf(&arena, "%s/%s/test/%u.npy", folder, r->name, trials[i]),
                          &err),
                 &err);
            must(npy_open(&y, arena_printf(&arena, "%s/data/responses/%u.npy", r->path, trials[i]),
                          &err),
                 &err);
            assert_int_equal(x.head.shape[1], 1);
            a[i] = npy_double(&x, k);
            b[i] = npy_double(&y, k);
            int64_t image = r->image_ids[trials[i]] - (IMAGES + 4);
            assert_true(image >= 0 && image < 5);
            mean_a[image] += a[i] / 3;
            mean_b[image] += b[i] / 3;
            npy_close(&x);
            npy_close(&y);
        }
        single += metrics_correlation(a, b, n, METRICS_EPS) / NEURONS;
        average += metrics_correlation(mean_a, mean_b, 5, METRICS_EPS) / NEURONS;
    }
    assert_true(fabs(single - score.of_all[SCORE_SINGLE_TRIAL]) < 1e-6);
    assert_true(fabs(average - score.of_all[SCORE_TO_AVERAGE]) < 1e-6);
    assert_non_null(score.of_neuron[SCORE_EXPLAINED]);
    assert_null(score.of_neuron[SCORE_NORMALISED]); /* an image has no course in time */
    ScoreOptions s = {.run_dir = scratch_path("run"), .machine = machine()};
    must(score_run(&s, &err), &err);
}

static void kinds_do_not_mix(void **state)
{
    (void)state;
    Err err = {0};
    TrainResult result;
    TrainOptions t = {.model_path = "tests/models/named.nm",
                      .run_dir = scratch_path("refused"),
                      .data = data,
                      .machine = machine()};
    train_run(&t, &result, &err);
    assert_says(err, "these are recordings of images, which fill image: [b c h w]");
    t.model_path = MODEL;
    t.sets = (const char *[]){"split=folds(3)"};
    t.n_sets = 1;
    Err folds = {0};
    train_run(&t, &result, &folds);
    assert_says(folds, "a recording of images is split by its tiers");
    t.model_path = "models/v1t.nm";
    t.n_sets = 0;
    Err size = {0};
    train_run(&t, &result, &size);
    assert_says(size, "error[E0410]: the data do not fit the model's input 'image");
    assert_says(size, "images are [h:12 w:16], the model wants h:");
}

/* ---- macaque V4 ---- */

static void write_macaque(const char *folder)
{
    enum { PICTURES = 130, REPEATS = 7 };
    static double counts[3 * PICTURES * REPEATS];
    static int64_t stimuli[PICTURES * 2 * 4];
    Err err = {0};
    for (int unit = 0; unit < 3; unit++)
        for (int i = 0; i < PICTURES; i++)
            for (int k = 0; k < REPEATS; k++)
                counts[(unit * PICTURES + i) * REPEATS + k] =
                    i == 1 && k > 4 ? (double)NAN : 100 * unit + i + 0.125 * k;
    for (int i = 0; i < PICTURES * 8; i++)
        stimuli[i] = i % 251;
    must(file_make_folder(inside(folder, "stimuli_36x64"), &err), &err);
    must(file_make_folder(inside(folder, "responses_raw"), &err), &err);
    must(npy_write(inside(folder, "stimuli_36x64/stimuli_210325.npy"), NPY_WRITE_I8, stimuli,
                   (size_t[]){PICTURES, 2, 4}, 3, &err),
         &err);
    must(npy_write(inside(folder, "responses_raw/responses_210325.npy"), NPY_WRITE_F8, counts,
                   (size_t[]){3, PICTURES, REPEATS}, 3, &err),
         &err);
}

static void single_trials_of_macaques_become_trials(void **state)
{
    (void)state;
    const char *from = arena_strdup(&arena, scratch_path("macaque"));
    ImportedList done = {0};
    Err err = {0};
    uint32_t *list;
    write_macaque(from);
    must(import_macaque_v4(&arena, from, scratch_path("imported"), &done, &err), &err);
    assert_int_equal(done.n, 1);
    Recording *r = opened(scratch_path("imported/macaque-v4-210325"));
    assert_int_equal(r->n_neurons, 3);
    assert_int_equal(r->n_trials, 130 * 6 - 1); /* six repeats, one of image 1 not shown */
    assert_int_equal(recording_trials(r, TIER_BIT(TIER_TRAIN), &arena, &list), 2 * 6 - 1);
    assert_int_equal(r->image_ids[8], 1);
    TrialMap map;
    float y[3];
    ClipShape s = {.size = 1, .step = 1};
    must(trial_map(&map, r, 8, &err), &err);
    must(clip_target(&map, &s, 0, y, &err), &err);
    assert_true(y[2] == 201.25f); /* unit 2, image 1, repeat 2 */
    trial_unmap(&map);
    assert_int_equal(import_macaque_v4(&arena, scratch_path("nothing"), scratch_path("imported"),
                                       &(ImportedList){0}, &err),
                     NPC_ERR_INPUT);
    assert_says(err, "no session here");
}

/* The recording itself, where it lies beside the sources (or $NPC_MACAQUE_V4): each trial against
 * the mean of the image's five others correlates with 0.457 on average over units, as
 * the note that comes with the data says. */
static void the_real_recording_has_its_noise_ceiling(void **state)
{
    (void)state;
    const char *given = getenv("NPC_MACAQUE_V4");
    const char *from = given ? given : "../shared/data/real/macaque_v4";
    ImportedList done = {0};
    Err err = {0};
    if (!file_is_folder(from)) {
        print_message("skipped: no recording of macaque V4; NPC_MACAQUE_V4 names its folder\n");
        skip();
    }
    must(import_macaque_v4(&arena, from, scratch_path("real"), &done, &err), &err);
    assert_int_equal(done.n, 3);
    Recording *r = opened(scratch_path("real/macaque-v4-210325"));
    assert_int_equal(r->n_neurons, 50);
    assert_int_equal(r->n_trials, 640 * 6);
    ScoreTrial *trials = ARENA_ARRAY(&arena, ScoreTrial, r->n_trials);
    float *counts = ARENA_ARRAY(&arena, float, (size_t)r->n_trials * 50);
    double ceiling[50], mean = 0;
    ClipShape s = {.size = 1, .step = 1};
    for (uint32_t i = 0; i < r->n_trials; i++) {
        TrialMap map;
        must(trial_map(&map, r, i, &err), &err);
        must(clip_target(&map, &s, 0, counts + i * 50, &err), &err);
        trials[i] = (ScoreTrial){.response = {counts + i * 50, 1, 1, 1}, .group = r->image_ids[i]};
        trial_unmap(&map);
    }
    ScoreSet set = {trials, r->n_trials, 50, 0};
    must(metrics_leave_one_out_ceiling(&set, ceiling, &err), &err);
    for (int k = 0; k < 50; k++)
        mean += ceiling[k] / 50;
    assert_true(fabs(mean - 0.457) < 5e-4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_are_read_as_films_of_one_frame),
        cmocka_unit_test(images_are_standardised),
        cmocka_unit_test(everything_wrong_with_images_is_named),
        cmocka_unit_test(made_recordings_have_nothing_wrong),
        cmocka_unit_test(equal_seeds_give_equal_bytes),
        cmocka_unit_test(a_model_of_images_trains_predicts_and_scores),
        cmocka_unit_test(kinds_do_not_mix),
        cmocka_unit_test(single_trials_of_macaques_become_trials),
        cmocka_unit_test(the_real_recording_has_its_noise_ceiling),
    };
    return cmocka_run_group_tests(tests, make_data, end);
}
