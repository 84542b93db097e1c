/* Stages of a recipe: their durations, learning rates and what is kept. */
#include "ir/recipe_reader.h"

#include "frontend/suggest.h"

/* The words of `lr`, by their number. */
static const char *const schedules[] = {"constant", "linear", "cosine", "plateau"};
enum { N_SCHEDULES = sizeof schedules / sizeof *schedules };

static const RecipeStage blank = {
    .schedule = RECIPE_CONSTANT,
    .from = 1e-3,
    .to = 1e-3,
    .keep = RECIPE_KEEP_LAST,
    .plateau = {.factor = 0.3, .patience = 5, .reductions = 2, .best = -1, .restores = 4},
};

const RecipeStage *recipe_stage_blank(void)
{
    return &blank;
}

static RecipeStage *find_stage(Recipe *r, const char *name)
{
    for (int i = 0; i < r->n_stages; i++)
        if (!strcmp(r->stages[i].name, name))
            return &r->stages[i];
    return NULL;
}

/* The argument of a schedule by name, or the n-th one. */
static const Field *find_lr_field(RecipeSchedule schedule, const char *arg, int n)
{
    for (int i = 0; recipe_stage_field(i); i++) {
        const Field *f = recipe_stage_field(i);
        if (!strcmp(f->function, schedules[schedule]) && (arg ? !strcmp(f->arg, arg) : n-- == 0))
            return f;
    }
    return NULL;
}

/* `name` NULL: the n-th argument. */
static void read_lr_argument(Reader *rd, RecipeStage *s, const char *name, int n, Span span,
                             const Expr *value)
{
    const Field *f = find_lr_field(s->schedule, name, n);
    Suggest near = suggest_for(name ? name : "");
    if (f) {
        reader_field(rd, f, value, s);
        if (s->schedule == RECIPE_CONSTANT)
            s->to = s->from;
        return;
    }
    for (int i = 0; (f = find_lr_field(s->schedule, NULL, i)); i++)
        suggest_offer(&near, f->arg);
    if (name)
        diag_error(rd->diags, DIAG_E0301, span, "'%s' has no '%s'", schedules[s->schedule], name);
    else
        diag_error(rd->diags, DIAG_E0302, span, "'%s' has no further value",
                   schedules[s->schedule]);
    if (name && suggest_best(&near))
        diag_help(rd->diags, "did you mean '%s'?", suggest_best(&near));
}

static void read_lr(Reader *rd, RecipeStage *s, const Expr *e)
{
    bool known = e->kind == EXPR_NUMBER;
    int next = 0;
    if (known) {
        s->schedule = RECIPE_CONSTANT;
        read_lr_argument(rd, s, "from", 0, e->span, e);
        return;
    }
    for (int i = 0; i < N_SCHEDULES && e->kind == EXPR_CALL; i++)
        if (!strcmp(e->name, schedules[i])) {
            s->schedule = (RecipeSchedule)i;
            known = true;
        }
    if (!known && e->kind != EXPR_ERROR) {
        diag_error(rd->diags, DIAG_E0302, e->span, "there is no such learning rate");
        diag_help(rd->diags, "write lr = cosine(from: 1e-3, to: 1e-5), linear(from: .., to: ..), "
                             "plateau(from: ..) or constant(1e-3)");
    }
    for (uint32_t i = 0; i < e->items.len && known; i++) {
        const Item *it = &e->items.at[i];
        read_lr_argument(rd, s, it->name, it->name ? 0 : next++,
                         it->name ? it->name_span : it->value->span, it->value);
    }
}

static void read_stage_setting(Reader *rd, RecipeStage *s, const char *name, Span span,
                               const Expr *value)
{
    static const char *const keeps[] = {"none", "last", "best"};
    if (!strcmp(name, "lr")) {
        read_lr(rd, s, value);
    } else if (!strcmp(name, "keep")) {
        int keep = reader_word(rd, "keep", value, keeps, 3);
        if (keep >= 0)
            s->keep = (RecipeKeep)keep;
    } else {
        Suggest near = suggest_for(name);
        suggest_offer(&near, "lr");
        suggest_offer(&near, "keep");
        diag_error(rd->diags, DIAG_E0301, span, "a stage has no setting '%s'", name);
        if (suggest_best(&near))
            diag_help(rd->diags, "did you mean '%s'?", suggest_best(&near));
    }
}

void reader_stage(Reader *rd, const Stmt *st)
{
    Recipe *r = rd->r;
    RecipeStage *s = find_stage(r, st->name), scratch;
    if (!s && r->n_stages == RECIPE_MAX_STAGES) {
        diag_error(rd->diags, DIAG_E0004, st->name_span, "a recipe has at most %d stages",
                   RECIPE_MAX_STAGES);
        return;
    }
    if (!s) {
        s = &r->stages[r->n_stages++];
        *s = blank;
        s->name = st->name;
        if (!st->items.len) {
            diag_error(rd->diags, DIAG_E0304, st->name_span, "'stage' needs a duration");
            diag_help(rd->diags, "write stage %s(10 epochs) { .. }", st->name);
        }
    }
    if (st->items.len) {
        scratch = *s;
        const Item *it = &st->items.at[0];
        if (it->name || st->items.len > 1)
            diag_error(rd->diags, DIAG_E0302, it->value->span,
                       "a stage has one argument, its duration");
        else if (reader_period(rd, "stage", it->value, &scratch.epochs))
            *s = scratch;
    }
    for (uint32_t i = 0; i < st->body.stmts.len; i++) {
        const Stmt *in = st->body.stmts.at[i];
        if (in->kind == STMT_ASSIGN && in->target->kind == EXPR_NAME)
            read_stage_setting(rd, s, in->target->name, in->target->span, in->value);
    }
}

void reader_set_stage(Reader *rd, const SetOption *set, const char *const *path, int n)
{
    RecipeStage *s = n > 1 ? find_stage(rd->r, path[1]) : NULL;
    if (!s) {
        Suggest near = suggest_for(n > 1 ? path[1] : "");
        for (int i = 0; i < rd->r->n_stages; i++)
            suggest_offer(&near, rd->r->stages[i].name);
        diag_error(rd->diags, DIAG_E0301, set->path_span, "there is no stage '%s'",
                   n > 1 ? path[1] : "");
        if (suggest_best(&near))
            diag_help(rd->diags, "did you mean '%s'?", suggest_best(&near));
    } else if (n == 2) {
        reader_period(rd, "stage", set->value, &s->epochs);
    } else if (n == 3) {
        read_stage_setting(rd, s, path[2], set->path_span, set->value);
    } else if (n == 4 && !strcmp(path[2], "lr")) {
        read_lr_argument(rd, s, path[3], 0, set->path_span, set->value);
    } else {
        diag_error(rd->diags, DIAG_E0301, set->path_span,
                   "a stage is set as stage.NAME, stage.NAME.keep or stage.NAME.lr.from");
    }
}
