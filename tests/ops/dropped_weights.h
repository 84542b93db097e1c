/* Attention whose results show which weights were dropped: forward values are unit vectors, so that
 * a row of the result is a row of weights; backward dy and keys are, so that dv holds weights and
 * dq gradients of scores. What is dropped is exactly zero, whatever computed it. */
#ifndef NPC_TESTS_DROPPED_WEIGHTS_H
#define NPC_TESTS_DROPPED_WEIGHTS_H

#include "ir/base/philox.h"
#include "tests/ops/random_attention.h"

enum { DROPPED_SAMPLES = 2, DROPPED_HEADS = 3, DROPPED_QUERIES = 37, DROPPED_KEYS = 203 };
static const double DROPPED_RATE = 0.2544;

static inline TileProgram *dropped_program(Arena *arena, bool back, const char *bytes)
{
    AttentionShape s = {.samples = DROPPED_SAMPLES,
                        .heads = DROPPED_HEADS,
                        .n = DROPPED_QUERIES,
                        .m = DROPPED_KEYS,
                        .d = back ? DROPPED_KEYS : 3,
                        .e = back ? DROPPED_QUERIES : DROPPED_KEYS,
                        .back = back,
                        .q = "bnad",
                        .k = "bmad",
                        .v = "bmae",
                        .y = "bnae",
                        .l = "ban",
                        .wanted = back ? 1u << ATTEND_DQ | 1u << ATTEND_DV : 1u << ATTEND_Y,
                        .drop = DROPPED_RATE,
                        .bytes = bytes};
    return attention_program(arena, &s);
}

static inline int64_t dropped_offset(const TileLayout *l, const char *axes, const int64_t *at)
{
    int64_t index[MAX_RANK] = {0};
    for (int k = 0; axes[k]; k++)
        for (int d = 0; d < l->shape.rank; d++)
            if (l->shape.name[d][0] == axes[k])
                index[d] = at[k];
    return tile_layout_offset(l, index);
}

/* An operand of sequences of matrices, as unit vectors or as zeros. */
static inline void dropped_set(const TileProgram *p, int operand, const char *axes, bool unit,
                               void *const *tensor)
{
    int t = p->insts.at[p->attend.operand[operand]].tensor;
    const TileLayout *l = &p->tensors.at[t].layout;
    int64_t rows =
        p->axes.at[operand == ATTEND_KEY || operand == ATTEND_VALUE ? p->attend.m : p->attend.n]
            .size;
    int64_t columns = unit ? p->axes.at[operand == ATTEND_KEY ? p->attend.d : p->attend.e].size : 1;
    int64_t at[4];
    for (at[0] = 0; at[0] < DROPPED_SAMPLES; at[0]++)
        for (at[1] = 0; at[1] < DROPPED_HEADS; at[1]++)
            for (at[2] = 0; at[2] < rows; at[2]++)
                for (at[3] = 0; at[3] < columns; at[3]++)
                    ((float *)tensor[t])[dropped_offset(l, axes, at)] = unit && at[2] == at[3];
}

static inline void dropped_fill(const TileProgram *p, void *const *tensor)
{
    if (p->anchor == TILE_ATTEND) {
        dropped_set(p, ATTEND_VALUE, "bame", true, tensor);
        return;
    }
    dropped_set(p, ATTEND_KEY, "bamd", true, tensor);
    dropped_set(p, ATTEND_DY, "bane", true, tensor);
    dropped_set(p, ATTEND_CENTRE, "ban", false, tensor);
}

/* By the definition, in the terms of a mask of that rate. */
static inline bool dropped_keeps(const TileProgram *p, void *const *tensor, const int64_t *at)
{
    int t = p->insts.at[p->attend.operand[tile_n_operands(p) - 1]].tensor;
    uint32_t word[4] = {0};
    for (int64_t b = 0; b < DROP_BYTES; b++) {
        int64_t of[] = {at[0], at[1], b};
        uint8_t byte = ((uint8_t *)tensor[t])[dropped_offset(&p->tensors.at[t].layout, "bar", of)];
        word[b / 4] |= (uint32_t)byte << b % 4 * 8;
    }
    Philox counter = {{(uint32_t)at[3] / 4, (uint32_t)at[2], word[2], word[3]}};
    uint32_t drawn = philox_block(counter, word).v[at[3] % 4];
    return (float)(drawn >> 8) * 0x1p-24f >= (float)DROPPED_RATE;
}

/* Weights that a result shows to be dropped although they are not, or not although they are. */
static inline int dropped_wrong(const TileProgram *p, int result, void *const *tensor)
{
    bool is_dv = p->anchor == TILE_ATTEND_BACK && result == ATTEND_DV;
    const char *axes = is_dv                                            ? "baem"
                       : result == ATTEND_Y && p->anchor == TILE_ATTEND ? "bane"
                                                                        : "band";
    int t = p->result[result].tensor, wrong = 0;
    int64_t at[4];
    for (at[0] = 0; at[0] < DROPPED_SAMPLES; at[0]++)
        for (at[1] = 0; at[1] < DROPPED_HEADS; at[1]++)
            for (at[2] = 0; at[2] < DROPPED_QUERIES; at[2]++)
                for (at[3] = 0; at[3] < DROPPED_KEYS; at[3]++) {
                    int64_t o = dropped_offset(&p->tensors.at[t].layout, axes, at);
                    wrong += (((float *)tensor[t])[o] != 0) != dropped_keeps(p, tensor, at);
                }
    return wrong;
}

#endif
