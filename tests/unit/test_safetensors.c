#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "data/safetensors.h"
#include "tests/unit/scratch.h"

/* A file from a header text and `data` zero bytes. */
static size_t build(unsigned char *out, uint64_t length, const char *header, size_t header_bytes,
                    size_t data)
{
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(length >> (8 * i));
    memcpy(out + 8, header, header_bytes);
    memset(out + 8 + header_bytes, 0, data);
    return 8 + header_bytes + data;
}

static _Alignas(16) unsigned char bytes[1 << 16];

static Status parse_n(const char *header, size_t n, size_t data, Safetensors *st, Err *err)
{
    *err = (Err){0};
    return safetensors_parse(st, "case", bytes, build(bytes, n, header, n, data), err);
}

/* The header is padded so that the data section is aligned. */
static Status parse(const char *header, size_t data, Safetensors *st, Err *err)
{
    char padded[4096];
    size_t n = (strlen(header) + 7) / 8 * 8;
    snprintf(padded, sizeof padded, "%-*s", (int)n, header);
    return parse_n(padded, n, data, st, err);
}

static void refused_n(const char *header, size_t n, size_t data, const char *because)
{
    Safetensors st;
    Err err;
    assert_int_equal(parse_n(header, n, data, &st, &err), NPC_ERR_INPUT);
    if (!strstr(err.text, because))
        fail_msg("'%s' does not say '%s'", err.text, because);
}

static void refused(const char *header, size_t data, const char *because)
{
    Safetensors st;
    Err err;
    if (parse(header, data, &st, &err) != NPC_ERR_INPUT)
        fail_msg("accepted: %s", header);
    if (!strstr(err.text, because))
        fail_msg("'%s' does not say '%s'", err.text, because);
}

static void accepted(const char *header, size_t data)
{
    Safetensors st;
    Err err;
    if (parse(header, data, &st, &err) != NPC_OK)
        fail_msg("%s", err.text);
    safetensors_close(&st);
}

static void a_file_below_eight_bytes_is_refused(void **state)
{
    (void)state;
    Safetensors st;
    for (size_t n = 0; n < 8; n++) {
        Err err = {0};
        assert_int_equal(safetensors_parse(&st, "case", bytes, n, &err), NPC_ERR_INPUT);
        assert_non_null(strstr(err.text, "too few"));
    }
}

static void an_empty_header_is_refused(void **state)
{
    (void)state;
    refused_n("", 0, 0, "too small");
    refused_n("{", 1, 0, "too small");
}

static void a_header_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    Safetensors st;
    Err err = {0};
    size_t n = build(bytes, SAFETENSORS_HEADER_LIMIT + 1, "{}", 2, 0);
    assert_int_equal(safetensors_parse(&st, "case", bytes, n, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "limit"));
}

static void a_header_length_of_two_to_the_64_is_refused(void **state)
{
    (void)state;
    Safetensors st;
    Err err = {0};
    size_t n = build(bytes, UINT64_MAX, "{}", 2, 0);
    assert_int_equal(safetensors_parse(&st, "case", bytes, n, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "limit"));
}

static void a_header_longer_than_the_file_is_refused(void **state)
{
    (void)state;
    Safetensors st;
    Err err = {0};
    size_t n = build(bytes, 100, "{}", 2, 0);
    assert_int_equal(safetensors_parse(&st, "case", bytes, n, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "truncated"));
}

static void a_header_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    refused("{\"\xff\":{}}", 0, "UTF-8");
}

static void a_header_that_is_not_json_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":", 0, "not JSON");
    refused("{} {}", 0, "not JSON");
}

static void a_header_that_is_a_list_is_refused(void **state)
{
    (void)state;
    refused("[]", 0, "does not begin with '{'");
}

static void a_leading_blank_is_refused(void **state)
{
    (void)state;
    refused(" {}", 0, "does not begin with '{'");
}

static void trailing_blanks_are_padding(void **state)
{
    (void)state;
    accepted("{}             ", 0);
}

static void a_nul_in_the_header_is_refused(void **state)
{
    (void)state;
    refused_n("{}\0\0\0\0\0\0", 8, 0, "not JSON");
}

static void an_empty_file_without_tensors_is_accepted(void **state)
{
    (void)state;
    accepted("{}", 0);
}

