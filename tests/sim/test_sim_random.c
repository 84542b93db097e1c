/* Masks and noise of codegen/cuda_random.cuh on the simulator: the bits of data/random_fill.c,
 * for odd sizes, several blocks, large seeds and steps; and nothing where none are wanted. */
#include "tests/sim/sim_test.h"

#include "data/random_fill.h"

enum { MOST = 5000, THREADS = 256 };

typedef struct Numbers {
    uint64_t seed, stream, step;
    float rate;
    size_t n;
} Numbers;

static const Numbers CASE[] = {{1, 2, 0, 0.5f, 1},
                               {7, 0xfedcba9876543210u, 1, 0.1f, 5},
                               {0x123456789abcdef0u, 0xffffffffu, 123456, 0.25f, 1023},
                               {UINT64_MAX, 1u << 31, UINT32_MAX, 0.9f, 4099},
                               {3, UINT64_MAX, (1u << 30) + 1, 0, MOST}};
enum { CASES = sizeof CASE / sizeof *CASE };

static void draw(SimKernels k, const char *name, const Numbers *of, bool is_wanted, void *out)
{
    CUfunction f;
    uint32_t draw[] = {is_wanted, (uint32_t)of->step, (uint32_t)of->seed,
                       (uint32_t)(of->seed >> 32)};
    void *at = out, *from = sim_upload(sim, draw, sizeof draw);
    unsigned long long n = of->n;
    uint32_t low = (uint32_t)of->stream, high = (uint32_t)(of->stream >> 32);
    float rate = of->rate;
    void *params[] = {&at, &n, &low, &high, &rate, &from};
    unsigned blocks = (unsigned)((n + 4 * THREADS - 1) / (4 * THREADS));
    sim_check(sim->get_function(&f, k, name), name);
    sim_check(sim->launch(f, blocks, 1, 1, THREADS, 1, 1, 0, NULL, params, NULL), name);
    sim_check(sim->synchronize(), name);
}

/* All of `want`, and nothing behind it; nothing at all where no numbers are wanted. */
static void compare(SimKernels k, const char *name, const Numbers *c, const void *want,
                    size_t bytes, bool is_wanted)
{
    static uint8_t got[4 * MOST + 16], untouched[4 * MOST + 16];
    memset(untouched, 0xa5, sizeof untouched);
    void *at = sim_upload(sim, untouched, bytes + 16);
    draw(k, name, c, is_wanted, at);
    sim_download(sim, got, at, bytes + 16);
    assert_memory_equal(got, is_wanted ? want : untouched, bytes);
    assert_memory_equal(got + bytes, untouched, 16);
    sim_free_all(sim);
}

static void masks_have_the_hosts_bits(void **state)
{
    (void)state;
    static uint8_t want[MOST];
    SimKernels k = compile(cuda_random);
    for (int i = 0; i < CASES; i++) {
        const Numbers *c = &CASE[i];
        mask_fill(c->seed, c->stream, (int64_t)(c->step << 32), (int64_t)c->n, (double)c->rate,
                  want);
        compare(k, "npc_draw_mask", c, want, c->n, true);
        compare(k, "npc_draw_mask", c, want, c->n, false);
    }
    sim_unload(sim, k);
}

static void noise_has_the_hosts_bits(void **state)
{
    (void)state;
    static float want[MOST];
    SimKernels k = compile(cuda_random);
    for (int i = 0; i < CASES; i++) {
        const Numbers *c = &CASE[i];
        normal_fill(c->seed, c->stream, (int64_t)(c->step << 32), (int64_t)c->n, 0, 1, want);
        compare(k, "npc_draw_noise", c, want, c->n * sizeof *want, true);
        compare(k, "npc_draw_noise", c, want, c->n * sizeof *want, false);
    }
    sim_unload(sim, k);
}

static void bytes_are_the_hosts(void **state)
{
    (void)state;
    static uint8_t want[MOST];
    SimKernels k = compile(cuda_random);
    for (int i = 0; i < CASES; i++) {
        const Numbers *c = &CASE[i];
        bytes_fill(c->seed, c->stream, (int64_t)(c->step << 32), (int64_t)c->n, want);
        compare(k, "npc_draw_bytes", c, want, c->n, true);
        compare(k, "npc_draw_bytes", c, want, c->n, false);
    }
    sim_unload(sim, k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_have_the_hosts_bits),
        cmocka_unit_test(noise_has_the_hosts_bits),
        cmocka_unit_test(bytes_are_the_hosts),
    };
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
