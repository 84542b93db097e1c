#include "runtime/model.h"

#include <stdlib.h>

#include "ir/base/file.h"
#include "runtime/loss_factors.h"
#include "data/random_fill.h"
#include "data/philox.h"
#include "runtime/workers.h"
#include "runtime/package.h"

/* Runs `body` with the arena's exhaustion caught. */
#define WITH_MEMORY(m, err, body)                                                                  \
    do {                                                                                           \
        jmp_buf exhausted;                                                                         \
        (m)->arena.exhausted = &exhausted;                                                         \
        if (setjmp(exhausted)) {                                                                   \
            (m)->arena.exhausted = NULL;                                                           \
            return err_set(err, NPC_ERR_MEMORY, "not enough memory to compile %s",                 \
                           (m)->options.path);                                                     \
        }                                                                                          \
        body;                                                                                      \
        (m)->arena.exhausted = NULL;                                                               \
    } while (0)

static FILE *messages(const Model *m)
{
    return m->options.messages ? m->options.messages : stderr;
}

static Status report(Model *m, Err *err)
{
    FILE *out = messages(m);
    if (m->options.json_messages)
        diags_print_json(&m->diags, out);
    else
        diags_print(&m->diags, out);
    return err_set(err, NPC_ERR_INPUT, "%s: %u error%s", m->options.path, m->diags.n_errors,
                   m->diags.n_errors == 1 ? "" : "s");
}

static Status cache_folder(Model *m, const char **out, Err *err)
{
    *out = NULL;
    if (m->options.no_cache)
        return NPC_OK;
    const char *folder = m->options.cache_folder, *home = getenv("HOME");
    const char *xdg = getenv("XDG_CACHE_HOME");
    if (!folder && xdg && *xdg)
        folder = arena_printf(&m->arena, "%s/npc", xdg);
    else if (!folder && home && *home)
        folder = arena_printf(&m->arena, "%s/.cache/npc", home);
    if (!folder)
        return NPC_OK;
    Err ignored = {0}; /* a cache that cannot be written is no cache, not a failure */
    if (file_make_folder(folder, &ignored) == NPC_OK || m->options.cache_folder)
        *out = folder;
    return m->options.cache_folder && ignored.status
               ? err_set(err, ignored.status, "%s", ignored.text)
               : NPC_OK;
}

static Status disabled_passes(Model *m, Err *err)
{
    const char *p = m->options.disabled;
    while (p && *p) {
        size_t n = strcspn(p, ",");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), p);
        int i = pass_find(name);
        if (i < 0)
            return err_set(err, NPC_ERR_USAGE, "there is no pass '%s'", name);
        m->passes.disabled |= (uint64_t)1 << i;
        p += n + (p[n] == ',');
    }
    return NPC_OK;
}

/* An explicit choice of the CPU's code is a choice of the CPU. */
static Status find_device(Model *m, Err *err)
{
    const ModelOptions *o = &m->options;
    bool is_cpu = o->interpret || o->cpu;
    char note[DEVICE_NOTE];
    const char *device = device_choice(o->device, is_cpu);
    if (!target_find(o->cpu, &m->machine.target, err))
        return err->status;
    m->machine.package = o->package;
    NPC_TRY(device_find_library(o->library, &m->machine, err));
    NPC_TRY(device_find(device, &m->machine, note, err));
    static _Atomic bool was_said;
    if (*note && !was_said)
        fprintf(messages(m), "%s\n", note);
    was_said |= *note != 0;
    m->machine.threads = o->threads;
    m->machine.interpret = o->interpret;
    m->machine.emit_llvm = o->emit_llvm;
    m->machine.emit_asm = o->emit_asm;
    m->target = device_target_name(&m->machine, &m->arena);
    return NPC_OK;
}

static Status find_precision(Model *m, Err *err)
{
    static const PrecisionMode of_recipe[] = {[RECIPE_F32] = PRECISION_F32,
                                              [RECIPE_MIXED_F16] = PRECISION_F16,
                                              [RECIPE_MIXED_BF16] = PRECISION_BF16};
    PrecisionMode p = of_recipe[m->info.recipe.precision];
    const char *wanted = m->options.precision;
    if (wanted && !precision_find(wanted, &p))
        return err_set(err, NPC_ERR_USAGE,
                       "--precision: expected f32, tf32, bf16 or f16, found '%s'", wanted);
    if (!device_is_cuda(&m->machine)) {
        if (wanted && p != PRECISION_F32)
            fprintf(messages(m), "precision: the CPU computes in float32, not in %s\n", wanted);
        p = PRECISION_F32;
    }
    m->passes.precision = p;
    return NPC_OK;
}

