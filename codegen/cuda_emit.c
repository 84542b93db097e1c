/* Lines, kernels, indices: the part of the CUDA generator that knows no instructions. */
#include "codegen/cuda_emit.h"

#include <ctype.h>

/* ---- text ---- */

void cuda_line(CudaText *c, const char *fmt, ...)
{
    va_list args;
    text_printf(&c->out, "%*s", 4 * c->indent, "");
    va_start(args, fmt);
    text_vprintf(&c->out, fmt, args);
    va_end(args);
    text_char(&c->out, '\n');
}

void cuda_open(CudaText *c, const char *fmt, ...)
{
    va_list args;
    text_printf(&c->out, "%*s", 4 * c->indent, "");
    va_start(args, fmt);
    text_vprintf(&c->out, fmt, args);
    va_end(args);
    text_add(&c->out, " {\n");
    c->indent++;
}

void cuda_close(CudaText *c)
{
    c->indent--;
    cuda_line(c, "}");
}

void cuda_open_each(CudaText *c, const char *i, int64_t n, const char *thread, int threads)
{
    if (n > threads) {
        cuda_open(c, "for (int %s = %s; %s < %lld; %s += %d)", i, thread, i, (long long)n, i,
                  threads);
        return;
    }
    cuda_open(c, "if (%s < %lld)", thread, (long long)n);
    cuda_line(c, "const int %s = %s;", i, thread);
}

const char *cuda_name(CudaText *c, const char *prefix)
{
    return arena_printf(c->arena, "%s%d", prefix, c->n_names++);
}

const char *cuda_type(Storage s)
{
    return s == STORAGE_F32 ? "float" : s == STORAGE_U8 ? "uint8_t" : "uint16_t";
}

void cuda_kernel_begin(CudaText *c, int phase, const CudaPhase *shape, const char *what)
{
    const TileProgram *p = c->p;
    /* only maps may write over what they read */
    const char *restricted = p->anchor == TILE_MAP ? "" : "__restrict__ ";

    cuda_line(c, "/* %s: %s */", p->name ? p->name : "", what);
    Text head = {.arena = c->arena};
    if (c->min_blocks > 1)
        text_printf(&head, "NPC_KERNEL_MIN(%d, %d) ", shape->threads, c->min_blocks);
    else
        text_printf(&head, "NPC_KERNEL(%d) ", shape->threads);
    text_printf(&head, "%s_%d(", c->symbol, c->first_phase + phase);
    c->min_blocks = 0;
    for (uint32_t i = 0; i < p->tensors.len && !p->members.len; i++) {
        const TileTensor *t = &p->tensors.at[i];
        text_printf(&head, "%s%s *%st%u, ", t->is_output ? "" : "const ", cuda_type(t->layout.type),
                    restricted, i);
    }
    text_add(&head, p->members.len ? "const long long *table, " : "");
    text_add(&head, "unsigned char *workspace, const int *range)");
    cuda_line(c, "%s", text_str(&head));
    cuda_line(c, "{");
    c->indent++;
    if (p->session < 0)
        return;
    cuda_line(c, "const int b0 = range[0], b1 = range[1];");
    cuda_line(c, "if (b0 >= b1)");
    cuda_line(c, "    return;");
}

void cuda_kernel_end(CudaText *c)
{
    cuda_close(c);
    text_char(&c->out, '\n');
}

/* ---- the iteration space ---- */

int cuda_lanes(const TileProgram *p, int axis)
{
    int lanes = 4;

    if (axis < 0)
        return 1;
    for (uint32_t i = 0; i < p->tensors.len; i++)
        if (storage_has_16_bits(p->tensors.at[i].layout.type))
            lanes = 8;
    for (; lanes >= 4; lanes /= 2)
        if (p->axes.at[axis].size % lanes == 0)
            return lanes;
    return 1;
}

const char *cuda_axis_name(const CudaText *c, int axis)
{
    Text t = {.arena = c->arena};
    bool known = false;

    text_add(&t, "i_");
    for (const char *s = c->p->axes.at[axis].name; *s; s++)
        text_char(&t, isalnum((unsigned char)*s) ? *s : '_');
    for (int a = 0; a < axis; a++)
        known |= !strcmp(c->p->axes.at[a].name, c->p->axes.at[axis].name);
    if (known)
        text_printf(&t, "_%d", axis);
    return text_str(&t);
}

static int64_t vectors(const TileProgram *p, int axis, int vector, int lanes)
{
    return p->axes.at[axis].size / (axis == vector ? lanes : 1);
}

int64_t cuda_points(const TileProgram *p, const int *axes, int n, int vector, int lanes)
{
    int64_t points = 1;

    for (int i = 0; i < n; i++)
        points *= vectors(p, axes[i], vector, lanes);
    return points;
}

void cuda_digits(CudaText *c, const char *flat, const int *axes, int n)
{
    int64_t inner = 1;

    for (int i = n - 1; i >= 0; i--) {
        int a = axes[i];
        int64_t size = vectors(c->p, a, c->vector, c->lanes);
        const char *name = cuda_axis_name(c, a);
        Text t = {.arena = c->arena};
        if (size == 1)
            text_add(&t, "0");
        else if (inner == 1 && i == 0)
            text_printf(&t, "(int)(%s)", flat);
        else if (i == 0)
            text_printf(&t, "(int)((%s) / %lld)", flat, (long long)inner);
        else if (inner == 1)
            text_printf(&t, "(int)((%s) %% %lld)", flat, (long long)size);
        else
            text_printf(&t, "(int)((%s) / %lld %% %lld)", flat, (long long)inner, (long long)size);
        if (a == c->vector && c->lanes > 1)
            text_printf(&t, " * %d", c->lanes);
        cuda_line(c, "const int %s = %s;", name, text_str(&t));
        c->axis[a] = name;
        inner *= size;
    }
}

int cuda_axes(const TileProgram *p, TileAxisKind kind, int axes[TILE_MAX_AXES])
{
    int n = 0;

    for (uint32_t a = 0; a < p->axes.len; a++)
        if (p->axes.at[a].kind == kind)
            axes[n++] = (int)a;
    return n;
}

CudaScope cuda_scope(CudaText *c)
{
    CudaScope s = {.acc = c->acc, .vector = c->vector, .lanes = c->lanes};
    size_t n = c->p->insts.len;

    s.memo = ARENA_ARRAY(c->arena, CudaValue, n + 1);
    memcpy(s.memo, c->memo, n * sizeof *s.memo);
    memcpy(s.axis, c->axis, sizeof s.axis);
    return s;
}

void cuda_scope_end(CudaText *c, CudaScope s)
{
    c->memo = s.memo;
    memcpy(c->axis, s.axis, sizeof s.axis);
    c->acc = s.acc;
    c->vector = s.vector;
    c->lanes = s.lanes;
}
