/* Chooses model and recipe, settles arguments, sizes and sessions, and walks the model twice: for
 * "eval" and for "train". */
#include "ir/elaborate_state.h"

/* What is to be built. */
typedef struct Plan {
    const Decl *chain[64]; /* the model, what it varies, ..; the last is a DECL_MODEL */
    int n_chain;
    Value *given;        /* per formal of the last: kind VALUE_ERROR where the default counts */
    Shape *tensors;      /* per formal: shape of a tensor */
    VEC(AxisSize) bound; /* sizes of axes that a variant or an override gives; the last counts */
    Recipe *recipe;
    int64_t batch;
} Plan;

static const Decl *root_model(const Plan *p)
{
    return p->chain[p->n_chain - 1];
}

static bool is_model(const Decl *d)
{
    return d && (d->kind == DECL_MODEL || d->kind == DECL_VARIANT);
}

/* ---- model ---- */

static const Decl *last_of(const ProgramFile *f, bool (*wanted)(const Decl *))
{
    const Decl *last = NULL;
    for (uint32_t i = 0; i < f->names.n; i++)
        if (wanted(f->names.entry[i].value))
            last = f->names.entry[i].value;
    return last;
}

static bool is_recipe(const Decl *d)
{
    return d->kind == DECL_RECIPE;
}

static const Decl *unknown(Elaborator *el, const ProgramFile *main, const char *what,
                           const char *name, bool (*wanted)(const Decl *))
{
    Suggest near = suggest_for(name);
    Text all = {.arena = el->arena};
    for (uint32_t i = 0; i < main->names.n; i++)
        if (wanted(main->names.entry[i].value)) {
            suggest_offer(&near, main->names.entry[i].key);
            text_printf(&all, "%s%s", all.len ? ", " : "", main->names.entry[i].key);
        }
    el_error(el, DIAG_E0102, SPAN_NONE, "%s has no %s '%s'", main->path, what, name);
    if (suggest_best(&near))
        el_help(el, "did you mean '%s'?", suggest_best(&near));
    else if (all.len)
        el_help(el, "it has: %s", text_str(&all));
    return NULL;
}

static bool is_any_model(const Decl *d)
{
    return is_model(d);
}

static const Decl *choose_model(Elaborator *el, const ProgramFile *main)
{
    const ElaborateOptions *o = el->options;
    const Decl *d = NULL;
    if (o->model) {
        d = map_get(&main->names, o->model);
        return is_model(d) ? d : unknown(el, main, "model", o->model, is_any_model);
    }
    const Decl *recipe = o->recipe ? map_get(&main->names, o->recipe) : NULL;
    if (recipe && is_recipe(recipe) && recipe->model)
        d = program_find(el->program, recipe->span, recipe->model);
    for (uint32_t i = 0; !d && i < main->ast->decls.len; i++) {
        const Decl *own = main->ast->decls.at[main->ast->decls.len - 1 - i];
        if (is_model(own))
            d = own;
    }
    if (!d)
        d = last_of(main, is_any_model);
    if (is_model(d))
        return d;
    el_error(el, DIAG_E0102, SPAN_NONE, "%s defines no model", main->path);
    return NULL;
}

static bool follow_chain(Elaborator *el, const Decl *d, Plan *p)
{
    while (d) {
        if (p->n_chain == sizeof p->chain / sizeof *p->chain) {
            el_error(el, DIAG_E0240, d->name_span, "'%s' is a variant of itself", d->name);
            return false;
        }
        p->chain[p->n_chain++] = d;
        if (d->kind == DECL_MODEL)
            return true;
        const Decl *base = program_find(el->program, d->span, d->base);
        if (!is_model(base)) {
            el_error(el, DIAG_E0102, d->base_span, "there is no model named '%s'", d->base);
            return false;
        }
        d = base;
    }
    return false;
}

/* ---- arguments ---- */

static int find_formal(const Decl *d, const char *name)
{
    for (uint32_t i = 0; i < d->formals.len; i++)
        if (!strcmp(d->formals.at[i].name, name) && d->formals.at[i].type->kind != TYPE_TENSOR)
            return (int)i;
    return -1;
}

/* Is it an axis of one of the model's tensors? */
static bool has_axis(const Decl *d, const char *name)
{
    for (uint32_t i = 0; i < d->formals.len; i++) {
        const Type *type = d->formals.at[i].type;
        for (uint32_t k = 0; type->kind == TYPE_TENSOR && k < type->axes.len; k++) {
            const Item *a = &type->axes.at[k];
            if (!strcmp(a->name ? a->name : a->value->name, name))
                return true;
        }
    }
    return false;
}

