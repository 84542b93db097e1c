/* A CUDA device: one allocation for everything a program touches, pinned memory for the host's side
 * of tensors and inputs, one stream on which everything happens in order, and one that brings
 * inputs ahead (device_cuda_inputs.c). */
#include "runtime/device_cuda.h"

#include <stdlib.h>

#include "runtime/package.h"

enum { ALIGNMENT = 256 };

static KernelCost cost(const DeviceOptions *options, const TileProgram *tile)
{
    (void)options;
    CudaSchedule s = cuda_schedule(tile);
    return (KernelCost){s.workspace_bytes, s.again_bytes, s.library_bytes};
}

/* ---- opening ---- */

static Status identify(const CudaDriver *d, int ordinal, CudaDevice *device, CudaIdentity *out,
                       Err *err)
{
    int n = 0, major = 0, minor = 0;
    NPC_TRY(cuda_check(d, d->device_count(&n), "count the devices", err));
    if (ordinal >= n)
        return err_set(err, NPC_ERR_DEVICE, "CUDA: there is no device cuda:%d, the driver finds %d",
                       ordinal, n);
    NPC_TRY(cuda_check(d, d->device_get(device, ordinal), "find the device", err));
    NPC_TRY(cuda_check(d, d->device_name(out->name, sizeof out->name, *device),
                       "ask the device its name", err));
    NPC_TRY(cuda_check(d, d->device_attribute(&major, CUDA_ATTRIBUTE_CAPABILITY_MAJOR, *device),
                       "ask the device its capability", err));
    NPC_TRY(cuda_check(d, d->device_attribute(&minor, CUDA_ATTRIBUTE_CAPABILITY_MINOR, *device),
                       "ask the device its capability", err));
    out->arch = cuda_arch_of(10 * major + minor);
    return out->arch ? NPC_OK
                     : err_set(err, NPC_ERR_DEVICE,
                               "CUDA: cuda:%d (%s) is of compute capability %d.%d: 7.5, 8.x, 9.0, "
                               "10.x or 12.x is needed",
                               ordinal, out->name, major, minor);
}

Status cuda_identify(int ordinal, bool needs_compiler, CudaIdentity *out, Err *err)
{
    const CudaDriver *d;
    const CudaNvrtc *nvrtc;
    CudaDevice device;
    NPC_TRY(cuda_driver_open(&d, err));
    if (needs_compiler)
        NPC_TRY(cuda_nvrtc_open(&nvrtc, err));
    return identify(d, ordinal, &device, out, err);
}

Status cuda_state_check(CudaState *c, CudaResult r, const char *what, Err *err)
{
    if (!r)
        return NPC_OK;
    if (!c->is_lost)
        cuda_check(c->d, r, what, &c->lost);
    c->is_lost = true;
    return err_set(err, c->lost.status, "%s", c->lost.text);
}

Status cuda_state_enter(CudaState *c, Err *err)
{
    if (c->is_lost)
        return err_set(err, c->lost.status, "%s", c->lost.text);
    return cuda_state_check(c, c->d->context_use(c->context), "use the device", err);
}

static Status start(CudaState *c, Err *err)
{
    const CudaDriver *d;
    NPC_TRY(cuda_driver_open(&d, err));
    c->d = d;
    NPC_TRY(identify(d, c->base.options.ordinal, &c->device, &c->identity, err));
    CudaResult r = d->context_retain(&c->context, c->device);
    if (r)
        c->context = NULL;
    NPC_TRY(cuda_state_check(c, r, "open the device", err));
    NPC_TRY(cuda_state_enter(c, err));
    NPC_TRY(cuda_state_check(c, d->stream_create(&c->stream, CUDA_STREAM_NON_BLOCKING),
                             "make a stream", err));
    NPC_TRY(cuda_state_check(c, d->stream_create(&c->sender, CUDA_STREAM_NON_BLOCKING),
                             "make a stream", err));
    NPC_TRY(cuda_state_check(c, d->event_create(&c->moved, 0), "make an event", err));
    return cuda_state_check(c, d->event_create(&c->sent, 0), "make an event", err);
}

