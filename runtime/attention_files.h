/* What `npc run --attention` leaves of a trial: arrays and a picture. */
#ifndef NPC_RUNTIME_ATTENTION_FILES_H
#define NPC_RUNTIME_ATTENTION_FILES_H

#include "runtime/attention_trial.h"

/* A trial as it was recorded. */
typedef struct AttentionScene {
    const char *title;
    bool is_images;
    uint32_t frames, burn_in;
    uint32_t height, width;
    float *picture;       /* [frames height width] */
    const float *pupil;   /* [2 frames] */
    const float *size;    /* [frames] of the pupil */
    const float *running; /* [frames] */
} AttentionScene;

/* The last frame that a step sees; 0 of images. */
uint32_t attention_frame(const AttentionModel *m, int64_t step);

Status attention_write(const AttentionTrial *t, const char *folder, Arena *arena, Err *err);
/* folder/attention.png; nothing without cairo. */
Status attention_draw(const AttentionTrial *t, const AttentionScene *scene, const char *folder,
                      Arena *arena, Err *err);

#endif
