/* The safetensors file format: named tensors in one file, read memory-mapped, written durably.
 *
 *     u64 little-endian header length | JSON header | data section
 *
 * The header maps names to {dtype, shape, data_offsets [begin, end)} (bytes of the data section)
 * and
 * "__metadata__" to a map of strings. A file is accepted only as a whole: the tensors must tile the
 * data section without hole, overlap or trailing bytes, every tensor must hold exactly its shape's
 * bytes and start at a multiple of its element size, and no key may occur twice. Nothing is
 * allocated from a number in the file before that number was compared with the file's size.
 *
 * Format: https://github.com/huggingface/safetensors#format */
#ifndef NPC_DATA_SAFETENSORS_H
#define NPC_DATA_SAFETENSORS_H

#include "ir/base/file.h"
#include "ir/base/map.h"

enum {
    SAFETENSORS_HEADER_LIMIT = 16 << 20, /* bytes; the format allows 100 MB, 16 MiB are 100 000
                                            tensors */
    SAFETENSORS_RANK_LIMIT = 16
};

typedef enum SafetensorsDtype {
    SAFETENSORS_F64,
    SAFETENSORS_F32,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_I64,
    SAFETENSORS_I32,
    SAFETENSORS_I16,
    SAFETENSORS_I8,
    SAFETENSORS_U64,
    SAFETENSORS_U32,
    SAFETENSORS_U16,
    SAFETENSORS_U8,
    SAFETENSORS_BOOL,
    SAFETENSORS_DTYPE_COUNT
} SafetensorsDtype;

/* Bytes of one element, and the format's word for it ("F32"). */
size_t safetensors_dtype_bytes(SafetensorsDtype dtype);
const char *safetensors_dtype_name(SafetensorsDtype dtype);

/* One tensor, of a file that was read or to be written. Row-major, little-endian. */
typedef struct SafetensorsEntry {
    const char *name;
    SafetensorsDtype dtype;
    uint32_t rank;
    const uint64_t *shape; /* `rank` sizes; rank 0 is one number */
    uint64_t elems, bytes; /* filled by the reader, ignored by the writer */
    const void *data;      /* aligned to the element size; into the mapped file when read */
} SafetensorsEntry;

typedef struct SafetensorsMeta {
    const char *key, *value;
} SafetensorsMeta;

typedef struct Safetensors {
    const char *path;
    SafetensorsEntry *entry; /* in order of the data section */
    size_t n;
    SafetensorsMeta *meta; /* in order of the file */
    size_t n_meta;
    const unsigned char *file; /* the whole file */
    size_t file_bytes;
    size_t data_at; /* where the data section begins in `file` */
    Map names;
    FileMap map;
    Arena arena;
} Safetensors;

/* Maps and checks a file. On failure `out` is empty and needs no close. Pointers in `out` live
 * until safetensors_close. */
Status safetensors_open(Safetensors *out, const char *path, Err *err);
/* The same for bytes in memory (aligned to 8, the caller's, alive until close); `label` names them
 * in messages. */
Status safetensors_parse(Safetensors *out, const char *label, const void *bytes, size_t n,
                         Err *err);
void safetensors_close(Safetensors *st);

/* NULL when absent. */
const SafetensorsEntry *safetensors_find(const Safetensors *st, const char *name);
const char *safetensors_meta(const Safetensors *st, const char *key);

/* Converts all elements; `out` holds entry->elems numbers. Every dtype is allowed; float64 of large
 * 64-bit integers and float32 round to nearest. */
void safetensors_as_double(const SafetensorsEntry *entry, double *out);
void safetensors_as_float(const SafetensorsEntry *entry, float *out);

/* "F32[2, 3]" */
const char *safetensors_entry_text(Arena *arena, const SafetensorsEntry *entry);

/* Writes durably (temporary file, fsync, rename). The order in the file is by element size, largest
 * first, then by name; the data section starts at a multiple of 64 bytes. */
Status safetensors_write(const char *path, const SafetensorsEntry *entry, size_t n,
                         const SafetensorsMeta *meta, size_t n_meta, Err *err);

/* What safetensors_write writes before the data: the length and the padded JSON header (`bytes` in
 * all), and the order of the tensors behind it. */
typedef struct SafetensorsPlan {
    char *header;
    size_t header_bytes;
    const SafetensorsEntry **order; /* n */
    size_t n;
} SafetensorsPlan;

Status safetensors_plan(SafetensorsPlan *out, Arena *arena, const char *path,
                        const SafetensorsEntry *entry, size_t n, const SafetensorsMeta *meta,
                        size_t n_meta, Err *err);
Status safetensors_write_plan(const char *path, const SafetensorsPlan *plan, Err *err);

#endif
