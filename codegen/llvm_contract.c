/* Products with one reduced axis: pointwise convolutions forward and their input gradient.
 *
 *     acc[outer, n, pixel] = sum over k of x[outer, k, pixel] * w[n, k]
 *
 * n is the channel axis that vectors lie along; x is whichever operand varies with the pixels.
 * Where n is the innermost axis of a plain result, its rows are tokens (or pixels with their
 * channels last), and all other axes are pixels; else pixels are what lies behind n in storage.
 *
 * Phase 0 packs the other operand as [n / V][k][V], from any layout (a task per block of n).
 * Phase 1, a task per sample and part of its pixels, walks chunks of pixels: x, its prologue
 * applied, goes into scratch as [k / V][pixel][V]; then for every panel of two blocks of n, tiles
 * of 2 V x 8 accumulators in registers run over the whole of k, and the epilogue runs over the
 * panel's results, which are still in the first-level cache. K takes exactly the axis' size, so
 * padding lanes of x, which may hold anything, never meet a result.
 * Phase 2 combines the moments of reductions (llvm_moments.h).
 *
 * Measured on Zen 4 with AVX-512 (105 GFLOP/s): tiles of 2 x 8, 2 x 12 and 4 x 4 are within 5 %;
 * walking pixels inside a panel beats panels inside a tile of pixels by 20 % at K = 64; copying a
 * bare x into scratch costs 3 % at K = 64 and gains 20 % at K = 448, where its rows lie in pages of
 * their own. */
#include "codegen/llvm_contract.h"
#include "codegen/llvm_moments.h"
#include <assert.h>

enum {
    PANEL = 2,            /* blocks of n in registers */
    CHUNK_PIXELS = 96,    /* about */
    CHUNK_BYTES = 393216, /* of x in scratch, at most: a share of the second-level cache */
    MAX_PARTS = 16,       /* tasks per sample */
    TOKEN_PARTS = 128,    /* tasks where everything is pixels */
};

typedef struct Conv {
    const TileProgram *p;
    int lanes;
    int x, w; /* instructions */
    int k, n; /* axes */
    int64_t size_k, size_n, blocks_k, blocks_n;
    bool tokens;        /* n is innermost and plain */
    Outer outer, packs; /* samples; those of their axes that w varies with */
    Flat pixels;
    int64_t tile;                      /* pixels in registers */
    int64_t chunk, parts, part_pixels; /* pixels of a chunk; parts of a sample and their pixels */
    Moments moments;
    int64_t packed_floats; /* of one pack */
} Conv;

/* Can vectors lie along n? Then the operand that varies with it is w. */
static bool try_channel(Conv *c, const TileProgram *p, const uint32_t *needs, int n)
{
    bool w_is_left = needs[p->lhs] >> n & 1;
    c->n = n;
    c->w = w_is_left ? p->lhs : p->rhs;
    c->x = w_is_left ? p->rhs : p->lhs;
    uint32_t of_w = needs[c->w], own = of_w & ~needs[c->x];
    if (p->batch_axis >= 0 && (of_w >> p->batch_axis & 1))
        return false;
    return own == 1U << n;
}

/* x, w, k and n of the program; false when it has another form. */
static bool find_operands(Conv *c, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS], reduced = space_kind(p, TILE_REDUCE);
    if (p->anchor != TILE_CONTRACT || !p->stores.len || !reduced || (reduced & (reduced - 1)) ||
        !space_needs(p, needs) || !space_stores_cover(p, space_kind(p, TILE_PARALLEL)))
        return false;
    uint32_t left = needs[p->lhs], right = needs[p->rhs], own = (left ^ right) & ~reduced;
    c->k = __builtin_ctz(reduced);
    if (!(left & reduced) || !(right & reduced))
        return false;
    int best = space_lane_axis(p, own);
    if (best >= 0 && try_channel(c, p, needs, best))
        return true;
    for (int a = 0; a < (int)p->axes.len; a++)
        if ((own >> a & 1) && try_channel(c, p, needs, a))
            return true;
    return false;
}

/* Is the axis the innermost one of the first store, not in blocks? */
static bool is_innermost(const TileProgram *p, int axis)
{
    const TileLayout *l = &p->tensors.at[p->stores.at[0].tensor].layout;
    return l->lane < 0 && space_store_order(p, axis) == l->shape.rank - 1;
}

