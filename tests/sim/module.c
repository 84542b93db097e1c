/* Modules: the shared library of an image, opened from memory. */
#include "tests/sim/driver.h"
#include "tests/sim/image.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct CUmod_st {
    int file; /* its memory, open while it is loaded, for addr2line */
    void *library;
    SimUnit *unit;
    char *text;
    struct CUfunc_st *function; /* per kernel of the unit */
};

SimUnit *module_unit(CUmodule m)
{
    return m->unit;
}

int module_line(CUmodule m, const void *instruction)
{
    Dl_info info;
    char command[128], text[512];
    int line = 0;
    if (!dladdr(instruction, &info) || !dladdr((void *)m->unit, &(Dl_info){0}))
        return 0;
    snprintf(command, sizeof command, "addr2line -e /proc/%ld/fd/%d 0x%zx 2>/dev/null",
             (long)getpid(), m->file,
             (size_t)((const char *)instruction - (const char *)info.dli_fbase));
    FILE *f = popen(command, "r");
    if (!f)
        return 0;
    if (fgets(text, sizeof text, f) && strrchr(text, ':'))
        line = atoi(strrchr(text, ':') + 1);
    pclose(f);
    return line;
}

const char *module_text(CUmodule m, int line, int *len)
{
    const char *found = "";
    int n = 1;
    *len = 0;
    for (const char *at = m->text; *at; n++) {
        int here = (int)strcspn(at, "\n");
        if (!strncmp(at, "#line ", 6)) {
            n = atoi(at + 6) - 1;
        } else if (n == line) { /* the last one: directives count again from 1 */
            found = at + strspn(at, " \t");
            *len = here - (int)(found - at);
        }
        at += here + (at[here] == '\n');
    }
    return found;
}

static bool write_all(int file, const unsigned char *at, size_t n)
{
    while (n) {
        ssize_t done = write(file, at, n);
        if (done <= 0)
            return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* Shared memory may be written even where a compiler (tcc) put it beside code. */
static bool open_section(unsigned char *at, const unsigned char *end)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)at & ~(page - 1);
    return at == end ||
           !mprotect((void *)first, (uintptr_t)end - first, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static bool open_shared(const SimUnit *u)
{
    bool ok = open_section(u->shared, u->shared_end);
    for (int i = 0; i < u->n_kernels; i++)
        ok &= open_section(u->kernel[i].shared, u->kernel[i].shared_end);
    return ok;
}

/* Opens the library; NULL and a sentence when that fails. */
static SimUnit *open_unit(CUmodule m, const unsigned char *bytes, size_t n)
{
    char path[64];
    m->file = memfd_create("npc-kernels", MFD_CLOEXEC);
    if (m->file < 0 || !write_all(m->file, bytes, n)) {
        sim_env_say("cuModuleLoadData: no memory for the module");
        return NULL;
    }
    /* not /proc/self: symbolizers are other processes */
    snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)getpid(), m->file);
    m->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m->library) {
        sim_env_say("cuModuleLoadData: %s", dlerror());
        return NULL;
    }
    SimUnitFunction *unit = (SimUnitFunction *)dlsym(m->library, SIM_UNIT_SYMBOL);
    if (!unit || unit()->abi != SIM_ABI) {
        sim_env_say("cuModuleLoadData: the image is of another version of the simulator");
        return NULL;
    }
    if (!open_shared(unit())) {
        sim_env_say("cuModuleLoadData: shared memory can not be written");
        return NULL;
    }
    return unit();
}

static void module_free(CUmodule m)
{
    if (m->library)
        dlclose(m->library);
    if (m->file >= 0)
        close(m->file);
    free(m->function);
    free(m->text);
    free(m);
}

static CUresult load(CUmodule *module, const void *image)
{
    const SimImage *head = image;
    const unsigned char *bytes = (const unsigned char *)(head + 1);
    if (memcmp(head->magic, SIM_IMAGE_MAGIC, sizeof head->magic) ||
        sim_image_check(bytes, head->bytes + head->text_bytes) != head->check)
        return CUDA_ERROR_INVALID_IMAGE;
    /* of the same major version, and not newer */
    if (head->capability / 10 != (unsigned)driver_capability() / 10 ||
        head->capability > (unsigned)driver_capability())
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    CUmodule m = calloc(1, sizeof *m);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    m->file = -1;
    m->unit = open_unit(m, bytes, head->bytes);
    m->text = malloc(head->text_bytes);
    if (m->text)
        memcpy(m->text, bytes + head->bytes, head->text_bytes);
    if (m->text && m->unit)
        m->function = calloc((size_t)m->unit->n_kernels + 1, sizeof *m->function);
    if (!m->function) {
        module_free(m);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    for (int i = 0; i < m->unit->n_kernels; i++)
        m->function[i] = (struct CUfunc_st){m, &m->unit->kernel[i]};
    *module = m;
    return CUDA_SUCCESS;
}

SIM_API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned n_options,
                                    int *options, void **values)
{
    CUresult r = driver_begin("cuModuleLoadData", CUDA_ERROR_OUT_OF_MEMORY);
    (void)n_options, (void)options, (void)values;
    if (!r)
        r = load(module, image);
    return driver_end(r);
}

SIM_API CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

SIM_API CUresult cuModuleUnload(CUmodule module)
{
    CUresult r = driver_begin("cuModuleUnload", CUDA_ERROR_INVALID_HANDLE);
    if (!r)
        r = stream_finish_all();
    module_free(module); /* also of a lost device */
    return driver_end(r);
}

