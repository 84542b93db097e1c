/* Tile programs: text form, legality, layouts, and the interpreter against sums done by hand. */
#include "ir/tile.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct World {
    Arena arena;
    Names names;
    Diags diags;
} World;

static int set_up(void **state)
{
    World *w = calloc(1, sizeof *w);

    w->names.arena = &w->arena;
    diags_init(&w->diags, &w->arena);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    arena_free(&((World *)*state)->arena);
    free(*state);
    return 0;
}

static TileProgram *parse(World *w, const char *text)
{
    TileProgram *p = tile_parse(&w->arena, &w->names, &w->diags, "test", text, strlen(text));

    if (!p)
        diags_print(&w->diags, stderr);
    return p;
}

static const char dense_text[] = "tile \"core.expand\" session -1 batch 0 flops 24 {\n"
                                 "  axis b 2 parallel\n"
                                 "  axis n 3 parallel\n"
                                 "  axis k 2 reduce\n"
                                 "  tensor in buffer 4 [b=2, k=2] order 0 1\n"
                                 "  tensor in buffer 5 [n=3, k=2] order 1 0\n"
                                 "  tensor out buffer 6 [b=2, n=3] order 1 0 lane 1 x 4\n"
                                 "  tensor out buffer 7 [n=3] order 0\n"
                                 "  %0 = load t0 [a0, a2]\n"
                                 "  %1 = load t1 [a1, a2]\n"
                                 "  %2 = acc\n"
                                 "  %3 = const 0.5\n"
                                 "  %4 = mul %2 %3\n"
                                 "  anchor contract %0 %1\n"
                                 "  store %4 t2 [a0, a1]\n"
                                 "  variance %2 t3 [a1] factor 2\n"
                                 "}\n";

/* Two sequences of two queries and three keys; the second query sees what the first does not. */
static const char attend_text[] = "tile \"attend\" session -1 batch -1 flops 0 {\n"
                                  "  axis b 2 parallel\n"
                                  "  axis n 3 own\n"
                                  "  axis m 3 own\n"
                                  "  axis d 2 own\n"
                                  "  axis e 1 own\n"
                                  "  tensor in buffer 0 [b=2, n=3, d=2] order 0 1 2\n"
                                  "  tensor in buffer 1 [b=2, m=3, d=2] order 0 1 2\n"
                                  "  tensor in buffer 2 [b=2, m=3, e=1] order 0 1 2\n"
                                  "  tensor out buffer 3 [b=2, n=3, e=1] order 0 1 2\n"
                                  "  tensor out buffer 4 [b=2, n=3] order 1 0\n"
                                  "  %0 = load t0 [a0, a1, a3]\n"
                                  "  %1 = load t1 [a0, a2, a3]\n"
                                  "  %2 = load t2 [a0, a2, a4]\n"
                                  "  anchor attend n 1 m 2 d 3 e 4 scale 0.5 causal %0 %1 %2\n"
                                  "  result 0 t3 [a0, a1, a4]\n"
                                  "  result 1 t4 [a0, a1]\n"
                                  "}\n";

/* The same sequences without the second result, where weights are dropped. */
static const char drop_text[] = "tile \"drop\" session -1 batch -1 flops 0 {\n"
                                "  axis b 2 parallel\n"
                                "  axis n 3 own\n"
                                "  axis m 3 own\n"
                                "  axis d 2 own\n"
                                "  axis e 1 own\n"
                                "  axis r 16 own\n"
                                "  tensor in buffer 0 [b=2, n=3, d=2] order 0 1 2\n"
                                "  tensor in buffer 1 [b=2, m=3, d=2] order 0 1 2\n"
                                "  tensor in buffer 2 [b=2, m=3, e=1] order 0 1 2\n"
                                "  tensor in u8 buffer 3 [b=2, r=16] order 0 1\n"
                                "  tensor out buffer 4 [b=2, n=3, e=1] order 0 1 2\n"
                                "  %0 = load t0 [a0, a1, a3]\n"
                                "  %1 = load t1 [a0, a2, a3]\n"
                                "  %2 = load t2 [a0, a2, a4]\n"
                                "  %3 = load t3 [a0, a5]\n"
                                "  anchor attend n 1 m 2 d 3 e 4 scale 0.5 causal byte 5 drop 0.25"
                                " %0 %1 %2 %3\n"
                                "  result 0 t4 [a0, a1, a4]\n"
                                "}\n";

