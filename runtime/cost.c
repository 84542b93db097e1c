#include "runtime/cost.h"

int64_t cost_multiply_adds(const Model *m, int part)
{
    const Func *f = module_func(m->module, "eval");
    double flops = 0;
    for (uint32_t i = 1; f && i < f->nodes.len; i++) {
        const Node *n = &f->nodes.at[i];
        Lowering l = op_lowering(n->op);
        bool counts = l == LOWER_CONTRACT || l == LOWER_STENCIL || l == LOWER_ATTEND;
        if (counts && (part < 0 || n->part == part))
            flops += op_flops(f, (Val){i});
    }
    return (int64_t)(flops / 2 / (double)m->batch);
}

static bool is_inside(const char *name, const char *part)
{
    size_t n = strlen(part);
    return !strncmp(name, part, n) && (!name[n] || name[n] == '.');
}

/* The part with the longest name that a parameter's name begins with. */
static int part_of(const Module *m, const char *name)
{
    int found = -1;
    size_t longest = 0;
    for (uint32_t i = 0; i < m->parts.len; i++) {
        size_t n = strlen(m->parts.at[i]);
        if (n > longest && is_inside(name, m->parts.at[i])) {
            found = (int)i;
            longest = n;
        }
    }
    return found;
}

int64_t cost_parameters(const Model *m, int part)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < m->module->params.len; i++) {
        const Param *p = &m->module->params.at[i];
        if (!p->is_state && !strchr(p->name, '/') && part_of(m->module, p->name) == part)
            n += shape_elems(&p->shape);
    }
    return n;
}

static bool begins(const char *name, const char *with)
{
    return !strncmp(name, with, strlen(with));
}

CostMemory cost_memory(const Model *m, const Plan *plan, bool training)
{
    CostMemory c = {.activations = (int64_t)plan->arena_bytes,
                    .prepared = (int64_t)plan->prepared_bytes,
                    .inputs = (int64_t)plan->input_bytes};
    for (uint32_t i = 0; i < m->module->params.len; i++) {
        const Param *p = &m->module->params.at[i];
        int64_t bytes = shape_elems(&p->shape) * (int64_t)sizeof(float);
        if (begins(p->name, "ema/"))
            c.average += training ? bytes : 0;
        else if (strchr(p->name, '/'))
            c.optimizer += training ? bytes : 0;
        else if (p->is_state)
            c.states += bytes;
        else
            c.parameters += bytes;
    }
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        int64_t bytes = (int64_t)plan->launches.at[i].workspace_bytes;
        c.workspace = bytes > c.workspace ? bytes : c.workspace;
    }
    c.total =
        c.parameters + c.states + c.optimizer + c.average + c.activations + c.prepared + c.inputs;
    return c;
}

static int count_distinct(Arena *scratch, const Plan *plan)
{
    Map seen = {0};
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        Text key = {.arena = scratch};
        tile_print(&key, plan->launches.at[i].tile, true);
        map_put(scratch, &seen, text_str(&key), &key);
    }
    return (int)seen.n;
}

int cost_library(const Plan *plan, double *flops)
{
    int n = 0;
    *flops = 0;
    for (uint32_t i = (uint32_t)plan->n_prepare; i < plan->launches.len; i++) {
        const TileProgram *p = plan->launches.at[i].tile;
        n += p->by_library;
        *flops += p->by_library ? p->flops : 0;
    }
    return n;
}

int cost_distinct_kernels(const Plan *plan)
{
    Arena scratch = {0};
    int n = count_distinct(&scratch, plan);
    arena_free(&scratch);
    return n;
}
