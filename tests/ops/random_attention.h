/* Attention and its gradients, and sums into computed positions, of given or random sizes. */
#ifndef NPC_TESTS_RANDOM_ATTENTION_H
#define NPC_TESTS_RANDOM_ATTENTION_H

#include "ir/drop.h"
#include "tests/ops/tile_build.h"

typedef struct AttentionShape {
    int64_t samples, heads, n, m, d, e;
    AttendMask mask;
    bool back;
    const char *q, *k, *v, *y, *l; /* storage: b a (heads) n m d e */
    const char *bias, *own;        /* of additions to scores, and queries' labels; NULL: none */
    unsigned wanted;               /* bits of the results */
    double drop;                   /* of weights */
    const char *bytes;             /* if so: the sequences' random bytes, along r */
    bool windows;                  /* rows are read at positions, some nowhere, and get a bias */
} AttentionShape;

static inline void attention_result(TileBuild *b, int which, const char *order, unsigned wanted)
{
    TileResult *r = &b->p->result[which];
    r->tensor = wanted >> which & 1 ? tile_tensor(b, order, 1, true) : -1;
    for (int i = 0; r->tensor >= 0 && order[i]; i++)
        r->axis[i] = tile_find_axis(b, order[i]);
}

/* Row `axis` of a load is read where a tensor says, and a line over `column` is added. */
static inline int attention_windows(TileBuild *b, int load, char axis, char column)
{
    char row[] = {axis, 0}, along[] = {column, 0};
    int at = tile_load(b, row, 1), row_axis = tile_find_axis(b, axis);
    TileInst windows = b->p->insts.at[load];
    const TileTensor *t = &b->p->tensors.at[windows.tensor];
    for (int d = 0; d < t->layout.shape.rank; d++)
        if (windows.index[d].n_terms == 1 && windows.index[d].axis[0] == row_axis)
            windows.index[d] = (TileIndex){.computed = at + 1};
    return tile_prim(b, PRIM_ADD, tile_inst(b, windows), tile_load(b, along, 1));
}

/* Positions in a program's storage: every fifth is nowhere. */
static inline void attention_place(const TileProgram *p, void *const *storage)
{
    for (uint32_t i = 0; i < p->insts.len; i++)
        for (int d = 0; p->insts.at[i].kind == INST_LOAD && d < MAX_RANK; d++) {
            int at = p->insts.at[i].index[d].computed - 1;
            if (at < 0)
                continue;
            int tensor = p->insts.at[at].tensor;
            const TileLayout *l = &p->tensors.at[tensor].layout;
            int64_t n = tile_layout_elems(l);
            for (int64_t k = 0; k < n; k++)
                storage_write(storage[tensor], l->type, k,
                              k % 5 == 3 ? 250 : (float)((7 * k + 2) % n % 250));
        }
}

/* Labels in a program's storage, 0 and 1 by turns; every fourth position but the first has no
 * query, and of 200 and more none behind the 120th but every 16th. */
static inline void attention_label(const TileProgram *p, void *const *storage)
{
    if (tile_n_operands(p))
        attention_place(p, storage);
    if (!p->attend.adds)
        return;
    for (int which = ATTEND_OWN; which <= ATTEND_THEIRS; which++) {
        int inst = p->attend.operand[tile_additions(p) + which];
        int tensor = p->insts.at[inst].tensor;
        const TileLayout *l = &p->tensors.at[tensor].layout;
        for (int64_t i = 0; i < tile_layout_elems(l); i++) {
            bool is_asked = which == ATTEND_THEIRS || l->type == STORAGE_U8 ||
                            (i % 4 != 3 && (i % 200 < 120 || i % 16 == 0));
            float label = (float)(which == ATTEND_OWN ? i / 3 % 2 : i % 2);
            storage_write(storage[tensor], l->type, i, is_asked ? label : (float)ATTEND_UNASKED);
        }
    }
}

static inline void attention_additions(TileBuild *b, const AttentionShape *s)
{
    TileAttend *t = &b->p->attend;
    int first = tile_additions(b->p);
    if (!s->bias)
        return;
    t->adds = true;
    t->operand[first + ATTEND_BIAS] = tile_load(b, s->bias, 1);
    t->operand[first + ATTEND_OWN] = tile_load(b, s->own, 1);
    t->operand[first + ATTEND_THEIRS] = tile_load(b, "m", 1);
}

static inline void attention_drop(TileBuild *b, const AttentionShape *s)
{
    TileAttend *t = &b->p->attend;
    if (!(s->drop > 0))
        return;
    t->drop = s->drop;
    t->byte = tile_axis(b, "r", DROP_BYTES, TILE_OWN);
    int load = tile_load(b, s->bytes, 1);
    b->p->tensors.at[b->p->insts.at[load].tensor].layout.type = STORAGE_U8;
    t->operand[tile_n_operands(b->p) - 1] = load;
}