static Status open_cuda(Device **out, const DeviceOptions *options, Err *err)
{
    CudaState *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory");
    c->base = (Device){.kind = &device_cuda, .options = *options, .scratch_bytes = 64};
    c->ahead_of = -1;
    *out = &c->base; /* closed also when this fails */
    return start(c, err);
}

static void free_region(CudaState *c, Region *r)
{
    if (r->host)
        c->d->host_free(r->host);
    *r = (Region){0};
}

/* What fails here is gone with the process. */
static void close_cuda(Device *device, DeviceImage *image)
{
    CudaState *c = (CudaState *)device;
    const CudaDriver *d = c->d;
    if (c->context) {
        d->context_use(c->context);
        if (c->stream)
            d->stream_wait(c->stream);
        if (c->sender)
            d->stream_wait(c->sender);
        for (int i = 0; i < image->n; i++) {
            DeviceProgram *p = &image->program[i];
            if (p->own)
                cuda_program_close(c, p->own, (int)p->plan->launches.len);
            p->own = NULL;
            free_region(c, &p->inputs);
            p->prepared = (Region){0};
        }
        cuda_close_library(c);
        free_region(c, &image->persistent);
        image->arena = (Region){0};
        for (int i = 0; i < c->n_modules; i++)
            d->module_unload(c->module[i]);
        if (c->shown)
            d->host_free(c->shown);
        if (c->memory)
            d->memory_free(c->memory);
        CudaEvent event[] = {c->moved, c->sent};
        for (size_t i = 0; i < sizeof event / sizeof *event; i++)
            if (event[i])
                d->event_destroy(event[i]);
        if (c->sender)
            d->stream_destroy(c->sender);
        if (c->stream)
            d->stream_destroy(c->stream);
        d->context_release(c->device);
    }
    cuda_set_free(c->set);
    free(c);
}

/* ---- kernels ---- */

static Status load_modules(CudaState *c, DeviceImage *image, Err *err)
{
    int n = cuda_set_n_cubins(c->set);
    c->module = ARENA_ARRAY(image->memory, CudaModule, (size_t)n + 1);
    for (int i = 0; i < n; i++) {
        CudaResult r = c->d->module_load(&c->module[i], cuda_set_cubin(c->set, i)->data);
        char what[128];
        snprintf(what, sizeof what, "load code for %s with the driver for CUDA %d.%d",
                 c->identity.arch->name, c->d->version / 1000, c->d->version % 1000 / 10);
        NPC_TRY(cuda_state_check(c, r, what, err));
        c->n_modules++;
    }
    return NPC_OK;
}

/* What is not in the package is compiled, and the note says so. */
static void note_package(CudaState *c, const char *path, bool has_code)
{
    int n = cuda_set_n_distinct(c->set), ready = cuda_set_n_ready(c->set);
    char *note = c->base.note;
    if (!has_code)
        snprintf(note, DEVICE_NOTE, "%.300s has no code for %s: all %d kernels are compiled", path,
                 c->identity.arch->name, n);
    else if (ready < n)
        snprintf(note, DEVICE_NOTE,
                 "%.300s has %d of %d kernels, the others are compiled: it was made for other "
                 "programs, sizes or options, or by another version of npc",
                 path, ready, n);
    else
        snprintf(note, DEVICE_NOTE, "%.300s has all %d kernels: none is compiled", path, n);
}

static Status compile_with_package(CudaState *c, CudaCompileOptions *o, Err *err)
{
    const char *path = c->base.options.package;
    char name[64];
    Package package;
    PackageEntry code;
    if (!path)
        return cuda_set_compile(c->set, o, err);
    NPC_TRY(package_open(&package, path, err));
    snprintf(name, sizeof name, "code/cuda:%s", c->identity.arch->name);
    bool has_code = package_find(&package, name, &code);
    if (has_code) {
        o->ready = code.data;
        o->ready_bytes = code.bytes;
    }
    Status s = cuda_set_compile(c->set, o, err);
    package_close(&package);
    if (s == NPC_OK)
        note_package(c, path, has_code);
    return s;
}

