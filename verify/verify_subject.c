/* What is verified: programs of a module, run by an engine or by the reference evaluator. Both
 * take and give float64 in logical order, so that the checks do not know which one they look at. */
#include <math.h>
#include <stdlib.h>

#include "verify/verify_parts.h"

/* Runs `body` with the arena's exhaustion caught. */
#define GUARDED(the_arena, err, body)                                                              \
    do {                                                                                           \
        Arena *guarded_ = (the_arena);                                                             \
        jmp_buf exhausted_, *outer_ = guarded_->exhausted;                                         \
        guarded_->exhausted = &exhausted_;                                                         \
        if (setjmp(exhausted_)) {                                                                  \
            guarded_->exhausted = outer_;                                                          \
            return err_set(err, NPC_ERR_MEMORY, "not enough memory to verify");                    \
        }                                                                                          \
        body;                                                                                      \
        guarded_->exhausted = outer_;                                                              \
    } while (0)

const char *verify_device(const VerifyOptions *o)
{
    return device_choice(o->device, o->interpret || o->cpu || o->reference);
}

static Status find_machine(Subject *s, PrecisionMode *precision, Err *err)
{
    const VerifyOptions *o = s->options;
    *precision = PRECISION_F32;
    if (!target_find(o->cpu, &s->machine.target, err))
        return err->status;
    NPC_TRY(device_find_library(o->library, &s->machine, err));
    NPC_TRY(device_find(verify_device(o), &s->machine, NULL, err));
    if (o->precision && !precision_find(o->precision, precision))
        return err_set(err, NPC_ERR_USAGE,
                       "--precision: expected f32, tf32, bf16 or f16, found '%s'", o->precision);
    if (!device_is_cuda(&s->machine))
        *precision = PRECISION_F32;
    s->machine.threads = o->threads;
    s->machine.interpret = o->interpret;
    s->machine.cache_folder = o->no_cache ? NULL : o->cache_folder;
    return NPC_OK;
}

Status subject_open_model(Subject *s, const VerifyOptions *o, const ModelOptions *model, Err *err)
{
    *s = (Subject){.options = o};
    NPC_TRY(model_open(&s->model, model, err));
    s->module = s->model->module;
    if (o->reference) /* a plan would find it */
        s->module->batch_axis = name_intern(s->module->names, "b");
    s->passes = s->model->passes;
    s->machine = s->model->machine;
    s->engine = o->reference ? NULL : s->model->engine;
    return NPC_OK;
}

Status subject_open_module(Subject *s, const VerifyOptions *o, Err *err)
{
    *s = (Subject){.options = o};
    s->names.arena = &s->arena;
    PrecisionMode precision;
    NPC_TRY(find_machine(s, &precision, err));
    GUARDED(&s->arena, err, {
        diags_init(&s->diags, &s->arena);
        s->module = module_new(&s->arena, &s->names, &s->diags);
        s->module->batch_axis = name_intern(&s->names, "b");
    });
    s->passes = (PassOptions){.fuse = o->fuse,
                              .target = device_traits(&s->machine),
                              .precision = precision,
                              .optimizer = {.beta1 = 0.9,
                                            .beta2 = 0.999,
                                            .eps = 1e-8,
                                            .weight_decay = 0,
                                            .ema_decay = 0.999},
                              .gradient_factor = 1,
                              .verify = true};
    return NPC_OK;
}

void subject_close(Subject *s)
{
    if (s->model)
        model_close(s->model);
    else
        engine_free(s->engine);
    arena_free(&s->run);
    arena_free(&s->arena);
    *s = (Subject){0};
}

/* The first mistake in a hand-built module, which is the case's: sizes that do not fit. */
static Status refuse(const Subject *s, Err *err)
{
    const Diags *d = s->module->diags;
    for (uint32_t i = 0; i < d->messages.len; i++)
        if (d->messages.at[i].kind == DIAG_KIND_ERROR)
            return err_set(err, NPC_ERR_INPUT, "%s", d->messages.at[i].text);
    return err_set(err, NPC_ERR_INPUT, "the module cannot be compiled");
}

Status subject_read_text(Subject *s, const char *text, int64_t batch, Recipe *recipe, Err *err)
{
    const ElaborateOptions o = {.batch = batch, .probes = true};
    Elaborated info;
    GUARDED(&s->arena, err, {
        Module *m = elaborate_text(&s->arena, &s->names, &s->diags, "operation.nm", text,
                                   strlen(text), &o, &info);
        if (m)
            m->batch_axis = s->module->batch_axis;
        s->module = m ? m : s->module;
    });
    *recipe = info.recipe;
    return s->diags.n_errors ? refuse(s, err) : NPC_OK;
}

static Status add_func(Subject *s, ProgramKind kind, int *program, Err *err)
{
    if (s->module->diags->n_errors)
        return refuse(s, err);
    if (!s->engine && !s->options->reference)
        NPC_TRY(engine_create(&s->engine, s->module, &s->machine, err));
    Func *f = passes_run(s->module, kind, &s->passes);
    if (!f || s->module->diags->n_errors)
        return refuse(s, err);
    if (s->engine) {
        Plan *plan = plan_build(s->module->arena, f, kind, &s->passes, engine_cost, s->engine);
        device_say_library(s->options->messages ? s->options->messages : stderr);
        NPC_TRY(engine_add(s->engine, plan, program, err));
    } else {
        *program = (int)s->programs.len;
    }
    vec_push(&s->arena, &s->programs, f);
    return NPC_OK;
}

Status subject_add(Subject *s, ProgramKind kind, int *program, Err *err)
{
    Status status = NPC_OK;
    GUARDED(s->module->arena, err, status = add_func(s, kind, program, err));
    return status;
}

