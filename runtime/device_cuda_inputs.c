/* What programs on a CUDA device read from the host: inputs, constants, and the ranges of
 * recordings.
 *
 * Inputs are moved by the stream of the launches, or were sent ahead: a second stream brought them
 * into an area of their own while launches before went on, and the run copies them from there to
 * where its kernels read. So addresses in a recorded graph never change, and the area needs no
 * twin: a run returns when that copy is done. Scalars come with the run; some of them are known
 * only when the run before has ended. Waiting for that copy costs training nothing: it fills the
 * next inputs behind it and then reads the loss, which waits for the whole run. */
#include "runtime/device_cuda.h"

uint32_t cuda_n_sessions(const DeviceProgram *p)
{
    return p->plan->f->module->sessions.len;
}

/* Ranges, and the draw behind them. */
static size_t range_bytes(const DeviceProgram *p)
{
    return ((size_t)cuda_n_sessions(p) + 1) * 2 * sizeof(int32_t) + sizeof(CudaDraw);
}

size_t cuda_range_bytes(const DeviceProgram *p)
{
    return (range_bytes(p) + 255) & ~(size_t)255;
}

/* Does anybody send the inputs of such a program? */
static bool is_sent(const Plan *plan)
{
    return plan->kind == PROGRAM_STEP || plan->kind == PROGRAM_ACCUMULATE;
}

size_t cuda_ahead_bytes(const DeviceImage *image)
{
    size_t most = 0;
    for (int i = 0; i < image->n; i++) {
        const DeviceProgram *p = &image->program[i];
        if (is_sent(p->plan) && p->inputs.bytes > most)
            most = p->inputs.bytes;
    }
    return most;
}

/* ---- what there is to move ---- */

/* The recording all of whose launches, and no other's, touch the buffer; -1: none. */
static int session_of(const Plan *plan, int buffer)
{
    int session = -1;
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const Launch *l = &plan->launches.at[i];
        for (uint32_t k = 0; k < l->tile->tensors.len; k++) {
            if (l->tile->tensors.at[k].buffer != buffer)
                continue;
            if (l->session < 0 || l->tile->batch_axis < 0 ||
                (session >= 0 && session != l->session))
                return -1;
            session = l->session;
        }
    }
    return session;
}

/* Samples lie one behind the other? */
static bool is_by_samples(const Plan *plan, const TileLayout *l)
{
    const char *batch = plan->f->module->batch_axis;
    return batch && l->shape.rank > 0 && l->shape.name[0] && !strcmp(l->shape.name[0], batch) &&
           tile_layout_is_plain(l);
}

static CudaUpload upload_of(const DeviceProgram *p, uint32_t buffer)
{
    const PlanBuffer *b = &p->plan->buffers.at[buffer];
    CudaUpload u = {.offset = p->place[buffer].offset,
                    .bytes = tile_layout_bytes(&b->layout),
                    .session = -1,
                    .is_scalar = shape_elems(&b->layout.shape) == 1,
                    .is_random = plan_is_random(b)};
    if (!u.is_scalar && is_by_samples(p->plan, &b->layout))
        u.session = session_of(p->plan, (int)buffer);
    if (u.session >= 0)
        u.per_sample = u.bytes / (size_t)b->layout.shape.size[0];
    return u;
}

/* Neighbours of one kind that move whole are one upload. `end`: of the buffer before. */
static void add_upload(CudaProgram *own, CudaUpload u, size_t end)
{
    CudaUpload *last = own->upload + own->n_uploads; /* behind it */
    if (own->n_uploads && u.offset == end && u.session < 0 && last[-1].session < 0 &&
        u.is_scalar == last[-1].is_scalar && u.is_random == last[-1].is_random)
        last[-1].bytes = u.offset + u.bytes - last[-1].offset;
    else
        own->upload[own->n_uploads++] = u;
}

/* Of an input that the device fills what it is filled from, and as many pixels as there are. */
static void add_planes(CudaProgram *own, const DeviceProgram *p)
{
    const InputPlanes *s = &p->planes;
    own->upload[own->n_uploads++] =
        (CudaUpload){s->value_offset, s->packed_offset - s->value_offset, .session = -1};
    own->upload[own->n_uploads++] =
        (CudaUpload){.offset = s->packed_offset, .session = -1, .is_packed = true};
}

static void list_uploads(CudaProgram *own, Arena *memory, const DeviceProgram *p)
{
    const Plan *plan = p->plan;
    size_t end = 0;
    own->upload = ARENA_ARRAY(memory, CudaUpload, plan->buffers.len + 2);
    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        const PlanBuffer *b = &plan->buffers.at[i];
        if (b->kind != BUFFER_INPUT || (p->planes.samples && p->planes.buffer == (int)i))
            continue;
        add_upload(own, upload_of(p, i), end);
        end = p->place[i].offset + b->bytes;
    }
    if (p->planes.samples)
        add_planes(own, p);
}

/* Samples of a batch, as launches of recordings know it; 1 when none has a batch axis. */
static int32_t count_samples(const Plan *plan)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const TileProgram *t = plan->launches.at[i].tile;
        int64_t size = t->batch_axis >= 0 ? t->axes.at[t->batch_axis].size : 1;
        n = size > n ? size : n;
    }
    return (int32_t)n;
}

static Status pin_ranges(CudaState *c, CudaProgram *own, const DeviceProgram *p, Err *err)
{
    void *at = NULL;
    own->range_bytes = range_bytes(p);
    NPC_TRY(cuda_state_check(c, c->d->host_alloc(&at, own->range_bytes, 0),
                             "allocate pinned memory", err));
    own->range = at;
    return NPC_OK;
}

