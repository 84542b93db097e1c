/* Packages (.npk): a compiled model in one file.
 *
 * A package is a safetensors file whose tensors are U8 vectors, each text or bytes of one thing:
 *
 *     source            the resolved model file, every override applied
 *     ir                graph IR after elaboration
 *     plan/<program>    launches and buffers of a program, "predict", "step", "average"
 *     tiles/<program>   its kernels as tile programs
 *     code              generated object code for the target (the code cache's file); absent when
 *                       the build has no code generator
 *     code/<target>     instead, cubins for a CUDA target, "cuda:sm_90" (the code cache's file),
 *                       which npc run --package uses
 *
 * The metadata says what it is for: format "npk 1", npc (version), model, recipe, batch, fuse,
 * recompute, precision, target, code.. (names of the cache's files), and hash/<entry> (XXH3-128,
 * hexadecimal) for every entry. A file whose entries do not have these hashes is refused. */
#ifndef NPC_RUNTIME_PACKAGE_H
#define NPC_RUNTIME_PACKAGE_H

#include "data/safetensors.h"

#define PACKAGE_FORMAT "npk 1"

typedef struct PackageEntry {
    const char *name;
    const void *data;
    size_t bytes; /* at least 1 */
} PackageEntry;

/* Adds format and hashes to `meta`. Durable and atomic. */
Status package_write(const char *path, const PackageEntry *entry, size_t n,
                     const SafetensorsMeta *meta, size_t n_meta, Err *err);

typedef struct Package {
    Safetensors file;
} Package;

/* NPC_ERR_INPUT when it is no package or damaged; then `out` needs no close. */
Status package_open(Package *out, const char *path, Err *err);
void package_close(Package *p);
/* False when there is no such entry. The bytes live until close. */
bool package_find(const Package *p, const char *name, PackageEntry *out);

#endif
