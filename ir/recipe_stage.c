/* Stages of a recipe: their durations, learning rates and what is kept. */
#include "ir/recipe_reader.h"

#include "frontend/suggest.h"

static const Field rate_field = {.type = FIELD_REAL, .low = 0, .high = 100};

static RecipeStage *find_stage(Recipe *r, const char *name)
{
    for (int i = 0; i < r->n_stages; i++)
        if (!strcmp(r->stages[i].name, name))
            return &r->stages[i];
    return NULL;
}

static void read_lr_argument(Reader *rd, RecipeStage *s, const char *name, Span span,
                             const Expr *value)
{
    bool is_from = !strcmp(name, "from");
    if (!is_from && strcmp(name, "to")) {
        diag_error(rd->diags, DIAG_E0301, span, "a learning rate has 'from' and 'to', no '%s'",
                   name);
        return;
    }
    reader_number(rd, &rate_field, name, value, is_from ? &s->from : &s->to);
    if (s->schedule == RECIPE_CONSTANT)
        *(is_from ? &s->to : &s->from) = is_from ? s->from : s->to;
}

static void read_lr(Reader *rd, RecipeStage *s, const Expr *e)
{
    static const char *const words[] = {"constant", "linear", "cosine"};
    bool known = false;
    if (e->kind == EXPR_NUMBER) {
        s->schedule = RECIPE_CONSTANT;
        reader_number(rd, &rate_field, "lr", e, &s->from);
        s->to = s->from;
        return;
    }
    for (int i = 0; i < 3 && e->kind == EXPR_CALL; i++)
        if (!strcmp(e->name, words[i])) {
            s->schedule = (RecipeSchedule)i;
            known = true;
        }
    if (!known) {
        if (e->kind != EXPR_ERROR) {
            diag_error(rd->diags, DIAG_E0302, e->span, "there is no such learning rate");
            diag_help(rd->diags, "write lr = cosine(from: 1e-3, to: 1e-5), linear(from: .., to: "
                                 "..) or constant(1e-3)");
        }
        return;
    }
    for (uint32_t i = 0; i < e->items.len; i++) {
        const Item *it = &e->items.at[i];
        read_lr_argument(rd, s,
                         it->name ? it->name
                         : i == 0 ? "from"
                         : i == 1 ? "to"
                                  : "third",
                         it->name ? it->name_span : it->value->span, it->value);
    }
    if (s->schedule == RECIPE_CONSTANT)
        s->to = s->from;
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
        *s = (RecipeStage){.name = st->name,
                           .schedule = RECIPE_CONSTANT,
                           .from = 1e-3,
                           .to = 1e-3,
                           .keep = RECIPE_KEEP_LAST};
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
        read_lr_argument(rd, s, path[3], set->path_span, set->value);
    } else {
        diag_error(rd->diags, DIAG_E0301, set->path_span,
                   "a stage is set as stage.NAME, stage.NAME.keep or stage.NAME.lr.from");
    }
}
