#include "data/trial.h"

#include "data/map_guard.h"

enum { CHUNK = 512 };

uint64_t trial_rows(const NpyHeader *h)
{
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < h->rank; i++)
        rows *= h->shape[i];
    return rows;
}

uint64_t trial_row_at(const NpyHeader *h, uint64_t row)
{
    uint64_t at = 0;
    for (uint32_t i = h->rank - 1; i-- > 0; row /= h->shape[i])
        at += row % h->shape[i] * h->stride[i];
    return at;
}

static bool is_finite_bits(uint32_t bits)
{
    return (bits & 0x7f800000u) != 0x7f800000u;
}

/* Non-finite values among n, and whether any finite one is not 0. */
static uint32_t count_bad(const float *x, uint32_t n, bool *has_value)
{
    uint32_t bad = 0, value = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        uint32_t finite = is_finite_bits(bits);
        bad += !finite;
        value |= finite & ((bits << 1) != 0);
    }
    *has_value |= value != 0;
    return bad;
}

static uint32_t first_bad(const Npy *a, uint64_t at, uint64_t stride, uint32_t frames)
{
    for (uint32_t t = 0; t < frames; t++) {
        float x;
        uint32_t bits;
        npy_floats(a, at + t * stride, stride, 1, &x);
        memcpy(&bits, &x, sizeof bits);
        if (!is_finite_bits(bits))
            return t;
    }
    return frames;
}

TailScan trial_scan(const Npy *a)
{
    const NpyHeader *h = &a->head;
    uint32_t frames = (uint32_t)h->shape[h->rank - 1];
    uint64_t stride = h->stride[h->rank - 1], rows = trial_rows(h);
    TailScan s = {.valid = frames, .is_all_zero = true};
    bool has_value = false;
    for (uint64_t row = 0; row < rows && frames; row++) {
        uint64_t at = trial_row_at(h, row);
        uint32_t bad = 0;
        for (uint32_t t = 0; t < frames; t += CHUNK) {
            float x[CHUNK];
            uint32_t n = frames - t < CHUNK ? frames - t : CHUNK;
            npy_floats(a, at + t * stride, stride, n, x);
            bad += count_bad(x, n, &has_value);
        }
        uint32_t valid = bad ? first_bad(a, at, stride, frames) : frames;
        if (valid != frames - bad && (!s.has_hole || valid < s.hole_frame)) {
            s.has_hole = true;
            s.hole_frame = valid;
            s.hole_row = row;
        }
        s.valid = valid < s.valid ? valid : s.valid;
        s.latest = valid > s.latest ? valid : s.latest;
    }
    s.is_all_zero = !has_value;
    return s;
}

Status trial_map_files(TrialMap *out, const Recording *r, uint32_t trial, Err *err)
{
    *out = (TrialMap){.recording = r, .trial = trial};
    if (trial >= r->n_trials)
        return err_set(err, NPC_ERR_INPUT, "%s: there is no trial %u; the last one is %u", r->path,
                       trial, r->n_trials - 1);
    if (r->trials[trial].tier == TIER_NONE)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: trial %u has the tier 'none' (lost or faulty) and is never read",
                       r->path, trial);
    for (int v = 0; v < VAR_COUNT; v++) {
        char path[4096], expected[96], shape[200], type[24];
        trial_path(r, (Variable)v, trial, path, sizeof path);
        Npy *a = &out->var[v];
        Status s = npy_open(a, path, err);
        if (s == NPC_OK)
            trial_add_time(r, &a->head);
        if (s == NPC_OK && (!trial_header_fits(r, (Variable)v, &a->head, expected) ||
                            a->head.shape[a->head.rank - 1] != r->trials[trial].frames))
            s = err_set(err, NPC_ERR_INPUT, "%s: %s %s; expected %s with %u frames", path,
                        npy_type_text(&a->head, type), npy_shape_text(&a->head, shape), expected,
                        r->trials[trial].frames);
        if (s != NPC_OK) {
            trial_unmap(out);
            return s;
        }
        out->bytes += a->map.bytes;
    }
    return NPC_OK;
}

