/* Costs of the published model against specs/dwiseneuro.md, section 7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/cost.h"

/* `set`: an override, or NULL. */
static Model *open_model(const char *set, int64_t batch)
{
    ModelOptions o = {
        .path = "models/dwiseneuro.nm", .sets = &set, .n_sets = set != NULL, .batch = batch};
    Model *m;
    Err err = {0};
    if (model_open(&m, &o, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return m;
}

/* Multiply-adds of all parts whose name begins so. */
static int64_t part_cost(const Model *m, const char *prefix)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < m->module->parts.len; i++)
        if (!strncmp(m->module->parts.at[i], prefix, strlen(prefix)))
            sum += cost_multiply_adds(m, (int)i);
    return sum;
}

static void the_published_model_costs_what_the_paper_counts(void **state)
{
    (void)state;
    Model *m = open_model(NULL, 1);
    int64_t elems;
    assert_int_equal(cost_multiply_adds(m, -1), 16931237888);
    assert_int_equal(part_cost(m, "core"), 14261235712);
    assert_int_equal(part_cost(m, "cortex"), 85983232);
    assert_int_equal(part_cost(m, "readout"), 2584018944);
    model_n_parameters(m, &elems);
    assert_int_equal(elems, 170656070);
    model_close(m);
}

static void a_narrower_expansion_costs_less(void **state)
{
    (void)state;
    Model *m = open_model("expansion=6", 1);
    int64_t elems;
    assert_int_equal(cost_multiply_adds(m, -1), 14896840704);
    model_n_parameters(m, &elems);
    assert_int_equal(elems, 170058402);
    model_close(m);
}

static void the_cost_of_a_clip_does_not_depend_on_the_batch(void **state)
{
    (void)state;
    Model *m = open_model(NULL, 5);
    assert_int_equal(cost_multiply_adds(m, -1), 16931237888);
    model_close(m);
}

static void training_memory_holds_moments_and_average(void **state)
{
    (void)state;
    Model *m = open_model(NULL, 1);
    int step, average, predict;
    Err err = {0};
    assert_int_equal(model_add(m, PROGRAM_EVAL, &predict, &err), NPC_OK);
    assert_int_equal(model_add(m, PROGRAM_STEP, &step, &err), NPC_OK);
    assert_int_equal(model_add(m, PROGRAM_AVERAGE, &average, &err), NPC_OK);
    CostMemory train = cost_memory(m, engine_plan(m->engine, step), true);
    CostMemory eval = cost_memory(m, engine_plan(m->engine, predict), false);
    int64_t parameters = 4 * (int64_t)170656070;
    assert_int_equal(train.parameters, parameters);
    assert_int_equal(train.optimizer, 2 * parameters);
    assert_int_equal(train.average, parameters + train.states);
    assert_int_equal(train.total, train.parameters + train.states + train.optimizer +
                                      train.average + train.activations + train.prepared +
                                      train.inputs);
    assert_int_equal(eval.optimizer + eval.average, 0);
    assert_int_equal(eval.parameters, parameters);
    model_close(m);
}

static void fused_kernels_are_fewer_and_move_less(void **state)
{
    (void)state;
    double bytes[2];
    int kernels[2];
    for (int i = 0; i < 2; i++) {
        ModelOptions o = {
            .path = "models/dwiseneuro.nm", .batch = 1, .fuse = i ? FUSE_FULL : FUSE_NONE};
        Model *m;
        Err err = {0};
        int program;
        assert_int_equal(model_open(&m, &o, &err), NPC_OK);
        assert_int_equal(model_add(m, PROGRAM_STEP, &program, &err), NPC_OK);
        const Plan *plan = engine_plan(m->engine, program);
        bytes[i] = plan->bytes;
        kernels[i] = (int)plan->launches.len;
        assert_in_range(cost_distinct_kernels(plan), 1, kernels[i]);
        model_close(m);
    }
    assert_true(kernels[1] < kernels[0] && bytes[1] < bytes[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_model_costs_what_the_paper_counts),
        cmocka_unit_test(a_narrower_expansion_costs_less),
        cmocka_unit_test(the_cost_of_a_clip_does_not_depend_on_the_batch),
        cmocka_unit_test(training_memory_holds_moments_and_average),
        cmocka_unit_test(fused_kernels_are_fewer_and_move_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
