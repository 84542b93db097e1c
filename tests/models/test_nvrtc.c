/* The real runtime compiler takes every kernel of a model, and kernels stay within their limits.
 * Needs NVRTC, no device; skipped where it is not found.
 *
 *     test_nvrtc                     a training step of tests/models/tiny.nm and a random graph
 *     test_nvrtc MODEL.nm ..         all programs of models: minutes
 *     test_nvrtc graphs FIRST COUNT  gradients of random graphs
 *     test_nvrtc sm_90 ..            either for one architecture
 *
 * Each for every architecture in 16 bits, for one in float32 and tf32 as well. Prints a table: what
 * the worst kernel of a set takes. `npc compile --emit resources` shows them one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/cuda_api.h"
#include "runtime/compile_cuda.h"
#include "runtime/model.h"
#include "tests/ops/random_graph.h"

/* Of a thread. Spills are not forbidden, large ones are a mistake in a schedule. */
enum { MOST_SPILL_BYTES = 1024, MOST_STACK_BYTES = 2048, N_THREADS = 2 };

/* Of a set of kernels. Scarce: a quarter of a multiprocessor's threads or less. */
typedef struct Worst {
    int kernels, registers, spilling, spill_bytes, stack_bytes, shared_bytes, scarce;
    double occupancy;
} Worst;

static int max(int a, int b)
{
    return a > b ? a : b;
}

static void check_kernel(const CudaArch *arch, const char *precision, const CudaKernel *k, Worst *w)
{
    for (int phase = 0; phase < k->schedule.n_phases; phase++) {
        const CudaResources *r = &k->resources[phase];
        double occupancy = cuda_occupancy(arch, r, k->schedule.phase[phase].threads);
        w->kernels++;
        w->spilling += r->spill_bytes > 0;
        w->scarce += occupancy <= 0.25;
        w->registers = max(w->registers, r->registers);
        w->spill_bytes = max(w->spill_bytes, r->spill_bytes);
        w->stack_bytes = max(w->stack_bytes, r->stack_bytes);
        w->shared_bytes = max(w->shared_bytes, r->shared_bytes);
        w->occupancy = w->kernels == 1 || occupancy < w->occupancy ? occupancy : w->occupancy;
        if (!r->registers || r->registers > CUDA_THREAD_REGISTERS ||
            r->spill_bytes > MOST_SPILL_BYTES || r->stack_bytes > MOST_STACK_BYTES ||
            r->shared_bytes > CUDA_MAX_SHARED || occupancy <= 0)
            fail_msg("%s, %s: %s_%d: %d registers, %d bytes spilled, %d of stack, %d shared, "
                     "occupancy %.2f",
                     arch->name, precision, k->symbol, phase, r->registers, r->spill_bytes,
                     r->stack_bytes, r->shared_bytes, occupancy);
    }
}

