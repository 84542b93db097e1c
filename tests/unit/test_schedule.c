#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/plateau.h"
#include "data/safetensors.h"
#include "runtime/schedule.h"

/* The published recipe: 3 epochs of warm-up, 18 of training, 2250 steps each. */
static const ScheduleStage published[] = {
    {SCHEDULE_LINEAR, 0, 2.4e-3, 6750, 0},
    {SCHEDULE_COSINE, 2.4e-3, 2.4e-5, 40500, 0},
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
    const ScheduleStage stages[] = {{SCHEDULE_CONSTANT, 0.5, 9, 3, 0},
                                    {SCHEDULE_LINEAR, 1, 0, 2, 0}};
    assert_true(schedule_rate(stages, 2, 2) == 0.5);
    assert_true(schedule_rate(stages, 2, 3) == 1);
    assert_true(schedule_rate(stages, 2, 4) == 0.5);
    assert_true(schedule_rate(stages, 1, 99) == 0.5);
}

static void stages_without_steps_are_passed_over(void **state)
{
    (void)state;
    const ScheduleStage stages[] = {{SCHEDULE_LINEAR, 5, 6, 0, 0}, {SCHEDULE_CONSTANT, 2, 2, 4, 0}};
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

static void a_rate_can_be_held_for_epochs(void **state)
{
    (void)state;
    const ScheduleStage each[] = {{SCHEDULE_CONSTANT, 1, 1, 4, 0},
                                  {SCHEDULE_COSINE, 1e-3, 1e-6, 9, 3}};
    const ScheduleStage plain[] = {{SCHEDULE_CONSTANT, 1, 1, 4, 0},
                                   {SCHEDULE_COSINE, 1e-3, 1e-6, 9, 0}};
    for (uint64_t k = 0; k < 9; k++)
        assert_true(schedule_rate(each, 2, 4 + k) == schedule_rate(plain, 2, 4 + k / 3 * 3));
    assert_true(schedule_rate(each, 2, 13) == 1e-6);
    /* specs/dynamic-v1fm.md 3.4: the last of 100 epochs */
    const ScheduleStage published = {SCHEDULE_COSINE, 1e-3, 1e-6, 12000, 120};
    assert_true(fabs(schedule_rate(&published, 1, 11999) - 1.2465e-6) < 1e-10);
}

/* Rates and actions after each score; the codes of the golden are those of PlateauAction. */
static void assert_plateau(const Safetensors *st, const char *name, const RecipeStage *stage)
{
    char path[3][100];
    const SafetensorsEntry *e[3];
    static const char *const parts[] = {"input/scores", "expect/lr", "expect/action"};
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "plateau/%s/%s", name, parts[i]);
        e[i] = safetensors_find(st, path[i]);
        assert_non_null(e[i]);
    }
    double value[3][64];
    assert_true(e[0]->elems <= 64 && e[1]->elems == e[0]->elems && e[2]->elems == e[0]->elems);
    for (int i = 0; i < 3; i++)
        safetensors_as_double(e[i], value[i]);
    Plateau p = plateau_start(stage);
    for (uint64_t i = 0; i < e[0]->elems; i++) {
        PlateauAction action = plateau_step(&p, &stage->plateau, value[0][i]);
        if ((int)action != (int)value[2][i] || fabs(p.rate - value[1][i]) > 1e-7 * value[1][i])
            fail_msg("%s, score %d: action %d, rate %g; golden %g, %g", name, (int)i, (int)action,
                     p.rate, value[2][i], value[1][i]);
    }
    assert_true(p.ended);
}

static void plateaus_are_the_published_ones(void **state)
{
    (void)state;
    Safetensors st;
    Err err = {0};
    if (safetensors_open(&st, "tests/goldens/viv1t/ops.safetensors", &err) != NPC_OK)
        fail_msg("%s", err.text);
    RecipeStage stage = {
        .from = 0.0048,
        .plateau = {.factor = 0.3, .floor = 0x1p-23, .patience = 5, .reductions = 2}};
    assert_plateau(&st, "viv1t", &stage);
    stage = (RecipeStage){.from = 0.001647,
                          .plateau = {.factor = 0.3, .patience = 11, .reductions = 2, .best = -1}};
    assert_plateau(&st, "v1t", &stage);
    safetensors_close(&st);
}

