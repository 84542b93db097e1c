/* Statements and declarations. */
#include "frontend/build.h"
#include "frontend/check.h"

static Stmt *stmt_new(Parser *p, StmtKind kind, Span span)
{
    Stmt *s = ARENA_NEW(p->arena, Stmt);
    s->kind = kind;
    s->span = span;
    return s;
}

static Stmt *stmt_named(Parser *p, StmtKind kind, Span name, Body *body, Span all)
{
    Stmt *s = stmt_new(p, kind, all);
    s->name = parser_text(p, name);
    s->name_span = name;
    if (body)
        s->body = *body;
    return s;
}

Body *build_body(Parser *p, Body *lines, Stmt *stmt, Span all)
{
    if (stmt)
        vec_push(p->arena, &lines->stmts, stmt);
    lines->span = all;
    return lines;
}

Stmt *build_statement(Parser *p, Expr *value)
{
    Stmt *s = stmt_new(p, STMT_EXPR, value->span);
    s->value = value;
    return s;
}

Stmt *build_assign(Parser *p, Expr *target, Expr *value, Span all)
{
    Stmt *s = stmt_new(p, STMT_ASSIGN, all);
    s->target = target;
    s->value = value;
    return s;
}

Stmt *build_return(Parser *p, Expr *value, Span all)
{
    Stmt *s = stmt_new(p, STMT_RETURN, all);
    s->value = value;
    return s;
}

Stmt *build_for(Parser *p, Expr *target, Expr *list, Body *body, Span all)
{
    Stmt *s = stmt_new(p, STMT_FOR, all);
    s->target = target;
    s->value = list;
    s->body = *body;
    return s;
}

Branches *build_branch(Parser *p, Branches *branches, Expr *cond, Body *body)
{
    if (!branches)
        branches = ARENA_NEW(p->arena, Branches);
    vec_push(p->arena, branches, (Branch){cond, *body});
    return branches;
}

Stmt *build_if(Parser *p, Branches *branches, Span all)
{
    Stmt *s = stmt_new(p, STMT_IF, all);
    s->branches = *branches;
    return s;
}

Stmt *build_part(Parser *p, Span name, Per *per, Body *body, Span all)
{
    Stmt *s = stmt_named(p, STMT_PART, name, body, all);
    if (per)
        s->per = *per;
    return s;
}

Stmt *build_param(Parser *p, Span name, Type *type, Items *attributes, Expr *init, Span all)
{
    Stmt *s = stmt_named(p, STMT_PARAM, name, NULL, all);
    s->type = type;
    s->value = init;
    if (attributes)
        s->items = *attributes;
    if (type->kind != TYPE_TENSOR && type->kind != TYPE_ERROR)
        diag_error(p->diags, DIAG_E0002, type->span,
                   "a param is a tensor: its axes and sizes were expected, as in [c:64 k:5]");
    return s;
}

Stmt *build_replace(Parser *p, Span name, Body *body, Span all)
{
    return stmt_named(p, STMT_REPLACE, name, body, all);
}

Stmt *build_stage(Parser *p, Span name, Items *args, Body *body, Span all)
{
    Stmt *s = stmt_named(p, STMT_STAGE, name, body, all);
    if (args)
        s->items = *args;
    return s;
}

Stmt *build_bad_statement(Parser *p, Span all)
{
    return stmt_new(p, STMT_ERROR, all);
}

static Decl *decl_new(Parser *p, DeclKind kind, Span name, Span all)
{
    Decl *d = ARENA_NEW(p->arena, Decl);
    d->kind = kind;
    d->span = all;
    d->name_span = name;
    d->name = name.file ? parser_text(p, name) : NULL;
    return d;
}

void build_add_decl(Parser *p, Decl *decl)
{
    vec_push(p->arena, &p->ast->decls, decl);
}

Imports *build_import(Parser *p, Imports *imports, Span name)
{
    if (!imports)
        imports = ARENA_NEW(p->arena, Imports);
    vec_push(p->arena, imports, (Import){parser_text(p, name), name});
    return imports;
}

Decl *build_use(Parser *p, Span path, bool is_std, Imports *imports, Span all)
{
    Decl *d = decl_new(p, DECL_USE, SPAN_NONE, all);
    d->is_std = is_std;
    d->path = is_std ? parser_text(p, path) : build_string(p, path)->text;
    d->path_span = path;
    d->imports = *imports;
    return d;
}

Decl *build_block(Parser *p, DeclKind kind, Span name, Formals *formals, Type *type, Body *body,
                  Span all)
{
    Decl *d = decl_new(p, kind, name, all);
    d->formals = *formals;
    d->type = type;
    d->body = *body;
    check_body(p->diags, &d->body, CHECK_BLOCK);
    return d;
}

Decl *build_variant(Parser *p, Span name, Span base, Items *args, Body *body, Span all)
{
    Decl *d = decl_new(p, DECL_VARIANT, name, all);
    d->base = parser_text(p, base);
    d->base_span = base;
    if (args)
        d->items = *args;
    if (body)
        d->body = *body;
    check_variant(p->diags, d);
    return d;
}

Decl *build_recipe_base(Parser *p, Span base, Span model)
{
    Decl *d = decl_new(p, DECL_RECIPE, SPAN_NONE, SPAN_NONE);
    d->base = base.file ? parser_text(p, base) : NULL;
    d->base_span = base;
    d->model = parser_text(p, model);
    d->model_span = model;
    return d;
}

Decl *build_recipe(Parser *p, Decl *recipe, Span name, Body *body, Span all)
{
    recipe->name = parser_text(p, name);
    recipe->name_span = name;
    recipe->span = all;
    recipe->body = *body;
    check_body(p->diags, &recipe->body, CHECK_RECIPE);
    return recipe;
}

void build_name_line(Parser *p, Span from, Span to)
{
    vec_push(p->arena, p->lines, (NameLine){build_string(p, from), build_string(p, to)});
}

Decl *build_names(Parser *p, Span name, NameLines *lines, Span all)
{
    Decl *d = decl_new(p, DECL_NAMES, name, all);
    d->lines = *lines;
    return d;
}

Decl *build_constant(Parser *p, Span name, Expr *value, Span all)
{
    Decl *d = decl_new(p, DECL_CONST, name, all);
    d->value = value;
    return d;
}

Decl *build_bad_decl(Parser *p, Span all)
{
    return decl_new(p, DECL_ERROR, SPAN_NONE, all);
}
