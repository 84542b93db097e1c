#ifdef HAVE_CAIRO
#include "data/picture_panel.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/base/text.h"

typedef struct Range {
    double low, high;
    bool log;
} Range;

typedef struct Plot {
    cairo_t *cr;
    const PicturePanel *panel;
    double x, y, width, height; /* the area inside the axes */
    Range xs, ys;
} Plot;

enum { N_COLORS = 7 };

/* Okabe & Ito 2008: told apart by all kinds of colour vision. */
static const double palette[N_COLORS][3] = {
    {0.000, 0.447, 0.698}, {0.835, 0.369, 0.000}, {0.000, 0.620, 0.451}, {0.800, 0.475, 0.655},
    {0.902, 0.624, 0.000}, {0.337, 0.706, 0.914}, {0.000, 0.000, 0.000},
};
static const double grey = 0.72;

/* ---- text ---- */

/* Bytes that are not UTF-8, which cairo refuses, become question marks. */
static void clean(char *out, size_t size, const char *text)
{
    size_t at = 0;
    for (int n; *text && at + 5 < size; text += n ? n : 1) {
        n = utf8_length(text);
        memcpy(out + at, n ? text : "?", (size_t)(n ? n : 1));
        at += (size_t)(n ? n : 1);
    }
    out[at] = 0;
}

double picture_draw_text(cairo_t *cr, const char *raw, double x, double y, double size, bool bold,
                         PictureAlign align)
{
    cairo_text_extents_t e;
    char text[256];
    clean(text, sizeof text, raw);
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
    cairo_text_extents(cr, text, &e);
    double shift = align == PICTURE_LEFT ? 0 : align == PICTURE_CENTER ? 0.5 : 1;
    cairo_set_source_rgb(cr, 0.13, 0.13, 0.13);
    cairo_move_to(cr, x - shift * e.x_advance, y);
    cairo_show_text(cr, text);
    return e.x_advance;
}

/* ---- ranges and ticks ---- */

double picture_tick_step(double low, double high, int wanted, double *first)
{
    double raw = (high - low) / wanted, power = pow(10, floor(log10(raw))), part = raw / power;
    double step = power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
    *first = ceil(low / step - 1e-9) * step;
    return step;
}

static void include(Range *r, double v)
{
    if (!isfinite(v))
        return;
    r->low = fmin(r->low, v);
    r->high = fmax(r->high, v);
}

/* Something to see even for one point or no points. */
static void widen(Range *r, double by)
{
    if (!(r->low <= r->high))
        *r = (Range){0, 1, r->log};
    double middle = fabs(r->low) > 0 ? fabs(r->low) : 1;
    if (r->high - r->low <= 1e-12 * middle) {
        r->low -= 0.1 * middle;
        r->high += 0.1 * middle;
    }
    double margin = by * (r->high - r->low);
    r->low -= margin;
    r->high += margin;
}

static void find_ranges(Plot *p)
{
    const PicturePanel *panel = p->panel;
    p->xs = p->ys = (Range){INFINITY, -INFINITY, false};
    bool area = false;
    for (size_t s = 0; s < panel->n_series; s++) {
        for (size_t i = 0; i < panel->series[s].n; i++)
            if (isfinite(panel->series[s].x[i]) && isfinite(panel->series[s].y[i])) {
                include(&p->xs, panel->series[s].x[i]);
                include(&p->ys, panel->series[s].y[i]);
            }
        area |= panel->series[s].look == PICTURE_AREA;
    }
    p->ys.log = panel->log_y && p->ys.low > 0 && p->ys.low <= p->ys.high;
    if (p->ys.log) {
        p->ys.low = log10(p->ys.low);
        p->ys.high = log10(p->ys.high);
    } else if ((panel->from_zero || area) && p->ys.low <= p->ys.high) {
        include(&p->ys, 0);
    }
    bool zero = !p->ys.log && p->ys.low == 0;
    if (panel->x_low < panel->x_high)
        p->xs = (Range){panel->x_low, panel->x_high, false};
    widen(&p->xs, 0);
    widen(&p->ys, 0.06);
    if (zero)
        p->ys.low = 0;
}

static double at_x(const Plot *p, double v)
{
    return p->x + p->width * (v - p->xs.low) / (p->xs.high - p->xs.low);
}

static double at_y(const Plot *p, double v)
{
    double u = p->ys.log ? log10(v) : v;
    return p->y + p->height * (1 - (u - p->ys.low) / (p->ys.high - p->ys.low));
}

/* "40k", "1.5M", "0.25", "2e-05" */
static void tick_text(char *out, size_t size, double v, double step)
{
    char number[DOUBLE_TEXT];
    double a = fabs(v), unit = a >= 1e6 && step >= 1e5 ? 1e6 : a >= 1e4 && step >= 100 ? 1e3 : 1;
    double digits = pow(10, 1 - floor(log10(step / unit))); /* one digit more than the step has */
    double_text(number, round(v / unit * digits) / digits + 0.0);
    snprintf(out, size, "%s%s", number, unit == 1e6 ? "M" : unit == 1e3 ? "k" : "");
}

