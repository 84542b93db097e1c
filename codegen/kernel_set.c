/* Kernels of a plan: equal programs are found, code comes from the cache or from LLVM, and where
 * there is none, or on request, the interpreter stands in. */
#include "codegen/cache.h"
#include "codegen/llvm_jit.h"
#include "ir/base/file.h"
#include "ir/base/module.h"
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { UNIT_PROGRAMS = 6 }; /* programs compiled together: small enough to share among threads */

struct KernelSet {
    Arena arena;
    int n, n_distinct;
    int *distinct;             /* per program: its code */
    Kernel *kernel;            /* per program */
    const TileProgram **first; /* per code: the first program that has it */
    bool from_cache;
    const LlvmApi *llvm; /* NULL when interpreted */
    LlvmCode *code;
    const KernelPhase **phase; /* per unit; made before any object, so that none is lost */
    KernelSchedule *schedule;  /* per code */
};

/* ---- the LLVM module ---- */

#ifdef NPC_HAVE_LLVM
static const char *module_path;   /* where the module was found */
static char module_refused[1024]; /* why, when it was found but not opened */

static void *open_module(char *path, size_t size)
{
    char why[sizeof module_refused - 60] = "";
    void *module = module_open("libnpc_llvm.so", path, size, why, sizeof why);
    if (!module && *why)
        snprintf(module_refused, sizeof module_refused, "the code generator cannot be loaded: %s",
                 why);
    return module;
}

static const LlvmApi *llvm_api(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const LlvmApi *api;
    static bool tried;
    static char path[PATH_MAX];

    pthread_mutex_lock(&lock);
    if (!tried) {
        void *module = open_module(path, sizeof path);
        LlvmApiFunction get = NULL;
        if (module)
            *(void **)&get = module_symbol(module, LLVM_API_SYMBOL);
        api = get ? get() : NULL;
        module_path = path;
        tried = true;
    }
    pthread_mutex_unlock(&lock);
    return api;
}

/* The module's own bytes are the version of the generator. */
static bool describe_generator(Text *t, const LlvmApi *api, Err *err)
{
    FileMap map;

    api->describe(t);
    if (file_map(&map, module_path, err) != NPC_OK)
        return false;
    CacheKey key = cache_key((const char *)map.data, map.bytes);
    file_unmap(&map);
    for (int i = 0; i < 16; i++)
        text_printf(t, "%02x", key.bytes[i]);
    return true;
}
#else
static const char module_refused[] = "";

static const LlvmApi *llvm_api(void)
{
    return NULL;
}

static bool describe_generator(Text *t, const LlvmApi *api, Err *err)
{
    (void)t;
    (void)api;
    (void)err;
    return false;
}
#endif

bool kernel_have_llvm(void)
{
    return llvm_api() || module_refused[0];
}

/* ---- interpreter ---- */

static void interpret(const KernelCall *call, int64_t task, void *scratch)
{
    (void)task;
    (void)scratch;
    tile_eval(call->kernel->program, (void *const *)call->tensor, call->range);
}

static const KernelSchedule interpreter_schedule = {.n_phases = 1, .tasks = {1}};

KernelSchedule kernel_schedule(const TileProgram *p, const Target *target)
{
    const LlvmApi *llvm = llvm_api();

    return llvm ? llvm->schedule(p, target) : interpreter_schedule;
}

static void use_interpreter(KernelSet *set, const TileProgram *const *programs)
{
    for (int i = 0; i < set->n; i++)
        set->kernel[i] = (Kernel){interpreter_schedule, {interpret}, programs[i]};
}

/* ---- compiling in threads ---- */

typedef struct Job {
    KernelSet *set;
    const KernelSetOptions *options;
    LlvmUnit *unit;
    int n_units, next, done; /* under the lock */
    Status status;
    Err err;
    pthread_mutex_t lock;
} Job;

