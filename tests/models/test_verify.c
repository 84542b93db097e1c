/* npc verify: the published numbers are reproduced at every fusion level on every vector unit, a
 * changed number is found, a file that does not fit is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "codegen/kernel.h"
#include "data/safetensors.h"
#include "verify/verify.h"

#define GOLDENS "tests/goldens/dwiseneuro/"
#define MODEL "models/dwiseneuro.nm"
#define TRANSFORMER_OPS "tests/goldens/viv1t/ops.safetensors"
#define WINDOW_OPS "tests/goldens/dynamic_v1fm/ops.safetensors"

static char folder[] = "/tmp/npc-verify-XXXXXX", copy[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(copy, sizeof copy, "%s/case.safetensors", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(copy);
    return rmdir(folder);
}

static void assert_reproduced(const VerifyOptions *o, const char *path)
{
    VerifyReport r = {0};
    Err err = {0};
    if (verify_case(o, MODEL, path, &r, &err) != NPC_OK)
        fail_msg("%s: %s", r.how ? r.how : "?", err.text);
    assert_true(r.passed);
    assert_true(r.rows.len >= 10);
    verify_report_free(&r);
}

static const char *const SMALL[] = {GOLDENS "ops.safetensors", GOLDENS "tiny.safetensors",
                                    GOLDENS "odd_sizes.safetensors",
                                    GOLDENS "distilled.safetensors"};
static const char *const LARGE = GOLDENS "frames64.safetensors";

static void assert_all_reproduced(VerifyOptions o)
{
    for (int fuse = FUSE_NONE; fuse <= FUSE_FULL; fuse++) {
        o.fuse = (FuseLevel)fuse;
        for (int i = 0; i < 4; i++)
            assert_reproduced(&o, SMALL[i]);
    }
}

static void the_reference_reproduces_the_goldens(void **state)
{
    (void)state;
    const VerifyOptions o = {.reference = true};
    for (int i = 0; i < 4; i++)
        assert_reproduced(&o, SMALL[i]);
}

/* The larger two cases, minutes each, are left to machine code where there is any. */
static void the_interpreter_reproduces_the_goldens(void **state)
{
    (void)state;
    VerifyOptions o = {.interpret = true};
    bool alone = !kernel_have_llvm();
    for (int fuse = FUSE_NONE; fuse <= FUSE_FULL; fuse++) {
        o.fuse = (FuseLevel)fuse;
        for (int i = 0; i < (alone ? 4 : 3); i++)
            assert_reproduced(&o, SMALL[i]);
    }
    if (alone)
        assert_reproduced(&o, LARGE);
}

static void assert_unit_reproduces(const char *cpu)
{
    Target target;
    Err err = {0};
    VerifyOptions o = {.cpu = cpu, .no_cache = true};
    if (!kernel_have_llvm() || !target_find(cpu, &target, &err))
        skip();
    assert_all_reproduced(o);
    for (int fuse = FUSE_NONE; fuse <= FUSE_FULL; fuse++) {
        o.fuse = (FuseLevel)fuse;
        assert_reproduced(&o, LARGE);
    }
}

static void generic_code_reproduces_the_goldens(void **state)
{
    (void)state;
    assert_unit_reproduces("generic");
}

static void avx2_code_reproduces_the_goldens(void **state)
{
    (void)state;
    assert_unit_reproduces("avx2");
}

static void avx512_code_reproduces_the_goldens(void **state)
{
    (void)state;
    assert_unit_reproduces("avx512");
}

/* ---- changed files ---- */

/* Writes a golden without the tensor `without`, with `called` under the name `instead`, with
 * `integers` (float32) said to be int32, with the metadata `config` or `attributes` replaced, and
 * with the first number of `changed` (float32) made larger by `by` times its largest. */
typedef struct Change {
    const char *without, *called, *instead, *integers, *config, *attributes, *changed;
    float by;
} Change;

