#include "frontend/check.h"

static const struct {
    unsigned allowed; /* bits of StmtKind */
    const char *sentence;
} PLACE[] = {
    [CHECK_BLOCK] = {1u << STMT_ASSIGN | 1u << STMT_EXPR | 1u << STMT_RETURN | 1u << STMT_FOR |
                         1u << STMT_IF | 1u << STMT_PART | 1u << STMT_PARAM,
                     "a block or model holds assignments, calls, return, for, if, part and param"},
    [CHECK_RECIPE] = {1u << STMT_ASSIGN | 1u << STMT_STAGE,
                      "a recipe holds settings (key = value) and stages"},
    [CHECK_STAGE] = {1u << STMT_ASSIGN, "a stage holds settings (key = value)"},
    [CHECK_VARIANT] = {1u << STMT_REPLACE, "the body of a variant holds 'replace part { .. }'"},
};

static const char *STMT_WORD[] = {
    [STMT_ERROR] = "",
    [STMT_ASSIGN] = "an assignment",
    [STMT_EXPR] = "a call",
    [STMT_RETURN] = "'return'",
    [STMT_FOR] = "'for'",
    [STMT_IF] = "'if'",
    [STMT_PART] = "'part'",
    [STMT_PARAM] = "'param'",
    [STMT_REPLACE] = "'replace'",
    [STMT_STAGE] = "'stage'",
};

static bool is_target(const Expr *e)
{
    if (e->kind != EXPR_TUPLE)
        return e->kind == EXPR_NAME;
    for (uint32_t i = 0; i < e->items.len; i++)
        if (e->items.at[i].value->kind != EXPR_NAME)
            return false;
    return true;
}

static bool check_assign(Diags *diags, const Stmt *s, CheckPlace place)
{
    if (s->target->kind == EXPR_ERROR)
        return false;
    if (!is_target(s->target))
        diag_error(diags, DIAG_E0002, s->target->span,
                   "only a name, or names in parentheses, can stand left of '='");
    else if (place != CHECK_BLOCK && s->target->kind != EXPR_NAME)
        diag_error(diags, DIAG_E0002, s->target->span, "a setting has one name");
    else
        return true;
    return false;
}

/* Only a call does something by itself: init(..). */
static bool check_used(Diags *diags, const Stmt *s)
{
    if (s->value->kind == EXPR_CALL || s->value->kind == EXPR_ERROR)
        return s->value->kind == EXPR_CALL;
    diag_error(diags, DIAG_E0002, s->span, "the value of this expression is not used");
    diag_help(diags, "give it a name (y = ..) or return it");
    return false;
}

static bool check_place(Diags *diags, const Stmt *s, CheckPlace place)
{
    if (PLACE[place].allowed & 1u << s->kind)
        return true;
    diag_error(diags, DIAG_E0002, s->span, "%s cannot stand here", STMT_WORD[s->kind]);
    diag_help(diags, "%s", PLACE[place].sentence);
    return false;
}

static void check_stmt(Diags *diags, Stmt *s, CheckPlace place)
{
    if (s->kind == STMT_ERROR)
        return;
    if ((s->kind == STMT_EXPR && !check_used(diags, s)) || !check_place(diags, s, place) ||
        (s->kind == STMT_ASSIGN && !check_assign(diags, s, place))) {
        s->kind = STMT_ERROR;
        return;
    }
    check_body(diags, &s->body, s->kind == STMT_STAGE ? CHECK_STAGE : CHECK_BLOCK);
    for (uint32_t i = 0; i < s->branches.len; i++)
        check_body(diags, &s->branches.at[i].body, place);
}

void check_body(Diags *diags, Body *body, CheckPlace place)
{
    for (uint32_t i = 0; i < body->stmts.len; i++)
        check_stmt(diags, body->stmts.at[i], place);
}

void check_variant(Diags *diags, Decl *variant)
{
    for (uint32_t i = 0; i < variant->items.len; i++) {
        const Item *a = &variant->items.at[i];
        if (!a->name) {
            diag_error(diags, DIAG_E0002, a->value->span,
                       "the arguments of a variant are given by name, as in (expand: 4)");
            break;
        }
    }
    check_body(diags, &variant->body, CHECK_VARIANT);
}
