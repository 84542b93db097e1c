/* Reads a recipe's settings: every argument goes through its row of recipe_fields.c. */
#include "ir/recipe_reader.h"

#include "frontend/suggest.h"

void recipe_default(Recipe *r)
{
    *r = (Recipe){.rate = 30,
                  .n_channels = 3,
                  .channels = {RECIPE_VIDEO, RECIPE_BEHAVIOR, RECIPE_PUPIL},
                  .clip_frames = 16,
                  .clip_every = 1,
                  .cutmix_alpha = 1,
                  .cutmix_chance = 0.5,
                  .batch = 8,
                  .accumulate = 1,
                  .epoch = 1024,
                  .loss_weight = 1,
                  .loss_eps = 1e-8,
                  .correlation_eps = 0x1p-23,
                  .weight_decay = 0.01,
                  .beta1 = 0.9,
                  .beta2 = 0.999,
                  .adam_eps = 1e-8,
                  .warmup = 400,
                  .seed = 1,
                  .teacher_ratio = 0.36,
                  .predict_frames = 16,
                  .predict_every = 1,
                  .burn_in = 50,
                  .keep_last = 2,
                  .checkpoint_epochs = 1,
                  .validate_epochs = 1};
}

void recipe_complete(Recipe *r)
{
    if (r->n_stages)
        return;
    RecipeStage *s = &r->stages[r->n_stages++];
    *s = *recipe_stage_blank();
    s->name = "train";
    s->epochs = 10;
    s->schedule = RECIPE_COSINE;
    s->to = 1e-5;
}

/* ---- settings ---- */

bool recipe_has_setting(const char *name)
{
    for (int i = 0; recipe_field(i); i++)
        if (!strcmp(recipe_field(i)->setting, name))
            return true;
    return !strcmp(name, "stage");
}

const char *recipe_setting(int i)
{
    const Field *f = recipe_field(i);
    return f ? f->setting : NULL;
}

static void unknown_setting(Reader *rd, const char *name, Span span)
{
    Suggest near = suggest_for(name);
    for (int i = 0; recipe_field(i); i++)
        suggest_offer(&near, recipe_field(i)->setting);
    suggest_offer(&near, "stage");
    diag_error(rd->diags, DIAG_E0301, span, "a recipe has no setting '%s'", name);
    if (suggest_best(&near))
        diag_help(rd->diags, "did you mean '%s'?", suggest_best(&near));
}

/* The field of an argument: the n-th of the function, or by name. */
static const Field *find_field(const char *setting, const char *function, const char *arg, int n)
{
    for (int i = 0; recipe_field(i); i++) {
        const Field *f = recipe_field(i);
        if (strcmp(f->setting, setting) || !f->function ||
            (function && strcmp(f->function, function)))
            continue;
        if (arg ? !strcmp(f->arg, arg) : n-- == 0)
            return f;
    }
    return NULL;
}

static void unknown_argument(Reader *rd, const char *setting, const char *function, const char *arg,
                             Span span)
{
    Suggest near = suggest_for(arg);
    for (int i = 0; recipe_field(i); i++) {
        const Field *f = recipe_field(i);
        if (!strcmp(f->setting, setting) && f->arg && (!function || !strcmp(f->function, function)))
            suggest_offer(&near, f->arg);
    }
    diag_error(rd->diags, DIAG_E0301, span, "'%s' has no '%s'", function ? function : setting, arg);
    if (suggest_best(&near))
        diag_help(rd->diags, "did you mean '%s'?", suggest_best(&near));
}

/* The item of a list that is for these parameters; another one when there is none. NULL after a
 * diagnostic. */
static void *list_item(Reader *rd, const FieldList *list, const char *of, Span span)
{
    int64_t *n = (int64_t *)(void *)((char *)rd->r + list->count);
    char *at = (char *)rd->r + list->at;
    for (int64_t i = 0; i < *n; i++) {
        RecipeSelection own;
        memcpy(&own, at + (size_t)i * list->bytes, sizeof own);
        if (!strcmp(own.of, of))
            return at + (size_t)i * list->bytes;
    }
    if (*n == list->most) {
        diag_error(rd->diags, DIAG_E0004, span, "'%s' stands at most %d times in '%s'",
                   list->function, (int)list->most, list->setting);
        return NULL;
    }
    at += (size_t)(*n)++ * list->bytes;
    memcpy(at, list->blank, list->bytes);
    memcpy(at, &(RecipeSelection){of, span}, sizeof(RecipeSelection));
    return at;
}

