/* Values of a recipe: numbers with units, words, texts, durations. */
#include "ir/recipe_reader.h"

#include "frontend/suggest.h"
#include "ir/comptime.h"

#include <math.h>

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

bool reader_number(Reader *rd, const Field *f, const char *name, const Expr *e, void *at)
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
int reader_word(Reader *rd, const char *name, const Expr *e, const char *const *words, int n)
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
        int word = reader_word(rd, "channels", e->items.at[i].value, words, 3);
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
        if (is_bracket && !reader_number(rd, &side, is_h ? "h" : "w", it->value,
                                         is_h ? &rd->r->pad_h : &rd->r->pad_w))
            return false;
    }
    if (!is_bracket)
        diag_error(rd->diags, DIAG_E0302, e->span, "a padded size is written [h: 64, w: 64]");
    return is_bracket;
}

/* `3 epochs` or `500 steps` into at[0] and at[1]. */
bool reader_period(Reader *rd, const char *name, const Expr *e, int64_t *at)
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
    if (!reader_number(rd, &f, name, e, &n))
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

bool reader_field(Reader *rd, const Field *f, const Expr *e, void *base)
{
    void *at = (char *)base + f->offset;
    int word;
    switch (f->type) {
    case FIELD_INT:
    case FIELD_REAL:
    case FIELD_SEED:
        return reader_number(rd, f, field_name(f), e, at);
    case FIELD_STRING:
        return read_string(rd, f, e, at);
    case FIELD_WORD:
        word = reader_word(rd, field_name(f), e, f->words, FIELD_WORDS);
        if (word >= 0)
            memcpy(at, &(RecipePick){(RecipePick)word}, sizeof(RecipePick));
        return word >= 0;
    case FIELD_CHANNELS:
        return read_channels(rd, e);
    case FIELD_EXTENT:
        return read_extent(rd, e);
    case FIELD_PERIOD:
        return reader_period(rd, field_name(f), e, at);
    }
    return false;
}
_Static_assert(
    sizeof(RecipePick) == sizeof(RecipeBlend) && sizeof(RecipePick) == sizeof(RecipePrecision) &&
        sizeof(RecipePick) == sizeof(RecipeStart) && sizeof(RecipePick) == sizeof(RecipeAdded) &&
        sizeof(RecipePick) == sizeof(RecipeEach) && sizeof(RecipePick) == sizeof(RecipeAbsent) &&
        sizeof(RecipePick) == sizeof(RecipeScale) && sizeof(RecipePick) == sizeof(RecipeInputs) &&
        sizeof(RecipePick) == sizeof(RecipeResponses) &&
        sizeof(RecipePick) == sizeof(RecipeStatistics),
    "words are stored as one enum");
