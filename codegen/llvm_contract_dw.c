/* Products summed over samples and pixels: the weight gradient of pointwise convolutions.
 *
 *     acc[group, v, u] = sum over samples and pixels of a[.., v, pixel] * b[.., u, pixel]
 *
 * Vectors lie along v, the inner axis of the result; u is broadcast.
 * Pixels are what lies behind v in the storage of its operand; of tokens, which lie in rows of
 * channels, everything.
 *
 * Phase 0: the work (sample, chunk of pixels) is cut into `slots` fixed ranges, and v into `splits`
 * ranges of blocks; a task is one of each. It takes its chunks one by one: both operands, their
 * prologues applied, go into scratch as [block][pixel][V], then tiles of accumulators of V
 * lanes, for every pair of blocks V of them or 4 rows of 3 blocks of v where registers are 16, run
 * over the chunk's pixels in registers and are added to the task's sums in the workspace
 * ([slot][group][v / V][u][V]). So a sum runs over at most CHUNK_PIXELS terms at a time, and each
 * chunk's sums are added up one level higher. Phase 1, a task per block of v, adds the slots in
 * float64 and applies the epilogue.
 *
 * The cut depends on the range of samples only, so results do not depend on the threads.
 * Measured on Zen 4 with AVX-512: tiles of 1 x 16 and 2 x 8 give 85 GFLOP/s (K = 64, memory) to
 * 109 (K = 256), with chunks of 64 pixels and more; 78 with 32. With AVX2 tiles of 3 x 4 give 67 to
 * 81, other products 76 to 99 there; 42 to 50 as long as every tile asked at every pixel whether it
 * fetches. */
#include "codegen/llvm_contract.h"
#include "codegen/llvm_space.h"
#include <assert.h>

enum {
    CHUNK_PIXELS = 128,
    CHUNK_BYTES = 524288, /* of both operands in scratch, at most */
    SLOT_BYTES = 8388608, /* of all slots, about */
    MAX_TASKS = 16,
    MOST_ACCUMULATORS = 16,
};

typedef struct Outward {
    const TileProgram *p;
    int lanes;
    int a, b; /* instructions: the operand that varies with v, with u */
    int v, u; /* axes */
    int64_t size_v, size_u, blocks_v, blocks_u;
    Outer samples, groups;
    Flat pixels;
    int64_t chunk, chunks;               /* pixels of a chunk; chunks of a sample */
    int64_t slots, splits, split_blocks; /* blocks of v in a split */
    int64_t slot_floats;
} Outward;

static bool find_axes(Outward *o, const TileProgram *p, const uint32_t *needs)
{
    uint32_t parallel = space_kind(p, TILE_PARALLEL);
    uint32_t left = needs[p->lhs] & parallel, right = needs[p->rhs] & parallel;
    uint32_t own_left = left & ~right, own_right = right & ~left;
    if (!own_left || !own_right || (own_left & (own_left - 1)) || (own_right & (own_right - 1)) ||
        (left | right) != parallel)
        return false;
    o->v = space_lane_axis(p, own_left | own_right);
    if (o->v < 0)
        return false;
    bool v_is_left = own_left >> o->v & 1;
    o->u = __builtin_ctz(v_is_left ? own_right : own_left);
    o->a = v_is_left ? p->lhs : p->rhs;
    o->b = v_is_left ? p->rhs : p->lhs;
    return true;
}

/* The load below `inst` that varies with most of the axes. */
static int widest_load(const TileProgram *p, const uint32_t *needs, int inst, uint32_t axes)
{
    bool used[SPACE_MAX_INSTS];
    int best = -1;
    space_used(p, inst, used);
    for (int i = 0; i <= inst; i++)
        if (used[i] && p->insts.at[i].kind == INST_LOAD &&
            (best < 0 ||
             __builtin_popcount(needs[i] & axes) > __builtin_popcount(needs[best] & axes)))
            best = i;
    return best;
}

