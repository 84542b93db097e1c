/* What a legal tile program is. Sizes are checked first, so that later sums cannot overflow. */
#include "ir/drop.h"
#include "ir/tile_product.h"
#include <stdlib.h>

#define MAX_ELEMS ((int64_t)1 << 48)

typedef struct Cx {
    const TileProgram *p;
    Arena *arena;
    unsigned *bits; /* per instruction: axes that it varies with; ACC_BIT: depends on the anchor */
} Cx;

#define ACC_BIT (1u << 31)

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return arena_printf(cx->arena, __VA_ARGS__);                                           \
    } while (0)
#define TRY(call)                                                                                  \
    do {                                                                                           \
        const char *problem = (call);                                                              \
        if (problem)                                                                               \
            return problem;                                                                        \
    } while (0)

static bool in_range(int64_t i, int64_t n)
{
    return i >= 0 && i < n;
}

static const char *check_axes(Cx *cx)
{
    const TileProgram *p = cx->p;

    CHECK(p->axes.len <= TILE_MAX_AXES, "%u axes, at most %d are possible", p->axes.len,
          TILE_MAX_AXES);
    for (uint32_t a = 0; a < p->axes.len; a++) {
        CHECK(p->axes.at[a].size >= 1 && p->axes.at[a].size <= MAX_ELEMS, "axis a%u has size %lld",
              a, (long long)p->axes.at[a].size);
        CHECK(p->anchor != TILE_MAP || p->axes.at[a].kind == TILE_PARALLEL,
              "axis a%u of a map is not parallel", a);
    }
    CHECK(p->batch_axis == -1 || in_range(p->batch_axis, p->axes.len), "no batch axis a%d",
          p->batch_axis);
    CHECK(p->batch_axis == -1 || p->axes.at[p->batch_axis].kind != TILE_IN,
          "the batch axis is an input position");
    return NULL;
}

static const char *check_layout(Cx *cx, uint32_t t)
{
    const TileLayout *l = &cx->p->tensors.at[t].layout;
    int rank = l->shape.rank;
    unsigned seen = 0;
    int64_t elems = 1;

    CHECK(rank >= 0 && rank <= MAX_RANK, "tensor t%u has rank %d", t, rank);
    CHECK(l->lane >= -1 && l->lane < rank, "tensor t%u has no axis %d for lanes", t, l->lane);
    CHECK(l->lanes >= 1 && l->lanes <= 64 && (l->lane >= 0 || l->lanes == 1),
          "tensor t%u has %d lanes", t, l->lanes);
    elems = l->lanes;
    for (int d = 0; d < rank; d++) {
        CHECK(l->shape.size[d] >= 1 && l->shape.size[d] <= MAX_ELEMS / elems,
              "tensor t%u is empty or too large", t);
        elems *= l->shape.size[d];
        CHECK(in_range(l->order[d], rank) && !(seen >> l->order[d] & 1),
              "the order of tensor t%u is no permutation", t);
        seen |= 1u << l->order[d];
    }
    return NULL;
}

static const char *check_table(Cx *cx, const TileIndex *x, int64_t size, bool holes)
{
    CHECK(x->n_terms == 1, "a table needs one axis");
    CHECK(x->table_len == cx->p->axes.at[x->axis[0]].size,
          "a table of %lld entries follows an axis of size %lld", (long long)x->table_len,
          (long long)cx->p->axes.at[x->axis[0]].size);
    for (int64_t i = 0; i < x->table_len; i++)
        CHECK(x->table[i] < size && x->table[i] >= (holes ? -1 : 0),
              "a table entry %d points outside of an axis of size %lld", x->table[i],
              (long long)size);
    return NULL;
}