static const char scatter_text[] = "tile \"scatter\" session -1 batch -1 flops 0 {\n"
                                   "  axis c 2 parallel\n"
                                   "  axis n 5 reduce\n"
                                   "  axis p 3 own\n"
                                   "  tensor in buffer 0 [n=5, c=2] order 0 1\n"
                                   "  tensor in buffer 1 [n=5] order 0\n"
                                   "  tensor in buffer 2 [q=7] order 0\n"
                                   "  tensor out buffer 3 [p=3, c=2] order 0 1\n"
                                   "  %0 = load t1 [a1]\n"
                                   "  %1 = load t2 [%0]\n"
                                   "  %2 = load t0 [a1, a0]\n"
                                   "  anchor scatter %2 %1\n"
                                   "  result 0 t3 [a2, a0]\n"
                                   "}\n";

static const char conv_text[] = "tile \"conv\" session 2 batch -1 flops 0 {\n"
                                "  axis o 4 parallel\n"
                                "  axis tap 3 reduce\n"
                                "  axis i 4 in\n"
                                "  tensor in buffer -1 [i=4] order 0\n"
                                "  tensor in buffer -1 [tap=3] order 0\n"
                                "  tensor out buffer -1 [o=4] order 0\n"
                                "  stencil out 0 tap 1 in 2 stride 1 dilation 1 pad 1\n"
                                "  %0 = load t0 [a2]\n"
                                "  %1 = load t1 [a1]\n"
                                "  %2 = acc\n"
                                "  anchor stencil %0 %1\n"
                                "  store %2 t2 [a0]\n"
                                "}\n";

static const char map_text[] = "tile \"odd\" session -1 batch -1 flops 0 {\n"
                               "  axis a 2 parallel\n"
                               "  axis b 3 parallel\n"
                               "  tensor in buffer 0 [x=6, y=5] order 1 0\n"
                               "  tensor in buffer 1 [] order\n"
                               "  tensor out buffer 2 [a=2, b=3] order 0 1\n"
                               "  tensor out buffer 3 [] order\n"
                               "  %0 = load t0 [3*a0 + a1, a1{4 -1 0}]\n"
                               "  %1 = load t1 []\n"
                               "  %2 = where %0 %0 %1\n"
                               "  store %2 t2 [a0, a1]\n"
                               "  sum %0 t3 [] factor 0.25\n"
                               "}\n";

static const char pair_text[] = "tile \"both\" session -1 batch -1 flops 0 {\n"
                                "  axis p 5 parallel\n"
                                "  axis tap 3 reduce\n"
                                "  axis o 3 in\n"
                                "  tensor in buffer 0 [o=3] order 0\n"
                                "  tensor in buffer 1 [tap=3] order 0\n"
                                "  tensor in buffer 2 [p=5] order 0\n"
                                "  tensor out buffer 3 [p=5] order 0\n"
                                "  tensor out buffer 4 [tap=3] order 0\n"
                                "  stencil out 0 tap 1 in 2 stride 2 dilation 1 pad 1 transposed\n"
                                "  %0 = load t0 [a2]\n"
                                "  %1 = load t1 [a1]\n"
                                "  %2 = load t2 [a0]\n"
                                "  %3 = acc\n"
                                "  anchor stencil %0 %1\n"
                                "  store %3 t3 [a0]\n"
                                "  pair_sum %2 t4 [a1] factor 2\n"
                                "}\n";

