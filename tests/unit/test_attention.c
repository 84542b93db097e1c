/* Attention of a model: which blocks it has and what their tokens see, and weights, rollout and
 * maps with numbers that can be checked by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/attention_maps.h"
#include "runtime/model.h"

#define assert_near(a, b) assert_float_equal(a, b, 1e-12)

/* ---- weights ---- */

/* Two sequences of three tokens, two heads of width 1: [sequence token head]. */
static AttentionBlock small_block(int64_t front, int64_t data)
{
    AttentionSide side = {.elems = 12, .sample = 12, .token = 2, .entry = 1};
    side.sequence[0] = 6;
    side.head[0] = 1;
    return (AttentionBlock){.part = {side, side},
                            .n_parts = 2,
                            .n_sequence = 1,
                            .n_head = 1,
                            .sequence_size = {2},
                            .head_size = {2},
                            .sequences = 2,
                            .heads = 2,
                            .tokens = 3,
                            .width = 1,
                            .front = front,
                            .data = data,
                            .scale = 0.5};
}

static void weights_are_softmax_over_all_tokens(void **state)
{
    (void)state;
    AttentionBlock b = small_block(0, 2); /* the last token is a register */
    double q[12] = {0}, k[12] = {0}, scratch[6], w[8];
    float single[12];
    q[6 + 2 + 1] = 2; /* sequence 1, token 1, head 1 */
    k[6 + 0 + 1] = log(2);
    k[6 + 4 + 1] = log(5);
    assert_int_equal(attention_scratch(&b), 6);
    attention_weights(&b, (AttentionValues[]){{.wide = q}, {.wide = k}}, 0, 1, scratch, w);
    for (int i = 0; i < 6; i++) /* queries of 0 */
        assert_near(w[i], 1. / 3);
    assert_near(w[6], 2. / 8);
    assert_near(w[7], 1. / 8);

    for (int i = 0; i < 12; i++)
        single[i] = (float)k[i];
    attention_weights(&b, (AttentionValues[]){{.wide = q}, {.single = single}}, 0, 1, scratch, w);
    assert_float_equal(w[6], 2. / 8, 1e-7);
}

static void causal_tokens_see_no_later_ones(void **state)
{
    (void)state;
    AttentionBlock b = small_block(0, 3);
    double q[12] = {0}, k[12] = {0}, scratch[6], w[18];
    static const double want[9] = {1, 0, 0, 0.5, 0.5, 0, 1. / 3, 1. / 3, 1. / 3};
    b.mask = ATTEND_SEES_EARLIER;
    attention_weights(&b, (AttentionValues[]){{.wide = q}, {.wide = k}}, 0, 0, scratch, w);
    for (int i = 0; i < 18; i++)
        assert_near(w[i], want[i % 9]);
}

static void tokens_may_see_only_others(void **state)
{
    (void)state;
    AttentionBlock b = small_block(0, 3);
    double q[12] = {0}, k[12] = {0}, scratch[6], w[18];
    b.mask = ATTEND_SEES_OTHERS;
    attention_weights(&b, (AttentionValues[]){{.wide = q}, {.wide = k}}, 0, 0, scratch, w);
    for (int i = 0; i < 18; i++)
        assert_near(w[i], (i % 9 % 4 ? 0.5 : 0));
}

/* A bias [token key head] of the heads, and labels [sequence token]. */
static void biases_and_labels_are_added(void **state)
{
    (void)state;
    AttentionBlock b = small_block(0, 3);
    double q[12] = {0}, k[12] = {0}, bias[18] = {0}, scratch[6], w[18];
    double labels[6] = {0, 0, 0, 1, 7, 7};
    b.n_parts = SCORE_PARTS;
    b.part[SCORE_BIAS] = (AttentionSide){.elems = 18, .token = 6, .entry = 2, .head = {1}};
    b.part[SCORE_OWN] = b.part[SCORE_THEIRS] =
        (AttentionSide){.elems = 6, .token = 1, .sequence = {3}};
    bias[1 * 6 + 2 * 2 + 1] = log(3); /* query 1, key 2, head 1 */
    AttentionValues part[] = {
        {.wide = q}, {.wide = k}, {.wide = bias}, {.wide = labels}, {.wide = labels}};
    attention_weights(&b, part, 0, 0, scratch, w);
    for (int i = 0; i < 18; i++) {
        double want = i / 3 == 4 ? (i % 3 == 2 ? 3. / 5 : 1. / 5) : 1. / 3;
        assert_near(w[i], want);
    }
    attention_weights(&b, part, 0, 1, scratch, w); /* token 0 is alone */
    for (int i = 0; i < 18; i++) {
        double want = (i % 9 < 3) != (i % 3 == 0) ? 0 : i % 9 < 3 ? 1 : 1. / 2;
        if (i == 13 || i == 14)
            want = i == 14 ? 3. / 4 : 1. / 4;
        assert_near(w[i], want);
    }
    labels[3] = ATTEND_UNASKED; /* token 0 does not ask any more */
    attention_weights(&b, part, 0, 1, scratch, w);
    for (int i = 0; i < 18; i++)
        assert_true(i % 9 < 3 ? w[i] == 0 : w[i] > 0 || i % 3 == 0);
}

