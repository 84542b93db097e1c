#include "data/data_check.h"

#include <math.h>
#include <stdlib.h>

#include "ir/base/text.h"
#include "data/map_guard.h"
#include "data/trial.h"

static const char *const STATS[] = {"mean", "std", "min", "max", "median"};
enum { N_STATS = 5, CHUNK = 512 };

/* ---- one trial
 * ------------------------------------------------------------------------------------ */

typedef struct TrialJob {
    TrialMap map;
    bool is_open[VAR_COUNT];
    TailScan scan[VAR_COUNT];
    RecordingInfo *info;
    int v; /* the variable being read */
} TrialJob;

static void scan_open(void *cx)
{
    TrialJob *job = cx;
    for (job->v = 0; job->v < VAR_COUNT; job->v++)
        if (job->is_open[job->v])
            job->scan[job->v] = trial_scan(&job->map.var[job->v]);
}

static Moments *moments_for(RecordingInfo *info, Variable v, uint64_t row)
{
    return v == VAR_VIDEO      ? &info->video
           : v == VAR_RESPONSE ? &info->response
           : v == VAR_BEHAVIOR ? &info->behavior[row]
                               : &info->pupil[row];
}

static void measure_open(void *cx)
{
    TrialJob *job = cx;
    uint32_t valid = job->map.valid;
    for (job->v = 0; job->v < VAR_COUNT; job->v++) {
        const Npy *a = &job->map.var[job->v];
        uint64_t rows = trial_rows(&a->head), stride = a->head.stride[a->head.rank - 1];
        if (job->v == VAR_RESPONSE && job->scan[VAR_RESPONSE].is_all_zero)
            continue;
        for (uint64_t row = 0; row < rows; row++)
            for (uint32_t t = 0; t < valid; t += CHUNK) {
                float x[CHUNK];
                uint32_t n = valid - t < CHUNK ? valid - t : CHUNK;
                npy_floats(a, trial_row_at(&a->head, row) + t * stride, stride, n, x);
                Moments m = moments_of(x, n);
                moments_join(moments_for(job->info, (Variable)job->v, row), &m);
            }
    }
}

static void report_scan(const TrialJob *job, Variable v, Findings *f)
{
    const TailScan *s = &job->scan[v];
    char path[4096];
    trial_path(job->map.recording, v, job->map.trial, path, sizeof path);
    if (s->has_hole)
        finding_add(f, path, "NaN only as a tail",
                    "frame %u of row %llu is not finite, but later frames are", s->hole_frame,
                    (unsigned long long)s->hole_row);
    else if (s->valid != s->latest)
        finding_add(f, path, "all rows end at the same frame",
                    "one row ends at frame %u, another at frame %u", s->valid, s->latest);
    else if (!s->valid)
        finding_add(f, path, "finite values before the tail", "nothing but NaN");
    Tier tier = job->map.recording->trials[job->map.trial].tier;
    if (v == VAR_RESPONSE && s->is_all_zero && s->valid && !job->map.recording->is_images &&
        !(TIER_BIT(tier) & TIERS_LABELLED_IF_RELEASED))
        finding_add(f, path, "responses (only test tiers withhold them)",
                    "all responses of a trial of tier %s are zero", tier_name(tier));
}

/* Opens what can be opened; files that cannot were reported with their headers. */
static bool open_files(TrialJob *job, const Recording *r, uint32_t trial, Arena *arena)
{
    bool all = true;
    job->map = (TrialMap){.recording = r, .trial = trial};
    for (int v = 0; v < VAR_COUNT; v++) {
        char path[4096], expected[96];
        Err ignored = {0};
        trial_path(r, (Variable)v, trial, path, sizeof path);
        Npy *a = &job->map.var[v];
        job->is_open[v] = npy_open(a, path, &ignored) == NPC_OK;
        if (ignored.status == NPC_ERR_MEMORY) {
            trial_unmap(&job->map);
            arena_exhausted(arena);
        }
        if (job->is_open[v])
            trial_add_time(r, &a->head);
        if (job->is_open[v] && !trial_header_fits(r, (Variable)v, &a->head, expected)) {
            npy_close(a);
            job->is_open[v] = false;
        }
        all &= job->is_open[v] && a->head.shape[a->head.rank - 1] == r->trials[trial].frames;
    }
    return all;
}

