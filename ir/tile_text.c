/* Text form of tile programs:
 *
 *     tile "core.expand" session -1 batch 0 flops 1200 {
 *       axis b 2 parallel
 *       axis k 3 reduce
 *       tensor in buffer 4 [b=2, k=3] order 0 1 lane 1 x 16
 *       tensor out bf16 buffer 5 [b=2] order 0
 *       stencil out 1 tap 2 in 3 stride 1 dilation 1 pad 0
 *       %0 = load t0 [a0, 2*a1 + a2]
 *       %1 = load t0 [a0{0 2 -1}, 0]
 *       %2 = const 0.5
 *       %3 = mul %0 %2
 *       %4 = acc
 *       anchor contract %3 %1 bf16
 *       store %4 t1 [a0]
 *       sum %4 t1 [a0] factor 0.5            (variance, pair_sum: the same)
 *     }
 *
 * Anchors that write their results themselves:
 *
 *       anchor scatter %3 %1
 *       result 0 t1 [a0, a2]
 *
 *       anchor attend n 1 m 2 d 3 e 4 scale 0.5 causal %0 %1 %2
 *       result 0 t3 [a0, a1, a4]
 *
 * A computed index is [a0, %1].
 *
 * Members, the first with the tensors and constants of the code, the others with what stands for
 * them:
 *
 *       member 12 session -1 [t0 t1 t2] numbers 0.5
 *       member 20 session 0 [t3 t1 t4] numbers 0.25
 *
 * One statement per line. Axes are a0, a1, .. in the order of their lines, tensors t0, t1, ..
 * The place in the user's source is not part of the text. */
#include "ir/tile.h"
#include <ctype.h>
#include <stdlib.h>

static const char *const anchor_text[TILE_ANCHOR_COUNT] = {
    "map", "contract", "stencil", "stencil_dw", "scatter", "attend", "attend_back"};
static const char *const kind_text[] = {"parallel", "reduce", "own", "in"};
static const char *const reduction_text[] = {"sum", "variance", "pair_sum"};

/* ---- printing ---- */

static void print_index(Text *t, const TileIndex *index, int rank)
{
    text_char(t, '[');
    for (int d = 0; d < rank; d++) {
        const TileIndex *x = &index[d];
        text_add(t, d ? ", " : "");
        if (x->computed)
            text_printf(t, "%%%d", x->computed - 1);
        else if (x->n_terms == 0)
            text_char(t, '0');
        for (int i = 0; i < x->n_terms; i++) {
            text_add(t, i ? " + " : "");
            if (!x->table && x->coef[i] != 1)
                text_printf(t, "%lld*", (long long)x->coef[i]);
            text_printf(t, "a%d", x->axis[i]);
        }
        if (!x->table)
            continue;
        for (int64_t i = 0; i < x->table_len; i++)
            text_printf(t, "%c%d", i ? ' ' : '{', x->table[i]);
        text_char(t, '}');
    }
    text_add(t, "]");
}

static void print_tensor(Text *t, const TileTensor *x, bool anonymous)
{
    const TileLayout *l = &x->layout;

    text_add(t, x->is_output ? "  tensor out" : "  tensor in");
    if (l->type != STORAGE_F32)
        text_printf(t, " %s", storage_text(l->type));
    if (!anonymous)
        text_printf(t, " buffer %d", x->buffer);
    text_add(t, " [");
    for (int d = 0; d < l->shape.rank; d++)
        text_printf(t, "%s%s=%lld", d ? ", " : "", anonymous ? "_" : l->shape.name[d],
                    (long long)l->shape.size[d]);
    text_add(t, "] order");
    for (int d = 0; d < l->shape.rank; d++)
        text_printf(t, " %d", l->order[d]);
    if (l->lane >= 0)
        text_printf(t, " lane %d x %d", l->lane, l->lanes);
    text_char(t, '\n');
}

