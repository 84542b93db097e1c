/* Work shared among processes: everything is done once, whoever dies or fails. */
#include "codegen/cuda_processes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { UNITS = 12 };

typedef struct Made {
    pid_t here;      /* the test's process */
    int dies, fails; /* units at which copies die, and at which everybody fails; -1: none */
    int *compiled;   /* per unit, by all processes; shared memory */
    int taken[UNITS];
} Made;

static Status compile(void *context, int unit, CodeObject *out, CodeObject *note, Err *err)
{
    Made *m = context;
    struct timespec pause = {0, 2000000}; /* so that every process gets a unit */
    nanosleep(&pause, NULL);
    m->compiled[unit]++;
    if (unit == m->dies && getpid() != m->here)
        raise(SIGKILL);
    if (unit == m->fails)
        return err_set(err, NPC_ERR_DEVICE, "unit %d is wrong", unit);
    *out = (CodeObject){malloc(100000), (size_t)(1000 * unit + 7)};
    *note = (CodeObject){malloc(sizeof unit), sizeof unit};
    memset(out->data, 'a' + unit, out->bytes);
    memcpy(note->data, &unit, sizeof unit);
    return NPC_OK;
}

static void take(void *context, int unit, CodeObject out, CodeObject note)
{
    Made *m = context;
    m->taken[unit]++;
    assert_int_equal(out.bytes, 1000 * unit + 7);
    assert_int_equal(((char *)out.data)[out.bytes - 1], 'a' + unit);
    assert_memory_equal(note.data, &unit, sizeof unit);
    free(out.data);
}

static Made made(int dies, int fails)
{
    size_t bytes = UNITS * sizeof(int);
    return (Made){getpid(),
                  dies,
                  fails,
                  mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
                  {0}};
}

static Status run(Made *m, int n, Err *err)
{
    CudaWork work = {UNITS, compile, take, m};
    return cuda_processes_run(&work, n, err);
}

static void every_unit_is_taken_once(void **state)
{
    (void)state;
    for (int n = 0; n < 6; n++) {
        Made m = made(-1, -1);
        Err err = {0};
        assert_int_equal(run(&m, n, &err), NPC_OK);
        for (int i = 0; i < UNITS; i++) {
            assert_int_equal(m.taken[i], 1);
            assert_int_equal(m.compiled[i], 1);
        }
    }
}

static void what_a_copy_died_of_is_done_again(void **state)
{
    (void)state;
    for (int dies = 0; dies < UNITS; dies++) {
        Made m = made(dies, -1);
        Err err = {0};
        assert_int_equal(run(&m, 3, &err), NPC_OK);
        for (int i = 0; i < UNITS; i++)
            assert_int_equal(m.taken[i], 1);
    }
}

static void an_error_is_reported_once_and_by_this_process(void **state)
{
    (void)state;
    for (int n = 1; n < 4; n++) {
        Made m = made(-1, 5);
        Err err = {0};
        assert_int_equal(run(&m, n, &err), NPC_ERR_DEVICE);
        assert_string_equal(err.text, "unit 5 is wrong");
        assert_int_equal(m.taken[5], 0);
        for (int i = 0; i < UNITS; i++)
            assert_true(m.taken[i] <= 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unit_is_taken_once),
        cmocka_unit_test(what_a_copy_died_of_is_done_again),
        cmocka_unit_test(an_error_is_reported_once_and_by_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