static const char members_text[] = "tile \"lerp of 2\" session -1 batch -1 flops 21 {\n"
                                   "  axis i 3 parallel\n"
                                   "  tensor in buffer 0 [i=3] order 0\n"
                                   "  tensor in buffer 1 [i=3] order 0\n"
                                   "  tensor in buffer 2 [] order\n"
                                   "  tensor out buffer 3 [i=3] order 0\n"
                                   "  tensor in buffer 4 [i=4] order 0\n"
                                   "  tensor in buffer 5 [i=4] order 0\n"
                                   "  tensor out buffer 6 [i=4] order 0\n"
                                   "  %0 = load t0 [a0]\n"
                                   "  %1 = load t1 [a0]\n"
                                   "  %2 = load t2 []\n"
                                   "  %3 = const 0.5\n"
                                   "  %4 = mul %3 %0\n"
                                   "  %5 = mul %2 %1\n"
                                   "  %6 = add %4 %5\n"
                                   "  store %6 t3 [a0]\n"
                                   "  member 3 session -1 [t0 t1 t2 t3] numbers 0.5\n"
                                   "  member 4 session 1 [t4 t5 t2 t6] numbers 0.25\n"
                                   "}\n";

static void text_parses_back_to_the_same_text(void **state)
{
    const char *const texts[] = {dense_text,  conv_text, map_text,     pair_text,
                                 attend_text, drop_text, scatter_text, members_text};

    for (int i = 0; i < 8; i++) {
        World *w = *state;
        Text again = {.arena = &w->arena};
        TileProgram *p = parse(w, texts[i]);
        assert_non_null(p);
        tile_print(&again, p, false);
        assert_string_equal(text_str(&again), texts[i]);
    }
}

static void anonymous_text_leaves_out_names_and_buffers_only(void **state)
{
    World *w = *state;
    Text a = {.arena = &w->arena}, b = {.arena = &w->arena}, c = {.arena = &w->arena};
    TileProgram *p = parse(w, dense_text);

    tile_print(&a, p, true);
    p->name = "other";
    p->tensors.at[0].buffer = 40;
    p->axes.at[0].name = "z";
    p->flops = 3;
    tile_print(&b, p, true);
    assert_string_equal(text_str(&a), text_str(&b));
    p->insts.at[3].number = 0.25;
    tile_print(&c, p, true);
    assert_string_not_equal(text_str(&a), text_str(&c));
}

static void damaged_texts_are_reported_and_never_crash(void **state)
{
    const char *const texts[] = {dense_text,  conv_text, map_text,     pair_text,
                                 attend_text, drop_text, scatter_text, members_text};
    World *w = *state;

    for (int i = 0; i < 8; i++) {
        size_t n = strlen(texts[i]);
        for (size_t cut = 0; cut + 1 < n; cut++)
            assert_null(tile_parse(&w->arena, &w->names, &w->diags, "cut", texts[i], cut));
        for (size_t at = 0; at < n; at++) {
            char *copy = arena_strndup(&w->arena, texts[i], n);
            copy[at] = "9%[-a0"[at % 6];
            tile_parse(&w->arena, &w->names, &w->diags, "changed", copy, n);
        }
    }
    assert_true(w->diags.n_errors > 100);
}

static void illegal_programs_get_a_sentence(void **state)
{
    World *w = *state;
    TileProgram *p = parse(w, dense_text);

    assert_null(tile_verify(p, &w->arena));
    p->stores.at[0].index[1].n_terms = 0;
    assert_string_equal(tile_verify(p, &w->arena),
                        "the store to t2 writes an element more than once");
    p = parse(w, dense_text);
    p->stores.at[0].inst = 0;
    assert_string_equal(tile_verify(p, &w->arena),
                        "result %0 varies with an axis that the anchor sums");
    p = parse(w, dense_text);
    p->insts.at[0].index[0].coef[0] = 2;
    assert_string_equal(tile_verify(p, &w->arena), "an index reaches 0..2 on an axis of size 2");
    p = parse(w, dense_text);
    p->tensors.at[1].layout.order[0] = 0;
    assert_string_equal(tile_verify(p, &w->arena), "the order of tensor t1 is no permutation");
    p = parse(w, dense_text);
    p->tensors.at[0].layout.shape.size[0] = INT64_MAX / 2;
    assert_string_equal(tile_verify(p, &w->arena), "tensor t0 is empty or too large");
}

