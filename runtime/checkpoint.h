/* Checkpoints: the whole state of a training run in one safetensors file.
 *
 *     checkpoints/step-00006750.safetensors     the last K
 *     checkpoints/best.safetensors              the one with the highest score
 *
 * A file holds tensors (parameters, running statistics, averages, optimizer moments), a JSON text
 * of the caller (epoch, seed, counters, ...) and, as metadata, step, score, model hash and a
 * checksum: XXH3-128 of the whole file with the checksum's own digits written as zeros, so that any
 * changed byte is noticed. Files appear by rename: a crash or a full disk leaves the previous ones
 * intact. */
#ifndef NPC_RUNTIME_CHECKPOINT_H
#define NPC_RUNTIME_CHECKPOINT_H

#include "data/safetensors.h"

typedef struct CheckpointInfo {
    uint64_t step;          /* finished steps */
    double score;           /* validation score, larger is better; NaN when there is none */
    const char *model_hash; /* of the resolved source */
    const char *state;      /* JSON text of the caller; NULL counts as "{}" */
} CheckpointInfo;

typedef struct Checkpoint {
    Safetensors file;
    CheckpointInfo info; /* texts live until checkpoint_close */
} Checkpoint;

/* Writes folder/step-N.safetensors, makes it best.safetensors when its score beats that one's, then
 * removes all but the newest `keep_last` (at least 1) step files, those of steps after this one (a
 * run that was resumed from an earlier step leaves them) and leftovers of interrupted writes.
 * NPC_ERR_IO: nothing was written; the earlier checkpoints are as they were. */
Status checkpoint_save(const char *folder, const CheckpointInfo *info,
                       const SafetensorsEntry *tensor, size_t n, uint32_t keep_last, Err *err);

/* Opens one file and verifies its checksum. NPC_ERR_INPUT names what is damaged. */
Status checkpoint_open(Checkpoint *out, const char *path, Err *err);
/* The newest readable step file of a folder. Each damaged one that was passed over is reported to
 * `warn` (may be NULL). NPC_ERR_INPUT when there is none. */
typedef void (*CheckpointWarn)(void *user, const char *text);
Status checkpoint_open_newest(Checkpoint *out, const char *folder, CheckpointWarn warn, void *user,
                              Err *err);
void checkpoint_close(Checkpoint *c);
/* Whether the folder holds any step file, damaged or not. */
bool checkpoint_exists(const char *folder);

/* A tensor of the running model to be filled. */
typedef struct CheckpointTarget {
    const char *name;
    SafetensorsDtype dtype;
    uint32_t rank;
    const uint64_t *shape;
    void *data; /* NULL: has to be there, but is left alone */
} CheckpointTarget;

/* Copies every tensor into its target, bit for bit. All or nothing: when the model hash differs
 * (NULL skips that comparison), or a name, dtype or shape, nothing is copied and the message names
 * both hashes and up to ten differing tensors. */
Status checkpoint_restore(const Checkpoint *c, const char *model_hash,
                          const CheckpointTarget *target, size_t n, Err *err);

#endif
