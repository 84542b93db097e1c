#include "passes/traits.h"

#include <string.h>

TargetTraits traits_cpu(int lanes)
{
    return (TargetTraits){
        .lanes = lanes,
        .contract = {{FOR_VOLUMES, FOR_VOLUMES},
                     .epilogue = FOR_VOLUMES,
                     .reductions = FOR_VOLUMES},
        .stencil = {{FOR_VOLUMES, NOWHERE}, .epilogue = FOR_VOLUMES, .reductions = FOR_VOLUMES},
        .stencil_dw = {{FOR_VOLUMES, FOR_VOLUMES}, .epilogue = NOWHERE, .reductions = NOWHERE},
    };
}

TargetTraits traits_cuda(void)
{
    return (TargetTraits){
        .channels_last = true,
        .lanes = 1,
        .contract = {{EVERYWHERE, EVERYWHERE}, .epilogue = EVERYWHERE, .reductions = EVERYWHERE},
        .stencil = {{EVERYWHERE, NOWHERE}, .epilogue = EVERYWHERE, .reductions = EVERYWHERE},
        .stencil_dw = {{EVERYWHERE, EVERYWHERE}, .epilogue = NOWHERE, .reductions = NOWHERE},
        .counts_bytes = true,
        .updates_behind = true,
        .joins_small = true,
        .pairs = true,
        .pair_sum_limit = 512,
    };
}

typedef struct PrecisionRow {
    const char *text;
    Storage storage;
    MathMode math;
} PrecisionRow;

static const PrecisionRow PRECISION[PRECISION_COUNT] = {
    [PRECISION_F32] = {"f32", STORAGE_F32, MATH_F32},
    [PRECISION_TF32] = {"tf32", STORAGE_F32, MATH_TF32},
    [PRECISION_BF16] = {"bf16", STORAGE_BF16, MATH_BF16},
    [PRECISION_F16] = {"f16", STORAGE_F16, MATH_F16},
};

bool precision_find(const char *text, PrecisionMode *out)
{
    for (int i = 0; i < PRECISION_COUNT; i++)
        if (!strcmp(text, PRECISION[i].text)) {
            *out = (PrecisionMode)i;
            return true;
        }
    return false;
}

const char *precision_text(PrecisionMode p)
{
    return PRECISION[p].text;
}

Storage precision_storage(PrecisionMode p)
{
    return PRECISION[p].storage;
}

MathMode precision_math(PrecisionMode p)
{
    return PRECISION[p].math;
}
