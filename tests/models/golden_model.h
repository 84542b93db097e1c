/* A golden model case as a module: models/dwiseneuro.nm with the arguments, sizes and sessions of
 * the file's metadata, and the file's tensors as values of its leaves. Tests run with the
 * repository's root as working folder. */
#ifndef NPC_TESTS_GOLDEN_MODEL_H
#define NPC_TESTS_GOLDEN_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/elaborate.h"
#include "ir/eval.h"
#include "data/safetensors.h"

#include <jansson.h>
#include <math.h>

typedef struct GoldenModel {
    Arena arena;
    Names names;
    Diags diags;
    Safetensors st;
    Module *module;
    Elaborated info;
    int64_t batch;
    Map params; /* our name -> SafetensorsEntry */
} GoldenModel;

static inline json_t *golden_meta(const GoldenModel *g, const char *key)
{
    json_error_t error;
    const char *text = safetensors_meta(&g->st, key);
    json_t *j = text ? json_loads(text, JSON_DECODE_ANY, &error) : NULL;
    if (!j)
        fail_msg("no metadata '%s'", key);
    return j;
}

/* name=value as an override. */
static inline void golden_set(GoldenModel *g, const char *name, json_t *value, SetOption *out)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    const char *set = arena_printf(&g->arena, "%s=%s", name, text);
    free(text);
    assert_true(parse_set(&g->arena, &g->names, &g->diags, set, out));
}

static inline void golden_map_params(GoldenModel *g)
{
    const NameMap *map = names_find(&g->info, "golden");
    assert_non_null(map);
    for (size_t i = 0; i < g->st.n; i++) {
        SafetensorsEntry *e = &g->st.entry[i];
        if (strncmp(e->name, "param/", 6))
            continue;
        const char *ours = names_map(&g->arena, g->module, map, e->name + 6);
        if (!ours)
            fail_msg("no rule of the map fits %s", e->name);
        map_put(&g->arena, &g->params, ours, e);
    }
}

static inline void golden_open(GoldenModel *g, const char *path, bool no_dropping)
{
    static const char *const axes[] = {"t", "h", "w", "c"};
    Err err = {0};
    *g = (GoldenModel){0};
    g->names.arena = &g->arena;
    diags_init(&g->diags, &g->arena);
    if (safetensors_open(&g->st, path, &err) != NPC_OK)
        fail_msg("%s", err.text);

    json_t *config = golden_meta(g, "config"), *extent = golden_meta(g, "extent");
    json_t *neurons = json_object_get(config, "neurons"), *batch = golden_meta(g, "batch"), *value;
    const char *key;
    SetOption sets[32];
    AxisSize bind[4];
    int n_sets = 0, n_sessions = (int)json_array_size(neurons);
    Session *sessions = ARENA_ARRAY(&g->arena, Session, (size_t)n_sessions);
    json_object_foreach(config, key, value)
    {
        if (strcmp(key, "neurons") && strcmp(key, "in_channels"))
            golden_set(g, key, value, &sets[n_sets++]);
    }
    for (int i = 0; i < n_sessions; i++)
        sessions[i] = (Session){.name = arena_printf(&g->arena, "mouse%d", i),
                                .neurons = json_integer_value(json_array_get(neurons, (size_t)i))};
    for (int i = 0; i < 4; i++) {
        json_t *size =
            i < 3 ? json_array_get(extent, (size_t)i) : json_object_get(config, "in_channels");
        bind[i] = (AxisSize){axes[i], json_integer_value(size)};
    }
    g->batch = json_integer_value(batch);
    ElaborateOptions o = {.model = "dwiseneuro",
                          .sets = sets,
                          .n_sets = n_sets,
                          .sessions = sessions,
                          .n_sessions = n_sessions,
                          .batch = g->batch,
                          .bind = bind,
                          .n_bind = 4,
                          .probes = true,
                          .no_dropping = no_dropping};
    g->module = elaborate(&g->arena, &g->names, &g->diags, "models/dwiseneuro.nm", &o, &g->info);
    json_decref(config);
    json_decref(extent);
    json_decref(batch);
    if (!g->module) {
        diags_print(&g->diags, stderr);
        fail_msg("%s: the model cannot be built", path);
    }
    golden_map_params(g);
}

static inline void golden_close(GoldenModel *g)
{
    safetensors_close(&g->st);
    arena_free(&g->arena);
}

static inline const SafetensorsEntry *golden_entry(const GoldenModel *g, const char *name)
{
    const SafetensorsEntry *e = safetensors_find(&g->st, name);
    if (!e)
        fail_msg("there is no golden tensor %s", name);
    return e;
}

/* Weights [b, sessions] divided by their sum; one column. */
static inline void golden_share(const GoldenModel *g, int64_t session, double *at)
{
    const SafetensorsEntry *e = golden_entry(g, "input/weights");
    int64_t n = (int64_t)e->shape[1];
    double *w = malloc(sizeof *w * e->elems), total = 0;
    assert_non_null(w);
    safetensors_as_double(e, w);
    for (uint64_t i = 0; i < e->elems; i++)
        total += w[i];
    for (int64_t b = 0; b < g->batch; b++)
        at[b] = w[b * n + session] / total;
    free(w);
}

/* The stored mask of a stream. */
static inline void golden_mask(const GoldenModel *g, const Node *leaf, double *at)
{
    char name[128];
    int i;
    if (sscanf(leaf->attrs.name, "core.block%d", &i) == 1)
        snprintf(name, sizeof name, "input/keep/block%d", i);
    else if (sscanf(leaf->attrs.name, "cortex.layer%d", &i) == 1)
        snprintf(name, sizeof name, "input/keep/cortex%d", i);
    else if (sscanf(leaf->attrs.name, "readout.mouse%d", &i) == 1)
        snprintf(name, sizeof name, "input/keep/readout%d", i);
    else
        fail_msg("an unexpected stream: %s", leaf->attrs.name);
    const SafetensorsEntry *e = golden_entry(g, name);
    assert_int_equal(e->elems, shape_elems(&leaf->shape));
    safetensors_as_double(e, at);
}

static inline bool golden_leaf(void *context, const Node *leaf, double *at)
{
    const GoldenModel *g = context;
    const char *name = leaf->attrs.name;
    const SafetensorsEntry *e;
    if (leaf->op == OP_RANDOM) {
        golden_mask(g, leaf, at);
        return true;
    }
    if (leaf->op == OP_INPUT && !strncmp(name, "share/mouse", 11)) {
        golden_share(g, atoi(name + 11), at);
        return true;
    }
    if (leaf->op == OP_INPUT)
        e = golden_entry(g, strcmp(name, "clip")
                                ? arena_printf((Arena *)&g->arena, "input/%s", name)
                                : "input/x");
    else
        e = map_get(&g->params, name);
    if (!e)
        return false;
    assert_int_equal(e->elems, shape_elems(&leaf->shape));
    safetensors_as_double(e, at);
    return true;
}

#endif
