/* Random CONTRACT programs: pointwise convolutions, their weight gradients, products of plain
 * matrices. For vectors of floats volumes are blocked over their channels; for CUDA the channels
 * come last and storage and products may have 16 bits. */
#ifndef NPC_TESTS_RANDOM_PRODUCTS_H
#define NPC_TESTS_RANDOM_PRODUCTS_H

#include "tests/ops/tile_build.h"

typedef struct ProductStyle {
    int lanes;          /* of blocked volumes */
    bool channels_last; /* instead of blocks */
    bool reductions;    /* allowed */
    bool pairs;         /* pair sums, too */
    bool layer_norm;    /* of inputs, over their channels */
    int n_channels, n_sizes, n_rows;
    const int64_t *channels, *sizes, *rows; /* sizes of pixel axes; rows of plain matrices */
} ProductStyle;

/* Axes of the pixels: none to three of t h w, appended to `text`. */
static inline void add_pixels(TileBuild *b, Random *r, const ProductStyle *style, TileAxisKind kind,
                              char *pixels)
{
    int n = 0;
    for (const char *axis = "thw"; *axis; axis++)
        if (pick(r, 4)) {
            static const char *const names[] = {"t", "h", "w"};
            const char *name = names[*axis == 't' ? 0 : *axis == 'h' ? 1 : 2];
            tile_axis(b, name, pick_of(r, style->sizes, style->n_sizes), kind);
            pixels[n++] = *axis;
        }
    pixels[n] = 0;
}

static inline const char *letters(Arena *arena, const char *a, const char *b, const char *c,
                                  const char *d)
{
    return arena_printf(arena, "%s%s%s%s", a, b, c, d);
}

/* An activation; `c` is upper case where it may be blocked. */
static inline const char *volume(Arena *arena, const ProductStyle *style, const char *b,
                                 const char *g, char c, const char *pixels)
{
    const char channel[] = {style->channels_last ? (char)(c | 32) : c, 0};
    return style->channels_last ? letters(arena, b, pixels, g, channel)
                                : letters(arena, b, g, channel, pixels);
}

/* A load that finds its place on one axis in a table: turned, or of any order, perhaps with holes.
 */
static inline int load_by_table(TileBuild *b, Random *r, const char *order, char letter, int lanes)
{
    int load = tile_load(b, order, lanes), axis = tile_find_axis(b, letter);
    int64_t n = b->p->axes.at[axis].size, holes = pick(r, 2), turn = pick(r, 2) * 8;
    int32_t *table = ARENA_ARRAY(b->arena, int32_t, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        table[i] = (int32_t)(turn ? (i + turn) % n : pick(r, n + holes) - holes);
    for (int d = 0; order[d]; d++)
        if (order[d] == letter)
            b->p->insts.at[load].index[d] =
                (TileIndex){.n_terms = 1, .axis = {axis}, .table = table, .table_len = n};
    return load;
}

/* out[b, g, n, p] = sum over k of x[b, g, k, p] w[g, n, k] */
static inline TileProgram *random_conv(Arena *arena, Random *r, const ProductStyle *style,
                                       int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    int lanes = style->lanes;
    char pixels[4];
    bool grouped = pick(r, 4) == 0, batched = pick(r, 8) != 0;
    const char *g = grouped ? "g" : "", *bs = batched ? "b" : "";
    if (batched)
        tile_axis(&b, "b", 1 + pick(r, 5), TILE_PARALLEL);
    if (grouped)
        tile_axis(&b, "g", 1 + pick(r, 3), TILE_PARALLEL);
    tile_axis(&b, "n", pick_of(r, style->channels, style->n_channels), TILE_PARALLEL);
    add_pixels(&b, r, style, TILE_PARALLEL, pixels);
    int k = tile_axis(&b, "k", pick_of(r, style->channels, style->n_channels), TILE_REDUCE);
    b.p->batch_axis = batched ? 0 : -1;
    *terms = b.p->axes.at[k].size;

    int x = tile_load(&b, volume(arena, style, bs, g, pick(r, 5) ? 'K' : 'k', pixels), lanes);
    if (pick(r, 2))
        x = tile_norm_silu(&b, x, "k");
    if (style->layer_norm && pixels[0] && pick(r, 2))
        x = tile_layer_norm(&b, x, pixels, "k");
    if (batched && pick(r, 3) == 0)
        x = tile_prim(&b, PRIM_MUL, x, tile_load(&b, letters(arena, bs, g, "K", ""), lanes));
    if (pick(r, 4) == 0)
        x = tile_prim(&b, PRIM_ADD, x, tile_load(&b, letters(arena, "K", pixels, "", ""), lanes));
    int w = tile_load(&b, letters(arena, g, pick(r, 2) ? "nk" : "kn", "", ""), 1);
    if (pick(r, 5) == 0)
        w = tile_prim(&b, PRIM_MUL, w, tile_load(&b, "n", 1));
    bool swapped = pick(r, 2);
    b.p->lhs = swapped ? w : x;
    b.p->rhs = swapped ? x : w;

    const char *out = volume(arena, style, bs, g, pick(r, 6) ? 'N' : 'n', pixels);
    int y = tile_acc(&b);
    if (pick(r, 3) == 0)
        y = tile_norm_silu(&b, y, "n");
    if (pick(r, 3) == 0)
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, out, lanes));
    if (pixels[0] && pick(r, 4) == 0)
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, pixels, 1));
    if (style->pairs && pick(r, 2))
        y = tile_prim(&b, PRIM_ADD, y,
                      load_by_table(&b, r, out, pixels[0] && pick(r, 2) ? pixels[0] : 'n', lanes));
    tile_store(&b, y, out, lanes);
    if (!grouped && pick(r, 2) && style->reductions) {
        tile_reduce(&b, TILE_SUM, y, "n", tile_mean_factor(&b, "n"));
        tile_reduce(&b, TILE_VARIANCE, y, "n", 1);
    }
    const char *kept = letters(arena, "b", g, "n", pick(r, 2) ? "" : pixels);
    if (batched && pick(r, 4) == 0 && style->reductions)
        tile_reduce(&b, pick(r, 2) ? TILE_SUM : TILE_VARIANCE, y, kept, tile_mean_factor(&b, kept));
    if (style->pairs && pick(r, 3) == 0) {
        int z = tile_load(&b, out, lanes);
        if (pick(r, 2))
            z = tile_norm_silu(&b, z, "n");
        tile_reduce(&b, TILE_PAIR_SUM, z, letters(arena, g, pick(r, 2) ? "nk" : "kn", "", ""),
                    pick(r, 2) ? 1 : 0.1);
        for (uint32_t a = 0; a < b.p->axes.len; a++)
            *terms += b.p->axes.at[a].size; /* of samples and pixels: a product of these */
        *terms += 2000;
    }
    return b.p;
}

