/* The real runtime compiler takes every kernel of a model, and kernels stay within their limits.
 * Needs NVRTC, no device; skipped where it is not found.
 *
 *     test_nvrtc              a training step of tests/models/tiny.nm: every architecture in 16
 *                             bits, one in float32 and tf32
 *     test_nvrtc MODEL.nm ..  all programs, architectures and precisions, with their tables of
 *                             registers, spills and occupancy: minutes */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "codegen/cuda_api.h"
#include "runtime/compile_cuda.h"
#include "runtime/model.h"

/* Of a thread. Spills are not forbidden, large ones are a mistake in a schedule. */
enum { MOST_SPILL_BYTES = 1024, MOST_STACK_BYTES = 2048, N_THREADS = 2 };

static int n_kernels, n_spilling, n_scarce; /* of all; scarce: a quarter of the threads or less */

static void check_kernel(const CudaArch *arch, const char *precision, const CudaKernel *k)
{
    for (int phase = 0; phase < k->schedule.n_phases; phase++) {
        const CudaResources *r = &k->resources[phase];
        double occupancy = cuda_occupancy(arch, r, k->schedule.phase[phase].threads);
        n_kernels++;
        n_spilling += r->spill_bytes > 0;
        n_scarce += occupancy <= 0.25;
        if (!r->registers || r->registers > CUDA_THREAD_REGISTERS ||
            r->spill_bytes > MOST_SPILL_BYTES || r->stack_bytes > MOST_STACK_BYTES ||
            r->shared_bytes > CUDA_MAX_SHARED || occupancy <= 0)
            fail_msg("%s, %s: %s_%d: %d registers, %d bytes spilled, %d of stack, %d shared, "
                     "occupancy %.2f",
                     arch->name, precision, k->symbol, phase, r->registers, r->spill_bytes,
                     r->stack_bytes, r->shared_bytes, occupancy);
    }
}

static void compile_plans(const Plan *const *plans, int n, const CudaArch *arch,
                          const char *precision, bool show)
{
    Err err = {0};
    Arena arena = {0};
    CudaSet *set;
    CudaCompileOptions o = {.arch = arch, .n_threads = N_THREADS};
    if (compile_cuda_set(&set, plans, n, NULL, &err) != NPC_OK ||
        cuda_set_compile(set, &o, &err) != NPC_OK)
        fail_msg("%s, %s: %s", arch->name, precision, err.text);
    for (int i = 0; i < cuda_set_n_distinct(set); i++)
        check_kernel(arch, precision, cuda_set_distinct(set, i));
    if (show) {
        Text table = {.arena = &arena};
        cuda_set_print_resources(set, arch, &table);
        printf("%s\n%s", precision, text_str(&table));
    }
    cuda_set_free(set);
    arena_free(&arena);
}

static void compile_model(const char *path, const CudaArch *arch, const char *precision, bool whole)
{
    static const ProgramKind kind[] = {PROGRAM_EVAL, PROGRAM_STEP, PROGRAM_AVERAGE};
    static const Session two[] = {{.name = "a", .neurons = 60}, {.name = "b", .neurons = 71}};
    const Plan *plan[3];
    char device[32];
    Err err = {0};
    Model *m;
    snprintf(device, sizeof device, "cuda:%s", arch->name);
    ModelOptions o = {.path = path,
                      .sessions = two,
                      .n_sessions = 2,
                      .batch = 4,
                      .fuse = FUSE_FULL,
                      .device = device,
                      .precision = precision};
    if (model_open(&m, &o, &err) != NPC_OK)
        fail_msg("%s", err.text);
    int n = 0;
    for (int i = 0; i < 3; i++) {
        int program;
        if (!whole && kind[i] != PROGRAM_STEP)
            continue;
        if (model_add(m, kind[i], &program, &err) != NPC_OK)
            fail_msg("%s", err.text);
        plan[n++] = engine_plan(m->engine, program);
    }
    compile_plans(plan, n, arch, precision, whole);
    model_close(m);
}

static void check_model(const char *path, bool whole)
{
    static const char *const precision[] = {"f32", "tf32", "bf16", "f16"};
    for (int a = 0; a < cuda_arch_count(); a++)
        for (int p = 0; p < 4; p++) {
            bool is_rounded = p == 1 || p == 2, is_half = p == (CUDA_ARCHS[a].has_bf16 ? 2 : 3);
            if (is_rounded && !CUDA_ARCHS[a].has_bf16)
                continue;
            if (whole || is_half || (p < 2 && CUDA_ARCHS[a].number == 90))
                compile_model(path, &CUDA_ARCHS[a], precision[p], whole);
        }
    print_message("%s: %d kernels, %d spill, %d leave three quarters of the threads unused\n", path,
                  n_kernels, n_spilling, n_scarce);
}

static void every_architecture_takes_the_kernels_of_a_small_model(void **state)
{
    (void)state;
    check_model("tests/models/tiny.nm", false);
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
    for (int i = 1; i < argc; i++)
        check_model(argv[i], true);
    return argc > 1 ? 0 : cmocka_run_group_tests(tests, NULL, NULL);
}
