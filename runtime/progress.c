#include "runtime/progress.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static double monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_closed(FILE *out)
{
    int fd = out ? fileno(out) : -1;
    return !out || (fd >= 0 && fcntl(fd, F_GETFD) < 0);
}

static bool is_capable_terminal(FILE *out)
{
    const char *term = getenv("TERM");
    return isatty(fileno(out)) && term && *term && strcmp(term, "dumb");
}

void progress_open(Progress *p, FILE *out, ProgressMode mode, uint64_t total)
{
    if (is_closed(out))
        mode = PROGRESS_QUIET;
    if (mode == PROGRESS_AUTO)
        mode = is_capable_terminal(out) ? PROGRESS_BAR : PROGRESS_LINES;
    *p = (Progress){
        .out = out, .mode = mode, .total = total, .now = monotonic, .opened = NAN, .shown_at = NAN};
}

/* ---- pace ---- */

/* Time constant of the fading, s: long enough to span a validation of a short run, and growing with
 * the run so that the time left does not jump at every validation of a long one. */
static double memory_seconds(double elapsed)
{
    return elapsed < 400 ? 120 : 0.3 * elapsed;
}

static void note_pace(Progress *p, const ProgressState *s)
{
    double now = p->now(), passed = now - p->at;
    if (isnan(p->opened)) {
        p->opened = now;
    } else {
        double fade = exp(-passed / memory_seconds(now - p->opened));
        double steps = s->step > p->step ? (double)(s->step - p->step) : 0;
        double clips = s->clips > p->clips ? (double)(s->clips - p->clips) : 0;
        p->seconds = p->seconds * fade + passed;
        p->steps = p->steps * fade + steps;
        p->n_clips = p->n_clips * fade + clips;
    }
    p->at = now;
    p->step = s->step;
    p->clips = s->clips;
}

double progress_seconds_left(const Progress *p)
{
    uint64_t left = p->total > p->step ? p->total - p->step : 0;
    if (!left)
        return 0;
    return p->steps > 0 ? (double)left * p->seconds / p->steps : NAN;
}

void progress_duration(char *out, size_t size, double seconds)
{
    long long s = seconds > 0 && seconds < 1e12 ? llround(seconds) : 0;
    if (s < 60)
        snprintf(out, size, "%lld s", s);
    else if (s < 600)
        snprintf(out, size, "%lld min %02lld s", s / 60, s % 60);
    else if (s < 3600)
        snprintf(out, size, "%lld min", s / 60);
    else if (s < 86400)
        snprintf(out, size, "%lld h %lld min", s / 3600, s / 60 % 60);
    else
        snprintf(out, size, "%lld d %lld h", s / 86400, s / 3600 % 24);
}

