/* The scalar code of a tile program as C: addresses, loads, arithmetic, stores. */
#include "codegen/cuda_emit.h"

#include <math.h>

/* ---- dependence ---- */

static bool index_depends(const TileProgram *p, const TileIndex *index, int rank, int axis)
{
    for (int d = 0; d < rank; d++) {
        for (int i = 0; i < index[d].n_terms; i++)
            if (index[d].axis[i] == axis)
                return true;
        if (index[d].computed && cuda_depends(p, index[d].computed - 1, axis))
            return true;
    }
    return false;
}

bool cuda_depends(const TileProgram *p, int inst, int axis)
{
    const TileInst *in = &p->insts.at[inst];

    switch (in->kind) {
    case INST_LOAD:
        return index_depends(p, in->index, p->tensors.at[in->tensor].layout.shape.rank, axis);
    case INST_ACC:
        return p->axes.at[axis].kind == TILE_PARALLEL;
    case INST_PRIM:
        for (int k = 0; k < prim_arity(in->prim); k++)
            if (cuda_depends(p, in->arg[k], axis))
                return true;
        return false;
    default:
        return false;
    }
}

bool cuda_uses_acc(const TileProgram *p, int inst)
{
    const TileInst *in = &p->insts.at[inst];

    if (in->kind != INST_PRIM)
        return in->kind == INST_ACC;
    for (int k = 0; k < prim_arity(in->prim); k++)
        if (cuda_uses_acc(p, in->arg[k]))
            return true;
    return false;
}

/* ---- addresses ---- */

static void strides_of(const TileLayout *l, int64_t stride[MAX_RANK])
{
    int64_t step = l->lane < 0 ? 1 : l->lanes;

    for (int i = l->shape.rank - 1; i >= 0; i--) {
        int d = l->order[i];
        stride[d] = step;
        step *= d == l->lane ? (l->shape.size[d] + l->lanes - 1) / l->lanes : l->shape.size[d];
    }
}

static const char *table_name(CudaText *c, const TileIndex *x)
{
    for (uint32_t i = 0; i < c->known_tables.len; i++) {
        const CudaTable *k = &c->known_tables.at[i];
        if (k->n == x->table_len && !memcmp(k->at, x->table, (size_t)k->n * sizeof *k->at))
            return k->name;
    }
    const char *name = arena_printf(c->arena, "%s_table%u", c->symbol, c->known_tables.len);
    text_printf(&c->tables, "NPC_TABLE %s[%lld] = {", name, (long long)x->table_len);
    for (int64_t i = 0; i < x->table_len; i++)
        text_printf(&c->tables, "%s%d", i % 16 ? ", " : i ? ",\n    " : "\n    ", x->table[i]);
    text_add(&c->tables, "};\n");
    vec_push(c->arena, &c->known_tables, (CudaTable){x->table, x->table_len, name});
    return name;
}

/* Are there places without an element? */
static bool has_hole(const TileIndex *x)
{
    if (x->computed)
        return true;
    for (int64_t i = 0; x->table && i < x->table_len; i++)
        if (x->table[i] < 0)
            return true;
    return false;
}

/* The index on one axis of a tensor as an int expression; lane NULL: of the first lane. */
static const char *position(CudaText *c, const TileIndex *x, int64_t size, const char *lane)
{
    Text t = {.arena = c->arena};

    if (x->computed)
        return arena_printf(c->arena, "npc_position(%s, %lld)",
                            cuda_at(c, cuda_value(c, x->computed - 1), lane ? lane : "0"),
                            (long long)size);

    if (x->n_terms == 0)
        return "0";
    for (int i = 0; i < x->n_terms; i++) {
        const char *axis = c->axis[x->axis[i]];
        if (lane && x->axis[i] == c->vector && c->lanes > 1)
            axis = arena_printf(c->arena, "(%s + %s)", axis, lane);
        if (x->table) {
            text_printf(&t, "%s[%s]", table_name(c, x), axis);
            continue;
        }
        text_add(&t, i ? " + " : "");
        if (x->coef[i] == 1)
            text_add(&t, axis);
        else
            text_printf(&t, "%s * %lld", axis, (long long)x->coef[i]);
    }
    return x->n_terms > 1 ? arena_printf(c->arena, "(%s)", text_str(&t)) : text_str(&t);
}

