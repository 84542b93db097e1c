#include "runtime/attention_maps.h"

#include <math.h>

/* ---- weights ---- */

static double value_at(AttentionValues v, int64_t at)
{
    return v.wide ? v.wide[at] : (double)v.single[at];
}

/* Offset of number `index` of axes of these sizes. */
static int64_t offset_of(int64_t index, int n, const int64_t *size, const int64_t *stride)
{
    int64_t at = 0;
    for (int i = n; i-- > 0; index /= size[i])
        at += index % size[i] * stride[i];
    return at;
}

static int64_t begin_of(const AttentionBlock *b, const AttentionSide *s, int64_t sample,
                        int64_t sequence, int64_t head)
{
    return sample * s->sample + offset_of(sequence, b->n_sequence, b->sequence_size, s->sequence) +
           offset_of(head, b->n_head, b->head_size, s->head);
}

int64_t attention_scratch(const AttentionBlock *b)
{
    return b->width * b->tokens + b->tokens;
}

/* row[j] = exp(score - top) / sum for the n tokens that are seen, 0 for the others */
static void softmax(double *row, int64_t n, int64_t tokens)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++)
        top = row[j] > top ? row[j] : top;
    for (int64_t j = 0; j < n; j++)
        sum += row[j] = exp(row[j] - top);
    for (int64_t j = 0; j < n; j++)
        row[j] /= sum;
    for (int64_t j = n; j < tokens; j++)
        row[j] = 0;
}

/* What is added to the scores of token i. begin: of every part */
static void add_to_row(const AttentionBlock *b, const AttentionValues *part, const int64_t *begin,
                       int64_t i, double *row)
{
    const AttentionSide *bias = &b->part[SCORE_BIAS], *theirs = &b->part[SCORE_THEIRS];
    if (b->n_parts < SCORE_PARTS)
        return;
    double own = value_at(part[SCORE_OWN], begin[SCORE_OWN] + i * b->part[SCORE_OWN].token);
    for (int64_t j = 0; j < b->tokens; j++) {
        double their = value_at(part[SCORE_THEIRS], begin[SCORE_THEIRS] + j * theirs->token);
        row[j] += value_at(part[SCORE_BIAS], begin[SCORE_BIAS] + i * bias->token + j * bias->entry);
        row[j] += own == their ? 0 : ATTEND_UNLIKE;
    }
}

/* Has token i a query? Where it has none its weights are 0. */
static bool asks(const AttentionBlock *b, const AttentionValues *part, const int64_t *begin,
                 int64_t i)
{
    return b->n_parts < SCORE_PARTS ||
           attend_asks(value_at(part[SCORE_OWN], begin[SCORE_OWN] + i * b->part[SCORE_OWN].token));
}

void attention_weights(const AttentionBlock *b, const AttentionValues *part, int64_t sample,
                       int64_t sequence, double *scratch, double *weights)
{
    const AttentionSide *q = &b->part[SCORE_QUERY], *k = &b->part[SCORE_KEY];
    double *keys = scratch, *row = scratch + b->width * b->tokens; /* keys [width tokens] */
    int64_t n = b->tokens, kept = attention_kept(b), begin[SCORE_PARTS];
    for (int64_t h = 0; h < b->heads; h++) {
        for (int p = 0; p < b->n_parts; p++)
            begin[p] = begin_of(b, &b->part[p], sample, sequence, h);
        for (int64_t d = 0; d < b->width; d++)
            for (int64_t j = 0; j < n; j++)
                keys[d * n + j] =
                    b->scale *
                    value_at(part[SCORE_KEY], begin[SCORE_KEY] + j * k->token + d * k->entry);
        for (int64_t i = 0; i < kept; i++) {
            memset(weights + (h * kept + i) * kept, 0, (size_t)kept * sizeof *row);
            if (!asks(b, part, begin, i))
                continue;
            memset(row, 0, (size_t)n * sizeof *row);
            for (int64_t d = 0; d < b->width; d++) {
                double x =
                    value_at(part[SCORE_QUERY], begin[SCORE_QUERY] + i * q->token + d * q->entry);
                const double *key = keys + d * n;
                for (int64_t j = 0; j < n; j++)
                    row[j] += x * key[j];
            }
            add_to_row(b, part, begin, i, row);
            if (b->mask == ATTEND_SEES_OTHERS)
                row[i] = -INFINITY;
            softmax(row, b->mask == ATTEND_SEES_EARLIER ? i + 1 : n, n);
            memcpy(weights + (h * kept + i) * kept, row, (size_t)kept * sizeof *row);
        }
    }
}

/* ---- rollout ---- */

