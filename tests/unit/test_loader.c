#include "tests/unit/tiny_recording.h"

#include "runtime/loader.h"
#include "data/trial_cache.h"

static const char *folder;
static Arena arena;
static Recordings recordings;
static SamplerSession sessions[3];

static const TinyTrial TRIALS[] = {
    {"train", 40, 40, false}, {"train", 40, 31, false},  {"none", 40, 0, false},
    {"train", 40, 9, false},  {"oracle", 40, 39, false},
};
enum { N_TRIALS = sizeof TRIALS / sizeof *TRIALS, BATCH = 7, N_X = 5 * 5 * 8 * 8, N_Y = 3 * 5 };

static Sampler sampler(void)
{
    return (Sampler){
        .seed = 5,
        .clips_per_epoch = 60,
        .batch = BATCH,
        .mix_chance = 0.5,
        .mix_alpha = 1,
        .clip = {.channels = CHANNEL_ALL, .height = 8, .width = 8, .size = 5, .step = 3},
        .sessions = sessions,
        .n_sessions = 3};
}

static Loader *opened(const Sampler *s, uint32_t threads, uint32_t depth, uint64_t n_batches)
{
    LoaderConfig c = {.sampler = s,
                      .n_batches = n_batches,
                      .threads = threads,
                      .depth = depth,
                      .cache_bytes = 1 << 20};
    Loader *l;
    Err err = {0};
    if (loader_open(&l, &c, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return l;
}

static Batch *next(Loader *l)
{
    Batch *b;
    Err err = {0};
    if (loader_next(l, &b, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return b;
}

static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_batch(uint64_t h, const Batch *b)
{
    h = hash(h, b->x, BATCH * N_X * sizeof(float));
    h = hash(h, b->weights, BATCH * 3 * sizeof(float));
    h = hash(h, b->first, 3 * sizeof *b->first);
    h = hash(h, b->count, 3 * sizeof *b->count);
    for (int m = 0; m < 3; m++)
        if (b->count[m])
            h = hash(h, b->target[m], b->count[m] * N_Y * sizeof(float));
    return h;
}

static void batches_do_not_depend_on_threads_or_depth(void **state)
{
    (void)state;
    static const struct {
        uint32_t threads, depth;
        size_t cache;
    } ways[] = {{1, 2, 1 << 20}, {2, 3, 0}, {5, 2, 1 << 14}, {8, 9, 1 << 20}};
    Sampler s = sampler();
    uint64_t first = 0;
    for (int k = 0; k < 4; k++) {
        LoaderConfig c = {.sampler = &s,
                          .n_batches = 20,
                          .threads = ways[k].threads,
                          .depth = ways[k].depth,
                          .cache_bytes = ways[k].cache};
        Loader *l;
        assert_int_equal(loader_open(&l, &c, NULL), NPC_OK);
        uint64_t h = 0xcbf29ce484222325u;
        for (uint32_t i = 0; i < 20; i++) {
            Batch *b = next(l);
            assert_int_equal(b->epoch, i / 8); /* 60 clips hold 8 batches of 7 */
            assert_int_equal(b->step, i % 8);
            h = hash_batch(h, b);
            loader_give_back(l, b);
        }
        assert_null(next(l));
        loader_close(l);
        first = k ? first : h;
        assert_true(h == first);
    }
}

static void a_resumed_loader_goes_on_with_the_same_batches(void **state)
{
    (void)state;
    Sampler s = sampler();
    Loader *l = opened(&s, 2, 3, 12);
    uint64_t want = 1, got = 1;
    for (int i = 0; i < 12; i++) {
        Batch *b = next(l);
        if (i >= 10)
            want = hash_batch(want, b);
        loader_give_back(l, b);
    }
    loader_close(l);
    LoaderConfig c = {
        .sampler = &s, .epoch = 1, .step = 2, .n_batches = 2, .threads = 1, .depth = 2};
    assert_int_equal(loader_open(&l, &c, NULL), NPC_OK);
    for (int i = 0; i < 2; i++) {
        Batch *b = next(l);
        got = hash_batch(got, b);
        loader_give_back(l, b);
    }
    loader_close(l);
    assert_true(got == want);
}

/* Builds the sample again, by hand, from the clip the batch reports. */
static void samples_hold_what_their_clips_say(void **state)
{
    (void)state;
    Sampler s = sampler();
    Loader *l = opened(&s, 3, 3, 8);
    int n_mixed = 0;
    for (Batch *b; (b = next(l)); loader_give_back(l, b)) {
        assert_int_equal(b->n, BATCH);
        for (uint32_t i = 0; i < BATCH; i++) {
            const Clip *c = &b->clips[i];
            const Recording *r = sessions[c->session].recording;
            float x[N_X], px[N_X], y[N_Y], py[N_Y];
            TrialMap m;
            assert_int_equal(trial_map(&m, r, c->trial, NULL), NPC_OK);
            assert_int_equal(clip_input(&m, &s.clip, c->end, x, NULL), NPC_OK);
            assert_int_equal(clip_target(&m, &s.clip, c->end, y, NULL), NPC_OK);
            trial_unmap(&m);
            if (c->is_mixed) {
                n_mixed++;
                assert_int_equal(trial_map(&m, r, c->partner_trial, NULL), NPC_OK);
                assert_int_equal(clip_input(&m, &s.clip, c->partner_end, px, NULL), NPC_OK);
                assert_int_equal(clip_target(&m, &s.clip, c->partner_end, py, NULL), NPC_OK);
                trial_unmap(&m);
                cutmix_input(x, px, 25, 8, 8, &c->box);
                cutmix_target(y, py, N_Y, cutmix_share(&c->box, 8, 8));
            }
            assert_memory_equal(b->x + i * N_X, x, sizeof x);
            assert_memory_equal(b->target[c->session] + (i - b->first[c->session]) * N_Y, y,
                                sizeof y);
            for (uint32_t k = 0; k < 3; k++)
                assert_true(b->weights[i * 3 + k] == (k == c->session));
        }
    }
    loader_close(l);
    assert_true(n_mixed > 10);
}

static void absent_sessions_have_no_targets(void **state)
{
    (void)state;
    SamplerSession many[64];
    for (int m = 0; m < 64; m++)
        many[m] = sessions[m % 3];
    Sampler s = sampler();
    s.sessions = many;
    s.n_sessions = 64;
    s.clips_per_epoch = 64 * 7;
    uint32_t seen[64] = {0};
    Loader *l = opened(&s, 2, 2, 64); /* one epoch */
    for (Batch *b; (b = next(l)); loader_give_back(l, b)) {
        uint32_t n = 0;
        for (int m = 0; m < 64; m++) {
            assert_true((b->target[m] == NULL) == (b->count[m] == 0));
            assert_int_equal(b->first[m], n);
            n += b->count[m];
            seen[m] += b->count[m];
        }
        assert_int_equal(n, BATCH);
    }
    loader_close(l);
    for (int m = 0; m < 64; m++)
        assert_int_equal(seen[m], 7);
}

static void a_list_of_clips_ends_with_a_short_batch(void **state)
{
    (void)state;
    Sampler s = sampler();
    Clip *clips;
    uint32_t n, seen = 0;
    Err err = {0};
    assert_int_equal(sampler_validation(sessions, 3, &s.clip, &arena, &clips, &n, &err), NPC_OK);
    assert_int_equal(n, 3 * (3 + 2)); /* 40 and 31 frames in spans of 13 */
    LoaderConfig c = {.sampler = &s, .clips = clips, .n_clips = n, .threads = 2, .depth = 2};
    Loader *l;
    assert_int_equal(loader_open(&l, &c, &err), NPC_OK);
    for (Batch *b; (b = next(l)); loader_give_back(l, b)) {
        assert_int_equal(b->n, seen == 14 ? 1 : BATCH);
        for (uint32_t i = 0; i < b->n; i++)
            assert_memory_equal(&b->clips[i], &clips[seen + i], sizeof *clips);
        for (uint32_t i = b->n * N_X; i < BATCH * N_X; i++)
            assert_true(b->x[i] == 0);
        seen += b->n;
    }
    assert_int_equal(seen, n);
    assert_null(next(l));
    loader_close(l);
}

static void an_empty_list_ends_at_once(void **state)
{
    (void)state;
    Sampler s = sampler();
    Clip none;
    LoaderConfig c = {.sampler = &s, .clips = &none, .n_clips = 0, .threads = 2, .depth = 2};
    Loader *l;
    assert_int_equal(loader_open(&l, &c, NULL), NPC_OK);
    assert_null(next(l));
    loader_close(l);
}

static void closing_works_at_any_moment(void **state)
{
    (void)state;
    Sampler s = sampler();
    for (uint32_t i = 0; i < 60; i++) {
        Loader *l = opened(&s, 1 + i % 4, 2 + i % 3, 0);
        for (uint32_t k = 0; k < i % 7; k++) {
            Batch *b = next(l);
            if (k % 7 != 6)
                loader_give_back(l, b);
        }
        loader_close(l);
    }
    loader_close(NULL);
}

static void holding_every_batch_is_an_error_not_a_deadlock(void **state)
{
    (void)state;
    Sampler s = sampler();
    Loader *l = opened(&s, 2, 2, 0);
    Batch *a = next(l), *b = next(l), *c;
    Err err = {0};
    assert_int_equal(loader_next(l, &c, &err), NPC_ERR_INTERNAL);
    loader_give_back(l, b); /* out of order */
    loader_give_back(l, a);
    a = next(l);
    assert_int_equal(a->step, 2);
    loader_close(l);
}

static void an_error_arrives_with_its_batch_and_stays(void **state)
{
    (void)state;
    /* a recording whose second trial has a hole; clips of the first come through */
    const char *path = arena_printf(&arena, "%s-hole", folder);
    const char *file = arena_printf(&arena, "%s/data/behavior/1.npy", path);
    tiny_write(path, TRIALS, N_TRIALS);
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    fseek(f, -8 * 25, SEEK_END); /* row 1, frame 15 */
    fwrite(&(double){(double)NAN}, 8, 1, f);
    fclose(f);
    Recording *r;
    Err err = {0};
    assert_int_equal(recording_open(&r, &arena, path, &err), NPC_OK);
    SamplerSession one = {r, NULL, 0};
    Sampler s = sampler();
    s.sessions = &one;
    s.n_sessions = 1;
    Clip clips[4 * BATCH] = {0};
    for (uint32_t i = 0; i < 4 * BATCH; i++)
        clips[i] = (Clip){.trial = i / BATCH == 2 && i % 3 == 0, .end = 12 + i % 20};
    for (uint32_t threads = 1; threads <= 4; threads++) {
        LoaderConfig c = {
            .sampler = &s, .clips = clips, .n_clips = 4 * BATCH, .threads = threads, .depth = 3};
        Loader *l;
        Batch *b;
        assert_int_equal(loader_open(&l, &c, &err), NPC_OK);
        for (int i = 0; i < 2; i++)
            loader_give_back(l, next(l));
        for (int i = 0; i < 3; i++) {
            Err bad = {0};
            assert_int_equal(loader_next(l, &b, &bad), NPC_ERR_INPUT);
            assert_null(b);
            assert_says(bad, "data/behavior/1.npy: frame 15 of row 1 is not finite");
        }
        loader_close(l);
    }
    tiny_remove(path);
}

static void the_lowest_bad_sample_of_a_batch_is_reported(void **state)
{
    (void)state;
    const char *path = arena_printf(&arena, "%s-two", folder);
    tiny_write(path, TRIALS, N_TRIALS);
    Recording *r;
    assert_int_equal(recording_open(&r, &arena, path, NULL), NPC_OK);
    assert_int_equal(unlink(arena_printf(&arena, "%s/data/videos/1.npy", path)), 0);
    assert_int_equal(unlink(arena_printf(&arena, "%s/data/videos/4.npy", path)), 0);
    SamplerSession one = {r, NULL, 0};
    Sampler s = sampler();
    s.sessions = &one;
    s.n_sessions = 1;
    Clip clips[BATCH] = {{.trial = 0, .end = 12}, {.trial = 4, .end = 12}, {.trial = 1, .end = 12},
                         {.trial = 0, .end = 13}, {.trial = 1, .end = 14}, {.trial = 0, .end = 12},
                         {.trial = 1, .end = 15}};
    for (uint32_t i = 0; i < 40; i++) {
        LoaderConfig c = {
            .sampler = &s, .clips = clips, .n_clips = BATCH, .threads = 1 + i % 4, .depth = 2};
        Loader *l;
        Batch *b;
        Err err = {0};
        assert_int_equal(loader_open(&l, &c, NULL), NPC_OK);
        assert_int_equal(loader_next(l, &b, &err), NPC_ERR_INPUT);
        assert_says(err, "videos/4.npy: cannot open");
        loader_close(l);
    }
    tiny_remove(path);
}

static void impossible_settings_are_named(void **state)
{
    (void)state;
    Sampler s = sampler();
    Loader *l;
    LoaderConfig c = {.sampler = &s, .threads = 0, .depth = 2};
    Err threads = {0}, depth = {0}, order = {0};
    assert_int_equal(loader_open(&l, &c, &threads), NPC_ERR_USAGE);
    assert_says(threads, "0 threads");
    c.threads = 1;
    c.depth = 1;
    assert_int_equal(loader_open(&l, &c, &depth), NPC_ERR_USAGE);
    Clip clips[2] = {{.session = 1}, {.session = 0}};
    c = (LoaderConfig){.sampler = &s, .clips = clips, .n_clips = 2, .threads = 1, .depth = 2};
    assert_int_equal(loader_open(&l, &c, &order), NPC_ERR_INTERNAL);
    assert_null(l);
}

static void the_cache_keeps_to_its_budget(void **state)
{
    (void)state;
    const Recording *r = sessions[0].recording;
    TrialMap m;
    assert_int_equal(trial_map(&m, r, 0, NULL), NPC_OK);
    size_t one = m.bytes;
    trial_unmap(&m);
    TrialCache *c = trial_cache_new(2 * one);
    const TrialMap *a, *b, *again;
    assert_int_equal(trial_cache_acquire(c, r, 0, &a, NULL), NPC_OK);
    assert_int_equal(trial_cache_acquire(c, r, 0, &again, NULL), NPC_OK);
    assert_ptr_equal(a, again);
    assert_int_equal(trial_cache_bytes(c), one);
    trial_cache_release(c, again);
    trial_cache_release(c, a);
    for (uint32_t t = 0; t < 5; t++) {
        if (t == 2)
            continue;
        assert_int_equal(trial_cache_acquire(c, r, t, &b, NULL), NPC_OK);
        trial_cache_release(c, b);
        assert_true(trial_cache_bytes(c) <= 2 * one);
    }
    trial_cache_free(c);
}

static int open_folder(void **state)
{
    (void)state;
    Err err = {0};
    folder = tiny_folder();
    for (int i = 0; i < 3; i++)
        tiny_write(arena_printf(&arena, "%s/mouse%d", folder, i), TRIALS, N_TRIALS);
    assert_int_equal(recordings_open(&recordings, &arena, folder, &err), NPC_OK);
    for (int i = 0; i < 3; i++) {
        uint32_t *list, n;
        n = recording_trials(recordings.at[i], TIER_BIT(TIER_TRAIN), &arena, &list);
        sessions[i] = (SamplerSession){recordings.at[i], list, n};
    }
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    tiny_remove(folder);
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_do_not_depend_on_threads_or_depth),
        cmocka_unit_test(a_resumed_loader_goes_on_with_the_same_batches),
        cmocka_unit_test(samples_hold_what_their_clips_say),
        cmocka_unit_test(absent_sessions_have_no_targets),
        cmocka_unit_test(a_list_of_clips_ends_with_a_short_batch),
        cmocka_unit_test(an_empty_list_ends_at_once),
        cmocka_unit_test(closing_works_at_any_moment),
        cmocka_unit_test(holding_every_batch_is_an_error_not_a_deadlock),
        cmocka_unit_test(an_error_arrives_with_its_batch_and_stays),
        cmocka_unit_test(the_lowest_bad_sample_of_a_batch_is_reported),
        cmocka_unit_test(impossible_settings_are_named),
        cmocka_unit_test(the_cache_keeps_to_its_budget),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
