/* Region memory: many allocations, one lifetime.
 *
 * A compile allocates from arenas and frees nothing singly. A request that cannot be served jumps
 * to `exhausted`, the one setjmp at the entry point, so that callers carry no NULL checks; without
 * a jump target the program says so and ends with 1. `fail_at` makes the N-th request from now fail
 * (1 = the next), for tests. */
#ifndef NPC_BASE_ARENA_H
#define NPC_BASE_ARENA_H

#include <setjmp.h>
#include <stddef.h>
#include <string.h>

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
    ArenaChunk *head;
    size_t bytes;       /* handed out so far */
    jmp_buf *exhausted; /* where to go when memory ends */
    long fail_at;       /* 0: never */
    long n_requests;    /* requests so far; equals `fail_at` when the planted failure fires */
} Arena;

/* Zeroed memory aligned to 16 bytes; never NULL. */
void *arena_alloc(Arena *a, size_t bytes);
/* The same for `n` elements of `size` bytes; an overflowing product counts as exhaustion. */
void *arena_array(Arena *a, size_t n, size_t size);
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
__attribute__((format(printf, 2, 3))) char *arena_printf(Arena *a, const char *fmt, ...);
/* For memory of another kind that ended meanwhile: goes where a refused request goes. */
_Noreturn void arena_exhausted(Arena *a);
/* Frees everything; the arena can be used again. */
void arena_free(Arena *a);

#define ARENA_NEW(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_array((a), (n), sizeof(T)))

#endif
