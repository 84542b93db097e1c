/* The evaluator and the gradient rules against numbers computed independently of this project's
 * code (tests/goldens/dwiseneuro/ops.safetensors, float64 rounded to float32). Parameters have the
 * names of the tensors in the file.
 *
 * Tolerance: the files round to float32 (6e-8 of each number), and inputs are exact, so 2e-6 of the
 * largest element leaves room only for that and for cancellation in the published order. */
#include "tests/ops/ir_harness.h"
#include "data/safetensors.h"

static Safetensors goldens;

static int open_goldens(void **state)
{
    (void)state;
    Err err = {0};
    if (safetensors_open(&goldens, "tests/goldens/dwiseneuro/ops.safetensors", &err) != NPC_OK)
        fail_msg("%s", err.text);
    return 0;
}

static int close_goldens(void **state)
{
    (void)state;
    safetensors_close(&goldens);
    return 0;
}

/* An "operation/case" of the file and the program that should give it. */
typedef struct Case {
    TestFunc *t;
    Func *f;
    const char *name;
} Case;

static Case begin(const char *name)
{
    TestFunc *t = test_func();
    return (Case){t, t->f, name};
}

static const SafetensorsEntry *entry(const Case *c, const char *role)
{
    const char *name = arena_printf(&c->t->arena, "%s/%s", c->name, role);
    const SafetensorsEntry *e = safetensors_find(&goldens, name);
    if (!e)
        fail_msg("there is no golden tensor %s", name);
    return e;
}

/* A parameter with the shape of the tensor; `axes` names its axes. */
static Val tensor(const Case *c, const char *role, const char *axes)
{
    const SafetensorsEntry *e = entry(c, role);
    AxisList list = test_axes(c->t, axes);
    Param p = {.name = role, .session = -1};
    assert_int_equal(e->rank, list.n);
    for (int i = 0; i < list.n; i++)
        assert_true(shape_add(&p.shape, list.name[i], (int64_t)e->shape[i]));
    assert_non_null(module_add_param(c->t->m, p));
    return func_param(c->f, role);
}

static bool golden_leaf(void *context, const Node *leaf, double *at)
{
    safetensors_as_double(entry(context, leaf->attrs.name), at);
    return true;
}

static EvalTensor *evaluate(Case *c)
{
    EvalTensor *value;
    Err err = {0};
    assert_string_equal(test_log(c->t), "");
    assert_int_equal(eval_func(&c->t->arena, c->f, golden_leaf, c, &value, &err), NPC_OK);
    return value;
}

static void assert_golden(Case *c, const char *role, const double *got, int64_t n)
{
    const SafetensorsEntry *e = entry(c, role);
    double *want = ARENA_ARRAY(&c->t->arena, double, e->elems), largest = 0;
    safetensors_as_double(e, want);
    assert_int_equal(n, e->elems);
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 2e-6 * largest))
            fail_msg("%s/%s, element %lld: %.9g, expected %.9g", c->name, role, (long long)i,
                     got[i], want[i]);
}

static void assert_value(Case *c, const char *role, const EvalTensor *got)
{
    assert_golden(c, role, got->at, shape_elems(&got->shape));
}

/* y against "out", and the gradients of `inputs` (a list ended by NULL) given "grad_out". */
static void check(Case c, Val y, const char *axes, const char *const *inputs)
{
    Val dy = tensor(&c, "grad_out", axes);
    assert_true(shape_equal(func_shape(c.f, y), func_shape(c.f, dy)));
    Val *grad = test_backprop(c.t, c.f, y, dy);
    EvalTensor *value = evaluate(&c);
    assert_value(&c, "out", &value[y.id]);
    for (int i = 0; inputs[i]; i++) {
        uint32_t v = y.id;
        while (!func_node(c.f, (Val){v})->attrs.name ||
               strcmp(func_node(c.f, (Val){v})->attrs.name, inputs[i]))
            assert_true(--v > 0);
        assert_value(&c, arena_printf(&c.t->arena, "grad_%s", inputs[i]), &value[grad[v].id]);
    }
    test_done(c.t);
}
#define INPUTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static Stencil stencil(const char *axis, const char *tap, int64_t stride, int64_t pad)
{
    return (Stencil){.axis = axis, .tap = tap, .stride = stride, .dilation = 1, .pad = pad};
}

