/* Operations with a state or a loss of their own: normalization with its running statistics, the
 * Poisson loss, AdamW, the moving average. */
#include <math.h>

#include "verify/verify_ops_parts.h"

static Val named_result(OpsCase *o, ResultRole role, const char *name, Val v)
{
    func_result(o->f, role, name_intern(&o->subject.names, name), v);
    return v;
}

/* ---- normalization ---- */

static bool has_batch_statistics(const OpsCase *o)
{
    return json_is_true(json_object_get(o->attributes, "training"));
}

static void move(OpsCase *o, const char *state, Val value)
{
    double momentum = ops_attribute(o, "momentum", 0, 1);
    Val old = ops_state(o, state, "c");
    Attrs a = {.k = {1 - momentum, momentum}};
    if (o->status == NPC_OK)
        named_result(o, RESULT_STATE, state, func_emit(o->f, OP_LERP, &a, (Val[]){old, value}, 2));
}

/* With running statistics as constants; the op's own gradient counts them as the batch's. */
static Val by_parts(OpsCase *o, Val x, Val mean, Val var, Val scale, Val shift, double eps)
{
    Func *f = o->f;
    Val factor = func_emit2(f, OP_MUL, scale, func_emit1(f, OP_RSQRT, func_offset(f, var, eps)));
    Val centred = func_emit2(f, OP_SUB, x, mean);
    return func_emit2(f, OP_ADD, func_emit2(f, OP_MUL, centred, factor), shift);
}

static Val build_norm(OpsCase *o)
{
    Func *f = o->f;
    AxisList over = ops_axes(o, "b t h w");
    Val x = ops_leaf(o, "x", "b c t h w"), mean, var;
    Val scale = ops_leaf(o, "scale", "c"), shift = ops_leaf(o, "shift", "c");
    double eps = ops_attribute(o, "eps", 0, 1);
    if (o->status != NPC_OK)
        return VAL_NONE;
    if (!has_batch_statistics(o)) {
        mean = ops_state(o, "running_mean", "c");
        var = ops_state(o, "running_var", "c");
        if (o->is_training)
            return by_parts(o, x, mean, var, scale, shift, eps);
    } else {
        const Shape *s = func_shape(f, x);
        double n = (double)shape_elems(s) / (double)s->size[1];
        mean = func_mean(f, x, &over);
        var = func_variance(f, x, &over, 1);
        if (o->is_training) {
            move(o, "running_mean", mean);
            move(o, "running_var", func_variance(f, x, &over, n > 1 ? n / (n - 1) : 1));
        }
    }
    return func_emit(f, OP_BATCHNORM, &(Attrs){.k = {eps}}, (Val[]){x, mean, var, scale, shift}, 5);
}

static Status check_norm(OpsCase *o, Err *err)
{
    static const char *const states[] = {"running_mean", "running_var"};
    NPC_TRY(ops_check_graph(o, build_norm, err));
    for (int i = 0; i < 2; i++) {
        double *got;
        int64_t size[MAX_RANK];
        NPC_TRY(ops_read(o, states[i], 1, &got, size, err)); /* the right size */
        if (module_param(o->subject.module, states[i]))
            subject_read_tensor(&o->subject, states[i], got);
        NPC_TRY(ops_push(o, verify_name(o->c, "%s_after", states[i]), got, size[0],
                         VERIFY_STATISTICS, false, err));
    }
    return NPC_OK;
}

/* ---- the loss ---- */

