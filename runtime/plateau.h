/* A learning rate that is lowered while the validation score does not improve.
 *
 * A score above the best so far is the best. Otherwise the validation counts: at the `patience`-th
 * in a row the best weights are put back, the rate is multiplied by `factor` (not below `floor`)
 * and counting begins again; after `reductions` of these without a better score between them,
 * training ends instead. With a guard, a score below 0.005 when the best is at least `collapse`
 * puts the best weights back and does not count. The optimizer's moments stay. Sources:
 * specs/viv1t.md 6, v1t.md 2. */
#ifndef NPC_RUNTIME_PLATEAU_H
#define NPC_RUNTIME_PLATEAU_H

#include "ir/recipe.h"

/* Part of a run's state. */
typedef struct Plateau {
    double rate, best;
    uint64_t waited, reduced;
    bool ended;
} Plateau;

typedef enum PlateauAction {
    PLATEAU_BEST,
    PLATEAU_WAIT,
    PLATEAU_REDUCE, /* put the best weights back.. */
    PLATEAU_END,    /* ..here, too.. */
    PLATEAU_RESCUE, /* ..and here */
} PlateauAction;

Plateau plateau_start(const RecipeStage *stage);
PlateauAction plateau_step(Plateau *p, const RecipePlateau *rule, double score);

#endif