/* Splits the remaining parallel axes into samples, packs and pixels. */
static void split_axes(Conv *c, const TileProgram *p)
{
    uint32_t needs[SPACE_MAX_INSTS];
    space_needs(p, needs);
    uint32_t kept = moments_kept_axes(p), of_w = needs[c->w];
    int at_n = space_store_order(p, c->n), n_axes = (int)p->axes.len;
    Flat outer = {.elems = 1}, packs = {.elems = 1};
    c->pixels = (Flat){.elems = 1};
    c->tokens = is_innermost(p, c->n);

    if (p->batch_axis >= 0)
        flat_add(&outer, p, p->batch_axis);
    for (int pass = 0; pass < 2; pass++) /* the axes of results first */
        for (int a = 0; a < n_axes; a++) {
            bool is_outer =
                (kept | of_w) >> a & 1 || (!c->tokens && space_store_order(p, a) < at_n);
            if (p->axes.at[a].kind != TILE_PARALLEL || a == c->n || a == p->batch_axis ||
                !is_outer || (kept >> a & 1) != (pass == 0))
                continue;
            flat_add(&outer, p, a);
            if (of_w >> a & 1)
                flat_add(&packs, p, a);
        }
    for (int rank = 0; rank < MAX_RANK; rank++)
        for (int a = 0; a < n_axes; a++)
            if (p->axes.at[a].kind == TILE_PARALLEL && a != c->n && !flat_has(&outer, a) &&
                space_store_order(p, a) == rank)
                flat_add(&c->pixels, p, a);
    outer_init(&c->outer, p, &outer);
    outer_init(&c->packs, p, &packs);
    c->packs.ranged = false;
}

static void choose_sizes(Conv *c)
{
    int64_t pixels = c->pixels.elems, most = CHUNK_BYTES / (4 * c->lanes * c->blocks_k);
    int64_t parts = c->tokens ? div_up(TOKEN_PARTS, c->outer.flat.elems) : MAX_PARTS;
    c->tile = c->lanes == 16 ? 8 : 6; /* 32 registers, or 16 */
    if (pixels < c->tile)
        c->tile = pixels;
    if (most > CHUNK_PIXELS)
        most = CHUNK_PIXELS;
    if (most < c->tile)
        most = c->tile;
    c->chunk = round_up(div_up(pixels, div_up(pixels, most)), c->tile);
    int64_t chunks = div_up(pixels, c->chunk);
    c->part_pixels = div_up(chunks, parts) * c->chunk;
    c->parts = div_up(pixels, c->part_pixels);
}

static bool conv_plan(Conv *c, const TileProgram *p, const Target *target)
{
    *c = (Conv){.p = p, .lanes = target->lanes};
    if (!find_operands(c, p))
        return false;
    split_axes(c, p);
    c->size_k = p->axes.at[c->k].size;
    c->size_n = p->axes.at[c->n].size;
    c->blocks_k = div_up(c->size_k, c->lanes);
    c->blocks_n = div_up(c->size_n, c->lanes);
    choose_sizes(c);
    c->packed_floats = c->blocks_n * c->size_k * c->lanes;
    if (!moments_init(&c->moments, p, &c->outer, c->n, c->lanes, c->parts))
        return false;
    c->moments.offset = (size_t)round_up(c->packs.flat.elems * c->packed_floats * 4, 64);
    return true;
}

bool conv_accepts(const TileProgram *p, const Target *target)
{
    Conv c;
    return conv_plan(&c, p, target);
}

static int64_t x_floats(const Conv *c)
{
    return round_up(c->blocks_k * c->chunk * c->lanes, 16);
}

KernelSchedule conv_schedule(const TileProgram *p, const Target *target)
{
    Conv c;
    bool legal = conv_plan(&c, p, target);
    assert(legal);
    (void)legal;
    KernelSchedule s = {.n_phases = p->reductions.len ? 3 : 2};
    outer_tasks(&c.packs, c.blocks_n, &s, 0);
    outer_tasks(&c.outer, c.parts, &s, 1);
    if (p->reductions.len)
        s.tasks[2] = c.blocks_n;
    s.scratch_bytes = (size_t)(x_floats(&c) + PANEL * c.chunk * c.lanes) * 4;
    s.workspace_bytes = c.moments.offset + (p->reductions.len ? moments_bytes(&c.moments) : 0);
    return s;
}

