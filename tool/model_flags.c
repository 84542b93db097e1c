#include "tool/model_flags.h"

#include <stdlib.h>

enum { NEURON_LIMIT = 10000000 };

void model_flags_init(ModelFlags *f)
{
    *f = (ModelFlags){.fuse = "full", .recompute = "none", .device = "auto"};
}

/* "60,70" */
static Status read_sessions(ModelFlags *f, ModelOptions *o, Err *err)
{
    int n = 0;
    for (const char *p = f->neurons; p;) {
        char *end;
        long long neurons = strtoll(p, &end, 10);
        if (end == p || (*end && *end != ',') || neurons < 1 || neurons > NEURON_LIMIT)
            return err_set(err, NPC_ERR_USAGE,
                           "--neurons: expected numbers of neurons such as 60,70, found '%s'",
                           f->neurons);
        if (n == MODEL_FLAG_SESSIONS)
            return err_set(err, NPC_ERR_USAGE, "--neurons: more than %d recordings",
                           MODEL_FLAG_SESSIONS);
        snprintf(f->session_name[n], MODEL_FLAG_NAME, "recording%d", n);
        f->session[n] = (Session){.name = f->session_name[n], .neurons = neurons};
        n++;
        p = *end ? end + 1 : NULL;
    }
    o->sessions = f->session;
    o->n_sessions = n;
    return NPC_OK;
}

/* "t=8" */
static Status read_bind(ModelFlags *f, int i, Err *err)
{
    const char *text = f->binds.at[i], *equals = strchr(text, '=');
    char *end = NULL;
    long long size = equals ? strtoll(equals + 1, &end, 10) : 0;
    size_t n = equals ? (size_t)(equals - text) : 0;
    if (!n || n >= MODEL_FLAG_NAME || end == equals + 1 || *end || size < 1 || size > INT32_MAX)
        return err_set(err, NPC_ERR_USAGE,
                       "--bind: expected an axis and its size such as t=8, "
                       "found '%s'",
                       text);
    memcpy(f->axis_name[i], text, n);
    f->axis_name[i][n] = 0;
    f->bind[i] = (AxisSize){f->axis_name[i], size};
    return NPC_OK;
}

Status model_flags_apply(ModelFlags *f, const char *path, ModelOptions *out, Err *err)
{
    ModelOptions o = {.path = path,
                      .model = f->model,
                      .recipe = f->recipe,
                      .sets = f->sets.at,
                      .n_sets = f->sets.n,
                      .batch = f->batch,
                      .disabled = f->disabled,
                      .device = f->device,
                      .precision = f->precision,
                      .library = f->library,
                      .threads = (int)f->threads,
                      .interpret = f->interpret,
                      .no_cache = f->no_cache,
                      .cache_folder = f->cache,
                      .verify_passes = f->verify,
                      .bind = f->bind,
                      .n_bind = f->binds.n};
    if (f->cpu && strcmp(f->cpu, "native"))
        o.cpu = f->cpu;
    if (!strcmp(f->recompute, "expand"))
        o.recompute = RECOMPUTE_EXPAND;
    if (!fuse_level_find(f->fuse, &o.fuse))
        return err_set(err, NPC_ERR_USAGE, "--fuse: expected full, elementwise or none, found '%s'",
                       f->fuse);
    if (f->neurons)
        NPC_TRY(read_sessions(f, &o, err));
    if (f->binds.n > MODEL_FLAG_BINDS)
        return err_set(err, NPC_ERR_USAGE, "--bind: given more than %d times", MODEL_FLAG_BINDS);
    for (int i = 0; i < f->binds.n; i++)
        NPC_TRY(read_bind(f, i, err));
    *out = o;
    return NPC_OK;
}
