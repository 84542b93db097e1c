/* Reads a recipe's settings: every argument goes through its row of recipe_fields.c. */
#include "ir/recipe_fields.h"

#include "frontend/suggest.h"
#include "ir/comptime.h"

#include <math.h>

typedef struct Reader {
    Arena *arena;
    Names *names;
    Diags *diags;
    Recipe *r;
} Reader;

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
                  .loss_eps = 1e-8,
                  .weight_decay = 0.01,
                  .beta1 = 0.9,
                  .beta2 = 0.999,
                  .adam_eps = 1e-8,
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
    if (!r->n_stages)
        r->stages[r->n_stages++] = (RecipeStage){.name = "train",
                                                 .epochs = 10,
                                                 .schedule = RECIPE_COSINE,
                                                 .from = 1e-3,
                                                 .to = 1e-5,
                                                 .keep = RECIPE_KEEP_LAST};
}

/* ---- values ---- */

static Value evaluate(Reader *rd, const Expr *e)
{
    ComptimeError error = {.code = DIAG_COUNT};
    Value v = VALUE_BAD, a, b;
    switch (e->kind) {
    case EXPR_NUMBER:
        v = e->den > 0 ? value_exact(e->num, e->den) : value_real(e->number);
        v.unit = e->unit;
        return v;
    case EXPR_UNARY:
        a = evaluate(rd, e->left);
        if (a.kind != VALUE_ERROR)
            v = value_unary(rd->arena, e->op, &a, &error);
        break;
    case EXPR_BINARY:
        a = evaluate(rd, e->left);
        b = evaluate(rd, e->right);
        if (a.kind != VALUE_ERROR && b.kind != VALUE_ERROR)
            v = value_binary(rd->arena, e->op, &a, &b, &error);
        break;
    case EXPR_ERROR:
        return v;
    default:
        diag_error(rd->diags, DIAG_E0302, e->span, "a number was expected here");
        return v;
    }
    if (error.code != DIAG_COUNT)
        diag_error(rd->diags, error.code, e->span, "%s", error.text);
    return v;
}

/* frames, frame; clips, clip .. */
static bool is_unit(const char *unit, const char *plural)
{
    size_t n = strlen(plural);
    bool has_s = plural[n - 1] == 's';
    return unit && (!strcmp(unit, plural) ||
                    (has_s && strlen(unit) == n - 1 && !strncmp(unit, plural, n - 1)));
}

static bool bad_unit(Reader *rd, const Expr *e, const char *name, const char *unit)
{
    const Source *s = &rd->diags->sources.at[e->span.file];
    int n = e->kind == EXPR_NUMBER ? (int)strlen(e->text) : (int)(e->span.end - e->span.begin);
    const char *number = e->kind == EXPR_NUMBER ? e->text : s->text + e->span.begin;
    if (!unit)
        diag_error(rd->diags, DIAG_E0304, e->span, "'%s' is a plain number, without a unit", name);
    else if (e->unit)
        diag_error(rd->diags, DIAG_E0304, e->span, "'%s' is counted in %s, not in %s", name, unit,
                   e->unit);
    else
        diag_error(rd->diags, DIAG_E0304, e->span, "'%s' needs a unit, not a plain number", name);
    if (unit)
        diag_help(rd->diags, "write %.*s %s", n, number, unit);
    return false;
}

/* Brings seconds to frames; false after a diagnostic. */
static bool convert_unit(Reader *rd, const Expr *e, const char *name, const char *unit, Value *v)
{
    if (!unit && !v->unit)
        return true;
    if (!unit || !v->unit)
        return bad_unit(rd, e, name, unit);
    bool is_time = !strcmp(unit, "frames") && (is_unit(v->unit, "sec") || is_unit(v->unit, "s"));
    if (!is_time && !is_unit(v->unit, unit))
        return bad_unit(rd, e, name, unit);
    v->unit = NULL;
    if (is_time) {
        double frames = v->real * rd->r->rate, whole = rint(frames);
        if (fabs(frames - whole) > 1e-9 * fabs(frames) || fabs(whole) > 1e15) {
            diag_error(rd->diags, DIAG_E0302, e->span, "%g sec are no whole number of frames",
                       v->real);
            return false;
        }
        *v = value_int((int64_t)whole);
    }
    return true;
}

