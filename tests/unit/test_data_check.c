#include "tests/unit/tiny_recording.h"

#include <jansson.h>

#include "data/data_check.h"

static const char *folder;
static Arena arena;

static const TinyTrial TRIALS[] = {
    {"train", 40, 37, false},         {"oracle", 40, 40, false},           {"none", 40, 0, false},
    {"live_test_main", 40, 30, true}, {"final_test_bonus", 40, 35, false}, {"train", 40, 20, false},
};
enum { N_TRIALS = sizeof TRIALS / sizeof *TRIALS };

static const char *fresh(const char *name)
{
    char *path = arena_printf(&arena, "%s/%s", folder, name);
    tiny_write(path, TRIALS, N_TRIALS);
    return path;
}

static DataReport checked(const char *path)
{
    DataReport r;
    Err err = {0};
    if (data_check(&r, &arena, path, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return r;
}

static void assert_finds(const DataReport *r, const char *path_end, const char *what,
                         const char *expected)
{
    for (uint32_t i = 0; i < r->findings.list.len; i++) {
        const Finding *f = &r->findings.list.at[i];
        size_t n = strlen(f->path), k = strlen(path_end);
        if (n >= k && !strcmp(f->path + n - k, path_end) && strstr(f->what, what) &&
            strstr(f->expected, expected))
            return;
    }
    data_report_print(r, stderr);
    fail_msg("no finding \"%s: %s; expected %s\"", path_end, what, expected);
}

static const char *inside(const char *path, const char *rest)
{
    return arena_printf(&arena, "%s/%s", path, rest);
}

static void poke(const char *path, long from_end, float value)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -4 * from_end, SEEK_END);
    fwrite(&value, 4, 1, f);
    fclose(f);
}

static void a_good_recording_has_no_findings(void **state)
{
    (void)state;
    DataReport r = checked(fresh("good"));
    if (r.findings.list.len)
        data_report_print(&r, stderr);
    assert_int_equal(r.findings.list.len, 0);
    assert_int_equal(r.n_recordings, 1);
    const RecordingInfo *i = &r.recordings[0];
    assert_string_equal(i->name, "good");
    assert_int_equal(i->n_neurons, TINY_NEURONS);
    assert_int_equal(i->tier_trials[TIER_TRAIN], 2);
    assert_int_equal(i->tier_trials[TIER_NONE], 1);
    assert_int_equal(i->tier_withheld[TIER_LIVE_MAIN], 1);
    assert_int_equal(i->tier_withheld[TIER_FINAL_BONUS], 0);
    assert_int_equal(i->frames_min, 20);
    assert_int_equal(i->frames_median, 35);
    assert_int_equal(i->frames_max, 40);
    assert_string_equal(i->missing_statistics, "");
}

static void moments_are_those_of_the_valid_frames(void **state)
{
    (void)state;
    DataReport r = checked(fresh("moments"));
    const RecordingInfo *info = &r.recordings[0];
    double sum = 0, squares = 0, most = 0, running = 0;
    int n = 0, frames = 0;
    for (uint32_t t = 0; t < N_TRIALS; t++)
        for (uint32_t k = 0; k < TRIALS[t].valid; k++) {
            frames++;
            running += tiny_value(VAR_BEHAVIOR, t, 1, k);
            for (uint32_t row = 0; row < TINY_NEURONS && !TRIALS[t].withheld; row++) {
                double x = tiny_value(VAR_RESPONSE, t, row, k);
                sum += x;
                squares += x * x;
                most = x > most ? x : most;
                n++;
            }
        }
    assert_int_equal(info->response.n, n);
    assert_true(fabs(info->response.mean - sum / n) < 1e-9);
    assert_true(fabs(info->response.sd - sqrt(squares / n - sum / n * (sum / n))) < 1e-6);
    assert_true(info->response.max == most && info->response.min == -20);
    assert_true(fabs(info->behavior[1].mean - running / frames) < 1e-9);
    assert_int_equal(info->video.n, frames * TINY_HEIGHT * TINY_WIDTH);
}

