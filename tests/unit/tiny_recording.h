/* Writes small recordings for tests, whose every value says where it stands:
 *
 *   video(h, w, t)     10000 h + 1000 w + t + 0.5 trial     float32
 *   response(n, t)     1000 n + t - 20 + 0.25 trial         float32, negative in early frames
 *   behavior(c, t)     100 c + t                            float64
 *   pupil_center(c, t) 200 c + t                            float64 */
#ifndef NPC_TESTS_TINY_RECORDING_H
#define NPC_TESTS_TINY_RECORDING_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "data/npy_write.h"
#include "data/recording.h"

enum { TINY_HEIGHT = 5, TINY_WIDTH = 7, TINY_NEURONS = 3 };

typedef struct TinyTrial {
    const char *tier;
    uint32_t frames, valid; /* stored; NaN from `valid` on */
    bool withheld;          /* responses are zeros throughout */
} TinyTrial;

/* A folder of its own for a test program; removed by tiny_remove. */
static inline char *tiny_folder(void)
{
    static char path[512];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/npc-test-XXXXXX", base && *base ? base : P_tmpdir);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void tiny_remove(const char *folder)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

static inline double tiny_value(Variable v, uint32_t trial, uint32_t row, uint32_t t)
{
    switch (v) {
    case VAR_VIDEO:
        return 10000.0 * (row / TINY_WIDTH) + 1000.0 * (row % TINY_WIDTH) + t + 0.5 * trial;
    case VAR_RESPONSE:
        return 1000.0 * row + t - 20 + 0.25 * trial;
    default:
        return (v == VAR_BEHAVIOR ? 100.0 : 200.0) * row + t;
    }
}

static inline void tiny_write_variable(const char *path, Variable v, uint32_t trial,
                                       const TinyTrial *spec)
{
    static const uint32_t rows_of[VAR_COUNT] = {TINY_HEIGHT * TINY_WIDTH, TINY_NEURONS, 2, 2};
    uint32_t rows = rows_of[v], n = rows * spec->frames;
    float *f4 = calloc(n + 1, sizeof *f4);
    double *f8 = calloc(n + 1, sizeof *f8);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t t = i % spec->frames;
        double x = t < spec->valid ? tiny_value(v, trial, i / spec->frames, t) : (double)NAN;
        f8[i] = spec->withheld && v == VAR_RESPONSE ? 0 : x;
        f4[i] = (float)f8[i];
    }
    size_t video[3] = {TINY_HEIGHT, TINY_WIDTH, spec->frames}, plain[2] = {rows, spec->frames};
    bool is_single = v == VAR_VIDEO || v == VAR_RESPONSE;
    Err err = {0};
    Status s =
        npy_write(path, is_single ? NPY_WRITE_F4 : NPY_WRITE_F8, is_single ? (const void *)f4 : f8,
                  v == VAR_VIDEO ? video : plain, v == VAR_VIDEO ? 3 : 2, &err);
    free(f4);
    free(f8);
    if (s != NPC_OK)
        fail_msg("%s", err.text);
}

static inline void tiny_write_meta(const char *path, const TinyTrial *trials, uint32_t n)
{
    char to[4200];
    const char *tiers[64];
    int64_t ids[TINY_NEURONS] = {7, 9, 11};
    double xyz[TINY_NEURONS * 3] = {1, 2, 200, 3, 4, 225, 5, 6, 250};
    size_t one[1] = {TINY_NEURONS}, two[2] = {TINY_NEURONS, 3};
    Err err = {0};
    for (uint32_t i = 0; i < n; i++)
        tiers[i] = trials[i].tier;
    snprintf(to, sizeof to, "%s/meta/trials/tiers.npy", path);
    assert_int_equal(npy_write_text(to, tiers, n, &err), NPC_OK);
    snprintf(to, sizeof to, "%s/meta/neurons/unit_ids.npy", path);
    assert_int_equal(npy_write(to, NPY_WRITE_I8, ids, one, 1, &err), NPC_OK);
    snprintf(to, sizeof to, "%s/meta/neurons/cell_motor_coordinates.npy", path);
    assert_int_equal(npy_write(to, NPY_WRITE_F8, xyz, two, 2, &err), NPC_OK);
}

/* Statistics of the right shapes; the numbers do not matter. */
static inline void tiny_write_statistics(const char *path, uint32_t frames)
{
    static const char *const stats[] = {"mean", "std", "min", "max", "median"};
    TinyTrial spec = {"", frames, frames, false};
    char to[4200];
    Err err = {0};
    for (int v = 0; v < VAR_COUNT; v++) {
        snprintf(to, sizeof to, "%s/meta/statistics/%s/all", path, variable_folder((Variable)v));
        assert_int_equal(file_make_folder(to, &err), NPC_OK);
        for (int s = 0; s < 5; s++) {
            snprintf(to, sizeof to, "%s/meta/statistics/%s/all/%s.npy", path,
                     variable_folder((Variable)v), stats[s]);
            tiny_write_variable(to, (Variable)v, 0, &spec);
        }
    }
}

/* path/NAME with `n` <= 64 trials; frames of the longest trial size the statistics. */
static inline void tiny_write(const char *path, const TinyTrial *trials, uint32_t n)
{
    char to[4200];
    Err err = {0};
    uint32_t longest = 0;
    for (int v = 0; v < VAR_COUNT; v++) {
        snprintf(to, sizeof to, "%s/data/%s", path, variable_folder((Variable)v));
        assert_int_equal(file_make_folder(to, &err), NPC_OK);
        for (uint32_t i = 0; i < n; i++) {
            snprintf(to, sizeof to, "%s/data/%s/%u.npy", path, variable_folder((Variable)v), i);
            tiny_write_variable(to, (Variable)v, i, &trials[i]);
            longest = trials[i].frames > longest ? trials[i].frames : longest;
        }
    }
    snprintf(to, sizeof to, "%s/meta/trials", path);
    assert_int_equal(file_make_folder(to, &err), NPC_OK);
    snprintf(to, sizeof to, "%s/meta/neurons", path);
    assert_int_equal(file_make_folder(to, &err), NPC_OK);
    tiny_write_meta(path, trials, n);
    tiny_write_statistics(path, longest);
}

#define assert_says(err, part)                                                                     \
    do {                                                                                           \
        if (!strstr((err).text, (part)))                                                           \
            fail_msg("\"%s\" does not say \"%s\"", (err).text, (part));                            \
    } while (0)

#endif
