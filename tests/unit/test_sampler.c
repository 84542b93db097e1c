#include "tests/unit/tiny_recording.h"

#include "runtime/sampler.h"

static const char *folder;
static Arena arena;
static Recordings recordings;
static SamplerSession sessions[3];

/* 9 frames do not hold a window of 13; the trial of tier none has no valid frame at all. */
static const TinyTrial TRIALS[] = {
    {"train", 40, 40, false}, {"train", 40, 13, false},  {"none", 40, 0, false},
    {"train", 40, 9, false},  {"oracle", 40, 39, false}, {"train", 40, 0, false},
};
enum { N_TRIALS = sizeof TRIALS / sizeof *TRIALS };

static Sampler published(void)
{
    return (Sampler){
        .seed = 5,
        .clips_per_epoch = 600,
        .batch = 32,
        .mix_chance = 0.5,
        .mix_alpha = 1,
        .clip = {.channels = CHANNEL_ALL, .height = 8, .width = 8, .size = 5, .step = 3},
        .sessions = sessions,
        .n_sessions = 3};
}

static void every_session_gets_its_share_of_an_epoch(void **state)
{
    (void)state;
    Sampler s = published();
    uint32_t order[600], other[600], count[3] = {0}, n_same = 0;
    sampler_order(&s, 0, order);
    sampler_order(&s, 1, other);
    for (int i = 0; i < 600; i++) {
        count[order[i]]++;
        n_same += order[i] == other[i];
    }
    for (int m = 0; m < 3; m++)
        assert_int_equal(count[m], 200);
    assert_in_range(n_same, 150, 250); /* a third by chance: another permutation */
    assert_int_equal(sampler_steps(&s), 18);
}

static void samples_of_a_session_stand_together_in_stable_order(void **state)
{
    (void)state;
    Sampler s = published();
    uint32_t order[600], item[32], session[32], first[3], count[3];
    sampler_order(&s, 2, order);
    for (uint32_t step = 0; step < sampler_steps(&s); step++) {
        bool seen[32] = {false};
        sampler_plan(&s, order, step, item, session, first, count);
        assert_int_equal(count[0] + count[1] + count[2], 32);
        for (uint32_t i = 0; i < 32; i++) {
            assert_int_equal(session[i], order[item[i]]);
            assert_in_range(i, first[session[i]], first[session[i]] + count[session[i]] - 1);
            if (i && session[i] == session[i - 1])
                assert_true(item[i] > item[i - 1]);
            assert_in_range(item[i], step * 32, step * 32 + 31);
            assert_false(seen[item[i] - step * 32]);
            seen[item[i] - step * 32] = true;
        }
    }
}

static Clip drawn(const Sampler *s, uint32_t epoch, uint32_t item)
{
    Clip clip;
    Err err = {0};
    if (sampler_clip(s, epoch, item, item % 3, SAMPLER_ANY, &clip, &err) != NPC_OK)
        fail_msg("%s", err.text);
    return clip;
}

static void a_clip_depends_on_seed_epoch_and_item_alone(void **state)
{
    (void)state;
    Sampler s = published(), other = published();
    other.seed = 6;
    int differs_by_epoch = 0, differs_by_seed = 0;
    for (uint32_t i = 0; i < 200; i++) {
        Clip a = drawn(&s, 3, 199 - i), b = drawn(&s, 3, 199 - i);
        assert_memory_equal(&a, &b, sizeof a);
        b = drawn(&s, 4, 199 - i);
        differs_by_epoch += memcmp(&a, &b, sizeof a) != 0;
        b = drawn(&other, 3, 199 - i);
        differs_by_seed += memcmp(&a, &b, sizeof a) != 0;
    }
    assert_true(differs_by_epoch > 180 && differs_by_seed > 180);
}

