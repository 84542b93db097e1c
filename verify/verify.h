/* Compares a model, or single operations, with reference numbers in a safetensors file.
 *
 * A file with the metadata `config` is a model case: parameters, inputs, and what a model of that
 * configuration must answer in evaluation and training, its gradients, and its parameters after
 * one step. A file with the metadata `attributes` holds single operations ("operation/case/role").
 * What the tensors mean stands in tests/goldens/dwiseneuro/README.md.
 *
 * An error is max |got - expected| / max |expected| over a tensor, or max |got - expected| where
 * the row says absolute. Tolerances are those of the page next to the goldens
 * (verify_tolerances.c). */
#ifndef NPC_VERIFY_VERIFY_H
#define NPC_VERIFY_VERIFY_H

#include <stdio.h>

#include "ir/base/status.h"
#include "ir/base/vec.h"
#include "passes/pass.h"

typedef struct VerifyOptions {
    FuseLevel fuse;
    const char *cpu;           /* "generic", "avx2", "avx512"; NULL: the host's best */
    const char *device;        /* as in ModelOptions */
    const char *precision;     /* as in ModelOptions; NULL: f32. Others widen the tolerances */
    const char *library;       /* as in ModelOptions */
    double outputs, gradients; /* errors allowed instead of the table's; 0: those of the table */
    int threads;               /* 0: one per core */
    bool interpret;            /* no machine code */
    bool reference;            /* float64 evaluator instead of kernels */
    bool no_cache;             /* of machine code */
    const char *cache_folder;  /* NULL: $XDG_CACHE_HOME/npc or ~/.cache/npc */
    FILE *messages;            /* mistakes in the model's source; NULL: stderr */
} VerifyOptions;

/* One quantity of a case, over all its tensors. */
typedef struct VerifyRow {
    const char *quantity;     /* "gradients" */
    const char *worst_tensor; /* as the file calls it */
    int tensors;              /* compared */
    double worst, tolerance;  /* NAN: something is not a number */
    bool absolute, passed;
    bool by_norm;     /* errors are |got - want| / |want| of whole tensors, else of their largest */
    const char *note; /* what is compared or left out, or NULL */
} VerifyRow;

typedef struct VerifyReport {
    Arena arena;
    const char *path, *how; /* the case; "reference", "interpreter, fuse full", .. */
    VEC(VerifyRow) rows;
    bool passed;
} VerifyReport;

/* `report` starts zeroed and is freed by verify_report_free whatever comes back: NPC_OK when
 * everything agrees, NPC_ERR_FAILED when something differs (the text names the worst tensor),
 * NPC_ERR_INPUT when the file or the model cannot be used. `model_path` may be NULL for operations.
 */
Status verify_case(const VerifyOptions *options, const char *model_path, const char *case_path,
                   VerifyReport *report, Err *err);
void verify_report_free(VerifyReport *report);
void verify_report_print(const VerifyReport *report, FILE *out);
/* Reports as one JSON array. */
void verify_report_json(const VerifyReport *reports, int n, FILE *out);

#endif
