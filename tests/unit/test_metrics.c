#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "data/metrics.h"
#include "data/safetensors.h"

/* Five trials of two neurons, two clips shown three times and twice, burn-in of two frames. The
 * expected numbers come from an independent statement of the same formulas in numpy. */
static const float R0[] = {9, 9, 1, 4, 2, 8, 5, 9, 9, 0, 0, 3, 1, 0};
static const float R1[] = {9, 9, 2, 3, 4, 7, 9, 9, 1, 0, 2, 2};
static const float R2[] = {9, 9, 3, 0, 1, 9, 9, 0, 5, 0};
static const float R3[] = {9, 9, 6, 1, 2, 2, 9, 9, 0, 4, 1, 0};
static const float R4[] = {9, 9, 2, 2, 3, 9, 4, 9, 9, 0, 1, 4, 1, 1};
static const float P0[] = {1, 3, 2, 6, 4, 0, 1, 2, 0, 0};
static const float P1[] = {7, 1, 4, 3, 6, 7, 0, 1, 1, 2};
static const float P2[] = {2, 1, 1, 1, 3, 0};
static const float P3[] = {4, 2, 1, 3, 1, 2, 2, 0};
static const float P4[] = {9, 9, 1, 3, 2, 6, 4, 8, 8, 0, 1, 2, 0, 1};

#define DENSE(a)                                                                                   \
    {                                                                                              \
        a, sizeof(a) / sizeof *(a) / 2, sizeof(a) / sizeof *(a) / 2, 1                             \
    }

static const ScoreTrial small[] = {
    {DENSE(R0), DENSE(P0), 7},  {DENSE(R1), DENSE(P1), 7}, {DENSE(R2), DENSE(P2), -3},
    {DENSE(R3), DENSE(P3), -3}, {DENSE(R4), DENSE(P4), 7},
};
static const ScoreSet small_set = {small, 5, 2, 2};

static void assert_scores(const double got[2], double first, double second)
{
    if (!(fabs(got[0] - first) < 1e-12 && fabs(got[1] - second) < 1e-12))
        fail_msg("%.16g %.16g, expected %.16g %.16g", got[0], got[1], first, second);
}

static void scores_of_a_small_case_agree(void **state)
{
    (void)state;
    double out[2];
    Err err = {0};
    assert_int_equal(metrics_single_trial(&small_set, out, &err), NPC_OK);
    assert_scores(out, 0.9079046856551649, 0.7811330574181209);
    assert_int_equal(metrics_to_average(&small_set, 1, out, &err), NPC_OK);
    assert_scores(out, 0.94300952274928, 0.8490315756263686);
    assert_int_equal(metrics_to_average(&small_set, 3, out, &err), NPC_OK);
    assert_scores(out, 0.961240141819117, 0.7847511874097057);
    assert_int_equal(metrics_to_average_per_video(&small_set, 2, out, &err), NPC_OK);
    assert_scores(out, 0.9229277554103201, 0.8898004597837272);
    assert_int_equal(metrics_normalised(&small_set, out, &err), NPC_OK);
    assert_scores(out, 0.9525073120092038, 0.9269146540489693);
}

/* Two neurons; image 4 is shown three times, image 8 twice, image 5 once, which does not count. The
 * first neuron: t = 5.7, v = (7/3 + 1/2) / 2, e = 11/5. The second is noise. */
static void variance_explained_of_images(void **state)
{
    (void)state;
    static const float r[][2] = {{1, 1}, {3, 9}, {6, 5}, {4, 9}, {7, 1}, {99, 99}};
    static const float p[][2] = {{3, 0}, {4, 0}, {5, 0}, {5, 0}, {5, 0}, {0, 0}};
    static const int64_t image[] = {4, 4, 8, 4, 8, 5};
    ScoreTrial trial[6];
    double out[2], noise = (7. / 3 + 1. / 2) / 2;
    Err err = {0};
    for (int i = 0; i < 6; i++)
        trial[i] = (ScoreTrial){{r[i], 1, 1, 1}, {p[i], 1, 1, 1}, image[i]};
    ScoreSet set = {trial, 6, 2, 0};
    assert_int_equal(metrics_explained(&set, out, &err), NPC_OK);
    assert_true(fabs(out[0] - (1 - (11. / 5 - noise) / (5.7 - noise))) < 1e-12);
    assert_true(isnan(out[1]));
    set.n_trials = 1; /* no image is repeated */
    assert_int_equal(metrics_explained(&set, out, &err), NPC_ERR_INPUT);
}

/* Five images, shown 3, 4, 2, 6 and 3 times, to neurons of which the last is noise. The numbers are
 * those of the published evaluations (SENSORIUM 2022's, which V1T took over), worked out in
 * rational arithmetic apart from this program: variances are unbiased, noise is the mean over
 * images, the error the mean over trials, and neurons count whose explainable share is 0.15 or
 * more. */