/* Position of an axis in the storage that an instruction loads; MAX_RANK when absent. */
static int load_order(const TileProgram *p, int inst, int axis)
{
    const TileInst *in = &p->insts.at[inst];
    const TileLayout *l = &p->tensors.at[in->tensor].layout;
    for (int i = 0; i < l->shape.rank; i++)
        for (int k = 0; k < in->index[l->order[i]].n_terms; k++)
            if (in->index[l->order[i]].axis[k] == axis)
                return i;
    return MAX_RANK;
}

/* Is the axis innermost in what an instruction loads, and not in blocks? */
static bool is_innermost(const TileProgram *p, int inst, int axis)
{
    const TileLayout *l = &p->tensors.at[p->insts.at[inst].tensor].layout;
    return l->lane < 0 && load_order(p, inst, axis) == l->shape.rank - 1;
}

static void split_axes(Outward *o, const TileProgram *p, const uint32_t *needs)
{
    uint32_t reduced = space_kind(p, TILE_REDUCE);
    int main_load = widest_load(p, needs, o->a, reduced), n_axes = (int)p->axes.len;
    int at_v =
        main_load < 0 || is_innermost(p, main_load, o->v) ? -1 : load_order(p, main_load, o->v);
    Flat samples = {.elems = 1}, groups = {.elems = 1};
    o->pixels = (Flat){.elems = 1};

    for (int a = 0; a < n_axes; a++)
        if (p->axes.at[a].kind == TILE_PARALLEL && a != o->v && a != o->u)
            flat_add(&groups, p, a);
    if (p->batch_axis >= 0)
        flat_add(&samples, p, p->batch_axis);
    for (int order = 0; order <= MAX_RANK; order++)
        for (int a = 0; a < n_axes; a++) {
            int at = main_load < 0 ? 0 : load_order(p, main_load, a);
            if (p->axes.at[a].kind == TILE_REDUCE && a != p->batch_axis && at == order)
                flat_add(at > at_v ? &o->pixels : &samples, p, a);
        }
    outer_init(&o->samples, p, &samples);
    outer_init(&o->groups, p, &groups);
}

static void choose_sizes(Outward *o)
{
    int64_t pixels = o->pixels.elems, groups = o->groups.flat.elems;
    o->slot_floats = groups * o->blocks_v * o->blocks_u * o->lanes * o->lanes;
    o->slots = SLOT_BYTES / 4 / o->slot_floats;
    o->slots = o->slots < 1 ? 1 : o->slots > MAX_TASKS ? MAX_TASKS : o->slots;
    o->split_blocks = div_up(o->blocks_v, div_up(MAX_TASKS, o->slots * groups));
    o->splits = div_up(o->blocks_v, o->split_blocks);
    int64_t most = CHUNK_BYTES / (4 * o->lanes * (o->split_blocks + o->blocks_u));
    most = most > CHUNK_PIXELS ? CHUNK_PIXELS : most < 16 ? 16 : most;
    o->chunk = div_up(pixels, div_up(pixels, most));
    o->chunks = div_up(pixels, o->chunk);
}

static bool outward_plan(Outward *o, const TileProgram *p, const Target *target)
{
    uint32_t needs[SPACE_MAX_INSTS];
    *o = (Outward){.p = p, .lanes = target->lanes};
    if (p->anchor != TILE_CONTRACT || !p->stores.len || p->reductions.len ||
        !space_needs(p, needs) || !find_axes(o, p, needs) ||
        !space_stores_cover(p, space_kind(p, TILE_PARALLEL)) || !space_kind(p, TILE_REDUCE) ||
        (p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind != TILE_REDUCE))
        return false;
    o->size_v = p->axes.at[o->v].size;
    o->size_u = p->axes.at[o->u].size;
    o->blocks_v = div_up(o->size_v, o->lanes);
    o->blocks_u = div_up(o->size_u, o->lanes);
    split_axes(o, p, needs);
    choose_sizes(o);
    return true;
}

