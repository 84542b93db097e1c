#include "data/synth_statistics.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/base/file.h"

enum { PIECE_BYTES = 1 << 25 };

enum { MEAN, STD, MIN, MAX, MEDIAN, N_STATS };

/* The k-th smallest of n values, 0-based; the smaller ones end up before it (Hoare's selection). */
static double select_kth(double *x, size_t n, size_t k)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)n - 1, wanted = (ptrdiff_t)k;
    while (low < high) {
        double pivot = x[wanted];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (x[i] < pivot)
                i++;
            while (pivot < x[j])
                j--;
            if (i > j)
                break;
            double swap = x[i];
            x[i++] = x[j];
            x[j--] = swap;
        }
        low = j < wanted ? i : low;
        high = wanted < i ? j : high;
    }
    return x[k];
}

/* Of n values without NaN; the order of x changes. */
static void describe(double *x, size_t n, float *out[N_STATS], size_t at)
{
    double sum = 0, square = 0, low = INFINITY, high = -INFINITY;

    if (n == 0) {
        for (int k = 0; k < N_STATS; k++)
            out[k][at] = NAN;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
    }
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double upper = select_kth(x, n, n / 2), lower = upper;
    if (n % 2 == 0) { /* the largest of the smaller half */
        lower = x[0];
        for (size_t i = 1; i < n / 2; i++)
            lower = fmax(lower, x[i]);
    }
    out[MEAN][at] = (float)mean;
    out[STD][at] = (float)sqrt(square / (double)n);
    out[MIN][at] = (float)low;
    out[MAX][at] = (float)high;
    out[MEDIAN][at] = (float)((lower + upper) / 2);
}

static Status read_piece(const SynthVariable *v, size_t trial, size_t first, size_t n, void *out,
                         Err *err)
{
    char path[4096];
    size_t bytes = v->type == NPY_WRITE_F4 ? 4 : 8;
    long offset = (long)(npy_write_header_bytes(v->type, v->shape, v->rank) + first * bytes);
    snprintf(path, sizeof path, "%s/data/%s/%zu.npy", v->folder, v->name, trial);
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(err, NPC_ERR_IO, "%s: cannot read back: %s", path, strerror(errno));
    int good = fseek(f, offset, SEEK_SET) == 0 && fread(out, bytes, n, f) == n;
    fclose(f);
    return good ? NPC_OK
                : err_set(err, NPC_ERR_IO, "%s: cannot read back what was just written", path);
}

/* Elements first .. first + n of all trials; `piece` holds n_trials * n elements. */
static Status describe_piece(const SynthVariable *v, const size_t *trials, size_t n_trials,
                             size_t first, size_t n, char *piece, double *values,
                             float *out[N_STATS], Err *err)
{
    size_t bytes = v->type == NPY_WRITE_F4 ? 4 : 8;
    for (size_t k = 0; k < n_trials; k++)
        NPC_TRY(read_piece(v, trials[k], first, n, piece + k * n * bytes, err));
    for (size_t i = 0; i < n; i++) {
        size_t valid = 0;
        for (size_t k = 0; k < n_trials; k++) {
            const char *at = piece + (k * n + i) * bytes;
            double x = bytes == 4 ? (double)*(const float *)at : *(const double *)at;
            if (!isnan(x))
                values[valid++] = x;
        }
        describe(values, valid, out, first + i);
    }
    return NPC_OK;
}

static Status write_all(const SynthVariable *v, float *out[N_STATS], Err *err)
{
    static const char *const stat[N_STATS] = {"mean", "std", "min", "max", "median"};
    char path[4096];

    snprintf(path, sizeof path, "%s/meta/statistics/%s/all", v->folder, v->name);
    NPC_TRY(file_make_folder(path, err));
    for (int k = 0; k < N_STATS; k++) {
        snprintf(path, sizeof path, "%s/meta/statistics/%s/all/%s.npy", v->folder, v->name,
                 stat[k]);
        NPC_TRY(npy_write(path, NPY_WRITE_F4, out[k], v->shape, v->rank, err));
    }
    return NPC_OK;
}

Status synth_statistics(const SynthVariable *v, const size_t *trials, size_t n_trials, Err *err)
{
    size_t elems = 1, bytes = v->type == NPY_WRITE_F4 ? 4 : 8;
    for (size_t k = 0; k < v->rank; k++)
        elems *= v->shape[k];
    size_t step = PIECE_BYTES / (n_trials * bytes + 1) + 1;
    step = step < elems ? step : elems;
    char *piece = malloc(n_trials * step * bytes + 1);
    double *values = malloc((n_trials + 1) * sizeof *values);
    float *stats = malloc(N_STATS * elems * sizeof *stats), *out[N_STATS];
    Status status =
        piece && values && stats
            ? NPC_OK
            : err_set(err, NPC_ERR_MEMORY, "no memory for the statistics of %s", v->name);
    for (size_t k = 0; stats && k < N_STATS; k++)
        out[k] = stats + k * elems;
    for (size_t first = 0; status == NPC_OK && first < elems; first += step) {
        size_t n = elems - first < step ? elems - first : step;
        status = describe_piece(v, trials, n_trials, first, n, piece, values, out, err);
    }
    if (status == NPC_OK)
        status = write_all(v, out, err);
    free(piece);
    free(values);
    free(stats);
    return status;
}
