/* Every row of the op table against finite differences of the evaluator, in float64.
 *
 * The loss is the sum of y * dy for fixed random dy; differences are of fourth order with step
 * 1e-3, so that truncation (h^4) and rounding (1e-16 / h) both stay below 1e-11 for functions of
 * moderate derivatives, and the tolerance of 1e-8 has room for steep ones. Shapes are odd and
 * unequal (2, 3, 5), values keep away from kinks and poles. */
#include "tests/ops/ir_harness.h"

static const double STEP = 1e-3, TOLERANCE = 1e-8;

/* Values of parameters, by name; made at first sight. */
typedef struct Values {
    TestFunc *t;
    Map map;
    bool positive;
    uint64_t state;
} Values;

static double *values_of(Values *v, const Node *leaf)
{
    double *at = map_get(&v->map, leaf->attrs.name);
    if (at)
        return at;
    int64_t n = shape_elems(&leaf->shape);
    at = ARENA_ARRAY(&v->t->arena, double, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        if (leaf->op == OP_BYTES) {
            at[i] = (double)(test_word(&v->state) & 255);
            continue;
        }
        if (!strcmp(leaf->attrs.name, "index")) { /* positions, some of them outside */
            at[i] = (double)(i * 5 % 9) - 2;
            continue;
        }
        double x = 0.3 + 1.2 * test_uniform(&v->state);
        at[i] = v->positive || test_word(&v->state) & 1 ? x : -x;
    }
    map_put(&v->t->arena, &v->map, leaf->attrs.name, at);
    return at;
}

static bool leaf_value(void *context, const Node *leaf, double *at)
{
    memcpy(at, values_of(context, leaf), sizeof *at * (size_t)shape_elems(&leaf->shape));
    return true;
}

static EvalTensor *evaluate(Values *v, Arena *arena)
{
    Err err = {0};
    EvalTensor *value;
    assert_int_equal(eval_func(arena, v->t->f, leaf_value, v, &value, &err), NPC_OK);
    return value;
}

static double loss_at(Values *v, Val y, Val dy)
{
    Arena arena = {0};
    EvalTensor *value = evaluate(v, &arena);
    double sum = 0;
    for (int64_t i = 0; i < shape_elems(&value[y.id].shape); i++)
        sum += value[y.id].at[i] * value[dy.id].at[i];
    arena_free(&arena);
    return sum;
}

