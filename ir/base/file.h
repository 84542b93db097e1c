/* Whole files in and out. Writing is durable and atomic: temporary file in the same folder, fsync,
 * rename, fsync of the folder; a reader sees the old file or the new one, never half of either. */
#ifndef NPC_BASE_FILE_H
#define NPC_BASE_FILE_H

#include "ir/base/arena.h"
#include "ir/base/status.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Reads at most `limit` bytes; a larger file is an error. The text is followed by a 0 byte. */
Status file_read(Arena *arena, const char *path, size_t limit, char **out, size_t *out_len,
                 Err *err);
Status file_write(const char *path, const void *data, size_t bytes, Err *err);

/* A file being written in pieces. */
typedef struct FileWriter {
    FILE *stream;
    char path[4096], temporary[4200];
} FileWriter;

Status file_begin(FileWriter *w, const char *path, Err *err);
Status file_put(FileWriter *w, const void *data, size_t bytes, Err *err);
/* Makes the file appear under its name. */
Status file_commit(FileWriter *w, Err *err);
/* Removes the temporary file; harmless after commit. */
void file_abandon(FileWriter *w);

/* Like mkdir -p. */
Status file_make_folder(const char *path, Err *err);
/* Removes a folder and all in it, as far as it can; links are removed, not followed. */
void file_remove_tree(const char *path);
bool file_exists(const char *path);
bool file_is_folder(const char *path);
/* Entry names of a folder, sorted, without "." and "..". */
Status file_list(Arena *arena, const char *path, const char ***out, size_t *n, Err *err);

/* A file mapped for reading. */
typedef struct FileMap {
    const unsigned char *data;
    size_t bytes;
} FileMap;

Status file_map(FileMap *out, const char *path, Err *err);
void file_unmap(FileMap *m);

#endif
