/* Whole runs in miniature: recordings of 12 neurons made on the spot, and training on them. */
#ifndef NPC_TESTS_MODELS_TRAIN_HARNESS_H
#define NPC_TESTS_MODELS_TRAIN_HARNESS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/synth.h"
#include "runtime/train.h"
#include "tests/unit/scratch.h"

#define MODEL "tests/models/tiny.nm"
#define PLAIN "tests/models/plain.nm"

#define assert_says(err, part)                                                                     \
    do {                                                                                           \
        if (!strstr((err).text, (part)))                                                           \
            fail_msg("\"%s\" does not say \"%s\"", (err).text, (part));                            \
    } while (0)

static char data[4096], cache[4096];

static const char *path(const char *name)
{
    return scratch_path(name);
}

static TrainOptions options(const char *run)
{
    return (TrainOptions){
        .model_path = MODEL,
        .run_dir = run,
        .data = data,
        .machine = {.threads = 1, .workers = 1, .cache_folder = cache, .progress = PROGRESS_QUIET}};
}

static void must(Status s, const Err *err)
{
    if (s != NPC_OK)
        fail_msg("%s", err->text);
}

static TrainResult train_with(const TrainOptions *o)
{
    TrainResult r;
    Err err = {0};
    must(train_run(o, &r, &err), &err);
    return r;
}

static void assert_same_file(const char *a, const char *b)
{
    Arena arena = {0};
    char *x, *y;
    size_t n, m;
    Err err = {0};
    must(file_read(&arena, a, 1 << 28, &x, &n, &err), &err);
    must(file_read(&arena, b, 1 << 28, &y, &m, &err), &err);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    arena_free(&arena);
}

static inline const char *checkpoint(const char *run, int step)
{
    char name[200];
    snprintf(name, sizeof name, "%s/checkpoints/step-%08d.safetensors", run, step);
    return path(name);
}

static SynthOptions small_recordings(void)
{
    SynthOptions o = synth_defaults();
    o.neurons = 12;
    o.trials = 5;
    o.frames = 81;
    o.height = 8;
    o.width = 12;
    o.repeats = 2;
    return o;
}

static int make_recordings_of(void **state, const SynthOptions *o)
{
    Err err = {0};
    if (scratch_make(state))
        return -1;
    snprintf(data, sizeof data, "%s", path("data"));
    snprintf(cache, sizeof cache, "%s", path("cache"));
    if (file_make_folder(cache, &err) != NPC_OK)
        return -1;
    return synth_write(data, o, NULL, NULL, NULL, &err) == NPC_OK ? 0 : -1;
}

/* Two recordings of 12 neurons. */
static inline int make_recordings(void **state)
{
    const SynthOptions o = small_recordings();
    return make_recordings_of(state, &o);
}

#endif
