/* The engine on a small model of two recordings ("a", "b"; tests/golden/tiny_model.nm) and on
 * hand-built functions: sample ranges, absent recordings, threads, results that are views, prepared
 * values. Everything is run on the interpreter and, where there is one, on generated code;
 * `test_engine cuda` runs it on a CUDA device. */
#include "tests/unit/engine_subject.h"

/* ---- absent recordings, ranges ---- */

static void an_absent_recording_keeps_its_parameters(void **state)
{
    (void)state;
    static const char *const names[] = {"readout.b.weight", "readout.b.bias",
                                        "adam_m/readout.b.weight", "adam_v/readout.b.bias"};
    Subject s = open_program(PROGRAM_STEP);
    run_ranges(&s, both); /* moments that are not zero, a memory that is not fresh */
    float *before[4], *a, *core;
    size_t bytes[4], n_a, n_core;
    for (int i = 0; i < 4; i++)
        before[i] = tensor_copy(&s, names[i], &bytes[i]);
    a = tensor_copy(&s, "readout.a.weight", &n_a);
    core = tensor_copy(&s, "core.spatial.weight", &n_core);
    run_ranges(&s, only_a);
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(engine_tensor(s.e, names[i]), before[i], bytes[i]);
        free(before[i]);
    }
    assert_memory_not_equal(engine_tensor(s.e, "readout.a.weight"), a, n_a);
    assert_memory_not_equal(engine_tensor(s.e, "core.spatial.weight"), core, n_core);
    free(a);
    free(core);
    model_close(s.model);
}

/* Largest difference of a tensor's elements, in parts of its largest; 0 for what is 0 in both. */
static double distance(const Subject *x, const Subject *y, const Param *p)
{
    const float *a = engine_tensor(x->e, p->name), *b = engine_tensor(y->e, p->name);
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < shape_elems(&p->shape); i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst > 0 ? worst / fmax(largest, 1e-5) : 0;
}

/* Moments and statistics, not parameters: a gradient that is 0 but for rounding moves these as far
 * as any other. */
static void steps_of_changing_recordings_are_those_of_the_cpu(void **state)
{
    (void)state;
    const SampleRange *of_step[] = {only_a, parts, both, only_a};
    const char *own = device;
    Subject x = open_with_threads(PROGRAM_STEP, 2), y;
    int average = also(&x, PROGRAM_AVERAGE);
    ready(&x);
    device = NULL;
    y = open_with_threads(PROGRAM_STEP, 2);
    assert_int_equal(also(&y, PROGRAM_AVERAGE), average);
    ready(&y);
    device = own;
    const Module *m = x.model->module;
    for (int step = 0; step < 4; step++) {
        const Subject *const subject[] = {&x, &y};
        for (int i = 0; i < 2; i++) {
            fill_inputs(subject[i], subject[i]->program, of_step[step]);
            *engine_input(subject[i]->e, subject[i]->program, "rate") = 1e-4f;
            run(subject[i]->e, subject[i]->program, of_step[step]);
        }
        for (uint32_t i = 0; i < m->params.len; i++) {
            const Param *p = &m->params.at[i];
            bool is_moment = !strncmp(p->name, "adam_", 5);
            if ((is_moment || p->is_state) && distance(&x, &y, p) > 2e-3)
                fail_msg("step %d: %s is off by %g", step, p->name, distance(&x, &y, p));
            if (!step && is_moment && strstr(p->name, "/readout.b."))
                assert_true(engine_tensor(x.e, p->name)[0] == 0);
        }
    }
    run(x.e, average, NULL);
    run(y.e, average, NULL);
    for (uint32_t i = 0; i < m->params.len; i++)
        if (!strncmp(m->params.at[i].name, "ema/", 4))
            assert_true(distance(&x, &y, &m->params.at[i]) < 2e-3);
    model_close(x.model);
    model_close(y.model);
}

