/* Updates of parameters and states that do the same become one launch: a program with a member for
 * each of them (ir/tile_members.c). All AdamW updates of one weight decay that are no epilogues are
 * such, and the moving averages of everything.
 *
 * Needs updates that do not depend on each other. A joined update waits for the last of its
 * gradients, and the others stay in memory so long; the caller gives only those whose are small.
 * It pays because launches of a few thousand elements cost as much as those of a million. */
#include "passes/plan.h"

typedef VEC(int) Alike;

static void join(Arena *arena, const Func *f, Groups *groups, TileProgram **tile,
                 TileProgram *const *flat, const Alike *alike)
{
    TileProgram **one = ARENA_ARRAY(arena, TileProgram *, alike->len);
    int first = alike->at[0];
    Group *g = &groups->at.at[first];
    for (uint32_t i = 0; i < alike->len; i++) {
        const Group *other = &groups->at.at[alike->at[i]];
        one[i] = flat[alike->at[i]];
        g->part = other->part == g->part ? g->part : -1;
        tile[alike->at[i]] = NULL;
    }
    const char *name = group_name(arena, f, g);
    for (uint32_t i = 1; i < alike->len; i++) {
        const Group *other = &groups->at.at[alike->at[i]];
        for (uint32_t k = 0; k < other->members.len; k++) {
            vec_push(arena, &g->members, other->members.at[k]);
            groups->group_of[other->members.at[k].id] = first;
        }
    }
    g->session = -1;
    tile[first] = tile_join(arena, one, alike->len);
    tile[first]->name = arena_printf(arena, "%s of %u tensors", name, alike->len);
    tile[first]->place = group_place(arena, f, g);
}

void updates_join(Arena *arena, const Func *f, Groups *groups, TileProgram **tile,
                  const bool *may_join)
{
    TileProgram **flat = ARENA_ARRAY(arena, TileProgram *, groups->at.len + 1);
    VEC(Alike *) all = {0};
    Map found = {0};
    for (uint32_t g = 0; g < groups->at.len; g++) {
        flat[g] = may_join[g] ? tile_flat(arena, tile[g]) : NULL;
        if (!flat[g])
            continue;
        const char *body = tile_body(arena, flat[g]);
        Alike *alike = map_get(&found, body);
        if (!alike) {
            alike = ARENA_NEW(arena, Alike);
            map_put(arena, &found, body, alike);
            vec_push(arena, &all, alike);
        }
        vec_push(arena, alike, (int)g);
    }
    for (uint32_t i = 0; i < all.len; i++)
        if (all.at[i]->len > 1)
            join(arena, f, groups, tile, flat, all.at[i]);
}
