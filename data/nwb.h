/* What an Allen Brain Observatory session holds (a file of NWB 1, which is HDF5): fluorescence,
 * natural scenes, running and, in some sessions, the pupil. */
#ifndef NPC_DATA_NWB_H
#define NPC_DATA_NWB_H

#include <stdint.h>

#include "ir/base/arena.h"
#include "ir/base/status.h"

/* Samples of one or two values; n 0: the session has none. */
typedef struct NwbSeries {
    uint64_t n;
    uint32_t columns;
    float *value; /* [n columns] */
    double *time; /* [n] seconds, ascending */
} NwbSeries;

typedef struct NwbSession {
    const char *id; /* general/session_id */
    uint32_t neurons;
    uint64_t samples;
    float *dff;         /* [neurons samples] */
    double *time;       /* [samples] seconds, ascending */
    int64_t *cells;     /* [neurons] specimen ids */
    float *coordinates; /* [neurons 3] centre of the mask (pixels x, y), imaging depth (um) */
    uint32_t n_shown;   /* presentations of natural scenes */
    int64_t *scene;     /* [n_shown] -1: grey */
    uint64_t *start;    /* [n_shown] sample of the onset */
    uint32_t n_scenes, rows, columns;
    unsigned char *scenes; /* [n_scenes rows columns] */
    NwbSeries running;     /* cm/s */
    NwbSeries pupil_size, pupil;
} NwbSession;

/* Everything lives in the arena. NPC_ERR_INPUT names what is missing or of another shape;
 * NPC_ERR_FAILED: npc was built without HDF5. */
Status nwb_read(NwbSession *out, Arena *arena, const char *file, Err *err);

/* What the module libnpc_hdf5.so has: the same function. */
typedef Status NwbRead(NwbSession *out, Arena *arena, const char *file, Err *err);
#define NWB_READ_SYMBOL "nwb_read_hdf5"
NwbRead nwb_read_hdf5;

#endif
