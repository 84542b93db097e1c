/* Rounding of numbers with fewer bits, against the definition: the nearest representable number,
 * of two equally near ones the even. */
#include "ir/storage.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void every_short_number_survives(void **state)
{
    (void)state;
    for (int i = 0; i < 65536; i++) {
        uint16_t x = (uint16_t)i;
        float b = bf16_to_float(x), h = f16_to_float(x);
        if (!isnan(b))
            assert_int_equal(float_to_bf16(b), x);
        else
            assert_true(isnan(bf16_to_float(float_to_bf16(b))));
        if (!isnan(h))
            assert_int_equal(float_to_f16(h), x);
        else
            assert_true(isnan(f16_to_float(float_to_f16(h))));
    }
}

/* Between neighbours a < b of a type, numbers around the middle. */
static void check_middle(double a, double b, double (*round)(float), bool a_is_even)
{
    float middle = (float)((a + b) / 2);
    assert_true(round(nextafterf(middle, (float)a)) == a);
    assert_true(round(nextafterf(middle, (float)b)) == b);
    assert_true(round(middle) == (a_is_even ? a : b));
}

static double by_bf16(float x)
{
    return (double)bf16_to_float(float_to_bf16(x));
}

static double by_f16(float x)
{
    return (double)f16_to_float(float_to_f16(x));
}

static double by_tf32(float x)
{
    return (double)float_to_tf32(x);
}

static void ties_go_to_even(void **state)
{
    (void)state;
    for (uint16_t i = 1; i < 0x7f7f; i++)
        check_middle((double)bf16_to_float(i), (double)bf16_to_float(i + 1), by_bf16, i % 2 == 0);
    for (uint16_t i = 0; i < 0x7bff; i++)
        check_middle((double)f16_to_float(i), (double)f16_to_float(i + 1), by_f16, i % 2 == 0);
    for (int i = 0; i < 1024; i++)
        check_middle(1 + i * 0x1p-10, 1 + (i + 1) * 0x1p-10, by_tf32, i % 2 == 0);
}

static void the_largest_half_overflows_at_its_middle(void **state)
{
    (void)state;
    assert_true(by_f16(65504) == 65504);
    assert_true(by_f16(nextafterf(65520, 0)) == 65504);
    assert_true(isinf(by_f16(65520)) && isinf(by_f16(-INFINITY)) && by_f16(-1e9f) < 0);
    assert_true(isinf(by_bf16(INFINITY)) && isinf(by_bf16(3.4e38f)));
}

static void stored_numbers_are_read_back(void **state)
{
    (void)state;
    uint16_t two[2] = {0};
    float one[2] = {0};
    storage_write(two, STORAGE_BF16, 1, 1.5f);
    assert_int_equal(two[0], 0);
    assert_int_equal(two[1], 0x3fc0);
    assert_true(storage_read(two, STORAGE_BF16, 1) == 1.5f);
    storage_write(two, STORAGE_F16, 0, 1.5f);
    assert_int_equal(two[0], 0x3e00);
    storage_write(one, STORAGE_F32, 1, 0.1f);
    assert_true(storage_read(one, STORAGE_F32, 1) == 0.1f);
    assert_true(math_round(MATH_F32, 0.1f) == 0.1f);
    assert_true(math_round(MATH_BF16, 0.1f) == bf16_to_float(float_to_bf16(0.1f)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_short_number_survives),
        cmocka_unit_test(ties_go_to_even),
        cmocka_unit_test(the_largest_half_overflows_at_its_middle),
        cmocka_unit_test(stored_numbers_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
