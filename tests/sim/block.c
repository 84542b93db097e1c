/* Runs the blocks of a launch one after the other, each thread on a fiber.
 *
 * A thread runs until it has to wait: at a barrier, or for the other lanes of its warp (shuffles,
 * matrix fragments). Then another one goes on; a thread that never waits leaves its fiber to the
 * next, so kernels without barriers cost no switches. Blocks run in shuffled order, and so do
 * threads, in one of two ways that change from block to block: any thread that can run, or the
 * same warp as long as it can, so that it is far ahead of the others. Shared memory is 0xFF, that
 * is NaN, before every block. A missing barrier thereby reads what is not there yet.
 *
 * A barrier waits for the threads that have not returned, as CUDA's does. It is a mistake if they
 * wait at different lines, or some of them wait for their warp, or lanes of a warp at different
 * lines: threads that can not go on end the launch.
 *
 *   NPC_SIM_SEED=N   of the order, 1; read by cuInit */
#include "tests/sim/driver.h"
#include "tests/sim/fiber.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#if SIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

enum { MAX_WARPS = SIM_MAX_THREADS / SIM_WARP };

typedef enum Wait { WAIT_NOTHING, WAIT_BARRIER, WAIT_SHUFFLE, WAIT_MMA } Wait;

typedef struct Thread {
    SimDim index;
    Fiber *fiber; /* NULL: has not begun */
    Wait wait;
    int line; /* where it waits */
    bool is_done;
    union {
        struct {
            unsigned bits;
            int distance;
            SimShuffle kind;
        } shuffle;
        struct {
            SimMma kind;
            float *d;
            const unsigned *a, *b;
        } mma;
    };
} Thread;

typedef struct Warp {
    int live, waiting; /* waiting: for the other lanes */
} Warp;

/* The running launch; there is one at a time. */
static struct {
    const SimLaunch *launch;
    SimUnit *unit;
    void (*run)(void **params);
    void *params[SIM_MAX_PARAMS];
    Thread thread[SIM_MAX_THREADS];
    Warp warp[MAX_WARPS];
    int n_threads, live, at_barrier;
    int runnable[SIM_MAX_THREADS], n_runnable;
    bool warps_first;
    Thread *current;
    CUresult result;
} g;

static Fiber main_fiber, fibers[SIM_MAX_THREADS], *idle[SIM_MAX_THREADS];
static int n_fibers, n_idle;
static uint64_t random_state;
static const SimHooks HOOKS;

static unsigned pick(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(((random_state >> 32) * n) >> 32);
}

static void shuffle(int *at, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)pick((unsigned)i + 1), t = at[i];
        at[i] = at[j];
        at[j] = t;
    }
}

static int number_of(const Thread *t)
{
    return (int)(t - g.thread);
}

/* ---- what can run ---- */

static void make_runnable(const int *threads, int n)
{
    for (int i = 0; i < n; i++) {
        g.thread[threads[i]].wait = WAIT_NOTHING;
        g.runnable[g.n_runnable++] = threads[i];
    }
}

/* Out of the ones that can run; NULL when there is none. */
static Thread *next_thread(void)
{
    if (!g.n_runnable)
        return NULL;
    int last = --g.n_runnable;
    if (!g.warps_first) {
        int i = (int)pick((unsigned)last + 1), t = g.runnable[i];
        g.runnable[i] = g.runnable[last];
        return &g.thread[t];
    }
    return &g.thread[g.runnable[last]];
}

static void set_current(Thread *t)
{
    g.current = t;
    g.unit->thread = t->index;
}

/* Ends the launch. */
__attribute__((noreturn)) static void give_up(CUresult r)
{
    static Fiber nowhere;
    g.result = r;
    fiber_switch(g.current ? g.current->fiber : &nowhere, &main_fiber);
    __builtin_unreachable();
}

static const char *where(const Thread *t, char *text, size_t len)
{
    const SimDim *b = &g.unit->block;
    int n = snprintf(text, len, "kernel %s, block %u", g.launch->function->kernel->name, b->x);
    if (g.launch->grid.y > 1 || g.launch->grid.z > 1)
        n += snprintf(text + n, len - (size_t)n, " %u %u", b->y, b->z);
    if (t)
        snprintf(text + n, len - (size_t)n, ", thread %d", number_of(t));
    return text;
}

static const char *wait_text(Wait w)
{
    static const char *const text[] = {"nothing", "the barrier", "the shuffle",
                                       "the matrix product"};
    return text[w];
}

