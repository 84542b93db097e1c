/* The command line: options, words, messages, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tool/options.h"

typedef struct Values {
    bool json, help;
    const char *fuse, *output, *device;
    int64_t batch;
    double scale;
    OptionList sets;
    Words words;
    Err err;
} Values;

enum { MOST_ARGUMENTS = 200 };

static Status parse_n(Values *v, int n, const char *const *arguments)
{
    const OptionRow rows[] = {
        {"batch", "N", "clips of a step", .integer = &v->batch, .low = 1, .high = 4096},
        {"fuse", "full|elementwise|none", "how far kernels are joined", .text = &v->fuse},
        {"scale", "X", "a factor", .number = &v->scale},
        {"device", "cpu|cuda|cuda:N", "where", .text = &v->device},
        {"set", "NAME=VALUE", "override", .list = &v->sets},
        {"output", "FILE", "where to write", .text = &v->output, .letter = 'o'},
        {"json", NULL, "machine-readable output", .flag = &v->json},
        {.name = NULL},
    };
    const Command command = {.name = "compile",
                             .arguments = "MODEL.nm",
                             .help = "what a model costs",
                             .options = rows,
                             .examples = "npc compile a.nm\n",
                             .least = 1,
                             .most = 2};
    static char *argv[MOST_ARGUMENTS + 1];
    argv[0] = "compile";
    for (int i = 0; i < n; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    v->err = (Err){0};
    return command_parse(&command, n + 1, argv, &v->words, &v->help, &v->err);
}

#define PARSE(v, ...)                                                                              \
    parse_n(v, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                      \
            (const char *[]){__VA_ARGS__})
#define ASSERT_TEXT(v, part) assert_non_null(strstr((v)->err.text, part))

static void a_value_follows_as_a_word_or_after_an_equals_sign(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "--batch", "4", "a.nm", "--fuse=none", "--json"), NPC_OK);
    assert_int_equal(v.batch, 4);
    assert_string_equal(v.fuse, "none");
    assert_true(v.json);
    assert_int_equal(v.words.n, 1);
    assert_string_equal(v.words.at[0], "a.nm");
}

static void letters_take_their_value_in_three_ways(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "a.nm", "-o", "x"), NPC_OK);
    assert_string_equal(v.output, "x");
    assert_int_equal(PARSE(&v, "a.nm", "-oy"), NPC_OK);
    assert_string_equal(v.output, "y");
    assert_int_equal(PARSE(&v, "a.nm", "-o=z"), NPC_OK);
    assert_string_equal(v.output, "z");
}

static void repeated_options_collect_or_the_last_counts(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "a.nm", "--set", "a=1", "--set=b=[2,3]", "--batch=1", "--batch=2"),
                     NPC_OK);
    assert_int_equal(v.sets.n, 2);
    assert_string_equal(v.sets.at[0], "a=1");
    assert_string_equal(v.sets.at[1], "b=[2,3]");
    assert_int_equal(v.batch, 2);
}

static void two_dashes_end_the_options_and_one_is_a_word(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "-", "--", "--json"), NPC_OK);
    assert_false(v.json);
    assert_int_equal(v.words.n, 2);
    assert_string_equal(v.words.at[0], "-");
    assert_string_equal(v.words.at[1], "--json");
}

static void an_unknown_option_is_refused_with_the_near_one(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "a.nm", "--bach", "3"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "there is no option '--bach'; did you mean '--batch'?");
    assert_int_equal(PARSE(&v, "a.nm", "--frobnicate"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "see 'npc compile --help'");
    assert_int_equal(PARSE(&v, "a.nm", "-x"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "there is no option '-x'");
    /* no abbreviation: a later option could change what it means */
    assert_int_equal(PARSE(&v, "a.nm", "--js"), NPC_ERR_USAGE);
}

