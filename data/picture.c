#include "data/picture.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ir/base/file.h"

#ifdef HAVE_CAIRO
#include <cairo-svg.h>

#include "data/picture_panel.h"

enum { WIDTH = 680, HEIGHT = 300, LOW_HEIGHT = 170, TITLE = 44, PNG_SCALE = 2 };

bool picture_available(void)
{
    return true;
}

typedef struct Sink {
    FileWriter writer;
    Status status;
    Err *err;
} Sink;

static cairo_status_t to_file(void *user, const unsigned char *data, unsigned bytes)
{
    Sink *sink = user;
    if (sink->status == NPC_OK)
        sink->status = file_put(&sink->writer, data, bytes, sink->err);
    return sink->status == NPC_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

Status picture_write(const char *path, double width, double height, PicturePaint paint,
                     const void *what, Err *err)
{
    bool svg = ends_with(path, ".svg");
    if (!svg && !ends_with(path, ".png"))
        return err_set(err, NPC_ERR_INPUT, "%s: pictures end in .png or .svg", path);
    Sink sink = {.err = err};
    NPC_TRY(file_begin(&sink.writer, path, err));
    cairo_surface_t *surface =
        svg ? cairo_svg_surface_create_for_stream(to_file, &sink, width, height)
            : cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width * PNG_SCALE,
                                         (int)height * PNG_SCALE);
    cairo_t *cr = cairo_create(surface);
    if (!svg)
        cairo_scale(cr, PNG_SCALE, PNG_SCALE);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    paint(cr, what);
    cairo_status_t drawn = cairo_status(cr);
    cairo_destroy(cr);
    if (drawn == CAIRO_STATUS_SUCCESS && !svg)
        drawn = cairo_surface_write_to_png_stream(surface, to_file, &sink);
    cairo_surface_finish(surface);
    if (drawn == CAIRO_STATUS_SUCCESS)
        drawn = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    if (drawn == CAIRO_STATUS_SUCCESS && sink.status == NPC_OK)
        return file_commit(&sink.writer, err);
    file_abandon(&sink.writer);
    return err_set(err, NPC_ERR_IO, "%s: cannot draw: %s", path, cairo_status_to_string(drawn));
}

typedef struct Panels {
    const char *title;
    const PicturePanel *panel;
    size_t n, columns;
    double height, top;
} Panels;

static void paint_panels(cairo_t *cr, const void *what)
{
    const Panels *p = what;
    if (p->title)
        picture_draw_text(cr, p->title, (double)p->columns * WIDTH / 2, 28, 16, true,
                          PICTURE_CENTER);
    for (size_t i = 0; i < p->n; i++)
        picture_draw_panel(cr,
                           (PictureBox){(double)(i % p->columns) * WIDTH,
                                        p->top + (double)(i / p->columns) * p->height, WIDTH,
                                        p->height},
                           &p->panel[i]);
}

Status picture_panels(const char *path, const char *title, const PicturePanel *panel, size_t n,
                      size_t columns, Err *err)
{
    if (!n || !columns || n > 64)
        return err_set(err, NPC_ERR_INPUT, "%s: a picture has 1 to 64 panels", path);
    columns = columns < n ? columns : n;
    size_t rows = (n + columns - 1) / columns;
    Panels p = {title, panel, n, columns, rows > 2 ? LOW_HEIGHT : HEIGHT, title ? TITLE : 12};
    return picture_write(path, (double)columns * WIDTH, (double)rows * p.height + p.top + 6,
                         paint_panels, &p, err);
}

#else

bool picture_available(void)
{
    return false;
}

Status picture_panels(const char *path, const char *title, const PicturePanel *panel, size_t n,
                      size_t columns, Err *err)
{
    (void)title, (void)panel, (void)n, (void)columns;
    return picture_missing(path, err);
}

#endif

Status picture_missing(const char *path, Err *err)
{
    return err_set(err, NPC_ERR_USAGE,
                   "%s: not drawn: this build has no pictures (install libcairo2-dev and build "
                   "again)",
                   path);
}

Status picture_line(const char *path, const char *title, const char *x_label, const char *y_label,
                    const double *x, const double *y, size_t n, Err *err)
{
    PictureSeries series = {.x = x, .y = y, .n = n, .color = 0};
    PicturePanel panel = {
        .x_label = x_label, .y_label = y_label, .series = &series, .n_series = 1, .mark_x = NAN};
    return picture_panels(path, title, &panel, 1, 1, err);
}

/* ---- training ---- */

/* Mean over the `window` values around each one; the ends use what there is. */
static void running_mean(const double *y, size_t n, size_t window, double *out)
{
    size_t half = window / 2;
    for (size_t i = 0; i < n; i++) {
        size_t begin = i > half ? i - half : 0, end = i + half + 1 < n ? i + half + 1 : n;
        double sum = 0;
        size_t count = 0;
        for (size_t k = begin; k < end; k++)
            if (isfinite(y[k])) {
                sum += y[k];
                count++;
            }
        out[i] = count ? sum / (double)count : NAN;
    }
}

static void add_range(const double *y, size_t n, double *low, double *high)
{
    for (size_t i = 0; i < n; i++)
        if (isfinite(y[i])) {
            *low = fmin(*low, y[i]);
            *high = fmax(*high, y[i]);
        }
}

