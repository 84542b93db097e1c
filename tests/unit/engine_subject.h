/* A small model of two recordings ("a", "b") on an engine, for tests. */
#ifndef NPC_TESTS_ENGINE_SUBJECT_H
#define NPC_TESTS_ENGINE_SUBJECT_H

#include "runtime/model.h"
#include "tests/ops/ir_harness.h"

enum { BATCH = 5 };

static bool interpret;
static const char *device; /* NULL: the CPU */
static const char *subject_path = "tests/golden/tiny_model.nm";

/* ---- a model with its programs ---- */

typedef struct Subject {
    Model *model;
    Engine *e;
    int program;
} Subject;

static inline Subject open_with_threads(ProgramKind kind, int threads)
{
    Subject s = {0};
    Err err = {0};
    ModelOptions o = {.path = subject_path,
                      .batch = BATCH,
                      .fuse = FUSE_FULL,
                      .threads = threads,
                      .interpret = interpret,
                      .device = device,
                      .no_cache = true,
                      .verify_passes = true};
    if (model_open(&s.model, &o, &err) != NPC_OK ||
        model_add(s.model, kind, &s.program, &err) != NPC_OK)
        fail_msg("%s", err.text);
    s.e = s.model->engine;
    return s;
}

static inline void ready(Subject *s)
{
    Err err = {0};
    if (model_ready(s->model, &err) != NPC_OK)
        fail_msg("%s", err.text);
    model_initialise(s->model, 11);
}

static inline Subject open_program(ProgramKind kind)
{
    Subject s = open_with_threads(kind, 2);
    ready(&s);
    return s;
}

static inline int also(Subject *s, ProgramKind kind)
{
    Err err = {0};
    int program = 0;
    if (model_add(s->model, kind, &program, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return program;
}

/* Runs a program, and brings the tensors to the host. */
static inline void run(Engine *e, int program, const SampleRange *ranges)
{
    Err err = {0};
    if (engine_run(e, program, ranges, &err) != NPC_OK || engine_fetch(e, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

static inline int64_t elems_of(const Subject *s, int program, const char *input)
{
    const Func *f = engine_plan(s->e, program)->f;
    for (uint32_t i = 1; i < f->nodes.len; i++)
        if (f->nodes.at[i].op == OP_INPUT && !strcmp(f->nodes.at[i].attrs.name, input))
            return shape_elems(&f->nodes.at[i].shape);
    fail_msg("no input '%s'", input);
    return 0;
}

static inline void fill_input(const Subject *s, int program, const char *name, double low,
                              double high)
{
    float *at = engine_input(s->e, program, name);
    uint64_t random = (uint64_t)strlen(name);
    int64_t n = elems_of(s, program, name);
    assert_non_null(at);
    for (int64_t i = 0; i < n; i++)
        at[i] = (float)(low + (high - low) * test_uniform(&random));
}

/* Clip, targets and rates; the samples of `ranges` weigh the same, all others nothing. */
static inline void fill_inputs(const Subject *s, int program, const SampleRange ranges[2])
{
    static const char *const scalar[] = {"rate",    "bias1",   "bias2",  "bias1/a",
                                         "bias2/a", "bias1/b", "bias2/b"};
    double total = (double)(ranges[0].count + ranges[1].count);
    fill_input(s, program, "clip", -1, 1);
    if (!engine_input(s->e, program, "share/a"))
        return;
    for (int k = 0; k < 2; k++) {
        const char *target[] = {"target/a", "target/b"}, *share[] = {"share/a", "share/b"};
        float *weight = engine_input(s->e, program, share[k]);
        fill_input(s, program, target[k], 0, 3);
        for (int i = 0; i < BATCH; i++) {
            bool in = i >= ranges[k].first && i < ranges[k].first + ranges[k].count;
            weight[i] = in ? (float)(1 / total) : 0;
        }
    }
    for (size_t i = 0; i < sizeof scalar / sizeof *scalar; i++) {
        float *at = engine_input(s->e, program, scalar[i]);
        if (at)
            *at = 0.1f;
    }
    engine_draw_masks(s->e, program, 3, 1);
}

static inline void run_ranges(const Subject *s, const SampleRange ranges[2])
{
    fill_inputs(s, s->program, ranges);
    run(s->e, s->program, ranges);
}

/* A copy of a result. */
static inline float *result_of(const Subject *s, ResultRole role, const char *name, int64_t *n)
{
    const Func *f = engine_plan(s->e, s->program)->f;
    const Result *r = func_find_result(f, role, name);
    if (!r)
        fail_msg("there is no result '%s'", name);
    *n = shape_elems(func_shape(f, r->val));
    float *out = calloc((size_t)*n, sizeof *out);
    Err err = {0};
    assert_int_equal(engine_read(s->e, s->program, role, name, out, &err), NPC_OK);
    return out;
}

static inline float *tensor_copy(const Subject *s, const char *name, size_t *bytes)
{
    *bytes = (size_t)shape_elems(&module_param(s->model->module, name)->shape) * sizeof(float);
    float *copy = malloc(*bytes);
    memcpy(copy, engine_tensor(s->e, name), *bytes);
    return copy;
}

/* Do all parameters and states of the two have the same bits? `only`: a part of their names. */
static inline bool same_tensors(const Subject *x, const Subject *y, const char *only)
{
    const Module *m = x->model->module;
    bool same = true;
    for (uint32_t i = 0; i < m->params.len; i++) {
        const Param *p = &m->params.at[i];
        size_t bytes = (size_t)shape_elems(&p->shape) * sizeof(float);
        if (!strstr(p->name, only))
            continue;
        same &= !memcmp(engine_tensor(x->e, p->name), engine_tensor(y->e, p->name), bytes);
    }
    return same;
}

static const SampleRange both[2] = {{0, BATCH}, {0, BATCH}};
static const SampleRange only_a[2] = {{0, BATCH}, {0, 0}};
static const SampleRange parts[2] = {{0, 2}, {2, 3}};

/* Runs tests on the interpreter and, where there is one, on generated code, or on the device that
 * is the program's argument. */
static inline int run_everywhere(const struct CMUnitTest *tests, size_t n, int argc, char **argv)
{
    if (argc > 1) {
        device = argv[1];
        return _cmocka_run_group_tests(device, tests, n, NULL, NULL);
    }
    interpret = true;
    int failed = _cmocka_run_group_tests("interpreter", tests, n, NULL, NULL);
    interpret = false;
    if (kernel_have_llvm())
        failed += _cmocka_run_group_tests("generated code", tests, n, NULL, NULL);
    return failed;
}

#endif
