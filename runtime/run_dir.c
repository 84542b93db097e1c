#include "runtime/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "ir/base/text.h"

static const char *const own_entries[] = {"checkpoints", "lock", "predictions"};

static void host_name(char out[256])
{
    if (gethostname(out, 256) < 0)
        snprintf(out, 256, "unknown");
    out[255] = 0;
}

/* ---- the lock ---- */

/* Two things guard a run: flock, which the kernel drops with the process, and the text of the lock
 * file, which tells people (and hosts that do not share flock) who holds it. */
typedef struct Owner {
    long pid; /* 0: nobody */
    char host[256];
} Owner;

static Owner read_owner(int fd)
{
    Owner owner = {0};
    char text[512];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return owner;
    text[n] = 0;
    if (sscanf(text, "pid %ld host %255s", &owner.pid, owner.host) != 2 || owner.pid <= 0)
        owner.pid = 0;
    return owner;
}

static Status write_owner(const char *path, int fd, Err *err)
{
    char text[512], host[256], when[64];
    time_t now = time(NULL);
    struct tm utc;
    host_name(host);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    int n = snprintf(text, sizeof text, "pid %ld host %s since %s\n", (long)getpid(), host, when);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return err_set(err, NPC_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return NPC_OK;
}

static Status refuse_locked(const RunDir *run, const Owner *owner, const char *why, Err *err)
{
    if (!owner->pid)
        return err_set(err, NPC_ERR_INPUT, "%s: another process writes to this run%s", run->path,
                       why);
    return err_set(err, NPC_ERR_INPUT, "%s: the process %ld on %s writes to this run%s", run->path,
                   owner->pid, owner->host, why);
}

static bool is_alive(long pid)
{
    return kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

/* The file is ours or unguarded by flock: may we take it over from the owner it names? */
static Status check_owner(RunDir *run, const Owner *owner, bool flocked, bool take, Err *err)
{
    char host[256];
    if (!owner->pid)
        return NPC_OK;
    host_name(host);
    if (strcmp(owner->host, host)) {
        if (!take)
            return refuse_locked(
                run, owner, "; if that one is certainly gone, remove the file \"lock\" there", err);
    } else if (!flocked && owner->pid != (long)getpid() && is_alive(owner->pid)) {
        return refuse_locked(run, owner, "", err);
    }
    snprintf(run->note, sizeof run->note, "took over the lock of process %ld on %s, which is gone",
             owner->pid, owner->host);
    return NPC_OK;
}

/* Whether the path still names the open file: its last owner may have removed it meanwhile. */
static bool still_there(const char *path, int fd)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

static Status lock_once(RunDir *run, const char *path, bool take, bool *again, Err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(err, NPC_ERR_IO, "%s: the run directory cannot be written: %s", run->path,
                       strerror(errno));
    bool flocked = flock(fd, LOCK_EX | LOCK_NB) == 0, held = !flocked && errno == EWOULDBLOCK;
    Owner owner = read_owner(fd);
    Status s;
    if (held)
        s = refuse_locked(run, &owner, "", err);
    else if (!still_there(path, fd)) {
        *again = true;
        s = NPC_OK;
    } else {
        s = check_owner(run, &owner, flocked, take, err);
        if (s == NPC_OK && (s = write_owner(path, fd, err)) != NPC_OK)
            unlink(path);
    }
    if (s != NPC_OK || *again)
        close(fd);
    else
        run->lock_fd = fd;
    return s;
}

static Status take_lock(RunDir *run, bool take, Err *err)
{
    char path[PATH_MAX];
    NPC_TRY(run_dir_path(run, "lock", path, sizeof path, err));
    for (int i = 0; i < 10; i++) {
        bool again = false;
        Status s = lock_once(run, path, take, &again, err);
        if (s != NPC_OK || !again)
            return s;
    }
    return err_set(err, NPC_ERR_IO, "%s: the lock file keeps vanishing", run->path);
}

/* ---- the folder ---- */

Status run_dir_path(const RunDir *run, const char *name, char *out, size_t size, Err *err)
{
    int n = snprintf(out, size, "%s/%s", run->path, name);
    return n > 0 && (size_t)n < size
               ? NPC_OK
               : err_set(err, NPC_ERR_INPUT, "%.200s...: the name is too long", run->path);
}

static Status set_path(RunDir *run, const char *path, Err *err)
{
    *run = (RunDir){.lock_fd = -1};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (!n || n >= sizeof run->path)
        return err_set(err, NPC_ERR_INPUT, "'%.200s' cannot name a run directory: %s", path,
                       n ? "too long" : "empty");
    memcpy(run->path, path, n);
    return NPC_OK;
}

bool run_dir_is_run(const char *path)
{
    char file[PATH_MAX];
    int n = snprintf(file, sizeof file, "%s/run.json", path);
    return n > 0 && n < PATH_MAX && file_is_folder(path) && file_exists(file);
}

static bool is_own_entry(const char *name)
{
    for (size_t i = 0; i < sizeof own_entries / sizeof *own_entries; i++)
        if (!strcmp(name, own_entries[i]))
            return true;
    return !strncmp(name, "run.json.tmp", 12);
}

/* Empty, or left by a creation that was interrupted before run.json. */
static Status check_unused(const RunDir *run, Err *err)
{
    if (run_dir_is_run(run->path))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: already holds a run; resume it, or choose another directory",
                       run->path);
    Arena arena = {0};
    jmp_buf exhausted;
    arena.exhausted = &exhausted;
    Status s;
    if (setjmp(exhausted)) {
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to list it", run->path);
    } else {
        const char **names;
        size_t n = 0;
        s = file_list(&arena, run->path, &names, &n, err);
        for (size_t i = 0; i < n && s == NPC_OK; i++)
            if (!is_own_entry(names[i]))
                s = err_set(err, NPC_ERR_INPUT,
                            "%s: not empty and not a run (it holds '%.100s'); choose another "
                            "directory",
                            run->path, names[i]);
    }
    arena_free(&arena);
    return s;
}

static Status make_subfolder(const RunDir *run, const char *name, Err *err)
{
    char path[PATH_MAX];
    NPC_TRY(run_dir_path(run, name, path, sizeof path, err));
    return file_make_folder(path, err);
}

static Status fill(RunDir *run, const char *run_json, Err *err)
{
    NPC_TRY(make_subfolder(run, "checkpoints", err));
    NPC_TRY(make_subfolder(run, "predictions", err));
    return run_dir_put(run, "run.json", run_json, err);
}

/* Takes back what `fill` made; a folder that holds anything stays. */
static void undo(const RunDir *run)
{
    static const char *const folders[] = {"checkpoints", "predictions"};
    char path[PATH_MAX];
    for (int i = 0; i < 2; i++)
        if (run_dir_path(run, folders[i], path, sizeof path, NULL) == NPC_OK)
            rmdir(path);
}

Status run_dir_create(RunDir *out, const char *path, const char *run_json, Err *err)
{
    NPC_TRY(set_path(out, path, err));
    bool was_there = file_exists(out->path);
    if (was_there) {
        if (!file_is_folder(out->path))
            return err_set(err, NPC_ERR_INPUT, "%s: exists and is not a directory", out->path);
        NPC_TRY(check_unused(out, err));
    }
    NPC_TRY(file_make_folder(out->path, err));
    Status s = take_lock(out, false, err);
    if (s == NPC_OK)
        s = check_unused(out, err); /* again: now nobody else can be at it */
    bool is_ours = s == NPC_OK;
    if (is_ours)
        s = fill(out, run_json, err);
    if (s != NPC_OK)
        run_dir_close(out);
    if (s != NPC_OK && is_ours)
        undo(out);
    if (s != NPC_OK && !was_there)
        rmdir(out->path); /* unless it holds anything */
    return s;
}

Status run_dir_open(RunDir *out, const char *path, RunDirAccess access, Err *err)
{
    NPC_TRY(set_path(out, path, err));
    if (!file_is_folder(out->path))
        return err_set(err, NPC_ERR_INPUT, "%s: no such run directory", out->path);
    if (!run_dir_is_run(out->path))
        return err_set(err, NPC_ERR_INPUT, "%s: not a run directory (it has no run.json)",
                       out->path);
    if (access == RUN_DIR_READ)
        return NPC_OK;
    NPC_TRY(take_lock(out, access == RUN_DIR_WRITE_TAKE, err));
    Status s = make_subfolder(out, "checkpoints", err);
    if (s == NPC_OK)
        s = make_subfolder(out, "predictions", err);
    if (s != NPC_OK)
        run_dir_close(out);
    return s;
}

void run_dir_close(RunDir *run)
{
    char path[PATH_MAX];
    if (run->lock_fd < 0)
        return;
    if (run_dir_path(run, "lock", path, sizeof path, NULL) == NPC_OK &&
        still_there(path, run->lock_fd))
        unlink(path);
    close(run->lock_fd);
    run->lock_fd = -1;
}

Status run_dir_put(const RunDir *run, const char *name, const char *text, Err *err)
{
    char path[PATH_MAX];
    NPC_TRY(run_dir_path(run, name, path, sizeof path, err));
    return file_write(path, text, strlen(text), err);
}

Status run_dir_get(const RunDir *run, Arena *arena, const char *name, size_t limit, char **out,
                   size_t *out_len, Err *err)
{
    char path[PATH_MAX];
    NPC_TRY(run_dir_path(run, name, path, sizeof path, err));
    return file_read(arena, path, limit, out, out_len, err);
}

/* ---- run.json ---- */

/* Command lines and folders may hold any bytes; JSON holds UTF-8 only. */
static json_t *json_text(const char *s)
{
    json_t *v = json_string(s);
    return v ? v : json_string("(not UTF-8)");
}

static void put_text(json_t *o, const char *key, const char *value)
{
    if (value)
        json_object_set_new(o, key, json_text(value));
}

static void put_machine(json_t *o)
{
    char host[256], when[64], folder[PATH_MAX];
    struct utsname u;
    struct tm utc;
    time_t now = time(NULL);
    host_name(host);
    put_text(o, "host", host);
    if (uname(&u) == 0) {
        put_text(o, "kernel", u.release);
        put_text(o, "machine", u.machine);
    }
    json_object_set_new(o, "processors", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(o, "pid", json_integer(getpid()));
    put_text(o, "folder", getcwd(folder, sizeof folder));
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    put_text(o, "started", when);
}

const char *run_dir_facts_text(Arena *arena, const RunFacts *facts)
{
    json_t *o = json_object(), *line = json_array(), *averages = json_array();
    for (int i = 0; i < facts->argc; i++)
        json_array_append_new(line, json_text(facts->argv[i]));
    put_text(o, "npc", facts->version);
    json_object_set_new(o, "command", line);
    put_text(o, "model", facts->model);
    put_text(o, "model_hash", facts->model_hash);
    put_text(o, "recipe_hash", facts->recipe_hash);
    put_text(o, "data", facts->data);
    put_text(o, "data_hash", facts->data_hash);
    for (int i = 0; i < facts->n_averages; i++)
        json_array_append_new(averages, json_text(facts->averages[i]));
    if (facts->n_averages)
        json_object_set(o, "averages", averages);
    json_decref(averages);
    put_text(o, "backend", facts->backend);
    put_text(o, "seed", arena_printf(arena, "%llu", (unsigned long long)facts->seed));
    put_machine(o);
    put_text(o, "compiler", __VERSION__);
    put_text(o, "jansson", jansson_version_str());
    char *text = json_dumps(o, JSON_INDENT(2));
    const char *copy = arena_printf(arena, "%s\n", text ? text : "{}");
    free(text);
    json_decref(o);
    return copy;
}
