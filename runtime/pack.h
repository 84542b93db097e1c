/* Pictures without the zeros around them, as bytes where few values occur.
 *
 * Films and images are recorded in 256 shades, and what makes a model's values of them is often the
 * same for every pixel; so is CutMix, which only moves pixels. Then a byte per pixel and a table
 * of what each stands for say as much as floats, whatever the shades became. Where statistics are
 * those of a pixel there are too many values, which the first few hundred pixels tell. */
#ifndef NPC_RUNTIME_PACK_H
#define NPC_RUNTIME_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PALETTE = 256 };

typedef struct PictureFrame {
    size_t planes;
    uint32_t height, width;         /* of a plane */
    uint32_t own_height, own_width; /* of the picture in its middle (batch.h) */
} PictureFrame;

/* The pictures of x [planes height width] one behind the other into `out`, as numbers of entries of
 * the palette; entries that no pixel has are left alone. False: there are more values, of any bits,
 * than the palette holds; what was written means nothing. */
bool pack_codes(const float *x, const PictureFrame *f, uint8_t *out, float palette[PALETTE]);
void pack_floats(const float *x, const PictureFrame *f, float *out);

#endif
