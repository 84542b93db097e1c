/* passes/layout.c: where values lie, and which views the same storage expresses. */
#include "passes/plan.h"
#include "tests/ops/ir_harness.h"

enum { LANES = 4 };

static const PassOptions BLOCKED = {.target = {.lanes = LANES}},
                         LAST = {.target = {.channels_last = true}, .precision = PRECISION_BF16};

/* A depthwise convolution over h and w, and a product that makes channels m of c. */
static void build(TestFunc *t, Val *x, Val *conv, Val *product)
{
    Attrs a = {.out = test_axes(t, "b c h w"), .n_stencil = 2};
    a.stencil[0] =
        (Stencil){name_intern(&t->names, "h"), name_intern(&t->names, "kh"), 1, 1, 1, 6, 3};
    a.stencil[1] =
        (Stencil){name_intern(&t->names, "w"), name_intern(&t->names, "kw"), 1, 1, 1, 5, 3};
    AxisList over = test_axes(t, "c_in"), out = test_axes(t, "b c h w");
    *x = test_input(t, "x", "b=2 c=8 h=6 w=5");
    *conv = func_emit(t->f, OP_CONV, &a, (Val[]){*x, test_param(t, "k", "c=8 kh=3 kw=3")}, 2);
    Val in = func_rename(t->f, *conv, name_intern(&t->names, "c"), name_intern(&t->names, "c_in"));
    *product = func_contract(t->f, in, test_param(t, "w", "c=12 c_in=8"), &over, &out);
    assert_int_not_equal(product->id, 0);
    func_result(t->f, RESULT_OUTPUT, "y", *product);
}

/* "b c h w": the axes in storage order, a blocked one with its lanes. */
static const char *order_text(TestFunc *t, const TileLayout *l)
{
    Text text = {.arena = &t->arena};
    for (int i = 0; i < l->shape.rank; i++)
        text_printf(&text, "%s%s%s", i ? " " : "", l->shape.name[l->order[i]],
                    l->order[i] == l->lane ? "*" : "");
    return text_str(&text);
}

static void volumes_are_blocked_over_channels(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x, conv, product;
    build(t, &x, &conv, &product);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    assert_true(l.is_volume[conv.id] && l.is_volume[product.id]);
    assert_string_equal(order_text(t, &l.of[conv.id]), "b c* h w");
    assert_string_equal(order_text(t, &l.of[product.id]), "b c* h w");
    assert_int_equal(l.of[conv.id].lanes, LANES);
    test_done(t);
}

static void leaves_keep_their_logical_order(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x, conv, product;
    build(t, &x, &conv, &product);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    for (uint32_t id = 1; id < t->f->nodes.len; id++)
        if (op_lowering(t->f->nodes.at[id].op) == LOWER_LEAF)
            assert_true(tile_layout_is_plain(&l.of[id]) && l.of[id].lane < 0);
    test_done(t);
}

static void activations_of_products_put_channels_first(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    AxisList over = test_axes(t, "c_in"), out = test_axes(t, "b c t");
    Val x = test_input(t, "x", "b=2 c_in=8 t=5");
    Val y = func_contract(t->f, x, test_param(t, "w", "c=12 c_in=8"), &over, &out);
    Val z = func_emit1(t->f, OP_EXP, y);
    func_result(t->f, RESULT_OUTPUT, "z", z);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    assert_false(l.is_volume[y.id]);
    assert_string_equal(order_text(t, &l.of[y.id]), "c b t");
    assert_string_equal(order_text(t, &l.of[z.id]), "c b t");
    test_done(t);
}

/* Numbers of several frames side by side as channels: their gradient has the frames' axis again. */
static void frames_are_no_channels_because_a_gradient_merges_them(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    const char *k = name_intern(&t->names, "k"), *time = name_intern(&t->names, "t"),
               *s = name_intern(&t->names, "s"), *j = name_intern(&t->names, "j"),
               *d = name_intern(&t->names, "d");
    AxisList over = test_axes(t, "c"), out = test_axes(t, "b k t");
    Val y = func_contract(t->f, test_input(t, "x", "b=2 c=8 t=6"), test_param(t, "w", "k=12 c=8"),
                          &over, &out);
    Val parts = func_split(t->f, func_emit1(t->f, OP_EXP, y), time, s, j, 3);
    func_result(t->f, RESULT_OUTPUT, "y", func_merge(t->f, parts, j, k, d));
    t->f->backward = true;
    Val dy = func_emit1(t->f, OP_EXP, func_merge(t->f, parts, s, j, time));
    func_result(t->f, RESULT_OUTPUT, "dy", dy);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    assert_string_equal(order_text(t, &l.of[y.id]), "k b t");
    assert_string_equal(order_text(t, &l.of[dy.id]), "k b t");
    test_done(t);
}

