/* Single operations that are texts in the language: what a row of such a table says. Private to
 * runtime/verify_ops*.c. */
#ifndef NPC_VERIFY_VERIFY_OPS_TEXT_H
#define NPC_VERIFY_VERIFY_OPS_TEXT_H

#include "verify/verify_ops_parts.h"

enum { OPS_MAX_LEAVES = 8, OPS_MAX_FIXED = 2, OPS_MAX_PARTS = 3 };

typedef enum OpsLeafKind {
    OPS_INPUT,     /* a tensor of the file */
    OPS_MADE,      /* a parameter that the text makes */
    OPS_OPTIONAL,  /* the same, as it begins where the file has none */
    OPS_COUNTED,   /* the same, never in the file: 0, 1, 2, .. */
    OPS_ATTRIBUTE, /* random numbers of the program: a list of the attributes */
    OPS_TARGET,    /* of a recipe's loss, which takes the last frames of it */
} OpsLeafKind;

typedef struct OpsLeaf {
    const char *role, *axes;
    const char *called; /* in the program; NULL: like the role */
    OpsLeafKind kind;
} OpsLeaf;

typedef struct OpsPart {
    const char *text; /* {key} is an attribute, or the size of a tensor with one axis */
    const char *axes; /* of its last value, in the file's order */
    const char *role; /* of this value; NULL: the result, whose gradients are known */
} OpsPart;

typedef struct OpsText {
    const char *operation;
    const char *needs; /* a role or an attribute: without it the row is not meant; NULL: nothing */
    OpsLeaf leaf[OPS_MAX_LEAVES];
    OpsPart part[OPS_MAX_PARTS];
    const char *loss; /* of a recipe instead, for a model that returns the first leaf */
    bool only_trains; /* in evaluation the operation is something else */
    const char *fixed[OPS_MAX_FIXED][2]; /* attributes and the only value that they may have */
    Status (*rounding)(OpsCase *o, const struct OpsText *row, Err *err); /* finds o->rounding */
} OpsText;

extern const OpsText VERIFY_TEXTS_TRANSFORMER[], VERIFY_TEXTS_WINDOWS[]; /* end with NULL */
/* The row of this case, or NULL. */
const OpsText *ops_text_find(OpsCase *o, const OpsText *rows);
Status ops_check_text(OpsCase *o, const OpsText *row, Err *err);

/* A row of one value after another. */
#define OPS_LINE(of, expression)                                                                   \
    .leaf = {{of, "d", NULL, OPS_INPUT}},                                                          \
    .part = {{.text = "y = " of " |> " expression, .axes = "d"}}

/* ---- the program: verify_ops_source.c ---- */

Status ops_say(OpsCase *o, const OpsText *row, Text *out, int64_t *batch, Err *err);
/* Attributes have the row's `fixed` values. */
Status ops_check_fixed(OpsCase *o, const OpsText *row, Err *err);
Status ops_refuse_attribute(OpsCase *o, const char *key, const char *why, Err *err);
bool ops_are_numbers(const json_t *list);
/* The leaf's values; its sizes must be as many as its axes. */
Status ops_read_leaf(OpsCase *o, const OpsLeaf *leaf, double **values, Shape *s, Err *err);
int64_t ops_size_of(OpsCase *o, const Shape *s, const char *axis); /* 1 without it */

const char *ops_input_role(OpsCase *o, const char *role);
const char *ops_called(const OpsLeaf *leaf);    /* in the program */
const char *ops_part_name(const OpsPart *part); /* of the program's part, and of its result */
const OpsLeaf *ops_end_of_leaves(const OpsText *row);
const OpsPart *ops_end_of_parts(const OpsText *row);

#endif