/* Scans and measures one trial; *valid stays 0 when some variable cannot be used. */
static void check_trial(const Recording *r, uint32_t trial, RecordingInfo *info, uint32_t *valid,
                        Findings *f)
{
    TrialJob job = {.info = info};
    char path[4096];
    bool is_whole = open_files(&job, r, trial, f->arena);
    *valid = 0;
    if (!map_guard(scan_open, &job)) {
        trial_path(r, (Variable)job.v, trial, path, sizeof path);
        finding_add(f, path, "a file that stays", "shrank while it was being read");
    } else {
        uint32_t frames = UINT32_MAX;
        for (int v = 0; v < VAR_COUNT; v++)
            if (job.is_open[v]) {
                report_scan(&job, (Variable)v, f);
                is_whole &= !job.scan[v].has_hole;
                frames = job.scan[v].valid < frames ? job.scan[v].valid : frames;
            }
        if (is_whole) {
            *valid = job.map.valid = frames;
            Tier tier = r->trials[trial].tier;
            info->tier_withheld[tier] += (TIER_BIT(tier) & TIERS_LABELLED_IF_RELEASED) &&
                                         job.scan[VAR_RESPONSE].is_all_zero && frames;
            if (!map_guard(measure_open, &job)) {
                trial_path(r, (Variable)job.v, trial, path, sizeof path);
                finding_add(f, path, "a file that stays", "shrank while it was being read");
            }
        }
    }
    trial_unmap(&job.map);
}

/* ---- the rest of a recording
 * ------------------------------------------------------------------------ */

/* A film's statistics have frames; an image's are one number, or one per colour or row. */
static bool statistic_fits(const Recording *r, Variable v, const NpyHeader *h,
                           char expected[static 96])
{
    uint64_t rows = v == VAR_VIDEO      ? (uint64_t)r->colours * r->height * r->width
                    : v == VAR_RESPONSE ? r->n_neurons
                    : v == VAR_BEHAVIOR ? r->n_behaviors
                                        : 2;
    if (r->is_images) {
        snprintf(expected, 96, "one number, or one per row (%llu)", (unsigned long long)rows);
        return npy_is_number(h) && (h->elems == 1 || h->elems == rows || h->elems == r->colours);
    }
    return trial_header_fits(r, v, h, expected);
}

static void check_statistics(const Recording *r, Arena *arena, RecordingInfo *info, Findings *f)
{
    Text missing = {.arena = arena};
    uint32_t longest = 0;
    for (uint32_t t = 0; t < r->n_trials; t++)
        longest = r->trials[t].frames > longest ? r->trials[t].frames : longest;
    for (int v = 0; v < VAR_COUNT; v++)
        for (int s = 0; s < N_STATS; s++) {
            const char *folder = recording_folder(r, (Variable)v);
            const char *path =
                arena_printf(arena, "%s/meta/statistics/%s/all/%s.npy", r->path, folder, STATS[s]);
            char expected[96], shape[200], type[24];
            NpyHeader h;
            Err err = {0};
            if (!file_exists(path)) {
                text_printf(&missing, "%s%s/%s", missing.len ? ", " : "", folder, STATS[s]);
                continue;
            }
            if (npy_read_header(&h, path, &err) != NPC_OK) {
                size_t n = strlen(path) + 2;
                finding_add(f, path, "a readable npy array", "%s",
                            strlen(err.text) > n ? err.text + n : err.text);
            } else if (!statistic_fits(r, (Variable)v, &h, expected)) {
                finding_add(f, path, expected, "%s %s", npy_type_text(&h, type),
                            npy_shape_text(&h, shape));
            } else if (!r->is_images && h.shape[h.rank - 1] != longest) {
                snprintf(expected, sizeof expected, "%u frames, as in the longest trial", longest);
                finding_add(f, path, expected, "%llu frames",
                            (unsigned long long)h.shape[h.rank - 1]);
            }
        }
    info->missing_statistics = text_str(&missing);
    if (missing.len)
        finding_add(f, arena_printf(arena, "%s/meta/statistics", r->path),
                    "<variable>/all/<statistic>.npy", "missing %s", info->missing_statistics);
}

