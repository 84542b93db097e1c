/* The table of ops, and how the arguments of a call are bound to its row. */
#include "ir/builtin.h"

#define GIVEN NULL /* no default: the argument must stand there */

static const Builtin builtins[] = {
    {"dense", emit_dense,
     "product over an axis, new values along `out`; weight [out, from / groups], bias [out]",
     .arg = {{"out", ARG_SIZES, GIVEN},
             {"from", ARG_AXIS, ""},
             {"groups", ARG_INT, "1"},
             {"bias", ARG_BOOL, "no"}},
     .needs_label = true},
    {"conv", emit_conv,
     "cross-correlation over the kernel's axes, padded by floor(kernel / 2) on both sides unless "
     "`pad` says otherwise; weight [out, in / groups, taps..], without in where every group has "
     "one channel; "
     "bias [out]; `weight`: a tensor instead of a parameter, its axes out, that of the input with "
     "`_in` and those of the kernel behind `k`",
     .arg = {{"out", ARG_SIZES, ""},
             {"kernel", ARG_STEPS, GIVEN},
             {"stride", ARG_STEPS, ""},
             {"pad", ARG_STEPS, ""},
             {"groups", ARG_INT, "1"},
             {"bias", ARG_BOOL, "no"},
             {"weight", ARG_TENSOR, ""}},
     .needs_label = true},
    {"hermite", emit_hermite,
     "filters from coefficients of polar Hermite functions of rank below the kernel's size along "
     "`from`, in turned copies along the new axis of `turns`; `rolled`: an axis whose groups, one "
     "for each turn, go round with it; functions have `samples` points for each of the kernel's",
     .arg = {{"from", ARG_AXIS, GIVEN},
             {"kernel", ARG_SIZES, GIVEN},
             {"turns", ARG_SIZES, GIVEN},
             {"rolled", ARG_AXIS, ""},
             {"samples", ARG_INT, "2"}}},
    {"batchnorm", emit_batchnorm,
     "per channel over every other axis; scale, shift [c]; states mean, var [c]",
     .arg = {{"axis", ARG_AXIS, "c"}, {"eps", ARG_REAL, "1e-05"}, {"momentum", ARG_REAL, "0.1"}},
     .needs_label = true},
    {"layernorm", emit_layernorm,
     "(x - mean) / sqrt(variance + eps), moments over the axes of each place; scale, shift [over]",
     .arg = {{"over", ARG_AXES, GIVEN}, {"eps", ARG_REAL, "1e-05"}}, .needs_label = true},
    {"drop_path", emit_drop_path,
     "training: the whole value of a sample becomes 0 with chance `rate`, else grows by "
     "1 / (1 - rate); `each`: a draw for each place of these axes",
     .arg = {{"rate", ARG_RATE, GIVEN}, {"each", ARG_AXES, ""}}, .needs_label = true},
    {"dropout", emit_dropout,
     "training: every entry becomes 0 with chance `rate`, else grows by 1 / (1 - rate); one draw "
     "along the shared axes",
     .arg = {{"rate", ARG_RATE, GIVEN}, {"shared", ARG_AXES, ""}}, .needs_label = true},
    {"sincos_position", emit_sincos_position,
     "adds sines and cosines of the position: per axis 2 ceil(c / 2n) channels for n axes; state "
     "frequencies [k]",
     .arg = {{"over", ARG_AXES, GIVEN}, {"axis", ARG_AXIS, "c"}}, .needs_label = true},
    {"sinusoids", emit_sinusoids,
     "adds sin(i r_j) to even and cos(i r_j) to odd channels of position i, r_j = 10000^(-2j / "
     "channels); with `columns` half of the channels code the column, half the row",
     .arg = {{"over", ARG_AXIS, GIVEN}, {"axis", ARG_AXIS, "c"}, {"columns", ARG_INT, "0"}}},
    {"attention", emit_attention,
     "softmax(scale x key) value over the positions of `over`, products across `across`; every "
     "other axis is a sequence of its own; scale 0 is 1 / sqrt(size of across); causal: position i "
     "sees 0 to i; others: it sees all but i; `bias` is added to scores, its axis `keys` counting "
     "keys; positions of unlike `labels` get -100 more; only positions where `asking` is above 0 "
     "have a query, the result of others is 0 and costs nothing; training: every weight becomes 0 "
     "with chance `dropout`, else grows by 1 / (1 - dropout)",
     .arg = {{"key", ARG_TENSOR, GIVEN},
             {"value", ARG_TENSOR, GIVEN},
             {"over", ARG_AXIS, GIVEN},
             {"across", ARG_AXIS, GIVEN},
             {"causal", ARG_BOOL, "no"},
             {"scale", ARG_REAL, "0"},
             {"others", ARG_BOOL, "no"},
             {"bias", ARG_TENSOR, ""},
             {"keys", ARG_NEW_AXIS, ""},
             {"labels", ARG_TENSOR, ""},
             {"dropout", ARG_RATE, ""},
             {"asking", ARG_TENSOR, ""}}},
    {"rotary", emit_rotary,
     "turns pairs of entries across an axis by the position's angle and grows them; the last "
     "`registers` positions stay; `length` of the table: all positions but these",
     .arg = {{"over", ARG_AXIS, GIVEN},
             {"across", ARG_AXIS, GIVEN},
             {"length", ARG_INT, ""},
             {"registers", ARG_INT, "0"}}},
    {"sample", emit_sample,
     "bilinear read over rows and columns at positions in [-1, 1], outside 0; `xy`: their axis of "
     "x and y; `times`: products with it, summed across `across`",
     .arg = {{"at", ARG_TENSOR, GIVEN},
             {"over", ARG_AXES, GIVEN},
             {"xy", ARG_NEW_AXIS, GIVEN},
             {"times", ARG_TENSOR, ""},
             {"across", ARG_AXIS, ""}}},
    {"crop", emit_crop,
     "entries nearest to a grid of positions from -span to span, -1 and 1 the outer entries; `by`: "
     "moved by that much along the axes, the last first in its axis `xy`",
     .arg = {{"sizes", ARG_SIZES, GIVEN},
             {"span", ARG_REAL, GIVEN},
             {"by", ARG_TENSOR, ""},
             {"xy", ARG_NEW_AXIS, ""}}},
    {"noise", emit_noise,
     "training: standard normal numbers with x's axes `over` and further ones; else zeros",
     .arg = {{"over", ARG_AXES, GIVEN}, {"sizes", ARG_SIZES, ""}}, .needs_label = true},
    {"penalty", emit_penalty,
     "training: adds `weight` x the sum of x to the loss, once for every recording in a batch; "
     "gives what it adds",
     .arg = {{"weight", ARG_REAL, "1"}}},
    {"silu", emit_pointwise, .doc = "x sigmoid(x)"},
    {"sigmoid", emit_pointwise, .doc = "1 / (1 + exp(-x))"},
    {"relu", emit_pointwise, .doc = "max(x, 0)"},
    {"elu", emit_pointwise, .doc = "x, or exp(x) - 1 below 0"},
    {"gelu", emit_pointwise, .doc = "x times the normal distribution function of x"},
    {"tanh", emit_pointwise, .doc = "hyperbolic tangent"},
    {"exp", emit_pointwise, .doc = "exponential"},
    {"log", emit_pointwise, .doc = "natural logarithm"},
    {"sqrt", emit_pointwise, .doc = "square root"},
    {"square", emit_pointwise, .doc = "x x"},
    {"abs", emit_pointwise, .doc = "magnitude"},
    {"softplus", emit_softplus, "log(1 + exp(beta x)) / beta, x itself where beta x > 20",
     .arg = {{"beta", ARG_REAL, "1"}}},
    {"clamp", emit_clamp, "the nearest number in low .. high",
     .arg = {{"low", ARG_REAL, GIVEN}, {"high", ARG_REAL, GIVEN}}},
    {"mean", emit_mean, .doc = "mean over axes", .arg = {{"over", ARG_AXES, GIVEN}}},
    {"sum", emit_sum, .doc = "sum over axes", .arg = {{"over", ARG_AXES, GIVEN}}},
    {"resize", emit_resize,
     "another size; nearest: target i reads source floor(i r), r = source / target in float32; "
     "bilinear: between the neighbours of (i + 0.5) r - 0.5",
     .arg = {{"sizes", ARG_SIZES, GIVEN}, {"by", ARG_WORD, "nearest"}}},
    {"tile", emit_tile, "another size; target i reads source i mod size: repeats or cuts",
     .arg = {{"sizes", ARG_SIZES, GIVEN}}},
    {"take", emit_take, .doc = "the entries of a range of an axis",
     .arg = {{"ranges", ARG_SLICES, GIVEN}}},
    {"pad", emit_pad, "zeros before and after an axis; `amount`: on both sides",
     .arg = {{"amount", ARG_STEPS, ""}, {"before", ARG_STEPS, ""}, {"after", ARG_STEPS, ""}}},
    {"concat", emit_concat,
     "another tensor behind this one along an axis; it may lack other axes: there it repeats",
     .arg = {{"other", ARG_TENSOR, GIVEN}, {"along", ARG_AXIS, GIVEN}}},
    {"roll", emit_roll,
     "position i of an axis reads position i + amount, counted round; amounts are 0 and more",
     .arg = {{"amount", ARG_STEPS, GIVEN}}},
    {"regions", emit_regions,
     "labels of the positions along x's axes, one number for all: per axis 0 in front of the last "
     "window, 1 in it, 2 for the last `moves`, which `roll` brought there; without moves 0",
     .arg = {{"window", ARG_STEPS, GIVEN}, {"moves", ARG_STEPS, ""}}},
    {"offsets", emit_offsets,
     "the entries along `over`, one for each offset in a window, of pairs of positions, numbered "
     "row by row: two new axes `to` of the first of them",
     .arg = {{"window", ARG_SIZES, GIVEN}, {"over", ARG_AXIS, GIVEN}, {"to", ARG_SIZES, GIVEN}}},
    {"split", .doc = "list of a tensor's places along an axis, each with this axis of size 1",
     .arg = {{"along", ARG_AXIS, GIVEN}}, .emit_list = emit_split},
    {"stack", emit_stack, .doc = "the tensors of a list behind each other along an axis",
     .arg = {{"along", ARG_AXIS, GIVEN}}, .takes_list = true},
    {"unfold", emit_unfold,
     "overlapping windows: per axis its positions, and the places in the window as axis k<axis>",
     .arg = {{"kernel", ARG_STEPS, GIVEN}, {"stride", ARG_STEPS, ""}}},
    {"rename", emit_rename, "another name for an axis",
     .arg = {{"from", ARG_AXIS, GIVEN}, {"to", ARG_NEW_AXIS, GIVEN}}},
    {"rearrange", emit_rearrange,
     "splits and joins axes, \"b (g k) t -> b (k g) t\"; further arguments are sizes, g: 2",
     .arg = {{"pattern", ARG_STRING, GIVEN}}, .takes_extra = true},
};
enum { N_BUILTINS = sizeof builtins / sizeof *builtins };