static inline TileProgram *attention_program(Arena *arena, const AttentionShape *s)
{
    TileBuild b = tile_build(arena, s->back ? TILE_ATTEND_BACK : TILE_ATTEND);
    TileAttend *t = &b.p->attend;
    b.p->batch_axis = tile_axis(&b, "b", s->samples, TILE_PARALLEL);
    tile_axis(&b, "a", s->heads, TILE_PARALLEL);
    t->n = tile_axis(&b, "n", s->n, TILE_OWN);
    t->m = tile_axis(&b, "m", s->m, TILE_OWN);
    t->d = tile_axis(&b, "d", s->d, TILE_OWN);
    t->e = tile_axis(&b, "e", s->e, TILE_OWN);
    for (int i = 0; i < TILE_MAX_RESULTS; i++)
        b.p->result[i].tensor = -1;
    t->scale = 1.7 / sqrt((double)s->d);
    t->mask = s->mask;
    t->operand[ATTEND_QUERY] = tile_load(&b, s->q, 1);
    t->operand[ATTEND_KEY] = tile_load(&b, s->k, 1);
    t->operand[ATTEND_VALUE] = tile_load(&b, s->v, 1);
    if (s->windows) {
        t->operand[ATTEND_QUERY] = attention_windows(&b, t->operand[ATTEND_QUERY], 'n', 'd');
        t->operand[ATTEND_KEY] = attention_windows(&b, t->operand[ATTEND_KEY], 'm', 'd');
        t->operand[ATTEND_VALUE] = attention_windows(&b, t->operand[ATTEND_VALUE], 'm', 'e');
    }
    if (!s->back) {
        attention_result(&b, ATTEND_Y, s->y, s->wanted);
        attention_result(&b, ATTEND_L, s->l, s->wanted);
        attention_additions(&b, s);
        attention_drop(&b, s);
        return b.p;
    }
    /* a logarithm of a sum over m keys, so that weights are of its order */
    t->operand[ATTEND_DY] = tile_load(&b, s->y, 1);
    if (s->windows)
        t->operand[ATTEND_DY] = attention_windows(&b, t->operand[ATTEND_DY], 'n', 'e');
    t->operand[ATTEND_LOG_SUM] = tile_load(&b, s->l, 1);
    t->operand[ATTEND_CENTRE] = tile_load(&b, s->l, 1);
    attention_result(&b, ATTEND_DQ, s->q, s->wanted);
    attention_result(&b, ATTEND_DK, s->k, s->wanted);
    attention_result(&b, ATTEND_DV, s->v, s->wanted);
    attention_additions(&b, s);
    if (s->bias)
        attention_result(&b, ATTEND_DBIAS, s->bias, s->wanted);
    attention_drop(&b, s);
    return b.p;
}

static inline TileProgram *random_attention_of(Arena *arena, Random *r, bool back, int64_t *terms)
{
    static const int64_t keys[] = {1, 2, 7, 16, 33, 64, 70, 200};
    static const int64_t widths[] = {1, 3, 8, 16, 20, 37, 48};
    static const char *const q[] = {"band", "bnad", "nbad", "band"};
    static const char *const k[] = {"bamd", "bmad", "bmad", "mdba"};
    static const char *const v[] = {"bame", "bmae", "emab", "bame"};
    static const char *const y[] = {"bane", "bnae", "nbae", "aneb"};
    static const char *const l[] = {"ban", "bna", "nba", "nab"};
    static const char *const bias[] = {"anm", "nm", "mna", "banm", "bnm"};
    static const char *const own[] = {"n", "bn", "na"};
    int layout = (int)pick(r, 4);
    AttentionShape s = {.samples = 1 + pick(r, 3),
                        .heads = 1 + pick(r, 3),
                        .m = pick_of(r, keys, 8),
                        .d = pick_of(r, widths, 7),
                        .e = pick_of(r, widths, 7),
                        .mask = (AttendMask)pick(r, 3),
                        .back = back,
                        .q = q[layout],
                        .k = k[layout],
                        .v = v[layout],
                        .y = y[layout],
                        .l = l[layout]};
    if (pick(r, 2))
        s.bias = bias[pick(r, 5)], s.own = own[pick(r, 3)];
    s.wanted = pick(r, 3) ? 15 : 1u << pick(r, !back ? 2 : s.bias ? 4 : 3);
    s.drop = pick(r, 3) ? 0 : 0.05 + 0.1 * (double)pick(r, 8);
    s.windows = pick(r, 3) == 0;
    s.bytes = pick(r, 3) ? "bar" : pick(r, 2) ? "abr" : "br";
    if (s.mask == ATTEND_SEES_OTHERS && s.m == 1)
        s.mask = ATTEND_SEES_ALL;
    s.n = s.mask != ATTEND_SEES_ALL || pick(r, 2) ? s.m : pick_of(r, keys, 8);
    *terms = back ? (s.n > s.m ? s.n : s.m) * 4 + s.d + s.e : s.m + s.d;
    return attention_program(arena, &s);
}

