#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "ir/base/file.h"
#include "data/npy.h"
#include "data/recording.h"
#include "data/stimulus.h"
#include "data/stimulus_noise.h"
#include "data/synth.h"
#include "data/video_hash.h"
#include "tests/unit/scratch.h"

static SynthOptions tiny(void)
{
    SynthOptions o = synth_defaults();
    o.neurons = 6;
    o.trials = 6;
    o.frames = 90;
    o.height = 12;
    o.width = 20;
    o.clips = 1;
    o.repeats = 3;
    o.signal = 5; /* few neurons: little noise */
    return o;
}

/* Written once by the first test that needs it. */
static const SynthSummary *tiny_recordings(void)
{
    static SynthSummary summary[2];
    Err err = {0};
    SynthOptions o = tiny();
    if (!summary[0].name[0] &&
        synth_write(scratch_path("tiny"), &o, NULL, NULL, summary, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return summary;
}

static Npy open_array(const char *fmt, ...)
{
    char name[400];
    va_list args;
    Npy a;
    Err err = {0};
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    if (npy_open(&a, scratch_path(name), &err) != NPC_OK)
        fail_msg("%s", err.text);
    return a;
}

/* The tier of a trial, as the file has it. */
static void read_tier(const char *recording, uint64_t trial, char out[32])
{
    Npy tiers = open_array("tiny/%s/meta/trials/tiers.npy", recording);
    assert_true(npy_text(&tiers, trial, out, 32));
    npy_close(&tiers);
}

static void assert_array(const Npy *a, NpyType type, uint64_t rows, uint64_t columns)
{
    assert_int_equal(a->head.type, type);
    assert_int_equal(a->head.shape[0], rows);
    assert_int_equal(a->head.shape[a->head.rank - 1], columns);
    assert_false(a->head.fortran);
}

static void the_layout_is_that_of_the_competition(void **state)
{
    (void)state;
    const char *name = tiny_recordings()[0].name;
    const struct {
        const char *file;
        NpyType type;
        uint64_t rows, columns;
    } rows[] = {
        {"data/videos/0.npy", NPY_F32, 12, 97},
        {"data/responses/23.npy", NPY_F32, 6, 97},
        {"data/behavior/1.npy", NPY_F64, 2, 97},
        {"data/pupil_center/1.npy", NPY_F64, 2, 97},
        {"meta/neurons/cell_motor_coordinates.npy", NPY_I64, 6, 3},
        {"meta/neurons/unit_ids.npy", NPY_I64, 6, 6},
        {"meta/trials/tiers.npy", NPY_UNICODE, 24, 24},
        {"meta/trials/trial_idx.npy", NPY_I64, 24, 24},
        {"meta/statistics/videos/all/std.npy", NPY_F32, 12, 97},
        {"meta/statistics/responses/all/mean.npy", NPY_F32, 6, 97},
        {"meta/statistics/behavior/all/median.npy", NPY_F32, 2, 97},
        {"meta/statistics/pupil_center/all/max.npy", NPY_F32, 2, 97},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Npy a = open_array("tiny/%s/%s", name, rows[i].file);
        assert_array(&a, rows[i].type, rows[i].rows, rows[i].columns);
        npy_close(&a);
    }
    Npy ids = open_array("tiny/truth/%s/meta/video_ids.npy", name);
    assert_array(&ids, NPY_I64, 24, 24);
    npy_close(&ids);
}

static void the_reader_opens_what_was_written(void **state)
{
    (void)state;
    Arena arena = {0};
    Recordings r = {0};
    Err err = {0};
    tiny_recordings();
    if (recordings_open(&r, &arena, scratch_path("tiny"), &err) != NPC_OK)
        fail_msg("%s", err.text);
    arena_free(&arena);
}

static void even_recordings_withhold_test_responses(void **state)
{
    (void)state;
    for (int mouse = 0; mouse < 2; mouse++) {
        const char *name = tiny_recordings()[mouse].name;
        int hidden = 0, open = 0;
        for (uint64_t i = 0; i < 24; i++) {
            char tier[32];
            read_tier(name, i, tier);
            Npy r = open_array("tiny/%s/data/responses/%d.npy", name, (int)i);
            double sum = 0;
            for (uint64_t k = 0; k < r.head.elems; k++)
                sum += fabs(npy_double(&r, k));
            hidden += sum == 0;
            open += isnan(sum) || sum > 0; /* tails are NaN */
            if (strcmp(tier, "train") == 0 || strcmp(tier, "oracle") == 0)
                assert_true(sum != 0);
            npy_close(&r);
        }
        assert_int_equal(hidden > 0, mouse == 0);
        assert_true(open > 0);
    }
}

static void tails_are_nan_in_all_four_variables_alike(void **state)
{
    (void)state;
    static const char *const variable[] = {"videos", "responses", "behavior", "pupil_center"};
    const char *name = tiny_recordings()[1].name;
    for (int i = 0; i < 24; i++) {
        char tier[32];
        uint64_t valid[4];
        read_tier(name, (uint64_t)i, tier);
        for (int v = 0; v < 4; v++) {
            Npy a = open_array("tiny/%s/data/%s/%d.npy", name, variable[v], i);
            valid[v] = 0;
            while (valid[v] < 97 && !isnan(npy_double(&a, valid[v])))
                valid[v]++;
            for (uint64_t t = 0; t < 97; t++)
                assert_int_equal(isnan(npy_double(&a, a.head.elems - 97 + t)) != 0, t >= valid[v]);
            npy_close(&a);
        }
        bool lost = strcmp(tier, "none") == 0;
        assert_int_equal(valid[0], lost ? 0 : valid[2]);
        assert_int_equal(valid[1], lost ? 0 : valid[2]);
        assert_int_equal(valid[3], valid[2]);
        assert_true(valid[2] >= 83 && valid[2] <= 97);
    }
}

/* One neuron, all frames: the five statistics against sorting by hand. */
static void statistics_are_those_of_the_training_trials(void **state)
{
    (void)state;
    static const char *const stat[] = {"mean", "std", "min", "max", "median"};
    const char *name = tiny_recordings()[1].name;
    for (uint64_t t = 0; t < 97; t++) {
        double x[6], n = 0, want[5] = {0, 0, INFINITY, -INFINITY, NAN};
        for (int i = 0; i < 24; i++) {
            char tier[32];
            read_tier(name, (uint64_t)i, tier);
            Npy r = open_array("tiny/%s/data/responses/%d.npy", name, i);
            double value = npy_double(&r, 4 * 97 + t);
            npy_close(&r);
            if (strcmp(tier, "train") == 0 && !isnan(value)) {
                int k = (int)n++;
                for (; k > 0 && x[k - 1] > value; k--)
                    x[k] = x[k - 1];
                x[k] = value;
            }
        }
        for (int i = 0; i < (int)n; i++)
            want[0] += x[i] / n;
        for (int i = 0; i < (int)n; i++)
            want[1] += (x[i] - want[0]) * (x[i] - want[0]) / n;
        want[1] = sqrt(want[1]);
        if (n > 0) {
            want[2] = x[0];
            want[3] = x[(int)n - 1];
            want[4] = (x[((int)n - 1) / 2] + x[(int)n / 2]) / 2;
        }
        for (int k = 0; k < 5; k++) {
            Npy s = open_array("tiny/%s/meta/statistics/responses/all/%s.npy", name, stat[k]);
            double got = npy_double(&s, 4 * 97 + t);
            npy_close(&s);
            assert_true(n > 0 ? fabs(got - want[k]) <= 1e-6 * (1 + fabs(want[k])) : isnan(got));
        }
    }
}

static void the_repeat_finder_finds_the_clips(void **state)
{
    (void)state;
    static float video[24][12 * 20 * 97];
    const char *name = tiny_recordings()[0].name;
    VideoView view[24];
    int64_t id[24], group[24];
    size_t n = 0;
    Err err = {0};
    Npy ids = open_array("tiny/truth/%s/meta/video_ids.npy", name);
    for (int i = 0; i < 24; i++) {
        char tier[32];
        read_tier(name, (uint64_t)i, tier);
        if (strcmp(tier, "none") == 0)
            continue;
        Npy v = open_array("tiny/%s/data/videos/%d.npy", name, i);
        npy_all_floats(&v, video[n]);
        npy_close(&v);
        id[n] = npy_integer(&ids, (uint64_t)i);
        view[n] = video_view(video[n], 12, 20, 97);
        n++;
    }
    npy_close(&ids);
    assert_int_equal(video_find_repeats_of_views(view, n, group, &err), NPC_OK);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++)
            assert_int_equal(group[a] == group[b], id[a] == id[b]);
}

/* On average; a single tier of so small a recording may deviate. */
static void ceilings_are_between_nothing_and_the_true_rate(void **state)
{
    (void)state;
    double repeats = 0, single = 0, average = 0, linear = 0;
    for (int mouse = 0; mouse < 2; mouse++)
        for (int k = 0; k < SYNTH_TEST_TIERS; k++) {
            const SynthCeiling *c = &tiny_recordings()[mouse].tier[k];
            repeats += c->leave_one_out / (2 * SYNTH_TEST_TIERS);
            single += c->single_trial / (2 * SYNTH_TEST_TIERS);
            average += c->to_average / (2 * SYNTH_TEST_TIERS);
            linear += c->linear_single_trial / (2 * SYNTH_TEST_TIERS);
        }
    assert_true(repeats > 0.1 && repeats < single && single < average && average < 1);
    assert_true(linear > 0.02 && linear < repeats);
    assert_string_equal(tiny_recordings()[0].tier[0].tier, "final_test_bonus");
    assert_string_equal(tiny_recordings()[0].tier[4].tier, "oracle");
}

/* Walks two folders and compares every byte; returns the number of files. */
static int compare_trees(const char *a, const char *b)
{
    Arena arena = {0};
    const char **names_a, **names_b;
    size_t n_a, n_b, files = 0;
    Err err = {0};
    assert_int_equal(file_list(&arena, a, &names_a, &n_a, &err), NPC_OK);
    assert_int_equal(file_list(&arena, b, &names_b, &n_b, &err), NPC_OK);
    assert_int_equal(n_a, n_b);
    for (size_t i = 0; i < n_a; i++) {
        const char *pa = arena_printf(&arena, "%s/%s", a, names_a[i]);
        const char *pb = arena_printf(&arena, "%s/%s", b, names_b[i]);
        char *x, *y;
        size_t nx, ny;
        assert_string_equal(names_a[i], names_b[i]);
        if (file_is_folder(pa)) {
            files += (size_t)compare_trees(pa, pb);
            continue;
        }
        assert_int_equal(file_read(&arena, pa, 1 << 24, &x, &nx, &err), NPC_OK);
        assert_int_equal(file_read(&arena, pb, 1 << 24, &y, &ny, &err), NPC_OK);
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        files++;
    }
    arena_free(&arena);
    return (int)files;
}

static void count_calls(void *cx, double fraction, const char *what)
{
    double *last = cx;
    assert_true(fraction >= last[0] && fraction <= 1 && what[0]);
    last[0] = fraction;
    last[1]++;
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    Err err = {0};
    SynthOptions o = tiny();
    double progress[2] = {0, 0};
    char first[4096];
    tiny_recordings();
    snprintf(first, sizeof first, "%s", scratch_path("tiny"));
    assert_int_equal(synth_write(scratch_path("again"), &o, count_calls, progress, NULL, &err),
                     NPC_OK);
    /* per recording: 96 of data, 28 of meta, 28 of truth; and the responses of 34 tests */
    assert_int_equal(compare_trees(first, scratch_path("again")), 2 * (96 + 28 + 28) + 34);
    assert_true(progress[0] == 1 && progress[1] > 46);
}

static void another_seed_gives_another_recording(void **state)
{
    (void)state;
    Err err = {0};
    SynthOptions o = tiny();
    SynthSummary summary;
    o.seed = 1;
    o.mice = 1;
    assert_int_equal(synth_write(scratch_path("other"), &o, NULL, NULL, &summary, &err), NPC_OK);
    assert_string_not_equal(summary.name, tiny_recordings()[0].name);
    assert_true(summary.tier[0].single_trial != tiny_recordings()[0].tier[0].single_trial);
}

/* --------------------------------------------------------------------------------------- errors */

static void options_out_of_range_are_named(void **state)
{
    (void)state;
    SynthOptions few = tiny(), noise = tiny(), huge = tiny();
    Err a = {0}, b = {0}, c = {0};
    few.frames = 80;
    assert_int_equal(synth_write(scratch_path("x"), &few, NULL, NULL, NULL, &a), NPC_ERR_USAGE);
    assert_non_null(strstr(a.text, "frames is 80, but must be 81 to"));
    noise.signal = NAN;
    assert_int_equal(synth_check(&noise, &b), NPC_ERR_USAGE);
    assert_non_null(strstr(b.text, "signal"));
    huge.height = huge.width = 1024;
    huge.neurons = 100000;
    assert_int_equal(synth_check(&huge, &c), NPC_ERR_USAGE);
    assert_false(file_exists(scratch_path("x")));
}

static void a_folder_that_holds_something_is_refused(void **state)
{
    (void)state;
    Err err = {0};
    SynthOptions o = tiny();
    assert_int_equal(file_make_folder(scratch_path("full"), &err), NPC_OK);
    scratch_write("full/notes.txt", "mine", 4);
    assert_int_equal(synth_write(scratch_path("full"), &o, NULL, NULL, NULL, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "not empty (it holds notes.txt)"));
}

static void a_file_in_the_way_is_refused(void **state)
{
    (void)state;
    Err is_file = {0}, below = {0};
    SynthOptions o = tiny();
    scratch_write("plain", "x", 1);
    assert_int_equal(synth_write(scratch_path("plain"), &o, NULL, NULL, NULL, &is_file),
                     NPC_ERR_INPUT);
    assert_non_null(strstr(is_file.text, "not a folder"));
    assert_true(synth_write(scratch_path("plain/sub"), &o, NULL, NULL, NULL, &below) != NPC_OK);
    assert_true(below.text[0] != 0);
}

/* A limit on the file size stands for the full disk: video files are the first to reach it. */
static void a_failing_write_leaves_a_message_and_nothing_else(void **state)
{
    (void)state;
    SynthOptions o = tiny();
    SynthSummary summary;
    Err err = {0};
    struct rlimit before, limited;
    o.mice = 1;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limited = before;
    limited.rlim_cur = 12 * 20 * 97 * 4; /* the data without its header */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
    Status status = synth_write(scratch_path("limited"), &o, NULL, NULL, &summary, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, NPC_ERR_IO);
    assert_non_null(strstr(err.text, ".partial/data/videos/"));
    assert_non_null(strstr(err.text, "cannot write: File too large"));
    assert_false(file_exists(scratch_path("limited")));
}

/* The linker sends every request of the program through these (tests/data_synth.cmake). */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);