const Builtin *builtin_at(int i)
{
    return i < N_BUILTINS ? &builtins[i] : NULL;
}

const Builtin *builtin_find(const char *name)
{
    for (int i = 0; i < N_BUILTINS; i++)
        if (!strcmp(builtins[i].name, name))
            return &builtins[i];
    return NULL;
}

int64_t op_axis_size(const OpCall *c, const char *axis)
{
    int at = shape_axis(op_shape_of(c), axis);
    return at < 0 ? 0 : op_shape_of(c)->size[at];
}

const char *op_axis_name(const OpCall *c, const char *axis, const char *suffix)
{
    return name_intern(c->el->names, arena_printf(c->el->arena, "%s%s", axis, suffix));
}

const AxisArg *op_step(const Arg *a, const char *axis)
{
    for (int i = 0; i < a->n; i++)
        if (a->axis[i].axis == axis)
            return &a->axis[i];
    return NULL;
}

bool op_check_steps(OpCall *c, const Arg *kernel, const Arg *steps)
{
    for (int i = 0; i < steps->n; i++)
        if (!op_step(kernel, steps->axis[i].axis)) {
            el_error(c->el, DIAG_E0211, steps->axis[i].span, "the kernel has no axis '%s'",
                     steps->axis[i].axis);
            return false;
        }
    return true;
}

