#include "runtime/plateau.h"

#include <math.h>

Plateau plateau_start(const RecipeStage *stage)
{
    return (Plateau){.rate = stage->from, .best = stage->plateau.best};
}

PlateauAction plateau_step(Plateau *p, const RecipePlateau *rule, double score)
{
    if (score > p->best) {
        p->best = score;
        p->waited = p->reduced = 0;
        return PLATEAU_BEST;
    }
    if (rule->collapse > 0 && p->best >= rule->collapse && rint(100 * score) <= 0)
        return PLATEAU_RESCUE;
    if (++p->waited < (uint64_t)rule->patience)
        return PLATEAU_WAIT;
    if (p->reduced >= (uint64_t)rule->reductions) {
        p->ended = true;
        return PLATEAU_END;
    }
    p->reduced++;
    p->waited = 0;
    p->rate = fmax(rule->factor * p->rate, rule->floor);
    return PLATEAU_REDUCE;
}