/* ---- rollout ---- */

/* Heads of a block and its A, by hand:
 *   [1 0; 0 0], [0 0; 1/2 1/2]   max, + identity [2 0; 1/2 3/2]   rows over sums [1 0; 1/4 3/4]
 *   [0 1; 1 0], [0 0; 0 0]       [1 1; 1 1]                       [1/2 1/2; 1/2 1/2] */
static const double older[8] = {1, 0, 0, 0, 0, 0, 0.5, 0.5}, newer[8] = {0, 1, 1, 0};

static void rollout_is_the_product_newest_on_the_left(void **state)
{
    (void)state;
    AttentionBlock b = small_block(0, 2);
    double line[2], scratch[4];
    rollout_begin(&b, line);
    assert_near(line[0], 0.5);
    rollout_through(2, 2, older, line, scratch); /* mean over rows of one block */
    assert_near(line[0], 5. / 8);
    assert_near(line[1], 3. / 8);

    /* newer older = [5/8 3/8; 5/8 3/8]; the other way round the mean of the rows is [1/2 1/2] */
    rollout_begin(&b, line);
    rollout_through(2, 2, newer, line, scratch);
    rollout_through(2, 2, older, line, scratch);
    assert_near(line[0], 5. / 8);
    assert_near(line[1], 3. / 8);
    rollout_begin(&b, line);
    rollout_through(2, 2, older, line, scratch);
    rollout_through(2, 2, newer, line, scratch);
    assert_near(line[0], 0.5);
}

static void a_class_token_gives_its_own_row(void **state)
{
    (void)state;
    AttentionBlock b = small_block(1, 1);
    double line[2], scratch[4];
    rollout_begin(&b, line);
    rollout_through(2, 2, older, line, scratch);
    assert_near(line[0], 1);
    assert_near(line[1], 0);
    rollout_begin(&b, line);
    rollout_through(2, 2, newer, line, scratch);
    assert_near(line[1], 0.5);
}

static void lines_are_scaled_from_0_to_1(void **state)
{
    (void)state;
    double x[3] = {3, 1, 2}, same[2] = {4, 4};
    attention_min_max(x, 3);
    assert_near(x[0], 1);
    assert_near(x[1], 0);
    assert_near(x[2], 0.5);
    attention_min_max(same, 2);
    assert_near(same[0], 0);
}

/* ---- maps ---- */

static void places_that_overlap_are_averaged(void **state)
{
    (void)state;
    /* 2 x 5 pixels, patches of two columns by a stride of one, the last column covered by none */
    const AttentionPlace place[3] = {{{0, 2}, {0, 2}}, {{0, 2}, {1, 3}}, {{0, 2}, {2, 4}}};
    const double value[3] = {1, 2, 6}, want[5] = {1. / 6, 1.5 / 6, 4. / 6, 1, 0};
    double map[10], scratch[10];
    attention_fold(place, 3, value, 2, 5, map, scratch);
    for (int i = 0; i < 10; i++)
        assert_near(map[i], want[i % 5]);
    assert_int_equal(attention_grid_columns(place, 3), 3);
}

