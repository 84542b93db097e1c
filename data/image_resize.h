/* Pictures at another size, bilinear. */
#ifndef NPC_DATA_IMAGE_RESIZE_H
#define NPC_DATA_IMAGE_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Corners are not aligned: the centre of target pixel i lies at (i + 0.5) source / target - 0.5.
 * Where a side shrinks, the triangle is widened by its factor (antialiasing), as image libraries
 * do. False when memory ends. */
bool image_resize(const unsigned char *from, uint32_t rows, uint32_t columns, float *to,
                  uint32_t height, uint32_t width);

#endif
