/* Scalar formulas: values, errors, and that equal subexpressions are computed once. */
#include "tests/ops/ir_harness.h"
#include "ir/op.h"

static double value(const char *text, double a, double b)
{
    Arena arena = {0};
    const char *error;
    const Formula *f = formula_compile(&arena, text, &error);
    if (!f)
        fail_msg("%s", error);
    double vars[FORMULA_MAX_VARS] = {a, b, 0, 0, 0, 0, 0, 7}, k[FORMULA_MAX_CONSTS] = {2, 3, 4, 5};
    double y = formula_eval(f, vars, k);
    arena_free(&arena);
    return y;
}

static void operators_bind_as_usual(void **state)
{
    (void)state;
    assert_true(value("a + b * 2", 3, 5) == 13);
    assert_true(value("(a + b) * 2", 3, 5) == 16);
    assert_true(value("a - b - 1", 3, 5) == -3);
    assert_true(value("a / b / 2", 30, 5) == 3);
    assert_true(value("-a * b", 3, 5) == -15);
    assert_true(value("--a", 3, 5) == 3);
    assert_true(value("-0.5*a", 3, 5) == -1.5);
    assert_true(value("a + 1 > b", 5, 5) == 1);
    assert_true(value("a > b", 5, 5) == 0);
    assert_true(value("where(a > b, dy, k3)", 1, 5) == 5);
    assert_true(value("where(b > a, dy, k3)", 1, 5) == 7);
    assert_true(value("k0 * k1 + k2", 0, 0) == 10);
    assert_true(value(" 1.5e-2 * a ", 100, 0) == 1.5);
}

static void functions_are_those_of_the_math_library(void **state)
{
    (void)state;
    assert_true(value("min(a, b)", 3, 5) == 3);
    assert_true(value("max(a, b)", 3, 5) == 5);
    assert_true(value("abs(-a)", 3, 0) == 3);
    assert_true(value("exp(log(a))", 1, 0) == 1);
    assert_true(value("log1p(a)", 0.3, 0) == log1p(0.3));
    assert_true(value("rsqrt(a) * sqrt(a)", 4, 0) == 1);
    assert_true(value("tanh(a) + sin(a) + cos(a)", 0.3, 0) == tanh(0.3) + sin(0.3) + cos(0.3));
    assert_true(value("erf(a)", 0.3, 0) == erf(0.3));
    assert_true(value("floor(a)", -0.3, 0) == -1);
}

static void sigmoid_is_exact_in_both_tails(void **state)
{
    (void)state;
    assert_true(value("sigmoid(a)", 0, 0) == 0.5);
    assert_true(value("sigmoid(a)", 800, 0) == 1);
    assert_true(value("sigmoid(a)", -800, 0) == 0);
    assert_true(fabs(value("sigmoid(a)", -700, 0) / exp(-700) - 1) < 1e-12);
}

static void softplus_does_not_overflow(void **state)
{
    (void)state;
    const char *text = op_formula(OP_SOFTPLUS);
    assert_true(value(text, 1e6, 0) == 1e6);
    assert_true(value(text, -1e6, 0) == 0);
    assert_true(fabs(value(text, 0, 0) - log(2) / 2) < 1e-15);
}

static void equal_subexpressions_are_computed_once(void **state)
{
    (void)state;
    Arena arena = {0};
    const char *error;
    const Formula *f = formula_compile(&arena, "exp(a * b) + 1 / exp(a * b)", &error);
    assert_non_null(f);
    assert_int_equal(f->n, 7); /* a, b, mul, exp, 1, div, add */
    assert_int_equal(f->vars, 3);
    assert_int_equal(f->inst[f->n - 1].prim, PRIM_ADD);
    f = formula_compile(&arena, "dy * -2 + c", &error);
    assert_int_equal(f->vars, 1u << FORMULA_DY | 1u << 2);
    arena_free(&arena);
}