const char *cuda_address(CudaText *c, int tensor, const TileIndex *index, const char *lane,
                         const char **zero)
{
    const TileLayout *l = &c->p->tensors.at[tensor].layout;
    int64_t stride[MAX_RANK];
    const char *wide = tile_layout_elems(l) > INT32_MAX ? "(long long)" : "";
    Text t = {.arena = c->arena}, holes = {.arena = c->arena};

    strides_of(l, stride);
    text_printf(&t, "t%d", tensor);
    for (int i = 0; i < l->shape.rank; i++) {
        int d = l->order[i];
        const TileIndex *x = &index[d];
        if (x->n_terms == 0 && !x->computed)
            continue;
        const char *at = position(c, x, l->shape.size[d], lane);
        if (has_hole(x))
            text_printf(&holes, "%s%s < 0", holes.len ? " || " : "", at);
        if (d == l->lane && l->lanes > 1)
            text_printf(&t, " + %s(%s / %d) * %lld + %s %% %d", wide, at, l->lanes,
                        (long long)stride[d], at, l->lanes);
        else if (stride[d] == 1)
            text_printf(&t, " + %s", at);
        else
            text_printf(&t, " + %s%s * %lld", wide, at, (long long)stride[d]);
    }
    if (zero)
        *zero = holes.len ? text_str(&holes) : NULL;
    return text_str(&t);
}

/* Does a table map every vector to neighbours that begin at a multiple of its length? */
static bool maps_vectors(const TileIndex *x, int lanes)
{
    for (int64_t i = 0; i < x->table_len; i++)
        if (x->table[i] < 0 ||
            (i % lanes == 0 ? x->table[i] % lanes != 0 : x->table[i] != x->table[i - 1] + 1))
            return false;
    return x->table_len % lanes == 0;
}

bool cuda_is_contiguous(const CudaText *c, int tensor, const TileIndex *index)
{
    const TileLayout *l = &c->p->tensors.at[tensor].layout;
    int64_t stride[MAX_RANK];
    int n = 0;

    if (c->lanes == 1 || (l->lane >= 0 && l->lanes > 1))
        return false;
    strides_of(l, stride);
    for (int d = 0; d < l->shape.rank; d++) {
        const TileIndex *x = &index[d];
        bool follows = x->computed && cuda_depends(c->p, x->computed - 1, c->vector);
        for (int i = 0; i < x->n_terms; i++)
            follows |= x->axis[i] == c->vector;
        if (!follows && ((x->n_terms == 0 && !x->computed) || stride[d] % c->lanes == 0))
            continue; /* every vector starts at a multiple of its length */
        if (!follows || stride[d] != 1 || l->shape.size[d] % c->lanes || x->computed ||
            (x->table && !maps_vectors(x, c->lanes)))
            return false;
        for (int i = 0; i < x->n_terms && !x->table; i++)
            if (x->axis[i] == c->vector ? x->coef[i] != 1 : x->coef[i] % c->lanes != 0)
                return false;
        n++;
    }
    return n == 1;
}

/* ---- values ---- */

static bool is_fast(const CudaText *c)
{
    for (uint32_t i = 0; i < c->p->tensors.len; i++)
        if (storage_has_16_bits(c->p->tensors.at[i].layout.type))
            return true;
    return false;
}

static const char *number(const CudaText *c, double x)
{
    if (isinf(x))
        return x > 0 ? "NPC_BITS_FLOAT(0x7f800000u)" : "NPC_BITS_FLOAT(0xff800000u)";
    if (isnan(x))
        return "NPC_BITS_FLOAT(0x7fc00000u)";
    char text[DOUBLE_TEXT];
    double_text(text, (double)(float)x);
    const char *dot = strpbrk(text, ".e") ? "" : ".0";
    return arena_printf(c->arena, x < 0 ? "(%s%sf)" : "%s%sf", text, dot);
}

