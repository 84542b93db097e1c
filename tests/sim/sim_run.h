/* Compiles CUDA text and launches its kernels on the simulator, for tests of generated code:
 *
 *     SimRun *s = sim_open();
 *     SimKernels k = sim_compile(s, text);          (text: cuda_prelude and what cuda_write wrote)
 *     float *x = sim_upload(s, data, bytes), *y = sim_alloc(s, bytes);
 *     sim_launch(s, k, "name", blocks, threads, (void *[]){x, y}, 2);
 *     sim_download(s, result, y, bytes);
 *     sim_free_all(s);
 *
 * Every mistake prints a sentence and ends the program, except in the functions called try. Fresh
 * memory is 0xFF. The libraries are opened from NPC_CUDA_LIBRARIES, or SIM_LIBRARIES, which the
 * build defines for its tests. */
#ifndef NPC_SIM_RUN_H
#define NPC_SIM_RUN_H

#include "tests/sim/cuda_api.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FUNCTION(member, symbol) of libcuda.so.1; types are those of cuda_api.h */
#define SIM_RUN_FUNCTIONS                                                                          \
    FUNCTION(init, cuInit)                                                                         \
    FUNCTION(retain, cuDevicePrimaryCtxRetain)                                                     \
    FUNCTION(release, cuDevicePrimaryCtxRelease_v2)                                                \
    FUNCTION(set_current, cuCtxSetCurrent)                                                         \
    FUNCTION(synchronize, cuCtxSynchronize)                                                        \
    FUNCTION(alloc, cuMemAlloc_v2)                                                                 \
    FUNCTION(free, cuMemFree_v2)                                                                   \
    FUNCTION(to_device, cuMemcpyHtoD_v2)                                                           \
    FUNCTION(to_host, cuMemcpyDtoH_v2)                                                             \
    FUNCTION(load, cuModuleLoadData)                                                               \
    FUNCTION(unload, cuModuleUnload)                                                               \
    FUNCTION(get_function, cuModuleGetFunction)                                                    \
    FUNCTION(launch, cuLaunchKernel)

enum { SIM_RUN_MAX = 256 };

typedef struct SimRun {
    void *cuda, *nvrtc;
#define FUNCTION(member, symbol) __typeof__(symbol) *member;
    SIM_RUN_FUNCTIONS
#undef FUNCTION
    const char *(*said)(void); /* the driver's last sentence */
    int (*create)(void **program, const char *text, const char *name, int n, const char *const *,
                  const char *const *);
    int (*compile)(void *program, int n, const char *const *options);
    int (*log_size)(void *program, size_t *bytes);
    int (*log)(void *program, char *log);
    int (*cubin_size)(void *program, size_t *bytes);
    int (*cubin)(void *program, char *to);
    int (*destroy)(void **program);
    CUdeviceptr allocated[SIM_RUN_MAX];
    int n_allocated;
} SimRun;

typedef CUmodule SimKernels;

