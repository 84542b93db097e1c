/* Scaled losses: what a step does with gradients that are not finite, and what the scale does. */
#include "passes/pass.h"
#include "runtime/loss_scale.h"
#include "tests/ops/ir_harness.h"

/* loss = sum of w x: the gradient of w is x, times the scale. */
static const char MODEL[] = "module \"m\"\n"
                            "param \"w\" : f32[c=3] constant(1)\n"
                            "state \"seen\" : f32[] constant(0)\n"
                            "func train() {\n"
                            "  %1 = input {name=\"x\"} : f32[c=3]\n"
                            "  %2 = param {name=\"w\"} : f32[c=3]\n"
                            "  %3 = mul %2 %1 : f32[c=3]\n"
                            "  %4 = sum %3 {over=[c], k=[1]} : f32[]\n"
                            "  return loss \"loss\" = %4\n"
                            "  return state \"seen\" = %4\n"
                            "}\n";

typedef struct Leaves {
    double x, scale;
} Leaves;

static bool leaf_value(void *context, const Node *leaf, double *at)
{
    const Leaves *v = context;
    const char *name = leaf->attrs.name;
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        at[i] = !strcmp(name, "x")            ? (i == 1 ? v->x : 2)
                : !strcmp(name, "loss_scale") ? v->scale
                : !strcmp(name, "w")          ? 1
                : !strncmp(name, "adam", 4)   ? 0
                                              : 0.1;
    return true;
}

/* Result `name` of a step, element i. */
static double stepped(PrecisionMode precision, Leaves v, ResultRole role, const char *name, int i)
{
    TestFunc *t = test_func();
    Err err = {0};
    EvalTensor *value;
    Module *m = module_parse(&t->arena, &t->names, &t->diags, "text", MODEL, strlen(MODEL));
    PassOptions o = {.target = traits_cuda(),
                     .precision = precision,
                     .optimizer = {.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = 0,
                                   .ema_decay = 0.999},
                     .gradient_factor = 1,
                     .verify = true};
    assert_non_null(m);
    Func *f = passes_run(m, PROGRAM_STEP, &o);
    assert_non_null(f);
    assert_int_equal(eval_func(&t->arena, f, leaf_value, &v, &value, &err), NPC_OK);
    const Result *r = func_find_result(f, role, name);
    assert_non_null(r);
    double x = value[r->val.id].at[i];
    test_done(t);
    return x;
}

static void a_scaled_step_updates_as_an_unscaled_one(void **state)
{
    (void)state;
    Leaves v = {3, 1024};
    assert_float_equal(stepped(PRECISION_F16, v, RESULT_OUTPUT, "finite", 0), 1, 0);
    for (int i = 0; i < 3; i++) {
        assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "w", i),
                           stepped(PRECISION_F32, v, RESULT_STATE, "w", i), 1e-12);
        assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "adam_m/w", i),
                           stepped(PRECISION_F32, v, RESULT_STATE, "adam_m/w", i), 1e-12);
    }
    assert_float_not_equal(stepped(PRECISION_F32, v, RESULT_STATE, "w", 1), 1, 1e-6);
    assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "seen", 0), 7, 0);
}

static void a_gradient_that_is_not_finite_moves_nothing(void **state)
{
    (void)state;
    const double bad[] = {INFINITY, -INFINITY, NAN};
    for (int k = 0; k < 3; k++) {
        Leaves v = {bad[k], 1024};
        assert_float_equal(stepped(PRECISION_F16, v, RESULT_OUTPUT, "finite", 0), 0, 0);
        for (int i = 0; i < 3; i++) {
            assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "w", i), 1, 0);
            assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "adam_m/w", i), 0, 0);
            assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "adam_v/w", i), 0, 0);
        }
        assert_float_equal(stepped(PRECISION_F16, v, RESULT_STATE, "seen", 0), 0.1, 1e-12);
    }
}

static void the_scale_follows_the_steps(void **state)
{
    (void)state;
    LossScale s = loss_scale_first();
    float first = s.scale;
    for (int i = 0; i < LOSS_SCALE_STEPS - 1; i++)
        loss_scale_step(&s, true);
    assert_float_equal(s.scale, first, 0);
    loss_scale_step(&s, true);
    assert_float_equal(s.scale, 2 * first, 0);
    loss_scale_step(&s, false);
    loss_scale_step(&s, false);
    assert_float_equal(s.scale, first / 2, 0);
    for (int i = 0; i < LOSS_SCALE_STEPS; i++)
        loss_scale_step(&s, true);
    assert_float_equal(s.scale, first, 0);
    for (int i = 0; i < 100; i++)
        loss_scale_step(&s, false);
    assert_float_equal(s.scale, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scaled_step_updates_as_an_unscaled_one),
        cmocka_unit_test(a_gradient_that_is_not_finite_moves_nothing),
        cmocka_unit_test(the_scale_follows_the_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
