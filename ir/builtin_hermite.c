/* hermite: filters that come in turned copies (Ecker et al. 2018, arXiv:1809.10504; the grid and
 * the order of functions are those of specs/baselines.md, 1.1).
 *
 * Polar Hermite functions of rank r < k: for angular orders m = r mod 2, .., r in steps of two,
 * with n = (r - m) / 2, the radial part (-1)^n exp(-rho^2 / 4) rho^m L_n^m(rho^2 / 2) times cos(m
 * theta) and, for m > 0, behind it times sin(m theta). They are sampled on (k samples)^2 points,
 * brought to norm 1 there, and summed over blocks to k x k. Turning by the angle a maps a pair of
 * coefficients to (cos(ma) c + sin(ma) s, -sin(ma) c + cos(ma) s). Both are constants, so filters
 * are one product: a table [turns, from, rows, columns] with the coefficients, summed over `from`;
 * it is made in float64 and rounded once. */
#include "ir/builtin.h"

#include <math.h>

enum { MAX_KERNEL = 63, MAX_SAMPLES = 16, MAX_TURNS = 64 };

/* The associated Laguerre polynomial L_n^m(x). */
static double laguerre(int64_t n, int64_t m, double x)
{
    double before = 0, here = 1;
    for (int64_t k = 0; k < n; k++) {
        double next =
            ((2 * (double)k + 1 + (double)m - x) * here - ((double)k + (double)m) * before) /
            ((double)k + 1);
        before = here;
        here = next;
    }
    return here;
}

/* A function's angular order: +m for the cosine (0: radial), -m for the sine, and its rank. */
typedef struct Wave {
    int64_t rank, order;
} Wave;

static void list_waves(int64_t k, Wave *wave)
{
    for (int64_t rank = 0, n = 0; rank < k; rank++)
        for (int64_t m = rank % 2; m <= rank; m += 2) {
            wave[n++] = (Wave){rank, m};
            if (m)
                wave[n++] = (Wave){rank, -m};
        }
}

/* One function, summed over blocks of the fine grid: k x k. */
static void sample_wave(const Wave *wave, int64_t k, int64_t samples, double *out)
{
    int64_t grid = k * samples, m = wave->order < 0 ? -wave->order : wave->order,
            n = (wave->rank - m) / 2;
    double reach = 2 * sqrt((double)k) * (1 - 1 / (double)grid), norm = 0;
    memset(out, 0, (size_t)(k * k) * sizeof *out);
    for (int64_t i = 0; i < grid * grid; i++) {
        double y = reach * (2 * (double)(i / grid) / (double)(grid - 1) - 1),
               x = reach * (2 * (double)(i % grid) / (double)(grid - 1) - 1);
        double square = x * x + y * y, angle = (double)m * atan2(y, x);
        double radial = (n % 2 ? -1 : 1) * exp(-square / 4) * pow(square, (double)m / 2) *
                        laguerre(n, m, square / 2);
        double value = radial * (wave->order < 0 ? sin(angle) : cos(angle));
        norm += value * value;
        out[i / grid / samples * k + i % grid / samples] += value;
    }
    for (int64_t i = 0; i < k * k; i++)
        out[i] /= sqrt(norm);
}

/* [turns, waves, k, k]: what a unit of each coefficient adds to each turned filter. */
static float *make_table(Arena *arena, int64_t k, int64_t samples, int64_t turns)
{
    int64_t n = k * (k + 1) / 2, taps = k * k;
    Wave *wave = ARENA_ARRAY(arena, Wave, (size_t)n);
    double *basis = ARENA_ARRAY(arena, double, (size_t)(n * taps));
    float *table = ARENA_ARRAY(arena, float, (size_t)(turns * n * taps));
    list_waves(k, wave);
    for (int64_t i = 0; i < n; i++)
        sample_wave(&wave[i], k, samples, basis + i * taps);
    for (int64_t q = 0; q < turns; q++)
        for (int64_t i = 0; i < n; i++) {
            int64_t m = wave[i].order, pair = m > 0 ? i + 1 : m < 0 ? i - 1 : i;
            double angle = 2 * M_PI * (double)(m * q) / (double)turns;
            for (int64_t j = 0; j < taps; j++)
                table[(q * n + i) * taps + j] =
                    (float)(cos(angle) * basis[i * taps + j] - sin(angle) * basis[pair * taps + j]);
        }
    return table;
}

