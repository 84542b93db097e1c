/* Name maps: how other files call our tensors.
 *
 *     names golden { "block#.*" = "core.block#.*"  "core.blocks.{2*#+1}.*" = .. }
 *
 * Both sides are patterns of the same pieces, so a rule works in both directions. A right side of
 * "" is for what the model does without. */
#include "ir/elaborate_state.h"

/* ---- reading ---- */

static void add_text(Arena *arena, NamePattern *p, const char *text, size_t n)
{
    if (n)
        vec_push(arena, &p->pieces,
                 (NamePiece){.kind = NAME_TEXT, .text = arena_strndup(arena, text, n)});
}

/* A decimal of at most 9 digits; -1 when none stands there. */
static int64_t read_number(const char **s)
{
    int64_t n = 0;
    int digits = 0;
    for (; **s >= '0' && **s <= '9' && digits < 9; digits++)
        n = n * 10 + (*(*s)++ - '0');
    return digits ? n : -1;
}

/* {session}, {#}, {2*#}, {#+1}, {2*#+1}; false when it is none of them. */
static bool read_braces(const char *s, const char *end, NamePiece *out)
{
    *out = (NamePiece){.kind = NAME_NUMBER, .times = 1};
    if (end - s == 7 && !strncmp(s, "session", 7)) {
        out->kind = NAME_SESSION;
        return true;
    }
    if (*s != '#') {
        out->times = read_number(&s);
        if (out->times < 1 || *s++ != '*')
            return false;
    }
    if (*s++ != '#')
        return false;
    if (*s == '+') {
        s++;
        out->plus = read_number(&s);
    }
    return s == end && out->plus >= 0;
}

static bool read_pattern(Arena *arena, Diags *diags, const Expr *e, NamePattern *out)
{
    const char *s = e->text, *begin = s;
    int numbers = 0, rests = 0;
    for (; *s; s++) {
        NamePiece piece = {.kind = *s == '#' ? NAME_NUMBER : NAME_REST, .times = 1};
        const char *end = s;
        if (*s == '{') {
            end = strchr(s, '}');
            if (!end || !read_braces(s + 1, end, &piece)) {
                diag_error(diags, DIAG_E0250, e->span, "this is no name pattern");
                diag_help(diags, "a pattern is made of text, #, {2*#+1}, {session} and *");
                return false;
            }
        } else if (*s != '#' && *s != '*') {
            continue;
        }
        add_text(arena, out, begin, (size_t)(s - begin));
        vec_push(arena, &out->pieces, piece);
        numbers += piece.kind == NAME_NUMBER || piece.kind == NAME_SESSION;
        rests += piece.kind == NAME_REST;
        s = end;
        begin = end + 1;
    }
    add_text(arena, out, begin, (size_t)(s - begin));
    if (numbers <= 1 && rests <= 1)
        return true;
    diag_error(diags, DIAG_E0250, e->span, "a name pattern has one number and one * at most");
    return false;
}

static bool has_piece(const NamePattern *p, bool number)
{
    for (uint32_t i = 0; i < p->pieces.len; i++) {
        int kind = p->pieces.at[i].kind;
        if (number ? kind == NAME_NUMBER || kind == NAME_SESSION : kind == NAME_REST)
            return true;
    }
    return false;
}

void el_read_maps(Program *p, Elaborated *out)
{
    for (uint32_t f = 0; f < p->files.len; f++)
        for (uint32_t i = 0; i < p->files.at[f]->ast->decls.len; i++) {
            const Decl *d = p->files.at[f]->ast->decls.at[i];
            if (d->kind != DECL_NAMES)
                continue;
            NameMap map = {.name = d->name};
            for (uint32_t k = 0; k < d->lines.len; k++) {
                const NameLine *line = &d->lines.at[k];
                NameRule rule = {0};
                if (!read_pattern(p->arena, p->diags, line->from, &rule.theirs) ||
                    !read_pattern(p->arena, p->diags, line->to, &rule.ours))
                    continue;
                if (rule.ours.pieces.len &&
                    (has_piece(&rule.theirs, true) != has_piece(&rule.ours, true) ||
                     has_piece(&rule.theirs, false) != has_piece(&rule.ours, false)))
                    diag_error(p->diags, DIAG_E0250, line->to->span,
                               "both sides have a number, and both a *, or neither");
                vec_push(p->arena, &map.rules, rule);
            }
            vec_push(p->arena, &out->maps, map);
        }
}