/* ---- binding ---- */

static bool no_axis(OpCall *c, const char *axis, Span span, const char *purpose)
{
    const Shape *s = op_shape_of(c);
    Suggest near = suggest_for(axis);
    for (int i = 0; i < s->rank; i++)
        suggest_offer(&near, s->name[i]);
    el_error(c->el, DIAG_E0211, span, "'%s' has no axis '%s'%s", c->def->name, axis, purpose);
    el_note(c->el, span, "the value here is %s", el_shape_text(c->el, s));
    if (suggest_best(&near))
        el_help(c->el, "did you mean '%s'?", suggest_best(&near));
    return false;
}

static bool need(OpCall *c, const ArgDef *d, Span span, const char *wanted)
{
    el_error(c->el, DIAG_E0201, span, "'%s' of '%s' is %s", d->name, c->def->name, wanted);
    return false;
}

static bool bind_number(OpCall *c, const ArgDef *d, const Expr *e, Arg *a)
{
    Value v = el_eval(c->el, e);
    if (v.kind == VALUE_ERROR)
        return false;
    if (v.kind != VALUE_NUMBER || v.unit)
        return need(c, d, e->span, "a number");
    if (d->type == ARG_INT && !value_is_int(&v))
        return need(c, d, e->span, "a whole number");
    a->integer = v.num;
    a->real = v.real;
    if (d->type == ARG_RATE && !(v.real >= 0 && v.real < 1)) {
        el_error(c->el, DIAG_E0250, e->span, "'%s' is a chance: at least 0 and below 1", d->name);
        return false;
    }
    return true;
}

