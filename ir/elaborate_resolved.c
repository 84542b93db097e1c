/* The whole program as one text: what every file said that matters, with the final values of the
 * model's arguments, sizes, sessions and recipe. Declarations are copied as they were written. */
#include "ir/elaborate_state.h"

static void copy_declaration(Elaborator *el, Text *t, const Decl *d)
{
    text_printf(t, "%s\n\n", el_source_text(el, d->span));
}

static void print_sessions(Text *t, const Resolved *r)
{
    text_add(t, "sessions = [\n");
    for (int i = 0; i < r->n_sessions; i++) {
        Value count = value_int(r->sessions[i].neurons);
        Value entry = {.kind = VALUE_ENTRY, .text = r->sessions[i].name, .item = &count, .n = 1};
        text_add(t, "  ");
        value_print(t, &entry);
        text_add(t, i + 1 < r->n_sessions ? ",\n" : "\n");
    }
    text_add(t, "]\n\n");
}

/* Everything but models, recipes, imports and the sessions. */
static void copy_shared(Elaborator *el, Text *t)
{
    const Program *p = el->program;
    for (uint32_t f = 0; f < p->files.len; f++)
        for (uint32_t i = 0; i < p->files.at[f]->ast->decls.len; i++) {
            const Decl *d = p->files.at[f]->ast->decls.at[i];
            bool is_sessions = d->kind == DECL_CONST && !strcmp(d->name, "sessions");
            if (d->kind == DECL_BLOCK || d->kind == DECL_NAMES ||
                (d->kind == DECL_CONST && !is_sessions))
                copy_declaration(el, t, d);
        }
}

/* The axes of a tensor formal with the sizes it was given; b stays open. */
static void print_tensor_type(Text *t, const Type *type, const Shape *shape)
{
    text_char(t, '[');
    for (uint32_t i = 0; i < type->axes.len; i++) {
        const Item *a = &type->axes.at[i];
        const char *axis = a->name ? a->name : a->value->name;
        int at = shape_axis(shape, axis);
        text_printf(t, "%s%s", i ? " " : "", axis);
        if (at >= 0 && strcmp(axis, "b"))
            text_printf(t, ":%lld", (long long)shape->size[at]);
    }
    text_char(t, ']');
}

static void print_model(Elaborator *el, Text *t, const Resolved *r, const Decl *d)
{
    text_printf(t, "model %s(", d->name);
    for (uint32_t i = 0; i < d->formals.len; i++) {
        const Formal *f = &d->formals.at[i];
        text_printf(t, "%s%s: ", i ? ",\n    " : "", f->name);
        if (f->type->kind == TYPE_TENSOR) {
            print_tensor_type(t, f->type, &r->tensors[i]);
        } else {
            text_add(t, type_kind_text(f->type->kind));
            if (f->choices)
                text_printf(t, " in %s", el_source_text(el, f->choices->span));
            text_add(t, " = ");
            value_print(t, &r->arguments[i]);
        }
    }
    text_add(t, ")\n");
    if (d->type)
        text_printf(t, "    -> %s", el_source_text(el, d->type->span));
    text_printf(t, " %s\n\n", el_source_text(el, d->body.span));
}

/* The arguments of a variant are in the model's defaults by now; its replacements remain. */
static void print_variant(Elaborator *el, Text *t, const Decl *d)
{
    text_printf(t, "model %s = %s %s\n\n", d->name, d->base,
                d->body.stmts.len ? el_source_text(el, d->body.span) : "{ }");
}

const char *el_resolved_text(Elaborator *el, const Resolved *r, const Recipe *recipe)
{
    Text t = {.arena = el->arena};
    text_printf(&t, "nm %d\n\n", PARSE_LANGUAGE_VERSION);
    print_sessions(&t, r);
    copy_shared(el, &t);
    print_model(el, &t, r, r->chain[r->n_chain - 1]);
    for (int i = r->n_chain - 2; i >= 0; i--)
        print_variant(el, &t, r->chain[i]);
    recipe_print(&t, recipe);
    return text_str(&t);
}
