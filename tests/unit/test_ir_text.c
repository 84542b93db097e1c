/* The text form: printing and reading are inverse, and malformed text is refused with its place.
 * The golden file holds every op, every attribute, every tag. */
#include "tests/ops/ir_harness.h"
#include "ir/base/file.h"

static const char GOLDEN[] = "tests/golden/all_ops.ir";

static const char *golden_text(TestFunc *t, size_t *len)
{
    char *text;
    Err err = {0};
    if (file_read(&t->arena, GOLDEN, 1 << 20, &text, len, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return text;
}

static Module *parse(TestFunc *t, const char *text, size_t len)
{
    return module_parse(&t->arena, &t->names, &t->diags, "m.ir", text, len);
}

static const char *printed(TestFunc *t, const Module *m)
{
    Text out = {.arena = &t->arena};
    module_print(&out, m);
    return text_str(&out);
}

static void printing_what_was_read_gives_the_same_bytes(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    size_t len;
    const char *text = golden_text(t, &len);
    Module *m = parse(t, text, len);
    assert_string_equal(test_log(t), "");
    assert_non_null(m);
    assert_string_equal(printed(t, m), text);
    test_done(t);
}

static void the_golden_file_has_every_op(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    size_t len;
    const char *text = golden_text(t, &len);
    Module *m = parse(t, text, len);
    assert_non_null(m);
    bool seen[OP_COUNT] = {0};
    const Func *f = module_func(m, "forward");
    for (uint32_t i = 1; i < f->nodes.len; i++)
        seen[f->nodes.at[i].op] = true;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (!seen[op])
            fail_msg("%s is not in %s", op_text((Op)op), GOLDEN);
    test_done(t);
}

static void what_was_read_is_what_was_written(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    size_t len;
    const char *text = golden_text(t, &len);
    Module *m = parse(t, text, len);
    assert_non_null(m);
    const Param *kernel = module_param(m, "kernel");
    assert_true(kernel->init.data[0] == 0.1f);
    assert_true(kernel->init.data[3] == 1e-8f);
    assert_true(kernel->frozen && kernel->limit == 2.5);
    assert_true(module_param(m, "dense")->no_decay);
    assert_true(module_param(m, "mean")->is_state);
    assert_int_equal(module_param(m, "bias")->session, 0);
    assert_string_equal(m->model, "all \"ops\"");
    assert_int_equal(m->sessions.at[0].neurons, 7);
    const Func *f = module_func(m, "forward");
    const Node *n = &f->nodes.at[11];
    assert_true(n->backward && n->recompute);
    assert_string_equal(m->parts.at[n->part], "core.block0");
    assert_int_equal(f->nodes.at[45].attrs.table[1], -1);
    assert_int_equal(f->nodes.at[50].attrs.stencil[0].dilation, 2);
    assert_int_equal(func_find_result(f, RESULT_STATE, "mean")->val.id, 38);
    test_done(t);
}

static void strange_names_and_numbers_survive(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Shape s = test_shape(t, "2d=2 a-b=3");
    static const float data[] = {INFINITY, -INFINITY, 1.17549435e-38f, -0.0f, 3.4028235e38f, 1};
    Param p = {.name = "tab\there \\ \"quoted\"", .shape = s, .session = -1};
    p.init = (Init){.kind = INIT_DATA, .data = data};
    module_add_param(t->m, p);
    func_result(t->f, RESULT_OUTPUT, "\x01\x7f", func_param(t->f, p.name));
    func_scale(t->f, (Val){1}, (double)NAN);
    const char *text = printed(t, t->m);
    assert_contains(text, "f32[\"2d\"=2, \"a-b\"=3]");
    Module *m = parse(t, text, strlen(text));
    assert_string_equal(test_log(t), "");
    assert_string_equal(printed(t, m), text);
    assert_memory_equal(module_param(m, p.name)->init.data, data, sizeof data);
    test_done(t);
}

static void comments_and_spaces_are_skipped(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    const char *text = "; a comment\nmodule \"m\" ; another\n\n func f ( ) {\n"
                       "%1=input{name=\"x\"}:f32[b=2]\nreturn output\"y\"=%1}";
    Module *m = parse(t, text, strlen(text));
    assert_string_equal(test_log(t), "");
    assert_contains(printed(t, m), "  %1 = input {name=\"x\"} : f32[b=2]\n  return output \"y\"");
    test_done(t);
}

/* Text of a function body, and the message that it must give. */
static const struct {
    const char *body, *message;
} WRONG[] = {
    {"%2 = input {name=\"x\"} : f32[b=2]", "E0290 the next value is %1"},
    {"%1 = nope : f32[b=2]", "E0290 there is no op 'nope'"},
    {"%1 = neg %1 : f32[b=2]", "E0290 %1 is not a value above"},
    {"%1 = neg : f32[b=2]", "E0290 neg has 1 operands"},
    {"%1 = input {name=\"x\"} : f32[b=0]", "E0290 0 is not between 1 and"},
    {"%1 = input {name=\"x\"} : f32[b=-3]", "E0290 -3 is not between 1 and"},
    {"%1 = input {name=\"x\"} : f32[b=99999999999999999999]", "E0290 a whole number"},
    {"%1 = input {name=\"x\"} : f32[b=1000000000, c=1000000000]", "E0290 1000000000 is not"},
    {"%1 = input {name=\"x\"} : f32[b=2, b=2]", "E0290 axis 'b' stands twice"},
    {"%1 = input {name=\"x\"} : f32[a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1]", "more than 8 axes"},
    {"%1 = input {name=\"x} : f32[b=2]\n", "E0290 a string that is not closed"},
    {"%1 = input {name=\"\\x00\"} : f32[b=2]", "E0290 an escape"},
    {"%1 = input {name=\"\\q\"} : f32[b=2]", "E0290 no such escape"},
    {"%1 = input : f32[b=2]", "E0290 '{' was expected"},
    {"%1 = param {name=\"v\"} : f32[b=2]", "E0290 f %1 (param): there is no parameter 'v'"},
    {"%1 = fill {k=[x]} : f32[b=2]", "E0290 a number was expected"},
    {"%1 = iota : f32[b=2, c=2]", "E0250 iota has one axis"},
    {"%1 = fill {k=[0]} : f32[b=2] %2 = neg %1 : f32[b=3]",
     "E0290 the operands give the shape [b=2]"},
    {"%1 = fill {k=[0]} : f32[b=2] @part \"q\"", "E0290 there is no part \"q\""},
    {"%1 = fill {k=[0]} : f32[b=2] @session 0", "E0290 0 is not between"},
    {"%1 = fill {k=[0]} : f32[b=2] @nope", "E0290 there is no such tag"},
    {"%1 = fill {k=[0]} : f32[b=2] %2 = sum %1 {over=[c], k=[1]} : f32[b=2]", "E0211"},
    {"%1 = fill {k=[0]} : f32[b=2] %2 = map %1 {formula=\"b\"} : f32[b=2]", "E0202"},
    {"%1 = fill {k=[0]} : f32[b=2] %2 = index %1 {axis=b, to=b, table=[]} : f32[b=2]", "E0220"},
    {"%1 = fill {k=[0]} : f32[b=2] return loss \"l\" = %1", "E0290 f: the loss 'l' has shape"},
    {"return loss \"l\" = %0", "E0290 0 is not between"},
    {"return nothing \"l\" = %1", "E0290 'output', 'loss', 'grad' or 'state' was expected"},
    {"%1 = fill {k=[0]} : f32[b=2] %2 = conv %1 %1 {over=[], out=[b], stencil=[]} : f32[b=2]",
     "E0250 conv: the number of axes is 0"},
};

static void malformed_functions_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        TestFunc *t = test_func();
        const char *text =
            arena_printf(&t->arena, "module \"m\"\nfunc f() {\n%s\n}\n", WRONG[i].body);
        assert_null(parse(t, text, strlen(text)));
        assert_contains(test_log(t), WRONG[i].message);
        test_done(t);
    }
}

