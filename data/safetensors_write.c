/* The writing half of data/safetensors.h: a plan (header text and order of the data), then one
 * durable file. */
#include "data/safetensors.h"

#include <stdlib.h>

#include "ir/base/text.h"

enum { ALIGNMENT = 64 };

static bool add_json_string(Text *t, const char *text)
{
    text_char(t, '"');
    for (const char *s = text; *s;) {
        int n = utf8_length(s);
        if (!n)
            return false;
        if (*s == '"' || *s == '\\')
            text_printf(t, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            text_printf(t, "\\u%04x", *s);
        else
            text_add_n(t, s, (size_t)n);
        s += n;
    }
    text_char(t, '"');
    return true;
}

static int by_size_and_name(const void *pa, const void *pb)
{
    const SafetensorsEntry *a = *(const SafetensorsEntry *const *)pa,
                           *b = *(const SafetensorsEntry *const *)pb;
    size_t x = safetensors_dtype_bytes(a->dtype), y = safetensors_dtype_bytes(b->dtype);
    return x != y ? (x > y ? -1 : 1) : strcmp(a->name, b->name);
}

static int by_name(const void *pa, const void *pb)
{
    return strcmp((*(const SafetensorsEntry *const *)pa)->name,
                  (*(const SafetensorsEntry *const *)pb)->name);
}

static bool tensor_bytes(const SafetensorsEntry *e, uint64_t *out)
{
    *out = safetensors_dtype_bytes(e->dtype);
    for (uint32_t i = 0; i < e->rank; i++)
        if (__builtin_mul_overflow(*out, e->shape[i], out))
            return false;
    return *out <= INT64_MAX;
}

static Status check_names(const SafetensorsEntry **order, size_t n, const SafetensorsMeta *meta,
                          size_t n_meta, const char *path, Err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(order[i]->name, "__metadata__"))
            return err_set(err, NPC_ERR_INPUT, "%s: no tensor can be named __metadata__", path);
        if (i && !strcmp(order[i]->name, order[i - 1]->name))
            return err_set(err, NPC_ERR_INPUT, "%s: two tensors named '%.200s'", path,
                           order[i]->name);
    }
    for (size_t i = 0; i < n_meta; i++)
        for (size_t j = 0; j < i; j++)
            if (!strcmp(meta[i].key, meta[j].key))
                return err_set(err, NPC_ERR_INPUT, "%s: two metadata named '%.200s'", path,
                               meta[i].key);
    return NPC_OK;
}

static Status add_metadata(Text *t, const char *path, const SafetensorsMeta *meta, size_t n,
                           Err *err)
{
    text_add(t, "\"__metadata__\":{");
    for (size_t i = 0; i < n; i++) {
        bool ok = (!i || (text_char(t, ','), true)) && add_json_string(t, meta[i].key);
        text_char(t, ':');
        if (!ok || !add_json_string(t, meta[i].value))
            return err_set(err, NPC_ERR_INPUT, "%s: the metadata '%.200s' is not UTF-8", path,
                           meta[i].key);
    }
    text_char(t, '}');
    return NPC_OK;
}

static Status add_tensor(Text *t, const char *path, const SafetensorsEntry *e, uint64_t *at,
                         Err *err)
{
    uint64_t bytes, end;
    if (e->rank > SAFETENSORS_RANK_LIMIT || !tensor_bytes(e, &bytes) ||
        __builtin_add_overflow(*at, bytes, &end) || end > INT64_MAX)
        return err_set(err, NPC_ERR_INPUT, "%s: tensor '%.200s' is too large", path, e->name);
    if (!add_json_string(t, e->name))
        return err_set(err, NPC_ERR_INPUT, "%s: the tensor name '%.200s' is not UTF-8", path,
                       e->name);
    text_printf(t, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype_name(e->dtype));
    for (uint32_t i = 0; i < e->rank; i++)
        text_printf(t, "%s%llu", i ? "," : "", (unsigned long long)e->shape[i]);
    text_printf(t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*at,
                (unsigned long long)end);
    *at = end;
    return NPC_OK;
}

static Status finish_header(SafetensorsPlan *out, Text *t, const char *path, Err *err)
{
    while (t->len % ALIGNMENT)
        text_char(t, ' ');
    uint64_t n = t->len - 8;
    if (n > SAFETENSORS_HEADER_LIMIT)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: names and metadata need %llu bytes, more than the limit of %d", path,
                       (unsigned long long)n, SAFETENSORS_HEADER_LIMIT);
    for (int i = 0; i < 8; i++)
        t->at[i] = (char)(n >> (8 * i));
    out->header = t->at;
    out->header_bytes = t->len;
    return NPC_OK;
}

Status safetensors_plan(SafetensorsPlan *out, Arena *arena, const char *path,
                        const SafetensorsEntry *entry, size_t n, const SafetensorsMeta *meta,
                        size_t n_meta, Err *err)
{
    *out = (SafetensorsPlan){.order = ARENA_ARRAY(arena, const SafetensorsEntry *, n), .n = n};
    for (size_t i = 0; i < n; i++)
        out->order[i] = &entry[i];
    if (n)
        qsort(out->order, n, sizeof *out->order, by_name);
    NPC_TRY(check_names(out->order, n, meta, n_meta, path, err));
    if (n)
        qsort(out->order, n, sizeof *out->order, by_size_and_name);

    Text t = {.arena = arena};
    text_add_n(&t, "\0\0\0\0\0\0\0\0", 8);
    text_char(&t, '{');
    if (n_meta)
        NPC_TRY(add_metadata(&t, path, meta, n_meta, err));
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (i || n_meta)
            text_char(&t, ',');
        NPC_TRY(add_tensor(&t, path, out->order[i], &at, err));
    }
    text_char(&t, '}');
    return finish_header(out, &t, path, err);
}

static Status put_plan(FileWriter *w, const SafetensorsPlan *plan, Err *err)
{
    NPC_TRY(file_put(w, plan->header, plan->header_bytes, err));
    for (size_t i = 0; i < plan->n; i++) {
        uint64_t bytes = 0;
        tensor_bytes(plan->order[i], &bytes);
        NPC_TRY(file_put(w, plan->order[i]->data, (size_t)bytes, err));
    }
    return NPC_OK;
}

Status safetensors_write_plan(const char *path, const SafetensorsPlan *plan, Err *err)
{
    FileWriter w;
    NPC_TRY(file_begin(&w, path, err));
    Status s = put_plan(&w, plan, err);
    if (s == NPC_OK)
        return file_commit(&w, err);
    file_abandon(&w);
    return s;
}

Status safetensors_write(const char *path, const SafetensorsEntry *entry, size_t n,
                         const SafetensorsMeta *meta, size_t n_meta, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s;
    if (setjmp(exhausted)) {
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to write it", path);
    } else {
        SafetensorsPlan plan;
        s = safetensors_plan(&plan, &arena, path, entry, n, meta, n_meta, err);
        if (s == NPC_OK)
            s = safetensors_write_plan(path, &plan, err);
    }
    arena_free(&arena);
    return s;
}
