/* How the recipe's `standardise(inputs:, responses:)` transforms recordings: the table of
 * docs/language.md, section 9. Sources: specs/viv1t.md 5.2 and 5.3, specs/v1t.md 3. */
#ifndef NPC_DATA_STANDARDISE_H
#define NPC_DATA_STANDARDISE_H

#include "ir/recipe.h"
#include "data/recording.h"

/* Sets r->longest and r->transform (in the arena). Per-frame statistics may shorten trials: what no
 * training trial reaches is not used. `keep` and `may_write` as in statistics.h. */
Status standardise(Recording *r, Arena *arena, const Recipe *recipe, const char *keep,
                   bool may_write, Err *err);

#endif
