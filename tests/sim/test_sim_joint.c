/* Both gradients of a product by one kernel, on the simulator, against the interpreter: random
 * shapes, codes of all three factors, results behind the anchor and sums of them. Cut as for a
 * device that five blocks fill, so that blocks walk and slots are added. */
#define CONTRACT_FULL_DEVICE 1
#define CONTRACT_LARGE 4096
#include "codegen/cuda_contract.c"

#include "tests/sim/sim_tile.h"

static void in_16_bits(TileProgram *p, Random *r)
{
    Storage type = pick(r, 3) ? STORAGE_BF16 : STORAGE_F16;
    p->math = type == STORAGE_BF16 ? MATH_BF16 : MATH_F16;
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        TileLayout *l = &p->tensors.at[i].layout;
        if (l->shape.rank > 3)
            l->type = type;
    }
}

/* dx[b, h, w, n] = sum over k of dz[b, h, w, k] w[k, n], and dw[k, n] */
static TileProgram *random_joint(Arena *arena, Random *r, int64_t *terms)
{
    static const int64_t ks[] = {24, 64, 72, 128, 200, 264, 448, 512};
    static const int64_t ns[] = {8, 40, 64, 72, 136};
    static const int64_t sizes[] = {7, 13, 16};
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    tile_axis(&b, "b", 2 + pick(r, 3), TILE_PARALLEL);
    tile_axis(&b, "h", pick_of(r, sizes, 3) * 2, TILE_PARALLEL);
    tile_axis(&b, "w", pick_of(r, sizes, 3), TILE_PARALLEL);
    tile_axis(&b, "n", pick_of(r, ns, 5), TILE_PARALLEL);
    int64_t k = pick_of(r, ks, 8);
    tile_axis(&b, "k", k, TILE_REDUCE);
    b.p->batch_axis = pick(r, 2) ? 0 : -1;
    *terms = k + 2000;

    int z = tile_load(&b, "bhwk", 1);
    if (pick(r, 2))
        z = tile_norm_silu(&b, z, "k");
    if (pick(r, 2)) {
        int other = tile_prim(&b, PRIM_MUL, tile_load(&b, "bhwk", 1), tile_load(&b, "b", 1));
        z = tile_prim(&b, PRIM_SUB, z, other);
    }
    if (pick(r, 3) == 0)
        z = tile_prim(&b, PRIM_MUL, z, tile_load(&b, "bk", 1));
    int w = tile_load(&b, pick(r, 2) ? "kn" : "nk", 1);
    if (pick(r, 2))
        w = tile_prim(&b, PRIM_MUL, w, tile_load(&b, "k", 1));
    b.p->lhs = z;
    b.p->rhs = w;

    int x = tile_load(&b, "bhwn", 1), first = x;
    if (pick(r, 2))
        x = tile_norm_silu(&b, x, "n");
    if (pick(r, 3) == 0)
        x = tile_prim(&b, PRIM_ADD, x, tile_load(&b, "hn", 1));
    if (pick(r, 3) == 0)
        x = tile_prim(&b, PRIM_MUL, x, tile_load(&b, "bn", 1));
    if (pick(r, 4) == 0)
        x = tile_prim(&b, PRIM_ADD, x, tile_load(&b, "bhwn", 1));
    int y = tile_acc(&b);
    if (pick(r, 2))
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, "bhwn", 1));
    tile_store(&b, y, "bhwn", 1);
    if (pick(r, 2)) {
        int product = tile_prim(&b, PRIM_MUL, y, first);
        const char *kept = pick(r, 2) ? "n" : "bn";
        tile_reduce(&b, TILE_SUM, y, kept, tile_mean_factor(&b, kept));
        tile_reduce(&b, pick(r, 2) ? TILE_SUM : TILE_VARIANCE, product, kept,
                    tile_mean_factor(&b, kept));
    }
    tile_reduce(&b, TILE_PAIR_SUM, x, pick(r, 2) ? "kn" : "nk", pick(r, 2) ? 1 : 0.1);
    in_16_bits(b.p, r);
    return b.p;
}

static void both_gradients_equal_the_interpreter(void **state)
{
    Random r = {5};
    int joint = 0, groups = 0, walks = 0, sums = 0, large = 0;
    const char *only = getenv("NPC_TEST_ONLY");
    (void)state;
    for (int i = 0; i < 16; i++) {
        Arena arena = {0};
        int64_t terms;
        TileProgram *p = random_joint(&arena, &r, &terms);
        const char *problem = tile_verify(p, &arena);
        if (problem)
            fail_msg("program %d: %s", i, problem);
        Random mine = {r.state + (uint64_t)i};
        if (strcmp(cuda_schedule(p).name, "joint") == 0) {
            CudaContract c;
            const TileReduction *last = &p->reductions.at[p->reductions.len - 1];
            assert_true(contract_plan_joint(&c, cuda_without_pairs(&arena, p), last->inst));
            joint++;
            groups += c.g.elems > 1;
            walks += c.walk > 1 && c.walks > 1;
            sums += c.sums.n > 0;
            large += c.steps > 8;
            if (only ? atoi(only) == i : true)
                sim_tile_check(p, &mine, terms);
        }
        arena_free(&arena);
    }
    print_message("%d jointly: %d in groups, %d walk, %d with sums, %d with long k\n", joint,
                  groups, walks, sums, large);
    assert_true(joint >= 10 && groups >= 2 && walks >= 5 && sums >= 4 && large >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_gradients_equal_the_interpreter)};
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
