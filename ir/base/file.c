#include "ir/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/base/vec.h"

static Status io(Err *err, const char *path, const char *doing)
{
    Status s = errno == ENOENT || errno == ENOTDIR || errno == EISDIR ? NPC_ERR_INPUT
               : errno == ENOMEM                                      ? NPC_ERR_MEMORY
                                                                      : NPC_ERR_IO;
    return err_set(err, s, "%s: cannot %s: %s", path, doing, strerror(errno));
}

/* Room for a file's bytes; where there is none, the descriptor is closed before the jump. */
static char *room_for(Arena *arena, size_t bytes, int fd)
{
    jmp_buf exhausted, *outer = arena->exhausted;
    if (!outer)
        return arena_alloc(arena, bytes);
    if (setjmp(exhausted)) {
        close(fd);
        arena->exhausted = outer;
        longjmp(*outer, 1);
    }
    arena->exhausted = &exhausted;
    char *p = arena_alloc(arena, bytes);
    arena->exhausted = outer;
    return p;
}

Status file_read(Arena *arena, const char *path, size_t limit, char **out, size_t *out_len,
                 Err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return io(err, path, "open");
    struct stat st;
    if (fstat(fd, &st) < 0) {
        close(fd);
        return io(err, path, "read");
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, NPC_ERR_INPUT, "%s: not a regular file", path);
    }
    if ((size_t)st.st_size > limit) {
        close(fd);
        return err_set(err, NPC_ERR_INPUT, "%s: %lld bytes, more than the limit of %zu", path,
                       (long long)st.st_size, limit);
    }
    size_t size = (size_t)st.st_size, got = 0;
    char *p = room_for(arena, size + 1, fd);
    while (got < size) {
        ssize_t n = read(fd, p + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            close(fd);
            return io(err, path, "read");
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    close(fd);
    p[got] = 0;
    *out = p;
    *out_len = got;
    return NPC_OK;
}

static Status sync_folder(const char *path, Err *err)
{
    char copy[4200];
    snprintf(copy, sizeof copy, "%s", path);
    const char *folder = dirname(copy);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io(err, folder, "open");
    int bad = fsync(fd);
    close(fd);
    return bad ? io(err, folder, "sync") : NPC_OK;
}

Status file_begin(FileWriter *w, const char *path, Err *err)
{
    memset(w, 0, sizeof *w);
    if ((size_t)snprintf(w->path, sizeof w->path, "%s", path) >= sizeof w->path)
        return err_set(err, NPC_ERR_INPUT, "%.200s...: path too long", path);
    snprintf(w->temporary, sizeof w->temporary, "%s.tmp%ld", path, (long)getpid());
    unlink(w->temporary);
    int fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return io(err, w->path, "create");
    w->stream = fdopen(fd, "wb");
    if (!w->stream) {
        close(fd);
        unlink(w->temporary);
        return io(err, w->path, "open");
    }
    return NPC_OK;
}

Status file_put(FileWriter *w, const void *data, size_t bytes, Err *err)
{
    if (bytes && fwrite(data, 1, bytes, w->stream) != bytes)
        return io(err, w->path, "write");
    return NPC_OK;
}

Status file_commit(FileWriter *w, Err *err)
{
    bool bad = fflush(w->stream) != 0 || fsync(fileno(w->stream)) != 0;
    int saved = errno;
    if (fclose(w->stream) != 0 && !bad) {
        bad = true;
        saved = errno;
    }
    w->stream = NULL;
    errno = saved;
    if (bad || rename(w->temporary, w->path) < 0) {
        Status s = io(err, w->path, "write");
        unlink(w->temporary);
        return s;
    }
    return sync_folder(w->path, err);
}

void file_abandon(FileWriter *w)
{
    if (!w->stream)
        return;
    fclose(w->stream);
    w->stream = NULL;
    unlink(w->temporary);
}

Status file_write(const char *path, const void *data, size_t bytes, Err *err)
{
    FileWriter w;
    NPC_TRY(file_begin(&w, path, err));
    Status s = file_put(&w, data, bytes, err);
    if (s != NPC_OK) {
        file_abandon(&w);
        return s;
    }
    return file_commit(&w, err);
}

Status file_make_folder(const char *path, Err *err)
{
    char part[4096];
    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return err_set(err, NPC_ERR_INPUT, "%.200s...: path too long", path);
    for (char *p = part + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char end = *p;
        *p = 0;
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return io(err, part, "create the folder");
        if (!end)
            break;
        *p = end;
    }
    return file_is_folder(path) ? NPC_OK
                                : err_set(err, NPC_ERR_INPUT, "%s: exists, not a folder", path);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    remove(path);
    return 0;
}

void file_remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool file_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef VEC(const char *) FileNames;

/* Where there is no room for the names, the folder is closed before the jump. */
static void collect(Arena *arena, DIR *d, FileNames *names)
{
    jmp_buf exhausted, *outer = arena->exhausted;
    if (outer && setjmp(exhausted)) {
        closedir(d);
        arena->exhausted = outer;
        longjmp(*outer, 1);
    }
    if (outer)
        arena->exhausted = &exhausted;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            vec_push(arena, names, arena_strdup(arena, e->d_name));
    arena->exhausted = outer;
}

Status file_list(Arena *arena, const char *path, const char ***out, size_t *n, Err *err)
{
    DIR *d = opendir(path);
    if (!d)
        return io(err, path, "open the folder");
    FileNames names = {0};
    collect(arena, d, &names);
    closedir(d);
    if (names.len)
        qsort(names.at, names.len, sizeof *names.at, by_name);
    *out = names.at;
    *n = names.len;
    return NPC_OK;
}

Status file_map(FileMap *out, const char *path, Err *err)
{
    *out = (FileMap){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return io(err, path, "open");
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, NPC_ERR_INPUT, "%s: not a regular file", path);
    }
    if (st.st_size == 0) {
        close(fd);
        return NPC_OK;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return io(err, path, "map");
    *out = (FileMap){p, (size_t)st.st_size};
    return NPC_OK;
}

void file_unmap(FileMap *m)
{
    if (m->data)
        munmap((void *)m->data, m->bytes);
    *m = (FileMap){0};
}
