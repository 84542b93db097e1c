/* Losses of recipes: value and gradient against published numbers, penalties, and the factors that
 * the batch decides. */
#include "runtime/loss_factors.h"
#include "tests/unit/small_model.h"

enum { CLIPS = 2, NEURONS = 3, FRAMES = 5, ELEMS = CLIPS * NEURONS * FRAMES };

/* The prediction is a parameter: clip k picks its entry k, so that the gradients of both are one.
 */
#define MODEL                                                                                      \
    "nm 1\nsessions = [\"B\": 3]\n"                                                                \
    "model m(clip: [b k:2]) -> per s in sessions [b n:s.neurons t:5] {\n"                          \
    "  part readout per s in sessions {\n"                                                         \
    "    param p: [k:2 n:3 t:5] = 0\n"                                                             \
    "    return sum(clip * p, over: [k])\n  }\n}\n"                                                \
    "recipe r for m {\n  batch = 2 clips\n  loss = %s\n}\n"

typedef struct Case {
    const char *name, *loss;
    LossCounts counts;
} Case;

#define ALONE .here = CLIPS, .chunk = CLIPS, .outputs = FRAMES, .recordings = 1

static const Case cases[] = {
    {"poisson", "poisson(eps: 2 ^ -23, added: everywhere) |> scale(none)", {ALONE}},
    {"poisson_correlation",
     "poisson(eps: 2 ^ -23, added: everywhere) |> correlation(weight: 1000) |> scale(none)",
     {ALONE}},
    {"scaled_2023",
     "poisson(eps: 2 ^ -23, added: everywhere) |> correlation(weight: 1000) |> scale(trials)",
     {ALONE, .trials = 37, .batch = 6}},
    {"closed_loop",
     "poisson(eps: 2 ^ -23, added: everywhere) |> scale(balanced)",
     {.here = CLIPS,
      .outputs = FRAMES,
      .trials = 21,
      .sum_trials = 37 + 21 + 50,
      .recordings = 3,
      .full = 2}},
};

static const float *golden(const Case *c, const char *what, size_t wanted)
{
    char name[200];
    size_t n;
    snprintf(name, sizeof name, "loss/%s/%s", c->name, what);
    const float *at = small_golden(name, &n);
    assert_int_equal(n, wanted);
    return at;
}

static void fill(Model *m, int program, const LossCounts *counts)
{
    static const float pick[CLIPS * CLIPS] = {1, 0, 0, 1};
    LossCounts c = *counts;
    c.batch = c.batch ? c.batch : CLIPS;
    LossFactors f = loss_factors(&m->info.recipe, &c);
    float scale[CLIPS] = {(float)f.scale, (float)f.scale}, penalty = (float)f.penalty;
    float mean[CLIPS] = {(float)f.mean, (float)f.mean};
    small_put(m, program, "clip", pick, CLIPS * CLIPS);
    small_put(m, program, "share/B", scale, CLIPS);
    small_put(m, program, "mean/B", mean, CLIPS);
    small_put(m, program, "scale/B", scale, 1);
    small_put(m, program, "penalty/B", &penalty, 1);
}

static void compare(const Case *c, SmallWay way)
{
    char text[2000];
    snprintf(text, sizeof text, MODEL, c->loss);
    Model *m = small_model(text, way);
    int program = small_add(m, PROGRAM_GRAD);
    float loss, grad[ELEMS], want[ELEMS], cotangent = *golden(c, "input/cotangent", 1);
    small_ready(m);
    memcpy(engine_tensor(m->engine, "readout.B.p"), golden(c, "input/prediction", ELEMS),
           sizeof grad);
    engine_tensors_changed(m->engine);
    fill(m, program, &c->counts);
    small_put(m, program, "target/B", golden(c, "input/target", ELEMS), ELEMS);
    small_run(m, program);
    small_read(m, program, RESULT_LOSS, "loss", &loss);
    small_read(m, program, RESULT_GRAD, "readout.B.p", grad);
    assert_near(c->name, &loss, golden(c, "expect/result", 1), 1, 1e-5);
    for (int i = 0; i < ELEMS; i++)
        want[i] = golden(c, "expect/grad_prediction", ELEMS)[i] / cotangent;
    assert_near(c->name, grad, want, ELEMS, 1e-4);
    model_close(m);
}

