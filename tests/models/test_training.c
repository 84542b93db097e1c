/* How training is arranged: losses, rounds, optimizers, plateaus; and means of several runs. */
#include "runtime/average.h"
#include "data/npy_write.h"
#include "data/safetensors.h"
#include "runtime/score.h"
#include "tests/models/train_harness.h"

/* The same settings in one go and in two. */
static TrainResult train_interrupted(const char *const *sets, int n_sets, const char *name,
                                     uint64_t stop)
{
    char first[100], second[100];
    snprintf(first, sizeof first, "%s-1", name);
    snprintf(second, sizeof second, "%s-2", name);
    TrainOptions o = options(path(first));
    o.sets = sets;
    o.n_sets = n_sets;
    TrainResult whole = train_with(&o);
    o.run_dir = path(second);
    o.stop_after = stop;
    train_with(&o);
    o.resume = true;
    o.stop_after = 0;
    TrainResult r = train_with(&o);
    assert_true(isfinite(whole.loss) && whole.loss == r.loss && whole.step == r.step);
    assert_same_file(checkpoint(first, (int)r.step), checkpoint(second, (int)r.step));
    return r;
}

static void losses_of_every_kind_train(void **state)
{
    (void)state;
    const char *sets[] = {"loss=poisson(eps: 2 ^ -23, added: everywhere) |> correlation(10)",
                          "loss=scale(trials) |> l1(\"core\", 0.01) |> l1(\"readout.*.bias\", 1)",
                          "accumulate=2"};
    TrainResult with = train_interrupted(sets, 3, "losses", 4);
    sets[1] = "loss=scale(trials)";
    TrainResult without = train_interrupted(sets, 3, "losses-plain", 4);
    assert_true(with.loss > without.loss);
}

/* Masks of attention weights depend on seed and step alone, and on nothing that computes them. */
static void dropped_attention_weights_resume_with_the_same_bits(void **state)
{
    (void)state;
    TrainOptions o = options(path("drops-1"));
    o.model_path = "tests/models/dropped.nm";
    TrainResult whole = train_with(&o);
    o.run_dir = path("drops-2");
    o.machine.threads = 2;
    o.stop_after = 4;
    train_with(&o);
    o.resume = true;
    o.stop_after = 0;
    TrainResult r = train_with(&o);
    assert_true(isfinite(whole.loss) && whole.loss == r.loss && r.step == 6);
    assert_same_file(checkpoint("drops-1", 6), checkpoint("drops-2", 6));
    const char *sets[] = {"seed=4"};
    o.run_dir = path("drops-3");
    o.resume = false;
    o.sets = sets;
    o.n_sets = 1;
    assert_true(train_with(&o).loss != whole.loss);
}

static void rounds_train_and_resume(void **state)
{
    (void)state;
    const char *sets[] = {"pick=rounds", "batch=2clips", "loss=scale(trials)",
                          "stage.train=2epochs"};
    TrainResult r = train_interrupted(sets, 4, "rounds", 5); /* before a round of short batches */
    assert_int_equal(r.step, 2 + 2 * 3);                     /* 5 trials in parts of 2 */
}

/* What a weighted sum is made of does not depend on how a batch is cut. */
static void chunks_of_rounds_add_up(void **state)
{
    (void)state;
    const char *sets[] = {"accumulate=2"};
    TrainOptions o = options(path("add1"));
    o.model_path = PLAIN;
    TrainResult whole = train_with(&o);
    assert_int_equal(whole.step, 2 * 3);
    o.run_dir = path("add2");
    o.sets = sets;
    o.n_sets = 1;
    TrainResult cut = train_with(&o);
    assert_true(fabs(whole.loss - cut.loss) < 1e-6 * whole.loss);
    const char *without[] = {"loss=l1(\"core\", 0)"};
    o.run_dir = path("add3");
    o.sets = without;
    assert_true(train_with(&o).loss < whole.loss * (1 - 1e-6));
}

static void optimizers_train_and_resume(void **state)
{
    (void)state;
    const char *sets[] = {"optimizer=schedule_free(weight_decay: 0.01, warmup: 3 steps)",
                          "optimizer=autoclip(10) |> group(\"core\", rate: 2)",
                          "optimizer.absent=zero", "average=none"};
    TrainResult free = train_interrupted(sets, 4, "free", 3);
    const char *clipped[] = {"optimizer=clip(1e-3)", "accumulate=3"};
    TrainResult clip = train_interrupted(clipped, 2, "clip", 3);
    assert_true(free.loss != clip.loss && isfinite(free.score) && isfinite(clip.score));
}

