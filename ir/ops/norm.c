/* Normalization. Batch normalization with the batch's own moments:
 *
 *     y = (x - mean) * (scale * rsqrt(var + eps)) + shift
 *
 * The gradient counts mean and var as the moments of x over all axes that x has and scale lacks, n
 * elements each; so nothing flows into the operands mean and var. With xhat = (x - mean) rstd:
 *
 *     dshift = sum dy,  dscale = sum dy xhat,
 *     dx     = scale rstd (dy - dshift / n - xhat dscale / n)
 *
 * Ioffe & Szegedy 2015, arXiv:1502.03167, section 3. */
#include "ir/ops/rules.h"

static const char GRADIENT[] =
    "d * rsqrt(c + k0) * (e - k1 * f - (a - b) * rsqrt(c + k0) * (k1 * g))";

bool node_is_norm_gradient(const Node *n)
{
    return n->op == OP_MAP && n->n_in == 7 && !strcmp(n->attrs.formula, GRADIENT);
}

void grad_batchnorm(Func *f, const Node *y, Val dy, Val *din)
{
    Val x = y->in[0], mean = y->in[1], var = y->in[2], scale = y->in[3], shift = y->in[4];
    Shape xs = *func_shape(f, x), ss = *func_shape(f, scale);
    if (!shape_within(&y->shape, &xs)) {
        diag_error(f->module->diags, DIAG_E0250, y->span,
                   "batchnorm: without all axes of its result the input has no gradient");
        return;
    }
    double eps = y->attrs.k[0];
    double n = (double)shape_elems(&xs) / (double)shape_elems(&ss);
    Val dshift = grad_fit(f, dy, &ss);
    Val weighted =
        func_map(f, "(a - b) * rsqrt(c + k0) * d", &eps, 1, (Val[]){x, mean, var, dy}, 4);
    Val dscale = grad_fit(f, weighted, &ss);
    Val dx = func_map(f, GRADIENT, (double[]){eps, 1 / n}, 2,
                      (Val[]){x, mean, var, scale, dy, dshift, dscale}, 7);
    din[0] = grad_fit(f, dx, &xs);
    din[3] = dscale;
    din[4] =
        shape_equal(func_shape(f, shift), &ss) ? dshift : grad_fit(f, dy, func_shape(f, shift));
}

/* Layer normalization: mean and variance are the moments of x over the axes that mean lacks, n
 * elements each, and scale may vary along these. With g = dy scale and sums over them:
 *
 *     dx = rstd (g - sum g / n - xhat sum(g xhat) / n)
 *
 * Ba, Kiros and Hinton 2016, arXiv:1607.06450. */
void grad_layernorm(Func *f, const Node *y, Val dy, Val *din)
{
    Val x = y->in[0], mean = y->in[1], var = y->in[2], scale = y->in[3], shift = y->in[4];
    const Shape xs = *func_shape(f, x), ms = *func_shape(f, mean);
    double eps = y->attrs.k[0];
    if (!shape_within(&y->shape, &xs)) {
        diag_error(f->module->diags, DIAG_E0250, y->span,
                   "layernorm: without all axes of its result the input has no gradient");
        return;
    }
    AxisList over = shape_missing(&xs, &ms);
    double n = (double)shape_elems(&xs) / (double)shape_elems(&ms);
    Val in[] = {x, mean, var, dy, scale};
    Val xhat = func_map(f, "(a - b) * rsqrt(c + k0)", &eps, 1, in, 3);
    Val g = func_emit2(f, OP_MUL, dy, scale);
    Val sum = func_sum(f, g, &over, 1 / n);
    Val weighted = func_sum(f, func_emit2(f, OP_MUL, g, xhat), &over, 1 / n);
    Val dx = func_map(f, "rsqrt(c + k0) * (d * e - f - (a - b) * rsqrt(c + k0) * g)", &eps, 1,
                      (Val[]){x, mean, var, dy, scale, sum, weighted}, 7);
    din[0] = grad_fit(f, dx, &xs);
    din[3] = grad_fit(f, func_emit2(f, OP_MUL, dy, xhat), func_shape(f, scale));
    din[4] = grad_fit(f, dy, func_shape(f, shift));
}
