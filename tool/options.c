#include "tool/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/suggest.h"
#include "ir/base/text.h"

static const OptionRow *find(const Command *c, const char *name, size_t n)
{
    for (const OptionRow *r = c->options; r->name; r++)
        if (!strncmp(r->name, name, n) && !r->name[n])
            return r;
    return NULL;
}

static const OptionRow *find_letter(const Command *c, char letter)
{
    for (const OptionRow *r = c->options; r->name; r++)
        if (r->letter && r->letter == letter)
            return r;
    return NULL;
}

static Status unknown(const Command *c, const char *arg, const char *name, size_t n, Err *err)
{
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), name);
    Suggest near = suggest_for(word);
    for (const OptionRow *r = c->options; r->name; r++)
        suggest_offer(&near, r->name);
    suggest_offer(&near, "help");
    const char *best = suggest_best(&near);
    if (best)
        return err_set(err, NPC_ERR_USAGE, "%s: there is no option '%s'; did you mean '--%s'?",
                       c->name, arg, best);
    return err_set(err, NPC_ERR_USAGE, "%s: there is no option '%s'; see 'npc %s --help'", c->name,
                   arg, c->name);
}

/* Is `value` the choice of n bytes? Of "cuda:N", any number will do. */
static bool fits_choice(const char *choice, size_t n, const char *value)
{
    if (n > 2 && !memcmp(choice + n - 2, ":N", 2) && !strncmp(choice, value, n - 1))
        return value[n - 1] && !value[n - 1 + strspn(value + n - 1, "0123456789")];
    return n == strlen(value) && !memcmp(choice, value, n);
}

/* Whether `value` is one of "a|b|c"; offers each to `near`. */
static bool is_choice(const char *choices, const char *value, Suggest *near, char (*words)[64])
{
    for (const char *p = choices; *p; words++) {
        size_t n = strcspn(p, "|");
        if (fits_choice(p, n, value))
            return true;
        snprintf(*words, sizeof *words, "%.*s", (int)n, p);
        suggest_offer(near, *words);
        p += n + (p[n] == '|');
    }
    return false;
}

enum { MOST_CHOICES = 16 };

static Status set_text(const OptionRow *r, const char *value, Err *err)
{
    char words[MOST_CHOICES][64];
    Suggest near = suggest_for(value);
    if (strchr(r->value, '|') && !is_choice(r->value, value, &near, words)) {
        const char *best = suggest_best(&near);
        if (best)
            return err_set(err, NPC_ERR_USAGE,
                           "--%s: expected one of %s, found '%s'; did you mean '%s'?", r->name,
                           r->value, value, best);
        return err_set(err, NPC_ERR_USAGE, "--%s: expected one of %s, found '%s'", r->name,
                       r->value, value);
    }
    *r->text = value;
    return NPC_OK;
}

static Status set_integer(const OptionRow *r, const char *value, Err *err)
{
    char *end;
    errno = 0;
    long long x = strtoll(value, &end, 10);
    if (end == value || *end || errno)
        return err_set(err, NPC_ERR_USAGE, "--%s: expected a whole number, found '%s'", r->name,
                       value);
    if (r->low != r->high && (x < r->low || x > r->high))
        return err_set(err, NPC_ERR_USAGE, "--%s: expected %lld to %lld, found %s", r->name,
                       (long long)r->low, (long long)r->high, value);
    *r->integer = x;
    return NPC_OK;
}

static Status set_value(const OptionRow *r, const char *value, Err *err)
{
    if (r->integer)
        return set_integer(r, value, err);
    if (r->number) {
        const char *end = text_read_double(value, r->number);
        return end == value || *end ? err_set(err, NPC_ERR_USAGE,
                                              "--%s: expected a number, found '%s'", r->name, value)
                                    : NPC_OK;
    }
    if (r->list) {
        if (r->list->n == OPTION_LIST_LIMIT)
            return err_set(err, NPC_ERR_USAGE, "--%s: given more than %d times", r->name,
                           OPTION_LIST_LIMIT);
        r->list->at[r->list->n++] = value;
        return NPC_OK;
    }
    return set_text(r, value, err);
}