static void no_formal(Elaborator *el, const Decl *model, const char *name, Span span)
{
    Suggest near = suggest_for(name);
    for (uint32_t i = 0; i < model->formals.len; i++)
        suggest_offer(&near, model->formals.at[i].name);
    el_error(el, DIAG_E0103, span, "'%s' has no parameter '%s'", model->name, name);
    if (suggest_best(&near))
        el_help(el, "did you mean '%s'?", suggest_best(&near));
}

/* Sets a parameter of the model, or the size of an axis of its tensors. */
static void give(Elaborator *el, Plan *p, const char *name, Span span, const Expr *e)
{
    int formal = find_formal(root_model(p), name);
    if (formal >= 0) {
        p->given[formal] = el_eval(el, e);
        p->given[formal].span = e->span;
    } else if (has_axis(root_model(p), name)) {
        int64_t size = el_size(el, e, name);
        if (size)
            vec_push(el->arena, &p->bound, (AxisSize){name, size});
    } else {
        no_formal(el, root_model(p), name, span);
    }
}

static void variant_arguments(Elaborator *el, Plan *p)
{
    for (int i = p->n_chain - 2; i >= 0; i--) {
        const Decl *d = p->chain[i];
        for (uint32_t k = 0; k < d->items.len; k++) {
            const Item *it = &d->items.at[k];
            if (it->name)
                give(el, p, it->name, it->name_span, it->value);
            else
                el_error(el, DIAG_E0202, it->value->span,
                         "a variant names the parameters it changes");
        }
    }
}

static void unknown_set(Elaborator *el, const Plan *p, const SetOption *set)
{
    Suggest near = suggest_for(set->path.at[0]);
    const Decl *model = root_model(p);
    for (uint32_t i = 0; i < model->formals.len; i++)
        suggest_offer(&near, model->formals.at[i].name);
    for (int i = 0; recipe_setting(i); i++)
        suggest_offer(&near, recipe_setting(i));
    el_error(el, DIAG_E0301, set->path_span,
             "neither the model '%s' nor the recipe has a setting '%s'", model->name,
             set->path.at[0]);
    if (suggest_best(&near))
        el_help(el, "did you mean '%s'?", suggest_best(&near));
}

/* Overrides of model parameters are applied here, those of the recipe when it has been read. */
static void apply_sets(Elaborator *el, Plan *p, bool to_recipe)
{
    for (int i = 0; i < el->options->n_sets; i++) {
        const SetOption *set = &el->options->sets[i];
        const char *first = set->path.at[0];
        bool says_recipe = !strcmp(first, "recipe") && set->path.len > 1;
        bool says_model = !strcmp(first, "model") && set->path.len == 2;
        const char *name = says_model ? set->path.at[1] : first;
        bool is_known = find_formal(root_model(p), name) >= 0 || has_axis(root_model(p), name);
        bool is_argument = says_model || (set->path.len == 1 && is_known);
        if (is_argument && !to_recipe) {
            give(el, p, name, set->path_span, set->value);
        } else if (!is_argument && to_recipe) {
            if (says_recipe || recipe_has_setting(first))
                recipe_set(el->arena, el->names, el->diags, set, says_recipe, p->recipe);
            else
                unknown_set(el, p, set);
        }
    }
}

static void collect_replacements(Elaborator *el, const Plan *p)
{
    for (int i = 0; i < p->n_chain - 1; i++)
        for (uint32_t k = 0; k < p->chain[i]->body.stmts.len; k++) {
            const Stmt *s = p->chain[i]->body.stmts.at[k];
            if (s->kind == STMT_REPLACE)
                vec_push(el->arena, &el->replacements, (Replacement){s->name, s, false});
        }
}

/* ---- recipe ---- */

static bool is_in_chain(const Plan *p, const Decl *d)
{
    for (int i = 0; i < p->n_chain; i++)
        if (p->chain[i] == d)
            return true;
    return false;
}

static const Decl *model_of(const Elaborator *el, const Decl *recipe)
{
    return recipe->model ? program_find(el->program, recipe->span, recipe->model) : NULL;
}