/* By hand: of two equal scores each weighs a half; causal queries see no later keys. */
static void attention_is_interpreted(void **state)
{
    float q[2][3][2] = {{{0}}}, k[2][3][2] = {{{0}}}, v[2][3] = {{1, 3, 8}, {2, 2, -1}};
    float y[2][3], l[3][2];
    TileProgram *p = parse(*state, attend_text);
    void *tensor[] = {q, k, v, y, l};

    tile_eval(p, tensor, (TileRange){0, 2});
    float want[2][3] = {{1, 2, 4}, {2, 2, 1}};
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 3; i++) {
            assert_float_equal(y[b][i], want[b][i], 1e-6);
            assert_float_equal(l[i][b], log(i + 1), 1e-6);
        }
    q[0][1][0] = 2; /* score 0.5 * 2 * log(9) with the second key, 0 with the first */
    k[0][1][0] = logf(9);
    tile_eval(p, tensor, (TileRange){0, 2});
    assert_float_equal(y[0][1], (1 + 9 * 3) / 10.0, 1e-6);
    assert_float_equal(l[1][0], log(10), 1e-6);
    assert_float_equal(y[0][0], 1, 1e-6);
}

/* The last word of a sequence's random bytes changes which weights are dropped, in its own sequence
 * only; what is left has grown by 4/3. */
static void dropped_weights_are_interpreted(void **state)
{
    float q[2][3][2] = {{{0}}}, k[2][3][2] = {{{0}}}, v[2][3] = {{1, 4, 16}, {1, 4, 16}};
    float y[2][3], before[2][3];
    uint8_t bytes[2][16] = {{7, 1, 2, 250}, {7, 1, 2, 250}};
    TileProgram *p = parse(*state, drop_text);
    void *tensor[] = {q, k, v, bytes, y};
    int changed = 0;

    for (int step = 0; step < 16; step++) {
        bytes[1][15] = (uint8_t)step;
        tile_eval(p, tensor, (TileRange){0, 2});
        assert_true(step > 0 || !memcmp(y[0], y[1], sizeof y[0]));
        assert_true(step == 0 || !memcmp(y[0], before[0], sizeof y[0]));
        changed += step && memcmp(y[1], before[1], sizeof y[1]);
        memcpy(before, y, sizeof y);
        for (int i = 0; i < 3; i++) { /* sums of some of 1, 4, 16 */
            int sum = (int)lrintf(y[1][i] * (float)(i + 1) * 3 / 4);
            assert_float_equal(y[1][i], (float)sum * 4 / 3 / (float)(i + 1), 1e-5);
            assert_int_equal(sum & ~(i == 0 ? 1 : i == 1 ? 5 : 21), 0);
        }
    }
    assert_true(changed > 4);
}

/* Positions are read through a table, are rounded, and what lies outside is dropped. */
static void a_scatter_is_interpreted(void **state)
{
    float x[5][2] = {{1, 10}, {2, 20}, {4, 40}, {8, 80}, {16, 160}};
    float index[5] = {0, 1, 6.4f, 3, -1}, position[7] = {2, 0.4f, 9, -0.6f, 9, 9, 2}, y[3][2];
    TileProgram *p = parse(*state, scatter_text);

    tile_eval(p, (void *[]){x, index, position, y}, (TileRange){0});
    float want[3][2] = {{2 + 16, 20 + 160}, {0}, {1 + 4, 10 + 40}};
    for (int i = 0; i < 6; i++) /* the last position is outside of the table, hence 0 */
        assert_float_equal(y[i / 2][i % 2], want[i / 2][i % 2], 0);
}

