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

/* Positions of an axis of size n that an index reaches. */
static int64_t covered(const TileProgram *p, const TileIndex *x, int64_t n)
{
    int64_t count = 1;

    if (x->computed)
        return n;
    if (!x->table) {
        for (int i = 0; i < x->n_terms; i++)
            count *= p->axes.at[x->axis[i]].size;
        return count < n ? count : n;
    }
    count = 0;
    for (int64_t k = 0; k < n; k++) {
        bool any = false;
        for (int64_t i = 0; !any && i < x->table_len; i++)
            any = x->table[i] == k;
        count += any;
    }
    return count;
}

enum { LINE = 64 }; /* what lies closer than these bytes is read together */

static double touched(const TileProgram *p, const TileLayout *l, const TileIndex *index)
{
    double bytes = (double)tile_layout_bytes(l), run = (double)(storage_bytes(l->type) * l->lanes);

    for (int i = l->shape.rank - 1; i >= 0; i--) {
        int d = l->order[i];
        if (run >= LINE && d != l->lane)
            bytes *= (double)covered(p, &index[d], l->shape.size[d]) / (double)l->shape.size[d];
        run *= (double)stored_size(l, d);
    }
    return bytes;
}

double tile_bytes(const TileProgram *p)
{
    double bytes = 0;

    for (uint32_t t = 0; t < p->tensors.len; t++) {
        const TileLayout *l = &p->tensors.at[t].layout;
        bool is_whole = p->tensors.at[t].is_output || p->members.len; /* which read all they have */
        double all = (double)tile_layout_bytes(l), some = is_whole ? all : 0;
        for (uint32_t i = 0; i < p->insts.len && some < all; i++)
            if (p->insts.at[i].kind == INST_LOAD && p->insts.at[i].tensor == (int)t)
                some += touched(p, l, p->insts.at[i].index);
        bytes += some < all ? some : all;
    }
    return bytes;
}

bool tile_computes_positions(const TileProgram *p)
{
    for (uint32_t i = 0; i < p->insts.len; i++)
        for (int d = 0; p->insts.at[i].kind == INST_LOAD && d < MAX_RANK; d++)
            if (p->insts.at[i].index[d].computed)
                return true;
    return false;
}
