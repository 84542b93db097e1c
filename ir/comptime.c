/* Exact arithmetic and lists at compile time. */
#include "ir/comptime.h"

#include <math.h>

/* ---- making values ---- */

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

Value value_exact(int64_t num, int64_t den)
{
    int64_t g = gcd(num < 0 ? -num : num, den);
    if (g > 1) {
        num /= g;
        den /= g;
    }
    return (Value){.kind = VALUE_NUMBER, .num = num, .den = den, .real = (double)num / (double)den};
}

Value value_int(int64_t n)
{
    return (Value){.kind = VALUE_NUMBER, .num = n, .den = 1, .real = (double)n};
}

Value value_real(double x)
{
    return (Value){.kind = VALUE_NUMBER, .real = x};
}

Value value_bool(bool truth)
{
    return (Value){.kind = VALUE_BOOL, .truth = truth};
}

Value value_string(const char *text)
{
    return (Value){.kind = VALUE_STRING, .text = text};
}

Value value_list(const Value *item, uint32_t n)
{
    return (Value){.kind = VALUE_LIST, .item = item, .n = n};
}

const char *value_kind_text(const Value *v)
{
    switch (v->kind) {
    case VALUE_TENSOR:
        return "a tensor";
    case VALUE_NUMBER:
        return v->unit ? "a number with a unit" : v->den == 1 ? "a whole number" : "a number";
    case VALUE_BOOL:
        return "yes or no";
    case VALUE_STRING:
        return "a string";
    case VALUE_LIST:
        return "a list";
    case VALUE_TUPLE:
        return "a tuple";
    case VALUE_ENTRY:
        return "a named entry";
    case VALUE_SESSION:
        return "a session";
    case VALUE_ERROR:
        break;
    }
    return "an error";
}

static void print_string(Text *out, const char *s)
{
    text_char(out, '"');
    for (; *s; s++) {
        if (strchr("\"\\{}", *s))
            text_char(out, '\\');
        text_char(out, *s);
    }
    text_char(out, '"');
}

/* Does num/den have a finite decimal expansion? */
static bool is_decimal(int64_t den)
{
    while (den % 2 == 0)
        den /= 2;
    while (den % 5 == 0)
        den /= 5;
    return den == 1;
}

static void print_number(Text *out, const Value *v)
{
    if (v->den == 1)
        text_printf(out, "%lld", (long long)v->num);
    else if (v->den && !is_decimal(v->den))
        text_printf(out, "%lld / %lld", (long long)v->num, (long long)v->den);
    else
        text_double(out, v->real);
    if (v->unit)
        text_printf(out, " %s", v->unit);
}

void value_print(Text *out, const Value *v)
{
    bool is_tuple = v->kind == VALUE_TUPLE;
    switch (v->kind) {
    case VALUE_NUMBER:
        print_number(out, v);
        break;
    case VALUE_BOOL:
        text_add(out, v->truth ? "yes" : "no");
        break;
    case VALUE_STRING:
        print_string(out, v->text);
        break;
    case VALUE_ENTRY:
        print_string(out, v->text);
        text_add(out, ": ");
        value_print(out, v->item);
        break;
    case VALUE_LIST:
    case VALUE_TUPLE:
        text_char(out, is_tuple ? '(' : '[');
        for (uint32_t i = 0; i < v->n; i++) {
            text_add(out, i ? ", " : "");
            value_print(out, &v->item[i]);
        }
        text_char(out, is_tuple ? ')' : ']');
        break;
    default:
        text_char(out, '?');
    }
}

/* ---- errors ---- */

static Value fail(ComptimeError *e, DiagCode code, int at, const char *text)
{
    *e = (ComptimeError){code, text, at};
    return VALUE_BAD;
}

static Value mismatch(Arena *arena, ComptimeError *e, Operator op, const Value *a, const Value *b)
{
    return fail(e, DIAG_E0201, -1,
                arena_printf(arena, "'%s' cannot join %s and %s", operator_text(op),
                             value_kind_text(a), value_kind_text(b)));
}

/* ---- numbers ---- */

static bool exact_add(const Value *a, const Value *b, int64_t sign, Value *out)
{
    int64_t x, y, num, den, bn;
    if (__builtin_mul_overflow(b->num, sign, &bn) || __builtin_mul_overflow(a->num, b->den, &x) ||
        __builtin_mul_overflow(bn, a->den, &y) || __builtin_add_overflow(x, y, &num) ||
        __builtin_mul_overflow(a->den, b->den, &den) || num == INT64_MIN)
        return false;
    *out = value_exact(num, den);
    return true;
}

