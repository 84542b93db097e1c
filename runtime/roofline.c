#include "runtime/roofline.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    CHAINS = 12,          /* independent multiply-adds: latency 4 cycles, 2 units, and some */
    FMA_ROUNDS = 2000000, /* some 10 ms */
    TRIES = 5,
    ARRAY_BYTES = 64 << 20, /* per thread; beyond its share of the last cache */
    WORDS = 8
};

typedef uint64_t Block __attribute__((vector_size(WORDS * 8), may_alias));

typedef struct Probe {
    CpuLevel level;
    unsigned char *from, *to; /* ARRAY_BYTES per thread */
    double *sink;             /* per thread: keeps results alive */
} Probe;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- multiply-adds ---- */

static const float FACTOR = 0.999999f, ADDEND = 1e-6f;

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double fma_avx512(void)
{
    __m512 a[CHAINS], x = _mm512_set1_ps(FACTOR), y = _mm512_set1_ps(ADDEND);
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (int round = 0; round < FMA_ROUNDS; round++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm512_fmadd_ps(a[i], x, y);
    for (int i = 1; i < CHAINS; i++)
        a[0] = _mm512_add_ps(a[0], a[i]);
    return (double)_mm512_cvtss_f32(a[0]);
}

__attribute__((target("avx2,fma"))) static double fma_avx2(void)
{
    __m256 a[CHAINS], x = _mm256_set1_ps(FACTOR), y = _mm256_set1_ps(ADDEND);
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm256_set1_ps((float)i);
    for (int round = 0; round < FMA_ROUNDS; round++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm256_fmadd_ps(a[i], x, y);
    for (int i = 1; i < CHAINS; i++)
        a[0] = _mm256_add_ps(a[0], a[i]);
    return (double)_mm256_cvtss_f32(a[0]);
}
#endif

typedef float Four __attribute__((vector_size(16)));

static double fma_generic(void)
{
    Four a[CHAINS], x = {FACTOR, FACTOR, FACTOR, FACTOR}, y = {ADDEND, ADDEND, ADDEND, ADDEND};
    for (int i = 0; i < CHAINS; i++)
        a[i] = y * (float)i;
    for (int round = 0; round < FMA_ROUNDS; round++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            a[i] = a[i] * x + y;
    for (int i = 1; i < CHAINS; i++)
        a[0] += a[i];
    return (double)a[0][0];
}

static void run_fma(void *context, int64_t task, void *scratch)
{
    const Probe *p = context;
    (void)scratch;
#if defined(__x86_64__)
    if (p->level == CPU_AVX512)
        p->sink[task] += fma_avx512();
    else if (p->level == CPU_AVX2)
        p->sink[task] += fma_avx2();
    else
#endif
        p->sink[task] += fma_generic();
}

/* ---- memory ---- */

static void run_read(void *context, int64_t task, void *scratch)
{
    const Probe *p = context;
    (void)scratch;
    const Block *at = (const Block *)(p->from + (size_t)task * ARRAY_BYTES);
    Block sum[4] = {{0}, {0}, {0}, {0}};
    for (size_t i = 0; i + 4 <= ARRAY_BYTES / sizeof(Block); i += 4)
        for (int k = 0; k < 4; k++)
            sum[k] ^= at[i + (size_t)k];
    sum[0] ^= sum[1] ^ sum[2] ^ sum[3];
    p->sink[task] += (double)sum[0][0];
}

static void run_copy(void *context, int64_t task, void *scratch)
{
    const Probe *p = context;
    (void)scratch;
    memcpy(p->to + (size_t)task * ARRAY_BYTES, p->from + (size_t)task * ARRAY_BYTES, ARRAY_BYTES);
}

/* ---- */

static double best_seconds(Workers *w, WorkerTask task, Probe *p)
{
    double best = 1e30;
    for (int i = 0; i < TRIES; i++) {
        double start = now();
        workers_run(w, task, p, workers_n(w));
        double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static int lanes_of(CpuLevel level)
{
#if defined(__x86_64__)
    return level == CPU_AVX512 ? 16 : level == CPU_AVX2 ? 8 : 4;
#else
    (void)level;
    return 4;
#endif
}

Status roofline_measure(Roofline *out, Workers *workers, CpuLevel level, Err *err)
{
    size_t n = (size_t)workers_n(workers), bytes = n * ARRAY_BYTES;
    Probe p = {.level = level,
               .from = aligned_alloc(64, bytes),
               .to = aligned_alloc(64, bytes),
               .sink = calloc(n, sizeof(double))};
    Status s = NPC_OK;
    if (p.from && p.to && p.sink) {
        memset(p.from, 1, bytes);
        memset(p.to, 2, bytes);
        double flops = 2.0 * CHAINS * FMA_ROUNDS * lanes_of(level) * (double)n;
        *out = (Roofline){.threads = (int)n,
                          .peak = flops / best_seconds(workers, run_fma, &p),
                          .read = (double)bytes / best_seconds(workers, run_read, &p),
                          .copy = 2.0 * (double)bytes / best_seconds(workers, run_copy, &p)};
    } else {
        s = err_set(err, NPC_ERR_MEMORY, "not enough memory to measure this machine: %zu MiB",
                    2 * bytes >> 20);
    }
    free(p.from);
    free(p.to);
    free(p.sink);
    return s;
}

double roofline_seconds(const Roofline *r, double flops, double bytes)
{
    double bandwidth = r->read > r->copy ? r->read : r->copy;
    double compute = flops / r->peak, memory = bytes / bandwidth;
    return compute > memory ? compute : memory;
}