/* "b p c" of so many channels made from positions of 8. */
static const char *order_of_product(const char *x, const char *w, const char *out_axes)
{
    TestFunc *t = test_func();
    static char order[64];
    AxisList over = test_axes(t, "c_in"), out = test_axes(t, out_axes);
    t->f->module->batch_axis = name_intern(&t->names, "b");
    Val y = func_contract(t->f, test_input(t, "x", x), test_param(t, "w", w), &over, &out);
    func_result(t->f, RESULT_OUTPUT, "y", y);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    snprintf(order, sizeof order, "%s%s", order_text(t, &l.of[y.id]),
             l.is_volume[y.id] ? "" : ", no volume");
    test_done(t);
    return order;
}

static void tokens_are_rows_of_channels(void **state)
{
    (void)state;
    assert_string_equal(order_of_product("b=2 p=12 c_in=8", "c=12 c_in=8", "b c p"), "b p c");
    assert_string_equal(order_of_product("b=2 p=6 s=2 c_in=8", "c=12 c_in=8", "b s c p"),
                        "b p s c");
    assert_string_equal(order_of_product("b=2 p=11 c_in=8", "c=12 c_in=8", "b c p"),
                        "c b p, no volume");
    assert_string_equal(order_of_product("n=2 p=12 c_in=8", "c=12 c_in=8", "n c p"),
                        "c n p, no volume"); /* nothing of a sample */
}

/* Heads of width e, called v in between: what comes of them merges to channels as a view. */
static void heads_lie_as_the_channels_they_are_merged_to(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    const char *j = name_intern(&t->names, "j"), *a = name_intern(&t->names, "a"),
               *e = name_intern(&t->names, "e"), *v = name_intern(&t->names, "v");
    t->f->module->batch_axis = name_intern(&t->names, "b");
    AxisList over = test_axes(t, "c"), out = test_axes(t, "b p j");
    Val y = func_contract(t->f, test_input(t, "x", "b=2 p=12 c=8"), test_param(t, "w", "j=6 c=8"),
                          &over, &out);
    Val heads = func_rename(t->f, func_split(t->f, y, j, a, e, 2), e, v);
    Val z = func_emit1(t->f, OP_EXP, heads);
    func_result(t->f, RESULT_OUTPUT, "z", func_merge(t->f, func_rename(t->f, z, v, e), a, e, j));
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    assert_string_equal(order_text(t, &l.of[z.id]), "b p a v");
    test_done(t);
}

static void volumes_of_dense_convolutions_are_rows_of_channels(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Attrs a = {.over = test_axes(t, "c"), .out = test_axes(t, "b d h w"), .n_stencil = 2};
    const char *h = name_intern(&t->names, "h"), *w = name_intern(&t->names, "w");
    a.stencil[0] = (Stencil){h, name_intern(&t->names, "kh"), 1, 1, 1, 6, 3};
    a.stencil[1] = (Stencil){w, name_intern(&t->names, "kw"), 1, 1, 1, 5, 3};
    Val x = test_input(t, "x", "b=2 c=8 h=6 w=5");
    Val y = func_emit(t->f, OP_CONV, &a, (Val[]){x, test_param(t, "k", "d=90 c=8 kh=3 kw=3")}, 2);
    assert_int_not_equal(y.id, 0);
    func_result(t->f, RESULT_OUTPUT, "y", y);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    assert_string_equal(order_text(t, &l.of[y.id]), "b h w d");
    assert_true(l.is_volume[y.id] && l.channel[y.id] == 1);
    test_done(t);
}

static void products_of_activations_make_no_channels(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    AxisList over = test_axes(t, "k"), out = test_axes(t, "b i j");
    Val x = test_input(t, "x", "b=2 i=8 k=5"), z = test_input(t, "z", "b=2 j=6 k=5");
    Val y = func_contract(t->f, func_emit1(t->f, OP_EXP, x), z, &over, &out);
    func_result(t->f, RESULT_OUTPUT, "y", y);
    Layouts l = layouts_choose(&t->arena, t->f, &BLOCKED);
    assert_string_equal(order_text(t, &l.of[y.id]), "b i j");
    test_done(t);
}

