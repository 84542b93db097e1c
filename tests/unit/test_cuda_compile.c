/* Sets of CUDA kernels: shared texts, the cache, refusals; architectures, and what is read from the
 * compiler's log. Code is made by the simulator's compiler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "codegen/cuda_nvrtc.h"
#include "ir/base/file.h"
#include "tests/unit/scratch.h"

static Arena arena;
static Names names = {.arena = &arena};

/* y = factor * x over [n] */
static TileProgram *scaling(const char *name, int n, const char *factor)
{
    Diags diags;
    char *text = arena_printf(&arena,
                              "tile \"%s\" session -1 batch -1 flops 0 {\n"
                              "  axis n %d parallel\n"
                              "  tensor in buffer 0 [n=%d] order 0\n"
                              "  tensor out buffer 1 [n=%d] order 0\n"
                              "  %%0 = load t0 [a0]\n"
                              "  %%1 = const %s\n"
                              "  %%2 = mul %%0 %%1\n"
                              "  store %%2 t1 [a0]\n"
                              "}\n",
                              name, n, n, n, factor);
    diags_init(&diags, &arena);
    TileProgram *p = tile_parse(&arena, &names, &diags, "test", text, strlen(text));
    assert_non_null(p);
    return p;
}

static CudaSet *set_of(const TileProgram *const *programs, int n)
{
    Err err = {0};
    CudaSet *set;
    if (cuda_set_make(&set, programs, n, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return set;
}

static Status compile(CudaSet *set, const char *arch, const char *cache, Err *err)
{
    CudaCompileOptions o = {.cache_folder = cache, .n_threads = 2};
    *err = (Err){0};
    NPC_TRY(cuda_arch_find(arch, &o.arch, err));
    return cuda_set_compile(set, &o, err);
}

/* The next call of this name fails. Rules that are new are counted afresh. */
static void fail_next(const char *call)
{
    static int n;
    char rule[96];
    snprintf(rule, sizeof rule, "%s:1,turn:%d", call, ++n);
    setenv("NPC_SIM_FAIL", rule, 1);
}

static void fail_no_more(void)
{
    unsetenv("NPC_SIM_FAIL");
}

/* ---- sets ---- */

static void equal_programs_share_a_kernel(void **state)
{
    (void)state;
    const TileProgram *p[] = {scaling("one.a", 5, "2"), scaling("two.b", 5, "2"),
                              scaling("three", 7, "2")};
    CudaSet *set = set_of(p, 3);
    assert_int_equal(cuda_set_n_distinct(set), 2);
    assert_ptr_equal(cuda_set_get(set, 0), cuda_set_get(set, 1));
    assert_string_equal(cuda_set_get(set, 0)->symbol, "one_a_k0");
    assert_string_equal(cuda_set_get(set, 2)->symbol, "three_k1");
    assert_int_equal(cuda_set_n_units(set), 1);
    assert_non_null(strstr(cuda_set_text(set, 0), cuda_set_get(set, 2)->text));
    cuda_set_free(set);
}

static void units_hold_a_few_programs_each(void **state)
{
    (void)state;
    const TileProgram *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = scaling("many", i + 3, "2");
    CudaSet *set = set_of(p, 20);
    assert_true(cuda_set_n_units(set) >= 2);
    for (int i = 0; i < 20; i++)
        assert_non_null(
            strstr(cuda_set_text(set, cuda_set_get(set, i)->unit), cuda_set_get(set, i)->symbol));
    cuda_set_free(set);
}

static void what_the_cache_has_is_not_compiled(void **state)
{
    (void)state;
    Err err;
    const TileProgram *p[] = {scaling("one", 5, "2"), scaling("two", 6, "3")};
    CudaSet *set = set_of(p, 2);
    if (compile(set, "sm_90", scratch, &err) != NPC_OK)
        fail_msg("%s", err.text);
    assert_false(cuda_set_from_cache(set));
    CodeObject first = *cuda_set_cubin(set, 0);
    void *copy = malloc(first.bytes);
    memcpy(copy, first.data, first.bytes);

    fail_next("nvrtcCompileProgram");
    assert_int_equal(compile(set, "sm_90", scratch, &err), NPC_OK);
    assert_true(cuda_set_from_cache(set));
    assert_int_equal(cuda_set_cubin(set, 0)->bytes, first.bytes);
    assert_memory_equal(cuda_set_cubin(set, 0)->data, copy, first.bytes);
    /* neither for another architecture nor for another text */
    assert_int_equal(compile(set, "sm_86", scratch, &err), NPC_ERR_DEVICE);
    fail_no_more();
    fail_next("nvrtcCompileProgram");
    CudaSet *other = set_of((const TileProgram *[]){p[0], scaling("two", 6, "4")}, 2);
    assert_int_equal(compile(other, "sm_90", scratch, &err), NPC_ERR_DEVICE);
    fail_no_more();
    free(copy);
    cuda_set_free(other);
    cuda_set_free(set);
}

/* Named otherwise and in another order, in a set with something new. */
static void what_is_ready_is_not_compiled(void **state)
{
    (void)state;
    Err err;
    const char **names;
    size_t n, bytes;
    char *file;
    const TileProgram *first[] = {scaling("one", 15, "2"), scaling("two", 16, "3"),
                                  scaling("three", 17, "2")};
    const TileProgram *second[] = {scaling("new", 18, "2"), scaling("drei", 17, "2"),
                                   scaling("eins", 15, "2")};
    const char *folder = scratch_path("ready");
    CudaSet *set = set_of(first, 3);
    assert_int_equal(compile(set, "sm_90", folder, &err), NPC_OK);
    cuda_set_free(set);
    assert_int_equal(file_list(&arena, folder, &names, &n, &err), NPC_OK);
    assert_int_equal(n, 1);
    assert_int_equal(file_read(&arena, arena_printf(&arena, "%s/%s", folder, names[0]), 1 << 26,
                               &file, &bytes, &err),
                     NPC_OK);

    CudaCompileOptions o = {.n_threads = 1, .ready = file, .ready_bytes = bytes};
    assert_int_equal(cuda_arch_find("sm_90", &o.arch, &err), NPC_OK);
    set = set_of(second, 3);
    assert_int_equal(cuda_set_compile(set, &o, &err), NPC_OK);
    assert_int_equal(cuda_set_n_ready(set), 2);
    assert_int_equal(cuda_set_n_units(set), 1);
    assert_int_equal(cuda_set_n_cubins(set), 2);
    assert_null(strstr(cuda_set_text(set, 0), "drei"));
    assert_string_equal(cuda_set_get(set, 0)->symbol, "new_k0");
    assert_int_equal(cuda_set_get(set, 0)->unit, 0);
    assert_string_equal(cuda_set_get(set, 1)->symbol, "three_k2");
    assert_string_equal(cuda_set_get(set, 2)->symbol, "one_k0");
    assert_int_equal(cuda_set_get(set, 2)->unit, 1);
    cuda_set_free(set);

    fail_next("nvrtcVersion"); /* nothing is left to be compiled */
    set = set_of(second + 1, 2);
    assert_int_equal(cuda_set_compile(set, &o, &err), NPC_OK);
    assert_int_equal(cuda_set_n_units(set), 0);
    fail_no_more();
    file[bytes - 1] ^= 1; /* a damaged file has nothing; the set can be compiled again */
    assert_int_equal(cuda_set_compile(set, &o, &err), NPC_OK);
    assert_int_equal(cuda_set_n_ready(set), 0);
    assert_string_equal(cuda_set_get(set, 0)->symbol, "drei_k0");
    cuda_set_free(set);
}

static void a_refused_compilation_names_kernel_and_reason(void **state)
{
    (void)state;
    Err err;
    const TileProgram *p[] = {scaling("one", 5, "2")};
    CudaSet *set = set_of(p, 1);
    fail_next("nvrtcCompileProgram");
    assert_int_equal(compile(set, "sm_90", NULL, &err), NPC_ERR_DEVICE);
    fail_no_more();
    assert_non_null(strstr(err.text, "unit0.cu"));
    cuda_set_free(set);
}

static void every_call_of_the_compiler_may_fail(void **state)
{
    (void)state;
    static const char *const call[] = {"nvrtcVersion", "nvrtcCreateProgram", "nvrtcCompileProgram",
                                       "nvrtcGetCUBINSize", "nvrtcGetCUBIN"};
    const TileProgram *p[] = {scaling("one", 5, "2"), scaling("two", 6, "3")};
    CudaSet *set = set_of(p, 2);
    for (size_t i = 0; i < sizeof call / sizeof *call; i++) {
        Err err;
        fail_next(call[i]);
        assert_int_equal(compile(set, "sm_90", NULL, &err), NPC_ERR_DEVICE);
        assert_int_equal(strncmp(err.text, "CUDA: ", 6), 0);
        fail_no_more();
        assert_int_equal(compile(set, "sm_90", NULL, &err), NPC_OK);
    }
    cuda_set_free(set);
}

static void products_of_bf16_need_sm_80(void **state)
{
    (void)state;
    const CudaArch *arch;
    Err err = {0};
    TileProgram *p = scaling("product", 5, "2");
    p->anchor = TILE_CONTRACT;
    p->math = MATH_BF16;
    assert_int_equal(cuda_arch_find("cuda:sm_75", &arch, &err), NPC_OK);
    assert_int_equal(cuda_arch_accepts(arch, p, &err), NPC_ERR_DEVICE);
    assert_string_equal(err.text, "sm_75 has no products of bf16: they need sm_80 or newer; f32 "
                                  "and f16 run everywhere");
    p->math = MATH_F16;
    assert_int_equal(cuda_arch_accepts(arch, p, &err), NPC_OK);
    p->math = MATH_TF32;
    assert_int_equal(cuda_arch_find("sm_80", &arch, &err), NPC_OK);
    assert_int_equal(cuda_arch_accepts(arch, p, &err), NPC_OK);
}

/* ---- architectures ---- */

static void architectures_are_found_by_name_and_device(void **state)
{
    (void)state;
    static const int expected[][2] = {{75, 75}, {80, 80},   {87, 86},   {89, 89},
                                      {90, 90}, {100, 100}, {103, 100}, {121, 120},
                                      {61, 0},  {70, 0},    {110, 0}};
    const CudaArch *arch;
    Err err = {0};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        arch = cuda_arch_of(expected[i][0]);
        assert_int_equal(arch ? arch->number : 0, expected[i][1]);
    }
    assert_int_equal(cuda_arch_find("cuda:sm_91", &arch, &err), NPC_ERR_USAGE);
    assert_non_null(strstr(err.text, "there is no target 'cuda:sm_91'; targets are cuda:sm_75, "));
}

static void occupancy_is_what_the_scarcest_resource_leaves(void **state)
{
    (void)state;
    const CudaArch *arch;
    Err err = {0};
    assert_int_equal(cuda_arch_find("sm_90", &arch, &err), NPC_OK);
    CudaResources few = {.registers = 32}, many = {.registers = 128}, most = {.registers = 255},
                  shared = {.registers = 32, .shared_bytes = 48 << 10};
    assert_true(cuda_occupancy(arch, &few, 256) == 1);
    assert_true(cuda_occupancy(arch, &few, 32) == 0.5);     /* 32 blocks of one warp */
    assert_true(cuda_occupancy(arch, &many, 256) == 0.25);  /* 16 of 64 warps */
    assert_true(cuda_occupancy(arch, &most, 256) == 0.125); /* 8 warps */
    assert_true(cuda_occupancy(arch, &shared, 256) == 0.5); /* 4 blocks of 49 KiB in 228 */
}

/* ---- the compiler's log ---- */

static const char LOG[] =
    "ptxas info    : 24 bytes gmem\n"
    "ptxas info    : Compiling entry function 'k_0' for 'sm_90'\n"
    "ptxas info    : Function properties for k_0\n"
    "ptxas         .     832 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
    "ptxas info    : Used 29 registers, used 1 barriers, 832 bytes cumulative stack size, 1024 "
    "bytes smem\n"
    "ptxas info    : Compiling entry function 'k_1' for 'sm_90'\n"
    "ptxas info    : Function properties for k_1\n"
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 255 registers, used 0 barriers, 352 bytes cmem[0]\n";

static void resources_are_read_from_the_log(void **state)
{
    (void)state;
    CudaResources r = nvrtc_resources(LOG, "k_0");
    assert_int_equal(r.registers, 29);
    assert_int_equal(r.spill_bytes, 28);
    assert_int_equal(r.stack_bytes, 832);
    assert_int_equal(r.shared_bytes, 1024);
    r = nvrtc_resources(LOG, "k_1");
    assert_int_equal(r.registers, 255);
    assert_int_equal(r.spill_bytes + r.stack_bytes + r.shared_bytes, 0);
    r = nvrtc_resources(LOG, "k");
    assert_int_equal(r.registers, 0);
}

static void the_first_error_is_found(void **state)
{
    (void)state;
    char message[200];
    assert_int_equal(nvrtc_first_error("a.cu(7): warning: x\na.cu(12): error: y is undefined\n"
                                       "  y = 3;\na.cu(13): error: z\n",
                                       message, sizeof message),
                     12);
    assert_string_equal(message, "a.cu(12): error: y is undefined");
    assert_int_equal(nvrtc_first_error("a.cu(7): warning: x\n", message, sizeof message), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_programs_share_a_kernel),
        cmocka_unit_test(units_hold_a_few_programs_each),
        cmocka_unit_test(what_the_cache_has_is_not_compiled),
        cmocka_unit_test(what_is_ready_is_not_compiled),
        cmocka_unit_test(a_refused_compilation_names_kernel_and_reason),
        cmocka_unit_test(every_call_of_the_compiler_may_fail),
        cmocka_unit_test(products_of_bf16_need_sm_80),
        cmocka_unit_test(architectures_are_found_by_name_and_device),
        cmocka_unit_test(occupancy_is_what_the_scarcest_resource_leaves),
        cmocka_unit_test(resources_are_read_from_the_log),
        cmocka_unit_test(the_first_error_is_found),
    };
    setenv("NPC_CUDA_LIBRARIES", SIM_LIBRARIES, 1);
    int failed = cmocka_run_group_tests(tests, scratch_make, scratch_remove);
    arena_free(&arena);
    return failed;
}
