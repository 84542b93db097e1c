#include "tool/verbs.h"

#include <stdio.h>
#include <string.h>

#include "frontend/suggest.h"
#include "ir/base/status.h"

static void print_help(const VerbTable *v, FILE *out)
{
    fprintf(out, "%s\n\nusage: %s VERB ARGUMENTS [options]\n\nverbs:\n", v->about, v->name);
    for (int i = 0; i < v->n; i++)
        fprintf(out, "  %-10s%s\n", v->at[i].name, v->at[i].help);
    fprintf(out, "\n%s", v->more);
}

static int refuse(const VerbTable *v, const char *word)
{
    Suggest near = suggest_for(word);
    for (int i = 0; i < v->n; i++)
        suggest_offer(&near, v->at[i].name);
    const char *best = suggest_best(&near);
    if (best)
        fprintf(stderr, "%s: there is no verb '%s'; did you mean '%s'?\n", v->prefix, word, best);
    else
        fprintf(stderr, "%s: there is no verb '%s'; see '%s --help'\n", v->prefix, word, v->name);
    return status_exit_code(NPC_ERR_USAGE);
}

int verb_table_run(const VerbTable *v, int argc, char **argv)
{
    if (argc < 2) {
        print_help(v, stderr);
        return status_exit_code(NPC_ERR_USAGE);
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(v, stdout);
        return 0;
    }
    for (int i = 0; i < v->n; i++)
        if (!strcmp(argv[1], v->at[i].name))
            return v->at[i].run(argc - 1, argv + 1);
    return refuse(v, argv[1]);
}
