/* A factor that is stored in float32 and multiplied in 16 bits (a weight, beside activations) is
 * converted in front, into the workspace, by the one phase there may be. */
#include "codegen/cuda_library.h"

#include "codegen/cuda_schedules.h"
#include "ir/tile_product.h"

/* What the library wants on devices that want most of it. Its address is a multiple of ALIGNMENT.
 */
enum { ROOM = 32 << 20, ALIGNMENT = 256 };
enum { THREADS = 256, EACH = 8 };

/* The factor that is converted; NULL: none is. */
static const TileMatrix *converted(const TileProduct *x)
{
    return x->a.type != x->factor ? &x->a : x->b.type != x->factor ? &x->b : NULL;
}

static int64_t converted_elems(const TileProgram *p, const TileProduct *x)
{
    const TileMatrix *c = converted(x);
    return c ? tile_layout_elems(&p->tensors.at[c->tensor].layout) : 0;
}

static size_t converted_bytes(const TileProgram *p, const TileProduct *x)
{
    return ((size_t)converted_elems(p, x) * storage_bytes(x->factor) + 63) / 64 * 64;
}

/* ---- the way a program is computed ---- */

static bool accepts(const TileProgram *p)
{
    return p->by_library;
}

static CudaSchedule schedule(const TileProgram *p)
{
    CudaSchedule s = {.name = cuda_kind_library.name, .library_bytes = ROOM + ALIGNMENT};
    TileProduct x;
    if (!tile_product(p, &x) || !converted(&x))
        return s;
    const int64_t block = THREADS * EACH;
    s.phase[s.n_phases++] = (CudaPhase){(converted_elems(p, &x) + block - 1) / block, THREADS};
    s.workspace_bytes = converted_bytes(p, &x);
    return s;
}

static void write_matrix(CudaText *c, Text *t, const char *name, const TileMatrix *x, int64_t rows,
                         int64_t columns)
{
    const TileTensor *tensor = &c->p->tensors.at[x->tensor];
    text_printf(t, "%s = t%d%s %s[%lld, %lld] ld %lld stride %lld", name, x->tensor,
                x->transposed ? "^T" : "", storage_text(tensor->layout.type), (long long)rows,
                (long long)columns, (long long)x->ld, (long long)x->stride);
}

static void write_call(CudaText *c, const TileProduct *x)
{
    Text t = {.arena = c->arena};
    write_matrix(c, &t, "c", &x->c, x->m, x->n);
    write_matrix(c, &t, ", a", &x->a, x->m, x->k);
    write_matrix(c, &t, ", b", &x->b, x->k, x->n);
    cuda_line(c, "/* cublasGemmStridedBatchedEx: %s, batch %lld, factors %s, sums f32 */",
              text_str(&t), (long long)x->batch,
              x->factor == STORAGE_F32 ? math_text(c->p->math) : storage_text(x->factor));
}

static void write_conversion(CudaText *c, const TileProduct *x, const CudaPhase *shape)
{
    const char *type = storage_text(x->factor);
    int from = converted(x)->tensor;
    cuda_kernel_begin(c, 0, shape, arena_printf(c->arena, "t%d in %s", from, type));
    cuda_line(c, "const long long n = %lldLL;", (long long)converted_elems(c->p, x));
    cuda_line(c, "const long long at = ((long long)blockIdx.x * %d + threadIdx.x) * %d;", THREADS,
              EACH);
    cuda_line(c, "uint16_t *to = (uint16_t *)workspace;");
    cuda_open(c, "if (at + %d <= n)", EACH);
    cuda_line(c, "float v[%d];", EACH);
    cuda_line(c, "npc_load%d_f32(v, t%d + at);", EACH, from);
    cuda_line(c, "npc_store%d_%s(to + at, v);", EACH, type);
    cuda_line(c, "return;");
    cuda_close(c);
    cuda_line(c, "for (long long i = at; i < n; i++)");
    cuda_line(c, "    npc_store1_%s(to + i, t%d[i]);", type, from);
    cuda_kernel_end(c);
}

static void write(CudaText *c, const CudaSchedule *s)
{
    TileProduct x;
    if (!tile_product(c->p, &x))
        return;
    write_call(c, &x);
    if (s->n_phases)
        write_conversion(c, &x, &s->phase[0]);
}

const CudaKind cuda_kind_library = {"library", accepts, schedule, write};

/* ---- calling ---- */

static int type_of(Storage s)
{
    return s == STORAGE_F16 ? BLAS_F16 : s == STORAGE_BF16 ? BLAS_BF16 : BLAS_F32;
}

static int compute_of(const TileProduct *x, MathMode math)
{
    static const int of_floats[] = {[MATH_F32] = BLAS_SUMS_F32,
                                    [MATH_TF32] = BLAS_FACTORS_TF32,
                                    [MATH_BF16] = BLAS_FACTORS_BF16,
                                    [MATH_F16] = BLAS_FACTORS_F16};
    return x->factor == STORAGE_F32 ? of_floats[math] : BLAS_SUMS_F32;
}

/* A stream takes a handle's workspace away, so that stands in front of it. */
BlasResult cuda_library_begin(const CudaBlas *blas, BlasHandle *out, CudaStream stream)
{
    BlasResult r = blas->create(out);
    if (r) {
        *out = NULL;
        return r;
    }
    r = blas->use_stream(*out, stream);
    return r ? r : blas->use_mode(*out, BLAS_NO_ROUNDED_SUMS);
}

BlasResult cuda_library_multiply(const CudaBlas *blas, BlasHandle handle, const TileProgram *p,
                                 const CudaAddress *tensor, CudaAddress workspace)
{
    static const float one = 1, zero = 0;
    TileProduct x;
    if (!tile_product(p, &x))
        return 0;
    CudaAddress room = workspace + converted_bytes(p, &x);
    room = (room + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    BlasResult r = blas->use_workspace(handle, (void *)(uintptr_t)room, ROOM);
    if (r)
        return r;
    const TileMatrix *moved = converted(&x), *const m[] = {&x.a, &x.b, &x.c};
    void *at[3];
    for (int i = 0; i < 3; i++)
        at[i] = (void *)(uintptr_t)(m[i] == moved ? workspace : tensor[m[i]->tensor]);
    int factor = type_of(x.factor);
    return blas->multiply(handle, x.a.transposed ? BLAS_TRANSPOSED : BLAS_AS_IS,
                          x.b.transposed ? BLAS_TRANSPOSED : BLAS_AS_IS, (int)x.m, (int)x.n,
                          (int)x.k, &one, at[0], factor, (int)x.a.ld, x.a.stride, at[1], factor,
                          (int)x.b.ld, x.b.stride, &zero, at[2], type_of(x.c.type), (int)x.c.ld,
                          x.c.stride, (int)x.batch, compute_of(&x, p->math), BLAS_ALGORITHM);
}
