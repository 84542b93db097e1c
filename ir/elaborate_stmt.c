/* Statements: everything unrolls; loops, branches and parts are gone when this is done. */
#include "ir/elaborate_state.h"

static void run(Elaborator *el, const Stmt *s);

void el_body(Elaborator *el, const Body *body)
{
    for (uint32_t i = 0; i < body->stmts.len && !el->frame->is_done; i++)
        run(el, body->stmts.at[i]);
}

/* ---- assigning ---- */

void el_bind_pattern(Elaborator *el, const Expr *target, Value value)
{
    if (target->kind == EXPR_NAME) {
        if (!value.span.file)
            value.span = target->span;
        el_bind(el, target->name, value);
        return;
    }
    bool fits =
        (value.kind == VALUE_TUPLE || value.kind == VALUE_LIST) && value.n == target->items.len;
    if (!fits && value.kind != VALUE_ERROR)
        el_error(el, DIAG_E0230, target->span, "%u names cannot take apart %s of %u",
                 target->items.len, value_kind_text(&value), value.n);
    for (uint32_t i = 0; i < target->items.len; i++)
        el_bind_pattern(el, target->items.at[i].value, fits ? value.item[i] : VALUE_BAD);
}

/* for i, x in list: the position comes first when there is one name more than the items have. */
static Value numbered(Elaborator *el, const Expr *target, const Value *item, uint32_t i)
{
    uint32_t parts = item->kind == VALUE_TUPLE ? item->n : 1;
    bool wants_position = target->kind == EXPR_TUPLE && target->items.len == 2 &&
                          (parts == 1 || target->items.at[1].value->kind == EXPR_TUPLE ||
                           target->items.len == parts + 1);
    if (!wants_position)
        return *item;
    Value *pair = ARENA_ARRAY(el->arena, Value, 2);
    pair[0] = value_int(i);
    pair[1] = *item;
    return (Value){.kind = VALUE_TUPLE, .span = item->span, .item = pair, .n = 2};
}

static void run_for(Elaborator *el, const Stmt *s)
{
    Value list = el_eval(el, s->value);
    if (list.kind == VALUE_ERROR) {
        el_tell_place(el);
        el_bind_pattern(el, s->target, VALUE_BAD);
        el_body(el, &s->body); /* once, for the mistakes in it */
        return;
    }
    if (list.kind != VALUE_LIST) {
        el_error(el, DIAG_E0201, s->value->span, "'for' needs a list, not %s",
                 value_kind_text(&list));
        return;
    }
    for (uint32_t i = 0; i < list.n && !el->frame->is_done; i++) {
        Value turn = numbered(el, s->target, &list.item[i], i);
        Place place = {.outer = el->place,
                       .kind = PLACE_LOOP,
                       .span = s->value->span,
                       .target = s->target,
                       .turn = &turn};
        el_bind_pattern(el, s->target, turn);
        el->place = &place;
        el_body(el, &s->body);
        el->place = place.outer;
        if (el->n_executed > UNROLL_LIMIT)
            return;
    }
}

static void run_if(Elaborator *el, const Stmt *s)
{
    for (uint32_t i = 0; i < s->branches.len; i++) {
        const Branch *b = &s->branches.at[i];
        Value cond = b->cond ? el_eval(el, b->cond) : value_bool(true);
        if (cond.kind != VALUE_BOOL) {
            if (cond.kind != VALUE_ERROR)
                el_error(el, DIAG_E0201, b->cond->span, "'if' needs yes or no, not %s",
                         value_kind_text(&cond));
            return;
        }
        if (cond.truth) {
            el_body(el, &b->body);
            return;
        }
    }
}

/* ---- parts ---- */

static const Body *part_body(Elaborator *el, const Stmt *s)
{
    for (uint32_t i = 0; i < el->replacements.len; i++) {
        Replacement *r = &el->replacements.at[i];
        if (r->name == s->name) {
            r->used = true;
            return &r->stmt->body;
        }
    }
    return &s->body;
}

static void build_part(Elaborator *el, const Stmt *s, const char *path)
{
    const char *outer = el->path;
    Place place = {.outer = el->place, .kind = PLACE_PART, .name = s->name, .span = s->name_span};
    el->path = path;
    el->place = &place;
    el->frame->last = VALUE_BAD;
    el_body(el, part_body(el, s));
    if (el->frame->last.kind == VALUE_TENSOR)
        el_probe(el, path, el->frame->last.val);
    el->path = outer;
    el->place = place.outer;
}

