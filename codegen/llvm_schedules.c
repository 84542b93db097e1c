/* Programs that no special schedule takes: used where one is not linked in. */
#include "codegen/llvm_schedules.h"

#define ABSENT(name)                                                                               \
    __attribute__((weak)) bool name##_accepts(const TileProgram *p, const Target *target)          \
    {                                                                                              \
        (void)p;                                                                                   \
        (void)target;                                                                              \
        return false;                                                                              \
    }                                                                                              \
    __attribute__((weak))                                                                          \
    KernelSchedule name##_schedule(const TileProgram *p, const Target *target)                     \
    {                                                                                              \
        return map_schedule(p, target);                                                            \
    }                                                                                              \
    __attribute__((weak)) void name##_emit(Emitter *e, const TileProgram *p,                       \
                                           const char *const *symbol)                              \
    {                                                                                              \
        map_emit(e, p, symbol);                                                                    \
    }

ABSENT(contract)
ABSENT(dots)
ABSENT(gathered)
ABSENT(dense)
ABSENT(dense_dw)
ABSENT(stencil)
ABSENT(stencil_dw)
