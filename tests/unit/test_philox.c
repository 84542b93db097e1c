#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/philox.h"

static void assert_block(Philox counter, uint32_t k0, uint32_t k1, Philox want)
{
    Philox got = philox_block(counter, (uint32_t[2]){k0, k1});
    for (int i = 0; i < 4; i++)
        assert_int_equal(got.v[i], want.v[i]);
}

/* kat_vectors of the Random123 library, philox4x32 10. */
static void the_published_known_answers_come_out(void **state)
{
    (void)state;
    assert_block((Philox){{0, 0, 0, 0}}, 0, 0,
                 (Philox){{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
    assert_block((Philox){{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u,
                 (Philox){{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
    assert_block((Philox){{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
                 (Philox){{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

static void seed_stream_and_index_take_their_places(void **state)
{
    (void)state;
    Philox got = philox_draw(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u);
    assert_int_equal(got.v[0], 0xd16cfe09);
    assert_int_equal(got.v[3], 0x24126ea1);
}

static void a_stream_gives_the_words_of_its_draws_in_order(void **state)
{
    (void)state;
    Rng r = rng_start(3, 5);
    for (uint64_t index = 0; index < 3; index++)
        for (int i = 0; i < 4; i++)
            assert_int_equal(rng_word(&r), philox_draw(3, 5, index).v[i]);
}

static void a_copied_stream_continues_alike(void **state)
{
    (void)state;
    Rng r = rng_start(1, 2);
    for (int i = 0; i < 7; i++)
        rng_normal(&r);
    Rng copy = r;
    for (int i = 0; i < 20; i++)
        assert_true(rng_normal(&r) == rng_normal(&copy));
}

static void names_give_different_streams(void **state)
{
    (void)state;
    assert_true(philox_stream("core.a") != philox_stream("core.b"));
    assert_true(philox_stream("core.a") >> 32 != philox_stream("core.b") >> 32);
    assert_true(philox_stream("core.a") == philox_stream("core.a"));
}

static void uniform_numbers_never_reach_one(void **state)
{
    (void)state;
    assert_true(philox_float(0) == 0.0f && philox_float(~0u) == 0x1.fffffep-1f);
    assert_true(philox_double(0, 0) == 0.0 && philox_double(~0u, ~0u) == 1.0 - 0x1p-53);
}

/* Mean and variance of `n` draws, within 5 standard errors of `mean` and 1.5 % of `variance`. */
static void assert_moments(double (*draw)(Rng *, double), double parameter, double mean,
                           double variance)
{
    enum { N = 300000 };
    Rng r = rng_start(11, 13);
    double sum = 0, square = 0;
    for (int i = 0; i < N; i++) {
        double x = draw(&r, parameter) - mean;
        sum += x;
        square += x * x;
    }
    assert_true(fabs(sum / N) < 5 * sqrt(variance / N));
    assert_true(fabs(square / N / variance - 1) < 0.015);
}

static double draw_uniform(Rng *r, double unused)
{
    (void)unused;
    return rng_double(r);
}

static double draw_normal(Rng *r, double unused)
{
    (void)unused;
    return rng_normal(r);
}

static double draw_exponential(Rng *r, double unused)
{
    (void)unused;
    return rng_exponential(r);
}

static double draw_poisson(Rng *r, double mean)
{
    return (double)rng_poisson(r, mean);
}

static void distributions_have_their_mean_and_variance(void **state)
{
    (void)state;
    assert_moments(draw_uniform, 0, 0.5, 1.0 / 12);
    assert_moments(draw_normal, 0, 0, 1);
    assert_moments(draw_exponential, 0, 1, 1);
    assert_moments(rng_gamma, 6, 6, 6);
    assert_moments(rng_gamma, 0.7, 0.7, 0.7);
    assert_moments(draw_poisson, 0.3, 0.3, 0.3);
    assert_moments(draw_poisson, 9.9, 9.9, 9.9);
    assert_moments(draw_poisson, 10.1, 10.1, 10.1);
    assert_moments(draw_poisson, 1000, 1000, 1000);
}

static void poisson_of_mean_zero_is_zero(void **state)
{
    (void)state;
    Rng r = rng_start(0, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(rng_poisson(&r, 0), 0);
}

/* P(k) of both Poisson algorithms against the formula, 5 standard errors. */
static void poisson_has_its_probabilities(void **state)
{
    (void)state;
    enum { N = 1000000 };
    const double means[2] = {3, 12};
    for (int m = 0; m < 2; m++) {
        int count[64] = {0};
        Rng r = rng_start(7, (uint64_t)m);
        for (int i = 0; i < N; i++) {
            uint64_t k = rng_poisson(&r, means[m]);
            count[k < 64 ? k : 63]++;
        }
        for (int k = 0; k < 40; k++) {
            double p = exp(k * log(means[m]) - means[m] - lgamma(k + 1.0));
            assert_true(fabs(count[k] - N * p) < 5 * sqrt(N * p) + 5);
        }
    }
}

static void bounded_integers_are_even_and_in_range(void **state)
{
    (void)state;
    int count[7] = {0};
    Rng r = rng_start(5, 6);
    for (int i = 0; i < 70000; i++) {
        uint64_t k = rng_below(&r, 7);
        assert_true(k < 7);
        count[k]++;
    }
    for (int k = 0; k < 7; k++)
        assert_true(abs(count[k] - 10000) < 500);
    assert_int_equal(rng_below(&r, 1), 0);
    /* with modulo alone, values below 2^62 would come twice as often */
    int low = 0;
    for (int i = 0; i < 3000; i++)
        low += rng_below(&r, 3ull << 62) < (1ull << 62);
    assert_true(abs(low - 1000) < 150);
}

static void a_permutation_holds_every_number_once(void **state)
{
    (void)state;
    uint32_t a[101], b[101];
    int seen[101] = {0}, moved = 0;
    philox_permutation(1, 2, 101, a);
    philox_permutation(1, 2, 101, b);
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < 101; i++) {
        assert_true(a[i] < 101);
        seen[a[i]]++;
        moved += a[i] != (uint32_t)i;
    }
    for (int i = 0; i < 101; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 90);
    philox_permutation(1, 2, 0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_known_answers_come_out),
        cmocka_unit_test(seed_stream_and_index_take_their_places),
        cmocka_unit_test(a_stream_gives_the_words_of_its_draws_in_order),
        cmocka_unit_test(a_copied_stream_continues_alike),
        cmocka_unit_test(names_give_different_streams),
        cmocka_unit_test(uniform_numbers_never_reach_one),
        cmocka_unit_test(distributions_have_their_mean_and_variance),
        cmocka_unit_test(poisson_of_mean_zero_is_zero),
        cmocka_unit_test(poisson_has_its_probabilities),
        cmocka_unit_test(bounded_integers_are_even_and_in_range),
        cmocka_unit_test(a_permutation_holds_every_number_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
