#include "runtime/report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "data/picture.h"
#include "runtime/report_cells.h"

enum { LOG_LIMIT = 1 << 30, TRACES = 6 };

/* ---- log.jsonl ---- */

typedef struct History {
    VEC(double) step, loss, score_step, score;
} History;

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void add_row(Arena *a, History *h, const json_t *row)
{
    const char *kind = json_string_value(json_object_get(row, "kind"));
    if (kind && !strcmp(kind, "train")) {
        vec_push(a, &h->step, number(row, "step"));
        vec_push(a, &h->loss, number(row, "loss"));
    } else if (kind && !strcmp(kind, "validation")) {
        vec_push(a, &h->score_step, number(row, "step"));
        vec_push(a, &h->score, number(row, "score"));
    }
}

static Status read_history(const RunDir *run, Arena *arena, History *h, Err *err)
{
    char *text, path[4096];
    size_t len;
    *h = (History){0};
    NPC_TRY(run_dir_path(run, "log.jsonl", path, sizeof path, err));
    if (!file_exists(path))
        return NPC_OK;
    NPC_TRY(file_read(arena, path, LOG_LIMIT, &text, &len, err));
    for (char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        json_t *row = json_loadb(line, n, 0, NULL);
        add_row(arena, h, row);
        json_decref(row);
        line += n + (line[n] == '\n');
    }
    return NPC_OK;
}

/* ---- pictures ---- */

typedef Status (*DrawPicture)(const char *path, const void *what, Err *err);

static Status draw_both(const RunDir *run, const char *name, DrawPicture draw, const void *what,
                        Err *err)
{
    static const char *const ending[] = {"png", "svg"};
    char file[64], path[4096];
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s.%s", name, ending[i]);
        NPC_TRY(run_dir_path(run, file, path, sizeof path, err));
        NPC_TRY(draw(path, what, err));
    }
    return NPC_OK;
}

static Status draw_training(const char *path, const void *what, Err *err)
{
    return picture_training(path, what, err);
}

static Status draw_traces(const char *path, const void *what, Err *err)
{
    return picture_traces(path, what, err);
}

static Status no_memory(const RunDir *run, Err *err)
{
    return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to draw pictures", run->path);
}

static Status training_pictures(const RunDir *run, Arena *arena, const char *title,
                                double steps_per_epoch, Err *err)
{
    History h;
    NPC_TRY(read_history(run, arena, &h, err));
    PictureTraining p = {.title = title,
                         .step = h.step.at,
                         .loss = h.loss.at,
                         .n_loss = h.loss.len,
                         .score_step = h.score_step.at,
                         .score = h.score.at,
                         .n_score = h.score.len,
                         .steps_per_epoch = steps_per_epoch > 1 ? steps_per_epoch : 0};
    return h.loss.len ? draw_both(run, "training", draw_training, &p, err) : NPC_OK;
}

Status report_training_pictures(const RunDir *run, const char *title, double steps_per_epoch,
                                Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted) ? no_memory(run, err)
                                 : training_pictures(run, &arena, title, steps_per_epoch, err);
    arena_free(&arena);
    return s;
}

