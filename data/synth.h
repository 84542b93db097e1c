/* Makes believable two-photon recordings in the SENSORIUM 2023 folder layout.
 *
 * OUT/<recording>/ holds data and meta as the readers expect them (specs/dataset.md, sections 1-3
 * and 8); OUT/truth/<recording>/ holds what a competition keeps back: responses of the test trials,
 * clip numbers, stimulus types, noise ceilings, linear floors and summary.json. Recordings with an
 * even index withhold their test responses (zeros on disk), odd ones release them.
 *
 * The same options and seed give the same bytes. Everything is written below
 * OUT/<recording>.partial and OUT/truth/<recording>.partial first and renamed when complete. */
#ifndef NPC_DATA_SYNTH_H
#define NPC_DATA_SYNTH_H

#include <stdint.h>

#include "ir/base/status.h"

typedef struct SynthOptions {
    uint32_t mice;          /* recordings, default 2 */
    uint32_t neurons;       /* per recording, 100 */
    uint32_t trials;        /* training trials, one clip each, 60 */
    uint32_t frames;        /* usual clip length at 30 Hz, 150; at least 81 */
    uint32_t height, width; /* pixels, 36 x 64; at least 8 */
    uint32_t clips;         /* distinct clips per test set and stimulus type, 2 */
    uint32_t repeats;       /* of every test clip, 10; at least 2 */
    uint32_t types;         /* cell prototypes per recording, 16; 0 makes every cell its own */
    uint64_t seed;          /* 0 */
    double signal;          /* factor on the spike counts, 1: more is easier */
} SynthOptions;

SynthOptions synth_defaults(void);
/* NPC_ERR_USAGE: names the option, its value and its limits. */
Status synth_check(const SynthOptions *o, Err *err);

/* The folder to write to may exist, but with nothing in it. Makes it. */
Status synth_check_folder(const char *out, Err *err);

enum { SYNTH_TEST_TIERS = 5, SYNTH_NAME = 80 };

/* Means over the neurons of one recording, per test tier. */
typedef struct SynthCeiling {
    const char *tier;     /* static */
    double leave_one_out; /* what repeats predict */
    double single_trial;  /* what the true rate scores */
    double to_average;
    double linear_single_trial; /* what ridge regression scores (synth_floor.h) */
    double linear_to_average;
} SynthCeiling;

typedef struct SynthSummary {
    char name[SYNTH_NAME]; /* folder name of the recording */
    SynthCeiling tier[SYNTH_TEST_TIERS];
} SynthSummary;

/* fraction 0..1 of the whole job; `what` is a short text that lives until the next call. */
typedef void (*SynthProgress)(void *cx, double fraction, const char *what);

/* Writes o->mice recordings into the folder `out`, which must be absent or empty.
 *
 *   progress   may be NULL
 *   summaries  [mice], or NULL
 *
 * NPC_ERR_USAGE   an option is out of range
 * NPC_ERR_INPUT   `out` exists and is not an empty folder
 * NPC_ERR_IO      disk full, no permission; finished recordings stay, the unfinished one is removed
 * NPC_ERR_MEMORY */
Status synth_write(const char *out, const SynthOptions *o, SynthProgress progress, void *cx,
                   SynthSummary *summaries, Err *err);

#endif
