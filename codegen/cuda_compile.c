/* Sets of kernels: equal programs are found, texts put together in units, and units compiled
 * (cuda_processes.h) or loaded. The cache's file holds the cubins and, behind them, the table of
 * cuda_ready.h. */
#include "codegen/cuda_compile.h"

#include <assert.h>
#include <stdlib.h>

#include "codegen/cuda_nvrtc.h"
#include "codegen/cuda_processes.h"
#include "codegen/cuda_ready.h"
#include "ir/base/map.h"

/* A unit ends when it has so many programs or characters: small enough to share among threads, and
 * what a call costs with nothing but the prelude (25 ms) is little beside its kernels. */
enum { UNIT_PROGRAMS = 12, UNIT_CHARS = 100000, MOST_ADDED = 4 /* units */ };

#define ADDED "cuda_set_add" /* in place of a symbol */

typedef struct Unit {
    Text text;
    int first, end; /* distinct programs, but those that are ready */
    int n;          /* none: of cuda_set_add */
    char name[32];  /* in messages */
} Unit;

struct CudaSet {
    Arena arena;
    int n, n_distinct, n_units;
    int *code_of;                 /* per program: its kernel */
    CudaKernel *kernel;           /* distinct */
    CudaKernel added[MOST_ADDED]; /* by cuda_set_add: text and unit */
    int n_added;
    Unit *unit;
    CodeObject *cubin; /* per unit, then of n_ready_units; and room for a table */
    int n_ready, n_ready_units;
    bool is_compiled, from_cache;
};

/* ---- texts ---- */

/* "core.block0.expand" and 3: "core_block0_expand_k3" */
static const char *symbol_of(Arena *arena, const TileProgram *p, int number)
{
    char name[64];
    size_t n = 0;
    for (const char *s = p->name ? p->name : "kernel"; *s && n < 48; s++) {
        bool is_letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
        bool is_digit = *s >= '0' && *s <= '9';
        if (!n && !is_letter)
            name[n++] = 'k';
        name[n++] = is_letter || is_digit ? *s : '_';
    }
    name[n] = 0;
    return arena_printf(arena, "%s_k%d", n ? name : "kernel", number);
}

static void find_equal(CudaSet *set, const TileProgram *const *programs)
{
    Map seen = {0};
    for (int i = 0; i < set->n; i++) {
        Text text = {.arena = &set->arena};
        tile_print(&text, programs[i], true);
        int *code = map_get(&seen, text_str(&text));
        if (!code) {
            code = ARENA_NEW(&set->arena, int);
            *code = set->n_distinct++;
            set->kernel[*code] = (CudaKernel){.symbol = symbol_of(&set->arena, programs[i], *code),
                                              .schedule = cuda_schedule(programs[i]),
                                              .program = programs[i]};
            map_put(&set->arena, &seen, text_str(&text), code);
        }
        set->code_of[i] = *code;
    }
}

static void write_texts(CudaSet *set)
{
    for (int i = 0; i < set->n_distinct; i++) {
        Text text = {.arena = &set->arena};
        cuda_write(&text, set->kernel[i].program, set->kernel[i].symbol);
        set->kernel[i].text = text_str(&text);
        set->kernel[i].unit = -1;
    }
}

static Unit *begin_unit(CudaSet *set, int first)
{
    Unit *u = &set->unit[set->n_units++];
    *u = (Unit){.text = {.arena = &set->arena}, .first = first, .end = first};
    snprintf(u->name, sizeof u->name, "unit%d.cu", set->n_units - 1);
    text_add(&u->text, cuda_prelude);
    return u;
}

static void put_kernel(CudaSet *set, Unit *u, CudaKernel *k)
{
    text_add(&u->text, "\n");
    text_add(&u->text, k->text);
    k->unit = (int)(u - set->unit);
}

/* Of all kernels that have no unit. */
static void write_units(CudaSet *set)
{
    Unit *u = NULL;
    set->n_units = 0;
    for (int i = 0; i < set->n_distinct; i++) {
        CudaKernel *k = &set->kernel[i];
        size_t len = strlen(k->text);
        if (k->unit >= 0)
            continue;
        if (!u || u->n == UNIT_PROGRAMS || u->text.len + len > UNIT_CHARS)
            u = begin_unit(set, i);
        put_kernel(set, u, k);
        u->end = i + 1;
        u->n++;
    }
    for (int i = 0; i < set->n_added; i++)
        if (set->added[i].unit < 0)
            put_kernel(set, begin_unit(set, 0), &set->added[i]);
}

