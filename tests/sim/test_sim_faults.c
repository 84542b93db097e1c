/* The simulator finds the mistakes of kernels and of those who launch them, and fails when told to.
 */
#include "tests/sim/sim_wrong.h"

static void a_right_kernel_says_nothing(void **state)
{
    (void)state;
    static char said[1 << 16];
    Wrong w = {WRONG("int i = (int)(blockIdx.x * 32 + threadIdx.x);\n"
                     "if (i < 100)\n"
                     "    y[i] = x[i + 1] + x[i + 15];\n"), /* 64 bytes may be read */
               4};
    assert_int_equal(in_child(run_wrong, &w, said, sizeof said), 0);
    assert_string_equal(said, "");
}

static void a_write_past_the_end_is_found(void **state)
{
    (void)state;
    expect(WRONG("int i = (int)threadIdx.x;\n"
                 "if (i == 0)\n"
                 "    y[100] = x[i];\n"),
           1, CUDA_ERROR_ILLEGAL_ADDRESS, "at byte 400 of 400", false);
}

static void a_missing_mask_is_found(void **state)
{
    (void)state;
    expect(WRONG("int i = (int)(blockIdx.x * 32 + threadIdx.x);\n"
                 "y[i] = x[i];\n"),
           4, CUDA_ERROR_ILLEGAL_ADDRESS, "at byte 400 of 400", true);
}

static void a_write_before_the_start_is_found(void **state)
{
    (void)state;
    expect(WRONG("y[(int)threadIdx.x - 1] = x[0];\n"), 1, CUDA_ERROR_ILLEGAL_ADDRESS,
           "4 bytes before allocation", true);
}

static void far_addresses_are_found(void **state)
{
    (void)state;
    expect(WRONG("if (threadIdx.x == 3)\n    y[0] = x[100000];\n"), 1, CUDA_ERROR_ILLEGAL_ADDRESS,
           "thread 3, line 4 (y[0] = x[100000];): access to", false);
    expect(WRONG("y = 0;\n*y = x[0];\n"), 1, CUDA_ERROR_ILLEGAL_ADDRESS,
           "is not memory of the device", false);
}

