/* The formatter: layout rules one by one; idempotent, and no comment lost. */
#include "frontend/format.h"
#include "frontend/parse.h"
#include "ir/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct Formatted {
    Arena arena;
    Names names;
    Diags diags;
} Formatted;

static const char *formatted(void **state, const char *text)
{
    Formatted *x = *state;
    Text out = {.arena = &x->arena};
    *x = (Formatted){.arena = x->arena, .names = {.arena = &x->arena}};
    diags_init(&x->diags, &x->arena);
    if (!format_text(&x->arena, &x->names, &x->diags, "test.nm", text, strlen(text), &out))
        return "error";
    return text_str(&out);
}

static void assert_format(void **state, const char *text, const char *expected)
{
    assert_string_equal(formatted(state, text), expected);
    assert_string_equal(formatted(state, expected), expected);
}

static void blanks_between_tokens_are_settled(void **state)
{
    assert_format(state, "nm   1\na=f( x ,y:3 )+-2*[ 1,2 ]\n",
                  "nm 1\na = f(x, y: 3) + -2 * [1, 2]\n");
    assert_format(state, "nm 1\na = x [ - 1 .. ] . c^2\nb = 16frames\nc = not( a )\n",
                  "nm 1\na = x[-1..].c ^ 2\nb = 16 frames\nc = not (a)\n");
    assert_format(state, "nm 1\nuse  std( a,b )\nuse \"x\"(c)",
                  "nm 1\nuse std (a, b)\nuse \"x\" (c)\n");
}

static void tensor_types_are_tight_and_other_axes_are_not(void **state)
{
    assert_format(state,
                  "nm 1\nblock f(x:[ b c : 5 ]) ->[b n : ceil( h / 2 )] {return x|>d([c:3])}",
                  "nm 1\nblock f(x: [b c:5]) -> [b n:ceil(h/2)] { return x |> d([c: 3]) }\n");
    assert_format(
        state,
        "nm 1\nblock f(x:tensor,by:string in[\"a\",\"b\"]=\"a\",n : int in 1 .. 4){return x}",
        "nm 1\nblock f(x: tensor, by: string in [\"a\", \"b\"] = \"a\", n: int in 1..4) { "
        "return x }\n");
    assert_format(state, "nm 1\nblock f() {\nparam w:[c:3](decay:no)=f( 1 )\n}",
                  "nm 1\nblock f() {\n  param w: [c:3] (decay: no) = f(1)\n}\n");
}

static void bodies_indent_by_two(void **state)
{
    assert_format(state,
                  "nm 1\nmodel m() { if a {\nb = 1 }\n\n\n else { part p {\n\n c = 2\n\n} } }\n",
                  "nm 1\nmodel m() {\n  if a {\n    b = 1\n  } else {\n    part p {\n      c = 2\n"
                  "    }\n  }\n}\n");
    assert_format(state, "nm 1\nmodel m() {\n}", "nm 1\nmodel m() {\n}\n");
}

static void pipes_stand_below_the_first_pipe(void **state)
{
    assert_format(state, "nm 1\nblock f() {\nyy = x |> a\n|> b\nreturn y\n|> c\n|> d(1,\n2)\n}",
                  "nm 1\nblock f() {\n  yy = x |> a\n         |> b\n  return y\n         |> c\n"
                  "         |> d(1,\n              2)\n}\n");
}

static void continued_arguments_stand_below_the_first(void **state)
{
    assert_format(state, "nm 1\na = f(x,\ny)\nb = [\n1,\n2\n]\n",
                  "nm 1\na = f(x,\n      y)\nb = [\n  1,\n  2\n]\n");
}

static void settings_of_a_recipe_align(void **state)
{
    assert_format(
        state, "nm 1\nrecipe r for m {\na = 1\nlong = 2\n\nb = 3\n}\nlonger = 1\nx = 2\n",
        "nm 1\nrecipe r for m {\n  a    = 1\n  long = 2\n\n  b = 3\n}\nlonger = 1\nx = 2\n");
}

