/* `npc run --attention` over whole runs: what is written is what the weights say. */
#include "ir/base/file.h"
#include "runtime/attention_run.h"
#include "data/recording.h"
#include "data/synth_images.h"
#include "tests/models/train_harness.h"

#define WATCHER "tests/models/watcher.nm"
enum { TUBE = 5, PATCH = 4, STRIDE = 2, ROWS = 3, COLUMNS = 5, PLACES = ROWS * COLUMNS };

static Arena arena;
static char pictures[4096];

/* ---- arrays ---- */

typedef struct Array {
    NpyHeader head;
    float *at;
} Array;

static Array read_array(const char *folder, const char *name)
{
    Npy file;
    Err err = {0};
    must(npy_open(&file, arena_printf(&arena, "%s/%s.npy", folder, name), &err), &err);
    Array a = {.head = file.head, .at = ARENA_ARRAY(&arena, float, file.head.elems)};
    npy_all_floats(&file, a.at);
    npy_close(&file);
    return a;
}

static void assert_sizes(const Array *a, uint32_t rank, const uint64_t *size)
{
    assert_int_equal(a->head.rank, rank);
    for (uint32_t i = 0; i < rank; i++)
        assert_int_equal(a->head.shape[i], size[i]);
}
#define ASSERT_SIZES(a, ...)                                                                       \
    assert_sizes(&a, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__})

/* ---- rollout as it is defined, a product of matrices ---- */

/* row of A_L .. A_1, or with -1 the mean of the rows, for one sequence of files [sequences heads n
 * n] */
static void rollout_by_hand(const Array *block, int n_blocks, uint64_t sequence, int row,
                            double *out)
{
    uint64_t heads = block->head.shape[1], n = block->head.shape[2];
    double *joint = ARENA_ARRAY(&arena, double, n *n), *a = ARENA_ARRAY(&arena, double, n *n);
    for (int l = 0; l < n_blocks; l++) {
        const float *w = block[l].at + sequence * heads * n * n;
        double *next = ARENA_ARRAY(&arena, double, n *n);
        for (uint64_t i = 0; i < n; i++) {
            double sum = 0;
            for (uint64_t j = 0; j < n; j++) {
                a[i * n + j] = 0;
                for (uint64_t h = 0; h < heads; h++)
                    a[i * n + j] = fmax(a[i * n + j], (double)w[(h * n + i) * n + j]);
                a[i * n + j] += i == j;
                sum += a[i * n + j];
            }
            for (uint64_t j = 0; j < n; j++)
                a[i * n + j] /= sum;
        }
        for (uint64_t i = 0; i < n; i++)
            for (uint64_t j = 0; j < n; j++)
                for (uint64_t k = 0; k < n; k++)
                    next[i * n + j] += a[i * n + k] * (l ? joint[k * n + j] : k == j);
        joint = next;
    }
    for (uint64_t j = 0; j < n; j++) {
        out[j] = row < 0 ? 0 : joint[(uint64_t)row * n + j];
        for (uint64_t i = 0; row < 0 && i < n; i++)
            out[j] += joint[i * n + j] / (double)n;
    }
}

/* ---- runs ---- */

static AttentionOptions look(const char *run, const char *out)
{
    return (AttentionOptions){
        .run_dir = path(run), .out = path(out), .machine = options(NULL).machine};
}

static void look_at(const AttentionOptions *o)
{
    Err err = {0};
    fflush(stdout);
    must(attention_run(o, &err), &err);
}

static const char *first_recording(const char *folder)
{
    const char **paths;
    size_t n;
    Err err = {0};
    must(recordings_find(&arena, folder, &paths, &n, &err), &err);
    return strrchr(paths[0], '/') + 1;
}

static int begin(void **state)
{
    Err err = {0};
    if (make_recordings(state))
        return -1;
    SynthOptions o = synth_image_defaults();
    o.mice = 2;
    o.neurons = 12;
    o.trials = 30;
    o.height = 8;
    o.width = 12;
    SynthSummary made[2];
    snprintf(pictures, sizeof pictures, "%s", path("pictures"));
    must(synth_images_write(pictures, &o, NULL, NULL, made, &err), &err);
    TrainOptions t = options(path("films_run"));
    t.model_path = WATCHER;
    t.recipe = "films";
    train_with(&t);
    t.run_dir = path("insiders_run");
    t.recipe = "insiders";
    train_with(&t);
    t.run_dir = path("images_run");
    t.recipe = "images";
    t.data = pictures;
    train_with(&t);
    return 0;
}

static int end(void **state)
{
    arena_free(&arena);
    return scratch_remove(state);
}

