#include "runtime/bench_run.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cost.h"
#include "runtime/dataset.h"
#include "runtime/inputs.h"
#include "data/philox.h"

enum { SEED = 1, MOST_PROGRAMS = 2 };

/* One level while it is loaded. */
typedef struct Subject {
    Model *model;
    int program[MOST_PROGRAMS]; /* the program, and the average after a step */
    int n_programs;
    SampleRange *ranges; /* [recordings] */
    ClipShape clip;
    bool is_described; /* of a step: `clip` is, and the device fills inputs as in training */
    uint64_t step;
    double *total, *masks;         /* [runs] */
    double **launch;               /* per launch of all programs: [runs] */
    double *before[MOST_PROGRAMS]; /* per launch of a program: its seconds up to now */
} Subject;

typedef struct Bench {
    const BenchOptions *o;
    BenchReport *report;
    Arena *arena;
    Subject subject[BENCH_LEVELS];
} Bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- inputs ---- */

static int64_t input_elems(const Plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->buffers.len; i++) {
        const PlanBuffer *b = &plan->buffers.at[i];
        if (b->kind == BUFFER_INPUT && !strcmp(b->name, name))
            return shape_elems(&b->layout.shape);
    }
    return 0;
}

static void fill_random(const Plan *plan, const char *name, float *at, float low, float high)
{
    uint64_t stream = philox_stream(name);
    for (int64_t i = 0, n = at ? input_elems(plan, name) : 0; i < n; i++)
        at[i] = low + (high - low) * philox_uniform(SEED, stream, (uint64_t)i);
}

/* Shares of the samples, all together 1, and positive targets. */
static void fill_session(Subject *s, const Plan *plan, int session)
{
    Engine *e = s->model->engine;
    const char *name = s->model->module->sessions.at[session].name;
    char key[512];
    snprintf(key, sizeof key, "target/%s", name);
    fill_random(plan, key, engine_input(e, s->program[0], key), 0, 5);
    static const char *const of_sample[] = {"share", "mean"};
    for (int k = 0; k < 2; k++) {
        snprintf(key, sizeof key, "%s/%s", of_sample[k], name);
        float *share = engine_input(e, s->program[0], key);
        for (int64_t i = 0; share && i < s->model->batch; i++) {
            const SampleRange *r = &s->ranges[session];
            bool is_own = i >= r->first && i < r->first + r->count;
            share[i] = is_own ? 1 / (float)s->model->batch : 0;
        }
    }
}

/* A recipe may not fit the model's inputs without data. */
static void describe_clips(Subject *s)
{
    const Recipe *r = &s->model->info.recipe;
    const Dataset none = {0};
    Err why = {0};
    s->is_described = dataset_clip_shape(&none, s->model->module, r, r->clip_frames, r->clip_every,
                                         &s->clip, &why) == NPC_OK;
    if (s->is_described)
        inputs_plan(s->model->engine, s->program[0], &s->clip);
}

/* Clips as they are read: pictures as large as the input. */
static Status put_clips(const Subject *s, Arena *arena, Err *err)
{
    size_t n = clip_input_elems(&s->clip);
    float *x = ARENA_ARRAY(arena, float, n);
    const SampleFrame frame = {s->clip.height, s->clip.width, NULL};
    Inputs in;
    NPC_TRY(inputs_find(&in, s->model->engine, s->program[0], &s->clip, err));
    for (uint32_t k = 0; k < (uint32_t)s->model->batch; k++) {
        for (size_t i = 0; i < n; i++)
            x[i] = 255 * philox_uniform(SEED, philox_stream("clip") + k, i);
        inputs_put(&in, k, x, &frame);
    }
    return NPC_OK;
}

static Status fill_inputs(Subject *s, Arena *arena, Err *err)
{
    Engine *e = s->model->engine;
    const Plan *plan = engine_plan(e, s->program[0]);
    for (int k = 0; k < INPUT_COUNT && !s->is_described; k++) {
        const char *name = input_name((ModelInput)k);
        fill_random(plan, name, engine_input(e, s->program[0], name), 0,
                    k <= INPUT_IMAGE ? 255 : 1);
    }
    if (s->is_described)
        NPC_TRY(put_clips(s, arena, err));
    for (uint32_t k = 0; k < s->model->module->sessions.len; k++)
        fill_session(s, plan, (int)k);
    static const struct {
        const char *prefix;
        float value;
    } scalar[] = {
        {"rate", 1e-4f}, {"bias", 0.1f}, {"loss_scale", 1}, {"scale/", 1}, {"penalty", 1e-6f}};
    for (uint32_t i = 0; i < plan->buffers.len; i++)
        for (size_t k = 0; k < sizeof scalar / sizeof *scalar; k++) {
            const PlanBuffer *b = &plan->buffers.at[i];
            if (b->kind == BUFFER_INPUT &&
                !strncmp(b->name, scalar[k].prefix, strlen(scalar[k].prefix)))
                *engine_input(e, s->program[0], b->name) = scalar[k].value;
        }
    return NPC_OK;
}

