/* A session written in the structure of the Allen Brain Observatory's files becomes a recording,
 * and every decision of specs/v1t.md 4 is checked on numbers that can be computed by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#ifndef HAVE_HDF5

int main(void)
{
    puts("skipped: built without HDF5 (libhdf5-dev)");
    return 77;
}

#else

#include <hdf5.h>

#include "data/data_check.h"
#include "data/image_resize.h"
#include "data/import.h"
#include "tests/unit/scratch.h"

enum {
    CELLS = 4,
    SCENES = 12,
    REPEATS = 3,
    SHOWN = (SCENES + 1) * REPEATS, /* with grey */
    PER_SHOWING = 8,                /* samples of 1/32 s: 250 ms */
    BEFORE = 20,
    SAMPLES = BEFORE + SHOWN * PER_SHOWING + 30,
    ROWS = 6,
    COLUMNS = 10,
};
#define RATE 32.0
#define PIPELINE "/processing/brain_observatory_pipeline/"

static Arena arena;

/* ---- the file ---- */

static double dff(uint32_t cell, uint32_t sample)
{
    return 0.25 * cell - 0.1 + 0.001 * (sample % 97);
}

static int64_t scene(uint32_t showing)
{
    return (int64_t)(showing * 5 % (SCENES + 1)) - 1; /* -1: grey */
}

static double speed(uint32_t sample)
{
    return sample % 16 == 3 ? (double)NAN : 0.5 * (sample % 40) - 4;
}

static void put(hid_t file, const char *path, hid_t type, int rank, const hsize_t *size,
                const void *data)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE), space = H5Screate_simple(rank, size, NULL);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(file, path, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
}

/* One text, of variable or of fixed length. */
static void put_text(hid_t file, const char *path, const char *const *text, hsize_t n, bool varies)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    char fixed[8][16] = {0};
    H5Tset_size(type, varies ? H5T_VARIABLE : sizeof *fixed);
    for (hsize_t i = 0; i < n && !varies; i++)
        snprintf(fixed[i], sizeof *fixed, "%s", text[i]);
    put(file, path, type, 1, &n, varies ? (const void *)text : fixed);
    H5Tclose(type);
}

static void put_series(hid_t file, const char *group, hsize_t columns, const double *values)
{
    static double time[SAMPLES];
    char path[200];
    hsize_t n = SAMPLES, both[2] = {SAMPLES, columns};
    for (uint32_t i = 0; i < SAMPLES; i++)
        time[i] = 100 + i / RATE;
    snprintf(path, sizeof path, "%s/data", group);
    put(file, path, H5T_NATIVE_DOUBLE, 2, both, values);
    snprintf(path, sizeof path, "%s/timestamps", group);
    put(file, path, H5T_NATIVE_DOUBLE, 1, &n, time);
}

static void put_activity(hid_t file)
{
    static float traces[CELLS][SAMPLES];
    static double time[SAMPLES];
    const char *const names[CELLS] = {"roi_0000", "roi_0001", "roi_0002", "roi_0003"};
    const char *const depth[] = {"175 microns"}, *const id[] = {"501559087"};
    int64_t ids[CELLS] = {517000001, 517000002, 517000003, 517000004};
    hsize_t both[2] = {CELLS, SAMPLES}, n = SAMPLES, cells = CELLS, pixels[2] = {3, 2};
    for (uint32_t i = 0; i < SAMPLES; i++) {
        time[i] = 100 + i / RATE;
        for (uint32_t k = 0; k < CELLS; k++)
            traces[k][i] = (float)dff(k, i);
    }
    put(file, PIPELINE "DfOverF/imaging_plane_1/data", H5T_NATIVE_FLOAT, 2, both, traces);
    put(file, PIPELINE "DfOverF/imaging_plane_1/timestamps", H5T_NATIVE_DOUBLE, 1, &n, time);
    put(file, PIPELINE "ImageSegmentation/cell_specimen_ids", H5T_NATIVE_INT64, 1, &cells, ids);
    put_text(file, PIPELINE "ImageSegmentation/imaging_plane_1/roi_list", names, CELLS, false);
    for (int16_t k = 0; k < CELLS; k++) {
        int16_t mask[3][2] = {
            {(int16_t)(10 * k), 7}, {(int16_t)(10 * k + 1), 7}, {(int16_t)(10 * k + 2), 10}};
        char path[200];
        snprintf(path, sizeof path, PIPELINE "ImageSegmentation/imaging_plane_1/%s/pix_mask",
                 names[k]);
        put(file, path, H5T_NATIVE_INT16, 2, pixels, mask);
    }
    put_text(file, "/general/optophysiology/imaging_plane_1/imaging depth", depth, 1, true);
    put_text(file, "/general/session_id", id, 1, false);
}