static void check_neuron_files(const Recording *r, Arena *arena, Findings *f)
{
    static const char *const names[] = {"unit_ids", "cell_motor_coordinates"};
    for (int i = 0; i < 2; i++) {
        const char *path = arena_printf(arena, "%s/meta/neurons/%s.npy", r->path, names[i]);
        if (!file_exists(path))
            finding_add(f, path, i ? "x, y, z per neuron" : "an integer per neuron",
                        "missing file");
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static uint32_t count_images(const Recording *r, Arena *arena)
{
    uint32_t n = 0;
    if (!r->image_ids)
        return 0;
    int64_t *ids = ARENA_ARRAY(arena, int64_t, (size_t)r->n_trials + 1);
    memcpy(ids, r->image_ids, r->n_trials * sizeof *ids);
    qsort(ids, r->n_trials, sizeof *ids, by_id);
    for (uint32_t i = 0; i < r->n_trials; i++)
        n += !i || ids[i] != ids[i - 1];
    return n;
}

static void check_recording(Arena *arena, const char *path, RecordingInfo *info, Findings *f)
{
    uint32_t before = f->list.len, n_usable = 0;
    Recording *r = recording_inspect(arena, path, f);
    uint32_t *valid = ARENA_ARRAY(arena, uint32_t, (size_t)r->n_trials + 1);
    *info = (RecordingInfo){.name = r->name,
                            .path = r->path,
                            .n_neurons = r->n_neurons,
                            .n_trials = r->n_trials,
                            .is_images = r->is_images,
                            .n_images = count_images(r, arena),
                            .height = r->height,
                            .width = r->width,
                            .colours = r->colours,
                            .n_behaviors = r->n_behaviors};
    for (uint32_t t = 0; t < r->n_trials; t++) {
        info->tier_trials[r->trials[t].tier]++;
        if (r->trials[t].tier == TIER_NONE)
            continue;
        check_trial(r, t, info, &valid[n_usable], f);
        n_usable += valid[n_usable] > 0;
    }
    if (n_usable) {
        qsort(valid, n_usable, sizeof *valid, by_size);
        info->frames_min = valid[0];
        info->frames_median = valid[n_usable / 2];
        info->frames_max = valid[n_usable - 1];
    }
    for (int t = 0; t < TIER_COUNT && r->is_images; t++) /* silence alone withholds nothing */
        if (info->tier_withheld[t] < info->tier_trials[t])
            info->tier_withheld[t] = 0;
    moments_end(&info->video);
    moments_end(&info->response);
    for (int i = 0; i < 3; i++)
        moments_end(&info->behavior[i]);
    for (int i = 0; i < 2; i++)
        moments_end(&info->pupil[i]);
    check_neuron_files(r, arena, f);
    check_statistics(r, arena, info, f);
    info->n_findings = f->list.len - before;
}

Status data_check(DataReport *out, Arena *arena, const char *dir, Err *err)
{
    const char **paths;
    size_t n;
    *out = (DataReport){.dir = arena_strdup(arena, dir), .findings.arena = arena};
    NPC_TRY(recordings_find(arena, dir, &paths, &n, err));
    out->recordings = ARENA_ARRAY(arena, RecordingInfo, n);
    for (size_t i = 0; i < n; i++) {
        check_recording(arena, paths[i], &out->recordings[i], &out->findings);
        out->n_recordings++;
    }
    return NPC_OK;
}
