/* passes/precise.c: what stays float32 in every precision, in storage and in products. */
#include "passes/plan.h"
#include "tests/ops/ir_harness.h"

static const PassOptions BF16 = {.precision = PRECISION_BF16, .gradient_factor = 1};

static const char *name(TestFunc *t, const char *text)
{
    return name_intern(&t->names, text);
}

/* x times a parameter, over the axis `over`; `out` are the axes of the result. */
static Val dense(TestFunc *t, Val x, const char *param, const char *shape, const char *over,
                 const char *out)
{
    AxisList sum = test_axes(t, over), axes = test_axes(t, out);
    Val y = func_contract(t->f, x, test_param(t, param, shape), &sum, &axes);
    assert_int_not_equal(y.id, 0);
    return y;
}

/* map [b p d] read at positions [b t n] -> [b t n d] */
static Val read_at(TestFunc *t, Val map, Val at)
{
    Val y = func_emit(t->f, OP_GATHER, &(Attrs){.axis = name(t, "p")}, (Val[]){map, at}, 2);
    assert_int_not_equal(y.id, 0);
    func_result(t->f, RESULT_OUTPUT, "y", y);
    return y;
}

static Plan *plan(TestFunc *t, Layouts *l)
{
    PassOptions o = BF16;
    o.target = traits_cuda();
    t->f->module->batch_axis = name(t, "b");
    *l = layouts_choose(&t->arena, t->f, &o);
    return plan_build(&t->arena, t->f, PROGRAM_FORWARD, &o, NULL, NULL);
}

static MathMode math_of(const Plan *p, Val v)
{
    for (uint32_t i = 0; i < p->launches.len; i++)
        for (uint32_t k = 0; k < p->launches.at[i].values.len; k++)
            if (p->launches.at[i].values.at[k].id == v.id)
                return p->launches.at[i].tile->math;
    fail_msg("value %d is not computed", (int)v.id);
    return MATH_F32;
}

static void positions_are_float32_and_maps_are_not(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Layouts l;
    Val eye = test_input(t, "eye", "b=2 t=3 k=4");
    Val hidden = func_emit1(t->f, OP_TANH, dense(t, eye, "v", "m=6 k=4", "k", "b t m"));
    Val at = dense(t, hidden, "w", "n=5 m=6", "m", "b t n");
    Val map = dense(t, test_input(t, "x", "b=2 p=7 c=3"), "u", "d=8 c=3", "c", "b p d");
    Val y = dense(t, read_at(t, map, at), "o", "e=2 d=8", "d", "b t n e");
    func_result(t->f, RESULT_OUTPUT, "z", y);
    Plan *p = plan(t, &l);
    assert_int_equal(l.of[hidden.id].type, STORAGE_F32);
    assert_int_equal(l.of[at.id].type, STORAGE_F32);
    assert_int_equal(math_of(p, at), MATH_F32);
    assert_int_equal(l.of[map.id].type, STORAGE_BF16);
    assert_int_equal(math_of(p, map), MATH_BF16);
    assert_int_equal(math_of(p, y), MATH_BF16);
    test_done(t);
}

/* What is read at one place may be made of what was read at another, as a cropped picture is. */
static void positions_before_a_map_are_float32(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Layouts l;
    Val eye = test_input(t, "eye", "b=2 t=3 k=4");
    Val first = dense(t, eye, "v", "n=5 k=4", "k", "b t n");
    Val read = read_at(t, test_input(t, "x", "b=2 p=7 c=3"), first);
    Val mean = func_sum(t->f, read, &(AxisList){.n = 1, .name = {name(t, "t")}}, 1);
    Val map =
        func_rename(t->f, dense(t, mean, "u", "d=8 c=3", "c", "b n d"), name(t, "n"), name(t, "p"));
    Val second = dense(t, eye, "w", "n=6 k=4", "k", "b t n");
    func_result(t->f, RESULT_OUTPUT, "z", read_at(t, map, second));
    plan(t, &l);
    assert_int_equal(l.of[first.id].type, STORAGE_F32);
    assert_int_equal(l.of[second.id].type, STORAGE_F32);
    assert_int_equal(l.of[map.id].type, STORAGE_BF16);
    test_done(t);
}

