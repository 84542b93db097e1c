#include "data/standardise.h"

#include <math.h>

#include "data/blend.h"
#include "data/statistics.h"
#include "data/transform.h"

static const double EPS = 1.1920928955078125e-07; /* 2^-23 */

typedef enum Rule {
    RULE_NONE,
    RULE_ZSCORE,    /* (x - mean) / (std + e) */
    RULE_SCALE,     /* x / std */
    RULE_RANGE,     /* (x - min) / (max - min) */
    RULE_MIXED,     /* (x - mean) / (std - mean): statistics mistaken for a range, as published */
    RULE_PRECISION, /* x w, w = 1 / std, bounded (blend.h) */
} Rule;

/* What a word means, per variable. */
typedef struct Mode {
    Grain grain, video_grain;
    Rule video, behavior, pupil;
} Mode;

static Mode input_mode(RecipeInputs inputs)
{
    static const Mode modes[] = {
        [RECIPE_INPUTS_NONE] = {GRAIN_ROW, GRAIN_ROW, RULE_NONE, RULE_NONE, RULE_NONE},
        [RECIPE_INPUTS_FRAMES] = {GRAIN_FRAME, GRAIN_FRAME, RULE_ZSCORE, RULE_SCALE, RULE_ZSCORE},
        [RECIPE_INPUTS_PUBLISHED] = {GRAIN_FRAME, GRAIN_FRAME, RULE_MIXED, RULE_RANGE, RULE_RANGE},
        [RECIPE_INPUTS_TIME] = {GRAIN_ROW, GRAIN_ROW, RULE_ZSCORE, RULE_SCALE, RULE_ZSCORE},
        [RECIPE_INPUTS_TIME_RANGE] = {GRAIN_ROW, GRAIN_ROW, RULE_RANGE, RULE_RANGE, RULE_RANGE},
        [RECIPE_INPUTS_ALL] = {GRAIN_ROW, GRAIN_ONE, RULE_ZSCORE, RULE_SCALE, RULE_ZSCORE},
        [RECIPE_INPUTS_ALL_RANGE] = {GRAIN_ROW, GRAIN_ONE, RULE_RANGE, RULE_RANGE, RULE_RANGE},
    };
    return modes[inputs];
}

static Rule rule_of(const Recipe *r, Variable v, Grain *grain)
{
    Mode m = input_mode(r->inputs);
    *grain = v == VAR_VIDEO ? m.video_grain : m.grain;
    if (v == VAR_VIDEO)
        return m.video;
    if (v != VAR_RESPONSE)
        return v == VAR_BEHAVIOR ? m.behavior : m.pupil;
    *grain = r->responses == RECIPE_RESPONSES_FRAMES ? GRAIN_FRAME : GRAIN_ROW;
    return r->responses == RECIPE_RESPONSES_FRAMES || r->responses == RECIPE_RESPONSES_NEURONS
               ? RULE_PRECISION
           : r->responses == RECIPE_RESPONSES_RANGE ? RULE_RANGE
                                                    : RULE_NONE;
}

static double divisor_of(Rule rule, double mean, double std, double min, double max)
{
    switch (rule) {
    case RULE_ZSCORE:
        return std > 0 ? std + EPS : 0;
    case RULE_SCALE:
        return std;
    case RULE_RANGE:
        return max - min;
    default:
        return std - mean;
    }
}

/* Shift and scale of every entry; a divisor of 0 is 1. Where there is no training trial both are
 * NaN. */
static void make_affine(Affine *out, Arena *arena, const Statistics *s, Rule rule)
{
    uint64_t n = s->rows * s->frames;
    float *shift = ARENA_ARRAY(arena, float, n + 1), *scale = ARENA_ARRAY(arena, float, n + 1);
    if (rule == RULE_PRECISION)
        response_precision(s->of[STAT_STD], n, scale);
    for (uint64_t i = 0; i < n; i++) {
        double mean = s->of[STAT_MEAN][i], std = s->of[STAT_STD][i], min = s->of[STAT_MIN][i],
               max = s->of[STAT_MAX][i];
        double x = divisor_of(rule, mean, std, min, max);
        shift[i] = rule == RULE_ZSCORE || rule == RULE_MIXED ? (float)mean
                   : rule == RULE_RANGE                      ? (float)min
                                                             : 0;
        if (rule != RULE_PRECISION)
            scale[i] = (float)(1 / x);
        if (!isfinite(scale[i]))
            scale[i] = 1;
        if (!isfinite(mean))
            shift[i] = scale[i] = NAN;
    }
    *out = (Affine){shift, scale, s->rows == 1 ? 0 : s->frames, s->frames == 1 ? 0 : 1};
}

/* The frames that every row has statistics of. */
static uint32_t frames_known(const Statistics *s)
{
    uint64_t known = s->frames;
    for (uint64_t row = 0; row < s->rows; row++)
        for (uint64_t t = 0; t < known; t++)
            if (!isfinite(s->of[STAT_MEAN][row * s->frames + t]))
                known = t;
    return (uint32_t)known;
}

/* The statistics themselves are in `scratch`; what is made of them stays. */
static Status use_statistics(Recording *r, Arena *arena, Arena *scratch, const Recipe *recipe,
                             Variable v, Transform *t, uint32_t *longest, const char *keep,
                             bool may_write, Err *err)
{
    Grain grain;
    Statistics s;
    bool found = false;
    Rule rule = rule_of(recipe, v, &grain);
    if (rule == RULE_NONE)
        return NPC_OK;
    if (recipe->statistics == RECIPE_STATISTICS_STORED)
        NPC_TRY(statistics_stored(&s, &found, scratch, r, v, grain, err));
    if (!found)
        NPC_TRY(statistics_computed(&s, scratch, r, v, grain, keep, may_write, err));
    make_affine(&t->of[v], arena, &s, rule);
    if (s.frames == 1 && !r->is_images)
        return NPC_OK;
    uint32_t known = r->is_images ? 1 : frames_known(&s);
    if (!known)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: the statistics of %s know no frame: is any training trial whole?",
                       r->path, recording_folder(r, v));
    if (!*longest || known < *longest)
        *longest = known;
    return NPC_OK;
}

Status standardise(Recording *r, Arena *arena, const Recipe *recipe, const char *keep,
                   bool may_write, Err *err)
{
    Transform *t = ARENA_NEW(arena, Transform);
    uint32_t longest = (uint32_t)recipe->longest;
    r->longest = longest;
    r->transform = NULL;
    for (int v = 0; v < VAR_COUNT; v++) {
        Arena scratch = {.exhausted = arena->exhausted};
        Status s = use_statistics(r, arena, &scratch, recipe, (Variable)v, t, &longest, keep,
                                  may_write, err);
        arena_free(&scratch);
        NPC_TRY(s);
    }
    t->keeps_negatives = recipe->responses != RECIPE_RESPONSES_POSITIVE;
    r->longest = longest;
    r->transform = t;
    return NPC_OK;
}
