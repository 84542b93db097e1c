/* The CPU as a device: regions are pages, kernels run on the engine's workers. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "runtime/device.h"
#include "data/philox.h"
#include "data/random_fill.h"

typedef struct CpuDevice {
    Device base;
    KernelSet *kernels;
} CpuDevice;

/* A program's kernels and where their tensors are. */
typedef struct CpuProgram {
    const Kernel **kernel; /* per launch */
    float ***tensor;       /* per launch, per tensor of its program */
    float **storage;       /* per buffer */
} CpuProgram;

static KernelCost cost(const DeviceOptions *options, const TileProgram *tile)
{
    return (KernelCost){kernel_schedule(tile, &options->target).workspace_bytes, 0, 0};
}

/* ---- memory ---- */

static Status region_map(Region *r, const char *what, Err *err)
{
    size_t bytes = r->bytes;
    r->bytes = (bytes + 4095) & ~(size_t)4095;
    if (!r->bytes)
        return NPC_OK;
    void *p = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory: %s needs %.2f GiB (%s)", what,
                       (double)bytes / (1 << 30), strerror(errno));
    r->host = p;
    madvise(p, r->bytes, MADV_HUGEPAGE); /* fewer page faults; refusal is harmless */
    return NPC_OK;
}

static void region_unmap(Region *r)
{
    if (r->host)
        munmap(r->host, r->bytes);
    *r = (Region){0};
}

static Status allocate(Device *d, DeviceImage *image, Err *err)
{
    (void)d;
    NPC_TRY(region_map(&image->persistent, "the model's parameters and optimizer state", err));
    NPC_TRY(region_map(&image->arena, "the activations of a batch", err));
    for (int i = 0; i < image->n; i++) {
        NPC_TRY(region_map(&image->program[i].prepared, "prepared weights", err));
        NPC_TRY(region_map(&image->program[i].inputs, "the inputs of a batch", err));
    }
    return NPC_OK;
}

/* ---- kernels ---- */

static Status open_cpu(Device **out, const DeviceOptions *options, Err *err)
{
    CpuDevice *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory");
    d->base = (Device){.kind = &device_cpu, .options = *options};
    *out = &d->base;
    return NPC_OK;
}

static void close_cpu(Device *d, DeviceImage *image)
{
    CpuDevice *cpu = (CpuDevice *)d;
    for (int i = 0; i < image->n; i++) {
        region_unmap(&image->program[i].prepared);
        region_unmap(&image->program[i].inputs);
    }
    region_unmap(&image->persistent);
    region_unmap(&image->arena);
    kernel_set_free(cpu->kernels);
    free(cpu);
}

static Status compile(Device *d, DeviceImage *image, Err *err)
{
    CpuDevice *cpu = (CpuDevice *)d;
    VEC(const TileProgram *) all = {0};
    for (int i = 0; i < image->n; i++)
        for (uint32_t k = 0; k < image->program[i].plan->launches.len; k++)
            vec_push(image->memory, &all, image->program[i].plan->launches.at[k].tile);
    KernelSetOptions o = {.target = &d->options.target,
                          .cache_folder = d->options.cache_folder,
                          .n_threads = d->options.threads ? d->options.threads : 2,
                          .interpret = d->options.interpret || !kernel_have_llvm(),
                          .emit_llvm = d->options.emit_llvm,
                          .emit_asm = d->options.emit_asm};
    NPC_TRY(kernel_set_compile(&cpu->kernels, all.at, (int)all.len, &o, err));
    d->n_kernels = kernel_set_n_distinct(cpu->kernels);
    d->from_cache = kernel_set_from_cache(cpu->kernels);
    for (uint32_t i = 0; i < all.len; i++) {
        size_t scratch = kernel_set_get(cpu->kernels, (int)i)->schedule.scratch_bytes;
        d->scratch_bytes = scratch > d->scratch_bytes ? scratch : d->scratch_bytes;
    }
    return NPC_OK;
}

