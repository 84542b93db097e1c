/* Each pass alone on small modules, and the plan of a small network, as text.
 *
 * A golden file of a pass holds "; pass: NAME" (and perhaps ", program: KIND"; ", target: cuda"
 * for the traits of threads and full fusion; ", precision: f16"), a module, the line "; becomes",
 * and the function that the pass makes of it. Files without that line's head are other tests'.
 * NPC_UPDATE_GOLDEN=1 writes what is printed now. Passes that keep values are also executed: before
 * and after must agree. */
#include "ir/base/file.h"
#include "passes/plan.h"
#include "tests/ops/ir_harness.h"

enum { FILE_LIMIT = 1 << 20, LANES = 4 };

static const char FOLDER[] = "tests/golden", HEAD[] = "; pass: ", BECOMES[] = "; becomes\n";

typedef struct Golden {
    const char *path, *text;
    const char *becomes; /* behind the line */
    const PassRow *pass;
    ProgramKind kind;
    bool for_threads;
    PrecisionMode precision;
} Golden;

static void read_text(Arena *arena, const char *path, const char **out)
{
    char *text;
    size_t n;
    Err err = {0};
    if (file_read(arena, path, FILE_LIMIT, &text, &n, &err) != NPC_OK)
        fail_msg("%s", err.text);
    *out = text;
}

static ProgramKind kind_of(Arena *arena, const char *path, const char *line, const PassRow *pass)
{
    static const char key[] = ", program: ";
    const char *at = strstr(line, key);
    if (!at)
        return pass->kinds & PROGRAM_EVAL ? PROGRAM_EVAL
                                          : (ProgramKind)(pass->kinds & -pass->kinds);
    for (int bit = 1; bit <= PROGRAM_LAST; bit *= 2)
        if (!strcmp(arena_strndup(arena, at + strlen(key), strcspn(at + strlen(key), ",")),
                    program_kind_text((ProgramKind)bit)))
            return (ProgramKind)bit;
    fail_msg("%s: there is no program '%s'", path, at + strlen(key));
    return PROGRAM_EVAL;
}

/* False when the file is no golden of a pass. */
static bool read_golden(Arena *arena, const char *path, Golden *g)
{
    *g = (Golden){.path = path};
    read_text(arena, path, &g->text);
    if (strncmp(g->text, HEAD, strlen(HEAD)))
        return false;
    const char *line = arena_strndup(arena, g->text, strcspn(g->text, "\n")) + strlen(HEAD);
    int pass = pass_find(arena_strndup(arena, line, strcspn(line, ",")));
    if (pass < 0) {
        fail_msg("%s: there is no pass '%s'", path, line);
        return false;
    }
    g->pass = &PASSES[pass];
    g->kind = kind_of(arena, path, line, g->pass);
    if (strstr(line, ", precision: f16"))
        g->precision = PRECISION_F16;
    g->for_threads = strstr(line, ", target: cuda") != NULL;
    const char *becomes = strstr(g->text, BECOMES);
    if (!becomes)
        fail_msg("%s: the line '; becomes' is missing", path);
    g->becomes = becomes + strlen(BECOMES);
    return true;
}

static void compare_or_write(Arena *arena, const char *path, const char *want, const char *got,
                             const char *before)
{
    Err err = {0};
    if (!strcmp(want, got))
        return;
    if (!getenv("NPC_UPDATE_GOLDEN"))
        fail_msg("%s: the text differs; it is now\n%s", path, got);
    const char *text = arena_printf(arena, "%s%s", before, got);
    if (file_write(path, text, strlen(text), &err) != NPC_OK)
        fail_msg("%s", err.text);
}

static Module *parse(TestFunc *t, const char *path, const char *text, size_t n)
{
    Module *m = module_parse(&t->arena, &t->names, &t->diags, path, text, n);
    if (!m)
        fail_msg("%s: %s", path, test_log(t));
    return m;
}

/* ---- values ---- */

static bool leaf_value(void *context, const Node *leaf, double *at)
{
    (void)context;
    uint64_t random = strlen(leaf->attrs.name) + (uint64_t)leaf->op;
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        at[i] = 0.5 + test_uniform(&random);
    return true;
}

