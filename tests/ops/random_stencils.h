/* Random depthwise convolutions, their input and weight gradients: shapes, strides, layouts,
 * prologues and epilogues. */
#ifndef NPC_TESTS_RANDOM_STENCILS_H
#define NPC_TESTS_RANDOM_STENCILS_H

#include "tests/ops/tile_build.h"

static const int64_t channels[] = {1, 5, 7, 16, 18, 40};
enum { N_CHANNELS = sizeof channels / sizeof *channels };

typedef struct Positions {
    char out[4], in[4], taps[4]; /* letters of the axes, in order */
    int64_t n_taps;
} Positions;

/* Axes t h w of sizes up to 12, a random non-empty subset with stencils. Forward the inputs are
 * larger by the stride; transposed the outputs are. */
static inline Positions add_positions(TileBuild *b, Random *r, bool transposed,
                                      TileAxisKind out_kind, TileAxisKind tap_kind)
{
    static const char *const out_name[] = {"t", "h", "w"}, *const in_name[] = {"u", "v", "x"};
    static const char *const tap_name[] = {"i", "j", "l"};
    Positions p = {.n_taps = 1};
    int n = 0, n_taps = 0, with = 1 + (int)pick(r, 7);
    for (int i = 0; i < 3; i++) {
        bool stencil = with >> i & 1;
        int64_t size = 1 + pick(r, 12);
        if (!stencil && pick(r, 3) == 0)
            continue;
        if (!stencil) {
            tile_axis(b, out_name[i], size, out_kind);
            p.out[n] = p.in[n] = out_name[i][0];
            n++;
            continue;
        }
        int64_t taps = 1 + pick(r, 5), stride = 1 + pick(r, 3), dilation = 1 + pick(r, 4) / 3;
        int64_t pad = pick(r, taps + 1), span = (taps - 1) * dilation + 1;
        int64_t large = size + span, small = (large + 2 * pad - span) / stride + 1;
        int out = tile_axis(b, out_name[i], transposed ? large : small, out_kind);
        int tap = tile_axis(b, tap_name[i], taps, tap_kind);
        int in = tile_axis(b, in_name[i], transposed ? small : large, TILE_IN);
        vec_push(b->arena, &b->p->stencils,
                 (TileStencil){out, tap, in, stride, dilation, pad, transposed});
        p.out[n] = out_name[i][0];
        p.in[n++] = in_name[i][0];
        p.taps[n_taps++] = tap_name[i][0];
        p.n_taps *= taps;
    }
    return p;
}

static inline const char *reversed(Arena *arena, const char *text)
{
    size_t n = strlen(text);
    char *out = arena_strdup(arena, text);
    for (size_t i = 0; i < n; i++)
        out[i] = text[n - 1 - i];
    return out;
}

static inline const char *joined(Arena *arena, const char *a, const char *b)
{
    return arena_printf(arena, "%s%s", a, b);
}

/* Letters of a volume: in blocks of channels mostly, or channels last where lanes is 0. */
static inline const char *volume(Arena *arena, Random *r, const char *batch, const char *at,
                                 int lanes)
{
    if (!lanes)
        return arena_printf(arena, "%s%sc", batch, at);
    return arena_printf(arena, "%s%s%s", batch, pick(r, 6) ? "C" : "c", at);
}

/* Input code on the in axes. */
static inline int random_input(TileBuild *b, Random *r, const char *batch, const Positions *at,
                               int lanes)
{
    int x = tile_load(b, volume(b->arena, r, batch, at->in, lanes), lanes);
    if (pick(r, 2))
        x = tile_norm_silu(b, x, "c");
    if (pick(r, 4) == 0)
        x = tile_prim(b, PRIM_MUL, x,
                      tile_load(b, joined(b->arena, batch, lanes ? "C" : "c"), lanes));
    if (pick(r, 4) == 0)
        x = tile_prim(b, PRIM_ADD, x, tile_load(b, volume(b->arena, r, "", at->in, lanes), lanes));
    return x;
}

static inline TileProgram *depthwise(Arena *arena, Random *r, int lanes, bool pair, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_STENCIL);
    bool batched = pick(r, 8) != 0;
    const char *batch = batched ? "b" : "";
    if (batched)
        b.p->batch_axis = tile_axis(&b, "b", 1 + pick(r, 4), TILE_PARALLEL);
    tile_axis(&b, "c", pick_of(r, channels, N_CHANNELS), TILE_PARALLEL);
    Positions at = add_positions(&b, r, pick(r, 2), TILE_PARALLEL, TILE_REDUCE);
    *terms = at.n_taps;
    b.p->lhs = random_input(&b, r, batch, &at, lanes);
    const char *taps = pick(r, 3) ? at.taps : reversed(arena, at.taps);
    b.p->rhs = tile_load(&b, pick(r, 2) ? joined(arena, "c", taps) : joined(arena, taps, "c"), 1);

    const char *out = volume(arena, r, batch, at.out, lanes);
    int y = tile_acc(&b);
    if (pick(r, 3) == 0)
        y = tile_norm_silu(&b, y, "c");
    if (pick(r, 3) == 0)
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, out, lanes));
    tile_store(&b, y, out, lanes);
    if (pick(r, 2)) {
        tile_reduce(&b, TILE_SUM, y, "c", tile_mean_factor(&b, "c"));
        tile_reduce(&b, TILE_VARIANCE, y, "c", 1);
    }
    if (pair) {
        int x = tile_load(&b, out, lanes);
        x = pick(r, 2) ? tile_norm_silu(&b, x, "c") : x;
        tile_reduce(&b, TILE_PAIR_SUM, x,
                    pick(r, 2) ? joined(arena, "c", taps) : joined(arena, taps, "c"), 1);
        *terms += 100; /* of up to some thousand products, mostly of different signs */
    }
    if (batched && pick(r, 4) == 0)
        tile_reduce(&b, pick(r, 2) ? TILE_SUM : TILE_VARIANCE, y, "bc", tile_mean_factor(&b, "bc"));
    return b.p;
}