static void a_scalar_has_rank_zero(void **state)
{
    (void)state;
    accepted("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4);
}

static void a_zero_size_tensor_is_accepted(void **state)
{
    (void)state;
    accepted("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,0],\"data_offsets\":[0,0]}}", 0);
}

static void a_zero_size_tensor_between_others_is_accepted(void **state)
{
    (void)state;
    accepted("{\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]},"
             "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
             8);
}

static void a_zero_size_tensor_inside_another_is_refused(void **state)
{
    (void)state;
    refused("{\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            4, "overlap");
}

static void tensors_may_be_listed_in_any_order(void **state)
{
    (void)state;
    accepted("{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
             "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
             8);
}

static void an_overflowing_product_of_sizes_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
            0, "product");
}

static void an_overflowing_size_in_bytes_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
            "in bytes is too large");
}

static void a_size_beyond_64_bits_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}",
            0, "not JSON");
}

static void a_negative_size_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole number");
}

static void a_broken_size_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
            "whole number");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":3,\"data_offsets\":[0,4]}}", 4, "not a list");
}

static void too_many_dimensions_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"
            "\"data_offsets\":[0,1]}}",
            1, "dimensions");
}

static void offsets_beyond_the_data_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "outside");
}

static void offsets_in_the_wrong_order_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "outside");
}

static void negative_offsets_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "pair");
}

static void offsets_that_are_no_pair_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "pair");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "pair");
}

static void offsets_against_the_shape_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
            "F32[2] needs 8 bytes, the offsets give 4");
}

static void overlapping_tensors_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
            12, "'a' and 'b' overlap");
}

static void many_tensors_on_the_same_bytes_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
            8, "overlap");
}

static void a_hole_before_the_first_tensor_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "hole");
}

static void a_hole_between_tensors_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
            12, "a hole of 4 bytes before tensor 'b'");
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5,
            "1 trailing bytes");
    refused("{}", 1, "1 trailing bytes");
}

static void misaligned_data_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
            5, "misaligned");
    refused_n("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 54, 4,
              "misaligned");
}

static void a_duplicate_tensor_name_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            4, "occurs twice");
}

static void a_duplicate_field_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
            "occurs twice");
}

static void duplicate_metadata_is_refused(void **state)
{
    (void)state;
    refused("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "occurs twice");
}

static void an_unknown_dtype_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            "unknown dtype \"F8_E4M3\"");
    refused("{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "no \"dtype\"");
}

static void an_unknown_field_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
            "unknown field");
}

static void a_tensor_that_is_no_object_is_refused(void **state)
{
    (void)state;
    refused("{\"a\":[1]}", 0, "not described by an object");
}

static void metadata_that_are_no_texts_are_refused(void **state)
{
    (void)state;
    refused("{\"__metadata__\":{\"k\":1}}", 0, "not a text");
    refused("{\"__metadata__\":[]}", 0, "not an object");
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    static char deep[20000];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    refused_n(deep, 16000, 0, "not JSON");
}

