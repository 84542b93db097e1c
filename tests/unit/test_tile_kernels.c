/* Sets of kernels: equal programs share code, the cache is used and mistrusted, the interpreter
 * stands in. */
#include "tests/ops/tile_run.h"
#include "ir/base/file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct World {
    Arena arena;
    Names names;
    Diags diags;
    char folder[64];
} World;

static int set_up(void **state)
{
    World *w = calloc(1, sizeof *w);

    w->names.arena = &w->arena;
    diags_init(&w->diags, &w->arena);
    snprintf(w->folder, sizeof w->folder, "/tmp/npc-kernels-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    *state = w;
    return 0;
}

/* The one file of the folder, or NULL. */
static const char *cached_file(World *w)
{
    const char **names;
    size_t n;
    Err err = {0};

    assert_int_equal(file_list(&w->arena, w->folder, &names, &n, &err), NPC_OK);
    assert_true(n <= 1);
    return n ? arena_printf(&w->arena, "%s/%s", w->folder, names[0]) : NULL;
}

static int tear_down(void **state)
{
    World *w = *state;
    const char *file = cached_file(w);

    if (file)
        unlink(file);
    rmdir(w->folder);
    arena_free(&w->arena);
    free(w);
    return 0;
}

/* y = factor * x over [n], and the sum of y. */
static const TileProgram *scaling(World *w, const char *name, int n, double factor)
{
    char text[1024];

    snprintf(text, sizeof text,
             "tile \"%s\" session -1 batch -1 flops 0 {\n"
             "  axis n %d parallel\n"
             "  tensor in buffer 0 [n=%d] order 0\n"
             "  tensor out buffer 1 [n=%d] order 0\n"
             "  tensor out buffer 2 [] order\n"
             "  %%0 = load t0 [a0]\n"
             "  %%1 = const %g\n"
             "  %%2 = mul %%0 %%1\n"
             "  store %%2 t1 [a0]\n"
             "  sum %%2 t2 [] factor 1\n"
             "}\n",
             name, n, n, n, factor);
    const TileProgram *p = tile_parse(&w->arena, &w->names, &w->diags, "test", text, strlen(text));
    assert_non_null(p);
    return p;
}

static KernelSet *compile(const TileProgram *const *programs, int n, const char *folder,
                          bool interpret)
{
    static Target target;
    Err err = {0};
    KernelSet *set;
    KernelSetOptions options = {
        .target = &target, .cache_folder = folder, .n_threads = 2, .interpret = interpret};

    assert_true(target_find(NULL, &target, &err));
    if (kernel_set_compile(&set, programs, n, &options, &err))
        fail_msg("%s", err.text);
    return set;
}

static void check(const KernelSet *set, const TileProgram *const *programs, int n)
{
    Dice d = {5};

    for (int i = 0; i < n; i++)
        assert_true(tile_check(programs[i], kernel_set_get(set, i), (TileRange){0, 0}, &d, 1e-5) <
                    1e-5);
}

static void equal_programs_share_code(void **state)
{
    World *w = *state;
    const TileProgram *p[] = {scaling(w, "a", 30, 2), scaling(w, "b", 31, 2),
                              scaling(w, "c", 30, 2), scaling(w, "d", 30, 3)};
    KernelSet *set = compile(p, 4, NULL, false);

    assert_int_equal(kernel_set_n_distinct(set), 3);
    assert_ptr_equal(kernel_set_get(set, 0)->program, p[0]);
    assert_ptr_equal(kernel_set_get(set, 2)->program, p[2]);
    if (kernel_have_llvm()) {
        assert_true(kernel_set_get(set, 0)->phase[0] == kernel_set_get(set, 2)->phase[0]);
        assert_true(kernel_set_get(set, 0)->phase[0] != kernel_set_get(set, 3)->phase[0]);
    }
    check(set, p, 4);
    kernel_set_free(set);
}

static void the_second_compile_comes_from_the_cache(void **state)
{
    World *w = *state;
    const TileProgram *p[] = {scaling(w, "a", 30, 2), scaling(w, "b", 1000, 5)};
    const TileProgram *other[] = {p[0], scaling(w, "b", 1000, 6)};

    if (!kernel_have_llvm())
        skip();
    for (int round = 0; round < 3; round++) {
        KernelSet *set = compile(p, 2, w->folder, false);
        assert_int_equal(kernel_set_from_cache(set), round > 0);
        check(set, p, 2);
        kernel_set_free(set);
    }
    KernelSet *set = compile(other, 2, NULL, false);
    assert_false(kernel_set_from_cache(set));
    kernel_set_free(set);
}

static void damaged_cache_files_are_replaced(void **state)
{
    World *w = *state;
    const TileProgram *p[] = {scaling(w, "a", 30, 2)};
    Err err = {0};
    char *data;
    size_t n;

    if (!kernel_have_llvm())
        skip();
    kernel_set_free(compile(p, 1, w->folder, false));
    const char *file = cached_file(w);
    assert_non_null(file);
    assert_int_equal(file_read(&w->arena, file, 1 << 24, &data, &n, &err), NPC_OK);
    const size_t places[] = {0, 10, 25, 33, 45, 60, n / 2, n - 1};
    for (size_t i = 0; i < 2 * sizeof places / sizeof *places; i++) {
        char *copy = arena_alloc(&w->arena, n);
        memcpy(copy, data, n);
        size_t at = places[i / 2];
        copy[at] = (char)(copy[at] ^ 0x40);
        assert_int_equal(file_write(file, copy, i % 2 ? at : n, &err), NPC_OK);
        KernelSet *set = compile(p, 1, w->folder, false);
        assert_false(kernel_set_from_cache(set));
        check(set, p, 1);
        kernel_set_free(set);
        set = compile(p, 1, w->folder, false);
        assert_true(kernel_set_from_cache(set));
        kernel_set_free(set);
    }
}

static void a_cache_that_cannot_be_written_is_no_error(void **state)
{
    World *w = *state;
    const TileProgram *p[] = {scaling(w, "a", 30, 2)};
    KernelSet *set = compile(p, 1, "/proc/no/such/folder", false);

    assert_false(kernel_set_from_cache(set));
    check(set, p, 1);
    kernel_set_free(set);
}

static void the_interpreter_runs_as_a_kernel(void **state)
{
    World *w = *state;
    const TileProgram *p[] = {scaling(w, "a", 30, 2)};
    KernelSet *set = compile(p, 1, NULL, true);

    assert_int_equal(kernel_set_get(set, 0)->schedule.n_phases, 1);
    check(set, p, 1);
    kernel_set_free(set);
}

static void unknown_targets_are_named(void **state)
{
    (void)state;
    Target t;
    Err err = {0};

    assert_false(target_find("sparc", &t, &err));
    assert_int_equal(err.status, NPC_ERR_USAGE);
    assert_string_equal(err.text, "there is no target 'sparc': generic, avx2, avx512 or native "
                                  "was expected");
    assert_true(target_find("generic", &t, &err));
    assert_int_equal(t.lanes, 4);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(equal_programs_share_code),        TEST(the_second_compile_comes_from_the_cache),
        TEST(damaged_cache_files_are_replaced), TEST(a_cache_that_cannot_be_written_is_no_error),
        TEST(the_interpreter_runs_as_a_kernel), TEST(unknown_targets_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
