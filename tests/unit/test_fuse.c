/* passes/fuse.c: what is stored, what is computed together. Functions are written as text. */
#include "passes/plan.h"
#include "tests/ops/ir_harness.h"

enum { LANES = 4 };

typedef struct Formed {
    TestFunc *t;
    const Func *f;
    Groups g;
} Formed;

static const char TABLES[] = "module \"m\"\n"
                             "session \"a\" neurons 3\n"
                             "session \"b\" neurons 3\n"
                             "param \"k\" : f32[c=8, kh=3, kw=3] normal(0, 1)\n"
                             "param \"w\" : f32[c=8, c_in=8] normal(0, 1)\n"
                             "param \"v\" : f32[c=8] normal(0, 1)\n"
                             "state \"s\" : f32[c=8] constant(0)\n";

#define X "  %1 = input {name=\"x\"} : f32[b=2, c=8, h=10, w=10]\n"
#define CONV                                                                                       \
    X "  %2 = param {name=\"k\"} : f32[c=8, kh=3, kw=3]\n"                                         \
      "  %3 = conv %1 %2 {over=[], out=[b, c, h, w], stencil=[h:kh stride 1 dilation 1 pad 1 in "  \
      "10 taps 3, w:kw stride 1 dilation 1 pad 1 in 10 taps 3]} : f32[b=2, c=8, h=10, w=10]\n"
#define VOLUME " : f32[b=2, c=8, h=10, w=10]"

static Formed form_for(const char *body, FuseLevel level, TargetTraits target)
{
    Formed z = {.t = test_func()};
    Arena *a = &z.t->arena;
    const char *text = arena_printf(a, "%sfunc eval() {\n%s}\n", TABLES, body);
    Module *m = module_parse(a, &z.t->names, &z.t->diags, "text", text, strlen(text));
    if (!m)
        fail_msg("%s", test_log(z.t));
    z.f = m->funcs.at[0];
    Layouts *l = ARENA_NEW(a, Layouts);
    PassOptions o = {.fuse = level, .target = target};
    *l = layouts_choose(a, z.f, &o);
    z.g = groups_form(a, z.f, l, &o, NULL);
    return z;
}

static Formed form(const char *body, FuseLevel level)
{
    return form_for(body, level, traits_cpu(LANES));
}

static int n_groups(const Formed *z)
{
    return (int)z->g.at.len;
}

static int group_of(const Formed *z, uint32_t id)
{
    return z->g.group_of[id];
}

/* bn + SiLU behind a convolution, read by a product: %4 .. %9. */
#define NORM                                                                                       \
    "  %4 = param {name=\"v\"} : f32[c=8]\n"                                                       \
    "  %5 = batchnorm %3 %4 %4 %4 %4 {k=[1e-05]}" VOLUME "\n"                                      \
    "  %6 = silu %5" VOLUME "\n"                                                                   \
    "  %7 = rename %6 {axis=c, to=c_in} : f32[b=2, c_in=8, h=10, w=10]\n"                          \
    "  %8 = param {name=\"w\"} : f32[c=8, c_in=8]\n"                                               \
    "  %9 = contract %7 %8 {over=[c_in], out=[b, c, h, w]}" VOLUME "\n"

static void a_norm_and_activation_behind_a_convolution_are_not_stored(void **state)
{
    (void)state;
    Formed z = form(CONV NORM "  return output \"y\" = %9\n", FUSE_FULL);
    assert_int_equal(n_groups(&z), 2);
    assert_true(z.g.is_stored[3] && z.g.is_stored[9]);
    assert_false(z.g.is_stored[5] || z.g.materialised[5]);
    assert_false(z.g.is_stored[6] || z.g.materialised[6]);
    test_done(z.t);
}

static void without_fusion_every_op_is_stored(void **state)
{
    (void)state;
    Formed z = form(CONV NORM "  return output \"y\" = %9\n", FUSE_NONE);
    assert_int_equal(n_groups(&z), 4);
    assert_true(z.g.is_stored[3] && z.g.is_stored[5] && z.g.is_stored[6] && z.g.is_stored[9]);
    assert_false(z.g.is_stored[7]); /* a view */
    test_done(z.t);
}