uint64_t progress_memory(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- the line ---- */

/* A part of the line; in a narrow terminal parts of a high rank go first. */
typedef struct Part {
    int rank;
    char text[80];
} Part;

enum { PARTS = 10, BAR_WIDTH = 20 };

typedef struct Line {
    Part part[PARTS];
    int n, bar_after; /* index of the part the bar stands behind */
} Line;

__attribute__((format(printf, 3, 4))) static void add(Line *l, int rank, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    l->part[l->n].rank = rank;
    vsnprintf(l->part[l->n++].text, sizeof l->part->text, fmt, args);
    va_end(args);
}

static double fraction(const Progress *p)
{
    return p->total ? fmin((double)p->step / (double)p->total, 1) : 0;
}

static void add_memory(Line *l, const char *where, uint64_t bytes)
{
    bool large = bytes >= 1u << 30;
    double unit = large ? 1 << 30 : 1 << 20;
    if (bytes)
        add(l, 7, "%.*f %s%s", large, (double)bytes / unit, large ? "GiB" : "MiB", where);
}

static Line make_line(const Progress *p, const ProgressState *s)
{
    Line l = {0};
    add(&l, 1, "%.40s", s->stage ? s->stage : "");
    if (s->epoch && s->n_epochs)
        add(&l, 5, "epoch %u/%u", s->epoch, s->n_epochs);
    l.bar_after = l.n;
    add(&l, 0, "step %llu/%llu", (unsigned long long)s->step, (unsigned long long)p->total);
    if (!isnan(s->loss))
        add(&l, 3, "loss %.5g", s->loss);
    if (!isnan(s->score))
        add(&l, 4, "score %.4f", s->score);
    if (s->clips && p->n_clips > 0 && p->seconds > 0)
        add(&l, 6, "%.3g clips/s", p->n_clips / p->seconds);
    add_memory(&l, "", progress_memory());
    add_memory(&l, " device", s->device_bytes);
    double left = progress_seconds_left(p);
    if (!isnan(left)) {
        char text[40];
        progress_duration(text, sizeof text, left);
        add(&l, 2, "%s left", text);
    }
    return l;
}

static size_t line_width(const Line *l)
{
    size_t width = 0;
    for (int i = 0; i < l->n; i++)
        width += strlen(l->part[i].text) + 2 * (i > 0);
    return width;
}

static void drop_least(Line *l)
{
    int least = 0;
    for (int i = 1; i < l->n; i++)
        if (l->part[i].rank >= l->part[least].rank)
            least = i;
    if (least < l->bar_after)
        l->bar_after--;
    l->n--;
    memmove(&l->part[least], &l->part[least + 1], (size_t)(l->n - least) * sizeof *l->part);
}

static size_t terminal_width(FILE *out)
{
    struct winsize w;
    return ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

static void put_bar(FILE *out, double part, int width)
{
    int full = (int)(part * width);
    fputs(" [", out);
    for (int i = 0; i < width; i++)
        putc(i < full ? '#' : '-', out);
    putc(']', out);
}

static void show_bar(Progress *p, Line *l)
{
    size_t room = terminal_width(p->out) - 1;
    while (l->n > 1 && line_width(l) > room)
        drop_least(l);
    size_t width = line_width(l), bar = room > width + 3 ? room - width - 3 : 0;
    fputs("\r", p->out);
    for (int i = 0; i < l->n; i++) {
        fprintf(p->out, "%s%.*s", i ? "  " : "", (int)room, l->part[i].text);
        if (i == l->bar_after && bar >= 5)
            put_bar(p->out, fraction(p), bar < BAR_WIDTH ? (int)bar : BAR_WIDTH);
    }
    fputs("\033[K", p->out); /* erase what an earlier, longer line left */
    p->line_open = true;
}

static void show_line(Progress *p, const Line *l)
{
    for (int i = 0; i < l->n; i++) {
        fprintf(p->out, "%s%s", i ? "  " : "", l->part[i].text);
        if (i == l->bar_after)
            fprintf(p->out, " (%.1f %%)", 100 * fraction(p));
    }
    putc('\n', p->out);
}

static void finish_output(Progress *p)
{
    if (fflush(p->out) != 0 || ferror(p->out))
        p->mode = PROGRESS_QUIET; /* nobody reads any more */
}

static bool is_due(const Progress *p)
{
    double waited = p->at - p->shown_at, moved = fraction(p) - p->shown_fraction;
    if (!p->n_shown)
        return true;
    if (moved > 0 && p->total && p->step >= p->total)
        return true; /* the last step */
    if (p->mode == PROGRESS_BAR)
        return waited >= 0.1;
    return waited >= 30 || (waited >= 5 && moved >= 0.02);
}

void progress_update(Progress *p, const ProgressState *s)
{
    note_pace(p, s);
    if (p->mode == PROGRESS_QUIET || !is_due(p))
        return;
    Line line = make_line(p, s);
    if (p->mode == PROGRESS_BAR)
        show_bar(p, &line);
    else
        show_line(p, &line);
    finish_output(p);
    p->shown_at = p->at;
    p->shown_fraction = fraction(p);
    p->n_shown++;
}

void progress_note(Progress *p, const char *fmt, ...)
{
    va_list args;
    if (p->mode == PROGRESS_QUIET)
        return;
    if (p->line_open)
        fputs("\r\033[K", p->out);
    p->line_open = false;
    va_start(args, fmt);
    vfprintf(p->out, fmt, args);
    va_end(args);
    putc('\n', p->out);
    if (p->mode == PROGRESS_BAR)
        p->n_shown = 0; /* the bar comes back with the next update */
    finish_output(p);
}

void progress_close(Progress *p)
{
    if (p->mode != PROGRESS_QUIET && p->line_open) {
        putc('\n', p->out);
        finish_output(p);
    }
    p->line_open = false;
}
