/* Ridge regression from sums: against the normal equations' own condition, and what it chooses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/philox.h"
#include "data/ridge.h"

enum { ROWS = 203, FEATURES = 7, TARGETS = 3 };

static float x[ROWS][FEATURES], y[TARGETS][ROWS];

/* Features of unlike scale, the last one constant; target k is linear in them plus noise. */
static void make(double noise)
{
    Rng r = rng_start(7, 1);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < FEATURES; j++)
            x[i][j] = j == FEATURES - 1 ? 3.0f : (float)(100 * j + (j + 1) * rng_normal(&r));
        for (int k = 0; k < TARGETS; k++)
            y[k][i] = (float)(k + x[i][k] - 0.5 * (double)x[i][k + 2] + noise * rng_normal(&r));
    }
}

/* Rows in unequal portions, so that blocks of rows are cut in different places. */
static void give(Ridge *r, int first, int rows, bool choose)
{
    while (rows > 0) {
        int now = rows < 5 ? rows : 5;
        ridge_add(r, x[first], (size_t)now, &y[0][first], ROWS, choose);
        first += now;
        rows -= now;
    }
}

/* d/dw of |y - b - w z|^2 + penalty rows |w|^2 is 0 for every weight, and so is that of b. */
static void weights_fulfil_their_equations(void **state)
{
    (void)state;
    static float predicted[TARGETS][ROWS];
    Ridge r;
    Err err = {0};
    make(2);
    assert_int_equal(ridge_open(&r, FEATURES, TARGETS, &err), NPC_OK);
    give(&r, 0, ROWS, false);
    ridge_solve(&r);
    assert_true(r.penalty == 1); /* nothing to choose with */
    ridge_predict(&r, x[0], ROWS, predicted[0], ROWS);
    for (int k = 0; k < TARGETS; k++) {
        double all = 0;
        for (int i = 0; i < ROWS; i++)
            all += (double)y[k][i] - (double)predicted[k][i];
        assert_true(fabs(all) < 1e-3 * ROWS);
        for (int j = 0; j < FEATURES - 1; j++) {
            double mean = 0, square = 0, sum = 0, w = r.weight[j * TARGETS + k];
            for (int i = 0; i < ROWS; i++)
                mean += (double)x[i][j] / ROWS;
            for (int i = 0; i < ROWS; i++)
                square += ((double)x[i][j] - mean) * ((double)x[i][j] - mean) / ROWS;
            for (int i = 0; i < ROWS; i++)
                sum += ((double)y[k][i] - (double)predicted[k][i]) * ((double)x[i][j] - mean) /
                       sqrt(square);
            assert_true(fabs(sum - r.penalty * ROWS * w) < 1e-3 * ROWS);
        }
        assert_true(r.weight[(FEATURES - 1) * TARGETS + k] == 0);
    }
    ridge_free(&r);
}

static void noise_asks_for_a_higher_penalty(void **state)
{
    (void)state;
    double penalty[2];
    Err err = {0};
    for (int k = 0; k < 2; k++) {
        Ridge r;
        make(k ? 300 : 0.01);
        assert_int_equal(ridge_open(&r, FEATURES, TARGETS, &err), NPC_OK);
        give(&r, 0, 160, false);
        give(&r, 160, ROWS - 160, true);
        ridge_solve(&r);
        penalty[k] = r.penalty;
        assert_true(r.fit.rows == ROWS); /* refitted to all */
        ridge_free(&r);
    }
    assert_true(penalty[0] == 0.003 && penalty[1] >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_fulfil_their_equations),
        cmocka_unit_test(noise_asks_for_a_higher_penalty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
