/* Times a program of a model at several fusion levels, kernel by kernel.
 *
 * "predict" is one evaluation of a batch with every recording's readout; "step" one whole training
 * step: random masks, forward, loss, backward, AdamW, moving average. In a step sample i of the
 * batch belongs to recording i mod n; kernels of recordings without samples do not run and do not
 * count. Inputs are random: grey levels for clips, positive targets.
 *
 * The levels take turns (A B A B ..), so that what else happens on the machine hits all of them;
 * when their memory does not fit together they run one after the other.
 *
 * On a CUDA device a call is timed as training runs it, from the host, with its launches recorded
 * as a graph and the inputs of the next step sent while it runs, clips as the device fills them if
 * the recipe fits the model; kernels are timed in another call, by events of the device. */
#ifndef NPC_RUNTIME_BENCH_RUN_H
#define NPC_RUNTIME_BENCH_RUN_H

#include "runtime/model.h"
#include "runtime/roofline.h"

enum { BENCH_LEVELS = 3 };

typedef struct BenchOptions {
    ModelOptions model; /* `fuse` is not looked at */
    ProgramKind kind;   /* PROGRAM_EVAL or PROGRAM_STEP */
    FuseLevel level[BENCH_LEVELS];
    int n_levels;
    int runs, warm; /* timed and untimed runs of each level */
} BenchOptions;

typedef struct BenchTime {
    double median, min, max; /* seconds */
} BenchTime;

typedef struct BenchLaunch {
    const char *name, *part; /* of the source; "" none */
    bool backward, by_library;
    double flops, bytes; /* of the samples that run */
    BenchTime time;
} BenchLaunch;

typedef struct BenchVariant {
    FuseLevel fuse;
    BenchLaunch *launch;
    int n_launches;                   /* that run in every call */
    int n_ops, n_distinct, n_library; /* n_library: of n_launches, computed by a library */
    BenchTime total, masks;
    double flops, bytes; /* sums over the launches */
    double elaborate_seconds, plan_seconds, code_seconds;
    bool from_cache;
    EngineMemory memory;
    const char *target;
    double *seconds; /* [runs] of whole calls */
} BenchVariant;

typedef struct BenchReport {
    Arena arena;
    const char *path, *model;
    ProgramKind kind;
    int64_t batch;
    int threads, runs, n_recordings;
    bool interpreted, together; /* levels took turns */
    bool is_cuda;               /* then: */
    int ordinal;
    PrecisionMode precision;
    int64_t multiply_adds; /* per clip, evaluation */
    BenchVariant variant[BENCH_LEVELS];
    int n_variants;
    int64_t peak_bytes; /* of the process so far */
} BenchReport;

/* `report` starts zeroed and is freed by bench_report_free whatever comes back. */
Status bench_run(const BenchOptions *options, BenchReport *report, Err *err);
void bench_report_free(BenchReport *report);

/* Reports side by side: totals, blocks, and the `n_kernels` slowest kernels of every level. */
void bench_report_print(const BenchReport *reports, int n, const Roofline *roof, int n_kernels,
                        FILE *out);
/* One JSON object with everything. */
void bench_report_json(const BenchReport *reports, int n, const Roofline *roof, FILE *out);

#endif
