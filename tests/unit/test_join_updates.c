/* passes/join_updates.c: which updates become one launch. Functions are written as text. */
#include "passes/plan.h"
#include "tests/ops/ir_harness.h"

static const char TABLES[] = "module \"m\"\n"
                             "session \"a\" neurons 3\n"
                             "session \"b\" neurons 3\n"
                             "param \"w\" : f32[c=5, d=3] normal(0, 1)\n"
                             "param \"u\" : f32[c=5, d=3] normal(0, 1)\n"
                             "param \"v\" : f32[c=7] normal(0, 1)\n"
                             "param \"big\" : f32[p=600, q=1000] normal(0, 1)\n"
                             "state \"s\" : f32[e=15] constant(0)\n";

#define X "  %1 = input {name=\"x\"} : f32[b=2, c=5, d=3]\n"
#define Y "  %2 = input {name=\"y\"} : f32[b=2, c=7]\n"

static Plan *plan_of(TestFunc *t, const char *body, FuseLevel fuse, TargetTraits target)
{
    Arena *a = &t->arena;
    const char *text = arena_printf(a, "%sfunc step() {\n%s}\n", TABLES, body);
    Module *m = module_parse(a, &t->names, &t->diags, "text", text, strlen(text));
    PassOptions o = {.fuse = fuse, .target = target};
    if (!m)
        fail_msg("%s", test_log(t));
    Plan *plan = plan_build(a, m->funcs.at[0], PROGRAM_STEP, &o, NULL, NULL);
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const char *bad = tile_verify(plan->launches.at[i].tile, a);
        if (bad)
            fail_msg("launch %u: %s", i, bad);
    }
    return plan;
}

/* The only launch whose program has members; NULL: there is none. */
static const Launch *joined(const Plan *plan)
{
    const Launch *found = NULL;
    for (uint32_t i = 0; i < plan->launches.len; i++)
        if (plan->launches.at[i].tile->members.len) {
            assert_null(found);
            found = &plan->launches.at[i];
        }
    return found;
}

/* Of w, and of v for recording "b", with other factors. */
static const char UPDATES[] = X Y "  %3 = param {name=\"w\"} : f32[c=5, d=3]\n"
                                  "  %4 = sum %1 {over=[b], k=[1]} : f32[c=5, d=3]\n"
                                  "  %5 = lerp %3 %4 {k=[0.9, 0.1]} : f32[c=5, d=3]\n"
                                  "  %6 = param {name=\"v\"} : f32[c=7] @session 1\n"
                                  "  %7 = sum %2 {over=[b], k=[1]} : f32[c=7] @session 1\n"
                                  "  %8 = lerp %6 %7 {k=[0.5, 0.25]} : f32[c=7] @session 1\n"
                                  "  return state \"w\" = %5\n"
                                  "  return state \"v\" = %8\n";

static void updates_of_any_shape_and_recording_are_one_launch(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Plan *plan = plan_of(t, UPDATES, FUSE_FULL, traits_cuda());
    const Launch *l = joined(plan);
    assert_non_null(l);
    assert_int_equal(plan->launches.len, 3);
    assert_int_equal(l->session, -1);
    assert_int_equal(l->tile->members.len, 2);
    const TileMember *w = &l->tile->members.at[0], *v = &l->tile->members.at[1];
    assert_int_equal(w->size, 15);
    assert_int_equal(w->session, -1);
    assert_int_equal(v->size, 7);
    assert_int_equal(v->session, 1);
    assert_true(w->number[0] == 0.9 && v->number[0] == 0.5);
    assert_string_equal(l->tile->name, "lerp of 2 tensors");
    for (uint32_t i = 0; i < plan->launches.len; i++) /* who reads the sum is skipped with it */
        assert_int_equal(plan->launches.at[i].clear.len, 0);
    assert_true(l->bytes == (15 + 7) * 3 * sizeof(float));
    test_done(t);
}