static double difference(Values *v, double *x, Val y, Val dy)
{
    static const double at[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    double keep = *x, sum = 0;
    for (int i = 0; i < 4; i++) {
        *x = keep + at[i] * STEP;
        sum += weight[i] * loss_at(v, y, dy);
    }
    *x = keep;
    return sum / (12 * STEP);
}

static void assert_close(const char *what, int64_t i, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        fail_msg("%s, element %lld: %.12g, expected %.12g", what, (long long)i, got, want);
}

/* Operands that are moments of another one: cases of their own. */
static bool has_moments(Op op)
{
    return op == OP_BATCHNORM || op == OP_LAYERNORM;
}

/* Which operands of the op have a gradient, as bits. Positions have none, nor have the ops that
 * only gradients are made of. */
static unsigned differentiable(const Node *n)
{
    Op op = n->op;
    if (op == OP_GATHER || op == OP_SCATTER)
        return 1;
    if (op_lowering(op) == LOWER_ATTEND && op != OP_ATTEND)
        return 0;
    if (op == OP_ATTEND) /* labels and random bytes have none */
        return n->n_in > 4 ? 0xf : 7;
    unsigned mask = has_moments(op) ? 1u << 0 | 1u << 3 | 1u << 4 : 0;
    for (int i = 0; i < op_arity(op); i++)
        if (!op_is_pointwise(op) || op_derivative(op, i))
            mask |= 1u << i;
    return op == OP_MAP ? 0 : mask;
}

/* Operands with a gradient must be parameters. */
static void check_node(TestFunc *t, Val y, bool positive)
{
    Func *f = t->f;
    Node n = *func_node(f, y);
    Values v = {.t = t, .positive = positive, .state = 7 + n.op};
    Shape shape = n.shape;
    Val dy = func_input(f, "dy", &shape), din[MAX_OPERANDS];
    op_gradient(f, y, dy, din);
    assert_string_equal(test_log(t), "");
    EvalTensor *value = evaluate(&v, &t->arena);
    for (int i = 0; i < n.n_in; i++) {
        assert_int_equal(din[i].id != 0, differentiable(&n) >> i & 1);
        if (!din[i].id)
            continue;
        const Node *operand = func_node(f, n.in[i]);
        assert_int_equal(operand->op, OP_PARAM);
        assert_true(shape_equal(func_shape(f, din[i]), &operand->shape));
        double *x = values_of(&v, operand);
        const char *what = arena_printf(&t->arena, "%s, operand %d", op_text(n.op), i);
        for (int64_t e = 0; e < shape_elems(&operand->shape); e++)
            assert_close(what, e, value[din[i].id].at[e], difference(&v, &x[e], y, dy), TOLERANCE);
    }
}

/* ---- a case for every op that is not a pointwise row ---- */

typedef Val (*Build)(TestFunc *t);

static Val build_batchnorm(TestFunc *t)
{
    AxisList over = test_axes(t, "b t");
    Val x = test_param(t, "x", "b=2 c=3 t=5");
    Val mean = func_mean(t->f, x, &over), var = func_variance(t->f, x, &over, 1);
    Val scale = test_param(t, "scale", "c=3"), shift = test_param(t, "shift", "c=3");
    return func_emit(t->f, OP_BATCHNORM, &(Attrs){.k = {1e-2}}, (Val[]){x, mean, var, scale, shift},
                     5);
}

/* Two axes of channels, in another order than x has them. */
static Val build_batchnorm_of_two_axes(TestFunc *t)
{
    AxisList over = test_axes(t, "b"), order = test_axes(t, "c g");
    Val x = test_param(t, "x", "g=2 b=5 c=3");
    Val mean = func_mean(t->f, x, &over);
    Val var = func_reorder(t->f, func_variance(t->f, x, &over, 1), &order);
    Val scale = test_param(t, "scale", "c=3 g=2"), shift = test_param(t, "shift", "g=2 c=3");
    return func_emit(t->f, OP_BATCHNORM, &(Attrs){.k = {1e-2}}, (Val[]){x, mean, var, scale, shift},
                     5);
}

/* Over two axes, one of which scale and shift have. */
static Val build_layernorm(TestFunc *t)
{
    AxisList over = test_axes(t, "c g");
    Val x = test_param(t, "x", "g=2 b=5 c=3");
    Val mean = func_mean(t->f, x, &over), var = func_variance(t->f, x, &over, 1);
    Val scale = test_param(t, "scale", "c=3"), shift = test_param(t, "shift", "c=3 g=2");
    return func_emit(t->f, OP_LAYERNORM, &(Attrs){.k = {1e-2}}, (Val[]){x, mean, var, scale, shift},
                     5);
}

static Val build_rename(TestFunc *t)
{
    return func_rename(t->f, test_param(t, "x", "b=2 c=3"), "c", "m");
}

static Val build_split(TestFunc *t)
{
    return func_split(t->f, test_param(t, "x", "b=2 c=6 t=5"), "c", "g", "c", 2);
}

static Val build_merge(TestFunc *t)
{
    return func_merge(t->f, test_param(t, "x", "b=2 c=3 t=5"), "b", "c", "m");
}

static Val build_merge_of_distant_axes(TestFunc *t)
{
    return func_merge(t->f, test_param(t, "x", "b=2 c=3 t=5"), "t", "b", "t");
}

static Val build_reorder(TestFunc *t)
{
    AxisList order = test_axes(t, "t b c");
    return func_reorder(t->f, test_param(t, "x", "b=2 c=3 t=5"), &order);
}

static Val build_index(TestFunc *t)
{
    return func_index(t->f, test_param(t, "x", "b=2 c=3 t=5"), "c", "c",
                      (int32_t[]){2, 0, -1, 2, 2, 0}, 6);
}

static Val build_index_of_another_name(TestFunc *t)
{
    return func_index(t->f, test_param(t, "x", "b=2 c=5"), "c", "m", (int32_t[]){4, 1, 2}, 3);
}

static Val build_index_of_nothing(TestFunc *t)
{
    return func_index(t->f, test_param(t, "x", "b=2 c=5"), "c", "c", (int32_t[]){-1, -1}, 2);
}

static Val build_sum(TestFunc *t)
{
    AxisList over = test_axes(t, "t b");
    return func_sum(t->f, test_param(t, "x", "b=2 c=3 t=5"), &over, -1.5);
}

static Val build_sum_to_a_scalar(TestFunc *t)
{
    AxisList over = test_axes(t, "c b");
    return func_sum(t->f, test_param(t, "x", "b=2 c=3"), &over, 0.5);
}

static Val build_variance(TestFunc *t)
{
    AxisList over = test_axes(t, "b t");
    return func_variance(t->f, test_param(t, "x", "b=2 c=3 t=5"), &over, 1.25);
}

static Val build_contract(TestFunc *t)
{
    AxisList over = test_axes(t, "k"), out = test_axes(t, "m t b");
    return func_contract(t->f, test_param(t, "x", "b=2 k=3 t=5"), test_param(t, "w", "m=7 k=3"),
                         &over, &out);
}

static Val build_batched_contract(TestFunc *t)
{
    AxisList over = test_axes(t, "k l"), out = test_axes(t, "g n m");
    return func_contract(t->f, test_param(t, "x", "g=2 m=3 k=5 l=2"),
                         test_param(t, "w", "l=2 k=5 n=7 g=2"), &over, &out);
}

static Val build_outer_product(TestFunc *t)
{
    AxisList over = {0}, out = test_axes(t, "n m");
    return func_contract(t->f, test_param(t, "x", "m=3"), test_param(t, "w", "n=5"), &over, &out);
}

static const Stencil DENSE_T = {
    .axis = "t", .tap = "k", .stride = 2, .dilation = 1, .pad = 1, .in_size = 7, .taps = 3};
static const Stencil WIDE_H = {
    .axis = "h", .tap = "kh", .stride = 3, .dilation = 2, .pad = 2, .in_size = 5, .taps = 2};

static Val emit_conv(TestFunc *t, Op op, Val a, Val b, const char *over, const char *out,
                     const Stencil *s, int n)
{
    Attrs at = {.over = test_axes(t, over), .out = test_axes(t, out), .n_stencil = n};
    memcpy(at.stencil, s, sizeof *s * (size_t)n);
    return func_emit(t->f, op, &at, (Val[]){a, b}, 2);
}

static Val build_dense_conv(TestFunc *t)
{
    return emit_conv(t, OP_CONV, test_param(t, "x", "b=2 c=3 t=7"),
                     test_param(t, "w", "m=5 c=3 k=3"), "c", "m b t", &DENSE_T, 1);
}

static Val build_depthwise_conv(TestFunc *t)
{
    return emit_conv(t, OP_CONV, test_param(t, "x", "b=2 c=3 t=7 h=5"),
                     test_param(t, "w", "c=3 k=3 kh=2"), "", "b c t h",
                     (Stencil[]){DENSE_T, WIDE_H}, 2);
}

static Val build_dense_conv_dx(TestFunc *t)
{
    return emit_conv(t, OP_CONV_DX, test_param(t, "dz", "b=2 m=5 t=4"),
                     test_param(t, "w", "m=5 c=3 k=3"), "m", "b c t", &DENSE_T, 1);
}

static Val build_depthwise_conv_dx(TestFunc *t)
{
    return emit_conv(t, OP_CONV_DX, test_param(t, "dz", "b=2 c=3 t=4 h=3"),
                     test_param(t, "w", "c=3 k=3 kh=2"), "", "h b c t",
                     (Stencil[]){DENSE_T, WIDE_H}, 2);
}

static Val build_dense_conv_dw(TestFunc *t)
{
    return emit_conv(t, OP_CONV_DW, test_param(t, "dz", "b=2 m=5 t=4"),
                     test_param(t, "x", "b=2 c=3 t=7"), "b", "m c k", &DENSE_T, 1);
}

static Val build_depthwise_conv_dw(TestFunc *t)
{
    return emit_conv(t, OP_CONV_DW, test_param(t, "dz", "b=2 c=3 t=4 h=3"),
                     test_param(t, "x", "b=2 c=3 t=7 h=5"), "b", "c kh k",
                     (Stencil[]){DENSE_T, WIDE_H}, 2);
}

/* Positions that share an axis with x, and one axis of their own in the middle of the result. */
static Val build_gather(TestFunc *t)
{
    return func_emit(t->f, OP_GATHER, &(Attrs){.axis = name_intern(&t->names, "p")},
                     (Val[]){test_param(t, "x", "b=2 p=5 c=3"), test_input(t, "index", "n=7 b=2")},
                     2);
}

static Val build_scatter(TestFunc *t)
{
    Attrs a = {.axis = name_intern(&t->names, "p"), .size0 = 5, .over = test_axes(t, "n k")};
    return func_emit(
        t->f, OP_SCATTER, &a,
        (Val[]){test_param(t, "x", "b=2 n=7 c=3 k=2"), test_input(t, "index", "n=7 k=2 b=2")}, 2);
}

static Val emit_attention(TestFunc *t, Op op, AttendMask mask)
{
    Attrs a = {.axis = name_intern(&t->names, "n"),
               .axis2 = name_intern(&t->names, "m"),
               .over = test_axes(t, "d"),
               .k = {0.7, mask}};
    Val in[] = {test_param(t, "q", mask ? "b=2 n=4 d=3" : "b=2 n=5 d=3"),
                test_param(t, "k", "m=4 b=2 d=3"),
                test_param(t, "v", "e=5 b=2 m=4"),
                test_param(t, "dy", mask ? "b=2 n=4 e=5" : "b=2 n=5 e=5"),
                test_param(t, "l", mask ? "b=2 n=4" : "b=2 n=5"),
                test_param(t, "c", mask ? "n=4 b=2" : "n=5 b=2")};
    return func_emit(t->f, op, &a, in, op == OP_ATTEND || op == OP_ATTEND_SUM ? 3 : 6);
}

/* With a bias that sequences share, labels of which some agree, and a position that does not ask.
 */
static Val emit_attention_that_adds(TestFunc *t, Op op)
{
    Attrs a = {.axis = name_intern(&t->names, "n"),
               .axis2 = name_intern(&t->names, "m"),
               .over = test_axes(t, "d"),
               .k = {0.7, ATTEND_SEES_ALL}};
    Shape own = {0}, theirs = {0};
    shape_add(&own, name_intern(&t->names, "n"), 5);
    shape_add(&theirs, name_intern(&t->names, "m"), 4);
    static const float labels[] = {0, 1, 1, (float)ATTEND_UNASKED, 0}, of_keys[] = {0, 1, 1, 0};
    Val in[] = {test_param(t, "q", "b=2 n=5 a=2 d=3"), test_param(t, "k", "m=4 b=2 a=2 d=3"),
                test_param(t, "v", "e=5 b=2 m=4 a=2"), test_param(t, "dy", "b=2 n=5 a=2 e=5"),
                test_param(t, "l", "b=2 n=5 a=2"),     test_param(t, "c", "n=5 b=2 a=2"),
                test_param(t, "bias", "n=5 a=2 m=4"),  func_const(t->f, labels, &own),
                func_const(t->f, of_keys, &theirs)};
    bool is_back = op != OP_ATTEND && op != OP_ATTEND_SUM;
    if (!is_back)
        memcpy(in + 3, in + 6, 3 * sizeof *in);
    return func_emit(t->f, op, &a, in, is_back ? 9 : 6);
}

/* The same attention where weights are dropped; sequences of a sample have the same mask. */
static Val emit_dropping(TestFunc *t, Val attend)
{
    Node n = *func_node(t->f, attend);
    Shape s = {0};
    shape_add(&s, name_intern(&t->names, "b"), 2);
    shape_add(&s, name_intern(&t->names, "byte"), 16);
    n.attrs.k[2] = 0.4;
    n.in[n.n_in] = func_bytes(t->f, "bytes", &s);
    return func_emit(t->f, n.op, &n.attrs, n.in, n.n_in + 1);
}

static Val build_attend_that_drops(TestFunc *t)
{
    return emit_dropping(t, emit_attention(t, OP_ATTEND, ATTEND_SEES_ALL));
}

static Val build_causal_attend_that_drops(TestFunc *t)
{
    return emit_dropping(t, emit_attention(t, OP_ATTEND, ATTEND_SEES_EARLIER));
}

static Val build_attend_that_adds_and_drops(TestFunc *t)
{
    return emit_dropping(t, emit_attention_that_adds(t, OP_ATTEND));
}

static Val build_attend_that_adds(TestFunc *t)
{
    return emit_attention_that_adds(t, OP_ATTEND);
}

static Val build_attend_dbias(TestFunc *t)
{
    return emit_attention_that_adds(t, OP_ATTEND_DBIAS);
}

static Val build_attend(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND, ATTEND_SEES_ALL);
}