bool token_gradient_accepts(const TileProgram *p, const Target *target)
{
    Outward o;
    uint32_t needs[SPACE_MAX_INSTS];
    if (!outward_plan(&o, p, target) || !space_needs(p, needs))
        return false;
    uint32_t reduced = space_kind(p, TILE_REDUCE);
    int a = widest_load(p, needs, o.a, reduced), b = widest_load(p, needs, o.b, reduced);
    return a >= 0 && b >= 0 && is_innermost(p, a, o.v) && is_innermost(p, b, o.u);
}

bool outer_product_accepts(const TileProgram *p, const Target *target)
{
    Outward o;
    return outward_plan(&o, p, target);
}

static int64_t b_floats(const Outward *o)
{
    return o->blocks_u * o->chunk * o->lanes;
}

KernelSchedule outer_product_schedule(const TileProgram *p, const Target *target)
{
    Outward o;
    bool legal = outward_plan(&o, p, target);
    assert(legal);
    (void)legal;
    int64_t groups = o.groups.flat.elems;
    return (KernelSchedule){
        .n_phases = 2,
        .tasks = {o.slots * o.splits * groups, groups * o.blocks_v},
        .scratch_bytes = (size_t)(b_floats(&o) + o.split_blocks * o.chunk * o.lanes) * 4,
        .workspace_bytes = (size_t)(o.slots * o.slot_floats) * 4,
    };
}

/* ---- the main phase ---- */

typedef struct OutwardCx {
    Emitter *e;
    const Outward *o;
    Code *a, *b;
    FlatPlace a_at, b_at;
    Value group;
    Value block_first, block_last; /* blocks of v, half open */
    Value sums;                    /* of the slot and group */
    Value sample, first, count;    /* the chunk */
    Value a_chunk, b_chunk;        /* scratch: [block][chunk][V] */
} OutwardCx;

/* Blocks [first, last) of an operand into scratch. */
static void emit_operand(OutwardCx *cx, Code *code, FlatPlace *place, int inst, int axis,
                         Value first, Value last, Value to)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    int64_t size = o->p->axes.at[axis].size;
    EmitLoop block, pixel;

    outer_enter(code, &o->groups, o->groups.flat.n, cx->group);
    outer_enter(code, &o->samples, o->samples.flat.n, cx->sample);
    code_hoist(code, inst);
    emit_loop_begin(e, &block, first, last, 1, 0, NULL);
    Value at = emit_mul_n(e, block.index, o->lanes);
    code->mask = size % o->lanes ? emit_lane_mask(e, at, size, o->lanes) : NULL;
    code_enter(code, axis, at);
    code_hoist(code, inst);
    Value row = emit_mul_n(e, emit_sub(e, block.index, first), o->chunk * o->lanes);
    row = emit_at(e, to, row);
    emit_loop_begin(e, &pixel, emit_i64(e, 0), cx->count, 1, 0, NULL);
    flat_enter(code, place, emit_add(e, cx->first, pixel.index));
    Value v = emit_splat(e, code_value(code, inst), o->lanes);
    emit_store(e, emit_at(e, row, emit_mul_n(e, pixel.index, o->lanes)), v,
               4U * (unsigned)o->lanes);
    flat_leave(code, place);
    emit_loop_end(e, &pixel, NULL);
    code_leave(code, axis);
    emit_loop_end(e, &block, NULL);
    outer_leave(code, &o->samples, o->samples.flat.n);
    outer_leave(code, &o->groups, o->groups.flat.n);
}

/* Fetches what an operand's block of `axis` will read at a pixel of the next chunk. */
static void emit_fetch_ahead(OutwardCx *cx, Code *code, int inst, int axis, Value block,
                             Value pixel)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    bool used[SPACE_MAX_INSTS];

    space_used(o->p, inst, used);
    outer_enter(code, &o->groups, o->groups.flat.n, cx->group);
    outer_enter(code, &o->samples, o->samples.flat.n, cx->sample);
    code_enter(code, axis, emit_mul_n(e, block, o->lanes));
    for (int i = 0; i <= inst; i++)
        if (used[i] && o->p->insts.at[i].kind == INST_LOAD)
            flat_prefetch(code, &o->pixels, i,
                          emit_add(e, emit_add_n(e, cx->first, o->chunk), pixel), 1);
    code_leave(code, axis);
    outer_leave(code, &o->samples, o->samples.flat.n);
    outer_leave(code, &o->groups, o->groups.flat.n);
}

