/* Calls: of ops, of functions on values, of blocks; and the types of formals. */
#include "ir/builtin.h"

/* ---- types ---- */

static const char *axis_of(const Item *item)
{
    return item->name ? item->name : item->value->name;
}

static Value type_error(Elaborator *el, const Type *type, const Val v, const char *what, Span span,
                        DiagCode code, const char *sentence)
{
    el_error(el, code, span, "%s %s", what, sentence);
    el_note(el, span, "the value here is %s", el_shape_text(el, func_shape(el->func, v)));
    el_note(el, type->span, "%s was wanted", el_source_text(el, type->span));
    return VALUE_BAD;
}

/* One axis of a tensor type: is it there, and of the stated size? A bare name agrees with the size
 * that the name has in this frame. */
static bool check_axis(Elaborator *el, const Type *type, const Item *a, const Value *v,
                       const char *what, Span span)
{
    const Shape *s = func_shape(el->func, v->val);
    const char *axis = axis_of(a);
    int at = shape_axis(s, axis);
    int64_t wanted = 0;
    if (at < 0) {
        type_error(el, type, v->val, what, span, DIAG_E0211,
                   arena_printf(el->arena, "has no axis '%s'", axis));
        return false;
    }
    if (a->name) {
        wanted = el_size(el, a->value, axis);
        if (!wanted)
            return false;
    } else {
        int entry = el->frame->has_entry ? shape_axis(&el->frame->entry, axis) : -1;
        wanted = entry >= 0 ? el->frame->entry.size[entry] : s->size[at];
    }
    if (wanted == s->size[at])
        return true;
    type_error(el, type, v->val, what, span, DIAG_E0203,
               arena_printf(el->arena, "has %s:%lld where %s:%lld was wanted", axis,
                            (long long)s->size[at], axis, (long long)wanted));
    return false;
}

bool el_check_type(Elaborator *el, const Type *type, const Value *v, const char *what, Span span)
{
    if (v->kind == VALUE_ERROR || type->kind == TYPE_ERROR)
        return false;
    if (v->kind != VALUE_TENSOR) {
        el_error(el, DIAG_E0201, span, "%s is a tensor, not %s", what, value_kind_text(v));
        return false;
    }
    if (!type->axes.len)
        return true; /* any tensor */
    const Shape *s = func_shape(el->func, v->val);
    for (uint32_t i = 0; i < type->axes.len; i++)
        if (!check_axis(el, type, &type->axes.at[i], v, what, span))
            return false;
    for (int k = 0; k < s->rank; k++) {
        bool is_named = false;
        for (uint32_t i = 0; i < type->axes.len; i++)
            is_named |= axis_of(&type->axes.at[i]) == s->name[k];
        if (!is_named) {
            type_error(el, type, v->val, what, span, DIAG_E0211,
                       arena_printf(el->arena, "has an axis '%s' too many", s->name[k]));
            return false;
        }
    }
    return true;
}

static bool check_value(Elaborator *el, const Formal *f, const Value *v, Span span)
{
    static const ValueKind kinds[] = {
        [TYPE_INT] = VALUE_NUMBER, [TYPE_REAL] = VALUE_NUMBER,   [TYPE_BOOL] = VALUE_BOOL,
        [TYPE_LIST] = VALUE_LIST,  [TYPE_STRING] = VALUE_STRING, [TYPE_SESSION] = VALUE_SESSION};
    static const char *const wanted[] = {
        [TYPE_INT] = "a whole number", [TYPE_REAL] = "a number",   [TYPE_BOOL] = "yes or no",
        [TYPE_LIST] = "a list",        [TYPE_STRING] = "a string", [TYPE_SESSION] = "a session"};
    if (v->kind == VALUE_ERROR)
        return false;
    if (f->type->kind < TYPE_INT || f->type->kind > TYPE_SESSION)
        return false;
    bool fits = v->kind == kinds[f->type->kind] && !v->unit &&
                (f->type->kind != TYPE_INT || value_is_int(v));
    if (fits)
        return true;
    Text shown = {.arena = el->arena};
    if (v->kind == VALUE_NUMBER)
        value_print(&shown, v);
    else
        text_add(&shown, value_kind_text(v));
    el_error(el, DIAG_E0201, span, "'%s' is %s, not %s", f->name, wanted[f->type->kind],
             text_str(&shown));
    el_note(el, f->span, "it is declared here");
    return false;
}

enum { MAX_SHOWN = 10 };

