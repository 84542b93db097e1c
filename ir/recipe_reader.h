/* Reading a recipe: what the files ir/recipe*.c share. Each function returns false, or a negative
 * number, after a diagnostic. */
#ifndef NPC_IR_RECIPE_READER_H
#define NPC_IR_RECIPE_READER_H

#include "ir/recipe_fields.h"

typedef struct Reader {
    Arena *arena;
    Names *names;
    Diags *diags;
    Recipe *r;
} Reader;

/* recipe_values.c. `name`: what messages call the value. */
bool reader_number(Reader *rd, const Field *f, const char *name, const Expr *e, void *at);
/* Position of a bare word in a list of n, or up to a NULL. */
int reader_word(Reader *rd, const char *name, const Expr *e, const char *const *words, int n);
/* `3 epochs` or `500 steps` into at[0] and at[1]. */
bool reader_period(Reader *rd, const char *name, const Expr *e, int64_t *at);
/* Into the recipe, or the list item or stage that the row's offset is meant for. */
bool reader_field(Reader *rd, const Field *f, const Expr *e, void *base);

/* recipe_stage.c: a statement, and the override stage.NAME.. */
void reader_stage(Reader *rd, const Stmt *st);
void reader_set_stage(Reader *rd, const SetOption *set, const char *const *path, int n);

#endif
