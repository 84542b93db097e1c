/* Which part of the input the entries of an axis are made of.
 *
 * For every value of a function and every axis of it: which frames, rows and columns of the model's
 * input (its axes t, h and w) entry i was cut out of. Views, tables and windows are followed
 * exactly, so that the tokens of a transformer, however they were made, know their patch and their
 * steps; where values are added or multiplied an axis keeps the origin it has in the first operand
 * that has one. What an op mixes along an axis (attention, a filter of a residual branch) is not
 * followed: entry i of its result is still the token that it was.
 *
 * Entries that are made of nothing, zeros and learned tokens that were joined to an axis, have the
 * empty range. */
#ifndef NPC_IR_ORIGINS_H
#define NPC_IR_ORIGINS_H

#include "ir/func.h"

typedef enum OriginKind { ORIGIN_FRAMES, ORIGIN_ROWS, ORIGIN_COLUMNS, ORIGIN_COUNT } OriginKind;

typedef struct OriginRange {
    int32_t first, end; /* first == end: nothing */
} OriginRange;

/* Of one axis. */
typedef struct Origin {
    const OriginRange *of[ORIGIN_COUNT]; /* [size of the axis]; NULL: not made of these */
    int64_t before[ORIGIN_COUNT];        /* size of the axis of this kind alone that was read last
                                            through a table: of the picture that patches are cut
                                            from */
} Origin;

typedef struct Origins {
    const Origin **at; /* [nodes * MAX_RANK]; NULL: the axis is not made of the input's */
    const Func *func;
} Origins;

Origins origins_find(Arena *arena, const Func *f);
/* NULL when the axis does not come from the input's frames, rows or columns. */
const Origin *origin_of(const Origins *o, Val v, const char *axis);

#endif