static void variance_explained_is_the_published_one(void **state)
{
    (void)state;
    enum { TRIALS = 18, N = 4 };
    static const int repeats[] = {3, 4, 2, 6, 3};
    static const double expected[] = {0.9281969490491334, 0.8900582741893202, 0.7578095257178352};
    float r[TRIALS][N], p[TRIALS][N];
    ScoreTrial trial[TRIALS];
    double out[N];
    Err err = {0};
    int k = 0;
    for (int i = 0; i < 5; i++)
        for (int c = 0; c < repeats[i]; c++, k++) {
            for (int n = 0; n < N; n++) {
                int signal = 2 * ((7 * i + 3 * n) % 5), noise = (31 * k + 17 * n + 5 * k * n) % 13;
                r[k][n] = (float)noise / 4 + (n == 3 ? 0 : (float)signal);
                p[k][n] = (float)signal + (float)((3 * i + n) % 4) / 2;
            }
            trial[k] = (ScoreTrial){{r[k], 1, 1, 1}, {p[k], 1, 1, 1}, 10 + i};
        }
    ScoreSet set = {trial, TRIALS, N, 0};
    assert_int_equal(metrics_explained(&set, out, &err), NPC_OK);
    for (int n = 0; n < 3; n++)
        assert_true(fabs(out[n] - expected[n]) < 1e-12);
    assert_true(isnan(out[3]));
}

static void ceilings_of_a_small_case_agree(void **state)
{
    (void)state;
    double out[2];
    Err err = {0};
    assert_int_equal(metrics_leave_one_out_ceiling(&small_set, out, &err), NPC_OK);
    assert_scores(out, 0.8312669015956913, 0.8485737793073818);
    assert_int_equal(metrics_conservative_ceiling(&small_set, out, &err), NPC_OK);
    assert_scores(out, 0.939398111322425, 0.9506576670915772);
}

static void strides_are_followed(void **state)
{
    (void)state;
    float turned[14], out_of[14];
    double out[2];
    Err err = {0};
    ScoreTrial trials[5];
    memcpy(trials, small, sizeof trials);
    for (int n = 0; n < 2; n++)
        for (int t = 0; t < 7; t++) { /* frames first; then backwards */
            turned[t * 2 + n] = R0[n * 7 + t];
            out_of[13 - (n * 7 + t)] = P4[n * 7 + t];
        }
    trials[0].response = (Trace){turned, 7, 1, 2};
    trials[4].prediction = (Trace){out_of + 13, 7, -7, -1};
    ScoreSet s = {trials, 5, 2, 2};
    assert_int_equal(metrics_single_trial(&s, out, &err), NPC_OK);
    assert_scores(out, 0.9079046856551649, 0.7811330574181209);
}

static void a_prediction_that_is_too_short_is_an_error(void **state)
{
    (void)state;
    double out[2] = {-7, -7};
    Err err = {0};
    ScoreTrial trials[5];
    memcpy(trials, small, sizeof trials);
    trials[3].prediction.n_frames = 3;
    ScoreSet s = {trials, 5, 2, 2};
    assert_int_equal(metrics_single_trial(&s, out, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "trial 3 is too short: 3 frames, but the response has 4"));
    assert_scores(out, -7, -7);
}

static void nothing_to_score_is_an_error(void **state)
{
    (void)state;
    double out[2];
    Err late = {0}, few = {0}, none = {0};
    ScoreSet s = {small, 5, 2, 7}, empty = {small, 0, 2, 2};
    assert_int_equal(metrics_single_trial(&s, out, &late), NPC_ERR_INPUT);
    assert_non_null(strstr(late.text, "after the first 7"));
    assert_int_equal(metrics_to_average(&small_set, 4, out, &few), NPC_ERR_INPUT);
    assert_non_null(strstr(few.text, "at least 4 repeats"));
    assert_int_equal(metrics_single_trial(&empty, out, &none), NPC_ERR_INPUT);
}

static void constant_traces_score_zero_and_nan_becomes_zero(void **state)
{
    (void)state;
    const float flat[] = {3, 3, 3, 3, 1, NAN, 2, 5}, rising[] = {1, 2, 3, 4, 1, 2, 3, 4};
    const double a[] = {1, 2, NAN}, b[] = {1, 2, 3};
    double out[2];
    Err err = {0};
    ScoreTrial trial = {{flat, 4, 4, 1}, {rising, 4, 4, 1}, 0};
    ScoreSet s = {&trial, 1, 2, 0};
    assert_int_equal(metrics_single_trial(&s, out, &err), NPC_OK);
    assert_scores(out, 0, 0);
    assert_true(isnan(metrics_correlation(a, b, 3, METRICS_EPS)));
    assert_true(fabs(metrics_correlation(b, b, 3, 0) - 1) < 1e-15);
    double with_nan[3] = {NAN, 0.5, NAN};
    assert_int_equal(metrics_nan_to_zero(with_nan, 3), 2);
    assert_true(with_nan[0] == 0 && with_nan[1] == 0.5);
}

