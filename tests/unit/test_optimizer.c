/* Optimizers of recipes: parameter groups, AdamW without a schedule against published numbers,
 * limits of the gradients' norm. The update programs are run on gradients that are given. */
#include <float.h>

#include "runtime/norms.h"
#include "runtime/schedule.h"
#include "tests/unit/small_model.h"

enum { N = 5 };

#define MODEL                                                                                      \
    "nm 1\nsessions = [\"A\": 5]\n"                                                                \
    "model m(clip: [b c:5]) -> per s in sessions [b n:s.neurons t:1] {\n"                          \
    "  part core {\n    param w: [c:5] = 0\n    x = sum(clip * w, over: [c])\n  }\n"               \
    "  part readout per s in sessions {\n    param w: [n:5 t:1] = 0\n"                             \
    "    param free: [n:5 t:1] (decay: no) = 0\n    return x * w + free\n  }\n}\n"                 \
    "recipe r for m {\n  optimizer = %s\n}\n"

static Model *open_update(const char *optimizer, SmallWay way, int *update, int *average)
{
    char text[2000];
    snprintf(text, sizeof text, MODEL, optimizer);
    Model *m = small_model(text, way);
    *update = small_add(m, PROGRAM_UPDATE);
    if (average)
        *average = small_add(m, PROGRAM_AVERAGE);
    small_ready(m);
    return m;
}

static void set(Model *m, const char *name, const float *from)
{
    float *at = engine_tensor(m->engine, name);
    Err err = {0};
    assert_non_null(at);
    assert_int_equal(engine_fetch(m->engine, &err), NPC_OK);
    memcpy(at, from, N * sizeof *at);
    engine_tensors_changed(m->engine);
}

static void put(Model *m, int program, const char *input, double x)
{
    small_put(m, program, input, &(float){(float)x}, 1);
}

static void put_first_step(Model *m, int program, double rate)
{
    put(m, program, "rate", rate);
    put(m, program, "bias1", 1 - 0.9);
    put(m, program, "bias2", 1 - 0.999);
    put(m, program, "bias1/A", 1 - 0.9);
    put(m, program, "bias2/A", 1 - 0.999);
}

static const float weights[N] = {1, -2, 0.5f, 0, 3},
                   gradients[N] = {0.1f, 0.2f, -0.3f, 0.4f, -0.5f};

/* The first step of AdamW goes at the rate against the gradient's sign. */
static void assert_moved(Model *m, const char *name, double rate, double decay)
{
    float want[N];
    for (int i = 0; i < N; i++)
        want[i] =
            (float)((double)weights[i] * (1 - rate * decay) - rate * (gradients[i] > 0 ? 1 : -1));
    assert_near(name, engine_tensor(m->engine, name), want, N, 1e-6);
}

static void groups_have_rates_and_decays_of_their_own(void **state)
{
    (void)state;
    static const char *const names[] = {"core.w", "readout.A.w", "readout.A.free"};
    for (int way = 0; way < small_n_ways(); way++) {
        int update;
        Model *m = open_update("adamw(weight_decay: 0.5) |> group(\"core\", rate: 4 / 3)"
                               " |> group(\"readout\", rate: 0.25, weight_decay: 0.125)",
                               small_ways[way], &update, NULL);
        for (int i = 0; i < 3; i++) {
            char grad[100];
            snprintf(grad, sizeof grad, "grad/%s", names[i]);
            set(m, names[i], weights);
            set(m, grad, gradients);
        }
        put_first_step(m, update, 0.03);
        small_run(m, update);
        assert_moved(m, "core.w", 0.04, 0.5);
        assert_moved(m, "readout.A.w", 0.0075, 0.125);
        assert_moved(m, "readout.A.free", 0.0075, 0); /* decay: no, whatever a group says */
        model_close(m);
    }
}

static void no_schedule_gives_the_published_ten_steps(void **state)
{
    (void)state;
    size_t n, n_start;
    const float *grad = small_golden("schedule_free/ten_steps/input/gradients", &n);
    const float *start = small_golden("schedule_free/ten_steps/input/start", &n_start);
    const float *y = small_golden("schedule_free/ten_steps/expect/training_weights", &n);
    const float *x = small_golden("schedule_free/ten_steps/expect/averaged_weights", &n);
    assert_int_equal(n_start, N);
    assert_int_equal(n, 10 * N);
    for (int way = 0; way < small_n_ways(); way++) {
        int update, average;
        ScheduleFree s = {0};
        Model *m = open_update("schedule_free(weight_decay: 0.0783, warmup: 4 steps)",
                               small_ways[way], &update, &average);
        set(m, "core.w", start);
        set(m, "free_z/core.w", start);
        for (int k = 0; k < 10; k++) {
            ScheduleFreeStep step = schedule_free_step(&s, 0.0126, (uint64_t)k, 4);
            put(m, update, "rate", step.rate);
            put(m, update, "mix", step.mix);
            put(m, update, "bias2", 1 - pow(0.999, k + 1));
            put(m, update, "bias2/A", 1 - pow(0.999, k + 1));
            set(m, "grad/core.w", grad + k * N);
            small_run(m, update);
            small_run(m, average);
            assert_near("weights", engine_tensor(m->engine, "core.w"), y + k * N, N, 2e-6);
            assert_near("average", engine_tensor(m->engine, "ema/core.w"), x + k * N, N, 2e-6);
        }
        model_close(m);
    }
}

