/* passes/slice_products.c: when a product is taken apart, and that values stay. */
#include "passes/pass.h"
#include "tests/ops/ir_harness.h"

static const char HEAD[] = "module \"m\"\n"
                           "param \"w\" : f32[j=7, d=3] normal(0, 1)\n"
                           "param \"v\" : f32[j=7] normal(0, 1)\n"
                           "func eval() {\n"
                           "  %1 = input {name=\"x\"} : f32[t=2, d=3]\n"
                           "  %2 = param {name=\"w\"} : f32[j=7, d=3]\n"
                           "  %3 = contract %1 %2 {over=[d], out=[t, j]} : f32[t=2, j=7]\n";

#define TAKE(id, from, name, table, n)                                                             \
    "  %" #id " = index %" #from " {axis=" name ", to=" name ", table=" table "} : f32[t=2, j=" #n \
    "]\n"

static bool leaf(void *context, const Node *n, double *at)
{
    (void)context;
    for (int64_t i = 0; i < shape_elems(&n->shape); i++)
        at[i] = (double)((i * 7 + (int64_t)strlen(n->attrs.name)) % 5) - 1.7;
    return true;
}

static int count(const Func *f, Op op)
{
    int n = 0;
    for (uint32_t i = 1; i < f->nodes.len; i++)
        n += f->nodes.at[i].op == op;
    return n;
}

/* Runs the pipeline, compares all outputs, and returns how many products there are. */
static int products_after(const char *body, FuseLevel level)
{
    TestFunc *t = test_func();
    Arena *a = &t->arena;
    const char *text = arena_printf(a, "%s%s}\n", HEAD, body);
    Module *m = module_parse(a, &t->names, &t->diags, "text", text, strlen(text));
    if (!m)
        fail_msg("%s", test_log(t));
    PassOptions o = {.fuse = level, .target = traits_cpu(8), .verify = true};
    const Func *before = m->funcs.at[0], *after = passes_run(m, PROGRAM_EVAL, &o);
    assert_non_null(after);
    EvalTensor *x, *y;
    Err err = {0};
    assert_int_equal(eval_func(a, before, leaf, NULL, &x, &err), NPC_OK);
    assert_int_equal(eval_func(a, after, leaf, NULL, &y, &err), NPC_OK);
    for (uint32_t i = 0; i < before->results.len; i++) {
        Val was = before->results.at[i].val, is = after->results.at[i].val;
        assert_true(shape_equal(&x[was.id].shape, &y[is.id].shape));
        for (int64_t k = 0; k < shape_elems(&x[was.id].shape); k++)
            assert_float_equal(x[was.id].at[k], y[is.id].at[k], 1e-12);
    }
    int n = count(after, OP_CONTRACT);
    test_done(t);
    return n;
}

#define PARTS TAKE(4, 3, "j", "[0, 1, 2]", 3) TAKE(5, 3, "j", "[3, 4, 5, 6]", 4)

static void a_product_read_in_parts_is_a_product_for_each(void **state)
{
    (void)state;
    const char *body = PARTS "  return output \"a\" = %4\n  return output \"b\" = %5\n";
    assert_int_equal(products_after(body, FUSE_FULL), 2);
    assert_int_equal(products_after(body, FUSE_NONE), 1);
}

static void a_product_that_is_also_read_whole_stays(void **state)
{
    (void)state;
    assert_int_equal(products_after(PARTS "  return output \"a\" = %4\n  return output \"b\" = %5\n"
                                          "  return output \"c\" = %3\n",
                                    FUSE_FULL),
                     1);
}

static void parts_that_overlap_stay(void **state)
{
    (void)state;
    assert_int_equal(
        products_after(TAKE(4, 3, "j", "[0, 1, 2, 3, 4]", 5)
                           TAKE(5, 3, "j", "[3, 4, 5, 6]",
                                4) "  return output \"a\" = %4\n  return output \"b\" = %5\n",
                       FUSE_FULL),
        1);
}

static void parts_with_zeros_and_of_positions_stay(void **state)
{
    (void)state;
    assert_int_equal(
        products_after(TAKE(4, 3, "j", "[0, -1, 2]", 3) "  return output \"a\" = %4\n", FUSE_FULL),
        1);
    assert_int_equal(products_after("  %4 = index %3 {axis=t, to=t, table=[1]} : f32[t=1, j=7]\n"
                                    "  return output \"a\" = %4\n",
                                    FUSE_FULL),
                     1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_read_in_parts_is_a_product_for_each),
        cmocka_unit_test(a_product_that_is_also_read_whole_stays),
        cmocka_unit_test(parts_that_overlap_stay),
        cmocka_unit_test(parts_with_zeros_and_of_positions_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