static bool exact_mul(const Value *a, const Value *b, Value *out)
{
    int64_t num, den;
    if (__builtin_mul_overflow(a->num, b->num, &num) ||
        __builtin_mul_overflow(a->den, b->den, &den) || num == INT64_MIN)
        return false;
    *out = value_exact(num, den);
    return true;
}

static bool exact_div(const Value *a, const Value *b, Value *out)
{
    Value inverse = *b;
    inverse.num = b->num < 0 ? -b->den : b->den;
    inverse.den = b->num < 0 ? -b->num : b->num;
    return exact_mul(a, &inverse, out);
}

static bool exact_pow(const Value *a, int64_t n, Value *out)
{
    Value base = *a, result = value_int(1);
    if (n < 0 && (!a->num || !exact_div(&result, a, &base)))
        return false;
    for (uint64_t k = n < 0 ? 0 - (uint64_t)n : (uint64_t)n; k; k >>= 1) {
        if ((k & 1) && !exact_mul(&result, &base, &result))
            return false;
        if (k > 1 && !exact_mul(&base, &base, &base))
            return false;
    }
    *out = result;
    return true;
}

static double real_arithmetic(Operator op, double a, double b)
{
    switch (op) {
    case OPERATOR_ADD:
        return a + b;
    case OPERATOR_SUB:
        return a - b;
    case OPERATOR_MUL:
        return a * b;
    case OPERATOR_DIV:
        return a / b;
    default:
        return pow(a, b);
    }
}

static bool exact_arithmetic(Operator op, const Value *a, const Value *b, Value *out)
{
    if (!a->den || !b->den)
        return false;
    switch (op) {
    case OPERATOR_ADD:
        return exact_add(a, b, 1, out);
    case OPERATOR_SUB:
        return exact_add(a, b, -1, out);
    case OPERATOR_MUL:
        return exact_mul(a, b, out);
    case OPERATOR_DIV:
        return exact_div(a, b, out);
    default:
        return b->den == 1 && exact_pow(a, b->num, out);
    }
}

static Value arithmetic(Arena *arena, Operator op, const Value *a, const Value *b, ComptimeError *e)
{
    Value out;
    if (a->unit || b->unit)
        return fail(e, DIAG_E0304, -1,
                    arena_printf(arena, "'%s' cannot compute with the unit '%s'", operator_text(op),
                                 a->unit ? a->unit : b->unit));
    if (op == OPERATOR_DIV && b->real == 0)
        return fail(e, DIAG_E0250, 1, "division by zero");
    if (exact_arithmetic(op, a, b, &out))
        return out;
    bool whole =
        a->den == 1 && b->den == 1 && op != OPERATOR_DIV && !(op == OPERATOR_POW && b->num < 0);
    double real = real_arithmetic(op, a->real, b->real);
    if (whole || !isfinite(real))
        return fail(e, DIAG_E0004, -1,
                    arena_printf(arena, "the result of '%s' is too large", operator_text(op)));
    return value_real(real);
}

static int compare(const Value *a, const Value *b)
{
    if (a->den == 1 && b->den == 1)
        return (a->num > b->num) - (a->num < b->num);
    if (a->den && a->den == b->den && a->num == b->num)
        return 0;
    return (a->real > b->real) - (a->real < b->real);
}

bool value_equal(const Value *a, const Value *b)
{
    if (a->kind != b->kind || a->n != b->n)
        return false;
    if (a->kind == VALUE_NUMBER)
        return !compare(a, b) && a->unit == b->unit;
    if (a->kind == VALUE_BOOL)
        return a->truth == b->truth;
    if (a->text && strcmp(a->text, b->text))
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!value_equal(&a->item[i], &b->item[i]))
            return false;
    return a->session == b->session;
}

static bool ordered(Operator op, int c)
{
    return op == OPERATOR_LT   ? c < 0
           : op == OPERATOR_LE ? c <= 0
           : op == OPERATOR_GT ? c > 0
                               : c >= 0;
}

static Value join_lists(Arena *arena, const Value *a, const Value *b, ComptimeError *e)
{
    if ((uint64_t)a->n + b->n > COMPTIME_LIST_LIMIT)
        return fail(e, DIAG_E0004, -1,
                    arena_printf(arena, "a list of more than %d items", COMPTIME_LIST_LIMIT));
    Value *item = ARENA_ARRAY(arena, Value, a->n + b->n);
    if (a->n)
        memcpy(item, a->item, sizeof *item * a->n);
    if (b->n)
        memcpy(item + a->n, b->item, sizeof *item * b->n);
    return value_list(item, a->n + b->n);
}

