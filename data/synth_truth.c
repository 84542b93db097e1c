#include "data/synth_truth.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/base/file.h"
#include "ir/base/text.h"
#include "data/metrics.h"
#include "data/npy_write.h"

enum { N_CEILINGS = 5 };

static const char *const ceiling_name[N_CEILINGS] = {"leave_one_out", "single_trial", "to_average",
                                                     "linear_single_trial", "linear_to_average"};

static Status write_ceiling(const SynthTruth *t, SynthTier tier, int which, const double *score,
                            double *mean, Err *err)
{
    size_t n = t->o->neurons;
    char path[4096];
    *mean = 0;
    for (size_t i = 0; i < n; i++)
        *mean += score[i] / (double)n;
    snprintf(path, sizeof path, "%s/ceiling/%s_%s.npy", t->folder, synth_tier_name(tier),
             ceiling_name[which]);
    return npy_write(path, NPY_WRITE_F8, score, &n, 1, err);
}

/* The linear prediction in place of the true rate. */
static void predict_linearly(const SynthTruth *t, SynthTier tier, ScoreTrial *pick)
{
    for (size_t i = 0; i < t->n_trials; i++)
        if (t->trial[i].tier == tier)
            (pick++)->prediction.at = t->trial[i].linear;
}

/* `pick` and `score` hold one entry per trial and per neuron. */
static Status of_tier(const SynthTruth *t, SynthTier tier, ScoreTrial *pick, double *score,
                      SynthCeiling *out, Err *err)
{
    ScoreSet set = {pick, 0, t->o->neurons, METRICS_BURN_IN};
    double *mean[N_CEILINGS] = {&out->leave_one_out, &out->single_trial, &out->to_average,
                                &out->linear_single_trial, &out->linear_to_average};
    ptrdiff_t stride = (ptrdiff_t)t->length;

    for (size_t i = 0; i < t->n_trials; i++) {
        const SynthTrial *trial = &t->trial[i];
        if (trial->tier == tier)
            pick[set.n_trials++] = (ScoreTrial){{trial->recorded, trial->frames, stride, 1},
                                                {trial->expected, trial->frames, stride, 1},
                                                (int64_t)trial->clip};
    }
    out->tier = synth_tier_name(tier);
    for (int k = 0; k < N_CEILINGS; k++) {
        if (k == 3)
            predict_linearly(t, tier, pick);
        NPC_TRY(k == 0       ? metrics_leave_one_out_ceiling(&set, score, err)
                : k % 2 == 1 ? metrics_single_trial(&set, score, err)
                             : metrics_to_average(&set, 1, score, err));
        NPC_TRY(write_ceiling(t, tier, k, score, mean[k], err));
    }
    return NPC_OK;
}

/* One line of the summary: {"leave_one_out": .., "single_trial": .., ..} */
static int ceiling_text(char *out, size_t room, const SynthCeiling *c)
{
    const double value[N_CEILINGS] = {c->leave_one_out, c->single_trial, c->to_average,
                                      c->linear_single_trial, c->linear_to_average};
    int n = snprintf(out, room, "\n  \"%s\": {", c->tier);

    for (int k = 0; k < N_CEILINGS; k++) {
        char number[DOUBLE_TEXT];
        double_text(number, round(value[k] * 1e4) / 1e4);
        n += snprintf(out + n, room - (size_t)n, "%s\"%s\": %s", k ? ", " : "", ceiling_name[k],
                      number);
    }
    out[n++] = '}';
    return n;
}

static Status write_summary(const SynthTruth *t, const SynthSummary *s, Err *err)
{
    const SynthOptions *o = t->o;
    char path[4096], signal[DOUBLE_TEXT], text[4096];

    double_text(signal, o->signal);
    int n = snprintf(text, sizeof text,
                     "{\n \"options\": {\"mice\": %" PRIu32 ", \"neurons\": %" PRIu32
                     ", \"trials\": %" PRIu32 ", \"frames\": %" PRIu32 ", \"height\": %" PRIu32
                     ", \"width\": %" PRIu32 ", \"clips\": %" PRIu32 ", \"repeats\": %" PRIu32
                     ", \"types\": %" PRIu32 ", \"seed\": %" PRIu64
                     ", \"signal\": %s},\n \"ceilings\": {",
                     o->mice, o->neurons, o->trials, o->frames, o->height, o->width, o->clips,
                     o->repeats, o->types, o->seed, signal);
    for (int k = 0; k < SYNTH_TEST_TIERS; k++) {
        n += ceiling_text(text + n, sizeof text - (size_t)n, &s->tier[k]);
        text[n++] = k + 1 < SYNTH_TEST_TIERS ? ',' : '\n';
    }
    n += snprintf(text + n, sizeof text - (size_t)n, " }\n}\n");
    snprintf(path, sizeof path, "%s/summary.json", t->folder);
    return file_write(path, text, (size_t)n, err);
}

Status synth_truth_write(const SynthTruth *t, SynthSummary *summary, Err *err)
{
    ScoreTrial *pick = malloc(t->n_trials * sizeof *pick);
    double *score = malloc(t->o->neurons * sizeof *score);
    Status status = pick && score
                        ? NPC_OK
                        : err_set(err, NPC_ERR_MEMORY, "no memory for %zu trials", t->n_trials);
    for (int k = 0; status == NPC_OK && k < SYNTH_TEST_TIERS; k++)
        status = of_tier(t, SYNTH_FINAL_BONUS + (SynthTier)k, pick, score, &summary->tier[k], err);
    if (status == NPC_OK)
        status = write_summary(t, summary, err);
    free(pick);
    free(score);
    return status;
}
