/* Scalar primitives as LLVM IR: the same straight-line arithmetic for scalars and vectors.
 *
 * Range reduction and polynomials follow the Cephes library (Moshier, public domain); erf follows
 * N. Juffa's two-range minimax form. Errors are about 2 ulp (sigmoid 4). exp flushes to 0 below
 * 2^-126 and overflows to infinity; NaN comes through everything. */
#include "codegen/llvm_emit.h"

/* 1.5 * 2^23: adding it to |x| < 2^22 leaves round(x) in the low bits of the sum */
#define MAGIC 12582912.0

static Type int_type(Emitter *e, Value v)
{
    return emit_vector_type(e, e->i32, emit_width(v));
}

static Value int_splat(Emitter *e, Value like, int64_t n)
{
    return emit_splat(e, LLVMConstInt(e->i32, (unsigned long long)n, 1), emit_width(like));
}

static Value bits_of(Emitter *e, Value v)
{
    return LLVMBuildBitCast(e->builder, v, int_type(e, v), "");
}

static Value float_of(Emitter *e, Value bits)
{
    return LLVMBuildBitCast(e->builder, bits, emit_vector_type(e, e->f32, emit_width(bits)), "");
}

static Value compare(Emitter *e, LLVMRealPredicate p, Value a, Value b)
{
    a = emit_splat(e, a, emit_width(b));
    b = emit_splat(e, b, emit_width(a));
    return LLVMBuildFCmp(e->builder, p, a, b, "");
}

static Value choose(Emitter *e, Value condition, Value yes, Value no)
{
    int n = emit_width(condition);

    n = n > emit_width(yes) ? n : emit_width(yes);
    n = n > emit_width(no) ? n : emit_width(no);
    return emit_select(e, emit_splat(e, condition, n), emit_splat(e, yes, n), emit_splat(e, no, n));
}

/* The operand order lets a NaN in `a` through. */
static Value min2(Emitter *e, Value a, Value b)
{
    return choose(e, compare(e, LLVMRealOLT, b, a), b, a);
}

static Value max2(Emitter *e, Value a, Value b)
{
    return choose(e, compare(e, LLVMRealOGT, b, a), b, a);
}

static Value absolute(Emitter *e, Value x)
{
    return emit_intrinsic(e, "llvm.fabs", LLVMTypeOf(x), &x, 1);
}

static Value square_root(Emitter *e, Value x)
{
    return emit_intrinsic(e, "llvm.sqrt", LLVMTypeOf(x), &x, 1);
}

static Value negate(Emitter *e, Value x)
{
    return LLVMBuildFNeg(e->builder, x, "");
}

static Value copy_sign(Emitter *e, Value magnitude, Value sign)
{
    Value args[] = {magnitude, sign};
    return emit_intrinsic(e, "llvm.copysign", LLVMTypeOf(sign), args, 2);
}

/* c[0] x^(n-1) + ... + c[n-1] */
static Value polynomial(Emitter *e, Value x, const double *c, int n)
{
    Value y = emit_f32(e, c[0]);

    for (int i = 1; i < n; i++)
        y = emit_fma(e, y, x, emit_f32(e, c[i]));
    return y;
}

