#include "codegen/llvm_micro.h"

int micro_vectors(const Target *target)
{
    return target->cpu == CPU_AVX512 ? 4 : 2; /* of 32 registers, of 16 */
}

/* `n` vectors of columns from `column` (in floats), all rows. */
static void emit_columns(Emitter *e, const Micro *m, Value column, int n)
{
    int lanes = e->target.lanes;
    unsigned align = 4U * (unsigned)lanes;
    Value acc[EMIT_MAX_CARRIED], zero = emit_zero(e, emit_vector_type(e, e->f32, lanes));
    EmitLoop row, k;

    emit_loop_begin(e, &row, emit_i64(e, 0), m->rows, MICRO_ROWS, 0, NULL);
    Value to = emit_at(e, m->out, emit_add(e, emit_mul_n(e, row.index, m->out_row), column));
    for (int r = 0; r < MICRO_ROWS; r++)
        for (int v = 0; v < n; v++) {
            Value at = emit_at(e, to, emit_i64(e, r * m->out_row + v * lanes));
            acc[r * n + v] = m->adds ? emit_load(e, at, lanes, align) : zero;
        }
    Value from = emit_at(e, m->a, emit_mul_n(e, row.index, m->a_row));
    emit_loop_begin(e, &k, emit_i64(e, 0), m->k, 1, MICRO_ROWS * n, acc);
    Value b = emit_at(e, m->b, emit_add(e, emit_mul_n(e, k.index, m->b_k), column));
    Value a = emit_at(e, from, emit_mul_n(e, k.index, m->a_k)), vector[8], next[EMIT_MAX_CARRIED];
    for (int v = 0; v < n; v++)
        vector[v] = emit_load(e, emit_at(e, b, emit_i64(e, v * lanes)), lanes, align);
    for (int r = 0; r < MICRO_ROWS; r++) {
        Value one = emit_load(e, emit_at(e, a, emit_i64(e, r * m->a_row)), 1, 4);
        one = emit_splat(e, one, lanes);
        for (int v = 0; v < n; v++)
            next[r * n + v] = emit_fma(e, one, vector[v], k.carried[r * n + v]);
    }
    emit_loop_end(e, &k, next);
    for (int r = 0; r < MICRO_ROWS; r++)
        for (int v = 0; v < n; v++)
            emit_store(e, emit_at(e, to, emit_i64(e, r * m->out_row + v * lanes)),
                       k.result[r * n + v], align);
    emit_loop_end(e, &row, NULL);
}

void emit_micro(Emitter *e, const Micro *m)
{
    int64_t most = micro_vectors(&e->target), lanes = e->target.lanes;
    Value tiles = m->tiles ? m->tiles : emit_i64(e, m->vectors / most);
    EmitLoop tile;

    emit_loop_begin(e, &tile, emit_i64(e, 0), tiles, 1, 0, NULL);
    emit_columns(e, m, emit_mul_n(e, tile.index, most * lanes), (int)most);
    emit_loop_end(e, &tile, NULL);
    if (!m->tiles && m->vectors % most)
        emit_columns(e, m, emit_i64(e, m->vectors / most * most * lanes), (int)(m->vectors % most));
}
