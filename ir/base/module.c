#include "ir/base/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "ir/base/file.h"

void *module_open(const char *file, char *path, size_t path_bytes, char *refused,
                  size_t refused_bytes)
{
    static const char *const place[] = {"", "../", "../../", "../lib/", "../lib/npc/"};
    char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);

    while (n > 0 && folder[n - 1] != '/')
        n--;
    folder[n > 0 ? n : 0] = 0;
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        int length = snprintf(path, path_bytes, "%s%s%s", folder, place[i], file);
        if (length < 0 || (size_t)length >= path_bytes || !file_exists(path))
            continue;
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module)
            return module;
        snprintf(refused, refused_bytes, "%s", dlerror());
    }
    return NULL;
}

void *module_symbol(void *module, const char *name)
{
    return dlsym(module, name);
}
