/* Device memory: host memory at its own addresses, so that kernels use pointers as they are.
 *
 * Every allocation has pages of its own, and lies at their end:
 *
 *     no access | guard | bytes asked for | 64 readable | guard, at least 256 | no access
 *
 * All but the bytes asked for is 0xFF and has to stay so: checked after every launch. What was
 * asked for begins as 0xFF, too, which reads as NaN. Freed pages lose all access and their
 * addresses are not used again for long. Under the address sanitizer guards are poisoned.
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

typedef struct Allocation {
    unsigned char *at;
    size_t bytes;
    unsigned char *pages; /* with both pages without access */
    size_t pages_bytes;
    long long number; /* of the call that made it */
    bool is_freed;
} Allocation;

static Allocation *table;
static size_t n_table, room_table, n_freed, bytes_used;
static long long n_allocated;

static size_t device_bytes(void)
{
    return (size_t)sim_env_number("NPC_SIM_MEMORY", 8ll << 30);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static unsigned char *guard_before(const Allocation *a)
{
    return a->pages + PAGE;
}

static unsigned char *guard_end(const Allocation *a)
{
    return a->pages + a->pages_bytes - PAGE;
}

static Allocation *find(uintptr_t at, bool freed)
{
    for (size_t i = 0; i < n_table; i++) {
        const Allocation *a = &table[i];
        if (a->is_freed == freed && at >= (uintptr_t)a->pages &&
            at < (uintptr_t)a->pages + a->pages_bytes)
            return &table[i];
    }
    return NULL;
}

/* The oldest freed allocation is forgotten. */
static void forget_one(void)
{
    size_t oldest = n_table;
    for (size_t i = 0; i < n_table; i++)
        if (table[i].is_freed && (oldest == n_table || table[i].number < table[oldest].number))
            oldest = i;
    ASAN_UNPOISON_MEMORY_REGION(table[oldest].pages, table[oldest].pages_bytes);
    munmap(table[oldest].pages, table[oldest].pages_bytes);
    table[oldest] = table[--n_table];
    n_freed--;
}

CUresult memory_alloc(CUdeviceptr *at, size_t bytes)
{
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes > device_bytes() || bytes_used > device_bytes() - bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (n_table == room_table) {
        size_t room = room_table ? room_table * 2 : 64;
        Allocation *larger = realloc(table, room * sizeof *table);
        if (!larger)
            return CUDA_ERROR_OUT_OF_MEMORY;
        table = larger;
        room_table = room;
    }
    size_t used = round_up(bytes + READABLE + GUARD, ALIGN), inner = round_up(used, PAGE);
    Allocation a = {
        .bytes = bytes, .pages_bytes = inner + 2 * (size_t)PAGE, .number = ++n_allocated};
    a.pages = mmap(NULL, a.pages_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a.pages == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (mprotect(a.pages + PAGE, inner, PROT_READ | PROT_WRITE)) {
        munmap(a.pages, a.pages_bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memset(a.pages + PAGE, 0xFF, inner);
    a.at = a.pages + PAGE + inner - used;
    ASAN_POISON_MEMORY_REGION(guard_before(&a), (size_t)(a.at - guard_before(&a)));
    ASAN_POISON_MEMORY_REGION(a.at + bytes + READABLE, used - bytes - READABLE);
    table[n_table++] = a;
    bytes_used += bytes;
    *at = (CUdeviceptr)(uintptr_t)a.at;
    return CUDA_SUCCESS;
}

CUresult memory_free(CUdeviceptr at)
{
    Allocation *a = find((uintptr_t)at, false);
    char text[160];
    if (!at)
        return CUDA_SUCCESS;
    if (!a || (uintptr_t)a->at != (uintptr_t)at) {
        sim_env_say("cuMemFree of 0x%llx: %s", at,
                    memory_describe((uintptr_t)at, text, sizeof text));
        return CUDA_ERROR_INVALID_VALUE;
    }
    a->is_freed = true;
    bytes_used -= a->bytes;
    madvise(a->pages, a->pages_bytes, MADV_DONTNEED);
    mprotect(a->pages, a->pages_bytes, PROT_NONE);
    if (++n_freed > MAX_FREED)
        forget_one();
    return CUDA_SUCCESS;
}

void memory_info(size_t *free, size_t *total)
{
    *total = device_bytes();
    *free = *total > bytes_used ? *total - bytes_used : 0;
}

const char *memory_describe(uintptr_t at, char *text, size_t len)
{
    const Allocation *a = find(at, false);
    bool is_freed = !a;
    if (is_freed)
        a = find(at, true);
    if (!a)
        snprintf(text, len, "that is not memory of the device");
    else if (is_freed)
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

bool memory_check(CUdeviceptr at, size_t bytes, const char *what)
{
    uintptr_t first = (uintptr_t)at;
    const Allocation *a = find(first, false);
    char text[160];
    if (!bytes)
        return true;
    if (a && first >= (uintptr_t)a->at && first - (uintptr_t)a->at <= a->bytes &&
        bytes <= a->bytes - (first - (uintptr_t)a->at))
        return true;
    if (a && first >= (uintptr_t)a->at && first < (uintptr_t)a->at + a->bytes)
        sim_env_say("%s of %zu bytes at byte %zu of allocation number %lld, which has %zu bytes",
                    what, bytes, (size_t)(first - (uintptr_t)a->at), a->number, a->bytes);
    else
        sim_env_say("%s of %zu bytes at 0x%llx: %s", what, bytes, at,
                    memory_describe(first, text, sizeof text));
    return false;
}

/* The first byte of [at, end) that is not 0xFF; NULL: all are. */
__attribute__((no_sanitize_address)) static const unsigned char *
first_written(const unsigned char *at, const unsigned char *end)
{
    for (; at < end && (uintptr_t)at % 8; at++)
        if (*at != 0xFF)
            return at;
    for (; at + 8 <= end; at += 8)
        if (*(const volatile uint64_t *)at != UINT64_MAX)
            break;
    for (; at < end; at++)
        if (*at != 0xFF)
            return at;
    return NULL;
}

/* So that it is said once. */
__attribute__((no_sanitize_address)) static void mend(unsigned char *at, unsigned char *end)
{
    for (volatile unsigned char *p = at; p < end; p++)
        *p = 0xFF;
}

bool memory_guards_intact(const char *name)
{
    bool intact = true;
    for (size_t i = 0; i < n_table; i++) {
        const Allocation *a = &table[i];
        if (a->is_freed)
            continue;
        const unsigned char *behind = first_written(a->at + a->bytes, guard_end(a)),
                            *before = first_written(guard_before(a), a->at);
        if (!behind && !before)
            continue;
        if (behind)
            sim_env_say("kernel %s wrote %zu bytes behind the end of allocation number %lld of %zu "
                        "bytes",
                        name, (size_t)(behind - a->at) - a->bytes, a->number, a->bytes);
        else
            sim_env_say("kernel %s wrote %zu bytes before allocation number %lld of %zu bytes",
                        name, (size_t)(a->at - before), a->number, a->bytes);
        mend(a->at + a->bytes, guard_end(a));
        mend(guard_before(a), a->at);
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

/* Pinned memory begins as 0xFF as well. */
SIM_API CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags)
{
    CUresult r = driver_begin("cuMemHostAlloc", CUDA_ERROR_OUT_OF_MEMORY);
    (void)flags;
    if (!r)
        r = stream_check_not_capturing("cuMemHostAlloc");
    if (!r && !bytes)
        r = CUDA_ERROR_INVALID_VALUE;
    if (!r) {
        void *p;
        if (posix_memalign(&p, PAGE, bytes))
            r = CUDA_ERROR_OUT_OF_MEMORY;
        else
            *at = memset(p, 0xFF, bytes);
    }
    return driver_end(r);
}

SIM_API CUresult cuMemFreeHost(void *at)
{
    CUresult r = driver_begin("cuMemFreeHost", CUDA_ERROR_INVALID_VALUE);
    if (!r)
        free(at);
    return driver_end(r);
}