/* Evaluation: everything for everyone. Training: sample i is recording i mod n's, and the samples
 * lie in order of recordings. */
static void deal_samples(Subject *s, Arena *arena, bool training)
{
    int64_t n = s->model->module->sessions.len, batch = s->model->batch, first = 0;
    s->ranges = ARENA_ARRAY(arena, SampleRange, (size_t)n + 1);
    for (int64_t k = 0; k < n; k++) {
        int64_t count = training ? batch / n + (k < batch % n) : batch;
        s->ranges[k] = (SampleRange){training ? first : 0, count};
        first += count;
    }
}

/* ---- loading ---- */

static int n_launches(const Subject *s, int program)
{
    return (int)engine_plan(s->model->engine, s->program[program])->launches.len;
}

/* Does the launch run in every call? */
static bool runs_always(const Subject *s, const Launch *l)
{
    return !l->is_prepare && (l->session < 0 || s->ranges[l->session].count > 0);
}

static Status add_programs(Bench *b, Subject *s, BenchVariant *v, Err *err)
{
    double start = now();
    NPC_TRY(model_add(s->model, b->o->kind, &s->program[s->n_programs++], err));
    if (b->o->kind == PROGRAM_STEP && s->model->info.recipe.ema > 0)
        NPC_TRY(model_add(s->model, PROGRAM_AVERAGE, &s->program[s->n_programs++], err));
    v->plan_seconds = now() - start;
    return NPC_OK;
}

static void make_room(Bench *b, Subject *s)
{
    int all = 0;
    size_t runs = (size_t)b->o->runs;
    for (int p = 0; p < s->n_programs; p++) {
        s->before[p] = ARENA_ARRAY(b->arena, double, (size_t)n_launches(s, p) + 1);
        all += n_launches(s, p);
    }
    s->total = ARENA_ARRAY(b->arena, double, runs + 1);
    s->masks = ARENA_ARRAY(b->arena, double, runs + 1);
    s->launch = ARENA_ARRAY(b->arena, double *, (size_t)all + 1);
    for (int i = 0; i < all; i++)
        s->launch[i] = ARENA_ARRAY(b->arena, double, runs + 1);
}

static Status open_subject(Bench *b, int level, Err *err)
{
    Subject *s = &b->subject[level];
    BenchVariant *v = &b->report->variant[level];
    ModelOptions o = b->o->model;
    o.fuse = v->fuse;
    double start = now();
    NPC_TRY(model_open(&s->model, &o, err));
    v->elaborate_seconds = now() - start;
    NPC_TRY(add_programs(b, s, v, err));
    if (b->o->kind == PROGRAM_STEP)
        describe_clips(s);
    start = now();
    NPC_TRY(model_ready(s->model, err));
    v->code_seconds = now() - start;
    v->from_cache = engine_from_cache(s->model->engine);
    v->memory = engine_memory(s->model->engine);
    deal_samples(s, b->arena, b->o->kind == PROGRAM_STEP);
    model_initialise(s->model, SEED);
    NPC_TRY(fill_inputs(s, b->arena, err));
    make_room(b, s);
    if (b->o->kind == PROGRAM_STEP)
        engine_draw_masks(s->model->engine, s->program[0], SEED, s->step++);
    for (int p = 0; p < s->n_programs; p++)
        engine_time_launches(s->model->engine, s->program[p], true);
    return NPC_OK;
}

/* ---- running ---- */

