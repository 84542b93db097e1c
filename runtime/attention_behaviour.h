/* How attention goes along with what the animal did: Pearson correlations per recording and tier,
 * over all frames (or images) of its trials together.
 *
 *   pupil_x, pupil_y   centre of mass of the map over pixels, minus the middle, with the raw pupil
 *                      centre; absolute values
 *   size_x, size_y     of images: spread of the map's column sums and row sums with the raw pupil
 *                      size; absolute values
 *   running            of films: rollout over steps with the raw running speed at the same frames
 *
 * The first four are published for images (specs/v1t.md 5) and applied here to films frame by frame
 * (specs/viv1t.md 9.1); that time is compared in this way is a definition of ours. */
#ifndef NPC_RUNTIME_ATTENTION_BEHAVIOUR_H
#define NPC_RUNTIME_ATTENTION_BEHAVIOUR_H

#include <stdbool.h>

#include "ir/base/text.h"
#include "ir/base/vec.h"

typedef enum AttentionRelation {
    RELATION_PUPIL_X,
    RELATION_PUPIL_Y,
    RELATION_SIZE_X,
    RELATION_SIZE_Y,
    RELATION_RUNNING,
    RELATION_COUNT
} AttentionRelation;

typedef struct AttentionPairs {
    VEC(double) attention, behaviour;
} AttentionPairs;

/* Of one recording and tier. */
typedef struct AttentionTier {
    const char *recording, *tier;
    bool is_images;
    uint32_t n_trials;
    AttentionPairs of[RELATION_COUNT];
    double r[RELATION_COUNT]; /* NaN: one of the two does not vary, or there are none */
    double p[RELATION_COUNT]; /* two-sided, of images; NaN: no number, frames are not independent */
} AttentionTier;

/* Fills r and p from the pairs. */
void attention_correlate(AttentionTier *t);
/* Probability that n independent pairs correlate by |r| or more by chance: Student's t with n - 2
 * degrees of freedom. */
double attention_chance(double r, size_t n);

/* A Markdown table with means and standard deviations over recordings, and JSON. */
void attention_table(Text *out, const AttentionTier *t, size_t n);
const char *attention_json(Arena *arena, const AttentionTier *t, size_t n);

#endif