/* What the fields of a call are kept in: the recipe, or the item that its first argument finds. */
static void *place_of_call(Reader *rd, const char *setting, const Expr *call)
{
    const FieldList *list = recipe_list(setting, call->name);
    if (!list)
        return rd->r;
    const Field *f = find_field(setting, call->name, NULL, 0);
    const Item *first = call->items.len ? &call->items.at[0] : NULL;
    RecipePenalty said = {0};
    if (!first || (first->name && strcmp(first->name, f->arg))) {
        diag_error(rd->diags, DIAG_E0302, first ? first->value->span : call->span,
                   "'%s' begins with names of parameters, %s(\"core\", ..)", call->name,
                   call->name);
        return NULL;
    }
    return reader_field(rd, f, first->value, &said)
               ? list_item(rd, list, said.which.of, first->value->span)
               : NULL;
}

static void read_call(Reader *rd, const char *setting, const Expr *call)
{
    if (!find_field(setting, call->name, NULL, 0)) {
        diag_error(rd->diags, DIAG_E0302, call->op_span.file ? call->op_span : call->span,
                   "'%s' cannot be '%s'", setting, call->name);
        diag_help(rd->diags, "write %s = %s", setting, recipe_setting_form(rd->arena, setting));
        return;
    }
    void *place = place_of_call(rd, setting, call);
    if (!place)
        return;
    const CallSwitch *said = recipe_call_switch(setting, call->name);
    if (said)
        memcpy((char *)rd->r + said->offset, &said->value, said->bytes);
    int next = 0;
    for (uint32_t i = 0; i < call->items.len; i++) {
        const Item *it = &call->items.at[i];
        const Field *f = find_field(setting, call->name, it->name, it->name ? 0 : next++);
        if (f)
            reader_field(rd, f, it->value, place);
        else if (it->name)
            unknown_argument(rd, setting, call->name, it->name, it->name_span);
        else
            diag_error(rd->diags, DIAG_E0302, it->value->span, "'%s' has no further value",
                       call->name);
    }
}

/* The word of that name that stands for the whole setting; NULL: none. */
static const BareWord *find_word(const char *setting, const Expr *e)
{
    const BareWord *word = NULL;
    for (int i = 0; e->kind == EXPR_NAME && (word = recipe_bare_word(setting, i)); i++)
        if (!strcmp(e->name, word->word))
            return word;
    return NULL;
}

/* recordings(..) |> clip(..) |> pad(..), or one call, or the word that switches it off. */
static void read_chain(Reader *rd, const char *setting, const Expr *e)
{
    const BareWord *off = find_word(setting, e);
    if (e->kind == EXPR_PIPE) {
        read_chain(rd, setting, e->left);
        read_call(rd, setting, e->right);
    } else if (e->kind == EXPR_CALL) {
        read_call(rd, setting, e);
    } else if (off) {
        memset((char *)rd->r + off->offset, 0, off->bytes);
        if (off->value)
            memcpy((char *)rd->r + off->offset, &off->value, sizeof off->value);
    } else if (e->kind != EXPR_ERROR) {
        diag_error(rd->diags, DIAG_E0302, e->span, "'%s' is written %s", setting,
                   recipe_setting_form(rd->arena, setting));
    }
}

static void read_setting(Reader *rd, const char *name, Span span, const Expr *value)
{
    for (int i = 0; recipe_field(i); i++) {
        const Field *f = recipe_field(i);
        if (strcmp(f->setting, name))
            continue;
        if (f->function)
            read_chain(rd, name, value);
        else
            reader_field(rd, f, value, rd->r);
        return;
    }
    unknown_setting(rd, name, span);
}

void recipe_read(Arena *arena, Names *names, Diags *diags, const Body *body, Recipe *r)
{
    Reader rd = {arena, names, diags, r};
    for (uint32_t i = 0; i < body->stmts.len; i++) {
        const Stmt *s = body->stmts.at[i];
        if (s->kind == STMT_ASSIGN && s->target->kind == EXPR_NAME)
            read_setting(&rd, s->target->name, s->target->span, s->value);
        else if (s->kind == STMT_STAGE)
            reader_stage(&rd, s);
    }
}

/* ---- overrides ---- */

/* loss.l1.core.weight: the names between function and argument are the list item's. */
static bool set_in_list(Reader *rd, const SetOption *set, const char *const *path, int n)
{
    const FieldList *list = n > 3 ? recipe_list(path[0], path[1]) : NULL;
    const Field *f = list ? find_field(path[0], path[1], path[n - 1], 0) : NULL;
    Text of = {.arena = rd->arena};
    for (int i = 2; i + 1 < n; i++)
        text_printf(&of, "%s%s", i > 2 ? "." : "", path[i]);
    void *item = f ? list_item(rd, list, text_str(&of), set->path_span) : NULL;
    if (item)
        reader_field(rd, f, set->value, item);
    return list && f;
}

/* setting.argument, setting.function or setting.function.argument */
static void set_argument(Reader *rd, const SetOption *set, const char *const *path, int n)
{
    const Field *f = n == 2 ? find_field(path[0], NULL, path[1], 0) : NULL;
    if (set_in_list(rd, set, path, n))
        return;
    if (!f)
        f = find_field(path[0], path[1], n > 2 ? path[2] : NULL, 0);
    if (f && n <= 3 && !recipe_list(path[0], f->function))
        reader_field(rd, f, set->value, rd->r);
    else
        unknown_argument(rd, path[0], n > 2 ? path[1] : NULL, path[n > 2 ? n - 1 : 1],
                         set->path_span);
}

