/* The report of bench_run as text and as JSON. */
#include <jansson.h>
#include <stdlib.h>

#include "runtime/bench_run.h"

enum { NAME_WIDTH = 34, MOST_BLOCKS = 512 };

static double share_of_roof(const Roofline *roof, double flops, double bytes, double seconds)
{
    return seconds > 0 ? 100 * roofline_seconds(roof, flops, bytes) / seconds : 0;
}

static double rate(double amount, double seconds)
{
    return seconds > 0 ? 1e-9 * amount / seconds : 0;
}

/* ---- blocks ---- */

/* All kernels of a part of the source, forward or backward. */
typedef struct Block {
    const char *part;
    bool backward;
    double seconds[BENCH_LEVELS], flops[BENCH_LEVELS], bytes[BENCH_LEVELS]; /* sums of medians */
    int kernels[BENCH_LEVELS];
} Block;

static Block *find_block(Block *block, int *n, const BenchLaunch *l)
{
    for (int i = 0; i < *n; i++)
        if (block[i].backward == l->backward && !strcmp(block[i].part, l->part))
            return &block[i];
    if (*n == MOST_BLOCKS)
        return &block[MOST_BLOCKS - 1];
    block[*n] = (Block){.part = l->part, .backward = l->backward};
    return &block[(*n)++];
}

static int collect_blocks(const BenchReport *r, Block *block)
{
    int n = 0;
    for (int v = 0; v < r->n_variants; v++)
        for (int i = 0; i < r->variant[v].n_launches; i++) {
            const BenchLaunch *l = &r->variant[v].launch[i];
            Block *b = find_block(block, &n, l);
            b->seconds[v] += l->time.median;
            b->flops[v] += l->flops;
            b->bytes[v] += l->bytes;
            b->kernels[v]++;
        }
    return n;
}

static const char *block_name(const Block *b, char *out, size_t size)
{
    const char *part = *b->part ? b->part : "shared by all";
    snprintf(out, size, "%s%s", part, b->backward ? " (backward)" : "");
    return out;
}

/* ---- text ---- */

static void print_head(const BenchReport *r, FILE *out)
{
    fprintf(out, "\n%s: model %s, program %s, batch %lld, %d recordings, %d threads, %s%s\n",
            r->path, r->model, program_kind_text(r->kind), (long long)r->batch, r->n_recordings,
            r->threads, r->variant[0].target, r->interpreted ? ", INTERPRETED" : "");
    fprintf(out, "%d runs of each level, %s\n", r->runs,
            r->together ? "taking turns" : "one level after the other");
}

static void print_totals(const BenchReport *r, const Roofline *roof, FILE *out)
{
    fprintf(out, "\n%-12s %10s %21s %8s %8s %9s %9s %9s %7s\n", "fuse", "median ms", "min - max ms",
            "kernels", "distinct", "GFLOP", "GB", "GFLOP/s", "roof %");
    for (int i = 0; i < r->n_variants; i++) {
        const BenchVariant *v = &r->variant[i];
        char range[48];
        snprintf(range, sizeof range, "%.2f - %.2f", 1e3 * v->total.min, 1e3 * v->total.max);
        fprintf(out, "%-12s %10.2f %21s %8d %8d %9.3f %9.3f %9.1f %7.1f\n",
                fuse_level_text(v->fuse), 1e3 * v->total.median, range, v->n_launches,
                v->n_distinct, 1e-9 * v->flops, 1e-9 * v->bytes, rate(v->flops, v->total.median),
                share_of_roof(roof, v->flops, v->bytes, v->total.median));
    }
    for (int i = 0; i < r->n_variants; i++)
        if (r->variant[i].n_library)
            fprintf(out, "%s: cuBLAS computes %d of its kernels\n",
                    fuse_level_text(r->variant[i].fuse), r->variant[i].n_library);
    if (r->variant[0].masks.median > 0)
        fprintf(out, "random masks: %.2f ms of it\n", 1e3 * r->variant[0].masks.median);
    for (int i = 1; i < r->n_variants; i++)
        fprintf(out, "%s is %.2f times as fast as %s and moves %.2f times fewer bytes\n",
                fuse_level_text(r->variant[0].fuse),
                r->variant[i].total.median / r->variant[0].total.median,
                fuse_level_text(r->variant[i].fuse), r->variant[i].bytes / r->variant[0].bytes);
}

