/* Expressions: compile-time values, names, and arithmetic between tensors. */
#include "ir/elaborate_state.h"

/* ---- names ---- */

void el_bind(Elaborator *el, const char *name, Value value)
{
    Scope *s = &el->frame->scope;
    for (uint32_t i = 0; i < s->len; i++)
        if (s->at[i].name == name) {
            s->at[i].value = value;
            return;
        }
    vec_push(el->arena, s, (Binding){name, value});
}

static const Value *find_variable(const Elaborator *el, const char *name)
{
    const Scope *s = &el->frame->scope;
    for (uint32_t i = 0; i < s->len; i++)
        if (s->at[i].name == name)
            return &s->at[i].value;
    return NULL;
}

Value el_constant(Elaborator *el, const Decl *decl)
{
    Constant *c = NULL;
    for (uint32_t i = 0; i < el->constants.len; i++)
        if (el->constants.at[i].decl == decl)
            c = &el->constants.at[i];
    if (c && c->is_open)
        return el_error(el, DIAG_E0240, decl->name_span, "'%s' is defined by itself", decl->name);
    if (c)
        return c->value;

    uint32_t at = el->constants.len;
    vec_push(el->arena, &el->constants, (Constant){decl, VALUE_BAD, true});
    Frame top = {.caller = el->frame};
    Frame *outer = el->frame;
    el->frame = &top;
    Value v = el_eval(el, decl->value);
    el->frame = outer;
    v.span = decl->name_span;
    el->constants.at[at] = (Constant){decl, v, false};
    return v;
}

bool el_lookup(Elaborator *el, const char *name, Span span, Value *out)
{
    const Value *v = find_variable(el, name);
    if (v) {
        *out = *v;
        return true;
    }
    int axis = el->frame->has_entry ? shape_axis(&el->frame->entry, name) : -1;
    if (axis >= 0) {
        *out = value_int(el->frame->entry.size[axis]);
        return true;
    }
    const Decl *d = program_find(el->program, span, name);
    if (!d || d->kind != DECL_CONST)
        return false;
    *out = el_constant(el, d);
    return true;
}

static void suggest_names(Elaborator *el, const char *name, Span span)
{
    Suggest near = suggest_for(name);
    const Frame *f = el->frame;
    const ProgramFile *file = program_file(el->program, span);
    for (uint32_t i = 0; i < f->scope.len; i++)
        suggest_offer(&near, f->scope.at[i].name);
    for (int i = 0; f->has_entry && i < f->entry.rank; i++)
        suggest_offer(&near, f->entry.name[i]);
    for (uint32_t i = 0; file && i < file->names.n; i++)
        if (((const Decl *)file->names.entry[i].value)->kind == DECL_CONST)
            suggest_offer(&near, file->names.entry[i].key);
    if (!strcmp(name, "true") || !strcmp(name, "false"))
        el_help(el, "write '%s'", *name == 't' ? "yes" : "no");
    else if (suggest_best(&near))
        el_help(el, "did you mean '%s'?", suggest_best(&near));
}

static Value eval_name(Elaborator *el, const Expr *e)
{
    Value v;
    if (el_lookup(el, e->name, e->span, &v))
        return v;
    const Decl *d = program_find(el->program, e->span, e->name);
    if (d)
        return el_error(el, DIAG_E0201, e->span, "'%s' is a %s, not a value", e->name,
                        d->kind == DECL_BLOCK ? "block" : "model");
    el_error(el, DIAG_E0102, e->span, "there is no value named '%s'", e->name);
    suggest_names(el, e->name, e->span);
    return VALUE_BAD;
}

/* ---- members ---- */

static Value not_per_session(Elaborator *el, const Expr *e)
{
    el_error(el, DIAG_E0242, e->span, "%s.%s is only known inside 'per %s in sessions'",
             e->left->name, e->name, e->left->name);
    const Place *p = el->place;
    while (p && p->kind != PLACE_PART)
        p = p->outer;
    if (p) {
        el_note(el, p->span, "this part is shared by all sessions");
        el_help(el, "write  part %s per %s in sessions {", p->name, e->left->name);
    }
    return VALUE_BAD;
}

