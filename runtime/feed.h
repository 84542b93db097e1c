/* Fills the inputs of the training program from the batches of a loader, one chunk ahead.
 *
 * A batch is computed in `chunks` equal parts (recipe.accumulate); chunk j takes the samples j, j +
 * chunks, .. of the batch, so that it holds every recording of it. In rounds each recording's clips
 * are so cut, one recording after the other; where the last clips do not fill a chunk they are
 * there repeatedly, which only a batch norm sees. With a teacher, predictions of its averaged
 * weights are the targets of the recordings a sample does not come from
 * (specs/dwiseneuro.md 3.4-3.7).
 *
 * What is filled here depends on the batch and the number of the step alone, not on what the step
 * before found out. So while a chunk is computed, the next one is filled and sent to the device,
 * across the border of steps too. Nothing is allocated after feed_ready. */
#ifndef NPC_RUNTIME_FEED_H
#define NPC_RUNTIME_FEED_H

#include "runtime/inputs.h"
#include "runtime/loader.h"
#include "runtime/loss_factors.h"
#include "runtime/model.h"

/* A trained model whose predictions are targets. */
typedef struct Teacher {
    Model *model;
    int program;
    Inputs inputs;
    float *prediction; /* of the largest session */
    double ratio;
} Teacher;

/* Where a batch goes in the program. */
typedef struct FeedInputs {
    Inputs inputs;
    float **target, **share;             /* per session */
    float **mean, **scale, **penalty_of; /* per session, and.. */
    float *penalty;                      /* ..of all; NULL: not needed (loss_factors.h) */
} FeedInputs;

typedef struct Feed {
    Engine *engine;
    int program;
    const Recipe *recipe;
    ClipShape clip;
    const Session *sessions;
    uint32_t n_sessions, batch, chunks; /* clips of a chunk, chunks of a step */
    LossCounts *counts;                 /* per session; clips are filled in for each chunk */
    SampleFrame *frames;                /* per session; without a box */
    FeedInputs in;
    float *weight;    /* [batch sessions] of a chunk */
    Teacher *teacher; /* NULL: no distillation */

    Loader *loader;
    uint64_t step; /* of the chunk that is filled next */
    Batch *from;   /* its batch; NULL: not taken yet */
    uint32_t chunk;
    SampleRange *ranges; /* per session: of the chunk that was filled last.. */
    SampleRange *whole;  /* ..and of its step */
    uint32_t n_clips;    /* in that chunk; 0: there is nothing to run */
    bool is_filled;      /* and nobody has asked for it yet */
} Feed;

/* After model_ready. `sessions`: what each recording is trained on. */
Status feed_ready(Feed *f, Arena *arena, Model *m, int program, const ClipShape *clip,
                  const SamplerSession *sessions, Err *err);
/* Batches of the loader belong to the steps `step`, step + 1, .. */
void feed_start(Feed *f, Loader *loader, uint64_t step);
/* The next chunk is in the inputs; n_clips, ranges and whole are its own until feed_ahead. Errors
 * of the loader; NPC_ERR_INTERNAL when it has ended. */
Status feed_chunk(Feed *f, Err *err);
/* While a chunk runs: fills and sends the one behind it, if there is one. What fails here fails
 * again when that chunk is asked for. */
void feed_ahead(Feed *f);

/* Opens the teacher's run folder for a student of these sessions; `options` give the machine. */
Status teacher_open(Teacher *t, Arena *arena, const ModelOptions *options, const char *run_dir,
                    const Model *student, const ClipShape *clip, double ratio, Err *err);
void teacher_close(Teacher *t);

#endif
