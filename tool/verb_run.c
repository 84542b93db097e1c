/* npc run: trains a model on recordings, predicts with it, scores the predictions, looks at its
 * attention; several in one call, in this order. */
#include <string.h>

#include "runtime/attention_run.h"
#include "runtime/average.h"
#include "runtime/predict.h"
#include "runtime/score.h"
#include "data/signals.h"
#include "runtime/train.h"
#include "tool/verb.h"

typedef struct Run {
    bool train, predict, average, score, resume, take_lock, json, as_recorded, interpret, no_cache;
    bool attention_weights;
    const char *attention; /* folder */
    const char *data, *run, *recipe, *model, *tiers, *weights, *truth;
    const char *fuse, *recompute, *cpu, *cache, *disabled, *progress, *device, *precision;
    const char *package, *library;
    int64_t threads, workers, steps, batch, trials;
    OptionList sets;
    const char *path;         /* the word: a .nm file or a run directory */
    const char *const *paths; /* with --average run directories */
    int n_paths;
    char made[3072]; /* run directory that training used */
    RunMachine machine;
    unsigned tier_bits;
    WeightsKind weights_kind;
} Run;

/* ---- options ---- */

static Status parse_tiers(Run *r, Err *err)
{
    char name[64];
    for (const char *p = r->tiers; p && *p;) {
        size_t n = strcspn(p, ",");
        Tier tier;
        snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), p);
        if (!tier_parse(name, &tier) || tier == TIER_NONE)
            return err_set(
                err, NPC_ERR_USAGE,
                "--tier: there is no tier '%s'; tiers are train, oracle, live_test_main, "
                "live_test_bonus, final_test_main, final_test_bonus",
                name);
        r->tier_bits |= TIER_BIT(tier);
        p += n + (p[n] == ',');
    }
    return NPC_OK;
}

static ProgressMode progress_mode(const char *text)
{
    static const char *const names[] = {"auto", "bar", "lines", "quiet"};
    int i = 3;
    while (i > 0 && strcmp(names[i], text))
        i--;
    return (ProgressMode)i;
}

static Status settle(Run *r, int argc, char **argv, Err *err)
{
    RunMachine *m = &r->machine;
    NPC_TRY(parse_tiers(r, err));
    if (!weights_find(r->weights, &r->weights_kind))
        return err_set(err, NPC_ERR_USAGE, "--weights: average, raw or best");
    *m = (RunMachine){.threads = (int)r->threads,
                      .workers = (uint32_t)r->workers,
                      .cpu = r->cpu,
                      .cache_folder = r->cache,
                      .disabled = r->disabled,
                      .device = r->device,
                      .precision = r->precision,
                      .package = r->package,
                      .library = r->library,
                      .recompute =
                          !strcmp(r->recompute, "expand") ? RECOMPUTE_EXPAND : RECOMPUTE_NONE,
                      .interpret = r->interpret,
                      .no_cache = r->no_cache,
                      .progress = progress_mode(r->progress),
                      .argc = argc,
                      .argv = argv};
    if (!fuse_level_find(r->fuse, &m->fuse))
        return err_set(err, NPC_ERR_USAGE, "--fuse: full, elementwise or none");
    if (!r->train && !r->predict && !r->score && !r->attention)
        return err_set(err, NPC_ERR_USAGE,
                       "say what to do: --train, --predict, --score or --attention");
    if (r->attention && (!*r->attention || r->average))
        return err_set(err, NPC_ERR_USAGE,
                       "--attention needs a folder, and weights to run: not --average");
    if (!r->attention && (r->attention_weights || r->trials))
        return err_set(err, NPC_ERR_USAGE, "--attention-weights and --trials go with --attention");
    if (r->average && (!r->predict || r->train))
        return err_set(err, NPC_ERR_USAGE, "--average goes with --predict, and not with --train");
    if (r->average != (r->n_paths > 1))
        return err_set(err, NPC_ERR_USAGE,
                       "several runs go with --average: npc run RUN RUN .. --predict --average");
    if (r->resume && !r->train)
        return err_set(err, NPC_ERR_USAGE, "--resume goes with --train");
    if (!r->train && (r->sets.n || r->recipe || r->model))
        return err_set(err, NPC_ERR_USAGE,
                       "--set, --recipe and --model go with --train; a run keeps its settings");
    return NPC_OK;
}

/* ---- jobs ---- */

