#include "runtime/folds.h"

#include <jansson.h>
#include <stdlib.h>

#include "ir/base/text.h"
#include "data/map_guard.h"
#include "data/video_hash.h"

/* ---- which tiers take part ---- */

/* Are the tier's responses there? One trial of it answers for all. */
static Status is_released(const Recording *r, Tier tier, bool *out, Err *err)
{
    *out = false;
    for (uint32_t i = 0; i < r->n_trials; i++) {
        bool withheld;
        if (r->trials[i].tier != tier)
            continue;
        NPC_TRY(recording_is_withheld(r, i, &withheld, err));
        *out = !withheld;
        return NPC_OK;
    }
    return NPC_OK;
}

static Status dealt_tiers(const Recording *r, unsigned *out, Err *err)
{
    *out = TIER_BIT(TIER_TRAIN) | TIERS_VALIDATION;
    for (Tier t = TIER_LIVE_MAIN; t < TIER_COUNT; t++) {
        bool released;
        NPC_TRY(is_released(r, t, &released, err));
        *out |= released ? TIER_BIT(t) : 0;
    }
    return NPC_OK;
}

/* ---- hashing ---- */

typedef struct Job {
    const Recording *recording;
    uint32_t trial, n_folds;
    int32_t *fold;
    Err err;
} Job;

typedef struct Look {
    const Npy *video;
    float *copy; /* the whole film, when it is not float32 on disk */
    uint32_t n_folds;
    int32_t fold;
    Status status;
} Look;

static void look(void *cx)
{
    Look *l = cx;
    const NpyHeader *h = &l->video->head;
    Err err = {0};
    uint64_t hash;
    VideoView v = video_view(l->copy, h->shape[0], h->shape[1], h->shape[2]);
    if (l->copy)
        npy_all_floats(l->video, l->copy);
    else
        v = (VideoView){(const float *)(const void *)l->video->data,
                        h->shape[0],
                        h->shape[1],
                        h->shape[2],
                        (ptrdiff_t)h->stride[0],
                        (ptrdiff_t)h->stride[1],
                        (ptrdiff_t)h->stride[2]};
    l->status = video_hash(&v, &hash, &err);
    /* fewer than five frames: too short for any window as well */
    l->fold = l->status == NPC_OK ? (int32_t)video_fold(hash, l->n_folds) : FOLD_NONE;
}

static void hash_trial(void *context, int64_t task, void *scratch)
{
    (void)scratch;
    Job *job = (Job *)context + task;
    char path[4096];
    Npy video;
    trial_path(job->recording, VAR_VIDEO, job->trial, path, sizeof path);
    if (npy_open(&video, path, &job->err) != NPC_OK)
        return;
    const NpyHeader *h = &video.head;
    Look l = {.video = &video, .n_folds = job->n_folds};
    if (h->rank != 3)
        err_set(&job->err, NPC_ERR_INPUT, "%s: %u axes, expected 3: a video", path, h->rank);
    else if ((h->type != NPY_F32 || (uintptr_t)video.data % sizeof(float)) &&
             !(l.copy = calloc(h->elems + 1, sizeof *l.copy)))
        err_set(&job->err, NPC_ERR_MEMORY, "%s: not enough memory to read it", path);
    else if (!map_guard(look, &l))
        err_set(&job->err, NPC_ERR_IO, "%s: shrank while it was being read", path);
    else if (l.status == NPC_ERR_MEMORY)
        err_set(&job->err, NPC_ERR_MEMORY, "%s: not enough memory to hash it", path);
    else
        *job->fold = l.fold;
    free(l.copy);
    npy_close(&video);
}

static Status deal(Folds *f, Arena *arena, uint32_t at, uint32_t n_folds, Workers *workers,
                   Err *err)
{
    const Recording *r = f->recording[at];
    unsigned tiers;
    uint32_t *trials;
    if (r->is_images)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: folds are made by films; a recording of images is split by its tiers: "
                       "split = none",
                       r->path);
    NPC_TRY(dealt_tiers(r, &tiers, err));
    uint32_t n = recording_trials(r, tiers, arena, &trials);
    Job *jobs = ARENA_ARRAY(arena, Job, n + 1);
    for (uint32_t i = 0; i < n; i++)
        jobs[i] = (Job){r, trials[i], n_folds, &f->of[at][trials[i]], {0}};
    workers_run(workers, hash_trial, jobs, n);
    for (uint32_t i = 0; i < n; i++)
        if (jobs[i].err.status != NPC_OK)
            return err_set(err, jobs[i].err.status, "%s", jobs[i].err.text);
    return NPC_OK;
}

static void folds_init(Folds *f, Arena *arena, const Recording *const *recording, uint32_t n)
{
    *f = (Folds){ARENA_ARRAY(arena, const Recording *, n + 1), n,
                 ARENA_ARRAY(arena, int32_t *, n + 1)};
    for (uint32_t i = 0; i < n; i++) {
        f->recording[i] = recording[i];
        f->of[i] = ARENA_ARRAY(arena, int32_t, recording[i]->n_trials + 1);
        for (uint32_t k = 0; k < recording[i]->n_trials; k++)
            f->of[i][k] = FOLD_NONE;
    }
}

