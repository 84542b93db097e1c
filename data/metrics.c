#include "data/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

double metrics_correlation(const double *a, const double *b, size_t n, double eps)
{
    double mean_a = 0, mean_b = 0, var_a = 0, var_b = 0, sum = 0, count = (double)n;

    for (size_t i = 0; i < n; i++) {
        mean_a += a[i];
        mean_b += b[i];
    }
    mean_a /= count;
    mean_b /= count;
    for (size_t i = 0; i < n; i++) {
        var_a += (a[i] - mean_a) * (a[i] - mean_a);
        var_b += (b[i] - mean_b) * (b[i] - mean_b);
    }
    double sd_a = sqrt(var_a / count) + eps, sd_b = sqrt(var_b / count) + eps;
    for (size_t i = 0; i < n; i++)
        sum += (a[i] - mean_a) / sd_a * ((b[i] - mean_b) / sd_b);
    return sum / count;
}

size_t metrics_nan_to_zero(double *scores, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (isnan(scores[i])) {
            scores[i] = 0.0;
            found++;
        }
    return found;
}

double metrics_over_recordings(const double *const *scores, const size_t *n_neurons,
                               size_t n_recordings, MetricsWeighting weighting)
{
    double sum = 0, weight = 0;

    for (size_t r = 0; r < n_recordings; r++) {
        double of_recording = 0;
        for (size_t i = 0; i < n_neurons[r]; i++)
            of_recording += scores[r][i];
        bool pooled = weighting == METRICS_OVER_NEURONS;
        sum += pooled ? of_recording : of_recording / (double)n_neurons[r];
        weight += pooled ? (double)n_neurons[r] : 1.0;
    }
    return sum / weight;
}

/* ---------------------------------------------------------------------------- trials and clips */

static size_t scored(const ScoreSet *s, const ScoreTrial *t)
{
    return t->response.n_frames > s->burn_in ? t->response.n_frames - s->burn_in : 0;
}

static double response_at(const ScoreSet *s, const ScoreTrial *t, size_t neuron, size_t frame)
{
    ptrdiff_t f = (ptrdiff_t)(s->burn_in + frame);
    return t->response
        .at[(ptrdiff_t)neuron * t->response.neuron_stride + f * t->response.frame_stride];
}

static double prediction_at(const ScoreSet *s, const ScoreTrial *t, size_t neuron, size_t frame)
{
    ptrdiff_t f = (ptrdiff_t)(t->prediction.n_frames - scored(s, t) + frame);
    return t->prediction
        .at[(ptrdiff_t)neuron * t->prediction.neuron_stride + f * t->prediction.frame_stride];
}

static Status check_predictions(const ScoreSet *s, Err *err)
{
    for (size_t i = 0; i < s->n_trials; i++) {
        size_t have = s->trial[i].prediction.n_frames, need = scored(s, &s->trial[i]);
        if (have < need)
            return err_set(err, NPC_ERR_INPUT,
                           "the prediction of scored trial %zu is too short: %zu frames, but the "
                           "response has %zu after the first %zu",
                           i, have, need, s->burn_in);
    }
    return NPC_OK;
}

/* Clips in order of first appearance; the trials of clip c are member[first[c]] .. first[c + 1]. */
typedef struct Clips {
    size_t n, n_frames, longest_pool; /* frames of all clips; frames of all their repeats */
    size_t *first, *member, *length;  /* length: scored frames of the shortest repeat */
    void *memory;
    double *left, *right; /* two traces of `longest_pool` frames */
} Clips;

static void clips_free(Clips *c)
{
    free(c->memory);
    free(c->left);
    free(c->right);
}

static size_t clips_count_members(const ScoreSet *s, size_t first_trial)
{
    size_t n = 0;
    for (size_t i = first_trial; i < s->n_trials; i++)
        n += s->trial[i].group == s->trial[first_trial].group;
    return n;
}