/* ---- axes ---- */

static void line(cairo_t *cr, double x0, double y0, double x1, double y1)
{
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    cairo_stroke(cr);
}

static void grid_style(cairo_t *cr)
{
    cairo_set_source_rgb(cr, 0.90, 0.90, 0.90);
    cairo_set_line_width(cr, 1);
}

static void tick_x(const Plot *p, double v, double step)
{
    char text[DOUBLE_TEXT + 2];
    double x = at_x(p, v);
    grid_style(p->cr);
    line(p->cr, x, p->y, x, p->y + p->height);
    tick_text(text, sizeof text, v, step);
    picture_draw_text(p->cr, text, x, p->y + p->height + 16, 11, false, PICTURE_CENTER);
}

static void tick_y(const Plot *p, double v, double step)
{
    char text[DOUBLE_TEXT + 2];
    double y = at_y(p, v);
    grid_style(p->cr);
    line(p->cr, p->x, y, p->x + p->width, y);
    tick_text(text, sizeof text, v, step);
    picture_draw_text(p->cr, text, p->x - 7, y + 4, 11, false, PICTURE_RIGHT);
}

static void ticks_x(const Plot *p)
{
    double first, step = picture_tick_step(p->xs.low, p->xs.high, (int)(p->width / 70), &first);
    for (int i = 0; first + i * step <= p->xs.high + 1e-9 * step; i++)
        tick_x(p, first + i * step, step);
}

static void ticks_y(const Plot *p)
{
    double low = p->ys.low, high = p->ys.high, first;
    if (!p->ys.log) {
        double step = picture_tick_step(low, high, 1 + (int)(p->height / 40), &first);
        for (int i = 0; first + i * step <= high + 1e-9 * step; i++)
            tick_y(p, first + i * step, step);
        return;
    }
    static const int few[] = {1}, some[] = {1, 2, 5}, all[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const int *digit = high - low > 3 ? few : high - low > 0.9 ? some : all;
    int n = high - low > 3 ? 1 : high - low > 0.9 ? 3 : 9;
    for (int decade = (int)floor(low); decade <= (int)floor(high); decade++)
        for (int i = 0; i < n; i++) {
            double v = digit[i] * pow(10, decade);
            if (log10(v) >= low && log10(v) <= high)
                tick_y(p, v, pow(10, decade));
        }
}

static void draw_axes(const Plot *p)
{
    cairo_t *cr = p->cr;
    ticks_x(p);
    ticks_y(p);
    cairo_set_source_rgb(cr, 0.35, 0.35, 0.35);
    cairo_set_line_width(cr, 1);
    line(cr, p->x, p->y, p->x, p->y + p->height);
    line(cr, p->x, p->y + p->height, p->x + p->width, p->y + p->height);
}

static void draw_labels(const Plot *p, PictureBox box)
{
    const PicturePanel *panel = p->panel;
    if (panel->title)
        picture_draw_text(p->cr, panel->title, p->x, p->y - 10, 13, true, PICTURE_LEFT);
    if (panel->x_label)
        picture_draw_text(p->cr, panel->x_label, p->x + p->width / 2, p->y + p->height + 36, 12,
                          false, PICTURE_CENTER);
    if (panel->y_label) {
        cairo_save(p->cr);
        cairo_translate(p->cr, box.x + 16, p->y + p->height / 2);
        cairo_rotate(p->cr, -1.5707963267948966);
        picture_draw_text(p->cr, panel->y_label, 0, 0, 12, false, PICTURE_CENTER);
        cairo_restore(p->cr);
    }
}

/* ---- series ---- */

static void set_color(const Plot *p, size_t index, double alpha)
{
    const PictureSeries *s = &p->panel->series[index];
    if (s->look == PICTURE_AREA) {
        cairo_set_source_rgba(p->cr, grey, grey, grey, alpha);
        return;
    }
    const double *c = palette[(s->color < 0 ? index : (size_t)s->color) % N_COLORS];
    cairo_set_source_rgba(p->cr, c[0], c[1], c[2], alpha);
}

static bool is_drawn(const Plot *p, double x, double y)
{
    return isfinite(x) && isfinite(y) && !(p->ys.log && y <= 0);
}

/* Lowest and highest point of samples [i, end), in their order. */
static void add_bucket(const Plot *p, const PictureSeries *s, size_t i, size_t end, bool *pen)
{
    size_t low = end, high = end;
    for (size_t k = i; k < end; k++) {
        if (!is_drawn(p, s->x[k], s->y[k]))
            continue;
        low = low == end || s->y[k] < s->y[low] ? k : low;
        high = high == end || s->y[k] > s->y[high] ? k : high;
    }
    size_t order[2] = {low < high ? low : high, low < high ? high : low};
    for (int k = 0; k < (low == high ? 1 : 2); k++) {
        if (low == end) {
            *pen = false;
            return;
        }
        double x = at_x(p, s->x[order[k]]), y = at_y(p, s->y[order[k]]);
        if (*pen)
            cairo_line_to(p->cr, x, y);
        else
            cairo_move_to(p->cr, x, y);
        *pen = true;
    }
}

/* Many samples are reduced to two points per half pixel, which looks the same and keeps files
 * small. */
static void trace(const Plot *p, const PictureSeries *s)
{
    size_t buckets = (size_t)(2 * p->width), per = s->n / buckets + 1;
    bool pen = false;
    for (size_t i = 0; i < s->n; i += per)
        add_bucket(p, s, i, i + per < s->n ? i + per : s->n, &pen);
}

static void fill_run(const Plot *p, const PictureSeries *s, size_t begin, size_t end)
{
    double base = p->y + p->height;
    if (!p->ys.log && p->ys.low < 0)
        base = at_y(p, 0);
    cairo_move_to(p->cr, at_x(p, s->x[begin]), base);
    for (size_t i = begin; i < end; i++)
        cairo_line_to(p->cr, at_x(p, s->x[i]), at_y(p, s->y[i]));
    cairo_line_to(p->cr, at_x(p, s->x[end - 1]), base);
    cairo_close_path(p->cr);
    cairo_fill(p->cr);
}

static void draw_area(const Plot *p, const PictureSeries *s)
{
    for (size_t i = 0; i < s->n;) {
        size_t end = i;
        while (end < s->n && is_drawn(p, s->x[end], s->y[end]))
            end++;
        if (end > i)
            fill_run(p, s, i, end);
        i = end + 1;
    }
}

static void draw_dots(const Plot *p, const PictureSeries *s, double radius)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!is_drawn(p, s->x[i], s->y[i]))
            continue;
        cairo_new_sub_path(p->cr);
        cairo_arc(p->cr, at_x(p, s->x[i]), at_y(p, s->y[i]), radius, 0, 6.283185307179586);
        cairo_fill(p->cr);
    }
}

