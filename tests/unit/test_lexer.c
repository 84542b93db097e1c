/* Tokens: what the lexer makes of single texts, and its limits. */
#include "frontend/lex_report.h"
#include "frontend/parse.h"
#include "frontend/parser.h"
#include "frontend/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct Lexed {
    Arena arena;
    Diags diags;
    Tokens tokens;
} Lexed;

static Lexed *lex_bytes(void **state, const char *text, size_t len)
{
    Lexed *x = *state;
    arena_free(&x->arena);
    *x = (Lexed){0};
    diags_init(&x->diags, &x->arena);
    uint32_t file = diags_add_source(&x->diags, "test", text, len);
    lex(&x->arena, &x->diags, file, 0, len, &x->tokens);
    return x;
}

static Lexed *lex_string_of(void **state, const char *text)
{
    return lex_bytes(state, text, strlen(text));
}

static void assert_kinds(const Lexed *x, const int *kinds, size_t n)
{
    assert_int_equal(x->tokens.len, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(x->tokens.at[i].kind, kinds[i]);
}

#define ASSERT_KINDS(x, ...)                                                                       \
    assert_kinds(x, (int[]){__VA_ARGS__, TOKEN_END}, sizeof((int[]){__VA_ARGS__, 0}) / sizeof(int))

static void a_range_is_not_a_decimal_point(void **state)
{
    ASSERT_KINDS(lex_string_of(state, "1..3"), TOKEN_NUMBER, TOKEN_RANGE, TOKEN_NUMBER);
    ASSERT_KINDS(lex_string_of(state, "1.5..3"), TOKEN_NUMBER, TOKEN_RANGE, TOKEN_NUMBER);
    ASSERT_KINDS(lex_string_of(state, "x.y"), TOKEN_NAME, '.', TOKEN_NAME);
}

static void an_exponent_needs_digits(void **state)
{
    ASSERT_KINDS(lex_string_of(state, "2.4e-3"), TOKEN_NUMBER);
    ASSERT_KINDS(lex_string_of(state, "1epochs"), TOKEN_NUMBER, TOKEN_NAME);
    ASSERT_KINDS(lex_string_of(state, "8clips"), TOKEN_NUMBER, TOKEN_NAME);
}

static void the_longest_operator_wins(void **state)
{
    ASSERT_KINDS(lex_string_of(state, "<=<==>=|>->-"), TOKEN_LE, TOKEN_LE, '=', TOKEN_GE,
                 TOKEN_PIPE, TOKEN_ARROW, '-');
    assert_int_equal(((Lexed *)*state)->diags.n_errors, 0);
}

static void keywords_are_whole_words(void **state)
{
    ASSERT_KINDS(lex_string_of(state, "in index not nothing yes"), TOKEN_IN, TOKEN_NAME, TOKEN_NOT,
                 TOKEN_NAME, TOKEN_YES);
}

static void comments_and_both_newlines_are_kept(void **state)
{
    Lexed *x = lex_string_of(state, "a # b\r\nc\n");
    ASSERT_KINDS(x, TOKEN_NAME, TOKEN_COMMENT, TOKEN_NEWLINE, TOKEN_NAME, TOKEN_NEWLINE);
    assert_int_equal(x->diags.n_errors, 0);
}

static void tokens_know_their_bytes(void **state)
{
    Lexed *x = lex_string_of(state, "ab  + \"c d\"");
    assert_int_equal(x->tokens.at[1].begin, 4);
    assert_int_equal(x->tokens.at[2].begin, 6);
    assert_int_equal(x->tokens.at[2].end, 11);
}

static void a_string_may_hold_an_escaped_quote(void **state)
{
    ASSERT_KINDS(lex_string_of(state, "\"a\\\"b\" x"), TOKEN_STRING, TOKEN_NAME);
    ASSERT_KINDS(lex_string_of(state, "\"a\\\\\" x"), TOKEN_STRING, TOKEN_NAME);
}

static void an_open_string_ends_with_its_line(void **state)
{
    Lexed *x = lex_string_of(state, "\"abc\nx");
    ASSERT_KINDS(x, TOKEN_BAD, TOKEN_NEWLINE, TOKEN_NAME);
    assert_int_equal(x->diags.messages.at[0].code, DIAG_E0005);
    x = lex_string_of(state, "\"abc\\");
    ASSERT_KINDS(x, TOKEN_BAD);
}

static void control_bytes_are_refused_everywhere(void **state)
{
    static const char *TEXT[] = {"a\001b", "\"a\002\"", "# \033[0m", "a\rb", "# a\rb", "\177"};
    for (size_t i = 0; i < sizeof TEXT / sizeof *TEXT; i++) {
        Lexed *x = lex_string_of(state, TEXT[i]);
        assert_int_equal(x->diags.n_errors, 1);
        assert_int_equal(x->diags.messages.at[0].code, DIAG_E0001);
    }
    assert_int_equal(lex_bytes(state, "a\0b", 3)->diags.n_errors, 1);
    assert_int_equal(lex_bytes(state, "\"a\0b\"", 5)->diags.n_errors, 1);
    assert_int_equal(lex_string_of(state, "a\tb # \t")->diags.n_errors, 0);
}

static void utf8_is_welcome_only_in_strings_and_comments(void **state)
{
    assert_int_equal(lex_string_of(state, "\"\xc3\xa9\" # \xf0\x9f\x90\xad")->diags.n_errors, 0);
    assert_int_equal(lex_string_of(state, "caf\xc3\xa9")->diags.n_errors, 1);
    assert_int_equal(lex_string_of(state, "\xef\xbb\xbfnm 1")->diags.n_errors, 1);
}

static void malformed_utf8_is_found(void **state)
{
    static const char *TEXT[] = {
        "# \xff",             /* no such byte */
        "# \xc3",             /* cut off */
        "# \xc0\x80",         /* overlong */
        "# \xe0\x80\x80",     /* overlong */
        "# \xed\xa0\x80",     /* surrogate */
        "# \xf4\x90\x80\x80", /* beyond U+10FFFF */
        "# \x80",             /* continuation alone */
    };
    for (size_t i = 0; i < sizeof TEXT / sizeof *TEXT; i++) {
        Lexed *x = lex_string_of(state, TEXT[i]);
        assert_int_equal(x->diags.n_errors, 1);
        assert_int_equal(x->diags.messages.at[0].code, DIAG_E0001);
        assert_int_equal(x->diags.messages.at[0].span.begin, 2);
    }
}

static void a_token_has_at_most_255_bytes(void **state)
{
    char text[300];
    memset(text, 'a', sizeof text);
    assert_int_equal(lex_bytes(state, text, 255)->diags.n_errors, 0);
    Lexed *x = lex_bytes(state, text, 256);
    assert_int_equal(x->diags.n_errors, 1);
    assert_int_equal(x->diags.messages.at[0].code, DIAG_E0004);
    memset(text, '1', sizeof text);
    assert_int_equal(lex_bytes(state, text, 256)->diags.n_errors, 1);
    text[0] = text[255] = '"';
    assert_int_equal(lex_bytes(state, text, 256)->diags.n_errors, 1);
}

int main(void)
{
    Lexed x = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_range_is_not_a_decimal_point, &x),
        cmocka_unit_test_prestate(an_exponent_needs_digits, &x),
        cmocka_unit_test_prestate(the_longest_operator_wins, &x),
        cmocka_unit_test_prestate(keywords_are_whole_words, &x),
        cmocka_unit_test_prestate(comments_and_both_newlines_are_kept, &x),
        cmocka_unit_test_prestate(tokens_know_their_bytes, &x),
        cmocka_unit_test_prestate(a_string_may_hold_an_escaped_quote, &x),
        cmocka_unit_test_prestate(an_open_string_ends_with_its_line, &x),
        cmocka_unit_test_prestate(control_bytes_are_refused_everywhere, &x),
        cmocka_unit_test_prestate(utf8_is_welcome_only_in_strings_and_comments, &x),
        cmocka_unit_test_prestate(malformed_utf8_is_found, &x),
        cmocka_unit_test_prestate(a_token_has_at_most_255_bytes, &x),
    };
    int failed = cmocka_run_group_tests_name("lexer", tests, NULL, NULL);
    arena_free(&x.arena);
    return failed;
}
