/* Runs wrong `.nm` files and compares what is reported with what their comments expect.
 *
 *     y = x + * z      # error: E0002 expected an expression | a power is
 *     # error@+1: E0005 not closed
 *
 * "error: CODE text" expects an error of that number on this line whose sentence contains the text;
 * after "|" comes what one of its notes or helps must contain. "error@+1" and "error@-1" mean the
 * line below or above, "error@0" the file as a whole, and ";; error" separates several
 * expectations. Every error must be expected and every expectation met. A file without any
 * expectation must pass without an error.
 *
 * The stage under test is a function: another folder of files with another stage is one more test
 * program with a main of five lines. */
#ifndef NPC_TESTS_DIAG_DRIVER_H
#define NPC_TESTS_DIAG_DRIVER_H

#include "frontend/parse.h"
#include "ir/base/file.h"

#include <stdlib.h>

typedef void (*DiagStage)(Arena *arena, Names *names, Diags *diags, const char *path,
                          const char *text, size_t len);

typedef struct Expectation {
    uint32_t line; /* 0: no place */
    const char *code, *text, *hint;
    bool is_met;
} Expectation;

typedef VEC(Expectation) Expectations;

static inline const char *diag_trimmed(Arena *arena, const char *begin, const char *end)
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && strchr(" \t\r", end[-1]))
        end--;
    return arena_strndup(arena, begin, (size_t)(end - begin));
}

/* One expectation, from behind "error" to `end`. */
static inline Expectation diag_expectation(Arena *arena, const char *at, const char *end,
                                           uint32_t line)
{
    Expectation e = {.line = line, .hint = ""};
    if (*at == '@') {
        long offset = strtol(at + 1, NULL, 10);
        e.line = offset ? (uint32_t)(line + offset) : 0;
    }
    at = memchr(at, ':', (size_t)(end - at)) ? strchr(at, ':') + 1 : end;
    const char *bar = memchr(at, '|', (size_t)(end - at));
    if (bar && bar[1] == '>')
        bar = memchr(bar + 1, '|', (size_t)(end - bar - 1));
    const char *sentence = diag_trimmed(arena, at, bar ? bar : end);
    e.code = arena_strndup(arena, sentence, strlen(sentence) < 5 ? strlen(sentence) : 5);
    e.text = diag_trimmed(arena, sentence + strlen(e.code), sentence + strlen(sentence));
    if (bar)
        e.hint = diag_trimmed(arena, bar + 1, end);
    return e;
}

static inline void diag_expectations(Arena *arena, const char *text, Expectations *out)
{
    uint32_t line = 1;
    for (const char *at = text; *at; line++) {
        const char *end = strchr(at, '\n');
        end = end ? end : at + strlen(at);
        const char *mark = strstr(at, "# error");
        while (mark && mark < end) {
            mark = strstr(mark, "error") + strlen("error");
            const char *next = strstr(mark, ";; error");
            const char *stop = next && next < end ? next : end;
            vec_push(arena, out, diag_expectation(arena, mark, stop, line));
            mark = stop == next ? next : NULL;
        }
        at = *end ? end + 1 : end;
    }
}

/* Does a note or help of message i contain the hint? */
static inline bool diag_has_hint(const Diags *d, uint32_t i, const char *hint)
{
    for (uint32_t k = i + 1; k < d->messages.len && d->messages.at[k].kind >= DIAG_KIND_NOTE; k++)
        if (strstr(d->messages.at[k].text, hint))
            return true;
    return *hint == 0;
}

static inline bool diag_is_expected(const Diags *d, uint32_t i, Expectations *all)
{
    const DiagMessage *m = &d->messages.at[i];
    uint32_t line = 0, column;
    if (m->span.file)
        diag_place(d, m->span, &line, &column);
    for (uint32_t k = 0; k < all->len; k++) {
        Expectation *e = &all->at[k];
        if (e->is_met || e->line != line || strcmp(e->code, diag_code_text(m->code)) ||
            !strstr(m->text, e->text) || !diag_has_hint(d, i, e->hint))
            continue;
        return e->is_met = true;
    }
    return false;
}

/* Number of differences, which are printed. */
static inline int diag_run_file(const char *path, DiagStage stage)
{
    Arena arena = {0};
    Names names = {.arena = &arena};
    Expectations expected = {0};
    Diags diags;
    Err err = {0};
    char *text;
    size_t len;
    int n_wrong = 0;

    diags_init(&diags, &arena);
    if (file_read(&arena, path, 1 << 24, &text, &len, &err) != NPC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    diag_expectations(&arena, text, &expected);
    stage(&arena, &names, &diags, path, text, len);
    for (uint32_t i = 0; i < diags.messages.len; i++)
        if (diags.messages.at[i].kind == DIAG_KIND_ERROR &&
            !diag_is_expected(&diags, i, &expected)) {
            fprintf(stderr, "%s: not expected: %s %s\n",
                    diag_place_text(&diags, diags.messages.at[i].span),
                    diag_code_text(diags.messages.at[i].code), diags.messages.at[i].text);
            n_wrong++;
        }
    for (uint32_t k = 0; k < expected.len; k++)
        if (!expected.at[k].is_met) {
            fprintf(stderr, "%s:%u: not reported: %s %s | %s\n", path, expected.at[k].line,
                    expected.at[k].code, expected.at[k].text, expected.at[k].hint);
            n_wrong++;
        }
    if (n_wrong)
        diags_print(&diags, stderr);
    arena_free(&arena);
    return n_wrong;
}

/* All `.nm` files of a folder; returns the number of differences and counts the files. */
static inline int diag_run_folder(const char *folder, DiagStage stage, int *n_files)
{
    Arena arena = {0};
    Err err = {0};
    const char **names;
    size_t n;
    int n_wrong = 0;

    *n_files = 0;
    if (file_list(&arena, folder, &names, &n, &err) != NPC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        const char *dot = strrchr(names[i], '.');
        if (!dot || strcmp(dot, ".nm"))
            continue;
        n_wrong += diag_run_file(arena_printf(&arena, "%s/%s", folder, names[i]), stage);
        ++*n_files;
    }
    arena_free(&arena);
    return n_wrong;
}

#endif
