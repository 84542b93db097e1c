/* NPC_SIM_CHECK finds races, bounds and uninitialised reads access by access, with their lines. */
#include "tests/sim/sim_wrong.h"

/* Every thread reads what its neighbour wrote, twice over the same array. */
#define EXCHANGE(first, second, third)                                                             \
    WRONG("NPC_SHARED float s[32];\n"                                                              \
          "const int i = (int)threadIdx.x;\n"                                                      \
          "s[i] = x[i];\n" first ";\n"                                                             \
          "const float a = s[31 - i];\n" second ";\n"                                              \
          "s[i] = a + 1.0f;\n" third ";\n"                                                         \
          "y[i] = s[i ^ 1];\n")

static void right(const char *text, int blocks)
{
    static char said[1 << 16];
    Wrong w = {text, blocks};
    assert_int_equal(in_child(run_wrong, &w, said, sizeof said), 0);
    assert_string_equal(said, "");
}

static void barriers_order_a_block(void **state)
{
    (void)state;
    right(EXCHANGE("NPC_SYNC()", "NPC_SYNC()", "NPC_SYNC()"), 1);
    expect(EXCHANGE("(void)0", "NPC_SYNC()", "NPC_SYNC()"), 1, CUDA_ERROR_LAUNCH_FAILED,
           "line 7 (const float a = s[31 - i];)", false);
    expect(EXCHANGE("NPC_SYNC()", "(void)0", "NPC_SYNC()"), 1, CUDA_ERROR_LAUNCH_FAILED,
           "line 7 (const float a = s[31 - i];)", false);
    expect(EXCHANGE("NPC_SYNC()", "NPC_SYNC()", "(void)0"), 1, CUDA_ERROR_LAUNCH_FAILED,
           "line 11 (y[i] = s[i ^ 1];)", false);
}

static void shuffles_order_nothing(void **state)
{
    (void)state;
    expect(EXCHANGE("y[i] = NPC_SHUFFLE_XOR(x[i], 1)", "NPC_SYNC()", "NPC_SYNC()"), 1,
           CUDA_ERROR_LAUNCH_FAILED, "without a barrier in between", false);
}

static void nothing_orders_blocks(void **state)
{
    (void)state;
    const char *text = WRONG("y[threadIdx.x] = x[threadIdx.x];\n");
    right(text, 1);
    expect(text, 2, CUDA_ERROR_LAUNCH_FAILED, "of block", false);
    text = WRONG("if (blockIdx.x == 0)\n"
                 "    y[threadIdx.x] = 1.0f;\n"
                 "else\n"
                 "    y[32 + threadIdx.x] = y[(threadIdx.x + 1) % 32];\n");
    right(text, 1);
    expect(text, 2, CUDA_ERROR_LAUNCH_FAILED, "without a barrier in between", false);
}

static void bounds_have_lines(void **state)
{
    (void)state;
    expect(WRONG("int i = (int)(blockIdx.x * 32 + threadIdx.x);\n"
                 "if (i <= 100)\n"
                 "    y[i] = x[i];\n"),
           4, CUDA_ERROR_ILLEGAL_ADDRESS,
           "block 3, thread 4, line 5 (y[i] = x[i];): writes 4 bytes: that is 0 bytes behind",
           false);
    right(WRONG("y[threadIdx.x] = x[100 + threadIdx.x % 16];\n"), 1); /* may be read */
    expect(WRONG("y[threadIdx.x] = x[100 + threadIdx.x % 17];\n"), 1, CUDA_ERROR_ILLEGAL_ADDRESS,
           "thread 16, line 3 (y[threadIdx.x] = x[100 + threadIdx.x % 17];): reads 4 bytes", false);
}

static void reads_of_nothing_are_found_when_asked_for(void **state)
{
    (void)state;
    const char *text = WRONG("NPC_SHARED float s[32];\n"
                             "if (threadIdx.x != 5)\n"
                             "    s[threadIdx.x] = x[threadIdx.x];\n"
                             "NPC_SYNC();\n"
                             "y[threadIdx.x] = s[threadIdx.x];\n");
    right(text, 1);
    setenv("NPC_SIM_CHECK", "2", 1);
    expect(text, 1, CUDA_ERROR_LAUNCH_FAILED,
           "thread 5, line 7 (y[threadIdx.x] = s[threadIdx.x];): reads shared memory that nobody "
           "wrote",
           false);
    right(EXCHANGE("NPC_SYNC()", "NPC_SYNC()", "NPC_SYNC()"), 1);
    setenv("NPC_SIM_CHECK", "1", 1);
}

static CUresult run_on_fresh_memory(const void *unused)
{
    (void)unused;
    SimKernels k = compile(WRONG("y[threadIdx.x] = x[threadIdx.x];\n"));
    void *x = sim_alloc(sim, BYTES), *y = sim_alloc(sim, BYTES);
    sim_check(CALL(cuMemsetD8_v2)((size_t)x, 0, 40), "cuMemsetD8");
    return sim_try_launch(sim, k, "wrong", 1, 32, (void *[]){x, y}, 2);
}

static void memory_has_to_be_written_before(void **state)
{
    (void)state;
    static char said[1 << 16];
    setenv("NPC_SIM_CHECK", "2", 1);
    assert_int_not_equal(in_child(run_on_fresh_memory, NULL, said, sizeof said), 0);
    assert_non_null(strstr(said, "reads memory that nobody wrote"));
    setenv("NPC_SIM_CHECK", "1", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barriers_order_a_block),
        cmocka_unit_test(shuffles_order_nothing),
        cmocka_unit_test(nothing_orders_blocks),
        cmocka_unit_test(bounds_have_lines),
        cmocka_unit_test(reads_of_nothing_are_found_when_asked_for),
        cmocka_unit_test(memory_has_to_be_written_before),
    };
    if (SANITIZED) {
        puts("skipped: accesses are checked by the address sanitizer here");
        return 77;
    }
    setenv("NPC_SIM_CHECK", "1", 1);
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