/* The last recipe for the model, else for what it varies; the main file's before imported ones. */
static const Decl *choose_recipe(Elaborator *el, const ProgramFile *main, const Plan *p)
{
    if (el->options->recipe) {
        const Decl *d = map_get(&main->names, el->options->recipe);
        if (!d || !is_recipe(d))
            return unknown(el, main, "recipe", el->options->recipe, is_recipe);
        if (is_in_chain(p, model_of(el, d)))
            return d;
        el_error(el, DIAG_E0302, d->model_span, "the recipe '%s' is for another model than '%s'",
                 d->name, p->chain[0]->name);
        return NULL;
    }
    for (int i = 0; i < p->n_chain; i++) {
        const Decl *last = NULL;
        for (uint32_t f = 0; f < el->program->files.len; f++) {
            const AstFile *ast = el->program->files.at[f]->ast;
            for (uint32_t k = 0; k < ast->decls.len; k++)
                if (is_recipe(ast->decls.at[k]) && model_of(el, ast->decls.at[k]) == p->chain[i])
                    last = ast->decls.at[k];
        }
        if (last)
            return last;
    }
    return NULL;
}

static void read_recipe_chain(Elaborator *el, const Decl *d, Recipe *r, int depth)
{
    if (d->base) {
        const Decl *base = program_find(el->program, d->span, d->base);
        if (!base || !is_recipe(base))
            el_error(el, DIAG_E0102, d->base_span, "there is no recipe named '%s'", d->base);
        else if (depth == CALL_DEPTH_LIMIT)
            el_error(el, DIAG_E0240, d->base_span, "'%s' is a variant of itself", d->name);
        else
            read_recipe_chain(el, base, r, depth + 1);
    }
    recipe_read(el->arena, el->names, el->diags, &d->body, r);
}

static void settle_recipe(Elaborator *el, const ProgramFile *main, Plan *p)
{
    uint32_t before = el->diags->n_errors;
    Span span = p->chain[0]->name_span;
    recipe_default(p->recipe);
    const Decl *d = choose_recipe(el, main, p);
    if (d) {
        if (!is_model(model_of(el, d)))
            el_error(el, DIAG_E0102, d->model_span, "there is no model named '%s'", d->model);
        read_recipe_chain(el, d, p->recipe, 0);
        p->recipe->name = d->name;
        span = d->name_span;
    }
    p->recipe->model = p->chain[0]->name;
    recipe_complete(p->recipe);
    apply_sets(el, p, true);
    if (el->diags->n_errors == before)
        recipe_check(el->diags, span, p->recipe);
}

/* ---- sessions ---- */

/* Name and neurons as given; what the data say of the neurons comes with them. */
static bool add_session(Elaborator *el, const Session *s, Span span)
{
    const char *name = s->name;
    int64_t neurons = s->neurons;
    Module *m = el->module;
    for (uint32_t i = 0; i < m->sessions.len; i++)
        if (!strcmp(m->sessions.at[i].name, name)) {
            el_error(el, DIAG_E0104, span, "the session '%s' stands twice", name);
            return false;
        }
    if (neurons < 1 || neurons > MAX_AXIS || m->sessions.len == SESSION_LIMIT) {
        el_error(el, DIAG_E0250, span,
                 "the session '%s' has %lld neurons; 1 to %d are possible, in at most %d sessions",
                 name, (long long)neurons, MAX_AXIS, SESSION_LIMIT);
        return false;
    }
    vec_push(el->arena, &m->sessions, *s);
    m->sessions.at[m->sessions.len - 1].name = name_intern(el->names, name);
    return true;
}

static const Decl *find_sessions(const Elaborator *el, const ProgramFile *main, const Plan *p)
{
    const Decl *d = map_get(&main->names, "sessions");
    for (int i = 0; !d && i < p->n_chain; i++)
        d = program_find(el->program, p->chain[i]->span, "sessions");
    return d && d->kind == DECL_CONST ? d : NULL;
}

