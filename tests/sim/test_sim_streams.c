/* Streams, graphs, events and library products of the simulated device. */
#include "tests/sim/sim_test.h"

#include "ir/storage.h"

enum { N = 100, BYTES = N * sizeof(float) };

static SimKernels kernels;
static CUfunction add_one, twice;

static int open_with_kernels(void **state)
{
    open_simulator(state);
    kernels = compile("NPC_KERNEL(32) add_one(float *x)\n"
                      "{\n"
                      "    int i = (int)(blockIdx.x * 32 + threadIdx.x);\n"
                      "    if (i < 100)\n"
                      "        x[i] = x[i] + 1.0f;\n"
                      "}\n"
                      "NPC_KERNEL(32) twice(float *x)\n"
                      "{\n"
                      "    int i = (int)(blockIdx.x * 32 + threadIdx.x);\n"
                      "    if (i < 100)\n"
                      "        x[i] = x[i] * 2.0f;\n"
                      "}\n");
    sim_check(sim->get_function(&add_one, kernels, "add_one"), "add_one");
    sim_check(sim->get_function(&twice, kernels, "twice"), "twice");
    return 0;
}

static int close_kernels(void **state)
{
    (void)state;
    sim_unload(sim, kernels);
    return 0;
}

static void launch(CUfunction f, CUdeviceptr x, CUstream stream)
{
    void *params[] = {&x};
    assert_int_equal(sim->launch(f, 4, 1, 1, 32, 1, 1, 0, stream, params, NULL), CUDA_SUCCESS);
}

static CUstream new_stream(void)
{
    CUstream s;
    assert_int_equal(CALL(cuStreamCreate)(&s, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    return s;
}

static CUevent new_event(void)
{
    CUevent e;
    assert_int_equal(CALL(cuEventCreate)(&e, 0), CUDA_SUCCESS);
    return e;
}

static CUdeviceptr zeros(void)
{
    static const float zero[N];
    return (size_t)sim_upload(sim, zero, sizeof zero);
}

static void assert_all(CUdeviceptr x, float value)
{
    float y[N];
    sim_download(sim, y, (void *)(size_t)x, BYTES);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == value);
}

/* ---- graphs ---- */

static void a_graph_runs_what_was_captured(void **state)
{
    (void)state;
    CUstream s = new_stream();
    CUdeviceptr x = zeros();
    CUgraph graph;
    CUgraphExec exec;
    size_t n;
    float *pinned;
    assert_int_equal(CALL(cuMemHostAlloc)((void **)&pinned, BYTES, 0), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamBeginCapture_v2)(s, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    assert_int_equal(CALL(cuMemcpyHtoDAsync_v2)(x, pinned, BYTES, s), CUDA_SUCCESS);
    launch(add_one, x, s);
    launch(twice, x, s);
    assert_int_equal(CALL(cuStreamEndCapture)(s, &graph), CUDA_SUCCESS);
    assert_all(x, 0); /* nothing ran */
    assert_int_equal(CALL(cuGraphGetNodes)(graph, NULL, &n), CUDA_SUCCESS);
    assert_int_equal(n, 3);
    assert_int_equal(CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0), CUDA_SUCCESS);
    assert_int_equal(CALL(cuGraphDestroy)(graph), CUDA_SUCCESS);
    for (int run = 1; run < 4; run++) {
        for (int i = 0; i < N; i++)
            pinned[i] = (float)run;
        assert_int_equal(CALL(cuGraphLaunch)(exec, s), CUDA_SUCCESS);
        assert_int_equal(CALL(cuStreamSynchronize)(s), CUDA_SUCCESS);
        assert_all(x, (float)(2 * (run + 1)));
    }
    assert_int_equal(CALL(cuGraphExecDestroy)(exec), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamDestroy_v2)(s), CUDA_SUCCESS);
    assert_int_equal(CALL(cuMemFreeHost)(pinned), CUDA_SUCCESS);
    sim_free_all(sim);
}

