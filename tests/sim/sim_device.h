/* What CUDA text stands on when the host's C compiler translates it: the first section of
 * codegen/cuda_prelude.cuh, special variables, and the functions of C that kernels may call. Every
 * translation unit is sim_abi.h, this, the text, and a table of its kernels (nvrtc_text.c); no
 * header of the system, which would take longer to read than the kernels. */
#define NPC_HOST

static SimUnit npc_sim;

#define threadIdx (npc_sim.thread)
#define blockIdx (npc_sim.block)
#define blockDim (npc_sim.n_threads)
#define gridDim (npc_sim.n_blocks)
#define warpSize 32
#define __align__(n) __attribute__((aligned(n)))
#define __ldg(p) (*(p))

/* `used`: shared memory is filled from outside before every block */
#define NPC_SIM_SHARED(section_name)                                                               \
    static __attribute__((section(section_name), aligned(16), used))
#define NPC_SHARED NPC_SIM_SHARED("npc_shared")
#define NPC_DEVICE static inline __attribute__((unused))
#define NPC_KERNEL(threads) static __attribute__((noinline)) void
#define NPC_KERNEL_MIN(threads, blocks) NPC_KERNEL(threads)
#define NPC_TABLE static const int

typedef unsigned int uint32_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;

float expf(float), exp2f(float), expm1f(float), logf(float), log2f(float), log1pf(float);
float sqrtf(float), fabsf(float), tanhf(float), sinf(float), cosf(float), erff(float);
float erfcf(float), floorf(float), ceilf(float), truncf(float), rintf(float), roundf(float);
float powf(float, float), fmodf(float, float), copysignf(float, float);
float fmaf(float, float, float);
double exp(double), log(double), log1p(double), sqrt(double), fabs(double), floor(double);
double fma(double, double, double);

#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)

/* the number where the other is NaN */
NPC_DEVICE float fmaxf(float a, float b)
{
    return a >= b || b != b ? a : b;
}

NPC_DEVICE float fminf(float a, float b)
{
    return a <= b || b != b ? a : b;
}

NPC_DEVICE float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

#define NPC_EXP_FAST(x) expf(x)
#define NPC_DIV_FAST(x, y) ((x) / (y))

/* ---- threads together ---- */

#define NPC_SYNC() npc_sim.hooks->sync(__LINE__)

NPC_DEVICE float npc_sim_shuffle_f(float x, int distance, SimShuffle kind, int line)
{
    union {
        float x;
        unsigned u;
    } v = {x};
    v.u = npc_sim.hooks->shuffle(v.u, distance, kind, line);
    return v.x;
}

NPC_DEVICE unsigned npc_sim_shuffle_u(unsigned x, int distance, SimShuffle kind, int line)
{
    return npc_sim.hooks->shuffle(x, distance, kind, line);
}

NPC_DEVICE int npc_sim_shuffle_i(int x, int distance, SimShuffle kind, int line)
{
    return (int)npc_sim.hooks->shuffle((unsigned)x, distance, kind, line);
}

#define NPC_SIM_SHUFFLE(x, distance, kind)                                                         \
    _Generic((x), float                                                                            \
             : npc_sim_shuffle_f, unsigned                                                         \
             : npc_sim_shuffle_u, int                                                              \
             : npc_sim_shuffle_i)(x, distance, kind, __LINE__)
#define NPC_SHUFFLE_XOR(x, distance) NPC_SIM_SHUFFLE(x, distance, SIM_SHUFFLE_XOR)
#define NPC_SHUFFLE_DOWN(x, distance) NPC_SIM_SHUFFLE(x, distance, SIM_SHUFFLE_DOWN)

#define npc_mma_bf16(d, a, b) npc_sim.hooks->mma(SIM_MMA_BF16, d, a, b, __LINE__)
#define npc_mma_f16(d, a, b) npc_sim.hooks->mma(SIM_MMA_F16, d, a, b, __LINE__)
#define npc_mma_tf32(d, a, b) npc_sim.hooks->mma(SIM_MMA_TF32, d, a, b, __LINE__)

/* ---- bits and short numbers: to nearest, ties to even, as ir/storage.h says ---- */

NPC_DEVICE float NPC_BITS_FLOAT(uint32_t u)
{
    union {
        uint32_t u;
        float x;
    } v = {u};
    return v.x;
}

NPC_DEVICE uint32_t NPC_FLOAT_BITS(float x)
{
    union {
        float x;
        uint32_t u;
    } v = {x};
    return v.u;
}

