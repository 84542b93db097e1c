#include "runtime/compile_report.h"

#include <jansson.h>

void grouped_text(char out[GROUPED_TEXT], int64_t n)
{
    char digits[GROUPED_TEXT];
    snprintf(digits, sizeof digits, "%lld", (long long)n);
    size_t len = strlen(digits), at = 0;
    for (size_t i = 0; i < len && at + 2 < GROUPED_TEXT; i++) {
        if (i && (len - i) % 3 == 0 && digits[i - 1] != '-')
            out[at++] = ' ';
        out[at++] = digits[i];
    }
    out[at] = 0;
}

/* A row of the memory table: what, and where it stands in CostMemory. */
typedef struct MemoryRow {
    const char *label, *key;
    size_t offset;
} MemoryRow;

static const MemoryRow MEMORY[] = {
    {"parameters", "parameters", offsetof(CostMemory, parameters)},
    {"running statistics", "states", offsetof(CostMemory, states)},
    {"optimizer state", "optimizer", offsetof(CostMemory, optimizer)},
    {"weight average", "average", offsetof(CostMemory, average)},
    {"activations", "activations", offsetof(CostMemory, activations)},
    {"  of which workspace", "workspace", offsetof(CostMemory, workspace)},
    {"prepared weights", "prepared", offsetof(CostMemory, prepared)},
    {"inputs", "inputs", offsetof(CostMemory, inputs)},
    {"total", "total", offsetof(CostMemory, total)},
};

enum { N_MEMORY = sizeof MEMORY / sizeof *MEMORY };

static int64_t memory_at(const CostMemory *m, int row)
{
    int64_t x;
    memcpy(&x, (const char *)m + MEMORY[row].offset, sizeof x);
    return x;
}

static CostMemory memory_of(const CompileReport *r, int i)
{
    return cost_memory(r->model, r->plan[i], r->plan[i]->kind != PROGRAM_EVAL);
}

static void print_sizes(const CompileReport *r, FILE *out)
{
    const Model *m = r->model;
    char text[GROUPED_TEXT];
    int64_t elems;
    int n = model_n_parameters(m, &elems);
    grouped_text(text, elems);
    fprintf(out, "parameters     %s in %d tensors\n", text, n);
    grouped_text(text, cost_multiply_adds(m, -1));
    fprintf(out, "multiply-adds  %s per clip\n", text);
    fprintf(out, "\n%-30s %18s %18s\n", "part, without parts inside", "multiply-adds",
            "parameters");
    for (uint32_t i = 0; i < m->module->parts.len; i++) {
        int64_t macs = cost_multiply_adds(m, (int)i), own = cost_parameters(m, (int)i);
        char parameters[GROUPED_TEXT];
        grouped_text(text, macs);
        grouped_text(parameters, own);
        if (macs || own)
            fprintf(out, "%-30s %18s %18s\n", m->module->parts.at[i], text, parameters);
    }
}

static void print_programs(const CompileReport *r, FILE *out)
{
    fprintf(out, "\n%-22s %8s %8s %9s %11s %9s\n", "program", "ops", "kernels", "distinct", "GFLOP",
            "GB moved");
    for (int i = 0; i < r->n_plans; i++) {
        const Plan *p = r->plan[i];
        fprintf(out, "%-22s %8d %8d %9d %11.3f %9.3f\n", program_kind_text(p->kind), p->n_ops,
                (int)p->launches.len - p->n_prepare, cost_distinct_kernels(p), p->flops * 1e-9,
                p->bytes * 1e-9);
        double flops;
        int n = cost_library(p, &flops);
        if (n)
            fprintf(out, "%-22s %8s %8d %9s %11.3f\n", "  of which cuBLAS", "", n, "",
                    flops * 1e-9);
    }
    fprintf(out, "\n%-22s", "memory (MiB)");
    for (int i = 0; i < r->n_plans; i++)
        fprintf(out, " %10s", program_kind_text(r->plan[i]->kind));
    fputc('\n', out);
    for (int row = 0; row < N_MEMORY; row++) {
        fprintf(out, "%-22s", MEMORY[row].label);
        for (int i = 0; i < r->n_plans; i++) {
            CostMemory c = memory_of(r, i);
            fprintf(out, " %10.1f", (double)memory_at(&c, row) / (1 << 20));
        }
        fputc('\n', out);
    }
}

void compile_report_print(const CompileReport *r, FILE *out)
{
    const Model *m = r->model;
    fprintf(out, "%s: model %s", m->options.path, m->module->model);
    if (m->info.recipe.name)
        fprintf(out, ", recipe %s", m->info.recipe.name);
    fprintf(out, ", %u recordings, batch %lld, fuse %s, for %s\n\n", m->module->sessions.len,
            (long long)m->batch, fuse_level_text(m->options.fuse), m->target);
    print_sizes(r, out);
    print_programs(r, out);
    if (r->n_times)
        fputs("\ntime (s)\n", out);
    for (int i = 0; i < r->n_times; i++)
        fprintf(out, "%-22s %10.3f\n", r->time[i].stage, r->time[i].seconds);
    if (r->package)
        fprintf(out, "\nwrote %s\n", r->package);
}

static json_t *program_json(const CompileReport *r, int i)
{
    const Plan *p = r->plan[i];
    CostMemory c = memory_of(r, i);
    json_t *memory = json_object();
    for (int row = 0; row < N_MEMORY; row++)
        json_object_set_new(memory, MEMORY[row].key, json_integer(memory_at(&c, row)));
    double flops;
    int n_library = cost_library(p, &flops);
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:o}", "ops", p->n_ops, "kernels",
                     (int)p->launches.len - p->n_prepare, "prepare_kernels", p->n_prepare,
                     "distinct_kernels", cost_distinct_kernels(p), "library_kernels", n_library,
                     "flops", p->flops, "library_flops", flops, "bytes", p->bytes, "memory_bytes",
                     memory);
}

void compile_report_json(const CompileReport *r, FILE *out)
{
    const Model *m = r->model;
    int64_t elems;
    int n = model_n_parameters(m, &elems);
    json_t *parts = json_object(), *own = json_object(), *programs = json_object(),
           *times = json_object();
    for (uint32_t i = 0; i < m->module->parts.len; i++) {
        const char *part = m->module->parts.at[i];
        json_object_set_new(parts, part, json_integer(cost_multiply_adds(m, (int)i)));
        json_object_set_new(own, part, json_integer(cost_parameters(m, (int)i)));
    }
    for (int i = 0; i < r->n_plans; i++)
        json_object_set_new(programs, program_kind_text(r->plan[i]->kind), program_json(r, i));
    for (int i = 0; i < r->n_times; i++)
        json_object_set_new(times, r->time[i].stage, json_real(r->time[i].seconds));
    json_t *all = json_pack(
        "{s:s, s:s, s:s?, s:i, s:I, s:s, s:s, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:s?}", "file",
        m->options.path, "model", m->module->model, "recipe", m->info.recipe.name, "recordings",
        (int)m->module->sessions.len, "batch", (json_int_t)m->batch, "fuse",
        fuse_level_text(m->options.fuse), "target", m->target, "parameter_tensors", n, "parameters",
        (json_int_t)elems, "multiply_adds_per_clip", (json_int_t)cost_multiply_adds(m, -1),
        "multiply_adds_of_parts", parts, "parameters_of_parts", own, "programs", programs,
        "seconds", times, "package", r->package);
    json_dumpf(all, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(all);
}
