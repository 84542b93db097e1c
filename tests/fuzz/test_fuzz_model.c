/* Random `.nm` programs through elaboration, passes and plans: never a crash, never an endless run,
 * and a program that elaboration accepts always becomes plans whose kernels are legal.
 *
 * As a test it makes programs from a grammar (most are well-typed) and mutates the published model
 * for a few seconds with a fixed seed; NPC_FUZZ_ROUNDS overrides the number of both. With
 * -DNPC_LIBFUZZER it is a libFuzzer target:
 *   clang -DNPC_LIBFUZZER -fsanitize=fuzzer,address .. && ./fuzz_model models tests/fuzz/corpus/nm
 */
#include "ir/base/file.h"
#include "ir/elaborate.h"
#include "passes/plan.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

enum { SECONDS = 30, REQUESTS = 20000000, LANES = 8 };

static void require(bool holds, const char *what, const uint8_t *data, size_t n)
{
    if (holds)
        return;
    fprintf(stderr, "%s; the program was:\n", what);
    fwrite(data, 1, n, stderr);
    abort();
}

static const char *const SETS[] = {"widths=[8, 8, 12, 16]", "strides=[2, 1, 2, 1]", "expansion=3",
                                   "se_ratio=4", "cortex_widths=[32, 48]"};

static Module *elaborate_small(Arena *arena, Names *names, Diags *diags, const char *text, size_t n,
                               bool is_published)
{
    static const Session recordings[] = {{.name = "a", .neurons = 3}, {.name = "b", .neurons = 5}};
    static const AxisSize sizes[] = {{"t", 4}, {"h", 9}, {"w", 8}};
    SetOption set[5];
    Elaborated out;
    ElaborateOptions o = {.sessions = recordings, .n_sessions = 2, .batch = 2};
    if (is_published) {
        for (int i = 0; i < 5; i++)
            parse_set(arena, names, diags, SETS[i], &set[i]);
        o.sets = set;
        o.n_sets = 5;
        o.bind = sizes;
        o.n_bind = 3;
    }
    o.probes = n % 2;
    return elaborate_text(arena, names, diags, "models/fuzz.nm", text, n, &o, &out);
}

static void check_program(Module *m, ProgramKind kind, FuseLevel level, const uint8_t *data,
                          size_t n)
{
    PassOptions o = {.fuse = level,
                     .target = traits_cpu(LANES),
                     .recompute = n % 3 ? RECOMPUTE_NONE : RECOMPUTE_EXPAND,
                     .optimizer = {.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = 0.05,
                                   .ema_decay = 0.999},
                     .gradient_factor = 1,
                     .verify = true};
    Func *f = passes_run(m, kind, &o);
    bool ok = f && !m->diags->n_errors;
    if (!ok)
        diags_print(m->diags, stderr);
    require(ok, "the passes refuse what elaboration accepted", data, n);
    Plan *plan = plan_build(m->arena, f, kind, &o, NULL, NULL);
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const char *wrong = tile_verify(plan->launches.at[i].tile, m->arena);
        require(!wrong, wrong ? wrong : "", data, n);
    }
}

static clock_t started;

static void check_time(const uint8_t *data, size_t n)
{
    require(clock() - started < (clock_t)SECONDS * CLOCKS_PER_SEC, "it takes too long", data, n);
}

/* Was the program accepted? */
static bool try_program(Arena *arena, const uint8_t *data, size_t n)
{
    static const ProgramKind kind[] = {PROGRAM_EVAL, PROGRAM_STEP, PROGRAM_GRAD};
    static const char head[] = "nm 1\n\n# DwiseNeuro";
    Names names = {.arena = arena};
    Diags diags;
    diags_init(&diags, arena);
    bool is_published = n > sizeof head && !memcmp(data, head, sizeof head - 1);
    Module *m = elaborate_small(arena, &names, &diags, (const char *)data, n, is_published);
    require(m || diags.n_errors, "refused without a message", data, n);
    check_time(data, n);
    if (!m || diags.n_errors)
        return false;
    const char *wrong = module_verify(m, arena);
    require(!wrong, wrong ? wrong : "", data, n);
    for (size_t i = 0; i < 3; i++) {
        check_program(m, kind[i], (FuseLevel)((n + i) % 3), data, n);
        check_time(data, n);
    }
    return true;
}