static Val build_causal_attend(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND, ATTEND_SEES_EARLIER);
}

static Val build_attend_others(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND, ATTEND_SEES_OTHERS);
}

static Val build_attend_sum(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND_SUM, ATTEND_SEES_ALL);
}

static Val build_attend_dq(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND_DQ, ATTEND_SEES_ALL);
}

static Val build_attend_dk(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND_DK, ATTEND_SEES_ALL);
}

static Val build_attend_dv(TestFunc *t)
{
    return emit_attention(t, OP_ATTEND_DV, ATTEND_SEES_ALL);
}

static const struct {
    Op op;
    Build build;
} CASES[] = {
    {OP_GATHER, build_gather},
    {OP_SCATTER, build_scatter},
    {OP_ATTEND, build_attend},
    {OP_ATTEND, build_causal_attend},
    {OP_ATTEND, build_attend_others},
    {OP_ATTEND_SUM, build_attend_sum},
    {OP_ATTEND_DQ, build_attend_dq},
    {OP_ATTEND_DK, build_attend_dk},
    {OP_ATTEND_DV, build_attend_dv},
    {OP_ATTEND, build_attend_that_adds},
    {OP_ATTEND, build_attend_that_drops},
    {OP_ATTEND, build_causal_attend_that_drops},
    {OP_ATTEND, build_attend_that_adds_and_drops},
    {OP_ATTEND_DBIAS, build_attend_dbias},
    {OP_BATCHNORM, build_batchnorm},
    {OP_BATCHNORM, build_batchnorm_of_two_axes},
    {OP_LAYERNORM, build_layernorm},
    {OP_RENAME, build_rename},
    {OP_SPLIT, build_split},
    {OP_MERGE, build_merge},
    {OP_MERGE, build_merge_of_distant_axes},
    {OP_REORDER, build_reorder},
    {OP_INDEX, build_index},
    {OP_INDEX, build_index_of_another_name},
    {OP_INDEX, build_index_of_nothing},
    {OP_SUM, build_sum},
    {OP_SUM, build_sum_to_a_scalar},
    {OP_VARIANCE, build_variance},
    {OP_CONTRACT, build_contract},
    {OP_CONTRACT, build_batched_contract},
    {OP_CONTRACT, build_outer_product},
    {OP_CONV, build_dense_conv},
    {OP_CONV, build_depthwise_conv},
    {OP_CONV_DX, build_dense_conv_dx},
    {OP_CONV_DX, build_depthwise_conv_dx},
    {OP_CONV_DW, build_dense_conv_dw},
    {OP_CONV_DW, build_depthwise_conv_dw},
};
enum { N_CASES = sizeof CASES / sizeof *CASES };