static const char *check_index(Cx *cx, const TileIndex *x, int64_t size, bool holes)
{
    int64_t low = 0, high = 0;

    CHECK(x->n_terms >= 0 && x->n_terms <= TILE_MAX_TERMS, "an index has %d terms", x->n_terms);
    for (int i = 0; i < x->n_terms; i++)
        CHECK(in_range(x->axis[i], cx->p->axes.len), "an index follows a%d, which is not there",
              x->axis[i]);
    if (x->computed) {
        CHECK(holes && x->n_terms == 0 && !x->table, "a computed index where none can be");
        return NULL; /* check_inst has seen to the instruction */
    }
    if (x->table)
        return check_table(cx, x, size, holes);
    for (int i = 0; i < x->n_terms; i++) {
        int64_t last = cx->p->axes.at[x->axis[i]].size - 1, c = x->coef[i], end;
        CHECK(!__builtin_mul_overflow(c, last, &end) && end < MAX_ELEMS && end > -MAX_ELEMS,
              "an index overflows");
        *(end < 0 ? &low : &high) += end;
    }
    CHECK(low >= 0 && high < size, "an index reaches %lld..%lld on an axis of size %lld",
          (long long)low, (long long)high, (long long)size);
    return NULL;
}

static unsigned index_bits(const Cx *cx, const TileIndex *index, int rank)
{
    unsigned bits = 0;

    for (int d = 0; d < rank; d++) {
        for (int i = 0; i < index[d].n_terms; i++)
            bits |= 1u << index[d].axis[i];
        bits |= index[d].computed ? cx->bits[index[d].computed - 1] : 0;
    }
    return bits;
}

static const char *check_inst(Cx *cx, uint32_t i)
{
    const TileProgram *p = cx->p;
    const TileInst *in = &p->insts.at[i];

    cx->bits[i] = 0;
    switch (in->kind) {
    case INST_CONST:
        break;
    case INST_ACC:
        CHECK(p->anchor != TILE_MAP && !tile_is_whole(p), "%%%u: the anchor has no accumulator", i);
        cx->bits[i] = ACC_BIT;
        break;
    case INST_LOAD:
        CHECK(in_range(in->tensor, p->tensors.len), "%%%u loads t%d, which is not there", i,
              in->tensor);
        CHECK(!p->tensors.at[in->tensor].is_output, "%%%u loads t%d, an output", i, in->tensor);
        const Shape *s = &p->tensors.at[in->tensor].layout.shape;
        for (int d = 0; d < s->rank; d++) {
            CHECK(in->index[d].computed >= 0 && in->index[d].computed <= (int)i,
                  "%%%u is read where a later instruction says", i);
            TRY(check_index(cx, &in->index[d], s->size[d], true));
        }
        cx->bits[i] = index_bits(cx, in->index, s->rank);
        break;
    case INST_PRIM:
        CHECK(in_range((int)in->prim, PRIM_COUNT), "%%%u: no such primitive", i);
        for (int k = 0; k < prim_arity(in->prim); k++) {
            CHECK(in_range(in->arg[k], i), "%%%u uses a later instruction", i);
            cx->bits[i] |= cx->bits[in->arg[k]];
        }
        break;
    default:
        return arena_printf(cx->arena, "%%%u is of no known kind", i);
    }
    return NULL;
}

static unsigned axes_of_kind(const TileProgram *p, TileAxisKind kind)
{
    unsigned bits = 0;

    for (uint32_t a = 0; a < p->axes.len; a++)
        bits |= p->axes.at[a].kind == kind ? 1u << a : 0;
    return bits;
}

