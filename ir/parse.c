/* Reads the text form that print.c writes. The text can come from anywhere: the first thing that is
 * wrong stops with E0290 (or the message of the shape rule that refuses), and the finished module
 * passes module_verify.
 *
 *     module  = "module" string { "session" string "neurons" int | "part" string | param } { func }
 *     param   = ("param" | "state") string shape init { tag }
 *     func    = "func" name "()" "{" { node | "return" role string "=" value } "}"
 *     node    = value "=" op { value } [ "{" attributes "}" ] shape { tag }
 *     shape   = ":" "f32" "[" [ name "=" int { "," name "=" int } ] "]"
 *     tag     = "@session" int | "@part" string | "@backward" | "@recompute" | "@no_decay"
 *             | "@frozen" | "@limit" number
 * A comment goes from ";" to the end of the line. */
#include "ir/func.h"

#include <stdarg.h>

static const int64_t MAX_SIZE = (int64_t)1 << 40;

typedef struct Parser {
    Arena *arena;
    Module *m;
    Func *f; /* being read */
    uint32_t file;
    const char *text, *at, *end;
    bool failed;
} Parser;

/* ---- characters and words ---- */

static Span span_from(const Parser *p, const char *begin)
{
    return (Span){p->file, (uint32_t)(begin - p->text), (uint32_t)(p->at - p->text)};
}

__attribute__((format(printf, 2, 3))) static void fail(Parser *p, const char *fmt, ...)
{
    if (p->failed)
        return;
    Text t = {.arena = p->arena};
    va_list args;
    va_start(args, fmt);
    text_vprintf(&t, fmt, args);
    va_end(args);
    Span here = span_from(p, p->at);
    here.end += here.end < (size_t)(p->end - p->text);
    diag_error(p->m->diags, DIAG_E0290, here, "%s", text_str(&t));
    p->failed = true;
}

static void skip_space(Parser *p)
{
    for (;;) {
        p->at += strspn(p->at, " \t\r\n");
        if (*p->at != ';')
            return;
        p->at += strcspn(p->at, "\n");
    }
}

static bool next_is(Parser *p, char c)
{
    skip_space(p);
    return !p->failed && *p->at == c;
}

static bool accept(Parser *p, char c)
{
    if (!next_is(p, c))
        return false;
    p->at++;
    return true;
}

static void expect(Parser *p, char c)
{
    if (!accept(p, c))
        fail(p, "'%c' was expected", c);
}

static size_t word_length(const char *s)
{
    bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_';
    return letter ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
                  : 0;
}

static bool accept_word(Parser *p, const char *word)
{
    skip_space(p);
    size_t n = word_length(p->at);
    if (p->failed || n != strlen(word) || memcmp(p->at, word, n))
        return false;
    p->at += n;
    return true;
}

static void expect_word(Parser *p, const char *word)
{
    if (!accept_word(p, word))
        fail(p, "'%s' was expected", word);
}

