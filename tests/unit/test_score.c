/* Scores of predictions on disk against numbers from an independent numpy statement. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data/blend.h"
#include "data/npy_write.h"
#include "runtime/report.h"
#include "runtime/score.h"
#include "tests/unit/scratch.h"

static void must(Status s, const Err *err)
{
    if (s != NPC_OK)
        fail_msg("%s", err->text);
}

/* A recording of 2 neurons and 4 trials of 5, 5, 5 and 4 frames; films 0, 0, 1, 1. */
static const float responses[4][2][5] = {
    {{1, 2, 3, 4, 5}, {0, 1, 0, 2, 1}},
    {{2, 2, 4, 4, 7}, {1, 1, 0, 0, 3}},
    {{0, 1, 0, 1, 0}, {5, 4, 3, 2, 1}},
    {{1, 1, 0, 2, 0}, {4, 4, 2, 2, 0}},
};
static const float predicted[4][2][5] = {
    {{9, 1, 2, 2, 3}, {9, 1, 1, 2, 2}},
    {{9, 1, 2, 3, 3}, {9, 1, 2, 2, 2}},
    {{9, 2, 1, 2, 1}, {9, 3, 3, 2, 1}},
    {{9, 2, 1, 2, 0}, {9, 3, 2, 2, 0}},
};
/* per neuron and frame; the mean is 1.5975, so 0.01 counts as 0.015975 */
static const float deviation[2][5] = {{1, 2, 1, 2, 1}, {0.01f, 2, 1, 4, 1.965f}};

static void put_array(const char *root, const char *name, const float *x, size_t rank,
                      const size_t *shape)
{
    char full[4600];
    Err err = {0};
    snprintf(full, sizeof full, "%s/%s", root, name);
    *strrchr(full, '/') = 0;
    must(file_make_folder(full, &err), &err);
    snprintf(full, sizeof full, "%s/%s", root, name);
    must(npy_write(full, NPY_WRITE_F4, x, shape, rank, &err), &err);
}

static void put_recording(const char *root)
{
    static const float grey[2 * 2 * 5] = {1, 2, 3, 4, 5, 2, 3, 4, 5, 6,
                                          3, 4, 5, 6, 7, 4, 5, 6, 7, 8};
    static const float ones[2 * 2 * 5] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                          1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const char *const tiers[] = {"oracle", "oracle", "oracle", "oracle"};
    static const char *const stats[] = {"mean", "std"};
    char name[200];
    Err err = {0};
    size_t n_ids[1] = {4};
    int64_t ids[4] = {0, 0, 1, 1};
    for (int i = 0; i < 4; i++) {
        size_t t = i == 3 ? 4 : 5, video[3] = {2, 2, t}, two[2] = {2, t};
        float x[10], y[10];
        for (size_t k = 0; k < 2; k++)
            for (size_t f = 0; f < t; f++) {
                x[k * t + f] = responses[i][k][f];
                y[k * t + f] = predicted[i][k][f];
            }
        snprintf(name, sizeof name, "rec/data/videos/%d.npy", i);
        put_array(root, name, grey, 3, video);
        snprintf(name, sizeof name, "rec/data/responses/%d.npy", i);
        put_array(root, name, x, 2, two);
        snprintf(name, sizeof name, "rec/data/behavior/%d.npy", i);
        put_array(root, name, grey, 2, two);
        snprintf(name, sizeof name, "rec/data/pupil_center/%d.npy", i);
        put_array(root, name, grey, 2, two);
        snprintf(name, sizeof name, "predictions/rec/oracle/%d.npy", i);
        put_array(root, name, y, 2, two);
    }
    for (int v = 0; v < VAR_COUNT; v++)
        for (int s = 0; s < 2; s++) {
            size_t video[3] = {2, 2, 5}, two[2] = {2, 5};
            bool is_response = v == VAR_RESPONSE;
            snprintf(name, sizeof name, "rec/meta/statistics/%s/all/%s.npy",
                     variable_folder((Variable)v), stats[s]);
            put_array(root, name, is_response ? &deviation[0][0] : ones, v == VAR_VIDEO ? 3 : 2,
                      v == VAR_VIDEO ? video : two);
        }
    char full[4600];
    snprintf(full, sizeof full, "%s/rec/meta/trials", root);
    must(file_make_folder(full, &err), &err);
    snprintf(full, sizeof full, "%s/rec/meta/trials/tiers.npy", root);
    must(npy_write_text(full, tiers, 4, &err), &err);
    snprintf(full, sizeof full, "%s/truth/rec/meta", root);
    must(file_make_folder(full, &err), &err);
    snprintf(full, sizeof full, "%s/truth/rec/meta/video_ids.npy", root);
    must(npy_write(full, NPY_WRITE_I8, ids, n_ids, 1, &err), &err);
}