static void print_inst(Text *t, const TileProgram *p, uint32_t i)
{
    const TileInst *in = &p->insts.at[i];

    text_printf(t, "  %%%u = ", i);
    switch (in->kind) {
    case INST_LOAD:
        text_printf(t, "load t%d ", in->tensor);
        print_index(t, in->index, p->tensors.at[in->tensor].layout.shape.rank);
        break;
    case INST_CONST:
        text_add(t, "const ");
        text_double(t, in->number);
        break;
    case INST_ACC:
        text_add(t, "acc");
        break;
    case INST_PRIM:
        text_add(t, prim_text(in->prim));
        for (int k = 0; k < prim_arity(in->prim); k++)
            text_printf(t, " %%%d", in->arg[k]);
        break;
    }
    text_char(t, '\n');
}

static void print_results(Text *t, const TileProgram *p)
{
    for (uint32_t i = 0; i < p->stores.len; i++) {
        const TileStore *s = &p->stores.at[i];
        text_printf(t, "  store %%%d t%d ", s->inst, s->tensor);
        print_index(t, s->index, p->tensors.at[s->tensor].layout.shape.rank);
        text_char(t, '\n');
    }
    for (uint32_t i = 0; i < p->reductions.len; i++) {
        const TileReduction *r = &p->reductions.at[i];
        text_printf(t, "  %s %%%d t%d [", reduction_text[r->kind], r->inst, r->tensor);
        for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++)
            text_printf(t, "%sa%d", d ? ", " : "", r->axis[d]);
        text_add(t, "] factor ");
        text_double(t, r->factor);
        text_char(t, '\n');
    }
}

static void print_anchor(Text *t, const TileProgram *p)
{
    const TileAttend *x = &p->attend;

    if (p->anchor == TILE_MAP)
        return;
    text_printf(t, "  anchor %s", anchor_text[p->anchor]);
    if (p->lhs >= 0)
        text_printf(t, " %%%d %%%d", p->lhs, p->rhs);
    if (p->math != MATH_F32)
        text_printf(t, " %s", math_text(p->math));
    text_add(t, p->by_library ? " library" : "");
    if (tile_n_operands(p)) {
        text_printf(t, " n %d m %d d %d e %d scale ", x->n, x->m, x->d, x->e);
        text_double(t, x->scale);
        text_add(t, x->mask == ATTEND_SEES_EARLIER  ? " causal"
                    : x->mask == ATTEND_SEES_OTHERS ? " others"
                                                    : "");
        text_add(t, x->adds ? " adds" : "");
        if (x->drop > 0) {
            text_printf(t, " byte %d drop ", x->byte);
            text_double(t, x->drop);
        }
    }
    for (int i = 0; i < tile_n_operands(p); i++)
        text_printf(t, " %%%d", x->operand[i]);
    text_char(t, '\n');
    for (int i = 0; i < tile_n_results(p); i++) {
        const TileResult *r = &p->result[i];
        if (r->tensor < 0)
            continue;
        text_printf(t, "  result %d t%d [", i, r->tensor);
        for (int d = 0; d < p->tensors.at[r->tensor].layout.shape.rank; d++)
            text_printf(t, "%sa%d", d ? ", " : "", r->axis[d]);
        text_add(t, "]\n");
    }
}

static void print_member(Text *t, const TileProgram *p, const TileMember *m, bool anonymous)
{
    int n = tile_n_numbers(p);

    text_printf(t, "  member %lld session %d [", (long long)m->size,
                anonymous && m->session > 0 ? 0 : m->session);
    for (int k = 0; k < m->n; k++)
        text_printf(t, "%st%d", k ? " " : "", m->tensor[k]);
    text_add(t, n ? "] numbers" : "]");
    for (int k = 0; k < n; k++) {
        text_char(t, ' ');
        text_double(t, m->number[k]);
    }
    text_char(t, '\n');
}