static void a_collapse_puts_the_best_back_without_counting(void **state)
{
    (void)state;
    const RecipeStage stage = {
        .from = 1,
        .plateau = {.factor = 0.3, .floor = 0.5, .patience = 2, .reductions = 1, .collapse = 0.05}};
    Plateau p = plateau_start(&stage);
    assert_int_equal(plateau_step(&p, &stage.plateau, 0.04), PLATEAU_BEST);
    assert_int_equal(plateau_step(&p, &stage.plateau, 0), PLATEAU_WAIT); /* never was good */
    assert_int_equal(plateau_step(&p, &stage.plateau, 0.05), PLATEAU_BEST);
    assert_int_equal(plateau_step(&p, &stage.plateau, 0.0049), PLATEAU_RESCUE);
    assert_int_equal(plateau_step(&p, &stage.plateau, -0.2), PLATEAU_RESCUE);
    assert_int_equal(plateau_step(&p, &stage.plateau, 0.0051), PLATEAU_WAIT);
    assert_int_equal(plateau_step(&p, &stage.plateau, NAN), PLATEAU_REDUCE);
    assert_true(p.rate == 0.5); /* the floor */
    assert_int_equal(plateau_step(&p, &stage.plateau, 0.05), PLATEAU_WAIT);
    assert_int_equal(plateau_step(&p, &stage.plateau, 0.05), PLATEAU_END);
    assert_true(p.ended);
}

/* specs/baselines.md 5: the stopper restores at the 5th bad epoch, the rate falls after the 6th. */
static void weights_and_rate_have_counts_of_their_own(void **state)
{
    (void)state;
    const RecipeStage stage = {.from = 5e-3,
                               .plateau = {.factor = 0.3,
                                           .floor = 1e-4,
                                           .patience = 6,
                                           .best = -1,
                                           .restore = 5,
                                           .restores = 4,
                                           .margin = 1e-6}};
    const RecipePlateau *rule = &stage.plateau;
    Plateau p = plateau_start(&stage);
    double rate = 5e-3;
    int epoch = 0;
    plateau_begin(&p, 0.25);
    for (epoch = 1; epoch <= 4; epoch++) /* better for the rate, not for the weights */
        assert_int_equal(plateau_step(&p, rule, 0.125 + epoch / 64.0), PLATEAU_WAIT);
    assert_int_equal(plateau_step(&p, rule, 0.25 + 5e-7), PLATEAU_RESTORE);
    assert_true(p.rate == rate && p.waited == 0 && plateau_best(&p, rule) == 0.25);
    assert_int_equal(plateau_step(&p, rule, 0.25 + 2e-6), PLATEAU_BEST);
    for (epoch = 1; epoch <= 15; epoch++) {
        PlateauAction action = plateau_step(&p, rule, 0.25 + 2.5e-6);
        if (epoch % 6 == 0)
            rate = epoch < 18 ? rate * 0.3 : 1e-4;
        assert_true(fabs(p.rate - rate) < 1e-12);
        assert_int_equal(action, epoch == 15      ? PLATEAU_END
                                 : epoch % 5 == 0 ? PLATEAU_RESTORE
                                                  : PLATEAU_WAIT);
    }
    assert_true(p.ended && plateau_best(&p, rule) == 0.25 + 2e-6);
    for (epoch = 16; epoch <= 30; epoch++)
        plateau_step(&p, rule, 0);
    assert_true(p.rate == 1e-4);
    p = plateau_start(&stage);
    plateau_begin(&p, NAN);
    assert_int_equal(plateau_step(&p, rule, 0), PLATEAU_BEST);
    assert_int_equal(plateau_step(&p, rule, NAN), PLATEAU_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_and_rate_have_counts_of_their_own),
        cmocka_unit_test(the_published_schedule_equals_its_golden),
        cmocka_unit_test(the_published_schedule_follows_its_formula),
        cmocka_unit_test(the_first_step_of_a_warm_up_has_rate_zero),
        cmocka_unit_test(the_rate_stays_after_the_last_stage),
        cmocka_unit_test(a_constant_stage_keeps_its_rate),
        cmocka_unit_test(stages_without_steps_are_passed_over),
        cmocka_unit_test(adam_factors_undo_the_bias_of_the_first_updates),
        cmocka_unit_test(a_rate_can_be_held_for_epochs),
        cmocka_unit_test(plateaus_are_the_published_ones),
        cmocka_unit_test(a_collapse_puts_the_best_back_without_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
