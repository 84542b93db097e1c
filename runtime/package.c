#include "runtime/package.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { HASH_TEXT = 33 };

static void hash_text(char out[HASH_TEXT], const void *data, size_t bytes)
{
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(data, bytes));
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", hash.digest[i]);
}

static Status write_all(Arena *arena, const char *path, const PackageEntry *entry, size_t n,
                        const SafetensorsMeta *meta, size_t n_meta, Err *err)
{
    SafetensorsEntry *tensor = ARENA_ARRAY(arena, SafetensorsEntry, n + 1);
    SafetensorsMeta *all = ARENA_ARRAY(arena, SafetensorsMeta, n_meta + n + 1);
    all[0] = (SafetensorsMeta){"format", PACKAGE_FORMAT};
    for (size_t i = 0; i < n_meta; i++)
        all[1 + i] = meta[i];
    for (size_t i = 0; i < n; i++) {
        uint64_t *size = ARENA_NEW(arena, uint64_t);
        char *hash = arena_alloc(arena, HASH_TEXT);
        *size = entry[i].bytes;
        hash_text(hash, entry[i].data, entry[i].bytes);
        tensor[i] = (SafetensorsEntry){.name = entry[i].name,
                                       .dtype = SAFETENSORS_U8,
                                       .rank = 1,
                                       .shape = size,
                                       .data = entry[i].data};
        all[1 + n_meta + i] =
            (SafetensorsMeta){arena_printf(arena, "hash/%s", entry[i].name), hash};
    }
    return safetensors_write(path, tensor, n, all, 1 + n_meta + n, err);
}

Status package_write(const char *path, const PackageEntry *entry, size_t n,
                     const SafetensorsMeta *meta, size_t n_meta, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    Status s;
    arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to write it", path);
    else
        s = write_all(&arena, path, entry, n, meta, n_meta, err);
    arena_free(&arena);
    return s;
}

static Status check(const Package *p, const char *path, Err *err)
{
    const char *format = safetensors_meta(&p->file, "format");
    if (!format || strcmp(format, PACKAGE_FORMAT))
        return err_set(err, NPC_ERR_INPUT, "%s: its format is '%s', expected '" PACKAGE_FORMAT "'",
                       path, format ? format : "unknown");
    for (size_t i = 0; i < p->file.n; i++) {
        const SafetensorsEntry *e = &p->file.entry[i];
        char key[256], hash[HASH_TEXT];
        snprintf(key, sizeof key, "hash/%s", e->name);
        const char *expected = safetensors_meta(&p->file, key);
        hash_text(hash, e->data, e->bytes);
        if (e->dtype != SAFETENSORS_U8 || e->rank != 1)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' is not a vector of bytes", path, e->name);
        if (!expected || strcmp(expected, hash))
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' is damaged: its hash is %s, expected %s",
                           path, e->name, hash, expected ? expected : "one in the metadata");
    }
    return NPC_OK;
}

Status package_open(Package *out, const char *path, Err *err)
{
    NPC_TRY(safetensors_open(&out->file, path, err));
    Status s = check(out, path, err);
    if (s != NPC_OK)
        safetensors_close(&out->file);
    return s;
}

void package_close(Package *p)
{
    safetensors_close(&p->file);
}

bool package_find(const Package *p, const char *name, PackageEntry *out)
{
    const SafetensorsEntry *e = safetensors_find(&p->file, name);
    if (e)
        *out = (PackageEntry){e->name, e->data, e->bytes};
    return e != NULL;
}
