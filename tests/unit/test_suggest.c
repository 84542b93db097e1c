/* "Did you mean". */
#include "frontend/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <cmocka.h>

static void distance_counts_slips(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("return", "return"), 0);
    assert_int_equal(suggest_distance("retrun", "return"), 1);
    assert_int_equal(suggest_distance("retun", "return"), 1);
    assert_int_equal(suggest_distance("reeturn", "return"), 1);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("", "abc"), 3);
}

static void case_and_underscores_are_free(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("Batch_Norm", "batchnorm"), 0);
}

static void the_nearest_candidate_wins_and_far_ones_do_not(void **state)
{
    (void)state;
    Suggest s = suggest_for("sofplus");
    suggest_offer(&s, "softmax");
    suggest_offer(&s, "softplus");
    suggest_offer(&s, "sigmoid");
    assert_string_equal(suggest_best(&s), "softplus");
    s = suggest_for("xyz");
    suggest_offer(&s, "abc");
    assert_null(suggest_best(&s));
    s = suggest_for("s");
    suggest_offer(&s, "t");
    assert_null(suggest_best(&s));
}

static void endless_words_match_nothing(void **state)
{
    (void)state;
    char word[1001] = {0};
    for (size_t i = 0; i < 1000; i++)
        word[i] = 'a';
    assert_int_equal(suggest_distance(word, "a"), UINT_MAX);
    Suggest s = suggest_for(word);
    suggest_offer(&s, word);
    assert_null(suggest_best(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_slips),
        cmocka_unit_test(case_and_underscores_are_free),
        cmocka_unit_test(the_nearest_candidate_wins_and_far_ones_do_not),
        cmocka_unit_test(endless_words_match_nothing),
    };
    return cmocka_run_group_tests_name("suggest", tests, NULL, NULL);
}
