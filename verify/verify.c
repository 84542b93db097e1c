#include "verify/verify.h"

#include <math.h>
#include <stdarg.h>

#include "verify/verify_parts.h"

/* ---- tensors of the file ---- */

const char *verify_name(VerifyCase *c, const char *fmt, ...)
{
    Text t = {.arena = c->arena};
    va_list args;
    va_start(args, fmt);
    text_vprintf(&t, fmt, args);
    va_end(args);
    return text_str(&t);
}

const SafetensorsEntry *verify_find(VerifyCase *c, const char *name)
{
    const SafetensorsEntry *e = safetensors_find(&c->file, name);
    if (e)
        map_put(c->arena, &c->used, name, (void *)1);
    return e;
}

int64_t verify_size(const SafetensorsEntry *e, int axis)
{
    return (int64_t)e->shape[axis];
}

static const char *sizes_text(VerifyCase *c, int rank, const int64_t *size)
{
    Text t = {.arena = c->arena};
    text_char(&t, '[');
    for (int i = 0; i < rank; i++) {
        text_add(&t, i ? ", " : "");
        if (size[i] < 0)
            text_add(&t, "any");
        else
            text_printf(&t, "%lld", (long long)size[i]);
    }
    text_char(&t, ']');
    return text_str(&t);
}

static Status checked(VerifyCase *c, const char *name, int rank, const int64_t *size,
                      const SafetensorsEntry **out, Err *err)
{
    const SafetensorsEntry *e = verify_find(c, name);
    *out = e;
    if (!e)
        return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s'", c->path, name);
    bool fits = e->elems > 0 && e->rank == (uint32_t)rank;
    for (int i = 0; fits && i < rank; i++)
        fits = size[i] < 0 || e->shape[i] == (uint64_t)size[i];
    return fits ? NPC_OK
                : err_set(err, NPC_ERR_INPUT, "%s: tensor '%s' is %s; expected the sizes %s",
                          c->path, name, safetensors_entry_text(c->arena, e),
                          sizes_text(c, rank, size));
}

Status verify_read(VerifyCase *c, const char *name, int rank, const int64_t *size, double **out,
                   Err *err)
{
    const SafetensorsEntry *e;
    NPC_TRY(checked(c, name, rank, size, &e, err));
    *out = ARENA_ARRAY(c->arena, double, e->elems);
    safetensors_as_double(e, *out);
    return NPC_OK;
}

Status verify_read_floats(VerifyCase *c, const char *name, int rank, const int64_t *size,
                          float **out, Err *err)
{
    const SafetensorsEntry *e;
    NPC_TRY(checked(c, name, rank, size, &e, err));
    *out = ARENA_ARRAY(c->arena, float, e->elems);
    safetensors_as_float(e, *out);
    return NPC_OK;
}

Status verify_meta(VerifyCase *c, const char *key, json_t **out, Err *err)
{
    const char *text = safetensors_meta(&c->file, key);
    json_error_t bad;
    if (!text)
        return err_set(err, NPC_ERR_INPUT, "%s: the metadata lack '%s'", c->path, key);
    *out = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &bad);
    if (!*out)
        return err_set(err, NPC_ERR_INPUT, "%s: metadata '%s' is not JSON: %s", c->path, key,
                       bad.text);
    if (json_array_append_new(c->json, *out))
        return err_set(err, NPC_ERR_MEMORY, "not enough memory to read %s", c->path);
    return NPC_OK;
}

double *verify_widened(VerifyCase *c, const float *x, int64_t n)
{
    double *out = ARENA_ARRAY(c->arena, double, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

/* ---- rows ---- */

VerifyRow verify_row(const VerifyCase *c, const char *quantity, VerifyQuantity what)
{
    VerifyRow row = {.quantity = quantity, .passed = true};
    row.tolerance = verify_tolerance(c->options, c->family, what, &row.by_norm);
    return row;
}

static void add_tensor(VerifyRow *row, const char *tensor, double worst)
{
    if (!row->tensors || worst > row->worst || (isnan(worst) && !isnan(row->worst))) {
        row->worst = worst;
        row->worst_tensor = tensor;
    }
    row->tensors++;
    row->passed &= worst <= row->tolerance; /* false for NAN */
}

void verify_compare_scaled(VerifyRow *row, const char *tensor, const double *got,
                           const double *want, int64_t n, double scale)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double off = fabs(got[i] - want[i]);
        worst = off > worst || isnan(off) ? off : worst;
        if (isnan(off))
            break;
    }
    add_tensor(row, tensor, worst / scale);
}

