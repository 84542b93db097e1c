/* The public interface of npc. */
#ifndef NPC_H
#define NPC_H

/* "0.1.0" */
const char *npc_version(void);

#endif