static void channels_lie_last_for_threads(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x, conv, product;
    build(t, &x, &conv, &product);
    const char *c = name_intern(&t->names, "c"), *g = name_intern(&t->names, "g"),
               *k = name_intern(&t->names, "k");
    Val groups = func_split(t->f, func_emit1(t->f, OP_EXP, product), c, g, k, 3);
    Val merged = func_merge(t->f, func_emit1(t->f, OP_EXP, groups), g, k, c);
    AxisList space = test_axes(t, "h w");
    Val sum = func_sum(t->f, product, &space, 1);
    t->f->module->batch_axis = name_intern(&t->names, "b");
    Layouts l = layouts_choose(&t->arena, t->f, &LAST);
    assert_string_equal(order_text(t, &l.of[conv.id]), "b h w c");
    assert_string_equal(order_text(t, &l.of[product.id]), "b h w c");
    assert_string_equal(order_text(t, &l.of[groups.id]), "b h w g k");
    assert_string_equal(order_text(t, &l.of[sum.id]), "b c");
    TileLayout view;
    assert_true(layout_of_view(&l.of[groups.id], func_node(t->f, merged), &view));
    assert_string_equal(order_text(t, &view), "b h w c");
    assert_string_equal(order_text(t, &l.of[x.id]), "b c h w");
    test_done(t);
}

static void activations_are_stored_in_16_bits_and_sums_are_not(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x, conv, product;
    build(t, &x, &conv, &product);
    AxisList space = test_axes(t, "h w");
    Val sum = func_sum(t->f, product, &space, 1);
    Val weights = func_emit1(t->f, OP_EXP, func_node(t->f, product)->in[1]);
    t->f->module->batch_axis = name_intern(&t->names, "b");
    Layouts l = layouts_choose(&t->arena, t->f, &LAST);
    assert_int_equal(l.of[conv.id].type, STORAGE_BF16);
    assert_int_equal(l.of[product.id].type, STORAGE_BF16);
    assert_int_equal(l.of[x.id].type, STORAGE_F32);
    assert_int_equal(l.of[sum.id].type, STORAGE_F32);
    assert_int_equal(l.of[weights.id].type, STORAGE_F32);
    test_done(t);
}

static void precisions_have_names(void **state)
{
    (void)state;
    PrecisionMode p;
    for (int i = 0; i < PRECISION_COUNT; i++) {
        assert_true(precision_find(precision_text((PrecisionMode)i), &p));
        assert_int_equal(p, i);
    }
    assert_false(precision_find("f64", &p));
    assert_int_equal(precision_storage(PRECISION_TF32), STORAGE_F32);
    assert_int_equal(precision_math(PRECISION_F16), MATH_F16);
}

/* ---- views ---- */

static TileLayout blocked(TestFunc *t, const char *shape, const char *lane)
{
    Shape s = test_shape(t, shape);
    TileLayout l = tile_layout_plain(&s);
    if (lane) {
        l.lane = shape_axis(&s, name_intern(&t->names, lane));
        l.lanes = LANES;
    }
    return l;
}

/* Does every element of the view lie where the element of the stored value that it shows lies? */
static void check_same_places(TestFunc *t, const TileLayout *stored, Val view, const TileLayout *v)
{
    const Node *n = func_node(t->f, view);
    int64_t elems = shape_elems(&stored->shape), index[MAX_RANK] = {0};
    EvalTensor in = {stored->shape, ARENA_ARRAY(&t->arena, double, elems)}, out;
    for (int64_t i = 0; i < elems; i++) {
        in.at[i] = (double)tile_layout_offset(stored, index);
        for (int k = stored->shape.rank - 1; k >= 0 && ++index[k] == stored->shape.size[k]; k--)
            index[k] = 0;
    }
    const EvalTensor *operand[] = {&in};
    eval_node(&t->arena, t->f, view, operand, &out);
    assert_true(shape_equal(&v->shape, &n->shape));
    memset(index, 0, sizeof index);
    for (int64_t i = 0; i < elems; i++) {
        assert_int_equal(tile_layout_offset(v, index), (int64_t)out.at[i]);
        for (int k = n->shape.rank - 1; k >= 0 && ++index[k] == n->shape.size[k]; k--)
            index[k] = 0;
    }
}

static bool view_works(TestFunc *t, const TileLayout *stored, Val view)
{
    TileLayout out;
    assert_int_not_equal(view.id, 0);
    if (!layout_of_view(stored, func_node(t->f, view), &out))
        return false;
    check_same_places(t, stored, view, &out);
    return true;
}

static const char *name(TestFunc *t, const char *text)
{
    return name_intern(&t->names, text);
}

static void renamed_axes_lie_where_they_lay(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_input(t, "x", "b=2 c=6 h=3");
    Val lane = func_rename(t->f, x, name(t, "c"), name(t, "m"));
    Val other = func_rename(t->f, x, name(t, "h"), name(t, "y"));
    TileLayout plain = blocked(t, "b=2 c=6 h=3", NULL), l = blocked(t, "b=2 c=6 h=3", "c");
    assert_true(view_works(t, &plain, lane) && view_works(t, &plain, other));
    assert_true(view_works(t, &l, lane) && view_works(t, &l, other));
    test_done(t);
}

