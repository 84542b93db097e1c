/* The scale of the loss in f16 training: as large as no gradient overflows.
 *
 * The step program takes it as the input "loss_scale" and says by its output "finite" whether it
 * updated anything (passes/train_step.c). A step that did not halves the scale; LOSS_SCALE_STEPS
 * that did, one after the other, double it. Both numbers belong to the state of a run, that is,
 * into its checkpoint. Micikevicius et al. 2018, arXiv:1710.03740, section 3.2. */
#ifndef NPC_RUNTIME_LOSS_SCALE_H
#define NPC_RUNTIME_LOSS_SCALE_H

#include <stdbool.h>
#include <stdint.h>

enum { LOSS_SCALE_STEPS = 2000 };

typedef struct LossScale {
    float scale;
    int64_t good_steps; /* since the scale changed */
} LossScale;

LossScale loss_scale_first(void);
void loss_scale_step(LossScale *s, bool finite);

#endif