static Status train(Run *r, Err *err)
{
    bool is_run = file_is_folder(r->path);
    TrainResult result;
    if (!file_exists(r->path))
        return err_set(err, NPC_ERR_INPUT, "%s: no such model file or run directory", r->path);
    TrainOptions o = {.model_path = is_run ? NULL : r->path,
                      .run_dir = is_run ? r->path : r->run,
                      .data = r->data,
                      .resume = r->resume,
                      .take_lock = r->take_lock,
                      .model = r->model,
                      .recipe = r->recipe,
                      .sets = r->sets.at,
                      .n_sets = r->sets.n,
                      .stop_after = (uint64_t)r->steps,
                      .machine = r->machine};
    if (is_run && !r->resume)
        return err_set(err, NPC_ERR_USAGE,
                       "%s: a folder; its training goes on with --resume, a new one needs a .nm "
                       "file",
                       r->path);
    if (is_run && r->run && strcmp(r->run, r->path))
        return err_set(err, NPC_ERR_USAGE, "two run directories: %s and --run %s", r->path, r->run);
    Status s = train_run(&o, &result, err);
    snprintf(r->made, sizeof r->made, "%s", result.run_dir);
    return s;
}

static PredictOptions predict_options(const Run *r, const char *run)
{
    return (PredictOptions){.run_dir = run,
                            .data = r->data,
                            .tiers = r->tier_bits,
                            .weights = r->weights_kind,
                            .batch = r->batch,
                            .machine = r->machine};
}

/* The folder of the mean is the run that is scored. */
static Status average(Run *r, Err *err)
{
    AverageOptions o = {.runs = r->paths,
                        .n_runs = r->n_paths,
                        .out = r->run ? r->run : "runs/average",
                        .predict = predict_options(r, NULL)};
    snprintf(r->made, sizeof r->made, "%s", o.out);
    return average_run(&o, err);
}

static Status find_run(Run *r, const char **out, Err *err)
{
    *out = r->made[0] ? r->made : file_is_folder(r->path) ? r->path : r->run;
    return *out ? NPC_OK
                : err_set(
                      err, NPC_ERR_USAGE,
                      "%s: prediction, scores and attention need a run directory: npc run RUN_DIR "
                      "--predict, or --run RUN_DIR",
                      r->path);
}

static Status jobs(Run *r, Err *err)
{
    const char *run;
    if (r->train)
        NPC_TRY(train(r, err));
    if (signals_stop_requested())
        return NPC_OK;
    if (r->average)
        NPC_TRY(average(r, err));
    NPC_TRY(find_run(r, &run, err));
    if (r->predict && !r->average) {
        PredictOptions o = predict_options(r, run);
        NPC_TRY(predict_run(&o, err));
    }
    if (r->score) {
        ScoreOptions o = {.run_dir = run,
                          .data = r->data,
                          .truth = r->truth,
                          .tiers = r->tier_bits,
                          .json = r->json,
                          .as_recorded = r->as_recorded,
                          .machine = r->machine};
        NPC_TRY(score_run(&o, err));
    }
    if (r->attention) {
        AttentionOptions o = {.run_dir = run,
                              .out = r->attention,
                              .data = r->data,
                              .tiers = r->tier_bits,
                              .trials = (uint32_t)r->trials,
                              .keep_weights = r->attention_weights,
                              .weights = r->weights_kind,
                              .machine = r->machine};
        NPC_TRY(attention_run(&o, err));
    }
    return NPC_OK;
}