static void finish_unit(Job *job, const LlvmUnit *unit, Status status, const Err *err)
{
    pthread_mutex_lock(&job->lock);
    if (status != NPC_OK && job->status == NPC_OK) {
        job->status = status;
        job->err = *err;
    }
    job->done += unit->n;
    if (job->options->progress)
        job->options->progress(job->options->context, job->done, job->set->n_distinct);
    pthread_mutex_unlock(&job->lock);
}

static void *compile_units(void *context)
{
    Job *job = context;

    for (;;) {
        pthread_mutex_lock(&job->lock);
        int i = job->status == NPC_OK ? job->next++ : job->n_units;
        pthread_mutex_unlock(&job->lock);
        if (i >= job->n_units)
            return NULL;
        Err err = {0};
        Status status = job->set->llvm->compile(&job->unit[i], job->options->target, &err);
        finish_unit(job, &job->unit[i], status, &err);
    }
}

/* Texts are put together in the order of units, so units that write some run one by one. */
static Status compile_all(KernelSet *set, const KernelSetOptions *options, LlvmUnit *unit,
                          int n_units, Err *err)
{
    Job job = {.set = set, .options = options, .unit = unit, .n_units = n_units};
    bool texts = options->emit_llvm || options->emit_asm;
    pthread_t thread[64];
    int n = 0, wanted = texts ? 0 : options->n_threads - 1;

    pthread_mutex_init(&job.lock, NULL);
    wanted = wanted < n_units - 1 ? wanted : n_units - 1;
    while (n < wanted && n < 64 && !pthread_create(&thread[n], NULL, compile_units, &job))
        n++;
    compile_units(&job);
    while (n > 0)
        pthread_join(thread[--n], NULL);
    pthread_mutex_destroy(&job.lock);
    return job.status == NPC_OK ? NPC_OK : err_set(err, job.status, "%s", job.err.text);
}

/* ---- the set ---- */

static void find_equal(KernelSet *set, const TileProgram *const *programs, Text *all)
{
    Map seen = {0};

    for (int i = 0; i < set->n; i++) {
        Text text = {.arena = &set->arena};
        tile_print(&text, programs[i], true);
        int *code = map_get(&seen, text_str(&text));
        if (!code) {
            code = ARENA_NEW(&set->arena, int);
            *code = set->n_distinct++;
            set->first[*code] = programs[i];
            map_put(&set->arena, &seen, text_str(&text), code);
            text_add_n(all, text_str(&text), text.len);
        }
        set->distinct[i] = *code;
    }
}

static LlvmUnit *make_units(KernelSet *set, const KernelSetOptions *options, int n_units)
{
    LlvmUnit *unit = ARENA_ARRAY(&set->arena, LlvmUnit, (size_t)n_units);

    for (int i = 0; i < n_units; i++) {
        int from = i * UNIT_PROGRAMS, left = set->n_distinct - from;
        unit[i] = (LlvmUnit){.programs = set->first + from,
                             .n = left < UNIT_PROGRAMS ? left : UNIT_PROGRAMS,
                             .number = i,
                             .llvm = options->emit_llvm,
                             .assembly = options->emit_asm};
    }
    return unit;
}

static Status link_code(KernelSet *set, const CodeObject *objects, int n_units,
                        const Target *target, const TileProgram *const *programs, Err *err)
{
    NPC_TRY(set->llvm->load(&set->code, objects, n_units, set->phase, err));
    for (int i = 0; i < set->n_distinct; i++)
        set->schedule[i] = set->llvm->schedule(set->first[i], target);
    for (int i = 0; i < set->n; i++) {
        int code = set->distinct[i];
        Kernel *k = &set->kernel[i];
        k->schedule = set->schedule[code];
        k->program = programs[i];
        memcpy(k->phase,
               set->phase[code / UNIT_PROGRAMS] + code % UNIT_PROGRAMS * KERNEL_MAX_PHASES,
               sizeof k->phase);
    }
    return NPC_OK;
}

