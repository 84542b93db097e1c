/* The kernel of a depthwise stencil: see cuda_stencil.h.
 *
 *     for each plane of the block
 *         issue the loads of the first rows
 *         for each step
 *             prologue of what was loaded, into the ring; barrier
 *             issue the loads of the next step
 *             sums over taps; code behind them
 *
 * One barrier a step suffices: the ring has room for the window of a step and for the rows that the
 * next one adds, so a thread that is ahead never writes what another still reads. The first steps
 * of a plane, until the window is full, only load. */
#include "codegen/cuda_stencil.h"

typedef struct Output {
    int row, column;   /* in the thread's group */
    const char *valid; /* condition; NULL: always inside */
    CudaScope outer;
    CudaValue *memo;
    const char *axis[TILE_MAX_AXES];
    CudaValue acc, pair[STENCIL_MAX_PAIRS];
} Output;

typedef struct Writer {
    CudaText *c;
    const CudaStencil *s;
    CudaPlace at;
    CudaSums sums;
    int warm; /* steps that only load */
    CudaValue *weight;
    const char *raw[STENCIL_MAX_RAW]; /* row, column, load */
} Writer;

static const char *each_lane(const Writer *w)
{
    return arena_printf(w->c->arena, "NPC_UNROLL for (int l = 0; l < %d; l++)", w->s->lanes);
}

static void define(Writer *w, int axis, const char *name, const char *value)
{
    cuda_line(w->c, "const int %s = %s;", name, value);
    w->c->axis[axis] = name;
}

/* ---- the block ---- */

static void enter_block(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    const TileProgram *p = s->p;
    long long slices = s->sums.slices;
    const char *name = cuda_axis_name(c, s->channel);

    cuda_line(c, "const int part = (int)blockIdx.x %% %d, slot = (int)blockIdx.x / %d;", s->parts,
              s->parts);
    cuda_digits(c, arena_printf(c->arena, "slot / %lld", slices), s->sums.group_axis,
                s->sums.n_group_axes);
    if (s->sums.cut) {
        const char *b = c->axis[p->batch_axis];
        cuda_line(c, "if (%s < b0 || %s >= b1)", b, b);
        cuda_line(c, "    return;");
    }
    w->at = cuda_place_rows(c, s->threads, s->across);
    w->at.rows = s->strips;
    if (s->across * s->strips < s->threads)
        w->at.is_active = arena_printf(c->arena, "row < %d", s->strips);
    w->at.slot = "slot";
    w->at.part = "part";
    w->at.first_channel = "first_channel";
    w->at.shared = "ring";
    w->at.shared_floats = s->ring;
    cuda_line(c, "const int first_channel = part * %d;", w->at.channels);
    Text active = {.arena = c->arena};
    if (w->at.is_active)
        text_printf(&active, "%s && ", w->at.is_active);
    text_printf(&active, "first_channel + column * %d < %lld", s->lanes,
                (long long)p->axes.at[s->channel].size);
    cuda_line(c, "const int active = %s;", text_str(&active));
    define(w, s->channel, name,
           arena_printf(c->arena, "active ? first_channel + column * %d : 0", s->lanes));
    cuda_line(c, "NPC_SHARED float ring[%lld];", (long long)s->ring);
}

/* Everything in the ring that no load will touch is outside of the input. */
static void clear_ring(Writer *w)
{
    const CudaStencil *s = w->s;

    if (s->n_loaded == s->width)
        return;
    cuda_line(w->c, "for (int i = threadIdx.x; i < %lld; i += %d)", (long long)s->ring, s->threads);
    cuda_line(w->c, "    ring[i] = 0.0f;");
    cuda_line(w->c, "NPC_SYNC();");
}

static void enter_tap(Writer *w, int tap)
{
    const CudaStencil *s = w->s;
    int columns = (int)s->column.taps;

    w->c->axis[s->row.tap] = arena_printf(w->c->arena, "%d", tap / columns);
    if (!s->apart)
        w->c->axis[s->column.tap] = arena_printf(w->c->arena, "%d", tap % columns);
}

