#include "runtime/attention_files.h"

#include <math.h>

#include "data/npy_write.h"
#include "data/picture.h"

enum { SHOWN = 12, COLUMNS = 4 };

uint32_t attention_frame(const AttentionModel *m, int64_t step)
{
    return m->frames ? (uint32_t)(m->frames[step].end - 1) : 0;
}

/* ---- arrays ---- */

static Status write(const char *folder, const char *name, NpyWriteType type, const void *data,
                    const size_t *shape, size_t rank, Err *err)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    return npy_write(path, type, data, shape, rank, err);
}

static Status write_wide(const char *folder, const char *name, Arena *arena, const double *data,
                         const size_t *shape, size_t rank, Err *err)
{
    size_t n = 1;
    for (size_t i = 0; i < rank; i++)
        n *= shape[i];
    float *single = ARENA_ARRAY(arena, float, n);
    for (size_t i = 0; i < n; i++)
        single[i] = (float)data[i];
    return write(folder, name, NPY_WRITE_F4, single, shape, rank, err);
}

static Status write_space(const AttentionTrial *t, const char *folder, Arena *arena, Err *err)
{
    const AttentionModel *m = t->model;
    const AttentionBlock *b = m->first[ATTENTION_SPACE];
    const size_t steps = (size_t)m->steps, places = (size_t)m->places,
                 received[] = {steps, (size_t)m->n_of[ATTENTION_SPACE], (size_t)b->heads, places};
    NPC_TRY(
        write_wide(folder, "space_rollout", arena, t->space, (size_t[]){steps, places}, 2, err));
    NPC_TRY(write(folder, "space_attention", NPY_WRITE_F4, t->received[ATTENTION_SPACE], received,
                  4, err));
    const size_t map[] = {steps, (size_t)t->map_height, (size_t)t->map_width};
    return t->map ? write_wide(folder, "space_map", arena, t->map, map, 3, err) : NPC_OK;
}

static Status write_time(const AttentionTrial *t, const char *folder, Arena *arena, Err *err)
{
    const AttentionModel *m = t->model;
    const AttentionBlock *b = m->first[ATTENTION_TIME];
    const size_t steps = (size_t)m->steps,
                 received[] = {(size_t)m->n_of[ATTENTION_TIME], (size_t)b->heads, steps};
    NPC_TRY(write_wide(folder, "time_rollout", arena, t->time, &steps, 1, err));
    return write(folder, "time_attention", NPY_WRITE_F4, t->received[ATTENTION_TIME], received, 3,
                 err);
}

Status attention_write(const AttentionTrial *t, const char *folder, Arena *arena, Err *err)
{
    const AttentionModel *m = t->model;
    const size_t steps = (size_t)m->steps;
    int64_t *frames = ARENA_ARRAY(arena, int64_t, steps);
    for (size_t s = 0; s < steps; s++)
        frames[s] = attention_frame(m, (int64_t)s);
    NPC_TRY(write(folder, "frames", NPY_WRITE_I8, frames, &steps, 1, err));
    if (t->space)
        NPC_TRY(write_space(t, folder, arena, err));
    return t->time ? write_time(t, folder, arena, err) : NPC_OK;
}

/* ---- the picture ---- */

/* Do the places reach the edges of the picture? Those of a crop do not, and their map does not lie
 * over the picture as it was recorded. */
static bool covers_picture(const AttentionModel *m)
{
    int64_t bottom = 0, right = 0;
    for (int64_t p = 0; p < m->places; p++) {
        bottom = m->place[p].rows.end > bottom ? m->place[p].rows.end : bottom;
        right = m->place[p].columns.end > right ? m->place[p].columns.end : right;
    }
    return 5 * bottom >= 4 * m->height && 5 * right >= 4 * m->width;
}

/* A recorded picture in the middle of the model's input, grey levels from its darkest to its
 * brightest. */
static void put_behind(const AttentionModel *m, const AttentionScene *s, uint32_t frame, float *out)
{
    size_t top = ((size_t)m->height - s->height) / 2, left = ((size_t)m->width - s->width) / 2,
           n = (size_t)s->height * s->width;
    const float *from = s->picture + frame * n;
    float low = from[0], high = from[0];
    for (size_t i = 0; i < n; i++) {
        low = fminf(low, from[i]);
        high = fmaxf(high, from[i]);
    }
    for (size_t i = 0; i < n; i++)
        out[(top + i / s->width) * (size_t)m->width + left + i % s->width] =
            high > low ? 255 * (from[i] - low) / (high - low) : 127;
}