static const char *first_trial(const char *out, const char *folder, const char *tier)
{
    const char *name = arena_printf(&arena, "%s/%s/%s", path(out), first_recording(folder), tier);
    for (int i = 0; i < 1000; i++) {
        const char *trial = arena_printf(&arena, "%s/%d", name, i);
        if (file_is_folder(trial))
            return trial;
    }
    fail_msg("%s: no trial", name);
    return NULL;
}

/* ---- films ---- */

static void check_space(const char *folder, uint64_t steps)
{
    Array w[2] = {read_array(folder, "space_weights_0"), read_array(folder, "space_weights_1")};
    Array rolled = read_array(folder, "space_rollout"), map = read_array(folder, "space_map"),
          received = read_array(folder, "space_attention");
    ASSERT_SIZES(w[0], steps, 2, PLACES, PLACES);
    ASSERT_SIZES(rolled, steps, PLACES);
    ASSERT_SIZES(map, steps, 8, 12);
    ASSERT_SIZES(received, steps, 2, 2, PLACES);
    double want[PLACES], pixel[8 * 12], most = 0;
    for (uint64_t s = 0; s < steps; s++) {
        rollout_by_hand(w, 2, s, -1, want);
        most = 0;
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 12; x++) {
                double sum = 0, count = 0;
                for (int p = 0; p < PLACES; p++) {
                    int top = p / COLUMNS * STRIDE, left = p % COLUMNS * STRIDE;
                    bool in = y >= top && y < top + PATCH && x >= left && x < left + PATCH;
                    sum += in ? want[p] : 0;
                    count += in;
                }
                most = fmax(most, pixel[y * 12 + x] = sum / count);
            }
        for (int p = 0; p < PLACES; p++)
            assert_float_equal(rolled.at[s * PLACES + (uint64_t)p], want[p], 1e-6);
        for (int i = 0; i < 8 * 12; i++)
            assert_float_equal(map.at[s * 96 + (uint64_t)i], pixel[i] / most, 1e-6);
    }
    double sum = 0; /* block 1, head 0, place 7 of the last step */
    for (uint64_t i = 0; i < PLACES; i++)
        sum += (double)w[1].at[((steps - 1) * 2 * PLACES + i) * PLACES + 7] / PLACES;
    assert_float_equal(received.at[((steps - 1) * 4 + 2) * PLACES + 7], sum, 1e-6);
}

static void check_time(const char *folder, uint64_t steps)
{
    Array w[2] = {read_array(folder, "time_weights_0"), read_array(folder, "time_weights_1")};
    Array rolled = read_array(folder, "time_rollout"),
          received = read_array(folder, "time_attention");
    ASSERT_SIZES(w[1], PLACES, 2, steps, steps);
    ASSERT_SIZES(rolled, steps);
    ASSERT_SIZES(received, 2, 2, steps);
    double *sum = ARENA_ARRAY(&arena, double, steps), *one = ARENA_ARRAY(&arena, double, steps),
           low = INFINITY, high = -INFINITY;
    for (uint64_t p = 0; p < PLACES; p++) {
        rollout_by_hand(w, 2, p, -1, one);
        for (uint64_t i = 0; i < steps; i++)
            sum[i] += one[i];
    }
    for (uint64_t i = 0; i < steps; i++) {
        low = fmin(low, sum[i]);
        high = fmax(high, sum[i]);
    }
    for (uint64_t i = 0; i < steps; i++) /* float32 weights, and a small range */
        assert_float_equal(rolled.at[i], (sum[i] - low) / (high - low), 2e-3);
    double mean = 0; /* block 0, head 1, step 3 */
    for (uint64_t p = 0; p < PLACES; p++)
        for (uint64_t i = 0; i < steps; i++)
            mean +=
                (double)w[0].at[((p * 2 + 1) * steps + i) * steps + 3] / (double)(PLACES * steps);
    assert_float_equal(received.at[steps + 3], mean, 1e-6);
}

static void files_of_a_film_are_made_of_its_weights(void **state)
{
    (void)state;
    AttentionOptions o = look("films_run", "films");
    o.keep_weights = true;
    o.trials = 1;
    look_at(&o);
    const char *folder = first_trial("films", data, "final_test_main");
    Array frames = read_array(folder, "frames");
    uint64_t steps = frames.head.elems;
    for (uint64_t i = 0; i < steps; i++)
        assert_int_equal(frames.at[i], i + TUBE - 1);
    check_space(folder, steps);
    check_time(folder, steps);
}

static void trials_are_as_many_as_asked_for(void **state)
{
    (void)state;
    AttentionOptions o = look("films_run", "two");
    o.trials = 2;
    o.tiers = TIER_BIT(TIER_TRAIN);
    look_at(&o);
    const char *folder = arena_printf(&arena, "%s/%s/train", path("two"), first_recording(data));
    int n = 0;
    for (int i = 0; i < 100; i++)
        n += file_is_folder(arena_printf(&arena, "%s/%d", folder, i));
    assert_int_equal(n, 2);
    folder = first_trial("two", data, "train");
    assert_false(file_exists(arena_printf(&arena, "%s/space_weights_0.npy", folder)));
}