static bool accepted;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    Arena arena = {.fail_at = REQUESTS};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    started = clock();
    accepted = false;
    if (setjmp(exhausted) == 0)
        accepted = try_program(&arena, data, n);
    arena_free(&arena);
    return 0;
}

#ifndef NPC_LIBFUZZER
#include <cmocka.h>

static uint64_t random_state = 20231030;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static bool chance(uint32_t percent)
{
    return below(100) < percent;
}

#define PICK(list) (list)[below(sizeof(list) / sizeof *(list))]

/* ---- a grammar ---- */

/* What is known of x while lines are written: its axes and channels. */
typedef struct Gen {
    Text out;
    bool has_t, has_space;
    int c;
    int n_labels;
} Gen;

static int channels(const Gen *g)
{
    static const int size[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 24};
    (void)g;
    return PICK(size);
}

/* A divisor of a and b, or now and then any number. */
static int groups_of(int a, int b)
{
    int k = 1 + (int)below(6);
    if (chance(3))
        return k;
    while (a % k || b % k)
        k--;
    return k;
}

static const char *axes(const Gen *g)
{
    static const char *const three[] = {"[t h w]", "[h w]", "[t]", "[w]", "[h]", "[h t]"};
    static const char *const wrong[] = {"[z]", "[h h]", "[]", "[b c t h w]"};
    if (chance(2))
        return PICK(wrong);
    return g->has_space ? (g->has_t ? PICK(three) : "[h w]") : g->has_t ? "[t]" : "[c]";
}

static void write_dense(Gen *g)
{
    int c = channels(g);
    text_printf(&g->out, "x |> dense([c: %d], groups: %d, bias: %s, name: \"d%d\")", c,
                groups_of(g->c, c), chance(50) ? "yes" : "no", g->n_labels++);
    g->c = c;
}

static void write_conv(Gen *g)
{
    static const char *const space[] = {"[h: 3, w: 3]", "[h: 1, w: 5]",       "[t: 3]",
                                        "[w: 2]",       "[t: 3, h: 3, w: 3]", "[h: 9]"};
    static const char *const stride[] = {"", ", stride: [w: 2]", ", stride: [h: 2]",
                                         ", pad: [w: 0]", ", pad: [h: 1]"};
    const char *kernel = g->has_space ? PICK(space) : g->has_t ? "[t: 3]" : "[c: 1]";
    const char *more = g->has_space ? PICK(stride) : "";
    if (!g->has_t && strchr(kernel, 't'))
        kernel = "[h: 3]";
    if ((strchr(more, 'w') && !strchr(kernel, 'w')) || (strchr(more, 'h') && !strchr(kernel, 'h')))
        more = "";
    if (chance(50)) {
        text_printf(&g->out, "x |> conv(kernel: %s%s, groups: %d, name: \"k%d\")", kernel, more,
                    g->c, g->n_labels++);
        return;
    }
    int c = channels(g);
    text_printf(&g->out, "x |> conv([c: %d], kernel: %s%s, groups: %d, bias: yes, name: \"k%d\")",
                c, kernel, more, groups_of(g->c, c), g->n_labels++);
    g->c = c;
}

static void write_reduction(Gen *g)
{
    const char *what = chance(70) ? "mean" : "sum";
    if (g->has_space) {
        text_printf(&g->out, "x |> %s(over: [h w])", what);
        g->has_space = false;
    } else {
        text_printf(&g->out, "x * (x |> %s(over: [%s]))", what, g->has_t ? "t" : "c");
    }
}

static void write_resize(Gen *g)
{
    static const char *const space[] = {"resize([h: ceil(h / 2), w: w], by: nearest)",
                                        "resize([w: 2 * w - 1], by: nearest)", "pad([h: 1, w: 2])",
                                        "take([w: 0..w - 1])", "tile([h: h + 3])"};
    if (g->has_space) {
        text_printf(&g->out, "x |> %s", PICK(space));
        return;
    }
    g->c = channels(g);
    text_printf(&g->out, "x |> tile([c: %d])", g->c);
}

static void write_shuffle(Gen *g)
{
    int k = groups_of(g->c, g->c);
    const char *rest = g->has_space ? g->has_t ? "t h w" : "h w" : g->has_t ? "t" : "";
    text_printf(&g->out, "x |> rearrange(\"b (g k) %s -> b (k g) %s\", g: %d)", rest, rest, k);
}

