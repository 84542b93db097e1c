/* Thread pool. A run is a generation: its number is raised, every thread takes tasks from one
 * counter until none is left, and the caller waits for the last thread. Waiting spins for some
 * microseconds, because kernels follow each other closely, and then sleeps. */
#include "runtime/workers.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { SPIN_ROUNDS = 4000, MAX_THREADS = 1024 };

typedef struct Member {
    Workers *w;
    pthread_t thread;
    void *scratch;
} Member;

struct Workers {
    int n; /* with the caller, which is member 0 */
    int n_started;
    Member *member;
    /* the run */
    WorkerTask task;
    void *context;
    int64_t n_tasks;
    _Alignas(64) atomic_llong next;
    _Alignas(64) atomic_uint generation;
    _Alignas(64) atomic_int working; /* threads not yet done with this generation */
    atomic_int sleepers;
    atomic_bool caller_sleeps, quit;
    pthread_mutex_t lock;
    pthread_cond_t start, done;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_tasks(Workers *w, void *scratch)
{
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed);
        if (i >= w->n_tasks)
            return;
        w->task(w->context, i, scratch);
    }
}

/* Both sides announce first and look second (sequentially consistent), so either the sleeper sees
 * the new generation or the caller sees the sleeper. */
static void wait_for_start(Workers *w, unsigned seen)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load(&w->generation) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&w->lock);
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->generation) == seen)
        pthread_cond_wait(&w->start, &w->lock);
    atomic_fetch_sub(&w->sleepers, 1);
    pthread_mutex_unlock(&w->lock);
}

static void begin_generation(Workers *w)
{
    atomic_fetch_add(&w->generation, 1);
    if (atomic_load(&w->sleepers) == 0)
        return;
    pthread_mutex_lock(&w->lock);
    pthread_cond_broadcast(&w->start);
    pthread_mutex_unlock(&w->lock);
}

static void report_done(Workers *w)
{
    if (atomic_fetch_sub(&w->working, 1) > 1 || !atomic_load(&w->caller_sleeps))
        return;
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for_done(Workers *w)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load(&w->working) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->caller_sleeps, true);
    while (atomic_load(&w->working) > 0)
        pthread_cond_wait(&w->done, &w->lock);
    atomic_store(&w->caller_sleeps, false);
    pthread_mutex_unlock(&w->lock);
}

static void *serve(void *context)
{
    Member *m = context;
    Workers *w = m->w;

    for (unsigned seen = 0;; seen++) {
        wait_for_start(w, seen);
        if (atomic_load(&w->quit))
            return NULL;
        take_tasks(w, m->scratch);
        report_done(w);
    }
}

static int cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return 1;
}

static Status start_members(Workers *w, size_t scratch_bytes, Err *err)
{
    size_t bytes = (scratch_bytes + 64) / 64 * 64;

    for (int i = 0; i < w->n; i++) {
        Member *m = &w->member[i];
        m->w = w;
        m->scratch = aligned_alloc(64, bytes);
        if (!m->scratch)
            return err_set(err, NPC_ERR_MEMORY, "no memory for %zu bytes of scratch per thread",
                           scratch_bytes);
    }
    for (w->n_started = 1; w->n_started < w->n; w->n_started++) {
        Member *m = &w->member[w->n_started];
        if (pthread_create(&m->thread, NULL, serve, m))
            return err_set(err, NPC_ERR_MEMORY, "thread %d of %d could not be started",
                           w->n_started + 1, w->n);
    }
    return NPC_OK;
}

Status workers_start(Workers **out, int n_threads, size_t scratch_bytes, Err *err)
{
    int n = n_threads > 0 ? n_threads : cores();

    *out = NULL;
    n = n < MAX_THREADS ? n : MAX_THREADS;
    Workers *w = aligned_alloc(64, sizeof *w);
    Member *member = calloc((size_t)n, sizeof *member);
    if (!w || !member) {
        free(w);
        free(member);
        return err_set(err, NPC_ERR_MEMORY, "no memory for %d threads", n);
    }
    *w = (Workers){.n = n, .n_started = 1, .member = member};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->start, NULL);
    pthread_cond_init(&w->done, NULL);
    Status status = start_members(w, scratch_bytes, err);
    if (status == NPC_OK)
        *out = w;
    else
        workers_stop(w);
    return status;
}

int workers_n(const Workers *w)
{
    return w->n;
}

void workers_run(Workers *w, WorkerTask task, void *context, int64_t n_tasks)
{
    if (n_tasks <= 0)
        return;
    w->task = task;
    w->context = context;
    w->n_tasks = n_tasks;
    atomic_store(&w->next, 0);
    if (w->n == 1 || n_tasks == 1) {
        take_tasks(w, w->member[0].scratch);
        return;
    }
    atomic_store(&w->working, w->n - 1);
    begin_generation(w);
    take_tasks(w, w->member[0].scratch);
    wait_for_done(w);
}

void workers_stop(Workers *w)
{
    if (!w)
        return;
    atomic_store(&w->quit, true);
    begin_generation(w);
    for (int i = 1; i < w->n_started; i++)
        pthread_join(w->member[i].thread, NULL);
    for (int i = 0; i < w->n; i++)
        free(w->member[i].scratch);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->start);
    pthread_cond_destroy(&w->done);
    free(w->member);
    free(w);
}
