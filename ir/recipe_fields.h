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

/* A function that may stand several times, each time for other parameters: what it says is kept in
 * an array whose items begin with a RecipeSelection, and its first argument, a text, finds the
 * item. Offsets of its fields are inside of an item. */
typedef struct FieldList {
    const char *setting, *function;
    size_t count, at, bytes; /* in a Recipe: the number (int64_t), the array; of an item */
    int64_t most;
    const void *blank; /* an item before anything was said */
} FieldList;

/* A bare word instead of a call: mix = none, pick = rounds. */
typedef struct BareWord {
    const char *setting, *word;
    size_t offset, bytes; /* set to 0, or, of an enum, to: */
    int value;
    const char *doc; /* NULL: it switches the setting off */
} BareWord;

/* What calling a function says already. */
typedef struct CallSwitch {
    const char *setting, *function;
    size_t offset, bytes; /* of a bool or an enum, little-endian */
    int value;
} CallSwitch;

/* NULL behind the last. */
const Field *recipe_field(int i);
/* The settings of a stage; offsets are inside of a RecipeStage. */
const Field *recipe_stage_field(int i);
const RecipeStage *recipe_stage_blank(void); /* before anything was said, but for its duration */
const FieldList *recipe_list(const char *setting, const char *function); /* NULL: none */
/* The i-th word that stands for a whole setting; NULL behind the last. */
const BareWord *recipe_bare_word(const char *setting, int i);
const CallSwitch *recipe_call_switch(const char *setting, const char *function);
/* "recordings(..) |> clip(..)": how the setting is written. */
const char *recipe_setting_form(Arena *arena, const char *setting);

#endif