/* ---- pointwise rows: the same for all ---- */

static bool needs_positive(Op op)
{
    return op == OP_LOG || op == OP_SQRT || op == OP_RSQRT || op == OP_POISSON;
}

/* Operands that broadcast both ways: neither has all axes of the result. */
static void check_pointwise(Op op, double k0)
{
    static const char *const shape[] = {"b=2 c=3 t=5", "t=5 n=2 b=2", "c=3", "n=2", "", "t=5"};
    TestFunc *t = test_func();
    Val in[MAX_OPERANDS];
    for (int i = 0; i < op_arity(op); i++) {
        const char *name = arena_printf(&t->arena, "p%d", i);
        in[i] = test_param(t, name, shape[i]);
    }
    Attrs attrs = {.k = {k0, 0.6}};
    check_node(t, func_emit(t->f, op, &attrs, in, op_arity(op)), needs_positive(op));
    test_done(t);
}

static void pointwise_derivatives_are_those_of_the_formulas(void **state)
{
    (void)state;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++)
        if (op_formula((Op)op) && !has_moments((Op)op) && op != OP_HOLD) {
            check_pointwise((Op)op, 0.4);
            check_pointwise((Op)op, 18);
        }
}

static void other_gradients_are_those_of_the_evaluator(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        TestFunc *t = test_func();
        Val y = CASES[i].build(t);
        assert_string_equal(test_log(t), "");
        assert_int_equal(func_node(t->f, y)->op, CASES[i].op);
        check_node(t, y, false);
        test_done(t);
    }
}

