/* Cases in which every recording has a batch of its own: what their files call their tensors.
 * Private to runtime/verify_mice*.c. */
#ifndef NPC_RUNTIME_VERIFY_MICE_PARTS_H
#define NPC_RUNTIME_VERIFY_MICE_PARTS_H

#include "runtime/verify_model_parts.h"

/* '@' stands for the recording. */
typedef struct MiceNames {
    const char *video, *image, *behavior, *pupil, *target, *noise;
    const char *eval, *train, *loss;
    const char *eval_loss, *total; /* NULL: the files have none */
    bool frames_first; /* outputs are [clips frames neurons] instead of [clips neurons frames] */
    double losses, gradients; /* tolerances */
} MiceNames;

/* Metadata: sizes, recordings, arguments and settings of the model. */
Status mice_read(VerifyModel *m, Err *err);
const char *mice_tensor(VerifyModel *m, const char *pattern, int session);

#endif
