/* Writes a recording of images (recording.h; specs/v1t.md 3), trial by trial.
 *
 * Everything goes to OUT/NAME.partial, which is renamed when it is complete. Statistics are those
 * of the training trials: one number for images, one per neuron or value otherwise, deviations
 * divided by n and 1 where a value never varies; the median of images is exact to 1/16 grey level.
 */
#ifndef NPC_DATA_IMAGE_WRITER_H
#define NPC_DATA_IMAGE_WRITER_H

#include "ir/base/vec.h"
#include "data/moments.h"
#include "data/recording.h"

enum { IMAGE_BEHAVIORS = 3, IMAGE_GREY_BINS = 256 * 16 };

typedef struct ImageTrial {
    Tier tier;
    int64_t image;                   /* which one; repeats share it */
    const float *picture;            /* [colours height width] grey levels */
    const float *responses;          /* [neurons] */
    float behavior[IMAGE_BEHAVIORS]; /* pupil size, its change, running speed */
    float pupil[2];
} ImageTrial;

/* Values of training trials, kept for their statistics. */
typedef struct ImageColumn {
    const char *folder;
    uint32_t rows;
    VEC(float) values; /* [trials rows] */
} ImageColumn;

typedef struct ImageWriter {
    char partial[3000], path[3000];
    uint32_t colours, height, width, neurons;
    Arena arena;
    VEC(const char *) tiers;
    VEC(int64_t) images;
    Moments grey;
    uint64_t bins[IMAGE_GREY_BINS];
    ImageColumn column[3]; /* responses, behavior, pupil_center */
} ImageWriter;

/* What is known of the neurons; NULLs are left out or numbered. */
typedef struct ImageNeurons {
    const int64_t *ids;       /* [neurons]; NULL: 1 .. neurons */
    const float *coordinates; /* [neurons 3] micrometres; NULL: not written */
    int64_t animal;
    const char *about; /* text of config.json: where the recording comes from, what is absent */
} ImageNeurons;

/* NPC_ERR_INPUT: OUT/NAME is there already. `w` is zeroed, but for the way out of its arena. */
Status image_writer_open(ImageWriter *w, const char *out, const char *name, uint32_t colours,
                         uint32_t height, uint32_t width, uint32_t neurons, Err *err);
Status image_writer_put(ImageWriter *w, const ImageTrial *trial, Err *err);
/* Writes meta/ and gives the folder its name. */
Status image_writer_finish(ImageWriter *w, const ImageNeurons *neurons, Err *err);
/* After either, and to give up: what is half made is removed. */
void image_writer_close(ImageWriter *w);

#endif
