/* Fibers: stacks that are switched by hand, for the threads of a simulated block. x86-64. */
#ifndef NPC_SIM_FIBER_H
#define NPC_SIM_FIBER_H

#include "tests/sim/driver.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct Fiber {
    void *sp; /* while it does not run */
    unsigned char *stack;
    size_t stack_bytes;
    void *fake_stack; /* of the address sanitizer */
} Fiber;

/* A stack with a page without access below. */
bool fiber_make(Fiber *f);
/* The next switch to it begins `body`, which must not return. */
void fiber_reset(Fiber *f, void (*body)(void));
/* The running fiber stops, `to` goes on. The first fiber of all, main, has no stack of its own;
 * fiber_arrived is the first call of a fiber's body. A long jump to another fiber has fiber_leave
 * before it and fiber_arrived behind it. */
#if SIM_ASAN
void fiber_switch(Fiber *from, Fiber *to);
void fiber_arrived(void);
void fiber_leave(Fiber *to);
#else
void fiber_swap(void **save, void *load);
static inline void fiber_switch(Fiber *from, Fiber *to)
{
    fiber_swap(&from->sp, to->sp);
}
static inline void fiber_arrived(void)
{
}
static inline void fiber_leave(Fiber *to)
{
    (void)to;
}
#endif
/* Is the address on the page below the stack? */
bool fiber_overflows(const Fiber *f, const void *at);

#endif
