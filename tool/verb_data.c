/* npc data: makes recordings, says what they hold and what is wrong with them, deals their trials
 * to folds. */
#include <math.h>
#include <stdlib.h>

#include "data/data_check.h"
#include "runtime/folds.h"
#include "data/import.h"
#include "runtime/progress.h"
#include "data/synth_images.h"
#include "tool/verb.h"
#include "tool/verbs.h"

/* Does a job that has an arena of its own; memory that ends is a status. */
static Status in_arena(Status (*job)(Arena *arena, void *context, Err *err), void *context,
                       const char *dir, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s = setjmp(exhausted) ? err_set(err, NPC_ERR_MEMORY, "%s: not enough memory", dir)
                                 : job(&arena, context, err);
    arena_free(&arena);
    return s;
}

/* ---- synth ---- */

enum { PROGRESS_STEPS = 1000 };

static void show_progress(void *cx, double fraction, const char *what)
{
    ProgressState s = {
        .stage = what, .step = (uint64_t)(fraction * PROGRESS_STEPS), .loss = NAN, .score = NAN};
    progress_update(cx, &s);
}

static void print_ceilings(const SynthSummary *summary, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        printf("%s\n", summary[i].name);
        printf("  %-22s %10s %14s %14s %10s %14s\n", "tier", "repeats", "true rate", "to average",
               "linear", "to average");
        for (int k = 0; k < SYNTH_TEST_TIERS; k++) {
            const SynthCeiling *c = &summary[i].tier[k];
            if (c->tier)
                printf("  %-22s %10.4f %14.4f %14.4f %10.4f %14.4f\n", c->tier, c->leave_one_out,
                       c->single_trial, c->to_average, c->linear_single_trial,
                       c->linear_to_average);
        }
    }
}

static Status synth(const char *out, const SynthOptions *o, bool images, bool quiet, Err *err)
{
    NPC_TRY(synth_check(o, err));
    SynthSummary *summary = calloc(o->mice, sizeof *summary);
    if (!summary)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory");
    Progress progress;
    progress_open(&progress, stderr, quiet ? PROGRESS_QUIET : PROGRESS_AUTO, PROGRESS_STEPS);
    Status s =
        (images ? synth_images_write : synth_write)(out, o, show_progress, &progress, summary, err);
    progress_close(&progress);
    if (s == NPC_OK && !quiet)
        print_ceilings(summary, o->mice);
    free(summary);
    return s;
}

static int data_synth(int argc, char **argv)
{
    SynthOptions o = synth_defaults();
    int64_t mice = o.mice, neurons = o.neurons, trials = -1, frames = o.frames, height = o.height,
            width = o.width, clips = -1, repeats = o.repeats, types = o.types,
            seed = (int64_t)o.seed;
    bool quiet = false, images = false;
    const int64_t most = UINT32_MAX;
    const OptionRow options[] = {
        {"images", NULL, "recordings of images instead of films", .flag = &images},
        {"mice", "N", "recordings", .integer = &mice, .high = most},
        {"neurons", "N", "neurons of a recording", .integer = &neurons, .high = most},
        {"trials", "N", "training trials, one clip or image each", .integer = &trials,
         .high = most},
        {"frames", "N", "usual length of a clip at 30 Hz", .integer = &frames, .high = most},
        {"height", "N", "pixels", .integer = &height, .high = most},
        {"width", "N", "pixels", .integer = &width, .high = most},
        {"clips", "N", "distinct clips or images of every test set", .integer = &clips,
         .high = most},
        {"repeats", "N", "repeats of every test clip", .integer = &repeats, .high = most},
        {"types", "N", "kinds of cells of a recording; 0: every cell is its own", .integer = &types,
         .high = most},
        {"signal", "X", "factor on the spike counts: more is easier to predict",
         .number = &o.signal},
        {"seed", "N", "the same seed and options give the same bytes", .integer = &seed,
         .high = INT64_MAX},
        {"quiet", NULL, "print nothing but errors", .flag = &quiet},
        {.name = NULL},
    };
    const Command command = {
        .name = "data synth",
        .arguments = "OUT",
        .help = "makes believable recordings with known ceilings and linear floors in "
                "an empty folder",
        .options = options,
        .examples = "npc data synth recordings\n"
                    "npc data synth recordings --mice 3 --neurons 200 --trials 120 --seed 7\n"
                    "npc data synth pictures --images\n",
        .least = 1,
        .most = 1};
    Words words;
    Err err = {0};
    int code;
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    if (images) {
        SynthOptions usual = synth_image_defaults();
        o.trials = usual.trials;
        o.clips = usual.clips;
    }
    o.mice = (uint32_t)mice;
    o.neurons = (uint32_t)neurons;
    o.trials = trials < 0 ? o.trials : (uint32_t)trials;
    o.frames = (uint32_t)frames;
    o.height = (uint32_t)height;
    o.width = (uint32_t)width;
    o.clips = clips < 0 ? o.clips : (uint32_t)clips;
    o.repeats = (uint32_t)repeats;
    o.types = (uint32_t)types;
    o.seed = (uint64_t)seed;
    Status s = synth(words.at[0], &o, images, quiet, &err);
    return command_finish(s, &err);
}