static void set_mask(Code *code, Value at, int64_t size)
{
    code->mask = size % code->lanes ? emit_lane_mask(code->e, at, size, code->lanes) : NULL;
}

/* ---- packing ---- */

/* Does every load of w give a vector of n, or the same for all? */
static bool packs_vectors(const Code *code, int inst)
{
    bool used[SPACE_MAX_INSTS];
    space_used(code->p, inst, used);
    for (int i = 0; i <= inst; i++) {
        const TileInst *in = &code->p->insts.at[i];
        if (used[i] && in->kind == INST_LOAD &&
            code_access(code, &code->p->tensors.at[in->tensor], in->index) == ACCESS_SCATTERED)
            return false;
    }
    return true;
}

static Value packed_at(Emitter *e, const Conv *c, Value pack, Value block, Value k)
{
    Value row = emit_add(e, emit_mul_n(e, block, c->size_k), k);
    Value at = emit_add(e, emit_mul_n(e, pack, c->packed_floats), emit_mul_n(e, row, c->lanes));
    return emit_at(e, e->workspace, at);
}

static void pack_vectors(Code *code, const Conv *c, Value pack, Value block)
{
    Emitter *e = code->e;
    Value at = emit_mul_n(e, block, c->lanes);
    EmitLoop k;
    set_mask(code, at, c->size_n);
    code_enter(code, c->n, at);
    emit_loop_begin(e, &k, emit_i64(e, 0), emit_i64(e, c->size_k), 1, 0, NULL);
    code_enter(code, c->k, k.index);
    Value v = emit_splat(e, code_value(code, c->w), c->lanes);
    emit_store(e, packed_at(e, c, pack, block, k.index), v, 4U * (unsigned)c->lanes);
    code_leave(code, c->k);
    emit_loop_end(e, &k, NULL);
    code_leave(code, c->n);
}

/* Element by element, k inside: rows of w are read along. */
static void pack_elements(Code *code, const Conv *c, Value pack, Value block)
{
    Emitter *e = code->e;
    EmitLoop lane, k;
    emit_loop_begin(e, &lane, emit_i64(e, 0), emit_i64(e, c->lanes), 1, 0, NULL);
    Value n = emit_add(e, emit_mul_n(e, block, c->lanes), lane.index);
    code_enter(code, c->n, emit_min(e, n, emit_i64(e, c->size_n - 1)));
    emit_loop_begin(e, &k, emit_i64(e, 0), emit_i64(e, c->size_k), 1, 0, NULL);
    code_enter(code, c->k, k.index);
    Value address = emit_at(e, packed_at(e, c, pack, block, k.index), lane.index);
    emit_store(e, address, code_value(code, c->w), 4);
    code_leave(code, c->k);
    emit_loop_end(e, &k, NULL);
    code_leave(code, c->n);
    emit_loop_end(e, &lane, NULL);
}

static void emit_packing(Emitter *e, const Conv *c)
{
    Code *vectors = code_new(e, c->n, c->lanes), *elements = code_new(e, -1, 1);
    bool wide = packs_vectors(vectors, c->w);
    Code *code = wide ? vectors : elements;
    Value pack = emit_div_n(e, e->task, c->blocks_n), block = emit_mod_n(e, e->task, c->blocks_n);

    outer_enter(code, &c->packs, c->packs.flat.n, pack);
    if (wide)
        pack_vectors(code, c, pack, block);
    else
        pack_elements(code, c, pack, block);
    outer_leave(code, &c->packs, c->packs.flat.n);
}

/* ---- the main phase ---- */

/* What all parts of the phase know. Pixels count from 0 within the sample. */
typedef struct ConvCx {
    Emitter *e;
    const Conv *c;
    Code *prologue, *epilogue;
    FlatPlace prologue_at, epilogue_at;
    Value sample;                /* index over outer axes */
    Value part_first, part_last; /* pixels of the task, half open */
    Value first, count;          /* pixels of the chunk */
    Value panel_block;           /* first block of the panel */
    Value weights;               /* packed, of this sample */
    Value x, acc;                /* scratch: [blocks_k][chunk][V], [PANEL][chunk][V] */
} ConvCx;

