#include "runtime/engine.h"

#include <stdlib.h>

struct Engine {
    Arena arena; /* bookkeeping */
    const Module *module;
    EngineOptions options;
    VEC(DeviceProgram) programs;
    bool *is_prepared; /* per program */
    DeviceImage image;
    Device *device;
    Map tensors; /* name -> Tensor* */
    Workers *workers;
    bool host_is_newer, device_is_newer; /* than the other side: the tensors */
};

typedef struct Tensor {
    size_t offset, bytes; /* in the persistent region */
} Tensor;

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

Status engine_create(Engine **out, const Module *module, const EngineOptions *options, Err *err)
{
    Engine *e = calloc(1, sizeof *e);
    *out = e;
    if (!e)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory");
    e->module = module;
    e->options = *options;
    if (!e->options.kind)
        e->options.kind = &device_cpu;
    return NPC_OK;
}

void engine_free(Engine *e)
{
    if (!e)
        return;
    if (e->workers)
        workers_stop(e->workers);
    if (e->device)
        e->device->kind->close(e->device, &e->image);
    arena_free(&e->arena);
    free(e);
}

KernelCost engine_cost(void *engine, const TileProgram *tile)
{
    const Engine *e = engine;
    return e->options.kind->cost(&e->options, tile);
}

Status engine_add(Engine *e, const Plan *plan, int *program, Err *err)
{
    WITH_MEMORY(e, err, vec_push(&e->arena, &e->programs, (DeviceProgram){.plan = plan}));
    *program = (int)e->programs.len - 1;
    return NPC_OK;
}

void engine_add_planes(Engine *e, int program, const char *name, int64_t pictures)
{
    DeviceProgram *p = &e->programs.at[program];
    bool packs = e->options.kind->packs_pictures;
    for (uint32_t i = 0; i < p->plan->buffers.len; i++) {
        const PlanBuffer *b = &p->plan->buffers.at[i];
        const int64_t *size = b->layout.shape.size;
        int rank = b->layout.shape.rank; /* images have no frames */
        if (b->kind != BUFFER_INPUT || strcmp(b->name, name) || rank < 4 || rank > 5 ||
            size[1] < pictures || (size[1] == pictures && !packs))
            continue;
        p->planes = (InputPlanes){.buffer = (int)i,
                                  .pictures = (int)pictures,
                                  .values = (int)(size[1] - pictures),
                                  .frames = rank == 5 ? (int)size[2] : 1,
                                  .height = (int)size[rank - 2],
                                  .width = (int)size[rank - 1],
                                  .samples = size[0],
                                  .is_packed = packs};
    }
}

/* ---- getting ready ---- */

static size_t take(size_t *end, size_t bytes)
{
    size_t at = *end;
    *end += (bytes + 63) & ~(size_t)63;
    return at;
}

/* Behind the inputs; where everything ends. */
static size_t place_planes(InputPlanes *s, size_t end)
{
    size_t n = (size_t)s->samples, plane = (size_t)s->height * (size_t)s->width;
    size_t frames = (size_t)s->frames;
    s->value_offset = take(&end, n * (size_t)s->values * frames * 2 * sizeof(float));
    s->box_offset = take(&end, n * 4 * sizeof(int32_t));
    if (!s->is_packed)
        return end;
    s->picture_offset = take(&end, n * sizeof(PackedPicture));
    s->palette_offset = take(&end, n * PALETTE * sizeof(float));
    s->packed_offset = end;
    for (int64_t i = 0; i < s->samples; i++)
        take(&end, (size_t)s->pictures * frames * plane * sizeof(float));
    return end;
}

static void place_tensors(Engine *e)
{
    size_t total = 0;
    for (uint32_t i = 0; i < e->module->params.len; i++) {
        const Param *p = &e->module->params.at[i];
        Tensor *t = ARENA_NEW(&e->arena, Tensor);
        *t = (Tensor){total, (size_t)shape_elems(&p->shape) * sizeof(float)};
        map_put(&e->arena, &e->tensors, p->name, t);
        total += (t->bytes + 64 + 63) & ~(size_t)63;
    }
    e->image.persistent.bytes = total;
}

static Status place_buffers(Engine *e, DeviceProgram *p, Err *err)
{
    static const RegionKind region_of[] = {[BUFFER_INPUT] = REGION_INPUTS,
                                           [BUFFER_CONSTANT] = REGION_INPUTS,
                                           [BUFFER_ARENA] = REGION_ARENA,
                                           [BUFFER_PREPARED] = REGION_PREPARED,
                                           [BUFFER_PERSISTENT] = REGION_PERSISTENT};
    const Plan *plan = p->plan;
    p->prepared.bytes = plan->prepared_bytes;
    p->inputs.bytes = place_planes(&p->planes, plan->input_bytes);
    p->seconds = ARENA_ARRAY(&e->arena, double, plan->launches.len + 1);
    p->place = ARENA_ARRAY(&e->arena, Place, plan->buffers.len + 1);
    if (plan->arena_bytes > e->image.arena.bytes)
        e->image.arena.bytes = plan->arena_bytes;
    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        const PlanBuffer *b = &plan->buffers.at[i];
        p->place[i] = (Place){region_of[b->kind], b->offset};
        if (b->kind != BUFFER_PERSISTENT)
            continue;
        const Tensor *t = map_get(&e->tensors, b->name);
        if (!t)
            return err_set(err, NPC_ERR_INTERNAL, "no storage for '%s'", b->name ? b->name : "?");
        p->place[i].offset = t->offset;
    }
    return NPC_OK;
}