/* ---- info ---- */

typedef struct Info {
    const char *dir;
    bool json;
} Info;

static Status info(Arena *arena, void *context, Err *err)
{
    const Info *job = context;
    const char *dir = job->dir;
    DataReport report;
    NPC_TRY(data_check(&report, arena, dir, err));
    if (job->json)
        NPC_TRY(data_report_print_json(&report, stdout, err));
    else
        data_report_print(&report, stdout);
    uint32_t n = report.findings.list.len;
    return n ? err_set(err, NPC_ERR_INPUT, "%s: %u thing%s wrong with the recordings", dir, n,
                       n == 1 ? " is" : "s are")
             : NPC_OK;
}

static int data_info(int argc, char **argv)
{
    Info job = {0};
    const OptionRow options[] = {
        {"json", NULL, "machine-readable output", .flag = &job.json},
        {.name = NULL},
    };
    const Command command = {
        .name = "data info",
        .arguments = "DIR",
        .help = "reads a recording, or a folder of recordings, and names all that is wrong",
        .options = options,
        .examples = "npc data info recordings\nnpc data info recordings --json\n",
        .least = 1,
        .most = 1};
    Words words;
    Err err = {0};
    int code;
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    job.dir = words.at[0];
    return command_finish(in_arena(info, &job, job.dir, &err), &err);
}

/* ---- folds ---- */

static void print_folds(const Folds *f, uint32_t n_folds)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const Recording *r = f->recording[i];
        uint32_t without = 0;
        printf("%s\n", r->name);
        for (uint32_t k = 0; k < n_folds; k++) {
            uint32_t count = 0;
            for (uint32_t t = 0; t < r->n_trials; t++)
                count += f->of[i][t] == (int32_t)k;
            printf("  fold %-3u %6u trials\n", k, count);
        }
        for (uint32_t t = 0; t < r->n_trials; t++)
            without += f->of[i][t] == FOLD_NONE;
        printf("  none     %6u trials\n", without);
    }
}

typedef struct Dealing {
    const char *dir, *output;
    uint32_t n_folds;
    bool json;
    Workers *workers;
} Dealing;

static Status deal(Arena *arena, void *context, Err *err)
{
    const Dealing *job = context;
    Recordings recordings;
    Folds folds;
    const char *text;
    NPC_TRY(recordings_open(&recordings, arena, job->dir, err));
    NPC_TRY(folds_make(&folds, arena, (const Recording *const *)recordings.at, recordings.len,
                       job->n_folds, job->workers, err));
    NPC_TRY(folds_text(&text, arena, &folds, err));
    if (job->output)
        NPC_TRY(file_write(job->output, text, strlen(text), err));
    if (job->json)
        puts(text);
    else
        print_folds(&folds, job->n_folds);
    return NPC_OK;
}