static void a_new_model_averages_to_its_own_weights(void **state)
{
    (void)state;
    int update;
    Model *m = small_model("nm 1\nsessions = [\"A\": 2]\n"
                           "model m(clip: [b c:3 t:2]) -> per s in sessions [b n:s.neurons t] {\n"
                           "  part readout per s in sessions {\n"
                           "    return clip |> dense([n: s.neurons], from: c, name: \"\")\n  }\n}\n"
                           "recipe r for m { optimizer = schedule_free() }\n",
                           small_ways[0]);
    update = small_add(m, PROGRAM_UPDATE);
    (void)update;
    small_ready(m);
    const float *w = engine_tensor(m->engine, "readout.A.weight");
    assert_true(w[0] != 0);
    assert_memory_equal(w, engine_tensor(m->engine, "free_z/readout.A.weight"), 6 * sizeof *w);
    model_close(m);
}

static void the_norm_of_all_gradients_is_limited(void **state)
{
    (void)state;
    const float first[N] = {3, 0, 0, 0, 0}, second[N] = {0, 0, 4, 0, 0}, none[N] = {0};
    const float limits[] = {2.5f, 5.1f, FLT_MAX};
    for (int way = 0; way < small_n_ways(); way++)
        for (int i = 0; i < 3; i++) {
            int update;
            float norm;
            Model *m =
                open_update("adamw(beta1: 0) |> autoclip(10)", small_ways[way], &update, NULL);
            set(m, "grad/core.w", first);
            set(m, "grad/readout.A.w", second);
            set(m, "grad/readout.A.free", none);
            put_first_step(m, update, 0);
            put(m, update, "limit", (double)limits[i]);
            small_run(m, update);
            small_read(m, update, RESULT_OUTPUT, "norm", &norm);
            double factor = i ? 1 : 0.5;
            assert_true(fabsf(norm - 5) < 1e-6f);
            assert_true(fabs((double)engine_tensor(m->engine, "adam_m/core.w")[0] - 3 * factor) <
                        1e-5);
            assert_true(fabs((double)engine_tensor(m->engine, "adam_m/readout.A.w")[2] -
                             4 * factor) < 1e-5);
            model_close(m);
        }
}

static void the_limit_is_a_percentile_of_norms_before(void **state)
{
    (void)state;
    Arena arena = {0};
    Norms a, b;
    norms_init(&a, &arena, 6);
    assert_true(norms_percentile(&a, 10) == FLT_MAX); /* the first step is not limited */
    norms_add(&a, 5);
    assert_true(norms_percentile(&a, 10) == 5);
    norms_add(&a, 1);
    norms_add(&a, 3);
    norms_add(&a, 3);
    norms_add(&a, NAN);
    assert_true(norms_percentile(&a, 50) == 3 && norms_percentile(&a, 0) == 1);
    assert_true(fabsf(norms_percentile(&a, 10) - 1.8f) < 1e-6f); /* 0.4 of the way to 3 */
    assert_true(norms_percentile(&a, 100) == FLT_MAX);
    norms_init(&b, &arena, 6);
    memcpy(b.at, a.at, 6 * sizeof *a.at);
    norms_restore(&b, 5);
    for (int p = 0; p <= 100; p += 7)
        assert_true(norms_percentile(&a, p) == norms_percentile(&b, p));
    norms_add(&b, 1);
    norms_add(&b, 1); /* no room: it stays as it is */
    assert_int_equal(b.n, 6);
    arena_free(&arena);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_have_rates_and_decays_of_their_own),
        cmocka_unit_test(no_schedule_gives_the_published_ten_steps),
        cmocka_unit_test(a_new_model_averages_to_its_own_weights),
        cmocka_unit_test(the_norm_of_all_gradients_is_limited),
        cmocka_unit_test(the_limit_is_a_percentile_of_norms_before),
    };
    small_device = argc > 1 ? argv[1] : NULL;
    return cmocka_run_group_tests_name(argc > 1 ? argv[1] : "cpu", tests, small_open, small_close);
}
