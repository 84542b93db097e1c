/* The special schedules of the CUDA generator on the simulated GPU against the interpreter: random
 * programs, ranges of recordings, 16-bit storage.
 *
 *     test_cuda_schedules [seed] [programs of each kind] */
#include "codegen/cuda.h"
#include "tests/ops/dropped_weights.h"
#include "tests/ops/random_stencils.h"
#include "tests/ops/random_tiles.h"
#include "tests/sim/sim_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t first_seed = 1;
static int n_programs = 24;

typedef struct Drawer {
    Arena *arena;
    Random random;
    Dice dice;
    int64_t terms; /* of the program's longest sum */
} Drawer;

typedef TileProgram *(*MakeProgram)(Drawer *s);

/* ---- storage ---- */

/* Random bytes of attention; other bytes are masks. */
static bool has_bytes(const TileLayout *l)
{
    return l->shape.rank > 0 && !strcmp(l->shape.name[l->shape.rank - 1], "r");
}

/* Masks are only read: what goes with them is float32. */
static void set_types(TileProgram *p, Storage type)
{
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        TileLayout *l = &p->tensors.at[i].layout;
        l->lane = -1;
        l->lanes = 1;
        if (l->shape.rank >= 3 && !has_bytes(l))
            l->type = type == STORAGE_U8 && p->tensors.at[i].is_output ? STORAGE_F32 : type;
    }
}

static unsigned char *new_storage(const TileTensor *t, Random *r)
{
    size_t bytes = tile_layout_bytes(&t->layout);
    unsigned char *at = malloc(bytes);

    memset(at, 0xff, bytes);
    for (int64_t i = 0; !t->is_output && i < tile_layout_elems(&t->layout); i++)
        storage_write(at, t->layout.type, i,
                      t->layout.type == STORAGE_U8 ? (float)pick(r, has_bytes(&t->layout) ? 256 : 2)
                                                   : (float)pick(r, 1 << 24) / (1 << 23) - 1);
    return at;
}

/* A unit in the last place of what is stored, since numbers that hardly differ may be rounded to
 * either side; else rounding of sums of that many terms below 1 and of a few functions. */
static double tolerance(const TileLayout *l, int64_t terms)
{
    double sums = 2e-6 * (4 + (double)terms);
    double rounding = l->type == STORAGE_BF16 ? 1.0 / 128 : l->type == STORAGE_F16 ? 1.0 / 1024 : 0;

    return rounding > sums ? rounding : sums;
}

