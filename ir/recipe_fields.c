#include "ir/recipe_fields.h"

#define AT(member) offsetof(Recipe, member)
#define IN_STAGE(member) offsetof(RecipeStage, member)
#define MANY 1e15

/* Rows: setting, function, argument, place, .., meaning. */
#define INT(setting, function, arg, at, unit, low, high, doc)                                      \
    {                                                                                              \
        setting, function, arg, FIELD_INT, at, unit, low, high, {0}, doc                           \
    }
#define REAL(setting, function, arg, at, low, high, doc)                                           \
    {                                                                                              \
        setting, function, arg, FIELD_REAL, at, NULL, low, high, {0}, doc                          \
    }
#define WORD(setting, function, arg, at, doc, ...)                                                 \
    {                                                                                              \
        setting, function, arg, FIELD_WORD, at, NULL, 0, 0, {__VA_ARGS__}, doc                     \
    }
#define OTHER(setting, function, arg, type, at, low, high, doc)                                    \
    {                                                                                              \
        setting, function, arg, type, at, NULL, low, high, {0}, doc                                \
    }

static const Field *fields(int *n)
{
    static const Field table[] = {
        {"rate",
         NULL,
         NULL,
         FIELD_REAL,
         AT(rate),
         "Hz",
         1e-3,
         1e6,
         {0},
         "frames per second of the recordings"},
        OTHER("data", "recordings", "channels", FIELD_CHANNELS, AT(channels), 0, 0,
              "the input's channels, in order: video, behavior, pupil"),
        INT("data", "recordings", "longest", AT(longest), "frames", 0, 100000,
            "what of a trial is used at most; 0: all of it"),
        INT("data", "clip", "frames", AT(clip_frames), "frames", 1, 100000,
            "length of a training clip, counted in taken frames"),
        INT("data", "clip", "every", AT(clip_every), "frames", 1, 1000, "distance of taken frames"),
        WORD("data", "clip", "start", AT(clip_start),
             "where clips begin; not_last: the last possible start never occurs, as published",
             "all", "not_last"),
        WORD("data", "standardise", "inputs", AT(inputs),
             "the statistics that inputs are standardised by", "none", "frames", "published",
             "time", "time_range", "all", "all_range"),
        WORD("data", "standardise", "responses", AT(responses),
             "how responses are scaled; positive: as recorded, negatives 0", "positive", "none",
             "frames", "neurons", "range"),
        WORD("data", "standardise", "statistics", AT(statistics),
             "stored: those of meta/statistics that fit, else computed", "stored", "computed"),
        OTHER("data", "pad", "to", FIELD_EXTENT, AT(pad_h), 0, 0,
              "size of the picture, the video in its middle"),
        REAL("data", "pad", "value", AT(pad_value), -1e6, 1e6, "what the border is filled with"),
        INT("split", "folds", "n", AT(folds), NULL, 0, 1000,
            "number of parts by video content; none: the recordings' own split"),
        INT("split", "folds", "validate", AT(validate), NULL, 0, 1000, "the part held out"),
        WORD("split", "tiers", "train", AT(train_tiers),
             "without folds; released: also test tiers whose responses are public", "train",
             "released"),
        REAL("mix", "cutmix", "alpha", AT(cutmix_alpha), 1e-3, 1000,
             "of the Beta distribution of the pasted share"),
        REAL("mix", "cutmix", "chance", AT(cutmix_chance), 0, 1, "chance of a clip to be mixed"),
        INT("batch", NULL, NULL, AT(batch), "clips", 1, 100000,
            "clips of one optimizer step; in rounds of each recording"),
        INT("accumulate", NULL, NULL, AT(accumulate), NULL, 1, 100000,
            "equal chunks in which a batch is computed"),
        INT("epoch", NULL, NULL, AT(epoch), "clips", 1, 1e12,
            "clips of one epoch; not counted in rounds and turns"),
        WORD("pick", "uniform", "over", AT(pick),
             "sessions: as many clips of each; trials: by number of trials", "sessions", "trials"),
        REAL("loss", "poisson", "eps", AT(loss_eps), 0, 1,
             "a small number, so that logarithms exist"),
        WORD("loss", "poisson", "added", AT(loss_added),
             "logarithm: to the prediction inside of it; everywhere: to prediction and target",
             "logarithm", "everywhere"),
        REAL("loss", "poisson", "weight", AT(loss_weight), 0, 1e9,
             "of this part: sum of prediction - target log(prediction)"),
        REAL("loss", "squares", "weight", AT(squares_weight), 0, 1e9,
             "of this part: sum of (prediction - target) squared"),
        REAL("loss", "correlation", "weight", AT(correlation_weight), 0, 1e9,
             "of this part: sum over neurons of 1 - correlation over a batch's clips and frames"),
        REAL("loss", "correlation", "eps", AT(correlation_eps), 0, 1, "added to both deviations"),
        WORD("loss", "scale", "by", AT(loss_scale),
             "of a recording with S trials to train on, B clips in the batch: share: 1 / all "
             "clips; trials: sqrt(S / B); recorded: the same of all its trials; balanced: mean S / "
             "(S M B) of M recordings, B as set",
             "share", "none", "trials", "recorded", "balanced"),
        OTHER("loss", "l1", "of", FIELD_STRING, offsetof(RecipePenalty, which.of), 0, 0,
              "parameters, by the beginning of their name; * stands for any text"),
        REAL("loss", "l1", "weight", offsetof(RecipePenalty, weight), 0, 1e9,
             "times the sum of their magnitudes, for every recording in a batch"),
        WORD("loss", "l1", "counts", offsetof(RecipePenalty, counts),
             "where a recording's own parameters count: in its batches, or in every recording's",
             "own", "every"),
        REAL("optimizer", "adamw", "weight_decay", AT(weight_decay), 0, 100, "decoupled decay"),
        REAL("optimizer", "adamw", "beta1", AT(beta1), 0, 0.999999, "decay of the first moment"),
        REAL("optimizer", "adamw", "beta2", AT(beta2), 0, 0.999999999,
             "decay of the second moment"),
        REAL("optimizer", "adamw", "eps", AT(adam_eps), 0, 1,
             "added to the root of the second moment"),
        WORD("optimizer", "adamw", "absent", AT(absent),
             "keep: parameters of recordings without a clip in a step stay; zero: they have a "
             "gradient of 0",
             "keep", "zero"),
        REAL("optimizer", "schedule_free", "weight_decay", AT(weight_decay), 0, 100,
             "decoupled decay, of AdamW without a schedule"),
        REAL("optimizer", "schedule_free", "beta1", AT(beta1), 1e-6, 0.999999,
             "share of the average in the weights that are trained"),
        REAL("optimizer", "schedule_free", "beta2", AT(beta2), 0, 0.999999999,
             "decay of the second moment"),
        REAL("optimizer", "schedule_free", "eps", AT(adam_eps), 0, 1,
             "added to the root of the second moment"),
        INT("optimizer", "schedule_free", "warmup", AT(warmup), "steps", 0, 1e9,
            "steps in which the rate grows to what it is"),
        WORD("optimizer", "schedule_free", "absent", AT(absent), "as of adamw", "keep", "zero"),
        REAL("optimizer", "clip", "norm", AT(clip_norm), 0, 1e9,
             "limit of the norm of all gradients together; 0: none"),
        REAL("optimizer", "autoclip", "percentile", AT(clip_percentile), 0, 100,
             "the limit is this percentile of all norms before; 0: none"),
        OTHER("optimizer", "group", "of", FIELD_STRING, offsetof(RecipeGroup, which.of), 0, 0,
              "parameters, as in l1; the last group that one is in counts"),
        REAL("optimizer", "group", "rate", offsetof(RecipeGroup, rate), 0, 1000,
             "times the learning rate"),
        REAL("optimizer", "group", "weight_decay", offsetof(RecipeGroup, weight_decay), 0, 100,
             "decoupled decay of these"),
        REAL("average", "ema", "decay", AT(ema), 0, 0.9999999,
             "of the average of the weights that is validated and kept"),
        WORD("precision", "mixed", "type", AT(precision),
             "type of the products in training; f32: everything in float32", "f32", "f16", "bf16"),
        OTHER("seed", NULL, NULL, FIELD_SEED, AT(seed), 0, 0, "of every random number"),
        OTHER("teacher", "distill", "run", FIELD_STRING, AT(teacher), 0, 0,
              "run folder whose weights give targets where there are none"),
        REAL("teacher", "distill", "ratio", AT(teacher_ratio), 1e-6, 0.999999,
             "share of these targets in the total weight"),
        INT("predict", "sliding", "frames", AT(predict_frames), "frames", 1, 100000,
            "length of a window, counted in taken frames"),
        INT("predict", "sliding", "every", AT(predict_every), "frames", 1, 1000,
            "distance of taken frames; windows start at every frame"),
        WORD("predict", "sliding", "blend", AT(predict_blend),
             "how overlapping windows are weighted; stitch: every frame is of one window, side by "
             "side from where the score begins",
             "uniform", "ramp", "stitch"),
        INT("predict", "sliding", "last", AT(predict_last), "frames", 0, 100000,
            "of longer trials the first frames are neither shown nor scored; 0: all are"),
        INT("score", "correlation", "burn_in", AT(burn_in), "frames", 0, 100000,
            "frames at the start of a trial that do not count"),
        OTHER("checkpoints", "save", "every", FIELD_PERIOD, AT(checkpoint_epochs), 1, MANY,
              "time between checkpoints"),
        INT("checkpoints", "save", "last", AT(keep_last), NULL, 1, 1000,
            "how many stay besides the best"),
        OTHER("validation", NULL, NULL, FIELD_PERIOD, AT(validate_epochs), 1, MANY,
              "time between validations"),
    };
    *n = sizeof table / sizeof *table;
    return table;
}