/* Weights of the thread's channels: in registers, or all of the block's in shared memory. */
static void read_weights(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    int taps = (int)(s->row.taps * s->column.taps);

    if (s->is_dw)
        return;
    w->weight = ARENA_ARRAY(c->arena, CudaValue, (size_t)taps);
    if (!s->weights_in_registers) {
        cuda_line(c, "NPC_SHARED float weights[%d];", taps * w->at.channels);
        cuda_open(c, "if (active)");
    }
    for (int tap = 0; tap < taps; tap++) {
        CudaScope outer = cuda_scope(c);
        enter_tap(w, tap);
        if (!s->weights_in_registers)
            cuda_open(c, "if (row == %d)", tap % s->strips);
        w->weight[tap] = cuda_value(c, s->p->rhs);
        if (!s->weights_in_registers) {
            cuda_line(c, "%s", each_lane(w));
            cuda_line(c, "    weights[%d + column * %d + l] = %s;", tap * w->at.channels, s->lanes,
                      cuda_at(c, w->weight[tap], "l"));
            cuda_close(c);
        }
        cuda_scope_end(c, outer);
    }
    if (!s->weights_in_registers)
        cuda_close(c);
}

/* What both codes need of channels and groups alone (plane false), and of the plane. */
static void hoist(Writer *w, bool plane)
{
    const CudaStencil *s = w->s;
    int insts[256], n = stencil_output_insts(s, insts);
    uint32_t in = stencil_input_walk(s), out = stencil_output_walk(s), more = 0;

    for (int i = 0; i < s->n_flat && !plane; i++)
        more |= 1u << s->flat[i];
    for (int i = 0; i < s->n_outer && !plane; i++)
        more |= 1u << s->outer[i];
    cuda_hoist(w->c, &s->p->lhs, 1, in | more, 1 << 10);
    cuda_hoist(w->c, insts, n, out | more, 1 << 10);
}

/* ---- loads ---- */

static size_t raw_bytes(const CudaText *c, const TileInst *in)
{
    return (size_t)c->lanes * storage_bytes(c->p->tensors.at[in->tensor].layout.type);
}

static const char *raw_type(const CudaText *c, const TileInst *in)
{
    size_t bytes = raw_bytes(c, in);

    return bytes == 16 ? "NpcBits128" : bytes == 8 ? "NpcBits64" : "uint32_t";
}

static bool is_raw(const CudaText *c, const TileInst *in)
{
    return c->lanes > 1 && raw_bytes(c, in) >= 4 && cuda_is_contiguous(c, in->tensor, in->index);
}

static bool is_array(const Writer *w, int inst)
{
    return w->s->lanes > 1 && cuda_depends(w->s->p, inst, w->s->channel);
}

static const char **raw_of(Writer *w, int row, int column, int load)
{
    return &w->raw[(row * w->s->loads_per_thread + column) * w->s->n_loads + load];
}

static void declare_loads(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;

    for (int r = 0; r < s->row.step; r++)
        for (int n = 0; n < s->loads_per_thread; n++)
            for (int i = 0; i < s->n_loads; i++) {
                const TileInst *in = &s->p->insts.at[s->load[i]];
                const char *name = cuda_name(c, "raw");
                *raw_of(w, r, n, i) = name;
                if (is_raw(c, in))
                    cuda_line(c, "%s %s = {0};", raw_type(c, in), name);
                else if (is_array(w, s->load[i]))
                    cuda_line(c, "float %s[%d] = {0};", name, s->lanes);
                else
                    cuda_line(c, "float %s = 0;", name);
            }
}

