/* The threads of a block are fibers, one after the other on one processor.
 *
 * A thread runs until it has to wait: at a barrier, or for the other lanes of its warp (shuffles,
 * matrix fragments). Then another one goes on; a thread that never waits leaves its fiber to the
 * next, so kernels without barriers cost no switches. Threads are released in shuffled order, and
 * who was released last goes on first, so that warps are as far ahead of each other as barriers
 * allow. Shared memory is 0xFF, that is NaN, before every block. A missing barrier thereby reads
 * what is not there yet.
 *
 * A barrier waits for the threads that have not returned, as CUDA's does. It is a mistake if they
 * wait at different lines, or some of them wait for their warp, or lanes of a warp at different
 * lines: threads that can not go on end the launch.
 *
 * One core of a Zen 5 at 256 threads to a block: 90 million threads a second that do not wait, 90
 * million waits at barriers, 45 million in shuffles, 1 million fragment products of a warp. */
#include "tests/sim/block.h"
#include "tests/sim/fiber.h"

#include <stdio.h>
#include <string.h>

enum { MAX_WARPS = SIM_MAX_THREADS / SIM_WARP, N_ORDERS = 8, NOBODY = -1 };

typedef enum Wait { WAIT_NOTHING, WAIT_BARRIER, WAIT_SHUFFLE, WAIT_MMA } Wait;

/* What a thread gives to its warp. */
typedef struct Gift {
    int kind; /* SimShuffle, SimMma */
    union {
        struct {
            unsigned bits;
            int distance;
        };
        struct {
            float *d;
            const unsigned *a, *b;
        };
    };
} Gift;

typedef struct Warp {
    short live, waiting; /* waiting: for the other lanes */
} Warp;

/* The running block. Threads are numbers; what a switch touches lies close together. */
static struct {
    const SimLaunch *launch;
    SimUnit *unit;
    void (*run)(void **params);
    void *params[SIM_MAX_PARAMS];
    int n_threads, live, current;
    int at_barrier, barrier_line; /* where those at the barrier wait */
    int n_runnable;
    short runnable[SIM_MAX_THREADS];
    Warp warp[MAX_WARPS];
    Fiber *fiber[SIM_MAX_THREADS]; /* NULL: has not begun */
    SimDim index[SIM_MAX_THREADS];
    int line[SIM_MAX_THREADS]; /* where it waits */
    unsigned char wait[SIM_MAX_THREADS];
    bool is_done[SIM_MAX_THREADS];
    Gift gift[SIM_MAX_THREADS];
    uint32_t launch_number, epoch; /* epoch: barriers passed */
    CUresult result;
} g = {.current = NOBODY};

static Fiber main_fiber, fibers[SIM_MAX_THREADS], *idle[SIM_MAX_THREADS];
static int n_fibers, n_idle;

/* ---- orders ---- */

/* Of the threads of a block, half of them warp by warp; one is new with every launch. */
static short orders[N_ORDERS][SIM_MAX_THREADS];
static int orders_threads, orders_next;
static uint64_t random_state = 1;

void block_seed(uint64_t seed)
{
    random_state = seed * 0x9E3779B97F4A7C15u + 1;
    orders_threads = 0;
}

unsigned block_pick(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(((random_state >> 32) * n) >> 32);
}

static void shuffle(short *at, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)block_pick((unsigned)i + 1);
        short t = at[i];
        at[i] = at[j];
        at[j] = t;
    }
}

static int n_lanes(int warp)
{
    int rest = g.n_threads - warp * SIM_WARP;
    return rest < SIM_WARP ? rest : SIM_WARP;
}

static void new_order(short *order, bool by_warps)
{
    short warps[MAX_WARPS];
    int n_warps = (g.n_threads + SIM_WARP - 1) / SIM_WARP, n = 0;
    for (int w = 0; w < n_warps; w++)
        warps[w] = (short)w;
    shuffle(warps, n_warps);
    for (int w = 0; w < n_warps; w++) {
        int lanes = n_lanes(warps[w]);
        for (int i = 0; i < lanes; i++)
            order[n + i] = (short)(warps[w] * SIM_WARP + i);
        if (by_warps)
            shuffle(order + n, lanes);
        n += lanes;
    }
    if (!by_warps)
        shuffle(order, n);
}