static long requests_left = -1; /* until one fails; negative: none does */

static bool refused(void)
{
    return requests_left >= 0 && requests_left-- == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return refused() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return refused() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return refused() ? NULL : __real_aligned_alloc(alignment, bytes);
}

static void every_refused_request_for_memory_ends_in_a_message(void **state)
{
    (void)state;
    SynthOptions o = tiny();
    char folder[32];
    bool fired = true;
    int n = 0;
    o.mice = o.clips = 1;
    o.neurons = o.trials = 2;
    o.frames = 81;
    o.height = o.width = 8;
    o.repeats = 2;
    for (; fired; n++) {
        Err err = {0};
        snprintf(folder, sizeof folder, "memory%d", n);
        const char *out = scratch_path(folder);
        requests_left = n;
        Status status = synth_write(out, &o, NULL, NULL, NULL, &err);
        fired = requests_left < 0;
        requests_left = -1;
        assert_int_equal(status != NPC_OK, fired);
        assert_int_equal(err.text[0] != 0, fired);
    }
    assert_true(n > 80);
}

/* -------------------------------------------------------------------------------------- stimuli */

static void every_kind_of_film_stays_within_grey_levels_and_moves(void **state)
{
    (void)state;
    enum { T = 61, SIZE = T * 9 * 13 };
    static float film[SIZE + 1];
    Err err = {0};
    for (int kind = 0; kind < STIMULUS_KINDS; kind++) {
        Rng r = rng_start(3, (uint64_t)kind);
        film[SIZE] = -1;
        assert_int_equal(stimulus_make((StimulusKind)kind, &r, T, 9, 13, film, &err), NPC_OK);
        int changed = 0;
        for (int i = 0; i < SIZE; i++) {
            assert_true(film[i] >= 0 && film[i] <= 255);
            changed += i >= 9 * 13 && film[i] != film[i - 9 * 13];
        }
        assert_true(changed > SIZE / 50);
        assert_true(film[SIZE] == -1);
    }
}