const Field *recipe_field(int i)
{
    int n;
    const Field *f = fields(&n);
    return i < n ? &f[i] : NULL;
}

const Field *recipe_stage_field(int i)
{
    static const Field table[] = {
        REAL("lr", "constant", "from", IN_STAGE(from), 0, 100, "the rate of every step"),
        REAL("lr", "linear", "from", IN_STAGE(from), 0, 100, "the rate of the first step"),
        REAL("lr", "linear", "to", IN_STAGE(to), 0, 100, "the rate behind the last step"),
        WORD("lr", "linear", "each", IN_STAGE(each), "when it changes", "step", "epoch"),
        REAL("lr", "cosine", "from", IN_STAGE(from), 0, 100, "the rate of the first step"),
        REAL("lr", "cosine", "to", IN_STAGE(to), 0, 100, "the rate behind the last step"),
        WORD("lr", "cosine", "each", IN_STAGE(each), "when it changes", "step", "epoch"),
        REAL("lr", "plateau", "from", IN_STAGE(from), 0, 100, "the rate at first"),
        INT("lr", "plateau", "patience", IN_STAGE(plateau.patience), NULL, 1, 1e6,
            "validations in a row without a better score until it is lowered"),
        REAL("lr", "plateau", "factor", IN_STAGE(plateau.factor), 0, 1,
             "times the rate, with the best weights put back"),
        INT("lr", "plateau", "reductions", IN_STAGE(plateau.reductions), NULL, 0, 1e6,
            "that often without a better score between; then training ends"),
        REAL("lr", "plateau", "floor", IN_STAGE(plateau.floor), 0, 100, "the lowest rate"),
        REAL("lr", "plateau", "best", IN_STAGE(plateau.best), -1, 1,
             "score that has to be exceeded first"),
        REAL("lr", "plateau", "collapse", IN_STAGE(plateau.collapse), 0, 1,
             "once a score was so high, one below 0.005 puts the best weights back; 0: never"),
        INT("lr", "plateau", "restore", IN_STAGE(plateau.restore), NULL, 0, 1e6,
            "validations in a row without a better score until the best weights are put back, "
            "counted apart from the rate, from the untrained model's score on; 0: with the rate"),
        INT("lr", "plateau", "restores", IN_STAGE(plateau.restores), NULL, 1, 1e6,
            "with `restore`: that often in all; the last one ends training"),
        REAL("lr", "plateau", "margin", IN_STAGE(plateau.margin), 0, 1,
             "a better score is above the best by more than this"),
    };
    return i < (int)(sizeof table / sizeof *table) ? &table[i] : NULL;
}

