/* Inside the stand-in for libcuda.so.1: what its files know of each other.
 *
 * Every function of the interface is
 *     CUresult r = driver_begin("cuName", what it returns when told to fail);
 *     if (!r) r = ..;
 *     return driver_end(r);
 * and in between holds the one lock. */
#ifndef NPC_SIM_DRIVER_H
#define NPC_SIM_DRIVER_H

#include "tests/sim/cuda_api.h"
#include "tests/sim/sim_abi.h"
#include "tests/sim/sim_env.h"

#include <stdbool.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#ifndef SIM_ASAN
#define SIM_ASAN 0
#endif

#define SIM_API __attribute__((visibility("default")))

enum {
    SIM_MAX_PARAMS = 512 /* 4 KB */,
    SIM_MAX_THREADS = 1024,
    SIM_MAX_SHARED = 48 * 1024,
    SIM_WARP = 32
};

/* ---- device.c ---- */
CUresult driver_begin(const char *call, CUresult failure);
CUresult driver_end(CUresult r);
/* From now on every call returns this; gives it back. */
CUresult driver_lost(CUresult r);
int driver_capability(void); /* 90 */

/* ---- memory.c ---- */
/* Is [at, at + bytes) inside of one allocation? Says what is wrong with it otherwise. */
bool memory_check(CUdeviceptr at, size_t bytes, const char *what);
/* The allocation around an address, guards included; `marks` belong to check.c. */
typedef struct MemoryView {
    uintptr_t at;
    size_t bytes, readable; /* readable: behind it */
    void **marks;
} MemoryView;
bool memory_view(uintptr_t at, MemoryView *view);
/* Has something been written behind or before an allocation? Says so of kernel `name`. */
bool memory_guards_intact(const char *name);
/* Where an address lies in relation to allocations, a phrase. */
const char *memory_describe(uintptr_t at, char *text, size_t len);
CUresult memory_alloc(CUdeviceptr *at, size_t bytes);
CUresult memory_free(CUdeviceptr at);
/* Of a context that ends. */
void memory_free_all(void);
/* Is it from cuMemHostAlloc? */
bool memory_is_pinned(const void *at);
void memory_info(size_t *free, size_t *total);

/* ---- module.c ---- */
struct CUfunc_st {
    CUmodule module;
    const SimKernel *kernel;
};
SimUnit *module_unit(CUmodule m);
/* Line of the CUDA text that an instruction comes from; 0 when not known. */
int module_line(CUmodule m, const void *instruction);
/* That line, without its indentation; "" when not known. */
const char *module_text(CUmodule m, int line, int *len);

/* ---- work.c: what streams do, one after the other ---- */
typedef struct SimLaunch {
    CUfunction function;
    SimDim grid, block;
    unsigned char args[SIM_MAX_PARAMS * 8]; /* 8 bytes each */
} SimLaunch;

typedef enum SimOpKind {
    SIM_LAUNCH,
    SIM_COPY,
    SIM_FILL,
    SIM_HOST,
    SIM_GRAPH,
    SIM_RECORD, /* of an event */
    SIM_WAIT,   /* for an event */
} SimOpKind;

typedef struct SimOp {
    SimOpKind kind;
    union {
        SimLaunch *launch; /* the op's own */
        struct {
            void *to;
            const void *from;
            size_t bytes;
            bool to_device, from_device;
            void *own; /* from malloc: what it copies from, or NULL */
        } copy;
        struct {
            CUdeviceptr at;
            unsigned value;
            size_t n;
            int width; /* 1 or 4 bytes */
        } fill;
        struct {
            CUresult (*run)(void *data);
            void *data; /* the op's own, from malloc; copied byte by byte */
            size_t bytes;
        } host;
        CUgraphExec graph;
        struct {
            CUevent event;
            long long number; /* of the recording */
        } event;
    };
} SimOp;

typedef struct SimWork {
    SimOp *op;
    size_t n, room;
} SimWork;

bool work_add(SimWork *w, SimOp op); /* false: no memory, the op is freed */
bool work_copy(SimWork *to, const SimWork *from);
void work_clear(SimWork *w);
void op_free(SimOp *op);
/* Anything but events. */
CUresult op_run(const SimOp *op);
/* Are its addresses in allocations? Says so. */
bool op_check(const SimOp *op);

/* ---- stream.c ---- */
/* Takes the op, also when it fails. */
CUresult stream_submit(CUstream stream, SimOp op);
CUresult stream_check_not_capturing(const char *call);
/* Runs what waits in a stream, or in all; or forgets it. */
CUresult stream_finish(CUstream stream);
CUresult stream_finish_all(void);
void stream_drop_all(void);
/* CUDA_SUCCESS if r is and there is such a stream. */
CUresult stream_use(CUresult r, CUstream stream);
bool stream_is_captured(CUstream stream);
const SimWork *graph_work(CUgraphExec exec);
/* For the stand-in of cuBLAS: runs `run` on a copy of `data` in the order of the stream. */
SIM_API CUresult npc_sim_submit(CUstream stream, CUresult (*run)(void *data), const void *data,
                                size_t bytes);
SIM_API bool npc_sim_check(CUdeviceptr at, size_t bytes, const char *what);
SIM_API void npc_sim_written(CUdeviceptr at, size_t bytes);

/* ---- launch.c ---- */
/* Runs all blocks of a launch; says what went wrong. */
CUresult launch_run(const SimLaunch *l);
/* The order of blocks and threads starts again. */
void launch_seed(void);

/* ---- check.c: every access of kernels translated under NPC_SIM_CHECK ---- */
typedef struct CheckThread {
    uint32_t launch, block, epoch; /* epoch: barriers that the block has passed */
    int thread;
} CheckThread;
typedef struct CheckShared {
    const unsigned char *at, *end;
} CheckShared;
/* What is wrong with an access is said, and returned. shared[2]: of the kernel
 * and of the functions of its unit. */
CUresult check_access(const CheckThread *me, const CheckShared *shared, CUmodule module,
                      uintptr_t at, unsigned bytes, bool writes, const void *instruction);
/* The host has written. */
void check_written(CUdeviceptr at, size_t bytes);

/* ---- warp.c ---- */
/* d, a, b of the 32 lanes. */
void warp_mma(SimMma kind, float *const *d, const unsigned *const *a, const unsigned *const *b);

#endif
