/* The plan as text: launches with what they read and write, buffers with lifetimes and offsets. */
#include "passes/plan.h"

static const char *KIND[] = {"input", "persistent", "constant", "arena", "prepared"};

static void print_buffer(Text *t, const Plan *plan, int i)
{
    const PlanBuffer *b = &plan->buffers.at[i];
    text_printf(t, "  b%d %s", i, KIND[b->kind]);
    if (b->name)
        text_printf(t, " \"%s\"", b->name);
    text_printf(t, " %%%u ", b->val.id);
    shape_text(t, &b->layout.shape);
    text_printf(t, " order=[");
    for (int k = 0; k < b->layout.shape.rank; k++)
        text_printf(t, "%s%s", k ? " " : "", b->layout.shape.name[b->layout.order[k]]);
    text_add(t, "]");
    if (b->layout.lane >= 0)
        text_printf(t, " lane=%s/%d", b->layout.shape.name[b->layout.lane], b->layout.lanes);
    text_printf(t, " bytes=%zu", b->bytes);
    if (b->kind == BUFFER_ARENA || b->kind == BUFFER_PREPARED)
        text_printf(t, " offset=%zu", b->offset);
    if (b->kind == BUFFER_ARENA)
        text_printf(t, " life=%d..%d", b->first, b->last);
    if (b->same_as >= 0)
        text_printf(t, " in place of b%d", b->same_as);
    text_char(t, '\n');
}

static void print_launch(Text *t, const Plan *plan, int i)
{
    const Launch *l = &plan->launches.at[i];
    text_printf(t, "  %d%s \"%s\"", i, l->is_prepare ? " prepare" : "", l->tile->name);
    if (l->session >= 0)
        text_printf(t, " session=%d", l->session);
    text_add(t, " reads");
    for (uint32_t k = 0; k < l->tile->tensors.len; k++)
        if (!l->tile->tensors.at[k].is_output)
            text_printf(t, " b%d", l->tile->tensors.at[k].buffer);
    text_add(t, " writes");
    for (uint32_t k = 0; k < l->tile->tensors.len; k++)
        if (l->tile->tensors.at[k].is_output)
            text_printf(t, " b%d", l->tile->tensors.at[k].buffer);
    for (uint32_t k = 0; k < l->clear.len; k++)
        text_printf(t, "%s b%d", k ? "" : " clears", l->clear.at[k]);
    text_printf(t, " flops=%.6g bytes=%.6g", l->tile->flops, l->bytes);
    if (l->tile->by_library)
        text_add(t, " library");
    if (l->workspace_bytes)
        text_printf(t, " workspace=%zu", l->workspace_bytes);
    text_char(t, '\n');
}

void plan_print(Text *t, const Plan *plan)
{
    text_printf(t, "plan %s fuse=%s ops=%d kernels=%u arena=%zu prepared=%zu inputs=%zu\n",
                program_kind_text(plan->kind), fuse_level_text(plan->fuse), plan->n_ops,
                plan->launches.len, plan->arena_bytes, plan->prepared_bytes, plan->input_bytes);
    text_add(t, "buffers\n");
    for (uint32_t i = 0; i < plan->buffers.len; i++)
        print_buffer(t, plan, (int)i);
    text_add(t, "launches\n");
    for (uint32_t i = 0; i < plan->launches.len; i++)
        print_launch(t, plan, (int)i);
}

void plan_print_tiles(Text *t, const Plan *plan)
{
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        text_printf(t, "; launch %u\n", i);
        tile_print(t, plan->launches.at[i].tile, false);
    }
}
