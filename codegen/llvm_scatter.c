/* Sums into computed positions: a task per place of the outer axes.
 *
 * The result's column over the scatter's own axis is cleared, then the terms are added one by one,
 * in the order of the reduced axes, where their positions say. Vectors lie along the innermost axis
 * of the result if positions do not vary with it (channels); every task has its places for itself,
 * so nothing is locked and the order is always the same. */
#include "codegen/llvm_schedules.h"
#include "codegen/llvm_space.h"

typedef struct Scatter {
    const TileProgram *p;
    int own, lane; /* axes; lane -1: element by element */
    int64_t lane_blocks;
    Outer outer;
    Flat reduced;
} Scatter;

static bool holds_lanes(const TileProgram *p, int axis, const unsigned *needs)
{
    return axis >= 0 && axis != p->batch_axis && p->axes.at[axis].kind == TILE_PARALLEL &&
           !(needs[p->rhs] >> axis & 1);
}

static void scatter_plan(Arena *arena, Scatter *s, const TileProgram *p, const Target *target)
{
    const TileLayout *l = &p->tensors.at[p->result[0].tensor].layout;
    unsigned *needs = ARENA_ARRAY(arena, unsigned, p->insts.len + 1);
    Flat outer = {.elems = 1};

    *s = (Scatter){.p = p, .lane = -1, .lane_blocks = 1, .reduced = {.elems = 1}};
    code_find_needs(p, needs);
    int inner = l->lane >= 0 ? l->lane : l->shape.rank ? l->order[l->shape.rank - 1] : -1;
    if (inner >= 0 && holds_lanes(p, p->result[0].axis[inner], needs))
        s->lane = p->result[0].axis[inner];
    if (s->lane >= 0)
        s->lane_blocks = div_up(p->axes.at[s->lane].size, target->lanes);
    if (p->batch_axis >= 0 && p->axes.at[p->batch_axis].kind == TILE_PARALLEL)
        flat_add(&outer, p, p->batch_axis);
    for (int i = 0; i < (int)p->axes.len; i++) {
        TileAxisKind kind = p->axes.at[i].kind;
        if (kind == TILE_OWN)
            s->own = i;
        if (kind == TILE_REDUCE)
            flat_add(&s->reduced, p, i);
        if (kind == TILE_PARALLEL && i != p->batch_axis && i != s->lane)
            flat_add(&outer, p, i);
    }
    outer_init(&s->outer, p, &outer);
}

bool scatter_accepts(const TileProgram *p, const Target *target)
{
    (void)target;
    return p->anchor == TILE_SCATTER;
}

/* Blocks of lanes are part of a task: the terms' positions and factors are the same for all. */
KernelSchedule scatter_schedule(const TileProgram *p, const Target *target)
{
    Arena arena = {0};
    Scatter s;
    KernelSchedule k = {.n_phases = 1};
    scatter_plan(&arena, &s, p, target);
    outer_tasks(&s.outer, 1, &k, 0);
    arena_free(&arena);
    return k;
}

/* The result's element(s) at the places entered. */
static Value element(Code *c, const Scatter *s, const TileIndex *index)
{
    const TileTensor *t = &s->p->tensors.at[s->p->result[0].tensor];
    return emit_at(c->e, c->e->tensor[s->p->result[0].tensor], code_offset(c, t, index, NULL));
}

static void enter_block(Code *c, const Scatter *s, Value block)
{
    int64_t size = s->p->axes.at[s->lane].size;
    Value first = emit_mul_n(c->e, block, c->lanes);
    c->mask = size % c->lanes ? emit_lane_mask(c->e, first, size, c->lanes) : NULL;
    code_enter(c, s->lane, first);
}

static void emit_clear(Code *c, const Scatter *s, const TileIndex *index)
{
    Emitter *e = c->e;
    EmitLoop own, block;

    emit_loop_begin(e, &own, emit_i64(e, 0), emit_i64(e, s->p->axes.at[s->own].size), 1, 0, NULL);
    code_enter(c, s->own, own.index);
    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, s->lane_blocks), 1, 0, NULL);
    if (s->lane >= 0)
        enter_block(c, s, block.index);
    code_store_at(c, s->p->result[0].tensor, index, emit_f32(e, 0));
    if (s->lane >= 0)
        code_leave(c, s->lane);
    emit_loop_end(e, &block, NULL);
    code_leave(c, s->own);
    emit_loop_end(e, &own, NULL);
}

/* Adds the term at hand; the own axis is entered. */
static void emit_term(Code *c, const Scatter *s, const TileIndex *index)
{
    Emitter *e = c->e;
    EmitLoop block;
    int width = s->lane >= 0 ? c->lanes : 1;

    emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, s->lane_blocks), 1, 0, NULL);
    if (s->lane >= 0)
        enter_block(c, s, block.index);
    Value term = emit_splat(e, code_value(c, s->p->lhs), width);
    Value old = emit_load(e, element(c, s, index), width, 4);
    code_store_at(c, s->p->result[0].tensor, index, emit_fadd(e, old, term));
    if (s->lane >= 0)
        code_leave(c, s->lane);
    emit_loop_end(e, &block, NULL);
}

void scatter_emit(Emitter *e, const TileProgram *p, const char *const *symbol)
{
    Scatter s;
    TileIndex index[MAX_RANK] = {0};
    Value digit[TILE_MAX_AXES];
    EmitLoop term;
    EmitIf inside;

    scatter_plan(e->arena, &s, p, &e->target);
    for (int d = 0; d < p->tensors.at[p->result[0].tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {p->result[0].axis[d]}, .coef = {1}};
    emit_function_begin(e, p, symbol[0]);
    Code *c = code_new(e, s.lane, e->target.lanes);
    outer_enter(c, &s.outer, s.outer.flat.n, e->task);
    emit_clear(c, &s, index);
    bool ranged = p->batch_axis >= 0 && flat_has(&s.reduced, p->batch_axis);
    emit_loop_begin(e, &term, emit_i64(e, 0), emit_i64(e, s.reduced.elems), 1, 0, NULL);
    emit_digits(e, term.index, s.reduced.n, s.reduced.size, digit);
    for (int i = 0; i < s.reduced.n; i++)
        code_enter(c, s.reduced.axis[i], digit[i]);
    Value at = emit_fadd(e, code_value(c, p->rhs), emit_f32(e, 0.5));
    Value low = LLVMBuildFCmp(e->builder, LLVMRealOGE, at, emit_f32(e, 0), "");
    Value size = emit_f32(e, (double)p->axes.at[s.own].size);
    Value high = LLVMBuildFCmp(e->builder, LLVMRealOLT, at, size, "");
    Value valid = LLVMBuildAnd(e->builder, low, high, "");
    if (ranged) {
        Value b = c->axis[p->batch_axis];
        Value from = LLVMBuildNot(e->builder, emit_less(e, b, e->b0), "");
        from = LLVMBuildAnd(e->builder, from, emit_less(e, b, e->b1), "");
        valid = LLVMBuildAnd(e->builder, valid, from, "");
    }
    emit_if_begin(e, &inside, valid);
    code_enter(c, s.own, LLVMBuildFPToSI(e->builder, at, e->i64, ""));
    emit_term(c, &s, index);
    code_leave(c, s.own);
    emit_if_end(e, &inside);
    for (int i = s.reduced.n - 1; i >= 0; i--)
        code_leave(c, s.reduced.axis[i]);
    emit_loop_end(e, &term, NULL);
    outer_leave(c, &s.outer, s.outer.flat.n);
    emit_function_end(e);
}
