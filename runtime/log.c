#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/base/file.h"
#include "ir/base/text.h"

static Status io(const Log *log, const char *doing, Err *err)
{
    return err_set(err, NPC_ERR_IO, "%s: cannot %s: %s", log->path, doing, strerror(errno));
}

/* ---- opening ---- */

/* Length of the file up to and with its last line end. */
static Status whole_lines(const char *path, size_t *out, Err *err)
{
    FileMap m;
    NPC_TRY(file_map(&m, path, err));
    const char *end = m.bytes ? memrchr(m.data, '\n', m.bytes) : NULL;
    *out = end ? (size_t)(end + 1 - (const char *)m.data) : 0;
    file_unmap(&m);
    return NPC_OK;
}

Status log_open(Log *log, const char *path, Err *err)
{
    *log = (Log){.fd = -1};
    if ((size_t)snprintf(log->path, sizeof log->path, "%s", path) >= sizeof log->path)
        return err_set(err, NPC_ERR_INPUT, "%.200s...: the name is too long", path);
    size_t bytes = 0;
    if (file_exists(path))
        NPC_TRY(whole_lines(path, &bytes, err));
    log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->fd < 0)
        return io(log, "open", err);
    if (ftruncate(log->fd, (off_t)bytes) < 0) {
        Status s = io(log, "remove its unfinished last line", err);
        log_close(log);
        return s;
    }
    return NPC_OK;
}

/* Rows without a step belong to the run as a whole; rows that are no JSON to nobody. */
static bool keeps(const char *line, size_t bytes, uint64_t step)
{
    json_t *row = json_loadb(line, bytes, 0, NULL), *at = json_object_get(row, "step");
    bool keep = row && !(json_is_integer(at) && json_integer_value(at) > (json_int_t)step);
    json_decref(row);
    return keep;
}

static Status put_kept(FileWriter *w, const FileMap *m, uint64_t step, bool *changed, Err *err)
{
    const char *at = (const char *)m->data, *end = at + m->bytes;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t bytes = line_end ? (size_t)(line_end + 1 - at) : (size_t)(end - at);
        if (line_end && keeps(at, bytes, step))
            NPC_TRY(file_put(w, at, bytes, err));
        else
            *changed = true;
        at += bytes;
    }
    return NPC_OK;
}

static Status cut_after(const char *path, uint64_t step, Err *err)
{
    FileMap m;
    FileWriter w;
    bool changed = false;
    NPC_TRY(file_map(&m, path, err));
    Status s = file_begin(&w, path, err);
    if (s == NPC_OK) {
        s = m.bytes ? put_kept(&w, &m, step, &changed, err) : NPC_OK;
        if (s == NPC_OK && changed)
            s = file_commit(&w, err);
        file_abandon(&w);
    }
    file_unmap(&m);
    return s;
}

Status log_open_resumed(Log *log, const char *path, uint64_t step, Err *err)
{
    *log = (Log){.fd = -1};
    if (file_exists(path))
        NPC_TRY(cut_after(path, step, err));
    return log_open(log, path, err);
}

void log_close(Log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

/* ---- rows ---- */

__attribute__((format(printf, 2, 3))) static void add(Log *log, const char *fmt, ...)
{
    size_t room = sizeof log->row - log->len;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(log->row + log->len, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room)
        log->overflow = true;
    else
        log->len += (uint32_t)n;
}

/* Bytes that are not UTF-8 (file names may hold any) become question marks. */
static void add_string(Log *log, const char *s)
{
    add(log, "\"");
    while (*s) {
        int n = utf8_length(s);
        if (!n)
            add(log, "?");
        else if (*s == '"' || *s == '\\')
            add(log, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            add(log, "\\u%04x", *s);
        else
            add(log, "%.*s", n, s);
        s += n ? n : 1;
    }
    add(log, "\"");
}

static void add_key(Log *log, const char *key)
{
    add(log, ",");
    add_string(log, key);
    add(log, ":");
}

void log_begin(Log *log, const char *kind, uint64_t step)
{
    log->len = 0;
    log->overflow = false;
    add(log, "{\"kind\":");
    add_string(log, kind);
    log_count(log, "step", step);
}

void log_number(Log *log, const char *key, double x)
{
    char text[DOUBLE_TEXT];
    add_key(log, key);
    if (isfinite(x)) {
        double_text(text, x);
        add(log, "%s", text);
    } else {
        add(log, "\"%s\"", isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
    }
}

void log_count(Log *log, const char *key, uint64_t x)
{
    add_key(log, key);
    add(log, "%llu", (unsigned long long)x);
}

void log_text(Log *log, const char *key, const char *text)
{
    add_key(log, key);
    add_string(log, text);
}

Status log_end(Log *log, Err *err)
{
    add(log, "}\n");
    if (log->overflow)
        return err_set(err, NPC_ERR_INTERNAL, "%s: a row of more than %zu bytes was left out",
                       log->path, sizeof log->row - 1);
    off_t before = lseek(log->fd, 0, SEEK_END);
    for (uint32_t done = 0; done < log->len;) {
        ssize_t n = write(log->fd, log->row + done, log->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            Status s = io(log, "write", err);
            if (done && before >= 0 && ftruncate(log->fd, before) < 0)
                errno = 0; /* the half row goes when the log is opened again */
            return s;
        }
        done += (uint32_t)n;
    }
    return NPC_OK;
}
