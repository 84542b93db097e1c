/* npc as a library: compiles models of visual cortex, runs, trains, scores and verifies them. The
 * command-line tool does the same through the same functions.
 *
 *     NpcModel *model;
 *     NpcModelOptions options = {.model = "dwiseneuro", .batch = 1};
 *     if (npc_compile(&model, "models/dwiseneuro.nm", &options))
 *         fprintf(stderr, "%s\n", npc_error());
 *     npc_initialise(model, 42);
 *     npc_predict_batch(model, 0, clip, responses);
 *     npc_free(model);
 *
 * Results: functions return 0 when all is well, 1 when the job failed, 2 when the call or a file
 * was wrong; npc_error then has one sentence: what, where, what was expected. Mistakes in a model's
 * source are printed to stderr with their places.
 *
 * Threads: models are independent of each other; one model serves one thread at a time, and uses
 * several itself. Numbers are float32. Axes: b batch, c channels, t frames, h w pixels, n neurons;
 * the last one is the fastest. */
#ifndef NPC_H
#define NPC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0" */
const char *npc_version(void);
/* Why the last call of this thread failed; "" when none did. Valid until the next call. */
const char *npc_error(void);

/* ---- models ---- */

typedef struct NpcModel NpcModel;

/* All zero: the file's last model as it stands there, on all cores. */
typedef struct NpcModelOptions {
    const char *model, *recipe; /* names in the file; NULL: the last ones */
    const char *const *sets;    /* [n_sets] "name=value" overrides, as in "expansion=6" */
    int n_sets;
    int64_t batch;         /* clips of npc_predict_batch; 0: the recipe's */
    const char *cpu;       /* "generic", "avx2", "avx512"; NULL: the best there is */
    const char *device;    /* "cpu", "cuda", "cuda:N", "auto"; NULL: auto */
    const char *precision; /* "f32", "tf32", "bf16", "f16" on a CUDA device; NULL: the recipe's */
    const char *fuse;      /* "none", "elementwise", "full"; NULL: full */
    int threads;           /* 0: one per core */
    bool interpret;        /* no machine code: slow, needs no code generator */
    bool no_cache;         /* neither read nor write the folder of generated code */
} NpcModelOptions;

/* From source text to a program that predicts. The model belongs to the caller: npc_free. Its
 * parameters are undefined until npc_initialise or npc_load. NULL options are all zero. */
int npc_compile(NpcModel **out, const char *path, const NpcModelOptions *options);
void npc_free(NpcModel *model);

const char *npc_model_name(const NpcModel *model);
/* The whole program as one source text, every override applied. Lives as long as the model. */
const char *npc_model_source(const NpcModel *model);
/* Learned numbers. */
int64_t npc_model_parameters(const NpcModel *model);
/* Of one clip with every recording's readout, padded taps included. */
int64_t npc_model_multiply_adds(const NpcModel *model);
int64_t npc_model_batch(const NpcModel *model);
int npc_model_recordings(const NpcModel *model);
/* Of recording i in 0 .. npc_model_recordings - 1. */
const char *npc_recording_name(const NpcModel *model, int i);
int64_t npc_recording_neurons(const NpcModel *model, int i);

/* Fresh parameters, a function of the seed and their names. */
void npc_initialise(NpcModel *model, uint64_t seed);
/* Weights of a run directory: "average", "raw" or "best" (npc_train). */
int npc_load(NpcModel *model, const char *run_dir, const char *weights);

/* Elements of a batch of inputs, and of recording i's answer [b n t] (t 1 for images). Inputs stand
 * whole, one behind the other, in the order clip [b c t h w], video [b c t h w], image [b c h w],
 * behavior [b k t], pupil [b k t], as far as the model has them. */
int64_t npc_clip_elems(const NpcModel *model);
int64_t npc_response_elems(const NpcModel *model, int i);
/* Predicts recording i's responses to a batch of inputs, prepared as the recipe says (grey levels
 * 0..255 and behaviour as recorded, unless it standardises). */
int npc_predict_batch(NpcModel *model, int i, const float *clip, float *responses);

/* ---- whole jobs on recordings ---- */

/* All zero: the same as the tool without options. Progress goes to stderr. */
typedef struct NpcJob {
    const char *data; /* folder of recordings; NULL: what the run directory used so far */
    const char *model, *recipe;
    const char *const *sets;
    int n_sets;
    bool resume;                    /* training: go on with the run directory */
    const char *device, *precision; /* as in NpcModelOptions */
    int threads;
    bool interpret, quiet;
} NpcJob;

typedef struct NpcTraining {
    uint64_t step, steps;     /* finished, of the whole recipe */
    double loss, score, best; /* of the last step; validation scores; NaN: none */
} NpcTraining;

/* Trains into `run_dir` (made when absent). `path`: the .nm file; NULL with resume. `out` may be
 * NULL. */
int npc_train(const char *path, const char *run_dir, const NpcJob *job, NpcTraining *out);
/* Writes run_dir/predictions/ for every test trial, with the averaged weights. */
int npc_predict(const char *run_dir, const NpcJob *job);
/* Writes run_dir/scores.json and report.md from the predictions. */
int npc_score(const char *run_dir, const NpcJob *job);

/* Compares with the reference numbers of a safetensors file; 1: something differs, npc_error names
 * the worst tensor. `path` may be NULL for files of single operations. */
int npc_verify(const char *path, const char *case_path, const NpcModelOptions *options);

#ifdef __cplusplus
}
#endif

#endif