/* x = n * unit + r with n whole: returns round(x / unit) + MAGIC, and n as a float */
static Value nearest(Emitter *e, Value x, double inverse_unit, Value *n)
{
    Value t = emit_fma(e, x, emit_f32(e, inverse_unit), emit_f32(e, MAGIC));
    *n = emit_fsub(e, t, emit_f32(e, MAGIC));
    return t;
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2 */
static Value exponential(Emitter *e, Value x)
{
    static const double c[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                               4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
    Value n, r, y, scale;

    x = min2(e, max2(e, x, emit_f32(e, -87)), emit_f32(e, 89));
    Value t = nearest(e, x, 1.44269504088896341, &n);
    r = emit_fma(e, n, emit_f32(e, -0.693359375), x);
    r = emit_fma(e, n, emit_f32(e, 2.12194440e-4), r);
    y = emit_fma(e, polynomial(e, r, c, 6), emit_fmul(e, r, r), r);
    y = emit_fadd(e, y, emit_f32(e, 1));
    /* n runs from -126 (flushed to 0) to 128, so 2^n is applied as 2 * 2^(n-1) */
    scale = LLVMBuildAdd(e->builder, bits_of(e, t), int_splat(e, x, 126), "");
    scale = float_of(e, LLVMBuildShl(e->builder, scale, int_splat(e, x, 23), ""));
    return emit_fmul(e, emit_fadd(e, y, y), scale);
}

/* log x = e ln 2 + log m, sqrt(1/2) <= m < sqrt(2) */
static Value logarithm(Emitter *e, Value x)
{
    static const double c[] = {7.0376836292e-2,  -1.1514610310e-1, 1.1676998740e-1,
                               -1.2420140846e-1, 1.4249322787e-1,  -1.6668057665e-1,
                               2.0000714765e-1,  -2.4999993993e-1, 3.3333331174e-1};
    Value tiny = compare(e, LLVMRealOLT, x, emit_f32(e, 1.17549435e-38));
    Value scaled = choose(e, tiny, emit_fmul(e, x, emit_f32(e, 8388608)), x);
    Value bits = bits_of(e, scaled);
    /* shifting by sqrt(1/2)'s bits makes the exponent field round to the nearest power of two */
    Value shifted = LLVMBuildSub(e->builder, bits, int_splat(e, x, 0x3f3504f3), "");
    Value whole = LLVMBuildAShr(e->builder, shifted, int_splat(e, x, 23), "");
    Value m =
        float_of(e, LLVMBuildSub(e->builder, bits,
                                 LLVMBuildShl(e->builder, whole, int_splat(e, x, 23), ""), ""));
    Value n = LLVMBuildSIToFP(e->builder, whole, LLVMTypeOf(x), "");

    n = emit_fsub(e, n, choose(e, tiny, emit_f32(e, 23), emit_f32(e, 0)));
    Value f = emit_fsub(e, m, emit_f32(e, 1)), z = emit_fmul(e, f, f);
    Value y = emit_fmul(e, emit_fmul(e, polynomial(e, f, c, 9), f), z);
    y = emit_fma(e, n, emit_f32(e, -2.12194440e-4), y);
    y = emit_fma(e, z, emit_f32(e, -0.5), y);
    y = emit_fma(e, n, emit_f32(e, 0.693359375), emit_fadd(e, f, y));

    Value infinite = emit_f32(e, __builtin_inf()), none = emit_f32(e, __builtin_nan(""));
    y = choose(e, compare(e, LLVMRealOLT, x, infinite), y, x); /* inf and NaN stay */
    y = choose(e, compare(e, LLVMRealOEQ, x, emit_f32(e, 0)), negate(e, infinite), y);
    return choose(e, compare(e, LLVMRealOLT, x, emit_f32(e, 0)), none, y);
}

/* log(u) + (x - (u - 1)) / u with u = 1 + x: the second term restores what rounding u lost */
static Value logarithm_1p(Emitter *e, Value x)
{
    Value one = emit_f32(e, 1), u = emit_fadd(e, x, one);
    Value lost = emit_fsub(e, x, emit_fsub(e, u, one));
    Value usual = LLVMBuildAnd(e->builder, compare(e, LLVMRealOGT, u, emit_f32(e, 0)),
                               compare(e, LLVMRealOLT, u, emit_f32(e, 1e8)), "");

    lost = choose(e, usual, emit_fdiv(e, lost, u), emit_f32(e, 0));
    return emit_fadd(e, logarithm(e, u), lost);
}

/* 1 / (1 + e^-x), the hot one: e^-x = 2^n p(r) with ln 2 in one part, so that the error grows with
 * |x|: about 3 ulp where |x| < 6, 4 ulp below 20, 6 ulp at 86. The polynomial is a minimax fit of
 * the relative error with p(0) = 1; 2^n is added to the exponent. At the upper clamp, 128 of
 * float32's ln 2, r is 0 and the sum of exponents exactly infinity. */
static Value sigmoid(Emitter *e, Value x)
{
    static const double c[] = {8.290272206068039e-3, 4.189816117286682e-2, 1.666763871908188e-1,
                               4.999914765357971e-1, 9.999997019767761e-1, 1};
    const double ln2 = 0.693147182464599609375; /* in float32 */
    Value one = emit_f32(e, 1), n, y = negate(e, x);

    if (!e->has_fma) /* n ln 2 would be rounded */
        return emit_fdiv(e, one, emit_fadd(e, exponential(e, y), one));
    y = min2(e, max2(e, y, emit_f32(e, -87)), emit_f32(e, 128 * ln2));
    Value t = nearest(e, y, 1.44269504088896341, &n);
    Value p = polynomial(e, emit_fma(e, n, emit_f32(e, -ln2), y), c, 6);
    Value shift = LLVMBuildShl(e->builder, bits_of(e, t), int_splat(e, x, 23), "");
    Value power = float_of(e, LLVMBuildAdd(e->builder, bits_of(e, p), shift, ""));
    return emit_fdiv(e, one, emit_fadd(e, power, one));
}

static Value hyperbolic_tangent(Emitter *e, Value x)
{
    static const double c[] = {-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2,
                               1.33314422036e-1, -3.33332819422e-1};
    Value a = absolute(e, x), z = emit_fmul(e, x, x), one = emit_f32(e, 1);
    Value small = emit_fma(e, emit_fmul(e, polynomial(e, z, c, 5), z), x, x);
    Value t = exponential(e, emit_fadd(e, a, a));
    Value large = emit_fsub(e, one, emit_fdiv(e, emit_f32(e, 2), emit_fadd(e, t, one)));

    return choose(e, compare(e, LLVMRealOLT, a, emit_f32(e, 0.625)), small, copy_sign(e, large, x));
}

/* sin(x + quarters * pi / 2): x = n pi/2 + r, |r| <= pi/4; pi/2 in three parts, of which n times
 * the first two is exact for |n| < 2^13 */
static Value sine(Emitter *e, Value x, int quarters)
{
    static const double s[] = {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1};
    static const double c[] = {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2};
    Value n, t = nearest(e, x, 0.636619772367581343, &n);
    Value r = emit_fma(e, n, emit_f32(e, -1.5703125), x);
    r = emit_fma(e, n, emit_f32(e, -4.837512969970703125e-4), r);
    r = emit_fma(e, n, emit_f32(e, -7.54978995489188216e-8), r);

    Value z = emit_fmul(e, r, r);
    Value sin_r = emit_fma(e, emit_fmul(e, polynomial(e, z, s, 3), z), r, r);
    Value cos_r = emit_fma(e, z, emit_f32(e, -0.5), emit_f32(e, 1));
    cos_r = emit_fma(e, emit_fmul(e, polynomial(e, z, c, 3), z), z, cos_r);

    Value quarter = LLVMBuildAdd(e->builder, bits_of(e, t), int_splat(e, x, quarters), "");
    Value odd = LLVMBuildAnd(e->builder, quarter, int_splat(e, x, 1), "");
    Value is_odd = LLVMBuildICmp(e->builder, LLVMIntNE, odd, int_splat(e, x, 0), "");
    Value sign = LLVMBuildShl(e->builder, LLVMBuildAnd(e->builder, quarter, int_splat(e, x, 2), ""),
                              int_splat(e, x, 30), "");
    Value y = bits_of(e, choose(e, is_odd, cos_r, sin_r));
    return float_of(e, LLVMBuildXor(e->builder, y, sign, ""));
}

static Value error_function(Emitter *e, Value x)
{
    static const double near[] = {-5.96761703e-4, 4.99119423e-3,  -2.67681349e-2,
                                  1.12819925e-1,  -3.76125336e-1, 1.28379166e-1};
    Value t = min2(e, absolute(e, x), emit_f32(e, 4)), z = emit_fmul(e, t, t);
    Value small = emit_fma(e, polynomial(e, z, near, 6), x, x);
    Value r = emit_fma(e, emit_f32(e, -1.72853470e-5), t, emit_f32(e, 3.83197126e-4));
    Value u = emit_fma(e, emit_f32(e, -3.88396438e-3), t, emit_f32(e, 2.42546219e-2));

    r = emit_fma(e, r, z, u);
    r = emit_fma(e, r, t, emit_f32(e, -1.06777877e-1));
    r = emit_fma(e, r, t, emit_f32(e, -6.34846687e-1));
    r = emit_fma(e, r, t, emit_f32(e, -1.28717512e-1));
    r = emit_fma(e, r, t, negate(e, t));
    Value large = emit_fsub(e, emit_f32(e, 1), exponential(e, r));
    return choose(e, compare(e, LLVMRealOLT, t, emit_f32(e, 0.927734375)), small,
                  copy_sign(e, large, x));
}

static Value round_down(Emitter *e, Value x)
{
    if (e->target.cpu != CPU_GENERIC)
        return emit_intrinsic(e, "llvm.floor", LLVMTypeOf(x), &x, 1);
    /* SSE2 has no rounding instruction; from 2^23 on everything is whole */
    Value whole = compare(e, LLVMRealOLT, absolute(e, x), emit_f32(e, 8388608));
    Value safe = choose(e, whole, x, emit_f32(e, 0));
    Value t = LLVMBuildFPToSI(e->builder, safe, int_type(e, x), "");
    t = LLVMBuildSIToFP(e->builder, t, LLVMTypeOf(x), "");
    Value above = compare(e, LLVMRealOGT, t, safe);
    t = emit_fsub(e, t, choose(e, above, emit_f32(e, 1), emit_f32(e, 0)));
    return choose(e, whole, t, x);
}

Value emit_prim(Emitter *e, Prim prim, Value a, Value b, Value c)
{
    Value one = emit_f32(e, 1), zero = emit_f32(e, 0);

    switch (prim) {
    case PRIM_ADD:
        return emit_fadd(e, a, b);
    case PRIM_SUB:
        return emit_fsub(e, a, b);
    case PRIM_MUL:
        return emit_fmul(e, a, b);
    case PRIM_DIV:
        return emit_fdiv(e, a, b);
    case PRIM_NEG:
        return negate(e, a);
    case PRIM_MIN:
        return min2(e, a, b);
    case PRIM_MAX:
        return max2(e, a, b);
    case PRIM_ABS:
        return absolute(e, a);
    case PRIM_EXP:
        return exponential(e, a);
    case PRIM_LOG:
        return logarithm(e, a);
    case PRIM_LOG1P:
        return logarithm_1p(e, a);
    case PRIM_SQRT:
        return square_root(e, a);
    case PRIM_RSQRT:
        return emit_fdiv(e, one, square_root(e, a));
    case PRIM_SIGMOID:
        return sigmoid(e, a);
    case PRIM_TANH:
        return hyperbolic_tangent(e, a);
    case PRIM_SIN:
        return sine(e, a, 0);
    case PRIM_COS:
        return sine(e, a, 1);
    case PRIM_ERF:
        return error_function(e, a);
    case PRIM_FLOOR:
        return round_down(e, a);
    case PRIM_GT:
        return choose(e, compare(e, LLVMRealOGT, a, b), one, zero);
    case PRIM_WHERE:
        return choose(e, compare(e, LLVMRealUNE, a, zero), b, c);
    case PRIM_COUNT:
        break;
    }
    return zero;
}