/* %a, %b, %c are the operands. */
static const char *prim_format(Prim prim, bool fast)
{
    switch (prim) {
    case PRIM_ADD:
        return "%a + %b";
    case PRIM_SUB:
        return "%a - %b";
    case PRIM_MUL:
        return "%a * %b";
    case PRIM_DIV:
        return fast ? "NPC_DIV_FAST(%a, %b)" : "%a / %b";
    case PRIM_NEG:
        return "-%a";
    case PRIM_MIN:
        return "(%a < %b ? %a : %b)";
    case PRIM_MAX:
        return "(%a > %b ? %a : %b)";
    case PRIM_ABS:
        return "fabsf(%a)";
    case PRIM_EXP:
        return fast ? "NPC_EXP_FAST(%a)" : "expf(%a)";
    case PRIM_LOG:
        return "logf(%a)";
    case PRIM_LOG1P:
        return "log1pf(%a)";
    case PRIM_SQRT:
        return "sqrtf(%a)";
    case PRIM_RSQRT:
        return fast ? "rsqrtf(%a)" : "(1.0f / sqrtf(%a))";
    case PRIM_SIGMOID:
        return fast ? "npc_sigmoid_fast(%a)" : "npc_sigmoid(%a)";
    case PRIM_TANH:
        return "tanhf(%a)";
    case PRIM_SIN:
        return "sinf(%a)";
    case PRIM_COS:
        return "cosf(%a)";
    case PRIM_ERF:
        return "erff(%a)";
    case PRIM_FLOOR:
        return "floorf(%a)";
    case PRIM_GT:
        return "(%a > %b ? 1.0f : 0.0f)";
    case PRIM_WHERE:
        return "(%a != 0.0f ? %b : %c)";
    case PRIM_COUNT:
        break;
    }
    return "";
}

static const char *expression(CudaText *c, const TileInst *in, const CudaValue *arg)
{
    Text t = {.arena = c->arena};

    for (const char *f = prim_format(in->prim, is_fast(c)); *f; f++) {
        if (*f == '%' && f[1] >= 'a' && f[1] <= 'c')
            text_add(&t, cuda_at(c, arg[*++f - 'a'], "l"));
        else
            text_char(&t, *f);
    }
    return text_str(&t);
}

const char *cuda_at(const CudaText *c, CudaValue v, const char *lane)
{
    return v.is_vector ? arena_printf(c->arena, "%s[%s]", v.name, lane) : v.name;
}

static CudaValue declare(CudaText *c, const char *name, bool is_vector, const char *each)
{
    if (!is_vector) {
        cuda_line(c, "const float %s = %s;", name, each);
        return (CudaValue){name, false};
    }
    cuda_line(c, "float %s[%d];", name, c->lanes);
    cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
    cuda_line(c, "    %s[l] = %s;", name, each);
    return (CudaValue){name, true};
}