Value value_binary(Arena *arena, Operator op, const Value *a, const Value *b, ComptimeError *e)
{
    bool numbers = a->kind == VALUE_NUMBER && b->kind == VALUE_NUMBER;
    switch (op) {
    case OPERATOR_EQ:
    case OPERATOR_NE:
        return value_bool(value_equal(a, b) == (op == OPERATOR_EQ));
    case OPERATOR_AND:
    case OPERATOR_OR:
        if (a->kind != VALUE_BOOL || b->kind != VALUE_BOOL)
            return mismatch(arena, e, op, a, b);
        return value_bool(op == OPERATOR_AND ? a->truth && b->truth : a->truth || b->truth);
    case OPERATOR_LT:
    case OPERATOR_LE:
    case OPERATOR_GT:
    case OPERATOR_GE:
        return numbers ? value_bool(ordered(op, compare(a, b))) : mismatch(arena, e, op, a, b);
    case OPERATOR_ADD:
        if (a->kind == VALUE_LIST && b->kind == VALUE_LIST)
            return join_lists(arena, a, b, e);
        break;
    default:
        break;
    }
    return numbers ? arithmetic(arena, op, a, b, e) : mismatch(arena, e, op, a, b);
}

Value value_unary(Arena *arena, Operator op, const Value *a, ComptimeError *e)
{
    if (op == OPERATOR_NOT && a->kind == VALUE_BOOL)
        return value_bool(!a->truth);
    if (op == OPERATOR_NEG && a->kind == VALUE_NUMBER) {
        Value out = *a;
        out.num = a->den ? -a->num : 0;
        out.real = -a->real;
        return out;
    }
    return fail(e, DIAG_E0201, 0,
                arena_printf(arena, "'%s' needs %s, not %s", operator_text(op),
                             op == OPERATOR_NOT ? "yes or no" : "a number", value_kind_text(a)));
}

/* ---- lists ---- */

static Value need_int(Arena *arena, ComptimeError *e, int at, const char *what, const Value *v)
{
    return fail(e, DIAG_E0201, at,
                arena_printf(arena, "%s is a whole number, not %s", what, value_kind_text(v)));
}

Value value_range(Arena *arena, const Value *first, const Value *last, ComptimeError *e)
{
    if (!value_is_int(first))
        return need_int(arena, e, 0, "the start of a range", first);
    if (!value_is_int(last))
        return need_int(arena, e, 1, "the end of a range", last);
    if (last->num > first->num && (uint64_t)last->num - (uint64_t)first->num > COMPTIME_LIST_LIMIT)
        return fail(e, DIAG_E0004, -1,
                    arena_printf(arena, "a range of more than %d items", COMPTIME_LIST_LIMIT));
    uint32_t n = last->num > first->num ? (uint32_t)(last->num - first->num) : 0;
    Value *item = ARENA_ARRAY(arena, Value, n);
    for (uint32_t i = 0; i < n; i++)
        item[i] = value_int(first->num + i);
    return value_list(item, n);
}

static Value not_a_list(Arena *arena, ComptimeError *e, const Value *list)
{
    return fail(e, DIAG_E0201, 0,
                arena_printf(arena, "only a list has items, this is %s", value_kind_text(list)));
}

Value value_index(Arena *arena, const Value *list, const Value *i, ComptimeError *e)
{
    if (list->kind != VALUE_LIST && list->kind != VALUE_TUPLE)
        return not_a_list(arena, e, list);
    if (!value_is_int(i))
        return need_int(arena, e, 1, "a position in a list", i);
    int64_t at = i->num < 0 ? i->num + list->n : i->num;
    if (at < 0 || at >= list->n)
        return fail(e, DIAG_E0231, 1,
                    arena_printf(arena, "there is no item %lld in a list of %u", (long long)i->num,
                                 list->n));
    return list->item[at];
}

/* An end of a slice, counted from the end when negative; -1 when it is outside. */
static int64_t slice_end(const Value *v, uint32_t n, int64_t open)
{
    if (!v)
        return open;
    int64_t at = v->num < 0 ? v->num + n : v->num;
    return at < 0 || at > n ? -1 : at;
}

Value value_slice(Arena *arena, const Value *list, const Value *first, const Value *last,
                  ComptimeError *e)
{
    if (list->kind != VALUE_LIST)
        return not_a_list(arena, e, list);
    if (first && !value_is_int(first))
        return need_int(arena, e, 1, "the start of a slice", first);
    if (last && !value_is_int(last))
        return need_int(arena, e, 2, "the end of a slice", last);
    int64_t from = slice_end(first, list->n, 0), to = slice_end(last, list->n, list->n);
    if (from < 0 || to < 0)
        return fail(e, DIAG_E0231, from < 0 ? 1 : 2,
                    arena_printf(arena, "the slice goes beyond a list of %u", list->n));
    return value_list(list->item + from, to > from ? (uint32_t)(to - from) : 0);
}
