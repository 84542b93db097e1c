/* Sizes and names of a tensor's axes.
 *
 * Axes are known by name: broadcasting, reductions, products and kernels match names, never
 * positions. The order here is the logical one, in which a tensor is printed, evaluated by the
 * reference and stored in checkpoints (row-major, last axis fastest); where elements lie while a
 * program runs is a layout (ir/tile.h). No name stands twice in a shape. */
#ifndef NPC_IR_SHAPE_H
#define NPC_IR_SHAPE_H

#include "ir/base/text.h"
#include <stdbool.h>
#include <stdint.h>

enum { MAX_RANK = 8 };

typedef struct Shape {
    int rank;
    int64_t size[MAX_RANK];     /* every size >= 1 */
    const char *name[MAX_RANK]; /* interned by the module's Names */
} Shape;

/* Position of an axis, or -1. */
int shape_axis(const Shape *s, const char *name);
int64_t shape_elems(const Shape *s);
/* Same axes with the same sizes in the same order. */
bool shape_equal(const Shape *a, const Shape *b);
/* Are all axes of `part` in `whole`, with equal sizes? */
bool shape_within(const Shape *part, const Shape *whole);
/* Row-major strides in elements. */
void shape_strides(const Shape *s, int64_t stride[MAX_RANK]);
/* Appends an axis; returns false when the rank is exhausted or the name stands already. */
bool shape_add(Shape *s, const char *name, int64_t size);
/* "f32[b=2, c=3]" is "f32" plus this: "[b=2, c=3]". */
void shape_text(Text *t, const Shape *s);

#endif
