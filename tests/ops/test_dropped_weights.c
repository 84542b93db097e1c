/* Attention that drops weights (ir/drop.h): against the same made of plain ops with the mask as an
 * input, forward and backward, and what masks look like. */
#include "ir/base/philox.h"
#include "ir/drop.h"
#include "tests/ops/ir_harness.h"

enum { SAMPLES = 2, HEADS = 3, QUERIES = 7, KEYS = 7 };
static const double RATE = 0.2544, SCALE = 0.7;

/* ---- plain ops ---- */

typedef struct Operands {
    uint64_t state;
    Map map;
    Arena *arena;
} Operands;

/* The mask's definition once more: numbers in [0, 1) against the rate, as dropout has it. */
static void fill_mask(const double *bytes, double *mask)
{
    for (int64_t i = 0; i < (int64_t)SAMPLES * HEADS * QUERIES * KEYS; i++) {
        uint32_t key = (uint32_t)(i % KEYS), query = (uint32_t)(i / KEYS % QUERIES), word[4] = {0};
        for (int b = 0; b < DROP_BYTES; b++)
            word[b / 4] += (uint32_t)bytes[i / (QUERIES * KEYS) * DROP_BYTES + b] << b % 4 * 8;
        Philox drawn = philox_block((Philox){{key / 4, query, word[2], word[3]}}, word);
        mask[i] = (float)(drawn.v[key % 4] >> 8) * 0x1p-24f >= (float)RATE;
    }
}

