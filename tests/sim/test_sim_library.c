/* Plain products by the library, on the simulator, against the interpreter: random sizes, orders of
 * axes, batches, storage and math. And what is no plain product.
 *
 *     test_sim_library [seed] [number of products] */
#include "codegen/cuda_library.h"
#include "ir/tile_product.h"
#include "tests/ops/tile_build.h"
#include "tests/sim/sim_tile.h"

enum { MOST = 400 };
static uint64_t first_seed = 1;
static int n_products = 120;

/* ---- programs ---- */

/* `letters` in an order of the dice's, in the arena. */
static const char *shuffled(Arena *arena, Random *r, const char *letters)
{
    char *order = arena_strdup(arena, letters);
    for (int n = (int)strlen(order); n > 1; n--) {
        int i = (int)pick(r, n);
        char last = order[n - 1];
        order[n - 1] = order[i];
        order[i] = last;
    }
    return order;
}

/* Letters from `all` in order, each with a chance. */
static const char *some(Arena *arena, Random *r, const char *all)
{
    char *out = arena_strdup(arena, all);
    int n = 0;
    for (const char *s = all; *s; s++)
        if (pick(r, 3))
            out[n++] = *s;
    out[n] = 0;
    return out;
}

static void set_type(TileProgram *p, int tensor, Storage type)
{
    p->tensors.at[tensor].layout.type = type;
}

/* a[g.., m.., k..] b[g.., k.., n..], summed over k, in any order and storage: a plain product or
 * not. */
static TileProgram *random_program(Arena *arena, Random *r)
{
    static const int64_t sizes[] = {1, 2, 3, 5, 8, 13, 20};
    static const char *const all[] = {"fg", "lm", "no", "jk"};
    const char *part[4];
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    for (int i = 0; i < 4; i++) {
        part[i] = some(arena, r, all[i]);
        for (const char *s = part[i]; *s; s++) {
            const char name[] = {*s, 0};
            tile_axis(&b, arena_strdup(arena, name), pick_of(r, sizes, 7),
                      i == 3 ? TILE_REDUCE : TILE_PARALLEL);
        }
    }
    bool keeps = pick(r, 2); /* axes of a part stay side by side */
    const char *order[3], *of[3][3] = {
                              {part[0], part[1], part[3]},
                              {part[0], part[3], part[2]},
                              {part[0], part[1], part[2]},
                          };
    for (int t = 0; t < 3; t++) {
        int turn = (int)pick(r, 3);
        const char *flat = arena_printf(arena, "%s%s%s", of[t][turn], of[t][(turn + 1) % 3],
                                        of[t][(turn + 2) % 3]);
        order[t] = keeps ? flat : shuffled(arena, r, flat);
    }
    bool swapped = pick(r, 2);
    int x = tile_load(&b, order[0], 1), w = tile_load(&b, order[1], 1);
    b.p->lhs = swapped ? w : x;
    b.p->rhs = swapped ? x : w;
    tile_store(&b, tile_acc(&b), order[2], 1);
    b.p->math = (MathMode)pick(r, MATH_COUNT);
    Storage few = pick(r, 8) ? b.p->math == MATH_BF16 ? STORAGE_BF16 : STORAGE_F16 : STORAGE_BF16;
    for (int t = 0; t < 3; t++)
        if (b.p->math >= MATH_BF16 ? pick(r, 3) : !pick(r, 6))
            set_type(b.p, t, few);
    return b.p;
}

static int64_t terms_of(const TileProgram *p)
{
    TileProduct x;
    return tile_product(p, &x) ? x.k : 0;
}

/* ---- running ---- */

typedef struct Library {
    const CudaBlas *blas;
    BlasHandle handle;
} Library;

