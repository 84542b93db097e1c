/* One panel of a picture: axes, ticks, grid and series. Only built with cairo. */
#ifndef NPC_DATA_PICTURE_PANEL_H
#define NPC_DATA_PICTURE_PANEL_H

#include <cairo.h>

#include "data/picture.h"

/* Pixels of the whole panel, labels included. */
typedef struct PictureBox {
    double x, y, width, height;
} PictureBox;

void picture_draw_panel(cairo_t *cr, PictureBox box, const PicturePanel *panel);

/* Draws on a white page of width x height points and writes it as the path's ending says. */
typedef void (*PicturePaint)(cairo_t *cr, const void *what);
Status picture_write(const char *path, double width, double height, PicturePaint paint,
                     const void *what, Err *err);

typedef enum PictureAlign { PICTURE_LEFT, PICTURE_CENTER, PICTURE_RIGHT } PictureAlign;

/* Text with its baseline at y, in near-black; returns its width. */
double picture_draw_text(cairo_t *cr, const char *text, double x, double y, double size, bool bold,
                         PictureAlign align);

/* Round numbers 1, 2 or 5 times a power of ten apart, at most about `wanted` of them in [low,
 * high]. Returns the distance; *first is the first one >= low. */
double picture_tick_step(double low, double high, int wanted, double *first);

#endif