__attribute__((noreturn)) static void nobody_can_run(void)
{
    const Thread *a = NULL, *b = NULL;
    char text[160];
    for (int i = 0; i < g.n_threads; i++) {
        const Thread *t = &g.thread[i];
        if (t->is_done)
            continue;
        if (!a)
            a = t;
        else if (!b && (t->wait != a->wait || t->line != a->line))
            b = t;
    }
    if (b)
        sim_env_say("%s: threads wait for each other: thread %d at %s of line %d, thread %d at %s "
                    "of line %d",
                    where(NULL, text, sizeof text), number_of(a), wait_text(a->wait), a->line,
                    number_of(b), wait_text(b->wait), b->line);
    else
        sim_env_say("%s: %d threads wait at %s of line %d", where(NULL, text, sizeof text), g.live,
                    wait_text(a->wait), a->line);
    give_up(CUDA_ERROR_LAUNCH_FAILED);
}

/* ---- barriers and warps ---- */

/* All threads that have not returned stand at a barrier: is it the same? Then they go on. */
static void release_barrier(void)
{
    int threads[SIM_MAX_THREADS], n = 0, line = 0;
    for (int i = 0; i < g.n_threads; i++) {
        const Thread *t = &g.thread[i];
        if (t->is_done)
            continue;
        if (n && t->line != line)
            nobody_can_run();
        line = t->line;
        threads[n++] = i;
    }
    g.at_barrier = 0;
    if (g.warps_first) { /* whole warps, in shuffled order */
        int order[MAX_WARPS], n_warps = (g.n_threads + SIM_WARP - 1) / SIM_WARP;
        for (int w = 0; w < n_warps; w++)
            order[w] = w;
        shuffle(order, n_warps);
        for (int w = 0; w < n_warps; w++)
            for (int i = 0; i < n; i++)
                if (threads[i] / SIM_WARP == order[w])
                    make_runnable(&threads[i], 1);
    } else {
        shuffle(threads, n);
        make_runnable(threads, n);
    }
}

static void shuffle_warp(Thread *const *lane)
{
    unsigned in[SIM_WARP];
    for (int i = 0; i < SIM_WARP; i++) /* what a lane holds that has returned is not known */
        in[i] = lane[i] ? lane[i]->shuffle.bits : 0xffffffffu;
    for (int i = 0; i < SIM_WARP; i++) {
        if (!lane[i])
            continue;
        int d = lane[i]->shuffle.distance, from = i;
        switch (lane[i]->shuffle.kind) {
        case SIM_SHUFFLE_XOR:
            from = i ^ d;
            break;
        case SIM_SHUFFLE_DOWN:
            from = i + d;
            break;
        case SIM_SHUFFLE_UP:
            from = i - d;
            break;
        }
        lane[i]->shuffle.bits = in[from >= 0 && from < SIM_WARP ? from : i];
    }
}

static void multiply_warp(Thread *const *lane)
{
    float *d[SIM_WARP];
    const unsigned *a[SIM_WARP], *b[SIM_WARP];
    char text[160];
    for (int i = 0; i < SIM_WARP; i++) {
        if (!lane[i]) {
            sim_env_say("%s: a matrix product without all 32 lanes of its warp",
                        where(g.current, text, sizeof text));
            give_up(CUDA_ERROR_LAUNCH_FAILED);
        }
        d[i] = lane[i]->mma.d;
        a[i] = lane[i]->mma.a;
        b[i] = lane[i]->mma.b;
    }
    warp_mma(lane[0]->mma.kind, d, a, b);
}

/* All lanes of a warp that have not returned wait for each other: at the same place? */
static void release_warp(int w)
{
    Thread *lane[SIM_WARP] = {NULL};
    const Thread *first = NULL;
    int threads[SIM_WARP], n = 0;
    for (int i = 0; i < SIM_WARP && w * SIM_WARP + i < g.n_threads; i++) {
        Thread *t = &g.thread[w * SIM_WARP + i];
        if (t->is_done)
            continue;
        if (first && (t->wait != first->wait || t->line != first->line))
            nobody_can_run();
        first = lane[i] = t;
        threads[n++] = w * SIM_WARP + i;
    }
    if (first->wait == WAIT_SHUFFLE)
        shuffle_warp(lane);
    else
        multiply_warp(lane);
    g.warp[w].waiting = 0;
    shuffle(threads, n);
    make_runnable(threads, n);
}

static void release(int w)
{
    if (g.live && g.at_barrier == g.live)
        release_barrier();
    if (g.warp[w].live && g.warp[w].waiting == g.warp[w].live)
        release_warp(w);
}

/* The current thread waits; returns when it goes on. */
static void wait_here(Wait wait, int line)
{
    Thread *self = g.current;
    int w = number_of(self) / SIM_WARP;
    self->wait = wait;
    self->line = line;
    if (wait == WAIT_BARRIER)
        g.at_barrier++;
    else
        g.warp[w].waiting++;
    release(w);
    Thread *next = next_thread();
    if (!next)
        nobody_can_run();
    set_current(next);
    if (next == self)
        return;
    if (!next->fiber)
        next->fiber = idle[--n_idle];
    fiber_switch(self->fiber, next->fiber);
}