const FieldList *recipe_list(const char *setting, const char *function)
{
    static const RecipePenalty penalty = {0};
    static const RecipeGroup group = {.rate = 1, .weight_decay = -1};
    static const FieldList table[] = {
        {"loss", "l1", AT(n_penalties), AT(penalties), sizeof penalty, RECIPE_MAX_PENALTIES,
         &penalty},
        {"optimizer", "group", AT(n_groups), AT(groups), sizeof group, RECIPE_MAX_GROUPS, &group},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].setting, setting) && !strcmp(table[i].function, function))
            return &table[i];
    return NULL;
}

const BareWord *recipe_bare_word(const char *setting, int i)
{
    static const BareWord words[] = {
        {"split", "none", AT(folds), AT(train_tiers) + sizeof(RecipeTrainTiers) - AT(folds), 0,
         NULL},
        {"mix", "none", AT(has_cutmix), sizeof(bool), 0, NULL},
        {"average", "none", AT(ema), sizeof(double), 0, NULL},
        {"precision", "f32", AT(precision), sizeof(RecipePrecision), 0, NULL},
        {"pick", "rounds", AT(pick), sizeof(RecipePick), RECIPE_PICK_ROUNDS,
         "`batch` clips of every recording in turn, each permuted afresh, gradients added up; an "
         "epoch is as many rounds as the largest needs"},
        {"pick", "turns", AT(pick), sizeof(RecipePick), RECIPE_PICK_TURNS,
         "the same rounds, but a step for each of their batches"},
        {"teacher", "none", AT(teacher), sizeof(const char *), 0, NULL},
        {"predict", "whole", AT(predict_frames), sizeof(int64_t), 0, NULL},
    };
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strcmp(words[k].setting, setting) && !i--)
            return &words[k];
    return NULL;
}

