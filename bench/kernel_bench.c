/* Single kernels at the shapes of the published DwiseNeuro (expansion 7, one sample), and attention
 * at those of ViV1T (2023, 140 frames; 2025) and V1T, one thread:
 *
 *     kernel_bench [part of a name]
 *
 * Per kernel: time to generate code, best time of several runs, GFLOP/s with its share of the
 * core's measured multiply-add peak, GB/s of the least traffic (every tensor once). */
#include "tests/ops/random_attention.h"
#include <immintrin.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Multiply-add peak: enough independent chains to hide the latency. */
#define PEAK(name, isa, vector, set1, fma, sum, lanes)                                             \
    __attribute__((target(isa))) static double name(void)                                          \
    {                                                                                              \
        double best = 0;                                                                           \
        for (int rep = 0; rep < 30; rep++) {                                                       \
            vector x = set1(0.5f), a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x,  \
                   j = x;                                                                          \
            double t = now();                                                                      \
            for (int k = 0; k < 200000; k++) {                                                     \
                a = fma(a, x, x), b = fma(b, x, x), c = fma(c, x, x), d = fma(d, x, x);            \
                e = fma(e, x, x), f = fma(f, x, x), g = fma(g, x, x), h = fma(h, x, x);            \
                i = fma(i, x, x), j = fma(j, x, x);                                                \
                __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e));                \
                __asm__ volatile("" : "+v"(f), "+v"(g), "+v"(h), "+v"(i), "+v"(j));                \
            }                                                                                      \
            t = now() - t;                                                                         \
            volatile float keep = sum(a) + sum(b) + sum(c) + sum(d) + sum(e) + sum(f) + sum(g) +   \
                                  sum(h) + sum(i) + sum(j);                                        \
            (void)keep;                                                                            \
            double rate = 200000.0 * 10 * 2 * lanes / t * 1e-9;                                    \
            best = rate > best ? rate : best;                                                      \
        }                                                                                          \
        return best;                                                                               \
    }

PEAK(peak_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_cvtss_f32, 16)
PEAK(peak_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_cvtss_f32, 8)

/* GB/s read and written by memcpy of 64 MB. */
static double copy_rate(void)
{
    size_t bytes = 64 << 20;
    char *from = malloc(bytes), *to = malloc(bytes);
    double best = 0;
    if (!from || !to)
        abort();
    memset(from, 1, bytes);
    memset(to, 2, bytes);
    for (int rep = 0; rep < 10; rep++) {
        double t = now();
        for (size_t i = 0; i < bytes; i += 4096) /* small pieces: ordinary stores */
            memcpy(to + i, from + i, 4096);
        t = now() - t;
        double rate = 2e-9 * (double)bytes / t;
        best = rate > best ? rate : best;
    }
    free(from);
    free(to);
    return best;
}

/* ---- programs ---- */

static void frame_axes(TileBuild *b, TileAxisKind kind, int64_t t, int64_t h)
{
    tile_axis(b, "t", t, kind);
    tile_axis(b, "h", h, kind);
    tile_axis(b, "w", h, kind);
}

/* Pointwise convolution k -> n with normalisation and SiLU on its input, or none, and the moments
 * of its output. */
static TileProgram *pointwise(Arena *a, int lanes, int64_t k, int64_t n, int64_t h, bool prologue,
                              bool moments)
{
    TileBuild b = tile_build(a, TILE_CONTRACT);
    b.p->batch_axis = tile_axis(&b, "b", 1, TILE_PARALLEL);
    tile_axis(&b, "n", n, TILE_PARALLEL);
    frame_axes(&b, TILE_PARALLEL, 16, h);
    tile_axis(&b, "k", k, TILE_REDUCE);
    b.p->lhs = tile_load(&b, "bKthw", lanes);
    if (prologue)
        b.p->lhs = tile_norm_silu(&b, b.p->lhs, "k");
    b.p->rhs = tile_load(&b, "nk", 1);
    int y = tile_acc(&b);
    tile_store(&b, y, "bNthw", lanes);
    if (moments) {
        tile_reduce(&b, TILE_SUM, y, "n", 1.0 / (double)(16 * h * h));
        tile_reduce(&b, TILE_VARIANCE, y, "n", 1);
    }
    return b.p;
}

