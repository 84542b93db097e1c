#include "data/trial_cache.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

enum { N_SLOTS = 4096 /* hash chains */, MAX_ENTRIES = 8192 /* 4 maps each; Linux allows 65530 */ };

typedef struct Entry Entry;
struct Entry {
    TrialMap map;
    Entry *chain;         /* next with the same hash */
    Entry *older, *newer; /* unpinned entries in order of use */
    uint32_t n_pins;
};

struct TrialCache {
    pthread_mutex_t lock;
    size_t budget, bytes;
    uint32_t n_entries;
    Entry *slot[N_SLOTS];
    Entry *oldest, *newest;
};

TrialCache *trial_cache_new(size_t budget_bytes)
{
    TrialCache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    c->budget = budget_bytes;
    return c;
}

static Entry **slot_of(TrialCache *c, const Recording *r, uint32_t trial)
{
    uint64_t h = ((uint64_t)(uintptr_t)r ^ (uint64_t)trial << 40) * 0x9e3779b97f4a7c15u;
    return &c->slot[h >> 52];
}

static Entry *find(TrialCache *c, const Recording *r, uint32_t trial)
{
    Entry *e = *slot_of(c, r, trial);
    while (e && (e->map.recording != r || e->map.trial != trial))
        e = e->chain;
    return e;
}

static void unlink_use(TrialCache *c, Entry *e)
{
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    e->older = e->newer = NULL;
}

static void drop(TrialCache *c, Entry *e)
{
    Entry **at = slot_of(c, e->map.recording, e->map.trial);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    unlink_use(c, e);
    c->bytes -= e->map.bytes;
    c->n_entries--;
    trial_unmap(&e->map);
    free(e);
}

static void make_room(TrialCache *c)
{
    while (c->oldest && (c->bytes > c->budget || c->n_entries > MAX_ENTRIES))
        drop(c, c->oldest);
}

void trial_cache_free(TrialCache *c)
{
    if (!c)
        return;
    while (c->oldest)
        drop(c, c->oldest);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void pin(TrialCache *c, Entry *e)
{
    if (e->n_pins++ == 0)
        unlink_use(c, e);
}

/* Maps outside of the lock; when two threads map the same trial, the second copy is dropped. */
Status trial_cache_acquire(TrialCache *c, const Recording *r, uint32_t trial, const TrialMap **out,
                           Err *err)
{
    pthread_mutex_lock(&c->lock);
    Entry *e = find(c, r, trial);
    if (e)
        pin(c, e);
    pthread_mutex_unlock(&c->lock);
    if (!e) {
        Entry *fresh = calloc(1, sizeof *fresh);
        if (!fresh)
            return err_set(err, NPC_ERR_MEMORY, "%s: out of memory for trial %u", r->path, trial);
        Status s = trial_map(&fresh->map, r, trial, err);
        if (s != NPC_OK) {
            free(fresh);
            return s;
        }
        pthread_mutex_lock(&c->lock);
        e = find(c, r, trial);
        if (e) {
            pin(c, e);
            trial_unmap(&fresh->map);
            free(fresh);
        } else {
            e = fresh;
            e->n_pins = 1;
            Entry **slot = slot_of(c, r, trial);
            e->chain = *slot;
            *slot = e;
            c->bytes += e->map.bytes;
            c->n_entries++;
            make_room(c);
        }
        pthread_mutex_unlock(&c->lock);
    }
    *out = &e->map;
    return NPC_OK;
}

void trial_cache_release(TrialCache *c, const TrialMap *map)
{
    Entry *e = (Entry *)((char *)(uintptr_t)map - offsetof(Entry, map));
    pthread_mutex_lock(&c->lock);
    if (--e->n_pins == 0) {
        e->older = c->newest;
        *(c->newest ? &c->newest->newer : &c->oldest) = e;
        c->newest = e;
        make_room(c);
    }
    pthread_mutex_unlock(&c->lock);
}

size_t trial_cache_bytes(TrialCache *c)
{
    pthread_mutex_lock(&c->lock);
    size_t bytes = c->bytes;
    pthread_mutex_unlock(&c->lock);
    return bytes;
}