static void losses_are_the_published_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int way = 0; way < small_n_ways(); way++)
            compare(&cases[i], small_ways[way]);
}

static void squares_are_summed(void **state)
{
    (void)state;
    char text[2000];
    snprintf(text, sizeof text, MODEL, "poisson(weight: 0) |> squares(0.5) |> scale(none)");
    for (int way = 0; way < small_n_ways(); way++) {
        Model *m = small_model(text, small_ways[way]);
        int program = small_add(m, PROGRAM_GRAD);
        float loss, grad[ELEMS], want[ELEMS], sum = 0;
        const float *p = golden(&cases[0], "input/prediction", ELEMS),
                    *y = golden(&cases[0], "input/target", ELEMS);
        small_ready(m);
        memcpy(engine_tensor(m->engine, "readout.B.p"), p, sizeof grad);
        engine_tensors_changed(m->engine);
        fill(m, program, &(LossCounts){ALONE});
        small_put(m, program, "target/B", y, ELEMS);
        small_run(m, program);
        small_read(m, program, RESULT_LOSS, "loss", &loss);
        small_read(m, program, RESULT_GRAD, "readout.B.p", grad);
        for (int i = 0; i < ELEMS; i++) {
            want[i] = p[i] - y[i];
            sum += 0.5f * want[i] * want[i];
        }
        assert_near("loss", &loss, &sum, 1, 1e-6);
        assert_near("gradient", grad, want, ELEMS, 1e-6);
        model_close(m);
    }
}

/* A neuron that never answers, predicted or true, has no correlation and passes no NaN on. */
static void constant_traces_have_no_gradient_of_correlation(void **state)
{
    (void)state;
    char text[2000];
    snprintf(text, sizeof text, MODEL,
             "poisson(weight: 0) |> correlation(weight: 2) |> scale(none)");
    for (int way = 0; way < small_n_ways(); way++) {
        Model *m = small_model(text, small_ways[way]);
        int program = small_add(m, PROGRAM_GRAD);
        float loss, grad[ELEMS], target[ELEMS] = {0};
        small_ready(m);
        target[3] = 1;
        fill(m, program, &(LossCounts){ALONE});
        small_put(m, program, "target/B", target, ELEMS);
        small_run(m, program);
        small_read(m, program, RESULT_LOSS, "loss", &loss);
        small_read(m, program, RESULT_GRAD, "readout.B.p", grad);
        assert_true(fabsf(loss - 2 * NEURONS) < 1e-6f);
        for (int i = 0; i < ELEMS; i++)
            assert_true(isfinite(grad[i]));
        model_close(m);
    }
}

#define PENALISED                                                                                  \
    "nm 1\nsessions = [\"A\": 1, \"B\": 1]\n"                                                      \
    "model m(clip: [b c:2]) -> per s in sessions [b n:s.neurons t:1] {\n"                          \
    "  part core {\n    param w: [c:2] = 0\n    x = clip * w\n  }\n"                               \
    "  part readout per s in sessions {\n    param v: [n:1 t:1] = 0\n    param u: [n:1 t:1] = 0\n" \
    "    param z: [n:1 t:1] = 2\n    return sum(x, over: [c]) * v + u + z\n  }\n}\n"               \
    "recipe r for m {\n  batch = 4 clips\n"                                                        \
    "  loss = scale(none) |> l1(\"core\", 0.5) |> l1(\"readout.*.v\", "                            \
    "3) |> l1(\"readout.*.z\", 0.25, counts: every)\n}\n"

