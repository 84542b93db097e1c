#include "runtime/attention_blocks.h"

#include "passes/pass.h"

typedef struct Finder {
    Arena *arena;
    const char *batch; /* the axis of samples */
    const Func *f;
    Origins origins;
    AttentionModel *out;
} Finder;

static Status unknown(const char *what, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "attention cannot be shown: %s", what);
}

/* ---- one block ---- */

/* Names of the axes that tell sequences and heads apart. */
typedef struct Axes {
    const char *sequence[MAX_RANK], *head[MAX_RANK];
} Axes;

static int64_t stride_of(const Shape *s, const char *axis)
{
    int64_t stride[MAX_RANK];
    int at = axis ? shape_axis(s, axis) : -1;
    shape_strides(s, stride);
    return at < 0 ? 0 : stride[at];
}

static AttentionSide side_of(const Finder *z, Val v, const char *result, const char *tokens,
                             const char *entry, const AttentionBlock *b, const Axes *axes)
{
    const Shape *s = func_shape(z->f, v);
    AttentionSide side = {.result = arena_printf(z->arena, "%s/%d", result, z->out->n_blocks),
                          .elems = shape_elems(s),
                          .sample = stride_of(s, z->batch),
                          .token = stride_of(s, tokens),
                          .entry = stride_of(s, entry)};
    for (int i = 0; i < b->n_sequence; i++)
        side.sequence[i] = stride_of(s, axes->sequence[i]);
    for (int i = 0; i < b->n_head; i++)
        side.head[i] = stride_of(s, axes->head[i]);
    return side;
}

static void set_parts(const Finder *z, const Node *n, AttentionBlock *b, const Axes *axes)
{
    const char *query = n->attrs.axis, *key = n->attrs.axis2, *entry = n->attrs.over.name[0];
    const struct {
        const char *result, *tokens, *entry;
        int operand;
    } part[SCORE_PARTS] = {[SCORE_QUERY] = {"query", query, entry, 0},
                           [SCORE_KEY] = {"key", key, entry, 1},
                           [SCORE_BIAS] = {"bias", query, key, 3},
                           [SCORE_OWN] = {"own", query, NULL, 4},
                           [SCORE_THEIRS] = {"theirs", key, NULL, 5}};
    b->n_parts = n->n_in > 3 ? SCORE_PARTS : SCORE_BIAS;
    for (int i = 0; i < b->n_parts; i++)
        b->part[i] = side_of(z, n->in[part[i].operand], part[i].result, part[i].tokens,
                             part[i].entry, b, axes);
}

/* Tokens made of the input stand in one piece. */
static Status find_tokens(AttentionBlock *b, const Origin *o, Err *err)
{
    const OriginRange *r = o->of[b->kind == ATTENTION_TIME ? ORIGIN_FRAMES : ORIGIN_ROWS];
    int64_t end = b->tokens;
    while (b->front < end && r[b->front].first == r[b->front].end)
        b->front++;
    while (end > b->front && r[end - 1].first == r[end - 1].end)
        end--;
    b->data = end - b->front;
    for (int64_t i = b->front; i < end; i++)
        if (r[i].first == r[i].end)
            return unknown("tokens of the input stand between others", err);
    return b->data ? NPC_OK : unknown("no token is made of the input", err);
}

static Status find_kind(AttentionBlock *b, const Origin *o, Err *err)
{
    bool in_time = o && o->of[ORIGIN_FRAMES], in_space = o && o->of[ORIGIN_ROWS];
    if (o && !in_time && o->of[ORIGIN_COLUMNS] && !in_space)
        return unknown("it runs over the columns of a picture alone", err);
    if (in_time == in_space)
        return unknown(in_time ? "it runs over frames and places at once"
                               : "it runs over something else than frames or places",
                       err);
    if (in_space && !o->of[ORIGIN_COLUMNS])
        return unknown("it runs over the rows of a picture alone", err);
    b->kind = in_time ? ATTENTION_TIME : ATTENTION_SPACE;
    return NPC_OK;
}

