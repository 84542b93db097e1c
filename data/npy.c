#include "data/npy.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    char kind;
    uint32_t bytes;
    NpyType type;
    const char *name;
} TYPES[] = {
    {'b', 1, NPY_BOOL, "bool"},   {'i', 1, NPY_I8, "int8"},     {'i', 2, NPY_I16, "int16"},
    {'i', 4, NPY_I32, "int32"},   {'i', 8, NPY_I64, "int64"},   {'u', 1, NPY_U8, "uint8"},
    {'u', 2, NPY_U16, "uint16"},  {'u', 4, NPY_U32, "uint32"},  {'u', 8, NPY_U64, "uint64"},
    {'f', 2, NPY_F16, "float16"}, {'f', 4, NPY_F32, "float32"}, {'f', 8, NPY_F64, "float64"},
};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

/* The header's literal, read left to right. */
typedef struct Reader {
    const unsigned char *at, *end;
    const char *path;
    Err *err;
} Reader;

static Status malformed(const Reader *r, const char *expected)
{
    return err_set(r->err, NPC_ERR_INPUT, "%s: malformed npy header: expected %s", r->path,
                   expected);
}

static void skip_blanks(Reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t'))
        r->at++;
}

static bool accept(Reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != (unsigned char)c)
        return false;
    r->at++;
    return true;
}

/* 'text' or "text" without escapes. */
static Status read_quoted(Reader *r, char *out, size_t out_bytes)
{
    skip_blanks(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"'))
        return malformed(r, "a quoted string");
    unsigned char quote = *r->at++;
    size_t n = 0;
    while (r->at < r->end && *r->at != quote) {
        if (*r->at == '\\' || *r->at < ' ' || *r->at > '~' || n + 1 >= out_bytes)
            return malformed(r, "a short plain string");
        out[n++] = (char)*r->at++;
    }
    if (r->at == r->end)
        return malformed(r, "the end of a string");
    r->at++;
    out[n] = 0;
    return NPC_OK;
}

static Status read_number(Reader *r, uint64_t *out)
{
    skip_blanks(r);
    if (r->at == r->end || !isdigit(*r->at))
        return malformed(r, "a whole number that is not negative");
    uint64_t v = 0;
    while (r->at < r->end && isdigit(*r->at)) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *r->at - '0', &v))
            return malformed(r, "a size below 2^64");
        r->at++;
    }
    if (r->at < r->end && *r->at == 'L') /* written by Python 2 */
        r->at++;
    *out = v;
    return NPC_OK;
}

static Status read_descr(Reader *r, NpyHeader *h)
{
    char text[16];
    skip_blanks(r);
    if (r->at < r->end && *r->at == '[')
        return err_set(r->err, NPC_ERR_INPUT,
                       "%s: holds records with named fields; expected plain numbers or strings",
                       r->path);
    NPC_TRY(read_quoted(r, text, sizeof text));
    char order = text[0];
    if (!strchr("<>|=", order) || !order || !text[1])
        return malformed(r, "an element type such as '<f4'");
    if (text[1] == 'O')
        return err_set(r->err, NPC_ERR_INPUT,
                       "%s: holds Python objects, which are never loaded; save it as numbers or "
                       "fixed-width strings",
                       r->path);
    uint64_t size = 0;
    for (const char *p = text + 2; *p; p++) {
        if (!isdigit((unsigned char)*p))
            return malformed(r, "an element type such as '<f4'");
        size = size * 10 + (uint64_t)(*p - '0'); /* at most 13 digits */
    }
    bool is_unicode = text[1] == 'U';
    if (order == '>' && (is_unicode || size > 1))
        return err_set(r->err, NPC_ERR_INPUT,
                       "%s: big-endian elements ('%s'); only little-endian files are read", r->path,
                       text);
    if (is_unicode && size >= 1 && size <= 1 << 20) {
        h->type = NPY_UNICODE;
        h->item_bytes = (uint32_t)size * 4;
        return NPC_OK;
    }
    for (int i = 0; i < N_TYPES; i++)
        if (TYPES[i].kind == text[1] && TYPES[i].bytes == size) {
            h->type = TYPES[i].type;
            h->item_bytes = TYPES[i].bytes;
            return NPC_OK;
        }
    return err_set(r->err, NPC_ERR_INPUT,
                   "%s: element type '%s' is not supported; expected f2, f4, f8, i1 to i8, u1 to "
                   "u8, b1 or U",
                   r->path, text);
}