static void an_absent_recording_adds_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"core.spatial.weight", "core.layer0.mix.weight",
                                        "core.layer1.norm.scale", "readout.a.weight"};
    int64_t n;
    Subject s = open_program(PROGRAM_GRAD);
    fill_inputs(&s, s.program, only_a); /* weights of zero for "b" */
    run(s.e, s.program, both);
    float *want[4], *loss = result_of(&s, RESULT_LOSS, "loss", &n);
    for (int i = 0; i < 4; i++)
        want[i] = result_of(&s, RESULT_GRAD, names[i], &n);

    run_ranges(&s, both); /* leaves contributions of "b" behind */
    run_ranges(&s, only_a);
    float *got = result_of(&s, RESULT_LOSS, "loss", &n);
    assert_true(*got == *loss && *loss > 0);
    free(got);
    got = result_of(&s, RESULT_OUTPUT, "loss/b", &n);
    assert_true(*got == 0);
    free(got);
    free(loss);
    for (int i = 0; i < 4; i++) {
        got = result_of(&s, RESULT_GRAD, names[i], &n);
        for (int64_t k = 0; k < n; k++)
            assert_true(got[k] == want[i][k]);
        free(got);
        free(want[i]);
    }
    model_close(s.model);
}

static void a_range_predicts_the_same_as_the_whole_batch(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    int64_t n;
    Subject s = open_program(PROGRAM_EVAL);
    run_ranges(&s, both);
    float *whole[] = {result_of(&s, RESULT_OUTPUT, "a", &n), result_of(&s, RESULT_OUTPUT, "b", &n)};
    run_ranges(&s, parts);
    for (int k = 0; k < 2; k++) {
        float *got = result_of(&s, RESULT_OUTPUT, names[k], &n);
        int64_t per = n / BATCH, from = parts[k].first * per, to = from + parts[k].count * per;
        assert_true(whole[k][0] != 0);
        for (int64_t i = from; i < to; i++)
            assert_true(got[i] == whole[k][i]);
        free(got);
        free(whole[k]);
    }
    model_close(s.model);
}

static void ranges_give_the_gradients_of_their_samples(void **state)
{
    (void)state;
    Subject s = open_program(PROGRAM_GRAD);
    const Func *f = engine_plan(s.e, s.program)->f;
    fill_inputs(&s, s.program, parts);
    run(s.e, s.program, NULL); /* other samples have weight zero */
    float *want[64] = {0};
    int64_t n;
    assert_true(f->results.len < 64);
    for (uint32_t i = 0; i < f->results.len; i++)
        if (f->results.at[i].role == RESULT_GRAD)
            want[i] = result_of(&s, RESULT_GRAD, f->results.at[i].name, &n);
    run_ranges(&s, both);
    run_ranges(&s, parts);
    for (uint32_t i = 0; i < f->results.len; i++) {
        if (!want[i])
            continue;
        float *got = result_of(&s, RESULT_GRAD, f->results.at[i].name, &n), largest = 0;
        for (int64_t k = 0; k < n; k++)
            largest = fmaxf(largest, fabsf(want[i][k]));
        for (int64_t k = 0; k < n; k++)
            assert_true(fabsf(got[k] - want[i][k]) <= 1e-5f * largest + 1e-9f);
        free(got);
        free(want[i]);
    }
    model_close(s.model);
}

/* ---- threads, accumulation ---- */

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    Subject s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = open_with_threads(PROGRAM_STEP, i + 1);
        ready(&s[i]);
        assert_int_equal(engine_threads(s[i].e), i + 1);
        run_ranges(&s[i], both);
        run_ranges(&s[i], parts);
    }
    assert_true(same_tensors(&s[0], &s[1], ""));
    assert_true(same_tensors(&s[0], &s[2], ""));
    for (int i = 0; i < 3; i++)
        model_close(s[i].model);
}

