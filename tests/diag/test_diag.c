/* Wrong syntax gives the message its comment expects, at that line. */
#include "tests/diag/driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void parse(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                  size_t len)
{
    parse_file(arena, names, diags, path, text, len);
}

static void wrong_files_give_the_expected_messages(void **state)
{
    (void)state;
    int n_files;
    assert_int_equal(diag_run_folder("tests/diag/syntax", parse, &n_files), 0);
    assert_true(n_files >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_give_the_expected_messages),
    };
    return cmocka_run_group_tests_name("diag", tests, NULL, NULL);
}