static bool bind_word(OpCall *c, const ArgDef *d, const Expr *e, Arg *a)
{
    if (e->kind != EXPR_NAME)
        return need(c, d, e->span, d->type == ARG_WORD ? "a word" : "the name of an axis");
    if (d->type == ARG_AXIS && !op_axis_size(c, e->name))
        return no_axis(c, e->name, e->span, "");
    a->text = e->name;
    return true;
}

static bool add_axis(OpCall *c, Arg *a, const char *axis, Span span)
{
    for (int i = 0; i < a->n; i++)
        if (a->axis[i].axis == axis) {
            el_error(c->el, DIAG_E0212, span, "axis '%s' stands twice", axis);
            return false;
        }
    if (a->n == MAX_RANK) {
        el_error(c->el, DIAG_E0004, span, "more than %d axes", MAX_RANK);
        return false;
    }
    a->axis[a->n++] = (AxisArg){.axis = axis, .span = span};
    return true;
}

static bool bind_axes(OpCall *c, const ArgDef *d, const Expr *e, Arg *a)
{
    if (e->kind == EXPR_NAME)
        return op_axis_size(c, e->name) ? add_axis(c, a, e->name, e->span)
                                        : no_axis(c, e->name, e->span, "");
    if (e->kind != EXPR_BRACKET || !e->items.len)
        return need(c, d, e->span, "a list of axes, such as [t h w]");
    for (uint32_t i = 0; i < e->items.len; i++) {
        const Expr *axis = e->items.at[i].value;
        if (e->items.at[i].name || axis->kind != EXPR_NAME)
            return need(c, d, axis->span, "a list of axes without sizes, such as [t h w]");
        if (!op_axis_size(c, axis->name))
            return no_axis(c, axis->name, axis->span, "");
        if (!add_axis(c, a, axis->name, axis->span))
            return false;
    }
    return true;
}

static bool bind_step(OpCall *c, const ArgDef *d, const Item *it, AxisArg *a)
{
    bool is_kernel = !strcmp(d->name, "kernel");
    if (!op_axis_size(c, it->name))
        return no_axis(c, it->name, it->name_span,
                       is_kernel                    ? " to put a kernel on"
                       : !strcmp(d->name, "stride") ? " to step along"
                                                    : "");
    if (!el_int(c->el, it->value, arena_printf(c->el->arena, "'%s' of an axis", d->name), &a->size))
        return false;
    int64_t least = !strcmp(d->name, "kernel") || !strcmp(d->name, "stride") ? 1 : 0;
    if (a->size >= least && a->size <= 1 << 20)
        return true;
    el_error(c->el, DIAG_E0250, it->value->span, "'%s' of axis '%s' cannot be %lld", d->name,
             it->name, (long long)a->size);
    return false;
}