/* A fiber: runs the current thread, then others that have not begun. */
static void fiber_body(void)
{
    Fiber *self = g.current->fiber;
    fiber_arrived();
    for (;;) {
        g.run(g.params);
        Thread *t = g.current;
        int w = number_of(t) / SIM_WARP;
        t->is_done = true;
        g.live--;
        g.warp[w].live--;
        release(w);
        Thread *next = next_thread();
        if (!next && g.live)
            nobody_can_run();
        if (next && !next->fiber) {
            next->fiber = self;
            set_current(next);
            continue;
        }
        idle[n_idle++] = self;
        if (next)
            set_current(next);
        fiber_switch(self, next ? next->fiber : &main_fiber);
    }
}

/* ---- what kernels call ---- */

static void hook_sync(int line)
{
    wait_here(WAIT_BARRIER, line);
}

static unsigned hook_shuffle(unsigned bits, int distance, SimShuffle kind, int line)
{
    Thread *t = g.current;
    t->shuffle.bits = bits;
    t->shuffle.distance = distance;
    t->shuffle.kind = kind;
    wait_here(WAIT_SHUFFLE, line);
    return t->shuffle.bits;
}

static void hook_mma(SimMma kind, float *d, const unsigned *a, const unsigned *b, int line)
{
    Thread *t = g.current;
    t->mma.kind = kind;
    t->mma.d = d;
    t->mma.a = a;
    t->mma.b = b;
    wait_here(WAIT_MMA, line);
}

static void hook_fault(const char *what, unsigned line, unsigned long value)
{
    char text[160];
    bool misaligned = what[0] == 'm';
    sim_env_say(misaligned ? "%s: line %u: %s at 0x%lx" : "%s: line %u: %s: %ld",
                where(g.current, text, sizeof text), line, what, value);
    give_up(misaligned ? CUDA_ERROR_MISALIGNED_ADDRESS : CUDA_ERROR_ILLEGAL_ADDRESS);
}

static const SimHooks HOOKS = {hook_sync, hook_shuffle, hook_mma, hook_fault};

/* ---- accesses that the machine refuses ---- */

#if !SIM_ASAN
static _Thread_local bool in_launch;
static sigjmp_buf fault_exit;
static struct sigaction old_action[4];
static const int FAULTS[4] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static void *fault_address, *fault_instruction;
static int fault_signal;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    if (!in_launch) { /* not ours: it happens again under the old action */
        for (int i = 0; i < 4; i++)
            if (FAULTS[i] == signal)
                sigaction(signal, &old_action[i], NULL);
        return;
    }
    fault_signal = signal;
    fault_address = info->si_addr;
    fault_instruction = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    siglongjmp(fault_exit, 1);
}

static void catch_faults(bool on)
{
    static unsigned char stack[64 * 1024];
    static stack_t old_stack;
    stack_t ours = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(on ? &ours : &old_stack, on ? &old_stack : NULL);
    for (int i = 0; i < 4; i++)
        sigaction(FAULTS[i], on ? &action : &old_action[i], on ? &old_action[i] : NULL);
    in_launch = on;
}

static void say_fault(void)
{
    char place[160], text[160], line_text[32] = "";
    const Thread *t = g.current;
    int line = module_line(g.launch->function->module, fault_instruction);
    where(t, place, sizeof place);
    if (line)
        snprintf(line_text, sizeof line_text, "line %d: ", line);
    g.result = CUDA_ERROR_ILLEGAL_ADDRESS;
    if (fault_signal == SIGFPE)
        sim_env_say("%s: %sdivision of integers by zero", place, line_text);
    else if (t && t->fiber && fiber_overflows(t->fiber, fault_address))
        sim_env_say("%s: %smore than its stack", place, line_text);
    else
        sim_env_say("%s: %saccess to %p: %s", place, line_text, fault_address,
                    memory_describe((uintptr_t)fault_address, text, sizeof text));
}
#else
static void catch_faults(bool on)
{
    (void)on;
}
#endif

#if SIM_ASAN
static void on_sanitizer_death(void)
{
    char text[160];
    if (g.launch)
        fprintf(stderr, "npc sim: while running %s\n", where(g.current, text, sizeof text));
}
#endif

/* ---- blocks ---- */

static bool make_fibers(void)
{
    int n = g.n_threads;
    while (n_fibers < n) {
        if (!fiber_make(&fibers[n_fibers]))
            return false;
        fiber_reset(&fibers[n_fibers], fiber_body);
        idle[n_idle++] = &fibers[n_fibers++];
    }
    return true;
}