static void an_accumulated_step_is_a_step(void **state)
{
    (void)state;
    Subject step = open_program(PROGRAM_STEP);
    Subject s = open_with_threads(PROGRAM_ACCUMULATE, 2);
    int update = also(&s, PROGRAM_UPDATE);
    ready(&s);
    run_ranges(&step, only_a);
    run_ranges(&s, only_a);
    static const char *const scalar[] = {"rate", "bias1", "bias2", "bias1/a", "bias2/a"};
    for (int i = 0; i < 5; i++)
        *engine_input(s.e, update, scalar[i]) = 0.1f;
    run(s.e, update, only_a);
    assert_true(same_tensors(&step, &s, "readout.b"));
    const Module *m = step.model->module;
    for (uint32_t i = 0; i < m->params.len; i++) {
        const Param *p = &m->params.at[i];
        const float *x = engine_tensor(step.e, p->name), *y = engine_tensor(s.e, p->name);
        for (int64_t k = 0; k < shape_elems(&p->shape); k++)
            assert_true(fabsf(x[k] - y[k]) <= 1e-5f);
    }
    model_close(step.model);
    model_close(s.model);
}

/* ---- prepared values ---- */

static void write_other_values(const Subject *s)
{
    float *w = engine_tensor(s->e, "core.layer0.mix.weight");
    float *v = engine_tensor(s->e, "core.layer1.norm.var");
    for (int i = 0; i < 4; i++)
        w[i] = 1.5f - (float)i;
    for (int i = 0; i < 6; i++)
        v[i] = 2;
    *engine_tensor(s->e, "core.frequencies") = 2; /* of the position table, which is prepared */
}

static void prepared_values_follow_the_tensors(void **state)
{
    (void)state;
    int64_t n;
    Subject s = open_program(PROGRAM_EVAL), fresh = open_program(PROGRAM_EVAL);
    assert_true(engine_plan(s.e, s.program)->n_prepare > 0);
    run_ranges(&s, both);
    float *before = result_of(&s, RESULT_OUTPUT, "a", &n);
    write_other_values(&s);
    run_ranges(&s, both);
    float *stale = result_of(&s, RESULT_OUTPUT, "a", &n); /* the table is still the old one */
    engine_tensors_changed(s.e);
    run_ranges(&s, both);
    write_other_values(&fresh);
    run_ranges(&fresh, both);
    float *after = result_of(&s, RESULT_OUTPUT, "a", &n);
    float *want = result_of(&fresh, RESULT_OUTPUT, "a", &n);
    assert_memory_not_equal(before, after, (size_t)n * sizeof *after);
    assert_memory_not_equal(stale, after, (size_t)n * sizeof *after);
    assert_memory_equal(want, after, (size_t)n * sizeof *after);
    free(before);
    free(stale);
    free(after);
    free(want);
    model_close(s.model);
    model_close(fresh.model);
}

static void predictions_after_a_step_use_its_parameters(void **state)
{
    (void)state;
    int64_t n;
    Subject s = open_with_threads(PROGRAM_EVAL, 2), fresh = open_program(PROGRAM_EVAL);
    int step = also(&s, PROGRAM_STEP);
    ready(&s);
    run_ranges(&s, both);
    fill_inputs(&s, step, both);
    run(s.e, step, both);
    run_ranges(&s, both);
    const Module *m = fresh.model->module;
    for (uint32_t i = 0; i < m->params.len; i++)
        memcpy(engine_tensor(fresh.e, m->params.at[i].name),
               engine_tensor(s.e, m->params.at[i].name),
               (size_t)shape_elems(&m->params.at[i].shape) * sizeof(float));
    engine_tensors_changed(fresh.e);
    run_ranges(&fresh, both);
    float *got = result_of(&s, RESULT_OUTPUT, "b", &n);
    float *want = result_of(&fresh, RESULT_OUTPUT, "b", &n);
    assert_memory_equal(got, want, (size_t)n * sizeof *got);
    free(got);
    free(want);
    model_close(s.model);
    model_close(fresh.model);
}

/* ---- results that are views, launch times ---- */

