#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/tensorboard.h"
#include "tests/unit/scratch.h"

static void crc32c_equals_its_published_check_values(void **state)
{
    (void)state;
    unsigned char zeros[32] = {0}, ones[32], up[32];
    memset(ones, 255, sizeof ones);
    for (int i = 0; i < 32; i++)
        up[i] = (unsigned char)i;
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(up, 32), 0x46dd794e);
    assert_int_equal(crc32c("", 0), 0);
    assert_int_equal(crc32c_masked("", 0), 0xa282ead8);
}

static double half_past(void)
{
    return 1.5;
}

/* Bytes after the version record of a file, by hand from the layout in the header. */
static void a_scalar_has_the_bytes_of_the_format(void **state)
{
    (void)state;
    static const unsigned char expected[] = {
        0x1e, 0,    0,    0,    0,    0,   0,   0,          /* 30 bytes follow */
        0,    0,    0,    0,                                /* their checksum, below */
        0x09, 0,    0,    0,    0,    0,   0,   0xf8, 0x3f, /* wall_time = 1.5 */
        0x10, 0xac, 0x02,                                   /* step = 300 */
        0x2a, 0x10,                                         /* summary, 16 bytes */
        0x0a, 0x0e,                                         /* value, 14 bytes */
        0x0a, 0x07, 'l',  'o',  's',  's', '/', 'a',  'b',  /* tag */
        0x15, 0,    0,    0x20, 0xc0,                       /* simple_value = -2.5 */
    };
    TensorBoard tb;
    Err err = {0};
    unsigned char file[4096];
    mkdir(scratch_path("tb"), 0777);
    assert_int_equal(tensorboard_open(&tb, scratch_path("tb"), 0, &err), NPC_OK);
    long at = ftell(tb.stream);
    tb.wall_time = half_past;
    assert_int_equal(tensorboard_scalar(&tb, "loss/ab", 300, -2.5, &err), NPC_OK);
    tensorboard_close(&tb);
    size_t n = scratch_read(tb.path + strlen(scratch) + 1, file, sizeof file);
    assert_int_equal(n, (size_t)at + sizeof expected + 4);
    const unsigned char *record = file + at;
    assert_memory_equal(record, expected, 8);
    assert_memory_equal(record + 12, expected + 12, sizeof expected - 12);
    uint32_t head = crc32c_masked(record, 8), tail = crc32c_masked(record + 12, 30);
    assert_memory_equal(record + 8, &head, 4);
    assert_memory_equal(record + 42, &tail, 4);
}

/* The first record of every event file written since 2016, apart from its time. */
static void the_file_begins_with_its_version(void **state)
{
    (void)state;
    static const unsigned char head[] = {0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22, 0x09};
    static const unsigned char version[] = "\x1a\x0d"
                                           "brain.Event:2";
    TensorBoard tb;
    Err err = {0};
    unsigned char file[4096];
    mkdir(scratch_path("version"), 0777);
    assert_int_equal(tensorboard_open(&tb, scratch_path("version"), 0, &err), NPC_OK);
    tensorboard_close(&tb);
    assert_int_equal(scratch_read(tb.path + strlen(scratch) + 1, file, sizeof file), 40);
    assert_memory_equal(file, head, sizeof head);
    assert_memory_equal(file + 21, version, 15);
    assert_non_null(strstr(tb.path, "/events.out.tfevents."));
}

static void a_resumed_file_declares_a_restart(void **state)
{
    (void)state;
    TensorBoard tb;
    Err err = {0};
    unsigned char file[4096];
    mkdir(scratch_path("again"), 0777);
    assert_int_equal(tensorboard_open(&tb, scratch_path("again"), 299, &err), NPC_OK);
    tensorboard_close(&tb);
    size_t n = scratch_read(tb.path + strlen(scratch) + 1, file, sizeof file);
    static const unsigned char restart[] = {0x10, 0xac, 0x02, 0x3a, 0x02, 0x08, 0x01};
    assert_int_equal(n, 40 + 12 + 9 + sizeof restart + 4);
    assert_memory_equal(file + 40 + 12 + 9, restart, sizeof restart);
}

static void a_full_disk_is_reported(void **state)
{
    (void)state;
    TensorBoard tb;
    Err err = {0};
    mkdir(scratch_path("full"), 0777);
    assert_int_equal(tensorboard_open(&tb, scratch_path("full"), 0, &err), NPC_OK);
    fclose(tb.stream);
    tb.stream = fopen("/dev/full", "w");
    if (!tb.stream)
        skip();
    assert_int_equal(tensorboard_scalar(&tb, "loss", 1, 1, &err), NPC_ERR_IO);
    tensorboard_close(&tb);
    err = (Err){0};
    assert_int_equal(tensorboard_open(&tb, scratch_path("absent"), 0, &err), NPC_ERR_IO);
}

static void a_tag_of_any_length_is_safe(void **state)
{
    (void)state;
    TensorBoard tb;
    Err err = {0};
    static char tag[5000];
    memset(tag, 'x', sizeof tag - 1);
    mkdir(scratch_path("tag"), 0777);
    assert_int_equal(tensorboard_open(&tb, scratch_path("tag"), 0, &err), NPC_OK);
    assert_int_equal(tensorboard_scalar(&tb, tag, UINT64_MAX, NAN, &err), NPC_OK);
    tensorboard_close(&tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_equals_its_published_check_values),
        cmocka_unit_test(a_scalar_has_the_bytes_of_the_format),
        cmocka_unit_test(the_file_begins_with_its_version),
        cmocka_unit_test(a_resumed_file_declares_a_restart),
        cmocka_unit_test(a_full_disk_is_reported),
        cmocka_unit_test(a_tag_of_any_length_is_safe),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
