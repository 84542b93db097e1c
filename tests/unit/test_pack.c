/* Pictures packed as bytes and as floats are found again, bit by bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/pack.h"

enum { PLANES = 3, HEIGHT = 16, WIDTH = 15, OWN_HEIGHT = 11, OWN_WIDTH = 10 };
enum { TOP = 2, LEFT = 2, PIXELS = PLANES * OWN_HEIGHT * OWN_WIDTH };

static const PictureFrame frame = {PLANES, HEIGHT, WIDTH, OWN_HEIGHT, OWN_WIDTH};
static float x[PLANES][HEIGHT][WIDTH];

/* Pixel k of the pictures; what is around them is -1. */
static float *pixel(int k)
{
    int row = k / OWN_WIDTH % OWN_HEIGHT;
    return &x[k / (OWN_HEIGHT * OWN_WIDTH)][TOP + row][LEFT + k % OWN_WIDTH];
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* `n` values, the last of them once, at the end. */
static void make(int n, float (*value)(int))
{
    for (int p = 0; p < PLANES; p++)
        for (int r = 0; r < HEIGHT; r++)
            for (int c = 0; c < WIDTH; c++)
                x[p][r][c] = -1;
    for (int k = 0; k < PIXELS; k++)
        *pixel(k) = value(k * 7 % (n - 1));
    *pixel(PIXELS - 1) = value(n - 1);
}

static void assert_found_again(void)
{
    float palette[PALETTE], floats[PIXELS];
    uint8_t codes[PIXELS];
    pack_floats(&x[0][0][0], &frame, floats);
    assert_true(pack_codes(&x[0][0][0], &frame, codes, palette));
    for (int k = 0; k < PIXELS; k++) {
        assert_memory_equal(pixel(k), &floats[k], sizeof *floats);
        assert_memory_equal(pixel(k), &palette[codes[k]], sizeof *palette);
    }
}

static float shade(int i)
{
    return (float)i;
}

static float standardised(int i)
{
    return ((float)i - 101.3f) * 0.0173f;
}

/* Zeros of both signs, infinities, numbers that are none, and numbers whose hashes are near. */
static float strange(int i)
{
    static const uint32_t bits[] = {0,          0x80000000, 0x7f800000, 0xff800000,
                                    0x7fc00000, 0x7fc00001, 1,          0x00800000};
    return from_bits(i < 8 ? bits[i] : 0x40000000u + (uint32_t)i);
}

static void few_values_become_bytes(void **state)
{
    (void)state;
    static float (*const value[])(int) = {shade, standardised, strange};
    static const int n[] = {2, 9, 255, 256};
    for (size_t v = 0; v < sizeof value / sizeof *value; v++)
        for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
            make(n[i], value[v]);
            assert_found_again();
        }
}

static void more_values_do_not(void **state)
{
    (void)state;
    float palette[PALETTE], floats[PIXELS];
    uint8_t codes[PIXELS];
    make(PALETTE + 1, shade);
    assert_false(pack_codes(&x[0][0][0], &frame, codes, palette));
    pack_floats(&x[0][0][0], &frame, floats);
    for (int k = 0; k < PIXELS; k++)
        assert_memory_equal(pixel(k), &floats[k], sizeof *floats);
}

/* A palette keeps what no pixel has; pictures may be as large as planes, or empty. */
static void sizes_of_frames(void **state)
{
    (void)state;
    float palette[PALETTE] = {[2] = 5};
    uint8_t codes[PLANES * HEIGHT * WIDTH];
    const PictureFrame whole = {PLANES, HEIGHT, WIDTH, HEIGHT, WIDTH}, none = {PLANES, 2, 3, 0, 0};
    make(2, shade);
    assert_true(pack_codes(&x[0][0][0], &frame, codes, palette));
    assert_true(palette[0] == 0 && palette[1] == 1 && palette[2] == 5);
    assert_true(pack_codes(&x[0][0][0], &whole, codes, palette));
    assert_true(palette[0] == -1 && palette[codes[sizeof codes - 1]] == -1);
    assert_true(palette[codes[TOP * WIDTH + LEFT]] == 0);
    assert_true(pack_codes(&x[0][0][0], &none, codes, palette));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_values_become_bytes),
        cmocka_unit_test(more_values_do_not),
        cmocka_unit_test(sizes_of_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