/* Mean power of the waves of wavelength 64 / k along the rows or the columns of a texture. */
static double wave_power(const float *x, int n, int k, int along_rows)
{
    double c = 0, s = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double phase = 2 * M_PI * k * (along_rows ? j : i) / n;
            c += x[i * n + j] * cos(phase);
            s += x[i * n + j] * sin(phase);
        }
    return c * c + s * s;
}

static void the_power_of_textures_falls_with_the_square_of_frequency(void **state)
{
    (void)state;
    enum { N = 64 };
    static float texture[N * N];
    double power[3] = {0}; /* waves 3, 6, 12 */
    Noise n;
    Rng r = rng_start(9, 9);
    Err err = {0};
    assert_int_equal(noise_open(&n, N, N, &err), NPC_OK);
    for (int k = 0; k < 100; k++) {
        noise_texture(&n, &r, 0, 0, texture);
        for (int w = 0; w < 3; w++)
            power[w] += wave_power(texture, N, 3 << w, 0) + wave_power(texture, N, 3 << w, 1);
    }
    noise_close(&n);
    for (int w = 0; w < 2; w++) /* a ratio of 4; 200 exponential values each: about 10 % */
        assert_true(power[w] / power[w + 1] > 2.8 && power[w] / power[w + 1] < 5.6);
}

