/* How training is arranged: losses, rounds; on recordings made on the spot. */
#include "runtime/safetensors.h"
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

static void rounds_train_and_resume(void **state)
{
    (void)state;
    const char *sets[] = {"pick=rounds", "batch=2clips", "loss=scale(trials)",
                          "stage.train=2epochs"};
    TrainResult r = train_interrupted(sets, 4, "rounds", 3);
    assert_int_equal(r.step, 2 + 2 * 3); /* 5 trials in parts of 2 */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_of_every_kind_train),
        cmocka_unit_test(rounds_train_and_resume),
        cmocka_unit_test(chunks_of_rounds_add_up),
        cmocka_unit_test(optimizers_train_and_resume),
        cmocka_unit_test(a_plateau_lowers_the_rate_and_ends),
        cmocka_unit_test(what_is_validated_is_the_average),
        cmocka_unit_test(readouts_without_a_clip_may_decay),
    };
    return cmocka_run_group_tests(tests, make_recordings, scratch_remove);
}
