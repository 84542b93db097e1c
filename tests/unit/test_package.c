/* Packages: what is written comes back; damage is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/package.h"

static char folder[] = "/tmp/npc-package-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/m.npk", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static const PackageEntry ENTRIES[] = {{"source", "nm 1\n", 5}, {"code", "\0\1\2", 3}};
static const SafetensorsMeta META[] = {{"target", "avx2"}};

static void write_package(void)
{
    Err err = {0};
    assert_int_equal(package_write(path, ENTRIES, 2, META, 1, &err), NPC_OK);
}

static void entries_and_metadata_come_back(void **state)
{
    (void)state;
    Package p;
    PackageEntry e;
    Err err = {0};
    write_package();
    assert_int_equal(package_open(&p, path, &err), NPC_OK);
    assert_true(package_find(&p, "code", &e));
    assert_int_equal(e.bytes, 3);
    assert_memory_equal(e.data, "\0\1\2", 3);
    assert_true(package_find(&p, "source", &e));
    assert_memory_equal(e.data, "nm 1\n", 5);
    assert_false(package_find(&p, "plan", &e));
    assert_string_equal(safetensors_meta(&p.file, "target"), "avx2");
    package_close(&p);
}

static void every_changed_byte_of_the_data_is_found(void **state)
{
    (void)state;
    write_package();
    for (long back = 1; back <= 8; back++) {
        Package p;
        Err err = {0};
        FILE *f = fopen(path, "r+b");
        assert_int_equal(fseek(f, -back, SEEK_END), 0);
        int byte = fgetc(f);
        fseek(f, -back, SEEK_END);
        fputc(byte ^ 0x40, f);
        fclose(f);
        assert_int_equal(package_open(&p, path, &err), NPC_ERR_INPUT);
        assert_non_null(strstr(err.text, "is damaged"));
        write_package();
    }
}

static void other_safetensors_files_are_no_packages(void **state)
{
    (void)state;
    uint64_t size = 3;
    SafetensorsEntry e = {
        .name = "x", .dtype = SAFETENSORS_U8, .rank = 1, .shape = &size, .data = "abc"};
    Package p;
    Err err = {0};
    assert_int_equal(safetensors_write(path, &e, 1, NULL, 0, &err), NPC_OK);
    assert_int_equal(package_open(&p, path, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "expected 'npk 1'"));
    err = (Err){0};
    assert_int_not_equal(package_open(&p, "/nonexistent.npk", &err), NPC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_and_metadata_come_back),
        cmocka_unit_test(every_changed_byte_of_the_data_is_found),
        cmocka_unit_test(other_safetensors_files_are_no_packages),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