static void members_run_with_tensors_and_numbers_of_their_own(void **state)
{
    World *w = *state;
    float old[3] = {2, 4, 6}, x[3] = {1, 2, 3}, rate = 10, y[3];
    float old2[4] = {4, 8, 12, 16}, x2[4] = {0, 1, 0, 2}, y2[4];
    TileProgram *p = parse(w, members_text);

    tile_eval(p, (void *[]){old, x, &rate, y, old2, x2, y2}, (TileRange){0});
    float want[3] = {11, 22, 33}, want2[4] = {1, 12, 3, 24};
    assert_memory_equal(y, want, sizeof y);
    assert_memory_equal(y2, want2, sizeof y2);
    assert_true(tile_bytes(p) == (3 * 3 + 3 * 4 + 1) * 4);
}

static void illegal_members_get_a_sentence(void **state)
{
    World *w = *state;
    TileProgram *p = parse(w, members_text);
    int other[] = {4, 5, 2, 3}, behind[] = {4, 5, 2, 7}, large[] = {0, 5, 2, 6},
        nowhere[] = {7, 1, 2, 3};

    p->members.at[1].tensor = other;
    assert_string_equal(tile_verify(p, &w->arena), "t3 is written twice");
    p->members.at[1].tensor = behind;
    assert_string_equal(tile_verify(p, &w->arena), "member 1 has a tensor t7, which is not there");
    p->members.at[1].tensor = large;
    assert_string_equal(tile_verify(p, &w->arena), "an index reaches 0..3 on an axis of size 3");
    p->members.len = 1;
    assert_string_equal(tile_verify(p, &w->arena), "output t6 is not written");
    p->members.at[0].tensor = nowhere;
    assert_string_equal(tile_verify(p, &w->arena), "member 0 has a tensor t7, which is not there");
    const char *late = arena_printf(&w->arena, "%.*s  %%7 = const 1\n}\n",
                                    (int)strlen(members_text) - 2, members_text);
    assert_null(tile_parse(&w->arena, &w->names, &w->diags, "late", late, strlen(late)));
    p = parse(w, members_text);
    p->members.at[1].n = 3;
    assert_string_equal(tile_verify(p, &w->arena), "member 1 has 3 tensors, the first 4");
    p = parse(w, members_text);
    p->insts.at[3].number = 0.75;
    assert_string_equal(tile_verify(p, &w->arena), "the first member has other numbers");
    p = parse(w, members_text);
    p->insts.at[0].index[0].n_terms = 0;
    assert_string_equal(tile_verify(p, &w->arena), "load 0 of a member is not at its point");
    p = parse(w, members_text);
    p->session = 0;
    assert_string_equal(tile_verify(p, &w->arena),
                        "only maps over one axis, without sums and samples, have members");
}

/* A matrix, and one that is read as two axes of a longer one, of which nothing is left out. */
static const char matrix_text[] = "tile \"m\" session 1 batch -1 flops 6 {\n"
                                  "  axis a 2 parallel\n"
                                  "  axis b 3 parallel\n"
                                  "  tensor in buffer 0 [a=2, b=3] order 0 1\n"
                                  "  tensor in buffer 1 [] order\n"
                                  "  tensor out buffer 2 [a=2, b=3] order 0 1\n"
                                  "  %0 = load t0 [a0, a1]\n"
                                  "  %1 = load t1 []\n"
                                  "  %2 = mul %0 %1\n"
                                  "  store %2 t2 [a0, a1]\n"
                                  "}\n",
                  split_text[] = "tile \"s\" session -1 batch -1 flops 10 {\n"
                                 "  axis a 2 parallel\n"
                                 "  axis b 5 parallel\n"
                                 "  tensor in buffer 3 [x=10, one=1] order 1 0\n"
                                 "  tensor in buffer 1 [] order\n"
                                 "  tensor out buffer 4 [a=2, b=5] order 0 1\n"
                                 "  %0 = load t0 [5*a0 + a1, 0]\n"
                                 "  %1 = load t1 []\n"
                                 "  %2 = mul %0 %1\n"
                                 "  store %2 t2 [a0, a1]\n"
                                 "}\n";