static void alter(float *x, uint64_t n, float by)
{
    float most = 0;
    for (uint64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : -x[i] > most ? -x[i] : most;
    x[0] += by * (most > 0 ? most : 1);
}

static void write_copy(const char *golden, Change c)
{
    Safetensors st;
    Err err = {0};
    size_t n = 0;
    assert_int_equal(safetensors_open(&st, golden, &err), NPC_OK);
    SafetensorsEntry *entry = calloc(st.n, sizeof *entry);
    float *fresh = NULL;
    assert_non_null(entry);
    for (size_t i = 0; i < st.n; i++) {
        SafetensorsEntry e = st.entry[i];
        if (c.without && !strcmp(e.name, c.without))
            continue;
        if (c.changed && !strcmp(e.name, c.changed)) {
            assert_int_equal(e.dtype, SAFETENSORS_F32);
            fresh = malloc(e.bytes);
            assert_non_null(fresh);
            memcpy(fresh, e.data, e.bytes);
            alter(fresh, e.elems, c.by);
            e.data = fresh;
        }
        if (c.called && !strcmp(e.name, c.called))
            e.name = c.instead;
        if (c.integers && !strcmp(e.name, c.integers))
            e.dtype = SAFETENSORS_I32;
        entry[n++] = e;
    }
    assert_true(!c.changed || fresh);
    for (size_t i = 0; i < st.n_meta; i++)
        if (c.config && !strcmp(st.meta[i].key, "config"))
            st.meta[i].value = c.config;
        else if (c.attributes && !strcmp(st.meta[i].key, "attributes"))
            st.meta[i].value = c.attributes;
    assert_int_equal(safetensors_write(copy, entry, n, st.meta, st.n_meta, &err), NPC_OK);
    free(fresh);
    free(entry);
    safetensors_close(&st);
}

static void assert_difference_of(const char *model, const char *golden, const char *tensor,
                                 float by)
{
    const VerifyOptions o = {.interpret = !model || !kernel_have_llvm(), /* many kernels */
                             .fuse = FUSE_FULL,
                             .no_cache = true};
    VerifyReport r = {0};
    Err err = {0};
    int n_failed = 0;
    write_copy(golden, (Change){.changed = tensor, .by = by});
    Status s = verify_case(&o, model, copy, &r, &err);
    assert_int_equal(s, NPC_ERR_FAILED);
    assert_int_equal(status_exit_code(s), 1);
    assert_false(r.passed);
    assert_non_null(strstr(err.text, tensor));
    for (uint32_t i = 0; i < r.rows.len; i++) {
        if (r.rows.at[i].passed)
            continue;
        assert_string_equal(r.rows.at[i].worst_tensor, tensor);
        n_failed++;
    }
    assert_true(n_failed > 0);
    verify_report_free(&r);
}

static void assert_difference(const char *golden, const char *tensor, float by)
{
    assert_difference_of(MODEL, golden, tensor, by);
}

static void a_changed_number_is_a_difference(void **state)
{
    (void)state;
    const char *tiny = GOLDENS "tiny.safetensors", *ops = GOLDENS "ops.safetensors";
    assert_difference(tiny, "expect/eval/mouse0", 1e-4f);
    assert_difference(tiny, "expect/train/block1", 1e-4f);
    assert_difference(tiny, "expect/train/loss", 1e-4f);
    assert_difference(tiny, "expect/grad/block2.squeeze.weight", 1e-3f);
    assert_difference(tiny, "expect/after/cortex0.mix.norm.var", 1e-4f);
    assert_difference(GOLDENS "odd_sizes.safetensors", "expect/after/readout1.weight", 1e-6f);
    assert_difference(GOLDENS "distilled.safetensors", "expect/masked/grad/block1.expand.weight",
                      1e-3f);
    assert_difference(ops, "norm/train/grad_x", 1e-3f);
    assert_difference(ops, "adamw/four_steps/out", 1e-4f);
    assert_difference(ops, "ema/d0.999/out", 1e-4f);
    assert_difference(ops, "cutmix/1/out_y", 1e-4f);
}

/* Half as much again as their page allows, and less than DwiseNeuro's does. */
static void transformers_are_held_to_their_own_page(void **state)
{
    (void)state;
    const char *model = "models/viv1t.nm", *golden = "tests/goldens/viv1t/competition.safetensors";
    assert_difference_of(model, golden, "expect/eval/A", 1.5e-5f);
    assert_difference_of(model, golden, "expect/train/B", 1.5e-5f);
    assert_difference_of(model, golden, "expect/loss/A", 1.5e-5f);
    assert_difference_of(model, golden, "expect/grad/core.tokens.project.weight", 1.5e-4f);
    assert_difference_of("models/v1t.nm", "tests/goldens/v1t/allen.safetensors",
                         "expect/grad/core.patches.project.weight", 1.5e-4f);
}

static void operations_in_the_language_are_compared(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        float by;
    } changes[] = {
        {"attention/plain/expect/result", 1.5e-5f},
        {"attention/causal/expect/grad_key", 1.5e-4f},
        {"gaussian_readout/outside/expect/grad_sigma", 1.5e-4f},
        {"layer_norm/rows/expect/grad_weight", 1.5e-4f},
        {"loss/scaled_2023/expect/result", 1.5e-5f},
        {"loss/closed_loop/expect/grad_target", 1.5e-4f},
        {"metric/correlation/expect/result", 2e-6f},
        {"patch_fold/padded/expect/result", 2e-6f},
        {"plateau/v1t/expect/lr", 2e-6f},
        {"rollout/three_blocks/expect/result", 1.5e-5f},
        {"schedule_free/ten_steps/expect/averaged_weights", 2e-6f},
        {"tubelets/overlap/expect/grad_x", 1.5e-4f},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        assert_difference_of(NULL, TRANSFORMER_OPS, changes[i].tensor, changes[i].by);
}

static void operations_of_windows_are_compared(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        float by;
    } changes[] = {
        {"drop_path/rate0.25/out", 3e-5f},   {"learning_rate/published/rate", 2e-6f},
        {"mask/shifted/out", 3e-5f},         {"poisson/last_frames/out", 8e-6f},
        {"read/n37l4/grad_points", 1.5e-4f}, {"relative_bias/all_shrunk/grad_table", 1.5e-4f},
        {"stitch/l95/frame", 1e-2f},         {"window_attention/shifted_padded/grad_bias", 1.5e-4f},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        assert_difference_of(NULL, WINDOW_OPS, changes[i].tensor, changes[i].by);
}

static void assert_refused(const char *golden, const char *model, Change c, const char *part)
{
    const VerifyOptions o = {
        .interpret = true, .fuse = FUSE_FULL, .messages = fopen("/dev/null", "w")};
    VerifyReport r = {0};
    Err err = {0};
    assert_non_null(o.messages);
    write_copy(golden, c);
    Status s = verify_case(&o, model, copy, &r, &err);
    if (status_exit_code(s) != 2 || !strstr(err.text, part))
        fail_msg("exit code %d, \"%s\" does not contain \"%s\"", status_exit_code(s), err.text,
                 part);
    verify_report_free(&r);
    fclose(o.messages);
}

static void a_file_that_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    const char *tiny = GOLDENS "tiny.safetensors", *ops = GOLDENS "ops.safetensors";
    assert_refused(tiny, MODEL, (Change){.without = "param/block1.expand.weight"},
                   "param/block1.expand.weight");
    assert_refused(tiny, MODEL, (Change){.without = "input/target/mouse1"}, "input/target/mouse1");
    assert_refused(tiny, MODEL,
                   (Change){.called = "param/stem.weight", .instead = "param/stern.weight"},
                   "param/stern.weight");
    assert_refused(tiny, MODEL, (Change){.called = "input/target/mouse0", .instead = "input/x0"},
                   "input/target/mouse0");
    assert_refused(tiny, MODEL, (Change){.integers = "param/block1.expand.weight"},
                   "param/block1.expand.weight: I32");
    assert_refused(tiny, MODEL,
                   (Change){.config = "{\"neurons\": [7, 10], \"in_channels\": 5, \"wings\": 2}"},
                   copy);
    assert_refused(tiny, NULL, (Change){0}, "needs a model");
    assert_refused(ops, NULL, (Change){.called = "silu/wide/x", .instead = "absent/wide/x"},
                   "'absent'");
    assert_refused(ops, NULL, (Change){.without = "silu/wide/out"}, "silu/wide/out");
    assert_refused(ops, NULL, (Change){.without = "shuffle/g2/grad_x"}, "shuffle/g2/grad_x");
    assert_refused("tests/goldens/baselines/metrics.safetensors", MODEL, (Change){0}, "metadata");
}

