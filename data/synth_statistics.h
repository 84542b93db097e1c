/* meta/statistics of a recording: over training trials, separately for every element and frame. */
#ifndef NPC_DATA_SYNTH_STATISTICS_H
#define NPC_DATA_SYNTH_STATISTICS_H

#include <stddef.h>

#include "ir/base/status.h"
#include "data/npy_write.h"

/* One variable of the recording in `folder`, whose data/<name>/<trial>.npy were written with this
 * type and shape. */
typedef struct SynthVariable {
    const char *folder, *name;
    NpyWriteType type; /* F4 or F8 */
    size_t shape[3], rank;
} SynthVariable;

/* Writes folder/meta/statistics/<name>/all/{mean,std,min,max,median}.npy as float32, NaN where no
 * trial reaches a frame. Reads the trials' files back in pieces, so that memory stays bounded. */
Status synth_statistics(const SynthVariable *v, const size_t *trials, size_t n_trials, Err *err);

#endif
