/* Label paths, parameters and their initial values. */
#include "ir/elaborate_state.h"

const char *el_path_join(Elaborator *el, const char *path, const char *name)
{
    if (!*path || !*name)
        return *path ? path : name;
    return name_intern(el->names, arena_printf(el->arena, "%s.%s", path, name));
}

/* Given labels are taken as they are; made ones get a number when the path is taken. */
const char *el_label(Elaborator *el, const Item *name, const char *word)
{
    if (name) {
        const char *given = el_string(el, name->value);
        const char *path = el_path_join(el, el->path, given ? given : word);
        map_put(el->arena, &el->labels, path, (void *)1);
        return path;
    }
    const char *first = el_path_join(el, el->path, word), *path = first;
    for (int i = 2; map_get(&el->labels, path); i++)
        path = name_intern(el->names, arena_printf(el->arena, "%s%d", first, i));
    map_put(el->arena, &el->labels, path, (void *)1);
    return path;
}

void el_probe(Elaborator *el, const char *label, Val v)
{
    Func *f = el->func;
    if (!el->options->probes || !v.id || !*label)
        return;
    const char *name = arena_printf(el->arena, "probe/%s", label);
    Result *old = (Result *)func_find_result(f, RESULT_OUTPUT, name);
    if (old)
        old->val = v; /* the last value under a label is the one that counts */
    else
        func_result(f, RESULT_OUTPUT, name, v);
}

/* ---- initial values ---- */

static bool init_call(Elaborator *el, const Expr *e, Init *out)
{
    static const struct {
        const char *name;
        InitKind kind;
        uint32_t n;
    } kinds[] = {
        {"constant", INIT_CONSTANT, 1}, {"normal", INIT_NORMAL, 2}, {"uniform", INIT_UNIFORM, 2}};
    double arg[2] = {0};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (strcmp(e->name, kinds[k].name))
            continue;
        if (e->items.len != kinds[k].n) {
            el_error(el, DIAG_E0202, e->span, "'%s' takes %u values", e->name, kinds[k].n);
            return false;
        }
        for (uint32_t i = 0; i < kinds[k].n; i++) {
            Value v = el_eval(el, e->items.at[i].value);
            if (v.kind != VALUE_NUMBER) {
                if (v.kind != VALUE_ERROR)
                    el_error(el, DIAG_E0201, e->items.at[i].value->span,
                             "a number was expected, not %s", value_kind_text(&v));
                return false;
            }
            arg[i] = v.real;
        }
        *out = (Init){.kind = kinds[k].kind, .a = arg[0], .b = arg[1]};
        return true;
    }
    el_error(el, DIAG_E0101, e->span, "there is no initial value '%s'", e->name);
    el_help(el, "write a number, normal(mean, deviation) or uniform(low, high)");
    return false;
}

/* Means in units of the deviation, or as they are where there is none. */
static const float *relative_means(Elaborator *el, const Session *s)
{
    float *at = ARENA_ARRAY(el->arena, float, (size_t)s->neurons);
    for (int64_t i = 0; i < s->neurons; i++)
        at[i] = s->deviations[i] > 0 ? s->means[i] / s->deviations[i] : s->means[i];
    return at;
}

static bool is_of_session(const char *name)
{
    return !strcmp(name, "coordinates") || !strcmp(name, "means") ||
           !strcmp(name, "relative_means");
}

/* s.coordinates, s.means, s.relative_means: of the recording, or zeros when no data are at hand. */
static bool init_from_session(Elaborator *el, const Expr *e, const Shape *shape, Init *out)
{
    Value s = el_eval(el, e->left);
    bool relative = !strcmp(e->name, "relative_means"),
         means = relative || !strcmp(e->name, "means");
    if (s.kind != VALUE_SESSION) {
        el_error(el, DIAG_E0242, e->span,
                 "%s are a recording's: write s.%s inside of "
                 "'per s in sessions'",
                 e->name, e->name);
        return false;
    }
    const Session *session = &el->module->sessions.at[s.session];
    int columns = means ? 1 : shape->rank == 2 ? (int)shape->size[1] : 0;
    if (shape->rank != (means ? 1 : 2) || shape->size[0] != session->neurons ||
        (!means && columns != 2 && columns != 3)) {
        el_error(el, DIAG_E0203, e->span, "%s fill a parameter %s, not %s", e->name,
                 means ? "[n: s.neurons]" : "[n: s.neurons, k: 2 or 3]", el_shape_text(el, shape));
        return false;
    }
    *out = (Init){.kind = INIT_CONSTANT};
    float *at = ARENA_ARRAY(el->arena, float, (size_t)shape_elems(shape));
    el->module->uses_means |= means;
    if (relative && session->means && session->deviations)
        *out = (Init){.kind = INIT_DATA, .data = relative_means(el, session)};
    else if (means && !relative && session->means)
        *out = (Init){.kind = INIT_DATA, .data = session->means};
    else if (!means && session_normalised_coordinates(session, columns, at))
        *out = (Init){.kind = INIT_DATA, .data = at};
    return true;
}