static bool spans_decades(const double *y, size_t n)
{
    double low = INFINITY, high = -INFINITY;
    add_range(y, n, &low, &high);
    return low > 0 && high > 20 * low;
}

static double *scaled(Arena *a, const double *x, size_t n, double by)
{
    double *out = ARENA_ARRAY(a, double, n);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] / by;
    return out;
}

static size_t best_of(const double *y, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (isfinite(y[i]) && (best == n || y[i] > y[best]))
            best = i;
    return best;
}

static Status draw_training(Arena *a, const char *path, const PictureTraining *t, Err *err)
{
    bool epochs = t->steps_per_epoch > 0;
    double by = epochs ? t->steps_per_epoch : 1;
    const double *x = scaled(a, t->step, t->n_loss, by);
    const double *score_x = scaled(a, t->score_step, t->n_score, by);
    double *mean = ARENA_ARRAY(a, double, t->n_loss);
    running_mean(t->loss, t->n_loss, t->n_loss / 60, mean);
    size_t best = best_of(t->score, t->n_score);
    bool smooth = t->n_loss >= 60;
    PictureSeries loss[] = {
        {smooth ? "each step" : NULL, x, t->loss, t->n_loss, smooth ? PICTURE_FAINT : PICTURE_LINE,
         0},
        {"running mean", x, mean, t->n_loss, PICTURE_LINE, 0},
    };
    PictureSeries score = {NULL, score_x, t->score, t->n_score, PICTURE_LINE_DOTS, 1};
    double low = INFINITY, high = -INFINITY; /* both panels show the same steps */
    add_range(x, t->n_loss, &low, &high);
    add_range(score_x, t->n_score, &low, &high);
    const char *axis = epochs ? "epoch" : "step";
    PicturePanel panel[] = {
        {"Training loss", axis, "loss", loss, smooth ? 2 : 1, spans_decades(t->loss, t->n_loss),
         false, low, high, NAN, NULL},
        {"Validation correlation", axis, "mean over neurons", &score, 1, false, false, low, high,
         best < t->n_score ? score_x[best] : NAN,
         best < t->n_score ? arena_printf(a, "best %.4f", t->score[best]) : NULL},
    };
    return picture_panels(path, t->title, panel, 2, 1, err);
}

Status picture_training(const char *path, const PictureTraining *t, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted) ? err_set(err, NPC_ERR_MEMORY, "%s: not enough memory", path)
                                 : draw_training(&arena, path, t, err);
    arena_free(&arena);
    return s;
}

/* ---- traces ---- */

/* Pearson's r over the frames where both are finite; NaN without variation. */
static double correlation(const float *a, const float *b, size_t n)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(a[i]) && isfinite(b[i])) {
            sa += a[i];
            sb += b[i];
            count++;
        }
    double ma = sa / (double)count, mb = sb / (double)count;
    for (size_t i = 0; i < n; i++)
        if (isfinite(a[i]) && isfinite(b[i])) {
            saa += (a[i] - ma) * (a[i] - ma);
            sbb += (b[i] - mb) * (b[i] - mb);
            sab += (a[i] - ma) * (b[i] - mb);
        }
    return count && saa > 0 && sbb > 0 ? sab / sqrt(saa * sbb) : NAN;
}

static double *as_double(Arena *a, const float *x, size_t n)
{
    double *out = ARENA_ARRAY(a, double, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

static const char *neuron_title(Arena *a, size_t number, double r)
{
    return isfinite(r) ? arena_printf(a, "neuron %zu   r = %.3f", number, r)
                       : arena_printf(a, "neuron %zu   r undefined (no variation)", number);
}

static Status draw_traces(Arena *a, const char *path, const PictureTraces *t, Err *err)
{
    PicturePanel *panel = ARENA_ARRAY(a, PicturePanel, t->n_neurons);
    double *seconds = ARENA_ARRAY(a, double, t->frames);
    for (size_t i = 0; i < t->frames; i++)
        seconds[i] = t->first_second + (double)i / t->frames_per_second;
    for (size_t k = 0; k < t->n_neurons; k++) {
        const float *p = t->predicted + k * t->frames, *r = t->recorded + k * t->frames;
        PictureSeries *s = ARENA_ARRAY(a, PictureSeries, 2);
        s[0] =
            (PictureSeries){k ? NULL : "recorded", seconds, as_double(a, r, t->frames), t->frames,
                            PICTURE_AREA,          -1};
        s[1] =
            (PictureSeries){k ? NULL : "predicted", seconds, as_double(a, p, t->frames), t->frames,
                            PICTURE_LINE,           0};
        panel[k] = (PicturePanel){
            neuron_title(a, t->neuron ? t->neuron[k] : k, correlation(p, r, t->frames)),
            k + 1 == t->n_neurons ? "time (s)" : NULL,
            "response",
            s,
            2,
            false,
            true,
            0,
            0,
            NAN,
            NULL};
    }
    return picture_panels(path, t->title, panel, t->n_neurons, 1, err);
}

Status picture_traces(const char *path, const PictureTraces *t, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted) ? err_set(err, NPC_ERR_MEMORY, "%s: not enough memory", path)
                                 : draw_traces(&arena, path, t, err);
    arena_free(&arena);
    return s;
}