static void load(Writer *w, int inst, const char *name)
{
    CudaText *c = w->c;
    const TileInst *in = &c->p->insts.at[inst];
    const char *zero, *type = storage_text(c->p->tensors.at[in->tensor].layout.type);
    bool raw = is_raw(c, in), array = !raw && is_array(w, inst);
    const char *at = cuda_address(c, in->tensor, in->index, array ? "l" : NULL, &zero);

    if (raw && zero) { /* what an earlier row left there must not stay */
        int bits = 8 * c->lanes * (int)storage_bytes(c->p->tensors.at[in->tensor].layout.type);
        cuda_line(c, "%s = %s;", name,
                  bits == 32   ? "0"
                  : bits == 64 ? "npc_zero64()"
                               : "npc_zero128()");
        cuda_line(c, "if (!(%s))", zero);
    }
    if (raw) {
        cuda_line(c, "%s%s = *(const %s *)(%s);", zero ? "    " : "", name, raw_type(c, in), at);
        return;
    }
    if (array)
        cuda_line(c, "%s", each_lane(w));
    cuda_line(c, "%s%s%s = %s%snpc_load1_%s(%s);", array ? "    " : "", name, array ? "[l]" : "",
              zero ? zero : "", zero ? " ? 0.0f : " : "", type, at);
}

static CudaValue opened(Writer *w, int inst, const char *name)
{
    CudaText *c = w->c;
    const TileInst *in = &c->p->insts.at[inst];

    if (!is_raw(c, in))
        return (CudaValue){name, is_array(w, inst)};
    const char *v = cuda_name(c, "v");
    cuda_line(c, "float %s[%d];", v, c->lanes);
    cuda_line(c, "npc_open%d_%s(%s, %s);", c->lanes,
              storage_text(c->p->tensors.at[in->tensor].layout.type), v, name);
    return (CudaValue){v, true};
}

/* Enters the place that the thread's load (row r, column n) of step `q` reads; returns the
 * condition under which it lies inside. `to` is its place in the ring. */
static const char *enter_load(Writer *w, const char *q, int r, int n)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    Text ok = {.arena = c->arena};
    const char *y = cuda_axis_name(c, s->row.in);

    define(w, s->row.in, y,
           arena_printf(c->arena, "(%s) * %d + %d", q, s->row.step,
                        s->row.high - s->row.step + 1 + r));
    text_printf(&ok, "(unsigned)%s < %lldu", y, (long long)s->row.in_size);
    if (s->apart) {
        cuda_line(c, "const int to = row;");
        text_printf(&ok, " && live");
        return text_str(&ok);
    }
    const char *x = cuda_axis_name(c, s->column.in);
    cuda_line(c, "const int to = %d + row;", s->first_loaded + n * s->strips);
    define(w, s->column.in, x,
           arena_printf(c->arena, "%sto + %d",
                        s->tiles > 1
                            ? arena_printf(c->arena, "tile * %d + ", s->strips * s->column.step)
                            : "",
                        s->column.low));
    text_printf(&ok, " && active && (unsigned)%s < %lldu", x, (long long)s->column.in_size);
    if ((n + 1) * s->strips > s->n_loaded)
        text_printf(&ok, " && to < %d", s->first_loaded + s->n_loaded);
    return text_str(&ok);
}

static void issue_loads(Writer *w, const char *q)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;

    for (int r = 0; r < s->row.step; r++)
        for (int n = 0; n < s->loads_per_thread; n++) {
            CudaScope outer = cuda_scope(c);
            cuda_open(c, "/* row %d, column %d */", r, n);
            const char *ok = enter_load(w, q, r, n);
            cuda_open(c, "if (%s)", ok);
            for (int i = 0; i < s->n_loads; i++)
                load(w, s->load[i], *raw_of(w, r, n, i));
            cuda_close(c);
            cuda_close(c);
            cuda_scope_end(c, outer);
        }
}

