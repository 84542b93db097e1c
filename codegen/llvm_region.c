#include "codegen/llvm_region.h"

enum {
    ROW_BYTES = 8192,     /* a plain last dimension is cut to about this much per position */
    SMALL_BYTES = 65536,  /* regions are cut along plain dimensions down to this */
    LARGE_BYTES = 393216, /* and along stencils, which costs halos, down to this */
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return -floor_div(-a, b);
}

static const TileStencil *stencil_of(const TileProgram *p, int axis)
{
    for (uint32_t i = 0; i < p->stencils.len; i++)
        if (p->stencils.at[i].out == axis)
            return &p->stencils.at[i];
    return NULL;
}

static void set_tile(RegionDim *d, int64_t tile)
{
    const TileStencil *s = d->stencil;
    d->tile = tile;
    d->tiles = div_up(d->out.elems, tile);
    d->low = 0;
    d->extent = tile;
    if (!s)
        return;
    int64_t reach = (d->taps - 1) * s->dilation;
    if (s->transposed) {
        d->low = ceil_div(s->pad - reach, s->stride);
        d->extent = floor_div(tile - 1 + s->pad, s->stride) - d->low + 1;
        d->extent = d->extent < 1 ? 1 : d->extent;
    } else {
        d->low = -s->pad;
        d->extent = (tile - 1) * s->stride + reach + 1;
    }
}

static int64_t region_bytes(const Region *r)
{
    int64_t bytes = 4 * r->lanes * r->blocks;
    for (int i = 0; i < r->n; i++)
        bytes *= r->dim[i].extent;
    return bytes;
}

/* Halves tiles of a dimension, evenly, until the region has at most `bytes` or the tile `least`. */
static void shrink(Region *r, RegionDim *d, int64_t bytes, int64_t least)
{
    int64_t unit = d->stencil && d->stencil->transposed ? d->stencil->stride : 1;
    least = round_up(least, unit);
    for (int64_t parts = 2; region_bytes(r) > bytes && d->tile > least; parts *= 2) {
        int64_t tile = round_up(div_up(d->out.elems, parts), unit);
        set_tile(d, tile < least ? least : tile);
    }
}

static void choose_tiles(Region *r)
{
    RegionDim *last = &r->dim[r->n - 1];
    for (int i = 0; i < r->n; i++) {
        RegionDim *d = &r->dim[i];
        bool transposed = d->stencil && d->stencil->transposed;
        set_tile(d, round_up(d->out.elems, transposed ? d->stencil->stride : 1));
    }
    for (int i = 0; i + 1 < r->n; i++)
        if (!r->dim[i].stencil)
            shrink(r, &r->dim[i], SMALL_BYTES, 1);
    if (!last->stencil)
        shrink(r, last, SMALL_BYTES, ROW_BYTES / (4 * r->lanes));
    for (int i = 0; i < r->n; i++)
        if (r->dim[i].stencil)
            shrink(r, &r->dim[i], LARGE_BYTES, i + 1 < r->n ? 4 : 16);
}

static void add_dim(Region *r, const TileProgram *p, int axis)
{
    RegionDim *d = &r->dim[r->n++];
    *d = (RegionDim){.stencil = stencil_of(p, axis), .taps = 1};
    flat_add(&d->out, p, axis);
    if (!d->stencil) {
        d->in = d->out;
        return;
    }
    flat_add(&d->in, p, d->stencil->in);
    d->taps = p->axes.at[d->stencil->tap].size;
}

bool region_init(Region *r, const TileProgram *p, const Flat *axes, int lanes, int64_t blocks)
{
    *r = (Region){.p = p, .lanes = lanes, .blocks = blocks, .taps = 1, .parts = 1};
    for (int i = 0; i < axes->n; i++) {
        RegionDim *last = r->n ? &r->dim[r->n - 1] : NULL;
        bool tail = true; /* no stencil from here on */
        for (int k = i; k < axes->n; k++)
            tail &= !stencil_of(p, axes->axis[k]);
        if (last && !last->stencil && tail) {
            flat_add(&last->out, p, axes->axis[i]);
            last->in = last->out;
            continue;
        }
        if (r->n == REGION_MAX_DIMS)
            return false;
        add_dim(r, p, axes->axis[i]);
    }
    if (!r->n)
        return false;
    for (int i = (int)p->stencils.len - 1; i >= 0; i--)
        for (int k = 0; k < r->n; k++)
            if (r->dim[k].stencil == &p->stencils.at[i]) {
                r->dim[k].tap_stride = r->taps;
                r->taps *= r->dim[k].taps;
            }
    if (r->taps > REGION_MAX_TAPS)
        return false;
    choose_tiles(r);
    r->floats = lanes;
    for (int i = r->n - 1; i >= 0; i--) {
        r->dim[i].stride = r->floats;
        r->floats *= r->dim[i].extent;
        r->parts *= r->dim[i].tiles;
    }
    return true;
}

