/* Batches made by background threads, in order, the same whatever the number of threads.
 *
 * Threads share the samples of a batch; at most `depth` batches exist at a time (finished, being
 * made, or in the consumer's hands), allocated once. Mapped trials are kept within `cache_bytes`,
 * the least recently used ones go first. An error belongs to its batch: batches before it
 * arrive, then loader_next returns the error (naming file, trial or frame) now and ever after. */
#ifndef NPC_RUNTIME_LOADER_H
#define NPC_RUNTIME_LOADER_H

#include "runtime/sampler.h"

typedef struct Loader Loader;

typedef struct LoaderConfig {
    const Sampler *sampler; /* sessions, clip shape and batch size are used in both modes */
    const Clip *clips;      /* NULL: draw from the sampler; else these clips, sorted by session */
    uint32_t n_clips;
    uint32_t epoch, step; /* where drawing begins (resume); `step` batches in list mode */
    uint64_t n_batches;   /* how many to make; 0: without end (list mode: to the list's end) */
    uint32_t threads;     /* >= 1 */
    uint32_t depth;       /* >= 2 */
    size_t cache_bytes;   /* of mapped trials */
} LoaderConfig;

typedef struct Batch {
    uint32_t epoch, step;
    uint32_t n;      /* samples; below the batch size only in a list's last batch */
    float *x;        /* [batch] samples (batch.h); zeros behind n */
    float *weights;  /* [batch sessions]: 1 at the sample's own session */
    float **target;  /* per session: [count neurons outputs], contiguous; NULL when count is 0 */
    uint32_t *first; /* per session: its first sample */
    uint32_t *count; /* per session: its samples; 0 when absent */
    Clip *clips;     /* [batch] what was drawn */
} Batch;

Status loader_open(Loader **out, const LoaderConfig *config, Err *err);
/* Waits for the next batch; *out is NULL after the last one. The batch stays the consumer's until
 * loader_give_back; at most depth - 1 may be held. */
Status loader_next(Loader *l, Batch **out, Err *err);
void loader_give_back(Loader *l, Batch *batch);
/* At any moment; NULL is fine. Batches still held become invalid. */
void loader_close(Loader *l);

#endif
