/* A model case while it is verified: its configuration, parameters and batch. Private to
 * runtime/verify_model*.c.
 *
 * Samples are brought into the order of recordings, as the loader gives them, so that those that
 * count for a recording are neighbours; results are brought back into the file's order. */
#ifndef NPC_VERIFY_VERIFY_MODEL_PARTS_H
#define NPC_VERIFY_VERIFY_MODEL_PARTS_H

#include "verify/verify_parts.h"

enum { VERIFY_MAX_SESSIONS = 1000, VERIFY_MAX_BATCH = 4096, VERIFY_MAX_SIZE = 1 << 20 };

typedef struct GivenTensor {
    const char *theirs, *ours;
    double *values; /* before anything ran */
    int64_t elems;
    int session; /* -1 shared */
    bool is_state;
} GivenTensor;

typedef struct VerifyModel {
    VerifyCase *c;
    Subject subject;

    json_t *config;
    const char *name; /* of the model */
    int64_t batch, channels, t, h, w;
    int n_sessions;
    Session *sessions;
    VEC(const char *) sets;
    const char *map_name; /* of the file's names; NULL: golden */
    const NameMap *map;
    double rate, beta1, beta2;
    json_t *zero, *zero_masked; /* names whose gradient vanishes */

    /* verify_mice.c, by recording: clips, trials, and whether its loss enters the step */
    const struct MiceNames *names;
    int64_t *batches, *trials;
    bool *steps;
    double eps; /* of the loss, where its value in evaluation is compared */

    int64_t *order; /* sample of the file that stands at row i of the batch */
    SampleRange *ranges, *whole;
    double *clip, **target, *weights; /* in the file's order; weights [b, session] */
    double *share;                    /* weights / sum */

    VEC(GivenTensor) given; /* parameters and states of the file */
} VerifyModel;

/* verify_model_setup.c */
Status verify_bad_meta(VerifyModel *m, const char *what,
                       Err *err);                    /* an error that names the file */
Status verify_model_read(VerifyModel *m, Err *err);  /* metadata */
Status verify_model_batch(VerifyModel *m, Err *err); /* inputs, targets, weights, order */
Status verify_model_open(VerifyModel *m, bool no_dropping, Err *err);
Status verify_model_parameters(VerifyModel *m, Err *err);
/* Is the name among those whose gradient vanishes? */
bool verify_model_vanishes(const json_t *names, const char *theirs);
/* Samples of the file, `elems` numbers each, in the order of the batch. */
void verify_model_rows(const VerifyModel *m, double *rows, const double *from, int64_t elems);
/* Everything as before the first run: tensors, and the inputs of the program. */
Status verify_model_start(VerifyModel *m, int program, Err *err);

/* verify_attention.c: weights, rollout and heatmap of a program PROGRAM_ATTENTION that has run on
 * the batch of the recording whose attention the file states. */
Status verify_model_attention(VerifyModel *m, int program, Err *err);

/* verify_model_data.c: the batch as it is made from recordings, CutMix and a teacher. */
Status verify_model_data(VerifyModel *m, Err *err);

#endif
