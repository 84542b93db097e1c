/* npc verify: are the numbers right? */
#include <stdlib.h>

#include "tool/verb.h"
#include "verify/verify.h"

typedef struct Arguments {
    VerifyOptions options;
    const char *fuse;
    int64_t threads;
    bool json;
} Arguments;

static bool read_arguments(Arguments *a, int argc, char **argv, Words *words, int *code)
{
    const OptionRow rows[] = {
        {"cpu", "generic|avx2|avx512", "vector unit to use; this machine's best is the default",
         .text = &a->options.cpu},
        {"device", "auto|cpu|cuda|cuda:N",
         "where programs run; auto takes a CUDA device when there "
         "is one",
         .text = &a->options.device},
        {"precision", "f32|tf32|bf16|f16",
         "of products and stored activations on a CUDA device; "
         "tolerances become 1e-2",
         .text = &a->options.precision},
        {"library", "large|all|none",
         "which plain products of a CUDA device cuBLAS computes; large ones when left out",
         .text = &a->options.library},
        {"outputs", "ERROR", "allowed of outputs, instead of what the reference numbers' page says",
         .number = &a->options.outputs},
        {"gradients", "ERROR", "the same of gradients", .number = &a->options.gradients},
        {"fuse", "none|elementwise|full", "how far kernels are joined; full is the default",
         .text = &a->fuse},
        {"interpret", NULL, "run kernels on the interpreter, without machine code",
         .flag = &a->options.interpret},
        {"reference", NULL, "run the float64 evaluator instead of kernels",
         .flag = &a->options.reference},
        {"threads", "N", "threads to run on; one per core is the default", .integer = &a->threads,
         .low = 1, .high = 1024},
        {"json", NULL, "machine-readable output", .flag = &a->json},
        {.name = NULL},
    };
    const Command command = {
        .name = "verify",
        .arguments = "MODEL.nm CASE.safetensors..",
        .help = "Reproduces the numbers of reference files: outputs, loss, gradients, running\n"
                "statistics, parameters after a step, and single operations.",
        .options = rows,
        .examples = "npc verify models/dwiseneuro.nm tests/goldens/dwiseneuro/tiny.safetensors\n"
                    "npc verify models/dwiseneuro.nm case.safetensors --fuse none --cpu generic\n",
        .least = 2,
        .most = 10000};
    if (command_read(&command, argc, argv, words, code))
        return false;
    Err err = {0};
    const VerifyOptions *o = &a->options;
    if (o->outputs >= 0 && o->gradients >= 0)
        return true;
    bool is_first = !(o->outputs >= 0);
    Status s =
        err_set(&err, NPC_ERR_USAGE, "%s: expected 0 or more, found %g",
                is_first ? "--outputs" : "--gradients", is_first ? o->outputs : o->gradients);
    *code = command_finish(s, &err);
    return false;
}

/* The worst exit code of all cases: bad input weighs more than a difference. */
static int verify_all(const Arguments *a, const Words *words, VerifyReport *reports)
{
    int code = 0;
    for (int i = 1; i < words->n; i++) {
        Err err = {0};
        VerifyReport *r = &reports[i - 1];
        r->path = words->at[i];
        Status s = verify_case(&a->options, words->at[0], words->at[i], r, &err);
        if (!a->json) {
            verify_report_print(r, stdout);
            fflush(stdout);
        }
        int own = command_finish(s, &err);
        code = own > code ? own : code;
    }
    if (a->json)
        verify_report_json(reports, words->n - 1, stdout);
    return code;
}

int verb_verify(int argc, char **argv)
{
    Arguments a = {.fuse = "full", .options.device = "auto"};
    Words words;
    int code;
    if (!read_arguments(&a, argc, argv, &words, &code))
        return code;
    fuse_level_find(a.fuse, &a.options.fuse);
    a.options.threads = (int)a.threads;
    VerifyReport *reports = calloc((size_t)words.n, sizeof *reports);
    Err err = {0};
    if (!reports)
        return command_finish(err_set(&err, NPC_ERR_MEMORY, "not enough memory"), &err);
    code = verify_all(&a, &words, reports);
    for (int i = 0; i < words.n; i++)
        verify_report_free(&reports[i]);
    free(reports);
    return code;
}
