/* What generated kernels stand on: types, conversions, mathematical functions, matrix fragments.
 *
 * Generated text uses the common part of C and CUDA C over these names. For a device, a compiler of
 * CUDA reads this file as it is. A host compiler defines NPC_HOST and, before this file, whatever is
 * in the first section. Storage of 16-bit numbers is unsigned short: conversions are explicit.
 *
 * Everything here is per thread, except npc_mma_*, which all 32 threads of a warp call together. */

#ifndef NPC_HOST
#define NPC_DEVICE static __device__ __forceinline__
#define NPC_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define NPC_KERNEL_MIN(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define NPC_SHARED __shared__ __align__(16)
#define NPC_TABLE static __device__ const int
#define NPC_BITS_FLOAT(u) __uint_as_float(u)
#define NPC_FLOAT_BITS(x) __float_as_uint(x)
#define NPC_UNROLL _Pragma("unroll")
#define NPC_NO_UNROLL _Pragma("unroll 1")
#define NPC_SYNC() __syncthreads()
#define NPC_SHUFFLE_XOR(x, distance) __shfl_xor_sync(0xffffffffu, x, distance)
#define NPC_SHUFFLE_DOWN(x, distance) __shfl_down_sync(0xffffffffu, x, distance)

typedef unsigned int uint32_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;

