/* Cases in which every recording has a batch of its own: what their files call their tensors.
 * Private to runtime/verify_mice*.c and verify_baselines.c. */
#ifndef NPC_VERIFY_VERIFY_MICE_PARTS_H
#define NPC_VERIFY_VERIFY_MICE_PARTS_H

#include "verify/verify_model_parts.h"

/* '@' stands for the recording; inputs that a file has none of are NULL. */
typedef struct MiceNames {
    VerifyFamily family;
    const char *clip, *video, *image, *behavior, *pupil, *target, *noise;
    const char *eval, *train, *loss;
    const char *eval_loss, *total; /* NULL: the files have none */
    bool frames_first; /* outputs are [clips frames neurons] instead of [clips neurons frames] */
    double share; /* gradients are measured by their largest entry, at least this share of all */
} MiceNames;

/* Metadata: sizes, recordings, arguments and settings of the model. */
Status mice_read(VerifyModel *m, Err *err);
const char *mice_tensor(VerifyModel *m, const char *pattern, int session);
/* Makes batches, trials and steps, all recordings taking part in the step. */
void mice_make_counts(VerifyModel *m);
/* A field of the configuration as an argument of the model. */
Status mice_set(VerifyModel *m, const char *name, const json_t *value, Err *err);

/* The metadata `optimizer`, whose keys are called `rate` and `decay`: the model's rate and betas,
 * and the recipe's optimizer with `more` of it behind. */
Status mice_read_adamw(VerifyModel *m, const char *rate, const char *decay, const char *more,
                       Err *err);

/* Inputs, noise, factors of the loss and ranges for a run on the batch of recording `own`. */
Status mice_start(VerifyModel *m, int program, int own, Err *err);
/* Of the last run onto sum, one array per given tensor (NULL: no gradient yet). */
Status mice_add_gradients(VerifyModel *m, int program, int own, double **sum, Err *err);
Status mice_gradients(VerifyModel *m, double **sum, Err *err);
/* The step that the file took with exactly the gradients it states, from moments of zero. */
Status mice_optimizer(VerifyModel *m, int program, Err *err);

#endif
