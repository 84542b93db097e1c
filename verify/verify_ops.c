/* Files of single operations: tensors "operation/case/role", constants in the metadata
 * `attributes`. */
#include <stdlib.h>

#include "verify/verify_ops_text.h"

const char *ops_tensor(OpsCase *o, const char *role)
{
    return verify_name(o->c, "%s/%s", o->name, role);
}

bool ops_has(OpsCase *o, const char *role)
{
    return safetensors_find(&o->c->file, ops_tensor(o, role)) != NULL;
}

Status ops_number(OpsCase *o, const char *key, double *out, Err *err)
{
    const json_t *j = json_object_get(o->attributes, key);
    *out = json_number_value(j);
    return json_is_number(j)
               ? NPC_OK
               : err_set(err, NPC_ERR_INPUT, "%s: the attributes of %s lack the number '%s'",
                         o->c->path, o->name, key);
}

Status ops_integer(OpsCase *o, const char *key, int64_t low, int64_t high, int64_t *out, Err *err)
{
    double x;
    NPC_TRY(ops_number(o, key, &x, err));
    if (!(x >= (double)low && x <= (double)high) || x != (double)(int64_t)x)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: attribute '%s' of %s is not a whole number from "
                       "%lld to %lld",
                       o->c->path, key, o->name, (long long)low, (long long)high);
    *out = (int64_t)x;
    return NPC_OK;
}

Status ops_push(OpsCase *o, const char *role, const double *got, int64_t n, VerifyQuantity what,
                bool absolute, Err *err)
{
    VerifyReport *r = o->c->report;
    VerifyRow fresh = verify_row(o->c, o->name, what), *row = &fresh;
    fresh.absolute = absolute;
    if (what == VERIFY_OUTPUTS && !o->c->options->reference && fresh.tolerance < o->rounding) {
        fresh.tolerance = o->rounding;
        fresh.note = "what float32 rounds";
    }
    VerifyRow *last = r->rows.len ? &r->rows.at[r->rows.len - 1] : NULL;
    if (last && last->quantity == o->name && last->tolerance == fresh.tolerance &&
        last->absolute == absolute)
        row = last; /* tensors of one case and one tolerance share a row */
    NPC_TRY(verify_against(o->c, row, ops_tensor(o, role), got, n, err));
    if (row == &fresh)
        verify_push(o->c, fresh);
    return NPC_OK;
}

Status ops_push_floats(OpsCase *o, const char *role, const float *got, int64_t n,
                       VerifyQuantity what, Err *err)
{
    return ops_push(o, role, verify_widened(o->c, got, n), n, what, false, err);
}

Status ops_push_exact(OpsCase *o, const char *role, const double *got, int64_t n, Err *err)
{
    return ops_push(o, role, got, n, VERIFY_EXACT, true, err);
}

Status ops_misfit(OpsCase *o, const char *what, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: %s: %s", o->c->path, o->name, what);
}

static Status sizes_of(OpsCase *o, const char *role, int rank, int64_t *size, Err *err)
{
    const SafetensorsEntry *e = verify_find(o->c, ops_tensor(o, role));
    if (!e)
        return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s'", o->c->path,
                       ops_tensor(o, role));
    if (e->rank != (uint32_t)rank)
        return err_set(err, NPC_ERR_INPUT, "%s: tensor '%s' is %s; expected rank %d", o->c->path,
                       e->name, safetensors_entry_text(o->c->arena, e), rank);
    for (int i = 0; i < rank; i++)
        size[i] = verify_size(e, i);
    return NPC_OK;
}

Status ops_read(OpsCase *o, const char *role, int rank, double **out, int64_t *size, Err *err)
{
    NPC_TRY(sizes_of(o, role, rank, size, err));
    return verify_read(o->c, ops_tensor(o, role), rank, size, out, err);
}

Status ops_read_floats(OpsCase *o, const char *role, int rank, float **out, int64_t *size, Err *err)
{
    NPC_TRY(sizes_of(o, role, rank, size, err));
    return verify_read_floats(o->c, ops_tensor(o, role), rank, size, out, err);
}

/* ---- the file ---- */

static const OpsRow *find_row(const OpsRow *rows, const char *operation, size_t n)
{
    for (; rows->operation; rows++)
        if (strlen(rows->operation) == n && !strncmp(rows->operation, operation, n))
            return rows;
    return NULL;
}