Status folds_make(Folds *out, Arena *arena, const Recording *const *recording, uint32_t n,
                  uint32_t n_folds, Workers *workers, Err *err)
{
    folds_init(out, arena, recording, n);
    for (uint32_t i = 0; i < n; i++)
        NPC_TRY(deal(out, arena, i, n_folds, workers, err));
    return NPC_OK;
}

/* ---- text ---- */

/* A name that is not UTF-8 has no place in JSON; its recording is dealt again when it is needed. */
static bool is_utf8(const char *s)
{
    for (int n; *s && (n = utf8_length(s)) > 0;)
        s += n;
    return !*s;
}

static json_t *recording_json(const int32_t *fold, uint32_t n)
{
    json_t *list = json_array();
    bool bad = false;
    for (uint32_t k = 0; k < n; k++)
        bad |= json_array_append_new(list, json_integer(fold[k])) != 0;
    if (!bad)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *folds_json(const Folds *f)
{
    json_t *all = json_object();
    bool bad = false;
    for (uint32_t i = 0; i < f->n; i++) {
        const Recording *r = f->recording[i];
        if (is_utf8(r->name))
            bad |= json_object_set_new(all, r->name, recording_json(f->of[i], r->n_trials)) != 0;
    }
    if (!bad)
        return all;
    json_decref(all);
    return NULL;
}

Status folds_text(const char **out, Arena *arena, const Folds *f, Err *err)
{
    size_t room = 4; /* at most; asked for first, so that nothing is lost when there is none */
    for (uint32_t i = 0; i < f->n; i++)
        room += 6 * strlen(f->recording[i]->name) + 6 + 12 * (size_t)f->recording[i]->n_trials;
    char *text = arena_alloc(arena, room);
    json_t *all = folds_json(f);
    size_t n = all ? json_dumpb(all, text, room - 2, JSON_COMPACT) : 0;
    json_decref(all);
    if (!n || n > room - 2)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory to write folds");
    text[n] = '\n';
    *out = text;
    return NPC_OK;
}

static bool read_all(Folds *out, const json_t *all)
{
    for (uint32_t i = 0; i < out->n; i++) {
        const json_t *list = json_object_get(all, out->recording[i]->name);
        if (!json_is_array(list) || json_array_size(list) != out->recording[i]->n_trials)
            return false;
        for (uint32_t k = 0; k < out->recording[i]->n_trials; k++)
            out->of[i][k] = (int32_t)json_integer_value(json_array_get(list, k));
    }
    return true;
}

bool folds_read(Folds *out, Arena *arena, const Recording *const *recording, uint32_t n,
                const char *text)
{
    folds_init(out, arena, recording, n);
    json_t *all = json_loads(text, 0, NULL);
    bool ok = all && read_all(out, all);
    json_decref(all);
    return ok;
}

/* ---- the split ---- */

static void split_by_folds(SamplerSession *train, SamplerSession *validate, Arena *arena,
                           const Recording *r, const int32_t *fold, int64_t held_out)
{
    uint32_t *side[2] = {ARENA_ARRAY(arena, uint32_t, r->n_trials + 1),
                         ARENA_ARRAY(arena, uint32_t, r->n_trials + 1)};
    uint32_t n[2] = {0, 0};
    for (uint32_t i = 0; i < r->n_trials; i++)
        if (fold[i] != FOLD_NONE && r->trials[i].tier != TIER_NONE) {
            int to = fold[i] == held_out;
            side[to][n[to]++] = i;
        }
    *train = (SamplerSession){r, side[0], n[0]};
    *validate = (SamplerSession){r, side[1], n[1]};
}

static Status split_by_tiers(SamplerSession *train, SamplerSession *validate, Arena *arena,
                             const Recording *r, RecipeTrainTiers which, Err *err)
{
    uint32_t *trials;
    unsigned tiers = TIER_BIT(TIER_TRAIN);
    if (which == RECIPE_TIERS_RELEASED) {
        NPC_TRY(dealt_tiers(r, &tiers, err));
        tiers &= ~TIERS_VALIDATION;
    }
    uint32_t n = recording_trials(r, tiers, arena, &trials);
    *train = (SamplerSession){r, trials, n};
    n = recording_trials(r, TIERS_VALIDATION, arena, &trials);
    *validate = (SamplerSession){r, trials, n};
    return NPC_OK;
}

Status split_trials(Split *out, Arena *arena, const Recording *const *recording, uint32_t n,
                    const Recipe *r, const Folds *folds, Err *err)
{
    *out = (Split){ARENA_ARRAY(arena, SamplerSession, n + 1),
                   ARENA_ARRAY(arena, SamplerSession, n + 1), n};
    for (uint32_t i = 0; i < n; i++) {
        if (r->folds > 0 && folds)
            split_by_folds(&out->train[i], &out->validate[i], arena, recording[i], folds->of[i],
                           r->validate);
        else
            NPC_TRY(split_by_tiers(&out->train[i], &out->validate[i], arena, recording[i],
                                   r->train_tiers, err));
        if (!out->train[i].n_trials)
            return err_set(err, NPC_ERR_INPUT, "%s: no trial to train on%s", recording[i]->path,
                           r->folds > 0 ? " outside of the held-out fold"
                                        : "; trials of tier train were expected");
    }
    return NPC_OK;
}
