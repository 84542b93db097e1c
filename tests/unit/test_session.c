#include "ir/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const float XYZ[] = {10, 1, 200, 20, 5, 225, 30, 3, 250, 20, 3, 225};

static void coordinates_are_centred_and_share_one_scale(void **state)
{
    (void)state;
    Session s = {.name = "m", .neurons = 4, .coordinates = XYZ, .n_coordinates = 3};
    float xy[8], xyz[12];
    assert_true(session_normalised_coordinates(&s, 2, xy));
    const float want[] = {-1, -0.2f, 0, 0.2f, 1, 0, 0, 0}; /* means 20 and 3, largest 10 */
    for (int i = 0; i < 8; i++)
        assert_float_equal(xy[i], want[i], 1e-7);
    assert_true(session_normalised_coordinates(&s, 3, xyz));
    assert_float_equal(xyz[0], -0.4, 1e-7); /* the depth is the largest now: 25 */
    assert_float_equal(xyz[8], 1, 1e-7);
}

static void more_columns_than_there_are_is_refused(void **state)
{
    (void)state;
    float out[12];
    Session s = {.name = "m", .neurons = 4, .coordinates = XYZ, .n_coordinates = 2};
    assert_false(session_normalised_coordinates(&s, 3, out));
    s.coordinates = NULL;
    assert_false(session_normalised_coordinates(&s, 2, out));
}

static void neurons_in_one_place_are_zeros(void **state)
{
    (void)state;
    const float same[] = {7, 9, 7, 9};
    float out[4] = {1, 1, 1, 1};
    Session s = {.name = "m", .neurons = 2, .coordinates = same, .n_coordinates = 2};
    assert_true(session_normalised_coordinates(&s, 2, out));
    for (int i = 0; i < 4; i++)
        assert_true(out[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coordinates_are_centred_and_share_one_scale),
        cmocka_unit_test(more_columns_than_there_are_is_refused),
        cmocka_unit_test(neurons_in_one_place_are_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