static inline TileProgram *random_depthwise(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    return depthwise(arena, r, lanes, false, terms);
}

/* Summed over channels as well: a norm and an activation in front, channels in blocks or not. */
static inline TileProgram *random_dense(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_STENCIL);
    bool batched = pick(r, 8) != 0;
    const char *batch = batched ? "b" : "";
    if (batched)
        b.p->batch_axis = tile_axis(&b, "b", 1 + pick(r, 3), TILE_PARALLEL);
    tile_axis(&b, "c", pick_of(r, channels, N_CHANNELS), TILE_REDUCE);
    tile_axis(&b, "n", pick_of(r, channels, N_CHANNELS), TILE_PARALLEL);
    Positions at = add_positions(&b, r, pick(r, 2), TILE_PARALLEL, TILE_REDUCE);
    *terms = at.n_taps * b.p->axes.at[batched].size;
    b.p->lhs = random_input(&b, r, batch, &at, lanes);
    const char *taps = pick(r, 3) ? at.taps : reversed(arena, at.taps);
    b.p->rhs = tile_load(&b, pick(r, 2) ? joined(arena, "nc", taps) : joined(arena, taps, "cn"), 1);

    const char *out = arena_printf(arena, "%s%s%s", batch, lanes && pick(r, 6) ? "N" : "n", at.out);
    int y = tile_acc(&b);
    if (pick(r, 3) == 0)
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, out, lanes));
    if (pick(r, 3) == 0)
        y = tile_prim(&b, PRIM_MUL, y, tile_load(&b, "n", 1));
    tile_store(&b, y, out, lanes);
    if (pick(r, 2)) {
        tile_reduce(&b, TILE_SUM, y, "n", tile_mean_factor(&b, "n"));
        tile_reduce(&b, TILE_VARIANCE, y, "n", 1);
    }
    return b.p;
}

static inline TileProgram *random_dense_dw(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_STENCIL_DW);
    tile_axis(&b, "c", pick_of(r, channels, N_CHANNELS), TILE_PARALLEL);
    tile_axis(&b, "n", pick_of(r, channels, N_CHANNELS), TILE_PARALLEL);
    b.p->batch_axis = tile_axis(&b, "b", 1 + pick(r, 4), TILE_REDUCE);
    Positions at = add_positions(&b, r, false, TILE_REDUCE, TILE_PARALLEL);
    *terms = 1;
    for (uint32_t a = 0; a < b.p->axes.len; a++)
        *terms *= b.p->axes.at[a].kind == TILE_REDUCE ? b.p->axes.at[a].size : 1;
    b.p->lhs = random_input(&b, r, "b", &at, lanes);
    b.p->rhs =
        tile_load(&b, arena_printf(arena, "b%s%s", lanes && pick(r, 6) ? "N" : "n", at.out), lanes);
    if (pick(r, 2))
        b.p->rhs = tile_prim(&b, PRIM_MUL, b.p->rhs, tile_load(&b, "n", 1));
    int y = tile_acc(&b);
    if (pick(r, 2))
        y = tile_prim(&b, PRIM_MUL, y, tile_number(&b, 0.1));
    const char *taps = pick(r, 3) ? at.taps : reversed(arena, at.taps);
    tile_store(&b, y, pick(r, 2) ? joined(arena, "nc", taps) : joined(arena, taps, "cn"), 1);
    return b.p;
}

/* With the other gradient beside it. */
static inline TileProgram *random_depthwise_pair(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    return depthwise(arena, r, lanes, true, terms);
}

static inline TileProgram *random_depthwise_dw(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_STENCIL_DW);
    tile_axis(&b, "c", pick_of(r, channels, N_CHANNELS), TILE_PARALLEL);
    b.p->batch_axis = tile_axis(&b, "b", 1 + pick(r, 4), TILE_REDUCE);
    Positions at = add_positions(&b, r, false, TILE_REDUCE, TILE_PARALLEL);
    *terms = 1;
    for (uint32_t a = 0; a < b.p->axes.len; a++)
        *terms *= b.p->axes.at[a].kind == TILE_REDUCE ? b.p->axes.at[a].size : 1;
    b.p->lhs = random_input(&b, r, "b", &at, lanes);
    b.p->rhs = tile_load(&b, volume(arena, r, "b", at.out, lanes), lanes);
    if (pick(r, 2))
        b.p->rhs = tile_norm_silu(&b, b.p->rhs, "c");
    int y = tile_acc(&b);
    if (pick(r, 2))
        y = tile_prim(&b, PRIM_MUL, y, tile_number(&b, 0.1));
    const char *taps = pick(r, 3) ? at.taps : reversed(arena, at.taps);
    tile_store(&b, y, pick(r, 2) ? joined(arena, "c", taps) : joined(arena, taps, "c"), 1);
    return b.p;
}

#endif
