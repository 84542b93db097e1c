/* The generator of random programs: what it builds is legal, finite, varied and reproducible. */
#include "tests/ops/ir_harness.h"
#include "tests/ops/random_graph.h"

static void graphs_are_legal_and_finite(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        TestFunc *t = test_func();
        Func *f = random_graph(t->m, seed, NULL);
        assert_string_equal(test_log(t), "");
        const char *wrong = module_verify(t->m, &t->arena);
        if (wrong)
            fail_msg("seed %d: %s", (int)seed, wrong);
        Err err = {0};
        EvalTensor *value;
        assert_int_equal(eval_func(&t->arena, f, random_graph_leaf, &seed, &value, &err), NPC_OK);
        for (uint32_t i = 1; i < f->nodes.len; i++)
            for (int64_t e = 0; e < shape_elems(&value[i].shape); e++)
                assert_true(fabs(value[i].at[e]) < 1e5 || value[i].at[e] == ATTEND_UNASKED);
        assert_non_null(func_find_result(f, RESULT_LOSS, "loss"));
        assert_non_null(func_find_result(f, RESULT_OUTPUT, "y0"));
        test_done(t);
    }
}

/* Rows that a forward function cannot have: gradients, updates, states. */
static bool is_elsewhere(Op op)
{
    return op == OP_STATE || op == OP_MAP || op == OP_CONV_DX || op == OP_CONV_DW ||
           op == OP_SCATTER || (op_lowering(op) == LOWER_ATTEND && op != OP_ATTEND) ||
           (op_formula(op) && !op_derivative(op, 0) && op != OP_BATCHNORM && op != OP_LAYERNORM);
}

static void all_forward_ops_occur(void **state)
{
    (void)state;
    bool seen[OP_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 120; seed++) {
        TestFunc *t = test_func();
        Func *f = random_graph(t->m, seed, &(RandomGraphOptions){20, 40, 300});
        for (uint32_t i = 1; i < f->nodes.len; i++)
            seen[f->nodes.at[i].op] = true;
        test_done(t);
    }
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (!seen[op] && !is_elsewhere((Op)op))
            fail_msg("%s never occurs", op_text((Op)op));
}

static void the_seed_decides(void **state)
{
    (void)state;
    const char *text[3];
    TestFunc *t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = test_func();
        random_graph(t[i]->m, 5 + i / 2, NULL);
        Text out = {.arena = &t[i]->arena};
        module_print(&out, t[i]->m);
        text[i] = text_str(&out);
    }
    assert_string_equal(text[0], text[1]);
    assert_string_not_equal(text[0], text[2]);
    for (int i = 0; i < 3; i++)
        test_done(t[i]);
}

static void random_graphs_survive_their_text_form(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        TestFunc *t = test_func();
        random_graph(t->m, seed, &(RandomGraphOptions){5, 40, 500});
        Text out = {.arena = &t->arena}, again = {.arena = &t->arena};
        module_print(&out, t->m);
        Module *m =
            module_parse(&t->arena, &t->names, &t->diags, "random", text_str(&out), out.len);
        assert_string_equal(test_log(t), "");
        module_print(&again, m);
        assert_string_equal(text_str(&out), text_str(&again));
        test_done(t);
    }
}

static double loss_of(Func *f, void *seed, Arena *arena, EvalTensor **value)
{
    Err err = {0};
    assert_int_equal(eval_func(arena, f, random_graph_leaf, seed, value, &err), NPC_OK);
    return (*value)[func_find_result(f, RESULT_LOSS, "loss")->val.id].at[0];
}

/* Gradients of the nodes of a whole graph, added up in reverse: legal at every node. */
static void every_node_of_a_random_graph_has_legal_gradients(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        TestFunc *t = test_func();
        Func *f = random_graph(t->m, seed, &(RandomGraphOptions){5, 40, 500});
        uint32_t n = f->nodes.len;
        Val loss = func_find_result(f, RESULT_LOSS, "loss")->val;
        Shape scalar = {0};
        Val *grad = test_backprop(t, f, loss, func_fill(f, 1, &scalar));
        for (uint32_t i = 1; i < n; i++)
            if (f->nodes.at[i].op == OP_PARAM && grad[i].id)
                func_result(f, RESULT_GRAD, f->nodes.at[i].attrs.name, grad[i]);
        assert_string_equal(test_log(t), "");
        const char *wrong = module_verify(t->m, &t->arena);
        if (wrong)
            fail_msg("seed %d: %s", (int)seed, wrong);
        EvalTensor *value;
        assert_true(isfinite(loss_of(f, &seed, &t->arena, &value)));
        for (uint32_t i = 0; i < f->results.len; i++)
            for (int64_t e = 0; e < shape_elems(func_shape(f, f->results.at[i].val)); e++)
                assert_true(isfinite(value[f->results.at[i].val.id].at[e]));
        test_done(t);
    }
}

/* A planted failure: any function with both a sum and a convolution. */
static bool planted(void *context, const Func *f)
{
    bool seen[OP_COUNT] = {0};
    Arena scratch = {0};
    const char *wrong = module_verify(f->module, &scratch);
    if (wrong)
        fail_msg("%s", wrong);
    arena_free(&scratch);
    for (uint32_t i = 1; i < f->nodes.len; i++)
        seen[f->nodes.at[i].op] = true;
    ++*(int *)context;
    return seen[OP_CONV] && seen[OP_TANH];
}

static void shrinking_leaves_what_fails(void **state)
{
    (void)state;
    int calls = 0, n_shrunk = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        TestFunc *t = test_func();
        Func *f = random_graph(t->m, seed, &(RandomGraphOptions){20, 40, 200});
        if (planted(&calls, f)) {
            Func *small = random_graph_shrink(f, planted, &calls);
            assert_true(planted(&calls, small));
            assert_true(small->nodes.len <= f->nodes.len);
            n_shrunk += small->nodes.len <= 16;
        }
        test_done(t);
    }
    assert_true(n_shrunk >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graphs_are_legal_and_finite),
        cmocka_unit_test(all_forward_ops_occur),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(random_graphs_survive_their_text_form),
        cmocka_unit_test(every_node_of_a_random_graph_has_legal_gradients),
        cmocka_unit_test(shrinking_leaves_what_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
