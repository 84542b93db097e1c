/* log.jsonl: one JSON object per line, appended and handed to the kernel at once.
 *
 *     {"kind":"train","step":12,"loss":0.71,"time":1.5}
 *
 * Numbers that are not finite are written as the strings "NaN", "Infinity", "-Infinity". */
#ifndef NPC_RUNTIME_LOG_H
#define NPC_RUNTIME_LOG_H

#include "ir/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct Log {
    int fd;
    char path[4096];
    char row[8192]; /* the line being built */
    uint32_t len;
    bool overflow;
} Log;

/* Opens for appending; the file is made when missing. A half-written last line (the process died in
 * it) is removed. */
Status log_open(Log *log, const char *path, Err *err);
/* The same for a run that goes on from `step` finished steps: rows of later steps are removed first
 * (the file is replaced atomically), so that no row appears twice. */
Status log_open_resumed(Log *log, const char *path, uint64_t step, Err *err);
void log_close(Log *log);

/* A row: begin, any number of fields, end. */
void log_begin(Log *log, const char *kind, uint64_t step);
void log_number(Log *log, const char *key, double x);
void log_count(Log *log, const char *key, uint64_t x);
void log_text(Log *log, const char *key, const char *text);
/* Appends the row in one write. NPC_ERR_IO: the file holds what it held before. */
Status log_end(Log *log, Err *err);

#endif
