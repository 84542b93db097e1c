/* Shapes, and the shapes and messages of the op table's shape rules. */
#include "tests/ops/ir_harness.h"

static void axes_are_found_by_name(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Shape s = test_shape(t, "b=2 c=3 t=5");
    assert_int_equal(shape_axis(&s, "t"), 2);
    assert_int_equal(shape_axis(&s, "h"), -1);
    assert_int_equal(shape_elems(&s), 30);
    int64_t stride[MAX_RANK];
    shape_strides(&s, stride);
    assert_int_equal(stride[0], 15);
    assert_int_equal(stride[1], 5);
    assert_int_equal(stride[2], 1);
    test_done(t);
}

static void a_scalar_has_one_element(void **state)
{
    (void)state;
    assert_int_equal(shape_elems(&(Shape){0}), 1);
}

static void equality_needs_the_order_but_within_does_not(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Shape a = test_shape(t, "b=2 c=3"), b = test_shape(t, "c=3 b=2"), c = test_shape(t, "c=4");
    assert_true(shape_equal(&a, &a));
    assert_false(shape_equal(&a, &b));
    assert_true(shape_within(&a, &b));
    assert_false(shape_within(&c, &b));
    test_done(t);
}

static void no_axis_can_stand_twice_and_rank_is_limited(void **state)
{
    (void)state;
    Shape s = {0};
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (int i = 0; i < MAX_RANK; i++)
        assert_true(shape_add(&s, names[i], 2));
    assert_false(shape_add(&s, "i", 2));
    s.rank = 1;
    assert_false(shape_add(&s, "a", 2));
}

static void pointwise_results_have_the_union_of_the_axes(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 c=3 t=5"), w = test_param(t, "w", "n=7 c=3"),
        s = test_param(t, "s", "");
    assert_shape(t, func_emit2(t->f, OP_ADD, x, w), "b=2 c=3 t=5 n=7");
    assert_shape(t, func_emit2(t->f, OP_ADD, w, x), "b=2 c=3 t=5 n=7");
    assert_shape(t, func_emit2(t->f, OP_ADD, s, w), "n=7 c=3");
    assert_shape(t, func_emit2(t->f, OP_ADD, s, s), "");
    test_done(t);
}

static void unequal_sizes_are_reported_with_both_shapes(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val a = test_param(t, "a", "b=2 c=3"), b = test_param(t, "b", "c=4");
    assert_int_equal(func_emit2(t->f, OP_ADD, a, b).id, 0);
    assert_contains(test_log(t), "E0203 add: sizes differ on axis 'c': f32[b=2, c=3] and f32[c=4]\n"
                                 "note f32[c=4] comes from here\n");
    test_done(t);
}

static void one_mistake_gives_one_message(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    AxisList over = test_axes(t, "c");
    Val a = test_param(t, "a", "b=2 c=3"), b = test_param(t, "b", "c=4");
    Val bad = func_emit2(t->f, OP_ADD, a, b);
    Val worse = func_emit2(t->f, OP_MUL, func_mean(t->f, bad, &over), a);
    worse = func_reorder(t->f, worse, &over);
    func_result(t->f, RESULT_OUTPUT, "y", worse);
    assert_int_equal(worse.id, 0);
    assert_int_equal(t->diags.n_errors, 1);
    assert_int_equal(t->f->results.len, 0);
    test_done(t);
}

static void views_have_the_shapes_they_promise(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *f = t->f;
    Val x = test_param(t, "x", "b=2 c=6 t=5");
    AxisList order = test_axes(t, "t b c");
    assert_shape(t, func_rename(f, x, "c", "m"), "b=2 m=6 t=5");
    assert_shape(t, func_split(f, x, "c", "g", "c", 2), "b=2 g=2 c=3 t=5");
    assert_shape(t, func_merge(f, x, "t", "b", "q"), "c=6 q=10");
    assert_shape(t, func_merge(f, x, "b", "c", "c"), "c=12 t=5");
    assert_shape(t, func_reorder(f, x, &order), "t=5 b=2 c=6");
    assert_shape(t, func_index(f, x, "c", "n", (int32_t[]){5, -1}, 2), "b=2 n=2 t=5");
    test_done(t);
}

