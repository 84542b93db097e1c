/* Inside of a trial: which of its frames are valid. Shared by recording.c and data_check.c. */
#ifndef NPC_DATA_TRIAL_H
#define NPC_DATA_TRIAL_H

#include "data/recording.h"

/* Arrays of images get a time axis of size 1, so that they are read as films of one frame. */
void trial_add_time(const Recording *r, NpyHeader *h);
/* Element type and all sizes but the time axis; `expected` is filled in any case. */
bool trial_header_fits(const Recording *r, Variable v, const NpyHeader *h,
                       char expected[static 96]);

/* What a pass over one variable of a trial found. A row is a neuron, a pixel or a channel. */
typedef struct TailScan {
    uint32_t valid;      /* frames before the first non-finite one, over all rows */
    uint32_t latest;     /* the same of the row that lasts longest */
    bool is_all_zero;    /* no finite value other than 0 */
    bool has_hole;       /* some row goes on after a non-finite value: */
    uint32_t hole_frame; /* ..the first such value's frame, and its row */
    uint64_t hole_row;
} TailScan;

/* Touches the mapped data without a guard. */
TailScan trial_scan(const Npy *a);
/* Maps the four files; nothing of the data is read and `valid` stays 0. */
Status trial_map_files(TrialMap *out, const Recording *r, uint32_t trial, Err *err);

/* Number of rows, and memory position of a row's first element. */
uint64_t trial_rows(const NpyHeader *h);
uint64_t trial_row_at(const NpyHeader *h, uint64_t row);

#endif
