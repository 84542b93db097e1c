#include "tests/unit/op_golden.h"

#include "runtime/batch.h"

static const char *folder;
static Arena arena;

static const TinyTrial TRIALS[] = {{"train", 40, 37, false}, {"train", 40, 40, false}};

/* Wraps plain arrays as a mapped trial. */
static Npy array(const float *data, uint32_t rank, const uint64_t *shape)
{
    Npy a = {.data = (const unsigned char *)data};
    a.head = (NpyHeader){.type = NPY_F32, .item_bytes = 4, .rank = rank, .elems = 1};
    for (uint32_t i = rank; i-- > 0;) {
        a.head.shape[i] = shape[i];
        a.head.stride[i] = a.head.elems;
        a.head.elems *= shape[i];
    }
    return a;
}

static void the_input_is_assembled_as_published(void **state)
{
    (void)state;
    Recording r = {.name = "golden", .path = "golden", .height = 36, .width = 64};
    TrialMap m = {.recording = &r, .valid = 2};
    m.var[VAR_VIDEO] = array(op_floats("assemble/36x64/video"), 3, (uint64_t[]){36, 64, 2});
    m.var[VAR_BEHAVIOR] = array(op_floats("assemble/36x64/behavior"), 2, (uint64_t[]){2, 2});
    m.var[VAR_PUPIL] = array(op_floats("assemble/36x64/pupil"), 2, (uint64_t[]){2, 2});
    ClipShape s = {.channels = CHANNEL_ALL, .height = 64, .width = 64, .size = 2, .step = 1};
    static float x[5 * 2 * 64 * 64];
    Err err = {0};
    assert_int_equal(sizeof x / sizeof *x, clip_input_elems(&s));
    assert_int_equal(clip_frames(&m, &s, 0, 2, x, &err), NPC_OK);
    assert_memory_equal(x, op_floats("assemble/36x64/out"), sizeof x);
    memset(x, 1, sizeof x);
    assert_int_equal(clip_input(&m, &s, 1, x, &err), NPC_OK);
    assert_memory_equal(x, op_floats("assemble/36x64/out"), sizeof x);
}