/* A step, and masks and inputs of the next one while it runs. `masks`: seconds it took to draw. */
static Status run_programs(Subject *s, double *masks, Err *err)
{
    Engine *e = s->model->engine;
    *masks = 0;
    for (int p = 0; p < s->n_programs; p++) {
        NPC_TRY(engine_run(e, s->program[p], s->ranges, err));
        if (engine_plan(e, s->program[p])->kind != PROGRAM_STEP)
            continue;
        double start = now();
        engine_draw_masks(e, s->program[p], SEED, s->step++);
        *masks = now() - start;
        NPC_TRY(engine_send(e, s->program[p], s->ranges, err));
    }
    return engine_wait(e, err);
}

/* Launch by launch: `before` is what was added up until now. */
static Status run_apart_timed(Subject *s, Err *err)
{
    double masks;
    for (int p = 0; p < s->n_programs; p++) {
        engine_time_launches(s->model->engine, s->program[p], true);
        memset(s->before[p], 0, (size_t)n_launches(s, p) * sizeof *s->before[p]);
    }
    return run_programs(s, &masks, err);
}

static void time_no_launches(Subject *s)
{
    for (int p = 0; p < s->n_programs; p++)
        engine_time_launches(s->model->engine, s->program[p], false);
}

/* One call; run < 0 is not recorded. */
static Status run_once(Subject *s, int run, Err *err)
{
    Engine *e = s->model->engine;
    bool is_cuda = device_is_cuda(&s->model->machine);
    if (is_cuda)
        time_no_launches(s);
    double start = now(), masks;
    NPC_TRY(run_programs(s, &masks, err));
    double total = now() - start;
    if (is_cuda)
        NPC_TRY(run_apart_timed(s, err));
    for (int p = 0, at = 0; p < s->n_programs; p++) {
        const double *seconds = engine_launch_seconds(e, s->program[p]);
        for (int i = 0; i < n_launches(s, p); i++, at++) {
            if (run >= 0)
                s->launch[at][run] = seconds[i] - s->before[p][i];
            s->before[p][i] = seconds[i];
        }
    }
    if (run >= 0) {
        s->total[run] = total;
        s->masks[run] = masks;
    }
    return NPC_OK;
}

static Status run_levels(Bench *b, int first, int end, Err *err)
{
    for (int run = -b->o->warm; run < b->o->runs; run++)
        for (int i = first; i < end; i++)
            NPC_TRY(run_once(&b->subject[i], run, err));
    return NPC_OK;
}

/* ---- results ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static BenchTime time_of(Arena *arena, const double *seconds, int n)
{
    double *sorted = ARENA_ARRAY(arena, double, (size_t)n + 1);
    memcpy(sorted, seconds, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return (BenchTime){(sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
}

/* Bytes of the samples that run: tensors without the batch axis count whole. */
static double bytes_of(const TileProgram *t, double share)
{
    double bytes = 0;
    const char *batch = t->batch_axis >= 0 ? t->axes.at[t->batch_axis].name : NULL;
    for (uint32_t i = 0; i < t->tensors.len; i++) {
        const TileLayout *l = &t->tensors.at[i].layout;
        bool is_cut = batch && shape_axis(&l->shape, batch) >= 0;
        bytes += (is_cut ? share : 1) * (double)tile_layout_bytes(l);
    }
    return bytes;
}

static void note_launch(Bench *b, const Subject *s, BenchVariant *v, const Launch *l,
                        const double *seconds)
{
    const Module *m = s->model->module;
    double share = 1;
    if (l->session >= 0)
        share = (double)s->ranges[l->session].count / (double)s->model->batch;
    BenchLaunch *out = &v->launch[v->n_launches++];
    *out = (BenchLaunch){.name = arena_strdup(b->arena, l->tile->name),
                         .part = l->part >= 0 ? arena_strdup(b->arena, m->parts.at[l->part]) : "",
                         .backward = l->backward,
                         .by_library = l->tile->by_library,
                         .flops = l->tile->flops * share,
                         .bytes = bytes_of(l->tile, share),
                         .time = time_of(b->arena, seconds, b->o->runs)};
    v->n_library += out->by_library;
    v->flops += out->flops;
    v->bytes += out->bytes;
}