static Value session_member(Elaborator *el, const Expr *e, int session)
{
    const Session *s = &el->module->sessions.at[session];
    if (!strcmp(e->name, "neurons"))
        return value_int(s->neurons);
    if (!strcmp(e->name, "name"))
        return value_string(s->name);
    if (!strcmp(e->name, "index"))
        return value_int(session);
    return el_error(el, DIAG_E0102, e->op_span, "a session has neurons, name and index, no '%s'",
                    e->name);
}

static Value tensor_member(Elaborator *el, const Expr *e, Val x)
{
    const Shape *s = func_shape(el->func, x);
    int axis = shape_axis(s, e->name);
    if (axis >= 0)
        return value_int(s->size[axis]);
    el_error(el, DIAG_E0211, e->op_span, "there is no axis '%s' here", e->name);
    el_note(el, e->left->span, "the value here is %s", el_shape_text(el, s));
    return VALUE_BAD;
}

static Value eval_member(Elaborator *el, const Expr *e)
{
    Value left;
    bool is_session_word =
        !strcmp(e->name, "neurons") || !strcmp(e->name, "name") || !strcmp(e->name, "index");
    if (e->left->kind == EXPR_NAME && is_session_word &&
        !el_lookup(el, e->left->name, e->left->span, &left))
        return not_per_session(el, e);
    left = el_eval(el, e->left);
    if (left.kind == VALUE_SESSION)
        return session_member(el, e, left.session);
    if (left.kind == VALUE_TENSOR)
        return tensor_member(el, e, left.val);
    if (left.kind == VALUE_ERROR)
        return left;
    return el_error(el, DIAG_E0201, e->left->span,
                    "'.%s' needs a tensor or a session before it, not %s", e->name,
                    value_kind_text(&left));
}

/* ---- lists ---- */

static Value take_error(Elaborator *el, const ComptimeError *error, const Expr *whole,
                        const Expr *const *operand, int n)
{
    const Expr *at =
        error->at >= 0 && error->at < n && operand[error->at] ? operand[error->at] : whole;
    return el_error(el, error->code, at->span, "%s", error->text);
}

static Value eval_slice(Elaborator *el, const Expr *e)
{
    Value list = el_eval(el, e->left), from = {0}, to = {0};
    const Expr *first = e->right->left, *last = e->right->right;
    ComptimeError error = {.code = DIAG_COUNT};
    if (first)
        from = el_eval(el, first);
    if (last)
        to = el_eval(el, last);
    if (list.kind == VALUE_ERROR || (first && from.kind == VALUE_ERROR) ||
        (last && to.kind == VALUE_ERROR))
        return VALUE_BAD;
    Value v = value_slice(el->arena, &list, first ? &from : NULL, last ? &to : NULL, &error);
    if (error.code != DIAG_COUNT)
        return take_error(el, &error, e, (const Expr *const[]){e->left, first, last}, 3);
    return v;
}

static Value eval_pair(Elaborator *el, const Expr *e, const Value *a, const Value *b)
{
    ComptimeError error = {.code = DIAG_COUNT};
    const Expr *const operand[] = {e->left, e->right};
    Value v;
    if (a->kind == VALUE_ERROR || b->kind == VALUE_ERROR)
        return VALUE_BAD;
    if (e->kind == EXPR_INDEX)
        v = value_index(el->arena, a, b, &error);
    else if (e->kind == EXPR_RANGE)
        v = value_range(el->arena, a, b, &error);
    else
        v = value_binary(el->arena, e->op, a, b, &error);
    return error.code == DIAG_COUNT ? v : take_error(el, &error, e, operand, 2);
}

static Value eval_items(Elaborator *el, const Expr *e)
{
    Value *item = ARENA_ARRAY(el->arena, Value, e->items.len);
    bool is_bad = false;
    for (uint32_t i = 0; i < e->items.len; i++) {
        const Item *it = &e->items.at[i];
        if (it->name && !it->name_is_text) {
            el_error(el, DIAG_E0201, e->span, "axes with sizes are no value");
            el_help(el, "a list has plain items: [1, 2, 3]");
            return VALUE_BAD;
        }
        item[i] = el_eval(el, it->value);
        is_bad |= item[i].kind == VALUE_ERROR;
        if (it->name) {
            Value *inner = ARENA_NEW(el->arena, Value);
            *inner = item[i];
            item[i] = (Value){.kind = VALUE_ENTRY,
                              .span = it->name_span,
                              .text = it->name,
                              .item = inner,
                              .n = 1};
        }
    }
    if (is_bad)
        return VALUE_BAD;
    Value v = value_list(item, e->items.len);
    if (e->kind == EXPR_TUPLE)
        v.kind = VALUE_TUPLE;
    return v;
}