Status cuda_set_make(CudaSet **out, const TileProgram *const *programs, int n, Err *err)
{
    CudaSet *set = calloc(1, sizeof *set);
    jmp_buf exhausted;

    *out = NULL;
    if (!set)
        return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");
    set->arena.exhausted = &exhausted;
    if (setjmp(exhausted)) {
        cuda_set_free(set);
        return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");
    }
    set->n = n;
    set->code_of = ARENA_ARRAY(&set->arena, int, (size_t)n + 1);
    set->kernel = ARENA_ARRAY(&set->arena, CudaKernel, (size_t)n + 1);
    set->unit = ARENA_ARRAY(&set->arena, Unit, (size_t)n + MOST_ADDED);
    find_equal(set, programs);
    write_texts(set);
    write_units(set);
    set->cubin = ARENA_ARRAY(&set->arena, CodeObject, (size_t)set->n_units + MOST_ADDED + 1);
    set->arena.exhausted = NULL;
    *out = set;
    return NPC_OK;
}

static void forget_code(CudaSet *set)
{
    for (int i = 0; i < cuda_set_n_cubins(set) && set->cubin; i++) {
        free(set->cubin[i].data);
        set->cubin[i] = (CodeObject){0};
    }
    set->is_compiled = set->from_cache = false;
}

void cuda_set_free(CudaSet *set)
{
    if (!set)
        return;
    forget_code(set);
    arena_free(&set->arena);
    free(set);
}

const CudaKernel *cuda_set_get(const CudaSet *set, int i)
{
    return &set->kernel[set->code_of[i]];
}

int cuda_set_n_distinct(const CudaSet *set)
{
    return set->n_distinct;
}

const CudaKernel *cuda_set_distinct(const CudaSet *set, int i)
{
    return &set->kernel[i];
}

int cuda_set_n_units(const CudaSet *set)
{
    return set->n_units;
}

int cuda_set_n_ready(const CudaSet *set)
{
    return set->n_ready;
}

int cuda_set_n_cubins(const CudaSet *set)
{
    return set->n_units + set->n_ready_units;
}

const char *cuda_set_text(const CudaSet *set, int unit)
{
    return text_str(&set->unit[unit].text);
}

const CodeObject *cuda_set_cubin(const CudaSet *set, int unit)
{
    return &set->cubin[unit];
}

bool cuda_set_from_cache(const CudaSet *set)
{
    return set->from_cache;
}

/* ---- compiling ---- */

typedef struct Job {
    CudaSet *set;
    const CudaNvrtc *nvrtc;
    const CudaCompileOptions *options;
} Job;

static bool is_of(const CudaSet *set, const Unit *u, int kernel)
{
    return set->kernel[kernel].unit == u - set->unit;
}

/* The kernel in whose text a line of the unit lies; NULL: in the prelude. */
static const CudaKernel *kernel_at(const CudaSet *set, const Unit *u, int line)
{
    const char *text = text_str(&u->text), *at = text;
    const CudaKernel *found = NULL;
    for (int i = 1; i < line && (at = strchr(at, '\n')); i++)
        at++;
    for (int i = u->first; i < u->end && at; i++) {
        const char *begin = is_of(set, u, i) ? strstr(text, set->kernel[i].text) : NULL;
        if (begin && begin <= at)
            found = &set->kernel[i];
    }
    return found;
}

static Status explain(const CudaSet *set, const CudaNvrtc *nvrtc, const Unit *u,
                      const NvrtcJob *run, Status status, Err *err)
{
    char message[600];
    Err all = {0};
    int line = nvrtc_first_error(run->log, message, sizeof message);
    const CudaKernel *k = line ? kernel_at(set, u, line) : NULL;
    if (!*message)
        return status;
    err_set(&all, status, "%.400s: kernel %s for %s (NVRTC %d.%d): %s", err->text,
            k ? k->symbol : "?", run->arch->name, nvrtc->version_number / 1000,
            nvrtc->version_number % 1000 / 10, message);
    *err = all;
    return status;
}

