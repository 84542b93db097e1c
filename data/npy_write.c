#include "data/npy_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 512, MAGIC = 10 };

static const char *type_text(NpyWriteType type)
{
    return type == NPY_WRITE_F4 ? "<f4" : type == NPY_WRITE_F8 ? "<f8" : "<i8";
}

static size_t type_bytes(NpyWriteType type)
{
    return type == NPY_WRITE_F4 ? 4 : 8;
}

/* Magic, version, length, dictionary; padded with spaces to a multiple of 64, newline last. */
static size_t header(char out[HEADER_MAX], const char *type, const size_t *shape, size_t rank)
{
    int n = snprintf(out + MAGIC, HEADER_MAX - MAGIC,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
    for (size_t i = 0; i < rank && i < NPY_WRITE_RANK; i++)
        n += snprintf(out + MAGIC + n, HEADER_MAX - MAGIC - (size_t)n, "%zu%s", shape[i],
                      rank == 1       ? ","
                      : i + 1 == rank ? ""
                                      : ", ");
    n += snprintf(out + MAGIC + n, HEADER_MAX - MAGIC - (size_t)n, "), }");
    size_t bytes = (MAGIC + (size_t)n + 1 + 63) / 64 * 64;
    memset(out + MAGIC + n, ' ', bytes - MAGIC - (size_t)n);
    out[bytes - 1] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((bytes - MAGIC) & 0xff);
    out[9] = (char)((bytes - MAGIC) >> 8);
    return bytes;
}

size_t npy_write_header_bytes(NpyWriteType type, const size_t *shape, size_t rank)
{
    char text[HEADER_MAX];
    return header(text, type_text(type), shape, rank);
}

static Status failed(const char *path, int code, Err *err)
{
    return err_set(err, NPC_ERR_IO, "%s: cannot write: %s", path, strerror(code));
}

static Status write_parts(const char *path, const char *head, size_t head_bytes, const void *data,
                          size_t bytes, Err *err)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return failed(path, errno, err);
    errno = 0;
    int good = fwrite(head, 1, head_bytes, f) == head_bytes &&
               (bytes == 0 || fwrite(data, 1, bytes, f) == bytes);
    int code = errno;
    if (fclose(f) != 0 && good) {
        good = 0;
        code = errno;
    }
    if (!good) {
        remove(path);
        return failed(path, code ? code : EIO, err);
    }
    return NPC_OK;
}

/* Header of a numeric array, and the bytes of its data. */
static Status numeric_header(char head[HEADER_MAX], size_t *head_bytes, size_t *bytes,
                             const char *path, NpyWriteType type, const size_t *shape, size_t rank,
                             Err *err)
{
    *bytes = type_bytes(type);
    if (rank > NPY_WRITE_RANK)
        return err_set(err, NPC_ERR_INTERNAL, "%s: %zu axes, at most %d", path, rank,
                       NPY_WRITE_RANK);
    for (size_t i = 0; i < rank; i++)
        if (__builtin_mul_overflow(*bytes, shape[i], bytes))
            return err_set(err, NPC_ERR_INPUT, "%s: the array is too large", path);
    *head_bytes = header(head, type_text(type), shape, rank);
    return NPC_OK;
}

Status npy_write(const char *path, NpyWriteType type, const void *data, const size_t *shape,
                 size_t rank, Err *err)
{
    char head[HEADER_MAX];
    size_t head_bytes, bytes;
    NPC_TRY(numeric_header(head, &head_bytes, &bytes, path, type, shape, rank, err));
    return write_parts(path, head, head_bytes, data, bytes, err);
}

Status npy_stream_begin(NpyStream *s, const char *path, NpyWriteType type, const size_t *shape,
                        size_t rank, Err *err)
{
    char head[HEADER_MAX];
    size_t head_bytes, bytes;
    *s = (NpyStream){0};
    NPC_TRY(numeric_header(head, &head_bytes, &bytes, path, type, shape, rank, err));
    s->left = bytes;
    NPC_TRY(file_begin(&s->writer, path, err));
    return file_put(&s->writer, head, head_bytes, err);
}

Status npy_stream_put(NpyStream *s, const void *data, size_t bytes, Err *err)
{
    if (bytes > s->left)
        return err_set(err, NPC_ERR_INTERNAL, "%s: more data than the array has", s->writer.path);
    s->left -= bytes;
    return file_put(&s->writer, data, bytes, err);
}

Status npy_stream_end(NpyStream *s, Err *err)
{
    if (s->left)
        return err_set(err, NPC_ERR_INTERNAL, "%s: less data than the array has", s->writer.path);
    return file_commit(&s->writer, err);
}

void npy_stream_abandon(NpyStream *s)
{
    file_abandon(&s->writer);
}

Status npy_write_text(const char *path, const char *const *text, size_t n, Err *err)
{
    char head[HEADER_MAX], type[32];
    size_t width = 1, cells;
    for (size_t i = 0; i < n; i++)
        width = strlen(text[i]) > width ? strlen(text[i]) : width;
    if (__builtin_mul_overflow(n, width, &cells))
        return err_set(err, NPC_ERR_INPUT, "%s: the array is too large", path);
    unsigned char *data = calloc(cells ? cells : 1, 4);
    if (!data)
        return err_set(err, NPC_ERR_MEMORY, "%s: no memory for %zu texts", path, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; text[i][k]; k++)
            data[4 * (i * width + k)] = (unsigned char)text[i][k];
    snprintf(type, sizeof type, "<U%zu", width);
    Status s = write_parts(path, head, header(head, type, &n, 1), data, cells * 4, err);
    free(data);
    return s;
}