int verb_run(int argc, char **argv)
{
    Run r = {.fuse = "full",
             .recompute = "none",
             .progress = "auto",
             .weights = "average",
             .device = "auto"};
    char *words_of[64]; /* before the options are taken out: for run.json */
    int n_words = argc < 64 ? argc : 64;
    memcpy(words_of, argv, (size_t)n_words * sizeof *argv);
    /* clang-format off */
    const OptionRow rows[] = {
        {"train", NULL, "train the model", .flag = &r.train},
        {"predict", NULL, "predict whole trials", .flag = &r.predict},
        {"average", NULL, "with --predict and several runs: the mean of what they predict, in the run "
         "directory --run, runs/average when left out", .flag = &r.average},
        {"score", NULL, "score the predictions", .flag = &r.score},
        {"attention", "DIR", "write what a model's transformers attend to: arrays, pictures, and "
         "correlations with pupil and running", .text = &r.attention},
        {"attention-weights", NULL, "with --attention: all weights, too; GB per trial for published "
         "sizes", .flag = &r.attention_weights},
        {"trials", "N", "with --attention: at most N trials of every recording and tier",
         .integer = &r.trials, .low = 1, .high = UINT32_MAX},
        {"data", "DIR", "folder of recordings; what the run used before when left out",
         .text = &r.data},
        {"run", "DIR", "run directory; runs/RECIPE when left out", .text = &r.run},
        {"resume", NULL, "go on with an interrupted training", .flag = &r.resume},
        {"model", "NAME", "model of the file; the last one when left out", .text = &r.model},
        {"recipe", "NAME", "recipe; the last one for the model when left out", .text = &r.recipe},
        {"set", "NAME=VALUE", "override an argument of the model or a setting of the recipe; may be "
         "repeated", .list = &r.sets},
        {"steps", "N", "stop after N steps of the recipe; --resume goes on", .integer = &r.steps,
         .low = 1, .high = INT64_MAX},
        {"tier", "NAME,..", "tiers to predict, score or look at; every test tier when left out",
         .text = &r.tiers},
        {"weights", "average|raw|best", "weights to predict with: the average or the raw ones of the "
         "last checkpoint, or the average of the best validation score", .text = &r.weights},
        {"batch", "N", "windows predicted at a time; the recipe's batch when left out",
         .integer = &r.batch, .low = 1, .high = 4096},
        {"truth", "DIR", "held-back responses and film numbers; DATA/truth when it is there",
         .text = &r.truth},
        {"as-recorded", NULL, "score responses as they were recorded, not divided by their statistics "
         "per frame, which recordings of few trials have no use for", .flag = &r.as_recorded},
        {"json", NULL, "print the scores as JSON", .flag = &r.json},
        {"threads", "N", "threads that compute; one per core when left out", .integer = &r.threads,
         .low = 1, .high = 1024},
        {"workers", "N", "threads that read recordings; 2 when left out", .integer = &r.workers,
         .low = 1, .high = 256},
        {"cpu", "native|generic|avx2|avx512", "vector unit to generate code for", .text = &r.cpu},
        {"device", "auto|cpu|cuda|cuda:N", "where programs run; auto takes a CUDA device when there "
         "is one", .text = &r.device},
        {"precision", "f32|tf32|bf16|f16", "of products and stored activations on a CUDA device; the "
         "recipe's when left out", .text = &r.precision},
        {"library", "large|all|none", "which plain products of a CUDA device cuBLAS computes; large "
         "ones when left out", .text = &r.library},
        {"package", "FILE.npk", "use the code for CUDA devices of a package (npc compile --target) "
         "where it fits, instead of compiling", .text = &r.package},
        {"fuse", "full|elementwise|none", "how far kernels are joined", .text = &r.fuse},
        {"recompute", "none|expand", "whether the backward pass computes large values again",
         .text = &r.recompute},
        {"pass-off", "PASS,..", "passes to leave out", .text = &r.disabled},
        {"interpret", NULL, "run kernels on the interpreter: slow, needs no code generator",
         .flag = &r.interpret},
        {"cache", "DIR", "folder of generated code; ~/.cache/npc when left out", .text = &r.cache},
        {"no-cache", NULL, "neither read nor write generated code", .flag = &r.no_cache},
        {"take-lock", NULL, "resume although a process of another host seems to write to the run",
         .flag = &r.take_lock},
        {"progress", "auto|bar|lines|quiet", "how progress is shown", .text = &r.progress},
        {.name = NULL},
    };
    /* clang-format on */
    const Command command = {
        .name = "run",
        .arguments = "MODEL.nm|RUN_DIR..",
        .help = "train, predict, score on recordings, look at attention",
        .options = rows,
        .examples = "npc run models/dwiseneuro.nm --train --data recordings --run runs/first\n"
                    "npc run runs/first --train --resume\n"
                    "npc run runs/first --predict --score --tier final_test_main\n"
                    "npc run runs/first --attention runs/first/attention --trials 4\n"
                    "npc run runs/1 runs/2 runs/3 --predict --average --run runs/mean --score\n",
        .least = 1,
        .most = 1000};
    Words words;
    int code;
    Err err = {0};
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    signals_install();
    r.path = words.at[0];
    r.paths = (const char *const *)words.at;
    r.n_paths = words.n;
    Status s = settle(&r, n_words, words_of, &err);
    if (s == NPC_OK)
        s = jobs(&r, &err);
    return command_finish(s, &err);
}