/* Prologue, into the ring; 0 outside of the input. */
static void fill_ring(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    int row = s->width * w->at.channels;

    for (int r = 0; r < s->row.step; r++)
        for (int n = 0; n < s->loads_per_thread; n++) {
            CudaScope outer = cuda_scope(c);
            cuda_open(c, "/* row %d, column %d */", r, n);
            const char *ok = enter_load(w, "q", r, n);
            cuda_line(c, "float y[%d] = {0};", s->lanes);
            cuda_open(c, "if (%s)", ok);
            for (int i = 0; i < s->n_loads; i++)
                c->memo[s->load[i]] = opened(w, s->load[i], *raw_of(w, r, n, i));
            CudaValue x = cuda_value(c, s->p->lhs);
            cuda_line(c, "%s", each_lane(w));
            cuda_line(c, "    y[l] = %s;", cuda_at(c, x, "l"));
            cuda_close(c);
            Text inside = {.arena = c->arena};
            text_add(&inside, w->at.is_active ? w->at.is_active : "");
            if (!s->apart && (n + 1) * s->strips > s->n_loaded)
                text_printf(&inside, "%sto < %d", inside.len ? " && " : "",
                            s->first_loaded + s->n_loaded);
            const char *to =
                arena_printf(c->arena, "ring + (newest + %d) * %d + to * %d + column * %d", r, row,
                             w->at.channels, s->lanes);
            if (inside.len)
                cuda_line(c, "if (%s)", text_str(&inside));
            if (s->lanes == 4)
                cuda_line(c, "    npc_store4_f32(%s, y);", to);
            else if (s->lanes == 2)
                cuda_line(c, "    npc_store2_f32(%s, y[0], y[1]);", to);
            else
                cuda_line(c, "    *(%s) = y[0];", to);
            cuda_close(c);
            cuda_scope_end(c, outer);
        }
}

/* ---- sums ---- */

static void enter_output(Writer *w, Output *o, int index)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    Text valid = {.arena = c->arena};

    o->row = index / s->column.each;
    o->column = index % s->column.each;
    const char *y = arena_printf(c->arena, "%s_%d", cuda_axis_name(c, s->row.out), index);
    define(w, s->row.out, y, arena_printf(c->arena, "q * %d + %d", s->row.each, o->row));
    if (o->row > 0 && s->row.out_size % s->row.each)
        text_printf(&valid, "%s < %lld", y, (long long)s->row.out_size);
    if (!s->apart) {
        const char *x = arena_printf(c->arena, "%s_%d", cuda_axis_name(c, s->column.out), index);
        define(w, s->column.out, x, arena_printf(c->arena, "first_column + %d", o->column));
        if (o->column > 0 && s->columns % s->column.each)
            text_printf(&valid, "%s%s < %lld", valid.len ? " && " : "", x, (long long)s->columns);
    }
    o->valid = valid.len ? text_str(&valid) : NULL;
}

/* Values that meet the inputs in pair sums. They are 0 outside, where nothing may be loaded. */
static void begin_output(Writer *w, Output *o, int index)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;

    o->outer = cuda_scope(c);
    enter_output(w, o, index);
    if (!s->is_dw) {
        o->acc = (CudaValue){cuda_name(c, "acc"), true};
        cuda_line(c, "float %s[%d] = {0};", o->acc.name, s->lanes);
    }
    for (int i = 0; i < s->n_pairs; i++) {
        if (!o->valid) {
            o->pair[i] = cuda_value(c, s->pair[i]);
            continue;
        }
        o->pair[i] = (CudaValue){cuda_name(c, "pair"), true};
        cuda_line(c, "float %s[%d] = {0};", o->pair[i].name, s->lanes);
        cuda_open(c, "if (%s)", o->valid);
        CudaScope inner = cuda_scope(c);
        CudaValue v = cuda_value(c, s->pair[i]);
        cuda_line(c, "%s", each_lane(w));
        cuda_line(c, "    %s[l] = %s;", o->pair[i].name, cuda_at(c, v, "l"));
        cuda_scope_end(c, inner);
        cuda_close(c);
    }
    o->memo = c->memo;
    memcpy(o->axis, c->axis, sizeof o->axis);
    cuda_scope_end(c, o->outer);
}

