/* Expressions, items and types. */
#include "frontend/build.h"
#include "frontend/literal.h"
#include "frontend/suggest.h"

const char *parser_text(Parser *p, Span span)
{
    return name_intern_n(p->names, p->text + span.begin, span.end - span.begin);
}

static Expr *leaf(Parser *p, ExprKind kind, Span span)
{
    Expr *e = ARENA_NEW(p->arena, Expr);
    e->kind = kind;
    e->span = span;
    e->depth = 1;
    return e;
}

static void deepen(Expr *e, const Expr *child)
{
    if (child && child->depth >= e->depth)
        e->depth = child->depth + 1;
}

/* Sets the depth; a tree beyond the limit is reported once and cut off here. */
static Expr *closed(Parser *p, Expr *e)
{
    deepen(e, e->left);
    deepen(e, e->right);
    deepen(e, e->cond);
    for (uint32_t i = 0; i < e->items.len; i++)
        deepen(e, e->items.at[i].value);
    if (e->depth <= AST_DEPTH_LIMIT)
        return e;
    if (!p->is_too_deep) {
        diag_error(p->diags, DIAG_E0004, e->span, "this expression nests deeper than %d",
                   AST_DEPTH_LIMIT);
        diag_help(p->diags, "give a part of it a name of its own");
    }
    p->is_too_deep = true;
    return leaf(p, EXPR_ERROR, e->span);
}

Expr *build_name(Parser *p, Span at)
{
    Expr *e = leaf(p, EXPR_NAME, at);
    e->name = parser_text(p, at);
    return e;
}

Expr *build_number(Parser *p, Span digits, Span unit)
{
    Expr *e = leaf(p, EXPR_NUMBER, span_join(digits, unit));
    e->text = parser_text(p, digits);
    if (unit.file) {
        e->unit = parser_text(p, unit);
        e->op_span = unit;
    }
    if (!literal_number(e->text, &e->number, &e->num, &e->den))
        diag_error(p->diags, DIAG_E0004, digits, "this number is too large");
    return e;
}

/* The quotes are not part of the text. */
Expr *build_string(Parser *p, Span at)
{
    Expr *e = leaf(p, EXPR_STRING, at);
    e->text = parser_text(p, (Span){at.file, at.begin + 1, at.end - 1});
    return e;
}

Expr *build_bool(Parser *p, bool value, Span at)
{
    Expr *e = leaf(p, EXPR_BOOL, at);
    e->value = value;
    return e;
}

Expr *build_member(Parser *p, Expr *left, Span name, Span all)
{
    Expr *e = leaf(p, EXPR_MEMBER, all);
    e->left = left;
    e->name = parser_text(p, name);
    e->op_span = name;
    return closed(p, e);
}

Expr *build_index(Parser *p, Expr *left, Expr *index, Span all)
{
    Expr *e = leaf(p, EXPR_INDEX, all);
    e->left = left;
    e->right = index;
    return closed(p, e);
}

Expr *build_range(Parser *p, Expr *from, Expr *to, Span all)
{
    Expr *e = leaf(p, EXPR_RANGE, all);
    e->left = from;
    e->right = to;
    return closed(p, e);
}

static Expr *with_items(Parser *p, ExprKind kind, Items *items, Span all)
{
    Expr *e = leaf(p, kind, all);
    if (items)
        e->items = *items;
    return closed(p, e);
}

Expr *build_bracket(Parser *p, Items *items, Span all)
{
    return with_items(p, EXPR_BRACKET, items, all);
}

Expr *build_tuple(Parser *p, Expr *first, Items *rest, Span all)
{
    Items items = {0};
    vec_push(p->arena, &items, (Item){.value = first});
    for (uint32_t i = 0; i < rest->len; i++)
        vec_push(p->arena, &items, rest->at[i]);
    return with_items(p, EXPR_TUPLE, &items, all);
}

Expr *build_unary(Parser *p, Operator op, Expr *operand, Span at, Span all)
{
    Expr *e = leaf(p, EXPR_UNARY, all);
    e->op = op;
    e->op_span = at;
    e->left = operand;
    return closed(p, e);
}

Expr *build_binary(Parser *p, Operator op, Expr *left, Expr *right, Span at, Span all)
{
    Expr *e = leaf(p, EXPR_BINARY, all);
    e->op = op;
    e->op_span = at;
    e->left = left;
    e->right = right;
    return closed(p, e);
}

Expr *build_choice(Parser *p, Expr *then, Expr *cond, Expr *otherwise, Span all)
{
    Expr *e = leaf(p, EXPR_IF, all);
    e->left = then;
    e->cond = cond;
    e->right = otherwise;
    return closed(p, e);
}

/* Positional arguments come first; a later one would be read at a glance as the wrong parameter. */
static void check_order(Parser *p, const Items *args)
{
    const Item *named = NULL;
    for (uint32_t i = 0; i < args->len; i++) {
        const Item *a = &args->at[i];
        if (a->name)
            named = a;
        else if (named) {
            diag_error(p->diags, DIAG_E0002, a->value->span,
                       "an argument without a name cannot follow '%s:'", named->name);
            return;
        }
    }
}

Expr *build_call(Parser *p, Expr *callee, Items *args, Span all)
{
    if (callee->kind != EXPR_NAME) {
        if (callee->kind != EXPR_ERROR)
            diag_error(p->diags, DIAG_E0002, callee->span,
                       "only an operation or a block, given by its name, can be called");
        return leaf(p, EXPR_ERROR, all);
    }
    if (args)
        check_order(p, args);
    Expr *e = leaf(p, EXPR_CALL, all);
    e->name = callee->name;
    e->op_span = callee->span;
    e->has_parens = args != NULL;
    if (args)
        e->items = *args;
    return closed(p, e);
}

