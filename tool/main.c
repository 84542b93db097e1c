/* npc: compiles, runs and measures models of visual cortex. One row per verb. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frontend/suggest.h"
#include "tool/npc.h"
#include "tool/verb.h"

typedef struct Verb {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} Verb;

static const Verb VERBS[] = {
    {"compile", "check a model, say what it costs, show every stage, write a package",
     verb_compile},
    {"run", "train, predict or score on recordings", verb_run},
    {"verify", "compare a model with reference numbers", verb_verify},
    {"bench", "time fused and unfused kernels beside this machine's limits", verb_bench},
    {"data", "make, inspect and split recordings", verb_data},
    {"fmt", "format model files", verb_fmt},
};

enum { N_VERBS = sizeof VERBS / sizeof *VERBS };

static void print_help(FILE *out)
{
    fputs("npc compiles models of visual cortex and trains, runs and measures them.\n\n"
          "usage: npc VERB ARGUMENTS [options]\n\nverbs:\n",
          out);
    for (int i = 0; i < N_VERBS; i++)
        fprintf(out, "  %-10s%s\n", VERBS[i].name, VERBS[i].help);
    fputs("\n'npc VERB --help' shows the options of a verb with examples; 'npc --version' the\n"
          "version. Exit codes: 0 well, 1 the run failed, 2 usage or bad input.\n\n"
          "examples:\n"
          "  npc data synth recordings --mice 2\n"
          "  npc compile models/dwiseneuro.nm\n"
          "  npc run models/demo.nm --train --data recordings --run runs/first\n",
          out);
}

static int refuse(const char *word)
{
    Suggest near = suggest_for(word);
    for (int i = 0; i < N_VERBS; i++)
        suggest_offer(&near, VERBS[i].name);
    const char *best = suggest_best(&near);
    if (best)
        fprintf(stderr, "npc: there is no verb '%s'; did you mean '%s'?\n", word, best);
    else
        fprintf(stderr, "npc: there is no verb '%s'; see 'npc --help'\n", word);
    return status_exit_code(NPC_ERR_USAGE);
}

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
    if (argc < 2) {
        print_help(stderr);
        return status_exit_code(NPC_ERR_USAGE);
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return close_output(0);
    }
    if (!strcmp(argv[1], "--version")) {
        printf("npc %s\n", npc_version());
        return close_output(0);
    }
    for (int i = 0; i < N_VERBS; i++)
        if (!strcmp(argv[1], VERBS[i].name))
            return close_output(VERBS[i].run(argc - 1, argv + 1));
    return refuse(argv[1]);
}
