/* Recordings of images made from other files: `npc data import`. */
#ifndef NPC_DATA_IMPORT_H
#define NPC_DATA_IMPORT_H

#include <stdint.h>

#include "ir/base/arena.h"
#include "ir/base/status.h"

/* One recording that was made. */
typedef struct Imported {
    char name[100];
    uint32_t neurons, trials;
    uint64_t negative; /* responses below 0 */
} Imported;

enum { IMPORT_MOST = 8 };

typedef struct ImportedList {
    Imported made[IMPORT_MOST];
    uint32_t n;
} ImportedList;

/* The sessions of macaque V4 units at hand in `dir`: stimuli_36x64/stimuli_S.npy with
 * responses_raw/responses_S.npy [unit image repeat] or responses_repeat_averaged/responses_S.npy
 * [unit image]. Single trials: repeats 0 to 5, images 0 to 511 of the session 210325 train, the
 * others validate; averages: one trial per image, the last 200 validate. Behaviour, pupil and
 * positions were not recorded: zeros, and no coordinates. */
Status import_macaque_v4(Arena *arena, const char *dir, const char *out, ImportedList *done,
                         Err *err);

typedef struct AllenOptions {
    double offset, length;  /* of the window of responses behind the onset, seconds */
    uint32_t height, width; /* of the images written */
    uint64_t seed;          /* of the split of images */
} AllenOptions;

AllenOptions allen_defaults(void);
/* An Allen Brain Observatory session (natural scenes), specs/v1t.md 4. NPC_ERR_FAILED: built
 * without HDF5. */
Status import_allen(Arena *arena, const char *file, const char *out, const AllenOptions *o,
                    ImportedList *done, Err *err);

#endif
