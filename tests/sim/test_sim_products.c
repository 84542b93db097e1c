/* Products as CUDA kernels, on the simulator, against the interpreter: random shapes, layouts,
 * prologues, epilogues and session ranges, in every math and storage. */
#include "tests/ops/random_products.h"
#include "tests/sim/sim_tile.h"

typedef TileProgram *(*Make)(Arena *arena, Random *r, const ProductStyle *style, int64_t *terms);

/* Large enough for tiles, most of them; and odd. */
static ProductStyle channels_last(void)
{
    static const int64_t channels[] = {33, 40, 64, 65, 72, 96, 128, 130, 160, 200};
    static const int64_t sizes[] = {1, 2, 5, 7, 13};
    static const int64_t rows[] = {5, 40, 130, 260, 520, 600};
    return (ProductStyle){.lanes = 1,
                          .channels_last = true,
                          .reductions = true,
                          .pairs = true,
                          .n_channels = 10,
                          .n_sizes = 5,
                          .n_rows = 6,
                          .channels = channels,
                          .sizes = sizes,
                          .rows = rows};
}

/* Any math, activations (tensors of several axes, read or written with what varies most) in fewer
 * bits, and a recording's range. */
static void make_precise(TileProgram *p, Random *r)
{
    p->math = (MathMode)pick(r, MATH_COUNT);
    Storage type = p->math == MATH_BF16 ? STORAGE_BF16 : STORAGE_F16;
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        TileLayout *l = &p->tensors.at[i].layout;
        if ((p->math == MATH_BF16 || p->math == MATH_F16) && l->shape.rank > 1 && pick(r, 3))
            l->type = type;
    }
    p->session = p->batch_axis >= 0 && pick(r, 2) ? 0 : -1;
}

/* How often programs were computed in a way. */
typedef struct Counts {
    int tiles, dots, pairs, joint, points;
} Counts;

static void count(Counts *n, const char *kind)
{
    int *of = !strcmp(kind, "tiles")   ? &n->tiles
              : !strcmp(kind, "dots")  ? &n->dots
              : !strcmp(kind, "pairs") ? &n->pairs
              : !strcmp(kind, "joint") ? &n->joint
                                       : &n->points;
    ++*of;
}

/* Those on the general schedule are run by tests of their own. */
static Counts check(Make make, int n, uint64_t seed)
{
    ProductStyle style = channels_last();
    Random r = {seed};
    Counts counts = {0};
    const char *only = getenv("NPC_TEST_ONLY");
    for (int i = 0; i < n; i++) {
        Arena arena = {0};
        int64_t terms;
        TileProgram *p = make(&arena, &r, &style, &terms);
        make_precise(p, &r);
        const char *problem = tile_verify(p, &arena);
        if (problem)
            fail_msg("program %d: %s", i, problem);
        const char *kind = cuda_schedule(p).name;
        count(&counts, kind);
        Random mine = {r.state + (uint64_t)i};
        if (only ? atoi(only) == i : strcmp(kind, "points") != 0)
            sim_tile_check(p, &mine, terms);
        arena_free(&arena);
    }
    print_message("%d as tiles, %d as dots, %d as pairs, %d jointly, %d as points\n", counts.tiles,
                  counts.dots, counts.pairs, counts.joint, counts.points);
    return counts;
}

static void pointwise_convolutions_equal_the_interpreter(void **state)
{
    (void)state;
    Counts n = check(random_conv, 30, 1);
    assert_true(n.tiles >= 6 && n.pairs >= 3 && n.dots >= 2);
}

static void weight_gradients_equal_the_interpreter(void **state)
{
    (void)state;
    Counts n = check(random_weight_gradient, 30, 2);
    assert_true(n.tiles >= 6 && n.dots >= 2);
}

static void plain_matrices_equal_the_interpreter(void **state)
{
    (void)state;
    Counts n = check(random_matrices, 24, 3);
    assert_true(n.tiles >= 3 && n.dots >= 3);
}

#ifndef MORE_TESTS
#define MORE_TESTS
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointwise_convolutions_equal_the_interpreter),
        cmocka_unit_test(weight_gradients_equal_the_interpreter),
        cmocka_unit_test(plain_matrices_equal_the_interpreter), MORE_TESTS};
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