void tile_print(Text *t, const TileProgram *p, bool anonymous)
{
    if (anonymous) {
        text_printf(t, "tile session %d batch %d {\n", p->session < 0 ? -1 : 0, p->batch_axis);
    } else {
        text_printf(t, "tile \"%s\" session %d batch %d flops ", p->name, p->session,
                    p->batch_axis);
        text_double(t, p->flops);
        text_add(t, " {\n");
    }
    for (uint32_t a = 0; a < p->axes.len; a++)
        text_printf(t, "  axis %s %lld %s\n", anonymous ? "_" : p->axes.at[a].name,
                    (long long)p->axes.at[a].size, kind_text[p->axes.at[a].kind]);
    for (uint32_t i = 0; i < p->tensors.len; i++)
        print_tensor(t, &p->tensors.at[i], anonymous);
    for (uint32_t i = 0; i < p->stencils.len; i++) {
        const TileStencil *s = &p->stencils.at[i];
        text_printf(t, "  stencil out %d tap %d in %d stride %lld dilation %lld pad %lld%s\n",
                    s->out, s->tap, s->in, (long long)s->stride, (long long)s->dilation,
                    (long long)s->pad, s->transposed ? " transposed" : "");
    }
    for (uint32_t i = 0; i < p->insts.len; i++)
        print_inst(t, p, i);
    print_anchor(t, p);
    print_results(t, p);
    for (uint32_t i = 0; i < p->members.len; i++)
        print_member(t, p, &p->members.at[i], anonymous);
    text_add(t, "}\n");
}

/* ---- parsing ---- */

typedef struct Parser {
    Arena *arena;
    Names *names;
    Diags *diags;
    uint32_t source;
    const char *begin, *at, *end;
    bool failed;
    TileProgram *p;
} Parser;

static void fail(Parser *s, const char *expected)
{
    uint32_t at = (uint32_t)(s->at - s->begin);

    if (!s->failed)
        diag_error(s->diags, DIAG_E0290, (Span){s->source, at, at + 1},
                   "text of a tile program: %s was expected here", expected);
    s->failed = true;
}

static void skip_space(Parser *s)
{
    while (s->at < s->end && isspace((unsigned char)*s->at))
        s->at++;
}

/* Takes `word` when it stands here. */
static bool accept(Parser *s, const char *word)
{
    size_t n = strlen(word);

    skip_space(s);
    if (s->failed || (size_t)(s->end - s->at) < n || memcmp(s->at, word, n))
        return false;
    bool is_word = isalnum((unsigned char)word[n - 1]);
    if (is_word && s->at + n < s->end && (isalpha((unsigned char)s->at[n]) || s->at[n] == '_'))
        return false;
    s->at += n;
    return true;
}

static void expect(Parser *s, const char *word)
{
    if (!accept(s, word))
        fail(s, word);
}

static int64_t number(Parser *s)
{
    int64_t n = 0;
    bool negative = accept(s, "-");

    skip_space(s);
    if (s->failed || s->at == s->end || !isdigit((unsigned char)*s->at)) {
        fail(s, "a whole number");
        return 0;
    }
    while (s->at < s->end && isdigit((unsigned char)*s->at))
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s->at++ - '0', &n)) {
            fail(s, "a smaller number");
            return 0;
        }
    return negative ? -n : n;
}

static int small_number(Parser *s)
{
    int64_t n = number(s);

    if (n < INT32_MIN || n > INT32_MAX) {
        fail(s, "a smaller number");
        return 0;
    }
    return (int)n;
}

static double real(Parser *s)
{
    char word[64];
    size_t n = 0;

    skip_space(s);
    while (s->at < s->end && n + 1 < sizeof word && !isspace((unsigned char)*s->at))
        word[n++] = *s->at++;
    word[n] = 0;
    char *end = word;
    double x = strtod(word, &end);
    if (n == 0 || *end)
        fail(s, "a number");
    return x;
}

static const char *quoted(Parser *s)
{
    expect(s, "\"");
    const char *from = s->at;
    while (s->at < s->end && *s->at != '"' && *s->at != '\n')
        s->at++;
    const char *text = name_intern_n(s->names, from, (size_t)(s->at - from));
    expect(s, "\"");
    return text;
}