void region_place(Emitter *e, const Region *r, Value part, RegionAt *at)
{
    int64_t tiles[REGION_MAX_DIMS];
    Value digit[REGION_MAX_DIMS];
    for (int i = 0; i < r->n; i++)
        tiles[i] = r->dim[i].tiles;
    emit_digits(e, part, r->n, tiles, digit);
    for (int i = 0; i < r->n; i++) {
        const RegionDim *d = &r->dim[i];
        const TileStencil *s = d->stencil;
        int64_t step = !s ? d->tile : s->transposed ? d->tile / s->stride : d->tile * s->stride;
        at->first[i] = emit_mul_n(e, digit[i], d->tile);
        at->count[i] =
            emit_min(e, emit_sub(e, emit_i64(e, d->out.elems), at->first[i]), emit_i64(e, d->tile));
        at->start[i] = emit_add_n(e, emit_mul_n(e, digit[i], step), d->low);
    }
}

Value region_outputs(Emitter *e, const Region *r, const RegionAt *at)
{
    Value n = emit_i64(e, 1);
    for (int i = 0; i < r->n; i++)
        n = emit_mul(e, n, at->count[i]);
    return n;
}

FlatPlace region_row(const Region *r, bool inputs)
{
    const RegionDim *last = &r->dim[r->n - 1];
    FlatPlace place = {.flat = inputs ? &last->in : &last->out};
    if (r->n < 2)
        return place;
    place.rows_ahead = 2; /* on Zen 4 a fifth faster than none */
    place.row_axis = inputs ? last[-1].in.axis[0] : last[-1].out.axis[0];
    return place;
}

/* ---- filling ---- */

typedef struct Fill {
    Code *c;
    const Region *r;
    const RegionAt *at;
    int inst;
    FlatPlace place; /* the last dimension */
} Fill;

static void fill_zero(Fill *f, Value row, Value lo, Value hi)
{
    Emitter *e = f->c->e;
    EmitLoop l;
    emit_loop_begin(e, &l, lo, hi, 1, 0, NULL);
    emit_store(e, emit_at(e, row, emit_mul_n(e, l.index, f->r->lanes)),
               emit_zero(e, emit_vector_type(e, e->f32, f->r->lanes)), 4U * (unsigned)f->r->lanes);
    emit_loop_end(e, &l, NULL);
}

static void fill_values(Fill *f, Value row, Value lo, Value hi)
{
    Emitter *e = f->c->e;
    int last = f->r->n - 1;
    EmitLoop l;
    emit_loop_begin(e, &l, lo, hi, 1, 0, NULL);
    flat_enter(f->c, &f->place, emit_add(e, f->at->start[last], l.index));
    Value v = emit_splat(e, code_value(f->c, f->inst), f->r->lanes);
    emit_store(e, emit_at(e, row, emit_mul_n(e, l.index, f->r->lanes)), v,
               4U * (unsigned)f->r->lanes);
    flat_leave(f->c, &f->place);
    emit_loop_end(e, &l, NULL);
}

static Value clamp(Emitter *e, Value v, int64_t high)
{
    Value zero = emit_i64(e, 0);
    v = emit_select(e, emit_less(e, v, zero), zero, v);
    return emit_min(e, v, emit_i64(e, high));
}

/* A row of the last dimension: zeros, values, zeros. */
static void fill_row(Fill *f, Value row, Value valid)
{
    Emitter *e = f->c->e;
    int last = f->r->n - 1;
    const RegionDim *d = &f->r->dim[last];
    Value zero = emit_i64(e, 0), lo = zero, hi = f->at->count[last];
    EmitIf inside;

    if (d->stencil) {
        Value start = f->at->start[last];
        lo = clamp(e, emit_sub(e, zero, start), d->extent);
        hi = clamp(e, emit_sub(e, emit_i64(e, d->in.elems), start), d->extent);
    }
    if (valid) {
        hi = emit_select(e, valid, hi, zero);
        lo = emit_select(e, valid, lo, zero);
    }
    if (valid || d->stencil) {
        fill_zero(f, row, zero, lo);
        fill_zero(f, row, hi, emit_i64(e, d->extent));
    }
    if (valid)
        emit_if_begin(e, &inside, valid);
    code_hoist(f->c, f->inst);
    fill_values(f, row, lo, hi);
    if (valid)
        emit_if_end(e, &inside);
}

