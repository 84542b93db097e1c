/* Correlations of attention with behaviour, and how they are reported. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/attention_behaviour.h"

static Arena arena;

static void add(AttentionTier *t, AttentionRelation relation, double attention, double behaviour)
{
    vec_push(&arena, &t->of[relation].attention, attention);
    vec_push(&arena, &t->of[relation].behaviour, behaviour);
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not hold \"%s\"", text, part);
}

/* With 4 pairs Student's t has 2 degrees of freedom, and the probability is 1 - |r|; with 3 it is
 * that of Cauchy, 1 - 2/pi asin |r|. The last two are numbers of a table. */
static void chance_is_students(void **state)
{
    (void)state;
    assert_float_equal(attention_chance(0.3, 4), 0.7, 1e-12);
    assert_float_equal(attention_chance(-0.9, 4), 0.1, 1e-12);
    assert_float_equal(attention_chance(0.5, 3), 1 - 1. / 3, 1e-12);
    assert_float_equal(attention_chance(0.6319, 10), 0.05, 1e-4);
    assert_float_equal(attention_chance(0.1966, 100), 0.05, 1e-4);
    assert_float_equal(attention_chance(1, 10), 0, 0);
    assert_true(isnan(attention_chance(0.5, 2)));
    assert_true(isnan(attention_chance(NAN, 20)));
}

static void correlations_of_pupils_lose_their_sign(void **state)
{
    (void)state;
    AttentionTier t = {.recording = "A", .tier = "test"};
    static const double x[] = {1, 2, 3, 4};
    for (int i = 0; i < 4; i++) {
        add(&t, RELATION_PUPIL_X, x[i], -2 * x[i]);
        add(&t, RELATION_PUPIL_Y, x[i], 5);
        add(&t, RELATION_RUNNING, x[i], i % 2 ? -x[i] : 0);
    }
    attention_correlate(&t);
    assert_float_equal(t.r[RELATION_PUPIL_X], 1, 1e-12);
    assert_true(isnan(t.r[RELATION_PUPIL_Y])); /* does not vary */
    assert_float_equal(t.r[RELATION_RUNNING], -5. / sqrt(5 * 11), 1e-12);
    assert_true(isnan(t.r[RELATION_SIZE_X]));  /* nothing there */
    assert_true(isnan(t.p[RELATION_PUPIL_X])); /* frames */
}

static void means_are_over_recordings_that_have_a_number(void **state)
{
    (void)state;
    AttentionTier t[3] = {{.recording = "A", .tier = "main", .n_trials = 2},
                          {.recording = "B", .tier = "main", .n_trials = 3},
                          {.recording = "B", .tier = "bonus", .n_trials = 1}};
    Text table = {.arena = &arena};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < RELATION_COUNT; k++)
            t[i].r[k] = t[i].p[k] = NAN;
    t[0].r[RELATION_PUPIL_X] = 0.25;
    t[1].r[RELATION_PUPIL_X] = 0.75;
    t[2].r[RELATION_PUPIL_X] = 0.125;
    t[1].r[RELATION_RUNNING] = -0.5;
    attention_table(&table, t, 3);
    assert_contains(text_str(&table),
                    "| recording | tier | trials | pupil x | pupil y | running |\n");
    assert_contains(text_str(&table), "| B | main | 3 | 0.750 | - | -0.500 |\n");
    assert_contains(text_str(&table), "| main | | 0.500 ± 0.250 | - | -0.500 ± 0.000 |\n");
    assert_contains(text_str(&table), "| bonus | | 0.125 ± 0.000 | - | - |\n");
    const char *json = attention_json(&arena, t, 3);
    assert_contains(json, "\"deviation\": 0.25");
    assert_contains(json, "\"r\": null");
    assert_null(strstr(json, "size_x"));
    assert_null(strstr(json, "\"p\""));
}

static void images_have_sizes_and_chances(void **state)
{
    (void)state;
    AttentionTier t = {.recording = "A", .tier = "test", .is_images = true};
    Text table = {.arena = &arena};
    static const double x[] = {1, 0, 0, 0}, y[] = {0, 0, 1, 0};
    for (int i = 0; i < 4; i++)
        add(&t, RELATION_SIZE_X, x[i], y[i]);
    attention_correlate(&t);
    assert_float_equal(t.r[RELATION_SIZE_X], 1. / 3, 1e-12);
    assert_float_equal(t.p[RELATION_SIZE_X], 2. / 3, 1e-12);
    attention_table(&table, &t, 1);
    assert_contains(text_str(&table), "| pupil y | pupil size, x | pupil size, y |\n");
    assert_contains(attention_json(&arena, &t, 1), "\"p\": 0.6666");
}

static int forget(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chance_is_students),
        cmocka_unit_test(correlations_of_pupils_lose_their_sign),
        cmocka_unit_test(means_are_over_recordings_that_have_a_number),
        cmocka_unit_test(images_have_sizes_and_chances),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