static Status compile(Device *device, DeviceImage *image, Err *err)
{
    CudaState *c = (CudaState *)device;
    const Plan **plan = ARENA_ARRAY(image->memory, const Plan *, (size_t)image->n + 1);
    bool fills = false;
    for (int i = 0; i < image->n; i++) {
        plan[i] = image->program[i].plan;
        fills |= image->program[i].planes.samples > 0;
    }
    NPC_TRY(compile_cuda_set(&c->set, plan, image->n, fills, &c->units, err));
    CudaCompileOptions o = {.arch = c->identity.arch,
                            .cache_folder = device->options.cache_folder,
                            .n_threads = device->options.threads ? device->options.threads : 4};
    NPC_TRY(compile_with_package(c, &o, err));
    int *added[] = {&c->units.random, &c->units.planes};
    for (size_t i = 0; i < sizeof added / sizeof *added; i++)
        if (*added[i] >= 0)
            *added[i] = cuda_set_added_unit(c->set, *added[i]);
    device->n_kernels = cuda_set_n_distinct(c->set);
    device->from_cache = cuda_set_from_cache(c->set);
    NPC_TRY(cuda_state_enter(c, err));
    return load_modules(c, image, err);
}

/* ---- memory ---- */

static void give(Region *r, size_t *total)
{
    r->device = *total; /* becomes an address when the allocation has one */
    *total += (r->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static Status no_memory(CudaState *c, const DeviceImage *image, size_t total, Err *err)
{
    const double gib = (double)(1 << 30);
    size_t prepared = 0, inputs = c->ahead.bytes, free_bytes = 0, all = 0;
    for (int i = 0; i < image->n; i++) {
        prepared += image->program[i].prepared.bytes;
        inputs += image->program[i].inputs.bytes;
    }
    c->d->memory_info(&free_bytes, &all);
    return err_set(err, NPC_ERR_MEMORY,
                   "CUDA: not enough memory on cuda:%d (%s): %.2f GiB are needed (the model's "
                   "parameters and optimizer state %.2f, activations of a batch %.2f, prepared "
                   "weights %.2f, inputs of a batch %.2f), %.2f of %.2f GiB are free: a smaller "
                   "batch (--batch, recipe.accumulate) needs less",
                   c->base.options.ordinal, c->identity.name, (double)total / gib,
                   (double)image->persistent.bytes / gib, (double)image->arena.bytes / gib,
                   (double)prepared / gib, (double)inputs / gib, (double)free_bytes / gib,
                   (double)all / gib);
}

static Status pin(CudaState *c, char **at, size_t bytes, const char *what, Err *err)
{
    void *p = NULL;
    CudaResult r = c->d->host_alloc(&p, bytes ? bytes : 1, 0);
    if (r == CUDA_OUT_OF_MEMORY)
        return err_set(err, NPC_ERR_MEMORY,
                       "CUDA: not enough memory of the host to pin: %s needs %.2f GiB", what,
                       (double)bytes / (1 << 30));
    NPC_TRY(cuda_state_check(c, r, "allocate pinned memory", err));
    memset(p, 0, bytes);
    *at = p;
    return NPC_OK;
}

/* The largest result, so that reading one allocates nothing. */
static size_t largest_result(const DeviceImage *image)
{
    size_t most = 64;
    for (int i = 0; i < image->n; i++) {
        const Plan *plan = image->program[i].plan;
        for (uint32_t k = 0; k < plan->f->results.len; k++) {
            const Result *r = &plan->f->results.at[k];
            Val v = r->val;
            while (plan->buffer_of[v.id] < 0 &&
                   op_lowering(func_node(plan->f, v)->op) == LOWER_VIEW)
                v = func_node(plan->f, v)->in[0];
            int b = plan->buffer_of[v.id];
            size_t bytes = b >= 0 && r->role != RESULT_STATE ? plan->buffers.at[b].bytes : 0;
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

static Status allocate(Device *device, DeviceImage *image, Err *err)
{
    CudaState *c = (CudaState *)device;
    size_t total = 0, ranges, tables;
    NPC_TRY(cuda_state_enter(c, err));
    give(&image->persistent, &total);
    give(&image->arena, &total);
    for (int i = 0; i < image->n; i++) {
        give(&image->program[i].prepared, &total);
        give(&image->program[i].inputs, &total);
    }
    c->ahead.bytes = cuda_ahead_bytes(image);
    give(&c->ahead, &total);
    ranges = total;
    for (int i = 0; i < image->n; i++)
        total += cuda_range_bytes(&image->program[i]);
    tables = total;
    for (int i = 0; i < image->n; i++)
        total += cuda_tables_bytes(&image->program[i]);

    CudaResult r = c->d->memory_alloc(&c->memory, total);
    if (r)
        c->memory = 0;
    if (r == CUDA_OUT_OF_MEMORY)
        return no_memory(c, image, total, err);
    NPC_TRY(cuda_state_check(c, r, "allocate memory", err));
    NPC_TRY(cuda_state_check(c, c->d->fill(c->memory, 0, total, c->stream), "clear memory", err));
    c->ahead.device += c->memory;
    c->ranges = c->memory + ranges;
    c->tables = c->memory + tables;
    image->persistent.device += c->memory;
    image->arena.device += c->memory;
    NPC_TRY(pin(c, &image->persistent.host, image->persistent.bytes,
                "the model's parameters and optimizer state", err));
    for (int i = 0; i < image->n; i++) {
        DeviceProgram *p = &image->program[i];
        p->prepared.device += c->memory;
        p->inputs.device += c->memory;
        NPC_TRY(pin(c, &p->inputs.host, p->inputs.bytes, "the inputs of a batch", err));
    }
    c->shown_bytes = largest_result(image);
    return pin(c, &c->shown, c->shown_bytes, "results", err);
}

CudaAddress cuda_storage(const DeviceImage *image, const DeviceProgram *p, Place place)
{
    const Region *of[] = {&image->persistent, &image->arena, &p->prepared, &p->inputs};
    return of[place.region]->device + place.offset;
}

/* ---- moving ---- */

static Status push(Device *device, const Region *r, size_t offset, size_t bytes, Err *err)
{
    CudaState *c = (CudaState *)device;
    NPC_TRY(cuda_state_enter(c, err));
    if (!bytes)
        return NPC_OK;
    return cuda_state_check(
        c, c->d->copy_to_device(r->device + offset, r->host + offset, bytes, c->stream),
        "copy to the device", err);
}

static Status copy_back(CudaState *c, void *to, CudaAddress from, size_t bytes, Err *err)
{
    NPC_TRY(cuda_state_enter(c, err));
    if (bytes)
        NPC_TRY(cuda_state_check(c, c->d->copy_to_host(to, from, bytes, c->stream),
                                 "copy from the device", err));
    return cuda_state_check(c, c->d->stream_wait(c->stream), "finish a run", err);
}

static Status pull(Device *device, const Region *r, size_t offset, size_t bytes, Err *err)
{
    return copy_back((CudaState *)device, r->host + offset, r->device + offset, bytes, err);
}

static Status wait_cuda(Device *device, Err *err)
{
    return copy_back((CudaState *)device, NULL, 0, 0, err);
}

static Status zero(Device *device, const Region *r, size_t offset, size_t bytes, Err *err)
{
    CudaState *c = (CudaState *)device;
    NPC_TRY(cuda_state_enter(c, err));
    return cuda_state_check(c, c->d->fill(r->device + offset, 0, bytes, c->stream),
                            "clear a tensor", err);
}

static Status look(Device *device, const Region *r, size_t offset, size_t bytes, const void **at,
                   Err *err)
{
    CudaState *c = (CudaState *)device;
    if (bytes > c->shown_bytes) { /* not a result of a program: rare */
        NPC_TRY(cuda_state_enter(c, err));
        c->d->host_free(c->shown);
        c->shown = NULL;
        c->shown_bytes = 0;
        NPC_TRY(pin(c, &c->shown, bytes, "a result", err));
        c->shown_bytes = bytes;
    }
    *at = c->shown;
    return copy_back(c, c->shown, r->device + offset, bytes, err);
}

const DeviceKind device_cuda = {.name = "cuda",
                                .packs_pictures = true,
                                .cost = cost,
                                .open = open_cuda,
                                .close = close_cuda,
                                .compile = compile,
                                .allocate = allocate,
                                .bind = cuda_bind,
                                .run = cuda_run,
                                .send = cuda_send,
                                .draw = cuda_draw,
                                .push = push,
                                .pull = pull,
                                .wait = wait_cuda,
                                .zero = zero,
                                .look = look};