static void fill_dim(Fill *f, int i, Value base, Value valid)
{
    Emitter *e = f->c->e;
    const RegionDim *d = &f->r->dim[i];
    Value zero = emit_i64(e, 0);
    EmitLoop l;

    if (i == f->r->n - 1) {
        fill_row(f, base, valid);
        return;
    }
    emit_loop_begin(e, &l, zero, d->stencil ? emit_i64(e, d->extent) : f->at->count[i], 1, 0, NULL);
    Value in = emit_add(e, f->at->start[i], l.index), ok = valid;
    if (d->stencil) {
        Value below = emit_less(e, in, emit_i64(e, d->in.elems));
        ok = LLVMBuildAnd(e->builder, below, LLVMBuildNot(e->builder, emit_less(e, in, zero), ""),
                          "");
        ok = valid ? LLVMBuildAnd(e->builder, ok, valid, "") : ok;
    }
    code_enter(f->c, d->in.axis[0], in);
    fill_dim(f, i + 1, emit_at(e, base, emit_mul_n(e, l.index, d->stride)), ok);
    code_leave(f->c, d->in.axis[0]);
    emit_loop_end(e, &l, NULL);
}

void region_fill(Code *c, const Region *r, const RegionAt *at, int inst, Value to)
{
    Fill f = {.c = c, .r = r, .at = at, .inst = inst, .place = region_row(r, true)};
    flat_hook(c, &f.place);
    code_hoist(c, inst);
    fill_dim(&f, 0, to, NULL);
    c->load = NULL;
}

/* ---- taps ---- */

int64_t region_phases(const RegionDim *d)
{
    return d->stencil && d->stencil->transposed ? d->stencil->stride : 1;
}

int64_t region_out_step(const RegionDim *d)
{
    return region_phases(d);
}

int64_t region_in_step(const RegionDim *d)
{
    return d->stencil && !d->stencil->transposed ? d->stencil->stride * d->stride : d->stride;
}

Value region_phase_count(Emitter *e, const RegionDim *d, Value count, int64_t phase)
{
    int64_t s = region_phases(d);
    return s == 1 ? count : emit_div_n(e, emit_add_n(e, count, s - 1 - phase), s);
}

/* Place of a tap in its dimension's region, from the first output of the phase; -1 when the phase
 * does not use it. */
static int64_t tap_place(const RegionDim *d, int64_t tap, int64_t phase)
{
    const TileStencil *s = d->stencil;
    if (!s)
        return 0;
    if (!s->transposed)
        return tap * s->dilation;
    int64_t in = phase + s->pad - tap * s->dilation;
    if (floor_div(in, s->stride) * s->stride != in)
        return -1;
    return floor_div(in, s->stride) - d->low;
}

int region_taps(const Region *r, const int64_t *phase, RegionTap *taps)
{
    int n = 1;
    taps[0] = (RegionTap){0, 0};
    for (int i = 0; i < r->n; i++) {
        const RegionDim *d = &r->dim[i];
        RegionTap before[REGION_MAX_TAPS];
        int n_before = n;
        for (int k = 0; k < n; k++)
            before[k] = taps[k];
        n = 0;
        for (int k = 0; k < n_before; k++)
            for (int64_t tap = 0; tap < d->taps; tap++) {
                int64_t place = tap_place(d, tap, phase[i]);
                if (place >= 0)
                    taps[n++] = (RegionTap){before[k].index + tap * d->tap_stride,
                                            before[k].offset + place * d->stride};
            }
    }
    return n;
}

bool region_linear(const Region *r, int64_t *base, int64_t step[REGION_MAX_DIMS])
{
    const int64_t phase[REGION_MAX_DIMS] = {0};
    RegionTap tap[REGION_MAX_TAPS];
    int64_t index = r->taps;
    if (region_taps(r, phase, tap) != r->taps)
        return false;
    for (uint32_t i = 0; i < r->p->stencils.len; i++) {
        int64_t taps = r->p->axes.at[r->p->stencils.at[i].tap].size, next = 0;
        index /= taps;
        for (int64_t t = 0; t < r->taps; t++) {
            *base = tap[t].index == 0 ? tap[t].offset : *base;
            next = tap[t].index == index ? tap[t].offset : next;
        }
        step[i] = taps > 1 ? next - *base : 0;
    }
    return true;
}