static void new_orders(void)
{
    if (orders_threads != g.n_threads) {
        orders_threads = g.n_threads;
        for (int i = 0; i < N_ORDERS; i++)
            new_order(orders[i], i % 2);
    } else {
        orders_next = (orders_next + 1) % N_ORDERS;
        new_order(orders[orders_next], orders_next % 2);
    }
}

/* All that have not returned can run, in a new order. */
static void make_all_runnable(void)
{
    const short *order = orders[block_pick(N_ORDERS)];
    if (g.live == g.n_threads) {
        memcpy(g.runnable, order, (size_t)g.n_threads * sizeof *order);
        g.n_runnable = g.n_threads;
        return;
    }
    g.n_runnable = 0;
    for (int i = 0; i < g.n_threads; i++)
        if (!g.is_done[order[i]])
            g.runnable[g.n_runnable++] = order[i];
}

/* Out of the ones that can run; NOBODY when there is none. */
static int next_thread(void)
{
    if (!g.n_runnable)
        return NOBODY;
    if (g.n_runnable > 3) { /* stacks do not fit into the first cache */
        const Fiber *later = g.fiber[g.runnable[g.n_runnable - 4]];
        if (later) {
            __builtin_prefetch(later->sp);
            __builtin_prefetch((const char *)later->sp + 64);
            __builtin_prefetch((const char *)later->sp + 128);
        }
    }
    return g.runnable[--g.n_runnable];
}

static void set_current(int t)
{
    g.current = t;
    g.unit->thread = g.index[t];
}

/* ---- mistakes ---- */

/* Not inlined: their texts would make every stack larger. */
#define MISTAKE __attribute__((noreturn, noinline, cold))

__attribute__((noreturn)) void block_give_up(CUresult r)
{
    g.result = r;
    fiber_switch(g.fiber[g.current], &main_fiber);
    __builtin_unreachable();
}

void block_leave(void)
{
    fiber_leave(&main_fiber);
}

void block_left(void)
{
    fiber_arrived();
}

static const char *place_of(int t, char *text, size_t len)
{
    const SimDim *b = &g.unit->block;
    int n = snprintf(text, len, "kernel %s, block %u", g.launch->function->kernel->name, b->x);
    if (g.launch->grid.y > 1 || g.launch->grid.z > 1)
        n += snprintf(text + n, len - (size_t)n, " %u %u", b->y, b->z);
    if (t != NOBODY)
        snprintf(text + n, len - (size_t)n, ", thread %d", t);
    return text;
}

const char *block_place(int line, char *text, size_t len)
{
    place_of(g.current, text, len);
    size_t n = strlen(text);
    int line_len;
    const char *at = module_text(g.launch->function->module, line, &line_len);
    if (line)
        snprintf(text + n, len - n, ", line %d (%.*s)", line, line_len, at);
    return text;
}

bool block_stack_overflows(const void *at)
{
    return g.current != NOBODY && fiber_overflows(g.fiber[g.current], at);
}

static const char *wait_text(int t)
{
    static const char *const text[] = {"nothing", "the barrier", "the shuffle",
                                       "the matrix product"};
    return text[g.wait[t]];
}

/* Threads wait, and none can go on: at the barrier and in warps, or in a warp at several places. */
MISTAKE static void nobody_can_run(int first, int end)
{
    int a = NOBODY, b = NOBODY;
    char text[160];
    for (int i = first; i < end; i++) {
        if (g.is_done[i])
            continue;
        if (a == NOBODY)
            a = i;
        else if (b == NOBODY && (g.wait[i] != g.wait[a] || g.line[i] != g.line[a]))
            b = i;
    }
    place_of(NOBODY, text, sizeof text);
    if (b != NOBODY)
        sim_env_say("%s: threads wait for each other: thread %d at %s of line %d, thread %d at %s "
                    "of line %d",
                    text, a, wait_text(a), g.line[a], b, wait_text(b), g.line[b]);
    else
        sim_env_say("%s: %d threads wait at %s of line %d", text, g.live, wait_text(a), g.line[a]);
    block_give_up(CUDA_ERROR_LAUNCH_FAILED);
}

/* The current thread and others wait at barriers of different lines. */
MISTAKE static void different_barriers(void)
{
    char text[160];
    sim_env_say("%s waits at the barrier of line %d, other threads at that of line %d",
                block_place(0, text, sizeof text), g.line[g.current], g.barrier_line);
    block_give_up(CUDA_ERROR_LAUNCH_FAILED);
}

/* ---- warps ---- */