const CallSwitch *recipe_call_switch(const char *setting, const char *function)
{
    static const CallSwitch table[] = {
        {"split", "tiers", AT(folds), sizeof(int), 0}, /* its low half: folds are few */
        {"mix", "cutmix", AT(has_cutmix), sizeof(bool), true},
        {"optimizer", "adamw", AT(schedule_free), sizeof(bool), false},
        {"optimizer", "schedule_free", AT(schedule_free), sizeof(bool), true},
        {"pick", "uniform", AT(pick), sizeof(RecipePick), RECIPE_PICK_SESSIONS},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].setting, setting) && !strcmp(table[i].function, function))
            return &table[i];
    return NULL;
}

const char *recipe_setting_form(Arena *arena, const char *setting)
{
    Text t = {.arena = arena};
    const char *last = "";
    const BareWord *off;
    for (int i = 0; recipe_field(i); i++) {
        const Field *f = recipe_field(i);
        if (strcmp(f->setting, setting) || !f->function || !strcmp(f->function, last))
            continue;
        text_printf(&t, "%s%s(..)", *last ? " |> " : "", f->function);
        last = f->function;
    }
    for (int i = 0; (off = recipe_bare_word(setting, i)); i++)
        text_printf(&t, " or %s", off->word);
    return text_str(&t);
}
