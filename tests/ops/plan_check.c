#include "tests/ops/plan_check.h"

#include "tests/ops/random_graph.h"

#include <math.h>
#include <stdlib.h>

/* Values of all leaves, the same for the reference and the plan. */
static bool leaf_value(void *context, const Node *leaf, double *at)
{
    int64_t n = shape_elems(&leaf->shape);
    if (leaf->op == OP_IOTA) {
        for (int64_t i = 0; i < n; i++)
            at[i] = (double)i;
        return true;
    }
    if (leaf->op == OP_CONST) {
        for (int64_t i = 0; i < n; i++)
            at[i] = (double)leaf->attrs.data[i];
        return true;
    }
    const char *name = leaf->attrs.name;
    if (leaf->op == OP_INPUT && (!strncmp(name, "bias", 4) || !strcmp(name, "rate"))) {
        at[0] = 0.1; /* of the optimizer */
        return true;
    }
    if (leaf->op == OP_INPUT && !strcmp(name, "loss_scale")) {
        at[0] = 8;
        return true;
    }
    if (!random_graph_leaf(context, leaf, at))
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (!strncmp(name, "adam_v/", 7))
            at[i] = fabs(at[i]) + 0.1;
        at[i] = (float)at[i];
    }
    return true;
}

/* Largest relative error of a rounding to what activations are stored in, or products take. */
static double rounding(PrecisionMode p)
{
    static const double unit[PRECISION_COUNT] = {
        [PRECISION_F32] = 0x1p-24,
        [PRECISION_TF32] = 0x1p-11,
        [PRECISION_BF16] = 0x1p-8,
        [PRECISION_F16] = 0x1p-11,
    };
    return unit[p];
}

/* Values of all nodes when each is computed with an error of a few roundings: how sensitive the
 * results are to arithmetic in another order. */
static EvalTensor *eval_nudged(Arena *a, const Func *f, uint64_t *seed, double unit)
{
    EvalTensor *values = ARENA_ARRAY(a, EvalTensor, f->nodes.len);
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        const EvalTensor *in[MAX_OPERANDS];
        int64_t elems = shape_elems(&n->shape);
        for (int i = 0; i < n->n_in; i++)
            in[i] = &values[n->in[i].id];
        values[id] = (EvalTensor){n->shape, ARENA_ARRAY(a, double, elems)};
        if (op_lowering(n->op) == LOWER_LEAF)
            leaf_value(seed, n, values[id].at);
        else
            eval_node(a, f, (Val){id}, in, &values[id]);
        static const double ERROR[] = {-2, -1, 1, 2}; /* halves of a rounding */
        bool is_exact =
            n->op == OP_IOTA || n->op == OP_CONST || n->op == OP_RANDOM || n->op == OP_BYTES;
        for (int64_t i = 0; i < elems && !is_exact; i++)
            values[id].at[i] *=
                1 + ERROR[((uint64_t)i * 2654435761u + id * 40503u) >> 7 & 3] * unit;
    }
    return values;
}

static void store(void *to, const TileLayout *l, const double *from)
{
    int64_t n = shape_elems(&l->shape), index[MAX_RANK] = {0};
    for (int64_t i = 0; i < n; i++) {
        storage_write(to, l->type, tile_layout_offset(l, index), (float)from[i]);
        for (int k = l->shape.rank - 1; k >= 0; k--) {
            if (++index[k] < l->shape.size[k])
                break;
            index[k] = 0;
        }
    }
}

typedef struct Stored {
    char *arena, *inputs, *prepared;
    Map persistent;
    float **at;
} Stored;

static void fill_garbage(char *at, size_t bytes)
{
    float nan = NAN; /* whoever reads what was never written is found out */
    for (size_t i = 0; i + 4 <= bytes; i += 4)
        memcpy(at + i, &nan, 4);
}

static char *allocate(Arena *a, size_t bytes)
{
    uintptr_t p = (uintptr_t)arena_alloc(a, bytes + 192);
    char *at = (char *)((p + 63) & ~(uintptr_t)63);
    fill_garbage(at, bytes + 64);
    return at;
}

static void place_storage(Module *m, const Plan *plan, Stored *s, const PlanCheck *c)
{
    Arena *a = m->arena;
    s->arena = allocate(a, plan->arena_bytes);
    s->inputs = allocate(a, plan->input_bytes);
    s->prepared = allocate(a, plan->prepared_bytes);
    s->at = ARENA_ARRAY(a, float *, plan->buffers.len + 1);
    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        const PlanBuffer *b = &plan->buffers.at[i];
        const Node *n = func_node(plan->f, b->val);
        bool is_leaf = op_lowering(n->op) == LOWER_LEAF;
        switch (b->kind) {
        case BUFFER_ARENA:
            s->at[i] = (float *)(s->arena + b->offset);
            continue;
        case BUFFER_PREPARED:
            s->at[i] = (float *)(s->prepared + b->offset);
            continue;
        case BUFFER_PERSISTENT:
            s->at[i] = map_get(&s->persistent, b->name);
            if (!s->at[i]) {
                s->at[i] = (float *)allocate(a, b->bytes);
                map_put(a, &s->persistent, b->name, s->at[i]);
            }
            break;
        default:
            s->at[i] = (float *)(s->inputs + b->offset);
        }
        if (is_leaf) {
            double *v = ARENA_ARRAY(a, double, shape_elems(&n->shape));
            uint64_t seed = c->seed;
            leaf_value(&seed, n, v);
            store(s->at[i], &b->layout, v);
        }
    }
}

