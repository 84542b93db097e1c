/* A recording (one mouse, one session) as it lies on disk, opened lazily.
 *
 *   NAME/data/{videos,responses,behavior,pupil_center}/<trial>.npy   last axis is time, 30 Hz
 *   NAME/meta/trials/tiers.npy, NAME/meta/neurons/{unit_ids,cell_motor_coordinates}.npy
 *   NAME/meta/statistics/<variable>/all/<stat>.npy                   per frame
 *
 * A recording of images has images/<trial>.npy (c, h, w) instead of videos, responses (n), behavior
 * (3): pupil size, its change, running speed; pupil_center (2); the tiers train, validation, test
 * and final_test; and perhaps meta/trials/frame_image_id.npy (or colorframeprojector_image_id.npy).
 * It is read as if it were films of one frame: every array gets a time axis of size 1.
 *
 * videos (h, w, t) grey levels 0..255; responses (n, t); behavior (2, t): pupil size, running
 * speed; pupil_center (2, t). Elements are float32 or float64, C or Fortran order.
 * Opening reads headers only. The valid length of a trial is computed on first use and cached:
 * the smallest index of a non-finite frame over all four variables; a finite value after a
 * non-finite one in the same row is an error that names file and frame. Trials of tier `none` are
 * never read. Responses of test tiers that are zero throughout are withheld. */
#ifndef NPC_DATA_RECORDING_H
#define NPC_DATA_RECORDING_H

#include <stdatomic.h>

#include "ir/base/vec.h"
#include "data/npy.h"

typedef enum Tier {
    TIER_NONE,
    TIER_TRAIN,
    TIER_ORACLE,
    TIER_VALIDATION, /* of images; the same as oracle */
    TIER_LIVE_MAIN,
    TIER_LIVE_BONUS,
    TIER_FINAL_MAIN,
    TIER_FINAL_BONUS,
    TIER_TEST, /* of images */
    TIER_FINAL_TEST,
    TIER_COUNT,
} Tier;

#define TIER_BIT(tier) (1u << (tier))
#define TIERS_VALIDATION (TIER_BIT(TIER_ORACLE) | TIER_BIT(TIER_VALIDATION))
#define TIERS_LABELLED_IF_RELEASED                                                                 \
    (TIER_BIT(TIER_LIVE_MAIN) | TIER_BIT(TIER_LIVE_BONUS) | TIER_BIT(TIER_FINAL_MAIN) |            \
     TIER_BIT(TIER_FINAL_BONUS) | TIER_BIT(TIER_TEST) | TIER_BIT(TIER_FINAL_TEST))

typedef enum Variable {
    VAR_VIDEO,
    VAR_RESPONSE,
    VAR_BEHAVIOR,
    VAR_PUPIL,
    VAR_COUNT,
} Variable;

/* What is wrong with a file or folder. */
typedef struct Finding {
    const char *path, *what, *expected;
} Finding;

typedef struct Findings {
    Arena *arena;
    VEC(Finding) list;
} Findings;

typedef struct Trial {
    Tier tier;
    uint32_t frames;          /* stored, from the header; 0 for tier none */
    _Atomic int32_t valid;    /* -1: not computed yet */
    _Atomic bool is_withheld; /* known once `valid` is */
} Trial;

typedef struct Recording {
    const char *name, *path;
    bool is_images; /* one picture per trial instead of a film */
    uint32_t n_trials, n_neurons, height, width;
    uint32_t colours;     /* channels of a picture */
    uint32_t n_behaviors; /* behaviour values of a frame */
    Trial *trials;
    const int64_t *unit_ids;  /* [n]; NULL when the file is missing */
    const int64_t *image_ids; /* [n_trials] which image; NULL: films, or the file is missing */
    const float *coordinates; /* [n, n_coordinates] micrometres; NULL when the file is missing */
    uint32_t n_coordinates;   /* 2 or 3; 0 without coordinates */
    /* how it is used (dataset.h); readers below take both into account */
    const struct Transform *transform; /* NULL: as recorded */
    uint32_t longest;                  /* frames of a trial that are used at most; 0: all */
} Recording;

typedef struct Recordings {
    Recording **at;
    uint32_t len;
} Recordings;

/* The recording lives in the arena. On failure the text is the first finding and their number. */
Status recording_open(Recording **out, Arena *arena, const char *path, Err *err);
/* `dir` is a recording, or holds recordings (sorted by name; `truth` is skipped). */
Status recordings_open(Recordings *out, Arena *arena, const char *dir, Err *err);
/* The same checks, all findings; a partly filled Recording. For data_check. */
Recording *recording_inspect(Arena *arena, const char *path, Findings *findings);
/* Paths of the recordings that recordings_open would open. */
Status recordings_find(Arena *arena, const char *dir, const char ***paths, size_t *n, Err *err);

const char *tier_name(Tier tier);               /* "live_test_main" .. */
bool tier_parse(const char *name, Tier *out);   /* false: no such tier */
const char *variable_folder(Variable variable); /* "videos" .. */
/* The same for a recording's own kind: pictures of images are in "images". */
const char *recording_folder(const Recording *r, Variable variable);

/* Numbers of the trials whose tier is in `tiers` (TIER_BIT), ascending. Never tier none. */
uint32_t recording_trials(const Recording *r, unsigned tiers, Arena *arena, uint32_t **out);
/* Frames before the first non-finite one; reads the trial at the first call. Thread-safe. */
Status recording_valid_frames(const Recording *r, uint32_t trial, uint32_t *frames, Err *err);
/* Are the trial's responses withheld (all zero in a test tier; of images, those of the whole tier)?
 * Thread-safe. */
Status recording_is_withheld(const Recording *r, uint32_t trial, bool *withheld, Err *err);

/* One trial's four files, mapped. */
typedef struct TrialMap {
    const Recording *recording;
    uint32_t trial;
    uint32_t valid; /* frames */
    size_t bytes;
    Npy var[VAR_COUNT];
} TrialMap;

/* Maps the trial and makes its valid length known. Refuses tier none. */
Status trial_map(TrialMap *out, const Recording *r, uint32_t trial, Err *err);
void trial_unmap(TrialMap *m);
/* Path of a trial's file. */
void trial_path(const Recording *r, Variable v, uint32_t trial, char *out, size_t out_bytes);

/* meta/statistics/<variable>/all/<stat>.npy as float in C order (last axis time), in the arena. */
Status recording_statistic(const Recording *r, Variable v, const char *stat, Arena *arena,
                           float **out, uint32_t *frames, Err *err);

__attribute__((format(printf, 4, 5))) void finding_add(Findings *f, const char *path,
                                                       const char *expected, const char *what, ...);

#endif
