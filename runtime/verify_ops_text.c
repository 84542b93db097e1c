/* Operations as a model says them: a table of texts in the language, with the tensors of the file
 * as inputs. The text goes through the frontend, the passes, the plan and the kernels that models
 * take.
 *
 * "eval" computes the result. In "train" those tensors that the file has gradients of are
 * parameters instead, and the loss is the sum of result * cotangent, so that gradients are those of
 * the file. A row with a `loss` is about the loss of a recipe, which only "train" has. */
#include <math.h>
#include <stdlib.h>

#include "ir/elaborate.h"
#include "runtime/loss_factors.h"
#include "runtime/verify_ops_parts.h"

enum { MAX_LEAVES = 5, MAX_FIXED = 2 };

typedef struct OpsLeaf {
    const char *role, *axes;
    const char *called; /* in the program; NULL: like the role */
    bool is_made;       /* a parameter that the text makes; may be missing in the file */
} OpsLeaf;

struct OpsText {
    const char *operation;
    const char *needs; /* a role or an attribute: without it the row is not meant; NULL: nothing */
    OpsLeaf leaf[MAX_LEAVES];
    const char *text; /* of the part "result"; {key} is an attribute */
    const char *axes; /* of the result, in the file's order */
    const char *loss; /* of a recipe instead, for a model that returns `prediction` */
    const char *fixed[MAX_FIXED][2]; /* attributes and the only value that they may have */
    Status (*rounding)(OpsCase *o, const struct OpsText *row, Err *err); /* finds o->rounding */
};

static Status round_scores(OpsCase *o, const OpsText *row, Err *err);
static Status round_means(OpsCase *o, const OpsText *row, Err *err);

#define LOSS_LEAVES                                                                                \
    {                                                                                              \
        {"prediction", "b n t", NULL, false},                                                      \
        {                                                                                          \
            "target", "b n t", "target/s", false                                                   \
        }                                                                                          \
    }
#define LINE(of, expression)                                                                       \
    .leaf = {{of, "d", NULL, false}}, .text = "y = " of " |> " expression, .axes = "d"

static const struct OpsText ROWS[] = {
    {.operation = "attention",
     .leaf = {{"query", "b a n e", NULL, false},
              {"key", "b a n e", NULL, false},
              {"value", "b a n e", NULL, false}},
     .text = "y = query |> attention(key, value, over: n, across: e, causal: {causal})",
     .axes = "b a n e",
     .fixed = {{"scale", "\"head_dim^-0.5\""}},
     .rounding = round_scores},
    {.operation = "elu1", LINE("x", "elu\ny = y + 1")},
    {.operation = "gaussian_readout",
     .needs = "points",
     .leaf = {{"features", "b d h w", NULL, false}, {"points", "b n k", NULL, false}},
     .text = "y = features |> sample(points, over: [h w], xy: k)",
     .axes = "b d n"},
    {.operation = "gaussian_readout",
     .leaf = {{"features", "b d h w", NULL, false},
              {"centre", "n k", NULL, false},
              {"sigma", "n k e", NULL, false},
              {"noise", "b n e", NULL, false},
              {"shift", "b k", NULL, false}},
     .text = "at = ((centre + (noise * sigma |> sum(over: e))) |> clamp(-1, 1)) + shift\n"
             "y = features |> sample(at, over: [h w], xy: k)",
     .axes = "b d n"},
    {.operation = "gelu", LINE("input", "gelu"), .fixed = {{"form", "\"erf\""}}},
    {.operation = "layer_norm",
     .leaf = {{"x", "b d", NULL, false},
              {"weight", "d", "result.norm.scale", true},
              {"bias", "d", "result.norm.shift", true}},
     .text = "y = x |> layernorm(over: d, eps: {eps}, name: \"norm\")",
     .axes = "b d",
     .rounding = round_means},
    {.operation = "loss",
     .needs = "mouse",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: 2 ^ -23, added: everywhere) |> scale(balanced)"},
    {.operation = "loss",
     .needs = "trials",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: 2 ^ -23, added: everywhere) |> correlation(1000) |> scale(trials)"},
    {.operation = "loss",
     .needs = "weight",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: 2 ^ -23, added: everywhere) |> correlation({weight}) |> scale(none)"},
    {.operation = "loss",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: {eps}, added: everywhere) |> scale(none)"},
    {.operation = "rotary",
     .leaf = {{"x", "b a n e", NULL, false}},
     .text = "y = x |> rotary(over: n, across: e, length: {length}, registers: {registers})",
     .axes = "b a n e"},
    {.operation = "softplus",
     LINE("input", "softplus(beta: {beta})"),
     .fixed = {{"threshold", "20"}}},
    {.operation = "swiglu",
     .leaf = {{"x", "b j", NULL, false}},
     .text = "y = (x |> take([j: 0..x.j / 2])) * (x |> take([j: x.j / 2..x.j]) |> silu)",
     .axes = "b j",
     .fixed = {{"order", "\"first half is the value, second half the gate\""}}},
    {.operation = "tubelets",
     .leaf = {{"x", "b c t h w", NULL, false}},
     .text = "y = x |> unfold(kernel: [t: {tube}, h: {patch}, w: {patch}], stride: [t: "
             "{tube_stride}, h: {patch_stride}, w: {patch_stride}])"
             " |> rearrange(\"b c t h w kt kh kw -> b t p:(h w) d:(c kt kh kw)\")",
     .axes = "b t p d"},
    {0},
};

