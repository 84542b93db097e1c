#include "runtime/loader.h"

#include <pthread.h>
#include <stdlib.h>

#include "data/trial_cache.h"

enum { MAX_THREADS = 256, MAX_DEPTH = 64 };

typedef enum SlotState {
    SLOT_FREE,
    SLOT_FILLING, /* handed to threads sample by sample */
    SLOT_READY,
    SLOT_HELD, /* by the consumer */
} SlotState;

/* One batch and the state of its making; slots form a ring. */
typedef struct Slot {
    Batch batch; /* first: the consumer's pointer is the slot's */
    SlotState state;
    uint64_t number;    /* of the batch, from 0 */
    uint32_t next;      /* first sample nobody works on */
    uint32_t n_done;    /* finished samples */
    uint32_t bad;       /* sample of `err`: the lowest one that failed */
    Err err;            /* status NPC_OK: none */
    uint32_t *item;     /* [batch] item number of each sample */
    uint32_t *session;  /* [batch] */
    uint32_t *trial;    /* [batch] in rounds: which one of the session's; else SAMPLER_ANY */
    float *target_data; /* sessions' targets one behind the other */
} Slot;

struct Loader {
    LoaderConfig config;
    Sampler sampler;
    TrialCache *cache;
    Slot *slots;
    uint32_t *order;      /* sessions of the epoch being planned */
    uint32_t order_epoch; /* UINT32_MAX: none yet */
    uint64_t n_batches;   /* UINT64_MAX: without end */
    uint64_t planned, delivered;
    Err failed; /* sticky */

    pthread_mutex_t lock;
    pthread_cond_t work, ready; /* there may be a sample to make; the next batch may be ready */
    bool stop;
    struct Worker *workers;
    uint32_t n_started;
};

typedef struct Worker {
    Loader *loader;
    pthread_t thread;
    float *scratch; /* the partner's input, then its targets */
} Worker;

/* ---- planning a batch (under the lock; no files are touched) ------------------------------- */

static void plan_drawn(Loader *l, Slot *slot)
{
    const Sampler *s = &l->sampler;
    uint32_t steps = sampler_steps(s);
    uint64_t global = (uint64_t)l->config.epoch * steps + l->config.step + slot->number;
    Batch *b = &slot->batch;
    b->epoch = (uint32_t)(global / steps);
    b->step = (uint32_t)(global % steps);
    if (l->order_epoch != b->epoch) {
        sampler_order(s, b->epoch, l->order);
        l->order_epoch = b->epoch;
    }
    b->n = sampler_plan(s, l->order, b->step, slot->item, slot->session, b->first, b->count);
    for (uint32_t i = 0; i < b->n; i++)
        slot->trial[i] = s->rounds ? l->order[slot->item[i]] : SAMPLER_ANY;
}

static void plan_listed(Loader *l, Slot *slot)
{
    const Sampler *s = &l->sampler;
    Batch *b = &slot->batch;
    uint64_t step = l->config.step + slot->number, begin = step * s->batch;
    uint64_t left = l->config.n_clips - begin;
    b->epoch = l->config.epoch;
    b->step = (uint32_t)step;
    b->n = left < s->batch ? (uint32_t)left : s->batch;
    memset(b->count, 0, s->n_sessions * sizeof *b->count);
    for (uint32_t i = 0; i < b->n; i++) {
        slot->item[i] = (uint32_t)(begin + i);
        slot->session[i] = l->config.clips[begin + i].session;
        b->count[slot->session[i]]++;
    }
    for (uint32_t m = 0, at = 0; m < s->n_sessions; at += b->count[m], m++)
        b->first[m] = at;
}