/* A name: everything up to white space, '=', ',' or a bracket. */
static const char *name(Parser *s)
{
    skip_space(s);
    const char *from = s->at;
    while (s->at < s->end && !isspace((unsigned char)*s->at) && !strchr("=,[]{}", *s->at))
        s->at++;
    if (s->at == from)
        fail(s, "a name");
    return name_intern_n(s->names, from, (size_t)(s->at - from));
}

static void read_axis(Parser *s)
{
    TileAxis a = {.name = name(s), .size = number(s)};

    a.kind = accept(s, "parallel") ? TILE_PARALLEL
             : accept(s, "reduce") ? TILE_REDUCE
             : accept(s, "own")    ? TILE_OWN
                                   : TILE_IN;
    if (a.kind == TILE_IN)
        expect(s, "in");
    if (s->p->axes.len == TILE_MAX_AXES)
        fail(s, "no more than 16 axes");
    else
        vec_push(s->arena, &s->p->axes, a);
}

static void read_tensor(Parser *s)
{
    TileTensor t = {.layout = {.lane = -1, .lanes = 1}, .buffer = -1};
    TileLayout *l = &t.layout;

    t.is_output = accept(s, "out");
    if (!t.is_output)
        expect(s, "in");
    for (int i = STORAGE_F32 + 1; i < STORAGE_COUNT; i++)
        if (accept(s, storage_text((Storage)i)))
            l->type = (Storage)i;
    if (accept(s, "buffer"))
        t.buffer = small_number(s);
    expect(s, "[");
    while (!s->failed && !accept(s, "]")) {
        int d = l->shape.rank;
        if (d == MAX_RANK) {
            fail(s, "no more than 8 axes");
            return;
        }
        if (d)
            expect(s, ",");
        l->shape.name[d] = name(s);
        expect(s, "=");
        l->shape.size[d] = number(s);
        l->shape.rank++;
    }
    expect(s, "order");
    for (int d = 0; d < l->shape.rank; d++)
        l->order[d] = small_number(s);
    if (accept(s, "lane")) {
        l->lane = small_number(s);
        expect(s, "x");
        l->lanes = small_number(s);
    }
    if (!s->failed)
        vec_push(s->arena, &s->p->tensors, t);
}

static void read_stencil(Parser *s)
{
    TileStencil x = {0};

    expect(s, "out");
    x.out = small_number(s);
    expect(s, "tap");
    x.tap = small_number(s);
    expect(s, "in");
    x.in = small_number(s);
    expect(s, "stride");
    x.stride = number(s);
    expect(s, "dilation");
    x.dilation = number(s);
    expect(s, "pad");
    x.pad = number(s);
    x.transposed = accept(s, "transposed");
    vec_push(s->arena, &s->p->stencils, x);
}

static void read_table(Parser *s, TileIndex *x)
{
    VEC(int32_t) table = {0};

    while (!s->failed && !accept(s, "}"))
        vec_push(s->arena, &table, (int32_t)small_number(s));
    x->table = table.at ? table.at : ARENA_NEW(s->arena, int32_t);
    x->table_len = table.len;
}

static void read_one_index(Parser *s, TileIndex *x)
{
    if (accept(s, "%")) {
        int inst = small_number(s);
        x->computed = inst < 0 || inst == INT32_MAX ? -1 : inst + 1;
        return;
    }
    if (accept(s, "0"))
        return;
    do {
        if (x->n_terms == TILE_MAX_TERMS) {
            fail(s, "at most two terms");
            return;
        }
        int64_t coef = 1;
        if (!accept(s, "a")) {
            coef = number(s);
            expect(s, "*");
            expect(s, "a");
        }
        x->coef[x->n_terms] = coef;
        x->axis[x->n_terms++] = small_number(s);
    } while (accept(s, "+"));
    if (accept(s, "{"))
        read_table(s, x);
}

