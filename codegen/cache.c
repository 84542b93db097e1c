/* File: "NPCKERN1", key (16 bytes), number of units, their sizes in bytes, XXH3-64 of the objects
 * (all u64, little endian), then the objects one after the other. */
#include "codegen/cache.h"
#include "ir/base/file.h"
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <stdlib.h>

struct CacheFile {
    FileMap map;
};

static const char magic[8] = "NPCKERN1";

enum { HEAD_BYTES = 8 + 16 + 8 };

CacheKey cache_key(const char *text, size_t len)
{
    XXH128_canonical_t hash;
    CacheKey key;

    XXH128_canonicalFromHash(&hash, XXH3_128bits(text, len));
    memcpy(key.bytes, hash.digest, 16);
    return key;
}

static void file_name(char *path, size_t size, const char *folder, const CacheKey *key)
{
    int n = snprintf(path, size, "%s/", folder);

    for (int i = 0; i < 16 && n > 0 && (size_t)n < size; i++)
        n += snprintf(path + n, size - (size_t)n, "%02x", key->bytes[i]);
    if (n > 0 && (size_t)n < size)
        snprintf(path + n, size - (size_t)n, ".kernels");
}

static uint64_t word(const unsigned char *at)
{
    uint64_t x;

    memcpy(&x, at, 8);
    return x;
}

int cache_count(const void *file, size_t bytes)
{
    if (bytes < HEAD_BYTES || memcmp(file, magic, 8))
        return -1;
    uint64_t n = word((const unsigned char *)file + 24);
    return n <= bytes / 8 && n <= INT32_MAX ? (int)n : -1;
}

bool cache_read(const void *file, size_t bytes, int n_units, CodeObject *objects)
{
    const unsigned char *data = file;
    size_t head = HEAD_BYTES + 8 * (size_t)n_units + 8, at = head;

    if (bytes < head || cache_count(file, bytes) != n_units)
        return false;
    for (int i = 0; i < n_units; i++) {
        uint64_t n = word(data + HEAD_BYTES + 8 * (size_t)i);
        if (n > bytes - at)
            return false;
        objects[i] = (CodeObject){(void *)(data + at), n};
        at += n;
    }
    return at == bytes && XXH3_64bits(data + head, at - head) == word(data + head - 8);
}

/* Points objects[] into the file when it is whole and ours. */
static bool read_objects(const FileMap *m, const CacheKey *key, int n_units, CodeObject *objects)
{
    return m->bytes >= HEAD_BYTES && !memcmp(m->data + 8, key->bytes, 16) &&
           cache_read(m->data, m->bytes, n_units, objects);
}

bool cache_load(CacheFile **out, const char *folder, const CacheKey *key, int n_units,
                CodeObject *objects)
{
    char path[4096];
    Err ignored = {0};

    *out = NULL;
    file_name(path, sizeof path, folder, key);
    CacheFile *file = calloc(1, sizeof *file);
    if (!file || !file_exists(path) || file_map(&file->map, path, &ignored) != NPC_OK) {
        free(file);
        return false;
    }
    if (!read_objects(&file->map, key, n_units, objects)) {
        cache_close(file);
        return false;
    }
    *out = file;
    return true;
}

void cache_close(CacheFile *file)
{
    if (!file)
        return;
    file_unmap(&file->map);
    free(file);
}

static Status put_all(FileWriter *w, const CacheKey *key, int n_units, const CodeObject *objects,
                      Err *err)
{
    uint64_t n = (uint64_t)n_units, sum;
    XXH3_state_t *hash = XXH3_createState();

    if (!hash)
        return err_set(err, NPC_ERR_MEMORY, "no memory for a checksum");
    XXH3_64bits_reset(hash);
    for (int i = 0; i < n_units; i++)
        XXH3_64bits_update(hash, objects[i].data, objects[i].bytes);
    sum = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);

    NPC_TRY(file_put(w, magic, 8, err));
    NPC_TRY(file_put(w, key->bytes, 16, err));
    NPC_TRY(file_put(w, &n, 8, err));
    for (int i = 0; i < n_units; i++) {
        uint64_t bytes = objects[i].bytes;
        NPC_TRY(file_put(w, &bytes, 8, err));
    }
    NPC_TRY(file_put(w, &sum, 8, err));
    for (int i = 0; i < n_units; i++)
        NPC_TRY(file_put(w, objects[i].data, objects[i].bytes, err));
    return file_commit(w, err);
}

Status cache_store(const char *folder, const CacheKey *key, int n_units, const CodeObject *objects,
                   Err *err)
{
    char path[4096];
    FileWriter w;

    NPC_TRY(file_make_folder(folder, err));
    file_name(path, sizeof path, folder, key);
    NPC_TRY(file_begin(&w, path, err));
    Status status = put_all(&w, key, n_units, objects, err);
    if (status != NPC_OK)
        file_abandon(&w);
    return status;
}