/* x of the chunk's pixels, prologue applied, into scratch. */
static void emit_prologue(ConvCx *cx)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    Code *code = cx->prologue;
    EmitLoop block, pixel;

    outer_enter(code, &c->outer, c->outer.flat.n, cx->sample);
    code_hoist(code, c->x);
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, c->blocks_k), 1, 0, NULL);
    Value k = emit_mul_n(e, block.index, c->lanes);
    set_mask(code, k, c->size_k);
    code_enter(code, c->k, k);
    code_hoist(code, c->x);
    Value row = emit_at(e, cx->x, emit_mul_n(e, block.index, c->chunk * c->lanes));
    emit_loop_begin(e, &pixel, emit_i64(e, 0), cx->count, 1, 0, NULL);
    flat_enter(code, &cx->prologue_at, emit_add(e, cx->first, pixel.index));
    Value v = emit_splat(e, code_value(code, c->x), c->lanes);
    emit_store(e, emit_at(e, row, emit_mul_n(e, pixel.index, c->lanes)), v,
               4U * (unsigned)c->lanes);
    flat_leave(code, &cx->prologue_at);
    emit_loop_end(e, &pixel, NULL);
    code_leave(code, c->k);
    emit_loop_end(e, &block, NULL);
    outer_leave(code, &c->outer, c->outer.flat.n);
}

/* acc += w[k .. k + steps) x[..]; `w` and `x` stand at k. */
static void emit_steps(ConvCx *cx, int panel, Value w, Value x, int64_t steps, Value *acc)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    for (int64_t s = 0; s < steps; s++) {
        Value column[PANEL];
        for (int b = 0; b < panel; b++)
            column[b] = emit_load(e, emit_at(e, w, emit_i64(e, (b * c->size_k + s) * c->lanes)),
                                  c->lanes, 4U * (unsigned)c->lanes);
        for (int64_t i = 0; i < c->tile; i++) {
            Value one = emit_load(e, emit_at(e, x, emit_i64(e, i * c->lanes + s)), 1, 4);
            one = emit_splat(e, one, c->lanes);
            for (int b = 0; b < panel; b++) {
                Value *at = &acc[b * c->tile + i];
                *at = emit_fma(e, column[b], one, *at);
            }
        }
    }
}

/* Fetches what the same tile of the next chunk will read in a block of k. */
static void emit_fetch_ahead(ConvCx *cx, Value block_k, Value tile)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    Value pixel = emit_add(e, emit_add_n(e, cx->first, c->chunk), tile);
    bool used[SPACE_MAX_INSTS];
    EmitIf first_panel;
    space_used(c->p, c->x, used);
    emit_if_begin(e, &first_panel,
                  LLVMBuildICmp(e->builder, LLVMIntEQ, cx->panel_block, emit_i64(e, 0), ""));
    outer_enter(cx->prologue, &c->outer, c->outer.flat.n, cx->sample);
    code_enter(cx->prologue, c->k, emit_mul_n(e, block_k, c->lanes));
    for (int i = 0; i <= c->x; i++)
        if (used[i] && c->p->insts.at[i].kind == INST_LOAD)
            flat_prefetch(cx->prologue, &c->pixels, i, pixel, c->tile);
    code_leave(cx->prologue, c->k);
    outer_leave(cx->prologue, &c->outer, c->outer.flat.n);
    emit_if_end(e, &first_panel);
}

/* One tile in registers over all of k: scratch acc of panel x tile from pixel `at` of the chunk. */
static void emit_tile(ConvCx *cx, int panel, Value w, Value at)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    int n = panel * (int)c->tile;
    int64_t whole = c->size_k / c->lanes, rest = c->size_k % c->lanes;
    Value acc[PANEL * 8], offset = emit_mul_n(e, at, c->lanes), x = emit_at(e, cx->x, offset);
    EmitLoop k;

    for (int i = 0; i < n; i++)
        acc[i] = emit_zero(e, emit_vector_type(e, e->f32, c->lanes));
    emit_loop_begin(e, &k, emit_i64(e, 0), emit_i64(e, whole), 1, n, acc);
    for (int i = 0; i < n; i++)
        acc[i] = k.carried[i];
    emit_fetch_ahead(cx, k.index, at);
    emit_steps(cx, panel, emit_at(e, w, emit_mul_n(e, k.index, c->lanes * c->lanes)),
               emit_at(e, x, emit_mul_n(e, k.index, c->chunk * c->lanes)), c->lanes, acc);
    emit_loop_end(e, &k, acc);
    for (int i = 0; i < n; i++)
        acc[i] = k.result[i];
    emit_steps(cx, panel, emit_at(e, w, emit_i64(e, whole * c->lanes * c->lanes)),
               emit_at(e, x, emit_i64(e, whole * c->chunk * c->lanes)), rest, acc);

    Value to = emit_at(e, cx->acc, offset);
    for (int b = 0; b < panel; b++)
        for (int64_t i = 0; i < c->tile; i++) {
            Value address = emit_at(e, to, emit_i64(e, (b * c->chunk + i) * c->lanes));
            emit_store(e, address, acc[b * c->tile + i], 4U * (unsigned)c->lanes);
        }
}

