/* npc bench: times a model's programs, fused beside unfused, beside this machine's limits. */
#include <string.h>

#include "ir/base/file.h"
#include "runtime/bench_run.h"
#include "tool/model_flags.h"
#include "tool/verb.h"

enum { MOST_REPORTS = 2 };

typedef struct BenchVerb {
    ModelFlags flags;
    const char *path, *program, *levels, *json;
    int64_t runs, warm, kernels;
    BenchOptions options;
    BenchReport report[MOST_REPORTS];
    int n_reports;
} BenchVerb;

/* "full,none" */
static Status read_levels(BenchVerb *b, Err *err)
{
    for (const char *p = b->levels; p;) {
        size_t n = strcspn(p, ",");
        char word[32];
        FuseLevel level;
        snprintf(word, sizeof word, "%.*s", (int)(n < 31 ? n : 31), p);
        if (!fuse_level_find(word, &level) || b->options.n_levels == BENCH_LEVELS)
            return err_set(err, NPC_ERR_USAGE,
                           "--fuse: expected up to three of full, elementwise and none, as in "
                           "full,none; found '%s'",
                           b->levels);
        b->options.level[b->options.n_levels++] = level;
        p = p[n] ? p + n + 1 : NULL;
    }
    return NPC_OK;
}

static double greater(double a, double b)
{
    return a > b ? a : b;
}

/* Keeps the best values of all calls: before and after the programs run. */
static Status measure_roof(const BenchVerb *b, Roofline *roof, Err *err)
{
    Workers *workers = NULL;
    Target target;
    Roofline r = {0};
    if (!target_find(b->options.model.cpu, &target, err))
        return err->status;
    Status s = workers_start(&workers, (int)b->flags.threads, 0, err);
    if (s == NPC_OK)
        s = roofline_measure(&r, workers, target.cpu, err);
    if (workers)
        workers_stop(workers);
    if (s == NPC_OK)
        *roof = (Roofline){.threads = r.threads,
                           .peak = greater(r.peak, roof->peak),
                           .read = greater(r.read, roof->read),
                           .copy = greater(r.copy, roof->copy)};
    return s;
}

static Status write_json(const BenchVerb *b, const Roofline *roof, Err *err)
{
    FileWriter w;
    if (!strcmp(b->json, "-")) {
        bench_report_json(b->report, b->n_reports, roof, stdout);
        return NPC_OK;
    }
    NPC_TRY(file_begin(&w, b->json, err));
    bench_report_json(b->report, b->n_reports, roof, w.stream);
    if (!ferror(w.stream))
        return file_commit(&w, err);
    file_abandon(&w);
    return err_set(err, NPC_ERR_IO, "%s: cannot write", b->json);
}

static Status bench(BenchVerb *b, Err *err)
{
    static const ProgramKind KINDS[] = {PROGRAM_EVAL, PROGRAM_STEP};
    const ModelOptions *m = &b->options.model;
    DeviceOptions device = {0};
    Roofline roof = {0};
    NPC_TRY(read_levels(b, err));
    NPC_TRY(model_flags_apply(&b->flags, b->path, &b->options.model, err));
    b->options.runs = (int)b->runs;
    b->options.warm = (int)b->warm;
    NPC_TRY(device_find(device_choice(m->device, m->interpret || m->cpu), &device, NULL, err));
    if (!device_is_cuda(&device))
        NPC_TRY(measure_roof(b, &roof, err));
    for (int i = 0; i < MOST_REPORTS; i++) {
        if (strcmp(b->program, "both") && strcmp(b->program, program_kind_text(KINDS[i])))
            continue;
        b->options.kind = KINDS[i];
        NPC_TRY(bench_run(&b->options, &b->report[b->n_reports++], err));
    }
    if (device_is_cuda(&device))
        NPC_TRY(roofline_measure_cuda(&roof, device.ordinal, b->report[0].precision, err));
    else
        NPC_TRY(measure_roof(b, &roof, err));
    if (!b->json || strcmp(b->json, "-"))
        bench_report_print(b->report, b->n_reports, &roof, (int)b->kernels, stdout);
    return b->json ? write_json(b, &roof, err) : NPC_OK;
}

int verb_bench(int argc, char **argv)
{
    BenchVerb b = {.program = "both", .levels = "full,none", .runs = 5, .warm = 2, .kernels = 12};
    model_flags_init(&b.flags);
    const OptionRow options[] = {
        MODEL_FLAG_ROWS(b.flags),
        {"fuse", "LEVEL,..", "levels to compare: full, elementwise, none; full,none when left out",
         .text = &b.levels},
        {"program", "predict|step|both", "what is timed", .text = &b.program},
        {"runs", "N", "timed runs of each level", .integer = &b.runs, .low = 5, .high = 100000},
        {"warm", "N", "untimed runs before them", .integer = &b.warm, .low = 1, .high = 1000},
        {"kernels", "N", "slowest kernels of every level to list", .integer = &b.kernels, .low = 0,
         .high = 100000},
        {"json", "FILE", "write everything as JSON; '-' is standard output, without the tables",
         .text = &b.json},
        {.name = NULL},
    };
    const Command command = {
        .name = "bench",
        .arguments = "MODEL.nm",
        .help = "times kernels, blocks and whole programs, fused beside unfused",
        .options = options,
        .examples = "npc bench models/dwiseneuro.nm --model dwiseneuro --batch 4\n"
                    "npc bench models/dwiseneuro.nm --program predict --batch 1 --json bench.json\n"
                    "npc bench models/dwiseneuro.nm --fuse full,elementwise,none --kernels 40\n",
        .least = 1,
        .most = 1};
    Words words;
    Err err = {0};
    int code;
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    b.path = words.at[0];
    Status s = bench(&b, &err);
    for (int i = 0; i < MOST_REPORTS; i++)
        bench_report_free(&b.report[i]);
    return command_finish(s, &err);
}