static void misaligned_vectors_are_found(void **state)
{
    (void)state;
#ifdef __clang__ /* does not look at copies of structs */
    skip();
#endif
    expect(WRONG("float v[4];\nnpc_load4_f32(v, x + 1);\ny[0] = v[0];\n"), 1,
           CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned access", false);
}

static void indices_outside_of_arrays_are_found(void **state)
{
    (void)state;
    expect(WRONG("NPC_SHARED float s[32];\n"
                 "s[threadIdx.x + 1] = x[0];\n"
                 "NPC_SYNC();\n"
                 "y[threadIdx.x] = s[threadIdx.x];\n"),
           1, CUDA_ERROR_ILLEGAL_ADDRESS,
           "thread 31, line 4 (s[threadIdx.x + 1] = x[0];): index 32 is outside of its array",
           false);
}

static void divergent_barriers_are_found(void **state)
{
    (void)state;
    expect(WRONG("if (threadIdx.x < 16)\n"
                 "    NPC_SYNC();\n"
                 "else\n"
                 "    NPC_SYNC();\n"
                 "y[threadIdx.x] = x[threadIdx.x];\n"),
           1, CUDA_ERROR_LAUNCH_FAILED, "barrier of line", false);
    expect(WRONG("float v = x[threadIdx.x];\n"
                 "if (threadIdx.x < 16)\n"
                 "    NPC_SYNC();\n"
                 "v += NPC_SHUFFLE_XOR(v, 1);\n"
                 "y[threadIdx.x] = v;\n"),
           1, CUDA_ERROR_LAUNCH_FAILED,
           "threads wait for each other: thread 0 at the barrier of line 5, thread 16 at the "
           "shuffle of line 6",
           false);
}

static void products_without_all_lanes_are_found(void **state)
{
    (void)state;
    expect(WRONG("float d[4] = {0};\n"
                 "uint32_t a[4] = {0}, b[2] = {0};\n"
                 "if (threadIdx.x == 7)\n"
                 "    return;\n"
                 "npc_mma_bf16(d, a, b);\n"
                 "y[threadIdx.x] = x[threadIdx.x] + d[0];\n"),
           1, CUDA_ERROR_LAUNCH_FAILED, "a matrix product without all 32 lanes", false);
}

static void divisions_by_zero_are_found(void **state)
{
    (void)state;
    expect(WRONG("y[0] = (float)(7 / (int)x[0]);\n"), 1, CUDA_ERROR_ILLEGAL_ADDRESS,
           "division by zero", false);
}

static CUresult run_after_free(const void *unused)
{
    (void)unused;
    SimKernels k = compile(WRONG("y[threadIdx.x] = x[threadIdx.x];\n"));
    void *x = sim_alloc(sim, BYTES), *y = sim_alloc(sim, BYTES);
    sim_check(sim->free((size_t)x), "cuMemFree");
    return sim_try_launch(sim, k, "wrong", 1, 32, (void *[]){x, y}, 2);
}

static void use_after_free_is_found(void **state)
{
    (void)state;
    static char said[1 << 16];
    assert_int_not_equal(in_child(run_after_free, NULL, said, sizeof said), 0);
    assert_non_null(strstr(said, "kernel wrong"));
    assert_non_null(strstr(said, "was freed"));
}

/* ---- without kernels ---- */

static void fresh_memory_is_no_number(void **state)
{
    (void)state;
    float y[N];
    void *at = sim_alloc(sim, BYTES);
    sim_download(sim, y, at, BYTES);
    for (int i = 0; i < N; i++)
        assert_true(isnan(y[i]));
    sim_free_all(sim);
}

static void copies_outside_of_an_allocation_fail(void **state)
{
    (void)state;
    float y[N + 1] = {0};
    CUdeviceptr at, freed;
    assert_int_equal(sim->alloc(&at, BYTES), CUDA_SUCCESS);
    assert_int_equal(sim->to_device(at, y, BYTES + 1), CUDA_ERROR_INVALID_VALUE);
    assert_non_null(strstr(sim->said(), "a copy to device of 401 bytes"));
    assert_int_equal(sim->to_device(at + 4, y, BYTES), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(sim->to_device(at + 4, y, BYTES - 4), CUDA_SUCCESS);
    assert_int_equal(sim->to_host(y, at - 4, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(CALL(cuMemsetD32_v2)(at, 0, N + 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(CALL(cuMemsetD32_v2)(at, 0, N), CUDA_SUCCESS);
    freed = at;
    assert_int_equal(sim->free(at), CUDA_SUCCESS);
    assert_int_equal(sim->free(freed), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(sim->to_host(y, freed, 4), CUDA_ERROR_INVALID_VALUE);
    assert_non_null(strstr(sim->said(), "was freed"));
    assert_int_equal(sim->to_host(y, (size_t)y, 4), CUDA_ERROR_INVALID_VALUE);
    assert_non_null(strstr(sim->said(), "not memory of the device"));
}

static void launches_are_checked(void **state)
{
    (void)state;
    SimKernels k = compile(WRONG("y[threadIdx.x] = x[threadIdx.x];\n"));
    void *x = sim_alloc(sim, BYTES), *args[] = {x, x, x}, *params[] = {&x, NULL};
    CUfunction f;
    assert_int_equal(sim_try_launch(sim, k, "right", 1, 32, args, 2), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 32, args, 3), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 32, args, 1), CUDA_ERROR_INVALID_VALUE);
    assert_non_null(strstr(sim->said(), "arguments of another size than its parameters"));
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 64, args, 2), CUDA_ERROR_INVALID_VALUE);
    assert_non_null(strstr(sim->said(), "launch bound"));
    assert_int_equal(sim_try_launch(sim, k, "wrong", 0, 32, args, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(sim->get_function(&f, k, "wrong"), CUDA_SUCCESS);
    assert_int_equal(sim->launch(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_non_null(strstr(sim->said(), "fewer arguments than parameters"));
    sim_free_all(sim);
    sim_unload(sim, k);
}

static void compilers_mistakes_have_lines(void **state)
{
    (void)state;
    char *log;
    assert_null(
        sim_try_compile(sim, "\n\nNPC_KERNEL(32) wrong(float *y)\n{\n    y = 1 +;\n}\n", &log));
    assert_non_null(strstr(log, "kernels.cu:5:"));
    free(log);
#ifndef __clang__
    /* C allows what C++ does not */
    assert_null(sim_try_compile(
        sim, "NPC_KERNEL(32) wrong(float *y, void *z)\n{\n    y = z;\n    *y = 0;\n}\n", &log));
    assert_non_null(strstr(log, "kernels.cu:3:"));
    free(log);
#endif
    assert_null(
        sim_try_compile(sim, "NPC_KERNEL(32) wrong(float *y)\n{\n    *y = printf;\n}\n", &log));
    free(log);
    assert_null(sim_try_compile(sim,
                                "NPC_KERNEL(32) wrong(float *y)\n{\n"
                                "    NPC_SHARED float s[12289];\n"
                                "    s[threadIdx.x] = *y;\n}\n",
                                &log));
    assert_non_null(strstr(log, "wrong: 49168 bytes of shared memory, 49152 are there"));
    free(log);
}

static void equal_texts_are_translated_once(void **state)
{
    (void)state;
    char *log;
    SimKernels k = compile(WRONG("y[0] = x[0];\n"));
    sim_unload(sim, k);
    setenv("TMPDIR", "/nonexistent", 1); /* nothing can be translated */
    k = compile(WRONG("y[0] = x[0];\n"));
    sim_unload(sim, k);
    assert_null(sim_try_compile(sim, WRONG("y[0] = x[1];\n"), &log));
    assert_non_null(strstr(log, "can not make a folder /nonexistent"));
    free(log);
    unsetenv("TMPDIR");
    setenv("NPC_SIM_CC", "/nonexistent/cc", 1);
    assert_null(sim_try_compile(sim, "", &log));
    assert_non_null(strstr(log, "can not run the compiler '/nonexistent/cc'"));
    free(log);
    unsetenv("NPC_SIM_CC");
}

static void options_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *option[2];
        int result;
    } cases[] = {
        {{"--gpu-architecture=sm_90", "--fmad=false"}, 0},
        {{"--gpu-architecture=sm_90", "--fast-everything"}, 5},
        {{"--gpu-architecture=sm_42", "--fmad=false"}, 5},
        {{"--gpu-architecture=compute_90", "--fmad=false"}, 5},
        {{"--fmad=false", "--fmad=false"}, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *program;
        assert_int_equal(sim->create(&program, "", NULL, 0, NULL, NULL), 0);
        assert_int_equal(sim->compile(program, 2, cases[i].option), cases[i].result);
        sim->destroy(&program);
    }
}

static void images_are_of_an_architecture(void **state)
{
    (void)state;
    CUmodule module;
    void *program;
    size_t bytes;
    static const char *const options[] = {"--gpu-architecture=sm_90"};
    assert_int_equal(sim->create(&program, "", NULL, 0, NULL, NULL), 0);
    assert_int_equal(sim->compile(program, 1, options), 0);
    assert_int_equal(sim->cubin_size(program, &bytes), 0);
    char *cubin = malloc(bytes);
    assert_int_equal(sim->cubin(program, cubin), 0);
    sim->destroy(&program);
    setenv("NPC_SIM_SM", "86", 1);
    assert_int_equal(sim->load(&module, cubin), CUDA_ERROR_NO_BINARY_FOR_GPU);
    unsetenv("NPC_SIM_SM");
    assert_int_equal(sim->load(&module, cubin), CUDA_SUCCESS);
    assert_int_equal(sim->unload(module), CUDA_SUCCESS);
    cubin[bytes - 1] ^= 1;
    assert_int_equal(sim->load(&module, cubin), CUDA_ERROR_INVALID_IMAGE);
    free(cubin);
}

static void memory_ends(void **state)
{
    (void)state;
    CUdeviceptr a, b;
    size_t left, total;
    setenv("NPC_SIM_MEMORY", "1000", 1);
    assert_int_equal(sim->alloc(&a, 600), CUDA_SUCCESS);
    assert_int_equal(sim->alloc(&b, 600), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(CALL(cuMemGetInfo_v2)(&left, &total), CUDA_SUCCESS);
    assert_int_equal(left, 400);
    assert_int_equal(total, 1000);
    assert_int_equal(sim->free(a), CUDA_SUCCESS);
    assert_int_equal(sim->alloc(&b, 600), CUDA_SUCCESS);
    assert_int_equal(sim->free(b), CUDA_SUCCESS);
    unsetenv("NPC_SIM_MEMORY");
}

/* ---- calls that are told to fail ---- */

static void calls_fail_when_told(void **state)
{
    (void)state;
    CUdeviceptr a, b;
    float x = 1;
    setenv("NPC_SIM_FAIL", "cuMemAlloc:2,cuMemcpyHtoD:3", 1);
    assert_int_equal(sim->alloc(&a, 4), CUDA_SUCCESS);
    assert_int_equal(sim->alloc(&b, 4), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(sim->alloc(&b, 4), CUDA_SUCCESS);
    assert_int_equal(sim->to_device(a, &x, 4), CUDA_SUCCESS);
    assert_int_equal(CALL(cuMemcpyHtoDAsync_v2)(a, &x, 4, NULL), CUDA_SUCCESS);
    assert_int_equal(sim->to_device(a, &x, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(sim->to_device(a, &x, 4), CUDA_SUCCESS);
    setenv("NPC_SIM_FAIL", "nvrtcCompileProgram:1", 1);
    char *log;
    assert_null(sim_try_compile(sim, "", &log));
    assert_string_equal(log, "npc sim: told to fail\n");
    free(log);
    unsetenv("NPC_SIM_FAIL");
    assert_int_equal(sim->free(a), CUDA_SUCCESS);
    assert_int_equal(sim->free(b), CUDA_SUCCESS);
}

static void a_lost_device_stays_lost(void **state)
{
    (void)state;
    SimKernels k = compile(WRONG("y[threadIdx.x] = x[threadIdx.x];\n"));
    static const float zero[N];
    void *x = sim_upload(sim, zero, BYTES), *args[] = {x, x};
    CUdeviceptr a;
    CUcontext context;
    setenv("NPC_SIM_FAIL", "sticky:2", 1);
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 32, args, 2), CUDA_SUCCESS);
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 32, args, 2), CUDA_ERROR_LAUNCH_FAILED);
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 32, args, 2), CUDA_ERROR_LAUNCH_FAILED);
    assert_int_equal(sim->alloc(&a, 4), CUDA_ERROR_LAUNCH_FAILED);
    assert_int_equal(sim->synchronize(), CUDA_ERROR_LAUNCH_FAILED);
    unsetenv("NPC_SIM_FAIL");
    /* a context later all is well; memory was that of the old one */
    assert_int_equal(sim->release(0), CUDA_SUCCESS);
    assert_int_equal(sim->retain(&context, 0), CUDA_SUCCESS);
    sim->n_allocated = 0;
    assert_int_equal(sim->to_device((size_t)x, zero, BYTES), CUDA_ERROR_INVALID_VALUE);
    args[0] = args[1] = sim_upload(sim, zero, BYTES);
    assert_int_equal(sim_try_launch(sim, k, "wrong", 1, 32, args, 2), CUDA_SUCCESS);
    sim_free_all(sim);
    sim_unload(sim, k);
}

int main(void)
{
    unsetenv("NPC_SIM_CHECK");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_kernel_says_nothing),
        cmocka_unit_test(a_write_past_the_end_is_found),
        cmocka_unit_test(a_missing_mask_is_found),
        cmocka_unit_test(a_write_before_the_start_is_found),
        cmocka_unit_test(far_addresses_are_found),
        cmocka_unit_test(misaligned_vectors_are_found),
        cmocka_unit_test(indices_outside_of_arrays_are_found),
        cmocka_unit_test(divergent_barriers_are_found),
        cmocka_unit_test(products_without_all_lanes_are_found),
        cmocka_unit_test(divisions_by_zero_are_found),
        cmocka_unit_test(use_after_free_is_found),
        cmocka_unit_test(fresh_memory_is_no_number),
        cmocka_unit_test(copies_outside_of_an_allocation_fail),
        cmocka_unit_test(launches_are_checked),
        cmocka_unit_test(compilers_mistakes_have_lines),
        cmocka_unit_test(equal_texts_are_translated_once),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(images_are_of_an_architecture),
        cmocka_unit_test(memory_ends),
        cmocka_unit_test(calls_fail_when_told),
        cmocka_unit_test(a_lost_device_stays_lost),
    };
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
