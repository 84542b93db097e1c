/* Models that cannot get their memory: every N-th request of the compiler's arena, and every N-th
 * call of malloc, calloc, realloc, aligned_alloc, mmap and pthread_create, refused once. Opening,
 * adding programs and loading them end in NPC_ERR_MEMORY with a sentence, leave nothing behind, and
 * a training step that could be loaded asks for no memory at all. */
#include "runtime/model.h"
#include "tests/ops/ir_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- requests that are refused ---- */

static long refuse_at, n_calls; /* refuse_at 0: none */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *argument);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *argument);

static bool refused(void)
{
    return ++n_calls == refuse_at;
}

void *__wrap_malloc(size_t bytes)
{
    return refused() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return refused() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return refused() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return refused() ? NULL : __real_aligned_alloc(alignment, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    return refused() ? MAP_FAILED : __real_mmap(at, bytes, protection, flags, file, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *argument)
{
    return refused() ? EAGAIN : __real_pthread_create(thread, attr, start, argument);
}

/* ---- a model with all its programs ---- */

static const char *const small[] = {"widths=[8, 8, 12, 16]", "strides=[2, 1, 2, 1]", "expansion=3",
                                    "se_ratio=4", "cortex_widths=[32, 48]"};
static const Session recordings[] = {{.name = "a", .neurons = 3}, {.name = "b", .neurons = 4}};
static const AxisSize sizes[] = {{"t", 4}, {"h", 8}, {"w", 8}};
static FILE *nowhere;

static ModelOptions published(void)
{
    return (ModelOptions){.path = "models/dwiseneuro.nm",
                          .model = "dwiseneuro",
                          .sets = small,
                          .n_sets = 5,
                          .sessions = recordings,
                          .n_sessions = 2,
                          .batch = 2,
                          .bind = sizes,
                          .n_bind = 3,
                          .fuse = FUSE_FULL,
                          .threads = 2,
                          .interpret = true,
                          .no_cache = true,
                          .messages = nowhere};
}

static ModelOptions tiny(void)
{
    ModelOptions o = published();
    o.path = "tests/golden/tiny_model.nm";
    o.model = NULL;
    o.n_sets = o.n_sessions = o.n_bind = 0;
    o.sessions = NULL;
    return o;
}

enum { N_PROGRAMS = 6 };

static Status load(Model **model, const ModelOptions *o, int program[N_PROGRAMS], Err *err)
{
    static const ProgramKind kind[N_PROGRAMS] = {PROGRAM_EVAL,       PROGRAM_GRAD,
                                                 PROGRAM_STEP,       PROGRAM_AVERAGE,
                                                 PROGRAM_ACCUMULATE, PROGRAM_UPDATE};
    NPC_TRY(model_open(model, o, err));
    for (int i = 0; i < N_PROGRAMS; i++)
        NPC_TRY(model_add(*model, kind[i], &program[i], err));
    return model_ready(*model, err);
}

static int free_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY);
    close(fd);
    return fd;
}

static void check_refusal(long at, Status status, const Err *err)
{
    if (status != NPC_ERR_MEMORY || (!strstr(err->text, "memory") && !strstr(err->text, "thread")))
        fail_msg("request %ld: status %d, \"%s\"", at, status, err->text);
    assert_int_equal(err->status, NPC_ERR_MEMORY);
}

/* ---- the arena ---- */

static long requests_of(const ModelOptions *o)
{
    Model *m;
    Err err = {0};
    int program[N_PROGRAMS];
    if (load(&m, o, program, &err) != NPC_OK)
        fail_msg("%s", err.text);
    long n = m->arena.n_requests;
    model_close(m);
    return n;
}

/* Every one of the first `all` requests, then about `more` of the rest. */
static void refuse_requests(ModelOptions o, long all, long more)
{
    long n = requests_of(&o), step = n > all + more ? (n - all) / more : 1;
    int fd = free_descriptor(), program[N_PROGRAMS];
    assert_true(n > all);
    for (long at = 1; at <= n; at += at < all ? 1 : step) {
        Model *m = NULL;
        Err err = {0};
        o.fail_at = at;
        Status status = load(&m, &o, program, &err);
        check_refusal(at, status, &err);
        assert_int_equal(m->arena.n_requests, at);
        model_close(m);
    }
    assert_int_equal(free_descriptor(), fd);
}

