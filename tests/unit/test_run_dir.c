#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <jansson.h>

#include "runtime/log.h"
#include "runtime/run_dir.h"
#include "tests/unit/scratch.h"

static const char *make_run(RunDir *run, const char *name)
{
    Err err = {0};
    const char *path = scratch_path(name);
    if (run_dir_create(run, path, "{}\n", &err) != NPC_OK)
        fail_msg("%s", err.text);
    return path;
}

static const char *text_of(const char *name)
{
    static char text[1 << 16];
    text[scratch_read(name, text, sizeof text - 1)] = 0;
    return text;
}

/* ---- the folder ---- */

static void a_new_run_has_its_folders_and_files(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    make_run(&run, "a/b/run/");
    assert_int_equal(run_dir_put(&run, "model.nm", "model m {}\n", &err), NPC_OK);
    assert_true(file_is_folder(scratch_path("a/b/run/checkpoints")));
    assert_true(file_is_folder(scratch_path("a/b/run/predictions")));
    assert_true(run_dir_is_run(scratch_path("a/b/run")));
    assert_string_equal(text_of("a/b/run/model.nm"), "model m {}\n");
    run_dir_close(&run);
    assert_false(file_exists(scratch_path("a/b/run/lock")));
}

static void what_was_put_is_got(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    Arena arena = {0};
    char *text;
    size_t n;
    make_run(&run, "get");
    assert_int_equal(run_dir_put(&run, "recipe.txt", "steps 3", &err), NPC_OK);
    run_dir_close(&run);
    assert_int_equal(run_dir_open(&run, scratch_path("get"), RUN_DIR_READ, &err), NPC_OK);
    assert_int_equal(run_dir_get(&run, &arena, "recipe.txt", 100, &text, &n, &err), NPC_OK);
    assert_string_equal(text, "steps 3");
    assert_int_equal(run_dir_get(&run, &arena, "absent", 100, &text, &n, &err), NPC_ERR_INPUT);
    arena_free(&arena);
    run_dir_close(&run);
}

static void a_run_is_not_created_twice(void **state)
{
    (void)state;
    RunDir run, again;
    Err err = {0};
    const char *path = make_run(&run, "twice");
    run_dir_close(&run);
    assert_int_equal(run_dir_create(&again, path, "{}", &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "already holds a run"));
}

static void a_folder_with_other_files_is_refused(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    mkdir(scratch_path("home"), 0777);
    scratch_write("home/thesis.tex", "x", 1);
    assert_int_equal(run_dir_create(&run, scratch_path("home"), "{}", &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "thesis.tex"));
    assert_false(file_exists(scratch_path("home/lock")));
    err = (Err){0};
    assert_int_equal(run_dir_open(&run, scratch_path("home"), RUN_DIR_WRITE, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "not a run directory"));
}

static void an_interrupted_creation_can_be_repeated(void **state)
{
    (void)state;
    RunDir run;
    mkdir(scratch_path("half"), 0777);
    mkdir(scratch_path("half/checkpoints"), 0777);
    scratch_write("half/lock", "", 0);
    make_run(&run, "half");
    run_dir_close(&run);
}

/* No file can have more than `bytes` bytes, as on a full disk. */
static Status create_on_full_disk(const char *path, rlim_t bytes, Err *err)
{
    RunDir run;
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){bytes, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    Status s = run_dir_create(&run, path,
                              "{\"a long\": \"description of the run, longer than a lock\", "
                              "\"of\": \"sixty bytes and some more, so that it does not "
                              "fit\"}\n",
                              err);
    setrlimit(RLIMIT_FSIZE, &old);
    return s;
}

static void a_creation_without_room_leaves_nothing(void **state)
{
    (void)state;
    for (rlim_t bytes = 0; bytes < 100; bytes += 99) { /* fails with the lock; with run.json */
        Err err = {0};
        assert_int_equal(create_on_full_disk(scratch_path("no_room"), bytes, &err), NPC_ERR_IO);
        assert_non_null(strstr(err.text, "no_room"));
        assert_int_equal(access(scratch_path("no_room"), F_OK), -1);
    }
    Err err = {0};
    mkdir(scratch_path("mine"), 0777); /* a folder that was there stays, as empty as it was */
    assert_int_equal(create_on_full_disk(scratch_path("mine"), 99, &err), NPC_ERR_IO);
    assert_int_equal(rmdir(scratch_path("mine")), 0);
}

static void a_file_in_the_place_of_the_folder_is_refused(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    scratch_write("file", "x", 1);
    assert_int_equal(run_dir_create(&run, scratch_path("file"), "{}", &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "not a directory"));
}

static void a_missing_run_is_named(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    assert_int_equal(run_dir_open(&run, scratch_path("gone"), RUN_DIR_READ, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "no such run directory"));
}

