#include "runtime/attention_behaviour.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "data/metrics.h"
#include "runtime/report_cells.h"

static const struct {
    const char *name, *label;
    bool absolute, of_images, of_films;
} RELATIONS[RELATION_COUNT] = {
    [RELATION_PUPIL_X] = {"pupil_x", "pupil x", true, true, true},
    [RELATION_PUPIL_Y] = {"pupil_y", "pupil y", true, true, true},
    [RELATION_SIZE_X] = {"size_x", "pupil size, x", true, true, false},
    [RELATION_SIZE_Y] = {"size_y", "pupil size, y", true, true, false},
    [RELATION_RUNNING] = {"running", "running", false, false, true},
};

/* ---- numbers ---- */

/* Continued fraction of the incomplete beta function (Numerical Recipes 6.4, Lentz's method). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double value = d, change = 0;
    for (int m = 1; m < 500 && fabs(change - 1) > 1e-15; m++) {
        for (int odd = 0; odd < 2; odd++) {
            double term = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                              : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            change = c * d;
            value *= change;
        }
    }
    return value;
}

/* Regularised incomplete beta function. */
static double beta_share(double a, double b, double x)
{
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double attention_chance(double r, size_t n)
{
    return n < 3 || isnan(r) ? NAN : beta_share(0.5 * ((double)n - 2), 0.5, 1 - r * r);
}

void attention_correlate(AttentionTier *t)
{
    for (int i = 0; i < RELATION_COUNT; i++) {
        const AttentionPairs *p = &t->of[i];
        size_t n = p->attention.len;
        double r = metrics_correlation(p->attention.at, p->behaviour.at, n, 0);
        t->r[i] = !isfinite(r) ? NAN : RELATIONS[i].absolute ? fabs(r) : r;
        t->p[i] = t->is_images ? attention_chance(t->r[i], n) : NAN;
    }
}

static bool has_relation(const AttentionTier *t, int i)
{
    return t->is_images ? RELATIONS[i].of_images : RELATIONS[i].of_films;
}

typedef struct Spread {
    double mean, deviation; /* over recordings, divided by their number; NaN: none has a number */
} Spread;

static Spread over_recordings(const AttentionTier *t, size_t n, const char *tier, int relation)
{
    double sum = 0, square = 0, count = 0;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(t[i].tier, tier) && !isnan(t[i].r[relation])) {
            sum += t[i].r[relation];
            count++;
        }
    double mean = sum / count;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(t[i].tier, tier) && !isnan(t[i].r[relation]))
            square += (t[i].r[relation] - mean) * (t[i].r[relation] - mean);
    return (Spread){mean, sqrt(square / count)};
}

/* ---- text ---- */

void attention_table(Text *out, const AttentionTier *t, size_t n)
{
    text_add(out, "| recording | tier | trials |");
    for (int i = 0; i < RELATION_COUNT; i++)
        if (n && has_relation(t, i))
            text_printf(out, " %s |", RELATIONS[i].label);
    text_add(out, "\n|---|---|---|");
    for (int i = 0; i < RELATION_COUNT; i++)
        if (n && has_relation(t, i))
            text_add(out, "---|");
    text_char(out, '\n');
    for (size_t k = 0; k < n; k++) {
        text_printf(out, "| %s | %s | %u |", t[k].recording, t[k].tier, t[k].n_trials);
        for (int i = 0; i < RELATION_COUNT; i++)
            if (has_relation(t, i))
                report_cell(out, t[k].r[i], 3);
        text_char(out, '\n');
    }
    for (size_t k = 0; k < n; k++) {
        if (!report_is_first(&t->tier, sizeof *t, k))
            continue;
        text_printf(out, "| mean and deviation over recordings | %s | |", t[k].tier);
        for (int i = 0; i < RELATION_COUNT; i++) {
            Spread s = over_recordings(t, n, t[k].tier, i);
            if (has_relation(t, i) && isnan(s.mean))
                text_add(out, " - |");
            else if (has_relation(t, i))
                text_printf(out, " %.3f ± %.3f |", s.mean, s.deviation);
        }
        text_char(out, '\n');
    }
}

/* ---- JSON ---- */

static json_t *json_tier(const AttentionTier *t)
{
    json_t *o = json_object();
    json_object_set_new(o, "recording", json_string(t->recording));
    json_object_set_new(o, "tier", json_string(t->tier));
    json_object_set_new(o, "trials", json_integer(t->n_trials));
    for (int i = 0; i < RELATION_COUNT; i++) {
        if (!has_relation(t, i))
            continue;
        json_t *one = json_object();
        json_object_set_new(one, "r", report_json_number(t->r[i]));
        json_object_set_new(one, "n", json_integer((json_int_t)t->of[i].attention.len));
        if (t->is_images)
            json_object_set_new(one, "p", report_json_number(t->p[i]));
        json_object_set_new(o, RELATIONS[i].name, one);
    }
    return o;
}

const char *attention_json(Arena *arena, const AttentionTier *t, size_t n)
{
    json_t *all = json_object(), *list = json_array(), *means = json_object();
    for (size_t k = 0; k < n; k++) {
        json_array_append_new(list, json_tier(&t[k]));
        if (!report_is_first(&t->tier, sizeof *t, k))
            continue;
        json_t *tier = json_object();
        for (int i = 0; i < RELATION_COUNT; i++) {
            Spread s = over_recordings(t, n, t[k].tier, i);
            json_t *one = json_object();
            json_object_set_new(one, "mean", report_json_number(s.mean));
            json_object_set_new(one, "deviation", report_json_number(s.deviation));
            if (has_relation(t, i))
                json_object_set_new(tier, RELATIONS[i].name, one);
            else
                json_decref(one);
        }
        json_object_set_new(means, t[k].tier, tier);
    }
    json_object_set_new(all, "recordings", list);
    json_object_set_new(all, "means", means);
    char *text = json_dumps(all, JSON_INDENT(2));
    const char *copy = arena_printf(arena, "%s\n", text ? text : "{}");
    free(text);
    json_decref(all);
    return copy;
}