static float *storage_of(const DeviceImage *image, const DeviceProgram *p, Place place)
{
    const Region *of[] = {&image->persistent, &image->arena, &p->prepared, &p->inputs};
    return (float *)(of[place.region]->host + place.offset);
}

static Status bind(Device *d, DeviceImage *image, Err *err)
{
    (void)err;
    int at = 0;
    for (int i = 0; i < image->n; i++) {
        DeviceProgram *p = &image->program[i];
        const Plan *plan = p->plan;
        CpuProgram *own = ARENA_NEW(image->memory, CpuProgram);
        own->kernel = ARENA_ARRAY(image->memory, const Kernel *, plan->launches.len + 1);
        own->tensor = ARENA_ARRAY(image->memory, float **, plan->launches.len + 1);
        own->storage = ARENA_ARRAY(image->memory, float *, plan->buffers.len + 1);
        for (uint32_t b = 0; b < plan->buffers.len; b++)
            own->storage[b] = storage_of(image, p, p->place[b]);
        for (uint32_t k = 0; k < plan->launches.len; k++) {
            const TileProgram *t = plan->launches.at[k].tile;
            own->kernel[k] = kernel_set_get(((CpuDevice *)d)->kernels, at++);
            own->tensor[k] = ARENA_ARRAY(image->memory, float *, t->tensors.len + 1);
            for (uint32_t j = 0; j < t->tensors.len; j++)
                own->tensor[k][j] = own->storage[t->tensors.at[j].buffer];
        }
        p->own = own;
    }
    return NPC_OK;
}

/* ---- planes of an input ---- */

static void fill_planes(void *context, int64_t sample, void *scratch)
{
    const DeviceProgram *p = context;
    const InputPlanes *s = &p->planes;
    const int32_t *box = (int32_t *)(p->inputs.host + s->box_offset) + 4 * sample;
    int each = s->values * s->frames;
    size_t plane = (size_t)s->height * (size_t)s->width;
    const float *value = (float *)(p->inputs.host + s->value_offset) + 2 * sample * each;
    float *x =
        (float *)(p->inputs.host + p->place[s->buffer].offset) +
        (size_t)(sample * (s->pictures + s->values) + s->pictures) * (size_t)s->frames * plane;
    (void)scratch;
    for (int i = 0; i < each; i++, value += 2, x += plane) {
        for (size_t k = 0; k < plane; k++)
            x[k] = value[0];
        for (int r = box[0]; r < box[1]; r++)
            for (int c = box[2]; c < box[3]; c++)
                x[r * s->width + c] = value[1];
    }
}

/* ---- running ---- */

typedef struct PhaseCall {
    KernelPhase phase;
    const KernelCall *call;
} PhaseCall;

static void run_task(void *context, int64_t task, void *scratch)
{
    const PhaseCall *c = context;
    c->phase(c->call, task, scratch);
}

