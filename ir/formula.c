/* Recursive descent over formula text. Equal subexpressions become one instruction.
 *
 *     expr    = sum [ ">" sum ]
 *     sum     = product { ("+" | "-") product }
 *     product = unary { ("*" | "/") unary }
 *     unary   = "-" unary | number | variable | constant | name "(" expr { "," expr } ")"
 *             | "(" expr ")"                                                                     */
#include "ir/formula.h"
#include "ir/base/text.h"

#include <math.h>

enum { MAX_DEPTH = 64, MAX_INSTS = 256 };

static const struct {
    const char *text;
    int arity;
} ROWS[] = {
#define PRIM(id, text, arity) {text, arity},
    PRIM_TABLE
#undef PRIM
};

const char *prim_text(Prim p)
{
    return ROWS[p].text;
}

int prim_arity(Prim p)
{
    return ROWS[p].arity;
}

int prim_find(const char *text, size_t len)
{
    for (int i = 0; i < PRIM_COUNT; i++)
        if (strlen(ROWS[i].text) == len && !memcmp(ROWS[i].text, text, len))
            return i;
    return -1;
}

/* Never overflows in exp, exact in both tails. */
static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return (x >= 0 ? 1 : e) / (1 + e);
}

double prim_eval(Prim p, double a, double b, double c)
{
    switch (p) {
    case PRIM_ADD:
        return a + b;
    case PRIM_SUB:
        return a - b;
    case PRIM_MUL:
        return a * b;
    case PRIM_DIV:
        return a / b;
    case PRIM_NEG:
        return -a;
    case PRIM_MIN:
        return a < b ? a : b;
    case PRIM_MAX:
        return a > b ? a : b;
    case PRIM_ABS:
        return fabs(a);
    case PRIM_EXP:
        return exp(a);
    case PRIM_LOG:
        return log(a);
    case PRIM_LOG1P:
        return log1p(a);
    case PRIM_SQRT:
        return sqrt(a);
    case PRIM_RSQRT:
        return 1 / sqrt(a);
    case PRIM_SIGMOID:
        return sigmoid(a);
    case PRIM_TANH:
        return tanh(a);
    case PRIM_SIN:
        return sin(a);
    case PRIM_COS:
        return cos(a);
    case PRIM_ERF:
        return erf(a);
    case PRIM_FLOOR:
        return floor(a);
    case PRIM_GT:
        return a > b ? 1 : 0;
    case PRIM_WHERE:
        return a != 0 ? b : c;
    case PRIM_COUNT:
        break;
    }
    return NAN;
}

typedef struct Parser {
    Arena *arena;
    const char *text, *at;
    const char *error; /* the first one */
    int depth, n;
    FormulaInst inst[MAX_INSTS];
} Parser;

static int parse_expr(Parser *p);

static int fail(Parser *p, const char *expected)
{
    if (!p->error)
        p->error = arena_printf(p->arena, "formula \"%s\": %s at byte %d", p->text, expected,
                                (int)(p->at - p->text) + 1);
    return 0;
}

static void skip_space(Parser *p)
{
    while (*p->at == ' ')
        p->at++;
}

