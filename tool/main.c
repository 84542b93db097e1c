/* npc: compiles, runs and measures models of visual cortex. One row per verb. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tool/npc.h"
#include "tool/verb.h"
#include "tool/verbs.h"

static const Verb VERBS[] = {
    {"compile", "check a model, say what it costs, show every stage, write a package",
     verb_compile},
    {"run", "train, predict or score on recordings", verb_run},
    {"verify", "compare a model with reference numbers", verb_verify},
    {"bench", "time fused and unfused kernels beside this machine's limits", verb_bench},
    {"data", "make, inspect and split recordings", verb_data},
    {"fmt", "format model files", verb_fmt},
};

static const VerbTable TABLE = {
    .name = "npc",
    .prefix = "npc",
    .about = "npc compiles models of visual cortex and trains, runs and measures them.",
    .more = "'npc VERB --help' shows the options of a verb with examples; 'npc --version' the\n"
            "version. Exit codes: 0 well, 1 the run failed, 2 usage or bad input.\n\n"
            "examples:\n"
            "  npc data synth recordings --mice 2\n"
            "  npc compile models/dwiseneuro.nm\n"
            "  npc run models/demo.nm --train --data recordings --run runs/first\n",
    .at = VERBS,
    .n = sizeof VERBS / sizeof *VERBS};

/* What was printed may have found a full disk; why is known when it did so now. */
static int close_output(int code)
{
    bool bad = fflush(stdout) != 0;
    if (!bad && !ferror(stdout))
        return code;
    fprintf(stderr, "npc: cannot write to standard output%s%s\n", bad ? ": " : "",
            bad ? strerror(errno) : "");
    return code ? code : status_exit_code(NPC_ERR_IO);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        printf("npc %s\n", npc_version());
        return close_output(0);
    }
    if (argc > 1 && !strcmp(argv[1], "help"))
        argv[1] = "--help";
    return close_output(verb_table_run(&TABLE, argc, argv));
}