/* ---- arithmetic between tensors ---- */

/* Where the axis got its size: the earliest value along the operands that has it. */
static Span origin(const Func *f, Val v, const char *axis, int64_t size)
{
    for (;;) {
        const Node *n = func_node(f, v);
        Val next = VAL_NONE;
        for (int i = 0; i < n->n_in && !next.id; i++) {
            const Shape *s = func_shape(f, n->in[i]);
            int p = shape_axis(s, axis);
            Op op = func_node(f, n->in[i])->op;
            if (p >= 0 && s->size[p] == size && op != OP_PARAM && op != OP_STATE)
                next = n->in[i];
        }
        if (!next.id)
            return n->span;
        v = next;
    }
}

static Value sizes_differ(Elaborator *el, const Expr *e, Val a, Val b, const char *axis)
{
    const Shape *sa = func_shape(el->func, a), *sb = func_shape(el->func, b);
    int64_t na = sa->size[shape_axis(sa, axis)], nb = sb->size[shape_axis(sb, axis)];
    el_error(el, DIAG_E0203, e->span, "the two sides of '%s' have different sizes on axis '%s'",
             operator_text(e->op), axis);
    el_note(el, e->left->span, "this side is %s", el_shape_text(el, sa));
    el_note(el, e->right->span, "this side is %s", el_shape_text(el, sb));
    el_note(el, origin(el->func, a, axis, na), "%s:%lld comes from here", axis, (long long)na);
    el_note(el, origin(el->func, b, axis, nb), "%s:%lld comes from here", axis, (long long)nb);
    el_help(el, "bring both to the same size, for example  |> tile([%s: %lld])", axis,
            (long long)(na > nb ? na : nb));
    return VALUE_BAD;
}

static Value tensor_value(Val v)
{
    return v.id ? (Value){.kind = VALUE_TENSOR, .val = v} : VALUE_BAD;
}

static Value two_tensors(Elaborator *el, const Expr *e, Val a, Val b)
{
    static const Op ops[] = {[OPERATOR_ADD] = OP_ADD,
                             [OPERATOR_SUB] = OP_SUB,
                             [OPERATOR_MUL] = OP_MUL,
                             [OPERATOR_DIV] = OP_DIV};
    const Shape *sa = func_shape(el->func, a), *sb = func_shape(el->func, b);
    if (e->op > OPERATOR_DIV)
        return el_error(el, DIAG_E0201, e->span, "'%s' is not known between two tensors",
                        operator_text(e->op));
    for (int i = 0; i < sa->rank; i++) {
        int k = shape_axis(sb, sa->name[i]);
        if (k >= 0 && sb->size[k] != sa->size[i])
            return sizes_differ(el, e, a, b, sa->name[i]);
    }
    el->func->span = e->span;
    return tensor_value(func_emit2(el->func, ops[e->op], a, b));
}

static Value power(Elaborator *el, const Expr *e, Val x, const Value *n)
{
    if (n->real == 2)
        return tensor_value(func_emit1(el->func, OP_SQUARE, x));
    if (n->real == 0.5)
        return tensor_value(func_emit1(el->func, OP_SQRT, x));
    if (n->real == -0.5)
        return tensor_value(func_emit1(el->func, OP_RSQRT, x));
    return el_error(el, DIAG_E0250, e->right->span,
                    "a tensor can be raised to 2, 0.5 and -0.5 only");
}

