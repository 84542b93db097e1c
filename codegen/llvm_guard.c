/* Three roads lead out of LLVM: its fatal errors, its failed calls of malloc, and operator new,
 * which throws through code compiled without exceptions unless a handler stops it. LLVM's C
 * interface has the first only; the others are found by their C++ names, and where a library lacks
 * them the process ends as it did. */
#include "codegen/llvm_guard.h"

#include <llvm-c/ErrorHandling.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef void (*NewHandler)(void);
typedef void (*BadAllocHandler)(void *context, const char *reason, bool dump);

/* std::set_new_handler, llvm::install_bad_alloc_error_handler */
extern NewHandler set_new_handler(NewHandler handler) __asm__("_ZSt15set_new_handlerPFvvE")
    __attribute__((weak));
extern void set_bad_alloc_handler(BadAllocHandler handler, void *context) __asm__(
    "_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_") __attribute__((weak));

typedef struct Guard {
    jmp_buf out;
    Status status;
    char reason[512];
} Guard;

/* in the room that every thread has: asking for more of it is no time to ask for memory */
static _Thread_local Guard *guard __attribute__((tls_model("initial-exec")));

static _Noreturn void leave(Status status, const char *reason)
{
    Guard *g = guard;
    if (!g) {
        fprintf(stderr, "npc: LLVM cannot go on: %s\n", reason);
        _exit(status_exit_code(status));
    }
    g->status = status;
    snprintf(g->reason, sizeof g->reason, "%s", reason);
    longjmp(g->out, 1);
}

static void on_fatal_error(const char *reason)
{
    leave(strstr(reason, "out of memory") ? NPC_ERR_MEMORY : NPC_ERR_DEVICE, reason);
}

static void on_bad_alloc(void *context, const char *reason, bool dump)
{
    (void)context;
    (void)reason;
    (void)dump;
    leave(NPC_ERR_MEMORY, "out of memory");
}

/* Called by every operator new of the process: one that is not ours throws, as without a handler.
 */
static void on_failed_new(void)
{
    if (guard)
        leave(NPC_ERR_MEMORY, "out of memory");
    set_new_handler(NULL);
}

void llvm_guard_install(void)
{
    LLVMInstallFatalErrorHandler(on_fatal_error);
    if (set_bad_alloc_handler)
        set_bad_alloc_handler(on_bad_alloc, NULL);
}

Status llvm_guarded(Status (*work)(void *context, Err *err), void *context, Arena *arena, Err *err)
{
    Guard g = {.status = NPC_ERR_MEMORY, .reason = "out of memory"}; /* the arena says nothing */
    Status status;

    if (set_new_handler)
        set_new_handler(on_failed_new);
    guard = &g;
    if (arena)
        arena->exhausted = &g.out;
    if (!setjmp(g.out))
        status = work(context, err);
    else if (g.status == NPC_ERR_MEMORY)
        status = err_set(err, NPC_ERR_MEMORY, "not enough memory to generate code");
    else
        status = err_set(err, g.status, "LLVM cannot generate code: %s", g.reason);
    guard = NULL;
    if (arena)
        arena->exhausted = NULL;
    return status;
}
