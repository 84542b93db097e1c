#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

#include "runtime/checkpoint.h"
#include "tests/unit/scratch.h"

enum { WEIGHTS = 3 * 5 };

static float weight[WEIGHTS], bias[5];
static const uint64_t weight_shape[] = {3, 5}, bias_shape[] = {5};
static const SafetensorsEntry tensors[] = {
    {.name = "core.weight",
     .dtype = SAFETENSORS_F32,
     .rank = 2,
     .shape = weight_shape,
     .data = weight},
    {.name = "core.bias", .dtype = SAFETENSORS_F32, .rank = 1, .shape = bias_shape, .data = bias},
};

static void set_weights(uint64_t step)
{
    for (int i = 0; i < WEIGHTS; i++)
        weight[i] = (float)step + (float)i / 7;
    for (int i = 0; i < 5; i++)
        bias[i] = -(float)step - (float)i / 3;
}

static Status save(const char *folder, uint64_t step, double score, uint32_t keep, Err *err)
{
    set_weights(step);
    CheckpointInfo info = {step, score, "abc123", "{\"epoch\": 2, \"note\": \"xxh3-128:\"}"};
    return checkpoint_save(folder, &info, tensors, 2, keep, err);
}

static const char *folder(const char *name)
{
    const char *path = scratch_path(name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

static void must_save(const char *f, uint64_t step, double score, uint32_t keep)
{
    Err err = {0};
    if (save(f, step, score, keep, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

static bool has(const char *f, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", f, name);
    return file_exists(path);
}

static char warnings[4096];

static void note(void *user, const char *text)
{
    (void)user;
    strncat(warnings, text, sizeof warnings - strlen(warnings) - 1);
}

static uint64_t newest(const char *f)
{
    Checkpoint c;
    Err err = {0};
    warnings[0] = 0;
    if (checkpoint_open_newest(&c, f, note, NULL, &err) != NPC_OK)
        fail_msg("%s", err.text);
    uint64_t step = c.info.step;
    checkpoint_close(&c);
    return step;
}

static void a_saved_state_is_restored_bit_for_bit(void **state)
{
    (void)state;
    const char *f = folder("bits");
    Checkpoint c;
    Err err = {0};
    float w[WEIGHTS], b[5];
    const CheckpointTarget target[] = {{"core.bias", SAFETENSORS_F32, 1, bias_shape, b},
                                       {"core.weight", SAFETENSORS_F32, 2, weight_shape, w}};
    must_save(f, 7, 0.25, 2);
    assert_int_equal(checkpoint_open_newest(&c, f, NULL, NULL, &err), NPC_OK);
    assert_int_equal(c.info.step, 7);
    assert_true(c.info.score == 0.25);
    assert_string_equal(c.info.state, "{\"epoch\": 2, \"note\": \"xxh3-128:\"}");
    assert_int_equal(checkpoint_restore(&c, "abc123", target, 2, &err), NPC_OK);
    assert_memory_equal(w, weight, sizeof w);
    assert_memory_equal(b, bias, sizeof b);
    checkpoint_close(&c);
}

static void the_last_k_and_the_best_are_kept(void **state)
{
    (void)state;
    const char *f = folder("keep");
    Checkpoint c;
    Err err = {0};
    char best[4200];
    snprintf(best, sizeof best, "%s/best.safetensors", f);
    assert_false(checkpoint_exists(f));
    must_save(f, 10, NAN, 2);
    assert_false(file_exists(best));
    must_save(f, 20, 0.3, 2);
    must_save(f, 30, 0.2, 2);
    must_save(f, 40, 0.3, 2);
    assert_false(has(f, "step-00000010.safetensors") || has(f, "step-00000020.safetensors"));
    assert_true(has(f, "step-00000030.safetensors") && has(f, "step-00000040.safetensors"));
    assert_int_equal(checkpoint_open(&c, best, &err), NPC_OK);
    assert_int_equal(c.info.step, 20);
    checkpoint_close(&c);
    assert_true(checkpoint_exists(f));
}

static void steps_of_an_abandoned_future_are_removed(void **state)
{
    (void)state;
    const char *f = folder("future");
    must_save(f, 10, NAN, 3);
    must_save(f, 20, NAN, 3);
    must_save(f, 30, NAN, 3);
    must_save(f, 15, NAN, 1);
    assert_int_equal(newest(f), 15);
    assert_false(has(f, "step-00000010.safetensors") || has(f, "step-00000020.safetensors"));
}

static void leftovers_of_a_dead_writer_are_removed(void **state)
{
    (void)state;
    const char *f = folder("leftover");
    scratch_write("leftover/step-00000009.safetensors.tmp99999", "x", 1);
    scratch_write("leftover/mine.tmp", "x", 1);
    must_save(f, 10, NAN, 1);
    assert_false(has(f, "step-00000009.safetensors.tmp99999"));
    assert_true(has(f, "mine.tmp"));
}

static void a_damaged_newest_falls_back_with_a_warning(void **state)
{
    (void)state;
    const char *f = folder("damaged");
    must_save(f, 10, NAN, 3);
    must_save(f, 20, NAN, 3);
    must_save(f, 30, NAN, 3);
    assert_int_equal(truncate(scratch_path("damaged/step-00000030.safetensors"), 300), 0);
    assert_int_equal(newest(f), 20);
    assert_non_null(strstr(warnings, "step-00000030"));
    scratch_write("damaged/step-00000020.safetensors", "", 0);
    assert_int_equal(newest(f), 10);
}

static void without_any_good_file_there_is_an_error(void **state)
{
    (void)state;
    const char *f = folder("nothing");
    Checkpoint c;
    Err err = {0};
    assert_int_equal(checkpoint_open_newest(&c, f, NULL, NULL, &err), NPC_ERR_INPUT);
    scratch_write("nothing/step-00000020.safetensors", "hello", 5);
    err = (Err){0};
    assert_int_equal(checkpoint_open_newest(&c, f, NULL, NULL, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "no undamaged checkpoint"));
}

/* Every bit of the file, header and checksum included. */
static void every_flipped_bit_is_detected(void **state)
{
    (void)state;
    const char *f = folder("flip"), *name = "flip/step-00000001.safetensors";
    static unsigned char file[8192];
    must_save(f, 1, 0.5, 1);
    size_t n = scratch_read(name, file, sizeof file);
    assert_true(n > 100 && n < sizeof file);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        Checkpoint c;
        Err err = {0};
        file[bit / 8] ^= (unsigned char)(1 << bit % 8);
        scratch_write(name, file, n);
        if (checkpoint_open(&c, scratch_path(name), &err) == NPC_OK)
            fail_msg("bit %zu of byte %zu goes unnoticed", bit % 8, bit / 8);
        assert_int_equal(err.status, NPC_ERR_INPUT);
        file[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void truncation_at_every_byte_is_detected(void **state)
{
    (void)state;
    const char *f = folder("cut"), *name = "cut/step-00000001.safetensors";
    static unsigned char file[8192];
    must_save(f, 1, 0.5, 1);
    size_t n = scratch_read(name, file, sizeof file);
    for (size_t cut = 0; cut < n; cut++) {
        Checkpoint c;
        Err err = {0};
        scratch_write(name, file, cut);
        assert_int_equal(checkpoint_open(&c, scratch_path(name), &err), NPC_ERR_INPUT);
    }
}

static void an_ordinary_tensor_file_is_no_checkpoint(void **state)
{
    (void)state;
    Checkpoint c;
    Err err = {0};
    assert_int_equal(checkpoint_open(&c, "tests/goldens/dwiseneuro/tiny.safetensors", &err),
                     NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "no checkpoint"));
}

static void another_model_is_refused_with_the_differences(void **state)
{
    (void)state;
    const char *f = folder("other");
    Checkpoint c;
    Err err = {0};
    static const uint64_t other_shape[] = {5, 3};
    float w[WEIGHTS] = {42}, x[5];
    const CheckpointTarget target[] = {{"core.weight", SAFETENSORS_F32, 2, other_shape, w},
                                       {"gate", SAFETENSORS_F16, 1, bias_shape, x}};
    must_save(f, 7, 0.25, 2);
    assert_int_equal(checkpoint_open_newest(&c, f, NULL, NULL, &err), NPC_OK);
    assert_int_equal(checkpoint_restore(&c, "def456", target, 2, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "abc123"));
    assert_non_null(strstr(err.text, "def456"));
    assert_non_null(strstr(err.text, "core.weight: F32[3, 5] in the checkpoint, F32[5, 3] here"));
    assert_non_null(strstr(err.text, "gate: missing in the checkpoint, F16[5] here"));
    assert_non_null(strstr(err.text, "core.bias: F32[5] in the checkpoint, missing here"));
    assert_true(w[0] == 42);
    checkpoint_close(&c);
}

static void equal_tensors_of_another_source_are_refused(void **state)
{
    (void)state;
    const char *f = folder("hash");
    Checkpoint c;
    Err err = {0};
    float w[WEIGHTS], b[5];
    const CheckpointTarget target[] = {{"core.bias", SAFETENSORS_F32, 1, bias_shape, b},
                                       {"core.weight", SAFETENSORS_F32, 2, weight_shape, w}};
    must_save(f, 7, 0.25, 2);
    assert_int_equal(checkpoint_open_newest(&c, f, NULL, NULL, &err), NPC_OK);
    assert_int_equal(checkpoint_restore(&c, "def456", target, 2, &err), NPC_ERR_INPUT);
    err = (Err){0};
    assert_int_equal(checkpoint_restore(&c, NULL, target, 2, &err), NPC_OK);
    checkpoint_close(&c);
}

static void at_most_ten_differences_are_listed(void **state)
{
    (void)state;
    const char *f = folder("many");
    Checkpoint c;
    Err err = {0};
    char name[20][8];
    CheckpointTarget target[20];
    for (int i = 0; i < 20; i++) {
        snprintf(name[i], sizeof *name, "p%02d", i);
        target[i] = (CheckpointTarget){name[i], SAFETENSORS_F32, 1, bias_shape, NULL};
    }
    must_save(f, 7, 0.25, 2);
    assert_int_equal(checkpoint_open_newest(&c, f, NULL, NULL, &err), NPC_OK);
    assert_int_equal(checkpoint_restore(&c, "abc123", target, 20, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "p09"));
    assert_null(strstr(err.text, "p10"));
    assert_non_null(strstr(err.text, "and 12 more"));
    checkpoint_close(&c);
}

/* A file size limit of every length below the file's: the write fails at every possible place. */
static void a_full_disk_leaves_the_previous_checkpoint(void **state)
{
    (void)state;
    const char *f = folder("full");
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    must_save(f, 10, 0.5, 2);
    struct stat st;
    assert_int_equal(stat(scratch_path("full/step-00000010.safetensors"), &st), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t limit = 0; limit < (rlim_t)st.st_size; limit += 13) {
        Err err = {0};
        small = (struct rlimit){limit, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        Status s = save(f, 20, 0.9, 2, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(s, NPC_ERR_IO);
        assert_non_null(strstr(err.text, "step-00000020"));
        assert_int_equal(newest(f), 10);
        assert_string_equal(warnings, "");
    }
    must_save(f, 20, 0.9, 2);
    assert_int_equal(newest(f), 20);
}

/* Root may write anywhere, so the attempt runs as nobody. */
static void a_read_only_folder_leaves_the_previous_checkpoint(void **state)
{
    (void)state;
    const char *f = folder("fixed");
    must_save(f, 10, 0.5, 2);
    assert_int_equal(chmod(f, 0555), 0);
    assert_int_equal(chmod(scratch, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        Err err = {0};
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        _exit(save(f, 20, 0.9, 2, &err) == NPC_ERR_IO && strstr(err.text, "ermission") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    chmod(f, 0777);
    assert_int_equal(newest(f), 10);
}

static void save_forever(const char *f)
{
    for (uint64_t step = 1;; step++) {
        Err err = {0};
        if (save(f, step, 0.001 * (double)(step % 7), 2, &err) != NPC_OK)
            _exit(1);
    }
}

/* SIGKILL at random moments; what is found afterwards must be whole, and recent. */
static void a_kill_at_any_moment_leaves_a_loadable_newest(void **state)
{
    (void)state;
    const char *f = folder("kill");
    unsigned random = 12345;
    must_save(f, 1, NAN, 2);
    for (int round = 0; round < 60; round++) {
        pid_t child = fork();
        if (child == 0)
            save_forever(f);
        random = random * 1103515245u + 12345u;
        struct timespec wait = {0, 200000 + (long)(random >> 8) % 12000000};
        nanosleep(&wait, NULL);
        int status;
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));

        Checkpoint c;
        Err err = {0};
        float w[WEIGHTS], b[5];
        const CheckpointTarget target[] = {{"core.bias", SAFETENSORS_F32, 1, bias_shape, b},
                                           {"core.weight", SAFETENSORS_F32, 2, weight_shape, w}};
        warnings[0] = 0;
        assert_int_equal(checkpoint_open_newest(&c, f, note, NULL, &err), NPC_OK);
        assert_string_equal(warnings, "");
        assert_int_equal(checkpoint_restore(&c, "abc123", target, 2, &err), NPC_OK);
        set_weights(c.info.step);
        assert_memory_equal(w, weight, sizeof w);
        checkpoint_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_state_is_restored_bit_for_bit),
        cmocka_unit_test(the_last_k_and_the_best_are_kept),
        cmocka_unit_test(steps_of_an_abandoned_future_are_removed),
        cmocka_unit_test(leftovers_of_a_dead_writer_are_removed),
        cmocka_unit_test(a_damaged_newest_falls_back_with_a_warning),
        cmocka_unit_test(without_any_good_file_there_is_an_error),
        cmocka_unit_test(every_flipped_bit_is_detected),
        cmocka_unit_test(truncation_at_every_byte_is_detected),
        cmocka_unit_test(an_ordinary_tensor_file_is_no_checkpoint),
        cmocka_unit_test(another_model_is_refused_with_the_differences),
        cmocka_unit_test(equal_tensors_of_another_source_are_refused),
        cmocka_unit_test(at_most_ten_differences_are_listed),
        cmocka_unit_test(a_full_disk_leaves_the_previous_checkpoint),
        cmocka_unit_test(a_read_only_folder_leaves_the_previous_checkpoint),
        cmocka_unit_test(a_kill_at_any_moment_leaves_a_loadable_newest),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