static void hoist_epilogue(Code *code, const TileProgram *p)
{
    for (uint32_t i = 0; i < p->stores.len; i++)
        code_hoist(code, p->stores.at[i].inst);
    for (uint32_t i = 0; i < p->reductions.len; i++)
        code_hoist(code, p->reductions.at[i].inst);
}

/* Puts the epilogue on a pixel of the chunk and of a block whose results stand at `row`. */
static void enter_result(ConvCx *cx, Value row, Value pixel)
{
    Emitter *e = cx->e;
    int lanes = cx->c->lanes;
    flat_enter(cx->epilogue, &cx->epilogue_at, emit_add(e, cx->first, pixel));
    code_new_acc(cx->epilogue, emit_load(e, emit_at(e, row, emit_mul_n(e, pixel, lanes)), lanes,
                                         4U * (unsigned)lanes));
}

static void leave_result(ConvCx *cx)
{
    flat_leave(cx->epilogue, &cx->epilogue_at);
    code_new_acc(cx->epilogue, NULL);
}

/* Epilogue of one block of n over the chunk's pixels. */
static void emit_epilogue(ConvCx *cx, Value block, Value row)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    Code *code = cx->epilogue;
    const Moments *m = &c->moments;
    Value n = emit_mul_n(e, block, c->lanes), slot = NULL;
    Value carried[2 * MOMENTS_MAX], next[2 * MOMENTS_MAX];
    EmitIf start;
    EmitLoop pixel;

    set_mask(code, n, c->size_n);
    outer_enter(code, &c->outer, c->outer.flat.n, cx->sample);
    code_enter(code, c->n, n);
    hoist_epilogue(code, c->p);
    if (m->n) {
        slot = moments_slot(e, m, e->task, block);
        emit_if_begin(e, &start,
                      LLVMBuildICmp(e->builder, LLVMIntEQ, cx->first, cx->part_first, ""));
        enter_result(cx, row, emit_i64(e, 0));
        moments_first(code, m, slot, emit_sub(e, cx->part_last, cx->part_first));
        leave_result(cx);
        emit_if_end(e, &start);
    }
    int n_carried = moments_begin(e, m, carried);
    emit_loop_begin(e, &pixel, emit_i64(e, 0), cx->count, 1, n_carried, carried);
    enter_result(cx, row, pixel.index);
    for (uint32_t i = 0; i < c->p->stores.len; i++)
        flat_store(code, &cx->epilogue_at, &c->p->stores.at[i],
                   code_value(code, c->p->stores.at[i].inst));
    moments_step(code, m, slot, pixel.carried, next);
    leave_result(cx);
    emit_loop_end(e, &pixel, next);
    moments_end(e, m, slot, pixel.result);
    code_leave(code, c->n);
    outer_leave(code, &c->outer, c->outer.flat.n);
}

/* `panel` blocks of n from `block` for the chunk. */
static void emit_panel(ConvCx *cx, int panel, Value block)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    Value w = emit_at(e, cx->weights, emit_mul_n(e, block, c->size_k * c->lanes));
    EmitLoop tile, part;

    cx->panel_block = block;
    emit_loop_begin(e, &tile, emit_i64(e, 0), cx->count, c->tile, 0, NULL);
    emit_tile(cx, panel, w, tile.index);
    emit_loop_end(e, &tile, NULL);
    emit_loop_begin(e, &part, emit_i64(e, 0), emit_i64(e, panel), 1, 0, NULL);
    emit_epilogue(cx, emit_add(e, block, part.index),
                  emit_at(e, cx->acc, emit_mul_n(e, part.index, c->chunk * c->lanes)));
    emit_loop_end(e, &part, NULL);
}