static void operations_in_the_language_are_refused_by_name(void **state)
{
    (void)state;
    const char *ops = TRANSFORMER_OPS, *missing = "attention/plain/input/key";
    assert_refused(ops, NULL, (Change){.without = missing}, missing);
    assert_refused(ops, NULL, (Change){.without = "swiglu/table/expect/grad_x"},
                   "swiglu/table/expect/grad_x");
    assert_refused(ops, NULL,
                   (Change){.called = "elu1/line/input/x", .instead = "absent/line/input/x"},
                   "'absent'");
    assert_refused(ops, NULL, (Change){.called = "elu1/line/input/x", .instead = "elu1/line/x"},
                   "operation/case/input");
    assert_refused(ops, NULL,
                   (Change){.called = "gelu/line/expect/grad_input",
                            .instead = "attention/plain/expect/grad_depth"},
                   "grad_");
}

static void operations_of_windows_are_refused_by_name(void **state)
{
    (void)state;
#define ADAMW                                                                                      \
    "{\"adamw/absent_twice\": {\"rate\": 0.001, \"decay\": 0.05, \"betas\": [0.9, 0.999], "        \
    "\"eps\": "                                                                                    \
    "1e-08}, "
    const char *ops = WINDOW_OPS, *weight = "window_attention/still_padded/qkv";
    assert_refused(ops, NULL, (Change){.without = weight}, weight);
    assert_refused(ops, NULL, (Change){.without = "place/h5/b0"}, "'b0' of place/h5");
    assert_refused(ops, NULL, (Change){.without = "fit_window/whole/moves"},
                   "fit_window/whole/moves");
    assert_refused(ops, NULL, (Change){.called = "rate/wide/x", .instead = "absent/wide/x"},
                   "'absent'");
    assert_refused(ops, NULL,
                   (Change){.attributes = ADAMW "\"drop_path/rate0.25\": {\"rate\": 0.25, "
                                                "\"keep\": [1, 0]}}"},
                   "attribute 'keep' of drop_path/rate0.25");
    assert_refused(ops, NULL,
                   (Change){.attributes = ADAMW "\"drop_path/rate0.25\": {\"rate\": [0.25]}}"},
                   "drop_path/rate0.25");
}