static bool out_of_range(Reader *rd, Span span, const Field *f, const char *name)
{
    Text low = {.arena = rd->arena}, high = {.arena = rd->arena};
    text_double(&low, f->low);
    text_double(&high, f->high);
    if (f->high >= 1e15)
        diag_error(rd->diags, DIAG_E0302, span, "'%s' is at least %s", name, text_str(&low));
    else
        diag_error(rd->diags, DIAG_E0302, span, "'%s' is between %s and %s", name, text_str(&low),
                   text_str(&high));
    return false;
}

static bool read_number(Reader *rd, const Field *f, const char *name, const Expr *e, void *at)
{
    Value v = evaluate(rd, e);
    if (v.kind == VALUE_ERROR)
        return false;
    if (v.kind != VALUE_NUMBER) {
        diag_error(rd->diags, DIAG_E0302, e->span, "'%s' is a number", name);
        return false;
    }
    if (!convert_unit(rd, e, name, f->unit, &v))
        return false;
    if (f->type != FIELD_REAL && v.den != 1) {
        diag_error(rd->diags, DIAG_E0302, e->span, "'%s' is a whole number", name);
        return false;
    }
    if (f->type == FIELD_SEED ? v.num < 0 : !(v.real >= f->low && v.real <= f->high)) {
        if (f->type != FIELD_SEED)
            return out_of_range(rd, e->span, f, name);
        diag_error(rd->diags, DIAG_E0302, e->span, "'%s' is not negative", name);
        return false;
    }
    if (f->type == FIELD_REAL)
        *(double *)at = v.real;
    else
        *(int64_t *)at = v.num; /* seeds are not negative: the same bytes */
    return true;
}

/* Position of a bare word in a list; -1 after a diagnostic. */
static int read_word(Reader *rd, const char *name, const Expr *e, const char *const *words, int n)
{
    Suggest near = suggest_for(e->kind == EXPR_NAME ? e->name : "");
    Text all = {.arena = rd->arena};
    for (int i = 0; i < n && words[i]; i++) {
        if (e->kind == EXPR_NAME && !strcmp(words[i], e->name))
            return i;
        suggest_offer(&near, words[i]);
        text_printf(&all, "%s%s", i ? ", " : "", words[i]);
    }
    if (e->kind == EXPR_ERROR)
        return -1;
    diag_error(rd->diags, DIAG_E0302, e->span, "'%s' is one of: %s", name, text_str(&all));
    if (e->kind == EXPR_NAME && suggest_best(&near))
        diag_help(rd->diags, "did you mean '%s'?", suggest_best(&near));
    return -1;
}

static bool read_channels(Reader *rd, const Expr *e)
{
    static const char *const words[] = {"video", "behavior", "pupil"};
    int n = (int)e->items.len;
    RecipeChannel channels[RECIPE_MAX_CHANNELS];
    if (e->kind != EXPR_BRACKET || n < 1 || n > RECIPE_MAX_CHANNELS) {
        diag_error(rd->diags, DIAG_E0302, e->span,
                   "'channels' is a list, for example [video, behavior, pupil]");
        return false;
    }
    for (int i = 0; i < n; i++) {
        int word = read_word(rd, "channels", e->items.at[i].value, words, 3);
        if (word < 0)
            return false;
        channels[i] = (RecipeChannel)word;
        for (int k = 0; k < i; k++)
            if (channels[k] == channels[i]) {
                diag_error(rd->diags, DIAG_E0302, e->items.at[i].value->span, "'%s' stands twice",
                           words[word]);
                return false;
            }
    }
    rd->r->n_channels = n;
    memcpy(rd->r->channels, channels, sizeof *channels * (size_t)n);
    return true;
}

static bool read_extent(Reader *rd, const Expr *e)
{
    static const Field side = {.type = FIELD_INT, .low = 1, .high = 65536};
    bool is_bracket = e->kind == EXPR_BRACKET && e->items.len;
    for (uint32_t i = 0; is_bracket && i < e->items.len; i++) {
        const Item *it = &e->items.at[i];
        bool is_h = it->name && !strcmp(it->name, "h"), is_w = it->name && !strcmp(it->name, "w");
        is_bracket = is_h || is_w;
        if (is_bracket && !read_number(rd, &side, is_h ? "h" : "w", it->value,
                                       is_h ? &rd->r->pad_h : &rd->r->pad_w))
            return false;
    }
    if (!is_bracket)
        diag_error(rd->diags, DIAG_E0302, e->span, "a padded size is written [h: 64, w: 64]");
    return is_bracket;
}

