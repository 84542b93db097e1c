#include "data/nwb.h"

#include <limits.h>

#include "ir/base/file.h"
#include "ir/base/module.h"

Status nwb_read(NwbSession *out, Arena *arena, const char *file, Err *err)
{
    char path[PATH_MAX], why[600] = "";
    NwbRead *read = NULL;
    *out = (NwbSession){0};
    if (!file_exists(file))
        return err_set(err, NPC_ERR_INPUT, "%s: no such file", file);
    void *module = module_open("libnpc_hdf5.so", path, sizeof path, why, sizeof why);
    if (module)
        *(void **)&read = module_symbol(module, NWB_READ_SYMBOL);
    if (read)
        return read(out, arena, file, err);
    return err_set(err, NPC_ERR_FAILED,
                   "%s: npc has no HDF5, which reads such files%s%s; install libhdf5-dev and build "
                   "again",
                   file, *why ? ": " : "", why);
}