static void print_preparation(const BenchReport *r, FILE *out)
{
    fprintf(out, "\n%-12s %12s %12s %14s %10s %14s\n", "fuse", "elaborate s", "passes s",
            "code, memory s", "code from", "memory MiB");
    for (int i = 0; i < r->n_variants; i++) {
        const BenchVariant *v = &r->variant[i];
        const EngineMemory *m = &v->memory;
        double bytes = (double)(m->persistent + m->arena + m->prepared + m->inputs + m->scratch);
        fprintf(out, "%-12s %12.3f %12.3f %14.3f %10s %14.1f\n", fuse_level_text(v->fuse),
                v->elaborate_seconds, v->plan_seconds, v->code_seconds,
                v->from_cache    ? "cache"
                : r->interpreted ? "-"
                                 : "compiler",
                bytes / (1 << 20));
    }
    fprintf(out, "peak memory of the process so far: %.1f MiB\n",
            (double)r->peak_bytes / (1 << 20));
}

static void print_blocks(const BenchReport *r, const Roofline *roof, FILE *out)
{
    Block *block = calloc(MOST_BLOCKS, sizeof *block);
    if (!block)
        return;
    int n = collect_blocks(r, block);
    fprintf(out, "\n%-*s", NAME_WIDTH, "block");
    for (int v = 0; v < r->n_variants; v++)
        fprintf(out, " | %11s ms  GFLOP/s   GB/s roof%%", fuse_level_text(r->variant[v].fuse));
    fputc('\n', out);
    for (int i = 0; i < n; i++) {
        const Block *b = &block[i];
        char name[160];
        fprintf(out, "%-*.*s", NAME_WIDTH, NAME_WIDTH, block_name(b, name, sizeof name));
        for (int v = 0; v < r->n_variants; v++)
            fprintf(out, " | %14.3f %8.1f %6.1f %5.1f", 1e3 * b->seconds[v],
                    rate(b->flops[v], b->seconds[v]), rate(b->bytes[v], b->seconds[v]),
                    share_of_roof(roof, b->flops[v], b->bytes[v], b->seconds[v]));
        fputc('\n', out);
    }
    free(block);
}

static int slower_first(const void *a, const void *b)
{
    double x = (*(const BenchLaunch *const *)a)->time.median;
    double y = (*(const BenchLaunch *const *)b)->time.median;
    return (x < y) - (x > y);
}

static void print_kernels(const BenchVariant *v, const Roofline *roof, int n, FILE *out)
{
    const BenchLaunch **order = calloc((size_t)v->n_launches + 1, sizeof *order);
    if (!order)
        return;
    for (int i = 0; i < v->n_launches; i++)
        order[i] = &v->launch[i];
    qsort(order, (size_t)v->n_launches, sizeof *order, slower_first);
    n = n < v->n_launches ? n : v->n_launches;
    fprintf(out, "\nslowest %d of %d kernels, fuse %s\n", n, v->n_launches,
            fuse_level_text(v->fuse));
    fprintf(out, "%10s %19s %9s %9s %9s %8s %6s  %s\n", "median ms", "min - max ms", "MFLOP", "MB",
            "GFLOP/s", "GB/s", "roof%", "kernel");
    for (int i = 0; i < n; i++) {
        const BenchLaunch *l = order[i];
        char range[48];
        snprintf(range, sizeof range, "%.3f - %.3f", 1e3 * l->time.min, 1e3 * l->time.max);
        fprintf(out, "%10.3f %19s %9.1f %9.1f %9.1f %8.1f %6.1f  %s%s\n", 1e3 * l->time.median,
                range, 1e-6 * l->flops, 1e-6 * l->bytes, rate(l->flops, l->time.median),
                rate(l->bytes, l->time.median),
                share_of_roof(roof, l->flops, l->bytes, l->time.median), l->name,
                l->by_library ? " (cuBLAS)" : "");
    }
    free(order);
}

