/* Syntax trees, as ast_print shows them, and what the parser refuses. */
#include "frontend/literal.h"
#include "frontend/parse.h"
#include "ir/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct Parsed {
    Arena arena;
    Names names;
    Diags diags;
} Parsed;

static Parsed *fresh(void **state)
{
    Parsed *x = *state;
    arena_free(&x->arena);
    *x = (Parsed){.names = {.arena = &x->arena}};
    diags_init(&x->diags, &x->arena);
    return x;
}

static const char *expr_text(void **state, const char *text)
{
    Parsed *x = fresh(state);
    Expr *e = parse_expression_text(&x->arena, &x->names, &x->diags, "test", text, strlen(text));
    Text out = {.arena = &x->arena};
    if (!e)
        return "error";
    ast_print_expr(&out, e);
    return text_str(&out);
}

static AstFile *file_of(void **state, const char *text, size_t len)
{
    Parsed *x = fresh(state);
    return parse_file(&x->arena, &x->names, &x->diags, "test.nm", text, len);
}

static const char *file_text(void **state, const char *text)
{
    AstFile *file = file_of(state, text, strlen(text));
    Text out = {.arena = &((Parsed *)*state)->arena};
    ast_print(&out, file);
    return text_str(&out);
}

static void operators_bind_as_in_mathematics(void **state)
{
    assert_string_equal(expr_text(state, "a + b * c ^ d ^ e"), "(+ a (* b (^ c (^ d e))))");
    assert_string_equal(expr_text(state, "a - b - c / d / e"), "(- (- a b) (/ (/ c d) e))");
    assert_string_equal(expr_text(state, "-a ^ 2 * b"), "(* (- (^ a 2)) b)");
    assert_string_equal(expr_text(state, "2 ^ -b"), "(^ 2 (- b))");
    assert_string_equal(expr_text(state, "(a + b) * c"), "(* (+ a b) c)");
    assert_string_equal(expr_text(state, "not a == b and c or d"), "(or (and (not (== a b)) c) d)");
    assert_string_equal(expr_text(state, "0..n - 1"), "(range 0 (- n 1))");
}

static void a_pipe_takes_everything_to_its_left(void **state)
{
    assert_string_equal(expr_text(state, "a + b |> f |> g(1)"),
                        "(pipe (pipe (+ a b) (call f)) (call g 1))");
    assert_string_equal(expr_text(state, "a + (b |> f)"), "(+ a (pipe b (call f)))");
    assert_string_equal(expr_text(state, "a if c else b |> f"), "(pipe (if a c b) (call f))");
}

static void a_choice_nests_to_the_right(void **state)
{
    assert_string_equal(expr_text(state, "a if b else c if d else e"), "(if a b (if c d e))");
}

static void a_word_after_a_number_is_its_unit_except_among_axes(void **state)
{
    assert_string_equal(expr_text(state, "f(16 frames, every: 2frames)"),
                        "(call f 16<frames> every: 2<frames>)");
    assert_string_equal(expr_text(state, "[b c:5 t]"), "(bracket b c: 5 t)");
    assert_string_equal(expr_text(state, "[(5 t), 3]"), "(bracket 5<t> 3)");
}

static void brackets_hold_axes_or_values(void **state)
{
    assert_string_equal(expr_text(state, "[]"), "(bracket)");
    assert_string_equal(expr_text(state, "[t]"), "(bracket t)");
    assert_string_equal(expr_text(state, "[h: 3, w: 3,]"), "(bracket h: 3 w: 3)");
    assert_string_equal(expr_text(state, "[b n:s.neurons h:ceil(h/2) w]"),
                        "(bracket b n: (member neurons s) h: (call ceil (/ h 2)) w)");
    assert_string_equal(expr_text(state, "[\"a b\": 3]"), "(bracket \"a b\": 3)");
}

static void slices_may_be_open_at_either_end(void **state)
{
    assert_string_equal(expr_text(state, "x[1..] + x[..n] + x[..] + x[-1..] + x[2]"),
                        "(+ (+ (+ (+ (index x (range 1 _)) (index x (range _ n))) "
                        "(index x (range _ _))) (index x (range (- 1) _))) (index x 2))");
    assert_string_equal(expr_text(state, "x[0].y(3)"), "error");
}

static void a_newline_counts_only_outside_of_brackets(void **state)
{
    assert_string_equal(file_text(state, "nm 1\na = f(1,\n\n # c\n 2)\nb = x\n  # c\n\n |> g\n"),
                        "; nm 1\n(const a (call f 1 2))\n(const b (pipe x (call g)))\n");
    assert_string_equal(file_text(state, "nm 1; a = 1; b = 2"),
                        "; nm 1\n(const a 1)\n(const b 2)\n");
    assert_string_equal(file_text(state, "nm 1\r\na = 1\r\n"), "; nm 1\n(const a 1)\n");
}