static void every_differentiable_op_has_a_case(void **state)
{
    (void)state;
    for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
        bool found =
            (op_formula((Op)op) && !has_moments((Op)op)) || !op_arity((Op)op) || op == OP_MAP;
        for (int i = 0; i < N_CASES; i++)
            found |= CASES[i].op == (Op)op;
        if (!found)
            fail_msg("%s has no gradient case", op_text((Op)op));
    }
}

/* <A x, dy> = <x, A' dy>, to rounding. */
static void linear_ops_have_their_adjoint_as_gradient(void **state)
{
    (void)state;
    for (int c = 0; c < N_CASES; c++) {
        if (has_moments(CASES[c].op) || CASES[c].op == OP_VARIANCE ||
            op_lowering(CASES[c].op) == LOWER_ATTEND)
            continue;
        TestFunc *t = test_func();
        Val y = CASES[c].build(t), din[MAX_OPERANDS];
        Node n = *func_node(t->f, y);
        Val dy = func_input(t->f, "dy", &n.shape);
        op_gradient(t->f, y, dy, din);
        Values v = {.t = t, .state = 99};
        EvalTensor *value = evaluate(&v, &t->arena);
        double left = loss_at(&v, y, dy);
        for (int i = 0; i < n.n_in && din[i].id; i++)
            assert_close(op_text(n.op), i, loss_at(&v, n.in[i], din[i]), left, 1e-13);
        (void)value;
        test_done(t);
    }
}