static Value tensor_and_number(Elaborator *el, const Expr *e, Val x, const Value *n)
{
    Func *f = el->func;
    f->span = e->span;
    if (n->unit)
        return el_error(el, DIAG_E0304, e->right->span, "a tensor has no unit '%s'", n->unit);
    switch (e->op) {
    case OPERATOR_ADD:
        return tensor_value(func_offset(f, x, n->real));
    case OPERATOR_SUB:
        return tensor_value(func_offset(f, x, -n->real));
    case OPERATOR_MUL:
        return tensor_value(func_scale(f, x, n->real));
    case OPERATOR_DIV:
        if (n->real == 0)
            return el_error(el, DIAG_E0250, e->right->span, "division by zero");
        return tensor_value(func_scale(f, x, 1 / n->real));
    case OPERATOR_POW:
        return power(el, e, x, n);
    default:
        return el_error(el, DIAG_E0201, e->span, "'%s' is not known for tensors",
                        operator_text(e->op));
    }
}

static Value number_and_tensor(Elaborator *el, const Expr *e, const Value *n, Val x)
{
    Func *f = el->func;
    Expr swapped = *e;
    switch (e->op) {
    case OPERATOR_ADD:
    case OPERATOR_MUL:
        swapped.left = e->right;
        swapped.right = e->left;
        return tensor_and_number(el, &swapped, x, n);
    case OPERATOR_SUB:
        f->span = e->span;
        return tensor_value(func_offset(f, func_emit1(f, OP_NEG, x), n->real));
    case OPERATOR_DIV:
        f->span = e->span;
        return tensor_value(func_emit2(f, OP_DIV, func_fill(f, n->real, &(Shape){0}), x));
    default:
        return el_error(el, DIAG_E0201, e->span, "'%s' is not known for tensors",
                        operator_text(e->op));
    }
}

static Value eval_binary(Elaborator *el, const Expr *e)
{
    Value a = el_eval(el, e->left), b = el_eval(el, e->right);
    if (a.kind == VALUE_ERROR || b.kind == VALUE_ERROR)
        return VALUE_BAD;
    if (a.kind == VALUE_TENSOR && b.kind == VALUE_TENSOR)
        return two_tensors(el, e, a.val, b.val);
    if (a.kind == VALUE_TENSOR && b.kind == VALUE_NUMBER)
        return tensor_and_number(el, e, a.val, &b);
    if (a.kind == VALUE_NUMBER && b.kind == VALUE_TENSOR)
        return number_and_tensor(el, e, &a, b.val);
    return eval_pair(el, e, &a, &b);
}

static Value eval_unary(Elaborator *el, const Expr *e)
{
    Value a = el_eval(el, e->left);
    ComptimeError error = {.code = DIAG_COUNT};
    if (a.kind == VALUE_ERROR)
        return a;
    if (a.kind == VALUE_TENSOR && e->op == OPERATOR_NEG) {
        el->func->span = e->span;
        return tensor_value(func_emit1(el->func, OP_NEG, a.val));
    }
    Value v = value_unary(el->arena, e->op, &a, &error);
    return error.code == DIAG_COUNT ? v
                                    : take_error(el, &error, e, (const Expr *const[]){e->left}, 1);
}

static Value eval_if(Elaborator *el, const Expr *e)
{
    Value cond = el_eval(el, e->cond);
    if (cond.kind == VALUE_ERROR)
        return cond;
    if (cond.kind != VALUE_BOOL)
        return el_error(el, DIAG_E0201, e->cond->span, "'if' needs yes or no, not %s",
                        value_kind_text(&cond));
    return el_eval(el, cond.truth ? e->left : e->right);
}

static Value eval_number(const Expr *e)
{
    Value v = e->den > 0 ? value_exact(e->num, e->den) : value_real(e->number);
    v.real = e->number;
    v.unit = e->unit;
    return v;
}