static const char *check_stencils(Cx *cx)
{
    const TileProgram *p = cx->p;
    unsigned in = 0;
    TileAxisKind out_kind = p->anchor == TILE_STENCIL ? TILE_PARALLEL : TILE_REDUCE;
    TileAxisKind tap_kind = p->anchor == TILE_STENCIL ? TILE_REDUCE : TILE_PARALLEL;

    CHECK(p->stencils.len == 0 || p->anchor == TILE_STENCIL || p->anchor == TILE_STENCIL_DW,
          "only convolutions have stencils");
    for (uint32_t i = 0; i < p->stencils.len; i++) {
        const TileStencil *s = &p->stencils.at[i];
        CHECK(in_range(s->out, p->axes.len) && in_range(s->tap, p->axes.len) &&
                  in_range(s->in, p->axes.len),
              "a stencil names an axis that is not there");
        CHECK(p->axes.at[s->out].kind == out_kind && p->axes.at[s->tap].kind == tap_kind &&
                  p->axes.at[s->in].kind == TILE_IN,
              "a stencil's axes are of the wrong kind");
        CHECK(!(in >> s->in & 1), "two stencils derive a%d", s->in);
        CHECK(s->stride >= 1 && s->dilation >= 1 && s->stride < MAX_ELEMS &&
                  s->dilation < MAX_ELEMS && llabs(s->pad) < MAX_ELEMS,
              "a stencil's stride, dilation or padding is out of range");
        in |= 1u << s->in;
    }
    CHECK(in == axes_of_kind(p, TILE_IN), "an input position has no stencil");
    return NULL;
}

/* Operands of attention: an axis of queries or keys and one of a width, none more of the anchor's.
 */
static const char *check_attend(Cx *cx)
{
    const TileProgram *p = cx->p;
    const TileAttend *t = &p->attend;
    const int own[] = {t->n, t->m, t->d, t->e, t->byte};
    unsigned seen = 0;

    CHECK(drop_is_rate(t->drop), "weights are dropped at a rate of %g", t->drop);
    for (int i = 0; i < (t->drop > 0 ? 5 : 4); i++) {
        CHECK(in_range(own[i], p->axes.len) && p->axes.at[own[i]].kind == TILE_OWN &&
                  !(seen >> own[i] & 1),
              "attention has four axes of its own, one more where weights are dropped");
        seen |= 1u << own[i];
    }
    CHECK(!(t->drop > 0) || p->axes.at[t->byte].size == DROP_BYTES, "there are %d random bytes",
          DROP_BYTES);
    CHECK(seen == axes_of_kind(p, TILE_OWN), "an axis of its own that attention does not know");
    CHECK(t->mask == ATTEND_SEES_ALL || p->axes.at[t->n].size == p->axes.at[t->m].size,
          "as many queries as keys are needed where queries do not see all keys");
    const unsigned n = 1u << t->n, m = 1u << t->m, d = 1u << t->d, e = 1u << t->e;
    const unsigned base[] = {n | d, m | d, m | e, n | e, n, n}, added[] = {n | m, n, m};
    unsigned may[TILE_MAX_OPERANDS];
    memcpy(may, base, sizeof base);
    memcpy(may + tile_additions(p), added, sizeof added);
    if (t->drop > 0)
        may[tile_n_operands(p) - 1] = 1u << t->byte;
    for (int i = 0; i < tile_n_operands(p); i++) {
        CHECK(in_range(t->operand[i], p->insts.len), "operand %d of the attention is nothing", i);
        CHECK(i <= (p->anchor == TILE_ATTEND ? ATTEND_VALUE : ATTEND_DY) ||
                  p->insts.at[t->operand[i]].kind == INST_LOAD,
              "operand %d of the attention is no load", i);
        CHECK(!(cx->bits[t->operand[i]] & axes_of_kind(p, TILE_OWN) & ~may[i]),
              "operand %d of the attention varies with a wrong axis", i);
    }
    return NULL;
}