static Val depthwise(Case *c, Val x, Val w, int n, const Stencil *s)
{
    Attrs at = {.out = test_axes(c->t, "b c t h w"), .n_stencil = n};
    memcpy(at.stencil, s, sizeof *s * (size_t)n);
    return func_emit(c->f, OP_CONV, &at, (Val[]){x, w}, 2);
}

static Val spatial(Case *c, Val x, const char *kernel, int64_t stride, int64_t pad)
{
    Val w = tensor(c, kernel, "c kh kw");
    return depthwise(c, x, w, 2,
                     (Stencil[]){stencil("h", "kh", stride, pad), stencil("w", "kw", stride, pad)});
}

static Val temporal(Case *c, Val x, const char *kernel, int64_t pad)
{
    Val w = tensor(c, kernel, "c kt");
    return depthwise(c, x, w, 1, (Stencil[]){stencil("t", "kt", 1, pad)});
}

static void depthwise_convolutions_over_space(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t stride, pad;
    } cases[] = {{"spatial_depthwise/k3s1", 1, 1},
                 {"spatial_depthwise/k3s2even", 2, 1},
                 {"spatial_depthwise/k3s2odd", 2, 1},
                 {"spatial_depthwise/k5s3", 3, 2}};
    for (int i = 0; i < 4; i++) {
        Case c = begin(cases[i].name);
        Val x = tensor(&c, "x", "b c t h w");
        Val y = spatial(&c, x, "kernel", cases[i].stride, cases[i].pad);
        check(c, y, "b c t h w", INPUTS("x", "kernel"));
    }
}

static void depthwise_convolutions_over_time(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t pad;
    } cases[] = {{"temporal_depthwise/k5t8", 2},
                 {"temporal_depthwise/k3t4", 1},
                 {"temporal_depthwise/k5t2", 2}};
    for (int i = 0; i < 3; i++) {
        Case c = begin(cases[i].name);
        Val y = temporal(&c, tensor(&c, "x", "b c t h w"), "kernel", cases[i].pad);
        check(c, y, "b c t h w", INPUTS("x", "kernel"));
    }
}

static void space_then_time(void **state)
{
    (void)state;
    Case c = begin("factorised/k3s2k5");
    Val x = tensor(&c, "x", "b c t h w");
    Val y = temporal(&c, spatial(&c, x, "spatial", 2, 1), "temporal", 2);
    check(c, y, "b c t h w", INPUTS("x", "spatial", "temporal"));
}

static void grouped_products(void **state)
{
    (void)state;
    Case c = begin("grouped_pointwise/g2");
    AxisList over = test_axes(c.t, "c"), out = test_axes(c.t, "b g m t");
    Val x = func_split(c.f, tensor(&c, "x", "b c t"), "c", "g", "c", 2);
    Val w = func_split(c.f, tensor(&c, "weight", "m c"), "m", "g", "m", 2);
    Val y = func_merge(c.f, func_contract(c.f, x, w, &over, &out), "g", "m", "c");
    check(c, y, "b c t", INPUTS("x", "weight"));
}

static void shuffled_channels(void **state)
{
    (void)state;
    static const char *const names[] = {"shuffle/g2", "shuffle/g3"};
    for (int i = 0; i < 2; i++) {
        Case c = begin(names[i]);
        Val parts = func_split(c.f, tensor(&c, "x", "b c t"), "c", "g", "q", i + 2);
        check(c, func_merge(c.f, parts, "q", "g", "c"), "b c t", INPUTS("x"));
    }
}

static void activations(void **state)
{
    (void)state;
    Case c = begin("silu/wide");
    check(c, func_emit1(c.f, OP_SILU, tensor(&c, "x", "c")), "c", INPUTS("x"));
    static const char *const names[] = {"softplus/b0.07", "softplus/b1.0"};
    static const double beta[] = {0.07, 1};
    for (int i = 0; i < 2; i++) {
        c = begin(names[i]);
        Val x = tensor(&c, "x", "c");
        check(c, func_emit(c.f, OP_SOFTPLUS, &(Attrs){.k = {beta[i]}}, &x, 1), "c", INPUTS("x"));
    }
}

static void normalization_with_the_moments_of_the_batch(void **state)
{
    (void)state;
    Case c = begin("norm/train");
    AxisList over = test_axes(c.t, "b t h w");
    Val x = tensor(&c, "x", "b c t h w");
    Val mean = func_mean(c.f, x, &over), var = func_variance(c.f, x, &over, 1);
    Val y = func_emit(c.f, OP_BATCHNORM, &(Attrs){.k = {1e-5}},
                      (Val[]){x, mean, var, tensor(&c, "scale", "c"), tensor(&c, "shift", "c")}, 5);
    check(c, y, "b c t h w", INPUTS("x", "scale", "shift"));
}

