/* The reference evaluator: small results computed by hand, and convolutions against loops that are
 * written out. (Gradients: tests/ops/test_gradients.c.) */
#include "tests/ops/ir_harness.h"

/* Leaves are 1, 2, 3, .. */
static bool count_up(void *context, const Node *leaf, double *at)
{
    (void)context;
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        at[i] = (double)i + 1;
    return true;
}

static bool nothing(void *context, const Node *leaf, double *at)
{
    (void)context, (void)leaf, (void)at;
    return false;
}

static const EvalTensor *value_of(TestFunc *t, Val v)
{
    EvalTensor *value;
    Err err = {0};
    assert_string_equal(test_log(t), "");
    assert_int_not_equal(v.id, 0);
    assert_int_equal(eval_func(&t->arena, t->f, count_up, NULL, &value, &err), NPC_OK);
    return &value[v.id];
}

static void assert_values(TestFunc *t, Val v, const char *shape, const double *want)
{
    assert_shape(t, v, shape);
    const EvalTensor *got = value_of(t, v);
    for (int64_t i = 0; i < shape_elems(&got->shape); i++)
        if (fabs(got->at[i] - want[i]) > 1e-12)
            fail_msg("element %d: %.17g, expected %.17g", (int)i, got->at[i], want[i]);
}
#define VALUES(...) ((double[]){__VA_ARGS__})

static void operands_broadcast_by_name(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 c=3"), w = test_param(t, "w", "c=3"),
        v = test_param(t, "v", "c=3 b=2");
    assert_values(t, func_emit2(t->f, OP_SUB, w, x), "b=2 c=3", VALUES(0, 0, 0, -3, -3, -3));
    assert_values(t, func_emit2(t->f, OP_SUB, x, v), "b=2 c=3", VALUES(0, -1, -2, 2, 1, 0));
    test_done(t);
}

static void constants_positions_and_maps(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Shape s = test_shape(t, "t=3");
    Val i = func_emit_leaf(t->f, OP_IOTA, NULL, &s), c = func_fill(t->f, 2.5, &s);
    assert_values(t, i, "t=3", VALUES(0, 1, 2));
    assert_values(t, c, "t=3", VALUES(2.5, 2.5, 2.5));
    assert_values(t, func_map(t->f, "k1 * a - b", VALUES(0, 10), 2, (Val[]){i, c}, 2), "t=3",
                  VALUES(-2.5, 7.5, 17.5));
    test_done(t);
}

static void views_move_elements(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *f = t->f;
    Val x = test_param(t, "x", "b=2 c=3");
    AxisList cb = test_axes(t, "c b");
    assert_values(t, func_rename(f, x, "c", "m"), "b=2 m=3", VALUES(1, 2, 3, 4, 5, 6));
    assert_values(t, func_split(f, x, "c", "g", "c", 3), "b=2 g=3 c=1", VALUES(1, 2, 3, 4, 5, 6));
    assert_values(t, func_merge(f, x, "b", "c", "m"), "m=6", VALUES(1, 2, 3, 4, 5, 6));
    assert_values(t, func_merge(f, x, "c", "b", "m"), "m=6", VALUES(1, 4, 2, 5, 3, 6));
    assert_values(t, func_reorder(f, x, &cb), "c=3 b=2", VALUES(1, 4, 2, 5, 3, 6));
    assert_values(t, func_index(f, x, "c", "n", (int32_t[]){2, -1, 0, 2}, 4), "b=2 n=4",
                  VALUES(3, 0, 1, 3, 6, 0, 4, 6));
    test_done(t);
}

static void reductions_sum_over_named_axes(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *f = t->f;
    Val x = test_param(t, "x", "b=2 c=3");
    AxisList b = test_axes(t, "b"), c = test_axes(t, "c"), bc = test_axes(t, "b c"), none = {0};
    assert_values(t, func_sum(f, x, &b, 2), "c=3", VALUES(10, 14, 18));
    assert_values(t, func_mean(f, x, &c), "b=2", VALUES(2, 5));
    assert_values(t, func_sum(f, x, &bc, 1), "", VALUES(21));
    assert_values(t, func_sum(f, x, &none, 2), "b=2 c=3", VALUES(2, 4, 6, 8, 10, 12));
    assert_values(t, func_variance(f, x, &c, 1.5), "b=2", VALUES(1, 1));
    assert_values(t, func_variance(f, x, &b, 1), "c=3", VALUES(2.25, 2.25, 2.25));
    test_done(t);
}