/* `is_sum`: it may lack parallel axes. */
static const char *check_own_result(Cx *cx, const TileResult *r, unsigned own, bool is_sum,
                                    bool *written)
{
    const TileProgram *p = cx->p;
    unsigned need = own, seen = 0, may = axes_of_kind(p, TILE_PARALLEL) | own;

    CHECK(in_range(r->tensor, p->tensors.len) && p->tensors.at[r->tensor].is_output,
          "a result goes to t%d, which is no output", r->tensor);
    CHECK(!written[r->tensor], "t%d is written twice", r->tensor);
    written[r->tensor] = true;
    const Shape *shape = &p->tensors.at[r->tensor].layout.shape;
    for (int d = 0; d < shape->rank; d++) {
        int a = r->axis[d];
        CHECK(in_range(a, p->axes.len) && (may >> a & 1) && p->axes.at[a].size == shape->size[d] &&
                  !(seen >> a & 1),
              "axis %d of t%d fits no axis", d, r->tensor);
        seen |= 1u << a;
    }
    for (uint32_t a = 0; a < p->axes.len && !is_sum; a++)
        need |= p->axes.at[a].kind == TILE_PARALLEL && p->axes.at[a].size > 1 ? 1u << a : 0;
    CHECK(!(need & ~seen), "t%d lacks an axis", r->tensor);
    return NULL;
}

/* Results of anchors that write them themselves. */
static const char *check_own_results(Cx *cx, bool *written)
{
    const TileProgram *p = cx->p;
    const TileAttend *t = &p->attend;
    unsigned own[TILE_MAX_RESULTS] = {axes_of_kind(p, TILE_OWN)};

    if (p->anchor == TILE_ATTEND) {
        own[ATTEND_Y] = 1u << t->n | 1u << t->e;
        own[ATTEND_L] = 1u << t->n;
    } else if (p->anchor == TILE_ATTEND_BACK) {
        own[ATTEND_DQ] = 1u << t->n | 1u << t->d;
        own[ATTEND_DK] = 1u << t->m | 1u << t->d;
        own[ATTEND_DV] = 1u << t->m | 1u << t->e;
        own[ATTEND_DBIAS] = 1u << t->n | 1u << t->m;
        CHECK(t->adds || p->result[ATTEND_DBIAS].tensor < 0, "a gradient of no bias");
    }
    for (int i = 0; i < tile_n_results(p); i++)
        if (p->result[i].tensor >= 0) {
            bool is_sum = p->anchor == TILE_ATTEND_BACK && i == ATTEND_DBIAS;
            TRY(check_own_result(cx, &p->result[i], own[i], is_sum, written));
        }
    return NULL;
}

static const char *check_scatter(Cx *cx)
{
    const TileProgram *p = cx->p;
    unsigned own = axes_of_kind(p, TILE_OWN);

    CHECK(own && !(own & (own - 1)), "a scatter has one axis of its own");
    CHECK(p->result[0].tensor >= 0, "a scatter has a result");
    CHECK(!((cx->bits[p->lhs] | cx->bits[p->rhs]) & own), "a scatter reads on its own axis");
    return NULL;
}

static const char *check_anchor(Cx *cx)
{
    const TileProgram *p = cx->p;

    CHECK(in_range((int)p->anchor, TILE_ANCHOR_COUNT), "there is no such anchor");
    CHECK(tile_is_whole(p) || !axes_of_kind(p, TILE_OWN),
          "an axis of its own without such an anchor");
    if (p->anchor == TILE_ATTEND || p->anchor == TILE_ATTEND_BACK) {
        CHECK(p->lhs == -1 && p->rhs == -1, "attention has operands of its own");
        TRY(check_attend(cx));
        return check_stencils(cx);
    }
    if (p->anchor == TILE_MAP) {
        CHECK(p->lhs == -1 && p->rhs == -1, "a map has no operands");
        return check_stencils(cx);
    }
    CHECK(in_range(p->lhs, p->insts.len) && in_range(p->rhs, p->insts.len),
          "the anchor's operands are not there");
    CHECK(!((cx->bits[p->lhs] | cx->bits[p->rhs]) & ACC_BIT),
          "the anchor's operands depend on its result");
    CHECK(!(cx->bits[p->rhs] & axes_of_kind(p, TILE_IN)), "rhs is read at input positions");
    if (p->anchor == TILE_SCATTER)
        TRY(check_scatter(cx));
    return check_stencils(cx);
}