/* `note`: the resources of the unit's kernels. */
static Status compile_unit(void *context, int i, CodeObject *out, CodeObject *note, Err *err)
{
    const Job *job = context;
    CudaSet *set = job->set;
    const Unit *u = &set->unit[i];
    NvrtcJob run = {.text = text_str(&u->text),
                    .name = u->name,
                    .arch = job->options->arch,
                    .line_info = job->options->line_info,
                    .is_exact = !u->n};
    int n = u->end - u->first;
    CudaResources *table = calloc((size_t)n * CUDA_MAX_PHASES + 1, sizeof *table);
    if (!table)
        return err_set(err, NPC_ERR_MEMORY, "no memory to compile %s", u->name);
    Status s = nvrtc_run(job->nvrtc, &run, err);
    if (s != NPC_OK)
        s = explain(set, job->nvrtc, u, &run, s, err);
    for (int k = 0; k < n && s == NPC_OK; k++)
        for (int phase = 0; phase < set->kernel[u->first + k].schedule.n_phases; phase++) {
            char name[128];
            snprintf(name, sizeof name, "%s_%d", set->kernel[u->first + k].symbol, phase);
            table[k * CUDA_MAX_PHASES + phase] = nvrtc_resources(run.log, name);
        }
    if (s == NPC_OK) {
        *out = run.out;
        run.out = (CodeObject){0};
        *note = (CodeObject){table, (size_t)n * CUDA_MAX_PHASES * sizeof *table};
    } else {
        free(table);
    }
    nvrtc_job_free(&run);
    return s;
}

static void take_unit(void *context, int i, CodeObject out, CodeObject note)
{
    CudaSet *set = ((const Job *)context)->set;
    const Unit *u = &set->unit[i];
    const CudaResources *table = note.data;
    set->cubin[i] = out;
    for (int k = u->first; k < u->end; k++)
        if (is_of(set, u, k))
            memcpy(set->kernel[k].resources, table + (size_t)(k - u->first) * CUDA_MAX_PHASES,
                   sizeof set->kernel->resources);
}

static Status compile_all(CudaSet *set, const CudaNvrtc *nvrtc, const CudaCompileOptions *options,
                          Err *err)
{
    Job job = {set, nvrtc, options};
    CudaWork work = {set->n_units, compile_unit, take_unit, &job};
    return cuda_processes_run(&work, options->n_threads, err);
}

/* ---- the cache ---- */

static CacheKey key_of(CudaSet *set, const CudaNvrtc *nvrtc, const CudaCompileOptions *options)
{
    Text all = {.arena = &set->arena};
    text_printf(&all, "%s %d %s %d\n", options->arch->name, nvrtc->version_number, nvrtc->identity,
                options->line_info);
    for (int i = 0; i < set->n_units; i++)
        text_add_n(&all, text_str(&set->unit[i].text), set->unit[i].text.len);
    return cache_key(text_str(&all), all.len);
}

/* A copy: the driver wants images aligned. */
static bool copy_code(CodeObject *to, const CodeObject *from)
{
    *to = (CodeObject){malloc(from->bytes + 1), from->bytes};
    if (to->data)
        memcpy(to->data, from->data, from->bytes);
    return to->data;
}

/* Of the kernels in units. */
static CodeObject table_of(CudaSet *set)
{
    CudaRecord *table = ARENA_ARRAY(&set->arena, CudaRecord, (size_t)set->n_distinct + MOST_ADDED);
    size_t n = 0;
    for (int i = 0; i < set->n_distinct; i++)
        if (set->kernel[i].unit < set->n_units)
            table[n++] = cuda_record(&set->arena, &set->kernel[i]);
    for (int i = 0; i < set->n_added; i++)
        if (set->added[i].unit < set->n_units)
            table[n++] = cuda_record(&set->arena, &set->added[i]);
    return (CodeObject){table, n * sizeof *table};
}

