#include "runtime/pack.h"

#include <string.h>

enum { SLOTS = 4096 /* a power of two; shades then hardly ever meet */ };

/* Values seen so far, by their bits. */
typedef struct Seen {
    uint32_t bits[PALETTE];
    uint16_t slot[SLOTS]; /* 1 + number of a value; 0: free */
    uint32_t n;
} Seen;

/* The value's number, a new one if need be; PALETTE when there is none left. */
static uint32_t number_of(Seen *s, uint32_t bits)
{
    uint32_t at = ((bits ^ bits >> 15) * 2654435769u) >> 20; /* Fibonacci hashing, 12 bits */
    while (s->slot[at] && s->bits[s->slot[at] - 1] != bits)
        at = (at + 1) % SLOTS;
    if (s->slot[at])
        return s->slot[at] - 1u;
    if (s->n == PALETTE)
        return PALETTE;
    s->bits[s->n] = bits;
    s->slot[at] = (uint16_t)++s->n;
    return s->n - 1;
}

/* The first pixel of a picture's row. */
static const float *row_of(const float *x, const PictureFrame *f, size_t plane, uint32_t row)
{
    uint32_t top = (f->height - f->own_height) / 2, left = (f->width - f->own_width) / 2;
    return x + (plane * f->height + top + row) * f->width + left;
}

bool pack_codes(const float *x, const PictureFrame *f, uint8_t *out, float palette[PALETTE])
{
    Seen seen = {.n = 0};
    for (size_t p = 0; p < f->planes; p++)
        for (uint32_t r = 0; r < f->own_height; r++, out += f->own_width) {
            const float *from = row_of(x, f, p, r);
            for (uint32_t c = 0; c < f->own_width; c++) {
                uint32_t bits, number;
                memcpy(&bits, &from[c], sizeof bits);
                number = number_of(&seen, bits);
                if (number == PALETTE)
                    return false;
                out[c] = (uint8_t)number;
            }
        }
    memcpy(palette, seen.bits, seen.n * sizeof *palette);
    return true;
}

void pack_floats(const float *x, const PictureFrame *f, float *out)
{
    for (size_t p = 0; p < f->planes; p++)
        for (uint32_t r = 0; r < f->own_height; r++, out += f->own_width)
            memcpy(out, row_of(x, f, p, r), f->own_width * sizeof *out);
}