static bool settle_sessions(Elaborator *el, const ProgramFile *main, const Plan *p)
{
    const ElaborateOptions *o = el->options;
    bool ok = true;
    if (o->sessions) {
        for (int i = 0; i < o->n_sessions; i++)
            ok &= add_session(el, &o->sessions[i], SPAN_NONE);
        if (o->n_sessions > 0)
            return ok;
    }
    const Decl *d = find_sessions(el, main, p);
    if (!d) {
        el_error(el, DIAG_E0102, root_model(p)->name_span, "no sessions are known");
        el_help(el, "name a folder of recordings, or write  sessions = [\"name\": 7863]");
        return false;
    }
    Value list = el_constant(el, d);
    if (list.kind == VALUE_ERROR)
        return false;
    for (uint32_t i = 0; list.kind == VALUE_LIST && i < list.n; i++) {
        const Value *v = &list.item[i];
        if (v->kind != VALUE_ENTRY || !value_is_int(v->item)) {
            ok = false;
            break;
        }
        if (!add_session(el, &(Session){.name = v->text, .neurons = v->item->num}, v->span))
            return false;
    }
    if (ok && list.kind == VALUE_LIST && list.n)
        return true;
    el_error(el, DIAG_E0201, d->value->span, "sessions are a list [\"name\": neurons, ..]");
    return false;
}

/* ---- sizes ---- */

static int64_t bound_size(const Elaborator *el, const Plan *p, const char *axis)
{
    for (int i = 0; i < el->options->n_bind; i++)
        if (!strcmp(el->options->bind[i].axis, axis))
            return el->options->bind[i].size;
    for (uint32_t i = p->bound.len; i-- > 0;)
        if (!strcmp(p->bound.at[i].axis, axis) && strcmp(axis, "b"))
            return p->bound.at[i].size;
    return strcmp(axis, "b") ? 0 : p->batch;
}

static bool settle_axis(Elaborator *el, const Plan *p, const Item *a, Shape *out)
{
    const char *axis = a->name ? a->name : a->value->name;
    Span span = a->name ? a->name_span : a->value->span;
    int64_t size = bound_size(el, p, axis);
    /* a bare axis is as long as that of an earlier tensor */
    for (const Shape *s = p->tensors; !size && !a->name && s < out; s++)
        size = shape_axis(s, axis) >= 0 ? s->size[shape_axis(s, axis)] : 0;
    if (!size && a->name)
        size = el_size(el, a->value, axis);
    else if (!size)
        el_error(el, DIAG_E0220, span, "the size of axis '%s' is not known", axis);
    if (!size)
        return false;
    if (size < 0 || size > MAX_AXIS) {
        el_error(el, DIAG_E0220, span, "axis '%s' cannot have the size %lld", axis,
                 (long long)size);
        return false;
    }
    if (shape_add(out, axis, size))
        return true;
    el_error(el, DIAG_E0212, span, "axis '%s' stands twice, or is one too many", axis);
    return false;
}

static bool settle_tensors(Elaborator *el, Plan *p)
{
    const Decl *d = root_model(p);
    bool any = false;
    for (uint32_t i = 0; i < d->formals.len; i++) {
        const Type *type = d->formals.at[i].type;
        if (type->kind == TYPE_ERROR)
            return false;
        for (uint32_t k = 0; type->kind == TYPE_TENSOR && k < type->axes.len; k++)
            if (!settle_axis(el, p, &type->axes.at[k], &p->tensors[i]))
                return false;
        any |= type->kind == TYPE_TENSOR;
    }
    if (!any)
        el_error(el, DIAG_E0202, d->name_span, "the model '%s' has no tensor among its parameters",
                 d->name);
    return any;
}

/* ---- the walk ---- */

static void build(Elaborator *el, const char *name, const Plan *p, Value *arguments)
{
    const Decl *d = root_model(p);
    Frame *top = el->frame, frame = {.caller = top, .decl = d};
    el->is_training = !strcmp(name, "train");
    el->func = module_add_func(el->module, name);
    el->path = "";
    el->place = NULL;
    el->session = -1;
    el->has_sessions = false;
    el->n_executed = 0;
    el->inits.len = el->penalties.len = 0;
    el->labels = el->made = (Map){0};
    memset(el->session_result, 0, sizeof *el->session_result * el->module->sessions.len);
    memcpy(arguments, p->given, sizeof *arguments * d->formals.len);
    for (uint32_t i = 0; i < d->formals.len; i++) {
        if (d->formals.at[i].type->kind != TYPE_TENSOR)
            continue;
        el->func->span = d->formals.at[i].span;
        Val v = func_input(el->func, d->formals.at[i].name, &p->tensors[i]);
        arguments[i] = (Value){.kind = VALUE_TENSOR, .span = d->formals.at[i].span, .val = v};
    }
    if (!el_bind_formals(el, &frame, arguments))
        return;
    el->frame = &frame;
    el_body(el, &d->body);
    if (!el->has_sessions && !el->diags->n_errors)
        el_error(el, DIAG_E0202, d->name_span,
                 "the model '%s' has no  part .. per s in sessions  that returns a prediction",
                 d->name);
    if (!el->diags->n_errors)
        el_build_loss(el, p->recipe);
    el->frame = top;
}