static void add_tap(Writer *w, const Output *o, int tap)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;

    if (!s->is_dw) {
        const char *weight =
            s->weights_in_registers ? cuda_at(c, w->weight[tap], "l") : "weight[l]";
        if (!s->weights_in_registers) {
            cuda_open(c, "/* tap %d */", tap);
            cuda_line(c, "float weight[%d];", s->lanes);
            const char *at = arena_printf(c->arena, "weights + %d + column * %d",
                                          tap * w->at.channels, s->lanes);
            cuda_line(c, s->lanes > 1 ? "npc_load%d_f32(weight, %s);" : "weight[%d - 1] = *(%s);",
                      s->lanes, at);
        }
        cuda_line(c, "%s", each_lane(w));
        cuda_line(c, "    %s[l] += x[l] * %s;", o->acc.name, weight);
        if (!s->weights_in_registers)
            cuda_close(c);
    }
    for (int i = 0; i < s->n_pairs; i++) {
        cuda_line(c, "%s", each_lane(w));
        cuda_line(c, "    %s[%d + l] += x[l] * %s;", w->sums.sum[s->pair_sum[i]].sum,
                  tap * s->lanes, cuda_at(c, o->pair[i], "l"));
    }
}

/* One number of the ring (row i of the window, column k of the thread's) with all that read it. */
static void visit(Writer *w, const Output *outputs, int n, int i, int k)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    bool any = false;

    for (int o = 0; o < n; o++)
        for (int y = 0; y < s->row.taps; y++)
            for (int x = 0; x < s->column.taps; x++) {
                int at_row, at_column = 0;
                if (!stencil_offset(&s->row, outputs[o].row, y, &at_row) ||
                    at_row != s->row.low + i ||
                    (!s->apart && (!stencil_offset(&s->column, outputs[o].column, x, &at_column) ||
                                   at_column != s->column.low + k)))
                    continue;
                if (!any) {
                    const char *at =
                        arena_printf(c->arena, "ring + at%d + (row * %d + %d) * %d + column * %d",
                                     i, s->column.step, k, w->at.channels, s->lanes);
                    cuda_open(c, "/* row %d, column %d of the window */", i, k);
                    cuda_line(c, "float x[%d];", s->lanes);
                    cuda_line(c, s->lanes > 1 ? "npc_load%d_f32(x, %s);" : "x[%d - 1] = *(%s);",
                              s->lanes, at);
                    any = true;
                }
                add_tap(w, &outputs[o], y * (int)s->column.taps + x);
            }
    if (any)
        cuda_close(c);
}

static void end_output(Writer *w, Output *o, bool first)
{
    CudaText *c = w->c;

    if (w->s->is_dw)
        return;
    CudaScope outer = cuda_scope(c);
    c->memo = o->memo;
    memcpy(c->axis, o->axis, sizeof o->axis);
    c->acc = o->acc;
    cuda_open(c, o->valid ? "if (%s)" : "/* output */", o->valid);
    cuda_sums_add(c, &w->sums, "0", first);
    cuda_plain_stores(c);
    cuda_close(c);
    cuda_scope_end(c, outer);
}

static void add_up(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    int window = s->row.high - s->row.low + 1, n = s->row.each * s->column.each;
    int row = s->width * w->at.channels;
    Output *outputs = ARENA_ARRAY(c->arena, Output, (size_t)n);

    for (int i = 0; i < window; i++) {
        int back = s->row.step - window + i;
        if (back >= 0)
            cuda_line(c, "const int at%d = (newest + %d) * %d;", i, back, row);
        else
            cuda_line(c, "const int at%d = (newest < %d ? newest + %d : newest - %d) * %d;", i,
                      -back, s->slots + back, -back, row);
    }
    for (int o = 0; o < n; o++)
        begin_output(w, &outputs[o], o);
    int across = s->apart ? 1 : s->column.high - s->column.low + 1;
    for (int i = 0; i < window; i++)
        for (int k = 0; k < across; k++)
            visit(w, outputs, n, i, k);
    for (int o = 0; o < n; o++)
        end_output(w, &outputs[o], o == 0);
}