static Library open_library(void)
{
    Library l;
    Err err = {0};
    if (cuda_blas_open(&l.blas, &err) != NPC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(cuda_library_begin(l.blas, &l.handle, NULL), 0);
    return l;
}

static void run(Library *l, SimKernels k, const TileProgram *p, const char *symbol, TypedData *d)
{
    CudaSchedule s = cuda_schedule(p);
    void *args[5];
    CudaAddress tensor[3];
    for (int i = 0; i < d->n; i++) {
        args[i] = sim_upload(sim, d->tensor[i], d->bytes[i]);
        tensor[i] = (CudaAddress)(uintptr_t)args[i];
    }
    args[3] = sim_alloc(sim, s.workspace_bytes + s.library_bytes);
    args[4] = NULL;
    for (int i = 0; i < s.n_phases; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%d", symbol, i);
        sim_launch(sim, k, name, s.phase[i].blocks, s.phase[i].threads, args, 5);
    }
    assert_int_equal(cuda_library_multiply(l->blas, l->handle, p, tensor, (uintptr_t)args[3]), 0);
    sim_check(sim->synchronize(), "cuCtxSynchronize");
    for (int i = 0; i < d->n; i++)
        if (p->tensors.at[i].is_output)
            sim_download(sim, d->tensor[i], args[i], d->bytes[i]);
    sim_free_all(sim);
}

static void compare(Library *l, SimKernels k, const TileProgram *p, const char *symbol,
                    uint64_t seed)
{
    Arena arena = {0};
    TypedData expected = typed_data(p, seed), found = typed_data(p, seed);
    tile_eval(p, expected.tensor, (TileRange){0, 0});
    run(l, k, p, symbol, &found);
    double d = typed_difference(p, &found, &expected), allowed = sim_tile_tolerance(p, terms_of(p));
    if (!(d <= allowed)) {
        Text text = {.arena = &arena};
        tile_print(&text, p, false);
        fail_msg("difference %g, allowed %g\n%s", d, allowed, text_str(&text));
    }
    typed_data_free(&expected);
    typed_data_free(&found);
    arena_free(&arena);
}

/* How often it was seen. */
typedef struct Seen {
    int math[MATH_COUNT], transposed[4], batches, shared, converted, few_bits;
} Seen;

static void note(Seen *n, const TileProgram *p)
{
    TileProduct x;
    tile_product(p, &x);
    n->math[p->math]++;
    n->transposed[(x.m > 1 && x.k > 1 && x.a.transposed) +
                  2 * (x.n > 1 && x.k > 1 && x.b.transposed)]++;
    n->batches += x.batch > 1;
    n->shared += x.batch > 1 && (!x.a.stride || !x.b.stride);
    n->converted += x.a.type != x.factor || x.b.type != x.factor;
    n->few_bits += x.c.type != STORAGE_F32;
}

static void products_equal_the_interpreter(void **state)
{
    (void)state;
    Arena arena = {0};
    Random r = {first_seed};
    TileProgram *program[MOST];
    Text text = {.arena = &arena};
    Library library = open_library();
    Seen n = {0};
    for (int made = 0; made < n_products;) {
        TileProgram *p = random_program(&arena, &r);
        TileProduct product;
        p->by_library = tile_product(p, &product);
        const char *problem = tile_verify(p, &arena);
        if (problem)
            fail_msg("%s", problem);
        if (!p->by_library)
            continue;
        assert_string_equal(cuda_schedule(p).name, "library");
        cuda_write(&text, p, arena_printf(&arena, "k%d", made));
        note(&n, p);
        program[made++] = p;
    }
    SimKernels k = compile(text_str(&text));
    for (int i = 0; i < n_products; i++)
        compare(&library, k, program[i], arena_printf(&arena, "k%d", i), first_seed + (uint64_t)i);
    sim_unload(sim, k);
    assert_int_equal(library.blas->destroy(library.handle), 0);
    for (int m = 0; m < MATH_COUNT; m++)
        assert_true(n.math[m] > 0 && n.transposed[m] > 0);
    assert_true(n.batches && n.shared && n.converted && n.few_bits);
    arena_free(&arena);
}

/* Weights of more elements than a thread converts, not a multiple of what it takes at once. */
static void large_factors_are_converted_whole(void **state)
{
    (void)state;
    Arena arena = {0};
    Text text = {.arena = &arena};
    TileBuild b = tile_build(&arena, TILE_CONTRACT);
    Library library = open_library();
    tile_axis(&b, "m", 101, TILE_PARALLEL);
    tile_axis(&b, "n", 3, TILE_PARALLEL);
    tile_axis(&b, "k", 67, TILE_REDUCE);
    b.p->lhs = tile_load(&b, "mk", 1);
    b.p->rhs = tile_load(&b, "nk", 1);
    tile_store(&b, tile_acc(&b), "nm", 1);
    b.p->math = MATH_BF16;
    b.p->by_library = true;
    set_type(b.p, 1, STORAGE_BF16);
    cuda_write(&text, b.p, "k");
    SimKernels k = compile(text_str(&text));
    compare(&library, k, b.p, "k", 7);
    sim_unload(sim, k);
    assert_int_equal(library.blas->destroy(library.handle), 0);
    arena_free(&arena);
}

/* ---- what is none ---- */

static TileBuild plain(Arena *arena)
{
    TileBuild b = tile_build(arena, TILE_CONTRACT);
    tile_axis(&b, "b", 2, TILE_PARALLEL);
    tile_axis(&b, "m", 3, TILE_PARALLEL);
    tile_axis(&b, "n", 5, TILE_PARALLEL);
    tile_axis(&b, "k", 7, TILE_REDUCE);
    b.p->lhs = tile_load(&b, "bmk", 1);
    b.p->rhs = tile_load(&b, "kn", 1);
    tile_store(&b, tile_acc(&b), "bmn", 1);
    return b;
}

static void of_a_recording(TileBuild *b)
{
    b->p->session = 0;
    b->p->batch_axis = 0;
}

static void with_code_in_front(TileBuild *b)
{
    b->p->lhs = tile_prim(b, PRIM_MUL, b->p->lhs, b->p->lhs);
}

static void with_code_behind(TileBuild *b)
{
    b->p->stores.at[0].inst = tile_prim(b, PRIM_MUL, b->p->stores.at[0].inst, b->p->lhs);
}

static void with_sums(TileBuild *b)
{
    tile_reduce(b, TILE_SUM, b->p->stores.at[0].inst, "n", 1);
}

static void with_a_table(TileBuild *b)
{
    static const int32_t turned[] = {2, 1, 0};
    b->p->insts.at[b->p->lhs].index[1] =
        (TileIndex){.n_terms = 1, .axis = {1}, .table = turned, .table_len = 3};
}

static void of_windows(TileBuild *b)
{
    b->p->insts.at[b->p->lhs].index[2] = (TileIndex){.n_terms = 2, .axis = {1, 3}, .coef = {1, 1}};
}

static void of_every_second(TileBuild *b)
{
    b->p->insts.at[b->p->lhs].index[1].coef[0] = 2;
}

static void in_more_bits_than_math_keeps(TileBuild *b)
{
    b->p->math = MATH_F32;
    set_type(b->p, 0, STORAGE_BF16);
}

static void of_two_kinds_of_numbers(TileBuild *b)
{
    b->p->math = MATH_F16;
    set_type(b->p, 0, STORAGE_F16);
    set_type(b->p, 1, STORAGE_BF16);
}

static void rounded_once_more(TileBuild *b)
{
    b->p->math = MATH_F16;
    set_type(b->p, 0, STORAGE_BF16);
    set_type(b->p, 1, STORAGE_BF16);
}

static void of_bytes(TileBuild *b)
{
    set_type(b->p, 0, STORAGE_U8);
    set_type(b->p, 1, STORAGE_U8);
}

static void with_results_in_few_bits(TileBuild *b)
{
    set_type(b->p, 2, STORAGE_BF16);
}

static void in_blocks(TileBuild *b)
{
    b->p->tensors.at[2].layout.lane = 2;
    b->p->tensors.at[2].layout.lanes = 16;
}

static void summing_a_factor_alone(TileBuild *b)
{
    b->p->axes.at[0].kind = TILE_REDUCE;
    b->p->stores.at[0].index[0] = (TileIndex){0};
}

/* Elements of one sample are as far apart as there are samples. */
static void with_samples_side_by_side(TileBuild *b)
{
    static const int order[] = {1, 2, 0};
    memcpy(b->p->tensors.at[0].layout.order, order, sizeof order);
    b->p->rhs = tile_load(b, "bkn", 1);
}

static void other_programs_are_none(void **state)
{
    (void)state;
    static void (*const change[])(TileBuild *) = {of_a_recording,
                                                  with_code_in_front,
                                                  with_code_behind,
                                                  with_sums,
                                                  with_a_table,
                                                  of_windows,
                                                  of_every_second,
                                                  in_more_bits_than_math_keeps,
                                                  of_two_kinds_of_numbers,
                                                  rounded_once_more,
                                                  of_bytes,
                                                  with_results_in_few_bits,
                                                  in_blocks,
                                                  summing_a_factor_alone,
                                                  with_samples_side_by_side};
    Arena arena = {0};
    TileProduct x;
    TileBuild b = plain(&arena);
    assert_true(tile_product(b.p, &x));
    assert_true(x.m * x.n == 6 * 5 && x.k == 7 && x.batch == 1); /* b and m lie behind each other */
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        b = plain(&arena);
        change[i](&b);
        if (tile_product(b.p, &x))
            fail_msg("change %zu is taken for a plain product", i);
    }
    b = plain(&arena);
    with_code_in_front(&b);
    b.p->by_library = true;
    assert_string_equal(tile_verify(b.p, &arena),
                        "a library computes plain products only, and this is none");
    arena_free(&arena);
}