static void spans_cover_what_was_written(void **state)
{
    const char *text = "nm 1\nabc = f(x) + [t]\n";
    AstFile *file = file_of(state, text, strlen(text));
    const Decl *d = file->decls.at[0];
    assert_int_equal(d->span.begin, 5);
    assert_int_equal(d->span.end, strlen(text) - 1);
    assert_int_equal(d->value->op_span.begin, 16);
    assert_int_equal(d->value->right->span.begin, 18);
    assert_int_equal(d->value->left->op_span.end, 12);
}

static void numbers_are_kept_exactly(void **state)
{
    (void)state;
    double x;
    int64_t num, den;
    assert_true(literal_number("2.4e-3", &x, &num, &den));
    assert_true(x == 2.4e-3 && num == 3 && den == 1250);
    assert_true(literal_number("1500e-2", &x, &num, &den));
    assert_true(x == 15 && num == 15 && den == 1);
    assert_true(literal_number("0.000", &x, &num, &den));
    assert_true(x == 0 && num == 0 && den == 1);
    assert_true(literal_number("9223372036854775807", &x, &num, &den));
    assert_true(num == INT64_MAX && den == 1);
    assert_true(literal_number("9223372036854775808", &x, &num, &den));
    assert_true(x == 9223372036854775808.0 && den == 0);
    assert_true(literal_number("1e-30", &x, &num, &den));
    assert_true(x == 1e-30 && den == 0);
    assert_false(literal_number("1e999", &x, &num, &den));
}

static void strings_are_cut_at_expressions(void **state)
{
    Parsed *x = fresh(state);
    const char *text = "\"a\\{b\\}{i + 1}{k}c\"";
    Expr *e = parse_expression_text(&x->arena, &x->names, &x->diags, "test", text, strlen(text));
    StringPieces pieces;
    assert_non_null(e);
    assert_true(parse_string_pieces(&x->arena, &x->names, &x->diags, e, &pieces));
    assert_int_equal(pieces.len, 4);
    assert_string_equal(pieces.at[0].text, "a{b}");
    assert_int_equal(pieces.at[1].expr->kind, EXPR_BINARY);
    assert_int_equal(pieces.at[1].expr->span.begin, strcspn(text, "i"));
    assert_string_equal(pieces.at[2].expr->name, "k");
    assert_string_equal(pieces.at[3].text, "c");
}

static void wrong_expressions_in_strings_are_reported_in_place(void **state)
{
    static const char *TEXT[] = {"\"a{i\"", "\"a{}\"", "\"a{i +}\"", "\"a{i j}\""};
    for (size_t i = 0; i < sizeof TEXT / sizeof *TEXT; i++) {
        Parsed *x = fresh(state);
        StringPieces pieces;
        Expr *e = parse_expression_text(&x->arena, &x->names, &x->diags, "test", TEXT[i],
                                        strlen(TEXT[i]));
        assert_non_null(e);
        assert_false(parse_string_pieces(&x->arena, &x->names, &x->diags, e, &pieces));
        assert_int_equal(x->diags.n_errors, 1);
        assert_in_range(x->diags.messages.at[0].span.begin, 2, strlen(TEXT[i]));
    }
}

static void an_override_is_a_path_and_an_expression(void **state)
{
    Parsed *x = fresh(state);
    SetOption set;
    assert_true(parse_set(&x->arena, &x->names, &x->diags, "stage.train.lr=5e-4", &set));
    assert_int_equal(set.path.len, 3);
    assert_string_equal(set.path.at[2], "lr");
    assert_true(set.value->number == 5e-4);
    assert_true(parse_set(&x->arena, &x->names, &x->diags, "batch=8clips", &set));
    assert_string_equal(set.value->unit, "clips");
    assert_true(parse_set(&x->arena, &x->names, &x->diags, "channels=[32,64]", &set));
    assert_int_equal(set.value->items.len, 2);
}

static void wrong_overrides_are_reported(void **state)
{
    static const char *TEXT[] = {"", "a", "=3", "a.=3", "a..b=3", "a b=3", "a=", "a=3 4 5", "1=2"};
    for (size_t i = 0; i < sizeof TEXT / sizeof *TEXT; i++) {
        Parsed *x = fresh(state);
        SetOption set;
        assert_false(parse_set(&x->arena, &x->names, &x->diags, TEXT[i], &set));
        assert_int_equal(x->diags.n_errors, 1);
    }
}

static void assert_limit(void **state, const char *text, size_t len, bool is_within)
{
    file_of(state, text, len);
    const Diags *d = &((Parsed *)*state)->diags;
    assert_int_equal(d->n_errors, is_within ? 0 : 1);
    if (!is_within)
        assert_int_equal(d->messages.at[0].code, DIAG_E0004);
}

static const char *nested(void **state, int n, const char *open, const char *close)
{
    Text t = {.arena = &((Parsed *)*state)->arena};
    text_add(&t, "nm 1\nx = ");
    for (int i = 0; i < n; i++)
        text_add(&t, open);
    text_add(&t, "a");
    for (int i = 0; i < n; i++)
        text_add(&t, close);
    return strdup(text_str(&t));
}