static void print_head(void)
{
    printf("| of | target | precision | kernels | registers | spilling | spilled B | stack B | "
           "shared B | occupancy | scarce |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
}

static void compile_plans(const char *of, const Plan *const *plans, int n, const CudaArch *arch,
                          const char *precision)
{
    Err err = {0};
    Worst w = {0};
    CudaSet *set;
    CudaCompileOptions o = {.arch = arch, .n_threads = N_THREADS};
    if (compile_cuda_set(&set, plans, n, true, NULL, &err) != NPC_OK ||
        cuda_set_compile(set, &o, &err) != NPC_OK)
        fail_msg("%s, %s, %s: %s", of, arch->name, precision, err.text);
    for (int i = 0; i < cuda_set_n_distinct(set); i++)
        check_kernel(arch, precision, cuda_set_distinct(set, i), &w);
    printf("| %s | %s | %s | %d | %d | %d | %d | %d | %d | %.2f | %d |\n", of, arch->name,
           precision, w.kernels, w.registers, w.spilling, w.spill_bytes, w.stack_bytes,
           w.shared_bytes, w.occupancy, w.scarce);
    fflush(stdout);
    assert_true(w.kernels > 0);
    cuda_set_free(set);
}

/* What is compiled, and how its plans are made for an architecture and a precision. */
typedef struct Subject {
    const char *name;
    bool whole; /* every program of a model, not only its step */
    uint64_t first, count;
    const CudaArch *arch; /* NULL: every one */
} Subject;

static void compile_model(const Subject *s, const CudaArch *arch, PrecisionMode precision)
{
    static const ProgramKind kind[] = {PROGRAM_EVAL, PROGRAM_STEP, PROGRAM_AVERAGE};
    static const Session two[] = {{.name = "a", .neurons = 60}, {.name = "b", .neurons = 71}};
    const Plan *plan[3];
    char device[32];
    Err err = {0};
    Model *m;
    snprintf(device, sizeof device, "cuda:%s", arch->name);
    ModelOptions o = {.path = s->name,
                      .sessions = two,
                      .n_sessions = 2,
                      .batch = 4,
                      .fuse = FUSE_FULL,
                      .device = device,
                      .precision = precision_text(precision)};
    if (model_open(&m, &o, &err) != NPC_OK)
        fail_msg("%s", err.text);
    int n = 0;
    for (int i = 0; i < 3; i++) {
        int program;
        if (!s->whole && kind[i] != PROGRAM_STEP)
            continue;
        if (model_add(m, kind[i], &program, &err) != NPC_OK)
            fail_msg("%s", err.text);
        plan[n++] = engine_plan(m->engine, program);
    }
    compile_plans(s->name, plan, n, arch, precision_text(precision));
    model_close(m);
}

static Plan *plan_graph(Arena *arena, Names *names, Diags *diags, uint64_t seed,
                        PrecisionMode precision)
{
    Module *m = module_new(arena, names, diags);
    PassOptions o = {.fuse = FUSE_FULL,
                     .target = traits_cuda(),
                     .precision = precision,
                     .gradient_factor = 1,
                     .verify = true};
    random_graph(m, seed, NULL)->name = "train";
    Func *f = passes_run(m, PROGRAM_GRAD, &o);
    if (!f || diags->n_errors)
        fail_msg("seed %llu: passes failed", (unsigned long long)seed);
    return plan_build(arena, f, PROGRAM_GRAD, &o, NULL, NULL);
}

static void compile_graphs(const Subject *s, const CudaArch *arch, PrecisionMode precision)
{
    Arena arena = {0};
    Names names = {.arena = &arena};
    Diags diags;
    diags_init(&diags, &arena);
    const Plan **plan = ARENA_ARRAY(&arena, const Plan *, s->count);
    for (uint64_t i = 0; i < s->count; i++)
        plan[i] = plan_graph(&arena, &names, &diags, s->first + i, precision);
    compile_plans(s->name, plan, (int)s->count, arch, precision_text(precision));
    arena_free(&arena);
}

/* Every architecture in the 16 bits that it knows, one in 32 as well. */
static void check(const Subject *s)
{
    for (int a = 0; a < cuda_arch_count(); a++) {
        const CudaArch *arch = &CUDA_ARCHS[a];
        if (s->arch && s->arch != arch)
            continue;
        PrecisionMode precision[] = {arch->has_bf16 ? PRECISION_BF16 : PRECISION_F16, PRECISION_F32,
                                     PRECISION_TF32};
        for (int p = 0; p < (arch->number == 90 ? 3 : 1); p++)
            (s->count ? compile_graphs : compile_model)(s, arch, precision[p]);
    }
}

static void every_architecture_takes_the_kernels_of_a_small_model(void **state)
{
    (void)state;
    check(&(Subject){.name = "tests/models/tiny.nm"});
}

static void every_architecture_takes_the_kernels_of_random_graphs(void **state)
{
    (void)state;
    check(&(Subject){.name = "random graph 7", .first = 7, .count = 1});
}

static void ptx_names_its_architecture(void **state)
{
    (void)state;
    Err err = {0};
    Arena arena = {0};
    Text ptx = {.arena = &arena};
    int program;
    Model *m;
    ModelOptions o = {.path = "tests/golden/tiny_model.nm", .device = "cuda:sm_86"};
    assert_int_equal(model_open(&m, &o, &err), NPC_OK);
    assert_int_equal(model_add(m, PROGRAM_EVAL, &program, &err), NPC_OK);
    const Plan *plan = engine_plan(m->engine, program);
    if (compile_cuda_emit("ptx", "cuda:sm_86", &plan, 1, 1, &ptx, &err) != NPC_OK)
        fail_msg("%s", err.text);
    assert_non_null(strstr(text_str(&ptx), ".target sm_86"));
    assert_non_null(strstr(text_str(&ptx), ".visible .entry "));
    model_close(m);
    arena_free(&arena);
}

/* The bits of the host: it fuses nothing. The code of divisions and roots is made later. */
static void random_numbers_are_made_without_fused_multiply_adds(void **state)
{
    (void)state;
    Err err = {0};
    Arena arena = {0};
    Text ptx = {.arena = &arena};
    CudaSet *set;
    int unit;
    assert_int_equal(cuda_set_make(&set, NULL, 0, &err), NPC_OK);
    assert_int_equal(cuda_set_add(set, cuda_random, &unit, &err), NPC_OK);
    assert_int_equal(unit, 0);
    for (int i = 0; i < cuda_arch_count(); i++)
        if (cuda_set_ptx(set, &CUDA_ARCHS[i], &ptx, &err) != NPC_OK)
            fail_msg("%s: %s", CUDA_ARCHS[i].name, err.text);
    assert_non_null(strstr(text_str(&ptx), "npc_draw_noise"));
    assert_non_null(strstr(text_str(&ptx), "mul.rn.f32"));
    assert_null(strstr(text_str(&ptx), "fma."));
    assert_null(strstr(text_str(&ptx), "mul.f32")); /* what may be fused later */
    cuda_set_free(set);
    arena_free(&arena);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_takes_the_kernels_of_a_small_model),
        cmocka_unit_test(every_architecture_takes_the_kernels_of_random_graphs),
        cmocka_unit_test(ptx_names_its_architecture),
        cmocka_unit_test(random_numbers_are_made_without_fused_multiply_adds),
    };
    const CudaNvrtc *nvrtc;
    Err err = {0};
    unsetenv("NPC_CUDA_LIBRARIES");
    if (cuda_nvrtc_open(&nvrtc, &err) != NPC_OK) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
    const CudaArch *arch = NULL;
    if (argc > 1)
        print_head();
    if (argc > 1 && !strncmp(argv[1], "sm_", 3)) {
        char target[32];
        snprintf(target, sizeof target, "cuda:%s", argv[1]);
        if (cuda_arch_find(target, &arch, &err) != NPC_OK) {
            printf("%s\n", err.text);
            return 2;
        }
        argv++;
        argc--;
    }
    if (argc == 4 && !strcmp(argv[1], "graphs")) {
        Subject s = {.first = strtoull(argv[2], NULL, 10),
                     .count = strtoull(argv[3], NULL, 10),
                     .arch = arch};
        char name[64];
        snprintf(name, sizeof name, "%s random graphs from %s", argv[3], argv[2]);
        s.name = name;
        check(&s);
        return 0;
    }
    for (int i = 1; i < argc; i++)
        check(&(Subject){.name = argv[i], .whole = true, .arch = arch});
    return argc > 1 || arch ? 0 : cmocka_run_group_tests(tests, NULL, NULL);
}
