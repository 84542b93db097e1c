/* What kernels are called, for people: after the part of the model, the ops and the lines of the
 * source that they come from. */
#include "passes/plan.h"

enum { MOST_OPS = 6, MOST_LINES = 8 };

const char *group_name(Arena *arena, const Func *f, const Group *g)
{
    Text t = {.arena = arena};
    if (g->part >= 0)
        text_printf(&t, "%s ", f->module->parts.at[g->part]);
    text_add(&t, g->backward ? "backward " : "");
    if (g->anchor.id)
        text_add(&t, op_text(func_node(f, g->anchor)->op));
    if (g->pair.id)
        text_printf(&t, "+%s", op_text(func_node(f, g->pair)->op));
    for (uint32_t i = 0; i < g->members.len && i < MOST_OPS; i++)
        text_printf(&t, "%s%s", i || g->anchor.id ? "+" : "",
                    op_text(func_node(f, g->members.at[i])->op));
    return text_str(&t);
}

/* The lines of everything that is computed, those of one file. */
const char *group_place(Arena *arena, const Func *f, const Group *g)
{
    Diags *diags = f->module->diags;
    uint32_t line, column, seen[MOST_LINES], n = 0;
    uint32_t file = func_node(f, g->anchor.id ? g->anchor : g->members.at[0])->span.file;
    Text t = {.arena = arena};
    for (uint32_t i = 0; i <= g->members.len && n < MOST_LINES; i++) {
        Val v = i ? g->members.at[i - 1] : g->anchor;
        Span span = v.id ? func_node(f, v)->span : SPAN_NONE;
        bool known = !span.file || span.file != file || !diags;
        if (known)
            continue;
        diag_place(diags, span, &line, &column);
        for (uint32_t k = 0; k < n; k++)
            known |= seen[k] == line;
        if (known)
            continue;
        if (n)
            text_printf(&t, ", %u", line);
        else
            text_printf(&t, "%s:%u", diags->sources.at[span.file].path, line);
        seen[n++] = line;
    }
    return n ? text_str(&t) : NULL;
}
