/* Races, bounds and uninitialised reads, access by access, with their lines.
 *
 *   NPC_SIM_CHECK=1   kernels are translated so that every access to memory calls check_access;
 *                     they run some ten times slower
 *   NPC_SIM_CHECK=2   reads of what nobody wrote are mistakes, too. They need not be: a vector may
 *                     read what it does not use.
 *
 * Two accesses to the same bytes race if one of them writes and nothing orders them: threads of a
 * block are ordered by its barriers only (not by shuffles), blocks by nothing. For every two bytes
 * of shared and of device memory a mark says who wrote last and who read last; readers that could
 * all race with a write count as MANY. Accesses of one byte are only checked for their bounds. */
#include "tests/sim/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* When, and by whom. launch 0: never, or by the host. */
typedef struct Stamp {
    uint32_t launch, block, epoch, thread;
} Stamp;

typedef struct Mark {
    Stamp write, read;
    const void *write_at, *read_at; /* instructions */
    bool is_written;
} Mark;

enum { GRAIN = 2 };
static const uint32_t MANY = UINT32_MAX;
static Mark shared_marks[2][SIM_MAX_SHARED / GRAIN];

static bool same_launch(const Stamp *s, const CheckThread *me)
{
    return s->launch == me->launch;
}

/* Does an access of `me` race with an earlier one? */
static bool races(const Stamp *s, const CheckThread *me, bool is_shared)
{
    if (!same_launch(s, me))
        return false;
    if (s->block != me->block) /* shared memory is another one */
        return !is_shared;
    return s->epoch == me->epoch && s->thread != (uint32_t)me->thread;
}

static Stamp stamp_of(const CheckThread *me)
{
    return (Stamp){me->launch, me->block, me->epoch, (uint32_t)me->thread};
}

/* What stands for this read and the one before it. */
static Stamp joined_reads(const Stamp *s, const CheckThread *me, bool is_shared)
{
    Stamp now = stamp_of(me);
    if (!races(s, me, is_shared))
        return now;
    if (s->block != me->block)
        now.block = MANY;
    now.thread = MANY;
    return now;
}

typedef struct Access {
    const CheckThread *me;
    CUmodule module;
    uintptr_t at;
    unsigned bytes;
    bool writes, is_shared;
    const void *instruction;
} Access;

static void say(const Access *a, const char *what)
{
    char place[400];
    int line = module_line(a->module, (const char *)a->instruction - 1);
    sim_env_say("%s: %s", block_place(line, place, sizeof place), what);
}

static void say_race(const Access *a, const Stamp *other, const void *other_at, bool other_writes)
{
    char what[600], who[80];
    int line = module_line(a->module, (const char *)other_at - 1), len;
    const char *text = module_text(a->module, line, &len);
    if (other->thread == MANY)
        snprintf(who, sizeof who, "several threads");
    else if (other->block != a->me->block)
        snprintf(who, sizeof who, "thread %u of block %u", other->thread, other->block);
    else
        snprintf(who, sizeof who, "thread %u", other->thread);
    snprintf(what, sizeof what, "%s %s that %s %s at line %d (%.*s) without a barrier in between",
             a->writes ? "writes" : "reads", a->is_shared ? "shared memory" : "memory", who,
             other_writes ? "wrote" : "read", line, len, text);
    say(a, what);
}

static CUresult check_mark(const Access *a, Mark *m)
{
    bool initialised = a->is_shared
                           ? same_launch(&m->write, a->me) && m->write.block == a->me->block
                           : m->is_written;
    if (races(&m->write, a->me, a->is_shared)) {
        say_race(a, &m->write, m->write_at, true);
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    if (a->writes && races(&m->read, a->me, a->is_shared)) {
        say_race(a, &m->read, m->read_at, false);
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    if (!a->writes && !initialised && sim_env_number("NPC_SIM_CHECK", 0) > 1) {
        say(a, a->is_shared ? "reads shared memory that nobody wrote"
                            : "reads memory that nobody wrote");
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    if (a->writes) {
        m->write = stamp_of(a->me);
        m->write_at = a->instruction;
        m->is_written = true;
    } else {
        m->read = joined_reads(&m->read, a->me, a->is_shared);
        m->read_at = a->instruction;
    }
    return CUDA_SUCCESS;
}

static CUresult check_marks(const Access *a, Mark *marks, size_t offset)
{
    CUresult r = CUDA_SUCCESS;
    for (unsigned i = 0; !r && i < a->bytes / GRAIN; i++) /* none of one byte */
        r = check_mark(a, &marks[offset / GRAIN + i]);
    return r;
}

static Mark *marks_of(const MemoryView *v)
{
    if (!*v->marks)
        *v->marks = calloc((v->bytes + v->readable) / GRAIN + 1, sizeof(Mark));
    return *v->marks;
}

static CUresult check_device(const Access *a)
{
    MemoryView v;
    char text[160];
    if (!memory_view(a->at, &v))
        return CUDA_SUCCESS; /* another memory, or none at all */
    size_t end = a->at - v.at + a->bytes;
    if (a->at < v.at || end > v.bytes + (a->writes ? 0 : v.readable)) {
        char what[240];
        snprintf(what, sizeof what, "%s %u bytes: %s", a->writes ? "writes" : "reads", a->bytes,
                 memory_describe(a->at, text, sizeof text));
        say(a, what);
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    if (end > v.bytes) /* nobody's values */
        return CUDA_SUCCESS;
    Mark *marks = marks_of(&v);
    return marks ? check_marks(a, marks, a->at - v.at) : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult check_access(const CheckThread *me, const CheckShared *shared, CUmodule module,
                      uintptr_t at, unsigned bytes, bool writes, const void *instruction)
{
    Access a = {me, module, at, bytes, writes, false, instruction};
    for (int i = 0; i < 2; i++) {
        uintptr_t first = (uintptr_t)shared[i].at, end = (uintptr_t)shared[i].end;
        if (at >= first && at + bytes <= end) {
            a.is_shared = true;
            return check_marks(&a, shared_marks[i], at - first);
        }
    }
    return check_device(&a);
}

void check_written(CUdeviceptr at, size_t bytes)
{
    MemoryView v;
    if (!sim_env_number("NPC_SIM_CHECK", 0) || !memory_view((uintptr_t)at, &v))
        return;
    Mark *marks = marks_of(&v);
    size_t first = (size_t)at - v.at;
    for (size_t i = first / GRAIN; marks && i < (first + bytes + GRAIN - 1) / GRAIN; i++)
        marks[i].is_written = true;
}