static void not_a_choice(Elaborator *el, const Formal *f, const Value *v, const Value *choices,
                         Span span)
{
    bool is_list = f->type->kind == TYPE_LIST;
    Suggest near = suggest_for(v->kind == VALUE_STRING ? v->text : "");
    Text shown = {.arena = el->arena};
    if (choices->n > MAX_SHOWN)
        text_printf(&shown, "one of %s", el_source_text(el, f->choices->span));
    for (uint32_t i = 0; i < choices->n && choices->n <= MAX_SHOWN; i++) {
        text_add(&shown, !i ? "" : i + 1 < choices->n ? ", " : " or ");
        value_print(&shown, &choices->item[i]);
        if (choices->item[i].kind == VALUE_STRING)
            suggest_offer(&near, choices->item[i].text);
    }
    text_add(&shown, ", not ");
    value_print(&shown, v);
    el_error(el, DIAG_E0250, span, is_list ? "'%s' holds %s" : "'%s' is %s", f->name,
             text_str(&shown));
    if (v->kind == VALUE_STRING && suggest_best(&near))
        el_help(el, "did you mean \"%s\"?", suggest_best(&near));
    el_note(el, f->span, "it is declared here");
}

/* A value, or every item of a list, is one of those that its declaration names. */
static bool check_choice(Elaborator *el, const Formal *f, const Value *v, Span span)
{
    Value choices = el_eval(el, f->choices);
    bool is_list = f->type->kind == TYPE_LIST;
    const Value *at = is_list ? v->item : v;
    if (choices.kind == VALUE_ERROR)
        return false;
    if (choices.kind != VALUE_LIST || !choices.n) {
        el_error(el, DIAG_E0201, f->choices->span, "what '%s' may be is a list of values, not %s",
                 f->name, choices.kind == VALUE_LIST ? "an empty one" : value_kind_text(&choices));
        return false;
    }
    for (uint32_t i = 0; i < (is_list ? v->n : 1); i++) {
        uint32_t k = 0;
        while (k < choices.n && !value_equal(&at[i], &choices.item[k]))
            k++;
        if (k < choices.n)
            continue;
        not_a_choice(el, f, &at[i], &choices, span);
        return false;
    }
    return true;
}

bool el_bind_formals(Elaborator *el, Frame *frame, Value *given)
{
    const Decl *d = frame->decl;
    Frame *outer = el->frame;
    bool ok = true;
    el->frame = frame;
    for (uint32_t i = 0; i < d->formals.len; i++) {
        const Formal *f = &d->formals.at[i];
        Value v = given[i];
        bool is_tensor = f->type->kind == TYPE_TENSOR;
        if (!v.span.file && f->value && v.kind == VALUE_ERROR && !v.n) {
            v = el_eval(el, f->value);
            v.span = f->span;
        } else if (!v.span.file && !is_tensor) { /* a call says this for itself */
            el_error(el, DIAG_E0202, f->span, "'%s' needs '%s', which has no value", d->name,
                     f->name);
            ok = false;
        }
        if (is_tensor && f->choices) {
            el_error(el, DIAG_E0201, f->choices->span, "'%s' is a tensor, only values are chosen",
                     f->name);
            ok = false;
        }
        if (is_tensor) {
            /* the sizes of a model's tensors are given from outside, the signature has defaults */
            ok &= d->kind == DECL_MODEL ||
                  el_check_type(el, f->type, &v, arena_printf(el->arena, "'%s'", f->name), v.span);
            if (v.kind == VALUE_TENSOR && !frame->has_entry) {
                frame->entry = *func_shape(el->func, v.val);
                frame->has_entry = true;
            }
        } else {
            ok &=
                check_value(el, f, &v, v.span) && (!f->choices || check_choice(el, f, &v, v.span));
        }
        given[i] = v;
        el_bind(el, f->name, v);
    }
    el->frame = outer;
    return ok;
}

/* ---- blocks ---- */

static const Body *block_body(Elaborator *el, const Decl *d)
{
    for (uint32_t i = 0; i < el->replacements.len; i++) {
        Replacement *r = &el->replacements.at[i];
        if (r->name == d->name) {
            r->used = true;
            return &r->stmt->body;
        }
    }
    return &d->body;
}

static int find_formal(const Decl *d, const char *name)
{
    for (uint32_t i = 0; i < d->formals.len; i++)
        if (d->formals.at[i].name == name)
            return (int)i;
    return -1;
}

static bool unknown_argument(Elaborator *el, const Decl *d, const Item *it)
{
    Suggest near = suggest_for(it->name);
    for (uint32_t i = 0; i < d->formals.len; i++)
        suggest_offer(&near, d->formals.at[i].name);
    el_error(el, DIAG_E0103, it->name_span, "'%s' has no parameter '%s'", d->name, it->name);
    if (suggest_best(&near))
        el_help(el, "did you mean '%s'?", suggest_best(&near));
    el_note(el, d->name_span, "it is declared here");
    return false;
}