static void score_by(TierScore *out, Arena *arena, const char *root, ScoreRules rules)
{
    char predictions[4200], truth[4200], recording[4200];
    Recording *r;
    Err err = {0};
    bool found;
    snprintf(predictions, sizeof predictions, "%s/predictions", root);
    snprintf(truth, sizeof truth, "%s/truth", root);
    snprintf(recording, sizeof recording, "%s/rec", root);
    must(recording_open(&r, arena, recording, &err), &err);
    must(score_tier(out, &found, arena, r, TIER_ORACLE, predictions, truth, &rules, NULL, &err),
         &err);
    assert_true(found);
}

static void score_written(TierScore *out, Arena *arena, const char *root)
{
    score_by(out, arena, root, (ScoreRules){.burn_in = 1});
}

/* Three of the trials have 5 frames, one has 4: of none do more than the last 3 count. */
static void of_longer_trials_the_first_frames_do_not_count(void **state)
{
    (void)state;
    Arena arena = {0};
    TierScore all, last, later, spoilt, wrong;
    char root[4000], name[60];
    snprintf(root, sizeof root, "%s", scratch_path("last"));
    put_recording(root);
    score_by(&all, &arena, root, (ScoreRules){0});
    score_by(&last, &arena, root, (ScoreRules){.last = 3});
    score_by(&later, &arena, root, (ScoreRules){.burn_in = 1, .last = 4});
    for (int i = 0; i < 4; i++) {
        size_t t = i == 3 ? 4 : 5;
        float y[10];
        for (size_t k = 0; k < 2; k++)
            for (size_t f = 0; f < t; f++)
                y[k * t + f] = f + 3 < t ? 0 : predicted[i][k][f];
        snprintf(name, sizeof name, "predictions/rec/oracle/%d.npy", i);
        put_array(root, name, y, 2, (size_t[]){2, t});
    }
    score_by(&spoilt, &arena, root, (ScoreRules){.last = 3});
    score_by(&wrong, &arena, root, (ScoreRules){0});
    for (int what = 0; what <= SCORE_TO_AVERAGE; what++) {
        assert_true(last.of_all[what] == later.of_all[what]);
        assert_true(last.of_all[what] == spoilt.of_all[what]);
        assert_true(fabs(all.of_all[what] - last.of_all[what]) > 1e-3);
        assert_true(fabs(all.of_all[what] - wrong.of_all[what]) > 1e-3);
    }
    arena_free(&arena);
}