static void products_sum_over_shared_axes(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 k=3"), w = test_param(t, "w", "m=2 k=3"),
        v = test_param(t, "v", "k=3 b=2");
    AxisList k = test_axes(t, "k"), mb = test_axes(t, "m b"), b = test_axes(t, "b");
    assert_values(t, func_contract(t->f, x, w, &k, &mb), "m=2 b=2", VALUES(14, 32, 32, 77));
    /* v[k][b] = 1 2 / 3 4 / 5 6; b is a batch axis */
    assert_values(t, func_contract(t->f, x, v, &k, &b), "b=2",
                  VALUES(1 * 1 + 2 * 3 + 3 * 5, 4 * 2 + 5 * 4 + 6 * 6));
    test_done(t);
}

static void a_small_convolution_is_as_by_hand(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "t=5"), w = test_param(t, "w", "k=3");
    Attrs at = {.out = test_axes(t, "t"), .n_stencil = 1};
    at.stencil[0] = (Stencil){.axis = "t", .tap = "k", .stride = 2, .dilation = 1, .pad = 1};
    Val y = func_emit(t->f, OP_CONV, &at, (Val[]){x, w}, 2);
    /* taps 1 2 3 on 0 1 2, 2 3 4, 4 5 0 */
    assert_values(t, y, "t=3", VALUES(2 + 6, 2 + 6 + 12, 4 + 10));
    at.stencil[0].dilation = 2;
    at.stencil[0].stride = 1;
    y = func_emit(t->f, OP_CONV, &at, (Val[]){x, w}, 2);
    /* i-1, i+1, i+3: 0 2 4, 1 3 5, 2 4 0 */
    assert_values(t, y, "t=3", VALUES(4 + 12, 1 + 6 + 15, 2 + 8));
    test_done(t);
}

/* x[b c t h], w[m c p q] -> y[b m t h], written out. */
static void a_dense_convolution_is_the_written_out_sum(void **state)
{
    (void)state;
    enum { B = 2, C = 3, T = 7, H = 5, M = 4, P = 3, Q = 2, TO = 4, HO = 2 };
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 c=3 t=7 h=5"), w = test_param(t, "w", "m=4 c=3 p=3 q=2");
    Attrs at = {.over = test_axes(t, "c"), .out = test_axes(t, "b m t h"), .n_stencil = 2};
    at.stencil[0] = (Stencil){.axis = "t", .tap = "p", .stride = 2, .dilation = 1, .pad = 1};
    at.stencil[1] = (Stencil){.axis = "h", .tap = "q", .stride = 3, .dilation = 2, .pad = 1};
    double want[B * M * TO * HO];
    for (int o = 0; o < B * M * TO * HO; o++) {
        int b = o / (M * TO * HO), m = o / (TO * HO) % M, i = o / HO % TO, j = o % HO;
        want[o] = 0;
        for (int c = 0; c < C; c++)
            for (int p = 0; p < P; p++)
                for (int q = 0; q < Q; q++) {
                    int it = i * 2 + p - 1, ih = j * 3 + q * 2 - 1;
                    if (it < 0 || it >= T || ih < 0 || ih >= H)
                        continue;
                    want[o] += (double)(((b * C + c) * T + it) * H + ih + 1) *
                               (double)(((m * C + c) * P + p) * Q + q + 1);
                }
    }
    assert_values(t, func_emit(t->f, OP_CONV, &at, (Val[]){x, w}, 2), "b=2 m=4 t=4 h=2", want);
    test_done(t);
}

static void batch_normalization_has_mean_0_and_variance_1(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    AxisList over = test_axes(t, "b");
    Shape c = test_shape(t, "c=2");
    Val x = test_param(t, "x", "b=2 c=2");
    Val y = func_emit(t->f, OP_BATCHNORM, NULL,
                      (Val[]){x, func_mean(t->f, x, &over), func_variance(t->f, x, &over, 1),
                              func_fill(t->f, 3, &c), func_fill(t->f, 1, &c)},
                      5);
    assert_values(t, y, "b=2 c=2", VALUES(-2, -2, 4, 4));
    test_done(t);
}

static void a_missing_leaf_is_named(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Err err = {0};
    EvalTensor *value;
    test_input(t, "clip", "b=2");
    assert_int_equal(eval_func(&t->arena, t->f, nothing, NULL, &value, &err), NPC_ERR_INPUT);
    assert_string_equal(err.text, "eval: there is no value for the input 'clip'");
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_broadcast_by_name),
        cmocka_unit_test(constants_positions_and_maps),
        cmocka_unit_test(views_move_elements),
        cmocka_unit_test(reductions_sum_over_named_axes),
        cmocka_unit_test(products_sum_over_shared_axes),
        cmocka_unit_test(a_small_convolution_is_as_by_hand),
        cmocka_unit_test(a_dense_convolution_is_the_written_out_sum),
        cmocka_unit_test(batch_normalization_has_mean_0_and_variance_1),
        cmocka_unit_test(a_missing_leaf_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