/* Every dtype and value there and back. */
static void written_files_read_back(void **state)
{
    (void)state;
    const double f64[] = {1.5, -INFINITY, 0.1};
    const float f32[] = {1, 2, 3, 4, 5, 6};
    const uint16_t f16[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00};
    const uint16_t bf16[] = {0x3f80, 0xc040};
    const int64_t i64[] = {-5, INT64_MAX};
    const int8_t i8[] = {-128, 127, 3};
    const uint8_t u8[] = {0, 200, 255}, flag[] = {0, 1};
    const uint64_t two_three[] = {2, 3}, five[] = {5}, three[] = {3}, two[] = {2}, none[] = {3, 0};
    const SafetensorsEntry entry[] = {
        {.name = "u8", .dtype = SAFETENSORS_U8, .rank = 1, .shape = three, .data = u8},
        {.name = "flag", .dtype = SAFETENSORS_BOOL, .rank = 1, .shape = two, .data = flag},
        {.name = "f64", .dtype = SAFETENSORS_F64, .rank = 1, .shape = three, .data = f64},
        {.name = "f32", .dtype = SAFETENSORS_F32, .rank = 2, .shape = two_three, .data = f32},
        {.name = "one \"\\\n\xc3\xa9", .dtype = SAFETENSORS_F32, .data = f32},
        {.name = "f16", .dtype = SAFETENSORS_F16, .rank = 1, .shape = five, .data = f16},
        {.name = "bf16", .dtype = SAFETENSORS_BF16, .rank = 1, .shape = two, .data = bf16},
        {.name = "i64", .dtype = SAFETENSORS_I64, .rank = 1, .shape = two, .data = i64},
        {.name = "i8", .dtype = SAFETENSORS_I8, .rank = 1, .shape = three, .data = i8},
        {.name = "none", .dtype = SAFETENSORS_F32, .rank = 2, .shape = none},
    };
    const SafetensorsMeta meta[] = {{"format", "pt"}, {"note", "two\nlines \"quoted\""}};
    enum { N = sizeof entry / sizeof *entry };
    Err err = {0};
    Safetensors st;
    double d[8];
    float f[8];
    assert_int_equal(safetensors_write(scratch_path("a.safetensors"), entry, N, meta, 2, &err), 0);
    assert_int_equal(safetensors_open(&st, scratch_path("a.safetensors"), &err), NPC_OK);
    assert_int_equal(st.n, N);
    assert_int_equal(st.data_at % 64, 0);
    assert_string_equal(safetensors_meta(&st, "note"), "two\nlines \"quoted\"");
    assert_null(safetensors_meta(&st, "absent"));
    assert_null(safetensors_find(&st, "absent"));
    for (size_t i = 0; i < N; i++) {
        const SafetensorsEntry *e = safetensors_find(&st, entry[i].name);
        assert_non_null(e);
        assert_int_equal(e->dtype, entry[i].dtype);
        assert_int_equal(e->rank, entry[i].rank);
        if (e->bytes)
            assert_memory_equal(e->data, entry[i].data, e->bytes);
    }
    safetensors_as_double(safetensors_find(&st, "f16"), d);
    assert_true(d[0] == 1 && d[1] == -2 && d[2] == ldexp(1, -24) && d[3] == 65504 && isinf(d[4]));
    safetensors_as_float(safetensors_find(&st, "bf16"), f);
    assert_true(f[0] == 1 && f[1] == -3);
    safetensors_as_double(safetensors_find(&st, "i8"), d);
    assert_true(d[0] == -128 && d[1] == 127 && d[2] == 3);
    safetensors_as_float(safetensors_find(&st, "u8"), f);
    assert_true(f[1] == 200 && f[2] == 255);
    safetensors_as_double(safetensors_find(&st, "f32"), d);
    assert_true(d[0] == 1 && d[5] == 6);
    safetensors_as_double(safetensors_find(&st, "flag"), d);
    assert_true(d[0] == 0 && d[1] == 1);
    safetensors_close(&st);
}

static void two_tensors_of_one_name_are_not_written(void **state)
{
    (void)state;
    const float x = 1;
    const SafetensorsEntry entry[] = {{.name = "a", .dtype = SAFETENSORS_F32, .data = &x},
                                      {.name = "a", .dtype = SAFETENSORS_U8, .data = &x}};
    Err err = {0};
    assert_int_equal(safetensors_write(scratch_path("b"), entry, 2, NULL, 0, &err), NPC_ERR_INPUT);
    assert_false(file_exists(scratch_path("b")));
}

static void a_name_that_is_not_utf8_is_not_written(void **state)
{
    (void)state;
    const float x = 1;
    const SafetensorsEntry entry = {.name = "\xe0\x80\x80", .dtype = SAFETENSORS_F32, .data = &x};
    Err err = {0};
    assert_int_equal(safetensors_write(scratch_path("b"), &entry, 1, NULL, 0, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "UTF-8"));
}

static void a_missing_file_is_an_error_with_its_name(void **state)
{
    (void)state;
    Safetensors st;
    Err err = {0};
    assert_int_equal(safetensors_open(&st, scratch_path("absent"), &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "absent"));
}

static void a_file_truncated_at_any_byte_is_refused(void **state)
{
    (void)state;
    const float x[] = {1, 2, 3};
    const uint64_t three[] = {3};
    const SafetensorsEntry entry = {
        .name = "x", .dtype = SAFETENSORS_F32, .rank = 1, .shape = three, .data = x};
    Err err = {0};
    Safetensors st;
    assert_int_equal(safetensors_write(scratch_path("t"), &entry, 1, NULL, 0, &err), NPC_OK);
    size_t n = scratch_read("t", bytes, sizeof bytes);
    assert_true(n > 64);
    for (size_t cut = 0; cut < n; cut++) {
        err = (Err){0};
        assert_int_equal(safetensors_parse(&st, "case", bytes, cut, &err), NPC_ERR_INPUT);
    }
}

static long allocations_left;

static void *failing_malloc(size_t n)
{
    return allocations_left-- > 0 ? malloc(n) : NULL;
}

