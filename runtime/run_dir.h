/* The folder of one run: everything needed to understand, resume and reproduce it.
 *
 *     model.nm       resolved source           log.jsonl        one JSON object per line
 *     recipe.txt     resolved recipe           events.out.*     scalars for TensorBoard
 *     run.json       versions, command line,   checkpoints/     step files and best.safetensors
 *                    host, hashes, seed        predictions/     written by prediction
 *     statistics/    what standardising had to compute (statistics.h)
 *     lock           pid and host of the process that writes here; gone afterwards */
#ifndef NPC_RUNTIME_RUN_DIR_H
#define NPC_RUNTIME_RUN_DIR_H

#include "ir/base/file.h"

typedef struct RunDir {
    char path[3072];
    int lock_fd;    /* -1: opened for reading only */
    char note[512]; /* "" or what the user should know: a stale lock was taken over */
} RunDir;

/* Makes the folder (parents too) with its subfolders and takes the lock. An existing empty folder
 * is fine. NPC_ERR_INPUT: it already holds a run, or files that are not a run; NPC_ERR_IO: it
 * cannot be written. `run_json` identifies the folder as a run from then on. */
Status run_dir_create(RunDir *out, const char *path, const char *run_json, Err *err);

typedef enum RunDirAccess {
    RUN_DIR_READ,       /* no lock: predict, report */
    RUN_DIR_WRITE,      /* resume: takes the lock, tries that the folder can be written */
    RUN_DIR_WRITE_TAKE, /* the same, also when a process on another host holds the lock */
} RunDirAccess;

/* Opens an existing run. NPC_ERR_INPUT: no run there, or another process writes to it (the message
 * names pid and host). A lock left by a process of this host that is gone is taken over. */
Status run_dir_open(RunDir *out, const char *path, RunDirAccess access, Err *err);
/* Gives the lock back. */
void run_dir_close(RunDir *run);

/* Whether a path is a folder with a run in it. */
bool run_dir_is_run(const char *path);
/* path/name into `out`; NPC_ERR_INPUT when it does not fit. */
Status run_dir_path(const RunDir *run, const char *name, char *out, size_t size, Err *err);
/* Durable whole files by name: "model.nm", "recipe.txt", "run.json", "report.html". */
Status run_dir_put(const RunDir *run, const char *name, const char *text, Err *err);
Status run_dir_get(const RunDir *run, Arena *arena, const char *name, size_t limit, char **out,
                   size_t *out_len, Err *err);

/* What run.json says; NULL texts are left out. */
typedef struct RunFacts {
    int argc;
    char **argv;
    const char *model, *model_hash, *recipe_hash, *data_hash, *backend, *version;
    const char *data;            /* folder of recordings, absolute */
    const char *const *averages; /* folders of the runs that it is the mean of */
    int n_averages;
    uint64_t seed;
} RunFacts;

/* run.json's text: the facts plus host, user time (UTC), pid, working folder, processor count and
 * library versions. */
const char *run_dir_facts_text(Arena *arena, const RunFacts *facts);

#endif
