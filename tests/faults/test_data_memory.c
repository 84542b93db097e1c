/* `npc data` without memory: every N-th call of malloc, calloc, realloc, aligned_alloc, mmap and
 * pthread_create, those of jansson included, is refused once. A verb either does without, or ends
 * with 1 or 2 and one sentence, and leaves no half-written file and no open descriptor. */
#include "tool/verb.h"
#include "tests/unit/tiny_recording.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* ---- requests that are refused ---- */

static atomic_long n_calls;
static long refuse_at; /* 0: none */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *argument);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *argument);

static bool refused(void)
{
    return atomic_fetch_add(&n_calls, 1) + 1 == refuse_at;
}

void *__wrap_malloc(size_t bytes)
{
    return refused() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return refused() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return refused() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return refused() ? NULL : __real_aligned_alloc(alignment, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (!refused())
        return __real_mmap(at, bytes, protection, flags, file, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *argument)
{
    return refused() ? EAGAIN : __real_pthread_create(thread, attr, start, argument);
}

static void *jansson_malloc(size_t bytes)
{
    return malloc(bytes);
}

/* ---- a verb, quietly ---- */

static const char *folder;
static Arena arena;
static FILE *nowhere;

enum { MOST_WORDS = 24, SAID_BYTES = 4096 };

/* argv is copied, since parsing changes its order. */
static int run(const char *const *words, char said[SAID_BYTES])
{
    char *argv[MOST_WORDS + 1] = {0};
    int argc = 0, out = dup(STDOUT_FILENO), errors = dup(STDERR_FILENO);
    for (; words[argc]; argc++)
        argv[argc] = (char *)words[argc];
    FILE *f = tmpfile();
    assert_non_null(f);
    fflush(NULL);
    dup2(fileno(nowhere), STDOUT_FILENO);
    dup2(fileno(f), STDERR_FILENO);
    atomic_store(&n_calls, 0);
    int code = verb_data(argc, argv);
    fflush(NULL);
    dup2(out, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    close(out);
    close(errors);
    rewind(f);
    said[fread(said, 1, SAID_BYTES - 1, f)] = 0;
    fclose(f);
    return code;
}

static int free_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    return fd;
}

static bool has_half_file(const char *path)
{
    DIR *d = opendir(path);
    bool found = false;
    if (!d)
        return false;
    for (struct dirent *e; (e = readdir(d));)
        found |= strstr(e->d_name, ".tmp") != NULL;
    closedir(d);
    return found;
}

/* Refuses the first, the second, .. request, until the verb asks for no more. `after`, which may be
 * NULL, is told the exit code of each attempt. */
static void refuse_all(const char *const *words, int well, void (*after)(int code))
{
    char said[SAID_BYTES];
    int fd = free_descriptor();
    long n_refused = 0;
    for (long at = 1;; at++) {
        refuse_at = at;
        int code = run(words, said);
        refuse_at = 0;
        bool fired = atomic_load(&n_calls) >= at;
        n_refused += fired && code != well;
        if (!fired && code != well)
            fail_msg("without refusals: exit code %d, \"%s\"", code, said);
        if (fired && code != well && !strstr(said, "memory") && !strstr(said, "thread"))
            fail_msg("request %ld: exit code %d, \"%s\"", at, code, said);
        if (code != 0 && (code > 2 || strncmp(said, "npc: ", 5) != 0 || !strchr(said, '\n') ||
                          strchr(said, '\n')[1]))
            fail_msg("request %ld: exit code %d, not one sentence: \"%s\"", at, code, said);
        assert_false(has_half_file(folder));
        if (after)
            after(code);
        if (!fired)
            break;
    }
    assert_true(n_refused >= 3);
    assert_int_equal(free_descriptor(), fd);
}

/* ---- the verbs ---- */

static const char *recordings(void)
{
    return arena_printf(&arena, "%s/data", folder);
}

static void info_ends_in_a_sentence(void **state)
{
    (void)state;
    refuse_all((const char *const[]){"data", "info", recordings(), NULL}, 0, NULL);
    refuse_all((const char *const[]){"data", "info", recordings(), "--json", NULL}, 0, NULL);
}

static void folds_end_in_a_sentence(void **state)
{
    (void)state;
    const char *output = arena_printf(&arena, "%s/folds.json", folder);
    refuse_all((const char *const[]){"data", "folds", recordings(), "--threads", "2", "--json",
                                     "--output", output, NULL},
               0, NULL);
}

static const char *synthetic;

/* Recordings are there when they were made, and nothing else is. */
static void remove_synthetic(int code)
{
    assert_int_equal(access(synthetic, F_OK), code ? -1 : 0);
    if (!code)
        tiny_remove(synthetic);
}

static void synth_ends_in_a_sentence(void **state)
{
    (void)state;
    synthetic = arena_printf(&arena, "%s/made", folder);
    /* clang-format off */
    refuse_all((const char *const[]){
                   "data", "synth", synthetic, "--quiet", "--mice", "1", "--neurons", "2",
                   "--trials", "1", "--frames", "81", "--height", "8", "--width", "9",
                   "--clips", "1", "--repeats", "2", NULL}, 0, remove_synthetic);
    /* clang-format on */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_ends_in_a_sentence),
        cmocka_unit_test(folds_end_in_a_sentence),
        cmocka_unit_test(synth_ends_in_a_sentence),
    };
    static const TinyTrial trials[] = {{"train", 9, 8, false},
                                       {"oracle", 7, 7, false},
                                       {"live_test_main", 6, 6, true},
                                       {"none", 6, 6, false}};
    json_set_alloc_funcs(jansson_malloc, free);
    nowhere = fopen("/dev/null", "w");
    folder = tiny_folder();
    tiny_write(arena_printf(&arena, "%s/data/one", folder), trials, 4);
    tiny_write(arena_printf(&arena, "%s/data/two", folder), trials, 3);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_remove(folder);
    fclose(nowhere);
    arena_free(&arena);
    return failed;
}
