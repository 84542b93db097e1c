/* models/dwiseneuro.nm on the reference evaluator against the golden cases: outputs, intermediate
 * values, loss and running statistics, in evaluation and training, also with given masks.
 *
 * Tolerance: the files were computed in float64 and rounded to float32 (6e-8); 1e-6 of a tensor's
 * largest element leaves room for another order of summation. */
#include "tests/models/golden_model.h"

static const double TOLERANCE = 1e-6;

static void assert_close(GoldenModel *g, const char *name, const EvalTensor *got)
{
    const SafetensorsEntry *e = golden_entry(g, name);
    double *want = ARENA_ARRAY(&g->arena, double, e->elems), largest = 0;
    safetensors_as_double(e, want);
    assert_int_equal(e->rank, got->shape.rank);
    for (uint32_t i = 0; i < e->rank; i++)
        assert_int_equal(e->shape[i], got->shape.size[i]);
    for (uint64_t i = 0; i < e->elems; i++)
        largest = fmax(largest, fabs(want[i]));
    for (uint64_t i = 0; i < e->elems; i++)
        if (!(fabs(got->at[i] - want[i]) <= TOLERANCE * largest))
            fail_msg("%s, element %llu: %.9g instead of %.9g", name, (unsigned long long)i,
                     got->at[i], want[i]);
}

static const EvalTensor *result(const GoldenModel *g, const Func *f, ResultRole role,
                                const EvalTensor *value, const char *name)
{
    const Result *r = func_find_result(f, role, name);
    if (!r)
        fail_msg("%s has no result %s in %s", g->module->model, name, f->name);
    return &value[r->val.id];
}

/* Every tensor "expect/<mode>/.." of the file but the loss. Returns how many there were. */
static int check_outputs(GoldenModel *g, const Func *f, const char *mode, const EvalTensor *value)
{
    const NameMap *map = names_find(&g->info, "golden");
    const char *prefix = arena_printf(&g->arena, "expect/%s/", mode);
    size_t len = strlen(prefix);
    int n = 0;
    for (size_t i = 0; i < g->st.n; i++) {
        const char *name = g->st.entry[i].name, *rest = name + len;
        if (strncmp(name, prefix, len) || !strcmp(rest, "loss") || strchr(rest, '/'))
            continue;
        const char *ours = names_map(&g->arena, g->module, map, rest);
        assert_non_null(ours);
        assert_close(g, name,
                     result(g, f, RESULT_OUTPUT, value, arena_printf(&g->arena, "probe/%s", ours)));
        if (!strncmp(rest, "mouse", 5))
            assert_close(g, name, result(g, f, RESULT_OUTPUT, value, rest));
        n++;
    }
    return n;
}

static void check_statistics(GoldenModel *g, const Func *f, const EvalTensor *value)
{
    int n = 0, n_states = 0;
    for (size_t i = 0; i < g->st.n; i++) {
        const char *name = g->st.entry[i].name, *dot = strrchr(name, '.');
        if (strncmp(name, "expect/after/", 13) || !dot ||
            (strcmp(dot, ".mean") && strcmp(dot, ".var")))
            continue;
        const char *ours =
            names_map(&g->arena, g->module, names_find(&g->info, "golden"), name + 13);
        assert_close(g, name, result(g, f, RESULT_STATE, value, ours));
        n++;
    }
    for (uint32_t i = 0; i < f->results.len; i++)
        n_states += f->results.at[i].role == RESULT_STATE;
    assert_int_equal(n, n_states);
    assert_true(n > 0);
}

static EvalTensor *evaluate(GoldenModel *g, const Func *f)
{
    EvalTensor *value;
    Err err = {0};
    if (eval_func(&g->arena, f, golden_leaf, g, &value, &err) != NPC_OK)
        fail_msg("%s: %s", f->name, err.text);
    return value;
}

static void check_case(const char *path)
{
    GoldenModel g;
    golden_open(&g, path, true);
    const Func *eval = module_func(g.module, "eval"), *train = module_func(g.module, "train");
    assert_null(module_verify(g.module, &g.arena));

    assert_true(check_outputs(&g, eval, "eval", evaluate(&g, eval)) > 2);
    EvalTensor *value = evaluate(&g, train);
    assert_true(check_outputs(&g, train, "train", value) > 2);
    assert_close(&g, "expect/train/loss", result(&g, train, RESULT_LOSS, value, "loss"));
    check_statistics(&g, train, value);
    golden_close(&g);
}

static void the_tiny_model_gives_the_published_numbers(void **state)
{
    (void)state;
    check_case("tests/goldens/dwiseneuro/tiny.safetensors");
}

static void odd_sizes_and_shrinking_widths_give_the_published_numbers(void **state)
{
    (void)state;
    check_case("tests/goldens/dwiseneuro/odd_sizes.safetensors");
}

static void distillation_targets_give_the_published_numbers(void **state)
{
    (void)state;
    check_case("tests/goldens/dwiseneuro/distilled.safetensors");
}

static void nine_blocks_give_the_published_numbers(void **state)
{
    (void)state;
    check_case("tests/goldens/dwiseneuro/frames64.safetensors");
}

static void given_masks_give_the_published_numbers(void **state)
{
    GoldenModel g;
    (void)state;
    golden_open(&g, "tests/goldens/dwiseneuro/distilled.safetensors", false);
    const Func *train = module_func(g.module, "train");
    EvalTensor *value = evaluate(&g, train);
    assert_true(check_outputs(&g, train, "masked", value) > 2);
    assert_close(&g, "expect/masked/loss", result(&g, train, RESULT_LOSS, value, "loss"));
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tiny_model_gives_the_published_numbers),
        cmocka_unit_test(odd_sizes_and_shrinking_widths_give_the_published_numbers),
        cmocka_unit_test(distillation_targets_give_the_published_numbers),
        cmocka_unit_test(nine_blocks_give_the_published_numbers),
        cmocka_unit_test(given_masks_give_the_published_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