static Status read_shape(Reader *r, NpyHeader *h)
{
    if (!accept(r, '('))
        return malformed(r, "a shape in parentheses");
    h->rank = 0;
    while (!accept(r, ')')) {
        if (h->rank == NPY_MAX_RANK)
            return malformed(r, "at most 8 axes");
        NPC_TRY(read_number(r, &h->shape[h->rank]));
        h->rank++;
        if (!accept(r, ',')) {
            if (h->rank == 1 || !accept(r, ')'))
                return malformed(r, "',' or ')' in the shape");
            break;
        }
    }
    return NPC_OK;
}

static Status read_bool(Reader *r, bool *out)
{
    skip_blanks(r);
    size_t left = (size_t)(r->end - r->at);
    *out = left >= 4 && !memcmp(r->at, "True", 4);
    if (!*out && (left < 5 || memcmp(r->at, "False", 5)))
        return malformed(r, "True or False");
    r->at += *out ? 4 : 5;
    return NPC_OK;
}

/* {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, keys in any order */
static Status read_literal(Reader *r, NpyHeader *h)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    int seen = 0;
    if (!accept(r, '{'))
        return malformed(r, "'{'");
    while (!accept(r, '}')) {
        char key[16];
        NPC_TRY(read_quoted(r, key, sizeof key));
        if (!accept(r, ':'))
            return malformed(r, "':' after a key");
        int bit = !strcmp(key, "descr")           ? DESCR
                  : !strcmp(key, "fortran_order") ? ORDER
                  : !strcmp(key, "shape")         ? SHAPE
                                                  : 0;
        if (!bit || seen & bit)
            return malformed(r, "the keys 'descr', 'fortran_order' and 'shape', once each");
        seen |= bit;
        NPC_TRY(bit == DESCR   ? read_descr(r, h)
                : bit == ORDER ? read_bool(r, &h->fortran)
                               : read_shape(r, h));
        if (!accept(r, ',')) {
            if (!accept(r, '}'))
                return malformed(r, "',' or '}'");
            break;
        }
    }
    skip_blanks(r);
    if (seen != ALL)
        return malformed(r, "the keys 'descr', 'fortran_order' and 'shape'");
    return r->at == r->end ? NPC_OK : malformed(r, "nothing after '}'");
}

static Status measure(NpyHeader *h, uint64_t file_bytes, const char *path, Err *err)
{
    char shape[200];
    uint64_t elems = 1, bytes, total;
    bool overflow = false, empty = false;
    for (uint32_t i = 0; i < h->rank; i++) {
        uint32_t axis = h->fortran ? i : h->rank - 1 - i;
        h->stride[axis] = elems;
        empty |= h->shape[axis] == 0;
        overflow |= __builtin_mul_overflow(elems, h->shape[axis] ? h->shape[axis] : 1, &elems);
    }
    h->elems = empty ? 0 : elems;
    if (overflow || __builtin_mul_overflow(h->elems, h->item_bytes, &bytes) ||
        __builtin_add_overflow(bytes, h->data_offset, &total) || bytes > INT64_MAX)
        return err_set(err, NPC_ERR_INPUT, "%s: the shape %s is too large for any memory", path,
                       npy_shape_text(h, shape));
    h->data_bytes = bytes;
    if (total != file_bytes)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: %s: the file has %llu bytes, its header (shape %s) asks for %llu", path,
                       total > file_bytes ? "truncated" : "bytes after the data",
                       (unsigned long long)file_bytes, npy_shape_text(h, shape),
                       (unsigned long long)total);
    return NPC_OK;
}

