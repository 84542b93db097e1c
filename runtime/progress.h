/* What a run is doing, for the person watching.
 *
 * On a terminal one line is rewritten in place; elsewhere plain lines appear now and then (the
 * first, then when 30 s have passed or the run has moved on by 2 %, at most every 5 s). Nothing is
 * printed in quiet mode or when the stream is closed or fails.
 *
 *     train  epoch 4/21  step 6751/47250 [####------]  loss 812.1  score 0.241  2 h 14 min left */
#ifndef NPC_RUNTIME_PROGRESS_H
#define NPC_RUNTIME_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum ProgressMode {
    PROGRESS_AUTO, /* a bar on a terminal, lines elsewhere */
    PROGRESS_BAR,
    PROGRESS_LINES,
    PROGRESS_QUIET
} ProgressMode;

typedef struct ProgressState {
    const char *stage;        /* "warm-up", "train", "validate", "predict" */
    uint32_t epoch, n_epochs; /* 1-based; 0 leaves them out */
    uint64_t step;            /* finished steps of the whole recipe, over all stages */
    double loss;              /* NaN leaves it out */
    double score;             /* last validation score; NaN leaves it out */
    uint64_t clips;           /* processed by this process so far; 0 leaves the speed out */
    uint64_t device_bytes;    /* memory in use on the device; 0 leaves it out */
} ProgressState;

typedef struct Progress {
    FILE *out;
    ProgressMode mode;   /* never AUTO after open */
    uint64_t total;      /* steps of the whole recipe */
    double (*now)(void); /* monotonic seconds; replaceable for tests right after open */
    double opened;       /* when the first update came; NaN before */
    double at;           /* when the last update came, and its state */
    uint64_t step, clips;
    double seconds, steps, n_clips; /* sums over the recent past, older parts fading out */
    double shown_at, shown_fraction;
    uint64_t n_shown;
    bool line_open;
} Progress;

/* `total`: steps of the whole recipe, over all stages. */
void progress_open(Progress *p, FILE *out, ProgressMode mode, uint64_t total);
/* Cheap enough for every step: formats at most ten times a second. */
void progress_update(Progress *p, const ProgressState *state);
/* A full line above the bar (warnings, the summary of an epoch). */
__attribute__((format(printf, 2, 3))) void progress_note(Progress *p, const char *fmt, ...);
/* Ends the open line. */
void progress_close(Progress *p);

/* Seconds until the whole recipe is done, from the recent pace with all pauses for validation and
 * saving; NaN before the second update. The first step is left out: it compiles and warms up. */
double progress_seconds_left(const Progress *p);
/* "2 d 3 h", "2 h 14 min", "3 min 05 s", "12 s" */
void progress_duration(char *out, size_t size, double seconds);
/* Resident memory of this process, 0 when unknown. */
uint64_t progress_memory(void);

#endif
