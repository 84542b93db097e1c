/* Small models written by tests as text, run at a level of fusion, and the published numbers of
 * goldens/viv1t that they are compared with. */
#ifndef NPC_TESTS_UNIT_SMALL_MODEL_H
#define NPC_TESTS_UNIT_SMALL_MODEL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ir/base/file.h"
#include "runtime/model.h"
#include "data/safetensors.h"
#include "tests/unit/scratch.h"

/* How programs run: generated code fused and unfused, and interpreted. */
typedef struct SmallWay {
    bool interpret;
    FuseLevel fuse;
} SmallWay;

enum { SMALL_WAYS = 4 };
static const SmallWay small_ways[SMALL_WAYS] = {
    {false, FUSE_NONE}, {false, FUSE_FULL}, {false, FUSE_ELEMENTWISE}, {true, FUSE_FULL}};
static const char *small_device; /* NULL: the CPU */

/* On a device there is no interpreter, and a level between does not matter. */
static int small_n_ways(void)
{
    return small_device ? 2 : SMALL_WAYS;
}

static Model *small_model(const char *text, SmallWay way)
{
    Err err = {0};
    Model *m;
    const char *path = scratch_path("small.nm");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    ModelOptions o = {.path = path,
                      .fuse = way.fuse,
                      .threads = 1,
                      .interpret = way.interpret,
                      .device = small_device,
                      .no_cache = true,
                      .verify_passes = true};
    if (model_open(&m, &o, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return m;
}

static int small_add(Model *m, ProgramKind kind)
{
    Err err = {0};
    int program = -1;
    if (model_add(m, kind, &program, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return program;
}

static void small_ready(Model *m)
{
    Err err = {0};
    if (model_ready(m, &err) != NPC_OK)
        fail_msg("%s", err.text);
    model_initialise(m, 1);
}

static void small_run(Model *m, int program)
{
    Err err = {0};
    if (engine_run(m->engine, program, NULL, &err) != NPC_OK ||
        engine_fetch(m->engine, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

static void small_read(Model *m, int program, ResultRole role, const char *name, float *out)
{
    Err err = {0};
    if (engine_read(m->engine, program, role, name, out, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

/* NULL is fine: the program needs no such input. */
static void small_put(Model *m, int program, const char *input, const float *from, size_t n)
{
    float *at = engine_input(m->engine, program, input);
    if (at)
        memcpy(at, from, n * sizeof *at);
}

static Safetensors small_goldens;

static int small_open(void **state)
{
    Err err = {0};
    if (scratch_make(state))
        return -1;
    if (safetensors_open(&small_goldens, "tests/goldens/viv1t/ops.safetensors", &err) == NPC_OK)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int small_close(void **state)
{
    safetensors_close(&small_goldens);
    return scratch_remove(state);
}

/* A tensor of the goldens; *n: its elements. */
static const void *small_golden(const char *name, size_t *n)
{
    const SafetensorsEntry *e = safetensors_find(&small_goldens, name);
    if (!e)
        fail_msg("no tensor '%s'", name);
    *n = 1;
    for (uint32_t i = 0; i < e->rank; i++)
        *n *= (size_t)e->shape[i];
    return e->data;
}

/* Largest difference, in parts of the largest value wanted. */
static void assert_near(const char *what, const float *got, const float *want, size_t n,
                        double tolerance)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        worst = !(d <= worst) ? d : worst;
        largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
    }
    if (!(worst <= tolerance * largest))
        fail_msg("%s: off by %g where the largest is %g", what, worst, largest);
}

#endif