static const char VIEWS[] =
    "module \"views\"\n"
    "param \"w\" : f32[c=6, k=3] normal(0, 1)\n"
    "func eval() {\n"
    "  %1 = input {name=\"x\"} : f32[b=2, k=3, t=2, h=2, w=3]\n"
    "  %2 = param {name=\"w\"} : f32[c=6, k=3]\n"
    "  %3 = contract %1 %2 {over=[k], out=[b, c, t, h, w]} : f32[b=2, c=6, t=2, h=2, w=3]\n"
    "  %4 = rename %3 {axis=c, to=n} : f32[b=2, n=6, t=2, h=2, w=3]\n"
    "  %5 = split %3 {axis=c, outer=g, inner=e, size=2} : f32[b=2, g=2, e=3, t=2, h=2, w=3]\n"
    "  %6 = merge %3 {to=p, outer=h, inner=w} : f32[b=2, c=6, t=2, p=6]\n"
    "  %7 = merge %3 {to=p, outer=w, inner=h} : f32[b=2, c=6, t=2, p=6]\n"
    "  %8 = reorder %3 {out=[w, t, c, h, b]} : f32[w=3, t=2, c=6, h=2, b=2]\n"
    "  %9 = rename %1 {axis=k, to=c} : f32[b=2, c=3, t=2, h=2, w=3]\n"
    "  %10 = merge %5 {to=c, outer=e, inner=g} : f32[b=2, c=6, t=2, h=2, w=3]\n"
    "  return output \"product\" = %3\n"
    "  return output \"renamed\" = %4\n"
    "  return output \"split\" = %5\n"
    "  return output \"merged\" = %6\n"
    "  return output \"crossed\" = %7\n"
    "  return output \"reordered\" = %8\n"
    "  return output \"input\" = %9\n"
    "  return output \"shuffled\" = %10\n"
    "}\n";

static bool leaf_value(void *context, const Node *leaf, double *at)
{
    (void)context;
    uint64_t random = leaf->op;
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        at[i] = (float)test_uniform(&random);
    return true;
}

static void copy_leaf(const Node *leaf, float *to)
{
    double value[256];
    assert_true(shape_elems(&leaf->shape) <= 256);
    leaf_value(NULL, leaf, value);
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        to[i] = (float)value[i];
}

typedef struct Small {
    TestFunc *t;
    Module *m;
    Engine *e;
    int program;
} Small;

