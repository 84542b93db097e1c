/* Weights and targets of a batch, and how a teacher fills them (specs/dwiseneuro.md, 3.4 and 3.5).
 *
 * A batch has a weight w[b, s] for each sample and recording. Shares are weights divided by their
 * total. In distillation every pair of weight 0 gets the teacher's prediction as its target and the
 * weight ratio / (1 - ratio) sum(w) / (number of zeros), so that all of them together hold the
 * share `ratio`. */
#ifndef NPC_RUNTIME_DISTILL_H
#define NPC_RUNTIME_DISTILL_H

#include <stddef.h>
#include <stdint.h>

/* share[i] = weight[i] / sum; all 0 when the sum is 0. May work in place. */
void weights_normalise(const float *weight, size_t n, float *share);
/* The weight of each filled pair; 0 when none is empty. `ratio` in [0, 1). */
double distill_weight(const float *weight, size_t n, double ratio);
/* One recording's targets [b n t] (`elems` = n t per sample): samples whose weight, every
 * `stride`-th entry, is 0 become the teacher's. */
void distill_fill(float *target, const float *teacher, const float *weight, size_t stride,
                  size_t batch, size_t elems);
/* Zero weights become the filled pairs' weight, in place; after the targets. */
void distill_fill_weights(float *weight, size_t n, double ratio);

#endif
