/* Tensors of tests/goldens/dwiseneuro/ops.safetensors, named operation/case/role. Tests run with
 * the repository's root as working folder. */
#ifndef NPC_TESTS_OP_GOLDEN_H
#define NPC_TESTS_OP_GOLDEN_H

#include "tests/unit/tiny_recording.h"

#include "data/safetensors.h"

static Safetensors op_goldens;

static inline int op_goldens_open(void **state)
{
    (void)state;
    Err err = {0};
    if (safetensors_open(&op_goldens, "tests/goldens/dwiseneuro/ops.safetensors", &err) != NPC_OK)
        fail_msg("%s", err.text);
    return 0;
}

static inline int op_goldens_close(void **state)
{
    (void)state;
    safetensors_close(&op_goldens);
    return 0;
}

static inline const SafetensorsEntry *op_golden(const char *name)
{
    const SafetensorsEntry *e = safetensors_find(&op_goldens, name);
    if (!e)
        fail_msg("no golden tensor %s", name);
    return e;
}

static inline const float *op_floats(const char *name)
{
    const SafetensorsEntry *e = op_golden(name);
    assert_int_equal(e->dtype, SAFETENSORS_F32);
    return e->data;
}

static inline const int32_t *op_ints(const char *name)
{
    const SafetensorsEntry *e = op_golden(name);
    assert_int_equal(e->dtype, SAFETENSORS_I32);
    return e->data;
}

/* |a - b| <= relative * |b| for every element */
static inline void assert_near(const float *a, const float *b, size_t n, double relative)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= relative * fabs((double)b[i])))
            fail_msg("element %zu: %.9g instead of %.9g", i, (double)a[i], (double)b[i]);
}

#endif