/* Sorts the arguments of a call by formal; *label is its `name:`. */
static bool gather(Elaborator *el, const Decl *d, const Expr *call, const Value *first,
                   Value *given, bool *has, const Item **label)
{
    uint32_t next = 0;
    bool ok = true;
    if (first && d->formals.len) {
        given[0] = *first;
        given[0].span = call->op_span;
        has[0] = true;
        next = 1;
    }
    for (uint32_t i = 0; i < call->items.len; i++) {
        const Item *it = &call->items.at[i];
        int at = it->name ? find_formal(d, it->name) : (int)next++;
        if (it->name && at < 0 && !strcmp(it->name, "name")) {
            *label = it;
            continue;
        }
        Value v = el_eval(el, it->value);
        if (at < 0) {
            ok = unknown_argument(el, d, it);
        } else if (at >= (int)d->formals.len) {
            el_error(el, DIAG_E0202, it->value->span, "'%s' takes %u arguments", d->name,
                     d->formals.len);
            ok = false;
        } else if (has[at]) {
            el_error(el, DIAG_E0202, it->value->span, "'%s' is given twice",
                     d->formals.at[at].name);
            ok = false;
        } else {
            given[at] = v;
            given[at].span = it->value->span;
            has[at] = true;
        }
    }
    for (uint32_t i = 0; i < d->formals.len; i++) {
        if (has[i] || d->formals.at[i].value)
            continue;
        el_error(el, DIAG_E0202, call->span, "'%s' needs '%s'", d->name, d->formals.at[i].name);
        el_note(el, d->formals.at[i].span, "it is declared here");
        ok = false;
    }
    return ok;
}

static bool can_enter(Elaborator *el, const Decl *d, Span span)
{
    int depth = 0;
    for (const Frame *f = el->frame; f; f = f->caller, depth++) {
        if (f->decl == d) {
            el_error(el, DIAG_E0240, span, "'%s' is built from itself", d->name);
            return false;
        }
    }
    if (depth <= CALL_DEPTH_LIMIT)
        return true;
    el_error(el, DIAG_E0004, span, "blocks are nested deeper than %d", CALL_DEPTH_LIMIT);
    return false;
}

static Value run_block(Elaborator *el, Frame *frame, const Expr *call)
{
    const Decl *d = frame->decl;
    el_body(el, block_body(el, d));
    if (!frame->is_done)
        return el_error(el, DIAG_E0202, d->name_span, "the block '%s' does not return a value",
                        d->name);
    if (d->type && frame->result.kind == VALUE_TENSOR &&
        !el_check_type(el, d->type, &frame->result,
                       arena_printf(el->arena, "the result of '%s'", d->name), frame->result.span))
        return VALUE_BAD;
    Value v = frame->result;
    v.span = call->span;
    return v;
}

static Value call_block(Elaborator *el, const Decl *d, const Expr *call, const Value *first)
{
    Value *given = ARENA_ARRAY(el->arena, Value, d->formals.len + 1);
    bool *has = ARENA_ARRAY(el->arena, bool, d->formals.len + 1);
    const Item *label = NULL;
    if (!can_enter(el, d, call->op_span) || !gather(el, d, call, first, given, has, &label))
        return VALUE_BAD;
    for (uint32_t i = 0; i < d->formals.len; i++)
        if (has[i] && given[i].kind == VALUE_ERROR)
            return VALUE_BAD;

    const char *path = el_label(el, label, d->name);
    Frame frame = {.caller = el->frame,
                   .decl = d,
                   .depth = el->frame->depth + 1,
                   .is_named = el->frame->is_named || strcmp(path, el->path) != 0};
    Place place = {.outer = el->place, .kind = PLACE_CALL, .name = d->name, .span = call->op_span};
    Frame *outer = el->frame;
    const char *outer_path = el->path;
    int16_t outer_part = el->func->part;
    if (!el_bind_formals(el, &frame, given))
        return VALUE_BAD;

    el->frame = &frame;
    el->path = path;
    el->place = &place;
    if (!outer->is_named && el->session < 0)
        el->func->part = module_part(el->module, path);
    Value v = run_block(el, &frame, call);
    el_tell_place(el);
    el->frame = outer;
    el->path = outer_path;
    el->place = place.outer;
    el->func->part = outer_part;
    if (label && v.kind == VALUE_TENSOR && path != el->path)
        el_probe(el, path, v.val);
    return v;
}

/* ---- functions on values ---- */