static bool accept(Parser *p, char c)
{
    skip_space(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static bool same(const FormulaInst *a, const FormulaInst *b)
{
    return a->kind == b->kind && a->prim == b->prim && !memcmp(a->arg, b->arg, sizeof a->arg) &&
           !memcmp(&a->number, &b->number, sizeof a->number);
}

static int add_inst(Parser *p, FormulaInst inst)
{
    for (int i = 0; i < p->n; i++)
        if (same(&p->inst[i], &inst))
            return i;
    if (p->n == MAX_INSTS)
        return fail(p, "too many operations");
    p->inst[p->n] = inst;
    return p->n++;
}

static int add_prim(Parser *p, Prim prim, int a, int b, int c)
{
    return add_inst(p, (FormulaInst){.kind = FORMULA_PRIM, .prim = prim, .arg = {a, b, c}});
}

static int parse_number(Parser *p, double sign)
{
    double x;
    const char *end = text_read_double(p->at, &x);
    if (end == p->at)
        return fail(p, "a number was expected");
    p->at = end;
    return add_inst(p, (FormulaInst){.kind = FORMULA_NUMBER, .number = sign * x});
}

static int parse_call(Parser *p, Prim prim)
{
    int arg[3] = {0};
    for (int i = 0; i < prim_arity(prim); i++) {
        if (!accept(p, i ? ',' : '('))
            return fail(p, i ? "',' was expected" : "'(' was expected");
        arg[i] = parse_expr(p);
    }
    if (!accept(p, ')'))
        return fail(p, "')' was expected");
    return add_prim(p, prim, arg[0], arg[1], arg[2]);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_name(Parser *p)
{
    const char *s = p->at;
    size_t len = 0;
    while ((s[len] >= 'a' && s[len] <= 'z') || (len && is_digit(s[len])))
        len++;
    int prim = prim_find(s, len);
    p->at += len;
    if (prim >= 0)
        return parse_call(p, (Prim)prim);
    if (len == 1 && *s >= 'a' && *s < 'a' + FORMULA_DY)
        return add_inst(p, (FormulaInst){.kind = FORMULA_VAR, .arg = {*s - 'a'}});
    if (len == 2 && !memcmp(s, "dy", 2))
        return add_inst(p, (FormulaInst){.kind = FORMULA_VAR, .arg = {FORMULA_DY}});
    if (len == 2 && *s == 'k' && is_digit(s[1]) && s[1] - '0' < FORMULA_MAX_CONSTS)
        return add_inst(p, (FormulaInst){.kind = FORMULA_ATTR, .arg = {s[1] - '0'}});
    p->at -= len;
    return fail(p, "a value, constant or function was expected");
}

static int parse_unary(Parser *p)
{
    if (p->error)
        return 0;
    if (++p->depth > MAX_DEPTH)
        return fail(p, "nested too deeply");
    int v;
    if (accept(p, '-')) {
        skip_space(p);
        v = is_digit(*p->at) ? parse_number(p, -1) : add_prim(p, PRIM_NEG, parse_unary(p), 0, 0);
    } else if (accept(p, '(')) {
        v = parse_expr(p);
        if (!accept(p, ')'))
            fail(p, "')' was expected");
    } else {
        v = is_digit(*p->at) ? parse_number(p, 1) : parse_name(p);
    }
    p->depth--;
    return v;
}

static int parse_product(Parser *p)
{
    int v = parse_unary(p);
    while (!p->error) {
        if (accept(p, '*'))
            v = add_prim(p, PRIM_MUL, v, parse_unary(p), 0);
        else if (accept(p, '/'))
            v = add_prim(p, PRIM_DIV, v, parse_unary(p), 0);
        else
            break;
    }
    return v;
}

static int parse_sum(Parser *p)
{
    int v = parse_product(p);
    while (!p->error) {
        if (accept(p, '+'))
            v = add_prim(p, PRIM_ADD, v, parse_product(p), 0);
        else if (accept(p, '-'))
            v = add_prim(p, PRIM_SUB, v, parse_product(p), 0);
        else
            break;
    }
    return v;
}

static int parse_expr(Parser *p)
{
    int v = parse_sum(p);
    if (!p->error && accept(p, '>'))
        v = add_prim(p, PRIM_GT, v, parse_sum(p), 0);
    return v;
}

const Formula *formula_compile(Arena *arena, const char *text, const char **error)
{
    Parser p;
    memset(&p, 0, sizeof p);
    p.arena = arena;
    p.text = p.at = text;
    parse_expr(&p);
    skip_space(&p);
    if (!p.error && *p.at)
        fail(&p, "an operator or the end was expected");
    *error = p.error;
    if (p.error)
        return NULL;
    Formula *f = ARENA_NEW(arena, Formula);
    f->text = arena_strdup(arena, text);
    f->n = p.n;
    f->inst = ARENA_ARRAY(arena, FormulaInst, (size_t)p.n);
    memcpy(f->inst, p.inst, sizeof *f->inst * (size_t)p.n);
    for (int i = 0; i < p.n; i++)
        if (f->inst[i].kind == FORMULA_VAR)
            f->vars |= 1u << f->inst[i].arg[0];
    return f;
}

double formula_eval(const Formula *f, const double vars[FORMULA_MAX_VARS],
                    const double consts[FORMULA_MAX_CONSTS])
{
    double v[MAX_INSTS];
    for (int i = 0; i < f->n; i++) {
        const FormulaInst *in = &f->inst[i];
        switch (in->kind) {
        case FORMULA_VAR:
            v[i] = vars[in->arg[0]];
            break;
        case FORMULA_ATTR:
            v[i] = consts[in->arg[0]];
            break;
        case FORMULA_NUMBER:
            v[i] = in->number;
            break;
        case FORMULA_PRIM:
            v[i] = prim_eval(in->prim, v[in->arg[0]], v[in->arg[1]], v[in->arg[2]]);
            break;
        }
    }
    return v[f->n - 1];
}

/* How a value depends on the variable. */
typedef enum Degree { CONSTANT, LINEAR, ANYTHING } Degree;

static Degree degree_of(const FormulaInst *s, const Degree *of, bool is_zero[])
{
    Degree a = of[s->arg[0]], b = of[s->arg[1]], c = of[s->arg[2]];
    switch (s->prim) {
    case PRIM_NEG:
        return a;
    case PRIM_ADD:
    case PRIM_SUB:
        return a == b || is_zero[s->arg[1]] ? a : is_zero[s->arg[0]] ? b : ANYTHING;
    case PRIM_MUL:
        return a == CONSTANT ? b : b == CONSTANT ? a : ANYTHING;
    case PRIM_DIV:
        return b == CONSTANT ? a : ANYTHING;
    case PRIM_WHERE:
        b = is_zero[s->arg[1]] ? c : b;
        c = is_zero[s->arg[2]] ? b : c;
        return a == CONSTANT && b == c ? b : ANYTHING;
    default:
        for (int i = 0; i < prim_arity(s->prim); i++)
            if (of[s->arg[i]] != CONSTANT)
                return ANYTHING;
        return CONSTANT;
    }
}

bool formula_is_linear(const Formula *f, int i)
{
    Degree of[MAX_INSTS] = {0};
    bool is_zero[MAX_INSTS] = {0};
    for (int k = 0; k < f->n; k++) {
        const FormulaInst *s = &f->inst[k];
        if (s->kind == FORMULA_VAR)
            of[k] = s->arg[0] == i ? LINEAR : CONSTANT;
        else if (s->kind == FORMULA_PRIM)
            of[k] = degree_of(s, of, is_zero);
        is_zero[k] = s->kind == FORMULA_NUMBER && s->number == 0;
    }
    return of[f->n - 1] == LINEAR;
}