/* The second stage never scores above 1: at step 4 the rate is lowered, at step 6 training ends,
 * and both times the weights of step 3 come back. */
static void a_plateau_lowers_the_rate_and_ends(void **state)
{
    (void)state;
    TrainOptions o = options(path("plateau"));
    o.model_path = PLAIN;
    o.recipe = "fading";
    TrainResult whole = train_with(&o);
    assert_int_equal(whole.step, 6);
    assert_int_equal(whole.total, 27);
    for (uint64_t stop = 3; stop <= 5; stop++) {
        char name[100];
        snprintf(name, sizeof name, "plateau-%d", (int)stop);
        o.run_dir = path(name);
        o.stop_after = stop;
        o.resume = false;
        assert_int_equal(train_with(&o).step, stop);
        o.stop_after = 0;
        o.resume = true;
        assert_int_equal(train_with(&o).step, 6);
        assert_same_file(checkpoint("plateau", 6), checkpoint(name, 6));
        assert_int_equal(train_with(&o).step, 6); /* it stays ended */
    }
    Safetensors best, last, before;
    Err err = {0};
    must(safetensors_open(&before, checkpoint("plateau", 3), &err), &err);
    must(safetensors_open(&last, checkpoint("plateau", 6), &err), &err);
    must(safetensors_open(&best, path("plateau/checkpoints/best.safetensors"), &err), &err);
    for (size_t i = 0; i < best.n; i++) {
        const SafetensorsEntry *a = &best.entry[i], *b = safetensors_find(&last, a->name);
        bool is_same = !memcmp(a->data, b->data, a->bytes), is_weight = !strchr(a->name, '/');
        assert_memory_equal(a->data, safetensors_find(&before, a->name)->data, a->bytes);
        if (is_weight || !strncmp(a->name, "adam_v", 6))
            assert_int_equal(is_same, is_weight); /* moments stay as they were */
    }
    safetensors_close(&best);
    safetensors_close(&last);
    safetensors_close(&before);
}

/* Tensors of two checkpoints that are weights or running statistics. */
static void assert_same_weights(const char *a, const char *b)
{
    Safetensors x, y;
    Err err = {0};
    must(safetensors_open(&x, a, &err), &err);
    must(safetensors_open(&y, b, &err), &err);
    for (size_t i = 0; i < x.n; i++) {
        const SafetensorsEntry *e = &x.entry[i];
        if (!strchr(e->name, '/'))
            assert_memory_equal(e->data, safetensors_find(&y, e->name)->data, e->bytes);
    }
    safetensors_close(&x);
    safetensors_close(&y);
}

static void weights_that_never_get_better_are_the_untrained_ones(void **state)
{
    (void)state;
    char best[4200];
    TrainOptions o = options(path("hopeless"));
    o.model_path = PLAIN;
    o.recipe = "hopeless";
    assert_int_equal(train_with(&o).step, 8); /* validations at 0, 2, .. 8: restored at 4 and 8 */
    snprintf(best, sizeof best, "%s", path("hopeless/checkpoints/best.safetensors"));
    assert_same_weights(best, checkpoint("hopeless", 8));
    for (uint64_t stop = 1; stop <= 7; stop += 3) {
        char name[100];
        snprintf(name, sizeof name, "hopeless-%d", (int)stop);
        o.run_dir = path(name);
        o.stop_after = stop;
        o.resume = false;
        assert_int_equal(train_with(&o).step, stop);
        o.stop_after = 0;
        o.resume = true;
        assert_int_equal(train_with(&o).step, 8);
        assert_same_file(checkpoint("hopeless", 8), checkpoint(name, 8));
        assert_same_weights(best, checkpoint(name, 8));
    }
}

/* The same recordings with every trial in tier train. */
static void a_plateau_needs_validation(void **state)
{
    (void)state;
    char folder[4096], tiers[4200];
    const char *tier[64];
    SynthOptions few = small_recordings();
    Arena arena = {0};
    Recordings all;
    TrainResult r;
    Err err = {0};
    few.mice = 1;
    snprintf(folder, sizeof folder, "%s", path("unvalidated"));
    must(synth_write(folder, &few, NULL, NULL, NULL, &err), &err);
    must(recordings_open(&all, &arena, folder, &err), &err);
    assert_in_range(all.at[0]->n_trials, 1, 64);
    for (int i = 0; i < 64; i++)
        tier[i] = "train";
    snprintf(tiers, sizeof tiers, "%s/meta/trials/tiers.npy", all.at[0]->path);
    must(npy_write_text(tiers, tier, all.at[0]->n_trials, &err), &err);
    TrainOptions o = options(path("blind"));
    o.model_path = PLAIN;
    o.recipe = "fading";
    o.data = folder;
    assert_int_equal(train_run(&o, &r, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "there is no trial to validate on"));
    assert_false(file_exists(path("blind/run.json")));
    arena_free(&arena);
}