bool el_init(Elaborator *el, const Expr *e, const Shape *shape, Init *out)
{
    if (e->kind == EXPR_MEMBER && shape && is_of_session(e->name))
        return init_from_session(el, e, shape, out);
    if (e->kind == EXPR_CALL)
        return init_call(el, e, out);
    Value v = el_eval(el, e);
    if (v.kind != VALUE_NUMBER) {
        if (v.kind != VALUE_ERROR)
            el_error(el, DIAG_E0201, e->span,
                     "an initial value is a number, normal(..) or uniform(..), not %s",
                     value_kind_text(&v));
        return false;
    }
    *out = (Init){.kind = INIT_CONSTANT, .a = v.real};
    return true;
}

static const Expr *rule_value(const InitRule *rule, const ParamSpec *spec)
{
    bool fits = false;
    for (uint32_t i = 0; i < rule->call->items.len; i++) {
        const Item *it = &rule->call->items.at[i];
        fits |= !it->name && it->value->kind == EXPR_NAME && !strcmp(it->value->name, spec->op);
    }
    const Item *value = fits ? items_find(&rule->call->items, spec->role) : NULL;
    return value ? value->value : NULL;
}

/* The last rule for this op and role counts. */
static bool choose_init(Elaborator *el, const ParamSpec *spec, Init *out)
{
    *out = spec->init;
    for (uint32_t i = el->inits.len; i-- > 0;) {
        const Expr *e = rule_value(&el->inits.at[i], spec);
        if (!e)
            continue;
        Frame frame = {.caller = el->frame};
        Frame *outer = el->frame;
        const Scope *s = el->inits.at[i].scope;
        for (uint32_t k = 0; k < s->len; k++)
            vec_push(el->arena, &frame.scope, s->at[k]);
        el->frame = &frame;
        el_bind(el, name_intern(el->names, "fan_in"), value_int(spec->fan_in));
        el_bind(el, name_intern(el->names, "fan_out"), value_int(spec->fan_out));
        bool ok = el_init(el, e, &spec->shape, out);
        el->frame = outer;
        return ok;
    }
    return true;
}

Val el_param(Elaborator *el, const ParamSpec *spec)
{
    const char *name = el_path_join(el, spec->label, spec->role);
    SeenName *seen = map_get(&el->made, name);
    if (seen) {
        el_error(el, DIAG_E0104, spec->span, "two parameters would be called '%s'", name);
        el_note(el, seen->span, "the first one is made here");
        el_help(el, "give one of the calls a name: of its own");
        return VAL_NONE;
    }
    seen = ARENA_NEW(el->arena, SeenName);
    *seen = (SeenName){name, spec->span};
    map_put(el->arena, &el->made, name, seen);

    int64_t elems = 1;
    for (int i = 0; i < spec->shape.rank; i++)
        if (__builtin_mul_overflow(elems, spec->shape.size[i], &elems) || elems > INT32_MAX) {
            el_error(el, DIAG_E0004, spec->span, "a parameter has more than 2147483647 elements");
            return VAL_NONE;
        }
    el->func->span = spec->span;
    if (!module_param(el->module, name)) {
        Param p = {.name = name,
                   .shape = spec->shape,
                   .session = (int16_t)el->session,
                   .is_state = spec->is_state,
                   .no_decay = spec->no_decay,
                   .frozen = spec->frozen,
                   .limit = spec->limit,
                   .span = spec->span};
        if (!choose_init(el, spec, &p.init) || !module_add_param(el->module, p))
            return VAL_NONE;
    }
    Val v = func_param(el->func, name);
    if (spec->limit > 0)
        v = func_emit(el->func, OP_HOLD, &(Attrs){.k = {spec->limit}}, &v, 1);
    return v;
}