/* The table is that of these kernels: the key says so. */
static bool take_cached(CudaSet *set, const CodeObject *objects)
{
    const char *row = objects[set->n_units].data;
    size_t n = (size_t)(set->n_distinct - set->n_ready);
    for (int i = 0; i < set->n_added; i++)
        n += set->added[i].unit < set->n_units;
    if (objects[set->n_units].bytes != n * sizeof(CudaRecord))
        return false;
    for (int i = 0; i < set->n_units; i++)
        if (!copy_code(&set->cubin[i], &objects[i]))
            return false;
    for (int i = 0; i < set->n_distinct; i++)
        if (set->kernel[i].unit < set->n_units) {
            memcpy(set->kernel[i].resources, row + offsetof(CudaRecord, resources),
                   sizeof set->kernel[i].resources);
            row += sizeof(CudaRecord);
        }
    return true;
}

static bool load_cached(CudaSet *set, const char *folder, const CacheKey *key)
{
    CodeObject *objects = ARENA_ARRAY(&set->arena, CodeObject, (size_t)set->n_units + 1);
    CacheFile *file;
    if (!cache_load(&file, folder, key, set->n_units + 1, objects))
        return false;
    set->from_cache = take_cached(set, objects);
    cache_close(file);
    for (int i = 0; i < set->n_units && !set->from_cache; i++) {
        free(set->cubin[i].data);
        set->cubin[i] = (CodeObject){0};
    }
    return set->from_cache;
}

static void store_cached(CudaSet *set, const char *folder, const CacheKey *key)
{
    VEC(CodeObject) all = {0};
    Err ignored = {0}; /* a cache that cannot be written is no cache, not a failure */
    for (int i = 0; i < set->n_units; i++)
        vec_push(&set->arena, &all, set->cubin[i]);
    vec_push(&set->arena, &all, table_of(set));
    cache_store(folder, key, set->n_units + 1, all.at, &ignored);
}

/* ---- what is ready ---- */

/* `k` as the file has it: its symbol, and a unit behind those to be compiled, for now counted from
 * INT32_MAX downwards. place: of each unit of the file, 1, 2, ..; 0: not needed. */
static bool find_ready(CudaSet *set, const CudaReady *ready, int *place, CudaKernel *k)
{
    const CudaRecord *r = cuda_ready_find(ready, &set->arena, k);
    if (!r)
        return false;
    if (!place[r->unit])
        place[r->unit] = ++set->n_ready_units;
    k->symbol = r->symbol;
    k->unit = INT32_MAX - place[r->unit];
    memcpy(k->resources, r->resources, sizeof k->resources);
    return true;
}

static void settle_unit(const CudaSet *set, CudaKernel *k)
{
    if (k->unit >= set->n_units)
        k->unit = set->n_units + (INT32_MAX - k->unit) - 1;
}

/* Kernels of the file are taken from there, of the others units are written anew. */
static Status take_ready(CudaSet *set, const void *file, size_t bytes, Err *err)
{
    CudaReady ready = {0};
    if (!file && !set->n_ready_units)
        return NPC_OK;
    set->cubin = NULL;
    set->n_ready = set->n_ready_units = 0;
    if (file && !cuda_ready_open(&ready, &set->arena, file, bytes))
        ready = (CudaReady){0};
    int *place = ARENA_ARRAY(&set->arena, int, (size_t)ready.n_units + 1);
    for (int i = 0; i < set->n_distinct; i++) {
        CudaKernel *k = &set->kernel[i];
        k->symbol = symbol_of(&set->arena, k->program, i);
        k->unit = -1;
        set->n_ready += find_ready(set, &ready, place, k);
    }
    for (int i = 0; i < set->n_added; i++) {
        set->added[i].unit = -1;
        find_ready(set, &ready, place, &set->added[i]);
        set->added[i].symbol = ADDED;
    }
    write_units(set);
    for (int i = 0; i < set->n_distinct; i++)
        settle_unit(set, &set->kernel[i]);
    for (int i = 0; i < set->n_added; i++)
        settle_unit(set, &set->added[i]);
    set->cubin = ARENA_ARRAY(&set->arena, CodeObject, (size_t)cuda_set_n_cubins(set) + 1);
    for (int i = 0; i < ready.n_units; i++)
        if (place[i] && !copy_code(&set->cubin[set->n_units + place[i] - 1], &ready.cubin[i]))
            return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");
    return NPC_OK;
}

