#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/progress.h"

static double clock_now;

static double fake_clock(void)
{
    return clock_now;
}

static char *text;
static size_t text_bytes;

static void open_progress(Progress *p, ProgressMode mode, uint64_t total)
{
    clock_now = 1000;
    FILE *out = open_memstream(&text, &text_bytes);
    progress_open(p, out, mode, total);
    p->now = fake_clock;
}

static void close_progress(Progress *p)
{
    progress_close(p);
    fclose(p->out);
    free(text);
}

static ProgressState at_step(uint64_t step)
{
    return (ProgressState){
        .stage = "train", .epoch = 2, .n_epochs = 5, .step = step, .loss = 1.25, .score = NAN};
}

static void advance(Progress *p, double seconds, uint64_t step)
{
    ProgressState s = at_step(step);
    clock_now += seconds;
    progress_update(p, &s);
}

static int count_lines(void)
{
    int n = 0;
    for (size_t i = 0; i < text_bytes; i++)
        n += text[i] == '\n';
    return n;
}

static void durations_read_well(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {{0.2, "0 s"},     {59, "59 s"},         {65, "1 min 05 s"},
                {1800, "30 min"}, {8040, "2 h 14 min"}, {183600, "2 d 3 h"},
                {NAN, "0 s"},     {INFINITY, "0 s"},    {-5, "0 s"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[40];
        progress_duration(out, sizeof out, rows[i].seconds);
        assert_string_equal(out, rows[i].text);
    }
}

static void the_first_line_appears_at_once(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_AUTO, 100);
    advance(&p, 0, 1);
    assert_int_equal(p.mode, PROGRESS_LINES);
    assert_int_equal(count_lines(), 1);
    assert_non_null(strstr(text, "train  epoch 2/5  step 1/100 (1.0 %)  loss 1.25"));
    assert_null(strstr(text, "score"));
    assert_null(strstr(text, "left"));
    close_progress(&p);
}

static void lines_come_at_sensible_intervals(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_LINES, 1000000);
    for (uint64_t step = 1; step <= 10000; step++)
        advance(&p, 0.01, step); /* 100 s, 1 % */
    assert_in_range(count_lines(), 4, 5);
    close_progress(&p);

    open_progress(&p, PROGRESS_LINES, 10000);
    for (uint64_t step = 1; step <= 10000; step++)
        advance(&p, 0.01, step); /* 100 s, 100 % */
    assert_in_range(count_lines(), 18, 22);
    close_progress(&p);
}

static void the_last_step_is_always_shown_once(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_LINES, 3);
    advance(&p, 0, 1);
    advance(&p, 0.1, 2);
    advance(&p, 0.1, 3);
    advance(&p, 0.1, 3);
    assert_int_equal(count_lines(), 2);
    assert_non_null(strstr(text, "step 3/3 (100.0 %)"));
    assert_non_null(strstr(text, "0 s left"));
    close_progress(&p);
}

static void the_time_left_covers_the_whole_recipe(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_QUIET, 1000);
    assert_true(isnan(progress_seconds_left(&p)));
    advance(&p, 30, 1); /* compiles: not counted */
    for (uint64_t step = 2; step <= 100; step++)
        advance(&p, 2, step);
    assert_true(fabs(progress_seconds_left(&p) - 1800) < 1);
    close_progress(&p);
}

static void a_resumed_run_counts_only_what_is_left(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_QUIET, 1000);
    advance(&p, 3, 900);
    for (uint64_t step = 901; step <= 910; step++)
        advance(&p, 2, step);
    assert_true(fabs(progress_seconds_left(&p) - 180) < 1);
    close_progress(&p);
}

static void pauses_for_validation_are_part_of_the_time_left(void **state)
{
    (void)state;
    Progress p;
    double low = INFINITY, high = 0;
    open_progress(&p, PROGRESS_QUIET, 100000);
    for (uint64_t step = 1; step <= 20000; step++) {
        advance(&p, step % 1000 ? 0.1 : 50, step); /* 150 s per 1000 steps */
        double predicted = progress_seconds_left(&p) + clock_now - 1000;
        if (step > 10000) {
            low = fmin(low, predicted);
            high = fmax(high, predicted);
        }
    }
    assert_true(low > 15000 * 0.9 && high < 15000 * 1.1);
    close_progress(&p);
}

static void the_time_left_follows_a_change_of_pace(void **state)
{
    (void)state;
    Progress p;
    uint64_t step = 0;
    open_progress(&p, PROGRESS_QUIET, 100000);
    while (step < 1000)
        advance(&p, 0.1, ++step);
    while (step < 2000)
        advance(&p, 1, ++step);
    double left = progress_seconds_left(&p);
    assert_true(left > 0.9 * 98000 && left < 1.01 * 98000);
    close_progress(&p);
}

