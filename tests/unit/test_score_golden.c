/* Published scores come out of `npc run --score`: the ragged trials of the baselines' reference
 * file are written as recordings and as predictions of a run, the run is scored, and its files are
 * compared neuron by neuron.
 *
 * Neuron 3 lacks a sample, which ends a trial of a recording for every neuron; its gap is filled,
 * so it is left out here and compared by unit.metrics. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data/npy.h"
#include "data/npy_write.h"
#include "data/safetensors.h"
#include "tests/unit/scratch.h"

enum { TRIALS = 14, NEURONS = 6, STORED = 127, TYPES = 3, INCOMPLETE = 3 };

/* The tiers that hold the trials of each type. */
static const char *const type_tier[TYPES] = {"oracle", "live_test_main", "final_test_main"};
static const char *const type_name[TYPES] = {"drifting gabor", "image", "movie"};

static Safetensors golden;

static void must(Status s, const Err *err)
{
    if (s != NPC_OK)
        fail_msg("%s", err->text);
}

static const void *tensor(const char *name, uint64_t elems)
{
    const SafetensorsEntry *e = safetensors_find(&golden, name);
    assert_non_null(e);
    assert_int_equal(e->elems, elems);
    return e->data;
}

/* ROOT/name in a folder that is made. */
static const char *place(const char *name)
{
    static char path[4200];
    Err err = {0};
    snprintf(path, sizeof path, "%s", scratch_path(name));
    char *slash = strrchr(path, '/');
    *slash = 0;
    must(file_make_folder(path, &err), &err);
    *slash = '/';
    return path;
}

static void put(const char *name, const float *x, size_t rank, const size_t *shape)
{
    Err err = {0};
    must(npy_write(place(name), NPY_WRITE_F4, x, shape, rank, &err), &err);
}

/* Frames first .. end - 1 of every neuron of a trial; what is missing among them is 0. */
static void put_rows(const char *name, const char *source, int trial, size_t first, size_t end)
{
    const float *all = tensor(source, TRIALS * NEURONS * STORED);
    float x[NEURONS * STORED];
    size_t n = end - first;
    for (size_t k = 0; k < NEURONS; k++)
        for (size_t t = 0; t < n; t++) {
            float value = all[((size_t)trial * NEURONS + k) * STORED + first + t];
            assert_true(isfinite(value) || k == INCOMPLETE);
            x[k * n + t] = isfinite(value) ? value : 0;
        }
    put(name, x, 2, (size_t[]){NEURONS, n});
}

static void put_recording(const char *name, const char *const *tier)
{
    static const float grey[2 * 2 * STORED];
    const int64_t *length = tensor("input/length", TRIALS);
    const int64_t *first = tensor("input/first_predicted", TRIALS);
    const char *tiers[TRIALS];
    const int64_t *type = tensor("input/type", TRIALS);
    char path[200];
    Err err = {0};
    for (int i = 0; i < TRIALS; i++) {
        size_t t = (size_t)length[i];
        tiers[i] = tier ? tier[type[i]] : type_tier[0];
        snprintf(path, sizeof path, "data/%s/data/videos/%d.npy", name, i);
        put(path, grey, 3, (size_t[]){2, 2, t});
        snprintf(path, sizeof path, "data/%s/data/behavior/%d.npy", name, i);
        put(path, grey, 2, (size_t[]){2, t});
        snprintf(path, sizeof path, "data/%s/data/pupil_center/%d.npy", name, i);
        put(path, grey, 2, (size_t[]){2, t});
        snprintf(path, sizeof path, "data/%s/data/responses/%d.npy", name, i);
        put_rows(path, "input/responses", i, 0, t);
        snprintf(path, sizeof path, "run/predictions/%s/%s/%d.npy", name, tiers[i], i);
        put_rows(path, "input/predictions", i, (size_t)first[i], t);
    }
    snprintf(path, sizeof path, "data/%s/meta/trials/tiers.npy", name);
    must(npy_write_text(place(path), tiers, TRIALS, &err), &err);
    snprintf(path, sizeof path, "data/truth/%s/meta/video_ids.npy", name);
    must(npy_write(place(path), NPY_WRITE_I8, tensor("input/video", TRIALS), (size_t[]){TRIALS}, 1,
                   &err),
         &err);
}

static void assert_scores(const char *recording, const char *tier, const char *kind,
                          const char *expected)
{
    char path[200];
    Npy got;
    Err err = {0};
    const double *want = tensor(expected, NEURONS);
    snprintf(path, sizeof path, "run/scores/%s/%s_%s.npy", recording, tier, kind);
    must(npy_open(&got, scratch_path(path), &err), &err);
    assert_int_equal(got.head.shape[0], NEURONS);
    for (int k = 0; k < NEURONS; k++) {
        double x = npy_double(&got, (uint64_t)k * got.head.stride[0]);
        if (k != INCOMPLETE && !(fabs(x - want[k]) < 1e-10))
            fail_msg("%s: neuron %d: %.16g, expected %.16g", expected, k, x, want[k]);
    }
    npy_close(&got);
}

static void published_scores_come_out_of_a_run(void **state)
{
    (void)state;
    char run[4200], data[4200], command[9000], expected[80];
    Err err = {0};
    must(safetensors_open(&golden, "tests/goldens/baselines/metrics.safetensors", &err), &err);
    put_recording("all", NULL);
    put_recording("typed", type_tier);
    snprintf(run, sizeof run, "%s", scratch_path("run"));
    snprintf(data, sizeof data, "%s", scratch_path("data"));
    snprintf(command, sizeof command,
             NPC_TOOL " run '%s' --score --data '%s' --progress quiet >/dev/null", run, data);
    scratch_write("run/run.json", "{}", 2);
    assert_int_equal(system(command), 0);
    assert_scores("all", "oracle", "single_trial", "expect/single_trial");
    assert_scores("all", "oracle", "to_average", "expect/to_average");
    assert_scores("all", "oracle", "ceiling", "expect/leave_one_out_ceiling");
    for (int k = 0; k < TYPES; k++) {
        snprintf(expected, sizeof expected, "expect/single_trial_of_type/%s", type_name[k]);
        assert_scores("typed", type_tier[k], "single_trial", expected);
        snprintf(expected, sizeof expected, "expect/to_average_of_type/%s", type_name[k]);
        assert_scores("typed", type_tier[k], "to_average", expected);
    }
    safetensors_close(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_scores_come_out_of_a_run)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