/* The JSON library reports some of them as syntax errors; each must end in a clean error. */
static void every_failing_allocation_of_the_header_is_an_error(void **state)
{
    (void)state;
    Status s = NPC_ERR_MEMORY;
    long k = 0;
    for (; s != NPC_OK && k < 1000; k++) {
        Safetensors st;
        Err err;
        json_set_alloc_funcs(failing_malloc, free);
        allocations_left = k;
        s = parse("{\"__metadata__\":{\"k\":\"v\"},"
                  "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                  8, &st, &err);
        json_set_alloc_funcs(malloc, free);
        assert_true(s == NPC_OK || err.text[0]);
        if (s == NPC_OK)
            safetensors_close(&st);
    }
    assert_in_range(k, 10, 999);
}

static void the_golden_files_open(void **state)
{
    (void)state;
    static const char *const name[] = {"dwiseneuro/ops",       "dwiseneuro/tiny",
                                       "dwiseneuro/odd_sizes", "dwiseneuro/distilled",
                                       "dwiseneuro/frames64",  "baselines/metrics"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char path[256];
        Safetensors st;
        Err err = {0};
        snprintf(path, sizeof path, "tests/goldens/%s.safetensors", name[i]);
        if (safetensors_open(&st, path, &err) != NPC_OK)
            fail_msg("%s", err.text);
        assert_true(st.n > 10);
        safetensors_close(&st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_below_eight_bytes_is_refused),
        cmocka_unit_test(an_empty_header_is_refused),
        cmocka_unit_test(a_header_beyond_the_limit_is_refused),
        cmocka_unit_test(a_header_length_of_two_to_the_64_is_refused),
        cmocka_unit_test(a_header_longer_than_the_file_is_refused),
        cmocka_unit_test(a_header_that_is_not_utf8_is_refused),
        cmocka_unit_test(a_header_that_is_not_json_is_refused),
        cmocka_unit_test(a_header_that_is_a_list_is_refused),
        cmocka_unit_test(a_leading_blank_is_refused),
        cmocka_unit_test(trailing_blanks_are_padding),
        cmocka_unit_test(a_nul_in_the_header_is_refused),
        cmocka_unit_test(an_empty_file_without_tensors_is_accepted),
        cmocka_unit_test(a_scalar_has_rank_zero),
        cmocka_unit_test(a_zero_size_tensor_is_accepted),
        cmocka_unit_test(a_zero_size_tensor_between_others_is_accepted),
        cmocka_unit_test(a_zero_size_tensor_inside_another_is_refused),
        cmocka_unit_test(tensors_may_be_listed_in_any_order),
        cmocka_unit_test(an_overflowing_product_of_sizes_is_refused),
        cmocka_unit_test(an_overflowing_size_in_bytes_is_refused),
        cmocka_unit_test(a_size_beyond_64_bits_is_refused),
        cmocka_unit_test(a_negative_size_is_refused),
        cmocka_unit_test(a_broken_size_is_refused),
        cmocka_unit_test(too_many_dimensions_are_refused),
        cmocka_unit_test(offsets_beyond_the_data_are_refused),
        cmocka_unit_test(offsets_in_the_wrong_order_are_refused),
        cmocka_unit_test(negative_offsets_are_refused),
        cmocka_unit_test(offsets_that_are_no_pair_are_refused),
        cmocka_unit_test(offsets_against_the_shape_are_refused),
        cmocka_unit_test(overlapping_tensors_are_refused),
        cmocka_unit_test(many_tensors_on_the_same_bytes_are_refused),
        cmocka_unit_test(a_hole_before_the_first_tensor_is_refused),
        cmocka_unit_test(a_hole_between_tensors_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(misaligned_data_is_refused),
        cmocka_unit_test(a_duplicate_tensor_name_is_refused),
        cmocka_unit_test(a_duplicate_field_is_refused),
        cmocka_unit_test(duplicate_metadata_is_refused),
        cmocka_unit_test(an_unknown_dtype_is_refused),
        cmocka_unit_test(an_unknown_field_is_refused),
        cmocka_unit_test(a_tensor_that_is_no_object_is_refused),
        cmocka_unit_test(metadata_that_are_no_texts_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(written_files_read_back),
        cmocka_unit_test(two_tensors_of_one_name_are_not_written),
        cmocka_unit_test(a_name_that_is_not_utf8_is_not_written),
        cmocka_unit_test(a_missing_file_is_an_error_with_its_name),
        cmocka_unit_test(a_file_truncated_at_any_byte_is_refused),
        cmocka_unit_test(every_failing_allocation_of_the_header_is_an_error),
        cmocka_unit_test(the_golden_files_open),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
