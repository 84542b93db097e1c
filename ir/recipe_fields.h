/* The settings of a recipe as a table: where each argument is kept, its unit and its limits.
 * Private to ir/recipe*.c. */
#ifndef NPC_IR_RECIPE_FIELDS_H
#define NPC_IR_RECIPE_FIELDS_H

#include "ir/recipe.h"
#include <stddef.h>

typedef enum FieldType {
    FIELD_INT,      /* int64_t */
    FIELD_REAL,     /* double */
    FIELD_SEED,     /* uint64_t */
    FIELD_STRING,   /* const char * */
    FIELD_WORD,     /* an enum: position in `words` */
    FIELD_CHANNELS, /* [video, behavior] */
    FIELD_EXTENT,   /* [h: 64, w: 64]: pad_h, pad_w */
    FIELD_PERIOD,   /* 3 epochs or 500 steps: two int64_t, one of them 0 */
} FieldType;

enum { FIELD_WORDS = 8 };

typedef struct Field {
    const char *setting;
    const char *function; /* "cutmix"; NULL: the setting is the value itself */
    const char *arg;      /* "alpha"; NULL with `function` NULL */
    FieldType type;
    size_t offset;
    const char *unit;               /* INT: "clips", or NULL */
    double low, high;               /* INT, REAL: both allowed */
    const char *words[FIELD_WORDS]; /* WORD */
    const char *doc;
} Field;

/* A bare word that switches a setting off: mix = none. */
typedef struct OffWord {
    const char *setting, *word;
    size_t offset, bytes; /* set to 0 */
} OffWord;

/* NULL behind the last. */
const Field *recipe_field(int i);
const OffWord *recipe_off_word(const char *setting);
/* "recordings(..) |> clip(..)": how the setting is written. */
const char *recipe_setting_form(Arena *arena, const char *setting);

#endif