const OpsText *ops_text_find(OpsCase *o)
{
    size_t n = strcspn(o->name, "/");
    for (const OpsText *row = ROWS; row->operation; row++) {
        const char *needs = row->needs;
        if (strlen(row->operation) != n || strncmp(row->operation, o->name, n))
            continue;
        if (!needs || json_object_get(o->attributes, needs) ||
            ops_has(o, verify_name(o->c, "input/%s", needs)))
            return row;
    }
    return NULL;
}

/* ---- the text ---- */

static Status refuse_attribute(OpsCase *o, const char *key, const char *why, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: attribute '%s' of %s %s", o->c->path, key, o->name,
                   why);
}

static Status check_fixed(OpsCase *o, const OpsText *row, Err *err)
{
    for (int i = 0; i < MAX_FIXED && row->fixed[i][0]; i++) {
        const char *key = row->fixed[i][0], *only = row->fixed[i][1];
        char *is = json_dumps(json_object_get(o->attributes, key), JSON_ENCODE_ANY | JSON_COMPACT);
        bool same = is && !strcmp(is, only);
        free(is);
        if (!same)
            return refuse_attribute(o, key, verify_name(o->c, "is not %s", only), err);
    }
    return NPC_OK;
}

/* The template with numbers and truths for {key}. */
static Status fill_in(OpsCase *o, Text *out, const char *template, Err *err)
{
    for (const char *at = template; *at;) {
        size_t plain = strcspn(at, "{");
        text_add_n(out, at, plain);
        at += plain;
        if (!*at)
            break;
        size_t n = strcspn(at, "}");
        const char *key = arena_strndup(o->c->arena, at + 1, n - 1);
        const json_t *value = json_object_get(o->attributes, key);
        if (json_is_boolean(value))
            text_add(out, json_is_true(value) ? "yes" : "no");
        else if (json_is_number(value))
            text_printf(out, "%.17g", json_number_value(value));
        else
            return refuse_attribute(o, key, "is neither a number nor a truth", err);
        at += n + 1;
    }
    return NPC_OK;
}

static const char *role_tensor(OpsCase *o, const OpsLeaf *leaf)
{
    return verify_name(o->c, "input/%s", leaf->role);
}

static const char *called(const OpsLeaf *leaf)
{
    return leaf->called ? leaf->called : leaf->role;
}

static const char *gradient_role(OpsCase *o, const OpsLeaf *leaf)
{
    return verify_name(o->c, "expect/grad_%s", leaf->role);
}

/* The leaf's values; its sizes must be as many as its axes. */
static Status read_leaf(OpsCase *o, const OpsLeaf *leaf, double **values, Shape *s, Err *err)
{
    AxisList axes = ops_axes(o, leaf->axes);
    int64_t size[MAX_RANK];
    *s = (Shape){0};
    NPC_TRY(ops_read(o, role_tensor(o, leaf), axes.n, values, size, err));
    for (int i = 0; i < axes.n; i++)
        shape_add(s, axes.name[i], size[i]);
    return NPC_OK;
}

/* "query: [b a:3 n:17 e:8]", and the size of b. */
static void say_leaf(Text *out, const OpsLeaf *leaf, const Shape *s, int64_t *batch)
{
    text_printf(out, "%s%s: [", out->len ? ", " : "", leaf->role);
    for (int i = 0; i < s->rank; i++) {
        bool is_batch = !strcmp(s->name[i], "b");
        *batch = is_batch ? s->size[i] : *batch;
        if (is_batch)
            text_add(out, "b ");
        else
            text_printf(out, "%s:%lld ", s->name[i], (long long)s->size[i]);
    }
    text_char(out, ']');
}

