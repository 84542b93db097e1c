/* What both directions of attention share: the plan of a kernel, and moves between tensors and
 * scratch. Private to codegen/llvm_attend.c, whose head comment explains it, and
 * llvm_attend_back.c. */
#ifndef NPC_CODEGEN_LLVM_ATTEND_PARTS_H
#define NPC_CODEGEN_LLVM_ATTEND_PARTS_H

#include "codegen/llvm_micro.h"
#include "codegen/llvm_space.h"
#include "ir/drop.h"

enum {
    ATTEND_BLOCK = 4 * MICRO_ROWS, /* queries computed together */
    ATTEND_SUM_ROWS = 16,          /* of a task that adds up slots */
};

typedef struct Attend {
    const TileProgram *p;
    const TileAttend *t;
    int lanes;
    int64_t step; /* keys of a register tile */
    int64_t n, m, d, e;
    int64_t d_row, e_row; /* rows of packed operands, floats: whole vectors */
    int64_t keys;         /* of a block, a multiple of step */
    int64_t shares;       /* tasks per sequence */
    Outer outer;
    /* of a bias' gradient: axes that the bias has (samples apart), axes that it lacks, slots for
     * each bias, floats of a row */
    bool has_bias, by_sample;
    Flat biases, shared;
    int64_t slots, bias_row;
    /* scratch, offsets in floats; what a direction does not have is 0 */
    int64_t q, dy, kt, vt, k, v, p_rows, ds_rows, y, dq, dk, dv, sums, asked, floats;
} Attend;

typedef struct AttendCx {
    Emitter *e;
    const Attend *a;
    Value sequence;
    Value n_asked;   /* its queries, i64 */
    Value word[4];   /* its random words (i64), where weights are dropped */
    Value bias_sums; /* the task's slot [query][key], where it has one */
} AttendCx;

static inline bool attend_is_back(const Attend *a)
{
    return a->p->anchor == TILE_ATTEND_BACK;
}

/* ---- addresses ---- */

Value attend_scratch_at(const AttendCx *cx, int64_t place);
Value attend_row_at(const AttendCx *cx, Value base, Value row, int64_t stride, Value column);
/* Scalar code inside of the sequence, with vectors along an axis of the attention (-1: none). */
Code *attend_code(const AttendCx *cx, int lane_axis);
void attend_enter_lanes(const AttendCx *cx, Code *c, Value first);
void attend_result_index(const TileProgram *p, int result, TileIndex index[MAX_RANK]);

/* Everything is for a sequence; finds its queries and random words. */
void attend_enter_sequence(AttendCx *cx, Value sequence);

/* ---- between tensors and scratch ---- */

/* `rows` rows of an operand from `first`, those beyond the last being it, vectors along `column`.
 * Rows of queries are counted among those that are asked, here and below. */
void attend_pack_rows(const AttendCx *cx, int operand, int row_axis, int column, Value first,
                      Value rows, Value to);
/* An operand of keys from `first` as [column][key]; zeros behind the last key, up to `keys`. */
void attend_pack_keys(const AttendCx *cx, int operand, int column, Value first, Value keys,
                      Value to);
/* Writes `rows` rows from scratch as rows `first` .. of a result; `factors`, if not NULL: one per
 * row. */
void attend_write_rows(const AttendCx *cx, int result, int row_axis, int column, Value first,
                       Value rows, Value from, Value factors);
void attend_fill_zeros(const AttendCx *cx, Value at, Value floats);

/* ---- scores ---- */

/* Scores of a query with `keys` keys from `first_key` become complete in place: scaled and added
 * to. Nothing happens where nothing is added. */
void attend_complete_row(const AttendCx *cx, Value row, Value first_key, Value keys, Value query);
/* Scaled scores of a vector of keys from `key`; -inf from `limit` on, and of the key `own` where a
 * query does not see its own. */
Value attend_scores_at(const AttendCx *cx, Value row, Value key, Value limit, Value own);
/* Whole register tiles of keys that cover `keys` of them. */
Value attend_tiles_for(const AttendCx *cx, Value keys);

/* ---- queries that are asked (llvm_asked.c) ---- */

/* Finds those of the sequence at hand; all of them where nothing says otherwise. */
void attend_find_asked(AttendCx *cx);
/* The position of one of them. */
Value attend_position(const AttendCx *cx, Value number);
/* A result becomes 0 at positions first .. last - 1 without a query; column -1: it has none. */
void attend_clear_unasked(const AttendCx *cx, int result, int column, Value first, Value last);

/* ---- dropped weights (llvm_drop.c) ---- */

/* Finds the random words of the sequence at hand, where weights are dropped. */
void attend_find_words(AttendCx *cx);
/* Which weights of a query are kept, masks of two vectors of keys from `key`: of all, a multiple of
 * both. */
void attend_keeps(const AttendCx *cx, Value query, Value key, Value keep[2]);
/* What weights that are kept grow by. */
double attend_gain(const AttendCx *cx);
/* The dropped weights of a query with `keys` keys become zero, where any are dropped; nothing
 * grows. */
void attend_drop_row(const AttendCx *cx, Value row, Value keys, Value query);

/* ---- llvm_attend_back.c ---- */

/* All gradients of one sequence; a share of sequences with the gradient of their bias; the last
 * phase of that. */
void attend_emit_back(const AttendCx *cx);
void attend_emit_back_share(AttendCx *cx);
void attend_emit_bias(const AttendCx *cx);

#endif
