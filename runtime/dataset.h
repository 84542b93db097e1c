/* The recordings of a folder as the sessions of a model.
 *
 * Sessions come from the recordings' names and neuron counts, in the order of the model file's list
 * when that list names every recording, else sorted by name. */
#ifndef NPC_RUNTIME_DATASET_H
#define NPC_RUNTIME_DATASET_H

#include "ir/func.h"
#include "ir/recipe.h"
#include "runtime/sampler.h"

typedef struct Dataset {
    const char *dir;
    const Recording **recording; /* [n] per session; NULL: the folder has none of that name */
    Recording **own;             /* [n] the same; how they are used is set through these */
    Session *sessions;           /* [n] */
    uint32_t n;
} Dataset;

/* Sessions for training: every recording of the folder is one. `known` (may be NULL): the model
 * file's own list. */
Status dataset_open(Dataset *out, Arena *arena, const char *dir, const Session *known,
                    uint32_t n_known, Err *err);
/* Recordings of sessions that stand already (resume, prediction): as `sessions` says. Recordings of
 * other names are passed over; one of another neuron count is an error, and so is a folder without
 * any of the sessions, or with `all`, one that lacks a session. */
Status dataset_match(Dataset *out, Arena *arena, const char *dir, const Session *sessions,
                     uint32_t n, bool all, Err *err);
/* Recordings are used as the recipe says from here on (standardise.h). `keep`, `may_write`: where
 * statistics that had to be computed are kept (statistics.h). */
Status dataset_standardise(Dataset *d, Arena *arena, const Recipe *recipe, const char *keep,
                           bool may_write, Err *err);
/* The sessions' means and deviations: of the transformed responses over the trials to train on.
 * Reads them. */
Status dataset_means(Dataset *d, Arena *arena, const SamplerSession *train, Err *err);
/* Checks that the recordings give what the model's input takes (E0410) and says how clips are cut:
 * `frames`, `every` from the recipe. */
Status dataset_clip_shape(const Dataset *d, const Module *m, const Recipe *r, int64_t frames,
                          int64_t every, ClipShape *out, Err *err);
/* Shape of an input of the function "eval"; NULL when there is none of that name. */
const Shape *dataset_input_shape(const Module *m, const char *input);
/* XXH3-128 of what the recordings' headers say: names, sizes, tiers. */
const char *dataset_hash(Arena *arena, const Dataset *d);
const char *text_hash(Arena *arena, const char *text);

#endif
