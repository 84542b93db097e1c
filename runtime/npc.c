#include "runtime/npc.h"

const char *npc_version(void)
{
    return NPC_VERSION;
}