static const char *check_result(Cx *cx, int inst, int tensor, bool *written)
{
    const TileProgram *p = cx->p;
    unsigned inner = axes_of_kind(p, TILE_REDUCE) | axes_of_kind(p, TILE_IN);

    CHECK(in_range(inst, p->insts.len), "a result is %%%d, which is not there", inst);
    CHECK(!(cx->bits[inst] & inner), "result %%%d varies with an axis that the anchor sums", inst);
    CHECK(in_range(tensor, p->tensors.len) && p->tensors.at[tensor].is_output,
          "a result goes to t%d, which is no output", tensor);
    CHECK(!written[tensor], "t%d is written twice", tensor);
    written[tensor] = true;
    return NULL;
}

static const char *check_store(Cx *cx, const TileStore *s, bool *written)
{
    const TileProgram *p = cx->p;
    unsigned need = 0;

    TRY(check_result(cx, s->inst, s->tensor, written));
    const Shape *shape = &p->tensors.at[s->tensor].layout.shape;
    for (int d = 0; d < shape->rank; d++)
        TRY(check_index(cx, &s->index[d], shape->size[d], false));
    for (uint32_t a = 0; a < p->axes.len; a++)
        need |= p->axes.at[a].kind == TILE_PARALLEL && p->axes.at[a].size > 1 ? 1u << a : 0;
    unsigned have = index_bits(cx, s->index, shape->rank);
    CHECK(!(need & ~have), "the store to t%d writes an element more than once", s->tensor);
    CHECK(!(have & ~axes_of_kind(p, TILE_PARALLEL)), "the store to t%d follows a summed axis",
          s->tensor);
    return NULL;
}

static const char *check_reduction(Cx *cx, const TileReduction *r, bool *written)
{
    const TileProgram *p = cx->p;
    unsigned seen = 0, reduce = axes_of_kind(p, TILE_REDUCE), may = axes_of_kind(p, TILE_PARALLEL);
    bool pairs = r->kind == TILE_PAIR_SUM;

    TRY(check_result(cx, r->inst, r->tensor, written));
    CHECK(!pairs || p->anchor == TILE_CONTRACT || p->anchor == TILE_STENCIL,
          "the anchor has no pair sums");
    CHECK(!pairs || !(cx->bits[r->inst] & ACC_BIT), "the pair sum to t%d uses the accumulator",
          r->tensor);
    may |= pairs ? reduce : 0;
    const Shape *shape = &p->tensors.at[r->tensor].layout.shape;
    for (int d = 0; d < shape->rank; d++) {
        int a = r->axis[d];
        CHECK(in_range(a, p->axes.len) && (may >> a & 1) && p->axes.at[a].size == shape->size[d] &&
                  !(seen >> a & 1),
              "axis %d of the reduction to t%d fits no axis", d, r->tensor);
        seen |= 1u << a;
    }
    CHECK(!pairs || !(reduce & ~seen), "the pair sum to t%d lacks a reduced axis", r->tensor);
    return NULL;
}

/* Read and written at the point at hand, or one number for all points. */
static const char *check_flat(Cx *cx, const char *what, uint32_t at, int tensor,
                              const TileIndex *index)
{
    const TileTensor *t = &cx->p->tensors.at[tensor];

    CHECK(t->layout.shape.rank == 1 || (t->layout.shape.rank == 0 && !t->is_output),
          "tensor t%d of a member has rank %d", tensor, t->layout.shape.rank);
    CHECK(t->layout.shape.rank == 0 ||
              (index->n_terms == 1 && index->coef[0] == 1 && !index->table &&
               t->layout.lanes == 1 && t->layout.shape.size[0] == cx->p->axes.at[0].size),
          "%s %u of a member is not at its point", what, at);
    return NULL;
}