/* dx = w' dy; then SiLU's derivative stands in as a normalisation with SiLU. */
static TileProgram *pointwise_dx(Arena *a, int lanes, int64_t k, int64_t n, int64_t h)
{
    TileBuild b = tile_build(a, TILE_CONTRACT);
    b.p->batch_axis = tile_axis(&b, "b", 1, TILE_PARALLEL);
    tile_axis(&b, "k", k, TILE_PARALLEL);
    frame_axes(&b, TILE_PARALLEL, 16, h);
    tile_axis(&b, "n", n, TILE_REDUCE);
    b.p->lhs = tile_load(&b, "bNthw", lanes);
    b.p->rhs = tile_load(&b, "nk", 1);
    int y = tile_norm_silu(&b, tile_acc(&b), "k");
    tile_store(&b, y, "bKthw", lanes);
    return b.p;
}

static TileProgram *pointwise_dw(Arena *a, int lanes, int64_t k, int64_t n, int64_t h)
{
    TileBuild b = tile_build(a, TILE_CONTRACT);
    tile_axis(&b, "n", n, TILE_PARALLEL);
    tile_axis(&b, "k", k, TILE_PARALLEL);
    b.p->batch_axis = tile_axis(&b, "b", 1, TILE_REDUCE);
    frame_axes(&b, TILE_REDUCE, 16, h);
    b.p->lhs = tile_load(&b, "bNthw", lanes);
    b.p->rhs = tile_norm_silu(&b, tile_load(&b, "bKthw", lanes), "k");
    tile_store(&b, tile_acc(&b), "nk", 1);
    return b.p;
}

typedef enum Direction { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT } Direction;

/* 3 x 3 in space with a stride. */
static TileProgram *spatial(Arena *a, int lanes, int64_t c, int64_t h, int64_t stride,
                            Direction direction)
{
    int64_t small = (h - 1) / stride + 1;
    bool dx = direction == INPUT_GRADIENT, dw = direction == WEIGHT_GRADIENT;
    TileBuild b = tile_build(a, dw ? TILE_STENCIL_DW : TILE_STENCIL);
    TileAxisKind position = dw ? TILE_REDUCE : TILE_PARALLEL;
    b.p->batch_axis = tile_axis(&b, "b", 1, position);
    tile_axis(&b, "c", c, TILE_PARALLEL);
    tile_axis(&b, "t", 16, position);
    int oh = tile_axis(&b, "h", dx ? h : small, position);
    int ow = tile_axis(&b, "w", dx ? h : small, position);
    int th = tile_axis(&b, "i", 3, dw ? TILE_PARALLEL : TILE_REDUCE);
    int tw = tile_axis(&b, "j", 3, dw ? TILE_PARALLEL : TILE_REDUCE);
    int ih = tile_axis(&b, "u", dx ? small : h, TILE_IN);
    int iw = tile_axis(&b, "v", dx ? small : h, TILE_IN);
    vec_push(a, &b.p->stencils, (TileStencil){oh, th, ih, stride, 1, 1, dx});
    vec_push(a, &b.p->stencils, (TileStencil){ow, tw, iw, stride, 1, 1, dx});
    b.p->lhs = tile_load(&b, "bCtuv", lanes);
    if (!dx)
        b.p->lhs = tile_norm_silu(&b, b.p->lhs, "c");
    b.p->rhs = dw ? tile_load(&b, "bCthw", lanes) : tile_load(&b, "cij", 1);
    int y = tile_acc(&b);
    tile_store(&b, y, dw ? "cij" : "bCthw", dw ? 1 : lanes);
    if (direction == FORWARD) {
        tile_reduce(&b, TILE_SUM, y, "c", 1.0 / (double)(16 * small * small));
        tile_reduce(&b, TILE_VARIANCE, y, "c", 1);
    }
    return b.p;
}

/* 5 taps in time. */
static TileProgram *temporal(Arena *a, int lanes, int64_t c, int64_t h, Direction direction)
{
    bool dx = direction == INPUT_GRADIENT, dw = direction == WEIGHT_GRADIENT;
    TileBuild b = tile_build(a, dw ? TILE_STENCIL_DW : TILE_STENCIL);
    TileAxisKind position = dw ? TILE_REDUCE : TILE_PARALLEL;
    b.p->batch_axis = tile_axis(&b, "b", 1, position);
    tile_axis(&b, "c", c, TILE_PARALLEL);
    int t = tile_axis(&b, "t", 16, position);
    tile_axis(&b, "h", h, position);
    tile_axis(&b, "w", h, position);
    int tap = tile_axis(&b, "i", 5, dw ? TILE_PARALLEL : TILE_REDUCE);
    int in = tile_axis(&b, "u", 16, TILE_IN);
    vec_push(a, &b.p->stencils, (TileStencil){t, tap, in, 1, 1, 2, dx});
    b.p->lhs = tile_load(&b, "bCuhw", lanes);
    if (!dx)
        b.p->lhs = tile_norm_silu(&b, b.p->lhs, "c");
    b.p->rhs = dw ? tile_load(&b, "bCthw", lanes) : tile_load(&b, "ci", 1);
    int y = tile_acc(&b);
    tile_store(&b, y, dw ? "ci" : "bCthw", dw ? 1 : lanes);
    if (direction == FORWARD) {
        tile_reduce(&b, TILE_SUM, y, "c", 1.0 / (double)(16 * h * h));
        tile_reduce(&b, TILE_VARIANCE, y, "c", 1);
    }
    return b.p;
}