/* share of recording `mouse`, [b], as an input of the program */
static Status fill_shares(OpsCase *o, int program, int n, Err *err)
{
    int64_t size[2];
    double *weights, sum = 0;
    NPC_TRY(ops_read(o, "weights", 2, &weights, size, err));
    if (size[1] != n)
        return err_set(err, NPC_ERR_INPUT, "%s: '%s' has %lld columns for %d predictions",
                       o->c->path, ops_tensor(o, "weights"), (long long)size[1], n);
    for (int64_t i = 0; i < size[0] * n; i++)
        sum += weights[i];
    for (int k = 0; k < n; k++) {
        double *share = ARENA_ARRAY(o->c->arena, double, (size_t)size[0]);
        for (int64_t b = 0; b < size[0]; b++)
            share[b] = weights[b * n + k] / sum;
        subject_input(&o->subject, program, verify_name(o->c, "share%d", k), share);
    }
    return NPC_OK;
}

static Val mouse_loss(OpsCase *o, int k, double eps)
{
    Func *f = o->f;
    AxisList all = ops_axes(o, "b n t");
    Val p = ops_leaf(o, verify_name(o->c, "prediction%d", k), "b n t");
    Val t = ops_input(o, verify_name(o->c, "target%d", k), "b n t");
    Shape batch = {0};
    if (o->status != NPC_OK)
        return VAL_NONE;
    shape_add(&batch, all.name[0], func_shape(f, p)->size[0]);
    const char *name = name_intern(&o->subject.names, verify_name(o->c, "share%d", k));
    Val terms = func_emit(f, OP_POISSON, &(Attrs){.k = {eps}}, (Val[]){p, t}, 2);
    return func_sum(f, func_emit2(f, OP_MUL, terms, func_input(f, name, &batch)), &all, 1);
}

static Status run_loss(OpsCase *o, int n, Err *err)
{
    int grad;
    double loss;
    NPC_TRY(subject_add(&o->subject, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_ready(&o->subject, err));
    NPC_TRY(ops_fill(o, grad, err));
    NPC_TRY(fill_shares(o, grad, n, err));
    NPC_TRY(subject_run(&o->subject, grad, NULL, err));
    NPC_TRY(subject_read(&o->subject, grad, RESULT_LOSS, "loss", &loss, err));
    NPC_TRY(ops_push(o, "loss", &loss, 1, VERIFY_LOSS, false, err));
    return ops_check_gradients(o, grad, err);
}

static Status check_poisson(OpsCase *o, Err *err)
{
    int n = 0;
    Val loss = VAL_NONE;
    NPC_TRY(ops_open(o, err));
    o->f = module_add_func(o->subject.module, "train");
    o->is_training = true;
    double eps = ops_attribute(o, "eps", 0, 1);
    for (; n < OPS_MAX_ROLES && ops_has(o, verify_name(o->c, "prediction%d", n)); n++) {
        Val part = mouse_loss(o, n, eps);
        loss = n ? func_emit2(o->f, OP_ADD, loss, part) : part;
    }
    NPC_TRY(o->status);
    if (!n)
        return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s'", o->c->path,
                       ops_tensor(o, "prediction0"));
    named_result(o, RESULT_LOSS, "loss", loss);
    return run_loss(o, n, err);
}

/* ---- the optimizer ---- */

Status ops_open_vector(OpsCase *o, const char *vector, const char *table, double **start,
                       double **rows, int64_t size[2], Err *err)
{
    int64_t n;
    NPC_TRY(ops_read(o, vector, 1, start, &n, err));
    NPC_TRY(ops_read(o, table, 2, rows, size, err));
    if (size[1] != n)
        return err_set(err, NPC_ERR_INPUT, "%s: '%s' and '%s' do not have the same length",
                       o->c->path, ops_tensor(o, vector), ops_tensor(o, table));
    NPC_TRY(ops_open(o, err));
    Param p = {.name = name_intern(&o->subject.names, "w"), .session = -1};
    shape_add(&p.shape, name_intern(&o->subject.names, "n"), n);
    module_add_param(o->subject.module, p);
    return NPC_OK;
}