Status npy_parse_header(NpyHeader *out, const unsigned char *bytes, size_t have,
                        uint64_t file_bytes, const char *path, Err *err)
{
    memset(out, 0, sizeof *out);
    if (file_bytes == 0)
        return err_set(err, NPC_ERR_INPUT, "%s: empty file; expected an npy array", path);
    if (have < 6 || memcmp(bytes, "\x93NUMPY", 6))
        return err_set(err, NPC_ERR_INPUT, "%s: not a npy file", path);
    if (have < 10)
        return err_set(err, NPC_ERR_INPUT, "%s: truncated inside the npy header", path);
    unsigned major = bytes[6], minor = bytes[7];
    if (major < 1 || major > 3 || minor != 0)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: npy format %u.%u; versions 1.0, 2.0 and 3.0 are read", path, major,
                       minor);
    size_t start = major == 1 ? 10 : 12;
    if (have < start)
        return err_set(err, NPC_ERR_INPUT, "%s: truncated inside the npy header", path);
    uint64_t length = (uint64_t)bytes[8] | (uint64_t)bytes[9] << 8;
    if (major > 1)
        length |= (uint64_t)bytes[10] << 16 | (uint64_t)bytes[11] << 24;
    if (length > NPY_MAX_HEADER_BYTES - start)
        return err_set(err, NPC_ERR_INPUT, "%s: npy header of %llu bytes; the limit is %d", path,
                       (unsigned long long)length, NPY_MAX_HEADER_BYTES);
    if (length > have - start)
        return err_set(err, NPC_ERR_INPUT, "%s: truncated inside the npy header", path);

    Reader r = {bytes + start, bytes + start + length, path, err};
    NPC_TRY(read_literal(&r, out));
    out->data_offset = start + length;
    return measure(out, file_bytes, path, err);
}

static Status system_error(const char *path, const char *doing, Err *err)
{
    Status s = errno == ENOENT || errno == ENOTDIR ? NPC_ERR_INPUT : NPC_ERR_IO;
    return err_set(err, s, "%s: cannot %s: %s", path, doing, strerror(errno));
}

/* Fills the buffer from the start of the file, as far as the file goes. */
static Status read_start(int fd, unsigned char *buffer, size_t bytes, size_t *got, const char *path,
                         Err *err)
{
    *got = 0;
    while (*got < bytes) {
        ssize_t n = pread(fd, buffer + *got, bytes - *got, (off_t)*got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return system_error(path, "read", err);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return NPC_OK;
}

static Status read_header_fd(NpyHeader *out, int fd, const char *path, Err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return system_error(path, "read", err);
    if (!S_ISREG(st.st_mode))
        return err_set(err, NPC_ERR_INPUT, "%s: not a regular file", path);
    /* numpy pads headers to 64 bytes, and they rarely exceed 128 */
    unsigned char first[256], all[NPY_MAX_HEADER_BYTES];
    size_t got;
    NPC_TRY(read_start(fd, first, sizeof first, &got, path, err));
    if (got == sizeof first && first[6] >= 1 &&
        (first[6] > 1 || (first[8] | first[9] << 8) > (int)sizeof first - 10)) {
        NPC_TRY(read_start(fd, all, sizeof all, &got, path, err));
        return npy_parse_header(out, all, got, (uint64_t)st.st_size, path, err);
    }
    return npy_parse_header(out, first, got, (uint64_t)st.st_size, path, err);
}

Status npy_read_header(NpyHeader *out, const char *path, Err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return system_error(path, "open", err);
    Status s = read_header_fd(out, fd, path, err);
    close(fd);
    return s;
}

Status npy_open(Npy *out, const char *path, Err *err)
{
    *out = (Npy){0};
    NPC_TRY(npy_read_header(&out->head, path, err));
    NPC_TRY(file_map(&out->map, path, err));
    if (out->map.bytes != out->head.data_offset + out->head.data_bytes) {
        npy_close(out);
        return err_set(err, NPC_ERR_IO, "%s: changed while it was being opened", path);
    }
    out->data = out->map.data + out->head.data_offset;
    return NPC_OK;
}

void npy_close(Npy *a)
{
    file_unmap(&a->map);
    a->data = NULL;
}

const char *npy_type_text(const NpyHeader *h, char buffer[static 24])
{
    if (h->type == NPY_UNICODE)
        snprintf(buffer, 24, "<U%u", h->item_bytes / 4);
    else
        snprintf(buffer, 24, "%s", TYPES[h->type].name);
    return buffer;
}

const char *npy_shape_text(const NpyHeader *h, char buffer[static 200])
{
    size_t n = 0;
    buffer[n++] = '(';
    for (uint32_t i = 0; i < h->rank; i++)
        n += (size_t)snprintf(buffer + n, 200 - n, i ? ", %llu" : "%llu",
                              (unsigned long long)h->shape[i]);
    snprintf(buffer + n, 200 - n, h->rank == 1 ? ",)" : ")");
    return buffer;
}

bool npy_is_number(const NpyHeader *h)
{
    return h->type != NPY_UNICODE;
}
