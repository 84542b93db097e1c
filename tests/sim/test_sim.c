/* The simulator runs kernels written by hand as a GPU would. */
#include "tests/sim/sim_test.h"

#include "ir/storage.h"

static void neighbours_are_loaded_at_once(void **state)
{
    (void)state;
    enum { N = 1000 };
    static float x[N], y[N];
    SimKernels k = compile("NPC_KERNEL(64) scale(const float *__restrict__ x, float *y)\n"
                           "{\n"
                           "    int i = (int)(blockIdx.x * 64 + threadIdx.x) * 4;\n"
                           "    float v[4];\n"
                           "    if (i < 1000) {\n"
                           "        npc_load4_f32(v, x + i);\n"
                           "        for (int j = 0; j < 4; j++)\n"
                           "            v[j] = v[j] * 2.0f + 1.0f;\n"
                           "        npc_store4_f32(y + i, v);\n"
                           "    }\n"
                           "}\n");
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    void *a = sim_upload(sim, x, sizeof x), *b = sim_alloc(sim, sizeof y);
    sim_launch(sim, k, "scale", 4, 64, (void *[]){a, b}, 2);
    sim_download(sim, y, b, sizeof y);
    for (int i = 0; i < N; i++)
        assert_true(y[i] == (float)i * 2 + 1);
    sim_free_all(sim);
    sim_unload(sim, k);
}

/* Sums of 1000 numbers by blocks of 96 threads: lanes by shuffles, warps through shared memory. */
#define BLOCK_SUM(barrier)                                                                         \
    "NPC_DEVICE float warp_sum(float x)\n"                                                         \
    "{\n"                                                                                          \
    "    for (int d = 16; d; d /= 2)\n"                                                            \
    "        x += NPC_SHUFFLE_DOWN(x, d);\n"                                                       \
    "    return x;\n"                                                                              \
    "}\n"                                                                                          \
    "NPC_KERNEL(96) block_sum(const float *x, float *y)\n"                                         \
    "{\n"                                                                                          \
    "    NPC_SHARED float part[3];\n"                                                              \
    "    float sum = 0.0f;\n"                                                                      \
    "    for (int i = (int)threadIdx.x; i < 1000; i += 96)\n"                                      \
    "        sum += x[(int)blockIdx.x * 1000 + i];\n"                                              \
    "    sum = warp_sum(sum);\n"                                                                   \
    "    if (threadIdx.x % 32 == 0)\n"                                                             \
    "        part[threadIdx.x / 32] = sum;\n"                                                      \
    "    " barrier ";\n"                                                                           \
    "    if (threadIdx.x == 0)\n"                                                                  \
    "        y[blockIdx.x] = part[0] + part[1] + part[2];\n"                                       \
    "}\n"

enum { SUM_BLOCKS = 7 };

static bool block_sums_are_right(const char *text)
{
    static float x[SUM_BLOCKS * 1000];
    float y[SUM_BLOCKS];
    bool right = true;
    SimKernels k = compile(text);
    for (int i = 0; i < SUM_BLOCKS * 1000; i++)
        x[i] = (float)(i % 17);
    void *a = sim_upload(sim, x, sizeof x), *b = sim_alloc(sim, sizeof y);
    sim_launch(sim, k, "block_sum", SUM_BLOCKS, 96, (void *[]){a, b}, 2);
    sim_download(sim, y, b, sizeof y);
    for (int i = 0; i < SUM_BLOCKS; i++) {
        float sum = 0;
        for (int j = 0; j < 1000; j++)
            sum += x[i * 1000 + j];
        right &= y[i] == sum;
    }
    sim_free_all(sim);
    sim_unload(sim, k);
    return right;
}

static void blocks_sum_through_shuffles_and_shared_memory(void **state)
{
    (void)state;
    assert_true(block_sums_are_right(BLOCK_SUM("NPC_SYNC()")));
}

static void a_missing_barrier_gives_wrong_sums(void **state)
{
    (void)state;
    assert_false(block_sums_are_right(BLOCK_SUM("(void)0")));
}

/* d[16, 8] += a[16, k] b[8, k] of one warp, k = 16 (two to a register) or 8. */
#define MMA(type, number, k, pack)                                                                 \
    "NPC_KERNEL(32) product_" type "(const " number " *a, const " number " *b, float *d)\n"        \
    "{\n"                                                                                          \
    "    int group = (int)threadIdx.x / 4, pair = (int)threadIdx.x % 4;\n"                         \
    "    uint32_t u[4], v[2];\n"                                                                   \
    "    float s[4];\n"                                                                            \
    "    for (int i = 0; i < 4; i++) {\n"                                                          \
    "        int row = group + i % 2 * 8, k = i / 2 * " k " / 2;\n"                                \
    "        u[i] = " pack(                                                                        \
        "a", "row", k) ";\n"                                                                       \
                       "        s[i] = d[(group + i / 2 * 8) * 8 + 2 * pair + i % 2];\n"           \
                       "    }\n"                                                                   \
                       "    for (int i = 0; i < 2; i++) {\n"                                       \
                       "        int k = i * " k " / 2;\n"                                          \
                       "        v[i] = " pack(                                                     \
                           "b", "group",                                                           \
                           k) ";\n"                                                                \
                              "    }\n"                                                            \
                              "    npc_mma_" type "(s, u, v);\n"                                   \
                              "    for (int i = 0; i < 4; i++)\n"                                  \
                              "        d[(group + i / 2 * 8) * 8 + 2 * pair + i % 2] = s[i];\n"    \
                              "}\n"
