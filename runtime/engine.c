#include "runtime/engine.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "runtime/philox.h"
#include "runtime/workers.h"

typedef struct Region {
    char *at;
    size_t bytes;
} Region;

typedef struct Runnable {
    const Plan *plan;
    Region prepared, inputs;
    const Kernel **kernel; /* per launch */
    float ***tensor;       /* per launch, per tensor of its program */
    float **storage;       /* per buffer */
    bool is_prepared, is_timed;
    double *seconds; /* per launch */
} Runnable;

struct Engine {
    Arena arena; /* bookkeeping */
    const Module *module;
    EngineOptions options;
    VEC(Runnable) programs;
    Map tensors; /* name -> float* */
    Region persistent, shared;
    KernelSet *kernels;
    Workers *workers;
    size_t scratch_bytes;
};

/* Runs a statement with the exhaustion of the bookkeeping's memory caught. */
#define WITH_MEMORY(e, err, statement)                                                             \
    do {                                                                                           \
        jmp_buf exhausted;                                                                         \
        (e)->arena.exhausted = &exhausted;                                                         \
        if (setjmp(exhausted)) {                                                                   \
            (e)->arena.exhausted = NULL;                                                           \
            return err_set(err, NPC_ERR_MEMORY, "not enough memory to load the programs");         \
        }                                                                                          \
        statement;                                                                                 \
        (e)->arena.exhausted = NULL;                                                               \
    } while (0)

static Status region_map(Region *r, size_t bytes, const char *what, Err *err)
{
    r->bytes = (bytes + 4095) & ~(size_t)4095;
    if (!r->bytes)
        return NPC_OK;
    void *p = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        r->at = NULL;
        return err_set(err, NPC_ERR_MEMORY, "not enough memory: %s needs %.2f GiB (%s)", what,
                       (double)bytes / (1 << 30), strerror(errno));
    }
    r->at = p;
    madvise(p, r->bytes, MADV_HUGEPAGE); /* fewer page faults; refusal is harmless */
    return NPC_OK;
}

static void region_unmap(Region *r)
{
    if (r->at)
        munmap(r->at, r->bytes);
    *r = (Region){0};
}

Status engine_create(Engine **out, const Module *module, const EngineOptions *options, Err *err)
{
    Engine *e = calloc(1, sizeof *e);
    *out = e;
    if (!e)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory");
    e->module = module;
    e->options = *options;
    return NPC_OK;
}

void engine_free(Engine *e)
{
    if (!e)
        return;
    if (e->workers)
        workers_stop(e->workers);
    for (uint32_t i = 0; i < e->programs.len; i++) {
        region_unmap(&e->programs.at[i].prepared);
        region_unmap(&e->programs.at[i].inputs);
    }
    region_unmap(&e->persistent);
    region_unmap(&e->shared);
    kernel_set_free(e->kernels);
    arena_free(&e->arena);
    free(e);
}

size_t engine_workspace(void *target, const TileProgram *tile)
{
    return kernel_schedule(tile, target).workspace_bytes;
}

Status engine_add(Engine *e, const Plan *plan, int *program, Err *err)
{
    WITH_MEMORY(e, err, vec_push(&e->arena, &e->programs, (Runnable){.plan = plan}));
    *program = (int)e->programs.len - 1;
    return NPC_OK;
}

/* ---- getting ready ---- */

static size_t padded_bytes(const Shape *s)
{
    return ((size_t)shape_elems(s) * sizeof(float) + 64 + 63) & ~(size_t)63;
}

static Status place_tensors(Engine *e, Err *err)
{
    size_t total = 0;
    for (uint32_t i = 0; i < e->module->params.len; i++)
        total += padded_bytes(&e->module->params.at[i].shape);
    NPC_TRY(region_map(&e->persistent, total, "the model's parameters and optimizer state", err));
    total = 0;
    for (uint32_t i = 0; i < e->module->params.len; i++) {
        const Param *p = &e->module->params.at[i];
        map_put(&e->arena, &e->tensors, p->name, e->persistent.at + total);
        total += padded_bytes(&p->shape);
    }
    return NPC_OK;
}

static Status compile(Engine *e, Err *err)
{
    VEC(const TileProgram *) all = {0};
    for (uint32_t i = 0; i < e->programs.len; i++)
        for (uint32_t k = 0; k < e->programs.at[i].plan->launches.len; k++)
            vec_push(&e->arena, &all, e->programs.at[i].plan->launches.at[k].tile);
    KernelSetOptions o = {.target = &e->options.target,
                          .cache_folder = e->options.cache_folder,
                          .n_threads = e->options.threads ? e->options.threads : 2,
                          .interpret = e->options.interpret || !kernel_have_llvm(),
                          .emit_llvm = e->options.emit_llvm,
                          .emit_asm = e->options.emit_asm};
    NPC_TRY(kernel_set_compile(&e->kernels, all.at, (int)all.len, &o, err));
    int at = 0;
    for (uint32_t i = 0; i < e->programs.len; i++) {
        Runnable *r = &e->programs.at[i];
        r->kernel = ARENA_ARRAY(&e->arena, const Kernel *, r->plan->launches.len + 1);
        for (uint32_t k = 0; k < r->plan->launches.len; k++) {
            r->kernel[k] = kernel_set_get(e->kernels, at++);
            size_t scratch = r->kernel[k]->schedule.scratch_bytes;
            e->scratch_bytes = scratch > e->scratch_bytes ? scratch : e->scratch_bytes;
        }
    }
    return NPC_OK;
}

