#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/safetensors.h"
#include "runtime/schedule.h"

/* The published recipe: 3 epochs of warm-up, 18 of training, 2250 steps each. */
static const ScheduleStage published[] = {
    {SCHEDULE_LINEAR, 0, 2.4e-3, 6750},
    {SCHEDULE_COSINE, 2.4e-3, 2.4e-5, 40500},
};

static void the_published_schedule_equals_its_golden(void **state)
{
    (void)state;
    Safetensors st;
    Err err = {0};
    if (safetensors_open(&st, "tests/goldens/dwiseneuro/ops.safetensors", &err) != NPC_OK)
        fail_msg("%s", err.text);
    const SafetensorsEntry *step = safetensors_find(&st, "learning_rate/published/step");
    const SafetensorsEntry *out = safetensors_find(&st, "learning_rate/published/out");
    assert_true(step && out && step->elems == 64 && out->elems == 64);
    double k[64];
    float rate[64]; /* the golden is float64 rounded to float32 once, so the bits must agree */
    safetensors_as_double(step, k);
    safetensors_as_float(out, rate);
    for (int i = 0; i < 64; i++)
        if ((float)schedule_rate(published, 2, (uint64_t)k[i]) != rate[i])
            fail_msg("step %.0f: %.17g, golden %.9g", k[i],
                     schedule_rate(published, 2, (uint64_t)k[i]), (double)rate[i]);
    safetensors_close(&st);
}

/* Against the formula of the specification in extended precision. */
static void the_published_schedule_follows_its_formula(void **state)
{
    (void)state;
    const long double pi = 3.141592653589793238462643383279502884L;
    for (uint64_t k = 0; k < 47250; k += 37) {
        long double expected = k < 6750
                                   ? 2.4e-3L * (long double)k / 6750
                                   : 2.4e-5L + (2.4e-3L - 2.4e-5L) / 2 *
                                                   (1 + cosl(pi * (long double)(k - 6750) / 40500));
        long double got = schedule_rate(published, 2, k);
        assert_true(fabsl(got - expected) <= 7e-14L * expected);
    }
}

static void the_first_step_of_a_warm_up_has_rate_zero(void **state)
{
    (void)state;
    assert_true(schedule_rate(published, 2, 0) == 0);
    assert_true(schedule_rate(published, 2, 6750) == 2.4e-3);
}

static void the_rate_stays_after_the_last_stage(void **state)
{
    (void)state;
    assert_true(schedule_rate(published, 2, 47250) == 2.4e-5);
    assert_true(schedule_rate(published, 2, UINT64_MAX) == 2.4e-5);
    assert_int_equal(schedule_steps(published, 2), 47250);
}

static void a_constant_stage_keeps_its_rate(void **state)
{
    (void)state;
    const ScheduleStage stages[] = {{SCHEDULE_CONSTANT, 0.5, 9, 3}, {SCHEDULE_LINEAR, 1, 0, 2}};
    assert_true(schedule_rate(stages, 2, 2) == 0.5);
    assert_true(schedule_rate(stages, 2, 3) == 1);
    assert_true(schedule_rate(stages, 2, 4) == 0.5);
    assert_true(schedule_rate(stages, 1, 99) == 0.5);
}

static void stages_without_steps_are_passed_over(void **state)
{
    (void)state;
    const ScheduleStage stages[] = {{SCHEDULE_LINEAR, 5, 6, 0}, {SCHEDULE_CONSTANT, 2, 2, 4}};
    assert_true(schedule_rate(stages, 2, 0) == 2);
    assert_true(schedule_rate(stages, 1, 0) == 6);
    assert_true(schedule_rate(stages, 0, 7) == 0);
}

static void adam_factors_undo_the_bias_of_the_first_updates(void **state)
{
    (void)state;
    AdamFactors one = adam_factors(2.4e-3, 0.9, 0.999, 0.05, 1);
    AdamFactors late = adam_factors(2.4e-3, 0.9, 0.999, 0.05, 1000000);
    assert_true(fabs(one.keep - 0.99988) < 1e-15);
    assert_true(fabs(one.step_size - 2.4e-2) < 1e-14);
    assert_true(fabs(one.scale - sqrt(1000)) < 1e-10);
    assert_true(late.step_size == 2.4e-3 && late.scale == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_schedule_equals_its_golden),
        cmocka_unit_test(the_published_schedule_follows_its_formula),
        cmocka_unit_test(the_first_step_of_a_warm_up_has_rate_zero),
        cmocka_unit_test(the_rate_stays_after_the_last_stage),
        cmocka_unit_test(a_constant_stage_keeps_its_rate),
        cmocka_unit_test(stages_without_steps_are_passed_over),
        cmocka_unit_test(adam_factors_undo_the_bias_of_the_first_updates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