/* Positions that a core predicts do not take the core along; what they share with the map and no
 * parameter has touched is theirs. */
static void a_core_that_predicts_positions_is_in_16_bits(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Layouts l;
    Val given = func_emit1(t->f, OP_EXP, test_input(t, "x", "b=2 p=7 c=3"));
    Val core = dense(t, given, "u", "d=8 c=3", "c", "b p d");
    Val frames = func_rename(t->f, core, name(t, "p"), name(t, "t"));
    Val at = dense(t, frames, "w", "n=5 d=8", "d", "b t n");
    read_at(t, core, at);
    Plan *p = plan(t, &l);
    assert_int_equal(l.of[given.id].type, STORAGE_F32);
    assert_int_equal(l.of[core.id].type, STORAGE_BF16);
    assert_int_equal(math_of(p, core), MATH_BF16);
    assert_int_equal(l.of[at.id].type, STORAGE_F32);
    test_done(t);
}

/* A gradient depends on positions and on parameters; reading it at places does not make it a map.
 */
static void gradients_read_at_places_leave_positions_float32(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Layouts l;
    Val at = dense(t, test_input(t, "eye", "b=2 t=3 k=4"), "w", "n=5 k=4", "k", "b t n");
    Val y = read_at(t, test_input(t, "x", "b=2 p=7 c=3"), at);
    t->f->backward = true;
    Val dy = dense(t, func_emit2(t->f, OP_MUL, y, at), "o", "d=8 c=3", "c", "b t n d");
    Val places = test_input(t, "places", "b=2 q=4");
    read_at(t, func_rename(t->f, dy, name(t, "n"), name(t, "p")), places);
    plan(t, &l);
    assert_int_equal(l.of[at.id].type, STORAGE_F32);
    assert_int_equal(l.of[dy.id].type, STORAGE_BF16);
    test_done(t);
}

static void the_loss_and_what_it_compares_are_float32(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Layouts l;
    Val y = dense(t, test_input(t, "x", "b=2 t=3 c=4"), "w", "n=5 c=4", "c", "b t n");
    Val rate = func_emit1(t->f, OP_EXP, y);
    t->f->part = module_part(t->f->module, "loss");
    Val off = func_emit2(t->f, OP_SUB, rate, test_input(t, "target", "b=2 t=3 n=5"));
    Val square = func_emit1(t->f, OP_SQUARE, off);
    t->f->backward = true;
    Val back = func_emit2(t->f, OP_MUL, off, rate);
    t->f->part = -1;
    Val behind = func_emit2(t->f, OP_MUL, back, rate);
    func_result(t->f, RESULT_OUTPUT, "behind", behind);
    t->f->module->batch_axis = name(t, "b");
    l = layouts_choose(&t->arena, t->f, &BF16);
    assert_int_equal(l.of[y.id].type, STORAGE_BF16);
    assert_int_equal(l.of[rate.id].type, STORAGE_F32);
    assert_int_equal(l.of[off.id].type, STORAGE_F32);
    assert_int_equal(l.of[square.id].type, STORAGE_F32);
    assert_int_equal(l.of[back.id].type, STORAGE_F32);
    assert_int_equal(l.of[behind.id].type, STORAGE_BF16);
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_float32_and_maps_are_not),
        cmocka_unit_test(positions_before_a_map_are_float32),
        cmocka_unit_test(a_core_that_predicts_positions_is_in_16_bits),
        cmocka_unit_test(gradients_read_at_places_leave_positions_float32),
        cmocka_unit_test(the_loss_and_what_it_compares_are_float32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