static int data_folds(int argc, char **argv)
{
    Dealing job = {0};
    int64_t n_folds = 7, threads = 0;
    const OptionRow options[] = {
        {"folds", "N", "number of folds", .integer = &n_folds, .low = 2, .high = 1000},
        {"threads", "N", "threads; one per core when left out", .integer = &threads, .low = 1,
         .high = 1024},
        {"json", NULL, "print the fold of every trial, -1 for none", .flag = &job.json},
        {"output", "FILE", "write the same to a file", .text = &job.output, .letter = 'o'},
        {.name = NULL},
    };
    const Command command = {
        .name = "data folds",
        .arguments = "DIR",
        .help = "deals trials to folds by what their films show, so that no film is in two",
        .options = options,
        .examples = "npc data folds recordings\nnpc data folds recordings --json -o folds.json\n",
        .least = 1,
        .most = 1};
    Words words;
    Err err = {0};
    int code;
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    job.dir = words.at[0];
    job.n_folds = (uint32_t)n_folds;
    Status s = workers_start(&job.workers, (int)threads, 0, &err);
    if (s == NPC_OK)
        s = in_arena(deal, &job, job.dir, &err);
    workers_stop(job.workers);
    return command_finish(s, &err);
}

/* ---- import ---- */

typedef struct ImportJob {
    const char *kind, *from, *out;
    AllenOptions allen;
} ImportJob;

static Status import(Arena *arena, void *context, Err *err)
{
    const ImportJob *job = context;
    ImportedList done = {0};
    if (!strcmp(job->kind, "allen"))
        NPC_TRY(import_allen(arena, job->from, job->out, &job->allen, &done, err));
    else if (!strcmp(job->kind, "macaque_v4"))
        NPC_TRY(import_macaque_v4(arena, job->from, job->out, &done, err));
    else
        return err_set(err, NPC_ERR_USAGE, "data import: expected allen or macaque_v4, found '%s'",
                       job->kind);
    for (uint32_t i = 0; i < done.n; i++) {
        const Imported *m = &done.made[i];
        printf("%s/%s: %u neurons, %u trials", job->out, m->name, m->neurons, m->trials);
        if (m->negative)
            printf(", %llu responses below 0 are kept", (unsigned long long)m->negative);
        putchar('\n');
    }
    return NPC_OK;
}

static int data_import(int argc, char **argv)
{
    ImportJob job = {.allen = allen_defaults()};
    int64_t height = job.allen.height, width = job.allen.width, seed = (int64_t)job.allen.seed;
    const OptionRow options[] = {
        {"offset", "S", "allen: where the window of responses begins, seconds after the onset",
         .number = &job.allen.offset},
        {"length", "S", "allen: length of that window, seconds", .number = &job.allen.length},
        {"height", "N", "allen: pixels of the images written", .integer = &height, .low = 8,
         .high = 4096},
        {"width", "N", "allen: pixels of the images written", .integer = &width, .low = 8,
         .high = 4096},
        {"seed", "N", "allen: of the split of images into tiers", .integer = &seed,
         .high = INT64_MAX},
        {.name = NULL},
    };
    const Command command = {
        .name = "data import",
        .arguments = "KIND FROM OUT",
        .help = "makes recordings of images from other files: allen (an Allen Brain Observatory "
                "session, .nwb) or macaque_v4 (a folder)",
        .options = options,
        .examples = "npc data import allen 501559087.nwb recordings\n"
                    "npc data import macaque_v4 V4/data recordings\n",
        .least = 3,
        .most = 3};
    Words words;
    Err err = {0};
    int code;
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    job.kind = words.at[0];
    job.from = words.at[1];
    job.out = words.at[2];
    job.allen.height = (uint32_t)height;
    job.allen.width = (uint32_t)width;
    job.allen.seed = (uint64_t)seed;
    return command_finish(in_arena(import, &job, job.out, &err), &err);
}

/* ---- the verb ---- */

static const Verb DATA_VERBS[] = {
    {"synth", "make believable recordings", data_synth},
    {"info", "what recordings hold and what is wrong with them", data_info},
    {"folds", "deal trials to folds by what their films show", data_folds},
    {"import", "recordings of images from other files", data_import},
};

static const VerbTable TABLE = {
    .name = "npc data",
    .prefix = "npc: data",
    .about = "npc data: makes, inspects and splits recordings.",
    .more = "'npc data VERB --help' shows options and examples.\n\nexamples:\n"
            "  npc data synth recordings\n  npc data info recordings\n",
    .at = DATA_VERBS,
    .n = sizeof DATA_VERBS / sizeof *DATA_VERBS};

int verb_data(int argc, char **argv)
{
    return verb_table_run(&TABLE, argc, argv);
}