static void recordings_are_weighted_both_ways(void **state)
{
    (void)state;
    const double a[] = {0.1, 0.2, 0.6}, b[] = {0.5};
    const double *scores[] = {a, b};
    const size_t n[] = {3, 1};
    double pooled = metrics_over_recordings(scores, n, 2, METRICS_OVER_NEURONS);
    double averaged = metrics_over_recordings(scores, n, 2, METRICS_OVER_RECORDINGS);
    assert_true(fabs(pooled - 0.35) < 1e-15);
    assert_true(fabs(averaged - 0.4) < 1e-15);
}

/* ------------------------------------------------------------------------------- published case */

enum { TRIALS = 14, NEURONS = 6, STORED = 127 };

typedef struct Golden {
    Safetensors file;
    ScoreTrial trial[TRIALS];
    int64_t type[TRIALS];
} Golden;

static const void *golden_data(const Golden *g, const char *name, uint64_t elems)
{
    const SafetensorsEntry *e = safetensors_find(&g->file, name);
    assert_non_null(e);
    assert_int_equal(e->elems, elems);
    return e->data;
}

static void golden_open(Golden *g)
{
    Err err = {0};
    if (safetensors_open(&g->file, "tests/goldens/baselines/metrics.safetensors", &err) != NPC_OK)
        fail_msg("%s", err.text);
    const float *r = golden_data(g, "input/responses", TRIALS * NEURONS * STORED);
    const float *p = golden_data(g, "input/predictions", TRIALS * NEURONS * STORED);
    const int64_t *length = golden_data(g, "input/length", TRIALS);
    const int64_t *first = golden_data(g, "input/first_predicted", TRIALS);
    const int64_t *video = golden_data(g, "input/video", TRIALS);
    memcpy(g->type, golden_data(g, "input/type", TRIALS), sizeof g->type);
    for (size_t i = 0; i < TRIALS; i++) {
        size_t at = i * NEURONS * STORED, skipped = (size_t)first[i];
        g->trial[i] = (ScoreTrial){{r + at, (size_t)length[i], STORED, 1},
                                   {p + at + skipped, (size_t)length[i] - skipped, STORED, 1},
                                   video[i]};
    }
}

static void assert_golden(const Golden *g, const char *name, const double got[NEURONS])
{
    const double *want = golden_data(g, name, NEURONS);
    for (int i = 0; i < NEURONS; i++)
        if (!(fabs(got[i] - want[i]) < 1e-12))
            fail_msg("%s: neuron %d: %.16g, expected %.16g", name, i, got[i], want[i]);
}

static void the_golden_scores_come_out(void **state)
{
    (void)state;
    Golden g;
    Err err = {0};
    double out[NEURONS];
    golden_open(&g);
    ScoreSet s = {g.trial, TRIALS, NEURONS, METRICS_BURN_IN};
    assert_int_equal(metrics_single_trial(&s, out, &err), NPC_OK);
    assert_golden(&g, "expect/single_trial", out);
    assert_int_equal(metrics_to_average(&s, 1, out, &err), NPC_OK);
    assert_golden(&g, "expect/to_average", out);
    assert_int_equal(metrics_to_average_per_video(&s, 2, out, &err), NPC_OK);
    assert_golden(&g, "expect/to_average_per_video", out);
    assert_int_equal(metrics_leave_one_out_ceiling(&s, out, &err), NPC_OK);
    assert_golden(&g, "expect/leave_one_out_ceiling", out);
    safetensors_close(&g.file);
}

static void the_golden_scores_of_each_type_come_out(void **state)
{
    (void)state;
    static const char *const type[] = {"drifting gabor", "image", "movie"};
    Golden g;
    Err err = {0};
    golden_open(&g);
    for (int k = 0; k < 3; k++) {
        ScoreTrial chosen[TRIALS];
        ScoreSet s = {chosen, 0, NEURONS, METRICS_BURN_IN};
        double out[NEURONS];
        char name[80];
        for (int i = 0; i < TRIALS; i++)
            if (g.type[i] == k)
                chosen[s.n_trials++] = g.trial[i];
        snprintf(name, sizeof name, "expect/single_trial_of_type/%s", type[k]);
        assert_int_equal(metrics_single_trial(&s, out, &err), NPC_OK);
        assert_golden(&g, name, out);
        snprintf(name, sizeof name, "expect/to_average_of_type/%s", type[k]);
        assert_int_equal(metrics_to_average(&s, 1, out, &err), NPC_OK);
        assert_golden(&g, name, out);
    }
    safetensors_close(&g.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_of_a_small_case_agree),
        cmocka_unit_test(variance_explained_of_images),
        cmocka_unit_test(variance_explained_is_the_published_one),
        cmocka_unit_test(ceilings_of_a_small_case_agree),
        cmocka_unit_test(strides_are_followed),
        cmocka_unit_test(a_prediction_that_is_too_short_is_an_error),
        cmocka_unit_test(nothing_to_score_is_an_error),
        cmocka_unit_test(constant_traces_score_zero_and_nan_becomes_zero),
        cmocka_unit_test(recordings_are_weighted_both_ways),
        cmocka_unit_test(the_golden_scores_come_out),
        cmocka_unit_test(the_golden_scores_of_each_type_come_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
