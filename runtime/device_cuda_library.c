/* Products that the library computes (codegen/cuda_library.h): a handle for the device's stream,
 * made when some program has such a product. Every product runs once when it is bound, on whatever
 * lies there: libraries load their code at first use, which must not happen while launches are
 * recorded, and what they refuse is known before anything counts on it. */
#include "codegen/cuda_library.h"

#include <pthread.h>

#include "runtime/device_cuda.h"

/* ---- is it there? ---- */

/* Asked once, so that all programs of a process are planned alike. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static Err missing; /* of status NPC_OK: it is there */
static _Atomic bool is_missed;

static void look_for_it(void)
{
    const CudaBlas *blas;
    cuda_blas_open(&blas, &missing);
}

bool cuda_has_library(void)
{
    pthread_once(&once, look_for_it);
    is_missed |= missing.status != NPC_OK;
    return missing.status == NPC_OK;
}

void device_say_library(FILE *out)
{
    static _Atomic bool was_said;
    if (!is_missed || was_said)
        return;
    was_said = true;
    fprintf(out, "%s; plain products take kernels of our own\n", missing.text);
}

/* ---- products ---- */

/* As cuda_state_check. */
static Status check(CudaState *c, BlasResult r, const char *what, Err *err)
{
    if (!r)
        return NPC_OK;
    if (!c->is_lost)
        err_set(&c->lost, r == BLAS_ALLOC_FAILED ? NPC_ERR_MEMORY : NPC_ERR_DEVICE,
                "CUDA: cannot %s by %s: %s (error %d)", what, c->blas->path,
                c->blas->error_string(r), r);
    c->is_lost = true;
    return err_set(err, c->lost.status, "%s", c->lost.text);
}

Status cuda_multiply(CudaState *c, const TileProgram *tile, const CudaLaunch *l, Err *err)
{
    CudaAddress workspace = l->arg[tile->tensors.len];
    BlasResult r = cuda_library_multiply(c->blas, c->blas_handle, tile, l->arg, workspace);
    char what[300];
    snprintf(what, sizeof what, "multiply %.200s", tile->name ? tile->name : "matrices");
    return check(c, r, what, err);
}

static Status open_library(CudaState *c, Err *err)
{
    if (c->blas)
        return NPC_OK;
    NPC_TRY(cuda_blas_open(&c->blas, err));
    return check(c, cuda_library_begin(c->blas, &c->blas_handle, c->stream), "prepare products",
                 err);
}

Status cuda_bind_products(CudaState *c, const DeviceProgram *p, Err *err)
{
    const CudaProgram *own = p->own;
    for (uint32_t i = 0; i < p->plan->launches.len; i++) {
        const TileProgram *tile = p->plan->launches.at[i].tile;
        if (!tile->by_library)
            continue;
        NPC_TRY(open_library(c, err));
        NPC_TRY(cuda_multiply(c, tile, &own->launch[i], err));
    }
    return NPC_OK;
}

void cuda_close_library(CudaState *c)
{
    if (c->blas && c->blas_handle)
        c->blas->destroy(c->blas_handle);
}
