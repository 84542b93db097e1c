/* Device memory: host memory at its own addresses, so that kernels use pointers as they are.
 *
 * Every allocation has pages of its own, far from others, and lies at their end:
 *
 *     no access .. | guard | bytes asked for | 64 readable | guard, at least 256 | no access ..
 *
 * What was asked for begins as 0xFF, which reads as NaN. All around it are NaNs of a kind that
 * differs between neighbours in time, so that copies of them show; after every launch they have to
 * be there still. Freed pages lose all access, and addresses are not used again. Under the address
 * sanitizer guards are poisoned.
 *
 *   NPC_SIM_MEMORY=BYTES   of the device, 8 GiB */
#include "tests/sim/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if SIM_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { PAGE = 4096, ALIGN = 256, READABLE = 64, GUARD = 256, MAX_FREED = 1024 };
/* No access between allocations; address space taken at once. */
static const size_t GAP = (size_t)1 << 22, REGION = (size_t)1 << 40;

typedef struct Allocation {
    unsigned char *at;
    size_t bytes;
    unsigned char *pages;
    size_t pages_bytes;
    long long number; /* of the call that made it */
    bool is_freed;
    void *marks; /* of check.c, from malloc */
} Allocation;

static Allocation **table;
static size_t n_table, room_table, n_freed, bytes_used;
static long long n_allocated;

/* The region that new allocations come from; none shares a piece of GAP bytes with another. */
static unsigned char *region, *region_next;
static Allocation *region_owner[(size_t)1 << 18];