Expr *build_pipe(Parser *p, Expr *left, Expr *stage, Span at, Span all)
{
    if (stage->kind == EXPR_ERROR)
        return leaf(p, EXPR_ERROR, all);
    Expr *e = leaf(p, EXPR_PIPE, all);
    e->left = left;
    e->right = stage;
    e->op_span = at;
    return closed(p, e);
}

Item *build_item(Parser *p, Span name, Expr *value)
{
    Item *item = ARENA_NEW(p->arena, Item);
    item->value = value;
    item->name_span = name;
    if (!name.file)
        return item;
    item->name_is_text = p->text[name.begin] == '"';
    item->name = item->name_is_text ? build_string(p, name)->text : parser_text(p, name);
    return item;
}

Item *build_item_with_equals(Parser *p, Span name, Expr *value, Span equals)
{
    Item *item = build_item(p, name, value);
    diag_error(p->diags, DIAG_E0002, equals,
               "a name and its value are joined by ':' here, not '='");
    diag_help(p->diags, "write %s: ..", item->name);
    return item;
}

static bool same_name(const Item *a, const Item *b)
{
    return a->name == b->name && a->name_is_text == b->name_is_text;
}

Items *build_item_add(Parser *p, Items *items, Item *item)
{
    if (!items)
        items = ARENA_NEW(p->arena, Items);
    for (uint32_t i = 0; item->name && i < items->len && i < AST_DEPTH_LIMIT; i++)
        if (items->at[i].name && same_name(&items->at[i], item)) {
            diag_error(p->diags, DIAG_E0104, item->name_span, "'%s' is given twice", item->name);
            diag_note(p->diags, items->at[i].name_span, "first here");
            break;
        }
    vec_push(p->arena, items, *item);
    return items;
}

Items *build_value(Parser *p, Items *items, Expr *value)
{
    return build_item_add(p, items, build_item(p, SPAN_NONE, value));
}

/* Every item of a tensor type names an axis. */
static Type *tensor_type(Parser *p, const Expr *bracket)
{
    Type *t = ARENA_NEW(p->arena, Type);
    t->kind = TYPE_TENSOR;
    t->span = bracket->span;
    vec_push(p->arena, &p->ast->type_begins, bracket->span.begin);
    if (bracket->kind == EXPR_ERROR)
        t->kind = TYPE_ERROR;
    t->axes = bracket->items;
    for (uint32_t i = 0; i < t->axes.len; i++) {
        const Item *a = &t->axes.at[i];
        bool is_axis = a->name ? !a->name_is_text : a->value->kind == EXPR_NAME;
        if (is_axis || t->kind == TYPE_ERROR)
            continue;
        t->kind = TYPE_ERROR;
        if (a->value->kind == EXPR_ERROR)
            continue;
        diag_error(p->diags, DIAG_E0002, a->name ? a->name_span : a->value->span,
                   "a tensor type lists axes, by name: [b c:5 t]");
    }
    return t;
}

Type *build_tensor_type(Parser *p, Expr *bracket)
{
    return tensor_type(p, bracket);
}

Type *build_word_type(Parser *p, Span at)
{
    const char *word = parser_text(p, at);
    Type *t = ARENA_NEW(p->arena, Type);
    Suggest nearest = suggest_for(word);

    t->span = at;
    for (TypeKind k = TYPE_TENSOR; k <= TYPE_SESSION; k++) {
        if (!strcmp(word, type_kind_text(k))) {
            t->kind = k;
            return t;
        }
        suggest_offer(&nearest, type_kind_text(k));
    }
    diag_error(p->diags, DIAG_E0002, at, "there is no type '%s'", word);
    if (suggest_best(&nearest))
        diag_help(p->diags, "did you mean '%s'?", suggest_best(&nearest));
    else
        diag_help(
            p->diags,
            "a type is [b c:5 t], tensor (any axes), int, real, bool, list, string or session");
    return t;
}

Type *build_tuple_type(Parser *p, Type *tuple, Type *part)
{
    if (!tuple) {
        tuple = ARENA_NEW(p->arena, Type);
        tuple->kind = TYPE_TUPLE;
    }
    tuple->span = span_join(tuple->span, part->span);
    vec_push(p->arena, &tuple->parts, part);
    return tuple;
}

Type *build_per_type(Parser *p, Per *per, Expr *bracket)
{
    Type *t = tensor_type(p, bracket);
    t->per = *per;
    t->span = span_join(per->span, t->span);
    return t;
}

Per *build_per(Parser *p, Span name, Expr *over, Span all)
{
    Per *per = ARENA_NEW(p->arena, Per);
    *per = (Per){parser_text(p, name), name, over, all};
    return per;
}

Formal *build_formal(Parser *p, Span name, Type *type, Expr *choices, Expr *value, Span all)
{
    Formal *f = ARENA_NEW(p->arena, Formal);
    *f = (Formal){parser_text(p, name), name, all, type, choices, value};
    return f;
}

Formals *build_formals(Parser *p, Formals *formals, Formal *formal)
{
    if (!formals)
        formals = ARENA_NEW(p->arena, Formals);
    for (uint32_t i = 0; i < formals->len && i < AST_DEPTH_LIMIT; i++)
        if (formals->at[i].name == formal->name) {
            diag_error(p->diags, DIAG_E0104, formal->name_span, "the parameter '%s' is given twice",
                       formal->name);
            diag_note(p->diags, formals->at[i].name_span, "first here");
            break;
        }
    vec_push(p->arena, formals, *formal);
    return formals;
}