/* ---- planes ---- */

static void enter_plane(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    int64_t all = s->tiles * s->strips * s->column.each;

    if (!s->apart) {
        cuda_digits(c, arena_printf(c->arena, "plane / %lld", (long long)s->tiles), s->outer,
                    s->n_outer);
        cuda_line(c, "const int tile = plane %% %lld;", (long long)s->tiles);
        cuda_line(c, "const int first_column = (tile * %d + row) * %d;", s->strips, s->column.each);
        cuda_line(c, "const int live = active%s;",
                  all > s->columns
                      ? arena_printf(c->arena, " && first_column < %lld", (long long)s->columns)
                      : "");
        return;
    }
    cuda_line(c, "const int first_column = plane * %d + row;", s->strips);
    cuda_line(c, "const int live = active%s;",
              all > s->columns
                  ? arena_printf(c->arena, " && first_column < %lld", (long long)s->columns)
                  : "");
    cuda_line(c, "const int flat = live ? first_column : 0;");
    cuda_digits(c, "flat", s->flat, s->n_flat);
}

static void write_plane(Writer *w)
{
    CudaText *c = w->c;
    const CudaStencil *s = w->s;
    int64_t steps = (s->row.out_size + s->row.each - 1) / s->row.each;

    enter_plane(w);
    hoist(w, true);
    declare_loads(w);
    issue_loads(w, arena_printf(c->arena, "%d", -w->warm));
    CudaScope outer = cuda_scope(c);
    cuda_open(c, "for (int q = %d; q < %lld; q++)", -w->warm, (long long)steps);
    fill_ring(w);
    cuda_line(c, "NPC_SYNC();");
    cuda_open(c, "if (q + 1 < %lld)", (long long)steps);
    issue_loads(w, "q + 1");
    cuda_close(c);
    cuda_open(c, w->warm ? "if (live && q >= 0)" : "if (live)");
    add_up(w);
    cuda_close(c);
    cuda_line(c, "newest = newest + %d < %d ? newest + %d : 0;", s->row.step, s->slots,
              s->row.step);
    cuda_close(c);
    cuda_scope_end(c, outer);
}

void stencil_write(CudaText *c, const CudaStencil *s, const CudaPhase *shape)
{
    int window = s->row.high - s->row.low + 1;
    Writer w = {
        .c = c, .s = s, .sums = s->sums, .warm = (window + s->row.step - 1) / s->row.step - 1};

    c->min_blocks = 512 / s->threads; /* at most 128 registers */
    cuda_kernel_begin(c, 0, shape,
                      arena_printf(c->arena,
                                   "%d x %d outputs, %d channels of a thread; %d channels, %d "
                                   "columns of a block, %d rows in its ring",
                                   s->row.each, s->column.each, s->lanes, s->across * s->lanes,
                                   s->strips * s->column.each, s->slots));
    CudaScope outer = cuda_scope(c);
    c->vector = s->lanes > 1 ? s->channel : -1;
    c->lanes = s->lanes;
    enter_block(&w);
    clear_ring(&w);
    cuda_sums_begin(c, &w.sums, &w.at);
    read_weights(&w);
    hoist(&w, false);
    cuda_line(c, "int newest = 0;");
    const char *first = arena_printf(c->arena, "slot %% %lld * %lld", (long long)s->sums.slices,
                                     (long long)s->planes_per_block);
    cuda_open(c, "for (int plane = %s, end = plane + %lld; plane < end && plane < %lld; plane++)",
              first, (long long)s->planes_per_block, (long long)s->planes);
    CudaScope before = cuda_scope(c);
    write_plane(&w);
    cuda_scope_end(c, before);
    cuda_close(c);
    cuda_sums_end(c, &w.sums, &w.at);
    cuda_scope_end(c, outer);
    cuda_kernel_end(c);
}