static void nesting_ends_at_200(void **state)
{
    static const struct {
        const char *open, *close;
        int most;
    } KIND[] = {
        {"(", ")", 200},   {"[", "]", 199},   {"f(", ")", 199},   {"-", "", 199},
        {"", " + a", 199}, {"a ^ ", "", 199}, {"", " |> f", 199}, {"a if b else ", "", 199},
    };
    for (size_t i = 0; i < sizeof KIND / sizeof *KIND; i++)
        for (int over = 0; over < 2; over++) {
            char *text = (char *)nested(state, KIND[i].most + over, KIND[i].open, KIND[i].close);
            assert_limit(state, text, strlen(text), !over);
            free(text);
        }
}

static void endless_nesting_is_one_message(void **state)
{
    static const char *OPEN[] = {"(", "[", "-", "not ", "a ^ ", "f(x: "};
    for (size_t i = 0; i < sizeof OPEN / sizeof *OPEN; i++) {
        fresh(state);
        char *text = (char *)nested(state, 600, OPEN[i], "");
        assert_limit(state, text, strlen(text), false);
        free(text);
    }
}

static void a_line_has_at_most_4096_bytes(void **state)
{
    char text[5000] = "nm 1\n";
    memset(text + 5, '#', 4097);
    assert_limit(state, text, 5 + 4096, true);
    assert_limit(state, text, 5 + 4097, false);
}

static void a_file_has_at_most_4_mib(void **state)
{
    size_t limit = 4 << 20;
    char *text = malloc(limit + 1);
    memset(text, '\n', limit + 1);
    memcpy(text, "nm 1", 4);
    assert_limit(state, text, limit, true);
    assert_limit(state, text, limit + 1, false);
    free(text);
}

static void sample_files_parse(void **state)
{
    static const char *NAME[] = {"dwiseneuro", "small_gru", "everything"};
    Parsed *x = fresh(state);
    for (size_t i = 0; i < sizeof NAME / sizeof *NAME; i++) {
        char *text, path[100];
        size_t len;
        Err err;
        snprintf(path, sizeof path, "tests/fuzz/corpus/nm/%s.nm", NAME[i]);
        assert_int_equal(file_read(&x->arena, path, 1 << 20, &text, &len, &err), NPC_OK);
        parse_file(&x->arena, &x->names, &x->diags, path, text, len);
        assert_int_equal(x->diags.n_errors, 0);
    }
}

static void exhausted_memory_leaves_by_the_one_jump(void **state)
{
    const char *text = "nm 1\nblock f(x: [b c:3]) { return x |> g(\"a\", [1, 2]) }\n";
    Arena *arena = &fresh(state)->arena;
    jmp_buf exhausted;
    arena->exhausted = &exhausted;
    for (volatile long n = 1;; n++) {
        Names names = {.arena = arena};
        Diags diags;
        arena->fail_at = n;
        arena->n_requests = 0;
        if (setjmp(exhausted) == 0) {
            diags_init(&diags, arena);
            parse_file(arena, &names, &diags, "test.nm", text, strlen(text));
            assert_true(n > 30);
            break;
        }
    }
    arena->fail_at = 0;
}

int main(void)
{
    Parsed x = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(operators_bind_as_in_mathematics, &x),
        cmocka_unit_test_prestate(a_pipe_takes_everything_to_its_left, &x),
        cmocka_unit_test_prestate(a_choice_nests_to_the_right, &x),
        cmocka_unit_test_prestate(a_word_after_a_number_is_its_unit_except_among_axes, &x),
        cmocka_unit_test_prestate(brackets_hold_axes_or_values, &x),
        cmocka_unit_test_prestate(slices_may_be_open_at_either_end, &x),
        cmocka_unit_test_prestate(a_newline_counts_only_outside_of_brackets, &x),
        cmocka_unit_test_prestate(spans_cover_what_was_written, &x),
        cmocka_unit_test_prestate(numbers_are_kept_exactly, &x),
        cmocka_unit_test_prestate(strings_are_cut_at_expressions, &x),
        cmocka_unit_test_prestate(wrong_expressions_in_strings_are_reported_in_place, &x),
        cmocka_unit_test_prestate(an_override_is_a_path_and_an_expression, &x),
        cmocka_unit_test_prestate(wrong_overrides_are_reported, &x),
        cmocka_unit_test_prestate(nesting_ends_at_200, &x),
        cmocka_unit_test_prestate(endless_nesting_is_one_message, &x),
        cmocka_unit_test_prestate(a_line_has_at_most_4096_bytes, &x),
        cmocka_unit_test_prestate(a_file_has_at_most_4_mib, &x),
        cmocka_unit_test_prestate(sample_files_parse, &x),
        cmocka_unit_test_prestate(exhausted_memory_leaves_by_the_one_jump, &x),
    };
    int failed = cmocka_run_group_tests_name("parser", tests, NULL, NULL);
    arena_free(&x.arena);
    return failed;
}