static void events_carry_a_capture_to_other_streams(void **state)
{
    (void)state;
    CUstream s = new_stream(), other = new_stream();
    CUevent fork = new_event(), join = new_event();
    CUdeviceptr x = zeros();
    CUgraph graph;
    CUgraphExec exec;
    assert_int_equal(CALL(cuStreamBeginCapture_v2)(s, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    launch(add_one, x, s);
    assert_int_equal(CALL(cuEventRecord)(fork, s), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamWaitEvent)(other, fork, 0), CUDA_SUCCESS);
    launch(twice, x, other);
    assert_int_equal(CALL(cuEventRecord)(join, other), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamWaitEvent)(s, join, 0), CUDA_SUCCESS);
    launch(add_one, x, s);
    assert_int_equal(CALL(cuStreamEndCapture)(s, &graph), CUDA_SUCCESS);
    assert_int_equal(CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0), CUDA_SUCCESS);
    assert_int_equal(CALL(cuGraphLaunch)(exec, s), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamSynchronize)(s), CUDA_SUCCESS);
    assert_all(x, 3);
    launch(add_one, x, other); /* no longer captured */
    assert_int_equal(CALL(cuStreamSynchronize)(other), CUDA_SUCCESS);
    assert_all(x, 4);
    assert_int_equal(CALL(cuGraphDestroy)(graph), CUDA_SUCCESS);
    assert_int_equal(CALL(cuGraphExecDestroy)(exec), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventDestroy_v2)(fork), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventDestroy_v2)(join), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamDestroy_v2)(s), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamDestroy_v2)(other), CUDA_SUCCESS);
    sim_free_all(sim);
}