static void emit_chunk(ConvCx *cx)
{
    Emitter *e = cx->e;
    const Conv *c = cx->c;
    int64_t whole = c->blocks_n / PANEL * PANEL;
    EmitLoop block;

    emit_prologue(cx);
    if (whole) {
        emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, whole), PANEL, 0, NULL);
        emit_panel(cx, PANEL, block.index);
        emit_loop_end(e, &block, NULL);
    }
    if (whole < c->blocks_n)
        emit_panel(cx, 1, emit_i64(e, whole));
}

/* Index over the packs' axes of the sample. */
static Value pack_of_sample(Emitter *e, const Conv *c, Value sample)
{
    Value digit[TILE_MAX_AXES], pack = emit_i64(e, 0);
    const Flat *o = &c->outer.flat;
    if (!c->packs.flat.n)
        return pack;
    emit_digits(e, sample, o->n, o->size, digit);
    for (int i = 0; i < o->n; i++)
        if (flat_has(&c->packs.flat, o->axis[i]))
            pack = emit_add(e, emit_mul_n(e, pack, o->size[i]), digit[i]);
    return pack;
}

static void emit_main(Emitter *e, const Conv *c)
{
    ConvCx cx = {.e = e, .c = c};
    EmitLoop chunk;

    cx.prologue = code_new(e, c->k, c->lanes);
    cx.epilogue = code_new(e, c->n, c->lanes);
    cx.prologue_at.flat = cx.epilogue_at.flat = &c->pixels;
    flat_hook(cx.prologue, &cx.prologue_at);
    flat_hook(cx.epilogue, &cx.epilogue_at);
    cx.sample = emit_div_n(e, e->task, c->parts);
    cx.part_first = emit_mul_n(e, emit_mod_n(e, e->task, c->parts), c->part_pixels);
    cx.part_last =
        emit_min(e, emit_add_n(e, cx.part_first, c->part_pixels), emit_i64(e, c->pixels.elems));
    cx.weights =
        emit_at(e, e->workspace, emit_mul_n(e, pack_of_sample(e, c, cx.sample), c->packed_floats));
    cx.x = e->scratch;
    cx.acc = emit_at(e, e->scratch, emit_i64(e, x_floats(c)));
    emit_loop_begin(e, &chunk, cx.part_first, cx.part_last, c->chunk, 0, NULL);
    cx.first = chunk.index;
    cx.count = emit_min(e, emit_sub(e, cx.part_last, cx.first), emit_i64(e, c->chunk));
    emit_chunk(&cx);
    emit_loop_end(e, &chunk, NULL);
}

void conv_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Conv c;
    bool legal = conv_plan(&c, p, &e->target);
    assert(legal);
    (void)legal;
    emit_function_begin(e, p, symbol[0]);
    emit_packing(e, &c);
    emit_function_end(e);
    emit_function_begin(e, p, symbol[1]);
    emit_main(e, &c);
    flat_store_fence(e);
    emit_function_end(e);
    if (!p->reductions.len)
        return;
    emit_function_begin(e, p, symbol[2]);
    moments_combine(e, &c.moments);
    emit_function_end(e);
}

/* ---- all forms ---- */

typedef struct Form {
    bool (*accepts)(const TileProgram *p, const Target *target);
    KernelSchedule (*schedule)(const TileProgram *p, const Target *target);
    void (*emit)(Emitter *e, const TileProgram *p, const char *const *symbol);
} Form;

static const Form forms[] = {
    {token_gradient_accepts, outer_product_schedule, outer_product_emit},
    {rows_accepts, rows_schedule, rows_emit},
    {conv_accepts, conv_schedule, conv_emit},
    {outer_product_accepts, outer_product_schedule, outer_product_emit},
};

static const Form *form_of(const TileProgram *p, const Target *target)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].accepts(p, target))
            return &forms[i];
    return NULL;
}

bool contract_accepts(const TileProgram *p, const Target *target)
{
    return form_of(p, target) != NULL;
}

KernelSchedule contract_schedule(const TileProgram *p, const Target *target)
{
    return form_of(p, target)->schedule(p, target);
}

void contract_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    form_of(p, &e->target)->emit(e, p, symbol);
}