NPC_DEVICE float npc_f16_float(uint16_t x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

NPC_DEVICE uint16_t npc_float_f16(float x)
{
    uint16_t y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

NPC_DEVICE uint16_t npc_float_bf16(float x)
{
#if __CUDA_ARCH__ >= 800
    uint16_t y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
#else
    uint32_t u = NPC_FLOAT_BITS(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
}

/* low in bits 0..15, high in 16..31 */
NPC_DEVICE uint32_t npc_pack_bf16(float low, float high)
{
#if __CUDA_ARCH__ >= 800
    uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
#else
    return npc_float_bf16(low) | (uint32_t)npc_float_bf16(high) << 16;
#endif
}

NPC_DEVICE uint32_t npc_pack_f16(float low, float high)
{
#if __CUDA_ARCH__ >= 800
    uint32_t y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
#else
    return npc_float_f16(low) | (uint32_t)npc_float_f16(high) << 16;
#endif
}

/* float32 with the mantissa of tf32 */
NPC_DEVICE float npc_round_tf32(float x)
{
#if __CUDA_ARCH__ >= 800
    uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return NPC_BITS_FLOAT(y);
#else
    return x;
#endif
}

/* exp and x / y to a few units in the last place; for values that are stored in 16 bits. Numbers
 * below 2^-126 count as 0, which spares the instructions that __expf and __fdividef spend on them:
 * a sigmoid is four, two of them in the special function unit. */
NPC_DEVICE float npc_exp_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}

NPC_DEVICE float npc_reciprocal_fast(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#define NPC_EXP_FAST(x) npc_exp_fast(x)
#define NPC_DIV_FAST(x, y) ((x) * npc_reciprocal_fast(y))

/* d += a b of one warp. A is 16 rows x k, row-major; B is k x 8, column-major; D is 16 x 8. With
 * group = lane / 4 and pair = lane % 4 a thread holds
 *   d[0..1]  row group,     columns 2 pair + {0, 1}
 *   d[2..3]  row group + 8, columns 2 pair + {0, 1}
 * 16 bits, k = 16 (two numbers to a register, the one of lower k in the low half)
 *   a[0] row group, k 2 pair + {0, 1};  a[1] row group + 8;  a[2], a[3] the same rows at k + 8
 *   b[0] column group, k 2 pair + {0, 1};  b[1] at k + 8
 * tf32, k = 8 (one number to a register)
 *   a[0] row group, k pair;  a[1] row group + 8;  a[2], a[3] the same rows at k + 4
 *   b[0] column group, k pair;  b[1] at k + 4
 * PTX ISA, warp-level matrix instructions mma.m16n8k16 and mma.m16n8k8. */
NPC_DEVICE void npc_mma_bf16(float *d, const uint32_t *a, const uint32_t *b)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap(); /* the runtime refuses bf16 before sm_80 */
#endif
}

NPC_DEVICE void npc_mma_f16(float *d, const uint32_t *a, const uint32_t *b)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else /* sm_75 has k = 8 only */
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

NPC_DEVICE void npc_mma_tf32(float *d, const uint32_t *a, const uint32_t *b)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap(); /* the runtime refuses tf32 before sm_80 */
#endif
}
#endif

/* ---- the rest is the same on host and device ---- */

#ifndef NPC_UNROLL
#define NPC_UNROLL
#endif
#ifndef NPC_NO_UNROLL
#define NPC_NO_UNROLL
#endif

NPC_DEVICE float npc_bf16_float(uint16_t x)
{
    return NPC_BITS_FLOAT((uint32_t)x << 16);
}

NPC_DEVICE float npc_round_bf16(float x)
{
    return npc_bf16_float(npc_float_bf16(x));
}

NPC_DEVICE float npc_round_f16(float x)
{
    return npc_f16_float(npc_float_f16(x));
}

/* Loads and stores of `n` neighbours; addresses are multiples of what is moved at once. */
typedef struct __align__(16) NpcBits128 {
    uint32_t x, y, z, w;
} NpcBits128;
typedef struct __align__(8) NpcBits64 {
    uint32_t x, y;
} NpcBits64;

typedef struct __align__(16) NpcBits256 {
    NpcBits128 low, high;
} NpcBits256;

/* Vectors as they are loaded: nothing, and numbers out of them. */
NPC_DEVICE NpcBits64 npc_zero64(void)
{
    NpcBits64 u = {0, 0};
    return u;
}

NPC_DEVICE NpcBits128 npc_zero128(void)
{
    NpcBits128 u = {0, 0, 0, 0};
    return u;
}

NPC_DEVICE NpcBits256 npc_zero256(void)
{
    NpcBits256 u = {npc_zero128(), npc_zero128()};
    return u;
}

NPC_DEVICE void npc_open4_f32(float *v, NpcBits128 u)
{
    v[0] = NPC_BITS_FLOAT(u.x);
    v[1] = NPC_BITS_FLOAT(u.y);
    v[2] = NPC_BITS_FLOAT(u.z);
    v[3] = NPC_BITS_FLOAT(u.w);
}

NPC_DEVICE void npc_open8_f32(float *v, NpcBits256 u)
{
    npc_open4_f32(v, u.low);
    npc_open4_f32(v + 4, u.high);
}

NPC_DEVICE void npc_load4_f32(float *v, const float *p)
{
    npc_open4_f32(v, *(const NpcBits128 *)p);
}

NPC_DEVICE void npc_load8_f32(float *v, const float *p)
{
    npc_load4_f32(v, p);
    npc_load4_f32(v + 4, p + 4);
}

NPC_DEVICE void npc_unpack_bf16(float *v, uint32_t u)
{
    v[0] = NPC_BITS_FLOAT(u << 16);
    v[1] = NPC_BITS_FLOAT(u & 0xffff0000u);
}

NPC_DEVICE void npc_unpack_f16(float *v, uint32_t u)
{
    v[0] = npc_f16_float((uint16_t)(u & 0xffffu));
    v[1] = npc_f16_float((uint16_t)(u >> 16));
}

#define NPC_LOADS_16(type)                                                                         \
    NPC_DEVICE void npc_open4_##type(float *v, NpcBits64 u)                                        \
    {                                                                                              \
        npc_unpack_##type(v, u.x);                                                                 \
        npc_unpack_##type(v + 2, u.y);                                                             \
    }                                                                                              \
    NPC_DEVICE void npc_open8_##type(float *v, NpcBits128 u)                                       \
    {                                                                                              \
        npc_unpack_##type(v, u.x);                                                                 \
        npc_unpack_##type(v + 2, u.y);                                                             \
        npc_unpack_##type(v + 4, u.z);                                                             \
        npc_unpack_##type(v + 6, u.w);                                                             \
    }                                                                                              \
    NPC_DEVICE void npc_load4_##type(float *v, const uint16_t *p)                                  \
    {                                                                                              \
        npc_open4_##type(v, *(const NpcBits64 *)p);                                                \
    }                                                                                              \
    NPC_DEVICE void npc_load8_##type(float *v, const uint16_t *p)                                  \
    {                                                                                              \
        npc_open8_##type(v, *(const NpcBits128 *)p);                                               \
    }                                                                                              \
    NPC_DEVICE void npc_store4_##type(uint16_t *p, const float *v)                                 \
    {                                                                                              \
        NpcBits64 u = {npc_pack_##type(v[0], v[1]), npc_pack_##type(v[2], v[3])};                  \
        *(NpcBits64 *)p = u;                                                                       \
    }                                                                                              \
    NPC_DEVICE void npc_store8_##type(uint16_t *p, const float *v)                                 \
    {                                                                                              \
        NpcBits128 u = {npc_pack_##type(v[0], v[1]), npc_pack_##type(v[2], v[3]),                  \
                        npc_pack_##type(v[4], v[5]), npc_pack_##type(v[6], v[7])};                 \
        *(NpcBits128 *)p = u;                                                                      \
    }
NPC_LOADS_16(bf16)
NPC_LOADS_16(f16)

NPC_DEVICE void npc_store4_f32(float *p, const float *v)
{
    NpcBits128 u = {NPC_FLOAT_BITS(v[0]), NPC_FLOAT_BITS(v[1]), NPC_FLOAT_BITS(v[2]),
                    NPC_FLOAT_BITS(v[3])};
    *(NpcBits128 *)p = u;
}

NPC_DEVICE void npc_store8_f32(float *p, const float *v)
{
    npc_store4_f32(p, v);
    npc_store4_f32(p + 4, v + 4);
}

NPC_DEVICE void npc_store2_f32(float *p, float low, float high)
{
    NpcBits64 u = {NPC_FLOAT_BITS(low), NPC_FLOAT_BITS(high)};
    *(NpcBits64 *)p = u;
}

/* Two numbers. */
NPC_DEVICE void npc_open2_f32(float *v, NpcBits64 u)
{
    v[0] = NPC_BITS_FLOAT(u.x);
    v[1] = NPC_BITS_FLOAT(u.y);
}

NPC_DEVICE void npc_load2_f32(float *v, const float *p)
{
    npc_open2_f32(v, *(const NpcBits64 *)p);
}

#define NPC_TWO_16(type)                                                                           \
    NPC_DEVICE void npc_open2_##type(float *v, uint32_t u)                                         \
    {                                                                                              \
        npc_unpack_##type(v, u);                                                                   \
    }                                                                                              \
    NPC_DEVICE void npc_load2_##type(float *v, const uint16_t *p)                                  \
    {                                                                                              \
        npc_unpack_##type(v, *(const uint32_t *)p);                                                \
    }                                                                                              \
    NPC_DEVICE void npc_store2_##type(uint16_t *p, float low, float high)                          \
    {                                                                                              \
        *(uint32_t *)p = npc_pack_##type(low, high);                                               \
    }
NPC_TWO_16(bf16)
NPC_TWO_16(f16)

/* Masks: whole numbers in a byte each. */
NPC_DEVICE void npc_unpack_u8(float *v, uint32_t u, int n)
{
    NPC_UNROLL for (int i = 0; i < n; i++)
        v[i] = (float)(u >> (8 * i) & 255u);
}

NPC_DEVICE void npc_load2_u8(float *v, const uint8_t *p)
{
    npc_unpack_u8(v, *(const uint16_t *)p, 2);
}

NPC_DEVICE void npc_open4_u8(float *v, uint32_t u)
{
    npc_unpack_u8(v, u, 4);
}

NPC_DEVICE void npc_open8_u8(float *v, NpcBits64 u)
{
    npc_open4_u8(v, u.x);
    npc_open4_u8(v + 4, u.y);
}

NPC_DEVICE void npc_load4_u8(float *v, const uint8_t *p)
{
    npc_open4_u8(v, *(const uint32_t *)p);
}

NPC_DEVICE void npc_load8_u8(float *v, const uint8_t *p)
{
    npc_open8_u8(v, *(const NpcBits64 *)p);
}

NPC_DEVICE float npc_load1_u8(const uint8_t *p)
{
    return (float)*p;
}

NPC_DEVICE float npc_load1_f32(const float *p)
{
    return *p;
}

NPC_DEVICE float npc_load1_bf16(const uint16_t *p)
{
    return npc_bf16_float(*p);
}

NPC_DEVICE float npc_load1_f16(const uint16_t *p)
{
    return npc_f16_float(*p);
}

NPC_DEVICE void npc_store1_f32(float *p, float x)
{
    *p = x;
}

NPC_DEVICE void npc_store1_bf16(uint16_t *p, float x)
{
    *p = npc_float_bf16(x);
}

NPC_DEVICE void npc_store1_f16(uint16_t *p, float x)
{
    *p = npc_float_f16(x);
}

/* A computed position on an axis of that size; -1 outside of it. */
NPC_DEVICE int npc_position(float at, int size)
{
    const float up = at + 0.5f;
    return up >= 0.0f && up < (float)size ? (int)up : -1;
}

/* Of the `n` rows of so many words the one that a block belongs to; a row begins with the number of
 * its first block. */
NPC_DEVICE const long long *npc_row(const long long *table, int n, int words, int block)
{
    int low = 0, high = n;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (table[(long long)middle * words] <= block)
            low = middle;
        else
            high = middle;
    }
    return table + (long long)low * words;
}

NPC_DEVICE float npc_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

NPC_DEVICE float npc_sigmoid_fast(float x)
{
    return NPC_DIV_FAST(1.0f, 1.0f + NPC_EXP_FAST(-x));
}

/* sum + x, and onto low what that lost. Knuth 1969, The Art of Computer Programming 2, 4.2.2 */
NPC_DEVICE void npc_two_sum(float *sum, float *low, float x)
{
    float all = *sum + x, added = all - *sum;
    *low += (*sum - (all - added)) + (x - added);
    *sum = all;
}

/* Moments of samples: count, mean, sum of squared distances from the mean. Two are joined without
 * cancellation (Chan, Golub and LeVeque 1979). */
typedef struct NpcMoments {
    float n, mean, squares;
} NpcMoments;

NPC_DEVICE NpcMoments npc_moments_join(NpcMoments a, NpcMoments b)
{
    NpcMoments r;
    float n = a.n + b.n, d = b.mean - a.mean, share = n > 0.0f ? b.n / n : 0.0f;
    r.n = n;
    r.mean = a.mean + d * share;
    r.squares = a.squares + b.squares + d * d * a.n * share;
    return r;
}

/* ---- factors of products in shared memory ----
 *
 * A tile is `rows` rows of 16 words along k; a word is one number, or two neighbours along k. It
 * lies as [row][word] or as [word][row]; either is swizzled so that eight rows of four words, what
 * a warp takes as a fragment, meet every bank once, as does what eight threads store by 16 bytes. */
NPC_DEVICE int npc_tile_k(int row, int word)
{
    return row * 16 + (word ^ (row >> 1 & 3) << 2);
}

NPC_DEVICE int npc_tile_rows(int rows, int row, int word)
{
    return word * rows + (row ^ (word & 3) << 3);
}

/* Neighbouring words. */
NPC_DEVICE void npc_put1(uint32_t *to, const uint32_t *word)
{
    *to = word[0];
}

NPC_DEVICE void npc_put4(uint32_t *to, const uint32_t *word)
{
    NpcBits128 u = {word[0], word[1], word[2], word[3]};
    *(NpcBits128 *)to = u;
}

NPC_DEVICE void npc_put8(uint32_t *to, const uint32_t *word)
{
    npc_put4(to, word);
    npc_put4(to + 4, word + 4);
}

/* word[i] = number i of `low` and, above it, number i of `high`: 16 bits each */
NPC_DEVICE void npc_zip2(uint32_t *word, uint32_t low, uint32_t high)
{
    word[0] = (low & 0xffffu) | high << 16;
    word[1] = low >> 16 | (high & 0xffff0000u);
}

NPC_DEVICE void npc_zip4(uint32_t *word, NpcBits64 low, NpcBits64 high)
{
    npc_zip2(word, low.x, high.x);
    npc_zip2(word + 2, low.y, high.y);
}

NPC_DEVICE void npc_zip8(uint32_t *word, NpcBits128 low, NpcBits128 high)
{
    npc_zip2(word, low.x, high.x);
    npc_zip2(word + 2, low.y, high.y);
    npc_zip2(word + 4, low.z, high.z);
    npc_zip2(word + 6, low.w, high.w);
}

/* ---- random numbers ---- */

typedef struct NpcWords {
    uint32_t at[4];
} NpcWords;

/* Ten rounds of Philox4x32 (ir/base/philox.h). */
NPC_DEVICE NpcWords npc_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                               uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        unsigned long long p0 = (unsigned long long)c0 * 0xD2511F53u;
        unsigned long long p1 = (unsigned long long)c2 * 0xCD9E8D57u;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    NpcWords w = {{c0, c1, c2, c3}};
    return w;
}
