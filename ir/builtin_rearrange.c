/* rearrange: "b (g k) t -> b (k g) t".
 *
 * The left side takes axes apart, the right side joins them. A bracket on the left stands for the
 * one axis that no other term names (or for the axis before its colon, "c:(g k)"); a bracket on the
 * right makes the axis that the same members came from, or the one before its colon. Sizes of
 * members are arguments of the call; one per bracket follows from the others. */
#include "ir/builtin.h"

typedef struct Term {
    const char *axis; /* plain name, or the name before the colon; NULL: to be found */
    bool is_group;
    int n;
    const char *member[MAX_RANK];
} Term;

typedef struct Side {
    int n;
    Term term[MAX_RANK];
} Side;

typedef struct Reader {
    OpCall *c;
    const char *at, *end;
} Reader;

static bool is_word(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           ch == '_';
}

static void skip_blanks(Reader *r)
{
    while (r->at < r->end && *r->at == ' ')
        r->at++;
}

static bool malformed(OpCall *c)
{
    el_error(c->el, DIAG_E0250, c->arg[0].span, "the pattern of 'rearrange' is malformed");
    el_help(c->el, "write names and brackets on both sides: \"b (g k) t -> b (k g) t\"");
    return false;
}

static const char *read_word(Reader *r)
{
    const char *begin = r->at;
    while (r->at < r->end && is_word(*r->at))
        r->at++;
    return r->at > begin ? name_intern_n(r->c->el->names, begin, (size_t)(r->at - begin)) : NULL;
}

static bool read_group(Reader *r, Term *t)
{
    t->is_group = true;
    r->at++;
    for (skip_blanks(r); r->at < r->end && *r->at != ')'; skip_blanks(r)) {
        const char *word = read_word(r);
        if (!word || t->n == MAX_RANK)
            return false;
        t->member[t->n++] = word;
    }
    if (r->at == r->end || !t->n)
        return false;
    r->at++;
    return true;
}

static bool read_side(Reader *r, Side *s)
{
    for (skip_blanks(r); r->at < r->end; skip_blanks(r)) {
        if (s->n == MAX_RANK)
            return false;
        Term *t = &s->term[s->n++];
        if (*r->at != '(') {
            t->axis = read_word(r);
            if (!t->axis)
                return false;
            if (r->at == r->end || *r->at != ':')
                continue;
            r->at++;
        }
        if (r->at == r->end || *r->at != '(' || !read_group(r, t))
            return false;
    }
    return s->n > 0;
}

static bool read_pattern(OpCall *c, Side *left, Side *right)
{
    const char *text = c->arg[0].text, *arrow = strstr(text, "->");
    if (!arrow)
        return malformed(c);
    Reader l = {c, text, arrow}, r = {c, arrow + 2, text + strlen(text)};
    return (read_side(&l, left) && read_side(&r, right)) || malformed(c);
}

static bool names_axis(const Side *s, const char *axis)
{
    for (int i = 0; i < s->n; i++)
        if (s->term[i].axis == axis)
            return true;
    return false;
}

/* Gives unnamed brackets of the left side the remaining axes, in order. */
static bool place_groups(OpCall *c, Side *left)
{
    const Shape *s = op_shape_of(c);
    int next = 0;
    for (int i = 0; i < left->n; i++) {
        Term *t = &left->term[i];
        while (!t->axis && next < s->rank && names_axis(left, s->name[next]))
            next++;
        if (!t->axis && next < s->rank)
            t->axis = s->name[next];
        if (t->axis && op_axis_size(c, t->axis))
            continue;
        el_error(c->el, DIAG_E0211, c->arg[0].span, "the pattern names an axis '%s' too many",
                 t->axis ? t->axis : t->member[0]);
        el_note(c->el, c->span, "the value here is %s", el_shape_text(c->el, s));
        return false;
    }
    for (int i = 0; i < s->rank; i++)
        if (!names_axis(left, s->name[i])) {
            el_error(c->el, DIAG_E0211, c->arg[0].span, "the pattern does not name axis '%s'",
                     s->name[i]);
            el_note(c->el, c->span, "the value here is %s", el_shape_text(c->el, s));
            return false;
        }
    return true;
}

static int64_t given_size(const OpCall *c, const char *member)
{
    for (int i = 0; i < c->n_extra; i++)
        if (c->extra[i].name == member)
            return c->extra[i].value;
    return 0;
}

