/* Which positions of a sequence have queries, where additions say so (attend_asks): their numbers
 * stand in scratch, the first asked first, so that blocks hold queries that are asked, and what has
 * none costs a few instructions. Dynamic-V1FM's windows reach behind the ends of the volume: of
 * 11,760 positions 3,120 are there, a quarter of what attention would compute, and nobody reads
 * what these ask. */
#include "codegen/llvm_attend_parts.h"

static Value place_of(const AttendCx *cx, Value number)
{
    return emit_at(cx->e, attend_scratch_at(cx, cx->a->asked), number); /* as large as a float */
}

/* Is there a query at the position? i1 */
static Value asks(const AttendCx *cx, Code *c, Value position)
{
    const Attend *a = cx->a;
    Emitter *e = cx->e;
    code_enter(c, a->t->n, position);
    Value own = code_value(c, a->t->operand[tile_additions(a->p) + ATTEND_OWN]);
    code_leave(c, a->t->n);
    return LLVMBuildFCmp(e->builder, LLVMRealOGT, own, emit_f32(e, ATTEND_UNASKED / 2), "");
}

void attend_find_asked(AttendCx *cx)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    Value none = emit_i64(e, 0);
    EmitLoop l;

    cx->n_asked = emit_i64(e, a->n);
    if (!a->t->adds)
        return;
    Code *c = attend_code(cx, -1);
    emit_loop_begin(e, &l, none, emit_i64(e, a->n), 1, 1, &none);
    Value position = LLVMBuildTrunc(e->builder, l.index, e->i32, "");
    emit_store(e, place_of(cx, l.carried[0]), position, 4); /* stays if it is asked */
    Value is_asked = LLVMBuildZExt(e->builder, asks(cx, c, l.index), e->i64, "");
    Value next = emit_add(e, l.carried[0], is_asked);
    emit_loop_end(e, &l, &next);
    cx->n_asked = l.result[0];
}

Value attend_position(const AttendCx *cx, Value number)
{
    Emitter *e = cx->e;
    if (!cx->a->t->adds)
        return number;
    Value position = emit_load_type(e, e->i32, place_of(cx, number), 4);
    return LLVMBuildZExt(e->builder, position, e->i64, "");
}

void attend_clear_unasked(const AttendCx *cx, int result, int column, Value first, Value last)
{
    Emitter *e = cx->e;
    const Attend *a = cx->a;
    const TileResult *r = &a->p->result[result];
    TileIndex index[MAX_RANK];
    EmitLoop row, block;
    EmitIf unasked;

    if (!a->t->adds || r->tensor < 0)
        return;
    attend_result_index(a->p, result, index);
    Code *labels = attend_code(cx, -1), *c = attend_code(cx, column);
    emit_loop_begin(e, &row, first, last, 1, 0, NULL);
    emit_if_begin(e, &unasked, LLVMBuildNot(e->builder, asks(cx, labels, row.index), ""));
    code_enter(c, a->t->n, row.index);
    if (column >= 0) {
        int64_t width = a->p->axes.at[column].size;
        emit_loop_begin(e, &block, emit_i64(e, 0), emit_i64(e, width), a->lanes, 0, NULL);
        attend_enter_lanes(cx, c, block.index);
        code_store_at(c, r->tensor, index, emit_splat(e, emit_f32(e, 0), a->lanes));
        code_leave(c, column);
        emit_loop_end(e, &block, NULL);
    } else {
        code_store_at(c, r->tensor, index, emit_f32(e, 0));
    }
    code_leave(c, a->t->n);
    emit_if_end(e, &unasked);
    emit_loop_end(e, &row, NULL);
}