static void note_results(Bench *b, int level)
{
    Subject *s = &b->subject[level];
    BenchVariant *v = &b->report->variant[level];
    Engine *e = s->model->engine;
    int all = 0, at = 0;
    for (int p = 0; p < s->n_programs; p++)
        all += n_launches(s, p);
    v->launch = ARENA_ARRAY(b->arena, BenchLaunch, (size_t)all + 1);
    for (int p = 0; p < s->n_programs; p++) {
        const Plan *plan = engine_plan(e, s->program[p]);
        v->n_ops += plan->n_ops;
        for (uint32_t i = 0; i < plan->launches.len; i++, at++)
            if (runs_always(s, &plan->launches.at[i]))
                note_launch(b, s, v, &plan->launches.at[i], s->launch[at]);
    }
    v->n_distinct = engine_n_kernels(e);
    v->total = time_of(b->arena, s->total, b->o->runs);
    v->masks = time_of(b->arena, s->masks, b->o->runs);
    v->seconds = s->total;
    v->target = arena_strdup(b->arena, s->model->target); /* the model closes first */
}

static void note_model(Bench *b, const Model *m)
{
    BenchReport *r = b->report;
    r->model = arena_strdup(b->arena, m->module->model);
    r->batch = m->batch;
    r->n_recordings = (int)m->module->sessions.len;
    r->threads = engine_threads(m->engine);
    r->multiply_adds = cost_multiply_adds(m, -1);
    r->is_cuda = device_is_cuda(&m->machine);
    r->ordinal = m->machine.ordinal;
    r->precision = m->passes.precision;
}

static void note_peak(BenchReport *r)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        r->peak_bytes = (int64_t)usage.ru_maxrss * 1024;
}

/* ---- all levels ---- */

/* Memory that every level needs, from its plans. */
static Status planned_bytes(Bench *b, int level, double *bytes, Err *err)
{
    ModelOptions o = b->o->model;
    o.fuse = b->report->variant[level].fuse;
    Model *m = NULL;
    int program;
    Status s = model_open(&m, &o, err);
    if (s == NPC_OK)
        s = model_add(m, b->o->kind, &program, err);
    if (s == NPC_OK && b->o->kind == PROGRAM_STEP && m->info.recipe.ema > 0) {
        int average;
        s = model_add(m, PROGRAM_AVERAGE, &average, err);
    }
    if (s == NPC_OK)
        *bytes += (double)cost_memory(m, engine_plan(m->engine, program), true).total;
    model_close(m);
    return s;
}

static Status fits_together(Bench *b, bool *fits, Err *err)
{
    double bytes = 0;
    for (int i = 0; i < b->report->n_variants; i++)
        NPC_TRY(planned_bytes(b, i, &bytes, err));
    double free_bytes = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    *fits = bytes < 0.8 * free_bytes;
    return NPC_OK;
}

static Status run_together(Bench *b, Err *err)
{
    for (int i = 0; i < b->report->n_variants; i++)
        NPC_TRY(open_subject(b, i, err));
    NPC_TRY(run_levels(b, 0, b->report->n_variants, err));
    for (int i = 0; i < b->report->n_variants; i++)
        note_results(b, i);
    note_model(b, b->subject[0].model);
    return NPC_OK;
}

static Status run_apart(Bench *b, Err *err)
{
    for (int i = 0; i < b->report->n_variants; i++) {
        NPC_TRY(open_subject(b, i, err));
        NPC_TRY(run_levels(b, i, i + 1, err));
        note_results(b, i);
        note_model(b, b->subject[i].model);
        model_close(b->subject[i].model);
        b->subject[i].model = NULL;
    }
    return NPC_OK;
}

static Status run_all(Bench *b, Err *err)
{
    BenchReport *r = b->report;
    r->together = true;
    if (r->n_variants > 1)
        NPC_TRY(fits_together(b, &r->together, err));
    Status s = r->together ? run_together(b, err) : run_apart(b, err);
    note_peak(r);
    return s;
}

Status bench_run(const BenchOptions *options, BenchReport *report, Err *err)
{
    jmp_buf exhausted;
    Bench b = {.o = options, .report = report, .arena = &report->arena};
    report->path = options->model.path;
    report->kind = options->kind;
    report->runs = options->runs;
    report->interpreted = options->model.interpret || !kernel_have_llvm();
    report->n_variants = options->n_levels;
    for (int i = 0; i < options->n_levels; i++)
        report->variant[i].fuse = options->level[i];
    report->arena.exhausted = &exhausted;
    volatile Status s;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "not enough memory for the results");
    else
        s = run_all(&b, err);
    for (int i = 0; i < options->n_levels; i++)
        model_close(b.subject[i].model);
    report->arena.exhausted = NULL;
    return s;
}

void bench_report_free(BenchReport *report)
{
    arena_free(&report->arena);
}
