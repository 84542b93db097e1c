/* CutMix of clips: a box of the frame comes from a second clip of the same recording, in all
 * channels and frames, and the targets mix by the exact area share of the box.
 * Yun et al. 2019, arXiv:1905.04899; details: specs/dwiseneuro.md 3.3. */
#ifndef NPC_RUNTIME_CUTMIX_H
#define NPC_RUNTIME_CUTMIX_H

#include <stddef.h>
#include <stdint.h>

typedef struct CutmixBox {
    uint32_t top, bottom, left, right; /* ends exclusive */
} CutmixBox;

/* `share` in [0, 1] is the Beta draw. Half the side is floor(floor(sqrt(h w share)) / 2), which
 * for square frames is the published floor(S sqrt(share)) / 2; the box is clipped to the frame. */
CutmixBox cutmix_box(uint32_t height, uint32_t width, double share, uint32_t row, uint32_t column);
/* Area of the box / area of the frame. */
double cutmix_share(const CutmixBox *box, uint32_t height, uint32_t width);
/* Pastes the box into x; both are [planes h w]. */
void cutmix_input(float *x, const float *partner, size_t planes, uint32_t height, uint32_t width,
                  const CutmixBox *box);
/* y = (1 - share) y + share partner */
void cutmix_target(float *y, const float *partner, size_t elems, double share);

#endif