/* The trained weights are no longer those that are validated and predicted with. */
static void what_is_validated_is_the_average(void **state)
{
    (void)state;
    Safetensors file;
    Err err = {0};
    const char *sets[] = {"optimizer=schedule_free(warmup: 0 steps)"};
    TrainOptions o = options(path("average"));
    o.model_path = PLAIN;
    o.sets = sets;
    o.n_sets = 1;
    train_with(&o);
    must(safetensors_open(&file, checkpoint("average", 6), &err), &err);
    const float *y = safetensors_find(&file, "core.mix.weight")->data;
    const float *z = safetensors_find(&file, "free_z/core.mix.weight")->data;
    const float *x = safetensors_find(&file, "ema/core.mix.weight")->data;
    double moved = 0;
    for (int i = 0; i < 30; i++) {
        double want = (double)y[i] + ((double)z[i] - (double)y[i]) * (1 - 1 / 0.9);
        assert_true(fabs((double)x[i] - want) < 1e-6);
        moved += fabs((double)x[i] - (double)y[i]);
    }
    assert_true(moved > 1e-6);
    safetensors_close(&file);
}

/* One clip per step: the other recording's readout stays, or decays. */
static void readouts_without_a_clip_may_decay(void **state)
{
    (void)state;
    const char *names[] = {"keep", "zero"};
    Safetensors file[2];
    Err err = {0};
    int n = 0, differ = 0;
    for (int k = 0; k < 2; k++) {
        char absent[100];
        snprintf(absent, sizeof absent, "optimizer.absent=%s", names[k]);
        const char *sets[] = {absent, "pick=uniform(sessions)", "batch=1clips",
                              "loss=scale(share)"};
        TrainOptions o = options(path(names[k]));
        o.model_path = PLAIN;
        o.sets = sets;
        o.n_sets = 4;
        o.stop_after = 1;
        train_with(&o);
        must(safetensors_open(&file[k], checkpoint(names[k], 1), &err), &err);
    }
    for (size_t i = 0; i < file[0].n; i++) {
        const SafetensorsEntry *a = &file[0].entry[i], *b = safetensors_find(&file[1], a->name);
        if (strncmp(a->name, "readout.", 8) || !strstr(a->name, "weight"))
            continue;
        n++;
        differ += memcmp(a->data, b->data, a->bytes) != 0;
    }
    assert_int_equal(n, 2);
    assert_int_equal(differ, 1);
    safetensors_close(&file[0]);
    safetensors_close(&file[1]);
}

/* ---- means of runs ---- */

static const char *run_with_seed(int seed, const char *model)
{
    static char names[8][100];
    static int n;
    char set[50], *name = names[n++ % 8];
    snprintf(name, sizeof names[0], "mean-%d-%d", seed, n);
    snprintf(set, sizeof set, "seed=%d", seed);
    const char *sets[] = {set};
    TrainOptions o = options(path(name));
    o.model_path = model;
    o.sets = sets;
    o.n_sets = 1;
    o.stop_after = 1;
    train_with(&o);
    return name;
}

static AverageOptions average_of(const char *const *runs, int n, const char *out)
{
    TrainOptions t = options(NULL);
    return (AverageOptions){.runs = runs,
                            .n_runs = n,
                            .out = out,
                            .predict = {.tiers = TIER_BIT(TIER_ORACLE), .machine = t.machine}};
}

static Npy open_prediction(const char *run, const char *name)
{
    char full[4200];
    Npy a;
    Err err = {0};
    snprintf(full, sizeof full, "%s/%s", path(run), name);
    must(npy_open(&a, full, &err), &err);
    return a;
}

static const char *first_prediction(void)
{
    static char name[1000];
    Arena arena = {0};
    Recordings all;
    Err err = {0};
    uint32_t *trials;
    must(recordings_open(&all, &arena, data, &err), &err);
    assert_true(recording_trials(all.at[0], TIER_BIT(TIER_ORACLE), &arena, &trials) > 0);
    snprintf(name, sizeof name, "predictions/%s/oracle/%u.npy", all.at[0]->name, trials[0]);
    arena_free(&arena);
    return name;
}