static Status read_adamw(OpsCase *o, double *rate, double beta[2], Err *err)
{
    OptimizerAttrs *a = &o->subject.passes.optimizer;
    const json_t *betas = json_object_get(o->attributes, "betas");
    NPC_TRY(ops_number(o, "rate", rate, err));
    NPC_TRY(ops_number(o, "decay", &a->weight_decay, err));
    NPC_TRY(ops_number(o, "eps", &a->eps, err));
    if (!json_is_number(json_array_get(betas, 0)) || !json_is_number(json_array_get(betas, 1)))
        return err_set(err, NPC_ERR_INPUT, "%s: the attributes of %s lack two 'betas'", o->c->path,
                       o->name);
    a->beta1 = beta[0] = json_number_value(json_array_get(betas, 0));
    a->beta2 = beta[1] = json_number_value(json_array_get(betas, 1));
    return NPC_OK;
}

static Status push_moment(OpsCase *o, const char *role, const char *state, int64_t n, Err *err)
{
    double *got = ARENA_ARRAY(o->c->arena, double, (size_t)n);
    subject_read_tensor(&o->subject, state, got);
    return ops_push(o, role, got, n, VERIFY_PARAMETERS, false, err);
}

Status ops_check_adamw(OpsCase *o, Err *err)
{
    Subject *s = &o->subject;
    double *w, *grads, rate = 0, beta[2] = {0}, power[2] = {1, 1};
    int64_t size[2];
    int update;
    NPC_TRY(ops_open_vector(o, "param", "grads", &w, &grads, size, err));
    NPC_TRY(read_adamw(o, &rate, beta, err));
    NPC_TRY(subject_add(s, PROGRAM_UPDATE, &update, err));
    NPC_TRY(subject_ready(s, err));
    double *out = ARENA_ARRAY(o->c->arena, double, (size_t)(size[0] * size[1]));
    subject_tensor(s, "w", w);
    for (int64_t k = 0; k < size[0]; k++) {
        double bias[2];
        for (int i = 0; i < 2; i++)
            bias[i] = 1 - (power[i] *= beta[i]);
        subject_tensor(s, "grad/w", grads + k * size[1]);
        subject_input(s, update, "rate", &rate);
        subject_input(s, update, "bias1", &bias[0]);
        subject_input(s, update, "bias2", &bias[1]);
        subject_input(s, update, "loss_scale", &(double){1});
        NPC_TRY(subject_run(s, update, NULL, err));
        subject_read_tensor(s, "w", out + k * size[1]);
    }
    NPC_TRY(ops_push(o, "out", out, size[0] * size[1], VERIFY_PARAMETERS, true, err));
    NPC_TRY(push_moment(o, "first", "adam_m/w", size[1], err));
    return push_moment(o, "second", "adam_v/w", size[1], err);
}

/* ---- the average ---- */

static Status check_ema(OpsCase *o, Err *err)
{
    Subject *s = &o->subject;
    double *average, *values;
    int64_t size[2];
    int program;
    NPC_TRY(ops_open_vector(o, "average", "values", &average, &values, size, err));
    NPC_TRY(ops_number(o, "decay", &s->passes.optimizer.ema_decay, err));
    NPC_TRY(subject_add(s, PROGRAM_AVERAGE, &program, err));
    NPC_TRY(subject_ready(s, err));
    double *out = ARENA_ARRAY(o->c->arena, double, (size_t)(size[0] * size[1]));
    subject_tensor(s, "ema/w", average);
    for (int64_t k = 0; k < size[0]; k++) {
        subject_tensor(s, "w", values + k * size[1]);
        NPC_TRY(subject_run(s, program, NULL, err));
        subject_read_tensor(s, "ema/w", out + k * size[1]);
    }
    return ops_push(o, "out", out, size[0] * size[1], VERIFY_PARAMETERS, false, err);
}

const OpsRow VERIFY_OPS_STATE[] = {
    {.operation = "adamw", .check = ops_check_adamw},
    {.operation = "ema", .check = check_ema},
    {.operation = "norm", .check = check_norm},
    {.operation = "poisson", .check = check_poisson},
    {0},
};
