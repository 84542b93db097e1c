/* Runs many random tile programs on every target that this machine has and compares them with the
 * interpreter. */
#ifndef NPC_TESTS_CODEGEN_CHECK_H
#define NPC_TESTS_CODEGEN_CHECK_H

#include "tests/ops/random_attention.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A random program for a target, with a batch axis or none; `terms`: the longest sum. */
typedef TileProgram *(*RandomProgram)(Arena *arena, Random *r, int lanes, int64_t *terms);

static inline void fail_with_program(const TileProgram *p, const char *target, int64_t b0,
                                     int64_t b1, double difference, double tolerance)
{
    Arena arena = {0};
    Text t = {.arena = &arena};
    tile_print(&t, p, false);
    print_error("%s [%lld, %lld): difference %g, allowed %g\n%s", target, (long long)b0,
                (long long)b1, difference, tolerance, text_str(&t));
    arena_free(&arena);
    fail();
}

static inline void check_program(const TileProgram *p, const Kernel *k, const char *target,
                                 Random *r, int64_t terms)
{
    TileRange range = {0, 0};
    if (p->batch_axis >= 0) {
        int64_t n = p->axes.at[p->batch_axis].size;
        range.b0 = pick(r, 2) ? 0 : pick(r, n);
        range.b1 = pick(r, 2) ? n : range.b0 + 1 + pick(r, n - range.b0);
    }
    uint64_t seed = (uint64_t)pick(r, 1 << 30);
    TileData expected = tile_data(p, seed), found = tile_data(p, seed), again = tile_data(p, seed);
    const TileData *const data[] = {&expected, &found, &again};
    for (int i = 0; i < 3; i++)
        attention_label(p, (void *const *)data[i]->tensor);
    tile_eval(p, (void *const *)expected.tensor, range);
    tile_run(k, &found, range, false);
    tile_run(k, &again, range, true);
    /* inputs are below 1: rounding of a sum of that many terms, doubled, and of a few functions */
    double tolerance = 2e-6 * (4 + (double)terms);
    double d = tile_difference(p, &found, &expected);
    if (d > tolerance)
        fail_with_program(p, target, range.b0, range.b1, d, tolerance);
    if (tile_difference(p, &again, &found) != 0)
        fail_with_program(p, "the order of tasks", range.b0, range.b1, 1, 0);
    tile_data_free(&expected);
    tile_data_free(&found);
    tile_data_free(&again);
}

static inline void check_random_programs(RandomProgram make, int n, uint64_t seed)
{
    static const char *const name[] = {"generic", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        Target target;
        Err err = {0};
        Arena arena = {0};
        Random r = {seed + (uint64_t)i};
        KernelSet *set;
        if (!target_find(name[i], &target, &err))
            continue;
        const TileProgram **programs = ARENA_ARRAY(&arena, const TileProgram *, (size_t)n);
        int64_t *terms = ARENA_ARRAY(&arena, int64_t, (size_t)n);
        for (int k = 0; k < n; k++) {
            TileProgram *p = make(&arena, &r, target.lanes, &terms[k]);
            const char *problem = tile_verify(p, &arena);
            if (problem)
                fail_msg("program %d: %s", k, problem);
            programs[k] = p;
        }
        KernelSetOptions options = {.target = &target, .n_threads = 2};
        if (kernel_set_compile(&set, programs, n, &options, &err) != NPC_OK)
            fail_msg("%s", err.text);
        for (int k = 0; k < n; k++)
            check_program(programs[k], kernel_set_get(set, k), name[i], &r, terms[k]);
        kernel_set_free(set);
        arena_free(&arena);
    }
}

#endif