static double trace_correlation(const float *a, const float *b, size_t n)
{
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < n; i++) {
        ma += (double)a[i] / (double)n;
        mb += (double)b[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        aa += ((double)a[i] - ma) * ((double)a[i] - ma);
        bb += ((double)b[i] - mb) * ((double)b[i] - mb);
        ab += ((double)a[i] - ma) * ((double)b[i] - mb);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : -2;
}

/* Numbers of the neurons with the highest correlation, best first. Returns how many. */
static size_t best_neurons(const float *predicted, const float *recorded, size_t n_neurons,
                           size_t frames, size_t out[TRACES])
{
    double best[TRACES];
    size_t n = 0;
    for (size_t k = 0; k < n_neurons; k++) {
        double r = trace_correlation(predicted + k * frames, recorded + k * frames, frames);
        size_t at = n < TRACES ? n++ : TRACES;
        for (; at > 0 && r > best[at - 1]; at--)
            if (at < TRACES) {
                best[at] = best[at - 1];
                out[at] = out[at - 1];
            }
        if (at < TRACES) {
            best[at] = r;
            out[at] = k;
        }
    }
    return n;
}

static Status trace_pictures(const RunDir *run, Arena *arena, const PictureTraces *all,
                             const float *predicted, const float *recorded, Err *err)
{
    size_t n = all->n_neurons, frames = all->frames;
    float *a = ARENA_ARRAY(arena, float, n *frames + 1);
    float *b = ARENA_ARRAY(arena, float, n *frames + 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(a + i * frames, predicted + all->neuron[i] * frames, frames * sizeof *a);
        memcpy(b + i * frames, recorded + all->neuron[i] * frames, frames * sizeof *b);
    }
    PictureTraces p = *all;
    p.predicted = a;
    p.recorded = b;
    return draw_both(run, "traces", draw_traces, &p, err);
}

Status report_trace_pictures(const RunDir *run, const char *title, const float *predicted,
                             const float *recorded, size_t n_neurons, size_t frames, double rate,
                             Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    size_t neuron[TRACES], n = best_neurons(predicted, recorded, n_neurons, frames, neuron);
    const PictureTraces p = {.title = title,
                             .n_neurons = n,
                             .frames = frames,
                             .neuron = neuron,
                             .frames_per_second = rate};
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted) ? no_memory(run, err)
                                 : trace_pictures(run, &arena, &p, predicted, recorded, err);
    arena_free(&arena);
    return s;
}

/* ---- scores ---- */

typedef struct TierMean {
    double over_recordings[SCORE_KINDS], over_neurons[SCORE_KINDS];
    size_t n;
} TierMean;

/* Means over the recordings that have this tier; NaN where none has the number. */
static TierMean mean_over_recordings(const TierScore *s, size_t n, const char *tier)
{
    TierMean m = {0};
    for (int what = 0; what < SCORE_KINDS; what++) {
        double sum = 0, n_sum = 0, weighted = 0, weight = 0;
        for (size_t i = 0; i < n; i++) {
            if (strcmp(s[i].tier, tier) || isnan(s[i].of_all[what]))
                continue;
            sum += s[i].of_all[what];
            n_sum++;
            weighted += s[i].of_all[what] * s[i].n_neurons;
            weight += s[i].n_neurons;
        }
        m.over_recordings[what] = sum / n_sum;
        m.over_neurons[what] = weighted / weight;
    }
    for (size_t i = 0; i < n; i++)
        m.n += !strcmp(s[i].tier, tier);
    return m;
}

static void print_means(Text *t, const TierScore *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!report_is_first(&s->tier, sizeof *s, i))
            continue;
        TierMean m = mean_over_recordings(s, n, s[i].tier);
        text_printf(t, "| mean over %zu recording%s | %s | | | |", m.n, m.n == 1 ? "" : "s",
                    s[i].tier);
        for (int what = 0; what < SCORE_KINDS; what++)
            report_cell(t, m.over_recordings[what], 4);
        text_printf(t, "\n| mean over all neurons | %s | | | |", s[i].tier);
        for (int what = 0; what < SCORE_KINDS; what++)
            report_cell(t, m.over_neurons[what], 4);
        text_char(t, '\n');
    }
}

void report_scores_table(Text *t, const TierScore *s, size_t n)
{
    text_add(t, "| recording | tier | neurons | trials | films | single trial | to average | "
                "noise ceiling | normalised | FEVE |\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        text_printf(t, "| %s | %s | %u | %u | %u |", s[i].recording, s[i].tier, s[i].n_neurons,
                    s[i].n_trials, s[i].n_clips);
        for (int what = 0; what < SCORE_KINDS; what++)
            report_cell(t, s[i].of_all[what], 4);
        text_char(t, '\n');
    }
    print_means(t, s, n);
}

static json_t *json_mean(const double x[SCORE_KINDS])
{
    json_t *o = json_object();
    for (int what = 0; what < SCORE_KINDS; what++)
        json_object_set_new(o, score_kind_text((ScoreKind)what), report_json_number(x[what]));
    return o;
}