static Status place_buffers(Engine *e, Runnable *r, Err *err)
{
    const Plan *plan = r->plan;
    NPC_TRY(region_map(&r->prepared, plan->prepared_bytes, "prepared weights", err));
    NPC_TRY(region_map(&r->inputs, plan->input_bytes, "the inputs of a batch", err));
    r->storage = ARENA_ARRAY(&e->arena, float *, plan->buffers.len + 1);
    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        const PlanBuffer *b = &plan->buffers.at[i];
        switch (b->kind) {
        case BUFFER_PERSISTENT:
            r->storage[i] = map_get(&e->tensors, b->name);
            break;
        case BUFFER_ARENA:
            r->storage[i] = (float *)(e->shared.at + b->offset);
            break;
        case BUFFER_PREPARED:
            r->storage[i] = (float *)(r->prepared.at + b->offset);
            break;
        default:
            r->storage[i] = (float *)(r->inputs.at + b->offset);
            if (b->kind == BUFFER_CONSTANT)
                for (int64_t k = 0; k < shape_elems(&b->layout.shape); k++)
                    r->storage[i][k] = (float)k;
        }
        if (!r->storage[i])
            return err_set(err, NPC_ERR_INTERNAL, "no storage for '%s'", b->name ? b->name : "?");
    }
    r->seconds = ARENA_ARRAY(&e->arena, double, plan->launches.len + 1);
    r->tensor = ARENA_ARRAY(&e->arena, float **, plan->launches.len + 1);
    for (uint32_t k = 0; k < plan->launches.len; k++) {
        const TileProgram *t = plan->launches.at[k].tile;
        r->tensor[k] = ARENA_ARRAY(&e->arena, float *, t->tensors.len + 1);
        for (uint32_t j = 0; j < t->tensors.len; j++)
            r->tensor[k][j] = r->storage[t->tensors.at[j].buffer];
    }
    return NPC_OK;
}

static Status load(Engine *e, Err *err)
{
    NPC_TRY(place_tensors(e, err));
    NPC_TRY(compile(e, err));
    size_t shared = 0;
    for (uint32_t i = 0; i < e->programs.len; i++) {
        size_t bytes = e->programs.at[i].plan->arena_bytes;
        shared = bytes > shared ? bytes : shared;
    }
    NPC_TRY(region_map(&e->shared, shared, "the activations of a batch", err));
    for (uint32_t i = 0; i < e->programs.len; i++)
        NPC_TRY(place_buffers(e, &e->programs.at[i], err));
    return workers_start(&e->workers, e->options.threads, e->scratch_bytes, err);
}

Status engine_ready(Engine *e, Err *err)
{
    Status s = NPC_OK;
    WITH_MEMORY(e, err, s = load(e, err));
    return s;
}

/* ---- tensors in and out ---- */

float *engine_tensor(Engine *e, const char *name)
{
    return map_get(&e->tensors, name);
}

void engine_tensors_changed(Engine *e)
{
    for (uint32_t i = 0; i < e->programs.len; i++)
        e->programs.at[i].is_prepared = false;
}

float *engine_input(Engine *e, int program, const char *name)
{
    const Runnable *r = &e->programs.at[program];
    for (uint32_t i = 0; i < r->plan->buffers.len; i++) {
        const PlanBuffer *b = &r->plan->buffers.at[i];
        if (b->kind == BUFFER_INPUT && !strcmp(b->name, name))
            return r->storage[i];
    }
    return NULL;
}

void engine_draw_masks(Engine *e, int program, uint64_t seed, uint64_t step)
{
    const Runnable *r = &e->programs.at[program];
    for (uint32_t i = 0; i < r->plan->buffers.len; i++) {
        const PlanBuffer *b = &r->plan->buffers.at[i];
        if (b->kind != BUFFER_INPUT || isnan(b->drop_rate))
            continue;
        uint64_t stream = philox_stream(b->name);
        int64_t n = shape_elems(&b->layout.shape);
        float kept = (float)(1 / (1 - b->drop_rate));
        for (int64_t k = 0; k < n; k++) {
            uint64_t index = step << 32 | (uint64_t)k;
            bool keep = philox_uniform(seed, stream, index) >= (float)b->drop_rate;
            r->storage[i][k] = keep ? kept : 0;
        }
    }
}

