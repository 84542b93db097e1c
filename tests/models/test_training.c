/* How training is arranged: losses, rounds; on recordings made on the spot. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_of_every_kind_train),
        cmocka_unit_test(rounds_train_and_resume),
        cmocka_unit_test(chunks_of_rounds_add_up),
    };
    return cmocka_run_group_tests(tests, make_recordings, scratch_remove);
}