SIM_API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    CUresult r = driver_begin("cuModuleGetFunction", CUDA_ERROR_NOT_FOUND);
    if (!r) {
        int i = 0;
        while (i < module->unit->n_kernels && strcmp(module->unit->kernel[i].name, name))
            i++;
        if (i < module->unit->n_kernels)
            *function = &module->function[i];
        else
            r = CUDA_ERROR_NOT_FOUND;
    }
    return driver_end(r);
}

static size_t shared_bytes(CUfunction f)
{
    const SimUnit *u = f->module->unit;
    return (size_t)(f->kernel->shared_end - f->kernel->shared) +
           (size_t)(u->shared_end - u->shared);
}

SIM_API CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function)
{
    CUresult r = driver_begin("cuFuncGetAttribute", CUDA_ERROR_INVALID_HANDLE);
    if (!r)
        switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
            *value = function->kernel->max_threads;
            break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
            *value = (int)shared_bytes(function);
            break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS:
            *value = 32;
            break;
        case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
            *value = driver_capability();
            break;
        case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
            *value = 0;
            break;
        default:
            r = CUDA_ERROR_INVALID_VALUE;
        }
    return driver_end(r);
}

SIM_API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value)
{
    CUresult r = driver_begin("cuFuncSetAttribute", CUDA_ERROR_INVALID_VALUE);
    (void)function, (void)value;
    if (!r && attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES &&
        attribute != CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
        r = CUDA_ERROR_INVALID_VALUE;
    return driver_end(r);
}

SIM_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n_blocks, CUfunction function,
                                                             int threads,
                                                             size_t dynamic_shared_bytes)
{
    CUresult r =
        driver_begin("cuOccupancyMaxActiveBlocksPerMultiprocessor", CUDA_ERROR_INVALID_VALUE);
    if (!r && (threads < 1 || threads > function->kernel->max_threads))
        r = CUDA_ERROR_INVALID_VALUE;
    if (!r) {
        size_t shared = shared_bytes(function) + dynamic_shared_bytes;
        int n = 2048 / threads, fit = shared ? (int)(100 * 1024 / shared) : n;
        *n_blocks = n < fit ? n : fit;
    }
    return driver_end(r);
}

/* ---- launches ---- */

static const char *launch_problem(CUfunction f, const SimLaunch *l, unsigned shared, void **params)
{
    uint64_t threads = (uint64_t)l->block.x * l->block.y * l->block.z;
    if (!l->grid.x || !l->grid.y || !l->grid.z || !threads)
        return "an empty grid";
    if (l->grid.x > 2147483647u || l->grid.y > 65535 || l->grid.z > 65535)
        return "a grid that is too large";
    if (threads > SIM_MAX_THREADS)
        return "more than 1024 threads in a block";
    if (threads > (unsigned)f->kernel->max_threads)
        return "more threads in a block than its launch bound";
    if (shared && shared + shared_bytes(f) > SIM_MAX_SHARED) /* otherwise the compiler knew */
        return "more than 48 KiB of shared memory";
    if (f->kernel->n_params > SIM_MAX_PARAMS)
        return "more than 512 parameters";
    for (int i = 0; i < f->kernel->n_params; i++)
        if (!params || !params[i])
            return "fewer arguments than parameters";
    return NULL;
}

/* Arguments in one piece of memory, as CU_LAUNCH_PARAM_BUFFER_POINTER (1) and _SIZE (2) give
 * them: every one at its own alignment. */
static const char *params_of_buffer(const SimKernel *k, void **extra, void **params)
{
    unsigned char *at = NULL;
    size_t bytes = 0, used = 0;
    for (; extra && extra[0]; extra += 2) {
        if (extra[0] == (void *)1)
            at = extra[1];
        else if (extra[0] == (void *)2)
            bytes = *(const size_t *)extra[1];
    }
    for (int i = 0; at && i < k->n_params; i++) {
        used = (used + k->param_bytes[i] - 1) / k->param_bytes[i] * k->param_bytes[i];
        params[i] = at + used;
        used += k->param_bytes[i];
    }
    return used != bytes ? "arguments of another size than its parameters" : NULL;
}

SIM_API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                unsigned grid_z, unsigned block_x, unsigned block_y,
                                unsigned block_z, unsigned shared, CUstream stream, void **params,
                                void **extra)
{
    CUresult r = driver_begin("cuLaunchKernel", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    void *in_buffer[SIM_MAX_PARAMS];
    if (r)
        return driver_end(r);
    SimLaunch *l = calloc(1, sizeof *l);
    if (!l)
        return driver_end(CUDA_ERROR_OUT_OF_MEMORY);
    *l = (SimLaunch){function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, {0}};
    const SimKernel *k = function->kernel;
    const char *problem = NULL;
    if (extra && k->n_params <= SIM_MAX_PARAMS) {
        problem = params_of_buffer(k, extra, in_buffer);
        params = in_buffer;
    }
    if (!problem)
        problem = launch_problem(function, l, shared, params);
    if (problem) {
        sim_env_say("launch of %s: %s", k->name, problem);
        free(l);
        return driver_end(CUDA_ERROR_INVALID_VALUE);
    }
    for (int i = 0; i < k->n_params; i++)
        memcpy(l->args + 8 * i, params[i], k->param_bytes[i]);
    return driver_end(stream_submit(stream, (SimOp){SIM_LAUNCH, .launch = l}));
}