static bool operand(void *context, const Node *leaf, double *at)
{
    Operands *o = context;
    int64_t n = shape_elems(&leaf->shape);
    double *kept = map_get(&o->map, leaf->attrs.name);
    if (!strcmp(leaf->attrs.name, "mask")) {
        fill_mask(map_get(&o->map, "bytes"), at);
        return true;
    }
    if (!kept) {
        kept = ARENA_ARRAY(o->arena, double, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            kept[i] = leaf->op == OP_BYTES ? (double)(test_word(&o->state) & 255)
                                           : 2 * test_uniform(&o->state) - 1;
        map_put(o->arena, &o->map, leaf->attrs.name, kept);
    }
    memcpy(at, kept, (size_t)n * sizeof *at);
    return true;
}

static Val contract(TestFunc *t, Val a, Val b, const char *over, const char *out)
{
    AxisList sum = test_axes(t, over), order = test_axes(t, out);
    return func_contract(t->f, a, b, &sum, &order);
}

/* softmax(scale q k + hidden), times mask / (1 - rate), times v. */
static Val plain_attention(TestFunc *t, const Val in[3], Val hidden)
{
    AxisList keys = test_axes(t, "m");
    Val s = func_scale(t->f, contract(t, in[0], in[1], "d", "b a n m"), SCALE);
    Val w = func_emit1(t->f, OP_EXP, func_emit2(t->f, OP_ADD, s, hidden));
    w = func_emit2(t->f, OP_DIV, w, func_sum(t->f, w, &keys, 1));
    w = func_emit2(t->f, OP_MUL, w, test_input(t, "mask", "b=2 a=3 n=7 m=7"));
    return contract(t, func_scale(t->f, w, 1 / (1 - RATE)), in[2], "m", "b a n e");
}

static void assert_same(const EvalTensor *a, const EvalTensor *b)
{
    assert_int_equal(shape_elems(&a->shape), shape_elems(&b->shape));
    for (int64_t i = 0; i < shape_elems(&a->shape); i++)
        if (!(fabs(a->at[i] - b->at[i]) <= 1e-13 * (1 + fabs(b->at[i]))))
            fail_msg("element %lld: %.17g, expected %.17g", (long long)i, a->at[i], b->at[i]);
}

static void check_against_plain_ops(AttendMask mask)
{
    TestFunc *t = test_func();
    Shape bytes = test_shape(t, "b=2 a=3 byte=16"), pairs = test_shape(t, "n=7 m=7");
    Attrs a = {.axis = name_intern(&t->names, "n"),
               .axis2 = name_intern(&t->names, "m"),
               .over = test_axes(t, "d"),
               .k = {SCALE, mask, RATE}};
    float hidden[QUERIES * KEYS];
    for (int i = 0; i < QUERIES * KEYS; i++) {
        bool hides = mask == ATTEND_SEES_EARLIER  ? i % KEYS > i / KEYS
                     : mask == ATTEND_SEES_OTHERS ? i % KEYS == i / KEYS
                                                  : false;
        hidden[i] = hides ? -INFINITY : 0;
    }
    Val in[] = {test_param(t, "q", "b=2 a=3 n=7 d=3"), test_param(t, "k", "b=2 a=3 m=7 d=3"),
                test_param(t, "v", "b=2 a=3 m=7 e=5"), func_bytes(t->f, "bytes", &bytes)};
    Val dy = test_input(t, "dy", "b=2 a=3 n=7 e=5");
    Val y = func_emit(t->f, OP_ATTEND, &a, in, 4);
    Val plain = plain_attention(t, in, func_const(t->f, hidden, &pairs));
    Val *plain_grad = test_backprop(t, t->f, plain, dy), din[MAX_OPERANDS];
    op_gradient(t->f, y, dy, din);
    assert_string_equal(test_log(t), "");
    Operands o = {.state = 5, .arena = &t->arena};
    EvalTensor *value;
    Err err = {0};
    assert_int_equal(eval_func(&t->arena, t->f, operand, &o, &value, &err), NPC_OK);
    assert_same(&value[y.id], &value[plain.id]);
    for (int i = 0; i < 3; i++)
        assert_same(&value[din[i].id], &value[plain_grad[in[i].id].id]);
    test_done(t);
}

static void attention_is_that_of_plain_ops_with_the_mask(void **state)
{
    (void)state;
    check_against_plain_ops(ATTEND_SEES_ALL);
    check_against_plain_ops(ATTEND_SEES_EARLIER);
    check_against_plain_ops(ATTEND_SEES_OTHERS);
}

static void bytes_and_rates_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct {
        double rate;
        const char *bytes, *says;
    } cases[] = {{1, "b=2 byte=16", "the drop rate is 1, at least 0 and less than 1"},
                 {-0.5, "b=2 byte=16", "the drop rate is -0.5"},
                 {0.99999999, "b=2 byte=16", "less than 1 was expected"},
                 {NAN, "b=2 byte=16", "the drop rate is"},
                 {0.5, "b=2 byte=15", "16 random bytes of every sequence"},
                 {0.5, "b=2 n=5 byte=16", "16 random bytes of every sequence"},
                 {0.5, "byte=16 b=2", "16 random bytes of every sequence"},
                 {0.5, "b=3 byte=16", "b"},
                 {0.5, "b=2 e=16", "16 random bytes of every sequence"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TestFunc *t = test_func();
        Shape bytes = test_shape(t, cases[i].bytes);
        Attrs a = {.axis = name_intern(&t->names, "n"),
                   .axis2 = name_intern(&t->names, "m"),
                   .over = test_axes(t, "d"),
                   .k = {1, ATTEND_SEES_ALL, cases[i].rate}};
        Val in[] = {test_param(t, "q", "b=2 n=5 d=3"), test_param(t, "k", "b=2 m=7 d=3"),
                    test_param(t, "v", "b=2 m=7 e=16"), func_bytes(t->f, "bytes", &bytes)};
        Val y = func_emit(t->f, OP_ATTEND, &a, in, cases[i].rate > 0 ? 4 : 3);
        assert_int_equal(y.id, 0);
        assert_contains(test_log(t), cases[i].says);
        test_done(t);
    }
}

/* ---- masks ---- */

static void limits_are_those_of_dropout(void **state)
{
    (void)state;
    static const double rate[] = {1e-9, 0.05, 0.1, 0.2544, 1. / 3, 0.5, 0.75, 0.999};
    assert_int_equal(drop_limit(0), 0);
    for (size_t i = 0; i < sizeof rate / sizeof *rate; i++) {
        uint32_t limit = drop_limit(rate[i]);
        assert_true((float)(limit >> 8) * 0x1p-24f >= (float)rate[i]);
        assert_true((float)((limit - 1) >> 8) * 0x1p-24f < (float)rate[i]);
        assert_true(drop_is_rate(rate[i]));
    }
    assert_false(drop_is_rate(1) || drop_is_rate(-1e-9) || drop_is_rate(NAN) ||
                 drop_is_rate(0.99999999));
}

/* Shares of kept weights, and of neighbours that are both kept: along keys, along queries, and of
 * sequences whose bytes differ in one bit. */
static void masks_have_their_rate_and_no_pattern(void **state)
{
    (void)state;
    enum { N = 512 };
    static const double rates[] = {0.05, 0.2544, 0.7};
    for (int r = 0; r < 3; r++) {
        const uint32_t word[4] = {1, 2, 3, 4}, other[4] = {1, 2, 3, 5};
        uint32_t limit = drop_limit(rates[r]);
        double keep = 1 - rates[r], kept = 0, along[3] = {0}, n = (double)N * N;
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = 0; j < N; j++) {
                bool own = drop_keeps(word, limit, i, j);
                kept += own;
                along[0] += own && drop_keeps(word, limit, i, j + 1);
                along[1] += own && drop_keeps(word, limit, i + 1, j);
                along[2] += own && drop_keeps(other, limit, i, j);
            }
        assert_true(fabs(kept / n - keep) < 5 * sqrt(keep * rates[r] / n));
        for (int k = 0; k < 3; k++) /* neighbours share weights: some more than binomial */
            assert_true(fabs(along[k] / n - keep * keep) < 10 * sqrt(keep * keep / n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_that_of_plain_ops_with_the_mask),
        cmocka_unit_test(bytes_and_rates_that_do_not_fit_are_refused),
        cmocka_unit_test(limits_are_those_of_dropout),
        cmocka_unit_test(masks_have_their_rate_and_no_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
