/* A learning rate that is lowered while the validation score does not improve.
 *
 * A score above the best so far is the best. Otherwise the validation counts: at the `patience`-th
 * in a row the best weights are put back, the rate is multiplied by `factor` (not below `floor`)
 * and counting begins again; after `reductions` of these without a better score between them,
 * training ends instead. With a guard, a score below 0.005 when the best is at least `collapse`
 * puts the best weights back and does not count. The optimizer's moments stay.
 *
 * With `restore`, two counts watch the score, as in the competition's starter kit: at the
 * `patience`-th validation in a row without a better score the rate is lowered, and its count
 * begins again; at the `restore`-th the best weights are put back, and that count begins again,
 * until this happened `restores` times, which ends training. Weights begin with the untrained
 * model's score as their best. A score that is not finite ends training at once. Sources:
 * specs/viv1t.md 6, v1t.md 2, baselines.md 5. */
#ifndef NPC_RUNTIME_PLATEAU_H
#define NPC_RUNTIME_PLATEAU_H

#include "ir/recipe.h"

/* Part of a run's state. */
typedef struct Plateau {
    double rate, best;
    uint64_t waited, reduced;
    double kept; /* with `restore`: score of the best weights, and their count */
    uint64_t kept_waited, restored;
    bool ended;
} Plateau;

typedef enum PlateauAction {
    PLATEAU_BEST,
    PLATEAU_WAIT,
    PLATEAU_REDUCE,  /* put the best weights back.. */
    PLATEAU_END,     /* ..here, too.. */
    PLATEAU_RESCUE,  /* ..and here.. */
    PLATEAU_RESTORE, /* ..and here */
} PlateauAction;

Plateau plateau_start(const RecipeStage *stage);
/* The score of the untrained model. */
void plateau_begin(Plateau *p, double score);
PlateauAction plateau_step(Plateau *p, const RecipePlateau *rule, double score);

/* Score of the best weights. */
static inline double plateau_best(const Plateau *p, const RecipePlateau *rule)
{
    return rule->restore ? p->kept : p->best;
}

#endif