static void malformed_text_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",       "a +",    "a b",        "(a",   "a)",        "min(a)", "min(a, b, c)",
        "foo(a)", "h",      "k4",         "k",    "a > b > c", "1.2.3",  "a ^ 2",
        "sin a",  "dy2",    "where(a,b)", "+a",   "* a",       "a,b",    "\"",
        "1e",     "a == b", "A",          "\xff", "exp()",     "()",     "a\nb",
    };
    Arena arena = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *error = NULL;
        if (formula_compile(&arena, wrong[i], &error))
            fail_msg("\"%s\" was accepted", wrong[i]);
        assert_contains(error, "at byte ");
    }
    const char *error;
    formula_compile(&arena, "a + q", &error);
    assert_string_equal(error,
                        "formula \"a + q\": a value, constant or function was expected at byte 5");
    arena_free(&arena);
}

static char *repeated(Arena *arena, const char *s, int n, const char *tail)
{
    Text t = {.arena = arena};
    for (int i = 0; i < n; i++)
        text_add(&t, s);
    text_add(&t, tail);
    return (char *)text_str(&t);
}

static void nesting_and_length_are_bounded(void **state)
{
    (void)state;
    Arena arena = {0};
    const char *error;
    assert_null(formula_compile(&arena, repeated(&arena, "(", 100000, "a"), &error));
    assert_contains(error, "nested too deeply");
    assert_null(formula_compile(&arena, repeated(&arena, "-", 100000, "a"), &error));
    Text t = {.arena = &arena};
    for (int i = 0; i < 1000; i++)
        text_printf(&t, "%d * ", i);
    text_add(&t, "a");
    assert_null(formula_compile(&arena, text_str(&t), &error));
    assert_contains(error, "too many operations");
    assert_non_null(formula_compile(&arena, repeated(&arena, "a + ", 100, "a"), &error));
    arena_free(&arena);
}

static void every_formula_of_the_op_table_compiles(void **state)
{
    (void)state;
    Arena arena = {0};
    const char *error;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        assert_int_equal(op_find(op_text((Op)op), strlen(op_text((Op)op))), op);
        if (!op_formula((Op)op))
            continue;
        const Formula *f = formula_compile(&arena, op_formula((Op)op), &error);
        if (!f)
            fail_msg("%s", error);
        assert_int_equal(f->vars, (1u << op_arity((Op)op)) - 1);
        for (int i = 0; i < op_arity((Op)op); i++) {
            const char *d = op_derivative((Op)op, i);
            if (d && !formula_compile(&arena, d, &error))
                fail_msg("%s", error);
        }
    }
    assert_int_equal(op_find("matmul", 6), OP_NONE);
    arena_free(&arena);
}

static void formulas_know_in_what_they_are_linear(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int i;
        bool is_linear;
    } ROWS[] = {
        {"a * b", 0, true},
        {"a * b", 1, true},
        {"a * a", 0, false},
        {"a + b", 0, false},
        {"a + a", 0, true},
        {"a + 1", 0, false},
        {"-a / exp(b)", 0, true},
        {"b / a", 0, false},
        {"b * (sigmoid(a) * (1 + a))", 1, true},
        {"b * (sigmoid(a) * (1 + a))", 0, false},
        {"where(a > 0, b, 0)", 1, true},
        {"where(a > 0, b, 1)", 1, false},
        {"where(a > 0, b, 0)", 0, false},
        {"k0 * a", 0, true},
        {"k0 * a", 1, false},
        {"max(a, 0)", 0, false},
    };
    Arena arena = {0};
    for (size_t r = 0; r < sizeof ROWS / sizeof *ROWS; r++) {
        const char *error = NULL;
        const Formula *f = formula_compile(&arena, ROWS[r].text, &error);
        assert_non_null(f);
        if (formula_is_linear(f, ROWS[r].i) != ROWS[r].is_linear)
            fail_msg("%s, variable %d", ROWS[r].text, ROWS[r].i);
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_know_in_what_they_are_linear),
        cmocka_unit_test(operators_bind_as_usual),
        cmocka_unit_test(functions_are_those_of_the_math_library),
        cmocka_unit_test(sigmoid_is_exact_in_both_tails),
        cmocka_unit_test(softplus_does_not_overflow),
        cmocka_unit_test(equal_subexpressions_are_computed_once),
        cmocka_unit_test(malformed_text_is_refused_with_its_place),
        cmocka_unit_test(nesting_and_length_are_bounded),
        cmocka_unit_test(every_formula_of_the_op_table_compiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