static void malformed_tables_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "E0290 'module' was expected"},
        {"module \"m\" nonsense", "E0290 'session', 'part', 'param', 'state' or 'func'"},
        {"module \"m\" func f() {", "E0290 '%' was expected"},
        {"module \"m\" func f() {} func f() {}", "E0290 function 'f' stands twice"},
        {"module \"m\" param \"w\" : f32[c=3] data(1, 2)", "E0290 2 numbers for 3 elements"},
        {"module \"m\" param \"w\" : f32[c=3] data(", "E0290 a number was expected"},
        {"module \"m\" param \"w\" : f32[] cauchy(0)", "E0290 'constant', 'normal'"},
        {"module \"m\" param \"w\" : f32[] constant(0) state \"w\" : f32[] constant(0)", "E0104"},
        {"module \"m\" session \"s\" neurons -1", "E0290 -1 is not between 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TestFunc *t = test_func();
        assert_null(parse(t, cases[i].text, strlen(cases[i].text)));
        assert_contains(test_log(t), cases[i].message);
        test_done(t);
    }
}

static void a_zero_byte_does_not_end_the_text(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    assert_null(parse(t, "module \"m\"\n\0rest", 16));
    assert_int_equal(t->diags.n_errors, 1);
    test_done(t);
}

/* Any damage gives a module that prints and reads again, or an error; never a crash. */
static void damaged_text_is_read_or_refused(void **state)
{
    (void)state;
    TestFunc *g = test_func();
    size_t len;
    const char *text = golden_text(g, &len);
    uint64_t rng = 1;
    for (int round = 0; round < 3000; round++) {
        TestFunc *t = test_func();
        char *copy = arena_strndup(&t->arena, text, len);
        for (int k = 0; k < 1 + round % 3; k++) {
            size_t at = test_word(&rng) % len, from = test_word(&rng) % len;
            copy[at] = test_word(&rng) & 1 ? text[from] : (char)(test_word(&rng) % 128);
        }
        Module *m = parse(t, copy, test_word(&rng) % 8 ? len : test_word(&rng) % len);
        if (m) {
            const char *once = printed(t, m);
            Module *again = parse(t, once, strlen(once));
            assert_non_null(again);
            assert_string_equal(printed(t, again), once);
        } else {
            assert_true(t->diags.n_errors > 0);
        }
        test_done(t);
    }
    test_done(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printing_what_was_read_gives_the_same_bytes),
        cmocka_unit_test(the_golden_file_has_every_op),
        cmocka_unit_test(what_was_read_is_what_was_written),
        cmocka_unit_test(strange_names_and_numbers_survive),
        cmocka_unit_test(comments_and_spaces_are_skipped),
        cmocka_unit_test(malformed_functions_are_refused),
        cmocka_unit_test(malformed_tables_are_refused),
        cmocka_unit_test(a_zero_byte_does_not_end_the_text),
        cmocka_unit_test(damaged_text_is_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