/* After a launch that ended in the middle. */
static void reset_fibers(void)
{
    for (n_idle = 0; n_idle < n_fibers; n_idle++) {
        fiber_reset(&fibers[n_idle], fiber_body);
        idle[n_idle] = &fibers[n_idle];
    }
}

static void fill_shared(unsigned char *at, const unsigned char *end)
{
    size_t n = (size_t)(end - at);
    if (n) /* not memset: the address sanitizer would see the gaps */
        __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(0xFF) : "memory");
}

static void begin_block(unsigned number)
{
    const SimLaunch *l = g.launch;
    const SimKernel *k = l->function->kernel;
    g.unit->block = (SimDim){number % l->grid.x, number / l->grid.x % l->grid.y,
                             number / l->grid.x / l->grid.y};
    fill_shared(k->shared, k->shared_end);
    fill_shared(g.unit->shared, g.unit->shared_end);
    g.live = g.n_threads;
    g.at_barrier = 0;
    g.n_runnable = 0;
    g.warps_first = pick(2);
    for (int i = 0; i < g.n_threads; i++) {
        g.thread[i].fiber = NULL;
        g.thread[i].is_done = false;
    }
    int n_warps = (g.n_threads + SIM_WARP - 1) / SIM_WARP, order[MAX_WARPS];
    for (int w = 0; w < n_warps; w++) {
        int rest = g.n_threads - w * SIM_WARP;
        g.warp[w] = (Warp){rest < SIM_WARP ? rest : SIM_WARP, 0};
        order[w] = w;
    }
    shuffle(order, n_warps);
    for (int w = 0; w < n_warps; w++) {
        int threads[SIM_WARP], n = g.warp[order[w]].live;
        for (int i = 0; i < n; i++)
            threads[i] = order[w] * SIM_WARP + i;
        shuffle(threads, n);
        make_runnable(threads, n);
    }
}

static void run_block(unsigned number)
{
    begin_block(number);
    Thread *first = next_thread();
    first->fiber = idle[--n_idle];
    set_current(first);
    fiber_switch(&main_fiber, first->fiber);
    g.current = NULL;
}

/* Visits every number below n once: the i-th is (first + i step) mod n. */
typedef struct Walk {
    uint64_t n, first, step;
} Walk;

static uint64_t divisor(uint64_t a, uint64_t b)
{
    return b ? divisor(b, a % b) : a;
}

static Walk shuffled_walk(uint64_t n)
{
    Walk w = {n, pick((unsigned)n), 1 + pick((unsigned)n)};
    while (divisor(w.step, n) != 1)
        w.step++;
    return w;
}

static void begin_launch(const SimLaunch *l)
{
    SimDim b = l->block;
    g.launch = l;
    g.unit = module_unit(l->function->module);
    g.run = l->function->kernel->run;
    g.n_threads = (int)(b.x * b.y * b.z);
    g.result = CUDA_SUCCESS;
    for (int i = 0; i < l->function->kernel->n_params; i++)
        g.params[i] = (void *)(l->args + 8 * i);
    for (int i = 0; i < g.n_threads; i++) {
        unsigned n = (unsigned)i;
        g.thread[i].index = (SimDim){n % b.x, n / b.x % b.y, n / b.x / b.y};
    }
    g.unit->hooks = &HOOKS;
    g.unit->n_threads = b;
    g.unit->n_blocks = l->grid;
    main_fiber = (Fiber){0};
}

void launch_seed(void)
{
    random_state = (uint64_t)sim_env_number("NPC_SIM_SEED", 1) * 0x9E3779B97F4A7C15u + 1;
}

CUresult launch_run(const SimLaunch *l)
{
    begin_launch(l);
    if (!make_fibers()) {
        sim_env_say("no memory for the stacks of %d threads", g.n_threads);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    Walk walk = shuffled_walk((uint64_t)l->grid.x * l->grid.y * l->grid.z);
#if SIM_ASAN
    __sanitizer_set_death_callback(on_sanitizer_death);
#else
    if (sigsetjmp(fault_exit, 1))
        say_fault();
    else
#endif
    {
        catch_faults(true);
        for (uint64_t i = 0; i < walk.n && !g.result; i++)
            run_block((unsigned)((walk.first + i % walk.n * walk.step) % walk.n));
    }
    catch_faults(false);
    g.launch = NULL;
    if (g.result)
        reset_fibers();
    else if (!memory_guards_intact(l->function->kernel->name))
        g.result = CUDA_ERROR_ILLEGAL_ADDRESS;
    return g.result ? driver_lost(g.result) : CUDA_SUCCESS;
}