/* lane[i]: the gift of lane i, NULL when it has returned. */
static void shuffle_warp(Gift *const *lane)
{
    unsigned in[SIM_WARP];
    for (int i = 0; i < SIM_WARP; i++) /* what a lane holds that has returned is not known */
        in[i] = lane[i] ? lane[i]->bits : 0xffffffffu;
    for (int i = 0; i < SIM_WARP; i++) {
        if (!lane[i])
            continue;
        int d = lane[i]->distance;
        int from = lane[i]->kind == SIM_SHUFFLE_XOR    ? i ^ d
                   : lane[i]->kind == SIM_SHUFFLE_DOWN ? i + d
                                                       : i - d;
        lane[i]->bits = in[from >= 0 && from < SIM_WARP ? from : i];
    }
}

MISTAKE static void lanes_are_missing(int line)
{
    char text[400];
    sim_env_say("%s: a matrix product without all 32 lanes of its warp",
                block_place(line, text, sizeof text));
    block_give_up(CUDA_ERROR_LAUNCH_FAILED);
}

static void multiply_warp(Gift *const *lane, int line)
{
    float *d[SIM_WARP];
    const unsigned *a[SIM_WARP], *b[SIM_WARP];
    for (int i = 0; i < SIM_WARP; i++) {
        if (!lane[i] || lane[i]->kind != lane[0]->kind)
            lanes_are_missing(line);
        d[i] = lane[i]->d;
        a[i] = lane[i]->a;
        b[i] = lane[i]->b;
    }
    warp_mma((SimMma)lane[0]->kind, d, a, b);
}

/* All lanes of a warp that have not returned wait for each other: at the same place? */
static void release_warp(int w)
{
    Gift *lane[SIM_WARP] = {NULL};
    int base = w * SIM_WARP, n = n_lanes(w), first = NOBODY;
    unsigned step = 2 * block_pick(SIM_WARP / 2) + 1, start = block_pick(SIM_WARP);
    for (int i = 0; i < n; i++) {
        int t = base + i;
        if (g.is_done[t])
            continue;
        if (first != NOBODY && (g.wait[t] != g.wait[first] || g.line[t] != g.line[first]))
            nobody_can_run(base, base + n);
        first = t;
        lane[i] = &g.gift[t];
    }
    if (g.wait[first] == WAIT_SHUFFLE)
        shuffle_warp(lane);
    else
        multiply_warp(lane, g.line[first]);
    g.warp[w].waiting = 0;
    for (unsigned i = 0; i < SIM_WARP; i++) { /* the step is odd: every lane once */
        unsigned k = (start + i * step) % SIM_WARP;
        if (lane[k])
            g.runnable[g.n_runnable++] = (short)(base + (int)k);
    }
}

/* ---- waiting ---- */

/* A thread of warp w waits or has returned: can others go on? */
static void release(int w)
{
    if (g.at_barrier == g.live && g.live) {
        g.at_barrier = 0;
        g.epoch++;
        make_all_runnable();
    }
    if (g.warp[w].waiting == g.warp[w].live && g.warp[w].live)
        release_warp(w);
}

/* The current thread waits; returns when it goes on. */
static void wait_here(Wait wait, int line)
{
    int self = g.current, w = self / SIM_WARP;
    g.wait[self] = wait;
    g.line[self] = line;
    if (wait != WAIT_BARRIER) {
        g.warp[w].waiting++;
    } else {
        if (g.at_barrier++ && g.barrier_line != line)
            different_barriers();
        g.barrier_line = line;
    }
    release(w);
    int next = next_thread();
    if (next == NOBODY)
        nobody_can_run(0, g.n_threads);
    set_current(next);
    if (next == self)
        return;
    if (!g.fiber[next])
        g.fiber[next] = idle[--n_idle];
    fiber_switch(g.fiber[self], g.fiber[next]);
}

/* A fiber: runs the current thread, then others that have not begun. */
static void fiber_body(void)
{
    Fiber *self = g.fiber[g.current];
    fiber_arrived();
    for (;;) {
        g.run(g.params);
        int w = g.current / SIM_WARP;
        g.is_done[g.current] = true;
        g.live--;
        g.warp[w].live--;
        release(w);
        int next = next_thread();
        if (next == NOBODY && g.live)
            nobody_can_run(0, g.n_threads);
        if (next != NOBODY)
            set_current(next);
        if (next != NOBODY && !g.fiber[next]) {
            g.fiber[next] = self;
            continue;
        }
        idle[n_idle++] = self;
        fiber_switch(self, next != NOBODY ? g.fiber[next] : &main_fiber);
    }
}