static void maps_that_walk_memory_in_order_are_joined(void **state)
{
    World *w = *state;
    TileProgram *flat[] = {tile_flat(&w->arena, parse(w, matrix_text)),
                           tile_flat(&w->arena, parse(w, split_text))};

    assert_non_null(flat[0]);
    assert_non_null(flat[1]);
    assert_string_equal(tile_body(&w->arena, flat[0]), tile_body(&w->arena, flat[1]));
    TileProgram *p = tile_join(&w->arena, flat, 2);
    assert_null(tile_verify(p, &w->arena));
    assert_int_equal(p->tensors.len, 5); /* both read one number */
    assert_true(p->flops == 16);
    for (uint32_t i = 0; i < 2; i++) {
        Text one = {.arena = &w->arena}, again = {.arena = &w->arena};
        tile_print(&one, flat[i], true);
        tile_print(&again, tile_member(&w->arena, p, i), true);
        assert_string_equal(text_str(&one), text_str(&again));
    }
    assert_int_equal(tile_member(&w->arena, p, 0)->session, 1);
}

static void maps_that_walk_it_otherwise_are_not_flat(void **state)
{
    World *w = *state;

    assert_null(tile_flat(&w->arena, parse(w, map_text)));   /* with a table and a sum */
    assert_null(tile_flat(&w->arena, parse(w, dense_text))); /* a product */
    for (int i = 0; i < 4; i++) {
        TileProgram *p = parse(w, matrix_text);
        TileTensor *t = &p->tensors.at[i % 2 ? 0 : 2];
        if (i < 2) {
            t->layout.order[0] = 1;
            t->layout.order[1] = 0;
        } else {
            t->layout.shape.size[1] = 4; /* with gaps */
        }
        assert_null(tile_flat(&w->arena, p));
    }
}

static void attention_of_wrong_axes_gets_a_sentence(void **state)
{
    World *w = *state;
    TileProgram *p = parse(w, attend_text);

    p->attend.operand[1] = 0;
    assert_string_equal(tile_verify(p, &w->arena),
                        "operand 1 of the attention varies with a wrong axis");
    p = parse(w, attend_text);
    p->result[0].axis[1] = 2;
    assert_string_equal(tile_verify(p, &w->arena), "axis 1 of t3 fits no axis");
    p = parse(w, attend_text);
    p->result[1].axis[0] = p->result[1].axis[1];
    assert_non_null(tile_verify(p, &w->arena));
    p = parse(w, drop_text);
    p->attend.byte = 0;
    assert_string_equal(tile_verify(p, &w->arena),
                        "attention has four axes of its own, one more where weights are dropped");
    p = parse(w, drop_text);
    p->axes.at[5].size = 8;
    assert_string_equal(tile_verify(p, &w->arena), "there are 16 random bytes");
    p = parse(w, drop_text);
    p->attend.drop = 1;
    assert_string_equal(tile_verify(p, &w->arena), "weights are dropped at a rate of 1");
    p = parse(w, drop_text);
    p->attend.operand[3] = 0;
    assert_string_equal(tile_verify(p, &w->arena),
                        "operand 3 of the attention varies with a wrong axis");
    p = parse(w, scatter_text);
    p->insts.at[0].index[0].computed = 2;
    assert_string_equal(tile_verify(p, &w->arena), "%0 is read where a later instruction says");
}