static size_t device_bytes(void)
{
    return (size_t)sim_env_number("NPC_SIM_MEMORY", 8ll << 30);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static unsigned char *guard_end(const Allocation *a)
{
    return a->pages + a->pages_bytes;
}

/* Two bytes, a NaN of bf16 and f16; twice, of float32. */
static uint16_t pattern_of(const Allocation *a)
{
    return (uint16_t)(0xFF81u + (unsigned)(a->number % 127));
}

__attribute__((no_sanitize_address)) static void
write_pattern(const Allocation *a, unsigned char *at, const unsigned char *end)
{
    uint16_t pattern = pattern_of(a);
    for (; at < end; at++)
        *(volatile unsigned char *)at = (unsigned char)((uintptr_t)at % 2 ? pattern >> 8 : pattern);
}

/* The first byte of [at, end) that is not of the pattern; NULL: all are. */
__attribute__((no_sanitize_address)) static const unsigned char *
first_written(const Allocation *a, const unsigned char *at, const unsigned char *end)
{
    uint64_t pattern = pattern_of(a) * 0x0001000100010001u;
    for (; at < end; at++) {
        while ((uintptr_t)at % 8 == 0 && at + 8 <= end && *(const volatile uint64_t *)at == pattern)
            at += 8;
        if (at < end && *at != (unsigned char)((uintptr_t)at % 2 ? pattern >> 8 : pattern))
            return at;
    }
    return NULL;
}

/* The allocation in whose pages an address lies, freed or not. */
static Allocation *find(uintptr_t at)
{
    Allocation *a = NULL;
    if (region && at - (uintptr_t)region < REGION) {
        a = region_owner[(at - (uintptr_t)region) / GAP];
        return a && at - (uintptr_t)a->pages < a->pages_bytes ? a : NULL;
    }
    for (size_t i = 0; i < n_table && !a; i++)
        if (at - (uintptr_t)table[i]->pages < table[i]->pages_bytes)
            a = table[i];
    return a;
}

/* How far an address lies outside of an allocation. */
static size_t distance(const Allocation *a, uintptr_t at)
{
    uintptr_t first = (uintptr_t)a->at, end = first + a->bytes;
    return at < first ? first - at : at >= end ? at - end + 1 : 0;
}

static void set_owner(const Allocation *a, Allocation *owner)
{
    uintptr_t first = (uintptr_t)a->pages - (uintptr_t)region;
    if (region && first < REGION)
        for (size_t i = first / GAP; i <= (first + a->pages_bytes - 1) / GAP; i++)
            region_owner[i] = owner;
}

/* The oldest freed allocation is forgotten. */
static void forget_one(void)
{
    size_t oldest = n_table;
    for (size_t i = 0; i < n_table; i++)
        if (table[i]->is_freed && (oldest == n_table || table[i]->number < table[oldest]->number))
            oldest = i;
    set_owner(table[oldest], NULL);
    free(table[oldest]);
    table[oldest] = table[--n_table];
    n_freed--;
}

/* Pages that were never used; NULL: there are none. */
static unsigned char *take_pages(size_t bytes)
{
    if (bytes > REGION / 2)
        return NULL;
    if (!region || (size_t)(region_next - region) + bytes + 2 * GAP > REGION) {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *at = mmap(NULL, REGION, PROT_NONE, flags, -1, 0);
        if (at == MAP_FAILED)
            return NULL;
        region = region_next = at;
        memset(region_owner, 0, sizeof region_owner);
    }
    unsigned char *at = region_next + GAP;
    if (mprotect(at, bytes, PROT_READ | PROT_WRITE))
        return NULL;
    region_next = at + bytes;
    return at;
}

static bool table_has_room(void)
{
    if (n_table < room_table)
        return true;
    size_t room = room_table ? room_table * 2 : 64;
    Allocation **larger = realloc(table, room * sizeof *table);
    if (!larger)
        return false;
    table = larger;
    room_table = room;
    return true;
}

CUresult memory_alloc(CUdeviceptr *at, size_t bytes)
{
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes > device_bytes() || bytes_used > device_bytes() - bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t used = round_up(bytes + READABLE + GUARD, ALIGN), inner = round_up(used, PAGE);
    Allocation *a = calloc(1, sizeof *a);
    if (!a || !table_has_room() || !(a->pages = take_pages(inner))) {
        free(a);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    a->bytes = bytes;
    a->pages_bytes = inner;
    a->number = ++n_allocated;
    a->at = a->pages + inner - used;
    memset(a->at, 0xFF, bytes);
    write_pattern(a, a->at + bytes, guard_end(a));
    write_pattern(a, a->pages, a->at);
    ASAN_POISON_MEMORY_REGION(a->pages, (size_t)(a->at - a->pages));
    ASAN_POISON_MEMORY_REGION(a->at + bytes + READABLE, used - bytes - READABLE);
    table[n_table++] = a;
    set_owner(a, a);
    bytes_used += bytes;
    *at = (CUdeviceptr)(uintptr_t)a->at;
    return CUDA_SUCCESS;
}

/* Pages without access; the kernel's tables of them are given back. */
static void take_access(Allocation *a)
{
    uintptr_t unit = GAP / 2, first = (uintptr_t)a->pages / unit * unit,
              end = round_up((uintptr_t)guard_end(a), unit);
    a->is_freed = true;
    bytes_used -= a->bytes;
    n_freed++;
    free(a->marks);
    a->marks = NULL;
    ASAN_UNPOISON_MEMORY_REGION(a->pages, a->pages_bytes);
    mmap((void *)first, end - first, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

CUresult memory_free(CUdeviceptr at)
{
    Allocation *a = find((uintptr_t)at);
    char text[160];
    if (!at)
        return CUDA_SUCCESS;
    if (!a || a->is_freed || (uintptr_t)a->at != (uintptr_t)at) {
        sim_env_say("cuMemFree of 0x%llx: %s", at,
                    memory_describe((uintptr_t)at, text, sizeof text));
        return CUDA_ERROR_INVALID_VALUE;
    }
    take_access(a);
    if (n_freed > MAX_FREED)
        forget_one();
    return CUDA_SUCCESS;
}

void memory_free_all(void)
{
    for (size_t i = 0; i < n_table; i++)
        if (!table[i]->is_freed)
            take_access(table[i]);
    while (n_freed > MAX_FREED)
        forget_one();
}

void memory_info(size_t *free, size_t *total)
{
    *total = device_bytes();
    *free = *total > bytes_used ? *total - bytes_used : 0;
}

const char *memory_describe(uintptr_t at, char *text, size_t len)
{
    const Allocation *a = NULL;
    for (size_t i = 0; i < n_table; i++)
        if (!a || distance(table[i], at) < distance(a, at))
            a = table[i];
    if (!a || distance(a, at) > GAP)
        snprintf(text, len, "that is not memory of the device");
    else if (a->is_freed)
        snprintf(text, len, "that allocation (number %lld, %zu bytes) was freed", a->number,
                 a->bytes);
    else if (at < (uintptr_t)a->at)
        snprintf(text, len, "that is %zu bytes before allocation number %lld of %zu bytes",
                 (size_t)((uintptr_t)a->at - at), a->number, a->bytes);
    else if (at >= (uintptr_t)a->at + a->bytes)
        snprintf(text, len,
                 "that is %zu bytes behind the end of allocation number %lld of %zu bytes",
                 (size_t)(at - (uintptr_t)a->at - a->bytes), a->number, a->bytes);
    else
        snprintf(text, len, "that is byte %zu of allocation number %lld of %zu bytes",
                 (size_t)(at - (uintptr_t)a->at), a->number, a->bytes);
    return text;
}

bool memory_view(uintptr_t at, MemoryView *view)
{
    Allocation *a = find(at);
    if (!a || a->is_freed)
        return false;
    *view = (MemoryView){(uintptr_t)a->at, a->bytes, READABLE, &a->marks};
    return true;
}

bool memory_check(CUdeviceptr at, size_t bytes, const char *what)
{
    uintptr_t first = (uintptr_t)at;
    const Allocation *a = find(first);
    char text[160];
    if (!bytes)
        return true;
    bool is_there = a && !a->is_freed && first >= (uintptr_t)a->at;
    if (is_there && first - (uintptr_t)a->at <= a->bytes &&
        bytes <= a->bytes - (first - (uintptr_t)a->at))
        return true;
    if (is_there && first < (uintptr_t)a->at + a->bytes)
        sim_env_say("%s of %zu bytes at byte %zu of allocation number %lld, which has %zu bytes",
                    what, bytes, (size_t)(first - (uintptr_t)a->at), a->number, a->bytes);
    else
        sim_env_say("%s of %zu bytes at 0x%llx: %s", what, bytes, at,
                    memory_describe(first, text, sizeof text));
    return false;
}

bool memory_guards_intact(const char *name)
{
    bool intact = true;
    for (size_t i = 0; i < n_table; i++) {
        const Allocation *a = table[i];
        if (a->is_freed)
            continue;
        const unsigned char *behind = first_written(a, a->at + a->bytes, guard_end(a)),
                            *before = first_written(a, a->pages, a->at);
        if (!behind && !before)
            continue;
        if (behind)
            sim_env_say("kernel %s wrote behind the end of allocation number %lld, at byte %zu of "
                        "%zu",
                        name, a->number, (size_t)(behind - a->at), a->bytes);
        else
            sim_env_say("kernel %s wrote %zu bytes before allocation number %lld of %zu bytes",
                        name, (size_t)(a->at - before), a->number, a->bytes);
        write_pattern(a, a->at + a->bytes, guard_end(a)); /* it is said once */
        write_pattern(a, a->pages, a->at);
        intact = false;
    }
    return intact;
}

/* ---- the interface ---- */

SIM_API CUresult cuMemAlloc_v2(CUdeviceptr *at, size_t bytes)
{
    CUresult r = driver_begin("cuMemAlloc", CUDA_ERROR_OUT_OF_MEMORY);
    if (!r)
        r = stream_check_not_capturing("cuMemAlloc");
    if (!r)
        r = memory_alloc(at, bytes);
    return driver_end(r);
}

SIM_API CUresult cuMemFree_v2(CUdeviceptr at)
{
    CUresult r = driver_begin("cuMemFree", CUDA_ERROR_INVALID_VALUE);
    if (!r)
        r = stream_check_not_capturing("cuMemFree");
    if (!r)
        r = stream_finish_all(); /* as the real one does */
    if (!r)
        r = memory_free(at);
    return driver_end(r);
}

SIM_API CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
    CUresult r = driver_begin("cuMemGetInfo", CUDA_ERROR_INVALID_VALUE);
    if (!r)
        memory_info(free, total);
    return driver_end(r);
}

/* Pinned memory, newest first. */
typedef struct Pinned {
    struct Pinned *next;
    size_t bytes;
    unsigned char *at;
} Pinned;

static Pinned *pinned;

bool memory_is_pinned(const void *at)
{
    const Pinned *p = pinned;
    while (p && (uintptr_t)at - (uintptr_t)p->at >= p->bytes)
        p = p->next;
    return p;
}

/* Begins as 0xFF, too. */
static CUresult pin(void **at, size_t bytes)
{
    Pinned *p = malloc(sizeof *p);
    void *memory;
    if (!p || posix_memalign(&memory, PAGE, bytes)) {
        free(p);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *p = (Pinned){pinned, bytes, memset(memory, 0xFF, bytes)};
    pinned = p;
    *at = memory;
    return CUDA_SUCCESS;
}

static CUresult unpin(void *at)
{
    Pinned **p = &pinned, *found;
    while (*p && (*p)->at != at)
        p = &(*p)->next;
    found = *p;
    if (!found) {
        sim_env_say("cuMemFreeHost of %p, which is not pinned memory", at);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *p = found->next;
    free(found->at);
    free(found);
    return CUDA_SUCCESS;
}

SIM_API CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags)
{
    CUresult r = driver_begin("cuMemHostAlloc", CUDA_ERROR_OUT_OF_MEMORY);
    (void)flags;
    if (!r)
        r = stream_check_not_capturing("cuMemHostAlloc");
    if (!r)
        r = bytes ? pin(at, bytes) : CUDA_ERROR_INVALID_VALUE;
    return driver_end(r);
}

SIM_API CUresult cuMemAllocHost_v2(void **at, size_t bytes)
{
    return cuMemHostAlloc(at, bytes, 0);
}

SIM_API CUresult cuMemFreeHost(void *at)
{
    CUresult r = driver_begin("cuMemFreeHost", CUDA_ERROR_INVALID_VALUE);
    if (!r)
        r = stream_finish_all();
    CUresult done = at ? unpin(at) : CUDA_SUCCESS; /* also of a lost device */
    return driver_end(r ? r : done);
}