static Small open_text(const char *text, FuseLevel fuse)
{
    Small s = {.t = test_func()};
    Err err = {0};
    EngineOptions o = {.threads = 2, .interpret = interpret};
    s.m = module_parse(&s.t->arena, &s.t->names, &s.t->diags, "text", text, strlen(text));
    if (!s.m)
        fail_msg("%s", test_log(s.t));
    assert_true(target_find(NULL, &o.target, &err));
    assert_int_equal(device_find(device, &o, NULL, &err), NPC_OK);
    PassOptions p = {.fuse = fuse, .target = device_traits(&o), .verify = true};
    Func *f = passes_run(s.m, PROGRAM_EVAL, &p);
    assert_non_null(f);
    assert_int_equal(engine_create(&s.e, s.m, &o, &err), NPC_OK);
    Plan *plan = plan_build(&s.t->arena, f, PROGRAM_EVAL, &p, engine_cost, s.e);
    if (engine_add(s.e, plan, &s.program, &err) != NPC_OK || engine_ready(s.e, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return s;
}

static void close_text(Small *s)
{
    engine_free(s->e);
    test_done(s->t);
}

static void check_results(const Small *s)
{
    const Func *f = module_func(s->m, "eval");
    EvalTensor *value;
    Err err = {0};
    float got[1024];
    assert_int_equal(eval_func(&s->t->arena, f, leaf_value, NULL, &value, &err), NPC_OK);
    for (uint32_t i = 0; i < f->results.len; i++) {
        const Result *r = &f->results.at[i];
        int64_t n = shape_elems(func_shape(f, r->val));
        assert_true(n <= 1024);
        if (engine_read(s->e, s->program, r->role, r->name, got, &err) != NPC_OK)
            fail_msg("%s", err.text);
        for (int64_t k = 0; k < n; k++)
            if (!(fabs(got[k] - value[r->val.id].at[k]) < 1e-5))
                fail_msg("'%s'[%d] is %g, not %g", r->name, (int)k, got[k], value[r->val.id].at[k]);
    }
}

static void results_that_are_views_are_read(void **state)
{
    (void)state;
    for (int fuse = FUSE_NONE; fuse <= FUSE_FULL; fuse++) {
        Small s = open_text(VIEWS, (FuseLevel)fuse);
        const Func *f = module_func(s.m, "eval");
        copy_leaf(&f->nodes.at[1], engine_input(s.e, s.program, "x"));
        copy_leaf(&f->nodes.at[2], engine_tensor(s.e, "w"));
        engine_tensors_changed(s.e);
        run(s.e, s.program, NULL);
        check_results(&s);
        float out[1];
        Err err = {0};
        assert_int_equal(engine_read(s.e, s.program, RESULT_OUTPUT, "absent", out, &err),
                         NPC_ERR_INTERNAL);
        assert_string_equal(err.text, "the program does not store 'absent'");
        assert_int_equal(engine_read(s.e, s.program, RESULT_LOSS, "product", out, &err),
                         NPC_ERR_INTERNAL);
        assert_null(engine_input(s.e, s.program, "y"));
        assert_null(engine_tensor(s.e, "v"));
        close_text(&s);
    }
}

static void launches_are_timed_on_request(void **state)
{
    (void)state;
    Small s = open_text(VIEWS, FUSE_NONE);
    assert_null(engine_launch_seconds(s.e, s.program));
    run(s.e, s.program, NULL);
    engine_time_launches(s.e, s.program, true);
    const double *seconds = engine_launch_seconds(s.e, s.program);
    assert_true(seconds[0] == 0);
    run(s.e, s.program, NULL);
    assert_true(seconds[0] > 0 && seconds[0] < 60);
    engine_time_launches(s.e, s.program, false);
    assert_null(engine_launch_seconds(s.e, s.program));
    close_text(&s);
}

static void memory_is_that_of_the_plans(void **state)
{
    (void)state;
    Subject s = open_with_threads(PROGRAM_EVAL, 1);
    int step = also(&s, PROGRAM_STEP);
    ready(&s);
    EngineMemory m = engine_memory(s.e);
    const Plan *p[] = {engine_plan(s.e, s.program), engine_plan(s.e, step)};
    size_t larger = p[p[0]->arena_bytes < p[1]->arena_bytes]->arena_bytes;
    assert_true(m.arena >= larger && m.arena < larger + 4096);
    assert_true(m.inputs >= p[0]->input_bytes + p[1]->input_bytes);
    assert_true(m.prepared >= p[0]->prepared_bytes && p[1]->prepared_bytes == 0);
    assert_true(m.persistent > 0);
    model_close(s.model);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_absent_recording_keeps_its_parameters),
        cmocka_unit_test(steps_of_changing_recordings_are_those_of_the_cpu),
        cmocka_unit_test(an_absent_recording_adds_nothing),
        cmocka_unit_test(a_range_predicts_the_same_as_the_whole_batch),
        cmocka_unit_test(ranges_give_the_gradients_of_their_samples),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(an_accumulated_step_is_a_step),
        cmocka_unit_test(prepared_values_follow_the_tensors),
        cmocka_unit_test(predictions_after_a_step_use_its_parameters),
        cmocka_unit_test(results_that_are_views_are_read),
        cmocka_unit_test(launches_are_timed_on_request),
        cmocka_unit_test(memory_is_that_of_the_plans),
    };
    return run_everywhere(tests, sizeof tests / sizeof *tests, argc, argv);
}
