#include "runtime/import.h"

#include "ir/base/file.h"

AllenOptions allen_defaults(void)
{
    return (AllenOptions){.offset = 0, .length = 0.5, .height = 144, .width = 256};
}

Status import_allen(Arena *arena, const char *file, const char *out, const AllenOptions *o,
                    ImportedList *done, Err *err)
{
    (void)arena, (void)out, (void)o, (void)done;
    if (!file_exists(file))
        return err_set(err, NPC_ERR_INPUT, "%s: no such file", file);
    return err_set(
        err, NPC_ERR_FAILED,
        "%s: npc was built without HDF5, which reads such files; install libhdf5-dev and "
        "build again",
        file);
}
