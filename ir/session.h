/* A session: a recording as a model sees it, with what the data say of its neurons.
 *
 * Name and number of neurons are always there. Coordinates and means are there when a model is
 * built for recordings that lie at hand, and NULL otherwise (compiling without data, prediction:
 * what began as them is in the checkpoint then). They belong to whoever made the session and live
 * as long as the module. */
#ifndef NPC_IR_SESSION_H
#define NPC_IR_SESSION_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Session {
    const char *name; /* recording */
    int64_t neurons;
    const float *coordinates; /* [neurons n_coordinates] cortical position, micrometres */
    int n_coordinates;        /* columns: 2 (x, y) or 3 (x, y, z); 0 without coordinates */
    const float *means;       /* [neurons] mean over the training trials of the responses as the
                                 recipe transforms them */
    const float *deviations;  /* [neurons] their deviation (divided by n) */
} Session;

/* The first `columns` coordinates of every neuron, minus the column's mean, divided by the largest
 * absolute value of the whole result: out [neurons columns] within -1..1. Zeros when all neurons
 * lie in one place. False when the session has fewer coordinates. specs/viv1t.md 2.9 step 1. */
bool session_normalised_coordinates(const Session *s, int columns, float *out);

#endif