static EvalTensor *values_of(TestFunc *t, const Func *f)
{
    EvalTensor *value;
    Err err = {0};
    if (eval_func(&t->arena, f, leaf_value, NULL, &value, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return value;
}

static void check_same_values(TestFunc *t, const char *path, const Func *before, const Func *after)
{
    const EvalTensor *old = values_of(t, before), *new = values_of(t, after);
    assert_int_equal(before->results.len, after->results.len);
    for (uint32_t i = 0; i < before->results.len; i++) {
        const Result *r = &before->results.at[i], *s = &after->results.at[i];
        const EvalTensor *a = &old[r->val.id], *b = &new[s->val.id];
        assert_string_equal(r->name, s->name);
        assert_true(shape_equal(&a->shape, &b->shape));
        for (int64_t k = 0; k < shape_elems(&a->shape); k++)
            if (!(fabs(a->at[k] - b->at[k]) <= 1e-12 * (1 + fabs(a->at[k]))))
                fail_msg("%s: '%s' was %.17g and is %.17g", path, r->name, a->at[k], b->at[k]);
    }
}

static bool keeps_values(const PassRow *pass)
{
    static const char *const names[] = {"simplify",         "slice_products",  "fold_batch_norm",
                                        "recompute",        "rename_products", "norm_products",
                                        "split_sums",       "clean",           "patches",
                                        "disjoint_patches", "windows"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(pass->name, names[i]))
            return true;
    return false;
}

/* ---- passes ---- */

static void check_golden(const Golden *g)
{
    TestFunc *t = test_func();
    PassOptions o = {.target = traits_cpu(LANES),
                     .recompute = RECOMPUTE_EXPAND,
                     .optimizer = {.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = 0.05,
                                   .ema_decay = 0.999},
                     .gradient_factor = 1};
    o.precision = g->precision;
    if (g->for_threads) {
        o.target = traits_cuda();
        o.fuse = FUSE_FULL;
    }
    Module *m = parse(t, g->path, g->text, (size_t)(g->becomes - g->text));
    PassCx cx = {m->arena, &o, g->kind};
    const Func *before = m->funcs.at[0];
    Func *after = g->pass->run(&cx, before);
    assert_int_equal(m->diags->n_errors, 0);

    m->funcs.at[0] = after;
    const char *wrong = module_verify(m, m->arena);
    if (wrong)
        fail_msg("%s: %s", g->path, wrong);
    if (keeps_values(g->pass))
        check_same_values(t, g->path, before, after);
    Text got = {.arena = &t->arena};
    func_print(&got, after);
    compare_or_write(&t->arena, g->path, g->becomes, text_str(&got),
                     arena_strndup(&t->arena, g->text, (size_t)(g->becomes - g->text)));
    test_done(t);
}

static void every_pass_says_what_it_said(void **state)
{
    (void)state;
    Arena arena = {0};
    const char **name;
    size_t n;
    Err err = {0};
    int *n_goldens = ARENA_ARRAY(&arena, int, (size_t)pass_count());
    assert_int_equal(file_list(&arena, FOLDER, &name, &n, &err), NPC_OK);
    for (size_t i = 0; i < n; i++) {
        Golden g;
        const char *dot = strrchr(name[i], '.');
        if (!dot || strcmp(dot, ".ir") ||
            !read_golden(&arena, arena_printf(&arena, "%s/%s", FOLDER, name[i]), &g))
            continue;
        check_golden(&g);
        n_goldens[g.pass - PASSES]++;
    }
    for (int i = 0; i < pass_count(); i++)
        if (!n_goldens[i])
            fail_msg("the pass %s has no golden file", PASSES[i].name);
    arena_free(&arena);
}

/* ---- plans ---- */

static void check_plan(const char *file, const char *name, ProgramKind kind, FuseLevel level,
                       TargetTraits target, PrecisionMode precision)
{
    TestFunc *t = test_func();
    const char *text, *want = "";
    Err err = {0};
    const char *source = arena_printf(&t->arena, "%s/%s.ir", FOLDER, file);
    read_text(&t->arena, source, &text);
    Module *m = parse(t, source, text, strlen(text));
    PassOptions o = {.fuse = level,
                     .target = target,
                     .precision = precision,
                     .gradient_factor = 1,
                     .verify = true};
    Func *f = kind == PROGRAM_FORWARD ? m->funcs.at[0] : passes_run(m, kind, &o);
    Plan *plan = plan_build(m->arena, f, kind, &o, NULL, NULL);
    Text got = {.arena = &t->arena};
    plan_print(&got, plan);
    plan_print_tiles(&got, plan);
    const char *path = arena_printf(&t->arena, "%s/%s_%s.plan", FOLDER, file, name);
    char *at;
    size_t n;
    if (file_read(&t->arena, path, FILE_LIMIT, &at, &n, &err) == NPC_OK)
        want = at;
    compare_or_write(&t->arena, path, want, text_str(&got), "");
    test_done(t);
}

static void every_op_is_a_kernel_without_fusion(void **state)
{
    (void)state;
    check_plan("two_blocks", "none", PROGRAM_FORWARD, FUSE_NONE, traits_cpu(LANES), PRECISION_F32);
}

static void chains_are_kernels_with_elementwise_fusion(void **state)
{
    (void)state;
    check_plan("two_blocks", "elementwise", PROGRAM_FORWARD, FUSE_ELEMENTWISE, traits_cpu(LANES),
               PRECISION_F32);
}

static void full_fusion_says_what_it_joins(void **state)
{
    (void)state;
    check_plan("two_blocks", "full", PROGRAM_FORWARD, FUSE_FULL, traits_cpu(LANES), PRECISION_F32);
}

static void channels_lie_last_in_16_bits_for_threads(void **state)
{
    (void)state;
    check_plan("two_blocks", "bf16", PROGRAM_FORWARD, FUSE_FULL, traits_cuda(), PRECISION_BF16);
    check_plan("depthwise", "bf16", PROGRAM_GRAD, FUSE_FULL, traits_cuda(), PRECISION_BF16);
    check_plan("biased", "bf16", PROGRAM_GRAD, FUSE_FULL, traits_cuda(), PRECISION_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pass_says_what_it_said),
        cmocka_unit_test(every_op_is_a_kernel_without_fusion),
        cmocka_unit_test(chains_are_kernels_with_elementwise_fusion),
        cmocka_unit_test(full_fusion_says_what_it_joins),
        cmocka_unit_test(channels_lie_last_in_16_bits_for_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