static Status build(CudaSet *set, const CudaCompileOptions *options, Err *err)
{
    const CudaNvrtc *nvrtc;
    CacheKey key;
    for (int i = 0; i < set->n_distinct; i++)
        NPC_TRY(cuda_arch_accepts(options->arch, set->kernel[i].program, err));
    NPC_TRY(take_ready(set, options->ready, options->ready_bytes, err));
    if (!set->n_units)
        return NPC_OK;
    NPC_TRY(cuda_nvrtc_open(&nvrtc, err));
    NPC_TRY(nvrtc_knows(nvrtc, options->arch, err));
    if (options->cache_folder) {
        key = key_of(set, nvrtc, options);
        if (load_cached(set, options->cache_folder, &key))
            return NPC_OK;
    }
    NPC_TRY(compile_all(set, nvrtc, options, err));
    if (options->cache_folder)
        store_cached(set, options->cache_folder, &key);
    return NPC_OK;
}

/* Runs a statement with the exhaustion of the set's memory caught. */
#define WITH_MEMORY(set, err, statement)                                                           \
    do {                                                                                           \
        jmp_buf exhausted;                                                                         \
        (set)->arena.exhausted = &exhausted;                                                       \
        if (setjmp(exhausted)) {                                                                   \
            (set)->arena.exhausted = NULL;                                                         \
            return err_set(err, NPC_ERR_MEMORY, "no memory for a set of kernels");                 \
        }                                                                                          \
        statement;                                                                                 \
        (set)->arena.exhausted = NULL;                                                             \
    } while (0)

Status cuda_set_compile(CudaSet *set, const CudaCompileOptions *options, Err *err)
{
    Status s = NPC_OK;
    forget_code(set);
    WITH_MEMORY(set, err, s = build(set, options, err));
    set->is_compiled = s == NPC_OK;
    return s;
}

Status cuda_set_add(CudaSet *set, const char *text, int *added, Err *err)
{
    assert(set->n_added < MOST_ADDED);
    *added = set->n_added;
    set->added[set->n_added] = (CudaKernel){.symbol = ADDED, .text = text, .unit = -1};
    set->n_added++;
    WITH_MEMORY(set, err, put_kernel(set, begin_unit(set, 0), &set->added[set->n_added - 1]));
    return NPC_OK;
}

int cuda_set_added_unit(const CudaSet *set, int added)
{
    return set->added[added].unit;
}

/* ---- other forms ---- */

Status cuda_set_ptx(const CudaSet *set, const CudaArch *arch, Text *out, Err *err)
{
    const CudaNvrtc *nvrtc;
    for (int i = 0; i < set->n_distinct; i++)
        NPC_TRY(cuda_arch_accepts(arch, set->kernel[i].program, err));
    NPC_TRY(cuda_nvrtc_open(&nvrtc, err));
    NPC_TRY(nvrtc_knows(nvrtc, arch, err));
    for (int i = 0; i < set->n_units; i++) {
        NvrtcJob run = {.text = cuda_set_text(set, i),
                        .name = set->unit[i].name,
                        .arch = arch,
                        .ptx = true,
                        .is_exact = !set->unit[i].n};
        Status s = nvrtc_run(nvrtc, &run, err);
        if (s == NPC_OK)
            text_add(out, run.out.data);
        else
            s = explain(set, nvrtc, &set->unit[i], &run, s, err);
        nvrtc_job_free(&run);
        NPC_TRY(s);
    }
    return NPC_OK;
}

void cuda_set_print_resources(const CudaSet *set, const CudaArch *arch, Text *out)
{
    text_printf(out, "%-56s %8s %8s %6s %6s %7s %10s\n", arch->name, "threads", "registers",
                "spill", "stack", "shared", "occupancy");
    for (int i = 0; i < set->n_distinct; i++) {
        const CudaKernel *k = &set->kernel[i];
        for (int phase = 0; phase < k->schedule.n_phases; phase++) {
            const CudaResources *r = &k->resources[phase];
            int threads = k->schedule.phase[phase].threads;
            char name[128];
            snprintf(name, sizeof name, "%s_%d", k->symbol, phase);
            text_printf(out, "%-56s %8d %8d %6d %6d %7d %9.0f%%\n", name, threads, r->registers,
                        r->spill_bytes, r->stack_bytes, r->shared_bytes,
                        100 * cuda_occupancy(arch, r, threads));
        }
    }
}
