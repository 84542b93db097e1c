/* Turns the SIGBUS of a mapped file that was truncated underfoot into an ordinary failure.
 *
 * The first call installs a handler for SIGBUS; a fault outside of a guarded call goes to whatever
 * was installed before. Guards are per thread. The guarded function must own nothing that a jump
 * out of it would leak. */
#ifndef NPC_DATA_MAP_GUARD_H
#define NPC_DATA_MAP_GUARD_H

#include <stdbool.h>

/* Calls work(cx); false when it touched a page that is no longer there. */
bool map_guard(void (*work)(void *cx), void *cx);

#endif
