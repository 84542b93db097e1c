/* Which trials train a model and which validate it.
 *
 * With folds, the trials with public responses are dealt to `recipe.folds` parts by what their film
 * shows (video_hash.h), so that no film is on both sides, in any recording; part `recipe.validate`
 * validates. Taking part: tiers train and oracle, and each test tier whose responses were released.
 * Without folds tier train trains, with `tiers(train: released)` also the test tiers that have
 * responses, and tier oracle validates. specs/dwiseneuro.md section 4, specs/viv1t.md 5.1. */
#ifndef NPC_RUNTIME_FOLDS_H
#define NPC_RUNTIME_FOLDS_H

#include "ir/recipe.h"
#include "runtime/sampler.h"
#include "runtime/workers.h"

enum { FOLD_NONE = -1 }; /* not dealt: withheld, too short, tier none */

typedef struct Folds {
    const Recording **recording;
    uint32_t n;
    int32_t **of; /* [n] [trials of the recording] */
} Folds;

/* Hashes every film that takes part; seconds per recording of hundreds of trials. */
Status folds_make(Folds *out, Arena *arena, const Recording *const *recording, uint32_t n,
                  uint32_t n_folds, Workers *workers, Err *err);
/* {"recording": [fold of trial 0, ..], ..} */
Status folds_text(const char **out, Arena *arena, const Folds *f, Err *err);
/* False when the text does not fit these recordings. */
bool folds_read(Folds *out, Arena *arena, const Recording *const *recording, uint32_t n,
                const char *text);

typedef struct Split {
    SamplerSession *train, *validate; /* [n] */
    uint32_t n;
} Split;

/* `folds` may be NULL when the recipe has none. NPC_ERR_INPUT: a recording has no trial to train
 * on. */
Status split_trials(Split *out, Arena *arena, const Recording *const *recording, uint32_t n,
                    const Recipe *r, const Folds *folds, Err *err);

#endif