static void elementwise_fusion_joins_chains_only(void **state)
{
    (void)state;
    Formed z = form(CONV NORM "  return output \"y\" = %9\n", FUSE_ELEMENTWISE);
    assert_int_equal(n_groups(&z), 3); /* conv, bn + silu, product */
    assert_true(z.g.is_stored[6]);
    assert_false(z.g.is_stored[5]);
    test_done(z.t);
}

static void a_residual_sum_with_two_readers_is_stored(void **state)
{
    (void)state;
    Formed z = form(CONV "  %4 = exp %1" VOLUME "\n"
                         "  %5 = add %3 %1" VOLUME "\n"
                         "  %6 = sum %5 {over=[h, w], k=[1]} : f32[b=2, c=8]\n"
                         "  %7 = mul %5 %6" VOLUME "\n"
                         "  return output \"y\" = %7\n",
                    FUSE_FULL);
    assert_true(z.g.is_stored[5]);
    assert_int_equal(group_of(&z, 5), group_of(&z, 3)); /* in the convolution's epilogue */
    test_done(z.t);
}

/* A byte an element: each of two readers takes it again rather than a masked copy. */
static void masked_values_with_two_readers_are_not_stored(void **state)
{
    (void)state;
    Formed z = form(CONV "  %4 = random {name=\"drop\", k=[0.5]}" VOLUME "\n"
                         "  %5 = mul %3 %4" VOLUME "\n"
                         "  %6 = param {name=\"w\"} : f32[c=8, c_in=8]\n"
                         "  %7 = rename %5 {axis=c, to=c_in} : f32[b=2, c_in=8, h=10, w=10]\n"
                         "  %8 = contract %7 %6 {over=[c_in], out=[b, c, h, w]}" VOLUME "\n"
                         "  %9 = sum %5 {over=[h, w], k=[1]} : f32[b=2, c=8]\n"
                         "  return output \"y\" = %8\n"
                         "  return output \"z\" = %9\n",
                    FUSE_FULL);
    assert_false(z.g.is_stored[5]);
    test_done(z.t);
}

