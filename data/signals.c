#include "data/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

/* ---- mapped files ---- */

enum { MAPS = 1024, NAME = 232 };

/* The handler may interrupt any thread at any place, so a slot is published by its `begin` last and
 * retracted by it first. */
static struct {
    _Atomic uintptr_t begin; /* 0: free, 1: being filled */
    _Atomic size_t bytes;
    char path[NAME];
} maps[MAPS];

static void copy_name(char *out, const char *path)
{
    size_t n = strlen(path);
    if (n < NAME)
        memcpy(out, path, n + 1);
    else /* the end says more than the beginning */
        snprintf(out, NAME, "...%s", path + n - (NAME - 4));
}

void signals_add_map(const void *data, size_t bytes, const char *path)
{
    if (!data)
        return;
    for (int i = 0; i < MAPS; i++) {
        uintptr_t expected = 0;
        if (!atomic_compare_exchange_strong(&maps[i].begin, &expected, 1))
            continue;
        copy_name(maps[i].path, path);
        atomic_store(&maps[i].bytes, bytes);
        atomic_store(&maps[i].begin, (uintptr_t)data);
        return;
    }
}

void signals_remove_map(const void *data)
{
    if (!data)
        return;
    for (int i = 0; i < MAPS; i++)
        if (atomic_load(&maps[i].begin) == (uintptr_t)data) {
            atomic_store(&maps[i].begin, 0);
            return;
        }
}

static const char *map_name(uintptr_t address)
{
    for (int i = 0; i < MAPS; i++) {
        uintptr_t begin = atomic_load(&maps[i].begin);
        /* the last page of a map reaches beyond the file's length */
        if (begin > 1 && address >= begin && address - begin < atomic_load(&maps[i].bytes))
            return maps[i].path;
    }
    return "a mapped file";
}

/* ---- handlers: only async-signal-safe calls ---- */

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void on_stop(int number)
{
    int saved = errno;
    if (stop_signal)
        _exit(128 + number);
    stop_signal = number;
    say("\nstopping after this step and a checkpoint; once more to quit at once\n");
    errno = saved;
}

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    say("\n");
    say(map_name((uintptr_t)info->si_addr));
    say(": the file became shorter while it was being read, or its disk failed; "
        "restore it and start again\n");
    _exit(2);
}

static void open_standard_streams(void)
{
    int fd;
    do /* the lowest free number is taken first */
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* nohup and shells ignore these on behalf of their children; that stays so. */
static void unless_ignored(int number, const struct sigaction *action)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
        sigaction(number, action, NULL);
}

void signals_install(void)
{
    open_standard_streams();
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    struct sigaction bus = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&bus.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGUSR1, &stop, NULL);
    unless_ignored(SIGINT, &stop);
    unless_ignored(SIGHUP, &stop);
    sigaction(SIGBUS, &bus, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

bool signals_stop_requested(void)
{
    return stop_signal != 0;
}

int signals_exit_code(void)
{
    return stop_signal ? 128 + stop_signal : 0;
}

void signals_request_stop(void)
{
    stop_signal = SIGTERM;
}

void signals_forget_stop(void)
{
    stop_signal = 0;
}
