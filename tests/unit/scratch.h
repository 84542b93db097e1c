/* A folder for the files of one test program, removed at its end. */
#ifndef NPC_TESTS_UNIT_SCRATCH_H
#define NPC_TESTS_UNIT_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static inline const char *scratch_path(const char *name)
{
    static char path[8][4096];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof *path, "%s/%s", scratch, name);
    return path[turn];
}

static int scratch_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline int scratch_remove(void **state)
{
    (void)state;
    return nftw(scratch, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int scratch_make(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%.40s/npc-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

static inline void scratch_write(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(scratch_path(name), "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0)
        abort();
}

static inline size_t scratch_read(const char *name, void *out, size_t room)
{
    FILE *f = fopen(scratch_path(name), "rb");
    if (!f)
        return 0;
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

#endif