static void run_plan(Module *m, const Plan *plan, const Stored *s, const PlanCheck *c)
{
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const Launch *l = &plan->launches.at[i];
        const TileProgram *t = l->tile;
        float **tensor = ARENA_ARRAY(m->arena, float *, t->tensors.len + 1);
        for (uint32_t k = 0; k < t->tensors.len; k++)
            tensor[k] = s->at[t->tensors.at[k].buffer];
        int axis = t->batch_axis;
        if (c->run)
            c->run(c->context, plan, (int)i, tensor, s->arena + l->workspace_offset);
        else
            tile_eval(t, (void *const *)tensor,
                      (TileRange){0, axis >= 0 ? t->axes.at[axis].size : 0});
    }
}

/* Where a result lies: the stored value or a view of one. */
static bool find(const Plan *plan, const Stored *s, Val v, const float **at, TileLayout *layout)
{
    int b = plan->buffer_of[v.id];
    const Node *n = func_node(plan->f, v);
    if (b >= 0) {
        *at = s->at[b];
        *layout = plan->buffers.at[b].layout;
        return true;
    }
    TileLayout below;
    return op_lowering(n->op) == LOWER_VIEW && find(plan, s, n->in[0], at, &below) &&
           layout_of_view(&below, n, layout);
}

/* Gradients smaller than this lose bits, and vanish. */
#define SMALL_IN_F16 2.5e-2
#define F16_SCALE 256

/* Tolerance of an element: what float32 inputs a few roundings off would change, and a share of the
 * tensor's largest value. */
static const char *compare(Module *m, const Plan *plan, const Stored *s, const Result *r,
                           const EvalTensor *ref, const EvalTensor *nudged, const PlanCheck *c)
{
    const float *at;
    TileLayout l;
    if (!find(plan, s, r->val, &at, &l))
        return arena_printf(m->arena, "result '%s' is not stored", r->name);
    int64_t n = shape_elems(&l.shape), index[MAX_RANK] = {0}, where = 0;
    double largest = c->precision == PRECISION_F16 ? SMALL_IN_F16 : 1e-3, shift = 0, worst = 0,
           got_worst = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(ref->at[i]));
        shift = fmax(shift, fabs(ref->at[i] - nudged->at[i]));
    }
    for (int64_t i = 0; i < n; i++) {
        double got = (double)storage_read(at, l.type, tile_layout_offset(&l, index));
        double d = fabs(got - ref->at[i]);
        if (!(d <= worst)) {
            worst = isnan(d) ? INFINITY : d;
            where = i;
            got_worst = got;
        }
        for (int k = l.shape.rank - 1; k >= 0; k--) {
            if (++index[k] < l.shape.size[k])
                break;
            index[k] = 0;
        }
    }
    if (worst <= c->tolerance * largest + 30 * shift)
        return NULL;
    return arena_printf(
        m->arena,
        "result '%s' (%%%u, role %d): element %lld is %.9g, reference %.9g (largest "
        "%.3g)",
        r->name, r->val.id, r->role, (long long)where, got_worst, ref->at[where], largest);
}

/* In 11 bits with small exponents gradients vanish where the loss is not scaled. */
static void scale_loss(Module *m)
{
    for (uint32_t i = 0; i < m->funcs.len; i++) {
        Func *f = m->funcs.at[i];
        Result *loss = (Result *)func_find_result(f, RESULT_LOSS, "loss");
        if (loss)
            loss->val = func_scale(f, loss->val, F16_SCALE);
    }
}

const char *plan_check(Module *m, const PlanCheck *c)
{
    PassOptions o = {.fuse = c->fuse,
                     .target = c->target,
                     .precision = c->precision,
                     .recompute = c->recompute,
                     .optimizer = {.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = 0.05,
                                   .ema_decay = 0.999},
                     .gradient_factor = 1,
                     .verify = true};
    Err err = {0};
    if (c->precision == PRECISION_F16)
        scale_loss(m);
    Func *f = passes_run(m, c->kind, &o);
    if (!f || m->diags->n_errors)
        return m->diags->messages.len ? m->diags->messages.at[0].text : "passes failed";
    Plan *plan = plan_build(m->arena, f, c->kind, &o, c->cost_of, c->context);
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const char *bad = tile_verify(plan->launches.at[i].tile, m->arena);
        if (bad)
            return arena_printf(m->arena, "launch %u: %s", i, bad);
    }
    uint64_t seed = c->seed;
    EvalTensor *values;
    if (eval_func(m->arena, f, leaf_value, &seed, &values, &err) != NPC_OK)
        return arena_strdup(m->arena, err.text);
    const EvalTensor *nudged = eval_nudged(m->arena, f, &seed, rounding(c->precision));
    Stored s = {0};
    place_storage(m, plan, &s, c);
    if (c->prepare && c->prepare(c->context, plan, &err) != NPC_OK)
        return arena_strdup(m->arena, err.text);
    run_plan(m, plan, &s, c);
    if (!f->results.len)
        return "the passes left no result";
    for (uint32_t i = 0; i < f->results.len; i++) {
        const Result *r = &f->results.at[i];
        const char *bad = compare(m, plan, &s, r, &values[r->val.id], &nudged[r->val.id], c);
        if (bad)
            return bad;
    }
    return NULL;
}