static void grids_are_found_row_by_row(void **state)
{
    (void)state;
    AttentionPlace place[6];
    for (int i = 0; i < 6; i++)
        place[i] = (AttentionPlace){{i / 3, i / 3 + 2}, {i % 3 * 2, i % 3 * 2 + 3}};
    assert_int_equal(attention_grid_columns(place, 6), 3);
    assert_int_equal(attention_grid_columns(place, 5), 0);
    place[4].columns.first++;
    assert_int_equal(attention_grid_columns(place, 6), 0);
}

static void resizing_is_bilinear_between_centres(void **state)
{
    (void)state;
    const double x[2] = {0, 4}, want[4] = {0, 1, 3, 4};
    double map[8];
    attention_resize(x, 1, 2, 2, 4, map);
    for (int i = 0; i < 8; i++)
        assert_near(map[i], want[i % 4]);
}

static void moments_are_those_of_the_map(void **state)
{
    (void)state;
    const double map[6] = {0, 0, 1, 0, 0, 3}; /* 2 x 3 */
    AttentionMoments m = attention_moments(map, 2, 3);
    assert_near(m.x, 2 - 1.5);
    assert_near(m.y, 0.75 - 1);
    assert_near(m.x_spread, sqrt(32. / 9)); /* column sums 0 0 4 */
    assert_near(m.y_spread, 1);             /* row sums 1 3 */
    const double nothing[2] = {0, 0};
    assert_true(isnan(attention_moments(nothing, 1, 2).x));
}

/* ---- blocks ---- */

typedef struct Opened {
    Model *model;
    Arena arena;
    AttentionModel attention;
} Opened;

static Status open_blocks(Opened *o, const char *path, const char *const *sets, int n, Err *err)
{
    static const Session mouse = {.name = "A", .neurons = 3};
    ModelOptions m = {.path = path,
                      .sets = sets,
                      .n_sets = n,
                      .sessions = &mouse,
                      .n_sessions = 1,
                      .batch = 1,
                      .device = "cpu",
                      .no_cache = true};
    *o = (Opened){0};
    NPC_TRY(model_open(&o->model, &m, err));
    return attention_find(&o->attention, &o->arena, o->model->module, err);
}

static void close_blocks(Opened *o)
{
    model_close(o->model);
    arena_free(&o->arena);
}

static void assert_range(OriginRange r, int first, int end)
{
    assert_int_equal(r.first, first);
    assert_int_equal(r.end, end);
}

#define OPEN(o, path, ...)                                                                         \
    const char *sets[] = {__VA_ARGS__};                                                            \
    Err err = {0};                                                                                 \
    if (open_blocks(&o, path, sets, sizeof sets / sizeof *sets, &err) != NPC_OK)                   \
    fail_msg("%s", err.text)

static void tubelets_know_their_patch_and_their_frames(void **state)
{
    (void)state;
    Opened o;
    OPEN(o, "models/viv1t.nm", "t=9", "h=11", "w=18", "pad=no", "registers=0", "tube=4", "patch=5",
         "patch_stride=3", "dim=6", "heads=2", "head_dim=4", "ff_dim=5", "space_blocks=2",
         "time_blocks=1");
    const AttentionModel *a = &o.attention;
    assert_int_equal(a->n_blocks, 3);
    assert_int_equal(a->n_of[ATTENTION_SPACE], 2);
    assert_int_equal(a->n_of[ATTENTION_TIME], 1);
    assert_int_equal(a->places, 3 * 5);
    assert_int_equal(a->steps, 6);
    assert_int_equal(a->height, 11);
    assert_int_equal(a->width, 18);
    assert_int_equal(attention_grid_columns(a->place, 15), 5);
    assert_range(a->place[0].rows, 0, 5);
    assert_range(a->place[7].rows, 3, 8);
    assert_range(a->place[7].columns, 6, 11);
    assert_range(a->frames[0], 0, 4);
    assert_range(a->frames[5], 5, 9);
    const AttentionBlock *b = a->first[ATTENTION_SPACE];
    assert_int_equal(b->heads, 2);
    assert_int_equal(b->width, 4);
    assert_int_equal(b->sequences, 6);
    assert_int_equal(b->tokens, 15);
    assert_int_equal(b->front, 0);
    assert_near(b->scale, 0.5);
    close_blocks(&o);
}