static Status say(OpsCase *o, const OpsText *row, Text *out, int64_t *batch, Err *err)
{
    Text inputs = {.arena = o->c->arena};
    int64_t neurons = 1;
    *batch = 1;
    for (const OpsLeaf *leaf = row->leaf; leaf < row->leaf + MAX_LEAVES && leaf->role; leaf++) {
        double *values;
        Shape s;
        if (leaf->is_made || strchr(called(leaf), '/'))
            continue;
        NPC_TRY(read_leaf(o, leaf, &values, &s, err));
        say_leaf(&inputs, leaf, &s, batch);
        neurons = row->loss ? s.size[1] : 1;
    }
    if (!row->loss) /* a model predicts something */
        text_add(&inputs, ", clip: [b n_:1 t_:1]");
    text_printf(out,
                "nm 1\nsessions = [\"s\": %lld]\nmodel op(%s) -> per s in sessions [b n:s.neurons "
                "t] {\n",
                (long long)neurons, text_str(&inputs));
    if (row->text) {
        text_add(out, "part result {\n");
        NPC_TRY(fill_in(o, out, row->text, err));
        text_add(out, "\n}\n");
    }
    text_printf(out, "part readout per s in sessions { return %s }\n}\n",
                row->loss ? "prediction" : "clip |> rename(n_, n) |> rename(t_, t)");
    if (row->loss) {
        text_add(out, "recipe r for op { loss = ");
        NPC_TRY(fill_in(o, out, row->loss, err));
        text_add(out, " }\n");
    }
    return NPC_OK;
}

/* ---- what float32 cannot do better ----
 *
 * Single operations have inputs that no model has: scores of thousands, rows far from zero. There a
 * number on the way is large against what it decides, and half a unit in its last place is more
 * than a page allows for responses. (PyTorch in float32 is off by 2e-5 in layer_norm/rows, too.) */

#define HALF_UNIT 0x1p-24

/* A weight is the exponential of a score's distance from the largest. */
static Status round_scores(OpsCase *o, const OpsText *row, Err *err)
{
    double *q, *k, most = 0;
    Shape s, other;
    NPC_TRY(read_leaf(o, &row->leaf[0], &q, &s, err));
    NPC_TRY(read_leaf(o, &row->leaf[1], &k, &other, err));
    int64_t n = s.size[2], d = s.size[3];
    for (int i = 0; i < 4; i++)
        if (s.size[i] != other.size[i])
            return NPC_OK; /* refused later, by name */
    for (int64_t i = 0; i < s.size[0] * s.size[1] * n * n; i++) {
        const double *x = q + i / n * d, *y = k + (i / (n * n) * n + i % n) * d;
        double score = 0;
        for (int64_t e = 0; e < d; e++)
            score += x[e] * y[e];
        most = fmax(most, fabs(score) / sqrt((double)d));
    }
    o->rounding = HALF_UNIT * most;
    return NPC_OK;
}

/* What is left of a row without its mean, in units of its deviation. */
static Status round_means(OpsCase *o, const OpsText *row, Err *err)
{
    double *x, most = 0;
    Shape s;
    NPC_TRY(read_leaf(o, &row->leaf[0], &x, &s, err));
    int64_t d = s.size[1];
    for (int64_t i = 0; i < s.size[0]; i++) {
        double mean = 0, square = 0;
        for (int64_t k = 0; k < d; k++)
            mean += x[i * d + k] / (double)d;
        for (int64_t k = 0; k < d; k++)
            square += (x[i * d + k] - mean) * (x[i * d + k] - mean) / (double)d;
        most = square > 0 ? fmax(most, fabs(mean) / sqrt(square)) : most;
    }
    o->rounding = HALF_UNIT * most;
    return NPC_OK;
}

/* ---- the module ---- */

/* Inputs that the file has gradients of become parameters. */
static void make_parameters(OpsCase *o, const OpsText *row, Func *f)
{
    Module *m = f->module;
    for (const OpsLeaf *leaf = row->leaf; leaf < row->leaf + MAX_LEAVES && leaf->role; leaf++) {
        const char *name = name_intern(m->names, called(leaf));
        for (uint32_t i = 1; i < f->nodes.len && ops_has(o, gradient_role(o, leaf)); i++) {
            Node *n = &f->nodes.at[i];
            if (n->op != OP_INPUT || n->attrs.name != name)
                continue;
            n->op = OP_PARAM;
            if (!module_param(m, name))
                module_add_param(m, (Param){.name = name, .shape = n->shape, .session = -1});
        }
    }
}

