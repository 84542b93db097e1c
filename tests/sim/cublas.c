/* A stand-in for libcublas.so.13: matrix products by plain loops, sums in float32 and in the order
 * of k. Work goes to the stream of the simulated driver, so that graphs record it, and every matrix
 * is checked against its allocation.
 *
 * The library works in a workspace that the caller gave, which holds anything afterwards. Without
 * one (and a stream takes it away) it would allocate its own, which a capture must not do: an error
 * here. NPC_SIM_BLAS_VERSION=120000 sets its version.
 *
 * Matrices are column-major: element (i, j) of one with leading dimension ld is at i + j ld.
 *     C[m, n] = alpha op(A)[m, k] op(B)[k, n] + beta C,   op(X) = X or its transpose */
#include "ir/storage.h"
#include "tests/sim/driver.h"

#include <stdlib.h>
#include <string.h>

typedef enum cublasStatus {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_ARCH_MISMATCH = 8,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_INTERNAL_ERROR = 14,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
} cublasStatus;

enum { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1, CUBLAS_OP_C = 2 };
enum { CUBLAS_TF32_TENSOR_OP_MATH = 3, CUBLAS_POINTER_MODE_DEVICE = 1 };
enum {
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_COMPUTE_32F_PEDANTIC = 69,
    CUBLAS_COMPUTE_32F_FAST_16F = 74,
    CUBLAS_COMPUTE_32F_FAST_16BF = 75,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77,
};

typedef struct cublasContext {
    CUstream stream;
    int math, pointers;
    void *workspace; /* NULL: none */
    size_t workspace_bytes;
} * cublasHandle;

typedef struct Matrix {
    const void *at;
    long long stride; /* from one of a batch to the next, elements */
    int ld, rows, columns;
    bool transposed;
    Storage type;
} Matrix;

typedef struct Product {
    int m, n, k, batch;
    Matrix a, b, c;
    float alpha, beta;
    const float *alpha_at, *beta_at; /* on the device, or NULL */
    MathMode math;
    void *workspace;
    size_t workspace_bytes;
} Product;

/* op(X) as dense columns of float32, rounded to what the product multiplies. */
static void read_matrix(float *to, const Matrix *x, int batch, MathMode math)
{
    int rows = x->transposed ? x->columns : x->rows, columns = x->transposed ? x->rows : x->columns;
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++) {
            int64_t at = x->transposed ? j + (int64_t)i * x->ld : i + (int64_t)j * x->ld;
            *to++ = math_round(math, storage_read(x->at, x->type, at + batch * x->stride));
        }
}

static void multiply(const Product *p, int batch, float *a, float *b, float *column)
{
    float alpha = p->alpha_at ? *p->alpha_at : p->alpha;
    float beta = p->beta_at ? *p->beta_at : p->beta;
    read_matrix(a, &p->a, batch, p->math);
    read_matrix(b, &p->b, batch, p->math);
    for (int j = 0; j < p->n; j++) {
        memset(column, 0, (size_t)p->m * sizeof *column);
        for (int l = 0; l < p->k; l++) {
            float y = b[(size_t)j * (size_t)p->k + (size_t)l];
            const float *x = a + (size_t)l * (size_t)p->m;
            for (int i = 0; i < p->m; i++)
                column[i] += x[i] * y;
        }
        for (int i = 0; i < p->m; i++) {
            int64_t at = i + (int64_t)j * p->c.ld + batch * p->c.stride;
            float c = beta != 0 ? beta * storage_read(p->c.at, p->c.type, at) : 0;
            storage_write((void *)p->c.at, p->c.type, at, alpha * column[i] + c);
        }
    }
}

static size_t matrix_bytes(const Matrix *x, int batch)
{
    long long elems = (long long)(x->columns - 1) * x->ld + x->rows + (batch - 1) * x->stride;
    return (size_t)elems * storage_bytes(x->type);
}