static bool seen_before(const ScoreSet *s, size_t trial)
{
    for (size_t i = 0; i < trial; i++)
        if (s->trial[i].group == s->trial[trial].group)
            return true;
    return false;
}

/* Appends the clip that trial `t` starts. */
static void clips_add(const ScoreSet *s, size_t t, Clips *c)
{
    size_t n = 0, *member = c->member + c->first[c->n], shortest = SIZE_MAX;
    for (size_t i = t; i < s->n_trials; i++)
        if (s->trial[i].group == s->trial[t].group) {
            member[n++] = i;
            size_t frames = scored(s, &s->trial[i]);
            shortest = frames < shortest ? frames : shortest;
        }
    c->length[c->n] = shortest;
    c->first[c->n + 1] = c->first[c->n] + n;
    c->n_frames += shortest;
    c->longest_pool += shortest * n;
    c->n++;
}

static Status clips_find(const ScoreSet *s, size_t min_repeats, Clips *c, Err *err)
{
    *c = (Clips){0};
    c->memory = calloc(3 * s->n_trials + 2, sizeof(size_t));
    if (!c->memory)
        return err_set(err, NPC_ERR_MEMORY, "no memory to score %zu trials", s->n_trials);
    c->first = c->memory;
    c->member = c->first + s->n_trials + 1;
    c->length = c->member + s->n_trials;
    for (size_t t = 0; t < s->n_trials; t++)
        if (!seen_before(s, t) && clips_count_members(s, t) >= min_repeats)
            clips_add(s, t, c);
    if (c->n == 0 || c->n_frames == 0) {
        Status status = err_set(err, NPC_ERR_INPUT,
                                c->n ? "none of %zu trials has a frame after the first %zu"
                                     : "none of %zu trials shows a clip with at least %zu repeats",
                                s->n_trials, c->n ? s->burn_in : min_repeats);
        clips_free(c);
        return status;
    }
    c->left = malloc(c->longest_pool * sizeof(double));
    c->right = malloc(c->longest_pool * sizeof(double));
    if (!c->left || !c->right) {
        clips_free(c);
        return err_set(err, NPC_ERR_MEMORY, "no memory to score %zu trials", s->n_trials);
    }
    return NPC_OK;
}

typedef double (*ReadSide)(const ScoreSet *, const ScoreTrial *, size_t neuron, size_t frame);

/* out[0 .. length of the clip): mean over the clip's repeats. */
static void repeat_mean(const ScoreSet *s, const Clips *c, size_t clip, size_t neuron,
                        ReadSide read, double *out)
{
    size_t begin = c->first[clip], end = c->first[clip + 1];
    for (size_t f = 0; f < c->length[clip]; f++) {
        double sum = 0;
        for (size_t k = begin; k < end; k++)
            sum += read(s, &s->trial[c->member[k]], neuron, f);
        out[f] = sum / (double)(end - begin);
    }
}

/* Repeat means of all clips laid end to end. */
static void all_means(const ScoreSet *s, const Clips *c, size_t neuron, ReadSide read, double *out)
{
    for (size_t clip = 0; clip < c->n; clip++) {
        repeat_mean(s, c, clip, neuron, read, out);
        out += c->length[clip];
    }
}

static double mean_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