static const char *check_member(const TileProgram *p, Arena *scratch, uint32_t i, bool *written)
{
    Cx context = {p, scratch, NULL}, *cx = &context;
    const TileMember *m = &p->members.at[i];

    CHECK(m->n == p->members.at[0].n && m->n <= (int)p->tensors.len,
          "member %u has %d tensors, the first %d", i, m->n, p->members.at[0].n);
    for (int k = 0; k < m->n; k++) {
        CHECK(in_range(m->tensor[k], p->tensors.len),
              "member %u has a tensor t%d, which is not there", i, m->tensor[k]);
        CHECK(i || m->tensor[k] == k, "the first member's tensors are not the first");
        CHECK(p->tensors.at[m->tensor[k]].is_output == p->tensors.at[k].is_output &&
                  p->tensors.at[m->tensor[k]].layout.type == p->tensors.at[k].layout.type,
              "t%d of member %u is not of the kind of t%d", m->tensor[k], i, k);
        CHECK(!written[m->tensor[k]], "t%d is written twice", m->tensor[k]);
        written[m->tensor[k]] = p->tensors.at[k].is_output;
    }
    cx->p = tile_member(scratch, p, i);
    TRY(tile_verify(cx->p, scratch));
    for (uint32_t k = 0; k < p->insts.len; k++)
        if (p->insts.at[k].kind == INST_LOAD)
            TRY(check_flat(cx, "load", k, p->insts.at[k].tensor, p->insts.at[k].index));
    for (uint32_t k = 0; k < p->stores.len; k++)
        TRY(check_flat(cx, "store", k, p->stores.at[k].tensor, p->stores.at[k].index));
    return NULL;
}

static const char *check_members(const TileProgram *p, Arena *scratch)
{
    Cx context = {p, scratch, NULL}, *cx = &context;
    bool *written = ARENA_ARRAY(scratch, bool, p->tensors.len);

    CHECK(p->anchor == TILE_MAP && p->axes.len == 1 && !p->reductions.len && p->session == -1 &&
              p->batch_axis == -1,
          "only maps over one axis, without sums and samples, have members");
    CHECK(p->members.at[0].size == p->axes.at[0].size, "the first member is of another size");
    for (uint32_t i = 0; i < p->members.len; i++)
        TRY(check_member(p, scratch, i, written));
    TileProgram *first = tile_member(scratch, p, 0);
    for (uint32_t i = 0; i < p->insts.len; i++)
        CHECK(!memcmp(&first->insts.at[i].number, &p->insts.at[i].number, sizeof(double)),
              "the first member has other numbers");
    for (uint32_t t = 0; t < p->tensors.len; t++)
        CHECK(written[t] == p->tensors.at[t].is_output, "output t%u is not written", t);
    return NULL;
}

const char *tile_verify(const TileProgram *p, Arena *scratch)
{
    if (p->members.len)
        return check_members(p, scratch);
    Cx context = {p, scratch, ARENA_ARRAY(scratch, unsigned, p->insts.len)}, *cx = &context;
    bool *written = ARENA_ARRAY(scratch, bool, p->tensors.len);

    TRY(check_axes(cx));
    for (uint32_t t = 0; t < p->tensors.len; t++)
        TRY(check_layout(cx, t));
    for (uint32_t i = 0; i < p->insts.len; i++)
        TRY(check_inst(cx, i));
    TRY(check_anchor(cx));
    for (uint32_t i = 0; i < p->stores.len; i++)
        TRY(check_store(cx, &p->stores.at[i], written));
    for (uint32_t i = 0; i < p->reductions.len; i++)
        TRY(check_reduction(cx, &p->reductions.at[i], written));
    if (tile_is_whole(p)) {
        CHECK(p->stores.len + p->reductions.len == 0, "stores behind an anchor that takes none");
        TRY(check_own_results(cx, written));
    }
    CHECK(tile_is_whole(p) || p->stores.len + p->reductions.len > 0, "the program has no result");
    for (uint32_t t = 0; t < p->tensors.len; t++)
        CHECK(written[t] == p->tensors.at[t].is_output, "output t%u is not written", t);
    TileProduct product;
    CHECK(!p->by_library || tile_product(p, &product),
          "a library computes plain products only, and this is none");
    return NULL;
}
