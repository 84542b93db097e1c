#include "runtime/loss_scale.h"

static const float FIRST = 65536, LEAST = 1, LARGEST = 0x1p24F;

LossScale loss_scale_first(void)
{
    return (LossScale){.scale = FIRST};
}

void loss_scale_step(LossScale *s, bool finite)
{
    if (!finite) {
        s->scale = s->scale / 2 > LEAST ? s->scale / 2 : LEAST;
        s->good_steps = 0;
    } else if (++s->good_steps == LOSS_SCALE_STEPS) {
        s->scale = s->scale * 2 < LARGEST ? s->scale * 2 : LARGEST;
        s->good_steps = 0;
    }
}
