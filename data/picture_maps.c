#include "data/picture.h"

#ifdef HAVE_CAIRO
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "data/picture_panel.h"

enum { CELL = 200 /* points wide */, GAP = 10, CAPTION = 20, TOP = 44, PANEL = 170 };

typedef struct Pixels {
    cairo_surface_t *surface;
    unsigned char *at;
    size_t stride; /* bytes */
} Pixels;

static Pixels pixels_new(size_t height, size_t width)
{
    Pixels p = {.surface =
                    cairo_image_surface_create(CAIRO_FORMAT_ARGB32, (int)width, (int)height)};
    cairo_surface_flush(p.surface);
    p.at = cairo_image_surface_get_data(p.surface);
    p.stride = (size_t)cairo_image_surface_get_stride(p.surface);
    return p;
}

/* Colours are multiplied by how much is covered, as cairo wants them. */
static void put(Pixels *p, size_t y, size_t x, double covered, double red, double green,
                double blue)
{
    uint32_t part[4] = {(uint32_t)lround(255 * covered), (uint32_t)lround(255 * covered * red),
                        (uint32_t)lround(255 * covered * green),
                        (uint32_t)lround(255 * covered * blue)};
    uint32_t value = part[0] << 24 | part[1] << 16 | part[2] << 8 | part[3];
    memcpy(p->at + y * p->stride + x * 4, &value, 4);
}

static double within(double x)
{
    return x > 0 ? fmin(x, 1) : 0; /* NaN: 0 */
}

static void draw_pixels(cairo_t *cr, Pixels *p, PictureBox box, size_t height, size_t width)
{
    cairo_surface_mark_dirty(p->surface);
    cairo_save(cr);
    cairo_rectangle(cr, box.x, box.y, box.width, box.height);
    cairo_clip(cr);
    cairo_translate(cr, box.x, box.y);
    cairo_scale(cr, box.width / (double)width, box.height / (double)height);
    cairo_set_source_surface(cr, p->surface, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cr), CAIRO_FILTER_BILINEAR);
    cairo_pattern_set_extend(cairo_get_source(cr), CAIRO_EXTEND_PAD);
    cairo_paint(cr);
    cairo_restore(cr);
    cairo_surface_destroy(p->surface);
}

static void draw_behind(cairo_t *cr, const PictureMaps *m, size_t i, PictureBox box)
{
    size_t height = m->behind_height, width = m->behind_width;
    Pixels p = pixels_new(height, width);
    for (size_t y = 0; p.at && y < height; y++)
        for (size_t x = 0; x < width; x++) {
            double grey = within((double)m->behind[(i * height + y) * width + x] / 255);
            put(&p, y, x, 1, grey, grey, grey);
        }
    draw_pixels(cr, &p, box, height, width);
}

/* From red to yellow, the more the less of the picture is seen. */
static void draw_map(cairo_t *cr, const PictureMaps *m, size_t i, PictureBox box)
{
    Pixels p = pixels_new(m->height, m->width);
    for (size_t y = 0; p.at && y < m->height; y++)
        for (size_t x = 0; x < m->width; x++) {
            double v = within(m->map[(i * m->height + y) * m->width + x]);
            put(&p, y, x, 0.65 * v, 1, v * v, 0);
        }
    draw_pixels(cr, &p, box, m->height, m->width);
}

static double cell_height(const PictureMaps *m)
{
    return floor(CELL * (double)m->height / (double)m->width);
}

static double page_width(const PictureMaps *m)
{
    return (double)m->columns * (CELL + GAP) + GAP;
}

static double panels_at(const PictureMaps *m)
{
    size_t rows = (m->n + m->columns - 1) / m->columns;
    return TOP + (double)rows * (cell_height(m) + CAPTION + GAP);
}

static void paint_maps(cairo_t *cr, const void *what)
{
    const PictureMaps *m = what;
    double height = cell_height(m);
    double size =
        fmin(16, 1.4 * page_width(m) / (double)(strlen(m->title) + 1)); /* it has to fit */
    picture_draw_text(cr, m->title, page_width(m) / 2, 28, size, true, PICTURE_CENTER);
    for (size_t i = 0; i < m->n; i++) {
        PictureBox box = {GAP + (double)(i % m->columns) * (CELL + GAP),
                          TOP + (double)(i / m->columns) * (height + CAPTION + GAP), CELL, height};
        cairo_set_source_rgb(cr, 0.2, 0.2, 0.2);
        cairo_rectangle(cr, box.x, box.y, box.width, box.height);
        cairo_fill(cr);
        if (m->behind)
            draw_behind(cr, m, i, box);
        draw_map(cr, m, i, box);
        picture_draw_text(cr, m->caption[i], box.x, box.y + height + 14, 11, false, PICTURE_LEFT);
    }
    for (size_t i = 0; i < m->n_panels; i++)
        picture_draw_panel(cr,
                           (PictureBox){0, panels_at(m) + (double)i * PANEL, page_width(m), PANEL},
                           &m->panel[i]);
}

Status picture_maps(const char *path, const PictureMaps *m, Err *err)
{
    if (!m->columns || m->n + m->n_panels == 0 || m->n > 64 || m->n_panels > 8)
        return err_set(err, NPC_ERR_INPUT, "%s: a picture has 1 to 64 maps and at most 8 panels",
                       path);
    return picture_write(path, page_width(m), panels_at(m) + (double)m->n_panels * PANEL + 6,
                         paint_maps, m, err);
}

#else

Status picture_maps(const char *path, const PictureMaps *m, Err *err)
{
    (void)m;
    return picture_missing(path, err);
}

#endif
