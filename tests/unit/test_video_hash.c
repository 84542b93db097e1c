#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data/philox.h"
#include "data/safetensors.h"
#include "data/video_hash.h"

enum { H = 36, W = 64, FIVE = 5, LONG = 23 };

static uint64_t hash_of_bits(const uint8_t *bits)
{
    uint64_t hash = 0;
    for (int i = 0; i < 64; i++)
        hash = hash << 1 | bits[i];
    return hash;
}

static const SafetensorsEntry *golden(const Safetensors *st, const char *name, uint64_t elems)
{
    const SafetensorsEntry *e = safetensors_find(st, name);
    assert_non_null(e);
    assert_int_equal(e->elems, elems);
    return e;
}

static void the_golden_frames_have_their_hashes(void **state)
{
    (void)state;
    static float frames[FIVE * H * W];
    Safetensors st;
    Err err = {0};
    uint64_t hash;
    assert_int_equal(safetensors_open(&st, "tests/goldens/dwiseneuro/ops.safetensors", &err),
                     NPC_OK);
    safetensors_as_float(golden(&st, "frame_hash/five/frames", FIVE * H * W), frames);
    const uint8_t *bits = golden(&st, "frame_hash/five/bits", FIVE * 64)->data;
    VideoView v = {frames, H, W, FIVE, W, 1, H * W}; /* time first */
    for (size_t t = 0; t < FIVE; t++) {
        assert_int_equal(video_frame_hash(&v, t, &hash, &err), NPC_OK);
        assert_true(hash == hash_of_bits(bits + 64 * t));
    }
    safetensors_close(&st);
}

static void the_golden_video_has_its_hash_and_fold(void **state)
{
    (void)state;
    static float video[H * W * LONG];
    Safetensors st;
    Err err = {0};
    uint64_t hash;
    double fold;
    assert_int_equal(safetensors_open(&st, "tests/goldens/dwiseneuro/ops.safetensors", &err),
                     NPC_OK);
    safetensors_as_float(golden(&st, "video_hash/one/video", H * W * LONG), video);
    safetensors_as_double(golden(&st, "video_hash/one/fold", 1), &fold);
    VideoView v = video_view(video, H, W, LONG);
    assert_int_equal(video_hash(&v, &hash, &err), NPC_OK);
    assert_true(hash == hash_of_bits(golden(&st, "video_hash/one/bits", 64)->data));
    assert_int_equal(video_fold(hash, VIDEO_FOLDS), (uint32_t)fold);
    safetensors_close(&st);
}

static void featureless_frames_keep_only_the_mean(void **state)
{
    (void)state;
    float grey[8 * 10];
    uint64_t hash;
    Err err = {0};
    for (int i = 0; i < 80; i++)
        grey[i] = 127.9f;
    VideoView v = video_view(grey, 8, 10, 1);
    assert_int_equal(video_frame_hash(&v, 0, &hash, &err), NPC_OK);
    assert_true(hash == 1ull << 63);
}

static void frames_after_the_end_do_not_count(void **state)
{
    (void)state;
    enum { PIXELS = 6 * 9 };
    static float brief[PIXELS * 12], tailed[PIXELS * 15];
    uint64_t a, b;
    Err err = {0};
    Rng r = rng_start(1, 1);
    for (int i = 0; i < PIXELS; i++)
        for (int t = 0; t < 15; t++) {
            tailed[i * 15 + t] = t < 12 ? 255 * rng_float(&r) : NAN;
            if (t < 12)
                brief[i * 12 + t] = tailed[i * 15 + t];
        }
    VideoView v = video_view(brief, 6, 9, 12), w = video_view(tailed, 6, 9, 15);
    assert_int_equal(video_hash(&v, &a, &err), NPC_OK);
    assert_int_equal(video_hash(&w, &b, &err), NPC_OK);
    assert_true(a == b);
}

static void fewer_than_five_frames_are_an_error(void **state)
{
    (void)state;
    const float four[4] = {1, 2, 3, 4};
    uint64_t hash;
    Err err = {0};
    VideoView v = video_view(four, 1, 1, 4), empty = {0};
    assert_int_equal(video_hash(&v, &hash, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "4 valid frames"));
    assert_int_equal(video_hash(&empty, &hash, &err), NPC_ERR_INPUT);
    assert_int_equal(video_frame_hash(&v, 4, &hash, &err), NPC_ERR_INPUT);
}

/* -------------------------------------------------------------------------------------- repeats */

enum { PIX = 5 * 8, STORED = 40, CLIPS = 3, SHOWN = 8 };