static void write_pointwise(Gen *g)
{
    static const char *const op[] = {
        "silu", "sigmoid",  "relu", "elu", "gelu", "tanh", "square", "abs", "softplus(beta: 0.5)",
        "exp",  "softplus", "sqrt"};
    text_printf(&g->out, "x |> %s", PICK(op));
}

static void write_regularizer(Gen *g)
{
    switch (below(4)) {
    case 0:
        text_printf(&g->out, "x |> drop_path(%s, name: \"r%d\")", chance(50) ? "0.25" : "0",
                    g->n_labels++);
        break;
    case 1:
        text_printf(&g->out, "x |> dropout(1 / 3, shared: %s, name: \"r%d\")", axes(g),
                    g->n_labels++);
        break;
    case 2:
        text_printf(&g->out, "x |> sincos_position(over: %s, name: \"r%d\")", axes(g),
                    g->n_labels++);
        break;
    default:
        text_printf(&g->out, "x |> batchnorm(name: \"r%d\")", g->n_labels++);
    }
}

static void write_sum(Gen *g)
{
    static const char *const form[] = {"x + (x |> silu) * 0.5",         "x * (x |> mean(over: %s))",
                                       "x - (x |> mean(over: %s))",     "x / (1 + (x |> square))",
                                       "(x |> sigmoid) * x + clip * 0", "-x + 2 * x"};
    text_printf(&g->out, PICK(form), axes(g));
}

static void write_block_call(Gen *g)
{
    g->c = channels(g);
    text_printf(&g->out, "x |> unit(%d, name: \"u%d\")", g->c, g->n_labels++);
}

static void write_statement(Gen *g)
{
    static void (*const form[])(Gen *) = {write_dense,     write_conv,    write_regularizer,
                                          write_resize,    write_shuffle, write_pointwise,
                                          write_reduction, write_sum,     write_block_call};
    text_add(&g->out, "    x = ");
    form[below(sizeof form / sizeof *form)](g);
    if (chance(25))
        text_printf(&g->out, " |> batchnorm(name: \"n%d\") |> silu", g->n_labels++);
    text_char(&g->out, '\n');
}

static void write_loop(Gen *g)
{
    text_printf(&g->out, "    for i, width in [%d, %d] {\n", channels(g), g->c = channels(g));
    text_printf(&g->out, "      x = x |> dense([c: width], name: \"loop%d.{i}\")%s\n",
                g->n_labels++, chance(50) ? " |> silu" : "");
    text_add(&g->out, "    }\n");
}

static const char *write_program(Arena *arena)
{
    Gen g = {.out = {.arena = arena}, .has_t = true, .has_space = true};
    int n = 1 + (int)below(8);
    g.c = channels(&g);
    text_printf(
        &g.out,
        "nm 1\n"
        "block unit(x: tensor, out: int) {\n"
        "  return x |> dense([c: out], name: \"mix\") |> batchnorm(name: \"norm\") |> silu\n"
        "}\n"
        "model g(clip: [b c:%d t:%d h:%d w:%d]) -> per s in sessions [b n:s.neurons t] {\n"
        "  init(conv, dense, weight: normal(0, sqrt(2 / fan_out)), bias: 0)\n"
        "  part core {\n"
        "    x = clip\n",
        g.c, 1 + (int)below(5), 2 + (int)below(8), 2 + (int)below(8));
    for (int i = 0; i < n; i++) {
        if (chance(8))
            write_loop(&g);
        else
            write_statement(&g);
    }
    if (g.has_space)
        text_add(&g.out, "    x = x |> mean(over: [h w])\n");
    text_printf(
        &g.out,
        "  }\n"
        "  part readout per s in sessions {\n"
        "    return x |> dropout(0.5, shared: [t], name: \"drop\")\n"
        "             |> dense([n: s.neurons], from: c, bias: yes, name: \"\") |> softplus\n"
        "  }\n"
        "}\n"
        "recipe r for g {\n"
        "  batch = %d clips\n"
        "  stage train(5 steps) {\n"
        "    lr = constant(1e-3)\n"
        "  }\n"
        "}\n",
        1 + (int)below(4));
    return text_str(&g.out);
}

