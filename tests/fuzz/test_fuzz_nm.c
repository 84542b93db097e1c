/* Random `.nm` bytes through parser, printer and formatter: never a crash, every diagnostic inside
 * of its source, and what the formatter accepts it prints to a fixed point with the same tree.
 *
 * As a test it replays tests/fuzz/corpus/nm and mutates it with a fixed seed for a few seconds
 * (NPC_FUZZ_ROUNDS overrides the number of mutants). With -DNPC_LIBFUZZER it is a libFuzzer target:
 *   clang -DNPC_LIBFUZZER -fsanitize=fuzzer,address .. && ./fuzz_nm tests/fuzz/corpus/nm */
#include "frontend/format.h"
#include "frontend/parse.h"
#include "ir/base/file.h"

#include <stdarg.h>
#include <stdlib.h>

static void require(bool holds, const char *what, const uint8_t *data, size_t n)
{
    if (holds)
        return;
    fprintf(stderr, "%s; the input was:\n", what);
    fwrite(data, 1, n, stderr);
    abort();
}

static const char *tree_text(Arena *arena, Names *names, const char *text, size_t len)
{
    Diags diags;
    Text out = {.arena = arena};
    diags_init(&diags, arena);
    ast_print(&out, parse_file(arena, names, &diags, "tree", text, len));
    return text_str(&out);
}

static void check_formatter(Arena *arena, Names *names, const char *text, size_t len)
{
    const uint8_t *data = (const uint8_t *)text;
    Text once = {.arena = arena}, twice = {.arena = arena};
    Diags diags;

    diags_init(&diags, arena);
    if (!format_text(arena, names, &diags, "fuzz", text, len, &once))
        return;
    bool again = format_text(arena, names, &diags, "fuzz", text_str(&once), once.len, &twice);
    if (!again && diags.messages.at[0].code == DIAG_E0004)
        return;
    require(again, "formatting broke the syntax", data, len);
    require(!strcmp(text_str(&once), text_str(&twice)), "formatting twice differs", data, len);
    require(!strcmp(tree_text(arena, names, text, len),
                    tree_text(arena, names, text_str(&once), once.len)),
            "formatting changed the tree", data, len);
}