typedef struct OpsFamily {
    OpsRoles roles;
    const OpsText *texts; /* looked at first; NULL: none */
    const OpsRow *rows[4];
} OpsFamily;

static const OpsFamily FAMILIES[VERIFY_FAMILIES] = {
    [VERIFY_DWISENEURO] = {{"", "", "out", "grad_out"},
                           NULL,
                           {VERIFY_OPS_GRAPH, VERIFY_OPS_STATE, VERIFY_OPS_HOST}},
    [VERIFY_TRANSFORMERS] = {{"input/", "expect/", "result", "cotangent"},
                             VERIFY_TEXTS_TRANSFORMER,
                             {VERIFY_OPS_TRANSFORMER}},
    [VERIFY_WINDOWS] = {{"", "", "out", "grad_out"}, VERIFY_TEXTS_WINDOWS, {VERIFY_OPS_WINDOWS}},
};

static Status check_operation(OpsCase *o, Err *err)
{
    const OpsFamily *family = &FAMILIES[o->c->family];
    size_t n = strcspn(o->name, "/");
    const OpsText *text = family->texts ? ops_text_find(o, family->texts) : NULL;
    const OpsRow *row = NULL;
    for (const OpsRow *const *t = family->rows; *t && !row; t++)
        row = find_row(*t, o->name, n);
    if (text)
        return ops_check_text(o, text, err);
    if (row)
        return row->build ? ops_check_graph(o, row->build, err) : row->check(o, err);
    return err_set(err, NPC_ERR_INPUT, "%s: operation '%.*s' of the case '%s' is unknown",
                   o->c->path, (int)n, o->name, o->name);
}

static Status check_case(VerifyCase *c, const char *name, json_t *attributes, Err *err)
{
    OpsCase *o = ARENA_NEW(c->arena, OpsCase);
    *o = (OpsCase){.c = c,
                   .roles = &FAMILIES[c->family].roles,
                   .name = name,
                   .attributes = json_object_get(attributes, name),
                   .err = err};
    Status s = check_operation(o, err);
    ops_close(o);
    return s;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Roles of the transformers' files are input/.. and expect/.. */
static VerifyFamily family_of(const VerifyCase *c)
{
    const char *model = safetensors_meta(&c->file, "model");
    if (model && !strcmp(model, "dynamic-v1fm"))
        return VERIFY_WINDOWS;
    for (size_t i = 0; i < c->file.n; i++)
        if (strstr(c->file.entry[i].name, "/input/"))
            return VERIFY_TRANSFORMERS;
    return VERIFY_DWISENEURO;
}

/* "operation/case" of a tensor's name, NULL when it has another form. */
static const char *case_of(VerifyCase *c, const char *tensor)
{
    const char *first = strchr(tensor, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    const char *third = second ? strchr(second + 1, '/') : NULL;
    bool has_third = c->family == VERIFY_TRANSFORMERS;
    if (!second || first == tensor || !third == has_third || (third && strchr(third + 1, '/')))
        return NULL;
    return arena_strndup(c->arena, tensor, (size_t)(second - tensor));
}

Status verify_ops_case(VerifyCase *c, Err *err)
{
    json_t *attributes;
    VEC(const char *) names = {0};
    c->family = family_of(c);
    NPC_TRY(verify_meta(c, "attributes", &attributes, err));
    if (!json_is_object(attributes))
        return err_set(err, NPC_ERR_INPUT, "%s: metadata 'attributes' is not a JSON object",
                       c->path);
    for (size_t i = 0; i < c->file.n; i++) {
        const char *name = case_of(c, c->file.entry[i].name);
        if (!name)
            return err_set(err, NPC_ERR_INPUT, "%s: tensor '%s' is not called operation/case/%s",
                           c->path, c->file.entry[i].name,
                           c->family == VERIFY_TRANSFORMERS ? "input/role or ../expect/role"
                                                            : "role");
        vec_push(c->arena, &names, name);
    }
    if (names.len)
        qsort(names.at, names.len, sizeof *names.at, by_text);
    for (uint32_t i = 0; i < names.len; i++)
        if (!i || strcmp(names.at[i], names.at[i - 1]))
            NPC_TRY(check_case(c, names.at[i], attributes, err));
    return NPC_OK;
}
