#include "runtime/plateau.h"

#include <math.h>

Plateau plateau_start(const RecipeStage *stage)
{
    return (Plateau){.rate = stage->from, .best = stage->plateau.best, .kept = stage->plateau.best};
}

void plateau_begin(Plateau *p, double score)
{
    p->kept = isfinite(score) ? score : p->kept;
}

static PlateauAction end(Plateau *p)
{
    p->ended = true;
    return PLATEAU_END;
}

/* Rate and weights each with a count of their own. */
static PlateauAction step_apart(Plateau *p, const RecipePlateau *rule, double score)
{
    if (!isfinite(score))
        return end(p);
    if (score > p->best + rule->margin) {
        p->best = score;
        p->waited = 0;
    } else if (++p->waited >= (uint64_t)rule->patience) {
        p->rate = fmax(rule->factor * p->rate, rule->floor);
        p->waited = 0;
    }
    if (score > p->kept + rule->margin) {
        p->kept = score;
        p->kept_waited = 0;
        return PLATEAU_BEST;
    }
    if (++p->kept_waited < (uint64_t)rule->restore)
        return PLATEAU_WAIT;
    p->kept_waited = 0;
    return ++p->restored >= (uint64_t)rule->restores ? end(p) : PLATEAU_RESTORE;
}

PlateauAction plateau_step(Plateau *p, const RecipePlateau *rule, double score)
{
    if (rule->restore)
        return step_apart(p, rule, score);
    if (score > p->best + rule->margin) {
        p->best = score;
        p->waited = p->reduced = 0;
        return PLATEAU_BEST;
    }
    if (rule->collapse > 0 && p->best >= rule->collapse && rint(100 * score) <= 0)
        return PLATEAU_RESCUE;
    if (++p->waited < (uint64_t)rule->patience)
        return PLATEAU_WAIT;
    if (p->reduced >= (uint64_t)rule->reductions)
        return end(p);
    p->reduced++;
    p->waited = 0;
    p->rate = fmax(rule->factor * p->rate, rule->floor);
    return PLATEAU_REDUCE;
}
