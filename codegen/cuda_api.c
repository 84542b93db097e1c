#include "codegen/cuda_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Opens the first of the names that is there, the folder of the environment first. */
static void *open_library(const char *const *names, char *path, size_t size)
{
    const char *folder = getenv("NPC_CUDA_LIBRARIES");
    void *library = NULL;
    for (int i = 0; folder && *folder && names[i] && !library; i++) {
        if (names[i][0] == '/')
            continue;
        snprintf(path, size, "%s/%s", folder, names[i]);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    for (int i = 0; names[i] && !library; i++) {
        snprintf(path, size, "%s", names[i]);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

static Status lacks(const char *path, const char *symbol, Err *err)
{
    return err_set(err, NPC_ERR_DEVICE, "%s has no function %s: CUDA 12.0 or newer is needed", path,
                   symbol);
}

/* ---- the driver ---- */

Status cuda_check(const CudaDriver *d, CudaResult r, const char *what, Err *err)
{
    const char *text = NULL;
    if (!r)
        return NPC_OK;
    d->error_string(r, &text);
    return err_set(err, r == CUDA_OUT_OF_MEMORY ? NPC_ERR_MEMORY : NPC_ERR_DEVICE,
                   "CUDA: cannot %s: %s (error %d)", what, text ? text : "unknown error", r);
}

static Status load_driver(CudaDriver *d, Err *err)
{
    static const char *const names[] = {"libcuda.so.1", NULL};
    void *library = open_library(names, d->path, sizeof d->path);
    if (!library)
        return err_set(err, NPC_ERR_DEVICE,
                       "CUDA: libcuda.so.1 was not found: an NVIDIA driver for CUDA 12.0 or newer "
                       "is needed");
#define CALL(member, symbol, arguments)                                                            \
    *(void **)&d->member = dlsym(library, #symbol);                                                \
    if (!d->member)                                                                                \
        return lacks(d->path, #symbol, err);
    CUDA_DRIVER_CALLS
#undef CALL
    return NPC_OK;
}

static Status start_driver(CudaDriver *d, Err *err)
{
    int n = 0;
    if (!d->driver_version(&d->version) && d->version < CUDA_DRIVER_LEAST)
        return err_set(err, NPC_ERR_DEVICE,
                       "CUDA: the driver %s is for CUDA %d.%d: 12.0 or newer is needed", d->path,
                       d->version / 1000, d->version % 1000 / 10);
    CudaResult r = d->init(0);
    if (r != CUDA_NO_DEVICE)
        NPC_TRY(cuda_check(d, r, "initialise the driver", err));
    if (r == CUDA_NO_DEVICE || d->device_count(&n) || !n)
        return err_set(err, NPC_ERR_DEVICE, "CUDA: the driver is there (%s), but finds no device",
                       d->path);
    return NPC_OK;
}

/* ---- the compiler ---- */

static Status load_nvrtc(CudaNvrtc *c, Err *err)
{
    static const char *const names[] = {"libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.13",
                                        "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so.12",
                                        NULL};
    void *library = open_library(names, c->path, sizeof c->path);
    if (!library)
        return err_set(err, NPC_ERR_DEVICE,
                       "CUDA: neither libnvrtc.so.13 nor libnvrtc.so.12 was found: the runtime "
                       "compiler (NVRTC) of CUDA 12 or 13 is needed");
#define CALL(member, symbol, arguments)                                                            \
    *(void **)&c->member = dlsym(library, #symbol);                                                \
    if (!c->member)                                                                                \
        return lacks(c->path, #symbol, err);
    CUDA_NVRTC_CALLS
#undef CALL
    *(void **)&c->error_string = dlsym(library, "nvrtcGetErrorString");
    return c->error_string ? NPC_OK : lacks(c->path, "nvrtcGetErrorString", err);
}

static Status start_nvrtc(CudaNvrtc *c, Err *err)
{
    int major = 0, minor = 0;
    NvrtcResult r = c->version(&major, &minor);
    if (r)
        return err_set(err, NPC_ERR_DEVICE,
                       "CUDA: the runtime compiler %s does not tell its version: %s", c->path,
                       c->error_string(r));
    struct stat file;
    Dl_info where;
    if (dladdr(*(void **)&c->version, &where) && !stat(where.dli_fname, &file))
        snprintf(c->identity, sizeof c->identity, "%.500s %lld %lld", where.dli_fname,
                 (long long)file.st_size, (long long)file.st_mtime);
    c->version_number = major * 1000 + minor * 10;
    if (c->version_number < NVRTC_LEAST)
        return err_set(err, NPC_ERR_DEVICE,
                       "CUDA: the runtime compiler %s is version %d.%d: 12.0 or newer is needed",
                       c->path, major, minor);
    return NPC_OK;
}

/* ---- products ---- */

static Status load_blas(CudaBlas *b, Err *err)
{
    static const char *const names[] = {"libcublas.so.13", "/usr/local/cuda/lib64/libcublas.so.13",
                                        "libcublas.so.12", "/usr/local/cuda/lib64/libcublas.so.12",
                                        NULL};
    void *library = open_library(names, b->path, sizeof b->path);
    if (!library)
        return err_set(err, NPC_ERR_DEVICE,
                       "CUDA: neither libcublas.so.13 nor libcublas.so.12 was found");
#define CALL(member, symbol, arguments)                                                            \
    *(void **)&b->member = dlsym(library, #symbol);                                                \
    if (!b->member)                                                                                \
        return lacks(b->path, #symbol, err);
    CUDA_BLAS_CALLS
#undef CALL
    *(void **)&b->error_string = dlsym(library, "cublasGetStatusString");
    return b->error_string ? NPC_OK : lacks(b->path, "cublasGetStatusString", err);
}

/* The version is told without a handle. */
static Status start_blas(CudaBlas *b, Err *err)
{
    int version = 0;
    BlasResult r = b->version(NULL, &version);
    if (r)
        return err_set(err, NPC_ERR_DEVICE, "CUDA: %s does not tell its version: %s", b->path,
                       b->error_string(r));
    return version >= BLAS_LEAST
               ? NPC_OK
               : err_set(err, NPC_ERR_DEVICE, "CUDA: %s is version %d.%d: 12.0 or newer is needed",
                         b->path, version / 10000, version / 100 % 100);
}

/* ---- once: opening; starting is quick when it was done before ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct Once {
    bool tried;
    Status status;
    Err err;
} Once;

#define OPEN_ONCE(Type, load, start, out, err)                                                     \
    static Type library;                                                                           \
    static Once once;                                                                              \
    pthread_mutex_lock(&lock);                                                                     \
    if (!once.tried)                                                                               \
        once.status = load(&library, &once.err);                                                   \
    once.tried = true;                                                                             \
    Status status = once.status == NPC_OK ? start(&library, err)                                   \
                                          : err_set(err, once.status, "%s", once.err.text);        \
    pthread_mutex_unlock(&lock);                                                                   \
    *(out) = &library;                                                                             \
    return status

Status cuda_driver_open(const CudaDriver **out, Err *err)
{
    OPEN_ONCE(CudaDriver, load_driver, start_driver, out, err);
}

Status cuda_nvrtc_open(const CudaNvrtc **out, Err *err)
{
    OPEN_ONCE(CudaNvrtc, load_nvrtc, start_nvrtc, out, err);
}

Status cuda_blas_open(const CudaBlas **out, Err *err)
{
    OPEN_ONCE(CudaBlas, load_blas, start_blas, out, err);
}
