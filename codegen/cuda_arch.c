/* CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability"; allocation of
 * registers: 256 at a time per warp, warps in fours. */
#include "codegen/cuda_arch.h"

#include <string.h>

const CudaArch CUDA_ARCHS[] = {
    {"sm_75", 75, 1024, 16, 64 << 10, 0, false},
    {"sm_80", 80, 2048, 32, 164 << 10, 1024, true},
    {"sm_86", 86, 1536, 16, 100 << 10, 1024, true},
    {"sm_89", 89, 1536, 24, 100 << 10, 1024, true},
    {"sm_90", 90, 2048, 32, 228 << 10, 1024, true},
    {"sm_100", 100, 2048, 32, 228 << 10, 1024, true},
    {"sm_120", 120, 1536, 24, 100 << 10, 1024, true},
};

enum { N_ARCHS = sizeof CUDA_ARCHS / sizeof *CUDA_ARCHS };

int cuda_arch_count(void)
{
    return N_ARCHS;
}

Status cuda_arch_find(const char *text, const CudaArch **out, Err *err)
{
    const char *name = strncmp(text, "cuda:", 5) ? text : text + 5;
    char known[256] = "";
    for (int i = 0; i < N_ARCHS; i++) {
        *out = &CUDA_ARCHS[i];
        if (!strcmp(name, CUDA_ARCHS[i].name))
            return NPC_OK;
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%scuda:%s", i ? ", " : "", CUDA_ARCHS[i].name);
    }
    return err_set(err, NPC_ERR_USAGE, "there is no target '%s'; targets are %s", text, known);
}

/* Code runs on later devices of its major version. */
const CudaArch *cuda_arch_of(int capability)
{
    const CudaArch *best = NULL;
    for (int i = 0; i < N_ARCHS; i++)
        if (CUDA_ARCHS[i].number / 10 == capability / 10 && CUDA_ARCHS[i].number <= capability)
            best = &CUDA_ARCHS[i];
    return best;
}

double cuda_occupancy(const CudaArch *arch, const CudaResources *r, int threads)
{
    int warps = (threads + 31) / 32, blocks = arch->blocks;
    int per_warp = (r->registers * 32 + 255) & ~255;
    int by_threads = arch->threads / (warps * 32);
    int by_registers = per_warp ? (CUDA_REGISTERS / per_warp & ~3) / warps : blocks;
    int shared = r->shared_bytes + arch->shared_reserved;
    int by_shared = shared ? arch->shared_bytes / shared : blocks;
    blocks = blocks < by_threads ? blocks : by_threads;
    blocks = blocks < by_registers ? blocks : by_registers;
    blocks = blocks < by_shared ? blocks : by_shared;
    return (double)(blocks * warps * 32) / arch->threads;
}

Status cuda_arch_accepts(const CudaArch *arch, const TileProgram *p, Err *err)
{
    bool wants = p->anchor != TILE_MAP && (p->math == MATH_BF16 || p->math == MATH_TF32);
    if (!wants || arch->has_bf16)
        return NPC_OK;
    return err_set(err, NPC_ERR_DEVICE,
                   "%s has no products of %s: they need sm_80 or newer; f32 and f16 run everywhere",
                   arch->name, math_text(p->math));
}