static Val result_of(OpsCase *o, const OpsText *row, Func *f)
{
    const Result *r = row->loss ? func_find_result(f, RESULT_LOSS, "loss")
                                : func_find_result(f, RESULT_OUTPUT, "probe/result");
    AxisList axes = ops_axes(o, row->axes ? row->axes : "");
    return r && axes.n ? func_reorder(f, r->val, &axes) : r ? r->val : VAL_NONE;
}

static void keep_only(Func *f, Val result)
{
    f->results.len = 0;
    func_result(f, RESULT_OUTPUT, name_intern(f->module->names, "result"), result);
}

static void add_loss(OpsCase *o, const OpsText *row, Func *f)
{
    Val y = result_of(o, row, f);
    if (!y.id)
        return;
    const Shape s = *func_shape(f, y);
    AxisList all = {.n = s.rank};
    memcpy(all.name, s.name, sizeof all.name);
    keep_only(f, y);
    Val dy = func_input(f, name_intern(f->module->names, "cotangent"), &s);
    Val loss = func_emit2(f, OP_MUL, y, dy);
    func_result(f, RESULT_LOSS, "loss", s.rank ? func_sum(f, loss, &all, 1) : loss);
    make_parameters(o, row, f);
}

/* ---- running ---- */

static Status read_counts(OpsCase *o, const Shape *prediction, LossCounts *out, Err *err)
{
    const json_t *trials = json_object_get(o->attributes, "trials"), *one;
    const char *mouse = json_string_value(json_object_get(o->attributes, "mouse")), *key;
    int64_t clips = prediction->size[0], batch = clips;
    if (json_object_get(o->attributes, "batch"))
        NPC_TRY(ops_integer(o, "batch", 1, 1 << 20, &batch, err));
    *out = (LossCounts){.here = (uint64_t)clips,
                        .chunk = (uint64_t)clips,
                        .outputs = (uint64_t)prediction->size[2],
                        .batch = (uint64_t)batch,
                        .full = (uint64_t)batch,
                        .recordings = 1,
                        .trials = (uint64_t)json_integer_value(trials)};
    if (!mouse)
        return NPC_OK;
    out->recordings = json_object_size(trials);
    out->trials = (uint64_t)json_integer_value(json_object_get(trials, mouse));
    json_object_foreach((json_t *)trials, key, one) out->sum_trials +=
        (uint64_t)json_integer_value(one);
    return out->trials ? NPC_OK : refuse_attribute(o, "trials", "lacks the mouse", err);
}

static void fill(OpsCase *o, int program, const char *input, double value)
{
    const Node *n = subject_find_input(&o->subject, program, input);
    if (!n)
        return;
    double *at = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(&n->shape));
    for (int64_t i = 0; i < shape_elems(&n->shape); i++)
        at[i] = value;
    subject_input(&o->subject, program, input, at);
}

static Status fill_factors(OpsCase *o, const OpsText *row, const Recipe *recipe, int program,
                           Err *err)
{
    double *values;
    Shape prediction;
    LossCounts counts;
    NPC_TRY(read_leaf(o, row->leaf, &values, &prediction, err));
    NPC_TRY(read_counts(o, &prediction, &counts, err));
    LossFactors f = loss_factors(recipe, &counts);
    fill(o, program, "share/s", f.scale);
    fill(o, program, "scale/s", f.scale);
    fill(o, program, "mean/s", f.mean);
    return NPC_OK;
}

/* Every leaf, wherever the program has it; parameters without one as they begin. */
static Status fill_leaves(OpsCase *o, const OpsText *row, int program, Err *err)
{
    const Module *m = o->subject.module;
    for (uint32_t i = 0; i < m->params.len; i++) {
        const Param *p = &m->params.at[i];
        double *at = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(&p->shape));
        for (int64_t k = 0; k < shape_elems(&p->shape); k++)
            at[k] = p->init.a;
        subject_tensor(&o->subject, p->name, at);
    }
    for (const OpsLeaf *leaf = row->leaf; leaf < row->leaf + MAX_LEAVES && leaf->role; leaf++) {
        double *values;
        Shape s;
        if (leaf->is_made && !ops_has(o, role_tensor(o, leaf)))
            continue;
        NPC_TRY(read_leaf(o, leaf, &values, &s, err));
        const Param *p = module_param(m, name_intern(m->names, called(leaf)));
        if (p && shape_elems(&p->shape) != shape_elems(&s))
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' has %lld numbers, not %lld", o->c->path,
                           ops_tensor(o, role_tensor(o, leaf)), (long long)shape_elems(&s),
                           (long long)shape_elems(&p->shape));
        if (p)
            subject_tensor(&o->subject, p->name, values);
        subject_input(&o->subject, program, called(leaf), values);
    }
    return NPC_OK;
}

