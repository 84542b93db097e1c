/* Hostile safetensors files: the corpus, then mutations of it.
 *
 * Whatever the bytes, reading ends in an error with a text or in tensors that can be read to their
 * last byte. Run by CTest for a few seconds; NPC_FUZZ_SECONDS=3600 for longer, NPC_FUZZ_SEED=n for
 * other mutations. Built with -DNPC_LIBFUZZER it is a libFuzzer target. The last input stands in
 * NPC_FUZZ_LAST (a file name), when set, so that a crash can be repeated. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "data/safetensors.h"

enum { LIMIT = 1 << 16, CORPUS = 256 };

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

static void read_all(const Safetensors *st)
{
    for (size_t i = 0; i < st->n; i++) {
        const SafetensorsEntry *e = &st->entry[i];
        const unsigned char *begin = e->data, *end = begin + e->bytes;
        must(begin >= st->file + st->data_at && end <= st->file + st->file_bytes,
             "data in the file");
        must(safetensors_find(st, e->name) == e, "every tensor is found by its name");
        must(e->elems <= LIMIT, "as many elements as bytes at most");
        double *d = malloc((e->elems + 1) * sizeof *d);
        float *f = malloc((e->elems + 1) * sizeof *f);
        must(d && f, "memory for the numbers");
        safetensors_as_double(e, d);
        safetensors_as_float(e, f);
        free(d);
        free(f);
    }
}

/* What was accepted can be written again and means the same. */
static void write_again(const Safetensors *st)
{
    SafetensorsPlan plan;
    Arena arena = {0};
    Err err = {0};
    must(safetensors_plan(&plan, &arena, "again", st->entry, st->n, st->meta, st->n_meta, &err) ==
             NPC_OK,
         "accepted files can be written");
    Safetensors again;
    unsigned char *bytes = aligned_alloc(64, (plan.header_bytes + LIMIT + 63) / 64 * 64);
    must(bytes != NULL, "memory for the copy");
    size_t at = plan.header_bytes;
    memcpy(bytes, plan.header, at);
    for (size_t i = 0; i < plan.n; i++) {
        if (plan.order[i]->bytes)
            memcpy(bytes + at, plan.order[i]->data, plan.order[i]->bytes);
        at += plan.order[i]->bytes;
    }
    must(safetensors_parse(&again, "again", bytes, at, &err) == NPC_OK,
         "written files are accepted");
    must(again.n == st->n && again.n_meta == st->n_meta, "nothing is lost");
    for (size_t i = 0; i < st->n; i++) {
        const SafetensorsEntry *a = &st->entry[i], *b = safetensors_find(&again, a->name);
        must(b && a->dtype == b->dtype && a->rank == b->rank && a->bytes == b->bytes,
             "same tensor");
        must(!a->bytes || !memcmp(a->data, b->data, a->bytes), "same numbers");
    }
    safetensors_close(&again);
    free(bytes);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
    if (bytes > LIMIT)
        return 0;
    unsigned char *exact = aligned_alloc(8, (bytes + 8) / 8 * 8); /* aligned as a mapped file is */
    Safetensors st;
    Err err = {0};
    must(exact != NULL, "memory for the input");
    memcpy(exact, data, bytes);
    if (safetensors_parse(&st, "input", exact, bytes, &err) == NPC_OK) {
        read_all(&st);
        write_again(&st);
        safetensors_close(&st);
    } else {
        must(err.text[0] && err.status == NPC_ERR_INPUT, "an error has a text");
    }
    free(exact);
    return 0;
}

#ifndef NPC_LIBFUZZER

static struct {
    unsigned char *data;
    size_t bytes;
} corpus[CORPUS];
static size_t n_corpus;

static void add_to_corpus(const unsigned char *data, size_t bytes)
{
    if (n_corpus == CORPUS || !(corpus[n_corpus].data = malloc(bytes + 1)))
        return;
    memcpy(corpus[n_corpus].data, data, bytes);
    corpus[n_corpus++].bytes = bytes;
}

