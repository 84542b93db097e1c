#include "ir/session.h"

#include <math.h>

bool session_normalised_coordinates(const Session *s, int columns, float *out)
{
    double mean[3] = {0}, largest = 0;
    if (columns < 1 || columns > s->n_coordinates || columns > 3 || !s->coordinates)
        return false;
    for (int64_t i = 0; i < s->neurons; i++)
        for (int k = 0; k < columns; k++)
            mean[k] += (double)s->coordinates[i * s->n_coordinates + k] / (double)s->neurons;
    for (int64_t i = 0; i < s->neurons; i++)
        for (int k = 0; k < columns; k++)
            largest =
                fmax(largest, fabs((double)s->coordinates[i * s->n_coordinates + k] - mean[k]));
    for (int64_t i = 0; i < s->neurons; i++)
        for (int k = 0; k < columns; k++) {
            double x = (double)s->coordinates[i * s->n_coordinates + k] - mean[k];
            out[i * columns + k] = largest > 0 ? (float)(x / largest) : 0;
        }
    return true;
}
