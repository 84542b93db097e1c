/* Messages of elaboration: every mistake once, with what was being built. */
#include "ir/elaborate_state.h"

static bool stands_already(const Diags *d, DiagCode code, Span span)
{
    for (uint32_t i = 0; i < d->messages.len; i++) {
        const DiagMessage *m = &d->messages.at[i];
        if (m->kind == DIAG_KIND_ERROR && m->code == code && m->span.file == span.file &&
            m->span.begin == span.begin && m->span.end == span.end)
            return true;
    }
    return false;
}

static const char *format(Arena *arena, const char *fmt, va_list args)
{
    Text t = {.arena = arena};
    text_vprintf(&t, fmt, args);
    return text_str(&t);
}

Value el_error(Elaborator *el, DiagCode code, Span span, const char *fmt, ...)
{
    el->is_quiet = span.file && stands_already(el->diags, code, span);
    if (!el->is_quiet) {
        va_list args;
        va_start(args, fmt);
        diag_error(el->diags, code, span, "%s", format(el->arena, fmt, args));
        va_end(args);
    }
    return VALUE_BAD;
}

void el_note(Elaborator *el, Span span, const char *fmt, ...)
{
    va_list args;
    if (el->is_quiet)
        return;
    va_start(args, fmt);
    diag_note(el->diags, span, "%s", format(el->arena, fmt, args));
    va_end(args);
}

void el_help(Elaborator *el, const char *fmt, ...)
{
    va_list args;
    if (el->is_quiet)
        return;
    va_start(args, fmt);
    diag_help(el->diags, "%s", format(el->arena, fmt, args));
    va_end(args);
}

/* "i = 3, width = 8"; nested patterns are left out behind the first plain names. */
static void print_turn(Text *t, const Expr *target, const Value *turn)
{
    if (target->kind == EXPR_NAME) {
        text_printf(t, "%s%s = ", t->len ? ", " : "", target->name);
        value_print(t, turn);
        return;
    }
    for (uint32_t i = 0; i < target->items.len && i < turn->n; i++)
        if (target->items.at[i].value->kind == EXPR_NAME)
            print_turn(t, target->items.at[i].value, &turn->item[i]);
}

static void tell(Elaborator *el, const Place *p)
{
    Text turn = {.arena = el->arena};
    switch (p->kind) {
    case PLACE_PART:
        diag_note(el->diags, p->span, "while building %s", p->name);
        break;
    case PLACE_CALL:
        diag_note(el->diags, p->span, "in this call of '%s'", p->name);
        break;
    case PLACE_LOOP:
        print_turn(&turn, p->target, p->turn);
        diag_note(el->diags, p->span, "while building turn %s of the loop", text_str(&turn));
        break;
    }
}

void el_tell_place(Elaborator *el)
{
    if (el->diags->n_errors <= el->noted)
        return;
    el->noted = el->diags->n_errors;
    /* a loop and its part are one note: "core, turn i = 3 of the loop" */
    for (const Place *p = el->place; p; p = p->outer) {
        if (p->kind == PLACE_LOOP && p->outer && p->outer->kind == PLACE_PART) {
            Text turn = {.arena = el->arena};
            print_turn(&turn, p->target, p->turn);
            diag_note(el->diags, p->span, "while building %s, turn %s of the loop", p->outer->name,
                      text_str(&turn));
            p = p->outer;
        } else {
            tell(el, p);
        }
    }
}

const char *el_shape_text(const Elaborator *el, const Shape *s)
{
    Text t = {.arena = el->arena};
    text_char(&t, '[');
    for (int i = 0; i < s->rank; i++)
        text_printf(&t, "%s%s:%lld", i ? " " : "", s->name[i], (long long)s->size[i]);
    text_char(&t, ']');
    return text_str(&t);
}

const char *el_source_text(const Elaborator *el, Span span)
{
    const Source *s = &el->diags->sources.at[span.file];
    if (!span.file || span.end > s->len || span.begin > span.end)
        return "";
    return arena_strndup(el->arena, s->text + span.begin, span.end - span.begin);
}

static void add_names(Elaborator *el, const Expr *e, Text *t)
{
    Value v;
    if (!e)
        return;
    if (e->kind == EXPR_NAME) {
        const char *word = arena_printf(el->arena, "%s = ", e->name);
        bool said = t->len && strstr(text_str(t), word);
        if (!said && el_lookup(el, e->name, e->span, &v) && v.kind == VALUE_NUMBER) {
            text_printf(t, "%s%s", t->len ? ", " : "", word);
            value_print(t, &v);
        }
        return;
    }
    add_names(el, e->left, t);
    add_names(el, e->right, t);
    for (uint32_t i = 0; i < e->items.len; i++)
        add_names(el, e->items.at[i].value, t);
}

const char *el_names_text(Elaborator *el, const Expr *e)
{
    Text t = {.arena = el->arena};
    add_names(el, e, &t);
    return text_str(&t);
}