static float *host_side(const DeviceProgram *p, uint32_t buffer)
{
    return (float *)(p->inputs.host + p->place[buffer].offset);
}

static void write_constants(const DeviceProgram *p)
{
    for (uint32_t i = 0; i < p->plan->buffers.len; i++) {
        const PlanBuffer *b = &p->plan->buffers.at[i];
        float *at = host_side(p, i);
        for (int64_t k = 0; b->kind == BUFFER_CONSTANT && k < shape_elems(&b->layout.shape); k++)
            at[k] = func_node(p->plan->f, b->val)->op == OP_IOTA
                        ? (float)k
                        : func_node(p->plan->f, b->val)->attrs.data[k];
    }
}

static Status load(Engine *e, Err *err)
{
    const DeviceKind *kind = e->options.kind;
    DeviceImage *image = &e->image;
    *image = (DeviceImage){e->programs.at, (int)e->programs.len, .memory = &e->arena};
    e->is_prepared = ARENA_ARRAY(&e->arena, bool, e->programs.len + 1);
    place_tensors(e);
    for (int i = 0; i < image->n; i++)
        NPC_TRY(place_buffers(e, &image->program[i], err));
    NPC_TRY(kind->open(&e->device, &e->options, err));
    NPC_TRY(kind->compile(e->device, image, err));
    NPC_TRY(kind->allocate(e->device, image, err));
    for (int i = 0; i < image->n; i++)
        write_constants(&image->program[i]);
    NPC_TRY(kind->bind(e->device, image, err));
    NPC_TRY(workers_start(&e->workers, e->options.threads, e->device->scratch_bytes, err));
    e->device->workers = e->workers;
    e->host_is_newer = true;
    return NPC_OK;
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
    const Tensor *t = map_get(&e->tensors, name);
    return t ? (float *)(e->image.persistent.host + t->offset) : NULL;
}

Status engine_fetch(Engine *e, Err *err)
{
    const Region *r = &e->image.persistent;
    if (e->device_is_newer)
        NPC_TRY(e->device->kind->pull(e->device, r, 0, r->bytes, err));
    e->device_is_newer = false;
    return NPC_OK;
}

void engine_tensors_changed(Engine *e)
{
    e->host_is_newer = true;
    e->device_is_newer = false;
    for (uint32_t i = 0; i < e->programs.len; i++)
        e->is_prepared[i] = false;
}

Status engine_zero(Engine *e, const char *name, Err *err)
{
    const Tensor *t = map_get(&e->tensors, name);
    const Region *r = &e->image.persistent;
    if (!t)
        return err_set(err, NPC_ERR_INTERNAL, "there is no tensor '%s'", name);
    if (e->host_is_newer) {
        memset(r->host + t->offset, 0, t->bytes);
        return NPC_OK;
    }
    e->device_is_newer = true;
    return e->device->kind->zero(e->device, r, t->offset, t->bytes, err);
}

static void *find_input(const Engine *e, int program, const char *name, Storage type)
{
    DeviceProgram *p = &e->programs.at[program];
    for (uint32_t i = 0; i < p->plan->buffers.len; i++) {
        const PlanBuffer *b = &p->plan->buffers.at[i];
        if (b->kind != BUFFER_INPUT || b->layout.type != type || strcmp(b->name, name))
            continue;
        p->is_drawn &= !plan_is_random(b); /* the caller may write it */
        return host_side(p, i);
    }
    return NULL;
}

float *engine_input(Engine *e, int program, const char *name)
{
    return find_input(e, program, name, STORAGE_F32);
}

const InputPlanes *engine_planes(const Engine *e, int program, char **host)
{
    const DeviceProgram *p = &e->programs.at[program];
    *host = p->inputs.host;
    return p->planes.samples ? &p->planes : NULL;
}

uint8_t *engine_mask(Engine *e, int program, const char *name)
{
    return find_input(e, program, name, STORAGE_U8);
}

void engine_draw_masks(Engine *e, int program, uint64_t seed, uint64_t step)
{
    e->programs.at[program].is_drawn = true;
    e->device->kind->draw(e->device, &e->image, program, seed, step);
}

static void read_row(const void *from, Storage type, int64_t at, int64_t stride, int64_t n,
                     float *out)
{
    if (type == STORAGE_F32)
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const float *)from)[at + i * stride];
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = storage_read(from, type, at + i * stride);
}