static void windows_end_uniformly_inside_trials_that_hold_one(void **state)
{
    (void)state;
    Sampler s = published();
    uint32_t ends[40] = {0}, in_short = 0, n_mixed = 0, n = 12000;
    for (uint32_t i = 0; i < n; i++) {
        Clip c = drawn(&s, 0, i);
        assert_int_equal(c.session, i % 3);
        assert_true(c.trial == 0 || c.trial == 1); /* the only two that are long enough */
        assert_in_range(c.end, 12, c.trial ? 12 : 39);
        in_short += c.trial == 1;
        if (c.trial == 0)
            ends[c.end]++;
        n_mixed += c.is_mixed;
        if (c.is_mixed)
            assert_true(c.partner_trial < 2 && c.partner_end >= 12 && c.partner_end < 40);
    }
    /* five standard deviations around the binomial means */
    assert_in_range(in_short, n / 2 - 274, n / 2 + 274);
    assert_in_range(n_mixed, n / 2 - 274, n / 2 + 274);
    for (int e = 12; e < 40; e++)
        assert_in_range(ends[e], 142, 287); /* 6000 / 28 = 214 */
}

/* 5, 3 and 1 trials in rounds of 2: 3 rounds; the second session begins again in the third. */
static void rounds_go_through_permutations_of_every_session(void **state)
{
    (void)state;
    static const uint32_t trials[] = {0, 1, 0, 1, 0};
    SamplerSession own[3];
    Sampler s = published();
    for (uint32_t m = 0; m < 3; m++)
        own[m] = (SamplerSession){sessions[0].recording, trials, (uint32_t[]){5, 3, 1}[m]};
    s.sessions = own;
    sampler_set_rounds(&s, 2, false);
    assert_int_equal(sampler_steps(&s), 3);
    assert_int_equal(s.batch, 6);
    assert_int_equal(sampler_order_size(&s), 18 + 5);
    static const uint32_t counts[3][3] = {{2, 2, 1}, {2, 1, 1}, {1, 2, 1}};
    uint32_t order[2][23], seen[2][3][5] = {0}, number[18] = {0};
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        sampler_order(&s, epoch, order[epoch]);
        for (uint32_t step = 0; step < 3; step++) {
            uint32_t item[6], session[6], first[3], count[3];
            uint32_t n = sampler_plan(&s, order[epoch], step, item, session, first, count);
            assert_memory_equal(count, counts[step], sizeof count);
            assert_int_equal(n, count[0] + count[1] + count[2]);
            for (uint32_t i = 0; i < n; i++) {
                uint32_t m = session[i], trial = order[epoch][item[i]];
                assert_in_range(i, first[m], first[m] + count[m] - 1);
                assert_true(trial < own[m].n_trials);
                seen[epoch][m][trial] += m != 1 || step < 2; /* its first pass */
                number[item[i]]++;
            }
        }
    }
    for (int k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < 5; i++)
            assert_int_equal(seen[k][0][i], 1);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(seen[k][1][i], 1);
        assert_int_equal(seen[k][2][0], 3);
    }
    for (int i = 0; i < 18; i++) /* items are never used twice in an epoch */
        assert_in_range(number[i], 0, 2);
    assert_memory_not_equal(order[0], order[1], 18 * sizeof **order); /* behind it is scratch */
    Clip clip;
    Err err = {0};
    assert_int_equal(sampler_clip(&s, 1, 0, 0, 1, &clip, &err), NPC_OK);
    assert_int_equal(clip.trial, trials[1]);
}

