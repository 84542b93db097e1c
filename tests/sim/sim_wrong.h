/* Kernels that are wrong. Each runs in a process of its own: its device is lost, and the address
 * sanitizer ends the process. Either way the kernel's name is printed. */
#ifndef NPC_SIM_WRONG_H
#define NPC_SIM_WRONG_H

#include "tests/sim/sim_test.h"

#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum { N = 100, BYTES = N * sizeof(float) };

/* Launches kernel "wrong" on x[N] zeros and y[N], in blocks of 32. */
static inline CUresult launch_wrong(const char *text, int blocks)
{
    static const float zero[N];
    SimKernels k = compile(text);
    void *x = sim_upload(sim, zero, BYTES), *y = sim_upload(sim, zero, BYTES);
    return sim_try_launch(sim, k, "wrong", blocks, 32, (void *[]){x, y}, 2);
}

/* What `run` prints in a process of its own, which ends with its result. */
static inline int in_child(CUresult (*run)(const void *), const void *with, char *said, size_t len)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 2);
        _exit((int)run(with) & 255);
    }
    close(ends[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], said + n, len - 1 - n)) > 0)
        n += (size_t)got;
    said[n] = 0;
    close(ends[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

typedef struct Wrong {
    const char *text;
    int blocks;
} Wrong;

static inline CUresult run_wrong(const void *with)
{
    const Wrong *w = with;
    return launch_wrong(w->text, w->blocks);
}

/* The launch fails with these words; the address sanitizer finds it if `sanitizer`. */
static inline void expect(const char *text, int blocks, CUresult result, const char *words,
                          bool sanitizer)
{
    static char said[1 << 16];
    Wrong w = {text, blocks};
    int code = in_child(run_wrong, &w, said, sizeof said);
    bool by_sanitizer = sanitizer && SANITIZED;
    if (!strstr(said, "kernel wrong") || code == 0 ||
        (!by_sanitizer && code != ((int)result & 255)) ||
        !strstr(said, by_sanitizer ? "AddressSanitizer" : words))
        fail_msg("code %d, expected %d and '%s', found\n%s", code, (int)result & 255, words, said);
}

#define WRONG(body) "NPC_KERNEL(32) wrong(const float *x, float *y)\n{\n" body "}\n"

#endif
