/* Lists of tensors and turned filters, from text to numbers of the reference. */
#include "tests/models/golden_model.h"

#include "ir/eval.h"

#include <math.h>
#include <stdlib.h>

typedef struct Built {
    Arena arena;
    Names names;
    Diags diags;
    Elaborated info;
    Module *module;
    EvalTensor *value;
} Built;

/* Leaves count: element i of every leaf is i / 4. */
static bool quarters(void *context, const Node *leaf, double *at)
{
    (void)context;
    for (int64_t i = 0; i < shape_elems(&leaf->shape); i++)
        at[i] = (double)i / 4;
    return true;
}

/* The body of a model of x [b:8 c:3 t:75]; its evaluation. */
static Built *run(const char *body)
{
    static const char *const frame = "nm 1\n"
                                     "sessions = [\"a\": 3]\n"
                                     "model m(clip: [b c:3 t:75 h:2 w:2])"
                                     " -> per s in sessions [b n:s.neurons t] {\n"
                                     "  part core { x = clip |> mean(over: [h w])\n%s }\n"
                                     "  part readout per s in sessions {"
                                     " return x |> take([c: 0..3]) |> rename(c, n) }\n"
                                     "}\n";
    Built *b = calloc(1, sizeof *b);
    Err err = {0};
    assert_non_null(b);
    b->names.arena = &b->arena;
    diags_init(&b->diags, &b->arena);
    const char *text = arena_printf(&b->arena, frame, body);
    b->module = elaborate_text(&b->arena, &b->names, &b->diags, "m.nm", text, strlen(text),
                               &(ElaborateOptions){.probes = true}, &b->info);
    diags_print(&b->diags, stderr);
    assert_non_null(b->module);
    const Func *f = module_func(b->module, "eval");
    assert_int_equal(eval_func(&b->arena, f, quarters, NULL, &b->value, &err), NPC_OK);
    return b;
}

static const EvalTensor *result(const Built *b, const char *name)
{
    const Result *r = func_find_result(module_func(b->module, "eval"), RESULT_OUTPUT, name);
    if (!r)
        fail_msg("there is no result %s", name);
    return &b->value[r->val.id];
}

static void done(Built *b)
{
    arena_free(&b->arena);
    free(b);
}

/* More places than one level of the trees joins, and no power of what a level joins. */
static void a_list_of_frames_is_put_together_again(void **state)
{
    (void)state;
    Built *b = run("before = x\n"
                   "x = x |> split(along: t) |> stack(along: t)\n"
                   "x = x + before * 0\n"
                   "part before { y = before + 0 * x }");
    const EvalTensor *x = result(b, "a"), *before = result(b, "probe/core.before");
    assert_int_equal(shape_elems(&x->shape), 8 * 3 * 75);
    for (int64_t i = 0; i < 8 * 3 * 75; i++)
        assert_true(x->at[i] == before->at[i] && before->at[i] == (double)i + 0.375);
    done(b);
}

static void a_loop_over_frames_is_a_recurrence(void **state)
{
    (void)state;
    Built *b = run("sums = []\n"
                   "for i, frame in x |> split(along: t) {\n"
                   "  total = total + frame if i > 0 else frame\n"
                   "  sums = sums + [total]\n"
                   "}\n"
                   "x = sums |> stack(along: t)");
    const EvalTensor *x = result(b, "a");
    for (int64_t c = 0; c < 3; c++) {
        double sum = 0;
        for (int64_t t = 0; t < 75; t++) {
            sum += (double)(c * 75 + t) + 0.375;
            assert_true(fabs(x->at[c * 75 + t] - sum) < 1e-9);
        }
    }
    done(b);
}

/* Parts of different lengths keep their order. */
static void tensors_of_a_list_may_differ_in_length(void **state)
{
    (void)state;
    Built *b = run("x = [x |> take([t: 50..75]), x |> take([t: 0..1]), x |> take([t: 1..50])]"
                   " |> stack(along: t)");
    const EvalTensor *x = result(b, "a");
    for (int64_t t = 0; t < 75; t++)
        assert_true(x->at[t] == (double)(t < 25 ? t + 50 : t - 25) + 0.375);
    done(b);
}

/* A quarter of a turn moves a filter's entries exactly: entry (row, column) comes from (column,
 * last - row); groups of the rolled axis go round as well. */
static void filters_turn_as_a_whole(void **state)
{
    (void)state;
    Built *b = run("param w: [n:15 c_in:8 f:2] = 1\n"
                   "part plain { y = w |> hermite(from: n, kernel: [y: 5, x: 5], turns: [q: 4]) }\n"
                   "part rolled { y = w |> hermite(from: n, kernel: [y: 5, x: 5], turns: [q: 4],"
                   " rolled: c_in) }");
    enum { K = 5, TAPS = K * K, FEATURES = 2, INPUTS = 8, EACH = 2, TURN = INPUTS * FEATURES };
    const double *plain = result(b, "probe/core.plain")->at,
                 *rolled = result(b, "probe/core.rolled")->at;
    double most = 0;
    for (int q = 1; q < 4; q++)
        for (int i = 0; i < TURN * TAPS; i++) {
            int filter = i / TAPS, y = i % TAPS / K, x = i % K;
            int from = ((q - 1) * TURN + filter) * TAPS + x * K + K - 1 - y;
            double here = plain[q * TURN * TAPS + i];
            most = fmax(most, fabs(here));
            assert_true(fabs(here - plain[from]) < 1e-5 * (1 + fabs(here)));
            int input = (filter / FEATURES + INPUTS - q * EACH) % INPUTS;
            int same = (q * TURN + input * FEATURES + filter % FEATURES) * TAPS + i % TAPS;
            assert_true(fabs(rolled[q * TURN * TAPS + i] - plain[same]) < 1e-9 * (1 + most));
        }
    assert_true(most > 1);
    done(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_frames_is_put_together_again),
        cmocka_unit_test(a_loop_over_frames_is_a_recurrence),
        cmocka_unit_test(tensors_of_a_list_may_differ_in_length),
        cmocka_unit_test(filters_turn_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
