/* What the files of verify share: the case being verified, its tensors, its rows, and the subject,
 * which is either an engine or the reference evaluator. Private to runtime/verify*.c. */
#ifndef NPC_VERIFY_VERIFY_PARTS_H
#define NPC_VERIFY_VERIFY_PARTS_H

#include <jansson.h>

#include "ir/eval.h"
#include "runtime/model.h"
#include "data/safetensors.h"
#include "verify/verify.h"

typedef struct Subject Subject;

/* Who wrote the file: tolerances are those of the page next to it. */
typedef enum VerifyFamily {
    VERIFY_DWISENEURO,
    VERIFY_TRANSFORMERS, /* ViV1T, V1T */
    VERIFY_WINDOWS,      /* Dynamic-V1FM */
    VERIFY_BASELINES,    /* recurrent and factorised; their page allows 5e-5 throughout */
    VERIFY_FAMILIES,
} VerifyFamily;

/* What is compared, each with a tolerance: verify_tolerances.c. */
typedef enum VerifyQuantity {
    VERIFY_OUTPUTS,
    VERIFY_LOSS,
    VERIFY_GRADIENTS,
    VERIFY_VANISHING, /* gradients that vanish identically, in parts of the case's largest */
    VERIFY_STATISTICS,
    VERIFY_PARAMETERS, /* after a step on gradients of one's own */
    VERIFY_STEP,       /* the same on the gradients of the file */
    VERIFY_TIGHT,      /* what is computed on the host */
    VERIFY_EXACT,
    VERIFY_QUANTITIES,
} VerifyQuantity;

/* The largest error allowed. *by_norm: errors are norms of whole tensors, as where 16 bits round.
 */
double verify_tolerance(const VerifyOptions *o, VerifyFamily family, VerifyQuantity what,
                        bool *by_norm);

typedef struct VerifyCase {
    const VerifyOptions *options;
    VerifyFamily family;
    const char *model_path, *path;
    Safetensors file;
    VerifyReport *report;
    Arena *arena;     /* the report's */
    Map used;         /* names of the tensors that were read */
    Subject *subject; /* open, in the arena; closed with the case */
    json_t *json;     /* parsed metadata, an array; released with the case */
} VerifyCase;

/* A step after rounded gradients is compared where their sign is safe, as a share of the tensor's
 * largest. */
#define VERIFY_ROUNDED_SHARE 0.2

/* The device's text; one for the CPU's code alone is the CPU. */
const char *verify_device(const VerifyOptions *o);

Status verify_model_case(VerifyCase *c, Err *err);
/* Cases in which every recording has a batch of its own. */
Status verify_mice_case(VerifyCase *c, Err *err);
/* The same for the competition's baselines, whose recordings differ in the size of their batch. */
Status verify_baselines_case(VerifyCase *c, Err *err);
Status verify_ops_case(VerifyCase *c, Err *err);

/* ---- tensors of the file: verify.c ---- */

/* NULL when absent; marks it as used. */
const SafetensorsEntry *verify_find(VerifyCase *c, const char *name);
/* All elements as float64; `rank` sizes, of which -1 fits any. Missing or of another shape:
 * NPC_ERR_INPUT naming the tensor. */
Status verify_read(VerifyCase *c, const char *name, int rank, const int64_t *size, double **out,
                   Err *err);
/* The same in float32. */
Status verify_read_floats(VerifyCase *c, const char *name, int rank, const int64_t *size,
                          float **out, Err *err);
int64_t verify_size(const SafetensorsEntry *e, int axis);
/* Metadata as JSON; borrowed. */
Status verify_meta(VerifyCase *c, const char *key, json_t **out, Err *err);

__attribute__((format(printf, 2, 3))) const char *verify_name(VerifyCase *c, const char *fmt, ...);

/* ---- rows: verify.c ---- */

VerifyRow verify_row(const VerifyCase *c, const char *quantity, VerifyQuantity what);
/* One more tensor: got against want, n elements. */
void verify_compare(VerifyRow *row, const char *tensor, const double *got, const double *want,
                    int64_t n);
/* The same with a scale of its own instead of max |want|. */
void verify_compare_scaled(VerifyRow *row, const char *tensor, const double *got,
                           const double *want, int64_t n, double scale);
/* Rows without a tensor are left out. */
void verify_push(VerifyCase *c, VerifyRow row);
/* Reads the tensor, which must hold n elements, and compares. */
Status verify_against(VerifyCase *c, VerifyRow *row, const char *tensor, const double *got,
                      int64_t n, Err *err);
double *verify_widened(VerifyCase *c, const float *x, int64_t n);

/* ---- recorded arrays: verify_assemble.c ---- */

typedef struct RecordedArrays {
    const float *video;            /* [rows columns frames] */
    const float *behavior, *pupil; /* [2 frames] */
    int64_t rows, columns, frames;
    int64_t height, width; /* of the input */
} RecordedArrays;

/* x [5 frames height width] */
Status verify_assemble(VerifyCase *c, const RecordedArrays *r, float *x, Err *err);

/* ---- the subject: verify_subject.c ---- */

struct Subject {
    const VerifyOptions *options;
    Arena arena; /* values; of a hand-built module everything */
    Names names;
    Diags diags;
    Module *module;
    PassOptions passes;
    EngineOptions machine;
    Model *model; /* owns module and engine, or NULL: hand-built */
    Engine *engine;
    VEC(const Func *) programs;
    Map inputs, tensors; /* reference: name -> double * */
    Arena run;           /* reference: values of the last run */
    EvalTensor *values;
    int last;
};

/* Opens the model at the options' sizes. */
Status subject_open_model(Subject *s, const VerifyOptions *o, const ModelOptions *model, Err *err);
/* An empty module, to be filled before subject_add. */
Status subject_open_module(Subject *s, const VerifyOptions *o, Err *err);
/* An open module's functions from a text in the language, with probes. Mistakes: NPC_ERR_INPUT with
 * the first of them. */
Status subject_read_text(Subject *s, const char *text, int64_t batch, Recipe *recipe, Err *err);
void subject_close(Subject *s);

Status subject_add(Subject *s, ProgramKind kind, int *program, Err *err);
Status subject_ready(Subject *s, Err *err);

/* Shape of an input or random mask of the program and its drop rate (0 for inputs); NULL when it
 * has none of that name. */
const Node *subject_find_input(const Subject *s, int program, const char *name);
void subject_input(Subject *s, int program, const char *name, const double *values);
void subject_tensor(Subject *s, const char *name, const double *values);
Status subject_run(Subject *s, int program, const SampleRange *ranges, Err *err);
/* NULL when the program has no such result. */
const Shape *subject_result(const Subject *s, int program, ResultRole role, const char *name);
/* Of the last run; the result exists. */
Status subject_read(Subject *s, int program, ResultRole role, const char *name, double *out,
                    Err *err);
/* A parameter or state as it is now. */
void subject_read_tensor(Subject *s, const char *name, double *out);

#endif
