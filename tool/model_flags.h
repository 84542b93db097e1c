/* The options that every verb with a model has, and what becomes of them.
 *
 *     ModelFlags flags;
 *     model_flags_init(&flags);
 *     const OptionRow rows[] = {MODEL_FLAG_ROWS(flags), {"json", ..}, {NULL}};
 *     .. command_read ..
 *     NPC_TRY(model_flags_apply(&flags, path, &options, err)); */
#ifndef NPC_TOOL_MODEL_FLAGS_H
#define NPC_TOOL_MODEL_FLAGS_H

#include "runtime/model.h"
#include "tool/options.h"

enum { MODEL_FLAG_SESSIONS = 64, MODEL_FLAG_BINDS = 16, MODEL_FLAG_NAME = 32 };

typedef struct ModelFlags {
    const char *model, *recipe, *fuse, *recompute, *cpu, *disabled, *neurons, *cache;
    const char *device, *precision, *library;
    int64_t batch, threads;
    bool interpret, no_cache, verify;
    OptionList sets, binds;
    /* what the options point into */
    Session session[MODEL_FLAG_SESSIONS];
    char session_name[MODEL_FLAG_SESSIONS][MODEL_FLAG_NAME];
    AxisSize bind[MODEL_FLAG_BINDS];
    char axis_name[MODEL_FLAG_BINDS][MODEL_FLAG_NAME];
} ModelFlags;

/* clang-format off */
#define MODEL_FLAG_ROWS(f)                                                                         \
    {"model", "NAME", "model of the file; the last one when left out", .text = &(f).model},        \
    {"recipe", "NAME", "recipe; the last one for the model when left out", .text = &(f).recipe},   \
    {"set", "NAME=VALUE", "override an argument of the model or a setting of the recipe, as in "   \
     "--set expansion=6 --set recipe.batch=8clips; may be repeated", .list = &(f).sets},           \
    {"bind", "AXIS=SIZE", "size of an axis of the model's tensors, as in --bind t=8; may be "      \
     "repeated", .list = &(f).binds},                                                              \
    {"neurons", "N,N,..", "recordings of so many neurons instead of the file's list",              \
     .text = &(f).neurons},                                                                        \
    {"batch", "N", "clips of a step; the recipe's when left out", .integer = &(f).batch, .low = 1, \
     .high = 4096},                                                                                \
    {"recompute", "none|expand", "whether the backward pass computes large values again",          \
     .text = &(f).recompute},                                                                      \
    {"pass-off", "PASS,..", "passes to leave out", .text = &(f).disabled},                         \
    {"cpu", "native|generic|avx2|avx512", "vector unit to generate code for", .text = &(f).cpu},   \
    {"device", "auto|cpu|cuda|cuda:N", "where programs run; auto takes a CUDA device when there is " \
     "one", .text = &(f).device},                                                                   \
    {"precision", "f32|tf32|bf16|f16", "of products and stored activations on a CUDA device; the "  \
     "recipe's when left out", .text = &(f).precision},                                             \
    {"library", "large|all|none", "which plain products of a CUDA device cuBLAS computes; large "   \
     "ones when left out", .text = &(f).library},                                                   \
    {"threads", "N", "threads; one per core when left out", .integer = &(f).threads, .low = 1,     \
     .high = 1024},                                                                                \
    {"interpret", NULL, "run kernels on the interpreter: slow, needs no code generator",           \
     .flag = &(f).interpret},                                                                      \
    {"cache", "DIR", "folder of generated code; ~/.cache/npc when left out", .text = &(f).cache},  \
    {"no-cache", NULL, "neither read nor write generated code", .flag = &(f).no_cache},            \
    {"verify-passes", NULL, "check the program after every pass", .flag = &(f).verify}
/* clang-format on */

void model_flags_init(ModelFlags *f);
/* The flags stay the caller's and outlive the options. NPC_ERR_USAGE names the option. */
Status model_flags_apply(ModelFlags *f, const char *path, ModelOptions *out, Err *err);

#endif