static Scope copy_scope(Arena *arena, const Scope *s)
{
    Scope copy = {0};
    for (uint32_t i = 0; i < s->len; i++)
        vec_push(arena, &copy, s->at[i]);
    return copy;
}

/* Runs the body for a recording; its return value. */
static Value session_value(Elaborator *el, const Stmt *s, const Scope *outside, int session)
{
    Frame *frame = el->frame;
    const char *path = el_path_join(el, el->path, s->name);
    frame->scope = copy_scope(el->arena, outside);
    frame->is_done = false;
    frame->result = VALUE_BAD;
    el_bind(el, s->per.name, (Value){.kind = VALUE_SESSION, .session = session});
    el->session = el->func->session = (int16_t)session;
    build_part(el, s, el_path_join(el, path, el->module->sessions.at[session].name));
    if (!frame->is_done)
        el_error(el, DIAG_E0202, s->name_span, "a part per session ends with a return");
    el->session = el->func->session = -1;
    return frame->result;
}

/* In a block: every sample gets the value of its own recording, under the part's name. What a
 * recording computes counts as zero for samples of others (docs/design.md), so it is their sum. */
static Value join_sessions(Elaborator *el, const Stmt *s, Value sum, Value v)
{
    if (v.kind == VALUE_ERROR || v.kind == VALUE_TENSOR) {
        if (!sum.val.id || v.kind == VALUE_ERROR)
            return v;
        el->func->span = s->name_span;
        Val both = func_emit2(el->func, OP_ADD, sum.val, v.val);
        return both.id ? (Value){.kind = VALUE_TENSOR, .val = both, .span = v.span} : VALUE_BAD;
    }
    return el_error(el, DIAG_E0201, v.span, "a part per session in a block gives a tensor, not %s",
                    value_kind_text(&v));
}

/* One copy per recording; what it assigns is not seen outside. */
static void build_part_per_session(Elaborator *el, const Stmt *s)
{
    Frame *frame = el->frame;
    Scope outside = frame->scope;
    int n_executed = el->n_executed;
    bool in_block = frame->depth > 0;
    Value sum = {.kind = VALUE_TENSOR};
    if (el->session >= 0) {
        el_error(el, DIAG_E0201, s->per.span, "a part per session stands in no other such part");
        return;
    }
    for (uint32_t i = 0; i < el->module->sessions.len; i++) {
        Value v = session_value(el, s, &outside, (int)i);
        if (in_block && sum.kind == VALUE_TENSOR)
            sum = join_sessions(el, s, sum, v);
        else if (!in_block)
            el->session_result[i] = v;
        el->n_executed = n_executed; /* the limit counts the part once */
    }
    frame->scope = outside;
    frame->is_done = !in_block;
    el->has_sessions |= !in_block;
    if (in_block)
        el_bind(el, s->name, sum);
}

static void run_part(Elaborator *el, const Stmt *s)
{
    int16_t outer = el->func->part;
    if (outer < 0)
        el->func->part = module_part(el->module, s->name);
    if (!s->per.name)
        build_part(el, s, el_path_join(el, el->path, s->name));
    else if (s->per.over->kind == EXPR_NAME && !strcmp(s->per.over->name, "sessions"))
        build_part_per_session(el, s);
    else
        el_error(el, DIAG_E0201, s->per.over->span, "a part can be made per session only");
    el->func->part = outer;
}

/* ---- param ---- */

static bool bool_attribute(Elaborator *el, const Item *it, bool *out)
{
    Value v = el_eval(el, it->value);
    if (v.kind != VALUE_BOOL && v.kind != VALUE_ERROR)
        el_error(el, DIAG_E0201, it->value->span, "'%s' is yes or no", it->name);
    *out = v.kind == VALUE_BOOL && v.truth;
    return v.kind == VALUE_BOOL;
}

static bool limit_attribute(Elaborator *el, const Item *it, double *out)
{
    Value v = el_eval(el, it->value);
    if (v.kind == VALUE_ERROR)
        return false;
    if (v.kind != VALUE_NUMBER || v.unit || !(v.real > 0)) {
        el_error(el, DIAG_E0250, it->value->span, "'limit' is a positive number");
        return false;
    }
    *out = v.real;
    return true;
}