/* A tensor and its index; the tensor must have been declared, since its rank is needed. */
static int read_access(Parser *s, TileIndex *index)
{
    expect(s, "t");
    int tensor = small_number(s);
    if (tensor < 0 || (uint32_t)tensor >= s->p->tensors.len) {
        fail(s, "a tensor declared above");
        return 0;
    }
    expect(s, "[");
    for (int d = 0; d < s->p->tensors.at[tensor].layout.shape.rank; d++) {
        if (d)
            expect(s, ",");
        read_one_index(s, &index[d]);
    }
    expect(s, "]");
    return tensor;
}

static int reference(Parser *s)
{
    expect(s, "%");
    return small_number(s);
}

static void read_inst(Parser *s)
{
    TileInst in = {.kind = INST_PRIM};

    if ((uint32_t)small_number(s) != s->p->insts.len)
        fail(s, "the next instruction's number");
    expect(s, "=");
    if (accept(s, "load")) {
        in.kind = INST_LOAD;
        in.tensor = read_access(s, in.index);
    } else if (accept(s, "const")) {
        in.kind = INST_CONST;
        in.number = real(s);
    } else if (accept(s, "acc")) {
        in.kind = INST_ACC;
    } else {
        const char *word = name(s);
        int prim = prim_find(word, strlen(word));
        if (prim < 0) {
            fail(s, "the name of a primitive");
            return;
        }
        in.prim = (Prim)prim;
        for (int k = 0; k < prim_arity(in.prim); k++)
            in.arg[k] = reference(s);
    }
    vec_push(s->arena, &s->p->insts, in);
}

static void read_anchor(Parser *s)
{
    TileAttend *x = &s->p->attend;
    int i = TILE_ANCHOR_COUNT - 1; /* longer names first */

    while (i > TILE_MAP && !accept(s, anchor_text[i]))
        i--;
    if (i == TILE_MAP) {
        fail(s, "the name of an anchor");
        return;
    }
    s->p->anchor = (TileAnchor)i;
    for (int k = 0; k < TILE_MAX_RESULTS; k++)
        s->p->result[k].tensor = -1;
    if (!tile_n_operands(s->p)) {
        s->p->lhs = reference(s);
        s->p->rhs = reference(s);
    }
    for (int m = MATH_F32 + 1; m < MATH_COUNT; m++)
        if (accept(s, math_text((MathMode)m)))
            s->p->math = (MathMode)m;
    s->p->by_library = accept(s, "library");
    if (!tile_n_operands(s->p))
        return;
    int *const axis[] = {&x->n, &x->m, &x->d, &x->e};
    static const char *const axis_text[] = {"n", "m", "d", "e"};
    for (int k = 0; k < 4; k++) {
        expect(s, axis_text[k]);
        *axis[k] = small_number(s);
    }
    expect(s, "scale");
    x->scale = real(s);
    x->mask = accept(s, "causal")   ? ATTEND_SEES_EARLIER
              : accept(s, "others") ? ATTEND_SEES_OTHERS
                                    : ATTEND_SEES_ALL;
    x->adds = accept(s, "adds");
    if (accept(s, "byte")) {
        x->byte = small_number(s);
        expect(s, "drop");
        x->drop = real(s);
    }
    for (int k = 0; k < tile_n_operands(s->p); k++)
        x->operand[k] = reference(s);
}

static void read_result(Parser *s)
{
    int i = small_number(s);
    TileIndex index[MAX_RANK] = {0};

    if (i < 0 || i >= tile_n_results(s->p)) {
        fail(s, "a result of the anchor above");
        return;
    }
    TileResult *r = &s->p->result[i];
    r->tensor = read_access(s, index);
    for (int d = 0; !s->failed && d < s->p->tensors.at[r->tensor].layout.shape.rank; d++) {
        if (index[d].n_terms != 1 || index[d].coef[0] != 1 || index[d].table)
            fail(s, "an axis");
        r->axis[d] = index[d].axis[0];
    }
}

