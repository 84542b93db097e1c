#include "tests/sim/fiber.h"

#include <sys/mman.h>

#if SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK = 1024 * 1024 };
#else
enum { STACK = 256 * 1024 };
#endif
/* Tops of stacks lie in different lines of the caches. */
enum { PAGE = 4096, LINE = 64, COLOURS = 32 };

/* Pushes what a call must keep, changes the stack, pops. */
#if SIM_ASAN
void fiber_swap(void **save, void *load);
#endif
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".hidden fiber_swap\n"
        ".type fiber_swap, @function\n"
        "fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_swap, .-fiber_swap\n");

bool fiber_make(Fiber *f)
{
    void *at =
        mmap(NULL, STACK + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return false;
    *f = (Fiber){.stack = (unsigned char *)at + PAGE, .stack_bytes = STACK};
    return !mprotect(f->stack, STACK, PROT_READ | PROT_WRITE);
}

void fiber_reset(Fiber *f, void (*body)(void))
{
#if SIM_ASAN
    __asan_unpoison_memory_region(f->stack, f->stack_bytes);
#endif
    static unsigned n_made;
    size_t colour = n_made++ % COLOURS * 2 * LINE;
    void **top = (void **)(void *)(f->stack + f->stack_bytes - colour) - 1;
    *top = 0;              /* of a body's caller: there is none */
    *--top = (void *)body; /* where fiber_swap returns to */
    for (int i = 0; i < 6; i++)
        *--top = 0;
    f->sp = top;
    f->fake_stack = NULL;
}

#if SIM_ASAN
static Fiber *came_from;

static void arrived(Fiber *self)
{
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(self ? self->fake_stack : NULL, &bottom, &bytes);
    if (!came_from->stack) { /* main's, which nobody knew before */
        came_from->stack = (unsigned char *)bottom;
        came_from->stack_bytes = bytes;
    }
}

void fiber_switch(Fiber *from, Fiber *to)
{
    came_from = from;
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
    fiber_swap(&from->sp, to->sp);
    arrived(from);
}

void fiber_arrived(void)
{
    arrived(NULL);
}

void fiber_leave(Fiber *to)
{
    __sanitizer_start_switch_fiber(NULL, to->stack, to->stack_bytes);
}
#endif

bool fiber_overflows(const Fiber *f, const void *at)
{
    const unsigned char *p = at;
    return p < f->stack && p >= f->stack - PAGE;
}