static void reductions_join_the_epilogue_of_the_convolution(void **state)
{
    (void)state;
    Formed z = form(CONV "  %4 = sum %3 {over=[b, h, w], k=[0.005]} : f32[c=8]\n"
                         "  %5 = variance %3 {over=[b, h, w], k=[1]} : f32[c=8]\n"
                         "  return output \"mean\" = %4\n"
                         "  return output \"var\" = %5\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 1);
    assert_int_equal(z.g.at.at[0].anchor.id, 3);
    assert_int_equal(z.g.at.at[0].members.len, 2);
    assert_false(z.g.is_stored[3]); /* nobody else reads the convolution */
    test_done(z.t);
}

static void a_reduction_over_channels_gets_a_pass_of_its_own(void **state)
{
    (void)state;
    Formed z = form(CONV "  %4 = sum %3 {over=[c, h], k=[1]} : f32[b=2, w=10]\n"
                         "  return output \"y\" = %4\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 2);
    assert_true(z.g.is_stored[3]);
    test_done(z.t);
}

static void two_reductions_share_a_pass_over_the_data(void **state)
{
    (void)state;
    Formed z = form(X "  %2 = sum %1 {over=[b, h, w], k=[1]} : f32[c=8]\n"
                      "  %3 = square %1" VOLUME "\n"
                      "  %4 = sum %3 {over=[b, h, w], k=[1]} : f32[c=8]\n"
                      "  return output \"a\" = %2\n"
                      "  return output \"b\" = %4\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 1);
    assert_false(z.g.materialised[3]);
    test_done(z.t);
}

static void a_reduction_of_a_reductions_result_does_not_join_it(void **state)
{
    (void)state;
    Formed z = form(X "  %2 = sum %1 {over=[b, h, w], k=[1]} : f32[c=8]\n"
                      "  %3 = sub %1 %2" VOLUME "\n"
                      "  %4 = sum %3 {over=[b, h, w], k=[1]} : f32[c=8]\n"
                      "  return output \"y\" = %4\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 2);
    assert_true(group_of(&z, 2) < group_of(&z, 4));
    test_done(z.t);
}

static void recordings_are_computed_apart(void **state)
{
    (void)state;
    Formed z = form(X "  %2 = sum %1 {over=[h, w], k=[1]} : f32[b=2, c=8] @session 0\n"
                      "  %3 = sum %1 {over=[h, w], k=[1]} : f32[b=2, c=8] @session 1\n"
                      "  %4 = sum %1 {over=[h, w], k=[1]} : f32[b=2, c=8]\n"
                      "  return output \"a\" = %2\n"
                      "  return output \"b\" = %3\n"
                      "  return output \"c\" = %4\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(z.g.at.at[i].session, i < 2 ? i : -1);
    test_done(z.t);
}

static void what_a_recording_reads_of_others_is_stored(void **state)
{
    (void)state;
    Formed z = form(X "  %2 = exp %1" VOLUME "\n"
                      "  %3 = sum %2 {over=[h, w], k=[1]} : f32[b=2, c=8] @session 0\n"
                      "  return output \"y\" = %3\n",
                    FUSE_FULL);
    assert_true(z.g.is_stored[2]);
    assert_int_not_equal(group_of(&z, 2), group_of(&z, 3));
    test_done(z.t);
}

static void forward_and_backward_are_computed_apart(void **state)
{
    (void)state;
    Formed z = form(X "  %2 = sum %1 {over=[b, h, w], k=[1]} : f32[c=8]\n"
                      "  %3 = sum %1 {over=[b, h, w], k=[2]} : f32[c=8] @backward\n"
                      "  return output \"a\" = %2\n"
                      "  return output \"b\" = %3\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 2);
    test_done(z.t);
}

static void an_update_does_not_join_what_it_overwrites_for(void **state)
{
    (void)state;
    Formed z = form("  %1 = input {name=\"x\"} : f32[c=8]\n"
                    "  %2 = state {name=\"s\"} : f32[c=8]\n"
                    "  %3 = mul %1 %2 : f32[c=8]\n"
                    "  %4 = lerp %2 %1 {k=[0.9, 0.1]} : f32[c=8]\n"
                    "  return output \"y\" = %3\n"
                    "  return state \"s\" = %4\n",
                    FUSE_FULL);
    assert_int_equal(n_groups(&z), 2);
    assert_int_not_equal(group_of(&z, 3), group_of(&z, 4));
    test_done(z.t);
}

static void a_value_read_as_zero_beyond_a_table_is_stored(void **state)
{
    (void)state;
    Formed z = form("  %1 = input {name=\"x\"} : f32[b=2, c=4]\n"
                    "  %2 = exp %1 : f32[b=2, c=4]\n"
                    "  %3 = index %2 {axis=c, to=c, table=[0, 1, 2, 3, -1]} : f32[b=2, c=5]\n"
                    "  %4 = neg %3 : f32[b=2, c=5]\n"
                    "  return output \"y\" = %4\n",
                    FUSE_FULL);
    assert_true(z.g.is_stored[2]); /* exp(0) is not 0 */
    assert_false(z.g.materialised[3]);
    test_done(z.t);
}

static void forced_values_are_stored(void **state)
{
    (void)state;
    Formed z = form(X "  %2 = exp %1" VOLUME "\n"
                      "  %3 = neg %2" VOLUME "\n"
                      "  return output \"y\" = %3\n",
                    FUSE_FULL);
    assert_false(z.g.materialised[2]);
    PassOptions o = {.fuse = FUSE_FULL, .target = traits_cpu(LANES)};
    Layouts l = layouts_choose(&z.t->arena, z.f, &o);
    bool forced[8] = {[2] = true};
    Groups g = groups_form(&z.t->arena, z.f, &l, &o, forced);
    assert_true(g.materialised[2]);
    test_done(z.t);
}

/* A product of plain matrices with code before and behind it: code for threads, stored for
 * vectors. */
static void what_joins_a_product_is_a_trait_of_the_target(void **state)
{
    (void)state;
    static const char BODY[] = "  %1 = input {name=\"x\"} : f32[b=2, c_in=8]\n"
                               "  %2 = exp %1 : f32[b=2, c_in=8]\n"
                               "  %3 = param {name=\"w\"} : f32[c=8, c_in=8]\n"
                               "  %4 = contract %2 %3 {over=[c_in], out=[b, c]} : f32[b=2, c=8]\n"
                               "  %5 = param {name=\"v\"} : f32[c=8]\n"
                               "  %6 = add %4 %5 : f32[b=2, c=8]\n"
                               "  %7 = sum %6 {over=[b], k=[1]} : f32[c=8]\n"
                               "  return output \"y\" = %6\n"
                               "  return output \"s\" = %7\n";
    Formed vectors = form(BODY, FUSE_FULL), threads = form_for(BODY, FUSE_FULL, traits_cuda());
    assert_true(vectors.g.is_stored[2]);
    assert_int_equal(n_groups(&vectors), 3);
    assert_false(threads.g.materialised[2]);
    assert_int_equal(n_groups(&threads), 1);
    test_done(vectors.t);
    test_done(threads.t);
}

/* Both gradients of a depthwise convolution, the incoming one computed from two volumes. */
#define STENCIL                                                                                    \
    "stencil=[h:kh stride 1 dilation 1 pad 1 in 10 taps 3, w:kw stride 1 dilation 1 pad 1 in 10 "  \
    "taps 3]}"
#define GRADIENTS                                                                                  \
    X "  %2 = param {name=\"k\"} : f32[c=8, kh=3, kw=3]\n"                                         \
      "  %3 = input {name=\"z\"}" VOLUME "\n"                                                      \
      "  %4 = silu %1" VOLUME "\n"                                                                 \
      "  %5 = mul %3 %1" VOLUME "\n"                                                               \
      "  %6 = conv_dx %5 %2 {over=[], out=[b, c, h, w], " STENCIL VOLUME "\n"                      \
      "  %7 = conv_dw %5 %4 {over=[b], out=[c, kh, kw], " STENCIL " : f32[c=8, kh=3, kw=3]\n"      \
      "  return output \"dx\" = %6\n"                                                              \
      "  return output \"dw\" = %7\n"

static void both_gradients_of_a_convolution_are_one_kernel_for_threads(void **state)
{
    (void)state;
    Formed vectors = form(GRADIENTS, FUSE_FULL);
    assert_int_not_equal(group_of(&vectors, 6), group_of(&vectors, 7));
    assert_true(vectors.g.is_stored[5]); /* two large operands, two kernels */
    test_done(vectors.t);

    Formed threads = form_for(GRADIENTS, FUSE_FULL, traits_cuda());
    const Group *g = &threads.g.at.at[group_of(&threads, 6)];
    assert_int_equal(group_of(&threads, 7), group_of(&threads, 6));
    assert_int_equal(g->anchor.id, 6);
    assert_int_equal(g->pair.id, 7);
    assert_false(threads.g.materialised[5]);
    test_done(threads.t);
}

/* Both gradients of a product; the second one of the same incoming gradient under other names. */
static void both_gradients_of_a_product_are_one_kernel_for_threads(void **state)
{
    (void)state;
    static const char BODY[] =
        X "  %2 = input {name=\"dy\"}" VOLUME "\n"
          "  %3 = exp %2" VOLUME "\n"
          "  %4 = rename %3 {axis=c, to=r} : f32[b=2, r=8, h=10, w=10]\n"
          "  %5 = param {name=\"w\"} : f32[c=8, c_in=8]\n"
          "  %6 = rename %5 {axis=c, to=r} : f32[r=8, c_in=8]\n"
          "  %7 = rename %6 {axis=c_in, to=c} : f32[r=8, c=8]\n"
          "  %8 = contract %4 %7 {over=[r], out=[b, c, h, w]}" VOLUME "\n"
          "  %9 = rename %1 {axis=c, to=c_in} : f32[b=2, c_in=8, h=10, w=10]\n"
          "  %10 = contract %3 %9 {over=[b, h, w], out=[c, c_in]} : f32[c=8, c_in=8]\n"
          "  return output \"dx\" = %8\n"
          "  return output \"dw\" = %10\n";
    TargetTraits target = traits_cuda();
    Formed z = form_for(BODY, FUSE_FULL, target);
    assert_int_equal(group_of(&z, 10), group_of(&z, 8));
    assert_int_equal(z.g.at.at[group_of(&z, 8)].pair.id, 10);
    test_done(z.t);
    target.pair_sum_limit = 7; /* it sums 8 */
    z = form_for(BODY, FUSE_FULL, target);
    assert_int_not_equal(group_of(&z, 10), group_of(&z, 8));
    test_done(z.t);
}

/* %4 is the gradient of w; behind it nothing reads w, or something does. */
static void a_gradient_updates_its_parameter_behind_all_readers(void **state)
{
    (void)state;
    static const char HEAD[] =
        X "  %2 = param {name=\"w\"} : f32[c=8, c_in=8]\n"
          "  %3 = rename %1 {axis=c, to=c_in} : f32[b=2, c_in=8, h=10, w=10]\n"
          "  %4 = contract %1 %3 {over=[b, h, w], out=[c, c_in]} : "
          "f32[c=8, c_in=8]\n"
          "  %5 = sub %2 %4 : f32[c=8, c_in=8]\n"
          "  return state \"w\" = %5\n",
                      LATE[] =
                          X "  %2 = param {name=\"w\"} : f32[c=8, c_in=8]\n"
                            "  %3 = rename %1 {axis=c, to=c_in} : f32[b=2, c_in=8, h=10, w=10]\n"
                            "  %4 = contract %1 %3 {over=[b, h, w], out=[c, c_in]} : "
                            "f32[c=8, c_in=8]\n"
                            "  %5 = sub %2 %4 : f32[c=8, c_in=8]\n"
                            "  %6 = contract %3 %2 {over=[c_in], out=[b, c, h, w]}" VOLUME "\n"
                            "  return state \"w\" = %5\n"
                            "  return output \"y\" = %6\n";
    Formed z = form_for(HEAD, FUSE_FULL, traits_cuda());
    assert_int_equal(group_of(&z, 5), group_of(&z, 4));
    test_done(z.t);
    z = form_for(LATE, FUSE_FULL, traits_cuda());
    assert_int_not_equal(group_of(&z, 5), group_of(&z, 4));
    test_done(z.t);
    z = form(HEAD, FUSE_FULL);
    assert_int_not_equal(group_of(&z, 5), group_of(&z, 4));
    test_done(z.t);
}

static void every_materialised_value_has_one_group(void **state)
{
    (void)state;
    for (int level = FUSE_NONE; level <= FUSE_FULL; level++) {
        Formed z = form(CONV NORM "  %10 = sum %9 {over=[h, w], k=[1]} : f32[b=2, c=8]\n"
                                  "  %11 = mul %9 %10" VOLUME "\n"
                                  "  return output \"y\" = %11\n",
                        (FuseLevel)level);
        int n[16] = {0};
        for (uint32_t i = 0; i < z.g.at.len; i++) {
            const Group *g = &z.g.at.at[i];
            n[g->anchor.id] += g->anchor.id != 0;
            for (uint32_t k = 0; k < g->members.len; k++)
                n[g->members.at[k].id]++;
        }
        for (uint32_t id = 1; id < z.f->nodes.len; id++) {
            assert_int_equal(n[id], z.g.materialised[id]);
            assert_int_equal(group_of(&z, id) >= 0, z.g.materialised[id]);
        }
        test_done(z.t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_norm_and_activation_behind_a_convolution_are_not_stored),
        cmocka_unit_test(without_fusion_every_op_is_stored),
        cmocka_unit_test(elementwise_fusion_joins_chains_only),
        cmocka_unit_test(a_residual_sum_with_two_readers_is_stored),
        cmocka_unit_test(masked_values_with_two_readers_are_not_stored),
        cmocka_unit_test(reductions_join_the_epilogue_of_the_convolution),
        cmocka_unit_test(a_reduction_over_channels_gets_a_pass_of_its_own),
        cmocka_unit_test(two_reductions_share_a_pass_over_the_data),
        cmocka_unit_test(a_reduction_of_a_reductions_result_does_not_join_it),
        cmocka_unit_test(recordings_are_computed_apart),
        cmocka_unit_test(what_a_recording_reads_of_others_is_stored),
        cmocka_unit_test(forward_and_backward_are_computed_apart),
        cmocka_unit_test(an_update_does_not_join_what_it_overwrites_for),
        cmocka_unit_test(a_value_read_as_zero_beyond_a_table_is_stored),
        cmocka_unit_test(forced_values_are_stored),
        cmocka_unit_test(what_joins_a_product_is_a_trait_of_the_target),
        cmocka_unit_test(both_gradients_of_a_convolution_are_one_kernel_for_threads),
        cmocka_unit_test(both_gradients_of_a_product_are_one_kernel_for_threads),
        cmocka_unit_test(a_gradient_updates_its_parameter_behind_all_readers),
        cmocka_unit_test(every_materialised_value_has_one_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