static json_t *json_score(const TierScore *s)
{
    json_t *o = json_mean(s->of_all);
    json_object_set_new(o, "recording", json_string(s->recording));
    json_object_set_new(o, "tier", json_string(s->tier));
    json_object_set_new(o, "neurons", json_integer(s->n_neurons));
    json_object_set_new(o, "trials", json_integer(s->n_trials));
    json_object_set_new(o, "films", json_integer(s->n_clips));
    json_object_set_new(o, "shortest_trial_frames", json_integer(s->shortest));
    json_object_set_new(o, "longest_trial_frames", json_integer(s->longest));
    json_object_set_new(o, "normalised", json_boolean(s->is_normalised));
    json_object_set_new(o, "from_truth", json_boolean(s->is_from_truth));
    return o;
}

const char *report_scores_json(Arena *arena, const TierScore *s, size_t n)
{
    json_t *all = json_object(), *list = json_array(), *means = json_object();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_score(&s[i]));
    for (size_t i = 0; i < n; i++)
        if (report_is_first(&s->tier, sizeof *s, i)) {
            TierMean m = mean_over_recordings(s, n, s[i].tier);
            json_t *both = json_object();
            json_object_set_new(both, "over_recordings", json_mean(m.over_recordings));
            json_object_set_new(both, "over_neurons", json_mean(m.over_neurons));
            json_object_set_new(means, s[i].tier, both);
        }
    json_object_set_new(all, "recordings", list);
    json_object_set_new(all, "means", means);
    char *text = json_dumps(all, JSON_INDENT(2));
    const char *copy = arena_printf(arena, "%s\n", text ? text : "{}");
    free(text);
    json_decref(all);
    return copy;
}

/* ---- report.md ---- */

static void print_fact(Text *t, const json_t *facts, const char *key, const char *label)
{
    const char *value = json_string_value(json_object_get(facts, key));
    if (value)
        text_printf(t, "- %s: %s\n", label, value);
}

static void print_training(Text *t, const History *h)
{
    if (!h->loss.len)
        return;
    text_printf(t, "\n## Training\n\n- steps: %.0f\n- last loss: %.6g\n",
                h->step.at[h->step.len - 1], h->loss.at[h->loss.len - 1]);
    uint32_t best = 0;
    for (uint32_t i = 1; i < h->score.len; i++)
        if (!(h->score.at[i] <= h->score.at[best]))
            best = i;
    if (h->score.len && isfinite(h->score.at[best]))
        text_printf(t,
                    "- validation correlation: %.4f after the last step, best %.4f after step "
                    "%.0f\n",
                    h->score.at[h->score.len - 1], h->score.at[best], h->score_step.at[best]);
}

static Status write_report(const RunDir *run, Arena *arena, const TierScore *s, size_t n, Err *err)
{
    History h;
    char *text, path[4096];
    size_t len;
    Text t = {.arena = arena};
    NPC_TRY(run_dir_get(run, arena, "run.json", 1 << 20, &text, &len, err));
    NPC_TRY(read_history(run, arena, &h, err));
    json_t *facts = json_loads(text, 0, NULL);
    text_add(&t, "# Run\n\n");
    print_fact(&t, facts, "model", "model");
    print_fact(&t, facts, "data", "recordings");
    print_fact(&t, facts, "backend", "backend");
    print_fact(&t, facts, "seed", "seed");
    print_fact(&t, facts, "started", "started");
    print_fact(&t, facts, "npc", "npc");
    json_decref(facts);
    print_training(&t, &h);
    NPC_TRY(run_dir_path(run, "training.png", path, sizeof path, err));
    if (file_exists(path))
        text_add(&t, "\n![loss and validation correlation](training.png)\n");
    NPC_TRY(run_dir_path(run, "traces.png", path, sizeof path, err));
    if (file_exists(path))
        text_add(&t, "\n![recorded and predicted activity](traces.png)\n");
    if (n) {
        text_add(&t, "\n## Scores\n\nCorrelation per neuron, mean over neurons.\n\n");
        report_scores_table(&t, s, n);
    }
    return run_dir_put(run, "report.md", text_str(&t), err);
}

Status report_write(const RunDir *run, const TierScore *s, size_t n, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status status = setjmp(exhausted) ? err_set(err, NPC_ERR_MEMORY, "not enough memory to report")
                                      : write_report(run, &arena, s, n, err);
    arena_free(&arena);
    return status;
}
