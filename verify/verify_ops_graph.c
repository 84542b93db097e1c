/* An operation as a module of its own, through the passes, the plan and the kernels that models
 * take. "eval" computes the result; "train" has the inputs as parameters and the loss
 * sum(out * grad_out), so that their gradients are those the file holds. */
#include "verify/verify_ops_parts.h"

Status ops_open(OpsCase *o, Err *err)
{
    o->c->subject = &o->subject;
    NPC_TRY(subject_open_module(&o->subject, o->c->options, err));
    o->subject.arena.exhausted = o->c->arena->exhausted;
    return NPC_OK;
}

void ops_close(OpsCase *o)
{
    if (o->c->subject)
        subject_close(o->c->subject);
    o->c->subject = NULL;
}

AxisList ops_axes(OpsCase *o, const char *axes)
{
    AxisList list = {0};
    for (const char *p = axes + strspn(axes, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        list.name[list.n++] = name_intern_n(&o->subject.names, p, n);
        p += n;
    }
    return list;
}

double ops_attribute(OpsCase *o, const char *key, double low, double high)
{
    double x = low;
    if (o->status != NPC_OK)
        return low;
    o->status = ops_number(o, key, &x, o->err);
    if (o->status == NPC_OK && !(x >= low && x <= high))
        o->status =
            err_set(o->err, NPC_ERR_INPUT, "%s: attribute '%s' of %s is %g; expected %g to %g",
                    o->c->path, key, o->name, x, low, high);
    return o->status == NPC_OK ? x : low;
}

/* ---- leaves ---- */

static bool shape_of(OpsCase *o, const char *role, const char *axes, Shape *out)
{
    AxisList names = ops_axes(o, axes);
    int64_t size[MAX_RANK];
    double *values;
    *out = (Shape){0};
    if (o->status == NPC_OK)
        o->status = ops_read(o, role, names.n, &values, size, o->err);
    for (int i = 0; i < names.n && o->status == NPC_OK; i++)
        shape_add(out, names.name[i], size[i]);
    return o->status == NPC_OK;
}

Val ops_input(OpsCase *o, const char *role, const char *axes)
{
    Shape s;
    if (!shape_of(o, role, axes, &s))
        return VAL_NONE;
    return func_input(o->f, name_intern(&o->subject.names, role), &s);
}

static Val param(OpsCase *o, const char *role, const char *axes, bool is_state)
{
    Param p = {.name = name_intern(&o->subject.names, role), .session = -1, .is_state = is_state};
    if (!shape_of(o, role, axes, &p.shape))
        return VAL_NONE;
    if (!module_param(o->subject.module, p.name))
        module_add_param(o->subject.module, p);
    return func_param(o->f, p.name);
}

Val ops_state(OpsCase *o, const char *role, const char *axes)
{
    return param(o, role, axes, true);
}

Val ops_leaf(OpsCase *o, const char *role, const char *axes)
{
    if (o->is_training)
        o->role[o->n_roles++] = role;
    else if (!strcmp(role, "x"))
        return ops_input(o, role, axes);
    return param(o, role, axes, false);
}

/* ---- running ---- */

static Status fill_input(OpsCase *o, int program, const Node *n, Err *err)
{
    double *values;
    NPC_TRY(verify_read(o->c, ops_tensor(o, n->attrs.name), n->shape.rank, n->shape.size, &values,
                        err));
    subject_input(&o->subject, program, n->attrs.name, values);
    return NPC_OK;
}

Status ops_fill(OpsCase *o, int program, Err *err)
{
    const Module *m = o->subject.module;
    const Func *f = o->subject.programs.at[program];
    for (uint32_t i = 0; i < m->params.len; i++) {
        const Param *p = &m->params.at[i];
        double *values;
        if (!ops_has(o, p->name))
            continue;
        NPC_TRY(
            verify_read(o->c, ops_tensor(o, p->name), p->shape.rank, p->shape.size, &values, err));
        subject_tensor(&o->subject, p->name, values);
    }
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        const Node *n = &f->nodes.at[i];
        if ((n->op == OP_INPUT || n->op == OP_RANDOM) && ops_has(o, n->attrs.name))
            NPC_TRY(fill_input(o, program, n, err));
    }
    return NPC_OK;
}

