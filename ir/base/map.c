#include "ir/base/map.h"

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    return h ^ (h >> 29);
}

MapEntry *map_find(const Map *m, const char *key, size_t key_len)
{
    if (!m->n_slots)
        return NULL;
    for (uint64_t i = hash_bytes(key, key_len);; i++) {
        uint32_t s = m->slot[i & (m->n_slots - 1)];
        if (!s)
            return NULL;
        MapEntry *e = &m->entry[s - 1];
        if (e->key_len == key_len && !memcmp(e->key, key, key_len))
            return e;
    }
}

void *map_get(const Map *m, const char *key)
{
    MapEntry *e = map_find(m, key, strlen(key));
    return e ? e->value : NULL;
}

static void put_slot(Map *m, uint32_t index)
{
    uint64_t i = hash_bytes(m->entry[index].key, m->entry[index].key_len);
    while (m->slot[i & (m->n_slots - 1)])
        i++;
    m->slot[i & (m->n_slots - 1)] = index + 1;
}

MapEntry *map_put_n(Arena *a, Map *m, const char *key, size_t key_len, void *value)
{
    MapEntry *e = map_find(m, key, key_len);
    if (e) {
        e->value = value;
        return e;
    }
    if (m->n == m->cap) {
        uint32_t cap = m->cap ? 2 * m->cap : 16;
        MapEntry *entry = ARENA_ARRAY(a, MapEntry, cap);
        if (m->n)
            memcpy(entry, m->entry, m->n * sizeof *entry);
        m->entry = entry;
        m->cap = cap;
        m->n_slots = 2 * cap;
        m->slot = ARENA_ARRAY(a, uint32_t, m->n_slots);
        for (uint32_t i = 0; i < m->n; i++)
            put_slot(m, i);
    }
    m->entry[m->n] = (MapEntry){arena_strndup(a, key, key_len), key_len, value};
    put_slot(m, m->n++);
    return &m->entry[m->n - 1];
}

MapEntry *map_put(Arena *a, Map *m, const char *key, void *value)
{
    return map_put_n(a, m, key, strlen(key), value);
}
