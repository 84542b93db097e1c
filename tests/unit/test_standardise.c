/* Transforms of recordings against their formulas, written out over the values of tiny_recording.h
 * (specs/viv1t.md 5.3). */
#include "tests/unit/tiny_recording.h"

#include "ir/recipe.h"
#include "runtime/batch.h"
#include "data/blend.h"
#include "data/standardise.h"

static const char *folder;
static Arena arena;

/* Trials 0, 1 and 4 train; frames 37 to 39 are in trial 1 alone. */
static const TinyTrial TRIALS[] = {
    {"train", 40, 37, false}, {"train", 40, 40, false}, {"oracle", 40, 40, false},
    {"none", 40, 0, false},   {"train", 40, 37, false}, {"live_test_main", 40, 40, false},
};
enum { N_TRIALS = sizeof TRIALS / sizeof *TRIALS, FRAMES = 40 };
static const uint32_t TRAIN[] = {0, 1, 4};

static Recording *fresh(const char *name)
{
    Recording *r;
    Err err = {0};
    const char *path = arena_printf(&arena, "%s/%s", folder, name);
    tiny_write(path, TRIALS, N_TRIALS);
    if (recording_open(&r, &arena, path, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return r;
}

static Recipe recipe_of(RecipeInputs inputs, RecipeResponses responses)
{
    Recipe r;
    recipe_default(&r);
    r.inputs = inputs;
    r.responses = responses;
    r.statistics = RECIPE_STATISTICS_COMPUTED;
    return r;
}

static void use(Recording *r, const Recipe *recipe)
{
    Err err = {0};
    if (standardise(r, &arena, recipe, NULL, false, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

typedef struct Numbers {
    double n, mean, std, min, max;
} Numbers;

/* Over the training trials: frame `t`, or all frames when t < 0; row `row`, or `rows` rows. */
static Numbers numbers(Variable v, uint32_t row, uint32_t rows, int t)
{
    Numbers x = {.min = INFINITY, .max = -INFINITY};
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 3; i++)
            for (uint32_t k = row; k < row + rows; k++)
                for (uint32_t f = 0; f < TRIALS[TRAIN[i]].valid; f++) {
                    double a = tiny_value(v, TRAIN[i], k, f);
                    if (t >= 0 && f != (uint32_t)t)
                        continue;
                    if (pass == 0) {
                        x.n++;
                        x.mean += a;
                        x.min = fmin(x.min, a);
                        x.max = fmax(x.max, a);
                    } else {
                        x.std += (a - x.mean) * (a - x.mean);
                    }
                }
        if (pass == 0)
            x.mean /= x.n;
    }
    x.std = sqrt(x.std / x.n);
    return x;
}

/* Frames 11, 14 and 17 of trial 2 as the inputs video, behavior and pupil. */
enum { SIZE = 3, STEP = 3, END = 17 };
static float taken[(TINY_HEIGHT * TINY_WIDTH + 2 + 2) * SIZE];

static void take(const Recording *r)
{
    TrialMap map;
    Err err = {0};
    ClipShape s = {.height = TINY_HEIGHT,
                   .width = TINY_WIDTH,
                   .size = SIZE,
                   .step = STEP,
                   .inputs =
                       INPUT_BIT(INPUT_VIDEO) | INPUT_BIT(INPUT_BEHAVIOR) | INPUT_BIT(INPUT_PUPIL)};
    assert_int_equal(clip_input_elems(&s), sizeof taken / sizeof *taken);
    assert_int_equal(trial_map(&map, r, 2, &err), NPC_OK);
    assert_int_equal(clip_input(&map, &s, END, taken, &err), NPC_OK);
    trial_unmap(&map);
}

static void assert_near(float got, double want)
{
    if (!(fabs((double)got - want) <= 2e-6 * (1 + fabs(want))))
        fail_msg("%.9g is not %.9g", (double)got, want);
}

/* Statistics and data are float32, so a difference of large values has the rounding of these, times
 * what a unit of x makes in the result. */
static void assert_close(float got, double want, double x, double slope)
{
    if (!(fabs((double)got - want) <= 4e-7 * fabs(x * slope) + 2e-6 * (1 + fabs(want))))
        fail_msg("%.9g is not %.9g", (double)got, want);
}

typedef double Rule(const Numbers *n, double x);

static double zscore(const Numbers *n, double x)
{
    return (x - n->mean) / (n->std > 0 ? n->std + 1.1920928955078125e-07 : 1);
}

static double scale(const Numbers *n, double x)
{
    return x / (n->std > 0 ? n->std : 1);
}

static double range(const Numbers *n, double x)
{
    return (x - n->min) / (n->max > n->min ? n->max - n->min : 1);
}

static double mixed(const Numbers *n, double x)
{
    return (x - n->mean) / (n->std - n->mean != 0 ? n->std - n->mean : 1);
}

/* Every pixel and value that was taken; statistics of one frame, or of all; of the video perhaps
 * over all pixels. */
static void assert_taken(Rule *video, Rule *behavior, Rule *pupil, bool per_frame, bool one_video)
{
    uint32_t pixels = TINY_HEIGHT * TINY_WIDTH;
    const float *at = taken;
    for (uint32_t row = 0; row < pixels + 4; row++)
        for (uint32_t i = 0; i < SIZE; i++) {
            Variable v = row < pixels ? VAR_VIDEO : row < pixels + 2 ? VAR_BEHAVIOR : VAR_PUPIL;
            uint32_t k = v == VAR_VIDEO ? row : (row - pixels) % 2;
            uint32_t t = END - (SIZE - 1 - i) * STEP;
            Numbers n = v == VAR_VIDEO && one_video ? numbers(v, 0, pixels, -1)
                                                    : numbers(v, k, 1, per_frame ? (int)t : -1);
            Rule *rule = v == VAR_VIDEO ? video : v == VAR_BEHAVIOR ? behavior : pupil;
            double x = tiny_value(v, 2, k, t);
            /* pictures are [frames pixels], values [rows frames] */
            assert_close(v == VAR_VIDEO ? taken[i * pixels + k] : at[row * SIZE + i], rule(&n, x),
                         x, rule(&n, 1) - rule(&n, 0));
        }
}

static void inputs_follow_the_table(void **state)
{
    (void)state;
    static const struct {
        RecipeInputs inputs;
        Rule *video, *behavior, *pupil;
        bool per_frame, one_video;
    } row[] = {
        {RECIPE_INPUTS_FRAMES, zscore, scale, zscore, true, false},
        {RECIPE_INPUTS_PUBLISHED, mixed, range, range, true, false},
        {RECIPE_INPUTS_TIME, zscore, scale, zscore, false, false},
        {RECIPE_INPUTS_TIME_RANGE, range, range, range, false, false},
        {RECIPE_INPUTS_ALL, zscore, scale, zscore, false, true},
        {RECIPE_INPUTS_ALL_RANGE, range, range, range, false, true},
    };
    Recording *r = fresh("inputs");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Recipe recipe = recipe_of(row[i].inputs, RECIPE_RESPONSES_POSITIVE);
        use(r, &recipe);
        take(r);
        assert_taken(row[i].video, row[i].behavior, row[i].pupil, row[i].per_frame,
                     row[i].one_video);
    }
}

/* Responses [3 neurons, 2 outputs] at frames 14 and 17 of trial 2. */
static void take_responses(const Recording *r, float *y)
{
    TrialMap map;
    Err err = {0};
    ClipShape s = {.height = 1, .width = 1, .size = SIZE, .step = STEP, .outputs = 2};
    assert_int_equal(trial_map(&map, r, 2, &err), NPC_OK);
    assert_int_equal(clip_target(&map, &s, END, y, &err), NPC_OK);
    trial_unmap(&map);
}

static void responses_follow_the_table(void **state)
{
    (void)state;
    float y[TINY_NEURONS * 2], std[TINY_NEURONS * FRAMES], of_neuron[TINY_NEURONS],
        w[TINY_NEURONS * FRAMES], w_neuron[TINY_NEURONS];
    for (uint32_t k = 0; k < TINY_NEURONS; k++) {
        of_neuron[k] = (float)numbers(VAR_RESPONSE, k, 1, -1).std;
        for (uint32_t t = 0; t < FRAMES; t++)
            std[k * FRAMES + t] = (float)numbers(VAR_RESPONSE, k, 1, (int)t).std;
    }
    response_precision(std, TINY_NEURONS * FRAMES, w);
    response_precision(of_neuron, TINY_NEURONS, w_neuron);
    Recording *r = fresh("responses");
    for (int rule = RECIPE_RESPONSES_POSITIVE; rule <= RECIPE_RESPONSES_RANGE; rule++) {
        Recipe recipe = recipe_of(RECIPE_INPUTS_NONE, (RecipeResponses)rule);
        use(r, &recipe);
        take_responses(r, y);
        for (uint32_t k = 0; k < TINY_NEURONS; k++)
            for (uint32_t i = 0; i < 2; i++) {
                uint32_t t = i ? END : END - STEP;
                double x = tiny_value(VAR_RESPONSE, 2, k, t); /* negative in neuron 0 */
                Numbers n = numbers(VAR_RESPONSE, k, 1, -1);
                double want[] = {x > 0 ? x : 0, x, x * (double)w[k * FRAMES + t],
                                 x * (double)w_neuron[k], range(&n, x)};
                assert_near(y[k * 2 + i], want[rule]);
            }
    }
}

/* The statistics of tiny_recording.h are trial 0's values. */
static void stored_statistics_are_used_where_they_fit(void **state)
{
    (void)state;
    Recipe recipe = recipe_of(RECIPE_INPUTS_FRAMES, RECIPE_RESPONSES_POSITIVE);
    recipe.statistics = RECIPE_STATISTICS_STORED;
    Recording *r = fresh("stored");
    use(r, &recipe);
    take(r);
    double mean = tiny_value(VAR_VIDEO, 0, 8, END), x = tiny_value(VAR_VIDEO, 2, 8, END);
    assert_close(taken[(SIZE - 1) * TINY_HEIGHT * TINY_WIDTH + 8], (x - mean) / mean, x, 1 / mean);
    recipe.inputs = RECIPE_INPUTS_TIME; /* they are per frame: computed */
    use(r, &recipe);
    take(r);
    assert_taken(zscore, scale, zscore, false, false);
}

static void statistics_are_kept(void **state)
{
    (void)state;
    Recipe recipe = recipe_of(RECIPE_INPUTS_ALL, RECIPE_RESPONSES_POSITIVE);
    Recording *r = fresh("kept");
    const char *keep = arena_printf(&arena, "%s/keep", folder);
    const char *mean = arena_printf(&arena, "%s/kept/videos_one_mean.npy", keep);
    float other = 7;
    Err err = {0};
    assert_int_equal(standardise(r, &arena, &recipe, keep, false, &err), NPC_OK);
    assert_false(file_exists(mean));
    assert_int_equal(standardise(r, &arena, &recipe, keep, true, &err), NPC_OK);
    take(r);
    float before = taken[0];
    assert_int_equal(npy_write(mean, NPY_WRITE_F4, &other, (size_t[]){1, 1}, 2, &err), NPC_OK);
    assert_int_equal(standardise(r, &arena, &recipe, keep, false, &err), NPC_OK);
    take(r);
    Numbers n = numbers(VAR_VIDEO, 0, TINY_HEIGHT * TINY_WIDTH, -1);
    assert_near(taken[0], (double)before + (n.mean - 7) / n.std); /* what is kept is what is used */
}

static void a_trial_ends_where_no_training_trial_reaches(void **state)
{
    (void)state;
    static const TinyTrial short_training[] = {{"train", 40, 31, false}, {"oracle", 40, 38, false}};
    const char *path = arena_printf(&arena, "%s/ends", folder);
    Recipe recipe = recipe_of(RECIPE_INPUTS_FRAMES, RECIPE_RESPONSES_POSITIVE);
    Recording *r;
    Err err = {0};
    uint32_t frames;
    tiny_write(path, short_training, 2);
    assert_int_equal(recording_open(&r, &arena, path, &err), NPC_OK);
    use(r, &recipe);
    assert_int_equal(recording_valid_frames(r, 1, &frames, &err), NPC_OK);
    assert_int_equal(frames, 31);
    for (uint32_t longest = 35; longest > 19; longest -= 15) { /* the shorter of both counts */
        recipe.longest = longest;
        use(r, &recipe);
        assert_int_equal(recording_valid_frames(r, 1, &frames, &err), NPC_OK);
        assert_int_equal(frames, longest < 31 ? longest : 31);
    }
    recipe.longest = 0;
    recipe.inputs = RECIPE_INPUTS_ALL; /* one statistic for all frames */
    use(r, &recipe);
    assert_int_equal(recording_valid_frames(r, 1, &frames, &err), NPC_OK);
    assert_int_equal(frames, 38);
    recipe.longest = 20;
    use(r, &recipe);
    assert_int_equal(recording_valid_frames(r, 1, &frames, &err), NPC_OK);
    assert_int_equal(frames, 20);
}

static void training_trials_are_needed(void **state)
{
    (void)state;
    static const TinyTrial none[] = {{"oracle", 40, 38, false}};
    const char *path = arena_printf(&arena, "%s/none", folder);
    Recipe recipe = recipe_of(RECIPE_INPUTS_ALL, RECIPE_RESPONSES_POSITIVE);
    Recording *r;
    Err err = {0};
    tiny_write(path, none, 1);
    assert_int_equal(recording_open(&r, &arena, path, &err), NPC_OK);
    assert_int_equal(standardise(r, &arena, &recipe, NULL, false, &err), NPC_ERR_INPUT);
    assert_says(err, "no training trial to compute statistics from");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_follow_the_table),
        cmocka_unit_test(responses_follow_the_table),
        cmocka_unit_test(stored_statistics_are_used_where_they_fit),
        cmocka_unit_test(statistics_are_kept),
        cmocka_unit_test(a_trial_ends_where_no_training_trial_reaches),
        cmocka_unit_test(training_trials_are_needed),
    };
    folder = tiny_folder();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_remove(folder);
    arena_free(&arena);
    return failed;
}