static void check_strings(Arena *arena, Names *names, Diags *diags, const Expr *e)
{
    StringPieces pieces;
    if (!e)
        return;
    if (e->kind == EXPR_STRING)
        parse_string_pieces(arena, names, diags, e, &pieces);
    check_strings(arena, names, diags, e->left);
    check_strings(arena, names, diags, e->right);
    for (uint32_t i = 0; i < e->items.len; i++)
        check_strings(arena, names, diags, e->items.at[i].value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    Arena arena = {0};
    Names names = {.arena = &arena};
    Diags diags;
    const char *text = (const char *)data;
    SetOption set;

    diags_init(&diags, &arena);
    AstFile *file = parse_file(&arena, &names, &diags, "fuzz", text, n);
    for (uint32_t i = 0; i < file->decls.len; i++)
        check_strings(&arena, &names, &diags, file->decls.at[i]->value);
    parse_expression_text(&arena, &names, &diags, "text", text, n);
    parse_set(&arena, &names, &diags, arena_strndup(&arena, text, n), &set);
    for (uint32_t i = 0; i < diags.messages.len; i++) {
        Span s = diags.messages.at[i].span;
        bool inside = s.begin <= s.end && s.end <= diags.sources.at[s.file].len;
        require(inside, "a diagnostic lies outside of its source", data, n);
    }
    check_formatter(&arena, &names, text, n);
    arena_free(&arena);
    return 0;
}

#ifndef NPC_LIBFUZZER
#include <setjmp.h>
#include <cmocka.h>

static uint64_t random_state = 20231031;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* Pieces of the language, so that mutants reach deeper than random bytes do. */
static const char *const SPLINTER[] = {
    "(",       ")",         "[",          "]",      "{",
    "}",       "\n",        "|>",         "->",     "=",
    ":",       ",",         ";",          "..",     "\"",
    "#",       "\r\n",      " if ",       " else ", "for i in x {",
    "part p ", "return ",   "-",          "^",      "1e999",
    "\\",      "{i}",       "model m",    "x",      "3 frames",
    "\xff",    "\x01",      "not ",       "nm 1\n", "names n {",
    ".",       "[b c:5 t]", "init(a: 1)", "\t",     "&&",
};

static size_t insert(uint8_t *out, size_t n, size_t cap, size_t at, const char *s)
{
    size_t m = strlen(s);
    if (n + m > cap)
        return n;
    memmove(out + at + m, out + at, n - at);
    memcpy(out + at, s, m);
    return n + m;
}

/* Only where a blank is, so that the file has a chance to stay right and reach the formatter. */
static size_t mutate_blanks(uint8_t *out, size_t n, size_t cap)
{
    static const char *const BLANK[] = {"\n", "  ", " # c\n", "\n\n\n", ";", "\t", "\r\n", "#"};
    for (uint32_t k = random_below(4) + 1; k > 0; k--) {
        size_t at = random_below((uint32_t)n + 1);
        while (at < n && !strchr(" \n(,", out[at]))
            at++;
        n = insert(out, n, cap, at, BLANK[random_below(sizeof BLANK / sizeof *BLANK)]);
    }
    return n;
}

static size_t mutate(uint8_t *out, size_t n, size_t cap)
{
    for (uint32_t k = random_below(6) + 1; k > 0; k--) {
        size_t at = random_below((uint32_t)n + 1), len = random_below(20);
        const char *s = SPLINTER[random_below(sizeof SPLINTER / sizeof *SPLINTER)];
        switch (random_below(4)) {
        case 0: /* cut */
            len = len < n - at ? len : n - at;
            memmove(out + at, out + at + len, n - at - len);
            n -= len;
            break;
        case 1: /* change a byte */
            if (at < n)
                out[at] = (uint8_t)random_below(256);
            break;
        case 2: /* insert a splinter */
            n = insert(out, n, cap, at, s);
            break;
        default: /* copy a stretch to somewhere else */
            if (at + len <= n && n > 0)
                memmove(out + random_below((uint32_t)(n - len + 1)), out + at, len);
        }
    }
    return n;
}

typedef struct Corpus {
    Arena arena;
    char **text;
    size_t *len, n;
} Corpus;

static void read_corpus(Corpus *c)
{
    const char **names;
    Err err = {0};
    assert_int_equal(file_list(&c->arena, "tests/fuzz/corpus/nm", &names, &c->n, &err), NPC_OK);
    c->text = ARENA_ARRAY(&c->arena, char *, c->n);
    c->len = ARENA_ARRAY(&c->arena, size_t, c->n);
    for (size_t i = 0; i < c->n; i++) {
        const char *path = arena_printf(&c->arena, "tests/fuzz/corpus/nm/%s", names[i]);
        assert_int_equal(file_read(&c->arena, path, 1 << 20, &c->text[i], &c->len[i], &err),
                         NPC_OK);
    }
}

static void saved_inputs_do_no_harm(void **state)
{
    Corpus *c = *state;
    assert_true(c->n >= 3);
    for (size_t i = 0; i < c->n; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)c->text[i], c->len[i]);
}

static void mutated_inputs_do_no_harm(void **state)
{
    Corpus *c = *state;
    const char *rounds = getenv("NPC_FUZZ_ROUNDS");
    for (long k = rounds ? atol(rounds) : 600; k > 0; k--) {
        size_t i = random_below((uint32_t)c->n), cap = c->len[i] + 1000;
        uint8_t *data = malloc(cap);
        memcpy(data, c->text[i], c->len[i]);
        size_t n = (k % 2 ? mutate : mutate_blanks)(data, c->len[i], cap);
        data = realloc(data, n + 1); /* so that the sanitizer sees a read beyond the end */
        LLVMFuzzerTestOneInput(data, n);
        free(data);
    }
}

int main(void)
{
    Corpus corpus = {0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(saved_inputs_do_no_harm, &corpus),
        cmocka_unit_test_prestate(mutated_inputs_do_no_harm, &corpus),
    };
    read_corpus(&corpus);
    int failed = cmocka_run_group_tests_name("fuzz_nm", tests, NULL, NULL);
    arena_free(&corpus.arena);
    return failed;
}
#endif