static void put_scenes(hid_t file)
{
    static unsigned char stack[SCENES][ROWS][COLUMNS];
    int32_t shown[SHOWN], frames[SHOWN][2];
    hsize_t n = SHOWN, both[2] = {SHOWN, 2}, all[3] = {SCENES, ROWS, COLUMNS};
    for (uint32_t i = 0; i < SHOWN; i++) {
        shown[i] = (int32_t)scene(i);
        frames[i][0] = (int32_t)(BEFORE + i * PER_SHOWING);
        frames[i][1] = frames[i][0] + PER_SHOWING;
    }
    for (int i = 0; i < SCENES; i++)
        memset(stack[i], 10 + 20 * i, sizeof stack[i]);
    put(file, "/stimulus/presentation/natural_scenes_stimulus/data", H5T_NATIVE_INT32, 1, &n,
        shown);
    put(file, "/stimulus/presentation/natural_scenes_stimulus/frame_duration", H5T_NATIVE_INT32, 2,
        both, frames);
    put(file, "/stimulus/templates/natural_scenes_image_stack/data", H5T_NATIVE_UCHAR, 3, all,
        stack);
}

static const char *write_session(const char *name, bool has_pupil)
{
    static double values[SAMPLES * 2];
    const char *path = arena_strdup(&arena, scratch_path(name));
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    put_activity(file);
    put_scenes(file);
    for (uint32_t i = 0; i < SAMPLES; i++)
        values[i] = speed(i);
    put_series(file, PIPELINE "BehavioralTimeSeries/running_speed", 1, values);
    if (has_pupil) {
        for (uint32_t i = 0; i < SAMPLES; i++)
            values[i] = 40 + 0.25 * i;
        put_series(file, PIPELINE "PupilTracking/pupil_size", 1, values);
        for (uint32_t i = 0; i < 2 * SAMPLES; i++)
            values[i] = i % 2 ? 3 : i / 2;
        put_series(file, PIPELINE "EyeTracking/pupil_location", 2, values);
    }
    H5Fclose(file);
    return path;
}

/* ---- what comes of it ---- */