static void speed_memory_and_score_are_shown(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_LINES, 100);
    ProgressState s = at_step(1);
    s.score = 0.24125;
    s.clips = 32;
    s.device_bytes = 3ull << 30;
    progress_update(&p, &s);
    clock_now += 40;
    s.step = 11;
    s.clips = 352;
    progress_update(&p, &s);
    assert_non_null(strstr(text, "score 0.241"));
    assert_non_null(strstr(text, "8 clips/s"));
    assert_non_null(strstr(text, "3.0 GiB device"));
    assert_non_null(strstr(text, "5 min 56 s left"));
    close_progress(&p);
}

static void quiet_prints_nothing(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_QUIET, 100);
    advance(&p, 100, 1);
    progress_note(&p, "epoch %d done", 1);
    progress_close(&p);
    fflush(p.out);
    assert_int_equal(text_bytes, 0);
    close_progress(&p);
}

static void a_closed_stream_is_quiet(void **state)
{
    (void)state;
    Progress p;
    FILE *f = fopen("/dev/null", "w");
    close(fileno(f));
    progress_open(&p, f, PROGRESS_AUTO, 10);
    assert_int_equal(p.mode, PROGRESS_QUIET);
    progress_open(&p, NULL, PROGRESS_BAR, 10);
    assert_int_equal(p.mode, PROGRESS_QUIET);
}

static void a_failing_stream_becomes_quiet(void **state)
{
    (void)state;
    Progress p;
    FILE *f = fopen("/dev/full", "w");
    if (!f)
        skip();
    progress_open(&p, f, PROGRESS_AUTO, 10);
    ProgressState s = at_step(1);
    progress_update(&p, &s);
    assert_int_equal(p.mode, PROGRESS_QUIET);
    fclose(f);
}

/* A pseudo terminal of a given width. */
static FILE *open_terminal(int *master, unsigned short columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    *master = posix_openpt(O_RDWR | O_NOCTTY);
    if (*master < 0 || grantpt(*master) < 0 || unlockpt(*master) < 0)
        return NULL;
    FILE *f = fopen(ptsname(*master), "w");
    if (f)
        ioctl(fileno(f), TIOCSWINSZ, &size);
    return f;
}

static void a_terminal_gets_one_line_that_fits(void **state)
{
    (void)state;
    setenv("TERM", "xterm", 1);
    for (unsigned short width = 10; width < 200; width += 19) {
        int master;
        char out[4096];
        Progress p;
        FILE *f = open_terminal(&master, width);
        if (!f)
            skip();
        clock_now = 5;
        progress_open(&p, f, PROGRESS_AUTO, 100);
        p.now = fake_clock;
        assert_int_equal(p.mode, PROGRESS_BAR);
        advance(&p, 1, 50);
        ssize_t n = read(master, out, sizeof out - 1);
        assert_true(n > 0);
        out[n] = 0;
        assert_null(strchr(out, '\n'));
        assert_int_equal(out[0], '\r');
        char *end = strstr(out, "\033[K");
        assert_non_null(end);
        assert_true(end - out - 1 < width);
        if (width > 90)
            assert_non_null(strstr(out, "[##########----------]"));
        fclose(f);
        close(master);
    }
}

static void a_note_does_not_garble_the_bar(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_BAR, 100);
    advance(&p, 1, 1);
    progress_note(&p, "careful");
    advance(&p, 0.01, 2);
    progress_close(&p);
    fflush(p.out);
    assert_non_null(strstr(text, "\r\033[Kcareful\n\rtrain"));
    assert_int_equal(text[text_bytes - 1], '\n');
    close_progress(&p);
}

static void the_bar_is_drawn_at_most_ten_times_a_second(void **state)
{
    (void)state;
    Progress p;
    open_progress(&p, PROGRESS_BAR, 100000);
    for (uint64_t step = 1; step <= 10000; step++)
        advance(&p, 0.001, step);
    assert_in_range(p.n_shown, 90, 101);
    close_progress(&p);
}

static void memory_is_known(void **state)
{
    (void)state;
    assert_in_range(progress_memory(), 100 << 10, 1ull << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_read_well),
        cmocka_unit_test(the_first_line_appears_at_once),
        cmocka_unit_test(lines_come_at_sensible_intervals),
        cmocka_unit_test(the_last_step_is_always_shown_once),
        cmocka_unit_test(the_time_left_covers_the_whole_recipe),
        cmocka_unit_test(a_resumed_run_counts_only_what_is_left),
        cmocka_unit_test(pauses_for_validation_are_part_of_the_time_left),
        cmocka_unit_test(the_time_left_follows_a_change_of_pace),
        cmocka_unit_test(speed_memory_and_score_are_shown),
        cmocka_unit_test(quiet_prints_nothing),
        cmocka_unit_test(a_closed_stream_is_quiet),
        cmocka_unit_test(a_failing_stream_becomes_quiet),
        cmocka_unit_test(a_terminal_gets_one_line_that_fits),
        cmocka_unit_test(a_note_does_not_garble_the_bar),
        cmocka_unit_test(the_bar_is_drawn_at_most_ten_times_a_second),
        cmocka_unit_test(memory_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