static void oriented_textures_vary_along_their_angle(void **state)
{
    (void)state;
    enum { N = 32 };
    static float texture[N * N];
    Noise n;
    Rng r = rng_start(2, 9);
    Err err = {0};
    double along = 0, across = 0;
    assert_int_equal(noise_open(&n, N, N, &err), NPC_OK);
    noise_texture(&n, &r, 1, 0, texture);
    for (int k = 1; k < 5; k++) {
        along += wave_power(texture, N, k, 1);
        across += wave_power(texture, N, k, 0);
    }
    noise_close(&n);
    assert_true(along > 1000 * across);
}

/* Coarse waves live longer: neighbouring frames resemble each other, distant ones do not. */
static void flicker_forgets_slowly(void **state)
{
    (void)state;
    enum { N = 32, T = 400 };
    static float frame[T][N * N];
    Noise n;
    Rng r = rng_start(5, 9);
    Err err = {0};
    double square = 0, next = 0, far = 0;
    assert_int_equal(noise_open(&n, N, N, &err), NPC_OK);
    noise_film_start(&n, &r);
    for (int t = 0; t < T; t++)
        memcpy(frame[t], noise_film_next(&n, &r), sizeof frame[t]);
    noise_close(&n);
    for (int t = 0; t + 200 < T; t++)
        for (int i = 0; i < N * N; i++) {
            square += frame[t][i] * frame[t][i];
            next += frame[t][i] * frame[t + 1][i];
            far += frame[t][i] * frame[t + 200][i];
        }
    assert_true(fabs(square / (200.0 * N * N) - 1) < 0.15);
    assert_true(next / square > 0.5 && next / square < 0.9);
    assert_true(fabs(far / square) < 0.15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layout_is_that_of_the_competition),
        cmocka_unit_test(the_reader_opens_what_was_written),
        cmocka_unit_test(even_recordings_withhold_test_responses),
        cmocka_unit_test(tails_are_nan_in_all_four_variables_alike),
        cmocka_unit_test(statistics_are_those_of_the_training_trials),
        cmocka_unit_test(the_repeat_finder_finds_the_clips),
        cmocka_unit_test(ceilings_are_between_nothing_and_the_true_rate),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(another_seed_gives_another_recording),
        cmocka_unit_test(options_out_of_range_are_named),
        cmocka_unit_test(a_folder_that_holds_something_is_refused),
        cmocka_unit_test(a_file_in_the_way_is_refused),
        cmocka_unit_test(a_failing_write_leaves_a_message_and_nothing_else),
        cmocka_unit_test(every_refused_request_for_memory_ends_in_a_message),
        cmocka_unit_test(every_kind_of_film_stays_within_grey_levels_and_moves),
        cmocka_unit_test(the_power_of_textures_falls_with_the_square_of_frequency),
        cmocka_unit_test(oriented_textures_vary_along_their_angle),
        cmocka_unit_test(flicker_forgets_slowly),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
