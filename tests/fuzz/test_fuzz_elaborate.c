/* Damaged models never crash elaboration: tokens and bytes of the model files are swapped, lost,
 * doubled or replaced; whatever comes back as a module is legal. Every failing allocation ends at
 * the one jump. FUZZ_RUNS=n changes the number of rounds, FUZZ_SEED=n the damage. */
#include "ir/base/file.h"
#include "ir/elaborate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static uint64_t state64;

static uint64_t draw(uint64_t n)
{
    state64 ^= state64 << 13;
    state64 ^= state64 >> 7;
    state64 ^= state64 << 17;
    return state64 % n;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* [begin, end) of a word or a single other byte at a random place. */
static void pick(const char *text, size_t len, size_t *begin, size_t *end)
{
    size_t at = draw(len);
    *begin = *end = at;
    if (!is_word(text[at])) {
        (*end)++;
        return;
    }
    while (*begin > 0 && is_word(text[*begin - 1]))
        (*begin)--;
    while (*end < len && is_word(text[*end]))
        (*end)++;
}

/* Replaces one piece by another of the text, by nothing, or by something odd. */
static size_t damage(char *text, size_t len, size_t room)
{
    static const char *const odd[] = {"0",     "-1",       "9223372036854775807",
                                      "1e300", "x",        "c",
                                      "[",     "s",        "{",
                                      "(",     "|>",       "..",
                                      "per",   "1/7",      "no",
                                      "\"\"",  "16777216", "0.5 sec",
                                      "#",     "for"};
    char copy[64];
    size_t begin, end, from, to;
    pick(text, len, &begin, &end);
    pick(text, len, &from, &to);
    size_t n = to - from < sizeof copy ? to - from : 0;
    memcpy(copy, text + from, n);
    if (draw(3) == 0) {
        const char *o = odd[draw(sizeof odd / sizeof *odd)];
        n = strlen(o);
        memcpy(copy, o, n);
    }
    if (len - (end - begin) + n > room)
        return len;
    memmove(text + begin + n, text + end, len - end);
    memcpy(text + begin, copy, n);
    return len - (end - begin) + n;
}

static void build(const char *path, const char *text, size_t len)
{
    Arena arena = {0};
    Names names = {.arena = &arena};
    Diags diags;
    Elaborated info;
    ElaborateOptions options = {
        .sessions = &(Session){.name = "m", .neurons = 7}, .n_sessions = 1, .probes = true};
    diags_init(&diags, &arena);
    Module *m = elaborate_text(&arena, &names, &diags, path, text, len, &options, &info);
    assert_int_equal(!m, diags.n_errors > 0);
    if (m) {
        const char *wrong = module_verify(m, &arena);
        if (wrong)
            fail_msg("%s: %s\n%.*s", path, wrong, (int)len, text);
    }
    arena_free(&arena);
}

static void damaged_models_are_refused_or_legal(void **state)
{
    static const char *const files[] = {"tests/golden/tiny_model.nm", "models/demo.nm",
                                        "models/dwiseneuro.nm", "tests/diag/elaborate/fine.nm"};
    const char *runs = getenv("FUZZ_RUNS"), *seed = getenv("FUZZ_SEED");
    int n_runs = runs ? atoi(runs) : 400;
    (void)state;
    state64 = seed ? strtoull(seed, NULL, 10) : 20230611;
    for (int i = 0; i < n_runs; i++) {
        Arena arena = {0};
        Err err = {0};
        char *text;
        size_t len;
        const char *path = files[draw(4)];
        assert_int_equal(file_read(&arena, path, 1 << 20, &text, &len, &err), NPC_OK);
        size_t room = len + 4096;
        char *broken = arena_alloc(&arena, room);
        memcpy(broken, text, len);
        for (uint64_t n = 1 + draw(4); n; n--)
            len = damage(broken, len, room);
        if (getenv("FUZZ_DUMP"))
            file_write(getenv("FUZZ_DUMP"), broken, len, &err);
        build(path, broken, len);
        arena_free(&arena);
    }
}

static void every_refused_request_for_memory_ends_at_the_jump(void **state)
{
    static const char path[] = "tests/golden/tiny_model.nm";
    (void)state;
    for (volatile long n = 1;; n++) {
        Arena arena = {0};
        Names names = {.arena = &arena};
        Diags diags;
        Elaborated info;
        ElaborateOptions options = {0};
        jmp_buf out;
        diags_init(&diags, &arena);
        arena.exhausted = &out;
        arena.n_requests = 0;
        arena.fail_at = n;
        volatile bool is_done = false;
        if (!setjmp(out))
            is_done = elaborate(&arena, &names, &diags, path, &options, &info);
        arena_free(&arena);
        if (is_done)
            break;
        assert_true(n < 1000000);
        n += n > 500 ? n / 50 : 0; /* the later ones in steps */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_models_are_refused_or_legal),
        cmocka_unit_test(every_refused_request_for_memory_ends_at_the_jump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
