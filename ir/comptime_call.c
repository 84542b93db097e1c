/* Functions on compile-time values: zip, len, sum, floor .. One row each. */
#include "ir/comptime.h"

#include <math.h>

typedef struct CallCx {
    Arena *arena;
    const char *name;
    const Value *arg;
    int n;
    ComptimeError *error;
} CallCx;

static Value fail(const CallCx *cx, DiagCode code, int at, const char *text)
{
    *cx->error = (ComptimeError){code, text, at};
    return VALUE_BAD;
}

static Value wrong_kind(const CallCx *cx, int at, const char *wanted)
{
    return fail(cx, DIAG_E0201, at,
                arena_printf(cx->arena, "'%s' needs %s here, not %s", cx->name, wanted,
                             value_kind_text(&cx->arg[at])));
}

static bool is_number(const Value *v)
{
    return v->kind == VALUE_NUMBER && !v->unit;
}

static Value call_len(const CallCx *cx)
{
    if (cx->arg[0].kind != VALUE_LIST)
        return wrong_kind(cx, 0, "a list");
    return value_int(cx->arg[0].n);
}

/* zip(a, b, ..): the list of tuples (a[i], b[i], ..). */
static Value call_zip(const CallCx *cx)
{
    for (int i = 0; i < cx->n; i++)
        if (cx->arg[i].kind != VALUE_LIST)
            return wrong_kind(cx, i, "a list");
    for (int i = 1; i < cx->n; i++)
        if (cx->arg[i].n != cx->arg[0].n)
            return fail(cx, DIAG_E0230, -1, "zip needs lists of equal length");
    uint32_t n = cx->arg[0].n;
    Value *row = ARENA_ARRAY(cx->arena, Value, n);
    for (uint32_t i = 0; i < n; i++) {
        Value *item = ARENA_ARRAY(cx->arena, Value, (size_t)cx->n);
        for (int j = 0; j < cx->n; j++)
            item[j] = cx->arg[j].item[i];
        row[i] = (Value){.kind = VALUE_TUPLE, .item = item, .n = (uint32_t)cx->n};
    }
    return value_list(row, n);
}

static Value call_sum(const CallCx *cx)
{
    Value total = value_int(0);
    if (cx->arg[0].kind != VALUE_LIST)
        return wrong_kind(cx, 0, "a list");
    for (uint32_t i = 0; i < cx->arg[0].n && total.kind != VALUE_ERROR; i++)
        total = value_binary(cx->arena, OPERATOR_ADD, &total, &cx->arg[0].item[i], cx->error);
    return total;
}

static Value round_with(const CallCx *cx, double (*rule)(double), int64_t up)
{
    const Value *v = &cx->arg[0];
    if (!is_number(v))
        return wrong_kind(cx, 0, "a number");
    if (v->den) {
        int64_t down = v->num / v->den - (v->num % v->den < 0);
        return value_int(down + (v->num % v->den ? up : 0));
    }
    double x = rule(v->real);
    if (!(fabs(x) < 9e15))
        return fail(cx, DIAG_E0004, 0, "the number is too large to be rounded");
    return value_int((int64_t)x);
}

static Value call_floor(const CallCx *cx)
{
    return round_with(cx, floor, 0);
}

static Value call_ceil(const CallCx *cx)
{
    return round_with(cx, ceil, 1);
}

/* The smallest (or largest) of the arguments, or of the items of one list. */
static Value extreme(const CallCx *cx, Operator better)
{
    const Value *item = cx->arg;
    uint32_t n = (uint32_t)cx->n;
    if (n == 1 && item->kind == VALUE_LIST) {
        n = item->n;
        item = item->item;
    }
    if (!n)
        return fail(cx, DIAG_E0231, 0, "an empty list has no smallest or largest item");
    Value best = item[0];
    for (uint32_t i = 0; i < n; i++) {
        if (item[i].kind == VALUE_TENSOR)
            return fail(
                cx, DIAG_E0201, item == cx->arg ? (int)i : 0,
                "'min' and 'max' are of numbers; for a tensor's entries take relu or clamp");
        Value is_better = value_binary(cx->arena, better, &item[i], &best, cx->error);
        if (is_better.kind == VALUE_ERROR)
            return is_better;
        if (is_better.truth)
            best = item[i];
    }
    return best;
}

static Value call_min(const CallCx *cx)
{
    return extreme(cx, OPERATOR_LT);
}

static Value call_max(const CallCx *cx)
{
    return extreme(cx, OPERATOR_GT);
}

static Value real_function(const CallCx *cx, double (*rule)(double))
{
    if (!is_number(&cx->arg[0]))
        return wrong_kind(cx, 0, "a number");
    double y = rule(cx->arg[0].real);
    if (!isfinite(y))
        return fail(cx, DIAG_E0250, 0, arena_printf(cx->arena, "'%s' has no value here", cx->name));
    return value_real(y);
}

static Value call_sqrt(const CallCx *cx)
{
    return real_function(cx, sqrt);
}

static Value call_exp(const CallCx *cx)
{
    return real_function(cx, exp);
}

static Value call_log(const CallCx *cx)
{
    return real_function(cx, log);
}

static Value call_abs(const CallCx *cx)
{
    if (!is_number(&cx->arg[0]))
        return wrong_kind(cx, 0, "a number");
    return cx->arg[0].real < 0 ? value_unary(cx->arena, OPERATOR_NEG, &cx->arg[0], cx->error)
                               : cx->arg[0];
}

static const struct {
    const char *name;
    int min, max; /* arguments */
    Value (*call)(const CallCx *cx);
    const char *form, *doc;
} functions[] = {
    {"len", 1, 1, call_len, "len(list)", "number of items"},
    {"zip", 1, 16, call_zip, "zip(a, b, ..)", "list of tuples of the items; equal lengths"},
    {"sum", 1, 1, call_sum, "sum(list)", "sum of the items"},
    {"floor", 1, 1, call_floor, "floor(x)", "largest whole number up to x"},
    {"ceil", 1, 1, call_ceil, "ceil(x)", "smallest whole number from x on"},
    {"min", 1, 16, call_min, "min(a, b, ..)", "smallest argument, or item of one list"},
    {"max", 1, 16, call_max, "max(a, b, ..)", "largest argument, or item of one list"},
    {"sqrt", 1, 1, call_sqrt, "sqrt(x)", "square root"},
    {"exp", 1, 1, call_exp, "exp(x)", "exponential"},
    {"log", 1, 1, call_log, "log(x)", "natural logarithm"},
    {"abs", 1, 1, call_abs, "abs(x)", "magnitude"},
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };

static int find(const char *name)
{
    for (int i = 0; i < N_FUNCTIONS; i++)
        if (!strcmp(functions[i].name, name))
            return i;
    return -1;
}

bool comptime_has_function(const char *name)
{
    return find(name) >= 0;
}

bool comptime_function(int i, const char **name, const char **form, const char **doc)
{
    if (i >= N_FUNCTIONS)
        return false;
    *name = functions[i].name;
    *form = functions[i].form;
    *doc = functions[i].doc;
    return true;
}

Value comptime_call(Arena *arena, const char *name, const Value *arg, int n_arg,
                    ComptimeError *error)
{
    int i = find(name);
    CallCx cx = {arena, name, arg, n_arg, error};
    if (n_arg < functions[i].min || n_arg > functions[i].max)
        return fail(&cx, DIAG_E0202, -1,
                    arena_printf(arena, "'%s' is called as %s", name, functions[i].form));
    return functions[i].call(&cx);
}