static inline TileProgram *random_attention(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    (void)lanes;
    return random_attention_of(arena, r, false, terms);
}

static inline TileProgram *random_attention_back(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    (void)lanes;
    return random_attention_of(arena, r, true, terms);
}

/* Positions are inputs in [-1, 1) times a factor, so that some are outside; summed over n, and over
 * samples too when the result has none. */
static inline TileProgram *random_scatter_of(Arena *arena, Random *r, int64_t n, int64_t positions,
                                             int lanes, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_SCATTER);
    bool by_sample = pick(r, 3);
    int64_t samples = 1 + pick(r, 3);
    b.p->batch_axis = tile_axis(&b, "b", samples, by_sample ? TILE_PARALLEL : TILE_REDUCE);
    tile_axis(&b, "c", 1 + pick(r, 40), TILE_PARALLEL);
    tile_axis(&b, "n", n, TILE_REDUCE);
    tile_axis(&b, "p", positions, TILE_OWN);
    b.p->lhs = tile_prim(&b, PRIM_MUL, tile_load(&b, pick(r, 2) ? "bnc" : "cbn", 1),
                         tile_load(&b, "nc", 1));
    int at = tile_load(&b, pick(r, 4) ? "bn" : "bnc", 1);
    b.p->rhs = tile_prim(&b, PRIM_MUL, at, tile_number(&b, (double)positions + 1));
    for (int i = 0; i < TILE_MAX_RESULTS; i++)
        b.p->result[i].tensor = -1;
    const char *order = by_sample ? (pick(r, 2) ? "bpc" : "cbp") : pick(r, 2) ? "pc" : "cp";
    if (pick(r, 3) == 0)
        order = by_sample ? "bCp" : "pC";
    TileResult *result = &b.p->result[0];
    result->tensor = tile_tensor(&b, order, lanes, true);
    for (int i = 0; order[i]; i++)
        result->axis[i] = tile_find_axis(&b, order[i]);
    *terms = n * (by_sample ? 1 : samples);
    return b.p;
}

static inline TileProgram *random_scatter(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    return random_scatter_of(arena, r, 1 + pick(r, 40), 1 + pick(r, 9), lanes, terms);
}

/* Rows of x at positions in [-1, 1) times a factor, some outside, weighed and summed over t and p,
 * perhaps over samples; x has as many rows as p is long: out[n, c] = sum of w[b, t, n, p] x[b, t,
 * position[b, t, n, p], c]. */
static inline TileProgram *random_gathered(Arena *arena, Random *r, int lanes, int64_t *terms)
{
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    bool by_sample = pick(r, 2);
    int64_t samples = 1 + pick(r, 3), t = 1 + pick(r, 4), p = 1 + pick(r, 5);
    b.p->batch_axis = tile_axis(&b, "b", samples, by_sample ? TILE_PARALLEL : TILE_REDUCE);
    tile_axis(&b, "c", 1 + pick(r, 300), TILE_PARALLEL);
    tile_axis(&b, "n", 1 + pick(r, 40), TILE_PARALLEL);
    tile_axis(&b, "t", t, TILE_REDUCE);
    tile_axis(&b, "p", p, TILE_REDUCE);
    int at = tile_load(&b, pick(r, 4) ? "btnp" : "tp", 1);
    at = tile_prim(&b, PRIM_MUL, at, tile_number(&b, (double)p + 1));
    int x = tile_load(&b, pick(r, 2) ? "btpc" : "btCp", lanes);
    for (int d = 0; d < 4; d++)
        if (b.p->insts.at[x].index[d].axis[0] == tile_find_axis(&b, 'p'))
            b.p->insts.at[x].index[d] = (TileIndex){.computed = 1 + at};
    int w = tile_load(&b, "btnp", 1);
    if (pick(r, 3) == 0)
        x = tile_prim(&b, PRIM_MUL, x, tile_load(&b, "c", 1));
    bool swapped = pick(r, 2);
    b.p->lhs = swapped ? w : x;
    b.p->rhs = swapped ? x : w;
    int y = tile_acc(&b);
    if (pick(r, 3) == 0)
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, "nc", 1));
    static const char *const orders[] = {"nc", "Cn", "nC", "cn"};
    const char *order = orders[pick(r, 4)];
    tile_store(&b, y, by_sample ? arena_printf(arena, "b%s", order) : order, lanes);
    *terms = t * p * samples;
    return b.p;
}

#endif
