/* A model at given sizes, from its source text to programs that run.
 *
 *     model_open -> model_add (each program wanted) -> model_ready -> engine_run(model->engine, ..)
 *
 * Mistakes in the source are printed to options->messages and become NPC_ERR_INPUT. Memory that
 * runs out while compiling becomes NPC_ERR_MEMORY, wherever it happens. */
#ifndef NPC_RUNTIME_MODEL_H
#define NPC_RUNTIME_MODEL_H

#include "ir/elaborate.h"
#include "runtime/engine.h"

typedef struct ModelOptions {
    const char *path;           /* .nm file */
    const char *model, *recipe; /* NULL: the file's last */
    const char *const *sets;    /* "name=value" overrides */
    int n_sets;
    const Session *sessions; /* NULL: the file's list */
    int n_sessions;
    int64_t batch; /* 0: the recipe's, cut into its chunks */
    const AxisSize *bind;
    int n_bind;
    bool probes, no_dropping;

    FuseLevel fuse;
    RecomputeMode recompute;
    const char *disabled;  /* passes to leave out, separated by commas; NULL: none */
    const char *cpu;       /* "generic", "avx2", "avx512"; NULL: the host's best */
    const char *device;    /* as device_find takes it; NULL: the CPU */
    const char *precision; /* "f32", "tf32", "bf16", "f16"; NULL: the recipe's. The CPU has f32 */
    const char *library;   /* as device_find_library takes it */
    const char *package;   /* .npk whose cubins a CUDA device uses where they fit; NULL: none */
    int threads;           /* 0: one per core */
    bool interpret;        /* no machine code */
    bool no_cache;
    const char *cache_folder; /* NULL: $XDG_CACHE_HOME/npc or ~/.cache/npc */
    bool verify_passes;
    const char *emit_after;            /* pass name or "all" */
    Text *emit, *emit_llvm, *emit_asm; /* in the caller's arena */
    FILE *messages;                    /* NULL: stderr */
    bool json_messages;
    long fail_at; /* tests: the N-th request for memory while compiling fails */
} ModelOptions;

typedef struct Model {
    Arena arena;
    Names names;
    Diags diags;
    ModelOptions options;
    Module *module;
    Elaborated info;
    EngineOptions machine;
    const char *target; /* name of what code is for: "avx512", "cuda:sm_90" */
    PassOptions passes;
    int64_t batch;
    Engine *engine;
} Model;

Status model_open(Model **out, const ModelOptions *options, Err *err);
/* Optimizes and plans a program; its number in the engine. */
Status model_add(Model *m, ProgramKind kind, int *program, Err *err);
/* The same for one sample of `frames` frames: the model is built once more at that size (*module,
 * the model's own memory) and shares the parameters. */
Status model_add_trial(Model *m, ProgramKind kind, int64_t frames, int *program,
                       const Module **module, Err *err);
Status model_ready(Model *m, Err *err);
void model_close(Model *m);

/* Learned parameters (no states, nothing frozen), and their elements. */
int model_n_parameters(const Model *m, int64_t *elems);
/* Fills parameters and states with their initial values, a function of seed and name alone. The
 * averages and the weights of schedule_free start as copies, the optimizer's moments as zeros. */
void model_initialise(Model *m, uint64_t seed);

#endif