/* Root may write anywhere, so the attempts run as nobody. */
static void a_read_only_folder_is_refused_before_anything_starts(void **state)
{
    (void)state;
    RunDir run;
    make_run(&run, "fixed");
    run_dir_close(&run);
    mkdir(scratch_path("closed"), 0555);
    chmod(scratch, 0755);
    chmod(scratch_path("fixed"), 0555);
    pid_t child = fork();
    if (child == 0) {
        Err err = {0};
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        if (run_dir_open(&run, scratch_path("fixed"), RUN_DIR_WRITE, &err) != NPC_ERR_IO ||
            !strstr(err.text, "cannot be written"))
            _exit(1);
        err = (Err){0};
        if (run_dir_create(&run, scratch_path("closed"), "{}", &err) != NPC_ERR_IO ||
            !strstr(err.text, "cannot be written"))
            _exit(2);
        err = (Err){0};
        _exit(run_dir_open(&run, scratch_path("fixed"), RUN_DIR_READ, &err) == NPC_OK ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    chmod(scratch_path("fixed"), 0777);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- the lock ---- */

static void a_second_writer_is_refused_with_pid_and_host(void **state)
{
    (void)state;
    RunDir run, second;
    Err err = {0};
    char expected[64];
    const char *path = make_run(&run, "busy");
    assert_int_equal(run_dir_open(&second, path, RUN_DIR_WRITE, &err), NPC_ERR_INPUT);
    snprintf(expected, sizeof expected, "the process %ld on ", (long)getpid());
    assert_non_null(strstr(err.text, expected));
    err = (Err){0};
    assert_int_equal(run_dir_open(&second, path, RUN_DIR_READ, &err), NPC_OK);
    run_dir_close(&second);
    run_dir_close(&run);
    assert_int_equal(run_dir_open(&second, path, RUN_DIR_WRITE, &err), NPC_OK);
    assert_string_equal(second.note, "");
    run_dir_close(&second);
}

static void the_lock_of_a_killed_process_is_taken_over(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (run_dir_create(&run, scratch_path("stale"), "{}", &err) == NPC_OK)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_true(file_exists(scratch_path("stale/lock")));
    assert_int_equal(run_dir_open(&run, scratch_path("stale"), RUN_DIR_WRITE, &err), NPC_OK);
    assert_non_null(strstr(run.note, "which is gone"));
    run_dir_close(&run);
}

static void the_lock_of_another_host_is_respected(void **state)
{
    (void)state;
    RunDir run;
    Err err = {0};
    const char lock[] = "pid 17 host elsewhere since 2024-01-01T00:00:00Z\n";
    make_run(&run, "remote");
    run_dir_close(&run);
    scratch_write("remote/lock", lock, sizeof lock - 1);
    assert_int_equal(run_dir_open(&run, scratch_path("remote"), RUN_DIR_WRITE, &err),
                     NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "process 17 on elsewhere"));
    assert_string_equal(text_of("remote/lock"), lock);
    err = (Err){0};
    assert_int_equal(run_dir_open(&run, scratch_path("remote"), RUN_DIR_WRITE_TAKE, &err), NPC_OK);
    run_dir_close(&run);
}

static void of_many_processes_one_gets_the_lock(void **state)
{
    (void)state;
    RunDir run;
    make_run(&run, "race");
    run_dir_close(&run);
    const char lock[] = "pid 999999999 host x";
    scratch_write("race/lock", lock, sizeof lock - 1);
    int go[2], winners = 0, status;
    assert_int_equal(pipe(go), 0);
    pid_t child[8];
    for (int i = 0; i < 8; i++)
        if ((child[i] = fork()) == 0) {
            Err err = {0};
            char c;
            close(go[1]);
            if (read(go[0], &c, 1) != 0)
                _exit(2);
            if (run_dir_open(&run, scratch_path("race"), RUN_DIR_WRITE_TAKE, &err) != NPC_OK)
                _exit(0);
            usleep(300000);
            _exit(1);
        }
    close(go[0]);
    close(go[1]);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        winners += WEXITSTATUS(status);
    }
    assert_int_equal(winners, 1);
}

static void the_facts_are_json(void **state)
{
    (void)state;
    Arena arena = {0};
    char *argv[] = {"npc", "run", "m\"odel.nm", "\xff"};
    RunFacts facts = {.argc = 4, .argv = argv, .model = "m", .seed = UINT64_MAX, .version = "0.1"};
    json_t *o = json_loads(run_dir_facts_text(&arena, &facts), 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "seed")), "18446744073709551615");
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "command"), 2)),
                        "m\"odel.nm");
    assert_non_null(json_object_get(o, "host"));
    assert_null(json_object_get(o, "data_hash"));
    json_decref(o);
    arena_free(&arena);
}

/* ---- the log ---- */