void trial_unmap(TrialMap *m)
{
    for (int v = 0; v < VAR_COUNT; v++)
        npy_close(&m->var[v]);
}

typedef struct ScanJob {
    const TrialMap *map;
    TailScan scan[VAR_COUNT];
    int v; /* the variable being read */
} ScanJob;

static void scan_all(void *cx)
{
    ScanJob *job = cx;
    for (job->v = 0; job->v < VAR_COUNT; job->v++)
        job->scan[job->v] = trial_scan(&job->map->var[job->v]);
}

/* Reads the mapped trial through and writes its cache entry. Two threads may do so at once: they
 * find the same. */
static Status learn_valid(const TrialMap *m, Err *err)
{
    Trial *trial = &m->recording->trials[m->trial];
    ScanJob job = {.map = m};
    char path[4096];
    if (!map_guard(scan_all, &job)) {
        trial_path(m->recording, (Variable)job.v, m->trial, path, sizeof path);
        return err_set(err, NPC_ERR_IO, "%s: the file shrank while it was being read", path);
    }
    uint32_t valid = trial->frames;
    for (int v = 0; v < VAR_COUNT; v++) {
        const TailScan *s = &job.scan[v];
        if (s->has_hole) {
            trial_path(m->recording, (Variable)v, m->trial, path, sizeof path);
            return err_set(err, NPC_ERR_INPUT,
                           "%s: frame %u of row %llu is not finite, but later frames are; expected "
                           "NaN only as a tail",
                           path, s->hole_frame, (unsigned long long)s->hole_row);
        }
        valid = s->valid < valid ? s->valid : valid;
    }
    bool withheld = (TIER_BIT(trial->tier) & TIERS_LABELLED_IF_RELEASED) &&
                    job.scan[VAR_RESPONSE].is_all_zero && valid > 0;
    atomic_store(&trial->is_withheld, withheld);
    atomic_store(&trial->valid, (int32_t)valid);
    return NPC_OK;
}

static uint32_t used_frames(const Recording *r, uint32_t valid)
{
    return r->longest && r->longest < valid ? r->longest : valid;
}

Status trial_map(TrialMap *out, const Recording *r, uint32_t trial, Err *err)
{
    NPC_TRY(trial_map_files(out, r, trial, err));
    int32_t valid = atomic_load(&r->trials[trial].valid);
    if (valid < 0) {
        Status s = learn_valid(out, err);
        if (s != NPC_OK) {
            trial_unmap(out);
            return s;
        }
        valid = atomic_load(&r->trials[trial].valid);
    }
    out->valid = used_frames(r, (uint32_t)valid);
    return NPC_OK;
}

Status recording_valid_frames(const Recording *r, uint32_t trial, uint32_t *frames, Err *err)
{
    if (trial >= r->n_trials || atomic_load(&r->trials[trial].valid) < 0) {
        TrialMap m;
        NPC_TRY(trial_map(&m, r, trial, err));
        trial_unmap(&m);
    }
    *frames = used_frames(r, (uint32_t)atomic_load(&r->trials[trial].valid));
    return NPC_OK;
}

Status recording_is_withheld(const Recording *r, uint32_t trial, bool *withheld, Err *err)
{
    uint32_t frames;
    NPC_TRY(recording_valid_frames(r, trial, &frames, err));
    *withheld = atomic_load(&r->trials[trial].is_withheld);
    for (uint32_t i = 0; i < r->n_trials && *withheld && r->is_images; i++) {
        if (r->trials[i].tier != r->trials[trial].tier) /* one image may leave all cells silent */
            continue;
        NPC_TRY(recording_valid_frames(r, i, &frames, err));
        *withheld = atomic_load(&r->trials[i].is_withheld);
    }
    return NPC_OK;
}
