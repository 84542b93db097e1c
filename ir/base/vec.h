/* Growable array in an arena.  VEC(int) v = {0};  vec_push(arena, &v, 3);  v.at[0], v.len */
#ifndef NPC_BASE_VEC_H
#define NPC_BASE_VEC_H

#include "ir/base/arena.h"
#include <stdint.h>

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *at;                                                                                     \
        uint32_t len, cap;                                                                         \
    }

#define vec_push(arena, v, ...)                                                                    \
    do {                                                                                           \
        if ((v)->len == (v)->cap)                                                                  \
            (v)->at = vec_grown((arena), (v)->at, &(v)->cap, sizeof *(v)->at);                     \
        (v)->at[(v)->len++] = (__VA_ARGS__);                                                       \
    } while (0)

static inline void *vec_grown(Arena *a, void *old, uint32_t *cap, size_t elem)
{
    uint32_t n = *cap ? *cap * 2 : 8;
    void *p = arena_array(a, n, elem);
    if (*cap && old)
        memcpy(p, old, (size_t)*cap * elem);
    *cap = n;
    return p;
}

#endif