static void a_refused_request_while_compiling_is_a_status(void **state)
{
    (void)state;
    refuse_requests(tiny(), 300, 200);
}

static void so_it_is_in_the_published_model(void **state)
{
    (void)state;
    refuse_requests(published(), 1, 25);
}

/* ---- the allocator ---- */

static void a_refused_allocation_is_a_status(void **state)
{
    (void)state;
    ModelOptions o = tiny();
    int fd = free_descriptor(), program[N_PROGRAMS];
    bool fired = true;
    long at = 1;
    for (; fired; at++) {
        Model *m = NULL;
        Err err = {0};
        n_calls = 0;
        refuse_at = at;
        Status status = load(&m, &o, program, &err);
        fired = n_calls >= at;
        refuse_at = 0;
        if (fired)
            check_refusal(at, status, &err);
        else
            assert_int_equal(status, NPC_OK);
        model_close(m);
    }
    assert_true(at > 20); /* chunks of the arenas, regions, scratch */
    assert_int_equal(free_descriptor(), fd);
}

/* What the engine asks for itself, and what it says when a region is refused. */
static void a_refused_region_names_what_it_is_for(void **state)
{
    (void)state;
    static const char *const what[] = {"parameters and optimizer state", "activations of a batch",
                                       "prepared weights", "inputs of a batch"};
    bool said[4] = {0};
    for (int at = 1; at < 30; at++) {
        Model *m;
        Err err = {0};
        int program;
        ModelOptions o = tiny();
        assert_int_equal(model_open(&m, &o, &err), NPC_OK);
        assert_int_equal(model_add(m, PROGRAM_EVAL, &program, &err), NPC_OK);
        n_calls = 0;
        refuse_at = at;
        Status status = model_ready(m, &err);
        refuse_at = 0;
        if (n_calls >= at)
            check_refusal(at, status, &err);
        for (int i = 0; i < 4; i++)
            said[i] |= strstr(err.text, what[i]) != NULL;
        model_close(m);
    }
    for (int i = 0; i < 4; i++)
        assert_true(said[i]);
}

/* ---- running ---- */

static void fill_inputs(Model *m, int program)
{
    const Func *f = engine_plan(m->engine, program)->f;
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        const Node *n = &f->nodes.at[i];
        if (n->op != OP_INPUT)
            continue;
        float *at = engine_input(m->engine, program, n->attrs.name);
        for (int64_t k = 0; at && k < shape_elems(&n->shape); k++)
            at[k] = 0.1f;
    }
}

static void a_training_step_asks_for_no_memory(void **state)
{
    (void)state;
    Model *m;
    Err err = {0};
    int program[N_PROGRAMS];
    ModelOptions o = tiny();
    SampleRange ranges[2] = {{0, 1}, {1, 1}};
    if (!kernel_have_llvm()) {
        print_message("skipped: only generated code runs without asking for memory\n");
        skip();
    }
    o.interpret = false;
    if (load(&m, &o, program, &err) != NPC_OK)
        fail_msg("%s", err.text);
    model_initialise(m, 1);
    for (int i = 0; i < N_PROGRAMS; i++) {
        n_calls = 0;
        for (uint64_t step = 0; step < 2; step++) {
            fill_inputs(m, program[i]);
            engine_draw_masks(m->engine, program[i], 1, step);
            assert_int_equal(engine_run(m->engine, program[i], ranges, &err), NPC_OK);
        }
        assert_int_equal(n_calls, 0);
    }
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_request_while_compiling_is_a_status),
        cmocka_unit_test(so_it_is_in_the_published_model),
        cmocka_unit_test(a_refused_allocation_is_a_status),
        cmocka_unit_test(a_refused_region_names_what_it_is_for),
        cmocka_unit_test(a_training_step_asks_for_no_memory),
    };
    nowhere = fopen("/dev/null", "w");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fclose(nowhere);
    return failed;
}