/* Group p of turn q is group p - q of the coefficients. */
static Val roll(OpCall *c, Val x, const char *axis, const char *turn, int64_t turns)
{
    Func *f = c->el->func;
    const Shape *s = func_shape(f, x);
    int64_t n = s->size[shape_axis(s, axis)], each = n / turns;
    const char *both = op_axis_name(c, axis, "_turned");
    int32_t *table = ARENA_ARRAY(c->el->arena, int32_t, (size_t)(n * turns));
    for (int64_t i = 0; i < n * turns; i++) {
        int64_t q = i / n, p = i % n / each;
        table[i] = (int32_t)((p - q + turns) % turns * each + i % each);
    }
    x = func_index(f, x, axis, both, table, n * turns);
    return func_split(f, x, both, turn, axis, turns);
}

static bool check(OpCall *c)
{
    Elaborator *el = c->el;
    const Arg *from = &c->arg[0], *kernel = &c->arg[1], *turns = &c->arg[2], *rolled = &c->arg[3];
    int64_t k = kernel->axis[0].size, n = op_axis_size(c, from->text);
    bool is_square = kernel->n == 2 && kernel->axis[1].size == k && k <= MAX_KERNEL;
    if (!is_square || turns->n != 1 || turns->axis[0].size > MAX_TURNS) {
        el_error(el, DIAG_E0250, is_square ? turns->span : kernel->span,
                 "'hermite' has a square 'kernel' of up to %d and one axis of up to %d 'turns'",
                 MAX_KERNEL, MAX_TURNS);
        return false;
    }
    if (c->arg[4].integer < 1 || c->arg[4].integer > MAX_SAMPLES || k * c->arg[4].integer < 2) {
        el_error(el, DIAG_E0250, c->arg[4].span,
                 "'samples' of 'hermite' is 1 to %d, and more than one point in all", MAX_SAMPLES);
        return false;
    }
    if (n != k * (k + 1) / 2) {
        el_error(el, DIAG_E0203, from->span,
                 "a kernel of %lld has %lld functions, but axis '%s' is %lld long", (long long)k,
                 (long long)(k * (k + 1) / 2), from->text, (long long)n);
        return false;
    }
    if (rolled->given && op_axis_size(c, rolled->text) % turns->axis[0].size) {
        el_error(el, DIAG_E0203, rolled->span, "axis '%s' of %lld has no %lld groups to roll",
                 rolled->text, (long long)op_axis_size(c, rolled->text),
                 (long long)turns->axis[0].size);
        return false;
    }
    return true;
}

/* [turns, the coefficients' other axes, rows, columns] */
Val emit_hermite(OpCall *c)
{
    Func *f = c->el->func;
    const char *from = c->arg[0].text;
    const AxisArg *rows = &c->arg[1].axis[0], *columns = &c->arg[1].axis[1],
                  *turns = &c->arg[2].axis[0];
    const Shape *s = op_shape_of(c);
    AxisList over = {.n = 1, .name = {from}}, out = {.n = 1, .name = {turns->axis}};
    Shape table = {0};
    Val x = c->x;
    if (!check(c))
        return VAL_NONE;
    for (int i = 0; i < s->rank; i++)
        if (s->name[i] != from)
            out.name[out.n++] = s->name[i];
    if (out.n + 2 > MAX_RANK) {
        el_error(c->el, DIAG_E0004, c->span, "'hermite' of a tensor of more than %d axes",
                 MAX_RANK - 2);
        return VAL_NONE;
    }
    out.name[out.n++] = rows->axis;
    out.name[out.n++] = columns->axis;
    shape_add(&table, turns->axis, turns->size);
    shape_add(&table, from, op_axis_size(c, from));
    shape_add(&table, rows->axis, rows->size);
    shape_add(&table, columns->axis, columns->size);
    float *data = make_table(c->el->arena, rows->size, c->arg[4].integer, turns->size);
    if (c->arg[3].given)
        x = roll(c, x, c->arg[3].text, turns->axis, turns->size);
    return func_contract(f, func_const(f, data, &table), x, &over, &out);
}
