/* Every request for memory, refused once: reading, checking, differentiating, evaluating and
 * printing a module jump out cleanly, whatever request fails. */
#include "tests/ops/ir_harness.h"
#include "ir/base/file.h"

static bool ones(void *context, const Node *leaf, double *at)
{
    (void)context;
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        at[i] = 1;
    return true;
}

static void work(Arena *arena, const char *text, size_t len)
{
    Names names = {.arena = arena};
    Diags diags;
    diags_init(&diags, arena);
    Module *m = module_parse(arena, &names, &diags, "m.ir", text, len);
    assert_non_null(m);
    Func *f = module_func(m, "forward");
    Err err = {0};
    EvalTensor *value;
    Val din[MAX_OPERANDS];
    assert_int_equal(eval_func(arena, f, ones, NULL, &value, &err), NPC_OK);
    uint32_t n = f->nodes.len;
    for (uint32_t i = 1; i < n; i++) {
        const Shape s = f->nodes.at[i].shape;
        if (f->nodes.at[i].op != OP_MAP)
            op_gradient(f, (Val){i}, func_fill(f, 1, &s), din);
    }
    assert_null(module_verify(m, arena));
    Text out = {.arena = arena};
    module_print(&out, m);
}

static void a_refused_request_jumps_out(void **state)
{
    (void)state;
    Arena files = {0};
    char *text;
    size_t len;
    Err err = {0};
    assert_int_equal(file_read(&files, "tests/golden/all_ops.ir", 1 << 20, &text, &len, &err),
                     NPC_OK);
    Arena whole = {0};
    work(&whole, text, len);
    long n = whole.n_requests;
    arena_free(&whole);
    assert_true(n > 500);
    for (long at = 1; at <= n; at += 1 + at / 50) {
        Arena arena = {.fail_at = at};
        jmp_buf exhausted;
        arena.exhausted = &exhausted;
        if (setjmp(exhausted) == 0) {
            work(&arena, text, len);
            fail_msg("request %ld was not refused", at);
        }
        assert_int_equal(arena.n_requests, at);
        arena_free(&arena);
    }
    arena_free(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_refused_request_jumps_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