__attribute__((noreturn, format(printf, 1, 2))) static inline void sim_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline void *sim_library(const char *name)
{
    const char *folder = getenv("NPC_CUDA_LIBRARIES");
    char path[4096];
#ifdef SIM_LIBRARIES
    if (!folder)
        folder = SIM_LIBRARIES;
#endif
    snprintf(path, sizeof path, "%s%s%s", folder ? folder : "", folder ? "/" : "", name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        sim_die("%s", dlerror());
    return library;
}

static inline void *sim_symbol(void *library, const char *name)
{
    void *at = dlsym(library, name);
    if (!at)
        sim_die("%s", dlerror());
    return at;
}

static inline void sim_check(CUresult r, const char *what)
{
    if (r)
        sim_die("%s: CUDA error %d", what, (int)r);
}

static inline SimRun *sim_open(void)
{
    SimRun *s = calloc(1, sizeof *s);
    CUcontext context;
    s->cuda = sim_library("libcuda.so.1");
    s->nvrtc = sim_library("libnvrtc.so.13");
#define FUNCTION(member, symbol) *(void **)&s->member = sim_symbol(s->cuda, #symbol);
    SIM_RUN_FUNCTIONS
#undef FUNCTION
    *(void **)&s->said = sim_symbol(s->cuda, "npc_sim_said");
    *(void **)&s->create = sim_symbol(s->nvrtc, "nvrtcCreateProgram");
    *(void **)&s->compile = sim_symbol(s->nvrtc, "nvrtcCompileProgram");
    *(void **)&s->log_size = sim_symbol(s->nvrtc, "nvrtcGetProgramLogSize");
    *(void **)&s->log = sim_symbol(s->nvrtc, "nvrtcGetProgramLog");
    *(void **)&s->cubin_size = sim_symbol(s->nvrtc, "nvrtcGetCUBINSize");
    *(void **)&s->cubin = sim_symbol(s->nvrtc, "nvrtcGetCUBIN");
    *(void **)&s->destroy = sim_symbol(s->nvrtc, "nvrtcDestroyProgram");
    sim_check(s->init(0), "cuInit");
    sim_check(s->retain(&context, 0), "cuDevicePrimaryCtxRetain");
    sim_check(s->set_current(context), "cuCtxSetCurrent");
    return s;
}

/* NULL when the text is wrong; *log, from malloc, is what the compiler said. */
static inline SimKernels sim_try_compile(SimRun *s, const char *text, char **log)
{
    static const char *const options[] = {"--gpu-architecture=sm_90"};
    void *program;
    size_t bytes = 0;
    CUmodule module = NULL;
    if (s->create(&program, text, "kernels.cu", 0, NULL, NULL))
        sim_die("nvrtcCreateProgram failed");
    int r = s->compile(program, 1, options);
    s->log_size(program, &bytes);
    *log = calloc(1, bytes + 1);
    s->log(program, *log);
    if (!r) {
        s->cubin_size(program, &bytes);
        char *cubin = malloc(bytes);
        s->cubin(program, cubin);
        sim_check(s->load(&module, cubin), "cuModuleLoadData");
        free(cubin);
    }
    s->destroy(&program);
    return module;
}

/* Prints the lines of the text that the log names as "kernels.cu:N:". */
static inline void sim_print_lines(const char *text, const char *log)
{
    for (long last = 0; (log = strstr(log, "kernels.cu:")); log++) {
        long n = strtol(log + 11, NULL, 10);
        const char *line = text;
        for (long i = 1; i < n && line; i++)
            line = (line = strchr(line, '\n')) ? line + 1 : NULL;
        if (line && n > 0 && n != last)
            fprintf(stderr, "%5ld | %.*s\n", n, (int)strcspn(line, "\n"), line);
        last = n;
    }
}

/* Of the kernels of one text; sim_unload when they are no longer needed. */
static inline SimKernels sim_compile(SimRun *s, const char *text)
{
    char *log;
    SimKernels k = sim_try_compile(s, text, &log);
    if (!k) {
        sim_print_lines(text, log);
        sim_die("%s", log);
    }
    free(log);
    return k;
}

static inline void sim_unload(SimRun *s, SimKernels k)
{
    sim_check(s->unload(k), "cuModuleUnload");
}

static inline void *sim_alloc(SimRun *s, size_t bytes)
{
    CUdeviceptr at;
    if (s->n_allocated == SIM_RUN_MAX)
        sim_die("sim_run.h: more than %d allocations", SIM_RUN_MAX);
    sim_check(s->alloc(&at, bytes ? bytes : 1), "cuMemAlloc");
    s->allocated[s->n_allocated++] = at;
    return (void *)(size_t)at;
}

static inline void *sim_upload(SimRun *s, const void *from, size_t bytes)
{
    void *at = sim_alloc(s, bytes);
    sim_check(s->to_device((size_t)at, from, bytes), "cuMemcpyHtoD");
    return at;
}

static inline void sim_download(SimRun *s, void *to, const void *from, size_t bytes)
{
    sim_check(s->to_host(to, (size_t)from, bytes), "cuMemcpyDtoH");
}

/* Everything from sim_alloc and sim_upload. */
static inline void sim_free_all(SimRun *s)
{
    while (s->n_allocated)
        sim_check(s->free(s->allocated[--s->n_allocated]), "cuMemFree");
}

/* Launches and waits. `args`: the kernel's `n` pointers. */
static inline CUresult sim_try_launch(SimRun *s, SimKernels k, const char *name, long long blocks,
                                      int threads, void *const *args, int n)
{
    CUfunction f;
    size_t bytes = (size_t)n * sizeof *args;
    /* CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE, _END: so their number is checked */
    void *extra[] = {(void *)1, (void *)args, (void *)2, &bytes, NULL};
    CUresult r = s->get_function(&f, k, name);
    if (!r)
        r = s->launch(f, (unsigned)blocks, 1, 1, (unsigned)threads, 1, 1, 0, NULL, NULL, extra);
    return r ? r : s->synchronize();
}

static inline void sim_launch(SimRun *s, SimKernels k, const char *name, long long blocks,
                              int threads, void *const *args, int n)
{
    sim_check(sim_try_launch(s, k, name, blocks, threads, args, n), name);
}

#endif