static void comments_of_neighbouring_lines_align(void **state)
{
    assert_format(state, "nm 1 # v\n# own\na = 1 # one\nbcd = 2   # two   \n\n\n\nc = 3# three\n",
                  "nm 1  # v\n# own\na = 1    # one\nbcd = 2  # two\n\nc = 3  # three\n");
}

static void comments_stay_where_they_were(void **state)
{
    assert_format(
        state,
        "nm 1\nblock f() { # a\n# b\ny = x # c\n# d\n|> g( # e\n1, # f\n# g\n2\n# "
        "h\n)\n# i\n}\n# j",
        "nm 1\nblock f() {  # a\n  # b\n  y = x  # c\n      # d\n      |> g(  # e\n"
        "        1,   # f\n        # g\n        2\n        # h\n      )\n  # i\n}\n# j\n");
}

static void needless_semicolons_vanish(void **state)
{
    assert_format(state, "nm 1;\na = 1; b = 2;\n;\nc = 3; # d\n",
                  "nm 1\na = 1; b = 2\nc = 3  # d\n");
}

static void wrong_files_are_left_alone(void **state)
{
    assert_string_equal(formatted(state, "nm 1\na = \n"), "error");
    assert_int_equal(((Formatted *)*state)->diags.n_errors, 1);
}

/* Every comment of the text, in order, one a line. */
static const char *comments_of(void **state, const char *text)
{
    Formatted *x = *state;
    Text out = {.arena = &x->arena};
    const AstFile *f = parse_file(&x->arena, &x->names, &x->diags, "test.nm", text, strlen(text));
    for (uint32_t i = 0; i < f->comments.len; i++) {
        Span s = f->comments.at[i].span;
        text_add_n(&out, text + s.begin, s.end - s.begin);
        text_char(&out, '\n');
    }
    return text_str(&out);
}

static void sample_files_keep_their_comments_and_format_once(void **state)
{
    Formatted *x = *state;
    const char **names;
    size_t n;
    Err err;
    assert_int_equal(file_list(&x->arena, "tests/fuzz/corpus/nm", &names, &n, &err), NPC_OK);
    for (size_t i = 0; i < n; i++) {
        char *text;
        size_t len;
        const char *path = arena_printf(&x->arena, "tests/fuzz/corpus/nm/%s", names[i]);
        assert_int_equal(file_read(&x->arena, path, 1 << 20, &text, &len, &err), NPC_OK);
        const char *once = formatted(state, text);
        if (!strcmp(once, "error"))
            continue;
        assert_string_equal(formatted(state, once), once);
        assert_string_equal(comments_of(state, once), comments_of(state, text));
    }
}

int main(void)
{
    Formatted x = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(blanks_between_tokens_are_settled, &x),
        cmocka_unit_test_prestate(tensor_types_are_tight_and_other_axes_are_not, &x),
        cmocka_unit_test_prestate(bodies_indent_by_two, &x),
        cmocka_unit_test_prestate(pipes_stand_below_the_first_pipe, &x),
        cmocka_unit_test_prestate(continued_arguments_stand_below_the_first, &x),
        cmocka_unit_test_prestate(settings_of_a_recipe_align, &x),
        cmocka_unit_test_prestate(comments_of_neighbouring_lines_align, &x),
        cmocka_unit_test_prestate(comments_stay_where_they_were, &x),
        cmocka_unit_test_prestate(needless_semicolons_vanish, &x),
        cmocka_unit_test_prestate(wrong_files_are_left_alone, &x),
        cmocka_unit_test_prestate(sample_files_keep_their_comments_and_format_once, &x),
    };
    int failed = cmocka_run_group_tests_name("format", tests, NULL, NULL);
    arena_free(&x.arena);
    return failed;
}