static TrialMap mapped(uint32_t trial)
{
    Recording *r;
    TrialMap m = {0};
    Err err = {0};
    if (recording_open(&r, &arena, folder, &err) != NPC_OK ||
        trial_map(&m, r, trial, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return m;
}

static void a_window_takes_every_step_th_frame_up_to_its_end(void **state)
{
    (void)state;
    TrialMap m = mapped(0);
    ClipShape s = {.channels = CHANNEL_ALL, .height = 8, .width = 8, .size = 5, .step = 3};
    float x[5 * 5 * 8 * 8], y[TINY_NEURONS * 5];
    Err err = {0};
    for (uint32_t end = 12; end < 37; end++) {
        assert_int_equal(clip_input(&m, &s, end, x, &err), NPC_OK);
        assert_int_equal(clip_target(&m, &s, end, y, &err), NPC_OK);
        for (uint32_t i = 0; i < 5; i++) {
            uint32_t t = end - 12 + 3 * i;
            const float *video = x + i * 64, *running = x + (2 * 5 + i) * 64,
                        *pupil_x = x + (3 * 5 + i) * 64;
            /* 5 x 7 in 8 x 8: one row above, two below, no column left, one right */
            assert_true(video[0] == 0 && video[7] == 0 && video[8 + 7] == 0 && video[63] == 0);
            assert_true(video[(1 + 4) * 8 + 6] == (float)tiny_value(VAR_VIDEO, 0, 34, t));
            assert_true(video[(1 + 2) * 8 + 3] == (float)tiny_value(VAR_VIDEO, 0, 17, t));
            assert_true(running[0] == 100.0f + t && running[63] == 100.0f + t);
            assert_true(pupil_x[5] == (float)t);
            for (uint32_t n = 0; n < TINY_NEURONS; n++)
                assert_true(y[n * 5 + i] == fmaxf(0, (float)tiny_value(VAR_RESPONSE, 0, n, t)));
        }
    }
    trial_unmap(&m);
}

static void channels_can_be_left_out(void **state)
{
    (void)state;
    TrialMap m = mapped(1);
    ClipShape s = {.channels = CHANNEL_PUPIL, .height = 2, .width = 3, .size = 2, .step = 1};
    float x[2 * 2 * 6 + 1];
    Err err = {0};
    x[24] = -1;
    assert_int_equal(clip_channels(&s), 2);
    assert_int_equal(clip_input(&m, &s, 39, x, &err), NPC_OK);
    assert_true(x[0] == 38 && x[6] == 39 && x[12] == 238 && x[23] == 239 && x[24] == -1);
    trial_unmap(&m);
}

static void long_runs_of_frames_cross_tiles(void **state)
{
    (void)state;
    /* 3 x 130 pixels, 150 frames: more than a tile on both axes */
    static float video[3 * 130 * 150], x[150 * 4 * 131];
    for (int i = 0; i < 3 * 130 * 150; i++)
        video[i] = (float)i;
    Recording r = {.name = "long", .path = "long", .height = 3, .width = 130};
    TrialMap m = {.recording = &r, .valid = 150};
    m.var[VAR_VIDEO] = array(video, 3, (uint64_t[]){3, 130, 150});
    ClipShape s = {.channels = CHANNEL_VIDEO, .height = 4, .width = 131, .size = 1, .step = 1};
    Err err = {0};
    assert_int_equal(clip_frames(&m, &s, 0, 150, x, &err), NPC_OK);
    for (int t = 0; t < 150; t++)
        for (int row = 0; row < 4; row++)
            for (int column = 0; column < 131; column++) {
                bool inside = row < 3 && column < 130;
                float want = inside ? (float)((row * 130 + column) * 150 + t) : 0;
                assert_true(x[(t * 4 + row) * 131 + column] == want);
            }
}

static void frames_outside_of_the_valid_part_are_refused(void **state)
{
    (void)state;
    TrialMap m = mapped(0);
    ClipShape s = {.channels = CHANNEL_ALL, .height = 8, .width = 8, .size = 5, .step = 3};
    float x[5 * 5 * 64];
    Err early = {0}, late = {0}, many = {0};
    assert_int_equal(clip_input(&m, &s, 11, x, &early), NPC_ERR_INPUT);
    assert_says(early, "trial 0: no window of 13 frames ends at frame 11");
    assert_int_equal(clip_target(&m, &s, 37, x, &late), NPC_ERR_INPUT);
    assert_says(late, "the trial has 37 valid frames");
    assert_int_equal(clip_frames(&m, &s, 30, 8, x, &many), NPC_ERR_INPUT);
    trial_unmap(&m);
}

/* Video, behaviour and pupil apart; a window cut out of the whole trial is the window itself. */
static void inputs_lie_one_behind_the_other(void **state)
{
    (void)state;
    ClipShape s = {.height = 6,
                   .width = 8,
                   .size = 5,
                   .step = 3,
                   .inputs =
                       INPUT_BIT(INPUT_VIDEO) | INPUT_BIT(INPUT_BEHAVIOR) | INPUT_BIT(INPUT_PUPIL)};
    enum { PLANE = 6 * 8, N = 5 * (PLANE + 2 + 2), LENGTH = 37 };
    static float x[N], cut[N], trial[LENGTH * (PLANE + 2 + 2)];
    Err err = {0};
    assert_int_equal(clip_input_elems(&s), N);
    assert_int_equal(clip_frame_elems(&s, LENGTH), sizeof trial / sizeof *trial);
    TrialMap m = mapped(0);
    assert_int_equal(clip_frames(&m, &s, 0, LENGTH, trial, &err), NPC_OK);
    for (uint32_t end = 12; end < LENGTH; end += 8) {
        assert_int_equal(clip_input(&m, &s, end, x, &err), NPC_OK);
        clip_cut(&s, trial, LENGTH, end, cut);
        assert_memory_equal(x, cut, sizeof x);
        for (uint32_t i = 0; i < 5; i++) {
            uint32_t t = end - (4 - i) * 3;
            assert_true(x[i * PLANE + 8 + 2] == (float)tiny_value(VAR_VIDEO, 0, 7 + 2, t));
            for (uint32_t c = 0; c < 2; c++) {
                assert_true(x[5 * PLANE + c * 5 + i] == (float)tiny_value(VAR_BEHAVIOR, 0, c, t));
                assert_true(x[5 * PLANE + 10 + c * 5 + i] == (float)tiny_value(VAR_PUPIL, 0, c, t));
            }
        }
    }
    trial_unmap(&m);
}

static void targets_of_a_short_output_are_the_last_frames(void **state)
{
    (void)state;
    ClipShape s = {.channels = CHANNEL_ALL, .height = 8, .width = 8, .size = 5, .step = 3};
    float all[TINY_NEURONS * 5], last[TINY_NEURONS * 2];
    Err err = {0};
    TrialMap m = mapped(0);
    assert_int_equal(clip_target(&m, &s, 35, all, &err), NPC_OK);
    s.outputs = 2;
    assert_int_equal(clip_target_elems(&s, TINY_NEURONS), 2 * TINY_NEURONS);
    assert_int_equal(clip_target(&m, &s, 35, last, &err), NPC_OK);
    for (int k = 0; k < TINY_NEURONS; k++)
        for (int i = 0; i < 2; i++)
            assert_true(last[k * 2 + i] == all[k * 5 + 3 + i]);
    s.outputs = 6;
    Recording r = {.name = "r", .path = "r", .height = 5, .width = 7};
    assert_int_equal(clip_check(&s, &r, &err), NPC_ERR_INPUT);
    assert_says(err, "predicts 6 frames from windows of 5");
    trial_unmap(&m);
}

static void shapes_that_cannot_be_are_named(void **state)
{
    (void)state;
    Recording r = {.name = "r", .path = "r", .height = 36, .width = 64};
    static const ClipShape bad[] = {
        {.channels = CHANNEL_ALL, .height = 35, .width = 64, .size = 16, .step = 2},
        {.channels = CHANNEL_ALL, .height = 64, .width = 63, .size = 16, .step = 2},
        {.channels = 0, .height = 64, .width = 64, .size = 16, .step = 2},
        {.channels = 8, .height = 64, .width = 64, .size = 16, .step = 2},
        {.channels = CHANNEL_ALL, .height = 64, .width = 64, .size = 0, .step = 2},
        {.channels = CHANNEL_ALL, .height = 64, .width = 64, .size = 16, .step = 0},
        {.channels = CHANNEL_ALL, .height = 4096, .width = 4096, .size = 4096, .step = 1},
        {.channels = CHANNEL_ALL, .height = 1u << 31, .width = 1u << 31, .size = 16, .step = 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Err err = {0};
        assert_int_equal(clip_check(&bad[i], &r, &err), NPC_ERR_INPUT);
    }
    ClipShape published = {
        .channels = CHANNEL_ALL, .height = 64, .width = 64, .size = 16, .step = 2};
    assert_int_equal(clip_check(&published, &r, NULL), NPC_OK);
    assert_int_equal(clip_span(&published), 31);
    assert_int_equal(clip_channels(&published), 5);
}

static int open_folder(void **state)
{
    folder = tiny_folder();
    tiny_write(folder, TRIALS, 2);
    return op_goldens_open(state);
}

static int remove_folder(void **state)
{
    tiny_remove(folder);
    arena_free(&arena);
    return op_goldens_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_input_is_assembled_as_published),
        cmocka_unit_test(a_window_takes_every_step_th_frame_up_to_its_end),
        cmocka_unit_test(channels_can_be_left_out),
        cmocka_unit_test(long_runs_of_frames_cross_tiles),
        cmocka_unit_test(frames_outside_of_the_valid_part_are_refused),
        cmocka_unit_test(inputs_lie_one_behind_the_other),
        cmocka_unit_test(targets_of_a_short_output_are_the_last_frames),
        cmocka_unit_test(shapes_that_cannot_be_are_named),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
