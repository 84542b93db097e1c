/* Mapped trials shared by threads, within a budget of bytes.
 *
 * A trial is pinned between acquire and release; unpinned ones stay mapped until room is needed,
 * the least recently used goes first. Pinned ones may exceed the budget for a while. */
#ifndef NPC_DATA_TRIAL_CACHE_H
#define NPC_DATA_TRIAL_CACHE_H

#include "data/recording.h"

typedef struct TrialCache TrialCache;

/* NULL when memory ends. Recordings are identified by their address. */
TrialCache *trial_cache_new(size_t budget_bytes);
/* Nothing may be pinned. */
void trial_cache_free(TrialCache *c);
/* Maps the trial unless it is; the errors are those of trial_map. */
Status trial_cache_acquire(TrialCache *c, const Recording *r, uint32_t trial, const TrialMap **out,
                           Err *err);
void trial_cache_release(TrialCache *c, const TrialMap *map);
/* Bytes mapped now, pinned or not. */
size_t trial_cache_bytes(TrialCache *c);

#endif