/* Readout of a recording: y[n, b, t] = w[n, k] x[k, b, t], and its gradients. */
static TileProgram *readout(Arena *a, int64_t samples, int64_t n, Direction direction)
{
    TileBuild b = tile_build(a, TILE_CONTRACT);
    bool dx = direction == INPUT_GRADIENT, dw = direction == WEIGHT_GRADIENT;
    tile_axis(&b, "n", n, dx ? TILE_REDUCE : TILE_PARALLEL);
    tile_axis(&b, "k", 2048, dx || dw ? TILE_PARALLEL : TILE_REDUCE);
    b.p->batch_axis = tile_axis(&b, "b", samples, dw ? TILE_REDUCE : TILE_PARALLEL);
    tile_axis(&b, "t", 16, dw ? TILE_REDUCE : TILE_PARALLEL);
    b.p->lhs = tile_load(&b, dw ? "nbt" : "nk", 1);
    b.p->rhs = tile_load(&b, dx ? "nbt" : "kbt", 1);
    tile_store(&b, tile_acc(&b), dx ? "kbt" : dw ? "nk" : "nbt", 1);
    return b.p;
}

/* A linear layer k -> n of tokens, their features in rows; its input may be layer-normalised. */
static TileProgram *linear(Arena *a, int64_t tokens, int64_t k, int64_t n, bool norm,
                           Direction direction)
{
    bool dx = direction == INPUT_GRADIENT, dw = direction == WEIGHT_GRADIENT;
    TileBuild b = tile_build(a, TILE_CONTRACT);
    tile_axis(&b, "n", n, dx ? TILE_REDUCE : TILE_PARALLEL);
    tile_axis(&b, "k", k, dx || dw ? TILE_PARALLEL : TILE_REDUCE);
    tile_axis(&b, "s", 5, dw ? TILE_REDUCE : TILE_PARALLEL);
    tile_axis(&b, "p", tokens / 5, dw ? TILE_REDUCE : TILE_PARALLEL);
    int x = tile_load(&b, dx || dw ? "spn" : "spk", 1);
    if (norm)
        x = tile_layer_norm(&b, x, "sp", "k");
    b.p->lhs = x;
    b.p->rhs = dw ? tile_load(&b, "spk", 1) : tile_load(&b, "nk", 1);
    if (dw && norm) {
        b.p->lhs = tile_load(&b, "spn", 1);
        b.p->rhs = tile_layer_norm(&b, b.p->rhs, "sp", "k");
    }
    tile_store(&b, tile_acc(&b), dw ? "nk" : dx ? "spk" : "spn", 1);
    return b.p;
}

/* Mean and variance of every token. */
static TileProgram *token_moments(Arena *a, int64_t tokens, int64_t k)
{
    TileBuild b = tile_build(a, TILE_MAP);
    tile_axis(&b, "k", k, TILE_PARALLEL);
    tile_axis(&b, "s", 5, TILE_PARALLEL);
    tile_axis(&b, "p", tokens / 5, TILE_PARALLEL);
    int x = tile_load(&b, "spk", 1);
    tile_reduce(&b, TILE_SUM, x, "sp", 1.0 / (double)k);
    tile_reduce(&b, TILE_VARIANCE, x, "sp", 1);
    return b.p;
}

/* ---- timing ---- */

static double flops_of(const TileProgram *p)
{
    double points = 2;
    if (p->flops > 0)
        return p->flops;
    for (uint32_t a = 0; a < p->axes.len; a++)
        points *= p->axes.at[a].kind == TILE_IN ? 1 : (double)p->axes.at[a].size;
    for (uint32_t i = 0; i < p->stencils.len; i++)
        if (p->stencils.at[i].transposed)
            points /= (double)p->stencils.at[i].stride;
    return points;
}

