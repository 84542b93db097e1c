#include "tests/unit/tiny_recording.h"

#include "data/map_guard.h"
#include "data/npy.h"

static const char *folder;

/* A version 1 file: header text padded with blanks, then the data. */
static size_t compose(unsigned char *out, const char *header, const void *data, size_t bytes)
{
    size_t length = (10 + strlen(header) + 1 + 63) / 64 * 64 - 10;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (unsigned char)(length & 255);
    out[9] = (unsigned char)(length >> 8);
    memset(out + 10, ' ', length);
    memcpy(out + 10, header, strlen(header));
    out[10 + length - 1] = '\n';
    if (bytes)
        memcpy(out + 10 + length, data, bytes);
    return 10 + length + bytes;
}

static const char *write_file(const char *name, const void *data, size_t bytes)
{
    static char path[4200];
    Err err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write(path, data, bytes, &err), NPC_OK);
    return path;
}

static Npy open_composed(const char *header, const void *data, size_t bytes)
{
    unsigned char file[4096];
    size_t n = compose(file, header, data, bytes);
    Npy a;
    Err err = {0};
    if (npy_open(&a, write_file("a.npy", file, n), &err) != NPC_OK)
        fail_msg("%s", err.text);
    return a;
}

static void assert_refused(const char *header, size_t data_bytes, const char *part)
{
    unsigned char file[8192], data[2048] = {0};
    NpyHeader h;
    Err err = {0};
    size_t n = compose(file, header, data, data_bytes);
    assert_int_equal(npy_parse_header(&h, file, n, n, "x.npy", &err), NPC_ERR_INPUT);
    assert_says(err, "x.npy: ");
    assert_says(err, part);
}

static void every_number_type_reads_back(void **state)
{
    (void)state;
    static const struct {
        const char *descr;
        unsigned char bytes[8];
        size_t size;
        double value;
    } rows[] = {
        {"|b1", {1}, 1, 1},
        {"|i1", {0xfe}, 1, -2},
        {"<i2", {0xfe, 0xff}, 2, -2},
        {"<i4", {0xfe, 0xff, 0xff, 0xff}, 4, -2},
        {"<i8", {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, -2},
        {"|u1", {0xfe}, 1, 254},
        {"<u2", {0xfe, 0xff}, 2, 65534},
        {"<u4", {0xfe, 0xff, 0xff, 0xff}, 4, 4294967294.0},
        {"<u8", {0, 0, 0, 0, 0, 0, 0, 0x80}, 8, 9223372036854775808.0},
        {"<f2", {0x00, 0xc1}, 2, -2.5},
        {"<f2", {0x01, 0x00}, 2, 0x1p-24},
        {"<f4", {0, 0, 0x20, 0xc0}, 4, -2.5},
        {"<f8", {0, 0, 0, 0, 0, 0, 4, 0xc0}, 8, -2.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char header[200];
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (1,), }",
                 rows[i].descr);
        Npy a = open_composed(header, rows[i].bytes, rows[i].size);
        float f;
        npy_floats(&a, 0, 1, 1, &f);
        if (npy_double(&a, 0) != rows[i].value || f != (float)rows[i].value)
            fail_msg("%s: %g instead of %g", rows[i].descr, npy_double(&a, 0), rows[i].value);
        npy_close(&a);
    }
}

static void fortran_order_gives_the_same_array(void **state)
{
    (void)state;
    /* (2, 3, 5) with x[i, j, k] = 100 i + 10 j + k, in both orders */
    float c_order[30], f_order[30], got[30];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 5; k++) {
                c_order[(i * 3 + j) * 5 + k] = (float)(100 * i + 10 * j + k);
                f_order[(k * 3 + j) * 2 + i] = (float)(100 * i + 10 * j + k);
            }
    for (int fortran = 0; fortran < 2; fortran++) {
        char header[200];
        snprintf(header, sizeof header,
                 "{'descr': '<f4', 'fortran_order': %s, 'shape': (2, 3, 5), }",
                 fortran ? "True" : "False");
        Npy a = open_composed(header, fortran ? f_order : c_order, sizeof c_order);
        npy_all_floats(&a, got);
        assert_memory_equal(got, c_order, sizeof got);
        const uint64_t *s = a.head.stride;
        assert_true(npy_double(&a, 1 * s[0] + 2 * s[1] + 3 * s[2]) == 123);
        npy_close(&a);
    }
}

static void strings_come_as_utf8(void **state)
{
    (void)state;
    uint32_t text[8] = {'M', 0xe4, 0x6f22, 0x1f42d, 'n', 'o', 0, 0};
    Npy a = open_composed("{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }", text,
                          sizeof text);
    char out[32], small[4];
    assert_true(npy_text(&a, 0, out, sizeof out));
    assert_string_equal(out, "M\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x90\xad");
    assert_true(npy_text(&a, 1, out, sizeof out));
    assert_string_equal(out, "no");
    assert_false(npy_text(&a, 0, small, sizeof small));
    npy_close(&a);
}