static void reductions_and_products_have_the_shapes_they_promise(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    AxisList bt = test_axes(t, "t b"), c = test_axes(t, "c"), out = test_axes(t, "m t b");
    Val x = test_param(t, "x", "b=2 c=6 t=5"), w = test_param(t, "w", "m=7 c=6");
    assert_shape(t, func_sum(t->f, x, &bt, 1), "c=6");
    assert_shape(t, func_variance(t->f, x, &c, 1), "b=2 t=5");
    assert_shape(t, func_contract(t->f, x, w, &c, &out), "m=7 t=5 b=2");
    test_done(t);
}

static Val conv(TestFunc *t, Val x, Val w, const char *over, const char *out, Stencil s)
{
    Attrs at = {.over = test_axes(t, over), .out = test_axes(t, out), .n_stencil = 1};
    at.stencil[0] = s;
    return func_emit(t->f, OP_CONV, &at, (Val[]){x, w}, 2);
}

static void convolutions_fill_in_their_sizes(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 c=3 t=8"), w = test_param(t, "w", "m=5 c=3 k=3");
    Stencil s = {.axis = "t", .tap = "k", .stride = 2, .dilation = 1, .pad = 1};
    Val y = conv(t, x, w, "c", "b m t", s);
    assert_shape(t, y, "b=2 m=5 t=4");
    assert_int_equal(func_node(t->f, y)->attrs.stencil[0].in_size, 8);
    assert_int_equal(func_node(t->f, y)->attrs.stencil[0].taps, 3);
    test_done(t);
}

/* Emits something wrong and looks for the message. */
#define assert_wrong(expression, message)                                                          \
    do {                                                                                           \
        t->diags.messages.len = t->diags.n_errors = 0;                                             \
        assert_int_equal((expression).id, 0);                                                      \
        assert_contains(test_log(t), message);                                                     \
    } while (0)

static void wrong_views_and_reductions_are_explained(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *f = t->f;
    Val x = test_param(t, "x", "b=2 c=6 t=5");
    AxisList twice = test_axes(t, "b b"), h = test_axes(t, "h"), bc = test_axes(t, "b c");
    assert_wrong(func_rename(f, x, "h", "m"),
                 "E0211 rename: there is no axis 'h' in f32[b=2, c=6, t=5]");
    assert_wrong(func_rename(f, x, "c", "t"), "E0212 rename: axis 't' would stand twice");
    assert_wrong(func_split(f, x, "c", "g", "c", 4),
                 "E0250 split: axis 'c' of f32[b=2, c=6, t=5] cannot be cut into 4 equal parts");
    assert_wrong(func_split(f, x, "c", "g", "c", 0), "E0250");
    assert_wrong(func_merge(f, x, "c", "c", "m"), "E0212 merge: axis 'c' is named twice");
    assert_wrong(func_sum(f, x, &twice, 1), "E0212 sum: axis 'b' is named twice");
    assert_wrong(func_mean(f, x, &h), "E0211 sum: there is no axis 'h'");
    assert_wrong(func_reorder(f, x, &bc), "E0211 reorder: axis 't' of the result is not in");
    assert_wrong(func_index(f, x, "c", "c", (int32_t[]){6}, 1), "E0231 index: entry 0");
    assert_wrong(func_index(f, x, "c", "c", (int32_t[]){0}, 0), "E0220");
    assert_wrong(func_map(f, "a +", NULL, 0, &x, 1), "E0250 formula \"a +\"");
    assert_wrong(func_map(f, "a + b", NULL, 0, &x, 1), "E0202 map: \"a + b\" does not fit 1");
    Val many[MAX_OPERANDS] = {x, x, x, x, x, x, x, x};
    assert_wrong(func_map(f, "a + b", NULL, 0, many, 8), "E0202 map: \"a + b\" does not fit 8");
    assert_wrong(func_random(f, "drop", 1, func_shape(f, x)), "E0250 random: the drop rate is 1");
    test_done(t);
}