static void a_split_needs_whole_blocks(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_input(t, "x", "b=2 c=24 h=4");
    const char *c = name(t, "c"), *g = name(t, "g"), *e = name(t, "e");
    Val whole = func_split(t->f, x, c, g, e, 3), cut = func_split(t->f, x, c, g, e, 4);
    Val rows = func_split(t->f, x, name(t, "h"), g, e, 2);
    Val batch = func_split(t->f, x, name(t, "b"), g, e, 2);
    TileLayout plain = blocked(t, "b=2 c=24 h=4", NULL), l = blocked(t, "b=2 c=24 h=4", "c");
    assert_true(view_works(t, &plain, whole) && view_works(t, &plain, cut));
    assert_true(view_works(t, &l, whole) && view_works(t, &l, rows) && view_works(t, &l, batch));
    assert_false(view_works(t, &l, cut)); /* 6 channels are no whole blocks of 4 */
    TileLayout turned = plain;            /* c first */
    turned.order[0] = 1;
    turned.order[1] = 0;
    assert_true(view_works(t, &turned, whole) && view_works(t, &turned, rows));
    test_done(t);
}

static void merged_axes_must_be_neighbours(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_input(t, "x", "b=2 c=8 h=3 w=4");
    const char *b = name(t, "b"), *c = name(t, "c"), *h = name(t, "h"), *w = name(t, "w"),
               *p = name(t, "p");
    Val near = func_merge(t->f, x, h, w, p), crossed = func_merge(t->f, x, w, h, p);
    Val apart = func_merge(t->f, x, b, h, p), lanes = func_merge(t->f, x, b, c, p);
    TileLayout plain = blocked(t, "b=2 c=8 h=3 w=4", NULL), l = blocked(t, "b=2 c=8 h=3 w=4", "c");
    assert_true(view_works(t, &plain, near) && view_works(t, &plain, lanes));
    assert_true(view_works(t, &l, near));
    assert_false(view_works(t, &plain, crossed));
    assert_false(view_works(t, &plain, apart));
    assert_false(view_works(t, &l, lanes));
    assert_false(view_works(t, &l, apart));
    TileLayout turned = plain; /* w before h */
    turned.order[2] = 3;
    turned.order[3] = 2;
    assert_true(view_works(t, &turned, crossed));
    assert_false(view_works(t, &turned, near));
    test_done(t);
}

static void reordered_axes_lie_where_they_lay(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_input(t, "x", "b=2 c=6 h=3");
    AxisList order = test_axes(t, "h b c");
    Val y = func_reorder(t->f, x, &order);
    TileLayout plain = blocked(t, "b=2 c=6 h=3", NULL), l = blocked(t, "b=2 c=6 h=3", "c");
    assert_true(view_works(t, &plain, y) && view_works(t, &l, y));
    test_done(t);
}

static void tables_are_no_views(void **state)
{
    (void)state;
    static const int32_t table[] = {1, 0};
    TestFunc *t = test_func();
    Val x = test_input(t, "x", "b=2 c=6");
    Val y = func_index(t->f, x, name(t, "b"), name(t, "b"), table, 2);
    TileLayout plain = blocked(t, "b=2 c=6", NULL), out;
    assert_false(layout_of_view(&plain, func_node(t->f, y), &out));
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volumes_are_blocked_over_channels),
        cmocka_unit_test(leaves_keep_their_logical_order),
        cmocka_unit_test(activations_of_products_put_channels_first),
        cmocka_unit_test(frames_are_no_channels_because_a_gradient_merges_them),
        cmocka_unit_test(tokens_are_rows_of_channels),
        cmocka_unit_test(heads_lie_as_the_channels_they_are_merged_to),
        cmocka_unit_test(volumes_of_dense_convolutions_are_rows_of_channels),
        cmocka_unit_test(products_of_activations_make_no_channels),
        cmocka_unit_test(channels_lie_last_for_threads),
        cmocka_unit_test(activations_are_stored_in_16_bits_and_sums_are_not),
        cmocka_unit_test(precisions_have_names),
        cmocka_unit_test(renamed_axes_lie_where_they_lay),
        cmocka_unit_test(a_split_needs_whole_blocks),
        cmocka_unit_test(merged_axes_must_be_neighbours),
        cmocka_unit_test(reordered_axes_lie_where_they_lay),
        cmocka_unit_test(tables_are_no_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
