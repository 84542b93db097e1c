/* Generated code on disk.
 *
 * One file per set of kernels, named by the hash of everything the code depends on; it holds one
 * object per unit of the set: object files of the host, or cubins. A file that is damaged, cut off
 * or of another key counts as absent. */
#ifndef NPC_CODEGEN_CACHE_H
#define NPC_CODEGEN_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "ir/base/status.h"

/* Machine code of one unit, in whatever form its generator makes. */
typedef struct CodeObject {
    void *data;
    size_t bytes;
} CodeObject;

typedef struct CacheKey {
    unsigned char bytes[16];
} CacheKey;

CacheKey cache_key(const char *text, size_t len);
/* Of a file in memory: the number of its objects, -1 when it is none; and these, which point into
 * it. False when it is damaged. */
int cache_count(const void *file, size_t bytes);
bool cache_read(const void *file, size_t bytes, int n_units, CodeObject *objects);
/* Reads n_units objects, which point into *file's memory: keep it mapped while they are used. */
typedef struct CacheFile CacheFile;
bool cache_load(CacheFile **out, const char *folder, const CacheKey *key, int n_units,
                CodeObject *objects);
void cache_close(CacheFile *file);
Status cache_store(const char *folder, const CacheKey *key, int n_units, const CodeObject *objects,
                   Err *err);

#endif