static bool matrix_is_there(const Matrix *x, int batch, const char *what)
{
    return npc_sim_check((CUdeviceptr)(uintptr_t)x->at, matrix_bytes(x, batch), what);
}

/* Numbers that nobody may take for results. */
static bool use_workspace(const Product *p)
{
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)p->workspace;
    size_t begin = p->workspace_bytes < 4096 ? p->workspace_bytes : 4096;
    if (!npc_sim_check(at, p->workspace_bytes, "a product's workspace"))
        return false;
    memset(p->workspace, 0xff, begin);
    memset((char *)p->workspace + p->workspace_bytes - begin, 0xff, begin);
    npc_sim_written(at, p->workspace_bytes);
    return true;
}

static CUresult run(void *data)
{
    const Product *p = data;
    if (!p->m || !p->n || !p->batch)
        return CUDA_SUCCESS;
    if ((p->k && (!matrix_is_there(&p->a, p->batch, "a product's matrix A") ||
                  !matrix_is_there(&p->b, p->batch, "a product's matrix B"))) ||
        !matrix_is_there(&p->c, p->batch, "a product's matrix C") || !use_workspace(p))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    size_t m = (size_t)p->m, n = (size_t)p->n, k = (size_t)p->k;
    float *room = malloc((m * k + k * n + m) * sizeof *room);
    if (!room)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (int i = 0; i < p->batch; i++)
        multiply(p, i, room, room + m * k, room + m * k + k * n);
    free(room);
    npc_sim_written((CUdeviceptr)(uintptr_t)p->c.at, matrix_bytes(&p->c, p->batch));
    return CUDA_SUCCESS;
}

static bool type_of(int cuda_type, Storage *out)
{
    *out = cuda_type == CUDA_R_16F    ? STORAGE_F16
           : cuda_type == CUDA_R_16BF ? STORAGE_BF16
                                      : STORAGE_F32;
    return cuda_type == CUDA_R_32F || cuda_type == CUDA_R_16F || cuda_type == CUDA_R_16BF;
}

static bool math_of(cublasHandle h, int compute, Storage inputs, MathMode *out)
{
    switch (compute) {
    case CUBLAS_COMPUTE_32F:
        *out = h->math == CUBLAS_TF32_TENSOR_OP_MATH ? MATH_TF32 : MATH_F32;
        break;
    case CUBLAS_COMPUTE_32F_PEDANTIC:
        *out = MATH_F32;
        break;
    case CUBLAS_COMPUTE_32F_FAST_16F:
        *out = MATH_F16;
        break;
    case CUBLAS_COMPUTE_32F_FAST_16BF:
        *out = MATH_BF16;
        break;
    case CUBLAS_COMPUTE_32F_FAST_TF32:
        *out = MATH_TF32;
        break;
    default:
        return false;
    }
    if (inputs != STORAGE_F32)
        *out = MATH_F32; /* have few bits already */
    return true;
}

/* The matrix that op makes rows x columns. */
static bool matrix(Matrix *x, const void *at, int type, int op, int rows, int columns, int ld,
                   long long stride)
{
    bool t = op != CUBLAS_OP_N;
    *x =
        (Matrix){.at = at, .stride = stride, .ld = ld, .rows = t ? columns : rows, .transposed = t};
    x->columns = t ? rows : columns;
    return type_of(type, &x->type) && op >= CUBLAS_OP_N && op <= CUBLAS_OP_C && stride >= 0 &&
           ld >= (x->rows > 1 ? x->rows : 1);
}

