/* The program of a single operation: its inputs as the file's tensors are, the parts of its row
 * with the case's attributes filled in, and what a model must have besides. */
#include <stdlib.h>

#include "ir/elaborate.h"
#include "verify/verify_ops_text.h"

const char *ops_input_role(OpsCase *o, const char *role)
{
    return verify_name(o->c, "%s%s", o->roles->input, role);
}

const char *ops_called(const OpsLeaf *leaf)
{
    return leaf->called ? leaf->called : leaf->role;
}

const char *ops_part_name(const OpsPart *part)
{
    return part->role ? part->role : "result";
}

const OpsLeaf *ops_end_of_leaves(const OpsText *row)
{
    const OpsLeaf *leaf = row->leaf;
    while (leaf < row->leaf + OPS_MAX_LEAVES && leaf->role)
        leaf++;
    return leaf;
}

const OpsPart *ops_end_of_parts(const OpsText *row)
{
    const OpsPart *part = row->part;
    while (part < row->part + OPS_MAX_PARTS && part->text)
        part++;
    return part;
}

Status ops_refuse_attribute(OpsCase *o, const char *key, const char *why, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: attribute '%s' of %s %s", o->c->path, key, o->name,
                   why);
}

Status ops_check_fixed(OpsCase *o, const OpsText *row, Err *err)
{
    for (int i = 0; i < OPS_MAX_FIXED && row->fixed[i][0]; i++) {
        const char *key = row->fixed[i][0], *only = row->fixed[i][1];
        char *is = json_dumps(json_object_get(o->attributes, key), JSON_ENCODE_ANY | JSON_COMPACT);
        bool same = is && !strcmp(is, only);
        free(is);
        if (!same)
            return ops_refuse_attribute(o, key, verify_name(o->c, "is not %s", only), err);
    }
    return NPC_OK;
}

bool ops_are_numbers(const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) if (!json_is_number(item)) return false;
    return json_is_array(list);
}

static bool add_value(Text *out, const json_t *value)
{
    if (json_is_boolean(value)) {
        text_add(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_number(value)) {
        text_printf(out, "%.17g", json_number_value(value));
    } else if (ops_are_numbers(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            text_printf(out, "%s%.17g", i ? ", " : "[",
                        json_number_value(json_array_get(value, i)));
        text_add(out, json_array_size(value) ? "]" : "[]");
    } else {
        return false;
    }
    return true;
}

static Status add_size(OpsCase *o, Text *out, const char *key, Err *err)
{
    const SafetensorsEntry *e =
        safetensors_find(&o->c->file, ops_tensor(o, ops_input_role(o, key)));
    if (!e || e->rank != 1)
        return ops_refuse_attribute(
            o, key,
            "is no number, truth or list of numbers, and no tensor has that name and one axis",
            err);
    text_printf(out, "%lld", (long long)verify_size(e, 0));
    return NPC_OK;
}

/* The template with numbers, truths and lists of numbers for {key}. */
static Status fill_in(OpsCase *o, Text *out, const char *template, Err *err)
{
    for (const char *at = template; *at;) {
        size_t plain = strcspn(at, "{");
        text_add_n(out, at, plain);
        at += plain;
        if (!*at)
            break;
        size_t n = strcspn(at, "}");
        const char *key = arena_strndup(o->c->arena, at + 1, n - 1);
        if (!add_value(out, json_object_get(o->attributes, key)))
            NPC_TRY(add_size(o, out, key, err));
        at += n + 1;
    }
    return NPC_OK;
}

Status ops_read_leaf(OpsCase *o, const OpsLeaf *leaf, double **values, Shape *s, Err *err)
{
    AxisList axes = ops_axes(o, leaf->axes);
    int64_t size[MAX_RANK];
    *s = (Shape){0};
    NPC_TRY(ops_read(o, ops_input_role(o, leaf->role), axes.n, values, size, err));
    for (int i = 0; i < axes.n; i++)
        shape_add(s, axes.name[i], size[i]);
    return NPC_OK;
}

int64_t ops_size_of(OpsCase *o, const Shape *s, const char *axis)
{
    int i = shape_axis(s, name_intern(&o->subject.names, axis));
    return i < 0 ? 1 : s->size[i];
}

/* "query: [b a:3 n:17 e:8]", and the size of b. */
static void say_leaf(Text *out, const OpsLeaf *leaf, const Shape *s, int64_t *batch)
{
    text_printf(out, "%s%s: [", out->len ? ", " : "", leaf->role);
    for (int i = 0; i < s->rank; i++) {
        bool is_batch = !strcmp(s->name[i], "b");
        *batch = is_batch ? s->size[i] : *batch;
        if (is_batch)
            text_add(out, "b ");
        else
            text_printf(out, "%s:%lld ", s->name[i], (long long)s->size[i]);
    }
    text_char(out, ']');
}

static Status say_inputs(OpsCase *o, const OpsText *row, Text *out, int64_t *batch,
                         int64_t *neurons, Err *err)
{
    *batch = *neurons = 1;
    for (const OpsLeaf *leaf = row->leaf; leaf < ops_end_of_leaves(row); leaf++) {
        double *values;
        Shape s;
        if (leaf->kind != OPS_INPUT)
            continue;
        NPC_TRY(ops_read_leaf(o, leaf, &values, &s, err));
        say_leaf(out, leaf, &s, batch);
        *neurons = row->loss ? ops_size_of(o, &s, "n") : 1;
    }
    if (!row->loss) /* a model predicts something */
        text_printf(out, "%sclip: [b n_:1 t_:1]", out->len ? ", " : "");
    return NPC_OK;
}

Status ops_say(OpsCase *o, const OpsText *row, Text *out, int64_t *batch, Err *err)
{
    Text inputs = {.arena = o->c->arena};
    int64_t neurons;
    NPC_TRY(say_inputs(o, row, &inputs, batch, &neurons, err));
    text_printf(out,
                "nm 1\nsessions = [\"s\": %lld]\nmodel op(%s) -> per s in sessions [b n:s.neurons "
                "t] {\n",
                (long long)neurons, text_str(&inputs));
    for (const OpsPart *part = row->part; part < ops_end_of_parts(row); part++) {
        text_printf(out, "part %s {\n", ops_part_name(part));
        NPC_TRY(fill_in(o, out, part->text, err));
        text_add(out, "\n}\n");
    }
    text_printf(out, "part readout per s in sessions { return %s }\n}\n",
                row->loss ? row->leaf->role : "clip |> rename(n_, n) |> rename(t_, t)");
    if (row->loss) {
        text_add(out, "recipe r for op { loss = ");
        NPC_TRY(fill_in(o, out, row->loss, err));
        text_add(out, " }\n");
    }
    return NPC_OK;
}
