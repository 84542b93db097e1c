/* Launches: all blocks one after the other, in shuffled order. What the machine refuses (an address
 * without memory, a division by zero) ends the launch with a sentence, and so does a guard of some
 * allocation that has changed. Then, as on a GPU, everything else fails, too.
 *
 *   NPC_SIM_SEED=N   of the orders of blocks and threads, 1; read by cuInit */
#include "tests/sim/block.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>

#if SIM_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

/* Visits every number below n once: the i-th is (first + i step) mod n. */
typedef struct Walk {
    uint64_t n, first, step;
} Walk;

static uint64_t divisor(uint64_t a, uint64_t b)
{
    return b ? divisor(b, a % b) : a;
}

static Walk shuffled_walk(uint64_t n)
{
    Walk w = {n, block_pick((unsigned)n), 1 + block_pick((unsigned)n)};
    while (divisor(w.step, n) != 1)
        w.step++;
    return w;
}

static CUresult run_blocks(const SimLaunch *l, Walk walk)
{
    CUresult r = CUDA_SUCCESS;
    for (uint64_t i = 0; i < walk.n && !r; i++) {
        unsigned n = (unsigned)((walk.first + i * walk.step) % walk.n);
        SimDim grid = l->grid;
        r = block_run((SimDim){n % grid.x, n / grid.x % grid.y, n / grid.x / grid.y});
    }
    return r;
}

/* ---- what the machine refuses ---- */

static const int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { N_FAULTS = 4 };
static struct sigaction old_action[N_FAULTS];
static _Thread_local bool in_launch;
static sigjmp_buf fault_exit;
static struct {
    int signal;
    void *address, *instruction;
} fault;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    if (!in_launch) { /* another thread's: it happens again under the old action */
        for (int i = 0; i < N_FAULTS; i++)
            if (FAULTS[i] == signal)
                sigaction(signal, &old_action[i], NULL);
        return;
    }
    fault.signal = signal;
    fault.address = info->si_addr;
    fault.instruction = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    block_leave();
    siglongjmp(fault_exit, 1);
}

static void catch_faults(bool on)
{
    static unsigned char stack[64 * 1024];
    static stack_t old_stack;
    stack_t ours = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(on ? &ours : &old_stack, on ? &old_stack : NULL);
    for (int i = 0; i < N_FAULTS; i++)
        sigaction(FAULTS[i], on ? &action : &old_action[i], on ? &old_action[i] : NULL);
    in_launch = on;
}

static CUresult say_fault(const SimLaunch *l)
{
    char place[400], text[160];
    block_place(module_line(l->function->module, fault.instruction), place, sizeof place);
    if (fault.signal == SIGFPE)
        sim_env_say("%s: a division by zero", place);
    else if (block_stack_overflows(fault.address))
        sim_env_say("%s: more than its stack", place);
    else
        sim_env_say("%s: access to %p: %s", place, fault.address,
                    memory_describe((uintptr_t)fault.address, text, sizeof text));
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

static CUresult run(const SimLaunch *l, Walk walk)
{
    CUresult r;
    if (sigsetjmp(fault_exit, 1)) {
        block_left();
        r = say_fault(l);
    } else {
        catch_faults(true);
        r = run_blocks(l, walk);
    }
    catch_faults(false);
    return r;
}

#if SIM_ASAN
/* The address sanitizer reports and ends the process; this says what ran. */
static void on_sanitizer_death(void)
{
    char text[400];
    if (in_launch)
        fprintf(stderr, "npc sim: %s: found by the address sanitizer\n",
                block_place(0, text, sizeof text));
}
#endif

void launch_seed(void)
{
    block_seed((uint64_t)sim_env_number("NPC_SIM_SEED", 1));
}

CUresult launch_run(const SimLaunch *l)
{
    if (!block_prepare(l, module_unit(l->function->module)))
        return CUDA_ERROR_OUT_OF_MEMORY;
#if SIM_ASAN
    __sanitizer_set_death_callback(on_sanitizer_death);
#endif
    CUresult r = run(l, shuffled_walk((uint64_t)l->grid.x * l->grid.y * l->grid.z));
    if (r)
        block_abandon();
    else if (!memory_guards_intact(l->function->kernel->name))
        r = CUDA_ERROR_ILLEGAL_ADDRESS;
    return r ? driver_lost(r) : CUDA_SUCCESS;
}