static void running_moments(void **state)
{
    (void)state;
    Case c = begin("norm/train");
    AxisList over = test_axes(c.t, "b t h w");
    Val x = tensor(&c, "x", "b c t h w");
    double n = 2 * 2 * 3 * 2; /* elements of a channel; the running variance is unbiased */
    Val mean = func_emit(c.f, OP_LERP, &(Attrs){.k = {0.9, 0.1}},
                         (Val[]){tensor(&c, "running_mean", "c"), func_mean(c.f, x, &over)}, 2);
    Val var = func_emit(
        c.f, OP_LERP, &(Attrs){.k = {0.9, 0.1}},
        (Val[]){tensor(&c, "running_var", "c"), func_variance(c.f, x, &over, n / (n - 1))}, 2);
    EvalTensor *value = evaluate(&c);
    assert_value(&c, "running_mean_after", &value[mean.id]);
    assert_value(&c, "running_var_after", &value[var.id]);
    test_done(c.t);
}

static void normalization_with_running_moments(void **state)
{
    (void)state;
    Case c = begin("norm/eval");
    Val y = func_emit(c.f, OP_BATCHNORM, &(Attrs){.k = {1e-5}},
                      (Val[]){tensor(&c, "x", "b c t h w"), tensor(&c, "running_mean", "c"),
                              tensor(&c, "running_var", "c"), tensor(&c, "scale", "c"),
                              tensor(&c, "shift", "c")},
                      5);
    EvalTensor *value = evaluate(&c);
    assert_value(&c, "out", &value[y.id]);
    test_done(c.t);
}

/* Row `step` of the gradients, [s n] -> [n]. */
static Val gradient_of_step(Case *c, Val grads, int32_t step)
{
    AxisList s = test_axes(c->t, "s");
    return func_sum(c->f, func_index(c->f, grads, "s", "s", &step, 1), &s, 1);
}

static void four_steps_of_adamw(void **state)
{
    (void)state;
    Case c = begin("adamw/four_steps");
    Func *f = c.f;
    const Shape n = test_shape(c.t, "n=8"), scalar = {0};
    Val w = tensor(&c, "param", "n"), grads = tensor(&c, "grads", "s n"), step[4];
    Val first = func_fill(f, 0, &n), second = func_fill(f, 0, &n);
    Val rate = func_fill(f, 0.0024, &scalar);
    for (int32_t k = 0; k < 4; k++) {
        Val g = gradient_of_step(&c, grads, k);
        first = func_emit(f, OP_LERP, &(Attrs){.k = {0.9, 0.1}}, (Val[]){first, g}, 2);
        second = func_emit(f, OP_LERP_SQUARE, &(Attrs){.k = {0.999, 0.001}}, (Val[]){second, g}, 2);
        Val in[] = {w,
                    first,
                    second,
                    rate,
                    func_fill(f, 1 - pow(0.9, k + 1), &scalar),
                    func_fill(f, 1 - pow(0.999, k + 1), &scalar)};
        step[k] = w = func_emit(f, OP_ADAMW, &(Attrs){.k = {0.05, 1e-8}}, in, 6);
    }
    EvalTensor *value = evaluate(&c);
    double all[32];
    for (int k = 0; k < 4; k++)
        memcpy(all + 8 * k, value[step[k].id].at, 8 * sizeof *all);
    assert_golden(&c, "out", all, 32);
    assert_value(&c, "first", &value[first.id]);
    assert_value(&c, "second", &value[second.id]);
    test_done(c.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depthwise_convolutions_over_space),
        cmocka_unit_test(depthwise_convolutions_over_time),
        cmocka_unit_test(space_then_time),
        cmocka_unit_test(grouped_products),
        cmocka_unit_test(shuffled_channels),
        cmocka_unit_test(activations),
        cmocka_unit_test(normalization_with_the_moments_of_the_batch),
        cmocka_unit_test(running_moments),
        cmocka_unit_test(normalization_with_running_moments),
        cmocka_unit_test(four_steps_of_adamw),
    };
    return cmocka_run_group_tests(tests, open_goldens, close_goldens);
}