/* In rows along the last axis, whose elements lie equally far apart, unless it is cut into blocks
 * of lanes. */
static void read_out(const void *from, const TileLayout *l, float *out)
{
    int last = l->shape.rank > 0 ? l->shape.rank - 1 : 0;
    int64_t n = shape_elems(&l->shape), length = l->shape.rank > 0 ? l->shape.size[last] : 1;
    int64_t most = last == l->lane ? 1 : length, stride = 0, index[MAX_RANK] = {0};
    if (most > 1) {
        index[last] = 1;
        stride = tile_layout_offset(l, index);
        index[last] = 0;
        stride -= tile_layout_offset(l, index);
    }
    for (int64_t i = 0; i < n;) {
        int64_t left = length - index[last], row = left < most ? left : most;
        read_row(from, l->type, tile_layout_offset(l, index), stride, row, out + i);
        i += row;
        index[last] += row;
        for (int k = last; k > 0 && index[k] == l->shape.size[k]; k--) {
            index[k] = 0;
            index[k - 1]++;
        }
    }
}

/* Buffer and layout of a value or of a view of one; -1 when it is not stored. */
static int find_storage(const Plan *plan, Val v, TileLayout *layout)
{
    const Node *n = func_node(plan->f, v);
    TileLayout below;
    int b = plan->buffer_of[v.id];
    if (b >= 0) {
        *layout = plan->buffers.at[b].layout;
        return b;
    }
    if (op_lowering(n->op) != LOWER_VIEW)
        return -1;
    b = find_storage(plan, n->in[0], &below);
    return b >= 0 && layout_of_view(&below, n, layout) ? b : -1;
}

Status engine_read(Engine *e, int program, ResultRole role, const char *name, float *out, Err *err)
{
    const DeviceProgram *p = &e->programs.at[program];
    const DeviceImage *image = &e->image;
    const Region *region[] = {&image->persistent, &image->arena, &p->prepared, &p->inputs};
    const Result *s = func_find_result(p->plan->f, role, name);
    const void *at;
    TileLayout layout;
    int b = s ? find_storage(p->plan, s->val, &layout) : -1;
    if (b < 0)
        return err_set(err, NPC_ERR_INTERNAL, "the program does not store '%s'", name);
    NPC_TRY(e->device->kind->look(e->device, region[p->place[b].region], p->place[b].offset,
                                  tile_layout_bytes(&p->plan->buffers.at[b].layout), &at, err));
    read_out(at, &layout, out);
    return NPC_OK;
}

/* ---- running ---- */

static bool writes_tensors(const Plan *plan)
{
    for (uint32_t i = 0; i < plan->f->results.len; i++)
        if (plan->f->results.at[i].role == RESULT_STATE)
            return true;
    return false;
}

Status engine_run(Engine *e, int program, const SampleRange *ranges, Err *err)
{
    const DeviceKind *kind = e->device->kind;
    const Region *tensors = &e->image.persistent;
    bool writes = writes_tensors(e->programs.at[program].plan);

    if (e->host_is_newer)
        NPC_TRY(kind->push(e->device, tensors, 0, tensors->bytes, err));
    e->host_is_newer = false;
    NPC_TRY(kind->run(e->device, &e->image, program, ranges, !e->is_prepared[program], err));
    e->is_prepared[program] = true;
    e->device_is_newer |= writes;
    for (uint32_t i = 0; writes && i < e->programs.len; i++) /* made from the old parameters */
        e->is_prepared[i] = false;
    return NPC_OK;
}

Status engine_send(Engine *e, int program, const SampleRange *ranges, Err *err)
{
    return e->device->kind->send(e->device, &e->image, program, ranges, err);
}

Status engine_wait(Engine *e, Err *err)
{
    return e->device->kind->wait(e->device, err);
}

void engine_time_launches(Engine *e, int program, bool on)
{
    DeviceProgram *p = &e->programs.at[program];
    p->is_timed = on;
    memset(p->seconds, 0, p->plan->launches.len * sizeof *p->seconds);
}

const double *engine_launch_seconds(const Engine *e, int program)
{
    const DeviceProgram *p = &e->programs.at[program];
    return p->is_timed ? p->seconds : NULL;
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
    EngineMemory m = {.persistent = e->image.persistent.bytes, .arena = e->image.arena.bytes};
    for (uint32_t i = 0; i < e->programs.len; i++) {
        m.prepared += e->programs.at[i].prepared.bytes;
        m.inputs += e->programs.at[i].inputs.bytes;
    }
    m.scratch = e->device->scratch_bytes * (e->workers ? (size_t)workers_n(e->workers) : 1);
    return m;
}

int engine_n_kernels(const Engine *e)
{
    return e->device->n_kernels;
}

bool engine_from_cache(const Engine *e)
{
    return e->device->from_cache;
}

const char *engine_note(const Engine *e)
{
    return e->device->note;
}

Workers *engine_workers(Engine *e)
{
    return e->workers;
}

int engine_threads(const Engine *e)
{
    return workers_n(e->workers);
}
