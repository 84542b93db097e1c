/* The builder: modules, parameters, results, copies, costs. */
#include "tests/ops/ir_harness.h"

static void parameters_are_found_by_name(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    test_param(t, "core.w", "b=2");
    Param running = {.name = "core.mean", .shape = {0}, .session = -1, .is_state = true};
    assert_non_null(module_add_param(t->m, running));
    assert_string_equal(module_param(t->m, "core.w")->name, "core.w");
    assert_null(module_param(t->m, "core"));
    assert_int_equal(func_node(t->f, func_param(t->f, "core.mean"))->op, OP_STATE);
    assert_int_equal(func_node(t->f, func_param(t->f, "core.w"))->op, OP_PARAM);
    test_done(t);
}

static void a_second_parameter_of_the_name_is_reported(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    test_param(t, "w", "b=2");
    assert_null(module_add_param(t->m, (Param){.name = "w", .session = -1}));
    assert_contains(test_log(t), "E0104 the parameter 'w' is defined twice");
    assert_int_equal(func_param(t->f, "v").id, 0);
    assert_contains(test_log(t), "E0102 there is no parameter 'v'");
    test_done(t);
}

static void functions_parts_and_results_are_found(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *g = module_add_func(t->m, "train");
    assert_ptr_equal(module_func(t->m, "train"), g);
    assert_ptr_equal(module_func(t->m, "eval"), t->f);
    assert_null(module_func(t->m, "grad"));
    assert_int_equal(module_part(t->m, "core"), 0);
    assert_int_equal(module_part(t->m, "readout"), 1);
    assert_int_equal(module_part(t->m, "core"), 0);
    Val x = test_param(t, "x", "");
    func_result(t->f, RESULT_LOSS, "loss", x);
    assert_int_equal(func_find_result(t->f, RESULT_LOSS, "loss")->val.id, x.id);
    assert_null(func_find_result(t->f, RESULT_OUTPUT, "loss"));
    test_done(t);
}

static void nodes_get_the_tags_of_the_function(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    t->f->session = 3;
    t->f->part = 4;
    t->f->backward = true;
    t->f->span = (Span){1, 2, 3};
    const Node *n = func_node(t->f, test_input(t, "x", "b=2"));
    assert_int_equal(n->session, 3);
    assert_int_equal(n->part, 4);
    assert_true(n->backward);
    assert_int_equal(n->span.end, 3);
    test_done(t);
}

static void names_are_interned(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    char from[] = "c", to[] = "m";
    Val y = func_rename(t->f, test_param(t, "x", "b=2 c=3"), from, to);
    assert_ptr_equal(func_shape(t->f, y)->name[1], name_intern(&t->names, "m"));
    assert_ptr_equal(func_node(t->f, y)->attrs.axis, name_intern(&t->names, "c"));
    test_done(t);
}

static void a_copy_keeps_all_but_the_operands(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val a = test_param(t, "a", "b=2"), b = test_param(t, "b", "b=2");
    t->f->part = module_part(t->m, "core");
    Val y = func_scale(t->f, a, 0.5);
    t->f->part = -1;
    Node n = *func_node(t->f, y);
    Val z = func_copy(t->f, &n, &b);
    assert_int_equal(func_node(t->f, z)->in[0].id, b.id);
    assert_int_equal(func_node(t->f, z)->part, 0);
    assert_true(func_node(t->f, z)->attrs.k[0] == 0.5);
    assert_int_equal(func_copy(t->f, &n, &VAL_NONE).id, 0);
    test_done(t);
}

static void a_table_is_copied(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    int32_t table[] = {2, 1};
    Val y = func_index(t->f, test_param(t, "x", "c=3"), "c", "c", table, 2);
    table[0] = 0;
    assert_int_equal(func_node(t->f, y)->attrs.table[0], 2);
    test_done(t);
}

static void reordering_to_the_same_order_is_nothing(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val x = test_param(t, "x", "b=2 c=3");
    AxisList same = test_axes(t, "b c");
    assert_int_equal(func_reorder(t->f, x, &same).id, x.id);
    test_done(t);
}

static void the_mean_is_the_sum_with_a_factor(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    AxisList over = test_axes(t, "b t");
    Val y = func_mean(t->f, test_param(t, "x", "b=2 c=3 t=5"), &over);
    assert_int_equal(func_node(t->f, y)->op, OP_SUM);
    assert_true(func_node(t->f, y)->attrs.k[0] == 0.1);
    test_done(t);
}

static void costs_count_a_multiply_add_as_two(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Func *f = t->f;
    Val x = test_param(t, "x", "b=2 c=3 t=8"), w = test_param(t, "w", "m=5 c=3"),
        k = test_param(t, "k", "m=5 c=3 k=3");
    AxisList c = test_axes(t, "c"), out = test_axes(t, "b m t");
    Attrs at = {.over = c, .out = out, .n_stencil = 1};
    at.stencil[0] = (Stencil){.axis = "t", .tap = "k", .stride = 2, .dilation = 1, .pad = 1};
    Val y = func_emit(f, OP_CONV, &at, (Val[]){x, k}, 2), din[MAX_OPERANDS];
    assert_true(op_flops(f, x) == 0);
    assert_true(op_flops(f, func_rename(f, x, "c", "m")) == 0);
    assert_true(op_flops(f, func_emit1(f, OP_SILU, x)) == 2 * 48);
    assert_true(op_flops(f, func_sum(f, x, &c, 1)) == 48);
    assert_true(op_flops(f, func_contract(f, x, w, &c, &out)) == 2 * 80 * 3);
    assert_true(op_flops(f, y) == 2 * 2 * 5 * 4 * 3 * 3);
    op_gradient(f, y, test_input(t, "dy", "b=2 m=5 t=4"), din);
    assert_true(op_flops(f, din[0]) == op_flops(f, y));
    assert_true(op_flops(f, din[1]) == op_flops(f, y));
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_found_by_name),
        cmocka_unit_test(a_second_parameter_of_the_name_is_reported),
        cmocka_unit_test(functions_parts_and_results_are_found),
        cmocka_unit_test(nodes_get_the_tags_of_the_function),
        cmocka_unit_test(names_are_interned),
        cmocka_unit_test(a_copy_keeps_all_but_the_operands),
        cmocka_unit_test(a_table_is_copied),
        cmocka_unit_test(reordering_to_the_same_order_is_nothing),
        cmocka_unit_test(the_mean_is_the_sum_with_a_factor),
        cmocka_unit_test(costs_count_a_multiply_add_as_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
