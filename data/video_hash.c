#include "data/video_hash.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, KEPT = 8, SAMPLED = 5, FIXED = 22 };

VideoView video_view(const float *at, size_t height, size_t width, size_t frames)
{
    return (VideoView){at, height, width, frames, (ptrdiff_t)(width * frames), (ptrdiff_t)frames,
                       1};
}

static float grey_at(const VideoView *v, size_t y, size_t x, size_t t)
{
    return v->at[(ptrdiff_t)y * v->row_stride + (ptrdiff_t)x * v->column_stride +
                 (ptrdiff_t)t * v->frame_stride];
}

/* ---------------------------------------------------------------------------------- frame hash */

static double sinc(double v)
{
    return v == 0 ? 1.0 : sin(M_PI * v) / (M_PI * v);
}

static double lanczos(double v)
{
    return v >= -3.0 && v < 3.0 ? sinc(v) * sinc(v / 3.0) : 0.0;
}

/* Resamples one line of n bytes to SIDE bytes; weights have 22 fractional bits. */
static void resample_line(const uint8_t *in, size_t n, size_t in_stride, uint8_t *out,
                          size_t out_stride, double *weight)
{
    double scale = (double)n / SIDE, stretch = scale > 1.0 ? scale : 1.0, support = 3.0 * stretch;

    for (size_t i = 0; i < SIDE; i++) {
        double centre = ((double)i + 0.5) * scale, total = 0;
        double low = centre - support + 0.5, high = centre + support + 0.5;
        size_t first = low > 0 ? (size_t)low : 0, end = (size_t)high < n ? (size_t)high : n;
        for (size_t j = first; j < end; j++) {
            weight[j] = lanczos(((double)j - centre + 0.5) / stretch);
            total += weight[j];
        }
        int64_t sum = (int64_t)1 << (FIXED - 1);
        for (size_t j = first; j < end; j++) {
            double w = weight[j] / total * (double)(1 << FIXED);
            sum += (int64_t)(w + (w >= 0 ? 0.5 : -0.5)) * in[j * in_stride];
        }
        sum >>= FIXED;
        out[i * out_stride] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

/* bytes [h, w] -> small [SIDE, SIDE]; horizontally first. `wide` takes h * SIDE bytes. */
static void shrink(const uint8_t *bytes, size_t h, size_t w, uint8_t *wide, double *weight,
                   uint8_t small[SIDE * SIDE])
{
    for (size_t y = 0; y < h; y++) {
        if (w == SIDE)
            memcpy(wide + y * SIDE, bytes + y * w, SIDE);
        else
            resample_line(bytes + y * w, w, 1, wide + y * SIDE, 1, weight);
    }
    for (size_t x = 0; x < SIDE; x++) {
        if (h == SIDE)
            for (size_t y = 0; y < h; y++)
                small[y * SIDE + x] = wide[y * SIDE + x];
        else
            resample_line(wide + x, h, SIDE, small + x, SIDE, weight);
    }
}

/* The 8 x 8 lowest coefficients of the unnormalised type-II transform. */
static void low_coefficients(const uint8_t small[SIDE * SIDE], double low[KEPT * KEPT])
{
    double basis[KEPT][SIDE], rows[KEPT][SIDE];

    for (int k = 0; k < KEPT; k++)
        for (int n = 0; n < SIDE; n++)
            basis[k][n] = 2.0 * cos(M_PI * k * (2 * n + 1) / (2.0 * SIDE));
    for (int a = 0; a < KEPT; a++)
        for (int x = 0; x < SIDE; x++) {
            rows[a][x] = 0;
            for (int y = 0; y < SIDE; y++)
                rows[a][x] += basis[a][y] * small[y * SIDE + x];
        }
    for (int a = 0; a < KEPT; a++)
        for (int b = 0; b < KEPT; b++) {
            double sum = 0;
            for (int x = 0; x < SIDE; x++)
                sum += rows[a][x] * basis[b][x];
            /* zero in exact arithmetic; rounding noise shall not decide bits */
            low[a * KEPT + b] = fabs(sum) < 1e-6 ? 0.0 : sum;
        }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint64_t bits_above_median(const double low[KEPT * KEPT])
{
    double sorted[KEPT * KEPT];
    memcpy(sorted, low, sizeof sorted);
    qsort(sorted, KEPT * KEPT, sizeof *sorted, by_value);
    double median = (sorted[KEPT * KEPT / 2 - 1] + sorted[KEPT * KEPT / 2]) / 2;
    uint64_t hash = 0;
    for (int i = 0; i < KEPT * KEPT; i++)
        hash = hash << 1 | (low[i] > median);
    return hash;
}

Status video_frame_hash(const VideoView *v, size_t frame, uint64_t *out, Err *err)
{
    size_t h = v->height, w = v->width, n, longest = h > w ? h : w;
    if (h == 0 || w == 0 || frame >= v->frames)
        return err_set(err, NPC_ERR_INPUT, "frame %zu of a video of %zu frames of %zu x %zu pixels",
                       frame, v->frames, h, w);
    if (__builtin_mul_overflow(h, w, &n) || longest > SIZE_MAX / 64)
        return err_set(err, NPC_ERR_INPUT, "a frame of %zu x %zu pixels is too large", h, w);
    uint8_t *bytes = malloc(n), *wide = malloc(h * SIDE), small[SIDE * SIDE];
    double *weight = malloc(longest * sizeof *weight), low[KEPT * KEPT];
    Status status = NPC_OK;
    if (bytes && wide && weight) {
        for (size_t y = 0; y < h; y++)
            for (size_t x = 0; x < w; x++) {
                float g = grey_at(v, y, x, frame); /* truncated; NaN counts as black */
                bytes[y * w + x] = g >= 255 ? 255 : g > 0 ? (uint8_t)g : 0;
            }
        shrink(bytes, h, w, wide, weight, small);
        low_coefficients(small, low);
        *out = bits_above_median(low);
    } else {
        status = err_set(err, NPC_ERR_MEMORY, "no memory for a frame of %zu x %zu pixels", h, w);
    }
    free(bytes);
    free(wide);
    free(weight);
    return status;
}

Status video_hash(const VideoView *v, uint64_t *out, Err *err)
{
    size_t length = 0;
    if (v->height && v->width)
        while (length < v->frames && !isnan(grey_at(v, 0, 0, length)))
            length++;
    if (length < SAMPLED)
        return err_set(err, NPC_ERR_INPUT,
                       "a video of %zu valid frames has no hash, which needs at least %d", length,
                       SAMPLED);
    size_t step = length / SAMPLED;
    uint64_t result = 0;
    for (size_t k = 0; k < SAMPLED; k++) {
        uint64_t of_frame;
        NPC_TRY(video_frame_hash(v, step / 2 + k * step, &of_frame, err));
        result ^= of_frame;
    }
    *out = result;
    return NPC_OK;
}

uint32_t video_fold(uint64_t hash, uint32_t n_folds)
{
    return n_folds ? (uint32_t)(hash % n_folds) : 0;
}

/* ------------------------------------------------------------------------------------- repeats */

/* Sixteen pixels of every trial decide most pairs: as soon as 15 % of the frames differ there, the
 * clips differ. Only pairs that survive are compared everywhere, so no true repeat is missed. */
enum { PROBES = 16 };

typedef struct RepeatFinder {
    const VideoSource *source;
    size_t longest; /* stored frames of the longest trial */
    float *probe;   /* [n_trials, PROBES, longest], NaN as -1 */
    float *a, *b;   /* [longest] one pixel of each of two trials */
    bool *differs;  /* [longest] */
} RepeatFinder;

/* Reads one pixel, fills up to the longest trial; NaN becomes -1. */
static Status read_series(const RepeatFinder *r, size_t trial, size_t pixel, float *out, Err *err)
{
    size_t n = r->source->n_frames[trial];
    NPC_TRY(r->source->read_pixel(r->source->cx, trial, pixel, out, err));
    for (size_t t = 0; t < n; t++)
        out[t] = isnan(out[t]) ? -1.0f : out[t];
    for (size_t t = n; t < r->longest; t++)
        out[t] = -1.0f;
    return NPC_OK;
}

/* Marks the frames in which the pixel differs by more than a grey level; counts new ones. */
static size_t mark_differences(const float *a, const float *b, size_t n, bool *differs)
{
    size_t found = 0;
    for (size_t t = 0; t < n; t++) {
        bool now = !differs[t] && !(fabsf(a[t] - b[t]) <= 1.0f);
        differs[t] = differs[t] || now;
        found += now;
    }
    return found;
}

/* Equal in more than 85 % of the n frames, in integers. */
static bool too_different(size_t n_differing, size_t n)
{
    return (n - n_differing) * 100 <= n * 85;
}

static Status same_clip(const RepeatFinder *r, size_t i, size_t j, bool *same, Err *err)
{
    const VideoSource *s = r->source;
    size_t n = s->n_frames[i] > s->n_frames[j] ? s->n_frames[i] : s->n_frames[j], differing = 0;

    *same = n == 0;
    memset(r->differs, 0, r->longest * sizeof *r->differs);
    for (size_t p = 0; p < PROBES; p++) {
        const float *a = r->probe + (i * PROBES + p) * r->longest;
        const float *b = r->probe + (j * PROBES + p) * r->longest;
        differing += mark_differences(a, b, n, r->differs);
        if (too_different(differing, n))
            return NPC_OK;
    }
    for (size_t pixel = 0; pixel < s->n_pixels; pixel++) {
        NPC_TRY(read_series(r, i, pixel, r->a, err));
        NPC_TRY(read_series(r, j, pixel, r->b, err));
        differing += mark_differences(r->a, r->b, n, r->differs);
        if (too_different(differing, n))
            return NPC_OK;
    }
    *same = true;
    return NPC_OK;
}

static Status find_groups(const RepeatFinder *r, size_t *leader, int64_t *group, Err *err)
{
    const VideoSource *s = r->source;
    size_t n_groups = 0;

    for (size_t i = 0; i < s->n_trials; i++)
        for (size_t p = 0; p < PROBES; p++)
            NPC_TRY(read_series(r, i, (2 * p + 1) * s->n_pixels / (2 * PROBES),
                                r->probe + (i * PROBES + p) * r->longest, err));
    for (size_t i = 0; i < s->n_trials; i++) {
        bool same = false;
        size_t g = 0;
        for (; g < n_groups && !same; g += !same)
            NPC_TRY(same_clip(r, leader[g], i, &same, err));
        if (!same)
            leader[n_groups++] = i;
        group[i] = (int64_t)g;
    }
    return NPC_OK;
}

Status video_find_repeats(const VideoSource *s, int64_t *group, Err *err)
{
    RepeatFinder r = {.source = s};
    size_t probes;
    for (size_t i = 0; i < s->n_trials; i++)
        r.longest = s->n_frames[i] > r.longest ? s->n_frames[i] : r.longest;
    if (s->n_trials == 0)
        return NPC_OK;
    if (s->n_pixels == 0 || s->n_pixels > SIZE_MAX / (2 * PROBES) ||
        __builtin_mul_overflow(s->n_trials, PROBES * sizeof(float), &probes) ||
        __builtin_mul_overflow(probes, r.longest + 1, &probes))
        return err_set(err, NPC_ERR_INPUT, "cannot compare %zu videos of %zu pixels", s->n_trials,
                       s->n_pixels);
    r.probe = malloc(probes);
    r.a = malloc((r.longest + 1) * sizeof *r.a);
    r.b = malloc((r.longest + 1) * sizeof *r.b);
    r.differs = malloc((r.longest + 1) * sizeof *r.differs);
    size_t *leader = malloc(s->n_trials * sizeof *leader);
    Status status =
        r.probe && r.a && r.b && r.differs && leader
            ? find_groups(&r, leader, group, err)
            : err_set(err, NPC_ERR_MEMORY, "no memory to compare %zu videos", s->n_trials);
    free(r.probe);
    free(r.a);
    free(r.b);
    free(r.differs);
    free(leader);
    return status;
}

static Status read_view(void *cx, size_t trial, size_t pixel, float *out, Err *err)
{
    (void)err;
    const VideoView *v = (const VideoView *)cx + trial;
    for (size_t t = 0; t < v->frames; t++)
        out[t] = grey_at(v, pixel / v->width, pixel % v->width, t);
    return NPC_OK;
}

Status video_find_repeats_of_views(const VideoView *views, size_t n_trials, int64_t *group,
                                   Err *err)
{
    if (n_trials == 0)
        return NPC_OK;
    size_t *n_frames = malloc(n_trials * sizeof *n_frames);
    if (!n_frames)
        return err_set(err, NPC_ERR_MEMORY, "no memory to compare %zu videos", n_trials);
    Status status = NPC_OK;
    for (size_t i = 0; i < n_trials; i++) {
        n_frames[i] = views[i].frames;
        if (views[i].height != views[0].height || views[i].width != views[0].width)
            status =
                err_set(err, NPC_ERR_INPUT, "video %zu has %zu x %zu pixels, video 0 %zu x %zu", i,
                        views[i].height, views[i].width, views[0].height, views[0].width);
    }
    VideoSource s = {(void *)views, n_trials, views[0].height * views[0].width, n_frames,
                     read_view};
    if (status == NPC_OK)
        status = video_find_repeats(&s, group, err);
    free(n_frames);
    return status;
}