void rollout_begin(const AttentionBlock *b, double *line)
{
    int64_t n = attention_kept(b);
    for (int64_t i = 0; i < n; i++)
        line[i] = b->front ? i == 0 : 1 / (double)n;
}

void rollout_through(int64_t heads, int64_t n, const double *weights, double *line, double *scratch)
{
    double *out = scratch, *row = scratch + n;
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        memcpy(row, weights + i * n, (size_t)n * sizeof *row);
        for (int64_t h = 1; h < heads; h++)
            for (int64_t j = 0; j < n; j++)
                row[j] = fmax(row[j], weights[(h * n + i) * n + j]);
        row[i] += 1;
        for (int64_t j = 0; j < n; j++)
            sum += row[j];
        for (int64_t j = 0; j < n; j++)
            out[j] += line[i] / sum * row[j];
    }
    memcpy(line, out, (size_t)n * sizeof *line);
}

void attention_min_max(double *x, int64_t n)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
    }
    for (int64_t i = 0; i < n; i++)
        x[i] = high > low ? (x[i] - low) / (high - low) : 0;
}

/* ---- maps ---- */

void attention_fold(const AttentionPlace *place, int64_t n, const double *value, int64_t height,
                    int64_t width, double *map, double *scratch)
{
    double *count = scratch, top = 0; /* [height width] */
    memset(map, 0, (size_t)(height * width) * sizeof *map);
    memset(count, 0, (size_t)(height * width) * sizeof *count);
    for (int64_t p = 0; p < n; p++)
        for (int64_t y = place[p].rows.first; y < place[p].rows.end; y++)
            for (int64_t x = place[p].columns.first; x < place[p].columns.end; x++) {
                map[y * width + x] += value[p];
                count[y * width + x]++;
            }
    for (int64_t i = 0; i < height * width; i++) {
        map[i] = count[i] > 0 ? map[i] / count[i] : 0;
        top = fmax(top, map[i]);
    }
    for (int64_t i = 0; i < height * width && top > 0; i++)
        map[i] /= top;
}

/* The two entries next to (i + 0.5) n / size - 0.5, and how much of the second. */
static double between(int64_t i, int64_t n, int64_t size, int64_t *low, int64_t *high)
{
    double at = fmax(((double)i + 0.5) * (double)n / (double)size - 0.5, 0);
    *low = (int64_t)at < n ? (int64_t)at : n - 1;
    *high = *low + 1 < n ? *low + 1 : *low;
    return at - (double)*low;
}

void attention_resize(const double *x, int64_t rows, int64_t columns, int64_t height, int64_t width,
                      double *map)
{
    for (int64_t i = 0; i < height; i++) {
        int64_t top, bottom, left, right;
        double v = between(i, rows, height, &top, &bottom);
        for (int64_t j = 0; j < width; j++) {
            double u = between(j, columns, width, &left, &right);
            double above = x[top * columns + left] * (1 - u) + x[top * columns + right] * u;
            double below = x[bottom * columns + left] * (1 - u) + x[bottom * columns + right] * u;
            map[i * width + j] = above * (1 - v) + below * v;
        }
    }
}

static bool same(OriginRange a, OriginRange b)
{
    return a.first == b.first && a.end == b.end;
}

int64_t attention_grid_columns(const AttentionPlace *place, int64_t n)
{
    int64_t columns = 1;
    while (columns < n && same(place[columns].rows, place[0].rows))
        columns++;
    for (int64_t i = 0; i < n; i++)
        if (!same(place[i].rows, place[i / columns * columns].rows) ||
            !same(place[i].columns, place[i % columns].columns))
            return 0;
    return n % columns ? 0 : columns;
}

AttentionMoments attention_moments(const double *map, int64_t height, int64_t width)
{
    double total = 0, x_sum = 0, y_sum = 0, columns = 0, rows = 0;
    for (int64_t i = 0; i < height * width; i++) {
        total += map[i];
        x_sum += map[i] * (double)(i % width);
        y_sum += map[i] * (double)(i / width);
    }
    for (int64_t x = 0; x < width; x++) {
        double sum = -total / (double)width;
        for (int64_t y = 0; y < height; y++)
            sum += map[y * width + x];
        columns += sum * sum / (double)width;
    }
    for (int64_t y = 0; y < height; y++) {
        double sum = -total / (double)height;
        for (int64_t x = 0; x < width; x++)
            sum += map[y * width + x];
        rows += sum * sum / (double)height;
    }
    return (AttentionMoments){total > 0 ? x_sum / total - (double)width / 2 : NAN,
                              total > 0 ? y_sum / total - (double)height / 2 : NAN, sqrt(columns),
                              sqrt(rows)};
}