const NameMap *names_find(const Elaborated *e, const char *map)
{
    for (uint32_t i = e->maps.len; i-- > 0;) /* a file's own before those that it imports */
        if (!strcmp(e->maps.at[i].name, map))
            return &e->maps.at[i];
    return NULL;
}

/* ---- matching ---- */

typedef struct Match {
    int64_t number; /* -1: none */
    const char *rest;
    size_t rest_len;
} Match;

static bool match_pieces(const Module *m, const NamePattern *p, uint32_t at, const char *s,
                         Match *out);

static bool match_session(const Module *m, const NamePattern *p, uint32_t at, const char *s,
                          Match *out)
{
    for (uint32_t i = 0; i < m->sessions.len; i++) {
        size_t n = strlen(m->sessions.at[i].name);
        if (strncmp(s, m->sessions.at[i].name, n))
            continue;
        out->number = i;
        if (match_pieces(m, p, at + 1, s + n, out))
            return true;
    }
    return false;
}

static bool match_pieces(const Module *m, const NamePattern *p, uint32_t at, const char *s,
                         Match *out)
{
    if (at == p->pieces.len)
        return !*s;
    const NamePiece *piece = &p->pieces.at[at];
    size_t n;
    int64_t number;
    switch (piece->kind) {
    case NAME_TEXT:
        n = strlen(piece->text);
        return !strncmp(s, piece->text, n) && match_pieces(m, p, at + 1, s + n, out);
    case NAME_NUMBER:
        number = read_number(&s);
        if (number < piece->plus || (number - piece->plus) % piece->times)
            return false;
        out->number = (number - piece->plus) / piece->times;
        return match_pieces(m, p, at + 1, s, out);
    case NAME_SESSION:
        return match_session(m, p, at, s, out);
    case NAME_REST:
        for (n = 0;; n++) {
            if (match_pieces(m, p, at + 1, s + n, out)) {
                out->rest = s;
                out->rest_len = n;
                return true;
            }
            if (!s[n])
                return false;
        }
    }
    return false;
}

/* NULL when the number is no session. */
static const char *fill(Arena *arena, const Module *m, const NamePattern *p, const Match *match)
{
    Text t = {.arena = arena};
    for (uint32_t i = 0; i < p->pieces.len; i++) {
        const NamePiece *piece = &p->pieces.at[i];
        switch (piece->kind) {
        case NAME_TEXT:
            text_add(&t, piece->text);
            break;
        case NAME_NUMBER:
            text_printf(&t, "%lld", (long long)(piece->times * match->number + piece->plus));
            break;
        case NAME_SESSION:
            if (match->number >= m->sessions.len)
                return NULL;
            text_add(&t, m->sessions.at[match->number].name);
            break;
        case NAME_REST:
            text_add_n(&t, match->rest, match->rest_len);
            break;
        }
    }
    return text_str(&t);
}

static const char *translate(Arena *arena, const Module *m, const NameMap *map, const char *name,
                             bool to_ours)
{
    for (uint32_t i = 0; i < map->rules.len; i++) {
        const NameRule *r = &map->rules.at[i];
        Match match = {.number = -1};
        if (!match_pieces(m, to_ours ? &r->theirs : &r->ours, 0, name, &match))
            continue;
        const char *out = fill(arena, m, to_ours ? &r->ours : &r->theirs, &match);
        if (out)
            return out;
    }
    return NULL;
}

const char *names_map(Arena *arena, const Module *m, const NameMap *map, const char *theirs)
{
    return translate(arena, m, map, theirs, true);
}

const char *names_unmap(Arena *arena, const Module *m, const NameMap *map, const char *ours)
{
    return translate(arena, m, map, ours, false);
}
