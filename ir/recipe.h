/* How a model is trained and used: data, augmentation, batch, loss, optimizer, stages, averaging,
 * prediction windows. Read from a `recipe` of a .nm file, with every setting overridable by name.
 *
 * recipe_default gives the values of settings that a recipe leaves out; they are the ones that
 * docs/language.md lists. Strings live in the arena of whoever filled the recipe. */
#ifndef NPC_IR_RECIPE_H
#define NPC_IR_RECIPE_H

#include "frontend/parse.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum RecipeSchedule {
    RECIPE_CONSTANT, /* from */
    RECIPE_LINEAR,   /* from + (to - from) j / n */
    RECIPE_COSINE,   /* to + (from - to) (1 + cos(pi j / n)) / 2 */
    RECIPE_PLATEAU,  /* from, lowered while the validation score does not improve */
} RecipeSchedule;

/* When the rate changes. */
typedef enum RecipeEach { RECIPE_EACH_STEP, RECIPE_EACH_EPOCH } RecipeEach;

/* runtime/plateau.h */
typedef struct RecipePlateau {
    double factor, floor;
    int64_t patience, reductions;
    double best;     /* score that counts as the best at first */
    double collapse; /* 0: no guard */
    /* restore > 0: weights have a count of their own */
    int64_t restore, restores;
    double margin;
} RecipePlateau;

typedef enum RecipeKeep {
    RECIPE_KEEP_NONE, /* no checkpoint is kept of this stage, but for resuming */
    RECIPE_KEEP_LAST,
    RECIPE_KEEP_BEST, /* by validation score */
} RecipeKeep;

typedef struct RecipeStage {
    const char *name;
    int64_t epochs, steps; /* exactly one is not 0 */
    RecipeSchedule schedule;
    double from, to; /* learning rates; a constant stage has to == from */
    RecipeEach each; /* linear, cosine */
    RecipePlateau plateau;
    RecipeKeep keep;
} RecipeStage;

typedef enum RecipeChannel { RECIPE_VIDEO, RECIPE_BEHAVIOR, RECIPE_PUPIL } RecipeChannel;
/* Where a clip may begin in a trial of L frames: 0 .. L - span, or as published with ViV1T, whose
 * last possible start never occurs (0 when there is no slack). */
typedef enum RecipeStart { RECIPE_START_ALL, RECIPE_START_NOT_LAST } RecipeStart;
/* What statistics transform the inputs, and the responses (data/standardise.h). */
typedef enum RecipeInputs {
    RECIPE_INPUTS_NONE,
    RECIPE_INPUTS_FRAMES,
    RECIPE_INPUTS_PUBLISHED,
    RECIPE_INPUTS_TIME,
    RECIPE_INPUTS_TIME_RANGE,
    RECIPE_INPUTS_ALL,
    RECIPE_INPUTS_ALL_RANGE,
} RecipeInputs;
typedef enum RecipeResponses {
    RECIPE_RESPONSES_POSITIVE,
    RECIPE_RESPONSES_NONE,
    RECIPE_RESPONSES_FRAMES,
    RECIPE_RESPONSES_NEURONS,
    RECIPE_RESPONSES_RANGE,
} RecipeResponses;
typedef enum RecipeStatistics {
    RECIPE_STATISTICS_STORED,
    RECIPE_STATISTICS_COMPUTED,
} RecipeStatistics;
/* What eps of the Poisson loss is added to: the prediction inside of the logarithm, or prediction
 * and target wherever they stand. */
typedef enum RecipeAdded { RECIPE_ADDED_LOGARITHM, RECIPE_ADDED_EVERYWHERE } RecipeAdded;
/* What the loss of a recording is multiplied by (runtime/loss_factors.h). */
typedef enum RecipeScale {
    RECIPE_SCALE_SHARE,
    RECIPE_SCALE_NONE,
    RECIPE_SCALE_TRIALS,
    RECIPE_SCALE_RECORDED,
    RECIPE_SCALE_BALANCED,
} RecipeScale;
/* Tier train alone, or also the test tiers whose responses are public. */
typedef enum RecipeTrainTiers { RECIPE_TIERS_TRAIN, RECIPE_TIERS_RELEASED } RecipeTrainTiers;
/* What a step does to parameters of recordings that it has no clip of. */
typedef enum RecipeAbsent { RECIPE_ABSENT_KEEP, RECIPE_ABSENT_ZERO } RecipeAbsent;
typedef enum RecipePick {
    RECIPE_PICK_SESSIONS,
    RECIPE_PICK_TRIALS,
    RECIPE_PICK_ROUNDS,
    RECIPE_PICK_TURNS,
} RecipePick;
typedef enum RecipeBlend {
    RECIPE_BLEND_UNIFORM,
    RECIPE_BLEND_RAMP,  /* later outputs of a window count more */
    RECIPE_BLEND_STITCH /* every frame from one window */
} RecipeBlend;
typedef enum RecipePrecision { RECIPE_F32, RECIPE_MIXED_F16, RECIPE_MIXED_BF16 } RecipePrecision;

/* Which parameters something is for, and where that was said. */
typedef struct RecipeSelection {
    const char *of; /* see recipe_selects */
    Span span;
} RecipeSelection;

/* In whose batches parameters of a recording are penalised: its own, or every recording's. */
typedef enum RecipeCounts { RECIPE_COUNTS_OWN, RECIPE_COUNTS_EVERY } RecipeCounts;

typedef struct RecipePenalty {
    RecipeSelection which;
    double weight; /* times the sum of magnitudes */
    RecipeCounts counts;
} RecipePenalty;