static Value eval_kind(Elaborator *el, const Expr *e)
{
    Value a, b;
    switch (e->kind) {
    case EXPR_NUMBER:
        return eval_number(e);
    case EXPR_STRING: {
        const char *text = el_string(el, e);
        return text ? value_string(text) : VALUE_BAD;
    }
    case EXPR_BOOL:
        return value_bool(e->value);
    case EXPR_NAME:
        return eval_name(el, e);
    case EXPR_MEMBER:
        return eval_member(el, e);
    case EXPR_INDEX:
        if (e->right->kind == EXPR_RANGE)
            return eval_slice(el, e);
        a = el_eval(el, e->left);
        b = el_eval(el, e->right);
        return eval_pair(el, e, &a, &b);
    case EXPR_RANGE:
        if (!e->left || !e->right)
            return el_error(el, DIAG_E0201, e->span, "an open range stands only in [ ]");
        a = el_eval(el, e->left);
        b = el_eval(el, e->right);
        return eval_pair(el, e, &a, &b);
    case EXPR_BRACKET:
    case EXPR_TUPLE:
        return eval_items(el, e);
    case EXPR_UNARY:
        return eval_unary(el, e);
    case EXPR_BINARY:
        return eval_binary(el, e);
    case EXPR_CALL:
        return el_call(el, e, NULL);
    case EXPR_PIPE:
        a = el_eval(el, e->left);
        return el_call(el, e->right, &a);
    case EXPR_IF:
        return eval_if(el, e);
    case EXPR_ERROR:
    case EXPR_KIND_COUNT:
        break;
    }
    return VALUE_BAD;
}

Value el_eval(Elaborator *el, const Expr *e)
{
    Value v = eval_kind(el, e);
    if (!v.span.file)
        v.span = e->span;
    return v;
}

/* ---- what other files want of an expression ---- */

bool el_int(Elaborator *el, const Expr *e, const char *what, int64_t *out)
{
    Value v = el_eval(el, e);
    if (v.kind == VALUE_ERROR)
        return false;
    if (!value_is_int(&v) || v.unit) {
        el_error(el, DIAG_E0201, e->span, "%s is a whole number, not %s", what,
                 value_kind_text(&v));
        return false;
    }
    *out = v.num;
    return true;
}

static int64_t bad_size(Elaborator *el, const Expr *e, const char *axis, const Value *v)
{
    Text size = {.arena = el->arena};
    if (v->den > 1)
        text_printf(&size, "%lld/%lld", (long long)v->num, (long long)v->den);
    else
        value_print(&size, v);
    el_error(el, DIAG_E0220, e->span, "the size of axis '%s' would be %s, %s", axis,
             text_str(&size),
             v->den != 1         ? "not a whole number"
             : v->num > MAX_AXIS ? "more than the limit of 16777216"
                                 : "but every size is at least 1");
    const char *names = el_names_text(el, e);
    if (*names)
        el_note(el, e->span, "%s", names);
    if (v->den != 1) {
        const char *source = el_source_text(el, e->span);
        el_help(el, "write floor(%s) or ceil(%s)", source, source);
    }
    return 0;
}

int64_t el_size(Elaborator *el, const Expr *e, const char *axis)
{
    Value v = el_eval(el, e);
    if (v.kind == VALUE_ERROR)
        return 0;
    if (v.kind != VALUE_NUMBER || v.unit) {
        el_error(el, DIAG_E0201, e->span, "the size of axis '%s' is a whole number, not %s", axis,
                 value_kind_text(&v));
        return 0;
    }
    return v.den == 1 && v.num >= 1 && v.num <= MAX_AXIS ? v.num : bad_size(el, e, axis, &v);
}

const char *el_string(Elaborator *el, const Expr *e)
{
    StringPieces pieces = {0};
    Text out = {.arena = el->arena};
    if (e->kind != EXPR_STRING) {
        Value v = el_eval(el, e);
        if (v.kind == VALUE_STRING)
            return v.text;
        if (v.kind != VALUE_ERROR)
            el_error(el, DIAG_E0201, e->span, "a string was expected, not %s", value_kind_text(&v));
        return NULL;
    }
    if (!parse_string_pieces(el->arena, el->names, el->diags, e, &pieces))
        return NULL;
    for (uint32_t i = 0; i < pieces.len; i++) {
        if (!pieces.at[i].expr) {
            text_add(&out, pieces.at[i].text);
            continue;
        }
        Value v = el_eval(el, pieces.at[i].expr);
        if (v.kind == VALUE_STRING)
            text_add(&out, v.text);
        else if (v.kind == VALUE_NUMBER || v.kind == VALUE_BOOL)
            value_print(&out, &v);
        else if (v.kind != VALUE_ERROR)
            el_error(el, DIAG_E0201, pieces.at[i].expr->span, "%s cannot stand in a string",
                     value_kind_text(&v));
        if (v.kind == VALUE_ERROR || v.kind > VALUE_STRING)
            return NULL;
    }
    return text_str(&out);
}