void recipe_set(Arena *arena, Names *names, Diags *diags, const SetOption *set, int path_at,
                Recipe *r)
{
    Reader rd = {arena, names, diags, r};
    const char *const *path = set->path.at + path_at;
    int n = (int)set->path.len - path_at;
    if (n < 1 || !recipe_has_setting(path[0])) {
        unknown_setting(&rd, n < 1 ? "" : path[0], set->path_span);
    } else if (!strcmp(path[0], "stage")) {
        reader_set_stage(&rd, set, path, n);
    } else if (n == 1) {
        read_setting(&rd, path[0], set->path_span, set->value);
    } else {
        set_argument(&rd, set, path, n);
    }
}

/* ---- the whole ---- */

int64_t recipe_epoch_steps(const Recipe *r)
{
    int64_t n = r->pick >= RECIPE_PICK_ROUNDS ? 1 : r->epoch / r->batch;
    return n ? n : 1;
}

int64_t recipe_stage_steps(const Recipe *r, int stage, int64_t epoch_steps)
{
    const RecipeStage *s = &r->stages[stage];
    return s->steps ? s->steps : s->epochs * epoch_steps;
}

int64_t recipe_steps(const Recipe *r, int64_t epoch_steps)
{
    int64_t n = 0;
    for (int i = 0; i < r->n_stages; i++)
        n += recipe_stage_steps(r, i, epoch_steps);
    return n;
}

/* Does the pattern fit the name, or its beginning up to a dot? */
bool recipe_selects(const char *of, const char *parameter)
{
    for (; *of && *of != '*'; of++, parameter++)
        if (*of != *parameter)
            return false;
    if (!*of)
        return !*parameter || *parameter == '.';
    for (; *parameter; parameter++)
        if (recipe_selects(of + 1, parameter))
            return true;
    return recipe_selects(of + 1, parameter);
}

const RecipeGroup *recipe_group(const RecipeGroup *groups, int64_t n, const char *parameter)
{
    while (n-- > 0)
        if (recipe_selects(groups[n].which.of, parameter))
            return &groups[n];
    return NULL;
}

const RecipeSelection *recipe_selection(const Recipe *r, int i, const char **by)
{
    if (i < r->n_penalties) {
        *by = "l1";
        return &r->penalties[i].which;
    }
    i -= (int)r->n_penalties;
    *by = "group";
    return i < r->n_groups ? &r->groups[i].which : NULL;
}

static bool impossible(Diags *diags, Span span, const char *sentence)
{
    diag_error(diags, DIAG_E0302, span, "%s", sentence);
    return false;
}

bool recipe_check(Diags *diags, Span span, const Recipe *r)
{
    double steps = 0;
    for (int i = 0; i < r->n_stages; i++)
        steps += r->stages[i].steps ? (double)r->stages[i].steps
                                    : (double)r->stages[i].epochs * (double)recipe_epoch_steps(r);
    if (r->folds && r->validate >= r->folds)
        return impossible(diags, span, "'validate' of 'folds' counts from 0 and is below n");
    if (r->batch % r->accumulate)
        return impossible(diags, span, "'accumulate' does not divide 'batch'");
    for (int i = 0; i < r->n_stages; i++) {
        if (r->stages[i].schedule != RECIPE_PLATEAU)
            continue;
        if (i + 1 < r->n_stages)
            return impossible(diags, span, "a stage with 'plateau' is the last one");
        if (r->stages[i].keep == RECIPE_KEEP_NONE)
            return impossible(diags, span, "'plateau' puts the best weights back: keep = best");
    }
    if (steps > 1e15)
        return impossible(diags, span, "the stages have too many steps");
    if (r->loss_weight == 0 && r->squares_weight == 0 && r->correlation_weight == 0)
        return impossible(diags, span, "no part of the loss has a weight");
    if (r->teacher && r->loss_scale != RECIPE_SCALE_SHARE)
        return impossible(diags, span, "a 'teacher' shares weights out: write scale(share)");
    if (r->teacher && r->pick >= RECIPE_PICK_ROUNDS)
        return impossible(diags, span, "a 'teacher' needs pick = uniform(..)");
    if (r->teacher && r->correlation_weight > 0)
        return impossible(diags, span, "a 'teacher' has no loss with 'correlation'");
    if (r->schedule_free && r->ema > 0)
        return impossible(diags, span, "'schedule_free' averages itself: write average = none");
    if (r->clip_norm > 0 && r->clip_percentile > 0)
        return impossible(diags, span, "there is one limit: 'clip' or 'autoclip'");
    if (!r->pad_h != !r->pad_w)
        return impossible(diags, span, "'pad' needs both h and w");
    return true;
}