static bool bind_slice(OpCall *c, const ArgDef *d, const Item *it, AxisArg *a)
{
    int64_t size = op_axis_size(c, it->name);
    const Expr *e = it->value;
    if (!size)
        return no_axis(c, it->name, it->name_span, "");
    if (e->kind != EXPR_RANGE || !e->left || !e->right)
        return need(c, d, e->span, "a range per axis, such as [n: 0..10]");
    if (!el_int(c->el, e->left, "the start of a range", &a->size) ||
        !el_int(c->el, e->right, "the end of a range", &a->end))
        return false;
    if (a->size >= 0 && a->size < a->end && a->end <= size)
        return true;
    el_error(c->el, DIAG_E0231, e->span, "axis '%s' has the positions 0 to %lld, not %lld..%lld",
             it->name, (long long)size - 1, (long long)a->size, (long long)a->end);
    return false;
}

static bool bind_sizes(OpCall *c, const ArgDef *d, const Expr *e, Arg *a)
{
    if (e->kind != EXPR_BRACKET || !e->items.len)
        return need(c, d, e->span,
                    d->type == ARG_SLICES ? "a range per axis, such as [n: 0..10]"
                                          : "a size per axis, such as [c: 64]");
    for (uint32_t i = 0; i < e->items.len; i++) {
        const Item *it = &e->items.at[i];
        if (!it->name || it->name_is_text)
            return need(c, d, it->value->span, "a size per axis, such as [c: 64]");
        if (!add_axis(c, a, it->name, it->name_span))
            return false;
        AxisArg *axis = &a->axis[a->n - 1];
        if (d->type == ARG_SIZES)
            axis->size = el_size(c->el, it->value, it->name);
        bool ok = d->type == ARG_SIZES   ? axis->size > 0
                  : d->type == ARG_STEPS ? bind_step(c, d, it, axis)
                                         : bind_slice(c, d, it, axis);
        if (!ok)
            return false;
    }
    return true;
}

static bool bind(OpCall *c, int i, const Expr *e)
{
    const ArgDef *d = &c->def->arg[i];
    Arg *a = &c->arg[i];
    Value v;
    a->given = true;
    a->span = e->span;
    switch (d->type) {
    case ARG_INT:
    case ARG_REAL:
    case ARG_RATE:
        return bind_number(c, d, e, a);
    case ARG_BOOL:
        v = el_eval(c->el, e);
        a->truth = v.truth;
        return v.kind == VALUE_BOOL || (v.kind != VALUE_ERROR && need(c, d, e->span, "yes or no"));
    case ARG_TENSOR:
        v = el_eval(c->el, e);
        a->val = v.val;
        return v.kind == VALUE_TENSOR || (v.kind != VALUE_ERROR && need(c, d, e->span, "a tensor"));
    case ARG_STRING:
        a->text = el_string(c->el, e);
        return a->text;
    case ARG_WORD:
    case ARG_AXIS:
    case ARG_NEW_AXIS:
        return bind_word(c, d, e, a);
    case ARG_AXES:
        return bind_axes(c, d, e, a);
    default:
        return bind_sizes(c, d, e, a);
    }
}

static bool bind_default(OpCall *c, int i)
{
    const ArgDef *d = &c->def->arg[i];
    Arg *a = &c->arg[i];
    a->span = c->span;
    if (!d->otherwise) {
        el_error(c->el, DIAG_E0202, c->span, "'%s' needs '%s'", c->def->name, d->name);
        return false;
    }
    if (!*d->otherwise)
        return true;
    if (d->type == ARG_AXIS || d->type == ARG_WORD) {
        a->text = name_intern(c->el->names, d->otherwise);
        return d->type == ARG_WORD || op_axis_size(c, a->text) || no_axis(c, a->text, c->span, "");
    }
    a->truth = !strcmp(d->otherwise, "yes");
    text_read_double(d->otherwise, &a->real);
    a->integer = (int64_t)a->real;
    return true;
}

static int n_args(const Builtin *b)
{
    int n = 0;
    while (n < MAX_ARGS && b->arg[n].type)
        n++;
    return n;
}

static bool unknown_argument(OpCall *c, const Item *it)
{
    Suggest near = suggest_for(it->name);
    for (int i = 0; i < n_args(c->def); i++)
        suggest_offer(&near, c->def->arg[i].name);
    el_error(c->el, DIAG_E0103, it->name_span, "'%s' has no argument '%s'", c->def->name, it->name);
    if (suggest_best(&near))
        el_help(c->el, "did you mean '%s'?", suggest_best(&near));
    return false;
}