static void explain_zip(Elaborator *el, const Expr *call, const Value *arg, int n)
{
    for (int i = 0; i < n; i++)
        el_note(el, call->items.at[i].value->span, "%u items", arg[i].n);
    for (int i = 0; i < n; i++) {
        const Expr *root = call->items.at[i].value;
        Value v;
        while (root->left)
            root = root->left;
        if (root->kind == EXPR_NAME && el_lookup(el, root->name, root->span, &v) && v.span.file)
            el_note(el, v.span, "'%s' comes from here", root->name);
    }
}

/* `first` is the left side of |>, or the value of the first argument (first_is_item). */
static Value call_function(Elaborator *el, const Expr *call, const Value *first, bool first_is_item)
{
    Value arg[17] = {0};
    const Expr *at[17] = {0};
    int n = 0;
    bool is_bad = false;
    if (first) {
        at[n] = first_is_item ? call->items.at[0].value : NULL;
        arg[n++] = *first;
    }
    for (uint32_t i = first_is_item; i < call->items.len; i++) {
        const Item *it = &call->items.at[i];
        if (it->name && first && first->kind == VALUE_ERROR)
            return VALUE_BAD; /* it may have been meant for the op of that name */
        if (it->name)
            return el_error(el, DIAG_E0103, it->name_span, "'%s' has no parameter '%s'", call->name,
                            it->name);
        if (n == 17)
            return el_error(el, DIAG_E0202, it->value->span, "'%s' takes at most 16 values",
                            call->name);
        at[n] = it->value;
        arg[n++] = el_eval(el, it->value);
    }
    for (int i = 0; i < n; i++)
        is_bad |= arg[i].kind == VALUE_ERROR;
    if (is_bad)
        return VALUE_BAD;
    ComptimeError error = {.code = DIAG_COUNT};
    Value v = comptime_call(el->arena, call->name, arg, n, &error);
    if (error.code == DIAG_COUNT)
        return v;
    Span span = error.at >= 0 && error.at < n && at[error.at] ? at[error.at]->span : call->span;
    el_error(el, error.code, span, "%s", error.text);
    if (error.code == DIAG_E0230 && (!first || first_is_item))
        explain_zip(el, call, arg, n);
    return v;
}

/* ---- choosing ---- */

static Value unknown_call(Elaborator *el, const Expr *call)
{
    Suggest near = suggest_for(call->name);
    const ProgramFile *file = program_file(el->program, call->span);
    const char *name, *form, *doc;
    for (int i = 0; builtin_at(i); i++)
        suggest_offer(&near, builtin_at(i)->name);
    for (uint32_t i = 0; file && i < file->names.n; i++)
        if (((const Decl *)file->names.entry[i].value)->kind == DECL_BLOCK)
            suggest_offer(&near, file->names.entry[i].key);
    for (int i = 0; comptime_function(i, &name, &form, &doc); i++)
        suggest_offer(&near, name);
    el_error(el, DIAG_E0101, call->op_span, "there is no operation or block named '%s'",
             call->name);
    if (suggest_best(&near))
        el_help(el, "did you mean '%s'?", suggest_best(&near));
    return VALUE_BAD;
}

static Value call_op(Elaborator *el, const Builtin *b, const Expr *call, const Value *x,
                     bool first_is_item)
{
    if (x->kind == VALUE_ERROR)
        return *x;
    bool fits = x->kind == (b->takes_list ? VALUE_LIST : VALUE_TENSOR);
    for (uint32_t i = 0; fits && b->takes_list && i < x->n; i++)
        fits = x->item[i].kind == VALUE_TENSOR;
    if (!fits || (b->takes_list && !x->n))
        return el_error(el, DIAG_E0201,
                        first_is_item ? call->items.at[0].value->span : call->op_span,
                        "'%s' is applied to %s, not to %s", b->name,
                        b->takes_list ? "a list of tensors" : "a tensor", value_kind_text(x));
    return builtin_call(el, b, call, x, first_is_item);
}

Value el_call(Elaborator *el, const Expr *call, const Value *first)
{
    const Decl *d = program_find(el->program, call->span, call->name);
    if (d && d->kind == DECL_BLOCK)
        return call_block(el, d, call, first);

    const Builtin *b = builtin_find(call->name);
    bool is_function = comptime_has_function(call->name);
    if (!b && !is_function)
        return unknown_call(el, call);
    if (!b)
        return call_function(el, call, first, false);
    bool first_is_item = !first && call->items.len && !call->items.at[0].name;
    if (!first && !first_is_item)
        return el_error(el, DIAG_E0202, call->span, "'%s' needs a value to work on", call->name);
    Value x = first ? *first : el_eval(el, call->items.at[0].value);
    if (is_function && x.kind != VALUE_TENSOR)
        return call_function(el, call, &x, first_is_item);
    return call_op(el, b, call, &x, first_is_item);
}
