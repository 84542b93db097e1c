/* Hash table from strings to pointers, in an arena. Iteration is in order of insertion, so output
 * that walks a map is deterministic. */
#ifndef NPC_BASE_MAP_H
#define NPC_BASE_MAP_H

#include "ir/base/arena.h"
#include <stdint.h>

typedef struct MapEntry {
    const char *key;
    size_t key_len;
    void *value;
} MapEntry;

typedef struct Map {
    MapEntry *entry; /* in order of insertion */
    uint32_t n, cap;
    uint32_t *slot; /* index + 1 into `entry`, 0 free */
    uint32_t n_slots;
} Map;

/* NULL when absent. */
void *map_get(const Map *m, const char *key);
MapEntry *map_find(const Map *m, const char *key, size_t key_len);
/* Adds or replaces; the key is copied into the arena. Returns the entry. */
MapEntry *map_put(Arena *a, Map *m, const char *key, void *value);
MapEntry *map_put_n(Arena *a, Map *m, const char *key, size_t key_len, void *value);

#endif