/* A tile of accumulators: `blocks` blocks from v with `rows` elements of block u from `from`. a, b
 * and sums are those of the two blocks. */
typedef struct Tile {
    Value v, u;
    int blocks;
    int64_t from, rows;
    Value a, b, sums;
} Tile;

static Value is_first_of_v(const OutwardCx *cx, const Tile *t)
{
    return LLVMBuildICmp(cx->e->builder, LLVMIntEQ, t->v, cx->block_first, "");
}

static Value is_first_of_u(const OutwardCx *cx, const Tile *t)
{
    return LLVMBuildICmp(cx->e->builder, LLVMIntEQ, t->u, emit_i64(cx->e, 0), "");
}

/* What a tile along the border of its chunk fetches at a pixel. */
static void emit_fetches(OutwardCx *cx, const Tile *t, Value pixel)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    EmitIf fetch;

    emit_if_begin(e, &fetch, is_first_of_v(cx, t));
    emit_fetch_ahead(cx, cx->b, o->b, o->u, t->u, pixel);
    emit_if_end(e, &fetch);
    emit_if_begin(e, &fetch, is_first_of_u(cx, t));
    for (int k = 0; k < t->blocks; k++)
        emit_fetch_ahead(cx, cx->a, o->a, o->v, emit_add_n(e, t->v, k), pixel);
    emit_if_end(e, &fetch);
}

/* sums += the chunk's product. */
static void emit_tile(OutwardCx *cx, const Tile *t, bool fetches)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    int lanes = o->lanes, blocks = t->blocks;
    int64_t next_a = o->chunk * lanes, next_sums = o->blocks_u * lanes * lanes;
    unsigned align = 4U * (unsigned)lanes;
    Value acc[MOST_ACCUMULATORS], column[MOST_ACCUMULATORS];
    EmitLoop pixel;

    for (int64_t i = 0; i < t->rows * blocks; i++)
        acc[i] = emit_zero(e, emit_vector_type(e, e->f32, lanes));
    emit_loop_begin(e, &pixel, emit_i64(e, 0), cx->count, 1, (int)t->rows * blocks, acc);
    Value at = emit_mul_n(e, pixel.index, lanes);
    Value row = emit_at(e, t->b, emit_add_n(e, at, t->from));
    for (int k = 0; k < blocks; k++)
        column[k] = emit_load(e, emit_at(e, t->a, emit_add_n(e, at, k * next_a)), lanes, align);
    for (int64_t i = 0; i < t->rows; i++) {
        Value one = emit_load(e, emit_at(e, row, emit_i64(e, i)), 1, 4);
        one = emit_splat(e, one, lanes);
        for (int k = 0; k < blocks; k++)
            acc[i * blocks + k] = emit_fma(e, column[k], one, pixel.carried[i * blocks + k]);
    }
    if (fetches)
        emit_fetches(cx, t, pixel.index);
    emit_loop_end(e, &pixel, acc);
    for (int64_t i = 0; i < t->rows * blocks; i++) {
        Value address = emit_at(
            e, t->sums, emit_i64(e, i % blocks * next_sums + (t->from + i / blocks) * lanes));
        Value sum = emit_fadd(e, emit_load(e, address, lanes, align), pixel.result[i]);
        emit_store(e, address, sum, align);
    }
}

/* `rows` elements of block `u`, in tiles of at most `most`. Few tiles fetch: they have code of
 * their own, since branches between loads and products cost registers. */