static void what_a_library_does_is_part_of_the_text(void **state)
{
    (void)state;
    Arena arena = {0};
    Names names = {.arena = &arena};
    Diags diags;
    Text one = {.arena = &arena}, two = {.arena = &arena};
    TileBuild b = plain(&arena);
    diags_init(&diags, &arena);
    b.p->math = MATH_TF32;
    b.p->by_library = true;
    tile_print(&one, b.p, false);
    assert_non_null(strstr(text_str(&one), "anchor contract %0 %1 tf32 library\n"));
    TileProgram *p = tile_parse(&arena, &names, &diags, "test", text_str(&one), one.len);
    assert_true(p && p->by_library);
    tile_print(&two, p, false);
    assert_string_equal(text_str(&one), text_str(&two));
    arena_free(&arena);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_interpreter),
        cmocka_unit_test(large_factors_are_converted_whole),
        cmocka_unit_test(other_programs_are_none),
        cmocka_unit_test(what_a_library_does_is_part_of_the_text),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_products = (int)strtol(argv[2], NULL, 10);
    if (n_products > MOST)
        n_products = MOST;
    setenv("NPC_CUDA_LIBRARIES", SIM_LIBRARIES, 1);
    return cmocka_run_group_tests(tests, open_simulator, NULL);
}