static void draw_series(const Plot *p, size_t index)
{
    const PictureSeries *s = &p->panel->series[index];
    if (s->look == PICTURE_AREA) {
        set_color(p, index, 0.85);
        draw_area(p, s);
        return;
    }
    set_color(p, index, s->look == PICTURE_FAINT ? 0.32 : 1);
    cairo_set_line_width(p->cr, s->look == PICTURE_FAINT ? 1 : 1.8);
    cairo_set_line_join(p->cr, CAIRO_LINE_JOIN_ROUND);
    trace(p, s);
    cairo_stroke(p->cr);
    if (s->look == PICTURE_LINE_DOTS)
        draw_dots(p, s, s->n > 60 ? 2 : 3.2);
    else if (s->n == 1)
        draw_dots(p, s, 3.2);
}

/* Right of the title, so that it hides no data. */
static void draw_legend(const Plot *p)
{
    double x = p->x + p->width;
    for (size_t k = p->panel->n_series; k-- > 0;) {
        const PictureSeries *s = &p->panel->series[k];
        if (!s->label)
            continue;
        x -= picture_draw_text(p->cr, s->label, x, p->y - 10, 11, false, PICTURE_RIGHT) + 24;
        set_color(p, k, s->look == PICTURE_FAINT ? 0.32 : 1);
        cairo_rectangle(p->cr, x, p->y - (s->look == PICTURE_AREA ? 19 : 15), 18,
                        s->look == PICTURE_AREA ? 10 : 2.5);
        cairo_fill(p->cr);
        x -= 14;
    }
}

static void draw_mark(const Plot *p)
{
    static const double dash[] = {4, 3};
    double v = p->panel->mark_x;
    if (!isfinite(v) || v < p->xs.low || v > p->xs.high)
        return;
    double x = at_x(p, v);
    bool right_half = x > p->x + 0.7 * p->width;
    cairo_set_source_rgb(p->cr, 0.45, 0.45, 0.45);
    cairo_set_line_width(p->cr, 1);
    cairo_set_dash(p->cr, dash, 2, 0);
    line(p->cr, x, p->y, x, p->y + p->height);
    cairo_set_dash(p->cr, NULL, 0, 0);
    if (p->panel->mark)
        picture_draw_text(p->cr, p->panel->mark, x + (right_half ? -6 : 6), p->y + p->height - 8,
                          11, false, right_half ? PICTURE_RIGHT : PICTURE_LEFT);
}

void picture_draw_panel(cairo_t *cr, PictureBox box, const PicturePanel *panel)
{
    double top = panel->title ? 30 : 14, bottom = panel->x_label ? 46 : 26;
    Plot p = {.cr = cr,
              .panel = panel,
              .x = box.x + 76,
              .y = box.y + top,
              .width = box.width - 76 - 22,
              .height = box.height - top - bottom};
    find_ranges(&p);
    draw_axes(&p);
    cairo_save(cr);
    cairo_rectangle(cr, p.x - 4, p.y - 4, p.width + 8, p.height + 8);
    cairo_clip(cr);
    for (size_t s = 0; s < panel->n_series; s++)
        draw_series(&p, s);
    cairo_restore(cr);
    draw_mark(&p);
    draw_labels(&p, box);
    draw_legend(&p);
}
#else
typedef int picture_panel_needs_cairo;
#endif
