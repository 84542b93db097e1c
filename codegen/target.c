/* Vector units that code is generated for. */
#include "codegen/kernel.h"

static const Target targets[CPU_LEVEL_COUNT] = {
    {CPU_GENERIC, 4, "generic"},
    {CPU_AVX2, 8, "avx2"},
    {CPU_AVX512, 16, "avx512"},
};

CpuLevel target_host(void)
{
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512cd");
    return avx512 ? CPU_AVX512 : avx2 ? CPU_AVX2 : CPU_GENERIC;
}

bool target_find(const char *name, Target *out, Err *err)
{
    CpuLevel host = target_host();

    if (!name || strcmp(name, "native") == 0) {
        *out = targets[host];
        return true;
    }
    for (int i = 0; i < CPU_LEVEL_COUNT; i++) {
        if (strcmp(name, targets[i].name))
            continue;
        if (i > (int)host) {
            err_set(err, NPC_ERR_USAGE, "this machine cannot run code for '%s', its best is '%s'",
                    name, targets[host].name);
            return false;
        }
        *out = targets[i];
        return true;
    }
    err_set(err, NPC_ERR_USAGE,
            "there is no target '%s': generic, avx2, avx512 or native was expected", name);
    return false;
}