static void versions_two_and_three_are_read(void **state)
{
    (void)state;
    for (unsigned char version = 2; version <= 3; version++) {
        unsigned char file[256];
        const char *header = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n";
        memcpy(file, "\x93NUMPY", 6);
        file[6] = version;
        file[7] = 0;
        memcpy(file + 8, (unsigned char[4]){(unsigned char)strlen(header)}, 4);
        memcpy(file + 12, header, strlen(header));
        size_t n = 12 + strlen(header) + 4;
        memcpy(file + n - 4, &(float){2.5f}, 4);
        Npy a;
        Err err = {0};
        assert_int_equal(npy_open(&a, write_file("v.npy", file, n), &err), NPC_OK);
        assert_int_equal(a.head.rank, 0);
        assert_true(npy_double(&a, 0) == 2.5);
        npy_close(&a);
    }
}

static void a_long_header_is_read_whole(void **state)
{
    (void)state;
    char header[1000];
    snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False,%700s'shape': (1,), }",
             "");
    Npy a = open_composed(header, &(float){3}, 4);
    assert_true(npy_double(&a, 0) == 3);
    npy_close(&a);
}

static void wrong_headers_are_named(void **state)
{
    (void)state;
    assert_refused("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "big-endian");
    assert_refused("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "Python objects");
    assert_refused("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, "'<c8'");
    assert_refused("{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }", 16, "'<f16'");
    assert_refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4,
                   "named fields");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "whole number");
    assert_refused("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,), }", 4, "True or False");
    assert_refused("{'descr': '<f4', 'fortran_order': False, }", 4, "'shape'");
    assert_refused("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4,
                   "once each");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } + open('x')", 4,
                   "nothing after");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1)}",
                   4, "at most 8 axes");
    assert_refused("__import__('os')", 4, "expected '{'");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", 4, "in the shape");
}

static void overflowing_shapes_are_refused(void **state)
{
    (void)state;
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616,), }",
                   4, "below 2^64");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
                   4, "too large");
    assert_refused("{'descr': '<f8', 'fortran_order': True, 'shape': (2305843009213693953,), }", 8,
                   "too large");
    /* a zero does not hide the overflow of the others */
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296)}",
                   0, "too large");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 4, "truncated");
    assert_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 8,
                   "bytes after the data");
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    float data[16] = {1, 2, 3};
    unsigned char file[512];
    size_t n = compose(file, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }", data,
                       sizeof data);
    for (size_t cut = 0; cut < n; cut++) {
        unsigned char *exact = malloc(cut + 1); /* the sanitizer sees reads behind the end */
        exact = realloc(exact, cut ? cut : 1);
        memcpy(exact, file, cut);
        NpyHeader h;
        Npy a;
        Err err = {0};
        assert_int_equal(npy_parse_header(&h, exact, cut, cut, "cut.npy", &err), NPC_ERR_INPUT);
        assert_says(err, "cut.npy: ");
        free(exact);
        err.status = NPC_OK;
        assert_int_equal(npy_open(&a, write_file("cut.npy", file, cut), &err), NPC_ERR_INPUT);
    }
}

static void header_lengths_are_limited(void **state)
{
    (void)state;
    unsigned char file[64] = "\x93NUMPY\x02\x00\xff\xff\xff\xff{";
    NpyHeader h;
    Err err = {0};
    assert_int_equal(npy_parse_header(&h, file, sizeof file, 1u << 31, "x.npy", &err),
                     NPC_ERR_INPUT);
    assert_says(err, "the limit is 65536");
}

static void missing_files_and_folders_are_named(void **state)
{
    (void)state;
    Npy a;
    Err err = {0}, again = {0};
    assert_int_equal(npy_open(&a, "/nowhere/a.npy", &err), NPC_ERR_INPUT);
    assert_says(err, "/nowhere/a.npy: cannot open: No such file");
    assert_int_equal(npy_open(&a, folder, &again), NPC_ERR_INPUT);
    assert_says(again, "not a regular file");
}

static void read_last(void *cx)
{
    const Npy *a = cx;
    volatile double x = npy_double(a, a->head.elems - 1);
    (void)x;
}

static void a_file_that_shrinks_underfoot_is_a_failure_not_a_crash(void **state)
{
    (void)state;
    static float data[20000];
    char path[4200];
    size_t shape[1] = {20000};
    Npy a;
    Err err = {0};
    snprintf(path, sizeof path, "%s/shrinks.npy", folder);
    assert_int_equal(npy_write(path, NPY_WRITE_F4, data, shape, 1, &err), NPC_OK);
    assert_int_equal(npy_open(&a, path, &err), NPC_OK);
    assert_true(map_guard(read_last, &a));
    assert_int_equal(truncate(path, 4096), 0);
    assert_false(map_guard(read_last, &a));
    assert_false(map_guard(read_last, &a)); /* and again */
    npy_close(&a);
}

static int open_folder(void **state)
{
    (void)state;
    folder = tiny_folder();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    tiny_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_type_reads_back),
        cmocka_unit_test(fortran_order_gives_the_same_array),
        cmocka_unit_test(strings_come_as_utf8),
        cmocka_unit_test(versions_two_and_three_are_read),
        cmocka_unit_test(a_long_header_is_read_whole),
        cmocka_unit_test(wrong_headers_are_named),
        cmocka_unit_test(overflowing_shapes_are_refused),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(header_lengths_are_limited),
        cmocka_unit_test(missing_files_and_folders_are_named),
        cmocka_unit_test(a_file_that_shrinks_underfoot_is_a_failure_not_a_crash),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