/* Largest difference as a share of what is allowed. */
static double difference(const TileLayout *l, const void *found, const void *expected,
                         int64_t terms)
{
    double worst = 0;

    for (int64_t i = 0; i < tile_layout_elems(l); i++) {
        double x = (double)storage_read(found, l->type, i);
        double y = (double)storage_read(expected, l->type, i);
        double d = isnan(x) && isnan(y) ? 0 : fabs(x - y) / (1 + fabs(y)) / tolerance(l, terms);
        if (!(d <= worst))
            worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

/* ---- running ---- */

static TileRange random_range(const TileProgram *p, Random *r)
{
    TileRange range = {0, 0};

    if (p->batch_axis < 0)
        return range;
    int64_t n = p->axes.at[p->batch_axis].size;
    range.b1 = n;
    if (p->session >= 0) {
        range.b0 = pick(r, 2) ? 0 : pick(r, n);
        range.b1 = pick(r, 2) ? n : range.b0 + pick(r, n - range.b0 + 1);
    }
    return range;
}

static double run_and_compare(SimRun *sim, SimKernels kernels, const TileProgram *p,
                              const char *symbol, TileRange range, Drawer *s)
{
    CudaSchedule schedule = cuda_schedule(p);
    int n = (int)p->tensors.len, b[2] = {(int)range.b0, (int)range.b1};
    void **args = ARENA_ARRAY(s->arena, void *, p->tensors.len + 2);
    void **expected = ARENA_ARRAY(s->arena, void *, p->tensors.len);
    double worst = 0;

    for (int i = 0; i < n; i++)
        expected[i] = new_storage(&p->tensors.at[i], &s->random);
    attention_label(p, expected);
    for (int i = 0; i < n; i++)
        args[i] = sim_upload(sim, expected[i], tile_layout_bytes(&p->tensors.at[i].layout));
    args[n] = sim_alloc(sim, schedule.workspace_bytes);
    args[n + 1] = sim_upload(sim, b, sizeof b);
    for (int i = 0; i < schedule.n_phases; i++)
        sim_launch(sim, kernels, arena_printf(s->arena, "%s_%d", symbol, i),
                   schedule.phase[i].blocks, schedule.phase[i].threads, args, n + 2);
    if (p->session < 0 || range.b0 < range.b1)
        tile_eval(p, expected, range);
    for (int i = 0; i < n; i++) {
        const TileLayout *l = &p->tensors.at[i].layout;
        unsigned char *found = malloc(tile_layout_bytes(l));
        sim_download(sim, found, args[i], tile_layout_bytes(l));
        double d = difference(l, found, expected[i], s->terms);
        worst = d > worst ? d : worst;
        free(found);
        free(expected[i]);
    }
    sim_free_all(sim);
    return worst;
}

/* Programs that are computed as `kind`; others are passed over. */
static void check(MakeProgram make, const char *kind, int n)
{
    static SimRun *sim;
    Arena arena = {0};
    Drawer s = {&arena, {first_seed}, {first_seed}, 1};
    TileProgram **programs = ARENA_ARRAY(&arena, TileProgram *, (size_t)n);
    int64_t *terms = ARENA_ARRAY(&arena, int64_t, (size_t)n);
    Text text = {.arena = &arena};
    int made = 0;

    if (!sim)
        sim = sim_open();
    text_add(&text, cuda_prelude);
    for (int tries = 0; made < n && tries < 20 * n; tries++) {
        TileProgram *p = make(&s);
        const char *problem = tile_verify(p, &arena);
        if (problem)
            fail_msg("%s", problem);
        if (strcmp(cuda_schedule(p).name, kind))
            continue;
        cuda_write(&text, p, arena_printf(&arena, "k%d", made));
        terms[made] = s.terms;
        programs[made++] = p;
    }
    assert_int_equal(made, n);
    SimKernels kernels = sim_compile(sim, text_str(&text));
    for (int i = 0; i < n; i++) {
        TileRange range = random_range(programs[i], &s.random);
        s.terms = terms[i];
        double d =
            run_and_compare(sim, kernels, programs[i], arena_printf(&arena, "k%d", i), range, &s);
        if (d > 1) {
            Text t = {.arena = &arena};
            tile_print(&t, programs[i], false);
            fail_msg("k%d as %s is off by %g of what is allowed, range %lld..%lld:\n%s", i, kind, d,
                     (long long)range.b0, (long long)range.b1, text_str(&t));
        }
    }
    sim_unload(sim, kernels);
    arena_free(&arena);
}

/* ---- programs ---- */

static Storage random_storage(Drawer *s)
{
    return (Storage)pick(&s->random, STORAGE_COUNT);
}

static TileProgram *make_map(Drawer *s)
{
    TileProgram *p = random_map(s->arena, &s->dice, 1);

    s->terms = 10; /* sums have factors that make them means */
    set_types(p, random_storage(s));
    return p;
}

static TileProgram *make_wide(Drawer *s)
{
    TileProgram *p = random_wide(s->arena, &s->dice, 1);

    s->terms = p->axes.at[0].size;
    set_types(p, random_storage(s));
    return p;
}

/* A batch norm's sums, or a loss, over channels last. */
static TileProgram *make_pixels(Drawer *s)
{
    static const int64_t channels[] = {8, 24, 40, 64, 72, 120, 12, 5};
    static const char *const results[] = {"c", "", "b", "bc", "h", "hc", "bh", "ch"};
    TileBuild b = tile_build(s->arena, TILE_MAP);
    Random *r = &s->random;

    b.p->batch_axis = tile_axis(&b, "b", 1 + pick(r, 5), TILE_PARALLEL);
    b.p->session = (int)pick(r, 2) - 1;
    tile_axis(&b, "h", 1 + pick(r, 30), TILE_PARALLEL);
    tile_axis(&b, "w", 1 + pick(r, 30), TILE_PARALLEL);
    tile_axis(&b, "c", pick_of(r, channels, 8), TILE_PARALLEL);
    int y = tile_norm_silu(&b, tile_load(&b, "bhwc", 1), "c");
    if (pick(r, 2))
        y = tile_prim(&b, PRIM_ADD, y, tile_load(&b, "bhwc", 1));
    int z = tile_prim(&b, PRIM_MUL, y, tile_load(&b, pick(r, 2) ? "bc" : "hc", 1));
    if (pick(r, 2))
        tile_store(&b, y, "bhwc", 1);
    for (int i = 1 + (int)pick(r, 3); i > 0; i--) {
        const char *axes = pick(r, 2) ? "c" : results[pick(r, 8)];
        int inst = pick(r, 2) ? y : z;
        tile_reduce(&b, TILE_SUM, inst, axes, tile_mean_factor(&b, axes));
        if (pick(r, 2))
            tile_reduce(&b, TILE_VARIANCE, inst, axes, 1);
    }
    s->terms = 10;
    set_types(b.p, random_storage(s));
    return b.p;
}

/* Depthwise convolutions with everything that may stand around them. */
static TileProgram *make_depthwise(Drawer *s)
{
    TileProgram *p = random_depthwise(s->arena, &s->random, 0, &s->terms);

    p->session = p->batch_axis >= 0 ? (int)pick(&s->random, 2) - 1 : -1;
    set_types(p, random_storage(s));
    return p;
}

static TileProgram *make_pair(Drawer *s)
{
    TileProgram *p = random_depthwise_pair(s->arena, &s->random, 0, &s->terms);

    p->session = p->batch_axis >= 0 ? (int)pick(&s->random, 2) - 1 : -1;
    set_types(p, random_storage(s));
    return p;
}

static TileProgram *make_depthwise_dw(Drawer *s)
{
    TileProgram *p = random_depthwise_dw(s->arena, &s->random, 0, &s->terms);

    p->session = (int)pick(&s->random, 2) - 1;
    set_types(p, random_storage(s));
    return p;
}

/* 3 x 3 taps over planes that are wider than a block, or more than there are blocks. */
static TileProgram *planes(Drawer *s, bool wide)
{
    TileBuild b = tile_build(s->arena, TILE_STENCIL);
    Random *r = &s->random;
    bool transposed = pick(r, 2);
    int64_t stride = 1 + pick(r, 2), h = wide ? 2 + pick(r, 4) : 2, w = wide ? 60 + pick(r, 90) : 3;
    int64_t h2 = (h - 1) / stride + 1, w2 = (w - 1) / stride + 1; /* pad 1 */

    b.p->batch_axis = tile_axis(&b, "b", wide ? 2 : 40, TILE_PARALLEL);
    tile_axis(&b, "t", wide ? 1 : 60 + pick(r, 9), TILE_PARALLEL);
    int y = tile_axis(&b, "h", transposed ? h : h2, TILE_PARALLEL);
    int x = tile_axis(&b, "w", transposed ? w : w2, TILE_PARALLEL);
    tile_axis(&b, "c", wide ? 8 + 8 * pick(r, 12) : 8, TILE_PARALLEL);
    int j = tile_axis(&b, "j", 3, TILE_REDUCE), k = tile_axis(&b, "k", 3, TILE_REDUCE);
    int v = tile_axis(&b, "v", transposed ? h2 : h, TILE_IN);
    int u = tile_axis(&b, "u", transposed ? w2 : w, TILE_IN);
    TileStencil rows = {y, j, v, stride, 1, 1, transposed},
                columns = {x, k, u, stride, 1, 1, transposed};
    vec_push(s->arena, &b.p->stencils, rows);
    vec_push(s->arena, &b.p->stencils, columns);
    b.p->lhs = tile_norm_silu(&b, tile_load(&b, "btvuc", 1), "c");
    b.p->rhs = tile_load(&b, "cjk", 1);
    int z = tile_acc(&b);
    tile_store(&b, z, "bthwc", 1);
    if (pick(r, 2)) {
        tile_reduce(&b, TILE_SUM, z, "c", tile_mean_factor(&b, "c"));
        tile_reduce(&b, TILE_VARIANCE, z, pick(r, 2) ? "c" : "bc", 1);
    }
    if (pick(r, 2))
        tile_reduce(&b, TILE_PAIR_SUM, tile_load(&b, "bthwc", 1), "cjk", 1e-2);
    s->terms = 100;
    set_types(b.p, random_storage(s));
    for (uint32_t i = 0; i < b.p->tensors.len; i++) /* weights and their gradient */
        if (b.p->tensors.at[i].layout.shape.size[1] == 3)
            b.p->tensors.at[i].layout.type = STORAGE_F32;
    return b.p;
}

static TileProgram *make_wide_planes(Drawer *s)
{
    return planes(s, true);
}

static TileProgram *make_many_planes(Drawer *s)
{
    return planes(s, false);
}

static void maps_with_sums_take_one_pass(void **state)
{
    (void)state;
    check(make_map, "map", n_programs);
    check(make_pixels, "map", n_programs);
}

static void sums_over_samples_of_large_tensors(void **state)
{
    (void)state;
    check(make_wide, "map", 2);
}

static void depthwise_convolutions_walk_rows(void **state)
{
    (void)state;
    check(make_depthwise, "stencil", n_programs);
}

static void planes_are_cut_into_columns_and_shared_out(void **state)
{
    (void)state;
    check(make_wide_planes, "stencil", 8);
    check(make_many_planes, "stencil", 2);
}

static void both_gradients_are_one_walk(void **state)
{
    (void)state;
    check(make_pair, "stencil", n_programs);
}

static TileProgram *make_attention(Drawer *s)
{
    bool back = pick(&s->random, 2);
    TileProgram *p = random_attention_of(s->arena, &s->random, back, &s->terms);

    p->session = (int)pick(&s->random, 2) - 1;
    set_types(p, random_storage(s));
    return p;
}

/* Heads so wide that tiles do not fit into shared memory. */
static TileProgram *make_wide_attention(Drawer *s)
{
    AttentionShape shape = {.samples = 2,
                            .heads = 1,
                            .n = 5,
                            .m = 9,
                            .d = 500,
                            .e = 330,
                            .back = pick(&s->random, 2),
                            .q = "band",
                            .k = "bamd",
                            .v = "bmae",
                            .y = "bane",
                            .l = "ban",
                            .bias = "anm",
                            .own = "bn",
                            .wanted = 15,
                            .drop = 0.25,
                            .bytes = "abr"};

    s->terms = 1000;
    return attention_program(s->arena, &shape);
}

/* More sequences than blocks that share a bias' gradient: a block takes two of some. */
static TileProgram *make_attention_of_many(Drawer *s)
{
    AttentionShape shape = {.samples = 700,
                            .heads = 1,
                            .n = 3,
                            .m = 5,
                            .d = 2,
                            .e = 3,
                            .back = true,
                            .q = "bnad",
                            .k = "bmad",
                            .v = "bmae",
                            .y = "bnae",
                            .l = "bna",
                            .bias = "nm",
                            .own = "n",
                            .wanted = 15,
                            .drop = 0.5 * (double)pick(&s->random, 2),
                            .bytes = "bar"};
    TileProgram *p = attention_program(s->arena, &shape);

    p->session = (int)pick(&s->random, 2) - 1;
    s->terms = 700;
    return p;
}

static TileProgram *make_scatter(Drawer *s)
{
    TileProgram *p = random_scatter(s->arena, &s->random, 1, &s->terms);

    p->session = (int)pick(&s->random, 2) - 1;
    set_types(p, random_storage(s));
    return p;
}

/* So many terms that they are sliced. Positions are inputs times a power of two, and so exact. */
static TileProgram *make_long_scatter(Drawer *s)
{
    static const int64_t positions[] = {1, 7, 127, 255, 4095};
    Random *r = &s->random;
    TileProgram *p =
        random_scatter_of(s->arena, r, 1100 + pick(r, 900), pick_of(r, positions, 5), 1, &s->terms);

    p->session = (int)pick(r, 2) - 1;
    set_types(p, random_storage(s));
    return p;
}

static void attention_goes_in_tiles(void **state)
{
    (void)state;
    check(make_attention, "attend", 2 * n_programs);
    check(make_wide_attention, "attend", 2);
    check(make_attention_of_many, "attend", 2);
}

/* Which weights are dropped is what ir/drop.h says, in both directions. */
static void check_dropped(bool back)
{
    Arena arena = {0};
    Random random = {3};
    TileProgram *p = dropped_program(&arena, back, "bar");
    CudaSchedule schedule = cuda_schedule(p);
    Text text = {.arena = &arena};
    static SimRun *sim;
    int n = (int)p->tensors.len, range[2] = {0, DROPPED_SAMPLES};
    void *args[TILE_MAX_OPERANDS + TILE_MAX_RESULTS + 2],
        *storage[TILE_MAX_OPERANDS + TILE_MAX_RESULTS];

    if (!sim)
        sim = sim_open();
    text_add(&text, cuda_prelude);
    cuda_write(&text, p, "drops");
    SimKernels kernels = sim_compile(sim, text_str(&text));
    for (int i = 0; i < n; i++)
        storage[i] = new_storage(&p->tensors.at[i], &random);
    dropped_fill(p, storage);
    for (int i = 0; i < n; i++)
        args[i] = sim_upload(sim, storage[i], tile_layout_bytes(&p->tensors.at[i].layout));
    args[n] = sim_alloc(sim, schedule.workspace_bytes);
    args[n + 1] = sim_upload(sim, range, sizeof range);
    for (int i = 0; i < schedule.n_phases; i++)
        sim_launch(sim, kernels, arena_printf(&arena, "drops_%d", i), schedule.phase[i].blocks,
                   schedule.phase[i].threads, args, n + 2);
    for (int i = 0; i < n; i++)
        sim_download(sim, storage[i], args[i], tile_layout_bytes(&p->tensors.at[i].layout));
    for (int i = 0; i < tile_n_results(p); i++)
        if (p->result[i].tensor >= 0)
            assert_int_equal(dropped_wrong(p, i, storage), 0);
    for (int i = 0; i < n; i++)
        free(storage[i]);
    sim_free_all(sim);
    sim_unload(sim, kernels);
    arena_free(&arena);
}

static void masks_of_weights_are_those_of_the_interpreter(void **state)
{
    (void)state;
    check_dropped(false);
    check_dropped(true);
}

static void scatters_add_in_order(void **state)
{
    (void)state;
    check(make_scatter, "scatter", n_programs);
    check(make_long_scatter, "scatter", 12);
}

static void weight_gradients_sum_by_taps(void **state)
{
    (void)state;
    check(make_depthwise_dw, "stencil", n_programs);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_with_sums_take_one_pass),
        cmocka_unit_test(sums_over_samples_of_large_tensors),
        cmocka_unit_test(depthwise_convolutions_walk_rows),
        cmocka_unit_test(planes_are_cut_into_columns_and_shared_out),
        cmocka_unit_test(both_gradients_are_one_walk),
        cmocka_unit_test(weight_gradients_sum_by_taps),
        cmocka_unit_test(attention_goes_in_tiles),
        cmocka_unit_test(masks_of_weights_are_those_of_the_interpreter),
        cmocka_unit_test(scatters_add_in_order),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_programs = atoi(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
