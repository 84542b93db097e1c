#include "runtime/device.h"

#include <stdlib.h>

#include "runtime/device_cuda.h"

/* What is planned for an architecture is the same everywhere. */
static bool always(void)
{
    return true;
}

static Status find_cuda(DeviceOptions *o, int ordinal, char *note, Err *err)
{
    CudaIdentity id;
    NPC_TRY(cuda_identify(ordinal, !o->package, &id, err));
    o->kind = &device_cuda;
    o->ordinal = ordinal;
    o->arch = id.arch;
    o->has_library = cuda_has_library;
    if (note)
        snprintf(note, DEVICE_NOTE, "device: %.128s (cuda:%d, %s)", id.name, ordinal,
                 id.arch->name);
    return NPC_OK;
}

Status device_find(const char *text, DeviceOptions *o, char *note, Err *err)
{
    char *end;
    Err ignored = {0};
    o->kind = &device_cpu;
    if (note)
        *note = 0;
    if (!text || !strcmp(text, "cpu"))
        return NPC_OK;
    if (!strcmp(text, "auto")) { /* without a device this is the CPU and no reason to say so */
        find_cuda(o, 0, note, &ignored);
        return NPC_OK;
    }
    if (!strcmp(text, "cuda"))
        return find_cuda(o, 0, NULL, err);
    if (!strncmp(text, "cuda:sm_", 8)) {
        o->kind = &device_cuda;
        o->has_library = always;
        return cuda_arch_find(text, &o->arch, err);
    }
    long ordinal = strncmp(text, "cuda:", 5) ? -1 : strtol(text + 5, &end, 10);
    if (ordinal < 0 || ordinal > 1023 || end == text + 5 || *end)
        return err_set(err, NPC_ERR_USAGE,
                       "there is no device '%s': expected auto, cpu, cuda or cuda:N", text);
    return find_cuda(o, (int)ordinal, NULL, err);
}

const char *device_choice(const char *text, bool is_cpu)
{
    return text && is_cpu && !strcmp(text, "auto") ? "cpu" : text;
}

Status device_find_library(const char *text, DeviceOptions *o, Err *err)
{
    static const char *const names[LIBRARY_COUNT] = {"large", "all", "none"};
    o->library = LIBRARY_LARGE;
    for (int i = 0; text && i < LIBRARY_COUNT; i++)
        if (!strcmp(text, names[i])) {
            o->library = (LibraryUse)i;
            return NPC_OK;
        }
    return !text ? NPC_OK
                 : err_set(err, NPC_ERR_USAGE, "--library: expected large, all or none, found '%s'",
                           text);
}

/* Below a GFLOP a launch costs as much as the product, and narrow matrices are as fast as memory
 * whoever multiplies them. */
static LibraryTraits library_traits(const DeviceOptions *o)
{
    static const LibraryTraits of[LIBRARY_COUNT] = {[LIBRARY_LARGE] = {.flops = 1e9, .side = 64}};
    LibraryTraits t = of[o->library];
    t.is_there = o->library == LIBRARY_NONE ? NULL : o->has_library;
    return t;
}

TargetTraits device_traits(const DeviceOptions *o)
{
    TargetTraits t = device_is_cuda(o) ? traits_cuda() : traits_cpu(o->target.lanes);
    if (device_is_cuda(o))
        t.library = library_traits(o);
    return t;
}

const char *device_target_name(const DeviceOptions *o, Arena *arena)
{
    return device_is_cuda(o) ? arena_printf(arena, "cuda:%s", o->arch->name) : o->target.name;
}
