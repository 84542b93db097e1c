/* Reads .npy files (NumPy format 1.0, 2.0 and 3.0) without trusting them.
 *
 * The header is parsed as the one literal it may be: {'descr': .., 'fortran_order': .., 'shape':
 * ..}; nothing is evaluated. Accepted are little-endian f2 f4 f8, i1..i8, u1..u8, b1 and
 * fixed-width unicode (<U), C and Fortran order. Object arrays, records, big-endian data, negative
 * or overflowing shapes, and files shorter or longer than their header says are refused with
 * NPC_ERR_INPUT and a sentence that names the file.
 *
 * Source: NumPy enhancement proposal 1, "A simple file format for NumPy arrays". */
#ifndef NPC_DATA_NPY_H
#define NPC_DATA_NPY_H

#include "ir/base/file.h"

enum { NPY_MAX_RANK = 8, NPY_MAX_HEADER_BYTES = 65536 };

typedef enum NpyType {
    NPY_BOOL,
    NPY_I8,
    NPY_I16,
    NPY_I32,
    NPY_I64,
    NPY_U8,
    NPY_U16,
    NPY_U32,
    NPY_U64,
    NPY_F16,
    NPY_F32,
    NPY_F64,
    NPY_UNICODE, /* item_bytes / 4 code points, filled up with 0 */
} NpyType;

typedef struct NpyHeader {
    NpyType type;
    uint32_t item_bytes;
    uint32_t rank;
    uint64_t shape[NPY_MAX_RANK];
    uint64_t stride[NPY_MAX_RANK]; /* in elements; follows C or Fortran order */
    uint64_t elems;
    uint64_t data_offset, data_bytes;
    bool fortran;
} NpyHeader;

/* A mapped array; `head.stride` addresses `data`. */
typedef struct Npy {
    NpyHeader head;
    const unsigned char *data;
    FileMap map;
} Npy;

/* Parses the first `have` bytes of a file of `file_bytes` bytes; `path` is for messages only. */
Status npy_parse_header(NpyHeader *out, const unsigned char *bytes, size_t have,
                        uint64_t file_bytes, const char *path, Err *err);
/* Reads the header alone; the length of the file is checked against it. */
Status npy_read_header(NpyHeader *out, const char *path, Err *err);
/* Maps the file; nothing of the data is read yet. A file truncated later faults: map_guard.h. */
Status npy_open(Npy *out, const char *path, Err *err);
void npy_close(Npy *a);

/* "float32", "<U16" .. for messages. */
const char *npy_type_text(const NpyHeader *h, char buffer[static 24]);
/* "(36, 64, 324)" for messages. */
const char *npy_shape_text(const NpyHeader *h, char buffer[static 200]);
bool npy_is_number(const NpyHeader *h); /* everything but unicode */

/* Element number `at` in memory order (the sum of index * stride); must be < elems. */
double npy_double(const Npy *a, uint64_t at);
int64_t npy_integer(const Npy *a, uint64_t at);
/* The string as UTF-8, cut to fit; false when it was cut or is not valid unicode. */
bool npy_text(const Npy *a, uint64_t at, char *out, size_t out_bytes);

/* Converts `n` elements at, at + stride, at + 2 stride, .. (memory order) to float. */
void npy_floats(const Npy *a, uint64_t at, uint64_t stride, size_t n, float *out);
/* The whole array as float in C order of its shape: out[elems]. */
void npy_all_floats(const Npy *a, float *out);

#endif