static void load_corpus(const char *folder)
{
    Arena arena = {0};
    Err err = {0};
    const char **name;
    size_t n;
    must(file_list(&arena, folder, &name, &n, &err) == NPC_OK, "the corpus is there");
    for (size_t i = 0; i < n; i++) {
        char *text;
        size_t bytes;
        if (file_read(&arena, arena_printf(&arena, "%s/%s", folder, name[i]), LIMIT, &text, &bytes,
                      &err) == NPC_OK)
            add_to_corpus((unsigned char *)text, bytes);
    }
    arena_free(&arena);
    must(n_corpus > 0, "the corpus is not empty");
}

static uint64_t random_state = 1;

static size_t below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return n ? (size_t)(random_state >> 33) % n : 0;
}

static const char *const words[] = {
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "0",
    "-1",
    "1.0",
    "1e400",
    "\"dtype\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\"",
    "\"F32\"",
    "\"BOOL\"",
    "\"F64\"",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "\xff",
    " ",
    "[0,0]",
    "\"\"",
    "{}",
};

static size_t insert(unsigned char *at, size_t bytes, size_t place, const void *what, size_t n)
{
    if (bytes + n > LIMIT)
        return bytes;
    memmove(at + place + n, at + place, bytes - place);
    memcpy(at + place, what, n);
    return bytes + n;
}

static size_t mutate_once(unsigned char *at, size_t bytes)
{
    size_t place = below(bytes + 1), n = below(8) + 1, other = below(n_corpus);
    const char *word = words[below(sizeof words / sizeof *words)];
    switch (below(6)) {
    case 0:
        if (place < bytes)
            at[place] ^= (unsigned char)(1 << below(8));
        return bytes;
    case 1:
        return insert(at, bytes, place, word, strlen(word));
    case 2:
        n = n < bytes - place ? n : bytes - place;
        memmove(at + place, at + place + n, bytes - place - n);
        return bytes - n;
    case 3:
        n = below(corpus[other].bytes + 1);
        n = n < 200 ? n : 200;
        return insert(at, bytes, place, corpus[other].data + below(corpus[other].bytes - n + 1), n);
    case 4:
        if (place < bytes)
            at[place] = (unsigned char)("0123456789,]}"[below(13)]);
        return bytes;
    default:
        return place;
    }
}

/* Most mutations move the end of the header: usually its length is put right again. */
static void repair_length(unsigned char *at, size_t bytes)
{
    size_t end = 8;
    int depth = 0;
    for (; end < bytes; end++) {
        depth += (at[end] == '{') - (at[end] == '}');
        if (at[end] == '}' && depth == 0)
            break;
    }
    if (bytes < 9)
        return;
    uint64_t n = (end + 1 < bytes ? end + 1 : bytes) - 8;
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(n >> (8 * i));
}

static void keep_last(const unsigned char *data, size_t bytes)
{
    const char *path = getenv("NPC_FUZZ_LAST");
    FILE *f = path ? fopen(path, "wb") : NULL;
    if (!f)
        return;
    fwrite(data, 1, bytes, f);
    fclose(f);
}

int main(void)
{
    static unsigned char input[LIMIT];
    const char *seconds = getenv("NPC_FUZZ_SECONDS"), *seed = getenv("NPC_FUZZ_SEED");
    time_t end = time(NULL) + (seconds ? atol(seconds) : 3);
    unsigned long n_inputs = 0;
    random_state = seed ? strtoull(seed, NULL, 10) : 1;
    load_corpus("tests/fuzz/corpus/safetensors");
    for (size_t i = 0; i < n_corpus; i++)
        LLVMFuzzerTestOneInput(corpus[i].data, corpus[i].bytes);
    for (; n_inputs % 256 || time(NULL) < end; n_inputs++) {
        size_t from = below(n_corpus), bytes = corpus[from].bytes;
        memcpy(input, corpus[from].data, bytes);
        for (size_t k = below(5) + 1; k > 0; k--)
            bytes = mutate_once(input, bytes);
        if (below(4))
            repair_length(input, bytes);
        keep_last(input, bytes);
        LLVMFuzzerTestOneInput(input, bytes);
    }
    printf("%lu inputs from %zu seeds\n", n_inputs, n_corpus);
    for (size_t i = 0; i < n_corpus; i++)
        free(corpus[i].data);
    return 0;
}

#endif
