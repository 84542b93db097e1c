/* The simulated device: one context, and what is known of it.
 *
 *   NPC_SIM_SM=86                 compute capability, 90
 *   NPC_SIM_DEVICES=0             number of devices, 1
 *   NPC_SIM_DRIVER_VERSION=12020  CUDA version of the driver, 13000 */
#include "tests/sim/driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CUctx_st {
    int users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_initialised;
static CUresult lost; /* CUDA_SUCCESS, or what every call returns */
static struct CUctx_st primary;
static _Thread_local CUcontext current;

/* Calls that need neither cuInit nor a context. */
static bool needs_nothing(const char *call)
{
    static const char *const name[] = {"cuInit", "cuDriverGetVersion", NULL};
    int i = 0;
    while (name[i] && strcmp(call, name[i]))
        i++;
    return name[i];
}

static bool needs_context(const char *call)
{
    return strncmp(call, "cuDevice", 8) && strncmp(call, "cuCtx", 5);
}

CUresult driver_begin(const char *call, CUresult failure)
{
    pthread_mutex_lock(&lock);
    bool fails = sim_env_fails(call);
    if (!needs_nothing(call)) {
        if (!is_initialised)
            return CUDA_ERROR_NOT_INITIALIZED;
        if (needs_context(call) && (!current || !current->users)) {
            sim_env_say("%s: this thread has no context (cuCtxSetCurrent)", call);
            return CUDA_ERROR_INVALID_CONTEXT;
        }
        if (lost && strcmp(call, "cuDevicePrimaryCtxRelease"))
            return lost;
    }
    return fails ? failure : CUDA_SUCCESS;
}

CUresult driver_end(CUresult r)
{
    if (r && sim_env_number("NPC_SIM_LOG", 0))
        fprintf(stderr, "npc sim:   returns %d\n", r);
    pthread_mutex_unlock(&lock);
    return r;
}

CUresult driver_lost(CUresult r)
{
    lost = r;
    return r;
}

int driver_capability(void)
{
    return (int)sim_env_number("NPC_SIM_SM", 90);
}

SIM_API CUresult cuInit(unsigned flags)
{
    sim_env_reset();
    CUresult r = driver_begin("cuInit", CUDA_ERROR_NO_DEVICE);
    if (!r && flags)
        r = CUDA_ERROR_INVALID_VALUE;
    if (!r) {
        is_initialised = true;
        launch_seed();
    }
    return driver_end(r);
}

SIM_API CUresult cuDriverGetVersion(int *version)
{
    CUresult r = driver_begin("cuDriverGetVersion", CUDA_ERROR_INVALID_VALUE);
    if (!r)
        *version = (int)sim_env_number("NPC_SIM_DRIVER_VERSION", 13000);
    return driver_end(r);
}