void bench_report_print(const BenchReport *reports, int n, const Roofline *roof, int n_kernels,
                        FILE *out)
{
    if (*roof->device)
        fprintf(out, "%s: %.1f GFLOP/s of products in %s, %.1f GB/s copied\n", roof->device,
                1e-9 * roof->peak, precision_text(reports->precision), 1e-9 * roof->copy);
    else
        fprintf(out,
                "this machine, %d threads: %.1f GFLOP/s of multiply-adds, %.1f GB/s read, %.1f "
                "GB/s copied\n",
                roof->threads, 1e-9 * roof->peak, 1e-9 * roof->read, 1e-9 * roof->copy);
    for (int i = 0; i < n; i++) {
        const BenchReport *r = &reports[i];
        print_head(r, out);
        print_totals(r, roof, out);
        print_preparation(r, out);
        print_blocks(r, roof, out);
        for (int v = 0; v < r->n_variants && n_kernels; v++)
            print_kernels(&r->variant[v], roof, n_kernels, out);
    }
}

/* ---- JSON ---- */

static json_t *time_json(BenchTime t)
{
    return json_pack("{s:f, s:f, s:f}", "median", t.median, "min", t.min, "max", t.max);
}

static json_t *launch_json(const BenchLaunch *l, const Roofline *roof)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:f, s:f, s:f, s:o}", "kernel", l->name, "part", l->part,
                     "backward", l->backward, "library", l->by_library, "flops", l->flops, "bytes",
                     l->bytes, "roof_share",
                     share_of_roof(roof, l->flops, l->bytes, l->time.median) / 100, "seconds",
                     time_json(l->time));
}

static json_t *variant_json(const BenchReport *r, const BenchVariant *v, const Roofline *roof)
{
    json_t *launches = json_array(), *runs = json_array();
    for (int i = 0; i < v->n_launches; i++)
        json_array_append_new(launches, launch_json(&v->launch[i], roof));
    for (int i = 0; i < r->runs; i++)
        json_array_append_new(runs, json_real(v->seconds[i]));
    const EngineMemory *m = &v->memory;
    json_t *memory =
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "persistent", (json_int_t)m->persistent,
                  "activations", (json_int_t)m->arena, "prepared", (json_int_t)m->prepared,
                  "inputs", (json_int_t)m->inputs, "scratch", (json_int_t)m->scratch);
    json_t *compile =
        json_pack("{s:f, s:f, s:f, s:b}", "elaborate", v->elaborate_seconds, "passes",
                  v->plan_seconds, "code_and_memory", v->code_seconds, "from_cache", v->from_cache);
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "fuse", fuse_level_text(v->fuse), "target", v->target, "ops", v->n_ops,
                     "kernels", v->n_launches, "distinct_kernels", v->n_distinct, "library_kernels",
                     v->n_library, "flops", v->flops, "bytes", v->bytes, "roof_share",
                     share_of_roof(roof, v->flops, v->bytes, v->total.median) / 100, "seconds",
                     time_json(v->total), "mask_seconds", time_json(v->masks), "runs", runs,
                     "compile_seconds", compile, "memory_bytes", memory, "launches", launches);
}

static json_t *report_json(const BenchReport *r, const Roofline *roof)
{
    json_t *variants = json_array();
    for (int i = 0; i < r->n_variants; i++)
        json_array_append_new(variants, variant_json(r, &r->variant[i], roof));
    return json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:b, s:b, s:I, s:I, s:o}", "file",
                     r->path, "model", r->model, "program", program_kind_text(r->kind), "batch",
                     (json_int_t)r->batch, "recordings", r->n_recordings, "threads", r->threads,
                     "timed_runs", r->runs, "interpreted", r->interpreted, "turns", r->together,
                     "multiply_adds_per_clip", (json_int_t)r->multiply_adds, "peak_bytes",
                     (json_int_t)r->peak_bytes, "levels", variants);
}

void bench_report_json(const BenchReport *reports, int n, const Roofline *roof, FILE *out)
{
    json_t *programs = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(programs, report_json(&reports[i], roof));
    json_t *machine = json_pack(
        "{s:i, s:s, s:s, s:f, s:f, s:f}", "threads", roof->threads, "device", roof->device,
        "precision", n ? precision_text(reports->precision) : "f32", "peak_flops_per_second",
        roof->peak, "read_bytes_per_second", roof->read, "copy_bytes_per_second", roof->copy);
    json_t *all = json_pack("{s:o, s:o}", "machine", machine, "programs", programs);
    json_dumpf(all, out, JSON_INDENT(1));
    fputc('\n', out);
    json_decref(all);
}
