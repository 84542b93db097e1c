#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "data/picture.h"
#include "tests/unit/scratch.h"

/* The font library keeps its cache until the end of the process. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

static unsigned char file[1 << 20];

static void draw_line(const char *name, const double *x, const double *y, size_t n)
{
    Err err = {0};
    if (!picture_available())
        skip();
    if (picture_line(scratch_path(name), "title", "time (s)", "rate", x, y, n, &err) != NPC_OK)
        fail_msg("%s", err.text);
}

static void without_cairo_a_sentence_says_so(void **state)
{
    (void)state;
    Err err = {0};
    const double x[] = {0, 1};
    if (picture_available())
        skip();
    assert_int_equal(picture_line(scratch_path("a.png"), NULL, NULL, NULL, x, x, 2, &err),
                     NPC_ERR_USAGE);
    assert_non_null(strstr(err.text, "libcairo2-dev"));
}

static void a_png_is_a_png(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2}, y[] = {3, 1, 2};
    draw_line("a.png", x, y, 3);
    assert_true(scratch_read("a.png", file, sizeof file) > 1000);
    assert_memory_equal(file, "\x89PNG\r\n\x1a\n", 8);
}

static void maps_lie_over_pictures(void **state)
{
    (void)state;
    Err err = {0};
    const char *const caption[] = {"one", "two", "three"};
    double map[3 * 2 * 4] = {0, 1, NAN, -1, 7};
    float behind[3 * 3 * 5] = {0, 255, 300};
    const double x[] = {0, 1}, y[] = {2, 3};
    PictureSeries line = {.x = x, .y = y, .n = 2, .look = PICTURE_LINE};
    PicturePanel panel = {.title = "below", .series = &line, .n_series = 1, .mark_x = NAN};
    PictureMaps m = {.title = "a title that is longer than the two maps beside each other are wide",
                     .n = 3,
                     .columns = 2,
                     .caption = caption,
                     .map = map,
                     .height = 2,
                     .width = 4,
                     .behind = behind,
                     .behind_height = 3,
                     .behind_width = 5,
                     .panel = &panel,
                     .n_panels = 1};
    Status s = picture_maps(scratch_path("maps.png"), &m, &err);
    if (!picture_available()) {
        assert_int_equal(s, NPC_ERR_USAGE);
        return;
    }
    assert_int_equal(s, NPC_OK);
    assert_true(scratch_read("maps.png", file, sizeof file) > 1000);
    m.columns = 0;
    assert_int_equal(picture_maps(scratch_path("maps.png"), &m, &err), NPC_ERR_INPUT);
}

static void an_svg_is_an_svg(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2}, y[] = {3, 1, 2};
    draw_line("a.svg", x, y, 3);
    size_t n = scratch_read("a.svg", file, sizeof file - 1);
    file[n] = 0;
    assert_non_null(strstr((char *)file, "<svg"));
    assert_non_null(strstr((char *)file, "</svg>"));
    for (const char *p = (char *)file; (p = strstr(p, "nan")); p++)
        fail_msg("a number of the drawing is not finite");
}

/* The places where ranges degenerate. */
static void odd_data_are_drawn_without_nonsense(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3}, gaps[] = {NAN, 1, INFINITY, 2}, none[] = {NAN, NAN, NAN, NAN};
    const double same[] = {7, 7, 7, 7}, huge[] = {-1e300, 1e300, 0, 1}, tiny[] = {0, 1e-300, 0, 0};
    const double wide[] = {-1.7e308, 1.7e308, 0, 1};
    const double *const all[] = {gaps, none, same, huge, tiny, wide, x};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t n = 0; n <= 4; n++) {
            draw_line("odd.svg", x, all[i], n);
            draw_line("odd.svg", all[i], x, n);
        }
}

static void many_points_stay_a_small_file(void **state)
{
    (void)state;
    static double x[200000], y[200000];
    for (int i = 0; i < 200000; i++) {
        x[i] = i;
        y[i] = sin(i * 0.1) + i % 7;
    }
    draw_line("many.svg", x, y, 200000);
    assert_in_range(scratch_read("many.svg", file, sizeof file), 1000, 200000);
}

static void a_training_curve_is_drawn_from_the_first_step_on(void **state)
{
    (void)state;
    static double step[500], loss[500], score[20];
    Err err = {0};
    if (!picture_available())
        skip();
    for (int i = 0; i < 500; i++) {
        step[i] = i;
        loss[i] = 3000 * exp(-i / 50.0) + 3;
    }
    for (int i = 0; i < 20; i++)
        score[i] = 0.3 - 1.0 / (i + 4);
    for (size_t n = 0; n <= 500; n += 100) {
        PictureTraining t = {"run", step, loss, n, step, score, n / 25, n ? 25.0 : 0};
        assert_int_equal(picture_training(scratch_path("training.png"), &t, &err), NPC_OK);
    }
}

static void traces_are_drawn(void **state)
{
    (void)state;
    float recorded[2 * 30], predicted[2 * 30];
    Err err = {0};
    if (!picture_available())
        skip();
    for (int i = 0; i < 60; i++) {
        recorded[i] = i == 7 ? NAN : (float)(i % 5);
        predicted[i] = i < 30 ? 1 : (float)(i % 7);
    }
    PictureTraces t = {"trial \xff 12", 2, 30, predicted, recorded, NULL, 30, 1.5};
    assert_int_equal(picture_traces(scratch_path("traces.svg"), &t, &err), NPC_OK);
}

static void another_ending_is_refused(void **state)
{
    (void)state;
    const double x[] = {0, 1};
    Err err = {0};
    if (!picture_available())
        skip();
    assert_int_equal(picture_line(scratch_path("a.jpg"), NULL, NULL, NULL, x, x, 2, &err),
                     NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, ".png or .svg"));
}

static void a_folder_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    const double x[] = {0, 1};
    Err err = {0};
    if (!picture_available())
        skip();
    assert_int_not_equal(picture_line(scratch_path("no/a.png"), NULL, NULL, NULL, x, x, 2, &err),
                         NPC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_cairo_a_sentence_says_so),
        cmocka_unit_test(a_png_is_a_png),
        cmocka_unit_test(maps_lie_over_pictures),
        cmocka_unit_test(an_svg_is_an_svg),
        cmocka_unit_test(odd_data_are_drawn_without_nonsense),
        cmocka_unit_test(many_points_stay_a_small_file),
        cmocka_unit_test(a_training_curve_is_drawn_from_the_first_step_on),
        cmocka_unit_test(traces_are_drawn),
        cmocka_unit_test(another_ending_is_refused),
        cmocka_unit_test(a_folder_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