/* `3 epochs` or `500 steps` into at[0] and at[1]. */
static bool read_period(Reader *rd, const char *name, const Expr *e, int64_t *at)
{
    static const Field count = {.type = FIELD_INT, .low = 1, .high = 1e12};
    bool is_steps = e->kind == EXPR_NUMBER && is_unit(e->unit, "steps");
    Field f = count;
    int64_t n;
    if (e->kind == EXPR_NUMBER && !e->unit) {
        diag_error(rd->diags, DIAG_E0304, e->span, "'%s' needs a duration, not a plain number",
                   name);
        diag_help(rd->diags, "write %s epochs or %s steps", e->text, e->text);
        return false;
    }
    f.unit = is_steps ? "steps" : "epochs";
    if (!read_number(rd, &f, name, e, &n))
        return false;
    at[0] = is_steps ? 0 : n;
    at[1] = is_steps ? n : 0;
    return true;
}

static const char *field_name(const Field *f)
{
    return f->arg ? f->arg : f->setting;
}

static bool read_string(Reader *rd, const Field *f, const Expr *e, const char **at)
{
    StringPieces pieces = {0};
    if (e->kind == EXPR_STRING && !parse_string_pieces(rd->arena, rd->names, rd->diags, e, &pieces))
        return false;
    bool is_plain = e->kind == EXPR_STRING && pieces.len == 1 && pieces.at[0].text;
    if (is_plain)
        *at = pieces.at[0].text;
    else if (e->kind != EXPR_ERROR)
        diag_error(rd->diags, DIAG_E0302, e->span, "'%s' is a text in quotes", field_name(f));
    return is_plain;
}

static bool read_field(Reader *rd, const Field *f, const Expr *e)
{
    void *at = (char *)rd->r + f->offset;
    int word;
    switch (f->type) {
    case FIELD_INT:
    case FIELD_REAL:
    case FIELD_SEED:
        return read_number(rd, f, field_name(f), e, at);
    case FIELD_STRING:
        return read_string(rd, f, e, at);
    case FIELD_WORD:
        word = read_word(rd, field_name(f), e, f->words, FIELD_WORDS);
        if (word >= 0)
            memcpy(at, &(RecipePick){(RecipePick)word}, sizeof(RecipePick));
        return word >= 0;
    case FIELD_CHANNELS:
        return read_channels(rd, e);
    case FIELD_EXTENT:
        return read_extent(rd, e);
    case FIELD_PERIOD:
        return read_period(rd, field_name(f), e, at);
    }
    return false;
}
_Static_assert(sizeof(RecipePick) == sizeof(RecipeBlend) &&
                   sizeof(RecipePick) == sizeof(RecipePrecision) &&
                   sizeof(RecipePick) == sizeof(RecipeStart) &&
                   sizeof(RecipePick) == sizeof(RecipeInputs) &&
                   sizeof(RecipePick) == sizeof(RecipeResponses) &&
                   sizeof(RecipePick) == sizeof(RecipeStatistics),
               "words are stored as one enum");

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

static void read_call(Reader *rd, const char *setting, const Expr *call)
{
    if (!find_field(setting, call->name, NULL, 0)) {
        diag_error(rd->diags, DIAG_E0302, call->op_span.file ? call->op_span : call->span,
                   "'%s' cannot be '%s'", setting, call->name);
        diag_help(rd->diags, "write %s = %s", setting, recipe_setting_form(rd->arena, setting));
        return;
    }
    if (!strcmp(call->name, "cutmix"))
        rd->r->has_cutmix = true;
    int next = 0;
    for (uint32_t i = 0; i < call->items.len; i++) {
        const Item *it = &call->items.at[i];
        const Field *f = find_field(setting, call->name, it->name, it->name ? 0 : next++);
        if (f)
            read_field(rd, f, it->value);
        else if (it->name)
            unknown_argument(rd, setting, call->name, it->name, it->name_span);
        else
            diag_error(rd->diags, DIAG_E0302, it->value->span, "'%s' has no further value",
                       call->name);
    }
}

