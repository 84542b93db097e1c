/* Wrong models and recipes give the message their comments expect, at that line. */
#include "tests/diag/driver.h"

#include "ir/elaborate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void build(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                  size_t len)
{
    Elaborated out;
    elaborate_text(arena, names, diags, path, text, len, &(ElaborateOptions){0}, &out);
}

static void wrong_models_give_the_expected_messages(void **state)
{
    (void)state;
    int n_files;
    assert_int_equal(diag_run_folder("tests/diag/elaborate", build, &n_files), 0);
    assert_true(n_files >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_models_give_the_expected_messages),
    };
    return cmocka_run_group_tests_name("diag_elaborate", tests, NULL, NULL);
}
