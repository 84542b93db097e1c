/* Layouts of tile programs, and the bytes a program moves. */
#include "ir/tile.h"

TileLayout tile_layout_plain(const Shape *s)
{
    TileLayout l = {.shape = *s, .lane = -1, .lanes = 1};

    for (int d = 0; d < s->rank; d++)
        l.order[d] = d;
    return l;
}

/* Size of an axis as `order` counts it: blocks for the lane axis. */
static int64_t stored_size(const TileLayout *l, int axis)
{
    int64_t size = l->shape.size[axis];

    return axis == l->lane ? (size + l->lanes - 1) / l->lanes : size;
}

int64_t tile_layout_elems(const TileLayout *l)
{
    int64_t n = l->lane < 0 ? 1 : l->lanes;

    for (int d = 0; d < l->shape.rank; d++)
        n *= stored_size(l, d);
    return n;
}

bool tile_layout_equal(const TileLayout *a, const TileLayout *b)
{
    if (a->type != b->type || a->lane != b->lane || (a->lane >= 0 && a->lanes != b->lanes))
        return false;
    if (a->shape.rank != b->shape.rank)
        return false;
    for (int d = 0; d < a->shape.rank; d++)
        if (a->shape.size[d] != b->shape.size[d] || a->order[d] != b->order[d])
            return false;
    return true;
}

int64_t tile_layout_offset(const TileLayout *l, const int64_t *index)
{
    int64_t offset = 0;

    for (int i = 0; i < l->shape.rank; i++) {
        int d = l->order[i];
        int64_t at = d == l->lane ? index[d] / l->lanes : index[d];
        offset = offset * stored_size(l, d) + at;
    }
    return l->lane < 0 ? offset : offset * l->lanes + index[l->lane] % l->lanes;
}

/* Blocks do not disturb the row-major order when the lane axis is the last that is longer than 1,
 * and one block or whole blocks hold it. */
static bool lanes_are_plain(const TileLayout *l)
{
    if (l->lane < 0 || l->lanes == 1)
        return true;
    for (int d = l->lane + 1; d < l->shape.rank; d++)
        if (l->shape.size[d] != 1)
            return false;
    bool first = true;
    for (int d = 0; d < l->lane; d++)
        first = first && l->shape.size[d] == 1;
    return first || l->shape.size[l->lane] % l->lanes == 0;
}

bool tile_layout_is_plain(const TileLayout *l)
{
    int last = -1;

    for (int i = 0; i < l->shape.rank; i++) {
        if (l->shape.size[l->order[i]] == 1)
            continue;
        if (l->order[i] < last)
            return false;
        last = l->order[i];
    }
    return lanes_are_plain(l);
}

size_t tile_layout_bytes(const TileLayout *l)
{
    return (size_t)tile_layout_elems(l) * storage_bytes(l->type);
}

double tile_bytes(const TileProgram *p)
{
    double bytes = 0;

    for (uint32_t i = 0; i < p->tensors.len; i++)
        bytes += (double)tile_layout_bytes(&p->tensors.at[i].layout);
    return bytes;
}