/* The same rounds, each session's part a batch: 9 steps. */
static void turns_go_through_the_sessions(void **state)
{
    (void)state;
    static const uint32_t trials[] = {0, 1, 0, 1, 0},
                          counts[3][3] = {{2, 2, 1}, {2, 1, 1}, {1, 2, 1}};
    SamplerSession own[3];
    Sampler rounds = published(), turns;
    for (uint32_t m = 0; m < 3; m++)
        own[m] = (SamplerSession){sessions[0].recording, trials, (uint32_t[]){5, 3, 1}[m]};
    rounds.sessions = own;
    turns = rounds;
    sampler_set_rounds(&rounds, 2, false);
    sampler_set_rounds(&turns, 2, true);
    assert_int_equal(sampler_steps(&turns), 9);
    assert_int_equal(turns.batch, 2);
    uint32_t order[2][23];
    sampler_order(&rounds, 3, order[0]);
    sampler_order(&turns, 3, order[1]);
    assert_memory_equal(order[0], order[1], 18 * sizeof **order);
    for (uint32_t step = 0; step < 9; step++) {
        uint32_t item[2][6], session[2][6], first[2][3], count[2][3], m = step % 3;
        sampler_plan(&rounds, order[0], step / 3, item[0], session[0], first[0], count[0]);
        uint32_t n = sampler_plan(&turns, order[1], step, item[1], session[1], first[1], count[1]);
        assert_int_equal(n, counts[step / 3][m]);
        assert_int_equal(first[1][m], 0);
        for (uint32_t k = 0; k < 3; k++)
            assert_int_equal(count[1][k], k == m ? n : 0);
        assert_memory_equal(item[1], item[0] + first[0][m], n * sizeof **item);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(session[1][i], m);
    }
}

/* A trial that holds no window gives its place away. */
static void a_short_trial_of_a_round_is_replaced(void **state)
{
    (void)state;
    static const uint32_t trials[] = {0, 3};
    SamplerSession own = {sessions[0].recording, trials, 2};
    Sampler s = published();
    Clip clip;
    Err err = {0};
    s.sessions = &own;
    s.n_sessions = 1;
    sampler_set_rounds(&s, 2, false);
    for (uint32_t item = 0; item < 20; item++) {
        assert_int_equal(sampler_clip(&s, 0, item, 0, 1, &clip, &err), NPC_OK);
        assert_int_equal(clip.trial, 0);
    }
}

/* As published with ViV1T: the last possible start never occurs, unless it is the only one. */
static void the_last_start_can_be_left_out(void **state)
{
    (void)state;
    Sampler s = published();
    uint32_t last[2] = {0}, n_short = 0;
    for (uint32_t i = 0; i < 6000; i++) {
        Clip all = drawn(&s, 0, i);
        last[0] += all.trial == 0 && all.end == 39;
        s.not_last = true;
        Clip c = drawn(&s, 0, i);
        s.not_last = false;
        last[1] += c.trial == 0 && c.end == 39;
        n_short += c.trial == 1 && c.end == 12; /* a trial of one window */
    }
    assert_true(last[0] > 50 && last[1] == 0 && n_short > 2000);
}

static void mixing_can_be_switched_off_and_on(void **state)
{
    (void)state;
    Sampler never = published(), always = published();
    never.mix_chance = 0;
    always.mix_chance = 1;
    for (uint32_t i = 0; i < 300; i++) {
        assert_false(drawn(&never, 0, i).is_mixed);
        assert_true(drawn(&always, 0, i).is_mixed);
    }
}

/* Mean 1/2 and variance 1 / (4 (2 alpha + 1)) of Beta(alpha, alpha). */
static void shares_follow_the_beta_distribution(void **state)
{
    (void)state;
    static const double alphas[] = {0.1, 0.5, 1, 2, 7.5};
    for (int k = 0; k < 5; k++) {
        double sum = 0, squares = 0, alpha = alphas[k];
        int n = 40000;
        for (int i = 0; i < n; i++) {
            double x = beta_draw(alpha, 1, (uint64_t)i);
            assert_true(x >= 0 && x <= 1);
            sum += x;
            squares += (x - 0.5) * (x - 0.5);
        }
        double variance = 1 / (4 * (2 * alpha + 1));
        assert_true(fabs(sum / n - 0.5) < 5 * sqrt(variance / n));
        assert_true(fabs(squares / n / variance - 1) < 0.05);
    }
    for (int i = 0; i < 100; i++) { /* both gamma draws underflow */
        double x = beta_draw(1e-5, 1, (uint64_t)i);
        assert_true(x >= 0 && x <= 1);
    }
}