NPC_DEVICE float npc_f16_float(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000u) << 16, magnitude = x & 0x7fffu;
    if (magnitude >= 0x7c00u)
        return NPC_BITS_FLOAT(sign | 0x7f800000u | magnitude << 13);
    if (magnitude < 0x400u) /* 2^-24 each */
        return NPC_BITS_FLOAT(sign | NPC_FLOAT_BITS((float)magnitude * 5.9604644775390625e-8f));
    return NPC_BITS_FLOAT(sign | ((magnitude << 13) + 0x38000000u));
}

NPC_DEVICE uint16_t npc_float_f16(float x)
{
    uint32_t u = NPC_FLOAT_BITS(x), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return 0x7fffu;           /* what the instruction gives */
    if (magnitude >= 0x477ff000u) /* 65520: the first that rounds to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) /* below 2^-14: adding 0.5 puts the last bit at 2^-24 */
        return (uint16_t)(sign | (NPC_FLOAT_BITS(NPC_BITS_FLOAT(magnitude) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - 0x1c000u);
}

NPC_DEVICE uint16_t npc_float_bf16(float x)
{
    uint32_t u = NPC_FLOAT_BITS(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0x7fffu; /* what the instruction gives */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

NPC_DEVICE uint32_t npc_pack_bf16(float low, float high)
{
    return npc_float_bf16(low) | (uint32_t)npc_float_bf16(high) << 16;
}

NPC_DEVICE uint32_t npc_pack_f16(float low, float high)
{
    return npc_float_f16(low) | (uint32_t)npc_float_f16(high) << 16;
}

/* The instruction rounds ties away from zero. */
NPC_DEVICE float npc_round_tf32(float x)
{
    uint32_t u = NPC_FLOAT_BITS(x);
    if ((u & 0x7f800000u) == 0x7f800000u)
        return x;
    return NPC_BITS_FLOAT((u + 0x1000u) & 0xffffe000u);
}

/* ---- what -fsanitize=alignment,bounds calls; libubsan is not wanted in a kernel ---- */

typedef struct NpcSimPlace {
    const char *file;
    unsigned line, column;
} NpcSimPlace;

__attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(void *at, void *address)
{
    npc_sim.hooks->misaligned(((const NpcSimPlace *)at)->line, (unsigned long)address);
}

__attribute__((visibility("hidden"))) void __ubsan_handle_out_of_bounds(void *at, void *index)
{
    npc_sim.hooks->outside(((const NpcSimPlace *)at)->line, (unsigned long)index);
}

/* ---- what -fsanitize=thread calls: every access to memory, for NPC_SIM_CHECK ---- */

#ifdef NPC_SIM_CHECK
#define NPC_SIM_TSAN __attribute__((visibility("hidden"), no_sanitize_thread))

/* there are no hooks before the first launch */
NPC_SIM_TSAN void npc_sim_access(void *at, unsigned long bytes, int writes, void *instruction)
{
    if (npc_sim.hooks)
        npc_sim.hooks->access((unsigned long)at, (unsigned)bytes, writes, instruction);
}

#define NPC_SIM_ACCESS(name, bytes, writes)                                                        \
    NPC_SIM_TSAN void __tsan_##name(void *at)                                                      \
    {                                                                                              \
        npc_sim_access(at, bytes, writes, __builtin_return_address(0));                            \
    }
#define NPC_SIM_ACCESSES(bytes)                                                                    \
    NPC_SIM_ACCESS(read##bytes, bytes, 0)                                                          \
    NPC_SIM_ACCESS(write##bytes, bytes, 1)
NPC_SIM_ACCESSES(1)
NPC_SIM_ACCESSES(2)
NPC_SIM_ACCESSES(4)
NPC_SIM_ACCESSES(8)
NPC_SIM_ACCESSES(16)

NPC_SIM_TSAN void __tsan_read_range(void *at, unsigned long bytes)
{
    npc_sim_access(at, bytes, 0, __builtin_return_address(0));
}

NPC_SIM_TSAN void __tsan_write_range(void *at, unsigned long bytes)
{
    npc_sim_access(at, bytes, 1, __builtin_return_address(0));
}

NPC_SIM_TSAN void __tsan_init(void)
{
}

NPC_SIM_TSAN void __tsan_func_entry(void *caller)
{
    (void)caller;
}

NPC_SIM_TSAN void __tsan_func_exit(void *unused)
{
    (void)unused;
}
#endif

/* ---- for the table of kernels (nvrtc_text.c) ---- */

/* where the variables of a section lie; NULL when it has none */
#define NPC_SIM_SECTION(name)                                                                      \
    extern unsigned char __start_##name[] __attribute__((weak, visibility("hidden")));             \
    extern unsigned char __stop_##name[] __attribute__((weak, visibility("hidden")));
