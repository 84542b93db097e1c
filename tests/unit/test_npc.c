/* The library through its public header alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool/npc.h"

/* DwiseNeuro with every size small. */
static const char *const SMALL[] = {"widths=[4,8]", "strides=[2,1]", "expansion=2",
                                    "cortex_widths=[8,6]", "se_ratio=2"};
static const NpcModelOptions OPTIONS = {
    .sets = SMALL, .n_sets = 5, .batch = 1, .threads = 1, .interpret = true, .no_cache = true};

static void the_version_is_three_numbers(void **state)
{
    (void)state;
    int a, b, c;
    char rest;
    assert_int_equal(sscanf(npc_version(), "%d.%d.%d%c", &a, &b, &c, &rest), 3);
}

static void a_model_compiles_and_predicts(void **state)
{
    (void)state;
    NpcModel *m;
    assert_int_equal(npc_compile(&m, "models/dwiseneuro.nm", &OPTIONS), 0);
    assert_string_equal(npc_error(), "");
    assert_int_equal(npc_model_recordings(m), 10);
    assert_int_equal(npc_recording_neurons(m, 9), 7495);
    assert_non_null(strstr(npc_recording_name(m, 9), "dynamic29514"));
    assert_int_equal(npc_model_batch(m), 1);
    assert_true(npc_model_parameters(m) > 0 && npc_model_multiply_adds(m) > 0);
    assert_non_null(strstr(npc_model_source(m), "nm 1"));

    int64_t n_in = npc_clip_elems(m), n_out = npc_response_elems(m, 9);
    assert_int_equal(n_in, 5 * 16 * 64 * 64);
    assert_int_equal(n_out, 7495 * 16);
    float *clip = calloc((size_t)n_in, sizeof *clip), *first = calloc((size_t)n_out, sizeof *first),
          *second = calloc((size_t)n_out, sizeof *second);
    npc_initialise(m, 3);
    assert_int_equal(npc_predict_batch(m, 9, clip, first), 0);
    for (int64_t i = 0; i < n_out; i++)
        assert_true(isfinite(first[i]) && first[i] > 0); /* softplus */
    assert_int_equal(npc_predict_batch(m, 9, clip, second), 0);
    assert_memory_equal(first, second, (size_t)n_out * sizeof *first);
    npc_initialise(m, 4);
    assert_int_equal(npc_predict_batch(m, 9, clip, second), 0);
    assert_true(memcmp(first, second, (size_t)n_out * sizeof *first) != 0);

    assert_int_equal(npc_predict_batch(m, 10, clip, second), 2);
    assert_non_null(strstr(npc_error(), "there is no recording 10"));
    assert_null(npc_recording_name(m, -1));
    assert_int_equal(npc_load(m, "/nonexistent", "average"), 2);
    assert_non_null(strstr(npc_error(), "/nonexistent"));
    assert_int_equal(npc_load(m, "/nonexistent", "newest"), 2);
    free(clip);
    free(first);
    free(second);
    npc_free(m);
}

static void mistakes_come_back_as_sentences(void **state)
{
    (void)state;
    NpcModel *m;
    NpcModelOptions o = OPTIONS;
    o.model = "nobody";
    assert_int_equal(npc_compile(&m, "models/dwiseneuro.nm", &o), 2);
    assert_null(m);
    assert_true(*npc_error());
    o = OPTIONS;
    o.fuse = "most";
    assert_int_equal(npc_compile(&m, "models/dwiseneuro.nm", &o), 2);
    assert_non_null(strstr(npc_error(), "found 'most'"));
    assert_int_equal(npc_compile(&m, "models/absent.nm", NULL), 2);
    npc_free(NULL);
}

static void published_numbers_are_reproduced(void **state)
{
    (void)state;
    NpcModelOptions o = {.interpret = true, .no_cache = true};
    int code = npc_verify("models/dwiseneuro.nm", "tests/goldens/dwiseneuro/tiny.safetensors", &o);
    if (code)
        fail_msg("%s", npc_error());
    assert_int_equal(npc_verify("models/dwiseneuro.nm", "LICENSE", &o), 2);
}

static void jobs_without_recordings_fail_with_a_sentence(void **state)
{
    (void)state;
    NpcJob job = {.data = "/nonexistent", .interpret = true, .quiet = true, .threads = 1};
    char folder[] = "/tmp/npc-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char run[64];
    snprintf(run, sizeof run, "%s/run", folder);
    assert_int_not_equal(npc_train("models/demo.nm", run, &job, NULL), 0);
    assert_true(*npc_error());
    assert_int_equal(npc_predict(run, &job), 2);
    assert_true(*npc_error());
    assert_int_equal(npc_score(run, &job), 2);
    assert_true(*npc_error());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_three_numbers),
        cmocka_unit_test(a_model_compiles_and_predicts),
        cmocka_unit_test(mistakes_come_back_as_sentences),
        cmocka_unit_test(published_numbers_are_reproduced),
        cmocka_unit_test(jobs_without_recordings_fail_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