static void compare_by_norm(VerifyRow *row, const char *tensor, const double *got,
                            const double *want, int64_t n)
{
    double off = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        off += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    add_tensor(row, tensor, sqrt(off / (norm > 0 ? norm : 1)));
}

void verify_compare(VerifyRow *row, const char *tensor, const double *got, const double *want,
                    int64_t n)
{
    double scale = 0;
    if (row->by_norm && !row->absolute) {
        compare_by_norm(row, tensor, got, want, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(want[i]));
    if (row->absolute || scale == 0)
        scale = 1;
    verify_compare_scaled(row, tensor, got, want, n, scale);
}

void verify_push(VerifyCase *c, VerifyRow row)
{
    if (row.tensors)
        vec_push(c->arena, &c->report->rows, row);
}

Status verify_against(VerifyCase *c, VerifyRow *row, const char *tensor, const double *got,
                      int64_t n, Err *err)
{
    const SafetensorsEntry *e = verify_find(c, tensor);
    if (!e)
        return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s'", c->path, tensor);
    if (e->elems != (uint64_t)n)
        return err_set(err, NPC_ERR_INPUT, "%s: tensor '%s' is %s; %lld values were computed",
                       c->path, tensor, safetensors_entry_text(c->arena, e), (long long)n);
    double *want = ARENA_ARRAY(c->arena, double, (size_t)n + 1);
    safetensors_as_double(e, want);
    verify_compare(row, tensor, got, want, n);
    return NPC_OK;
}

/* ---- a case ---- */

/* Nothing in a file is skipped silently. */
static Status refuse_unused(VerifyCase *c, Err *err)
{
    for (size_t i = 0; i < c->file.n; i++)
        if (!map_get(&c->used, c->file.entry[i].name))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: tensor '%s' belongs to nothing that is verified", c->path,
                           c->file.entry[i].name);
    return NPC_OK;
}

static const char *describe(VerifyCase *c)
{
    const VerifyOptions *o = c->options;
    DeviceOptions d = {0};
    Err ignored = {0};
    bool known = target_find(o->cpu, &d.target, &ignored);
    const char *name = known ? d.target.name : o->cpu;
    if (o->reference)
        return "reference evaluator, float64";
    if (device_find(verify_device(o), &d, NULL, &ignored) == NPC_OK && device_is_cuda(&d))
        return verify_name(c, "%s, %s, fuse %s", device_target_name(&d, c->arena),
                           o->precision ? o->precision : "f32", fuse_level_text(o->fuse));
    if (o->interpret || !kernel_have_llvm())
        return verify_name(c, "interpreter, fuse %s", fuse_level_text(o->fuse));
    return verify_name(c, "%s, fuse %s", name, fuse_level_text(o->fuse));
}

static Status verify_file(VerifyCase *c, Err *err)
{
    NPC_TRY(safetensors_open(&c->file, c->path, err));
    c->report->how = describe(c);
    if (safetensors_meta(&c->file, "config") && safetensors_meta(&c->file, "sessions"))
        NPC_TRY(verify_baselines_case(c, err));
    else if (safetensors_meta(&c->file, "config") &&
             (safetensors_meta(&c->file, "trials") || safetensors_meta(&c->file, "step_mice")))
        NPC_TRY(verify_mice_case(c, err));
    else if (safetensors_meta(&c->file, "config"))
        NPC_TRY(verify_model_case(c, err));
    else if (safetensors_meta(&c->file, "attributes"))
        NPC_TRY(verify_ops_case(c, err));
    else
        return err_set(err, NPC_ERR_INPUT,
                       "%s: this is no case to verify; its metadata need 'config' (a model) or "
                       "'attributes' (operations)",
                       c->path);
    return refuse_unused(c, err);
}

