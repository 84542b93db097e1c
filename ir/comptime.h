/* Values that exist while a program is elaborated: exact numbers, lists, strings, tensors by
 * handle.
 *
 * A number is a rational num/den of 64-bit integers as long as it fits; `sqrt` and products that do
 * not fit leave a float64 (den 0). Whole numbers never turn into floats silently: an integer result
 * that does not fit is an error. */
#ifndef NPC_IR_COMPTIME_H
#define NPC_IR_COMPTIME_H

#include "frontend/ast.h"
#include "ir/func.h"

typedef enum ValueKind {
    VALUE_ERROR, /* reported: stay silent */
    VALUE_TENSOR,
    VALUE_NUMBER,
    VALUE_BOOL,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_TUPLE,
    VALUE_ENTRY,   /* "name": value, one item of a list */
    VALUE_SESSION, /* s of `per s in sessions` */
} ValueKind;

typedef struct Value Value;
struct Value {
    ValueKind kind;
    Span span;         /* the expression that made it, for "comes from here" */
    int64_t num, den;  /* NUMBER: exact value in lowest terms; den 0: only `real` counts */
    double real;       /* NUMBER */
    const char *unit;  /* NUMBER: "frames", or NULL */
    bool truth;        /* BOOL */
    const char *text;  /* STRING, ENTRY */
    const Value *item; /* LIST, TUPLE; ENTRY: one */
    uint32_t n;
    Val val;     /* TENSOR */
    int session; /* SESSION: index */
};

enum { COMPTIME_LIST_LIMIT = 10000 };

Value value_int(int64_t n);
Value value_real(double x);
Value value_exact(int64_t num, int64_t den); /* den > 0; brought to lowest terms */
Value value_bool(bool truth);
Value value_string(const char *text);
Value value_list(const Value *item, uint32_t n);
#define VALUE_BAD ((Value){.kind = VALUE_ERROR})

static inline bool value_is_int(const Value *v)
{
    return v->kind == VALUE_NUMBER && v->den == 1;
}
bool value_equal(const Value *a, const Value *b);
/* "a whole number", "a list" .. */
const char *value_kind_text(const Value *v);
/* As source text that reads back to the same value; tensors and sessions print as "?". */
void value_print(Text *out, const Value *v);

/* What a computation found wrong: a code and a sentence, or code DIAG_COUNT for none. */
typedef struct ComptimeError {
    DiagCode code;
    const char *text;
    int at; /* index of the operand or argument it is about; -1: the whole */
} ComptimeError;

/* An operator on values other than tensors. */
Value value_unary(Arena *arena, Operator op, const Value *a, ComptimeError *error);
Value value_binary(Arena *arena, Operator op, const Value *a, const Value *b, ComptimeError *error);
/* first..last, the end excluded. */
Value value_range(Arena *arena, const Value *first, const Value *last, ComptimeError *error);
/* list[i] and list[first..last]; NULL ends are open; negative positions count from the end. */
Value value_index(Arena *arena, const Value *list, const Value *i, ComptimeError *error);
Value value_slice(Arena *arena, const Value *list, const Value *first, const Value *last,
                  ComptimeError *error);

/* A function on values: zip, len, sum, floor .. */
bool comptime_has_function(const char *name);
Value comptime_call(Arena *arena, const char *name, const Value *arg, int n_arg,
                    ComptimeError *error);
/* The i-th function: its name, its form "floor(x)" and a sentence; false behind the last. */
bool comptime_function(int i, const char **name, const char **form, const char **doc);

#endif
