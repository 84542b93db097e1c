#include "tests/unit/op_golden.h"

#include "runtime/cutmix.h"

/* The draws of the golden cases (their metadata "attributes"); frames are 16 x 16. */
static const struct {
    double share;
    uint32_t row, column;
} CASES[] = {{0.37, 5, 14}, {0.9, 0, 15}, {0.01, 8, 8}, {0.9999, 8, 8}, {0.002, 3, 3}};
enum { N_CASES = sizeof CASES / sizeof *CASES, SIZE = 16, PLANES = 4, TARGETS = 6 };

static const char *role(int i, const char *what)
{
    static char name[40];
    snprintf(name, sizeof name, "cutmix/%d/%s", i, what);
    return name;
}

static void boxes_are_the_published_ones(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        CutmixBox b = cutmix_box(SIZE, SIZE, CASES[i].share, CASES[i].row, CASES[i].column);
        const int32_t *want = op_ints(role(i, "box"));
        assert_int_equal(b.top, want[0]);
        assert_int_equal(b.bottom, want[1]);
        assert_int_equal(b.left, want[2]);
        assert_int_equal(b.right, want[3]);
    }
}

static void clips_and_targets_mix_as_published(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        float x[PLANES * SIZE * SIZE], y[TARGETS];
        memcpy(x, op_floats(role(i, "x")), sizeof x);
        memcpy(y, op_floats(role(i, "y")), sizeof y);
        CutmixBox b = cutmix_box(SIZE, SIZE, CASES[i].share, CASES[i].row, CASES[i].column);
        cutmix_input(x, op_floats(role(i, "partner_x")), PLANES, SIZE, SIZE, &b);
        cutmix_target(y, op_floats(role(i, "partner_y")), TARGETS, cutmix_share(&b, SIZE, SIZE));
        assert_memory_equal(x, op_floats(role(i, "out_x")), sizeof x);
        assert_near(y, op_floats(role(i, "out_y")), TARGETS, 6e-8); /* one rounding */
    }
}

static void boxes_stay_inside_oblong_frames(void **state)
{
    (void)state;
    for (uint32_t row = 0; row < 5; row++)
        for (uint32_t column = 0; column < 9; column++)
            for (int k = 0; k <= 10; k++) {
                CutmixBox b = cutmix_box(5, 9, k / 10.0, row, column);
                assert_true(b.top <= b.bottom && b.bottom <= 5);
                assert_true(b.left <= b.right && b.right <= 9);
                double share = cutmix_share(&b, 5, 9);
                assert_true(share >= 0 && share <= 1);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_are_the_published_ones),
        cmocka_unit_test(clips_and_targets_mix_as_published),
        cmocka_unit_test(boxes_stay_inside_oblong_frames),
    };
    return cmocka_run_group_tests(tests, op_goldens_open, op_goldens_close);
}