static CudaValue write_load(CudaText *c, int inst)
{
    const TileInst *in = &c->p->insts.at[inst];
    const TileLayout *l = &c->p->tensors.at[in->tensor].layout;
    const char *type = storage_text(l->type), *zero, *at;
    const char *name = cuda_name(c, "v");
    bool is_vector = c->lanes > 1 && index_depends(c->p, in->index, l->shape.rank, c->vector);

    if (is_vector && cuda_is_contiguous(c, in->tensor, in->index)) {
        at = cuda_address(c, in->tensor, in->index, NULL, &zero);
        cuda_line(c, "float %s[%d];", name, c->lanes);
        if (zero) { /* a hole on another axis */
            cuda_line(c, "if (%s)", zero);
            cuda_line(c, "    NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
            cuda_line(c, "        %s[l] = 0.0f;", name);
            cuda_line(c, "else");
        }
        cuda_line(c, "%snpc_load%d_%s(%s, %s);", zero ? "    " : "", c->lanes, type, name, at);
        return (CudaValue){name, true};
    }
    at = cuda_address(c, in->tensor, in->index, is_vector ? "l" : NULL, &zero);
    const char *each = arena_printf(c->arena, "npc_load1_%s(%s)", type, at);
    if (zero)
        each = arena_printf(c->arena, "%s ? 0.0f : %s", zero, each);
    return declare(c, name, is_vector, each);
}

static CudaValue write_prim(CudaText *c, int inst)
{
    const TileInst *in = &c->p->insts.at[inst];
    CudaValue arg[3] = {{0}};
    bool is_vector = false;

    for (int k = 0; k < prim_arity(in->prim); k++) {
        arg[k] = cuda_value(c, in->arg[k]);
        is_vector |= arg[k].is_vector;
    }
    return declare(c, cuda_name(c, "v"), is_vector, expression(c, in, arg));
}

CudaValue cuda_value(CudaText *c, int inst)
{
    const TileInst *in = &c->p->insts.at[inst];

    if (in->kind == INST_ACC)
        return c->acc;
    if (!c->memo[inst].name)
        c->memo[inst] = in->kind == INST_CONST  ? (CudaValue){number(c, in->number), false}
                        : in->kind == INST_LOAD ? write_load(c, inst)
                                                : write_prim(c, inst);
    return c->memo[inst];
}

void cuda_store(CudaText *c, int tensor, const TileIndex *index, CudaValue v)
{
    const TileLayout *l = &c->p->tensors.at[tensor].layout;
    const char *type = storage_text(l->type);

    if (cuda_is_contiguous(c, tensor, index)) {
        if (!v.is_vector)
            v = declare(c, cuda_name(c, "v"), true, v.name);
        const char *to = cuda_address(c, tensor, index, NULL, NULL);
        if (c->lanes == 2)
            cuda_line(c, "npc_store2_%s(%s, %s[0], %s[1]);", type, to, v.name, v.name);
        else
            cuda_line(c, "npc_store%d_%s(%s, %s);", c->lanes, type, to, v.name);
        return;
    }
    bool many = c->lanes > 1 && index_depends(c->p, index, l->shape.rank, c->vector);
    if (many)
        cuda_line(c, "NPC_UNROLL for (int l = 0; l < %d; l++)", c->lanes);
    cuda_line(c, "%snpc_store1_%s(%s, %s);", many ? "    " : "", type,
              cuda_address(c, tensor, index, many ? "l" : NULL, NULL),
              cuda_at(c, v, many ? "l" : "0"));
}

const char *cuda_rounded(const CudaText *c, const char *expression)
{
    if (c->p->math == MATH_F32 || c->p->anchor != TILE_CONTRACT)
        return expression;
    return arena_printf(c->arena, "npc_round_%s(%s)", math_text(c->p->math), expression);
}

/* ---- stencils ---- */

const char *cuda_enter_inputs(CudaText *c)
{
    Text all = {.arena = c->arena};

    for (uint32_t i = 0; i < c->p->stencils.len; i++) {
        const TileStencil *s = &c->p->stencils.at[i];
        const char *name = cuda_axis_name(c, s->in), *out = c->axis[s->out], *tap = c->axis[s->tap];
        long long size = (long long)c->p->axes.at[s->in].size;
        if (s->transposed && s->stride > 1) {
            cuda_line(c, "const int %s_up = %s + %lld - %s * %lld;", name, out, (long long)s->pad,
                      tap, (long long)s->dilation);
            cuda_line(c, "const int %s = %s_up / %lld;", name, name, (long long)s->stride);
            text_printf(&all, "%s%s_up >= 0 && %s_up %% %lld == 0 && %s < %lld", i ? " && " : "",
                        name, name, (long long)s->stride, name, size);
        } else {
            if (s->transposed)
                cuda_line(c, "const int %s = %s + %lld - %s * %lld;", name, out, (long long)s->pad,
                          tap, (long long)s->dilation);
            else
                cuda_line(c, "const int %s = %s * %lld + %s * %lld - %lld;", name, out,
                          (long long)s->stride, tap, (long long)s->dilation, (long long)s->pad);
            text_printf(&all, "%s(unsigned)%s < %lldu", i ? " && " : "", name, size);
        }
        c->axis[s->in] = name;
    }
    return all.len ? text_str(&all) : "1";
}