static Recording *imported(const char *file, const char *out, const AllenOptions *o, Imported *made)
{
    ImportedList done = {0};
    Recording *r;
    Err err = {0};
    const char *to = arena_strdup(&arena, scratch_path(out));
    if (import_allen(&arena, file, to, o, &done, &err) != NPC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(done.n, 1);
    if (made)
        *made = done.made[0];
    if (recording_open(&r, &arena, arena_printf(&arena, "%s/%s", to, done.made[0].name), &err) !=
        NPC_OK)
        fail_msg("%s", err.text);
    return r;
}

static float value(const Recording *r, Variable v, uint32_t trial, uint64_t at)
{
    TrialMap m;
    Err err = {0};
    if (trial_map(&m, r, trial, &err) != NPC_OK)
        fail_msg("%s", err.text);
    float x = (float)npy_double(&m.var[v], at);
    trial_unmap(&m);
    return x;
}

static void presentations_become_trials(void **state)
{
    (void)state;
    AllenOptions o = allen_defaults();
    o.height = 4;
    o.width = 5;
    Imported made;
    Recording *r = imported(write_session("speed.nwb", false), "speed", &o, &made);
    uint32_t negative = 0, tiers[TIER_COUNT] = {0};
    Tier of_image[SCENES + 1];
    assert_string_equal(r->name, "501559087");
    assert_int_equal(r->n_trials, SHOWN);
    assert_int_equal(r->n_neurons, CELLS);
    assert_int_equal(r->unit_ids[2], 3);
    assert_true(r->coordinates[3] == 11 && r->coordinates[4] == 8 && r->coordinates[5] == 175);
    for (uint32_t i = 0; i < SHOWN; i++) {
        uint32_t start = BEFORE + i * PER_SHOWING, n_speed = 0;
        double sum = 0, run = 0;
        for (uint32_t s = start; s < start + 16; s++) { /* 500 ms */
            sum += (double)(float)dff(1, s) / 16;
            run += isnan(speed(s)) ? 0 : speed(s);
            n_speed += !isnan(speed(s));
        }
        assert_true(fabs((double)value(r, VAR_RESPONSE, i, 1) - sum) < 1e-6);
        assert_true(fabs((double)value(r, VAR_BEHAVIOR, i, 0) - run / n_speed) < 1e-5);
        assert_true(value(r, VAR_BEHAVIOR, i, 1) == 0 && value(r, VAR_BEHAVIOR, i, 2) == 0);
        assert_true(value(r, VAR_PUPIL, i, 0) == 0);
        for (uint32_t k = 0; k < CELLS; k++)
            negative += value(r, VAR_RESPONSE, i, k) < 0;
        assert_int_equal(r->image_ids[i], scene(i) < 0 ? SCENES : scene(i));
        float grey = scene(i) < 0 ? 128 : (float)(10 + 20 * scene(i));
        assert_true(value(r, VAR_VIDEO, i, 7) == grey);
        Tier *first = &of_image[r->image_ids[i]];
        if (i < SCENES + 1) /* a round shows everything once */
            *first = r->trials[i].tier;
        assert_int_equal(r->trials[i].tier, *first); /* whole images */
        tiers[r->trials[i].tier]++;
        if (scene(i) < 0)
            assert_int_equal(r->trials[i].tier, TIER_TRAIN);
    }
    assert_int_equal(made.negative, negative);
    assert_true(negative > 0);
    assert_int_equal(tiers[TIER_VALIDATION], 1 * REPEATS); /* 10 and 18 of 118, of 12 */
    assert_int_equal(tiers[TIER_TEST], 2 * REPEATS);

    DataReport report;
    Err err = {0};
    assert_int_equal(data_check(&report, &arena, r->path, &err), NPC_OK);
    if (report.findings.list.len)
        data_report_print(&report, stderr);
    assert_int_equal(report.findings.list.len, 0);
}

static void a_pupil_stands_in_its_place(void **state)
{
    (void)state;
    AllenOptions o = allen_defaults();
    o.height = 4;
    o.width = 5;
    o.offset = 0.125; /* 4 samples */
    o.length = 0.25;
    Recording *r = imported(write_session("pupil.nwb", true), "pupil", &o, NULL);
    uint32_t first = BEFORE + 5 * PER_SHOWING + 4;
    assert_true(fabs((double)value(r, VAR_BEHAVIOR, 5, 0) - (40 + 0.25 * (first + 3.5))) < 1e-4);
    assert_true(fabs((double)value(r, VAR_BEHAVIOR, 5, 1) - 0.25 * RATE) < 1e-3); /* per second */
    assert_true(fabs((double)value(r, VAR_PUPIL, 5, 0) - (first + 3.5)) < 1e-4);
    assert_true(value(r, VAR_PUPIL, 5, 1) == 3);
}

/* Constant pictures stay, a ramp keeps its middle, means survive shrinking. */
static void pictures_shrink_with_antialiasing(void **state)
{
    (void)state;
    unsigned char ramp[8 * 12], spot[9 * 9] = {0};
    float to[4 * 3], small[3 * 3];
    for (int i = 0; i < 8 * 12; i++)
        ramp[i] = (unsigned char)(i % 12 * 10);
    assert_true(image_resize(ramp, 8, 12, to, 4, 3));
    assert_true(fabs((double)to[1] - 55) < 1e-4 && to[4] == to[1] && to[0] < to[1]);
    spot[4 * 9 + 4] = 81;
    assert_true(image_resize(spot, 9, 9, small, 3, 3));
    /* triangle of reach 3 about pixel 4: 3, 2, 1 of 9 */
    assert_true(fabs((double)small[4] - 81.0 * (3 / 9.0) * (3 / 9.0)) < 1e-4);
    assert_true(small[0] == 0); /* its centre is 3 away */
    float large[4];
    const unsigned char two[2] = {0, 100};
    assert_true(image_resize(two, 1, 2, large, 1, 4));
    assert_true(large[0] == 0 && large[1] == 25 && large[2] == 75 && large[3] == 100);
}

static void assert_refused(const char *file, const AllenOptions *o, const char *part)
{
    ImportedList done = {0};
    Err err = {0};
    assert_true(import_allen(&arena, file, scratch_path("refused"), o, &done, &err) != NPC_OK);
    if (!strstr(err.text, part))
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
    assert_false(file_exists(scratch_path("refused/501559087")));
}

static void files_that_do_not_fit_are_named(void **state)
{
    (void)state;
    AllenOptions o = allen_defaults();
    const char *file = write_session("damaged.nwb", false);
    scratch_write("text.nwb", "text", 4);
    assert_refused(scratch_path("text.nwb"), &o, "cannot be read as HDF5");
    assert_refused(scratch_path("absent.nwb"), &o, "no such file");
    o.length =
        100; /* the last windows end behind the recording: their means are of what is there */
    o.offset = 50;
    assert_refused(file, &o, "has no sample of every cell");
    o = allen_defaults();
    o.length = 0;
    assert_refused(file, &o, "--length is 0 s");
    o = allen_defaults();
    hid_t id = H5Fopen(file, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(id, "/stimulus/templates/natural_scenes_image_stack/data", H5P_DEFAULT);
    H5Fclose(id);
    assert_refused(file, &o, "has no 'stimulus/templates/natural_scenes_image_stack/data'");
}

static int end(void **state)
{
    arena_free(&arena);
    return scratch_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presentations_become_trials),
        cmocka_unit_test(a_pupil_stands_in_its_place),
        cmocka_unit_test(pictures_shrink_with_antialiasing),
        cmocka_unit_test(files_that_do_not_fit_are_named),
    };
    return cmocka_run_group_tests(tests, scratch_make, end);
}

#endif