static double best_time(const Kernel *k, const TileData *d, TileRange range, double *phase)
{
    void *scratch = tile_bytes_of(k->schedule.scratch_bytes);
    void *workspace = tile_bytes_of(k->schedule.workspace_bytes);
    KernelCall call = {.kernel = k, .tensor = d->tensor, .range = range, .workspace = workspace};
    double best = 1e9, spent = 0;
    for (int rep = 0; rep < 20 && (spent < 0.3 || rep < 3); rep++) {
        double t[KERNEL_MAX_PHASES + 1] = {now()};
        for (int i = 0; i < k->schedule.n_phases; i++) {
            int64_t each = k->schedule.tasks_per_sample[i];
            int64_t n = each ? (range.b1 - range.b0) * each : k->schedule.tasks[i];
            for (int64_t task = 0; task < n; task++)
                k->phase[i](&call, task, scratch);
            t[i + 1] = now();
        }
        double total = t[k->schedule.n_phases] - t[0];
        spent += total;
        if (total >= best)
            continue;
        best = total;
        for (int i = 0; i < k->schedule.n_phases; i++)
            phase[i] = t[i + 1] - t[i];
    }
    free(scratch);
    free(workspace);
    return best;
}

typedef struct Bench {
    Target target;
    double peak;
    const char *only; /* part of names, or NULL */
} Bench;

static void bench(const Bench *bench, const char *name, const TileProgram *p)
{
    Err err = {0};
    Arena arena = {0};
    KernelSet *set;
    if (bench->only && !strstr(name, bench->only))
        return;
    const char *problem = tile_verify(p, &arena);
    if (problem) {
        fprintf(stderr, "%s: %s\n", name, problem);
        exit(1);
    }
    KernelSetOptions options = {.target = &bench->target, .n_threads = 1};
    double t = now();
    if (kernel_set_compile(&set, &p, 1, &options, &err) != NPC_OK) {
        fprintf(stderr, "%s: %s\n", name, err.text);
        exit(1);
    }
    t = now() - t;
    const Kernel *k = kernel_set_get(set, 0);
    TileData data = tile_data(p, 1);
    int64_t samples = p->batch_axis < 0 ? 0 : p->axes.at[p->batch_axis].size;
    double phase[KERNEL_MAX_PHASES] = {0};
    double seconds = best_time(k, &data, (TileRange){0, samples}, phase);
    double rate = flops_of(p) / seconds * 1e-9;
    printf("%-34s %6.0f %9.3f %8.1f %5.0f %% %7.1f  ", name, t * 1e3, seconds * 1e3, rate,
           100 * rate / bench->peak, tile_bytes(p) / seconds * 1e-9);
    for (int i = 0; i < k->schedule.n_phases; i++)
        printf(" %.3f", phase[i] * 1e3);
    printf("\n");
    fflush(stdout);
    tile_data_free(&data);
    kernel_set_free(set);
    arena_free(&arena);
}

static void bench_block(const Bench *to, int number, int64_t c, int64_t out, int64_t h,
                        int64_t stride)
{
    Arena arena = {0};
    int lanes = to->target.lanes;
    int64_t m = 7 * c, small = h / stride;
#define NAME(text) arena_printf(&arena, "block%d " text, number)
    bench(to, NAME("expand"), pointwise(&arena, lanes, c, m, h, false, true));
    bench(to, NAME("spatial"), spatial(&arena, lanes, m, h, stride, FORWARD));
    bench(to, NAME("temporal"), temporal(&arena, lanes, m, small, FORWARD));
    bench(to, NAME("project"), pointwise(&arena, lanes, m, out, small, true, true));
    bench(to, NAME("project dx"), pointwise_dx(&arena, lanes, m, out, small));
    bench(to, NAME("project dw"), pointwise_dw(&arena, lanes, m, out, small));
    bench(to, NAME("temporal dx"), temporal(&arena, lanes, m, small, INPUT_GRADIENT));
    bench(to, NAME("temporal dw"), temporal(&arena, lanes, m, small, WEIGHT_GRADIENT));
    bench(to, NAME("spatial dx"), spatial(&arena, lanes, m, h, stride, INPUT_GRADIENT));
    bench(to, NAME("spatial dw"), spatial(&arena, lanes, m, h, stride, WEIGHT_GRADIENT));
    bench(to, NAME("expand dx"), pointwise_dx(&arena, lanes, c, m, h));
    bench(to, NAME("expand dw"), pointwise_dw(&arena, lanes, c, m, h));
#undef NAME
    arena_free(&arena);
}