static void results_do_not_depend_on_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"space_rollout", "space_map", "space_attention",
                                        "time_rollout", "time_attention"};
    AttentionOptions o = look("films_run", "one_thread");
    o.trials = 1;
    look_at(&o);
    const char *one = first_trial("one_thread", data, "live_test_main");
    o.out = path("three_threads");
    o.machine.threads = 3;
    look_at(&o);
    const char *three = first_trial("three_threads", data, "live_test_main");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_same_file(arena_printf(&arena, "%s/%s.npy", one, names[i]),
                         arena_printf(&arena, "%s/%s.npy", three, names[i]));
    assert_same_file(arena_printf(&arena, "%s/attention.json", path("one_thread")),
                     arena_printf(&arena, "%s/attention.json", path("three_threads")));
}

static void what_is_added_to_scores_counts(void **state)
{
    (void)state;
    AttentionOptions o = look("insiders_run", "insiders");
    o.keep_weights = true;
    o.trials = 1;
    look_at(&o);
    Array w = read_array(first_trial("insiders", data, "final_test_main"), "space_weights_0");
    uint64_t n = 6, steps = w.head.shape[0];
    ASSERT_SIZES(w, steps, 1, n, n);
    float low = 1, high = 0;
    for (uint64_t i = 0; i < steps * n * n; i++) {
        bool same_row = i / n % n / 3 == i % n / 3;
        assert_float_equal(w.at[i], w.at[i % (n * n)], 0); /* nothing but bias and labels */
        assert_true(same_row ? w.at[i] > 1e-4F : w.at[i] < 1e-30F);
        low = same_row ? fminf(low, w.at[i]) : low;
        high = fmaxf(high, w.at[i]);
    }
    assert_true(high > 2 * low);
}

/* ---- images ---- */

static void files_of_an_image_begin_at_the_class_token(void **state)
{
    (void)state;
    AttentionOptions o = look("images_run", "images");
    o.keep_weights = true;
    o.trials = 3;
    look_at(&o);
    const char *folder = first_trial("images", pictures, "test");
    Array w[2] = {read_array(folder, "space_weights_0"), read_array(folder, "space_weights_1")};
    Array rolled = read_array(folder, "space_rollout"), map = read_array(folder, "space_map");
    double want[PLACES + 1];
    ASSERT_SIZES(w[0], 1, 2, PLACES + 1, PLACES + 1);
    ASSERT_SIZES(rolled, 1, PLACES);
    ASSERT_SIZES(map, 1, 8, 12);
    rollout_by_hand(w, 2, 0, 0, want);
    float low = 1, high = 0;
    for (int p = 0; p < PLACES; p++)
        assert_float_equal(rolled.at[p], want[p + 1], 1e-6);
    for (int p = 0; p < PLACES; p++) {
        low = fminf(low, rolled.at[p]);
        high = fmaxf(high, rolled.at[p]);
    }
    /* the corner pixel lies outside of the outermost centres */
    assert_float_equal(map.at[0], (rolled.at[0] - low) / (high - low), 1e-4);
    assert_float_equal(map.at[95], (rolled.at[PLACES - 1] - low) / (high - low), 1e-4);
    assert_false(file_exists(arena_printf(&arena, "%s/time_rollout.npy", folder)));
}

/* ---- what cannot be ---- */

static void a_run_without_attention_is_refused(void **state)
{
    (void)state;
    TrainOptions t = options(path("plain_run"));
    t.stop_after = 1;
    train_with(&t);
    AttentionOptions o = look("plain_run", "nothing");
    Err err = {0};
    assert_int_equal(attention_run(&o, &err), NPC_ERR_INPUT);
    assert_says(err, "has no attention");
    assert_false(file_exists(path("nothing")));
}

static void tiers_without_trials_are_named(void **state)
{
    (void)state;
    AttentionOptions o = look("films_run", "none");
    Err err = {0};
    o.tiers = TIER_BIT(TIER_FINAL_TEST);
    assert_int_equal(attention_run(&o, &err), NPC_ERR_INPUT);
    assert_says(err, "no trial of the tiers asked for");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_a_film_are_made_of_its_weights),
        cmocka_unit_test(trials_are_as_many_as_asked_for),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(what_is_added_to_scores_counts),
        cmocka_unit_test(files_of_an_image_begin_at_the_class_token),
        cmocka_unit_test(a_run_without_attention_is_refused),
        cmocka_unit_test(tiers_without_trials_are_named),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