static void put_row(Log *log, uint64_t step, double loss)
{
    Err err = {0};
    log_begin(log, "train", step);
    log_number(log, "loss", loss);
    if (log_end(log, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

static void rows_are_json_lines(void **state)
{
    (void)state;
    Log log;
    Err err = {0};
    assert_int_equal(log_open(&log, scratch_path("rows"), &err), NPC_OK);
    put_row(&log, 1, 0.1);
    put_row(&log, 2, 0.0 / 0.0);
    log_begin(&log, "note", 2);
    log_text(&log, "text", "a \"b\"\n\\\xff\xc3\xa9");
    log_count(&log, "n", 7);
    assert_int_equal(log_end(&log, &err), NPC_OK);
    log_close(&log);
    assert_string_equal(
        text_of("rows"),
        "{\"kind\":\"train\",\"step\":1,\"loss\":0.1}\n"
        "{\"kind\":\"train\",\"step\":2,\"loss\":\"NaN\"}\n"
        "{\"kind\":\"note\",\"step\":2,\"text\":\"a \\\"b\\\"\\u000a\\\\?\xc3\xa9\",\"n\":7}\n");
}

static void a_resumed_log_has_no_row_twice(void **state)
{
    (void)state;
    Log log;
    Err err = {0};
    assert_int_equal(log_open(&log, scratch_path("resumed"), &err), NPC_OK);
    for (uint64_t step = 1; step <= 5; step++)
        put_row(&log, step, (double)step);
    log_close(&log);
    assert_int_equal(log_open_resumed(&log, scratch_path("resumed"), 3, &err), NPC_OK);
    put_row(&log, 4, 40);
    log_close(&log);
    assert_string_equal(text_of("resumed"), "{\"kind\":\"train\",\"step\":1,\"loss\":1}\n"
                                            "{\"kind\":\"train\",\"step\":2,\"loss\":2}\n"
                                            "{\"kind\":\"train\",\"step\":3,\"loss\":3}\n"
                                            "{\"kind\":\"train\",\"step\":4,\"loss\":40}\n");
}

static void a_half_written_row_is_removed(void **state)
{
    (void)state;
    Log log;
    Err err = {0};
    const char text[] = "{\"step\":1}\n{\"step\":2,\"lo";
    scratch_write("torn", text, sizeof text - 1);
    assert_int_equal(log_open(&log, scratch_path("torn"), &err), NPC_OK);
    log_close(&log);
    assert_string_equal(text_of("torn"), "{\"step\":1}\n");
    scratch_write("torn", text, sizeof text - 1);
    assert_int_equal(log_open_resumed(&log, scratch_path("torn"), 9, &err), NPC_OK);
    log_close(&log);
    assert_string_equal(text_of("torn"), "{\"step\":1}\n");
    scratch_write("torn", "", 0);
    assert_int_equal(log_open_resumed(&log, scratch_path("torn"), 9, &err), NPC_OK);
    log_close(&log);
}

static void a_full_disk_leaves_the_rows_before(void **state)
{
    (void)state;
    Log log;
    Err err = {0};
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(log_open(&log, scratch_path("full"), &err), NPC_OK);
    put_row(&log, 1, 1);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){45, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    log_begin(&log, "train", 2);
    Status s = log_end(&log, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(s, NPC_ERR_IO);
    put_row(&log, 3, 3);
    log_close(&log);
    assert_string_equal(text_of("full"), "{\"kind\":\"train\",\"step\":1,\"loss\":1}\n"
                                         "{\"kind\":\"train\",\"step\":3,\"loss\":3}\n");
}

static void a_row_that_is_too_long_is_an_error(void **state)
{
    (void)state;
    Log log;
    Err err = {0};
    static char text[10000];
    memset(text, 'x', sizeof text - 1);
    assert_int_equal(log_open(&log, scratch_path("long"), &err), NPC_OK);
    log_begin(&log, "note", 1);
    log_text(&log, "text", text);
    assert_int_equal(log_end(&log, &err), NPC_ERR_INTERNAL);
    put_row(&log, 2, 2);
    log_close(&log);
    assert_string_equal(text_of("long"), "{\"kind\":\"train\",\"step\":2,\"loss\":2}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_run_has_its_folders_and_files),
        cmocka_unit_test(what_was_put_is_got),
        cmocka_unit_test(a_run_is_not_created_twice),
        cmocka_unit_test(a_folder_with_other_files_is_refused),
        cmocka_unit_test(an_interrupted_creation_can_be_repeated),
        cmocka_unit_test(a_creation_without_room_leaves_nothing),
        cmocka_unit_test(a_file_in_the_place_of_the_folder_is_refused),
        cmocka_unit_test(a_missing_run_is_named),
        cmocka_unit_test(a_read_only_folder_is_refused_before_anything_starts),
        cmocka_unit_test(a_second_writer_is_refused_with_pid_and_host),
        cmocka_unit_test(the_lock_of_a_killed_process_is_taken_over),
        cmocka_unit_test(the_lock_of_another_host_is_respected),
        cmocka_unit_test(of_many_processes_one_gets_the_lock),
        cmocka_unit_test(the_facts_are_json),
        cmocka_unit_test(rows_are_json_lines),
        cmocka_unit_test(a_resumed_log_has_no_row_twice),
        cmocka_unit_test(a_half_written_row_is_removed),
        cmocka_unit_test(a_full_disk_leaves_the_rows_before),
        cmocka_unit_test(a_row_that_is_too_long_is_an_error),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
