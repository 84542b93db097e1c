#include "tests/unit/tiny_recording.h"

#include "data/recording.h"

static const char *folder;
static Arena arena;

static const TinyTrial TRIALS[] = {
    {"train", 40, 37, false},         {"oracle", 40, 40, false},           {"none", 40, 0, false},
    {"live_test_main", 40, 30, true}, {"final_test_bonus", 40, 35, false}, {"train", 40, 1, false},
    {"train", 40, 0, false},
};
enum { N_TRIALS = sizeof TRIALS / sizeof *TRIALS };

static const char *fresh(const char *name)
{
    char *path = arena_printf(&arena, "%s/%s", folder, name);
    tiny_write(path, TRIALS, N_TRIALS);
    return path;
}

static Recording *opened(const char *path)
{
    Recording *r;
    Err err = {0};
    if (recording_open(&r, &arena, path, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return r;
}

static void assert_refused(const char *path, const char *part)
{
    Recording *r;
    Err err = {0};
    assert_int_equal(recording_open(&r, &arena, path, &err), NPC_ERR_INPUT);
    assert_says(err, path);
    assert_says(err, part);
}

static const char *inside(const char *path, const char *rest)
{
    return arena_printf(&arena, "%s/%s", path, rest);
}

static void a_recording_says_what_it_holds(void **state)
{
    (void)state;
    Recording *r = opened(fresh("whole"));
    assert_string_equal(r->name, "whole");
    assert_int_equal(r->n_trials, N_TRIALS);
    assert_int_equal(r->n_neurons, TINY_NEURONS);
    assert_int_equal(r->height, TINY_HEIGHT);
    assert_int_equal(r->width, TINY_WIDTH);
    assert_int_equal(r->unit_ids[2], 11);
    assert_true(r->coordinates[5] == 225);
    assert_int_equal(r->trials[3].tier, TIER_LIVE_MAIN);
    uint32_t *list;
    assert_int_equal(recording_trials(r, TIER_BIT(TIER_TRAIN), &arena, &list), 3);
    assert_int_equal(list[1], 5);
    assert_int_equal(recording_trials(r, ~0u, &arena, &list), N_TRIALS - 1); /* never none */
}

static void valid_length_is_the_shortest_over_the_variables(void **state)
{
    (void)state;
    const char *path = fresh("lengths");
    TinyTrial shorter = {"train", 40, 33, false};
    tiny_write_variable(inside(path, "data/pupil_center/0.npy"), VAR_PUPIL, 0, &shorter);
    Recording *r = opened(path);
    static const uint32_t want[N_TRIALS] = {33, 40, 0, 30, 35, 1, 0};
    for (uint32_t t = 0; t < N_TRIALS; t++) {
        uint32_t frames;
        Err err = {0};
        if (t == 2)
            continue;
        assert_int_equal(recording_valid_frames(r, t, &frames, &err), NPC_OK);
        assert_int_equal(frames, want[t]);
    }
}

static void trials_of_tier_none_are_never_read(void **state)
{
    (void)state;
    const char *path = fresh("lost");
    assert_int_equal(truncate(inside(path, "data/videos/2.npy"), 5), 0); /* nobody looks */
    Recording *r = opened(path);
    uint32_t frames;
    Err err = {0};
    assert_int_equal(recording_valid_frames(r, 2, &frames, &err), NPC_ERR_INPUT);
    assert_says(err, "trial 2 has the tier 'none'");
}

static void withheld_responses_are_recognised(void **state)
{
    (void)state;
    Recording *r = opened(fresh("withheld"));
    bool withheld;
    Err err = {0};
    assert_int_equal(recording_is_withheld(r, 3, &withheld, &err), NPC_OK);
    assert_true(withheld);
    assert_int_equal(recording_is_withheld(r, 4, &withheld, &err), NPC_OK);
    assert_false(withheld);
    assert_int_equal(recording_is_withheld(r, 0, &withheld, &err), NPC_OK);
    assert_false(withheld);
}

/* Overwrites one float of a response file, counted from the end. */
static void poke(const char *path, long from_end, float value)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -4 * from_end, SEEK_END);
    fwrite(&value, 4, 1, f);
    fclose(f);
}

static void nan_inside_names_file_and_frame(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const char *path = fresh("hole");
    const char *file = inside(path, "data/responses/1.npy");
    for (int i = 0; i < 3; i++) {
        poke(file, 40 + 40 - 17, bad[i]); /* second of three rows, frame 17 */
        Recording *r = opened(path);
        uint32_t frames;
        Err err = {0};
        assert_int_equal(recording_valid_frames(r, 1, &frames, &err), NPC_ERR_INPUT);
        assert_says(err, "data/responses/1.npy: frame 17 of row 1 is not finite");
    }
}