/* NULL after diagnostics. */
static Module *build_module(Model *m, int64_t batch, const AxisSize *bind, int n_bind,
                            Elaborated *info)
{
    const ModelOptions *o = &m->options;
    SetOption *sets = ARENA_ARRAY(&m->arena, SetOption, o->n_sets + 1);
    bool ok = true;
    for (int i = 0; i < o->n_sets; i++)
        ok &= parse_set(&m->arena, &m->names, &m->diags, o->sets[i], &sets[i]);
    ElaborateOptions e = {.model = o->model,
                          .recipe = o->recipe,
                          .sets = sets,
                          .n_sets = o->n_sets,
                          .sessions = o->sessions,
                          .n_sessions = o->n_sessions,
                          .batch = batch,
                          .bind = bind,
                          .n_bind = n_bind,
                          .probes = o->probes,
                          .no_dropping = o->no_dropping};
    return ok ? elaborate(&m->arena, &m->names, &m->diags, o->path, &e, info) : NULL;
}

static Status build(Model *m, Err *err)
{
    const ModelOptions *o = &m->options;
    m->module = build_module(m, o->batch, o->bind, o->n_bind, &m->info);
    if (!m->module || m->diags.n_errors)
        return report(m, err);
    if (m->diags.messages.len) /* warnings */
        diags_print(&m->diags, messages(m));
    const Recipe *r = &m->info.recipe;
    m->batch = o->batch ? o->batch : r->batch / (r->accumulate > 0 ? r->accumulate : 1);
    m->passes = (PassOptions){.fuse = o->fuse,
                              .target = device_traits(&m->machine),
                              .recompute = o->recompute,
                              .optimizer = {r->beta1, r->beta2, r->adam_eps, r->weight_decay,
                                            r->ema, r->groups, r->n_groups, r->schedule_free,
                                            r->clip_norm > 0 || r->clip_percentile > 0},
                              .gradient_factor = loss_chunk_factor(r, m->module->sessions.len),
                              .verify = o->verify_passes,
                              .emit_after = o->emit_after,
                              .emit = o->emit};
    NPC_TRY(find_precision(m, err));
    NPC_TRY(disabled_passes(m, err));
    if (o->emit_after && (!strcmp(o->emit_after, "elaborate")) && o->emit)
        module_print(o->emit, m->module);
    NPC_TRY(cache_folder(m, &m->machine.cache_folder, err));
    return engine_create(&m->engine, m->module, &m->machine, err);
}

/* Mistakes in its name or bytes are told at once, on devices that do not use it, too. */
static Status check_package(const char *path, Err *err)
{
    Package package;
    if (!path)
        return NPC_OK;
    NPC_TRY(package_open(&package, path, err));
    package_close(&package);
    return NPC_OK;
}

Status model_open(Model **out, const ModelOptions *options, Err *err)
{
    Model *m = calloc(1, sizeof *m);
    *out = m;
    if (!m)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory");
    m->options = *options;
    m->names.arena = &m->arena;
    m->arena.fail_at = options->fail_at;
    Status s = NPC_OK;
    WITH_MEMORY(m, err, {
        diags_init(&m->diags, &m->arena);
        s = check_package(options->package, err);
        if (s == NPC_OK)
            s = find_device(m, err);
        if (s == NPC_OK)
            s = build(m, err);
    });
    return s;
}

static Status add(Model *m, Module *module, ProgramKind kind, int *program, Err *err)
{
    PassOptions o = m->passes;
    if (kind != PROGRAM_ACCUMULATE)
        o.gradient_factor = 1;
    Func *f = passes_run(module, kind, &o);
    if (!f || m->diags.n_errors)
        return report(m, err);
    Plan *plan = plan_build(&m->arena, f, kind, &o, engine_cost, m->engine);
    device_say_library(messages(m));
    return engine_add(m->engine, plan, program, err);
}

Status model_add(Model *m, ProgramKind kind, int *program, Err *err)
{
    Status s = NPC_OK;
    WITH_MEMORY(m, err, s = add(m, m->module, kind, program, err));
    return s;
}

/* Every parameter of the module must be the engine's, in name and shape. */
static Status compare_params(const Model *m, const Module *module, int64_t frames, Err *err)
{
    for (uint32_t i = 0; i < module->params.len; i++) {
        const Param *p = &module->params.at[i], *own = module_param(m->module, p->name);
        if (own && shape_equal(&own->shape, &p->shape))
            continue;
        Text here = {.arena = module->arena}, there = {.arena = module->arena};
        shape_text(&here, &p->shape);
        if (own)
            shape_text(&there, &own->shape);
        return err_set(err, NPC_ERR_INPUT,
                       "%s: the parameter '%s' is %s for a trial of %lld frames and %s for a clip; "
                       "whole trials need parameters that do not depend on the length",
                       m->options.path, p->name, text_str(&here), (long long)frames,
                       own ? text_str(&there) : "missing");
    }
    return NPC_OK;
}