/* Trials of three clips; clip 2 shares its first `shared` frames with clip 1. */
static void make_trials(float trial[SHOWN][PIX * STORED], const int *clip, int shared)
{
    for (int k = 0; k < SHOWN; k++)
        for (int i = 0; i < PIX; i++)
            for (int t = 0; t < STORED; t++) {
                int c = clip[k] == 2 && t < shared ? 1 : clip[k];
                float u = philox_uniform(4, (uint64_t)c, (uint64_t)(i * STORED + t));
                trial[k][i * STORED + t] = t < 37 ? 10 + 200 * u : NAN;
            }
}

static void view_all(float trial[SHOWN][PIX * STORED], VideoView *v)
{
    for (int k = 0; k < SHOWN; k++)
        v[k] = video_view(trial[k], 5, 8, STORED);
}

static void repeats_are_found_in_order_of_appearance(void **state)
{
    (void)state;
    static float trial[SHOWN][PIX * STORED];
    const int clip[SHOWN] = {2, 0, 2, 1, 0, 1, 1, 2};
    const int64_t want[SHOWN] = {0, 1, 0, 2, 1, 2, 2, 0};
    int64_t group[SHOWN];
    VideoView v[SHOWN];
    Err err = {0};
    make_trials(trial, clip, 0);
    for (int i = 0; i < PIX * STORED; i++)
        trial[2][i] += 0.99f; /* less than a grey level */
    view_all(trial, v);
    assert_int_equal(video_find_repeats_of_views(v, SHOWN, group, &err), NPC_OK);
    assert_memory_equal(group, want, sizeof group);
}

/* 34 of 40 frames are 85 %: not more. The three frames of NaN agree too. */
static void more_than_85_percent_of_the_frames_must_agree(void **state)
{
    (void)state;
    static float trial[SHOWN][PIX * STORED];
    const int clip[SHOWN] = {1, 2, 1, 2, 1, 2, 1, 2};
    int64_t group[SHOWN];
    VideoView v[SHOWN];
    Err err = {0};
    make_trials(trial, clip, 31); /* 31 + 3 */
    view_all(trial, v);
    assert_int_equal(video_find_repeats_of_views(v, SHOWN, group, &err), NPC_OK);
    assert_int_equal(group[1], 1);
    make_trials(trial, clip, 32);
    assert_int_equal(video_find_repeats_of_views(v, SHOWN, group, &err), NPC_OK);
    assert_int_equal(group[1], 0);
}

static void one_deviating_pixel_in_six_frames_parts_two_clips(void **state)
{
    (void)state;
    static float trial[SHOWN][PIX * STORED];
    const int clip[SHOWN] = {0};
    int64_t group[SHOWN];
    VideoView v[SHOWN];
    Err err = {0};
    for (int pixel = 0; pixel < PIX; pixel++) {
        make_trials(trial, clip, 0);
        for (int t = 3; t < 9; t++)
            trial[5][pixel * STORED + t] += 2;
        view_all(trial, v);
        assert_int_equal(video_find_repeats_of_views(v, SHOWN, group, &err), NPC_OK);
        assert_int_equal(group[4], 0);
        assert_int_equal(group[5], 1);
        assert_int_equal(group[6], 0);
    }
}

static Status broken(void *cx, size_t trial, size_t pixel, float *out, Err *err)
{
    (void)cx, (void)pixel, (void)out;
    return err_set(err, NPC_ERR_IO, "trial %zu cannot be read", trial);
}

static void a_failing_read_is_handed_up(void **state)
{
    (void)state;
    const size_t frames[2] = {3, 3};
    int64_t group[2];
    Err err = {0};
    VideoSource s = {NULL, 2, 4, frames, broken};
    assert_int_equal(video_find_repeats(&s, group, &err), NPC_ERR_IO);
    assert_string_equal(err.text, "trial 0 cannot be read");
}

static void videos_of_unequal_size_are_refused(void **state)
{
    (void)state;
    const float x[6] = {0};
    int64_t group[2];
    Err err = {0};
    VideoView v[2] = {video_view(x, 1, 2, 3), video_view(x, 2, 1, 3)};
    assert_int_equal(video_find_repeats_of_views(v, 2, group, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "video 1 has 2 x 1 pixels"));
    assert_int_equal(video_find_repeats_of_views(v, 0, group, &err), NPC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_frames_have_their_hashes),
        cmocka_unit_test(the_golden_video_has_its_hash_and_fold),
        cmocka_unit_test(featureless_frames_keep_only_the_mean),
        cmocka_unit_test(frames_after_the_end_do_not_count),
        cmocka_unit_test(fewer_than_five_frames_are_an_error),
        cmocka_unit_test(repeats_are_found_in_order_of_appearance),
        cmocka_unit_test(more_than_85_percent_of_the_frames_must_agree),
        cmocka_unit_test(one_deviating_pixel_in_six_frames_parts_two_clips),
        cmocka_unit_test(a_failing_read_is_handed_up),
        cmocka_unit_test(videos_of_unequal_size_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
