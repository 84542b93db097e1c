/* Whatever call of the CUDA driver or compiler fails, and whenever, the caller gets a message and
 * nothing crashes or hangs. Runs on the simulator, which fails on request (tests/sim/sim_env.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/model.h"
#include "tests/unit/scratch.h"

static float prediction[4096];
static FuseLevel fuse = FUSE_FULL; /* without fusion there are products for the library */

/* Opens a model on the device, predicts, trains a step, times another, predicts, reads all back. */
static Status life(Err *err)
{
    Model *m;
    int eval, step;
    static const SampleRange ranges[] = {{0, 1}, {1, 1}};
    ModelOptions o = {.path = "tests/golden/tiny_model.nm",
                      .batch = 2,
                      .fuse = fuse,
                      .device = "cuda",
                      .library = "all",
                      .threads = 1,
                      .cache_folder = scratch};
    Status s = model_open(&m, &o, err);
    if (s == NPC_OK)
        s = model_add(m, PROGRAM_EVAL, &eval, err);
    if (s == NPC_OK)
        s = model_add(m, PROGRAM_STEP, &step, err);
    if (s == NPC_OK) {
        engine_add_planes(m->engine, step, "clip", 1);
        s = model_ready(m, err);
    }
    if (s == NPC_OK)
        model_initialise(m, 1);
    for (int i = 0; i < 2 && s == NPC_OK; i++) {
        s = engine_run(m->engine, eval, ranges, err);
        if (s == NPC_OK)
            s = engine_read(m->engine, eval, RESULT_OUTPUT, "a", prediction, err);
        engine_draw_masks(m->engine, step, 1, 0);
        if (s == NPC_OK)
            s = engine_send(m->engine, step, ranges, err);
        if (s == NPC_OK)
            s = engine_run(m->engine, step, ranges, err);
        if (s == NPC_OK)
            s = engine_zero(m->engine, "core.spatial.weight", err);
        engine_time_launches(m->engine, step, true);
    }
    if (s == NPC_OK)
        s = engine_fetch(m->engine, err);
    model_close(m);
    return s;
}

typedef struct Outcome {
    Status status;
    Err err;
} Outcome;

/* A device that is lost frees nothing: that happens in a process of its own. */
static void live_elsewhere(Outcome *out)
{
    Outcome *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ended = 0;
    assert_true(shared != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        shared->status = life(&shared->err);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &ended, 0) == child && ended == 0);
    *out = *shared;
    munmap(shared, sizeof *shared);
}

static void check_calls(const char *const *call, size_t n_calls)
{
    enum { DENSE = 6, MOST = 400 };
    for (size_t i = 0; i < n_calls; i++) {
        int n_failed = 0;
        for (int at = 1; at <= MOST; at += at < DENSE ? 1 : 13) {
            char rule[96];
            Outcome o = {0};
            snprintf(rule, sizeof rule, "%s:%d", call[i], at);
            setenv("NPC_SIM_FAIL", rule, 1);
            if (strcmp(call[i], "sticky"))
                o.status = life(&o.err);
            else
                live_elsewhere(&o);
            unsetenv("NPC_SIM_FAIL");
            if (o.status == NPC_OK)
                break;
            n_failed++;
            if ((o.status != NPC_ERR_DEVICE && o.status != NPC_ERR_MEMORY) ||
                strncmp(o.err.text, "CUDA: ", 6))
                fail_msg("%s: status %d, '%s'", rule, o.status, o.err.text);
        }
        /* the driver's version is a courtesy: without it messages know less */
        if (!n_failed && strcmp(call[i], "cuDriverGetVersion"))
            fail_msg("%s never failed", call[i]);
    }
}

static void every_call_may_fail(void **state)
{
    (void)state;
    static const char *const call[] = {"cuInit",
                                       "cuDriverGetVersion",
                                       "cuDeviceGetCount",
                                       "cuDeviceGet",
                                       "cuDeviceGetName",
                                       "cuDeviceGetAttribute",
                                       "cuDevicePrimaryCtxRetain",
                                       "cuCtxSetCurrent",
                                       "cuMemAlloc",
                                       "cuMemHostAlloc",
                                       "cuMemcpyHtoD",
                                       "cuMemcpyDtoH",
                                       "cuMemcpyDtoD",
                                       "cuMemsetD8",
                                       "cuStreamCreate",
                                       "cuStreamSynchronize",
                                       "cuStreamWaitEvent",
                                       "cuStreamBeginCapture",
                                       "cuStreamEndCapture",
                                       "cuGraphInstantiate",
                                       "cuGraphLaunch",
                                       "cuEventCreate",
                                       "cuEventRecord",
                                       "cuEventSynchronize",
                                       "cuEventElapsedTime",
                                       "cuModuleLoadData",
                                       "cuModuleGetFunction",
                                       "cuLaunchKernel",
                                       "sticky"};
    check_calls(call, sizeof call / sizeof *call);
}

static void every_call_of_the_library_may_fail(void **state)
{
    (void)state;
    static const char *const call[] = {"cublasCreate", "cublasSetStream", "cublasSetMathMode",
                                       "cublasSetWorkspace", "cublasGemmStridedBatchedEx"};
    fuse = FUSE_NONE;
    check_calls(call, sizeof call / sizeof *call);
    fuse = FUSE_FULL;
}

static void memory_that_does_not_suffice_comes_with_the_plans_numbers(void **state)
{
    (void)state;
    Err err = {0};
    setenv("NPC_SIM_FAIL", "cuMemAlloc:1", 1);
    assert_int_equal(life(&err), NPC_ERR_MEMORY);
    unsetenv("NPC_SIM_FAIL");
    static const char *const part[] = {"not enough memory on cuda:0 (",
                                       "GiB are needed",
                                       "parameters and optimizer state",
                                       "activations of a batch",
                                       "prepared weights",
                                       "inputs of a batch",
                                       "GiB are free"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (!strstr(err.text, part[i]))
            fail_msg("'%s' is not in: %s", part[i], err.text);
}

static void a_device_that_is_not_there_is_a_sentence(void **state)
{
    (void)state;
    Model *m;
    Err err = {0};
    ModelOptions o = {.path = "tests/golden/tiny_model.nm", .device = "cuda:7"};
    assert_int_equal(model_open(&m, &o, &err), NPC_ERR_DEVICE);
    model_close(m);
    assert_non_null(strstr(err.text, "there is no device cuda:7, the driver finds "));
    err = (Err){0};
    o.device = "gpu";
    assert_int_equal(model_open(&m, &o, &err), NPC_ERR_USAGE);
    model_close(m);
    assert_string_equal(err.text, "there is no device 'gpu': expected auto, cpu, cuda or cuda:N");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(every_call_of_the_library_may_fail),
        cmocka_unit_test(memory_that_does_not_suffice_comes_with_the_plans_numbers),
        cmocka_unit_test(a_device_that_is_not_there_is_a_sentence),
    };
    setenv("NPC_CUDA_LIBRARIES", SIM_LIBRARIES, 1);
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