/* Sum of squared distances to the mean. */
static double squares_of(const double *x, size_t n)
{
    double mean = mean_of(x, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

/* -------------------------------------------------------------------------------------- scores */

static double single_trial(const ScoreSet *s, const Clips *c, size_t neuron)
{
    size_t at = 0;
    for (size_t i = 0; i < s->n_trials; i++)
        for (size_t f = 0, n = scored(s, &s->trial[i]); f < n; f++, at++) {
            c->left[at] = response_at(s, &s->trial[i], neuron, f);
            c->right[at] = prediction_at(s, &s->trial[i], neuron, f);
        }
    return metrics_correlation(c->left, c->right, at, METRICS_EPS);
}

static double to_average(const ScoreSet *s, const Clips *c, size_t neuron)
{
    all_means(s, c, neuron, response_at, c->left);
    all_means(s, c, neuron, prediction_at, c->right);
    return metrics_correlation(c->left, c->right, c->n_frames, METRICS_EPS);
}

static double to_average_per_video(const ScoreSet *s, const Clips *c, size_t neuron)
{
    double sum = 0;
    for (size_t clip = 0; clip < c->n; clip++) {
        repeat_mean(s, c, clip, neuron, response_at, c->left);
        repeat_mean(s, c, clip, neuron, prediction_at, c->right);
        sum += metrics_correlation(c->left, c->right, c->length[clip], METRICS_EPS);
    }
    return sum / (double)c->n;
}

/* Signal power of one clip: (Var(sum of repeats) - sum of Var(repeat)) / (n (n - 1)). */
static double signal_power(const ScoreSet *s, const Clips *c, size_t clip, size_t neuron,
                           const double *mean, double *scratch)
{
    size_t begin = c->first[clip], end = c->first[clip + 1], length = c->length[clip];
    double n = (double)(end - begin), of_repeats = 0;

    for (size_t k = begin; k < end; k++) {
        for (size_t f = 0; f < length; f++)
            scratch[f] = response_at(s, &s->trial[c->member[k]], neuron, f);
        of_repeats += squares_of(scratch, length) / (double)(length - 1);
    }
    double of_sum = n * n * squares_of(mean, length) / (double)(length - 1);
    return (of_sum - of_repeats) / (n * (n - 1));
}

static double normalised(const ScoreSet *s, const Clips *c, size_t neuron)
{
    double sum = 0, counted = 0;
    for (size_t clip = 0; clip < c->n; clip++) {
        size_t length = c->length[clip];
        double cov = 0, *scratch = c->left + length; /* two repeats or more: there is room */
        repeat_mean(s, c, clip, neuron, response_at, c->left);
        repeat_mean(s, c, clip, neuron, prediction_at, c->right);
        double power = length < 2 ? NAN : signal_power(s, c, clip, neuron, c->left, scratch);
        if (!(power > 1e-4))
            continue;
        double mean_r = mean_of(c->left, length), mean_p = mean_of(c->right, length);
        for (size_t f = 0; f < length; f++)
            cov += (c->left[f] - mean_r) * (c->right[f] - mean_p);
        double n1 = (double)(length - 1), var_p = squares_of(c->right, length) / n1;
        double score = cov / n1 / (sqrt(var_p * power) + 1e-8);
        if (isnan(score))
            continue;
        sum += score;
        counted++;
    }
    return sum / counted;
}

static double explained(const ScoreSet *s, const Clips *c, size_t neuron)
{
    double error = 0, noise = 0, places = 0;
    size_t at = 0;
    for (size_t clip = 0; clip < c->n; clip++) {
        size_t begin = c->first[clip], n = c->first[clip + 1] - begin;
        for (size_t f = 0; f < c->length[clip]; f++, at += n, places++) {
            for (size_t k = 0; k < n; k++) {
                const ScoreTrial *t = &s->trial[c->member[begin + k]];
                double x = response_at(s, t, neuron, f), d = x - prediction_at(s, t, neuron, f);
                c->left[at + k] = x;
                error += d * d;
            }
            noise += squares_of(c->left + at, n) / (double)(n - 1);
        }
    }
    double total = squares_of(c->left, at) / (double)(at - 1);
    error /= (double)at;
    noise /= places;
    return (total - noise) / total >= METRICS_EXPLAINABLE ? 1 - (error - noise) / (total - noise)
                                                          : (double)NAN;
}

static double leave_one_out(const ScoreSet *s, const Clips *c, size_t neuron)
{
    size_t at = 0;
    for (size_t clip = 0; clip < c->n; clip++) {
        size_t begin = c->first[clip], n = c->first[clip + 1] - begin, length = c->length[clip];
        for (size_t f = 0; f < length; f++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += response_at(s, &s->trial[c->member[begin + k]], neuron, f);
            for (size_t k = 0; k < n; k++) {
                double x = response_at(s, &s->trial[c->member[begin + k]], neuron, f);
                c->left[at + k * length + f] = x;
                c->right[at + k * length + f] = (sum - x) / (double)(n - 1);
            }
        }
        at += n * length;
    }
    return metrics_correlation(c->left, c->right, at, METRICS_EPS);
}

static double conservative(const ScoreSet *s, const Clips *c, size_t neuron)
{
    double noise = 0;
    all_means(s, c, neuron, response_at, c->left);
    const double *mean = c->left;
    for (size_t clip = 0; clip < c->n; clip++) {
        size_t begin = c->first[clip], end = c->first[clip + 1];
        for (size_t f = 0; f < c->length[clip]; f++, mean++) {
            double sum = 0;
            for (size_t k = begin; k < end; k++) {
                double d = response_at(s, &s->trial[c->member[k]], neuron, f) - *mean;
                sum += d * d;
            }
            noise += sum / (double)(end - begin);
        }
    }
    noise /= (double)c->n_frames;
    double signal = squares_of(c->left, c->n_frames) / (double)c->n_frames;
    return signal / sqrt(signal * (signal + noise));
}

typedef double (*ScoreOfNeuron)(const ScoreSet *, const Clips *, size_t neuron);

static Status score(const ScoreSet *s, size_t min_repeats, ScoreOfNeuron of_neuron,
                    bool nan_is_zero, double *out, Err *err)
{
    Clips clips;
    NPC_TRY(clips_find(s, min_repeats, &clips, err));
    for (size_t i = 0; i < s->n_neurons; i++)
        out[i] = of_neuron(s, &clips, i);
    clips_free(&clips);
    if (nan_is_zero)
        metrics_nan_to_zero(out, s->n_neurons);
    return NPC_OK;
}

/* Every trial its own clip: the pool holds all scored frames, nothing is cut. */
Status metrics_single_trial(const ScoreSet *s, double *out, Err *err)
{
    NPC_TRY(check_predictions(s, err));
    ScoreTrial *own = malloc((s->n_trials + 1) * sizeof *own);
    if (!own)
        return err_set(err, NPC_ERR_MEMORY, "no memory to score %zu trials", s->n_trials);
    for (size_t i = 0; i < s->n_trials; i++) {
        own[i] = s->trial[i];
        own[i].group = (int64_t)i;
    }
    ScoreSet split = *s;
    split.trial = own;
    Status status = score(&split, 1, single_trial, true, out, err);
    free(own);
    return status;
}

Status metrics_to_average(const ScoreSet *s, size_t min_repeats, double *out, Err *err)
{
    NPC_TRY(check_predictions(s, err));
    return score(s, min_repeats, to_average, true, out, err);
}

Status metrics_to_average_per_video(const ScoreSet *s, size_t min_repeats, double *out, Err *err)
{
    NPC_TRY(check_predictions(s, err));
    return score(s, min_repeats, to_average_per_video, true, out, err);
}

Status metrics_normalised(const ScoreSet *s, double *out, Err *err)
{
    NPC_TRY(check_predictions(s, err));
    return score(s, 2, normalised, false, out, err);
}

Status metrics_explained(const ScoreSet *s, double *out, Err *err)
{
    NPC_TRY(check_predictions(s, err));
    return score(s, 2, explained, false, out, err);
}

Status metrics_leave_one_out_ceiling(const ScoreSet *s, double *out, Err *err)
{
    return score(s, 2, leave_one_out, true, out, err);
}

Status metrics_conservative_ceiling(const ScoreSet *s, double *out, Err *err)
{
    return score(s, 1, conservative, false, out, err);
}
