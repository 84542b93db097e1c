/* The tree as text: (head operand ..), one declaration or statement a line, two blanks a level. */
#include "frontend/ast.h"

static void print_items(Text *out, const Items *items)
{
    for (uint32_t i = 0; i < items->len; i++) {
        const Item *a = &items->at[i];
        text_char(out, ' ');
        if (a->name)
            text_printf(out, a->name_is_text ? "\"%s\": " : "%s: ", a->name);
        ast_print_expr(out, a->value);
    }
}

static void print_optional(Text *out, const Expr *e)
{
    text_char(out, ' ');
    if (e)
        ast_print_expr(out, e);
    else
        text_char(out, '_');
}

static void print_head(Text *out, const Expr *e)
{
    static const char *HEAD[EXPR_KIND_COUNT] = {
        [EXPR_INDEX] = "index", [EXPR_RANGE] = "range", [EXPR_BRACKET] = "bracket",
        [EXPR_TUPLE] = "tuple", [EXPR_PIPE] = "pipe",   [EXPR_IF] = "if",
    };
    switch (e->kind) {
    case EXPR_MEMBER:
        text_printf(out, "member %s", e->name);
        break;
    case EXPR_UNARY:
    case EXPR_BINARY:
        text_add(out, operator_text(e->op));
        break;
    case EXPR_CALL:
        text_printf(out, "call %s", e->name);
        break;
    default:
        text_add(out, HEAD[e->kind]);
    }
}

static bool print_leaf(Text *out, const Expr *e)
{
    switch (e->kind) {
    case EXPR_ERROR:
        text_add(out, "<error>");
        return true;
    case EXPR_NUMBER:
        text_add(out, e->text);
        if (e->unit)
            text_printf(out, "<%s>", e->unit);
        return true;
    case EXPR_STRING:
        text_printf(out, "\"%s\"", e->text);
        return true;
    case EXPR_BOOL:
        text_add(out, e->value ? "yes" : "no");
        return true;
    case EXPR_NAME:
        text_add(out, e->name);
        return true;
    default:
        return false;
    }
}

void ast_print_expr(Text *out, const Expr *e)
{
    if (print_leaf(out, e))
        return;
    text_char(out, '(');
    print_head(out, e);
    if (e->left || e->kind == EXPR_RANGE)
        print_optional(out, e->left);
    if (e->cond)
        print_optional(out, e->cond);
    if (e->right || e->kind == EXPR_RANGE)
        print_optional(out, e->right);
    print_items(out, &e->items);
    text_char(out, ')');
}

static void print_per(Text *out, const Per *per)
{
    if (!per->name)
        return;
    text_printf(out, " (per %s", per->name);
    print_optional(out, per->over);
    text_char(out, ')');
}

static void print_type(Text *out, const Type *t)
{
    text_printf(out, " (%s", type_kind_text(t->kind));
    print_items(out, &t->axes);
    for (uint32_t i = 0; i < t->parts.len; i++)
        print_type(out, t->parts.at[i]);
    print_per(out, &t->per);
    text_char(out, ')');
}

static void print_body(Text *out, const Body *body, int level);

static void print_if(Text *out, const Stmt *s, int level)
{
    for (uint32_t i = 0; i < s->branches.len; i++) {
        const Branch *b = &s->branches.at[i];
        text_printf(out, "\n%*s(branch", 2 * level, "");
        print_optional(out, b->cond);
        print_body(out, &b->body, level + 1);
        text_char(out, ')');
    }
}

static void print_stmt(Text *out, const Stmt *s, int level)
{
    static const char *WORD[STMT_KIND_COUNT] = {
        [STMT_ERROR] = "error",   [STMT_ASSIGN] = "assign", [STMT_EXPR] = "do",
        [STMT_RETURN] = "return", [STMT_FOR] = "for",       [STMT_IF] = "if",
        [STMT_PART] = "part",     [STMT_PARAM] = "param",   [STMT_REPLACE] = "replace",
        [STMT_STAGE] = "stage",
    };
    text_printf(out, "\n%*s(%s", 2 * level, "", WORD[s->kind]);
    if (s->name)
        text_printf(out, " %s", s->name);
    if (s->type)
        print_type(out, s->type);
    if (s->target)
        print_optional(out, s->target);
    print_items(out, &s->items);
    if (s->value)
        print_optional(out, s->value);
    print_per(out, &s->per);
    print_if(out, s, level + 1);
    print_body(out, &s->body, level + 1);
    text_char(out, ')');
}

static void print_body(Text *out, const Body *body, int level)
{
    for (uint32_t i = 0; i < body->stmts.len; i++)
        print_stmt(out, body->stmts.at[i], level);
}

static void print_formals(Text *out, const Formals *formals)
{
    for (uint32_t i = 0; i < formals->len; i++) {
        const Formal *f = &formals->at[i];
        text_printf(out, "\n  (formal %s", f->name);
        print_type(out, f->type);
        if (f->choices) {
            text_add(out, " in");
            print_optional(out, f->choices);
        }
        if (f->value)
            print_optional(out, f->value);
        text_char(out, ')');
    }
}

static void print_decl(Text *out, const Decl *d)
{
    static const char *WORD[DECL_KIND_COUNT] = {
        [DECL_ERROR] = "error", [DECL_USE] = "use",         [DECL_BLOCK] = "block",
        [DECL_MODEL] = "model", [DECL_VARIANT] = "variant", [DECL_RECIPE] = "recipe",
        [DECL_CONST] = "const", [DECL_NAMES] = "names",
    };
    text_printf(out, "(%s", WORD[d->kind]);
    if (d->path)
        text_printf(out, d->is_std ? " %s" : " \"%s\"", d->path);
    for (uint32_t i = 0; i < d->imports.len; i++)
        text_printf(out, " %s", d->imports.at[i].name);
    if (d->name)
        text_printf(out, " %s", d->name);
    if (d->base)
        text_printf(out, " (base %s)", d->base);
    if (d->model)
        text_printf(out, " (for %s)", d->model);
    print_items(out, &d->items);
    if (d->value)
        print_optional(out, d->value);
    print_formals(out, &d->formals);
    if (d->type) {
        text_add(out, "\n  (result");
        print_type(out, d->type);
        text_char(out, ')');
    }
    for (uint32_t i = 0; i < d->lines.len; i++)
        text_printf(out, "\n  (line \"%s\" \"%s\")", d->lines.at[i].from->text,
                    d->lines.at[i].to->text);
    print_body(out, &d->body, 1);
    text_add(out, ")\n");
}

void ast_print(Text *out, const AstFile *file)
{
    text_printf(out, "; nm %d\n", file->version);
    for (uint32_t i = 0; i < file->decls.len; i++)
        print_decl(out, file->decls.at[i]);
}
