#include "frontend/ast.h"

static const char *OPERATOR[OPERATOR_COUNT] = {
    [OPERATOR_ADD] = "+", [OPERATOR_SUB] = "-", [OPERATOR_MUL] = "*",   [OPERATOR_DIV] = "/",
    [OPERATOR_POW] = "^", [OPERATOR_EQ] = "==", [OPERATOR_NE] = "!=",   [OPERATOR_LT] = "<",
    [OPERATOR_LE] = "<=", [OPERATOR_GT] = ">",  [OPERATOR_GE] = ">=",   [OPERATOR_AND] = "and",
    [OPERATOR_OR] = "or", [OPERATOR_NEG] = "-", [OPERATOR_NOT] = "not",
};

static const char *TYPE[TYPE_KIND_COUNT] = {
    [TYPE_ERROR] = "error",   [TYPE_TENSOR] = "tensor",   [TYPE_INT] = "int",
    [TYPE_REAL] = "real",     [TYPE_BOOL] = "bool",       [TYPE_LIST] = "list",
    [TYPE_STRING] = "string", [TYPE_SESSION] = "session", [TYPE_TUPLE] = "tuple",
};

const char *operator_text(Operator op)
{
    return op < OPERATOR_COUNT ? OPERATOR[op] : "?";
}

const char *type_kind_text(TypeKind kind)
{
    return kind < TYPE_KIND_COUNT ? TYPE[kind] : "?";
}

const Item *items_find(const Items *items, const char *name)
{
    for (uint32_t i = 0; i < items->len; i++)
        if (items->at[i].name && !strcmp(items->at[i].name, name))
            return &items->at[i];
    return NULL;
}

Decl *ast_find(const AstFile *file, const char *name)
{
    for (uint32_t i = 0; i < file->decls.len; i++)
        if (file->decls.at[i]->name && !strcmp(file->decls.at[i]->name, name))
            return file->decls.at[i];
    return NULL;
}
