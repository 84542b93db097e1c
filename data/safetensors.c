#include "data/safetensors.h"

#include <jansson.h>
#include <stdlib.h>

#include "ir/base/text.h"
#include "data/signals.h"

/* ---- dtypes ---- */

static const struct {
    const char *name;
    size_t bytes;
} dtypes[SAFETENSORS_DTYPE_COUNT] = {
    [SAFETENSORS_F64] = {"F64", 8},   [SAFETENSORS_F32] = {"F32", 4},
    [SAFETENSORS_F16] = {"F16", 2},   [SAFETENSORS_BF16] = {"BF16", 2},
    [SAFETENSORS_I64] = {"I64", 8},   [SAFETENSORS_I32] = {"I32", 4},
    [SAFETENSORS_I16] = {"I16", 2},   [SAFETENSORS_I8] = {"I8", 1},
    [SAFETENSORS_U64] = {"U64", 8},   [SAFETENSORS_U32] = {"U32", 4},
    [SAFETENSORS_U16] = {"U16", 2},   [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_BOOL] = {"BOOL", 1},
};

size_t safetensors_dtype_bytes(SafetensorsDtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *safetensors_dtype_name(SafetensorsDtype dtype)
{
    return dtypes[dtype].name;
}

static bool dtype_from_name(const char *name, SafetensorsDtype *out)
{
    for (int d = 0; d < SAFETENSORS_DTYPE_COUNT; d++)
        if (!strcmp(name, dtypes[d].name)) {
            *out = (SafetensorsDtype)d;
            return true;
        }
    return false;
}

/* ---- reading ---- */

typedef struct Reader {
    Safetensors *st;
    Err *err;
    uint64_t data_bytes; /* of the data section */
} Reader;

__attribute__((format(printf, 2, 3))) static Status refuse(Reader *r, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(r->err, NPC_ERR_INPUT, "%s: not a valid safetensors file: %s", r->st->path,
                   text);
}

/* A JSON integer >= 0; reals, texts and negative numbers are none. */
static bool as_size(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static Status read_shape(Reader *r, SafetensorsEntry *e, const json_t *shape)
{
    size_t rank = json_array_size(shape);
    if (!json_is_array(shape))
        return refuse(r, "tensor '%.200s': \"shape\" is not a list", e->name);
    if (rank > SAFETENSORS_RANK_LIMIT)
        return refuse(r, "tensor '%.200s': %zu dimensions, more than %d", e->name, rank,
                      SAFETENSORS_RANK_LIMIT);
    uint64_t *size = ARENA_ARRAY(&r->st->arena, uint64_t, rank);
    e->rank = (uint32_t)rank;
    e->shape = size;
    e->elems = 1;
    for (size_t i = 0; i < rank; i++) {
        if (!as_size(json_array_get(shape, i), &size[i]))
            return refuse(r, "tensor '%.200s': size %zu of the shape is not a whole number >= 0",
                          e->name, i);
        if (__builtin_mul_overflow(e->elems, size[i], &e->elems))
            return refuse(r, "tensor '%.200s': the product of its sizes is too large", e->name);
    }
    if (__builtin_mul_overflow(e->elems, (uint64_t)dtypes[e->dtype].bytes, &e->bytes))
        return refuse(r, "tensor '%.200s': its size in bytes is too large", e->name);
    return NPC_OK;
}

static Status read_offsets(Reader *r, SafetensorsEntry *e, const json_t *offsets)
{
    uint64_t begin, end;
    if (json_array_size(offsets) != 2 || !as_size(json_array_get(offsets, 0), &begin) ||
        !as_size(json_array_get(offsets, 1), &end))
        return refuse(r, "tensor '%.200s': \"data_offsets\" is not a pair of whole numbers >= 0",
                      e->name);
    if (begin > end || end > r->data_bytes)
        return refuse(r,
                      "tensor '%.200s': bytes %llu to %llu lie outside the data section of %llu "
                      "bytes (a truncated file?)",
                      e->name, (unsigned long long)begin, (unsigned long long)end,
                      (unsigned long long)r->data_bytes);
    if (end - begin != e->bytes)
        return refuse(r, "tensor '%.200s': %s needs %llu bytes, the offsets give %llu", e->name,
                      safetensors_entry_text(&r->st->arena, e), (unsigned long long)e->bytes,
                      (unsigned long long)(end - begin));
    e->data = r->st->file + r->st->data_at + begin;
    if ((r->st->data_at + begin) % dtypes[e->dtype].bytes)
        return refuse(r,
                      "tensor '%.200s': %s data at byte %llu is misaligned (not a multiple of %zu)",
                      e->name, dtypes[e->dtype].name, (unsigned long long)(r->st->data_at + begin),
                      dtypes[e->dtype].bytes);
    return NPC_OK;
}

static Status read_entry(Reader *r, SafetensorsEntry *e, const json_t *fields)
{
    const char *key, *dtype;
    json_t *value;
    if (!json_is_object(fields))
        return refuse(r, "tensor '%.200s' is not described by an object", e->name);
    json_object_foreach((json_t *)fields, key, value)
    {
        if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
            return refuse(r, "tensor '%.200s' has the unknown field \"%.100s\"", e->name, key);
    }
    dtype = json_string_value(json_object_get(fields, "dtype"));
    if (!dtype)
        return refuse(r, "tensor '%.200s' has no \"dtype\"", e->name);
    if (!dtype_from_name(dtype, &e->dtype))
        return refuse(r,
                      "tensor '%.200s' has the unknown dtype \"%.100s\" (known: F64 F32 F16 BF16 "
                      "I64 I32 I16 I8 U64 U32 U16 U8 BOOL)",
                      e->name, dtype);
    NPC_TRY(read_shape(r, e, json_object_get(fields, "shape")));
    return read_offsets(r, e, json_object_get(fields, "data_offsets"));
}

static Status read_meta(Reader *r, const json_t *meta)
{
    const char *key;
    json_t *value;
    Arena *a = &r->st->arena;
    if (!json_is_object(meta))
        return refuse(r, "\"__metadata__\" is not an object");
    r->st->meta = ARENA_ARRAY(a, SafetensorsMeta, json_object_size(meta));
    json_object_foreach((json_t *)meta, key, value)
    {
        if (!json_is_string(value))
            return refuse(r, "the metadata \"%.100s\" is not a text", key);
        r->st->meta[r->st->n_meta++] =
            (SafetensorsMeta){arena_strdup(a, key), arena_strdup(a, json_string_value(value))};
    }
    return NPC_OK;
}

static int by_place(const void *pa, const void *pb)
{
    const SafetensorsEntry *a = pa, *b = pb;
    const unsigned char *x = a->data, *y = b->data;
    if (x != y)
        return x < y ? -1 : 1;
    if (a->bytes != b->bytes) /* empty tensors before the one that begins at the same byte */
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* The tensors must tile the data section. */
static Status check_tiling(Reader *r)
{
    const unsigned char *begin = r->st->file + r->st->data_at, *at = begin;
    const char *before = NULL;
    for (size_t i = 0; i < r->st->n; i++) {
        const SafetensorsEntry *e = &r->st->entry[i];
        const unsigned char *p = e->data;
        if (p < at)
            return refuse(r, "tensors '%.200s' and '%.200s' overlap", before, e->name);
        if (p > at)
            return refuse(r, "a hole of %zu bytes before tensor '%.200s'", (size_t)(p - at),
                          e->name);
        at = p + e->bytes;
        before = e->name;
    }
    size_t used = (size_t)(at - begin);
    if (used != r->data_bytes)
        return refuse(r, "%llu trailing bytes after the last tensor",
                      (unsigned long long)(r->data_bytes - used));
    return NPC_OK;
}

static Status read_header(Reader *r, const json_t *root)
{
    Safetensors *st = r->st;
    const char *key;
    json_t *value;
    st->entry = ARENA_ARRAY(&st->arena, SafetensorsEntry, json_object_size(root));
    json_object_foreach((json_t *)root, key, value)
    {
        if (!strcmp(key, "__metadata__")) {
            NPC_TRY(read_meta(r, value));
            continue;
        }
        SafetensorsEntry *e = &st->entry[st->n++];
        e->name = arena_strdup(&st->arena, key);
        NPC_TRY(read_entry(r, e, value));
    }
    if (st->n)
        qsort(st->entry, st->n, sizeof *st->entry, by_place);
    NPC_TRY(check_tiling(r));
    for (size_t i = 0; i < st->n; i++)
        map_put(&st->arena, &st->names, st->entry[i].name, &st->entry[i]);
    return NPC_OK;
}

/* The JSON library's wording for keys that occur twice is misleading. */
static Status refuse_json(Reader *r, const json_error_t *e)
{
    if (!e->text[0] || json_error_code(e) == json_error_out_of_memory)
        return err_set(r->err, NPC_ERR_MEMORY, "%s: not enough memory for the header", r->st->path);
    if (json_error_code(e) == json_error_duplicate_key)
        return refuse(r, "a name occurs twice in the header (near byte %d)", e->position);
    if (json_error_code(e) == json_error_invalid_utf8)
        return refuse(r, "the header is not UTF-8 (near byte %d)", e->position);
    return refuse(r, "the header is not JSON: %s (near byte %d)", e->text, e->position);
}

static Status find_header(Reader *r, size_t *header_bytes)
{
    Safetensors *st = r->st;
    if (st->file_bytes < 8)
        return refuse(r, "%zu bytes are too few for the header's length", st->file_bytes);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | st->file[i];
    if (n > SAFETENSORS_HEADER_LIMIT)
        return refuse(r, "a header of %llu bytes, more than the limit of %d", (unsigned long long)n,
                      SAFETENSORS_HEADER_LIMIT);
    if (n < 2)
        return refuse(r, "a header of %llu bytes is too small", (unsigned long long)n);
    if (n > st->file_bytes - 8)
        return refuse(r, "a header of %llu bytes in a file of %zu (a truncated file?)",
                      (unsigned long long)n, st->file_bytes);
    if (st->file[8] != '{')
        return refuse(r, "the header does not begin with '{'");
    *header_bytes = (size_t)n;
    st->data_at = (size_t)n + 8;
    r->data_bytes = st->file_bytes - st->data_at;
    return NPC_OK;
}

static Status parse(Safetensors *st, Err *err)
{
    Reader r = {st, err, 0};
    size_t header_bytes = 0;
    NPC_TRY(find_header(&r, &header_bytes));
    json_error_t e = {0}; /* stays without text when memory ends */
    json_t *root = json_loadb((const char *)st->file + 8, header_bytes, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return refuse_json(&r, &e);
    jmp_buf exhausted;
    Status s;
    st->arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory for the header", st->path);
    else
        s = json_is_object(root) ? read_header(&r, root) : refuse(&r, "the header is no object");
    st->arena.exhausted = NULL;
    json_decref(root);
    return s;
}

static Status parse_or_close(Safetensors *st, Err *err)
{
    Status s = parse(st, err);
    if (s != NPC_OK)
        safetensors_close(st);
    return s;
}

Status safetensors_parse(Safetensors *out, const char *label, const void *bytes, size_t n, Err *err)
{
    *out = (Safetensors){.path = label, .file = bytes, .file_bytes = n};
    return parse_or_close(out, err);
}

static Status copy_path(Safetensors *st, const char *path, Err *err)
{
    jmp_buf exhausted;
    st->arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to open it", path);
    st->path = arena_strdup(&st->arena, path);
    return NPC_OK;
}

Status safetensors_open(Safetensors *out, const char *path, Err *err)
{
    *out = (Safetensors){0};
    NPC_TRY(copy_path(out, path, err));
    Status s = file_map(&out->map, path, err);
    if (s != NPC_OK) {
        safetensors_close(out);
        return s;
    }
    signals_add_map(out->map.data, out->map.bytes, path);
    out->file = out->map.data;
    out->file_bytes = out->map.bytes;
    return parse_or_close(out, err);
}

void safetensors_close(Safetensors *st)
{
    signals_remove_map(st->map.data);
    file_unmap(&st->map);
    arena_free(&st->arena);
    *st = (Safetensors){0};
}

const SafetensorsEntry *safetensors_find(const Safetensors *st, const char *name)
{
    return map_get(&st->names, name);
}

const char *safetensors_meta(const Safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->n_meta; i++)
        if (!strcmp(st->meta[i].key, key))
            return st->meta[i].value;
    return NULL;
}

/* ---- numbers ---- */

/* IEEE binary16: 1 sign, 5 exponent, 10 fraction bits. */
static double half_to_double(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double sign = h >> 15 ? -1 : 1;
    if (exponent == 31)
        return fraction ? __builtin_nan("") : sign * __builtin_inf();
    return exponent ? sign * __builtin_ldexp(1024 + fraction, exponent - 25)
                    : sign * __builtin_ldexp(fraction, -24);
}

static float bfloat_to_float(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#define CONVERT(DTYPE, T, value)                                                                   \
    case SAFETENSORS_##DTYPE: {                                                                    \
        const T *p = e->data;                                                                      \
        for (uint64_t i = 0; i < e->elems; i++)                                                    \
            out[i] = (value);                                                                      \
        break;                                                                                     \
    }
#define CONVERT_ALL(OUT)                                                                           \
    switch (e->dtype) {                                                                            \
        CONVERT(F64, double, (OUT)p[i])                                                            \
        CONVERT(F32, float, (OUT)p[i])                                                             \
        CONVERT(F16, uint16_t, (OUT)half_to_double(p[i]))                                          \
        CONVERT(BF16, uint16_t, (OUT)bfloat_to_float(p[i]))                                        \
        CONVERT(I64, int64_t, (OUT)p[i])                                                           \
        CONVERT(I32, int32_t, (OUT)p[i])                                                           \
        CONVERT(I16, int16_t, (OUT)p[i])                                                           \
        CONVERT(I8, int8_t, (OUT)p[i])                                                             \
        CONVERT(U64, uint64_t, (OUT)p[i])                                                          \
        CONVERT(U32, uint32_t, (OUT)p[i])                                                          \
        CONVERT(U16, uint16_t, (OUT)p[i])                                                          \
        CONVERT(U8, uint8_t, (OUT)p[i])                                                            \
        CONVERT(BOOL, uint8_t, (OUT)(p[i] != 0))                                                   \
    case SAFETENSORS_DTYPE_COUNT:                                                                  \
        break;                                                                                     \
    }

void safetensors_as_double(const SafetensorsEntry *e, double *out)
{
    CONVERT_ALL(double)
}

void safetensors_as_float(const SafetensorsEntry *e, float *out)
{
    CONVERT_ALL(float)
}

const char *safetensors_entry_text(Arena *arena, const SafetensorsEntry *e)
{
    Text t = {.arena = arena};
    text_add(&t, dtypes[e->dtype].name);
    text_char(&t, '[');
    for (uint32_t i = 0; i < e->rank; i++)
        text_printf(&t, "%s%llu", i ? ", " : "", (unsigned long long)e->shape[i]);
    text_char(&t, ']');
    return text_str(&t);
}
