#include "ir/op.h"
#include "ir/func.h"

typedef struct Row {
    const char *text;
    int arity;
    AttrKind attrs;
    Lowering lowering;
    int n_consts;
    const char *formula;
    const char *derivative[MAX_OPERANDS]; /* "" or NULL: none */
} Row;

static const Row ROWS[OP_COUNT] = {
#define POINTWISE(id, text, arity, n_consts, formula, ...)                                         \
    [OP_##id] = {text,                                                                             \
                 arity,                                                                            \
                 (n_consts) > 0 ? ATTR_CONSTS : ATTR_NONE,                                         \
                 LOWER_POINTWISE,                                                                  \
                 n_consts,                                                                         \
                 formula,                                                                          \
                 {__VA_ARGS__}},
#define OP(id, text, arity, attrs, rules, lowering)                                                \
    [OP_##id] = {text, arity, attrs, lowering, 0, NULL, {0}},
#include "ir/ops.def"
#undef POINTWISE
#undef OP
};

const char *op_text(Op op)
{
    return op > OP_NONE && op < OP_COUNT ? ROWS[op].text : "none";
}

int op_arity(Op op)
{
    return ROWS[op].arity;
}

AttrKind op_attrs(Op op)
{
    return ROWS[op].attrs;
}

Lowering op_lowering(Op op)
{
    return ROWS[op].lowering;
}

int op_n_rows(Op op)
{
    bool is_forward = op == OP_ATTEND || op == OP_ATTEND_SUM;
    return op_lowering(op) != LOWER_ATTEND ? 0 : is_forward ? 3 : 4;
}

bool op_is_pointwise(Op op)
{
    return ROWS[op].formula || ROWS[op].attrs == ATTR_FORMULA;
}

int op_n_consts(Op op)
{
    return ROWS[op].n_consts;
}

const char *op_formula(Op op)
{
    return ROWS[op].formula;
}

const char *op_derivative(Op op, int i)
{
    const char *s = i >= 0 && i < MAX_OPERANDS ? ROWS[op].derivative[i] : NULL;
    return s && *s ? s : NULL;
}

Op op_find(const char *text, size_t len)
{
    for (int i = OP_NONE + 1; i < OP_COUNT; i++)
        if (strlen(ROWS[i].text) == len && !memcmp(ROWS[i].text, text, len))
            return (Op)i;
    return OP_NONE;
}
