/* Pictures of results, as PNG or SVG by the path's ending.
 *
 * Drawn with cairo; built without it (HAVE_CAIRO undefined) every function returns NPC_ERR_USAGE
 * with a sentence that says so, and callers go on. Points that are not finite leave gaps. */
#ifndef NPC_DATA_PICTURE_H
#define NPC_DATA_PICTURE_H

#include "ir/base/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef enum PictureLook {
    PICTURE_LINE,
    PICTURE_LINE_DOTS, /* few points: validation scores */
    PICTURE_FAINT,     /* thin and pale: raw values behind their running mean */
    PICTURE_AREA       /* filled down to zero in grey: recorded responses */
} PictureLook;

typedef struct PictureSeries {
    const char *label; /* NULL: not in the legend */
    const double *x, *y;
    size_t n;
    PictureLook look;
    int color; /* index into the palette, -1: by position */
} PictureSeries;

typedef struct PicturePanel {
    const char *title, *x_label, *y_label; /* with units: "time (s)"; NULL: none */
    const PictureSeries *series;
    size_t n_series;
    bool log_y;           /* when all values are positive */
    bool from_zero;       /* the y axis starts at 0 */
    double x_low, x_high; /* range of the x axis; both 0: what the data need */
    double mark_x;        /* a dashed vertical line there; NaN: none */
    const char *mark;     /* its text */
} PicturePanel;

bool picture_available(void);
/* What a build without cairo says. */
Status picture_missing(const char *path, Err *err);

/* Panels row by row in `columns` columns, each about 640 x 300 points. */
Status picture_panels(const char *path, const char *title, const PicturePanel *panel, size_t n,
                      size_t columns, Err *err);

/* One line through n points. */
Status picture_line(const char *path, const char *title, const char *x_label, const char *y_label,
                    const double *x, const double *y, size_t n, Err *err);

typedef struct PictureTraining {
    const char *title;
    const double *step, *loss; /* n_loss training losses */
    size_t n_loss;
    const double *score_step, *score; /* n_score validation correlations */
    size_t n_score;
    double steps_per_epoch; /* > 0: the axis counts epochs, else steps */
} PictureTraining;

/* Two panels above each other: loss (raw and running mean) and validation correlation (best
 * marked). */
Status picture_training(const char *path, const PictureTraining *t, Err *err);

typedef struct PictureTraces {
    const char *title;
    size_t n_neurons, frames;
    const float *predicted, *recorded; /* [n_neurons, frames] each */
    const size_t *neuron;              /* numbers for the titles; NULL: 0, 1, 2, ... */
    double frames_per_second, first_second;
} PictureTraces;

/* One panel per neuron: recorded as a grey area, predicted as a line, correlation in the title. */
Status picture_traces(const char *path, const PictureTraces *t, Err *err);

typedef struct PictureMaps {
    const char *title;
    size_t n, columns;          /* maps, row by row */
    const char *const *caption; /* [n] */
    const double *map;          /* [n height width] from 0 (seen through) to 1 */
    size_t height, width;
    const float *behind; /* grey levels 0 .. 255 [n behind_height behind_width]; NULL: none */
    size_t behind_height, behind_width;
    const PicturePanel *panel; /* [n_panels] below, as wide as the picture */
    size_t n_panels;
} PictureMaps;

/* Maps over pictures, in the colours of heat. */
Status picture_maps(const char *path, const PictureMaps *m, Err *err);

#endif