static void expect_key(Parser *p, const char *key)
{
    expect_word(p, key);
    expect(p, '=');
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Interned; "" after a failure. */
static const char *read_string(Parser *p)
{
    Text t = {.arena = p->arena};
    expect(p, '"');
    while (!p->failed && *p->at != '"') {
        if (!*p->at || *p->at == '\n') {
            fail(p, "a string that is not closed");
        } else if (*p->at != '\\') {
            text_char(&t, *p->at++);
        } else if (p->at[1] == 'x') {
            int high = hex_digit(p->at[2]), low = high < 0 ? -1 : hex_digit(p->at[3]);
            if (low < 0 || (high == 0 && low == 0))
                fail(p, "an escape \\x needs two hexadecimal digits, not both 0");
            else
                text_char(&t, (char)(high * 16 + low));
            p->at += low < 0 ? 0 : 4;
        } else if (p->at[1] == '"' || p->at[1] == '\\') {
            text_char(&t, p->at[1]);
            p->at += 2;
        } else {
            fail(p, "no such escape in a string");
        }
    }
    if (!p->failed)
        p->at++;
    return name_intern(p->m->names, text_str(&t));
}

static const char *read_name(Parser *p)
{
    if (next_is(p, '"'))
        return read_string(p);
    size_t n = word_length(p->at);
    if (!n)
        fail(p, "a name was expected");
    const char *name = name_intern_n(p->m->names, p->at, p->failed ? 0 : n);
    p->at += p->failed ? 0 : n;
    return name;
}

static int64_t read_int(Parser *p, int64_t low, int64_t high)
{
    skip_space(p);
    const char *s = p->at;
    bool negative = *s == '-';
    int64_t x = 0;
    s += negative;
    size_t n = strspn(s, "0123456789");
    if (!n || n > 18) {
        fail(p, "a whole number was expected");
        return low;
    }
    for (size_t i = 0; i < n; i++)
        x = x * 10 + (s[i] - '0');
    x = negative ? -x : x;
    if (x < low || x > high) {
        fail(p, "%lld is not between %lld and %lld", (long long)x, (long long)low, (long long)high);
        return low;
    }
    if (!p->failed)
        p->at = s + n;
    return x;
}

static double read_double(Parser *p)
{
    double x = 0;
    skip_space(p);
    const char *end = text_read_double(p->at, &x);
    if (end == p->at)
        fail(p, "a number was expected");
    if (!p->failed)
        p->at = end;
    return x;
}

static Shape read_shape(Parser *p)
{
    Shape s = {0};
    int64_t elems = 1;
    expect(p, ':');
    expect_word(p, "f32");
    expect(p, '[');
    while (!p->failed && !accept(p, ']')) {
        if (s.rank)
            expect(p, ',');
        const char *name = read_name(p);
        expect(p, '=');
        int64_t size = read_int(p, 1, MAX_SIZE / elems);
        if (!p->failed && !shape_add(&s, name, size))
            fail(p, "axis '%s' stands twice, or there are more than %d axes", name, MAX_RANK);
        elems *= size;
    }
    return s;
}

/* ---- attributes ---- */

static AxisList read_axes(Parser *p, const char *key)
{
    AxisList list = {0};
    expect_key(p, key);
    expect(p, '[');
    while (!p->failed && !accept(p, ']')) {
        if (list.n)
            expect(p, ',');
        const char *name = read_name(p);
        if (list.n == MAX_RANK)
            fail(p, "more than %d axes", MAX_RANK);
        else
            list.name[list.n++] = name;
    }
    return list;
}

static void read_consts(Parser *p, double *k, int n)
{
    expect_key(p, "k");
    expect(p, '[');
    for (int i = 0; i < n; i++) {
        if (i)
            expect(p, ',');
        k[i] = read_double(p);
    }
    expect(p, ']');
}

static void read_formula(Parser *p, Attrs *a)
{
    expect_key(p, "formula");
    a->formula = read_string(p);
    if (!accept(p, ','))
        return;
    expect_key(p, "k");
    expect(p, '[');
    for (int i = 0; !p->failed && !accept(p, ']'); i++) {
        if (i)
            expect(p, ',');
        double x = read_double(p);
        if (i < FORMULA_MAX_CONSTS)
            a->k[i] = x;
        else
            fail(p, "more than %d constants", FORMULA_MAX_CONSTS);
    }
}

static const char *read_named_axis(Parser *p, const char *key)
{
    expect_key(p, key);
    return read_name(p);
}

static void read_parts(Parser *p, Attrs *a, const char *axis)
{
    a->axis = read_named_axis(p, axis);
    expect(p, ',');
    a->axis2 = read_named_axis(p, "outer");
    expect(p, ',');
    a->axis3 = read_named_axis(p, "inner");
}

static void read_table(Parser *p, Attrs *a)
{
    VEC(int32_t) table = {0};
    a->axis = read_named_axis(p, "axis");
    expect(p, ',');
    a->axis2 = read_named_axis(p, "to");
    expect(p, ',');
    expect_key(p, "table");
    expect(p, '[');
    while (!p->failed && !accept(p, ']')) {
        if (table.len)
            expect(p, ',');
        vec_push(p->arena, &table, (int32_t)read_int(p, -1, INT32_MAX));
    }
    a->table = table.at;
    a->table_len = table.len;
}

static void read_numbers(Parser *p, Attrs *a)
{
    VEC(float) data = {0};
    expect_key(p, "data");
    expect(p, '[');
    while (!p->failed && !accept(p, ']')) {
        if (data.len)
            expect(p, ',');
        vec_push(p->arena, &data, (float)read_double(p));
    }
    a->data = data.at;
    a->table_len = data.len; /* until the shape is known */
}

static int64_t read_stencil_number(Parser *p, const char *key)
{
    expect_word(p, key);
    return read_int(p, 0, MAX_SIZE);
}

static void read_stencils(Parser *p, Attrs *a)
{
    a->over = read_axes(p, "over");
    expect(p, ',');
    a->out = read_axes(p, "out");
    expect(p, ',');
    expect_key(p, "stencil");
    expect(p, '[');
    while (!p->failed && !accept(p, ']')) {
        Stencil s = {0};
        if (a->n_stencil)
            expect(p, ',');
        s.axis = read_name(p);
        expect(p, ':');
        s.tap = read_name(p);
        s.stride = read_stencil_number(p, "stride");
        s.dilation = read_stencil_number(p, "dilation");
        s.pad = read_stencil_number(p, "pad");
        s.in_size = read_stencil_number(p, "in");
        s.taps = read_stencil_number(p, "taps");
        if (a->n_stencil == MAX_STENCIL)
            fail(p, "more than %d stencil axes", MAX_STENCIL);
        else
            a->stencil[a->n_stencil++] = s;
    }
}

static void read_name_attr(Parser *p, Attrs *a)
{
    expect_key(p, "name");
    a->name = read_string(p);
}

static Attrs read_attrs(Parser *p, Op op)
{
    Attrs a = {0};
    AttrKind kind = op_attrs(op);
    if (kind == ATTR_NONE || kind == ATTR_SHAPE)
        return a;
    expect(p, '{');
    switch (kind) {
    case ATTR_NONE:
    case ATTR_SHAPE:
        break;
    case ATTR_NAME:
        read_name_attr(p, &a);
        break;
    case ATTR_RANDOM:
        read_name_attr(p, &a);
        expect(p, ',');
        read_consts(p, a.k, 1);
        break;
    case ATTR_DATA:
        read_numbers(p, &a);
        break;
    case ATTR_FILL:
        read_consts(p, a.k, 1);
        break;
    case ATTR_CONSTS:
        read_consts(p, a.k, op_n_consts(op));
        break;
    case ATTR_FORMULA:
        read_formula(p, &a);
        break;
    case ATTR_RENAME:
        a.axis = read_named_axis(p, "axis");
        expect(p, ',');
        a.axis2 = read_named_axis(p, "to");
        break;
    case ATTR_SPLIT:
        read_parts(p, &a, "axis");
        expect(p, ',');
        expect_key(p, "size");
        a.size0 = read_int(p, 1, MAX_SIZE);
        break;
    case ATTR_MERGE:
        read_parts(p, &a, "to");
        break;
    case ATTR_ORDER:
        a.out = read_axes(p, "out");
        break;
    case ATTR_INDEX:
        read_table(p, &a);
        break;
    case ATTR_REDUCE:
        a.over = read_axes(p, "over");
        expect(p, ',');
        read_consts(p, a.k, 1);
        break;
    case ATTR_CONTRACT:
        a.over = read_axes(p, "over");
        expect(p, ',');
        a.out = read_axes(p, "out");
        break;
    case ATTR_GATHER:
        a.axis = read_named_axis(p, "axis");
        break;
    case ATTR_SCATTER:
        a.axis = read_named_axis(p, "axis");
        expect(p, ',');
        expect_key(p, "size");
        a.size0 = read_int(p, 1, MAX_SIZE);
        expect(p, ',');
        a.over = read_axes(p, "over");
        break;
    case ATTR_ATTEND:
        a.axis = read_named_axis(p, "axis");
        expect(p, ',');
        a.axis2 = read_named_axis(p, "keys");
        expect(p, ',');
        a.over = read_axes(p, "over");
        expect(p, ',');
        read_consts(p, a.k, 2);
        while (accept(p, ',')) {
            bool drops = accept_word(p, "drop");
            if (!drops)
                expect_word(p, "unasked");
            expect(p, '=');
            a.k[drops ? 2 : 3] = read_double(p);
        }
        break;
    case ATTR_CONV:
        read_stencils(p, &a);
        break;
    }
    expect(p, '}');
    return a;
}

/* ---- nodes and functions ---- */

static Val read_value(Parser *p)
{
    expect(p, '%');
    int64_t id = read_int(p, 1, UINT32_MAX);
    if (!p->failed && id >= p->f->nodes.len)
        fail(p, "%%%lld is not a value above", (long long)id);
    return p->failed ? VAL_NONE : (Val){(uint32_t)id};
}

static Op read_op(Parser *p)
{
    skip_space(p);
    size_t n = word_length(p->at);
    Op op = op_find(p->at, n);
    if (op == OP_NONE)
        fail(p, "there is no op '%.*s'", (int)n, p->at);
    else
        p->at += n;
    return op;
}

static int16_t read_part(Parser *p)
{
    const char *name = read_string(p);
    for (uint32_t i = 0; i < p->m->parts.len; i++)
        if (p->m->parts.at[i] == name)
            return (int16_t)i;
    fail(p, "there is no part \"%s\"", name);
    return -1;
}

static int16_t read_session(Parser *p)
{
    return (int16_t)read_int(p, 0, (int64_t)p->m->sessions.len - 1);
}

static void read_node_tags(Parser *p, Node *n)
{
    while (accept(p, '@')) {
        if (accept_word(p, "session"))
            n->session = read_session(p);
        else if (accept_word(p, "part"))
            n->part = read_part(p);
        else if (accept_word(p, "backward"))
            n->backward = true;
        else if (accept_word(p, "recompute"))
            n->recompute = true;
        else
            fail(p, "there is no such tag");
    }
}

static bool has_given_shape(Op op)
{
    AttrKind kind = op_attrs(op);
    return kind == ATTR_NAME || kind == ATTR_FILL || kind == ATTR_SHAPE || kind == ATTR_RANDOM ||
           kind == ATTR_DATA;
}

static void read_node(Parser *p)
{
    const char *begin = p->at;
    expect(p, '%');
    if (!p->failed && read_int(p, 0, UINT32_MAX) != p->f->nodes.len)
        fail(p, "the next value is %%%u", p->f->nodes.len);
    expect(p, '=');
    Op op = p->failed ? OP_NONE : read_op(p);
    if (p->failed)
        return;
    Val in[MAX_OPERANDS];
    int n_in = 0;
    while (n_in < MAX_OPERANDS && next_is(p, '%'))
        in[n_in++] = read_value(p);
    if (op_arity(op) >= 0 && op_arity(op) != n_in)
        fail(p, "%s has %d operands", op_text(op), op_arity(op));
    Attrs attrs = p->failed ? (Attrs){0} : read_attrs(p, op);
    Shape shape = read_shape(p);
    if (op_attrs(op) == ATTR_DATA && !p->failed && attrs.table_len != shape_elems(&shape))
        fail(p, "%lld numbers do not fill the shape", (long long)attrs.table_len);
    if (p->failed)
        return;
    attrs.table_len = op_attrs(op) == ATTR_DATA ? 0 : attrs.table_len;
    p->f->span = span_from(p, begin);
    Val v = has_given_shape(op) ? func_emit_leaf(p->f, op, &attrs, &shape)
                                : func_emit(p->f, op, &attrs, in, n_in);
    p->f->span = SPAN_NONE;
    if (!v.id) {
        p->failed = true; /* the shape rule has said why */
        return;
    }
    if (!shape_equal(func_shape(p->f, v), &shape)) {
        Text t = {.arena = p->arena};
        shape_text(&t, func_shape(p->f, v));
        fail(p, "the operands give the shape %s", text_str(&t));
    }
    read_node_tags(p, func_node(p->f, v));
}

static void read_result(Parser *p)
{
    static const char *const text[] = {"output", "loss", "grad", "state"};
    int role = 0;
    while (role < 4 && !accept_word(p, text[role]))
        role++;
    if (role == 4) {
        fail(p, "'output', 'loss', 'grad' or 'state' was expected");
        return;
    }
    const char *name = read_string(p);
    expect(p, '=');
    func_result(p->f, (ResultRole)role, name, read_value(p));
}

static void read_func(Parser *p)
{
    const char *name = read_name(p);
    expect(p, '(');
    expect(p, ')');
    expect(p, '{');
    if (!p->failed && module_func(p->m, name))
        fail(p, "function '%s' stands twice", name);
    if (p->failed)
        return;
    p->f = module_add_func(p->m, name);
    while (!p->failed && !accept(p, '}')) {
        if (accept_word(p, "return"))
            read_result(p);
        else
            read_node(p);
    }
}

/* ---- the module's tables ---- */

static void read_data(Parser *p, Param *param)
{
    VEC(float) data = {0};
    while (!p->failed && !accept(p, ')')) {
        if (data.len)
            expect(p, ',');
        vec_push(p->arena, &data, (float)read_double(p));
    }
    if (!p->failed && data.len != shape_elems(&param->shape))
        fail(p, "%u numbers for %lld elements", data.len, (long long)shape_elems(&param->shape));
    param->init.data = data.at;
}

static void read_init(Parser *p, Param *param)
{
    static const char *const text[] = {"constant", "normal", "uniform", "data"};
    int kind = INIT_CONSTANT;
    while (kind <= INIT_DATA && !accept_word(p, text[kind]))
        kind++;
    if (kind > INIT_DATA) {
        fail(p, "'constant', 'normal', 'uniform' or 'data' was expected");
        return;
    }
    param->init.kind = (InitKind)kind;
    expect(p, '(');
    if (kind == INIT_DATA) {
        read_data(p, param);
        return;
    }
    param->init.a = read_double(p);
    if (kind != INIT_CONSTANT) {
        expect(p, ',');
        param->init.b = read_double(p);
    }
    expect(p, ')');
}

static void read_param(Parser *p, bool is_state)
{
    const char *begin = p->at;
    Param param = {.session = -1, .is_state = is_state};
    param.name = read_string(p);
    param.shape = read_shape(p);
    param.span = span_from(p, begin);
    read_init(p, &param);
    while (accept(p, '@')) {
        if (accept_word(p, "session"))
            param.session = read_session(p);
        else if (accept_word(p, "no_decay"))
            param.no_decay = true;
        else if (accept_word(p, "frozen"))
            param.frozen = true;
        else if (accept_word(p, "limit"))
            param.limit = read_double(p);
        else
            fail(p, "there is no such tag");
    }
    if (!p->failed && !module_add_param(p->m, param))
        p->failed = true;
}

static void read_module(Parser *p)
{
    Module *m = p->m;
    expect_word(p, "module");
    m->model = read_string(p);
    for (; !p->failed && (skip_space(p), p->at < p->end);) {
        if (accept_word(p, "session")) {
            Session s = {.name = read_string(p)};
            expect_word(p, "neurons");
            s.neurons = read_int(p, 0, MAX_SIZE);
            if (m->sessions.len == INT16_MAX)
                fail(p, "more than %d sessions", INT16_MAX);
            vec_push(m->arena, &m->sessions, s);
        } else if (accept_word(p, "part")) {
            if (m->parts.len == INT16_MAX)
                fail(p, "more than %d parts", INT16_MAX);
            vec_push(m->arena, &m->parts, read_string(p));
        } else if (accept_word(p, "param")) {
            read_param(p, false);
        } else if (accept_word(p, "state")) {
            read_param(p, true);
        } else if (accept_word(p, "func")) {
            read_func(p);
        } else {
            fail(p, "'session', 'part', 'param', 'state' or 'func' was expected");
        }
    }
}

Module *module_parse(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                     size_t len)
{
    char *copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    Parser p = {.arena = arena, .m = module_new(arena, names, diags)};
    p.text = p.at = copy;
    p.end = copy + len;
    p.file = diags_add_source(diags, path, copy, len);
    read_module(&p);
    if (p.failed)
        return NULL;
    const char *wrong = module_verify(p.m, arena);
    if (wrong) {
        fail(&p, "%s", wrong);
        return NULL;
    }
    return p.m;
}
