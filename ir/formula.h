/* Scalar formulas: the one statement of what a pointwise op computes.
 *
 *     "max(a, 0) + log1p(exp(-abs(a)))"
 *
 * Variables: a b c d e f (operands in order) and, in derivatives, dy; constants k0..k3 are the
 * node's attributes; numbers; + - * / and unary -; comparison x > y (1 or 0); functions: min max
 * abs exp log log1p sqrt rsqrt sigmoid tanh sin cos erf floor where(cond, yes, no).
 * A formula compiles to straight-line code over scalar primitives, which the reference evaluates
 * in float64 and the code generators turn into vector instructions. */
#ifndef NPC_IR_FORMULA_H
#define NPC_IR_FORMULA_H

#include "ir/base/arena.h"
#include <stdbool.h>
#include <stdint.h>

/* Scalar primitives: PRIM(id, text, arity) */
#define PRIM_TABLE                                                                                 \
    PRIM(ADD, "add", 2)                                                                            \
    PRIM(SUB, "sub", 2)                                                                            \
    PRIM(MUL, "mul", 2)                                                                            \
    PRIM(DIV, "div", 2)                                                                            \
    PRIM(NEG, "neg", 1)                                                                            \
    PRIM(MIN, "min", 2)                                                                            \
    PRIM(MAX, "max", 2)                                                                            \
    PRIM(ABS, "abs", 1)                                                                            \
    PRIM(EXP, "exp", 1)                                                                            \
    PRIM(LOG, "log", 1)                                                                            \
    PRIM(LOG1P, "log1p", 1)                                                                        \
    PRIM(SQRT, "sqrt", 1)                                                                          \
    PRIM(RSQRT, "rsqrt", 1)                                                                        \
    PRIM(SIGMOID, "sigmoid", 1)                                                                    \
    PRIM(TANH, "tanh", 1)                                                                          \
    PRIM(SIN, "sin", 1)                                                                            \
    PRIM(COS, "cos", 1)                                                                            \
    PRIM(ERF, "erf", 1)                                                                            \
    PRIM(FLOOR, "floor", 1)                                                                        \
    PRIM(GT, "gt", 2)       /* a > b ? 1 : 0 */                                                    \
    PRIM(WHERE, "where", 3) /* a != 0 ? b : c; both sides are computed */

typedef enum Prim {
#define PRIM(id, text, arity) PRIM_##id,
    PRIM_TABLE
#undef PRIM
        PRIM_COUNT
} Prim;

const char *prim_text(Prim p);
int prim_arity(Prim p);
/* -1 when there is none of that name. */
int prim_find(const char *text, size_t len);
/* float64 value of a primitive. */
double prim_eval(Prim p, double a, double b, double c);

enum { FORMULA_MAX_VARS = 8, FORMULA_DY = 7, FORMULA_MAX_CONSTS = 4 };

typedef enum FormulaKind { FORMULA_VAR, FORMULA_ATTR, FORMULA_NUMBER, FORMULA_PRIM } FormulaKind;

typedef struct FormulaInst {
    FormulaKind kind;
    Prim prim;     /* FORMULA_PRIM */
    int arg[3];    /* FORMULA_PRIM: earlier instructions; FORMULA_VAR: arg[0] = 0..6 for a..g, 7
                      for dy; FORMULA_ATTR: arg[0] = 0..3 for k0..k3 */
    double number; /* FORMULA_NUMBER */
} FormulaInst;

typedef struct Formula {
    const char *text;
    int n; /* the last instruction is the value */
    FormulaInst *inst;
    unsigned vars; /* bit i: variable i occurs */
} Formula;

/* Compiles; NULL with *error set to a sentence when the text is malformed (user text can be). */
const Formula *formula_compile(Arena *arena, const char *text, const char **error);
/* Is it linear in variable i, without a term that lacks it? */
bool formula_is_linear(const Formula *f, int i);
double formula_eval(const Formula *f, const double vars[FORMULA_MAX_VARS],
                    const double consts[FORMULA_MAX_CONSTS]);

#endif