/* out[g, n, k] = sum over b, p of dy[b, g, n, p] x[b, g, k, p] */
static inline TileProgram *random_weight_gradient(Arena *arena, Random *r,
                                                  const ProductStyle *style, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    int lanes = style->lanes;
    char pixels[4];
    bool grouped = pick(r, 4) == 0;
    const char *g = grouped ? "g" : "";
    if (grouped)
        tile_axis(&b, "g", 1 + pick(r, 3), TILE_PARALLEL);
    tile_axis(&b, "n", pick_of(r, style->channels, style->n_channels), TILE_PARALLEL);
    tile_axis(&b, "k", pick_of(r, style->channels, style->n_channels), TILE_PARALLEL);
    b.p->batch_axis = tile_axis(&b, "b", 1 + pick(r, 5), TILE_REDUCE);
    add_pixels(&b, r, style, TILE_REDUCE, pixels);
    *terms = 1;
    for (uint32_t a = 0; a < b.p->axes.len; a++)
        *terms *= b.p->axes.at[a].kind == TILE_REDUCE ? b.p->axes.at[a].size : 1;

    int dy = tile_load(&b, volume(arena, style, "b", g, 'N', pixels), lanes);
    if (pick(r, 2))
        dy = tile_norm_silu(&b, dy, "n");
    int x = tile_load(&b, volume(arena, style, "b", g, pick(r, 5) ? 'K' : 'k', pixels), lanes);
    if (pick(r, 2))
        x = tile_norm_silu(&b, x, "k");
    if (style->layer_norm && pixels[0] && pick(r, 2))
        x = tile_layer_norm(&b, x, pixels, "k");
    bool swapped = pick(r, 2);
    b.p->lhs = swapped ? x : dy;
    b.p->rhs = swapped ? dy : x;
    int y = tile_acc(&b);
    if (pick(r, 2))
        y = tile_prim(&b, PRIM_MUL, y, tile_number(&b, 0.1));
    tile_store(&b, y, letters(arena, g, pick(r, 2) ? "nk" : "kn", "", ""), 1);
    return b.p;
}

/* Plain matrices: out[m, b, g, v] = sum over k, l of a[m, k, l] c[k, l, b, g, v] in random orders
 */
static inline TileProgram *random_matrices(Arena *arena, Random *r, const ProductStyle *style,
                                           int64_t *terms)
{
    static const int64_t inner[] = {2, 9, 16, 17, 35};
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    bool summed_batch = pick(r, 2), two = pick(r, 3) == 0;
    tile_axis(&b, "m", pick_of(r, style->rows, style->n_rows), TILE_PARALLEL);
    int batch = tile_axis(&b, "b", 1 + pick(r, 4), summed_batch ? TILE_REDUCE : TILE_PARALLEL);
    tile_axis(&b, "v", pick_of(r, inner, 5), TILE_PARALLEL);
    int k = tile_axis(&b, "k", pick(r, 4) ? 1 + pick(r, 40) : 270 + pick(r, 50), TILE_REDUCE);
    b.p->batch_axis = pick(r, 8) ? batch : -1;
    *terms = b.p->axes.at[k].size * 5;
    int a, c;
    if (summed_batch) {
        a = tile_load(&b, pick(r, 2) ? "mbk" : "bkm", 1);
        c = tile_load(&b, pick(r, 2) ? "vbk" : "bkv", 1);
    } else {
        a = tile_load(&b, pick(r, 2) ? "mk" : "km", 1);
        c = tile_load(&b, pick(r, 2) ? "kbv" : "bvk", 1);
    }
    if (pick(r, 3) == 0)
        c = tile_norm_silu(&b, c, "k");
    b.p->lhs = two ? c : a;
    b.p->rhs = two ? a : c;
    int y = tile_acc(&b);
    if (pick(r, 3) == 0)
        y = tile_norm_silu(&b, y, "m");
    tile_store(&b, y, summed_batch ? "mv" : pick(r, 2) ? "mbv" : "bmv", style->lanes);
    return b.p;
}

#endif
