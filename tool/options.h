/* The command line of a verb: one table says what there is; parsing, its messages and `--help` come
 * from it.
 *
 *     int64_t batch = 0;
 *     bool json = false;
 *     OptionList sets = {0};
 *     const OptionRow rows[] = {
 *         {"batch", "N", "clips per step", .integer = &batch, .low = 1, .high = 4096},
 *         {"fuse", "full|elementwise|none", "how far kernels are joined", .text = &fuse},
 *         {"set", "NAME=VALUE", "override; may be repeated", .list = &sets},
 *         {"output", "FILE", "where to write", .text = &output, .letter = 'o'},
 *         {"json", NULL, "machine-readable output", .flag = &json},
 *         {NULL},
 *     };
 *     const Command command = {.name = "compile", .arguments = "MODEL.nm", .help = "..",
 *                              .options = rows, .examples = "..", .least = 1, .most = 1};
 *     Words words;
 *     int code;
 *     if (command_read(&command, argc, argv, &words, &code))
 *         return code;
 *
 * `--name value` and `--name=value` are the same, `-o value` needs a letter, `--` ends the options,
 * `-` alone is a word. The last of a repeated option counts, except in lists. */
#ifndef NPC_TOOL_OPTIONS_H
#define NPC_TOOL_OPTIONS_H

#include "ir/base/status.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { OPTION_LIST_LIMIT = 128 };

typedef struct OptionList {
    const char *at[OPTION_LIST_LIMIT]; /* of argv */
    int n;
} OptionList;

/* Exactly one of flag, text, integer, number, list is set. */
typedef struct OptionRow {
    const char *name;  /* without dashes; NULL ends the table */
    const char *value; /* name of the value; "a|b|c": one of these; NULL for flags */
    const char *help;
    bool *flag;
    const char **text;
    int64_t *integer;
    double *number;
    OptionList *list;
    int64_t low, high; /* limits of an integer, both ends included; equal: none */
    char letter;       /* short form, or 0 */
} OptionRow;

typedef struct Command {
    const char *name;      /* "data synth" */
    const char *arguments; /* "MODEL.nm", "FILE..": the words after the name, for the usage line */
    const char *help;      /* one sentence */
    const OptionRow *options;
    const char *examples; /* one a line */
    int least, most;      /* words wanted */
} Command;

/* What is left of the command line when the options are taken out. */
typedef struct Words {
    char **at; /* into argv, whose order was changed */
    int n;
} Words;

/* argv[0] is the verb. NPC_ERR_USAGE names the argument and, when one is near, the option that was
 * meant. `*help` is set by --help, and nothing else is checked then. */
Status command_parse(const Command *c, int argc, char **argv, Words *words, bool *help, Err *err);
void command_print_help(const Command *c, FILE *out);
/* For verbs: parses, prints help or the error. True when the verb is over with *code. */
bool command_read(const Command *c, int argc, char **argv, Words *words, int *code);

/* Prints "npc: <text>" to stderr, unless all is well, and returns the exit code. */
int command_finish(Status status, const Err *err);

#endif
