/* What the tests of the IR share: a module with one function, shapes written as text, leaves with
 * deterministic values, and the diagnostics as text. */
#ifndef NPC_TESTS_OPS_IR_HARNESS_H
#define NPC_TESTS_OPS_IR_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ir/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct TestFunc {
    Arena arena;
    Names names;
    Diags diags;
    Module *m;
    Func *f;
} TestFunc;

static inline TestFunc *test_func(void)
{
    TestFunc *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->names.arena = &t->arena;
    diags_init(&t->diags, &t->arena);
    t->m = module_new(&t->arena, &t->names, &t->diags);
    t->f = module_add_func(t->m, "eval");
    return t;
}

static inline void test_done(TestFunc *t)
{
    arena_free(&t->arena);
    free(t);
}

/* "b=2 c=3" */
static inline Shape test_shape(TestFunc *t, const char *text)
{
    Shape s = {0};
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, "=");
        char *end;
        long size = strtol(p + n + 1, &end, 10);
        assert_true(shape_add(&s, name_intern_n(&t->names, p, n), size));
        p = end;
    }
    return s;
}

/* "c h" */
static inline AxisList test_axes(TestFunc *t, const char *text)
{
    AxisList list = {0};
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        list.name[list.n++] = name_intern_n(&t->names, p, n);
        p += n;
    }
    return list;
}

static inline Val test_param(TestFunc *t, const char *name, const char *shape)
{
    Param p = {.name = name, .shape = test_shape(t, shape), .session = -1};
    p.init = (Init){.kind = INIT_NORMAL, .b = 1};
    assert_non_null(module_add_param(t->m, p));
    return func_param(t->f, name);
}

static inline Val test_input(TestFunc *t, const char *name, const char *shape)
{
    Shape s = test_shape(t, shape);
    return func_input(t->f, name, &s);
}

#define assert_shape(t, v, text)                                                                   \
    do {                                                                                           \
        Shape want_ = test_shape(t, text);                                                         \
        assert_int_not_equal((v).id, 0);                                                           \
        assert_true(shape_equal(func_shape((t)->f, v), &want_));                                   \
    } while (0)

/* All messages, one a line: "E0203 text" or "note text". */
static inline const char *test_log(TestFunc *t)
{
    Text text = {.arena = &t->arena};
    for (uint32_t i = 0; i < t->diags.messages.len; i++) {
        const DiagMessage *m = &t->diags.messages.at[i];
        text_printf(&text, "%s %s\n", m->kind == DIAG_KIND_ERROR ? diag_code_text(m->code) : "note",
                    m->text);
    }
    return text_str(&text);
}

/* Gradients of all values of f that y depends on, given dy; an array indexed by Val.id. */
static inline Val *test_backprop(TestFunc *t, Func *f, Val y, Val dy)
{
    uint32_t n = f->nodes.len;
    Val *grad = ARENA_ARRAY(&t->arena, Val, n), din[MAX_OPERANDS];
    grad[y.id] = dy;
    for (uint32_t i = y.id + 1; i-- > 1;) {
        Node node = f->nodes.at[i];
        if (grad[i].id)
            op_gradient(f, (Val){i}, grad[i], din);
        for (int k = 0; grad[i].id && k < node.n_in; k++) {
            Val *sum = &grad[node.in[k].id];
            if (din[k].id)
                *sum = sum->id ? func_emit2(f, OP_ADD, *sum, din[k]) : din[k];
        }
    }
    return grad;
}

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            fail_msg("\"%s\" does not contain \"%s\"", text, part);                                \
    } while (0)

/* splitmix64 (Steele, Lea, Flood 2014), for test values only. */
static inline uint64_t test_word(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1). */
static inline double test_uniform(uint64_t *state)
{
    return (double)(test_word(state) >> 11) * 0x1p-53;
}

#endif