static void what_waits_breaks_a_capture(void **state)
{
    (void)state;
    CUstream s = new_stream();
    CUdeviceptr x = zeros(), y;
    CUgraph graph;
    float one = 1;
    assert_int_equal(CALL(cuStreamBeginCapture_v2)(s, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    launch(add_one, x, s);
    assert_int_equal(sim->alloc(&y, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(CALL(cuStreamEndCapture)(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_int_equal(CALL(cuStreamBeginCapture_v2)(s, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamSynchronize)(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(sim->to_device(x, &one, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(CALL(cuStreamEndCapture)(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_int_equal(CALL(cuStreamEndCapture)(s, &graph), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(CALL(cuStreamDestroy_v2)(s), CUDA_SUCCESS);
    sim_free_all(sim);
}

/* ---- order ---- */

/* x + 1 on one stream and 2 x on another, which waits for it, or not. */
static void run_on_two_streams(CUdeviceptr x, bool waits)
{
    CUstream first = new_stream(), second = new_stream();
    CUevent e = new_event();
    launch(add_one, x, first);
    assert_int_equal(CALL(cuEventRecord)(e, first), CUDA_SUCCESS);
    if (waits)
        assert_int_equal(CALL(cuStreamWaitEvent)(second, e, 0), CUDA_SUCCESS);
    launch(twice, x, second);
    assert_int_equal(CALL(cuStreamSynchronize)(second), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventQuery)(e), CUDA_SUCCESS); /* lets one thing happen */
    assert_int_equal(CALL(cuStreamDestroy_v2)(first), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamDestroy_v2)(second), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventDestroy_v2)(e), CUDA_SUCCESS);
}

static void late_work_shows_a_missing_event(void **state)
{
    (void)state;
    CUdeviceptr x = zeros();
    run_on_two_streams(x, true);
    assert_all(x, 2);
    setenv("NPC_SIM_LATE", "1", 1);
    x = zeros();
    run_on_two_streams(x, true);
    assert_all(x, 2);
    unsetenv("NPC_SIM_LATE");
    sim_free_all(sim);
}

static void without_an_event_late_work_is_in_another_order(void **state)
{
    (void)state;
    CUstream first = new_stream(), second = new_stream();
    CUdeviceptr x = zeros();
    setenv("NPC_SIM_LATE", "1", 1);
    launch(add_one, x, first);
    launch(twice, x, second);
    assert_int_equal(CALL(cuStreamQuery)(second), CUDA_SUCCESS);
    assert_int_equal(CALL(cuCtxSynchronize)(), CUDA_SUCCESS);
    assert_all(x, 1);
    unsetenv("NPC_SIM_LATE");
    assert_int_equal(CALL(cuStreamDestroy_v2)(first), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamDestroy_v2)(second), CUDA_SUCCESS);
    sim_free_all(sim);
}

static void late_copies_read_pinned_memory_late(void **state)
{
    (void)state;
    CUstream s = new_stream();
    CUdeviceptr x = zeros();
    float *pinned, ordinary[N];
    assert_int_equal(CALL(cuMemHostAlloc)((void **)&pinned, BYTES, 0), CUDA_SUCCESS);
    setenv("NPC_SIM_LATE", "1", 1);
    for (int i = 0; i < N; i++)
        pinned[i] = ordinary[i] = 5;
    assert_int_equal(CALL(cuMemcpyHtoDAsync_v2)(x, ordinary, BYTES, s), CUDA_SUCCESS);
    memset(ordinary, 0, sizeof ordinary);
    assert_int_equal(CALL(cuStreamSynchronize)(s), CUDA_SUCCESS);
    assert_all(x, 5);
    assert_int_equal(CALL(cuMemcpyHtoDAsync_v2)(x, pinned, BYTES, s), CUDA_SUCCESS);
    memset(pinned, 0, BYTES); /* too early */
    assert_int_equal(CALL(cuStreamSynchronize)(s), CUDA_SUCCESS);
    assert_all(x, 0);
    launch(add_one, x, s);
    assert_int_equal(CALL(cuMemcpyDtoHAsync_v2)(pinned, x, BYTES, s), CUDA_SUCCESS);
    assert_true(pinned[0] == 0);
    assert_int_equal(CALL(cuMemcpyDtoHAsync_v2)(ordinary, x, BYTES, s), CUDA_SUCCESS);
    assert_true(pinned[0] == 1 && ordinary[0] == 1);
    unsetenv("NPC_SIM_LATE");
    assert_int_equal(CALL(cuStreamDestroy_v2)(s), CUDA_SUCCESS);
    assert_int_equal(CALL(cuMemFreeHost)(pinned), CUDA_SUCCESS);
    sim_free_all(sim);
}

static void events_measure_time(void **state)
{
    (void)state;
    CUevent a = new_event(), b = new_event();
    CUstream s = new_stream();
    CUdeviceptr x = zeros();
    float ms = -1;
    assert_int_equal(CALL(cuEventElapsedTime)(&ms, a, b), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(CALL(cuEventRecord)(a, s), CUDA_SUCCESS);
    launch(add_one, x, s);
    assert_int_equal(CALL(cuEventRecord)(b, s), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventSynchronize)(b), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventElapsedTime)(&ms, a, b), CUDA_SUCCESS);
    assert_true(ms > 0);
    assert_int_equal(CALL(cuEventDestroy_v2)(a), CUDA_SUCCESS);
    assert_int_equal(CALL(cuEventDestroy_v2)(b), CUDA_SUCCESS);
    assert_int_equal(CALL(cuStreamDestroy_v2)(s), CUDA_SUCCESS);
    sim_free_all(sim);
}

/* ---- products ---- */

enum { M = 5, COLUMNS = 7, K = 11, BATCH = 3 };

typedef int Gemm(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha,
                 const void *a, int type_a, int ld_a, long long stride_a, const void *b, int type_b,
                 int ld_b, long long stride_b, const void *beta, void *c, int type_c, int ld_c,
                 long long stride_c, int batch, int compute, int algorithm);

/* 4 KB to work in. */
static void use_workspace(void *library, void *handle)
{
    int (*set)(void *, void *, size_t) =
        (int (*)(void *, void *, size_t))sim_symbol(library, "cublasSetWorkspace_v2");
    assert_int_equal(set(handle, sim_alloc(sim, 4096), 4096), 0);
}

/* Column-major matrices one longer than they have to be; op: 0 as it is, 1 transposed. */
static void check_gemm(void *library, void *handle, int op_a, int op_b, int type, Storage storage)
{
    enum { SIZE = BATCH * 12 * 12 };
    Gemm *gemm = (Gemm *)sim_symbol(library, "cublasGemmStridedBatchedEx");
    uint64_t random = 3;
    float a[SIZE], b[SIZE], c[SIZE], alpha = 0.5f, beta = 2;
    uint32_t stored_a[SIZE], stored_b[SIZE];
    int ld_a = (op_a ? K : M) + 1, ld_b = (op_b ? COLUMNS : K) + 1, ld_c = M + 1;
    for (int i = 0; i < SIZE; i++) {
        storage_write(stored_a, storage, i, random_float(&random));
        storage_write(stored_b, storage, i, random_float(&random));
        a[i] = storage_read(stored_a, storage, i);
        b[i] = storage_read(stored_b, storage, i);
        c[i] = random_float(&random);
    }
    use_workspace(library, handle);
    void *x = sim_upload(sim, stored_a, SIZE * storage_bytes(storage));
    void *y = sim_upload(sim, stored_b, SIZE * storage_bytes(storage));
    void *z = sim_upload(sim, c, sizeof c);
    float found[SIZE];
    assert_int_equal(gemm(handle, op_a, op_b, M, COLUMNS, K, &alpha, x, type, ld_a, 144, y, type,
                          ld_b, 144, &beta, z, 0, ld_c, 144, BATCH, 68, -1),
                     0);
    sim_download(sim, found, z, sizeof found);
    for (int s = 0; s < BATCH; s++)
        for (int j = 0; j < COLUMNS; j++)
            for (int i = 0; i < M; i++) {
                double sum = 0;
                for (int l = 0; l < K; l++)
                    sum += (double)a[s * 144 + (op_a ? l + i * ld_a : i + l * ld_a)] *
                           (double)b[s * 144 + (op_b ? j + l * ld_b : l + j * ld_b)];
                double expected = 0.5 * sum + 2 * (double)c[s * 144 + i + j * ld_c];
                assert_true(fabs((double)found[s * 144 + i + j * ld_c] - expected) < 1e-5);
            }
    assert_true(found[M] == c[M]); /* between columns */
    /* a matrix that ends too early */
    assert_int_equal(gemm(handle, op_a, op_b, M, COLUMNS, K, &alpha, x, type, ld_a, 144, y, type,
                          ld_b, 300, &beta, z, 0, ld_c, 144, BATCH, 68, -1),
                     13);
    sim_free_all(sim);
}

static void the_library_multiplies(void **state)
{
    (void)state;
    void *library = sim_library("libcublas.so.13"), *handle;
    int (*create)(void **) = (int (*)(void **))sim_symbol(library, "cublasCreate_v2");
    int (*destroy)(void *) = (int (*)(void *))sim_symbol(library, "cublasDestroy_v2");
    assert_int_equal(create(&handle), 0);
    for (int op = 0; op < 4; op++) {
        check_gemm(library, handle, op & 1, op >> 1, 0, STORAGE_F32);
        check_gemm(library, handle, op & 1, op >> 1, 2, STORAGE_F16);
        check_gemm(library, handle, op & 1, op >> 1, 14, STORAGE_BF16);
    }
    assert_int_equal(destroy(handle), 0);
}

static void products_are_captured(void **state)
{
    (void)state;
    void *library = sim_library("libcublas.so.13"), *handle;
    int (*create)(void **) = (int (*)(void **))sim_symbol(library, "cublasCreate_v2");
    int (*destroy)(void *) = (int (*)(void *))sim_symbol(library, "cublasDestroy_v2");
    int (*set_stream)(void *, CUstream) =
        (int (*)(void *, CUstream))sim_symbol(library, "cublasSetStream_v2");
    int (*sgemm)(void *, int, int, int, int, int, const float *, const float *, int, const float *,
                 int, const float *, float *, int) = NULL;
    *(void **)&sgemm = sim_symbol(library, "cublasSgemm_v2");
    CUstream s = new_stream();
    CUdeviceptr x = zeros(), y = zeros();
    CUgraph graph;
    CUgraphExec exec;
    float one = 1, zero = 0;
    assert_int_equal(create(&handle), 0);
    use_workspace(library, handle);
    assert_int_equal(set_stream(handle, s), 0); /* takes it away */
    assert_int_equal(sgemm(handle, 0, 0, 10, 10, 10, &one, (float *)(size_t)x, 10,
                           (float *)(size_t)x, 10, &zero, (float *)(size_t)y, 10),
                     3);
    use_workspace(library, handle);
    assert_int_equal(CALL(cuStreamBeginCapture_v2)(s, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    launch(add_one, x, s);
    assert_int_equal(sgemm(handle, 0, 0, 10, 10, 10, &one, (float *)(size_t)x, 10,
                           (float *)(size_t)x, 10, &zero, (float *)(size_t)y, 10),
                     0);
    one = 7; /* had been read */
    assert_int_equal(CALL(cuStreamEndCapture)(s, &graph), CUDA_SUCCESS);
    assert_int_equal(CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0), CUDA_SUCCESS);
    for (int run = 1; run < 3; run++) {
        assert_int_equal(CALL(cuGraphLaunch)(exec, s), CUDA_SUCCESS);
        assert_int_equal(CALL(cuStreamSynchronize)(s), CUDA_SUCCESS);
        assert_all(y, (float)(10 * run * run));
    }
    assert_int_equal(CALL(cuGraphDestroy)(graph), CUDA_SUCCESS);
    assert_int_equal(CALL(cuGraphExecDestroy)(exec), CUDA_SUCCESS);
    assert_int_equal(destroy(handle), 0);
    assert_int_equal(CALL(cuStreamDestroy_v2)(s), CUDA_SUCCESS);
    sim_free_all(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_graph_runs_what_was_captured),
        cmocka_unit_test(events_carry_a_capture_to_other_streams),
        cmocka_unit_test(what_waits_breaks_a_capture),
        cmocka_unit_test(late_work_shows_a_missing_event),
        cmocka_unit_test(without_an_event_late_work_is_in_another_order),
        cmocka_unit_test(late_copies_read_pinned_memory_late),
        cmocka_unit_test(events_measure_time),
        cmocka_unit_test(the_library_multiplies),
        cmocka_unit_test(products_are_captured),
    };
    return cmocka_run_group_tests(tests, open_with_kernels, close_kernels);
}