static void run_launch(Device *d, const DeviceImage *image, const DeviceProgram *p, uint32_t i,
                       const SampleRange *ranges)
{
    const CpuProgram *own = p->own;
    const Launch *l = &p->plan->launches.at[i];
    const Kernel *k = own->kernel[i];
    int axis = l->tile->batch_axis;
    int64_t n_samples = axis >= 0 ? l->tile->axes.at[axis].size : 0;
    TileRange range = {0, n_samples};

    if (l->session >= 0 && ranges) {
        const SampleRange *s = &ranges[l->session];
        bool is_whole = s->count >= n_samples && axis >= 0;
        for (uint32_t c = 0; c < l->clear.len && !is_whole; c++) {
            int b = l->clear.at[c];
            memset(own->storage[b], 0, p->plan->buffers.at[b].bytes);
        }
        if (s->count == 0)
            return;
        if (axis >= 0)
            range = (TileRange){s->first, s->first + s->count};
    }
    KernelCall call = {.kernel = k,
                       .tensor = own->tensor[i],
                       .range = range,
                       .workspace = image->arena.host + l->workspace_offset};
    for (int phase = 0; phase < k->schedule.n_phases; phase++) {
        int64_t per = k->schedule.tasks_per_sample[phase];
        PhaseCall pc = {k->phase[phase], &call};
        workers_run(d->workers, run_task, &pc,
                    per ? (range.b1 - range.b0) * per : k->schedule.tasks[phase]);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static Status run(Device *d, DeviceImage *image, int program, const SampleRange *ranges,
                  bool prepare, Err *err)
{
    DeviceProgram *p = &image->program[program];
    (void)err;
    workers_run(d->workers, fill_planes, p, p->planes.samples);
    for (uint32_t i = 0; i < p->plan->launches.len; i++) {
        if (p->plan->launches.at[i].is_prepare && !prepare)
            continue;
        double start = p->is_timed ? now() : 0;
        run_launch(d, image, p, i, ranges);
        if (p->is_timed)
            p->seconds[i] += now() - start;
    }
    return NPC_OK;
}

/* ---- masks ---- */

enum { DRAWN = 1 << 16 }; /* elements of a task */

typedef struct Drawing {
    const PlanBuffer *buffer;
    uint64_t seed, stream, step;
    int64_t n;
    void *at;
} Drawing;

static void draw_part(void *context, int64_t task, void *scratch)
{
    (void)scratch;
    const Drawing *d = context;
    int64_t from = task * DRAWN, n = d->n - from < DRAWN ? d->n - from : DRAWN;
    int64_t first = (int64_t)(d->step << 32) + from; /* elements of all steps, one after another */
    if (d->buffer->random == RANDOM_NOISE)
        normal_fill(d->seed, d->stream, first, n, 0, 1, (float *)d->at + from);
    else if (d->buffer->random == RANDOM_MASK)
        mask_fill(d->seed, d->stream, first, n, d->buffer->drop_rate, (uint8_t *)d->at + from);
    else
        bytes_fill(d->seed, d->stream, first, n, (uint8_t *)d->at + from);
}

static void draw(Device *d, DeviceImage *image, int program, uint64_t seed, uint64_t step)
{
    const DeviceProgram *p = &image->program[program];
    for (uint32_t i = 0; i < p->plan->buffers.len; i++) {
        const PlanBuffer *b = &p->plan->buffers.at[i];
        if (!plan_is_random(b))
            continue;
        int64_t n = shape_elems(&b->layout.shape);
        Drawing drawing = {b,    seed, philox_stream(b->name),
                           step, n,    p->inputs.host + p->place[i].offset};
        workers_run(d->workers, draw_part, &drawing, (n + DRAWN - 1) / DRAWN);
    }
}

/* ---- host side: the memory itself ---- */

static Status nothing_to_move(Device *d, const Region *r, size_t offset, size_t bytes, Err *err)
{
    (void)d;
    (void)r;
    (void)offset;
    (void)bytes;
    (void)err;
    return NPC_OK;
}

static Status nothing_to_send(Device *d, DeviceImage *image, int program, const SampleRange *ranges,
                              Err *err)
{
    (void)d;
    (void)image;
    (void)program;
    (void)ranges;
    (void)err;
    return NPC_OK;
}

static Status wait_cpu(Device *d, Err *err)
{
    (void)d;
    (void)err;
    return NPC_OK;
}

static Status zero(Device *d, const Region *r, size_t offset, size_t bytes, Err *err)
{
    (void)d;
    (void)err;
    memset(r->host + offset, 0, bytes);
    return NPC_OK;
}

static Status look(Device *d, const Region *r, size_t offset, size_t bytes, const void **at,
                   Err *err)
{
    (void)d;
    (void)bytes;
    (void)err;
    *at = r->host + offset;
    return NPC_OK;
}

const DeviceKind device_cpu = {.name = "cpu",
                               .cost = cost,
                               .open = open_cpu,
                               .close = close_cpu,
                               .compile = compile,
                               .allocate = allocate,
                               .bind = bind,
                               .run = run,
                               .send = nothing_to_send,
                               .draw = draw,
                               .push = nothing_to_move,
                               .pull = nothing_to_move,
                               .wait = wait_cpu,
                               .zero = zero,
                               .look = look};
