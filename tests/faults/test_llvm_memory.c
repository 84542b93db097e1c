/* Code generation without memory: requests that LLVM and its C++ library make while kernels are
 * compiled and loaded are refused, one per child process. The child ends with NPC_ERR_MEMORY and a
 * sentence, or with code when LLVM did without; never by a signal, and it does not hang. */
#include "codegen/kernel.h"
#include "tests/ops/ir_harness.h"
#include "tests/ops/random_graph.h"

#include "passes/pass.h"
#include "passes/plan.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 120 }; /* about */

/* ---- malloc of the whole process, on top of glibc's ---- */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static atomic_long *n_calls; /* shared with the children; NULL: before the test */
static long refuse_at;       /* 0: none */

static bool refused(void)
{
    return n_calls && atomic_fetch_add(n_calls, 1) + 1 == refuse_at;
}

void *malloc(size_t bytes)
{
    return refused() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    return refused() ? NULL : __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return refused() ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return refused() ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    *out = refused() ? NULL : __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}

/* ---- what is compiled ---- */

static const TileProgram **programs;
static int n_programs;
static Target target;

static KernelCost no_cost(void *context, const TileProgram *tile)
{
    (void)context;
    (void)tile;
    return (KernelCost){0};
}

static void make_programs(TestFunc *t)
{
    PassOptions o = {.fuse = FUSE_FULL, .target = traits_cpu(target.lanes), .gradient_factor = 1};
    Module *m = module_new(&t->arena, &t->names, &t->diags);
    random_graph(m, 5, NULL)->name = "train";
    Func *f = passes_run(m, PROGRAM_GRAD, &o);
    Plan *plan = plan_build(&t->arena, f, PROGRAM_GRAD, &o, no_cost, NULL);
    n_programs = plan->launches.len < 5 ? (int)plan->launches.len : 5;
    programs = ARENA_ARRAY(&t->arena, const TileProgram *, n_programs);
    for (int i = 0; i < n_programs; i++)
        programs[i] = plan->launches.at[i].tile;
}

static Status compile(Err *err)
{
    KernelSet *set;
    KernelSetOptions o = {.target = &target, .n_threads = 1};
    Status status = kernel_set_compile(&set, programs, n_programs, &o, err);
    kernel_set_free(set);
    return status;
}

/* Exit code of the child: 0 compiled, 1 refused with a sentence, 2 anything else. */
static int child(long at)
{
    Err err = {0};
    alarm(60); /* a lock that nobody opens */
    atomic_store(n_calls, 0);
    refuse_at = at;
    Status status = compile(&err);
    refuse_at = 0;
    if (status == NPC_OK)
        return 0;
    if (status == NPC_ERR_MEMORY && strstr(err.text, "memory"))
        return 1;
    fprintf(stderr, "request %ld: status %d, \"%s\"\n", at, status, err.text);
    return 2;
}

static int code_of(long at)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(child(at));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("request %ld: ended by signal %d", at, WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void a_refused_request_of_the_code_generator_is_a_status(void **state)
{
    (void)state;
    Err err = {0};
    if (!kernel_have_llvm()) {
        print_message("skipped: built without LLVM\n");
        skip();
    }
    assert_true(target_find(NULL, &target, &err));
    TestFunc *t = test_func();
    make_programs(t);
    assert_int_equal(code_of(0), 0);
    long n = atomic_load(n_calls), n_refused = 0;
    assert_true(n > 1000);
    for (long at = 1; at <= n; at += at < 20 ? 1 : 1 + n / CHILDREN) {
        int code = code_of(at);
        assert_true(code <= 1);
        n_refused += code;
    }
    print_message("%ld requests, %ld refused\n", n, n_refused);
    assert_true(n_refused > CHILDREN / 2);
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_request_of_the_code_generator_is_a_status),
    };
    void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    n_calls = shared;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