static void the_mean_of_runs_is_predicted_and_scored(void **state)
{
    (void)state;
    const char *names[] = {run_with_seed(1, PLAIN), run_with_seed(2, PLAIN),
                           run_with_seed(3, PLAIN)};
    const char *runs[3];
    Err err = {0};
    for (int i = 0; i < 3; i++)
        runs[i] = path(names[i]);
    AverageOptions o = average_of(runs, 3, path("mean"));
    must(average_run(&o, &err), &err);
    Npy one[3], mean = open_prediction("mean", first_prediction());
    for (int i = 0; i < 3; i++)
        one[i] = open_prediction(names[i], first_prediction());
    for (uint64_t k = 0; k < mean.head.elems; k++) {
        double sum = npy_double(&one[0], k) + npy_double(&one[1], k) + npy_double(&one[2], k);
        assert_true(npy_double(&mean, k) == (double)(float)(sum / 3));
    }
    assert_true(npy_double(&one[0], 0) != npy_double(&one[1], 0));
    for (int i = 0; i < 3; i++)
        npy_close(&one[i]);
    npy_close(&mean);
    must(average_run(&o, &err), &err); /* the same runs again */
    ScoreOptions s = {.run_dir = o.out, .machine = o.predict.machine, .json = true};
    must(score_run(&s, &err), &err);
}

static void assert_refused(const AverageOptions *o, const char *says)
{
    Err err = {0};
    assert_int_not_equal(average_run(o, &err), NPC_OK);
    if (!strstr(err.text, says))
        fail_msg("\"%s\" does not say \"%s\"", err.text, says);
}

static void runs_that_do_not_fit_have_no_mean(void **state)
{
    (void)state;
    char other[4096], a[4096], b[4096], none[4096]; /* path() has few places */
    snprintf(a, sizeof a, "%s", path(run_with_seed(1, PLAIN)));
    snprintf(b, sizeof b, "%s", path(run_with_seed(2, PLAIN)));
    snprintf(none, sizeof none, "%s", path("none"));
    Err err = {0};
    AverageOptions o = average_of((const char *[]){a, a}, 2, none);
    assert_refused(&o, "stands twice");
    o = average_of((const char *[]){a, path("nowhere")}, 2, none);
    assert_refused(&o, "no such run directory");
    o = average_of((const char *[]){a, b}, 2, a);
    assert_refused(&o, "is another run than the mean of these");
    /* one recording, and one with other responses */
    SynthOptions few = small_recordings();
    few.mice = 1;
    snprintf(other, sizeof other, "%s", path("fewer"));
    must(synth_write(other, &few, NULL, NULL, NULL, &err), &err);
    TrainOptions t = options(path("mean-few"));
    t.model_path = PLAIN;
    t.data = other;
    t.stop_after = 1;
    train_with(&t);
    o = average_of((const char *[]){a, path("mean-few")}, 2, none);
    assert_refused(&o, "name the recordings with --data");
    o.predict.data = data;
    assert_refused(&o, "predicts 1 recordings");
    const char *sets[] = {"data.responses=neurons"};
    t = options(path("mean-units"));
    t.model_path = PLAIN;
    t.sets = sets;
    t.n_sets = 1;
    t.stop_after = 1;
    train_with(&t);
    o = average_of((const char *[]){a, path("mean-units")}, 2, none);
    assert_refused(&o, "different units");
    assert_false(file_exists(none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_of_every_kind_train),
        cmocka_unit_test(dropped_attention_weights_resume_with_the_same_bits),
        cmocka_unit_test(rounds_train_and_resume),
        cmocka_unit_test(chunks_of_rounds_add_up),
        cmocka_unit_test(optimizers_train_and_resume),
        cmocka_unit_test(a_plateau_lowers_the_rate_and_ends),
        cmocka_unit_test(weights_that_never_get_better_are_the_untrained_ones),
        cmocka_unit_test(a_plateau_needs_validation),
        cmocka_unit_test(what_is_validated_is_the_average),
        cmocka_unit_test(readouts_without_a_clip_may_decay),
        cmocka_unit_test(the_mean_of_runs_is_predicted_and_scored),
        cmocka_unit_test(runs_that_do_not_fit_have_no_mean),
    };
    return cmocka_run_group_tests(tests, make_recordings, scratch_remove);
}