static void penalties_follow_names_and_recordings(void **state)
{
    (void)state;
    for (int way = 0; way < small_n_ways(); way++) {
        Model *m = small_model(PENALISED, small_ways[way]);
        int program = small_add(m, PROGRAM_GRAD);
        float loss, w[2], v[1], u[1], z[1];
        const float core[] = {-2, 0}, readout[] = {-4}, positive[] = {4}, of_a[] = {0.25f},
                    of_b[] = {2}, both[] = {2.25f};
        small_ready(m);
        memcpy(engine_tensor(m->engine, "core.w"), core, sizeof core);
        memcpy(engine_tensor(m->engine, "readout.A.v"), readout, sizeof readout);
        memcpy(engine_tensor(m->engine, "readout.A.u"), positive, sizeof positive);
        engine_tensors_changed(m->engine);
        small_put(m, program, "penalty/A", of_a, 1);
        small_put(m, program, "penalty/B", of_b, 1);
        small_put(m, program, "penalty", both, 1);
        small_run(m, program);
        small_read(m, program, RESULT_LOSS, "loss", &loss);
        small_read(m, program, RESULT_GRAD, "core.w", w);
        small_read(m, program, RESULT_GRAD, "readout.A.v", v);
        small_read(m, program, RESULT_GRAD, "readout.A.u", u);
        small_read(m, program, RESULT_GRAD, "readout.B.z", z);
        float often = 2 * 0.25f * 2 * 2.25f; /* of both, in every batch: of two recordings */
        assert_true(fabsf(loss - (0.5f * 2 * 2.25f + 3 * 4 * 0.25f + often)) < 1e-5f);
        assert_true(w[0] == -0.5f * 2.25f && w[1] == 0); /* no direction at 0 */
        assert_true(v[0] == -3 * 0.25f && u[0] == 0 && z[0] == 2 * 0.25f * 2);
        model_close(m);
    }
}

static void a_selection_of_nothing_is_reported(void **state)
{
    (void)state;
    char text[2000];
    snprintf(text, sizeof text, MODEL, "l1(\"coer\", 1)");
    Model *m = small_model(text, small_ways[0]);
    assert_int_equal(m->diags.messages.len, 1);
    assert_non_null(strstr(m->diags.messages.at[0].text, "none begins with \"coer\""));
    model_close(m);
}

static LossFactors factors(RecipeScale scale, int64_t accumulate, LossCounts c)
{
    Recipe r;
    recipe_default(&r);
    r.loss_scale = scale;
    r.accumulate = accumulate;
    return loss_factors(&r, &c);
}

static void factors_are_those_of_the_scale(void **state)
{
    (void)state;
    LossCounts c = {.here = 2,
                    .chunk = 8,
                    .batch = 6,
                    .full = 12,
                    .trials = 54,
                    .all_trials = 96,
                    .sum_trials = 270,
                    .recordings = 5,
                    .outputs = 7};
    assert_true(factors(RECIPE_SCALE_SHARE, 1, c).scale == 1.0 / 8);
    assert_true(factors(RECIPE_SCALE_NONE, 1, c).scale == 1);
    assert_true(factors(RECIPE_SCALE_TRIALS, 1, c).scale == 3);
    assert_true(factors(RECIPE_SCALE_RECORDED, 1, c).scale == 4);
    assert_true(fabs(factors(RECIPE_SCALE_BALANCED, 1, c).scale - 1.0 / 60) < 1e-15);
    assert_true(factors(RECIPE_SCALE_NONE, 1, c).mean == 1.0 / 14);
    /* a penalty counts once for a recording, however its batch is cut */
    assert_true(factors(RECIPE_SCALE_TRIALS, 3, c).penalty == 1.0 / 3);
    assert_true(factors(RECIPE_SCALE_SHARE, 3, c).penalty == 1); /* of which the mean is taken */
    c.here = 0;
    LossFactors none = factors(RECIPE_SCALE_TRIALS, 3, c);
    assert_true(none.scale == 0 && none.mean == 0 && none.penalty == 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_the_published_ones),
        cmocka_unit_test(squares_are_summed),
        cmocka_unit_test(constant_traces_have_no_gradient_of_correlation),
        cmocka_unit_test(penalties_follow_names_and_recordings),
        cmocka_unit_test(a_selection_of_nothing_is_reported),
        cmocka_unit_test(factors_are_those_of_the_scale),
    };
    small_device = argc > 1 ? argv[1] : NULL;
    return cmocka_run_group_tests_name(argc > 1 ? argv[1] : "cpu", tests, small_open, small_close);
}
