/* Modules: parts of npc that stand in shared libraries of their own, because what they link is
 * large, and that are opened when they are first wanted. */
#ifndef NPC_BASE_MODULE_H
#define NPC_BASE_MODULE_H

#include <stddef.h>

/* Opens `file` ("libnpc_llvm.so") beside the executable, in the build folder above it, or in the
 * library folder of a prefix; `path` receives where it was found. NULL when it is nowhere, or, with
 * a sentence in `refused`, when it cannot be loaded. */
void *module_open(const char *file, char *path, size_t path_bytes, char *refused,
                  size_t refused_bytes);
/* The address of a function; NULL when there is none. */
void *module_symbol(void *module, const char *name);

#endif
