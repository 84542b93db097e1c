/* Runs the host's C compiler, and remembers what it made. gcc 12 takes 30 ms to begin and then 6 ms
 * for a kernel of random tile programs, 15 ms with -O1, which runs them up to 1.8 times faster;
 * clang 14 takes twice as long. tcc 0.9.27 translates a hundred times faster and what it makes runs
 * as fast as with -O0; it knows no sanitizer and no check of accesses.
 *
 *   NPC_SIM_CC=COMMAND    the compiler and its options, "cc"; the one the simulator was built with
 *   NPC_SIM_OPTIMIZE=-O1  how much it optimizes, -O0: for most tests translating takes longer than
 *                         running, and more than twice as long with -O1
 *   NPC_SIM_CHECK=1       so that every access is checked (check.c); not with the address sanitizer
 *   NPC_SIM_CACHE=FOLDER  where libraries are kept from one process to the next; without it they
 *                         are kept in memory */
#include "tests/sim/nvrtc.h"

#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SIM_MAX_SHARED = 48 * 1024 };

/* -w is missing on purpose: a compiler of CUDA warns, too. What C++ refuses is an error. */
static const char FLAGS[] = "-shared -fPIC -pipe -fvisibility=hidden -fno-strict-aliasing "
                            "-ffp-contract=off -Wno-unknown-pragmas -Werror=c++-compat "
                            "-Werror=implicit-function-declaration -Werror=implicit-int "
                            "-Werror=incompatible-pointer-types -Werror=int-conversion "
                            "-Werror=return-type -Werror=discarded-qualifiers";

typedef struct Entry {
    uint64_t key[2];
    Bytes library;
    struct Entry *next;
} Entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Entry *entries;

static void hash(uint64_t key[2], const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        key[0] = (key[0] ^ (unsigned char)at[i]) * 1099511628211u;
        key[1] = (key[1] + (unsigned char)at[i]) * 6364136223846793005u + (key[1] >> 29);
    }
}

static bool read_file(const char *path, Bytes *out)
{
    char buffer[1 << 16];
    ssize_t n;
    int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return false;
    while ((n = read(f, buffer, sizeof buffer)) > 0)
        bytes_add(out, buffer, (size_t)n);
    close(f);
    return !n;
}