static long rounds(long usual)
{
    const char *given = getenv("NPC_FUZZ_ROUNDS");
    return given ? atol(given) : usual;
}

static void programs_of_the_grammar_become_plans(void **state)
{
    (void)state;
    long n = rounds(150), n_accepted = 0;
    for (long k = 0; k < n; k++) {
        Arena arena = {0};
        const char *text = write_program(&arena);
        LLVMFuzzerTestOneInput((const uint8_t *)text, strlen(text));
        n_accepted += accepted;
        if (getenv("NPC_FUZZ_SHOW") && !accepted)
            puts(text);
        arena_free(&arena);
    }
    if (n_accepted * 2 < n)
        fail_msg("only %ld of %ld programs were accepted", n_accepted, n);
}

/* ---- mutants of the published model ---- */

static size_t word_at(const char *text, size_t n, size_t *at, bool number)
{
    for (size_t i = 0; i < n; i++) {
        size_t p = (*at + i) % n, m = 0;
        bool digit = text[p] >= '0' && text[p] <= '9';
        bool letter = (text[p] >= 'a' && text[p] <= 'z') || text[p] == '_';
        bool starts = p == 0 || !strchr("abcdefghijklmnopqrstuvwxyz_.0123456789", text[p - 1]);
        if (!starts || (number ? !digit : !letter))
            continue;
        while (p + m < n && strchr("abcdefghijklmnopqrstuvwxyz_.0123456789", text[p + m]))
            m++;
        *at = p;
        return m;
    }
    return 0;
}

static size_t replace(char *text, size_t n, size_t cap, size_t at, size_t len, const char *by,
                      size_t by_len)
{
    if (n - len + by_len > cap)
        return n;
    memmove(text + at + by_len, text + at + len, n - at - len);
    memcpy(text + at, by, by_len);
    return n - len + by_len;
}

static size_t mutate(char *text, size_t n, size_t cap)
{
    static const char *const number[] = {"0",   "1",  "2",        "3",       "5",
                                         "7",   "16", "65",       "1000000", "1 / 2",
                                         "0.3", "-1", "16777216", "c",       "len(widths)"};
    for (uint32_t k = 1 + below(3); k > 0; k--) {
        size_t at = below((uint32_t)n), from = below((uint32_t)n), len, source;
        switch (below(4)) {
        case 0:
        case 1: { /* another number */
            const char *by = PICK(number);
            len = word_at(text, n, &at, true);
            n = replace(text, n, cap, at, len, by, strlen(by));
            break;
        }
        case 2: { /* a word from somewhere else */
            char word[64];
            len = word_at(text, n, &at, false);
            source = word_at(text, n, &from, false);
            source = source < sizeof word ? source : sizeof word;
            memcpy(word, text + from, source);
            n = replace(text, n, cap, at, len, word, source);
            break;
        }
        default: { /* a line less */
            const char *begin = memchr(text + at, '\n', n - at);
            const char *end =
                begin ? memchr(begin + 1, '\n', n - (size_t)(begin + 1 - text)) : NULL;
            if (end)
                n = replace(text, n, cap, (size_t)(begin - text), (size_t)(end - begin), "", 0);
        }
        }
    }
    return n;
}

static void mutants_of_the_published_model_do_no_harm(void **state)
{
    (void)state;
    Arena arena = {0};
    Err err = {0};
    char *text;
    size_t n;
    long n_accepted = 0;
    assert_int_equal(file_read(&arena, "models/dwiseneuro.nm", 1 << 20, &text, &n, &err), NPC_OK);
    LLVMFuzzerTestOneInput((const uint8_t *)text, n);
    assert_true(accepted);
    for (long k = rounds(150); k > 0; k--) {
        char *mutant = malloc(n + 200);
        memcpy(mutant, text, n);
        size_t length = mutate(mutant, n, n + 200);
        mutant = realloc(mutant, length); /* so that the sanitizer sees a read beyond the end */
        LLVMFuzzerTestOneInput((const uint8_t *)mutant, length);
        n_accepted += accepted;
        free(mutant);
    }
    assert_true(n_accepted > 0);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_of_the_grammar_become_plans),
        cmocka_unit_test(mutants_of_the_published_model_do_no_harm),
    };
    return cmocka_run_group_tests_name("fuzz_model", tests, NULL, NULL);
}
#endif