static void read_store(Parser *s)
{
    TileStore x = {.inst = reference(s)};

    x.tensor = read_access(s, x.index);
    vec_push(s->arena, &s->p->stores, x);
}

static void read_reduction(Parser *s, TileReduceKind kind)
{
    TileReduction x = {.kind = kind, .inst = reference(s)};
    TileIndex index[MAX_RANK] = {0};

    x.tensor = read_access(s, index);
    for (int d = 0; !s->failed && d < s->p->tensors.at[x.tensor].layout.shape.rank; d++) {
        if (index[d].n_terms != 1 || index[d].coef[0] != 1 || index[d].table)
            fail(s, "an axis");
        x.axis[d] = index[d].axis[0];
    }
    expect(s, "factor");
    x.factor = real(s);
    vec_push(s->arena, &s->p->reductions, x);
}

static void read_member(Parser *s)
{
    TileMember m = {.size = number(s)};
    VEC(int) tensor = {0};
    int n = tile_n_numbers(s->p);
    double *at = ARENA_ARRAY(s->arena, double, (size_t)n + 1);

    expect(s, "session");
    m.session = small_number(s);
    expect(s, "[");
    while (!s->failed && !accept(s, "]")) {
        expect(s, "t");
        vec_push(s->arena, &tensor, small_number(s));
    }
    m.n = (int)tensor.len;
    m.tensor = tensor.at;
    if (n)
        expect(s, "numbers");
    for (int k = 0; k < n; k++)
        at[k] = real(s);
    m.number = at;
    vec_push(s->arena, &s->p->members, m);
}

static void read_statement(Parser *s)
{
    if (accept(s, "member"))
        read_member(s);
    else if (s->p->members.len) /* they have a number for each constant above */
        fail(s, "a member");
    else if (accept(s, "axis"))
        read_axis(s);
    else if (accept(s, "tensor"))
        read_tensor(s);
    else if (accept(s, "stencil"))
        read_stencil(s);
    else if (accept(s, "%"))
        read_inst(s);
    else if (accept(s, "anchor"))
        read_anchor(s);
    else if (accept(s, "result"))
        read_result(s);
    else if (accept(s, "store"))
        read_store(s);
    else if (accept(s, reduction_text[TILE_SUM]))
        read_reduction(s, TILE_SUM);
    else if (accept(s, reduction_text[TILE_VARIANCE]))
        read_reduction(s, TILE_VARIANCE);
    else if (accept(s, reduction_text[TILE_PAIR_SUM]))
        read_reduction(s, TILE_PAIR_SUM);
    else
        fail(s, "a statement");
}

TileProgram *tile_parse(Arena *arena, Names *names, Diags *diags, const char *path,
                        const char *text, size_t len)
{
    TileProgram *p = ARENA_NEW(arena, TileProgram);
    Parser s = {.arena = arena,
                .names = names,
                .diags = diags,
                .begin = text,
                .at = text,
                .end = text + len,
                .p = p};

    s.source = diags_add_source(diags, path, text, len);
    p->lhs = p->rhs = -1;
    p->name = "";
    expect(&s, "tile");
    skip_space(&s);
    if (s.at < s.end && *s.at == '"')
        p->name = quoted(&s);
    expect(&s, "session");
    p->session = small_number(&s);
    expect(&s, "batch");
    p->batch_axis = small_number(&s);
    if (accept(&s, "flops"))
        p->flops = real(&s);
    expect(&s, "{");
    while (!s.failed && !accept(&s, "}"))
        read_statement(&s);
    skip_space(&s);
    if (!s.failed && s.at != s.end)
        fail(&s, "the end of the text");
    if (s.failed)
        return NULL;
    const char *problem = tile_verify(p, arena);
    if (problem)
        diag_error(diags, DIAG_E0290, (Span){s.source, 0, 1}, "tile program: %s", problem);
    return problem ? NULL : p;
}