static bool bind_extra(OpCall *c, const Item *it)
{
    int64_t size = el_size(c->el, it->value, it->name);
    if (!size)
        return false;
    if (c->n_extra == MAX_RANK) {
        el_error(c->el, DIAG_E0004, it->name_span, "more than %d sizes", MAX_RANK);
        return false;
    }
    c->extra[c->n_extra++] = (NamedInt){it->name, size};
    return true;
}

static bool bind_item(OpCall *c, const Item *it, int *next)
{
    int n = n_args(c->def), at = it->name ? -1 : (*next)++;
    for (int i = 0; it->name && i < n; i++)
        if (!strcmp(c->def->arg[i].name, it->name))
            at = i;
    if (it->name && at < 0)
        return c->def->takes_extra ? bind_extra(c, it) : unknown_argument(c, it);
    if (at >= n) {
        if (n)
            el_error(c->el, DIAG_E0202, it->value->span, "'%s' has %d argument%s", c->def->name, n,
                     n == 1 ? "" : "s");
        else
            el_error(c->el, DIAG_E0202, it->value->span, "'%s' takes no arguments", c->def->name);
        return false;
    }
    if (c->arg[at].given) {
        el_error(c->el, DIAG_E0202, it->value->span, "'%s' is given twice", c->def->arg[at].name);
        return false;
    }
    return bind(c, at, it->value);
}

Value builtin_call(Elaborator *el, const Builtin *def, const Expr *call, const Value *x,
                   bool first_is_item)
{
    OpCall c = {.el = el, .def = def, .span = call->span, .x = x->val};
    if (def->takes_list) {
        c.item = x->item;
        c.n_items = x->n;
        c.x = x->item[0].val;
    }
    const Item *label = NULL;
    bool ok = true;
    int next = 0;
    c.span.begin = call->op_span.begin; /* without the left side of |> */
    for (uint32_t i = first_is_item; i < call->items.len; i++) {
        const Item *it = &call->items.at[i];
        if (it->name && !strcmp(it->name, "name"))
            label = it;
        else
            ok &= bind_item(&c, it, &next);
    }
    for (int i = 0; ok && i < n_args(def); i++)
        if (!c.arg[i].given)
            ok &= bind_default(&c, i);
    if (!ok)
        return VALUE_BAD;
    if (label || def->needs_label)
        c.label = el_label(el, label, def->name);
    el->func->span = c.span;
    if (def->emit_list)
        return def->emit_list(&c);
    Val y = def->emit(&c);
    if (label && c.label != el->path)
        el_probe(el, c.label, y);
    return y.id ? (Value){.kind = VALUE_TENSOR, .val = y} : VALUE_BAD;
}

/* ---- the table as text ---- */

static const char *type_text(ArgType type)
{
    static const char *const text[] = {[ARG_NONE] = "",
                                       [ARG_INT] = "int",
                                       [ARG_REAL] = "real",
                                       [ARG_RATE] = "chance",
                                       [ARG_BOOL] = "bool",
                                       [ARG_STRING] = "string",
                                       [ARG_WORD] = "word",
                                       [ARG_AXIS] = "axis",
                                       [ARG_NEW_AXIS] = "new axis",
                                       [ARG_AXES] = "[axes]",
                                       [ARG_SIZES] = "[axis: size]",
                                       [ARG_TENSOR] = "tensor",
                                       [ARG_STEPS] = "[axis: int]",
                                       [ARG_SLICES] = "[axis: a..b]"};
    return text[type];
}

void elaborate_print_ops(Text *out)
{
    text_add(out, "| op | arguments | what it does |\n|---|---|---|\n");
    for (int i = 0; i < N_BUILTINS; i++) {
        const Builtin *b = &builtins[i];
        text_printf(out, "| `%s` | ", b->name);
        for (int k = 0; k < n_args(b); k++) {
            const ArgDef *d = &b->arg[k];
            text_printf(out, "%s`%s`: %s", k ? ", " : "", d->name, type_text(d->type));
            if (d->otherwise && *d->otherwise)
                text_printf(out, " = %s", d->otherwise);
            else if (d->otherwise)
                text_add(out, " (optional)");
        }
        text_printf(out, " | %s |\n", b->doc);
    }
}