static void a_tail_in_one_row_ends_the_trial(void **state)
{
    (void)state;
    const char *path = fresh("ragged");
    poke(inside(path, "data/responses/1.npy"), 41, NAN); /* last frame of the second row */
    Recording *r = opened(path);
    uint32_t frames;
    Err err = {0};
    assert_int_equal(recording_valid_frames(r, 1, &frames, &err), NPC_OK);
    assert_int_equal(frames, 39);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    const char *path = fresh("missing");
    assert_int_equal(unlink(inside(path, "data/behavior/4.npy")), 0);
    assert_refused(path, "data/behavior: 6 trials here, 7 in meta/trials/tiers.npy");
    assert_refused("/nowhere/at/all", "not a folder");

    path = fresh("missing-folder");
    tiny_remove(inside(path, "data/pupil_center"));
    assert_refused(path, "data/pupil_center: missing folder");

    path = fresh("missing-tiers");
    assert_int_equal(unlink(inside(path, "meta/trials/tiers.npy")), 0);
    assert_refused(path, "meta/trials/tiers.npy: cannot open");
}

static void wrong_types_shapes_and_lengths_are_named(void **state)
{
    (void)state;
    Err err = {0};
    int64_t whole[2 * 40] = {0};
    float plain[3 * 40] = {0};
    const char *path = fresh("type");
    npy_write(inside(path, "data/behavior/0.npy"), NPY_WRITE_I8, whole, (size_t[]){2, 40}, 2, &err);
    assert_refused(path, "0.npy: int64 (2, 40); expected float32 or float64 (2, frames)");

    path = fresh("shape");
    npy_write(inside(path, "data/behavior/1.npy"), NPY_WRITE_F4, plain, (size_t[]){3, 40}, 2, &err);
    assert_refused(path, "1.npy: float32 (3, 40); expected float32 or float64 (2, frames)");

    path = fresh("length");
    npy_write(inside(path, "data/responses/1.npy"), NPY_WRITE_F4, plain, (size_t[]){3, 39}, 2,
              &err);
    assert_refused(path, "1.npy: 39 frames; expected 40 frames, as in videos");

    path = fresh("tier");
    const char *tiers[N_TRIALS] = {"train", "train", "trian", "none", "none", "none", "none"};
    npy_write_text(inside(path, "meta/trials/tiers.npy"), tiers, N_TRIALS, &err);
    assert_refused(path, "trial 2 has the tier 'trian'");
}

static void a_file_that_shrinks_after_opening_is_an_error(void **state)
{
    (void)state;
    const char *path = fresh("shrinks");
    Recording *r = opened(path);
    assert_int_equal(truncate(inside(path, "data/videos/0.npy"), 500), 0);
    uint32_t frames;
    Err err = {0};
    assert_int_equal(recording_valid_frames(r, 0, &frames, &err), NPC_ERR_INPUT);
    assert_says(err, "videos/0.npy: truncated");
}

static void a_folder_of_recordings_opens_in_order_without_the_truth(void **state)
{
    (void)state;
    const char *all = arena_printf(&arena, "%s/many", folder);
    fresh("many/zwei");
    fresh("many/M\xc3\xa4us \xe6\xbc\xa2");
    fresh("many/truth");
    Recordings r;
    Err err = {0};
    assert_int_equal(recordings_open(&r, &arena, all, &err), NPC_OK);
    assert_int_equal(r.len, 2);
    assert_string_equal(r.at[0]->name, "M\xc3\xa4us \xe6\xbc\xa2");
    assert_string_equal(r.at[1]->name, "zwei");
    assert_int_equal(recordings_open(&r, &arena, inside(all, "zwei/"), &err), NPC_OK);
    assert_int_equal(r.len, 1);
    assert_string_equal(r.at[0]->name, "zwei");
    assert_int_equal(recordings_open(&r, &arena, inside(all, "zwei/meta"), &err), NPC_ERR_INPUT);
    assert_says(err, "no recording here");
}

static void statistics_have_their_shape_checked(void **state)
{
    (void)state;
    const char *path = fresh("statistics");
    Recording *r = opened(path);
    float *std, plain[40] = {0};
    uint32_t frames;
    Err err = {0};
    assert_int_equal(recording_statistic(r, VAR_RESPONSE, "std", &arena, &std, &frames, &err),
                     NPC_OK);
    assert_int_equal(frames, 40);
    assert_true(std[40 + 3] == 1000 + 3 - 20);
    npy_write(inside(path, "meta/statistics/responses/all/std.npy"), NPY_WRITE_F4, plain,
              (size_t[]){40}, 1, &err);
    assert_int_equal(recording_statistic(r, VAR_RESPONSE, "std", &arena, &std, &frames, &err),
                     NPC_ERR_INPUT);
    assert_says(err, "std.npy: float32 (40,); expected float32 or float64 (3, frames)");
}

static int open_folder(void **state)
{
    (void)state;
    folder = tiny_folder();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    tiny_remove(folder);
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recording_says_what_it_holds),
        cmocka_unit_test(valid_length_is_the_shortest_over_the_variables),
        cmocka_unit_test(trials_of_tier_none_are_never_read),
        cmocka_unit_test(withheld_responses_are_recognised),
        cmocka_unit_test(nan_inside_names_file_and_frame),
        cmocka_unit_test(a_tail_in_one_row_ends_the_trial),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(wrong_types_shapes_and_lengths_are_named),
        cmocka_unit_test(a_file_that_shrinks_after_opening_is_an_error),
        cmocka_unit_test(a_folder_of_recordings_opens_in_order_without_the_truth),
        cmocka_unit_test(statistics_have_their_shape_checked),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
