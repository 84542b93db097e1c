/* Believable recordings of images: the cells of synth_cells.h look at stills on grey.
 *
 * A picture is a frame of the natural films of stimulus.h, seen for half a second after grey; a
 * response is the mean of the calcium trace while it is there. `trials` images train, each once; a
 * tenth as many validate; `clips` images are shown `repeats` times in each of the tiers test and
 * final_test. Recordings with an even index withhold the test responses, as in synth.h.
 * OUT/truth/<recording>/ holds data/responses, and ceiling/ with ceilings
 * and linear floors of both test tiers. */
#ifndef NPC_DATA_SYNTH_IMAGES_H
#define NPC_DATA_SYNTH_IMAGES_H

#include "data/synth.h"

/* 1000 training images, 20 images per test tier, 10 repeats. */
SynthOptions synth_image_defaults(void);
/* As synth_write; `frames` is not used. */
Status synth_images_write(const char *out, const SynthOptions *o, SynthProgress progress, void *cx,
                          SynthSummary *summaries, Err *err);

#endif