static Status add_block(Finder *z, const Node *n, AttentionBlock *b, const Origin **sequence_origin,
                        Err *err)
{
    const Attrs *a = &n->attrs;
    const char *entry = a->over.name[0];
    Axes axes;
    const Shape *q = func_shape(z->f, n->in[0]), *k = func_shape(z->f, n->in[1]);
    *b = (AttentionBlock){.sequences = 1,
                          .heads = 1,
                          .tokens = q->size[shape_axis(q, a->axis)],
                          .width = q->size[shape_axis(q, entry)],
                          .scale = a->k[0],
                          .mask = (AttendMask)a->k[1]};
    if (k->size[shape_axis(k, a->axis2)] != b->tokens)
        return unknown("its queries and keys are not the same tokens", err);
    const Origin *tokens = origin_of(&z->origins, n->in[0], a->axis);
    NPC_TRY(find_kind(b, tokens, err));
    NPC_TRY(find_tokens(b, tokens, err));
    for (int i = 0; i < q->rank; i++) {
        const char *axis = q->name[i];
        if (axis == z->batch || axis == a->axis || axis == entry)
            continue;
        const Origin *o = origin_of(&z->origins, n->in[0], axis);
        if (o) {
            *sequence_origin = o;
            axes.sequence[b->n_sequence] = axis;
            b->sequence_size[b->n_sequence++] = q->size[i];
            b->sequences *= q->size[i];
        } else {
            axes.head[b->n_head] = axis;
            b->head_size[b->n_head++] = q->size[i];
            b->heads *= q->size[i];
        }
    }
    set_parts(z, n, b, &axes);
    return NPC_OK;
}

/* ---- the model ---- */

static void set_places(Finder *z, const Origin *o, int64_t first, int64_t n)
{
    AttentionModel *m = z->out;
    if (!o || m->place || !o->of[ORIGIN_ROWS] || !o->of[ORIGIN_COLUMNS])
        return;
    AttentionPlace *p = ARENA_ARRAY(z->arena, AttentionPlace, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        p[i] = (AttentionPlace){o->of[ORIGIN_ROWS][first + i], o->of[ORIGIN_COLUMNS][first + i]};
    m->place = p;
    m->core_height = o->before[ORIGIN_ROWS];
    m->core_width = o->before[ORIGIN_COLUMNS];
}

static void set_frames(Finder *z, const Origin *o, int64_t first)
{
    if (o && !z->out->frames && o->of[ORIGIN_FRAMES])
        z->out->frames = o->of[ORIGIN_FRAMES] + first;
}

/* Steps and places are those of the first block of a kind; others must be alike. */
static Status settle(Finder *z, const AttentionBlock *b, const Origin *tokens,
                     const Origin *sequences, Err *err)
{
    AttentionModel *m = z->out;
    bool in_space = b->kind == ATTENTION_SPACE;
    int64_t places = in_space ? b->data : b->sequences, steps = in_space ? b->sequences : b->data;
    if ((m->places && m->places != places) || (m->steps && m->steps != steps))
        return unknown("its blocks have different tokens", err);
    m->places = places;
    m->steps = steps;
    set_places(z, in_space ? tokens : sequences, in_space ? b->front : 0, places);
    set_frames(z, in_space ? sequences : tokens, in_space ? 0 : b->front);
    const AttentionBlock *first = m->first[b->kind];
    if (first && (first->heads != b->heads || attention_kept(first) != attention_kept(b) ||
                  first->front != b->front))
        return unknown("its blocks have different heads or tokens", err);
    m->first[b->kind] = first ? first : b;
    m->n_of[b->kind]++;
    return NPC_OK;
}

static void find_input(Finder *z)
{
    for (uint32_t i = 1; i < z->f->nodes.len; i++) {
        const Node *n = &z->f->nodes.at[i];
        int h = n->op == OP_INPUT ? shape_axis(&n->shape, "h") : -1,
            w = n->op == OP_INPUT ? shape_axis(&n->shape, "w") : -1;
        if (h < 0 || w < 0)
            continue;
        z->out->height = n->shape.size[h];
        z->out->width = n->shape.size[w];
    }
}

Status attention_find(AttentionModel *out, Arena *arena, const Module *m, Err *err)
{
    const Func *f = module_func(m, "eval");
    const bool *live = func_live(arena, f);
    int n = 0;
    *out = (AttentionModel){0};
    for (uint32_t i = 1; i < f->nodes.len; i++)
        n += f->nodes.at[i].op == OP_ATTEND && live[i];
    if (!n)
        return err_set(err, NPC_ERR_INPUT, "the model '%s' has no attention", m->model);
    Finder z = {arena, name_intern(m->names, "b"), f, origins_find(arena, f), out};
    out->block = ARENA_ARRAY(arena, AttentionBlock, (size_t)n);
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        const Node *a = &f->nodes.at[i];
        const Origin *sequences = NULL;
        if (a->op != OP_ATTEND || !live[i])
            continue;
        AttentionBlock *b = &out->block[out->n_blocks];
        NPC_TRY(add_block(&z, a, b, &sequences, err));
        NPC_TRY(settle(&z, b, origin_of(&z.origins, a->in[0], a->attrs.axis), sequences, err));
        out->n_blocks++;
    }
    find_input(&z);
    return NPC_OK;
}
