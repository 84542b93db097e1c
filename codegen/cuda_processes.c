#include "codegen/cuda_processes.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PROCESSES = 64 };

/* Between the processes. */
typedef struct Shared {
    atomic_int next; /* unit nobody has taken */
} Shared;

/* In a copy's file, before the unit's code and note. */
typedef struct Record {
    int unit;
    size_t bytes, note_bytes;
} Record;

typedef struct Copy {
    pid_t process;
    int file;
} Copy;

static bool write_all(int file, const void *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(file, data, bytes);
        if (n < 0 && errno != EINTR)
            return false;
        data = (const char *)data + (n > 0 ? n : 0);
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool read_all(int file, void *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = read(file, data, bytes);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        data = (char *)data + (n > 0 ? n : 0);
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* What a copy does, until there are no units left or one fails. */
static void work_in_copy(const CudaWork *w, Shared *shared, int file)
{
    int unit;
    while ((unit = atomic_fetch_add(&shared->next, 1)) < w->n_units) {
        CodeObject out = {0}, note = {0};
        Err ignored = {0};
        if (w->compile(w->context, unit, &out, &note, &ignored) != NPC_OK)
            return;
        Record r = {unit, out.bytes, note.bytes};
        if (!write_all(file, &r, sizeof r) || !write_all(file, out.data, out.bytes) ||
            !write_all(file, note.data, note.bytes))
            return;
        free(out.data);
        free(note.data);
    }
}

static bool start_copy(const CudaWork *w, Shared *shared, Copy *copy)
{
    pid_t parent = getpid();
    copy->file = memfd_create("npc-units", MFD_CLOEXEC);
    copy->process = copy->file < 0 ? -1 : fork();
    if (copy->process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            work_in_copy(w, shared, copy->file);
        _exit(0); /* nothing of the parent's is to be closed or written */
    }
    if (copy->process < 0 && copy->file >= 0)
        close(copy->file);
    return copy->process > 0;
}

/* Takes what the copy finished. */
static void collect(const CudaWork *w, const Copy *copy, bool *done)
{
    Record r;
    while (waitpid(copy->process, NULL, 0) < 0 && errno == EINTR)
        continue;
    lseek(copy->file, 0, SEEK_SET);
    while (read_all(copy->file, &r, sizeof r)) {
        CodeObject out = {malloc(r.bytes + 1), r.bytes};
        CodeObject note = {malloc(r.note_bytes + 1), r.note_bytes};
        bool whole = out.data && note.data && read_all(copy->file, out.data, r.bytes) &&
                     read_all(copy->file, note.data, r.note_bytes);
        if (whole) {
            w->take(w->context, r.unit, out, note);
            done[r.unit] = true;
        } else {
            free(out.data);
        }
        free(note.data);
        if (!whole)
            break;
    }
    close(copy->file);
}

static Status work_here(const CudaWork *w, int unit, bool *done, Err *err)
{
    CodeObject out = {0}, note = {0};
    NPC_TRY(w->compile(w->context, unit, &out, &note, err));
    w->take(w->context, unit, out, note);
    free(note.data);
    done[unit] = true;
    return NPC_OK;
}

static Status run(const CudaWork *w, int n, Shared *shared, bool *done, Err *err)
{
    Copy copy[MOST_PROCESSES];
    int n_copies = 0, unit;
    Status s = NPC_OK;
    while (n_copies < n - 1 && n_copies < MOST_PROCESSES && n_copies < w->n_units - 1 &&
           start_copy(w, shared, &copy[n_copies]))
        n_copies++;
    while (s == NPC_OK && (unit = atomic_fetch_add(&shared->next, 1)) < w->n_units)
        s = work_here(w, unit, done, err);
    if (s != NPC_OK)
        atomic_store(&shared->next, w->n_units);
    while (n_copies > 0)
        collect(w, &copy[--n_copies], done);
    for (unit = 0; unit < w->n_units && s == NPC_OK; unit++)
        if (!done[unit])
            s = work_here(w, unit, done, err);
    return s;
}

Status cuda_processes_run(const CudaWork *w, int n, Err *err)
{
    Shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool *done = calloc((size_t)w->n_units + 1, sizeof *done);
    Status s = NPC_ERR_MEMORY;
    if (shared == MAP_FAILED || !done) {
        err_set(err, s, "no memory to compile kernels");
    } else {
        atomic_init(&shared->next, 0);
        s = run(w, n, shared, done, err);
    }
    if (shared != MAP_FAILED)
        munmap(shared, sizeof *shared);
    free(done);
    return s;
}