static void plan(Loader *l, Slot *slot)
{
    const Sampler *s = &l->sampler;
    Batch *b = &slot->batch;
    slot->number = l->planned++;
    slot->next = slot->n_done = 0;
    slot->err.status = NPC_OK;
    if (l->config.clips)
        plan_listed(l, slot);
    else
        plan_drawn(l, slot);
    size_t at = 0;
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        b->target[m] = b->count[m] ? slot->target_data + at : NULL;
        at += b->count[m] * clip_target_elems(&s->clip, s->sessions[m].recording->n_neurons);
    }
    memset(b->weights, 0, (size_t)s->batch * s->n_sessions * sizeof *b->weights);
    for (uint32_t i = 0; i < b->n; i++)
        b->weights[(size_t)i * s->n_sessions + slot->session[i]] = 1;
    size_t clip = clip_input_elems(&s->clip);
    memset(b->x + b->n * clip, 0, (s->batch - b->n) * clip * sizeof *b->x);
    slot->state = SLOT_FILLING;
}

/* ---- making a sample (outside of the lock) ----------------------------------------------------
 */

static Status take_clip(Loader *l, const Recording *r, uint32_t trial, uint32_t end, float *x,
                        float *y, Err *err)
{
    const TrialMap *map;
    NPC_TRY(trial_cache_acquire(l->cache, r, trial, &map, err));
    Status s = clip_input(map, &l->sampler.clip, end, x, err);
    if (s == NPC_OK)
        s = clip_target(map, &l->sampler.clip, end, y, err);
    trial_cache_release(l->cache, map);
    return s;
}

static Status make_sample(Loader *l, Slot *slot, uint32_t i, float *scratch, Err *err)
{
    const Sampler *s = &l->sampler;
    const ClipShape *shape = &s->clip;
    Batch *b = &slot->batch;
    uint32_t m = slot->session[i];
    const Recording *r = s->sessions[m].recording;
    Clip *clip = &b->clips[i];
    size_t n_x = clip_input_elems(shape), n_y = clip_target_elems(shape, r->n_neurons);
    float *x = b->x + i * n_x, *y = b->target[m] + (i - b->first[m]) * n_y;

    if (l->config.clips)
        *clip = l->config.clips[slot->item[i]];
    else
        NPC_TRY(sampler_clip(s, b->epoch, slot->item[i], m, slot->trial[i], clip, err));
    NPC_TRY(take_clip(l, r, clip->trial, clip->end, x, y, err));
    if (!clip->is_mixed)
        return NPC_OK;
    float *partner_y = scratch + n_x;
    InputBlock picture = clip_block(shape, clip_has(shape, INPUT_CLIP) ? INPUT_CLIP : INPUT_VIDEO);
    NPC_TRY(take_clip(l, r, clip->partner_trial, clip->partner_end, scratch, partner_y, err));
    cutmix_input(x, scratch, (size_t)picture.rows * shape->size, shape->height, shape->width,
                 &clip->box); /* pictures come first, and nothing else is mixed: sampler_check */
    cutmix_target(y, partner_y, n_y, cutmix_share(&clip->box, shape->height, shape->width));
    return NPC_OK;
}

/* ---- threads ----------------------------------------------------------------------------------
 */

static bool may_plan(const Loader *l)
{
    return l->planned < l->n_batches && l->failed.status == NPC_OK &&
           l->slots[l->planned % l->config.depth].state == SLOT_FREE;
}

/* The next sample of the oldest batch that has one; NULL: nothing to do now. */
static Slot *next_sample(Loader *l)
{
    for (uint64_t k = l->delivered; k < l->planned; k++) {
        Slot *slot = &l->slots[k % l->config.depth];
        if (slot->state == SLOT_FILLING && slot->next < slot->batch.n)
            return slot;
    }
    if (!may_plan(l))
        return NULL;
    Slot *slot = &l->slots[l->planned % l->config.depth];
    plan(l, slot);
    return slot;
}

static void note_failure(Slot *slot, uint32_t sample, const Err *err)
{
    if (slot->err.status != NPC_OK && slot->bad < sample)
        return;
    slot->err = *err;
    slot->bad = sample;
}