/* Takes the option at argv[i] and its value; `*i` ends at the last argument used. */
static Status take(const Command *c, int argc, char **argv, int *i, bool *help, Err *err)
{
    const char *arg = argv[*i], *value = NULL;
    const OptionRow *r;
    if (arg[1] == '-') {
        const char *name = arg + 2;
        size_t n = strcspn(name, "=");
        if (!strcmp(name, "help")) {
            *help = true;
            return NPC_OK;
        }
        r = find(c, name, n);
        if (!r)
            return unknown(c, arg, name, n, err);
        if (name[n] == '=')
            value = name + n + 1;
    } else {
        if (!strcmp(arg, "-h")) {
            *help = true;
            return NPC_OK;
        }
        r = find_letter(c, arg[1]);
        if (!r)
            return unknown(c, arg, arg + 1, strlen(arg + 1), err);
        if (arg[2])
            value = arg + 2 + (arg[2] == '=');
    }
    if (r->flag) {
        if (value)
            return err_set(err, NPC_ERR_USAGE, "--%s takes no value, found '%s'", r->name, value);
        *r->flag = true;
        return NPC_OK;
    }
    if (!value) {
        if (*i + 1 >= argc)
            return err_set(err, NPC_ERR_USAGE, "--%s needs a value: --%s %s", r->name, r->name,
                           r->value);
        value = argv[++*i];
    }
    return set_value(r, value, err);
}

static Status count_words(const Command *c, const Words *words, Err *err)
{
    if (words->n < c->least)
        return err_set(err, NPC_ERR_USAGE, "%s: expected %s; see 'npc %s --help'", c->name,
                       c->arguments, c->name);
    if (words->n > c->most)
        return err_set(err, NPC_ERR_USAGE, "%s: there is no use for '%s'; expected %s", c->name,
                       words->at[c->most], *c->arguments ? c->arguments : "options only");
    return NPC_OK;
}

Status command_parse(const Command *c, int argc, char **argv, Words *words, bool *help, Err *err)
{
    bool options = true;
    *words = (Words){argv + 1, 0};
    *help = false;
    for (int i = 1; i < argc; i++) /* a request for help wins over every mistake */
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            *help = true;
            return NPC_OK;
        } else if (!strcmp(argv[i], "--")) {
            break;
        }
    for (int i = 1; i < argc; i++) {
        if (options && !strcmp(argv[i], "--"))
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            NPC_TRY(take(c, argc, argv, &i, help, err));
        else
            words->at[words->n++] = argv[i];
    }
    return count_words(c, words, err);
}

enum { HELP_COLUMN = 30, HELP_WIDTH = 98 };

/* Breaks the sentence at spaces; continuation lines begin at HELP_COLUMN. */
static void print_wrapped(FILE *out, const char *text)
{
    int column = HELP_COLUMN;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + n > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", n, text);
        column += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_row(FILE *out, char letter, const char *name, const char *value, const char *help)
{
    char left[160];
    int n = letter ? snprintf(left, sizeof left, "  -%c, --%s", letter, name)
                   : snprintf(left, sizeof left, "  --%s", name);
    if (value && n > 0 && (size_t)n < sizeof left)
        snprintf(left + n, sizeof left - (size_t)n, " %s", value);
    fputs(left, out);
    int used = (int)strlen(left);
    if (used + 2 > HELP_COLUMN)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(out, "%*s", HELP_COLUMN - used, "");
    print_wrapped(out, help);
}

void command_print_help(const Command *c, FILE *out)
{
    fprintf(out, "npc %s: %s\n\nusage: npc %s %s%s[options]\n\noptions:\n", c->name, c->help,
            c->name, c->arguments, *c->arguments ? " " : "");
    for (const OptionRow *r = c->options; r->name; r++)
        print_row(out, r->letter, r->name, r->value, r->help);
    print_row(out, 'h', "help", NULL, "show this and stop");
    fputs("\nexamples:\n", out);
    for (const char *p = c->examples; *p;) {
        size_t n = strcspn(p, "\n");
        fprintf(out, "  %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

bool command_read(const Command *c, int argc, char **argv, Words *words, int *code)
{
    Err err = {0};
    bool help;
    Status s = command_parse(c, argc, argv, words, &help, &err);
    if (s == NPC_OK && !help)
        return false;
    if (s == NPC_OK)
        command_print_help(c, stdout);
    *code = command_finish(s, &err);
    return true;
}

int command_finish(Status status, const Err *err)
{
    if (status != NPC_OK && err->text[0])
        fprintf(stderr, "npc: %s\n", err->text);
    return status_exit_code(status);
}