static bool param_attributes(Elaborator *el, const Stmt *s, ParamSpec *spec)
{
    for (uint32_t i = 0; i < s->items.len; i++) {
        const Item *it = &s->items.at[i];
        bool yes;
        if (it->name && !strcmp(it->name, "decay")) {
            if (!bool_attribute(el, it, &yes))
                return false;
            spec->no_decay = !yes;
        } else if (it->name && !strcmp(it->name, "frozen")) {
            if (!bool_attribute(el, it, &spec->frozen))
                return false;
        } else if (it->name && !strcmp(it->name, "limit")) {
            if (!limit_attribute(el, it, &spec->limit))
                return false;
        } else {
            el_error(el, DIAG_E0103, it->name ? it->name_span : it->value->span,
                     "a param has the attributes decay, frozen and limit");
            return false;
        }
    }
    return true;
}

static Value make_param(Elaborator *el, const Stmt *s)
{
    ParamSpec spec = {.op = "param",
                      .label = el->path,
                      .role = s->name,
                      .fan_in = 1,
                      .fan_out = 1,
                      .init = {.kind = INIT_CONSTANT},
                      .span = s->name_span};
    if (!s->type || s->type->kind != TYPE_TENSOR)
        return VALUE_BAD;
    for (uint32_t i = 0; i < s->type->axes.len; i++) {
        const Item *a = &s->type->axes.at[i];
        const char *axis = a->name ? a->name : a->value->name;
        int64_t size = el_size(el, a->value, axis);
        if (!size)
            return VALUE_BAD;
        if (!shape_add(&spec.shape, axis, size))
            return el_error(el, DIAG_E0212, a->value->span,
                            "axis '%s' stands twice, or is one "
                            "axis too many",
                            axis);
        spec.fan_in = i ? size * spec.fan_in : 1;
        spec.fan_out = i ? spec.fan_out : size;
    }
    if (!param_attributes(el, s, &spec) ||
        (s->value && !el_init(el, s->value, &spec.shape, &spec.init)))
        return VALUE_BAD;
    Val v = el_param(el, &spec);
    return v.id ? (Value){.kind = VALUE_TENSOR, .val = v} : VALUE_BAD;
}

/* ---- the rest ---- */

static void run_assign(Elaborator *el, const Stmt *s)
{
    Value v = el_eval(el, s->value);
    v.span = s->value->span;
    el_bind_pattern(el, s->target, v);
    if (v.kind == VALUE_TENSOR)
        el->frame->last = v;
}

static void run_expr(Elaborator *el, const Stmt *s)
{
    const Expr *e = s->value;
    if (e->kind == EXPR_CALL && !strcmp(e->name, "init")) {
        Scope *scope = ARENA_NEW(el->arena, Scope);
        *scope = copy_scope(el->arena, &el->frame->scope);
        vec_push(el->arena, &el->inits, (InitRule){e, scope});
        return;
    }
    el_eval(el, e);
}

static void run_return(Elaborator *el, const Stmt *s)
{
    el->frame->result = el_eval(el, s->value);
    el->frame->result.span = s->value->span;
    el->frame->is_done = true;
    if (el->frame->result.kind == VALUE_TENSOR)
        el->frame->last = el->frame->result;
}

static void run(Elaborator *el, const Stmt *s)
{
    if (++el->n_executed > UNROLL_LIMIT) {
        if (el->n_executed == UNROLL_LIMIT + 1)
            el_error(el, DIAG_E0004, s->span, "more than %d statements after unrolling",
                     UNROLL_LIMIT);
        el->frame->is_done = true;
        return;
    }
    switch (s->kind) {
    case STMT_ASSIGN:
        run_assign(el, s);
        break;
    case STMT_EXPR:
        run_expr(el, s);
        break;
    case STMT_RETURN:
        run_return(el, s);
        break;
    case STMT_FOR:
        run_for(el, s);
        break;
    case STMT_IF:
        run_if(el, s);
        break;
    case STMT_PART:
        run_part(el, s);
        break;
    case STMT_PARAM:
        el_bind(el, s->name, make_param(el, s));
        break;
    case STMT_ERROR:
    case STMT_REPLACE:
    case STMT_STAGE:
    case STMT_KIND_COUNT:
        break; /* out of place: reported by the parser */
    }
    el_tell_place(el);
}