static void emit_rows(OutwardCx *cx, Value v, int blocks, Value u, int64_t rows, int64_t most,
                      Value a, Value sums)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    Tile t = {.v = v, .u = u, .blocks = blocks, .a = a};
    EmitIf border;

    t.b = emit_at(e, cx->b_chunk, emit_mul_n(e, u, o->chunk * o->lanes));
    t.sums = emit_at(e, sums, emit_mul_n(e, u, (int64_t)o->lanes * o->lanes));
    t.rows = rows < most ? rows : most;
    Value is_border = LLVMBuildOr(e->builder, is_first_of_v(cx, &t), is_first_of_u(cx, &t), "");
    emit_if_begin(e, &border, is_border);
    emit_tile(cx, &t, true);
    emit_if_else(e, &border);
    emit_tile(cx, &t, false);
    emit_if_end(e, &border);
    for (t.from = most; t.from < rows; t.from += most) {
        t.rows = rows - t.from < most ? rows - t.from : most;
        emit_tile(cx, &t, false);
    }
}

/* `blocks` blocks of v at a time from `first` to `last`. */
static void emit_columns(OutwardCx *cx, Value first, Value last, int blocks, int64_t most)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    int64_t whole = o->size_u / o->lanes, rest = o->size_u % o->lanes;
    EmitLoop v, u;

    emit_loop_begin(e, &v, first, last, blocks, 0, NULL);
    Value local = emit_sub(e, v.index, cx->block_first);
    Value a = emit_at(e, cx->a_chunk, emit_mul_n(e, local, o->chunk * o->lanes));
    Value sums = emit_at(e, cx->sums, emit_mul_n(e, v.index, o->blocks_u * o->lanes * o->lanes));
    emit_loop_begin(e, &u, emit_i64(e, 0), emit_i64(e, whole), 1, 0, NULL);
    emit_rows(cx, v.index, blocks, u.index, o->lanes, most, a, sums);
    emit_loop_end(e, &u, NULL);
    if (rest)
        emit_rows(cx, v.index, blocks, emit_i64(e, whole), rest, most, a, sums);
    emit_loop_end(e, &v, NULL);
}

static void emit_products(OutwardCx *cx)
{
    Emitter *e = cx->e;
    bool many = e->target.cpu == CPU_AVX512; /* registers: 32, else 16 */
    int blocks = many ? 1 : 3;
    Value all = emit_sub(e, cx->block_last, cx->block_first);
    Value whole = emit_mul_n(e, emit_div_n(e, all, blocks), blocks);
    whole = emit_add(e, cx->block_first, whole);
    emit_columns(cx, cx->block_first, whole, blocks, many ? cx->o->lanes : 4);
    if (blocks > 1)
        emit_columns(cx, whole, cx->block_last, 1, cx->o->lanes);
}

/* Zeroes the task's sums. */
static void emit_clear(OutwardCx *cx)
{
    Emitter *e = cx->e;
    const Outward *o = cx->o;
    int64_t block = o->blocks_u * o->lanes * o->lanes;
    EmitLoop l;
    emit_loop_begin(e, &l, emit_mul_n(e, cx->block_first, block),
                    emit_mul_n(e, cx->block_last, block), o->lanes, 0, NULL);
    emit_store(e, emit_at(e, cx->sums, l.index),
               emit_zero(e, emit_vector_type(e, e->f32, o->lanes)), 4U * (unsigned)o->lanes);
    emit_loop_end(e, &l, NULL);
}

static Value slot_at(Emitter *e, const Outward *o, Value slot, Value group)
{
    int64_t group_floats = o->slot_floats / o->groups.flat.elems;
    Value at = emit_add(e, emit_mul_n(e, slot, o->slot_floats), emit_mul_n(e, group, group_floats));
    return emit_at(e, e->workspace, at);
}