/* How the optimizer treats some parameters. */
typedef struct RecipeGroup {
    RecipeSelection which;
    double rate;         /* times the learning rate */
    double weight_decay; /* negative: as the others' */
} RecipeGroup;

enum {
    RECIPE_MAX_STAGES = 32,
    RECIPE_MAX_CHANNELS = 8,
    RECIPE_MAX_PENALTIES = 8,
    RECIPE_MAX_GROUPS = 8
};

typedef struct Recipe {
    const char *name;  /* NULL: the file has none, everything is the default */
    const char *model; /* the model it is for */

    /* data */
    double rate; /* frames per second of the recordings: what seconds are counted in */
    int n_channels;
    RecipeChannel channels[RECIPE_MAX_CHANNELS];
    int64_t longest; /* frames of a trial that are used at most; 0: all */
    int64_t clip_frames, clip_every;
    RecipeStart clip_start;
    RecipeInputs inputs;
    RecipeResponses responses;
    RecipeStatistics statistics;
    int64_t pad_h, pad_w; /* size after padding; 0: none */
    double pad_value;

    int64_t folds; /* number of folds; 0: the recordings' own train and validation tiers */
    RecipeTrainTiers train_tiers; /* without folds */
    int64_t validate;             /* the fold held out */

    bool has_cutmix;
    double cutmix_alpha, cutmix_chance;

    int64_t batch;      /* clips of one step */
    int64_t accumulate; /* equal chunks a batch is computed in */
    int64_t epoch;      /* clips */
    RecipePick pick;

    double loss_weight, loss_eps; /* of the Poisson part */
    RecipeAdded loss_added;
    double squares_weight;                      /* 0: no such part */
    double correlation_weight, correlation_eps; /* weight 0: no such part */
    RecipeScale loss_scale;
    int64_t n_penalties;
    RecipePenalty penalties[RECIPE_MAX_PENALTIES];

    double weight_decay, beta1, beta2, adam_eps;
    RecipeAbsent absent;
    bool schedule_free;     /* AdamW without a schedule (passes/train_step.c) */
    int64_t warmup;         /* its steps of growing rate */
    double clip_norm;       /* of all gradients together; 0: no limit */
    double clip_percentile; /* the limit is this percentile of the norms so far; 0: no limit */
    int64_t n_groups;
    RecipeGroup groups[RECIPE_MAX_GROUPS];
    double ema; /* decay of the weight average; 0: no average */
    RecipePrecision precision;
    uint64_t seed;

    const char *teacher;  /* run folder whose weights teach; NULL: no distillation */
    double teacher_ratio; /* share of the total weight that the teacher's targets get */

    int n_stages;
    RecipeStage stages[RECIPE_MAX_STAGES];

    int64_t predict_frames, predict_every; /* 0 frames: a trial at once */
    RecipeBlend predict_blend;
    int64_t predict_last; /* of longer trials only the last so many frames are shown; 0: all */
    int64_t burn_in;      /* frames at the start of a trial that scores leave out */

    int64_t keep_last;                           /* checkpoints that stay */
    int64_t checkpoint_epochs, checkpoint_steps; /* between checkpoints; one is not 0 */
    int64_t validate_epochs, validate_steps;     /* between validations; one is not 0 */
} Recipe;

void recipe_default(Recipe *r);
/* A recipe without stages gets one: 10 epochs, cosine from 1e-3 to 1e-5. */
void recipe_complete(Recipe *r);

/* Applies the settings of a recipe's body, in order. A stage of a name that stands already is
 * changed, another is appended. Mistakes are diagnostics: E0301 unknown setting, E0302 impossible
 * value, E0304 wrong unit. */
void recipe_read(Arena *arena, Names *names, Diags *diags, const Body *body, Recipe *r);
/* Applies one override; `path` begins behind an optional "recipe." */
void recipe_set(Arena *arena, Names *names, Diags *diags, const SetOption *set, int path_at,
                Recipe *r);
/* Is this the name of a setting (or "stage")? */
bool recipe_has_setting(const char *name);
/* The name of the i-th setting's argument row (names repeat); NULL behind the last. */
const char *recipe_setting(int i);
/* Whether the finished recipe makes sense as a whole; false after a diagnostic. */
bool recipe_check(Diags *diags, Span span, const Recipe *r);

/* Does a group's or penalty's `of` mean this parameter? It is a name or its beginning up to a dot,
 * in which `*` stands for any text: "core", "readout.*.features". */
bool recipe_selects(const char *of, const char *parameter);
/* The last of the groups that a parameter is in; NULL: none. */
const RecipeGroup *recipe_group(const RecipeGroup *groups, int64_t n, const char *parameter);
/* The i-th selection of the recipe and what says it, "l1"; NULL behind the last. */
const RecipeSelection *recipe_selection(const Recipe *r, int i, const char **by);

/* Optimizer steps of one epoch; the recordings decide where clips are picked in rounds: 1. */
int64_t recipe_epoch_steps(const Recipe *r);
/* Of a stage, of all stages, with so many steps in an epoch. */
int64_t recipe_stage_steps(const Recipe *r, int stage, int64_t epoch_steps);
int64_t recipe_steps(const Recipe *r, int64_t epoch_steps);

/* `recipe NAME for MODEL { .. }` with every setting; reading it gives the same recipe. */
void recipe_print(Text *out, const Recipe *r);
/* The settings with their arguments, units, defaults and a sentence each: the table of
 * docs/language.md. */
void recipe_print_settings(Text *out);

#endif