static cublasStatus gemm(const char *call, cublasHandle h, int op_a, int op_b, int m, int n, int k,
                         const float *alpha, const void *a, int type_a, int ld_a,
                         long long stride_a, const void *b, int type_b, int ld_b,
                         long long stride_b, const float *beta, void *c, int type_c, int ld_c,
                         long long stride_c, int batch, int compute)
{
    Product p = {.m = m, .n = n, .k = k, .batch = batch};
    if (sim_env_fails(call))
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (!h)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || batch < 0 || !alpha || !beta ||
        !matrix(&p.a, a, type_a, op_a, m, k, ld_a, stride_a) ||
        !matrix(&p.b, b, type_b, op_b, k, n, ld_b, stride_b) ||
        !matrix(&p.c, c, type_c, CUBLAS_OP_N, m, n, ld_c, stride_c)) {
        sim_env_say("%s: invalid sizes, types or leading dimensions", call);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    /* results are as the factors or float32 */
    if (type_a != type_b || (type_c != CUDA_R_32F && type_c != type_a) ||
        !math_of(h, compute, p.a.type, &p.math))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (h->pointers == CUBLAS_POINTER_MODE_DEVICE) {
        p.alpha_at = alpha;
        p.beta_at = beta;
    } else {
        p.alpha = *alpha;
        p.beta = *beta;
    }
    if (!h->workspace) {
        sim_env_say("%s: no workspace was set behind the stream", call);
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    p.workspace = h->workspace;
    p.workspace_bytes = h->workspace_bytes;
    CUresult r = npc_sim_submit(h->stream, run, &p, sizeof p);
    return r ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

/* ---- the interface ---- */

SIM_API cublasStatus cublasCreate_v2(cublasHandle *handle);
SIM_API cublasStatus cublasDestroy_v2(cublasHandle handle);
SIM_API cublasStatus cublasGetVersion_v2(cublasHandle handle, int *version);
SIM_API cublasStatus cublasSetStream_v2(cublasHandle handle, CUstream stream);
SIM_API cublasStatus cublasSetWorkspace_v2(cublasHandle handle, void *at, size_t bytes);
SIM_API cublasStatus cublasSetMathMode(cublasHandle handle, int mode);
SIM_API cublasStatus cublasSetPointerMode_v2(cublasHandle handle, int mode);
SIM_API const char *cublasGetStatusName(cublasStatus status);
SIM_API const char *cublasGetStatusString(cublasStatus status);
SIM_API cublasStatus cublasSgemm_v2(cublasHandle handle, int op_a, int op_b, int m, int n, int k,
                                    const float *alpha, const float *a, int ld_a, const float *b,
                                    int ld_b, const float *beta, float *c, int ld_c);
SIM_API cublasStatus cublasSgemmStridedBatched(cublasHandle handle, int op_a, int op_b, int m,
                                               int n, int k, const float *alpha, const float *a,
                                               int ld_a, long long stride_a, const float *b,
                                               int ld_b, long long stride_b, const float *beta,
                                               float *c, int ld_c, long long stride_c, int batch);
SIM_API cublasStatus cublasGemmEx(cublasHandle handle, int op_a, int op_b, int m, int n, int k,
                                  const void *alpha, const void *a, int type_a, int ld_a,
                                  const void *b, int type_b, int ld_b, const void *beta, void *c,
                                  int type_c, int ld_c, int compute, int algorithm);
SIM_API cublasStatus cublasGemmStridedBatchedEx(cublasHandle handle, int op_a, int op_b, int m,
                                                int n, int k, const void *alpha, const void *a,
                                                int type_a, int ld_a, long long stride_a,
                                                const void *b, int type_b, int ld_b,
                                                long long stride_b, const void *beta, void *c,
                                                int type_c, int ld_c, long long stride_c, int batch,
                                                int compute, int algorithm);

SIM_API cublasStatus cublasCreate_v2(cublasHandle *handle)
{
    if (sim_env_fails("cublasCreate"))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

SIM_API cublasStatus cublasDestroy_v2(cublasHandle handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus cublasGetVersion_v2(cublasHandle handle, int *version)
{
    (void)handle;
    if (sim_env_fails("cublasGetVersion"))
        return CUBLAS_STATUS_INVALID_VALUE;
    *version = (int)sim_env_number("NPC_SIM_BLAS_VERSION", 130000);
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus cublasSetStream_v2(cublasHandle handle, CUstream stream)
{
    if (sim_env_fails("cublasSetStream"))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    handle->workspace = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus cublasSetWorkspace_v2(cublasHandle handle, void *at, size_t bytes)
{
    if (sim_env_fails("cublasSetWorkspace"))
        return CUBLAS_STATUS_INVALID_VALUE;
    if ((uintptr_t)at % 256 || !npc_sim_check((CUdeviceptr)(uintptr_t)at, bytes, "a workspace"))
        return CUBLAS_STATUS_INVALID_VALUE;
    handle->workspace = at;
    handle->workspace_bytes = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus cublasSetMathMode(cublasHandle handle, int mode)
{
    if (sim_env_fails("cublasSetMathMode"))
        return CUBLAS_STATUS_INVALID_VALUE;
    handle->math = mode & 15;
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus cublasSetPointerMode_v2(cublasHandle handle, int mode)
{
    handle->pointers = mode;
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API const char *cublasGetStatusName(cublasStatus status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "CUBLAS_STATUS unknown";
}

SIM_API const char *cublasGetStatusString(cublasStatus status)
{
    return cublasGetStatusName(status);
}

SIM_API cublasStatus cublasSgemm_v2(cublasHandle handle, int op_a, int op_b, int m, int n, int k,
                                    const float *alpha, const float *a, int ld_a, const float *b,
                                    int ld_b, const float *beta, float *c, int ld_c)
{
    return gemm("cublasSgemm", handle, op_a, op_b, m, n, k, alpha, a, CUDA_R_32F, ld_a, 0, b,
                CUDA_R_32F, ld_b, 0, beta, c, CUDA_R_32F, ld_c, 0, 1, CUBLAS_COMPUTE_32F);
}

SIM_API cublasStatus cublasSgemmStridedBatched(cublasHandle handle, int op_a, int op_b, int m,
                                               int n, int k, const float *alpha, const float *a,
                                               int ld_a, long long stride_a, const float *b,
                                               int ld_b, long long stride_b, const float *beta,
                                               float *c, int ld_c, long long stride_c, int batch)
{
    return gemm("cublasSgemmStridedBatched", handle, op_a, op_b, m, n, k, alpha, a, CUDA_R_32F,
                ld_a, stride_a, b, CUDA_R_32F, ld_b, stride_b, beta, c, CUDA_R_32F, ld_c, stride_c,
                batch, CUBLAS_COMPUTE_32F);
}

SIM_API cublasStatus cublasGemmEx(cublasHandle handle, int op_a, int op_b, int m, int n, int k,
                                  const void *alpha, const void *a, int type_a, int ld_a,
                                  const void *b, int type_b, int ld_b, const void *beta, void *c,
                                  int type_c, int ld_c, int compute, int algorithm)
{
    (void)algorithm;
    return gemm("cublasGemmEx", handle, op_a, op_b, m, n, k, alpha, a, type_a, ld_a, 0, b, type_b,
                ld_b, 0, beta, c, type_c, ld_c, 0, 1, compute);
}

SIM_API cublasStatus cublasGemmStridedBatchedEx(cublasHandle handle, int op_a, int op_b, int m,
                                                int n, int k, const void *alpha, const void *a,
                                                int type_a, int ld_a, long long stride_a,
                                                const void *b, int type_b, int ld_b,
                                                long long stride_b, const void *beta, void *c,
                                                int type_c, int ld_c, long long stride_c, int batch,
                                                int compute, int algorithm)
{
    (void)algorithm;
    return gemm("cublasGemmStridedBatchedEx", handle, op_a, op_b, m, n, k, alpha, a, type_a, ld_a,
                stride_a, b, type_b, ld_b, stride_b, beta, c, type_c, ld_c, stride_c, batch,
                compute);
}