/* Predictions in units of the per-frame statistic score as those in the responses' own. */
static void scaled_predictions_are_not_scaled_again(void **state)
{
    (void)state;
    Arena arena = {0};
    TierScore own, scaled, wrong;
    Recording *r;
    Err err = {0};
    bool found;
    char root[4000], name[60], path[3][4200];
    snprintf(root, sizeof root, "%s", scratch_path("scaled"));
    put_recording(root);
    score_written(&own, &arena, root);
    float precision[10];
    response_precision(&deviation[0][0], 10, precision);
    for (int i = 0; i < 4; i++) {
        size_t t = i == 3 ? 4 : 5;
        float y[10];
        for (size_t k = 0; k < 2; k++)
            for (size_t f = 0; f < t; f++)
                y[k * t + f] = predicted[i][k][f] * precision[k * 5 + f];
        snprintf(name, sizeof name, "predictions/rec/oracle/%d.npy", i);
        put_array(root, name, y, 2, (size_t[]){2, t});
    }
    snprintf(path[0], sizeof *path, "%s/rec", root);
    snprintf(path[1], sizeof *path, "%s/predictions", root);
    snprintf(path[2], sizeof *path, "%s/truth", root);
    must(recording_open(&r, &arena, path[0], &err), &err);
    ScoreRules rules = {.burn_in = 1, .is_scaled = true};
    must(score_tier(&scaled, &found, &arena, r, TIER_ORACLE, path[1], path[2], &rules, NULL, &err),
         &err);
    assert_true(found &&
                fabs(scaled.of_all[SCORE_SINGLE_TRIAL] - own.of_all[SCORE_SINGLE_TRIAL]) < 1e-6);
    assert_true(fabs(scaled.of_all[SCORE_TO_AVERAGE] - own.of_all[SCORE_TO_AVERAGE]) < 1e-6);
    rules.is_scaled = false;
    must(score_tier(&wrong, &found, &arena, r, TIER_ORACLE, path[1], path[2], &rules, NULL, &err),
         &err);
    assert_true(fabs(wrong.of_all[SCORE_SINGLE_TRIAL] - own.of_all[SCORE_SINGLE_TRIAL]) > 1e-3);
    arena_free(&arena);
}

static void scores_equal_reference_numbers(void **state)
{
    (void)state;
    /* numpy statement of the competition's scores, float64 */
    static const double want[SCORE_EXPLAINED][2] = {{0.911221145327, 0.721462193544},
                                                    {0.943739455057, 0.749099972495},
                                                    {0.907459858784, 0.805504835773},
                                                    {0.508058057149, 0.331339646613}};
    Arena arena = {0};
    TierScore s;
    char root[4000];
    snprintf(root, sizeof root, "%s", scratch_path("numbers"));
    put_recording(root);
    score_written(&s, &arena, root);
    assert_true(s.is_normalised && s.n_clips == 2);
    assert_null(s.of_neuron[SCORE_EXPLAINED]); /* of images only */
    for (int what = 0; what < SCORE_EXPLAINED; what++)
        for (int k = 0; k < 2; k++)
            if (fabs(s.of_neuron[what][k] - want[what][k]) > 1e-6)
                fail_msg("score %d of neuron %d: %.9g, expected %.9g", what, k,
                         s.of_neuron[what][k], want[what][k]);
    assert_true(fabs(s.of_all[SCORE_NORMALISED] - (0.508058057149 + 0.331339646613) / 2) < 1e-6);
    Text table = {.arena = &arena};
    report_scores_table(&table, &s, 1);
    assert_non_null(strstr(text_str(&table), "noise ceiling | normalised | FEVE |"));
    assert_non_null(strstr(text_str(&table), "| 0.8565 | 0.4197 | - |"));
    assert_non_null(
        strstr(report_scores_json(&arena, &s, 1), "\"normalised_correlation\": 0.4196"));
    arena_free(&arena);
}

static void a_statistic_that_is_zero_ends_every_trial(void **state)
{
    (void)state;
    static const float still[2][5] = {{1, 1, 1, 0, 1}, {1, 1, 1, 1, 1}};
    size_t two[2] = {2, 5};
    Arena arena = {0};
    TierScore s;
    char root[4000];
    snprintf(root, sizeof root, "%s", scratch_path("numbers2"));
    put_recording(root);
    put_array(root, "rec/meta/statistics/behavior/all/std.npy", &still[0][0], 2, two);
    score_written(&s, &arena, root);
    assert_int_equal(s.longest, 3);
    assert_true(s.is_normalised);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_equal_reference_numbers),
        cmocka_unit_test(scaled_predictions_are_not_scaled_again),
        cmocka_unit_test(of_longer_trials_the_first_frames_do_not_count),
        cmocka_unit_test(a_statistic_that_is_zero_ends_every_trial),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