static void emit_main(Emitter *e, const Outward *o)
{
    OutwardCx cx = {.e = e, .o = o};
    Value digit[3];
    int64_t sizes[3] = {o->groups.flat.elems, o->splits, o->slots};
    EmitLoop unit;

    cx.a = code_new(e, o->v, o->lanes);
    cx.b = code_new(e, o->u, o->lanes);
    cx.a_at.flat = cx.b_at.flat = &o->pixels;
    flat_hook(cx.a, &cx.a_at);
    flat_hook(cx.b, &cx.b_at);
    emit_digits(e, e->task, 3, sizes, digit);
    cx.group = digit[0];
    cx.block_first = emit_mul_n(e, digit[1], o->split_blocks);
    cx.block_last =
        emit_min(e, emit_add_n(e, cx.block_first, o->split_blocks), emit_i64(e, o->blocks_v));
    cx.sums = slot_at(e, o, digit[2], cx.group);
    cx.b_chunk = e->scratch;
    cx.a_chunk = emit_at(e, e->scratch, emit_i64(e, b_floats(o)));
    emit_clear(&cx);

    Value units = emit_mul_n(e, outer_count(e, &o->samples), o->chunks);
    Value lo = emit_div_n(e, emit_mul(e, units, digit[2]), o->slots);
    Value hi = emit_div_n(e, emit_mul(e, units, emit_add_n(e, digit[2], 1)), o->slots);
    emit_loop_begin(e, &unit, lo, hi, 1, 0, NULL);
    cx.sample = emit_div_n(e, unit.index, o->chunks);
    cx.first = emit_mul_n(e, emit_mod_n(e, unit.index, o->chunks), o->chunk);
    cx.count =
        emit_min(e, emit_sub(e, emit_i64(e, o->pixels.elems), cx.first), emit_i64(e, o->chunk));
    emit_operand(&cx, cx.a, &cx.a_at, o->a, o->v, cx.block_first, cx.block_last, cx.a_chunk);
    emit_operand(&cx, cx.b, &cx.b_at, o->b, o->u, emit_i64(e, 0), emit_i64(e, o->blocks_u),
                 cx.b_chunk);
    emit_products(&cx);
    emit_loop_end(e, &unit, NULL);
}

/* ---- the last phase ---- */

static void emit_combine(Emitter *e, const Outward *o)
{
    Code *code = code_new(e, o->v, o->lanes);
    Value group = emit_div_n(e, e->task, o->blocks_v), block = emit_mod_n(e, e->task, o->blocks_v);
    Value at = emit_mul_n(e, block, o->lanes);
    int64_t row = o->blocks_u * o->lanes;
    EmitLoop u, slot;

    if (o->size_v % o->lanes)
        code->mask = emit_lane_mask(e, at, o->size_v, o->lanes);
    outer_enter(code, &o->groups, o->groups.flat.n, group);
    code_enter(code, o->v, at);
    emit_loop_begin(e, &u, emit_i64(e, 0), emit_i64(e, o->size_u), 1, 0, NULL);
    code_enter(code, o->u, u.index);
    Value offset = emit_add(e, emit_mul_n(e, block, row), u.index);
    offset = emit_mul_n(e, offset, o->lanes);
    Value zero = emit_zero(e, emit_vector_type(e, e->f64, o->lanes));
    emit_loop_begin(e, &slot, emit_i64(e, 0), emit_i64(e, o->slots), 1, 1, &zero);
    Value part = emit_load(e, emit_at(e, slot_at(e, o, slot.index, group), offset), o->lanes,
                           4U * (unsigned)o->lanes);
    Value sum = emit_fadd(e, slot.carried[0], emit_to_f64(e, part));
    emit_loop_end(e, &slot, &sum);
    code_new_acc(code, emit_to_f32(e, slot.result[0]));
    for (uint32_t i = 0; i < o->p->stores.len; i++)
        code_store(code, &o->p->stores.at[i], code_value(code, o->p->stores.at[i].inst));
    code_leave(code, o->u);
    emit_loop_end(e, &u, NULL);
    code_leave(code, o->v);
    outer_leave(code, &o->groups, o->groups.flat.n);
}

void outer_product_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Outward o;
    bool legal = outward_plan(&o, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_main(e, &o);
    emit_function_end(e);
    emit_function_begin(e, p, symbol[1]);
    emit_combine(e, &o);
    emit_function_end(e);
}
