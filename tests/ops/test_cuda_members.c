/* Programs with members on the simulated GPU against the interpreter, a member at a time: sizes
 * around those of vectors and blocks, absent recordings, 16-bit storage, numbers that differ.
 *
 *     test_cuda_members [seed] [number of programs] */
#include "codegen/cuda.h"
#include "tests/ops/tile_build.h"
#include "tests/sim/sim_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_SESSIONS = 3, BEHIND = 64 /* bytes that can be read behind a tensor's end */ };

static uint64_t first_seed = 1;
static int n_programs = 12;

/* y = factor x + rate x z, u = x - z: two results, a shared number. */
static TileProgram *make_one(Arena *arena, Random *r, Storage type, int number)
{
    static const int64_t sizes[] = {1, 3, 4, 5, 1023, 1024, 1025, 2500};
    TileBuild b = tile_build(arena, TILE_MAP);

    tile_axis(&b, "a", pick(r, 3) ? 1 : 2, TILE_PARALLEL);
    tile_axis(&b, "b", pick_of(r, sizes, 8), TILE_PARALLEL);
    b.p->session = (int)pick(r, N_SESSIONS + 1) - 1;
    int x = tile_load(&b, "ab", 1), z = tile_load(&b, "ab", 1), rate = tile_load(&b, "", 1);
    int slow = tile_prim(&b, PRIM_MUL, x, tile_number(&b, (double)(1 + pick(r, 3)) / 7));
    int fast = tile_prim(&b, PRIM_MUL, rate, tile_prim(&b, PRIM_MUL, x, z));
    tile_store(&b, tile_prim(&b, PRIM_ADD, slow, fast), "ab", 1);
    tile_store(&b, tile_prim(&b, PRIM_SUB, x, z), "ab", 1);
    for (uint32_t i = 0; i < b.p->tensors.len; i++) {
        b.p->tensors.at[i].buffer = i == 2 ? 0 : 5 * number + (int)i + 1; /* one rate for all */
        if (i == 0 || i == 4)
            b.p->tensors.at[i].layout.type = type;
    }
    return b.p;
}

static TileProgram *make(Arena *arena, Random *r)
{
    static const Storage types[] = {STORAGE_F32, STORAGE_BF16, STORAGE_F16};
    TileProgram *flat[40];
    uint32_t n = 1 + (uint32_t)pick(r, 40);
    Storage type = types[pick(r, 3)];

    for (uint32_t i = 0; i < n; i++)
        flat[i] = tile_flat(arena, make_one(arena, r, type, (int)i));
    TileProgram *p = tile_join(arena, flat, n);
    const char *bad = tile_verify(p, arena);
    if (bad)
        fail_msg("%s", bad);
    assert_int_equal(p->tensors.len, 5 + (n - 1) * 4);
    return p;
}

static unsigned char *new_storage(Arena *arena, const TileTensor *t, Random *r)
{
    size_t bytes = tile_layout_bytes(&t->layout);
    unsigned char *at = arena_alloc(arena, bytes + BEHIND);

    memset(at, 0xff, bytes + BEHIND);
    for (int64_t i = 0; !t->is_output && i < tile_layout_elems(&t->layout); i++)
        storage_write(at, t->layout.type, i, (float)pick(r, 1 << 12) / (1 << 11) - 1);
    return at;
}

/* What each member should leave; members of absent recordings leave everything alone. */
static void expect(Arena *arena, const TileProgram *p, unsigned char *const *storage,
                   const int range[][2])
{
    for (uint32_t i = 0; i < p->members.len; i++) {
        const TileMember *m = &p->members.at[i];
        void **own = ARENA_ARRAY(arena, void *, (size_t)m->n);
        for (int k = 0; k < m->n; k++)
            own[k] = storage[m->tensor[k]];
        if (m->session < 0 || range[m->session][0] < range[m->session][1])
            tile_eval(tile_member(arena, p, i), own, (TileRange){0});
    }
}

static void run(SimRun *sim, SimKernels kernels, const TileProgram *p, const char *symbol,
                Arena *arena, Random *r)
{
    CudaSchedule schedule = cuda_schedule(p);
    int range[N_SESSIONS + 1][2] = {{0}};
    uint32_t n = p->tensors.len;
    unsigned char **expected = ARENA_ARRAY(arena, unsigned char *, n);
    uint64_t *address = ARENA_ARRAY(arena, uint64_t, n);
    int64_t *table = arena_alloc(arena, cuda_table_bytes(p));

    for (int s = 0; s < N_SESSIONS; s++)
        range[s][1] = (int)pick(r, 2);
    range[N_SESSIONS][1] = 1;
    for (uint32_t i = 0; i < n; i++) {
        expected[i] = new_storage(arena, &p->tensors.at[i], r);
        address[i] = (uint64_t)(uintptr_t)sim_upload(
            sim, expected[i], tile_layout_bytes(&p->tensors.at[i].layout) + BEHIND);
    }
    cuda_table_write(p, address, N_SESSIONS, table);
    void *args[] = {sim_upload(sim, table, cuda_table_bytes(p)), sim_alloc(sim, 1),
                    sim_upload(sim, range, sizeof range)};
    sim_launch(sim, kernels, arena_printf(arena, "%s_0", symbol), schedule.phase[0].blocks,
               schedule.phase[0].threads, args, 3);
    expect(arena, p, expected, (const int(*)[2])range);
    for (uint32_t i = 0; i < n; i++) {
        const TileLayout *l = &p->tensors.at[i].layout;
        size_t bytes = tile_layout_bytes(l);
        unsigned char *found = arena_alloc(arena, bytes + BEHIND);
        double unit = l->type == STORAGE_F32 ? 0x1p-22 : l->type == STORAGE_F16 ? 0x1p-10 : 0x1p-7;
        sim_download(sim, found, (void *)(uintptr_t)address[i], bytes + BEHIND);
        assert_memory_equal(found + bytes, expected[i] + bytes, BEHIND);
        for (int64_t k = 0; k < tile_layout_elems(l); k++) {
            double x = (double)storage_read(found, l->type, k);
            double y = (double)storage_read(expected[i], l->type, k);
            if (!(fabs(x - y) <= unit * (1 + fabs(y))) && !(isnan(x) && isnan(y)))
                fail_msg("%s: t%u[%lld] is %g, expected %g", symbol, i, (long long)k, x, y);
        }
    }
    sim_free_all(sim);
}

static void members_are_computed_as_one_by_one(void **state)
{
    (void)state;
    Arena arena = {0};
    static SimRun *sim; /* stays, as the library does */
    Random r = {first_seed};
    Text text = {.arena = &arena};
    TileProgram **programs = ARENA_ARRAY(&arena, TileProgram *, (size_t)n_programs);

    sim = sim_open();
    text_add(&text, cuda_prelude);
    for (int i = 0; i < n_programs; i++) {
        programs[i] = make(&arena, &r);
        assert_string_equal(cuda_schedule(programs[i]).name, "members");
        cuda_write(&text, programs[i], arena_printf(&arena, "k%d", i));
    }
    SimKernels kernels = sim_compile(sim, text_str(&text));
    for (int i = 0; i < n_programs; i++)
        run(sim, kernels, programs[i], arena_printf(&arena, "k%d", i), &arena, &r);
    sim_unload(sim, kernels);
    arena_free(&arena);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_computed_as_one_by_one),
    };
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        n_programs = atoi(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