static void where_launches_cost_nothing_they_stay_apart(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        TestFunc *t = test_func();
        Plan *plan = plan_of(t, UPDATES, i ? FUSE_ELEMENTWISE : FUSE_FULL,
                             i ? traits_cuda() : traits_cpu(4));
        assert_null(joined(plan));
        test_done(t);
    }
}

/* The second reads what the first overwrites; or something else reads the first's result. */
static void updates_that_wait_for_each_other_stay_apart(void **state)
{
    (void)state;
    static const char *const bodies[] = {"  %1 = param {name=\"w\"} : f32[c=5, d=3]\n"
                                         "  %2 = merge %1 {to=e, outer=c, inner=d} : f32[e=15]\n"
                                         "  %3 = param {name=\"u\"} : f32[c=5, d=3]\n"
                                         "  %4 = lerp %1 %3 {k=[0.9, 0.1]} : f32[c=5, d=3]\n"
                                         "  %5 = state {name=\"s\"} : f32[e=15]\n"
                                         "  %6 = lerp %5 %2 {k=[0.9, 0.1]} : f32[e=15]\n"
                                         "  return state \"w\" = %4\n"
                                         "  return state \"s\" = %6\n",
                                         X "  %2 = param {name=\"w\"} : f32[c=5, d=3]\n"
                                           "  %3 = lerp %2 %2 {k=[0.9, 0.1]} : f32[c=5, d=3]\n"
                                           "  %4 = mul %1 %3 : f32[b=2, c=5, d=3]\n"
                                           "  %5 = param {name=\"u\"} : f32[c=5, d=3]\n"
                                           "  %6 = lerp %5 %5 {k=[0.9, 0.1]} : f32[c=5, d=3]\n"
                                           "  return state \"w\" = %3\n"
                                           "  return state \"u\" = %6\n"
                                           "  return output \"y\" = %4\n"};
    for (int i = 0; i < 2; i++) {
        TestFunc *t = test_func();
        Plan *plan = plan_of(t, bodies[i], FUSE_FULL, traits_cuda());
        assert_true(plan->launches.len >= 2);
        assert_null(joined(plan));
        test_done(t);
    }
}

/* 2.4 MB that a kernel makes stay in memory while they wait; what lies there anyway need not. */
static void large_gradients_do_not_wait(void **state)
{
    (void)state;
    static const char *const source[] = {"  %3 = input {name=\"z\"} : f32[b=2, p=600, q=1000]\n"
                                         "  %4 = sum %3 {over=[b], k=[1]} : f32[p=600, q=1000]\n",
                                         "  %3 = input {name=\"z\"} : f32[b=2, p=600, q=1000]\n"
                                         "  %4 = input {name=\"g\"} : f32[p=600, q=1000]\n"};
    for (int i = 0; i < 2; i++) {
        TestFunc *t = test_func();
        const char *body = arena_printf(&t->arena,
                                        "%s%s%s"
                                        "  %%5 = param {name=\"big\"} : f32[p=600, q=1000]\n"
                                        "  %%6 = lerp %%5 %%4 {k=[0.9, 0.1]} : f32[p=600, q=1000]\n"
                                        "  %%7 = param {name=\"v\"} : f32[c=7]\n"
                                        "  %%8 = sum %%2 {over=[b], k=[1]} : f32[c=7]\n"
                                        "  %%9 = lerp %%7 %%8 {k=[0.9, 0.1]} : f32[c=7]\n"
                                        "  return state \"big\" = %%6\n"
                                        "  return state \"v\" = %%9\n",
                                        X, Y, source[i]);
        Plan *plan = plan_of(t, body, FUSE_FULL, traits_cuda());
        assert_int_equal(joined(plan) != NULL, i);
        test_done(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_of_any_shape_and_recording_are_one_launch),
        cmocka_unit_test(where_launches_cost_nothing_they_stay_apart),
        cmocka_unit_test(updates_that_wait_for_each_other_stay_apart),
        cmocka_unit_test(large_gradients_do_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