/* ---- what kernels call ---- */

static void hook_sync(int line)
{
    wait_here(WAIT_BARRIER, line);
}

static unsigned hook_shuffle(unsigned bits, int distance, SimShuffle kind, int line)
{
    Gift *gift = &g.gift[g.current];
    gift->kind = kind;
    gift->bits = bits;
    gift->distance = distance;
    wait_here(WAIT_SHUFFLE, line);
    return gift->bits;
}

static void hook_mma(SimMma kind, float *d, const unsigned *a, const unsigned *b, int line)
{
    Gift *gift = &g.gift[g.current];
    gift->kind = kind;
    gift->d = d;
    gift->a = a;
    gift->b = b;
    wait_here(WAIT_MMA, line);
}

static void hook_misaligned(unsigned line, unsigned long address)
{
    char text[400];
    sim_env_say("%s: misaligned access at 0x%lx", block_place((int)line, text, sizeof text),
                address);
    block_give_up(CUDA_ERROR_MISALIGNED_ADDRESS);
}

static void hook_outside(unsigned line, unsigned long index)
{
    char text[400];
    sim_env_say("%s: index %ld is outside of its array", block_place((int)line, text, sizeof text),
                (long)index);
    block_give_up(CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void hook_access(unsigned long at, unsigned bytes, int writes, void *instruction)
{
    const SimKernel *k = g.launch->function->kernel;
    const SimDim *b = &g.unit->block, *n = &g.launch->grid;
    CheckThread me = {g.launch_number, b->x + n->x * (b->y + n->y * b->z), g.epoch, g.current};
    CheckShared shared[2] = {{k->shared, k->shared_end}, {g.unit->shared, g.unit->shared_end}};
    CUresult r =
        check_access(&me, shared, g.launch->function->module, at, bytes, writes, instruction);
    if (r)
        block_give_up(r);
}

static const SimHooks HOOKS = {hook_sync,       hook_shuffle, hook_mma,
                               hook_misaligned, hook_outside, hook_access};

/* ---- blocks ---- */

static bool make_fibers(void)
{
    while (n_fibers < g.n_threads) {
        if (!fiber_make(&fibers[n_fibers]))
            return false;
        fiber_reset(&fibers[n_fibers], fiber_body);
        idle[n_idle++] = &fibers[n_fibers++];
    }
    return true;
}

bool block_prepare(const SimLaunch *l, SimUnit *unit)
{
    SimDim b = l->block;
    g.launch = l;
    g.unit = unit;
    g.run = l->function->kernel->run;
    g.n_threads = (int)(b.x * b.y * b.z);
    g.result = CUDA_SUCCESS;
    g.current = NOBODY;
    g.launch_number++;
    for (int i = 0; i < l->function->kernel->n_params; i++)
        g.params[i] = (void *)(l->args + 8 * i);
    for (int i = 0; i < g.n_threads; i++) {
        unsigned n = (unsigned)i;
        g.index[i] = (SimDim){n % b.x, n / b.x % b.y, n / b.x / b.y};
    }
    unit->hooks = &HOOKS;
    unit->n_threads = b;
    unit->n_blocks = l->grid;
    main_fiber = (Fiber){0};
    new_orders();
    if (make_fibers())
        return true;
    sim_env_say("no memory for the stacks of %d threads", g.n_threads);
    return false;
}

void block_abandon(void)
{
    g.current = NOBODY;
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

CUresult block_run(SimDim block)
{
    const SimKernel *k = g.launch->function->kernel;
    g.unit->block = block;
    fill_shared(k->shared, k->shared_end);
    fill_shared(g.unit->shared, g.unit->shared_end);
    g.live = g.n_threads;
    g.at_barrier = 0;
    g.epoch = 0;
    memset(g.fiber, 0, (size_t)g.n_threads * sizeof g.fiber[0]);
    memset(g.is_done, 0, (size_t)g.n_threads);
    for (int w = 0; w * SIM_WARP < g.n_threads; w++)
        g.warp[w] = (Warp){(short)n_lanes(w), 0};
    make_all_runnable();
    int first = next_thread();
    g.fiber[first] = idle[--n_idle];
    set_current(first);
    fiber_switch(&main_fiber, g.fiber[first]);
    if (!g.result)
        g.current = NOBODY;
    return g.result;
}