static void padding_and_registers_are_not_part_of_the_input(void **state)
{
    (void)state;
    Opened o;
    OPEN(o, "models/viv1t.nm", "t=7", "h=8", "w=9", "max_frames=7", "tube=3", "patch=5",
         "patch_stride=2", "dim=6", "heads=2", "head_dim=4", "ff_dim=5", "space_blocks=1",
         "time_blocks=1", "registers=2");
    const AttentionModel *a = &o.attention;
    assert_int_equal(a->steps, 7);
    assert_int_equal(a->places, 4 * 5);
    assert_range(a->frames[0], 0, 1); /* all padding is in front */
    assert_range(a->frames[1], 0, 2);
    assert_range(a->frames[6], 4, 7);
    assert_range(a->place[0].rows, 0, 4);    /* 3 rows of zeros: one above */
    assert_range(a->place[0].columns, 0, 3); /* 4 columns: two on the left */
    assert_range(a->place[19].rows, 5, 8);
    assert_range(a->place[19].columns, 6, 9);
    assert_int_equal(a->first[ATTENTION_SPACE]->tokens, 22);
    assert_int_equal(attention_kept(a->first[ATTENTION_SPACE]), 20);
    assert_int_equal(a->first[ATTENTION_SPACE]->mask, ATTEND_SEES_ALL);
    assert_int_equal(a->first[ATTENTION_TIME]->mask, ATTEND_SEES_EARLIER);
    assert_int_equal(attention_kept(a->first[ATTENTION_TIME]), 7);
    close_blocks(&o);
}

static void a_class_token_stands_in_front(void **state)
{
    (void)state;
    Opened o;
    OPEN(o, "models/v1t.nm", "h=72", "w=128", "dim=6", "heads=2", "blocks=2", "mlp_dim=5",
         "patch_stride=4");
    const AttentionModel *a = &o.attention;
    assert_int_equal(a->n_blocks, 2);
    assert_null(a->first[ATTENTION_TIME]);
    assert_null(a->frames);
    assert_int_equal(a->first[ATTENTION_SPACE]->front, 1);
    assert_int_equal(a->first[ATTENTION_SPACE]->sequences, 1);
    assert_int_equal(a->places, 8 * 15);
    assert_int_equal(attention_grid_columns(a->place, a->places), 15);
    assert_int_equal(a->core_height, 36); /* after the resize */
    assert_int_equal(a->core_width, 64);
    assert_int_equal(a->height, 72);
    close_blocks(&o);
}

static void a_crop_that_follows_the_eye_is_a_picture_of_its_own(void **state)
{
    (void)state;
    Opened o;
    OPEN(o, "models/v1t.nm", "h=40", "w=60", "dim=6", "heads=2", "blocks=1", "mlp_dim=5",
         "patch_stride=4", "crop=0.5", "shift_mode=3", "resize=no");
    assert_int_equal(o.attention.places, 4 * 6); /* of 20 x 30 pixels */
    assert_int_equal(o.attention.core_height, 20);
    assert_int_equal(o.attention.core_width, 30);
    close_blocks(&o);
}

static void models_without_attention_are_refused(void **state)
{
    (void)state;
    Opened o;
    Err err = {0};
    assert_int_equal(open_blocks(&o, "models/demo.nm", NULL, 0, &err), NPC_ERR_INPUT);
    assert_non_null(strstr(err.text, "has no attention"));
    close_blocks(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_softmax_over_all_tokens),
        cmocka_unit_test(causal_tokens_see_no_later_ones),
        cmocka_unit_test(tokens_may_see_only_others),
        cmocka_unit_test(biases_and_labels_are_added),
        cmocka_unit_test(rollout_is_the_product_newest_on_the_left),
        cmocka_unit_test(a_class_token_gives_its_own_row),
        cmocka_unit_test(lines_are_scaled_from_0_to_1),
        cmocka_unit_test(places_that_overlap_are_averaged),
        cmocka_unit_test(grids_are_found_row_by_row),
        cmocka_unit_test(resizing_is_bilinear_between_centres),
        cmocka_unit_test(moments_are_those_of_the_map),
        cmocka_unit_test(tubelets_know_their_patch_and_their_frames),
        cmocka_unit_test(padding_and_registers_are_not_part_of_the_input),
        cmocka_unit_test(a_class_token_stands_in_front),
        cmocka_unit_test(a_crop_that_follows_the_eye_is_a_picture_of_its_own),
        cmocka_unit_test(models_without_attention_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
