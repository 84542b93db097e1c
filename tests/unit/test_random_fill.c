/* Bulk random numbers: distribution, and the same values wherever the fill is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "data/philox.h"
#include "data/random_fill.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1 << 20 };

static void moments_are_those_of_the_normal_distribution(void **state)
{
    (void)state;
    float *x = malloc(N * sizeof *x);
    double sum[5] = {0};
    normal_fill(7, philox_stream("core.stem.weight"), 0, N, 0, 1, x);
    for (int i = 0; i < N; i++)
        for (int k = 1; k < 5; k++)
            sum[k] += pow(x[i], k);
    /* five standard errors */
    assert_true(fabs(sum[1] / N) < 5 / sqrt(N));
    assert_true(fabs(sum[2] / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(sum[3] / N) < 5 * sqrt(15.0 / N));
    assert_true(fabs(sum[4] / N - 3) < 5 * sqrt(96.0 / N));
    free(x);
}

/* The exact transform in float64 of the same words. */
static void values_are_box_muller_of_the_philox_words(void **state)
{
    (void)state;
    float x[4096];
    normal_fill(3, 5, 0, 4096, 0, 1, x);
    for (int i = 0; i < 4096; i += 2) {
        Philox d = philox_draw(3, 5, (uint64_t)i / 4);
        uint32_t a = d.v[i % 4], b = d.v[i % 4 + 1];
        double r = sqrt(-2 * log(((a >> 9) + 0.5) * 0x1p-23));
        double t = ((double)((b >> 7) & 0x7FFFFF) + 0.5 - 4194304) * (M_PI / 4 / 4194304) +
                   M_PI / 2 * (b >> 30);
        assert_true(fabs(x[i] - r * sin(t)) < 2e-6);
        assert_true(fabs(x[i + 1] - r * cos(t)) < 2e-6);
    }
}

static void any_cut_gives_the_same_values(void **state)
{
    (void)state;
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    normal_fill(1, 2, 0, 5001, 0.5f, 2, a);
    normal_fill(1, 2, 0, 1236, 0.5f, 2, b);
    normal_fill(1, 2, 1236, 5001 - 1236, 0.5f, 2, b + 1236);
    assert_memory_equal(a, b, 5001 * sizeof *a);
    free(a);
    free(b);
}

/* A number below the rate drops its element. */
static void masks_are_comparisons_of_the_philox_words(void **state)
{
    (void)state;
    uint8_t *x = malloc(5001);
    int dropped = 0;
    mask_fill(3, 5, 4096, 5001, 0.25, x);
    for (int64_t i = 0; i < 5001; i++) {
        Philox d = philox_draw(3, 5, (uint64_t)(4096 + i) / 4);
        bool drops = philox_float(d.v[i % 4]) < 0.25f;
        assert_int_equal(x[i], !drops);
        dropped += drops;
    }
    assert_in_range(dropped, 1250 - 153, 1250 + 153); /* five standard errors */
    free(x);
}

static void bytes_are_those_of_the_philox_words(void **state)
{
    (void)state;
    uint8_t x[100], part[68];
    bytes_fill(3, 5, 1 << 20, 100, x);
    bytes_fill(3, 5, (1 << 20) + 32, 68, part);
    assert_memory_equal(x + 32, part, 68);
    for (int i = 0; i < 100; i++) {
        Philox d = philox_draw(3, 5, (1 << 16) + (uint64_t)i / 16);
        assert_int_equal(x[i], d.v[i % 16 / 4] >> 8 * (i % 4) & 255);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_philox_words),
        cmocka_unit_test(moments_are_those_of_the_normal_distribution),
        cmocka_unit_test(values_are_box_muller_of_the_philox_words),
        cmocka_unit_test(masks_are_comparisons_of_the_philox_words),
        cmocka_unit_test(any_cut_gives_the_same_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