static void gradients_carry_the_tags_of_their_node(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    vec_push(&t->arena, &t->m->sessions, (Session){.name = "mouse0", .neurons = 5});
    Val x = test_param(t, "x", "b=2 c=3");
    t->f->session = 0;
    t->f->part = module_part(t->m, "core");
    t->f->span = (Span){0, 3, 9};
    Val y = func_emit1(t->f, OP_SILU, x), din[MAX_OPERANDS];
    t->f->session = t->f->part = -1;
    t->f->span = SPAN_NONE;
    t->f->backward = true;
    Shape s = *func_shape(t->f, y);
    op_gradient(t->f, y, func_fill(t->f, 1, &s), din);
    const Node *n = func_node(t->f, din[0]);
    assert_int_equal(n->session, 0);
    assert_int_equal(n->part, 0);
    assert_int_equal(n->span.end, 9);
    assert_true(n->backward);
    assert_int_equal(t->f->session, -1);
    assert_int_equal(t->f->part, -1);
    test_done(t);
}

static void a_trivial_derivative_adds_no_node(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val a = test_param(t, "a", "b=2 c=3"), b = test_param(t, "b", "c=3"), din[MAX_OPERANDS];
    Val y = func_emit2(t->f, OP_SUB, a, b), dy = test_input(t, "dy", "b=2 c=3");
    op_gradient(t->f, y, dy, din);
    assert_int_equal(din[0].id, dy.id);
    assert_int_equal(func_node(t->f, din[1])->op, OP_SUM);
    assert_int_equal(func_node(t->f, func_node(t->f, din[1])->in[0])->op, OP_NEG);
    test_done(t);
}

static void a_map_has_no_gradient_and_says_so(void **state)
{
    (void)state;
    TestFunc *t = test_func();
    Val a = test_param(t, "a", "b=2"), din[MAX_OPERANDS];
    Val y = func_map(t->f, "a * a", NULL, 0, &a, 1);
    op_gradient(t->f, y, test_input(t, "dy", "b=2"), din);
    assert_int_equal(din[0].id, 0);
    assert_contains(test_log(t), "has no gradient");
    test_done(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pointwise_derivatives_are_those_of_the_formulas),
        cmocka_unit_test(other_gradients_are_those_of_the_evaluator),
        cmocka_unit_test(every_differentiable_op_has_a_case),
        cmocka_unit_test(linear_ops_have_their_adjoint_as_gradient),
        cmocka_unit_test(gradients_carry_the_tags_of_their_node),
        cmocka_unit_test(a_trivial_derivative_adds_no_node),
        cmocka_unit_test(a_map_has_no_gradient_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
