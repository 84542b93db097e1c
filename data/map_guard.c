#include "data/map_guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local sigjmp_buf *volatile escape;

static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    if (escape)
        siglongjmp(*escape, 1);
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else { /* returning repeats the access, which then ends the process as it would have */
        sigaction(SIGBUS, &before, NULL);
    }
}

static void install(void)
{
    struct sigaction act = {0};
    act.sa_sigaction = on_bus_error;
    act.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&act.sa_mask);
    sigaction(SIGBUS, &act, &before);
}

bool map_guard(void (*work)(void *cx), void *cx)
{
    pthread_once(&once, install);
    sigjmp_buf here, *outer = escape;
    if (sigsetjmp(here, 0)) {
        escape = outer;
        return false;
    }
    escape = &here;
    work(cx);
    escape = outer;
    return true;
}
