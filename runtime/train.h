/* `npc run --train`: trains a model on recordings into a run directory (run_dir.h), or goes on with
 * one that was interrupted. A run that was stopped anywhere and resumed gives the same bits as one
 * that was not, for any number of threads. */
#ifndef NPC_RUNTIME_TRAIN_H
#define NPC_RUNTIME_TRAIN_H

#include "runtime/model.h"
#include "runtime/progress.h"
#include "runtime/run_dir.h"

/* How and where programs run; shared by training, prediction and scoring. */
typedef struct RunMachine {
    int threads;      /* 0: one per core */
    uint32_t workers; /* that read data; 0: 2 */
    /* as in ModelOptions */
    const char *cpu, *cache_folder, *disabled, *device, *precision, *package, *library;
    FuseLevel fuse;
    RecomputeMode recompute;
    bool interpret, no_cache;
    ProgressMode progress;
    FILE *out; /* progress and notes; NULL: stderr */
    int argc;  /* for run.json */
    char **argv;
} RunMachine;

typedef struct TrainOptions {
    const char *model_path; /* .nm file; NULL: `run_dir` goes on with its own */
    const char *run_dir;    /* NULL: runs/<recipe> */
    const char *data;       /* NULL: what the run used so far */
    bool resume, take_lock;
    const char *model, *recipe;
    const char *const *sets;
    int n_sets;
    uint64_t stop_after; /* finished steps to stop at; 0: the recipe's end */
    RunMachine machine;
    void (*after_step)(void *user, uint64_t step); /* tests; may be NULL */
    void *user;
} TrainOptions;

typedef struct TrainResult {
    uint64_t step, total;
    double loss, score, best; /* NaN: none */
    char run_dir[3072];
} TrainResult;

/* NPC_ERR_FAILED: the loss is not finite (names the step; the checkpoints are older). NPC_ERR_IO:
 * the disk is full or read-only; the checkpoints are as they were. */
Status train_run(const TrainOptions *o, TrainResult *out, Err *err);

/* The folder of recordings that run.json names. */
Status run_data_folder(const RunDir *run, Arena *arena, const char **out, Err *err);
/* Options of a model on this machine; `path`: its .nm file. */
ModelOptions machine_model_options(const RunMachine *m, const char *path);

#endif
