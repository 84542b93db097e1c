#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "data/safetensors.h"
#include "data/signals.h"
#include "tests/unit/scratch.h"

static char said[4096];

/* Runs `job` in a child whose stderr is kept in `said`; returns its wait status. */
static int in_child(void (*job)(void))
{
    int out[2], status;
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDERR_FILENO);
        signals_install();
        job();
        _exit(0);
    }
    close(out[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(out[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = 0;
    close(out[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void assert_exit(int status, int code)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail_msg("status %x, expected exit %d; it said '%s'", (unsigned)status, code, said);
}

static void stop_once(void)
{
    if (signals_stop_requested() || signals_exit_code())
        _exit(1);
    raise(SIGTERM);
    _exit(signals_stop_requested() && signals_exit_code() == 143 ? 0 : 2);
}

static void interrupt_twice(void)
{
    raise(SIGINT);
    raise(SIGINT);
}

static void terminate_twice(void)
{
    raise(SIGTERM);
    raise(SIGTERM);
}

static void hang_up_under_nohup(void)
{
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_DFL);
    signals_install();
    raise(SIGHUP);
    if (signals_stop_requested())
        _exit(1);
    raise(SIGUSR1);
    _exit(signals_exit_code());
}

static void write_to_a_closed_pipe(void)
{
    int ends[2];
    if (pipe(ends) < 0)
        _exit(1);
    close(ends[0]);
    _exit(write(ends[1], "x", 1) < 0 ? 0 : 2);
}

static void read_a_shrunk_file(void)
{
    Safetensors st;
    Err err = {0};
    if (safetensors_open(&st, scratch_path("shrunk.safetensors"), &err) != NPC_OK)
        _exit(9);
    if (truncate(scratch_path("shrunk.safetensors"), 100) < 0)
        _exit(8);
    double *out = malloc(st.entry[0].elems * sizeof *out);
    safetensors_as_double(&st.entry[0], out);
    _exit(out[0] > 0 ? 6 : 7);
}

static void open_without_streams(void)
{
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    signals_install();
    int fd = open("/dev/null", O_WRONLY);
    _exit(fd > STDERR_FILENO ? 0 : 1);
}

static void the_first_signal_asks_to_stop(void **state)
{
    (void)state;
    assert_exit(in_child(stop_once), 0);
    assert_non_null(strstr(said, "stopping after this step"));
}

static void the_second_signal_quits(void **state)
{
    (void)state;
    assert_exit(in_child(interrupt_twice), 130);
    assert_exit(in_child(terminate_twice), 143);
}

static void nohup_is_respected_and_a_scheduler_can_ask(void **state)
{
    (void)state;
    assert_exit(in_child(hang_up_under_nohup), 128 + SIGUSR1);
}

static void a_closed_pipe_is_a_failing_write(void **state)
{
    (void)state;
    assert_exit(in_child(write_to_a_closed_pipe), 0);
}

static void a_file_that_shrinks_under_us_is_named(void **state)
{
    (void)state;
    static float data[10000];
    const uint64_t shape[] = {10000};
    const SafetensorsEntry e = {
        .name = "x", .dtype = SAFETENSORS_F32, .rank = 1, .shape = shape, .data = data};
    Err err = {0};
    assert_int_equal(safetensors_write(scratch_path("shrunk.safetensors"), &e, 1, NULL, 0, &err),
                     NPC_OK);
    assert_exit(in_child(read_a_shrunk_file), 2);
    assert_non_null(strstr(said, "shrunk.safetensors: the file became shorter"));
}

static void files_never_take_the_place_of_closed_streams(void **state)
{
    (void)state;
    assert_exit(in_child(open_without_streams), 0);
}

static void more_maps_than_slots_are_harmless(void **state)
{
    (void)state;
    static char page[5000];
    for (int i = 0; i < 5000; i++)
        signals_add_map(&page[i], 1, "name");
    for (int i = 0; i < 5000; i++)
        signals_remove_map(&page[i]);
    signals_add_map(NULL, 0, "none");
    signals_remove_map(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_signal_asks_to_stop),
        cmocka_unit_test(the_second_signal_quits),
        cmocka_unit_test(nohup_is_respected_and_a_scheduler_can_ask),
        cmocka_unit_test(a_closed_pipe_is_a_failing_write),
        cmocka_unit_test(a_file_that_shrinks_under_us_is_named),
        cmocka_unit_test(files_never_take_the_place_of_closed_streams),
        cmocka_unit_test(more_maps_than_slots_are_harmless),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
