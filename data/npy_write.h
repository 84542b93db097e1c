/* Writes .npy files, format 1.0, little-endian, C order.
 *
 * Files are not synced one by one: a recording has thousands of them, and the folder's final name
 * says that all were written. Errors: NPC_ERR_IO or NPC_ERR_INPUT naming the path and the reason; a
 * partial file is removed. */
#ifndef NPC_DATA_NPY_WRITE_H
#define NPC_DATA_NPY_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "ir/base/file.h"

enum { NPY_WRITE_RANK = 8 };

typedef enum NpyWriteType {
    NPY_WRITE_F4, /* float */
    NPY_WRITE_F8, /* double */
    NPY_WRITE_I8  /* int64_t */
} NpyWriteType;

/* shape[rank]; `data` holds the product of the sizes. */
Status npy_write(const char *path, NpyWriteType type, const void *data, const size_t *shape,
                 size_t rank, Err *err);
/* Text (n,) as UTF-32 of the width of the longest ("<U16"); ASCII only. */
Status npy_write_text(const char *path, const char *const *text, size_t n, Err *err);

/* An array that is written piece by piece; it appears under its name when it is complete. */
typedef struct NpyStream {
    FileWriter writer;
    uint64_t left; /* bytes */
} NpyStream;

Status npy_stream_begin(NpyStream *s, const char *path, NpyWriteType type, const size_t *shape,
                        size_t rank, Err *err);
Status npy_stream_put(NpyStream *s, const void *data, size_t bytes, Err *err);
/* NPC_ERR_INTERNAL: the pieces are not the array. */
Status npy_stream_end(NpyStream *s, Err *err);
void npy_stream_abandon(NpyStream *s); /* harmless after the end */

/* Bytes before the data in a file written with this type and shape. */
size_t npy_write_header_bytes(NpyWriteType type, const size_t *shape, size_t rank);

#endif