static bool load_cached(KernelSet *set, const CacheKey *key, int n_units, CodeObject *objects,
                        const KernelSetOptions *options, const TileProgram *const *programs)
{
    CacheFile *file;
    Err ignored = {0};

    if (!cache_load(&file, options->cache_folder, key, n_units, objects))
        return false;
    set->from_cache =
        link_code(set, objects, n_units, options->target, programs, &ignored) == NPC_OK;
    cache_close(file);
    return set->from_cache;
}

static Status compile_and_link(KernelSet *set, const CacheKey *key, int n_units,
                               CodeObject *objects, const KernelSetOptions *options,
                               const TileProgram *const *programs, Err *err)
{
    LlvmUnit *unit = make_units(set, options, n_units);
    Status status = compile_all(set, options, unit, n_units, err);
    Err ignored = {0};

    for (int i = 0; i < n_units; i++)
        objects[i] = unit[i].object;
    if (status == NPC_OK)
        status = link_code(set, objects, n_units, options->target, programs, err);
    if (status == NPC_OK && key)
        cache_store(options->cache_folder, key, n_units, objects, &ignored);
    for (int i = 0; i < n_units; i++)
        free(unit[i].object.data);
    return status;
}

static Status build(KernelSet *set, const TileProgram *const *programs,
                    const KernelSetOptions *options, Err *err)
{
    Text all = {.arena = &set->arena};
    CacheKey key;
    Err ignored = {0};

    find_equal(set, programs, &all);
    set->llvm = options->interpret ? NULL : llvm_api();
    if (!options->interpret && module_refused[0])
        return err_set(err, NPC_ERR_DEVICE, "%s", module_refused);
    if (!set->llvm) {
        use_interpreter(set, programs);
        return NPC_OK;
    }
    int n_units = (set->n_distinct + UNIT_PROGRAMS - 1) / UNIT_PROGRAMS;
    CodeObject *objects = ARENA_ARRAY(&set->arena, CodeObject, (size_t)n_units);
    set->phase = ARENA_ARRAY(&set->arena, const KernelPhase *, (size_t)n_units);
    set->schedule = ARENA_ARRAY(&set->arena, KernelSchedule, (size_t)set->n_distinct);
    text_add(&all, options->target->name);
    bool cached = options->cache_folder && describe_generator(&all, set->llvm, &ignored);
    if (cached)
        key = cache_key(text_str(&all), all.len);
    bool texts = options->emit_llvm || options->emit_asm;
    if (cached && !texts && load_cached(set, &key, n_units, objects, options, programs))
        return NPC_OK;
    return compile_and_link(set, cached ? &key : NULL, n_units, objects, options, programs, err);
}

Status kernel_set_compile(KernelSet **out, const TileProgram *const *programs, int n,
                          const KernelSetOptions *options, Err *err)
{
    KernelSet *set = calloc(1, sizeof *set);
    jmp_buf exhausted;

    *out = NULL;
    if (!set)
        return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");
    if (setjmp(exhausted)) {
        kernel_set_free(set);
        return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");
    }
    set->arena.exhausted = &exhausted;
    set->n = n;
    set->distinct = ARENA_ARRAY(&set->arena, int, (size_t)n);
    set->kernel = ARENA_ARRAY(&set->arena, Kernel, (size_t)n);
    set->first = ARENA_ARRAY(&set->arena, const TileProgram *, (size_t)n);
    Status status = build(set, programs, options, err);
    set->arena.exhausted = NULL;
    if (status == NPC_OK)
        *out = set;
    else
        kernel_set_free(set);
    return status;
}

const Kernel *kernel_set_get(const KernelSet *set, int i)
{
    return &set->kernel[i];
}

int kernel_set_n_distinct(const KernelSet *set)
{
    return set->n_distinct;
}

bool kernel_set_from_cache(const KernelSet *set)
{
    return set->from_cache;
}

void kernel_set_free(KernelSet *set)
{
    if (!set)
        return;
    if (set->code)
        set->llvm->unload(set->code);
    arena_free(&set->arena);
    free(set);
}