static void impossible_settings_are_named(void **state)
{
    (void)state;
    Sampler good = published(), bad;
    assert_int_equal(sampler_check(&good, NULL), NPC_OK);
#define REFUSED(change, part)                                                                      \
    do {                                                                                           \
        Err err = {0};                                                                             \
        bad = good;                                                                                \
        change;                                                                                    \
        assert_int_equal(sampler_check(&bad, &err), NPC_ERR_INPUT);                                \
        assert_says(err, part);                                                                    \
    } while (0)
    REFUSED(bad.n_sessions = 0, "no recording");
    REFUSED(bad.batch = 0, "a batch of 0 clips");
    REFUSED(bad.clips_per_epoch = 31, "an epoch of 31 clips");
    REFUSED(bad.mix_chance = 1.5, "a CutMix chance of 1.5");
    REFUSED(bad.mix_chance = NAN, "a CutMix chance of");
    REFUSED(bad.mix_alpha = 0, "a CutMix alpha of 0");
    REFUSED(bad.clip.size = 15, "the longest trial has 40 frames, a window needs 43");
    REFUSED(bad.clip.height = 4, "frames of 5 x 7 pixels do not fit");
}

static void a_session_without_a_long_trial_is_an_error(void **state)
{
    (void)state;
    static const uint32_t too_short[] = {3, 5};
    SamplerSession one = {recordings.at[0], too_short, 2};
    Sampler s = published();
    s.sessions = &one;
    s.n_sessions = 1;
    Clip clip;
    Err err = {0};
    assert_int_equal(sampler_clip(&s, 0, 0, 0, SAMPLER_ANY, &clip, &err), NPC_ERR_INPUT);
    assert_says(err, "no trial with 13 valid frames");
}

static void validation_cuts_trials_into_disjoint_spans(void **state)
{
    (void)state;
    ClipShape s = {.channels = CHANNEL_ALL, .height = 8, .width = 8, .size = 5, .step = 3};
    Clip *clips;
    uint32_t n;
    Err err = {0};
    assert_int_equal(sampler_validation(sessions, 2, &s, &arena, &clips, &n, &err), NPC_OK);
    assert_int_equal(n, 2 * (3 + 1)); /* 40 frames hold 3 spans of 13, 13 frames one */
    static const uint32_t ends[] = {12, 25, 38, 12};
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(clips[i].session, i / 4);
        assert_int_equal(clips[i].trial, i % 4 == 3);
        assert_int_equal(clips[i].end, ends[i % 4]);
        assert_false(clips[i].is_mixed);
    }
    ClipShape published_clip = {
        .channels = CHANNEL_ALL, .height = 64, .width = 64, .size = 16, .step = 2};
    assert_int_equal(span_count(&published_clip, 300), 9);
    assert_int_equal(span_end(&published_clip, 0), 30);
    assert_int_equal(span_end(&published_clip, 8), 278);
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
        cmocka_unit_test(every_session_gets_its_share_of_an_epoch),
        cmocka_unit_test(samples_of_a_session_stand_together_in_stable_order),
        cmocka_unit_test(a_clip_depends_on_seed_epoch_and_item_alone),
        cmocka_unit_test(windows_end_uniformly_inside_trials_that_hold_one),
        cmocka_unit_test(rounds_go_through_permutations_of_every_session),
        cmocka_unit_test(turns_go_through_the_sessions),
        cmocka_unit_test(a_short_trial_of_a_round_is_replaced),
        cmocka_unit_test(the_last_start_can_be_left_out),
        cmocka_unit_test(mixing_can_be_switched_off_and_on),
        cmocka_unit_test(shares_follow_the_beta_distribution),
        cmocka_unit_test(impossible_settings_are_named),
        cmocka_unit_test(a_session_without_a_long_trial_is_an_error),
        cmocka_unit_test(validation_cuts_trials_into_disjoint_spans),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
