#include "ir/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024, ALIGN = 16 };

struct ArenaChunk {
    ArenaChunk *next;
    size_t size, used;
    _Alignas(ALIGN) unsigned char data[];
};

_Noreturn void arena_exhausted(Arena *a)
{
    if (a->exhausted)
        longjmp(*a->exhausted, 1);
    fputs("npc: out of memory\n", stderr);
    _exit(1);
}

void *arena_alloc(Arena *a, size_t bytes)
{
    a->n_requests++;
    if (a->fail_at > 0 && --a->fail_at == 0)
        arena_exhausted(a);
    if (bytes > SIZE_MAX / 2)
        arena_exhausted(a);
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);

    ArenaChunk *c = a->head;
    if (!c || c->size - c->used < bytes) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        c = calloc(1, sizeof *c + size);
        if (!c)
            arena_exhausted(a);
        c->size = size;
        /* a large request gets a chunk of its own behind the head, which keeps its free room */
        if (a->head && bytes > CHUNK_BYTES / 4 && a->head->size > a->head->used) {
            c->next = a->head->next;
            a->head->next = c;
        } else {
            c->next = a->head;
            a->head = c;
        }
    }
    void *p = c->data + c->used;
    c->used += bytes;
    a->bytes += bytes;
    return p;
}

void *arena_array(Arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        arena_exhausted(a);
    return arena_alloc(a, bytes);
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *arena_strdup(Arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_printf(Arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

void arena_free(Arena *a)
{
    for (ArenaChunk *c = a->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->head = NULL;
    a->bytes = 0;
}
