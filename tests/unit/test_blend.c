#include "tests/unit/op_golden.h"

#include "data/blend.h"

static void windows_average_as_published(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {31, 32, 50};
    for (int i = 0; i < 3; i++) {
        char name[40];
        float sum[2 * 50] = {0};
        Blend b = {.length = lengths[i], .size = 16, .step = 2, .n_neurons = 2};
        snprintf(name, sizeof name, "blend/l%u/windows", b.length);
        const float *windows = op_floats(name);
        snprintf(name, sizeof name, "blend/l%u/ends", b.length);
        const int32_t *ends = op_ints(name);
        assert_int_equal(blend_windows(&b), op_golden(name)->elems);
        for (uint32_t k = 0; k < blend_windows(&b); k++) {
            assert_int_equal(ends[k], blend_first_end(&b) + k);
            blend_add(&b, sum, windows + k * 2 * 16, (uint32_t)ends[k]);
        }
        blend_finish(&b, sum);
        snprintf(name, sizeof name, "blend/l%u/out", b.length);
        assert_near(sum, op_floats(name), 2 * b.length, 6e-8);
    }
}

static void frames_are_counted_as_windows_cover_them(void **state)
{
    (void)state;
    Blend b = {.length = 100, .size = 16, .step = 2, .n_neurons = 1};
    assert_int_equal(blend_count(&b, 0), 1);
    assert_int_equal(blend_count(&b, 1), 1);
    assert_int_equal(blend_count(&b, 2), 2);
    assert_int_equal(blend_count(&b, 50), 16);
    assert_int_equal(blend_count(&b, 97), 2);
    assert_int_equal(blend_count(&b, 98), 1);
    assert_int_equal(blend_count(&b, 99), 1);
}

/* The trials of the competition, windows of 30 frames that predict 15 (specs/dynamic-v1fm.md 5). */
static void stitched_windows_lie_as_published(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {299, 239, 300, 95, 110, 66, 30};
    for (int i = 0; i < 7; i++) {
        Blend b = {.length = lengths[i],
                   .size = 30,
                   .step = 1,
                   .n_neurons = 1,
                   .outputs = 15,
                   .is_stitched = true,
                   .from = 50};
        float sum[300] = {0}, window[15];
        uint32_t start = 35, n = 0;
        for (uint32_t end = 0; end < b.length; end++) {
            if (!blend_takes(&b, end))
                continue;
            if (end >= 64 && start + 30 <= b.length) { /* then one that ends with the trial */
                assert_int_equal(end, start + 29);
                start += 15;
            } else if (end > 64)
                assert_int_equal(end, b.length - 1);
            for (uint32_t k = 0; k < 15; k++)
                window[k] = (float)(1000 * end + end - 14 + k);
            blend_add(&b, sum, window, end);
            n++;
        }
        assert_int_equal(n, blend_windows(&b));
        blend_finish(&b, sum);
        uint32_t rest = b.length < 50 ? 0 : (b.length - 50) % 15;
        for (uint32_t t = 0; t < b.length; t++) {
            uint32_t end = t >= b.length - rest ? b.length - 1
                           : t < 50             ? 0
                                                : 64 + (t - 50) / 15 * 15;
            assert_int_equal(blend_count(&b, t), t >= 15);
            assert_int_equal((uint32_t)sum[t] % 1000, t >= 15 ? t : 0);
            if (t >= 50)
                assert_int_equal((uint32_t)sum[t] / 1000, end);
        }
    }
}

static void stitched_windows_of_every_other_frame_cover_all(void **state)
{
    (void)state;
    for (uint32_t length = 31; length < 80; length++) {
        Blend b = {.length = length,
                   .size = 16,
                   .step = 2,
                   .n_neurons = 1,
                   .is_stitched = true,
                   .from = length % 50};
        for (uint32_t t = 0; t < length; t++)
            assert_int_equal(blend_count(&b, t), length > 31 || t % 2 == 0);
    }
}

static void a_trial_shorter_than_the_window_stays_zero(void **state)
{
    (void)state;
    for (uint32_t length = 0; length <= 30; length++) {
        float sum[31] = {0}, zero[31] = {0};
        Blend b = {.length = length, .size = 16, .step = 2, .n_neurons = 1};
        assert_int_equal(blend_windows(&b), 0);
        blend_finish(&b, sum);
        assert_memory_equal(sum, zero, sizeof sum);
    }
}

static void precision_is_the_published_factor(void **state)
{
    (void)state;
    float out[9];
    response_precision(op_floats("precision/nine/std"), 9, out);
    assert_near(out, op_floats("precision/nine/out"), 9, 1.2e-7);
}

static void precision_has_a_floor_where_std_is_nan(void **state)
{
    (void)state;
    float std[4] = {1, NAN, 3, 0}, out[4];
    response_precision(std, 4, out); /* mean of the three numbers 4/3, floor 4/300 */
    assert_true(out[0] == 1);
    assert_near(&out[1], (float[]){75}, 1, 1e-6);
    assert_near(&out[2], (float[]){1.0f / 3}, 1, 1e-6);
    assert_near(&out[3], (float[]){75}, 1, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_average_as_published),
        cmocka_unit_test(stitched_windows_lie_as_published),
        cmocka_unit_test(stitched_windows_of_every_other_frame_cover_all),
        cmocka_unit_test(frames_are_counted_as_windows_cover_them),
        cmocka_unit_test(a_trial_shorter_than_the_window_stays_zero),
        cmocka_unit_test(precision_is_the_published_factor),
        cmocka_unit_test(precision_has_a_floor_where_std_is_nan),
    };
    return cmocka_run_group_tests(tests, op_goldens_open, op_goldens_close);
}