/* Queries, keys and values token by token, the features of a head side by side. */
static void bench_attention(const Bench *to, const char *name, int64_t sequences, int64_t heads,
                            int64_t n, int64_t width, bool causal, double drop)
{
    Arena arena = {0};
    AttentionShape s = {.samples = sequences,
                        .heads = heads,
                        .n = n,
                        .m = n,
                        .d = width,
                        .e = width,
                        .mask = causal ? ATTEND_SEES_EARLIER : ATTEND_SEES_ALL,
                        .q = "bnad",
                        .k = "bmad",
                        .v = "bmae",
                        .y = "bnae",
                        .l = "bna",
                        .wanted = 7,
                        .drop = drop,
                        .bytes = "bar"};
    double pairs = (double)(sequences * heads * n * n) * (causal ? 0.5 : 1);
    for (int back = 0; back < 2; back++) {
        s.back = back;
        TileProgram *p = attention_program(&arena, &s);
        p->flops = 2 * pairs * (double)width * (back ? 5 : 2);
        bench(to, arena_printf(&arena, "attention %s%s", name, back ? " back" : ""), p);
    }
    arena_free(&arena);
}

static void bench_tokens(const Bench *to, int64_t tokens)
{
    static const int64_t layer[][2] = {{112, 528},  {112, 136}, {528, 112}, {136, 112},
                                       {112, 1720}, {155, 465}, {155, 488}, {488, 155}};
    Arena arena = {0};
    for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
        int64_t k = layer[i][0], n = layer[i][1];
        const char *name = arena_printf(&arena, "linear %d -> %d", (int)k, (int)n);
#define NAME(text) arena_printf(&arena, "%s" text, name)
        bench(to, name, linear(&arena, tokens, k, n, false, FORWARD));
        bench(to, NAME(" norm"), linear(&arena, tokens, k, n, true, FORWARD));
        bench(to, NAME(" dx"), linear(&arena, tokens, k, n, false, INPUT_GRADIENT));
        bench(to, NAME(" dw"), linear(&arena, tokens, k, n, false, WEIGHT_GRADIENT));
        bench(to, NAME(" dw norm"), linear(&arena, tokens, k, n, true, WEIGHT_GRADIENT));
#undef NAME
    }
    bench(to, "token moments", token_moments(&arena, tokens, 112));
    arena_free(&arena);
}

int main(int argc, char **argv)
{
    static const int64_t in[] = {64, 64, 64, 64, 128, 128, 128, 256, 256, 256};
    static const int64_t size[] = {64, 32, 32, 32, 32, 16, 16, 16, 8};
    static const int64_t stride[] = {2, 1, 1, 1, 2, 1, 1, 2, 1};
    Bench to = {.only = argc > 1 ? argv[1] : NULL};
    Err err = {0};
    Arena arena = {0};

    if (!kernel_have_llvm() || !target_find(argc > 2 ? argv[2] : "native", &to.target, &err)) {
        fprintf(stderr, "nothing to time: %s\n", err.text[0] ? err.text : "built without LLVM");
        return 1;
    }
    to.peak = to.target.cpu == CPU_AVX512 ? peak_avx512()
              : to.target.cpu == CPU_AVX2 ? peak_avx2()
                                          : 26;
    printf("%s, %.0f GFLOP/s, copy %.1f GB/s\n%-34s %6s %9s %8s %7s %7s   ms of phases\n",
           to.target.name, to.peak, copy_rate(), "kernel", "gen ms", "ms", "GFLOP/s", "peak",
           "GB/s");
    bench(&to, "stem", pointwise(&arena, to.target.lanes, 5, 64, 64, false, true));
    for (int i = 0; i < 9; i++)
        if (i != 2) /* as block 1 */
            bench_block(&to, i, in[i], in[i + 1], size[i], stride[i]);
    bench_tokens(&to, 12180); /* 28 steps of ViV1T */
    bench_attention(&to, "space 435x48", 4, 11, 435, 48, false, 0);
    bench_attention(&to, "time 116x48", 15, 11, 116, 48, false, 0);
    bench_attention(&to, "time 324x80 causal", 15, 2, 324, 80, true, 0);
    bench_attention(&to, "image 1654x155", 1, 4, 1654, 155, false, 0);
    bench_attention(&to, "image 1654x155 drops", 1, 4, 1654, 155, false, 0.2544);
    bench_attention(&to, "space 435x48 drops", 4, 11, 435, 48, false, 0.2544);
    for (int64_t samples = 1; samples <= 4; samples *= 2) {
        bench(&to, arena_printf(&arena, "readout b%d", (int)samples),
              readout(&arena, samples, 3932, FORWARD));
        bench(&to, arena_printf(&arena, "readout b%d dx", (int)samples),
              readout(&arena, samples, 3932, INPUT_GRADIENT));
        bench(&to, arena_printf(&arena, "readout b%d dw", (int)samples),
              readout(&arena, samples, 3932, WEIGHT_GRADIENT));
    }
    arena_free(&arena);
    return 0;
}