/* recordings(..) |> clip(..) |> pad(..), or one call, or the word that switches it off. */
static void read_chain(Reader *rd, const char *setting, const Expr *e)
{
    const OffWord *off = recipe_off_word(setting);
    if (e->kind == EXPR_PIPE) {
        read_chain(rd, setting, e->left);
        read_call(rd, setting, e->right);
    } else if (e->kind == EXPR_CALL) {
        read_call(rd, setting, e);
    } else if (e->kind == EXPR_NAME && off && !strcmp(e->name, off->word)) {
        memset((char *)rd->r + off->offset, 0, off->bytes);
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
            read_field(rd, f, value);
        return;
    }
    unknown_setting(rd, name, span);
}

/* ---- stages ---- */

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
    read_number(rd, &rate_field, name, value, is_from ? &s->from : &s->to);
    if (s->schedule == RECIPE_CONSTANT)
        *(is_from ? &s->to : &s->from) = is_from ? s->from : s->to;
}

static void read_lr(Reader *rd, RecipeStage *s, const Expr *e)
{
    static const char *const words[] = {"constant", "linear", "cosine"};
    bool known = false;
    if (e->kind == EXPR_NUMBER) {
        s->schedule = RECIPE_CONSTANT;
        read_number(rd, &rate_field, "lr", e, &s->from);
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
        int keep = read_word(rd, "keep", value, keeps, 3);
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

static void read_stage(Reader *rd, const Stmt *st)
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
        else if (read_period(rd, "stage", it->value, &scratch.epochs))
            *s = scratch;
    }
    for (uint32_t i = 0; i < st->body.stmts.len; i++) {
        const Stmt *in = st->body.stmts.at[i];
        if (in->kind == STMT_ASSIGN && in->target->kind == EXPR_NAME)
            read_stage_setting(rd, s, in->target->name, in->target->span, in->value);
    }
}

void recipe_read(Arena *arena, Names *names, Diags *diags, const Body *body, Recipe *r)
{
    Reader rd = {arena, names, diags, r};
    for (uint32_t i = 0; i < body->stmts.len; i++) {
        const Stmt *s = body->stmts.at[i];
        if (s->kind == STMT_ASSIGN && s->target->kind == EXPR_NAME)
            read_setting(&rd, s->target->name, s->target->span, s->value);
        else if (s->kind == STMT_STAGE)
            read_stage(&rd, s);
    }
}

/* ---- overrides ---- */

static void set_stage(Reader *rd, const SetOption *set, const char *const *path, int n)
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
        read_period(rd, "stage", set->value, &s->epochs);
    } else if (n == 3) {
        read_stage_setting(rd, s, path[2], set->path_span, set->value);
    } else if (n == 4 && !strcmp(path[2], "lr")) {
        read_lr_argument(rd, s, path[3], set->path_span, set->value);
    } else {
        diag_error(rd->diags, DIAG_E0301, set->path_span,
                   "a stage is set as stage.NAME, stage.NAME.keep or stage.NAME.lr.from");
    }
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
        set_stage(&rd, set, path, n);
    } else if (n == 1) {
        read_setting(&rd, path[0], set->path_span, set->value);
    } else {
        /* setting.argument, setting.function or setting.function.argument */
        const Field *f = n == 2 ? find_field(path[0], NULL, path[1], 0) : NULL;
        if (!f)
            f = find_field(path[0], path[1], n > 2 ? path[2] : NULL, 0);
        if (f && n <= 3)
            read_field(&rd, f, set->value);
        else
            unknown_argument(&rd, path[0], n > 2 ? path[1] : NULL, path[n > 2 ? 2 : 1],
                             set->path_span);
    }
}

/* ---- the whole ---- */

int64_t recipe_epoch_steps(const Recipe *r)
{
    int64_t n = r->epoch / r->batch;
    return n ? n : 1;
}

int64_t recipe_stage_steps(const Recipe *r, int stage)
{
    const RecipeStage *s = &r->stages[stage];
    return s->steps ? s->steps : s->epochs * recipe_epoch_steps(r);
}

int64_t recipe_steps(const Recipe *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->n_stages; i++)
        n += recipe_stage_steps(r, i);
    return n;
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
    if (steps > 1e15)
        return impossible(diags, span, "the stages have too many steps");
    if (!r->pad_h != !r->pad_w)
        return impossible(diags, span, "'pad' needs both h and w");
    return true;
}
