/* Masks of dropped attention weights (ir/drop.h) as vectors: a counter of Philox stands in a 64-bit
 * lane, of whose words the low halves count, so that a round is two products, two shifts and two
 * exclusive ors of whole registers. Vectors of `lanes` floats have half as many such lanes, whose
 * four words belong to two vectors of neighbouring keys.
 *
 * Half a nanosecond a weight on one core of Zen 4 with AVX-512, best of six on a shared machine
 * (bench/kernel_bench attention): 435 keys of width 48 take 24.3 ms instead of 20.2 forward, 47.8
 * instead of 43.3 back; 1654 of 155 take 95.6 instead of 89.4 and 183.7 instead of 169.5. */
#include "codegen/llvm_attend_parts.h"
#include "ir/base/philox.h"

static Value vector_of(const AttendCx *cx, Value number)
{
    return emit_splat(cx->e, number, cx->a->lanes / 2);
}

static Value constant(const AttendCx *cx, uint32_t number)
{
    return vector_of(cx, emit_i64(cx->e, number));
}

void attend_find_words(AttendCx *cx)
{
    Emitter *e = cx->e;
    const TileAttend *t = cx->a->t;

    if (!(t->drop > 0))
        return;
    Code *c = attend_code(cx, -1);
    for (int i = 0; i < 4; i++) {
        cx->word[i] = emit_i64(e, 0);
        for (int b = 0; b < 4; b++) {
            code_enter(c, t->byte, emit_i64(e, 4 * i + b));
            Value byte = code_value(c, t->operand[tile_n_operands(cx->a->p) - 1]);
            byte = LLVMBuildFPToUI(e->builder, byte, e->i64, "");
            cx->word[i] = emit_add(e, cx->word[i], emit_mul_n(e, byte, (int64_t)1 << 8 * b));
            code_leave(c, t->byte);
        }
    }
}

/* The low half of each lane times a number. */
static Value product(const AttendCx *cx, Value word, uint32_t factor)
{
    Value low = LLVMBuildAnd(cx->e->builder, word, constant(cx, UINT32_MAX), "");
    return LLVMBuildMul(cx->e->builder, low, constant(cx, factor), "");
}

/* The high half of each lane, with two others mixed in. */
static Value mixed(const AttendCx *cx, Value wide, Value a, Value key)
{
    LLVMBuilderRef b = cx->e->builder;
    Value high = LLVMBuildLShr(b, wide, constant(cx, 32), "");
    return LLVMBuildXor(b, LLVMBuildXor(b, high, a, ""), vector_of(cx, key), "");
}

static void philox(const AttendCx *cx, Value c[4])
{
    Emitter *e = cx->e;

    for (int64_t round = 0; round < PHILOX_ROUNDS; round++) {
        Value a = product(cx, c[0], PHILOX_FACTOR0), b = product(cx, c[2], PHILOX_FACTOR1);
        Value k0 = emit_add(e, cx->word[0], emit_i64(e, round * PHILOX_KEY0));
        Value k1 = emit_add(e, cx->word[1], emit_i64(e, round * PHILOX_KEY1));
        c[0] = mixed(cx, b, c[1], k0);
        c[2] = mixed(cx, a, c[3], k1);
        c[1] = b;
        c[3] = a;
    }
}

/* Low halves of two vectors, those of the first in front. */
static Value joined(const AttendCx *cx, Value first, Value second)
{
    LLVMBuilderRef b = cx->e->builder;
    Value low = LLVMBuildAnd(b, first, constant(cx, UINT32_MAX), "");
    return LLVMBuildOr(b, low, LLVMBuildShl(b, second, constant(cx, 32), ""), "");
}

void attend_keeps(const AttendCx *cx, Value query, Value key, Value keep[2])
{
    Emitter *e = cx->e;
    int lanes = cx->a->lanes, half = lanes / 2;
    Value first = emit_div_n(e, key, DROP_KEYS), lane[8];
    Value limit = LLVMConstInt(e->i32, drop_limit(cx->a->t->drop), 0);

    for (int i = 0; i < half; i++)
        lane[i] = emit_i64(e, i);
    Value counter =
        LLVMBuildAdd(e->builder, vector_of(cx, first), LLVMConstVector(lane, (unsigned)half), "");
    Value c[4] = {counter, vector_of(cx, query), vector_of(cx, cx->word[2]),
                  vector_of(cx, cx->word[3])};
    philox(cx, c);
    Value pair[2] = {joined(cx, c[0], c[1]), joined(cx, c[2], c[3])};
    for (int v = 0; v < 2; v++) {
        int at[8]; /* counters of this half, the pairs of each next to one another */
        for (int i = 0; i < half; i++)
            at[i] = v * half / 2 + i / 2 + i % 2 * half;
        Value words = emit_shuffle(e, pair[0], pair[1], at, half);
        words = LLVMBuildBitCast(e->builder, words, emit_vector_type(e, e->i32, lanes), "");
        keep[v] = LLVMBuildICmp(e->builder, LLVMIntUGE, words, emit_splat(e, limit, lanes), "");
    }
}

double attend_gain(const AttendCx *cx)
{
    return 1 / (1 - cx->a->t->drop);
}

void attend_drop_row(const AttendCx *cx, Value row, Value keys, Value query)
{
    Emitter *e = cx->e;
    int lanes = cx->a->lanes;
    unsigned align = 4U * (unsigned)lanes;
    EmitLoop l;

    if (!(cx->a->t->drop > 0))
        return;
    emit_loop_begin(e, &l, emit_i64(e, 0), keys, 2 * lanes, 0, NULL);
    Value keep[2], zero = emit_zero(e, emit_vector_type(e, e->f32, lanes));
    attend_keeps(cx, query, l.index, keep);
    for (int v = 0; v < 2; v++) {
        Value at = emit_at(e, row, emit_add(e, l.index, emit_i64(e, v * lanes)));
        emit_store(e, at, emit_select(e, keep[v], emit_load(e, at, lanes, align), zero), align);
    }
    emit_loop_end(e, &l, NULL);
}
