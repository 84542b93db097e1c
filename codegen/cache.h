/* Generated code on disk.
 *
 * One file per kernel set, named by the hash of everything the code depends on; it holds the
 * object files of the set's units. A file that is damaged, cut off or of another key counts as
 * absent. */
#ifndef NPC_CODEGEN_CACHE_H
#define NPC_CODEGEN_CACHE_H

#include "codegen/llvm_jit.h"

typedef struct CacheKey {
    unsigned char bytes[16];
} CacheKey;

CacheKey cache_key(const char *text, size_t len);
/* Reads n_units objects, which point into *file's memory: keep it mapped while they are used. */
typedef struct CacheFile CacheFile;
bool cache_load(CacheFile **out, const char *folder, const CacheKey *key, int n_units,
                LlvmObject *objects);
void cache_close(CacheFile *file);
Status cache_store(const char *folder, const CacheKey *key, int n_units, const LlvmObject *objects,
                   Err *err);

#endif