static bool write_all(int f, const char *at, size_t n)
{
    while (n) {
        ssize_t done = write(f, at, n);
        if (done <= 0)
            return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* The words of a command. */
static int words(char *text, char **argv, int max)
{
    int n = 0;
    char *rest = NULL;
    for (char *w = strtok_r(text, " ", &rest); w && n < max; w = strtok_r(NULL, " ", &rest))
        argv[n++] = w;
    return n;
}

/* The compiler reads `c` as its standard input; what it says goes to the file `log`. */
static bool run_compiler(const char *command, const Bytes *c, const char *output, int log)
{
    char *argv[128], *text = strdup(command);
    int n = words(text, argv, 120), status = -1;
    pid_t child;
    posix_spawn_file_actions_t actions;
    argv[n++] = (char *)"-x";
    argv[n++] = (char *)"c";
    argv[n++] = (char *)"-o";
    argv[n++] = (char *)output;
    argv[n++] = (char *)"-";
    argv[n++] = (char *)"-lm";
    argv[n] = NULL;
    int input = memfd_create("npc-text", MFD_CLOEXEC);
    bool ok = input >= 0 && write_all(input, c->at, c->len) && !lseek(input, 0, SEEK_SET);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, 0);
    posix_spawn_file_actions_adddup2(&actions, log, 1);
    posix_spawn_file_actions_adddup2(&actions, log, 2);
    ok = ok && !posix_spawnp(&child, argv[0], &actions, NULL, argv, environ);
    if (!ok)
        dprintf(log, "the simulator can not run the compiler '%s' (NPC_SIM_CC)\n", argv[0]);
    while (ok && waitpid(child, &status, 0) < 0)
        ;
    posix_spawn_file_actions_destroy(&actions);
    if (input >= 0)
        close(input);
    free(text);
    return ok && status == 0;
}

static bool translate(const char *command, const Bytes *c, Bytes *library, Bytes *log)
{
    const char *tmp = getenv("TMPDIR");
    char folder[256], path[300];
    snprintf(folder, sizeof folder, "%s/npc-sim-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    int log_file = memfd_create("npc-log", MFD_CLOEXEC);
    if (log_file < 0 || !mkdtemp(folder)) {
        bytes_print(log, "the simulator can not make a folder %s\n", folder);
        if (log_file >= 0)
            close(log_file);
        return false;
    }
    snprintf(path, sizeof path, "%s/kernels.so", folder);
    bool ok = run_compiler(command, c, path, log_file) && read_file(path, library);
    char log_path[64];
    snprintf(log_path, sizeof log_path, "/proc/self/fd/%d", log_file);
    read_file(log_path, log);
    close(log_file);
    unlink(path);
    rmdir(folder);
    return ok;
}

static bool find_in_memory(const uint64_t key[2], Bytes *library)
{
    pthread_mutex_lock(&lock);
    const Entry *e = entries;
    while (e && (e->key[0] != key[0] || e->key[1] != key[1]))
        e = e->next;
    if (e)
        bytes_add(library, e->library.at, e->library.len);
    pthread_mutex_unlock(&lock);
    return e;
}

static void keep_in_memory(const uint64_t key[2], const Bytes *library)
{
    Entry *e = calloc(1, sizeof *e);
    if (!e)
        return;
    memcpy(e->key, key, sizeof e->key);
    bytes_add(&e->library, library->at, library->len);
    pthread_mutex_lock(&lock);
    e->next = entries;
    entries = e;
    pthread_mutex_unlock(&lock);
}

__attribute__((destructor)) static void forget(void)
{
    while (entries) {
        Entry *e = entries;
        entries = e->next;
        bytes_free(&e->library);
        free(e);
    }
}

/* Written beside and renamed, so that nobody reads half of it. */
static void keep_in_folder(const char *path, const Bytes *library)
{
    char beside[400];
    snprintf(beside, sizeof beside, "%s.XXXXXX", path);
    int f = mkstemp(beside);
    if (f < 0)
        return;
    bool ok = write_all(f, library->at, library->len);
    if (close(f) || !ok || rename(beside, path))
        unlink(beside);
}

bool nvrtc_translate(const Bytes *c, const char *options, Bytes *library, Bytes *log)
{
    const char *cc = getenv("NPC_SIM_CC"), *folder = getenv("NPC_SIM_CACHE");
    const char *optimize = getenv("NPC_SIM_OPTIMIZE"), *check = getenv("NPC_SIM_CHECK");
    bool checks = check && atoi(check) > 0 && !strstr(SIM_KERNEL_FLAGS, "address");
    Bytes command = {0};
    char path[300] = "";
    uint64_t key[2] = {14695981039346656037u, 1};
    bytes_print(&command, "%s %s %s %s %s %s", cc && *cc ? cc : SIM_DEFAULT_CC, FLAGS,
                SIM_KERNEL_FLAGS, optimize && *optimize ? optimize : "-O0",
                checks ? "-fsanitize=thread -nostdlib -DNPC_SIM_CHECK" : "", options);
    hash(key, command.at, command.len + 1);
    hash(key, c->at, c->len);
    if (folder && *folder)
        snprintf(path, sizeof path, "%s/%016llx%016llx.so", folder, (unsigned long long)key[0],
                 (unsigned long long)key[1]);
    bool ok = *path ? read_file(path, library) : find_in_memory(key, library);
    if (!ok) {
        library->len = 0;
        ok = translate(command.at, c, library, log);
        if (ok && *path)
            keep_in_folder(path, library);
        else if (ok)
            keep_in_memory(key, library);
    }
    bytes_free(&command);
    return ok;
}

/* Bytes of the variables in a section: its own size also has what the sanitizer puts between. It is
 * the answer where a compiler (tcc) leaves no symbols. */
static size_t section_bytes(const Bytes *library, const Elf64_Shdr *section, int number)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)library->at;
    size_t bytes = 0;
    bool counted = false;
    for (int i = 0; i < head->e_shnum; i++) {
        const Elf64_Sym *symbol =
            (const Elf64_Sym *)(const void *)(library->at + section[i].sh_offset);
        if (section[i].sh_type != SHT_SYMTAB)
            continue;
        counted = true;
        for (size_t k = 0; k < section[i].sh_size / sizeof *symbol; k++)
            if (symbol[k].st_shndx == number && ELF64_ST_TYPE(symbol[k].st_info) == STT_OBJECT)
                bytes += (symbol[k].st_size + 15) / 16 * 16;
    }
    return counted ? bytes : section[number].sh_size;
}

/* The sections npc_shared_N are the shared memory of kernel N, npc_shared that of all. */
bool nvrtc_check_shared(const Bytes *library, const Bytes *names, Bytes *log)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)library->at;
    const Elf64_Shdr *section = (const Elf64_Shdr *)(const void *)(library->at + head->e_shoff);
    const char *section_names = library->at + section[head->e_shstrndx].sh_offset;
    bool fits = true;
    for (int i = 0; i < head->e_shnum; i++) {
        const char *name = section_names + section[i].sh_name, *kernel = names->at;
        if (strncmp(name, "npc_shared_", 11))
            continue;
        size_t bytes = section_bytes(library, section, i);
        for (int k = atoi(name + 11); k; k--)
            kernel += strlen(kernel) + 1;
        if (bytes > SIM_MAX_SHARED)
            bytes_print(log, "npc sim: kernel %s: %zu bytes of shared memory, %d are there\n",
                        kernel, bytes, SIM_MAX_SHARED);
        fits &= bytes <= SIM_MAX_SHARED;
    }
    return fits;
}