Status subject_ready(Subject *s, Err *err)
{
    Status status = NPC_OK;
    if (!s->engine)
        return NPC_OK;
    GUARDED(s->module->arena, err, status = engine_ready(s->engine, err));
    return status;
}

const Node *subject_find_input(const Subject *s, int program, const char *name)
{
    const Func *f = s->programs.at[program];
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        const Node *n = &f->nodes.at[i];
        bool is_input =
            n->op == OP_INPUT || n->op == OP_RANDOM || n->op == OP_NOISE || n->op == OP_BYTES;
        if (is_input && !strcmp(n->attrs.name, name))
            return n;
    }
    return NULL;
}

static double *kept(Subject *s, Map *map, const char *name, int64_t n)
{
    double *at = map_get(map, name);
    if (!at) {
        at = ARENA_ARRAY(&s->arena, double, (size_t)n);
        map_put(&s->arena, map, name, at);
    }
    return at;
}

static void store(double *to, float *engine, const double *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (engine)
            engine[i] = (float)from[i];
        else
            to[i] = from[i];
}

void subject_input(Subject *s, int program, const char *name, const double *values)
{
    const Node *node = subject_find_input(s, program, name);
    if (!node)
        return;
    int64_t n = shape_elems(&node->shape);
    if (s->engine && (node->op == OP_RANDOM || node->op == OP_BYTES))
        for (int64_t i = 0; i < n; i++)
            engine_mask(s->engine, program, name)[i] = (uint8_t)values[i];
    else if (s->engine)
        store(NULL, engine_input(s->engine, program, name), values, n);
    else
        store(kept(s, &s->inputs, name, n), NULL, values, n);
}

void subject_tensor(Subject *s, const char *name, const double *values)
{
    int64_t n = shape_elems(&module_param(s->module, name)->shape);
    if (s->engine) {
        store(NULL, engine_tensor(s->engine, name), values, n);
        engine_tensors_changed(s->engine);
    } else {
        store(kept(s, &s->tensors, name, n), NULL, values, n);
    }
}

void subject_read_tensor(Subject *s, const char *name, double *out)
{
    int64_t n = shape_elems(&module_param(s->module, name)->shape);
    const float *engine = s->engine ? engine_tensor(s->engine, name) : NULL;
    const double *ours = s->engine ? NULL : map_get(&s->tensors, name);
    for (int64_t i = 0; i < n; i++)
        out[i] = engine ? (double)engine[i] : ours ? ours[i] : 0;
}

/* ---- running ---- */

static bool leaf(void *context, const Node *n, double *at)
{
    const Subject *s = context;
    bool is_tensor = n->op == OP_PARAM || n->op == OP_STATE;
    const double *from = map_get(is_tensor ? &s->tensors : &s->inputs, n->attrs.name);
    int64_t elems = shape_elems(&n->shape);
    if (!from && !is_tensor)
        return false;
    for (int64_t i = 0; i < elems; i++)
        at[i] = from ? from[i] : 0; /* the optimizer's states begin with zeros */
    return true;
}

/* New values of parameters and states; those of recordings without samples stay. */
static void keep_states(Subject *s, const Func *f, const SampleRange *ranges)
{
    for (uint32_t i = 0; i < f->results.len; i++) {
        const Result *r = &f->results.at[i];
        const Param *p = r->role == RESULT_STATE ? module_param(s->module, r->name) : NULL;
        if (!p || (p->session >= 0 && ranges && !ranges[p->session].count))
            continue;
        int64_t n = shape_elems(&p->shape);
        store(kept(s, &s->tensors, r->name, n), NULL, s->values[r->val.id].at, n);
    }
}

Status subject_run(Subject *s, int program, const SampleRange *ranges, Err *err)
{
    Status status = NPC_OK;
    s->last = program;
    if (s->engine) {
        NPC_TRY(engine_run(s->engine, program, ranges, err));
        return engine_fetch(s->engine, err);
    }
    const Func *f = s->programs.at[program];
    arena_free(&s->run);
    uint32_t n = s->module->sessions.len;
    EvalRange *cuts = ARENA_ARRAY(&s->arena, EvalRange, n + 1);
    for (uint32_t i = 0; ranges && i < n; i++)
        cuts[i] = (EvalRange){ranges[i].first, ranges[i].count};
    GUARDED(&s->run, err,
            status = eval_func_ranged(&s->run, f, leaf, s, ranges ? cuts : NULL, &s->values, err));
    if (status == NPC_OK)
        GUARDED(&s->arena, err, keep_states(s, f, ranges));
    return status;
}

const Shape *subject_result(const Subject *s, int program, ResultRole role, const char *name)
{
    const Func *f = s->programs.at[program];
    const Result *r = func_find_result(f, role, name);
    return r ? func_shape(f, r->val) : NULL;
}

Status subject_read(Subject *s, int program, ResultRole role, const char *name, double *out,
                    Err *err)
{
    const Result *r = func_find_result(s->programs.at[program], role, name);
    int64_t n = shape_elems(func_shape(s->programs.at[program], r->val));
    if (!s->engine) {
        memcpy(out, s->values[r->val.id].at, (size_t)n * sizeof *out);
        return NPC_OK;
    }
    float *at = malloc((size_t)n * sizeof *at);
    if (!at)
        return err_set(err, NPC_ERR_MEMORY, "not enough memory to verify");
    Status status = engine_read(s->engine, program, role, name, at, err);
    for (int64_t i = 0; i < n; i++)
        out[i] = status == NPC_OK ? (double)at[i] : NAN;
    free(at);
    return status;
}
