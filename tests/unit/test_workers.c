#include "runtime/workers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N_TASKS = 1000, SCRATCH = 1000 };

typedef struct Count {
    atomic_int seen[N_TASKS];
    atomic_int wrong;
} Count;

/* Marks the scratch, works, and looks whether another task wrote there meanwhile. */
static void count_task(void *context, int64_t task, void *scratch)
{
    Count *c = context;
    unsigned char mark = (unsigned char)task;

    if ((uintptr_t)scratch % 64)
        atomic_fetch_add(&c->wrong, 1);
    memset(scratch, mark, SCRATCH);
    atomic_fetch_add(&c->seen[task], 1);
    for (int i = 0; i < SCRATCH; i++)
        if (((unsigned char *)scratch)[i] != mark)
            atomic_fetch_add(&c->wrong, 1);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    Count *c = calloc(1, sizeof *c);
    Err err = {0};

    for (int threads = 1; threads <= 5; threads++) {
        Workers *w;
        assert_int_equal(workers_start(&w, threads, SCRATCH, &err), NPC_OK);
        assert_int_equal(workers_n(w), threads);
        for (int round = 0; round < 60; round++) {
            int n = round % 3 == 0 ? N_TASKS : round % 7;
            memset(c, 0, sizeof *c);
            workers_run(w, count_task, c, n);
            for (int i = 0; i < N_TASKS; i++)
                assert_int_equal(atomic_load(&c->seen[i]), i < n);
            assert_int_equal(atomic_load(&c->wrong), 0);
        }
        workers_stop(w);
    }
    free(c);
}

static void add_task(void *context, int64_t task, void *scratch)
{
    (void)scratch;
    atomic_fetch_add((atomic_llong *)context, task);
}

static void many_short_runs_follow_each_other(void **state)
{
    (void)state;
    atomic_llong sum = 0;
    Err err = {0};
    Workers *w;

    assert_int_equal(workers_start(&w, 3, 0, &err), NPC_OK);
    for (int i = 0; i < 20000; i++)
        workers_run(w, add_task, &sum, 5);
    assert_int_equal(atomic_load(&sum), 20000 * 10);
    workers_stop(w);
}

static void a_pool_without_work_stops(void **state)
{
    (void)state;
    Err err = {0};
    Workers *w;

    for (int i = 0; i < 50; i++) {
        assert_int_equal(workers_start(&w, 4, 64, &err), NPC_OK);
        workers_stop(w);
    }
    assert_int_equal(workers_start(&w, 0, 64, &err), NPC_OK);
    assert_true(workers_n(w) >= 1);
    workers_stop(w);
    workers_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(many_short_runs_follow_each_other),
        cmocka_unit_test(a_pool_without_work_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