/* Sizes of a bracket's members; the one that is not given follows. */
static bool member_sizes(OpCall *c, const Term *t, int64_t *size)
{
    int64_t whole = op_axis_size(c, t->axis), product = 1;
    int unknown = -1, n_unknown = 0;
    for (int i = 0; i < t->n; i++) {
        size[i] = given_size(c, t->member[i]);
        if (!size[i]) {
            unknown = i;
            n_unknown++;
        } else if (__builtin_mul_overflow(product, size[i], &product)) {
            product = 0;
        }
    }
    bool fits = product && whole % product == 0 && (n_unknown == 1 || product == whole);
    if (n_unknown <= 1 && fits) {
        if (n_unknown)
            size[unknown] = whole / product;
        return true;
    }
    if (n_unknown > 1)
        el_error(c->el, DIAG_E0202, c->span, "the size of '%s' is missing", t->member[unknown]);
    else
        el_error(c->el, DIAG_E0250, c->span, "axis '%s' of %lld cannot be taken apart like this",
                 t->axis, (long long)whole);
    el_note(c->el, c->span, "the value here is %s", el_shape_text(c->el, op_shape_of(c)));
    return false;
}

static Val take_apart(OpCall *c, const Term *t, Val x)
{
    int64_t size[MAX_RANK];
    if (!member_sizes(c, t, size))
        return VAL_NONE;
    if (t->n == 1)
        return t->member[0] == t->axis ? x : func_rename(c->el->func, x, t->axis, t->member[0]);
    const char *rest = t->axis;
    for (int i = 0; i + 1 < t->n; i++) {
        const char *inner = i + 2 == t->n ? t->member[i + 1] : op_axis_name(c, rest, "_rest");
        x = func_split(c->el->func, x, rest, t->member[i], inner, size[i]);
        rest = inner;
    }
    return x;
}

/* The axis a bracket of the right side makes: where the same members came from. */
static const char *joined_name(const Side *left, const Term *t)
{
    for (int i = 0; i < left->n; i++) {
        const Term *from = &left->term[i];
        int common = 0;
        for (int a = 0; a < t->n; a++)
            for (int b = 0; b < from->n; b++)
                common += t->member[a] == from->member[b];
        if (from->is_group && common == t->n && common == from->n)
            return from->axis;
    }
    return NULL;
}

static Val join(OpCall *c, const Term *t, Val x)
{
    const char *outer = t->member[0];
    for (int i = 1; i < t->n && x.id; i++) {
        const char *name = i + 1 == t->n ? t->axis : op_axis_name(c, t->axis, "_part");
        x = func_merge(c->el->func, x, outer, t->member[i], name);
        outer = name;
    }
    return t->n == 1 && outer != t->axis ? func_rename(c->el->func, x, outer, t->axis) : x;
}

/* Does the right side name every axis once? */
static bool check_right(OpCall *c, const Side *right, Val x)
{
    const Shape *s = func_shape(c->el->func, x);
    int named = 0;
    for (int i = 0; i < right->n; i++) {
        const Term *t = &right->term[i];
        for (int k = 0; k < (t->is_group ? t->n : 1); k++) {
            const char *axis = t->is_group ? t->member[k] : t->axis;
            if (shape_axis(s, axis) < 0) {
                el_error(c->el, DIAG_E0211, c->arg[0].span,
                         "'%s' stands only on the right side of the pattern", axis);
                return false;
            }
            named++;
        }
    }
    if (named == s->rank)
        return true;
    el_error(c->el, DIAG_E0211, c->arg[0].span,
             "both sides of the pattern name the same axes, each once");
    return false;
}

Val emit_rearrange(OpCall *c)
{
    Side left = {0}, right = {0};
    Val x = c->x;
    if (!read_pattern(c, &left, &right) || !place_groups(c, &left))
        return VAL_NONE;
    for (int i = 0; i < left.n && x.id; i++)
        if (left.term[i].is_group)
            x = take_apart(c, &left.term[i], x);
    if (!x.id || !check_right(c, &right, x))
        return VAL_NONE;
    for (int i = 0; i < right.n && x.id; i++) {
        Term *t = &right.term[i];
        if (t->is_group && !t->axis)
            t->axis = joined_name(&left, t);
        if (!t->axis) {
            el_error(c->el, DIAG_E0250, c->arg[0].span, "the joined axis needs a name");
            el_help(c->el, "write it before the bracket, for example  p:(%s %s)", t->member[0],
                    t->n > 1 ? t->member[1] : "");
            return VAL_NONE;
        }
        if (t->is_group)
            x = join(c, t, x);
    }
    return x;
}
