/* `npc data info`: reads everything of every recording in a folder (except
 * trials of tier none), names all that is wrong, and summarises the rest. */
#ifndef NPC_DATA_DATA_CHECK_H
#define NPC_DATA_DATA_CHECK_H

#include <stdio.h>

#include "data/moments.h"
#include "data/recording.h"

typedef struct RecordingInfo {
    const char *name, *path;
    bool is_images;
    uint32_t n_images; /* distinct ones; 0: not known */
    uint32_t n_neurons, n_trials, height, width, colours, n_behaviors;
    uint32_t tier_trials[TIER_COUNT];
    uint32_t tier_withheld[TIER_COUNT];             /* trials whose responses are withheld */
    uint32_t frames_min, frames_median, frames_max; /* valid */
    Moments video, response; /* over valid frames; withheld responses do not count */
    Moments behavior[3], pupil[2];
    const char *missing_statistics; /* "videos/std, ..", "" when complete */
    uint32_t n_findings;
} RecordingInfo;

typedef struct DataReport {
    const char *dir;
    RecordingInfo *recordings;
    uint32_t n_recordings;
    Findings findings;
} DataReport;

/* Fails only when `dir` itself cannot be read; what is wrong inside goes to the findings. Memory
 * that ends goes the arena's way. */
Status data_check(DataReport *out, Arena *arena, const char *dir, Err *err);

void data_report_print(const DataReport *r, FILE *out);
/* {"recordings": [..], "findings": [{"path", "what", "expected"}, ..]}; NPC_ERR_MEMORY: nothing or
 * the beginning was printed. */
Status data_report_print_json(const DataReport *r, FILE *out, Err *err);

#endif
