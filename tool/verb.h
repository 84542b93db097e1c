/* The verbs of the tool. Each is one short file; argv[0] is the verb's name, the result the exit
 * code: 0 well, 1 the run failed, 2 usage or bad input. */
#ifndef NPC_TOOL_VERB_H
#define NPC_TOOL_VERB_H

#include "tool/options.h"

int verb_bench(int argc, char **argv);
int verb_compile(int argc, char **argv);
int verb_data(int argc, char **argv);
int verb_fmt(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_verify(int argc, char **argv);

#endif