static Status with_memory(VerifyCase *c, Err *err)
{
    jmp_buf exhausted;
    c->arena->exhausted = &exhausted;
    if (setjmp(exhausted))
        return err_set(err, NPC_ERR_MEMORY, "not enough memory to verify %s", c->path);
    c->report->path = c->path = arena_strdup(c->arena, c->path);
    return verify_file(c, err);
}

static Status verdict(const VerifyReport *r, Err *err)
{
    const VerifyRow *worst = NULL;
    for (uint32_t i = 0; i < r->rows.len; i++) {
        const VerifyRow *row = &r->rows.at[i];
        bool is_worse = !worst || isnan(row->worst) ||
                        row->worst * worst->tolerance > worst->worst * row->tolerance;
        if (!row->passed && is_worse)
            worst = row;
    }
    if (!worst)
        return NPC_OK;
    return err_set(err, NPC_ERR_FAILED, "%s: %s differ: '%s' is off by %.2g; %.2g is allowed",
                   r->path, worst->quantity, worst->worst_tensor, worst->worst, worst->tolerance);
}

Status verify_case(const VerifyOptions *options, const char *model_path, const char *case_path,
                   VerifyReport *report, Err *err)
{
    VerifyCase c = {.options = options,
                    .model_path = model_path,
                    .path = case_path,
                    .report = report,
                    .arena = &report->arena,
                    .json = json_array()};
    Status s = c.json ? with_memory(&c, err) : err_set(err, NPC_ERR_MEMORY, "not enough memory");
    report->arena.exhausted = NULL;
    if (c.subject)
        subject_close(c.subject);
    json_decref(c.json);
    safetensors_close(&c.file);
    if (s == NPC_OK)
        s = verdict(report, err);
    report->passed = s == NPC_OK;
    return s;
}

void verify_report_free(VerifyReport *report)
{
    arena_free(&report->arena);
    *report = (VerifyReport){0};
}

/* ---- reports ---- */

void verify_report_print(const VerifyReport *r, FILE *out)
{
    fprintf(out, "%s (%s)\n", r->path, r->how ? r->how : "not run");
    if (!r->rows.len)
        return;
    fprintf(out, "  %-36s %7s %10s %10s  %-6s %s\n", "quantity", "tensors", "worst", "allowed", "",
            "worst tensor");
    for (uint32_t i = 0; i < r->rows.len; i++) {
        const VerifyRow *row = &r->rows.at[i];
        fprintf(out, "  %-36s %7d %10.2e %10.0e  %-6s %s%s%s%s\n", row->quantity, row->tensors,
                row->worst, row->tolerance, row->passed ? "ok" : "DIFFER", row->worst_tensor,
                row->note ? " (" : "", row->note ? row->note : "", row->note ? ")" : "");
    }
}

static json_t *row_json(const VerifyRow *row)
{
    json_t *j = json_pack("{s:s, s:i, s:f, s:b, s:s, s:b}", "quantity", row->quantity, "tensors",
                          row->tensors, "tolerance", row->tolerance, "absolute", row->absolute,
                          "worst_tensor", row->worst_tensor, "passed", row->passed);
    json_object_set_new(j, "worst", isfinite(row->worst) ? json_real(row->worst) : json_null());
    if (row->note)
        json_object_set_new(j, "note", json_string(row->note));
    return j;
}

void verify_report_json(const VerifyReport *reports, int n, FILE *out)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++) {
        json_t *rows = json_array();
        for (uint32_t k = 0; k < reports[i].rows.len; k++)
            json_array_append_new(rows, row_json(&reports[i].rows.at[k]));
        json_array_append_new(all, json_pack("{s:s, s:s, s:b, s:o}", "case", reports[i].path, "how",
                                             reports[i].how ? reports[i].how : "", "passed",
                                             reports[i].passed, "rows", rows));
    }
    json_dumpf(all, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(all);
}
