/* passes/recompute.c: what the backward pass computes again, and what it does not. */
#include "passes/pass.h"
#include "tests/ops/ir_harness.h"

/* Queries, keys and values cut from one wide product; `y` is their attention. */
static const char TEXT[] =
    "module \"m\"\n"
    "param \"w\" : f32[e=16, c=4] normal(0, 1)\n"
    "func train() {\n"
    "  %1 = input {name=\"x\"} : f32[b=2, n=5, h=3, c=4]\n"
    "  %2 = param {name=\"w\"} : f32[e=16, c=4]\n"
    "  %3 = contract %1 %2 {over=[c], out=[b, n, h, e]} : f32[b=2, n=5, h=3, e=16]\n"
    "  %4 = exp %3 : f32[b=2, n=5, h=3, e=16]\n"
    "  %5 = rename %4 {axis=n, to=m} : f32[b=2, m=5, h=3, e=16]\n"
    "  %6 = rename %5 {axis=e, to=v} : f32[b=2, m=5, h=3, v=16]\n"
    "  %7 = attend %4 %5 %6 {axis=n, keys=m, over=[e], k=[0.5, 0]} : f32[b=2, n=5, h=3, v=16]\n"
    "  %8 = attend_sum %4 %5 %6 {axis=n, keys=m, over=[e], k=[0.5, 0]} : f32[b=2, n=5, h=3] "
    "@backward\n"
    "  %9 = mul %4 %4 : f32[b=2, n=5, h=3, e=16] @backward\n"
    "  return output \"y\" = %7\n"
    "  return output \"l\" = %8\n"
    "  return output \"g\" = %9\n"
    "}\n";

static const Node *only(const Func *f, Op op, bool recompute)
{
    const Node *found = NULL;
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        const Node *n = &f->nodes.at[i];
        if (n->op != op || n->recompute != recompute)
            continue;
        assert_null(found);
        found = n;
    }
    return found;
}

static const Func *run(TestFunc *t, RecomputeMode mode)
{
    Module *m = module_parse(&t->arena, &t->names, &t->diags, "text", TEXT, strlen(TEXT));
    if (!m)
        fail_msg("%s", test_log(t));
    PassOptions o = {.recompute = mode, .target = traits_cpu(8)};
    PassCx cx = {&t->arena, &o, PROGRAM_GRAD};
    return PASSES[pass_find("recompute")].run(&cx, m->funcs.at[0]);
}

static void nothing_is_computed_again_unless_asked_for(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    const Func *f = run(t, RECOMPUTE_NONE);
    assert_null(only(f, OP_CONTRACT, true));
    assert_non_null(only(f, OP_CONTRACT, false));
    test_done(t);
}

static void functions_of_a_wide_product_are_computed_again_with_it(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    const Func *f = run(t, RECOMPUTE_EXPAND);
    const Node *product = only(f, OP_CONTRACT, true), *e = only(f, OP_EXP, true);
    assert_non_null(product);
    assert_non_null(e);
    assert_ptr_equal(func_node(f, e->in[0]), product);
    const Node *g = only(f, OP_MUL, false);
    assert_ptr_equal(func_node(f, g->in[0]), e);
    test_done(t);
}

static void sums_of_an_attention_stay_with_its_forward_kernel(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    const Func *f = run(t, RECOMPUTE_EXPAND);
    const Node *y = only(f, OP_ATTEND, false), *sum = only(f, OP_ATTEND_SUM, false);
    assert_non_null(sum);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sum->in[i].id, y->in[i].id);
    test_done(t);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_computed_again_unless_asked_for),
        cmocka_unit_test(functions_of_a_wide_product_are_computed_again_with_it),
        cmocka_unit_test(sums_of_an_attention_stay_with_its_forward_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