static Status fill_cotangent(OpsCase *o, int program, Err *err)
{
    const Node *n = subject_find_input(&o->subject, program, "cotangent");
    double *values;
    NPC_TRY(verify_read(o->c, ops_tensor(o, "input/cotangent"), n->shape.rank, n->shape.size,
                        &values, err));
    subject_input(&o->subject, program, "cotangent", values);
    return NPC_OK;
}

static Status check_result(OpsCase *o, int program, VerifyQuantity what, Err *err)
{
    const Shape *s = subject_result(&o->subject, program, RESULT_OUTPUT, "result");
    double *got = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(s)), *want;
    NPC_TRY(subject_read(&o->subject, program, RESULT_OUTPUT, "result", got, err));
    NPC_TRY(verify_read(o->c, ops_tensor(o, "expect/result"), s->rank, s->size, &want, err));
    return ops_push(o, "expect/result", got, shape_elems(s), what, false, err);
}

static Status check_gradients(OpsCase *o, const OpsText *row, int program, Err *err)
{
    for (const OpsLeaf *leaf = row->leaf; leaf < row->leaf + MAX_LEAVES && leaf->role; leaf++) {
        const char *role = gradient_role(o, leaf);
        const Shape *s = subject_result(&o->subject, program, RESULT_GRAD, called(leaf));
        if (!ops_has(o, role))
            continue;
        if (!s)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' has no gradient", o->c->path,
                           ops_tensor(o, role));
        double *got = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(s));
        NPC_TRY(subject_read(&o->subject, program, RESULT_GRAD, called(leaf), got, err));
        NPC_TRY(ops_push(o, role, got, shape_elems(s), VERIFY_GRADIENTS, false, err));
    }
    return NPC_OK;
}

static bool any_gradient(OpsCase *o, const OpsText *row)
{
    bool any = false;
    for (const OpsLeaf *leaf = row->leaf; leaf < row->leaf + MAX_LEAVES && leaf->role; leaf++)
        any |= ops_has(o, gradient_role(o, leaf));
    return any;
}

/* Sizes that do not fit each other are the file's mistake. */
static Status add(OpsCase *o, ProgramKind kind, int *program, Err *err)
{
    Err why = {0};
    Status s = subject_add(&o->subject, kind, program, &why);
    return s == NPC_OK ? s : err_set(err, s, "%s: %s: %s", o->c->path, o->name, why.text);
}

Status ops_check_text(OpsCase *o, const OpsText *row, Err *err)
{
    Text text = {.arena = o->c->arena};
    int64_t batch;
    int eval, grad;
    Recipe recipe;
    bool has_gradients = ops_has(o, "input/cotangent");
    if (has_gradients && !any_gradient(o, row))
        return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s'", o->c->path,
                       ops_tensor(o, gradient_role(o, row->leaf)));
    NPC_TRY(ops_open(o, err));
    NPC_TRY(check_fixed(o, row, err));
    NPC_TRY(say(o, row, &text, &batch, err));
    if (row->rounding)
        NPC_TRY(row->rounding(o, row, err));
    NPC_TRY(subject_read_text(&o->subject, text_str(&text), batch, &recipe, err));
    Func *f = module_func(o->subject.module, "eval");
    keep_only(f, result_of(o, row, f));
    if (has_gradients)
        add_loss(o, row, module_func(o->subject.module, "train"));
    if (!row->loss)
        NPC_TRY(add(o, PROGRAM_EVAL, &eval, err));
    if (has_gradients)
        NPC_TRY(add(o, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_ready(&o->subject, err));
    if (!row->loss) {
        NPC_TRY(fill_leaves(o, row, eval, err));
        NPC_TRY(subject_run(&o->subject, eval, NULL, err));
        NPC_TRY(check_result(o, eval, VERIFY_OUTPUTS, err));
    }
    if (!has_gradients)
        return NPC_OK;
    NPC_TRY(fill_leaves(o, row, grad, err));
    NPC_TRY(fill_cotangent(o, grad, err));
    if (row->loss)
        NPC_TRY(fill_factors(o, row, &recipe, grad, err));
    NPC_TRY(subject_run(&o->subject, grad, NULL, err));
    NPC_TRY(check_result(o, grad, row->loss ? VERIFY_LOSS : VERIFY_OUTPUTS, err));
    return check_gradients(o, row, grad, err);
}