static void everything_wrong_is_named_at_once(void **state)
{
    (void)state;
    const char *path = fresh("bad");
    float plain[4 * 40] = {0};
    int64_t whole[2 * 40] = {0};
    Err err = {0};
    assert_int_equal(unlink(inside(path, "data/videos/3.npy")), 0);
    assert_int_equal(truncate(inside(path, "data/videos/1.npy"), 300), 0);
    assert_int_equal(truncate(inside(path, "data/responses/5.npy"), 0), 0);
    poke(inside(path, "data/responses/0.npy"), 40 - 12, NAN); /* frame 12 of the last row */
    poke(inside(path, "data/videos/0.npy"), 40 - 36, NAN);    /* one pixel ends early */
    npy_write(inside(path, "data/behavior/1.npy"), NPY_WRITE_I8, whole, (size_t[]){2, 40}, 2, &err);
    npy_write(inside(path, "data/behavior/4.npy"), NPY_WRITE_F4, plain, (size_t[]){2, 39}, 2, &err);
    npy_write(inside(path, "data/pupil_center/4.npy"), NPY_WRITE_F4, plain, (size_t[]){4, 40}, 2,
              &err);
    npy_write(inside(path, "meta/neurons/cell_motor_coordinates.npy"), NPY_WRITE_F4, plain,
              (size_t[]){4, 3}, 2, &err);
    npy_write(inside(path, "meta/statistics/responses/all/std.npy"), NPY_WRITE_F4, plain,
              (size_t[]){4, 40}, 2, &err);
    npy_write(inside(path, "meta/statistics/behavior/all/std.npy"), NPY_WRITE_F4, plain,
              (size_t[]){2, 30}, 2, &err);
    assert_int_equal(unlink(inside(path, "meta/statistics/videos/all/median.npy")), 0);
    assert_int_equal(file_write(inside(path, "data/pupil_center/6.npy"), "x", 1, &err), NPC_OK);

    DataReport r = checked(path);
    assert_finds(&r, "data/videos/3.npy", "missing file", "the files 0.npy to 5.npy");
    assert_finds(&r, "data/videos", "5 trials here, 6 in", "the files 0.npy to 5.npy");
    assert_finds(&r, "data/pupil_center", "7 trials here, 6 in", "the files 0.npy to 5.npy");
    assert_finds(&r, "data/videos/1.npy", "truncated", "a readable npy array");
    assert_finds(&r, "data/responses/5.npy", "empty file", "an npy array");
    assert_finds(&r, "data/responses/0.npy", "frame 12 of row 2 is not finite", "tail");
    assert_finds(&r, "data/videos/0.npy", "one row ends at frame 36, another at frame 37", "same");
    assert_finds(&r, "data/behavior/1.npy", "int64 (2, 40)", "float32 or float64 (2, frames)");
    assert_finds(&r, "data/behavior/4.npy", "39 frames", "40 frames, as in videos");
    assert_finds(&r, "data/pupil_center/4.npy", "float32 (4, 40)", "(2, frames)");
    assert_finds(&r, "cell_motor_coordinates.npy", "float32 (4, 3)", "(3, 3)");
    assert_finds(&r, "responses/all/std.npy", "float32 (4, 40)", "(3, frames)");
    assert_finds(&r, "behavior/all/std.npy", "30 frames", "40 frames");
    assert_finds(&r, "meta/statistics", "missing videos/median", "all/");
    assert_string_equal(r.recordings[0].missing_statistics, "videos/median");
    assert_int_equal(r.recordings[0].n_findings, r.findings.list.len);
}

static void zeros_outside_of_test_tiers_are_suspicious(void **state)
{
    (void)state;
    const char *path = fresh("zeros");
    TinyTrial silent = {"train", 40, 37, true};
    tiny_write_variable(inside(path, "data/responses/0.npy"), VAR_RESPONSE, 0, &silent);
    DataReport r = checked(path);
    assert_int_equal(r.findings.list.len, 1);
    assert_finds(&r, "data/responses/0.npy", "all responses of a trial of tier train are zero", "");
}

static void a_trial_of_nothing_but_nan_is_named(void **state)
{
    (void)state;
    const char *path = fresh("all-nan");
    TinyTrial lost = {"train", 40, 0, false};
    tiny_write_variable(inside(path, "data/videos/0.npy"), VAR_VIDEO, 0, &lost);
    DataReport r = checked(path);
    assert_int_equal(r.findings.list.len, 1); /* and not for trial 2 of tier none */
    assert_finds(&r, "data/videos/0.npy", "nothing but NaN", "");
}

static void bare_folders_are_described(void **state)
{
    (void)state;
    Err err = {0};
    const char *path = inside(folder, "bare");
    assert_int_equal(file_make_folder(inside(path, "data"), &err), NPC_OK);
    DataReport r = checked(path);
    assert_finds(&r, "tiers.npy", "cannot open", "a string per trial");
    assert_finds(&r, "data/videos", "missing folder", "a file per trial");
    assert_finds(&r, "unit_ids.npy", "missing file", "an integer per neuron");
    assert_int_equal(data_check(&r, &arena, "/nowhere", &err), NPC_ERR_INPUT);
    assert_says(err, "/nowhere");
}

static char *printed(const DataReport *r, void (*print)(const DataReport *, FILE *))
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    print(r, f);
    fclose(f);
    return text;
}

static void print_json(const DataReport *r, FILE *f)
{
    Err err = {0};
    assert_int_equal(data_report_print_json(r, f, &err), NPC_OK);
}

static void reports_print_as_text_and_as_json(void **state)
{
    (void)state;
    const char *path = fresh("p\xc3\xa4per \xff"); /* a name that is not UTF-8 */
    assert_int_equal(unlink(inside(path, "meta/neurons/unit_ids.npy")), 0);
    DataReport r = checked(path);
    char *text = printed(&r, data_report_print);
    assert_non_null(strstr(text, "  neurons      3\n"));
    assert_non_null(strstr(text, "train 2, oracle 1, live_test_main 1 (1 withheld)"));
    assert_non_null(strstr(text, "20 to 40 valid, median 35"));
    assert_non_null(strstr(text, "unit_ids.npy: missing file; expected an integer per neuron\n"));
    free(text);

    text = printed(&r, print_json);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    json_t *one = json_array_get(json_object_get(all, "recordings"), 0);
    assert_int_equal(json_integer_value(json_object_get(one, "neurons")), 3);
    json_t *withheld = json_object_get(one, "withheld");
    assert_int_equal(json_integer_value(json_object_get(withheld, "live_test_main")), 1);
    json_t *finding = json_array_get(json_object_get(all, "findings"), 0);
    assert_string_equal(json_string_value(json_object_get(finding, "what")), "missing file");
    json_decref(all);
    free(text);
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
        cmocka_unit_test(a_good_recording_has_no_findings),
        cmocka_unit_test(moments_are_those_of_the_valid_frames),
        cmocka_unit_test(everything_wrong_is_named_at_once),
        cmocka_unit_test(zeros_outside_of_test_tiers_are_suspicious),
        cmocka_unit_test(a_trial_of_nothing_but_nan_is_named),
        cmocka_unit_test(bare_folders_are_described),
        cmocka_unit_test(reports_print_as_text_and_as_json),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
