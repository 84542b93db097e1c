/* Which values are float32 in every precision.
 *
 *   - What positions are made of that something is read at. Half a unit in the last of 8 bits moves
 * a point by a tenth of a pixel of a map 50 pixels wide, and behind the next pixel's centre the
 *     gradient of a bilinear read is another. A place of several hundred does not even fit in 8
 * bits. But not what a map is made of, too: positions that follow from a core would take it along.
 *   - The loss, its gradient, and the predictions that it compares with targets: terms of a sum
 * that nearly cancel where the two agree.
 *
 * Gradients of positions are sums of differences between neighbours of a map that is rounded
 * itself, and are stored as others are: in float32, most of their error stays
 * (bench/results/2026-11-27-rounding.md). */
#include "passes/plan.h"

/* What gathers and sums at computed positions read: things, at positions. */
enum { THING, POSITION };

/* Values that positions are made of, and those that the things read there are made of. */
static void find_behind(const Func *f, bool *positions, bool *things)
{
    for (uint32_t id = f->nodes.len; id-- > 1;) {
        const Node *n = &f->nodes.at[id];
        bool places = n->op == OP_GATHER || n->op == OP_SCATTER;
        bool is_map = n->op == OP_GATHER && !n->backward; /* a gradient follows from everything */
        for (int i = 0; i < n->n_in; i++) {
            bool is_position = places && i == POSITION;
            positions[n->in[i].id] |= positions[id] || is_position;
            things[n->in[i].id] |= !is_position && (things[id] || is_map);
        }
    }
}

/* Values that depend on parameters. */
static void find_learned(const Func *f, bool *learned)
{
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        learned[id] = n->op == OP_PARAM;
        for (int i = 0; i < n->n_in; i++)
            learned[id] |= learned[n->in[i].id];
    }
}

static bool is_of_loss(const Func *f, const Node *n)
{
    return n->part >= 0 && !strcmp(f->module->parts.at[n->part], "loss");
}

bool *find_precise(Arena *arena, const Func *f)
{
    bool *precise = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    bool *thing = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    bool *learned = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    find_behind(f, precise, thing);
    find_learned(f, learned);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        precise[id] &= !(thing[id] && learned[id]);
        if (!is_of_loss(f, n))
            continue;
        precise[id] = true;
        for (int i = 0; i < n->n_in && !n->backward; i++)
            precise[n->in[i].id] = true;
    }
    return precise;
}