static Status add_trial(Model *m, ProgramKind kind, int64_t frames, int *program,
                        const Module **out, Err *err)
{
    const ModelOptions *o = &m->options;
    AxisSize *bind = ARENA_ARRAY(&m->arena, AxisSize, (size_t)o->n_bind + 1);
    Elaborated *info = ARENA_NEW(&m->arena, Elaborated);
    bind[0] = (AxisSize){"t", frames}; /* the first that fits counts */
    for (int i = 0; i < o->n_bind; i++)
        bind[i + 1] = o->bind[i];
    Module *module = build_module(m, 1, bind, o->n_bind + 1, info);
    if (!module || m->diags.n_errors) {
        Err told = {0};
        report(m, &told);
        return err_set(err, NPC_ERR_INPUT, "%s: cannot be built for trials of %lld frames", o->path,
                       (long long)frames);
    }
    NPC_TRY(compare_params(m, module, frames, err));
    *out = module;
    return add(m, module, kind, program, err);
}

Status model_add_trial(Model *m, ProgramKind kind, int64_t frames, int *program,
                       const Module **module, Err *err)
{
    Status s = NPC_OK;
    WITH_MEMORY(m, err, s = add_trial(m, kind, frames, program, module, err));
    return s;
}

Status model_ready(Model *m, Err *err)
{
    Status s = NPC_OK;
    WITH_MEMORY(m, err, s = engine_ready(m->engine, err));
    if (s == NPC_OK && m->options.package)
        fprintf(messages(m), "package: %s\n",
                device_is_cuda(&m->machine)
                    ? engine_note(m->engine)
                    : "its code is for CUDA devices, the CPU's is made anew");
    return s;
}

void model_close(Model *m)
{
    if (!m)
        return;
    engine_free(m->engine);
    arena_free(&m->arena);
    free(m);
}

static bool is_companion(const Param *p)
{
    return strchr(p->name, '/') != NULL;
}

int model_n_parameters(const Model *m, int64_t *elems)
{
    int n = 0;
    *elems = 0;
    for (uint32_t i = 0; i < m->module->params.len; i++) {
        const Param *p = &m->module->params.at[i];
        if (p->is_state || p->frozen)
            continue;
        n++;
        *elems += shape_elems(&p->shape);
    }
    return n;
}

/* ---- initial values ---- */

enum { CHUNK = 1 << 16 };

typedef struct Filler {
    const Param *param;
    float *at;
    uint64_t seed;
} Filler;

static void fill_chunk(void *context, int64_t chunk, void *scratch)
{
    (void)scratch;
    const Filler *z = context;
    const Init *init = &z->param->init;
    int64_t n = shape_elems(&z->param->shape), end = (chunk + 1) * CHUNK;
    uint64_t stream = philox_stream(z->param->name);
    int64_t i = chunk * CHUNK;
    end = end < n ? end : n;
    if (init->kind == INIT_NORMAL) {
        normal_fill(z->seed, stream, i, end - i, (float)init->a, (float)init->b, z->at + i);
        return;
    }
    for (; i < end; i++) {
        Philox draw = philox_draw(z->seed, stream, (uint64_t)i);
        z->at[i] = (float)(init->a + (init->b - init->a) * philox_double(draw.v[0], draw.v[1]));
    }
}

static void fill(Model *m, Workers *workers, const Param *p, uint64_t seed)
{
    float *at = engine_tensor(m->engine, p->name);
    int64_t n = shape_elems(&p->shape);
    Filler z = {p, at, seed};
    switch (p->init.kind) {
    case INIT_CONSTANT:
        for (int64_t i = 0; i < n; i++)
            at[i] = (float)p->init.a;
        break;
    case INIT_DATA:
        memcpy(at, p->init.data, (size_t)n * sizeof *at);
        break;
    default:
        workers_run(workers, fill_chunk, &z, (n + CHUNK - 1) / CHUNK);
    }
}

void model_initialise(Model *m, uint64_t seed)
{
    Workers *workers = engine_workers(m->engine);
    for (uint32_t i = 0; i < m->module->params.len; i++)
        if (!is_companion(&m->module->params.at[i]))
            fill(m, workers, &m->module->params.at[i], seed);
    for (uint32_t i = 0; i < m->module->params.len; i++) {
        const Param *p = &m->module->params.at[i];
        if (!is_companion(p))
            continue;
        float *at = engine_tensor(m->engine, p->name);
        size_t bytes = (size_t)shape_elems(&p->shape) * sizeof *at;
        if (!strncmp(p->name, "ema/", 4) || !strncmp(p->name, "free_z/", 7))
            memcpy(at, engine_tensor(m->engine, strchr(p->name, '/') + 1), bytes);
        else
            memset(at, 0, bytes);
    }
    engine_tensors_changed(m->engine);
}