static Status check_out(OpsCase *o, int program, Err *err)
{
    const Shape *s = subject_result(&o->subject, program, RESULT_OUTPUT, "out");
    double *got = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(s)), *want;
    NPC_TRY(subject_read(&o->subject, program, RESULT_OUTPUT, "out", got, err));
    NPC_TRY(verify_read(o->c, ops_tensor(o, "out"), s->rank, s->size, &want, err));
    return ops_push(o, "out", got, shape_elems(s), VERIFY_OUTPUTS, false, err);
}

Status ops_check_gradients(OpsCase *o, int program, Err *err)
{
    for (int i = 0; i < o->n_roles; i++) {
        const char *role = verify_name(o->c, "grad_%s", o->role[i]);
        const Shape *s = subject_result(&o->subject, program, RESULT_GRAD, o->role[i]);
        if (!s)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' has no gradient", o->c->path,
                           ops_tensor(o, role));
        double *got = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(s));
        NPC_TRY(subject_read(&o->subject, program, RESULT_GRAD, o->role[i], got, err));
        NPC_TRY(ops_push(o, role, got, shape_elems(s), VERIFY_GRADIENTS, false, err));
    }
    return NPC_OK;
}

static Status build_eval(OpsCase *o, OpsBuild build)
{
    o->f = module_add_func(o->subject.module, "eval");
    Val y = build(o);
    if (o->status == NPC_OK && y.id)
        func_result(o->f, RESULT_OUTPUT, "out", y);
    return o->status;
}

static Status build_train(OpsCase *o, OpsBuild build)
{
    Text axes = {.arena = o->c->arena};
    o->f = module_add_func(o->subject.module, "train");
    o->is_training = true;
    Val y = build(o);
    if (o->status != NPC_OK || !y.id)
        return o->status;
    const Shape s = *func_shape(o->f, y);
    AxisList all = {.n = s.rank};
    for (int i = 0; i < s.rank; i++) {
        all.name[i] = s.name[i];
        text_printf(&axes, "%s ", s.name[i]);
    }
    Val dy = ops_input(o, "grad_out", text_str(&axes));
    func_result(o->f, RESULT_OUTPUT, "out", y);
    func_result(o->f, RESULT_LOSS, "loss",
                func_sum(o->f, func_emit2(o->f, OP_MUL, y, dy), &all, 1));
    return o->status;
}

/* Sizes that do not fit each other are the file's mistake. */
static Status add(OpsCase *o, ProgramKind kind, int *program, Err *err)
{
    Err why = {0};
    Status s = subject_add(&o->subject, kind, program, &why);
    return s == NPC_OK ? s : err_set(err, s, "%s: %s: %s", o->c->path, o->name, why.text);
}

Status ops_check_graph(OpsCase *o, OpsBuild build, Err *err)
{
    int eval, grad;
    bool has_gradients = ops_has(o, "grad_out");
    NPC_TRY(ops_open(o, err));
    NPC_TRY(build_eval(o, build));
    if (has_gradients)
        NPC_TRY(build_train(o, build));
    NPC_TRY(add(o, PROGRAM_EVAL, &eval, err));
    if (has_gradients)
        NPC_TRY(add(o, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_ready(&o->subject, err));
    NPC_TRY(ops_fill(o, eval, err));
    NPC_TRY(subject_run(&o->subject, eval, NULL, err));
    NPC_TRY(check_out(o, eval, err));
    if (!has_gradients)
        return NPC_OK;
    NPC_TRY(ops_fill(o, grad, err));
    NPC_TRY(subject_run(&o->subject, grad, NULL, err));
    NPC_TRY(check_out(o, grad, err));
    return ops_check_gradients(o, grad, err);
}