static void blocked_layouts_put_lanes_innermost(void **state)
{
    (void)state;
    TileLayout l = {
        .shape = {.rank = 3, .size = {2, 20, 5}}, .order = {0, 1, 2}, .lane = 1, .lanes = 16};
    int64_t at[] = {1, 17, 3};

    assert_int_equal(tile_layout_elems(&l), 2 * 2 * 5 * 16);
    assert_int_equal(tile_layout_offset(&l, at), ((1 * 2 + 1) * 5 + 3) * 16 + 1);
    assert_false(tile_layout_is_plain(&l));
    TileLayout plain = tile_layout_plain(&l.shape);
    assert_true(tile_layout_is_plain(&plain));
    assert_int_equal(tile_layout_offset(&plain, at), (1 * 20 + 17) * 5 + 3);
    plain.order[0] = 1;
    plain.order[1] = 0;
    assert_false(tile_layout_is_plain(&plain));
    assert_int_equal(tile_layout_offset(&plain, at), (17 * 2 + 1) * 5 + 3);
    TileLayout vector = {.shape = {.rank = 1, .size = {20}}, .lane = 0, .lanes = 16};
    assert_true(tile_layout_is_plain(&vector));
}

/* Every second of 8 rows of 20 floats: half of them; every second float of a row: all of it. */
static void bytes_are_what_a_table_reaches(void **state)
{
    static const char text[] = "tile \"half\" session -1 batch -1 flops 0 {\n"
                               "  axis a 4 parallel\n"
                               "  axis b 10 parallel\n"
                               "  tensor in buffer 0 [x=8, y=20] order 0 1\n"
                               "  tensor out buffer 1 [a=4, b=10] order 0 1\n"
                               "  %0 = load t0 [a0{0 2 4 6}, a1{0 2 4 6 8 10 12 14 16 18}]\n"
                               "  store %0 t1 [a0, a1]\n"
                               "}\n";
    TileProgram *p = parse(*state, text);
    assert_float_equal(tile_bytes(p), (4 * 20 + 4 * 10) * 4, 0);
    TileProgram *map = parse(*state, map_text); /* rows of 6 floats: closer than a line */
    assert_float_equal(tile_bytes(map), (30 + 1 + 6 + 1) * 4, 0);
}

static void products_are_summed_and_varied(void **state)
{
    TileProgram *p = parse(*state, dense_text);
    float x[] = {1, 2, 3, 4};          /* [b, k] */
    float y[] = {1, 2, 3, 10, 20, 30}; /* [n, k] stored k first */
    float out[12] = {0}, variance[3] = {0};
    float *tensor[] = {x, y, out, variance};

    tile_eval(p, (void *const *)tensor, (TileRange){0, 2});
    /* acc[b, n] = x[b, 0] (n + 1) + x[b, 1] 10 (n + 1): 21 (n + 1), 43 (n + 1); stored [b, n/4, 4]
     */
    for (int n = 0; n < 3; n++) {
        assert_float_equal(out[n], 10.5 * (n + 1), 0);
        assert_float_equal(out[4 + n], 21.5 * (n + 1), 0);
        assert_float_equal(variance[n], 2 * 121 * (n + 1) * (n + 1), 0);
    }
}

static void a_range_leaves_other_samples_alone(void **state)
{
    TileProgram *p = parse(*state, dense_text);
    float x[] = {1, 2, 3, 4}, y[] = {1, 2, 3, 10, 20, 30}, out[12] = {0}, variance[3] = {7, 7, 7};
    float *tensor[] = {x, y, out, variance};

    tile_eval(p, (void *const *)tensor, (TileRange){1, 2});
    assert_float_equal(out[0], 0, 0);
    assert_float_equal(out[4], 21.5, 0);
    assert_float_equal(variance[0], 0, 0);
}