SIM_API CUresult cuGetErrorString(CUresult error, const char **text)
{
    switch (error) {
#define RESULT(name, number, sentence)                                                             \
    case name:                                                                                     \
        *text = sentence;                                                                          \
        return CUDA_SUCCESS;
        CUDA_RESULTS
#undef RESULT
    }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

SIM_API CUresult cuGetErrorName(CUresult error, const char **text)
{
    switch (error) {
#define RESULT(name, number, sentence)                                                             \
    case name:                                                                                     \
        *text = #name;                                                                             \
        return CUDA_SUCCESS;
        CUDA_RESULTS
#undef RESULT
    }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

SIM_API CUresult cuDeviceGetCount(int *count)
{
    CUresult r = driver_begin("cuDeviceGetCount", CUDA_ERROR_NO_DEVICE);
    if (!r)
        *count = (int)sim_env_number("NPC_SIM_DEVICES", 1);
    return driver_end(r);
}

SIM_API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult r = driver_begin("cuDeviceGet", CUDA_ERROR_INVALID_DEVICE);
    if (!r && (ordinal < 0 || ordinal >= sim_env_number("NPC_SIM_DEVICES", 1)))
        r = CUDA_ERROR_INVALID_DEVICE;
    if (!r)
        *device = ordinal;
    return driver_end(r);
}

SIM_API CUresult cuDeviceGetName(char *name, int len, CUdevice device)
{
    CUresult r = driver_begin("cuDeviceGetName", CUDA_ERROR_INVALID_DEVICE);
    (void)device;
    if (!r)
        snprintf(name, (size_t)len, "npc simulator sm_%d", driver_capability());
    return driver_end(r);
}

SIM_API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    static const int table[][2] = {
        {1, SIM_MAX_THREADS}, /* threads of a block */
        {2, SIM_MAX_THREADS}, /* block, x */
        {3, SIM_MAX_THREADS}, /* block, y */
        {4, 64},              /* block, z */
        {5, 2147483647},      /* grid, x */
        {6, 65535},           /* grid, y */
        {7, 65535},           /* grid, z */
        {8, SIM_MAX_SHARED},  /* shared memory of a block */
        {10, SIM_WARP},       /* warp */
        {12, 65536},          /* registers of a block */
        {13, 1500000},        /* kHz */
        {16, 4},              /* multiprocessors */
        {18, 0},              /* integrated */
        {31, 1},              /* concurrent kernels */
        {33, 1},              /* PCI bus */
        {34, 0},              /* PCI device */
        {36, 2000000},        /* memory, kHz */
        {37, 1024},           /* memory bus, bits */
        {38, 32 << 20},       /* L2 */
        {39, 2048},           /* threads of a multiprocessor */
        {40, 2},              /* copy engines */
        {41, 1},              /* unified addressing */
        {50, 0},              /* PCI domain */
        {81, 100 * 1024},     /* shared memory of a multiprocessor */
        {82, 65536},          /* registers of a multiprocessor */
        {97, 99 * 1024},      /* shared memory of a block, on request */
    };
    CUresult r = driver_begin("cuDeviceGetAttribute", CUDA_ERROR_INVALID_DEVICE);
    (void)device;
    if (!r) {
        r = CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
            if (table[i][0] == attribute) {
                *value = table[i][1];
                r = CUDA_SUCCESS;
            }
        if (attribute == 75 || attribute == 76) {
            *value = attribute == 75 ? driver_capability() / 10 : driver_capability() % 10;
            r = CUDA_SUCCESS;
        }
    }
    return driver_end(r);
}

SIM_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    CUresult r = driver_begin("cuDeviceTotalMem", CUDA_ERROR_INVALID_DEVICE);
    size_t unused;
    (void)device;
    if (!r)
        memory_info(&unused, bytes);
    return driver_end(r);
}

SIM_API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    CUresult r = driver_begin("cuDevicePrimaryCtxRetain", CUDA_ERROR_OUT_OF_MEMORY);
    (void)device;
    if (!r) {
        primary.users++;
        *context = &primary;
    }
    return driver_end(r);
}

/* With its last user a context ends, and its memory with it. Unlike a real device, one that was
 * lost works again then. */
SIM_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    CUresult r = driver_begin("cuDevicePrimaryCtxRelease", CUDA_ERROR_INVALID_CONTEXT);
    (void)device;
    if (!r && !primary.users)
        r = CUDA_ERROR_INVALID_CONTEXT;
    if (!r && !--primary.users) {
        stream_drop_all();
        memory_free_all();
        lost = CUDA_SUCCESS;
    }
    return driver_end(r);
}

SIM_API CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    return cuDevicePrimaryCtxRelease_v2(device);
}

SIM_API CUresult cuCtxSetCurrent(CUcontext context)
{
    CUresult r = driver_begin("cuCtxSetCurrent", CUDA_ERROR_INVALID_CONTEXT);
    if (!r && context && (context != &primary || !primary.users))
        r = CUDA_ERROR_INVALID_CONTEXT;
    if (!r)
        current = context;
    return driver_end(r);
}

SIM_API CUresult cuCtxGetCurrent(CUcontext *context)
{
    CUresult r = driver_begin("cuCtxGetCurrent", CUDA_ERROR_INVALID_CONTEXT);
    if (!r)
        *context = current;
    return driver_end(r);
}

/* For tests: the last sentence that the driver said. */
SIM_API const char *npc_sim_said(void);
SIM_API const char *npc_sim_said(void)
{
    return sim_env_said();
}