static void wrong_products_are_explained(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *f = t->f;
    Val x = test_param(t, "x", "b=2 c=6"), w = test_param(t, "w", "m=7 c=5"),
        v = test_param(t, "v", "m=7 c=6");
    AxisList c = test_axes(t, "c"), b = test_axes(t, "b"), bm = test_axes(t, "b m"), none = {0},
             bq = test_axes(t, "b q");
    assert_wrong(func_contract(f, x, w, &c, &bm),
                 "E0203 contract: sizes differ on axis 'c': f32[b=2, c=6] and f32[m=7, c=5]");
    assert_wrong(func_contract(f, x, v, &b, &none),
                 "E0211 contract: there is no axis 'b' in f32[m=7, c=6]");
    assert_wrong(func_contract(f, x, v, &c, &b), "axis 'm' of the result is not in the order");
    assert_wrong(func_contract(f, x, v, &c, &bq), "the result has no axis 'q', only [b=2, m=7]");
    test_done(t);
}

static void wrong_convolutions_are_explained(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 c=3 t=8"), w = test_param(t, "w", "c=3 k=11"),
        both = test_param(t, "both", "c=3 k=3 t=8");
    Stencil s = {.axis = "t", .tap = "k", .stride = 1, .dilation = 1, .pad = 1};
    assert_wrong(conv(t, x, w, "", "b c t", s),
                 "E0250 conv: a kernel of 11 taps (dilation 1) is longer than axis 't' of size 8");
    assert_wrong(conv(t, x, both, "", "b c t", s), "E0212 conv: axis 't' cannot stand in");
    s.stride = 0;
    assert_wrong(conv(t, x, w, "", "b c t", s), "E0250 conv: the stride is 0");
    s.stride = 1;
    s.in_size = 9;
    s.pad = 4;
    assert_wrong(conv(t, x, w, "", "b c t", s), "was expected to have size 9");
    s.in_size = 0;
    s.tap = "q";
    assert_wrong(conv(t, x, w, "", "b c t", s), "E0211 conv: there is no axis 'q'");
    test_done(t);
}

static void too_large_results_are_refused(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Shape a = {.rank = 1, .size = {1 << 30}, .name = {"a"}};
    Shape b = {.rank = 1, .size = {1 << 30}, .name = {"b"}};
    Shape zero = {.rank = 1, .size = {0}, .name = {"b"}};
    Val x = func_fill(t->f, 0, &a), y = func_fill(t->f, 0, &b);
    assert_wrong(func_emit2(t->f, OP_ADD, x, y), "E0004 add: the result has more than 2^40");
    assert_wrong(func_fill(t->f, 0, &zero), "E0220 fill: axis 'b' has size 0");
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_are_found_by_name),
        cmocka_unit_test(a_scalar_has_one_element),
        cmocka_unit_test(equality_needs_the_order_but_within_does_not),
        cmocka_unit_test(no_axis_can_stand_twice_and_rank_is_limited),
        cmocka_unit_test(pointwise_results_have_the_union_of_the_axes),
        cmocka_unit_test(unequal_sizes_are_reported_with_both_shapes),
        cmocka_unit_test(one_mistake_gives_one_message),
        cmocka_unit_test(views_have_the_shapes_they_promise),
        cmocka_unit_test(reductions_and_products_have_the_shapes_they_promise),
        cmocka_unit_test(convolutions_fill_in_their_sizes),
        cmocka_unit_test(wrong_views_and_reductions_are_explained),
        cmocka_unit_test(wrong_products_are_explained),
        cmocka_unit_test(wrong_convolutions_are_explained),
        cmocka_unit_test(too_large_results_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