#define PACK_16(from, row, k)                                                                      \
    from "[" row " * " k " + k + 2 * pair] | (uint32_t)" from "[" row " * " k                      \
         " + k + 2 * pair + 1] << 16"
#define PACK_32(from, row, k) "NPC_FLOAT_BITS(" from "[" row " * " k " + k + pair])"

static void check_product(SimKernels kernels, const char *name, MathMode math, int n_k)
{
    float a[16 * 16], b[8 * 16], d[16 * 8], expected[16 * 8];
    uint16_t a16[16 * 16], b16[8 * 16];
    uint64_t random = 5;
    bool narrow = math != MATH_TF32;
    Storage s = math == MATH_BF16 ? STORAGE_BF16 : STORAGE_F16;
    for (int i = 0; i < 16 * n_k; i++) {
        a[i] = math_round(math, random_float(&random));
        storage_write(a16, s, i, a[i]);
    }
    for (int i = 0; i < 8 * n_k; i++) {
        b[i] = math_round(math, random_float(&random));
        storage_write(b16, s, i, b[i]);
    }
    for (int i = 0; i < 16 * 8; i++) {
        double sum = (double)(d[i] = random_float(&random));
        for (int k = 0; k < n_k; k++)
            sum += (double)a[i / 8 * n_k + k] * (double)b[i % 8 * n_k + k];
        expected[i] = (float)sum;
    }
    size_t width = narrow ? 2 : 4, n_a = 16 * (size_t)n_k * width, n_b = 8 * (size_t)n_k * width;
    void *u = sim_upload(sim, narrow ? (void *)a16 : a, n_a);
    void *v = sim_upload(sim, narrow ? (void *)b16 : b, n_b), *w = sim_upload(sim, d, sizeof d);
    sim_launch(sim, kernels, name, 1, 32, (void *[]){u, v, w}, 3);
    sim_download(sim, d, w, sizeof d);
    for (int i = 0; i < 16 * 8; i++)
        assert_true(fabsf(d[i] - expected[i]) < 17 * 0x1p-22f); /* 17 roundings of sums below 8 */
    sim_free_all(sim);
}

static void fragments_multiply_as_a_plain_loop_does(void **state)
{
    (void)state;
    SimKernels k = compile(MMA("bf16", "uint16_t", "16", PACK_16) MMA(
        "f16", "uint16_t", "16", PACK_16) MMA("tf32", "float", "8", PACK_32));
    check_product(k, "product_bf16", MATH_BF16, 16);
    check_product(k, "product_f16", MATH_F16, 16);
    check_product(k, "product_tf32", MATH_TF32, 8);
    sim_unload(sim, k);
}

/* Is `name` a word of the text? */
static bool has_word(const char *text, const char *name, size_t len)
{
    for (const char *at = text; (at = strstr(at, name)); at++)
        if (!strchr("_", at[-1]) && !strchr("_abcdefghijklmnopqrstuvwxyz0123456789", at[len]))
            return true;
    return false;
}

static void the_host_has_what_the_preludes_first_section_defines(void **state)
{
    (void)state;
    static char host[1 << 16], name[64];
    FILE *f = fopen("tests/sim/sim_device.h", "r");
    assert_non_null(f);
    host[fread(host, 1, sizeof host - 1, f)] = 0;
    fclose(f);
    const char *end = strstr(cuda_prelude, "the rest is the same on host and device");
    int n = 0;
    assert_non_null(end);
    for (const char *line = cuda_prelude; line < end; line += strcspn(line, "\n") + 1) {
        const char *at = NULL;
        if (!strncmp(line, "#define ", 8))
            at = line + 8;
        else if (!strncmp(line, "NPC_DEVICE ", 11))
            at = strstr(line, "npc_");
        if (!at)
            continue;
        size_t len = strspn(at, "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        /* have defaults; stand behind the macros of that name */
        bool is_optional = strstr(name, "UNROLL") || strstr(name, "_fast");
        if (!is_optional && !has_word(host, name, len))
            fail_msg("tests/sim/sim_device.h does not define %s", name);
        n++;
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_loaded_at_once),
        cmocka_unit_test(blocks_sum_through_shuffles_and_shared_memory),
        cmocka_unit_test(a_missing_barrier_gives_wrong_sums),
        cmocka_unit_test(fragments_multiply_as_a_plain_loop_does),
        cmocka_unit_test(the_host_has_what_the_preludes_first_section_defines),
    };
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