static void check_replacements(Elaborator *el)
{
    for (uint32_t i = 0; i < el->replacements.len; i++) {
        const Replacement *r = &el->replacements.at[i];
        bool hidden = false;
        for (uint32_t k = 0; k < i; k++)
            hidden |= el->replacements.at[k].name == r->name;
        if (!r->used && !hidden)
            el_error(el, DIAG_E0101, r->stmt->name_span,
                     "the model uses no part or block named '%s'", r->name);
    }
}

/* A recipe may serve models without some part; but a name may also be mistaken. */
static void check_selections(const Elaborator *el, const Recipe *recipe)
{
    const char *by = NULL;
    const RecipeSelection *which;
    for (int i = 0; (which = recipe_selection(recipe, i, &by)); i++) {
        bool is_used = false;
        for (uint32_t k = 0; k < el->module->params.len && !is_used; k++)
            is_used = !el->module->params.at[k].is_state &&
                      recipe_selects(which->of, el->module->params.at[k].name);
        if (!is_used)
            diag_warning(el->diags, DIAG_E0302, which->span,
                         "'%s' is for no parameter of this model: none begins with \"%s\"", by,
                         which->of);
    }
}

static Module *elaborate_program(Elaborator *el, const ProgramFile *main, Elaborated *out)
{
    Plan p = {.recipe = &out->recipe};
    Frame top = {0};
    el->frame = &top;
    const Decl *model = choose_model(el, main);
    if (!model || !follow_chain(el, model, &p))
        return NULL;
    const Decl *root = root_model(&p);
    p.given = ARENA_ARRAY(el->arena, Value, root->formals.len);
    p.tensors = ARENA_ARRAY(el->arena, Shape, root->formals.len);
    el->module->model = model->name;
    variant_arguments(el, &p);
    apply_sets(el, &p, false);
    settle_recipe(el, main, &p);
    p.batch = el->options->batch ? el->options->batch : p.recipe->batch / p.recipe->accumulate;
    collect_replacements(el, &p);
    if (!settle_sessions(el, main, &p) || !settle_tensors(el, &p))
        return NULL;

    Value *arguments = ARENA_ARRAY(el->arena, Value, root->formals.len);
    el->session_result = ARENA_ARRAY(el->arena, Value, el->module->sessions.len);
    build(el, "eval", &p, arguments);
    if (!el->diags->n_errors)
        check_replacements(el);
    if (!el->diags->n_errors)
        build(el, "train", &p, arguments);
    el_read_maps(el->program, out);
    if (el->diags->n_errors)
        return NULL;
    check_selections(el, p.recipe);

    Resolved r = {.n_chain = p.n_chain,
                  .arguments = arguments,
                  .tensors = p.tensors,
                  .sessions = el->module->sessions.at,
                  .n_sessions = (int)el->module->sessions.len};
    memcpy(r.chain, p.chain, sizeof r.chain);
    out->resolved = el_resolved_text(el, &r, p.recipe);
    return el->module;
}

static Module *run(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                   size_t len, const ElaborateOptions *options, Elaborated *out)
{
    Program program = {.arena = arena, .names = names, .diags = diags};
    Elaborator el = {.arena = arena,
                     .names = names,
                     .diags = diags,
                     .program = &program,
                     .options = options,
                     .module = module_new(arena, names, diags),
                     .path = "",
                     .session = -1,
                     .noted = diags->n_errors};
    *out = (Elaborated){0};
    const ProgramFile *main =
        text ? program_read_text(&program, path, text, len) : program_read(&program, path);
    if (!main || diags->n_errors)
        return NULL;
    return elaborate_program(&el, main, out);
}

Module *elaborate(Arena *arena, Names *names, Diags *diags, const char *path,
                  const ElaborateOptions *options, Elaborated *out)
{
    return run(arena, names, diags, path, NULL, 0, options, out);
}

Module *elaborate_text(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                       size_t len, const ElaborateOptions *options, Elaborated *out)
{
    return run(arena, names, diags, path, text, len, options, out);
}