Status cuda_bind_inputs(CudaState *c, const DeviceImage *image, const DeviceProgram *p,
                        CudaAddress ranges, Err *err)
{
    CudaProgram *own = p->own;
    own->n_samples = count_samples(p->plan);
    own->ranges = ranges;
    NPC_TRY(pin_ranges(c, own, p, err));
    list_uploads(own, image->memory, p);
    for (uint32_t i = 0; i < p->plan->buffers.len; i++) {
        const PlanBuffer *b = &p->plan->buffers.at[i];
        size_t offset = p->place[i].offset;
        if (b->kind == BUFFER_CONSTANT)
            NPC_TRY(cuda_state_check(c,
                                     c->d->copy_to_device(p->inputs.device + offset,
                                                          p->inputs.host + offset,
                                                          tile_layout_bytes(&b->layout), c->stream),
                                     "copy to the device", err));
    }
    return NPC_OK;
}

/* ---- moving ---- */

static size_t packed_bytes(const DeviceProgram *p)
{
    const InputPlanes *s = &p->planes;
    return packed_end(s, (PackedPicture *)(p->inputs.host + s->picture_offset) + s->samples - 1);
}

/* Copies what the ranges need of an upload to the device at `to`, from the host's side or, when
 * `from` is not 0, from there. */
static Status copy(CudaState *c, const DeviceProgram *p, const CudaUpload *u,
                   const SampleRange *ranges, CudaAddress to, CudaAddress from, CudaStream stream,
                   Err *err)
{
    size_t offset = u->offset, bytes = u->is_packed ? packed_bytes(p) : u->bytes;
    if (u->session >= 0 && ranges) {
        offset += (size_t)ranges[u->session].first * u->per_sample;
        bytes = (size_t)ranges[u->session].count * u->per_sample;
    }
    if (!bytes)
        return NPC_OK;
    CudaResult r = from ? c->d->copy_on_device(to + offset, from + offset, bytes, stream)
                        : c->d->copy_to_device(to + offset, p->inputs.host + offset, bytes, stream);
    return cuda_state_check(c, r, "copy inputs to the device", err);
}

static bool is_moved(const DeviceProgram *p, const CudaUpload *u)
{
    return !(u->is_random && p->is_drawn);
}

static bool is_early(const DeviceProgram *p, const CudaUpload *u)
{
    return is_moved(p, u) && !u->is_scalar;
}

Status cuda_send(Device *device, DeviceImage *image, int program, const SampleRange *ranges,
                 Err *err)
{
    CudaState *c = (CudaState *)device;
    const DeviceProgram *p = &image->program[program];
    const CudaProgram *own = p->own;
    bool is_taken = c->ahead_of >= 0 && c->ahead_of != program; /* by another program's */
    if (is_taken || !is_sent(p->plan))
        return NPC_OK;
    NPC_TRY(cuda_state_enter(c, err));
    for (int i = 0; i < own->n_uploads; i++)
        if (is_early(p, &own->upload[i]))
            NPC_TRY(copy(c, p, &own->upload[i], ranges, c->ahead.device, 0, c->sender, err));
    c->ahead_of = program;
    return cuda_state_check(c, c->d->event_record(c->sent, c->sender), "record an event", err);
}

static Status take_sent(CudaState *c, const DeviceProgram *p, const SampleRange *ranges, Err *err)
{
    const CudaProgram *own = p->own;
    NPC_TRY(cuda_state_check(c, c->d->stream_after(c->stream, c->sent, 0), "wait for inputs", err));
    for (int i = 0; i < own->n_uploads; i++)
        if (is_early(p, &own->upload[i]))
            NPC_TRY(copy(c, p, &own->upload[i], ranges, p->inputs.device, c->ahead.device,
                         c->stream, err));
    c->ahead_of = -1;
    return NPC_OK;
}

static Status move_ranges(CudaState *c, const DeviceProgram *p, const SampleRange *ranges, Err *err)
{
    CudaProgram *own = p->own;
    for (uint32_t s = 0; s <= cuda_n_sessions(p); s++) {
        bool is_given = ranges && s < cuda_n_sessions(p);
        own->range[2 * s] = is_given ? (int32_t)ranges[s].first : 0;
        own->range[2 * s + 1] =
            is_given ? (int32_t)(ranges[s].first + ranges[s].count) : own->n_samples;
    }
    own->draw.is_wanted = p->is_drawn;
    memcpy(own->range + 2 * ((size_t)cuda_n_sessions(p) + 1), &own->draw, sizeof own->draw);
    return cuda_state_check(
        c, c->d->copy_to_device(own->ranges, own->range, own->range_bytes, c->stream),
        "copy inputs to the device", err);
}

Status cuda_move_inputs(CudaState *c, const DeviceImage *image, int program,
                        const SampleRange *ranges, Err *err)
{
    const DeviceProgram *p = &image->program[program];
    const CudaProgram *own = p->own;
    bool was_sent = c->ahead_of == program;
    if (was_sent)
        NPC_TRY(take_sent(c, p, ranges, err));
    for (int i = 0; i < own->n_uploads; i++)
        if (is_moved(p, &own->upload[i]) && !(was_sent && is_early(p, &own->upload[i])))
            NPC_TRY(copy(c, p, &own->upload[i], ranges, p->inputs.device, 0, c->stream, err));
    NPC_TRY(move_ranges(c, p, ranges, err));
    return cuda_state_check(c, c->d->event_record(c->moved, c->stream), "record an event", err);
}