static void convolutions_count_zero_outside(void **state)
{
    TileProgram *p = parse(*state, conv_text);
    float x[] = {1, 2, 3, 4}, taps[] = {1, 10, 100}, out[4];
    float *tensor[] = {x, taps, out};
    const float expected[] = {210, 321, 432, 43};

    tile_eval(p, (void *const *)tensor, (TileRange){0, 0});
    for (int i = 0; i < 4; i++)
        assert_float_equal(out[i], expected[i], 0);

    /* transposed, stride 2: in = (out + 1 - tap) / 2 where whole */
    p->stencils.at[0].transposed = true;
    p->stencils.at[0].stride = 2;
    const float transposed[] = {10 * 1, 1 * 2 + 100 * 1, 10 * 2, 1 * 3 + 100 * 2};
    tile_eval(p, (void *const *)tensor, (TileRange){0, 0});
    for (int i = 0; i < 4; i++)
        assert_float_equal(out[i], transposed[i], 0);

    /* dilation 2: in = out + 2 tap - 1 */
    p->stencils.at[0] =
        (TileStencil){.out = 0, .tap = 1, .in = 2, .stride = 1, .dilation = 2, .pad = 1};
    const float dilated[] = {10 * 2 + 100 * 4, 1 + 10 * 3, 2 + 10 * 4, 3};
    tile_eval(p, (void *const *)tensor, (TileRange){0, 0});
    for (int i = 0; i < 4; i++)
        assert_float_equal(out[i], dilated[i], 0);
}

static void pair_sums_are_the_other_gradient(void **state)
{
    TileProgram *p = parse(*state, pair_text);
    float dy[] = {1, 2, 3}, w[] = {1, 10, 100}, x[] = {2, 3, 5, 7, 11}, dx[5], dw[3];
    float *tensor[] = {dy, w, x, dx, dw};

    /* y[o] = sum_k x[2 o + k - 1] w[k] */
    tile_eval(p, (void *const *)tensor, (TileRange){0, 0});
    const float by_input[] = {10, 100 + 2, 20, 200 + 3, 30};
    const float by_tap[] = {3 * 2 + 7 * 3, 2 * 1 + 5 * 2 + 11 * 3, 3 * 1 + 7 * 2};
    for (int i = 0; i < 5; i++)
        assert_float_equal(dx[i], by_input[i], 0);
    for (int k = 0; k < 3; k++)
        assert_float_equal(dw[k], 2 * by_tap[k], 0);

    /* it has every reduced axis, and does not use the accumulator */
    p->tensors.at[4].layout.shape.rank = 0;
    assert_non_null(tile_verify(p, &((World *)*state)->arena));
    p->tensors.at[4].layout.shape.rank = 1;
    assert_null(tile_verify(p, &((World *)*state)->arena));
    p->reductions.at[0].inst = 3;
    assert_non_null(tile_verify(p, &((World *)*state)->arena));
}

static void tables_and_split_indices_are_followed(void **state)
{
    TileProgram *p = parse(*state, map_text);
    float x[30], scalar[] = {-1}, out[6], sum[1];
    float *tensor[] = {x, scalar, out, sum};

    for (int i = 0; i < 30; i++)
        x[i] = (float)i; /* [x, y] stored y first: element (x, y) is 6 y + x */
    tile_eval(p, (void *const *)tensor, (TileRange){0, 0});
    const float expected[] = {24, -1, 2, 27, -1, 5};
    for (int i = 0; i < 6; i++)
        assert_float_equal(out[i], expected[i], 0);
    assert_float_equal(sum[0], 0.25 * (24 + 2 + 27 + 5), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(text_parses_back_to_the_same_text),
        TEST(anonymous_text_leaves_out_names_and_buffers_only),
        TEST(damaged_texts_are_reported_and_never_crash),
        TEST(illegal_programs_get_a_sentence),
        TEST(attention_is_interpreted),
        TEST(dropped_weights_are_interpreted),
        TEST(a_scatter_is_interpreted),
        TEST(members_run_with_tensors_and_numbers_of_their_own),
        TEST(illegal_members_get_a_sentence),
        TEST(maps_that_walk_memory_in_order_are_joined),
        TEST(maps_that_walk_it_otherwise_are_not_flat),
        TEST(attention_of_wrong_axes_gets_a_sentence),
        TEST(blocked_layouts_put_lanes_innermost),
        TEST(bytes_are_what_a_table_reaches),
        TEST(products_are_summed_and_varied),
        TEST(a_range_leaves_other_samples_alone),
        TEST(convolutions_count_zero_outside),
        TEST(pair_sums_are_the_other_gradient),
        TEST(tables_and_split_indices_are_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