static void impossible_values_are_named_with_what_was_expected(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "a.nm", "--batch=four"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "--batch: expected a whole number, found 'four'");
    assert_int_equal(PARSE(&v, "a.nm", "--batch=0"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "expected 1 to 4096, found 0");
    assert_int_equal(PARSE(&v, "a.nm", "--batch=99999999999999999999"), NPC_ERR_USAGE);
    assert_int_equal(PARSE(&v, "a.nm", "--batch="), NPC_ERR_USAGE);
    assert_int_equal(PARSE(&v, "a.nm", "--scale=1,5"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "expected a number, found '1,5'");
    assert_int_equal(PARSE(&v, "a.nm", "--fuse=fulll"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "expected one of full|elementwise|none, found 'fulll'; did you mean 'full'?");
    assert_int_equal(PARSE(&v, "a.nm", "--fuse=ful|ele"), NPC_ERR_USAGE);
    assert_int_equal(PARSE(&v, "a.nm", "--device=cuda:12"), NPC_OK);
    assert_string_equal(v.device, "cuda:12");
    assert_int_equal(PARSE(&v, "a.nm", "--device=cuda:"), NPC_ERR_USAGE);
    assert_int_equal(PARSE(&v, "a.nm", "--device=cuda:1x"), NPC_ERR_USAGE);
    assert_int_equal(PARSE(&v, "a.nm", "--device=cuda1"), NPC_ERR_USAGE);
    assert_int_equal(PARSE(&v, "a.nm", "--json=1"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "--json takes no value");
    assert_int_equal(PARSE(&v, "a.nm", "--fuse"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "--fuse needs a value");
}

static void the_number_of_words_is_checked(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "--json"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "expected MODEL.nm");
    assert_int_equal(PARSE(&v, "a", "b", "c"), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "there is no use for 'c'");
}

static void a_list_has_a_limit(void **state)
{
    (void)state;
    Values v = {0};
    const char *arguments[OPTION_LIST_LIMIT + 2];
    arguments[0] = "a.nm";
    for (int i = 0; i < OPTION_LIST_LIMIT + 1; i++)
        arguments[i + 1] = "--set=a=1";
    assert_int_equal(parse_n(&v, OPTION_LIST_LIMIT + 1, arguments), NPC_OK);
    v.sets.n = 0;
    assert_int_equal(parse_n(&v, OPTION_LIST_LIMIT + 2, arguments), NPC_ERR_USAGE);
    ASSERT_TEXT(&v, "more than 128 times");
}

static void a_request_for_help_wins_over_mistakes(void **state)
{
    (void)state;
    Values v = {0};
    assert_int_equal(PARSE(&v, "--frobnicate", "--help"), NPC_OK);
    assert_true(v.help);
    assert_int_equal(PARSE(&v, "a.nm", "--", "--help"), NPC_OK);
    assert_false(v.help);
}

static void help_shows_every_option_and_the_examples(void **state)
{
    (void)state;
    bool flag = false;
    const OptionRow rows[] = {
        {"a-rather-long-name-of-an-option", "VALUE",
         "a sentence that is long enough to be broken into two lines because it has many words",
         .flag = &flag, .letter = 'r'},
        {.name = NULL},
    };
    const Command command = {.name = "data info",
                             .arguments = "DIR",
                             .help = "what recordings hold",
                             .options = rows,
                             .examples = "npc data info d\nnpc data info e\n"};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    command_print_help(&command, out);
    fclose(out);
    assert_non_null(strstr(text, "usage: npc data info DIR [options]\n"));
    assert_non_null(strstr(text, "  -r, --a-rather-long-name-of-an-option VALUE\n"));
    assert_non_null(strstr(text, "\n  npc data info d\n  npc data info e\n"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_follows_as_a_word_or_after_an_equals_sign),
        cmocka_unit_test(letters_take_their_value_in_three_ways),
        cmocka_unit_test(repeated_options_collect_or_the_last_counts),
        cmocka_unit_test(two_dashes_end_the_options_and_one_is_a_word),
        cmocka_unit_test(an_unknown_option_is_refused_with_the_near_one),
        cmocka_unit_test(impossible_values_are_named_with_what_was_expected),
        cmocka_unit_test(the_number_of_words_is_checked),
        cmocka_unit_test(a_list_has_a_limit),
        cmocka_unit_test(a_request_for_help_wins_over_mistakes),
        cmocka_unit_test(help_shows_every_option_and_the_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