static void *work(void *cx)
{
    Worker *w = cx;
    Loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        Slot *slot = next_sample(l);
        if (!slot) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        uint32_t i = slot->next++;
        pthread_mutex_unlock(&l->lock);
        Err err = {0};
        Status s = make_sample(l, slot, i, w->scratch, &err);
        pthread_mutex_lock(&l->lock);
        if (s != NPC_OK)
            note_failure(slot, i, &err);
        if (++slot->n_done == slot->batch.n) {
            slot->state = SLOT_READY;
            pthread_cond_broadcast(&l->ready);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static Status check(const LoaderConfig *c, Err *err)
{
    const Sampler *s = c->sampler;
    if (c->threads < 1 || c->threads > MAX_THREADS || c->depth < 2 || c->depth > MAX_DEPTH)
        return err_set(err, NPC_ERR_USAGE,
                       "a loader of %u threads and %u batches; expected 1 to %d and 2 to %d",
                       c->threads, c->depth, MAX_THREADS, MAX_DEPTH);
    if (!c->clips)
        return sampler_check(s, err);
    if (!s->batch)
        return err_set(err, NPC_ERR_INPUT, "a batch needs at least one clip");
    for (uint32_t m = 0; m < s->n_sessions; m++)
        NPC_TRY(clip_check(&s->clip, s->sessions[m].recording, err));
    for (uint32_t i = 0; i < c->n_clips; i++)
        if (c->clips[i].session >= s->n_sessions ||
            (i && c->clips[i].session < c->clips[i - 1].session))
            return err_set(err, NPC_ERR_INTERNAL, "clip %u of the list is out of order", i);
    return NPC_OK;
}

static uint64_t batches_to_make(const LoaderConfig *c)
{
    if (!c->clips)
        return c->n_batches ? c->n_batches : UINT64_MAX;
    uint64_t all = ((uint64_t)c->n_clips + c->sampler->batch - 1) / c->sampler->batch;
    uint64_t left = all > c->step ? all - c->step : 0;
    return c->n_batches && c->n_batches < left ? c->n_batches : left;
}

static size_t most_neurons(const Sampler *s)
{
    size_t most = 0;
    for (uint32_t m = 0; m < s->n_sessions; m++)
        if (s->sessions[m].recording->n_neurons > most)
            most = s->sessions[m].recording->n_neurons;
    return most;
}

/* NULL when the product overflows or memory ends, never because n is 0. */
static void *block(size_t n, size_t size)
{
    return calloc(n ? n : 1, size);
}

static bool slot_allocate(Slot *slot, const Sampler *s)
{
    Batch *b = &slot->batch;
    size_t n = s->batch, n_x = clip_input_elems(&s->clip);
    size_t n_y = most_neurons(s) * clip_outputs(&s->clip); /* the counts of all sessions sum to n */
    b->x = block(n, n_x * sizeof *b->x);
    b->weights = block(n * s->n_sessions, sizeof *b->weights);
    b->target = block(s->n_sessions, sizeof *b->target);
    b->first = block(s->n_sessions, sizeof *b->first);
    b->count = block(s->n_sessions, sizeof *b->count);
    b->clips = block(n, sizeof *b->clips);
    slot->item = block(n, sizeof *slot->item);
    slot->session = block(n, sizeof *slot->session);
    slot->trial = block(n, sizeof *slot->trial);
    slot->target_data = block(n, n_y * sizeof *slot->target_data);
    return b->x && b->weights && b->target && b->first && b->count && b->clips && slot->item &&
           slot->session && slot->trial && slot->target_data;
}

static void slot_free(Slot *slot)
{
    Batch *b = &slot->batch;
    void *all[] = {b->x,     b->weights, b->target,     b->first,    b->count,
                   b->clips, slot->item, slot->session, slot->trial, slot->target_data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static Status allocate(Loader *l, Err *err)
{
    const LoaderConfig *c = &l->config;
    const Sampler *s = &l->sampler;
    size_t scratch = clip_input_elems(&s->clip) + most_neurons(s) * clip_outputs(&s->clip);
    l->cache = trial_cache_new(c->cache_bytes);
    l->slots = block(c->depth, sizeof *l->slots);
    l->workers = block(c->threads, sizeof *l->workers);
    l->order = block(c->clips ? 0 : sampler_order_size(s), sizeof *l->order);
    bool good = l->cache && l->slots && l->workers && l->order;
    for (uint32_t i = 0; good && i < c->depth; i++)
        good = slot_allocate(&l->slots[i], s);
    for (uint32_t i = 0; good && i < c->threads; i++) {
        l->workers[i].loader = l;
        l->workers[i].scratch = block(scratch, sizeof(float));
        good = l->workers[i].scratch;
    }
    return good ? NPC_OK
                : err_set(err, NPC_ERR_MEMORY,
                          "out of memory for %u batches of %u clips; expected room for %.1f GB",
                          c->depth, s->batch,
                          1e-9 * sizeof(float) * c->depth * s->batch * (double)scratch);
}

Status loader_open(Loader **out, const LoaderConfig *config, Err *err)
{
    *out = NULL;
    NPC_TRY(check(config, err));
    Loader *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, NPC_ERR_MEMORY, "out of memory for the loader");
    l->config = *config;
    l->sampler = *config->sampler;
    l->order_epoch = UINT32_MAX;
    l->n_batches = batches_to_make(config);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    Status s = allocate(l, err);
    for (uint32_t i = 0; s == NPC_OK && i < config->threads; i++) {
        int failed = pthread_create(&l->workers[i].thread, NULL, work, &l->workers[i]);
        if (failed)
            s = err_set(err, NPC_ERR_MEMORY, "cannot start loader thread %u of %u: %s", i + 1,
                        config->threads, strerror(failed));
        else
            l->n_started++;
    }
    if (s != NPC_OK) {
        loader_close(l);
        return s;
    }
    *out = l;
    return NPC_OK;
}

/* ---- the consumer's side ------------------------------------------------------------------------
 */

static Status next_locked(Loader *l, Batch **out, Err *err)
{
    if (l->delivered == l->n_batches)
        return NPC_OK;
    Slot *slot = &l->slots[l->delivered % l->config.depth];
    if (slot->state == SLOT_HELD)
        return err_set(err, NPC_ERR_INTERNAL, "all %u batches of the loader are held",
                       l->config.depth);
    while (slot->state != SLOT_READY)
        pthread_cond_wait(&l->ready, &l->lock);
    if (slot->err.status != NPC_OK) {
        l->failed = slot->err;
        return err_set(err, l->failed.status, "%s", l->failed.text);
    }
    slot->state = SLOT_HELD;
    l->delivered++;
    *out = &slot->batch;
    return NPC_OK;
}

Status loader_next(Loader *l, Batch **out, Err *err)
{
    *out = NULL;
    pthread_mutex_lock(&l->lock);
    Status s = l->failed.status == NPC_OK ? next_locked(l, out, err)
                                          : err_set(err, l->failed.status, "%s", l->failed.text);
    pthread_mutex_unlock(&l->lock);
    return s;
}

void loader_give_back(Loader *l, Batch *batch)
{
    Slot *slot = (Slot *)batch;
    pthread_mutex_lock(&l->lock);
    slot->state = SLOT_FREE;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

void loader_close(Loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (uint32_t i = 0; i < l->n_started; i++)
        pthread_join(l->workers[i].thread, NULL);
    for (uint32_t i = 0; l->workers && i < l->config.threads; i++)
        free(l->workers[i].scratch);
    for (uint32_t i = 0; l->slots && i < l->config.depth; i++)
        slot_free(&l->slots[i]);
    trial_cache_free(l->cache);
    free(l->slots);
    free(l->workers);
    free(l->order);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    free(l);
}
