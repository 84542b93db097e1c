/* module_verify refuses every way in which a pass could break a module. */
#include "tests/ops/ir_harness.h"

/* A legal module with a bit of everything. */
static TestFunc *legal(void)
{
    TestFunc *t = test_func();
    vec_push(&t->arena, &t->m->sessions, (Session){.name = "mouse0", .neurons = 5});
    AxisList over = test_axes(t, "b c");
    Val x = test_input(t, "x", "b=2 c=3"), w = test_param(t, "w", "c=3");
    Val y = func_emit2(t->f, OP_MUL, x, w);
    Val y2 = func_scale(t->f, y, 2);
    Val loss = func_mean(t->f, y2, &over);
    func_result(t->f, RESULT_OUTPUT, "y", y2);
    func_result(t->f, RESULT_LOSS, "loss", loss);
    func_result(t->f, RESULT_GRAD, "w", w);
    return t;
}

static void a_legal_module_passes(void **state)
{
    (void)state;
    TestFunc *t = legal();
    assert_null(module_verify(t->m, &t->arena));
    test_done(t);
}

typedef void (*Break)(TestFunc *t);
#define NODE(i) (&t->f->nodes.at[i])

static void operand_after_its_user(TestFunc *t)
{
    NODE(3)->in[0].id = 4;
}
static void operand_is_itself(TestFunc *t)
{
    NODE(3)->in[1].id = 3;
}
static void operand_is_none(TestFunc *t)
{
    NODE(3)->in[1].id = 0;
}
static void too_few_operands(TestFunc *t)
{
    NODE(3)->n_in = 1;
}
static void wrong_size(TestFunc *t)
{
    NODE(3)->shape.size[1] = 4;
}
static void wrong_order(TestFunc *t)
{
    NODE(3)->shape = test_shape(t, "c=3 b=2");
}
static void zero_size(TestFunc *t)
{
    NODE(1)->shape.size[0] = 0;
}
static void doubled_axis(TestFunc *t)
{
    NODE(1)->shape.name[0] = NODE(1)->shape.name[1];
}
static void impossible_rank(TestFunc *t)
{
    NODE(1)->shape.rank = 99;
}
static void unknown_op(TestFunc *t)
{
    NODE(3)->op = OP_COUNT;
}
static void unknown_axis(TestFunc *t)
{
    NODE(5)->attrs.over = test_axes(t, "b q");
}
static void missing_attribute(TestFunc *t)
{
    NODE(4)->op = OP_RENAME;
}
static void missing_formula(TestFunc *t)
{
    NODE(4)->op = OP_MAP;
}
static void unknown_parameter(TestFunc *t)
{
    NODE(2)->attrs.name = "v";
}
static void parameter_of_another_shape(TestFunc *t)
{
    module_param(t->m, "w")->shape.size[0] = 7;
}
static void parameter_read_as_a_state(TestFunc *t)
{
    NODE(2)->op = OP_STATE;
}
static void unknown_session(TestFunc *t)
{
    NODE(2)->session = 1;
}
static void unknown_part(TestFunc *t)
{
    NODE(2)->part = 0;
}
static void two_inputs_of_one_name(TestFunc *t)
{
    test_input(t, "x", "b=2");
}
static void result_without_a_value(TestFunc *t)
{
    t->f->results.at[0].val.id = 77;
}
static void loss_that_is_no_scalar(TestFunc *t)
{
    t->f->results.at[1].val.id = 4;
}
static void gradient_of_another_shape(TestFunc *t)
{
    t->f->results.at[2].val.id = 4;
}
static void gradient_of_no_parameter(TestFunc *t)
{
    t->f->results.at[2].name = "q";
}
static void doubled_result(TestFunc *t)
{
    func_result(t->f, RESULT_OUTPUT, "y", (Val){1});
}
static void doubled_function(TestFunc *t)
{
    module_add_func(t->m, "eval");
}
static void parameter_without_data(TestFunc *t)
{
    module_param(t->m, "w")->init.kind = INIT_DATA;
}
static void parameter_of_no_session(TestFunc *t)
{
    module_param(t->m, "w")->session = 9;
}
static void function_of_another_module(TestFunc *t)
{
    t->f->module = module_new(&t->arena, &t->names, &t->diags);
}

static void broken_modules_are_refused(void **state)
{
    (void)state;
    static const struct {
        Break break_it;
        const char *message;
    } cases[] = {
        {operand_after_its_user, "eval %3 (mul): operand 0 is %4, which does not come before"},
        {operand_is_itself, "operand 1 is %3"},
        {operand_is_none, "operand 1 is %0"},
        {too_few_operands, "1 operands, 2 were expected"},
        {wrong_size, "the shape is f32[b=2, c=4], the operands give f32[b=2, c=3]"},
        {wrong_order, "the shape is f32[c=3, b=2], the operands give f32[b=2, c=3]"},
        {zero_size, "eval %1 (input): axis 0 without a name or with size 0"},
        {doubled_axis, "axis 'c' twice"},
        {impossible_rank, "rank 99"},
        {unknown_op, "there is no op"},
        {unknown_axis, "eval %5 (sum): sum: there is no axis 'q'"},
        {missing_attribute, "eval %4 (rename): an attribute is missing"},
        {missing_formula, "eval %4 (map): an attribute is missing"},
        {unknown_parameter, "there is no parameter 'v'"},
        {parameter_of_another_shape, "'w' has shape f32[c=7], not f32[c=3]"},
        {parameter_read_as_a_state, "'w' is a parameter"},
        {unknown_session, "there is no session 1"},
        {unknown_part, "there is no part 0"},
        {two_inputs_of_one_name, "input 'x' has two shapes, f32[b=2, c=3] and f32[b=2]"},
        {result_without_a_value, "result 'y' is no value"},
        {loss_that_is_no_scalar, "the loss 'loss' has shape f32[b=2, c=3], a scalar was"},
        {gradient_of_another_shape, "the result for 'w' has shape f32[b=2, c=3]"},
        {gradient_of_no_parameter, "belongs to 'q', which is no parameter"},
        {doubled_result, "result 'y' stands twice"},
        {doubled_function, "function 'eval' stands twice"},
        {parameter_without_data, "parameter 'w' has no data"},
        {parameter_of_no_session, "there is no session 9"},
        {function_of_another_module, "belongs to another module"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TestFunc *t = legal();
        cases[i].break_it(t);
        const char *wrong = module_verify(t->m, &t->arena);
        if (!wrong)
            fail_msg("accepted: %s", cases[i].message);
        assert_contains(wrong, cases[i].message);
        assert_int_equal(t->diags.n_errors, 0);
        test_done(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_legal_module_passes),
        cmocka_unit_test(broken_modules_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
