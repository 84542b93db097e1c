#include "runtime/compile_cuda.h"

#include <stdlib.h>

bool compile_cuda_emits(const char *what)
{
    static const char *const known[] = {"cuda", "ptx", "sass", "resources"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(what, known[i]))
            return true;
    return false;
}

static bool has_random(const Plan *const *plans, int n_plans)
{
    for (int i = 0; i < n_plans; i++)
        for (uint32_t k = 0; k < plans[i]->buffers.len; k++)
            if (plan_is_random(&plans[i]->buffers.at[k]))
                return true;
    return false;
}

static bool trains(const Plan *const *plans, int n_plans)
{
    for (int i = 0; i < n_plans; i++)
        if (plans[i]->kind == PROGRAM_STEP || plans[i]->kind == PROGRAM_ACCUMULATE)
            return true;
    return false;
}

Status compile_cuda_set(CudaSet **out, const Plan *const *plans, int n_plans, bool fills,
                        CudaInputUnits *units, Err *err)
{
    CudaInputUnits made = {-1, -1};
    int n = 0;
    for (int i = 0; i < n_plans; i++)
        n += (int)plans[i]->launches.len;
    const TileProgram **all = calloc((size_t)n + 1, sizeof *all);
    if (!all)
        return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");
    n = 0;
    for (int i = 0; i < n_plans; i++)
        for (uint32_t k = 0; k < plans[i]->launches.len; k++)
            all[n++] = plans[i]->launches.at[k].tile;
    Status s = cuda_set_make(out, all, n, err);
    free(all);
    if (s == NPC_OK && has_random(plans, n_plans))
        s = cuda_set_add(*out, cuda_random, &made.random, err);
    if (s == NPC_OK && fills)
        s = cuda_set_add(*out, cuda_planes, &made.planes, err);
    if (units)
        *units = made;
    return s;
}

/* Lines of the source are not part of the kernels' own text, which names them in the cache. */
static void emit_kernel(const CudaKernel *k, Text *out)
{
    text_char(out, '\n');
    if (k->program->place)
        text_printf(out, "/* from %s */\n", k->program->place);
    text_add(out, k->text);
}

static Status emit(const CudaCompileOptions *o, CudaSet *set, const char *what, Text *out, Err *err)
{
    if (!strcmp(what, "cuda")) {
        text_add(out, cuda_prelude);
        for (int i = 0; i < cuda_set_n_distinct(set); i++)
            emit_kernel(cuda_set_distinct(set, i), out);
        return NPC_OK;
    }
    if (!strcmp(what, "ptx"))
        return cuda_set_ptx(set, o->arch, out, err);
    NPC_TRY(cuda_set_compile(set, o, err));
    if (!strcmp(what, "sass"))
        return cuda_set_sass(set, out, err);
    cuda_set_print_resources(set, o->arch, out);
    return NPC_OK;
}

Status compile_cuda_emit(const char *what, const char *target, const Plan *const *plans,
                         int n_plans, int n_threads, Text *out, Err *err)
{
    CudaCompileOptions o = {.n_threads = n_threads};
    CudaSet *set;
    NPC_TRY(cuda_arch_find(target, &o.arch, err));
    NPC_TRY(compile_cuda_set(&set, plans, n_plans, trains(plans, n_plans), NULL, err));
    Status s = emit(&o, set, what, out, err);
    cuda_set_free(set);
    return s;
}

Status compile_cuda_code(const char *target, const Plan *const *plans, int n_plans, int n_threads,
                         const char *folder, Err *err)
{
    CudaCompileOptions o = {.n_threads = n_threads, .cache_folder = folder};
    CudaSet *set;
    NPC_TRY(cuda_arch_find(target, &o.arch, err));
    NPC_TRY(compile_cuda_set(&set, plans, n_plans, trains(plans, n_plans), NULL, err));
    Status s = cuda_set_compile(set, &o, err);
    cuda_set_free(set);
    return s;
}
