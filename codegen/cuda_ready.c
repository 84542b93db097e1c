#include "codegen/cuda_ready.h"

/* The text without comments, which say where it came from, and with the symbol as K. */
static void add_plain(Text *out, const CudaKernel *k)
{
    size_t n = strlen(k->symbol);
    for (const char *at = k->text; *at;) {
        const char *end = !strncmp(at, "/*", 2) ? strstr(at + 2, "*/") : NULL;
        if (end) {
            at = end + 2;
        } else if (!strncmp(at, k->symbol, n)) {
            text_char(out, 'K');
            at += n;
        } else {
            text_char(out, *at++);
        }
    }
}

static CacheKey key_of(Arena *scratch, const CudaKernel *k)
{
    Text text = {.arena = scratch};
    CacheKey prelude = cache_key(cuda_prelude, strlen(cuda_prelude));
    text_add_n(&text, (const char *)prelude.bytes, sizeof prelude.bytes);
    add_plain(&text, k);
    return cache_key(text_str(&text), text.len);
}

CudaRecord cuda_record(Arena *scratch, const CudaKernel *k)
{
    CudaRecord r = {.key = key_of(scratch, k), .unit = k->unit};
    snprintf(r.symbol, sizeof r.symbol, "%s", k->symbol);
    memcpy(r.resources, k->resources, sizeof r.resources);
    return r;
}

bool cuda_ready_open(CudaReady *out, Arena *arena, const void *file, size_t bytes)
{
    int n = cache_count(file, bytes);
    if (n < 1)
        return false;
    CodeObject *objects = ARENA_ARRAY(arena, CodeObject, (size_t)n);
    if (!cache_read(file, bytes, n, objects))
        return false;
    const CodeObject *table = &objects[n - 1];
    size_t rows = table->bytes / sizeof(CudaRecord);
    CudaRecord *record = ARENA_ARRAY(arena, CudaRecord, rows + 1); /* aligned */
    memcpy(record, table->data, rows * sizeof *record);
    *out = (CudaReady){objects, n - 1, record, (int)rows};
    if (table->bytes % sizeof(CudaRecord))
        return false;
    for (size_t i = 0; i < rows; i++)
        if (record[i].unit < 0 || record[i].unit >= n - 1 ||
            !memchr(record[i].symbol, 0, CUDA_SYMBOL))
            return false;
    return true;
}

const CudaRecord *cuda_ready_find(const CudaReady *ready, Arena *scratch, const CudaKernel *k)
{
    CacheKey key = key_of(scratch, k);
    for (int i = 0; i < ready->n; i++)
        if (!memcmp(&ready->record[i].key, &key, sizeof key))
            return &ready->record[i];
    return NULL;
}