static void read_out(const float *from, const TileLayout *l, float *out)
{
    int64_t n = shape_elems(&l->shape), index[MAX_RANK] = {0};
    for (int64_t i = 0; i < n; i++) {
        out[i] = from[tile_layout_offset(l, index)];
        for (int k = l->shape.rank - 1; k >= 0; k--) {
            if (++index[k] < l->shape.size[k])
                break;
            index[k] = 0;
        }
    }
}

/* Storage and layout of a value or of a view of one. */
static bool find_storage(const Runnable *r, Val v, const float **at, TileLayout *layout)
{
    int b = r->plan->buffer_of[v.id];
    const Node *n = func_node(r->plan->f, v);
    if (b >= 0) {
        *at = r->storage[b];
        *layout = r->plan->buffers.at[b].layout;
        return true;
    }
    TileLayout below;
    return op_lowering(n->op) == LOWER_VIEW && find_storage(r, n->in[0], at, &below) &&
           layout_of_view(&below, n, layout);
}

bool engine_read(Engine *e, int program, ResultRole role, const char *name, float *out)
{
    const Runnable *r = &e->programs.at[program];
    const Result *s = func_find_result(r->plan->f, role, name);
    const float *at;
    TileLayout layout;
    if (!s || !find_storage(r, s->val, &at, &layout))
        return false;
    read_out(at, &layout, out);
    return true;
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

static void run_launch(Engine *e, Runnable *r, uint32_t i, const SampleRange *ranges)
{
    const Launch *l = &r->plan->launches.at[i];
    const Kernel *k = r->kernel[i];
    int axis = l->tile->batch_axis;
    int64_t n_samples = axis >= 0 ? l->tile->axes.at[axis].size : 0;
    TileRange range = {0, n_samples};

    if (l->session >= 0 && ranges) {
        const SampleRange *s = &ranges[l->session];
        bool is_whole = s->count >= n_samples && axis >= 0;
        for (uint32_t c = 0; c < l->clear.len && !is_whole; c++) {
            int b = l->clear.at[c];
            memset(r->storage[b], 0, r->plan->buffers.at[b].bytes);
        }
        if (s->count == 0)
            return;
        if (axis >= 0)
            range = (TileRange){s->first, s->first + s->count};
    }
    KernelCall call = {.kernel = k,
                       .tensor = r->tensor[i],
                       .range = range,
                       .workspace = e->shared.at + l->workspace_offset};
    for (int p = 0; p < k->schedule.n_phases; p++) {
        int64_t per = k->schedule.tasks_per_sample[p];
        PhaseCall pc = {k->phase[p], &call};
        workers_run(e->workers, run_task, &pc,
                    per ? (range.b1 - range.b0) * per : k->schedule.tasks[p]);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void engine_run(Engine *e, int program, const SampleRange *ranges)
{
    Runnable *r = &e->programs.at[program];
    for (uint32_t i = 0; i < r->plan->launches.len; i++) {
        if (r->plan->launches.at[i].is_prepare && r->is_prepared)
            continue;
        double start = r->is_timed ? now() : 0;
        run_launch(e, r, i, ranges);
        if (r->is_timed)
            r->seconds[i] += now() - start;
    }
    r->is_prepared = true;
    for (uint32_t i = 0; i < e->programs.len; i++) /* what was prepared from the old parameters */
        if (r->plan->kind & (PROGRAM_STEP | PROGRAM_UPDATE | PROGRAM_ACCUMULATE | PROGRAM_AVERAGE))
            e->programs.at[i].is_prepared = false;
}

void engine_time_launches(Engine *e, int program, bool on)
{
    Runnable *r = &e->programs.at[program];
    r->is_timed = on;
    memset(r->seconds, 0, r->plan->launches.len * sizeof *r->seconds);
}

const double *engine_launch_seconds(const Engine *e, int program)
{
    const Runnable *r = &e->programs.at[program];
    return r->is_timed ? r->seconds : NULL;
}

const Plan *engine_plan(const Engine *e, int program)
{
    return e->programs.at[program].plan;
}

const Module *engine_module(const Engine *e)
{
    return e->module;
}

EngineMemory engine_memory(const Engine *e)
{
    EngineMemory m = {.persistent = e->persistent.bytes, .arena = e->shared.bytes};
    for (uint32_t i = 0; i < e->programs.len; i++) {
        m.prepared += e->programs.at[i].prepared.bytes;
        m.inputs += e->programs.at[i].inputs.bytes;
    }
    m.scratch = e->scratch_bytes * (e->workers ? (size_t)workers_n(e->workers) : 1);
    return m;
}

int engine_n_kernels(const Engine *e)
{
    return kernel_set_n_distinct(e->kernels);
}

bool engine_from_cache(const Engine *e)
{
    return kernel_set_from_cache(e->kernels);
}

Workers *engine_workers(Engine *e)
{
    return e->workers;
}

int engine_threads(const Engine *e)
{
    return workers_n(e->workers);
}
