/* Mutated npy files: whatever the bytes, the reader answers with an array that can be read through
 * or with a sentence. NPC_FUZZ_ROUNDS (default 200000) sets how long it goes on; build with
 * sanitizers for the most of it. Round i depends on i alone, so a
 * failure repeats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "data/npy.h"
#include "data/philox.h"

static const char *const CORPUS = "tests/fuzz/corpus/npy";
enum { MAX_BYTES = 1024, MAX_SEEDS = 64 };

typedef struct Input {
    unsigned char bytes[MAX_BYTES];
    size_t n;
} Input;

static Input seeds[MAX_SEEDS];
static uint32_t n_seeds;

/* Pieces that mean something to the parser. */
static const char *const WORDS[] = {
    "'descr'",
    "'fortran_order'",
    "'shape'",
    "True",
    "False",
    "'<f4'",
    "'>f8'",
    "'|O'",
    "'<U16'",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "0",
    "-1",
    "L",
    "65535",
    "4294967296",
    "18446744073709551615",
    "\x93NUMPY\x01",
    "\x93NUMPY\x02",
};

static void splice(Input *in, Rng *rng, const void *bytes, size_t n)
{
    size_t at = rng_below(rng, in->n + 1);
    size_t gone = rng_below(rng, 4) ? rng_below(rng, in->n - at + 1) % (n + 4) : 0;
    size_t tail = in->n - at - gone;
    if (in->n - gone + n > MAX_BYTES)
        return;
    memmove(in->bytes + at + n, in->bytes + at + gone, tail);
    memcpy(in->bytes + at, bytes, n);
    in->n += n - gone;
}

static void mutate(Input *in, Rng *rng)
{
    for (uint64_t k = 1 + rng_below(rng, 1 + rng_below(rng, 8)); k-- > 0;) {
        switch (rng_below(rng, 5)) {
        case 0: /* a bit */
            if (in->n)
                in->bytes[rng_below(rng, in->n)] ^= (unsigned char)(1u << rng_below(rng, 8));
            break;
        case 1: /* a byte, often in the fixed part */
            if (in->n)
                in->bytes[rng_below(rng, in->n < 16          ? in->n
                                         : rng_below(rng, 2) ? 16
                                                             : in->n)] =
                    (unsigned char)rng_word(rng);
            break;
        case 2: { /* a word */
            const char *word = WORDS[rng_below(rng, sizeof WORDS / sizeof *WORDS)];
            splice(in, rng, word, strlen(word));
            break;
        }
        case 3: /* the end */
            in->n = rng_below(rng, in->n + 1);
            break;
        default: { /* a piece of another seed */
            const Input *other = &seeds[rng_below(rng, n_seeds)];
            size_t at = rng_below(rng, other->n), n = 1 + rng_below(rng, other->n - at);
            splice(in, rng, other->bytes + at, n);
        }
        }
    }
}

/* Reads every element of an array that was accepted. */
static void read_through(const NpyHeader *h, const unsigned char *data)
{
    Npy a = {.head = *h, .data = data};
    assert_true(h->elems * h->item_bytes == h->data_bytes && h->data_bytes <= MAX_BYTES);
    float *all = malloc((h->elems + 1) * sizeof *all);
    volatile double value = 0;
    char text[64];
    if (npy_is_number(h))
        npy_all_floats(&a, all);
    for (uint64_t i = 0; i < h->elems; i++)
        if (npy_is_number(h))
            value = npy_double(&a, i) + (double)npy_integer(&a, i);
        else
            npy_text(&a, i, text, sizeof text);
    (void)value;
    free(all);
}

/* The bytes end where their allocation ends, so that a sanitizer sees one byte too many. */
static bool try_input(const Input *in)
{
    unsigned char *exact = malloc(in->n ? in->n : 1);
    memcpy(exact, in->bytes, in->n);
    NpyHeader h;
    Err err = {0};
    Status s = npy_parse_header(&h, exact, in->n, in->n, "fuzz.npy", &err);
    assert_true(s == NPC_OK || s == NPC_ERR_INPUT);
    assert_true((s == NPC_OK) == (err.text[0] == 0));
    if (s == NPC_OK)
        read_through(&h, exact + h.data_offset);
    free(exact);
    return s == NPC_OK;
}

static void the_corpus_is_answered_as_its_names_say(void **state)
{
    (void)state;
    static const char *const good[] = {"bool",      "empty", "f2",      "f4",       "f8_fortran",
                                       "i8_scalar", "u2",    "unicode", "version2", "version3"};
    Arena arena = {0};
    const char **names;
    size_t n;
    Err err = {0};
    assert_int_equal(file_list(&arena, CORPUS, &names, &n, &err), NPC_OK);
    for (size_t i = 0; i < n && n_seeds < MAX_SEEDS; i++) {
        char *bytes, *path = arena_printf(&arena, "%s/%s", CORPUS, names[i]);
        Input *in = &seeds[n_seeds++];
        assert_int_equal(file_read(&arena, path, MAX_BYTES, &bytes, &in->n, &err), NPC_OK);
        memcpy(in->bytes, bytes, in->n);
        bool want = false;
        for (size_t k = 0; k < sizeof good / sizeof *good; k++)
            want |= !strncmp(names[i], good[k], strlen(good[k])) &&
                    !strcmp(names[i] + strlen(good[k]), ".npy");
        if (try_input(in) != want)
            fail_msg("%s should be %s", names[i], want ? "read" : "refused");
    }
    assert_true(n_seeds >= 10);
    arena_free(&arena);
}

static void mutated_files_end_in_an_array_or_a_sentence(void **state)
{
    (void)state;
    const char *setting = getenv("NPC_FUZZ_ROUNDS");
    uint64_t rounds = setting ? strtoull(setting, NULL, 10) : 200000, n_read = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        Rng rng = rng_start(1, i);
        Input in = seeds[rng_below(&rng, n_seeds)];
        mutate(&in, &rng);
        n_read += try_input(&in);
    }
    assert_true(n_read > rounds / 1000); /* the mutations also reach the other side */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_is_answered_as_its_names_say),
        cmocka_unit_test(mutated_files_end_in_an_array_or_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