static void a_file_that_is_none_is_refused(void **state)
{
    (void)state;
    const VerifyOptions o = {.interpret = true};
    VerifyReport r = {0};
    Err err = {0};
    Status s = verify_case(&o, MODEL, "tests/goldens/none.safetensors", &r, &err);
    assert_int_equal(status_exit_code(s), 2);
    assert_non_null(strstr(err.text, "none.safetensors"));
    verify_report_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_reproduces_the_goldens),
        cmocka_unit_test(the_interpreter_reproduces_the_goldens),
        cmocka_unit_test(generic_code_reproduces_the_goldens),
        cmocka_unit_test(avx2_code_reproduces_the_goldens),
        cmocka_unit_test(avx512_code_reproduces_the_goldens),
        cmocka_unit_test(a_changed_number_is_a_difference),
        cmocka_unit_test(transformers_are_held_to_their_own_page),
        cmocka_unit_test(operations_in_the_language_are_compared),
        cmocka_unit_test(operations_of_windows_are_compared),
        cmocka_unit_test(a_file_that_does_not_fit_is_refused_by_name),
        cmocka_unit_test(operations_in_the_language_are_refused_by_name),
        cmocka_unit_test(operations_of_windows_are_refused_by_name),
        cmocka_unit_test(a_file_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