static void add_maps(const AttentionTrial *t, const AttentionScene *scene, int64_t first,
                     Arena *arena, PictureMaps *p)
{
    const AttentionModel *m = t->model;
    int64_t kept = m->steps - first;
    size_t size = (size_t)(t->map_height * t->map_width), input = (size_t)(m->height * m->width);
    p->n = (size_t)(kept < SHOWN ? kept : SHOWN);
    const char **caption = ARENA_ARRAY(arena, const char *, p->n);
    double *map = ARENA_ARRAY(arena, double, p->n *size);
    float *behind = ARENA_ARRAY(arena, float, p->n *input);
    for (size_t i = 0; i < p->n; i++) {
        int64_t step = first + (int64_t)i * kept / (int64_t)p->n;
        uint32_t frame = attention_frame(m, step);
        caption[i] = scene->is_images ? "" : arena_printf(arena, "frame %u", frame);
        memcpy(map + i * size, t->map + (size_t)step * size, size * sizeof *map);
        attention_min_max(map + i * size,
                          (int64_t)size); /* contrast: rollouts are never far from even */
        put_behind(m, scene, frame, behind + i * input);
    }
    p->caption = caption;
    p->map = map;
    p->height = (size_t)t->map_height;
    p->width = (size_t)t->map_width;
    p->behind = covers_picture(m) ? behind : NULL;
    p->behind_height = (size_t)m->height;
    p->behind_width = (size_t)m->width;
}

static void add_lines(const AttentionTrial *t, const AttentionScene *scene, int64_t first,
                      Arena *arena, PictureMaps *p)
{
    const AttentionModel *m = t->model;
    size_t n = (size_t)(m->steps - first);
    double *frame = ARENA_ARRAY(arena, double, n), *speed = ARENA_ARRAY(arena, double, n);
    for (size_t i = 0; i < n; i++) {
        frame[i] = attention_frame(m, first + (int64_t)i);
        speed[i] = (double)scene->running[(size_t)frame[i]];
    }
    PictureSeries *series = ARENA_ARRAY(arena, PictureSeries, 2);
    PicturePanel *panel = ARENA_ARRAY(arena, PicturePanel, 2);
    series[0] =
        (PictureSeries){.x = frame, .y = t->time + first, .n = n, .look = PICTURE_LINE, .color = 1};
    series[1] = (PictureSeries){.x = frame, .y = speed, .n = n, .look = PICTURE_AREA, .color = -1};
    panel[0] = (PicturePanel){.title = "Attention to frames",
                              .y_label = "rollout",
                              .series = &series[0],
                              .n_series = 1,
                              .mark_x = NAN};
    panel[1] = (PicturePanel){.title = "Running",
                              .x_label = "frame",
                              .y_label = "speed",
                              .series = &series[1],
                              .n_series = 1,
                              .mark_x = NAN};
    p->panel = panel;
    p->n_panels = 2;
}

/* Of an image there is room for itself without the map in front. */
static void add_plain(const AttentionTrial *t, Arena *arena, PictureMaps *p)
{
    const AttentionModel *m = t->model;
    size_t size = p->height * p->width, input = (size_t)(m->height * m->width);
    static const char *const caption[] = {"image", "attention"};
    double *map = ARENA_ARRAY(arena, double, 2 * size);
    float *behind = ARENA_ARRAY(arena, float, 2 * input);
    if (!p->behind)
        return;
    memcpy(map + size, p->map, size * sizeof *map);
    memcpy(behind, p->behind, input * sizeof *behind);
    memcpy(behind + input, p->behind, input * sizeof *behind);
    p->map = map;
    p->behind = behind;
    p->caption = caption;
    p->n = 2;
}

Status attention_draw(const AttentionTrial *t, const AttentionScene *scene, const char *folder,
                      Arena *arena, Err *err)
{
    char path[4400];
    int64_t first = 0;
    PictureMaps p = {.title = scene->title, .columns = scene->is_images ? 2 : COLUMNS};
    while (first < t->model->steps && attention_frame(t->model, first) < scene->burn_in)
        first++;
    if (!picture_available() || first == t->model->steps)
        return NPC_OK;
    if (t->map)
        add_maps(t, scene, first, arena, &p);
    if (t->map && scene->is_images)
        add_plain(t, arena, &p);
    if (t->time)
        add_lines(t, scene, first, arena, &p);
    snprintf(path, sizeof path, "%s/attention.png", folder);
    return p.n + p.n_panels ? picture_maps(path, &p, err) : NPC_OK;
}
