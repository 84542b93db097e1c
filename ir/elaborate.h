/* From a .nm file to the graph IR of one model at given sizes, and its recipe.
 *
 * The module holds two functions.
 *
 *   "eval"   running statistics, nothing dropped
 *            inputs "clip" ..            the model's tensors, by their names
 *            result RESULT_OUTPUT  "<session>"  [b n t], one per session; a model of images
 *                   returns [b n], which is [b n t:1]
 *   "train"  batch statistics, random masks, loss
 *            inputs as above, "target/<session>" [b n t], "share/<session>" [b]: the weight of a
 *            sample for that session; and what else the recipe's loss needs (elaborate_loss.c)
 *            result RESULT_LOSS    "loss"
 *                   RESULT_OUTPUT  "loss/<session>"  each session's part of it
 *                   RESULT_STATE   new running statistics
 *
 * With probes both functions also have RESULT_OUTPUT "probe/<label path>" for every op or block
 * call with a `name:`, "probe/<part>" for the last value of every part, and "train" has the
 * sessions' predictions. Nodes of a part `per s in sessions` carry the session's index. */
#ifndef NPC_IR_ELABORATE_H
#define NPC_IR_ELABORATE_H

#include "frontend/parse.h"
#include "ir/func.h"
#include "ir/recipe.h"

typedef struct AxisSize {
    const char *axis;
    int64_t size;
} AxisSize;

typedef struct ElaborateOptions {
    const char *model;     /* NULL: the recipe's if one is named, else the last of the main file */
    const char *recipe;    /* NULL: the last recipe for that model, or for the one it varies */
    const SetOption *sets; /* overrides, in order (parse_set) */
    int n_sets;
    const Session *sessions; /* of the data or a golden file; NULL: the file's `sessions` list */
    int n_sessions;
    int64_t batch;        /* size of axis b; 0: the recipe's batch */
    const AxisSize *bind; /* sizes of axes of the model's tensors, instead of the signature's */
    int n_bind;
    bool probes;      /* keep intermediate values as results */
    bool no_dropping; /* every drop rate is 0 */
} ElaborateOptions;

/* One piece of a name pattern: see names_map. */
typedef struct NamePiece {
    enum { NAME_TEXT, NAME_NUMBER, NAME_SESSION, NAME_REST } kind;
    const char *text;    /* NAME_TEXT */
    int64_t times, plus; /* NAME_NUMBER: the text is the number times * n + plus */
} NamePiece;

typedef struct NamePattern {
    VEC(NamePiece) pieces;
} NamePattern;

typedef struct NameRule {
    NamePattern theirs, ours;
} NameRule;

/* A `names` declaration: how another file's tensors are called here. */
typedef struct NameMap {
    const char *name; /* "golden", "published" */
    VEC(NameRule) rules;
} NameMap;

typedef struct Elaborated {
    Recipe recipe;
    VEC(NameMap) maps;
    const char *resolved; /* the program as one self-contained .nm text, every override applied */
} Elaborated;

/* Reads the file and what it imports, checks it, builds both functions. NULL after errors, which
 * `diags` holds. */
Module *elaborate(Arena *arena, Names *names, Diags *diags, const char *path,
                  const ElaborateOptions *options, Elaborated *out);
/* The same for a text; imports are relative to the folder of `path`. */
Module *elaborate_text(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                       size_t len, const ElaborateOptions *options, Elaborated *out);

/* NULL when the program declares no such map. */
const NameMap *names_find(const Elaborated *e, const char *map);
/* Translates their name to ours and back; NULL when no rule of the map fits, "" for what the model
 * does without. The first fitting rule counts. In a pattern, # is a number n, {2*#+1} the number 2
 * n + 1, {session} the name of session n, and * any text. */
const char *names_map(Arena *arena, const Module *m, const NameMap *map, const char *theirs);
const char *names_unmap(Arena *arena, const Module *m, const NameMap *map, const char *ours);

/* What `resize(by: nearest)` reads for target i of an axis: floor(i source / target), ratio and
 * product in float32 as published. */
int32_t resize_nearest(int64_t i, int64_t source, int64_t target);

/* Every op of the language: name, arguments, defaults, one sentence. The table of
 * docs/language.md. */
void elaborate_print_ops(Text *out);

#endif
