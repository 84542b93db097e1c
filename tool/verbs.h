/* Verbs by name: the help that lists them, the call of one, and what is said to a word that is none
 * of them. The tool has such a table, and a verb that has verbs of its own has one, too. */
#ifndef NPC_TOOL_VERBS_H
#define NPC_TOOL_VERBS_H

typedef struct Verb {
    const char *name, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the verb's name; the exit code */
} Verb;

typedef struct VerbTable {
    const char *name;   /* what stands before the verb: "npc", "npc data" */
    const char *prefix; /* of messages: "npc", "npc: data" */
    const char *about;  /* one sentence */
    const char *more;   /* behind the table, with examples; ends with a newline */
    const Verb *at;
    int n;
} VerbTable;

/* Runs the verb argv[1]; help with "--help", "-h" and, on stderr with exit code 2, without a verb.
 */
int verb_table_run(const VerbTable *verbs, int argc, char **argv);

#endif
